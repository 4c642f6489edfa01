//! Projections of changed words onto few flips (S12, S13).

use std::cmp::Reverse;

use super::dispatch::{self, Level};
use super::error::{KernelError, check_length};
use super::output::head;
use super::word::{Element, Word, as_words, as_words_mut};

/// Keeps of every change only the highest bit: the result is `original` with that one bit toggled, and `original` itself
/// where nothing changed (S12).
///
/// ```
/// use bitquake_bits::kernels::msb_projection;
/// assert_eq!(msb_projection(&[0b0101_u8], &[0b1001])?, [0b1101]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ.
pub fn msb_projection<W: Word>(original: &[W], perturbed: &[W]) -> Result<Vec<W>, KernelError> {
    let mut out = perturbed.to_vec();
    msb_projection_in_place(original, &mut out)?;
    Ok(out)
}

/// Like [`msb_projection`], in the place of the perturbed words.
///
/// # Errors
/// [`KernelError::Length`] if the numbers of words differ; nothing is changed.
pub fn msb_projection_in_place<W: Word>(original: &[W], perturbed: &mut [W]) -> Result<(), KernelError> {
    check_length("the perturbed tensor", perturbed.len(), original.len())?;
    let head = head(perturbed, 1);
    let (original, perturbed) = (original.split_at(head), perturbed.split_at_mut(head));
    dispatch::project_msb(Level::best(), original.0, perturbed.0);
    dispatch::project_msb(Level::best(), original.1, perturbed.1);
    Ok(())
}

/// Keeps the largest changes of values, each reduced to its highest bit, and takes all others back (S13).
///
/// At most `min(ceil(bound), n - 1)` of the `n` elements keep a change: those with the largest
/// [`distance`](Element::distance), of equal ones those with the lower index. The result has at most one flipped bit a word
/// and at most that many flipped words. (That the last element can never change, even with `bound = n`, is the published
/// rule.)
///
/// ```
/// use bitquake_bits::kernels::hamming_projection;
/// let projected = hamming_projection(&[0_u8, 0, 0, 0], &[1, 7, 2, 0], 1.5)?;
/// assert_eq!(projected, [0, 4, 2, 0]); // two changes stay: 7 becomes its highest bit
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Length`] if the numbers of elements differ, [`KernelError::Bound`] if the bound is negative or NaN.
pub fn hamming_projection<T: Element>(
    original: &[T],
    perturbed: &[T],
    bound: f64,
) -> Result<Vec<T>, KernelError> {
    check_length("the perturbed tensor", perturbed.len(), original.len())?;
    let mut out = original.to_vec();
    let distance = |index: usize| original[index].distance(perturbed[index]);
    let kept = largest(original.len(), changed_words(original.len(), bound)?, distance);
    let (original, perturbed, words) = (as_words(original), as_words(perturbed), as_words_mut(&mut out));
    for index in kept {
        words[index] = highest_change(original[index], perturbed[index]);
    }
    Ok(out)
}

/// Like [`hamming_projection`] for words whose values are decoded by the caller: `distance(old, new)` tells how far two
/// words are apart, such as [`real_distance`](super::real_distance) of the difference of two levels.
///
/// # Errors
/// As [`hamming_projection`].
pub fn hamming_projection_by<W: Word, D: Ord + Copy>(
    original: &[W],
    perturbed: &[W],
    bound: f64,
    distance: impl Fn(W, W) -> D,
) -> Result<Vec<W>, KernelError> {
    check_length("the perturbed tensor", perturbed.len(), original.len())?;
    let mut out = original.to_vec();
    let kept = changed_words(original.len(), bound)?;
    for index in largest(original.len(), kept, |index| distance(original[index], perturbed[index])) {
        out[index] = highest_change(original[index], perturbed[index]);
    }
    Ok(out)
}

/// How many words may change: `min(ceil(bound), n - 1)`.
fn changed_words(elements: usize, bound: f64) -> Result<usize, KernelError> {
    if bound.is_nan() || bound < 0.0 {
        return Err(KernelError::Bound { bound });
    }
    // The conversion saturates, so any bound above the number of elements means the same.
    Ok((bound.ceil() as usize).min(elements.saturating_sub(1)))
}

/// The indices of the `count` largest distances; of equal ones the lower index. In no order.
fn largest<D: Ord + Copy>(elements: usize, count: usize, distance: impl Fn(usize) -> D) -> Vec<usize> {
    if count == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<_> = (0..elements).map(|index| (Reverse(distance(index)), index)).collect();
    if count < ranked.len() {
        ranked.select_nth_unstable(count - 1);
        ranked.truncate(count);
    }
    ranked.into_iter().map(|(_, index)| index).collect()
}

fn highest_change<W: Word>(original: W, perturbed: W) -> W {
    let change: u64 = (original ^ perturbed).into();
    original ^ W::of_low_bits(if change == 0 { 0 } else { 1 << change.ilog2() })
}
