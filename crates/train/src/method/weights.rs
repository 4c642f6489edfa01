//! The master weights, and what the network sees of them.

use bitquake_bits::{Format, WordStore, Words, WordsMut};
use bitquake_storage::Memory;
use bitquake_tensors::{Dtype, Origin, Place, Role, StorageForm, TensorInfo};

/// One trainable tensor: a parameter of the network in float32, as the optimiser changes it.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightTensor {
    /// Its name in the graph.
    pub name: String,
    /// Its dimensions, slowest first (C order); empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values, row-major, as many as the product of the shape.
    pub values: Vec<f32>,
}

impl WeightTensor {
    /// Whether it is the weight of a convolution or a linear layer: what WCAT and BFA quantize and fault (SPEC 4.1). Told by
    /// its shape: two dimensions or more, but not `[C, 1, 1]` or `[1, C, 1, 1]`, a number for each channel of a normalization put
    /// together from other operators. What that rule gets wrong, an embedding for one, `[[override]]` puts right.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        let is_one_a_channel = matches!(self.shape[..], [_, 1, 1] | [1, _, 1, 1]);
        self.shape.len() >= 2 && !is_one_a_channel
    }

    /// Whether it is the learnt range of a PACT activation: a scalar named `...alpha`. It is trained, but no weight of the
    /// network: never quantized, never clipped, and hit by faults only if its own name selects it.
    #[must_use]
    pub fn is_alpha(&self) -> bool {
        self.values.len() == 1 && self.name.ends_with("alpha")
    }

    /// The tensor as a file would describe it.
    pub(crate) fn info(&self, role: Role) -> TensorInfo {
        TensorInfo {
            name: self.name.clone(),
            dtype: Dtype::Known(Format::F32),
            shape: self.shape.iter().map(|&dim| dim as u64).collect(),
            role,
            origin: Origin { place: Place::Initializer, storage: StorageForm::Words },
        }
    }
}

/// All trainable tensors, in the order of the network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weights {
    /// The tensors.
    pub tensors: Vec<WeightTensor>,
}

impl Weights {
    /// The place of a tensor; `None` if there is no such name.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|tensor| tensor.name == name)
    }
}

/// The words are the bits of the float32 values.
impl WordStore for Weights {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        let values = &self.tensors[self.position(tensor)?].values;
        Some(Words::packed(Format::F32, bytemuck::cast_slice(values)))
    }

    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        let at = self.position(tensor)?;
        Some(WordsMut::packed(Format::F32, bytemuck::cast_slice_mut(&mut self.tensors[at].values)))
    }
}

/// What the network computes with: one vector a trainable tensor, in the order of the [`Weights`]. The default is of no tensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Levels {
    /// The values: decoded codes, and float32 values as they are where nothing is quantized.
    pub tensors: Vec<Vec<f32>>,
    /// How many stored bits differ from the clean memory, after protections.
    pub flips: u64,
}

/// The weights as the memory holds them in one step. The default is of no tensor.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub(crate) memory: Memory,
    pub(crate) levels: Levels,
}

impl Stored {
    /// What the network computes with when nothing is faulty.
    #[must_use]
    pub fn levels(&self) -> &Levels {
        &self.levels
    }

    /// The codes, their parts and their check bits.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The range that a tensor's codes cover, lower and upper end, for logs: of its first unit where it has several. `None`
    /// where it is not quantized.
    #[must_use]
    pub fn range(&self, tensor: &str) -> Option<(f32, f32)> {
        self.memory.coded(tensor)?.grid().range(0).ok()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bitquake_testing::SplitMix64;

    use super::*;

    /// A tensor of normal values.
    pub(crate) fn tensor(name: &str, shape: &[usize], seed: u64) -> WeightTensor {
        let mut random = SplitMix64::new(seed);
        let values = (0..shape.iter().product()).map(|_| random.normal() as f32 * 0.1).collect();
        WeightTensor { name: name.into(), shape: shape.into(), values }
    }

    /// A small network: two kernels, a bias, a norm scale that starts at 0 and a PACT range.
    pub(crate) fn small() -> Weights {
        let zeros = WeightTensor { name: "norm.scale".into(), shape: vec![6], values: vec![0.0; 6] };
        let alpha = WeightTensor { name: "act.alpha".into(), shape: vec![], values: vec![6.0] };
        Weights {
            tensors: vec![
                tensor("conv.weight", &[6, 3, 5, 5], 1),
                tensor("conv.bias", &[6], 2),
                zeros,
                tensor("fc.weight", &[10, 54], 3),
                alpha,
            ],
        }
    }

    #[test]
    fn words_are_the_bits_of_the_values() {
        let mut weights = small();
        let before = weights.tensors[3].values[7];
        assert_eq!(weights.words("fc.weight").unwrap().get(7), Some(before.to_bits().into()));
        weights.words_mut("fc.weight").unwrap().flip(7 * 32 + 31).unwrap();
        assert_eq!(weights.tensors[3].values[7], -before);
        assert!(weights.words("fc.weigth").is_none());
    }

    #[test]
    fn kernels_and_alphas_are_told_by_shape_and_name() {
        let kinds = |tensor: &WeightTensor| (tensor.is_kernel(), tensor.is_alpha());
        let wanted = [(true, false), (false, false), (false, false), (true, false), (false, true)];
        assert_eq!(small().tensors.iter().map(kinds).collect::<Vec<_>>(), wanted);
        for (shape, is_kernel) in
            [(&[8, 1, 1][..], false), (&[1, 8, 1, 1], false), (&[8, 4, 1, 1], true), (&[1, 84], true)]
        {
            assert_eq!(tensor("norm1.scale", shape, 1).is_kernel(), is_kernel, "{shape:?}");
        }
    }
}
