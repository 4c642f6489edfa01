//! The horizontal axis: rates or counts on a log scale, and at the left of a break what a log scale has no place for, the
//! golden run and the rate 0.

use bitquake_record::Amount;

use super::scale::Linear;
use super::{Anchor, Frame, Svg, text_width};
use crate::number::{grouped, superscript};

/// Width of one place at the left of the break.
const SLOT: f64 = 64.0;
/// Width of the break.
const BREAK: f64 = 14.0;
/// Least distance between two labels.
const GAP: f64 = 10.0;
/// Decades shown around a single value.
const LEAST_DECADES: f64 = 1.0;

/// Where a value belongs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Place {
    Golden,
    At(Amount),
}

/// Amounts to pixels, with ticks.
#[derive(Clone, Debug)]
pub(crate) struct AmountAxis {
    frame: Frame,
    golden: Option<f64>,
    zero: Option<f64>,
    /// Powers of ten to pixels; none when nothing is positive.
    log: Option<Linear>,
    counts: bool,
    title: &'static str,
}

impl AmountAxis {
    /// An axis on which all these amounts have a place.
    pub(crate) fn covering(amounts: &[Amount], golden: bool, frame: Frame) -> Self {
        let powers: Vec<f64> =
            amounts.iter().map(|amount| amount.value().log10()).filter(|power| power.is_finite()).collect();
        let has_zero = amounts.iter().any(|amount| amount.value() == 0.0);
        let slots = usize::from(golden) + usize::from(has_zero);
        // Without a log part the places share the whole width.
        let slot = if powers.is_empty() { (frame.right - frame.left) / slots.max(1) as f64 } else { SLOT };
        let middle = |place: usize| frame.left + (place as f64 + 0.5) * slot;
        let start = if slots == 0 { frame.left } else { frame.left + slots as f64 * slot + BREAK };
        let counts = !amounts.is_empty() && amounts.iter().all(|amount| matches!(amount, Amount::Count(_)));
        let all = |kind| amounts.iter().all(|amount| amount.kind() == kind);
        Self {
            frame,
            golden: golden.then(|| middle(0)),
            zero: has_zero.then(|| middle(usize::from(golden))),
            log: domain(&powers).map(|values| Linear { values, pixels: (start, frame.right) }),
            counts,
            title: match amounts.first().map_or("rate", Amount::kind) {
                "count" if counts => "fault count",
                "rate" if all("rate") => "bit error rate",
                "fraction" if all("fraction") => "share of elements hit",
                "voltage" if all("voltage") => "supply voltage",
                _ => "amount of faults per trial",
            },
        }
    }

    /// Where a value is drawn; none for what has no place, such as a negative rate.
    pub(crate) fn x(&self, place: Place) -> Option<f64> {
        match place {
            Place::Golden => self.golden,
            Place::At(amount) if amount.value() == 0.0 => self.zero,
            Place::At(amount) => {
                let power = amount.value().log10();
                self.log.filter(|_| power.is_finite()).map(|log| log.at(power))
            }
        }
    }

    /// Whether a value lies on the log part.
    pub(crate) fn is_on_log(&self, amount: Amount) -> bool {
        amount.value() > 0.0 && self.x(Place::At(amount)).is_some()
    }

    /// Draws the axis with its ticks, labels, break and title.
    pub(crate) fn draw(&self, svg: &mut Svg) {
        let (frame, below) = (self.frame, self.frame.bottom + 20.0);
        for (x, label) in [(self.golden, "golden"), (self.zero, "0")] {
            if let Some(x) = x {
                svg.line("axis", (x, frame.bottom), (x, frame.bottom + 5.0));
                svg.text("tick", (x, below), Anchor::Middle, label);
            }
        }
        for tick in self.ticks() {
            let length = if tick.label.is_some() { 5.0 } else { 3.0 };
            svg.line("axis", (tick.x, frame.bottom), (tick.x, frame.bottom + length));
            if let Some(label) = tick.label {
                svg.text("tick", (tick.x, below), Anchor::Middle, &label);
            }
        }
        self.draw_line(svg);
        let (from, scale) = match self.log {
            Some(log) => (log.pixels.0, " (log scale)"),
            None => (frame.left, ""),
        };
        let title = format!("{}{scale}", self.title);
        svg.text("axis-title", (0.5 * (from + frame.right), frame.bottom + 42.0), Anchor::Middle, &title);
    }

