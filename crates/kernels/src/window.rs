//! The window of a convolution or pooling, and the shapes that it fits.

use thiserror::Error;

use crate::isa::Isa;

/// How a kernel moves over an image. Axes are `[vertical, horizontal]`.
///
/// Place `k` of the kernel at output `o` stands at `o * stride + k * dilation - begin` of the image, as ONNX has it
/// (`Conv`, `pads` regrouped by axis).
///
/// ```
/// use bitquake_kernels::Window;
///
/// let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
/// assert_eq!(window.output([32, 20])?, [32, 20]);
/// # Ok::<(), bitquake_kernels::ShapeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Places of the kernel.
    pub kernel: [usize; 2],
    /// Pixels of the image from one output to the next.
    pub stride: [usize; 2],
    /// Pixels of the image from one place of the kernel to the next.
    pub dilation: [usize; 2],
    /// Pixels added around the image, `[begin, end]` of each axis.
    pub pads: [[usize; 2]; 2],
}

impl Window {
    /// Stride and dilation 1, no pads.
    #[must_use]
    pub fn new(kernel: [usize; 2]) -> Self {
        Self { kernel, stride: [1; 2], dilation: [1; 2], pads: [[0; 2]; 2] }
    }

    /// Outputs of an image of `image` pixels: `(image + begin + end - (kernel - 1) * dilation - 1) / stride + 1`, rounded down.
    ///
    /// # Errors
    ///
    /// A size of zero, a kernel that is larger than the padded image, sizes that overflow.
    pub fn output(&self, image: [usize; 2]) -> Result<[usize; 2], ShapeError> {
        Ok(self.axes(image)?.map(|axis| axis.output))
    }

    /// The two axes, checked.
    pub(crate) fn axes(&self, image: [usize; 2]) -> Result<[Axis; 2], ShapeError> {
        let places = self.kernel[0].checked_mul(self.kernel[1]);
        if places.is_none_or(|places| places > MOST_PLACES) {
            return Err(ShapeError::KernelPlaces { kernel: self.kernel });
        }
        Ok([self.axis(0, image[0])?, self.axis(1, image[1])?])
    }

    fn axis(&self, axis: usize, image: usize) -> Result<Axis, ShapeError> {
        let [kernel, stride, dilation] = [self.kernel, self.stride, self.dilation].map(|of| of[axis]);
        let [begin, end] = self.pads[axis];
        for (what, size) in [("image", image), ("kernel", kernel), ("stride", stride), ("dilation", dilation)]
        {
            if size == 0 {
                return Err(ShapeError::Zero { what, axis });
            }
        }
        let padded = sum(&[image, begin, end])?;
        let extent = sum(&[product(&[kernel - 1, dilation])?, 1])?;
        if extent > padded {
            return Err(ShapeError::Kernel { axis, extent, padded });
        }
        // Beyond these bounds nothing depends on stride and dilation.
        let (stride, dilation) = (stride.min(padded), dilation.min(extent));
        let output = (padded - extent) / stride + 1;
        Ok(Axis { image, kernel, stride, dilation, begin, output })
    }
}

/// The most places of a kernel: more is a mistake in the shape, not a network.
pub(crate) const MOST_PLACES: usize = 1 << 16;

/// One axis of a window on an image; its sizes do not overflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) image: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Pixels added before the image.
    pub(crate) begin: usize,
    pub(crate) output: usize,
}

