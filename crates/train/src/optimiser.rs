//! Optimisers: how a gradient moves a parameter.
//!
//! SGD with momentum, Adam and AdamW, with the definitions and the order of float32 operations of PyTorch. The state is flat: for
//! each tensor one or two vectors of its length.

mod config;

use crate::error::TrainError;

pub use config::{OptimiserConfig, OptimiserKind, OptimiserOverride};

/// What a step of one tensor needs beside its gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    /// The learning rate of this step.
    pub rate: f64,
    /// The weight decay: added to the gradient as `decay * value` (SGD, Adam), or taken off the value as `rate * decay * value`
    /// (AdamW).
    pub weight_decay: f64,
}

/// An optimiser with its state.
///
/// ```
/// use bitquake_train::{Optimiser, OptimiserConfig, StepSettings};
///
/// let mut optimiser = Optimiser::new(&OptimiserConfig::default(), &[2]);
/// let mut weights = [1.0, -1.0];
/// optimiser.begin_step();
/// optimiser.update(0, &mut weights, &[0.5, 0.0], StepSettings { rate: 0.1, weight_decay: 0.0 });
/// assert_eq!(weights, [0.905, -1.0]); // Nesterov: 0.1 * (0.5 + 0.9 * 0.5)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Optimiser {
    rule: Rule,
    steps: u64,
    moments: Vec<Moments>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Sgd { momentum: f32, nesterov: bool },
    Adam { betas: [f64; 2], epsilon: f32, is_decoupled: bool },
}

/// The state of one tensor: the momentum of SGD, or the means of the gradient and of its square of Adam.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Optimiser {
    /// An optimiser for tensors of so many elements each, its state zero.
    #[must_use]
    pub fn new(config: &OptimiserConfig, sizes: &[usize]) -> Self {
        let rule = rule(config);
        let moments = sizes.iter().map(|&size| Moments::new(rule, size)).collect();
        Self { rule, steps: 0, moments }
    }

    /// Counts one more step; before the updates of all tensors.
    pub fn begin_step(&mut self) {
        self.steps += 1;
    }

    /// Moves the values of one tensor against its gradient.
    ///
    /// SGD (momentum m): `g += decay * w; b = m * b + g; w -= rate * b`, with Nesterov `w -= rate * (g + m * b)`; the first `b` is
    /// `g`. Adam (Kingma and Ba 2015, algorithm 1): `w -= rate / (1 - beta1^t) * mean / (sqrt(square) / sqrt(1 - beta2^t) + epsilon)`.
    /// AdamW (Loshchilov and Hutter 2019): the same, without decay in the gradient, after `w *= 1 - rate * decay`.
    ///
    /// # Panics
    /// When there is no such tensor, or the lengths differ from its size.
    pub fn update(&mut self, tensor: usize, values: &mut [f32], gradient: &[f32], settings: StepSettings) {
        let moments = &mut self.moments[tensor];
        assert_eq!(values.len(), gradient.len(), "a gradient of another tensor");
        match self.rule {
            Rule::Sgd { momentum: 0.0, .. } => plain(values, gradient, settings),
            Rule::Sgd { momentum, nesterov } => {
                with_momentum(&mut moments.first, values, gradient, settings, momentum, nesterov);
            }
            Rule::Adam { betas, epsilon, is_decoupled } => {
                let scales = AdamScales::new(betas, epsilon, self.steps, settings.rate);
                scales.update(moments, values, gradient, settings, is_decoupled);
            }
        }
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The state's vectors, tensor by tensor: one each for SGD with momentum, two each for Adam, none for plain SGD.
    pub fn state(&self) -> impl Iterator<Item = &[f32]> {
        let both = self.moments.iter().flat_map(|moments| [&moments.first, &moments.second]);
        both.filter(|values| !values.is_empty()).map(Vec::as_slice)
    }

    /// Puts back what [`state`](Self::state) and [`steps`](Self::steps) gave.
    ///
    /// # Errors
    /// [`TrainError::Snapshot`] when the vectors are not those of these tensors.
    pub fn restore(&mut self, steps: u64, state: &[Vec<f32>]) -> Result<(), TrainError> {
        let mut slots: Vec<&mut Vec<f32>> = self.slots().collect();
        let fits = slots.len() == state.len() && slots.iter().zip(state).all(|(a, b)| a.len() == b.len());
        if !fits {
            return Err(TrainError::Snapshot("the state of the optimiser is of other tensors".into()));
        }
        slots.iter_mut().zip(state).for_each(|(slot, values)| slot.copy_from_slice(values));
        self.steps = steps;
        Ok(())
    }

    fn slots(&mut self) -> impl Iterator<Item = &mut Vec<f32>> {
        let both = self.moments.iter_mut().flat_map(|moments| [&mut moments.first, &mut moments.second]);
        both.filter(|values| !values.is_empty())
    }
}

