//! Campaigns in which a memory holds activations and inputs as codes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, atomic::AtomicBool};

use bitquake_campaign::{Campaign, Config, End, RunOptions, Shard, read_config};
use bitquake_data::{Dataset, write_idx};
use bitquake_engine::{ChainPlan, CutRequest, Evaluator, Model, Threads};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_record::{Golden, ResultDir, TrialRecord};
use bitquake_tensors::TensorFile;
use bitquake_testing::SplitMix64;
use sha2::{Digest, Sha256};

const INT8: &str = "activations={ family = 'affine', bits = 8 }";
const HIT: &str = "fault.target=activations";

fn shipped(settings: &[&str]) -> Config {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml");
    let small = ["data.limit=60", "fault.rates=[1e-4, 1e-3]", "run.trials=6", "run.threads=1"];
    let all: Vec<String> = small.iter().chain(settings).map(ToString::to_string).collect();
    read_config(&[file], &all).expect("a valid campaign")
}

fn run_in(dir: &ResultDir, config: Config, shard: Shard) {
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(config).expect("a campaign");
    let end = campaign.run(model, dir, RunOptions { shard, stop: &stop }, |_| ());
    assert_eq!(end.expect("a run"), End::Finished);
}

fn results(dir: &ResultDir) -> (Golden, Vec<TrialRecord>) {
    let golden = dir.golden().expect("readable").expect("there");
    (golden, dir.trials().expect("records").iter().map(TrialRecord::timeless).collect())
}

fn run(config: Config) -> (Golden, Vec<TrialRecord>) {
    let temp = tempfile::tempdir().expect("a folder");
    let dir = ResultDir::at(temp.path());
    run_in(&dir, config, Shard::default());
    results(&dir)
}

fn refused(settings: &[&str]) -> String {
    Campaign::prepare(shipped(settings)).map(drop).expect_err("no such campaign").to_string()
}

#[test]
fn the_golden_run_is_that_of_the_quantized_network() {
    let settings = ["data.limit=400", "run.trials=1", "fault.rates=[1e-4]", HIT];
    let float = run(shipped(&settings)).0;
    assert!(float.activations.is_empty());
    let coded = run(shipped(&[&settings[..], &[INT8]].concat())).0;
    assert_ne!(coded.outputs, float.outputs, "the network computes with levels");
    assert!(coded.metrics.correct.abs_diff(float.metrics.correct) <= 6, "8 bits cost next to nothing");
    assert_eq!(coded.storage.bits * 4, float.storage.bits, "a word is 8 bits, not 32");
    assert!(coded.storage.memory.ends_with("; activations affine, 8 bits"), "{}", coded.storage.memory);
    assert_eq!(coded.activations.len(), coded.storage.tensors.len());
    for codes in &coded.activations {
        assert_eq!((codes.format.as_str(), codes.ranges.len(), codes.scales.len()), ("i8", 1, 1));
    }
    assert_ne!(coded.campaign, float.campaign, "another memory is another campaign");
    let two = run(shipped(&[&settings[..], &["activations={ family = 'affine', bits = 2 }"]].concat())).0;
    assert!(two.metrics.correct < float.metrics.correct, "2 bits cost something");
}

#[test]
fn without_faults_every_image_is_masked() {
    for activations in [
        INT8,
        "activations={ family = 'symmetric', bits = 4, granularity = { channel = 0 } }",
        "activations={ family = 'asymmetric', bits = 3, rounding = 'truncate' }",
        "activations={ family = 'symmetric', bits = 6, select = ['*'] }",
    ] {
        let (_, trials) = run(shipped(&[activations, HIT, "fault.rates=[0]", "run.trials=2"]));
        assert!(trials.iter().all(|trial| trial.masked == Some(60) && trial.faults == 0), "{activations}");
    }
}

