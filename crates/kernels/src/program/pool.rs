//! Pools of blocked images, forward and backward. A NaN in a window gives a NaN.

use super::vectorise::{Lanes, Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::{Isa, LANES, Window};

/// How the values of a window become one.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rule {
    /// The largest. The gradient goes to the first of equal ones; to the last NaN where there is one.
    Max,
    /// The sum over a number for each place of the output, row-major.
    Average(Vec<f32>),
}

/// A pool that was checked: which rows and columns of the image each window meets.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    image: [usize; 2],
    output: [usize; 2],
    window: Window,
    rule: Rule,
}

/// Where the image is looked at from one place of the output along one axis: the first step of the kernel that meets the image, and the
/// one after the last.
#[derive(Clone, Copy)]
struct Reach {
    steps: [usize; 2],
    /// Where step 0 would be, which may be in the padding.
    start: isize,
}

impl Pool {
    /// `output` is the size that the window gives.
    pub(super) fn new(image: [usize; 2], output: [usize; 2], window: Window, rule: Rule) -> Pool {
        Pool { image, output, window, rule }
    }

    fn reach(&self, axis: usize, at: usize) -> Reach {
        let Window { kernel, stride, dilation, pads } = &self.window;
        let start = (at * stride[axis]) as isize - pads[axis][0] as isize;
        let is_inside = |step: &usize| {
            let place = start + (step * dilation[axis]) as isize;
            (0..self.image[axis] as isize).contains(&place)
        };
        let first = (0..kernel[axis]).find(is_inside).unwrap_or(0);
        let count = (first..kernel[axis]).take_while(|step| is_inside(step)).count();
        Reach { steps: [first, first + count], start }
    }

    /// Calls `visit` with each place of the output and, through it, the places of the image that the window meets there, in order.
    #[inline(always)]
    fn each(&self, mut visit: impl FnMut(usize, Places)) {
        for row in 0..self.output[0] {
            let rows = self.reach(0, row);
            for column in 0..self.output[1] {
                let places = Places {
                    reach: [rows, self.reach(1, column)],
                    dilation: self.window.dilation,
                    width: self.image[1] as isize,
                };
                visit(row * self.output[1] + column, places);
            }
        }
    }

    /// `y` of `x`, both blocked images.
    pub(super) fn forward(&self, isa: Isa, x: &[f32], y: &mut [f32]) {
        vectorised(isa, Forward { pool: self, x, y });
    }

    /// Whether the gradient depends on the image.
    pub(super) fn is_max(&self) -> bool {
        self.rule == Rule::Max
    }

    /// The gradient `dx` of the image from that of the output; `x` is the image where the gradient depends on it.
    pub(super) fn backward(&self, isa: Isa, x: &[f32], dy: &[f32], dx: &mut [f32]) {
        vectorised(isa, Backward { pool: self, x, dy, dx });
    }
}

/// The places of the image that a window meets.
#[derive(Clone, Copy)]
struct Places {
    reach: [Reach; 2],
    dilation: [usize; 2],
    width: isize,
}

impl Places {
    #[inline(always)]
    fn each(self, mut visit: impl FnMut(usize)) {
        let [rows, columns] = self.reach;
        for row in rows.steps[0]..rows.steps[1] {
            let start = (rows.start + (row * self.dilation[0]) as isize) * self.width + columns.start;
            for column in columns.steps[0]..columns.steps[1] {
                visit((start + (column * self.dilation[1]) as isize) as usize);
            }
        }
    }
}

struct Forward<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Sweep for Forward<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns * LANES);
        for (x, y) in self.x.chunks_exact(size).zip(self.y.chunks_exact_mut(out)) {
            let (x, y) = (lanes(x), lanes_mut(y));
            match &self.pool.rule {
                Rule::Max => self.pool.each(
                    #[inline(always)]
                    |at, places| largest::<W>(x, places).store(&mut y[at]),
                ),
                Rule::Average(divisors) => self.pool.each(
                    #[inline(always)]
                    |at, places| {
                        let mut sum = W::splat(0.0);
                        places.each(
                            #[inline(always)]
                            |place| sum = sum.add(W::load(&x[place])),
                        );
                        sum.div(W::splat(divisors[at])).store(&mut y[at]);
                    },
                ),
            }
        }
    }
}

