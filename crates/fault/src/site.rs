//! The address of one bit.

use std::fmt;
use std::str::FromStr;

/// One bit of one element of one tensor, written `TENSOR:INDEX:BIT`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Site {
    /// The tensor's name; it may contain colons itself.
    pub tensor: String,
    /// The element, counted over the flattened tensor.
    pub index: u64,
    /// The bit; 0 is the least significant.
    pub bit: u32,
}

/// A text that is not `TENSOR:INDEX:BIT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a site: write TENSOR:INDEX:BIT, such as conv1.weight:17:30")]
pub struct SiteError(
    /// The text given.
    pub String,
);

impl FromStr for Site {
    type Err = SiteError;

    fn from_str(text: &str) -> Result<Self, SiteError> {
        let parse = || {
            let mut parts = text.rsplitn(3, ':');
            let bit = parts.next()?.parse().ok()?;
            let index = parts.next()?.parse().ok()?;
            let tensor = parts.next().filter(|name| !name.is_empty())?.to_owned();
            Some(Self { tensor, index, bit })
        };
        parse().ok_or_else(|| SiteError(text.to_owned()))
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.tensor, self.index, self.bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_round_trip_even_with_colons_in_the_name() {
        for text in ["conv1.weight:17:30", "onnx::Conv_12:0:0", "/a/b:18446744073709551615:63"] {
            assert_eq!(text.parse::<Site>().unwrap().to_string(), text);
        }
        for bad in ["", "w", "w:1", ":1:2", "w:-1:2", "w:1:x", "w:1.5:2", "w:1:"] {
            assert!(bad.parse::<Site>().is_err(), "{bad}");
        }
    }
}
