//! What errors of reading mean for a person.

/// The Jaro-Winkler likeness from which on a name is worth proposing in place of another.
const LIKE: f64 = 0.7;

/// Says what a TOML error means: where it is, what was wanted there, and for an unknown name the nearest known one.
#[must_use]
pub fn explain(error: &toml::de::Error) -> String {
    let (told, message) = (error.to_string(), explain_message(error.message()));
    // Around the message stand the line and a mark under the place, or the keys that lead there.
    let keys = told.trim_end().rsplit_once("\nin `").and_then(|(_, keys)| keys.strip_suffix('`'));
    match keys {
        Some(keys) => format!("{keys}: {message}"),
        None => told.trim_end().replacen(error.message().trim_end(), &message, 1),
    }
}

/// The same of a message alone, without where it is.
#[must_use]
pub fn explain_message(message: &str) -> String {
    let message = message.trim_end();
    unknown_name(message).or_else(|| wrong_type(message)).unwrap_or_else(|| message.to_owned())
}

fn unknown_name(message: &str) -> Option<String> {
    let (what, (before, rest)) = [("key", "unknown field `"), ("value", "unknown variant `")]
        .into_iter()
        .find_map(|(what, start)| Some((what, message.split_once(start)?)))?;
    let mut quoted = rest.split('`');
    let unknown = quoted.next()?;
    let known: Vec<&str> = quoted.skip(1).step_by(2).collect();
    if known.is_empty() {
        return Some(format!("{before}unknown {what} `{unknown}`; none is known here"));
    }
    let likeness = |name: &str| strsim::jaro_winkler(unknown, name);
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let advice = nearest
        .filter(|name| likeness(name) > LIKE)
        .map_or_else(|| ".".to_owned(), |name| format!("; did you mean `{name}`?"));
    Some(format!("{before}unknown {what} `{unknown}`{advice} Known here: {}", known.join(", ")))
}

/// Names of what was wanted that say what a person is to write.
fn wrong_type(message: &str) -> Option<String> {
    let (before, wanted) = message.rsplit_once(", expected ")?;
    let wanted = match wanted {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "path string" => "a path".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => format!("a list of {}", other.strip_prefix("a tuple of size ")?),
    };
    Some(format!("{before}, expected {wanted}"))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use toml::Table;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read, and never looked at")]
    struct Keys {
        below: Option<Below>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "read, and never looked at")]
    struct Below {
        number: Option<u64>,
        small: Option<u8>,
        share: Option<f64>,
        list: Option<Vec<f64>>,
        pair: Option<(u64, f64)>,
        is: Option<bool>,
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    enum Word {
        Yes,
        NotYet,
    }

    #[test]
    fn errors_of_tables_name_the_keys() {
        for (text, wanted) in [
            ("below = 3", "below: invalid type: integer `3`, expected a table"),
            (
                "below.number = -1",
                "below.number: invalid value: integer `-1`, expected a whole number from 0",
            ),
            (
                "below.small = 256",
                "below.small: invalid value: integer `256`, expected a whole number from 0 to 255",
            ),
            ("below.share = 'x'", "below.share: invalid type: string \"x\", expected a number"),
            ("below.list = 1.5", "below.list: invalid type: floating point `1.5`, expected a list"),
            ("below.pair = [1]", "below.pair: invalid length 1, expected a list of 2"),
            ("below.is = 1", "below.is: invalid type: integer `1`, expected true or false"),
            (
                "below.lst = []",
                "below: unknown key `lst`; did you mean `list`? Known here: number, small, share, list, pair, is, word",
            ),
            (
                "below.word = 'not-yt'",
                "below.word: unknown value `not-yt`; did you mean `not-yet`? Known here: yes, not-yet",
            ),
            ("below.word = 'so'", "below.word: unknown value `so`. Known here: yes, not-yet"),
            ("blow = 1", "unknown key `blow`; did you mean `below`? Known here: below"),
        ] {
            let table: Table = toml::from_str(text).unwrap();
            let error: toml::de::Error = table.try_into::<Keys>().unwrap_err();
            assert_eq!(explain(&error), wanted, "{text}");
        }
    }

    #[test]
    fn errors_of_text_show_the_line() {
        let told = explain(&toml::from_str::<Keys>("[below]\nnumber = -1\n").unwrap_err());
        assert!(told.contains("line 2, column 10") && told.contains("number = -1"), "{told}");
        assert!(told.ends_with("integer `-1`, expected a whole number from 0"), "{told}");
        let told = explain(&toml::from_str::<Keys>("below = ").unwrap_err());
        assert!(told.contains("line 1"), "{told}");
    }
}
