//! The filters that chunks go through.

use super::Hdf5Error;
use super::cursor::Cursor;

/// HDF5's own limit.
const MOST_FILTERS: u8 = 32;

/// The names of the filters that writers of networks use.
const NAMES: [(u16, &str); 8] = [
    (1, "deflate"),
    (2, "shuffle"),
    (3, "fletcher32"),
    (4, "szip"),
    (5, "nbit"),
    (6, "scaleoffset"),
    (32000, "lzf"),
    (32001, "blosc"),
];

/// The filters' numbers, in the order in which the writer applied them.
pub(crate) fn read(mut cursor: Cursor<'_>) -> Result<Vec<u16>, Hdf5Error> {
    let at = cursor.position() as u64;
    let version = cursor.u8()?;
    let count = cursor.u8()?;
    match version {
        1 => cursor.skip(6)?,
        2 => {}
        version => {
            let what = "the version of the filter pipeline";
            return Err(Hdf5Error::Unsupported { what, at, value: version.into() });
        }
    }
    if count > MOST_FILTERS {
        return Err(Hdf5Error::Unsupported { what: "the number of filters", at, value: count.into() });
    }
    (0..count).map(|_| read_filter(&mut cursor, version)).collect()
}

fn read_filter(cursor: &mut Cursor<'_>, version: u8) -> Result<u16, Hdf5Error> {
    let number = cursor.u16()?;
    let name = if version == 1 || number >= 256 { usize::from(cursor.u16()?) } else { 0 };
    cursor.skip(2)?; // flags
    let values = usize::from(cursor.u16()?);
    let padding = usize::from(version == 1 && values % 2 == 1);
    cursor.skip(if version == 1 { name.next_multiple_of(8) } else { name })?;
    cursor.skip(4 * (values + padding))?;
    Ok(number)
}

/// The filters for people: `shuffle, deflate, filter 32015`.
pub(crate) fn describe(filters: &[u16]) -> String {
    let name = |number: &u16| match NAMES.iter().find(|(known, _)| known == number) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("filter {number}"),
    };
    filters.iter().map(name).collect::<Vec<_>>().join(", ")
}
