//! Convolutions against the formula in f64, on every instruction set of this processor.

mod support;
#[path = "convolution/tiles.rs"]
mod tiles;

use bitquake_kernels::{AlignedBuffer, Convolution, Isa, Pixels, ShapeError, Window, layout};
use bitquake_testing::SplitMix64;
use proptest::prelude::*;
use support::reference::{self, Shape, Sum};

/// The kernels on plain images; what no result may depend on is NaN.
struct Kernels {
    shape: Shape,
    convolution: Convolution,
    is_first: bool,
}

impl Kernels {
    fn new(shape: Shape, isa: Isa) -> Self {
        let Shape { channels, groups, image, window } = shape;
        let convolution =
            Convolution::new(channels, groups, image, window, isa).expect("a shape that can be computed");
        Self { shape, convolution, is_first: false }
    }

    fn new_first(shape: Shape, isa: Isa) -> Self {
        let convolution = Convolution::new_first(shape.channels, shape.image, shape.window, isa)
            .expect("a shape that can be computed");
        Self { shape, convolution, is_first: true }
    }

    fn forward(&self, x: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let mut packed = poisoned(self.convolution.forward_weights_len());
        self.convolution.pack_forward(weights, &mut packed);
        let mut y = poisoned(self.convolution.output_len());
        self.convolution.forward(&packed, bias, &self.image(x), &mut y, &mut self.scratch());
        unblock(&y, self.shape.channels[1], self.shape.y_len())
    }

    fn data_gradient(&self, weights: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut packed = poisoned(self.convolution.data_weights_len());
        self.convolution.pack_data(weights, &mut packed);
        let mut dx = poisoned(self.convolution.input_len());
        let dy = block(dy, self.shape.channels[1]);
        self.convolution.data_gradient(&packed, &dy, &mut dx, &mut self.scratch());
        unblock(&dx, self.shape.channels[0], self.shape.x_len())
    }

    /// A result with a bias, and the result without one added to it.
    fn forward_added(&self, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let mut packed = poisoned(self.convolution.forward_weights_len());
        self.convolution.pack_forward(weights, &mut packed);
        let (x, mut y) = (self.image(x), poisoned(self.convolution.output_len()));
        self.convolution.forward(&packed, Some(bias), &x, &mut y, &mut self.scratch());
        self.convolution.forward_added(&packed, &x, &mut y, &mut self.scratch());
        unblock(&y, self.shape.channels[1], self.shape.y_len())
    }

    /// The gradient, added to itself.
    fn data_gradient_added(&self, weights: &[f32], dy: &[f32]) -> Vec<f32> {
        let mut packed = poisoned(self.convolution.data_weights_len());
        self.convolution.pack_data(weights, &mut packed);
        let (dy, mut dx) = (block(dy, self.shape.channels[1]), poisoned(self.convolution.input_len()));
        self.convolution.data_gradient(&packed, &dy, &mut dx, &mut self.scratch());
        self.convolution.data_gradient_added(&packed, &dy, &mut dx, &mut self.scratch());
        unblock(&dx, self.shape.channels[0], self.shape.x_len())
    }

    /// The sum over `images` times the same image.
    fn weight_gradient(&self, x: &[f32], dy: &[f32], images: usize) -> Vec<f32> {
        let mut sum = AlignedBuffer::zeroed(self.convolution.weight_gradient_len());
        let (x, dy) = (self.image(x), block(dy, self.shape.channels[1]));
        for _ in 0..images {
            self.convolution.weight_gradient(&x, &dy, &mut sum, &mut self.scratch());
        }
        let mut weights = vec![f32::NAN; self.convolution.weights_len()];
        self.convolution.unpack_weight_gradient(&sum, &mut weights);
        weights
    }

    /// The result of an image that is computed.
    fn of_pixels(&self, x: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let of = &self.convolution;
        let mut packed = poisoned(of.forward_weights_len());
        of.pack_forward(weights, &mut packed);
        let pixel = if self.is_first { 1 } else { layout::LANES };
        let x = Opposite::of(&self.image(x), self.shape.image, pixel);
        let mut y = poisoned(of.output_len());
        of.forward_of(&packed, Some(bias), &x, &mut y, &mut self.scratch());
        unblock(&y, self.shape.channels[1], self.shape.y_len())
    }

    fn image(&self, x: &[f32]) -> AlignedBuffer {
        if !self.is_first {
            return block(x, self.shape.channels[0]);
        }
        let mut image = AlignedBuffer::zeroed(x.len());
        image.copy_from_slice(x);
        image
    }

    fn scratch(&self) -> AlignedBuffer {
        poisoned(self.convolution.scratch_len())
    }
}

