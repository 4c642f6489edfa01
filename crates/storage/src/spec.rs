//! The table `[storage]`.

use std::fmt;

use bitquake_quant::QuantizerSpec;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::protect::{GuardRule, ProtectRule};

/// What the memory is to hold: `[storage]` of a campaign.
///
/// The fields of a quantizer stand in the table itself; `[[storage.override]]` has, beside `select`, fields that replace them
/// for some tensors. `[[storage.protect]]` and `[[storage.guard]]` add what corrects or detects faults.
///
/// ```
/// use bitquake_storage::StorageSpec;
/// let spec: StorageSpec = toml::from_str(r#"
///     family = "symmetric"
///     bits = 4
///     [[override]]
///     select = ["conv1.*"]
///     bits = 8
///     [[protect]]
///     kind = "secded"
///     data_bits = 64
/// "#)?;
/// assert_eq!(spec.overrides[0].select, ["conv1.*"]);
/// assert_eq!(spec.base.overridden_by(&spec.overrides[0].spec).bits, Some(8));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StorageSpec {
    /// The quantizer of every float weight; `native` by default.
    #[serde(flatten)]
    pub base: QuantizerSpec,
    /// Other fields for some tensors. Where several select a tensor, later ones go on top of earlier ones.
    #[serde(rename = "override", skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// Protections by check bits or copies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<ProtectRule>,
    /// Range guards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guard: Vec<GuardRule>,
}

/// One `[[storage.override]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Override {
    /// Globs over tensor names; `!glob` leaves out.
    pub select: Vec<String>,
    /// The fields that differ.
    #[serde(flatten)]
    pub spec: QuantizerSpec,
}

/// For people, on one line: `symmetric, 4 bits by 1 override; else symmetric, 8 bits; secded over 64 bits`.
impl fmt::Display for StorageSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (words, count) in self.overriding() {
            write!(f, "{words} by {count} override{}; ", if count == 1 { "" } else { "s" })?;
        }
        write!(f, "{}{}", if self.overrides.is_empty() { "" } else { "else " }, words_of(&self.base))?;
        for rule in &self.protect {
            write!(f, "; {}", rule.protection.kind)?;
            rule.protection.data_bits.map_or(Ok(()), |bits| write!(f, " over {bits} bits"))?;
        }
        if self.guard.is_empty() { Ok(()) } else { f.write_str("; range guards") }
    }
}

impl StorageSpec {
    /// What the overrides come to, for people, and how many come to it.
    fn overriding(&self) -> Vec<(String, usize)> {
        let mut all: Vec<(String, usize)> = Vec::new();
        // One without a family of its own stands on those before it.
        let mut below = self.base.clone();
        for over in &self.overrides {
            let alone = self.base.overridden_by(&over.spec);
            below = below.overridden_by(&over.spec);
            let words =
                words_of(if alone.is_native() && over.spec.family.is_none() { &below } else { &alone });
            match all.iter_mut().find(|(known, _)| *known == words) {
                Some((_, count)) => *count += 1,
                None => all.push((words, 1)),
            }
        }
        all
    }
}

/// The words of a quantizer, for people.
fn words_of(spec: &QuantizerSpec) -> String {
    let family = spec.family.unwrap_or_default();
    match (spec.is_native(), spec.scheme, spec.bits) {
        (true, ..) => "native words".into(),
        (false, None, Some(bits)) => format!("{family}, {bits} bits"),
        (false, ..) => family.to_string(),
    }
}

// By hand, because serde's `flatten` does not go together with refusing unknown keys.
impl<'de> Deserialize<'de> for StorageSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let overrides = take(&mut table, "override")?.unwrap_or_default();
        let protect = take(&mut table, "protect")?.unwrap_or_default();
        let guard = take(&mut table, "guard")?.unwrap_or_default();
        Ok(Self { base: rest(table)?, overrides, protect, guard })
    }
}

impl<'de> Deserialize<'de> for Override {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table = Map::deserialize(deserializer)?;
        let select = take(&mut table, "select")?.ok_or_else(|| D::Error::missing_field("select"))?;
        Ok(Self { select, spec: rest(table)? })
    }
}

pub(crate) fn take<T: serde::de::DeserializeOwned, E: serde::de::Error>(
    table: &mut Map<String, Value>,
    key: &str,
) -> Result<Option<T>, E> {
    let value = table.remove(key).map(serde_json::from_value).transpose();
    value.map_err(|error| E::custom(format!("{key}: {error}")))
}

pub(crate) fn rest<T: serde::de::DeserializeOwned, E: serde::de::Error>(
    table: Map<String, Value>,
) -> Result<T, E> {
    serde_json::from_value(Value::Object(table)).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use bitquake_quant::Family;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text =
            "family = \"symmetric\"\nbits = 8\nclip = 0.1\n\n[[override]]\nselect = [\"fc*\"]\nbits = 4\n";
        let spec: StorageSpec = toml::from_str(text).unwrap();
        assert_eq!(spec.base.family, Some(Family::Symmetric));
        assert_eq!(toml::to_string(&spec).unwrap(), text);
        assert_eq!(toml::from_str::<StorageSpec>("").unwrap(), StorageSpec::default());
    }

    #[test]
    fn one_line_for_people() {
        let line = |text: &str| toml::from_str::<StorageSpec>(text).unwrap().to_string();
        assert_eq!(line(""), "native words");
        let text = "family = \"symmetric\"\nbits = 8\n[[override]]\nselect = [\"a\"]\nbits = 4\n\
                    [[protect]]\nkind = \"secded\"\ndata_bits = 64\n[[guard]]";
        assert_eq!(
            line(text),
            "symmetric, 4 bits by 1 override; else symmetric, 8 bits; secded over 64 bits; range guards"
        );
        let stacked = "[[override]]\nselect = [\"*\"]\nfamily = \"bfa\"\nbits = 8\n[[override]]\nselect = [\"a\"]\nbits = 4\n";
        assert_eq!(line(stacked), "bfa, 8 bits by 1 override; bfa, 4 bits by 1 override; else native words");
        let over = |tensor: &str, bits: u32| {
            format!("[[override]]\nselect = [\"{tensor}\"]\nfamily = \"bfa\"\nbits = {bits}\n")
        };
        let text = [over("a", 8), over("b", 4), over("c", 8)].concat();
        assert_eq!(line(&text), "bfa, 8 bits by 2 overrides; bfa, 4 bits by 1 override; else native words");
    }

    #[test]
    fn unknown_keys_are_errors() {
        for (text, want) in [
            ("familly = \"native\"", "unknown field `familly`"),
            ("[[override]]\nselect = [\"a\"]\nbitz = 3", "override: unknown field `bitz`"),
            ("[[override]]\nbits = 3", "override: missing field `select`"),
            ("[[protect]]\nkind = \"secded\"\ndata = 3", "protect: unknown field `data`"),
            ("[[guard]]\nlow = 3", "guard: unknown field `low`"),
            ("family = \"best\"", "unknown variant `best`"),
        ] {
            let error = toml::from_str::<StorageSpec>(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
