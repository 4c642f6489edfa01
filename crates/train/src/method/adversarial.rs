//! The worst bit errors within a budget (SPEC 2.9): projected gradient ascent over codes.

use std::cmp::Reverse;

use bitquake_bits::kernels::{msb_projection_in_place, real_distance};
use bitquake_fault::{FaultModel, FaultPattern, FaultSpace, Hits, TensorFlips};
use bitquake_quant::{Decoder, Grid};
use bitquake_sample::PartKey;

use super::config::AttackConfig;
use super::error::MethodError;
use super::perturb::levels_under;
use super::weights::{Levels, Stored, Weights};

/// The loss of the batch at some levels, and its gradient with respect to them, one vector a tensor.
pub type LossAndGradient = (f64, Vec<Vec<f32>>);

/// Asks the network for them; an error ends the search.
pub type GradientOf<'a> =
    dyn FnMut(&Levels) -> Result<LossAndGradient, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// One search: the codes that may be hit, all of them in one row.
struct Search<'a> {
    stored: &'a Stored,
    weights: &'a Weights,
    config: AttackConfig,
    targets: Vec<Target<'a>>,
    /// The clean words of all targets.
    clean: Vec<u32>,
}

/// A coded tensor that may be hit.
struct Target<'a> {
    /// Its place among the weights, and the place of its first word in the row.
    tensor: usize,
    start: usize,
    grid: &'a Grid,
    /// Half the width of its range: the unit of a move.
    reach: f32,
    /// The bits that may flip.
    mask: u32,
}

/// The levels of the largest loss found.
///
/// From random flips within the budget, each step adds the gradient, normalised by its largest element and with momentum, to
/// the float weights; the sum is quantized with the clean ranges and projected: of the words that differ, those whose level
/// moved furthest keep their highest changed bit, one bit a word, as many as the budget allows (S13). The gradient is taken at
/// the projected codes, the sum itself stays as it is. Every set of codes seen counts, the random ones and the last ones too.
pub(crate) fn attack(
    config: AttackConfig,
    space: &FaultSpace,
    stored: &Stored,
    weights: &Weights,
    key: &PartKey,
    gradient: &mut GradientOf<'_>,
) -> Result<Levels, MethodError> {
    let search = Search::new(config, space, stored, weights)?;
    let mut worst: Option<(f64, Levels)> = None;
    for restart in 0..config.restarts {
        let start = search.random_start(space, &key.numbered("restart", restart.into()))?;
        search.climb(start, gradient, &mut worst)?;
    }
    worst.map(|(_, levels)| levels).ok_or(MethodError::Call("an attack without restarts"))
}

/// That every tensor that may be hit is held as codes.
pub(crate) fn check_targets(space: &FaultSpace, stored: &Stored) -> Result<(), MethodError> {
    let missing = space.tensors().iter().find(|tensor| stored.memory.coded(&tensor.name).is_none());
    missing.map_or(Ok(()), |tensor| Err(MethodError::NotCoded { tensor: tensor.name.clone() }))
}

impl<'a> Search<'a> {
    fn new(
        config: AttackConfig,
        space: &FaultSpace,
        stored: &'a Stored,
        weights: &'a Weights,
    ) -> Result<Self, MethodError> {
        check_targets(space, stored)?;
        let (mut targets, mut clean) = (Vec::new(), Vec::new());
        for tensor in space.tensors() {
            let coded = stored.memory.coded(&tensor.name).zip(weights.position(&tensor.name));
            let Some((coded, place)) = coded else { continue };
            let grid = coded.grid();
            let reach = (0..grid.units()).filter_map(|unit| grid.range(unit).ok());
            let reach = reach.map(|(low, high)| (high - low) / 2.0).fold(0.0, f32::max);
            let mask = tensor.mask as u32; // codes have at most 32 bits
            targets.push(Target { tensor: place, start: clean.len(), grid, reach, mask });
            clean.extend(coded.words().iter().map(|word| word as u32));
        }
        Ok(Self { stored, weights, config, targets, clean })
    }

    /// As many random flips as the budget allows, projected.
    fn random_start(&self, space: &FaultSpace, key: &PartKey) -> Result<Vec<u32>, MethodError> {
        let count = self.config.budget.min(space.bits());
        let pattern = FaultModel::BitFlip(Hits::Count(count)).sampler(space)?.draw(key)?;
        let mut words = self.clean.clone();
        for faults in pattern.tensors() {
            let place = self.targets.iter().find(|target| self.name(target) == faults.tensor);
            let Some(target) = place else { continue };
            let width = u64::from(faults.format.width());
            for address in faults.addresses(bitquake_fault::Effect::Flip) {
                words[target.start + (address / width) as usize] ^= 1 << (address % width);
            }
        }
        self.project(&words)
    }

    /// One ascent. Ends early where the gradient is zero or no number.
    fn climb(
        &self,
        start: Vec<u32>,
        gradient: &mut GradientOf<'_>,
        worst: &mut Option<(f64, Levels)>,
    ) -> Result<(), MethodError> {
        let mut words = start;
        let mut moved: Vec<f32> = vec![0.0; self.clean.len()];
        let mut momentum: Vec<f32> = vec![0.0; self.clean.len()];
        for step in 0..=self.config.steps {
            let levels = self.levels(&words)?;
            let (loss, gradients) = gradient(&levels).map_err(MethodError::Gradient)?;
            self.check(&gradients)?;
            // Any comparison with a loss that is no number is false: such codes count only if there are no others.
            if worst.as_ref().is_none_or(|(most, _)| loss > *most) {
                *worst = Some((loss, levels));
            }
            if step == self.config.steps || !self.advance(&gradients, &mut momentum, &mut moved) {
                break;
            }
            words = self.project(&self.quantized(&moved)?)?;
        }
        Ok(())
    }

