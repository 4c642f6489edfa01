//! What a run will take, told before its first trial.
//!
//! From the variances and costs that the pilot measured follow the trials that the asked interval needs and their time; from the
//! golden run, what the naive protocol needs for the same interval: patterns on all images, each a full evaluation. Nothing
//! here decides what is recorded.

use std::time::Instant;

use bitquake_config::Target;
use bitquake_record::{Amount, Golden, PointPlan};
use bitquake_stats::{StatsError, faults_needed, finite_population_factor, margin_of_faults, trials_needed};
use serde::Serialize;

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::pilot::Measured;
use crate::rounds::bounds;
use crate::run::RunOptions;
use crate::run_config::{ImagesConfig, ImagesRule, SamplingConfig};
use crate::strata::LARGEST_WEIGHT;
use crate::worker::Worker;

/// How much wider an interval that may be looked at after every trial is than Student's t for values that differ: what
/// [`MeanSequence`](bitquake_stats::MeanSequence) has from some hundred values on.
const ANYTIME: f64 = 1.8;
/// What values that do not differ cost such an interval: with confidence `1 - a` a half width of about this times `ln(2 / a) / n` of
/// the range. Both parts together are as the root of their squares; a test compares that with the sequence itself.
const RANGE: f64 = 0.84;

/// Evaluations of all images are timed again for so many seconds, or once, unless the first took long.
const AGAIN: f64 = 1.0;
const LONG: f64 = 10.0;

/// What a run will take. Widths and shares are fractions, times are wall seconds with the threads at hand.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Bits that may be hit.
    pub space_bits: u64,
    /// Images of the data set.
    pub images: u64,
    /// Trials that run at a time.
    pub workers: u64,
    /// Seconds of one evaluation of all images, by one of the workers.
    pub golden_seconds: f64,
    /// Which interval is asked for; none for a fixed number of trials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// Confidence of all widths.
    pub confidence: f64,
    /// The metric of which the widths are.
    pub metric: String,
    /// Whether a pilot measured variances and costs; if not, times are at most so long, and there are no widths.
    pub is_piloted: bool,
    /// How trials are drawn, where that is not uniform: the plan does not know what that saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<SamplingConfig>,
    /// For single upsets: faults that the textbook formula (Leveugle et al., DATE 2009, p = 0.5) asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leveugle: Option<Leveugle>,
    /// The points.
    pub points: Vec<PlannedPoint>,
}

/// A sample size by [`faults_needed`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Leveugle {
    /// The half width of a share of failures.
    pub margin: f64,
    /// Faults drawn without replacement that give it.
    pub faults: u64,
}

/// The interval that a stopping rule asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Asked {
    /// Largest half width.
    pub half_width: Option<f64>,
    /// Largest half width as a share of the estimate.
    pub relative: Option<f64>,
    /// Trials of this shard after which a point ends in any case.
    pub max_trials: u64,
    /// Seconds after which the run ends in any case.
    pub max_seconds: Option<f64>,
}

/// What a point will take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedPoint {
    /// The point.
    pub point: u32,
    /// `rate`, `count`, `fraction` or `voltage`.
    pub kind: &'static str,
    /// How much of it.
    pub amount: f64,
    /// Bits expected to change in a trial, if that is known.
    pub expected_faults: Option<f64>,
    /// Images of a trial.
    pub images: u64,
    /// Trials expected in this shard; none if the pilot gives no hold for a relative width.
    pub trials: Option<u64>,
    /// Whether `max_trials` or the time ends the point before its interval is as narrow as asked.
    pub is_cut: bool,
    /// Half width of the interval after these trials.
    pub half_width: Option<f64>,
    /// Their time.
    pub seconds: Option<f64>,
    /// Patterns on all images that give the same half width.
    pub naive_trials: Option<u64>,
    /// Their time.
    pub naive_seconds: Option<f64>,
    /// Whether no trial of the pilot changed anything: then all that follows from variances is a guess.
    pub is_guess: bool,
}

/// What a plan is made from.
pub(crate) enum Depth {
    /// The golden run alone.
    Light,
    /// A pilot, and what one measured already.
    Pilot(Option<Vec<Measured>>),
}

/// What all points have in common.
struct Common {
    confidence: f64,
    /// Shards together are narrower than each by the root of their number.
    wider: f64,
    most: u64,
    looks: bool,
    asked: Option<Asked>,
    workers: f64,
    golden_seconds: f64,
    images: u64,
}

impl Campaign {
    /// Whether a run measures before it begins.
    pub(crate) fn is_piloted(&self) -> bool {
        let run = &self.config().run;
        run.stop.is_some() || run.images != ImagesConfig::Named(ImagesRule::All)
    }

