//! What a host must not give, and set-ups that must not run.

use bitquake_bits::Format;
use bitquake_campaign::CampaignError;
use bitquake_campaign::hosted::{Digests, HostTensor, Hosted, HostedConfig, HostedError, Proof};
use bitquake_engine::SelfCheckError;
use bitquake_record::ResultDir;

use super::toy::{CLASSES, IMAGES, Tells, Toy, config, prepared};

const PLAIN: &str = "[fault]\ncounts = [1]\n[run]\ntrials = 3";

fn refusal(config: HostedConfig, tensors: Vec<HostTensor>, digests: Digests) -> HostedError {
    match Hosted::prepare(config, tensors, digests) {
        Err(error) => error,
        Ok(_) => panic!("a refusal"),
    }
}

#[test]
fn configurations_that_cannot_be_run() {
    let told = |text: &str| refusal(config(text), Toy::tensors(), Toy::new().digests()).to_string();
    let target = "[fault] target: a host's campaign hits stored words alone";
    assert!(told("[fault]\ntarget = 'activations'\nrates = [1e-3]").starts_with(target));
    assert!(
        told("[fault]\nrates = [1e-3]\nalso = { target = 'inputs', rates = [1e-3] }").starts_with(target)
    );
    for (text, wanted) in [
        ("[fault]\nrates = [2.0]", "2"),
        ("[fault]\nrates = [1e-3]\nselect = ['conv*']", "conv*"),
        ("[fault]\nrates = [1e-3]\nselect = ['fc.steps']\nbits = 'mantissa'", "fc.steps"),
        ("[fault]\nrates = [1e-3]\nbits = 'sign'\nprotect = 'sign'", "nothing is left"),
        ("[fault]\ncounts = [100000]", "100000"),
        ("[fault]\nrates = [1e-3]\n[run]\ntrials = 0", "trials is 0"),
        ("[fault]\nrates = [1e-3]\n[run]\nconfidence = 1.0", "confidence"),
        ("[fault]\nrates = [1e-3]\n[run]\nstop = { metric = 'f1', half_width = 0.1 }", "`f1` is not known"),
        (
            "[fault]\nrates = [1e-3]\n[run]\nstop = { metric = 'exceeded', half_width = 0.1 }",
            "goes with [outcome]",
        ),
        ("[fault]\nrates = [1e-3]\n[outcome]\ndistance = 'max_abs'\nthreshold = -1.0", "is no distance"),
        ("[fault]\nmodel = 'map'\nchip = '/nowhere/chip.csv'", "/nowhere/chip.csv"),
    ] {
        let found = told(text);
        assert!(found.contains(wanted), "{text}: {found}");
    }
    let unknown = HostedConfig::from_toml("[host]\nfoo = 1\n[fault]\nrates = [1e-3]").expect_err("a refusal");
    assert!(unknown.to_string().contains("unknown key `foo`"), "{unknown}");
    let seeded = HostedConfig { seed: 1 << 63, ..config(PLAIN) };
    let told = refusal(seeded, Toy::tensors(), Toy::new().digests()).to_string();
    assert!(told.contains("seed 9223372036854775808 is above 2^63 - 1"), "{told}");
    let named = HostedConfig { name: "../up".into(), ..config(PLAIN) };
    assert!(refusal(named, Toy::tensors(), Toy::new().digests()).to_string().contains("../up"));
}

