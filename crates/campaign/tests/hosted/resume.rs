//! Stopping, killing, resuming, stopping rules.

use bitquake_campaign::hosted::{Hosted, HostedError};
use bitquake_campaign::{CampaignError, End, RunNote};
use bitquake_record::{RecordError, ResultDir, TrialRecord};

use super::toy::{Tells, Toy, config, prepared, timeless};

const PLAIN: &str = "[fault]\nrates = [1e-2, 1e-1]\n[run]\ntrials = 9";
const RULE: &str = "[fault]\nrates = [1e-2, 2e-1]\n[run]\nstop = { metric = 'golden_mismatch', half_width = 0.15, max_trials = 400 }";

fn whole(text: &str, tells: Tells) -> Vec<TrialRecord> {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    assert_eq!(tells.run(&prepared(text), &dir, usize::MAX).expect("a run"), Some(End::Finished));
    timeless(&dir)
}

#[test]
fn batches_and_stops_change_no_record() {
    let plain = whole(PLAIN, Tells::Outputs(40));
    assert_eq!(plain.len(), 18);
    assert!(plain.iter().any(|trial| trial.golden_mismatch > 0));
    assert_eq!(plain, whole(PLAIN, Tells::Outputs(7)));
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    // Runs that end without being told, each after four trials.
    for _ in 0..4 {
        assert_eq!(Tells::Outputs(1).run(&prepared(PLAIN), &dir, 4).expect("a run"), None);
    }
    assert_eq!(timeless(&dir).len(), 16);
    assert_eq!(Tells::Outputs(40).run(&prepared(PLAIN), &dir, 4).expect("a run"), Some(End::Finished));
    assert_eq!(plain, timeless(&dir));
    // Nothing is left to do.
    assert_eq!(Tells::Outputs(40).run(&prepared(PLAIN), &dir, 0).expect("a run"), None);
    assert_eq!(plain, timeless(&dir));
}

#[test]
fn a_run_that_was_killed_within_a_line_goes_on() {
    let plain = whole(PLAIN, Tells::Metrics);
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    Tells::Metrics.run(&prepared(PLAIN), &dir, 5).expect("a run");
    let file = temp.path().join("trials-0.jsonl");
    let text = std::fs::read(&file).expect("records");
    for cut in [1, 40, text.len() / 5 + 3] {
        std::fs::write(&file, &text[..text.len() - cut]).expect("written");
        Tells::Metrics.run(&prepared(PLAIN), &dir, usize::MAX).expect("a run");
        assert_eq!(plain, timeless(&dir), "cut {cut}");
    }
}

#[test]
fn a_rule_ends_the_trials_and_a_resumed_run_ends_with_the_same() {
    let plain = whole(RULE, Tells::Outputs(40));
    assert!(plain.len() < 800, "the rule ends before the most trials: {}", plain.len());
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let run = || Tells::Outputs(40).run(&prepared(RULE), &dir, 13).expect("a run");
    let end = (0..100).find_map(|_| run());
    assert_eq!(end, Some(End::Finished));
    assert_eq!(plain, timeless(&dir));
    let note = RunNote::read(&dir, 0).expect("a note");
    assert!(note.settled.is_some(), "who looks on sees that the rule wants no more");
}

#[test]
fn a_rule_looks_and_is_told() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let hosted = prepared(RULE);
    let (mut run, golden) = Tells::Outputs(40).open(&hosted, &dir).expect("a run");
    let mut toy = Toy::new();
    let mut looks = Vec::new();
    while let Some((point, trial)) = run.next_trial() {
        assert_eq!(run.next_trial(), Some((point, trial)), "the same until it is recorded");
        let faults = hosted.trial(point, trial, &toy).expect("a trial");
        let pattern = faults.pattern.clone();
        let result = toy.under(&pattern, |toy| Tells::Outputs(40).result(&golden, toy)).expect("a result");
        run.record(faults, result, 0.1).expect("recorded");
        looks.extend(run.take_looks());
    }
    assert!(looks.len() > 2 && looks.last().is_some_and(|look| look.is_met && look.point == 1), "{looks:?}");
    assert_eq!(run.done(), run.most());
    assert_eq!(run.finish().expect("an end"), End::Finished);
}