#[test]
fn results_do_not_depend_on_how_they_were_got() {
    for settings in [
        &[INT8, HIT][..],
        &[INT8, HIT, "fault.counts=[1]"],
        &[INT8, HIT, "fault.persistence=permanent", "run.images=20"],
        &[INT8, "fault.target=inputs"],
        &["activations={ family = 'symmetric', bits = 8, select = ['*'] }", "fault.counts=[1]"],
        &[INT8, "fault.also={ target = 'activations', counts = [2] }", "fault.rates=[1e-6]"],
    ] {
        let settings = &[&["data.limit=30", "run.trials=3"][..], settings].concat();
        let with = |extra: &[&'static str]| run(shipped(&[&settings[..], extra].concat())).1;
        let plain = with(&[]);
        assert!(plain.iter().any(|trial| trial.masked < Some(trial.images)), "{settings:?}");
        assert_eq!(plain, with(&["run.threads=3", "run.reuse.memory_mb=0"]), "{settings:?}");
        let no_reuse = ["run.reuse.reconvergence=false", "run.reuse.splice=false"];
        assert_eq!(plain, with(&no_reuse), "{settings:?}");
        let temp = tempfile::tempdir().expect("a folder");
        let dir = ResultDir::at(temp.path());
        for index in [1, 0] {
            run_in(&dir, shipped(settings), Shard { index, count: 2 });
        }
        assert_eq!(plain, results(&dir).1, "{settings:?}");
    }
}

#[test]
fn every_fault_model_hits_codes() {
    let zeros = run(shipped(&[INT8, HIT, "fault.model=set-value", "fault.value=0", "fault.counts=[3]"])).1;
    assert!(zeros.iter().all(|trial| trial.faults > 0 && trial.to_one == 0));
    for model in [
        &["fault.model=set-value", "fault.value=saturate"][..],
        &["fault.model=random-value"],
        &["fault.model=stuck-at-1", "fault.bits='7'"],
        &["fault.model=shape", "fault.shape=channel", "fault.effect=random-value"],
    ] {
        let (_, trials) = run(shipped(&[&[INT8, HIT, "fault.counts=[2]"], model].concat()));
        for trial in &trials {
            assert!(trial.faults > 0 && trial.by_bit.keys().all(|&bit| bit < 8), "{model:?}");
            assert_eq!((trial.became_nan, trial.became_inf), (0, 0), "codes have no such words");
        }
    }
    let float = run(shipped(&[HIT, "fault.rates=[1e-3]"])).1;
    assert!(float.iter().any(|trial| trial.became_nan + trial.became_inf > 0), "floats do");
}

#[test]
fn what_is_wrong_is_told() {
    let codes = "activations={ family = 'symmetric' }";
    for (settings, want) in [
        (&[codes][..], "campaign: [activations] select is missing: faults hit no activations"),
        (
            &["activations={ family = 'symmetric', select = ['nothing'] }"],
            "campaign: [activations] select: `nothing`",
        ),
        (
            &["activations={ family = 'affine', granularity = { channel = 3 } }", HIT],
            "campaign: [activations] granularity: value `",
        ),
        (&[codes, HIT, "fault.bits=exponent"], "[fault]: tensor `"),
    ] {
        let error = refused(settings);
        assert!(error.starts_with(want), "{settings:?}: {error}");
    }
    let settings = ["activations={ family = 'symmetric', bits = 20 }".to_owned()];
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/campaign.toml");
    let error = read_config(&[file], &settings).expect_err("too wide").to_string();
    assert!(error.ends_with("[activations] bits is 20: codes of activations have 1..16"), "{error}");
}

/// A model of our own with its images.
struct Built {
    folder: tempfile::TempDir,
    images: Vec<u8>,
    side: u32,
}

impl Built {
    fn new(model: &[u8], images: Vec<u8>, side: u32) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let count = images.len() as u32 / (side * side);
        let write = |name: &str, dims: &[u32], bytes: &[u8]| {
            write_idx(&folder.path().join(name), dims, bytes).expect("written");
        };
        write("images", &[count, side, side], &images);
        write("labels", &[count], &vec![0; count as usize]);
        std::fs::write(folder.path().join("m.onnx"), model).expect("written");
        Self { folder, images, side }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A campaign of pixels that are hundredths.
    fn config(&self, rest: &str) -> Config {
        let text = format!(
            "schema = 1\nmodel = {{ path = 'm.onnx' }}\n{rest}\n[data]\nformat = 'idx'\nimages = 'images'\nlabels = \
             'labels'\npreprocess = {{ scale = 100.0 }}\n"
        );
        std::fs::write(self.path("c.toml"), text).expect("written");
        read_config(&[self.path("c.toml")], &[]).expect("a valid campaign")
    }

    fn data(&self) -> Dataset {
        let pixels: Vec<f32> = self.images.iter().map(|&pixel| f32::from(pixel) / 100.0).collect();
        let side = self.side as usize;
        let labels = vec![0; pixels.len() / side / side];
        Dataset::new(pixels, vec![1, side, side], labels).expect("images")
    }
}

fn image(dims: &[u64]) -> Vec<BuildDim<'static>> {
    [BuildDim::Named("n")].into_iter().chain(dims.iter().map(|&dim| BuildDim::Fixed(dim))).collect()
}

