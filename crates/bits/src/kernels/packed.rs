//! Codes of 1 to 8 bits, several in a byte: code `i` lies at bit `i * width` of the bytes, low bits first.
//!
//! The bitwise operations of [`Bitwise`](super::Bitwise) and [`hamming_total`](super::hamming_total) work on packed bytes
//! as they are. What depends on where a code begins is here. Bits after the last code (at most 7, in the last byte) belong
//! to nothing: packing makes them 0, and nothing else reads or changes them.
//!
//! A code may also lie alone in a byte; then the other kernels serve, with
//! [`container_mask`](super::container_mask) for the bits above the code.

use super::axis::check_words;
use super::dispatch::{self, Level};
use super::error::{KernelError, check_length, check_width};
use super::hamming::{Count, bytes_total};
use super::loops::BLOCK;
use super::output::{head, in_pieces};
use super::word::Word;

/// The widest code that can be packed, in bits.
const WIDEST: u32 = u8::BITS;

/// Codes that are handled at a time where scratch is needed: few enough for the first level of the cache.
const STEP: usize = 16 * BLOCK;

/// The number of bytes that hold `count` packed codes; `None` if that is more than memory can hold.
///
/// ```
/// use bitquake_bits::kernels::packed_bytes;
/// assert_eq!(packed_bytes(10, 3), Some(4));
/// ```
pub fn packed_bytes(count: usize, width: u32) -> Option<usize> {
    // Whole groups of eight codes fill `width` bytes each, so nothing overflows before the result does.
    let width = width as usize;
    (count / 8).checked_mul(width)?.checked_add((count % 8).checked_mul(width)?.div_ceil(8))
}

/// Packs codes, one in each byte, into as few bytes as they need.
///
/// ```
/// use bitquake_bits::kernels::{pack, unpack};
/// let packed = pack(&[0b101, 0b001, 0b110], 3)?;
/// assert_eq!(packed, [0b10_001_101, 0b1]);
/// assert_eq!(unpack(&packed, 3, 3)?, [0b101, 0b001, 0b110]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`] unless the width is 1 to 8, [`KernelError::TooWide`] if a code has bits above it.
pub fn pack(codes: &[u8], width: u32) -> Result<Vec<u8>, KernelError> {
    check_width(width, WIDEST)?;
    let mut out = vec![0; packed_bytes(codes.len(), width).unwrap_or(usize::MAX)];
    pack_into(codes, width, &mut out)?;
    Ok(out)
}

/// Like [`pack`], into an array of [`packed_bytes`] bytes.
///
/// # Errors
/// As [`pack`], and [`KernelError::Length`] if the array has another length. After [`KernelError::TooWide`] the array
/// holds no meaningful bytes; after the others it is unchanged.
pub fn pack_into(codes: &[u8], width: u32, out: &mut [u8]) -> Result<(), KernelError> {
    check_packed("the packed array", out.len(), codes.len(), width)?;
    let size = width as usize;
    let (head, rest) = codes.split_at(head(codes, 8));
    let (whole, end) = rest.split_at(rest.len() - rest.len() % BLOCK);
    let (first, out) = out.split_at_mut(head.len() / 8 * size);
    let (out, last) = out.split_at_mut(whole.len() / 8 * size);
    let mut seen = pack_few(head, width, first) | pack_few(end, width, last);
    in_pieces(out, 8 * size, |start, out| {
        let codes = &whole[start / size * 8..][..out.len() / size * 8];
        seen |= pack_blocks(codes, width, out);
    });
    if seen & !u8::low_mask(width) == 0 { Ok(()) } else { check_words(codes, width) }
}

/// Unpacks `count` codes, one into each byte.
///
/// # Errors
/// [`KernelError::Width`] unless the width is 1 to 8, [`KernelError::Length`] if the bytes are not exactly those that
/// `count` codes need.
pub fn unpack(bytes: &[u8], count: usize, width: u32) -> Result<Vec<u8>, KernelError> {
    check_packed("the packed array", bytes.len(), count, width)?;
    let mut codes = vec![0; count];
    unpack_into(bytes, width, &mut codes)?;
    Ok(codes)
}

/// Like [`unpack`], into an array with one byte for each code.
///
/// # Errors
/// As [`unpack`]; nothing is written.
pub fn unpack_into(bytes: &[u8], width: u32, codes: &mut [u8]) -> Result<(), KernelError> {
    check_packed("the packed array", bytes.len(), codes.len(), width)?;
    unpack_all::<false>(bytes, &[], width, codes);
    Ok(())
}

/// The number of bits in which each packed code differs from the other tensor's.
///
/// ```
/// use bitquake_bits::kernels::{pack, packed_hamming};
/// let (a, b) = (pack(&[0b101, 0b001], 3)?, pack(&[0b010, 0b000], 3)?);
/// assert_eq!(packed_hamming(&a, &b, 2, 3)?, [3, 1]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Width`], or [`KernelError::Length`] if an array is not exactly what `count` codes need.
pub fn packed_hamming(left: &[u8], right: &[u8], count: usize, width: u32) -> Result<Vec<u32>, KernelError> {
    check_packed("the left operand", left.len(), count, width)?;
    let mut out = vec![0; count];
    packed_hamming_into(left, right, width, &mut out)?;
    Ok(out)
}

