//! Convolutions that are computed in tiles.

use bitquake_kernels::{AlignedBuffer, Isa, Window, layout};
use bitquake_testing::SplitMix64;
use proptest::prelude::*;

use super::support::reference::{self, Shape, Sum};
use super::{Kernels, block, normal, unblock};

/// Large enough for tiles, forward and to the image.
const SHAPE: Shape = Shape {
    channels: [32, 20],
    groups: 1,
    image: [9, 10],
    window: Window { kernel: [3; 2], stride: [1; 2], dilation: [1; 2], pads: [[1, 1], [1, 1]] },
};

/// Weights that are as much larger are not computed in tiles.
const BEYOND: f32 = (1 << 12) as f32;
/// Images that are as much larger are not computed in tiles.
const BEYOND_IMAGE: f32 = (1 << 24) as f32;

fn forward(shape: &Shape, isa: Isa, x: &[f32], weights: &[f32]) -> Vec<f32> {
    Kernels::new(*shape, isa).forward(x, weights, None)
}

fn data_gradient(shape: &Shape, isa: Isa, weights: &[f32], dy: &[f32]) -> Vec<f32> {
    Kernels::new(*shape, isa).data_gradient(weights, dy)
}

/// `G`, `B'` and `A'` of tiles of some size, of absolute values.
struct Matrices {
    g: Vec<[f64; 3]>,
    b: Vec<Vec<f64>>,
    a: Vec<Vec<f64>>,
}

impl Matrices {
    /// Tiles of two by two pixels.
    fn small() -> Matrices {
        let b = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]];
        let a = [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]];
        let g = vec![[1.0, 0.0, 0.0], [0.5; 3], [0.5; 3], [0.0, 0.0, 1.0]];
        Matrices { g, b: b.map(Vec::from).to_vec(), a: a.map(Vec::from).to_vec() }
    }

    /// Tiles of four by four pixels, of the points 0, 5/8, -5/8, 3/2, -3/2 and infinity.
    fn large() -> Matrices {
        let (p, q) = (0.625_f64, 1.5_f64);
        let (both, sum, apart) = (p * p * q * q, p * p + q * q, 2.0 * (q * q - p * p));
        let at = |point: f64| [1.0, point, point * point].map(|power| power / (apart * point * point));
        let g = vec![[1.0 / both, 0.0, 0.0], at(p), at(p), at(q), at(q), [0.0, 0.0, 1.0]];
        let near = vec![0.0, p * q * q, q * q, p, 1.0, 0.0];
        let far = vec![0.0, q * p * p, p * p, q, 1.0, 0.0];
        let (first, last) = (vec![both, 0.0, sum, 0.0, 1.0, 0.0], vec![0.0, both, 0.0, sum, 0.0, 1.0]);
        let power = |power: i32| {
            let [p, q] = [p, q].map(|point| point.powi(power));
            vec![f64::from(power == 0), p, p, q, q, f64::from(power == 3)]
        };
        Matrices {
            g,
            b: vec![first, near.clone(), near, far.clone(), far, last],
            a: (0..4).map(power).collect(),
        }
    }
}

/// What bounds the error of each number of a result of `size` pixels that reads `read` channels: the sum that the algorithm computes, of
/// absolute values. `weight(written, read, row, column)`, `source(channel, row, column)` with rows and columns from the first pad on.
fn magnitudes(
    Matrices { g, b, a }: &Matrices,
    size: [usize; 2],
    [read, written]: [usize; 2],
    weight: impl Fn(usize, usize, usize, usize) -> f64,
    source: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let (n, m) = (b.len(), a.len());
    let tiles = size.map(|pixels| pixels.div_ceil(m));
    let mut all = vec![0.0; written * size[0] * size[1]];
    let positions = || (0..n * n).map(|index| (index / n, index % n));
    // Of each tile and channel its positions.
    let of_tile = |tile: usize, channel: usize| -> Vec<f64> {
        let (top, left) = (tile / tiles[1] * m, tile % tiles[1] * m);
        let of = |(row, column): (usize, usize)| {
            let read = |(i, j): (usize, usize)| source(channel, top + i, left + j).abs();
            positions().map(|(i, j)| b[row][i] * b[column][j] * read((i, j))).sum()
        };
        positions().map(of).collect()
    };
    let read_tiles: Vec<Vec<Vec<f64>>> = (0..tiles[0] * tiles[1])
        .map(|tile| (0..read).map(|channel| of_tile(tile, channel)).collect())
        .collect();
    for to in 0..written {
        let of_channel = |channel: usize| -> Vec<f64> {
            let of = |(row, column): (usize, usize)| {
                let places = (0..9).map(|place| (place / 3, place % 3));
                places.map(|(i, j)| g[row][i] * g[column][j] * weight(to, channel, i, j).abs()).sum::<f64>()
            };
            positions().map(of).collect()
        };
        let weights: Vec<Vec<f64>> = (0..read).map(of_channel).collect();
        for (tile, sources) in read_tiles.iter().enumerate() {
            let sums: Vec<f64> = (0..n * n)
                .map(|at| weights.iter().zip(sources).map(|(weights, source)| weights[at] * source[at]).sum())
                .collect();
            for (y, x) in (0..m * m).map(|index| (index / m, index % m)) {
                let (row, column) = (tile / tiles[1] * m + y, tile % tiles[1] * m + x);
                if row < size[0] && column < size[1] {
                    let sum = positions().zip(&sums).map(|((i, j), sum)| a[y][i] * a[x][j] * sum).sum();
                    all[(to * size[0] + row) * size[1] + column] = sum;
                }
            }
        }
    }
    all
}