    /// The line itself, in two parts with slanted strokes between them if there is a break.
    fn draw_line(&self, svg: &mut Svg) {
        let (frame, y) = (self.frame, self.frame.bottom);
        match self.log {
            Some(log) if log.pixels.0 > frame.left => {
                let (end, start) = (log.pixels.0 - BREAK, log.pixels.0);
                svg.line("axis", (frame.left, y), (end, y));
                svg.line("axis", (start, y), (frame.right, y));
                for x in [end, start] {
                    svg.line("axis", (x - 3.0, y + 6.0), (x + 3.0, y - 6.0));
                }
            }
            _ => svg.line("axis", (frame.left, y), (frame.right, y)),
        }
    }

    fn ticks(&self) -> Vec<Tick> {
        let Some(log) = self.log else { return Vec::new() };
        // There is no half of a flip.
        let lowest = if self.counts { 0 } else { i32::MIN };
        let (first, last) = ((log.values.0.floor() as i32).max(lowest), log.values.1.ceil() as i32);
        let decades = log.values.1 - log.values.0;
        let on_axis = |power: f64| (log.values.0..=log.values.1).contains(&power);
        let ticks_of = |digits: std::ops::RangeInclusive<u32>| {
            let decade = move |exponent| digits.clone().map(move |digit| (digit, exponent));
            (first..=last)
                .flat_map(decade)
                .filter(move |(d, e)| on_axis(f64::from(*d).log10() + f64::from(*e)))
        };
        let mut ticks: Vec<Tick> = if decades <= 9.0 { ticks_of(1..=9) } else { ticks_of(1..=1) }
            .map(|(digit, exponent)| Tick {
                x: log.at(f64::from(digit).log10() + f64::from(exponent)),
                digit,
                exponent,
                label: None,
            })
            .collect();
        self.label(&mut ticks, decades);
        ticks
    }

    /// Labels powers of ten at the smallest distance at which they do not touch, then, where there are few, the others that
    /// find room.
    fn label(&self, ticks: &mut [Tick], decades: f64) {
        let slots = [(self.golden, "golden"), (self.zero, "0")];
        let around = |x: f64, text: &str| {
            let half = 0.5 * (text_width(text) + GAP);
            (x - half, x + half)
        };
        let mut taken: Vec<(f64, f64)> =
            slots.into_iter().filter_map(|(x, text)| Some(around(x?, text))).collect();
        let stride = [1, 2, 3, 5, 10, 20, 50, 100, 1000].into_iter().find(|stride| {
            let most = (decades / f64::from(*stride)).floor() + 1.0;
            let widest = ticks.iter().map(|tick| text_width(&self.text(tick))).fold(0.0, f64::max);
            most * (widest + GAP) <= self.frame.right - self.frame.left
        });
        let stride = stride.unwrap_or(1000);
        let digits: &[u32] = match decades {
            d if d < 1.3 => &[1, 5, 2, 3, 7],
            d if d < 2.5 => &[1, 5, 2],
            _ => &[1],
        };
        for wanted in digits {
            for tick in ticks.iter_mut().filter(|tick| tick.digit == *wanted && tick.exponent % stride == 0) {
                let text = self.text(tick);
                let (from, to) = around(tick.x, &text);
                if taken.iter().all(|other| to <= other.0 || from >= other.1) {
                    taken.push((from, to));
                    tick.label = Some(text);
                }
            }
        }
    }

    fn text(&self, tick: &Tick) -> String {
        let Tick { digit, exponent, .. } = *tick;
        match (digit, exponent) {
            (digit, 0) => digit.to_string(),
            (digit, 1..=4) if self.counts => grouped(u64::from(digit) * 10_u64.pow(exponent as u32)),
            (1, exponent) => format!("10{}", superscript(&exponent.to_string())),
            (digit, exponent) => format!("{digit}×10{}", superscript(&exponent.to_string())),
        }
    }
}

struct Tick {
    x: f64,
    digit: u32,
    exponent: i32,
    label: Option<String>,
}

