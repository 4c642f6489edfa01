//! Numbers for people.

/// A value as its format would print it: `0.3`, not the double behind it.
pub(crate) fn number_text(value: f64) -> String {
    let magnitude = value.abs();
    let single = value as f32;
    let plain = value == 0.0 || (1e-4..1e7).contains(&magnitude);
    match (f64::from(single) == value, plain) {
        (true, true) => single.to_string(),
        (true, false) => format!("{single:e}"),
        (false, true) => value.to_string(),
        (false, false) if value.is_finite() => format!("{value:e}"),
        _ => value.to_string(),
    }
}

/// A measured number, in six digits.
pub(crate) fn six_digits(value: f64) -> String {
    rounded(value, 5)
}

/// A measured number, in four digits.
pub(crate) fn four_digits(value: f64) -> String {
    rounded(value, 3)
}

fn rounded(value: f64, decimals: usize) -> String {
    let short = format!("{value:.decimals$e}").parse().unwrap_or(value);
    let plain = short == 0.0 || !f64::is_finite(short) || (1e-3..1e7).contains(&short.abs());
    if plain { (short + 0.0).to_string() } else { format!("{short:e}") }
}

/// JSON has no NaN and no infinities: they become strings.
pub(crate) fn json_number(value: f64) -> serde_json::Value {
    if value.is_finite() { value.into() } else { number_text(value).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_short_as_they_may_be() {
        for (value, wanted) in [
            (f64::from(0.3_f32), "0.3"),
            (0.0, "0"),
            (-0.0, "-0"),
            (1e-5, "1e-5"),
            (f64::from(1.701_411_8e38_f32), "1.7014118e38"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(number_text(value), wanted);
        }
        for (value, wanted) in [
            (0.123_456_7, "0.1235"),
            (-0.0, "0"),
            (1e-4, "1e-4"),
            (123_456.0, "123500"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(four_digits(value), wanted);
        }
    }
}
