//! The table `[optimiser]`.

use serde::{Deserialize, Serialize};

/// Which rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimiserKind {
    /// Gradient descent with momentum.
    #[default]
    Sgd,
    /// Adam; weight decay is added to the gradient.
    Adam,
    /// Adam with weight decay apart from the gradient.
    Adamw,
}

/// `[optimiser]`. A field that the kind has no use for is an error of [`check`](Self::check).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimiserConfig {
    /// The rule; `sgd` by default.
    pub kind: OptimiserKind,
    /// The learning rate that the schedule starts from; 0.05 by default, 0.001 for `adam` and `adamw`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Added to the gradient as `weight_decay * w`, or with `adamw` apart from it; 5e-4 by default, 0 for `adam`, 0.01 for
    /// `adamw`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// `sgd`: the share of the last direction that is kept; 0.9 by default, 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
    /// `sgd`: whether to look ahead by one step of the momentum; true by default where there is momentum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// `adam`, `adamw`: how much of the old means of the gradient and of its square is kept; [0.9, 0.999] by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub betas: Option<[f64; 2]>,
    /// `adam`, `adamw`: added to the denominator; 1e-8 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Other settings for some tensors. Where several select a tensor, later ones go on top of earlier ones.
    #[serde(rename = "override", skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<OptimiserOverride>,
}

/// One `[[optimiser.override]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimiserOverride {
    /// Globs over tensor names; `!glob` leaves out.
    pub select: Vec<String>,
    /// Their weight decay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// Factor on the learning rate; 0 freezes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_factor: Option<f64>,
}

impl OptimiserConfig {
    /// The learning rate that the schedule starts from.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.rate.unwrap_or(if self.kind == OptimiserKind::Sgd { 0.05 } else { 1e-3 })
    }

    /// The weight decay of tensors that no override selects.
    #[must_use]
    pub fn weight_decay(&self) -> f64 {
        self.weight_decay.unwrap_or(match self.kind {
            OptimiserKind::Sgd => 5e-4,
            OptimiserKind::Adam => 0.0,
            OptimiserKind::Adamw => 0.01,
        })
    }

    /// The momentum, by default 0.9.
    #[must_use]
    pub fn momentum(&self) -> f64 {
        self.momentum.unwrap_or(0.9)
    }

    /// Whether SGD looks ahead; by default where there is momentum.
    #[must_use]
    pub fn nesterov(&self) -> bool {
        self.nesterov.unwrap_or(self.momentum() > 0.0)
    }

    /// The two shares that Adam keeps.
    #[must_use]
    pub fn betas(&self) -> [f64; 2] {
        self.betas.unwrap_or([0.9, 0.999])
    }

    /// What Adam adds to its denominator.
    #[must_use]
    pub fn epsilon(&self) -> f64 {
        self.epsilon.unwrap_or(1e-8)
    }

    /// Puts every default that the kind has a use for in its place.
    pub(crate) fn fill_defaults(&mut self) {
        (self.rate, self.weight_decay) = (Some(self.rate()), Some(self.weight_decay()));
        if self.kind == OptimiserKind::Sgd {
            (self.momentum, self.nesterov) = (Some(self.momentum()), Some(self.nesterov()));
        } else {
            (self.betas, self.epsilon) = (Some(self.betas()), Some(self.epsilon()));
        }
    }

    /// That the numbers make sense, and that each field is of use.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        at_least_zero("rate", self.rate())?;
        at_least_zero("weight_decay", self.weight_decay())?;
        self.check_fields()?;
        share("momentum", self.momentum())?;
        self.betas().iter().try_for_each(|&beta| share("betas", beta))?;
        at_least_zero("epsilon", self.epsilon())?;
        if self.nesterov() && self.momentum() == 0.0 {
            return Err("nesterov needs momentum, which is 0".into());
        }
        for over in &self.overrides {
            over.weight_decay.map_or(Ok(()), |decay| at_least_zero("override weight_decay", decay))?;
            over.rate_factor.map_or(Ok(()), |factor| at_least_zero("override rate_factor", factor))?;
        }
        Ok(())
    }

    fn check_fields(&self) -> Result<(), String> {
        let is_sgd = self.kind == OptimiserKind::Sgd;
        let unused = [
            ("momentum", self.momentum.is_some() && !is_sgd),
            ("nesterov", self.nesterov.is_some() && !is_sgd),
            ("betas", self.betas.is_some() && is_sgd),
            ("epsilon", self.epsilon.is_some() && is_sgd),
        ];
        match unused.into_iter().find(|(_, is_unused)| *is_unused) {
            Some((field, _)) if is_sgd => Err(format!("{field} is for adam and adamw alone, not for sgd")),
            Some((field, _)) => Err(format!("{field} is for sgd alone")),
            None => Ok(()),
        }
    }
}

fn at_least_zero(field: &str, value: f64) -> Result<(), String> {
    let is_right = value >= 0.0 && value.is_finite();
    if is_right { Ok(()) } else { Err(format!("{field} {value} is not a number from 0 up")) }
}

fn share(field: &str, value: f64) -> Result<(), String> {
    let is_right = (0.0..1.0).contains(&value);
    if is_right { Ok(()) } else { Err(format!("{field} {value} is not from 0 to below 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_numbers_and_useless_fields_are_told() {
        for (text, wanted) in [
            ("rate = -1.0", "rate -1 is not a number from 0 up"),
            ("rate = nan", "rate NaN"),
            ("weight_decay = inf", "weight_decay inf"),
            ("momentum = 1.0", "momentum 1 is not from 0 to below 1"),
            ("momentum = 0.0\nnesterov = true", "nesterov needs momentum"),
            ("betas = [0.9, 0.99]", "betas is for adam and adamw alone"),
            ("kind = 'adam'\nmomentum = 0.9", "momentum is for sgd alone"),
            ("kind = 'adamw'\nbetas = [0.9, 1.0]", "betas 1 is not from 0"),
            ("[[override]]\nselect = ['a']\nrate_factor = -2.0", "override rate_factor -2"),
        ] {
            let error = toml::from_str::<OptimiserConfig>(text).unwrap().check().unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_kind() {
        for (text, wanted) in [
            ("", "kind = 'sgd'\nrate = 0.05\nweight_decay = 5e-4\nmomentum = 0.9\nnesterov = true"),
            (
                "momentum = 0.0",
                "kind = 'sgd'\nrate = 0.05\nweight_decay = 5e-4\nmomentum = 0.0\nnesterov = false",
            ),
            (
                "kind = 'adam'",
                "kind = 'adam'\nrate = 1e-3\nweight_decay = 0.0\nbetas = [0.9, 0.999]\nepsilon = 1e-8",
            ),
        ] {
            let mut config: OptimiserConfig = toml::from_str(text).unwrap();
            config.fill_defaults();
            assert_eq!(config, toml::from_str(wanted).unwrap(), "{text}");
            config.check().unwrap();
        }
    }
}
