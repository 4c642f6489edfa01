//! The float tensors that a network stores.

/// A float tensor that the network stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in the file ([`TensorInfo::name`](bitquake_tensors::TensorInfo::name)): that of the initializer, or of the
    /// `Constant` node's output.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: ParameterRole,
}

impl Parameter {
    /// How many values it has.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What a stored float tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterRole {
    /// It is trained.
    Weight,
    /// It is measured: the running mean or variance of a batch normalization.
    Statistic,
    /// It sets how something is computed: bounds of `Clip`, scales of quantizers, factors.
    Setting,
}
