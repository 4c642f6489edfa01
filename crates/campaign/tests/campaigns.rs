//! Campaigns on the shipped model: the same records whatever the threads, shards, stops and batches.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_campaign::{Campaign, CampaignError, Config, End, Event, RunOptions, Shard, read_config};
use bitquake_record::{GOLDEN_FILE, ResultDir, TrialRecord};
use bitquake_testing::SplitMix64;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml")
}

/// The shipped campaign, made small, with settings on top.
fn config(settings: &[&str]) -> Config {
    let small =
        ["data.limit=40", "fault.rates=[1e-5, 1e-4, 1e-3]", "run.trials=6", "run.batch=16", "run.threads=1"];
    let all: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    read_config(&[example()], &all).expect("a valid campaign")
}

fn run_with(config: Config, dir: &ResultDir, shard: Shard) -> End {
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(config).expect("a campaign");
    campaign.run(model, dir, RunOptions { shard, stop: &stop }, |_| ()).expect("a run")
}

fn records(config: Config) -> Vec<TrialRecord> {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    assert_eq!(run_with(config, &dir, Shard::default()), End::Finished);
    timeless(&dir)
}

fn timeless(dir: &ResultDir) -> Vec<TrialRecord> {
    dir.trials().expect("records").iter().map(TrialRecord::timeless).collect()
}

#[test]
fn records_do_not_depend_on_threads_or_shards() {
    let plain = records(config(&[]));
    assert_eq!(plain.len(), 18);
    assert!(plain.iter().all(|trial| trial.images == 40));
    assert!(plain.iter().any(|trial| trial.golden_mismatch > 0), "some trial must do harm");
    assert_eq!(plain, records(config(&["run.threads=2"])));
    assert_eq!(plain, records(config(&["run.threads=5"])));

    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    for index in [2, 0, 1] {
        run_with(config(&[]), &dir, Shard { index, count: 3 });
    }
    assert_eq!(plain, timeless(&dir));
}

#[test]
fn stopping_and_resuming_at_random_moments_changes_nothing() {
    let plain = records(config(&[]));
    let mut random = SplitMix64::new(1);
    for _ in 0..4 {
        let temp = tempfile::tempdir().expect("a folder");
        let dir = ResultDir::at(temp.path());
        loop {
            let stop = AtomicBool::new(false);
            let mut left = random.below(7);
            let (campaign, model) = Campaign::prepare(config(&["run.threads=2"])).expect("a campaign");
            let end =
                campaign.run(model, &dir, RunOptions { shard: Shard::default(), stop: &stop }, |event| {
                    if let Event::Trial(_) = event {
                        left = left.saturating_sub(1);
                        stop.store(left == 0, Ordering::Relaxed);
                    }
                });
            match end.expect("a run") {
                End::Finished => break,
                End::OutOfTime { .. } => panic!("there is no time limit"),
                End::Stopped { missing } => assert_eq!(18 - missing, timeless(&dir).len() as u64),
            }
        }
        assert_eq!(plain, timeless(&dir));
    }
}

/// What is more of one point is not less missing of another.
#[test]
fn fewer_trials_than_before_are_missed_where_they_are() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let stopped_after = |settings: &[&str], trials: u64| {
        let stop = AtomicBool::new(false);
        let mut left = trials;
        let (campaign, model) = Campaign::prepare(config(settings)).expect("a campaign");
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        let end = campaign.run(model, &dir, options, |event| {
            if let Event::Trial(_) = event {
                left = left.saturating_sub(1);
                stop.store(left == 0, Ordering::Relaxed);
            }
        });
        end.expect("a run")
    };
    assert!(matches!(stopped_after(&[], 7), End::Stopped { .. }));
    // Six of the first point are three more than the second run asks for.
    let end = stopped_after(&["run.trials=3"], 1);
    let asked = timeless(&dir).iter().filter(|trial| trial.trial < 3).count() as u64;
    assert!(asked < 9 && timeless(&dir).len() > asked as usize, "{asked}");
    assert_eq!(end, End::Stopped { missing: 9 - asked });
    assert_eq!(run_with(config(&["run.trials=3"]), &dir, Shard::default()), End::Finished);
}

