//! What is in a file, how much of it may be hit, and how a memory would hold it.

mod view;

use std::collections::HashMap;
use std::path::Path;

use bitquake_bits::BitSelection;
use bitquake_campaign::CampaignError;
use bitquake_fault::{Candidate, FaultSpace, SpaceError};
use bitquake_graph::Graph;
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, StorageSpec};
use bitquake_tensors::{Dtype, Role, TensorFile, TensorInfo};
use serde::Serialize;

use crate::error::Error;
use crate::select::fault_space;

pub use view::TensorView;

/// What is in a file.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The kind of file.
    pub kind: String,
    /// Its tensors, in file order.
    pub tensors: Vec<InspectedTensor>,
    /// Words of all tensors of the fault space.
    pub words: u64,
    /// Bits of the fault space: what the selection may hit.
    pub bits: u64,
    /// Bits of every tensor with a number format, in the file.
    pub file_bits: u64,
    /// Bits of the same tensors in the memory that was asked for, parts included; none if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored_bits: Option<u64>,
    /// What to know before injecting faults into this file.
    pub warnings: Vec<String>,
}

/// One tensor of a file.
#[derive(Clone, Debug, Serialize)]
pub struct InspectedTensor {
    /// Its name.
    pub tensor: String,
    /// Its type in the file.
    pub format: String,
    /// Whether that is a number format; bits of other types are never touched.
    pub has_format: bool,
    /// Its shape.
    pub shape: Vec<u64>,
    /// Its number of elements.
    pub elements: u64,
    /// Its bits in the file; 0 without a number format.
    pub file_bits: u64,
    /// `weight`, `statistic` for running means and variances, or `attribute` for shapes, axes and bounds that only their own name selects.
    pub role: String,
    /// Where in the file it is.
    pub origin: String,
    /// Whether the selection takes it.
    pub selected: bool,
    /// Bits of it that the selection may hit.
    pub bits: u64,
    /// How the memory that was asked for holds it; none if none was, and without a number format.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<StoredAs>,
}

/// A tensor in a memory.
#[derive(Clone, Debug, Serialize)]
pub struct StoredAs {
    /// Family of the quantizer; `native` for the file's own words.
    pub family: &'static str,
    /// Number format of the words.
    pub format: String,
    /// Bits of the words and the parts together.
    pub bits: u64,
    /// Whether globs leave the words out: only their own name selects them.
    pub by_name_only: bool,
    /// What is stored beside the words.
    pub parts: Vec<StoredPart>,
}

/// Scales, zero points, range ends or check bits: a tensor of its own in the fault space.
#[derive(Clone, Debug, Serialize)]
pub struct StoredPart {
    /// Its name: `TENSOR@scale`, `TENSOR@check` ...
    pub tensor: String,
    /// Its number format.
    pub format: String,
    /// How many words there are.
    pub elements: u64,
    /// Their bits.
    pub stored_bits: u64,
    /// Whether globs without an `@` leave it out.
    pub by_name_only: bool,
    /// Whether the selection takes it.
    pub selected: bool,
    /// Bits of it that the selection may hit.
    pub bits: u64,
}

/// Lists the tensors of a file, and the fault space of a selection.
///
/// # Errors
/// [`Error`] when the file cannot be read or the selection matches nothing.
pub fn inspect(path: &Path, select: &[String], bits: BitSelection) -> Result<Inspection, Error> {
    let file = TensorFile::open(path)?;
    let space = match fault_space(&file, select, bits) {
        // A file may have nothing that could be hit; that is told, not refused, as long as nothing else was asked for.
        Err(Error::Space(SpaceError::Selector(_))) if select.iter().all(|glob| glob == "*") => {
            FaultSpace::gather([])?
        }
        space => space?,
    };
    Ok(told(&file, &space, None))
}

