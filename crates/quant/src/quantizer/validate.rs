//! From fields to a quantizer, or to what is wrong with them.

mod families;
mod homes;
mod qkeras;

use bitquake_bits::Encoding;

use self::homes::{HOMES, Home};
use super::Quantizer;
use crate::codes::Codes;
use crate::error::SpecError;
use crate::round::Round;
use crate::rule::Rule;
use crate::spec::{Alpha, CodeEncoding, Family, Granularity, QuantizerSpec, Range, Rounding};

pub(super) fn quantizer(spec: &QuantizerSpec) -> Result<Quantizer, SpecError> {
    let family = spec.family.unwrap_or_default();
    if family == Family::Native {
        let bare = QuantizerSpec { family: spec.family, ..QuantizerSpec::default() };
        return Err(if *spec == bare { SpecError::Native } else { SpecError::NativeFields });
    }
    let fields = Fields { spec, family };
    fields.refuse_foreign()?;
    match family {
        Family::Native => Err(SpecError::Native),
        Family::Symmetric if spec.compat == Some(true) => fields.compat(false),
        Family::Asymmetric if spec.compat == Some(true) => fields.compat(true),
        Family::Symmetric => fields.symmetric(),
        Family::Asymmetric => fields.asymmetric(),
        Family::Qkeras => fields.qkeras(),
        Family::Wcat => fields.wcat(),
        Family::Lsq => fields.lsq(),
        Family::Normal => fields.normal(),
        Family::Bfa => fields.bfa(),
        Family::Affine => fields.affine(),
        Family::Binary => fields.binary(),
        Family::Block => fields.block(),
        Family::Dorefa => fields.dorefa(),
        Family::Pact => fields.pact(),
    }
}

struct Fields<'a> {
    spec: &'a QuantizerSpec,
    family: Family,
}

/// A quantizer in the making: everything but the fields that are the same for all.
struct Draft {
    codes: Codes,
    produced: (i64, i64),
    zero: i64,
    rule: Rule,
    round: Round,
    /// The rounding to show; none where the family has its own.
    rounding: Option<Rounding>,
    range: Option<Range>,
}

