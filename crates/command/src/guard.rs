//! `bitquake guard`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitquake::guard::{GuardSummary, GuardedValue, LeftOut, guard, read_guard};

use crate::exit::Failure;
use crate::folder::check_output;
use crate::output::{Output, grouped, table};

/// Write a model whose activations are kept within the range that they have without faults.
///
/// The ranges are those on the images of the file. The guards are nodes of the model that is written: a plain ONNX file, with the
/// same tensors, which campaigns and other tools run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Guard file; later ones override keys of earlier ones
    #[arg(required = true, value_name = "GUARD.toml")]
    files: Vec<PathBuf>,
    /// The guarded model
    #[arg(long, short, value_name = "GUARDED.onnx")]
    output: PathBuf,
    /// Override a key, such as guard.action=zero; repeat for more
    #[arg(long, value_name = "key=value")]
    set: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let file = read_guard(&args.files, &args.set)?;
    let data = [Some(&file.data.images), file.data.labels.as_ref()];
    let needed = args.files.iter().chain(data.into_iter().flatten()).map(PathBuf::as_path);
    check_output(&args.output, &needed.collect::<Vec<_>>())?;
    let summary = guard(&file, &args.output)?;
    if args.json {
        return output.json(&summary);
    }
    output.data(&values(&summary))?;
    left_out(&summary.left_out).iter().for_each(|note| output.note(note));
    output.note(format!(
        "ranges on {} images, on which the guarded model gives the same outputs, bit for bit: {}",
        summary.images,
        summary.output.display()
    ));
    Ok(())
}

fn values(summary: &GuardSummary) -> String {
    let row = |value: &GuardedValue| {
        let mut row = vec![value.value.clone(), value.op.clone(), grouped(value.elements)];
        row.extend([value.low, value.high].map(|bound| format!("{bound}")));
        row
    };
    table(&["value", "operator", "elements", "low", "high"], &[2, 3, 4], summary.values.iter().map(row))
}

/// A line for each reason.
fn left_out(values: &[LeftOut]) -> Vec<String> {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for one in values {
        reasons.entry(&one.reason).or_default().push(&one.value);
    }
    reasons.iter().map(|(reason, values)| format!("not guarded: {}: {reason}", values.join(", "))).collect()
}
