//! Progressive bit search against the same search in PyTorch: ResNet-20 at 32x32, 128 images, 8-bit codes with a scale for each layer.
//!
//! Unit: milliseconds, medians. A flip is a whole step of the search (SPEC 5.2) without validation: the gradient, the best bit of each layer, the
//! loss with each of them, the best one kept. Goal (issue 7): at most a quarter of PyTorch's time in the same run; Hessian products at most 1.2 of it.
//!
//! Ours and PyTorch take turns of several repetitions in a row, of which the first does not count. PyTorch runs in the Python of `BITQUAKE_PYTHON` (or
//! `python3`; it needs torch, numpy and onnx): `benches/torch_search.py`. `RAYON_NUM_THREADS=1` gives both one thread: on a busy machine the
//! fairer comparison, as PyTorch's threads wait for each other after each layer.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use bitquake_attack::{
    AttackBatch, AttackedWords, Change, Limits, Room, SearchConfig, Step, Subject, Victim, step,
};
use bitquake_bits::BitSelection;
use bitquake_grad::{Device, Mode, Network, Objective, Pass};
use bitquake_graph::architecture::Architecture;
use bitquake_sample::{PartKey, StreamKey};
use bitquake_storage::{Memory, StorageSpec};
use bitquake_tensors::TensorFile;
use bitquake_testing::{SplitMix64, Torch};

const IMAGES: usize = 128;
const INPUT: [u64; 3] = [3, 32, 32];
const TURNS: usize = 7;
const STORAGE: &str = "family = 'symmetric'\nbits = 8";
const KEY: StreamKey = StreamKey { seed: 1, point: 0, trial: 0 };

/// A task, the repetitions of a turn that count, and the most of PyTorch's time that it may take.
const TASKS: [(&str, usize, Option<f64>); 4] =
    [("flip", 3, Some(0.25)), ("gradient", 3, None), ("losses", 3, None), ("hessian", 1, Some(1.2))];

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let threads = match std::env::var("RAYON_NUM_THREADS") {
        Ok(threads) => threads.parse()?,
        Err(_) => std::thread::available_parallelism()?.get(),
    };
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/torch_search.py"));
    let mut torch = Torch::start(script, &[&threads.to_string(), &IMAGES.to_string()])?;
    let mut case = Case::new()?;
    println!("{threads} threads; ms   ours   PyTorch   ours / PyTorch");
    for (task, count, goal) in TASKS.into_iter().filter(|(task, ..)| task.contains(&only)) {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.extend(case.run(task, count)?);
            theirs.extend(torch.ask(&format!("{task} {count}"))?.iter().map(|seconds| 1e3 * seconds));
        }
        let [ours, theirs] = [ours, theirs].map(median);
        let goal = goal.map_or(String::new(), |goal| format!("(goal {goal})"));
        println!("{task:12} {ours:8.1} {theirs:9.1} {:16.3} {goal}", ours / theirs);
    }
    println!("losses one by one: {:.1} ms", median(case.run("losses one by one", 3)?));
    let loss = case.loss()?;
    println!("loss from {:.3} to {loss:.3} in {} flips", case.losses[0], case.losses.len() - 1);
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Case {
    words: AttackedWords,
    subject: Subject,
    /// The same network by itself, for what is no part of a step.
    network: Network,
    places: Vec<usize>,
    batch: AttackBatch,
    room: Room,
    /// Of each layer the flip that promised most at first.
    probes: Vec<Vec<Change>>,
    directions: Vec<Vec<f32>>,
    /// The loss at first, and after each flip.
    losses: Vec<f64>,
}

