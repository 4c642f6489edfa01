//! One word, and what flips make of it.

use anstyle::{AnsiColor, Style};
use bitquake::bits::{Field, FlippedWord, Format, describe_flip, hex, pattern};
use serde_json::{Value, json};

use super::Flip;
use crate::exit::Failure;
use crate::output::columns::{Cell, columns};
use crate::output::heat::{Damage, HeatStrip};
use crate::output::number::{json_number, number_text, six_digits};

/// What is to be shown of a word.
pub(super) struct Look {
    /// Bits to flip together.
    flip: Vec<u32>,
    /// Whether to show the flip of each single bit.
    table: bool,
}

impl Look {
    pub(super) fn of(flips: &[Flip], table: bool) -> Self {
        let bits = flips.iter().filter_map(|flip| match flip {
            Flip::Bit(bit) => Some(*bit),
            Flip::All => None,
        });
        Self { flip: bits.collect(), table: table || flips.contains(&Flip::All) }
    }

    pub(super) fn has_table(&self) -> bool {
        self.table
    }

    pub(super) fn as_json(&self, format: Format, word: u64) -> Result<Value, Failure> {
        let mut shown = json!({
            "dtype": format.name(),
            "value": json_number(format.decode(word)),
            "hex": hex(format, word),
            "pattern": pattern(format, word),
        });
        if let Some(integer) = format.integer(word) {
            // Codes have 64 bits at most: one of the two fits.
            shown["integer"] = i64::try_from(integer).map_or_else(|_| (integer as u64).into(), Value::from);
        }
        if !self.flip.is_empty() {
            let flip = describe_flip(format, word, &self.flip).map_err(Failure::usage)?;
            let mut flipped = json!({ "bits": self.flip });
            add(&mut flipped, flipped_json(format, &flip));
            shown["flipped"] = flipped;
        }
        if self.table {
            let flips = single_flips(format, word)?;
            let row = |(bit, flip): &(u32, FlippedWord)| {
                let mut row = json!({ "bit": bit, "field": format.field(*bit).map(Field::name) });
                add(&mut row, flipped_json(format, flip));
                row
            };
            shown["flips"] = flips.iter().map(row).collect();
        }
        Ok(shown)
    }

    pub(super) fn as_text(&self, format: Format, word: u64) -> Result<String, Failure> {
        let mut text = line(format, word);
        if self.table {
            let flips = single_flips(format, word)?;
            let damage: Vec<Damage> = flips.iter().map(|(_, flip)| damage(flip)).collect();
            let strip = HeatStrip::new(&damage);
            let cells = strip.under(&pattern(format, word));
            let gap = if format.width() > 32 { "\n" } else { "  " };
            let table = flip_table(format, &flips);
            text.push_str(&format!("\n{cells}{gap}change: {}\n\n{table}", strip.legend()));
        }
        if !self.flip.is_empty() {
            let flip = describe_flip(format, word, &self.flip).map_err(Failure::usage)?;
            let bits = self.flip.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            let gap = if self.table { "\n" } else { "" };
            let told = told(format, &flip);
            text.push_str(&format!("\n{gap}{}  flipped: {bits}{told}", line(format, flip.new_word)));
        }
        Ok(text)
    }
}

/// Each bit of a word flipped alone, bit 0 first.
fn single_flips(format: Format, word: u64) -> Result<Vec<(u32, FlippedWord)>, Failure> {
    let flip = |bit| describe_flip(format, word, &[bit]).map(|flip| (bit, flip)).map_err(Failure::usage);
    (0..format.width()).map(flip).collect()
}

fn add(object: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (object, more) {
        object.extend(more);
    }
}

fn flipped_json(format: Format, flip: &FlippedWord) -> Value {
    json!({
        "value": json_number(flip.new),
        "hex": hex(format, flip.new_word),
        "pattern": pattern(format, flip.new_word),
        "became_nan": flip.became_nan(),
        "became_infinite": flip.became_infinite(),
        "change": change(flip).map(json_number),
        "ratio": flip.ratio().map(json_number),
    })
}

/// `new - old`, where both are finite; never -0.
fn change(flip: &FlippedWord) -> Option<f64> {
    (flip.old.is_finite() && flip.new.is_finite()).then_some(flip.new - flip.old + 0.0)
}

fn damage(flip: &FlippedWord) -> Damage {
    match change(flip) {
        Some(change) => Damage::of_change(change),
        None if flip.new.is_nan() && flip.old.is_nan() => Damage::Change(0.0),
        None if flip.new.is_nan() => Damage::Nan,
        None => Damage::Infinite,
    }
}

/// What follows `flipped: 7`. Of floats the ratio tells most, of codes the difference.
fn told(format: Format, flip: &FlippedWord) -> String {
    let ratio = flip.ratio().filter(|ratio| ratio.is_finite());
    let change = change(flip).filter(|_| !format.is_float() || ratio.is_none());
    [
        change.map(|change| format!("; new-old = {}", number_text(change))),
        ratio.map(|ratio| format!("; new/old = {}", six_digits(ratio))),
        flip.became_nan().then(|| "; became NaN".to_owned()),
        flip.became_infinite().then(|| "; became infinite".to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn flip_table(format: Format, flips: &[(u32, FlippedWord)]) -> String {
    let row = |(bit, flip): &(u32, FlippedWord)| -> Vec<Cell> {
        let field = format.field(*bit);
        let style = style(field);
        let name = field.map_or("", Field::name);
        let change = change(flip).map_or_else(|| became(flip), number_text);
        vec![
            bit.to_string().into(),
            Cell::coloured(format!("{style}{name}{style:#}")),
            format!("0x{}", hex(format, flip.new_word)).into(),
            number_text(flip.new).into(),
            change.into(),
            flip.ratio().filter(|ratio| ratio.is_finite()).map_or_else(|| "-".into(), six_digits).into(),
        ]
    };
    let rows = flips.iter().rev().map(row).collect();
    columns(&["bit", "field", "word", "becomes", "new-old", "new/old"], &[0], rows)
}

/// In place of a change that is no number.
fn became(flip: &FlippedWord) -> String {
    if flip.became_nan() {
        "became NaN".into()
    } else if flip.became_infinite() {
        "became infinite".into()
    } else {
        "-".into()
    }
}

fn line(format: Format, word: u64) -> String {
    let value = number_text(format.decode(word));
    format!("{}  0x{}  {value}", coloured(format, word), hex(format, word))
}

/// The pattern with its fields in colours, where there are colours.
pub(super) fn coloured(format: Format, word: u64) -> String {
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

/// The fields of a format in their colours, with their bits: `sign 31, exponent 30..23, mantissa 22..0`.
pub(super) fn legend(format: Format) -> String {
    let fields = Field::ALL.iter().filter(|field| format.field_mask(**field) != 0);
    let named = fields.map(|&field| {
        let (style, mask) = (style(Some(field)), format.field_mask(field));
        let (high, low) = (63 - mask.leading_zeros(), mask.trailing_zeros());
        let bits = if high == low { high.to_string() } else { format!("{high}..{low}") };
        format!("{style}{field} {bits}{style:#}")
    });
    named.collect::<Vec<_>>().join(", ")
}

fn style(field: Option<Field>) -> Style {
    let colour = match field {
        Some(Field::Sign) => AnsiColor::Red,
        Some(Field::Exponent) => AnsiColor::Green,
        Some(Field::Magnitude) => AnsiColor::Blue,
        Some(Field::Mantissa) | None => AnsiColor::Cyan,
    };
    Style::new().fg_color(Some(colour.into()))
}
