//! `bitquake diff`.

use std::path::PathBuf;

use bitquake::diff::{Difference, diff};
use bitquake::fault::{Explanation, FlipCounts};

use crate::exit::Failure;
use crate::output::{Output, counted, grouped, table};

/// Compare two files bit by bit.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tensor file, of any kind that is read
    a: PathBuf,
    /// The file to compare with it
    b: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let difference = diff(&args.a, &args.b)?;
    if args.json { output.json(&difference) } else { output.data(&as_text(&difference)) }
}

fn as_text(difference: &Difference) -> String {
    let (explanation, told) = (&difference.flips, &difference.flips.total);
    let mut text = if difference.identical {
        "the same tensors, bit for bit".to_owned()
    } else {
        format!("different: {} in {}", counted(told.flips, "bit"), counted(told.words, "word"))
    };
    if told.flips > 0 {
        text.push_str(&format!("\n\n{}\n\n{}", explanation_table(explanation), by_bit_text(told)));
    }
    for tensor in &difference.incomparable {
        text.push_str(&format!("\nnot compared: {}: {}", tensor.tensor, tensor.reason));
    }
    text
}

/// One row for each tensor that is hit.
pub(crate) fn explanation_table(told: &Explanation) -> String {
    let header = ["tensor", "format", "flips", "0 to 1", "1 to 0", "to NaN", "to Inf", "largest change"];
    let rows = told.tensors.iter().map(|tensor| {
        let counts = &tensor.counts;
        vec![
            tensor.tensor.clone(),
            tensor.format.to_owned(),
            grouped(counts.flips),
            grouped(counts.to_one),
            grouped(counts.to_zero),
            grouped(counts.became_nan),
            grouped(counts.became_inf),
            format!("{:.3e}", counts.largest_change),
        ]
    });
    table(&header, &[2, 3, 4, 5, 6, 7], rows)
}

/// `flips by bit: 0: 3, 7: 1, 30: 2`.
pub(crate) fn by_bit_text(told: &FlipCounts) -> String {
    let hit = told.by_bit.iter().enumerate().filter(|(_, flips)| **flips > 0);
    let list: Vec<String> = hit.map(|(bit, flips)| format!("{bit}: {}", grouped(*flips))).collect();
    format!("flips by bit (0 is the least significant): {}", list.join(", "))
}