impl Case {
    fn new() -> Result<Self, Box<dyn Error>> {
        let mut random = SplitMix64::new(5);
        let mut file = TensorFile::from_onnx_bytes(Architecture::new("resnet20", INPUT, 10).build(1)?)?;
        let spec: StorageSpec = toml::from_str(STORAGE)?;
        let memory = Memory::new(&spec, file.tensors(), &file, KEY)?;
        memory.write_levels(&mut file)?;
        let mut network = Network::from_file(&file, Device::Cpu)?;
        let images =
            (0..IMAGES * INPUT.iter().product::<u64>() as usize).map(|_| random.unit() as f32).collect();
        let batch = AttackBatch { images, aims: vec![0; IMAGES], sign: 1.0 };
        settle(&mut network, &batch)?;
        let outputs = network.forward(&batch.images, IMAGES, Mode::Evaluate)?;
        let aims = bitquake_record::predictions(&outputs, IMAGES).collect();
        let batch = AttackBatch { aims, ..batch };
        let layers =
            network.parameters().iter().enumerate().filter(|(_, parameter)| parameter.shape.len() > 1);
        let (places, names): (Vec<usize>, Vec<String>) =
            layers.map(|(place, parameter)| (place, parameter.name.clone())).unzip();
        let space = memory.fault_space(&names, BitSelection::All)?;
        let words = AttackedWords::new(&memory, &space, &file)?;
        let mut of_subject = Network::from_file(&file, Device::Cpu)?;
        settle(&mut of_subject, &batch)?;
        let mut subject = Subject::new(of_subject, &words)?;
        let room = Room::new(Limits::default(), u64::MAX, words.tensors().len());
        let probes = first_probes(&words, &mut subject, &batch)?;
        let mut direction = |&place: &usize| -> Vec<f32> {
            network.parameter(place).iter().map(|_| random.normal() as f32).collect()
        };
        let directions = places.iter().map(&mut direction).collect();
        let mut case =
            Self { words, subject, network, places, batch, room, probes, directions, losses: Vec::new() };
        let loss = case.loss()?;
        case.losses.push(loss);
        Ok(case)
    }

    /// Milliseconds of some repetitions of a task, after one that does not count.
    fn run(&mut self, task: &str, count: usize) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut times = Vec::with_capacity(count + 1);
        for _ in 0..=count {
            let start = Instant::now();
            match task {
                "flip" => self.flip()?,
                "gradient" => drop(self.subject.victim(&self.batch).slopes()?),
                "losses" => drop(self.subject.victim(&self.batch).losses(&self.probes)?),
                "losses one by one" => {
                    for probe in &self.probes {
                        self.subject.victim(&self.batch).losses(std::slice::from_ref(probe))?;
                    }
                }
                _ => drop(self.network.hessian_product(&self.pass(), &self.directions)?),
            }
            times.push(1e3 * start.elapsed().as_secs_f64());
        }
        times.remove(0);
        Ok(times)
    }

    /// One step of the search.
    fn flip(&mut self) -> Result<(), Box<dyn Error>> {
        let mut victim = self.subject.victim(&self.batch);
        let key = PartKey::from(KEY);
        let found = step(&self.words, &mut victim, &SearchConfig::default(), &self.room, &key)?;
        let Step::Flips(chosen) = found else { return Err(format!("no flip: {found:?}").into()) };
        let mut changes = Vec::new();
        for &site in &chosen.sites {
            self.words.flip(site);
            let tensor = &self.words.tensors()[site.tensor];
            let level = tensor.level(site.element, tensor.word(site.element));
            changes.push(Change { tensor: site.tensor, element: site.element, level });
        }
        victim.commit(&changes)?;
        self.losses.extend(chosen.loss);
        Ok(())
    }

    fn loss(&mut self) -> Result<f64, Box<dyn Error>> {
        let found = self.subject.victim(&self.batch).losses(&[Vec::new()])?;
        Ok(found[0])
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            images: &self.batch.images,
            batch: IMAGES,
            objective: Objective::CrossEntropy { labels: &self.batch.aims, smoothing: 0.0 },
            mode: Mode::Evaluate,
            parameters: &self.places,
            values: &[],
        }
    }
}

/// Makes the running statistics those of the images.
fn settle(network: &mut Network, batch: &AttackBatch) -> Result<(), Box<dyn Error>> {
    let found = network.gradients(&Pass {
        images: &batch.images,
        batch: IMAGES,
        objective: Objective::CrossEntropy { labels: &batch.aims, smoothing: 0.0 },
        mode: Mode::Train,
        parameters: &[],
        values: &[],
    })?;
    for of_norm in found.statistics {
        network.set_parameter(of_norm.mean, &of_norm.batch_mean)?;
        network.set_parameter(of_norm.variance, &of_norm.batch_variance)?;
    }
    Ok(())
}

/// Of each layer another level of the weight with the largest gradient: that of its top bit flipped.
fn first_probes(
    words: &AttackedWords,
    subject: &mut Subject,
    batch: &AttackBatch,
) -> Result<Vec<Vec<Change>>, Box<dyn Error>> {
    let slopes = subject.victim(batch).slopes()?;
    let probe = |(tensor, gradient): (usize, &Vec<f32>)| {
        let steepest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs()));
        let element = steepest.unwrap_or(0) as u64;
        let attacked = &words.tensors()[tensor];
        vec![Change { tensor, element, level: attacked.level(element, attacked.word(element) ^ 0x80) }]
    };
    Ok(slopes.gradients.iter().enumerate().map(probe).collect())
}
