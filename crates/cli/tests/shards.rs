//! One campaign in many processes: `run --shard`, `merge`, `status`, `submit --dry-run`.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/small.rs"]
mod small;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{Done, bitquake, example, model, run};
use serde_json::Value;
use small::{campaign, command, records, spawn};

struct Folder {
    temp: tempfile::TempDir,
}

impl Folder {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().expect("a folder") }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A directory with the trials of one shard.
    fn shard(&self, name: &str, shard: &str) -> PathBuf {
        let dir = self.at(name);
        campaign(&dir, &["--shard", shard]).ok();
        dir
    }
}

fn merge(dirs: &[&Path], out: &Path) -> Done {
    let mut command = bitquake();
    Done::of(command.arg("merge").args(dirs).arg("-o").arg(out).output().expect("the command starts"))
}

fn status(dir: &Path) -> Value {
    let text = run(&["status".as_ref(), dir.as_os_str(), "--json".as_ref()]).ok();
    serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
}

fn trial_files(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder").filter_map(Result::ok);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.starts_with("trials-") && name.ends_with(".jsonl"));
    names.sort();
    names
}

/// Replaces text in a file, which must have it.
fn tamper(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).expect("text");
    assert!(text.contains(from), "{}: {text}", path.display());
    fs::write(path, text.replacen(from, to, 1)).expect("written");
}

#[test]
fn folders_that_hold_no_results_are_told_and_so_are_impossible_numbers() {
    let folder = Folder::new();
    let (file, empty, bad) = (folder.at("file"), folder.at("empty"), folder.at("bad"));
    fs::write(&file, "").expect("written");
    [&empty, &bad].iter().for_each(|dir| fs::create_dir(dir).expect("a folder"));
    fs::write(bad.join("golden.json"), "{").expect("written");
    let out = folder.at("out");
    for dir in [&file, &empty, &folder.at("none"), &bad] {
        let dir = dir.to_string_lossy();
        for line in [
            &["merge", &dir, "-o", &out.to_string_lossy()][..],
            &["compare", &dir, &dir],
            &["status", &dir],
            &["report", &dir],
            &["export", &dir, "--to", "csv"],
        ] {
            let said = run(line).failed(3);
            assert!(
                said.contains("golden.json") || said.contains("not a result directory"),
                "{line:?}: {said}"
            );
        }
    }
    let submit = |tasks: &str| {
        let more = ["--slurm", "--dry-run", "--tasks", tasks];
        Done::of(command("submit", &out, &more).output().expect("the command starts")).failed(2)
    };
    assert!(submit("0").contains("--tasks 0") && submit("4000002").contains("is more than 4000001"));
    assert!(!out.exists());
}

#[test]
fn shards_that_begin_at_the_same_moment_in_one_directory_end_with_the_undivided_records() {
    let folder = Folder::new();
    let (straight, shared) = (folder.at("straight"), folder.at("shared"));
    let table = campaign(&straight, &[]).ok();
    let shards: Vec<_> = (0..5).map(|i| spawn(&shared, &["--shard", &format!("{i}/5")])).collect();
    for mut shard in shards {
        assert!(shard.wait().expect("ended").success());
    }
    assert!(records(&straight) == records(&shared));
    assert_eq!(trial_files(&shared).len(), 5);

    assert_eq!(merge(&[&shared], &shared).ok(), table, "merged in place");
    assert_eq!(trial_files(&shared), ["trials-0.jsonl"]);
    assert!(records(&straight) == records(&shared));
    let lines = fs::read_to_string(shared.join("trials-0.jsonl")).expect("text");
    let keys = lines.lines().map(|line| {
        let trial: Value = serde_json::from_str(line).expect("JSON");
        (trial["point"].as_u64(), trial["trial"].as_u64())
    });
    assert!(keys.is_sorted() && lines.lines().count() == 16);
}

