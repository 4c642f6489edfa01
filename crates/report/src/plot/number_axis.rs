//! A horizontal axis of numbers from 0 on.

use super::scale::{Linear, nice_step};
use super::{Anchor, Frame, Svg};
use crate::number::fixed;

/// Most steps between ticks.
const MOST_STEPS: f64 = 10.0;
/// Least pixels between ticks of a root axis.
const GAP: f64 = 36.0;

/// Numbers to pixels, with ticks; the axis begins at 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NumberAxis {
    /// Of the numbers, or of their square roots.
    scale: Linear,
    is_root: bool,
    ticks: Vec<f64>,
    decimals: usize,
    bottom: f64,
}

impl NumberAxis {
    /// An axis from 0 to the largest of these numbers, or to 1 if none is above 0.
    pub(crate) fn covering(numbers: &mut dyn Iterator<Item = f64>, frame: Frame) -> Self {
        let most = largest(numbers);
        let step = nice_step(most, MOST_STEPS);
        let steps = (most / step - 1e-9).ceil() as u32;
        Self {
            scale: Linear { values: (0.0, f64::from(steps) * step), pixels: pixels(frame) },
            is_root: false,
            ticks: (0..=steps).map(|k| f64::from(k) * step).collect(),
            decimals: (-(step * 1.000_001).log10().floor()).max(0.0) as usize,
            bottom: frame.bottom,
        }
    }

    /// The same on a scale of square roots, on which small numbers beside large ones can be told apart.
    pub(crate) fn of_roots(numbers: &mut dyn Iterator<Item = f64>, frame: Frame) -> Self {
        let most = largest(numbers);
        let scale = Linear { values: (0.0, most.sqrt()), pixels: pixels(frame) };
        let mut ticks = vec![most];
        let below = |tick: f64| {
            let power = 10_f64.powf(tick.log10().floor());
            let digits = [5.0, 2.0, 1.0, 0.5].map(|digit| digit * power);
            digits.into_iter().find(|next| *next < 0.999 * tick).unwrap_or(0.5 * power)
        };
        let mut tick = below(most);
        // Near 0 ticks are ever closer, so that they come to an end.
        while scale.at(tick.sqrt()) - frame.left >= GAP {
            if ticks.last().is_none_or(|last| scale.at(last.sqrt()) - scale.at(tick.sqrt()) >= GAP) {
                ticks.push(tick);
            }
            tick = below(tick);
        }
        ticks.push(0.0);
        let smallest = ticks.iter().rev().nth(1).copied().unwrap_or(1.0);
        let decimals = (-(smallest * 1.000_001).log10().floor()).max(0.0) as usize;
        Self { scale, is_root: true, ticks, decimals, bottom: frame.bottom }
    }

    /// Where a number is drawn.
    pub(crate) fn x(&self, number: f64) -> f64 {
        self.scale.at(if self.is_root { number.max(0.0).sqrt() } else { number })
    }

    /// Draws the axis, its labels and the title.
    pub(crate) fn draw(&self, svg: &mut Svg, frame: Frame, title: &str) {
        svg.line("axis", (frame.left, self.bottom), (frame.right, self.bottom));
        for &tick in &self.ticks {
            let x = self.x(tick);
            svg.line("axis", (x, self.bottom), (x, self.bottom + 5.0));
            svg.text("tick", (x, self.bottom + 20.0), Anchor::Middle, &fixed(tick, self.decimals));
        }
        svg.text("axis-title", (0.5 * (frame.left + frame.right), self.bottom + 44.0), Anchor::Middle, title);
    }
}

fn largest(numbers: impl Iterator<Item = f64>) -> f64 {
    let most = numbers.filter(|number| number.is_finite()).fold(0.0, f64::max);
    if most > 0.0 { most } else { 1.0 }
}

/// The axis ends before the frame, so that its last mark is whole.
fn pixels(frame: Frame) -> (f64, f64) {
    (frame.left, frame.right - 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_tick() {
        let frame = Frame { left: 0.0, right: 110.0, top: 0.0, bottom: 10.0 };
        for (most, end, step) in [(0.93, 1.0, 0.1), (7.2, 8.0, 1.0), (0.0, 1.0, 0.1), (f64::NAN, 1.0, 0.1)] {
            let axis = NumberAxis::covering(&mut [most].into_iter(), frame);
            assert!(
                (axis.scale.values.1 - end).abs() < 1e-9 && (axis.ticks[1] - step).abs() < 1e-9,
                "{axis:?}"
            );
        }
        assert_eq!(NumberAxis::covering(&mut [4.0].into_iter(), frame).x(2.0), 50.0);
    }

    #[test]
    fn roots_spread_small_numbers() {
        let frame = Frame { left: 0.0, right: 810.0, top: 0.0, bottom: 10.0 };
        let axis = NumberAxis::of_roots(&mut [0.0, 5.0, 200.0].into_iter(), frame);
        assert_eq!((axis.x(0.0), axis.x(50.0), axis.x(200.0)), (0.0, 400.0, 800.0));
        assert_eq!(axis.ticks, [200.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 0.5, 0.0]);
        assert!(axis.ticks.windows(2).all(|pair| axis.x(pair[0]) - axis.x(pair[1]) >= GAP), "{axis:?}");
        assert_eq!(NumberAxis::of_roots(&mut [0.0].into_iter(), frame).x(1.0), 800.0);
    }
}
