//! `bitquake bits`.

mod formats;
mod tensor;
mod word;

use std::path::PathBuf;

use bitquake::bits::{FORMATS, Format};

use crate::exit::Failure;
use crate::output::Output;

/// Show (and flip) the bits of numbers, or of the elements of a tensor.
///
/// Each line has the bits, most significant first, with a dot between fields (sign, exponent, mantissa), the raw word in
/// hexadecimal and the number. Colours mark the fields on a terminal.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Numbers: 0.5, -3, 1e-7, nan, inf (-- -inf); or raw words: 0x3f000000, 0b0101
    #[arg(required_unless_present_any = ["file", "formats"], allow_negative_numbers = true)]
    values: Vec<String>,
    #[arg(long, value_name = "FORMAT", default_value = "f32", value_parser = parse_format, help = dtype_help())]
    dtype: Format,
    /// Bit to flip, 0 is the least significant; repeat for more; `all` is --table
    #[arg(long, value_name = "BIT", value_parser = parse_flip)]
    flip: Vec<Flip>,
    /// Show what the flip of each single bit makes of the number
    #[arg(long)]
    table: bool,
    /// Show elements of a tensor of this file instead of numbers; any tensor file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["values", "dtype", "formats"])]
    file: Option<PathBuf>,
    /// Which tensor; needed where the file has several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Which element of the flattened tensor: 17, or 3..9 with both ends; the first 32 without it
    #[arg(long, value_name = "RANGE", value_parser = tensor::parse_elements)]
    index: Option<tensor::Elements>,
    /// Show every element
    #[arg(long, conflicts_with = "index")]
    all: bool,
    /// List the number formats
    #[arg(long, conflicts_with_all = ["values", "dtype", "flip", "table"])]
    formats: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One `--flip`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Flip {
    Bit(u32),
    All,
}

fn parse_flip(text: &str) -> Result<Flip, String> {
    if text == "all" {
        return Ok(Flip::All);
    }
    text.parse().map(Flip::Bit).map_err(|_| "not the number of a bit, nor `all`".into())
}

pub(crate) fn parse_format(text: &str) -> Result<Format, String> {
    text.parse().map_err(|error: bitquake::bits::UnknownFormat| error.to_string())
}

fn dtype_help() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|row| row.name).collect();
    format!(
        "Number format: {}; any i or u with 1 to 64 bits; i8.5 is fixed point with 5 bits after the point; \
         -offset, -sign-magnitude and -gray (i8-gray) are other encodings",
        names.join(" ")
    )
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    if args.formats {
        return formats::run(args.json, output);
    }
    check_file_options(args)?;
    let look = word::Look::of(&args.flip, args.table);
    if let Some(file) = &args.file {
        let which = tensor::Which { file, tensor: args.tensor.as_deref(), index: args.index, all: args.all };
        return tensor::run(&which, &look, args.json, output);
    }
    let words = args.values.iter().map(|value| parsed(args.dtype, value)).collect::<Result<Vec<u64>, _>>()?;
    if args.json {
        let shown =
            words.iter().map(|&word| look.as_json(args.dtype, word)).collect::<Result<Vec<_>, _>>()?;
        return output.json(&shown);
    }
    let beyond = args.values.iter().zip(&words).filter(|(value, word)| is_beyond(args.dtype, value, **word));
    beyond.for_each(|(value, _)| {
        output.note(format!("note: {value} is beyond the finite numbers of {}", args.dtype))
    });
    let text = words.iter().map(|&word| look.as_text(args.dtype, word)).collect::<Result<Vec<_>, _>>()?;
    let between = if look.has_table() { "\n\n" } else { "\n" };
    output.data(&text.join(between))?;
    explain_colours(args.dtype, output);
    Ok(())
}

/// By hand: with numbers given, which exclude a file, the command line reader would forget that these need one.
fn check_file_options(args: &Args) -> Result<(), Failure> {
    let given = [("--tensor", args.tensor.is_some()), ("--index", args.index.is_some()), ("--all", args.all)];
    match given.iter().find(|(_, is_given)| *is_given && args.file.is_none()) {
        Some((option, _)) => Err(Failure::usage(format!("{option} needs a tensor file: --file FILE"))),
        None => Ok(()),
    }
}

fn parsed(format: Format, value: &str) -> Result<u64, Failure> {
    format.parse_word(value).map_err(|error| Failure::usage(format!("`{value}`: {error}")))
}

/// Whether a finite number was rounded to what is none.
fn is_beyond(format: Format, value: &str, word: u64) -> bool {
    value.bytes().any(|byte| byte.is_ascii_digit())
        && !value.to_ascii_lowercase().starts_with("0x")
        && !value.to_ascii_lowercase().starts_with("0b")
        && !format.is_finite(word)
}

/// Says which colour is which field, where there are colours.
fn explain_colours(format: Format, output: &Output) {
    if output.has_colours() {
        output.note(format!("bits: {}", word::legend(format)));
    }
}
