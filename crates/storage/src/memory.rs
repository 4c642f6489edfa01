//! All tensors of a model as a memory holds them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bitquake_bits::{BitSelection, Format, WordStore, Words};
use bitquake_fault::protect::ResolvedPattern;
use bitquake_fault::{
    Candidate, FaultPattern, FaultSpace, Name, PatternError, ProtectedBits, Selector, SpaceError, TensorFlips,
};
use bitquake_quant::Quantizer;
use bitquake_sample::StreamKey;
use bitquake_tensors::TensorInfo;

use crate::coded::{Coded, floats};
use crate::error::StorageError;
use crate::plan::{Planned, StoragePlan};
use crate::protect::Shield;
use crate::spec::StorageSpec;
use crate::view::View;

/// Separates a tensor's name from that of a part stored beside it.
pub(crate) const PART: char = '@';

/// What a memory holds of a model: some tensors as codes, the others as the file has them.
///
/// Only what differs from the file is kept here; the other words stay in the store that the network computes with, which
/// methods take as `native`. It must be the one that [`write_levels`](Self::write_levels) wrote to, without faults. The default
/// holds nothing.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    coded: HashMap<String, Coded>,
    entries: Vec<Entry>,
    shield: Shield,
}

/// What an older memory has taken from the system, for a new one: mostly of the same tensors in the same order.
struct Room {
    coded: HashMap<String, Coded>,
    names: std::vec::IntoIter<Entry>,
}

impl Room {
    /// The name of a tensor, or of what is stored beside one: the next of the older memory if that is the same, else a new one.
    fn name(&mut self, tensor: &str, part: Option<&str>) -> String {
        let is_it = |name: &String| {
            let rest = name.strip_prefix(tensor);
            rest.is_some_and(|rest| {
                part.map_or(rest.is_empty(), |part| rest.strip_prefix(PART) == Some(part))
            })
        };
        let old = self.names.next().map(|entry| entry.name).filter(is_it);
        old.unwrap_or_else(|| part.map_or_else(|| tensor.to_owned(), |part| format!("{tensor}{PART}{part}")))
    }
}

/// A tensor of words in the memory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) format: Format,
    pub(crate) elements: u64,
    /// The shape of a tensor of the model; none for parts and check bits, which are rows of words.
    dims: Option<Arc<[u64]>>,
    pub(crate) by_name_only: bool,
    /// The tensor whose check bits these are.
    pub(crate) checks: Option<String>,
}

impl Memory {
    /// Quantizes the float weights of a model as the specification says. Tensors that are no floats, statistics, and
    /// settings stay as they are unless an override selects them. Where weights are quantized, faults reach statistics by
    /// name alone: a memory of codes does not hold them (SPEC 2.2.5). `key` decides stochastic rounding.
    ///
    /// # Errors
    /// [`StorageError`] for fields that make no quantizer, globs that match nothing, and tensors whose type or values the
    /// quantizer does not take.
    pub fn new(
        spec: &StorageSpec,
        tensors: &[TensorInfo],
        native: &impl WordStore,
        key: StreamKey,
    ) -> Result<Self, StorageError> {
        StoragePlan::new(spec, tensors)?.store(native, key)
    }

    pub(crate) fn of_plan(
        plan: &StoragePlan,
        native: &impl WordStore,
        key: StreamKey,
        old: Self,
    ) -> Result<Self, StorageError> {
        let mut memory = Self {
            coded: HashMap::with_capacity(plan.tensors.len()),
            entries: Vec::with_capacity(old.entries.len()),
            shield: Shield::default(),
        };
        let mut room = Room { coded: old.coded, names: old.entries.into_iter() };
        for planned in &plan.tensors {
            match &planned.quantizer {
                Some(quantizer) => memory.add_coded(planned, quantizer, native, key, &mut room)?,
                None => memory.add_native(planned, &mut room),
            }
        }
        if !plan.protect.is_empty() || !plan.guard.is_empty() {
            memory.protect_words(plan, native)?;
        }
        Ok(memory)
    }

    fn protect_words(&mut self, plan: &StoragePlan, native: &impl WordStore) -> Result<(), StorageError> {
        let zero = |tensor: &str| self.coded.get(tensor).and_then(Coded::zero_word);
        let shield = Shield::new(plan, &self.entries, &self.view(native), zero)?;
        let entries = std::mem::take(&mut self.entries);
        self.entries = entries.into_iter().flat_map(|entry| with_checks(entry, &shield)).collect();
        self.shield = shield;
        Ok(())
    }

