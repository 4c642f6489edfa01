//! The flips of one tensor that promise the largest rise of the loss.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::levels::Levels;
use crate::limits::Room;
use crate::search::{NonFinite, SearchConfig};
use crate::words::{AttackedTensor, BitSite};

/// A flip, and what the gradient says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The bit.
    pub site: BitSite,
    /// The gradient of the weight times the change of its level: the rise of the loss to first order, above 0.
    pub gain: f64,
}

impl Eq for Candidate {}

/// Larger gains first; of equal ones the bit that comes first.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then_with(|| other.site.cmp(&self.site))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best flips of a tensor, best first: at most `search.most` of them, each of which raises the loss to first order (SPEC 5.2,
/// step 2).
///
/// The change of a flip is that of the decoded level, whatever the encoding of the codes, so it holds for two's complement, offset,
/// sign-magnitude and Gray codes, for codes of one bit, and for the bits of floats alike.
pub(crate) fn shortlist(
    place: usize,
    tensor: &AttackedTensor,
    gradient: &[f32],
    search: &SearchConfig,
    room: &Room,
) -> Vec<Candidate> {
    let most = search.most.min(room.in_tensor(place)) as usize;
    // Which flips share a page is told only when all are sorted.
    let held = if room.limits_pages() { usize::MAX } else { most };
    let mut best: BinaryHeap<Reverse<Candidate>> = BinaryHeap::with_capacity(most.min(1 << 16) + 1);
    let words = Words { place, tensor, levels: Levels::new(tensor), nonfinite: search.nonfinite, room };
    let mut of_word = Vec::new();
    let mut visit = |element: u64| {
        // What gains less than the worst of a full list is not looked at.
        let least = best.peek().filter(|_| best.len() >= held).map_or(0.0, |worst| worst.0.gain);
        words.candidates(element, gradient[element as usize], least, &mut of_word);
        for &candidate in &of_word {
            if best.len() < held {
                best.push(Reverse(candidate));
            } else if best.peek().is_some_and(|worst| candidate > worst.0) {
                best.pop();
                best.push(Reverse(candidate));
            }
        }
    };
    match search.top_elements {
        Some(count) if count < tensor.elements() => {
            steepest(tensor, gradient, count as usize).into_iter().for_each(&mut visit);
        }
        _ => (0..tensor.elements()).for_each(&mut visit),
    }
    let mut all: Vec<Candidate> = best.into_iter().map(|Reverse(candidate)| candidate).collect();
    all.sort_unstable_by_key(|&candidate| Reverse(candidate));
    if room.limits_pages() {
        room.keep_within_pages(tensor, &mut all);
        all.truncate(most);
    }
    all
}

/// The words of a tensor, to find flips in.
struct Words<'a> {
    place: usize,
    tensor: &'a AttackedTensor,
    levels: Levels<'a>,
    nonfinite: NonFinite,
    room: &'a Room,
}

impl Words<'_> {
    /// The flips of one word that raise the loss, by `least` at least, as many as the limit on a word leaves.
    fn candidates(&self, element: u64, slope: f32, least: f64, found: &mut Vec<Candidate>) {
        found.clear();
        if slope == 0.0 || slope.is_nan() {
            return;
        }
        let Self { place, tensor, room, .. } = *self;
        let (unit, word) = (tensor.unit(element), tensor.word(element));
        let before = self.levels.level(unit, word);
        let mut bits = tensor.mask();
        while bits != 0 {
            let bit = bits.trailing_zeros();
            bits &= bits - 1;
            let after = self.levels.level(unit, word ^ 1 << bit);
            let gain = gain(slope, before, after, self.nonfinite);
            let site = BitSite { tensor: place, element, bit };
            if gain > 0.0 && gain >= least && room.allows(tensor, site) {
                found.push(Candidate { site, gain });
            }
        }
        room.keep_within_word(tensor.changed(element), found);
    }
}

/// The rise of the loss to first order. A level that is no finite number promises everything where it is allowed, else nothing.
fn gain(slope: f32, before: f32, after: f32, nonfinite: NonFinite) -> f64 {
    match (after.is_finite(), nonfinite) {
        (false, NonFinite::Exclude) => 0.0,
        (false, NonFinite::Allow) => f64::INFINITY,
        (true, _) => f64::from(slope) * (f64::from(after) - f64::from(before)),
    }
}

/// The elements with the largest gradients of their codes, in order of their place; of equal ones those that come first.
fn steepest(tensor: &AttackedTensor, gradient: &[f32], count: usize) -> Vec<u64> {
    let key = |element: u64| {
        let slope = gradient[element as usize].abs() * tensor.step(element);
        (Reverse(if slope.is_nan() { 0 } else { slope.to_bits() }), element)
    };
    let mut elements: Vec<u64> = (0..tensor.elements()).collect();
    if count < elements.len() {
        elements.select_nth_unstable_by_key(count, |&element| key(element));
        elements.truncate(count);
    }
    elements.sort_unstable();
    elements
}
