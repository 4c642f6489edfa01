//! Campaigns and injections on hand-made models: weights in odd places, models that must be refused.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bitquake::data::write_idx;
use bitquake::graph::build::{AttrValue, BuildDim, ElemType, GraphBuilder, ModelBuilder, TensorSpec};
use bitquake::record::ResultDir;
use common::{Done, run};
use serde_json::Value;

const IMAGE: [BuildDim<'_>; 4] =
    [BuildDim::Named("batch"), BuildDim::Fixed(1), BuildDim::Fixed(2), BuildDim::Fixed(2)];
const CLASSES: [BuildDim<'_>; 2] = [BuildDim::Named("batch"), BuildDim::Fixed(3)];
const WEIGHTS: [f32; 12] = [0.5, -1.0, 0.25, 1.0, 0.0, -0.5, 0.75, 2.0, -0.25, 1.5, 0.125, -2.0];

/// Images of 1x2x2, flattened to `x`, and three classes to be computed as `logits`.
fn classifier(add: impl FnOnce(&mut GraphBuilder)) -> Vec<u8> {
    let mut model = ModelBuilder::new("test");
    let graph = model.graph();
    graph.input("images", ElemType::F32, &IMAGE).output("logits", ElemType::F32, &CLASSES);
    graph.node("Flatten", &["images"], &["x"], &[]);
    add(graph);
    model.finish()
}

struct Bench {
    temp: tempfile::TempDir,
}

impl Bench {
    /// A folder with a model, eight images and a campaign over them.
    fn new(model: &[u8]) -> Self {
        let bench = Self { temp: tempfile::tempdir().expect("a folder") };
        fs::write(bench.at("model.onnx"), model).expect("written");
        write_idx(&bench.at("images"), &[8, 2, 2], &(0..32).map(|x| x * 8).collect::<Vec<u8>>())
            .expect("written");
        write_idx(&bench.at("labels"), &[8], &[0, 1, 2, 0, 1, 2, 0, 1]).expect("written");
        let campaign = "schema = 1\n[model]\npath = 'model.onnx'\n[data]\nformat = 'idx'\nimages = 'images'\nlabels = 'labels'\n\
                        preprocess = { scale = 255.0 }\n[fault]\nrates = [0.0, 0.05]\n[run]\ntrials = 5\nthreads = 1\n";
        fs::write(bench.at("campaign.toml"), campaign).expect("written");
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn run(&self, settings: &[&str]) -> Done {
        let (campaign, out) = (self.at("campaign.toml"), self.at("results"));
        let mut args = vec!["run".as_ref(), campaign.as_os_str(), "-o".as_ref(), out.as_os_str()];
        args.extend(settings.iter().flat_map(|setting| ["--set".as_ref(), std::ffi::OsStr::new(*setting)]));
        run(&args)
    }

    fn inspect(&self) -> Value {
        let done = run(&["inspect".as_ref(), self.at("model.onnx").as_os_str(), "--json".as_ref()]);
        serde_json::from_str(&done.ok()).expect("JSON")
    }

    /// A fault in every selected word reaches the engine, and rate 0 changes nothing.
    fn faults_reach_the_engine(&self) {
        self.run(&[]).ok();
        let trials = ResultDir::at(self.at("results")).trials().expect("records");
        let harm = |point| trials.iter().filter(|t| t.point == point).map(|t| t.golden_mismatch).sum::<u64>();
        assert_eq!(harm(0), 0);
        assert!(harm(1) > 0);
    }
}

fn matmul(graph: &mut GraphBuilder) {
    graph.node("MatMul", &["x", "w"], &["logits"], &[]);
}

fn names(seen: &Value, selected: bool) -> Vec<&str> {
    let tensors = seen["tensors"].as_array().expect("tensors").iter();
    tensors.filter(|t| t["selected"] == selected).map(|t| t["tensor"].as_str().expect("a name")).collect()
}

#[test]
fn weights_in_constant_nodes() {
    let bench = Bench::new(&classifier(|graph| {
        graph.constant("w", TensorSpec::f32("", &[4, 3], &WEIGHTS));
        matmul(graph);
    }));
    assert_eq!(names(&bench.inspect(), true), ["w"]);
    bench.faults_reach_the_engine();
}

#[test]
fn weights_in_the_bodies_of_if() {
    let branch = |scale: f32| {
        let mut body = GraphBuilder::new("branch");
        let weights = WEIGHTS.map(|weight| weight * scale);
        body.initializer(TensorSpec::f32("w", &[4, 3], &weights));
        body.node("MatMul", &["x", "w"], &["y"], &[]).output("y", ElemType::F32, &CLASSES);
        AttrValue::Graph(body)
    };
    let bench = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::raw("go", ElemType::Bool, &[], &[1]));
        let branches = [("then_branch", branch(1.0)), ("else_branch", branch(2.0))];
        graph.named_node("choice", "If", &["go"], &["logits"], &branches);
    }));
    let seen = bench.inspect();
    assert_eq!(names(&seen, true), ["choice/then_branch/w", "choice/else_branch/w"]);
    assert_eq!(names(&seen, false), ["go"]);
    bench.faults_reach_the_engine();
}

