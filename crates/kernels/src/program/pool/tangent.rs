//! The tangents of pools of maxima.

use super::{Pool, Rule, Sweep, Wide, lanes, lanes_mut, vectorised};
use crate::Isa;

struct Chosen<'a> {
    pool: &'a Pool,
    winners: &'a [f32],
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Pool {
    /// What stands in `x` where the maxima of another image stood, as [`Maxima::winners`](super::Maxima::winners) tells; 0 where it tells of
    /// none. All blocked images.
    pub(in crate::program) fn chosen(&self, isa: Isa, winners: &[f32], x: &[f32], y: &mut [f32]) {
        debug_assert!(self.rule == Rule::Max, "averages choose nothing");
        vectorised(isa, Chosen { pool: self, winners, x, y });
    }
}

impl Chosen<'_> {
    #[inline(always)]
    fn sweep<W: Wide, const QUADS: bool>(self) {
        let [size, out] = [self.pool.image, self.pool.output].map(|[rows, columns]| rows * columns);
        let (zero, one) = (W::splat(0.0), W::splat(1.0));
        let blocks = lanes(self.x).chunks_exact(size).zip(lanes_mut(self.y).chunks_exact_mut(out));
        for ((x, y), winners) in blocks.zip(lanes(self.winners).chunks_exact(out)) {
            self.pool.each::<QUADS>(
                #[inline(always)]
                |at, places| {
                    let winner = W::load(&winners[at]);
                    let (mut step, mut found) = (zero, zero);
                    places.each(
                        #[inline(always)]
                        |place| {
                            found = winner.if_equal(step, W::load(&x[place]), found);
                            step = step.add(one);
                        },
                    );
                    found.store(&mut y[at]);
                },
            );
        }
    }
}

impl Sweep for Chosen<'_> {
    #[inline(always)]
    fn run<W: Wide>(self) {
        if self.pool.is_quads() {
            self.sweep::<W, true>();
        } else {
            self.sweep::<W, false>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{image, lane, window};
    use super::super::{Maxima, Slopes};
    use super::*;
    use crate::LANES;

    /// What is chosen is the transpose of where the gradient goes: `dy * chosen(x) = backward(dy) * x`.
    #[test]
    fn chosen_values_are_the_transpose_of_the_gradient() {
        let from =
            image(&[1.0, 5.0, f32::NAN, 0.0, -3.0, 2.0, 7.0, 7.0, -1.0, -2.0, 4.0, 1.0, 0.5, -6.0, 3.0, 8.0]);
        let x = image(&(0..16).map(|place| (place * place % 11) as f32).collect::<Vec<_>>());
        let windows = [window(2, 2, 0), window(3, 1, 1)];
        let all = Isa::available().into_iter();
        for (isa, window) in all.flat_map(|isa| windows.map(|window| (isa, window))) {
            let output = window.output([4; 2]).expect("a window that fits");
            let floats = output[0] * output[1] * LANES;
            let pool = Pool::new([4; 2], output, window, Rule::Max);
            let (mut y, mut winners) = (vec![0.0; floats], vec![0.0; floats]);
            pool.forward(isa, &from, &mut y, Maxima { is_positive: true, winners: Some(&mut winners) });
            pool.chosen(isa, &winners, &x, &mut y);
            let dy = image(&(1..=floats / LANES).map(|value| value as f32).collect::<Vec<_>>());
            let mut dx = vec![0.0; x.len()];
            pool.backward(isa, Slopes { winners: &winners, dy: &dy, dx: &mut dx, totals: None });
            let product = |a: &[f32], b: &[f32]| lane(a).iter().zip(lane(b)).map(|(a, b)| a * b).sum::<f32>();
            assert_eq!(product(&dy, &y), product(&dx, &x), "{isa} {output:?}");
            assert!(lane(&y).iter().any(|&value| value != 0.0));
        }
    }
}
