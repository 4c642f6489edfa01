//! Campaigns that do less work: reuse, subsets of images, stopping rules; faults in activations and inputs.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bitquake_campaign::{Campaign, Config, End, Event, Look, RunOptions, Shard, read_config};
use bitquake_record::{
    IntervalRule, ResultDir, StopGoal, StopStatus, SummaryOptions, TrialRecord, summarise, vulnerability,
};
use bitquake_stats::StopRule;

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml")
}

fn config(settings: &[&str]) -> Config {
    let small = ["data.limit=60", "fault.rates=[1e-5, 1e-4]", "run.trials=8", "run.threads=1"];
    let all: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    read_config(&[example()], &all).expect("a valid campaign")
}

struct Ran {
    _temp: tempfile::TempDir,
    dir: ResultDir,
    looks: Vec<Look>,
}

impl Ran {
    fn records(&self) -> Vec<TrialRecord> {
        self.dir.trials().expect("records").iter().map(TrialRecord::timeless).collect()
    }
}

fn run(settings: &[&str]) -> Ran {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path().join("results"));
    let looks = run_in(&dir, settings, Shard::default());
    Ran { _temp: temp, dir, looks }
}

fn run_in(dir: &ResultDir, settings: &[&str], shard: Shard) -> Vec<Look> {
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(config(settings)).expect("a campaign");
    let mut looks = Vec::new();
    let end = campaign.run(model, dir, RunOptions { shard, stop: &stop }, |event| {
        if let Event::Look(look) = event {
            looks.push(look);
        }
    });
    assert_eq!(end.expect("a run"), End::Finished);
    looks
}

/// What a summary of the records says of a rule about the robust error, at the last point.
fn status(dir: &ResultDir, rule: StopRule) -> StopStatus {
    let golden = dir.golden().expect("a file").expect("a golden run");
    let stop = Some(StopGoal { metric: "err", rule });
    let options = SummaryOptions { rule: IntervalRule::Anytime, stop, ..SummaryOptions::default() };
    let points = summarise(&golden, dir.trials().expect("records"), options).expect("a summary");
    points.last().and_then(|point| point.stop).expect("a rule")
}

/// The records without what rounding may touch.
fn outcomes(records: &[TrialRecord]) -> Vec<(u64, u64, u64, u64, String)> {
    let of = |t: &TrialRecord| (t.faults, t.correct, t.golden_mismatch, t.nonfinite, t.pattern.clone());
    records.iter().map(of).collect()
}

