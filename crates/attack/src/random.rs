//! Random flips: what chosen ones are compared with.

use bitquake_sample::{PartKey, Words};

use crate::limits::Room;
use crate::words::{AttackedWords, BitSite};

/// Which bits are as likely as which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weighting {
    /// Every bit as likely as every other.
    Size,
    /// Every tensor as likely as every other, then every bit of it: small tensors are hit more often for their size.
    Tensor,
}

/// Draws that may miss before the bits that are left are listed.
const DRAWS: u32 = 64;

/// A random bit that is not flipped yet and that the limits allow; `None` if there is none left.
///
/// It is uniform over those bits, or over the tensors that have any and then over their bits.
#[must_use]
pub fn random_site(
    words: &AttackedWords,
    room: &Room,
    weighting: Weighting,
    key: &PartKey,
) -> Option<BitSite> {
    let mut random = key.whole().words(0);
    let open: Vec<usize> = (0..words.tensors().len()).filter(|&tensor| room.in_tensor(tensor) > 0).collect();
    match weighting {
        Weighting::Size => draw(words, room, &open, &mut random),
        Weighting::Tensor => {
            let mut open = open;
            while !open.is_empty() {
                let place = random.below(open.len() as u64) as usize;
                // Tensors without any bit left do not take part: rejecting them keeps the others equally likely.
                match draw(words, room, &open[place..=place], &mut random) {
                    Some(site) => return Some(site),
                    None => drop(open.swap_remove(place)),
                }
            }
            None
        }
    }
}

/// A bit of some tensors, each that is left as likely as the others.
fn draw(words: &AttackedWords, room: &Room, tensors: &[usize], random: &mut Words) -> Option<BitSite> {
    let total: u64 = tensors.iter().map(|&tensor| words.tensors()[tensor].bits()).sum();
    if total == 0 {
        return None;
    }
    for _ in 0..DRAWS {
        let site = site(words, tensors, random.below(total));
        if is_left(words, room, site) {
            return Some(site);
        }
    }
    let all = (0..total).map(|number| site(words, tensors, number));
    let left: Vec<BitSite> = all.filter(|&site| is_left(words, room, site)).collect();
    (!left.is_empty()).then(|| left[random.below(left.len() as u64) as usize])
}

fn is_left(words: &AttackedWords, room: &Room, site: BitSite) -> bool {
    let tensor = &words.tensors()[site.tensor];
    tensor.changed(site.element) >> site.bit & 1 == 0 && room.allows(tensor, site)
}

/// The bit with a number, counted tensor by tensor, element by element, from bit 0 up.
fn site(words: &AttackedWords, tensors: &[usize], mut number: u64) -> BitSite {
    let mut place = 0;
    while number >= words.tensors()[tensors[place]].bits() {
        number -= words.tensors()[tensors[place]].bits();
        place += 1;
    }
    let (tensor, mask) = (tensors[place], words.tensors()[tensors[place]].mask());
    let per_word = u64::from(mask.count_ones());
    let mut bits = (0..64).filter(|bit| mask >> bit & 1 == 1);
    let bit = bits.nth((number % per_word) as usize).unwrap_or(0);
    BitSite { tensor, element: number / per_word, bit }
}
