//! Whole attacks on a small network: what they leave, resuming, limits, goals, and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitquake_attack::{
    Attack, AttackError, AttackFile, AttackRecords, End, EndReason, Event, RECORD_FILE, Summary,
    pattern_file, read_attack,
};
use bitquake_data::write_idx;
use bitquake_fault::FaultPattern;
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_testing::{SplitMix64, temp_dir};

const CLASSES: usize = 3;

/// `logits = relu(x a) b`: the hidden unit of each class adds its columns of the image up.
fn model() -> Vec<u8> {
    let mut random = SplitMix64::new(5);
    let mut noisy = |value: f32| value + 0.05 * random.normal() as f32;
    let a: Vec<f32> = (0..9 * 6).map(|i| noisy(if i / 6 % 3 == i % 3 { 0.5 } else { 0.0 })).collect();
    let b: Vec<f32> = (0..6 * 3).map(|i| noisy(if i / 3 % 3 == i % 3 { 0.8 } else { -0.2 })).collect();
    let mut model = ModelBuilder::new("small");
    model.graph().input(
        "x",
        ElemType::F32,
        &[BuildDim::Named("batch"), BuildDim::Fixed(1), BuildDim::Fixed(3), BuildDim::Fixed(3)],
    );
    model.graph().initializer(TensorSpec::f32("a", &[9, 6], &a));
    model.graph().initializer(TensorSpec::f32("b", &[6, 3], &b));
    model.graph().node("Flatten", &["x"], &["flat"], &[]);
    model.graph().node("MatMul", &["flat", "a"], &["hidden"], &[]);
    model.graph().node("Relu", &["hidden"], &["active"], &[]);
    model.graph().node("MatMul", &["active", "b"], &["logits"], &[]);
    model.graph().output(
        "logits",
        ElemType::F32,
        &[BuildDim::Named("batch"), BuildDim::Fixed(CLASSES as u64)],
    );
    model.finish()
}

/// Images of 3 x 3 pixels: a bright column whose place is the class, and noise.
fn write_images(dir: &Path) {
    let mut random = SplitMix64::new(8);
    let labels: Vec<u8> = (0..120).map(|image| image % CLASSES as u8).collect();
    let mut pixels = Vec::new();
    for &label in &labels {
        for place in 0..9_u64 {
            pixels.push(random.below(120) as u8 + if place % 3 == u64::from(label) { 110 } else { 0 });
        }
    }
    write_idx(&dir.join("images"), &[120, 3, 3], &pixels).expect("a file");
    write_idx(&dir.join("labels"), &[120], &labels).expect("a file");
}

const ATTACK: &str = r#"
schema = 1
name = "small"
seed = 9

[model]
path = "model.onnx"

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[attack]
images = 24
trials = 2

