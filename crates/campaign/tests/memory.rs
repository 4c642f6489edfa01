//! Campaigns over what a memory really holds: codes of a quantizer, quantized models; and every fault model.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use bitquake_campaign::{Campaign, Config, End, RunOptions, Shard, read_config};
use bitquake_record::{Golden, ResultDir, TrialRecord};
use bitquake_tensors::TensorFile;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The shipped campaign, made small, with settings on top.
fn config(settings: &[&str]) -> Config {
    let small = ["data.limit=60", "fault.rates=[1e-3]", "run.trials=4", "run.threads=1"];
    let all: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    read_config(&[file("../../examples/fashion-cnn/campaign.toml")], &all).expect("a valid campaign")
}

fn run(config: Config) -> (Golden, Vec<TrialRecord>) {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(config).expect("a campaign");
    let options = RunOptions { shard: Shard::default(), stop: &stop };
    assert_eq!(campaign.run(model, &dir, options, |_| ()).expect("a run"), End::Finished);
    let golden = dir.golden().expect("readable").expect("there");
    (golden, dir.trials().expect("records").iter().map(TrialRecord::timeless).collect())
}

#[test]
fn codes_are_faulted_and_the_golden_run_is_that_of_the_codes() {
    let native = run(config(&[])).0;
    let int8 = "storage={ family = 'symmetric', bits = 8 }";
    let (golden, trials) = run(config(&[int8]));
    assert_ne!(golden.outputs, native.outputs, "the network computes with decoded codes");
    assert!(golden.metrics.correct.abs_diff(native.metrics.correct) <= 2, "8 bits cost next to nothing");
    let bits: u64 = golden.storage.tensors.iter().map(|tensor| tensor.bits).sum();
    assert_eq!(bits, golden.storage.bits);
    assert!(
        golden
            .storage
            .tensors
            .iter()
            .all(|tensor| tensor.format == "i8" && tensor.bits == 8 * tensor.elements)
    );
    assert!(golden.storage.tensors.iter().all(|tensor| !tensor.tensor.contains("running")), "no statistics");
    assert!(trials.iter().all(|trial| trial.faults > 0 && trial.by_bit.keys().all(|bit| *bit < 8)));
    assert_eq!(trials, run(config(&[int8, "run.threads=3"])).1);
}

#[test]
fn overrides_and_scales_in_a_campaign() {
    let storage = "storage={ family = 'affine', bits = 4, granularity = { channel = 0 }, \
                   override = [{ select = ['fc.*'], bits = 8 }, { select = ['bn*'], family = 'native' }] }";
    let (golden, _) = run(config(&[storage]));
    let formats = |prefix: &str| -> BTreeSet<&str> {
        let of = golden.storage.tensors.iter().filter(|tensor| tensor.tensor.starts_with(prefix));
        of.map(|tensor| tensor.format.as_str()).collect()
    };
    assert_eq!(formats("conv"), BTreeSet::from(["i4"]));
    assert_eq!(formats("fc"), BTreeSet::from(["i8"]));
    assert_eq!(formats("bn"), BTreeSet::from(["f32"]));
    let (_, trials) = run(config(&[storage, "fault.select=['*@scale']", "fault.counts=[3]"]));
    assert!(trials.iter().all(|trial| trial.faults == 3));
    assert!(trials.iter().flat_map(|trial| trial.by_tensor.keys()).all(|tensor| tensor.ends_with("@scale")));
    assert!(trials.iter().any(|trial| trial.golden_mismatch > 0), "a wrong scale does harm");
}

/// The faulty model written as a file is the model that the trial judged.
#[test]
fn a_trial_as_a_file_gives_the_same_accuracy() {
    let temp = tempfile::tempdir().expect("a folder");
    let settings = ["storage={ family = 'asymmetric', bits = 4 }", "fault.rates=[3e-3]"];
    let (_, trials) = run(config(&settings));
    let (campaign, model) = Campaign::prepare(config(&settings)).expect("a campaign");
    for trial in &trials {
        let faults = campaign.trial(0, trial.trial, model.image()).expect("a trial");
        let mut tensors = TensorFile::open(&campaign.config().model.path).expect("a model");
        campaign.memory().write_levels(&mut tensors).expect("levels");
        faults.seen.apply(&mut tensors).expect("fits");
        let path = temp.path().join(format!("{}.onnx", trial.trial));
        tensors.save(&path).expect("saved");
        let faulty = run(config(&[&format!("model.path={}", path.display()), "run.trials=1"])).0;
        assert_eq!(faulty.metrics.correct, trial.correct, "trial {}", trial.trial);
    }
    assert!(trials.iter().any(|trial| trial.golden_mismatch > 0));
}

