//! Straight-through estimation: one value forward, the gradient to another.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn_backend::tensor::FloatTensor;

use super::Kernels;

#[derive(Debug)]
struct Straight;

impl<B: Kernels> Backward<B, 1> for Straight {
    type State = ();

    fn backward(self, ops: Ops<(), 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        unary::<B, _>(ops.parents, ops.node, grads, |gradient| gradient);
    }
}

/// `shown` forward, the gradient to `x`.
pub(super) fn recorded<B: Kernels, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    shown: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, node) = x.into_parts();
    let shown = B::straight_through(x, shown.into_primitive());
    match Straight.prepare::<C>([node]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((), shown),
        OpsKind::UnTracked(prepared) => prepared.finish(shown),
    }
}
