//! Whole programs: gradients against differences, the same values with every instruction set, the same bits on any number of threads,
//! memory that does not grow.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::convert::Infallible;

use bitquake_kernels::program::{
    Arithmetic, Bound, Executor, Gradients, Program, ProgramError, Request, Shape, Statistics, Value, Vector,
};
use bitquake_kernels::{Isa, ShapeError, Window};
use bitquake_testing::SplitMix64;

/// Lengths of parameters: two convolutions, their norms, a layer.
const LENGTHS: [usize; 12] = [18 * 2 * 9, 18, 18, 18, 18, 18 * 18 * 9, 18, 18, 9, 9, 5 * 18, 5];

fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn parameters() -> Vec<Vec<f32>> {
    let mut parameters: Vec<Vec<f32>> =
        LENGTHS.iter().enumerate().map(|(seed, &length)| normal(seed as u64, length)).collect();
    parameters[4].iter_mut().for_each(|variance| *variance = variance.abs() + 0.5);
    parameters
}

/// A residual block of 18 channels (a block of lanes and two more), a pool, a layer. Smooth but for the ReLU.
fn program(isa: Isa) -> (Program, Vec<Value>) {
    let mut program = Program::new(Shape::new(2, 6, 5), LENGTHS.to_vec(), isa).unwrap();
    let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    let images = program.input();
    let first = program.convolution(images, 18, 1, window, 0, None).unwrap();
    let norm = program.batch_norm(first, [Vector::new(1), Vector::new(2)], [3, 4], 1e-5).unwrap();
    let active = program.relu(norm);
    let second = program.convolution(active, 18, 1, window, 5, Some(6)).unwrap();
    let scale = Vector { parameter: 7, plus: None };
    let groups = program.group_norm(second, 9, [Vector::new(8), Vector::new(9)], 1e-5).unwrap();
    let scaled = program.channelwise(groups, Arithmetic::Multiply, scale).unwrap();
    let sum = program.sum(scaled, active).unwrap();
    let features = program.global_average(sum).unwrap();
    let output = program.linear(features, 5, 10, true, Some(11)).unwrap();
    (program, vec![first, active, sum, output])
}

const BATCH: usize = 5;

fn images() -> Vec<f32> {
    normal(77, BATCH * 60)
}

/// The gradients of the outputs times fixed factors.
fn gradients(
    executor: &Executor,
    parameters: &[Vec<f32>],
    statistics: Statistics,
    values: &[Value],
) -> Gradients {
    let all: Vec<usize> = (0..LENGTHS.len()).collect();
    let request = Request { statistics, parameters: &all, values, thrift: 0 };
    let objective = |_: &[f32], slopes: &mut [f32]| {
        slopes.copy_from_slice(&normal(5, BATCH * 5));
        Ok::<(), Infallible>(())
    };
    executor.gradients(parameters, &images(), BATCH, &request, objective).unwrap()
}

fn objective(executor: &Executor, parameters: &[Vec<f32>], statistics: Statistics) -> f64 {
    let outputs = executor.forward(parameters, &images(), BATCH, statistics);
    outputs.iter().zip(normal(5, BATCH * 5)).map(|(&y, factor)| f64::from(y) * f64::from(factor)).sum()
}

