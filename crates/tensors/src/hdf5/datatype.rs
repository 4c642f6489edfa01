//! The type of a dataset's elements.

use bitquake_bits::{Encoding, Format, Layout};

use super::Hdf5Error;
use super::cursor::Cursor;

/// The type of an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    /// The bytes that one element takes.
    pub(crate) size: u64,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A number.
    Number { format: Format, is_big_endian: bool },
    /// Anything else, by name.
    Other(&'static str),
}

impl Element {
    /// Where words lie that follow each other, and their format; `None` for what is no number.
    pub(crate) fn layout(&self) -> Option<(Format, Layout)> {
        let Kind::Number { format, is_big_endian } = self.kind else { return None };
        let layout = match format.bytes() as u64 == self.size && format.width() % 8 == 0 {
            true => Layout::packed(format),
            false => Layout::padded(format, self.size),
        };
        Some((format, if is_big_endian { layout.big_endian() } else { layout }))
    }
}

pub(crate) fn read(mut cursor: Cursor<'_>) -> Result<Element, Hdf5Error> {
    let at = cursor.position() as u64;
    let class = cursor.u8()?;
    let flags = cursor.number(3)?;
    let size = u64::from(cursor.u32()?);
    if size == 0 {
        return Err(Hdf5Error::Malformed { what: "the datatype", at, why: "elements of 0 bytes".to_owned() });
    }
    let kind = match class & 0xf {
        0 => fixed_point(&mut cursor, flags, size)?,
        1 => float(&mut cursor, flags, size)?,
        2 => Kind::Other("time"),
        3 => Kind::Other("string"),
        4 => Kind::Other("bitfield"),
        5 => Kind::Other("opaque"),
        6 => Kind::Other("compound"),
        7 => Kind::Other("reference"),
        8 => Kind::Other("enum"),
        9 => Kind::Other("vlen"),
        10 => Kind::Other("array"),
        11 => Kind::Other("complex"),
        class => {
            return Err(Hdf5Error::Unsupported { what: "the class of a datatype", at, value: class.into() });
        }
    };
    Ok(Element { size, kind })
}

/// Whole numbers, perhaps narrower than the bytes that hold them.
fn fixed_point(cursor: &mut Cursor<'_>, flags: u64, size: u64) -> Result<Kind, Hdf5Error> {
    let (offset, width) = (cursor.u16()?, u32::from(cursor.u16()?));
    let is_big_endian = flags & 0x1 != 0;
    let is_signed = flags & 0x8 != 0;
    let is_whole = u64::from(width) == size * 8;
    let fits = offset == 0 && size <= 8 && u64::from(width) <= size * 8 && (is_whole || !is_big_endian);
    let format = Format::code(width, is_signed, Encoding::Plain, 0).ok().filter(|_| fits);
    Ok(format.map_or(Kind::Other("integer"), |format| Kind::Number { format, is_big_endian }))
}

/// The floats whose fields are those of a format: first the exponent's width, the mantissa's, and the bias.
const FLOATS: [((u8, u8, u32), Format); 5] = [
    ((11, 52, 1023), Format::F64),
    ((8, 23, 127), Format::F32),
    ((5, 10, 15), Format::F16),
    ((8, 7, 127), Format::BF16),
    ((5, 2, 15), Format::F8E5M2),
];

fn float(cursor: &mut Cursor<'_>, flags: u64, size: u64) -> Result<Kind, Hdf5Error> {
    let (offset, width) = (cursor.u16()?, cursor.u16()?);
    let (exponent_at, exponent) = (cursor.u8()?, cursor.u8()?);
    let (mantissa_at, mantissa) = (cursor.u8()?, cursor.u8()?);
    let bias = cursor.u32()?;
    let sign_at = flags >> 8 & 0xff;
    let is_implied = flags >> 4 & 0x3 == 2; // the leading 1 is not stored
    let fields = (exponent, mantissa, bias);
    let Some((_, format)) = FLOATS.iter().find(|(known, _)| *known == fields) else {
        return Ok(Kind::Other("float"));
    };
    let is_usual = offset == 0
        && u64::from(width) == size * 8
        && u32::from(width) == format.width()
        && sign_at == u64::from(format.msb())
        && exponent_at == mantissa
        && mantissa_at == 0
        && is_implied;
    Ok(match (is_usual, flags & 0x41) {
        (true, 0) => Kind::Number { format: *format, is_big_endian: false },
        (true, 1) => Kind::Number { format: *format, is_big_endian: true },
        _ => Kind::Other("float"), // of another kind, or with the byte order of a VAX
    })
}
