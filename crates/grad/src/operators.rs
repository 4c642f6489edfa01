//! The operators: one table, which the plan, the errors and the documentation loop over.
//!
//! To add one: a function in the file of its family, a row in [`Table::ROWS`], a case in `tests/operators.rs`.

mod activation;
mod arithmetic;
mod constant;
mod convolution;
mod linear;
mod normalization;
mod pool;
mod quantize;
mod reduce;
mod shape;
mod window;

use std::marker::PhantomData;

use bitquake_graph::plan::Step;

use crate::GradError;
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
        row("Sub", "floats and whole numbers", arithmetic::sub),
        row("Mul", "floats and whole numbers", arithmetic::mul),
        row("Div", "floats and whole numbers", arithmetic::div),
        row("Pow", "floats and whole numbers", arithmetic::pow),
        row("Max", "any number of inputs", arithmetic::max),
        row("Min", "any number of inputs", arithmetic::min),
        row("Sum", "any number of inputs", arithmetic::sum),
        row("Neg", "floats and whole numbers", arithmetic::neg),
        row("Abs", "floats and whole numbers", arithmetic::abs),
        row("Sqrt", "all", arithmetic::sqrt),
        row("Exp", "all", arithmetic::exp),
        row("Log", "all", arithmetic::log),
        row("Erf", "all", arithmetic::erf),
        row("Reciprocal", "all", arithmetic::reciprocal),
        row("Floor", "gradient 0", arithmetic::floor),
        row("Ceil", "gradient 0", arithmetic::ceil),
        row("Equal", "no gradient", arithmetic::equal),
        row("Greater", "no gradient", arithmetic::greater),
        row("Less", "no gradient", arithmetic::less),
        row("Not", "all", arithmetic::not),
        row("Where", "floats and whole numbers", arithmetic::choose),
        row("Relu", "all", activation::relu),
        row("LeakyRelu", "all", activation::leaky_relu),
        row("PRelu", "all", activation::prelu),
        row("Elu", "all", activation::elu),
        row("Sigmoid", "all", activation::sigmoid),
        row("Tanh", "all", activation::tanh),
        row("Softplus", "all", activation::softplus),
        row("HardSigmoid", "all", activation::hard_sigmoid),
        row("HardSwish", "all", activation::hard_swish),
        row("Clip", "bounds have gradients", activation::clip),
        row("Gelu", "exact and tanh", activation::gelu),
        row("Softmax", "all", activation::softmax),
        row("LogSoftmax", "all", activation::log_soft_max),
        row(
            "BatchNormalization",
            "running or batch statistics by mode; the first output",
            normalization::batch,
        ),
        row("LayerNormalization", "the first output", normalization::layer),
        row("GroupNormalization", "scale and bias for each channel or each group", normalization::group),
        row("InstanceNormalization", "all", normalization::instance),
        row("MaxPool", "1 and 2 spatial axes; the first output", pool::max),
        row("AveragePool", "1 and 2 spatial axes", pool::average),
        row("GlobalAveragePool", "all", pool::global_average),
        row("GlobalMaxPool", "all", pool::global_max),
        row("ReduceMean", "floats", reduce::mean),
        row("ReduceSum", "floats and whole numbers", reduce::sum),
        row("ReduceMax", "floats and whole numbers", reduce::max),
        row("ReduceMin", "floats and whole numbers", reduce::min),
        row("ReduceProd", "floats and whole numbers", reduce::prod),
        row("ReduceL2", "floats", reduce::l2),
        row("Identity", "all", shape::identity),
        row("Dropout", "inactive; the first output", shape::identity),
        row("Reshape", "all", shape::reshape),
        row("Flatten", "all", shape::flatten),
        row("Squeeze", "all", shape::squeeze),
        row("Unsqueeze", "all", shape::unsqueeze),
        row("Transpose", "all", shape::transpose),
        row("Expand", "all", shape::expand),
        row("Concat", "all", shape::concat),
        row("Split", "parts with elements", shape::split),
        row("Slice", "any steps; parts with elements", shape::slice),
        row("Gather", "whole numbers as indices", shape::gather),
        row("Pad", "constant, edge and reflect; the constant without gradient", shape::pad),
        row("Shape", "all", shape::shape),
        row("ConstantOfShape", "f32 and whole numbers", constant::constant_of_shape),
        row("Range", "all", constant::range),
        row("Cast", "f32, i8, u8, i32, i64, bool", constant::cast),
        row("CastLike", "f32 and whole numbers", constant::cast_like),
        row("QuantizeLinear", "to u8, i8, u16, i16; straight through", quantize::quantize),
        row("DequantizeLinear", "scale and zero point without gradient", quantize::dequantize),
    ];
}

/// The row of the operator of each step.
///
/// # Errors
/// [`GradError::UnsupportedOperator`] for the first step whose operator is not in the table.
pub(crate) fn rows_of(steps: &[Step]) -> Result<Vec<usize>, GradError> {
    let row = |step: &Step| {
        find(&step.op_type).ok_or_else(|| GradError::UnsupportedOperator {
            node: step.node.clone(),
            operator: step.op_type.clone(),
            supported: supported(),
        })
    };
    steps.iter().map(row).collect()
}

/// The row of an operator, which has its domain before it if that is not the standard one.
fn find(operator: &str) -> Option<usize> {
    rows().iter().position(|row| qualified(row.domain, row.name) == operator)
}

/// The table; names and texts are the same for all backends.
fn rows() -> &'static [Operator<burn_flex::Flex>] {
    Table::<burn_flex::Flex>::ROWS
}

/// The names of all operators, for an error.
fn supported() -> String {
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
