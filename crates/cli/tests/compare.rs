//! `compare`, and `run --plan`: what is told of campaigns before they run and after.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "common/small.rs"]
mod small;

use std::path::{Path, PathBuf};

use common::{Done, run};
use serde_json::Value;
use small::campaign;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Results of the small campaign.
    fn ran(&self, name: &str, more: &[&str]) -> PathBuf {
        let dir = self.at(name);
        campaign(&dir, more).ok();
        dir
    }
}

fn compare(first: &Path, second: &Path, more: &[&str]) -> Done {
    let (first, second) = (first.to_string_lossy(), second.to_string_lossy());
    run(&[&["compare", &first, &second], more].concat())
}

fn compared(first: &Path, second: &Path, more: &[&str]) -> Value {
    let text = compare(first, second, &[more, &["--json"]].concat()).ok();
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn conditional_trials_do_not_pair() {
    let folder = Folder::new();
    let plain = folder.ran("plain", &["--set", "fault.rates=[1e-7]"]);
    let given = folder.ran("given", &["--set", "fault.rates=[1e-7]", "--set", "fault.at_least=1"]);
    for (first, second) in [(&plain, &given), (&given, &plain)] {
        let said = compare(first, second, &[]).failed(3);
        assert!(said.contains("(at_least = 1)") && said.contains("overall means"), "{said}");
    }
}

#[test]
fn pairs_share_their_faults_and_differences_are_second_minus_first() {
    let folder = Folder::new();
    let one = folder.ran("one", &[]);
    let same = folder.ran("same", &["--set", "name=again", "--set", "fault.rates=[1e-3, 1e-5]"]);
    let found = compared(&one, &same, &[]);
    assert_eq!((&found["metric"], found["points"].as_array().map(Vec::len)), (&Value::from("err"), Some(2)));
    for point in found["points"].as_array().expect("points") {
        assert_eq!((&point["pairs"], &point["first"]), (&Value::from(8), &point["second"]));
        assert_eq!(point["difference"]["value"], 0.0);
        assert_eq!((&point["test"]["p_value"], &point["test"]["exact"]), (&1.0.into(), &true.into()));
        assert_eq!(
            (&point["dropped"]["first_only"], &point["dropped"]["second_only"]),
            (&0.into(), &0.into())
        );
    }

    // What counts as dropped is one thing for both: the same trials are not better by their margin.
    let strict = folder.ran("strict", &["--set", "run.margin=0.0"]);
    let lax = folder.ran("lax", &["--set", "run.margin=0.9"]);
    for pair in [(&strict, &lax), (&lax, &strict)] {
        for point in compared(pair.0, pair.1, &[])["points"].as_array().expect("points") {
            assert_eq!(
                (&point["dropped"]["first_only"], &point["dropped"]["second_only"]),
                (&0.into(), &0.into())
            );
        }
    }

    // Eight bits in place of floats: what is printed has the sign, and tells what differs.
    let codes = folder.ran("codes", &["--set", "storage={ family = 'symmetric', bits = 8 }"]);
    let (there, back) = (compared(&one, &codes, &[]), compared(&codes, &one, &[]));
    for (there, back) in [0, 1].map(|place| (&there["points"][place], &back["points"][place])) {
        let value = |point: &Value| point["difference"]["value"].as_f64().expect("a number");
        assert!((value(there) + value(back)).abs() < 1e-12, "{there} {back}");
        assert_eq!(there["test"]["p_value"], back["test"]["p_value"]);
        assert_eq!((&there["same_patterns"], &there["pairs"]), (&0.into(), &8.into()));
    }
    let text = compare(&one, &codes, &["--metric", "golden_mismatch"]).ok();
    for wanted in ["rate 1e-5", "rate 1e-3", "golden_mismatch, in percentage points", "storage family is"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

#[test]
fn after_a_stopping_rule_there_is_no_test() {
    let folder = Folder::new();
    let rule = ["--set", "run.stop={ half_width = 0.3, max_trials = 40 }"];
    let (plain, stopped) = (folder.ran("plain", &[]), folder.ran("stopped", &rule));
    let found = compared(&plain, &stopped, &[]);
    assert_eq!(found["is_stopped"], true);
    assert!(found["points"][0].get("test").is_none(), "{found}");
    let text = compare(&plain, &stopped, &[]).ok();
    assert!(text.contains("betting intervals") && !text.contains("McNemar"), "{text}");
}

#[test]
fn what_cannot_be_compared_is_told() {
    let folder = Folder::new();
    let one = folder.ran("one", &[]);
    let upsets = ["--set", "fault.counts=[1]", "--set", "run.sampling=importance"];
    let weighted = folder.ran("weighted", &upsets);
    let counts = folder.ran("counts", &["--set", "fault.counts=[3]"]);
    for (second, more, code, wanted) in [
        (folder.at("none"), &[][..], 3, "not a result directory"),
        (folder.at(""), &[], 3, "not a result directory"),
        (counts, &[], 3, "pairs with one of"),
        (weighted.clone(), &[], 3, "unequal"),
        (one.clone(), &["--metric", "exceeded"], 3, "exceeded"),
        (one.clone(), &["--metric", "precision"], 2, "precision"),
    ] {
        let said = compare(&one, &second, more).failed(code);
        assert!(said.contains(wanted), "{} {more:?}: {said}", second.display());
    }
    compare(&weighted, &weighted, &[]).failed(3);
}

#[test]
fn a_plan_says_what_a_run_takes_and_runs_nothing() {
    let folder = Folder::new();
    let dir = folder.at("planned");
    let text = campaign(&dir, &["--plan"]).ok();
    for wanted in ["plan: fault space 2,128,704 bits", "1 trial at a time", "rate 1e-5", "rate 1e-3"] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let asked = ["--set", "run.stop={ half_width = 0.1, max_trials = 64 }", "--set", "run.images=4"];
    let text = campaign(&dir, &[&["--plan"], &asked[..]].concat()).ok();
    assert!(text.contains("asked: err ± 10 % at 95 %"), "{text}");
    let upsets = ["--set", "fault.counts=[1]", "--set", "run.stop={ half_width = 0.05 }"];
    let text = campaign(&dir, &[&["--plan", "--json"], &upsets[..]].concat()).ok();
    let plan: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&plan["space_bits"], &plan["images"]), (&2_128_704.into(), &20.into()));
    assert_eq!(plan["points"].as_array().map(Vec::len), Some(1));
    // Leveugle's sample size for 5 % at 95 % and a space that large.
    assert_eq!(plan["leveugle"]["faults"], 385);
    assert!(!dir.exists(), "nothing is written");

    // A plan of what ran already changes nothing of it.
    let dir = folder.ran("ran", &[]);
    let before = std::fs::read(dir.join("trials-0.jsonl")).expect("records");
    campaign(&dir, &["--plan"]).ok();
    assert!(before == std::fs::read(dir.join("trials-0.jsonl")).expect("records"));
}