#[test]
fn quantized_models_are_faulted_in_their_own_integers() {
    for (model, weights) in
        [("fashion_cnn_qdq.onnx", "*_quantized"), ("fashion_cnn_qoperator.onnx", "*_quantized")]
    {
        let path = format!("model.path={}", file("tests/fixtures").join(model).display());
        let (golden, trials) =
            run(config(&[&path, &format!("fault.select=['{weights}']"), "fault.bits=msb"]));
        assert!(golden.metrics.accuracy() > 0.8, "{model}: {:?}", golden.metrics);
        let formats: BTreeSet<&str> =
            golden.storage.tensors.iter().map(|tensor| tensor.format.as_str()).collect();
        assert_eq!(formats, BTreeSet::from(["i32", "i8"]), "{model}");
        assert!(trials.iter().any(|trial| trial.golden_mismatch > 0), "{model}: top bits do harm");
        let (golden, trials) =
            run(config(&[&path, "fault.select=['*_scale', '*_zero_point']", "fault.counts=[2]"]));
        assert!(golden.storage.bits > 0 && trials.iter().all(|trial| trial.faults == 2), "{model}");
    }
}

#[test]
fn what_protections_did_is_in_the_records() {
    let plain = "storage={ family = 'symmetric', bits = 8 }";
    let secded =
        "storage={ family = 'symmetric', bits = 8, protect = [{ kind = 'secded', data_bits = 64 }] }";
    let (golden, trials) = run(config(&[secded]));
    assert_eq!(golden.outputs, run(config(&[plain])).0.outputs, "a protection alone changes nothing");
    let check_bits: u64 =
        golden.storage.tensors.iter().filter(|t| t.tensor.ends_with("@check")).map(|t| t.bits).sum();
    assert!(check_bits * 8 >= golden.storage.bits - check_bits && check_bits > 0);
    for trial in &trials {
        let told = trial.protection.expect("told");
        assert!(told.corrected > 100 && told.detected > 0, "{told:?}");
        assert!(told.residual < trial.faults / 4, "{told:?} of {}", trial.faults);
    }
    let unprotected: u64 = run(config(&[plain])).1.iter().map(|trial| trial.golden_mismatch).sum();
    let protected: u64 = trials.iter().map(|trial| trial.golden_mismatch).sum();
    assert!(protected < unprotected, "{protected} of {unprotected}");
}

/// A faulty scale of a channel makes floats that are not finite, though no stored code or scale is a NaN before decoding; and
/// faults that a protection corrects make none.
#[test]
fn what_becomes_of_the_floats_is_told_after_decoding_and_protection() {
    let exponents = ["fault.select=['conv1.weight']", "fault.bits='30'", "fault.counts=[30]"];
    let not_finite = |storage: &str| -> u64 {
        let settings: Vec<&str> = exponents.iter().copied().chain([storage]).collect();
        run(config(&settings))
            .1
            .iter()
            .map(|trial| trial.became_nan + trial.became_inf + trial.nonfinite)
            .sum()
    };
    let tmr = "storage.protect=[{ kind = 'tmr', bits = 'exponent' }]";
    let perfect_copies = ["fault.select=['conv1.weight', '!*@copy1', '!*@copy2']", "fault.bits='30'", tmr];
    let (_, trials) =
        run(config(&perfect_copies.iter().copied().chain(["fault.counts=[30]"]).collect::<Vec<_>>()));
    for trial in &trials {
        assert_eq!((trial.faults, trial.became_inf, trial.became_nan, trial.golden_mismatch), (30, 0, 0, 0));
    }
    assert_eq!(not_finite("storage.guard=[{ select = ['conv1.weight'] }]"), 0);
    // All exponent bits of a scale stuck at 1 make it a NaN or an infinity, and so every weight of its channel but perhaps code 0.
    let scales = [
        "storage={ family = 'symmetric', bits = 8, granularity = { channel = 0 } }",
        "fault.select=['conv1.weight@scale']",
        "fault.bits=exponent",
        "fault.model=stuck-at-1",
        "fault.counts=[128]",
    ];
    let (_, trials) = run(config(&scales));
    assert!(trials.iter().all(|trial| trial.became_inf + trial.became_nan > 100), "{trials:#?}");
}