/// The larger of what bounds the errors of small and of large tiles, as a shape may be computed in either.
fn bounds(
    size: [usize; 2],
    channels: [usize; 2],
    weight: impl Fn(usize, usize, usize, usize) -> f64,
    source: impl Fn(usize, usize, usize) -> f64,
) -> Vec<f64> {
    let of = |matrices: Matrices| magnitudes(&matrices, size, channels, &weight, &source);
    of(Matrices::small()).into_iter().zip(of(Matrices::large())).map(|(a, b)| a.max(b)).collect()
}

/// Transforming rounds up to six times for each pixel, eight times for each weight, the products of `channels` channels that often, and the
/// last step ten times; as for other sums, somewhat more is allowed.
#[track_caller]
fn assert_near(found: &[f32], expected: &[Sum], magnitudes: &[f64], channels: usize, what: &str) {
    for (index, ((&found, expected), magnitude)) in found.iter().zip(expected).zip(magnitudes).enumerate() {
        let (error, value) = ((f64::from(found) - expected.value).abs(), expected.value);
        let tolerance = (channels + 32) as f64 * f64::from(f32::EPSILON) * magnitude;
        assert!(error <= tolerance, "{what} at {index}: {found} is not {value} within {tolerance}");
    }
}

/// What rounding typically leaves, as a part of the result: of a plain sum of float32 it is 3e-7, 3e-7, 4e-7 and 7e-7 for these shapes, of which the
/// first is computed in small tiles; large tiles of the usual points, 1 and 2, would leave 1e-6 to 3e-6.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn rounding_leaves_about_twice_what_it_does_of_a_plain_sum() {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let cases = [(32, [6, 6], 2.5e-7), (32, [16, 16], 7.5e-7), (64, [16, 12], 8.5e-7), (256, [8, 8], 1.7e-6)];
    for (channels, image, most) in cases {
        let shape = Shape { channels: [channels, 16], image, ..SHAPE };
        let mut random = SplitMix64::new(8);
        let x: Vec<f32> = normal(&mut random, shape.x_len()).iter().map(|value| value.max(0.0)).collect();
        let weights: Vec<f32> =
            normal(&mut random, shape.weights_len()).iter().map(|value| 0.1 * value).collect();
        let exact = reference::forward(&shape, &x, &weights, None);
        let size = squares(&mut exact.iter().map(|sum| sum.value));
        for isa in Isa::available() {
            let found = forward(&shape, isa, &x, &weights);
            let errors = squares(&mut found.iter().zip(&exact).map(|(&y, sum)| f64::from(y) - sum.value));
            let error = (errors / size).sqrt();
            assert!(error <= most, "{channels} channels, {image:?}, {isa}: {error}");
        }
    }
}

/// Forward and to the image, with an error that the algorithm bounds.
fn check(shape: &Shape, x: &[f32], weights: &[f32], dy: &[f32]) {
    let [from, to] = shape.channels;
    let [output, image] = [shape.output(), shape.image];
    let weight = |written: usize, read: usize, row: usize, column: usize| {
        f64::from(weights[((written * from + read) * 3 + row) * 3 + column])
    };
    let at = |values: &[f32], size: [usize; 2], begin: [usize; 2], [channel, row, column]: [usize; 3]| {
        let row = row.checked_sub(begin[0]).filter(|&row| row < size[0]);
        let column = column.checked_sub(begin[1]).filter(|&column| column < size[1]);
        let value = |(row, column)| values[(channel * size[0] + row) * size[1] + column];
        row.zip(column).map_or(0.0, |place| f64::from(value(place)))
    };
    let begin = [0, 1].map(|axis| shape.window.pads[axis][0]);
    let of_y = bounds(output, [from, to], weight, |channel, row, column| {
        at(x, image, begin, [channel, row, column])
    });
    let of_x = bounds(
        image,
        [to, from],
        |written, read, row, column| weight(read, written, 2 - row, 2 - column),
        |channel, row, column| at(dy, output, begin.map(|begin| 2 - begin), [channel, row, column]),
    );
    let y = reference::forward(shape, x, weights, None);
    let dx = reference::data_gradient(shape, weights, dy);
    for isa in Isa::available() {
        assert_near(&forward(shape, isa, x, weights), &y, &of_y, from, &format!("{shape:?} on {isa}"));
        let found = data_gradient(shape, isa, weights, dy);
        assert_near(&found, &dx, &of_x, to, &format!("the data gradient of {shape:?} on {isa}"));
    }
}