    fn add_native(&mut self, Planned { info, dims, by_name_only, .. }: &Planned, room: &mut Room) {
        if let Some(format) = info.dtype.format() {
            let (name, elements) = (room.name(&info.name, None), info.elements());
            let (dims, by_name_only) = (Some(dims.clone()), *by_name_only);
            self.entries.push(Entry { name, format, elements, dims, by_name_only, checks: None });
        }
    }

    fn add_coded(
        &mut self,
        Planned { info: tensor, dims, .. }: &Planned,
        quantizer: &Quantizer,
        native: &impl WordStore,
        key: StreamKey,
        room: &mut Room,
    ) -> Result<(), StorageError> {
        let name = || tensor.name.clone();
        let (owned_name, bytes) = room
            .coded
            .remove_entry(&tensor.name)
            .map_or_else(|| (name(), Vec::new()), |(name, old)| (name, old.into_bytes()));
        let words = native.words(&tensor.name).ok_or_else(|| PatternError::NoTensor { tensor: name() })?;
        let stream = || key.part("rounding").tensor(&tensor.name);
        let coded = Coded::new(quantizer, &words, &tensor.shape, stream, bytes)
            .map_err(|source| StorageError::Quantize { tensor: name(), source })?;
        let entry = |name, words: &Words<'_>, dims: Option<Arc<[u64]>>| Entry {
            name,
            format: words.format(),
            elements: words.elements(),
            by_name_only: dims.is_none(),
            dims,
            checks: None,
        };
        self.entries.push(entry(room.name(&tensor.name, None), &coded.words(), Some(dims.clone())));
        let parts =
            coded.parts().map(|(part, words)| entry(room.name(&tensor.name, Some(part)), &words, None));
        self.entries.extend(parts);
        self.coded.insert(owned_name, coded);
        Ok(())
    }

    /// What may belong to a fault space: every tensor; after each that is protected its check bits, named `TENSOR@check` and
    /// so on; and after each that is coded its parts, named `TENSOR@scale` and so on.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        self.entries.iter().map(Entry::candidate)
    }

    /// Their shapes, in the same order: those of the model's tensors; check bits and parts are rows of words.
    pub fn shapes(&self) -> impl Iterator<Item = Vec<u64>> {
        self.entries
            .iter()
            .map(|entry| entry.dims.as_deref().map_or_else(|| vec![entry.elements], <[u64]>::to_vec))
    }

    /// The fault space of a selection: the chosen bits of the chosen tensors in the shapes of the model, and all bits of their check bits and copies,
    /// unless those are left out by name (`!*@check`). Globs reach parts and check bits only with an `@`.
    ///
    /// # Errors
    /// [`SpaceError`] when a pattern matches nothing or a selected tensor's format has no such bits.
    pub fn fault_space(&self, select: &[String], bits: BitSelection) -> Result<FaultSpace, SpaceError> {
        let selector = Selector::new(select)?;
        let names: Vec<Name<'_>> = self.entries.iter().map(Entry::selectable).collect();
        let chosen = selector.matches(&names)?;
        let named: HashSet<&str> =
            names.iter().zip(&chosen).filter(|(_, chosen)| **chosen).map(|(name, _)| name.text).collect();
        let follows = |entry: &Entry| {
            let is_owner_chosen = entry.checks.as_ref().is_some_and(|owner| named.contains(owner.as_str()));
            is_owner_chosen && !selector.excludes(entry.selectable())
        };
        let taken = self.entries.iter().filter(|entry| named.contains(entry.name.as_str()) || follows(entry));
        let space = FaultSpace::gather(taken.map(|entry| {
            (entry.candidate(), if entry.checks.is_some() { BitSelection::All } else { bits })
        }))?;
        let dims = self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), entry.dims.as_ref()?)));
        let dims: HashMap<&str, &Arc<[u64]>> = dims.collect();
        space.with_dims(|name| dims.get(name).map(|dims| dims.to_vec()))
    }

    /// A fault space without the bits that never fail; check bits keep all theirs.
    ///
    /// # Errors
    /// [`SpaceError`] when a tensor's format has no such bits, or nothing is left.
    pub fn spare(&self, space: &FaultSpace, protected: &ProtectedBits) -> Result<FaultSpace, SpaceError> {
        space.without_in(protected, |tensor| self.checks(tensor).is_none())
    }

    /// The tensor whose words these check bits or copies protect; `None` for what is none of them.
    #[must_use]
    pub fn protected_by(&self, checks: &str) -> Option<Candidate<'_>> {
        let owner = self.entries.iter().find(|entry| entry.name == checks)?.checks.as_ref()?;
        self.entries.iter().find(|entry| entry.name == *owner).map(Entry::candidate)
    }

    /// A tensor that is held as codes; `None` for one that is not.
    #[must_use]
    pub fn coded(&self, tensor: &str) -> Option<&Coded> {
        self.coded.get(tensor)
    }

    /// Whether every tensor is as the file has it.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.coded.is_empty()
    }

    /// Whether anything is protected or guarded.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        !self.shield.is_empty()
    }

    /// Bits that the protections add to the memory.
    #[must_use]
    pub fn check_bits(&self) -> u64 {
        self.shield.check_bits()
    }

    /// What is left of the flips of a trial when the protections have done their work, and what they did. `native` is as for
    /// [`translate`](Self::translate).
    ///
    /// # Errors
    /// [`StorageError`] if the pattern was made for another memory.
    pub fn protect(
        &self,
        raw: &FaultPattern,
        native: &impl WordStore,
    ) -> Result<ResolvedPattern, StorageError> {
        self.shield.resolve(raw, &self.view(native))
    }

    /// The clean check bits of a name; `None` for what is no tensor of check bits.
    pub(crate) fn checks(&self, name: &str) -> Option<Words<'_>> {
        self.shield.words(name)
    }

    /// The words that the memory holds, to be read: codes where there are codes, else those of `native`.
    pub fn view<'a, S: WordStore>(&'a self, native: &'a S) -> View<'a, S> {
        View { memory: self, native }
    }

    /// Writes what the codes stand for into the network's floats: the network without faults.
    ///
    /// # Errors
    /// [`StorageError`] if `native` is another model than the one that was quantized.
    pub fn write_levels(&self, native: &mut impl WordStore) -> Result<(), StorageError> {
        for (tensor, coded) in &sorted(&self.coded) {
            let mut target = native
                .words_mut(tensor)
                .ok_or_else(|| PatternError::NoTensor { tensor: (*tensor).to_owned() })?;
            let wrong = |source| StorageError::Quantize { tensor: (*tensor).to_owned(), source };
            coded.write_levels(&mut target).map_err(wrong)?;
        }
        Ok(())
    }

    /// The flips of the network's floats that a pattern over the memory amounts to, without protections. Applying them to `native` gives what
    /// the network sees; applying them again undoes it.
    ///
    /// # Errors
    /// [`StorageError`] if the pattern was made for another memory, or `native` is another model.
    pub fn translate(
        &self,
        pattern: &FaultPattern,
        native: &impl WordStore,
    ) -> Result<FaultPattern, StorageError> {
        let (by_tensor, mut flips) = self.hits(pattern, native)?;
        for (tensor, hits) in by_tensor {
            let coded = &self.coded[tensor];
            let target = native.words(tensor).ok_or_else(|| no_tensor(tensor))?;
            let addresses = coded
                .translate(hits.codes(), &hits.parts, &target)
                .map_err(|source| StorageError::Quantize { tensor: tensor.to_owned(), source })?;
            let (format, elements) = (target.format(), target.elements());
            flips.push(TensorFlips { tensor: tensor.to_owned(), format, elements, addresses });
        }
        Ok(FaultPattern::new(flips)?)
    }

    /// What the network sees of the tensors that a pattern over the memory hits, without protections: their names and all their
    /// values, decoded once from the faulted words. In models of float32 the same floats as [`translate`](Self::translate) leads to; not
    /// rounded to the narrower floats of others. Made for training, where many words of a tensor are hit and `native` holds the weights that were stored.
    ///
    /// # Errors
    /// [`StorageError`] if the pattern was made for another memory, or `native` is another model.
    pub fn levels_under(
        &self,
        pattern: &FaultPattern,
        native: &impl WordStore,
    ) -> Result<Vec<(String, Vec<f32>)>, StorageError> {
        let (by_tensor, others) = self.hits(pattern, native)?;
        let mut all = Vec::with_capacity(by_tensor.len() + others.len());
        for (tensor, hits) in by_tensor {
            let levels = self.coded[tensor].levels_under(hits.codes(), &hits.parts);
            let levels =
                levels.map_err(|source| StorageError::Quantize { tensor: tensor.to_owned(), source })?;
            all.push((tensor.to_owned(), levels));
        }
        for flips in others {
            let words = native.words(&flips.tensor).ok_or_else(|| no_tensor(&flips.tensor))?;
            all.push((flips.tensor.clone(), floats_under(&words, &flips)));
        }
        Ok(all)
    }

    /// The flips of coded tensors, and those of tensors that the file's words hold.
    fn hits<'p>(
        &self,
        pattern: &'p FaultPattern,
        native: &impl WordStore,
    ) -> Result<(BTreeMap<&'p str, Hits<'p>>, Vec<TensorFlips>), StorageError> {
        pattern.check_fits(&self.view(native))?;
        let mut flips = Vec::new();
        let mut by_tensor: BTreeMap<&str, Hits<'_>> = BTreeMap::new();
        for hit in pattern.tensors() {
            match self.split(&hit.tensor) {
                _ if self.checks(&hit.tensor).is_some() => {} // the network sees no check bits
                None => flips.push(hit.clone()),
                Some((tensor, None)) => by_tensor.entry(tensor).or_default().codes = Some(hit),
                Some((tensor, Some(part))) => {
                    by_tensor.entry(tensor).or_default().parts.insert(part, hit);
                }
            }
        }
        Ok((by_tensor, flips))
    }

    /// The tensor of the model that something stored belongs to: itself, or the one whose scale, check bits and the like it is.
    #[must_use]
    pub fn owner<'n>(&self, name: &'n str) -> &'n str {
        let is_tensor =
            |text: &str| self.entries.iter().any(|entry| entry.name == text && entry.dims.is_some());
        // Check bits of a scale are parts of a part.
        let mut owners =
            std::iter::successors(Some(name), |text| text.rsplit_once(PART).map(|(owner, _)| owner));
        owners.find(|text| is_tensor(text)).unwrap_or(name)
    }

    /// The coded tensor of a name, and the part if it names one; `None` for native words.
    pub(crate) fn split<'n>(&self, name: &'n str) -> Option<(&'n str, Option<&'n str>)> {
        if self.coded.contains_key(name) {
            return Some((name, None));
        }
        let (tensor, part) = name.rsplit_once(PART)?;
        self.coded.contains_key(tensor).then_some((tensor, Some(part)))
    }
}

