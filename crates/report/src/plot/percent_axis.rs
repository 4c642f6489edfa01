//! The vertical axis: shares in percent, on just the range that the data need.

use super::scale::{Linear, nice_step};
use super::{Anchor, Frame, Svg};
use crate::number::fixed;

/// The shortest range drawn: one percentage point, so that a flat line looks flat.
const LEAST_SPAN: f64 = 0.01;
/// Most steps between ticks.
const MOST_STEPS: f64 = 6.0;

/// Shares to pixels, with ticks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PercentAxis {
    scale: Linear,
    /// Shares at which ticks stand.
    ticks: Vec<f64>,
    decimals: usize,
}

impl PercentAxis {
    /// An axis on which all these shares fit, with some air. It stays within 0 and 100 %, where shares live; what lies beyond is
    /// drawn at its end.
    pub(crate) fn covering(shares: impl Iterator<Item = f64>, frame: Frame) -> Self {
        let (lo, hi) = shares
            .filter(|share| share.is_finite())
            .map(|share| share.clamp(0.0, 1.0))
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), share| (lo.min(share), hi.max(share)));
        let (lo, hi) = if lo > hi { (0.0, 1.0) } else { with_air(lo, hi) };
        let step = nice_step(hi - lo, MOST_STEPS);
        let last = (1.0 / step).round();
        let first_step = (lo / step + 1e-9).floor().max(0.0);
        let last_step = (hi / step - 1e-9).ceil().min(last);
        let ticks: Vec<f64> =
            (0..=(last_step - first_step) as u32).map(|k| (first_step + f64::from(k)) * step).collect();
        let values = (first_step * step, last_step * step);
        let decimals = (-(100.0 * step * 1.000_001).log10().floor()).max(0.0) as usize;
        Self { scale: Linear { values, pixels: (frame.bottom, frame.top) }, ticks, decimals }
    }

    /// The height at which a share is drawn.
    pub(crate) fn y(&self, share: f64) -> f64 {
        self.scale.at(share)
    }

    /// Whether a share lies within the axis.
    pub(crate) fn holds(&self, share: f64) -> bool {
        (self.scale.values.0..=self.scale.values.1).contains(&share)
    }

    /// Draws grid lines, labels and the title.
    pub(crate) fn draw(&self, svg: &mut Svg, frame: Frame, title: &str) {
        for tick in &self.ticks {
            let y = self.y(*tick);
            svg.line("grid", (frame.left, y), (frame.right, y));
            let label = format!("{} %", fixed(100.0 * tick, self.decimals));
            svg.text("tick", (frame.left - 8.0, y + 4.0), Anchor::End, &label);
        }
        svg.upward_text("axis-title", (14.0, 0.5 * (frame.top + frame.bottom)), title);
    }
}

/// At least the shortest range, plus a little room at both ends.
fn with_air(lo: f64, hi: f64) -> (f64, f64) {
    let missing = (LEAST_SPAN - (hi - lo)).max(0.0);
    let air = 0.5 * missing + 0.03 * (hi - lo);
    let (lo, hi) = (lo - air, hi + air);
    // Room that falls off one end of 0 to 100 % is given at the other.
    let shift = (0.0 - lo).max(0.0) - (hi - 1.0).max(0.0);
    ((lo + shift).max(0.0), (hi + shift).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: Frame = Frame { left: 0.0, right: 100.0, top: 0.0, bottom: 200.0 };

    fn labels(shares: &[f64]) -> Vec<String> {
        let axis = PercentAxis::covering(shares.iter().copied(), FRAME);
        axis.ticks.iter().map(|tick| fixed(100.0 * tick, axis.decimals)).collect()
    }

    #[test]
    fn the_range_follows_the_data() {
        let cases: [(&[f64], &[&str]); 6] = [
            (&[], &["0", "20", "40", "60", "80", "100"]),
            (&[0.1, 0.91], &["0", "20", "40", "60", "80", "100"]),
            (&[0.88, 0.92], &["87", "88", "89", "90", "91", "92", "93"]),
            (&[0.5], &["49.4", "49.6", "49.8", "50.0", "50.2", "50.4", "50.6"]),
            (&[0.0], &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            (&[1.0, 7.0, f64::NAN], &["99.0", "99.2", "99.4", "99.6", "99.8", "100.0"]),
        ];
        for (shares, ticks) in cases {
            assert_eq!(labels(shares), ticks, "{shares:?}");
        }
    }

    proptest! {
        #[test]
        fn every_share_is_on_the_axis_and_ticks_are_few(shares in prop::collection::vec(0.0..=1.0_f64, 0..9)) {
            let axis = PercentAxis::covering(shares.iter().copied(), FRAME);
            prop_assert!(shares.iter().all(|share| axis.holds(*share)), "{axis:?}");
            prop_assert!((2..=9).contains(&axis.ticks.len()), "{axis:?}");
        }

        #[test]
        fn any_number_at_all_gives_an_axis(shares in prop::collection::vec(any::<f64>(), 0..9)) {
            let axis = PercentAxis::covering(shares.into_iter(), FRAME);
            prop_assert!((2..=9).contains(&axis.ticks.len()), "{axis:?}");
        }
    }
}
