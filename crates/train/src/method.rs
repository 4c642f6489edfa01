//! What happens to the weights while a network is trained: how they are stored, clipped, faulted, penalised and averaged.
//!
//! A [`MethodConfig`] is the table `[method]` of a recipe; a [`Method`] is that table at work on the weights of one network. It
//! knows no network: the trainer runs the passes and hands gradients over. One step, with what the names of SPEC 2.4 are here:
//!
//! 1. [`Method::project`] clips the masters;
//! 2. [`Method::store`] quantizes them: codes, and the levels that the network computes with ([`Stored`]);
//! 3. [`Method::plan`] says which passes the step has ([`Passes`]): a clean one, perturbed ones on the same batch;
//! 4. [`Method::perturbed`] (or [`Method::attack`]) gives the levels of a perturbed pass: faults hit the *codes*, each faulted
//!    word is decoded once and nothing is quantized again;
//! 5. [`Method::combine`] makes one gradient of the masters and of learnt ranges ([`Method::ranges`]) of them all;
//! 6. the optimiser's step;
//! 7. [`Method::finish_step`] decides about the next step.
//!
//! All randomness is keyed by the seed, the step and the number of the pass; [`Method::state`] is everything else that a
//! snapshot needs to go on as if nothing had happened.

mod adversarial;
mod averaging;
mod backward;
mod combine;
mod config;
mod curriculum;
mod error;
mod labels;
mod penalty;
mod perturb;
mod quantization;
mod ranges;
mod room;
mod state;
mod statistics;
mod weights;

use bitquake_sample::{PartKey, Rate, StreamKey};
use bitquake_storage::StorageSpec;

pub use adversarial::{GradientOf, LossAndGradient};
pub use config::{
    AttackConfig, AveragingConfig, BitErrorConfig, ClipRule, Combination, CurriculumRule, LsqForm,
    MethodConfig, RangeRule, StatisticsRule, Tensors,
};
pub use curriculum::StepLosses;
pub use error::MethodError;
pub use ranges::RangeParameter;
pub use room::Room;
pub use state::MethodState;
pub use statistics::BatchStatistics;
pub use weights::{Levels, Stored, WeightTensor, Weights};

use averaging::Averaging;
use curriculum::Curriculum;
use perturb::{BitErrors, Share};
use quantization::Quantization;

/// PACT ranges never fall below this: below 0 the clipping is no interval.
const LEAST_ALPHA: f32 = 1e-3;

/// One pass over a batch.
///
/// `G` is what holds the gradient of one tensor: a vector, or a slice of memory of somebody else.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Half<G = Vec<f32>> {
    /// Its loss.
    pub loss: f64,
    /// The gradient of the loss with respect to the levels that the pass computed with, row-major: one a weight tensor.
    pub gradients: Vec<G>,
    /// The batch statistics of its normalizations.
    pub statistics: Vec<BatchStatistics>,
}

/// The passes of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes {
    /// Whether there is one with the clean levels.
    pub clean: bool,
    /// How many there are with perturbed levels.
    pub perturbed: u32,
    /// Their levels come from [`Method::attack`], not from [`Method::perturbed`].
    pub attack: bool,
    /// After this step the same batch goes through a whole step once more (alternating training, S23).
    pub again: bool,
}

/// What a step does to the weights.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update<G = Vec<f32>> {
    /// The gradient of the masters: one a tensor. Those of learnt ranges are in [`RangeParameter::gradient`].
    pub gradients: Vec<G>,
    /// The loss of the penalties, which is no part of any pass's loss.
    pub penalty: f64,
    /// What the running statistics are to follow.
    pub statistics: Vec<BatchStatistics>,
}