#[test]
fn conditioned_points_have_their_weight_and_an_overall_mean() {
    let (golden, trials) = run(config(&["fault.rates=[1e-9]", "fault.at_least=1"]));
    let expected = -(-1e-9 * golden.storage.bits as f64).exp_m1();
    let weight = golden.points[0].weight.expect("a weight");
    assert!((weight / expected - 1.0).abs() < 1e-6, "{weight} instead of {expected}");
    assert_eq!(golden.points[0].expected_faults, None);
    let points = bitquake_record::summarise(&golden, &trials, Default::default()).expect("a summary");
    let accuracy = points[0].metric("accuracy").and_then(|metric| metric.overall).expect("an overall mean");
    assert!((accuracy.mean - golden.metrics.accuracy()).abs() <= weight);
}

/// The identity holds a chip's cells, of the parts of a mixture too: not its path, and not nothing.
#[test]
fn a_chip_is_known_by_its_cells() {
    let temp = tempfile::tempdir().expect("a folder");
    let at = |name: &str| temp.path().join(name);
    let chip = |cell: u64| format!("size,4,4\nrow,column,p01,p10\n{cell},0,1,1\n");
    for (name, cell) in [("a.csv", 1), ("b.csv", 1), ("c.csv", 2)] {
        std::fs::write(at(name), chip(cell)).expect("written");
    }
    let base = "schema = 1\n[model]\npath = MODEL\n[data]\nformat = 'idx'\nimages = IMAGES\nlabels = LABELS\nlimit = 5\n";
    let example = config(&[]);
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let base = base
        .replace("MODEL", &quoted(&example.model.path))
        .replace("IMAGES", &quoted(&example.data.images))
        .replace("LABELS", &quoted(example.data.labels.as_deref().expect("labels")));
    let id = |fault: &str, name: &str| {
        let path = at("campaign.toml");
        std::fs::write(&path, format!("{base}{}", fault.replace("CHIP", name))).expect("written");
        let config = read_config(&[path], &[]).expect("valid");
        Campaign::prepare(config).expect("a campaign").0.identity().id()
    };
    for fault in [
        "[fault]\nmodel = 'map'\nchip = 'CHIP'\n",
        "[fault]\nmodel = 'mixture'\n[[fault.parts]]\ncounts = [1]\n[[fault.parts]]\nmodel = 'map'\nchip = 'CHIP'\n",
    ] {
        assert_eq!(id(fault, "a.csv"), id(fault, "b.csv"), "{fault}");
        assert_ne!(id(fault, "a.csv"), id(fault, "c.csv"), "{fault}");
    }
}

#[test]
fn every_fault_model_runs() {
    type Case = (&'static [&'static str], fn(&TrialRecord) -> bool);
    let cases: &[Case] = &[
        (&["fault.model=stuck-at-0", "fault.counts=[400]"], |t| t.faults + t.dormant == 400 && t.to_one == 0),
        (&["fault.model=stuck-at-1", "fault.counts=[400]"], |t| {
            t.faults + t.dormant == 400 && t.to_one == t.faults
        }),
        (&["fault.to_one=0.0", "fault.rates=[1e-2]"], |t| t.to_one == 0 && t.faults > 0),
        (&["fault.model=set-value", "fault.value=0.0", "fault.counts=[50]"], |t| {
            t.faults > 50 && t.became_nan == 0
        }),
        (&["fault.model=random-value", "fault.fractions=[0.01]"], |t| t.faults > 1000),
        (&["fault.fractions=[0.01]"], |t| t.faults == 665),
        (&["fault.model=burst", "fault.length=4", "fault.counts=[10]"], |t| (35..=40).contains(&t.faults)),
        (&["fault.protect=exponent", "fault.rates=[1e-3]"], |t| {
            t.faults > 0 && t.by_bit.keys().all(|bit| !(23..31).contains(bit))
        }),
        (&["fault.sites=['conv1.weight:0:30', 'fc.bias@lbi:0']"], |t| t.by_bit.keys().copied().eq([30, 31])),
        (&["fault.rates=[1e-9]", "fault.at_least=1"], |t| t.faults >= 1),
        (
            &[
                "fault.model=mixture",
                "fault.parts=[{ counts = [5] }, { model = 'burst', length = 2, counts = [1] }]",
            ],
            |t| (3..=7).contains(&t.faults),
        ),
    ];
    for (settings, holds) in cases {
        let mut base = config(&[]);
        base.fault = Default::default();
        let text = bitquake_campaign::resolved_toml(&base).expect("TOML");
        let temp = tempfile::tempdir().expect("a folder");
        let path = temp.path().join("campaign.toml");
        std::fs::write(&path, text).expect("written");
        let settings: Vec<String> = settings.iter().map(ToString::to_string).collect();
        let (_, trials) = run(read_config(&[path], &settings).expect("a valid campaign"));
        assert!(trials.iter().all(holds), "{settings:?}: {trials:#?}");
    }
}
