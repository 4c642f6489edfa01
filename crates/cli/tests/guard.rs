//! `bitquake guard` as a person runs it, and campaigns on what it writes.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bitquake::graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec, resnet20};
use bitquake::record::ResultDir;
use common::{Done, bitquake, example, model};
use serde_json::Value;

/// A folder for what comes out.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(bitquake().current_dir(self.dir.path()).args(args).output().expect("the command starts"))
    }

    /// Guards the shipped model, on few images.
    fn guard(&self, out: &str, more: &[&str]) -> Done {
        let file = example("guard.toml");
        let file = file.to_str().expect("text");
        self.run(&[&["guard", file, "-o", out, "--set", "data.limit=40"][..], more].concat())
    }

    fn json(&self, out: &str, more: &[&str]) -> Value {
        serde_json::from_str(&self.guard(out, &[more, &["--json"]].concat()).ok()).expect("JSON")
    }

    /// A model of one row of four features through an operator, in a file.
    fn write(&self, name: &str, op: &str, opset: u64) -> String {
        let row = [BuildDim::Named("n"), BuildDim::Fixed(4)];
        let mut model = ModelBuilder::new("small");
        model.opset(opset);
        let graph = model.graph();
        graph.input("x", ElemType::F32, &row).initializer(TensorSpec::f32("w", &[4, 4], &[0.5; 16]));
        graph.node("MatMul", &["x", "w"], &["h"], &[]).node(op, &["h"], &["y"], &[]);
        graph.output("y", ElemType::F32, &row);
        fs::write(self.path(name), model.finish()).expect("a file");
        // Two images of four features.
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4), }";
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        let padded = format!("{header:<117}\n");
        npy.extend((padded.len() as u16).to_le_bytes());
        npy.extend(padded.bytes());
        npy.extend([1.0_f32, -2.0, 3.0, 0.5, 0.25, -1.0, 2.0, -4.0].iter().flat_map(|v| v.to_le_bytes()));
        fs::write(self.path("x.npy"), npy).expect("a file");
        let text =
            format!("schema = 1\n[model]\npath = \"{name}\"\n[data]\nformat = \"npy\"\nimages = \"x.npy\"\n");
        let file = format!("{name}.toml");
        fs::write(self.path(&file), text).expect("a file");
        file
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("text").to_owned()
}

#[test]
fn the_table_and_the_json_tell_the_same() {
    let place = Place::new();
    let done = place.guard("guarded.onnx", &[]);
    assert!(done.err.contains("ranges on 40 images, on which the guarded model gives the same outputs"));
    let table = done.ok();
    let found = place.json("again.onnx", &[]);
    assert_eq!(found["images"], 40);
    let values = found["values"].as_array().expect("values");
    let relus = place.run(&["inspect", &text(&model()), "--json"]).ok().matches("Relu").count();
    assert!(!values.is_empty() && (relus == 0 || values.len() >= 2), "{relus}");
    assert_eq!(table.lines().count(), 1 + values.len());
    for (line, value) in table.lines().skip(1).zip(values) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], value["value"]);
        assert_eq!((words[1], value["op"].as_str()), ("Relu", Some("Relu")));
        assert_eq!((words[3], value["low"].to_string().as_str()), ("0", "0.0"));
        let (greatest, high) = (value["greatest"].as_f64().unwrap(), value["high"].as_f64().unwrap());
        assert!(greatest > 0.0 && high >= greatest && high <= greatest * (1.0 + 1.0 / 2048.0));
    }
    assert_eq!(fs::read(place.path("guarded.onnx")).unwrap(), fs::read(place.path("again.onnx")).unwrap());
    assert!(place.guard("quiet.onnx", &["--quiet"]).err.is_empty());
}

