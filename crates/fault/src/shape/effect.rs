//! What an event does to a word.

use bitquake_sample::{PartKey, Rate, Stream};
use serde::{Deserialize, Serialize};

use crate::draw_error::DrawError;
use crate::effect::Effect;
use crate::model::plan::Part;
use crate::model::{Value, WordValue, bits_of_words, saturate, set};
use crate::space::SpaceTensor;

/// What happens to a word that is hit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WordEffect {
    /// Something happens to some of its bits.
    Bits {
        /// What.
        effect: Effect,
        /// To which of the bits of the fault space.
        hit: BitsHit,
    },
    /// Its bits in the fault space are set.
    Value(Value),
}

/// One random bit flips.
impl Default for WordEffect {
    fn default() -> Self {
        Self::Bits { effect: Effect::Flip, hit: BitsHit::One }
    }
}

/// Which bits of a word are hit, of those that the fault space has. In texts `"one"`, `"all"` or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub enum BitsHit {
    /// One, each with the same probability.
    #[default]
    One,
    /// All of them.
    All,
    /// Each independently with this probability.
    Each(Rate),
}

/// Why a text says nothing about which bits are hit.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("bits_hit is {found}: it is \"one\", \"all\" or a probability in [0, 1]")]
pub struct BitsHitError {
    /// What it says.
    pub found: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "\"one\", \"all\" or a probability in [0, 1] is expected")]
enum Text {
    Named(String),
    Each(f64),
}

impl TryFrom<Text> for BitsHit {
    type Error = BitsHitError;

    fn try_from(text: Text) -> Result<Self, BitsHitError> {
        match text {
            Text::Named(name) if name == "one" => Ok(Self::One),
            Text::Named(name) if name == "all" => Ok(Self::All),
            Text::Named(name) => Err(BitsHitError { found: format!("`{name}`") }),
            Text::Each(rate) => {
                Rate::new(rate).map(Self::Each).map_err(|_| BitsHitError { found: rate.to_string() })
            }
        }
    }
}

impl From<BitsHit> for Text {
    fn from(hit: BitsHit) -> Self {
        match hit {
            BitsHit::One => Self::Named("one".into()),
            BitsHit::All => Self::Named("all".into()),
            BitsHit::Each(rate) => Self::Each(rate.fraction()),
        }
    }
}

/// The names that [`WordEffect::named`] knows.
pub const WORD_EFFECTS: [&str; 6] = ["flip", "set-0", "set-1", "random-value", "zero", "saturate"];

impl WordEffect {
    /// The effect of a name of [`WORD_EFFECTS`]; `None` for any other name. `hit` goes with the first three alone.
    ///
    /// `zero` is the number 0 of the tensor's format: the word 0 of floats and plain codes, the code of the middle in offset
    /// binary. A quantized tensor whose zero point is another code needs that code as [`Value::Word`].
    #[must_use]
    pub fn named(name: &str, hit: BitsHit) -> Option<Self> {
        let bits = |effect| Some(Self::Bits { effect, hit });
        match name {
            "flip" => bits(Effect::Flip),
            "set-0" => bits(Effect::Set0),
            "set-1" => bits(Effect::Set1),
            "random-value" => Some(Self::Value(Value::Random)),
            "zero" => Some(Self::Value(Value::Number(0.0))),
            "saturate" => Some(Self::Value(Value::Saturate)),
            _ => None,
        }
    }

    /// What the effect is in the words of one tensor.
    pub(super) fn in_tensor(&self, tensor: &SpaceTensor) -> Result<TensorEffect, DrawError> {
        match *self {
            Self::Bits { effect, hit } => Ok(TensorEffect::Bits(effect, hit)),
            Self::Value(value) => Ok(TensorEffect::Value(value.word(tensor)?)),
        }
    }
}

/// An effect in the words of one tensor.
#[derive(Clone, Copy, Debug)]
pub(super) enum TensorEffect {
    Bits(Effect, BitsHit),
    Value(WordValue),
}

impl TensorEffect {
    /// Adds what happens to elements, which rise. What is random hangs on the key and on each element alone.
    pub(super) fn hit(
        self,
        tensor: &SpaceTensor,
        place: usize,
        elements: &[u64],
        key: &PartKey,
        part: &mut Part<'_>,
    ) {
        let stream = |label: &'static str| key.part(label).tensor(&tensor.name);
        match self {
            Self::Bits(effect, BitsHit::All) => {
                part.add(place, effect, bits_of_words(tensor.format, tensor.mask, elements));
            }
            Self::Bits(effect, BitsHit::One) => {
                let (mut numbers, per_word) = (Numbers::new(stream("bit")), tensor.bits_per_word());
                let site = |&element: &u64| element * per_word + numbers.below(element, per_word);
                part.add(place, effect, tensor.addresses(elements.iter().map(site).collect()));
            }
            Self::Bits(effect, BitsHit::Each(rate)) => {
                let (stream, per_word) = (stream("bits"), tensor.bits_per_word());
                let of_word = |&element: &u64| {
                    let mut words = stream.words(element);
                    (0..per_word).filter(move |_| words.chance(rate)).map(move |bit| element * per_word + bit)
                };
                part.add(place, effect, tensor.addresses(elements.iter().flat_map(of_word).collect()));
            }
            Self::Value(WordValue::Fixed(word)) => set(part, place, tensor, elements, |_| word),
            Self::Value(WordValue::Saturate) => saturate(part, place, tensor, elements),
            Self::Value(WordValue::Random) => {
                let mut numbers = Numbers::new(stream("value"));
                set(part, place, tensor, elements, |element| numbers.of(element));
            }
        }
    }
}

/// One random number for each element. Neighbours share a sequence, whose start costs as much as all its numbers.
struct Numbers {
    stream: Stream,
    sequence: Option<u64>,
    numbers: [u64; Self::SHARED as usize],
}

impl Numbers {
    /// Elements that share a sequence: as many as one step of the generator has numbers.
    const SHARED: u64 = 32;
    /// Sequences from here on belong to single elements.
    const SINGLE: u64 = 1 << 63;

    fn new(stream: Stream) -> Self {
        Self { stream, sequence: None, numbers: [0; Self::SHARED as usize] }
    }

    fn of(&mut self, element: u64) -> u64 {
        let sequence = element / Self::SHARED;
        if self.sequence != Some(sequence) {
            let mut words = self.stream.words(sequence);
            self.numbers.iter_mut().for_each(|number| *number = words.u64());
            self.sequence = Some(sequence);
        }
        self.numbers[(element % Self::SHARED) as usize]
    }

    /// Uniform below `bound`, which is not 0: multiply and, once in 2^58 times, start over with numbers of the element's own.
    fn below(&mut self, element: u64, bound: u64) -> u64 {
        let product = u128::from(self.of(element)) * u128::from(bound);
        if (product as u64) < bound.wrapping_neg() % bound {
            return self.stream.words(Self::SINGLE | element).below(bound);
        }
        (product >> 64) as u64
    }
}
