//! `bitquake protect` as a person runs it.

#[expect(dead_code, reason = "shared with other tests")]
mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use bitquake::campaign::{Campaign, read_config};
use bitquake::record::{ResultDir, TrialRecord};
use common::{Done, bitquake, example, model};
use serde_json::Value;

/// A few images and trials, one rate.
const FEW: [&str; 8] = [
    "--set",
    "data.limit=60",
    "--set",
    "run.trials=6",
    "--set",
    "fault.rates=[1e-2]",
    "--set",
    "protect.ranking=ranked",
];

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn run(&self, args: &[&str]) -> Done {
        Done::of(bitquake().current_dir(self.0.path()).args(args).output().expect("the command starts"))
    }

    /// Few images: the debug build computes.
    fn ranked(self, more: &[&str]) -> Self {
        let file = example("rank.toml");
        let args = ["rank", file.to_str().expect("text"), "-o", "ranked", "--set", "rank.images=40"];
        self.run(&[&args[..], more].concat()).ok();
        self
    }

    fn command(&self, out: &str, more: &[&str]) -> Command {
        let (campaign, layer) = (example("int8.toml"), example("protect.toml"));
        let mut command = bitquake();
        command.current_dir(self.0.path()).arg("protect").args([campaign, layer]);
        command.args(["-o", out]).args(FEW).args(more);
        command
    }

    fn protect(&self, more: &[&str]) -> Done {
        Done::of(self.command("out", more).output().expect("the command starts"))
    }

    fn judged(&self, more: &[&str]) -> Value {
        serde_json::from_str(&self.protect(&[&["--json"], more].concat()).ok()).expect("JSON")
    }

    fn records(&self, results: &str) -> Vec<TrialRecord> {
        let dir = ResultDir::at(self.0.path().join(results));
        dir.trials().expect("records").iter().map(TrialRecord::timeless).collect()
    }
}

/// The numbers of one memory.
fn memory<'v>(judged: &'v Value, slug: &str) -> &'v Value {
    let memories = judged["memories"].as_array().expect("memories");
    memories.iter().find(|memory| memory["slug"] == slug).unwrap_or_else(|| panic!("no {slug} in {judged}"))
}

#[test]
fn plans_are_judged_beside_references_and_apply_to_campaigns() {
    let place = Place::new().ranked(&[]);
    // Without parity, which zeroes: a zeroed element has bits that differ.
    let offers = "protect.offers=[{ kind = \"tmr\" }, { kind = \"dec-ted\" }]";
    let settings = ["--set", "protect.budgets=[0.1, 0.5]", "--set", offers];
    let judged = place.judged(&settings);
    let number = |slug: &str, key: &str| memory(&judged, slug)[key].as_f64().expect("a number");
    // Codes and scales are the memory; codes alone are protected.
    assert!((number("uniform-tmr", "overhead") - 2.0).abs() < 0.01);
    assert!((number("uniform-secded", "overhead") - 0.125).abs() < 0.001);
    for (slug, budget) in [("plan-10", 0.1), ("plan-50", 0.5)] {
        let overhead = number(slug, "overhead");
        assert!(overhead <= budget && overhead > 0.8 * budget, "{slug}: {overhead}");
    }
    let coverage = |slug: &str| memory(&judged, slug)["residue"]["coverage"].as_f64().expect("a number");
    assert!(coverage("unprotected") == 0.0 && coverage("uniform-tmr") > 0.9, "{judged}");
    assert!(0.0 < coverage("plan-10") && coverage("plan-10") < coverage("plan-50"), "{judged}");
    // Faults at this rate ruin the network, and a plan for half as many bits again saves most of it.
    assert!(number("unprotected", "error") > 0.3, "{judged}");
    assert!(number("plan-50", "error") < number("unprotected", "error") - 0.1, "{judged}");
    let difference = memory(&judged, "plan-50")["difference"]["value"].as_f64().expect("a number");
    let paired = number("plan-50", "error") - number("unprotected", "error");
    assert!((difference - paired).abs() < 1e-12, "{difference} {paired}");
    assert!(memory(&judged, "unprotected")["difference"].is_null());

    // Again: nothing is run, and the same comes out.
    let before = fs::metadata(place.0.path().join("out/results/plan-10/trials-0.jsonl")).expect("records");
    let again = place.judged(&settings);
    let after = fs::metadata(place.0.path().join("out/results/plan-10/trials-0.jsonl")).expect("records");
    assert_eq!(before.modified().expect("a time"), after.modified().expect("a time"));
    assert_eq!(again, judged);

    // The layer gives the campaign that was judged.
    let int8 = example("int8.toml");
    let layers = ["run", int8.to_str().expect("text"), "out/plans/plan-10.toml", "-o", "applied"];
    place.run(&[&layers[..], &FEW[..6]].concat()).ok();
    assert_eq!(place.records("applied"), place.records("out/results/plan-10"));

    // Other plans do not go into the folder, and nothing in it is changed.
    let said = place
        .protect(&["--set", "protect.budgets=[0.1]", "--set", "protect.offers=[{ kind = \"tmr\" }]"])
        .failed(2);
    assert!(said.contains("plan-10: holds results of another `plan, 10 %`"), "{said}");
    let layer = fs::read_to_string(place.0.path().join("out/plans/plan-10.toml")).expect("a plan");
    assert!(layer.contains("dec-ted"), "{layer}");

    // Of another model, it is refused.
    let model = model();
    let flip = ["inject", model.to_str().expect("text"), "-o", "other.onnx", "--count", "1"];
    place.run(&flip).ok();
    let other = ["--set", "model.path=other.onnx", "-o", "refused"];
    let said = place.run(&[&layers[..3], &other, &FEW[..6]].concat()).failed(2);
    assert!(said.contains("[model] sha256 asks for") && said.contains("made for another model"), "{said}");
}

