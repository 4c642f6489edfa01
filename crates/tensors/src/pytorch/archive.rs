//! Checkpoints as zip archives, which PyTorch has written since 1.6: `NAME/data.pkl`, a `NAME/data/KEY` for each storage,
//! and `NAME/byteorder`.

use std::collections::HashMap;

use super::{Checkpoint, CheckpointError, walk};
use crate::pickle::{Pickle, Value};
use crate::zip::{Archive, Contents};

const PICKLE: &str = "data.pkl";

/// Whether the archive is a checkpoint, by the names of its members.
pub(super) fn is_checkpoint(archive: &Archive) -> bool {
    pickle_name(archive).is_some()
}

/// The main pickle, which is in a folder, mostly. Others may lie deeper.
fn pickle_name(archive: &Archive) -> Option<&str> {
    let names = archive.members().iter().map(|member| member.name.as_str());
    let pickles = names.filter(|name| name.rsplit('/').next() == Some(PICKLE));
    pickles.min_by_key(|name| name.matches('/').count())
}

/// Reads the pickle and finds the storages of its tensors.
pub(super) fn read(bytes: &[u8], root: &str) -> Result<Checkpoint, CheckpointError> {
    let mut contents = Contents::read(bytes)?;
    let name = pickle_name(contents.archive()).ok_or(CheckpointError::NoPickle)?.to_owned();
    let folder = name.strip_suffix(PICKLE).unwrap_or_default();
    refuse_constants(&mut contents, folder)?;
    let is_big_endian = is_big_endian(&mut contents, folder)?;
    let tensors = {
        let span = contents.locate(&name)?.ok_or(CheckpointError::NoPickle)?;
        let pickle = Pickle::read(contents.slice(&span), 0)
            .map_err(|source| CheckpointError::Pickle { place: PICKLE, source })?;
        walk::tensors(&pickle, root)?
    };
    let mut storages = HashMap::new();
    for (tensor, view) in &tensors {
        if storages.contains_key(&view.key) {
            continue;
        }
        let span = contents.locate(&format!("{folder}data/{}", view.key))?.ok_or_else(|| {
            let what = format!("its storage {:?} is not in the archive", view.key);
            CheckpointError::Tensor { tensor: tensor.clone(), what }
        })?;
        storages.insert(view.key.clone(), span);
    }
    Ok(Checkpoint { tensors, storages, is_big_endian, inflated: contents.into_inflated() })
}

/// A TorchScript archive is a checkpoint with further tensors among the constants of its program, in a pickle and a folder
/// of their own. Without any it is read as others are.
fn refuse_constants(contents: &mut Contents<'_>, folder: &str) -> Result<(), CheckpointError> {
    const CONSTANTS: &str = "constants.pkl";
    let Some(span) = contents.locate(&format!("{folder}{CONSTANTS}"))? else { return Ok(()) };
    let pickle = Pickle::read(contents.slice(&span), 0)
        .map_err(|source| CheckpointError::Pickle { place: CONSTANTS, source })?;
    match pickle.values().iter().any(|value| matches!(value, Value::Persistent(_))) {
        true => Err(CheckpointError::TorchScript),
        false => Ok(()),
    }
}

fn is_big_endian(contents: &mut Contents<'_>, folder: &str) -> Result<bool, CheckpointError> {
    let Some(span) = contents.locate(&format!("{folder}byteorder"))? else { return Ok(false) };
    match contents.slice(&span) {
        b"little" => Ok(false),
        b"big" => Ok(true),
        other => {
            Err(CheckpointError::ByteOrder(other.iter().take(20).map(|&byte| char::from(byte)).collect()))
        }
    }
}
