//! Progressive bit search (Rakin et al., "Bit-Flip Attack" (2019); SPEC 5.2): greedy, one group of flips a step.

use bitquake_sample::PartKey;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::candidates::{Candidate, shortlist};
use crate::error::AttackError;
use crate::limits::Room;
use crate::random::{Weighting, random_site};
use crate::victim::{Change, Slopes, Victim};
use crate::words::{AttackedTensor, AttackedWords, BitSite};

/// `[attack.search]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SearchConfig {
    /// Elements of a tensor that are looked at: those whose codes have the largest gradients. All by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_elements: Option<u64>,
    /// Flips of a tensor that are tried together at first; 1 by default.
    pub candidates: u64,
    /// The most that are; 64 by default. Where not even these raise the loss, the search ends.
    pub most: u64,
    /// How their number grows while nothing raises the loss.
    pub growth: Growth,
    /// What happens when no flip raises the loss to first order.
    pub flat: Flat,
    /// What happens to levels and losses that are no finite numbers.
    pub nonfinite: NonFinite,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            top_elements: None,
            candidates: 1,
            most: 64,
            growth: Growth::Double,
            flat: Flat::End,
            nonfinite: NonFinite::Exclude,
        }
    }
}

/// How the number of flips that are tried together grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// It doubles.
    Double,
    /// By one, as in the published search.
    One,
}

/// What happens when no flip raises the loss to first order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flat {
    /// The search ends.
    End,
    /// A random bit is flipped, whatever it does to the loss (SPEC 4.3).
    Random,
}

/// What happens to levels and losses that are no finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NonFinite {
    /// Flips that lead to them are not made.
    Exclude,
    /// They count as larger than every number.
    Allow,
}

impl SearchConfig {
    /// That a step tries something.
    ///
    /// # Errors
    /// The key that is 0, or the most flips below the first ones.
    pub fn check(&self) -> Result<(), String> {
        let zero = |key: &str| Err(format!("{key} is 0; it must be at least 1"));
        if self.top_elements == Some(0) {
            return zero("top_elements");
        }
        if self.candidates == 0 {
            return zero("candidates");
        }
        if self.most < self.candidates {
            return Err(format!("most {} is below candidates {}", self.most, self.candidates));
        }
        Ok(())
    }

    /// The next number of flips to try together; `None` beyond the most.
    fn grown(&self, size: u64) -> Option<u64> {
        let next = match self.growth {
            Growth::Double => size.saturating_mul(2),
            Growth::One => size.saturating_add(1),
        };
        (size < self.most).then(|| next.min(self.most))
    }
}

/// What one step of the search gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Flips to make.
    Flips(Chosen),
    /// No flips that were tried raise the loss.
    NoIncrease(Effort),
    /// The loss is no finite number any more: there is nothing to raise.
    NotFinite {
        /// The loss.
        loss: f64,
    },
}

/// The flips of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The bits, all of one tensor, the one with the largest gain first.
    pub sites: Vec<BitSite>,
    /// The loss before.
    pub loss_before: f64,
    /// The loss with these flips; not known of a random one.
    pub loss: Option<f64>,
    /// What it took to find them.
    pub effort: Effort,
}

/// What a step took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Sets of flips whose loss was computed.
    pub probes: u64,
    /// Those whose loss was no finite number.
    pub nonfinite: u64,
}

/// One step: which flips raise the loss most.
///
/// In each tensor the flips are ranked by their gain to first order, and the best few are tried together; of all tensors, the one
/// with the largest loss is taken if that is above the present loss. If not, more flips are tried together, up to `most`. `key` is
/// for the random bit of [`Flat::Random`]. Nothing is changed.
///
/// # Errors
/// What the network says.
pub fn step(
    words: &AttackedWords,
    victim: &mut dyn Victim,
    config: &SearchConfig,
    room: &Room,
    key: &PartKey,
) -> Result<Step, AttackError> {
    let slopes = victim.slopes()?;
    if !slopes.loss.is_finite() {
        return Ok(Step::NotFinite { loss: slopes.loss });
    }
    let mut search = Search::new(words, config, room, &slopes);
    if search.lists.iter().all(Vec::is_empty) && config.flat == Flat::Random {
        return Ok(random_step(words, room, &slopes, key));
    }
    let mut size = Some(config.candidates);
    while let Some(count) = size {
        let best = search.round(victim, count as usize)?;
        if let Some((tensor, loss)) = best.filter(|(_, loss)| *loss > slopes.loss) {
            return Ok(Step::Flips(search.chosen(tensor, loss, &slopes)));
        }
        size = config.grown(count).filter(|_| search.has_more());
    }
    Ok(Step::NoIncrease(search.effort))
}

