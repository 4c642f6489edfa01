//! `submit` on a real Slurm: one test, because it starts a cluster of its own.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/slurm.rs"]
mod slurm;
#[expect(dead_code, reason = "shared with other tests")]
#[path = "common/small.rs"]
mod small;

use std::fs;
use std::process::Command;

use common::{Done, bitquake};
use serde_json::Value;
use slurm::Cluster;
use small::records;

/// Enough trials to be killed in.
const MANY: [&str; 2] = ["--set", "run.trials=600"];

struct Lab {
    cluster: Cluster,
    dir: std::path::PathBuf,
}

impl Lab {
    fn submit(&self) -> Done {
        let mut command = small::command("submit", &self.dir, &MANY);
        command
            .args(["--slurm", "--tasks", "4", "--json", "--time", "10"])
            .env("SLURM_CONF", self.cluster.conf());
        Done::of(command.output().expect("the command starts"))
    }

    fn status(&self) -> Value {
        let mut command = bitquake();
        command.arg("status").arg(&self.dir).arg("--json").env("SLURM_CONF", self.cluster.conf());
        let text = Done::of(command.output().expect("the command starts")).ok();
        serde_json::from_str::<Value>(&text).expect("JSON")[0].clone()
    }

    /// Waits until a shard has recorded something, and gives the process that did it.
    fn running(&self, shard: u32) -> String {
        let size = |name: String| fs::metadata(self.dir.join(name)).map_or(0, |file| file.len());
        self.cluster.until("a shard has records", || size(format!("trials-{shard}.jsonl")) > 0);
        let note = fs::read_to_string(self.dir.join(format!("shard-{shard}.json"))).expect("a note");
        serde_json::from_str::<Value>(&note).expect("JSON")["pid"].to_string()
    }
}

fn signal(name: &str, process: &str) {
    assert!(Command::new("kill").args([name, process]).status().expect("kill").success());
}

/// The process that started another: the script of a task, which is whom Slurm tells.
fn parent(process: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    text.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").trim().to_owned()
}

#[test]
fn a_campaign_on_a_cluster_ends_with_the_records_of_an_undivided_one() {
    if let Some(reason) = slurm::missing() {
        eprintln!("skipped: {reason}");
        return;
    }
    let temp = tempfile::tempdir().expect("a folder");
    let straight = temp.path().join("straight");
    small::campaign(&straight, &MANY).ok();
    let lab = Lab { cluster: Cluster::start(), dir: temp.path().join("it's \"100%j\" $here") };

    let sent: Value = serde_json::from_str(&lab.submit().ok()).expect("JSON");
    assert_eq!(sent["shards"], serde_json::json!([0, 1, 2, 3]));
    let array = sent["array"].as_str().expect("a number").to_owned();

    // One is told to stop, as before the end of its time, and goes back into the queue; the other is killed.
    let (stopped, killed) = (lab.running(0), lab.running(1));
    signal("-KILL", &killed);
    signal("-TERM", &parent(&stopped));
    lab.cluster.until("the task has ended", || lab.status()["shards"][1]["task"]["state"] == "failed");
    let again: Value = serde_json::from_str(&lab.submit().ok()).expect("JSON");
    assert_eq!(
        again["shards"],
        serde_json::json!([1]),
        "others are in the queue or finished: {}",
        lab.status()
    );
    lab.cluster.drain();

    let status = lab.status();
    let log = |name: &str| fs::read_to_string(lab.dir.join("slurm").join(name)).unwrap_or_default();
    assert_eq!(status["missing"], 0, "{status:#}\n{}\n{}", log("task-0.log"), log("task-1.log"));
    assert_eq!(log("exit-0"), format!("{array} 0\n"), "stopped, requeued, finished");
    assert!(lab.dir.join("report.html").is_file(), "the last job made the report: {}", log("merge.log"));
    assert!(!lab.dir.join("trials-1.jsonl").exists(), "the last job joined the shards: {}", log("merge.log"));
    assert!(records(&straight) == records(&lab.dir));

    let done = lab.submit();
    assert!(done.err.contains("all trials are finished") && done.code == Some(0), "{done:?}");
}
