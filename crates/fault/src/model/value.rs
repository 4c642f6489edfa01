//! Words that are replaced as a whole.

use std::sync::Arc;

use bitquake_bits::Format;
use bitquake_sample::Stream;

use super::DrawError;
use super::elements::Elements;
use super::plan::{Part, Plan};
use crate::effect::Effect;
use crate::saturate::saturating_bits;
use crate::space::{FaultSpace, SpaceTensor};

/// What a word is set to. Only the bits of the fault space are set; those that hold the value already are dormant faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// These bits.
    Word(u64),
    /// This number, 0 for instance, which every tensor's format must have exactly; ask for [`Format::nearest`](bitquake_bits::Format::nearest)
    /// to round.
    Number(f64),
    /// The largest finite magnitude of the tensor's format, with the sign of the stored word: the largest finite float; for
    /// codes the largest number, or the smallest where a negative one is stored. All ones for plain unsigned codes; 127 or -128
    /// for `i8`. NaN and infinity saturate too.
    Saturate,
    /// A word in which every bit of the space is 0 or 1 with probability 1/2. It hangs on the element alone.
    Random,
}

/// What a value means for the words of one tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WordValue {
    /// The same word for all.
    Fixed(u64),
    Random,
    Saturate,
}

impl Value {
    pub(crate) fn plan<'a>(self, at: &Elements, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        let values =
            space.tensors().iter().map(|tensor| self.word(tensor)).collect::<Result<Arc<[_]>, _>>()?;
        at.plan(space, None, move |key, place, elements, part| {
            let tensor = &space.tensors()[place];
            match values[place] {
                WordValue::Fixed(word) => set(part, place, tensor, &elements, |_| word),
                WordValue::Saturate => saturate(part, place, tensor, &elements),
                WordValue::Random => {
                    let stream: Stream = key.part("value").tensor(&tensor.name);
                    set(part, place, tensor, &elements, |element| stream.words(element).u64());
                }
            }
        })
    }

    /// What it is for a tensor.
    pub(crate) fn word(self, tensor: &SpaceTensor) -> Result<WordValue, DrawError> {
        let (name, format) = (|| tensor.name.clone(), tensor.format);
        match self {
            Self::Random => Ok(WordValue::Random),
            Self::Saturate => Ok(WordValue::Saturate),
            Self::Word(word) if word & !format.mask() != 0 => {
                Err(DrawError::Word { tensor: name(), format, word })
            }
            Self::Word(word) => Ok(WordValue::Fixed(word)),
            Self::Number(number) => match format.encode(number) {
                Ok(word) => Ok(WordValue::Fixed(word)),
                Err(source) => Err(DrawError::Number { tensor: name(), source }),
            },
        }
    }
}

/// Sets the selected bits of each element to those of its word.
pub(crate) fn set(
    part: &mut Part<'_>,
    place: usize,
    tensor: &SpaceTensor,
    elements: &[u64],
    mut word: impl FnMut(u64) -> u64,
) {
    let width = tensor.format.width();
    let bits: Vec<u32> = (0..width).filter(|bit| tensor.mask >> bit & 1 == 1).collect();
    let room = || Vec::with_capacity(elements.len().saturating_mul(bits.len()).min(1 << 12));
    let (mut zeros, mut ones): (Vec<u64>, Vec<u64>) = (room(), room());
    for &element in elements {
        let word = word(element);
        for bit in &bits {
            let list = if word >> bit & 1 == 1 { &mut ones } else { &mut zeros };
            list.push(element * u64::from(width) + u64::from(*bit));
        }
    }
    part.add(place, Effect::Set0, zeros);
    part.add(place, Effect::Set1, ones);
}

/// Saturates the selected bits of each element. A sign is kept, so there is no fault on it.
pub(crate) fn saturate(part: &mut Part<'_>, place: usize, tensor: &SpaceTensor, elements: &[u64]) {
    let mask = saturating_bits(tensor.format, tensor.mask);
    part.add(place, Effect::Saturate, bits_of_words(tensor.format, mask, elements));
}

/// The addresses of some bits of each element.
pub(crate) fn bits_of_words(format: Format, mask: u64, elements: &[u64]) -> Vec<u64> {
    let width = u64::from(format.width());
    let bits: Vec<u64> = (0..width).filter(|bit| mask >> bit & 1 == 1).collect();
    elements.iter().flat_map(|element| bits.iter().map(move |bit| element * width + bit)).collect()
}