#[test]
fn weights_in_varints_and_shapes_left_alone() {
    let bench = Bench::new(&classifier(|graph| {
        let words: Vec<i32> = WEIGHTS.iter().map(|weight| (weight * 16.0) as i32).collect();
        graph.initializer(TensorSpec::int32_data("codes", ElemType::I8, &[12], &words));
        graph.initializer(TensorSpec::f32("scale", &[], &[0.0625]));
        graph.initializer(TensorSpec::i64("shape", &[2], &[4, 3]));
        graph.node("DequantizeLinear", &["codes", "scale"], &["flat"], &[]);
        graph.node("Reshape", &["flat", "shape"], &["w"], &[]);
        matmul(graph);
    }));
    let seen = bench.inspect();
    assert_eq!(names(&seen, true), ["codes", "scale"]);
    assert_eq!(names(&seen, false), ["shape"]);
    assert_eq!(seen["bits"], 12 * 8 + 32);
    bench.faults_reach_the_engine();

    // A code is a varint in the file: flipping its sign bit changes its length, and flipping again restores the file.
    let (a, b, c) = (bench.at("model.onnx"), bench.at("flipped.onnx"), bench.at("back.onnx"));
    let flip = |from: &Path, to: &Path| {
        run(&["inject", &from.to_string_lossy(), "-o", &to.to_string_lossy(), "--site", "codes:0:7"]).ok()
    };
    flip(&a, &b);
    flip(&b, &c);
    assert_ne!(fs::read(&a).expect("a file").len(), fs::read(&b).expect("a file").len());
    assert!(fs::read(&a).expect("a file") == fs::read(&c).expect("a file"));
}

#[test]
fn weights_in_external_files() {
    let bench = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::external("w", ElemType::F32, &[4, 3], "weights.bin", 4, 48));
        matmul(graph);
    }));
    let said = bench.run(&[]).failed(3);
    assert!(said.contains("weights.bin") && said.contains("tensor w"), "{said}");
    let mut bytes = vec![0; 4];
    bytes.extend(WEIGHTS.iter().flat_map(|weight| weight.to_le_bytes()));
    fs::write(bench.at("weights.bin"), &bytes).expect("written");
    bench.faults_reach_the_engine();

    let model = bench.at("model.onnx").to_string_lossy().into_owned();
    let beside = bench.at("faulty.onnx").to_string_lossy().into_owned();
    let said = run(&["inject", &model, "-o", &beside, "--site", "w:0:31"]).failed(2);
    assert!(said.contains("weights.bin"), "{said}");
    fs::create_dir(bench.at("other")).expect("made");
    let other = bench.at("other/faulty.onnx").to_string_lossy().into_owned();
    run(&["inject", &model, "-o", &other, "--site", "w:0:31"]).ok();
    let faulty = fs::read(bench.at("other/weights.bin")).expect("a file");
    assert_eq!((bytes[7] ^ 0x80, bytes.len()), (faulty[7], faulty.len()));
    assert!(fs::read(bench.at("weights.bin")).expect("a file") == bytes, "the source is as it was");
}

#[test]
fn faults_that_do_not_reach_the_engine_are_refused() {
    let bench = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::f32("w", &[4, 3], &WEIGHTS)).initializer(TensorSpec::f32(
            "unused",
            &[2],
            &[1.0, 2.0],
        ));
        matmul(graph);
    }));
    let said = bench.run(&["fault.select=['unused']"]).failed(5);
    assert!(said.contains("faults do not reach the engine"), "{said}");
    assert!(!bench.at("results/golden.json").exists());
}

