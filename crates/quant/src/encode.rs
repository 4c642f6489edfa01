//! From one value to its code.

use crate::block;
use crate::compat;
use crate::fit::tanh;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::rule::Rule;
use crate::unit::Unit;

impl Quantizer {
    /// Whether codes are too wide for float32 arithmetic.
    pub(crate) fn is_wide(&self) -> bool {
        self.codes.bits > 16
    }

    /// Whether quantizing needs random numbers.
    #[must_use]
    pub fn is_stochastic(&self) -> bool {
        self.round == Round::Stochastic
    }

    /// Whether codes are rounded quotients, so that the fast loops may make them.
    pub(crate) fn is_linear(&self) -> bool {
        !matches!(self.rule, Rule::Sign { .. } | Rule::Dorefa | Rule::Block(_) | Rule::Compat { .. })
    }

    /// The code of a finite value; `uniform` counts for stochastic rounding alone.
    #[inline(always)]
    pub(crate) fn code(&self, unit: &Unit, value: f32, uniform: f64) -> i64 {
        match self.rule {
            Rule::Sign { .. } => {
                if value >= 0.0 {
                    1
                } else {
                    -1
                }
            }
            Rule::Block(scheme) => block::code(scheme, unit, value),
            Rule::Compat { asymmetric, .. } => compat::code(self.codes, self.round, asymmetric, unit, value)
                .clamp(self.produced.0, self.produced.1),
            Rule::Dorefa => self.saturated(unit, self.round.of_f32(self.dorefa(unit, value), uniform) as i64),
            _ if unit.step == 0.0 => self.saturated(unit, 0),
            _ if self.is_wide() => {
                let quotient = (f64::from(value) - f64::from(unit.offset)) / f64::from(unit.step);
                self.saturated(unit, self.round.of_f64(quotient, uniform) as i64)
            }
            _ => {
                let quotient = (value - unit.offset) / unit.step;
                self.saturated(unit, self.round.of_f32(quotient, uniform) as i64)
            }
        }
    }

    #[inline(always)]
    fn saturated(&self, unit: &Unit, steps: i64) -> i64 {
        steps.saturating_add(unit.zero).clamp(self.produced.0, self.produced.1)
    }

    /// `(2^m - 1) * (tanh(w) / (2 max|tanh|) + 1/2)`; the middle for a tensor of zeros.
    fn dorefa(&self, unit: &Unit, value: f32) -> f32 {
        let share = if unit.step == 0.0 { 0.0 } else { tanh(value) / (2.0 * unit.step) };
        self.codes.high() as f32 * (share + 0.5)
    }
}
