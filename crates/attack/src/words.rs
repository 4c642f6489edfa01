//! The stored words that an attacker may change.

use bitquake_bits::{Format, WordStore};
use bitquake_fault::{FaultPattern, FaultSpace, SpaceTensor, TensorFlips};
use bitquake_quant::{Decoder, Grid};
use bitquake_storage::Memory;

use crate::error::AttackError;

/// One bit of the attacked words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BitSite {
    /// The tensor's place in [`AttackedWords::tensors`].
    pub tensor: usize,
    /// The element, counted over the flattened tensor.
    pub element: u64,
    /// The bit; 0 is the least significant.
    pub bit: u32,
}

/// The words of all tensors that may be hit: as they were stored, and as they are after the flips so far.
///
/// Words are codes of up to 32 bits, or float32. What the network computes with is always decoded from them; nothing is quantized
/// again.
#[derive(Clone, Debug)]
pub struct AttackedWords {
    tensors: Vec<AttackedTensor>,
}

/// One tensor of [`AttackedWords`].
#[derive(Clone, Debug)]
pub struct AttackedTensor {
    name: String,
    format: Format,
    mask: u64,
    clean: Vec<u32>,
    words: Vec<u32>,
    meaning: Meaning,
}

/// How words become the network's floats.
#[derive(Clone, Debug)]
enum Meaning {
    /// They are the bits of float32 values.
    Float,
    /// They are codes; one decoder a unit of the grid.
    Codes { grid: Box<Grid>, decoders: Vec<Decoder> },
}

impl AttackedWords {
    /// The words that `memory` holds of the tensors of a fault space; only the bits of the space may be flipped. `native` is the
    /// model's file.
    ///
    /// # Errors
    /// [`AttackError::NotAttackable`] for what is no tensor of weights: scales, zero points and check bits stored beside codes, and
    /// native words that are not float32.
    pub fn new(memory: &Memory, space: &FaultSpace, native: &impl WordStore) -> Result<Self, AttackError> {
        let tensors = space.tensors().iter().map(|tensor| AttackedTensor::new(memory, tensor, native));
        Ok(Self { tensors: tensors.collect::<Result<_, _>>()? })
    }

    /// The tensors, in the order of the fault space.
    #[must_use]
    pub fn tensors(&self) -> &[AttackedTensor] {
        &self.tensors
    }

    /// Leaves tensors out, by name.
    pub(crate) fn leave_out(&mut self, names: &[&str]) {
        self.tensors.retain(|tensor| !names.contains(&tensor.name()));
    }

    /// Flips a bit.
    ///
    /// # Panics
    /// If there is no such tensor or element.
    pub fn flip(&mut self, site: BitSite) {
        self.tensors[site.tensor].words[site.element as usize] ^= 1 << site.bit;
    }

    /// Bits that differ from the clean words. A bit flipped twice does not, so this can be less than the number of flips.
    #[must_use]
    pub fn distance(&self) -> u64 {
        self.tensors.iter().map(AttackedTensor::distance).sum()
    }

    /// Bits that may be flipped.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.tensors.iter().map(AttackedTensor::bits).sum()
    }

    /// The first tensor that is held as floats; `None` if all are codes.
    pub(crate) fn first_float(&self) -> Option<&str> {
        self.tensors.iter().find(|tensor| matches!(tensor.meaning, Meaning::Float)).map(AttackedTensor::name)
    }

    /// The bits that differ from the clean words, as a pattern over the memory.
    ///
    /// # Errors
    /// None in practice: the words are those of a fault space, which names no tensor twice.
    pub fn pattern(&self) -> Result<FaultPattern, AttackError> {
        Ok(FaultPattern::new(self.tensors.iter().map(AttackedTensor::flips).collect())?)
    }
}

