//! What attacks and rankings begin with: a model whose weights are stored.

use bitquake_bits::BitSelection;
use bitquake_config::{check_name, check_storage};
use bitquake_data::DataConfig;
use bitquake_fault::FaultSpace;
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, StorageSpec};
use bitquake_tensors::TensorFile;

use crate::error::AttackError;
use crate::words::AttackedWords;

/// Version of the files.
const SCHEMA: u32 = 1;

/// Checks what all files begin with: `schema`, `name`, `[storage]` and `[data]`.
///
/// # Errors
/// What is wrong.
pub(crate) fn check_head(
    schema: u32,
    name: &str,
    storage: &StorageSpec,
    data: &DataConfig,
) -> Result<(), String> {
    if schema != SCHEMA {
        return Err(format!("schema {schema} is not known, this version reads schema {SCHEMA}"));
    }
    check_name(name)?;
    check_storage(storage)?;
    if !storage.protect.is_empty() || !storage.guard.is_empty() {
        return Err("[storage] protect and guard: attacks and rankings are of memories without protections; leave them out".into());
    }
    data.validate().map_err(|error| format!("[data] {error}"))
}

/// A model whose weights are stored, and the words that were selected.
pub(crate) struct Stored {
    /// The model's file, its floats what the memory stands for.
    pub(crate) model: TensorFile,
    pub(crate) memory: Memory,
    pub(crate) space: FaultSpace,
    pub(crate) words: AttackedWords,
}

impl Stored {
    /// Stores the weights of a model, and selects bits of them.
    ///
    /// # Errors
    /// [`AttackError`]: weights that cannot be stored so, a selection that matches nothing, tensors whose bits cannot be flipped.
    pub(crate) fn new(
        mut model: TensorFile,
        storage: &StorageSpec,
        seed: u64,
        select: &[String],
        bits: BitSelection,
    ) -> Result<Self, AttackError> {
        let key = StreamKey { seed, point: 0, trial: 0 };
        let memory = Memory::new(storage, model.tensors(), &model, key)?;
        memory.write_levels(&mut model)?;
        let space = memory.fault_space(select, bits)?;
        let words = AttackedWords::new(&memory, &space, &model)?;
        Ok(Self { model, memory, space, words })
    }
}
