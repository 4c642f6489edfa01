//! Arithmetic of shapes and axes, checked.

/// The shape that two shapes broadcast to, as ONNX and NumPy say: aligned at the last axis, sizes equal or 1.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let rank = a.len().max(b.len());
    let size =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |place| shape[place]);
    let sizes = (0..rank).map(|axis| match (size(a, axis), size(b, axis)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        _ => Err(format!("shapes {a:?} and {b:?} do not broadcast")),
    });
    let shape = sizes.collect::<Result<Vec<usize>, String>>()?;
    count(&shape)?;
    Ok(shape)
}

/// An axis that may count from the end, within a rank.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, String> {
    let signed = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    match signed.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis < rank) {
        Some(axis) => Ok(axis),
        None => Err(format!("axis {axis} is outside rank {rank}")),
    }
}

/// Several axes, each at most once, in ascending order.
pub(crate) fn axes(wanted: &[i64], rank: usize) -> Result<Vec<usize>, String> {
    let mut found = wanted.iter().map(|&wanted| axis(wanted, rank)).collect::<Result<Vec<usize>, _>>()?;
    found.sort_unstable();
    match found.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("axis {} is named twice", pair[0])),
        None => Ok(found),
    }
}

/// The product of sizes, if it is a number of elements that could be held.
pub(crate) fn count(shape: &[usize]) -> Result<usize, String> {
    let product = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    product.filter(|&count| count <= MOST).ok_or_else(|| format!("shape {shape:?} has too many elements"))
}

/// More elements than this are refused before memory is asked for: 4 GiB of floats.
const MOST: usize = 1 << 30;

/// The row-major step of each axis.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For each element of `shape` in row-major order, the place that `strides` give it.
pub(crate) fn places(shape: &[usize], strides: &[usize]) -> impl Iterator<Item = usize> {
    let (shape, strides) = (shape.to_vec(), strides.to_vec());
    let own = self::strides(&shape);
    (0..shape.iter().product::<usize>()).map(move |element| {
        (0..shape.len()).map(|axis| element / own[axis] % shape[axis] * strides[axis]).sum()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_broadcast() {
        assert_eq!(broadcast(&[2, 1, 3], &[4, 1]), Ok(vec![2, 4, 3]));
        assert_eq!(broadcast(&[], &[5]), Ok(vec![5]));
        assert_eq!(broadcast(&[], &[]), Ok(vec![]));
        assert_eq!(broadcast(&[0, 1], &[1, 3]), Ok(vec![0, 3]));
        assert!(broadcast(&[2], &[3]).is_err());
    }

    #[test]
    fn axes_count_from_the_end() {
        assert_eq!(axis(-1, 3), Ok(2));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err() && axis(i64::MIN, 3).is_err());
        assert_eq!(axes(&[-1, 0], 3), Ok(vec![0, 2]));
        assert!(axes(&[2, -1], 3).is_err());
    }

    #[test]
    fn places_of_a_transposed_matrix() {
        assert_eq!(places(&[3, 2], &[1, 3]).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(places(&[], &[]).collect::<Vec<_>>(), [0]);
        assert!(count(&[1 << 20, 1 << 20]).is_err());
    }
}