fn random_step(words: &AttackedWords, room: &Room, slopes: &Slopes, key: &PartKey) -> Step {
    let effort = Effort::default();
    match random_site(words, room, Weighting::Size, key) {
        Some(site) => Step::Flips(Chosen { sites: vec![site], loss_before: slopes.loss, loss: None, effort }),
        None => Step::NoIncrease(effort),
    }
}

/// The state of one step.
struct Search<'a> {
    words: &'a AttackedWords,
    nonfinite: NonFinite,
    /// Of each tensor the flips that may be tried, best first.
    lists: Vec<Vec<Candidate>>,
    /// Of each tensor how many flips were tried together last; 0 if none.
    tried: Vec<usize>,
    effort: Effort,
}

impl<'a> Search<'a> {
    fn new(words: &'a AttackedWords, config: &SearchConfig, room: &Room, slopes: &Slopes) -> Self {
        let tensors: Vec<(&AttackedTensor, &Vec<f32>)> =
            words.tensors().iter().zip(&slopes.gradients).collect();
        let lists: Vec<Vec<Candidate>> = tensors
            .into_par_iter()
            .enumerate()
            .map(|(place, (tensor, gradient))| shortlist(place, tensor, gradient, config, room))
            .collect();
        let tried = vec![0; lists.len()];
        Self { words, nonfinite: config.nonfinite, lists, tried, effort: Effort::default() }
    }

    /// Tries the best `count` flips of every tensor, and tells which gives the largest loss; of equal ones the first. Tensors that
    /// have no other flips than those tried before are passed over.
    fn round(&mut self, victim: &mut dyn Victim, count: usize) -> Result<Option<(usize, f64)>, AttackError> {
        let mut best: Option<(usize, f64)> = None;
        let is_new = |search: &Self, &tensor: &usize| {
            let size = count.min(search.lists[tensor].len());
            size > 0 && size != search.tried[tensor]
        };
        let mut open: Vec<usize> = (0..self.lists.len()).filter(|tensor| is_new(self, tensor)).collect();
        while !open.is_empty() {
            let probes: Vec<Vec<Change>> = open.iter().map(|&tensor| self.probe(tensor, count)).collect();
            let losses = victim.losses(&probes)?;
            self.effort.probes += probes.len() as u64;
            let mut again = Vec::new();
            for (&tensor, loss) in open.iter().zip(losses) {
                match self.judged(loss) {
                    Some(loss) => {
                        self.tried[tensor] = count.min(self.lists[tensor].len());
                        if best.is_none_or(|(place, most)| loss > most || (loss == most && tensor < place)) {
                            best = Some((tensor, loss));
                        }
                    }
                    None => {
                        self.set_aside(tensor, count);
                        again.push(tensor);
                    }
                }
            }
            again.retain(|tensor| is_new(self, tensor));
            open = again;
        }
        Ok(best)
    }

    /// The loss as it counts; `None` for one that excludes its flips.
    fn judged(&mut self, loss: f64) -> Option<f64> {
        if loss.is_finite() {
            return Some(loss);
        }
        self.effort.nonfinite += 1;
        (self.nonfinite == NonFinite::Allow).then_some(f64::INFINITY)
    }

    /// Takes the flips that were just tried off the list of a tensor.
    fn set_aside(&mut self, tensor: usize, count: usize) {
        let list = &mut self.lists[tensor];
        list.drain(..count.min(list.len()));
        self.tried[tensor] = 0;
    }

    /// Whether any tensor has more flips than were tried together.
    fn has_more(&self) -> bool {
        self.lists.iter().zip(&self.tried).any(|(list, &tried)| list.len() > tried)
    }

    fn sites(&self, tensor: usize, count: usize) -> Vec<BitSite> {
        self.lists[tensor].iter().take(count).map(|candidate| candidate.site).collect()
    }

    fn probe(&self, tensor: usize, count: usize) -> Vec<Change> {
        changes(self.words, &self.sites(tensor, count))
    }

    fn chosen(&self, tensor: usize, loss: f64, slopes: &Slopes) -> Chosen {
        let sites = self.sites(tensor, self.tried[tensor]);
        Chosen { sites, loss_before: slopes.loss, loss: Some(loss), effort: self.effort }
    }
}

/// What flips do to weights: each word that is hit is decoded once, with all its flips.
pub(crate) fn changes(words: &AttackedWords, sites: &[BitSite]) -> Vec<Change> {
    let mut masks: Vec<(usize, u64, u32)> = Vec::new();
    for site in sites {
        match masks.iter_mut().find(|(tensor, element, _)| (*tensor, *element) == (site.tensor, site.element))
        {
            Some((_, _, mask)) => *mask ^= 1 << site.bit,
            None => masks.push((site.tensor, site.element, 1 << site.bit)),
        }
    }
    let change = |(tensor, element, mask): (usize, u64, u32)| {
        let attacked = &words.tensors()[tensor];
        Change { tensor, element, level: attacked.level(element, attacked.word(element) ^ mask) }
    };
    masks.into_iter().map(change).collect()
}
