//! Products of the Hessian: against differences of gradients, by what they must satisfy, and the same bits on any number of threads.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::convert::Infallible;

use bitquake_kernels::program::{
    Arithmetic, Bound, Executor, NoProducts, Products, Program, Request, Shape, Statistics, Vector,
};
use bitquake_kernels::{Isa, Window};
use bitquake_testing::SplitMix64;

const BATCH: usize = 5;

fn normal(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.normal() as f32).collect()
}

/// A program, its parameters, and images for it.
struct Case {
    executor: Executor,
    parameters: Vec<Vec<f32>>,
    images: Vec<f32>,
}

/// Parameters that grow as operations ask for them.
#[derive(Default)]
struct Lengths(Vec<usize>);

impl Lengths {
    fn next(&mut self, length: usize) -> usize {
        self.0.push(length);
        self.0.len() - 1
    }
}

/// Every operation: convolutions with groups, strides and biases, norms whose parameters have numbers added, both kinds of pools, layers both
/// ways. With `kinks` also those whose second derivative has jumps.
fn case(isa: Isa, kinks: bool) -> Case {
    let mut lengths = Lengths::default();
    let first = [lengths.next(18 * 2 * 9), lengths.next(18)];
    let norm: [usize; 5] = [18, 18, 18, 18, 1].map(|length| lengths.next(length));
    let tiled = lengths.next(18 * 18 * 9);
    let second = [lengths.next(6 * 9 * 4), lengths.next(6)];
    let group: [usize; 4] = [3, 6, 6, 6].map(|length| lengths.next(length));
    let single = [6, 6, 1, 2].map(|length| lengths.next(length));
    let third = lengths.next(20 * 6 * 4);
    let layers = [20 * 7, 7, 7 * 5, 5].map(|length| lengths.next(length));
    let mut program = Program::new(Shape::new(2, 8, 6), lengths.0.clone(), isa).unwrap();
    let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    let halves = Window { stride: [2, 2], ..Window::new([2, 2]) };
    let x = program.convolution(program.input(), 18, 1, window, first[0], Some(first[1])).unwrap();
    let shift = Vector { parameter: norm[1], plus: Some(norm[4]) };
    let x = program.batch_norm(x, [Vector::new(norm[0]), shift], [norm[2], norm[3]], 1e-3).unwrap();
    let x = if kinks { program.relu(x) } else { x };
    let skip = x;
    let x = program.channelwise(x, Arithmetic::Multiply, Vector::new(norm[0])).unwrap();
    let x = program.sum(x, skip).unwrap();
    // Enough channels and pixels to be computed in tiles.
    let x = program.convolution(x, 18, 1, window, tiled, None).unwrap();
    let x = if kinks { program.max_pool(x, halves).unwrap() } else { x };
    let x = program.average_pool(x, Window::new([2, 2]), vec![4.0; if kinks { 6 } else { 35 }]).unwrap();
    let x = program.convolution(x, 6, 2, halves, second[0], Some(second[1])).unwrap();
    let x = program.group_norm(x, 3, [Vector::new(group[0]), Vector::new(group[1])], 1e-2).unwrap();
    let x = program.channelwise(x, Arithmetic::Multiply, Vector::new(group[2])).unwrap();
    let x = program.channelwise(x, Arithmetic::Add, Vector::new(group[3])).unwrap();
    let x = if kinks { program.clip(x, [Bound::Number(-1.5), Bound::Number(1.5)]).unwrap() } else { x };
    let x = program.channelwise(x, Arithmetic::Divide, Vector::new(single[0])).unwrap();
    let x = program.channelwise(x, Arithmetic::Subtract, Vector::new(single[1])).unwrap();
    let x = program.channelwise(x, Arithmetic::Add, Vector::new(single[2])).unwrap();
    let x = program.channelwise(x, Arithmetic::Multiply, Vector::new(single[3])).unwrap();
    let padded = Window { pads: [[1, 1]; 2], ..Window::new([2, 2]) };
    let x = program.convolution(x, 20, 1, padded, third, None).unwrap();
    let x = program.global_average(x).unwrap();
    let x = program.flatten(x);
    let x = program.linear(x, 7, layers[0], false, Some(layers[1])).unwrap();
    let x = if kinks { program.relu(x) } else { x };
    let y = program.linear(x, 5, layers[2], true, Some(layers[3])).unwrap();
    let parameter = |(seed, &length): (usize, &usize)| normal(seed as u64, length);
    let mut parameters: Vec<Vec<f32>> = lengths.0.iter().enumerate().map(parameter).collect();
    for positive in [norm[3], single[0]] {
        parameters[positive].iter_mut().for_each(|value| *value = value.abs() + 0.8);
    }
    parameters[first[0]].iter_mut().for_each(|weight| *weight *= 0.3);
    parameters[second[0]].iter_mut().for_each(|weight| *weight *= 0.3);
    Case { executor: Executor::new(program, y), parameters, images: normal(77, BATCH * 96) }
}

