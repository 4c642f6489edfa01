//! What `[activations]` says.

use bitquake_quant::{Alpha, Family, Granularity, Quantizer, QuantizerSpec, Range, Rounding, SpecError};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// `[activations]`: which values are stored as codes while the network runs, and how. The fields of the quantizer stand in the
/// table itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ActivationsConfig {
    /// Globs over the names of activations and of the input; `!glob` leaves out. Default: the values that faults hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<Vec<String>>,
    /// The quantizer; `native`, float words, by default.
    #[serde(flatten)]
    pub quantizer: QuantizerSpec,
}

/// Codes of more bits would have levels that float32 cannot tell apart.
const MOST_BITS: u32 = 16;
const FAMILIES: &str = "symmetric, asymmetric, affine, pact, wcat, lsq, normal, bfa and qkeras";

impl ActivationsConfig {
    /// Whether values stay the floats that they are.
    pub(crate) fn is_native(&self) -> bool {
        self.quantizer.is_native()
    }

    /// Whether it is all defaults: no section.
    pub(crate) fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// The quantizer; none for float words.
    pub(crate) fn quantizer(&self) -> Result<Option<Quantizer>, String> {
        let quantizer =
            Quantizer::unless_native(&self.quantizer).map_err(|error| format!("[activations]: {error}"))?;
        let Some(quantizer) = quantizer else {
            return match self.select {
                None => Ok(None),
                Some(_) => Err(format!("[activations]: {}", SpecError::NativeFields)),
            };
        };
        suits(quantizer.spec()).map_err(|reason| format!("[activations] {reason}"))?;
        Ok(Some(quantizer))
    }

    /// Every default in its place.
    pub(crate) fn fill_defaults(&mut self) {
        if let Ok(Some(quantizer)) = self.quantizer() {
            self.quantizer = quantizer.spec().clone();
        }
    }
}

/// Whether a quantizer, with its defaults, is one for values that are computed anew for every image: its levels must follow from
/// fields and from the smallest and the largest golden value, and each must be quantized to the code that it comes from.
fn suits(spec: &QuantizerSpec) -> Result<(), String> {
    let family = spec.family.unwrap_or_default();
    match family {
        Family::Block | Family::Binary | Family::Dorefa => {
            return Err(format!("family `{family}` is for weights; activations have {FAMILIES}"));
        }
        Family::Lsq if !matches!(spec.range, Some(Range::Step(_))) => {
            return Err("range of `lsq` must be given for activations: { step = S }".into());
        }
        Family::Qkeras if !matches!(spec.alpha, None | Some(Alpha::Factor(1.0))) => {
            return Err("alpha of `qkeras` is 1 for activations".into());
        }
        Family::Qkeras if spec.granularity != Some(Granularity::Tensor) => {
            return Err("granularity of `qkeras` is \"tensor\": its fields alone give the levels".into());
        }
        _ => {}
    }
    if let Some(bits) = spec.bits.filter(|&bits| bits > MOST_BITS) {
        return Err(format!("bits is {bits}: codes of activations have 1..{MOST_BITS}"));
    }
    if spec.compat == Some(true) {
        return Err("compat is for weights".into());
    }
    if spec.rounding == Some(Rounding::Stochastic) {
        return Err("rounding is stochastic: a trial without faults would differ from the golden run".into());
    }
    if let Some(Granularity::Group(size)) = spec.granularity {
        return Err(format!(
            "granularity is {{ group = {size} }}: activations have \"tensor\" and {{ channel = AXIS }}, axis 0 being the \
             first of one image"
        ));
    }
    match spec.range {
        Some(range @ (Range::Sawb | Range::Mse | Range::NoisyMse(_))) => Err(format!(
            "range is {range}: activations have \"adaptive\", from the smallest to the largest value of the golden run, or a \
             range that is given"
        )),
        _ => Ok(()),
    }
}

impl<'de> Deserialize<'de> for ActivationsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let select = table.remove("select").map(serde_json::from_value).transpose();
        let select = select.map_err(|error| D::Error::custom(format!("select: {error}")))?;
        let quantizer = serde_json::from_value(Value::Object(table)).map_err(D::Error::custom)?;
        Ok(Self { select, quantizer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> ActivationsConfig {
        toml::from_str(text).expect("a section")
    }

    #[test]
    fn what_is_written_reads_back() {
        let text = "select = [\"conv*\"]\nfamily = \"affine\"\nbits = 8\n";
        let section = read(text);
        assert_eq!(toml::to_string(&section).expect("text"), text);
        assert!(read("").is_absent() && read("family = 'native'").is_native());
        let unknown = toml::from_str::<ActivationsConfig>("bitz = 3").expect_err("no such field");
        assert!(unknown.to_string().contains("unknown field `bitz`"), "{unknown}");
    }

    #[test]
    fn what_is_no_quantizer_of_activations_is_told() {
        for (text, want) in [
            ("bits = 8", "[activations]: native words take no other fields"),
            ("select = ['*']", "[activations]: native words take no other fields"),
            ("family = 'symmetric'\nbits = 33", "[activations]: quantizer field `bits` is 33"),
            ("family = 'symmetric'\nbits = 17", "[activations] bits is 17: codes of activations have 1..16"),
            ("family = 'binary'", "[activations] family `binary` is for weights"),
            ("family = 'dorefa'", "[activations] family `dorefa` is for weights"),
            ("family = 'block'\nscheme = 'q8_0'", "[activations] family `block` is for weights"),
            ("family = 'lsq'", "[activations] range of `lsq` must be given"),
            ("family = 'qkeras'\nalpha = 'auto'", "[activations] alpha of `qkeras` is 1"),
            ("family = 'symmetric'\nrange = 'mse'", "[activations] range is \"mse\""),
            ("family = 'symmetric'\nrounding = 'stochastic'", "[activations] rounding is stochastic"),
            ("family = 'symmetric'\ncompat = true", "[activations] compat"),
            (
                "family = 'symmetric'\ngranularity = { group = 4 }",
                "[activations] granularity is { group = 4 }",
            ),
        ] {
            let error = read(text).quantizer().expect_err(text);
            assert!(error.starts_with(want), "{text}: {error}");
        }
        for text in ["", "family = 'pact'", "family = 'lsq'\nrange = { step = 0.1 }", "family = 'qkeras'"] {
            assert!(read(text).quantizer().is_ok(), "{text}");
        }
    }
}
