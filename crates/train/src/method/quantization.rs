//! Which quantizer each tensor has in this step, and what it makes of the masters.

use bitquake_quant::{
    CodeEncoding, Family, Granularity, Grid, Quantizer, QuantizerSpec, Range, plclip_ranges,
};
use bitquake_sample::StreamKey;
use bitquake_storage::{Memory, Override, StoragePlan, StorageSpec};
use bitquake_tensors::Role;
use serde::{Deserialize, Serialize};

use super::backward::Backward;
use super::config::{ClipRule, LsqForm, MethodConfig, RangeRule, Tensors};
use super::error::MethodError;
use super::ranges::{RangeParameter, frozen, with_range};
use super::weights::{Levels, Stored, WeightTensor, Weights};

/// The quantizers of all tensors, and where their ranges come from.
#[derive(Clone, Debug)]
pub(crate) struct Quantization {
    spec: StorageSpec,
    plan: StoragePlan,
    rule: RangeRule,
    tensors: Vec<Source>,
    /// The learnt ranges.
    pub(crate) ranges: Vec<RangeParameter>,
}

/// Where the range of a tensor comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Source {
    /// Float32 as it is.
    Native,
    /// The quantizer's own rule, in each step.
    Fitted,
    /// The learnt range with this place.
    Learnt(usize),
    /// Its share of the ranges of all.
    Shared,
    /// These fields, from the start; masters stay within the range.
    Kept { spec: Box<QuantizerSpec>, low: f32, high: f32 },
}

impl Quantization {
    /// Resolves the fields and, where the rule asks for it, looks at the weights that training starts from.
    pub(crate) fn new(config: &MethodConfig, weights: &Weights) -> Result<Self, MethodError> {
        let role = |tensor: &WeightTensor| match config.tensors {
            _ if tensor.is_alpha() => Role::Attribute,
            Tensors::Kernels if !tensor.is_kernel() => Role::Attribute,
            Tensors::Kernels | Tensors::All => Role::Weight,
        };
        let infos: Vec<_> = weights.tensors.iter().map(|tensor| tensor.info(role(tensor))).collect();
        let plan = StoragePlan::new(&config.quantization, &infos)?;
        let source = |at: usize| if plan.quantizer(at).is_some() { Source::Fitted } else { Source::Native };
        let tensors = (0..infos.len()).map(source).collect();
        let (spec, rule) = (config.quantization.clone(), config.ranges);
        let mut new = Self { spec, plan, rule, tensors, ranges: Vec::new() };
        match rule {
            RangeRule::Refit {} => {}
            RangeRule::Learn { .. } => new.learn(weights)?,
            RangeRule::Plclip { .. } => new.share()?,
            RangeRule::Frozen {} => new.keep(weights)?,
        }
        Ok(new)
    }

    fn family(&self, tensor: usize) -> Option<Family> {
        self.plan.quantizer(tensor)?.spec().family
    }

    /// The tensors of some families.
    fn of_families(&self, families: &[Family]) -> Vec<usize> {
        let is_one = |tensor: &usize| self.family(*tensor).is_some_and(|family| families.contains(&family));
        (0..self.tensors.len()).filter(is_one).collect()
    }

    fn learn(&mut self, weights: &Weights) -> Result<(), MethodError> {
        let learning = self.of_families(&[Family::Wcat, Family::Lsq]);
        if learning.is_empty() {
            return Err(MethodError::NoRange { rule: "learn", wanted: "wcat or lsq" });
        }
        for at in learning {
            let parameter = self.first_range(at, &weights.tensors[at])?;
            self.tensors[at] = Source::Learnt(self.ranges.len());
            self.ranges.push(parameter);
        }
        Ok(())
    }