/// Half the sum of the squares: its gradient is the output, and moves as that.
fn half_square(
    [outputs, moved]: [&[f32]; 2],
    [slopes, moved_slopes]: [&mut [f32]; 2],
) -> Result<(), Infallible> {
    slopes.copy_from_slice(outputs);
    moved_slopes.copy_from_slice(moved);
    Ok(())
}

fn request(parameters: &[usize]) -> Request<'_> {
    Request { statistics: Statistics::Running, parameters, values: &[], thrift: 0 }
}

impl Case {
    fn all(&self) -> Vec<usize> {
        (0..self.parameters.len()).collect()
    }

    fn direction(&self, seed: u64) -> Vec<Vec<f32>> {
        let one = |(place, values): (usize, &Vec<f32>)| normal(seed + place as u64, values.len());
        self.parameters.iter().enumerate().map(one).collect()
    }

    fn products_of(&self, parameters: &[usize], direction: &[Vec<f32>]) -> Products {
        let Case { executor, parameters: values, images } = self;
        executor.products(values, direction, images, BATCH, &request(parameters), half_square).unwrap()
    }

    fn products(&self, direction: &[Vec<f32>]) -> Products {
        self.products_of(&self.all(), direction)
    }

    fn gradients(&self, parameters: &[Vec<f32>]) -> Vec<Vec<f32>> {
        let objective = |outputs: &[f32], slopes: &mut [f32]| {
            slopes.copy_from_slice(outputs);
            Ok::<(), Infallible>(())
        };
        let all = self.all();
        self.executor
            .gradients(parameters, &self.images, BATCH, &request(&all), objective)
            .unwrap()
            .parameters
    }
}

fn dot(a: &[Vec<f32>], b: &[Vec<f32>]) -> f64 {
    let (a, b) = (a.iter().flatten(), b.iter().flatten());
    a.zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

fn moved(start: &[Vec<f32>], by: f32, direction: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let one =
        |(start, step): (&Vec<f32>, &Vec<f32>)| start.iter().zip(step).map(|(x, d)| x + by * d).collect();
    start.iter().zip(direction).map(one).collect()
}

fn most(lists: &[Vec<f32>]) -> f32 {
    lists.iter().flatten().fold(0.0, |most, value| most.max(value.abs()))
}

fn most_apart(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    assert!(found.iter().flatten().all(|value| value.is_finite()));
    most(&moved(found, -1.0, wanted))
}

/// The largest difference over the largest number wanted.
fn far(found: &[Vec<f32>], wanted: &[Vec<f32>]) -> f32 {
    most_apart(found, wanted) / most(wanted)
}

/// Along one parameter at a time, and along all.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn products_are_differences_of_gradients() {
    for isa in Isa::available() {
        let case = case(isa, false);
        let directions = case.direction(40);
        let alone = (0..directions.len()).map(|kept| {
            let step = |(place, values): (usize, &Vec<f32>)| {
                values.iter().map(|value| if place == kept { *value } else { 0.0 }).collect()
            };
            directions.iter().enumerate().map(step).collect()
        });
        for (number, direction) in alone.chain([directions.clone()]).enumerate() {
            let direction: Vec<Vec<f32>> = direction;
            let found = case.products(&direction);
            assert!(far(&found.gradients, &case.gradients(&case.parameters)) < 1e-5);
            // Along all, the third derivative is larger.
            let step = if number == directions.len() { 5e-4 } else { 2e-3 };
            let [high, low] =
                [step, -step].map(|by| case.gradients(&moved(&case.parameters, by, &direction)));
            let wanted: Vec<Vec<f32>> = high
                .iter()
                .zip(&low)
                .map(|(high, low)| high.iter().zip(low).map(|(h, l)| (h - l) / (2.0 * step)).collect())
                .collect();
            let far = most_apart(&found.products, &wanted);
            // Differences of gradients keep what those round.
            let rounding = 16.0 * f32::EPSILON * most(&found.gradients) / step;
            assert!(far < 2e-3 * most(&wanted) + rounding, "{isa} {number}: {far}");
        }
    }
}

