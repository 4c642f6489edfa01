//! Little-endian numbers at given bytes.

/// A number within the archive, of 4 or 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) at: usize,
    pub(super) width: usize,
}

/// A field of a header that must be looked up in its zip64 extra is all ones.
pub(super) const IN_EXTRA: u64 = u32::MAX as u64;

/// The number of `width` bytes (at most 8) at `at`.
pub(super) fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
}

impl Field {
    pub(super) fn of_4(at: usize) -> Field {
        Field { at, width: 4 }
    }

    pub(super) fn of_8(at: usize) -> Field {
        Field { at, width: 8 }
    }

    pub(super) fn read(self, bytes: &[u8]) -> Option<u64> {
        number(bytes, self.at, self.width)
    }
}

/// The zip64 extra among the extra fields at `start..end`: the places of its 8-byte numbers, which stand for the
/// header's fields that are all ones, in their order.
pub(super) struct Zip64 {
    next: usize,
    end: usize,
}

impl Zip64 {
    /// The header id of the zip64 extended information (APPNOTE, section 4.5.3).
    const ID: u64 = 1;

    pub(super) fn find(bytes: &[u8], start: usize, end: usize) -> Option<Zip64> {
        let mut at = start;
        loop {
            let (id, size) = (number(bytes, at, 2)?, number(bytes, at + 2, 2)? as usize);
            let (body, next) = (at + 4, at + 4 + size);
            if next > end {
                return None; // padding that is no extra field
            }
            if id == Self::ID {
                return Some(Zip64 { next: body, end: next });
            }
            at = next;
        }
    }

    /// The place of a number that the header has at `field`: there, or the next one here.
    pub(super) fn resolve(extra: &mut Option<Zip64>, bytes: &[u8], field: Field) -> Option<Field> {
        match extra {
            Some(extra) if field.read(bytes)? == IN_EXTRA => {
                let place = Field::of_8(extra.next);
                extra.next += 8;
                (extra.next <= extra.end).then_some(place)
            }
            _ => Some(field),
        }
    }
}