/// The same seed gives the same flips on both models, and guards keep them from doing as much.
#[test]
fn campaigns_have_the_same_faults_on_both_models() {
    let place = Place::new();
    place.guard("guarded.onnx", &[]).ok();
    let campaign = text(&example("single-upset.toml"));
    let trials = |out: &str, model: &str| {
        let path = format!("model.path={model}");
        let set = [
            "--set",
            &path,
            "--set",
            "data.limit=40",
            "--set",
            "run.trials=12",
            "--set",
            "fault.select=[\"*\"]",
        ];
        let bits = ["--set", "fault.bits=\"30\"", "--set", "fault.counts=[3]"];
        place.run(&[&["run", &campaign, "-o", out][..], &set, &bits].concat()).ok();
        ResultDir::at(place.path(out)).trials().expect("records")
    };
    let (plain, guarded) = (trials("plain", &text(&model())), trials("guarded", "guarded.onnx"));
    assert_eq!(plain.len(), 12);
    let digests = |trials: &[bitquake::record::TrialRecord]| {
        trials.iter().map(|trial| trial.pattern.clone()).collect::<Vec<_>>()
    };
    assert_eq!(digests(&plain), digests(&guarded));
    let correct =
        |trials: &[bitquake::record::TrialRecord]| trials.iter().map(|trial| trial.correct).sum::<u64>();
    assert!(
        correct(&guarded) > correct(&plain) + 100,
        "{} and {} of 480",
        correct(&guarded),
        correct(&plain)
    );
    // All tensors of the model are selected in the guarded one too, and nothing else.
    let inspect = |model: &str| {
        let rows = place.run(&["inspect", model]).ok();
        let words = rows.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        words.filter(|row| !row.contains("(attribute)")).collect::<Vec<_>>()
    };
    let [plain, mut guarded] = [inspect(&text(&model())), inspect("guarded.onnx")];
    if let Some(last) = guarded.last_mut() {
        *last = last.replacen("22 of 31", "22 of 22", 1);
    }
    assert_eq!(plain, guarded);
}

/// What a fault makes of an activation is cut off before the layer behind it: a campaign on what the guards see.
#[test]
fn faults_in_activations_hit_what_the_guards_see() {
    let place = Place::new();
    place.guard("guarded.onnx", &["--set", "guard.action=zero"]).ok();
    let campaign = text(&example("activation-upsets.toml"));
    let correct = |out: &str, model: &str| -> u64 {
        let path = format!("model.path={model}");
        let set = [
            "--set",
            &path,
            "--set",
            "data.limit=30",
            "--set",
            "run.trials=3",
            "--set",
            "fault.counts=[200]",
        ];
        let ops = ["--set", "fault.ops=[\"Relu\"]"];
        place.run(&[&["run", &campaign, "-o", out][..], &set, &ops].concat()).ok();
        let trials = ResultDir::at(place.path(out)).trials().expect("records");
        trials.iter().map(|trial| trial.correct).sum()
    };
    let (plain, guarded) = (correct("plain", &text(&model())), correct("guarded", "guarded.onnx"));
    assert!(plain < 45 && guarded > 65, "{plain} and {guarded} of 90");
}

/// With `follow`, pooled values are guarded with the bounds of what they pool.
#[test]
fn passed_on_values_have_the_bounds_of_their_activations() {
    let place = Place::new();
    let found = place.json("ranger.onnx", &["--set", "guard.follow=true"]);
    let values = found["values"].as_array().expect("values");
    let followers: Vec<&Value> = values.iter().filter(|value| value["follows"].is_array()).collect();
    assert!(!followers.is_empty());
    for value in followers {
        let first = value["follows"][0].as_str().unwrap();
        let passed = values.iter().find(|other| other["value"] == first).expect("a guarded value");
        assert_eq!((&value["low"], &value["high"]), (&passed["low"], &passed["high"]));
        assert!(value["greatest"].as_f64() <= value["high"].as_f64());
    }
    let plain = place.json("plain.onnx", &[]);
    assert!(plain["values"].as_array().unwrap().len() < values.len());
}