/// Why a shape cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// A size of an axis is zero.
    #[error("the {what} has size 0 on axis {axis}")]
    Zero {
        /// `image`, `kernel`, `stride` or `dilation`.
        what: &'static str,
        /// 0: vertical, 1: horizontal.
        axis: usize,
    },
    /// There are no channels.
    #[error("{} input channels and {} output channels: each must be at least 1", channels[0], channels[1])]
    NoChannels {
        /// Input and output channels.
        channels: [usize; 2],
    },
    /// The channels cannot be divided into the groups.
    #[error("{} input and {} output channels do not divide into {groups} groups", channels[0], channels[1])]
    Groups {
        /// Input and output channels.
        channels: [usize; 2],
        /// Groups asked for.
        groups: usize,
    },
    /// The kernel does not fit into the padded image.
    #[error("a kernel over {extent} pixels is larger than the padded image of {padded} on axis {axis}")]
    Kernel {
        /// 0: vertical, 1: horizontal.
        axis: usize,
        /// Pixels from the first to the last place of the kernel.
        extent: usize,
        /// Pixels of the image and its pads.
        padded: usize,
    },
    /// The kernel has more places than any network needs.
    #[error("a kernel of {} x {} places is larger than 65536", kernel[0], kernel[1])]
    KernelPlaces {
        /// Places by axis.
        kernel: [usize; 2],
    },
    /// The product of sizes is more than memory can hold.
    #[error("sizes {sizes:?} are more than memory can hold")]
    Overflow {
        /// The sizes that were added or multiplied.
        sizes: Vec<usize>,
    },
    /// The processor lacks the instruction set.
    #[error("the instruction set {isa} is not available on this processor")]
    Isa {
        /// The set asked for.
        isa: Isa,
    },
}

/// The product, if so many floats can lie in memory.
pub(crate) fn product(sizes: &[usize]) -> Result<usize, ShapeError> {
    checked(sizes, sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size)))
}

/// The sum, if so many floats can lie in memory.
pub(crate) fn sum(sizes: &[usize]) -> Result<usize, ShapeError> {
    checked(sizes, sizes.iter().try_fold(0usize, |all, &size| all.checked_add(size)))
}

fn checked(sizes: &[usize], result: Option<usize>) -> Result<usize, ShapeError> {
    const MOST_FLOATS: usize = isize::MAX as usize / size_of::<f32>();
    let fits = result.filter(|&floats| floats <= MOST_FLOATS);
    fits.ok_or_else(|| ShapeError::Overflow { sizes: sizes.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, dilation: usize, pads: [usize; 2]) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [dilation; 2], pads: [pads; 2] }
    }

    #[test]
    fn outputs_are_those_of_onnx() {
        let cases = [
            (32, window(3, 1, 1, [1, 1]), 32),
            (32, window(3, 2, 1, [1, 1]), 16),
            (33, window(3, 2, 1, [0, 1]), 16),
            (224, window(7, 2, 1, [3, 3]), 112),
            (10, window(3, 1, 4, [0, 0]), 2),
            (5, window(1, 7, 1, [0, 0]), 1),
            (1, window(3, 1, 1, [1, 1]), 1),
        ];
        for (image, window, output) in cases {
            assert_eq!(window.output([image; 2]), Ok([output; 2]), "{image} {window:?}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let good = Window::new([3, 3]);
        let far = usize::MAX / 2;
        let cases = [
            (Window { stride: [1, 0], ..good }, [8, 8], "the stride has size 0 on axis 1"),
            (Window { dilation: [0, 1], ..good }, [8, 8], "the dilation has size 0 on axis 0"),
            (Window { kernel: [0, 3], ..good }, [8, 8], "the kernel has size 0 on axis 0"),
            (good, [8, 0], "the image has size 0 on axis 1"),
            (good, [8, 2], "a kernel over 3 pixels is larger than the padded image of 2 on axis 1"),
            (
                Window { dilation: [4, 1], ..good },
                [8, 8],
                "a kernel over 9 pixels is larger than the padded image of 8 on axis 0",
            ),
            (
                Window { kernel: [1 << 40, 1 << 40], ..good },
                [8, 8],
                "a kernel of 1099511627776 x 1099511627776 places is larger than 65536",
            ),
            (
                Window { pads: [[far, far], [0, 0]], ..good },
                [8, 8],
                "sizes [8, 9223372036854775807, 9223372036854775807] are more than memory can hold",
            ),
            (
                Window { dilation: [1, far], ..good },
                [8, 8],
                "sizes [2, 9223372036854775807] are more than memory can hold",
            ),
        ];
        for (window, image, message) in cases {
            assert_eq!(window.output(image).map_err(|error| error.to_string()), Err(message.into()));
        }
    }
}
