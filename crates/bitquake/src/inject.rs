//! Flipping bits in a file.

use std::path::{Path, PathBuf};

use bitquake_bits::BitSelection;
use bitquake_fault::{Explanation, FaultModel, FaultPattern};
use bitquake_record::write_atomically;
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, StorageSpec};
use bitquake_tensors::{TensorFile, read_text};

use crate::error::Error;
use crate::select::fault_space;

/// Where the flips come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Drawn from a fault model.
    Draw {
        /// Which faults occur. A stuck bit is made to read its value: of a file, that is a flip, or nothing.
        model: FaultModel,
        /// Globs over tensor names; empty selects all.
        select: Vec<String>,
        /// Which bits of a word.
        bits: BitSelection,
        /// The key of the draw, as in a campaign.
        key: StreamKey,
    },
    /// A saved pattern.
    Pattern(PathBuf),
}

/// What an injection did.
#[derive(Clone, Debug)]
pub struct Injected {
    /// The flips.
    pub pattern: FaultPattern,
    /// Faults that changed nothing, such as bits stuck at the value that they have.
    pub dormant: u64,
    /// What they did to the words.
    pub explanation: Explanation,
    /// Bits that could have been hit; none for a saved pattern.
    pub space_bits: Option<u64>,
}

/// Writes `file` with flipped bits to `out`, every other byte as it was.
///
/// See [`inject_stored`] for a memory that holds codes.
///
/// # Errors
/// [`Error`] for the file, the selection, the pattern or the output; then nothing is written.
pub fn inject(file: &Path, source: &Source, out: &Path) -> Result<Injected, Error> {
    let mut tensors = TensorFile::open(file)?;
    let (pattern, dormant, space_bits) = match source {
        Source::Draw { model, select, bits, key } => {
            let space = fault_space(&tensors, select, *bits)?;
            let resolved = model.draw(&space, key)?.resolve(&tensors)?;
            (resolved.pattern, resolved.dormant, Some(space.bits()))
        }
        Source::Pattern(path) => (read_pattern(path)?, 0, None),
    };
    let explanation = pattern.explain(&tensors)?;
    pattern.apply(&mut tensors)?;
    tensors.save(out)?;
    Ok(Injected { pattern, dormant, explanation, space_bits })
}

/// Writes the model of `file` as a network computes with it when its weights are stored as `storage` says, with flips of what is stored:
/// the floats are what the faulty codes stand for. `seed` is for quantizers that round randomly.
///
/// # Errors
/// [`Error`] for the file, the storage, the selection, the pattern or the output; then nothing is written.
pub fn inject_stored(
    file: &Path,
    storage: &StorageSpec,
    seed: u64,
    source: &Source,
    out: &Path,
) -> Result<Injected, Error> {
    let mut model = TensorFile::open(file)?;
    let memory = Memory::new(storage, model.tensors(), &model, StreamKey { seed, point: 0, trial: 0 })?;
    memory.write_levels(&mut model)?;
    let (pattern, dormant, space_bits) = match source {
        Source::Draw { model: faults, select, bits, key } => {
            let space = memory.fault_space(select, *bits)?;
            let resolved = faults.draw(&space, key)?.resolve(&memory.view(&model))?;
            (resolved.pattern, resolved.dormant, Some(space.bits()))
        }
        Source::Pattern(path) => (read_pattern(path)?, 0, None),
    };
    let explanation = pattern.explain(&memory.view(&model))?;
    let left = memory.protect(&pattern, &model)?.pattern;
    memory.translate(&left, &model)?.apply(&mut model)?;
    model.save(out)?;
    Ok(Injected { pattern, dormant, explanation, space_bits })
}

/// Reads a saved pattern.
///
/// # Errors
/// [`Error::Read`] and [`Error::PatternFile`].
pub fn read_pattern(path: &Path) -> Result<FaultPattern, Error> {
    let text = read_text(path, u64::MAX).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    FaultPattern::from_json(&text).map_err(|source| Error::PatternFile { path: path.to_owned(), source })
}

/// Saves a pattern, whole or not at all.
///
/// # Errors
/// [`Error::Record`] when the file cannot be written.
pub fn write_pattern(path: &Path, pattern: &FaultPattern) -> Result<(), Error> {
    Ok(write_atomically(path, (pattern.to_json() + "\n").as_bytes())?)
}
