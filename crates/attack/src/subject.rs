//! The network under attack.

use bitquake_data::Dataset;
use bitquake_grad::{Edit, GradError, Mode, Network, Objective as GradObjective, Pass};
use bitquake_record::predictions;

use crate::error::AttackError;
use crate::victim::{Change, Slopes, Victim};
use crate::words::AttackedWords;

/// A network, and which of its parameters are attacked.
#[derive(Debug)]
pub struct Subject {
    network: Network,
    /// The parameter that each attacked tensor is.
    places: Vec<usize>,
    classes: u32,
}

/// The images that the attacker computes on, and what of them he raises: `sign` times the mean cross-entropy of the classes
/// `aims`.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackBatch {
    /// The images, row-major, one after another.
    pub images: Vec<f32>,
    /// A class for each image.
    pub aims: Vec<u32>,
    /// 1 for classes that the attacker leads away from, -1 for those that he leads to.
    pub sign: f32,
}

/// A subject with a batch to attack it on.
///
/// On the CPU, probes are run together where the network has a program of kernels: what comes before the first layer that a probe changes is
/// computed once for all of them. The losses are the same bits as those of passes one by one.
#[derive(Debug)]
pub struct SubjectVictim<'a> {
    subject: &'a mut Subject,
    batch: &'a AttackBatch,
}

impl Subject {
    /// The network whose parameters hold what the memory stores.
    ///
    /// # Errors
    /// [`AttackError::NotAttackable`] for a tensor that the network does not compute with, [`AttackError::Setting`] for a network
    /// that has not two outputs or more.
    pub fn new(network: Network, words: &AttackedWords) -> Result<Self, AttackError> {
        let place = |tensor: &crate::words::AttackedTensor| {
            let found = network.parameters().iter().position(|parameter| parameter.name == tensor.name());
            found.ok_or_else(|| AttackError::NotAttackable {
                tensor: tensor.name().to_owned(),
                format: tensor.format(),
                reason: "the network computes nothing with it".to_owned(),
            })
        };
        let places = words.tensors().iter().map(place).collect::<Result<_, _>>()?;
        let classes = classes(&network)?;
        Ok(Self { network, places, classes })
    }

    /// The network.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The parameter that each attacked tensor is.
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The number of outputs.
    pub(crate) fn classes(&self) -> u32 {
        self.classes
    }

    /// Gives the network what the words stand for.
    ///
    /// # Errors
    /// None for the words that the subject was made with.
    pub fn load(&mut self, words: &AttackedWords) -> Result<(), AttackError> {
        for (&place, tensor) in self.places.iter().zip(words.tensors()) {
            let levels: Vec<f32> =
                (0..tensor.elements()).map(|element| tensor.level(element, tensor.word(element))).collect();
            self.network.set_parameter(place, &levels)?;
        }
        Ok(())
    }

    /// The values of an attacked tensor that the network computes with.
    pub(crate) fn values(&self, tensor: usize) -> &[f32] {
        self.network.parameter(self.places[tensor])
    }

    /// The class that the network gives each of some images, `size` of them at a time.
    pub(crate) fn predict(&self, data: &Dataset, rows: &[u64], size: usize) -> Result<Vec<u32>, AttackError> {
        let mut classes = Vec::with_capacity(rows.len());
        for rows in rows.chunks(size) {
            let outputs = self.network.forward(&gather(data, rows), rows.len(), Mode::Evaluate)?;
            classes.extend(predictions(&outputs, rows.len()));
        }
        Ok(classes)
    }

    /// The first value of the network that is not finite on a batch.
    pub(crate) fn first_nonfinite(&self, batch: &AttackBatch) -> Result<Option<String>, AttackError> {
        Ok(self.network.first_nonfinite(&batch.images, batch.aims.len(), Mode::Evaluate)?)
    }

