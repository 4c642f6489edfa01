//! What robustness adds to a step of training: storing the weights as codes, hitting them with faults, combining the gradients.
//!
//! Unit: milliseconds a step, medians, 128 images, RandBET at 1 % with 8-bit codes. Every step is taken a second time with the codes and the faults of
//! the first; what it is shorter by (`saved`) is what storing and injecting cost. Goals: less than 3 % of a RandBET
//! step, and a RandBET step at most 2.1 times a normal one (two passes, and what is around them). Against PyTorch in the same run: a normal step at
//! most 0.6 of its time for LeNet-5, 0.75 for ResNet-20, 1.0 for SimpleNet; a RandBET step at most 0.6 and 0.8 of PyTorch's RandBET step.
//!
//! Normal and RandBET steps, here and in PyTorch, take turns of several steps in a row, of which the first does not count. PyTorch runs in the
//! Python of `BITQUAKE_PYTHON` (or `python3`; it needs torch, numpy and onnx): `benches/torch_training.py`. `RAYON_NUM_THREADS=1` gives both one
//! thread: on a busy machine the fairer comparison, as PyTorch's threads wait for each other after each layer. A name as an argument measures
//! the networks that contain it only.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bitquake_grad::{Device, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::architecture::Architecture;
use bitquake_testing::Torch;
use bitquake_train::method::{
    Half, Levels, Method, MethodConfig, Room, StepLosses, Stored, WeightTensor, Weights,
};
use bitquake_train::{Optimiser, OptimiserConfig, StepSettings};

/// The method with bit errors, and the same without: codes alone.
const RANDBET: &str = "w_max = 0.1\n[quantization]\nfamily = 'asymmetric'\nbits = 8\nsigned = false\n\
                       [bit_errors]\nrate = 0.01\ncurriculum = 'always'";

/// What is measured of a network.
struct Plan {
    name: &'static str,
    /// The shape of an image.
    input: [u64; 3],
    turns: usize,
    /// Steps of a turn that count.
    steps: usize,
    /// The most of PyTorch's normal step, and of its RandBET step.
    goals: [f64; 2],
}

