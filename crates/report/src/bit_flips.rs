//! Flips per bit position.

use std::collections::BTreeMap;
use std::ops::Range;

use bitquake_bits::{Field, Format};
use serde::Serialize;

use crate::figure::Figure;
use crate::number::{counted, fixed, grouped, trimmed};
use crate::plot::{Anchor, Frame, Mark, Svg, legend, nice_step, text_width};
use crate::view::View;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 330.0;
const FRAME: Frame = Frame { left: 78.0, right: 944.0, top: 46.0, bottom: 246.0 };
/// Bit positions in a row of the table.
const BITS_A_ROW: usize = 8;
/// Size of the numbers above bars, relative to that of the axes.
const VALUE_SIZE: f64 = 0.85;
/// No format is wider; flips of bits beyond can only come from a damaged record.
const WIDEST: u32 = 64;

/// The plot and its table.
#[derive(Debug, Serialize)]
pub(crate) struct BitFlips {
    pub(crate) figure: Figure,
    /// Rows of [`BITS_A_ROW`] positions, the most significant first.
    pub(crate) rows: Vec<Vec<BitCell>>,
    /// Whether positions belong to fields.
    pub(crate) has_fields: bool,
    /// Name of the format that all tensors have, if they have one.
    pub(crate) format: Option<String>,
}

/// One bit position.
#[derive(Debug, Serialize)]
pub(crate) struct BitCell {
    pub(crate) bit: u32,
    pub(crate) field: &'static str,
    pub(crate) flips: String,
}

pub(crate) fn bit_flips(view: &View<'_>) -> BitFlips {
    let format = common_format(view);
    let flips = &view.overview.by_bit;
    let width = width(view, format, flips);
    let field = |bit| format.and_then(|format| format.field(bit)).filter(|_| is_float(format));
    let bars: Vec<Bar> = (0..width)
        .rev()
        .map(|bit| Bar { bit, flips: flips.get(&bit).copied().unwrap_or(0), field: field(bit) })
        .collect();
    let cell = |bar: &Bar| BitCell {
        bit: bar.bit,
        field: bar.field.map_or("", Field::name),
        flips: grouped(bar.flips),
    };
    let rows = bars.chunks(BITS_A_ROW).map(|bars| bars.iter().map(cell).collect()).collect();
    let has_fields = bars.iter().any(|bar| bar.field.is_some());
    let figure = Figure { svg: draw(&bars), note: note(flips, view) };
    BitFlips { figure, rows, has_fields, format: format.map(Format::name) }
}

struct Bar {
    bit: u32,
    flips: u64,
    field: Option<Field>,
}

/// The one format that all tensors of the fault space share.
fn common_format(view: &View<'_>) -> Option<Format> {
    let mut formats = view.golden.storage.tensors.iter().map(|tensor| tensor.format.as_str());
    let first = formats.next()?;
    if formats.all(|format| format == first) { Format::from_name(first).ok() } else { None }
}

fn is_float(format: Option<Format>) -> bool {
    format.is_some_and(Format::is_float)
}

/// The number of bit positions drawn: those of the widest format, and of any flip.
fn width(view: &View<'_>, format: Option<Format>, flips: &BTreeMap<u32, u64>) -> u32 {
    let tensors = &view.golden.storage.tensors;
    let formats = tensors.iter().filter_map(|tensor| Format::from_name(&tensor.format).ok());
    let widest = formats.map(Format::width).max().or(format.map(Format::width)).unwrap_or(8);
    let highest = flips.keys().copied().filter(|bit| *bit < WIDEST).max().map_or(0, |bit| bit + 1);
    widest.max(highest)
}

fn note(flips: &BTreeMap<u32, u64>, view: &View<'_>) -> String {
    let beyond = flips.range(WIDEST..).fold(0_u64, |sum, (_, flips)| sum.saturating_add(*flips));
    let mut notes = Vec::new();
    let tensors = &view.golden.storage.tensors;
    if tensors.windows(2).any(|pair| pair[0].format != pair[1].format) {
        notes.push("The tensors have several formats, so a position has no common meaning.".to_owned());
    }
    if beyond > 0 {
        notes.push(format!("Not drawn: {} beyond bit {}.", counted(beyond, "flip"), WIDEST - 1));
    }
    notes.join(" ")
}

