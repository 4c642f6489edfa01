//! Single-bit upsets of weights: ResNet-20 with random float32 weights, 1,000 random images of 3x32x32, all cores.
//!
//! `rate`: the SDC rate (top-1 differs) over single-weight upsets to ±0.5 % at 95 %. Unit: seconds for the answer, from reading the
//! model to the last record. The naive protocol evaluates each fault on all images, from the start to the end; the faults that it needs
//! come from their spread in a sample, and its seconds are their product with the time of one. Goal: 100 times less.
//!
//! `exact`: every upset on all images. Unit: milliseconds an upset. Goal: 2.5 times less than from the start to the end.
//!
//! `splice`: one image a trial. Unit: milliseconds a trial. Groups of trials that share one run, against one by one. No goal.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;

use bitquake_stats::trials_needed;
use common::resnet::ResNet;
use common::{NAIVE, Outcome, Ran, is_asked, run};

const HALF_WIDTH: f64 = 0.005;
/// Faults of the naive protocol that are run.
const SAMPLE: u64 = 100;

fn main() -> Outcome<()> {
    let resnet = ResNet::new()?;
    let with = |settings: &[&str]| run(resnet.config(settings)?);
    if is_asked("rate") {
        rate(with)?;
    }
    if is_asked("exact") {
        exact(with)?;
    }
    if is_asked("splice") {
        splice(with)?;
    }
    Ok(())
}

fn rate(with: impl Fn(&[&str]) -> Outcome<Ran>) -> Outcome<()> {
    let trials = format!("run.trials={SAMPLE}");
    let naive = with(&[&NAIVE[..], &[trials.as_str()]].concat())?;
    // The spread from more faults, evaluated the cheap way: the same values.
    let spread = with(&["run.trials=1500"])?.moments("golden_mismatch")?;
    let std = spread.variance().ok_or("no variance")?.sqrt();
    let needed = trials_needed(std, HALF_WIDTH, 0.95)?;
    let seconds = needed as f64 * naive.seconds_a_trial();
    println!(
        "naive: SDC rate {:.4}, standard deviation {std:.4}: {needed} faults of {:.4} s needed: {seconds:.1} s",
        spread.mean().unwrap_or_default(),
        naive.seconds_a_trial()
    );
    println!("images a trial | trials | SDC rate | half width | before | seconds | ratio (goal 100)");
    let stop = format!("run.stop={{ metric = 'golden_mismatch', half_width = {HALF_WIDTH} }}");
    for images in ["run.images=1", "run.images=2", "run.images=auto"] {
        let ran = with(&[images, stop.as_str()])?;
        let look = ran.look.ok_or("no look")?;
        println!(
            "{images} | {} | {:.4} | {:.4} | {:.2} | {:.2} | {:.1}",
            look.trials,
            look.estimate,
            look.half_width,
            ran.set_up,
            ran.seconds,
            seconds / ran.seconds
        );
    }
    Ok(())
}

fn exact(with: impl Fn(&[&str]) -> Outcome<Ran>) -> Outcome<()> {
    let trials = format!("run.trials={SAMPLE}");
    let whole = with(&[&NAIVE[..], &[trials.as_str()]].concat())?;
    let reused = with(&[trials.as_str()])?;
    let same = whole.records()?.iter().zip(&reused.records()?).filter(|(a, b)| a.golden_mismatch == b.golden_mismatch).count();
    compare("all images: from the start to the end", &whole, "with reuse", &reused, "goal 2.5");
    println!("{same} of {SAMPLE} upsets with the same number of SDC");
    Ok(())
}

fn splice(with: impl Fn(&[&str]) -> Outcome<Ran>) -> Outcome<()> {
    let alone = with(&["run.images=1", "run.trials=400", "run.reuse.splice=false"])?;
    let together = with(&["run.images=1", "run.trials=8000"])?;
    compare("one image: one by one", &alone, "spliced groups", &together, "no goal");
    Ok(())
}

fn compare(slow: &str, one: &Ran, fast: &str, other: &Ran, goal: &str) {
    let (one, other) = (1e3 * one.seconds_a_trial(), 1e3 * other.seconds_a_trial());
    println!("{slow} {one:.3} ms, {fast} {other:.3} ms: ratio {:.2} ({goal})", one / other);
}