/// The powers of ten at both ends: the data with some air, a whole decade at least.
fn domain(powers: &[f64]) -> Option<(f64, f64)> {
    let lo = powers.iter().copied().reduce(f64::min)?;
    let hi = powers.iter().copied().reduce(f64::max)?;
    let air = (0.05 * (hi - lo)).max(0.5 * (LEAST_DECADES - (hi - lo))).max(0.1);
    Some((lo - air, hi + air))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Frame = Frame { left: 70.0, right: 940.0, top: 40.0, bottom: 340.0 };

    fn rates(rates: &[f64]) -> Vec<Amount> {
        rates.iter().map(|rate| Amount::Rate(*rate)).collect()
    }

    fn counts(counts: &[u64]) -> Vec<Amount> {
        counts.iter().map(|count| Amount::Count(*count)).collect()
    }

    fn labels(amounts: &[Amount]) -> Vec<String> {
        AmountAxis::covering(amounts, true, FRAME).ticks().into_iter().filter_map(|tick| tick.label).collect()
    }

    #[test]
    fn labels_are_round_numbers() {
        let cases: [(Vec<Amount>, &[&str]); 6] = [
            (rates(&[1e-6, 1e-5, 1e-4, 1e-3]), &["10⁻⁶", "10⁻⁵", "10⁻⁴", "10⁻³"]),
            (rates(&[0.1, 1.0]), &["10⁻¹", "2×10⁻¹", "3×10⁻¹", "5×10⁻¹", "7×10⁻¹", "1"]),
            (counts(&[1]), &["1", "2", "3"]),
            (counts(&[1, 3, 10]), &["1", "2", "3", "5", "7", "10"]),
            (counts(&[1, 1000, 1_000_000]), &["1", "10", "100", "1,000", "10,000", "10⁵", "10⁶"]),
            (rates(&[0.0]), &[]),
        ];
        for (amounts, wanted) in cases {
            assert_eq!(labels(&amounts), wanted, "{amounts:?}");
        }
    }

    #[test]
    fn zero_and_golden_stand_left_of_the_break() {
        let axis = AmountAxis::covering(&rates(&[0.0, 1e-3]), true, FRAME);
        let x = |place| axis.x(place).unwrap();
        let at = |rate| x(Place::At(Amount::Rate(rate)));
        assert!(x(Place::Golden) < at(0.0) && at(0.0) < at(1e-3));
        assert!(axis.is_on_log(Amount::Rate(1e-3)) && !axis.is_on_log(Amount::Rate(0.0)));
    }

    #[test]
    fn one_point_stands_in_the_middle_of_its_scale() {
        let axis = AmountAxis::covering(&counts(&[1]), true, FRAME);
        let log = axis.log.unwrap();
        assert_eq!(axis.x(Place::At(Amount::Count(1))), Some(0.5 * (log.pixels.0 + log.pixels.1)));
    }

    #[test]
    fn what_is_no_amount_has_no_place() {
        let axis = AmountAxis::covering(&rates(&[-1.0, f64::NAN, f64::INFINITY, 1e-3]), false, FRAME);
        for rate in [-1.0, f64::NAN, f64::INFINITY, 0.0] {
            assert_eq!(axis.x(Place::At(Amount::Rate(rate))), None, "{rate}");
        }
    }

    proptest! {
        #[test]
        fn labels_never_touch(powers in prop::collection::vec(-320.0..19.0_f64, 1..6), golden: bool) {
            let amounts = rates(&powers.iter().map(|power| 10_f64.powf(*power)).collect::<Vec<_>>());
            let axis = AmountAxis::covering(&amounts, golden, FRAME);
            let mut boxes: Vec<(f64, f64)> = axis
                .ticks()
                .iter()
                .filter_map(|tick| tick.label.as_ref().map(|label| (tick.x, 0.5 * text_width(label))))
                .map(|(x, half)| (x - half, x + half))
                .collect();
            boxes.sort_by(|a, b| a.0.total_cmp(&b.0));
            prop_assert!(boxes.windows(2).all(|pair| pair[0].1 < pair[1].0), "{boxes:?}");
            prop_assert!(!boxes.is_empty());
            for amount in amounts {
                let x = axis.x(Place::At(amount)).unwrap();
                prop_assert!((FRAME.left..=FRAME.right).contains(&x));
            }
        }
    }
}
