//! Words that are replaced as a whole.

use bitquake_sample::{PartKey, Stream};

use super::DrawError;
use super::elements::Elements;
use super::plan::{Part, Plan};
use crate::effect::Effect;
use crate::space::{FaultSpace, SpaceTensor};

/// What a word is set to. Only the bits of the fault space are set; those that hold the value already are dormant faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// These bits.
    Word(u64),
    /// This number, which every tensor's format must have exactly; ask for [`Format::nearest`](bitquake_bits::Format::nearest)
    /// to round.
    Number(f64),
    /// A word in which every bit of the space is 0 or 1 with probability 1/2. It hangs on the element alone.
    Random,
}

impl Value {
    pub(crate) fn plan<'a>(
        self,
        at: &Elements,
        space: &'a FaultSpace,
        key: &PartKey,
    ) -> Result<Plan<'a>, DrawError> {
        let words = space.tensors().iter().map(|tensor| self.word(tensor)).collect::<Result<Vec<_>, _>>()?;
        let values = key.part("value");
        at.plan(space, key, move |place, elements, part| {
            let tensor = &space.tensors()[place];
            match words[place] {
                Some(word) => set(part, place, tensor, &elements, |_| word),
                None => {
                    let stream: Stream = values.tensor(&tensor.name);
                    set(part, place, tensor, &elements, |element| stream.words(element).u64());
                }
            }
        })
    }

    /// The word for a tensor; `None` if it is random.
    fn word(self, tensor: &SpaceTensor) -> Result<Option<u64>, DrawError> {
        let (name, format) = (|| tensor.name.clone(), tensor.format);
        match self {
            Self::Random => Ok(None),
            Self::Word(word) if word & !format.mask() != 0 => {
                Err(DrawError::Word { tensor: name(), format, word })
            }
            Self::Word(word) => Ok(Some(word)),
            Self::Number(number) => match format.encode(number) {
                Ok(word) => Ok(Some(word)),
                Err(source) => Err(DrawError::Number { tensor: name(), source }),
            },
        }
    }
}

/// Sets the selected bits of each element to those of its word.
fn set(part: &mut Part<'_>, place: usize, tensor: &SpaceTensor, elements: &[u64], word: impl Fn(u64) -> u64) {
    let width = tensor.format.width();
    let bits: Vec<u32> = (0..width).filter(|bit| tensor.mask >> bit & 1 == 1).collect();
    let (mut zeros, mut ones) = (Vec::new(), Vec::new());
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