#[test]
fn tensors_and_digests_that_are_none() {
    let digests = || Toy::new().digests();
    let tensor = |name: &str, dims: &[u64]| HostTensor {
        name: name.into(),
        format: Format::F32,
        dims: dims.to_vec(),
        by_name_only: false,
        also: vec![],
    };
    let twice = vec![tensor("a", &[2]), tensor("a", &[3])];
    let error = refusal(config(PLAIN), twice, digests());
    assert!(matches!(&error, HostedError::TensorName { place: 1, name, .. } if name == "a"), "{error}");
    let error = refusal(config(PLAIN), vec![tensor("", &[2])], digests());
    assert!(matches!(error, HostedError::TensorName { place: 0, .. }), "{error}");
    for tensors in [vec![], vec![tensor("a", &[0, 3])]] {
        assert!(matches!(refusal(config(PLAIN), tensors, digests()), HostedError::NoTensors));
    }
    let huge = vec![tensor("a", &[u64::MAX, 2])];
    assert!(matches!(refusal(config(PLAIN), huge, digests()), HostedError::Dims { .. }));
    for digest in ["", "12", &"g".repeat(64), &"a".repeat(65)] {
        let words = Digests { words: digest.into(), data: None };
        let data = Digests { data: Some(digest.into()), ..digests() };
        for (of, digests) in [("words", words), ("data", data)] {
            let error = refusal(config(PLAIN), Toy::tensors(), digests);
            assert!(matches!(&error, HostedError::Digest { of: found, .. } if *found == of), "{error}");
        }
    }
}

#[test]
fn words_that_are_not_those_described() {
    let mut tensors = Toy::tensors();
    tensors[0].dims = vec![CLASSES as u64, 5];
    let hosted =
        Hosted::prepare(config("[fault]\nrates = [1.0]"), tensors, Toy::new().digests()).expect("a campaign");
    assert!(matches!(hosted.trial(0, 0, &Toy::new()), Err(HostedError::Words(_))));
    assert!(matches!(
        prepared(PLAIN).trial(1, 0, &Toy::new()),
        Err(HostedError::Campaign(CampaignError::Config(_)))
    ));
}

#[test]
fn outputs_that_are_no_rows() {
    let hosted = prepared(PLAIN);
    let rows = [0.0; 2 * CLASSES];
    let push = |rows: &[f32], classes, labels: Option<&[u32]>| {
        hosted.golden_outputs().push(rows, classes, labels).expect_err("a refusal")
    };
    assert!(matches!(push(&rows, 0, None), HostedError::Rows { values: 6, classes: 0 }));
    assert!(matches!(push(&rows, 4, Some(&[0])), HostedError::Rows { values: 6, classes: 4 }));
    assert!(matches!(push(&rows, 3, None), HostedError::LabelsMissing));
    assert!(matches!(push(&rows, 3, Some(&[0])), HostedError::LabelCount { labels: 1, images: 2 }));
    let error = push(&rows, 3, Some(&[0, 3]));
    assert_eq!(error.to_string(), "image 1 has the label 3, the network has the classes 0 to 2");
    let mut golden = hosted.golden_outputs();
    golden.push(&rows, 3, Some(&[0, 1])).expect("rows");
    let error = golden.push(&rows, 3, Some(&[0, 9])).expect_err("a refusal");
    assert!(matches!(error, HostedError::Label { image: 3, label: 9, classes: 3 }), "{error}");
    let other = golden.push(&rows, 2, Some(&[0, 1, 0])).expect_err("a refusal");
    assert!(matches!(other, HostedError::Classes { golden: 3, found: 2 }));
    // What was refused was not taken.
    assert_eq!(golden.finish(0.0).expect("a golden run").counts().images, 2);
    let none = hosted.golden_outputs();
    assert!(matches!(none.finish(0.0), Err(HostedError::NoImages)));
    let mut empty = hosted.golden_outputs();
    empty.push(&[], 3, Some(&[])).expect("no rows are rows");
    assert!(matches!(empty.finish(0.0), Err(HostedError::NoImages)));
    let distances = prepared("[fault]\ncounts = [1]\n[outcome]\ndistance = 'max_abs'\nthreshold = 1.0");
    let error = distances.golden_outputs().push(&rows, 3, Some(&[0, 1])).expect_err("a refusal");
    assert!(matches!(error, HostedError::LabelsUnused));
}

