//! How often the interval at which a campaign stops contains the truth: 300 campaigns of each kind.
//!
//! The shipped CNN and all 10,000 test images of Fashion-MNIST, mean robust error to ±0.5 % at 95 %. 20,000 patterns are run, each on 250
//! images of its own; the campaigns are drawn from these (trials with replacement, images without) and look and stop as `Campaign::run`
//! does. The mean over the records is then exactly the truth for them, whatever it tells of all patterns. Goal: at least 93 % cover it.
//!
//! `cargo bench -p bitquake-campaign --bench coverage -- run.trials=2000` takes fewer patterns.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;
#[path = "../tests/replay/mod.rs"]
mod replay;

use bitquake_stats::StopRule;
use bitquake_testing::SplitMix64;
use common::{Outcome, fashion, is_asked, metric_named, run};
use replay::{Ended, Population};

const CAMPAIGNS: u64 = 300;
const HALF_WIDTH: f64 = 0.005;

fn main() -> Outcome<()> {
    println!("case | patterns | truth | its standard error | covered | of | trials, mean | seconds");
    if is_asked("float32") {
        cover("float32", &["fault.rates=[1e-5]"], 4)?;
    }
    if is_asked("int8") {
        cover("int8", &["fault.rates=[1e-3]", "storage={ family = 'symmetric', bits = 8 }"], 16)?;
    }
    Ok(())
}

fn cover(name: &str, settings: &[&str], images: u64) -> Outcome<()> {
    let ran = run(fashion(&[&["run.trials=20000", "run.images=250"], settings].concat())?)?;
    let (records, moments) = (ran.records()?, ran.moments("err")?);
    let population =
        Population { records: &records, golden: &ran.golden.metrics, metric: metric_named("err")? };
    let error = (moments.variance().unwrap_or_default() / records.len() as f64).sqrt();
    let truth = population.truth();
    let start = std::time::Instant::now();
    let ended = campaigns(&population, images)?;
    let covered = ended.iter().filter(|ended| ended.interval.contains(truth)).count();
    let trials = ended.iter().map(|ended| ended.trials as f64).sum::<f64>() / ended.len() as f64;
    println!(
        "{name} | {} | {truth:.4} | {error:.4} | {covered} | {CAMPAIGNS} | {trials:.0} | {:.0} + {:.0}",
        records.len(),
        ran.seconds,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// All campaigns, on all cores, each with a seed of its own.
fn campaigns(population: &Population<'_>, images: u64) -> Outcome<Vec<Ended>> {
    let threads = std::thread::available_parallelism()?.get() as u64;
    let rule = StopRule { half_width: Some(HALF_WIDTH), ..StopRule::new(0.95, 1_000_000) };
    let share = |thread: u64| -> Result<Vec<Ended>, bitquake_stats::StatsError> {
        let own = (thread..CAMPAIGNS).step_by(threads as usize);
        own.map(|number| population.campaign(images, &rule, &mut SplitMix64::new(number))).collect()
    };
    let shares: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || share(thread))).collect();
        running.into_iter().map(|thread| thread.join()).collect()
    });
    let mut ended = Vec::new();
    for share in shares {
        ended.extend(share.map_err(|_| "a campaign panicked")??);
    }
    Ok(ended)
}
