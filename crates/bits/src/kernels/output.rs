//! Where kernels begin, so that vectors lie within lines of memory, and how outputs too large for the caches are written.

use bytemuck::NoUninit;

use super::dispatch::{self, Level};

/// Outputs of at least this many bytes are written past the caches. A smaller one may still be in the third level of the
/// cache when it is read next.
const LARGE: usize = 8 << 20;

/// Bytes made at a time: few enough that they and their inputs stay in the first level of the cache.
const STEP: usize = 4096;

/// Bytes of a line of memory.
const LINE: usize = 64;

/// The number of elements before the first that begins a line of memory; 0 if that is no multiple of `unit`, and at most
/// all elements.
///
/// A vector of 64 bytes that crosses a line costs twice as much; large arrays come from the allocator 16 bytes off.
pub(super) fn head<T>(array: &[T], unit: usize) -> usize {
    let head = array.as_ptr().align_offset(LINE);
    if head < array.len() && head.is_multiple_of(unit) { head } else { 0 }
}

/// Fills `out` piece by piece, in order: `fill(start, piece)` is to write every element of `piece`, which stands for the
/// elements from `start` on. Every `start` is a multiple of `unit` elements (at most 1024), and so is every length but the
/// last.
pub(super) fn in_pieces<T: NoUninit + Default>(
    out: &mut [T],
    unit: usize,
    fill: impl FnMut(usize, &mut [T]),
) {
    in_pieces_on(Level::best(), LARGE, out, unit, fill);
}

/// Room for one step and the end of the step before, at the beginning of a line.
#[repr(align(64))]
struct Scratch<T>([T; STEP + LINE]);

fn in_pieces_on<T: NoUninit + Default>(
    level: Level,
    large: usize,
    out: &mut [T],
    unit: usize,
    mut fill: impl FnMut(usize, &mut [T]),
) {
    let begin = head(out, unit);
    if begin > 0 {
        fill(0, &mut out[..begin]);
    }
    let mut fill = |start, piece: &mut [T]| fill(begin + start, piece);
    let out = &mut out[begin..];
    let head = out.as_ptr().align_offset(LINE);
    if size_of_val(out) < large.max(STEP) || head >= LINE || level == Level::PORTABLE {
        return fill(0, out);
    }
    let _fence = Fence(level);
    let mut scratch = Scratch([T::default(); STEP + LINE]);
    let step = STEP / size_of::<T>() / unit * unit;
    // The elements before `written` are in `out`; those from there to `made` are in the scratch, less than a line at the
    // start of each turn, since whole lines are written and the first turn reaches the beginning of one.
    let (mut written, mut made) = (0, 0);
    while made < out.len() {
        let length = step.min(out.len() - made);
        let held = made - written;
        fill(made, &mut scratch.0[held..held + length]);
        made += length;
        let ready = &scratch.0[..held + length];
        let plain = if written == 0 { head.min(ready.len()) } else { 0 };
        out[written..written + plain].copy_from_slice(&ready[..plain]);
        let gone = plain + dispatch::stream(level, &ready[plain..], &mut out[written + plain..made]);
        written += gone;
        scratch.0.copy_within(gone..held + length, 0);
    }
    let rest = made - written;
    out[written..].copy_from_slice(&scratch.0[..rest]);
}

/// Makes the streamed bytes visible to other threads before anything that follows, also when a panic ends the loop.
struct Fence(Level);

impl Drop for Fence {
    fn drop(&mut self) {
        dispatch::fence(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element is written once, in the right place, whatever the alignment, the unit and the length.
    fn pieces_fill_the_output<T: NoUninit + Default + PartialEq>(value: impl Fn(usize) -> T) {
        for level in Level::available() {
            for unit in [1, 4, 24, 56, 64] {
                for (skip, length) in
                    [(0, 3 * STEP), (1, STEP), (4, 2 * STEP + 9), (63, 5 * STEP - 1), (7, 100)]
                {
                    let mut out = vec![T::default(); skip + length + 1];
                    let mut next = 0;
                    in_pieces_on(level, 0, &mut out[skip..skip + length], unit, |start, piece| {
                        assert_eq!((start, start % unit), (next, 0));
                        next += piece.len();
                        for (at, element) in (start..).zip(piece) {
                            *element = value(at);
                        }
                    });
                    let blank = || std::iter::repeat_n(T::default(), skip);
                    let expected: Vec<T> =
                        blank().chain((0..length).map(&value)).chain([T::default()]).collect();
                    assert!(out == expected, "{} {unit} {skip} {length}", level.name());
                }
            }
        }
    }

    #[test]
    fn pieces_fill_outputs_of_bytes_numbers_and_bools() {
        pieces_fill_the_output(|at| (at * 7 % 255) as u8 + 1);
        pieces_fill_the_output(|at| at as u32 + 1);
        pieces_fill_the_output(|at| at.count_ones() % 2 == 0);
    }
}
