//! Passes that compute values again in place of keeping them: the same bits, in less memory.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::convert::Infallible;

use bitquake_kernels::program::{
    Arithmetic, Bound, Executor, Gradients, Program, Request, Shape, Statistics, Value, Vector,
};
use bitquake_kernels::{Isa, Window};
use bitquake_testing::SplitMix64;

const BATCH: usize = 5;
/// A block of lanes and two more.
const CHANNELS: usize = 18;
const IMAGE: Shape = Shape::new(3, 10, 9);
const CLASSES: usize = 7;
const PAIR: Window = Window { kernel: [2; 2], stride: [2; 2], dilation: [1; 2], pads: [[0; 2]; 2] };

/// Parameters by what they are for, several of each; operations share them.
#[derive(Clone, Copy)]
enum Kind {
    First,
    Wide,
    Narrow,
    Depthwise,
    Channels,
    Positive,
    Single,
    Hidden,
    Last,
}

const KINDS: [(Kind, usize, usize); 9] = [
    (Kind::First, 1, CHANNELS * 3 * 9),
    (Kind::Wide, 3, CHANNELS * CHANNELS * 9),
    (Kind::Narrow, 2, CHANNELS * CHANNELS),
    (Kind::Depthwise, 1, CHANNELS * 9),
    (Kind::Channels, 6, CHANNELS),
    (Kind::Positive, 2, CHANNELS),
    (Kind::Single, 1, 1),
    (Kind::Hidden, 2, CHANNELS * CHANNELS),
    (Kind::Last, 1, CLASSES * CHANNELS),
];

fn lengths() -> Vec<usize> {
    KINDS.iter().flat_map(|&(_, count, length)| vec![length; count]).collect()
}

fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn parameters() -> Vec<Vec<f32>> {
    let mut parameters = Vec::new();
    for (kind, count, length) in KINDS {
        for _ in 0..count {
            let mut values = normal(parameters.len() as u64, length);
            match kind {
                Kind::Positive | Kind::Single => {
                    values.iter_mut().for_each(|value| *value = value.abs() + 0.5)
                }
                Kind::Wide => values.iter_mut().for_each(|value| *value *= 0.1),
                Kind::Narrow | Kind::Hidden => values.iter_mut().for_each(|value| *value *= 0.3),
                _ => {}
            }
            parameters.push(values);
        }
    }
    parameters
}

/// A network to which operations are added at random.
struct Builder {
    random: SplitMix64,
    program: Program,
    values: Vec<Value>,
}

