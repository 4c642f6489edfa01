//! The steps as a recipe writes them.

use serde::{Deserialize, Serialize};

use crate::augment::AugmentError;

/// One step of augmentation, a table of `augment` in a recipe. Unknown keys are refused.
///
/// | TOML | what |
/// | --- | --- |
/// | `{ crop = 4 }` | the image is surrounded by 4 pixels of `fill`, and a window of its old size is taken out of that, each place as likely as any other |
/// | `{ flip = 0.5 }` | left and right are exchanged with this probability |
/// | `{ cutout = 16 }` | a square of 16 x 16 pixels becomes `fill`; its centre is a pixel of the image, each as likely as any other, so it may reach over the border |
/// | `{ autoaugment = "cifar10" }` | [`Policy`]; `fill` is what shifted images leave |
///
/// All but flip take `fill`: `"mean"` (the default), `"zero"`, or a colour such as `[0.4914, 0.4822, 0.4465]`.
///
/// ```
/// use bitquake_data::{Fill, FillName, Step};
/// #[derive(serde::Deserialize)]
/// struct Recipe {
///     augment: Vec<Step>,
/// }
/// let recipe: Recipe = toml::from_str("augment = [{ crop = 4, fill = \"zero\" }, { flip = 0.5 }]")?;
/// let fill = Fill::Name(FillName::Zero);
/// assert_eq!(recipe.augment, [Step::Crop { padding: 4, fill }, Step::Flip { probability: 0.5 }]);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Table", into = "Table")]
pub enum Step {
    /// A window of the padded image: its top left corner is uniform among the `(2 * padding + 1)^2` that there are.
    Crop {
        /// Pixels on every side, 1 to the smaller of height and width.
        padding: u32,
        /// What they are.
        fill: Fill,
    },
    /// Columns in the reverse order.
    Flip {
        /// How likely, 0 to 1.
        probability: f64,
    },
    /// A square becomes one colour. With its centre in row c it has rows `c - size / 2` (rounded down) to
    /// `c - size / 2 + size - 1`, as far as they exist; columns likewise.
    Cutout {
        /// Its side in pixels, 1 to the smaller of height and width.
        size: u32,
        /// The colour.
        fill: Fill,
    },
    /// One pair of operations, chosen at random from a learnt list.
    AutoAugment {
        /// The list.
        policy: Policy,
        /// What is where a sheared or shifted image is not.
        fill: Fill,
    },
}

/// Which pairs of operations AutoAugment chooses from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Policy {
    /// The 25 pairs found for CIFAR-10 (Cubuk et al., CVPR 2019; SPEC 2.4), used for CIFAR-100 too.
    #[serde(rename = "cifar10")]
    Cifar10,
}

/// The colour of pixels that have no source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "fill is \"mean\", \"zero\" or a list of one number for each channel")]
pub enum Fill {
    /// A colour by name.
    Name(FillName),
    /// One value for each channel, in the units of the scaled images.
    Colour(Vec<f32>),
}

/// The colours that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FillName {
    /// The mean colour: `preprocess.mean`, or what was measured; 0 after normalization.
    Mean,
    /// 0 before normalization: black.
    Zero,
}

impl Default for Fill {
    fn default() -> Fill {
        Fill::Name(FillName::Mean)
    }
}

impl Fill {
    /// One value for each channel.
    pub(crate) fn colour(&self, channels: usize, mean: &[f32]) -> Result<Vec<f32>, AugmentError> {
        let colour = match self {
            Fill::Name(FillName::Mean) => mean.to_vec(),
            Fill::Name(FillName::Zero) => vec![0.0; channels],
            Fill::Colour(colour) => colour.clone(),
        };
        if colour.len() != channels {
            return Err(AugmentError::FillChannels { found: colour.len(), channels });
        }
        match colour.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(AugmentError::FillValue { value }),
            None => Ok(colour),
        }
    }
}

/// A step with the name of what it does as a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Table {
    #[serde(skip_serializing_if = "Option::is_none")]
    crop: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flip: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cutout: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    autoaugment: Option<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fill: Option<Fill>,
}

impl TryFrom<Table> for Step {
    type Error = AugmentError;

    fn try_from(table: Table) -> Result<Step, AugmentError> {
        let fill = table.fill.clone().unwrap_or_default();
        match table {
            Table { crop: Some(padding), flip: None, cutout: None, autoaugment: None, .. } => {
                Ok(Step::Crop { padding, fill })
            }
            Table { crop: None, flip: Some(probability), cutout: None, autoaugment: None, fill: None } => {
                Ok(Step::Flip { probability })
            }
            Table { crop: None, flip: Some(_), cutout: None, autoaugment: None, fill: Some(_) } => {
                Err(AugmentError::FillNotUsed)
            }
            Table { crop: None, flip: None, cutout: Some(size), autoaugment: None, .. } => {
                Ok(Step::Cutout { size, fill })
            }
            Table { crop: None, flip: None, cutout: None, autoaugment: Some(policy), .. } => {
                Ok(Step::AutoAugment { policy, fill })
            }
            several => Err(AugmentError::NotOneStep { found: several.steps() }),
        }
    }
}

impl Table {
    /// The names of the steps that are there.
    fn steps(&self) -> Vec<&'static str> {
        let steps = [
            ("crop", self.crop.is_some()),
            ("flip", self.flip.is_some()),
            ("cutout", self.cutout.is_some()),
            ("autoaugment", self.autoaugment.is_some()),
        ];
        steps.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }
}

impl From<Step> for Table {
    fn from(step: Step) -> Table {
        let none = Table::default();
        match step {
            Step::Crop { padding, fill } => Table { crop: Some(padding), fill: Some(fill), ..none },
            Step::Flip { probability } => Table { flip: Some(probability), ..none },
            Step::Cutout { size, fill } => Table { cutout: Some(size), fill: Some(fill), ..none },
            Step::AutoAugment { policy, fill } => {
                Table { autoaugment: Some(policy), fill: Some(fill), ..none }
            }
        }
    }
}
