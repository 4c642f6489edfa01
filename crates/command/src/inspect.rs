//! `bitquake inspect`.

use std::path::PathBuf;

use bitquake::bits::BitSelection;
use bitquake::inspect::{InspectedTensor, Inspection, StoredPart, inspect, inspect_stored};
use bitquake::quantize::parse_storage;
use bitquake::storage::StorageSpec;

use crate::exit::Failure;
use crate::output::{Output, counted, grouped, table};

/// List a file's tensors and the size of its fault space.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tensor file: ONNX, safetensors, .pt, .npz, .h5, .keras, GGUF ...
    file: PathBuf,
    /// Tensors to select: a name, a glob, or !glob to leave out; repeat for more
    #[arg(long, value_name = "GLOB", default_value = "*")]
    select: Vec<String>,
    /// Bits to select: all, 30, 23..30, sign, exponent, mantissa, msb
    #[arg(long, value_name = "RANGE", default_value = "all", value_parser = parse_bits)]
    bits: BitSelection,
    /// Show how a memory holds the tensors: a campaign's [storage] in one line, '{ family = "symmetric", override = [{ select = ["fc*"], bits = 4 }] }'
    #[arg(long, value_name = "TABLE", value_parser = parse_memory)]
    storage: Option<StorageSpec>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn parse_bits(text: &str) -> Result<BitSelection, String> {
    text.parse().map_err(|error: bitquake::bits::BitSelectionError| error.to_string())
}

fn parse_memory(text: &str) -> Result<StorageSpec, String> {
    parse_storage(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let seen = match &args.storage {
        None => inspect(&args.file, &args.select, args.bits)?,
        Some(storage) => inspect_stored(&args.file, storage, &args.select, args.bits)?,
    };
    if args.json {
        return output.json(&seen);
    }
    for warning in &seen.warnings {
        output.warn(warning);
    }
    output.data(&as_text(&seen))
}

fn as_text(seen: &Inspection) -> String {
    let rows = match seen.stored_bits {
        None => table(
            &["tensor", "format", "shape", "elements", "bits selected", "where"],
            &[3, 4],
            seen.tensors.iter().map(row),
        ),
        Some(_) => table(
            &["tensor", "in the file", "stored as", "shape", "elements", "bits stored", "bits selected"],
            &[4, 5, 6],
            seen.tensors.iter().flat_map(stored_rows),
        ),
    };
    let chosen = seen.tensors.iter().filter(|tensor| tensor.selected).count();
    let selected = format!(
        "{}: {chosen} of {} selected, {}, fault space {}",
        seen.kind,
        counted(seen.tensors.len() as u64, "tensor"),
        counted(seen.words, "word"),
        counted(seen.bits, "bit"),
    );
    let stored = seen.stored_bits.map_or_else(String::new, |bits| {
        let percent = 100.0 * bits as f64 / seen.file_bits.max(1) as f64;
        format!("\nmemory: {} bits, {percent:.1} % of the file's {}", grouped(bits), grouped(seen.file_bits))
    });
    format!("{rows}\n\n{selected}{stored}")
}

fn row(tensor: &InspectedTensor) -> Vec<String> {
    vec![
        tensor.tensor.clone(),
        tensor.format.clone(),
        shape(&tensor.shape),
        grouped(tensor.elements),
        selected_bits(tensor),
        tensor.origin.clone(),
    ]
}

/// Of what globs do not reach.
const BY_NAME: &str = "- (by name)";

/// The tensor, then each part that is stored beside its words.
fn stored_rows(tensor: &InspectedTensor) -> Vec<Vec<String>> {
    let parts = tensor.stored.iter().flat_map(|stored| &stored.parts);
    let (stored_as, bits, by_name) = match &tensor.stored {
        Some(stored) => {
            let words = stored.bits - stored.parts.iter().map(|part| part.stored_bits).sum::<u64>();
            let stored_as = if stored.family == "native" {
                "as it is".into()
            } else {
                format!("{} {}", stored.family, stored.format)
            };
            (stored_as, grouped(words), stored.by_name_only && tensor.role == "statistic")
        }
        None => ("as it is".into(), "-".into(), false),
    };
    let selected = if by_name && !tensor.selected { BY_NAME.into() } else { selected_bits(tensor) };
    let own = vec![
        tensor.tensor.clone(),
        tensor.format.clone(),
        stored_as,
        shape(&tensor.shape),
        grouped(tensor.elements),
        bits,
        selected,
    ];
    std::iter::once(own).chain(parts.map(part_row)).collect()
}

fn part_row(part: &StoredPart) -> Vec<String> {
    let selected = match (part.selected, part.by_name_only) {
        (true, _) => grouped(part.bits),
        (false, true) => BY_NAME.into(),
        (false, false) => "-".into(),
    };
    let (name, elements, bits) = (part.tensor.clone(), grouped(part.elements), grouped(part.stored_bits));
    vec![name, String::new(), part.format.clone(), String::new(), elements, bits, selected]
}

fn shape(shape: &[u64]) -> String {
    let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
    if dims.is_empty() { "scalar".into() } else { dims.join("x") }
}

fn selected_bits(tensor: &InspectedTensor) -> String {
    match (tensor.selected, tensor.has_format, tensor.role.as_str()) {
        (true, ..) => grouped(tensor.bits),
        (false, false, _) => "- (no number format)".into(),
        (false, true, kind @ ("attribute" | "alias")) => format!("- ({kind})"),
        (false, true, _) => "-".into(),
    }
}
