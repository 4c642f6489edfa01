//! IDX: a mark, the dimensions, the elements.
//!
//! The mark is four bytes: 0, 0, the element type (8 for unsigned bytes) and the number of dimensions. Each dimension
//! follows as a big-endian 32-bit number, then the elements in C order.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use crate::array::{Array, Header, Order, fill};
use crate::element::Element;
use crate::error::{DataError, Place};

/// The mark of unsigned bytes, less the number of dimensions.
const UNSIGNED_BYTES: u32 = 0x0800;

/// What an IDX file should hold.
pub(crate) struct Expected {
    what: &'static str,
    marks: &'static [u32],
}

/// Images: one channel, several, or plain features.
pub(crate) const IMAGES: Expected = Expected {
    what: "images of unsigned bytes",
    marks: &[UNSIGNED_BYTES | 3, UNSIGNED_BYTES | 4, UNSIGNED_BYTES | 2],
};

/// Labels.
pub(crate) const LABELS: Expected =
    Expected { what: "labels of unsigned bytes", marks: &[UNSIGNED_BYTES | 1] };

/// Reads the header.
pub(crate) fn open<'a>(
    place: Place,
    reader: &'a mut dyn Read,
    expected: &Expected,
) -> Result<Array<'a>, DataError> {
    let found = read_numbers(reader, 1, &place)?[0];
    if !expected.marks.contains(&found) {
        return Err(DataError::Magic { place, found, what: expected.what, wanted: expected.marks });
    }
    let shape = read_numbers(reader, found & 0xff, &place)?.into_iter().map(u64::from).collect();
    Array::new(place, Header { element: Element::U8, shape, order: Order::C }, reader)
}

/// Big-endian 32-bit numbers.
fn read_numbers(reader: &mut dyn Read, count: u32, place: &Place) -> Result<Vec<u32>, DataError> {
    let expected = u64::from(count) * 4;
    let mut bytes = Vec::new();
    fill(reader, expected, &mut bytes).map_err(|source| DataError::Read { place: place.clone(), source })?;
    match bytes.len() as u64 {
        actual if actual < expected => Err(DataError::NoIdxHeader { place: place.clone(), expected, actual }),
        _ => Ok(bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word)).collect()),
    }
}

/// Writes unsigned bytes as a plain IDX file, for tests and for making data sets. `dims` are the sizes of the
/// dimensions, outermost first; `data` is in C order.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] if there are no dimensions or more than 255, or if `data` has not exactly as many
/// bytes as they say; any error of writing.
pub fn write_idx(path: &Path, dims: &[u32], data: &[u8]) -> io::Result<()> {
    let product = dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(u64::from(dim)));
    let count = match u8::try_from(dims.len()) {
        Ok(count @ 1..) if product == Some(data.len() as u64) => count,
        _ => {
            let problem = format!("{} bytes do not make an IDX array of shape {dims:?}", data.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
    };
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(UNSIGNED_BYTES | u32::from(count)).to_be_bytes())?;
    dims.iter().try_for_each(|dim| file.write_all(&dim.to_be_bytes()))?;
    file.write_all(data)?;
    file.flush()
}
