//! The worst flips of codes within a budget (SPEC 2.9): projected gradient ascent, one flip a word.

use std::cmp::Reverse;

use bitquake_bits::kernels::{msb_projection_in_place, real_distance};
use bitquake_fault::{Effect, FaultModel, FaultPattern, FaultSpace, Hits, TensorFlips};
use bitquake_quant::{Decoder, Grid};
use bitquake_sample::PartKey;

use crate::error::StorageError;
use crate::memory::Memory;

/// A loss, and its gradient with respect to what codes stand for: one vector a tensor of the fault space, row-major.
pub type LossAndSlopes = (f64, Vec<Vec<f32>>);

/// The search: flips of codes that make a loss large.
///
/// From random flips within the budget, each step adds the gradient, normalised by its largest element and with momentum, to
/// the float weights; the sum is quantized with the clean ranges and projected: of the words that differ, those whose level
/// moved furthest keep their highest changed bit, one bit a word, as many as the budget allows (S13). The gradient is taken at
/// the projected codes, the sum itself stays as it is. Every set of codes seen counts, the random ones and the last ones too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HammingSearch {
    /// Flips, at most one a word; never all words of the space.
    pub budget: u64,
    /// Steps of one ascent.
    pub steps: u32,
    /// The move of the weight with the largest gradient, in halves of its tensor's range.
    pub step_size: f32,
    /// The share of the last move that is added to the next.
    pub momentum: f32,
    /// Ascents from other random flips.
    pub restarts: u32,
}

/// The codes of a fault space, all of them in one row.
struct Row<'a> {
    targets: Vec<Target<'a>>,
    /// The clean words of all targets, and what they stand for.
    clean: Vec<u32>,
    levels: Vec<f32>,
}

/// A coded tensor that may be hit.
struct Target<'a> {
    name: &'a str,
    /// The place of its first word in the row.
    start: usize,
    grid: &'a Grid,
    decoders: Vec<Decoder>,
    /// Half the width of its range: the unit of a move.
    reach: f32,
    /// The bits that may flip.
    mask: u32,
}

impl HammingSearch {
    /// The flips of the largest loss found; `slopes` is asked for the loss and its gradient under flips of the memory. A loss that is no
    /// number counts only if there are no others. `None` without restarts.
    ///
    /// # Errors
    /// [`StorageError::NotCoded`] if a tensor of the space is not held as codes, [`StorageError::Slopes`] for gradients of other lengths; the
    /// error that `slopes` gave.
    pub fn worst<E: From<StorageError>>(
        &self,
        memory: &Memory,
        space: &FaultSpace,
        key: &PartKey,
        slopes: &mut dyn FnMut(&FaultPattern) -> Result<LossAndSlopes, E>,
    ) -> Result<Option<FaultPattern>, E> {
        let row = Row::new(memory, space)?;
        let mut worst = None;
        for restart in 0..self.restarts {
            let start = row.random(self.budget, space, &key.numbered("restart", restart.into()))?;
            self.climb(&row, start, slopes, &mut worst)?;
        }
        Ok(worst.map(|(_, pattern)| pattern))
    }

    /// One ascent. Ends early where the gradient is zero or no number.
    fn climb<E: From<StorageError>>(
        &self,
        row: &Row<'_>,
        start: Vec<u32>,
        slopes: &mut dyn FnMut(&FaultPattern) -> Result<LossAndSlopes, E>,
        worst: &mut Option<(f64, FaultPattern)>,
    ) -> Result<(), E> {
        let mut words = start;
        let mut moved: Vec<f32> = vec![0.0; row.clean.len()];
        let mut momentum: Vec<f32> = vec![0.0; row.clean.len()];
        for step in 0..=self.steps {
            let pattern = row.pattern(&words)?;
            let (loss, gradients) = slopes(&pattern)?;
            row.check(&gradients)?;
            // Any comparison with a loss that is no number is false.
            if worst.as_ref().is_none_or(|(most, _)| loss > *most) {
                *worst = Some((loss, pattern));
            }
            if step == self.steps || !self.advance(row, &gradients, &mut momentum, &mut moved) {
                break;
            }
            words = row.project(&row.quantized(&moved)?, self.budget)?;
        }
        Ok(())
    }

    /// Adds one step to the sum of moves; false where there is no direction.
    fn advance(
        &self,
        row: &Row<'_>,
        gradients: &[Vec<f32>],
        momentum: &mut [f32],
        moved: &mut [f32],
    ) -> bool {
        let largest = gradients.iter().flatten().fold(0.0_f32, |most, g| most.max(g.abs()));
        let is_sound = gradients.iter().flatten().all(|g| g.is_finite());
        if largest == 0.0 || !is_sound {
            return false;
        }
        for (target, gradient) in row.targets.iter().zip(gradients) {
            let scale = self.step_size * target.reach;
            for (at, g) in (target.start..).zip(gradient) {
                momentum[at] = self.momentum * momentum[at] + g / largest;
                moved[at] += scale * momentum[at];
            }
        }
        true
    }
}