#[test]
fn patterns_do_not_depend_on_the_batch() {
    let faults = |trials: Vec<TrialRecord>| -> Vec<(String, u64)> {
        trials.into_iter().map(|trial| (trial.pattern, trial.faults)).collect()
    };
    let plain = faults(records(config(&[])));
    for batch in ["run.batch=1", "run.batch=7", "run.batch=256"] {
        assert_eq!(plain, faults(records(config(&[batch]))), "{batch}");
    }
}

#[test]
fn patterns_are_nested_over_the_rates_of_a_campaign_and_do_not_depend_on_the_others() {
    let (campaign, model) = Campaign::prepare(config(&[])).expect("a campaign");
    let (alone, _) = Campaign::prepare(config(&["fault.rates=[1e-4]"])).expect("a campaign");
    for trial in 0..6 {
        let of = |point| campaign.trial(point, trial, model.image()).expect("a trial").stored;
        let (few, some, many) = (of(0), of(1), of(2));
        for (less, more) in [(&few, &some), (&some, &many)] {
            assert_eq!(more.compose(less).expect("same model").flips(), more.flips() - less.flips());
        }
        assert_eq!(alone.trial(0, trial, model.image()).expect("a trial").stored, some);
    }
}

#[test]
fn a_finished_campaign_is_not_run_again_but_more_trials_are() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    run_with(config(&[]), &dir, Shard::default());
    let first = timeless(&dir);
    let trials_of = |config: Config| {
        let mut trials = 0;
        let stop = AtomicBool::new(false);
        let (campaign, model) = Campaign::prepare(config).expect("a campaign");
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        campaign
            .run(model, &dir, options, |event| trials += u64::from(matches!(event, Event::Trial(_))))
            .expect("a run");
        trials
    };
    assert_eq!(trials_of(config(&["name=another name", "run.threads=2"])), 0);
    assert_eq!(trials_of(config(&["run.trials=8"])), 6);
    let more = timeless(&dir);
    assert!(first.iter().all(|trial| more.contains(trial)) && more.len() == 24);
}

#[test]
fn exact_counts_are_exact() {
    let mut with_counts = config(&[]);
    with_counts.fault.rates = None;
    with_counts.fault.counts = Some(vec![1, 17]);
    with_counts.fault.select = Some(vec!["conv*".into()]);
    with_counts.fault.bits = Some("30".into());
    for trial in records(with_counts) {
        assert_eq!(trial.faults, trial.count.expect("a count"));
        assert!(trial.by_tensor.keys().all(|tensor| tensor.starts_with("conv")));
        assert!(trial.by_bit.keys().all(|&bit| bit == 30));
    }
}

#[test]
fn results_of_another_campaign_are_refused_with_the_difference() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    run_with(config(&["run.trials=1"]), &dir, Shard::default());
    let stop = AtomicBool::new(false);
    let refused = |settings: &[&str]| {
        let (campaign, model) = Campaign::prepare(config(settings)).expect("a campaign");
        let error = campaign
            .run(model, &dir, RunOptions { shard: Shard::default(), stop: &stop }, |_| ())
            .unwrap_err();
        assert!(matches!(error, CampaignError::OtherCampaign { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(&["seed=43"]).contains("seed is `43` here and `42` there"));
    assert!(refused(&["data.limit=39"]).contains("data limit"));
    assert!(refused(&["fault.select=['conv*']"]).contains("fault select"));
    assert!(refused(&["run.batch=8"]).contains("batch"));
}

#[test]
fn a_golden_run_that_cannot_be_reproduced_is_refused() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    run_with(config(&["run.trials=1"]), &dir, Shard::default());
    let path = temp.path().join(GOLDEN_FILE);
    let golden = dir.golden().expect("readable").expect("there");
    let text = std::fs::read_to_string(&path).expect("text");
    std::fs::write(&path, text.replace(&golden.outputs, &"0".repeat(64))).expect("written");
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(config(&["run.trials=2"])).expect("a campaign");
    let error =
        campaign.run(model, &dir, RunOptions { shard: Shard::default(), stop: &stop }, |_| ()).unwrap_err();
    assert!(matches!(error, CampaignError::GoldenDiffers { .. }), "{error}");
}
