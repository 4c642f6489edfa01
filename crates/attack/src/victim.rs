//! What an attack asks of a network.

use crate::error::AttackError;

/// The loss that the attacker raises, and its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Slopes {
    /// The loss at the present weights.
    pub loss: f64,
    /// For each attacked tensor, in order, the gradient with respect to its weights, row-major.
    pub gradients: Vec<Vec<f32>>,
}

/// Another value for one weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The attacked tensor.
    pub tensor: usize,
    /// The element.
    pub element: u64,
    /// What the network would compute with.
    pub level: f32,
}

/// A network under attack: it tells the loss that the attacker raises at its present weights, and at weights that differ in a
/// few values.
///
/// The probes of one call share everything but their changes, so an implementation may compute what they have in common once.
pub trait Victim {
    /// The loss and its gradient at the present weights.
    ///
    /// # Errors
    /// What the network says.
    fn slopes(&mut self) -> Result<Slopes, AttackError>;

    /// The loss under each of several sets of changes, each on top of the present weights. It may be NaN or infinite.
    ///
    /// # Errors
    /// What the network says.
    fn losses(&mut self, probes: &[Vec<Change>]) -> Result<Vec<f64>, AttackError>;

    /// Changes the present weights.
    ///
    /// # Errors
    /// What the network says.
    fn commit(&mut self, changes: &[Change]) -> Result<(), AttackError>;
}