    fn check(&self, gradients: &[Vec<f32>]) -> Result<(), MethodError> {
        for target in &self.targets {
            let wanted = self.weights.tensors[target.tensor].values.len();
            let got = gradients.get(target.tensor).map_or(0, Vec::len);
            if got != wanted {
                return Err(MethodError::Length {
                    what: "gradient of tensor",
                    index: target.tensor,
                    got,
                    wanted,
                });
            }
        }
        Ok(())
    }

    /// Adds one step to the sum of moves; false where there is no direction.
    fn advance(&self, gradients: &[Vec<f32>], momentum: &mut [f32], moved: &mut [f32]) -> bool {
        let of = |target: &Target<'a>| gradients[target.tensor].iter();
        let largest = self.targets.iter().flat_map(of).fold(0.0_f32, |most, g| most.max(g.abs()));
        let is_sound = self.targets.iter().flat_map(of).all(|g| g.is_finite());
        if largest == 0.0 || !is_sound {
            return false;
        }
        for target in &self.targets {
            let scale = self.config.step_size * target.reach;
            for (at, g) in (target.start..).zip(&gradients[target.tensor]) {
                momentum[at] = self.config.momentum * momentum[at] + g / largest;
                moved[at] += scale * momentum[at];
            }
        }
        true
    }

    /// The words of the clean levels moved, with the clean ranges; only in bits that may flip.
    fn quantized(&self, moved: &[f32]) -> Result<Vec<u32>, MethodError> {
        let mut words = self.clean.clone();
        for target in &self.targets {
            let levels = &self.stored.levels.tensors[target.tensor];
            let here = target.start..target.start + levels.len();
            let values: Vec<f32> =
                levels.iter().zip(&moved[here.clone()]).map(|(level, by)| level + by).collect();
            let wrong = |source| MethodError::Quantize { tensor: self.name(target).to_owned(), source };
            let codes = target.grid.codes_with(&values, |_| 0.5).map_err(wrong)?;
            for (word, code) in words[here].iter_mut().zip(codes) {
                let new = target.grid.word_of_code(code).map_err(wrong)? as u32;
                *word ^= (*word ^ new) & target.mask;
            }
        }
        Ok(words)
    }

    /// At most `min(budget, words - 1)` words differ from the clean ones, those whose levels moved furthest, each in its
    /// highest changed bit (S13); of equal ones those that come first. All tensors are one row.
    fn project(&self, words: &[u32]) -> Result<Vec<u32>, MethodError> {
        let distances = self.distances(words)?;
        let mut changed: Vec<usize> = (0..words.len()).filter(|&at| words[at] != self.clean[at]).collect();
        changed.sort_by_key(|&at| (Reverse(distances[at]), at));
        let most = usize::try_from(self.config.budget).unwrap_or(usize::MAX);
        changed.truncate(most.min(words.len().saturating_sub(1)));
        let mut projected = self.clean.clone();
        changed.into_iter().for_each(|at| projected[at] = words[at]);
        msb_projection_in_place(&self.clean, &mut projected)
            .map_err(|_| MethodError::Call("a row of codes of another length"))?;
        Ok(projected)
    }

    /// How far the level of each word moved.
    fn distances(&self, words: &[u32]) -> Result<Vec<u64>, MethodError> {
        let mut distances = vec![0; words.len()];
        for target in &self.targets {
            let wrong = |source| MethodError::Quantize { tensor: self.name(target).to_owned(), source };
            let decoders: Vec<Decoder> = (0..target.grid.units())
                .map(|unit| target.grid.decoder(unit))
                .collect::<Result<_, _>>()
                .map_err(wrong)?;
            for element in 0..target.grid.elements() {
                let at = target.start + element as usize;
                if words[at] == self.clean[at] {
                    continue;
                }
                let unit = target.grid.unit_of(element).map_err(wrong)?;
                let level = |word: u32| decoders[unit as usize].level(word.into()).map_err(wrong);
                distances[at] =
                    real_distance(f64::from(level(words[at])?) - f64::from(level(self.clean[at])?));
            }
        }
        Ok(distances)
    }

    /// What the network sees of these words.
    fn levels(&self, words: &[u32]) -> Result<Levels, MethodError> {
        let flips = |target: &Target<'a>| {
            let (format, elements) = (target.grid.format(), target.grid.elements());
            let width = u64::from(format.width());
            let changes = (0..elements).zip(&self.clean[target.start..]).zip(&words[target.start..]);
            let changed = changes.filter(|((_, clean), word)| clean != word);
            let address = |((element, clean), word): ((u64, &u32), &u32)| {
                element * width + u64::from((clean ^ word).trailing_zeros())
            };
            let addresses = changed.map(address).collect();
            TensorFlips { tensor: self.name(target).to_owned(), format, elements, addresses }
        };
        let pattern = FaultPattern::new(self.targets.iter().map(flips).collect())?;
        levels_under(self.stored, self.weights, &pattern)
    }

    fn name(&self, target: &Target<'a>) -> &'a str {
        &self.weights.tensors[target.tensor].name
    }
}
