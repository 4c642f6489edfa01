//! Faults on neighbouring bits.

use bitquake_sample::{PartKey, Rate, Stream, subset_of};
use serde::{Deserialize, Serialize};

use super::DrawError;
use super::plan::{Drawn, Group, Numbering, Part, Plan};
use crate::effect::Effect;
use crate::space::{FaultSpace, SpaceTensor};

/// How many events of a kind there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Each possible event independently with this probability. Nested across rates.
    Rate(Rate),
    /// Exactly this many distinct events. Nested across counts.
    Count(u64),
}

/// Which bits are neighbours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbours {
    /// Bits of one word, by their numbers.
    #[default]
    Word,
    /// Bits of one tensor, by their bit addresses: the most significant bit of an element is followed by bit 0 of the next.
    Memory,
}

/// Faults on runs of neighbouring bits: multi-bit upsets within words, or stretches of memory.
///
/// An event has a window of `L` neighbouring bits, all of which lie in the fault space and within one word (or tensor): a burst
/// is never cut. All windows of a length are equally likely. Where bursts of one draw overlap, a bit is hit once.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// How many bursts. A rate is the probability that a window starts one: a window of length `L` does so with the rate times
    /// the share of `L`.
    pub amount: Amount,
    /// The lengths, in bits, each once, with their weights; shares are weights divided by their sum.
    pub lengths: Vec<(u64, f64)>,
    /// Which bits are neighbours.
    pub neighbours: Neighbours,
    /// The probability that a bit of the window is hit; 1 hits all of them.
    pub each: Rate,
    /// What happens to a bit that is hit.
    pub effect: Effect,
}

/// Where bursts of one length can start in one tensor: every window lies in the fault space.
#[derive(Clone, Debug)]
struct Windows {
    /// The bits of a word at which a window can start.
    starts: Vec<u64>,
    width: u64,
    count: u64,
}

impl Windows {
    fn new(tensor: &SpaceTensor, length: u64, neighbours: Neighbours) -> Self {
        let width = u64::from(tensor.format.width());
        let selected = |bit: u64| tensor.mask >> (bit % width) & 1 == 1;
        // Which bits a window covers repeats after a word.
        let inside = |start: u64| (start..start + length.min(width)).all(selected);
        let fits = |start: u64| neighbours == Neighbours::Memory || start + length <= width;
        let starts: Vec<u64> = (0..width).filter(|&start| fits(start) && inside(start)).collect();
        let count = match (neighbours, (tensor.elements * width).checked_sub(length)) {
            (_, None) => 0,
            (Neighbours::Word, _) => tensor.elements * starts.len() as u64,
            (Neighbours::Memory, Some(last)) => {
                let in_last_word = starts.iter().filter(|&&start| start <= last % width).count() as u64;
                last / width * starts.len() as u64 + in_last_word
            }
        };
        Self { starts, width, count }
    }

    /// The bit address at which a window starts.
    fn address(&self, window: u64) -> u64 {
        let per_word = self.starts.len() as u64;
        window / per_word * self.width + self.starts[(window % per_word) as usize]
    }
}

impl Burst {
    /// Bursts of one length within a word that flip all their bits.
    #[must_use]
    pub fn of_length(length: u64, amount: Amount) -> Self {
        Self {
            amount,
            lengths: vec![(length, 1.0)],
            neighbours: Neighbours::Word,
            each: Rate::ONE,
            effect: Effect::Flip,
        }
    }

    pub(crate) fn plan<'a>(&'a self, space: &'a FaultSpace) -> Result<Plan<'a>, DrawError> {
        let shares = shares(&self.lengths)?;
        match self.amount {
            Amount::Rate(rate) => self.at_rate(space, rate, &shares),
            Amount::Count(count) => self.exactly(space, count, shares),
        }
    }

    /// The windows of a length in every tensor, of which there must be one.
    fn windows(&self, space: &FaultSpace, length: u64) -> Result<Vec<Windows>, DrawError> {
        let of = |tensor: &SpaceTensor| Windows::new(tensor, length, self.neighbours);
        let windows: Vec<Windows> = space.tensors().iter().map(of).collect();
        if windows.iter().all(|windows| windows.count == 0) {
            return Err(DrawError::NoWindow { length });
        }
        Ok(windows)
    }

