//! The symbol code: a shortened Reed-Solomon code with three check symbols, distance 4.
//!
//! Check symbol j is the coefficient of x^j, data symbol i that of x^(3 + i); bit t of a symbol is the coefficient of
//! a^t. Check symbols are the remainder of the data polynomial by (x - 1)(x - a)(x - a^2).

use super::Positions;
use crate::protect::galois::Galois;

const CHECK_SYMBOLS: usize = 3;

pub(super) fn columns(field: &Galois, symbol_bits: u32, data_bits: u32) -> Vec<u32> {
    let (a, b) = (field.power(1), field.power(2));
    // (x + 1)(x + a)(x + b) without its x^3; minus is plus here.
    let generator = [field.times(a, b), a ^ b ^ field.times(a, b), 1 ^ a ^ b];
    let mut remainder = [0, 0, 1];
    let mut columns = Vec::with_capacity(data_bits as usize);
    for _ in 0..data_bits / symbol_bits {
        remainder = times_x(field, remainder, generator);
        let of_bit = |t| pack(remainder.map(|symbol| field.times(symbol, field.power(t))), symbol_bits);
        columns.extend((0..symbol_bits as usize).map(of_bit));
    }
    columns
}

/// x times a remainder, reduced.
fn times_x(
    field: &Galois,
    remainder: [u32; CHECK_SYMBOLS],
    generator: [u32; CHECK_SYMBOLS],
) -> [u32; CHECK_SYMBOLS] {
    let [low, middle, carry] = remainder;
    let [g0, g1, g2] = generator.map(|g| field.times(g, carry));
    [g0, low ^ g1, middle ^ g2]
}

fn pack(symbols: [u32; CHECK_SYMBOLS], symbol_bits: u32) -> u32 {
    symbols[0] | symbols[1] << symbol_bits | symbols[2] << (2 * symbol_bits)
}

/// The bits to correct: with S_l = r(a^l), the one wrong symbol x^j of value e has S_l = e a^(l j).
pub(super) fn correct(field: &Galois, symbol_bits: u32, syndrome: u32, data_bits: u32) -> Option<Positions> {
    let symbol = |j: usize| syndrome >> (symbol_bits * j as u32) & ((1 << symbol_bits) - 1);
    let at = |l: usize| (0..CHECK_SYMBOLS).fold(0, |sum, j| sum ^ field.times(symbol(j), field.power(l * j)));
    let (value, s1, s2) = (at(0), at(1), at(2));
    let (log0, log1, log2) = (field.log(value)?, field.log(s1)?, field.log(s2)?);
    let order = field.order();
    if (2 * log1) % order != (log0 + log2) % order {
        return None;
    }
    let wrong = (log1 + order - log0) % order;
    let first_bit = first_bit(wrong, symbol_bits, data_bits)?;
    Some((0..symbol_bits).filter(|t| value >> t & 1 == 1).map(|t| first_bit + t).collect())
}

/// Where in the code word symbol x^`exponent` begins; none if the code is too short to have it.
fn first_bit(exponent: usize, symbol_bits: u32, data_bits: u32) -> Option<u32> {
    match exponent.checked_sub(CHECK_SYMBOLS) {
        None => Some(data_bits + exponent as u32 * symbol_bits),
        Some(data_symbol) => Some(data_symbol as u32 * symbol_bits).filter(|&bit| bit < data_bits),
    }
}
