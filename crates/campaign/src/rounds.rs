//! Which trials to run next, and when to stop.
//!
//! Without a stopping rule there is one round: everything that is missing. With one, each point is run in rounds that end where
//! the rule looks ([`StopRule::next_look`]), which depends on nothing but the number of trials. Trials of a shard are counted by
//! themselves: its trial `k` is the campaign's trial `index + k * count`.

use std::collections::BTreeMap;
use std::ops::Range;

use bitquake_record::{
    Counts, FinishedSet, Golden, Metric, MetricSequence, PointPlan, ResultDir, StopGoal, TrialRecord,
};
use bitquake_stats::{StatsError, StopRule};

use crate::campaign::Campaign;
use crate::error::CampaignError;
use crate::run::Look;
use crate::run_config::SamplingConfig;
use crate::shard::Shard;
use crate::strata::Allocation;
use crate::worker::Job;

/// Rounds with a rule hold at most so many trials, so that what is kept of one stays small.
const MOST_A_ROUND: u64 = 1 << 16;

/// The trials of a run, round by round.
pub(crate) struct Rounds<'c> {
    campaign: &'c Campaign,
    shard: Shard,
    finished: FinishedSet,
    points: Vec<Point>,
    rule: Option<Rule>,
}

/// How far a point is.
struct Point {
    plan: PointPlan,
    /// The shard's trials, at most.
    trials: u64,
    /// Those that have been looked at, or, without a rule, run.
    looked: u64,
    is_over: bool,
    /// Trials that go to a worker at once.
    group: usize,
}

/// What looks at the results: a stopping rule, or importance sampling, or both.
struct Rule {
    goal: StopGoal,
    metric: &'static Metric,
    golden: Counts,
    /// Of each point.
    sequences: Vec<MetricSequence>,
    /// Of each point, with importance sampling.
    allocations: Vec<Allocation>,
    /// Of each point, what trials found that were finished before this run.
    before: Vec<BTreeMap<u64, Found>>,
}

/// What one trial found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    value: f64,
    stratum: Option<(u32, f64)>,
}

/// Trials to run without looking: of each point, a range of the shard's own count.
pub(crate) struct Round {
    parts: Vec<(usize, Range<u64>)>,
}

/// The values of a round's trials, for the rule to look at.
pub(crate) struct Values<'r> {
    rule: Option<&'r Rule>,
    values: BTreeMap<u64, Found>,
}

impl<'c> Rounds<'c> {
    /// What is to be run of a campaign whose golden run, with its points, is known.
    pub(crate) fn new(
        campaign: &'c Campaign,
        dir: &ResultDir,
        shard: Shard,
        golden: &Golden,
    ) -> Result<Self, CampaignError> {
        let config = &campaign.config().run;
        let own = |all: u64| all.saturating_sub(u64::from(shard.index)).div_ceil(u64::from(shard.count));
        let point = |plan: &PointPlan| Point {
            plan: *plan,
            trials: own(campaign.most_trials()),
            looked: 0,
            is_over: false,
            group: campaign.group(plan.point, plan.images),
        };
        let points: Vec<Point> = golden.points.iter().map(point).collect();
        let looks = config.stop.as_ref().is_some_and(|stop| !stop.is_time_alone())
            || config.sampling == SamplingConfig::Importance;
        let rule = if looks { Some(Rule::new(campaign, shard, golden)?) } else { None };
        let mut rounds = Self { campaign, shard, finished: dir.finished()?, points, rule };
        rounds.replay(dir)?;
        Ok(rounds)
    }

    /// Looks at the trials of earlier runs as those runs did.
    fn replay(&mut self, dir: &ResultDir) -> Result<(), CampaignError> {
        if let Some(rule) = self.rule.as_mut().filter(|_| !self.finished.is_empty()) {
            let shard = self.shard;
            let points = rule.before.len();
            dir.for_each_trial(|trial| {
                let place = trial.point as usize;
                if let (Some(own), true) = (own_count(shard, trial.trial), place < points)
                    && let Some(found) = rule.found(&trial)
                {
                    rule.before[place].insert(own, found);
                }
                Ok::<(), bitquake_record::RecordError>(())
            })?;
        }
        while let Some(round) = self.next().filter(|_| self.rule.is_some()) {
            if self.jobs(&round).next().is_some() {
                break;
            }
            let values = self.values();
            self.finish(&round, values.values)?;
        }
        Ok(())
    }

