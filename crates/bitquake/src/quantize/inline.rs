//! Quantizers and storages as inline tables of a command line.

use bitquake_config::explain_message;
use bitquake_quant::{Quantizer, QuantizerSpec};
use bitquake_storage::StorageSpec;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A text that makes no quantizer, or no storage: what is wrong with it, for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InlineError {
    /// What is wrong, with the nearest known name where a name is unknown.
    pub message: String,
}

/// Reads the fields of a quantizer, such as `{ family = "symmetric", bits = 8 }`; the braces may be left out.
///
/// ```
/// use bitquake::quantize::parse_quantizer;
///
/// let quantizer = parse_quantizer("{ family = 'bfa', bits = 4 }")?;
/// assert_eq!(quantizer.bits(), 4);
/// let wrong = parse_quantizer("family = 'bfa', bit = 4").unwrap_err().to_string();
/// assert!(wrong.starts_with("unknown key `bit`; did you mean `bits`?"), "{wrong}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`InlineError`] for what is no table, an unknown key or word, no family, and fields that make no quantizer.
pub fn parse_quantizer(text: &str) -> Result<Quantizer, InlineError> {
    let spec: QuantizerSpec = table(text)?;
    if spec.family.is_none() {
        let message = "there is no `family`: give one, such as family = \"symmetric\"".to_owned();
        return Err(InlineError { message });
    }
    Quantizer::from_spec(&spec).map_err(|error| InlineError { message: error.to_string() })
}

/// Reads a campaign's `[storage]` as an inline table, overrides included:
/// `{ family = "symmetric", override = [{ select = ["fc*"], bits = 4 }] }`; the braces may be left out.
///
/// # Errors
/// [`InlineError`] for what is no table and for unknown keys or words. What tensors make of the fields is told by
/// [`Memory::new`](bitquake_storage::Memory::new).
pub fn parse_storage(text: &str) -> Result<StorageSpec, InlineError> {
    table(text)
}

fn table<T: DeserializeOwned>(text: &str) -> Result<T, InlineError> {
    #[derive(Deserialize)]
    struct Line<T> {
        table: T,
    }
    let text = text.trim();
    let braced = if text.starts_with('{') { text.to_owned() } else { format!("{{ {text} }}") };
    let line: Line<T> = toml::from_str(&format!("table = {braced}"))
        .map_err(|error| InlineError { message: explain_message(error.message()).replace('\n', " ") })?;
    Ok(line.table)
}

#[cfg(test)]
mod tests {
    use bitquake_quant::Family;

    use super::*;

    #[test]
    fn tables_with_and_without_braces() {
        for text in
            ["{ family = 'wcat', bits = 4 }", "family = \"wcat\", bits = 4", "  {family='wcat',bits=4} "]
        {
            let quantizer = parse_quantizer(text).unwrap();
            assert_eq!((quantizer.spec().family, quantizer.bits()), (Some(Family::Wcat), 4), "{text}");
        }
        let storage =
            parse_storage("{ family = 'bfa', override = [{ select = ['fc*'], bits = 4 }] }").unwrap();
        assert_eq!(storage.overrides[0].spec.bits, Some(4));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, wanted) in [
            ("{ familly = 'bfa' }", "unknown key `familly`; did you mean `family`?"),
            ("{ family = 'symetric' }", "unknown value `symetric`; did you mean `symmetric`?"),
            (
                "{ family = 'symmetric', rounding = 'floor' }",
                "unknown value `floor`. Known here: nearest-even",
            ),
            ("{ family = 'wcat', range = { fixd = 1 } }", "unknown key `fixd`; did you mean `fixed`?"),
            ("{ family = 'bfa', bits = 33 }", "quantizer field `bits` is 33: bfa allows 2..32"),
            ("{ family = 'bfa', clip = 1 }", "quantizer field `clip` has no meaning for family `bfa`"),
            ("{ bits = 8 }", "there is no `family`"),
            ("{ family = 'native' }", "there is nothing to quantize"),
            ("{ family = ", ""),
            ("", "there is no `family`"),
            ("{ family = 'bfa' } x", ""),
        ] {
            let error = parse_quantizer(text).unwrap_err().to_string();
            assert!(error.contains(wanted) && !error.is_empty() && !error.contains('\n'), "{text}: {error}");
        }
        let error = parse_storage("override = [{ select = ['a'], bitz = 4 }]").unwrap_err().to_string();
        assert!(error.contains("override: unknown key `bitz`; did you mean `bits`?"), "{error}");
    }
}