impl Builder {
    fn new(seed: u64) -> Builder {
        let program = Program::new(IMAGE, lengths(), Isa::best()).unwrap();
        let values = vec![program.input()];
        Builder { random: SplitMix64::new(seed), program, values }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound as u64) as usize
    }

    fn parameter(&mut self, kind: Kind) -> usize {
        let place = kind as usize;
        let first: usize = KINDS[..place].iter().map(|(_, count, _)| count).sum();
        first + self.below(KINDS[place].1)
    }

    fn vector(&mut self) -> Vector {
        let parameter = self.parameter(Kind::Channels);
        let plus = (self.below(4) == 0).then(|| self.parameter(Kind::Single));
        Vector { parameter, plus }
    }

    fn latest(&self) -> Value {
        self.values[self.values.len() - 1]
    }

    fn convolution(&mut self, kind: Kind, groups: usize, kernel: usize, stride: usize) -> Value {
        let weight = self.parameter(kind);
        let bias = (self.below(2) == 0).then(|| self.parameter(Kind::Channels));
        let window = Window { stride: [stride; 2], pads: [[kernel / 2; 2]; 2], ..Window::new([kernel; 2]) };
        self.program.convolution(self.latest(), CHANNELS, groups, window, weight, bias).unwrap()
    }

    fn batch_norm(&mut self) -> Value {
        let affine = [self.vector(), self.vector()];
        let running = [self.parameter(Kind::Channels), self.parameter(Kind::Positive)];
        self.program.batch_norm(self.latest(), affine, running, 1e-5).unwrap()
    }

    /// The latest value, added to an earlier one of its shape.
    fn sum(&mut self) -> Value {
        let (latest, shape) = (self.latest(), self.program.shape(self.latest()));
        let alike: Vec<Value> =
            self.values.iter().copied().filter(|value| self.program.shape(*value) == shape).collect();
        let from = alike.len().saturating_sub(8);
        let other = alike[from + self.below(alike.len() - from)];
        self.program.sum(latest, other).unwrap()
    }

    fn operation(&mut self) {
        let x = self.latest();
        let shape = self.program.shape(x);
        let can_shrink = shape.height >= 4 && self.below(3) == 0;
        let value = match self.below(14) {
            0 | 1 => self.convolution(Kind::Wide, 1, 3, if can_shrink { 2 } else { 1 }),
            2 => self.convolution(Kind::Narrow, 1, 1, 1),
            3 => self.convolution(Kind::Depthwise, CHANNELS, 3, 1),
            4 | 5 => self.batch_norm(),
            6 => {
                let affine = [self.vector(), self.vector()];
                let groups = [1, 3, 9][self.below(3)];
                self.program.group_norm(x, groups, affine, 1e-5).unwrap()
            }
            7 | 8 => self.program.relu(x),
            9 => {
                let top = Bound::Parameter(self.parameter(Kind::Single));
                self.program.clip(x, [Bound::Number(-0.75), top]).unwrap()
            }
            10 => {
                let arithmetic =
                    [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Divide];
                let (arithmetic, by) =
                    (arithmetic[self.below(4)], Vector::new(self.parameter(Kind::Positive)));
                self.program.channelwise(x, arithmetic, by).unwrap()
            }
            11 if can_shrink => self.program.max_pool(x, PAIR).unwrap(),
            11 => self.program.max_pool(x, Window { pads: [[1, 1]; 2], ..Window::new([3; 2]) }).unwrap(),
            12 if can_shrink => {
                let windows = (shape.height / 2) * (shape.width / 2);
                self.program.average_pool(x, PAIR, vec![4.0; windows]).unwrap()
            }
            12 => self.program.same(x),
            _ => self.sum(),
        };
        self.values.push(value);
    }

    /// A network of so many operations between the first convolution and the layers at the end.
    fn finish(mut self, operations: usize) -> (Executor, Vec<Value>) {
        if self.below(3) == 0 {
            let by = Vector::new(self.parameter(Kind::Single));
            let value = self.program.channelwise(self.latest(), Arithmetic::Subtract, by).unwrap();
            self.values.push(value);
        }
        let value = self.convolution(Kind::First, 1, 3, 1);
        self.values.push(value);
        (0..operations).for_each(|_| self.operation());
        let values = self.values.clone();
        (self.finish_with_layers(), values)
    }

    fn finish_with_layers(mut self) -> Executor {
        let pooled = match self.below(2) {
            0 => self.program.global_average(self.latest()).unwrap(),
            _ => self.program.global_max(self.latest()).unwrap(),
        };
        let mut x = self.program.flatten(pooled);
        for _ in 0..self.below(3) {
            let (weight, bias) = (self.parameter(Kind::Hidden), self.parameter(Kind::Channels));
            let is_transposed = self.below(2) == 0;
            let hidden = self.program.linear(x, CHANNELS, weight, is_transposed, Some(bias)).unwrap();
            x = self.program.relu(hidden);
        }
        let last = self.parameter(Kind::Last);
        let output = self.program.linear(x, CLASSES, last, true, None).unwrap();
        Executor::new(self.program, output)
    }
}

fn squares(outputs: &[f32], slopes: &mut [f32]) -> Result<(), Infallible> {
    slopes.copy_from_slice(outputs);
    Ok(())
}

fn gradients(executor: &Executor, request: &Request<'_>, images: &[f32], threads: usize) -> Gradients {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let batch = images.len() / IMAGE.elements();
    pool.install(|| executor.gradients(&parameters(), images, batch, request, squares).unwrap())
}

/// All floats that a pass gives, as words: NaN are compared too.
fn words(found: &Gradients) -> Vec<Vec<u32>> {
    let measured = found.measured.iter().flat_map(|(_, measured)| measured);
    let lists = [&found.outputs].into_iter().chain(&found.parameters).chain(&found.values).chain(measured);
    lists.map(|list| list.iter().map(|float| float.to_bits()).collect()).collect()
}

