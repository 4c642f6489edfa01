//! Numbers, their codes, and what the codes decode to.

use bitquake::bits::{hex, pattern};
use bitquake::quant::Grid;
use bitquake::quantize::{CodeRow, ErrorSummary, QuantizedValues, code_table};
use serde::Serialize;

use crate::exit::Failure;
use crate::output::columns::{Cell, columns};
use crate::output::counted;
use crate::output::heat::HeatStrip;
use crate::output::number::{four_digits, number_text};

/// The widest codes that are listed without being asked for.
const SMALL: u32 = 6;

/// The most units that the table of codes has columns for.
const MOST_UNITS: u64 = 6;

/// Quantized numbers, ready to be shown.
pub(super) struct Shown<'a> {
    values: &'a [f32],
    quantized: &'a QuantizedValues,
    /// The table of codes, if it is to be shown.
    codes: Option<Vec<CodeRow>>,
}

/// One number, or one for each unit where there are several.
#[derive(Serialize)]
#[serde(untagged)]
enum ByUnit<T> {
    One(T),
    Each(Vec<T>),
}

impl<T> ByUnit<T> {
    fn of(mut all: Vec<T>) -> Self {
        if all.len() == 1 { Self::One(all.remove(0)) } else { Self::Each(all) }
    }
}

/// The keys of `--json`. The first four, in this order, are what scripts rely on.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    codes: &'a [i64],
    decoded: &'a [f32],
    scale: ByUnit<f32>,
    range: ByUnit<[f32; 2]>,
    values: &'a [f32],
    words: Vec<String>,
    format: String,
    unit: Vec<u64>,
    error: ErrorSummary,
    damage_by_bit: &'a [f64],
    parts: Vec<Part>,
    stored_bits: u64,
    spec: &'a bitquake::quant::QuantizerSpec,
    #[serde(skip_serializing_if = "Option::is_none")]
    levels: Option<Vec<JsonLevel>>,
}

/// A stored scale, zero point or range end of every unit.
#[derive(Serialize)]
struct Part {
    name: &'static str,
    format: String,
    words: Vec<String>,
    values: Vec<f64>,
}

#[derive(Serialize)]
struct JsonLevel {
    word: String,
    code: i64,
    level: ByUnit<f32>,
    produced: bool,
}

impl<'a> Shown<'a> {
    pub(super) fn new(
        values: &'a [f32],
        quantized: &'a QuantizedValues,
        levels: bool,
    ) -> Result<Self, Failure> {
        let grid = &quantized.grid;
        let is_small = grid.quantizer().bits() <= SMALL;
        let codes = (levels || is_small).then(|| code_table(grid, grid.units())).transpose();
        Ok(Self { values, quantized, codes: codes.map_err(Failure::usage)? })
    }

