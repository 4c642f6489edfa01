//! What learns: a network, its master weights, the method and the optimiser; and one step of it.

mod evaluate;
mod state;

use bitquake_data::Batch;
use bitquake_fault::{Name, Selector};
use bitquake_grad::{BatchStatistics, Executor, Mode, Network, Objective, ParameterRole, Pass};

use crate::error::TrainError;
use crate::method::{
    Half, Levels, Method, MethodError, Passes, Room, StepLosses, Stored, Update, WeightTensor, Weights,
};
use crate::optimiser::{Optimiser, OptimiserConfig, StepSettings};
use crate::recipe::Recipe;
use bitquake_record::Score;

/// A network that is trained. The master weights lie here, in f32; the network on its device holds what the memory would: the
/// levels of their codes, with or without faults.
pub(crate) struct Learner {
    network: Network,
    method: Method,
    optimiser: Optimiser,
    weights: Weights,
    /// The parameter of the network that each weight is.
    places: Vec<usize>,
    /// How the optimiser treats each weight.
    settings: Vec<TensorSettings>,
    statistics: Vec<Statistic>,
    smoothing: f32,
    classes: u32,
    /// Memory that steps use again.
    room: Room,
}

/// A running mean or variance.
#[derive(Clone, Debug)]
struct Statistic {
    place: usize,
    name: String,
    values: Vec<f32>,
}

/// The optimiser's settings of one tensor.
#[derive(Clone, Copy, Debug)]
struct TensorSettings {
    rate_factor: f64,
    weight_decay: f64,
}

/// What a step saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepScores {
    pub(crate) clean: Score,
    pub(crate) perturbed: Score,
}

/// Why a step could not be taken.
pub(crate) enum StepFailure {
    /// A loss, or a weight after the step, is no finite number.
    NotFinite {
        what: &'static str,
        loss: f64,
        place: Option<String>,
    },
    Error(TrainError),
}

impl<E: Into<TrainError>> From<E> for StepFailure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Learner {
    /// The learner at the beginning of a training.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] and [`TrainError::Method`] where the recipe does not fit the network.
    pub(crate) fn new(recipe: &Recipe, network: Network) -> Result<Self, TrainError> {
        let classes = classes(&network)?;
        let places: Vec<usize> = places(&network, ParameterRole::Weight);
        let tensors = places.iter().map(|&place| weight(&network, place)).collect();
        let weights = Weights { tensors };
        let mut method = Method::new(&recipe.method, &weights, recipe.seed)?;
        let settings = tensor_settings(&recipe.optimiser, &weights, &method)?;
        let statistics = places_of_statistics(&network);
        let ranges = method.ranges().len();
        let sizes: Vec<usize> =
            weights.tensors.iter().map(|tensor| tensor.values.len()).chain(vec![1; ranges]).collect();
        Ok(Self {
            optimiser: Optimiser::new(&recipe.optimiser, &sizes),
            network,
            method,
            weights,
            places,
            settings,
            statistics,
            smoothing: recipe.train.label_smoothing,
            classes,
            room: Room::default(),
        })
    }

    /// The number of outputs.
    pub(crate) fn classes(&self) -> u32 {
        self.classes
    }

    /// The sizes of the images that the network takes.
    pub(crate) fn input_shape(&self) -> &[Option<usize>] {
        self.network.input_shape()
    }

    /// What computes the passes.
    pub(crate) fn executor(&self) -> &Executor {
        self.network.executor()
    }

    /// How many numbers are trained.
    pub(crate) fn trained(&self) -> u64 {
        self.weights.tensors.iter().map(|tensor| tensor.values.len() as u64).sum()
    }

    pub(crate) fn begin_epoch(&mut self, epoch: u64, epochs: u64) {
        self.method.begin_epoch(epoch, epochs);
    }

    /// How many passes with faults the next step has.
    pub(crate) fn population(&self) -> u32 {
        self.method.plan().perturbed
    }

    /// One step on a batch (SPEC 2.4): project, store, pass without and with faults, combine, move the weights.
    pub(crate) fn step(&mut self, batch: &Batch, step: u64, rate: f64) -> Result<StepScores, StepFailure> {
        let mut labels = batch.labels().to_vec();
        self.method.noisy_labels(&mut labels, self.classes, step);
        let examples = Examples { images: batch.images(), labels: &labels };
        let mut scores = StepScores::default();
        loop {
            let is_again = self.half_step(examples, step, rate, &mut scores)?;
            if !is_again {
                return Ok(scores);
            }
        }
    }