    /// The learnt range of a tensor as the quantizer's own rule starts it.
    fn first_range(&self, at: usize, tensor: &WeightTensor) -> Result<RangeParameter, MethodError> {
        let grid = self.grid(at, tensor)?;
        let family = self.family(at).unwrap_or_default();
        let first = if family == Family::Lsq { grid.scale(0) } else { grid.range(0).map(|(_, high)| high) };
        let value = first.map_err(|source| quantize_error(tensor, source))?;
        let refuse = |reason| MethodError::Range { tensor: tensor.name.clone(), family, reason };
        if grid.units() != 1 || has_units(grid.quantizer()) {
            return Err(refuse("one range is learnt for each tensor; its granularity must be `tensor`"));
        }
        if value <= 0.0 {
            let reason = "its values are all 0, which gives no first range: give one, `range = { alpha = A }` or \
                          `{ step = S }`, in an override";
            return Err(refuse(reason));
        }
        let RangeRule::Learn { weight_decay, rate_factor, lowest, .. } = self.rule else {
            return Err(MethodError::Call("ranges are learnt with the rule `learn` alone"));
        };
        // Far below what any quantizer takes, but never 0.
        let lower = (lowest * value).max(f32::MIN_POSITIVE);
        Ok(RangeParameter {
            name: tensor.name.clone(),
            value,
            gradient: 0.0,
            weight_decay,
            rate_factor,
            lower,
        })
    }

    fn share(&mut self) -> Result<(), MethodError> {
        let sharing = self.of_families(&[Family::Wcat]);
        if sharing.is_empty() {
            return Err(MethodError::NoRange { rule: "plclip", wanted: "wcat" });
        }
        sharing.into_iter().for_each(|at| self.tensors[at] = Source::Shared);
        Ok(())
    }

    fn keep(&mut self, weights: &Weights) -> Result<(), MethodError> {
        for (at, tensor) in
            weights.tensors.iter().enumerate().filter(|(at, _)| self.plan.quantizer(*at).is_some())
        {
            let grid = self.grid(at, tensor)?;
            let refuse = || {
                let reason = "its ranges are no fields of a quantizer, so no campaign could be told them";
                let family = self.family(at).unwrap_or_default();
                MethodError::Range { tensor: tensor.name.clone(), family, reason }
            };
            let spec = Box::new(frozen(&grid).ok_or_else(refuse)?);
            let (low, high) = grid.range(0).map_err(|source| quantize_error(tensor, source))?;
            self.tensors[at] = Source::Kept { spec, low, high };
        }
        self.set_kept(weights)
    }

    fn set_kept(&mut self, weights: &Weights) -> Result<(), MethodError> {
        for (at, source) in self.tensors.iter().enumerate() {
            if let Source::Kept { spec, .. } = source {
                self.plan.set_quantizer(at, made(spec, &weights.tensors[at])?);
            }
        }
        Ok(())
    }

    /// What the quantizer of a tensor makes of its values.
    fn grid(&self, at: usize, tensor: &WeightTensor) -> Result<Grid, MethodError> {
        let quantizer = self.plan.quantizer(at).ok_or(MethodError::Call("the tensor has no quantizer"))?;
        let shape: Vec<u64> = tensor.shape.iter().map(|&dim| dim as u64).collect();
        quantizer.fit(&tensor.values, &shape).map_err(|source| quantize_error(tensor, source))
    }

    /// Keeps masters within frozen ranges (S24), both ends as they are (SPEC 2.10, 13), and learnt ranges above their lower
    /// bounds.
    pub(crate) fn project(&mut self, weights: &mut Weights) {
        self.ranges.iter_mut().for_each(RangeParameter::keep_positive);
        for (source, tensor) in self.tensors.iter().zip(&mut weights.tensors) {
            if let Source::Kept { low, high, .. } = *source {
                tensor.values.iter_mut().for_each(|value| *value = value.clamp(low, high));
            }
        }
    }

