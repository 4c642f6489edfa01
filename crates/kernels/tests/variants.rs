//! Variants: to the bit what passes of their own give, whatever they share; up to rounding where weights of one convolution are others.

use std::convert::Infallible;

use bitquake_kernels::program::{
    Arithmetic, Bound, Edit, Executor, Program, ProgramError, Request, Shape, Statistics, Value, Vector,
};
use bitquake_kernels::{Isa, Window};
use bitquake_testing::SplitMix64;
use proptest::prelude::*;

/// Large enough for convolutions in tiles.
const IMAGE: Shape = Shape::new(2, 8, 7);
const CHANNELS: usize = 20;
const OUTPUTS: usize = 5;

/// A window that keeps the size of an image.
fn same() -> Window {
    Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) }
}

/// An operation on a value, with its parameters. All but the ends keep the shape, so that any two values can be added.
#[derive(Clone, Copy, Debug)]
enum Step {
    Convolution {
        groups: usize,
        weight: usize,
        bias: Option<usize>,
    },
    BatchNorm {
        affine: [usize; 2],
        running: [usize; 2],
    },
    GroupNorm {
        affine: [usize; 2],
    },
    Scale {
        by: usize,
    },
    Relu,
    Clip {
        most: usize,
    },
    MaxPool,
    /// The sum with an earlier value, or with what a ReLU makes of it.
    Sum {
        other: usize,
        is_positive: bool,
    },
}

/// A network: steps between a first convolution and two fully connected layers.
#[derive(Clone, Debug)]
struct Recipe {
    steps: Vec<Step>,
    /// Weights of the first convolution, and of the layers at the end; biases of these.
    ends: [usize; 5],
    lengths: Vec<usize>,
}

impl Recipe {
    fn random(seed: u64) -> Recipe {
        let mut random = SplitMix64::new(seed);
        let mut below = |count: usize| (random.next_u64() % count as u64) as usize;
        let mut lengths = Vec::new();
        let mut parameter = |length: usize, share: bool| {
            // Now and then one that is there already, so that some are read in several places.
            let known = lengths.iter().position(|&known| known == length).filter(|_| share);
            known.unwrap_or_else(|| {
                lengths.push(length);
                lengths.len() - 1
            })
        };
        let first = parameter(CHANNELS * IMAGE.channels * 9, false);
        let mut steps = Vec::new();
        for place in 0..3 + below(9) {
            let share = below(4) == 0;
            steps.push(match below(8) {
                0 | 1 => {
                    let groups = [1, 1, 2, CHANNELS][below(4)];
                    let weight = parameter(CHANNELS * (CHANNELS / groups) * 9, share);
                    let bias = (below(2) == 0).then(|| parameter(CHANNELS, share));
                    Step::Convolution { groups, weight, bias }
                }
                2 => {
                    let [scale, shift, mean, variance] = [share, share, share, false];
                    let [scale, shift, mean, variance] =
                        [scale, shift, mean, variance].map(|share| parameter(CHANNELS, share));
                    Step::BatchNorm { affine: [scale, shift], running: [mean, variance] }
                }
                3 => Step::GroupNorm { affine: [5, 1].map(|length| parameter(length, share)) },
                4 => Step::Scale { by: parameter(CHANNELS, share) },
                5 => Step::Relu,
                6 => [Step::Clip { most: parameter(1, share) }, Step::MaxPool][below(2)],
                _ => Step::Sum { other: below(place + 1), is_positive: share },
            });
        }
        let sizes = [CHANNELS * IMAGE.pixels() * 7, 7, 7 * OUTPUTS, OUTPUTS];
        let [hidden, hidden_bias, last, last_bias] = sizes.map(|length| parameter(length, false));
        Recipe { steps, ends: [first, hidden, hidden_bias, last, last_bias], lengths }
    }

