//! Words as text, and what there is to know about formats.

use bitquake::bits::kernels::{NonFinite, NonFiniteError, settle_nonfinite};
use bitquake::bits::{self, FORMATS, Format, WordStore};
use bitquake::fault::Selector;
use numpy::{IntoPyArray, PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::error::usage;
use crate::threads::detached;
use crate::words::{ReadStore, Reads};

/// The formats with a name of their own.
#[pyfunction]
pub fn formats() -> Vec<&'static str> {
    FORMATS.iter().map(|row| row.name).collect()
}

/// The glob that selects this name and no other.
#[pyfunction]
pub fn literal(name: &str) -> String {
    Selector::literal(name)
}

/// The bits of a word of a format.
#[pyfunction]
pub fn width(py: Python<'_>, format: &str) -> PyResult<u32> {
    Ok(parse(py, format)?.width())
}

/// The field that a bit of a format belongs to: `sign`, `exponent`, `mantissa`, `integer` ...; `None` where it has none.
#[pyfunction]
pub fn field(py: Python<'_>, format: &str, bit: u32) -> PyResult<Option<&'static str>> {
    Ok(parse(py, format)?.field(bit).map(|field| field.name()))
}

/// The words of a tensor as text: `binary`, with `fields` apart, or `hex`.
#[pyfunction]
pub fn bit_strings(py: Python<'_>, tensor: Reads<'_>, style: &str) -> PyResult<Vec<String>> {
    let write: fn(Format, u64) -> String = match style {
        "binary" => bits::binary,
        "fields" => bits::pattern,
        "hex" => bits::hex,
        other => return Err(usage(py, format!("style is `binary`, `fields` or `hex`, not `{other}`"))),
    };
    let store = ReadStore::new(py, &tensor)?;
    let words = tensor.first().and_then(|tensor| store.words(&tensor.0));
    detached(py, || {
        words.map(|words| words.iter().map(|word| write(words.format(), word)).collect()).unwrap_or_default()
    })
}

/// What words stand for, as float64.
#[pyfunction]
pub fn decode(py: Python<'_>, format: &str, words: Vec<u64>) -> PyResult<Vec<f64>> {
    let format = parse(py, format)?;
    Ok(words.into_iter().map(|word| format.decode(word & format.mask())).collect())
}

/// Words after numbers that were finite before and are not any more were settled: `clamp`, `zero`, or `reject`, which raises.
#[pyfunction]
pub fn settle<'py>(
    py: Python<'py>,
    tensor: &str,
    format: &str,
    elements: PyReadonlyArray1<'py, u64>,
    before: PyReadonlyArray1<'py, u64>,
    after: PyReadonlyArray1<'py, u64>,
    policy: &str,
) -> PyResult<Bound<'py, PyArray1<u64>>> {
    let format = parse(py, format)?;
    let policy = match policy {
        "clamp" => NonFinite::Clamp,
        "zero" => NonFinite::Zero,
        "reject" => NonFinite::Reject,
        other => {
            let message = format!("nonfinite is `allow`, `clamp`, `zero` or `reject`, not `{other}`");
            return Err(usage(py, message));
        }
    };
    let (elements, mut settled) = (elements.as_slice()?, after.as_slice()?.to_vec());
    let done = settle_nonfinite(format, before.as_slice()?, &mut settled, policy);
    let named = |error| match error {
        // The place among the words given is that of an element of the tensor.
        NonFiniteError::Rejected { element, old, value } => {
            let element = elements.get(element as usize).copied().unwrap_or(element);
            usage(py, format!("tensor `{tensor}`: {}", NonFiniteError::Rejected { element, old, value }))
        }
        error => usage(py, format!("tensor `{tensor}`: {error}")),
    };
    done.map_err(named)?;
    Ok(settled.into_pyarray(py))
}

/// Distinct numbers below `population`, rising, drawn from the stream of a name: every such set is as likely.
#[pyfunction]
pub fn subset(
    py: Python<'_>,
    population: u64,
    count: u64,
    seed: u64,
    trial: u64,
    name: &str,
) -> PyResult<Vec<u64>> {
    let stream = bitquake::sample::StreamKey { seed, point: 0, trial }.tensor(name);
    bitquake::sample::subset_of(&stream, population, count).map_err(|error| usage(py, error))
}

pub fn parse(py: Python<'_>, format: &str) -> PyResult<Format> {
    format.parse().map_err(|error: bits::UnknownFormat| usage(py, error))
}