impl Fields<'_> {
    fn refuse_foreign(&self) -> Result<(), SpecError> {
        let family = self.family;
        match HOMES.iter().find(|home| (home.is_set)(self.spec) && !(home.has)(family)) {
            Some(&Home { field, belongs, .. }) => Err(SpecError::Foreign { field, family, belongs }),
            None => Ok(()),
        }
    }

    fn wrong(
        &self,
        field: &'static str,
        value: impl std::fmt::Display,
        allowed: impl Into<String>,
    ) -> SpecError {
        SpecError::Value { field, value: value.to_string(), family: self.family, allowed: allowed.into() }
    }

    fn bits(&self, least: u32, most: u32) -> Result<u32, SpecError> {
        let bits = self.spec.bits.unwrap_or(8);
        if (least..=most).contains(&bits) {
            return Ok(bits);
        }
        Err(self.wrong("bits", bits, format!("{least}..{most}")))
    }

    /// The field `signed`, which may take one value only.
    fn only_signed(&self, only: bool) -> Result<(), SpecError> {
        match self.spec.signed {
            Some(signed) if signed != only => Err(self.wrong("signed", signed, format!("{only} only"))),
            _ => Ok(()),
        }
    }

    fn signed(&self) -> bool {
        self.spec.signed.unwrap_or(true)
    }

    fn codes(&self, bits: u32, signed: bool) -> Result<Codes, SpecError> {
        let allowed = if signed {
            "twos-complement, offset, sign-magnitude (from 2 bits) or gray for signed codes"
        } else {
            "offset or gray for unsigned codes"
        };
        let encoding = match (self.spec.encoding, signed) {
            (None, _) | (Some(CodeEncoding::TwosComplement), true) | (Some(CodeEncoding::Offset), false) => {
                Encoding::Plain
            }
            (Some(CodeEncoding::Offset), true) => Encoding::Offset,
            (Some(CodeEncoding::SignMagnitude), true) if bits >= 2 => Encoding::SignMagnitude,
            (Some(CodeEncoding::Gray), _) => Encoding::Gray,
            (Some(encoding), _) => return Err(self.wrong("encoding", encoding, allowed)),
        };
        Ok(Codes { bits, signed, encoding, point: 0, is_sign: false })
    }

    /// The rounding of families whose quotients have the real 0 at an integer.
    fn round(&self, signed: bool) -> Round {
        match self.spec.rounding.unwrap_or_default() {
            Rounding::NearestEven => Round::HalfEven,
            Rounding::Truncate if signed => Round::TowardZero,
            Rounding::Truncate => Round::Floor,
            Rounding::Stochastic => Round::Stochastic,
        }
    }

    fn positive(&self, field: &'static str, value: f32) -> Result<f32, SpecError> {
        if value > 0.0 && value <= crate::fit::WIDEST {
            return Ok(value);
        }
        Err(self.wrong(field, value, format!("numbers above 0, up to {:e}", crate::fit::WIDEST)))
    }

    /// The clip, which makes sense only where the range follows from the values.
    fn clip(&self, is_given: bool) -> Result<Option<f32>, SpecError> {
        match self.spec.clip {
            Some(clip) if is_given => {
                Err(self.wrong("clip", clip, "a clip only where the range is not given"))
            }
            Some(clip) => self.positive("clip", clip).map(Some),
            None => Ok(None),
        }
    }

    /// Checks that the range is one of `allowed` and that its numbers are sane.
    fn range(&self, bits: u32, allowed: fn(&Range) -> bool, text: &str) -> Result<Range, SpecError> {
        let range = self.spec.range.unwrap_or_default();
        if !allowed(&range) {
            return Err(self.wrong("range", range, text));
        }
        match range {
            Range::Fixed(q) => self.positive("range.fixed", q).map(drop),
            Range::Alpha(a) => self.positive("range.alpha", a).map(drop),
            Range::Step(s) => self.positive("range.step", s).map(drop),
            Range::Interval { lo, hi } if lo <= hi && crate::fit::check_width(lo, hi).is_ok() => Ok(()),
            Range::Interval { .. } => Err(self.wrong(
                "range",
                range,
                format!("lo <= hi, finite, at most {:e} apart", crate::fit::WIDEST),
            )),
            Range::NoisyMse(p) if !(0.0..=1.0).contains(&p) => {
                Err(self.wrong("range.noisy_mse", p, "probabilities 0..1"))
            }
            Range::NoisyMse(_) if bits > 16 => {
                Err(self.wrong("bits", bits, "1..16 with a noisy_mse range, which lists every code"))
            }
            Range::Sawb if !matches!(bits, 2 | 4 | 8) => {
                Err(self.wrong("bits", bits, "2, 4 or 8 with a sawb range: it has coefficients for those"))
            }
            _ => Ok(()),
        }?;
        Ok(range)
    }

    fn finish(&self, draft: Draft) -> Result<Quantizer, SpecError> {
        let granularity = self.spec.granularity.unwrap_or_default();
        if granularity == Granularity::Group(0) {
            return Err(self.wrong("granularity.group", 0, "groups of at least 1"));
        }
        let codes = draft.codes;
        let produced = (draft.produced.0.max(codes.low()), draft.produced.1.min(codes.high()));
        let spec = self.resolved(&draft, granularity);
        let Draft { zero, rule, round, .. } = draft;
        Ok(Quantizer { spec, codes, produced, zero, rule, round, granularity })
    }

    fn resolved(&self, draft: &Draft, granularity: Granularity) -> QuantizerSpec {
        let has = |field| HOMES.iter().any(|home| home.field == field && (home.has)(self.family));
        let codes = draft.codes;
        QuantizerSpec {
            family: Some(self.family),
            bits: Some(codes.bits),
            signed: (has("signed") && !codes.is_sign).then_some(codes.signed),
            range: draft.range,
            clip: self.spec.clip,
            rounding: draft.rounding,
            granularity: has("granularity").then_some(granularity),
            encoding: (has("encoding") && !codes.is_sign).then_some(encoding_name(codes)),
            compat: has("compat").then_some(self.spec.compat.unwrap_or(false)),
            integer: has("integer").then_some(self.spec.integer.unwrap_or(0)),
            keep_negative: has("keep_negative").then_some(self.spec.keep_negative.unwrap_or(true)),
            symmetric: has("symmetric").then_some(self.spec.symmetric.unwrap_or(self.alpha_is_automatic())),
            alpha: has("alpha").then_some(self.spec.alpha.unwrap_or(Alpha::Factor(1.0))),
            scheme: self.spec.scheme,
        }
    }

    fn alpha_is_automatic(&self) -> bool {
        matches!(self.spec.alpha, Some(Alpha::Auto | Alpha::AutoPo2))
    }

    fn rounding(&self) -> Option<Rounding> {
        Some(self.spec.rounding.unwrap_or_default())
    }
}

fn encoding_name(codes: Codes) -> CodeEncoding {
    match (codes.encoding, codes.signed) {
        (Encoding::Plain, true) => CodeEncoding::TwosComplement,
        (Encoding::Plain, false) | (Encoding::Offset, _) => CodeEncoding::Offset,
        (Encoding::SignMagnitude, _) => CodeEncoding::SignMagnitude,
        (Encoding::Gray, _) => CodeEncoding::Gray,
    }
}