const PLANS: [Plan; 3] = [
    Plan { name: "lenet5", input: [1, 28, 28], turns: 25, steps: 30, goals: [0.6, 0.6] },
    Plan { name: "resnet20", input: [3, 32, 32], turns: 7, steps: 2, goals: [0.75, 0.8] },
    Plan { name: "simplenet", input: [3, 32, 32], turns: 3, steps: 1, goals: [1.0, 1.0] },
];
const BATCH: usize = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let threads = match std::env::var("RAYON_NUM_THREADS") {
        Ok(threads) => threads.parse()?,
        Err(_) => std::thread::available_parallelism()?.get(),
    };
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/torch_training.py"));
    let mut torch = Torch::start(script, &[&threads.to_string()])?;
    println!(
        "ms a step           pass   load  store  inject  combine  move  step  saved  store+inject (goal < 3 %)   RandBET / normal (goal <= 2.1)   of PyTorch"
    );
    for Plan { name, input, turns, steps, goals } in
        PLANS.into_iter().filter(|plan| plan.name.contains(&only))
    {
        let mut cases = [Case::new(name, input, BATCH, "")?, Case::new(name, input, BATCH, RANDBET)?];
        let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for turn in 0..turns {
            for (kind, case) in cases.iter_mut().enumerate() {
                ours[kind].extend(case.run(turn * (steps + 1), steps)?);
                let task = format!("{} {name} {BATCH} {steps}", ["normal", "randbet"][kind]);
                theirs[kind].extend(torch.ask(&task)?.iter().map(|seconds| seconds * 1e3));
            }
        }
        let [normal, randbet] = ours.map(|times| Times::medians(&times));
        let of_torch = theirs.map(median);
        let share = |kind: usize, times: &Times| {
            let ratio = times.step / of_torch[kind];
            format!("{ratio:.2} of {:.1} (goal {})", of_torch[kind], goals[kind])
        };
        print_row(name, &normal, None, &share(0, &normal));
        let ratio = Some(randbet.step / normal.step);
        print_row(&format!("{name} RandBET"), &randbet, ratio, &share(1, &randbet));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Milliseconds of a step and of its parts.
#[derive(Clone, Copy, Default)]
struct Times {
    pass: f64,
    load: f64,
    store: f64,
    inject: f64,
    combine: f64,
    update: f64,
    step: f64,
    /// By how much the step after it is shorter, whose codes and faults are there already.
    saved: f64,
}

impl Times {
    /// The median of each part.
    fn medians(all: &[Times]) -> Times {
        let of = |part: fn(&Times) -> f64| median(all.iter().map(part).collect());
        Times {
            pass: of(|times| times.pass),
            load: of(|times| times.load),
            store: of(|times| times.store),
            inject: of(|times| times.inject),
            combine: of(|times| times.combine),
            update: of(|times| times.update),
            step: of(|times| times.step),
            saved: of(|times| times.saved),
        }
    }
}

fn print_row(name: &str, times: &Times, ratio: Option<f64>, of_torch: &str) {
    let Times { pass, load, store, inject, combine, update, step, saved } = times;
    let share = 100.0 * saved / step;
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!(
        "{name:17} {pass:8.2} {load:6.2} {store:6.3} {inject:7.3} {combine:8.2} {update:5.2} {step:6.2} {saved:6.3} {share:10.2} % {ratio:>24} {of_torch:>32}",
    );
}

struct Case {
    network: Network,
    places: Vec<usize>,
    weights: Weights,
    method: Method,
    optimiser: Optimiser,
    room: Room,
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
            room: Room::default(),
            images: (0..pixels).map(|i| ((i * 7919) % 251) as f32 / 251.0).collect(),
            labels: (0..batch as u32).map(|image| image % 10).collect(),
            network,
            places,
            weights,
        })
    }

    /// Some steps, after one that does not count. After each comes one with the same codes and faults, which are there already.
    fn run(&mut self, first: usize, steps: usize) -> Result<Vec<Times>, Box<dyn Error>> {
        let mut all = Vec::new();
        for step in first..=first + steps {
            let mut times = Times::default();
            let clock = Instant::now();
            let codes = self.step(step as u64, None, &mut times)?;
            times.step = milliseconds(clock.elapsed());
            let clock = Instant::now();
            let (stored, levels) = self.step(step as u64, Some(codes), &mut Times::default())?;
            times.saved = times.step - milliseconds(clock.elapsed());
            self.room.keep_stored(stored);
            levels.into_iter().for_each(|levels| self.room.keep_levels(levels));
            all.push(times);
        }
        Ok(all.split_off(1))
    }

    /// One step as the trainer takes it, or with codes and faults of the step before. Gives both back.
    fn step(&mut self, step: u64, ready: Option<Codes>, times: &mut Times) -> Result<Codes, Box<dyn Error>> {
        let clock = Instant::now();
        let (stored, mut levels) = match ready {
            Some((stored, levels)) => (stored, levels),
            None => {
                self.method.project(&mut self.weights);
                (self.method.store_in(&self.weights, &mut self.room)?, None)
            }
        };
        times.store = milliseconds(clock.elapsed());
        self.load(stored.levels(), times)?;
        let mut last = pass(&self.network, &self.places, &self.images, &self.labels, times)?;
        let mut losses = StepLosses { clean: Some(last.loss), perturbed: None };
        if levels.is_none() && self.method.plan().perturbed > 0 {
            let clock = Instant::now();
            let drawn = self.method.perturbed_in(&stored, &self.weights, step, 0, &mut self.room)?;
            times.inject = milliseconds(clock.elapsed());
            levels = Some(drawn);
        }
        let mut earlier = Vec::new();
        if let Some(levels) = &levels {
            self.load(levels, times)?;
            earlier.push(last);
            last = pass(&self.network, &self.places, &self.images, &self.labels, times)?;
            losses.perturbed = Some(last.loss);
        }
        let clock = Instant::now();
        let update = self.method.combine(&earlier, last, &stored, &self.weights)?;
        times.combine = milliseconds(clock.elapsed());
        let clock = Instant::now();
        self.optimiser.begin_step();
        let settings = StepSettings { rate: 1e-3, weight_decay: 5e-4 };
        for (slot, (tensor, gradient)) in self.weights.tensors.iter_mut().zip(&update.gradients).enumerate() {
            self.optimiser.update(slot, &mut tensor.values, gradient, settings);
        }
        self.method.finish_step(losses, &mut self.weights);
        times.update = milliseconds(clock.elapsed());
        Ok((stored, levels))
    }

    fn load(&mut self, levels: &Levels, times: &mut Times) -> Result<(), Box<dyn Error>> {
        let clock = Instant::now();
        for (&place, values) in self.places.iter().zip(&levels.tensors) {
            self.network.set_parameter(place, values)?;
        }
        times.load += milliseconds(clock.elapsed());
        Ok(())
    }
}

/// What a step stored, and the levels of its perturbed pass.
type Codes = (Stored, Option<Levels>);

fn pass(
    network: &Network,
    parameters: &[usize],
    images: &[f32],
    labels: &[u32],
    times: &mut Times,
) -> Result<Half, Box<dyn Error>> {
    let clock = Instant::now();
    let found = network.gradients(&Pass {
        images,
        batch: labels.len(),
        objective: Objective::CrossEntropy { labels, smoothing: 0.0 },
        mode: Mode::Train,
        parameters,
        values: &[],
    })?;
    times.pass += milliseconds(clock.elapsed());
    Ok(Half { loss: found.loss, gradients: found.parameters, statistics: found.statistics })
}

fn milliseconds(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}
