//! That the keys of a table of faults go together.

use bitquake_fault::{MODELS, ModelRow};
use toml::Table;

use super::{COMMON, FaultConfig};
use crate::chip::OffsetConfig;
use crate::shape::ShapeConfig;
use crate::target::Target;

impl FaultConfig {
    /// Checks everything that can be checked without a model.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        self.check_keys()?;
        self.check_lists()?;
        self.check_target()?;
        self.bits()?;
        self.protected()?;
        if self.at_least.is_some_and(|least| least != 1) {
            return Err("[fault] at_least is 1, or left out".into());
        }
        self.check_points()?;
        let amounts = self.amounts().into_iter().filter(|_| !self.is_of_file());
        amounts.into_iter().try_for_each(|amount| self.model(amount).map(|_| ()))
    }

    /// Whether a file is needed to make the model, a chip or a spatial pattern. It is read when the work is prepared: results can be looked at
    /// without it.
    fn is_of_file(&self) -> bool {
        let has_file = self.chip.is_some() || matches!(self.shape, Some(ShapeConfig::File(_)));
        has_file || self.parts.iter().flatten().any(Self::is_of_file)
    }

    fn check_target(&self) -> Result<(), String> {
        let target = self.target();
        if self.persistence.is_some() && target == Target::Weights {
            return Err(
                "[fault] persistence is of activations and inputs; stored faults last the whole trial".into(),
            );
        }
        if self.ops.is_some() && target != Target::Activations {
            return Err("[fault] ops goes with target = \"activations\"".into());
        }
        if self.at_least.is_some() && (target != Target::Weights || self.also.is_some()) {
            return Err("[fault] at_least goes with faults in weights alone".into());
        }
        let Some(also) = &self.also else { return Ok(()) };
        let wrong = |what: &str| Err(format!("[fault.also]: {what}"));
        if also.also.is_some() || also.at_least.is_some() {
            return wrong("also and at_least stand in [fault]");
        }
        if (also.target() == Target::Weights) == (target == Target::Weights) {
            return wrong("one of the two targets is weights, the other activations or inputs");
        }
        also.check().map_err(|reason| format!("[fault.also]: {reason}"))?;
        match (also.amounts().len(), self.amounts().len()) {
            (one, points) if one == 1 || one == points => Ok(()),
            (found, 1) => wrong(&format!("{found} amounts for one point: give 1")),
            (found, points) => wrong(&format!("{found} amounts for {points} points: give 1 or {points}")),
        }
    }

    /// That no list is empty which would then mean nothing, or everything.
    fn check_lists(&self) -> Result<(), String> {
        let offsets = match &self.offset {
            Some(OffsetConfig::ByTrial(cells)) => Some(cells.len()),
            _ => None,
        };
        let lengths = [
            ("ops", self.ops.as_ref().map(Vec::len)),
            ("select", self.select.as_ref().map(Vec::len)),
            ("sites", self.sites.as_ref().map(Vec::len)),
            ("position_rates", self.position_rates.as_ref().map(Vec::len)),
            ("regions", self.regions.as_ref().map(Vec::len)),
            ("voltages", self.voltages.as_ref().map(Vec::len)),
            ("offset", offsets),
        ];
        match lengths.iter().find(|(_, length)| *length == Some(0)) {
            Some((key, _)) => Err(format!("[fault] {key} is empty: give entries, or leave it out")),
            None => Ok(()),
        }
    }

    /// That every key is one that the model takes.
    fn check_keys(&self) -> Result<(), String> {
        let row = self.row()?;
        let table = Table::try_from(self).map_err(|error| format!("[fault]: {error}"))?;
        let takes = |key: &str| COMMON.contains(&key) || row.keys.iter().any(|known| known.name == key);
        match table.keys().find(|key| !takes(key)) {
            None => Ok(()),
            Some(key) => {
                let known: Vec<&str> = row.keys.iter().map(|key| key.name).collect();
                Err(format!(
                    "[fault] {key}: model `{}` does not take it; it takes {}",
                    row.name,
                    known.join(", ")
                ))
            }
        }
    }

    pub(super) fn row(&self) -> Result<&'static ModelRow, String> {
        let name = self.model_name();
        MODELS.iter().find(|row| row.name == name).ok_or_else(|| {
            let known: Vec<&str> = MODELS.iter().map(|row| row.name).collect();
            format!("[fault] model = \"{name}\" is not known; known: {}", known.join(", "))
        })
    }

    fn check_points(&self) -> Result<(), String> {
        let given = [
            ("rates", self.rates.is_some()),
            ("counts", self.counts.is_some()),
            ("fractions", self.fractions.is_some()),
            ("sites", self.sites.is_some()),
            ("pattern", self.pattern.is_some()),
            ("position_rates", self.position_rates.is_some()),
            ("regions", self.regions.is_some()),
            ("voltages", self.voltages.is_some()),
            ("parts", self.parts.is_some()),
        ];
        let row = self.row()?;
        let named = |names: &mut dyn Iterator<Item = &str>| names.collect::<Vec<_>>().join(", ");
        let taken = given.iter().filter(|(key, _)| row.keys.iter().any(|known| known.name == *key));
        let present: Vec<&str> =
            given.iter().filter(|(_, is_given)| *is_given).map(|(key, _)| *key).collect();
        match present.as_slice() {
            // A map without voltages is one point.
            [] if self.chip.is_some() => return Ok(()),
            [] => return Err(format!("[fault] needs one of {}", named(&mut taken.map(|(key, _)| *key)))),
            [_] => {}
            _ => return Err(format!("[fault] has {}: give one of them", present.join(" and "))),
        }
        self.check_parts()?;
        let amounts = self.amounts();
        if amounts.is_empty() {
            return Err(format!("[fault] {} is empty: there is nothing to run", present[0]));
        }
        for (place, amount) in amounts.iter().enumerate() {
            if amounts[..place].contains(amount) {
                return Err(format!("[fault] {}s: {amount} is listed twice", amount.kind()));
            }
        }
        Ok(())
    }

    fn check_parts(&self) -> Result<(), String> {
        for (place, part) in self.parts.iter().flatten().enumerate() {
            let wrong = |what: &str| Err(format!("[[fault.parts]] {}: {what}", place + 1));
            if part.protect.is_some()
                || part.select.is_some()
                || part.target.is_some()
                || part.bits.is_some()
                || part.at_least.is_some()
                || part.also.is_some()
                || part.ops.is_some()
                || part.persistence.is_some()
            {
                return wrong("select, target, bits, protect and at_least stand in [fault], for all parts");
            }
            part.check().map_err(|reason| format!("[[fault.parts]] {}: {reason}", place + 1))?;
            if place > 0 && part.amounts().len() != 1 {
                return wrong("the points are those of the first part; the others have one amount each");
            }
        }
        Ok(())
    }
}