    /// Whether edits are all of the weights of one convolution.
    fn are_of_a_convolution(&self, edits: &[Edit]) -> bool {
        let is_weight = |parameter: usize| {
            let in_steps = self
                .steps
                .iter()
                .any(|step| matches!(step, Step::Convolution { weight, .. } if *weight == parameter));
            parameter == self.ends[0] || in_steps
        };
        edits.first().is_some_and(|first| {
            is_weight(first.parameter) && edits.iter().all(|edit| edit.parameter == first.parameter)
        })
    }

    fn executor(&self, isa: Isa) -> Result<Executor, ProgramError> {
        let mut program = Program::new(IMAGE, self.lengths.clone(), isa)?;
        let [first, hidden, hidden_bias, last, last_bias] = self.ends;
        let start = program.input();
        let mut values = vec![program.convolution(start, CHANNELS, 1, same(), first, None)?];
        for step in &self.steps {
            let x = values[values.len() - 1];
            values.push(self.add(&mut program, step, x, &values)?);
        }
        let features = program.flatten(values[values.len() - 1]);
        let hidden = program.linear(features, 7, hidden, true, Some(hidden_bias))?;
        let hidden = program.relu(hidden);
        let output = program.linear(hidden, OUTPUTS, last, false, Some(last_bias))?;
        Ok(Executor::new(program, output))
    }

    fn add(
        &self,
        program: &mut Program,
        step: &Step,
        x: Value,
        values: &[Value],
    ) -> Result<Value, ProgramError> {
        match *step {
            Step::Convolution { groups, weight, bias } => {
                program.convolution(x, CHANNELS, groups, same(), weight, bias)
            }
            Step::BatchNorm { affine, running } => {
                program.batch_norm(x, affine.map(Vector::new), running, 1e-5)
            }
            Step::GroupNorm { affine } => program.group_norm(x, 5, affine.map(Vector::new), 1e-5),
            Step::Scale { by } => program.channelwise(x, Arithmetic::Multiply, Vector::new(by)),
            Step::Relu => Ok(program.relu(x)),
            Step::Clip { most } => program.clip(x, [Bound::Number(-1.0), Bound::Parameter(most)]),
            Step::MaxPool => program.max_pool(x, same()),
            Step::Sum { other, is_positive } => {
                let other = if is_positive { program.relu(values[other]) } else { values[other] };
                program.sum(x, other)
            }
        }
    }

    /// Random numbers, those that may be variances or bounds above 0.
    fn parameters(&self, seed: u64) -> Vec<Vec<f32>> {
        let mut parameters: Vec<Vec<f32>> =
            (0..).zip(&self.lengths).map(|(place, &length)| normal(seed + place, length)).collect();
        for step in &self.steps {
            let positive = match *step {
                Step::BatchNorm { running: [_, variance], .. } => variance,
                Step::Clip { most } => most,
                _ => continue,
            };
            parameters[positive].iter_mut().for_each(|value| *value = value.abs() + 0.5);
        }
        parameters
    }

    /// An edit of each parameter, some of two, none, and numbers that are not finite.
    fn edits(&self, seed: u64) -> Vec<Vec<Edit>> {
        let mut random = SplitMix64::new(seed);
        let mut edit = |parameter: usize| {
            let element = (random.next_u64() % self.lengths[parameter] as u64) as usize;
            let value = match random.next_u64() % 12 {
                0 => f32::NAN,
                1 => f32::INFINITY,
                _ => 3.0 * random.normal() as f32,
            };
            Edit { parameter, element, value }
        };
        let count = self.lengths.len();
        let single = (0..count).map(|parameter| vec![edit(parameter)]).collect::<Vec<_>>();
        let double = (0..count).map(|place| vec![edit(place), edit((7 * place + 3) % count)]);
        let edits = single.into_iter().chain(double.collect::<Vec<_>>()).chain([vec![]]);
        // From the last to the first, so that the order says nothing.
        edits.rev().collect()
    }
}

fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// The outputs of each set of edits, by a pass of its own; one with a backward pass, of which forward passes differ in what they do at once.
fn apart(
    executor: &Executor,
    parameters: &[Vec<f32>],
    images: &[f32],
    batch: usize,
    edits: &[Vec<Edit>],
) -> Vec<Vec<u32>> {
    let request = Request { statistics: Statistics::Running, parameters: &[], values: &[], thrift: 0 };
    let one = |edits: &Vec<Edit>| {
        let mut parameters = parameters.to_vec();
        edits.iter().for_each(|edit| parameters[edit.parameter][edit.element] = edit.value);
        let nothing = |_: &[f32], _: &mut [f32]| Ok::<(), Infallible>(());
        let found = executor.gradients(&parameters, images, batch, &request, nothing).unwrap();
        let forward = executor.forward(&parameters, images, batch, Statistics::Running);
        assert_eq!(bits(&found.outputs), bits(&forward));
        bits(&forward)
    };
    edits.iter().map(one).collect()
}

/// Whether results are close: classes of values that are not finite are the same, and the others differ by no more than rounding, which some
/// networks amplify: they compute with large numbers that a limit makes small.
fn are_close(found: &[u32], wanted: &[u32]) -> bool {
    let [found, wanted] =
        [found, wanted].map(|bits| bits.iter().map(|&bits| f32::from_bits(bits)).collect::<Vec<_>>());
    let largest = wanted
        .iter()
        .filter(|value| value.is_finite())
        .fold(0.0_f32, |largest, value| largest.max(value.abs()));
    found.iter().zip(&wanted).all(|(found, wanted)| match wanted.is_finite() {
        true => (found - wanted).abs() <= 1e-2 * largest,
        false => found.to_bits() == wanted.to_bits() || found.is_nan() && wanted.is_nan(),
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 1 } else { 24 }, ..ProptestConfig::default() })]

    #[test]
    fn they_are_passes_of_their_own(seed in any::<u32>(), batch in 1_usize..9, isa in 0_usize..3) {
        let isa = Isa::available().get(isa).copied().unwrap_or_else(Isa::best);
        let recipe = Recipe::random(seed.into());
        let executor = recipe.executor(isa).unwrap();
        let parameters = recipe.parameters(seed.into());
        let images = normal(77, batch * IMAGE.elements());
        let edits = recipe.edits(seed.into());
        let wanted = apart(&executor, &parameters, &images, batch, &edits);
        let mut first = None;
        for bytes in [usize::MAX, 20_000, 0] {
            let found = executor.variants(&parameters, &images, batch, &edits, bytes);
            let found: Vec<Vec<u32>> = found.iter().map(|outputs| bits(outputs)).collect();
            for ((found, wanted), edits) in found.iter().zip(&wanted).zip(&edits) {
                if recipe.are_of_a_convolution(edits) {
                    prop_assert!(are_close(found, wanted), "{edits:?}: {found:?}, {wanted:?}, {recipe:?}");
                } else {
                    prop_assert_eq!(found, wanted, "{:?}, {} bytes, {:?}", edits, bytes, recipe);
                }
            }
            prop_assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "whatever is done together");
        }
    }
}

/// Two convolutions, with weights 0 and 1, and a ReLU after each.
fn two_convolutions() -> Recipe {
    let steps = vec![Step::Relu, Step::Convolution { groups: 1, weight: 1, bias: None }, Step::Relu];
    let [first, second] = [IMAGE.channels, CHANNELS].map(|read| CHANNELS * read * 9);
    let lengths = vec![first, second, CHANNELS * IMAGE.pixels() * 7, 7, 7 * OUTPUTS, OUTPUTS];
    Recipe { steps, ends: [0, 2, 3, 4, 5], lengths }
}

