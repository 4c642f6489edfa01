//! Which code: its parameters, and what it costs.

use thiserror::Error;

/// A linear binary block code in systematic form: `data_bits` bits are stored as they are, `check_bits` more beside
/// them.
///
/// | code | check bits | what it does |
/// | --- | --- | --- |
/// | `Parity` | 1 | detects every odd number of wrong bits |
/// | `Secded` | the least r with 2^(r-1) - r >= data bits: 8 for 64 | corrects 1, detects 2 |
/// | `DecTed` | 15 | corrects 2, detects 3 |
/// | `Symbol` | 3 symbols | corrects any error within one symbol, detects any within two |
/// | `Repetition` | copies - 1 | majority of the copies, bit by bit; a tie (even number of copies) is detected |
///
/// ```
/// use bitquake_fault::protect::{Code, Columns};
/// let code = Code::Secded { data_bits: 64, columns: Columns::Hamming };
/// assert_eq!((code.check_bits(), code.overhead()), (8, 0.125));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Even parity: data and check bit together have an even number of ones.
    Parity {
        /// Data bits of a word, 1..=65,535.
        data_bits: u32,
    },
    /// Single-error-correcting, double-error-detecting, with distinct parity-check columns of odd weight.
    Secded {
        /// Data bits of a word, 8..=512.
        data_bits: u32,
        /// Which columns.
        columns: Columns,
    },
    /// Double-error-correcting, triple-error-detecting: the binary BCH code of length 127 with generator (x^7 + x^3 +
    /// 1)(x^7 + x^3 + x^2 + x + 1), octal 41567 (Lin and Costello, "Error Control Coding", table of BCH codes),
    /// shortened, and an overall parity bit.
    DecTed {
        /// Data bits of a word, 1..=113.
        data_bits: u32,
    },
    /// Single-symbol-correcting, double-symbol-detecting: the Reed-Solomon code with generator (x - 1)(x - a)(x -
    /// a^2), shortened; `a` is a root of x^4 + x + 1 (4-bit symbols) or x^8 + x^4 + x^3 + x^2 + 1 (8-bit symbols).
    Symbol {
        /// Bits of a symbol, 4 or 8. Symbol `s` of a word is its bits `s * symbol_bits` and up.
        symbol_bits: u32,
        /// Data bits of a word, a multiple of `symbol_bits`, at most 48 (4-bit symbols) or 2,016 (8-bit symbols).
        data_bits: u32,
    },
    /// Every bit is stored `copies` times, the data bit included.
    Repetition {
        /// How many times, 2..=9.
        copies: u32,
    },
}

/// Which odd-weight columns a SECDED code has for its data bits; the check bits always have the unit columns.
///
/// Both give the same outcome for one and for two wrong bits. They differ in how many triple errors are miscorrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Columns {
    /// The extended Hamming code. Data bits have, in order, the positions p = 3, 5, 6, 7, 9 ... that are no powers of
    /// two; check bit i (below r - 1) is the parity of the data bits whose p has bit i set; the last check bit makes
    /// the parity of all bits even. As a column: p, and above it the bit that makes the weight odd.
    #[default]
    Hamming,
    /// After Hsiao (IBM Journal of Research and Development 14, 1970): the columns of weight 3, then of weight 5 and
    /// so on, within a weight by rising value. (Hsiao's choice within the last weight balances gates; here it is by
    /// value.)
    Hsiao,
}

/// A code that does not exist here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodeError {
    /// Too few or too many data bits.
    #[error("a {code} word of {data_bits} data bits is not supported, use {least} to {most}")]
    DataBits {
        /// The kind of code.
        code: &'static str,
        /// What was asked for.
        data_bits: u32,
        /// The fewest.
        least: u32,
        /// The most.
        most: u32,
    },
    /// A symbol size without a field.
    #[error("symbols of {symbol_bits} bits are not supported, use 4 or 8")]
    SymbolBits {
        /// What was asked for.
        symbol_bits: u32,
    },
    /// Data bits that do not fill their symbols.
    #[error("{data_bits} data bits are no whole number of {symbol_bits}-bit symbols")]
    PartSymbol {
        /// Data bits asked for.
        data_bits: u32,
        /// Bits of a symbol.
        symbol_bits: u32,
    },
    /// Too few or too many copies.
    #[error("{copies} copies are not supported, use 2 to 9")]
    Copies {
        /// What was asked for.
        copies: u32,
    },
}

impl Code {
    /// Data bits of a full word; 1 for [`Code::Repetition`].
    #[must_use]
    pub fn data_bits(self) -> u32 {
        match self {
            Code::Parity { data_bits }
            | Code::Secded { data_bits, .. }
            | Code::DecTed { data_bits }
            | Code::Symbol { data_bits, .. } => data_bits,
            Code::Repetition { .. } => 1,
        }
    }

    /// Check bits of a word, also of a shortened one.
    #[must_use]
    pub fn check_bits(self) -> u32 {
        match self {
            Code::Parity { .. } => 1,
            Code::Secded { data_bits, .. } => secded_check_bits(data_bits),
            Code::DecTed { .. } => 15,
            Code::Symbol { symbol_bits, .. } => 3 * symbol_bits,
            Code::Repetition { copies } => copies.saturating_sub(1),
        }
    }

    /// Check bits over data bits, of a full word.
    #[must_use]
    pub fn overhead(self) -> f64 {
        f64::from(self.check_bits()) / f64::from(self.data_bits())
    }

    /// The kind in one word: `parity`, `secded`, `dec-ted`, `symbol`, `repetition`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Code::Parity { .. } => "parity",
            Code::Secded { .. } => "secded",
            Code::DecTed { .. } => "dec-ted",
            Code::Symbol { .. } => "symbol",
            Code::Repetition { .. } => "repetition",
        }
    }

    /// That the code exists.
    ///
    /// # Errors
    /// [`CodeError`] names the parameter and its bounds.
    pub fn check(self) -> Result<(), CodeError> {
        let (least, most) = match self {
            Code::Parity { .. } => (1, 65_535),
            Code::Secded { .. } => (8, 512),
            Code::DecTed { .. } => (1, 113),
            Code::Symbol { symbol_bits: 4, .. } => (4, 48),
            Code::Symbol { symbol_bits: 8, .. } => (8, 2016),
            Code::Symbol { symbol_bits, .. } => return Err(CodeError::SymbolBits { symbol_bits }),
            Code::Repetition { copies } if !(2..=9).contains(&copies) => {
                return Err(CodeError::Copies { copies });
            }
            Code::Repetition { .. } => (1, 1),
        };
        let data_bits = self.data_bits();
        if !(least..=most).contains(&data_bits) {
            return Err(CodeError::DataBits { code: self.name(), data_bits, least, most });
        }
        match self {
            Code::Symbol { symbol_bits, .. } if !data_bits.is_multiple_of(symbol_bits) => {
                Err(CodeError::PartSymbol { data_bits, symbol_bits })
            }
            _ => Ok(()),
        }
    }
}

/// The least r with 2^(r-1) - r >= k: so many columns of odd weight are no unit columns.
fn secded_check_bits(data_bits: u32) -> u32 {
    (4..32).find(|&r| (1_u32 << (r - 1)) - r >= data_bits).unwrap_or(32)
}
