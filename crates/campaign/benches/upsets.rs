//! Single-bit upsets of weights: ResNet-20 with random float32 weights, 1,000 random images of 3x32x32, all cores.
//!
//! `rate`: the SDC rate (top-1 differs) over single-weight upsets to ±0.5 % at 95 %. Unit: seconds for the answer, from reading the
//! model to the last record. The naive protocol evaluates each fault on all images, from the start to the end; the faults that it needs
//! come from their spread, and its seconds are their product with the time of one. Goal: 100 times less. Last with importance
//! sampling over tensors and bit positions, to the same half width.
//!
//! `exact`: every upset on all images. Unit: milliseconds an upset. Goal: 2.5 times less than from the start to the end.
//!
//! `splice`: one image a trial. Unit: milliseconds a trial. Groups of trials that share one run, against one by one. No goal.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;

use bitquake_record::TrialRecord;
use bitquake_stats::trials_needed;
use common::resnet::ResNet;
use common::{NAIVE, Outcome, Ran, is_asked, run};

const HALF_WIDTH: f64 = 0.005;
/// Faults that are run on all images.
const SAMPLE: u64 = 60;

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
    let naive = with(&[&NAIVE[..], &[trials.as_str()]].concat())?.seconds_a_trial();
    let stop = format!("run.stop={{ metric = 'golden_mismatch', half_width = {HALF_WIDTH} }}");
    let pairs = with(&["run.images=2", stop.as_str()])?;
    let std = std_of_faults(&pairs.records()?);
    let needed = trials_needed(std, HALF_WIDTH, 0.95)?;
    let seconds = needed as f64 * naive;
    println!(
        "naive: standard deviation {std:.4} between faults: {needed} faults of {naive:.4} s needed: {seconds:.1} s"
    );
    println!("sampling, images | trials | SDC rate | half width | before | seconds | ratio (goal 100)");
    let tell = |images: &str, ran: &Ran| -> Outcome<()> {
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
        Ok(())
    };
    tell("uniform, 2", &pairs)?;
    for sampling in ["uniform", "importance"] {
        for images in ["1", "auto"] {
            let settings = [format!("run.images={images}"), format!("run.sampling={sampling}")];
            let ran = with(&[settings[0].as_str(), settings[1].as_str(), stop.as_str()])?;
            tell(&format!("{sampling}, {images}"), &ran)?;
        }
    }
    Ok(())
}

/// The standard deviation between faults of their SDC rate, from trials on a few images each: without bias, the mean square of the rate
/// is the share of ordered pairs of images of which both are SDC.
fn std_of_faults(trials: &[TrialRecord]) -> f64 {
    let (mut rate, mut square) = (0.0, 0.0);
    for trial in trials {
        let (sdc, images) = (trial.golden_mismatch as f64, trial.images as f64);
        rate += sdc / images / trials.len() as f64;
        square += sdc * (sdc - 1.0) / (images * (images - 1.0)) / trials.len() as f64;
    }
    (square - rate * rate).max(0.0).sqrt()
}

fn exact(with: impl Fn(&[&str]) -> Outcome<Ran>) -> Outcome<()> {
    let trials = format!("run.trials={SAMPLE}");
    let whole = with(&[&NAIVE[..], &[trials.as_str()]].concat())?;
    let reused = with(&[trials.as_str()])?;
    let same = whole
        .records()?
        .iter()
        .zip(&reused.records()?)
        .filter(|(a, b)| a.golden_mismatch == b.golden_mismatch)
        .count();
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
