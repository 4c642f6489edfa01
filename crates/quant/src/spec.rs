//! The fields that a quantizer is made from, as they stand in a campaign file.

mod choice;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use choice::{Alpha, Range};

/// Fields of a quantizer: the table `[storage]`, the inline table of `--spec`.
///
/// A field left out takes its family's default; a field that the family has no use for is an error of
/// [`Quantizer::from_spec`](crate::Quantizer::from_spec), and so is an unknown key while reading. [`Quantizer::spec`](crate::Quantizer::spec) gives the fields back
/// with every default filled in.
///
/// ```
/// use bitquake_quant::{Family, QuantizerSpec, Range};
///
/// let spec: QuantizerSpec = serde_json::from_str(r#"{"family": "wcat", "bits": 4, "range": {"alpha": 0.5}}"#)?;
/// assert_eq!(spec.family, Some(Family::Wcat));
/// assert_eq!(spec.range, Some(Range::Alpha(0.5)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantizerSpec {
    /// Which rule turns values into codes; `native` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// Width of a code in bits, 1..32; 8 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits: Option<u32>,
    /// Whether codes are signed integers; true by default. Unsigned codes of `symmetric` have their zero at `2^(bits-1)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// Which reals the codes cover; `adaptive` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// The range never exceeds this; no limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip: Option<f32>,
    /// How quotients become integers; `nearest-even` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounding: Option<Rounding>,
    /// Which elements share a scale; the whole tensor by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
    /// How codes are stored; `twos-complement` for signed codes and `offset` for unsigned ones by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<CodeEncoding>,
    /// Whether to reproduce the RandBET release to the code: its epsilon and its unused code; false by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compat: Option<bool>,
    /// `qkeras` alone: bits before the binary point; 0 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integer: Option<i32>,
    /// `qkeras` alone: whether one bit is the sign; true by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_negative: Option<bool>,
    /// `qkeras` alone: whether the lowest code is left out; false by default, true for the automatic alphas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symmetric: Option<bool>,
    /// `qkeras` alone: factor on the levels; 1 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<Alpha>,
    /// `block` alone: which block format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<BlockScheme>,
}

impl QuantizerSpec {
    /// The fields of a family, everything else by default.
    #[must_use]
    pub fn new(family: Family) -> Self {
        Self { family: Some(family), ..Self::default() }
    }

    /// Whether words stay as the file has them.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.family.unwrap_or_default() == Family::Native
    }

    /// These fields with those of `over` put on top. An `over` that names another family starts afresh, since fields mean
    /// different things in different families.
    ///
    /// ```
    /// use bitquake_quant::{Family, QuantizerSpec};
    ///
    /// let base = QuantizerSpec { bits: Some(4), clip: Some(0.1), ..QuantizerSpec::new(Family::Symmetric) };
    /// let first_layer = base.overridden_by(&QuantizerSpec { bits: Some(8), ..QuantizerSpec::default() });
    /// assert_eq!((first_layer.bits, first_layer.clip), (Some(8), Some(0.1)));
    /// ```
    #[must_use]
    pub fn overridden_by(&self, over: &Self) -> Self {
        if over.family.is_some_and(|family| family != self.family.unwrap_or_default()) {
            return over.clone();
        }
        Self {
            family: over.family.or(self.family),
            bits: over.bits.or(self.bits),
            signed: over.signed.or(self.signed),
            range: over.range.or(self.range),
            clip: over.clip.or(self.clip),
            rounding: over.rounding.or(self.rounding),
            granularity: over.granularity.or(self.granularity),
            encoding: over.encoding.or(self.encoding),
            compat: over.compat.or(self.compat),
            integer: over.integer.or(self.integer),
            keep_negative: over.keep_negative.or(self.keep_negative),
            symmetric: over.symmetric.or(self.symmetric),
            alpha: over.alpha.or(self.alpha),
            scheme: over.scheme.or(self.scheme),
        }
    }
}

