//! Campaigns in the project's own kernels, and those whose engine is chosen by the clock.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_campaign::{Campaign, Config, End, Event, RunOptions, Shard, read_config};
use bitquake_record::{ResultDir, TrialRecord};
use bitquake_testing::SplitMix64;

/// A campaign of the examples, made small, with settings on top.
fn config_of(file: &str, settings: &[&str]) -> Config {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn");
    let small = ["data.limit=40", "run.batch=16", "run.threads=1"];
    let all: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    let path: PathBuf = folder.join(file);
    read_config(&[path], &all).expect("a valid campaign")
}

fn config(settings: &[&str]) -> Config {
    let weights = ["fault.rates=[1e-5, 1e-4, 1e-3]", "run.trials=6", "run.engine=native"];
    config_of("campaign.toml", &[&weights[..], settings].concat())
}

fn run_in(dir: &ResultDir, config: Config, shard: Shard) -> Result<End, String> {
    let (campaign, model) = Campaign::prepare(config).map_err(|error| error.to_string())?;
    let stop = AtomicBool::new(false);
    let options = RunOptions { shard, stop: &stop };
    campaign.run(model, dir, options, |_| ()).map_err(|error| error.to_string())
}

fn timeless(dir: &ResultDir) -> Vec<TrialRecord> {
    dir.trials().expect("records").iter().map(TrialRecord::timeless).collect()
}

fn records(config: Config) -> Vec<TrialRecord> {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    assert_eq!(run_in(&dir, config, Shard::default()), Ok(End::Finished));
    timeless(&dir)
}

fn refusal(config: Config, shard: Shard) -> String {
    let temp = tempfile::tempdir().expect("a folder");
    run_in(&ResultDir::at(temp.path()), config, shard).expect_err("a refusal")
}

#[test]
fn records_do_not_depend_on_threads_batches_or_shards() {
    let plain = records(config(&[]));
    assert_eq!(plain.len(), 18);
    assert!(plain.iter().any(|trial| trial.golden_mismatch > 0), "some trial must do harm");
    for setting in ["run.threads=2", "run.threads=5", "run.batch=1", "run.batch=7"] {
        assert_eq!(plain, records(config(&[setting])), "{setting}");
    }
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    for index in [2, 0, 1] {
        run_in(&dir, config(&[]), Shard { index, count: 3 }).expect("a shard");
    }
    assert_eq!(plain, timeless(&dir));
}

#[test]
fn trials_are_those_of_onnx_runtime() {
    let (own, runtime) = (records(config(&[])), records(config(&["run.engine=onnxruntime"])));
    for (own, runtime) in own.iter().zip(&runtime) {
        let faults = |trial: &TrialRecord| (trial.pattern.clone(), trial.faults, trial.images);
        assert_eq!(faults(own), faults(runtime));
        // Rounding moves an image that stands between two classes, of which these 40 have none.
        let outcome = |trial: &TrialRecord| (trial.correct, trial.golden_mismatch, trial.nonfinite);
        assert_eq!(outcome(own), outcome(runtime), "trial {} of point {}", own.trial, own.point);
    }
}

#[test]
fn stopping_and_resuming_at_random_moments_changes_nothing() {
    let plain = records(config(&[]));
    let mut random = SplitMix64::new(1);
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    loop {
        let stop = AtomicBool::new(false);
        let mut left = random.below(7);
        let (campaign, model) = Campaign::prepare(config(&["run.threads=2"])).expect("a campaign");
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        let end = campaign.run(model, &dir, options, |event| {
            if let Event::Trial(_) = event {
                left = left.saturating_sub(1);
                stop.store(left == 0, Ordering::Relaxed);
            }
        });
        if end.expect("a run") == End::Finished {
            break;
        }
    }
    assert_eq!(plain, timeless(&dir));
    assert_eq!(dir.golden().expect("a golden run").expect("one").engine.name, "native");
}

#[test]
fn faults_in_inputs_are_those_of_onnx_runtime_and_those_in_activations_are_refused() {
    let inputs = |engine| config_of("input-noise.toml", &["run.trials=2", engine]);
    let (own, runtime) = (records(inputs("run.engine=native")), records(inputs("run.engine=onnxruntime")));
    assert!(!own.is_empty() && own.len() == runtime.len());
    for (own, runtime) in own.iter().zip(&runtime) {
        assert_eq!(
            (&own.pattern, own.correct, own.faults),
            (&runtime.pattern, runtime.correct, runtime.faults)
        );
    }
    let message = refusal(config_of("activation-upsets.toml", &["run.engine=native"]), Shard::default());
    assert!(message.contains("faults in activations need engine = \"onnxruntime\""), "{message}");
    let message = refusal(config_of("activations-int8.toml", &["run.engine=native"]), Shard::default());
    assert!(message.contains("need engine = \"onnxruntime\""), "{message}");
}

#[test]
fn a_choice_by_the_clock_is_made_once_and_not_by_shards() {
    let auto = || config(&["run.engine=auto"]);
    let message = refusal(auto(), Shard { index: 0, count: 2 });
    assert!(message.contains("chooses by the clock"), "{message}");
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    assert_eq!(run_in(&dir, auto(), Shard::default()), Ok(End::Finished));
    let chosen = dir.golden().expect("a golden run").expect("one").engine.name;
    let engine = if chosen == "native" { "run.engine=native" } else { "run.engine=onnxruntime" };
    assert_eq!(timeless(&dir), records(config(&[engine])), "the records of the engine that was chosen");
    // More trials go on in the same engine, whatever the clock would say now.
    for other in ["native", "ONNX Runtime"] {
        let temp = tempfile::tempdir().expect("a folder");
        let dir = ResultDir::at(temp.path());
        let (campaign, model) = Campaign::prepare(auto()).expect("a campaign");
        let (mut golden, _) = campaign
            .plan(model, &dir, RunOptions { shard: Shard::default(), stop: &AtomicBool::new(true) })
            .expect("a plan");
        let engine = if other == "native" { "run.engine=native" } else { "run.engine=onnxruntime" };
        let of_other = Campaign::prepare(config(&[engine])).expect("a campaign");
        let stop = AtomicBool::new(true);
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        let (facts, _) = of_other.0.plan(of_other.1, &dir, options).expect("a plan");
        (golden.engine, golden.outputs) = (facts.engine, facts.outputs);
        dir.create().expect("a folder");
        dir.write_golden("", &golden).expect("a golden record");
        assert_eq!(run_in(&dir, auto(), Shard::default()), Ok(End::Finished), "{other}");
        assert_eq!(timeless(&dir), records(config(&[engine])), "{other}");
    }
}