#[test]
fn a_model_that_answers_differently_in_each_process_is_not_resumed() {
    let bench = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::f32("w", &[4, 3], &WEIGHTS));
        graph.node("RandomNormalLike", &["x"], &["noise"], &[]).node("Add", &["x", "noise"], &["noisy"], &[]);
        graph.node("MatMul", &["noisy", "w"], &["logits"], &[]);
    }));
    let said = bench.run(&["run.trials=1"]).failed(5);
    assert!(said.contains("a trial without faults differs from the golden run"), "{said}");
    // ONNX Runtime draws its random numbers from a seed of the process: sessions of the whole model all begin with it.
    bench.run(&["run.trials=1", "run.reuse.prefix=false"]).ok();
    let said = bench.run(&["run.trials=2", "run.reuse.prefix=false"]).failed(5);
    assert!(said.contains("the golden run gives other outputs here"), "{said}");
}

#[test]
fn models_that_are_no_classifiers_of_images_are_refused() {
    let scores = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::f32("w", &[4, 1], &WEIGHTS[..4])).node(
            "MatMul",
            &["x", "w"],
            &["y"],
            &[],
        );
        graph.node("Transpose", &["y"], &["logits"], &[]);
    }));
    let said = scores.run(&[]).failed(3);
    assert!(said.contains("one row of at least 2 class scores"), "{said}");

    let mut two = ModelBuilder::new("two");
    let graph = two.graph();
    graph.input("a", ElemType::F32, &IMAGE).input("b", ElemType::F32, &IMAGE).output(
        "logits",
        ElemType::F32,
        &CLASSES,
    );
    graph.initializer(TensorSpec::f32("w", &[1], &[1.0])).node("Add", &["a", "b"], &["logits"], &[]);
    let said = Bench::new(&two.finish()).run(&[]).failed(3);
    assert!(said.contains("has 2 inputs (a, b)"), "{said}");
}

#[test]
fn a_fixed_batch_is_kept() {
    let mut model = ModelBuilder::new("fixed");
    let graph = model.graph();
    let fixed = [BuildDim::Fixed(3), BuildDim::Fixed(1), BuildDim::Fixed(2), BuildDim::Fixed(2)];
    graph.input("images", ElemType::F32, &fixed);
    graph.output("logits", ElemType::F32, &[BuildDim::Fixed(3), BuildDim::Fixed(3)]);
    graph.node("Flatten", &["images"], &["x"], &[]).initializer(TensorSpec::f32("w", &[4, 3], &WEIGHTS));
    matmul(graph);
    let bench = Bench::new(&model.finish());
    bench.run(&[]).ok();
    let free = Bench::new(&classifier(|graph| {
        graph.initializer(TensorSpec::f32("w", &[4, 3], &WEIGHTS));
        matmul(graph);
    }));
    free.run(&[]).ok();
    let records = |bench: &Bench| {
        let trials = ResultDir::at(bench.at("results")).trials().expect("records");
        trials.iter().map(|trial| (trial.correct, trial.golden_mismatch, trial.images)).collect::<Vec<_>>()
    };
    assert_eq!(records(&bench), records(&free), "padding to full batches of 3 changes nothing");
    let golden = ResultDir::at(bench.at("results")).golden().expect("readable").expect("there");
    assert_eq!(golden.engine.batch, 3);
}

#[test]
fn folded_batch_norm_is_pointed_out() {
    let conv = |graph: &mut GraphBuilder, from: &str, to: &str| {
        let (w, b) = (format!("{to}.weight"), format!("{to}.bias"));
        graph.initializer(TensorSpec::f32(&w, &[1, 1, 1, 1], &[0.5])).initializer(TensorSpec::f32(
            &b,
            &[1],
            &[0.1],
        ));
        graph.node("Conv", &[from, &w, &b], &[to], &[]);
    };
    let bench = Bench::new(&classifier(|graph| {
        conv(graph, "images", "conv1");
        conv(graph, "conv1", "conv2");
        graph.node("Flatten", &["conv2"], &["y"], &[]).initializer(TensorSpec::f32("w", &[4, 3], &WEIGHTS));
        graph.node("MatMul", &["y", "w"], &["logits"], &[]);
    }));
    let seen = bench.inspect();
    assert!(seen["warnings"][0].as_str().is_some_and(|warning| warning.contains("BatchNorm")), "{seen}");
    let shipped = run(&["inspect".as_ref(), common::model().as_os_str(), "--json".as_ref()]).ok();
    assert!(shipped.contains("\"warnings\": []"));
}
