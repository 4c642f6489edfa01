//! Opening a safetensors file: eight bytes of header length, a JSON header, then the words of all tensors.

use std::path::Path;

use bitquake_bits::{Format, Layout};
use safetensors::tensor::{Dtype as SafeDtype, Metadata, TensorInfo as SafeInfo};

use crate::external::Part;
use crate::file::Storage;
use crate::file_bytes::FileBytes;
use crate::info::{Origin, Place, StorageForm};
use crate::{Dtype, FileKind, Role, TensorFile, TensorInfo, TensorsError};

/// The bytes of the header's length.
const LENGTH: usize = 8;

/// The longest header that the format allows, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Whether the content starts as a safetensors file does.
pub(crate) fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(LENGTH) == Some(&b'{') && header_length(bytes).is_some_and(|length| length <= LONGEST_HEADER)
}

fn header_length(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk::<LENGTH>().map(|length| u64::from_le_bytes(*length))
}

/// Makes a file of `bytes`, read from `path`.
pub(crate) fn open(path: &Path, bytes: FileBytes) -> Result<TensorFile, TensorsError> {
    let (data, metadata) = read_header(path, &bytes)?;
    let entry = |(name, entry): (String, &SafeInfo)| {
        let dtype = dtype(entry.dtype);
        let (start, end) = entry.data_offsets;
        let storage = dtype.format().map_or(Storage::Opaque, |format| Storage::Words {
            part: 0,
            range: data + start..data + end,
            layout: Layout::packed(format),
        });
        (tensor(name, dtype, entry), storage)
    };
    let entries = in_file_order(&metadata).into_iter().map(entry).collect();
    Ok(TensorFile::assemble(path, FileKind::Safetensors, vec![Part::main(path, bytes)], entries))
}

/// The error for bytes that are named `.safetensors` and do not start as one.
pub(crate) fn not_safetensors(path: &Path, bytes: &[u8]) -> TensorsError {
    match header_length(bytes) {
        None => {
            wrong(path, format!("it has {} bytes, the header's length alone takes {LENGTH}", bytes.len()))
        }
        Some(length) if length > LONGEST_HEADER => {
            wrong(path, format!("the header's length is {length} bytes"))
        }
        Some(_) => wrong(path, "the header does not start with `{`".to_owned()),
    }
}

fn wrong(path: &Path, what: String) -> TensorsError {
    TensorsError::Safetensors { path: path.to_owned(), what }
}

/// Where the data start, and the header. The header's own ranges are checked by its parser to follow each other
/// without gaps and to fit shape and dtype; what is left is that they end where the file does.
fn read_header(path: &Path, bytes: &[u8]) -> Result<(usize, Metadata), TensorsError> {
    let length = header_length(bytes).unwrap_or(0);
    let left = bytes.len().saturating_sub(LENGTH);
    let Some(header) = usize::try_from(length).ok().and_then(|length| bytes.get(LENGTH..)?.get(..length))
    else {
        return Err(wrong(path, format!("truncated: the header takes {length} bytes, {left} left")));
    };
    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| wrong(path, format!("bad header: {error}")))?;
    let (expected, actual) = (metadata.data_len(), left - header.len());
    if expected != actual {
        let cut = if actual < expected { "truncated: " } else { "" };
        return Err(wrong(path, format!("{cut}the tensors take {expected} bytes, {actual} are there")));
    }
    Ok((LENGTH + header.len(), metadata))
}

/// By place, then by name: empty tensors share their place.
fn in_file_order(metadata: &Metadata) -> Vec<(String, &SafeInfo)> {
    let mut entries: Vec<_> = metadata.tensors().into_iter().collect();
    entries.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    entries
}

fn tensor(name: String, dtype: Dtype, entry: &SafeInfo) -> TensorInfo {
    let role = if dtype.format().is_some() { Role::Weight } else { Role::Attribute };
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    let shape = entry.shape.iter().map(|&dim| dim as u64).chain(parts_of_a_number(entry.dtype)).collect();
    TensorInfo { name, dtype, shape, role, origin }
}

/// Complex numbers have one more axis, of real and imaginary part.
fn parts_of_a_number(entry: SafeDtype) -> Option<u64> {
    (entry == SafeDtype::C64).then_some(2)
}

/// The formats narrower than a byte are packed, low bits first, as the format says of them no more than that all of a
/// tensor are whole bytes; `torch.float4_e2m1fn_x2` has its first number in the low half of a byte.
fn dtype(entry: SafeDtype) -> Dtype {
    Dtype::Known(match entry {
        SafeDtype::F64 => Format::F64,
        SafeDtype::F32 | SafeDtype::C64 => Format::F32,
        SafeDtype::F16 => Format::F16,
        SafeDtype::BF16 => Format::BF16,
        SafeDtype::F8_E4M3 => Format::F8E4M3,
        SafeDtype::F8_E5M2 => Format::F8E5M2,
        SafeDtype::F8_E4M3FNUZ => Format::F8E4M3FNUZ,
        SafeDtype::F8_E5M2FNUZ => Format::F8E5M2FNUZ,
        SafeDtype::F8_E8M0 => Format::F8E8M0,
        SafeDtype::F6_E3M2 => Format::F6E3M2,
        SafeDtype::F6_E2M3 => Format::F6E2M3,
        SafeDtype::F4 => Format::F4E2M1,
        SafeDtype::I64 => Format::I64,
        SafeDtype::U64 => Format::U64,
        SafeDtype::I32 => Format::I32,
        SafeDtype::U32 => Format::U32,
        SafeDtype::I16 => Format::I16,
        SafeDtype::U16 => Format::U16,
        SafeDtype::I8 => Format::I8,
        SafeDtype::U8 => Format::U8,
        // `BOOL` becomes `bool`, the way the other dtypes are spelt.
        other => return Dtype::Other(other.to_string().to_lowercase()),
    })
}