#[test]
fn images_margins_and_globs_count() {
    let place = Place::new();
    let value = |more: &[&str]| place.json("out.onnx", more)["values"][0].clone();
    let all = value(&[]);
    let wide = value(&["--set", "guard.margin=0.5"]);
    let [greatest, high] = ["greatest", "high"].map(|key| wide[key].as_f64().unwrap());
    assert_eq!(wide["greatest"], all["greatest"]);
    assert!((high / (1.5 * greatest) - 1.0).abs() < 1e-3 && wide["low"].as_f64().unwrap() < 0.0);
    let few = |seed: &str| value(&["--set", "guard.images=3", "--set", seed]);
    assert_eq!(few("seed=1"), few("seed=1"));
    assert_ne!(few("seed=1")["greatest"], few("seed=2")["greatest"]);
    assert_eq!(place.json("out.onnx", &["--set", "guard.images=3"])["images"], 3);
    let batch = value(&["--set", "guard.batch=7"]);
    assert!((batch["greatest"].as_f64().unwrap() / all["greatest"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let name = all["value"].as_str().unwrap();
    let one = place.json("out.onnx", &["--set", &format!("guard.select=[\"{name}\"]")]);
    assert_eq!(one["values"].as_array().unwrap().len(), 1);
    let others = place.json("out.onnx", &["--set", &format!("guard.select=[\"!{name}\"]")]);
    assert!(others["values"].as_array().unwrap().iter().all(|other| other["value"] != name));
}

/// A network with batch normalization and residual additions, of which a runtime fuses much.
#[test]
fn a_residual_network_is_guarded() {
    let place = Place::new();
    fs::write(place.path("resnet20.onnx"), resnet20(1)).unwrap();
    place.write("unused.onnx", "Relu", 17);
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{:<117}\n", "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3, 32, 32), }");
    npy.extend((padded.len() as u16).to_le_bytes());
    npy.extend(padded.bytes());
    npy.extend((0..4 * 3072).flat_map(|at| (at as f32 * 0.37).sin().to_le_bytes()));
    fs::write(place.path("x.npy"), npy).unwrap();
    for action in ["clip", "zero"] {
        let set = [
            "--set",
            "model.path=resnet20.onnx",
            "--set",
            &format!("guard.action={action}"),
            "--set",
            "guard.follow=true",
        ];
        let told = place.run(&[&["guard", "unused.onnx.toml", "-o", "out.onnx"][..], &set].concat()).ok();
        assert!(told.contains("GlobalAveragePool") && told.lines().count() > 19, "{told}");
    }
}

/// The last batch of a model that fixes its size is filled; neither ranges nor counts show it.
#[test]
fn a_fixed_batch_counts_the_elements_of_an_image() {
    let place = Place::new();
    let file = place.write("fixed.onnx", "Relu", 17);
    let row = [BuildDim::Fixed(3), BuildDim::Fixed(4)];
    let mut model = ModelBuilder::new("fixed");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &row).node("Tanh", &["x"], &["y"], &[]).output("y", ElemType::F32, &row);
    fs::write(place.path("fixed.onnx"), model.finish()).unwrap();
    let told = place.run(&["guard", &file, "-o", "out.onnx", "--json"]).ok();
    let found: Value = serde_json::from_str(&told).unwrap();
    let value = &found["values"][0];
    assert_eq!((&found["images"], &value["elements"]), (&2.into(), &4.into()));
    let [least, greatest] = ["least", "greatest"].map(|key| value[key].as_f64().unwrap());
    assert!((least + 4.0_f64.tanh()).abs() < 1e-6 && (greatest - 3.0_f64.tanh()).abs() < 1e-6);
}

