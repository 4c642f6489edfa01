//! What a host says of its tensors.

use std::collections::BTreeSet;

use bitquake_bits::Format;
use bitquake_fault::{Candidate, Name};

use super::error::HostedError;

/// A tensor whose words the host holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTensor {
    /// Its name, unique among the tensors; the flips of a trial hang on it.
    pub name: String,
    /// The format of its words: what the memory holds, codes where it holds codes.
    pub format: Format,
    /// Its shape, slowest axis first (C order); none for a single word.
    pub dims: Vec<u64>,
    /// Whether globs leave it out, as they do shapes and counters.
    pub by_name_only: bool,
    /// Other names of the same words (tied weights), which select it, or leave it out, as its own does.
    pub also: Vec<String>,
}

/// What tells the host's words and data from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 over all words without faults, in the order of the tensors, as 64 hexadecimal digits.
    pub words: String,
    /// The same over what the network is evaluated on, if the host can tell.
    pub data: Option<String>,
}

impl HostTensor {
    /// How many words it has: the product of the dimensions.
    ///
    /// # Errors
    /// [`HostedError::Dims`] beyond 2^64.
    pub fn elements(&self) -> Result<u64, HostedError> {
        let product = self.dims.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim));
        product.ok_or_else(|| HostedError::Dims { tensor: self.name.clone(), dims: self.dims.clone() })
    }

    pub(super) fn selectable(&self) -> Name<'_> {
        Name { text: &self.name, by_name_only: self.by_name_only, also: &self.also }
    }

    pub(super) fn candidate(&self) -> Result<Candidate<'_>, HostedError> {
        let Self { name, format, by_name_only, .. } = self;
        Ok(Candidate { name, format: *format, elements: self.elements()?, by_name_only: *by_name_only })
    }
}

/// That every tensor has a name of its own.
pub(super) fn check_names(tensors: &[HostTensor]) -> Result<(), HostedError> {
    let mut seen = BTreeSet::new();
    for (place, tensor) in tensors.iter().enumerate() {
        let reason = match tensor.name.as_str() {
            "" => "a tensor needs a name",
            name if !seen.insert(name) => "another has that name",
            _ => continue,
        };
        return Err(HostedError::TensorName { place, name: tensor.name.clone(), reason });
    }
    Ok(())
}

impl Digests {
    /// The same in lower case, if they are digests.
    pub(super) fn checked(self) -> Result<Self, HostedError> {
        let check = |of: &'static str, digest: String| {
            let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
            if is_digest { Ok(digest.to_ascii_lowercase()) } else { Err(HostedError::Digest { of, digest }) }
        };
        let data = self.data.map(|data| check("data", data)).transpose()?;
        Ok(Self { words: check("words", self.words)?, data })
    }
}
