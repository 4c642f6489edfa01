//! Memory of a campaign against its trials: single upsets of the shipped CNN, one image a trial, trials run in groups.
//!
//! Unit: MiB of resident memory. Goal: the same after the last trial as after a tenth of them, but for the bit that tells of each trial
//! whether it is finished. `cargo bench -p bitquake-campaign --bench memory -- 3000000` runs so many trials (300 bytes each on disk).

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bitquake_campaign::{Campaign, Event, RunOptions, Shard};
use bitquake_record::ResultDir;
use common::{Outcome, fashion};

const TRIALS: u64 = 1_000_000;

fn main() -> Outcome<()> {
    let asked = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let trials = asked.unwrap_or(TRIALS);
    let folder = tempfile::tempdir()?;
    let stop = AtomicBool::new(false);
    let options = RunOptions { shard: Shard::default(), stop: &stop };
    let number = format!("run.trials={trials}");
    for rule in [None, Some("run.stop={ half_width = 1e-9, max_trials = 200000 }")] {
        let settings: Vec<&str> = ["fault.counts=[1]", "data.limit=1000", "run.images=1", number.as_str()]
            .into_iter()
            .chain(rule)
            .collect();
        let dir = ResultDir::at(folder.path().join(if rule.is_some() { "rule" } else { "number" }));
        let (campaign, model) = Campaign::prepare(fashion(&settings)?)?;
        println!("{}\ntrials | seconds | MiB", rule.unwrap_or(number.as_str()));
        let (start, mut done) = (Instant::now(), 0);
        let all = campaign.config().run.most_trials();
        campaign.run(model, &dir, options, |event| {
            if let Event::Trial(_) = event {
                done += 1;
                if done % (all / 10).max(1) == 0 {
                    println!("{done} | {:.1} | {:.1}", start.elapsed().as_secs_f64(), resident());
                }
            }
        })?;
    }
    Ok(())
}

/// Resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(f64::NAN, |kib: f64| kib / 1024.0)
}
