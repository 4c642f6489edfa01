//! What a model is going to draw: the same for an ordinary draw and for one that is known to hit something, and for every key.

use bitquake_sample::{BernoulliDraw, PartKey, Rate, Scratch, Stream, Trials};

use super::DrawError;
use crate::effect::Effect;
use crate::faults::{Faults, TensorFaults};
use crate::space::{FaultSpace, SpaceTensor};

/// The draw of one model, prepared for any key.
pub(crate) enum Plan<'a> {
    /// Groups of independent trials.
    Trials(Vec<Group<'a>>),
    /// Always as many faults: counts and explicit sites.
    Certain(DrawAll<'a>),
    /// Each cell with a probability of its own.
    Cells(DrawAll<'a>),
}

/// Draws everything with a key.
pub(crate) type DrawAll<'a> =
    Box<dyn Fn(&PartKey, &mut Part<'a>) -> Result<(), DrawError> + Send + Sync + 'a>;
type StreamOf<'a> = Box<dyn Fn(&PartKey) -> Stream + Send + Sync + 'a>;
type PlaceHits<'a> = Box<dyn Fn(&PartKey, Drawn, &mut Part<'a>) + Send + Sync + 'a>;

/// Independent trials at one rate, and what their hits mean.
pub(crate) struct Group<'a> {
    /// The stream that decides which trials hit.
    pub(crate) stream: StreamOf<'a>,
    pub(crate) trials: Trials,
    /// A rate below that of the trials, at which a subset of the hits is told apart.
    pub(crate) lower: Option<Rate>,
    /// Turns hits into faults; what else is random about them hangs on the key.
    pub(crate) place: PlaceHits<'a>,
}

/// The hits of a group, sorted.
#[derive(Default)]
pub(crate) struct Drawn {
    pub(crate) hits: Vec<u64>,
    /// Those of them that are hits at the lower rate too.
    pub(crate) lower: Vec<u64>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(
        stream: impl Fn(&PartKey) -> Stream + Send + Sync + 'a,
        sites: u64,
        rate: Rate,
        place: impl Fn(&PartKey, Drawn, &mut Part<'a>) + Send + Sync + 'a,
    ) -> Self {
        Self { stream: Box::new(stream), trials: Trials { sites, rate }, lower: None, place: Box::new(place) }
    }

    pub(crate) fn draw(&self, key: &PartKey, scratch: &mut Scratch) -> Drawn {
        let stream = (self.stream)(key);
        let mut sites =
            |rate| BernoulliDraw::new_in(&stream, self.trials.sites, rate, scratch).sites_by(scratch);
        Drawn { hits: sites(self.trials.rate), lower: self.lower.map(&mut sites).unwrap_or_default() }
    }
}

/// The faults of one model, being collected.
///
/// A bit that one model hits several times with one effect is hit once: bursts that overlap do not cancel, so that raising a rate
/// only adds faults.
pub(crate) struct Part<'a> {
    space: &'a FaultSpace,
    /// Lists of bit addresses, each of a tensor of the space.
    lists: Vec<(usize, Effect, Vec<u64>)>,
}

impl<'a> Part<'a> {
    pub(crate) fn new(space: &'a FaultSpace) -> Self {
        Self { space, lists: Vec::new() }
    }

    /// Adds bit addresses, in any order and perhaps some twice, of one tensor of the space.
    pub(crate) fn add(&mut self, tensor: usize, effect: Effect, mut addresses: Vec<u64>) {
        sort_once(&mut addresses);
        self.add_rising(tensor, effect, addresses);
    }

    /// Adds bit addresses that are known to rise, which the longest lists are.
    pub(crate) fn add_rising(&mut self, tensor: usize, effect: Effect, addresses: Vec<u64>) {
        debug_assert!(is_rising(&addresses), "addresses that do not rise");
        if !addresses.is_empty() {
            self.lists.push((tensor, effect, addresses));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    pub(crate) fn finish(mut self) -> Result<Faults, DrawError> {
        if self.lists.len() > 1 {
            self.lists.sort_by_key(|(tensor, ..)| *tensor);
        }
        let mut lists = self.lists.into_iter().peekable();
        let mut faults = Vec::new();
        while let Some((place, ..)) = lists.peek() {
            let (place, tensor) = (*place, &self.space.tensors()[*place]);
            let its_lists = std::iter::from_fn(|| lists.next_if(|(other, ..)| *other == place));
            let its_lists = one_list_an_effect(its_lists.map(|(_, effect, list)| (effect, list)));
            faults.push(TensorFaults::new(tensor.name.clone(), tensor.format, tensor.elements, its_lists));
        }
        Ok(Faults::of_sound(faults)?)
    }
}

/// Rising lists, one for each effect.
fn one_list_an_effect(
    lists: impl Iterator<Item = (Effect, Vec<u64>)>,
) -> impl Iterator<Item = (Effect, Vec<u64>)> {
    let (mut by_effect, mut several) = (<[Vec<u64>; Effect::COUNT]>::default(), [false; Effect::COUNT]);
    for (effect, list) in lists {
        let all = &mut by_effect[effect as usize];
        if all.is_empty() {
            *all = list;
        } else {
            all.extend(list);
            several[effect as usize] = true;
        }
    }
    by_effect.iter_mut().zip(several).filter(|(_, several)| *several).for_each(|(list, _)| sort_once(list));
    Effect::ALL.into_iter().zip(by_effect)
}

fn is_rising(addresses: &[u64]) -> bool {
    addresses.is_sorted_by(|a, b| a < b)
}

fn sort_once(addresses: &mut Vec<u64>) {
    if !is_rising(addresses) {
        addresses.sort();
        addresses.dedup();
    }
}

/// Numbers that count over the whole space, tensor after tensor in file order.
pub(crate) struct Numbering {
    /// For each tensor, the first number behind it.
    ends: Vec<u64>,
}

impl Numbering {
    /// `size` tells how many numbers belong to a tensor.
    pub(crate) fn new(space: &FaultSpace, size: impl Fn(usize, &SpaceTensor) -> u64) -> Self {
        let mut end = 0;
        let one = |(place, tensor)| {
            end += size(place, tensor);
            end
        };
        Self { ends: space.tensors().iter().enumerate().map(one).collect() }
    }

    /// How many numbers there are.
    pub(crate) fn all(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Divides sorted numbers among the tensors, counted from each tensor's start; only tensors that have some are told.
    pub(crate) fn divide(&self, mut chosen: &[u64], mut tell: impl FnMut(usize, Vec<u64>)) {
        while let Some(&first) = chosen.first() {
            let place = self.ends.partition_point(|&end| end <= first);
            let start = if place == 0 { 0 } else { self.ends[place - 1] };
            let (here, after) = chosen.split_at(chosen.partition_point(|&number| number < self.ends[place]));
            tell(place, here.iter().map(|number| number - start).collect());
            chosen = after;
        }
    }
}
