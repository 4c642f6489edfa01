//! Faults that have been drawn and have not met the stored bits yet.

use std::collections::BTreeMap;

use bitquake_bits::{Format, WordStore};
use rayon::prelude::*;

use crate::effect::Effect;
use crate::pattern::{FaultPattern, PatternError, TensorFlips};
use crate::saturate::extremes;

/// The faults of one tensor: at most one effect on each bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFaults {
    /// The tensor's name.
    pub tensor: String,
    /// Its format when the faults were drawn.
    pub format: Format,
    /// Its number of elements when the faults were drawn.
    pub elements: u64,
    /// For each of `Effect::ALL`, its bit addresses, rising; no address is in two lists.
    lists: [Vec<u64>; Effect::COUNT],
}

/// Which bits of which tensors have which fault: what a [`FaultModel`](crate::FaultModel) draws.
///
/// What a fault does depends on the stored bit: a stuck-at-0 on a 0 is dormant. [`resolve`](Self::resolve) looks at the bits
/// and gives the [`FaultPattern`]. Tensors are sorted by name and have at least one fault.
///
/// ```
/// use bitquake_bits::Format;
/// use bitquake_fault::{Effect, Faults, TensorFaults};
/// let both = [(Effect::Flip, vec![0, 7]), (Effect::Set0, vec![7])];
/// let faults = Faults::new(vec![TensorFaults::new("w", Format::U8, 1, both)])?;
/// assert_eq!(faults.tensors()[0].addresses(Effect::Set0), [7], "stuck-at beats a flip");
/// assert_eq!(faults.faults(), 2);
/// # Ok::<(), bitquake_fault::PatternError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    tensors: Vec<TensorFaults>,
}

/// Faults that have met the stored bits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The bits that change.
    pub pattern: FaultPattern,
    /// Faults that are present: the flips of the pattern and the dormant ones.
    pub faults: u64,
    /// Faults that are present and change nothing, such as stuck-at-0 on a 0.
    pub dormant: u64,
}

impl TensorFaults {
    /// The faults of a tensor from lists of bit addresses, each list rising; where lists meet, effects combine
    /// ([`Effect::combine`]).
    pub fn new(
        tensor: impl Into<String>,
        format: Format,
        elements: u64,
        lists: impl IntoIterator<Item = (Effect, Vec<u64>)>,
    ) -> Self {
        let lists: Vec<(Effect, Vec<u64>)> = lists.into_iter().filter(|(_, list)| !list.is_empty()).collect();
        Self { tensor: tensor.into(), format, elements, lists: combined(lists) }
    }

    /// The bit addresses (element times width plus bit) that have an effect, rising.
    #[must_use]
    pub fn addresses(&self, effect: Effect) -> &[u64] {
        &self.lists[effect as usize]
    }