/// An image that is computed: the opposite of one in memory.
struct Opposite {
    floats: AlignedBuffer,
    image: [usize; 2],
    /// Floats of a pixel.
    pixel: usize,
}

impl Opposite {
    fn of(floats: &[f32], image: [usize; 2], pixel: usize) -> Self {
        let mut opposite = AlignedBuffer::zeroed(floats.len());
        opposite.iter_mut().zip(floats).for_each(|(to, from)| *to = -from);
        Self { floats: opposite, image, pixel }
    }
}

impl Pixels for Opposite {
    fn write(&self, block: usize, first: usize, step: usize, to: &mut [f32]) {
        let [rows, columns] = self.image;
        let last = first + (to.len() / self.pixel - 1) * step;
        assert_eq!(first / columns, last / columns, "what is written at once lies in one row");
        for (index, to) in to.iter_mut().enumerate() {
            let pixel = block * rows * columns + first + index / self.pixel * step;
            *to = -self.floats[pixel * self.pixel + index % self.pixel];
        }
    }
}

fn poisoned(len: usize) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(len);
    buffer.fill(f32::NAN);
    buffer
}

/// The blocked image, with NaN in the lanes beyond the channels.
fn block(plain: &[f32], channels: usize) -> AlignedBuffer {
    let pixels = plain.len() / channels;
    let mut blocked = poisoned(layout::blocked_len(channels, pixels));
    for (index, &value) in plain.iter().enumerate() {
        let (channel, pixel) = (index / pixels, index % pixels);
        blocked[(channel / layout::LANES * pixels + pixel) * layout::LANES + channel % layout::LANES] = value;
    }
    blocked
}

fn unblock(blocked: &[f32], channels: usize, len: usize) -> Vec<f32> {
    let mut plain = vec![f32::NAN; len];
    layout::unblock(blocked, channels, &mut plain);
    plain
}

fn normal(random: &mut SplitMix64, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.normal() as f32).collect()
}

#[track_caller]
fn assert_near(found: &[f32], expected: &[Sum], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected.value).abs();
        assert!(
            error <= expected.tolerance(),
            "{what} at {index}: {found} is not {} within {}",
            expected.value,
            expected.tolerance()
        );
    }
}

/// The sums of two lists of sums.
fn sums(left: &[Sum], right: &[Sum]) -> Vec<Sum> {
    let sum = |(left, right): (&Sum, &Sum)| Sum {
        value: left.value + right.value,
        magnitude: left.magnitude + right.magnitude,
        count: left.count + right.count,
    };
    left.iter().zip(right).map(sum).collect()
}

/// All functions of a shape on all instruction sets.
fn check(shape: &Shape, seed: u64) {
    let mut random = SplitMix64::new(seed);
    let x = normal(&mut random, shape.x_len());
    let weights = normal(&mut random, shape.weights_len());
    let bias = normal(&mut random, shape.channels[1]);
    let dy = normal(&mut random, shape.y_len());
    let y = reference::forward(shape, &x, &weights, None);
    let biased = reference::forward(shape, &x, &weights, Some(&bias));
    let dx = reference::data_gradient(shape, &weights, &dy);
    let dw = reference::weight_gradient(shape, &x, &dy);
    let added = sums(&biased, &y);
    let [twice_dx, twice] = [&dx, &dw].map(|sum| sums(sum, sum));
    for isa in Isa::available() {
        let kernels = Kernels::new(*shape, isa);
        assert_eq!(kernels.convolution.output(), shape.output());
        let what = |function: &str| format!("{function} of {shape:?} on {isa}");
        assert_near(&kernels.forward(&x, &weights, None), &y, &what("forward"));
        assert_near(&kernels.forward(&x, &weights, Some(&bias)), &biased, &what("forward with a bias"));
        assert_near(&kernels.data_gradient(&weights, &dy), &dx, &what("the data gradient"));
        assert_near(&kernels.forward_added(&x, &weights, &bias), &added, &what("forward, added,"));
        let found = kernels.data_gradient_added(&weights, &dy);
        assert_near(&found, &twice_dx, &what("the data gradient, added,"));
        assert_near(&kernels.weight_gradient(&x, &dy, 1), &dw, &what("the weight gradient"));
        assert_near(&kernels.weight_gradient(&x, &dy, 2), &twice, &what("the weight gradient of two images"));
        let of_memory = kernels.forward(&x, &weights, Some(&bias));
        assert_eq!(
            kernels.of_pixels(&x, &weights, &bias),
            of_memory,
            "{}",
            what("an image that is computed")
        );
        if shape.groups == 1 {
            let first = Kernels::new_first(*shape, isa);
            assert_near(&first.forward(&x, &weights, Some(&bias)), &biased, &what("forward, plain,"));
            assert_near(&first.weight_gradient(&x, &dy, 1), &dw, &what("the weight gradient, plain,"));
            assert_near(&first.forward_added(&x, &weights, &bias), &added, &what("forward, plain, added,"));
            let of_memory = first.forward(&x, &weights, Some(&bias));
            assert_eq!(first.of_pixels(&x, &weights, &bias), of_memory);
        }
    }
}

