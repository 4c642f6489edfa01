//! One way over all bits: scores to a file, the best ones, strata, and the scores of some.

use std::ops::Range;

use rayon::prelude::*;

use crate::error::AttackError;
use crate::rank::bits::{BitScores, TensorScores};
use crate::rank::strata::Stratum;
use crate::rank::top::{RankedBit, Top};
use crate::words::{AttackedTensor, AttackedWords, BitSite};

/// Elements that a thread scores at once. Sums are taken chunk by chunk, in order, so it decides their rounding, and threads do not.
const CHUNK: u64 = 1 << 14;
/// Elements whose scores are held at once.
const BLOCK: u64 = 1 << 19;

/// What is wanted of the scores.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// How many of the best bits.
    pub top: usize,
    /// Bits whose scores are wanted, rising.
    pub sample: &'a [BitSite],
}

/// What scoring all bits gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Scored {
    /// The bits with the largest scores, best first; of equal ones those that come first.
    pub top: Vec<RankedBit>,
    /// The strata, by tensor, then by bit.
    pub strata: Vec<Stratum>,
    /// The scores of the sample.
    pub sampled: Vec<f64>,
}

/// What takes scores as they come.
pub type Save<'a> = &'a mut dyn FnMut(&[f32]) -> Result<(), AttackError>;

/// Scores every bit of the words that may be flipped.
///
/// `save`, if there is one, gets the scores of all bits of all words, the words in their order, the least significant bit first, rounded to float32 (beyond its
/// range to the largest float) and NaN for a bit that is not ranked. Results do not depend on the number of threads.
///
/// # Errors
/// What `save` says.
pub fn score_bits(
    words: &AttackedWords,
    scores: &BitScores<'_>,
    demand: Demand<'_>,
    mut save: Option<Save<'_>>,
) -> Result<Scored, AttackError> {
    let mut top = Top::new(demand.top);
    let (mut strata, mut sampled) = (Vec::new(), Vec::new());
    for (place, tensor) in words.tensors().iter().enumerate() {
        let mut of_tensor: Vec<Stratum> = bits(tensor).map(|bit| Stratum::new(place, bit)).collect();
        let scorer = Scorer {
            scores: scores.of_tensor(place, words),
            tensor,
            place,
            sample: sample_of(demand.sample, place),
            top: demand.top,
            keeps: save.is_some(),
        };
        for block in ranges(0..tensor.elements(), BLOCK) {
            let floor = top.floor();
            let chunks: Vec<Range<u64>> = ranges(block, CHUNK).collect();
            let chunks: Vec<Chunk> =
                chunks.into_par_iter().map(|elements| scorer.chunk(elements, floor)).collect();
            for chunk in chunks {
                chunk.top.into_sorted().into_iter().for_each(|bit| top.push(bit));
                of_tensor.iter_mut().zip(&chunk.strata).for_each(|(all, part)| all.merge(part));
                sampled.extend(chunk.sampled);
                if let Some(save) = &mut save {
                    save(&chunk.kept)?;
                }
            }
        }
        strata.extend(of_tensor);
    }
    Ok(Scored { top: top.into_sorted(), strata, sampled })
}

/// The bits of a tensor's words that may be flipped.
fn bits(tensor: &AttackedTensor) -> impl Iterator<Item = u32> + use<> {
    let mask = tensor.mask();
    (0..tensor.format().width()).filter(move |bit| mask >> bit & 1 == 1)
}

fn ranges(all: Range<u64>, size: u64) -> impl Iterator<Item = Range<u64>> {
    let end = all.end;
    all.step_by(size as usize).map(move |start| start..(start + size).min(end))
}

fn sample_of(sample: &[BitSite], tensor: usize) -> &[BitSite] {
    let from = sample.partition_point(|site| site.tensor < tensor);
    let to = sample.partition_point(|site| site.tensor <= tensor);
    &sample[from..to]
}

/// What scores a tensor.
struct Scorer<'a> {
    scores: TensorScores<'a>,
    tensor: &'a AttackedTensor,
    place: usize,
    sample: &'a [BitSite],
    top: usize,
    keeps: bool,
}

/// What some elements of a tensor give.
struct Chunk {
    top: Top,
    strata: Vec<Stratum>,
    sampled: Vec<f64>,
    kept: Vec<f32>,
}

impl Scorer<'_> {
    /// `floor` is what scores must be above to be among the best.
    fn chunk(&self, elements: Range<u64>, floor: f64) -> Chunk {
        let width = self.tensor.format().width() as usize;
        let bits: Vec<u32> = bits(self.tensor).collect();
        let mut strata: Vec<Stratum> = bits.iter().map(|&bit| Stratum::new(self.place, bit)).collect();
        let kept = if self.keeps { width * (elements.end - elements.start) as usize } else { 0 };
        let mut kept = Vec::with_capacity(kept);
        let (mut top, mut floor) = (Top::new(self.top), floor);
        let from = self.sample.partition_point(|site| site.element < elements.start);
        let mut sample = self.sample[from..].iter().peekable();
        let mut sampled = Vec::new();
        let mut scores = [0.0; 64];
        let scores = &mut scores[..width];
        for element in elements {
            self.scores.word(element, scores);
            for (stratum, &bit) in strata.iter_mut().zip(&bits) {
                let score = scores[bit as usize];
                stratum.add(score);
                if score > floor {
                    let site = BitSite { tensor: self.place, element, bit };
                    top.push(RankedBit { site, score });
                    floor = floor.max(top.floor());
                }
            }
            while let Some(site) = sample.next_if(|site| site.element == element) {
                sampled.push(scores[site.bit as usize]);
            }
            if self.keeps {
                let mask = self.tensor.mask();
                kept.extend((0..).zip(&*scores).map(|(bit, &score)| kept_score(score, mask >> bit & 1 == 1)));
            }
        }
        Chunk { top, strata, sampled, kept }
    }
}

/// A score as it is saved.
fn kept_score(score: f64, is_ranked: bool) -> f32 {
    match is_ranked {
        false => f32::NAN,
        true if score == f64::INFINITY => f32::INFINITY,
        true => (score as f32).clamp(f32::MIN, f32::MAX),
    }
}

/// The bits with these numbers, which rise: bits that may be flipped are counted tensor by tensor, word by word, the least significant first.
pub(crate) fn numbered_bits(words: &AttackedWords, numbers: &[u64]) -> Vec<BitSite> {
    let mut sites = Vec::with_capacity(numbers.len());
    let (mut first, mut rest) = (0, numbers);
    for (place, tensor) in words.tensors().iter().enumerate() {
        let bits: Vec<u32> = bits(tensor).collect();
        let (here, after) = rest.split_at(rest.partition_point(|&number| number < first + tensor.bits()));
        let site = |&number: &u64| BitSite {
            tensor: place,
            element: (number - first) / bits.len() as u64,
            bit: bits[((number - first) % bits.len() as u64) as usize],
        };
        sites.extend(here.iter().map(site));
        (first, rest) = (first + tensor.bits(), after);
    }
    sites
}
