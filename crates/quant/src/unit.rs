//! The numbers that one unit of a tensor is quantized and decoded with.

/// One unit: encoding uses the upper fields, decoding the lower ones. They differ where a scale is stored more coarsely
/// than it was used (the float16 of a block) or where a factor moves the levels and not the codes (QKeras).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Unit {
    /// Divisor of `value - offset`; for blocks its reciprocal, for `DoReFa` the largest `|tanh|`. 0: one level only.
    pub(crate) step: f32,
    /// Subtracted before dividing.
    pub(crate) offset: f32,
    /// The code that stands for `min`.
    pub(crate) zero: i64,
    /// Distance of neighbouring levels.
    pub(crate) scale: f32,
    /// Level of the code `zero`.
    pub(crate) min: f32,
    /// Lower end of the range.
    pub(crate) low: f32,
    /// Upper end of the range.
    pub(crate) high: f32,
}

impl Unit {
    /// Levels `(code - zero) * step`, over the range `low..high`.
    pub(crate) fn centred(step: f32, zero: i64, low: f32, high: f32) -> Self {
        Self { step, offset: 0.0, zero, scale: step, min: 0.0, low, high }
    }
}
