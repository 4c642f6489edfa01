//! Where an element of a tensor lies.

/// The coordinates of an element, slowest dimension first (C order); `None` when the tensor has no such element, or more than
/// 2^64 of them.
///
/// ```
/// use bitquake_fault::{coordinates, element_at};
/// assert_eq!(coordinates(23, &[2, 3, 4]), Some(vec![1, 2, 3]));
/// assert_eq!(coordinates(24, &[2, 3, 4]), None);
/// assert_eq!(element_at(&[1, 2, 3], &[2, 3, 4]), Some(23));
/// ```
#[must_use]
pub fn coordinates(element: u64, dims: &[u64]) -> Option<Vec<u64>> {
    let mut rest = element;
    let mut coordinates = vec![0; dims.len()];
    for (coordinate, &dim) in coordinates.iter_mut().zip(dims).rev() {
        *coordinate = rest.checked_rem(dim)?;
        rest /= dim;
    }
    (rest == 0).then_some(coordinates)
}

/// The element at coordinates, the inverse of [`coordinates`]; `None` when they are not as many as the dimensions, or outside.
#[must_use]
pub fn element_at(coordinates: &[u64], dims: &[u64]) -> Option<u64> {
    if coordinates.len() != dims.len() {
        return None;
    }
    let step = |element: u64, (&coordinate, &dim): (&u64, &u64)| {
        if coordinate < dim { element.checked_mul(dim)?.checked_add(coordinate) } else { None }
    };
    coordinates.iter().zip(dims).try_fold(0, step)
}

/// The channel of an element: its index along the first dimension, which is the output channel of a weight and the channel of an
/// activation of one image; 0 for a tensor without dimensions. Elements beyond the tensor are in channels beyond it.
///
/// ```
/// assert_eq!(bitquake_fault::channel_of(13, &[2, 3, 4]), 1);
/// ```
#[must_use]
pub fn channel_of(element: u64, dims: &[u64]) -> u64 {
    match dims.split_first() {
        Some((_, inner)) => element / inner.iter().product::<u64>().max(1),
        None => 0,
    }
}

/// How many channels a tensor has: its first dimension, or 1.
#[must_use]
pub fn channels(dims: &[u64]) -> u64 {
    dims.first().copied().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for dims in [&[][..], &[7], &[3, 5], &[2, 3, 4], &[2, 1, 3, 2]] {
            let elements = dims.iter().product();
            for element in 0..elements {
                let at = coordinates(element, dims).unwrap();
                assert_eq!(element_at(&at, dims), Some(element), "{dims:?}");
                assert_eq!(channel_of(element, dims), at.first().copied().unwrap_or(0), "{dims:?}");
            }
            assert_eq!(coordinates(elements, dims), None, "{dims:?}");
        }
        assert_eq!(coordinates(0, &[2, 0]), None);
        assert_eq!(element_at(&[1, 3], &[2, 3]), None);
        assert_eq!(element_at(&[1], &[2, 3]), None);
        assert_eq!([channels(&[]), channels(&[4, 9])], [1, 4]);
    }
}
