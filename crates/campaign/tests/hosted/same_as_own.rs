//! A host that runs the shipped model gets the records of a campaign on it.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use bitquake_campaign::hosted::{Digests, HostTensor, Hosted, HostedConfig, OutputsConfig, Proof};
use bitquake_campaign::{Campaign, End, RunOptions, Shard, read_config};
use bitquake_engine::{Evaluator, Model, OutputKind, Threads};
use bitquake_fault::FaultPattern;
use bitquake_record::{ResultDir, SummaryOptions, TrialRecord, summarise};
use bitquake_tensors::Dtype;

use super::toy::timeless;

fn campaign(settings: &[&str]) -> (Campaign, Model) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml");
    let plain =
        ["data.limit=40", "run.threads=1", "run.batch=16", "run.reuse={ prefix = false, splice = false }"];
    let all: Vec<String> = plain.iter().chain(settings).map(ToString::to_string).collect();
    Campaign::prepare(read_config(&[file], &all).expect("a configuration")).expect("a campaign")
}

/// A host's campaign on the tensors of a model, with the faults and the trials of another.
fn hosted(own: &Campaign, model: &Model) -> Hosted {
    let format = |dtype: &Dtype| if let Dtype::Known(format) = dtype { Some(*format) } else { None };
    let tensor = |tensor: &bitquake_tensors::TensorInfo| {
        Some(HostTensor {
            name: tensor.name.clone(),
            format: format(&tensor.dtype)?,
            dims: tensor.shape.clone(),
            by_name_only: !tensor.role.is_reached_by_globs(),
            also: vec![],
        })
    };
    let mut config = HostedConfig::new(own.config().fault.clone());
    config.seed = own.config().seed;
    config.run.trials = own.config().run.trials;
    config.outcome = own.config().outcome;
    config.host.outputs = match model.output_kind() {
        OutputKind::Logits => OutputsConfig::Logits,
        OutputKind::Probabilities => OutputsConfig::Probabilities,
    };
    let digests = Digests { words: "0".repeat(64), data: None };
    if is_stored(own) {
        config.storage = Some(own.config().storage.clone());
        return Hosted::prepare_stored(config, own.memory(), digests).expect("a campaign");
    }
    Hosted::prepare(config, model.tensors().iter().filter_map(tensor).collect(), digests).expect("a campaign")
}

fn is_stored(own: &Campaign) -> bool {
    !own.memory().is_native() || own.memory().is_protected()
}

/// Codes with copies, codes with check bits, and guarded floats.
const MEMORIES: [&str; 3] = [
    "storage={ family = 'symmetric', bits = 8, protect = [{ kind = 'tmr', select = ['fc*'] }] }",
    "storage={ family = 'symmetric', bits = 4, protect = [{ kind = 'secded', data_bits = 64 }] }",
    "storage={ guard = [{ action = 'zero' }] }",
];

#[test]
fn trials_hit_all_that_a_memory_holds() {
    let faults = [
        "fault={ rates = [1e-3, 1e-1] }",
        "fault={ counts = [40], select = ['fc*'], bits = '2..3' }",
        "fault={ rates = [1e-2], select = ['*@check', '*@copy1'] }",
        "fault={ model = 'stuck-at-0', rates = [1e-2], protect = 'top' }",
        "fault={ model = 'shape', shape = 'row', effect = 'random-value', counts = [2], select = ['conv2.weight'] }",
    ];
    let mut corrected = 0;
    for (memory, fault) in MEMORIES.into_iter().flat_map(|memory| faults.map(|fault| (memory, fault))) {
        let is_of_checks = fault.contains("@");
        if memory == MEMORIES[2] && (is_of_checks || fault.contains("top")) {
            continue; // it has none
        }
        let select = if memory == MEMORIES[0] { "*@copy1" } else { "*@check" };
        let fault = fault.replace("'*@check', '*@copy1'", &format!("'{select}'")).replace("'top'", "'0..1'");
        let (own, model) = campaign(&[memory, &fault]);
        let hosted = hosted(&own, &model);
        assert_eq!((own.space(), own.points()), (hosted.space(), hosted.points()), "{memory}, {fault}");
        for point in 0..own.points().len() as u32 {
            for trial in [0, 5] {
                let wanted = own.trial(point, trial, model.image()).expect("a trial");
                let found = hosted.stored_trial(point, trial, own.memory(), model.image()).expect("a trial");
                corrected += wanted.protection.map_or(0, |told| told.corrected);
                assert_eq!(
                    (&found.pattern, found.seen()),
                    (&wanted.stored, &wanted.seen),
                    "{memory}, {fault}"
                );
                let told = (found.dormant, found.protection);
                assert_eq!(told, (wanted.dormant, wanted.protection), "{memory}, {fault}");
            }
        }
        // Past the protections, and of check bits alone in the words that they protect.
        let probe = hosted.stored_probe(0, own.memory(), model.image()).expect("words").expect("a tensor");
        assert!(!probe.tensor.contains('@') && probe.pattern.flips() > 0, "{memory}, {fault}");
        assert!(hosted.stored_probe(999, own.memory(), model.image()).expect("words").is_none());
    }
    assert!(corrected > 0);
}

