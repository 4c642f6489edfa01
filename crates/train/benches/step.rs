//! What robustness adds to a step of training: storing the weights as codes, hitting them with faults, combining the gradients.
//!
//! Unit: milliseconds a step, medians, RandBET at 1 % with 8-bit codes. Goals, for ResNet-20: quantizing and injecting take less than 3 % of a RandBET
//! step, and a RandBET step at most 2.1 times a normal one (two passes, and what is around them). PyTorch's times for the same steps on the same two cores stand
//! beside them in benches/RESULTS.md.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::time::{Duration, Instant};

use bitquake_grad::{Device, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::architecture::Architecture;
use bitquake_train::method::{Half, Levels, Method, MethodConfig, StepLosses, WeightTensor, Weights};
use bitquake_train::{Optimiser, OptimiserConfig, StepSettings};

/// The method with bit errors, and the same without: codes alone.
const RANDBET: &str = "w_max = 0.1\n[quantization]\nfamily = 'asymmetric'\nbits = 8\nsigned = false\n\
                       [bit_errors]\nrate = 0.01\ncurriculum = 'always'";

/// Name, shape of an image, images in a batch, steps.
const CASES: [(&str, [u64; 3], usize, usize); 2] =
    [("lenet5", [1, 28, 28], 128, 15), ("resnet20", [3, 32, 32], 128, 5)];

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "ms a step     pass   load  store  inject  combine  move  step   store+inject (goal < 3 %)   RandBET / normal (goal <= 2.1)"
    );
    for (name, input, batch, steps) in CASES {
        let normal = Case::new(name, input, batch, "")?.run(steps)?;
        let randbet = Case::new(name, input, batch, RANDBET)?.run(steps)?;
        print_row(name, &normal, None);
        print_row(&format!("{name} RandBET"), &randbet, Some(randbet.step() / normal.step()));
    }
    Ok(())
}

/// Milliseconds of the parts of a step.
#[derive(Clone, Copy, Default)]
struct Times {
    pass: f64,
    load: f64,
    store: f64,
    inject: f64,
    combine: f64,
    update: f64,
}

impl Times {
    fn step(&self) -> f64 {
        self.pass + self.load + self.store + self.inject + self.combine + self.update
    }
}

fn print_row(name: &str, times: &Times, ratio: Option<f64>) {
    let Times { pass, load, store, inject, combine, update } = times;
    let share = 100.0 * (store + inject) / times.step();
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!(
        "{name:17} {pass:8.1} {load:6.2} {store:6.2} {inject:7.2} {combine:8.2} {update:5.2} {:6.1} {share:10.2} % {ratio:>24}",
        times.step()
    );
}

struct Case {
    network: Network,
    places: Vec<usize>,
    weights: Weights,
    method: Method,
    optimiser: Optimiser,
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Case {
    fn new(name: &str, input: [u64; 3], batch: usize, method: &str) -> Result<Self, Box<dyn Error>> {
        let network = Network::from_onnx(&Architecture::new(name, input, 10).build(1)?, Device::Cpu)?;
        let all = network.parameters().iter().enumerate();
        let places: Vec<usize> = all
            .filter(|(_, parameter)| parameter.role == ParameterRole::Weight)
            .map(|(place, _)| place)
            .collect();
        let tensor = |&place: &usize| {
            let parameter = &network.parameters()[place];
            let values = network.parameter(place).to_vec();
            WeightTensor { name: parameter.name.clone(), shape: parameter.shape.clone(), values }
        };
        let weights = Weights { tensors: places.iter().map(tensor).collect() };
        let config: MethodConfig = toml::from_str(method)?;
        let sizes: Vec<usize> = weights.tensors.iter().map(|tensor| tensor.values.len()).collect();
        let pixels = batch * input.iter().product::<u64>() as usize;
        Ok(Self {
            method: Method::new(&config, &weights, 1)?,
            optimiser: Optimiser::new(&OptimiserConfig::default(), &sizes),
            images: (0..pixels).map(|i| ((i * 7919) % 251) as f32 / 251.0).collect(),
            labels: (0..batch as u32).map(|image| image % 10).collect(),
            network,
            places,
            weights,
        })
    }

    /// The median of each part over some steps, after one that does not count.
    fn run(&mut self, steps: usize) -> Result<Times, Box<dyn Error>> {
        self.step(0)?;
        let all: Vec<Times> = (1..=steps as u64).map(|step| self.step(step)).collect::<Result<_, _>>()?;
        let median = |part: fn(&Times) -> f64| {
            let mut sorted: Vec<f64> = all.iter().map(part).collect();
            sorted.sort_by(f64::total_cmp);
            sorted[sorted.len() / 2]
        };
        Ok(Times {
            pass: median(|times| times.pass),
            load: median(|times| times.load),
            store: median(|times| times.store),
            inject: median(|times| times.inject),
            combine: median(|times| times.combine),
            update: median(|times| times.update),
        })
    }

    /// One step as the trainer takes it.
    fn step(&mut self, step: u64) -> Result<Times, Box<dyn Error>> {
        let mut times = Times::default();
        let clock = Instant::now();
        self.method.project(&mut self.weights);
        let stored = self.method.store(&self.weights)?;
        times.store = milliseconds(clock.elapsed());
        let clean = self.pass(stored.levels(), &mut times)?;
        let mut perturbed = Vec::new();
        for k in 0..self.method.plan().perturbed {
            let clock = Instant::now();
            let levels = self.method.perturbed(&stored, &self.weights, step, k)?;
            times.inject += milliseconds(clock.elapsed());
            perturbed.push(self.pass(&levels, &mut times)?);
        }
        let clock = Instant::now();
        let update = self.method.combine(Some(&clean), &perturbed, &stored, &self.weights)?;
        times.combine = milliseconds(clock.elapsed());
        let clock = Instant::now();
        self.optimiser.begin_step();
        let settings = StepSettings { rate: 1e-3, weight_decay: 5e-4 };
        for (slot, (tensor, gradient)) in self.weights.tensors.iter_mut().zip(&update.gradients).enumerate() {
            self.optimiser.update(slot, &mut tensor.values, gradient, settings);
        }
        let losses =
            StepLosses { clean: Some(clean.loss), perturbed: perturbed.first().map(|half| half.loss) };
        self.method.finish_step(losses, &mut self.weights);
        times.update = milliseconds(clock.elapsed());
        Ok(times)
    }

    fn pass(&mut self, levels: &Levels, times: &mut Times) -> Result<Half, Box<dyn Error>> {
        let clock = Instant::now();
        for (&place, values) in self.places.iter().zip(&levels.tensors) {
            self.network.set_parameter(place, values)?;
        }
        times.load += milliseconds(clock.elapsed());
        let clock = Instant::now();
        let found = self.network.gradients(&Pass {
            images: &self.images,
            batch: self.labels.len(),
            objective: Objective::CrossEntropy { labels: &self.labels, smoothing: 0.0 },
            mode: Mode::Train,
            parameters: &self.places,
            values: &[],
        })?;
        times.pass += milliseconds(clock.elapsed());
        Ok(Half { loss: found.loss, gradients: found.parameters, statistics: found.statistics })
    }
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}
