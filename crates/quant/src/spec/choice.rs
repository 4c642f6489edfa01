//! Fields that are a word or a table: `range` and `alpha`.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Which reals the codes cover.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Range {
    /// What the values span (or, for `lsq` and `binary`, their mean magnitude).
    #[default]
    Adaptive,
    /// `{ fixed = Q }`: from `-Q` to `Q`.
    Fixed(f32),
    /// `{ lo = A, hi = B }`.
    Interval {
        /// Lower end.
        lo: f32,
        /// Upper end.
        hi: f32,
    },
    /// Statistics-aware weight binning: from the standard deviation and the mean magnitude (SPEC 4.1).
    Sawb,
    /// The range with the least mean squared quantization error.
    Mse,
    /// `{ noisy_mse = P }`: the least mean squared error expected when every stored bit flips with probability P.
    NoisyMse(f64),
    /// `{ alpha = A }`: a learnt range, given.
    Alpha(f32),
    /// `{ step = S }`: a learnt step, given.
    Step(f32),
}

/// The tables that a range may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeTable {
    fixed: Option<f32>,
    lo: Option<f32>,
    hi: Option<f32>,
    noisy_mse: Option<f64>,
    alpha: Option<f32>,
    step: Option<f32>,
}

const RANGE: &str = "\"adaptive\", \"sawb\", \"mse\", { fixed = Q }, { lo = A, hi = B }, { noisy_mse = P }, { alpha = A } or { step = S }";

impl RangeTable {
    fn range(&self) -> Option<Range> {
        match (self.fixed, self.lo, self.hi, self.noisy_mse, self.alpha, self.step) {
            (Some(q), None, None, None, None, None) => Some(Range::Fixed(q)),
            (None, Some(lo), Some(hi), None, None, None) => Some(Range::Interval { lo, hi }),
            (None, None, None, Some(p), None, None) => Some(Range::NoisyMse(p)),
            (None, None, None, None, Some(a), None) => Some(Range::Alpha(a)),
            (None, None, None, None, None, Some(s)) => Some(Range::Step(s)),
            _ => None,
        }
    }
}

struct RangeVisitor;

impl<'de> Visitor<'de> for RangeVisitor {
    type Value = Range;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a range: {RANGE}")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Range, E> {
        match word {
            "adaptive" => Ok(Range::Adaptive),
            "sawb" => Ok(Range::Sawb),
            "mse" => Ok(Range::Mse),
            _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Range, A::Error> {
        let table = RangeTable::deserialize(MapAccessDeserializer::new(map))?;
        table.range().ok_or_else(|| A::Error::custom(format!("a range is one of {RANGE}")))
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RangeVisitor)
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |serializer: S, key: &str, value: f64| {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(key, &value)?;
            map.end()
        };
        match *self {
            Self::Adaptive => serializer.serialize_str("adaptive"),
            Self::Sawb => serializer.serialize_str("sawb"),
            Self::Mse => serializer.serialize_str("mse"),
            Self::Fixed(q) => one(serializer, "fixed", shortest(q)),
            Self::NoisyMse(p) => one(serializer, "noisy_mse", p),
            Self::Alpha(a) => one(serializer, "alpha", shortest(a)),
            Self::Step(s) => one(serializer, "step", shortest(s)),
            Self::Interval { lo, hi } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("lo", &shortest(lo))?;
                map.serialize_entry("hi", &shortest(hi))?;
                map.end()
            }
        }
    }
}

/// As in a TOML file.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Adaptive => f.write_str("\"adaptive\""),
            Self::Sawb => f.write_str("\"sawb\""),
            Self::Mse => f.write_str("\"mse\""),
            Self::Fixed(q) => write!(f, "{{ fixed = {q} }}"),
            Self::NoisyMse(p) => write!(f, "{{ noisy_mse = {p} }}"),
            Self::Alpha(a) => write!(f, "{{ alpha = {a} }}"),
            Self::Step(s) => write!(f, "{{ step = {s} }}"),
            Self::Interval { lo, hi } => write!(f, "{{ lo = {lo}, hi = {hi} }}"),
        }
    }
}

/// The float64 that prints as briefly as the float32 does, and reads back as it: 0.1, not `0.10000000149011612`.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Factor on the levels of QKeras `quantized_bits`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// A number: it multiplies the levels and does not move the codes.
    Factor(f32),
    /// `"auto"`: the scale that fits the largest magnitude.
    Auto,
    /// `"auto_po2"`: a power of two, refined five times by least squares.
    AutoPo2,
}

struct AlphaVisitor;

impl Visitor<'_> for AlphaVisitor {
    type Value = Alpha;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, \"auto\" or \"auto_po2\"")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Alpha, E> {
        match word {
            "auto" => Ok(Alpha::Auto),
            "auto_po2" => Ok(Alpha::AutoPo2),
            _ => Err(E::invalid_value(Unexpected::Str(word), &self)),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Alpha, E> {
        Ok(Alpha::Factor(value as f32))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Alpha, E> {
        Ok(Alpha::Factor(value as f32))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Alpha, E> {
        Ok(Alpha::Factor(value as f32))
    }
}

impl<'de> Deserialize<'de> for Alpha {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AlphaVisitor)
    }
}

impl Serialize for Alpha {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Factor(a) => serializer.serialize_f64(shortest(a)),
            Self::Auto => serializer.serialize_str("auto"),
            Self::AutoPo2 => serializer.serialize_str("auto_po2"),
        }
    }
}
