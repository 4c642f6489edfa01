//! `quantized_bits`: its fields mean each other's limits.

use super::{Draft, Fields};
use crate::error::SpecError;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::rule::Rule;
use crate::spec::{Alpha, Granularity};

impl Fields<'_> {
    pub(super) fn qkeras(&self) -> Result<Quantizer, SpecError> {
        let integer = self.spec.integer.unwrap_or(0);
        if !(-64..=64).contains(&integer) {
            return Err(self.wrong("integer", integer, "-64..64"));
        }
        match self.spec.alpha.unwrap_or(Alpha::Factor(1.0)) {
            Alpha::Factor(alpha) => self.qkeras_number(integer, alpha),
            Alpha::Auto => self.qkeras_auto(integer, false),
            Alpha::AutoPo2 => self.qkeras_auto(integer, true),
        }
    }

    pub(super) fn qkeras_number(&self, integer: i32, alpha: f32) -> Result<Quantizer, SpecError> {
        let alpha = self.positive("alpha", alpha)?;
        if let Some(granularity) = self.spec.granularity.filter(|&g| g != Granularity::Tensor) {
            return Err(self.wrong(
                "granularity",
                granularity,
                "scales of units only with an automatic alpha",
            ));
        }
        let keep_negative = self.spec.keep_negative.unwrap_or(true);
        let bits = self.bits(1, 32)?;
        let magnitude = bits - u32::from(keep_negative);
        if self.spec.symmetric == Some(true) && (!keep_negative || magnitude == 0) {
            return Err(self.wrong("symmetric", true, "false only, without negative codes or with one bit"));
        }
        if magnitude == 0 {
            self.no_choices_for_a_sign()?;
            return self.sign(Rule::Sign { factor: Some(alpha) }, None);
        }
        let mut codes = self.codes(bits, keep_negative)?;
        // Within -64..64 less 32 bits: an exact power of two, and every level is finite with a factor of up to 2^32.
        let point = magnitude as i32 - integer;
        let step = libm::exp2f(-point as f32);
        self.positive("alpha", alpha * libm::exp2f(integer as f32))?;
        if alpha == 1.0 {
            codes.point = point as i16;
        }
        let lowest = codes.low() + i64::from(keep_negative && self.spec.symmetric.unwrap_or(false));
        self.finish(Draft {
            codes,
            produced: (lowest, codes.high()),
            zero: 0,
            rule: Rule::Constant { step, factor: alpha },
            round: self.round(keep_negative),
            rounding: self.rounding(),
            range: None,
        })
    }

    pub(super) fn qkeras_auto(&self, integer: i32, power_of_two: bool) -> Result<Quantizer, SpecError> {
        let bits = self.bits(2, 32)?;
        if self.spec.keep_negative == Some(false) {
            return Err(self.wrong("keep_negative", false, "true only, with an automatic alpha"));
        }
        if self.spec.symmetric == Some(false) {
            return Err(self.wrong("symmetric", false, "true only, with an automatic alpha"));
        }
        if self.spec.rounding.is_some() {
            let belongs = "qkeras with a number for alpha; an automatic one rounds halves away from 0";
            return Err(SpecError::Foreign { field: "rounding", family: self.family, belongs });
        }
        let codes = self.codes(bits, true)?;
        let edge = codes.half() - 1;
        self.finish(Draft {
            codes,
            produced: (-edge, edge),
            zero: 0,
            rule: Rule::Auto { power_of_two, unit: libm::exp2f(integer as f32) },
            round: Round::HalfAway,
            rounding: None,
            range: None,
        })
    }
}