/// Numbers of magnitudes that differ by powers of two.
fn numbers(random: &mut SplitMix64, len: usize, exponents: std::ops::RangeInclusive<i32>) -> Vec<f32> {
    let count = (exponents.end() - exponents.start() + 1) as u64;
    let scale = |random: &mut SplitMix64| 2.0_f64.powi(exponents.start() + random.below(count) as i32);
    (0..len).map(|_| (random.normal() * scale(random)) as f32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there")]
    fn any_shape_is_near_the_formula(
        channels in [24..=40_usize, 24..=40_usize],
        output in [8..=13_usize, 8..=19_usize],
        pads in [[0..=1_usize, 0..=1_usize], [0..=1_usize, 0..=1_usize]],
        is_wild: bool,
        seed: u64,
    ) {
        let image = [0, 1].map(|axis| output[axis] + 2 - pads[axis][0] - pads[axis][1]);
        let window = Window { pads, ..Window::new([3; 2]) };
        let shape = Shape { channels, groups: 1, image, window };
        let mut random = SplitMix64::new(seed);
        let (of_images, of_weights) = if is_wild { (-8..=8, -12..=0) } else { (0..=0, -2..=-2) };
        let x = numbers(&mut random, shape.x_len(), of_images.clone());
        let weights = numbers(&mut random, shape.weights_len(), of_weights);
        let dy = numbers(&mut random, shape.y_len(), of_images);
        check(&shape, &x, &weights, &dy);
    }
}

/// What is beyond the bounds is computed as the definition has it: times a power of two it is the same bits, whichever operand is
/// multiplied. What is not is computed otherwise, so tiles are what the other tests look at.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn what_is_beyond_the_bounds_is_computed_directly() {
    let shape = SHAPE;
    let mut random = SplitMix64::new(5);
    let x = normal(&mut random, shape.x_len());
    let weights = normal(&mut random, shape.weights_len());
    let dy = normal(&mut random, shape.y_len());
    let times = |values: &[f32], factor: f32| values.iter().map(|value| value * factor).collect::<Vec<f32>>();
    for isa in Isa::available() {
        let y = forward(&shape, isa, &x, &weights);
        let of_weights = forward(&shape, isa, &x, &times(&weights, BEYOND));
        let of_image = forward(&shape, isa, &times(&x, BEYOND_IMAGE), &weights);
        assert_eq!(times(&of_weights, 1.0 / BEYOND), times(&of_image, 1.0 / BEYOND_IMAGE), "{isa}");
        assert_ne!(times(&of_weights, 1.0 / BEYOND), y, "{isa}: {shape:?} has to be one of tiles");
        let dx = data_gradient(&shape, isa, &weights, &dy);
        let of_weights = data_gradient(&shape, isa, &times(&weights, BEYOND), &dy);
        let of_gradient = data_gradient(&shape, isa, &weights, &times(&dy, BEYOND_IMAGE));
        assert_eq!(times(&of_weights, 1.0 / BEYOND), times(&of_gradient, 1.0 / BEYOND_IMAGE), "{isa}");
        assert_ne!(times(&of_weights, 1.0 / BEYOND), dx, "{isa}: {shape:?} has to be one of tiles");
    }
}

/// One number that is not tame decides for its whole image, or for its layer; what lies in lanes beyond the channels for nothing.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn one_number_decides() {
    for channels in [32, 20] {
        let shape = Shape { channels: [channels, 32], ..SHAPE };
        let mut random = SplitMix64::new(6);
        let mut x = normal(&mut random, shape.x_len());
        let weights = normal(&mut random, shape.weights_len());
        let place = shape.x_len() - 1;
        for isa in Isa::available() {
            let Kernels { convolution, .. } = Kernels::new(shape, isa);
            let mut packed = AlignedBuffer::zeroed(convolution.forward_weights_len());
            convolution.pack_forward(&weights, &mut packed);
            let run = |image: &[f32]| {
                let mut y = AlignedBuffer::zeroed(convolution.output_len());
                let mut scratch = AlignedBuffer::zeroed(convolution.scratch_len());
                convolution.forward(&packed, None, image, &mut y, &mut scratch);
                unblock(&y, 32, shape.y_len())
            };
            // Beyond the channels there are NaN in the one and zeros in the other.
            let near = run(&block(&x, channels));
            let mut zeros = AlignedBuffer::zeroed(convolution.input_len());
            layout::block(&x, channels, &mut zeros);
            assert_eq!(run(&zeros), near, "{isa}: lanes beyond {channels} channels mean nothing");
            let kept = std::mem::replace(&mut x[place], 3.0 * BEYOND_IMAGE);
            let far = run(&block(&x, channels));
            x[place] = kept;
            let differ = far.iter().zip(&near).take(20).filter(|(far, near)| far != near).count();
            assert!(
                differ > 0,
                "{isa}: pixels far from a huge one are of another way, of {channels} channels"
            );
        }
    }
}