/// Whatever the check bits suffer, the data of a protected memory suffer what those of the unprotected one do.
#[test]
fn the_data_of_all_memories_see_the_same_flips() {
    let place = Place::new().ranked(&[]);
    place.protect(&["--plan"]).ok();
    let plan = |slug: &str| place.0.path().join(format!("out/plans/{slug}.toml"));
    let stored = |layers: &[PathBuf], trial: u64| {
        let few: Vec<String> =
            FEW[..6].iter().filter(|word| **word != "--set").map(|word| (*word).to_owned()).collect();
        let config = read_config(layers, &few).expect("a campaign");
        let (campaign, model) = Campaign::prepare(config).expect("a campaign");
        let drawn = campaign.trial(0, trial, model.image()).expect("a trial").stored;
        let data = drawn.tensors().iter().filter(|flips| !flips.tensor.contains('@'));
        (data.cloned().collect::<Vec<_>>(), drawn.flips())
    };
    for trial in 0..3 {
        let (bare, flips) = stored(&[example("int8.toml")], trial);
        assert!(flips > 1000 && bare.iter().map(|flips| flips.addresses.len() as u64).sum::<u64>() == flips);
        for slug in ["plan-10", "uniform-secded", "uniform-tmr"] {
            let (data, all) = stored(&[example("int8.toml"), plan(slug)], trial);
            assert!(data == bare && all > flips, "{slug}, trial {trial}");
        }
    }
}

#[test]
fn a_budget_for_nothing_is_a_plan_of_nothing() {
    let place = Place::new().ranked(&[]);
    let tiny = ["--set", "protect.budgets=[1e-5]", "--set", "protect.offers=[{ kind = \"tmr\" }]", "--plan"];
    let told = place.protect(&tiny).ok();
    assert!(told.contains("plan, 0.001 %") && told.contains("0.00 %"), "{told}");
    let (int8, layer) = (example("int8.toml"), "out/plans/plan-0.001.toml");
    let applied = ["run", int8.to_str().expect("text"), layer, "-o", "applied"];
    place.run(&[&applied[..], &FEW[..6]].concat()).ok();
}

