//! `bitquake quantize`.

mod file;
mod values;

use std::path::PathBuf;

use bitquake::quant::Quantizer;
use bitquake::quantize::{parse_quantizer, quantize_file, quantize_values};
use bitquake::sample::StreamKey;

use crate::exit::Failure;
use crate::output::Output;
use crate::output::heat::Damage;

/// Quantize numbers or the tensors of a file: codes, decoded values, errors, and what flipped bits cost.
///
/// Nothing is written: a campaign's `[storage]` quantizes with the same fields.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Tensor file: ONNX, safetensors, .pt, .npz, .h5, .keras, GGUF ...
    #[arg(required_unless_present = "values")]
    file: Option<PathBuf>,
    /// Numbers to quantize: -1,0.5,1e-3
    #[arg(long, value_name = "X,Y,...", value_delimiter = ',', allow_hyphen_values = true, conflicts_with = "file", value_parser = parse_value)]
    values: Vec<f32>,
    /// Shape of the numbers, for granularity = { channel = AXIS }: 2x3; a row by default
    #[arg(long, value_name = "AxB", value_parser = parse_shape, conflicts_with = "file")]
    shape: Option<Shape>,
    /// The quantizer, with the keys of a campaign's [storage]: '{ family = "symmetric", bits = 8 }'
    #[arg(long, value_name = "TABLE", value_parser = parse_spec)]
    spec: Quantizer,
    /// Tensors to quantize: a name, a glob, or !glob to leave out; repeat for more; all float weights by default
    #[arg(long, value_name = "GLOB", conflicts_with = "values")]
    select: Vec<String>,
    /// List every code, also of quantizers of more than 6 bits (up to 16)
    #[arg(long, conflicts_with = "file")]
    levels: bool,
    /// Root of the random choices of stochastic rounding
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A shape of numbers.
#[derive(Clone, Debug)]
struct Shape(Vec<u64>);

fn parse_value(text: &str) -> Result<f32, String> {
    text.trim().parse().map_err(|_| "not a number".into())
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    let dims = text
        .split(['x', ','])
        .map(|dim| dim.trim().parse().map_err(|_| "not a shape such as 2x3".to_owned()));
    dims.collect::<Result<_, _>>().map(Shape)
}

fn parse_spec(text: &str) -> Result<Quantizer, String> {
    parse_quantizer(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let key = StreamKey { seed: args.seed, point: 0, trial: 0 };
    if let Some(path) = &args.file {
        let quantized = quantize_file(path, &args.spec, &args.select, key)?;
        return if args.json { output.json(&quantized) } else { output.data(&file::as_text(&quantized)) };
    }
    let shape = args.shape.as_ref().map_or_else(|| vec![args.values.len() as u64], |shape| shape.0.clone());
    let quantized = quantize_values(&args.spec, &args.values, &shape, key).map_err(Failure::usage)?;
    let shown = values::Shown::new(&args.values, &quantized, args.levels)?;
    if args.json { output.json(&shown.as_json()?) } else { output.data(&shown.as_text()?) }
}

/// The mean change that the flip of each bit makes, bit 0 first.
fn damage(by_bit: &[f64]) -> Vec<Damage> {
    by_bit.iter().map(|&change| Damage::of_change(change)).collect()
}