impl<'a> Row<'a> {
    fn new(memory: &'a Memory, space: &'a FaultSpace) -> Result<Self, StorageError> {
        let mut row = Self { targets: Vec::new(), clean: Vec::new(), levels: Vec::new() };
        for tensor in space.tensors() {
            let name = tensor.name.as_str();
            let coded =
                memory.coded(name).ok_or_else(|| StorageError::NotCoded { tensor: name.to_owned() })?;
            let wrong = |source| StorageError::Quantize { tensor: name.to_owned(), source };
            let grid = coded.grid();
            let reach = (0..grid.units()).filter_map(|unit| grid.range(unit).ok());
            let reach = reach.map(|(low, high)| (high - low) / 2.0).fold(0.0, f32::max);
            let decoders = (0..grid.units()).map(|unit| grid.decoder(unit)).collect::<Result<_, _>>();
            let (start, mask) = (row.clean.len(), tensor.mask as u32); // codes have at most 32 bits
            row.targets.push(Target { name, start, grid, decoders: decoders.map_err(wrong)?, reach, mask });
            row.clean.extend(coded.words().iter().map(|word| word as u32));
            row.levels.extend(coded.levels().map_err(wrong)?);
        }
        Ok(row)
    }

    /// As many random flips as the budget allows, projected.
    fn random(&self, budget: u64, space: &FaultSpace, key: &PartKey) -> Result<Vec<u32>, StorageError> {
        let count = budget.min(space.bits());
        let faults = FaultModel::BitFlip(Hits::Count(count)).sampler(space)?.draw(key)?;
        let mut words = self.clean.clone();
        for faults in faults.tensors() {
            let place = self.targets.iter().find(|target| target.name == faults.tensor);
            let Some(target) = place else { continue };
            let width = u64::from(faults.format.width());
            for address in faults.addresses(Effect::Flip) {
                words[target.start + (address / width) as usize] ^= 1 << (address % width);
            }
        }
        self.project(&words, budget)
    }

    fn check(&self, gradients: &[Vec<f32>]) -> Result<(), StorageError> {
        for (place, target) in self.targets.iter().enumerate() {
            let (got, wanted) = (gradients.get(place).map_or(0, Vec::len), target.grid.elements());
            if got as u64 != wanted {
                return Err(StorageError::Slopes { tensor: target.name.to_owned(), got, wanted });
            }
        }
        Ok(())
    }

    /// The words of the clean levels moved, with the clean ranges; only in bits that may flip.
    fn quantized(&self, moved: &[f32]) -> Result<Vec<u32>, StorageError> {
        let mut words = self.clean.clone();
        for target in &self.targets {
            let here = target.start..target.start + target.grid.elements() as usize;
            let values: Vec<f32> = self.levels[here.clone()]
                .iter()
                .zip(&moved[here.clone()])
                .map(|(level, by)| level + by)
                .collect();
            let codes = target.grid.codes_with(&values, |_| 0.5).map_err(|source| target.wrong(source))?;
            for (word, code) in words[here].iter_mut().zip(codes) {
                let new = target.grid.word_of_code(code).map_err(|source| target.wrong(source))? as u32;
                *word ^= (*word ^ new) & target.mask;
            }
        }
        Ok(words)
    }

    /// At most `min(budget, words - 1)` words differ from the clean ones, those whose levels moved furthest, each in its
    /// highest changed bit (S13); of equal ones those that come first. All tensors are one row.
    fn project(&self, words: &[u32], budget: u64) -> Result<Vec<u32>, StorageError> {
        let distances = self.distances(words)?;
        let mut changed: Vec<usize> = (0..words.len()).filter(|&at| words[at] != self.clean[at]).collect();
        changed.sort_by_key(|&at| (Reverse(distances[at]), at));
        let most = usize::try_from(budget).unwrap_or(usize::MAX);
        changed.truncate(most.min(words.len().saturating_sub(1)));
        let mut projected = self.clean.clone();
        changed.into_iter().for_each(|at| projected[at] = words[at]);
        // Both rows are of one length, which is all that could be wrong.
        let _ = msb_projection_in_place(&self.clean, &mut projected);
        Ok(projected)
    }

    /// How far the level of each word moved.
    fn distances(&self, words: &[u32]) -> Result<Vec<u64>, StorageError> {
        let mut distances = vec![0; words.len()];
        for target in &self.targets {
            for element in 0..target.grid.elements() {
                let at = target.start + element as usize;
                if words[at] == self.clean[at] {
                    continue;
                }
                let unit = target.grid.unit_of(element).map_err(|source| target.wrong(source))?;
                let level = target.decoders[unit as usize].level(words[at].into());
                let level = level.map_err(|source| target.wrong(source))?;
                distances[at] = real_distance(f64::from(level) - f64::from(self.levels[at]));
            }
        }
        Ok(distances)
    }

    /// The flips that make these words of the clean ones, which differ in one bit at most.
    fn pattern(&self, words: &[u32]) -> Result<FaultPattern, StorageError> {
        let flips = |target: &Target<'a>| {
            let (format, elements) = (target.grid.format(), target.grid.elements());
            let width = u64::from(format.width());
            let changes = (0..elements).zip(&self.clean[target.start..]).zip(&words[target.start..]);
            let changed = changes.filter(|((_, clean), word)| clean != word);
            let address = |((element, clean), word): ((u64, &u32), &u32)| {
                element * width + u64::from((clean ^ word).trailing_zeros())
            };
            let addresses = changed.map(address).collect();
            TensorFlips { tensor: target.name.to_owned(), format, elements, addresses }
        };
        Ok(FaultPattern::new(self.targets.iter().map(flips).collect())?)
    }
}

impl Target<'_> {
    fn wrong(&self, source: bitquake_quant::QuantError) -> StorageError {
        StorageError::Quantize { tensor: self.name.to_owned(), source }
    }
}