/// Guards add no bits, so the guarded network sees the very patterns of the unprotected memory.
#[test]
fn everything_planned_is_judged_once_more_with_guards() {
    let place = Place::new().ranked(&[]);
    let guard = "protect.guard={ action = \"zero\", margin = 0.1 }";
    let few = ["--set", "protect.budgets=[0.1]", "--set", "protect.references=false", "--set", guard];
    let judged = place.judged(&few);
    let slugs: Vec<&str> = judged["memories"]
        .as_array()
        .expect("memories")
        .iter()
        .map(|memory| memory["slug"].as_str().expect("a text"))
        .collect();
    assert_eq!(slugs, ["unprotected", "plan-10", "guards", "plan-10-guards"]);
    assert_eq!(memory(&judged, "guards")["overhead"], 0.0);
    let patterns = |slug: &str| -> Vec<String> {
        place.records(&format!("out/results/{slug}")).into_iter().map(|trial| trial.pattern).collect()
    };
    assert_eq!(patterns("guards"), patterns("unprotected"));
    assert_eq!(patterns("plan-10-guards"), patterns("plan-10"));
    assert_ne!(memory(&judged, "guards")["error"], memory(&judged, "unprotected")["error"]);
    let layer = fs::read_to_string(place.0.path().join("out/plans/plan-10-guards.toml")).expect("a plan");
    assert!(layer.contains("path = \"guarded.onnx\""), "{layer}");
    // A digest in the campaign is that of the model without guards.
    let bare = fs::read_to_string(place.0.path().join("out/plans/plan-10.toml")).expect("a plan");
    let digest = |layer: &str| -> String {
        layer.lines().find_map(|line| line.strip_prefix("sha256 = ")).expect("a digest").replace('"', "")
    };
    assert_ne!(digest(&bare), digest(&layer));
    let named = format!("model.sha256={}", digest(&bare));
    assert_eq!(place.judged(&[&few[..], &["--set", &named]].concat()), judged);
    // Other images to calibrate on: other bounds, and no note that they are those that are judged.
    let note =
        |judged: &Value| judged["warnings"].to_string().contains("guards are calibrated on the images");
    assert!(note(&judged), "{judged}");
    let own = fs::read(place.0.path().join("out/plans/guarded.onnx")).expect("a model");
    let images = example("t10k-2000-images-idx3-ubyte.gz");
    let data = format!(
        "protect.guard.data={{ format = \"idx\", images = \"{}\", skip = 1000, limit = 50, preprocess = {{ scale = 255.0, mean = [0.2860], std = [0.3530] }} }}",
        images.display()
    );
    let mut others = place.command("others", &[&few[..], &["--set", &data, "--json"]].concat());
    let others = Done::of(others.output().expect("the command starts")).ok();
    assert!(!note(&serde_json::from_str(&others).expect("JSON")), "{others}");
    assert_ne!(fs::read(place.0.path().join("others/plans/guarded.onnx")).expect("a model"), own);
    let nowhere = "protect.guard.data={ format = \"idx\", images = \"nowhere.gz\" }";
    let mut missing = place.command("missing", &[&few[..], &["--set", nowhere]].concat());
    let said = Done::of(missing.output().expect("the command starts")).failed(3);
    assert!(said.contains("nowhere.gz"), "{said}");
    let said = place.protect(&["--set", "protect.guard={ margin = -1.0 }"]).failed(2);
    assert!(said.contains("margin -1"), "{said}");
    let said = place.protect(&["--set", "protect.guard={ actoin = \"zero\" }"]).failed(2);
    assert!(said.contains("[protect.guard]") && said.contains("did you mean `action`?"), "{said}");
}

