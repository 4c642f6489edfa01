//! One bit or many, as text.

use std::fmt;
use std::str::FromStr;

use crate::draw_error::DrawError;
use crate::site::Site;
use crate::space::{FaultSpace, SpaceTensor};

/// Bits of one tensor, named. `Display` and [`FromStr`] are each other's inverse.
///
/// | text | bits |
/// |---|---|
/// | `TENSOR:17:30` | bit 30 of element 17; also `TENSOR@wbi:17,30` when read (FKeras's weight-bit index) |
/// | `TENSOR:*:30` | bit 30 of every element: FKeras's single-bit regions |
/// | `TENSOR:17:*` | every bit of element 17 |
/// | `TENSOR:*:*` | every bit: FKeras's region over the whole layer |
/// | `TENSOR@lbi:37` | the bit with FKeras's layer-bit index 37: elements one after the other, each from its most significant bit down; 0 is the top bit of element 0 |
/// | `TENSOR@lbi:10..20` | layer-bit indices 10 to 19; the end does not belong to it |
/// | `TENSOR@address:37` | bit address 37: elements one after the other, each from bit 0 up (FKeras's big-endian layer-bit index) |
/// | `TENSOR@address:10..20` | bit addresses 10 to 19; the end does not belong to it |
///
/// Layer-bit index `l` of `w`-bit words is bit `w - 1 - l mod w` of element `l div w` (SPEC 3.2, F2). FKeras itself has ranges
/// with and without their end; here the end never belongs to a range of indices.
///
/// ```
/// use bitquake_fault::SiteRange;
/// let range: SiteRange = "conv1.weight@lbi:0..4".parse()?;
/// assert_eq!(range.to_string(), "conv1.weight@lbi:0..4");
/// assert!("conv1.weight@lbi:4..0".parse::<SiteRange>().is_err());
/// # Ok::<(), bitquake_fault::SiteRangeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SiteRange {
    /// The tensor's name; it may contain colons and `@` itself.
    pub tensor: String,
    /// Which of its bits.
    pub place: Place,
}

/// Which bits of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// One bit, or with `None` every bit, of one element, or with `None` of every element.
    Bits {
        /// The element, counted over the flattened tensor.
        index: Option<u64>,
        /// The bit; 0 is the least significant.
        bit: Option<u32>,
    },
    /// FKeras's layer-bit indices from `start` to below `end`.
    LayerBits {
        /// The first.
        start: u64,
        /// The one behind the last.
        end: u64,
    },
    /// Bit addresses from `start` to below `end`.
    Addresses {
        /// The first.
        start: u64,
        /// The one behind the last.
        end: u64,
    },
}

/// A text that names no bits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteRangeError {
    /// None of the notations.
    #[error(
        "`{text}` is not a site: write TENSOR:INDEX:BIT, such as conv1.weight:17:30 (`*` for every index or bit), TENSOR@lbi:L or TENSOR@address:A, or a range A..B of those"
    )]
    Unknown {
        /// The text.
        text: String,
    },
    /// A range without a bit.
    #[error(
        "`{text}`: the range is empty, its end {end} does not belong to it and is not above its start {start}"
    )]
    Empty {
        /// The text.
        text: String,
        /// The first.
        start: u64,
        /// The one behind the last.
        end: u64,
    },
}

impl From<Site> for SiteRange {
    fn from(site: Site) -> Self {
        let place = Place::Bits { index: Some(site.index), bit: Some(site.bit) };
        Self { tensor: site.tensor, place }
    }
}

/// Digits alone: `from_str` would take a leading `+` too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `*` or digits.
fn number_or_all(text: &str) -> Option<Option<u64>> {
    if text == "*" { Some(None) } else { number(text).map(Some) }
}

fn small(bit: Option<u64>) -> Option<Option<u32>> {
    bit.map(u32::try_from).transpose().ok()
}

/// `A` or `A..B`, as a start and an end.
fn range(text: &str) -> Option<(u64, u64)> {
    match text.split_once("..") {
        Some((start, end)) => Some((number(start)?, number(end)?)),
        None => number(text).and_then(|start| Some((start, start.checked_add(1)?))),
    }
}

/// Whether what follows an `@` is one of the notations by index.
fn is_index(rest: &str) -> bool {
    rest.split_once(':').is_some_and(|(kind, _)| matches!(kind, "lbi" | "address" | "wbi"))
}