/// A method at work.
///
/// ```
/// use bitquake_train::method::{Half, Method, MethodConfig, StepLosses, WeightTensor, Weights};
/// let config: MethodConfig = toml::from_str(r#"
///     w_max = 0.1
///     quantization = { family = "asymmetric", bits = 8, signed = false }
///     bit_errors = { rate = 0.01 }
/// "#)?;
/// let values = vec![-0.4, 0.05, 0.02, -0.07];
/// let mut weights = Weights { tensors: vec![WeightTensor { name: "fc.weight".into(), shape: vec![2, 2], values }] };
/// let mut method = Method::new(&config, &weights, 42)?;
/// for step in 0..3 {
///     method.project(&mut weights);
///     let stored = method.store(&weights)?;
///     let run = |levels: &[Vec<f32>]| Half { loss: 1.0, gradients: levels.to_vec(), ..Half::default() }; // a network
///     let mut passes = vec![run(&stored.levels().tensors)]; // the table above has a clean pass in each step
///     for k in 0..method.plan().perturbed {
///         passes.push(run(&method.perturbed(&stored, &weights, step, k)?.tensors));
///     }
///     let losses = StepLosses { clean: Some(passes[0].loss), perturbed: passes.get(1).map(|half| half.loss) };
///     let last = passes.pop().expect("the clean one at least");
///     let update = method.combine(&passes, last, &stored, &weights)?;
///     for (value, gradient) in weights.tensors[0].values.iter_mut().zip(&update.gradients[0]) {
///         *value -= 0.1 * gradient; // an optimiser
///     }
///     method.finish_step(losses, &mut weights);
/// }
/// assert_eq!(method.plan().perturbed, 1); // the loss is below the curriculum's T
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Method {
    config: MethodConfig,
    seed: u64,
    /// Steps finished; decides stochastic rounding.
    step: u64,
    quantization: Quantization,
    errors: Option<Errors>,
    averaging: Option<Averaging>,
}

/// Training on bit errors.
#[derive(Clone, Debug)]
struct Errors {
    config: BitErrorConfig,
    /// Whether steps have a clean pass at all.
    has_clean: bool,
    faults: BitErrors,
    curriculum: Curriculum,
    /// The first epoch of this run.
    start: Option<u64>,
    /// Of alternating training, between its two steps.
    between: Option<Between>,
}

/// What the second step of alternating training has to know of the first.
#[derive(Clone, Debug, PartialEq)]
struct Between {
    clean_loss: Option<f64>,
    /// The least and the greatest value of each tensor.
    ends: Vec<(f32, f32)>,
}

impl Method {
    /// Checks the table against the network, and looks at the weights that training starts from where ranges need it.
    ///
    /// # Errors
    /// [`MethodError`] for numbers that cannot be, fields that make no quantizer, globs that match nothing, a fault model that
    /// does not fit, and weights that are not finite.
    pub fn new(config: &MethodConfig, weights: &Weights, seed: u64) -> Result<Self, MethodError> {
        if let Some((field, wanted)) = config.problem() {
            return Err(MethodError::Value { field, wanted });
        }
        check_shapes(weights)?;
        let quantization = Quantization::new(config, weights)?;
        let averaging = config.averaging.map(|averaging| Averaging::new(averaging.tau, weights));
        let mut method =
            Self { config: config.clone(), seed, step: 0, quantization, errors: None, averaging };
        method.errors = method.error_config().map(|errors| method.errors(errors, weights)).transpose()?;
        Ok(method)
    }

    /// The bit errors of the table; those of `p0` are perturbed passes alone.
    fn error_config(&self) -> Option<BitErrorConfig> {
        let noise = |p0| BitErrorConfig {
            rate: Some(p0),
            combination: Combination::Adversarial,
            curriculum: CurriculumRule::Always,
            ..BitErrorConfig::default()
        };
        self.config.bit_errors.clone().or_else(|| self.config.p0.map(noise))
    }

    fn errors(&self, config: BitErrorConfig, weights: &Weights) -> Result<Errors, MethodError> {
        // Ranges that hold nothing back: the weights may lie outside w_max still.
        let stored = self.quantization.clone().store(weights, self.rounding_key(), Stored::default())?;
        let faults = BitErrors::new(&config, &stored)?;
        if config.attack.is_some() {
            adversarial::check_targets(&faults.space, &stored)?;
        }
        let is_perturbed_alone = config.curriculum == CurriculumRule::Always
            && config.combination == Combination::Adversarial
            && self.config.statistics == StatisticsRule::Perturbed;
        let curriculum = Curriculum::new(config.curriculum, config.start_loss);
        let has_clean = self.config.p0.is_none() && !is_perturbed_alone;
        Ok(Errors { config, has_clean, faults, curriculum, start: None, between: None })
    }

