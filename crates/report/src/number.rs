//! Numbers as people read them. Nothing here computes: a value comes in, its text goes out.

use bitquake_record::Amount;

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// A whole number in groups of three: `66,170`.
pub(crate) fn grouped(number: u64) -> String {
    group_digits(&number.to_string())
}

/// A number of things: `1 trial`, `2,000 trials`.
pub(crate) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", grouped(number))
}

fn group_digits(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With so many decimals, and never `-0.0`.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        _ => text,
    }
}

/// A share in percent, without the sign: 0.912 is `91.2`. What is not nothing is not shown as nothing.
pub(crate) fn percent(share: f64, decimals: usize) -> String {
    let text = fixed(100.0 * share, decimals);
    let is_zero = text.chars().all(|c| c == '0' || c == '.');
    if is_zero && share > 0.0 { format!("<{}", fixed(0.1_f64.powi(decimals as i32), decimals)) } else { text }
}

/// The decimals, at least `least` and at most 5, that show one digit of the smallest of these shares in percent.
pub(crate) fn percent_decimals(shares: impl Iterator<Item = f64>, least: usize) -> usize {
    let needed = |share: f64| (-(100.0 * share).log10()).ceil();
    let finest = shares.filter(|share| share.is_finite() && *share > 0.0).map(needed).fold(0.0, f64::max);
    (finest as usize).clamp(least, 5)
}

/// A number of no particular size: whole ones as they are, others with four digits, the very large and the very small as
/// powers of ten.
pub(crate) fn plain(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !size.is_finite() {
        value.to_string()
    } else if !(1e-3..1e7).contains(&size) {
        scientific(&format!("{value:.2e}"))
    } else if value.fract() == 0.0 || size >= 1e3 {
        let sign = if value < 0.0 { "-" } else { "" };
        format!("{sign}{}", group_digits(&format!("{size:.0}")))
    } else {
        trimmed(&fixed(value, (3 - size.log10().floor() as i32).clamp(0, 6) as usize)).to_owned()
    }
}

/// Without zeros at the end of its decimals.
pub(crate) fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A rate or count for a page: `10⁻⁵`, `2.5×10⁻⁶`, `0.25`, `1,000`.
pub(crate) fn amount(amount: Amount) -> String {
    match amount {
        Amount::Count(count) => grouped(count),
        _ => scientific(&amount.to_string()),
    }
}

/// `2.5e-6` as `2.5×10⁻⁶`, `1e-5` as `10⁻⁵`; other texts as they are.
fn scientific(text: &str) -> String {
    match text.split_once('e') {
        Some(("1", exponent)) => format!("10{}", superscript(exponent)),
        Some((digits, exponent)) => format!("{digits}×10{}", superscript(exponent)),
        None => text.to_owned(),
    }
}

/// The same whole number in superscript characters.
pub(crate) fn superscript(number: &str) -> String {
    let raised = |c: char| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        '0' | '4'..='9' => char::from_u32(0x2070 + c as u32 - '0' as u32).unwrap_or(c),
        other => other,
    };
    number.chars().map(raised).collect()
}

/// Fills the decimals that a text lacks with `pad`, so that a right-aligned column lines up at its points. Texts that are
/// no plain decimals stay.
pub(crate) fn align_points(cells: &mut [String], pad: char) {
    let is_plain =
        |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !cell.contains('×');
    let tail = |cell: &str| cell.find('.').map_or(0, |point| cell.len() - point);
    let longest = cells.iter().filter(|cell| is_plain(cell)).map(|cell| tail(cell)).max().unwrap_or(0);
    for cell in cells.iter_mut().filter(|cell| is_plain(cell)) {
        cell.extend(std::iter::repeat_n(pad, longest - tail(cell)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_in_groups() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn shares_in_percent() {
        let cases = [
            (0.9123, 1, "91.2"),
            (1.0, 2, "100.00"),
            (0.0, 1, "0.0"),
            (-0.0001, 1, "0.0"),
            (-0.25, 1, "-25.0"),
            (0.0001, 1, "<0.1"),
            (0.000_001, 2, "<0.01"),
        ];
        for (share, decimals, text) in cases {
            assert_eq!(percent(share, decimals), text, "{share}");
        }
    }

    #[test]
    fn decimals_follow_the_smallest_share() {
        let cases: [(&[f64], usize); 6] = [
            (&[], 1),
            (&[0.0, f64::NAN], 1),
            (&[0.5, 0.0035], 1),
            (&[0.5, 0.0004], 2),
            (&[1e-5], 3),
            (&[1e-300], 5),
        ];
        for (shares, decimals) in cases {
            assert_eq!(percent_decimals(shares.iter().copied(), 1), decimals, "{shares:?}");
        }
    }

    #[test]
    fn numbers_of_any_size() {
        let cases = [
            (0.0, "0"),
            (12.0, "12"),
            (0.2513, "0.2513"),
            (0.5, "0.5"),
            (3.2406, "3.241"),
            (-324.06, "-324.1"),
            (3611.97, "3,612"),
            (-12345.6, "-12,346"),
            (1.234e36, "1.23×10³⁶"),
            (0.000_012, "1.20×10⁻⁵"),
            (f64::INFINITY, "inf"),
        ];
        for (value, text) in cases {
            assert_eq!(plain(value), text);
        }
    }

    #[test]
    fn amounts_as_powers_of_ten() {
        let cases = [
            (Amount::Rate(1e-5), "10⁻⁵"),
            (Amount::Rate(2.5e-16), "2.5×10⁻¹⁶"),
            (Amount::Rate(0.25), "0.25"),
            (Amount::Rate(0.0), "0"),
            (Amount::Count(1000), "1,000"),
        ];
        for (value, text) in cases {
            assert_eq!(amount(value), text);
        }
    }

    #[test]
    fn points_line_up() {
        let mut cells = ["3", "0.25", "12,346", "1.2×10⁻⁵", NONE, "-1.5"].map(String::from);
        align_points(&mut cells, '_');
        assert_eq!(cells, ["3___", "0.25", "12,346___", "1.2×10⁻⁵", NONE, "-1.5_"]);
    }
}