fn place_of(text: &str) -> Option<(&str, Place)> {
    if let Some((tensor, rest)) = text.rsplit_once('@')
        && let Some((kind, numbers)) = rest.split_once(':')
    {
        match kind {
            "lbi" => return range(numbers).map(|(start, end)| (tensor, Place::LayerBits { start, end })),
            "address" => return range(numbers).map(|(start, end)| (tensor, Place::Addresses { start, end })),
            "wbi" => {
                // Such a name could not be written as TENSOR:INDEX:BIT.
                if tensor.rsplit_once('@').is_some_and(|(_, rest)| is_index(rest)) {
                    return None;
                }
                let (index, bit) = numbers.split_once(',')?;
                let (index, bit) = (Some(number(index)?), small(Some(number(bit)?))?);
                return Some((tensor, Place::Bits { index, bit }));
            }
            // Stored parts of a tensor are written TENSOR@PART.
            _ => {}
        }
    }
    let mut parts = text.rsplitn(3, ':');
    let bit = small(number_or_all(parts.next()?)?)?;
    let index = number_or_all(parts.next()?)?;
    Some((parts.next()?, Place::Bits { index, bit }))
}

impl FromStr for SiteRange {
    type Err = SiteRangeError;

    fn from_str(text: &str) -> Result<Self, SiteRangeError> {
        match place_of(text).filter(|(tensor, _)| !tensor.is_empty()) {
            Some((_, Place::LayerBits { start, end } | Place::Addresses { start, end })) if start >= end => {
                Err(SiteRangeError::Empty { text: text.to_owned(), start, end })
            }
            Some((tensor, place)) => Ok(Self { tensor: tensor.to_owned(), place }),
            None => Err(SiteRangeError::Unknown { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for SiteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = |number: Option<u64>| number.map_or("*".to_owned(), |number| number.to_string());
        let (kind, start, end) = match self.place {
            Place::Bits { index, bit } => {
                return write!(f, "{}:{}:{}", self.tensor, star(index), star(bit.map(u64::from)));
            }
            Place::LayerBits { start, end } => ("lbi", start, end),
            Place::Addresses { start, end } => ("address", start, end),
        };
        write!(f, "{}@{kind}:{start}", self.tensor)?;
        if start.checked_add(1) == Some(end) { Ok(()) } else { write!(f, "..{end}") }
    }
}

/// The bits of a range in a tensor that has them: `len` places, each with its bit address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    place: Place,
    width: u64,
    pub(crate) len: u64,
}

impl Located {
    /// The bit address of the `nth` place.
    pub(crate) fn address(&self, nth: u64) -> u64 {
        let width = self.width;
        match self.place {
            Place::Bits { index: Some(index), bit: Some(bit) } => index * width + u64::from(bit),
            Place::Bits { index: None, bit: Some(bit) } => nth * width + u64::from(bit),
            Place::Bits { index: Some(index), bit: None } => index * width + nth,
            Place::Bits { index: None, bit: None } => nth,
            Place::LayerBits { start, .. } => {
                let index = start + nth;
                index / width * width + (width - 1 - index % width)
            }
            Place::Addresses { start, .. } => start + nth,
        }
    }
}

impl SiteRange {
    /// How many bits of a space it names.
    ///
    /// # Errors
    /// [`DrawError`] when one of them is no bit of the space.
    pub fn bits_in(&self, space: &FaultSpace) -> Result<u64, DrawError> {
        let tensor = space.tensors().iter().find(|tensor| tensor.name == self.tensor);
        let tensor = tensor.ok_or_else(|| DrawError::NoTensor { site: self.clone() })?;
        Ok(self.locate(tensor)?.len)
    }

    /// The range in its tensor.
    pub(crate) fn locate(&self, tensor: &SpaceTensor) -> Result<Located, DrawError> {
        let width = u64::from(tensor.format.width());
        let len = self.len_in(tensor)?;
        let located = Located { place: self.place, width, len };
        // Which bits of a word come up repeats after a word at the latest.
        let outside = (0..len.min(width)).map(|nth| located.address(nth) % width);
        match outside.into_iter().find(|bit| tensor.mask >> bit & 1 == 0) {
            Some(bit) => Err(self.no_bit(bit as u32, tensor)),
            None => Ok(located),
        }
    }

    fn len_in(&self, tensor: &SpaceTensor) -> Result<u64, DrawError> {
        let (width, elements) = (tensor.format.width(), tensor.elements);
        let bits = elements * u64::from(width);
        match self.place {
            Place::Bits { index: Some(index), .. } if index >= elements => {
                Err(DrawError::NoElement { site: self.clone(), index, elements })
            }
            Place::Bits { bit: Some(bit), .. } if bit >= width => Err(self.no_bit(bit, tensor)),
            Place::Bits { index, bit } => Ok(match (index, bit) {
                (Some(_), Some(_)) => 1,
                (None, Some(_)) => elements,
                (Some(_), None) => width.into(),
                (None, None) => bits,
            }),
            Place::LayerBits { start, end } | Place::Addresses { start, end } => {
                if start < end && end <= bits {
                    Ok(end - start)
                } else {
                    Err(DrawError::NoRange { site: self.clone(), bits })
                }
            }
        }
    }

    fn no_bit(&self, bit: u32, tensor: &SpaceTensor) -> DrawError {
        DrawError::NoBit { site: self.clone(), bit, tensor: tensor.clone() }
    }
}

#[cfg(test)]
mod tests {
    use bitquake_bits::Format;

    use super::*;

    fn tensor(format: Format, elements: u64, mask: u64) -> SpaceTensor {
        SpaceTensor { name: "w".into(), format, elements, mask, dims: vec![elements] }
    }

    fn addresses(text: &str, tensor: &SpaceTensor) -> Result<Vec<u64>, DrawError> {
        let located = text.parse::<SiteRange>().unwrap().locate(tensor)?;
        Ok((0..located.len).map(|nth| located.address(nth)).collect())
    }

    #[test]
    fn texts_round_trip() {
        for text in [
            "conv1.weight:17:30",
            "onnx::Conv_12:*:0",
            "/a/b:18446744073709551615:*",
            "w:*:*",
            "w@lbi:37",
            "w@scale@lbi:10..20",
            "w@scale:0:3",
            "a:b@address:0..18446744073709551615",
        ] {
            assert_eq!(text.parse::<SiteRange>().unwrap().to_string(), text);
        }
        let same = |a: &str, b: &str| assert_eq!(a.parse::<SiteRange>(), b.parse());
        same("w@wbi:17,30", "w:17:30");
        same("w@lbi:5..6", "w@lbi:5");
        for bad in [
            "",
            "w",
            "w:1",
            ":1:2",
            "w:-1:2",
            "w:+1:2",
            "w:1:x",
            "w:1:",
            "@lbi:3",
            "w@lbi:",
            "w@lbi:1..",
            "w@wbi:1",
            "w@lbi:a",
            "w@address:3 w@wbi:1,2",
        ] {
            assert!(matches!(bad.parse::<SiteRange>(), Err(SiteRangeError::Unknown { .. })), "{bad}");
        }
        for empty in ["w@lbi:3..3", "w@address:9..2"] {
            assert!(matches!(empty.parse::<SiteRange>(), Err(SiteRangeError::Empty { .. })), "{empty}");
        }
    }

    #[test]
    fn layer_bit_indices_are_those_of_fkeras() {
        // SPEC 3.3: LBI for B = 3, and LBI 0 with B = 5.
        let three = tensor(Format::unsigned(3), 2, 0b111);
        let wanted = [(0, 2), (0, 1), (0, 0), (1, 2), (1, 1), (1, 0)];
        for (lbi, (index, bit)) in wanted.into_iter().enumerate() {
            assert_eq!(addresses(&format!("w@lbi:{lbi}"), &three).unwrap(), [index * 3 + bit]);
            assert_eq!(
                addresses(&format!("w@lbi:{lbi}"), &three).unwrap(),
                addresses(&format!("w@wbi:{index},{bit}"), &three).unwrap()
            );
        }
        assert_eq!(addresses("w@lbi:0", &tensor(Format::signed(5), 12, 31)).unwrap(), [4]);
        assert_eq!(addresses("w@lbi:1..4", &three).unwrap(), [1, 0, 5]);
        assert_eq!(addresses("w@address:1..4", &three).unwrap(), [1, 2, 3]);
        assert_eq!(addresses("w:*:1", &three).unwrap(), [1, 4]);
        assert_eq!(addresses("w:1:*", &three).unwrap(), [3, 4, 5]);
        assert_eq!(addresses("w:*:*", &three).unwrap(), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn ranges_are_checked_against_their_tensor() {
        let whole = tensor(Format::U8, 4, 255);
        assert!(matches!(
            addresses("w:4:0", &whole),
            Err(DrawError::NoElement { index: 4, elements: 4, .. })
        ));
        assert!(matches!(addresses("w:4:*", &whole), Err(DrawError::NoElement { .. })));
        assert!(matches!(addresses("w:*:8", &whole), Err(DrawError::NoBit { bit: 8, .. })));
        assert!(matches!(addresses("w@lbi:32", &whole), Err(DrawError::NoRange { bits: 32, .. })));
        assert!(matches!(addresses("w@address:30..33", &whole), Err(DrawError::NoRange { .. })));
        let some = tensor(Format::U8, 4, 0b1100_0000);
        assert!(matches!(addresses("w@lbi:0..3", &some), Err(DrawError::NoBit { bit: 5, .. })));
        assert_eq!(addresses("w@lbi:8..10", &some).unwrap(), [15, 14]);
        assert!(matches!(addresses("w:*:*", &some), Err(DrawError::NoBit { bit: 0, .. })));
    }
}