#[test]
fn directories_of_shards_become_one_that_everything_accepts() {
    let folder = Folder::new();
    let (straight, out) = (folder.at("straight"), folder.at("out"));
    campaign(&straight, &[]).ok();
    let (a, b) = (folder.shard("a", "0/2"), folder.shard("b", "1/2"));
    // A killed run leaves a torn line.
    let torn = fs::read_to_string(b.join("trials-1.jsonl")).expect("text") + "{\"point\":0,";
    fs::write(b.join("trials-1.jsonl"), torn).expect("written");
    merge(&[&a, &b], &out).ok();
    assert!(records(&straight) == records(&out));
    let csv = |dir: &Path| fs::read_to_string(dir.join("summary.csv")).expect("a file");
    assert_eq!(csv(&straight), csv(&out));
    // Once more, with what is there already.
    let again = merge(&[&b, &a, &straight], &out);
    assert!(again.err.contains("16 trials; more records of the same that agree: 32"), "{}", again.err);
    assert!(records(&straight) == records(&out));

    run(&["export".as_ref(), out.as_os_str(), "--to".as_ref(), "json".as_ref()]).ok();
    let faulty = folder.at("faulty.onnx");
    let replay =
        ["replay", &out.to_string_lossy(), "--point", "1", "--trial", "3", "-o", &faulty.to_string_lossy()];
    run(&replay).ok();
    campaign(&straight, &["--set", "run.trials=9"]).ok();
    campaign(&out, &["--set", "run.trials=9"]).ok();
    assert!(records(&straight) == records(&out) && records(&out).len() == 18);
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let folder = Folder::new();
    let (a, b, out) = (folder.shard("a", "0/2"), folder.shard("b", "1/2"), folder.at("out"));
    let other = folder.at("other");
    campaign(&other, &["--set", "seed=7"]).ok();
    let said = merge(&[&a, &other], &out).failed(2);
    assert!(
        said.contains("another campaign than") && said.contains("seed is `7` here and `42` there"),
        "{said}"
    );
    let said = merge(&[&a], &other).failed(2);
    assert!(said.contains("seed is"), "the place has results of another campaign: {said}");
    assert!(merge(&[&a, &folder.at("nothing")], &out).failed(3).contains("not a result directory"));
    assert!(!out.exists());

    let first = fs::read_to_string(b.join("trials-1.jsonl")).expect("text");
    fs::write(a.join("trials-1.jsonl"), first.replacen("\"faults\":", "\"faults\":1", 1)).expect("written");
    let said = merge(&[&a, &b], &out).failed(5);
    let [one, another] = [&a, &b].map(|dir| dir.join("trials-1.jsonl").display().to_string());
    let wanted = format!("{another}: its record of point 0, trial 1 differs from that in {one}");
    assert!(said.contains(&wanted), "{said}");
    assert!(!out.exists(), "nothing was written");
    fs::create_dir(&out).expect("made");
    merge(&[&a, &b], &out).failed(5);
    assert_eq!(fs::read_dir(&out).expect("somebody's folder").count(), 0);
    fs::remove_dir(&out).expect("removed");
    fs::remove_file(a.join("trials-1.jsonl")).expect("removed");

    let golden: Value =
        serde_json::from_slice(&fs::read(b.join("golden.json")).expect("a file")).expect("JSON");
    tamper(&b.join("golden.json"), "ONNX Runtime", "bitquake kernels");
    let said = merge(&[&a, &b], &out).failed(5);
    assert!(said.contains("its trials ran in bitquake kernels, those of"), "{said}");
    tamper(&b.join("golden.json"), "bitquake kernels", "ONNX Runtime");
    tamper(&b.join("golden.json"), "\"point\": 0,", "\"point\": 0, \"images\": 4,");
    let said = merge(&[&a, &b], &out).failed(5);
    assert!(said.contains("its trials of point 0 run on other numbers of images"), "{said}");
    tamper(&b.join("golden.json"), " \"images\": 4,", "");
    tamper(&b.join("golden.json"), golden["outputs"].as_str().expect("a digest"), &"0".repeat(64));
    let said = merge(&[&a, &b], &out).failed(5);
    assert!(said.contains("golden run has other outputs"), "{said}");
}

const ENDLESS: [&str; 2] = ["--set", "run.trials=1000000"];

