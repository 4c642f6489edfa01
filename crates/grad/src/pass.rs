//! What is asked of a network, and what it answers.

/// How normalizations are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Batch normalization uses the running statistics.
    #[default]
    Evaluate,
    /// Batch normalization uses those of the batch. `Dropout` stays inactive in both modes: it would need a key.
    Train,
}

/// A forward and backward pass over one batch.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The images, row-major, all of the batch.
    pub images: &'a [f32],
    /// How many images there are.
    pub batch: usize,
    /// What is differentiated.
    pub objective: Objective<'a>,
    /// How normalizations are computed.
    pub mode: Mode,
    /// The parameters whose gradients are wanted, by index.
    pub parameters: &'a [usize],
    /// The values whose gradients are wanted, by name: outputs of nodes, and the graph's input.
    pub values: &'a [&'a str],
}

/// What is differentiated.
///
/// Cross-entropies are of the first output, a matrix `[batch, K]` of logits. If the graph ends in a `Softmax` over the
/// classes, they are of what that is applied to, which is the same number computed stably.
#[derive(Clone, Copy, Debug)]
pub enum Objective<'a> {
    /// The mean over the batch of the cross-entropy with targets `(1 - smoothing) * onehot + smoothing / K` (Szegedy et al.,
    /// "Rethinking the Inception Architecture" (2016), section 7).
    CrossEntropy {
        /// The class of each image, below K.
        labels: &'a [u32],
        /// From 0 to 1.
        smoothing: f32,
    },
    /// The mean over the batch of the cross-entropy with these targets, `[batch, K]` row-major; they need not sum to 1.
    SoftTargets(&'a [f32]),
    /// The first output times these factors, summed: the gradient of the output is given. The loss is that sum.
    Cotangent(&'a [f32]),
}

/// The results of a pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// The objective.
    pub loss: f64,
    /// The first output, row-major.
    pub outputs: Vec<f32>,
    /// For each parameter of the pass the gradient, row-major; zeros where the objective does not depend on it.
    pub parameters: Vec<Vec<f32>>,
    /// For each value of the pass the gradient, row-major.
    pub values: Vec<Vec<f32>>,
    /// What batch normalizations measured, in the order of the graph; empty in [`Mode::Evaluate`].
    pub statistics: Vec<BatchStatistics>,
}

/// What a batch normalization measured in a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// The parameter that holds the running mean.
    pub mean: usize,
    /// The parameter that holds the running variance.
    pub variance: usize,
    /// As ONNX has it: `running * momentum + batch * (1 - momentum)` is the new running statistic.
    pub momentum: f32,
    /// The mean of each channel.
    pub batch_mean: Vec<f32>,
    /// The unbiased variance of each channel; the biased one if there is a single value.
    pub batch_variance: Vec<f32>,
}

/// The name and the operator of a value that a node computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// The value's name.
    pub name: String,
    /// The operator of the node that computes it.
    pub op_type: String,
}

/// The product of the Hessian of an objective with a direction.
#[derive(Clone, Debug, PartialEq)]
pub struct HessianProduct {
    /// The objective.
    pub loss: f64,
    /// For each parameter of the pass the gradient.
    pub gradients: Vec<Vec<f32>>,
    /// For each parameter of the pass the product, row-major.
    pub products: Vec<Vec<f32>>,
    /// How it was computed.
    pub method: HessianMethod,
}

/// How a Hessian product was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HessianMethod {
    /// By differentiating the backward pass: exact but for rounding. Where an operator has a kink, such as `Relu` at 0, the
    /// second derivative counts as 0, as the gradients on both sides have it.
    DoubleBackward,
    /// By following how the values and the gradients of one forward and one backward pass move along the direction (Pearlmutter, "Fast exact
    /// multiplication by the Hessian" (1994)): the same number, with kinks as above.
    ForwardOverReverse,
}
