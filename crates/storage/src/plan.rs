//! A specification with its globs resolved: which quantizer stores each tensor.

use std::collections::HashSet;
use std::sync::Arc;

use bitquake_bits::{Format, WordStore};
use bitquake_fault::{Name, Selector};
use bitquake_quant::{Quantizer, QuantizerSpec};
use bitquake_sample::StreamKey;
use bitquake_tensors::{Dtype, Role, TensorInfo};

use crate::error::StorageError;
use crate::memory::{Memory, PART};
use crate::protect::{GuardRule, ProtectRule};
use crate::spec::StorageSpec;

/// One quantizer a tensor, ready to store a model again and again while its values change, as training does.
///
/// ```
/// use bitquake_quant::{Family, Quantizer, QuantizerSpec, Range};
/// use bitquake_storage::{StoragePlan, StorageSpec};
/// # use bitquake_bits::Format;
/// # use bitquake_tensors::{Dtype, Origin, Place, Role, StorageForm, TensorInfo};
/// # let origin = Origin { place: Place::Initializer, storage: StorageForm::Words };
/// # let dtype = Dtype::Known(Format::F32);
/// # let weight = TensorInfo { name: "fc.weight".into(), dtype, shape: vec![4], role: Role::Weight, origin };
/// let spec: StorageSpec = serde_json::from_str(r#"{"family": "wcat", "bits": 4}"#)?;
/// let mut plan = StoragePlan::new(&spec, &[weight])?;
/// let learnt = QuantizerSpec { range: Some(Range::Alpha(0.5)), ..spec.base };
/// plan.set_quantizer(0, Quantizer::from_spec(&learnt)?); // the range of this step
/// assert_eq!(plan.quantizer(0).map(Quantizer::bits), Some(4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct StoragePlan {
    pub(crate) tensors: Vec<Planned>,
    pub(crate) protect: Vec<ProtectRule>,
    pub(crate) guard: Vec<GuardRule>,
}

/// A tensor and how it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) info: TensorInfo,
    /// Its shape again, shared with every memory that is made of the plan.
    pub(crate) dims: Arc<[u64]>,
    /// None: as the file has it.
    pub(crate) quantizer: Option<Quantizer>,
    /// Faults reach it by its own name alone.
    pub(crate) by_name_only: bool,
}

impl StoragePlan {
    /// Resolves a specification. Tensors that are no floats, statistics, and settings stay as they are unless an override
    /// selects them. Where weights are quantized, faults reach statistics by name alone: a memory of codes does not hold them
    /// (SPEC 2.2.5).
    ///
    /// # Errors
    /// [`StorageError`] for fields that make no quantizer, globs that match nothing, and tensors whose type the quantizer does
    /// not take.
    pub fn new(spec: &StorageSpec, tensors: &[TensorInfo]) -> Result<Self, StorageError> {
        // Fields that no tensor takes, for each has an override, must make sense, too.
        let is_coded = quantizer("[storage]", &spec.base)?.is_some();
        let plan = |(info, of_tensor): (&TensorInfo, Option<(String, QuantizerSpec)>)| {
            let quantizer = match of_tensor {
                Some((place, spec)) => quantizer(&place, &spec)?,
                None => None,
            };
            let is_elsewhere = is_coded && info.role == Role::Statistic && quantizer.is_none();
            let by_name_only = quantizer.is_none() && (is_elsewhere || !info.role.is_reached_by_globs());
            let dims = info.shape.as_slice().into();
            Ok(Planned { info: info.clone(), dims, quantizer, by_name_only })
        };
        let planned =
            tensors.iter().zip(specs(spec, tensors)?).map(plan).collect::<Result<Vec<_>, StorageError>>()?;
        if !spec.protect.is_empty() || planned.iter().any(|planned| planned.quantizer.is_some()) {
            check_names(tensors)?;
        }
        Ok(Self { tensors: planned, protect: spec.protect.clone(), guard: spec.guard.clone() })
    }