fn rule(config: &OptimiserConfig) -> Rule {
    match config.kind {
        OptimiserKind::Sgd => Rule::Sgd { momentum: config.momentum() as f32, nesterov: config.nesterov() },
        OptimiserKind::Adam | OptimiserKind::Adamw => Rule::Adam {
            betas: config.betas(),
            epsilon: config.epsilon() as f32,
            is_decoupled: config.kind == OptimiserKind::Adamw,
        },
    }
}

impl Moments {
    fn new(rule: Rule, size: usize) -> Self {
        let of = |is_kept: bool| if is_kept { vec![0.0; size] } else { Vec::new() };
        let is_adam = matches!(rule, Rule::Adam { .. });
        let has_momentum = matches!(rule, Rule::Sgd { momentum, .. } if momentum != 0.0);
        Self { first: of(is_adam || has_momentum), second: of(is_adam) }
    }
}

fn plain(values: &mut [f32], gradient: &[f32], settings: StepSettings) {
    let (rate, decay) = (settings.rate as f32, settings.weight_decay as f32);
    for (value, &slope) in values.iter_mut().zip(gradient) {
        *value -= rate * (slope + decay * *value);
    }
}

fn with_momentum(
    buffer: &mut [f32],
    values: &mut [f32],
    gradient: &[f32],
    settings: StepSettings,
    momentum: f32,
    nesterov: bool,
) {
    let (rate, decay) = (settings.rate as f32, settings.weight_decay as f32);
    for ((value, &slope), buffer) in values.iter_mut().zip(gradient).zip(buffer) {
        let slope = slope + decay * *value;
        *buffer = momentum * *buffer + slope;
        let direction = if nesterov { slope + momentum * *buffer } else { *buffer };
        *value -= rate * direction;
    }
}

/// What all elements of an Adam step share.
struct AdamScales {
    /// `1 - beta1`, the share of the new gradient in its mean.
    toward: f32,
    beta2: f32,
    rest2: f32,
    /// `rate / (1 - beta1^t)`.
    step: f32,
    /// `sqrt(1 - beta2^t)`.
    correction: f32,
    epsilon: f32,
}

impl AdamScales {
    fn new(betas: [f64; 2], epsilon: f32, steps: u64, rate: f64) -> Self {
        let [beta1, beta2] = betas;
        Self {
            toward: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            rest2: (1.0 - beta2) as f32,
            step: (rate / (1.0 - power(beta1, steps))) as f32,
            correction: (1.0 - power(beta2, steps)).sqrt() as f32,
            epsilon,
        }
    }

    fn update(
        &self,
        moments: &mut Moments,
        values: &mut [f32],
        gradient: &[f32],
        settings: StepSettings,
        is_decoupled: bool,
    ) {
        let coupled = if is_decoupled { 0.0 } else { settings.weight_decay as f32 };
        let keep = if is_decoupled { (1.0 - settings.rate * settings.weight_decay) as f32 } else { 1.0 };
        let state = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, &slope), (mean, square)) in values.iter_mut().zip(gradient).zip(state) {
            *value *= keep;
            let slope = slope + coupled * *value;
            *mean += self.toward * (slope - *mean);
            *square = self.beta2 * *square + self.rest2 * slope * slope;
            *value -= self.step * *mean / (square.sqrt() / self.correction + self.epsilon);
        }
    }
}

