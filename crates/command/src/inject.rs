//! `bitquake inject`.

use std::path::{Path, PathBuf};

use bitquake::bits::BitSelection;
use bitquake::campaign::FaultConfig;
use bitquake::config::read_storage;
use bitquake::fault::{FaultModel, Hits, SiteRange};
use bitquake::inject::{Injected, Source, inject, inject_stored, write_pattern};
use bitquake::quantize::parse_storage;
use bitquake::sample::{Rate, StreamKey};
use bitquake::storage::StorageSpec;
use serde::Serialize;

use crate::diff::{by_bit_text, explanation_table};
use crate::exit::Failure;
use crate::folder::check_output;
use crate::inspect::parse_bits;
use crate::output::{Output, counted};

/// Write a file with flipped bits, every other byte as it was.
///
/// The same seed and trial give the same flips; applying a saved pattern again undoes it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tensor file: ONNX, safetensors, .pt, .npz, .h5, .keras, GGUF ...
    file: PathBuf,
    /// File to write
    #[arg(long, short, value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    amount: Amount,
    /// Tensors to select: a name, a glob, or !glob to leave out; repeat for more
    #[arg(long, value_name = "GLOB", default_value = "*")]
    select: Vec<String>,
    /// Bits to select: all, 30, 23..30, sign, exponent, mantissa, msb
    #[arg(long, value_name = "RANGE", default_value = "all", value_parser = parse_bits)]
    bits: BitSelection,
    /// Root of the random choices
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Trial of that seed
    #[arg(long, default_value_t = 0)]
    trial: u64,
    /// Flip bits of what a memory holds: a [storage] in one line, '{ family = "symmetric" }', or a file that has one, such as the
    /// storage.toml of a training; OUT gets the floats that the faulty codes stand for
    #[arg(long, value_name = "TABLE|FILE")]
    storage: Option<String>,
    /// Save the flips, for --pattern
    #[arg(long, value_name = "F")]
    pattern_out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct Amount {
    /// Flip each selected bit with this probability
    #[arg(long, value_name = "P", value_parser = parse_rate)]
    rate: Option<Rate>,
    /// Flip exactly this many of the selected bits
    #[arg(long, value_name = "K")]
    count: Option<u64>,
    /// Flip this bit, or these (TENSOR@lbi:A..B); repeat for more
    #[arg(long, value_name = "TENSOR:INDEX:BIT")]
    site: Vec<SiteRange>,
    /// Draw from another fault model, with the keys of a campaign's [fault] and one amount: '{ model = "burst", length = 3, counts = [2] }'
    #[arg(long, value_name = "TABLE", value_parser = parse_fault)]
    fault: Option<FaultModel>,
    /// Apply a saved pattern
    #[arg(long, value_name = "F", conflicts_with_all = ["select", "bits", "trial"])]
    pattern: Option<PathBuf>,
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Rate::new(number).map_err(|error| error.to_string())
}

fn parse_fault(text: &str) -> Result<FaultModel, String> {
    FaultConfig::from_inline(text)?.only_model()
}

#[derive(Serialize)]
struct Told<'a> {
    dormant: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    space_bits: Option<u64>,
    #[serde(flatten)]
    explanation: &'a bitquake::fault::Explanation,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    check_outputs(args)?;
    let injected = match &args.storage {
        None => inject(&args.file, &source(args), &args.output)?,
        Some(storage) => inject_stored(&args.file, &spec(storage)?, args.seed, &source(args), &args.output)?,
    };
    if let Some(path) = &args.pattern_out {
        write_pattern(path, &injected.pattern)?;
    }
    if args.json {
        let (dormant, space_bits) = (injected.dormant, injected.space_bits);
        return output.json(&Told { dormant, space_bits, explanation: &injected.explanation });
    }
    output.data(&as_text(args, &injected))?;
    output.note(format!("wrote {}", args.output.display()));
    Ok(())
}

/// The file itself may be the output: its flips are made in place.
fn check_outputs(args: &Args) -> Result<(), Failure> {
    let read: Vec<&Path> = args.amount.pattern.iter().map(PathBuf::as_path).collect();
    check_output(&args.output, &read)?;
    let Some(pattern) = &args.pattern_out else { return Ok(()) };
    check_output(pattern, &[read, vec![&args.file, &args.output]].concat())
}

/// A table in one line, or a file that has it.
fn spec(storage: &str) -> Result<StorageSpec, Failure> {
    if storage.trim_start().starts_with('{') {
        return parse_storage(storage).map_err(Failure::usage);
    }
    Ok(read_storage(storage.as_ref())?)
}

fn source(args: &Args) -> Source {
    let amount = &args.amount;
    let model = match (&amount.pattern, &amount.fault, amount.rate, amount.count) {
        (Some(path), ..) => return Source::Pattern(path.clone()),
        (None, Some(model), ..) => model.clone(),
        (None, None, Some(rate), _) => FaultModel::BitFlip(Hits::Rate(rate)),
        (None, None, None, Some(count)) => FaultModel::BitFlip(Hits::Count(count)),
        (None, None, None, None) => FaultModel::BitFlip(Hits::Sites(amount.site.clone())),
    };
    let key = StreamKey { seed: args.seed, point: 0, trial: args.trial };
    Source::Draw { model, select: args.select.clone(), bits: args.bits, key }
}

fn as_text(args: &Args, injected: &Injected) -> String {
    let told = &injected.explanation.total;
    let mut text = format!("{} flipped in {}", counted(told.flips, "bit"), counted(told.words, "word"));
    if let Some(bits) = injected.space_bits {
        text.push_str(&format!(", of {} selected", counted(bits, "bit")));
        if let Some(rate) = args.amount.rate {
            text.push_str(&format!(" ({:.1} expected)", rate.fraction() * bits as f64));
        }
    }
    if injected.dormant > 0 {
        text.push_str(&format!("; {} changed nothing", counted(injected.dormant, "dormant fault")));
    }
    if told.flips > 0 {
        text.push_str(&format!("\n\n{}\n\n{}", explanation_table(&injected.explanation), by_bit_text(told)));
    }
    text
}