    /// How many bits have an effect.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.lists.iter().map(|list| list.len() as u64).sum()
    }

    fn into_lists(self) -> impl Iterator<Item = (Effect, Vec<u64>)> {
        Effect::ALL.into_iter().zip(self.lists)
    }

    fn flips(&self, addresses: Vec<u64>) -> TensorFlips {
        let (tensor, format, elements) = (self.tensor.clone(), self.format, self.elements);
        TensorFlips { tensor, format, elements, addresses }
    }

    /// That every list is rising and within the tensor.
    fn check(&self) -> Result<(), PatternError> {
        let width = u64::from(self.format.width());
        let sound = |list: &&Vec<u64>| {
            list.is_sorted_by(|a, b| a < b) && list.last().is_none_or(|last| last / width < self.elements)
        };
        match self.lists.iter().find(|list| !sound(list)) {
            None => Ok(()),
            // A pattern of the same addresses knows what is wrong with them.
            Some(list) => FaultPattern::new(vec![self.flips(list.clone())]).map(drop),
        }
    }

    fn check_same_tensor(&self, format: Format, elements: u64) -> Result<(), PatternError> {
        let tensor = || self.tensor.clone();
        if self.format != format {
            Err(PatternError::OtherFormat { tensor: tensor(), wanted: self.format, found: format })
        } else if self.elements != elements {
            Err(PatternError::OtherSize { tensor: tensor(), wanted: self.elements, found: elements })
        } else {
            Ok(())
        }
    }

    /// The flips, the faults present and the dormant ones, when `bit` tells what is stored.
    fn meet(&self, bit: impl Fn(u64) -> bool + Sync) -> (TensorFlips, u64, u64) {
        let (mut flips, mut faults, mut dormant) = (Vec::new(), 0, 0);
        for (&effect, list) in Effect::ALL.iter().zip(&self.lists) {
            let changed = self.changing(effect, list, &bit);
            let idle = (list.len() - changed.len()) as u64;
            // A stuck bit that changes nothing is there all the same; a direction that does not fit is no fault.
            if matches!(effect, Effect::Set0 | Effect::Set1 | Effect::Saturate) {
                dormant += idle;
            }
            faults += changed.len() as u64;
            merge_into(&mut flips, changed);
        }
        (self.flips(flips), faults + dormant, dormant)
    }

    /// The addresses whose bits the effect changes.
    fn changing(&self, effect: Effect, addresses: &[u64], bit: &(impl Fn(u64) -> bool + Sync)) -> Vec<u64> {
        const FEW: usize = 1 << 15;
        let (width, extremes) = (u64::from(self.format.width()), extremes(self.format));
        let saturated = |address: u64| {
            let place = address % width;
            let extreme = extremes[usize::from(bit(address - place + width - 1))];
            extreme >> place & 1 == 1
        };
        let changes = |address: &u64| {
            let stored = bit(*address);
            effect.read(stored).unwrap_or_else(|| saturated(*address)) != stored
        };
        match effect {
            Effect::Flip => addresses.to_vec(),
            _ if addresses.len() < FEW => addresses.iter().copied().filter(changes).collect(),
            _ => addresses.par_iter().copied().filter(changes).collect(),
        }
    }
}

/// Adds rising addresses to others, keeping them in order.
fn merge_into(all: &mut Vec<u64>, more: Vec<u64>) {
    if all.is_empty() {
        *all = more;
    } else if !more.is_empty() {
        all.extend(more);
        // The stable sort finds the two runs and merges them.
        all.sort();
    }
}

/// Lists with one effect a bit.
fn combined(lists: Vec<(Effect, Vec<u64>)>) -> [Vec<u64>; Effect::COUNT] {
    let mut by_effect = <[Vec<u64>; Effect::COUNT]>::default();
    if are_apart(&lists) {
        lists.into_iter().for_each(|(effect, list)| by_effect[effect as usize] = list);
        return by_effect;
    }
    let tagged = lists.into_iter().flat_map(|(effect, list)| list.into_iter().map(move |at| (at, effect)));
    let mut tagged: Vec<(u64, Effect)> = tagged.collect();
    tagged.sort();
    for same in tagged.chunk_by(|a, b| a.0 == b.0) {
        let effects = same.iter().map(|&(_, effect)| effect);
        let combine = |sum: Option<Effect>, effect| sum.map_or(Some(effect), |sum| sum.combine(effect));
        if let Some(effect) = effects.fold(None, combine) {
            by_effect[effect as usize].push(same[0].0);
        }
    }
    by_effect
}

/// Whether no effect has two lists and no address is in two lists, as is usual.
fn are_apart(lists: &[(Effect, Vec<u64>)]) -> bool {
    if lists.len() <= 1 {
        return true;
    }
    let mut effects: Vec<Effect> = lists.iter().map(|(effect, _)| *effect).collect();
    effects.sort();
    let mut all: Vec<u64> = lists.iter().flat_map(|(_, list)| list).copied().collect();
    // The stable sort finds the runs and merges them.
    all.sort();
    effects.windows(2).all(|pair| pair[0] != pair[1]) && all.windows(2).all(|pair| pair[0] != pair[1])
}

impl Faults {
    /// No faults.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The faults of each tensor, in any order of tensors; tensors without faults are dropped.
    ///
    /// # Errors
    /// [`PatternError`] when a tensor is listed twice, or addresses do not rise or lie outside.
    pub fn new(tensors: Vec<TensorFaults>) -> Result<Self, PatternError> {
        let faults = Self::of_sound(tensors)?;
        faults.tensors.iter().try_for_each(TensorFaults::check)?;
        Ok(faults)
    }

