//! What a backend must bring beside burn's own operations: the seam where faster kernels come in.
//!
//! [`Kernels`] is implemented for the plain backends out of burn's operations, and for [`Autodiff`] over any of them by
//! recording steps whose backward passes call the same functions one level below. All of them are closed under
//! differentiation, so that a second backward pass is as exact as the first:
//!
//! * the three functions of a convolution ([`convolution`]) are each other's derivatives;
//! * [`standardize`] keeps what it computed one level below, where that has derivatives of its own.

mod convolution;
mod standardize;
mod straight;
mod tap;

use bitquake_graph::window::Window;
use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_backend::Backend;
use burn_backend::tensor::{FloatTensor, IntTensor};

pub(crate) use convolution::Part;
pub(crate) use standardize::Standardized;
pub(crate) use tap::tap;

use crate::float::{Float, INDEX, bool_dtype};

/// The operations that decide the speed of a network, and those that burn lacks.
pub(crate) trait Kernels: Backend {
    /// Whether the backend's own maxima (`relu`, max pooling) give NaN for NaN.
    const MAXIMA_KEEP_NAN: bool;

    /// The part of a convolution that is wanted, out of the two others. `first` comes before `second` in the order of
    /// [`Part`].
    fn convolution(
        wanted: Part,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        window: &Window,
    ) -> FloatTensor<Self>;

    /// `(x - mean) / sqrt(variance + epsilon)` over the axes.
    fn standardize(x: FloatTensor<Self>, axes: &[usize], epsilon: f64) -> Standardized<Self>;

    /// `shown` forward, while the gradient goes to `x`.
    fn straight_through(x: FloatTensor<Self>, shown: FloatTensor<Self>) -> FloatTensor<Self>;

    /// For each window the place of its largest value, or of a NaN, in the flattened image.
    fn max_places(x: FloatTensor<Self>, window: &Window) -> IntTensor<Self>;
}

/// Implements the seam for a plain backend.
macro_rules! plain_backend {
    ($backend:ty, $keeps_nan:expr) => {
        impl Kernels for $backend {
            const MAXIMA_KEEP_NAN: bool = $keeps_nan;

            fn convolution(
                wanted: Part,
                first: FloatTensor<Self>,
                second: FloatTensor<Self>,
                window: &Window,
            ) -> FloatTensor<Self> {
                convolution::plain::<Self>(wanted, first, second, window)
            }

            fn standardize(x: FloatTensor<Self>, axes: &[usize], epsilon: f64) -> Standardized<Self> {
                standardize::plain::<Self>(x, axes, epsilon)
            }

            fn straight_through(_: FloatTensor<Self>, shown: FloatTensor<Self>) -> FloatTensor<Self> {
                shown
            }

            fn max_places(x: FloatTensor<Self>, window: &Window) -> IntTensor<Self> {
                max_places::<Self>(x, window)
            }
        }
    };
}

plain_backend!(burn_flex::Flex, true);
#[cfg(any(feature = "cuda", feature = "wgpu"))]
plain_backend!(crate::gpu::Gpu, false);

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    const MAXIMA_KEEP_NAN: bool = B::MAXIMA_KEEP_NAN;

    fn convolution(
        wanted: Part,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        window: &Window,
    ) -> FloatTensor<Self> {
        convolution::recorded::<B, C>(wanted, first, second, window)
    }

    fn standardize(x: FloatTensor<Self>, axes: &[usize], epsilon: f64) -> Standardized<Self> {
        standardize::recorded::<B, C>(x, axes, epsilon)
    }

    fn straight_through(x: FloatTensor<Self>, shown: FloatTensor<Self>) -> FloatTensor<Self> {
        straight::recorded::<B, C>(x, shown)
    }

    fn max_places(x: FloatTensor<Self>, window: &Window) -> IntTensor<Self> {
        B::max_places(x.into_primitive(), window)
    }
}

/// Places of maxima by burn's max pooling; NaNs are looked for separately where that passes over them.
fn max_places<B: Kernels>(x: FloatTensor<B>, window: &Window) -> IntTensor<B> {
    let places = |x: FloatTensor<B>| {
        let [top, left] = window.padding.map(|(begin, _)| begin);
        let found = B::max_pool2d_with_indices(
            x,
            window.kernel,
            window.stride,
            [top, left],
            window.dilation,
            false,
            INDEX.into(),
        );
        found.indices
    };
    if B::MAXIMA_KEEP_NAN {
        return places(x);
    }
    let x = Float::<B>::new(x);
    let bools = bool_dtype::<B>(&x.device());
    let is_nan = B::float_not_equal(x.primitive().clone(), x.primitive().clone(), bools);
    let flags = x.clone().scale(0.0).fill(is_nan.clone(), 1.0);
    let of_nan = places(flags.primitive().clone());
    let of_largest = places(x.fill(is_nan, f64::from(f32::MIN)).into_primitive());
    let spread = flags.flat_image();
    let shape = of_nan.clone();
    let hit = B::float_gather(2, spread.into_primitive(), flat_places::<B>(shape));
    let hit = B::float_reshape(hit, burn_backend::TensorMetadata::shape(&of_nan));
    let hit = B::float_greater_elem(hit, 0.5.into(), bools);
    B::int_mask_where(of_largest, hit, of_nan)
}

/// Places as `[images, channels, windows]`.
pub(crate) fn flat_places<B: Backend>(places: IntTensor<B>) -> IntTensor<B> {
    let shape = burn_backend::TensorMetadata::shape(&places);
    let (outer, inner) = (&shape[..2], &shape[2..]);
    let dims = [outer[0], outer[1], inner.iter().product()];
    B::int_reshape(places, burn_backend::Shape::from(dims))
}

impl<B: Backend> Float<B> {
    /// `[images, channels, height, width]` as `[images, channels, height * width]`.
    pub(crate) fn flat_image(self) -> Float<B> {
        let shape = self.shape();
        let inner = shape[2..].iter().product();
        self.reshape(&[shape[0], shape[1], inner])
    }
}
