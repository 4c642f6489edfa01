//! The mean robust error to ±0.5 %, against the naive protocol.
//!
//! The shipped CNN and all 10,000 test images of Fashion-MNIST (Debian package dataset-fashion-mnist), 95 % confidence. Unit:
//! seconds for the answer, on all cores, from reading the model to the last record.
//!
//! The naive protocol evaluates every pattern on all images, from the start to the end, and takes the smallest number of patterns
//! whose t interval has the half width. It would have to know that number beforehand; here it comes from the spread of the
//! patterns that are run, and the time from what each of them took, so its seconds are a product and not a run.
//!
//! Goals: native float32 at a bit error rate of 1e-5, where patterns differ far more than images, at least 50 times less time; 8-bit
//! storage at 1e-3, where they do not, at least 3 times.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

mod common;

use bitquake_stats::trials_needed;
use common::{NAIVE, Outcome, fashion, is_asked, run};

const HALF_WIDTH: f64 = 0.005;
const INT8: &str = "storage={ family = 'symmetric', bits = 8 }";

/// A comparison.
struct Case {
    name: &'static str,
    settings: &'static [&'static str],
    /// Patterns of the naive protocol that are run.
    patterns: u64,
    goal: f64,
    /// Numbers of images that are tried.
    images: &'static [&'static str],
}

const CASES: [Case; 2] = [
    Case {
        name: "float32",
        settings: &["fault.rates=[1e-5]"],
        patterns: 150,
        goal: 50.0,
        images: &["auto", "1", "4", "16"],
    },
    Case {
        name: "int8",
        settings: &["fault.rates=[1e-3]", INT8],
        patterns: 100,
        goal: 3.0,
        images: &["auto", "4", "16", "32", "64"],
    },
];

fn main() -> Outcome<()> {
    CASES.iter().filter(|case| is_asked(case.name)).try_for_each(compare)
}

fn compare(case: &Case) -> Outcome<()> {
    let naive = naive_seconds(case)?;
    println!(
        "images | trials | images a trial | err | half width | before | seconds | ratio (goal {})",
        case.goal
    );
    for images in case.images {
        let stop = format!("run.stop={{ half_width = {HALF_WIDTH}, max_trials = 1000000 }}");
        let images = format!("run.images={images}");
        let ran = run(fashion(&[case.settings, &[images.as_str(), stop.as_str()]].concat())?)?;
        let look = ran.look.ok_or("no look")?;
        println!(
            "{} | {} | {} | {:.4} | {:.4} | {:.2} | {:.2} | {:.1}",
            images.trim_start_matches("run.images="),
            look.trials,
            ran.golden.points[0].images.unwrap_or(ran.golden.metrics.images),
            look.estimate,
            look.half_width,
            ran.set_up,
            ran.seconds,
            naive / ran.seconds
        );
    }
    Ok(())
}

/// What the naive protocol takes: patterns needed, times the seconds of a pattern.
fn naive_seconds(case: &Case) -> Outcome<f64> {
    let trials = format!("run.trials={}", case.patterns);
    let ran = run(fashion(&[case.settings, &NAIVE, &[trials.as_str()]].concat())?)?;
    let moments = ran.moments("err")?;
    let std = moments.variance().ok_or("no variance")?.sqrt();
    let needed = trials_needed(std, HALF_WIDTH, 0.95)?;
    let seconds = needed as f64 * ran.seconds_a_trial();
    println!(
        "{}: {} patterns on all images: err {:.4}, standard deviation {std:.4}: {needed} patterns of {:.4} s needed: {seconds:.1} s",
        case.name,
        case.patterns,
        moments.mean().unwrap_or_default(),
        ran.seconds_a_trial()
    );
    Ok(seconds)
}
