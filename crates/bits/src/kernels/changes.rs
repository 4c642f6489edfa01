//! What flips did to the numbers of a tensor, and what is done about NaN and infinity (T12).

use thiserror::Error;

use super::error::{KernelError, check_length, check_width};
use super::word::Word;
use crate::{Field, FlippedWord, Format};

/// A changed element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The element, counted over the flattened (C order) tensor.
    pub element: u64,
    /// Its words and numbers before and after, their ratio, and whether it became NaN or infinite.
    pub word: FlippedWord,
}

/// Every element that differs between two tensors of one format, in order (T12).
///
/// ```
/// use bitquake_bits::{Format, kernels::{as_words, changes}};
/// let changed = changes(Format::F32, as_words(&[0.5_f32, 1.0]), as_words(&[0.5_f32, 4.0]))?;
/// assert_eq!((changed.len(), changed[0].element, changed[0].word.ratio()), (1, 1, Some(4.0)));
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ, [`KernelError::Width`] if the format is wider than a word.
pub fn changes<W: Word>(format: Format, before: &[W], after: &[W]) -> Result<Vec<Change>, KernelError> {
    check_width(format.width(), W::BITS)?;
    check_length("the tensor after", after.len(), before.len())?;
    let pairs = (0..).zip(before.iter().zip(after)).filter(|(_, (before, after))| before != after);
    let change = |(element, (before, after)): (u64, (&W, &W))| {
        let (old_word, new_word) = ((*before).into(), (*after).into());
        let (old, new) = (format.decode(old_word), format.decode(new_word));
        Change { element, word: FlippedWord { old_word, new_word, old, new } }
    };
    Ok(pairs.map(change).collect())
}

/// What to do with numbers that flips made NaN or infinite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NonFinite {
    /// Leave them: what the hardware would do.
    #[default]
    Allow,
    /// Replace them by the largest finite number of the format, with the sign that the flipped word has, NaN included.
    Clamp,
    /// Replace them by 0.
    Zero,
    /// Refuse them.
    Reject,
}

/// Numbers that flips made NaN or infinite and that a policy cannot accept.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum NonFiniteError {
    /// The tensors do not fit each other or the format.
    #[error(transparent)]
    Arguments(#[from] KernelError),
    /// [`NonFinite::Reject`] met such a number.
    #[error("element {element} became {value} (it was {old})")]
    Rejected {
        /// The element.
        element: u64,
        /// The number before.
        old: f64,
        /// The number after.
        value: f64,
    },
    /// [`NonFinite::Zero`] in a format without a zero.
    #[error("{format} has no zero to put in the place of element {element}")]
    NoZero {
        /// The format.
        format: Format,
        /// The element.
        element: u64,
    },
}

/// Applies a policy to the elements that were finite before and are not after; the result is their number (T12).
///
/// ```
/// use bitquake_bits::{Format, kernels::{NonFinite, as_words, as_words_mut, settle_nonfinite}};
/// let before = [1.0_f32, f32::INFINITY];
/// let mut after = [f32::NEG_INFINITY, f32::INFINITY];
/// let words = as_words_mut(&mut after);
/// assert_eq!(settle_nonfinite(Format::F32, as_words(&before), words, NonFinite::Clamp)?, 1);
/// assert_eq!(after, [f32::MIN, f32::INFINITY]); // the second was infinite before
/// # Ok::<(), bitquake_bits::kernels::NonFiniteError>(())
/// ```
///
/// # Errors
/// [`NonFiniteError`]; nothing is changed.
pub fn settle_nonfinite<W: Word>(
    format: Format,
    before: &[W],
    after: &mut [W],
    policy: NonFinite,
) -> Result<u64, NonFiniteError> {
    let mut broken = changes(format, before, after)?;
    broken.retain(|change| change.word.old.is_finite() && !change.word.new.is_finite());
    let Some(first) = broken.first() else { return Ok(0) };
    match policy {
        NonFinite::Allow => {}
        NonFinite::Reject => {
            let (old, value) = (first.word.old, first.word.new);
            return Err(NonFiniteError::Rejected { element: first.element, old, value });
        }
        NonFinite::Zero => {
            let none = |_| NonFiniteError::NoZero { format, element: first.element };
            let zero = W::of_low_bits(format.encode(0.0).map_err(none)?);
            broken.iter().for_each(|change| after[change.element as usize] = zero);
        }
        NonFinite::Clamp => {
            let largest = largest_finite(format);
            for change in &broken {
                let word = largest | change.word.new_word & sign(format);
                after[change.element as usize] = W::of_low_bits(word);
            }
        }
    }
    Ok(broken.len() as u64)
}