#[cfg(unix)]
#[test]
fn stopped_in_the_middle_it_goes_on_and_says_the_same() {
    let place = Place::new().ranked(&[]);
    let many = [
        "--set",
        "protect.budgets=[0.1]",
        "--set",
        "protect.references=false",
        "--set",
        "run.trials=120",
        "--json",
    ];
    let straight = place.protect(&many).ok();
    let mut broken = place.command("broken", &many);
    let child = broken.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let records = place.0.path().join("broken/results/unprotected/trials-0.jsonl");
    let recorded = || fs::read_to_string(&records).map_or(0, |text| text.lines().count());
    // At most a minute.
    for _ in 0..6000 {
        if recorded() >= 3 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let said = Done::of(child.wait_with_output().expect("ended")).failed(4);
    assert!(said.contains("run the same command again to resume") && !said.contains("disk"), "{said}");
    assert!(!place.0.path().join("broken/protect.json").exists());
    let resumed = Done::of(place.command("broken", &many).output().expect("the command starts")).ok();
    assert_eq!(resumed, straight);
}

#[test]
fn what_flips_were_seen_to_do() {
    let place = Place::new();
    let int8 = example("int8.toml");
    let few = ["--set", "fault.counts=[1]", "--set", "run.trials=300", "--set", "data.limit=20"];
    place.run(&[&["run", int8.to_str().expect("text"), "-o", "upsets"], &few[..]].concat()).ok();
    let layer = place.0.path().join("layer.toml");
    let text = "[protect]\nresults = \"upsets\"\nbudgets = [0.1]\nreferences = false\n[fault]\nrates = [1e-3, 1e-2]\n";
    fs::write(layer, text).expect("a file");
    let planned = |more: &[&str]| {
        let files = ["protect", int8.to_str().expect("text"), "layer.toml", "-o", "out", "--plan"];
        place.run(&[&files[..], more].concat())
    };
    let said = planned(&[]).failed(2);
    assert!(said.contains("rate is needed: [fault] has the rates [0.001, 0.01]"), "{said}");
    let told = planned(&["--set", "protect.rate=1e-2"]).ok();
    assert!(told.contains("single upsets of campaign") && told.contains("plan, 10 %"), "{told}");
    assert!(!told.contains("uniform") && !place.0.path().join("out/results").exists(), "{told}");
    let layer = fs::read_to_string(place.0.path().join("out/plans/plan-10.toml")).expect("a plan");
    // One trial has no interval: it beats nothing.
    let once: Value = serde_json::from_str(
        &place
            .run(
                &[
                    &[
                        "protect",
                        int8.to_str().expect("text"),
                        "layer.toml",
                        "-o",
                        "once",
                        "--json",
                        "--set",
                        "run.trials=1",
                    ],
                    &["--set", "fault.rates=[1e-2]", "--set", "data.limit=20"][..],
                ]
                .concat(),
            )
            .ok(),
    )
    .expect("JSON");
    assert!(
        once["memories"].as_array().expect("memories").iter().all(|memory| memory["is_beaten"] == false),
        "{once}"
    );
    // Upsets of some bits, or stuck bits, tell nothing of the others.
    let some = [
        "--set",
        "fault.counts=[1]",
        "--set",
        "run.trials=20",
        "--set",
        "data.limit=20",
        "--set",
        "fault.bits=msb",
    ];
    place.run(&[&["run", int8.to_str().expect("text"), "-o", "some"], &some[..]].concat()).ok();
    let said = planned(&["--set", "protect.rate=1e-2", "--set", "protect.results=some"]).failed(3);
    assert!(said.contains("other faults") && said.contains("fault bits"), "{said}");
    // What zeroing does, upsets do not tell.
    assert!(layer.contains("[[storage.protect]]") && !layer.contains("parity"), "{layer}");
}

#[test]
fn what_is_refused() {
    let place = Place::new().ranked(&["--set", "storage.bits=4"]);
    let said = place.protect(&[]).failed(3);
    assert!(said.contains("tells of another memory") && said.contains("storage bits"), "{said}");
    for (settings, code, want) in [
        (&["protect.rankin=ranked"][..], 2, "unknown key `rankin`; did you mean `ranking`?"),
        (&["protect.ranking=nowhere"], 3, "nowhere/strata.csv: cannot read"),
        (&["protect.by=taylor"], 2, "a ranking of changes of the loss is needed, expected or first-order"),
        (&["protect.guard={}", "run.engine=native"], 2, "engine = \"native\" has no guards"),
        (&["protect.budgets=[-0.1]"], 2, "budgets has -0.1"),
        (&["protect.rate=1e-3"], 2, "rate 0.001 is none of [fault] rates [0.01]"),
        (&["fault.rates=[0.5]"], 2, "rate 0.5"),
        (&["protect.results=x"], 2, "ranking and results are both given"),
        (&["protect.offers=[{ kind = \"secded\", data_bits = 3 }]"], 2, "offer 1"),
        (&["fault.counts=[1]"], 2, "plans are for bit error rates"),
        (&["fault.bits=msb"], 2, "plans are for bit error rates of all bits"),
        (&["fault.model=stuck-at-0"], 2, "plans are for flips of stored weights"),
        (&["storage.protect=[{ kind = \"tmr\" }]"], 2, "[storage] has protect or guard"),
    ] {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let said = place.protect(&settings).failed(code);
        assert!(said.contains(want), "{settings:?}: {said}");
    }
    assert!(!place.0.path().join("out/results").exists());
}
