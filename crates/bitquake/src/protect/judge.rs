//! Campaigns on every memory, under common fault patterns.

use std::sync::atomic::AtomicBool;

use bitquake_campaign::{Campaign, End, Event, RunOptions, Shard};
use bitquake_record::{Amount, MetricSummary, PointSummary, RecordError, ResultDir};
use bitquake_stats::{Estimate, Interval, Priced, SignFlip, Standing, pareto};
use serde::Serialize;

use super::contender::{Contender, Plans};
use crate::compare::compare;
use crate::error::Error;
use crate::results::rebuild;

/// What judging tells while it works.
pub enum JudgeEvent<'a> {
    /// The campaign on a memory begins.
    Begin {
        /// The memory's place, from 0.
        place: usize,
        /// The memory.
        contender: &'a Contender,
    },
    /// What the campaign tells.
    Campaign(Event<'a>),
}

/// All memories, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judgement {
    /// Version of the file; 1.
    pub schema: u32,
    /// What it is called.
    pub name: String,
    /// The raw bit error rate that plans are made for, and memories compared at.
    pub rate: f64,
    /// Bits of the memory without protections.
    pub bits: u64,
    /// Where damage is known from.
    pub damage: String,
    /// The metric of errors: `err`, or `exceeded` for models that are no classifiers.
    pub metric: &'static str,
    /// What to know before memories are compared.
    pub warnings: Vec<String>,
    /// The memories, the unprotected one first.
    pub memories: Vec<Judged>,
}

/// A memory, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The memory.
    #[serde(flatten)]
    pub contender: Contender,
    /// Its extra bits over the bits of the unprotected memory.
    pub overhead: f64,
    /// The error without faults: another than the unprotected memory's only where guards are in the way.
    pub clean: f64,
    /// Trials.
    pub trials: u64,
    /// The mean error of the faulty network.
    pub error: f64,
    /// Its interval over fault patterns.
    pub interval: Option<Interval>,
    /// How it stands among all by overhead and error.
    #[serde(flatten)]
    pub standing: Standing,
    /// By how much its error differs from that of the unprotected memory in the same trials; none for that one itself.
    pub difference: Option<Estimate>,
    /// The sign-flip test that it does not; none after a stopping rule.
    pub test: Option<SignFlip>,
    /// What is left of the errors in data bits.
    pub residue: Residue,
}

/// What is left of bit errors in the data of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Residue {
    /// Data bits that are wrong for the network, in the mean over trials.
    pub bits: f64,
    /// The share of the unprotected memory's wrong bits that are gone: 1 if none is left, negative if protections add to them.
    pub coverage: f64,
    /// The ends of its interval: those of the mean of the wrong bits that are left, over the mean of the wrong bits without protection.
    pub coverage_ends: Option<[f64; 2]>,
}

