//! Float32 kernels of neural networks, for the instruction sets that the processor has.
//!
//! - [`Isa`]: the instruction sets, found at run time.
//! - [`AlignedBuffer`]: floats at an address that suits the widest vectors.
//! - [`layout`]: the blocked layout of images, in which everything is computed.
//! - [`Window`] and [`Convolution`]: convolutions of one image, forward and backward; [`Pixels`]: images that are computed when they are read.
//! - [`program`]: whole networks, forward and backward, and products with the Hessian.
//!
//! An image of `C` channels is *blocked* as `[ceil(C / 16)][height][width][16]`: sixteen channels lie side by side, as they lie in a
//! vector register. The lanes beyond `C` hold anything at all and never reach a result, NaN included.

mod buffer;
mod convolution;
mod isa;
mod lanes;
pub mod layout;
mod pixels;
pub mod program;
mod window;

pub use buffer::AlignedBuffer;
pub use convolution::Convolution;
use convolution::{TAME_IMAGE, TAME_WEIGHTS};
pub use isa::Isa;
pub use layout::LANES;
pub use pixels::Pixels;
pub use window::{ShapeError, Window};
