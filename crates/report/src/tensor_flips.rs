//! Flips per tensor, beside what its share of the fault space lets one expect.

use std::collections::BTreeMap;

use bitquake_record::SpaceTensorRecord;
use serde::Serialize;

use crate::number::{NONE, fixed, grouped, percent};
use crate::view::View;

/// Tensors shown one by one.
const SHOWN: usize = 30;
/// Width of the drawing area of a bar, in the units of its picture.
const BAR: f64 = 200.0;

/// The table with its bars.
#[derive(Debug, Serialize)]
pub(crate) struct TensorFlips {
    pub(crate) rows: Vec<TensorRow>,
}

/// One tensor, or all that are not shown.
#[derive(Debug, Serialize)]
pub(crate) struct TensorRow {
    pub(crate) tensor: String,
    /// Stands for several.
    pub(crate) is_rest: bool,
    pub(crate) format: String,
    pub(crate) bits: String,
    /// Share of the fault space, in percent.
    pub(crate) share: String,
    pub(crate) flips: String,
    /// Flips over expected flips.
    pub(crate) ratio: String,
    /// Length of the bar of flips, and where the mark of the expected number stands: 0 to [`BAR`].
    pub(crate) bar: String,
    pub(crate) expected: Option<String>,
}

#[derive(Default)]
struct Entry<'a> {
    name: &'a str,
    tensor: Option<&'a SpaceTensorRecord>,
    bits: u64,
    flips: u64,
}

pub(crate) fn tensor_flips(view: &View<'_>) -> TensorFlips {
    let entries = entries(view);
    let all = Totals {
        flips: entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.flips)),
        bits: entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.bits)),
    };
    // One left over can as well be shown.
    let shown = if entries.len() <= SHOWN + 1 { entries.len() } else { SHOWN };
    let (first, rest) = entries.split_at(shown);
    let rest = (!rest.is_empty()).then(|| Entry {
        bits: rest.iter().fold(0, |sum, entry| sum.saturating_add(entry.bits)),
        flips: rest.iter().fold(0, |sum, entry| sum.saturating_add(entry.flips)),
        ..Entry::default()
    });
    let drawn = || first.iter().chain(&rest);
    let longest = drawn().map(|entry| (entry.flips as f64).max(all.expected(entry))).fold(0.0, f64::max);
    let mut rows: Vec<TensorRow> = first.iter().map(|entry| all.row(entry, longest)).collect();
    rows.extend(rest.map(|rest| TensorRow {
        tensor: format!("{} others", grouped((entries.len() - shown) as u64)),
        is_rest: true,
        ..all.row(&rest, longest)
    }));
    TensorFlips { rows }
}

/// All tensors of the fault space and of the records, those with most flips first.
fn entries<'a>(view: &'a View<'_>) -> Vec<Entry<'a>> {
    let mut by_name: BTreeMap<&str, Entry<'_>> = BTreeMap::new();
    for tensor in &view.golden.storage.tensors {
        let entry = Entry { name: &tensor.tensor, tensor: Some(tensor), bits: tensor.bits, flips: 0 };
        by_name.insert(&tensor.tensor, entry);
    }
    for (name, flips) in &view.overview.by_tensor {
        let entry = by_name.entry(name).or_insert_with(|| Entry { name, ..Entry::default() });
        entry.flips = entry.flips.saturating_add(*flips);
    }
    let mut entries: Vec<Entry<'_>> = by_name.into_values().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.flips));
    entries
}

struct Totals {
    flips: u64,
    bits: u64,
}

impl Totals {
    /// The flips of a tensor, if every bit of the fault space were hit equally often.
    fn expected(&self, entry: &Entry<'_>) -> f64 {
        self.flips as f64 * self.share(entry)
    }

    fn share(&self, entry: &Entry<'_>) -> f64 {
        entry.bits as f64 / self.bits.max(1) as f64
    }

    fn row(&self, entry: &Entry<'_>, longest: f64) -> TensorRow {
        let expected = self.expected(entry);
        let ratio = entry.flips as f64 / expected;
        let length = |flips: f64| fixed(if longest > 0.0 { BAR * flips / longest } else { 0.0 }, 1);
        TensorRow {
            tensor: entry.name.to_owned(),
            is_rest: false,
            format: entry.tensor.map_or(String::new(), |tensor| tensor.format.clone()),
            bits: grouped(entry.bits),
            share: format!("{} %", percent(self.share(entry), 2)),
            flips: grouped(entry.flips),
            ratio: if ratio.is_finite() { fixed(ratio, 2) } else { NONE.into() },
            bar: length(entry.flips as f64),
            expected: (expected > 0.0).then(|| length(expected)),
        }
    }
}
