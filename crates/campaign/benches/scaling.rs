//! Two shards as two processes on two cores against one process on one core.
//!
//! The shipped CNN on all 10,000 test images, float32 at a bit error rate of 1e-5, one thread a process. Unit: seconds from start to end
//! of all processes, so that each shard pays for a golden run and self-checks of its own. Goal: at most 0.55. What the machine gives is
//! measured beside it: the same ratio of a loop that touches no memory, halved between two processes; 0.5 where two cores are free.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;

use std::path::Path;
use std::process::{Child, Command};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bitquake_campaign::{Campaign, RunOptions, Shard};
use bitquake_record::{ResultDir, TrialRecord};
use common::{Outcome, fashion};

const ROUNDS: usize = 3;
const LOOPS: u64 = 3_000_000_000;
const SETTINGS: [&str; 3] = ["fault.rates=[1e-5]", "run.trials=120", "run.threads=1"];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, folder, index, count] = arguments.as_slice()
        && word == "shard"
    {
        return run_shard(folder, Shard { index: index.parse()?, count: count.parse()? });
    }
    if let [_, word, _, _, count] = arguments.as_slice()
        && word == "spin"
    {
        spin(LOOPS / count.parse::<u64>()?);
        return Ok(());
    }
    let (mut one, mut two) = (Vec::new(), Vec::new());
    let (mut whole, mut halves) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        whole.push(run_processes("spin", Path::new("."), 1)?);
        halves.push(run_processes("spin", Path::new("."), 2)?);
        let (alone, shards) = (tempfile::tempdir()?, tempfile::tempdir()?);
        one.push(run_processes("shard", alone.path(), 1)?);
        two.push(run_processes("shard", shards.path(), 2)?);
        println!(
            "{:.2} s, {:.2} s; a loop {:.2} s, {:.2} s",
            last(&one),
            last(&two),
            last(&whole),
            last(&halves)
        );
        assert_eq!(records(alone.path())?, records(shards.path())?, "shards change no record");
    }
    let (one, two, whole, halves) = (median(one), median(two), median(whole), median(halves));
    println!("machine: a loop {whole:.2} s, halved {halves:.2} s: ratio {:.3}", halves / whole);
    println!(
        "one shard {one:.2} s, two shards {two:.2} s (medians of {ROUNDS}): ratio {:.3} (goal 0.55)",
        two / one
    );
    Ok(())
}

fn run_shard(folder: &str, shard: Shard) -> Outcome<()> {
    let stop = AtomicBool::new(false);
    let (campaign, model) = Campaign::prepare(fashion(&SETTINGS)?)?;
    campaign.run(model, &ResultDir::at(folder), RunOptions { shard, stop: &stop }, |_| ())?;
    Ok(())
}

/// Arithmetic alone.
fn spin(loops: u64) {
    let mut state = 1_u64;
    for _ in 0..loops {
        state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Seconds until all shards are done, each in a process of its own.
fn run_processes(word: &str, folder: &Path, count: u32) -> Outcome<f64> {
    let program = std::env::current_exe()?;
    let start = Instant::now();
    let shard = |index: u32| {
        let numbers = [index, count].map(|number| number.to_string());
        Command::new(&program).arg(word).arg(folder).args(numbers).spawn()
    };
    let children: Vec<Child> = (0..count).map(shard).collect::<Result<_, _>>()?;
    for mut child in children {
        if !child.wait()?.success() {
            return Err("a shard failed".into());
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

fn records(folder: &Path) -> Outcome<Vec<TrialRecord>> {
    Ok(ResultDir::at(folder).trials()?.iter().map(TrialRecord::timeless).collect())
}

fn last(times: &[f64]) -> f64 {
    times.last().copied().unwrap_or(f64::NAN)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