    /// The plan of a run.
    pub(crate) fn plan_of(
        &self,
        workers: &mut [Worker<'_>],
        golden: &Golden,
        options: RunOptions<'_>,
        depth: Depth,
    ) -> Result<Plan, CampaignError> {
        let measured = match depth {
            Depth::Light => None,
            Depth::Pilot(Some(measured)) => Some(measured),
            Depth::Pilot(None) => Some(self.measure_all(&mut workers[0], golden, options.stop)?),
        };
        let mut common = self.common(workers.len(), golden, options);
        if measured.is_some() {
            common.golden_seconds = evaluation_seconds(&mut workers[0], golden.seconds)?;
        }
        let point = |place: usize, point: &PointPlan| {
            let measured = measured.as_ref().and_then(|measured| measured.get(place));
            let planned = self.planned(&common, golden, point, measured);
            planned.map_err(|error| CampaignError::config("campaign", format!("[run] stop: {error}")))
        };
        let points: Vec<PlannedPoint> = golden
            .points
            .iter()
            .enumerate()
            .map(|(place, plan)| point(place, plan))
            .collect::<Result<_, _>>()?;
        let sampling = Some(self.config().run.sampling).filter(|by| *by != SamplingConfig::Uniform);
        Ok(Plan {
            space_bits: golden.storage.bits,
            images: common.images,
            workers: workers.len() as u64,
            golden_seconds: common.golden_seconds,
            confidence: common.confidence,
            metric: self.metric().name.into(),
            is_piloted: measured.is_some(),
            sampling,
            leveugle: self.leveugle(&common),
            asked: common.asked,
            points,
        })
    }

    fn common(&self, workers: usize, golden: &Golden, options: RunOptions<'_>) -> Common {
        let (run, shard) = (&self.config().run, options.shard);
        let most = self.most_trials().saturating_sub(u64::from(shard.index)).div_ceil(u64::from(shard.count));
        let asked = run.stop.as_ref().map(|stop| Asked {
            half_width: stop.half_width,
            relative: stop.relative,
            max_trials: most,
            max_seconds: stop.max_seconds,
        });
        Common {
            confidence: run.stop_confidence(),
            wider: f64::from(shard.count).sqrt(),
            most,
            looks: run.stop.as_ref().is_some_and(|stop| !stop.is_time_alone()),
            asked,
            workers: workers.max(1) as f64,
            golden_seconds: golden.seconds,
            images: self.data().len() as u64,
        }
    }

    /// The sample size of the textbook, for campaigns of single upsets.
    fn leveugle(&self, common: &Common) -> Option<Leveugle> {
        let fault = &self.config().fault;
        let is_upset = fault.model_name() == "bit-flip"
            && fault.target() == Target::Weights
            && fault.amounts() == [Amount::Count(1)]
            && fault.also.is_none();
        let space = self.space().bits();
        let given = || margin_of_faults(space, self.most_trials().min(space), common.confidence, 0.5).ok();
        let margin = match &common.asked {
            Some(asked) => asked.half_width?,
            None => given()?,
        };
        let faults = faults_needed(space, margin, common.confidence, 0.5).ok()?;
        is_upset.then_some(Leveugle { margin, faults })
    }

    fn planned(
        &self,
        common: &Common,
        golden: &Golden,
        point: &PointPlan,
        measured: Option<&Measured>,
    ) -> Result<PlannedPoint, StatsError> {
        let images = point.images.unwrap_or(common.images).min(common.images);
        let mut planned = PlannedPoint {
            point: point.point,
            kind: point.amount.kind(),
            amount: point.amount.value(),
            expected_faults: point.expected_faults,
            images,
            trials: Some(common.most),
            is_cut: false,
            half_width: None,
            seconds: None,
            naive_trials: None,
            naive_seconds: None,
            is_guess: measured.is_some_and(|measured| measured.is_guess),
        };
        let share = images as f64 / common.images.max(1) as f64;
        let Some(measured) = measured else {
            let each = common.golden_seconds * share / common.workers;
            planned.seconds = Some(common.most as f64 * each);
            return Ok(planned);
        };
        let each = (measured.trial + measured.image * images as f64) / common.workers;
        if self.config().run.sampling == SamplingConfig::Exhaustive {
            let naive = common.most as f64 * common.golden_seconds / common.workers;
            planned.half_width = (images == common.images).then_some(0.0);
            planned.seconds = Some(common.most as f64 * each);
            (planned.naive_trials, planned.naive_seconds) = (Some(common.most), Some(naive));
            return Ok(planned);
        }
        let left = finite_population_factor(images, common.images);
        let weight = point.weight.unwrap_or(1.0);
        let (lo, hi) = bounds(self.metric(), golden, point);
        let weighted = if self.strata().is_some() { LARGEST_WEIGHT } else { 1.0 };
        let width = Width {
            std: weight * (measured.between + left * measured.within / images as f64).sqrt(),
            range: weight * weighted * (hi - lo),
            confidence: common.confidence,
            looks: common.looks,
        };
        let clean = self.metric().of_golden(&golden.metrics).unwrap_or(0.0);
        let estimate = weight * measured.mean + (1.0 - weight) * clean;
        let wanted = common.wanted(estimate, measured.is_guess);
        let needed = match wanted {
            Wanted::Nothing => Some(common.most),
            Wanted::Width(wanted) => Some(width.trials(wanted)?),
            Wanted::Unknown => None,
        };
        let seconds = common.asked.as_ref().and_then(|asked| asked.max_seconds);
        let in_time = seconds.map_or(u64::MAX, |seconds| (seconds / each) as u64);
        planned.trials = needed.map(|needed| needed.min(common.most).min(in_time));
        planned.is_cut = common.looks && planned.trials != needed;
        let Some(trials) = planned.trials.filter(|trials| *trials > 1) else { return Ok(planned) };
        planned.seconds = Some(trials as f64 * each);
        let half_width = width.after(trials)?;
        planned.half_width = Some(half_width);
        if half_width > 0.0 {
            let std = weight * measured.between.sqrt();
            let naive = match common.looks {
                true => trials_needed(std, half_width, common.confidence)?,
                // Both are looked at once: their numbers are as their variances.
                false => ((trials as f64 * (std / width.std).powi(2)).ceil() as u64).max(2),
            };
            planned.naive_trials = Some(naive);
            planned.naive_seconds = Some(naive as f64 * common.golden_seconds / common.workers);
        }
        Ok(planned)
    }
}

impl Campaign {
    /// How many images each trial of a point should take so that the interval asked for costs least; none for all. Besides the
    /// variances, the range of the values counts: that of a trial on a subset is twice as wide, which costs trials where
    /// patterns differ little.
    pub(crate) fn best_images(
        &self,
        golden: &Golden,
        point: &PointPlan,
        measured: &Measured,
    ) -> Result<Option<u64>, StatsError> {
        let all = self.data().len() as u64;
        let run = &self.config().run;
        let weight = point.weight.unwrap_or(1.0);
        let clean = self.metric().of_golden(&golden.metrics).unwrap_or(0.0);
        let estimate = (weight * measured.mean + (1.0 - weight) * clean).abs();
        let asked = run.stop.as_ref().and_then(|stop| {
            let relative = stop.relative.filter(|_| !measured.is_guess && estimate > 0.0);
            stop.half_width.into_iter().chain(relative.map(|relative| relative * estimate)).reduce(f64::min)
        });
        let Some(asked) = asked else { return Ok(measured.images(all)) };
        let price = |images: u64| {
            let subset = Some(images).filter(|&images| images < all);
            let (lo, hi) = bounds(self.metric(), golden, &PointPlan { images: subset, ..*point });
            let left = 1.0 - images as f64 / all as f64;
            let width = Width {
                std: weight * (measured.between + left * measured.within / images as f64).sqrt(),
                range: weight * if self.strata().is_some() { LARGEST_WEIGHT } else { 1.0 } * (hi - lo),
                confidence: run.stop_confidence(),
                looks: true,
            };
            Ok(width.trials(asked)? as f64 * (measured.trial + images as f64 * measured.image))
        };
        // Powers of two, so that small differences between pilots do not matter.
        let powers = (0..63).map(|power| 1_u64 << power).take_while(|&images| images < all / 2);
        let sizes = powers.chain([all]).filter(|&images| images as f64 <= measured.most);
        let priced: Vec<(f64, u64)> =
            sizes.map(|images| Ok((price(images)?, images))).collect::<Result<_, StatsError>>()?;
        let best = priced.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, images)| images);
        Ok(best.filter(|&images| images < all))
    }
}

