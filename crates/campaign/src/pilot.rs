//! How many images a trial takes: a pilot measures what trials and images cost, and how much each of them tells.
//!
//! The mean over patterns and images is estimated in two stages: `n` trials, each on `m` of the `N` images. Its variance is
//! `between / n + within / (n m) * (1 - m / N)`, its cost `n (trial + m image)`; the best `m` is the root of
//! `(trial / image) * (within / between)` (Cochran, Sampling Techniques, 3rd ed., section 10.6). The golden results of all images
//! are known, so `within` is the variance of the change that faults make, not that of the images.
//!
//! The plan that is printed before a run is made from the same measurement (`plan.rs`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bitquake_record::{Counts, Golden, METRICS, Metric, PointPlan, TrialRecord};

use crate::campaign::Campaign;
use crate::config::default_metric;
use crate::error::CampaignError;
use crate::rounds::rule_error;
use crate::run_config::{ImagesConfig, ImagesRule, SamplingConfig};
use crate::set_up::MOST_IMAGES;
use crate::worker::{Job, Worker};

/// Trials of the pilot have numbers from here on, so that no trial of the campaign has their faults.
const FIRST: u64 = 1 << 40;
/// Trials that are run at once: one group of spliced ones with few images.
const TRIALS: u64 = 32;
/// Trials at each point while there is time: variances of patterns that differ much take more than a few.
const MOST_TRIALS: u64 = 512;
/// For so many seconds trials beyond the first [`TRIALS`] are run.
const SECONDS: f64 = 0.4;
/// Trials that are run in any case, and seconds after which a pilot of a large model is content with them.
const LEAST_TRIALS: u64 = 8;
const SECONDS_AT_MOST: f64 = 5.0;
/// Images of the larger and of the smaller trials: two sizes tell apart what a trial and what an image costs.
const SIZES: [u64; 2] = [64, 8];
/// The same where trials are run together, which those with more images are not.
const SPLICED_SIZES: [u64; 2] = [32, 8];
/// Sizes with which trials are run alone where smaller ones are run together.
const ALONE_SIZES: [u64; 2] = [128, 48];

/// What was measured at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// Mean of the metric, over all images.
    pub(crate) mean: f64,
    /// Variance of the mean change between trials.
    pub(crate) between: f64,
    /// Variance of the change between images of a trial.
    pub(crate) within: f64,
    /// Whether no trial changed anything, so that both variances are guesses.
    pub(crate) is_guess: bool,
    /// Seconds of a trial besides its images.
    pub(crate) trial: f64,
    /// Seconds of an image.
    pub(crate) image: f64,
    /// The most images for which this holds.
    pub(crate) most: f64,
}

impl Measured {
    /// Images for each trial, a power of two, so that small differences between pilots do not matter; none for all.
    pub(crate) fn images(&self, all: u64) -> Option<u64> {
        let best = self.best();
        (best < all as f64 / 2.0).then_some(best as u64)
    }

    fn best(&self) -> f64 {
        let ratio = (self.trial / self.image.max(1e-9)) * (self.within / self.between.max(1e-9));
        ratio.sqrt().max(1.0).log2().round().exp2().min(self.most)
    }

    /// What a given precision costs with so many images a trial, but for a factor.
    fn price(&self, images: f64) -> f64 {
        (self.trial + images * self.image) * (self.between + self.within / images)
    }
}

