//! `bitquake inspect`.

use std::path::PathBuf;

use bitquake::bits::BitSelection;
use bitquake::inspect::{InspectedTensor, Inspection, inspect};

use crate::exit::Failure;
use crate::output::{Output, grouped, table};

/// List a file's tensors and the size of its fault space.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// ONNX or safetensors file
    file: PathBuf,
    /// Tensors to select: a name, a glob, or !glob to leave out; repeat for more
    #[arg(long, value_name = "GLOB", default_value = "*")]
    select: Vec<String>,
    /// Bits to select: all, 30, 23..30, sign, exponent, mantissa, msb
    #[arg(long, value_name = "RANGE", default_value = "all", value_parser = parse_bits)]
    bits: BitSelection,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn parse_bits(text: &str) -> Result<BitSelection, String> {
    text.parse().map_err(|error: bitquake::bits::BitSelectionError| error.to_string())
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let seen = inspect(&args.file, &args.select, args.bits)?;
    if args.json {
        return output.json(&seen);
    }
    for warning in &seen.warnings {
        output.warn(warning);
    }
    output.data(&as_text(&seen))
}

fn as_text(seen: &Inspection) -> String {
    let header = ["tensor", "format", "shape", "elements", "bits selected", "where"];
    let rows = table(&header, &[3, 4], seen.tensors.iter().map(row));
    let chosen = seen.tensors.iter().filter(|tensor| tensor.selected).count();
    format!(
        "{rows}\n\n{}: {chosen} of {} tensors selected, {} words, fault space {} bits",
        seen.kind,
        seen.tensors.len(),
        grouped(seen.words),
        grouped(seen.bits),
    )
}

fn row(tensor: &InspectedTensor) -> Vec<String> {
    let shape: Vec<String> = tensor.shape.iter().map(u64::to_string).collect();
    let bits = match (tensor.selected, tensor.role.as_str()) {
        (true, _) => grouped(tensor.bits),
        (false, "attribute") => "- (attribute)".into(),
        (false, _) => "-".into(),
    };
    vec![
        tensor.tensor.clone(),
        tensor.format.clone(),
        if shape.is_empty() { "scalar".into() } else { shape.join("x") },
        grouped(tensor.elements),
        bits,
        tensor.origin.clone(),
    ]
}
