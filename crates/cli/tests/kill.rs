//! Whatever ends a run, it goes on from there and ends with the same records.
#![cfg(unix)]

#[expect(dead_code, reason = "shared with other tests")]
mod common;
#[path = "common/small.rs"]
mod small;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bitquake_testing::SplitMix64;
use common::Done;
use small::{campaign, command, records, spawn};

const MANY: [&str; 2] = ["--set", "run.trials=250"];

#[test]
fn killed_at_fifty_random_moments_it_ends_with_the_same_records() {
    let temp = tempfile::tempdir().expect("a folder");
    let (straight, broken) = (temp.path().join("straight"), temp.path().join("broken"));
    let start = Instant::now();
    campaign(&straight, &MANY).ok();
    // From before the golden run to far into the trials, but together less than all of them take, on a machine of any speed.
    let longest = start.elapsed().as_micros() as u64 / 12;
    let mut random = SplitMix64::new(50);
    let (mut alive, mut amounts) = (0, Vec::new());
    for _ in 0..50 {
        let mut child = spawn(&broken, &MANY);
        std::thread::sleep(Duration::from_micros(random.below(longest)));
        alive += u32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("SIGKILL");
        child.wait().expect("ended");
        amounts.push(records(&broken).len());
    }
    assert!(amounts.is_sorted(), "a finished trial is never lost: {amounts:?}");
    amounts.dedup();
    assert!(alive >= 25 && amounts.len() >= 5, "{alive} runs were killed, leaving {amounts:?} trials");
    campaign(&broken, &MANY).ok();
    assert!(records(&straight) == records(&broken));
    let table = |dir: &Path| fs::read_to_string(dir.join("summary.csv")).expect("a file");
    assert_eq!(table(&straight), table(&broken));
    let litter = fs::read_dir(&broken).expect("a folder").filter_map(Result::ok);
    let names: Vec<_> = litter.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    assert!(!names.iter().any(|name| name.contains(".jsonl.")), "{names:?}");
}

#[test]
fn a_disk_that_is_full_at_any_moment_stops_it_with_4_and_it_resumes() {
    let temp = tempfile::tempdir().expect("a folder");
    let straight = temp.path().join("straight");
    campaign(&straight, &[]).ok();
    let size = |name: &str| fs::metadata(straight.join(name)).expect("a file").len() / 512;
    let (golden, trials, report) = (size("golden.json"), size("trials-0.jsonl"), size("report.html"));
    assert!(0 < golden && golden < trials && trials < report, "{golden} {trials} {report}");
    // In the configuration, the golden run, a trial, the report: a limit on the size of files, its signal ignored, makes writing
    // fail as a full disk does.
    for (place, blocks) in [0, golden - 1, golden + 2, trials + 1].into_iter().enumerate() {
        let full = temp.path().join(place.to_string());
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &blocks.to_string()]);
        let run = command("run", &full, &[]);
        let done = Done::of(shell.arg(run.get_program()).args(run.get_args()).output().expect("sh"));
        let said = done.failed(4);
        assert!(said.contains("the disk is full") && said.contains("the same command resumes"), "{said}");
        let kept = records(&full);
        assert!(kept.iter().all(|trial| records(&straight).contains(trial)), "{blocks} blocks");
        assert_eq!((!kept.is_empty(), kept.len() == 16), (place >= 2, place == 3), "{blocks} blocks");
        campaign(&full, &[]).ok();
        assert!(records(&straight) == records(&full), "{blocks} blocks");
    }
}
