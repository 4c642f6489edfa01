//! Quantizers: from float32 values to the codes that a memory holds, and back.
//!
//! - [`QuantizerSpec`]: the fields of a quantizer, as a campaign file has them.
//! - [`Quantizer`]: the fields, checked. One type for every family of [`Family`].
//! - [`Grid`]: a quantizer fitted to one tensor; it holds ranges, scales and zero points, and quantizes and decodes.
//! - [`Part`]: the scales and zero points as stored words, which may be faulted; [`Decoder`] decodes with them.
//! - [`Level`], [`Grid::damage_by_bit`]: what a person looks at.
//!
//! Words: a *code* is the integer that the scheme defines, a *word* is how it is stored, a *level* is the real number that
//! it decodes to, a *unit* is a set of elements with a scale of its own (the tensor, a channel, a group).
//!
//! | family | step | code | level |
//! | --- | --- | --- | --- |
//! | symmetric | `R / L`, `L = 2^(m-1) - 1` | `round(w / step)`, in `-L..L`; unsigned codes add `2^(m-1)` | `code * step` |
//! | asymmetric | `(hi - lo) / (2^m - 1)` | `round((w - lo) / step)`; signed codes subtract `2^(m-1)` | `code * step + lo` |
//! | wcat | `a / 2^(m-1)`; unsigned `a / (2^m - 1)` | `round(w / step)`, saturated | `code * step` |
//! | normal | `max/w/ / 2^(m-1)` | the same | `code * step` |
//! | lsq | given; else `2 mean/w/ / sqrt(Qp)` | the same | `code * step` |
//! | bfa | `max/w/ / L` | the same, in `-L..L` | `code * step` |
//! | affine | `(hi - lo) / (2^m - 1)`, 0 in `lo..hi` | `round(w / step) + zero_point`, saturated | `(code - zero_point) * step` |
//! | qkeras | `2^(integer - u)`, `u = bits - keep_negative` | `round(w / step)`, saturated | `alpha * step * code` |
//! | binary | | `1` if `w >= 0`, else `-1` | `code * mean/w/` |
//! | dorefa | | `round((2^m - 1) * (tanh w / (2 max/tanh w/) + 1/2))` | `2 code / (2^m - 1) - 1` |
//! | pact | `a / (2^m - 1)` from 0; signed (weights) `2a / (2^m - 1)` from `-a` | as asymmetric | as asymmetric |
//! | block | see [`BlockScheme`] | | |
//!
//! (`/x/` is the magnitude of x.) Codes outside what the family uses, `-2^(m-1)` of symmetric for one, are levels of their
//! own: a flip reaches them. With `compat` they decode as the RandBET release decodes them, clamped to the range.

mod block;
mod codes;
mod compat;
mod decoder;
mod encode;
mod error;
mod finite;
mod fit;
mod grid;
mod kernel;
mod least_error;
mod levels;
mod pack;
mod part;
mod partition;
mod qkeras;
mod quantizer;
mod round;
mod rule;
mod spec;
mod statistics;
mod unit;

pub use decoder::Decoder;
pub use error::{QuantError, SpecError};
pub use fit::plclip_ranges;
pub use grid::Grid;
pub use levels::Level;
pub use part::{Part, PartKind};
pub use quantizer::Quantizer;
pub use spec::{Alpha, BlockScheme, CodeEncoding, Family, Granularity, QuantizerSpec, Range, Rounding};