    /// Decides stochastic rounding.
    fn rounding_key(&self) -> StreamKey {
        StreamKey { seed: self.seed, point: 0, trial: self.step }
    }

    /// Clips the masters to `-w_max..w_max` and into frozen ranges, and keeps learnt ranges above their lower bounds. Doing it
    /// again changes nothing.
    pub fn project(&mut self, weights: &mut Weights) {
        for tensor in &mut weights.tensors {
            if tensor.is_alpha() {
                tensor
                    .values
                    .iter_mut()
                    .filter(|alpha| **alpha < LEAST_ALPHA)
                    .for_each(|alpha| *alpha = LEAST_ALPHA);
            } else if let Some(w_max) = self.config.w_max {
                tensor.values.iter_mut().for_each(|value| *value = value.clamp(-w_max, w_max));
            }
        }
        self.quantization.project(weights);
    }

    /// Quantizes the masters: the codes of this step and what they stand for. The levels are those that a campaign with
    /// [`storage`](Self::storage) computes with, bit for bit (but with stochastic rounding, which a campaign keys by its own
    /// seed).
    ///
    /// # Errors
    /// [`MethodError`] for values that are not finite, or that the quantizer does not take.
    pub fn store(&mut self, weights: &Weights) -> Result<Stored, MethodError> {
        self.store_in(weights, &mut Room::default())
    }