/// Runs the campaign on every memory, resuming what is there, and compares them. Trials of one number have the same flips in the data of all
/// memories, and of their own in check bits.
///
/// # Errors
/// [`Error`] when a campaign cannot run; [`Error::Unfinished`] when `stop` was set, after which the same call resumes.
pub fn judge(
    plans: &Plans,
    stop: &AtomicBool,
    mut observer: impl FnMut(JudgeEvent<'_>),
) -> Result<Judgement, Error> {
    let dirs: Vec<ResultDir> = plans.contenders.iter().map(|contender| plans.results(contender)).collect();
    let mut warnings = plans.warnings.clone();
    for (place, (contender, dir)) in plans.contenders.iter().zip(&dirs).enumerate() {
        observer(JudgeEvent::Begin { place, contender });
        let (campaign, model) = Campaign::prepare(plans.campaign(contender))?;
        let options = RunOptions { shard: Shard::default(), stop };
        match campaign.run(model, dir, options, |event| observer(JudgeEvent::Campaign(event)))? {
            End::Finished => {}
            End::OutOfTime { .. } => {
                warnings
                    .push(format!("{}: [run] stop ended it by time, not by what is known", contender.name));
            }
            End::Stopped { missing } => return Err(Error::Unfinished { missing }),
        }
    }
    compared(plans, &dirs, warnings)
}

/// What the records of all campaigns come to.
fn compared(plans: &Plans, dirs: &[ResultDir], mut warnings: Vec<String>) -> Result<Judgement, Error> {
    let metric = if plans.file.campaign.outcome.is_some() { "exceeded" } else { "err" };
    let overviews = dirs.iter().map(|dir| Ok(rebuild(dir)?.overview)).collect::<Result<Vec<_>, Error>>()?;
    let points = overviews
        .iter()
        .zip(dirs)
        .map(|(overview, dir)| {
            let point = overview.points.iter().find(|point| point.amount == Amount::Rate(plans.rate));
            point.ok_or_else(|| nothing(dir, "it has no trials at the rate of the plans"))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let raw = mean(points[0], "faults", &dirs[0])?.0;
    let mut memories = Vec::new();
    for (((contender, dir), point), overview) in
        plans.contenders.iter().zip(dirs).zip(&points).zip(&overviews)
    {
        let (error, interval) = mean(point, metric, dir)?;
        let paired = match memories.is_empty() {
            true => None,
            false => {
                let all = compare(&dirs[0], dir, metric)?;
                all.points.into_iter().find(|point| point.amount == Amount::Rate(plans.rate))
            }
        };
        memories.push(Judged {
            overhead: plans.overhead(contender),
            contender: contender.clone(),
            clean: 1.0 - overview.golden.score().unwrap_or(1.0),
            trials: point.trials,
            error,
            interval,
            standing: Standing::default(),
            difference: paired.as_ref().map(|paired| paired.difference),
            test: paired.and_then(|paired| paired.test),
            residue: residue(point, raw, dir)?,
        });
    }
    let priced = |judged: &Judged| Priced {
        cost: judged.overhead,
        loss: judged.error,
        ends: judged.interval.map_or(Priced::UNKNOWN, |interval| [interval.lo, interval.hi]),
    };
    let standings = pareto(&memories.iter().map(priced).collect::<Vec<_>>());
    memories.iter_mut().zip(standings).for_each(|(judged, standing)| judged.standing = standing);
    if memories.iter().any(|judged| judged.trials != memories[0].trials) {
        warnings.push("memories have other numbers of trials, by the stopping rule: differences are of the trials that both have".into());
    }
    if memories.iter().any(|judged| judged.clean != memories[0].clean) {
        warnings.push(
            "guards change the error without faults: give them a margin, or other images to calibrate on"
                .into(),
        );
    }
    Ok(Judgement {
        schema: 1,
        name: plans.file.campaign.name.clone(),
        rate: plans.rate,
        bits: plans.bits,
        damage: plans.damage.clone(),
        metric,
        warnings,
        memories,
    })
}

/// Wrong data bits that are left, and what share of `raw` is gone.
fn residue(point: &PointSummary, raw: f64, dir: &ResultDir) -> Result<Residue, Error> {
    // Without protections every fault is left.
    let name = if has(point, "residual") { "residual" } else { "faults" };
    let (bits, interval) = mean(point, name, dir)?;
    let share = |left: f64| if raw > 0.0 { 1.0 - left / raw } else { 0.0 };
    let is_raw = name == "faults";
    Ok(Residue {
        bits,
        coverage: if is_raw { 0.0 } else { share(bits) },
        coverage_ends: interval.filter(|_| !is_raw).map(|ends| [share(ends.hi), share(ends.lo)]),
    })
}

fn has(point: &PointSummary, name: &str) -> bool {
    point.metric(name).is_some_and(|metric| metric.summary.is_some())
}

fn mean(point: &PointSummary, name: &str, dir: &ResultDir) -> Result<(f64, Option<Interval>), Error> {
    let found = point
        .metric(name)
        .and_then(|MetricSummary { summary, interval, .. }| Some((summary.as_ref()?.mean, *interval)));
    found.ok_or_else(|| nothing(dir, &format!("no trial has `{name}`")))
}

fn nothing(dir: &ResultDir, reason: &str) -> Error {
    RecordError::Invalid { path: dir.path().to_owned(), reason: reason.to_owned() }.into()
}