#[test]
fn reuse_can_be_switched_off_and_changes_no_outcome() {
    for settings in [
        &["fault.rates=[1e-6, 1e-5]"][..],
        &["fault.counts=[1]", "run.trials=30"],
        &["fault.target=activations", "fault.counts=[1]"],
        &["fault.target=activations", "fault.rates=[1e-4]", "fault.persistence=permanent"],
    ] {
        let with = |extra: &[&'static str]| run(&[settings, extra].concat()).records();
        let plain = with(&["run.reuse={ prefix = false, reconvergence = false }"]);
        assert_eq!(outcomes(&with(&[])), outcomes(&plain), "{settings:?}");
        assert_eq!(outcomes(&with(&["run.reuse.reconvergence=false"])), outcomes(&plain), "{settings:?}");
        let little_memory = with(&["run.reuse.memory_mb=0"]);
        assert_eq!(little_memory, with(&[]), "what is kept changes no bit: {settings:?}");
    }
}

#[test]
fn spliced_trials_come_out_as_those_run_alone() {
    for settings in [
        &["fault.counts=[1, 3]", "run.images=4", "run.trials=150"][..],
        &["fault.counts=[1]", "run.images=1", "run.trials=300", "storage={ family = 'symmetric', bits = 8 }"],
        &["fault.rates=[1e-7, 1e-4]", "run.images=3", "fault.at_least=1", "run.trials=80"],
    ] {
        let spliced = run(settings).records();
        let alone = run(&[settings, &["run.reuse.splice=false"]].concat()).records();
        assert_eq!(outcomes(&spliced), outcomes(&alone), "{settings:?}");
        assert!(spliced.iter().any(|trial| trial.masked < Some(trial.images)));
        assert_eq!(spliced, run(&[settings, &["run.threads=3"]].concat()).records());
    }
}

#[test]
fn faults_in_activations_are_of_their_image() {
    let transient = run(&["fault.target=activations", "fault.counts=[1]", "fault.ops=['Relu']"]);
    for trial in transient.records() {
        assert_eq!((trial.faults, trial.images), (60, 60), "one flip for each image");
        assert!(trial.masked.expect("counted") > 10, "a zero hardly feels a flip: {trial:?}");
        assert!(trial.by_tensor.keys().all(|name| name.contains("elu")), "{:?}", trial.by_tensor);
    }
    let permanent =
        run(&["fault.target=activations", "fault.counts=[1]", "fault.persistence=permanent"]).records();
    for trial in &permanent {
        assert_eq!((trial.by_tensor.len(), trial.by_bit.len()), (1, 1), "one site for all images: {trial:?}");
        assert_eq!(trial.faults, 60);
    }
    let stuck = ["fault.target=activations", "fault.counts=[1]", "fault.model=stuck-at-0", "fault.bits=sign"];
    for trial in run(&stuck).records() {
        assert_eq!(trial.faults + trial.dormant, 60, "a stuck bit is a fault or dormant");
        assert_eq!(trial.to_one, 0);
    }
}

#[test]
fn where_single_upsets_in_values_do_harm() {
    let settings = [
        "fault.target=activations",
        "fault.counts=[1]",
        "fault.persistence=permanent",
        "run.trials=40",
        "data.limit=20",
    ];
    let ran = run(&settings);
    let golden = ran.dir.golden().expect("a file").expect("a golden run");
    for trial in ran.records() {
        let site = trial.site.expect("one flip for all images");
        let value = golden.storage.tensors.iter().find(|value| value.tensor == site.tensor).expect("a value");
        assert!(site.element < value.elements && site.bit < 32, "an element of one image: {site:?}");
        assert_eq!(trial.by_tensor.keys().collect::<Vec<_>>(), [&site.tensor]);
        assert_eq!(trial.by_bit.keys().collect::<Vec<_>>(), [&site.bit]);
    }
    let told =
        vulnerability(&golden, ran.records(), SummaryOptions::default()).expect("sound").expect("sites");
    assert_eq!((told.whole.rate.trials, told.whole.tensor.bits), (40, Some(golden.storage.bits)));
    assert!(told.tensors.len() > 2, "{:?}", told.tensors);
    // Where images have faults of their own, where there are two, where some images may not feel one, and where the memory is hit
    // too, no bit can be blamed.
    for other in [
        &["fault.persistence=transient"][..],
        &["fault.counts=[2]"],
        &["fault.model=stuck-at-1"],
        &["fault.also={ counts = [1] }"],
    ] {
        let settings = [&settings[..], &["run.trials=4"], other].concat();
        assert!(run(&settings).records().iter().all(|trial| trial.site.is_none()), "{other:?}");
    }
}

#[test]
fn inputs_and_weights_together() {
    let inputs = run(&["fault.target=inputs", "fault.rates=[1e-3]"]).records();
    // 60 images of 784 words of 32 bits: 1505 flips expected, standard deviation 39.
    assert!(inputs.iter().all(|trial| (1250..1760).contains(&trial.faults)), "six standard deviations");
    assert!(inputs.iter().any(|trial| trial.nonfinite + trial.golden_mismatch > 0));
    let weights = run(&[]).records();
    let both = run(&["fault.also={ target = 'inputs', counts = [2] }"]).records();
    for (both, weights) in both.iter().zip(&weights) {
        assert_eq!(both.faults, weights.faults + 120, "the faults of the weights are the same");
        assert_ne!(both.pattern, weights.pattern);
    }
}

#[test]
fn faults_in_values_do_not_depend_on_threads_or_shards() {
    let settings = ["fault.target=activations", "fault.rates=[1e-5, 1e-4]", "run.images=30"];
    let plain = run(&settings).records();
    assert_eq!(plain, run(&[&settings[..], &["run.threads=3"]].concat()).records());
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    for index in [1, 0] {
        run_in(&dir, &settings, Shard { index, count: 2 });
    }
    let sharded: Vec<_> = dir.trials().expect("records").iter().map(TrialRecord::timeless).collect();
    assert_eq!(plain, sharded);
}

#[test]
fn a_subset_of_the_images_gives_its_part_of_the_whole() {
    let subset = run(&["run.images=20"]).records();
    assert!(subset.iter().all(|trial| trial.images == 20 && trial.clean.is_some()));
    let whole = run(&[]).records();
    for (subset, whole) in subset.iter().zip(&whole) {
        assert_eq!((subset.faults, &subset.pattern), (whole.faults, &whole.pattern));
        assert!(subset.golden_mismatch <= whole.golden_mismatch);
        assert!(whole.clean.is_none());
    }
}

#[test]
fn a_rule_stops_where_it_looks_whatever_the_threads_and_interruptions() {
    let rule =
        ["fault.rates=[1e-7, 1e-5]", "run.images=10", "run.stop={ half_width = 0.08, max_trials = 400 }"];
    let plain = run(&rule);
    let (records, last) = (plain.records(), plain.looks.last().expect("a look"));
    assert!(last.is_met && last.half_width <= 0.08, "{last:?}");
    assert!(plain.looks.iter().filter(|look| look.is_met).count() == 2, "{:?}", plain.looks);
    assert_eq!(records.iter().filter(|trial| trial.point == 1).count() as u64, last.trials);
    let told = status(&plain.dir, StopRule { half_width: Some(0.08), ..StopRule::new(0.95, 400) });
    assert_eq!(
        (told.is_met, told.interval.half_width()),
        (true, last.half_width),
        "the report sees the same"
    );
    assert_eq!(records, run(&[&rule[..], &["run.threads=4"]].concat()).records());

    // A run that is cut short after some trials, and again, ends with the same records.
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    loop {
        let stop = AtomicBool::new(false);
        let (campaign, model) = Campaign::prepare(config(&rule)).expect("a campaign");
        let mut left = 37;
        let end = campaign.run(model, &dir, RunOptions { shard: Shard::default(), stop: &stop }, |event| {
            if let Event::Trial(_) = event {
                left -= 1;
                stop.store(left <= 0, std::sync::atomic::Ordering::Relaxed);
            }
        });
        if end.expect("a run") == End::Finished {
            break;
        }
    }
    let resumed: Vec<_> = dir.trials().expect("records").iter().map(TrialRecord::timeless).collect();
    assert_eq!(records, resumed);
    // Once met it is met: nothing runs again.
    assert_eq!(run_in(&dir, &rule, Shard::default()), []);
}

#[test]
fn importance_sampling_draws_what_matters_and_stays_unbiased() {
    let settings = ["fault.counts=[1]", "run.images=6", "run.sampling=importance", "run.trials=3000"];
    let ran = run(&settings);
    let records = ran.records();
    let golden = ran.dir.golden().expect("a file").expect("a golden run");
    assert!(!golden.strata.is_empty());
    let of_bit_30 = |records: &[TrialRecord]| {
        records.iter().filter(|trial| trial.site.as_ref().is_some_and(|site| site.bit == 30)).count()
    };
    // One in 32 of uniform trials hits bit 30.
    assert!(of_bit_30(&records[2000..]) > 150, "{}", of_bit_30(&records[2000..]));
    let weights: f64 = records.iter().map(|trial| trial.weight.expect("a weight")).sum();
    assert!((weights / 3000.0 - 1.0).abs() < 0.1, "weights average 1: {weights}");
    // Against uniform trials: both means have a standard error of about 0.2 %.
    let rate = |trial: &TrialRecord| trial.golden_mismatch as f64 / 6.0;
    let weighted =
        records.iter().map(|trial| trial.weight.unwrap_or(0.0) * rate(trial)).sum::<f64>() / 3000.0;
    let uniform = run(&["fault.counts=[1]", "run.images=6", "run.trials=3000"]).records();
    let uniform = uniform.iter().map(rate).sum::<f64>() / 3000.0;
    assert!(uniform > 0.0 && (weighted - uniform).abs() < 0.012, "{weighted} {uniform}");
    // Interrupted and on other threads: the same trials.
    assert_eq!(records, run(&[&settings[..], &["run.threads=3"]].concat()).records());
}

#[test]
fn every_bit_once() {
    let one = ["fault.counts=[1]", "run.images=2", "run.sampling=exhaustive", "fault.select=['*fc*.bias']"];
    let ran = run(&one);
    let records = ran.records();
    assert_eq!(records.len() as u64, ran.dir.golden().expect("a file").expect("there").storage.bits);
    let mut sites: Vec<_> = records.iter().map(|trial| trial.site.clone().expect("a site")).collect();
    sites.sort_by_key(|site| (site.tensor.clone(), site.element, site.bit));
    sites.dedup();
    assert_eq!(sites.len(), records.len());
}

#[test]
fn zeros_alone_never_satisfy_a_relative_rule() {
    let rule = [
        "fault.rates=[1e-12]",
        "run.images=5",
        "run.stop={ relative = 0.5, metric = 'golden_mismatch', max_trials = 64 }",
    ];
    let ran = run(&rule);
    assert!(ran.looks.iter().all(|look| !look.is_met && look.estimate == 0.0 && look.half_width > 0.0));
    assert_eq!(ran.records().len(), 64);
}

#[test]
fn a_pilot_settles_the_images_once() {
    let rule = [
        "fault.rates=[1e-5]",
        "run.images=auto",
        "run.stop={ half_width = 0.1, max_trials = 100 }",
        "data.limit=400",
    ];
    let ran = run(&rule);
    let golden = ran.dir.golden().expect("a file").expect("a golden run");
    assert!(golden.images_settled);
    let images = golden.points[0].images.unwrap_or(400);
    assert!(ran.records().iter().all(|trial| trial.images == images));
}

#[test]
fn models_that_are_no_classifiers_are_judged_by_distance_without_labels() {
    let temp = tempfile::tempdir().expect("a folder");
    let folder = example().parent().expect("a folder").to_owned();
    let file = temp.path().join("distance.toml");
    let text = format!(
        "schema = 1\n[model]\npath = '{0}/fashion_cnn.onnx'\n[data]\nformat = 'idx'\nlimit = 40\nimages = '{0}/t10k-2000-images-idx3-ubyte.gz'\n\
         [fault]\nrates = [1e-4]\n[run]\ntrials = 6\n[outcome]\ndistance = 'rel_l2'\nthreshold = 0.1\n",
        folder.display()
    );
    std::fs::write(&file, text).expect("written");
    let read = |settings: &[&str]| {
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        read_config(std::slice::from_ref(&file), &settings)
    };
    let config = read(&[]).expect("a valid campaign");
    let run = |config: Config, name: &str| {
        let dir = ResultDir::at(temp.path().join(name));
        let (campaign, model) = Campaign::prepare(config).expect("a campaign");
        let options = RunOptions { shard: Shard::default(), stop: &AtomicBool::new(false) };
        let end = campaign.run(model, &dir, options, |_| ()).expect("a run");
        assert_eq!(end, End::Finished);
        dir.trials().expect("records")
    };
    let records = run(config, "plain");
    for trial in &records {
        let distance = trial.distance.expect("a distance");
        assert!(distance.exceeded <= trial.images && trial.correct == 0 && trial.sdc5.is_none());
    }
    assert!(records.iter().any(|trial| trial.failures() > Some(0)) && records.len() == 6);
    // A rule looks at failures, unless told otherwise.
    let stopped = read(&["run.stop={ half_width = 0.2, max_trials = 64 }"]).expect("a valid campaign");
    assert_eq!(stopped.run.stop.as_ref().map(|stop| stop.metric.as_str()), Some("exceeded"));
    assert!(run(stopped, "stopped").len() > 8);
    let wrong = read(&["run.stop={ half_width = 0.2, metric = 'err' }"]).expect_err("no such metric here");
    assert!(wrong.to_string().contains("`err` is of classifiers"), "{wrong}");
    let upsets = ["run.sampling=importance", "fault.counts=[1]", "run.trials=20"];
    assert_eq!(run(read(&upsets).expect("a valid campaign"), "importance").len(), 20);
}

#[test]
fn shapes_hit_activations_as_a_whole() {
    let shape = ["fault.target=activations", "fault.model=shape", "fault.shape=channel", "fault.counts=[1]"];
    let zero =
        [&shape[..], &["fault.effect=zero", "fault.ops=['Conv']", "fault.persistence=permanent"]].concat();
    for trial in run(&zero).records() {
        assert_eq!(trial.by_tensor.len(), 1, "one channel of one value: {:?}", trial.by_tensor);
        assert_eq!(trial.to_one, 0, "zero is a word of zeros");
        assert!(trial.faults > 60 * 49, "many bits in each image: {}", trial.faults);
    }
}

#[test]
fn a_plan_tells_what_a_run_takes_and_records_nothing() {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path().join("results"));
    let stop = AtomicBool::new(false);
    let options = RunOptions { shard: Shard::default(), stop: &stop };
    let settings = ["fault.rates=[1e-4]", "run.images=8", "run.stop={ half_width = 0.1 }"];
    let prepared = || Campaign::prepare(config(&settings)).expect("a campaign");
    let (campaign, model) = prepared();
    let (golden, plan) = campaign.plan(model, &dir, options).expect("a plan");
    assert!(!dir.path().exists(), "nothing is written");
    let point = &plan.points[0];
    assert_eq!((plan.space_bits, point.images), (golden.storage.bits, 8));
    assert!(!point.is_cut && (point.half_width.expect("a width") - 0.1).abs() < 0.01);
    let (campaign, model) = prepared();
    let mut told = Vec::new();
    let mut met = None;
    let end = campaign.run(model, &dir, options, |event| match event {
        Event::Plan(plan) => told.push(plan.points[0].trials),
        Event::Look(look) if look.is_met => met = Some(look.trials),
        _ => {}
    });
    assert_eq!((end.expect("a run"), told.len()), (End::Finished, 1));
    // The pilot has 32 trials at least: its standard deviation is right within a quarter or so, trials within twice that.
    let (planned, met) = (told[0].expect("trials") as f64, met.expect("met") as f64);
    assert!((0.4..2.5).contains(&(planned / met)), "{planned} {met}");
}