#[test]
fn trials_flip_the_same_bits() {
    let faults = [
        "fault={ rates = [1e-6, 1e-4, 1e-3] }",
        "fault={ counts = [1, 100], select = ['*weight', '!fc*'], bits = 'exponent' }",
        "fault={ rates = [1e-5], bits = '20..31', protect = 'sign' }",
        "fault={ rates = [1e-9, 1e-4], at_least = 1 }",
        "fault={ model = 'stuck-at-1', rates = [1e-4] }",
        "fault={ model = 'burst', counts = [3], length = 4, neighbours = 'memory' }",
        "fault={ model = 'random-value', counts = [5] }",
        "fault={ model = 'shape', shape = 'channel', effect = 'random-value', counts = [1] }",
        "fault={ model = 'mixture', parts = [{ rates = [1e-5] }, { model = 'stuck-at-0', counts = [2] }] }",
    ];
    for fault in faults {
        let (own, model) = campaign(&[fault]);
        let hosted = hosted(&own, &model);
        assert_eq!(own.space(), hosted.space(), "{fault}");
        assert_eq!(own.points(), hosted.points(), "{fault}");
        let mut flips = 0;
        for point in 0..own.points().len() as u32 {
            for trial in [0, 1, 17] {
                let wanted = own.trial(point, trial, model.image()).expect("a trial");
                let found = hosted.trial(point, trial, model.image()).expect("a trial");
                flips += found.pattern.flips();
                assert_eq!((found.pattern, found.dormant), (wanted.stored, wanted.dormant), "{fault}");
            }
        }
        assert!(flips > 0, "{fault}");
    }
}

/// Runs a host's campaign on a model in the engine of campaigns.
fn run_hosted(own: &Campaign, model: Model, dir: &ResultDir) -> Result<End, String> {
    let hosted = hosted(own, &model);
    let labels = own.config().outcome.is_none().then(|| own.data().labels());
    let mut engine = Evaluator::new(model, own.data(), 16, Threads::Caller).expect("an engine");
    let images = own.data().len();
    let run = |engine: &mut Evaluator<'_>, pattern: &FaultPattern| {
        engine.outputs(pattern, images).expect("outputs")
    };
    let clean = run(&mut engine, &FaultPattern::empty());
    let classes = clean.len() / images;
    let mut golden = hosted.golden_outputs();
    golden.push(&clean, classes, labels).expect("rows");
    let golden = golden.finish(0.0).expect("a golden run");
    let mut proof = Proof::new(&golden);
    let again = golden.judge(&run(&mut engine, &FaultPattern::empty()), classes).expect("rows");
    proof.empty(&again).expect("reproducible");
    let probe = match is_stored(own) {
        true => {
            hosted.stored_probe(0, own.memory(), engine.model().image()).expect("words").expect("a tensor")
        }
        false => hosted.probes().next().expect("a tensor").expect("a probe"),
    };
    let faulty = golden.judge(&run(&mut engine, &probe.pattern), classes).expect("rows");
    assert!(proof.probe(&probe.tensor, &faulty).expect("outputs"));
    let mut to_do = hosted.open(dir, proof.finish().expect("proved")).map_err(|error| error.to_string())?;
    while let Some((point, trial)) = to_do.next_trial() {
        let native = engine.model().image();
        let faults = match is_stored(own) {
            true => hosted.stored_trial(point, trial, own.memory(), native),
            false => hosted.trial(point, trial, native),
        };
        let faults = faults.expect("a trial");
        let outputs = run(&mut engine, faults.seen());
        let result = golden.judge(&outputs, classes).expect("rows");
        to_do.record(faults, result, 0.0).map_err(|error| error.to_string())?;
    }
    to_do.finish().map_err(|error| error.to_string())
}

#[test]
fn records_and_statistics_are_the_same() {
    let temp = tempfile::tempdir().expect("a folder");
    let settings: [&[&str]; 5] = [
        &["fault={ rates = [1e-5, 1e-3] }", "run.trials=6"],
        &["fault={ counts = [1] }", "run.trials=12"],
        &["fault={ rates = [1e-4] }", "run.trials=6", "outcome={ distance = 'rel_l2', threshold = 0.1 }"],
        &["fault={ rates = [1e-2] }", "run.trials=6", MEMORIES[0]],
        &["fault={ rates = [1e-3] }", "run.trials=6", MEMORIES[1]],
    ];
    for (place, settings) in settings.into_iter().enumerate() {
        let dirs = ["own", "hosted"].map(|name| ResultDir::at(temp.path().join(format!("{name}-{place}"))));
        let (own, model) = campaign(settings);
        let stop = AtomicBool::new(false);
        let options = RunOptions { shard: Shard::default(), stop: &stop };
        own.run(model.clone(), &dirs[0], options, |_| ()).expect("a run");
        assert_eq!(run_hosted(&own, model, &dirs[1]), Ok(End::Finished));
        let [wanted, found] = dirs.each_ref().map(timeless);
        assert!(wanted.iter().any(|trial| trial.masked < Some(trial.images)), "some trial does something");
        assert_eq!(found, wanted, "{settings:?}");
        let golden = dirs.each_ref().map(|dir| dir.require_golden().expect("a golden run"));
        let [a, b] = &golden;
        assert_eq!((&a.metrics, &a.outputs, &a.points), (&b.metrics, &b.outputs, &b.points));
        assert_eq!((&a.distance, &a.storage.tensors), (&b.distance, &b.storage.tensors));
        assert_eq!((a.storage.bits, a.storage.check_bits), (b.storage.bits, b.storage.check_bits));
        if is_stored(&own) {
            assert_eq!(a.storage.memory, b.storage.memory);
        }
        assert_ne!(a.campaign, b.campaign, "one is not the other's to go on with");
        let summary = |golden, trials: &[TrialRecord]| {
            summarise(golden, trials, SummaryOptions::default()).expect("a summary")
        };
        assert_eq!(summary(a, &wanted), summary(b, &found));
    }
}
