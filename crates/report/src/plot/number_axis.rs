//! A horizontal axis of numbers from 0 on.

use super::scale::{Linear, nice_step};
use super::{Anchor, Frame, Svg};
use crate::number::fixed;

/// Most steps between ticks.
const MOST_STEPS: f64 = 10.0;

/// Numbers to pixels, with ticks; the axis begins at 0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NumberAxis {
    scale: Linear,
    step: f64,
    bottom: f64,
}

impl NumberAxis {
    /// An axis from 0 to the largest of these numbers, or to 1 if none is above 0.
    pub(crate) fn covering(numbers: impl Iterator<Item = f64>, frame: Frame) -> Self {
        let most = numbers.filter(|number| number.is_finite()).fold(0.0, f64::max);
        let most = if most > 0.0 { most } else { 1.0 };
        let step = nice_step(most, MOST_STEPS);
        let last = (most / step - 1e-9).ceil() * step;
        let scale = Linear { values: (0.0, last), pixels: (frame.left, frame.right - 10.0) };
        Self { scale, step, bottom: frame.bottom }
    }

    /// Where a number is drawn.
    pub(crate) fn x(&self, number: f64) -> f64 {
        self.scale.at(number)
    }

    /// Draws the axis, its labels and the title.
    pub(crate) fn draw(&self, svg: &mut Svg, frame: Frame, title: &str) {
        svg.line("axis", (frame.left, self.bottom), (frame.right, self.bottom));
        let decimals = (-(self.step * 1.000_001).log10().floor()).max(0.0) as usize;
        let steps = (self.scale.values.1 / self.step).round() as u32;
        for tick in (0..=steps).map(|k| f64::from(k) * self.step) {
            let x = self.x(tick);
            svg.line("axis", (x, self.bottom), (x, self.bottom + 5.0));
            svg.text("tick", (x, self.bottom + 20.0), Anchor::Middle, &fixed(tick, decimals));
        }
        svg.text("axis-title", (0.5 * (frame.left + frame.right), self.bottom + 44.0), Anchor::Middle, title);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_tick() {
        let frame = Frame { left: 0.0, right: 110.0, top: 0.0, bottom: 10.0 };
        for (most, end, step) in [(0.93, 1.0, 0.1), (7.2, 8.0, 1.0), (0.0, 1.0, 0.1), (f64::NAN, 1.0, 0.1)] {
            let axis = NumberAxis::covering([most].into_iter(), frame);
            assert!((axis.scale.values.1 - end).abs() < 1e-9 && (axis.step - step).abs() < 1e-9, "{axis:?}");
        }
        assert_eq!(NumberAxis::covering([4.0].into_iter(), frame).x(2.0), 50.0);
    }
}
