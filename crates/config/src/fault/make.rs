//! The fault model that a table of faults makes of one of its amounts.

use bitquake_fault::{
    Amount as EventAmount, Burst, DramFault, Effect, ElementSite, Elements, FaultModel, FaultyRegion, Hits,
    SiteRange, Value,
};
use bitquake_record::Amount;
use bitquake_sample::Rate;

use super::{FaultConfig, LengthConfig, RegionConfig};
use crate::shape::EffectConfig;

impl FaultConfig {
    /// The fault model at a point.
    ///
    /// # Errors
    /// What is wrong with a number or a notation.
    pub fn model(&self, amount: Amount) -> Result<FaultModel, String> {
        match self.row()?.name {
            "bit-flip" => self.bit_flip(amount),
            "stuck-at-0" => Ok(FaultModel::StuckAt { value: false, at: self.hits(amount)? }),
            "stuck-at-1" => Ok(FaultModel::StuckAt { value: true, at: self.hits(amount)? }),
            "set-value" => Ok(FaultModel::SetValue { value: self.value()?, at: self.elements(amount)? }),
            "random-value" => Ok(FaultModel::SetValue { value: Value::Random, at: self.elements(amount)? }),
            "burst" => self.burst(amount),
            "map" => self.map(amount),
            "dram" => self.dram(amount),
            "shape" => self.shape(amount),
            _ => self.mixture(amount),
        }
    }

    fn bit_flip(&self, amount: Amount) -> Result<FaultModel, String> {
        let is_symmetric = self.to_one.is_none() && self.to_zero.is_none();
        let rate = match (&self.rates, amount) {
            _ if is_symmetric => return Ok(FaultModel::BitFlip(self.hits(amount)?)),
            (Some(_), Amount::Rate(rate)) => rate,
            _ => return Err("[fault] to_one and to_zero go with rates".into()),
        };
        let scaled = |key, factor: Option<f64>| {
            let factor = factor.unwrap_or(1.0);
            checked_rate(key, rate * factor)
        };
        Ok(FaultModel::Asymmetric {
            to_one: scaled("rates times to_one", self.to_one)?,
            to_zero: scaled("rates times to_zero", self.to_zero)?,
        })
    }

    fn hits(&self, amount: Amount) -> Result<Hits, String> {
        if let Some(pattern) = &self.pattern {
            return pattern.loaded().map(Hits::Pattern).map_err(|error| error.to_string());
        }
        if let Some(sites) = &self.sites {
            return Ok(Hits::Sites(sites.iter().map(|text| site_range(text)).collect::<Result<_, _>>()?));
        }
        if let Some(rates) = &self.position_rates {
            let rate = |&rate: &f64| checked_rate("position_rates", rate);
            return Ok(Hits::Positions(rates.iter().map(rate).collect::<Result<_, _>>()?));
        }
        if let Some(regions) = &self.regions {
            let region = |region: &RegionConfig| {
                Ok(FaultyRegion {
                    sites: site_range(&region.sites)?,
                    rate: checked_rate("regions", region.rate)?,
                })
            };
            return Ok(Hits::Regions(regions.iter().map(region).collect::<Result<_, String>>()?));
        }
        match amount {
            Amount::Rate(rate) => Ok(Hits::Rate(checked_rate("rates", rate)?)),
            Amount::Count(count) => Ok(Hits::Count(count)),
            Amount::Fraction(share) => Ok(Hits::OneBit(Elements::Share(checked_rate("fractions", share)?))),
            Amount::Voltage(_) => Err("[fault] voltages go with model = \"map\"".into()),
        }
    }

    pub(crate) fn elements(&self, amount: Amount) -> Result<Elements, String> {
        if let Some(sites) = &self.sites {
            let site = |text: &String| {
                text.parse::<ElementSite>()
                    .map_err(|_| format!("[fault] sites: `{text}` is not TENSOR:INDEX"))
            };
            return Ok(Elements::Sites(sites.iter().map(site).collect::<Result<_, _>>()?));
        }
        match amount {
            Amount::Rate(rate) => Ok(Elements::Rate(checked_rate("rates", rate)?)),
            Amount::Count(count) => Ok(Elements::Count(count)),
            Amount::Fraction(share) => Ok(Elements::Share(checked_rate("fractions", share)?)),
            Amount::Voltage(_) => Err("[fault] voltages go with model = \"map\"".into()),
        }
    }

    fn value(&self) -> Result<Value, String> {
        match &self.value {
            None => {
                Err("[fault] model = \"set-value\" needs value = NUMBER, \"0x...\" or \"saturate\"".into())
            }
            Some(value) => value.value(),
        }
    }

    fn burst(&self, amount: Amount) -> Result<FaultModel, String> {
        let amount = event_amount(amount)?;
        let lengths = match &self.length {
            None => {
                return Err("[fault] model = \"burst\" needs length = BITS or [[length, weight], ...]".into());
            }
            Some(LengthConfig::One(length)) => vec![(*length, 1.0)],
            Some(LengthConfig::Weighted(lengths)) => lengths.clone(),
        };
        let neighbours = self.neighbours.unwrap_or_default();
        let effect = self.bit_effect()?.unwrap_or(Effect::Flip);
        let each = checked_rate("each", self.each.unwrap_or(1.0))?;
        Ok(FaultModel::Burst(Burst { amount, lengths, neighbours, each, effect }))
    }

    fn bit_effect(&self) -> Result<Option<Effect>, String> {
        self.effect.as_ref().map(EffectConfig::of_bits).transpose()
    }

    fn dram(&self, amount: Amount) -> Result<FaultModel, String> {
        let Some(structure) = self.structure else {
            return Err(
                "[fault] model = \"dram\" needs structure = \"row\", \"column\", \"bank\" or \"device\""
                    .into(),
            );
        };
        let plain = DramFault::one(structure);
        Ok(FaultModel::Dram(DramFault {
            geometry: self.geometry.unwrap_or(plain.geometry),
            align: self.align.unwrap_or(plain.align),
            structure,
            scope: self.scope.unwrap_or(plain.scope),
            amount: event_amount(amount)?,
            each: checked_rate("each", self.each.unwrap_or(1.0))?,
            effect: self.bit_effect()?.unwrap_or(plain.effect),
        }))
    }

    fn mixture(&self, amount: Amount) -> Result<FaultModel, String> {
        let model = |(place, part): (usize, &Self)| {
            let own = part.amounts();
            part.model(if place == 0 { amount } else { own[0] })
        };
        let parts = self.parts.iter().flatten().enumerate();
        Ok(FaultModel::Mixture(parts.map(model).collect::<Result<_, _>>()?))
    }
}

fn event_amount(amount: Amount) -> Result<EventAmount, String> {
    Ok(match amount {
        Amount::Rate(rate) => EventAmount::Rate(checked_rate("rates", rate)?),
        other => EventAmount::Count(other.value() as u64),
    })
}

fn checked_rate(key: &str, rate: f64) -> Result<Rate, String> {
    Rate::new(rate).map_err(|error| format!("[fault] {key}: {error}"))
}

fn site_range(text: &str) -> Result<SiteRange, String> {
    text.parse().map_err(|error| format!("[fault] sites: {error}"))
}
