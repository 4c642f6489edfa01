//! The coverage checks of this crate can fail: intervals that were broken on purpose, to half their width, are found out.

use std::cell::RefCell;

use bitquake_stats::{
    BernsteinSequence, Interval, MeanSequence, ShareSequence, clopper_pearson, look_after, mean_estimate,
};
use bitquake_testing::{SplitMix64, check_binomial};

/// Nominal, of every interval here.
const CONFIDENCE: f64 = 0.9;
/// With this probability a check rejects an interval that covers exactly as often as it says.
const FALSE_ALARM: f64 = 2e-6;
/// Values of a sequence, which must cover at every look.
const LENGTH: u64 = 400;
const SHARE: f64 = 0.3;

/// Whether one interval, or all of a sequence, cover the truth when their widths are multiplied by a factor.
type Covers = fn(&mut SplitMix64, f64) -> bool;

fn covers(interval: Option<Interval>, truth: f64, factor: f64) -> bool {
    let interval = interval.expect("an interval");
    let (middle, half) = (0.5 * (interval.lo + interval.hi), factor * interval.half_width());
    middle - half <= truth && truth <= middle + half
}

fn coin(random: &mut SplitMix64) -> f64 {
    f64::from(random.unit() < SHARE)
}

fn student(random: &mut SplitMix64, factor: f64) -> bool {
    let values: Vec<f64> = (0..10).map(|_| random.normal()).collect();
    covers(mean_estimate(&values, CONFIDENCE).expect("finite").expect("values").interval, 0.0, factor)
}

fn exact_share(random: &mut SplitMix64, factor: f64) -> bool {
    let successes = (0..100).map(|_| coin(random)).sum::<f64>() as u64;
    covers(clopper_pearson(successes, 100, CONFIDENCE).ok(), SHARE, factor)
}

/// Looks at a sequence as campaigns do.
fn at_every_look(mut push: impl FnMut(), look: impl Fn() -> bool) -> bool {
    let mut next = look_after(0);
    (1..=LENGTH).fold(true, |always, n| {
        push();
        if n < next {
            return always;
        }
        next = look_after(n);
        always && look()
    })
}

fn betting(random: &mut SplitMix64, factor: f64) -> bool {
    let sequence = RefCell::new(MeanSequence::new(0.0, 1.0, CONFIDENCE).expect("a range"));
    at_every_look(
        || sequence.borrow_mut().push(coin(random)).expect("in range"),
        || covers(sequence.borrow().interval(CONFIDENCE).expect("sound"), SHARE, factor),
    )
}

fn bernstein(random: &mut SplitMix64, factor: f64) -> bool {
    let sequence = RefCell::new(BernsteinSequence::new(0.0, 1.0, CONFIDENCE).expect("a range"));
    at_every_look(
        || sequence.borrow_mut().push(coin(random)).expect("in range"),
        || covers(sequence.borrow().interval(CONFIDENCE).expect("sound"), SHARE, factor),
    )
}

fn mixture(random: &mut SplitMix64, factor: f64) -> bool {
    let sequence = RefCell::new(ShareSequence::new());
    at_every_look(
        || sequence.borrow_mut().add(coin(random) as u64, 1).expect("a trial"),
        || covers(sequence.borrow().interval(CONFIDENCE).expect("sound"), SHARE, factor),
    )
}

/// What the coverage tests of this crate ask: at least the nominal share of runs, but for what chance explains.
fn check(runs: u64, covers: Covers, factor: f64) -> Result<u64, String> {
    let mut random = SplitMix64::new(7);
    let right = (0..runs).filter(|_| covers(&mut random, factor)).count() as u64;
    if right as f64 >= CONFIDENCE * runs as f64 {
        return Ok(right);
    }
    check_binomial(right, runs, CONFIDENCE, FALSE_ALARM).map(|()| right)
}

#[test]
fn half_the_width_is_found_out() {
    let kinds: [(&str, u64, Covers); 5] = [
        ("Student's t", 2000, student),
        ("Clopper-Pearson", 2000, exact_share),
        ("betting", 200, betting),
        ("empirical Bernstein", 2000, bernstein),
        ("beta-binomial mixture", 500, mixture),
    ];
    for (name, runs, covers) in kinds {
        let whole = check(runs, covers, 1.0);
        let half = check(runs, covers, 0.5);
        println!("{name}: whole {whole:?} of {runs}, half {half:?}");
        assert!(whole.is_ok(), "{name}: {whole:?}");
        assert!(half.is_err(), "{name}: half the width passed with {half:?} of {runs}");
    }
}
