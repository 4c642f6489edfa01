//! Reading labels.

use crate::array::Array;
use crate::error::{DataError, Place};

/// What an error says of element types that cannot be labels.
pub(crate) const WANTED: &str = "labels need a whole number type: i1, i2, i4, i8, u1, u2, u4 or u8";

/// Elements read at a time.
const BLOCK: u64 = 1 << 16;

/// All labels of an array `[N]` or `[N, 1]`.
pub(crate) fn read(mut array: Array<'_>) -> Result<Vec<u32>, DataError> {
    let element = array.header.element;
    if !element.is_integer() {
        let found = element.name().to_owned();
        return Err(DataError::ElementType { place: array.place, found, wanted: WANTED });
    }
    let &([count] | [count, 1]) = array.header.shape.as_slice() else {
        let shape = array.header.shape;
        return Err(DataError::Dimensions { place: array.place, shape, wanted: "labels are [N] or [N, 1]" });
    };
    let (mut labels, mut bytes, mut values) = (Vec::new(), Vec::new(), Vec::new());
    while (labels.len() as u64) < count {
        let block = BLOCK.min(count - labels.len() as u64);
        array.read(block * element.bytes() as u64, &mut bytes)?;
        values.clear();
        element.append_integers(&bytes, &mut values);
        for &value in &values {
            labels.push(label(value, labels.len() as u64, &array.place)?);
        }
    }
    array.finish()?;
    Ok(labels)
}

fn label(value: i128, index: u64, place: &Place) -> Result<u32, DataError> {
    u32::try_from(value).map_err(|_| DataError::BadLabel { place: place.clone(), index, label: value })
}