    fn at_rate<'a>(
        &'a self,
        space: &'a FaultSpace,
        rate: Rate,
        shares: &[(u64, f64)],
    ) -> Result<Plan<'a>, DrawError> {
        let mut groups = Vec::new();
        for &(length, share) in shares {
            for (place, windows) in self.windows(space, length)?.into_iter().enumerate() {
                let name = &space.tensors()[place].name;
                let (count, rate) = (windows.count, rate.scaled(share));
                let add = move |key: &PartKey, drawn: Drawn, part: &mut Part<'a>| {
                    let bits = bits_of(&bursts_of(key, length), name);
                    part.add(place, self.effect, self.hit(&windows, length, drawn.hits, &bits));
                };
                groups.push(Group::new(move |key| bursts_of(key, length).tensor(name), count, rate, add));
            }
        }
        Ok(Plan::Trials(groups))
    }

    /// The length of the n-th burst hangs on n alone, and its window is the next of a random order of all windows of that
    /// length; so more bursts add to fewer.
    fn exactly<'a>(
        &'a self,
        space: &'a FaultSpace,
        count: u64,
        shares: Vec<(u64, f64)>,
    ) -> Result<Plan<'a>, DrawError> {
        let windows_of = |&(length, _): &(u64, f64)| {
            let windows = self.windows(space, length)?;
            let numbering = Numbering::new(space, |place, _| windows[place].count);
            Ok((length, windows, numbering))
        };
        let all = shares.iter().map(windows_of).collect::<Result<Vec<_>, DrawError>>()?;
        Ok(Plan::Certain(Box::new(move |key, part| {
            for ((length, windows, numbering), count) in
                all.iter().zip(counts_of_lengths(key, count, &shares))
            {
                let key = bursts_of(key, *length);
                let chosen = subset_of(&key.whole(), numbering.all(), count)
                    .map_err(|error| DrawError::TooMany { what: "bursts", error })?;
                numbering.divide(&chosen, |place, chosen| {
                    let bits = bits_of(&key, &space.tensors()[place].name);
                    part.add(place, self.effect, self.hit(&windows[place], *length, chosen, &bits));
                });
            }
            Ok(())
        })))
    }

    /// The bits that the bursts of these windows hit.
    fn hit(&self, windows: &Windows, length: u64, chosen: Vec<u64>, bits: &Stream) -> Vec<u64> {
        let mut addresses = Vec::with_capacity(chosen.len());
        for window in chosen {
            let start = windows.address(window);
            let bits_of_window = start..start + length;
            if self.each == Rate::ONE {
                addresses.extend(bits_of_window);
            } else {
                let mut words = bits.words(window);
                addresses.extend(bits_of_window.filter(|_| words.chance(self.each)));
            }
        }
        addresses
    }
}

/// The key of the bursts of one length.
fn bursts_of(key: &PartKey, length: u64) -> PartKey {
    key.part(format!("burst {length}"))
}

/// The stream that decides which bits of a burst are hit.
fn bits_of(bursts: &PartKey, tensor: &str) -> Stream {
    bursts.part("bits").tensor(tensor)
}

/// Lengths with their shares, which add up to 1.
fn shares(lengths: &[(u64, f64)]) -> Result<Vec<(u64, f64)>, DrawError> {
    let total: f64 = lengths.iter().map(|(_, weight)| weight).sum();
    let twice = |place: usize, length: u64| lengths[..place].iter().any(|(other, _)| *other == length);
    for (place, &(length, weight)) in lengths.iter().enumerate() {
        if length == 0 || !(0.0..f64::INFINITY).contains(&weight) || twice(place, length) {
            return Err(DrawError::Lengths { length, weight });
        }
    }
    if total > 0.0 && total.is_finite() {
        Ok(lengths.iter().map(|&(length, weight)| (length, weight / total)).collect())
    } else {
        Err(DrawError::Lengths { length: 0, weight: total })
    }
}

/// How many of the first `count` bursts have each length.
fn counts_of_lengths(key: &PartKey, count: u64, shares: &[(u64, f64)]) -> Vec<u64> {
    let mut counts = vec![0; shares.len()];
    let last = shares.len() - 1;
    if last == 0 {
        return vec![count];
    }
    let mut words = key.part("lengths").whole().words(0);
    for _ in 0..count {
        let mut rest = 1.0;
        let is_chosen = |&at: &usize| {
            let chosen = words.chance(Rate::clamped(shares[at].1 / rest));
            rest -= shares[at].1;
            chosen
        };
        counts[(0..last).find(is_chosen).unwrap_or(last)] += 1;
    }
    counts
}