#[test]
fn what_does_not_fit_is_told() {
    let place = Place::new();
    let failed = |more: &[&str], code| place.guard("out.onnx", more).failed(code);
    let set = |key: &'static str| ["--set", key];
    assert!(failed(&set("guard.select=[\"nothing*\"]"), 2).contains("`nothing*` matches no"));
    assert!(failed(&set("guard.select=[\"!*\"]"), 2).contains("leaves no"));
    let message = failed(&set("guard.ops=[\"Relu\", \"Tanh\"]"), 2);
    assert!(message.contains("no operator `Tanh`; it has") && message.contains("Relu"), "{message}");
    assert!(failed(&set("guard.ops=[]"), 2).contains("[guard] ops is empty"));
    assert!(failed(&set("guard.margin=-0.1"), 2).contains("[guard] margin -0.1 is not a number from 0"));
    assert!(failed(&set("guard.action=cut"), 2).contains("cut"));
    assert!(failed(&set("guard.marign=1"), 2).contains("did you mean `margin`"));
    assert!(failed(&set("guard.images=0"), 2).contains("[guard] images is 0"));
    assert!(failed(&set("guard.images=41"), 2).contains("41 images are wanted, and there are 40"));
    assert!(failed(&set("data.limit=0"), 2).contains("limit"));
    assert!(failed(&set("data.images=none.gz"), 3).contains("none.gz"));
    assert!(failed(&set("model.path=none.onnx"), 3).contains("none.onnx"));
    assert!(failed(&set("schema=2"), 2).contains("schema 2"));
    assert!(!place.path("out.onnx").exists());
    assert!(place.guard("no/folder/out.onnx", &[]).failed(2).contains("out.onnx"));

    fs::copy(model(), place.path("copy.onnx")).unwrap();
    let over = ["--set", "model.path=copy.onnx"];
    assert!(place.guard("copy.onnx", &over).failed(2).contains("would overwrite the model"));
    assert_eq!(fs::read(place.path("copy.onnx")).unwrap(), fs::read(model()).unwrap());

    place.guard("once.onnx", &[]).ok();
    let again = place.guard("twice.onnx", &["--set", "model.path=once.onnx"]).failed(3);
    assert!(again.contains("nothing to guard") && again.contains("guarded already, as"), "{again}");

    let guard =
        |file: &str, more: &[&str]| place.run(&[&["guard", file, "-o", "small.onnx"][..], more].concat());
    let message = guard(&place.write("neg.onnx", "Neg", 17), &[]).failed(3);
    assert!(message.contains("no activation functions among its operators (MatMul, Neg)"), "{message}");
    let message = guard(&place.write("old.onnx", "Relu", 7), &[]).failed(3);
    assert!(message.contains("imports version 7") && message.contains("need version 9"), "{message}");
    let message = guard(&place.write("log.onnx", "Log", 17), &["--set", "guard.ops=[\"Log\"]"]).failed(3);
    assert!(message.contains("`y`: it has NaN or infinite elements without any fault"), "{message}");
    // Random numbers differ from run to run, which is no fault of the guards; but nobody could tell.
    let message = guard(
        &place.write("dice.onnx", "RandomUniformLike", 17),
        &["--set", "guard.ops=[\"RandomUniformLike\"]"],
    )
    .failed(5);
    assert!(
        message.contains("of the output `y` on the calibration images")
            && message.contains("nothing was written")
    );
    fs::write(place.path("junk.onnx"), b"junk").unwrap();
    guard("log.onnx.toml", &["--set", "model.path=junk.onnx"]).failed(3);
    assert!(!place.path("small.onnx").exists());
}

/// Weights that are kept beside the model go beside the guarded one.
#[test]
fn external_data_come_along() {
    let place = Place::new();
    let file = place.write("outside.onnx", "Relu", 17);
    let row = [BuildDim::Named("n"), BuildDim::Fixed(4)];
    let mut model = ModelBuilder::new("outside");
    let graph = model.graph();
    graph.input("x", ElemType::F32, &row);
    graph.initializer(TensorSpec::external("w", ElemType::F32, &[4, 4], "w.bin", 0, 64));
    graph.node("MatMul", &["x", "w"], &["h"], &[]).node("Relu", &["h"], &["y"], &[]);
    graph.output("y", ElemType::F32, &row);
    fs::write(place.path("outside.onnx"), model.finish()).unwrap();
    let words: Vec<u8> = [0.25_f32; 16].iter().flat_map(|word| word.to_le_bytes()).collect();
    fs::write(place.path("w.bin"), &words).unwrap();
    fs::create_dir(place.path("out")).unwrap();
    place.run(&["guard", &file, "-o", "out/guarded.onnx"]).ok();
    assert_eq!(fs::read(place.path("out/w.bin")).unwrap(), words);
    let told = place.run(&["inspect", "out/guarded.onnx"]).ok();
    assert!(told.contains('w'), "{told}");
    place.run(&["guard", &file, "-o", "beside.onnx"]).ok();
    assert!(place.run(&["guard", &file, "-o", "w.bin"]).failed(2).contains("w.bin"));
}