    /// The next trials to run without looking; none when all is done.
    pub(crate) fn next(&self) -> Option<Round> {
        let Some(rule) = &self.rule else {
            let open = self.points.iter().enumerate().filter(|(_, point)| point.looked < point.trials);
            let parts: Vec<_> = open.map(|(place, point)| (place, point.looked..point.trials)).collect();
            return (!parts.is_empty()).then_some(Round { parts });
        };
        let place = self.points.iter().position(|point| !point.is_over)?;
        let point = &self.points[place];
        let look = rule.goal.rule.next_look(point.looked).min(point.looked + MOST_A_ROUND).min(point.trials);
        Some(Round { parts: vec![(place, point.looked..look)] })
    }

    /// The trials of a round that are not finished, in groups for one worker each.
    pub(crate) fn jobs<'r>(&'r self, round: &'r Round) -> impl Iterator<Item = Vec<Job>> + Send + 'r {
        round.parts.iter().flat_map(move |(place, own)| {
            let point = &self.points[*place];
            let mut missing = own
                .clone()
                .map(|own| self.trial(own))
                .filter(|&trial| !self.finished.contains(point.plan.point, trial))
                .map(move |trial| Job {
                    point: point.plan.point,
                    trial,
                    images: point.plan.images,
                    stratum: self.stratum(*place, trial),
                });
            std::iter::from_fn(move || {
                let group: Vec<Job> = missing.by_ref().take(point.group).collect();
                (!group.is_empty()).then_some(group)
            })
        })
    }

    /// The stratum of a trial and its weight, with importance sampling.
    fn stratum(&self, place: usize, trial: u64) -> Option<(u32, f64)> {
        let allocation = self.rule.as_ref()?.allocations.get(place)?;
        Some(allocation.choose(&self.campaign.key(0, trial)))
    }

    /// Nothing of a round yet.
    pub(crate) fn values(&self) -> Values<'_> {
        Values { rule: self.rule.as_ref(), values: BTreeMap::new() }
    }

    /// Ends a round; `values` are those of the trials run in it. Looks, if a rule says so and no trial is missing.
    pub(crate) fn finish(
        &mut self,
        round: &Round,
        values: BTreeMap<u64, Found>,
    ) -> Result<Option<Look>, CampaignError> {
        let Some(rule) = &mut self.rule else {
            return Ok(None);
        };
        let mut seen = None;
        for (place, own) in &round.parts {
            let point = &mut self.points[*place];
            for trial in own.clone() {
                let found = values.get(&trial).or_else(|| rule.before[*place].get(&trial));
                let Some(&found) = found else { return Ok(None) };
                rule.add(*place, found)?;
                rule.before[*place].remove(&trial);
            }
            point.looked = own.end;
            if let Some(allocation) = rule.allocations.get_mut(*place) {
                allocation.update();
            }
            let look = rule.look(*place, point)?;
            point.is_over = look.is_met || point.looked >= point.trials;
            seen = Some(look);
        }
        Ok(seen)
    }

    /// The shard's trials found finished when the run began.
    pub(crate) fn done(&self) -> u64 {
        let is_own = |trial| own_count(self.shard, trial).is_some();
        self.finished.iter().filter(|(_, trial)| is_own(*trial)).count() as u64
    }

    fn trial(&self, own: u64) -> u64 {
        u64::from(self.shard.index) + own * u64::from(self.shard.count)
    }

    /// Trials that the run has, at most.
    pub(crate) fn most(&self) -> u64 {
        self.points.iter().map(|point| if point.is_over { point.looked } else { point.trials }).sum()
    }

    /// Whether nothing is left to run.
    pub(crate) fn is_over(&self) -> bool {
        self.next().is_none_or(|round| self.rule.is_none() && self.jobs(&round).next().is_none())
    }
}

