//! `bitquake rank` as a person runs it, and what inject makes of its bits.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
#[cfg(unix)]
use std::io::{BufRead, BufReader};
#[cfg(unix)]
use std::process::{Command, Stdio};

use common::{Done, bitquake, example, model};

const STORAGE: &str = "[storage]\nfamily = \"symmetric\"\nbits = 8\n";

/// A folder for what comes out, and the shipped network.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("storage.toml"), STORAGE).expect("a file");
        Self { dir }
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(bitquake().current_dir(self.dir.path()).args(args).output().expect("the command starts"))
    }

    /// Few images: the debug build computes.
    fn rank(&self, out: &str, more: &[&str]) -> Done {
        let file = example("rank.toml");
        let file = file.to_str().expect("text");
        self.run(&[&["rank", file, "-o", out, "--set", "rank.images=40"][..], more].concat())
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

#[test]
fn tables_files_and_a_pattern_that_inject_takes() {
    let place = Place::new();
    let told = place.rank("out", &[]).ok();
    assert!(told.contains("of the top 100") && told.contains("Kendall's tau-b"), "{told}");
    assert!(told.contains("expected and first-order") && told.contains("conv4.weight"), "{told}");
    let best = place.text("out/expected.csv");
    assert_eq!(best.lines().count(), 101);
    let model = model();
    let inject = ["inject", model.to_str().expect("text"), "--storage", "storage.toml", "-o", "faulty.onnx"];
    place.run(&[&inject[..], &["--pattern", "out/expected.json"]].concat()).ok();
    let flipped = place.run(&["diff", model.to_str().expect("text"), "faulty.onnx"]).ok();
    assert!(flipped.contains("conv1.weight"), "{flipped}");
    // Again, as JSON and without a word: the same numbers.
    let again: serde_json::Value =
        serde_json::from_str(&place.rank("again", &["--json", "--quiet"]).ok()).expect("JSON");
    let first: serde_json::Value = serde_json::from_str(&place.text("out/summary.json")).expect("JSON");
    assert_eq!((&again["rankings"], &again["id"]), (&first["rankings"], &first["id"]));
    assert_eq!(place.text("again/expected.csv"), best);
}

#[cfg(unix)]
#[test]
fn interrupted_it_ends_with_4_and_resumes() {
    let place = Place::new();
    let slow = [
        "--set",
        "rank.rankings=['trace', 'max']",
        "--set",
        "rank.curvature={ vectors = 20, tolerance = 0.0 }",
    ];
    let slow = [&slow[..], &["--set", "rank.eigen={ count = 1, iterations = 2 }"]].concat();
    let file = example("rank.toml");
    let args = ["rank", file.to_str().expect("text"), "-o", "out", "--set", "rank.images=40"];
    let mut command = bitquake();
    command.current_dir(place.dir.path()).args(args).args(&slow);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let first = said.next().expect("a line").expect("text");
    assert!(first.starts_with("ranking"), "{first}");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill").success());
    let rest: Vec<String> = said.map(|line| line.expect("text")).collect();
    assert_eq!(child.wait().expect("ended").code(), Some(4), "{rest:?}");
    let last = rest.last().expect("a line");
    assert!(last.contains("product") && last.ends_with("run the same command again to resume"), "{rest:?}");
    let resumed = place.rank("out", &slow);
    assert!(resumed.err.contains("going on after "), "{}", resumed.err);
    resumed.ok();
    place.rank("straight", &slow).ok();
    for name in ["summary.json", "trace.safetensors", "max.csv"] {
        let read = |folder| fs::read(place.dir.path().join(folder).join(name)).unwrap_or_default();
        assert!(!read("out").is_empty() && read("out") == read("straight"), "{name}");
    }
}

#[test]
fn what_is_refused_and_what_is_warned_of() {
    let place = Place::new();
    let said = place.rank("out", &["--set", "rank.tops=3"]).failed(2);
    assert!(said.contains("unknown key `tops`; did you mean `top`?"), "{said}");
    let said = place.rank("out", &["--set", "rank.select=['nothing']"]).failed(2);
    assert!(said.contains("[rank]") && said.contains("nothing"), "{said}");
    let said = place.rank("out", &["--set", "rank.measured=nothing.csv"]).failed(3);
    assert!(said.contains("[rank] measured") && said.contains("nothing.csv"), "{said}");
    assert!(!place.dir.path().join("out").exists());
    let few = ["--set", "rank.rankings=['trace']", "--set", "rank.images=8"];
    let warned = place.rank("few", &[&few[..], &["--set", "rank.curvature.vectors=2"]].concat());
    assert!(warned.err.contains("still moved after 2 random vectors"), "{}", warned.err);
    assert!(warned.ok().contains("trace"));
    let said = place.rank("few", &["--set", "seed=1"]).failed(2);
    assert!(said.contains("holds other rankings"), "{said}");
    // The folder of a file that is an input.
    let said = place.rank(".", &["storage.toml"]).failed(2);
    assert!(said.contains("storage.toml lies in the output folder"), "{said}");
    assert_eq!(place.text("storage.toml"), STORAGE);
}