/// Images or weights so large that sums of them would not cancel out.
#[test]
fn what_is_huge_is_computed_anew() {
    for (of_images, of_weights) in [(1e7, 1.0), (1.0, 3e3), (f32::NAN, 1.0)] {
        let recipe = two_convolutions();
        let executor = recipe.executor(Isa::best()).unwrap();
        let mut parameters = recipe.parameters(1);
        parameters[1][7] *= of_weights;
        let mut images = normal(2, 3 * IMAGE.elements());
        images[IMAGE.pixels() + 9] *= of_images;
        let edits = [
            vec![Edit { parameter: 0, element: 9 + 4, value: 0.0 }],
            vec![Edit { parameter: 1, element: 70, value: 2.0 }],
        ];
        let wanted = apart(&executor, &parameters, &images, 3, &edits);
        let found = executor.variants(&parameters, &images, 3, &edits, usize::MAX);
        let found: Vec<Vec<u32>> = found.iter().map(|outputs| bits(outputs)).collect();
        // The weight of the second convolution is huge from the start, so nothing is added to its result in either set.
        let is_same = |set: usize, images: std::ops::Range<usize>| {
            let of = images.start * OUTPUTS..images.end * OUTPUTS;
            found[set][of.clone()] == wanted[set][of]
        };
        assert!(is_same(1, 0..1) && are_close(&found[0], &wanted[0]), "{of_images}, {of_weights}");
        assert_eq!(
            is_same(0, 0..1),
            of_images != 1.0,
            "{of_images}, {of_weights}: both convolutions of a huge image"
        );
        assert_eq!(is_same(1, 1..3), of_weights > 1.0, "{of_images}, {of_weights}: the others are tame");
    }
}

/// A weight that meets a huge number and becomes 0: nothing huge is left, and what it gave cannot be taken off.
#[test]
fn what_a_huge_number_gave_is_not_taken_off() {
    let recipe = two_convolutions();
    let executor = recipe.executor(Isa::best()).unwrap();
    let mut parameters = recipe.parameters(1);
    // Of channel 1 of the image, nothing but this weight reads.
    const WEIGHT: usize = 9 + 4;
    for (element, weight) in parameters[0].iter_mut().enumerate() {
        if element / 9 % IMAGE.channels == 1 {
            *weight = if element == WEIGHT { 1.0 } else { 0.0 };
        }
    }
    let mut images = normal(2, IMAGE.elements());
    images[IMAGE.pixels() + 9] = 1e9;
    let edits = [vec![Edit { parameter: 0, element: WEIGHT, value: 0.0 }]];
    let wanted = apart(&executor, &parameters, &images, 1, &edits);
    let found = executor.variants(&parameters, &images, 1, &edits, usize::MAX);
    assert_eq!(bits(&found[0]), wanted[0]);
}

#[test]
fn equal_bits_on_any_number_of_threads() {
    let recipe =
        Recipe { steps: vec![Step::Relu, Step::Sum { other: 0, is_positive: false }], ..Recipe::random(4) };
    let executor = recipe.executor(Isa::best()).unwrap();
    let (parameters, images) = (recipe.parameters(5), normal(6, 70 * IMAGE.elements()));
    let edits = recipe.edits(7);
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| executor.variants(&parameters, &images, 70, &edits, usize::MAX));
        found.iter().map(|outputs| bits(outputs)).collect::<Vec<_>>()
    };
    let wanted = on(1);
    for threads in [2, 5] {
        assert_eq!(on(threads), wanted, "{threads} threads");
    }
}

#[test]
fn without_sets_there_are_no_outputs() {
    let recipe = Recipe::random(1);
    let executor = recipe.executor(Isa::best()).unwrap();
    let found = executor.variants(&recipe.parameters(1), &normal(1, IMAGE.elements()), 1, &[], 0);
    assert!(found.is_empty());
}

#[test]
#[should_panic(expected = "index out of bounds")]
fn an_element_that_is_not_there_panics() {
    let recipe = Recipe::random(1);
    let executor = recipe.executor(Isa::best()).unwrap();
    let edit = Edit { parameter: 0, element: recipe.lengths[0], value: 0.0 };
    let images = normal(1, IMAGE.elements());
    let _ = executor.variants(&recipe.parameters(1), &images, 1, &[vec![edit]], 0);
}
