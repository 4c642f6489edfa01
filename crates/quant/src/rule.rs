//! What a family comes down to.

use crate::spec::{BlockScheme, Range};

/// How the numbers of a unit follow from its values. `R` is the range's half width, `a` its learnt form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Range `-R..R`, step `R / divisor`: symmetric, wcat, normal, bfa.
    Centred { range: Range, clip: Option<f32>, divisor: f64 },
    /// A step, given or from the mean magnitude: lsq.
    Step { step: Option<f32> },
    /// Range `lo..hi` over all codes: asymmetric, pact.
    Interval { ends: Ends, clip: Option<f32> },
    /// Scale and zero point over a range that has 0 in it: affine.
    Affine { ends: Ends, clip: Option<f32> },
    /// A step that no value decides: qkeras with a number for alpha.
    Constant { step: f32, factor: f32 },
    /// The largest magnitude gets the highest code, `unit` is `2^integer`: qkeras with an automatic alpha.
    Auto { power_of_two: bool, unit: f32 },
    /// One bit for the sign; the scale is the mean magnitude or given.
    Sign { factor: Option<f32> },
    /// Hyperbolic tangents over their largest.
    Dorefa,
    /// A block of GGUF.
    Block(BlockScheme),
    /// The RandBET release.
    Compat { asymmetric: bool, ends: Ends, clip: Option<f32> },
}

/// Where the ends of an interval come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ends {
    /// The least and the greatest value.
    Values,
    /// These.
    Given { lo: f32, hi: f32 },
    /// From 0 to the greatest value.
    UpToLargest,
    /// From `-R` to `R` with a rule for R.
    Around(Range),
}