impl Entry {
    fn candidate(&self) -> Candidate<'_> {
        let Self { format, elements, by_name_only, .. } = *self;
        Candidate { name: &self.name, format, elements, by_name_only }
    }

    pub(crate) fn selectable(&self) -> Name<'_> {
        Name { text: &self.name, by_name_only: self.by_name_only, also: &[] }
    }
}

/// A tensor, and its check bits.
fn with_checks(entry: Entry, shield: &Shield) -> Vec<Entry> {
    let owner = entry.name.clone();
    let check = |(name, format, elements)| Entry {
        name,
        format,
        elements,
        dims: None,
        by_name_only: true,
        checks: Some(owner.clone()),
    };
    let checks: Vec<Entry> = shield.parts(&entry.name).map(check).collect();
    [entry].into_iter().chain(checks).collect()
}

/// The flips of a coded tensor.
#[derive(Default)]
struct Hits<'a> {
    codes: Option<&'a TensorFlips>,
    parts: BTreeMap<&'a str, &'a TensorFlips>,
}

impl Hits<'_> {
    fn codes(&self) -> &[u64] {
        self.codes.map_or(&[], |hit| &hit.addresses)
    }
}

/// The values of float words under flips.
fn floats_under(words: &Words<'_>, flips: &TensorFlips) -> Vec<f32> {
    let mut values = floats(words).into_owned();
    let width = u64::from(words.format().width());
    for same in flips.addresses.chunk_by(|a, b| a / width == b / width) {
        let (element, mask) = (same[0] / width, same.iter().fold(0, |mask, bit| mask | 1 << (bit % width)));
        let Some(word) = words.get(element) else { continue };
        values[element as usize] = match words.format() {
            // Not through float64, so that the payload of a NaN stays.
            Format::F32 => f32::from_bits((word ^ mask) as u32),
            format => format.decode(word ^ mask) as f32,
        };
    }
    values
}

fn no_tensor(tensor: &str) -> StorageError {
    PatternError::NoTensor { tensor: tensor.to_owned() }.into()
}

fn sorted(coded: &HashMap<String, Coded>) -> BTreeMap<&str, &Coded> {
    coded.iter().map(|(name, coded)| (name.as_str(), coded)).collect()
}