/// Networks at random, with all statistics, gradients of parameters and of values, NaN and infinities: each thrift gives the bits of the pass
/// that keeps all, and holds less than the one before.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn the_same_bits_whatever_is_computed_again() {
    let (mut spared, mut most) = (0, 0);
    let all: Vec<usize> = (0..lengths().len()).collect();
    for seed in 0..120 {
        let (executor, values) = Builder::new(seed).finish(4 + seed as usize % 24);
        let mut random = SplitMix64::new(seed);
        let mut images = normal(1000 + seed, BATCH * IMAGE.elements());
        if seed % 5 == 0 {
            images[17] = [f32::NAN, f32::INFINITY][seed as usize / 5 % 2];
        }
        let pick = |list: &[usize], random: &mut SplitMix64| -> Vec<usize> {
            list.iter().copied().filter(|_| random.next_u64().is_multiple_of(2)).collect()
        };
        let some = pick(&all, &mut random);
        let parameters = if seed % 3 == 0 { &some } else { &all };
        let taps = [values[0], values[values.len() / 2], values[values.len() - 1]];
        let taps = &taps[..seed as usize % 4];
        for statistics in [Statistics::Batch, Statistics::Running] {
            let request = Request { statistics, parameters, values: taps, thrift: 0 };
            let wanted = words(&gradients(&executor, &request, &images, 1));
            let thrifts = executor.thrifts(&request);
            (spared, most) = (spared + usize::from(thrifts > 1), most.max(thrifts));
            let bytes = |thrift| executor.bytes(&Request { thrift, ..request }, BATCH);
            for thrift in 1..thrifts {
                assert!(bytes(thrift) < bytes(thrift - 1), "seed {seed}, thrift {thrift}");
                let request = Request { thrift, ..request };
                for threads in [1, 2] {
                    let found = words(&gradients(&executor, &request, &images, threads));
                    assert_eq!(
                        found, wanted,
                        "seed {seed}, {statistics:?}, thrift {thrift}, {threads} threads"
                    );
                }
            }
            assert_eq!(bytes(thrifts), bytes(thrifts - 1), "beyond the last there is nothing");
            assert_eq!(words(&gradients(&executor, &request, &images, 2)), wanted, "back to keeping all");
        }
    }
    assert!(spared > 150 && most > 3, "{spared} networks of 240 spared memory, one of them in {most} ways");
}

/// Six residual blocks with batch normalizations, a pool of maxima, layers at the end.
fn residual() -> Executor {
    let mut builder = Builder::new(0);
    let first = builder.convolution(Kind::First, 1, 3, 1);
    builder.values.push(first);
    for _ in 0..6 {
        let start = builder.latest();
        for _ in 0..2 {
            let y = builder.convolution(Kind::Wide, 1, 3, 1);
            builder.values.push(y);
            let norm = builder.batch_norm();
            let y = builder.program.relu(norm);
            builder.values.push(y);
        }
        let sum = builder.program.sum(builder.latest(), start).unwrap();
        builder.values.push(sum);
    }
    let pooled = builder.program.max_pool(builder.latest(), PAIR).unwrap();
    builder.values.push(pooled);
    builder.finish_with_layers()
}