/// Like [`packed_hamming`], into an array with one `u32` or `u8` for each code.
///
/// # Errors
/// As [`packed_hamming`]; nothing is written.
pub fn packed_hamming_into<C: Count>(
    left: &[u8],
    right: &[u8],
    width: u32,
    out: &mut [C],
) -> Result<(), KernelError> {
    check_packed("the left operand", left.len(), out.len(), width)?;
    check_packed("the right operand", right.len(), out.len(), width)?;
    if size_of::<C>() == 1 {
        unpack_all::<true>(left, right, width, bytemuck::cast_slice_mut(out));
        return Ok(());
    }
    let mut counts = Counts([0; STEP]);
    in_pieces(out, 8, |start, out| {
        for (index, out) in out.chunks_mut(STEP).enumerate() {
            let bytes = (start + index * STEP) / 8 * width as usize;
            let counts = &mut counts.0[..out.len()];
            unpack_all::<true>(&left[bytes..], &right[bytes..], width, counts);
            dispatch::widen(Level::best(), counts, out);
        }
    });
    Ok(())
}

/// The counts of one step before they are widened, at the beginning of a line of memory.
#[repr(align(64))]
struct Counts([u8; STEP]);

/// The number of bits in which two packed tensors differ; bits after the last code do not count.
///
/// # Errors
/// As [`packed_hamming`].
pub fn packed_hamming_total(left: &[u8], right: &[u8], count: usize, width: u32) -> Result<u64, KernelError> {
    check_packed("the left operand", left.len(), count, width)?;
    check_packed("the right operand", right.len(), count, width)?;
    let all = bytes_total(left, right);
    let beyond = match (left.last(), right.last()) {
        (Some(left), Some(right)) => ((left ^ right) & !last_byte(count, width)).count_ones(),
        _ => 0,
    };
    Ok(all - u64::from(beyond))
}

/// Flips the same bits of every packed code.
///
/// # Errors
/// [`KernelError::Width`], [`KernelError::Length`] if the bytes are not exactly those that `count` codes need,
/// [`KernelError::Bit`] if the mask has bits above the width; nothing is changed.
pub fn packed_flip_each(bytes: &mut [u8], count: usize, width: u32, mask: u8) -> Result<(), KernelError> {
    check_packed("the packed array", bytes.len(), count, width)?;
    check_mask(mask, width)?;
    keep_and_toggle(bytes, count, width, u8::MAX, mask);
    Ok(())
}

/// Sets the same bits of every packed code and clears others; `set0` wins where both name a bit.
///
/// ```
/// use bitquake_bits::kernels::{pack, packed_set_each, unpack};
/// let mut packed = pack(&[0b101, 0b011, 0b000], 3)?;
/// packed_set_each(&mut packed, 3, 3, 0b100, 0b001)?;
/// assert_eq!(unpack(&packed, 3, 3)?, [0b100, 0b110, 0b100]);
/// # Ok::<(), bitquake_bits::kernels::KernelError>(())
/// ```
///
/// # Errors
/// As [`packed_flip_each`].
pub fn packed_set_each(
    bytes: &mut [u8],
    count: usize,
    width: u32,
    set1: u8,
    set0: u8,
) -> Result<(), KernelError> {
    check_packed("the packed array", bytes.len(), count, width)?;
    check_mask(set1 | set0, width)?;
    keep_and_toggle(bytes, count, width, !(set1 | set0), set1 & !set0);
    Ok(())
}

/// Clears the `low` lowest bits of every packed code (S6).
///
/// # Errors
/// [`KernelError::LowBits`] if a code has fewer bits, otherwise as [`packed_flip_each`].
pub fn packed_set_zero(bytes: &mut [u8], count: usize, width: u32, low: u32) -> Result<(), KernelError> {
    check_width(width, WIDEST)?;
    if low > width {
        return Err(KernelError::LowBits { bits: low, width });
    }
    packed_set_each(bytes, count, width, 0, u8::low_mask(low))
}

fn check_packed(what: &'static str, bytes: usize, count: usize, width: u32) -> Result<(), KernelError> {
    check_width(width, WIDEST)?;
    check_length(what, bytes, packed_bytes(count, width).unwrap_or(usize::MAX))
}

fn check_mask(mask: u8, width: u32) -> Result<(), KernelError> {
    match mask & !u8::low_mask(width) {
        0 => Ok(()),
        above => Err(KernelError::Bit { bit: above.trailing_zeros(), width }),
    }
}

/// The bits of the last byte that belong to codes.
fn last_byte(count: usize, width: u32) -> u8 {
    match (count % 8) as u32 * width % 8 {
        0 => u8::MAX,
        used => u8::low_mask(used),
    }
}