    fn grid(&self) -> &'a Grid {
        &self.quantized.grid
    }

    fn scales(&self) -> Result<Vec<f32>, Failure> {
        (0..self.grid().units()).map(|unit| self.grid().scale(unit).map_err(Failure::usage)).collect()
    }

    fn ranges(&self) -> Result<Vec<[f32; 2]>, Failure> {
        let range = |unit| self.grid().range(unit).map(|(low, high)| [low, high]).map_err(Failure::usage);
        (0..self.grid().units()).map(range).collect()
    }

    fn units(&self) -> Result<Vec<u64>, Failure> {
        (0..self.grid().elements()).map(|index| self.grid().unit_of(index).map_err(Failure::usage)).collect()
    }

    pub(super) fn as_json(&self) -> Result<Json<'a>, Failure> {
        let (grid, quantized) = (self.grid(), self.quantized);
        let format = grid.format();
        let hex_of = |word: &u64| format!("0x{}", hex(format, *word));
        let part = |part: bitquake::quant::Part| Part {
            name: part.kind.name(),
            format: part.format.name(),
            words: part.words.iter().map(|&word| format!("0x{}", hex(part.format, word))).collect(),
            values: part.words.iter().map(|&word| part.format.decode(word)).collect(),
        };
        let level = |row: &CodeRow| JsonLevel {
            word: hex_of(&row.word),
            code: row.code,
            level: ByUnit::of(row.levels.clone()),
            produced: row.produced,
        };
        Ok(Json {
            codes: &quantized.codes,
            decoded: &quantized.decoded,
            scale: ByUnit::of(self.scales()?),
            range: ByUnit::of(self.ranges()?),
            values: self.values,
            words: quantized.words.iter().map(hex_of).collect(),
            format: format.name(),
            unit: self.units()?,
            error: quantized.error,
            damage_by_bit: &quantized.damage_by_bit,
            parts: grid.parts().into_iter().map(part).collect(),
            stored_bits: grid.stored_bits(),
            spec: grid.quantizer().spec(),
            levels: self.codes.as_ref().map(|rows| rows.iter().map(level).collect()),
        })
    }

    pub(super) fn as_text(&self) -> Result<String, Failure> {
        let codes = self.codes.as_ref().map(|rows| self.code_table(rows));
        let parts = [Some(self.value_table()?), codes, Some(self.damage()), Some(self.summary()?)];
        Ok(parts.into_iter().flatten().collect::<Vec<_>>().join("\n\n"))
    }

    fn value_table(&self) -> Result<String, Failure> {
        let (quantized, format) = (self.quantized, self.grid().format());
        let (scales, units) = (self.scales()?, self.units()?);
        let several = scales.len() > 1;
        let mut header = vec!["value", "code", "word", "decoded", "error", "error/scale"];
        if several {
            header.push("unit");
        }
        let rows = self.values.iter().enumerate().map(|(at, &value)| {
            let decoded = quantized.decoded[at];
            let (error, scale) =
                (f64::from(decoded) - f64::from(value), f64::from(scales[units[at] as usize]).abs());
            let mut cells: Vec<Cell> = vec![
                number_text(value.into()).into(),
                quantized.codes[at].to_string().into(),
                pattern(format, quantized.words[at]).into(),
                number_text(decoded.into()).into(),
                four_digits(error).into(),
                four_digits(if scale > 0.0 { error / scale } else { 0.0 }).into(),
            ];
            if several {
                cells.push(units[at].to_string().into());
            }
            cells
        });
        Ok(columns(&header, &[0, 1, 3, 4, 5, 6], rows.collect()))
    }

    fn code_table(&self, rows: &[CodeRow]) -> String {
        let (format, units) = (self.grid().format(), self.grid().units());
        let shown = units.min(MOST_UNITS);
        let names: Vec<String> = match units {
            1 => vec!["level".into()],
            _ => (0..shown).map(|unit| format!("level, unit {unit}")).collect(),
        };
        let header: Vec<&str> =
            ["word", "code"].into_iter().chain(names.iter().map(String::as_str)).chain([""]).collect();
        let right: Vec<usize> = (1..=1 + names.len()).collect();
        let row = |row: &CodeRow| -> Vec<Cell> {
            let levels =
                row.levels.iter().take(shown as usize).map(|&level| number_text(level.into()).into());
            let note = if row.produced { "" } else { "by a flip only" };
            [pattern(format, row.word).into(), row.code.to_string().into()]
                .into_iter()
                .chain(levels)
                .chain([note.into()])
                .collect()
        };
        let table = columns(&header, &right, rows.iter().map(row).collect());
        if shown < units { format!("{table}\nand the levels of {} more units", units - shown) } else { table }
    }

    fn damage(&self) -> String {
        let strip = HeatStrip::new(&super::damage(&self.quantized.damage_by_bit));
        format!("damage by bit  {}  mean change: {}", strip.cells(), strip.legend())
    }

    fn summary(&self) -> Result<String, Failure> {
        let (grid, error) = (self.grid(), &self.quantized.error);
        let lines = [
            format!("{}; {}", description(grid), self.scale_text()?),
            stored_text(grid),
            format!(
                "error: mean {}, rms {}, largest {} (element {})",
                four_digits(error.mean),
                four_digits(error.rms),
                four_digits(error.max),
                error.max_at,
            ),
            format!(
                "error in scales: mean {}, rms {}, largest {}",
                four_digits(error.mean_lsb),
                four_digits(error.rms_lsb),
                four_digits(error.max_lsb),
            ),
        ];
        Ok(lines.join("\n"))
    }

    fn scale_text(&self) -> Result<String, Failure> {
        let (scales, ranges) = (self.scales()?, self.ranges()?);
        let number = |value: f32| number_text(f64::from(value) + 0.0); // no -0
        Ok(match (scales.as_slice(), ranges.as_slice()) {
            ([scale], [[low, high]]) => {
                format!("scale {}, range {}..{}", number(*scale), number(*low), number(*high))
            }
            _ => format!("{} units with scales of {}", scales.len(), span(&scales)),
        })
    }
}

/// `68 bits stored: 36 of codes, 32 of scale`.
fn stored_text(grid: &Grid) -> String {
    let codes = grid.elements() * u64::from(grid.quantizer().bits());
    let parts = grid.part_kinds().iter().map(|&kind| {
        format!(", {} of {}", grid.units() * u64::from(grid.part_format(kind).width()), kind.name())
    });
    format!("{} stored: {codes} of codes{}", counted(grid.stored_bits(), "bit"), parts.collect::<String>())
}

/// `symmetric, 8 bits as i8`.
pub(super) fn description(grid: &Grid) -> String {
    let (quantizer, format) = (grid.quantizer(), grid.format());
    let family = quantizer.spec().family.unwrap_or_default();
    let bits = quantizer.bits();
    format!("{family}, {bits} bit{} as {format}", if bits == 1 { "" } else { "s" })
}

/// `0.01 to 0.02`.
pub(super) fn span(numbers: &[f32]) -> String {
    let ends =
        numbers.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
    let (low, high) = (four_digits(ends.0.into()), four_digits(ends.1.into()));
    if low == high { low } else { format!("{low} to {high}") }
}