    /// As [`store`](Self::store), in memory that is used again.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn store_in(&mut self, weights: &Weights, room: &mut Room) -> Result<Stored, MethodError> {
        let key = self.rounding_key();
        self.quantization.store(weights, key, room.take_stored())
    }

    /// The passes of the next step.
    #[must_use]
    pub fn plan(&self) -> Passes {
        let plain = Passes { clean: true, perturbed: 0, attack: false, again: false };
        let Some(errors) = &self.errors else { return plain };
        let population = if errors.curriculum.is_on() { errors.config.population } else { 0 };
        let attack = errors.config.attack.is_some();
        match errors.config.combination {
            Combination::Alternating if errors.between.is_some() => {
                Passes { clean: false, perturbed: errors.config.population, attack, again: false }
            }
            Combination::Alternating => Passes { again: population > 0, ..plain },
            _ => Passes { clean: errors.has_clean, perturbed: population, attack, again: false },
        }
    }

    fn perturbing(&self) -> Result<&Errors, MethodError> {
        self.errors.as_ref().ok_or(MethodError::Call("the method has no bit errors, so nothing is perturbed"))
    }

    /// The key of a perturbed pass.
    fn pass_key(&self, step: u64, k: u32) -> PartKey {
        StreamKey { seed: self.seed, point: 0, trial: step }.numbered("perturbed pass", k.into())
    }

    /// What the network sees in perturbed pass `k` of a step: faults drawn with the key (seed, step, k) hit the stored words,
    /// protections do their work, and every word of a tensor that was hit is decoded.
    ///
    /// # Errors
    /// [`MethodError`] if the method has no random bit errors, if a count is more than there are bits, or if `stored` is of
    /// other weights.
    pub fn perturbed(
        &self,
        stored: &Stored,
        weights: &Weights,
        step: u64,
        k: u32,
    ) -> Result<Levels, MethodError> {
        self.perturbed_in(stored, weights, step, k, &mut Room::default())
    }

    /// As [`perturbed`](Self::perturbed), in memory that is used again.
    ///
    /// # Errors
    /// As [`perturbed`](Self::perturbed).
    pub fn perturbed_in(
        &self,
        stored: &Stored,
        weights: &Weights,
        step: u64,
        k: u32,
        room: &mut Room,
    ) -> Result<Levels, MethodError> {
        self.perturbing()?.faults.levels(stored, weights, &self.pass_key(step, k), Share::OfEpoch, room)
    }

    /// As [`perturbed`](Self::perturbed), put into slices that are the network's own weights: one a tensor, and as long. Returns how many
    /// stored bits differ from the clean memory.
    ///
    /// # Errors
    /// As [`perturbed`](Self::perturbed); and if slices are not as long as their tensors, then nothing is written.
    pub fn put_perturbed(
        &self,
        stored: &Stored,
        weights: &Weights,
        step: u64,
        k: u32,
        room: &mut Room,
        out: &mut [&mut [f32]],
    ) -> Result<u64, MethodError> {
        check_values("levels of tensor", out, weights)?;
        let faults = &self.perturbing()?.faults;
        faults.put_levels(stored, weights, &self.pass_key(step, k), Share::OfEpoch, room, out)
    }

    /// What the network sees under the worst bit errors found (SPEC 2.9), in perturbed pass `k` of a step. `gradient` runs the
    /// network on levels and gives its loss and gradient; it is called `restarts * (steps + 1)` times.
    ///
    /// # Errors
    /// [`MethodError`] if the method has no attack, or the one that `gradient` gave.
    pub fn attack(
        &self,
        stored: &Stored,
        weights: &Weights,
        step: u64,
        k: u32,
        gradient: &mut GradientOf<'_>,
    ) -> Result<Levels, MethodError> {
        let errors = self.perturbing()?;
        let config = errors.config.attack.ok_or(MethodError::Call("the method has no attack"))?;
        adversarial::attack(config, &errors.faults.space, stored, weights, &self.pass_key(step, k), gradient)
    }

    /// Levels to validate with: pattern `k` of an epoch, at the full rate whatever the curriculum, from streams that no training
    /// step has. `None` where the method draws no faults.
    ///
    /// # Errors
    /// As [`perturbed`](Self::perturbed).
    pub fn validation_faults(
        &self,
        stored: &Stored,
        weights: &Weights,
        epoch: u64,
        k: u32,
    ) -> Result<Option<Levels>, MethodError> {
        let Some(errors) = self.errors.as_ref().filter(|errors| errors.faults.is_random()) else {
            return Ok(None);
        };
        let trial = StreamKey { seed: self.seed, point: 0, trial: epoch };
        let key = trial.part("validation").numbered("pattern", k.into());
        errors.faults.levels(stored, weights, &key, Share::Full, &mut Room::default()).map(Some)
    }

    /// The gradient of the step: the passes' gradients combined (S20 to S23), taken back through the quantizers to the masters
    /// and to the learnt ranges, with the penalties' gradients added and every element clipped.
    ///
    /// The passes are those of [`plan`](Self::plan) in their order, the clean one first: all but the last are `earlier`. The gradient of
    /// the step takes the place of that of the last one.
    ///
    /// # Errors
    /// [`MethodError`] if the passes are not those of the plan, or gradients do not fit the weights.
    pub fn combine<G: AsRef<[f32]> + AsMut<[f32]>>(
        &mut self,
        earlier: &[Half],
        mut last: Half<G>,
        stored: &Stored,
        weights: &Weights,
    ) -> Result<Update<G>, MethodError> {
        let has_clean = self.check_count(earlier.len() + 1)?;
        earlier.iter().try_for_each(|half| check_values("gradient of tensor", &half.gradients, weights))?;
        check_values("gradient of tensor", &last.gradients, weights)?;
        let (combination, clamp) = self.errors.as_ref().map_or((Combination::Average, None), |errors| {
            (errors.config.combination, errors.config.clamp())
        });
        let mut gradients: Vec<&mut [f32]> = last.gradients.iter_mut().map(AsMut::as_mut).collect();
        if !earlier.is_empty() || !has_clean {
            let clean = has_clean.then(|| earlier[0].gradients.as_slice());
            let perturbed = earlier[usize::from(has_clean)..].iter().map(|half| half.gradients.as_slice());
            let clean = clean.filter(|_| combination == Combination::Average);
            combine::combine_onto(clean, &perturbed.collect::<Vec<_>>(), &mut gradients, clamp);
        }
        self.pull_back(&mut gradients, stored, weights);
        let penalty = self.penalise(&mut gradients, weights);
        self.clip(&mut gradients);
        let statistics = earlier.iter().map(|half| &half.statistics).chain([&last.statistics]);
        let statistics: Vec<&[BatchStatistics]> = statistics.map(Vec::as_slice).collect();
        let (clean, perturbed) = statistics.split_at(usize::from(has_clean));
        let statistics = statistics::mixed(self.config.statistics, clean.first().copied(), perturbed)?;
        Ok(Update { gradients: last.gradients, penalty, statistics })
    }

    /// That there are as many passes as the plan says; returns whether the first one is a clean one.
    fn check_count(&self, passes: usize) -> Result<bool, MethodError> {
        let Passes { clean, perturbed, .. } = self.plan();
        if passes == usize::from(clean) + perturbed as usize {
            return Ok(clean);
        }
        Err(MethodError::Call("the passes are not those that the plan of the step has"))
    }

    fn pull_back(&mut self, gradients: &mut [&mut [f32]], stored: &Stored, weights: &Weights) {
        let scaled = self.quantization.scales_gradients();
        for (at, (gradient, tensor)) in gradients.iter_mut().zip(&weights.tensors).enumerate() {
            let backward = self.quantization.backward(at, tensor, stored);
            let of_range = backward.pull(gradient, &tensor.values, scaled);
            self.quantization.set_gradient(at, of_range);
        }
    }

    fn penalise(&self, gradients: &mut [&mut [f32]], weights: &Weights) -> f64 {
        let mut loss = 0.0;
        for (gradient, tensor) in
            gradients.iter_mut().zip(&weights.tensors).filter(|(_, tensor)| !tensor.is_alpha())
        {
            if let Some(lambda) = self.config.clustering.filter(|_| tensor.is_kernel()) {
                loss += penalty::clustering(lambda, &tensor.values, gradient);
            }
            if let Some(coefficient) = self.config.max_magnitude {
                loss += penalty::max_magnitude(coefficient, &tensor.values, gradient);
            }
        }
        loss
    }

    fn clip(&mut self, gradients: &mut [&mut [f32]]) {
        let Some(limit) = self.config.gradient_clip else { return };
        let of_ranges = self.quantization.ranges.iter_mut().map(|range| &mut range.gradient);
        gradients
            .iter_mut()
            .flat_map(|gradient| gradient.iter_mut())
            .chain(of_ranges)
            .for_each(|g| *g = g.clamp(-limit, limit));
    }

    /// The learnt ranges, for the optimiser; none unless they are learnt.
    pub fn ranges(&mut self) -> &mut [RangeParameter] {
        &mut self.quantization.ranges
    }

    /// Whether [`finish_step`](Self::finish_step) will look at the weights, or change them; else any will do.
    #[must_use]
    pub fn finishes_with_weights(&self) -> bool {
        let is_second = self.errors.as_ref().is_some_and(|errors| errors.between.is_some());
        self.averaging.is_some() || self.plan().again || is_second
    }

    /// Ends a step, after the optimiser's: the averaged weights follow, the curriculum chooses for the next step, and the
    /// second step of alternating training takes weights back into the range that they had before it.
    pub fn finish_step(&mut self, losses: StepLosses, weights: &mut Weights) {
        let goes_on = self.plan().again;
        self.step += 1;
        self.quantization.ranges.iter_mut().for_each(RangeParameter::keep_positive);
        if let Some(errors) = &mut self.errors {
            if goes_on {
                let ends = weights.tensors.iter().map(|tensor| ends(&tensor.values)).collect();
                errors.between = Some(Between { clean_loss: losses.clean, ends });
                return;
            }
            let between = errors.between.take();
            let clean = losses.clean.or(between.as_ref().and_then(|between| between.clean_loss));
            if let Some(between) = between {
                clamp_to(weights, &between.ends);
            }
            errors.curriculum.decide(StepLosses { clean, ..losses });
        }
        if let Some(averaging) = &mut self.averaging {
            averaging.add(weights);
        }
    }

    /// Tells which epoch begins, counted from 0, of how many. The rate of the curriculum `step` follows it; the first epoch told
    /// is where this run starts.
    pub fn begin_epoch(&mut self, epoch: u64, epochs: u64) {
        if let Some(errors) = &mut self.errors {
            let start = *errors.start.get_or_insert(epoch);
            errors.faults.share = errors.curriculum.share(start, epoch, epochs);
        }
    }

    /// The bit error rate of the perturbed passes in this epoch, if there is one.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let errors = self.errors.as_ref()?;
        Some(errors.config.rate? * errors.faults.share)
    }

    /// Replaces labels by uniform ones (S28), each with the probability `noisy_labels`, keyed by (seed, step).
    pub fn noisy_labels(&self, labels: &mut [u32], classes: u32, step: u64) {
        if let Some(rate) = self.config.noisy_labels {
            labels::add_noise(labels, classes, Rate::clamped(rate), self.seed, step);
        }
    }

    /// The averaged weights (S25), if there are any.
    #[must_use]
    pub fn averaged(&self) -> Option<&Weights> {
        self.averaging.as_ref().map(|averaging| &averaging.average)
    }

    /// The weight decay of a tensor, where it has one of its own: that of PACT ranges.
    #[must_use]
    pub fn weight_decay(&self, tensor: &WeightTensor) -> Option<f32> {
        self.config.pact_decay.filter(|_| tensor.is_alpha())
    }

    /// The storage that gives the codes of these weights again: native, with one override for each quantized tensor, whose
    /// range is frozen where a quantizer's fields can say it. Meant for a campaign over a file that holds the masters.
    ///
    /// # Errors
    /// As [`store`](Self::store).
    pub fn storage(&self, weights: &Weights) -> Result<StorageSpec, MethodError> {
        let stored = self.quantization.clone().store(weights, self.rounding_key(), Stored::default())?;
        Ok(self.quantization.storage(weights, &stored))
    }

    /// What `[fault] select` of a campaign must be so that it hits what training hits: the names of the tensors. Without bit
    /// errors, those of the quantized tensors; of all, if none is.
    #[must_use]
    pub fn fault_select(&self, weights: &Weights) -> Vec<String> {
        if let Some(errors) = &self.errors {
            return errors.faults.space.tensors().iter().map(|tensor| tensor.name.clone()).collect();
        }
        let quantized = self.quantization.quantized(weights);
        let all =
            || weights.tensors.iter().filter(|tensor| !tensor.is_alpha()).map(|tensor| tensor.name.clone());
        if quantized.is_empty() { all().collect() } else { quantized }
    }
}