/// Seconds of an evaluation of all images. The golden run of a campaign is the first thing that the engine does, and slower than those
/// that follow: so a short one is run again, and the fastest counts.
fn evaluation_seconds(worker: &mut Worker<'_>, first: f64) -> Result<f64, CampaignError> {
    let start = Instant::now();
    let mut fastest = first;
    let mut least = usize::from(first < LONG);
    while least > 0 || start.elapsed().as_secs_f64() + fastest < AGAIN {
        least = 0;
        let begin = Instant::now();
        worker.evaluator.golden(0)?;
        fastest = fastest.min(begin.elapsed().as_secs_f64());
    }
    Ok(fastest)
}

/// What a stopping rule wants of a point.
enum Wanted {
    Nothing,
    Width(f64),
    Unknown,
}

impl Common {
    fn wanted(&self, estimate: f64, is_guess: bool) -> Wanted {
        let Some(asked) = self.asked.as_ref().filter(|_| self.looks) else { return Wanted::Nothing };
        if asked.relative.is_some() && (is_guess || estimate == 0.0) {
            return Wanted::Unknown;
        }
        let relative = asked.relative.map(|relative| relative * estimate.abs());
        let narrowest = asked.half_width.into_iter().chain(relative).fold(f64::INFINITY, f64::min);
        Wanted::Width(narrowest * self.wider)
    }
}