#[test]
fn outputs_that_are_not_those_of_the_golden_run() {
    let (hosted, toy) = (prepared(PLAIN), Toy::new());
    let golden = Tells::Outputs(40).golden(&hosted, &toy).expect("a golden run");
    let outputs = toy.outputs();
    let less = &outputs[CLASSES..];
    let images =
        |error| matches!(error, Err(HostedError::Images { golden: IMAGES, found }) if found != IMAGES);
    assert!(images(golden.judge(less, CLASSES)));
    assert!(images(golden.judge(&[&outputs[..], less].concat(), CLASSES)));
    let wide = golden.judge(&outputs, 4);
    assert!(matches!(wide, Err(HostedError::Classes { golden: CLASSES, found: 4 })));
    assert!(matches!(golden.metrics([("accuracy", 0.5)]), Err(HostedError::Kind { .. })));
    let told = hosted.golden_metrics([("accuracy", 0.5)], 0.0).expect("a golden run");
    assert!(matches!(told.judge(&outputs, CLASSES), Err(HostedError::Kind { .. })));
    assert!(matches!(told.no_outputs(), Err(HostedError::Kind { .. })));
}

#[test]
fn set_ups_that_are_not_proved() {
    let (hosted, toy) = (prepared(PLAIN), Toy::new());
    let golden = Tells::Outputs(40).golden(&hosted, &toy).expect("a golden run");
    let same = golden.judge(&toy.outputs(), CLASSES).expect("rows");
    let lacks = |proof: Proof| match proof.finish() {
        Err(HostedError::NotProven { missing }) => missing,
        _ => panic!("a refusal"),
    };
    let nothing = Proof::new(&golden);
    assert!(lacks(nothing).contains("no run without faults"));
    let mut shown = Proof::new(&golden);
    assert!(shown.probe("fc.bias", &golden.no_outputs().expect("outputs")).expect("outputs"));
    assert!(lacks(shown).contains("no run without faults"));
    let mut empty = Proof::new(&golden);
    empty.empty(&same).expect("the same");
    assert!(lacks(empty).contains("no probe"));
    let mut silent = Proof::new(&golden);
    silent.empty(&same).expect("the same");
    assert!(
        !silent.probe("fc.weight", &same).expect("outputs")
            && !silent.probe("fc.bias", &same).expect("outputs")
    );
    let error = silent.finish().err().expect("a refusal");
    assert!(matches!(error, HostedError::SelfCheck(SelfCheckError::NoEffect { tensors: 2 })), "{error}");
}

#[test]
fn networks_that_do_not_give_the_same_twice() {
    let (hosted, toy) = (prepared(PLAIN), Toy::new());
    let golden = Tells::Outputs(40).golden(&hosted, &toy).expect("a golden run");
    let mut outputs = toy.outputs();
    outputs[7 * CLASSES + 2] = f32::from_bits(outputs[7 * CLASSES + 2].to_bits() ^ 1);
    let error =
        Proof::new(&golden).empty(&golden.judge(&outputs, CLASSES).expect("rows")).expect_err("a refusal");
    let place = HostedError::SelfCheck(SelfCheckError::NotReproducible {
        image: 7,
        class: 2,
        golden: 0.0,
        found: 0.0,
    });
    assert_eq!(error.to_string().split(':').nth(1), place.to_string().split(':').nth(1));
    let lost = Proof::new(&golden).empty(&golden.no_outputs().expect("outputs")).expect_err("a refusal");
    assert!(matches!(lost, HostedError::SelfCheck(SelfCheckError::Probe { .. })), "{lost}");
    let told = hosted.golden_metrics([("accuracy", 0.5), ("f1", f64::NAN)], 0.0).expect("a golden run");
    let again = |accuracy| told.metrics([("accuracy", accuracy), ("f1", -f64::NAN)]).expect("metrics");
    Proof::new(&told).empty(&again(0.5)).expect("one NaN is as good as another");
    let error = Proof::new(&told).empty(&again(0.25)).expect_err("a refusal");
    assert!(
        matches!(&error, HostedError::NotReproducible { name, golden: 0.5, found: 0.25 } if name == "accuracy"),
        "{error}"
    );
}

