//! What a training pass of a whole program costs: ResNet-20 and SimpleNet with 64 base channels at 32x32, and LeNet-5 at 28x28, 128
//! images, all cores.
//!
//! Unit: milliseconds, median and least of the rounds, and the processor time of all threads for a training pass, which says on a busy
//! machine too what changed (Linux only). Goals, on an idle machine of 2 cores with AVX-512: 85, 1,340 (PyTorch's
//! whole step in benches/RESULTS.md) and 2.5.
//!
//! Then the training pass of ResNet-20 that computes ever more again in place of keeping it, in turns with the one that keeps all: time as a
//! ratio, and memory. Goal: half the memory for at most 1.2 of the time.
//!
//! Last the outputs of ResNet-20 with another weight in each of its layers, asked for together: times of one such set, and of a plain pass.
//!
//! A name as an argument measures the networks that contain it only; `thrift` and `variants` measure these alone.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Instant;

use bitquake_kernels::program::{
    Edit, Executor, Program, ProgramError, Request, Shape, Statistics, Value, Vector,
};
use bitquake_kernels::{Isa, Window};
use bitquake_testing::SplitMix64;

const BATCH: usize = 128;
/// A measurement takes at least so many rounds, and so long.
const ROUNDS: usize = 15;
const SECONDS: f64 = 1.5;

fn main() -> Result<(), Box<dyn Error>> {
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with("--")).unwrap_or_default();
    let all =
        [("resnet20", resnet20()?, 85.0), ("simplenet", simplenet()?, 1340.0), ("lenet5", lenet5()?, 2.5)];
    all.into_iter()
        .filter(|(name, ..)| name.contains(&only))
        .for_each(|(name, network, goal)| measure(name, network, goal));
    if "thrift resnet20".contains(&only) {
        measure_thrifts()?;
    }
    if "variants resnet20".contains(&only) {
        measure_variants()?;
    }
    Ok(())
}

/// Passes with another weight in one layer each, by turns with plain passes.
fn measure_variants() -> Result<(), Box<dyn Error>> {
    /// 256 MiB, as for attacks.
    const BYTES: usize = 256 << 20;
    let (executor, lengths) = resnet20()?;
    let (mut parameters, images) = inputs(&executor, &lengths);
    // Means, variances and the like.
    parameters.iter_mut().filter(|list| list.len() <= 64).for_each(|list| list.fill(1.0));
    let weights = lengths.iter().enumerate().filter(|(_, length)| **length > 64);
    let edits: Vec<Vec<Edit>> = weights
        .map(|(parameter, &length)| {
            let element = length / 3;
            vec![Edit { parameter, element, value: parameters[parameter][element] + 0.25 }]
        })
        .collect();
    let (mut of_plain, mut of_sets) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        let start = Instant::now();
        let _ = executor.forward(&parameters, &images, BATCH, Statistics::Running);
        let middle = Instant::now();
        let _ = executor.variants(&parameters, &images, BATCH, &edits, BYTES);
        of_plain.push((middle - start).as_secs_f64() * 1e3);
        of_sets.push(middle.elapsed().as_secs_f64() * 1e3);
    }
    let [plain, sets] = [of_plain, of_sets].map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    let (count, passes) = (edits.len(), sets / plain);
    println!("resnet20 plain pass {plain:.1} ms  {count} sets of edits {sets:.1} ms  {passes:.2} passes");
    Ok(())
}

/// A training pass for each thrift, in turns.
fn measure_thrifts() -> Result<(), Box<dyn Error>> {
    let (executor, lengths) = resnet20()?;
    let (parameters, images) = inputs(&executor, &lengths);
    let wanted: Vec<usize> = (0..lengths.len()).collect();
    let request =
        |thrift| Request { statistics: Statistics::Batch, parameters: &wanted, values: &[], thrift };
    // Each has an executor of its own, whose memory stays as it is.
    let mut executors = vec![executor];
    let start = Instant::now();
    let thrifts = executors[0].thrifts(&request(0));
    println!("resnet20 thrifts found in {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    for _ in 1..thrifts {
        executors.push(resnet20()?.0);
    }
    let mut times = vec![Vec::new(); executors.len()];
    let mut slopes = None;
    for round in 0..=ROUNDS {
        for (thrift, executor) in executors.iter().enumerate() {
            let start = Instant::now();
            let found = executor.gradients(&parameters, &images, BATCH, &request(thrift), objective)?;
            if round > 0 {
                times[thrift].push(start.elapsed().as_secs_f64() * 1e3);
            }
            assert_eq!(
                *slopes.get_or_insert_with(|| found.parameters.clone()),
                found.parameters,
                "the same bits"
            );
        }
    }
    let ratios = |times: &[f64], all: &[f64]| {
        let mut ratios: Vec<f64> = times.iter().zip(all).map(|(time, all)| time / all).collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    };
    for (thrift, executor) in executors.iter().enumerate() {
        let bytes = executor.bytes(&request(thrift), BATCH) as f64 / 1e6;
        let ratio = ratios(&times[thrift], &times[0]);
        println!("resnet20 thrift {thrift:2}  keeps {bytes:6.1} MB  {ratio:.3} of the time");
    }
    Ok(())
}