fn dense(from: usize, to: usize, image: usize, kernel: usize, stride: usize, pad: usize) -> Shape {
    let window = Window { stride: [stride; 2], pads: [[pad; 2]; 2], ..Window::new([kernel; 2]) };
    Shape { channels: [from, to], groups: 1, image: [image; 2], window }
}

/// Every path once, small enough for Miri.
#[test]
fn small_shapes() {
    let shapes = [
        dense(2, 17, 2, 2, 1, 1),
        dense(17, 1, 3, 3, 2, 1),
        dense(1, 2, 1, 1, 5, 2),
        Shape { groups: 17, ..dense(17, 17, 2, 2, 1, 1) },
        Shape { groups: 2, ..dense(2, 4, 2, 2, 1, 0) },
        Shape { groups: 2, ..dense(32, 2, 1, 1, 1, 0) },
    ];
    for (index, shape) in shapes.iter().enumerate() {
        check(shape, index as u64);
    }
}

/// The shapes that networks are made of, on smaller images, and the corners of the plans.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn shapes_of_networks() {
    let depthwise = |channels: usize, image: usize, stride: usize| Shape {
        groups: channels,
        ..dense(channels, channels, image, 3, stride, 1)
    };
    let shapes = [
        dense(3, 16, 32, 3, 1, 1),
        dense(16, 16, 32, 3, 1, 1),
        dense(16, 32, 16, 3, 2, 1),
        dense(32, 32, 16, 3, 1, 1),
        dense(64, 64, 8, 3, 1, 1),
        dense(32, 64, 16, 1, 2, 0),
        dense(1, 6, 28, 5, 1, 2),
        dense(6, 16, 14, 5, 1, 0),
        dense(3, 32, 29, 7, 2, 3),
        dense(64, 80, 14, 1, 1, 0),
        dense(96, 64, 4, 3, 1, 1),
        dense(64, 64, 2, 3, 1, 1),
        depthwise(32, 14, 1),
        depthwise(40, 15, 2),
        Shape { groups: 2, ..dense(32, 64, 9, 3, 1, 1) },
        Shape { groups: 4, ..dense(32, 16, 9, 3, 2, 1) },
        Shape { groups: 3, ..dense(3, 12, 7, 3, 1, 1) },
        Shape { groups: 3, ..dense(48, 3, 6, 1, 1, 0) },
    ];
    for (index, shape) in shapes.iter().enumerate() {
        check(shape, index as u64);
    }
}

/// Every tail of channels, of pixels, and of rows.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn tails() {
    for channels in 1..=33 {
        check(&dense(channels, 34 - channels, 3, 3, 1, 1), channels as u64);
    }
    for columns in 1..=35 {
        let shape = dense(5, 18, 2, 2, 1, 1);
        check(&Shape { image: [2, columns], ..shape }, columns as u64);
        check(&Shape { image: [columns, 1], channels: [3, 70], ..shape }, columns as u64);
    }
}