/// Starts a shard of a campaign without end, and waits until it has recorded something.
fn started(dir: &Path, shard: &str) -> std::process::Child {
    let mut child = spawn(dir, &[&ENDLESS[..], &["--shard", shard]].concat());
    let index = shard.split('/').next().expect("I/N");
    let file = dir.join(format!("trials-{index}.jsonl"));
    let begins = (0..3000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        fs::metadata(&file).is_ok_and(|file| file.len() > 0)
    });
    if !begins {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{} has no records", file.display());
    }
    child
}

#[test]
fn a_shard_that_runs_is_seen_and_left_alone() {
    let folder = Folder::new();
    let dir = folder.at("results");
    let mut child = started(&dir, "1/3");
    // After some hundredths of a second there is a rate.
    let look = |_| {
        std::thread::sleep(Duration::from_millis(10));
        status(&dir)
    };
    let seen = (0..1000).map(look).find(|seen| seen["shards"][1]["rate"].is_number()).expect("a rate");
    let shard = &seen["shards"][1];
    assert_eq!((&shard["running"], &shard["pid"]), (&Value::Bool(true), &child.id().into()), "{seen:#}");
    assert_eq!(seen["shards"][0]["running"], false);
    assert_eq!(seen["finished"].as_u64().zip(seen["missing"].as_u64()).map(|(a, b)| a + b), Some(2_000_000));
    assert!(shard["rate"].as_f64() > Some(0.0) && seen["seconds_left"].as_f64() > Some(0.0), "{seen:#}");
    let text = run(&["status".as_ref(), dir.as_os_str()]).ok();
    assert!(text.contains(&format!("process {} on ", child.id())) && text.contains("rate 1e-3"), "{text}");

    let again = [&ENDLESS[..], &["--shard", "1/3"]].concat();
    assert!(campaign(&dir, &again).failed(2).contains("another run is writing this file"));
    assert!(merge(&[&dir], &dir).failed(2).contains("another run is writing this file"));
    let before = records(&dir).len();
    child.kill().expect("SIGKILL");
    child.wait().expect("ended");
    assert!(records(&dir).len() >= before);
    let seen = status(&dir);
    assert_eq!((&seen["shards"][1]["running"], &seen["seconds_left"]), (&Value::Bool(false), &Value::Null));
}

#[test]
fn status_counts_what_is_there_and_what_is_not() {
    let folder = Folder::new();
    let dir = folder.shard("results", "1/4");
    let seen = status(&dir);
    let of = |what: &str, key: &str| -> Vec<u64> {
        let list = seen[what].as_array().expect("a list");
        list.iter().map(|one| one[key].as_u64().expect("a number")).collect()
    };
    assert_eq!((&seen["finished"], &seen["missing"]), (&4.into(), &12.into()));
    assert_eq!((of("shards", "finished"), of("shards", "missing")), (vec![0, 4, 0, 0], vec![4, 0, 4, 4]));
    assert_eq!((of("points", "finished"), of("points", "missing")), (vec![2, 2], vec![6, 6]));
    campaign(&dir, &[]).ok();
    let seen = status(&dir);
    assert_eq!((&seen["finished"], &seen["missing"]), (&16.into(), &0.into()));
    assert!(
        run(&["status".as_ref(), folder.temp.path().as_os_str()])
            .failed(3)
            .contains("not a result directory")
    );
}