/// Parameters and images.
fn inputs(executor: &Executor, lengths: &[usize]) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut random = SplitMix64::new(1);
    let mut normal = |count: usize| (0..count).map(|_| 0.1 * random.normal() as f32).collect::<Vec<f32>>();
    let parameters = lengths.iter().map(|&length| normal(length)).collect();
    let images = normal(BATCH * executor.program().shape(executor.program().input()).elements());
    (parameters, images)
}

fn objective(outputs: &[f32], slopes: &mut [f32]) -> Result<(), Infallible> {
    slopes.iter_mut().zip(outputs).for_each(|(slope, output)| *slope = output / BATCH as f32);
    Ok(())
}

/// Milliseconds of processor time that the threads of this process have had.
fn processor_ms() -> Option<f64> {
    let of_thread = |entry: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(entry.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    };
    let nanoseconds: Option<f64> = std::fs::read_dir("/proc/self/task").ok()?.map(of_thread).sum();
    Some(nanoseconds? / 1e6)
}

fn measure(name: &str, (executor, lengths): (Executor, Vec<usize>), goal: f64) {
    let (parameters, images) = inputs(&executor, &lengths);
    let wanted: Vec<usize> = (0..parameters.len()).collect();
    let request = Request { statistics: Statistics::Batch, parameters: &wanted, values: &[], thrift: 0 };
    let kept = executor.missing_bytes(&request, BATCH) as f64 / 1e6;
    let mut both = [Vec::new(), Vec::new()];
    let outputs = executor.forward(&parameters, &images, BATCH, Statistics::Batch);
    let started = Instant::now();
    let mut round = 0;
    while round <= ROUNDS || started.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        let again = executor.forward(&parameters, &images, BATCH, Statistics::Batch);
        assert_eq!(again, outputs, "equal calls give equal bits");
        let middle = Instant::now();
        let found = executor.gradients(&parameters, &images, BATCH, &request, objective);
        let end = Instant::now();
        assert!(found.is_ok_and(|found| found.outputs == outputs), "equal calls give equal bits");
        // The first round warms up.
        if round > 0 {
            both[0].push((middle - start).as_secs_f64() * 1e3);
            both[1].push((end - middle).as_secs_f64() * 1e3);
        }
        round += 1;
    }
    let passes = round as f64;
    let before = processor_ms();
    for _ in 0..round {
        let _ = executor.gradients(&parameters, &images, BATCH, &request, objective);
    }
    let of_processor =
        before.zip(processor_ms()).map_or(f64::NAN, |(before, after)| (after - before) / passes);
    let [forward, pass] = both.map(|mut times| {
        times.sort_by(f64::total_cmp);
        format!("{:7.2} ({:.2})", times[times.len() / 2], times[0])
    });
    println!(
        "{name:10} forward {forward}  training pass {pass}, of processors {of_processor:7.2}  goal {goal} ms  keeps {kept:.1} MB"
    );
}

/// A program and the lengths of its parameters while they are added.
struct Builder {
    steps: Vec<Step>,
    lengths: Vec<usize>,
}

type Step = Box<dyn Fn(&mut Program, &mut Vec<Value>) -> Result<Value, ProgramError>>;

impl Builder {
    fn parameter(&mut self, length: usize) -> usize {
        self.lengths.push(length);
        self.lengths.len() - 1
    }

    /// Adds a step; it is given the values so far, of which the first is the input.
    fn step(
        &mut self,
        step: impl Fn(&mut Program, &mut Vec<Value>) -> Result<Value, ProgramError> + 'static,
    ) -> usize {
        self.steps.push(Box::new(step));
        self.steps.len()
    }

    fn convolution(
        &mut self,
        x: usize,
        ends: [usize; 2],
        kernel: usize,
        stride: usize,
        has_bias: bool,
    ) -> usize {
        let weight = self.parameter(ends[0] * ends[1] * kernel * kernel);
        let bias = has_bias.then(|| self.parameter(ends[1]));
        let pads = if kernel == 5 && ends[0] > 1 { 0 } else { kernel / 2 };
        let window = Window { stride: [stride; 2], pads: [[pads; 2]; 2], ..Window::new([kernel; 2]) };
        self.step(move |program, values| program.convolution(values[x], ends[1], 1, window, weight, bias))
    }

