//! Ranges that are given rather than fitted: learnt, refreshed together, or kept from the start.

use bitquake_quant::{Family, Granularity, Grid, QuantizerSpec, Range};
use serde::{Deserialize, Serialize};

/// A learnt scalar: the range `a` of a WCAT tensor or the step of an LSQ tensor. The optimiser changes `value` by `gradient`;
/// everything else says how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeParameter {
    /// The tensor that it belongs to.
    pub name: String,
    /// The range, or the step.
    pub value: f32,
    /// The gradient that [`combine`](super::Method::combine) left here.
    pub gradient: f32,
    /// Its own weight decay, an L2 term of the optimiser.
    pub weight_decay: f32,
    /// Factor on the learning rate.
    pub rate_factor: f32,
    /// It never falls below this: a range that crosses zero has no levels (SPEC 4.6, 8). Above 0.
    pub lower: f32,
}

impl RangeParameter {
    /// Takes the value back above its lower bound; one that is not finite is left for the trainer to find.
    pub(crate) fn keep_positive(&mut self) {
        if self.value < self.lower {
            self.value = self.lower;
        }
    }
}

/// The fields with a range of its own in place of the rule that fitted it.
pub(crate) fn with_range(spec: &QuantizerSpec, range: Range) -> QuantizerSpec {
    QuantizerSpec { range: Some(range), clip: None, ..spec.clone() }
}

/// The fields that give just this grid for any values: what a campaign must be told to quantize to the same codes.
///
/// `None` where fields cannot say it: several units with a range each, and families that take no range (`binary`, `dorefa`,
/// `block`, the automatic alphas of `qkeras`; `symmetric` with `compat`, whose epsilon comes back in). A tensor of zeros keeps its
/// rule, which gives the same for zeros.
pub(crate) fn frozen(grid: &Grid) -> Option<QuantizerSpec> {
    let spec = grid.quantizer().spec();
    let family = spec.family.unwrap_or_default();
    let (low, high) = grid.range(0).ok()?;
    let is_whole = spec.granularity.is_none_or(|granularity| granularity == Granularity::Tensor);
    let is_compat = spec.compat == Some(true);
    let is_given = matches!(
        spec.range,
        Some(Range::Fixed(_) | Range::Alpha(_) | Range::Step(_) | Range::Interval { .. })
    );
    match family {
        _ if !is_whole => None,
        _ if is_given => Some(spec.clone()),
        Family::Qkeras => matches!(spec.alpha, Some(bitquake_quant::Alpha::Factor(_))).then(|| spec.clone()),
        Family::Asymmetric | Family::Affine => Some(with_range(spec, Range::Interval { lo: low, hi: high })),
        Family::Symmetric if is_compat => None,
        Family::Symmetric | Family::Wcat | Family::Normal | Family::Bfa | Family::Pact | Family::Lsq
            if high == 0.0 =>
        {
            Some(spec.clone())
        }
        Family::Symmetric => Some(with_range(spec, Range::Fixed(high))),
        Family::Wcat | Family::Pact => Some(with_range(spec, Range::Alpha(high))),
        Family::Lsq => Some(with_range(spec, Range::Step(grid.scale(0).ok()?))),
        // The same arithmetic under a name that takes a range.
        Family::Normal => Some(renamed(spec, Family::Wcat, Range::Alpha(high))),
        Family::Bfa => Some(renamed(spec, Family::Symmetric, Range::Fixed(high))),
        Family::Binary | Family::Dorefa | Family::Block | Family::Native => None,
    }
}

fn renamed(spec: &QuantizerSpec, family: Family, range: Range) -> QuantizerSpec {
    QuantizerSpec {
        bits: spec.bits,
        rounding: spec.rounding,
        encoding: spec.encoding,
        range: Some(range),
        ..QuantizerSpec::new(family)
    }
}

#[cfg(test)]
mod tests {
    use bitquake_quant::{CodeEncoding, Quantizer, Rounding};

    use super::*;
    use crate::method::weights::tests::tensor;

    fn grid(spec: &QuantizerSpec, values: &[f32]) -> Grid {
        Quantizer::from_spec(spec).unwrap().fit(values, &[values.len() as u64]).unwrap()
    }

    /// Every family whose range fields can say: the frozen fields give the same words for the same values, the same level for
    /// every word, and keep doing so for values of another range.
    #[test]
    fn frozen_fields_give_the_same_grid() {
        let values = tensor("w", &[300], 5).values;
        let wider: Vec<f32> = values.iter().map(|value| value * 3.0).collect();
        let families =
            ["symmetric", "asymmetric", "wcat", "normal", "bfa", "lsq", "affine", "pact", "qkeras"];
        for (family, bits) in families.into_iter().flat_map(|family| [2_u32, 4, 8].map(|bits| (family, bits)))
        {
            for extra in ["", ", \"rounding\": \"truncate\"", ", \"encoding\": \"gray\""] {
                let text = format!("{{\"family\": \"{family}\", \"bits\": {bits}{extra}}}");
                let spec: QuantizerSpec = serde_json::from_str(&text).unwrap();
                if Quantizer::from_spec(&spec).is_err() {
                    continue; // qkeras has no rounding of its own
                }
                let fitted = grid(&spec, &values);
                let frozen = grid(&frozen(&fitted).unwrap(), &wider);
                assert_eq!(frozen.quantize(&values).unwrap(), fitted.quantize(&values).unwrap(), "{text}");
                for word in 0..1 << bits {
                    assert_eq!(frozen.decode(0, word), fitted.decode(0, word), "{text}, word {word}");
                }
            }
        }
    }

    #[test]
    fn ranges_that_fields_cannot_say_are_none() {
        let values = tensor("w", &[64], 6).values;
        for text in [
            r#"{"family": "binary"}"#,
            r#"{"family": "dorefa", "bits": 4}"#,
            r#"{"family": "block", "scheme": "q8_0"}"#,
            r#"{"family": "qkeras", "bits": 4, "alpha": "auto"}"#,
            r#"{"family": "symmetric", "compat": true}"#,
            r#"{"family": "wcat", "granularity": {"group": 8}}"#,
        ] {
            let spec: QuantizerSpec = serde_json::from_str(text).unwrap();
            assert_eq!(frozen(&grid(&spec, &values)), None, "{text}");
        }
        let zeros = QuantizerSpec {
            rounding: Some(Rounding::Truncate),
            encoding: Some(CodeEncoding::Offset),
            ..QuantizerSpec::new(Family::Symmetric)
        };
        assert!(frozen(&grid(&zeros, &[0.0; 5])).is_some());
    }
}