    /// One move of the weights. Tells whether the method wants another one on the same batch.
    fn half_step(
        &mut self,
        examples: Examples<'_>,
        step: u64,
        rate: f64,
        scores: &mut StepScores,
    ) -> Result<bool, StepFailure> {
        self.method.project(&mut self.weights);
        let stored = self.method.store_in(&self.weights, &mut self.room)?;
        let plan = self.method.plan();
        let mut passes = Vec::new();
        if plan.clean {
            passes.push(self.pass(stored.levels(), examples)?);
        }
        self.perturbed(&stored, plan, examples, step, &mut passes)?;
        let (clean, perturbed) = passes.split_at(usize::from(plan.clean));
        let losses = StepLosses {
            clean: clean.first().map(|(half, _)| half.loss),
            perturbed: mean(perturbed.iter().map(|(half, _)| half.loss)),
        };
        clean.iter().for_each(|(_, score)| scores.clean.add(*score));
        perturbed.iter().for_each(|(_, score)| scores.perturbed.add(*score));
        if let Some(loss) = losses.clean.filter(|loss| !loss.is_finite()) {
            return Err(self.not_finite("the loss is not finite", loss, stored.levels(), examples));
        }
        let mut halves: Vec<Half> = passes.into_iter().map(|(half, _)| half).collect();
        let last = halves.pop().ok_or(MethodError::Call("a step without a pass"))?;
        let update = self.method.combine(&halves, last, &stored, &self.weights)?;
        self.apply(&update, rate);
        if !self.weights.tensors.iter().flat_map(|tensor| &tensor.values).all(|value| value.is_finite()) {
            let loss = losses.clean.or(losses.perturbed).unwrap_or(f64::NAN);
            return Err(self.not_finite("weights are not finite", loss, stored.levels(), examples));
        }
        self.method.finish_step(losses, &mut self.weights);
        self.room.keep_stored(stored);
        Ok(plan.again)
    }

    /// The passes with faults, on the same batch, after those that there are.
    fn perturbed(
        &mut self,
        stored: &Stored,
        plan: Passes,
        examples: Examples<'_>,
        step: u64,
        passes: &mut Vec<(Half, Score)>,
    ) -> Result<(), StepFailure> {
        for k in 0..plan.perturbed {
            let levels = if plan.attack {
                self.attacked(stored, examples, step, k)?
            } else {
                self.method.perturbed_in(stored, &self.weights, step, k, &mut self.room)?
            };
            passes.push(self.pass(&levels, examples)?);
            self.room.keep_levels(levels);
        }
        Ok(())
    }

    /// The levels with the worst bit errors that the method's search finds.
    fn attacked(
        &mut self,
        stored: &Stored,
        examples: Examples<'_>,
        step: u64,
        k: u32,
    ) -> Result<Levels, TrainError> {
        let Self { network, method, weights, places, smoothing, .. } = self;
        let mut slopes = |levels: &Levels| {
            load(network, places, levels)?;
            let (half, _) = pass(network, places, examples, *smoothing)?;
            Ok((half.loss, half.gradients))
        };
        Ok(method.attack(stored, weights, step, k, &mut slopes)?)
    }

    /// A forward and a backward pass with these levels as weights.
    fn pass(&mut self, levels: &Levels, examples: Examples<'_>) -> Result<(Half, Score), TrainError> {
        load(&mut self.network, &self.places, levels)?;
        pass(&self.network, &self.places, examples, self.smoothing)
    }

    /// Moves the weights, the ranges and the running statistics.
    fn apply(&mut self, update: &Update, rate: f64) {
        self.optimiser.begin_step();
        let tensors = self.weights.tensors.iter_mut().zip(&update.gradients).zip(&self.settings);
        for (slot, ((tensor, gradient), settings)) in tensors.enumerate() {
            let settings = settings.at(rate);
            self.optimiser.update(slot, &mut tensor.values, gradient, settings);
        }
        let first = self.weights.tensors.len();
        for (slot, range) in (first..).zip(self.method.ranges()) {
            let settings = StepSettings {
                rate: rate * f64::from(range.rate_factor),
                weight_decay: f64::from(range.weight_decay),
            };
            self.optimiser.update(slot, std::slice::from_mut(&mut range.value), &[range.gradient], settings);
            range.value = range.value.max(range.lower);
        }
        update.statistics.iter().for_each(|measured| self.follow(measured));
    }

    /// Moves running statistics toward those of a batch.
    fn follow(&mut self, measured: &BatchStatistics) {
        let both = [(measured.mean, &measured.batch_mean), (measured.variance, &measured.batch_variance)];
        for (place, batch) in both {
            let found = self.statistics.iter_mut().find(|statistic| statistic.place == place);
            for (running, &new) in found.into_iter().flat_map(|found| &mut found.values).zip(batch) {
                *running = *running * measured.momentum + new * (1.0 - measured.momentum);
            }
        }
    }

