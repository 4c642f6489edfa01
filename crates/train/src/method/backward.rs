//! From the gradient of the levels to that of the masters and of the ranges: straight-through, but where a family says
//! otherwise (SPEC 4.1, 5.1, 5.3).
//!
//! Every quantizer's integer rounding passes the gradient as it is. `symmetric`, `asymmetric`, `normal`, `bfa`, `binary` and all
//! others not named here pass it as it is altogether: what BFA and the binary layers divide by the scale, the product of code and
//! scale multiplies by it again.

use super::config::{ClipRule, LsqForm};

/// What happens to the gradient of one tensor on its way back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Backward {
    /// Nothing.
    Straight,
    /// WCAT's clipping to `-a..a`.
    Wcat { clip: ClipRule, a: f32 },
    /// LSQ's saturation of `w / step` to `lowest..highest`.
    Lsq { form: LsqForm, step: f32, lowest: f32, highest: f32 },
    /// `DoReFa`'s `tanh(w) / largest`; the largest is a constant.
    Dorefa { largest: f32 },
}

impl Backward {
    /// Turns the gradient of the levels into that of the masters, in place, and returns that of the range: 0 where there is
    /// none. `scaled` divides the latter by `sqrt(n)`, of LSQ by `sqrt(Qp n)`.
    pub(crate) fn pull(self, gradient: &mut [f32], values: &[f32], scaled: bool) -> f64 {
        let count = values.len() as f64;
        match self {
            Self::Straight => 0.0,
            Self::Wcat { clip, a } => {
                let sum = wcat_range(gradient, values, a);
                wcat_weights(gradient, values, a, clip);
                if scaled { sum / count.sqrt() } else { sum }
            }
            Self::Lsq { form, step, lowest, highest } => {
                let share = if scaled { 1.0 / (f64::from(highest) * count).sqrt() } else { 1.0 };
                lsq(gradient, values, step, (lowest, highest), form, share)
            }
            Self::Dorefa { largest } => {
                dorefa(gradient, values, largest);
                0.0
            }
        }
    }
}

/// `d level / d a`: 1 above `a`, -1 below `-a`, 0 between; the step counts as a constant (SPEC 4.1 W1).
fn wcat_range(gradient: &[f32], values: &[f32], a: f32) -> f64 {
    let side = |value: f32| f64::from(u8::from(value > a)) - f64::from(u8::from(value < -a));
    gradient.iter().zip(values).map(|(&gradient, &value)| side(value) * f64::from(gradient)).sum()
}

fn wcat_weights(gradient: &mut [f32], values: &[f32], a: f32, clip: ClipRule) {
    if clip == ClipRule::Ste {
        return;
    }
    for (gradient, &value) in gradient.iter_mut().zip(values).filter(|(_, value)| value.abs() > a) {
        *gradient *= if clip == ClipRule::Pwl { 0.0 } else { a / value.abs() };
    }
}

/// The gradient of the step; that of the weights becomes 0 where `w / step` saturates.
fn lsq(
    gradient: &mut [f32],
    values: &[f32],
    step: f32,
    (lowest, highest): (f32, f32),
    form: LsqForm,
    share: f64,
) -> f64 {
    let (mut decoding, mut quantizing) = (0.0, 0.0);
    for (gradient, &value) in gradient.iter_mut().zip(values) {
        let quotient = value / step;
        let code = quotient.clamp(lowest, highest).round_ties_even();
        let upstream = f64::from(*gradient);
        decoding += upstream * f64::from(code);
        if (lowest..=highest).contains(&quotient) {
            quantizing -= upstream * f64::from(quotient);
        } else {
            *gradient = 0.0;
        }
    }
    match form {
        LsqForm::Paper => share * (decoding + quantizing),
        LsqForm::Repository => decoding + share * quantizing,
    }
}

fn dorefa(gradient: &mut [f32], values: &[f32], largest: f32) {
    if largest == 0.0 {
        return;
    }
    for (gradient, &value) in gradient.iter_mut().zip(values) {
        let tanh = libm::tanh(value.into());
        *gradient = (f64::from(*gradient) * (1.0 - tanh * tanh) / f64::from(largest)) as f32;
    }
}

#[cfg(test)]
mod tests {
    use bitquake_quant::{Family, Quantizer, QuantizerSpec, Range};
    use bitquake_testing::assert_cases;

    use super::*;

    /// The vectors of SPEC 4.5.
    const WEIGHTS: [f32; 10] = [-0.9, -0.5, -0.26, -0.05, 0.0, 0.05, 0.3, 0.47, 0.5, 1.2];
    const GRADIENT: [f32; 10] = [1.0, -1.0, 0.5, 2.0, 1.0, -0.5, 1.0, 1.0, 3.0, -2.0];

    fn pulled(backward: Backward, scaled: bool) -> (Vec<f32>, f64) {
        let mut gradient = GRADIENT.to_vec();
        let range = backward.pull(&mut gradient, &WEIGHTS, scaled);
        (gradient, range)
    }

    fn with(changes: &[(usize, f32)]) -> Vec<f32> {
        let mut gradient = GRADIENT.to_vec();
        changes.iter().for_each(|&(at, value)| gradient[at] = value);
        gradient
    }

