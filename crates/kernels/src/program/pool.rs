//! Pools of blocked images, forward and backward. A NaN in a window gives a NaN.

mod tangent;

use super::vectorise::{Lanes, Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::{Isa, Window};

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
    /// Of each axis, for each place of the output.
    reaches: [Vec<Reach>; 2],
}

/// Where the image is looked at from one place of the output along one axis: the first step of the kernel that meets the image, and the
/// one after the last.
#[derive(Clone, Copy, Debug)]
struct Reach {
    steps: [usize; 2],
    /// Where step 0 would be, which may be in the padding.
    start: isize,
}

impl Reach {
    fn new(window: &Window, image: [usize; 2], axis: usize, at: usize) -> Reach {
        let Window { kernel, stride, dilation, pads } = window;
        let start = (at * stride[axis]) as isize - pads[axis][0] as isize;
        let is_inside = |step: &usize| {
            let place = start + (step * dilation[axis]) as isize;
            (0..image[axis] as isize).contains(&place)
        };
        let first = (0..kernel[axis]).find(is_inside).unwrap_or(0);
        let count = (first..kernel[axis]).take_while(|step| is_inside(step)).count();
        Reach { steps: [first, first + count], start }
    }
}

/// What is asked of a pool of maxima beside them.
#[derive(Default)]
pub(super) struct Maxima<'a> {
    /// Whether maxima below 0 become 0: as a ReLU does before the pool or after it, which is the same.
    pub(super) is_positive: bool,
    /// Where the gradient of each maximum goes: the step of its window, or -1 for nowhere; a blocked image of the output's shape.
    pub(super) winners: Option<&'a mut [f32]>,
}

/// What goes back through a pool.
pub(super) struct Slopes<'a> {
    /// Of a pool of maxima what [`Maxima::winners`] had; of averages nothing.
    pub(super) winners: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) dx: &'a mut [f32],
    /// The sums of a gradient through maxima over the pixels of the image, if they are wanted.
    pub(super) totals: Option<&'a mut [f32]>,
}

impl Pool {
    /// `output` is the size that the window gives.
    pub(super) fn new(image: [usize; 2], output: [usize; 2], window: Window, rule: Rule) -> Pool {
        let reaches =
            [0, 1].map(|axis| (0..output[axis]).map(|at| Reach::new(&window, image, axis, at)).collect());
        Pool { image, output, window, rule, reaches }
    }

    /// Whether it gives maxima.
    pub(super) fn is_max(&self) -> bool {
        self.rule == Rule::Max
    }

    /// `y` of `x`, both blocked images. Averages have no use for `maxima`.
    pub(super) fn forward(&self, isa: Isa, x: &[f32], y: &mut [f32], maxima: Maxima<'_>) {
        vectorised(isa, Forward { pool: self, x, y, maxima });
    }

    /// The gradient of the image from that of the output.
    pub(super) fn backward(&self, isa: Isa, slopes: Slopes<'_>) {
        vectorised(isa, Backward { pool: self, slopes });
    }

    /// Whether the windows are two by two, each pixel of the image in one of them.
    fn is_quads(&self) -> bool {
        let Window { kernel, stride, dilation, pads } = &self.window;
        *kernel == [2; 2]
            && *stride == [2; 2]
            && *dilation == [1; 2]
            && *pads == [[0; 2]; 2]
            && self.image == self.output.map(|size| 2 * size)
    }

    /// Calls `visit` with each place of the output and, through it, the places of the image that the window meets there, in order. With
    /// `QUADS`, for a pool that [`is_quads`](Self::is_quads), the compiler knows how many those are.
    #[inline(always)]
    fn each<const QUADS: bool>(&self, mut visit: impl FnMut(usize, Places)) {
        let [height, width] = self.output;
        let image = self.image[1] as isize;
        for row in 0..height {
            for column in 0..width {
                let places = if QUADS {
                    let reach = |at: usize| Reach { steps: [0, 2], start: 2 * at as isize };
                    Places { reach: [reach(row), reach(column)], dilation: [1; 2], width: image }
                } else {
                    let reach = [self.reaches[0][row], self.reaches[1][column]];
                    Places { reach, dilation: self.window.dilation, width: image }
                };
                visit(row * width + column, places);
            }
        }
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

    #[inline(always)]
    fn is_empty(self) -> bool {
        self.reach.iter().any(|reach| reach.steps[0] == reach.steps[1])
    }
}

struct Forward<'a> {
    pool: &'a Pool,
    x: &'a [f32],
    y: &'a mut [f32],
    maxima: Maxima<'a>,
}