#[test]
fn no_time_is_left_and_more_trials_are_asked_for() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let hosted = prepared("[fault]\nrates = [1e-2]\n[run]\nstop = { max_seconds = 1e-9, max_trials = 5 }");
    let (run, _) = Tells::Metrics.open(&hosted, &dir).expect("a run");
    assert_eq!((run.next_trial(), run.done(), run.most()), (None, 0, 5));
    assert_eq!(run.finish().expect("an end"), End::OutOfTime { missing: 5 });
    let more = |trials: u64| prepared(&format!("[fault]\nrates = [1e-2]\n[run]\ntrials = {trials}"));
    assert_eq!(Tells::Metrics.run(&more(3), &dir, usize::MAX).expect("a run"), Some(End::Finished));
    let first = timeless(&dir);
    assert_eq!(Tells::Metrics.run(&more(7), &dir, usize::MAX).expect("a run"), Some(End::Finished));
    assert_eq!((first.len(), &timeless(&dir)[..3]), (3, &first[..]));
}

#[test]
fn what_is_not_this_campaign_is_refused() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    Tells::Metrics.run(&prepared(PLAIN), &dir, 3).expect("a run");
    let before = std::fs::read(temp.path().join("golden.json")).expect("a golden run");
    let other = |hosted: Hosted, tells: Tells| match tells.open(&hosted, &dir) {
        Err(HostedError::Campaign(error)) => error,
        _ => panic!("a refusal"),
    };
    let told = |hosted| match other(hosted, Tells::Metrics) {
        CampaignError::OtherCampaign { difference, .. } => difference,
        error => panic!("{error}"),
    };
    let mut seeded = config(PLAIN);
    seeded.seed = 6;
    let digests = Toy::new().digests();
    let seeded = Hosted::prepare(seeded, Toy::tensors(), digests.clone()).expect("a campaign");
    assert_eq!(told(seeded), "seed is `6` here and `5` there");
    let mut others = digests.clone();
    others.words.replace_range(..2, "00");
    let words = Hosted::prepare(config(PLAIN), Toy::tensors(), others).expect("a campaign");
    assert!(told(words).starts_with("words is `00"));
    let mut data = digests;
    data.data = Some("A".repeat(64));
    let data = Hosted::prepare(config(PLAIN), Toy::tensors(), data).expect("a campaign");
    assert_eq!(told(data), format!("data is `{}` here and nothing there", "a".repeat(64)));
    assert!(told(prepared("[fault]\nrates = [1e-3]")).starts_with("fault rates is"));
    // The same campaign, whose golden run came out otherwise: here because other numbers are told of it.
    let error = other(prepared(PLAIN), Tells::Outputs(40));
    assert!(matches!(error, CampaignError::GoldenDiffers { .. }), "{error}");
    assert_eq!(before, std::fs::read(temp.path().join("golden.json")).expect("a golden run"));
    // What decides nothing may change.
    let mut renamed = config(PLAIN);
    (renamed.name, renamed.host.engine, renamed.run.trials) = ("other".into(), "more loops".into(), 4);
    let renamed = Hosted::prepare(renamed, Toy::tensors(), Toy::new().digests()).expect("a campaign");
    assert_eq!(Tells::Metrics.run(&renamed, &dir, usize::MAX).expect("a run"), Some(End::Finished));
}

#[test]
fn two_runs_never_write_one_directory() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let first = Tells::Metrics.open(&prepared(PLAIN), &dir).expect("a run");
    let Err(HostedError::Campaign(CampaignError::Record(error))) =
        Tells::Metrics.open(&prepared(PLAIN), &dir)
    else {
        panic!("a refusal");
    };
    assert!(matches!(error, RecordError::Locked { .. }));
    drop(first);
    Tells::Metrics.open(&prepared(PLAIN), &dir).expect("a run");
}