/// Keeps some bits of every code, then toggles some.
fn keep_and_toggle(bytes: &mut [u8], count: usize, width: u32, keep: u8, toggle: u8) {
    let (mut keeps, mut toggles) = ([0; BLOCK], [0; BLOCK]);
    let period = 8 * width as usize;
    pack_blocks(&[keep & u8::low_mask(width); BLOCK], width, &mut keeps[..period]);
    pack_blocks(&[toggle; BLOCK], width, &mut toggles[..period]);
    let (whole, rest) = bytes.split_at_mut(count / BLOCK * period);
    repeat(whole, width, &keeps, &toggles);
    // The last period is cut short, and its last byte may end with bits that belong to no code.
    let (whole, used) = (rest.len().saturating_sub(1), last_byte(count, width));
    for (index, byte) in rest.iter_mut().enumerate() {
        let mine = if index == whole { used } else { u8::MAX };
        *byte = (*byte & (keeps[index] | !mine)) ^ (toggles[index] & mine);
    }
}

/// Calls a function that is compiled for each width below 8 with the width at hand.
macro_rules! for_width {
    ($width:expr, $call:ident $(<$count:ident>)?, $($argument:expr),*) => {
        match $width {
            1 => dispatch::$call::<1 $(, $count)?>(Level::best(), $($argument),*),
            2 => dispatch::$call::<2 $(, $count)?>(Level::best(), $($argument),*),
            3 => dispatch::$call::<3 $(, $count)?>(Level::best(), $($argument),*),
            4 => dispatch::$call::<4 $(, $count)?>(Level::best(), $($argument),*),
            5 => dispatch::$call::<5 $(, $count)?>(Level::best(), $($argument),*),
            6 => dispatch::$call::<6 $(, $count)?>(Level::best(), $($argument),*),
            _ => dispatch::$call::<7 $(, $count)?>(Level::best(), $($argument),*),
        }
    };
}

/// Packs whole blocks; returns the bits that occur in any code.
fn pack_blocks(codes: &[u8], width: u32, out: &mut [u8]) -> u8 {
    if width == WIDEST {
        out.copy_from_slice(codes);
        return u8::MAX;
    }
    for_width!(width, pack, codes, out)
}

/// Repeats masks of `8 * width` bytes over whole periods.
fn repeat(bytes: &mut [u8], width: u32, keep: &[u8; BLOCK], toggle: &[u8; BLOCK]) {
    if width == WIDEST {
        return dispatch::each(Level::best(), bytes, keep[0], toggle[0]);
    }
    for_width!(width, repeat, bytes, keep, toggle)
}

/// Unpacks whole blocks; or, with `COUNT`, counts the bits in which each code differs from that of `other`. The bytes may go
/// on behind the blocks.
fn unpack_blocks<const COUNT: bool>(bytes: &[u8], other: &[u8], width: u32, codes: &mut [u8]) {
    if width < WIDEST {
        for_width!(width, unpack<COUNT>, bytes, other, codes)
    } else if COUNT {
        dispatch::hamming_each(Level::best(), bytes, other, codes);
    } else {
        codes.copy_from_slice(&bytes[..codes.len()]);
    }
}

/// Packs fewer codes than a block.
fn pack_few(codes: &[u8], width: u32, out: &mut [u8]) -> u8 {
    if codes.is_empty() {
        return 0;
    }
    let (mut block, mut packed) = ([0; BLOCK], [0; BLOCK]);
    block[..codes.len()].copy_from_slice(codes);
    let seen = pack_blocks(&block, width, &mut packed[..8 * width as usize]);
    out.copy_from_slice(&packed[..out.len()]);
    seen
}

/// Like `unpack_blocks`, for fewer codes than a block.
fn unpack_few<const COUNT: bool>(bytes: &[u8], other: &[u8], width: u32, codes: &mut [u8]) {
    if codes.is_empty() {
        return;
    }
    let used = packed_bytes(codes.len(), width).unwrap_or(0);
    let padded = |bytes: &[u8]| {
        let mut padded = [0; BLOCK];
        padded[..used].copy_from_slice(&bytes[..used]);
        padded
    };
    let (bytes, other) = (padded(bytes), if COUNT { padded(other) } else { [0; BLOCK] });
    let mut block = [0; BLOCK];
    unpack_blocks::<COUNT>(&bytes, &other, width, &mut block);
    codes.copy_from_slice(&block[..codes.len()]);
}

/// Like `unpack_blocks`, for any number of codes.
fn unpack_all<const COUNT: bool>(bytes: &[u8], other: &[u8], width: u32, codes: &mut [u8]) {
    let (head, rest) = codes.split_at_mut(head(codes, 8));
    let (whole, end) = rest.split_at_mut(rest.len() - rest.len() % BLOCK);
    // What belongs to the codes from a place on, which lies between groups of eight.
    let from = |codes: usize| {
        let start = codes / 8 * width as usize;
        (&bytes[start..], if COUNT { &other[start..] } else { other })
    };
    let (first, last) = (from(0), from(head.len() + whole.len()));
    unpack_few::<COUNT>(first.0, first.1, width, head);
    unpack_few::<COUNT>(last.0, last.1, width, end);
    let before = head.len();
    in_pieces(whole, BLOCK, |start, codes| {
        let (bytes, other) = from(before + start);
        unpack_blocks::<COUNT>(bytes, other, width, codes);
    });
}