/// How wide the interval of a mean is after so many trials.
struct Width {
    std: f64,
    range: f64,
    confidence: f64,
    /// Whether it may be looked at after every trial.
    looks: bool,
}

impl Width {
    /// The normal quantile: the textbook's margin of one fault at p = 1/2 is half of it.
    fn z(&self) -> Result<f64, StatsError> {
        Ok(2.0 * margin_of_faults(u64::MAX, 1, self.confidence, 0.5)?)
    }

    /// The parts of the half width that fall as the root of the number of trials, and as the number.
    fn parts(&self) -> Result<(f64, f64), StatsError> {
        let once = self.z()? * self.std;
        let range = RANGE * (2.0 / (1.0 - self.confidence)).ln() * self.range;
        Ok(if self.looks { (ANYTIME * once, range) } else { (once, 0.0) })
    }

    fn after(&self, trials: u64) -> Result<f64, StatsError> {
        let (root, whole) = self.parts()?;
        let n = trials as f64;
        Ok((root * root / n + whole * whole / (n * n)).sqrt())
    }

    /// Trials after which the half width is `wanted`.
    fn trials(&self, wanted: f64) -> Result<u64, StatsError> {
        let (root, whole) = self.parts()?;
        // One over n solves `whole² y² + root² y = wanted²`; written so that `whole` may be 0.
        let (root, wanted) = (root * root, wanted * wanted);
        let n = (root + (root * root + 4.0 * whole * whole * wanted).sqrt()) / (2.0 * wanted);
        Ok(n.ceil().clamp(2.0, 1e18) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitquake_stats::{MeanSequence, StopRule, look_after};
    use bitquake_testing::SplitMix64;

    /// Trials that a sequence takes, in the median of three runs: the plan is right within a third, for values that differ
    /// little or much in their range, and with few and with many trials.
    #[test]
    fn planned_trials_are_those_that_a_sequence_takes() {
        for (std, range, wanted) in
            [(0.01, 1.0, 0.005), (0.05, 1.0, 0.01), (0.05, 2.0, 0.02), (0.2, 1.0, 0.02), (0.3, 2.0, 0.05)]
        {
            let rule = StopRule { half_width: Some(wanted), ..StopRule::new(0.95, u64::MAX) };
            let mut taken: Vec<u64> = (0..3)
                .map(|seed| {
                    let mut random = SplitMix64::new(seed);
                    let mut sequence = MeanSequence::new(0.0, range, 0.95).unwrap();
                    let mut look = 0;
                    loop {
                        let next = look_after(look);
                        for _ in look..next {
                            // Two values with this standard deviation, around the middle of the lower half.
                            let sign = if random.unit() < 0.5 { -1.0 } else { 1.0 };
                            sequence.push(0.31 * range + sign * std).unwrap();
                        }
                        look = next;
                        let interval = sequence.interval(0.95).unwrap().unwrap();
                        if rule.is_met(0.3, &interval) {
                            return look;
                        }
                    }
                })
                .collect();
            taken.sort_unstable();
            let width = Width { std, range, confidence: 0.95, looks: true };
            let planned = width.trials(wanted).unwrap() as f64;
            let ratio = planned / taken[1] as f64;
            assert!((0.67..1.5).contains(&ratio), "std {std}, range {range}: {planned} for {taken:?}");
        }
    }

    #[test]
    fn a_width_and_its_trials_are_inverse() {
        for (std, range, looks) in [(0.1, 1.0, false), (0.1, 1.0, true), (1e-4, 2.0, true)] {
            let width = Width { std, range, confidence: 0.9, looks };
            let trials = width.trials(0.003).unwrap();
            assert!(width.after(trials).unwrap() <= 0.003 && width.after(trials - 2).unwrap() > 0.003);
        }
    }
}
