//! What a model is going to draw: the same for an ordinary draw and for one that is known to hit something.

use bitquake_sample::{BernoulliDraw, Rate, Stream, Trials};

use super::DrawError;
use crate::effect::Effect;
use crate::faults::{Faults, TensorFaults};
use crate::space::{FaultSpace, SpaceTensor};

/// The draw of one model for one trial.
pub(crate) enum Plan<'a> {
    /// Groups of independent trials.
    Trials(Vec<Group<'a>>),
    /// Already drawn, and always as many: counts and explicit sites.
    Certain(Part<'a>),
    /// Already drawn, each cell with a probability of its own.
    Cells(Part<'a>),
}

type PlaceHits<'a> = Box<dyn Fn(Drawn, &mut Part<'a>) + 'a>;

/// Independent trials at one rate, and what their hits mean.
pub(crate) struct Group<'a> {
    pub(crate) stream: Stream,
    pub(crate) trials: Trials,
    /// A rate below that of the trials, at which a subset of the hits is told apart.
    pub(crate) lower: Option<Rate>,
    /// Turns hits into faults.
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
        stream: Stream,
        sites: u64,
        rate: Rate,
        place: impl Fn(Drawn, &mut Part<'a>) + 'a,
    ) -> Self {
        Self { stream, trials: Trials { sites, rate }, lower: None, place: Box::new(place) }
    }

    pub(crate) fn draw(&self) -> Drawn {
        let sites = |rate| BernoulliDraw::new(&self.stream, self.trials.sites, rate).sites();
        Drawn { hits: sites(self.trials.rate), lower: self.lower.map(sites).unwrap_or_default() }
    }
}

/// The faults of one model, being collected.
///
/// A bit that one model hits several times with one effect is hit once: bursts that overlap do not cancel, so that raising a rate
/// only adds faults.
pub(crate) struct Part<'a> {
    space: &'a FaultSpace,
    /// For each tensor of the space, lists of bit addresses.
    lists: Vec<Vec<(Effect, Vec<u64>)>>,
}

impl<'a> Part<'a> {
    pub(crate) fn new(space: &'a FaultSpace) -> Self {
        Self { space, lists: vec![Vec::new(); space.tensors().len()] }
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
            self.lists[tensor].push((effect, addresses));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lists.iter().all(Vec::is_empty)
    }

    pub(crate) fn finish(self) -> Result<Faults, DrawError> {
        let tensors = self.space.tensors().iter().zip(self.lists).filter(|(_, lists)| !lists.is_empty());
        let faults = tensors.map(|(tensor, lists)| {
            TensorFaults::new(tensor.name.clone(), tensor.format, tensor.elements, one_list_an_effect(lists))
        });
        Ok(Faults::of_sound(faults.collect())?)
    }
}

/// Rising lists, one for each effect.
fn one_list_an_effect(lists: Vec<(Effect, Vec<u64>)>) -> impl Iterator<Item = (Effect, Vec<u64>)> {
    let (mut by_effect, mut several) = (<[Vec<u64>; 5]>::default(), [false; 5]);
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

/// Divides sorted numbers that count over the whole space, tensor after tensor in file order, among the tensors. `size` tells
/// how many belong to a tensor.
pub(crate) fn by_tensor(
    space: &FaultSpace,
    size: impl Fn(usize, &SpaceTensor) -> u64,
    chosen: &[u64],
) -> Vec<Vec<u64>> {
    let (mut rest, mut start) = (chosen, 0);
    let one = |(place, tensor)| {
        let end = start + size(place, tensor);
        let (here, after) = rest.split_at(rest.partition_point(|&number| number < end));
        let numbers = here.iter().map(|number| number - start).collect();
        (rest, start) = (after, end);
        numbers
    };
    space.tensors().iter().enumerate().map(one).collect()
}