/// Every kind of instruction and task, on images of 16 floats and two threads: small enough for Miri.
#[test]
fn all_instructions_on_small_images() {
    let lengths = vec![2 * 9, 2, 2, 2, 2, 2, 2 * 2, 2, 1, 2 * 6, 2, 3 * 2];
    let mut program = Program::new(Shape::new(1, 4, 4), lengths.clone(), Isa::best()).unwrap();
    let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    let halves = Window { stride: [2; 2], ..Window::new([2, 2]) };
    let images = program.input();
    let first = program.convolution(images, 2, 1, window, 0, Some(1)).unwrap();
    let active = program.relu(first);
    let pooled = program.max_pool(active, halves).unwrap();
    let norm = program.batch_norm(pooled, [Vector::new(2), Vector::new(3)], [4, 5], 1e-5).unwrap();
    let second = program.convolution(norm, 2, 1, Window::new([1, 1]), 6, None).unwrap();
    let groups = program.group_norm(second, 1, [Vector::new(7), Vector::new(7)], 1e-5).unwrap();
    let scaled = program.channelwise(groups, Arithmetic::Multiply, Vector::new(8)).unwrap();
    let sum = program.sum(scaled, norm).unwrap();
    let clipped = program.clip(sum, [Bound::Number(-2.0), Bound::Number(2.0)]).unwrap();
    let shifted = program.channelwise(clipped, Arithmetic::Divide, Vector::new(8)).unwrap();
    let overlapping = program.max_pool(shifted, Window::new([1, 2])).unwrap();
    let average = program.average_pool(overlapping, Window::new([2, 1]), vec![2.0]).unwrap();
    let features = program.flatten(average);
    let hidden = program.linear(features, 6, 9, false, None).unwrap();
    let back = program.linear(hidden, 2, 9, true, Some(10)).unwrap();
    let output = program.linear(back, 3, 11, true, None).unwrap();
    let executor = Executor::new(program, output);
    let parameters: Vec<Vec<f32>> =
        lengths.iter().enumerate().map(|(seed, &length)| normal(seed as u64, length)).collect();
    let parameters: Vec<Vec<f32>> =
        parameters.into_iter().map(|values| values.iter().map(|value| value.abs() + 0.1).collect()).collect();
    let images = normal(3, 3 * 16);
    let all: Vec<usize> = (0..lengths.len()).collect();
    let objective = |outputs: &[f32], slopes: &mut [f32]| {
        slopes.copy_from_slice(outputs);
        Ok::<(), Infallible>(())
    };
    // Running statistics need no instruction that those of the batch do not.
    let kinds = [Statistics::Batch, Statistics::Running];
    for &statistics in if cfg!(miri) { &kinds[..1] } else { &kinds } {
        let request = Request { statistics, parameters: &all, values: &[sum, first], thrift: 0 };
        let found = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| executor.gradients(&parameters, &images, 3, &request, objective).unwrap())
        });
        assert_eq!(found[0], found[1]);
        // What it would be in float64 is for other tests to say.
        assert_eq!(found[0].outputs, executor.forward(&parameters, &images, 3, statistics));
        assert!(found[0].parameters.iter().flatten().all(|slope| slope.is_finite()));
        assert!(executor.nonfinite(&parameters, &images, 3, statistics).iter().all(|is_bad| !is_bad));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn gradients_agree_with_differences() {
    for isa in Isa::available() {
        let (program, values) = program(isa);
        let executor = Executor::new(program, values[3]);
        for statistics in [Statistics::Running, Statistics::Batch] {
            let start = parameters();
            let found = gradients(&executor, &start, statistics, &[]);
            for (index, gradient) in found.parameters.iter().enumerate() {
                let largest = gradient.iter().fold(0.5_f32, |most, slope| most.max(slope.abs()));
                for element in (0..gradient.len()).step_by(1 + gradient.len() / 7) {
                    let mut moved = start.clone();
                    let mut at = |by: f32| {
                        moved[index][element] = start[index][element] + by;
                        objective(&executor, &moved, statistics)
                    };
                    let wanted = ((at(1e-3) - at(-1e-3)) / 2e-3) as f32;
                    let far = (gradient[element] - wanted).abs() / largest;
                    assert!(
                        far < 2e-2,
                        "{isa} {statistics:?} {index} {element}: {} is not {wanted}",
                        gradient[element]
                    );
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn instruction_sets_agree_but_for_rounding() {
    let results = Isa::available().into_iter().map(|isa| {
        let (program, values) = program(isa);
        gradients(&Executor::new(program, values[3]), &parameters(), Statistics::Batch, &values)
    });
    let results: Vec<Gradients> = results.collect();
    let all = |found: &Gradients| {
        [&[found.outputs.clone()][..], &found.parameters, &found.values]
            .concat()
            .into_iter()
            .flatten()
            .collect::<Vec<f32>>()
    };
    let wanted = all(&results[0]);
    let largest = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for result in &results {
        let far = all(result).iter().zip(&wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(far < 1e-4 * largest, "{far} of {largest}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn equal_bits_on_any_number_of_threads_and_after_other_calls() {
    let (program, values) = program(Isa::best());
    let executor = Executor::new(program, values[3]);
    let wanted = gradients(&executor, &parameters(), Statistics::Batch, &values);
    assert_eq!(wanted.measured.len(), 1);
    for threads in [1, 2, 3, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| gradients(&executor, &parameters(), Statistics::Batch, &values));
        assert_eq!(found, wanted, "{threads} threads");
        // Smaller batches use the same memory.
        let _ = executor.forward(&parameters(), &images()[..120], 2, Statistics::Batch);
    }
}

/// Against sums in float64 over what the convolution before gives.
#[test]
fn measured_statistics_are_the_mean_and_the_unbiased_variance() {
    let (program, values) = program(Isa::best());
    let found = gradients(&Executor::new(program.clone(), values[3]), &parameters(), Statistics::Batch, &[]);
    let maps = Executor::new(program, values[0]).forward(&parameters(), &images(), BATCH, Statistics::Batch);
    let (_, [means, variances]) = &found.measured[0];
    assert_eq!([means.len(), variances.len()], [18; 2]);
    for channel in 0..18 {
        let of_channel: Vec<f64> =
            maps.chunks(30).skip(channel).step_by(18).flatten().map(|&value| f64::from(value)).collect();
        let count = of_channel.len() as f64;
        let mean = of_channel.iter().sum::<f64>() / count;
        let squares: f64 = of_channel.iter().map(|value| (value - mean).powi(2)).sum();
        let variance = squares / (count - 1.0);
        assert!((f64::from(means[channel]) - mean).abs() < 1e-6 * variance.sqrt(), "mean of {channel}");
        assert!((f64::from(variances[channel]) - variance).abs() < 1e-6 * variance, "variance of {channel}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn memory_does_not_grow() {
    let (program, values) = program(Isa::best());
    let executor = Executor::new(program, values[3]);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let call = || pool.install(|| gradients(&executor, &parameters(), Statistics::Batch, &[]));
    call();
    let bytes = executor.kept_bytes();
    assert!(bytes > 0);
    for _ in 0..3 {
        call();
    }
    assert_eq!(executor.kept_bytes(), bytes);
}

/// What a batch will take is what is then held, but for packed weights and what threads work in.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn missing_memory_is_told_before_it_is_taken() {
    let (program, values) = program(Isa::best());
    let executor = Executor::new(program, values[3]);
    let all: Vec<usize> = (0..LENGTHS.len()).collect();
    let request = Request { statistics: Statistics::Batch, parameters: &all, values: &[], thrift: 0 };
    let missing = |batch| executor.missing_bytes(&request, batch);
    let (few, many) = (missing(BATCH), missing(1000));
    assert!(few > 0 && many > 50 * few, "{few} {many}");
    gradients(&executor, &parameters(), Statistics::Batch, &[]);
    assert_eq!((missing(BATCH), missing(BATCH - 1), missing(1000)), (0, 0, many - few));
    let before = executor.kept_bytes();
    let objective = |_: &[f32], _: &mut [f32]| Ok::<(), Infallible>(());
    let images = normal(7, 64 * 60);
    let wanted = missing(64);
    executor.gradients(&parameters(), &images, 64, &request, objective).unwrap();
    let grown = executor.kept_bytes() - before;
    // Regions start apart from each other.
    assert!(grown.abs_diff(wanted) < wanted / 10, "{grown} {wanted}");
    assert!(missing(usize::MAX) > 1 << 60);
}

/// NaN in an image reaches its own outputs alone where statistics are running; all where they are the batch's.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn nan_goes_where_it_must() {
    let (program, values) = program(Isa::best());
    let executor = Executor::new(program, values[3]);
    let mut images = images();
    images[60 + 7] = f32::NAN;
    let of_images = |statistics: Statistics| {
        let outputs = executor.forward(&parameters(), &images, BATCH, statistics);
        outputs.chunks(5).map(|outputs| outputs.iter().all(|output| output.is_nan())).collect::<Vec<bool>>()
    };
    assert_eq!(of_images(Statistics::Running), [false, true, false, false, false]);
    assert_eq!(of_images(Statistics::Batch), [true; 5]);
    let is_bad = executor.nonfinite(&parameters(), &images, BATCH, Statistics::Running);
    assert!(is_bad.iter().all(|is_bad| *is_bad));
}

#[test]
fn limits_keep_nan() {
    let mut program = Program::new(Shape::new(1, 1, 4), vec![1], Isa::best()).unwrap();
    let clipped = program.clip(program.input(), [Bound::Number(-1.0), Bound::Parameter(0)]).unwrap();
    let active = program.relu(clipped);
    let executor = Executor::new(program, active);
    let found = executor.forward(&[vec![2.0]], &[-3.0, f32::NAN, 1.5, 9.0], 1, Statistics::Running);
    assert!(found[1].is_nan());
    assert_eq!([found[0], found[2], found[3]], [0.0, 1.5, 2.0]);
}

#[test]
fn operations_that_do_not_fit_are_errors() {
    let new = |shape| Program::new(shape, vec![4, 1], Isa::best());
    assert!(matches!(new(Shape::new(0, 1, 1)), Err(ProgramError::Shape(ShapeError::NoChannels { .. }))));
    assert!(matches!(new(Shape::new(1, 0, 1)), Err(ProgramError::Shape(ShapeError::Zero { .. }))));
    let huge = Shape::new(usize::MAX, 2, 2);
    assert!(matches!(new(huge), Err(ProgramError::Shape(ShapeError::Overflow { .. }))));
    let mut program = new(Shape::new(3, 4, 4)).unwrap();
    let x = program.input();
    let messages = [
        program.convolution(x, 2, 1, Window::new([5, 5]), 0, None).map(|_| ()),
        program.convolution(x, 2, 1, Window::new([1, 1]), 0, None).map(|_| ()),
        program.linear(x, 2, 0, true, None).map(|_| ()),
        program.batch_norm(x, [Vector::new(1); 2], [0, 0], 0.0).map(|_| ()),
        program.group_norm(x, 2, [Vector::new(1); 2], 0.0).map(|_| ()),
        program.channelwise(x, Arithmetic::Add, Vector::new(0)).map(|_| ()),
        program.channelwise(x, Arithmetic::Add, Vector::new(9)).map(|_| ()),
        program.clip(x, [Bound::Number(0.0), Bound::Parameter(0)]).map(|_| ()),
        program.average_pool(x, Window::new([2, 2]), vec![4.0; 8]).map(|_| ()),
        program.max_pool(x, Window { stride: [0, 1], ..Window::new([2, 2]) }).map(|_| ()),
    ]
    .map(|result| result.unwrap_err().to_string());
    let wanted = [
        "a kernel over 5 pixels is larger than the padded image of 4 on axis 0",
        "parameter 0 has 4 floats, not 6",
        "a linear layer takes features, not a value of shape 3x4x4",
        "parameter 0 has 4 floats, not 3",
        "3 channels do not divide into 2 groups",
        "parameter 0 has 4 floats for 3 channels",
        "parameter 9 is used; there are 2",
        "parameter 0 has 4 floats, not 1",
        "8 divisors for 9 windows",
        "the stride has size 0 on axis 0",
    ];
    assert_eq!(messages, wanted);
}