/// The place of a trial in the count of its shard; none if it is another shard's.
fn own_count(shard: Shard, trial: u64) -> Option<u64> {
    let (index, count) = (u64::from(shard.index), u64::from(shard.count));
    (trial % count == index).then_some(trial / count)
}

pub(crate) fn rule_error(error: StatsError) -> CampaignError {
    CampaignError::config("campaign", format!("[run] stop: {error}"))
}

impl Rule {
    fn new(campaign: &Campaign, shard: Shard, golden: &Golden) -> Result<Self, CampaignError> {
        let run = &campaign.config().run;
        let (config, confidence) = (run.stop.as_ref(), run.stop_confidence());
        let metric = campaign.looked_at();
        // Shards of equal size together are narrower than each by the root of their number.
        let wider = f64::from(shard.count).sqrt();
        let stop = StopRule {
            half_width: config.and_then(|config| config.half_width).map(|width| width * wider),
            relative: config.and_then(|config| config.relative).map(|width| width * wider),
            ..StopRule::new(confidence, u64::MAX)
        };
        let sequence = |point: &PointPlan| {
            let sequence =
                MetricSequence::new(metric, &golden.metrics, point, confidence).map_err(rule_error)?;
            let unbounded = || format!("[run] stop: metric `{}` has no bounds", metric.name);
            sequence.ok_or_else(|| CampaignError::config("campaign", unbounded()))
        };
        let sequences = golden.points.iter().map(sequence).collect::<Result<_, _>>()?;
        let allocation = |strata| vec![Allocation::new(strata); golden.points.len()];
        Ok(Self {
            goal: StopGoal { metric: metric.name, rule: stop },
            metric,
            golden: golden.metrics.clone(),
            sequences,
            allocations: campaign.strata().map(allocation).unwrap_or_default(),
            before: vec![BTreeMap::new(); golden.points.len()],
        })
    }

    fn found(&self, trial: &TrialRecord) -> Option<Found> {
        let value = self.metric.of(trial, &self.golden)?;
        Some(Found { value, stratum: trial.stratum.zip(trial.weight) })
    }

    fn add(&mut self, place: usize, found: Found) -> Result<(), CampaignError> {
        let weight = found.stratum.map(|(_, weight)| weight);
        self.sequences[place].push(found.value, weight).map_err(rule_error)?;
        if let (Some(allocation), Some((stratum, _))) = (self.allocations.get_mut(place), found.stratum) {
            let all = self.metric.of_golden(&self.golden).unwrap_or(0.0);
            allocation.add(stratum, found.value - all);
        }
        Ok(())
    }

    fn look(&self, place: usize, point: &Point) -> Result<Look, CampaignError> {
        let sequence = &self.sequences[place];
        let interval = sequence.interval(self.goal.rule.confidence).map_err(rule_error)?;
        let (mean, interval) = sequence
            .mean()
            .zip(interval)
            .ok_or_else(|| CampaignError::config("campaign", "[run] stop: nothing to look at".to_owned()))?;
        let status = self.goal.status(&self.golden, &point.plan, mean, interval);
        Ok(Look {
            point: point.plan.point,
            trials: point.looked,
            estimate: status.estimate,
            half_width: status.interval.half_width(),
            is_met: status.is_met,
        })
    }
}

impl Values<'_> {
    /// Takes the record of a trial of the round.
    pub(crate) fn add(&mut self, shard: Shard, trial: &TrialRecord) {
        let Some(rule) = self.rule else { return };
        if let (Some(own), Some(found)) = (own_count(shard, trial.trial), rule.found(trial)) {
            self.values.insert(own, found);
        }
    }

    /// The values by the shard's own count.
    pub(crate) fn into_values(self) -> BTreeMap<u64, Found> {
        self.values
    }
}