    /// The network with images to attack it on.
    pub fn victim<'a>(&'a mut self, batch: &'a AttackBatch) -> SubjectVictim<'a> {
        SubjectVictim { subject: self, batch }
    }

    fn pass(&self, batch: &AttackBatch, parameters: &[usize]) -> Result<Slopes, GradError> {
        let found = self.network.gradients(&batch.pass(parameters))?;
        let mut gradients = found.parameters;
        gradients.iter_mut().flatten().for_each(|slope| *slope *= batch.sign);
        Ok(Slopes { loss: found.loss * f64::from(batch.sign), gradients })
    }

    /// Sets elements of parameters, and returns the values before.
    fn set(&mut self, changes: &[Change]) -> Result<Vec<(usize, Vec<f32>)>, GradError> {
        let mut before: Vec<(usize, Vec<f32>)> = Vec::new();
        let mut tensors: Vec<usize> = changes.iter().map(|change| change.tensor).collect();
        tensors.sort_unstable();
        tensors.dedup();
        for tensor in tensors {
            let place = self.places[tensor];
            let old = self.network.parameter(place).to_vec();
            let mut new = old.clone();
            for change in changes.iter().filter(|change| change.tensor == tensor) {
                new[change.element as usize] = change.level;
            }
            self.network.set_parameter(place, &new)?;
            before.push((place, old));
        }
        Ok(before)
    }

    /// Gives parameters the values that they had before.
    fn restore(&mut self, before: Vec<(usize, Vec<f32>)>) -> Result<(), GradError> {
        for (place, values) in before {
            self.network.set_parameter(place, &values)?;
        }
        Ok(())
    }
}

impl AttackBatch {
    /// A pass over the images, for the gradients of some parameters.
    fn pass<'a>(&'a self, parameters: &'a [usize]) -> Pass<'a> {
        Pass {
            images: &self.images,
            batch: self.aims.len(),
            objective: GradObjective::CrossEntropy { labels: &self.aims, smoothing: 0.0 },
            mode: Mode::Evaluate,
            parameters,
            values: &[],
        }
    }
}

impl SubjectVictim<'_> {
    /// The loss and its gradient under changes on top of the present weights.
    pub(crate) fn slopes_under(&mut self, changes: &[Change]) -> Result<Slopes, AttackError> {
        let before = self.subject.set(changes)?;
        let slopes = self.subject.pass(self.batch, &self.subject.places);
        self.subject.restore(before)?;
        Ok(slopes?)
    }
}

impl Victim for SubjectVictim<'_> {
    fn slopes(&mut self) -> Result<Slopes, AttackError> {
        Ok(self.subject.pass(self.batch, &self.subject.places)?)
    }

    fn losses(&mut self, probes: &[Vec<Change>]) -> Result<Vec<f64>, AttackError> {
        let Subject { network, places, .. } = &mut *self.subject;
        let edit = |change: &Change| Edit {
            parameter: places[change.tensor],
            element: change.element as usize,
            value: change.level,
        };
        let edits: Vec<Vec<Edit>> = probes.iter().map(|probe| probe.iter().map(edit).collect()).collect();
        let losses = network.losses(&self.batch.pass(&[]), &edits)?;
        Ok(losses.into_iter().map(|loss| loss * f64::from(self.batch.sign)).collect())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), AttackError> {
        self.subject.set(changes)?;
        Ok(())
    }
}

/// The values of some images, one after another.
pub(crate) fn gather(data: &Dataset, rows: &[u64]) -> Vec<f32> {
    rows.iter().flat_map(|&row| data.images(row as usize..row as usize + 1)).copied().collect()
}

/// The number of classes: the outputs for one image.
fn classes(network: &Network) -> Result<u32, AttackError> {
    let classes = network.outputs()?;
    match u32::try_from(classes) {
        Ok(classes) if classes >= 2 => Ok(classes),
        _ => Err(AttackError::setting(
            "[model]",
            format!("the network has {classes} output(s); one for each class is needed, two or more"),
        )),
    }
}