/// Whole blocks of channels and a few, to and from each other: every number of those, and every number of pixels.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn few_channels_of_many() {
    for few in 1..=9 {
        for columns in 1..=9 {
            let shape = |from: usize, to: usize| dense(from, to, 3, 2, 1, 1);
            let image = [3, columns];
            check(&Shape { image, ..shape(few, 32) }, columns as u64);
            check(&Shape { image, ..shape(16, few) }, columns as u64);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn one_row() {
    for (kernel, pads, dilation) in
        [(1, [0, 0], 1), (3, [1, 1], 1), (3, [4, 0], 2), (5, [2, 2], 1), (9, [8, 8], 1)]
    {
        let window = Window { dilation: [1, dilation], pads: [[0, 0], pads], ..Window::new([1, kernel]) };
        for columns in [5, 16, 31] {
            check(&Shape { channels: [4, 7], groups: 1, image: [1, columns], window }, 3);
        }
    }
}

/// Pads beyond the kernel, kernels that skip pixels, strides beyond the image: places and pixels that meet nothing.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn places_that_meet_nothing() {
    let window = |kernel, stride, dilation, pads| Window {
        kernel: [kernel; 2],
        stride: [stride; 2],
        dilation: [dilation; 2],
        pads: [pads; 2],
    };
    let cases = [
        (4, window(1, 3, 1, [0, 0])),
        (7, window(2, 5, 1, [0, 3])),
        (1, window(1, 5, 1, [2, 3])),
        (2, window(3, 2, 1, [7, 9])),
        (5, window(2, 2, 2, [1, 0])),
        (5, window(3, 4, 6, [9, 9])),
        (3, window(1, usize::MAX, usize::MAX, [0, 0])),
    ];
    for (image, window) in cases {
        for groups in [1, 2, 18] {
            check(&Shape { channels: [18, 18], groups, image: [image; 2], window }, 4);
        }
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let axis = || {
        (1..=5usize, 1..=3usize, 1..=3usize, 0..=3usize, 0..=3usize, 0..=12usize).prop_map(
            |(kernel, stride, dilation, begin, end, more)| {
                let extent = (kernel - 1) * dilation + 1;
                let image = (extent + more).saturating_sub(begin + end).max(1);
                (kernel, stride, dilation, [begin, end], image)
            },
        )
    };
    let channels = prop_oneof![
        (1..=40usize, 1..=40usize).prop_map(|(from, to)| (1, [from, to])),
        (1..=5usize, 1..=9usize, 1..=9usize)
            .prop_map(|(groups, from, to)| (groups, [groups * from, groups * to])),
        (1..=40usize).prop_map(|channels| (channels, [channels; 2])),
    ];
    (axis(), axis(), channels).prop_map(|(rows, columns, (groups, channels))| Shape {
        channels,
        groups,
        image: [rows.4, columns.4],
        window: Window {
            kernel: [rows.0, columns.0],
            stride: [rows.1, columns.1],
            dilation: [rows.2, columns.2],
            pads: [rows.3, columns.3],
        },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there")]
    fn any_shape_is_near_the_formula(shape in shapes(), seed: u64) {
        check(&shape, seed);
    }

    /// `<conv(x, w), dy> = <x, dx> = <w, dw>`: the three functions are one trilinear form. The error of each scalar product is at most its
    /// terms' error bounds, which the sums of absolute values bound.
    #[test]
    #[cfg_attr(miri, ignore = "takes hours there")]
    fn the_three_functions_are_adjoint(shape in shapes(), seed: u64) {
        let mut random = SplitMix64::new(seed);
        let x = normal(&mut random, shape.x_len());
        let weights = normal(&mut random, shape.weights_len());
        let dy = normal(&mut random, shape.y_len());
        let magnitudes = |values: &[f32]| values.iter().map(|value| value.abs()).collect::<Vec<f32>>();
        let magnitude = dot(
            &reference::forward(&shape, &magnitudes(&x), &magnitudes(&weights), None).iter().map(|sum| sum.value as f32).collect::<Vec<_>>(),
            &magnitudes(&dy),
        );
        let longest = shape.weights_len().max(shape.y_len()) + 2;
        let tolerance = magnitude * longest as f64 * f64::from(f32::EPSILON);
        for isa in Isa::available() {
            let kernels = Kernels::new(shape, isa);
            let forward = dot(&kernels.forward(&x, &weights, None), &dy);
            let data = dot(&x, &kernels.data_gradient(&weights, &dy));
            let of_weights = dot(&weights, &kernels.weight_gradient(&x, &dy, 1));
            prop_assert!((forward - data).abs() <= tolerance, "{isa}: {forward} {data} {tolerance}");
            prop_assert!((forward - of_weights).abs() <= tolerance, "{isa}: {forward} {of_weights} {tolerance}");
        }
    }
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(&left, &right)| f64::from(left) * f64::from(right)).sum()
}

/// What each function makes of NaN and infinities is what the formula makes of them, class by class.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn non_finite_values_are_as_ieee_has_them() {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
    let mut random = SplitMix64::new(8);
    for shape in [
        dense(3, 17, 6, 3, 1, 0),
        dense(18, 5, 6, 3, 2, 0),
        Shape { groups: 19, ..dense(19, 19, 6, 3, 1, 0) },
        Shape { groups: 3, ..dense(9, 6, 6, 2, 1, 0) },
        dense(18, 17, 8, 3, 1, 1),
    ] {
        for (index, &value) in special.iter().cycle().take(40).enumerate() {
            let mut values =
                [shape.x_len(), shape.weights_len(), shape.y_len()].map(|len| normal(&mut random, len));
            let hit = &mut values[index % 3];
            let at = random.below(hit.len() as u64) as usize;
            hit[at] = value;
            // A zero of the others makes 0 * inf.
            let other = &mut values[(index + 1) % 3];
            let at = random.below(other.len() as u64) as usize;
            other[at] = 0.0;
            let [x, weights, dy] = &values;
            for isa in Isa::available() {
                let kernels = Kernels::new(shape, isa);
                let what = format!("{value} in operand {} of {shape:?} on {isa}", index % 3);
                assert_class(
                    &kernels.forward(x, weights, None),
                    &reference::forward(&shape, x, weights, None),
                    &what,
                );
                assert_class(
                    &kernels.data_gradient(weights, dy),
                    &reference::padded_data_gradient(&shape, weights, dy),
                    &what,
                );
                assert_class(
                    &kernels.weight_gradient(x, dy, 1),
                    &reference::weight_gradient(&shape, x, dy),
                    &what,
                );
            }
        }
    }
}

#[track_caller]
fn assert_class(found: &[f32], expected: &[Sum], what: &str) {
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let expected = expected.value as f32;
        let is_same = if expected.is_finite() {
            found.is_finite()
        } else {
            found.total_cmp(&expected).is_eq() || (found.is_nan() && expected.is_nan())
        };
        assert!(is_same, "{what} at {index}: {found} is not {expected}");
    }
}

/// Padded places are zeros that are multiplied: an infinite weight makes the border NaN, as in the formula.
#[test]
fn pads_are_multiplied() {
    let shape = dense(2, 3, 4, 3, 1, 1);
    let x = vec![1.0; shape.x_len()];
    let mut weights = vec![1.0; shape.weights_len()];
    weights[0] = f32::INFINITY;
    for isa in Isa::available() {
        let y = Kernels::new(shape, isa).forward(&x, &weights, None);
        assert_class(&y, &reference::forward(&shape, &x, &weights, None), &isa.to_string());
        assert!(y[0].is_nan() && y[5] == f32::INFINITY);
    }
}

#[test]
fn bad_shapes_are_errors_with_their_values() {
    let good = Window::new([3, 3]);
    let far = usize::MAX / 4;
    let new =
        |channels, groups, image, window| Convolution::new(channels, groups, image, window, Isa::Portable);
    let cases = [
        (new([0, 4], 1, [8; 2], good), ShapeError::NoChannels { channels: [0, 4] }),
        (new([4, 0], 1, [8; 2], good), ShapeError::NoChannels { channels: [4, 0] }),
        (new([4, 4], 0, [8; 2], good), ShapeError::Groups { channels: [4, 4], groups: 0 }),
        (new([4, 6], 4, [8; 2], good), ShapeError::Groups { channels: [4, 6], groups: 4 }),
        (new([6, 4], 4, [8; 2], good), ShapeError::Groups { channels: [6, 4], groups: 4 }),
        (new([4, 4], 1, [0, 8], good), ShapeError::Zero { what: "image", axis: 0 }),
        (new([4, 4], 1, [8, 2], good), ShapeError::Kernel { axis: 1, extent: 3, padded: 2 }),
        (new([4, 4], 1, [far, 8], good), ShapeError::Overflow { sizes: vec![far, 0, 0] }),
    ];
    for (found, expected) in cases {
        assert_eq!(found.map(|_| ()).map_err(|error| error.to_string()), Err(expected.to_string()));
    }
    for (channels, image) in [
        ([usize::MAX, 1], [8; 2]),
        ([1, usize::MAX - 7], [8; 2]),
        ([4, 4], [1 << 31, 1 << 31]),
        ([1 << 31, 1 << 26], [8; 2]),
    ] {
        let error = new(channels, 1, image, good).map(|_| ()).unwrap_err();
        assert!(matches!(error, ShapeError::Overflow { .. }), "{error}");
    }
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let error = Convolution::new([4, 4], 1, [8; 2], good, isa).map(|_| ());
        assert_eq!(error, Err(ShapeError::Isa { isa }));
    }
}

#[test]
#[should_panic(expected = "an image has 15 floats, not 64")]
fn an_image_of_a_wrong_length_panics() {
    let convolution = Convolution::new([1, 1], 1, [2; 2], Window::new([1, 1]), Isa::Portable).unwrap();
    convolution.forward(&[0.0; 16], None, &[0.0; 15], &mut [0.0; 64], &mut []);
}

#[test]
#[should_panic(expected = "a first convolution has no gradient to the image")]
fn a_first_convolution_has_no_data_gradient() {
    let convolution = Convolution::new_first([1, 1], [2; 2], Window::new([1, 1]), Isa::Portable).unwrap();
    convolution.data_gradient(&[], &[0.0; 64], &mut [0.0; 4], &mut []);
}
