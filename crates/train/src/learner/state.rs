//! A learner's state as the tensors of a snapshot, and back.

use bitquake_storage::StorageSpec;

use super::Learner;
use crate::error::TrainError;
use crate::export::Which;
use crate::method::{MethodState, Stored, Weights};
use crate::snapshot::{Header, Snapshot, SnapshotTensor};

impl Learner {
    /// Everything that steps change, beside what `header` has.
    ///
    /// # Errors
    /// [`TrainError::Method`].
    pub(crate) fn snapshot(&self, mut header: Header) -> Result<Snapshot, TrainError> {
        let method = self.method.state()?;
        header.method = method.values;
        header.optimiser_steps = self.optimiser.steps();
        let weights = self.weights.tensors.iter().map(|tensor| SnapshotTensor {
            name: format!("weight/{}", tensor.name),
            shape: tensor.shape.clone(),
            values: tensor.values.clone(),
        });
        let statistics =
            self.statistics.iter().map(|statistic| flat("statistic", &statistic.name, &statistic.values));
        let optimiser = (0..).zip(self.optimiser.state());
        let optimiser = optimiser.map(|(number, values)| flat("optimiser", &format!("{number:05}"), values));
        let method = method.tensors.iter().map(|(name, values)| flat("method", name, values));
        let tensors = weights.chain(statistics).chain(optimiser).chain(method).collect();
        Ok(Snapshot { header, tensors })
    }

    /// Puts back what [`snapshot`](Self::snapshot) gave.
    ///
    /// # Errors
    /// [`TrainError::Snapshot`] when it is of another network.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) -> Result<(), TrainError> {
        let weights =
            self.weights.tensors.iter_mut().map(|tensor| (tensor.name.as_str(), &mut tensor.values));
        fill(snapshot, "weight", weights)?;
        let statistics =
            self.statistics.iter_mut().map(|statistic| (statistic.name.as_str(), &mut statistic.values));
        fill(snapshot, "statistic", statistics)?;
        let state: Vec<Vec<f32>> =
            snapshot.of_kind("optimiser").map(|(_, tensor)| tensor.values.clone()).collect();
        self.optimiser.restore(snapshot.header.optimiser_steps, &state)?;
        let tensors =
            snapshot.of_kind("method").map(|(name, tensor)| (name.to_owned(), tensor.values.clone()));
        let state = MethodState { values: snapshot.header.method.clone(), tensors: tensors.collect() };
        Ok(self.method.restore(&state, &self.weights)?)
    }

    /// The master weights after the last projection, or their average.
    pub(crate) fn weights(&mut self, which: Which) -> &Weights {
        self.method.project(&mut self.weights);
        match which {
            Which::Trained => &self.weights,
            Which::Averaged => self.method.averaged().unwrap_or(&self.weights),
        }
    }

    /// What the memory holds of some weights.
    pub(crate) fn stored(&mut self, weights: &Weights) -> Result<Stored, TrainError> {
        Ok(self.method.store(weights)?)
    }

    /// The `[storage]` by which a campaign makes the same codes of some weights.
    pub(crate) fn storage(&self, weights: &Weights) -> Result<StorageSpec, TrainError> {
        Ok(self.method.storage(weights)?)
    }

    /// The `[fault] select` by which a campaign hits what training hit.
    pub(crate) fn fault_select(&self) -> Vec<String> {
        self.method.fault_select(&self.weights)
    }

    /// The names and values of the running statistics.
    pub(crate) fn statistics(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.statistics.iter().map(|statistic| (statistic.name.as_str(), statistic.values.as_slice()))
    }
}

fn flat(kind: &str, name: &str, values: &[f32]) -> SnapshotTensor {
    SnapshotTensor { name: format!("{kind}/{name}"), shape: vec![values.len()], values: values.to_vec() }
}

/// Copies the tensors of a kind into the slots of the same names.
fn fill<'a>(
    snapshot: &Snapshot,
    kind: &str,
    slots: impl Iterator<Item = (&'a str, &'a mut Vec<f32>)>,
) -> Result<(), TrainError> {
    for (name, slot) in slots {
        let found = snapshot
            .tensors
            .iter()
            .find(|tensor| tensor.name.strip_prefix(kind) == Some(&format!("/{name}")));
        match found {
            Some(tensor) if tensor.values.len() == slot.len() => slot.copy_from_slice(&tensor.values),
            _ => {
                return Err(TrainError::Snapshot(format!(
                    "it has no {kind} `{name}` of {} values",
                    slot.len()
                )));
            }
        }
    }
    Ok(())
}
