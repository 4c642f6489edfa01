//! A campaign, read and checked, before anything runs.

use bitquake_data::{Dataset, load};
use bitquake_engine::Model;
use bitquake_fault::{Candidate, FaultModel, FaultPattern, FaultSpace, Flips, Selector};
use bitquake_record::{Amount, PointPlan, SpaceTensorRecord, StorageRecord};
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Dtype, Role, TensorFile, TensorInfo};
use sha2::{Digest, Sha256};

use crate::config::Config;
use crate::error::CampaignError;
use crate::identity::{Identity, hex};

/// A campaign with its data and fault space. Its model is apart, so that a large one need not be held twice.
pub struct Campaign {
    config: Config,
    data: Dataset,
    space: FaultSpace,
    identity: Identity,
}

impl Campaign {
    /// Reads the model and the data, selects the fault space and fixes the identity. The model is for
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// [`CampaignError`] for a file that is bad or missing, or a selection that matches nothing.
    pub fn prepare(config: Config) -> Result<(Self, Model), CampaignError> {
        let file = TensorFile::open(&config.model.path)?;
        let identity = Identity::new(&config, file.content_hash_parts())?;
        let space = fault_space(&config, file.tensors())?;
        let model = Model::new(file)?;
        let data = load(&config.data, std::path::Path::new(""))?;
        model.check_shape(data.image_shape())?;
        let campaign = Self { config, data, space, identity };
        campaign.check_counts()?;
        Ok((campaign, model))
    }

    fn check_counts(&self) -> Result<(), CampaignError> {
        let population = self.space.bits();
        let too_many = self.config.fault.counts.iter().flatten().find(|&&count| count > population);
        match too_many {
            Some(&count) => {
                let error = bitquake_sample::SubsetError { count, population };
                Err(bitquake_fault::DrawError::TooMany(error).into())
            }
            None => Ok(()),
        }
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The images.
    #[must_use]
    pub fn data(&self) -> &Dataset {
        &self.data
    }

    /// What may be hit.
    #[must_use]
    pub fn space(&self) -> &FaultSpace {
        &self.space
    }

    /// What makes this campaign this campaign.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The points, in order.
    #[must_use]
    pub fn points(&self) -> Vec<PointPlan> {
        let expected = |amount| match amount {
            Amount::Rate(rate) => rate * self.space.bits() as f64,
            Amount::Count(count) => count as f64,
        };
        let plan =
            |(point, amount)| PointPlan { point: point as u32, amount, expected_faults: expected(amount) };
        self.config.amounts().into_iter().enumerate().map(plan).collect()
    }

    /// The faults of one trial: the same whenever, wherever and in whatever order it is drawn.
    ///
    /// # Errors
    /// [`CampaignError::Config`] when there is no such point.
    pub fn pattern(&self, point: u32, trial: u64) -> Result<FaultPattern, CampaignError> {
        draw_trial(&self.config, &self.space, point, trial)
    }

    pub(crate) fn storage_record(&self) -> StorageRecord {
        let name = self.config.model.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let tensor = |tensor: &bitquake_fault::SpaceTensor| SpaceTensorRecord {
            tensor: tensor.name.clone(),
            format: tensor.format.name(),
            elements: tensor.elements,
            bits: tensor.bits(),
        };
        StorageRecord {
            model: name.unwrap_or_default(),
            bits: self.space.bits(),
            tensors: self.space.tensors().iter().map(tensor).collect(),
        }
    }
}

/// The bits that a configuration selects in a model.
pub(crate) fn fault_space(config: &Config, tensors: &[TensorInfo]) -> Result<FaultSpace, CampaignError> {
    let selector = Selector::new(&config.fault.select)?;
    let bits = config.bits().map_err(|reason| CampaignError::config("campaign", reason))?;
    Ok(FaultSpace::select(candidates(tensors), &selector, bits)?)
}

/// The tensors of a file that may belong to a fault space: those with a format of the table.
pub fn candidates(tensors: &[TensorInfo]) -> impl Iterator<Item = Candidate<'_>> {
    tensors.iter().filter_map(candidate)
}

fn candidate(tensor: &TensorInfo) -> Option<Candidate<'_>> {
    match tensor.dtype {
        Dtype::Known(format) => Some(Candidate {
            name: &tensor.name,
            format,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        }),
        Dtype::Other(_) => None,
    }
}

fn draw_trial(
    config: &Config,
    space: &FaultSpace,
    point: u32,
    trial: u64,
) -> Result<FaultPattern, CampaignError> {
    let amounts = config.amounts();
    let amount = amounts.get(point as usize).ok_or_else(|| {
        CampaignError::config(
            "campaign",
            format!("there is no point {point}; points are 0 to {}", amounts.len() - 1),
        )
    })?;
    let flips = match *amount {
        Amount::Rate(rate) => Flips::Rate(
            Rate::new(rate).map_err(|error| CampaignError::config("[fault] rates", error.to_string()))?,
        ),
        Amount::Count(count) => Flips::Count(count),
    };
    // All points of a campaign differ in nothing but their amount, so they share a stream and are nested.
    let key = StreamKey { seed: config.seed, point: 0, trial };
    Ok(FaultModel::BitFlip(flips).draw(space, &key)?)
}

/// The first 16 hex digits of a SHA-256 over a pattern: tensors, formats, sizes and bit addresses.
#[must_use]
pub fn pattern_digest(pattern: &FaultPattern) -> String {
    let mut hash = Sha256::new();
    for flips in pattern.tensors() {
        hash.update((flips.tensor.len() as u64).to_le_bytes());
        hash.update(flips.tensor.as_bytes());
        hash.update(flips.format.name());
        hash.update(flips.elements.to_le_bytes());
        hash.update((flips.addresses.len() as u64).to_le_bytes());
        for address in &flips.addresses {
            hash.update(address.to_le_bytes());
        }
    }
    hex(&hash.finalize()[..8])
}
