//! Inference: against passes of the executor, the same bits in any batch and on any number of threads, parameters changed one by one.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use bitquake_kernels::program::{
    Arithmetic, Bound, Executor, Inference, Program, Shape, Statistics, Value, Vector,
};
use bitquake_kernels::{Isa, Window};
use bitquake_testing::SplitMix64;

const CHANNELS: usize = 36;
/// Of a plain first convolution, a grouped and a depthwise one, their norms, a scale, a bound, and two layers, one of them not transposed.
const LENGTHS: [usize; 15] = [
    CHANNELS * 2 * 9,
    CHANNELS,
    CHANNELS,
    CHANNELS,
    CHANNELS,
    CHANNELS * 18 * 9,
    CHANNELS,
    CHANNELS * 9,
    9,
    9,
    CHANNELS,
    1,
    80 * CHANNELS * 4,
    80,
    80 * 5,
];

fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn parameters() -> Vec<Vec<f32>> {
    let mut parameters: Vec<Vec<f32>> =
        LENGTHS.iter().enumerate().map(|(seed, &length)| normal(seed as u64, length)).collect();
    parameters[4].iter_mut().for_each(|variance| *variance = variance.abs() + 0.5);
    parameters[11] = vec![1.5];
    parameters
}

fn program(isa: Isa) -> (Program, Value) {
    let mut program = Program::new(Shape::new(2, 8, 7), LENGTHS.to_vec(), isa).unwrap();
    let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    let images = program.input();
    let first = program.convolution(images, CHANNELS, 1, window, 0, None).unwrap();
    let norm = program.batch_norm(first, [Vector::new(1), Vector::new(2)], [3, 4], 1e-5).unwrap();
    let active = program.relu(norm);
    let second = program.convolution(active, CHANNELS, 2, window, 5, Some(6)).unwrap();
    let sum = program.sum(second, active).unwrap();
    let depth = program.convolution(sum, CHANNELS, CHANNELS, window, 7, None).unwrap();
    // A norm between convolutions that nothing else reads, of the same parameters as the first.
    let norm = program.batch_norm(depth, [Vector::new(1), Vector::new(2)], [3, 4], 1e-5).unwrap();
    let norm = program.relu(norm);
    let again = program.convolution(norm, CHANNELS, 2, window, 5, Some(6)).unwrap();
    let groups = program.group_norm(again, 9, [Vector::new(8), Vector::new(9)], 1e-5).unwrap();
    let scaled = program.channelwise(groups, Arithmetic::Multiply, Vector::new(10)).unwrap();
    let limited = program.clip(scaled, [Bound::Number(-1.0), Bound::Parameter(11)]).unwrap();
    let pooled = program.max_pool(limited, Window { stride: [3, 3], ..Window::new([3, 2]) }).unwrap();
    let features = program.flatten(pooled);
    let hidden = program.linear(features, 80, 12, true, Some(13)).unwrap();
    let hidden = program.relu(hidden);
    let output = program.linear(hidden, 5, 14, false, None).unwrap();
    (program, output)
}

const IMAGE: usize = 112;
const OUTPUT: usize = 5;

fn run(inference: &mut Inference, images: &[f32], threads: usize) -> Vec<f32> {
    let mut outputs = vec![f32::MAX; images.len() / IMAGE * OUTPUT];
    inference.forward(images, &mut outputs, threads);
    outputs
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn it_computes_what_the_executor_computes() {
    for isa in Isa::available() {
        let (program, output) = program(isa);
        let images = normal(77, 20 * IMAGE);
        let mut inference = Inference::new(&program, output, parameters());
        let found = run(&mut inference, &images, 1);
        let wanted = Executor::new(program, output).forward(&parameters(), &images, 20, Statistics::Running);
        let largest = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let far = found.iter().zip(&wanted).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(far < 1e-5 * largest, "{isa}: {far} of {largest}");
    }
}

#[test]
fn the_same_bits_in_any_batch_and_on_any_number_of_threads() {
    for isa in Isa::available() {
        let (program, output) = program(isa);
        let images = normal(77, 61 * IMAGE);
        let mut inference = Inference::new(&program, output, parameters());
        let wanted: Vec<f32> = images.chunks(IMAGE).flat_map(|image| run(&mut inference, image, 1)).collect();
        for threads in [1, 2, 3, 7] {
            for batch in [2, 6, 7, 13, 61] {
                let found: Vec<f32> = images
                    .chunks(batch * IMAGE)
                    .flat_map(|images| run(&mut inference, images, threads))
                    .collect();
                assert_eq!(bits(&found), bits(&wanted), "{isa}: {batch} on {threads} threads");
            }
        }
    }
}

#[test]
fn parameters_changed_one_by_one_are_those_given_at_first() {
    // Convolutions compute with what is derived from ordinary weights, and with the weights themselves if some are not ordinary.
    let lists = [
        &[0.5; 64][..],
        &[200.0, -0.0, -70.0, 0.37, 300.0, 5.0, 300.0, 77.0],
        &[f32::NAN, f32::INFINITY, -3e38],
    ];
    for isa in Isa::available() {
        let (program, output) = program(isa);
        let images = normal(7, 3 * IMAGE);
        let mut inference = Inference::new(&program, output, parameters());
        let clean = run(&mut inference, &images, 1);
        let mut of_copy = inference.clone();
        for (values, (parameter, &length)) in
            lists.iter().flat_map(|values| LENGTHS.iter().enumerate().map(move |of| (values, of)))
        {
            let start = parameters();
            let mut changed = start.clone();
            for (step, &value) in values.iter().enumerate() {
                let element = (step * 41 + 5) % length;
                changed[parameter][element] = value;
                inference.set(parameter, element, value);
            }
            let wanted = run(&mut Inference::new(&program, output, changed), &images, 1);
            assert_eq!(bits(&run(&mut inference, &images, 1)), bits(&wanted), "{isa} {parameter} {values:?}");
            assert_ne!(bits(&wanted), bits(&clean), "{isa} {parameter} {values:?}");
            for step in 0..values.len() {
                let element = (step * 41 + 5) % length;
                inference.set(parameter, element, start[parameter][element]);
            }
            assert_eq!(bits(&run(&mut inference, &images, 1)), bits(&clean), "{isa} {parameter} undone");
        }
        of_copy.set(13, 0, 9.0);
        assert_ne!(bits(&run(&mut of_copy, &images, 1)), bits(&clean), "a copy has parameters of its own");
        assert_eq!(bits(&run(&mut inference, &images, 1)), bits(&clean), "and no others");
    }
}

#[test]
#[should_panic(expected = "element 1 of a parameter of 1")]
fn an_element_that_is_not_there_panics() {
    let (program, output) = program(Isa::best());
    Inference::new(&program, output, parameters()).set(11, 1, 0.0);
}

#[test]
#[should_panic(expected = "111 floats are not images of 112")]
fn half_an_image_panics() {
    let (program, output) = program(Isa::best());
    Inference::new(&program, output, parameters()).forward(&[0.0; 111], &mut [], 1);
}
