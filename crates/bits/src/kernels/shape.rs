//! Elements of a shaped tensor: indices flat and by axis, and how many a fraction means (T5, T6, T10).

use thiserror::Error;

/// An index, a shape or a fraction that makes no sense.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ShapeError {
    /// A flat index past the end.
    #[error("index {index} is outside the tensor, which has {bound} elements")]
    Flat {
        /// The index.
        index: u64,
        /// The number of elements.
        bound: u64,
    },
    /// An index past the end of its axis.
    #[error("index {index} is outside axis {axis}, which has {bound} elements")]
    Axis {
        /// The index.
        index: u64,
        /// The axis, counted from 0.
        axis: usize,
        /// The length of the axis.
        bound: u64,
    },
    /// An index with another number of axes than the tensor.
    #[error("an index with {actual} axes does not fit a tensor with {expected}")]
    Rank {
        /// The axes of the index.
        actual: usize,
        /// The axes of the tensor.
        expected: usize,
    },
    /// A shape with more elements, or more bits, than can be counted.
    #[error("the shape {shape:?} has more elements or bits than fit 64 bits")]
    TooLarge {
        /// The shape.
        shape: Vec<u64>,
    },
    /// A fraction outside 0 to 1.
    #[error("a fraction of {fraction} is impossible: it must be from 0 to 1")]
    Fraction {
        /// The fraction.
        fraction: f64,
    },
    /// A fraction above 0 of a tensor without elements.
    #[error("a fraction of {fraction} selects nothing: the shape {shape:?} has no elements")]
    Empty {
        /// The fraction.
        fraction: f64,
        /// The shape.
        shape: Vec<u64>,
    },
}

/// The number of elements of a shape, 1 for a scalar `[]`.
///
/// # Errors
/// [`ShapeError::TooLarge`] if it does not fit a `u64`.
pub fn elements(shape: &[u64]) -> Result<u64, ShapeError> {
    // An axis of length 0 makes the product 0, however long the others are.
    if shape.contains(&0) {
        return Ok(0);
    }
    let product = shape.iter().try_fold(1_u64, |product, length| product.checked_mul(*length));
    product.ok_or_else(|| ShapeError::TooLarge { shape: shape.to_vec() })
}

/// The place in the flattened (C order) tensor of an index with one entry for each axis (T6).
///
/// ```
/// use bitquake_bits::kernels::{flat_index, multi_index};
/// assert_eq!(flat_index(&[64, 3, 3, 3], &[1, 0, 2, 1])?, 34);
/// assert_eq!(multi_index(&[64, 3, 3, 3], 34)?, [1, 0, 2, 1]);
/// let error = flat_index(&[64, 3, 3, 3], &[1, 3, 0, 0]).unwrap_err();
/// assert_eq!(error.to_string(), "index 3 is outside axis 1, which has 3 elements");
/// # Ok::<(), bitquake_bits::kernels::ShapeError>(())
/// ```
///
/// # Errors
/// [`ShapeError::Rank`], [`ShapeError::Axis`] or [`ShapeError::TooLarge`].
pub fn flat_index(shape: &[u64], index: &[u64]) -> Result<u64, ShapeError> {
    if index.len() != shape.len() {
        return Err(ShapeError::Rank { actual: index.len(), expected: shape.len() });
    }
    elements(shape)?;
    let mut flat = 0;
    for (axis, (&index, &bound)) in index.iter().zip(shape).enumerate() {
        if index >= bound {
            return Err(ShapeError::Axis { index, axis, bound });
        }
        // Below the number of elements, which fits.
        flat = flat * bound + index;
    }
    Ok(flat)
}

/// The index with one entry for each axis of a place in the flattened (C order) tensor (T6): the inverse of [`flat_index`].
///
/// # Errors
/// [`ShapeError::Flat`] or [`ShapeError::TooLarge`].
pub fn multi_index(shape: &[u64], flat: u64) -> Result<Vec<u64>, ShapeError> {
    let bound = elements(shape)?;
    if flat >= bound {
        return Err(ShapeError::Flat { index: flat, bound });
    }
    let (mut index, mut rest) = (vec![0; shape.len()], flat);
    for (entry, length) in index.iter_mut().zip(shape).rev() {
        (*entry, rest) = (rest % length, rest / length);
    }
    Ok(index)
}

/// Refuses the first flat index that a tensor does not have, before anything is done with any of them (T10).
///
/// # Errors
/// [`ShapeError::Flat`].
pub fn check_indices(indices: &[u64], bound: u64) -> Result<(), ShapeError> {
    match indices.iter().find(|index| **index >= bound) {
        Some(&index) => Err(ShapeError::Flat { index, bound }),
        None => Ok(()),
    }
}

/// What a fraction is a fraction of (T5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Of {
    /// Elements: the weights of all axes.
    #[default]
    Elements,
    /// Bits of elements that are this many bits wide.
    Bits(u32),
    /// Entries of the first axis: filters, rows of a matrix. A scalar is one row.
    Rows,
}

/// How many of how many a fraction selects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleSize {
    /// How many there are to choose from.
    pub population: u64,
    /// How many are chosen.
    pub count: u64,
    /// The fraction asked for; `count / population` is near it.
    pub fraction: f64,
}

/// The number of elements, bits or rows that a fraction of a tensor means (T5).
///
/// Rounding: `population * fraction` is rounded to the nearest whole number, halves away from 0; a fraction above 0 selects
/// at least one, never silently none. The product is that of `f64`, so above 2^53 the last digits of a count are rounded
/// too.
///
/// ```
/// use bitquake_bits::kernels::{Of, sample_size};
/// assert_eq!(sample_size(0.05, Of::Elements, &[64, 3, 3, 3])?.count, 86); // of 1,728
/// assert_eq!(sample_size(0.05, Of::Rows, &[64, 3, 3, 3])?.count, 3); // of 64
/// assert_eq!(sample_size(0.05, Of::Elements, &[1])?.count, 1); // not 0
/// # Ok::<(), bitquake_bits::kernels::ShapeError>(())
/// ```
///
/// # Errors
/// [`ShapeError::Fraction`] unless the fraction is from 0 to 1, [`ShapeError::Empty`] if it is above 0 and there is nothing
/// to choose from, [`ShapeError::TooLarge`].
pub fn sample_size(fraction: f64, of: Of, shape: &[u64]) -> Result<SampleSize, ShapeError> {
    if !(0.0..=1.0).contains(&fraction) {
        return Err(ShapeError::Fraction { fraction });
    }
    let elements = elements(shape)?;
    let population = match of {
        Of::Elements => Some(elements),
        Of::Bits(width) => elements.checked_mul(u64::from(width)),
        Of::Rows => Some(shape.first().map_or(1, |rows| if elements == 0 { 0 } else { *rows })),
    };
    let population = population.ok_or_else(|| ShapeError::TooLarge { shape: shape.to_vec() })?;
    if fraction == 0.0 {
        return Ok(SampleSize { population, count: 0, fraction });
    }
    if population == 0 {
        return Err(ShapeError::Empty { fraction, shape: shape.to_vec() });
    }
    let count = (population as f64 * fraction).round() as u64;
    Ok(SampleSize { population, count: count.clamp(1, population), fraction })
}