#[inline(always)]
fn largest<W: Wide>(x: &[Lanes], places: Places) -> W {
    let mut most = W::splat(f32::NEG_INFINITY);
    places.each(
        #[inline(always)]
        |place| {
            let value = W::load(&x[place]);
            most = value.if_nan(value, most.if_below(value, value, most));
        },
    );
    most
}

struct Backward<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Sweep for Backward<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns * LANES);
        self.dx.fill(0.0);
        let images = self.dy.chunks_exact(out).zip(self.dx.chunks_exact_mut(size));
        for (block, (dy, dx)) in images.enumerate() {
            let (dy, dx) = (lanes(dy), lanes_mut(dx));
            match &self.pool.rule {
                Rule::Max => {
                    let x = lanes(&self.x[block * size..(block + 1) * size]);
                    self.pool.each(
                        #[inline(always)]
                        |at, places| to_largest::<W>(x, &dy[at], places, dx),
                    );
                }
                Rule::Average(divisors) => self.pool.each(
                    #[inline(always)]
                    |at, places| {
                        let share = W::load(&dy[at]).div(W::splat(divisors[at]));
                        places.each(
                            #[inline(always)]
                            |place| W::load(&dx[place]).add(share).store(&mut dx[place]),
                        );
                    },
                ),
            }
        }
    }
}

/// Adds a gradient to the place of the largest value, which is looked for as the forward pass did.
#[inline(always)]
fn to_largest<W: Wide>(x: &[Lanes], dy: &Lanes, places: Places, dx: &mut [Lanes]) {
    let mut most = W::splat(f32::NEG_INFINITY);
    // Places are counted in floats: windows have fewer than floats count exactly.
    let (mut found, mut step, one) = (W::splat(0.0), W::splat(0.0), W::splat(1.0));
    places.each(
        #[inline(always)]
        |place| {
            let value = W::load(&x[place]);
            found = value.if_nan(step, most.if_below(value, step, found));
            most = value.if_nan(value, most.if_below(value, value, most));
            step = step.add(one);
        },
    );
    let (gradient, none) = (W::load(dy), W::splat(0.0));
    step = none;
    places.each(
        #[inline(always)]
        |place| {
            W::load(&dx[place]).add(found.if_equal(step, gradient, none)).store(&mut dx[place]);
            step = step.add(one);
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(kernel: usize, stride: usize, pad: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pads: [[pad; 2]; 2] }
    }

    /// One channel in lane 0.
    fn image(values: &[f32]) -> Vec<f32> {
        values.iter().flat_map(|&value| std::iter::once(value).chain([f32::NAN; LANES - 1])).collect()
    }

    fn lane(blocked: &[f32]) -> Vec<f32> {
        blocked.iter().step_by(LANES).copied().collect()
    }

    #[test]
    fn maxima_keep_nan_and_their_gradient_goes_to_the_first() {
        let x = image(&[1.0, 1.0, f32::NAN, 5.0, 0.0, -1.0, 2.0, 2.0]);
        for isa in Isa::available() {
            let pool = Pool::new([2, 4], [1, 2], window(2, 2, 0), Rule::Max);
            let mut y = vec![0.0; 2 * LANES];
            pool.forward(isa, &x, &mut y);
            let y = lane(&y);
            assert!(y[0] == 1.0 && y[1].is_nan(), "{y:?}");
            let mut dx = vec![9.0; x.len()];
            pool.backward(isa, &x, &image(&[3.0, 4.0]), &mut dx);
            assert_eq!(lane(&dx), [3.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn windows_overlap_and_reach_into_the_padding() {
        let x = image(&[1.0, 2.0, 3.0, 4.0]);
        for isa in Isa::available() {
            let pool = Pool::new([2, 2], [2, 2], window(3, 1, 1), Rule::Average(vec![4.0, 4.0, 9.0, 4.0]));
            let mut y = vec![0.0; 4 * LANES];
            pool.forward(isa, &x, &mut y);
            assert_eq!(lane(&y), [2.5, 2.5, 10.0 / 9.0, 2.5]);
            let mut dx = vec![0.0; x.len()];
            pool.backward(isa, &x, &image(&[4.0, 0.0, 9.0, 8.0]), &mut dx);
            assert_eq!(lane(&dx), [4.0; 4]);
        }
    }
}