    /// The quantizer of a tensor, counted in the order given; `None` for one that stays as it is, or that is not there.
    #[must_use]
    pub fn quantizer(&self, tensor: usize) -> Option<&Quantizer> {
        self.tensors.get(tensor)?.quantizer.as_ref()
    }

    /// Stores a tensor that has a quantizer with another one from now on; one that has none stays as it is.
    pub fn set_quantizer(&mut self, tensor: usize, quantizer: Quantizer) {
        if let Some(slot) = self.tensors.get_mut(tensor).and_then(|planned| planned.quantizer.as_mut()) {
            *slot = quantizer;
        }
    }

    /// Quantizes the values that `native` holds now. `key` decides stochastic rounding.
    ///
    /// # Errors
    /// [`StorageError`] for a tensor that `native` lacks, or whose values the quantizer does not take; and for protections that
    /// do not fit.
    pub fn store(&self, native: &impl WordStore, key: StreamKey) -> Result<Memory, StorageError> {
        self.store_over(native, key, Memory::default())
    }

    /// As [`store`](Self::store), in the room that an older memory takes: fresh memory costs more than quantizing.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn store_over(
        &self,
        native: &impl WordStore,
        key: StreamKey,
        old: Memory,
    ) -> Result<Memory, StorageError> {
        Memory::of_plan(self, native, key, old)
    }
}

/// That no tensor has a name that is kept for the parts of another one's codes.
fn check_names(tensors: &[TensorInfo]) -> Result<(), StorageError> {
    let names: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let parts = names.iter().filter_map(|&name| Some((name, name.rsplit_once(PART)?.0)));
    match parts.filter(|(_, owner)| names.contains(owner)).min() {
        Some((tensor, owner)) => {
            Err(StorageError::NameOfPart { tensor: tensor.to_owned(), owner: owner.to_owned() })
        }
        None => Ok(()),
    }
}

/// The quantizer that fields make, if they make one.
fn quantizer(place: &str, spec: &QuantizerSpec) -> Result<Option<Quantizer>, StorageError> {
    Quantizer::unless_native(spec).map_err(|source| StorageError::Spec { place: place.to_owned(), source })
}

/// Of each tensor, the fields that apply to it and where they come from; none where nothing asks for codes.
fn specs(
    spec: &StorageSpec,
    tensors: &[TensorInfo],
) -> Result<Vec<Option<(String, QuantizerSpec)>>, StorageError> {
    let of_base = |tensor: &TensorInfo| {
        let is_float = tensor.dtype.format().is_some_and(Format::is_float);
        (is_float && tensor.role == Role::Weight).then(|| ("[storage]".to_owned(), spec.base.clone()))
    };
    let mut all: Vec<_> = tensors.iter().map(of_base).collect();
    let known: Vec<&TensorInfo> =
        tensors.iter().filter(|tensor| matches!(tensor.dtype, Dtype::Known(_))).collect();
    let names: Vec<Name<'_>> = known
        .iter()
        .map(|tensor| Name {
            text: &tensor.name,
            by_name_only: !tensor.role.is_reached_by_globs(),
            also: &[],
        })
        .collect();
    for (place, over) in spec.overrides.iter().enumerate() {
        let chosen = Selector::new(&over.select)?.matches(&names)?;
        let chosen: HashSet<&str> = known
            .iter()
            .zip(chosen)
            .filter(|(_, chosen)| *chosen)
            .map(|(tensor, _)| tensor.name.as_str())
            .collect();
        for (_, slot) in
            tensors.iter().zip(&mut all).filter(|(tensor, _)| chosen.contains(tensor.name.as_str()))
        {
            let below = slot.as_ref().map_or(&spec.base, |(_, spec)| spec);
            *slot = Some((format!("[[storage.override]] {}", place + 1), below.overridden_by(&over.spec)));
        }
    }
    for (tensor, slot) in tensors.iter().zip(&all) {
        let takes = matches!(tensor.dtype.format(), Some(Format::F32 | Format::F16 | Format::BF16));
        if slot.as_ref().is_some_and(|(_, spec)| !spec.is_native()) && !takes {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype.to_string());
            return Err(StorageError::NotFloat { tensor, dtype });
        }
    }
    Ok(all)
}