/// The word of the largest finite number. Only formats with numbers that are not finite get here: their words without a
/// sign are in the order of the numbers, finite ones first.
fn largest_finite(format: Format) -> u64 {
    let (mut finite, mut above) = (0, (format.mask() & !sign(format)).saturating_add(1));
    while above - finite > 1 {
        let middle = finite + (above - finite) / 2;
        if format.is_finite(middle) { finite = middle } else { above = middle }
    }
    finite
}

fn sign(format: Format) -> u64 {
    format.field_mask(Field::Sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FORMATS;
    use crate::kernels::{as_words, as_words_mut};

    #[test]
    fn the_largest_finite_number_is_the_largest() {
        for (format, largest) in [
            (Format::F64, f64::MAX),
            (Format::F32, f32::MAX.into()),
            (Format::F16, 65_504.0),
            (Format::F8E4M3, 448.0),
            (Format::F8E5M2, 57_344.0),
            (Format::F8E4M3FNUZ, 240.0),
            (Format::F8E8M0, 2_f64.powi(127)),
        ] {
            assert_eq!(format.decode(largest_finite(format)), largest, "{format}");
        }
        for row in FORMATS.iter().filter(|row| row.format.width() <= 16) {
            let all = 0..=row.format.mask();
            if all.clone().any(|word| !row.format.is_finite(word)) {
                let finite = all.map(|word| row.format.decode(word)).filter(|value| value.is_finite());
                let largest = finite.fold(f64::NEG_INFINITY, f64::max);
                assert_eq!(row.format.decode(largest_finite(row.format)), largest, "{}", row.format);
            }
        }
    }

    #[test]
    fn policies() {
        let before = [1.0_f32, 1.5, -1.0, f32::NAN, 2.0];
        let flipped = before.map(|value| f32::from_bits(value.to_bits() ^ 1 << 30));
        assert!(flipped[0].is_infinite() && flipped[1].is_nan() && flipped[2] == f32::NEG_INFINITY);
        let settle = |policy| {
            let mut after = flipped;
            let count = settle_nonfinite(Format::F32, as_words(&before), as_words_mut(&mut after), policy);
            (count, after)
        };
        assert_eq!(settle(NonFinite::Allow).0, Ok(3));
        assert_eq!(as_words(&settle(NonFinite::Allow).1), as_words(&flipped));
        let (count, after) = settle(NonFinite::Clamp);
        assert_eq!((count, &after[..3]), (Ok(3), &[f32::MAX, f32::MAX, f32::MIN][..]));
        assert_eq!(as_words(&after[3..]), as_words(&flipped[3..]), "what was not finite before stays");
        assert_eq!(settle(NonFinite::Zero).1[..3], [0.0; 3]);
        let (error, after) = settle(NonFinite::Reject);
        assert_eq!(as_words(&after), as_words(&flipped));
        assert_eq!(error.unwrap_err().to_string(), "element 0 became inf (it was 1)");
        let none = settle_nonfinite(Format::U8, &[1_u8], &mut [255], NonFinite::Reject);
        assert_eq!(none, Ok(0), "codes are always finite");
        let error = settle_nonfinite(Format::F8E8M0, &[1_u8], &mut [255], NonFinite::Zero);
        assert_eq!(error, Err(NonFiniteError::NoZero { format: Format::F8E8M0, element: 0 }));
        assert!(changes(Format::F32, &[1_u8], &[2]).is_err(), "a format wider than the words");
        assert!(changes(Format::U8, &[1_u8], &[2, 3]).is_err());
    }
}
