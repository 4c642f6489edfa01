//! From values to pixels.

/// A straight map from a range of values to a range of pixels. Values outside are drawn at the nearer end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linear {
    /// First and last value, the first lower.
    pub(crate) values: (f64, f64),
    /// Where they are drawn.
    pub(crate) pixels: (f64, f64),
}

impl Linear {
    /// Where a value is drawn; NaN at the start.
    pub(crate) fn at(&self, value: f64) -> f64 {
        let (lo, hi) = self.values;
        let part = (value - lo) / (hi - lo);
        let part = if part.is_nan() { 0.0 } else { part.clamp(0.0, 1.0) };
        self.pixels.0 + part * (self.pixels.1 - self.pixels.0)
    }
}

/// The smallest of 1, 2 and 5 times a power of ten that cuts `span` into at most `most` steps. `span` must be positive.
pub(crate) fn nice_step(span: f64, most: f64) -> f64 {
    let rough = span / most;
    let power = 10_f64.powf(rough.log10().floor());
    // A hair of slack for steps that fit exactly.
    let fitting =
        [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= 0.999_999 * rough);
    fitting.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_stay_on_the_scale() {
        let scale = Linear { values: (0.0, 2.0), pixels: (100.0, 0.0) };
        let cases = [(0.0, 100.0), (1.0, 50.0), (2.0, 0.0), (-5.0, 100.0), (9.0, 0.0), (f64::NAN, 100.0)];
        for (value, pixel) in cases {
            assert_eq!(scale.at(value), pixel, "{value}");
        }
    }

    #[test]
    fn steps_are_round() {
        let cases =
            [(100.0, 5.0, 20.0), (4.0, 5.0, 1.0), (0.07, 5.0, 0.02), (30.0, 5.0, 10.0), (1.0, 10.0, 0.1)];
        for (span, most, step) in cases {
            let got = nice_step(span, most);
            assert!((got / step - 1.0).abs() < 1e-9, "{span} in {most}: {got}");
        }
    }
}
