//! A protection, and what it leaves at a bit error rate.

use bitquake_bits::BitSelection;
use bitquake_fault::protect::{Code, Codec, Kind, OnDetection, Protection, Residual};
use bitquake_sample::Rate;

use crate::error::ProtectionError;

/// A protection on offer, at a raw bit error rate.
#[derive(Clone, Debug)]
pub struct Offer {
    protection: Protection,
    code: Guarding,
    /// The raw bit error rate.
    rate: f64,
}

/// How what is left is computed.
#[derive(Clone, Debug)]
enum Guarding {
    /// A code that corrects: the probability that a data bit is wrong afterwards.
    Corrects { code: Code, wrong: f64 },
    /// One parity bit for the chosen bits of each element, which is zeroed on detection.
    Zeroes,
}

/// What one protected bit selection of a tensor leaves of the errors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Left {
    /// The probability that a protected bit is wrong and its element is not zeroed.
    pub(crate) wrong: f64,
    /// The probability that an element is zeroed.
    pub(crate) zeroed: f64,
}

impl Offer {
    /// What a protection does at a raw bit error rate; its check bits fail as often as all others.
    ///
    /// # Errors
    /// [`ProtectionError::Offer`] for a code that does not exist, for one that chooses its bits itself, and for zeroing elsewhere than by a parity bit for
    /// each element, which is the one case whose damage rankings tell.
    pub fn new(place: usize, protection: &Protection, rate: Rate) -> Result<Self, ProtectionError> {
        let wrong = |source| ProtectionError::Offer { place, source };
        let refused = |reason: String| ProtectionError::Config { reason: format!("offer {place}: {reason}") };
        let code = protection.code().map_err(wrong)?;
        if protection.bits != Protection::new(protection.kind).bits {
            return Err(refused(format!("bits = \"{}\": plans choose the bits", protection.bits)));
        }
        let is_parity = protection.kind == Kind::Parity;
        let zeroes = protection.on_detection == OnDetection::Zero;
        let code = match (is_parity && protection.data_bits.is_none(), zeroes) {
            (true, true) => Guarding::Zeroes,
            (_, true) => {
                return Err(refused(format!(
                    "{} with on_detection = \"zero\" over several elements: what that does no ranking tells; a parity without data_bits has a bit for each element",
                    protection.kind
                )));
            }
            (_, false) if is_parity => {
                return Err(refused("a parity that keeps what it detects corrects nothing; give it on_detection = \"zero\" and no data_bits".into()));
            }
            (_, false) => {
                let codec = Codec::new(code).map_err(|error| wrong(error.into()))?;
                Guarding::Corrects { code, wrong: Residual::new(&codec).wrong_bit(rate) }
            }
        };
        Ok(Self { protection: protection.clone(), code, rate: rate.fraction() })
    }

    /// Whether elements are zeroed, so that it must be known what that does.
    #[must_use]
    pub fn zeroes(&self) -> bool {
        matches!(self.code, Guarding::Zeroes)
    }

    /// The check bits for `selected` bits of each of `elements` words.
    pub(crate) fn check_bits(&self, elements: u64, selected: u32) -> u128 {
        match self.code {
            Guarding::Zeroes => elements.into(),
            Guarding::Corrects { code, .. } => {
                let protected = u128::from(elements) * u128::from(selected);
                protected.div_ceil(code.data_bits().into()) * u128::from(code.check_bits())
            }
        }
    }

    /// What is left of errors in `selected` bits of each word.
    pub(crate) fn left(&self, selected: u32) -> Left {
        match self.code {
            Guarding::Corrects { wrong, .. } => Left { wrong, zeroed: 0.0 },
            // The other selected bits and the parity bit tell whether a wrong bit is seen.
            Guarding::Zeroes => {
                Left { wrong: self.rate * odd(selected, self.rate), zeroed: odd(selected + 1, self.rate) }
            }
        }
    }

    /// The protection of bits `low` to `high` of each word.
    pub(crate) fn of_bits(&self, low: u32, high: u32) -> Protection {
        let bits = if low == high { BitSelection::Bit(low) } else { BitSelection::Range { low, high } };
        let data_bits = if self.zeroes() { Some(high - low + 1) } else { self.protection.data_bits };
        Protection { bits, data_bits, ..self.protection.clone() }
    }
}

/// The probability that an odd number of `bits` bits is wrong.
fn odd(bits: u32, rate: f64) -> f64 {
    // (1 - (1 - 2 p)^n) / 2, exact for small p.
    -(f64::from(bits) * (-2.0 * rate).ln_1p()).exp_m1() / 2.0
}

#[cfg(test)]
mod tests {
    use bitquake_bits::Format;

    use super::*;

    fn rate(p: f64) -> Rate {
        Rate::new(p).unwrap()
    }

    fn parity() -> Protection {
        Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Parity) }
    }

    #[test]
    fn check_bits_are_those_of_the_layout() {
        let formats = [Format::I8, Format::F32];
        let over = |kind, data_bits| Protection { data_bits: Some(data_bits), ..Protection::new(kind) };
        let offers = [
            Protection::new(Kind::Tmr),
            over(Kind::Secded, 64),
            over(Kind::Secded, 8),
            over(Kind::DecTed, 16),
            Protection::new(Kind::Chipkill),
            parity(),
        ];
        for protection in &offers {
            let offer = Offer::new(1, protection, rate(1e-3)).unwrap();
            for (format, low, high, elements) in [
                (formats[0], 6, 7, 33),
                (formats[0], 0, 7, 1),
                (formats[1], 23, 30, 1000),
                (formats[1], 31, 31, 7),
            ] {
                let made = offer.of_bits(low, high);
                let bits = made.layout(format, elements).unwrap().check_bits();
                assert_eq!(
                    offer.check_bits(elements, high - low + 1),
                    u128::from(bits),
                    "{made:?} {elements}"
                );
            }
        }
    }

    /// By all errors of three bits and their parity bit.
    #[test]
    fn what_a_parity_leaves() {
        let p = 0.2_f64;
        let left = Offer::new(1, &parity(), rate(p)).unwrap().left(3);
        let (mut wrong, mut zeroed) = (0.0, 0.0);
        for set in 0..16_u32 {
            let ones = set.count_ones() as i32;
            let chance = p.powi(ones) * (1.0 - p).powi(4 - ones);
            if ones % 2 == 1 {
                zeroed += chance;
            } else if set & 1 == 1 {
                wrong += chance;
            }
        }
        assert!((left.wrong - wrong).abs() < 1e-12 && (left.zeroed - zeroed).abs() < 1e-12, "{left:?}");
    }

    #[test]
    fn what_cannot_be_offered_is_told() {
        let tmr = Protection::new(Kind::Tmr);
        for (protection, want) in [
            (Protection { bits: BitSelection::Msb, ..tmr.clone() }, "plans choose the bits"),
            (Protection { data_bits: Some(3), ..tmr.clone() }, "offer 4: `data_bits` means nothing"),
            (
                Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Secded) },
                "no ranking tells",
            ),
            (Protection { data_bits: Some(8), ..parity() }, "no ranking tells"),
            (Protection::new(Kind::Parity), "corrects nothing"),
            (Protection { data_bits: Some(7), ..Protection::new(Kind::Secded) }, "7 data bits"),
        ] {
            let error = Offer::new(4, &protection, rate(1e-3)).unwrap_err().to_string();
            assert!(error.contains(want), "{want}: {error}");
        }
    }
}
