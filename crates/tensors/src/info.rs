//! What a tensor file says about a tensor: name, dtype, shape, role, place.

use std::fmt;

use bitquake_bits::Format;

/// The kind of a tensor file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// An ONNX model, with the external data files it names.
    Onnx,
    /// A safetensors file.
    Safetensors,
    /// A PyTorch checkpoint, `.pt` or `.pth`, zip or legacy.
    Pytorch,
    /// A NumPy array.
    Npy,
    /// A zip archive of NumPy arrays.
    Npz,
    /// An HDF5 file, such as Keras writes.
    Hdf5,
    /// A Keras 3 archive.
    Keras,
    /// A GGUF file.
    Gguf,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            FileKind::Onnx => "onnx",
            FileKind::Safetensors => "safetensors",
            FileKind::Pytorch => "pytorch",
            FileKind::Npy => "npy",
            FileKind::Npz => "npz",
            FileKind::Hdf5 => "hdf5",
            FileKind::Keras => "keras",
            FileKind::Gguf => "gguf",
        })
    }
}

/// The type of a tensor's elements. `Display` gives the short name: `f32`, `i8`, `i64`, `bool` ...
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// A number format: its words can be read and flipped.
    Known(Format),
    /// Anything else, by name; its words are never touched.
    Other(String),
}

impl Dtype {
    /// The format, if the table has it.
    pub fn format(&self) -> Option<Format> {
        match self {
            Dtype::Known(format) => Some(*format),
            Dtype::Other(_) => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dtype::Known(format) => f.pad(&format.name()),
            Dtype::Other(name) => f.pad(name),
        }
    }
}

/// Whether a tensor is part of the fault space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A stored parameter: weights, biases, scales, zero points. In the fault space.
    Weight,
    /// A stored parameter that was measured and not trained: the running mean and variance of a batch normalisation. In the
    /// fault space, but no quantizer's business.
    Statistic,
    /// A second name for the words of an earlier tensor: outside the fault space unless selected by its exact name, so that
    /// no bit counts twice.
    Alias,
    /// A setting that happens to be stored as a tensor: shapes, axes, bounds, and every dtype that is no number
    /// format. Outside the fault space unless selected by its exact name.
    Attribute,
}

impl Role {
    /// Whether globs select it: whether it belongs to the fault space of a whole file.
    pub fn is_reached_by_globs(self) -> bool {
        matches!(self, Role::Weight | Role::Statistic)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Weight => "weight",
            Role::Statistic => "statistic",
            Role::Alias => "alias",
            Role::Attribute => "attribute",
        })
    }
}

/// What the tensor is within its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An initializer of an ONNX graph or subgraph.
    Initializer,
    /// The values or the indices of a sparse initializer or of a sparse constant.
    Sparse,
    /// The value of an ONNX `Constant` node.
    Constant,
    /// A tensor in an attribute of another ONNX node.
    NodeAttribute,
    /// An entry of any other file.
    Entry,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Place::Initializer => "initializer",
            Place::Sparse => "sparse initializer",
            Place::Constant => "constant node",
            Place::NodeAttribute => "node attribute",
            Place::Entry => "entry",
        })
    }
}

/// How the words of a tensor are stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StorageForm {
    /// As contiguous little-endian words within the file.
    Words,
    /// As varints, or as numbers with tags between them, which are re-encoded on saving where they changed.
    Encoded,
    /// As words in another file, at this path relative to the model's folder.
    External(String),
}

/// Where a tensor is, for people: `Display` gives for example `initializer, external data.bin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// What it is within the file.
    pub place: Place,
    /// How its words are stored.
    pub storage: StorageForm,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.storage {
            StorageForm::Words => write!(f, "{}", self.place),
            StorageForm::Encoded => write!(f, "{}, encoded", self.place),
            StorageForm::External(location) => write!(f, "{}, external {location}", self.place),
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique within the file. ONNX tensors outside the main graph are named by path, see
    /// [`onnx`](crate::onnx).
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first; empty for a scalar. The product fits a `u64`.
    pub shape: Vec<u64>,
    /// Whether it is part of the fault space.
    pub role: Role,
    /// Where it is.
    pub origin: Origin,
}

impl TensorInfo {
    /// The number of elements: the product of the shape, 1 for a scalar.
    pub fn elements(&self) -> u64 {
        if self.shape.contains(&0) { 0 } else { self.shape.iter().fold(1, |n, &dim| n.saturating_mul(dim)) }
    }

    /// The number of stored bits, elements times width; `None` for a dtype outside the format table.
    pub fn bits(&self) -> Option<u64> {
        let format = self.dtype.format()?;
        Some(self.elements().saturating_mul(u64::from(format.width())))
    }
}

/// The product of a shape; `None` if it does not fit a `u64`.
pub(crate) fn element_count(shape: &[u64]) -> Option<u64> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(shape: &[u64], dtype: Dtype) -> TensorInfo {
        let origin = Origin { place: Place::Initializer, storage: StorageForm::External("w.bin".into()) };
        TensorInfo { name: "w".into(), dtype, shape: shape.into(), role: Role::Weight, origin }
    }

    #[test]
    fn counts() {
        let cases: &[(&[u64], u64)] = &[(&[], 1), (&[3, 4], 12), (&[0, u64::MAX, 2], 0)];
        for &(shape, elements) in cases {
            let tensor = info(shape, Dtype::Known(Format::F16));
            assert_eq!((tensor.elements(), tensor.bits()), (elements, Some(elements * 16)), "{shape:?}");
            assert_eq!(element_count(shape), Some(elements));
        }
        assert_eq!(info(&[2], Dtype::Other("i64".into())).bits(), None);
        assert_eq!(element_count(&[u64::MAX, 2]), None);
    }

    #[test]
    fn names_for_people() {
        let tensor = info(&[1], Dtype::Other("i64".into()));
        assert_eq!(tensor.origin.to_string(), "initializer, external w.bin");
        assert_eq!(
            format!("{} {} {}", tensor.dtype, Dtype::Known(Format::BF16), tensor.role),
            "i64 bf16 weight"
        );
        assert_eq!(format!("[{:>6}] {}", FileKind::Onnx, FileKind::Safetensors), "[  onnx] safetensors");
    }
}