/// `base^exponent` by squaring: the same digits on every platform, unlike `powi`.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut product = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of step `step` of the vectors.
    fn gradient(step: usize) -> [f32; 3] {
        let step = step as f32;
        [0.5 - 0.1 * step, -1.0 + 0.03125 * step * step, 1e-4 * (step + 1.0)]
    }

    fn config(fields: &str) -> OptimiserConfig {
        toml::from_str(fields).unwrap()
    }

    /// The fields, the rate and the decay; three values after 1, 2 and 10 steps from (1, -0.5, 0.25). Made by
    /// tools/fixtures/optimiser_steps.py with PyTorch 2.15.
    #[expect(clippy::excessive_precision, reason = "as PyTorch's float32 are printed")]
    const PYTORCH: [(&str, f64, f64, [[f32; 3]; 3]); 7] = [
        (
            "kind = 'sgd'\nmomentum = 0.0\nnesterov = false",
            0.1,
            0.0,
            [
                [0.949999988, -0.400000006, 0.249990001],
                [0.909999967, -0.303124994, 0.249970004],
                [0.949999988, -0.39062497, 0.249449998],
            ],
        ),
        (
            "kind = 'sgd'\nmomentum = 0.0\nnesterov = false",
            0.1,
            0.05,
            [
                [0.944999993, -0.397500008, 0.248740003],
                [0.900274992, -0.298637509, 0.24747631],
                [0.90626353, -0.38000071, 0.237235725],
            ],
        ),
        (
            "kind = 'sgd'\nnesterov = false",
            0.05,
            5e-4,
            [
                [0.97497499, -0.449987501, 0.24998875],
                [0.932428122, -0.356527507, 0.249962375],
                [0.645533442, 0.456076771, 0.248853683],
            ],
        ),
        (
            "kind = 'sgd'",
            0.05,
            5e-4,
            [
                [0.952452481, -0.404976249, 0.249978632],
                [0.894136965, -0.272415638, 0.249938652],
                [0.655818462, 0.415052116, 0.248630986],
            ],
        ),
        (
            "kind = 'adam'",
            1e-2,
            0.0,
            [
                [0.99000001, -0.49000001, 0.240000993],
                [0.980118752, -0.480009556, 0.230349779],
                [0.936661124, -0.430257291, 0.15154478],
            ],
        ),
        (
            "kind = 'adam'\nbetas = [0.8, 0.99]\nepsilon = 1e-3",
            1e-2,
            0.1,
            [
                [0.990016639, -0.490009516, 0.240383148],
                [0.980173588, -0.480036914, 0.230791971],
                [0.934920549, -0.43828553, 0.156658515],
            ],
        ),
        (
            "kind = 'adamw'",
            1e-2,
            0.1,
            [
                [0.989000022, -0.489500016, 0.239751011],
                [0.978129804, -0.479020059, 0.229860052],
                [0.927092552, -0.425691545, 0.149493873],
            ],
        ),
    ];

    #[test]
    fn steps_are_those_of_pytorch() {
        for (fields, rate, weight_decay, wanted) in PYTORCH {
            let mut optimiser = Optimiser::new(&config(fields), &[3]);
            let mut values = [1.0, -0.5, 0.25];
            let mut seen = Vec::new();
            for step in 0..10 {
                optimiser.begin_step();
                optimiser.update(0, &mut values, &gradient(step), StepSettings { rate, weight_decay });
                seen.push(values);
            }
            for (step, wanted) in [0, 1, 9].into_iter().zip(wanted) {
                let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 4.0 * f32::EPSILON * b.abs();
                let is_near = seen[step].iter().zip(&wanted).all(near);
                assert!(is_near, "{fields}, step {step}: {:?}, not {wanted:?}", seen[step]);
            }
        }
    }

    #[test]
    fn going_on_from_a_state_is_going_on() {
        for fields in ["kind = 'sgd'\nmomentum = 0.0\nnesterov = false", "kind = 'sgd'", "kind = 'adam'"] {
            let settings = StepSettings { rate: 0.1, weight_decay: 0.01 };
            let step = |optimiser: &mut Optimiser, values: &mut [f32; 3], number| {
                optimiser.begin_step();
                optimiser.update(0, values, &gradient(number), settings);
            };
            let mut straight = Optimiser::new(&config(fields), &[3]);
            let mut values = [1.0, 2.0, 3.0];
            step(&mut straight, &mut values, 0);
            let mut resumed = Optimiser::new(&config(fields), &[3]);
            let state: Vec<Vec<f32>> = straight.state().map(<[f32]>::to_vec).collect();
            resumed.restore(straight.steps(), &state).unwrap();
            let mut others = values;
            step(&mut straight, &mut values, 1);
            step(&mut resumed, &mut others, 1);
            assert_eq!((values, straight), (others, resumed), "{fields}");
        }
    }

    #[test]
    fn a_state_of_other_tensors_is_refused() {
        let mut optimiser = Optimiser::new(&config("kind = 'sgd'"), &[3, 1]);
        for state in [vec![], vec![vec![0.0; 3]], vec![vec![0.0; 3], vec![0.0; 2]]] {
            assert!(matches!(optimiser.restore(1, &state), Err(TrainError::Snapshot(_))));
        }
        assert_eq!(optimiser.steps(), 0);
    }

    #[test]
    fn powers() {
        for (base, exponent, wanted) in [(0.5, 0, 1.0), (0.5, 3, 0.125), (0.0, 0, 1.0), (2.0, 10, 1024.0)] {
            assert_eq!(power(base, exponent), wanted);
        }
        assert!((power(0.999, 1000) - 0.999_f64.powi(1000)).abs() < 1e-12);
    }
}
