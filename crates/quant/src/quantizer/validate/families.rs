//! Each family's own rules.

use bitquake_bits::Encoding;

use super::{Draft, Fields};
use crate::block;
use crate::codes::Codes;
use crate::error::SpecError;
use crate::quantizer::Quantizer;
use crate::round::Round;
use crate::rule::{Ends, Rule};
use crate::spec::{CodeEncoding, Granularity, Range, Rounding};

impl Fields<'_> {
    pub(super) fn symmetric(&self) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(2, 32)?, self.signed());
        let allowed = |range: &Range| {
            matches!(range, Range::Adaptive | Range::Fixed(_) | Range::Sawb | Range::Mse | Range::NoisyMse(_))
        };
        let range = self.range(bits, allowed, "adaptive, fixed, sawb, mse and noisy_mse")?;
        let clip = self.clip(matches!(range, Range::Fixed(_)))?;
        let codes = self.codes(bits, signed)?;
        let edge = codes.half() - 1;
        let zero = if signed { 0 } else { codes.half() };
        self.finish(Draft {
            codes,
            produced: (zero - edge, zero + edge),
            zero,
            rule: Rule::Centred { range, clip, divisor: edge as f64 },
            round: self.round(signed),
            rounding: self.rounding(),
            range: Some(range),
        })
    }

    pub(super) fn asymmetric(&self) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(1, 32)?, self.signed());
        let (range, ends) = self.ends(bits)?;
        let clip = self.clip(ends != Ends::Values)?;
        self.interval(bits, signed, range, Rule::Interval { ends, clip })
    }

    /// Adaptive, fixed or given ends.
    pub(super) fn ends(&self, bits: u32) -> Result<(Range, Ends), SpecError> {
        let allowed =
            |range: &Range| matches!(range, Range::Adaptive | Range::Fixed(_) | Range::Interval { .. });
        let range = self.range(bits, allowed, "adaptive, fixed and { lo, hi }")?;
        let ends = match range {
            Range::Fixed(q) => Ends::Given { lo: -q, hi: q },
            Range::Interval { lo, hi } => Ends::Given { lo, hi },
            _ => Ends::Values,
        };
        Ok((range, ends))
    }

    pub(super) fn interval(
        &self,
        bits: u32,
        signed: bool,
        range: Range,
        rule: Rule,
    ) -> Result<Quantizer, SpecError> {
        let codes = self.codes(bits, signed)?;
        if codes.encoding == Encoding::SignMagnitude {
            let allowed = "encodings in which every code has a word; the range has no code to spare";
            return Err(self.wrong("encoding", CodeEncoding::SignMagnitude, allowed));
        }
        let round = match self.round(signed) {
            // The quotient is counted from the lower end and never negative.
            Round::TowardZero => Round::Floor,
            round => round,
        };
        self.finish(Draft {
            codes,
            produced: (codes.low(), codes.high()),
            zero: codes.low(),
            rule,
            round,
            rounding: self.rounding(),
            range: Some(range),
        })
    }

    pub(super) fn compat(&self, asymmetric: bool) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(2, 32)?, self.signed());
        if signed && !matches!(bits, 8 | 16 | 32) {
            return Err(self.wrong("bits", bits, "8, 16 or 32 for signed codes with compat"));
        }
        if !signed && bits > 8 {
            return Err(self.wrong("bits", bits, "2..8 for unsigned codes with compat"));
        }
        if self.spec.rounding == Some(Rounding::Stochastic) {
            return Err(self.wrong("rounding", Rounding::Stochastic, "nearest-even or truncate with compat"));
        }
        if let Some(granularity) =
            self.spec.granularity.filter(|&granularity| granularity != Granularity::Tensor)
        {
            return Err(self.wrong("granularity", granularity, "one range a tensor with compat"));
        }
        let allowed = |range: &Range| matches!(range, Range::Adaptive | Range::Fixed(_));
        let (range, ends) = if asymmetric {
            self.ends(bits)?
        } else {
            let range = self.range(bits, allowed, "adaptive and fixed with compat")?;
            (range, if let Range::Fixed(q) = range { Ends::Given { lo: -q, hi: q } } else { Ends::Values })
        };
        let clip = self.clip(ends != Ends::Values)?;
        let codes = self.codes(bits, signed)?;
        self.finish(Draft {
            codes,
            produced: (codes.low(), codes.high()),
            zero: if signed { 0 } else { codes.half() },
            rule: Rule::Compat { asymmetric, ends, clip },
            round: self.round(signed),
            rounding: self.rounding(),
            range: Some(range),
        })
    }

    pub(super) fn wcat(&self) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(1, 32)?, self.signed());
        let allowed = |range: &Range| {
            matches!(
                range,
                Range::Adaptive
                    | Range::Fixed(_)
                    | Range::Alpha(_)
                    | Range::Sawb
                    | Range::Mse
                    | Range::NoisyMse(_)
            )
        };
        let range = self.range(bits, allowed, "adaptive, fixed, alpha, sawb, mse and noisy_mse")?;
        let clip = self.clip(matches!(range, Range::Fixed(_) | Range::Alpha(_)))?;
        let codes = self.codes(bits, signed)?;
        let divisor = if signed { codes.half() } else { codes.high() } as f64;
        self.all_codes(codes, Rule::Centred { range, clip, divisor }, Some(range))
    }

    /// All codes in use, the real 0 at code 0.
    pub(super) fn all_codes(
        &self,
        codes: Codes,
        rule: Rule,
        range: Option<Range>,
    ) -> Result<Quantizer, SpecError> {
        self.finish(Draft {
            codes,
            produced: (codes.low(), codes.high()),
            zero: 0,
            rule,
            round: self.round(codes.signed),
            rounding: self.rounding(),
            range,
        })
    }

    pub(super) fn lsq(&self) -> Result<Quantizer, SpecError> {
        let signed = self.signed();
        let bits = self.bits(if signed { 2 } else { 1 }, 32)?;
        let allowed = |range: &Range| matches!(range, Range::Adaptive | Range::Step(_));
        let range = self.range(bits, allowed, "adaptive (its initial step) and { step }")?;
        let step = if let Range::Step(step) = range { Some(step) } else { None };
        self.all_codes(self.codes(bits, signed)?, Rule::Step { step }, Some(range))
    }

    /// The range of a family that has only one.
    pub(super) fn adaptive(&self, bits: u32) -> Result<Range, SpecError> {
        self.range(bits, |range| matches!(range, Range::Adaptive), "adaptive only")
    }

    pub(super) fn normal(&self) -> Result<Quantizer, SpecError> {
        self.only_signed(true)?;
        let bits = self.bits(1, 32)?;
        let range = self.adaptive(bits)?;
        let codes = self.codes(bits, true)?;
        let divisor = codes.half() as f64;
        self.all_codes(codes, Rule::Centred { range, clip: None, divisor }, Some(range))
    }

    pub(super) fn bfa(&self) -> Result<Quantizer, SpecError> {
        self.only_signed(true)?;
        let bits = self.bits(2, 32)?;
        let range = self.adaptive(bits)?;
        let codes = self.codes(bits, true)?;
        let edge = codes.half() - 1;
        self.finish(Draft {
            codes,
            produced: (-edge, edge),
            zero: 0,
            rule: Rule::Centred { range, clip: None, divisor: edge as f64 },
            round: self.round(true),
            rounding: self.rounding(),
            range: Some(range),
        })
    }

    pub(super) fn affine(&self) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(1, 32)?, self.signed());
        let (range, ends) = self.ends(bits)?;
        if let Ends::Given { lo, hi } = ends
            && !(lo <= 0.0 && hi >= 0.0)
        {
            return Err(self.wrong("range", range, "ranges with 0 in them: the zero point is a code"));
        }
        let clip = self.clip(ends != Ends::Values)?;
        let codes = self.codes(bits, signed)?;
        self.all_codes(codes, Rule::Affine { ends, clip }, Some(range))
    }

    pub(super) fn sign(&self, rule: Rule, range: Option<Range>) -> Result<Quantizer, SpecError> {
        self.finish(Draft {
            codes: Codes::sign(),
            produced: (-1, 1),
            zero: 0,
            rule,
            round: Round::HalfEven,
            rounding: None,
            range,
        })
    }

    pub(super) fn binary(&self) -> Result<Quantizer, SpecError> {
        if let Some(bits) = self.spec.bits.filter(|&bits| bits != 1) {
            return Err(self.wrong("bits", bits, "1 only"));
        }
        let range = self.adaptive(1)?;
        self.sign(Rule::Sign { factor: None }, Some(range))
    }

    pub(super) fn block(&self) -> Result<Quantizer, SpecError> {
        let allowed = "q4_0, q4_1 or q8_0";
        let scheme = self.spec.scheme;
        let scheme = scheme.ok_or(SpecError::Missing { field: "scheme", family: self.family, allowed })?;
        let (codes, zero) = block::codes(scheme);
        if let Some(bits) = self.spec.bits.filter(|&bits| bits != codes.bits) {
            return Err(self.wrong("bits", bits, format!("{} only, with scheme {scheme}", codes.bits)));
        }
        self.only_signed(codes.signed)?;
        let range = self.adaptive(codes.bits)?;
        let mut quantizer = self.finish(Draft {
            codes,
            produced: (codes.low(), codes.high()),
            zero,
            rule: Rule::Block(scheme),
            round: Round::HalfEven,
            rounding: None,
            range: Some(range),
        })?;
        quantizer.granularity = Granularity::Group(block::WORDS);
        Ok(quantizer)
    }

    pub(super) fn dorefa(&self) -> Result<Quantizer, SpecError> {
        let bits = self.bits(1, 16)?;
        let range = self.adaptive(bits)?;
        if bits == 1 {
            return self.dorefa_sign(range);
        }
        self.only_signed(false)?;
        let codes = self.codes(bits, false)?;
        self.all_codes(codes, Rule::Dorefa, Some(range))
    }

    /// One bit of `DoReFa` is the sign times the mean magnitude.
    pub(super) fn dorefa_sign(&self, range: Range) -> Result<Quantizer, SpecError> {
        self.no_choices_for_a_sign()?;
        self.sign(Rule::Sign { factor: None }, Some(range))
    }

    pub(super) fn no_choices_for_a_sign(&self) -> Result<(), SpecError> {
        let belongs = "codes of more than one bit";
        let spec = self.spec;
        let set = [
            ("signed", spec.signed.is_some()),
            ("rounding", spec.rounding.is_some()),
            ("encoding", spec.encoding.is_some()),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some(&(field, _)) => Err(SpecError::Foreign { field, family: self.family, belongs }),
            None => Ok(()),
        }
    }

    pub(super) fn pact(&self) -> Result<Quantizer, SpecError> {
        let (bits, signed) = (self.bits(1, 32)?, self.signed());
        let allowed = |range: &Range| {
            matches!(range, Range::Adaptive | Range::Fixed(_) | Range::Alpha(_) | Range::Sawb)
        };
        let range = self.range(bits, allowed, "adaptive, fixed, alpha, and sawb for signed codes")?;
        let ends = match (range, signed) {
            (Range::Fixed(a) | Range::Alpha(a), true) => Ends::Given { lo: -a, hi: a },
            (Range::Fixed(a) | Range::Alpha(a), false) => Ends::Given { lo: 0.0, hi: a },
            (range, true) => Ends::Around(range),
            (Range::Sawb, false) => {
                return Err(self.wrong("range", range, "sawb for weights (signed codes) only"));
            }
            (_, false) => Ends::UpToLargest,
        };
        let clip = self.clip(matches!(ends, Ends::Given { .. }))?;
        self.interval(bits, signed, range, Rule::Interval { ends, clip })
    }
}