    /// The failure that tells which value of the network is not finite first, with the weights of the clean pass.
    fn not_finite(
        &mut self,
        what: &'static str,
        loss: f64,
        levels: &Levels,
        examples: Examples<'_>,
    ) -> StepFailure {
        let look =
            |network: &Network| network.first_nonfinite(examples.images, examples.labels.len(), Mode::Train);
        match load(&mut self.network, &self.places, levels).and_then(|()| Ok(look(&self.network)?)) {
            Ok(place) => StepFailure::NotFinite { what, loss, place },
            Err(error) => StepFailure::Error(error),
        }
    }
}

/// A batch: images, and the labels that the loss takes for right.
#[derive(Clone, Copy)]
struct Examples<'a> {
    images: &'a [f32],
    labels: &'a [u32],
}

impl TensorSettings {
    fn at(self, rate: f64) -> StepSettings {
        StepSettings { rate: rate * self.rate_factor, weight_decay: self.weight_decay }
    }
}

/// Gives the network the levels as its weights.
fn load(network: &mut Network, places: &[usize], levels: &Levels) -> Result<(), TrainError> {
    for (&place, values) in places.iter().zip(&levels.tensors) {
        network.set_parameter(place, values)?;
    }
    Ok(())
}

fn pass(
    network: &Network,
    places: &[usize],
    examples: Examples<'_>,
    smoothing: f32,
) -> Result<(Half, Score), TrainError> {
    let Examples { images, labels } = examples;
    let objective = Objective::CrossEntropy { labels, smoothing };
    let (batch, mode, values) = (labels.len(), Mode::Train, &[][..]);
    let pass = Pass { images, batch, objective, mode, parameters: places, values };
    let found = network.gradients(&pass)?;
    let score = Score::of_batch(&found.outputs, labels, found.loss);
    let half = Half { loss: found.loss, gradients: found.parameters, statistics: found.statistics };
    Ok((half, score))
}

fn mean(losses: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = losses.len();
    (count > 0).then(|| losses.sum::<f64>() / count as f64)
}

/// The parameters of a role.
fn places(network: &Network, role: ParameterRole) -> Vec<usize> {
    let all = network.parameters().iter().enumerate();
    all.filter(|(_, parameter)| parameter.role == role).map(|(place, _)| place).collect()
}

fn weight(network: &Network, place: usize) -> WeightTensor {
    let parameter = &network.parameters()[place];
    let values = network.parameter(place).to_vec();
    WeightTensor { name: parameter.name.clone(), shape: parameter.shape.clone(), values }
}

fn places_of_statistics(network: &Network) -> Vec<Statistic> {
    let statistic = |place: usize| Statistic {
        place,
        name: network.parameters()[place].name.clone(),
        values: network.parameter(place).to_vec(),
    };
    places(network, ParameterRole::Statistic).into_iter().map(statistic).collect()
}

/// The number of classes: the outputs for one image.
fn classes(network: &Network) -> Result<u32, TrainError> {
    let classes = network.outputs()?;
    if classes < 2 {
        let reason =
            format!("the network has {classes} output; training needs one for each class, two or more");
        return Err(TrainError::recipe("[model]", reason));
    }
    u32::try_from(classes).map_err(|_| TrainError::recipe("[model]", "the network has too many outputs"))
}

/// The settings of each tensor: those of the recipe, then those of the overrides that select it, then the method's.
fn tensor_settings(
    config: &OptimiserConfig,
    weights: &Weights,
    method: &Method,
) -> Result<Vec<TensorSettings>, TrainError> {
    let base = TensorSettings { rate_factor: 1.0, weight_decay: config.weight_decay() };
    let mut settings = vec![base; weights.tensors.len()];
    let names: Vec<Name<'_>> = weights
        .tensors
        .iter()
        .map(|tensor| Name { text: &tensor.name, by_name_only: false, also: &[] })
        .collect();
    for over in &config.overrides {
        let chosen = Selector::new(&over.select).and_then(|selector| selector.matches(&names));
        let chosen =
            chosen.map_err(|error| TrainError::recipe("[[optimiser.override]]", error.to_string()))?;
        for (settings, _) in settings.iter_mut().zip(chosen).filter(|(_, is_chosen)| *is_chosen) {
            settings.weight_decay = over.weight_decay.unwrap_or(settings.weight_decay);
            settings.rate_factor = over.rate_factor.unwrap_or(settings.rate_factor);
        }
    }
    for (settings, tensor) in settings.iter_mut().zip(&weights.tensors) {
        if let Some(decay) = method.weight_decay(tensor) {
            settings.weight_decay = f64::from(decay);
        }
    }
    Ok(settings)
}
