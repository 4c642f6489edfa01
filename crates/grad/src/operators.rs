//! The operators: one table, which the plan, the errors and the documentation loop over.
//!
//! To add one: a function in the file of its family, a row in [`Table::ROWS`], a case in `tests/operators.rs`.

mod activation;
mod arithmetic;
mod convolution;
mod linear;
mod normalization;
mod pool;
mod reshape;
mod window;

use std::marker::PhantomData;

use crate::call::{Call, Value};
use crate::seam::Kernels;

/// How an operator is computed.
type Function<B> = fn(Call<'_, B>) -> Result<Vec<Value<B>>, String>;

/// A row of the table.
struct Operator<B: Kernels> {
    /// The operator's domain; empty for the standard one.
    domain: &'static str,
    name: &'static str,
    /// What of it is supported, for the documentation.
    supports: &'static str,
    run: Function<B>,
}

struct Table<B>(PhantomData<B>);

const fn row<B: Kernels>(name: &'static str, supports: &'static str, run: Function<B>) -> Operator<B> {
    Operator { domain: "", name, supports, run }
}

impl<B: Kernels> Table<B> {
    const ROWS: &'static [Operator<B>] = &[
        row("Conv", "1 and 2 spatial axes; groups, strides, dilations, pads, auto_pad", convolution::conv),
        row("Gemm", "all", linear::gemm),
        row("MatMul", "any rank, batches broadcast", linear::matmul),
        row("Add", "floats and whole numbers", arithmetic::add),
        row(
            "BatchNormalization",
            "running or batch statistics by mode; the first output",
            normalization::batch,
        ),
        row("LayerNormalization", "the first output", normalization::layer),
        row("GroupNormalization", "scale and bias for each channel or each group", normalization::group),
        row("InstanceNormalization", "all", normalization::instance),
        row("GlobalAveragePool", "all", pool::global_average),
        row("Relu", "all", activation::relu),
        row("MaxPool", "1 and 2 spatial axes; the first output", pool::max_pool),
        row("Flatten", "all", reshape::flatten),
        row("Reshape", "all", reshape::reshape),
    ];
}

/// The row of an operator.
pub(crate) fn find(domain: &str, name: &str) -> Option<usize> {
    let domain = if domain == "ai.onnx" { "" } else { domain };
    rows().iter().position(|row| row.domain == domain && row.name == name)
}

/// The table; names and texts are the same for all backends.
fn rows() -> &'static [Operator<burn_flex::Flex>] {
    Table::<burn_flex::Flex>::ROWS
}

/// The names of all operators, for an error.
pub(crate) fn supported() -> String {
    let names: Vec<String> = rows().iter().map(|row| qualified(row.domain, row.name)).collect();
    names.join(", ")
}

fn qualified(domain: &str, name: &str) -> String {
    if domain.is_empty() { name.to_owned() } else { format!("{domain}.{name}") }
}

/// The operators that networks may have: name (with the domain before it if that is not the standard one), and what of it
/// is supported.
///
/// ```
/// assert!(bitquake_grad::operators().any(|(name, _)| name == "Conv"));
/// ```
pub fn operators() -> impl Iterator<Item = (String, &'static str)> {
    rows().iter().map(|row| (qualified(row.domain, row.name), row.supports))
}

/// Computes a node whose operator is in row `row`.
pub(crate) fn run<B: Kernels>(row: usize, call: Call<'_, B>) -> Result<Vec<Value<B>>, String> {
    (Table::<B>::ROWS[row].run)(call)
}
