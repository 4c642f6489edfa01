//! The protections of all tensors of a network.

use std::collections::BTreeMap;

use bitquake_bits::{Format, WordStore, Words};

use super::guard::RangeGuard;
use super::protection::{OnDetection, ProtectError};
use super::resolve::{Outcomes, RawFlips, Resolution};
use super::space::CheckSpace;
use crate::pattern::{FaultPattern, TensorFlips};

/// Which tensor has which protection and which range guard; a whole [`FaultPattern`] is resolved at once.
///
/// A pattern made for a protected tensor `w` may also have flips in `w@check`, or `w@copy1` and so on; after
/// resolving it has flips in `w` alone. Tensors without protection pass as they are.
///
/// ```
/// use bitquake_bits::{Format, WordStore, Words, WordsMut};
/// use bitquake_fault::protect::{Kind, Protection, Protections};
/// use bitquake_fault::{FaultPattern, TensorFlips};
///
/// let mut protections = Protections::default();
/// let space = Protection::new(Kind::Tmr).layout(Format::F32, 10)?;
/// protections.protect("w", space);
/// let names: Vec<String> = protections.check_tensors().map(|(name, ..)| name).collect();
/// assert_eq!(names, ["w@copy1", "w@copy2"]);
///
/// # struct Nothing;
/// # impl WordStore for Nothing {
/// #     fn words(&self, _: &str) -> Option<Words<'_>> { None }
/// #     fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> { None }
/// # }
/// # let store = Nothing;
/// let hit = |tensor: &str, addresses: &[u64]| TensorFlips {
///     tensor: tensor.to_owned(), format: Format::F32, elements: 10, addresses: addresses.to_vec(),
/// };
/// let raw = FaultPattern::new(vec![hit("w", &[30, 62]), hit("w@copy1", &[62])])?;
/// let resolved = protections.resolve(&raw, &store)?;
/// assert_eq!(resolved.pattern, FaultPattern::new(vec![hit("w", &[62])])?);
/// assert_eq!((resolved.total.corrected, resolved.total.miscorrected), (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Protections {
    tensors: BTreeMap<String, OfTensor>,
    /// Of each check tensor the tensor that it protects, and which part it is.
    parts: BTreeMap<String, (String, usize)>,
}

#[derive(Clone, Debug, Default)]
struct OfTensor {
    space: Option<CheckSpace>,
    guard: Option<RangeGuard>,
}

/// A pattern as the network sees it, and what happened on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedPattern {
    /// The flips that the network sees.
    pub pattern: FaultPattern,
    /// Over all protected or guarded tensors that were hit.
    pub total: Outcomes,
    /// For each of them, by name.
    pub tensors: Vec<(String, Outcomes)>,
}

/// The flips of a protected tensor and of its parts.
#[derive(Default)]
struct Hit<'a> {
    data: Option<&'a TensorFlips>,
    /// With the number of the part.
    parts: Vec<(usize, &'a TensorFlips)>,
}

impl Protections {
    /// Protects a tensor, in the place of an earlier protection of it.
    pub fn protect(&mut self, tensor: &str, space: CheckSpace) {
        self.parts.retain(|_, (owner, _)| owner != tensor);
        for (index, part) in space.parts().iter().enumerate() {
            self.parts.insert(part.tensor(tensor), (tensor.to_owned(), index));
        }
        self.tensors.entry(tensor.to_owned()).or_default().space = Some(space);
    }

    /// Guards the values of a tensor, after the decoding of its protection if it has one, in the place of an earlier
    /// guard.
    pub fn guard(&mut self, tensor: &str, guard: RangeGuard) {
        self.tensors.entry(tensor.to_owned()).or_default().guard = Some(guard);
    }

    /// The protection of a tensor.
    #[must_use]
    pub fn space(&self, tensor: &str) -> Option<&CheckSpace> {
        self.tensors.get(tensor)?.space.as_ref()
    }

    /// Name, format and elements of every tensor of check bits, sorted by name: to be added to the fault space.
    pub fn check_tensors(&self) -> impl Iterator<Item = (String, Format, u64)> {
        self.parts.iter().filter_map(|(name, (tensor, index))| {
            let part = self.space(tensor)?.parts().get(*index)?;
            Some((name.clone(), part.format, part.elements))
        })
    }

    /// Whether nothing is protected or guarded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Bits that all protections add.
    #[must_use]
    pub fn check_bits(&self) -> u64 {
        self.tensors.values().filter_map(|tensor| tensor.space.as_ref()).map(CheckSpace::check_bits).sum()
    }

