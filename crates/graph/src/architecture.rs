//! Networks by name, as ONNX models with initial weights.
//!
//! An [`Architecture`] is a table of options, as a recipe holds it; [`Architecture::build`] makes the bytes of an ONNX
//! file of it. What there is stands in two tables: [`FAMILIES`], the networks, and [`KEYS`], the options.
//!
//! Every network is a classifier. Input `images`, f32 `[batch, channels, height, width]`; output `logits`, f32
//! `[batch, classes]`, one for each class, also when there are two. Around the body of the family:
//!
//! 1. `clamp`: pixels are limited to `[0, 1]`;
//! 2. `whiten`: `(pixel - mean) / std` for each channel;
//! 3. `rescale`: `2 x - 1`;
//! 4. the body, and a linear layer `logits` with bias;
//! 5. `logit_scale`: a factor on the logits.
//!
//! # Names
//!
//! A layer's name is that of its last node, and its output is `<layer>.out`: `conv1.out`, `norm1.out`, `act1.out`,
//! `block2.1.conv2.out`; the last one is `logits`. Parameters are `<layer>.weight` and `<layer>.bias` of convolutions and linear
//! layers; `<layer>.scale`, `<layer>.shift`, `<layer>.mean` and `<layer>.variance` of normalizations; `<layer>.alpha` of PACT
//! activations. Blocks are `block<stage>.<index>`, stages from 1, indices from 0. Names are stable: they do not depend on
//! normalization, activation or channels.
//!
//! Constants that are not trained are marked ([`TensorSpec::setting`](crate::build::TensorSpec::setting)): whitening, rescaling,
//! logit scale, the bounds and steps of activations, the affine part that a `fixed` normalization lacks. No campaign, quantizer
//! or optimiser takes them for weights.
//!
//! # Initial weights
//!
//! They are a function of the seed and the parameter's name, by integer arithmetic and exactly rounded operations alone: the
//! same bytes on every machine. Biases and shifts are 0, scales are 1.

mod activation;
mod error;
mod families;
mod fresh;
mod initial;
mod input;
mod keys;
mod layers;
mod lenet;
mod mlp;
mod normalization;
mod options;
mod plan;
mod resnet;
mod resolve;
mod simplenet;
mod vgg;
mod wide_resnet;

use bitquake_tensors::Role;
use serde::{Deserialize, Serialize};

pub use error::ArchitectureError;
pub use families::{FAMILIES, FamilyRow};
pub use fresh::{FreshError, fresh_weights};
pub use keys::{ArchitectureKey, KEYS};
pub use options::{Activation, Distribution, Fan, Norm, Whitening};
pub use plan::PlannedTensor;

use plan::Plan;
use resolve::Resolved;

/// A network: one of [`FAMILIES`] and its options, [`KEYS`]. What is `None` has the family's default; unknown keys are errors.
///
/// ```
/// use bitquake_graph::architecture::Architecture;
///
/// let simplenet: Architecture = toml::from_str(
///     "architecture = 'simplenet'\n\
///      channels = 32\n\
///      norm = 'regn'\n\
///      input = [3, 32, 32]\n\
///      classes = 10\n\
///      whiten = { mean = [0.4914, 0.4822, 0.4465], std = [0.2023, 0.1994, 0.2010] }",
/// )?;
/// assert_eq!(simplenet.parameter_count()?, 1_379_082);
/// let onnx = simplenet.build(42)?;
/// assert_eq!(onnx, simplenet.build(42)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The name in [`FAMILIES`].
    pub architecture: String,
    /// Channels, height and width of an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<[u64; 3]>,
    /// The number of classes, at least 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<u64>,
    /// The base channels, of which the other layers have multiples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u64>,
    /// The widths of the hidden layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<Vec<u64>>,
    /// The normalization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm: Option<Norm>,
    /// Whether the last normalization of each residual block begins with an effective scale of 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zero_residuals: Option<bool>,
    /// The activation; ReLU by default.
    #[serde(default)]
    pub activation: Activation,
    /// The distribution of initial weights; `kaiming-normal` by default.
    #[serde(default)]
    pub init: Distribution,
    /// What the variance of initial weights of convolutions goes by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<Fan>,
    /// The factor on initial weights; the activation's gain by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<f64>,
    /// Whether pixels are limited to `[0, 1]`; true by default.
    #[serde(default = "yes")]
    pub clamp: bool,
    /// The frozen whitening; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub whiten: Option<Whitening>,
    /// Whether `[0, 1]` becomes `[-1, 1]`, after whitening; false by default.
    #[serde(default)]
    pub rescale: bool,
    /// A factor on the logits, not trained; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_scale: Option<f32>,
}

