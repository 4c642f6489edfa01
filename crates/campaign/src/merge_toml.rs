//! Layers of TOML: later files and `--set` override earlier ones key by key.

use toml::{Table, Value};

use crate::error::CampaignError;

/// Keys of `[fault]` that say how many faults there are: one of them takes the place of the others.
const AMOUNTS: [&str; 8] =
    ["rates", "counts", "fractions", "sites", "position_rates", "regions", "voltages", "parts"];

/// Puts `over` on top of `base`: tables are merged, anything else is replaced. An amount of faults replaces any other.
pub(crate) fn merge_campaign(base: &mut Table, over: Table) {
    let fault = over.get("fault").and_then(Value::as_table);
    let has_amount = fault.is_some_and(|fault| AMOUNTS.iter().any(|key| fault.contains_key(*key)));
    if let Some(Value::Table(below)) = base.get_mut("fault").filter(|_| has_amount) {
        AMOUNTS.iter().for_each(|key| drop(below.remove(*key)));
    }
    merge(base, over);
}

fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Reads `key=value` with a dotted key; a value that is not TOML is taken as a string.
pub(crate) fn assignment(text: &str) -> Result<Table, CampaignError> {
    let wrong =
        || CampaignError::config("--set", format!("`{text}` is not key=value, such as run.trials=10"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (key, value) = (key.trim(), value.trim());
    let is_key =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if !key.split('.').all(is_key) {
        return Err(wrong());
    }
    toml::from_str(&format!("{key} = {value}"))
        .or_else(|_| toml::from_str(&format!("{key} = {}", Value::String(value.to_owned()))))
        .map_err(|_| wrong())
}

/// Says what a TOML error means for a person: where, and for an unknown key the nearest known one.
pub(crate) fn explain(error: &toml::de::Error) -> String {
    let message = error.message();
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return error.to_string().trim_end().to_owned();
    };
    let mut quoted = rest.split('`');
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(unknown, a).total_cmp(&strsim::jaro_winkler(unknown, b)));
    match nearest {
        Some(nearest) => {
            format!(
                "unknown key `{unknown}`; did you mean `{nearest}`? Known keys here: {}",
                known.join(", ")
            )
        }
        None => format!("unknown key `{unknown}`; no keys are known here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_key_by_key() {
        let mut base: Table = toml::from_str("a = 1\n[t]\nx = 1\ny = [1, 2]").unwrap();
        merge(&mut base, toml::from_str("[t]\ny = [3]\nz = 4").unwrap());
        assert_eq!(base, toml::from_str("a = 1\n[t]\nx = 1\ny = [3]\nz = 4").unwrap());
    }

    #[test]
    fn an_amount_takes_the_place_of_another() {
        let mut base: Table = toml::from_str("[fault]\nrates = [0.1]\nbits = 'sign'").unwrap();
        merge_campaign(&mut base, toml::from_str("[fault]\ncounts = [1]").unwrap());
        assert_eq!(base, toml::from_str("[fault]\ncounts = [1]\nbits = 'sign'").unwrap());
        merge_campaign(&mut base, toml::from_str("[fault]\nbits = '3'").unwrap());
        assert_eq!(base, toml::from_str("[fault]\ncounts = [1]\nbits = '3'").unwrap());
    }

    #[test]
    fn assignments() {
        assert_eq!(assignment("run.trials=3").unwrap(), toml::from_str("[run]\ntrials = 3").unwrap());
        assert_eq!(
            assignment("fault.rates = [1e-3]").unwrap(),
            toml::from_str("[fault]\nrates = [1e-3]").unwrap()
        );
        assert_eq!(assignment("name=my run").unwrap(), toml::from_str("name = 'my run'").unwrap());
        assert_eq!(
            assignment("model.path=a/b.onnx").unwrap(),
            toml::from_str("[model]\npath = 'a/b.onnx'").unwrap()
        );
        for bad in ["", "x", "=3", "a..b=1", "a b=1", "[x]\ny=1"] {
            assert!(assignment(bad).is_err(), "{bad}");
        }
    }
}
