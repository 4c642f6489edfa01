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
use crate::exposure::trial_key;
use crate::run::Look;
use crate::run_config::{RunConfig, SamplingConfig};
use crate::shard::Shard;
use crate::strata::{Allocation, Strata};
use crate::worker::Job;

/// Rounds with a rule hold at most so many trials, so that what is kept of one stays small.
const MOST_A_ROUND: u64 = 1 << 16;

/// What a campaign asks for, whoever runs its trials.
pub(crate) struct Terms<'t> {
    pub(crate) seed: u64,
    pub(crate) run: &'t RunConfig,
    /// The most trials that a point may get.
    pub(crate) most_trials: u64,
    /// What a rule or importance sampling looks at.
    pub(crate) metric: &'static Metric,
    /// With importance sampling, what it draws from.
    pub(crate) strata: Option<&'t Strata>,
    /// How many trials of a point go to a worker at once.
    pub(crate) group: &'t dyn Fn(&PointPlan) -> usize,
}

impl Campaign {
    /// What is to be run of the campaign, whose golden run, with its points, is known.
    pub(crate) fn rounds(
        &self,
        dir: &ResultDir,
        shard: Shard,
        golden: &Golden,
    ) -> Result<Rounds, CampaignError> {
        let terms = Terms {
            seed: self.config().seed,
            run: &self.config().run,
            most_trials: self.most_trials(),
            metric: self.looked_at(),
            strata: self.strata(),
            group: &|plan| self.group(plan.point, plan.images),
        };
        Rounds::new(&terms, dir, shard, golden)
    }
}

/// The trials of a run, round by round.
pub(crate) struct Rounds {
    seed: u64,
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

impl Point {
    /// The shard's trials that are wanted, as far as is known.
    fn asked(&self) -> u64 {
        if self.is_over { self.looked } else { self.trials }
    }
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
#[derive(Debug)]
pub(crate) struct Round {
    parts: Vec<(usize, Range<u64>)>,
}

/// The values of a round's trials, for the rule to look at.
pub(crate) struct Values<'r> {
    rule: Option<&'r Rule>,
    values: BTreeMap<u64, Found>,
}

/// How far a round is, for who runs its trials one by one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    part: usize,
    /// Trials of the part that were handed out or found finished.
    passed: u64,
}

impl Rounds {
    /// What is to be run of a campaign whose golden run, with its points, is known.
    pub(crate) fn new(
        terms: &Terms<'_>,
        dir: &ResultDir,
        shard: Shard,
        golden: &Golden,
    ) -> Result<Self, CampaignError> {
        let config = terms.run;
        let own = |all: u64| all.saturating_sub(u64::from(shard.index)).div_ceil(u64::from(shard.count));
        let point = |plan: &PointPlan| Point {
            plan: *plan,
            trials: own(terms.most_trials),
            looked: 0,
            is_over: false,
            group: (terms.group)(plan),
        };
        let points: Vec<Point> = golden.points.iter().map(point).collect();
        let looks = config.stop.as_ref().is_some_and(|stop| !stop.is_time_alone())
            || config.sampling == SamplingConfig::Importance;
        let rule = if looks { Some(Rule::new(terms, shard, golden)?) } else { None };
        let mut rounds = Self { seed: terms.seed, shard, finished: dir.finished()?, points, rule };
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
            let mut missing = own.clone().filter_map(move |own| self.job(*place, own));
            std::iter::from_fn(move || {
                let group: Vec<Job> = missing.by_ref().take(point.group).collect();
                (!group.is_empty()).then_some(group)
            })
        })
    }

    /// The next of these trials, one by one.
    pub(crate) fn next_job(&self, round: &Round, cursor: &mut Cursor) -> Option<Job> {
        while let Some((place, own)) = round.parts.get(cursor.part) {
            while own.start + cursor.passed < own.end {
                let next = own.start + cursor.passed;
                cursor.passed += 1;
                if let Some(job) = self.job(*place, next) {
                    return Some(job);
                }
            }
            *cursor = Cursor { part: cursor.part + 1, passed: 0 };
        }
        None
    }

    /// A trial by the shard's own count, if it was not finished when the run began.
    fn job(&self, place: usize, own: u64) -> Option<Job> {
        let (plan, trial) = (&self.points[place].plan, self.trial(own));
        let is_missing = !self.finished.contains(plan.point, trial);
        is_missing.then(|| Job {
            point: plan.point,
            trial,
            images: plan.images,
            stratum: self.stratum(place, trial),
        })
    }

    /// The stratum of a trial and its weight, with importance sampling.
    fn stratum(&self, place: usize, trial: u64) -> Option<(u32, f64)> {
        let allocation = self.rule.as_ref()?.allocations.get(place)?;
        Some(allocation.choose(&trial_key(self.seed, trial)))
    }

    /// Nothing of a round yet.
    pub(crate) fn values(&self) -> Values<'_> {
        Values { rule: self.rule.as_ref(), values: BTreeMap::new() }
    }

    /// What a trial of a round found, for the rule to look at, and its place in the shard's own count; none without a rule.
    pub(crate) fn found(&self, trial: &TrialRecord) -> Option<(u64, Found)> {
        Some((own_count(self.shard, trial.trial)?, self.rule.as_ref()?.found(trial)?))
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

    /// The shard's trials that are finished, of those that this run asks for, when `ran` of them were run since it began. Earlier runs may
    /// have been asked for more.
    pub(crate) fn done(&self, ran: u64) -> u64 {
        let is_asked = |(point, trial): &(u32, u64)| {
            let own = own_count(self.shard, *trial).zip(self.points.get(*point as usize));
            own.is_some_and(|(own, point)| own < point.asked())
        };
        self.finished.iter().filter(is_asked).count() as u64 + ran
    }

    fn trial(&self, own: u64) -> u64 {
        u64::from(self.shard.index) + own * u64::from(self.shard.count)
    }

    /// Trials that the run has, at most.
    pub(crate) fn most(&self) -> u64 {
        self.points.iter().map(Point::asked).sum()
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
    fn new(terms: &Terms<'_>, shard: Shard, golden: &Golden) -> Result<Self, CampaignError> {
        let run = terms.run;
        let (config, confidence) = (run.stop.as_ref(), run.stop_confidence());
        let metric = terms.metric;
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
            allocations: terms.strata.map(allocation).unwrap_or_default(),
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