    /// Quantizes the masters, in the memory of `old`. `key` decides stochastic rounding.
    pub(crate) fn store(
        &mut self,
        weights: &Weights,
        key: StreamKey,
        old: Stored,
    ) -> Result<Stored, MethodError> {
        self.refresh(weights)?;
        let memory = self.plan.store_over(weights, key, old.memory)?;
        let mut levels = Levels { flips: 0, ..old.levels };
        levels.tensors.resize_with(weights.tensors.len(), Vec::new);
        for (tensor, levels) in weights.tensors.iter().zip(&mut levels.tensors) {
            put_levels(&memory, tensor, levels)?;
        }
        Ok(Stored { memory, levels })
    }

    /// Gives the quantizers the ranges of this step.
    fn refresh(&mut self, weights: &Weights) -> Result<(), MethodError> {
        let shared = match self.rule {
            RangeRule::Plclip { c } => self.shared_ranges(c, weights),
            _ => Vec::new(),
        };
        let mut shared = shared.into_iter();
        for (at, source) in self.tensors.iter().enumerate() {
            let range = match *source {
                Source::Native | Source::Fitted | Source::Kept { .. } => continue,
                Source::Shared => shared.next().map(Range::Fixed),
                Source::Learnt(place) => Some(self.learnt_range(at, place)),
            };
            let quantizer = self.plan.quantizer(at).zip(range);
            if let Some((quantizer, range)) =
                quantizer.filter(|(old, range)| old.spec().range != Some(*range))
            {
                let new = made(&with_range(quantizer.spec(), range), &weights.tensors[at])?;
                self.plan.set_quantizer(at, new);
            }
        }
        Ok(())
    }

    fn learnt_range(&self, at: usize, place: usize) -> Range {
        let value = self.ranges[place].value;
        if self.family(at) == Some(Family::Lsq) { Range::Step(value) } else { Range::Alpha(value) }
    }

    /// PLCLIP's ranges of the tensors that share them, in their order.
    fn shared_ranges(&self, c: f32, weights: &Weights) -> Vec<f32> {
        let sharing =
            self.tensors.iter().zip(&weights.tensors).filter(|(source, _)| **source == Source::Shared);
        let largest =
            |tensor: &WeightTensor| tensor.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        plclip_ranges(c, &sharing.map(|(_, tensor)| largest(tensor)).collect::<Vec<f32>>())
    }

    /// The way back of a tensor's gradient through the grid that it was stored with.
    pub(crate) fn backward(&self, at: usize, tensor: &WeightTensor, stored: &Stored) -> Backward {
        let grid = stored.memory.coded(&tensor.name).map(bitquake_storage::Coded::grid);
        let Some((grid, family)) = grid.zip(self.family(at)) else { return Backward::Straight };
        let is_learnt = matches!(self.tensors[at], Source::Learnt(_));
        let (clip, form) = match self.rule {
            RangeRule::Learn { clip, lsq, .. } => (clip, lsq),
            _ => (ClipRule::Ste, LsqForm::Paper),
        };
        match family {
            Family::Wcat if is_learnt => {
                grid.range(0).map_or(Backward::Straight, |(_, a)| Backward::Wcat { clip, a })
            }
            Family::Lsq if !has_units(grid.quantizer()) => match grid.scale(0) {
                Ok(step) if step > 0.0 => {
                    let (lowest, highest) = codes(grid.quantizer());
                    Backward::Lsq { form, step, lowest, highest }
                }
                _ => Backward::Straight,
            },
            Family::Dorefa if grid.quantizer().bits() > 1 && !has_units(grid.quantizer()) => {
                let largest = tensor.values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                Backward::Dorefa { largest: libm::tanh(largest.into()) as f32 }
            }
            _ => Backward::Straight,
        }
    }

    /// Leaves the gradient of a tensor's learnt range for the optimiser; does nothing where it has none.
    pub(crate) fn set_gradient(&mut self, at: usize, gradient: f64) {
        if let Source::Learnt(place) = self.tensors[at] {
            self.ranges[place].gradient = gradient as f32;
        }
    }

