//! `bitquake attack` as a person runs it: to the end, killed, stopped; and what inject, run and replay make of its flips.
#![cfg(unix)]

#[path = "common/bars.rs"]
mod bars;
#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bitquake::fault::FaultPattern;
use bitquake::record::ResultDir;
use bitquake_testing::SplitMix64;
use common::{Done, bitquake};

const RECIPE: &str = r#"
schema = 1
name = "bars"
seed = 5

[model]
architecture = "mlp"
hidden = [12]

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[train]
epochs = 20
batch = 16

[method]
quantization = { family = "asymmetric", bits = 8, signed = false }
"#;

const ATTACK: &str = r#"
schema = 1
name = "bars"
seed = 3

[model]
path = "trained/model.onnx"

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[attack]
images = 32
trials = 2

[evaluate]
images = 50
"#;

/// A trained network and a file that attacks it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        bars::write_bars(dir.path());
        fs::write(dir.path().join("recipe.toml"), RECIPE).expect("a file");
        fs::write(dir.path().join("attack.toml"), ATTACK).expect("a file");
        let place = Self { dir };
        place.run(&["train", "recipe.toml", "-o", "trained", "--quiet"]).ok();
        place
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = bitquake();
        command.current_dir(self.dir.path()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().expect("the command starts"))
    }

    fn attack(&self, out: &str, more: &[&str]) -> Done {
        self.run(&[&["attack", "attack.toml", "trained/storage.toml", "-o", out][..], more].concat())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

const CAMPAIGN: &str = r#"
schema = 1
[model]
path = "trained/model.onnx"
[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }
[fault]
pattern = "out/trial-1.json"
[run]
trials = 1
"#;

/// The flips of a trial, in a campaign, in the model that it replays, and injected: the same network every time.
#[test]
fn inject_run_and_replay_take_the_flips() {
    let place = Place::new();
    place.attack("out", &["--quiet"]).ok();
    let pattern = FaultPattern::from_json(&String::from_utf8(place.bytes("out/trial-1.json")).expect("text"));
    let pattern = pattern.expect("a pattern");
    fs::write(place.path("campaign.toml"), CAMPAIGN).expect("a file");
    place.run(&["run", "campaign.toml", "trained/storage.toml", "-o", "results", "--quiet"]).ok();
    let trials = ResultDir::at(place.path("results")).trials().expect("records");
    assert_eq!((trials.len(), trials[0].faults), (1, pattern.flips()));
    // The campaign judges all images, the attack those that it did not use: few correct ones in both.
    let summary: serde_json::Value = serde_json::from_slice(&place.bytes("out/summary.json")).expect("JSON");
    assert_eq!(summary["trials"][1]["reason"], "target");
    assert!((trials[0].correct as f64) < 0.5 * trials[0].images as f64, "{:?}", trials[0]);
    place.run(&["replay", "results", "--point", "0", "--trial", "0", "-o", "replayed.onnx"]).ok();
    let inject = [
        "inject",
        "trained/model.onnx",
        "--storage",
        "trained/storage.toml",
        "--pattern",
        "out/trial-1.json",
    ];
    place.run(&[&inject[..], &["-o", "injected.onnx"]].concat()).ok();
    assert!(place.bytes("replayed.onnx") == place.bytes("injected.onnx"));
    // The campaign that is saved needs the pattern's file no more, and one for other words is refused.
    fs::rename(place.path("out/trial-1.json"), place.path("out/moved.json")).expect("a file");
    place.run(&["run", "results/campaign.toml", "-o", "results", "--quiet"]).ok();
    let said = place.run(&["run", "campaign.toml", "-o", "other"]).failed(3);
    assert!(said.contains("[fault] pattern") && said.contains("trial-1.json: cannot read"), "{said}");
    fs::rename(place.path("out/moved.json"), place.path("out/trial-1.json")).expect("a file");
    let said = place.run(&["run", "campaign.toml", "-o", "other"]).failed(2);
    assert!(said.contains("the pattern was made for tensor"), "{said}");
    let said = place
        .run(&["inject", "trained/model.onnx", "--pattern", "out/trial-1.json", "-o", "x.onnx"])
        .failed(2);
    assert!(said.contains("the pattern was made for tensor"), "{said}");
}

#[test]
fn flips_of_float_words_are_injected_as_they_are() {
    let place = Place::new();
    let attack = ["attack", "attack.toml", "-o", "out", "--set", "attack.trials=1", "--quiet"];
    place.run(&attack).ok();
    place.run(&["inject", "trained/model.onnx", "--pattern", "out/trial-0.json", "-o", "faulty.onnx"]).ok();
    let campaign = CAMPAIGN.replace("trial-1", "trial-0");
    fs::write(place.path("campaign.toml"), campaign).expect("a file");
    place.run(&["run", "campaign.toml", "-o", "results", "--quiet"]).ok();
    place.run(&["replay", "results", "--point", "0", "--trial", "0", "-o", "replayed.onnx"]).ok();
    assert!(place.bytes("replayed.onnx") == place.bytes("faulty.onnx"));
}

#[test]
fn killed_at_random_moments_it_ends_with_the_same_flips() {
    let place = Place::new();
    let slow = ["--set", "attack.kind=random", "--set", "stop.flips=400", "--set", "stop.accuracy=0.0"];
    place.attack("straight", &slow).ok();
    let whole = place.bytes("straight/attack.jsonl").len() as u64;
    let records = place.path("broken/attack.jsonl");
    let mut random = SplitMix64::new(11);
    let mut killed = 0;
    for part in 1..=6 {
        let mut command = place.command(
            &[&["attack", "attack.toml", "trained/storage.toml", "-o", "broken"][..], &slow].concat(),
        );
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the command starts");
        // By what is written, not by the clock: the faster the machine, the sooner.
        let until = whole * part / 8 + random.below(whole / 8);
        let written = || fs::metadata(&records).map_or(0, |file| file.len());
        while written() < until && child.try_wait().expect("a child").is_none() {
            std::thread::sleep(Duration::from_micros(100));
        }
        killed += u32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("SIGKILL");
        child.wait().expect("ended");
    }
    assert!(killed >= 3, "{killed} runs were killed");
    place.attack("broken", &slow).ok();
    for file in ["attack.jsonl", "profile.csv", "summary.json", "trial-0.json", "trial-1.json"] {
        assert!(place.bytes(&format!("straight/{file}")) == place.bytes(&format!("broken/{file}")), "{file}");
    }
}

#[test]
fn interrupted_it_ends_with_4_and_resumes() {
    let place = Place::new();
    let slow = ["--set", "attack.kind=random", "--set", "stop.flips=3000", "--set", "stop.accuracy=0.0"];
    let mut command =
        place.command(&[&["attack", "attack.toml", "trained/storage.toml", "-o", "out"][..], &slow].concat());
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let records = place.path("out/attack.jsonl");
    while fs::metadata(&records).map_or(0, |file| file.len()) < 4000 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let said = Done::of(child.wait_with_output().expect("ended")).failed(4);
    assert!(said.contains("run the same command again to resume"), "{said}");
    let said = place.attack("out", &[&slow[..], &["--set", "attack.trials=2"]].concat());
    assert!(said.err.contains("resuming trial"), "{}", said.err);
    said.ok();
}

#[test]
fn json_and_exit_codes() {
    let place = Place::new();
    let json: serde_json::Value =
        serde_json::from_str(&place.attack("out", &["--json", "--quiet"]).ok()).expect("JSON");
    assert_eq!(json["attack"], "progressive");
    assert_eq!(json["trials"].as_array().map(Vec::len), Some(2));
    let said = place.attack("out", &[]).ok();
    assert!(said.contains("target reached") && said.contains("reached in 2 of 2 trials"), "{said}");
    for (more, code, wanted) in [
        (&["--set", "seed=9"][..], 2, "holds another attack"),
        (&["--set", "attack.trails=9"], 2, "did you mean `trials`?"),
        (&["--set", "attack.select=['nothing']"], 2, "matches no tensor"),
        (&["--set", "attack.objective={kind='untargeted',target=3}"], 2, "target"),
        (&["--set", "model.path=missing.onnx"], 3, "missing.onnx"),
        (&["--set", "data.images=missing"], 3, "missing"),
    ] {
        let said = place.attack("out", more).failed(code);
        assert!(said.contains(wanted), "{more:?}: {said}");
    }
    let said = place.attack(".", &[]).failed(2);
    assert!(said.contains("attack.toml lies in the output folder"), "{said}");
    assert_eq!(fs::read(place.path("attack.toml")).expect("a file"), ATTACK.as_bytes());
}