fn yes() -> bool {
    true
}

impl Architecture {
    /// The family of that name, for images of `input` (channels, height, width) and `classes` classes, with every other option
    /// at its default. Nothing is checked yet.
    ///
    /// ```
    /// use bitquake_graph::architecture::Architecture;
    /// assert_eq!(Architecture::new("lenet5", [1, 28, 28], 10).parameter_count()?, 61_706);
    /// # Ok::<(), bitquake_graph::architecture::ArchitectureError>(())
    /// ```
    #[must_use]
    pub fn new(name: &str, input: [u64; 3], classes: u64) -> Architecture {
        Architecture {
            architecture: name.to_owned(),
            input: Some(input),
            classes: Some(classes),
            channels: None,
            hidden: None,
            norm: None,
            zero_residuals: None,
            activation: Activation::default(),
            init: Distribution::default(),
            fan: None,
            gain: None,
            clamp: true,
            whiten: None,
            rescale: false,
            logit_scale: None,
        }
    }

    /// The same network for a data set: `input` and `classes` are filled in where they are missing.
    ///
    /// # Errors
    /// [`ArchitectureError::OtherData`] if they are there and differ: a recipe that fits other data.
    pub fn for_data(&self, input: [u64; 3], classes: u64) -> Result<Architecture, ArchitectureError> {
        let same = |key, has: String, data: String| match has == data {
            true => Ok(()),
            false => Err(ArchitectureError::OtherData { key, has, data }),
        };
        self.input.map_or(Ok(()), |has| same("input", format!("{has:?}"), format!("{input:?}")))?;
        self.classes.map_or(Ok(()), |has| same("classes", has.to_string(), classes.to_string()))?;
        Ok(Architecture { input: Some(input), classes: Some(classes), ..self.clone() })
    }

    /// Every stored tensor of the network, in file order, without its values: cheap for networks of any size.
    ///
    /// # Errors
    /// An option that is unknown, missing, out of its bounds or not taken by the family.
    pub fn tensors(&self) -> Result<Vec<PlannedTensor>, ArchitectureError> {
        Ok(self.plan()?.into_parts().1)
    }

    /// The number of trained parameters: those of convolutions, linear layers, affine parts of normalizations and activations.
    /// Running means and variances and constants do not count.
    ///
    /// # Errors
    /// As [`Architecture::tensors`].
    pub fn parameter_count(&self) -> Result<u64, ArchitectureError> {
        let tensors = self.tensors()?;
        Ok(tensors.iter().filter(|tensor| tensor.role == Role::Weight).map(PlannedTensor::elements).sum())
    }

    /// The bytes of an ONNX file with initial weights, a function of the options and `seed` alone.
    ///
    /// # Errors
    /// As [`Architecture::tensors`].
    pub fn build(&self, seed: u64) -> Result<Vec<u8>, ArchitectureError> {
        let (mut model, tensors, initial) = self.plan()?.into_parts();
        for tensor in &tensors {
            model.graph().initializer(tensor.spec(&initial, seed));
        }
        Ok(model.finish())
    }

    fn plan(&self) -> Result<Plan, ArchitectureError> {
        let resolved = Resolved::new(self)?;
        let row = resolved.row;
        let mut plan = Plan::new(resolved);
        let images = plan.images();
        let features = (row.body)(&mut plan, images)?;
        plan.logits(&features);
        plan.check_size()?;
        Ok(plan)
    }
}