#[test]
fn probes_flip_the_highest_bit_that_may_be_hit() {
    let hosted = prepared("[fault]\ncounts = [1]\nbits = 'mantissa'\nselect = ['fc.bias', 'fc.weight']");
    let probes: Vec<_> = hosted.probes().map(|probe| probe.expect("a probe")).collect();
    assert_eq!(
        probes.iter().map(|probe| probe.tensor.as_str()).collect::<Vec<_>>(),
        ["fc.weight", "fc.bias"]
    );
    assert_eq!(probes[1].pattern.tensors()[0].addresses, [22, 54, 86]);
}

#[test]
fn results_of_other_trials_are_not_recorded() {
    let temp = tempfile::tempdir().expect("a folder");
    let (hosted, toy, dir) = (prepared(PLAIN), Toy::new(), ResultDir::at(temp.path()));
    let (mut run, golden) = Tells::Outputs(40).open(&hosted, &dir).expect("a run");
    let same = || golden.judge(&toy.outputs(), CLASSES).expect("rows");
    let trial = |trial| hosted.trial(0, trial, &toy).expect("a trial");
    let error = run.record(trial(1), same(), 0.0).expect_err("a refusal");
    assert_eq!(error.to_string(), "a result of point 0, trial 1, where point 0, trial 0 is to be recorded");
    assert!(matches!(run.record(trial(0), same(), f64::NAN), Err(HostedError::Seconds { .. })));
    let told = hosted.golden_metrics([("accuracy", 0.5)], 0.0).expect("a golden run");
    let metrics = told.metrics([("accuracy", 0.5)]).expect("metrics");
    assert!(matches!(run.record(trial(0), metrics, 0.0), Err(HostedError::Kind { .. })));
    for number in 0..3 {
        let record = run.record(trial(number), same(), 0.0).expect("recorded");
        assert_eq!((record.trial, record.masked, record.site.is_some()), (number, Some(IMAGES as u64), true));
    }
    let error = run.record(trial(2), same(), 0.0).expect_err("a refusal");
    assert!(matches!(error, HostedError::OtherTrial { wanted: None, given: (0, 2) }), "{error}");
    assert_eq!(dir.trials().expect("records").len(), 3);
}

#[test]
fn trials_without_outputs_are_detected_errors() {
    let temp = tempfile::tempdir().expect("a folder");
    let (hosted, toy) = (prepared(PLAIN), Toy::new());
    let (mut run, golden) = Tells::Outputs(40).open(&hosted, &ResultDir::at(temp.path())).expect("a run");
    let faults = hosted.trial(0, 0, &toy).expect("a trial");
    let record = run.record(faults, golden.no_outputs().expect("outputs"), 0.0).expect("recorded");
    let all = IMAGES as u64;
    assert_eq!((record.due, record.golden_mismatch, record.masked, record.correct), (all, all, Some(0), 0));
}

#[test]
fn a_rule_that_looks_at_what_the_host_does_not_tell() {
    let temp = tempfile::tempdir().expect("a folder");
    let text = "[fault]\ncounts = [1]\n[run]\nstop = { metric = 'golden_mismatch', half_width = 0.1 }";
    let Err(error) = Tells::Metrics.open(&prepared(text), &ResultDir::at(temp.path())) else {
        panic!("a refusal")
    };
    assert!(
        matches!(&error, HostedError::StopMetric { metric: "golden_mismatch", told } if told == "accuracy, err"),
        "{error}"
    );
    assert!(!temp.path().join("golden.json").exists());
    Tells::Outputs(40).open(&prepared(text), &ResultDir::at(temp.path())).expect("outputs tell it");
}