/// A budget decides the least thrift that fits; what a pass is then found to hold is what was told, below the budget, and memory of the pass
/// that kept all is given back.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn a_budget_holds() {
    const FEW: usize = 32;
    const MANY: usize = 96;
    let all: Vec<usize> = (0..lengths().len()).collect();
    let request = Request { statistics: Statistics::Batch, parameters: &all, values: &[], thrift: 0 };
    let told = residual();
    let bytes = |thrift| told.bytes(&Request { thrift, ..request }, MANY);
    let last = told.thrifts(&request) - 1;
    assert!(bytes(last) * 3 < bytes(0) * 2, "{} of {}", bytes(last), bytes(0));
    let images = normal(3, MANY * IMAGE.elements());
    let mut found = Vec::new();
    for thrift in 0..=last {
        let budget = bytes(thrift);
        let fits = |request: &Request<'_>| told.bytes(request, MANY) <= budget;
        assert_eq!(told.least_thrift(&request, fits), Some(thrift));
        let (executor, request) = (residual(), Request { thrift, ..request });
        assert_eq!(executor.missing_bytes(&request, MANY), budget);
        gradients(&executor, &request, &images[..FEW * IMAGE.elements()], 1);
        // What does not grow with the batch: packed weights, and what a thread works in.
        let beside = executor.kept_bytes() - executor.bytes(&request, FEW);
        gradients(&executor, &request, &images, 1);
        let held = executor.kept_bytes() - beside;
        // Regions that are not packed start apart from each other.
        assert!(
            if thrift > 0 { held == budget } else { held.abs_diff(budget) < budget / 100 },
            "{held} of {budget}"
        );
        assert_eq!((executor.missing_bytes(&request, MANY), executor.missing_bytes(&request, FEW)), (0, 0));
        found.push(executor.kept_bytes());
    }
    let too_little = bytes(last) - 1;
    assert_eq!(told.least_thrift(&request, |request| told.bytes(request, MANY) <= too_little), None);
    assert!(found.is_sorted_by(|more, less| more > less), "{found:?}");
    // One executor, first with all that it likes, then with little.
    let executor = residual();
    for (thrift, held) in [(0, found[0]), (last, found[last])] {
        let missing = executor.missing_bytes(&Request { thrift, ..request }, MANY);
        assert_eq!(missing == 0, thrift == last, "memory of the pass before is enough for less");
        gradients(&executor, &Request { thrift, ..request }, &images, 1);
        assert_eq!(executor.kept_bytes(), held);
    }
    assert_eq!(executor.missing_bytes(&request, MANY), bytes(0) - bytes(last));
}

/// A chain that is packed and computed again, on images of 16 pixels and two threads: small enough for Miri.
#[test]
fn a_small_chain_is_computed_again() {
    const LENGTHS: [usize; 5] = [2, 16 * 2, 16 * 16, 16, 3 * 16];
    let mut program = Program::new(Shape::new(2, 4, 4), LENGTHS.to_vec(), Isa::best()).unwrap();
    let ones = Vector::new(3);
    let shifted = program.channelwise(program.input(), Arithmetic::Add, Vector::new(0)).unwrap();
    let mut x = program.convolution(shifted, 16, 1, Window::new([1; 2]), 1, Some(3)).unwrap();
    for block in 0..5 {
        let norm = program.batch_norm(x, [ones, ones], [3, 3], 1e-5).unwrap();
        let active = program.relu(norm);
        x = program.convolution(active, 16, 1, Window::new([1; 2]), 2, None).unwrap();
        if block == 1 {
            x = program.max_pool(x, Window { pads: [[1, 0]; 2], ..Window::new([2; 2]) }).unwrap();
        }
    }
    let features = program.global_average(x).unwrap();
    let output = program.linear(features, 3, 4, true, None).unwrap();
    let executor = Executor::new(program, output);
    let parameters: Vec<Vec<f32>> =
        LENGTHS.iter().enumerate().map(|(seed, &length)| normal(seed as u64, length)).collect();
    let parameters: Vec<Vec<f32>> =
        parameters.into_iter().map(|values| values.iter().map(|value| value.abs() + 0.1).collect()).collect();
    let images = normal(3, 2 * 32);
    let request =
        Request { statistics: Statistics::Batch, parameters: &[0, 1, 2, 3, 4], values: &[], thrift: 0 };
    assert!(executor.thrifts(&request) > 2, "more than packing");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let found = [0, usize::MAX].map(|thrift| {
        let request = Request { thrift, ..request };
        pool.install(|| executor.gradients(&parameters, &images, 2, &request, squares).unwrap())
    });
    assert_eq!(found[0], found[1]);
    assert!(found[0].parameters.iter().flatten().any(|slope| *slope != 0.0));
}

/// Of a single operation nothing can be computed again.
#[test]
fn what_has_nothing_to_spare_has_one_thrift() {
    let mut program = Program::new(Shape::new(2, 1, 1), vec![2], Isa::best()).unwrap();
    let y = program.linear(program.input(), 1, 0, true, None).unwrap();
    let executor = Executor::new(program, y);
    let request = Request { statistics: Statistics::Batch, parameters: &[0], values: &[], thrift: 9 };
    let found = executor.gradients(&[vec![1.0, 2.0]], &[3.0, 4.0], 1, &request, squares).unwrap();
    assert_eq!((found.outputs, found.parameters), (vec![11.0], vec![vec![33.0, 44.0]]));
}
