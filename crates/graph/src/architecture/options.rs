//! The options that are more than a number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How values are normalized, behind convolutions. SPEC section 2.5.
///
/// `bn` is batch normalization with running statistics (Ioffe and Szegedy 2015), `gn` group normalization (Wu and He 2018);
/// epsilon is 1e-5, and running statistics keep 0.9 of themselves a step. With `re`, the stored scale is the effective scale minus 1
/// (Stutz et al. 2021), so that clipping weights to a small range does not destroy it. With `fixed`, there is no affine part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// No normalization.
    None,
    /// Batch normalization.
    Bn,
    /// Batch normalization whose stored scale is the effective one minus 1.
    Rebn,
    /// Group normalization.
    Gn,
    /// Group normalization whose stored scale is the effective one minus 1.
    Regn,
    /// Batch normalization without scale and shift.
    FixedBn,
    /// Group normalization without scale and shift.
    FixedGn,
}

/// Over what mean and variance are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistics {
    Batch,
    Groups,
}

/// How the scale and shift behind a normalization are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affine {
    /// As they are.
    Stored,
    /// The scale minus 1.
    MinusOne,
    /// There are none.
    Fixed,
}

impl Norm {
    /// Every normalization.
    pub const ALL: [Norm; 7] =
        [Norm::None, Norm::Bn, Norm::Rebn, Norm::Gn, Norm::Regn, Norm::FixedBn, Norm::FixedGn];

    /// The name in recipes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Norm::None => "none",
            Norm::Bn => "bn",
            Norm::Rebn => "rebn",
            Norm::Gn => "gn",
            Norm::Regn => "regn",
            Norm::FixedBn => "fixedbn",
            Norm::FixedGn => "fixedgn",
        }
    }

    pub(super) fn parts(self) -> Option<(Statistics, Affine)> {
        match self {
            Norm::None => None,
            Norm::Bn => Some((Statistics::Batch, Affine::Stored)),
            Norm::Rebn => Some((Statistics::Batch, Affine::MinusOne)),
            Norm::FixedBn => Some((Statistics::Batch, Affine::Fixed)),
            Norm::Gn => Some((Statistics::Groups, Affine::Stored)),
            Norm::Regn => Some((Statistics::Groups, Affine::MinusOne)),
            Norm::FixedGn => Some((Statistics::Groups, Affine::Fixed)),
        }
    }

    /// Whether there is a scale to begin at 0.
    pub(super) fn has_scale(self) -> bool {
        self.parts().is_some_and(|(_, affine)| affine != Affine::Fixed)
    }
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What stands between linear layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Activation {
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// PACT (Choi et al. 2018): values are limited to `[0, alpha]` and quantized to `2^bits` levels from 0 to `alpha`, ties to even;
    /// `alpha` is trained, one for each layer.
    Pact {
        /// 1 to 8.
        bits: u32,
        /// Where every `alpha` begins, above 0.
        #[serde(default = "pact_alpha")]
        alpha: f32,
    },
    /// DoReFa (Zhou et al. 2016): as PACT with `alpha = 1`, which stays.
    Dorefa {
        /// 1 to 8.
        bits: u32,
    },
}

/// Where the PACT paper begins.
fn pact_alpha() -> f32 {
    10.0
}

impl Activation {
    /// The factor on weights that keeps the variance of what goes through the activation: sqrt(2) behind a rectifier (He et al.
    /// 2015), 5/3 for tanh, and 1 for the sigmoid, as is usual.
    pub(super) fn gain(self) -> f64 {
        match self {
            Activation::Relu | Activation::Pact { .. } | Activation::Dorefa { .. } => {
                std::f64::consts::SQRT_2
            }
            Activation::Tanh => 5.0 / 3.0,
            Activation::Sigmoid => 1.0,
        }
    }
}

/// The distribution of the initial weights of convolutions and linear layers. Its standard deviation is `gain / sqrt(n)`.
///
/// Normal weights are sums of twelve uniform ones: variance exact, ends at 6 standard deviations, fourth moment 2.9 instead of
/// 3. Uniform ones lie within `sqrt(3)` standard deviations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// Normal, `n` the fan (He et al. 2015).
    #[default]
    KaimingNormal,
    /// Uniform, `n` the fan.
    KaimingUniform,
    /// Normal, `n` the mean of both fans (Glorot and Bengio 2010).
    XavierNormal,
    /// Uniform, `n` the mean of both fans.
    XavierUniform,
}

/// How many weights meet in one number: in an output of the layer (`in`), or in the gradient of an input (`out`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fan {
    /// Input channels times the kernel's area.
    In,
    /// Output channels times the kernel's area.
    Out,
}

/// The constants of `(pixel - mean) / std`, one a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whitening {
    /// The mean of each channel.
    pub mean: Vec<f32>,
    /// The standard deviation of each channel, above 0.
    pub std: Vec<f32>,
}
