//! Words as text: always the raw bits, fixed width, zero-padded, most significant bit first.

use crate::Format;

/// The word's bits, with a dot between fields: `s.eeeeeeee.mmm...` for floats, `s.mmm...` for signed integers, and
/// no dot for unsigned ones. Bits above the format's width are not printed.
///
/// ```
/// use bitquake_bits::{Format, pattern};
/// assert_eq!(pattern(Format::F16, 0xc100), "1.10000.0100000000");
/// assert_eq!(pattern(Format::I8, 0xff), "1.1111111"); // -1: the raw pattern, never "-0000001"
/// assert_eq!(pattern(Format::U8, 5), "00000101");
/// ```
pub fn pattern(format: Format, word: u64) -> String {
    let mut text = String::new();
    for bit in (0..format.width()).rev() {
        if bit < format.msb() && format.field(bit) != format.field(bit + 1) {
            text.push('.');
        }
        text.push(if word >> bit & 1 == 1 { '1' } else { '0' });
    }
    text
}

/// The word's bits without separators, as many digits as the format is wide.
///
/// ```
/// use bitquake_bits::{Format, binary};
/// assert_eq!(binary(Format::U8, 5), "00000101");
/// ```
pub fn binary(format: Format, word: u64) -> String {
    format!("{:0width$b}", word & format.mask(), width = format.width() as usize)
}

/// The word as lower-case hexadecimal digits, zero-padded to the format's width, without `0x`.
///
/// ```
/// use bitquake_bits::{Format, hex};
/// assert_eq!(hex(Format::F32, 0x3f00_0000), "3f000000");
/// assert_eq!(hex(Format::U16, 10), "000a");
/// ```
pub fn hex(format: Format, word: u64) -> String {
    format!("{:0width$x}", word & format.mask(), width = format.width().div_ceil(4) as usize)
}