/// That there are values for each tensor, and as many as it has.
fn check_values<V: AsRef<[f32]>>(
    what: &'static str,
    given: &[V],
    weights: &Weights,
) -> Result<(), MethodError> {
    check_length("tensors of a pass", 0, given.len(), weights.tensors.len())?;
    given.iter().zip(&weights.tensors).enumerate().try_for_each(|(index, (given, tensor))| {
        check_length(what, index, given.as_ref().len(), tensor.values.len())
    })
}

/// That every tensor has as many values as its shape says.
fn check_shapes(weights: &Weights) -> Result<(), MethodError> {
    weights.tensors.iter().enumerate().try_for_each(|(index, tensor)| {
        check_length("values of tensor", index, tensor.values.len(), tensor.shape.iter().product())
    })
}

fn check_length(what: &'static str, index: usize, got: usize, wanted: usize) -> Result<(), MethodError> {
    if got == wanted { Ok(()) } else { Err(MethodError::Length { what, index, got, wanted }) }
}

/// The least and the greatest value; an empty interval of nothing.
fn ends(values: &[f32]) -> (f32, f32) {
    values
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

fn clamp_to(weights: &mut Weights, ends: &[(f32, f32)]) {
    for (tensor, &(low, high)) in weights.tensors.iter_mut().zip(ends) {
        if low <= high {
            tensor.values.iter_mut().for_each(|value| *value = value.clamp(low, high));
        }
    }
}

#[cfg(test)]
mod tests;