    /// Decodes and guards every tensor that was hit. Time and memory follow the flips.
    ///
    /// `store` holds the clean words; it is asked only for tensors with a guard or with zeroing on detection.
    ///
    /// # Errors
    /// [`ProtectError::Tensor`] names the tensor, and what is wrong with it.
    pub fn resolve(
        &self,
        raw: &FaultPattern,
        store: &impl WordStore,
    ) -> Result<ResolvedPattern, ProtectError> {
        let (hits, mut seen) = self.split(raw);
        let (mut total, mut tensors) = (Outcomes::default(), Vec::new());
        for (tensor, (of_tensor, hit)) in hits {
            let named = |source| ProtectError::Tensor { tensor: tensor.to_owned(), source: Box::new(source) };
            let (flips, outcomes) = of_tensor.resolve(tensor, &hit, store).map_err(named)?;
            total.add(&outcomes);
            tensors.push((tensor.to_owned(), outcomes));
            seen.push(flips);
        }
        Ok(ResolvedPattern { pattern: FaultPattern::new(seen)?, total, tensors })
    }

    /// The flips of protected tensors with those of their parts, by tensor, and the flips of all others.
    fn split<'a>(
        &'a self,
        raw: &'a FaultPattern,
    ) -> (BTreeMap<&'a str, (&'a OfTensor, Hit<'a>)>, Vec<TensorFlips>) {
        let (mut hits, mut others) = (BTreeMap::<&str, (&OfTensor, Hit<'_>)>::new(), Vec::new());
        for flips in raw.tensors() {
            let part = self.parts.get(&flips.tensor).map(|(tensor, index)| (tensor, Some(*index)));
            let (tensor, part) = part.unwrap_or((&flips.tensor, None));
            match (self.tensors.get(tensor), part) {
                (None, _) => others.push(flips.clone()),
                (Some(of_tensor), None) => {
                    hits.entry(tensor).or_insert_with(|| of_tensor.hit()).1.data = Some(flips)
                }
                (Some(of_tensor), Some(index)) => {
                    hits.entry(tensor).or_insert_with(|| of_tensor.hit()).1.parts.push((index, flips));
                }
            }
        }
        (hits, others)
    }
}

impl OfTensor {
    fn hit(&self) -> (&Self, Hit<'_>) {
        (self, Hit::default())
    }

    /// What the network sees of a tensor that was hit.
    fn resolve(
        &self,
        tensor: &str,
        hit: &Hit<'_>,
        store: &impl WordStore,
    ) -> Result<(TensorFlips, Outcomes), ProtectError> {
        let needs_words = self.guard.is_some()
            || self.space.as_ref().is_some_and(|space| space.on_detection == OnDetection::Zero);
        let words = if needs_words { store.words(tensor) } else { None };
        let data = hit.data.map_or(&[][..], |flips| &flips.addresses);
        let (shape, mut resolution) = match &self.space {
            Some(space) => (space.shape(), hit.decode(data, space, words.as_ref())?),
            None => (hit.shape(), Resolution::undecoded(data)),
        };
        if let Some(guard) = &self.guard {
            let words = words.ok_or(ProtectError::NoWords)?;
            check_shape(shape, (words.format(), words.elements()))?;
            guard.apply(&words, &mut resolution)?;
        }
        let (format, elements) = shape;
        let flips = TensorFlips { tensor: tensor.to_owned(), format, elements, addresses: resolution.seen };
        Ok((flips, resolution.outcomes))
    }
}

impl Hit<'_> {
    /// Format and elements that the flips were made for. A tensor without a protection has no parts, so it has data
    /// flips.
    fn shape(&self) -> (Format, u64) {
        self.data.map_or((Format::U8, 0), |flips| (flips.format, flips.elements))
    }

    fn decode(
        &self,
        data: &[u64],
        space: &CheckSpace,
        words: Option<&Words<'_>>,
    ) -> Result<Resolution, ProtectError> {
        if self.data.is_some() {
            check_shape(space.shape(), self.shape())?;
        }
        let mut parts: Vec<&[u64]> = vec![&[]; space.parts().len()];
        for (index, flips) in &self.parts {
            let part = &space.parts()[*index];
            check_shape((part.format, part.elements), (flips.format, flips.elements))?;
            parts[*index] = &flips.addresses;
        }
        space.resolve(&RawFlips { data, parts: &parts }, words)
    }
}

/// That two tensors are the same, as far as format and size tell.
fn check_shape(wanted: (Format, u64), found: (Format, u64)) -> Result<(), ProtectError> {
    if wanted == found {
        return Ok(());
    }
    let ((format, elements), (found, found_elements)) = (wanted, found);
    Err(ProtectError::OtherWords { format, elements, found, found_elements })
}