/// y = 2 x, four numbers an image.
fn doubling() -> Vec<u8> {
    let mut model = ModelBuilder::new("doubling");
    let eye: Vec<f32> = (0..16).map(|at| if at % 5 == 0 { 2.0 } else { 0.0 }).collect();
    let graph = model.graph().input("x", ElemType::F32, &image(&[1, 2, 2]));
    graph.initializer(TensorSpec::f32("w", &[4, 4], &eye));
    graph.node("Identity", &["x"], &["r"], &[]);
    graph.node("Flatten", &["r"], &["f"], &[]);
    graph.node("MatMul", &["f", "w"], &["y"], &[]);
    graph.output("y", ElemType::F32, &image(&[4]));
    model.finish()
}

/// By hand: 0.5 is the code 50 of steps of 0.01, 0.25 is 25; outputs are twice the levels.
#[test]
fn flips_do_what_a_hand_computation_says() {
    let built = Built::new(&doubling(), vec![50, 25, 0, 127, 13, 50, 99, 7], 2);
    for (target, value) in [("activations", "r"), ("inputs", "x")] {
        for (family, site, changes) in [
            // The sign bit takes 128 steps away, in the first image from 50, in the second from 13.
            ("family = 'symmetric'", "0:7", [128, 128]),
            // The lowest bit: 50 becomes 51, 13 becomes 12.
            ("family = 'symmetric'", "0:0", [1, 1]),
            // 25 is 0b01_1001 and 50 is 0b11_0010: both lose 16.
            ("family = 'symmetric'", "1:4", [16, 16]),
            ("family = 'symmetric'\nencoding = 'sign-magnitude'", "0:7", [100, 26]),
            // 127 and 7 are the words 255 and 135.
            ("family = 'symmetric'\nencoding = 'offset'", "3:7", [128, 128]),
        ] {
            let rest = format!(
                "activations = {{ {}, range = {{ fixed = 1.27 }} }}\noutcome = {{ distance = 'max_abs', threshold = 0.5 \
                 }}\nrun = {{ trials = 1 }}\nfault = {{ target = '{target}', select = ['{value}'], sites = ['{value}:{site}'] }}",
                family.replace('\n', ", ")
            );
            let (_, trials) = run(built.config(&rest));
            let [trial] = trials.as_slice() else { panic!("one trial") };
            let told = trial.distance.expect("a distance").max_abs;
            let wanted = changes.map(|steps| f64::from(steps) * 0.02);
            let mean = (wanted[0] + wanted[1]) / 2.0;
            assert!((told.mean.expect("a mean") - mean).abs() < 1e-5, "{target} {family} {site}: {told:?}");
            assert!(
                (told.worst.expect("a worst image") - wanted[0].max(wanted[1])).abs() < 1e-5,
                "{target} {family} {site}: {told:?}"
            );
            assert_eq!((trial.faults, trial.by_bit.len()), (2, 1));
        }
    }
}

/// Ranges of their own for channels: the largest value of each has the code 127.
#[test]
fn channels_have_ranges_of_their_own() {
    let built = Built::new(&doubling(), vec![50, 25, 0, 127, 13, 50, 99, 7], 2);
    let rest = "activations = { family = 'symmetric', select = ['f'], granularity = { channel = 0 } }\nrun = { trials = 1 \
                }\noutcome = { distance = 'max_abs', threshold = 0.5 }\nfault = { rates = [0.0] }";
    let golden = run(built.config(rest)).0;
    let [codes] = golden.activations.as_slice() else { panic!("one value") };
    for (scale, largest) in codes.scales.iter().zip([0.5_f32, 0.5, 0.99, 1.27]) {
        assert!((scale - largest / 127.0).abs() < 1e-8, "{codes:?}");
    }
    assert_eq!((codes.value.as_str(), codes.ranges.len()), ("f", 4));
}

