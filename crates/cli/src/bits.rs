//! `bitquake bits`.

use anstyle::{AnsiColor, Style};
use bitquake::bits::{Field, Format, describe_flip, hex, pattern};

use crate::exit::Failure;
use crate::output::Output;

/// Show (and flip) the bits of numbers.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Numbers: 0.5, -3, 1e-7, nan, inf; or raw words: 0x3f000000, 0b0101
    #[arg(required = true, allow_negative_numbers = true)]
    values: Vec<String>,
    /// Number format
    #[arg(long, default_value = "f32", value_parser = parse_format)]
    dtype: Format,
    /// Bit to flip, 0 is the least significant; repeat for more
    #[arg(long, value_name = "BIT")]
    flip: Vec<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: bitquake::bits::UnknownFormat| error.to_string())
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let words = args.values.iter().map(|value| word(args.dtype, value)).collect::<Result<Vec<u64>, _>>()?;
    if args.json {
        let shown = words.iter().map(|&word| as_json(args, word)).collect::<Result<Vec<_>, _>>()?;
        return output.json(&shown);
    }
    let text = words.iter().map(|&word| as_text(args, word)).collect::<Result<Vec<_>, _>>()?;
    output.data(&text.join("\n"))
}

fn word(format: Format, value: &str) -> Result<u64, Failure> {
    format.parse_word(value).map_err(|error| Failure::usage(format!("`{value}`: {error}")))
}

/// JSON has no NaN and no infinities: they become strings.
fn number(value: f64) -> serde_json::Value {
    if value.is_finite() { value.into() } else { number_text(value).into() }
}

fn as_json(args: &Args, word: u64) -> Result<serde_json::Value, Failure> {
    let format = args.dtype;
    let mut shown = serde_json::json!({
        "dtype": format.name(),
        "value": number(format.decode(word)),
        "hex": hex(format, word),
        "pattern": pattern(format, word),
    });
    if !args.flip.is_empty() {
        let flip = describe_flip(format, word, &args.flip).map_err(Failure::usage)?;
        shown["flipped"] = serde_json::json!({
            "bits": args.flip,
            "value": number(flip.new),
            "hex": hex(format, flip.new_word),
            "pattern": pattern(format, flip.new_word),
            "became_nan": flip.became_nan(),
            "became_infinite": flip.became_infinite(),
        });
    }
    Ok(shown)
}

fn as_text(args: &Args, word: u64) -> Result<String, Failure> {
    let format = args.dtype;
    let mut text = line(format, word);
    if !args.flip.is_empty() {
        let flip = describe_flip(format, word, &args.flip).map_err(Failure::usage)?;
        let bits = args.flip.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        text.push_str(&format!("\n{}  flipped: {bits}", line(format, flip.new_word)));
        if let Some(ratio) = flip.ratio().filter(|ratio| ratio.is_finite()) {
            text.push_str(&format!("; new/old = {}", number_text(six_digits(ratio))));
        }
        if flip.became_nan() {
            text.push_str("; became NaN");
        }
        if flip.became_infinite() {
            text.push_str("; became infinite");
        }
    }
    Ok(text)
}

fn line(format: Format, word: u64) -> String {
    let value = number_text(format.decode(word));
    format!("{}  0x{}  {value}", coloured(format, word), hex(format, word))
}

fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// A value as its format would print it: `0.3`, not the double behind it.
fn number_text(value: f64) -> String {
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

/// The pattern with its fields in colours, where there are colours.
fn coloured(format: Format, word: u64) -> String {
    let fields = pattern(format, word);
    let mut bit = format.width();
    let mut text = String::new();
    for part in fields.split('.') {
        let style = style(format.field(bit - 1));
        bit -= part.len() as u32;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&format!("{style}{part}{style:#}"));
    }
    text
}

fn style(field: Option<Field>) -> Style {
    let colour = match field {
        Some(Field::Sign) => AnsiColor::Red,
        Some(Field::Exponent) => AnsiColor::Green,
        _ => AnsiColor::Cyan,
    };
    Style::new().fg_color(Some(colour.into()))
}
