//! The table of number formats.

use bitquake::bits::{Class, FORMATS, Field, Format};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::Output;
use crate::output::columns::{Cell, columns};
use crate::output::number::number_text;

/// One row of the table.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    /// Width of a word in bits.
    width: u32,
    /// Width of each field that the format has, most significant first.
    fields: serde_json::Map<String, serde_json::Value>,
    /// Least number, as text: 64-bit integers are no JSON numbers everywhere.
    low: String,
    /// Greatest number.
    high: String,
    /// Both, briefly.
    #[serde(skip)]
    range: String,
    /// Which words are no finite numbers.
    special: &'static str,
    about: &'static str,
}

pub(super) fn run(json: bool, output: &Output) -> Result<(), Failure> {
    let rows: Vec<Shown> = FORMATS.iter().map(|row| shown(row.format, row.name, row.about)).collect();
    if json {
        return output.json(&rows);
    }
    output.data(&as_text(&rows))?;
    output.note(
        "Also: i and u with any width up to 64 (i5, u12), fixed point (i8.5 has 5 bits after the point),\n\
         and the encodings i8-offset, i8-sign-magnitude, i8-gray, u4-gray.",
    );
    Ok(())
}

fn as_text(rows: &[Shown]) -> String {
    let cells = |row: &Shown| -> Vec<Cell> {
        let fields = row.fields.iter().map(|(field, width)| format!("{}{width}", initial(field)));
        vec![
            row.name.into(),
            row.width.to_string().into(),
            fields.collect::<Vec<_>>().join(" ").into(),
            row.range.clone().into(),
            // The range has a column of its own.
            row.about.split(", up to").next().unwrap_or_default().into(),
        ]
    };
    columns(&["name", "bits", "fields", "range", "what it is"], &[1], rows.iter().map(cells).collect())
}

/// `s` for sign, `e` for exponent, `m` for mantissa; the magnitude of a code is `v`, its value bits.
fn initial(field: &str) -> &str {
    if field == Field::Magnitude.name() { "v" } else { field.get(..1).unwrap_or(field) }
}

fn shown(format: Format, name: &'static str, about: &'static str) -> Shown {
    let width = |field: &Field| (field.name().to_owned(), format.field_mask(*field).count_ones().into());
    let fields = Field::ALL.iter().filter(|field| format.field_mask(**field) != 0).map(width);
    let ((low, high), range) = (ends(format), range(format));
    Shown {
        name,
        width: format.width(),
        fields: fields.collect(),
        low,
        high,
        range,
        special: special(format),
        about,
    }
}

/// Both ends in few characters: powers of two where the numbers are long.
fn range(format: Format) -> String {
    let (width, (low, high)) = (format.width(), ends(format));
    match format.class() {
        Class::Exponent => "2^-127 to 2^127".into(),
        Class::Float { .. } => format!("±{}", cut(&high)),
        Class::Code { .. } if width <= 16 => format!("{low} to {high}"),
        Class::Code { signed: true, .. } => format!("-2^{0} to 2^{0}-1", width - 1),
        Class::Code { signed: false, .. } => format!("0 to 2^{width}-1"),
    }
}

/// The least and the greatest finite number.
fn ends(format: Format) -> (String, String) {
    if let Some((low, high)) = format.integer_range() {
        return (low.to_string(), high.to_string());
    }
    let exponent = format.field_mask(Field::Exponent);
    let all = format.mask() & !format.field_mask(Field::Sign);
    // The greatest one lies just below the infinity or the NaN, or is the greatest word.
    let candidates = [all, all - 1, exponent.wrapping_sub(1) & all];
    let finite = candidates.iter().map(|&word| format.decode(word)).filter(|value| value.is_finite());
    let high = finite.fold(0.0, f64::max);
    let low = if format.is_float() { -high } else { format.decode(0) };
    (number_text(low), number_text(high))
}

/// A long number with fewer digits, cut and not rounded: a bound must not grow.
fn cut(number: &str) -> String {
    match number.split_once('e') {
        Some((digits, exponent)) if number.len() > 12 => {
            format!("{}e{exponent}", digits.get(..7).unwrap_or(digits))
        }
        _ => number.to_owned(),
    }
}

fn special(format: Format) -> &'static str {
    let all = format.mask() & !format.field_mask(Field::Sign);
    let has_infinity = format.is_float() && format.decode(format.field_mask(Field::Exponent)).is_infinite();
    let has_nan = format.is_nan(all) || format.is_nan(1 << format.msb());
    match (format.class(), has_infinity, has_nan) {
        (Class::Code { .. }, ..) => "",
        (_, true, _) => "inf, NaN",
        (_, false, true) => "NaN",
        (_, false, false) => "",
    }
}
