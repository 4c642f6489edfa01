//! What is stored of a tensor beside its codes.

use bitquake_bits::{Format, Layout};

/// A kind of stored value that decoding needs, one for each unit of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// Distance of neighbouring levels.
    Scale,
    /// The code that stands for 0 (`affine`), as an integer of the codes' width and sign in plain binary.
    ZeroPoint,
    /// The lower end of the range (`asymmetric`, `pact`, `q4_1`).
    Min,
    /// The upper end of the range (`compat`, asymmetric): the release stores ends, not a scale.
    Max,
    /// The half width of the range (`compat`, symmetric).
    Range,
}

impl PartKind {
    /// The name behind the `@` of the part's tensor: `conv1.weight@scale`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Scale => "scale",
            Self::ZeroPoint => "zero_point",
            Self::Min => "min",
            Self::Max => "max",
            Self::Range => "range",
        }
    }
}

/// One kind of stored value of a tensor, for all its units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// The format of its words.
    pub format: Format,
    /// One word for each unit, in order: the word of unit `u` decodes the elements of which
    /// [`Grid::unit_of`](crate::Grid::unit_of) gives `u`.
    pub words: Vec<u64>,
}

impl Part {
    /// The words as bytes, packed ([`Layout::packed`]).
    #[must_use]
    pub fn packed_bytes(&self) -> Vec<u8> {
        let len = Layout::packed(self.format).bytes_needed(self.words.len() as u64).unwrap_or(0);
        let mut bytes = vec![0; len as usize];
        crate::pack::pack(&self.words, self.format.width(), &mut bytes);
        bytes
    }
}