/// The rule that turns values into codes. `m` is the width, `L = 2^(m-1) - 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// No quantizer: the file's own words.
    #[default]
    Native,
    /// A range `-R..R` with zero as a level: scale `R / L`, codes `-L..L` (SPEC 2.2.1, 2.2.2).
    Symmetric,
    /// A range `lo..hi`: scale `(hi - lo) / (2^m - 1)`, level `code * scale + lo` (SPEC 2.2.3).
    Asymmetric,
    /// QKeras `quantized_bits` (SPEC 3.1).
    Qkeras,
    /// A learnt range `-a..a`, scale `a / 2^(m-1)` (SPEC 4.1 W1); with a fixed range it is WCLIP (W4) and, given
    /// [`plclip_ranges`](crate::plclip_ranges), PLCLIP (W5).
    Wcat,
    /// A learnt step (SPEC 4.1 W3).
    Lsq,
    /// Scale `max|w| / 2^(m-1)` (SPEC 4.1 W2).
    Normal,
    /// Scale `max|w| / L` (SPEC 5.1).
    Bfa,
    /// ONNX `QuantizeLinear`: scale and zero point.
    Affine,
    /// One bit: the sign, times the mean magnitude (SPEC 5.3).
    Binary,
    /// Blocks of 32 with scales of their own, as GGUF stores them.
    Block,
    /// `DoReFa` weights (Zhou et al. 2016, arXiv 1606.06160, equations 7 to 9).
    Dorefa,
    /// PACT (Choi et al. 2018, arXiv 1805.06085): `0..alpha` for activations, `-alpha..alpha` for weights.
    Pact,
}

impl Family {
    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Symmetric => "symmetric",
            Self::Asymmetric => "asymmetric",
            Self::Qkeras => "qkeras",
            Self::Wcat => "wcat",
            Self::Lsq => "lsq",
            Self::Normal => "normal",
            Self::Bfa => "bfa",
            Self::Affine => "affine",
            Self::Binary => "binary",
            Self::Block => "block",
            Self::Dorefa => "dorefa",
            Self::Pact => "pact",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a quotient becomes an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To the nearest integer, halves to the even one.
    #[default]
    NearestEven,
    /// The fraction is dropped: toward zero where codes are signed; downward where they are unsigned, and in an asymmetric
    /// range, because there the quotient is made non-negative first (SPEC 2.2.2, 2.2.3).
    Truncate,
    /// Up with a probability equal to the fraction, else down.
    Stochastic,
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NearestEven => "nearest-even",
            Self::Truncate => "truncate",
            Self::Stochastic => "stochastic",
        })
    }
}

/// Which elements share a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Granularity {
    /// All elements of the tensor.
    #[default]
    Tensor,
    /// The elements with the same index along this axis, counted from 0.
    Channel(u64),
    /// So many consecutive elements of the flattened (C order) tensor; the last group may be shorter.
    Group(u64),
}

/// As in a TOML file.
impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor => f.write_str("tensor"),
            Self::Channel(axis) => write!(f, "{{ channel = {axis} }}"),
            Self::Group(size) => write!(f, "{{ group = {size} }}"),
        }
    }
}

/// How an integer code is stored as a word; it changes what a flip does, never the level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeEncoding {
    /// Signed codes: the code modulo `2^bits`.
    TwosComplement,
    /// The code minus the lowest code of the width: plain binary for unsigned codes.
    Offset,
    /// Signed codes: the magnitude, and the sign in the highest bit. `-2^(bits-1)` has no word: quantizing saturates at
    /// one above it.
    SignMagnitude,
    /// The Gray code of the offset word: `word ^ (word >> 1)`.
    Gray,
}

impl fmt::Display for CodeEncoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TwosComplement => "twos-complement",
            Self::Offset => "offset",
            Self::SignMagnitude => "sign-magnitude",
            Self::Gray => "gray",
        })
    }
}

/// A block format of GGUF; 32 elements a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockScheme {
    /// 4-bit codes with zero at 8, a float16 scale.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// 4-bit codes, a float16 scale and a float16 minimum.
    #[serde(rename = "q4_1")]
    Q4_1,
    /// Signed 8-bit codes, a float16 scale.
    #[serde(rename = "q8_0")]
    Q8_0,
}

impl fmt::Display for BlockScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q8_0 => "q8_0",
        })
    }
}