fn draw(bars: &[Bar]) -> String {
    let mut svg = Svg::new("bits", WIDTH, HEIGHT, "Flips per bit position", &description(bars));
    let most = bars.iter().map(|bar| bar.flips).max().unwrap_or(0).max(1);
    let step = nice_step(most as f64, 5.0).max(1.0);
    let top = (most as f64 / step).ceil() * step;
    let y = |flips: f64| FRAME.bottom - flips / top * (FRAME.bottom - FRAME.top);
    for tick in (0..=(top / step).round() as u32).map(|k| f64::from(k) * step) {
        svg.line("grid", (FRAME.left, y(tick)), (FRAME.right, y(tick)));
        svg.text("tick", (FRAME.left - 8.0, y(tick) + 4.0), Anchor::End, &short(tick as u64));
    }
    svg.upward_text("axis-title", (14.0, 0.5 * (FRAME.top + FRAME.bottom)), "flips in all trials");
    let slot = (FRAME.right - FRAME.left) / bars.len().max(1) as f64;
    let left = |place: usize| FRAME.left + place as f64 * slot;
    let every = (22.0 / slot).ceil() as u32;
    let numbers_fit = bars.iter().all(|bar| VALUE_SIZE * text_width(&short(bar.flips)) < slot);
    for (place, bar) in bars.iter().enumerate() {
        let (x, height) = (left(place), y(bar.flips as f64));
        let hint = format!("bit {}: {}", bar.bit, counted(bar.flips, "flip"));
        let size = (0.76 * slot, FRAME.bottom - height);
        svg.rect(class(bar.field), (x + 0.12 * slot, height), size, Some(&hint));
        if numbers_fit && bar.flips > 0 {
            svg.text("value", (x + 0.5 * slot, height - 4.0), Anchor::Middle, &short(bar.flips));
        }
        if bar.bit % every == 0 {
            svg.text("tick", (x + 0.5 * slot, FRAME.bottom + 17.0), Anchor::Middle, &bar.bit.to_string());
        }
    }
    svg.line("axis", (FRAME.left, FRAME.bottom), (FRAME.right, FRAME.bottom));
    draw_fields(&mut svg, bars, left);
    let middle = 0.5 * (FRAME.left + FRAME.right);
    svg.text(
        "axis-title",
        (middle, HEIGHT - 10.0),
        Anchor::Middle,
        "bit position (0 is the least significant)",
    );
    svg.finish()
}

/// Names the fields by brackets below the bars, and in the legend by colour.
fn draw_fields(svg: &mut Svg, bars: &[Bar], left: impl Fn(usize) -> f64) {
    let fields = field_runs(bars);
    let y = FRAME.bottom + 28.0;
    for (field, run) in &fields {
        let (from, to) = (left(run.start) + 2.0, left(run.end) - 2.0);
        svg.polyline("bracket", &[(from, y), (from, y + 5.0), (to, y + 5.0), (to, y)]);
        svg.text("field", (0.5 * (from + to), y + 19.0), Anchor::Middle, field.name());
    }
    let entries: Vec<_> =
        fields.iter().map(|(field, _)| (Mark::Bar, class(Some(*field)), field.name())).collect();
    legend(svg, FRAME.left, 18.0, &entries);
}

/// Neighbouring bars of one field.
fn field_runs(bars: &[Bar]) -> Vec<(Field, Range<usize>)> {
    let mut runs: Vec<(Field, Range<usize>)> = Vec::new();
    for (place, bar) in bars.iter().enumerate() {
        match (bar.field, runs.last_mut()) {
            (Some(field), Some((last, run))) if *last == field => run.end = place + 1,
            (Some(field), _) => runs.push((field, place..place + 1)),
            (None, _) => {}
        }
    }
    runs
}

fn class(field: Option<Field>) -> &'static str {
    match field {
        Some(Field::Sign) => "bar-sign",
        Some(Field::Exponent) => "bar-exponent",
        Some(Field::Mantissa) => "bar-mantissa",
        Some(Field::Magnitude) | None => "bar-plain",
    }
}

/// A number of flips in few characters: `950`, `6.35k`, `12.3k`, `4.1M`.
fn short(flips: u64) -> String {
    let units = [(1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")];
    let Some((unit, letter)) = units.into_iter().find(|(unit, _)| flips >= *unit) else {
        return flips.to_string();
    };
    let value = flips as f64 / unit as f64;
    let text = fixed(value, if value < 9.995 { 2 } else { usize::from(value < 99.95) });
    format!("{}{letter}", trimmed(&text))
}

fn description(bars: &[Bar]) -> String {
    let told = bars.iter().map(|bar| format!("{}: {}", bar.bit, grouped(bar.flips)));
    format!("Flips over all trials, from the most significant bit: {}.", told.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1_000, "1k"),
            (6_346, "6.35k"),
            (9_999, "10k"),
            (12_345, "12.3k"),
            (100_000, "100k"),
            (4_100_000, "4.1M"),
            (u64::MAX, "18446744T"),
        ];
        for (flips, text) in cases {
            assert_eq!(short(flips), text);
        }
    }

    #[test]
    fn fields_are_runs_of_bars() {
        let bars: Vec<Bar> =
            (0..16).rev().map(|bit| Bar { bit, flips: 1, field: Format::F16.field(bit) }).collect();
        let runs = field_runs(&bars);
        assert_eq!(runs, [(Field::Sign, 0..1), (Field::Exponent, 1..6), (Field::Mantissa, 6..16)]);
    }
}
