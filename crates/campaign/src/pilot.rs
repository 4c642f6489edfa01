//! How many images a trial takes: a pilot measures what trials and images cost, and how much each of them tells.
//!
//! The mean over patterns and images is estimated in two stages: `n` trials, each on `m` of the `N` images. Its variance is
//! `between / n + within / (n m) * (1 - m / N)`, its cost `n (trial + m image)`; the best `m` is the root of
//! `(trial / image) * (within / between)` (Cochran, Sampling Techniques, 3rd ed., section 10.6). The golden results of all images
//! are known, so `within` is the variance of the change that faults make, not that of the images.

use std::time::Instant;

use bitquake_record::{Golden, PointPlan, TrialRecord};

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::run_config::{ImagesConfig, ImagesRule};
use crate::worker::{Job, Worker};

/// Trials of the pilot have numbers from here on, so that no trial of the campaign has their faults.
const FIRST: u64 = 1 << 40;
/// Trials at each point.
const TRIALS: u64 = 24;
/// Images of the larger and of the smaller trials: two sizes tell apart what a trial and what an image costs.
const SIZES: [u64; 2] = [64, 8];

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
}

impl Measured {
    /// Images for each trial, a power of two, so that small differences between pilots do not matter; none for all.
    pub(crate) fn images(&self, all: u64) -> Option<u64> {
        let ratio = (self.trial / self.image.max(1e-9)) * (self.within / self.between.max(1e-9));
        let best = ratio.sqrt().max(1.0).log2().round().exp2();
        (best < all as f64 / 2.0).then_some(best as u64)
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
                        let measured = self.measure(&mut workers[0], &file.points[place])?;
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
    ) -> Result<Measured, CampaignError> {
        let all = self.data().len() as u64;
        let mut seconds = Vec::new();
        let mut large = Vec::new();
        for size in SIZES {
            let images = Some(size).filter(|&size| size < all);
            let start = Instant::now();
            let trials: Vec<TrialRecord> = (FIRST..FIRST + TRIALS)
                .map(|trial| worker.trial(Job { point: point.point, trial, images, stratum: None }))
                .collect::<Result<_, _>>()?;
            seconds.push(start.elapsed().as_secs_f64() / TRIALS as f64);
            if large.is_empty() {
                large = trials;
            }
        }
        let [many, few] = SIZES.map(|size| size.min(all) as f64);
        let image = ((seconds[0] - seconds[1]) / (many - few).max(1.0)).max(1e-7);
        let trial = (seconds[1] - few * image).max(0.1 * image);
        let (between, within) = spread(&large, many / all as f64);
        Ok(Measured { between, within, trial, image })
    }
}

/// Variances of the change between trials and within them; `share` of all images were run.
fn spread(trials: &[TrialRecord], share: f64) -> (f64, f64) {
    let change = |trial: &TrialRecord| {
        let images = trial.images.max(1) as f64;
        let lost = |trial: &TrialRecord| {
            let clean = trial.clean.map_or(trial.images, |clean| clean.correct);
            (trial.err_union + clean).saturating_sub(trial.images) as f64
        };
        // Failures for models without labels; else the changes of right and wrong.
        match trial.distance {
            Some(distance) => {
                let mean = distance.exceeded as f64 / images;
                (mean, mean * (1.0 - mean), images)
            }
            None => {
                let lost = lost(trial) / images;
                let kept = trial.clean.map_or(1.0, |clean| clean.correct as f64 / images) - lost;
                let gained = (trial.correct as f64 / images - kept).max(0.0);
                let mean = lost - gained;
                (mean, (lost + gained - mean * mean).max(0.0), images)
            }
        }
    };
    let all: Vec<(f64, f64, f64)> = trials.iter().map(change).collect();
    let count = all.len().max(2) as f64;
    let mean = all.iter().map(|(mean, ..)| mean).sum::<f64>() / count;
    let total = all.iter().map(|(value, ..)| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
    let within = all.iter().map(|(_, within, _)| within).sum::<f64>() / count;
    let images = all.first().map_or(1.0, |(.., images)| *images);
    let between = (total - within / images * (1.0 - share)).max(0.02 * total);
    // Nothing changed in the pilot: as if one image in all of it had.
    let least = 1.0 / (count * images);
    (between.max(least * least), within.max(least))
}