impl Forward<'_> {
    #[inline(always)]
    fn maxima<W: Wide, const QUADS: bool, const WINNERS: bool>(self) {
        let Maxima { is_positive, winners } = self.maxima;
        let winners = lanes_mut(winners.unwrap_or_default());
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns);
        // No maximum is below the least: minus infinity changes none.
        let least = W::splat(if is_positive { 0.0 } else { f32::NEG_INFINITY });
        let (nowhere, zero) = (W::splat(-1.0), W::splat(0.0));
        let blocks = lanes(self.x).chunks_exact(size).zip(lanes_mut(self.y).chunks_exact_mut(out));
        for (block, (x, y)) in blocks.enumerate() {
            self.pool.each::<QUADS>(
                #[inline(always)]
                |at, places| {
                    let (most, winner) = largest::<W>(x, places);
                    let most = most.if_below(least, least, most);
                    most.store(&mut y[at]);
                    if WINNERS {
                        let winner =
                            if is_positive { most.if_at_most(zero, nowhere, winner) } else { winner };
                        winner.store(&mut winners[block * out + at]);
                    }
                },
            );
        }
    }

    #[inline(always)]
    fn averages<W: Wide>(self, divisors: &[f32]) {
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns);
        for (x, y) in lanes(self.x).chunks_exact(size).zip(lanes_mut(self.y).chunks_exact_mut(out)) {
            self.pool.each::<false>(
                #[inline(always)]
                |at, places| {
                    let mut sum = W::splat(0.0);
                    places.each(
                        #[inline(always)]
                        |place| sum = sum.add(W::load(&x[place])),
                    );
                    sum.div(W::splat(divisors[at])).store(&mut y[at]);
                },
            );
        }
    }
}

impl Sweep for Forward<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        match (&self.pool.rule, self.pool.is_quads(), self.maxima.winners.is_some()) {
            (Rule::Average(divisors), ..) => self.averages::<W>(divisors),
            (Rule::Max, false, false) => self.maxima::<W, false, false>(),
            (Rule::Max, false, true) => self.maxima::<W, false, true>(),
            (Rule::Max, true, false) => self.maxima::<W, true, false>(),
            (Rule::Max, true, true) => self.maxima::<W, true, true>(),
        }
    }
}

/// The largest value of a window, and the step at which it stands: the first of equal ones, the last NaN where there is one, -1 if the
/// window meets nothing.
#[inline(always)]
fn largest<W: Wide>(x: &[Lanes], places: Places) -> (W, W) {
    let mut most = W::splat(f32::NEG_INFINITY);
    // Steps are counted in floats: windows have fewer than floats count exactly.
    let (mut step, one) = (W::splat(0.0), W::splat(1.0));
    let mut winner = W::splat(if places.is_empty() { -1.0 } else { 0.0 });
    places.each(
        #[inline(always)]
        |place| {
            let value = W::load(&x[place]);
            winner = value.if_nan(step, most.if_below(value, step, winner));
            most = value.if_nan(value, most.if_below(value, value, most));
            step = step.add(one);
        },
    );
    (most, winner)
}

struct Backward<'a> {
    pool: &'a Pool,
    slopes: Slopes<'a>,
}

impl Backward<'_> {
    #[inline(always)]
    fn maxima<W: Wide, const QUADS: bool>(self) {
        let Slopes { winners, dy, dx, mut totals } = self.slopes;
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns);
        let (zero, one) = (W::splat(0.0), W::splat(1.0));
        if !QUADS {
            dx.fill(0.0);
        }
        let images = lanes(dy).chunks_exact(out).zip(lanes_mut(dx).chunks_exact_mut(size));
        for (block, ((dy, dx), winners)) in images.zip(lanes(winners).chunks_exact(out)).enumerate() {
            let mut total = zero;
            self.pool.each::<QUADS>(
                #[inline(always)]
                |at, places| {
                    let (gradient, winner) = (W::load(&dy[at]), W::load(&winners[at]));
                    total = total.add(winner.if_below(zero, zero, gradient));
                    let mut step = zero;
                    places.each(
                        #[inline(always)]
                        |place| {
                            let here = winner.if_equal(step, gradient, zero);
                            let sum = if QUADS { here } else { W::load(&dx[place]).add(here) };
                            sum.store(&mut dx[place]);
                            step = step.add(one);
                        },
                    );
                },
            );
            if let Some(totals) = totals.as_deref_mut() {
                total.store(&mut lanes_mut(totals)[block]);
            }
        }
    }

    #[inline(always)]
    fn averages<W: Wide>(self, divisors: &[f32]) {
        let Slopes { dy, dx, .. } = self.slopes;
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns);
        dx.fill(0.0);
        for (dy, dx) in lanes(dy).chunks_exact(out).zip(lanes_mut(dx).chunks_exact_mut(size)) {
            self.pool.each::<false>(
                #[inline(always)]
                |at, places| {
                    let share = W::load(&dy[at]).div(W::splat(divisors[at]));
                    places.each(
                        #[inline(always)]
                        |place| W::load(&dx[place]).add(share).store(&mut dx[place]),
                    );
                },
            );
        }
    }
}

