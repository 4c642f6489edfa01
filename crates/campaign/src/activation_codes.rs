//! Activations and inputs that a memory holds as codes.
//!
//! A value that is stored as codes is quantized and decoded right after it was computed, in the golden run and in trials: the
//! golden run is that of the network with quantized activations. A fault hits the code of the value that is there, faulty
//! upstream or not, and the code is decoded once. Ranges are fixed before the golden run: they are given, or they are what the
//! values span in a run without faults in which nothing but the images is quantized.

mod grids;
mod ranges;
mod section;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bitquake_bits::Format;
use bitquake_config::Target;
use bitquake_data::Dataset;
use bitquake_engine::{Activation, Evaluator, Model, Value, ValueMap, activations};
use bitquake_fault::{Name, Selector, SpaceTensor};
use bitquake_quant::{Granularity, Quantizer, Range};
use bitquake_record::ActivationRecord;
use bitquake_storage::StorageSpec;

pub use section::ActivationsConfig;

pub(crate) use grids::{CodeGrids, ValueCodes};
use ranges::{Ranges, Units};

use crate::error::CampaignError;
use crate::exposure::Exposure;

fn wrong(reason: impl std::fmt::Display) -> CampaignError {
    CampaignError::config("campaign", format!("[activations] {reason}"))
}

/// What `[activations]` chooses, before it is known what faults hit.
pub(crate) struct CodeChoice {
    quantizer: Quantizer,
    format: Format,
    all: Vec<Activation>,
    /// The values that `select` names; none if it is left out.
    named: Option<Vec<bool>>,
}

impl CodeChoice {
    /// None for float words.
    pub(crate) fn new(
        section: &ActivationsConfig,
        model: &Model,
        data: &Dataset,
    ) -> Result<Option<Self>, CampaignError> {
        let quantizer = section.quantizer().map_err(|reason| CampaignError::config("campaign", reason))?;
        let Some(quantizer) = quantizer else { return Ok(None) };
        let shape = match quantizer.spec().granularity {
            Some(Granularity::Channel(axis)) => vec![1; axis as usize + 1],
            _ => vec![1],
        };
        let format = quantizer.fit(&[0.0], &shape).map_err(wrong)?.format();
        let all = activations(model, data)?;
        let select = |patterns: &Vec<String>| {
            fn name(activation: &Activation) -> Name<'_> {
                Name { text: &activation.value.name, by_name_only: false, also: &[] }
            }
            let names: Vec<Name<'_>> = all.iter().map(name).collect();
            let selector = Selector::new(patterns).map_err(|error| wrong(format!("select: {error}")))?;
            selector.matches(&names).map_err(|error| wrong(format!("select: {error}")))
        };
        let named = section.select.as_ref().map(select).transpose()?;
        Ok(Some(Self { quantizer, format, all, named }))
    }

    /// How the words of a value that faults hit are stored.
    pub(crate) fn format(&self, value: &str) -> Format {
        let at = self.all.iter().position(|activation| activation.value.name == value);
        let is_coded = self.named.as_ref().is_none_or(|named| at.is_some_and(|at| named[at]));
        if is_coded { self.format } else { Format::F32 }
    }

    /// The values, now that it is known what faults hit.
    pub(crate) fn settled(self, exposures: &[Exposure]) -> Result<ActivationCodes, CampaignError> {
        let values = exposures.iter().filter(|exposure| exposure.target != Target::Weights);
        let hit: Vec<&SpaceTensor> = values.flat_map(|exposure| exposure.space.tensors()).collect();
        let named = self.named.unwrap_or_else(|| {
            let is_hit = |activation: &Activation| hit.iter().any(|hit| hit.name == activation.value.name);
            self.all.iter().map(is_hit).collect()
        });
        let granularity = self.quantizer.spec().granularity.unwrap_or_default();
        let mut values = BTreeMap::new();
        let mut input = None;
        for (activation, _) in self.all.into_iter().zip(named).filter(|(_, named)| *named) {
            let value = activation.value;
            let units = Units::new(&value, granularity).map_err(wrong)?;
            if activation.op_type.is_none() {
                input = Some(value.name.clone());
            }
            values.insert(value.name.clone(), (value, units));
        }
        if values.is_empty() {
            return Err(wrong(
                "select is missing: faults hit no activations and no inputs, so name the values that are stored as codes",
            ));
        }
        let (quantizer, grids) = (self.quantizer, OnceLock::new());
        Ok(ActivationCodes { quantizer, values, input, images: None, grids })
    }
}