[evaluate]
images = 40
"#;

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = temp_dir();
        fs::write(dir.path().join("model.onnx"), model()).expect("a file");
        fs::write(dir.path().join("attack.toml"), ATTACK).expect("a file");
        write_images(dir.path());
        Self { dir }
    }

    fn config(&self, out: &str, settings: &[&str]) -> Result<AttackFile, AttackError> {
        let mut settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        if !settings.iter().any(|text| text.starts_with("storage=")) {
            settings.push("storage={ family = 'symmetric', bits = 8 }".into());
        }
        let mut config = read_attack(&[self.dir.path().join("attack.toml")], &settings)?;
        config.output.dir = Some(self.path(out));
        Ok(config)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn attack(&self, out: &str, settings: &[&str]) -> Result<Summary, AttackError> {
        match Attack::prepare(self.config(out, settings)?)?.run(&AtomicBool::new(false), |_| ())? {
            End::Finished(summary) => Ok(summary),
            End::Stopped { .. } => panic!("nobody asked it to stop"),
        }
    }

    fn refused(&self, settings: &[&str]) -> String {
        match self.attack("refused", settings) {
            Ok(summary) => panic!("{settings:?}: {summary:?}"),
            Err(error) => error.to_string(),
        }
    }

    fn records(&self, out: &str) -> AttackRecords {
        AttackRecords::read(&self.path(out)).expect("records")
    }

    fn pattern(&self, out: &str, trial: u64) -> FaultPattern {
        let text = fs::read_to_string(self.path(out).join(pattern_file(trial))).expect("a pattern");
        FaultPattern::from_json(&text).expect("a pattern")
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn chosen_flips_reach_chance_long_before_random_ones() {
    let place = Place::new();
    let chosen = place.attack("chosen", &[]).expect("a summary");
    assert!(chosen.clean_accuracy > 0.95, "{chosen:?}");
    assert!(!chosen.flips.is_at_least() && chosen.flips.mean <= 12.0, "{chosen:?}");
    assert!(
        chosen.trials.iter().all(|trial| trial.reason == EndReason::Target && trial.accuracy <= 1.1 / 3.0)
    );
    for kind in ["random", "random-by-tensor"] {
        let random =
            place.attack(kind, &[&format!("attack.kind={kind}"), "stop.flips=500"]).expect("a summary");
        assert!(random.flips.mean > 3.0 * chosen.flips.mean, "{random:?}");
    }
}

#[test]
fn records_patterns_and_tables_agree() {
    let place = Place::new();
    let summary = place.attack("out", &[]).expect("a summary");
    let records = place.records("out");
    for (lines, trial) in records.trials.iter().zip(&summary.trials) {
        let flips: Vec<_> = lines.steps.iter().flat_map(|step| &step.flips).collect();
        assert_eq!(flips.len() as u64, trial.flip_count);
        let pattern = place.pattern("out", trial.trial);
        assert_eq!(pattern.flips(), trial.distance);
        for flip in flips {
            assert_eq!(flip.word_before ^ flip.word_after, 1 << flip.bit, "{flip:?}");
            assert!(["a", "b"].contains(&flip.tensor.as_str()));
        }
        let rising = lines.steps.iter().all(|step| step.loss > step.loss_before);
        assert!(rising, "each step raises the loss");
        let last = lines.steps.last().expect("a step");
        assert_eq!((last.flip_count, last.distance), (trial.flip_count, trial.distance));
        assert_eq!(lines.begin.full.images, 96);
        assert_eq!(lines.begin.sample.images, 40);
    }
    let profile = String::from_utf8(place.bytes("out/profile.csv")).expect("text");
    let mut rows = profile.lines();
    let header = rows.next().expect("a header");
    assert!(
        header.starts_with("trial,step,flip,") && header.contains(",ci_method,ci_confidence,"),
        "{header}"
    );
    let columns = header.split(',').count();
    let total: u64 = summary.trials.iter().map(|trial| trial.flip_count).sum();
    let rows: Vec<&str> = rows.collect();
    assert!(
        rows.len() as u64 == total && rows.iter().all(|row| row.split(',').count() == columns),
        "{profile}"
    );
    let json: serde_json::Value = serde_json::from_slice(&place.bytes("out/summary.json")).expect("JSON");
    assert_eq!(json["flips"]["reached"], 2);
    assert_eq!(json["goal"]["metric"], "accuracy");
}

/// Stops after every step, and once with a torn line: the same records, patterns and tables.
#[test]
fn stopped_after_each_step_it_makes_the_same_flips() {
    let place = Place::new();
    for kind in ["attack.kind=progressive", "attack.kind=random"] {
        let settings = [kind, "stop.flips=6", "evaluate.every=2"];
        place.attack(&format!("straight {kind}"), &settings).expect("a summary");
        let out = format!("broken {kind}");
        let (mut runs, mut over) = (0, false);
        while !over {
            let stop = AtomicBool::new(false);
            let attack =
                Attack::prepare(place.config(&out, &settings).expect("a configuration")).expect("an attack");
            let end = attack.run(&stop, |event| {
                if matches!(event, Event::Step(_)) {
                    stop.store(true, Ordering::Relaxed);
                }
            });
            over = matches!(end.expect("an end"), End::Finished(_));
            runs += 1;
            let records = place.path(&out).join(RECORD_FILE);
            if !over && runs == 2 {
                let whole = fs::read(&records).expect("lines");
                fs::write(&records, &whole[..whole.len() - 7]).expect("a file");
            }
        }
        assert!(runs > 4, "{runs} runs");
        for file in [RECORD_FILE, "profile.csv", "summary.json", "trial-0.json", "trial-1.json"] {
            let is_same =
                place.bytes(&format!("straight {kind}/{file}")) == place.bytes(&format!("{out}/{file}"));
            assert!(is_same, "{file} of {out}");
        }
    }
}

#[test]
fn more_trials_go_on_and_another_attack_is_refused() {
    let place = Place::new();
    place.attack("out", &["attack.trials=1"]).expect("a summary");
    let first = place.pattern("out", 0);
    assert_eq!(place.attack("out", &["attack.trials=3"]).expect("a summary").trials.len(), 3);
    assert_eq!(place.pattern("out", 0), first);
    let error = place.attack("out", &["seed=10"]).expect_err("another seed");
    assert!(error.to_string().contains("holds another attack; seed is `10` here and `9` there"), "{error}");
    fs::write(place.path("out").join(RECORD_FILE), "what\nis\nthis\n").expect("a file");
    let error = place.attack("out", &[]).expect_err("no records");
    assert!(error.to_string().contains("attack.jsonl, line 1"), "{error}");
}

#[test]
fn float_words_and_codes_of_every_width_can_be_attacked() {
    let place = Place::new();
    let storages = [
        "{ family = 'native' }",
        "{ family = 'binary' }",
        "{ family = 'symmetric', bits = 4, signed = false }",
        "{ family = 'asymmetric', bits = 3, signed = false }",
        "{ family = 'affine', bits = 8, granularity = { channel = 0 } }",
        "{ family = 'symmetric', bits = 8, encoding = 'gray' }",
    ];
    for (number, storage) in storages.iter().enumerate() {
        let setting = format!("storage={storage}");
        let summary = place.attack(&format!("out-{number}"), &[&setting, "attack.trials=1"]).expect(storage);
        assert!(summary.trials[0].accuracy < summary.clean_accuracy, "{storage}: {summary:?}");
    }
    let summary = place.attack("native", &["storage={ family = 'native' }", "attack.bits='exponent'"]);
    let records = place.records("native");
    assert!(
        records
            .trials
            .iter()
            .flat_map(|trial| &trial.steps)
            .flat_map(|step| &step.flips)
            .all(|flip| flip.bit >= 23)
    );
    assert!(summary.expect("a summary").flips.mean <= 3.0);
}

#[test]
fn targeted_attacks_reach_their_class() {
    let place = Place::new();
    let target =
        ["attack.objective={ kind = 'to-target', target = 2 }", "stop.success=0.8", "attack.trials=1"];
    let summary = place.attack("all", &target).expect("a summary");
    assert!(summary.trials[0].success.is_some_and(|share| share >= 0.8), "{summary:?}");
    let one = [
        "attack.objective={ kind = 'one-to-one', source = 0, target = 1 }",
        "attack.trials=1",
        "attack.images=12",
    ];
    let one = place.attack("one", &one).expect("a summary");
    assert!(one.trials[0].success.is_some_and(|share| share >= 0.9), "{one:?}");
    let stealthy = [
        "attack.objective={ kind = 'one-to-one-stealthy', source = 0, target = 1 }",
        "attack.trials=1",
        "stop.success=0.7",
    ];
    let stealthy = place.attack("stealthy", &stealthy).expect("a summary");
    // The images of other classes keep theirs better than under the attack that does not care.
    assert!(stealthy.trials[0].accuracy >= one.trials[0].accuracy, "{stealthy:?} {one:?}");
}

#[test]
fn true_labels_iterations_and_limits() {
    let place = Place::new();
    let summary = place.attack("labels", &["attack.labels=false", "attack.trials=1"]);
    assert!(summary.is_err(), "labels is what the network says, or what the data say");
    let settings = ["attack.labels=true", "stop.iterations=2", "attack.limits.per_word=1", "attack.trials=1"];
    let summary = place.attack("out", &settings).expect("a summary");
    let lines = &place.records("out").trials[0];
    assert!(lines.steps.len() <= 2 && summary.trials[0].reason != EndReason::Budget);
    let summary = place.attack("budget", &["stop.flips=1", "attack.trials=1"]).expect("a summary");
    assert_eq!((summary.trials[0].reason, summary.flips.is_at_least()), (EndReason::Budget, true));
    // All that may be flipped is flipped.
    let few = ["attack.kind=random", "attack.select=['b']", "attack.bits='0'", "attack.trials=1"];
    let summary = place.attack("few", &few).expect("a summary");
    assert_eq!((summary.trials[0].reason, summary.trials[0].distance), (EndReason::Exhausted, 18));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let place = Place::new();
    for (setting, wanted) in [
        ("attack.trials=0", "[attack] trials is 0"),
        ("attack.images=0", "[attack] images is 0"),
        ("attack.images=120", "none is left to judge"),
        ("attack.images=121", "121 images are to be attacked, and there are 120"),
        ("attack.kind=best", "unknown value `best`"),
        ("attack.kinds=random", "did you mean `kind`?"),
        ("attack.select=['nothing*']", "`nothing*` matches no tensor"),
        ("attack.select=['a@scale']", "tensor `a@scale` (f32) cannot be attacked"),
        ("attack.bits='exponent'", "has no exponent bits"),
        ("attack.bits='9'", "[attack]: tensor `a`"),
        (
            "attack.objective={ kind = 'to-target', target = 3 }",
            "target is class 3, the network has the classes 0 to 2",
        ),
        (
            "attack.objective={ kind = 'one-to-one', source = 1, target = 1 }",
            "source and target are both class 1",
        ),
        ("attack.search.candidates=0", "[attack.search] candidates is 0"),
        ("attack.search.most=0", "most 0 is below candidates 1"),
        ("attack.limits.per_word=0", "per_word is 0"),
        ("attack.limits.per_tensor=0", "per_tensor is 0"),
        ("attack.limits.per_page=0", "per_page is 0"),
        ("attack.limits.page_bytes=0", "page_bytes is 0"),
        ("attack.feasible={ rates = [0.1, 0.2] }", "one amount is needed here, not 2"),
        ("attack.feasible={ rates = [0.1], bits = 'msb' }", "those of [attack] select"),
        ("attack.feasible={ rates = [0.1], target = 'inputs' }", "weights are attacked"),
        ("attack.feasible={ rates = [0.0] }", "no bit can be flipped in trial 0"),
        ("attack.feasible={ model = 'map', chip = 'none.csv' }", "none.csv"),
        ("attack.device='tpu'", "`tpu` is no device"),
        ("stop.flips=0", "[stop] flips is 0"),
        ("stop.iterations=0", "[stop] iterations is 0"),
        ("stop.accuracy=11", "[stop] accuracy 11 is not a share from 0 to 1"),
        ("stop.accuracy=1.0", "the network without flips has accuracy"),
        ("stop.success=0.5", "success goes with a targeted attack"),
        ("evaluate.every=0", "[evaluate] every is 0"),
        ("evaluate.confidence=95", "confidence"),
        ("storage.protect=[{ kind = 'secded' }]", "without protections"),
        ("name='../x'", "is not made of letters"),
        ("schema=2", "schema 2 is not known"),
    ] {
        let said = place.refused(&[setting]);
        assert!(said.contains(wanted), "{setting}: {said}");
    }
    assert!(!place.path("refused").join(RECORD_FILE).exists());
    place.attack("refused", &[]).expect("nothing is in the way");
}

#[test]
fn a_clean_loss_that_is_no_number_is_told_with_its_place() {
    let place = Place::new();
    let mut bytes = model();
    let first = 0.8_f32;
    // The first weight of `b` that is near 0.8 becomes a NaN.
    let at = (0..bytes.len() - 4).find(|&at| {
        let word = f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        (word - first).abs() < 0.2
    });
    let at = at.expect("a weight");
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(place.path("model.onnx"), bytes).expect("a file");
    let said = place.refused(&["storage={ family = 'native' }", "stop.accuracy=0.0"]);
    assert!(
        said.contains("the loss of the clean network is NaN; the first value that is not finite is"),
        "{said}"
    );
}

/// The ascent flips at most one bit a word, within its budget, and the exhaustive search is never worse than the gradient's choice.
#[test]
fn an_ascent_keeps_its_budget_and_the_exhaustive_search_is_the_best() {
    let place = Place::new();
    let ascent = ["attack.kind=ascent", "stop.flips=8", "attack.trials=1", "attack.ascent={ restarts = 2 }"];
    let summary = place.attack("ascent", &ascent).expect("a summary");
    let lines = &place.records("ascent").trials[0];
    let flips = &lines.steps[0].flips;
    let mut words: Vec<(&str, u64)> = flips.iter().map(|flip| (flip.tensor.as_str(), flip.element)).collect();
    words.sort_unstable();
    words.dedup();
    assert!(lines.steps.len() == 1 && words.len() == flips.len() && flips.len() <= 8, "{flips:?}");
    assert!(summary.trials[0].accuracy < 0.7 * summary.clean_accuracy, "{summary:?}");
    let random = ["attack.kind=random", "stop.flips=8", "attack.trials=1"];
    let random = place.attack("random", &random).expect("a summary");
    assert!(random.trials[0].accuracy > summary.trials[0].accuracy, "{random:?}");

    let one = |kind: &str| {
        let setting = format!("attack.kind={kind}");
        place.attack(kind, &[&setting, "stop.flips=1", "attack.trials=1"]).expect("a summary");
        let step = place.records(kind).trials[0].steps[0].clone();
        (step.loss.expect("a loss"), step.effort.probes)
    };
    let ((best, tried), (chosen, few)) = (one("exhaustive"), one("progressive"));
    assert!(best >= chosen && tried == 72 * 8 && few == 2, "{best} {chosen} {tried} {few}");
    let said = place.refused(&["attack.kind=ascent", "storage={}"]);
    assert!(said.contains("tensor `a` is not quantized"), "{said}");
    let said = place.refused(&["attack.kind=ascent", "attack.limits.per_tensor=3"]);
    assert!(said.contains("per_tensor, per_page and feasible go with the other kinds"), "{said}");
    let said = place.refused(&["attack.ascent.steps=0"]);
    assert!(said.contains("[attack.ascent] steps 0"), "{said}");
}

/// Sparse weak cells, and cells that fail in one direction: the flips are some of those that a draw changes.
#[test]
fn feasible_flips_are_those_of_a_draw() {
    let place = Place::new();
    let sparse = ["attack.feasible={ rates = [0.1] }", "attack.trials=2", "stop.flips=10"];
    let summary = place.attack("sparse", &sparse).expect("a summary");
    let free = place.attack("free", &["stop.flips=10"]).expect("a summary");
    assert!(summary.flips.mean >= free.flips.mean, "{summary:?}");
    assert_ne!(place.pattern("sparse", 0), place.pattern("sparse", 1), "each trial has cells of its own");
    let chip =
        "{ model = 'map', chip = { number = 0, synthetic = { rows = 64, columns = 64 } }, voltages = [0.8] }";
    let mapped = [&format!("attack.feasible={chip}"), "attack.trials=1", "stop.flips=10"];
    let error = place.attack("mapped", &mapped).err().map(|error| error.to_string());
    assert!(error.is_none(), "{error:?}");
    let falling =
        ["attack.feasible={ model = 'stuck-at-0', rates = [0.5] }", "attack.trials=1", "stop.flips=20"];
    place.attack("falling", &falling).expect("a summary");
    let lines = &place.records("falling").trials[0];
    let flips = lines.steps.iter().flat_map(|step| &step.flips);
    assert!(flips.clone().count() > 2 && flips.clone().all(|flip| flip.word_before >> flip.bit & 1 == 1));
}
