//! Checkpoints as PyTorch wrote them before 1.6, and does still if asked to: four pickles (a magic number, a protocol
//! number, facts about the system, the content), a pickle of the storages' keys, and for each of these the number of its
//! elements in 8 bytes and the elements, little-endian on every system.

use std::collections::HashMap;

use super::rebuild::Storage;
use super::{Checkpoint, CheckpointError, walk};
use crate::pickle::{Id, Pickle, Value};
use crate::zip::Span;

/// The magic number, 0x1950a86a20f9469cfc6c, as a pickle holds it.
const MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The protocol number, the only one there ever was.
const PROTOCOL: i64 = 1001;

/// Whether the content starts with the magic number's pickle: within it there may be a frame.
pub(super) fn is_checkpoint(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(32)];
    start.first() == Some(&0x80) && start.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// Reads the pickles and finds the storages.
pub(super) fn read(bytes: &[u8], root: &str) -> Result<Checkpoint, CheckpointError> {
    let legacy = |what| CheckpointError::Legacy { what };
    let magic = pickle(bytes, 0, "the magic number")?;
    if !matches!(magic.value(magic.root()), Value::Large(range) if magic.raw(range) == MAGIC) {
        return Err(legacy("magic number"));
    }
    let protocol = pickle(bytes, magic.end(), "the protocol number")?;
    if protocol.int(protocol.root()) != Some(PROTOCOL) {
        return Err(legacy("protocol number"));
    }
    let system = pickle(bytes, protocol.end(), "the system's facts")?;
    let content = pickle(bytes, system.end(), "the content")?;
    let keys = pickle(bytes, content.end(), "the storages' keys")?;
    let declared = declared(&content)?;
    let mut storages = HashMap::new();
    let mut at = keys.end();
    for &id in keys.sequence(keys.root()).ok_or(legacy("list of keys"))? {
        let key = key(&keys, id).ok_or(legacy("list of keys"))?;
        let storage =
            declared.get(&key).ok_or_else(|| CheckpointError::UnknownStorage { key: key.clone() })?;
        let span = storage_at(bytes, at, storage)?;
        at = span.range.end;
        storages.insert(key, span);
    }
    let tensors = walk::tensors(&content, root)?;
    let missing = tensors.iter().find(|(_, view)| !storages.contains_key(&view.key));
    if let Some((tensor, view)) = missing {
        let what = format!("its storage {:?} is not in the file", view.key);
        return Err(CheckpointError::Tensor { tensor: tensor.clone(), what });
    }
    Ok(Checkpoint { tensors, storages, is_big_endian: false, inflated: Vec::new() })
}

fn pickle<'a>(bytes: &'a [u8], start: usize, place: &'static str) -> Result<Pickle<'a>, CheckpointError> {
    Pickle::read(bytes, start).map_err(|source| CheckpointError::Pickle { place, source })
}

fn key(pickle: &Pickle<'_>, id: Id) -> Option<String> {
    pickle.int(id).map(|key| key.to_string()).or_else(|| pickle.text(id).map(|key| key.into_owned()))
}

/// All storages of the content by their keys, those that no tensor has included. One that is named several times, as
/// parts of it are, is the same each time.
fn declared(content: &Pickle<'_>) -> Result<HashMap<String, Storage>, CheckpointError> {
    let mut storages = HashMap::new();
    for value in content.values() {
        let Value::Persistent(id) = value else { continue };
        // Old programs also put the sources of modules here.
        let kind = content.sequence(*id).and_then(|parts| content.text(*parts.first()?));
        if kind.as_deref() != Some("storage") {
            continue;
        }
        let storage = Storage::of_id(content, *id)
            .map_err(|what| CheckpointError::Tensor { tensor: "(any)".to_owned(), what })?;
        storages.entry(storage.key.clone()).or_insert(storage);
    }
    Ok(storages)
}

/// The data of the storage whose count is at `at`.
fn storage_at(bytes: &[u8], at: usize, storage: &Storage) -> Result<Span, CheckpointError> {
    let (key, declared) = (storage.key.clone(), storage.elements);
    let Some(count) = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>()) else {
        return Err(CheckpointError::StorageCut { key, at, size: 8 });
    };
    let elements = i64::from_le_bytes(*count);
    if u64::try_from(elements).ok() != Some(declared) {
        return Err(CheckpointError::StorageCount { key, at, elements, declared });
    }
    let (start, size) = (at + 8, declared.saturating_mul(storage.element.bytes()));
    if size > (bytes.len() - start) as u64 {
        return Err(CheckpointError::StorageCut { key, at: start, size });
    }
    Ok(Span { part: 0, range: start..start + size as usize })
}
