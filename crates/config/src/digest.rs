//! Digests as text.

use std::fmt::Write;

/// Bytes as lower-case hexadecimal digits, two a byte.
///
/// ```
/// assert_eq!(bitquake_config::hex(&[0x0a, 0xff]), "0aff");
/// ```
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