/// `u H v = v H u`, and `H (2 u - 3 v) = 2 H u - 3 H v`.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn products_are_symmetric_and_linear() {
    for (isa, kinks) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
        let case = case(isa, kinks);
        let [u, v] = [40, 90].map(|seed| case.direction(seed));
        let [of_u, of_v] = [&u, &v].map(|direction| case.products(direction).products);
        let (one, other) = (dot(&u, &of_v), dot(&v, &of_u));
        let scale = (dot(&u, &u) * dot(&of_v, &of_v)).sqrt();
        assert!(scale > 1.0 && (one - other).abs() < 1e-5 * scale, "{isa} {kinks}: {one} {other} of {scale}");
        let both = |a: &[Vec<f32>], b: &[Vec<f32>]| moved(&moved(a, 1.0, a), -3.0, b);
        let far = far(&case.products(&both(&u, &v)).products, &both(&of_u, &of_v));
        assert!(far < 1e-4, "{isa} {kinks}: {far}");
    }
}

/// What is not asked for does not move: the products of some parameters are a block of those of all.
#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn products_of_some_parameters_are_blocks() {
    let case = case(Isa::best(), true);
    for (place, chosen) in
        [[0, 9], [1, 8], [2, 20], [4, 12], [6, 14], [5, 19], [13, 18]].into_iter().enumerate()
    {
        let mut direction = case.direction(60 + place as u64);
        for (place, values) in direction.iter_mut().enumerate() {
            if !chosen.contains(&place) {
                values.fill(0.0);
            }
        }
        let wanted = case.products(&direction);
        let own = chosen.map(|place| direction[place].clone());
        let found = case.products_of(&chosen, &own);
        assert_eq!(found.outputs, wanted.outputs);
        let [gradients, products] =
            [&wanted.gradients, &wanted.products].map(|lists| chosen.map(|place| lists[place].clone()));
        assert!(far(&found.gradients, &gradients) < 1e-6, "{chosen:?}");
        assert!(far(&found.products, &products) < 1e-5, "{chosen:?}");
        // A parameter that is named twice moves along the sum.
        let halves = own[0].iter().map(|value| 0.5 * value).collect::<Vec<f32>>();
        let twice =
            case.products_of(&[chosen[0], chosen[1], chosen[0]], &[halves.clone(), own[1].clone(), halves]);
        assert_eq!((&twice.products[..2], &twice.products[2]), (&found.products[..], &found.products[0]));
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn instruction_sets_agree_but_for_rounding() {
    let products = |isa: Isa| {
        let case = case(isa, true);
        case.products(&case.direction(3)).products
    };
    let wanted = products(Isa::best());
    for isa in Isa::available() {
        let far = far(&products(isa), &wanted);
        assert!(far < 1e-4, "{isa}: {far}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes hours there")]
fn equal_bits_on_any_number_of_threads_and_after_other_calls() {
    let case = case(Isa::best(), true);
    let direction = case.direction(3);
    let wanted = case.products(&direction);
    let mut bytes = Vec::new();
    for threads in [1, 2, 3, 7, 1, 1] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            assert_eq!(case.products(&direction), wanted, "{threads} threads");
            case.products(&case.direction(9));
            case.gradients(&case.parameters);
        });
        bytes.push(case.executor.kept_bytes());
    }
    assert_eq!(bytes[4], bytes[5], "memory does not grow");
    let all = case.all();
    let missing = |batch| case.executor.missing_bytes_of_products(&request(&all), batch);
    assert_eq!(missing(BATCH), 0);
    assert!(missing(100 * BATCH) > case.executor.missing_bytes(&request(&all), 100 * BATCH));
}