/// As [`inspect`], with what a memory holds of the file: the fault space is that of a campaign with this `[storage]`.
///
/// # Errors
/// [`Error`] also for tensors that cannot be stored so.
pub fn inspect_stored(
    path: &Path,
    storage: &StorageSpec,
    select: &[String],
    bits: BitSelection,
) -> Result<Inspection, Error> {
    let file = TensorFile::open(path)?;
    let key = StreamKey { seed: 0, point: 0, trial: 0 };
    let memory = Memory::new(storage, file.tensors(), &file, key).map_err(CampaignError::from)?;
    let space = memory.fault_space(select, bits)?;
    Ok(told(&file, &space, Some(&memory)))
}

fn told(file: &TensorFile, space: &FaultSpace, memory: Option<&Memory>) -> Inspection {
    let hit: Hit<'_> = space.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.bits())).collect();
    let mut tensors: Vec<InspectedTensor> =
        file.tensors().iter().map(|tensor| inspected(tensor, &hit)).collect();
    if let Some(memory) = memory {
        add_stored(&mut tensors, memory, &hit);
    }
    let stored_bits =
        || tensors.iter().filter_map(|tensor| tensor.stored.as_ref()).map(|stored| stored.bits).sum();
    Inspection {
        kind: file.kind().to_string(),
        words: space.tensors().iter().map(|tensor| tensor.elements).sum(),
        bits: space.bits(),
        file_bits: tensors.iter().map(|tensor| tensor.file_bits).sum(),
        stored_bits: memory.map(|_| stored_bits()),
        warnings: warnings(file),
        tensors,
    }
}

/// Of each tensor of a fault space, the bits that may be hit.
type Hit<'a> = HashMap<&'a str, u64>;

fn inspected(tensor: &TensorInfo, hit: &Hit<'_>) -> InspectedTensor {
    let has_format = matches!(tensor.dtype, Dtype::Known(_));
    let bits = hit.get(tensor.name.as_str());
    InspectedTensor {
        tensor: tensor.name.clone(),
        format: tensor.dtype.to_string(),
        has_format,
        shape: tensor.shape.clone(),
        elements: tensor.elements(),
        file_bits: tensor.bits().unwrap_or(0),
        role: if has_format { tensor.role } else { Role::Attribute }.to_string(),
        origin: tensor.origin.to_string(),
        selected: bits.is_some(),
        bits: bits.copied().unwrap_or(0),
        stored: None,
    }
}

/// Tells of each tensor with a number format how it is stored. A memory lists tensors in file order, each with its parts
/// behind it.
fn add_stored(tensors: &mut [InspectedTensor], memory: &Memory, hit: &Hit<'_>) {
    let mut entries = memory.candidates().peekable();
    let mut known = tensors.iter_mut().filter(|tensor| tensor.has_format).peekable();
    while let (Some(tensor), Some(words)) = (known.next(), entries.next()) {
        let next = known.peek().map(|next| next.tensor.clone());
        let is_part = |entry: &Candidate<'_>| next.as_deref() != Some(entry.name);
        let mut parts = Vec::new();
        while let Some(entry) = entries.next_if(is_part) {
            parts.push(stored_part(&entry, hit));
        }
        let coded = memory.coded(&tensor.tensor);
        let family = coded.and_then(|coded| coded.grid().quantizer().spec().family).unwrap_or_default();
        tensor.stored = Some(StoredAs {
            family: family.name(),
            format: words.format.name(),
            bits: bits_of(&words) + parts.iter().map(|part| part.stored_bits).sum::<u64>(),
            by_name_only: words.by_name_only,
            parts,
        });
    }
}

fn stored_part(entry: &Candidate<'_>, hit: &Hit<'_>) -> StoredPart {
    let bits = hit.get(entry.name).copied();
    StoredPart {
        tensor: entry.name.to_owned(),
        format: entry.format.name(),
        elements: entry.elements,
        stored_bits: bits_of(entry),
        by_name_only: entry.by_name_only,
        selected: bits.is_some(),
        bits: bits.unwrap_or(0),
    }
}

fn bits_of(entry: &Candidate<'_>) -> u64 {
    entry.elements.saturating_mul(entry.format.width().into())
}

fn warnings(file: &TensorFile) -> Vec<String> {
    let folded = Graph::from_file(file).ok().and_then(|graph| graph.batch_norm_looks_folded());
    folded.map(|evidence| evidence.to_string()).into_iter().collect()
}
