//! The shape of a dataset.

use super::Hdf5Error;
use super::cursor::Cursor;

/// What is enough for any file: HDF5's own limit.
const MOST_DIMENSIONS: u8 = 32;

/// The dimensions, outermost first; `None` for a dataset without any element.
pub(crate) fn read(mut cursor: Cursor<'_>) -> Result<Option<Vec<u64>>, Hdf5Error> {
    let at = cursor.position() as u64;
    let version = cursor.u8()?;
    let rank = cursor.u8()?;
    cursor.skip(1)?; // whether greatest dimensions follow
    let is_null = match version {
        1 => {
            cursor.skip(5)?;
            false
        }
        2 => cursor.u8()? == 2,
        version => {
            let what = "the version of the dataspace";
            return Err(Hdf5Error::Unsupported { what, at, value: version.into() });
        }
    };
    if rank > MOST_DIMENSIONS {
        let what = "the number of dimensions";
        return Err(Hdf5Error::Unsupported { what, at, value: rank.into() });
    }
    let shape = (0..rank).map(|_| cursor.length()).collect::<Result<Vec<u64>, _>>()?;
    Ok((!is_null).then_some(shape))
}
