//! Convolutions as the formula has them, in f64, on plain images: slow, and independent of the kernels.

use bitquake_kernels::Window;

/// A shape; channels are input and output.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub channels: [usize; 2],
    pub groups: usize,
    pub image: [usize; 2],
    pub window: Window,
}

impl Shape {
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let Window { kernel, stride, dilation, pads } = self.window;
            let padded = self.image[axis] + pads[axis][0] + pads[axis][1];
            (padded - (kernel[axis] - 1) * dilation[axis] - 1) / stride[axis] + 1
        })
    }

    pub fn x_len(&self) -> usize {
        self.channels[0] * self.image[0] * self.image[1]
    }

    pub fn y_len(&self) -> usize {
        let [rows, columns] = self.output();
        self.channels[1] * rows * columns
    }

    pub fn weights_len(&self) -> usize {
        let [rows, columns] = self.window.kernel;
        self.channels[1] * self.channels[0] / self.groups * rows * columns
    }

    /// Calls `with(x, weight, y)` with the indices of all products; none for an `x` in the pads.
    fn each_product(&self, mut with: impl FnMut(Option<usize>, usize, usize)) {
        let [from, to] = self.channels.map(|channels| channels / self.groups);
        let Window { kernel, stride, dilation, pads } = self.window;
        let output = self.output();
        for channel in 0..self.channels[1] {
            for row in 0..output[0] {
                for column in 0..output[1] {
                    for read in 0..from {
                        for ky in 0..kernel[0] {
                            for kx in 0..kernel[1] {
                                let at = |axis: usize, output: usize, place: usize| {
                                    let padded = output * stride[axis] + place * dilation[axis];
                                    padded.checked_sub(pads[axis][0]).filter(|&at| at < self.image[axis])
                                };
                                let plane = channel / to * from + read;
                                let x = at(0, row, ky).zip(at(1, column, kx));
                                let x = x.map(|(y, x)| (plane * self.image[0] + y) * self.image[1] + x);
                                let weight = ((channel * from + read) * kernel[0] + ky) * kernel[1] + kx;
                                with(x, weight, (channel * output[0] + row) * output[1] + column);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A sum of products, and what bounds its rounding errors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub value: f64,
    /// The sum of the absolute values.
    pub magnitude: f64,
    pub count: usize,
}

impl Sum {
    fn add(&mut self, product: f64) {
        self.value += product;
        self.magnitude += product.abs();
        self.count += 1;
    }

    /// How far a sum in f32 may be away, in any order: each product and each addition rounds by at most half of [`f32::EPSILON`], so the
    /// error of `n` products is below `(n + 1) * EPSILON / 2 / (1 - (n + 1) * EPSILON / 2)` times the magnitude (Higham, "Accuracy and
    /// Stability of Numerical Algorithms", 2nd edition, section 3.1), and twice that is allowed.
    pub fn tolerance(&self) -> f64 {
        (self.count + 2) as f64 * f64::from(f32::EPSILON) * self.magnitude
    }
}

/// `y`. What lies in the pads counts as a zero that is multiplied.
pub fn forward(shape: &Shape, x: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<Sum> {
    let mut y = vec![Sum::default(); shape.y_len()];
    let pixels = y.len() / shape.channels[1];
    if let Some(bias) = bias {
        for (index, sum) in y.iter_mut().enumerate() {
            sum.add(f64::from(bias[index / pixels]));
        }
    }
    shape.each_product(|from, weight, to| {
        y[to].add(from.map_or(0.0, |from| f64::from(x[from])) * f64::from(weights[weight]));
    });
    y
}

/// The gradient to `x`.
pub fn data_gradient(shape: &Shape, weights: &[f32], dy: &[f32]) -> Vec<Sum> {
    let mut dx = vec![Sum::default(); shape.x_len()];
    shape.each_product(|x, weight, y| {
        if let Some(x) = x {
            dx[x].add(f64::from(dy[y]) * f64::from(weights[weight]));
        }
    });
    dx
}

/// The gradient to the weights.
pub fn weight_gradient(shape: &Shape, x: &[f32], dy: &[f32]) -> Vec<Sum> {
    let mut dw = vec![Sum::default(); shape.weights_len()];
    shape.each_product(|from, weight, y| {
        dw[weight].add(from.map_or(0.0, |from| f64::from(x[from])) * f64::from(dy[y]));
    });
    dw
}

/// The gradient to `x` as a correlation of the padded `dy`: where a place of the kernel would read beyond `dy`, a zero is multiplied. The
/// same numbers as [`data_gradient`], but an infinite weight makes NaN there.
pub fn padded_data_gradient(shape: &Shape, weights: &[f32], dy: &[f32]) -> Vec<Sum> {
    let [from, to] = shape.channels.map(|channels| channels / shape.groups);
    let Window { kernel, stride, dilation, pads } = shape.window;
    let output = shape.output();
    // Where the place of the kernel reads on an axis: nothing between two results, `None` beyond all of them.
    let at = |axis: usize, pixel: usize, place: usize| {
        let distance = (pixel + pads[axis][0]) as isize - (place * dilation[axis]) as isize;
        let is_met = distance.rem_euclid(stride[axis] as isize) == 0;
        let at = usize::try_from(distance / stride[axis] as isize).ok();
        is_met.then(|| at.filter(|&at| distance >= 0 && at < output[axis]))
    };
    let mut dx = vec![Sum::default(); shape.x_len()];
    for (index, sum) in dx.iter_mut().enumerate() {
        let (pixel, channel) =
            (index % (shape.image[0] * shape.image[1]), index / (shape.image[0] * shape.image[1]));
        let (row, column) = (pixel / shape.image[1], pixel % shape.image[1]);
        for written in channel / from * to..(channel / from + 1) * to {
            for place in 0..kernel[0] * kernel[1] {
                let (ky, kx) = (place / kernel[1], place % kernel[1]);
                let weight = weights[(written * from + channel % from) * kernel[0] * kernel[1] + place];
                if let (Some(y), Some(x)) = (at(0, row, ky), at(1, column, kx)) {
                    let of = |(y, x): (usize, usize)| dy[(written * output[0] + y) * output[1] + x];
                    sum.add(y.zip(x).map_or(0.0, |place| f64::from(of(place))) * f64::from(weight));
                }
            }
        }
    }
    dx
}
