//! What a model file stores: floats as f32, all else as whole numbers on the host.

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::{Dtype, TensorInfo};

use super::{Ints, PlanError};

/// A tensor read from the file.
#[derive(Clone, Debug)]
pub enum Stored {
    /// f32 values, with their shape.
    Floats(Vec<f32>, Vec<usize>),
    /// Integers.
    Ints(Ints),
}

/// Where stored tensors are.
#[derive(Debug)]
pub(super) struct Source<'s, W> {
    pub(super) tensors: &'s [TensorInfo],
    pub(super) words: &'s W,
}

impl<W> Clone for Source<'_, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W> Copy for Source<'_, W> {}

impl<'s, W: WordStore> Source<'s, W> {
    pub(super) fn info(&self, name: &str) -> Option<&'s TensorInfo> {
        self.tensors.iter().find(|info| info.name == name)
    }

    /// Reads the tensor that the file calls `name`.
    pub(super) fn read(&self, name: &str) -> Result<Stored, PlanError> {
        let unsupported = |dtype: String| PlanError::UnsupportedDtype { tensor: name.to_owned(), dtype };
        let info = self.info(name).ok_or_else(|| unsupported("nothing".to_owned()))?;
        let shape: Vec<usize> = info.shape.iter().map(|&size| size as usize).collect();
        let words = self.words.words(name).ok_or_else(|| unsupported(info.dtype.to_string()))?;
        match &info.dtype {
            Dtype::Known(format) if *format == Format::F32 => {
                Ok(Stored::Floats(words.iter().map(|word| f32::from_bits(word as u32)).collect(), shape))
            }
            Dtype::Known(format) if is_integer(*format) => {
                // Numbers of up to 32 bits fit the significand of the float that they are decoded to.
                let value =
                    |word: u64| if format.width() == 64 { word as i64 } else { format.decode(word) as i64 };
                Ok(Stored::Ints(Ints { shape, values: words.iter().map(value).collect() }))
            }
            other => Err(unsupported(other.to_string())),
        }
    }
}

fn is_integer(format: Format) -> bool {
    [Format::I64, Format::I32, Format::U32, Format::I16, Format::U16, Format::I8, Format::U8]
        .contains(&format)
}
