//! Campaigns that are not run but drawn from the records of one that was: trials by lot, with replacement, each on some of its images,
//! by lot and without. So the mean that they estimate is known exactly: that of the records.

use bitquake_record::{
    Amount, CleanRecord, Counts, Metric, MetricSequence, PointPlan, StopGoal, TrialRecord,
};
use bitquake_stats::{Interval, StatsError, StopRule};
use bitquake_testing::SplitMix64;

/// The records to draw from.
pub struct Population<'r> {
    pub records: &'r [TrialRecord],
    pub golden: &'r Counts,
    pub metric: &'r Metric,
}

/// How a campaign ended.
pub struct Ended {
    pub trials: u64,
    pub interval: Interval,
}

impl Population<'_> {
    /// The mean of the metric: what every campaign estimates.
    pub fn truth(&self) -> f64 {
        let values = self.records.iter().filter_map(|record| self.metric.of(record, self.golden));
        values.sum::<f64>() / self.records.len() as f64
    }

    /// A campaign with `images` a trial until `rule` is met, by the sequence and the judgement of `Campaign::run`.
    pub fn campaign(
        &self,
        images: u64,
        rule: &StopRule,
        random: &mut SplitMix64,
    ) -> Result<Ended, StatsError> {
        let plan = PointPlan { images: Some(images), ..PointPlan::new(0, Amount::Count(1)) };
        let goal = StopGoal { metric: self.metric.name, rule: *rule };
        let mut sequence = MetricSequence::new(self.metric, self.golden, &plan, rule.confidence)?
            .expect("a metric with bounds");
        let mut trials = 0;
        loop {
            let look = rule.next_look(trials);
            for _ in trials..look {
                let whole = &self.records[below(random, self.records.len() as u64) as usize];
                let value = self.metric.of(&subset(whole, self.golden, images, random), self.golden);
                sequence.push(value.unwrap_or(f64::NAN), None)?;
            }
            trials = look;
            let Some((mean, interval)) = sequence.mean().zip(sequence.interval(rule.confidence)?) else {
                continue;
            };
            if goal.status(self.golden, &plan, mean, interval).is_met || trials >= rule.max_trials {
                return Ok(Ended { trials, interval });
            }
        }
    }
}

/// A trial on `images` of its images, chosen by lot. Of right and wrong answers alone.
fn subset(whole: &TrialRecord, golden: &Counts, images: u64, random: &mut SplitMix64) -> TrialRecord {
    let clean = whole.clean.map_or(golden.correct, |clean| clean.correct);
    let lost = whole.err_union + clean - whole.images;
    let gained = whole.correct + lost - clean;
    // Right without faults and with them, lost, gained, wrong without and with.
    let mut left = [clean - lost, lost, gained, whole.images - clean - gained];
    let mut drawn = [0; 4];
    for taken in 0..images {
        let mut place = below(random, whole.images - taken);
        let kind = left.iter().position(|&count| {
            let is_here = place < count;
            place = place.saturating_sub(count);
            is_here
        });
        if let Some(kind) = kind {
            left[kind] -= 1;
            drawn[kind] += 1;
        }
    }
    let [kept, lost, gained, _] = drawn;
    TrialRecord {
        images,
        correct: kept + gained,
        err_union: images - kept,
        clean: Some(CleanRecord { correct: kept + lost, ..CleanRecord::default() }),
        ..TrialRecord::default()
    }
}

fn below(random: &mut SplitMix64, bound: u64) -> u64 {
    ((random.unit() * bound as f64) as u64).min(bound - 1)
}
