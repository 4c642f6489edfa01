//! Taps: a leaf that receives the gradient of a value in the middle.

use burn_autodiff::Autodiff;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::NoCheckpointing;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind, binary};
use burn_backend::Backend;
use burn_backend::tensor::FloatTensor;

#[derive(Debug)]
struct Tap;

impl<B: Backend> Backward<B, 2> for Tap {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        binary::<B, _, _>(ops.parents, ops.node, grads, |gradient| gradient, |gradient| gradient);
    }
}

/// The value unchanged, and a leaf that gets its gradient: gradients of values in the middle are not kept otherwise.
pub(crate) fn tap<B: Backend>(
    value: FloatTensor<Autodiff<B>>,
) -> (FloatTensor<Autodiff<B>>, FloatTensor<Autodiff<B>>) {
    let (value, node) = value.into_parts();
    let leaf = FloatTensor::<Autodiff<B>>::new(value.clone()).require_grad();
    let value = match Tap.prepare::<NoCheckpointing>([node, leaf.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => prepared.finish((), value),
        OpsKind::UnTracked(prepared) => prepared.finish(value),
    };
    (value, leaf)
}