#[test]
fn a_changed_model_data_or_stream_version_is_refused() {
    let folder = Folder::new();
    let dir = folder.at("results");
    campaign(&dir, &[]).ok();
    let before = records(&dir);
    let refused = |setting: &str, told: &str| {
        let said = campaign(&dir, &["--set", setting]).failed(2);
        assert!(said.contains("another campaign") && said.contains(told), "{said}");
        assert!(records(&dir) == before, "nothing is mixed");
    };
    let changed = folder.at("changed.onnx");
    let (from, to) = (model(), changed.to_string_lossy());
    run(&["inject", &from.to_string_lossy(), "-o", &to, "--site", "conv1.weight:0:0"]).ok();
    refused(&format!("model.path={}", changed.display()), "model is `");

    let config = fs::read_to_string(dir.join("campaign.toml")).expect("text");
    let line = |key: &str| {
        let value = config.lines().find_map(|line| line.strip_prefix(&format!("{key} = ")));
        PathBuf::from(value.expect("a path").trim_matches('"'))
    };
    // The time in the header of a gzip file: other bytes, though the labels are the same.
    let mut labels = fs::read(line("labels")).expect("labels");
    assert_eq!(labels[..2], [0x1f, 0x8b]);
    labels[4] ^= 1;
    let other = folder.at("labels.gz");
    fs::write(&other, labels).expect("written");
    refused(&format!("data.labels={}", other.display()), "data 1 is `");

    let golden: Value =
        serde_json::from_slice(&fs::read(dir.join("golden.json")).expect("a file")).expect("JSON");
    let streams = golden["identity"]["streams"].as_str().expect("a version").to_owned();
    let (id, file) = (golden["campaign"].as_str().expect("an id"), dir.join("golden.json"));
    tamper(&file, &format!("\"streams\": \"{streams}\""), "\"streams\": \"0\"");
    tamper(&file, id, &"0".repeat(64));
    refused("seed=42", &format!("streams is `{streams}` here and `0` there"));
    fs::remove_file(&file).expect("removed");
    let said = campaign(&dir, &["--set", "run.trials=9"]).failed(3);
    assert!(said.contains("there is no golden.json"), "{said}");
    assert!(records(&dir) == before);
}

/// `submit` where there is no Slurm.
fn submit(folder: &Folder, out: &Path, more: &[&str]) -> Done {
    let mut command = command("submit", out, &[&["--slurm"], more].concat());
    Done::of(command.env("PATH", folder.temp.path()).output().expect("the command starts"))
}

#[test]
fn a_dry_run_prints_scripts_that_a_shell_reads_and_sends_nothing() {
    let folder = Folder::new();
    let out = folder.at("it's \"here\" $now");
    let text = submit(&folder, &out, &["--tasks", "4", "--mem", "2G", "--dry-run"]).ok();
    for wanted in [
        "--array=0-3",
        "--mem=2G",
        "--shard \"$shard/4\"",
        "merge \"$dir\" -o \"$dir\"",
        "--dependency=afterok:",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    assert!(!out.exists(), "nothing is written");
    let check = Command::new("bash").args(["-n", "-c", &text]).output().expect("bash");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    let dir = text.lines().find(|line| line.starts_with("dir=")).expect("a line");
    let read =
        Command::new("bash").args(["-c", &format!("{dir}; printf %s \"$dir\"")]).output().expect("bash");
    assert_eq!(String::from_utf8_lossy(&read.stdout), out.to_string_lossy());

    campaign(&out, &["--shard", "2/4"]).ok();
    let text = submit(&folder, &out, &["--tasks", "4", "--dry-run"]).ok();
    assert!(text.contains("--array=0-1,3 "), "only what is not finished: {text}");
    campaign(&out, &[]).ok();
    let done = submit(&folder, &out, &["--tasks", "4", "--dry-run"]);
    assert!(done.err.contains("nothing to send: all trials are finished") && done.out.is_empty(), "{done:?}");
}

#[test]
fn a_submission_that_cannot_work_is_refused_before_anything_is_sent() {
    let folder = Folder::new();
    let out = folder.at("results");
    let said = submit(&folder, &out, &["--tasks", "2"]).failed(2);
    assert!(said.contains("cannot start `sbatch`") && said.contains("--dry-run"), "{said}");
    assert!(submit(&folder, &out, &["--tasks", "0"]).failed(2).contains("--tasks 0"));
    let said = submit(&folder, &out, &["--tasks", "2", "--set", "model.path=gone.onnx"]).failed(3);
    assert!(said.contains("gone.onnx"), "{said}");
    let said = submit(&folder, &folder.at("a\\b"), &["--tasks", "2", "--dry-run"]).failed(2);
    assert!(said.contains("a backslash"), "{said}");
    let other = folder.at("other");
    campaign(&other, &["--set", "seed=7"]).ok();
    assert!(submit(&folder, &other, &["--tasks", "2"]).failed(2).contains("seed is `42` here and `7` there"));
    let without =
        run(&["submit".as_ref(), example("campaign.toml").as_os_str(), "--tasks".as_ref(), "2".as_ref()]);
    assert!(without.failed(2).contains("--slurm"));
}
