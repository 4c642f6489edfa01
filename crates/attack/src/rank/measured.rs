//! The damage that a campaign of single upsets measured, stratum by stratum.

use std::collections::BTreeMap;
use std::path::Path;

use bitquake_record::csv::cells;
use bitquake_tensors::read_text;

use crate::error::AttackError;
use crate::words::AttackedWords;

/// The columns of `vulnerability.csv` that are read.
const COLUMNS: [&str; 5] = ["part", "tensor", "bit", "trials", "sdc_rate"];
/// The rows that are read: one for each bit position of each tensor.
const PART: &str = "tensor_bit";

/// The share of images that a flip spoils, of each stratum that has trials: by the tensor's place and the bit.
pub(crate) type Measured = BTreeMap<(usize, u32), f64>;

/// Reads the `vulnerability.csv` of a campaign.
///
/// # Errors
/// [`AttackError::Measured`]: a file that cannot be read or is no such file, words of other widths, and nothing of what is ranked.
pub(crate) fn read(path: &Path, words: &AttackedWords) -> Result<Measured, AttackError> {
    let wrong = |reason: String| AttackError::Measured { path: path.to_owned(), reason };
    let text = read_text(path, u64::MAX).map_err(|error| wrong(format!("cannot read: {error}")))?;
    parse(&text, words).map_err(wrong)
}

fn parse(text: &str, words: &AttackedWords) -> Result<Measured, String> {
    let mut rows = text.lines();
    let header = cells(rows.next().unwrap_or_default());
    let place = |column: &str| {
        header.iter().position(|cell| cell == column).ok_or_else(|| {
            format!(
                "it has no column `{column}`; the vulnerability.csv of a campaign of single upsets is needed"
            )
        })
    };
    let mut places = [0; COLUMNS.len()];
    for (slot, column) in places.iter_mut().zip(COLUMNS) {
        *slot = place(column)?;
    }
    let mut measured = Measured::new();
    for (number, row) in (2..).zip(rows) {
        let cells = cells(row);
        let [part, tensor, bit, trials, rate] =
            places.map(|place| cells.get(place).map_or("", String::as_str));
        if part != PART || trials == "0" || rate.is_empty() {
            continue;
        }
        let (bit, rate) = numbers(bit, rate).ok_or_else(|| {
            format!("line {number}: bit `{bit}` and sdc_rate `{rate}` are not a bit and a share from 0 to 1")
        })?;
        let Some(place) = words.tensors().iter().position(|known| known.name() == tensor) else { continue };
        let format = words.tensors()[place].format();
        if bit >= format.width() {
            return Err(format!(
                "bit {bit} of tensor `{tensor}` was measured, whose words here are {format}: it is of another storage"
            ));
        }
        measured.insert((place, bit), rate);
    }
    if measured.is_empty() {
        return Err(format!("no row `{PART}` is of a ranked tensor and has trials"));
    }
    Ok(measured)
}

fn numbers(bit: &str, rate: &str) -> Option<(u32, f64)> {
    let rate = rate.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))?;
    Some((bit.parse().ok()?, rate))
}