    /// From tensors whose addresses are known to rise and to lie inside.
    pub(crate) fn of_sound(mut tensors: Vec<TensorFaults>) -> Result<Self, PatternError> {
        tensors.sort_by(|a, b| a.tensor.cmp(&b.tensor));
        if let Some(pair) = tensors.windows(2).find(|pair| pair[0].tensor == pair[1].tensor) {
            return Err(PatternError::ListedTwice { tensor: pair[0].tensor.clone() });
        }
        tensors.retain(|faults| faults.faults() > 0);
        Ok(Self { tensors })
    }

    /// The faults by tensor, sorted by name.
    #[must_use]
    pub fn tensors(&self) -> &[TensorFaults] {
        &self.tensors
    }

    /// How many bits have an effect. Those with [`Effect::Rise`] and [`Effect::Fall`] are faults only on the bits they act on,
    /// so [`Resolved::faults`] may be less.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.tensors.iter().map(TensorFaults::faults).sum()
    }

    /// Both, as if drawn together: effects on one bit combine ([`Effect::combine`]), in whatever order.
    ///
    /// # Errors
    /// [`PatternError`] when the two were drawn for different versions of a tensor.
    pub fn compose(self, other: Self) -> Result<Self, PatternError> {
        if self.tensors.is_empty() {
            return Ok(other);
        }
        let mut by_name: BTreeMap<String, TensorFaults> =
            self.tensors.into_iter().map(|faults| (faults.tensor.clone(), faults)).collect();
        for theirs in other.tensors {
            let both = match by_name.remove(&theirs.tensor) {
                None => theirs,
                Some(ours) => {
                    ours.check_same_tensor(theirs.format, theirs.elements)?;
                    let (tensor, format, elements) = (theirs.tensor.clone(), theirs.format, theirs.elements);
                    TensorFaults::new(tensor, format, elements, ours.into_lists().chain(theirs.into_lists()))
                }
            };
            by_name.insert(both.tensor.clone(), both);
        }
        Self::of_sound(by_name.into_values().collect())
    }

    /// What the faults change in these words. Only the bits that have a fault are looked at.
    ///
    /// # Errors
    /// [`PatternError`] when a tensor is missing in the store, or has another format or size.
    pub fn resolve(&self, store: &impl WordStore) -> Result<Resolved, PatternError> {
        let mut resolved = Resolved::default();
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for faults in &self.tensors {
            let missing = || PatternError::NoTensor { tensor: faults.tensor.clone() };
            let words = store.words(&faults.tensor).ok_or_else(missing)?;
            faults.check_same_tensor(words.format(), words.elements())?;
            let (flips, present, dormant) = faults.meet(|address| words.bit(address).unwrap_or(false));
            tensors.push(flips);
            resolved.faults += present;
            resolved.dormant += dormant;
        }
        resolved.pattern = FaultPattern::new(tensors)?;
        Ok(resolved)
    }

    /// The pattern, if no fault depends on what is stored.
    ///
    /// # Errors
    /// [`NeedsBits`] names a fault that does.
    pub fn into_flips(self) -> Result<FaultPattern, NeedsBits> {
        let mut tensors = Vec::with_capacity(self.tensors.len());
        for faults in self.tensors {
            let (tensor, format, elements) = (faults.tensor.clone(), faults.format, faults.elements);
            for (effect, addresses) in faults.into_lists() {
                match (effect, addresses.first()) {
                    (Effect::Flip, _) => {
                        tensors.push(TensorFlips { tensor: tensor.clone(), format, elements, addresses });
                    }
                    (_, None) => {}
                    (_, Some(&address)) => return Err(NeedsBits { tensor, effect, address }),
                }
            }
        }
        FaultPattern::new(tensors).map_err(|_| unreachable!("faults are checked like patterns"))
    }
}

/// A fault whose effect depends on the stored bit, where only flips were expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tensor `{tensor}`: the fault at bit address {address} ({effect:?}) depends on the stored bit: resolve it against the words"
)]
pub struct NeedsBits {
    /// The tensor.
    pub tensor: String,
    /// The effect.
    pub effect: Effect,
    /// The bit address.
    pub address: u64,
}

impl From<FaultPattern> for Faults {
    fn from(pattern: FaultPattern) -> Self {
        let tensor = |flips: &TensorFlips| {
            let lists = [(Effect::Flip, flips.addresses.clone())];
            TensorFaults::new(flips.tensor.clone(), flips.format, flips.elements, lists)
        };
        Self { tensors: pattern.tensors().iter().map(tensor).collect() }
    }
}