/// Convolution, ReLU, mean, linear layer. After the first two comes whatever `stored` adds: it is given the name of a value and
/// that under which the next node reads it.
fn network(stored: impl Fn(&mut ModelBuilder, &str, &str)) -> Vec<u8> {
    let mut random = SplitMix64::new(3);
    let mut weights = |count: usize| -> Vec<f32> { (0..count).map(|_| random.normal() as f32).collect() };
    let (w, v) = (weights(36), weights(12));
    let mut model = ModelBuilder::new("network");
    let graph = model.graph().input("x", ElemType::F32, &image(&[1, 6, 6]));
    graph.initializer(TensorSpec::f32("w", &[4, 1, 3, 3], &w)).initializer(TensorSpec::f32("v", &[4, 3], &v));
    graph.node("Conv", &["x", "w"], &["c"], &[("kernel_shape", AttrValue::Ints(vec![3, 3]))]);
    stored(&mut model, "c", "c'");
    model.graph().node("Relu", &["c'"], &["r"], &[]);
    stored(&mut model, "r", "r'");
    let graph = model.graph().node("GlobalAveragePool", &["r'"], &["g"], &[]);
    graph.node("Flatten", &["g"], &["f"], &[]).node("MatMul", &["f", "v"], &["y"], &[]);
    graph.output("y", ElemType::F32, &image(&[3]));
    model.finish()
}

/// ONNX Runtime as oracle: explicit `QuantizeLinear` and `DequantizeLinear` give the same outputs.
#[test]
fn explicit_quantization_in_the_graph_gives_the_same_golden_run() {
    let mut random = SplitMix64::new(5);
    let pixels: Vec<u8> = (0..40 * 36).map(|_| (random.next_u64() >> 56) as u8).collect();
    let plain = network(|model, from, to| {
        model.graph().node("Identity", &[from], &[to], &[]);
    });
    let built = Built::new(&plain, pixels, 6);
    for signed in [true, false] {
        let rest = format!(
            "activations = {{ family = 'affine', select = ['c', 'r'], signed = {signed} }}\nrun = {{ trials = 1 \
             }}\nfault = {{ rates = [0.0] }}"
        );
        let golden = run(built.config(&rest)).0;
        assert_eq!(golden.activations.len(), 2);
        let lowest = if signed { -128 } else { 0 };
        let explicit = network(|model, from, to| {
            let codes = golden.activations.iter().find(|codes| codes.value == from).expect("stored as codes");
            let (low, scale) = (codes.ranges[0].0, codes.scales[0]);
            let zero = lowest - (low / scale).round() as i32;
            let kind = if signed { ElemType::I8 } else { ElemType::U8 };
            let [s, z, q] = ["s", "z", "q"].map(|part| format!("{from}_{part}"));
            let graph = model.graph();
            graph.initializer(TensorSpec::f32(&s, &[], &[scale]));
            graph.initializer(TensorSpec::raw(&z, kind, &[], &[zero as u8]));
            graph.node("QuantizeLinear", &[from, &s, &z], &[&q], &[]);
            graph.node("DequantizeLinear", &[&q, &s, &z], &[to], &[]);
        });
        std::fs::write(built.path("explicit.onnx"), explicit).expect("written");
        let data = built.data();
        let file = TensorFile::open(&built.path("explicit.onnx")).expect("a file");
        let model = Model::new(file).expect("a model");
        // Cut around the nodes that quantize, so that the engine does not compute with integers instead.
        let values = ["c", "c'", "r", "r'"].map(String::from).to_vec();
        let request = CutRequest { links: 1, values, ..CutRequest::default() };
        let plan = Arc::new(ChainPlan::new(&model, &data, &request).expect("cut"));
        let mut explicit =
            Evaluator::chained(model, plan, &data, 256, Threads::Caller).expect("an evaluator");
        let outputs = explicit.golden(0).expect("a run").golden.outputs;
        let mut hash = Sha256::new();
        outputs.iter().for_each(|output| hash.update(output.to_bits().to_le_bytes()));
        let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(golden.outputs, digest, "signed {signed}");
    }
}