impl AttackedTensor {
    fn new(memory: &Memory, space: &SpaceTensor, native: &impl WordStore) -> Result<Self, AttackError> {
        let coded = memory.coded(&space.name);
        let refused = |reason: &str| AttackError::NotAttackable {
            tensor: space.name.clone(),
            format: space.format,
            reason: reason.to_owned(),
        };
        let (words, meaning) = match coded {
            Some(coded) => {
                let grid = coded.grid().clone();
                let decoders = (0..grid.units()).map(|unit| grid.decoder(unit)).collect::<Result<_, _>>();
                let decoders = decoders.map_err(|error| refused(&error.to_string()))?;
                (coded.words(), Meaning::Codes { grid: Box::new(grid), decoders })
            }
            None => {
                let words = native.words(&space.name).ok_or_else(|| {
                    refused(
                        "it is stored beside codes; attacks and rankings are of weights: codes and float32 words",
                    )
                })?;
                if words.format() != Format::F32 {
                    return Err(refused("attacks and rankings are of codes and of float32 words"));
                }
                (words, Meaning::Float)
            }
        };
        let clean: Vec<u32> = words.iter().map(|word| word as u32).collect(); // codes have at most 32 bits
        let (name, format, mask) = (space.name.clone(), words.format(), space.mask);
        Ok(Self { name, format, mask, words: clean.clone(), clean, meaning })
    }

    /// The tensor's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How its words are stored.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The bits of each word that may be flipped.
    #[must_use]
    pub fn mask(&self) -> u64 {
        self.mask
    }

    /// How many words it has.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.words.len() as u64
    }

    /// Bits that may be flipped.
    #[must_use]
    pub fn bits(&self) -> u64 {
        self.elements() * u64::from(self.mask.count_ones())
    }

    /// Bits that differ from the clean words.
    #[must_use]
    pub fn distance(&self) -> u64 {
        let pairs = self.words.iter().zip(&self.clean);
        pairs.map(|(word, clean)| u64::from((word ^ clean).count_ones())).sum()
    }

    /// The word that is stored now.
    ///
    /// # Panics
    /// If there is no such element.
    #[must_use]
    pub fn word(&self, element: u64) -> u32 {
        self.words[element as usize]
    }

    /// The bits of a word that differ from the clean one.
    ///
    /// # Panics
    /// If there is no such element.
    #[must_use]
    pub fn changed(&self, element: u64) -> u32 {
        self.words[element as usize] ^ self.clean[element as usize]
    }

    /// What the network computes with for a word of an element: a float, perhaps NaN or infinite.
    ///
    /// # Panics
    /// If there is no such element.
    #[must_use]
    pub fn level(&self, element: u64, word: u32) -> f32 {
        self.level_in(self.unit(element), word)
    }

    /// The units: sets of elements whose equal words stand for equal levels.
    pub(crate) fn units(&self) -> usize {
        match &self.meaning {
            Meaning::Float => 1,
            Meaning::Codes { decoders, .. } => decoders.len(),
        }
    }

    /// The unit of an element.
    pub(crate) fn unit(&self, element: u64) -> usize {
        match &self.meaning {
            Meaning::Codes { grid, decoders } if decoders.len() > 1 => {
                grid.unit_of(element).unwrap_or(0) as usize
            }
            _ => 0,
        }
    }

    /// What a word of a unit stands for.
    pub(crate) fn level_in(&self, unit: usize, word: u32) -> f32 {
        match &self.meaning {
            Meaning::Float => f32::from_bits(word),
            // Words come from the memory and flips within the width, so the decoder takes them.
            Meaning::Codes { decoders, .. } => decoders[unit].level(word.into()).unwrap_or(f32::NAN),
        }
    }

    /// The distance of neighbouring levels of an element, by which a gradient of its weight becomes one of its code; 1 for floats.
    ///
    /// # Panics
    /// If there is no such element.
    #[must_use]
    pub fn step(&self, element: u64) -> f32 {
        match &self.meaning {
            Meaning::Float => 1.0,
            Meaning::Codes { grid, .. } => {
                grid.unit_of(element).and_then(|unit| grid.scale(unit)).map_or(1.0, f32::abs)
            }
        }
    }

    fn flips(&self) -> TensorFlips {
        let width = u64::from(self.format.width());
        let of_element = |element: u64| {
            let changed = self.changed(element);
            let bits = (0..self.format.width()).filter(move |bit| changed >> bit & 1 == 1);
            bits.map(move |bit| element * width + u64::from(bit))
        };
        TensorFlips {
            tensor: self.name.clone(),
            format: self.format,
            elements: self.elements(),
            addresses: (0..self.elements())
                .filter(|&element| self.changed(element) != 0)
                .flat_map(of_element)
                .collect(),
        }
    }
}