impl Sweep for Backward<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        match (&self.pool.rule, self.pool.is_quads()) {
            (Rule::Average(divisors), _) => self.averages::<W>(divisors),
            (Rule::Max, false) => self.maxima::<W, false>(),
            (Rule::Max, true) => self.maxima::<W, true>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LANES;

    pub(super) fn window(kernel: usize, stride: usize, pad: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], dilation: [1; 2], pads: [[pad; 2]; 2] }
    }

    /// One channel in lane 0.
    pub(super) fn image(values: &[f32]) -> Vec<f32> {
        values.iter().flat_map(|&value| std::iter::once(value).chain([f32::NAN; LANES - 1])).collect()
    }

    pub(super) fn lane(blocked: &[f32]) -> Vec<f32> {
        blocked.iter().step_by(LANES).copied().collect()
    }

    #[test]
    fn maxima_keep_nan_and_their_gradient_goes_to_the_first() {
        let x = image(&[1.0, 1.0, f32::NAN, 5.0, 0.0, -1.0, 2.0, 2.0]);
        for isa in Isa::available() {
            let pool = Pool::new([2, 4], [1, 2], window(2, 2, 0), Rule::Max);
            let mut y = vec![0.0; 2 * LANES];
            let mut winners = vec![0.0; 2 * LANES];
            pool.forward(isa, &x, &mut y, Maxima { is_positive: false, winners: Some(&mut winners) });
            let y = lane(&y);
            assert!(y[0] == 1.0 && y[1].is_nan(), "{y:?}");
            let mut dx = vec![9.0; x.len()];
            let dy = image(&[3.0, 4.0]);
            pool.backward(isa, Slopes { winners: &winners, dy: &dy, dx: &mut dx, totals: None });
            assert_eq!(lane(&dx), [3.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn windows_overlap_and_reach_into_the_padding() {
        let x = image(&[1.0, 2.0, 3.0, 4.0]);
        for isa in Isa::available() {
            let pool = Pool::new([2, 2], [2, 2], window(3, 1, 1), Rule::Average(vec![4.0, 4.0, 9.0, 4.0]));
            let mut y = vec![0.0; 4 * LANES];
            pool.forward(isa, &x, &mut y, Maxima::default());
            assert_eq!(lane(&y), [2.5, 2.5, 10.0 / 9.0, 2.5]);
            let mut dx = vec![0.0; x.len()];
            let dy = image(&[4.0, 0.0, 9.0, 8.0]);
            pool.backward(isa, Slopes { winners: &[], dy: &dy, dx: &mut dx, totals: None });
            assert_eq!(lane(&dx), [4.0; 4]);
        }
    }

    /// Windows side by side and windows that overlap: a pool of positive maxima is a ReLU and a pool.
    #[test]
    fn positive_maxima_are_those_of_a_relu() {
        let values = [
            [-1.0, -2.0, f32::NAN, -1.0],
            [-3.0, 0.0, 7.0, 7.0],
            [4.0, 1.0, -5.0, f32::NEG_INFINITY],
            [4.0, 9.0, -5.0, 2.0],
        ];
        let x = image(values.as_flattened());
        let relu: Vec<f32> = x.iter().map(|&value| if value < 0.0 { 0.0 } else { value }).collect();
        let windows = [window(2, 2, 0), window(3, 2, 1), window(2, 2, 1)];
        let all = Isa::available().into_iter();
        for (isa, window) in all.flat_map(|isa| windows.map(|window| (isa, window))) {
            let output = window.output([4; 2]).expect("a window that fits");
            let floats = output[0] * output[1] * LANES;
            let pool = Pool::new([4; 2], output, window, Rule::Max);
            let (mut y, mut wanted, mut winners) = (vec![0.0; floats], vec![0.0; floats], vec![0.0; floats]);
            pool.forward(isa, &relu, &mut wanted, Maxima::default());
            pool.forward(isa, &x, &mut y, Maxima { is_positive: true, winners: Some(&mut winners) });
            assert_eq!(format!("{:?}", lane(&y)), format!("{:?}", lane(&wanted)), "{isa} {output:?}");
            let dy = image(&(1..=floats / LANES).map(|value| value as f32).collect::<Vec<_>>());
            let (mut dx, mut totals) = (vec![9.0; x.len()], vec![9.0; LANES]);
            pool.backward(isa, Slopes { winners: &winners, dy: &dy, dx: &mut dx, totals: Some(&mut totals) });
            let dx = lane(&dx);
            let passes: f32 = lane(&y)
                .iter()
                .zip(lane(&dy))
                .map(|(&y, dy)| if y.is_nan() || y > 0.0 { dy } else { 0.0 })
                .sum();
            assert_eq!((totals[0], dx.iter().sum::<f32>()), (passes, passes), "{isa} {output:?}");
            let blocked = x.iter().step_by(LANES).zip(&dx).filter(|(x, _)| **x <= 0.0);
            assert!(blocked.map(|(_, dx)| *dx).all(|dx| dx == 0.0), "{isa} {output:?} {dx:?}");
        }
    }
}
