//! Joining takes memory that does not grow with the trials.
#![cfg(target_os = "linux")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bitquake::merge::merge;
use bitquake::record::ResultDir;

const TRIALS: u64 = 150_000;

/// One shard of two: its trials in an order that is far from sorted.
fn shard(dir: &Path, shard: u64) {
    fs::create_dir(dir).expect("a folder");
    fs::write(dir.join("campaign.toml"), "").expect("written");
    fs::write(dir.join("golden.json"), GOLDEN).expect("written");
    let mut text = String::new();
    for place in 0..TRIALS / 2 {
        let trial = 2 * (place * 7919 % (TRIALS / 2)) + shard;
        let blank = " ".repeat(300);
        writeln!(text, r#"{{"point":0,"trial":{trial},"rate":0.5,"faults":1,"dormant":0,"images":1,"correct":1,"top5_correct":1,"golden_mismatch":0,"nonfinite":0,"err_union":0,"due":0,"loss":null,"seconds":{place}.0,"to_one":1,"became_nan":0,"became_inf":0,"by_bit":{{}},"by_tensor":{{}},{blank}"pattern":"00"}}"#)
            .expect("a string takes all");
    }
    fs::write(dir.join(format!("trials-{shard}.jsonl")), text).expect("written");
}

const GOLDEN: &str = r#"{"schema":1,"bitquake":"","name":"","campaign":"id","identity":{},
"engine":{"name":"","version":"","settings":"","batch":1},"machine":{"cpu":"","threads":1,"system":""},
"storage":{"model":"","bits":1,"tensors":[]},"points":[],
"metrics":{"images":1,"classes":1,"correct":1,"top5_correct":1,"nonfinite":0,"loss":null},"outputs":"o","seconds":0.0}"#;

/// The most memory this process has had, in bytes; begins anew with each call where the system allows that.
fn peak() -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("status");
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10;
    let _ = fs::write("/proc/self/clear_refs", "5");
    peak
}

#[test]
fn memory_stays_flat() {
    let temp = tempfile::tempdir().expect("a folder");
    let (a, b, out) = (temp.path().join("a"), temp.path().join("b"), temp.path().join("out"));
    shard(&a, 0);
    shard(&b, 1);
    let bytes: u64 = [a.join("trials-0.jsonl"), b.join("trials-1.jsonl")]
        .iter()
        .map(|file| file.metadata().expect("a file").len())
        .sum();
    peak();
    let merged = merge(&[a.clone(), b, a], &ResultDir::at(&out)).expect("merged");
    let used = peak();
    assert_eq!((merged.trials, merged.duplicates), (TRIALS, TRIALS / 2));
    assert!(bytes > 80 << 20, "{bytes} bytes of trials");
    // A chunk of lines that are sorted together is 32 MiB.
    assert!(used < 64 << 20, "{used} bytes of memory for {bytes} bytes of trials");
    let text = fs::read_to_string(out.join("trials-0.jsonl")).expect("text");
    let trial = |line: &str| line.split(',').nth(1).and_then(|field| field[8..].parse::<u64>().ok());
    assert!(text.lines().zip(0..TRIALS).all(|(line, wanted)| trial(line) == Some(wanted)));
}