    /// Whether gradients of ranges are divided by the root of their number.
    pub(crate) fn scales_gradients(&self) -> bool {
        matches!(self.rule, RangeRule::Learn { scale_gradient: true, .. })
    }

    /// The storage that gives these codes again: native, with one override a quantized tensor.
    pub(crate) fn storage(&self, weights: &Weights, stored: &Stored) -> StorageSpec {
        let quantized = weights.tensors.iter().filter_map(|tensor| {
            let grid = stored.memory.coded(&tensor.name)?.grid();
            let spec = frozen(grid).unwrap_or_else(|| grid.quantizer().spec().clone());
            Some(Override { select: vec![tensor.name.clone()], spec })
        });
        let (protect, guard) = (self.spec.protect.clone(), self.spec.guard.clone());
        StorageSpec { overrides: quantized.collect(), protect, guard, ..StorageSpec::default() }
    }

    /// The names of the quantized tensors.
    pub(crate) fn quantized(&self, weights: &Weights) -> Vec<String> {
        let all = self.tensors.iter().zip(&weights.tensors);
        all.filter(|(source, _)| **source != Source::Native).map(|(_, tensor)| tensor.name.clone()).collect()
    }

    /// What a snapshot keeps beside the learnt ranges: where ranges come from.
    pub(crate) fn state(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(&self.tensors)
    }

    /// Takes the state of [`state`](Self::state) and learnt ranges over.
    pub(crate) fn restore(
        &mut self,
        state: &serde_json::Value,
        ranges: &[f32],
        weights: &Weights,
    ) -> Result<(), MethodError> {
        let tensors: Vec<Source> = serde_json::from_value(state.clone())
            .map_err(|error| MethodError::State(format!("ranges: {error}")))?;
        let kind = |source: &Source| match source {
            Source::Learnt(place) => Source::Learnt(*place),
            Source::Kept { .. } => Source::Native, // any: only the numbers differ
            other => other.clone(),
        };
        let is_same = tensors.iter().map(kind).eq(self.tensors.iter().map(kind));
        if !is_same || ranges.len() != self.ranges.len() {
            return Err(MethodError::State("its tensors are quantized in another way".into()));
        }
        self.tensors = tensors;
        self.ranges.iter_mut().zip(ranges).for_each(|(range, value)| range.value = *value);
        self.set_kept(weights)
    }
}

/// Puts the clean levels of a tensor into a vector.
fn put_levels(memory: &Memory, tensor: &WeightTensor, levels: &mut Vec<f32>) -> Result<(), MethodError> {
    match memory.coded(&tensor.name) {
        Some(coded) => coded.levels_over(levels).map_err(|source| quantize_error(tensor, source)),
        None => {
            levels.clone_from(&tensor.values);
            Ok(())
        }
    }
}

fn made(spec: &QuantizerSpec, tensor: &WeightTensor) -> Result<Quantizer, MethodError> {
    Quantizer::from_spec(spec).map_err(|source| MethodError::Spec { tensor: tensor.name.clone(), source })
}

pub(crate) fn quantize_error(tensor: &WeightTensor, source: bitquake_quant::QuantError) -> MethodError {
    MethodError::Quantize { tensor: tensor.name.clone(), source }
}

fn has_units(quantizer: &Quantizer) -> bool {
    quantizer.spec().granularity.is_some_and(|granularity| granularity != Granularity::Tensor)
}

/// The lowest and the highest code that an LSQ quantizer gives.
fn codes(quantizer: &Quantizer) -> (f32, f32) {
    let spec = quantizer.spec();
    let half = libm::exp2f(quantizer.bits() as f32 - 1.0);
    if spec.signed == Some(false) {
        return (0.0, 2.0 * half - 1.0);
    }
    let is_even = spec.encoding == Some(CodeEncoding::SignMagnitude);
    (if is_even { 1.0 - half } else { -half }, half - 1.0)
}
