//! Kernels on the raw words of whole tensors: bits, masks, distances, projections, packed codes.
//!
//! They work on slices of [`Word`]s: `u8`, `u16`, `u32`, `u64`. Signed integers and floats are looked at through
//! [`as_words`], which changes nothing. Bit 0 is the least significant; an array of bits has the shape `[elements, width]`
//! and is described by a [`BitAxis`]. Lengths must agree, nothing is broadcast, nothing is narrowed, and every check is made
//! before a word is changed.
//!
//! | what | functions | SPEC |
//! | --- | --- | --- |
//! | bits and back | [`bits`], [`from_bits`], [`bit_strings`], [`parse_bit_strings`] | S1, T3, T4, T8 |
//! | and, or, xor | [`Bitwise`] | S2 |
//! | distance | [`hamming`], [`hamming_total`], [`flips_by_bit`] | S3, T13 |
//! | changed numbers, NaN and infinity | [`changes`], [`settle_nonfinite`] | T12 |
//! | flip and set | [`flip_bits`], [`flip_counted`], [`flip_at`], [`flip_each`], [`set_bits`], [`set_words`], [`set_each`], [`set_zero`] | S4, S5, S6, T1, T7 |
//! | random flips, reference form | [`RandomFlip`] | S7 to S11 |
//! | projections | [`msb_projection`], [`hamming_projection`] | S12, S13 |
//! | protected bits | [`protected_mask`], [`container_mask`] | S14 |
//! | packed codes of 1 to 8 bits | [`pack`], [`unpack`], [`packed_hamming`], [`packed_set_each`] ... | |
//! | bits of a layer | [`LayerBits`], [`sign_extend`] | F2 to F8 |
//! | shapes and fractions | [`flat_index`], [`multi_index`], [`sample_size`] | T5, T6, T10 |
//! | several threads | [`on_threads`] | |
//!
//! The streaming kernels are compiled for AVX2 and AVX-512 beside the plain machine, and the fastest set that the processor
//! has is used ([`instruction_set`]); the results are the same.

mod axis;
mod bitwise;
mod changes;
mod convert;
mod dispatch;
mod error;
mod hamming;
mod layer_bits;
mod loops;
mod output;
mod packed;
mod project;
mod random;
mod shape;
mod threads;
mod word;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use axis::{BitAxis, BitOrder};
pub use bitwise::{
    Bitwise, check_codes, flip_at, flip_bits, flip_counted, flip_each, set_bits, set_each, set_words,
    set_zero,
};
pub use changes::{Change, NonFinite, NonFiniteError, changes, settle_nonfinite};
pub use convert::{
    bit_strings, bits, bits_into, container_mask, from_bits, from_bits_into, parse_bit_strings,
    protected_mask,
};
pub use dispatch::instruction_set;
pub use error::KernelError;
pub use hamming::{Count, FlipCount, flips_by_bit, hamming, hamming_into, hamming_total};
pub use layer_bits::{BitRegion, LayerBitError, LayerBits, WeightBit, sign_extend};
pub use packed::{
    pack, pack_into, packed_bytes, packed_flip_each, packed_hamming, packed_hamming_into,
    packed_hamming_total, packed_set_each, packed_set_zero, unpack, unpack_into,
};
pub use project::{hamming_projection, hamming_projection_by, msb_projection, msb_projection_in_place};
pub use random::{RandomFlip, Real};
pub use shape::{Of, SampleSize, ShapeError, check_indices, elements, flat_index, multi_index, sample_size};
pub use threads::{Cut, Groups, on_threads};
pub use word::{Element, Word, as_words, as_words_mut, from_words, from_words_mut, real_distance};
