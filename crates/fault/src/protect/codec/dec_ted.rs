//! DEC-TED: a shortened BCH code of length 127 with t = 2, and an overall parity bit.
//!
//! Check bit c (below 14) is the coefficient of x^c, data bit i that of x^(14 + i): check bits are the remainder of
//! the data polynomial by the generator. Check bit 14 makes the parity of the whole word even.

use super::Positions;
use crate::protect::galois::Galois;

/// (x^7 + x^3 + 1)(x^7 + x^3 + x^2 + x + 1): the minimal polynomials of a and of a^3.
const GENERATOR: u32 = 0o41567;
const REMAINDER_BITS: u32 = 14;

pub(super) fn columns(data_bits: u32) -> Vec<u32> {
    let mut remainder = 1;
    let mut next = || {
        remainder <<= 1;
        if remainder >> REMAINDER_BITS & 1 == 1 {
            remainder ^= GENERATOR;
        }
        remainder
    };
    let powers = std::iter::repeat_with(&mut next).skip(REMAINDER_BITS as usize - 1);
    powers.map(with_parity).take(data_bits as usize).collect()
}

/// The parity bit of a data bit and its remainder.
fn with_parity(remainder: u32) -> u32 {
    remainder | ((remainder.count_ones() + 1) & 1) << REMAINDER_BITS
}

/// The bits to correct.
///
/// With S1 = r(a) and S3 = r(a^3): one wrong bit x^i of the BCH part has S1 = a^i and S3 = S1^3; two have as locators
/// a^i the roots of y^2 + S1 y + (S3 / S1 + S1^2). The parity of the word tells an odd number from an even one, so
/// three are never taken for two.
pub(super) fn correct(field: &Galois, syndrome: u32, data_bits: u32) -> Option<Positions> {
    let parity_bit = data_bits + REMAINDER_BITS;
    let is_odd = syndrome.count_ones() % 2 == 1;
    let remainder = syndrome & ((1 << REMAINDER_BITS) - 1);
    if remainder == 0 {
        return Some([parity_bit].into_iter().collect());
    }
    let s1 = evaluate(field, remainder, 1);
    let s3 = evaluate(field, remainder, 3);
    let first = field.log(s1)?;
    let cube = field.power(3 * first);
    if s3 == cube {
        let wrong = position(first, data_bits)?;
        return Some([wrong].into_iter().chain((!is_odd).then_some(parity_bit)).collect());
    }
    if is_odd {
        return None;
    }
    // The product of the two locators: (S3 + S1^3) / S1.
    let product = field.power(field.log(s3 ^ cube)? + field.order() - first);
    two_locators(field, s1, product, data_bits)
}

/// The two bits whose locators have this sum and product, if there are two such bits.
fn two_locators(field: &Galois, sum: u32, product: u32, data_bits: u32) -> Option<Positions> {
    let length = (data_bits + REMAINDER_BITS) as usize;
    let is_root = |&i: &usize| {
        let locator = field.power(i);
        field.times(locator, locator ^ sum) == product
    };
    let one = (0..length).find(is_root)?;
    let other = field.log(field.power(one) ^ sum)?;
    Some([position(one, data_bits)?, position(other, data_bits)?].into_iter().collect())
}

/// The remainder as a polynomial, at a^`power`.
fn evaluate(field: &Galois, remainder: u32, power: usize) -> u32 {
    let is_set = |c: &usize| remainder >> c & 1 == 1;
    (0..REMAINDER_BITS as usize).filter(is_set).fold(0, |sum, c| sum ^ field.power(power * c))
}

/// The bit of the code word that is the coefficient of x^`exponent`; none if the code is too short to have it.
fn position(exponent: usize, data_bits: u32) -> Option<u32> {
    let exponent = exponent as u32;
    match exponent.checked_sub(REMAINDER_BITS) {
        None => Some(data_bits + exponent),
        data => data.filter(|&bit| bit < data_bits),
    }
}
