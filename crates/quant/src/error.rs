//! What can be wrong with a quantizer, or with what it is given.

use crate::spec::Family;

/// Why a quantizer cannot be made from its fields.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// A field has a value that the family does not allow.
    #[error("quantizer field `{field}` is {value}: {family} allows {allowed}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value, as text.
        value: String,
        /// The family, with what else decides.
        family: Family,
        /// What is allowed.
        allowed: String,
    },
    /// A field that means nothing for the family.
    #[error("quantizer field `{field}` has no meaning for family `{family}`: it belongs to {belongs}")]
    Foreign {
        /// The field.
        field: &'static str,
        /// The family.
        family: Family,
        /// The families, or the choice of other fields, that it belongs to.
        belongs: &'static str,
    },
    /// A field without which the family cannot work.
    #[error("family `{family}` needs the quantizer field `{field}`: {allowed}")]
    Missing {
        /// The field.
        field: &'static str,
        /// The family.
        family: Family,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The family `native` is the absence of a quantizer.
    #[error("family `native` keeps the file's own words: there is nothing to quantize")]
    Native,
    /// Fields of a quantizer without one.
    #[error("native words take no other fields; name a family, such as \"symmetric\"")]
    NativeFields,
}

/// Why values could not be quantized or words not be decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum QuantError {
    /// The shape does not describe the values.
    #[error("shape {shape:?} has {wanted} elements, but there are {got}")]
    Shape {
        /// The shape.
        shape: Vec<u64>,
        /// Its number of elements; `overflow` if it does not fit.
        wanted: String,
        /// The values given.
        got: u64,
    },
    /// The channel axis does not exist.
    #[error("channel axis {axis} is out of bounds: shape {shape:?} has {} axes", shape.len())]
    Axis {
        /// The axis.
        axis: u64,
        /// The shape.
        shape: Vec<u64>,
    },
    /// Blocks must be full.
    #[error("{elements} elements are not a whole number of blocks of {block}")]
    PartialBlock {
        /// The elements.
        elements: u64,
        /// Elements of a block.
        block: u64,
    },
    /// NaN and infinities have no code.
    #[error("element {index} is {value}: only finite values can be quantized")]
    NotFinite {
        /// Index in the flattened tensor.
        index: u64,
        /// The value.
        value: f32,
    },
    /// A range whose width a float32 scale cannot carry.
    #[error("range {low}..{high} is too wide: its scale, or a level one step outside, overflows {format}")]
    RangeTooWide {
        /// Lower end.
        low: f32,
        /// Upper end.
        high: f32,
        /// Format of the scale.
        format: &'static str,
    },
    /// A range rule gave no usable range.
    #[error("range rule `{rule}` gives {range} over {elements} elements: it must be positive and finite")]
    NoRange {
        /// The rule.
        rule: &'static str,
        /// What it gave.
        range: f64,
        /// The elements it looked at.
        elements: u64,
    },
    /// An integer that the scheme has no word for.
    #[error("code {code} of element {index} is out of bounds: the scheme has {low}..{high}")]
    CodeOutside {
        /// Index in the list of codes.
        index: u64,
        /// The code.
        code: i64,
        /// Lowest code with a word.
        low: i64,
        /// Highest code with a word.
        high: i64,
    },
    /// A word with bits above the width.
    #[error("word {word:#x} does not fit {bits} bits")]
    WordOutside {
        /// The word.
        word: u64,
        /// Width of a code.
        bits: u32,
    },
    /// A stored scale, or range, that nothing can be quantized with.
    #[error(
        "the stored scale or range of unit {unit} is {value}: quantizing needs a finite one that is not negative"
    )]
    BadScale {
        /// The unit.
        unit: u64,
        /// The value.
        value: f32,
    },
    /// A grid that cannot be made of stored values alone.
    #[error("family `{family}` needs values to fit: its stored words do not say how to quantize")]
    NeedsValues {
        /// The family.
        family: Family,
    },
    /// Parts that are not those of the family.
    #[error("part {index} is `{got}`, and must be `{wanted}`")]
    WrongPart {
        /// Which part.
        index: usize,
        /// Its kind.
        got: &'static str,
        /// What the family has there.
        wanted: &'static str,
    },
    /// An element that does not exist.
    #[error("element {index} is out of bounds: the tensor has {elements}")]
    Element {
        /// The index.
        index: u64,
        /// Elements of the tensor.
        elements: u64,
    },
    /// A scale that does not exist.
    #[error("unit {unit} is out of bounds: the tensor has {units} units with a scale of their own")]
    Unit {
        /// The index.
        unit: u64,
        /// Units of the tensor.
        units: u64,
    },
    /// A buffer of the wrong size.
    #[error("{what}: {got} given, {wanted} needed")]
    Length {
        /// What was counted.
        what: &'static str,
        /// What was given.
        got: u64,
        /// What is needed.
        wanted: u64,
    },
    /// Stochastic rounding without random numbers.
    #[error("stochastic rounding needs uniform numbers: use the `_with` variant")]
    NoUniforms,
    /// A table that would be too large to list.
    #[error("{what} of {bits}-bit codes is limited to {limit} bits")]
    TooManyCodes {
        /// What was asked for.
        what: &'static str,
        /// Width of a code.
        bits: u32,
        /// The largest width.
        limit: u32,
    },
}