    #[test]
    fn wcat_gradients_are_those_of_the_specification() {
        let rows = [
            ("ste", ClipRule::Ste, with(&[])),
            ("pwl", ClipRule::Pwl, with(&[(0, 0.0), (9, -0.0)])),
            ("mad", ClipRule::Mad, with(&[(0, 0.5 / 0.9), (9, -2.0 * (0.5 / 1.2))])),
        ];
        assert_cases(rows, |clip| pulled(Backward::Wcat { clip, a: 0.5 }, true).0);
        let range = pulled(Backward::Wcat { clip: ClipRule::Mad, a: 0.5 }, true).1;
        assert!((range + 0.948_683).abs() < 1e-6, "{range}");
        assert_eq!(pulled(Backward::Wcat { clip: ClipRule::Ste, a: 0.5 }, false).1, -3.0);
    }

    #[test]
    fn lsq_gradients_are_those_of_the_specification() {
        let lsq = |form| Backward::Lsq { form, step: 0.1, lowest: -8.0, highest: 7.0 };
        for (form, wanted) in [(LsqForm::Repository, 1.494_000), (LsqForm::Paper, -2.468_147)] {
            let (gradient, range) = pulled(lsq(form), true);
            assert!((range - wanted).abs() < 2e-6, "{form:?}: {range}");
            assert_eq!(gradient, with(&[(0, 0.0), (9, 0.0)]));
        }
    }

    /// SPEC 4.6, 11: WCAT takes its step as a constant, so inside the range its range has no gradient; LSQ's, which has one, is
    /// the derivative of the decoded value where rounding is taken as a constant difference.
    #[test]
    fn the_lsq_gradient_sees_the_rounding_error_inside_the_range() {
        let backward = |values: &[f32], gradient: &mut [f32]| {
            let lsq = Backward::Lsq { form: LsqForm::Paper, step: 0.1, lowest: -8.0, highest: 7.0 };
            lsq.pull(gradient, values, false)
        };
        let inside = backward(&[0.26], &mut [1.0]); // quotient 2.6, code 3
        assert!((inside - 0.4).abs() < 1e-6, "{inside}");
        assert_eq!(backward(&[2.0], &mut [1.0]), 7.0);
    }

    #[test]
    fn dorefa_goes_through_the_tangent() {
        let spec = QuantizerSpec { bits: Some(8), ..QuantizerSpec::new(Family::Dorefa) };
        let grid = Quantizer::from_spec(&spec).unwrap().fit(&WEIGHTS, &[10]).unwrap();
        let largest = 1.2_f32.tanh();
        let (gradient, _) = pulled(Backward::Dorefa { largest }, true);
        // Against the slope of the levels over a stretch that holds many of them.
        for (at, value) in [(2, -0.26_f32), (6, 0.3)] {
            let level = |shift: f32| {
                let mut values = WEIGHTS;
                values[at] = value + shift;
                grid.fake_quantize(&values).unwrap()[at]
            };
            let slope = (level(0.15) - level(-0.15)) / 0.3;
            assert!((gradient[at] / GRADIENT[at] - slope).abs() < 0.05, "{at}: {} {slope}", gradient[at]);
        }
    }

    /// SPEC 5.3: codes 1 and -1 with the mean magnitude, and the straight-through gradient of the code divided by the scale,
    /// which is the gradient of the level. SPEC 5.5, 2: the earlier system multiplied by the scale twice in training.
    #[test]
    fn binary_levels_carry_their_scale_once() {
        let values = [-0.9, -0.1, 0.0, 0.3, 0.7];
        let grid =
            Quantizer::from_spec(&QuantizerSpec::new(Family::Binary)).unwrap().fit(&values, &[5]).unwrap();
        assert_eq!(grid.codes(&values).unwrap(), [-1, -1, 1, 1, 1]);
        assert_eq!(grid.fake_quantize(&values).unwrap(), [-0.4, -0.4, 0.4, 0.4, 0.4]);
        let upstream = [0.5_f32, -1.0, 2.0, 0.1, 3.0];
        let of_code = upstream.map(|gradient| gradient * 0.4);
        let mut gradient = upstream;
        assert_eq!(Backward::Straight.pull(&mut gradient, &values, true), 0.0);
        for (got, of_code) in gradient.iter().zip(of_code) {
            assert!((got - of_code / 0.4).abs() < 1e-6);
        }
    }

    /// SPEC 5.5, 1: the width of the codes decides their range, for 4 bits as for 8.
    #[test]
    fn the_clamping_range_follows_the_bits() {
        let codes = |bits| {
            let spec = QuantizerSpec { bits: Some(bits), ..QuantizerSpec::new(Family::Bfa) };
            Quantizer::from_spec(&spec).unwrap().fit(&WEIGHTS, &[10]).unwrap().codes(&WEIGHTS).unwrap()
        };
        assert_eq!(codes(8), [-95, -53, -28, -5, 0, 5, 32, 50, 53, 127]);
        assert_eq!(codes(4), [-5, -3, -2, 0, 0, 0, 2, 3, 3, 7]);
    }

    /// The forward levels of SPEC 4.5 for the range `a = 0.5`.
    #[test]
    fn wcat_levels_are_those_of_the_specification() {
        let spec = QuantizerSpec {
            bits: Some(4),
            range: Some(Range::Alpha(0.5)),
            ..QuantizerSpec::new(Family::Wcat)
        };
        let grid = Quantizer::from_spec(&spec).unwrap().fit(&WEIGHTS, &[10]).unwrap();
        let wanted = [-0.5, -0.5, -0.25, -0.0625, 0.0, 0.0625, 0.3125, 0.4375, 0.4375, 0.4375];
        assert_eq!(grid.fake_quantize(&WEIGHTS).unwrap(), wanted);
    }
}