/// The values that are stored as codes.
pub(crate) struct ActivationCodes {
    quantizer: Quantizer,
    values: BTreeMap<String, (Value, Units)>,
    /// The model's input, if it is one of them.
    input: Option<String>,
    /// Its codes.
    images: Option<ValueCodes>,
    /// The grids of all values, once the golden run has been prepared.
    grids: OnceLock<Arc<CodeGrids>>,
}

impl ActivationCodes {
    /// Their names.
    pub(crate) fn names(&self) -> impl Iterator<Item = String> {
        self.values.keys().cloned()
    }

    /// For people: `affine, 8 bits`.
    pub(crate) fn describe(&self) -> String {
        StorageSpec { base: self.quantizer.spec().clone(), ..StorageSpec::default() }.to_string()
    }

    /// The codes of a value; none if it is stored as floats, or before [`fit`](Self::fit).
    pub(crate) fn of(&self, value: &str) -> Option<&ValueCodes> {
        self.grids.get()?.of(value)
    }

    pub(crate) fn records(&self) -> Vec<ActivationRecord> {
        self.grids.get().map(|grids| grids.records()).unwrap_or_default()
    }

    /// The images as they are stored, in place of those that were read.
    pub(crate) fn store_images(&mut self, data: Dataset) -> Result<Dataset, CampaignError> {
        let Some(input) = self.input.clone() else { return Ok(data) };
        let mut images = data.images(0..data.len()).to_vec();
        let ranges = Ranges::new(self.units(|name| name == input));
        ranges.apply(&input, &mut images).map_err(wrong)?;
        let grids = self.grids_of(&ranges)?;
        grids.apply(&input, &mut images).map_err(wrong)?;
        self.images = grids.of(&input).cloned();
        Ok(Dataset::new(images, data.image_shape().to_vec(), data.labels().to_vec())?)
    }

    /// Sets the ranges, by a run without faults if they are adaptive, and lets the evaluators store the values as codes. Must
    /// come before the golden run.
    pub(crate) fn fit(&self, evaluators: &mut [Evaluator<'_>]) -> Result<(), CampaignError> {
        let ranges = Arc::new(Ranges::new(self.units(|name| self.input.as_deref() != Some(name))));
        let is_adaptive = self.quantizer.spec().range == Some(Range::Adaptive);
        if let Some(first) = evaluators.first_mut().filter(|_| is_adaptive) {
            first.set_values(Some(Arc::clone(&ranges) as Arc<dyn ValueMap>));
            first.golden(0)?;
        }
        let mut grids = self.grids_of(&ranges)?;
        if let Some((input, images)) = self.input.clone().zip(self.images.clone()) {
            grids.insert(input, images);
        }
        let grids = self.grids.get_or_init(|| Arc::new(grids));
        for evaluator in evaluators {
            evaluator.set_values(Some(Arc::clone(grids) as Arc<dyn ValueMap>));
        }
        Ok(())
    }

    fn units(&self, is_meant: impl Fn(&str) -> bool) -> BTreeMap<String, Units> {
        let meant = self.values.iter().filter(|(name, _)| is_meant(name));
        meant.map(|(name, (_, units))| (name.clone(), *units)).collect()
    }

    /// The grids of the values that have ranges.
    fn grids_of(&self, ranges: &Ranges) -> Result<CodeGrids, CampaignError> {
        let mut grids = BTreeMap::new();
        for (name, (value, _)) in &self.values {
            if let Some(ends) = ranges.of(name) {
                grids.insert(name.clone(), ValueCodes::fit(&self.quantizer, value, &ends).map_err(wrong)?);
            }
        }
        Ok(CodeGrids::new(grids))
    }
}