impl Campaign {
    /// Settles how many images the trials of each point take, and notes it in the golden record. Gives what was measured for
    /// that, if anything was.
    pub(crate) fn settle_images(
        &self,
        workers: &mut [Worker<'_>],
        file: &mut Golden,
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Measured>>, CampaignError> {
        let all = self.data().len() as u64;
        match self.config().run.images {
            ImagesConfig::Named(ImagesRule::All) => {}
            ImagesConfig::Number(images) => {
                let images = (images < all).then_some(images);
                file.points.iter_mut().for_each(|point| point.images = images);
            }
            ImagesConfig::Named(ImagesRule::Auto) => {
                // What an earlier run settled stays: its trials must be continued alike.
                if file.points.iter().all(|point| point.images.is_none()) && !file.images_settled {
                    let measured = self.measure_all(&mut workers[0], file, stop)?;
                    for (place, measured) in measured.iter().enumerate() {
                        let best = self.best_images(file, &file.points[place], measured);
                        file.points[place].images = best.map_err(rule_error)?;
                    }
                    file.images_settled = true;
                    return Ok(Some(measured));
                }
            }
        }
        Ok(None)
    }

    /// Runs the pilot of every point. Raised, `stop` ends it after as few trials as it can do with.
    pub(crate) fn measure_all(
        &self,
        worker: &mut Worker<'_>,
        golden: &Golden,
        stop: &AtomicBool,
    ) -> Result<Vec<Measured>, CampaignError> {
        let points = golden.points.iter();
        points.map(|point| self.measure(worker, point, &golden.metrics, stop)).collect()
    }

    /// Runs the pilot of one point.
    fn measure(
        &self,
        worker: &mut Worker<'_>,
        point: &PointPlan,
        golden: &Counts,
        stop: &AtomicBool,
    ) -> Result<Measured, CampaignError> {
        if self.group(point.point, Some(SPLICED_SIZES[0])) > 1 {
            let together = self.measure_with(worker, point, golden, SPLICED_SIZES, stop)?;
            if together.best() <= MOST_IMAGES as f64 {
                return Ok(together);
            }
            // More images than are run together: then it must be seen what trials cost alone.
            let alone = self.measure_with(worker, point, golden, ALONE_SIZES, stop)?;
            let (few, many) = (together.price(MOST_IMAGES as f64), alone.price(alone.best()));
            return Ok(if many < few { alone } else { Measured { most: MOST_IMAGES as f64, ..together } });
        }
        self.measure_with(worker, point, golden, SIZES, stop)
    }

    /// The same with trials of two sizes.
    fn measure_with(
        &self,
        worker: &mut Worker<'_>,
        point: &PointPlan,
        golden: &Counts,
        sizes: [u64; 2],
        stop: &AtomicBool,
    ) -> Result<Measured, CampaignError> {
        let all = self.data().len() as u64;
        let (large, slow) = self.pilot(worker, point, sizes[0], MOST_TRIALS, stop)?;
        let (_, fast) = self.pilot(worker, point, sizes[1], TRIALS, stop)?;
        let [many, few] = sizes.map(|size| size.min(all) as f64);
        let image = ((slow - fast) / (many - few).max(1.0)).max(1e-7);
        let trial = (fast - few * image).max(0.1 * image);
        Ok(Measured { trial, image, ..spread(&large, self.metric(), golden, many / all as f64) })
    }

    /// Trials of a point on so many images, and the seconds that one took.
    fn pilot(
        &self,
        worker: &mut Worker<'_>,
        point: &PointPlan,
        size: u64,
        most: u64,
        stop: &AtomicBool,
    ) -> Result<(Vec<TrialRecord>, f64), CampaignError> {
        let images = Some(size).filter(|&size| size < self.data().len() as u64);
        let group = self.group(point.point, images) as u64;
        let job = |place| Job { point: point.point, trial: self.pilot_trial(place), images, stratum: None };
        let start = Instant::now();
        let mut trials = Vec::new();
        let mut place = 0;
        loop {
            let seconds = start.elapsed().as_secs_f64();
            let enough = match place {
                0..LEAST_TRIALS => false,
                LEAST_TRIALS..TRIALS => seconds > SECONDS_AT_MOST || stop.load(Ordering::Relaxed),
                _ => place >= most || seconds > SECONDS || stop.load(Ordering::Relaxed),
            };
            if enough {
                break;
            }
            let jobs: Vec<Job> = (place..place + group).map(job).collect();
            trials.extend(worker.run(jobs)?);
            place += group;
        }
        let seconds = start.elapsed().as_secs_f64() / trials.len().max(1) as f64;
        Ok((trials, seconds))
    }

    /// The number of a pilot's trial. Where trials are numbers of bits there are no others: then some of those, far apart.
    pub(crate) fn pilot_trial(&self, place: u64) -> u64 {
        match self.config().run.sampling {
            SamplingConfig::Exhaustive => {
                let bits = self.space().bits().max(1);
                ((u128::from(place) * 0x9e37_79b9_7f4a_7c15) % u128::from(bits)) as u64
            }
            _ => FIRST + place,
        }
    }

    /// The metric that is asked for.
    pub(crate) fn metric(&self) -> &'static Metric {
        self.rule_metric().unwrap_or_else(|| known(default_metric(self.distance().is_none())))
    }

    /// The metric that a rule looks at, or, without one, importance sampling: failures.
    pub(crate) fn looked_at(&self) -> &'static Metric {
        let failures = if self.distance().is_some() { "exceeded" } else { "golden_mismatch" };
        self.rule_metric().unwrap_or_else(|| known(failures))
    }

    fn rule_metric(&self) -> Option<&'static Metric> {
        self.config().run.stop.as_ref().map(|stop| known(&stop.metric))
    }
}

/// Mean of a metric, and variances of its change between trials and within them; `share` of all images were run.
fn spread(trials: &[TrialRecord], metric: &Metric, golden: &Counts, share: f64) -> Measured {
    let clean = metric.of_golden(golden).unwrap_or(0.0);
    let changes: Vec<f64> =
        trials.iter().filter_map(|trial| metric.of(trial, golden)).map(|value| value - clean).collect();
    let count = changes.len().max(2) as f64;
    let mean = changes.iter().sum::<f64>() / count;
    let total = changes.iter().map(|change| (change - mean) * (change - mean)).sum::<f64>() / (count - 1.0);
    let inner = trials
        .iter()
        .filter_map(|trial| Some(within(trial, metric, golden, metric.of(trial, golden)? - clean)));
    let within = inner.sum::<f64>() / count;
    let images = trials.first().map_or(1.0, |trial| trial.images.max(1) as f64);
    let between = (total - within / images * (1.0 - share)).max(0.02 * total);
    // Nothing changed in the pilot: as if one image in all of it had.
    let least = 1.0 / (count * images);
    Measured {
        mean: clean + mean,
        between: between.max(least * least),
        within: within.max(least),
        is_guess: total == 0.0,
        trial: 0.0,
        image: 0.0,
        most: f64::INFINITY,
    }
}

/// The variance of a change between the images of a trial; `change` is their mean.
fn within(trial: &TrialRecord, metric: &Metric, golden: &Counts, change: f64) -> f64 {
    // Images that became wrong and images that became right make up for each other in the mean, not in the variance.
    let images = trial.images.max(1) as f64;
    let clean = trial.clean.map_or(golden.correct, |clean| clean.correct);
    let lost = (trial.err_union + clean).saturating_sub(trial.images) as f64 / images;
    let changed = match metric.name {
        "err" => 2.0 * lost - change,
        "accuracy" => 2.0 * lost + change,
        _ => change.abs(),
    };
    (changed - change * change).max(0.0)
}

/// A metric whose name was checked when the configuration was read.
fn known(name: &str) -> &'static Metric {
    METRICS.iter().find(|metric| metric.name == name).unwrap_or(&METRICS[0])
}
