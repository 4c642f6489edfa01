//! Standardizing: mean 0 and variance 1 over some axes, as every normalization needs.
//!
//! With `y = (x - mean) / sd` and `n` values, the gradient of `x` for a gradient `g` of `y` is
//! `(g - mean(g) - y * mean(g * y)) / sd` (Ioffe and Szegedy, "Batch normalization" (2015), section 3, with its terms gathered). One step
//! on the tape instead of a dozen. It keeps `y` and `1 / sd`, which have derivatives of their own where the level below is a tape:
//! that of `1 / sd` by `x` is `-y / (n sd^2)`.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;

use super::Kernels;
use crate::float::Float;

/// A standardized tensor, and what it was standardized by.
pub(crate) struct Standardized<B: Backend> {
    /// Mean 0 and variance just below 1 over the axes.
    pub(crate) values: FloatTensor<B>,
    /// The mean, size 1 along the axes; without a gradient.
    pub(crate) mean: FloatTensor<B>,
    /// The biased variance, size 1 along the axes; without a gradient.
    pub(crate) variance: FloatTensor<B>,
    /// `1 / sqrt(variance + epsilon)`.
    inverse: FloatTensor<B>,
}

pub(super) fn plain<B: Backend>(x: FloatTensor<B>, axes: &[usize], epsilon: f64) -> Standardized<B> {
    let x = Float::<B>::new(x);
    let mean = x.clone().mean(axes).into_primitive();
    let centred = Float::<B>::new(B::float_sub(x.into_primitive(), mean.clone()));
    let square = |x: FloatTensor<B>| B::float_mul(x.clone(), x);
    let variance = centred.clone().map(square).mean(axes);
    let inverse = variance.clone().shift(epsilon).map(|x| B::float_recip(B::float_sqrt(x))).into_primitive();
    let values = B::float_mul(centred.into_primitive(), inverse.clone());
    Standardized { values, mean, variance: variance.into_primitive(), inverse }
}

#[derive(Debug)]
struct Standardize;

/// The values, the inverse deviation, the axes.
type State<B> = (FloatTensor<B>, FloatTensor<B>, Vec<usize>);

impl<B: Kernels> Backward<B, 1> for Standardize {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (values, inverse, axes) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |gradient| {
            let mean = |x: FloatTensor<B>| Float::<B>::new(x).mean(&axes).into_primitive();
            let along = mean(B::float_mul(gradient.clone(), values.clone()));
            let centred = B::float_sub(gradient.clone(), mean(gradient));
            B::float_mul(B::float_sub(centred, B::float_mul(values, along)), inverse)
        });
    }
}

#[derive(Debug)]
struct Inverse;

impl<B: Kernels> Backward<B, 1> for Inverse {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let (values, inverse, axes) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |gradient| {
            let shape = Float::<B>::new(values.clone()).shape();
            let count: usize = axes.iter().map(|&axis| shape[axis]).product();
            let square = B::float_mul(inverse.clone(), inverse);
            let slope = Float::<B>::new(B::float_mul(gradient, square)).scale(-1.0 / count as f64);
            B::float_mul(values, slope.into_primitive())
        });
    }
}

pub(super) fn recorded<B: Kernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    axes: &[usize],
    epsilon: f64,
) -> Standardized<Autodiff<B, C>> {
    let (again, node) = (x.node(), x.node());
    let Standardized { values, mean, variance, inverse } = B::standardize(x.into_primitive(), axes, epsilon);
    let kept = (values.clone(), inverse.clone(), axes.to_vec());
    let [mean, variance] = [mean, variance].map(FloatTensor::<Autodiff<B, C>>::new);
    let first = Standardize.prepare::<C>([again]).compute_bound();
    let values = match first.stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(kept.clone(), values),
        OpsKind::UnTracked(prepared) => prepared.finish(values),
    };
    let inverse = match Inverse.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish(kept, inverse),
        OpsKind::UnTracked(prepared) => prepared.finish(inverse),
    };
    Standardized { values, mean, variance, inverse }
}
