//! How many images a trial takes: a pilot measures what trials and images cost, and how much each of them tells.
//!
//! The mean over patterns and images is estimated in two stages: `n` trials, each on `m` of the `N` images. Its variance is
//! `between / n + within / (n m) * (1 - m / N)`, its cost `n (trial + m image)`; the best `m` is the root of
//! `(trial / image) * (within / between)` (Cochran, Sampling Techniques, 3rd ed., section 10.6). The golden results of all images
//! are known, so `within` is the variance of the change that faults make, not that of the images.
//!
//! Where trials on few images are run together ([`Worker::run`]), they cost far less than alone: the pilot then runs them so.

use std::time::Instant;

use bitquake_record::{Counts, Golden, METRICS, Metric, PointPlan, TrialRecord};

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::run_config::{ImagesConfig, ImagesRule};
use crate::set_up::MOST_IMAGES;
use crate::worker::{Job, Worker};

/// Trials of the pilot have numbers from here on, so that no trial of the campaign has their faults.
const FIRST: u64 = 1 << 40;
/// A pilot: its trials, and the images of the larger and of the smaller ones; two sizes tell apart what a trial and what an
/// image costs.
type Pilot = (u64, [u64; 2]);
/// Of trials run one by one.
const ALONE: Pilot = (24, [64, 8]);
/// Of trials run together: cheap ones, so that there may be enough to see rare events.
const TOGETHER: Pilot = (256, [8, 1]);

/// What was measured at a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    /// Variance of the mean change between trials.
    pub(crate) between: f64,
    /// Variance of the change between images of a trial.
    pub(crate) within: f64,
    /// Seconds of a trial besides its images.
    pub(crate) trial: f64,
    /// Seconds of an image.
    pub(crate) image: f64,
    /// What holds of costs does so up to here.
    most: u64,
}

impl Measured {
    /// Images for each trial, a power of two, so that small differences between pilots do not matter; none for all.
    pub(crate) fn images(&self, all: u64) -> Option<u64> {
        let best = self.best();
        (best < all as f64 / 2.0).then_some(best as u64)
    }

    fn best(&self) -> f64 {
        let ratio = (self.trial / self.image.max(1e-9)) * (self.within / self.between.max(1e-9));
        ratio.sqrt().max(1.0).log2().round().exp2().min(self.most as f64)
    }

    /// Variance of the mean times seconds, at the best number of images.
    fn price(&self) -> f64 {
        let images = self.best();
        (self.between + self.within / images) * (self.trial + self.image * images)
    }
}

impl Campaign {
    /// Settles how many images the trials of each point take, and notes it in the golden record.
    pub(crate) fn settle_images(
        &self,
        workers: &mut [Worker<'_>],
        file: &mut Golden,
    ) -> Result<(), CampaignError> {
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
                    for place in 0..file.points.len() {
                        let measured = self.measure(&mut workers[0], &file.points[place], &file.metrics)?;
                        file.points[place].images = measured.images(all);
                    }
                    file.images_settled = true;
                }
            }
        }
        Ok(())
    }

    /// Runs the pilot of one point.
    pub(crate) fn measure(
        &self,
        worker: &mut Worker<'_>,
        point: &PointPlan,
        golden: &Counts,
    ) -> Result<Measured, CampaignError> {
        if self.group(point.point, Some(1)) == 1 {
            return self.measure_by(worker, point, golden, ALONE, u64::MAX);
        }
        let together = self.measure_by(worker, point, golden, TOGETHER, MOST_IMAGES)?;
        if together.best() < MOST_IMAGES as f64 {
            return Ok(together);
        }
        let alone = self.measure_by(worker, point, golden, ALONE, u64::MAX)?;
        Ok(if alone.price() < together.price() { alone } else { together })
    }

    fn measure_by(
        &self,
        worker: &mut Worker<'_>,
        point: &PointPlan,
        golden: &Counts,
        (trials, sizes): Pilot,
        most: u64,
    ) -> Result<Measured, CampaignError> {
        let all = self.data().len() as u64;
        let mut seconds = Vec::new();
        let mut large = Vec::new();
        for size in sizes {
            let images = Some(size).filter(|&size| size < all);
            let jobs: Vec<Job> =
                (FIRST..FIRST + trials).map(|trial| Job { point: point.point, trial, images }).collect();
            let group = if most == u64::MAX { 1 } else { self.group(point.point, images) };
            let start = Instant::now();
            let mut records = Vec::new();
            for jobs in jobs.chunks(group) {
                records.extend(worker.run(jobs.to_vec())?);
            }
            seconds.push(start.elapsed().as_secs_f64() / trials as f64);
            if large.is_empty() {
                large = records;
            }
        }
        let [many, few] = sizes.map(|size| size.min(all) as f64);
        let image = ((seconds[0] - seconds[1]) / (many - few).max(1.0)).max(1e-7);
        let trial = (seconds[1] - few * image).max(0.1 * image);
        let (between, within) = self.spread(&large, golden, many / all as f64);
        Ok(Measured { between, within, trial, image, most })
    }

    /// Variances of the change between trials and within them; `share` of all images were run.
    fn spread(&self, trials: &[TrialRecord], golden: &Counts, share: f64) -> (f64, f64) {
        let asked = self.config().run.stop.as_ref().map(|stop| stop.metric.as_str());
        let metric = METRICS.iter().find(|metric| Some(metric.name) == asked);
        let changes = trials.iter().filter_map(|trial| change(metric?, trial, golden));
        let all: Vec<(f64, f64)> = changes.collect();
        let count = all.len().max(2) as f64;
        let mean = all.iter().map(|(mean, _)| mean).sum::<f64>() / count;
        let total = all.iter().map(|(value, _)| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
        let images = trials.first().map_or(1.0, |trial| trial.images.max(1) as f64);
        let within = all.iter().map(|(_, within)| within).sum::<f64>() / count;
        let between = (total - within / images * (1.0 - share)).max(0.02 * total);
        // Nothing changed in the pilot: as if one image in all of it had.
        let least = 1.0 / (count * images);
        (between.max(least * least), within.max(least))
    }
}

/// The mean change of a metric on a trial's images, and the variance between them: without bias, from the changes for better
/// and for worse, which for other metrics than those of right and wrong answers go one way.
fn change(metric: &Metric, trial: &TrialRecord, golden: &Counts) -> Option<(f64, f64)> {
    let images = trial.images.max(1) as f64;
    let mean = metric.of(trial, golden)? - metric.of_golden(golden)?;
    let both_ways = match (metric.name, trial.clean) {
        ("err" | "accuracy", Some(clean)) => {
            let lost = (trial.err_union + clean.correct).saturating_sub(trial.images);
            let gained = (trial.correct + lost).saturating_sub(clean.correct);
            (lost + gained) as f64 / images
        }
        _ => mean.abs(),
    };
    let biased = (both_ways - mean * mean).max(0.0);
    Some((mean, if images > 1.0 { biased * images / (images - 1.0) } else { biased }))
}