    fn norm(&mut self, x: usize, channels: usize) -> usize {
        let [scale, shift, mean, variance] = [0; 4].map(|_| self.parameter(channels));
        let affine = [scale, shift].map(Vector::new);
        self.step(move |program, values| program.batch_norm(values[x], affine, [mean, variance], 1e-5))
    }

    fn relu(&mut self, x: usize) -> usize {
        self.step(move |program, values| Ok(program.relu(values[x])))
    }

    fn linear(&mut self, x: usize, ends: [usize; 2]) -> usize {
        let weight = self.parameter(ends[0] * ends[1]);
        let bias = self.parameter(ends[1]);
        self.step(move |program, values| program.linear(values[x], ends[1], weight, true, Some(bias)))
    }

    fn finish(self, input: Shape) -> Result<(Executor, Vec<usize>), ProgramError> {
        let mut program = Program::new(input, self.lengths.clone(), Isa::best())?;
        let mut values = vec![program.input()];
        for step in self.steps {
            let value = step(&mut program, &mut values)?;
            values.push(value);
        }
        let output = values[values.len() - 1];
        Ok((Executor::new(program, output), self.lengths))
    }
}

/// He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2, with convolutions in the shortcuts.
fn resnet20() -> Result<(Executor, Vec<usize>), ProgramError> {
    let mut b = Builder { steps: Vec::new(), lengths: Vec::new() };
    let mut x = b.convolution(0, [3, 16], 3, 1, false);
    x = b.norm(x, 16);
    x = b.relu(x);
    let mut channels = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..3 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let mut y = b.convolution(x, [channels, width], 3, stride, false);
            y = b.norm(y, width);
            y = b.relu(y);
            y = b.convolution(y, [width, width], 3, 1, false);
            y = b.norm(y, width);
            if channels != width {
                x = b.convolution(x, [channels, width], 1, stride, false);
                x = b.norm(x, width);
            }
            let ends = (y, x);
            x = b.step(move |program, values| program.sum(values[ends.0], values[ends.1]));
            x = b.relu(x);
            channels = width;
        }
    }
    let maps = x;
    x = b.step(move |program, values| program.global_average(values[maps]));
    b.linear(x, [64, 10]);
    b.finish(Shape::new(3, 32, 32))
}

/// Hasanpour et al., "Lets keep it simple, Using simple architectures to outperform deeper and more complex architectures" (2016), with
/// the widths and pools of `graph::architecture`: thirteen convolutions with a bias, batch normalization and ReLU.
fn simplenet() -> Result<(Executor, Vec<usize>), ProgramError> {
    let mut b = Builder { steps: Vec::new(), lengths: Vec::new() };
    let (mut x, mut channels) = (0, 3);
    for (place, factor) in [1, 2, 2, 2, 2, 2, 4, 4, 4, 8, 32, 4, 4].into_iter().enumerate() {
        let kernel = if matches!(place, 10 | 11) { 1 } else { 3 };
        x = b.convolution(x, [channels, 64 * factor], kernel, 1, true);
        channels = 64 * factor;
        x = b.norm(x, channels);
        x = b.relu(x);
        if matches!(place, 3 | 6 | 8 | 9 | 11) {
            let maps = x;
            let window = Window { stride: [2; 2], ..Window::new([2; 2]) };
            x = b.step(move |program, values| program.max_pool(values[maps], window));
        }
    }
    let maps = x;
    x = b.step(move |program, values| program.global_max(values[maps]));
    b.linear(x, [channels, 10]);
    b.finish(Shape::new(3, 32, 32))
}

/// LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), with ReLU and max pooling.
fn lenet5() -> Result<(Executor, Vec<usize>), ProgramError> {
    let mut b = Builder { steps: Vec::new(), lengths: Vec::new() };
    let mut x = 0;
    for ends in [[1, 6], [6, 16]] {
        x = b.convolution(x, ends, 5, 1, true);
        x = b.relu(x);
        let maps = x;
        let window = Window { stride: [2; 2], ..Window::new([2; 2]) };
        x = b.step(move |program, values| program.max_pool(values[maps], window));
    }
    let maps = x;
    x = b.step(move |program, values| Ok(program.flatten(values[maps])));
    x = b.linear(x, [400, 120]);
    x = b.relu(x);
    x = b.linear(x, [120, 84]);
    x = b.relu(x);
    b.linear(x, [84, 10]);
    b.finish(Shape::new(1, 28, 28))
}