/// Every kind of step on images of few floats, in the portable kernels and two threads: small enough for Miri.
#[test]
fn all_steps_on_small_images() {
    let lengths = vec![2 * 9, 2, 2, 2, 2, 2, 2 * 2, 2, 6 * 3, 3];
    let mut program = Program::new(Shape::new(1, 4, 4), lengths.clone(), Isa::best()).unwrap();
    let window = Window { pads: [[1, 1]; 2], ..Window::new([3, 3]) };
    let halves = Window { stride: [2; 2], ..Window::new([2, 2]) };
    let x = program.convolution(program.input(), 2, 1, window, 0, Some(1)).unwrap();
    let x = program.relu(x);
    let x = program.max_pool(x, halves).unwrap();
    let norm = program.batch_norm(x, [Vector::new(2), Vector::new(3)], [4, 5], 1e-5).unwrap();
    let x = program.convolution(norm, 2, 1, Window::new([1, 1]), 6, None).unwrap();
    let x = program.group_norm(x, 1, [Vector::new(7), Vector::new(7)], 1e-5).unwrap();
    let x = program.sum(x, norm).unwrap();
    let x = program.clip(x, [Bound::Number(-9.0), Bound::Number(9.0)]).unwrap();
    let x = program.max_pool(x, Window { pads: [[0, 0], [1, 1]], ..Window::new([2, 2]) }).unwrap();
    let x = program.flatten(x);
    let y = program.linear(x, 3, 8, false, Some(9)).unwrap();
    let executor = Executor::new(program, y);
    let values = |seed: u64| -> Vec<Vec<f32>> {
        let lists = lengths.iter().enumerate().map(|(place, &length)| normal(seed + place as u64, length));
        lists.map(|values| values.iter().map(|value| value.abs() + 0.1).collect()).collect()
    };
    let all: Vec<usize> = (0..lengths.len()).collect();
    let (parameters, direction, images) = (values(1), values(50), normal(3, 3 * 16));
    let found = [1, 2].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let run =
            || executor.products(&parameters, &direction, &images, 3, &request(&all), half_square).unwrap();
        pool.install(run)
    });
    assert_eq!(found[0], found[1]);
    assert!(found[0].products.iter().all(|values| values.iter().any(|value| *value != 0.0)));
    assert!(found[0].products.iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn statistics_of_a_batch_have_no_products_and_are_named() {
    let mut program = Program::new(Shape::new(2, 2, 2), vec![2; 4], Isa::best()).unwrap();
    let active = program.relu(program.input());
    let norm = program.batch_norm(active, [Vector::new(0), Vector::new(1)], [2, 3], 1e-5).unwrap();
    let executor = Executor::new(program, norm);
    assert_eq!(executor.check_products(Statistics::Running), Ok(()));
    let error = executor.check_products(Statistics::Batch).unwrap_err();
    assert_eq!(error, NoProducts::BatchStatistics { value: norm });
    assert_eq!(
        error.to_string(),
        "value 2 is normalized by statistics of the batch, whose motion has no kernels; running statistics have"
    );
}

#[test]
fn what_does_not_depend_on_a_parameter_has_a_product_of_zeros() {
    let mut program = Program::new(Shape::new(2, 1, 1), vec![2, 3], Isa::best()).unwrap();
    let y = program.linear(program.input(), 1, 0, true, None).unwrap();
    let executor = Executor::new(program, y);
    let parameters = [vec![1.0, 2.0], vec![0.0; 3]];
    let products = |chosen: &[usize], direction: &[Vec<f32>]| {
        executor.products(&parameters, direction, &[3.0, 4.0], 1, &request(chosen), half_square).unwrap()
    };
    let found = products(&[1], &[vec![1.0; 3]]);
    assert_eq!(
        (found.outputs, found.gradients, found.products),
        (vec![11.0], vec![vec![0.0; 3]], vec![vec![0.0; 3]])
    );
    // y = w x: the Hessian of half the square is the outer product of x.
    assert_eq!(products(&[0], &[vec![1.0, 0.0]]).products, [[9.0, 12.0]]);
    assert!(products(&[], &[]).products.is_empty());
}
