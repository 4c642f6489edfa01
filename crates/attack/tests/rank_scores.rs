//! Scores of bits against a slow reference, and the orders of SPEC 3.3; Hessians that are known.

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use bitquake_attack::rank::{
    BitScores, Demand, Landscape, RankedBit, Scored, Vector, gauss_newton_diagonal, hutchinson, places,
    power_iteration, score_bits,
};
use bitquake_attack::{AttackError, AttackedWords, BitSite};
use bitquake_bits::BitSelection;
use bitquake_sample::{PartKey, StreamKey};
use bitquake_testing::SplitMix64;
use support::{stored, stored_bits};

fn key() -> PartKey {
    PartKey::from(StreamKey { seed: 7, point: 0, trial: 0 })
}

/// A vector of random numbers in the shape of the words.
fn random_vector(words: &AttackedWords, random: &mut SplitMix64) -> Vector {
    let of =
        |tensor: &bitquake_attack::AttackedTensor| (0..tensor.elements()).map(|_| random.normal()).collect();
    words.tensors().iter().map(of).collect()
}

/// Every bit and its score, by decoding words one at a time.
fn slowly(words: &AttackedWords, slopes: &Vector, curvature: Option<&Vector>) -> Vec<RankedBit> {
    let mut all = Vec::new();
    for (place, tensor) in words.tensors().iter().enumerate() {
        for element in 0..tensor.elements() {
            for bit in (0..tensor.format().width()).filter(|bit| tensor.mask() >> bit & 1 == 1) {
                let word = tensor.word(element);
                let [before, after] =
                    [word, word ^ 1 << bit].map(|word| f64::from(tensor.level(element, word)));
                let change = after - before;
                let at = element as usize;
                let bend = curvature.map_or(0.0, |curvature| curvature[place][at]);
                let score = change * (slopes[place][at] + 0.5 * bend * change);
                let score = if after.is_finite() { score + 0.0 } else { f64::INFINITY };
                all.push(RankedBit { site: BitSite { tensor: place, element, bit }, score });
            }
        }
    }
    all
}

/// Storages whose flips all mean something else, with tables of levels and without.
const STORAGES: [&str; 9] = [
    "family = 'native'",
    "family = 'binary'",
    "family = 'symmetric'\nbits = 4\nencoding = 'gray'",
    "family = 'symmetric'\nbits = 8\nencoding = 'sign-magnitude'",
    "family = 'asymmetric'\nbits = 3\nsigned = false",
    "family = 'affine'\nbits = 8\ngranularity = { group = 32 }",
    // Few enough words for a table of each group.
    "family = 'affine'\nbits = 4\ngranularity = { group = 32 }",
    "family = 'wcat'\nbits = 12",
    "family = 'symmetric'\nbits = 24",
];

#[test]
fn every_bit_by_the_change_of_its_level() {
    let mut random = SplitMix64::new(3);
    let tensors: Vec<Vec<f32>> =
        [700, 0, 33].map(|size| (0..size).map(|_| random.normal() as f32).collect()).to_vec();
    for storage in STORAGES {
        for (bits, order) in [(BitSelection::All, 2), (BitSelection::All, 1), ("msb".parse().unwrap(), 2)] {
            let words = stored_bits(storage, &tensors, bits);
            // Small, so that the best scores lie close together.
            let mut small = || {
                let mut vector = random_vector(&words, &mut random);
                vector.iter_mut().flatten().for_each(|number| *number *= 1e-5);
                vector
            };
            let (slopes, bend) = (small(), small());
            let curvature = (order == 2).then_some(&bend);
            let wanted = slowly(&words, &slopes, curvature);
            let sample: Vec<BitSite> = wanted.iter().step_by(7).map(|bit| bit.site).collect();
            let mut kept = Vec::new();
            let scores = BitScores::Change { slopes: &slopes, curvature };
            let demand = Demand { top: 50, sample: &sample };
            let mut save = |scores: &[f32]| {
                kept.extend_from_slice(scores);
                Ok(())
            };
            let found = score_bits(&words, &scores, demand, Some(&mut save)).unwrap();
            check(storage, &words, &wanted, &found, &kept);
        }
    }
}

fn check(storage: &str, words: &AttackedWords, wanted: &[RankedBit], found: &Scored, kept: &[f32]) {
    let mut best = wanted.to_vec();
    best.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.site.cmp(&b.site)));
    best.truncate(50);
    assert_eq!(found.top, best, "{storage}");
    let sampled: Vec<f64> = wanted.iter().step_by(7).map(|bit| bit.score).collect();
    assert_eq!(found.sampled, sampled, "{storage}");
    for stratum in &found.strata {
        let of = wanted.iter().filter(|bit| (bit.site.tensor, bit.site.bit) == (stratum.tensor, stratum.bit));
        let (finite, infinite): (Vec<f64>, Vec<f64>) =
            of.map(|bit| bit.score).partition(|score| score.is_finite());
        assert_eq!(
            (stratum.bits, stratum.nonfinite),
            ((finite.len() + infinite.len()) as u64, infinite.len() as u64)
        );
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let is_near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs();
        assert!(finite.is_empty() == stratum.mean().is_none(), "{storage}");
        assert!(stratum.mean().is_none_or(|found| is_near(found, mean)), "{storage}: {stratum:?} {mean}");
        assert_eq!(stratum.largest(), finite.iter().copied().max_by(f64::total_cmp), "{storage}");
    }
    // All bits of all words, the ones that are not ranked as NaN.
    let mut kept = kept.iter();
    let mut wanted = wanted.iter().peekable();
    for (place, tensor) in words.tensors().iter().enumerate() {
        for element in 0..tensor.elements() {
            for bit in 0..tensor.format().width() {
                let found = *kept.next().expect("a score");
                match wanted.next_if(|wanted| wanted.site == BitSite { tensor: place, element, bit }) {
                    Some(wanted) if wanted.score.is_finite() => {
                        assert_eq!(found, (wanted.score as f32).clamp(f32::MIN, f32::MAX), "{storage}");
                    }
                    Some(_) => assert_eq!(found, f32::INFINITY, "{storage}"),
                    None => assert!(found.is_nan(), "{storage}"),
                }
            }
        }
    }
    assert!(kept.next().is_none() && wanted.next().is_none());
}

#[test]
fn flips_to_what_is_no_number_come_first() {
    // Bit 30 of 1.5 makes a NaN; 0.5 becomes 2^127, whose square is beyond float32.
    let words = stored("family = 'native'", &[vec![0.5, 1.5]]);
    let (slopes, bend) = (vec![vec![1e-9, -1e-9]], vec![vec![1.0, 1.0]]);
    let scores = BitScores::Change { slopes: &slopes, curvature: Some(&bend) };
    let found = score_bits(&words, &scores, Demand { top: 2, sample: &[] }, None).unwrap();
    let sites: Vec<(u64, u32)> = found.top.iter().map(|bit| (bit.site.element, bit.site.bit)).collect();
    assert_eq!(sites, [(1, 30), (0, 30)]);
    assert!(
        found.top[0].score == f64::INFINITY && found.top[1].score > 1e75 && found.top[1].score.is_finite()
    );
}

/// The numbers of bits in the order of their scores; bit j of a weight is counted from its most significant one (SPEC 3.3).
fn order(words: &AttackedWords, scores: &BitScores<'_>) -> Vec<u64> {
    let found = score_bits(words, scores, Demand { top: usize::MAX, sample: &[] }, None).expect("scores");
    let number = |bit: &RankedBit| {
        let width = |tensor: usize| u64::from(words.tensors()[tensor].format().width());
        let before: u64 =
            (0..bit.site.tensor).map(|tensor| width(tensor) * words.tensors()[tensor].elements()).sum();
        let width = width(bit.site.tensor);
        before + bit.site.element * width + (width - 1 - u64::from(bit.site.bit))
    };
    found.top.iter().map(number).collect()
}

#[test]
fn the_orders_of_the_toy() {
    let of_weights = vec![vec![0.6, 1.6], vec![0.125]];
    let tensors = [vec![0.5, -1.0], vec![0.25]];
    let places = places(&of_weights);
    assert_eq!(places, [vec![1, 0], vec![2]]);
    let equal = stored("family = 'symmetric'\nbits = 3", &tensors);
    let scores = BitScores::MsbFirst { places: &places };
    assert_eq!(order(&equal, &scores), [3, 0, 6, 4, 1, 7, 5, 2, 8]);
    let mixed = "family = 'symmetric'\nbits = 3\n[[override]]\nselect = ['t1']\nbits = 2";
    let mixed = stored(mixed, &tensors);
    assert_eq!(order(&mixed, &scores), [3, 0, 6, 4, 1, 7, 5, 2]);
    // 0.8 and 0.3: 3.2, 1.6, 0.8 and 1.2, 0.6, 0.3.
    let two = stored("family = 'symmetric'\nbits = 3", &[vec![0.5, -1.0]]);
    let of_weights = vec![vec![0.8, 0.3]];
    let scores = BitScores::Power { scores: &of_weights };
    assert_eq!(order(&two, &scores), [0, 1, 3, 2, 4, 5]);
    let found = score_bits(&two, &scores, Demand { top: 6, sample: &[] }, None).unwrap();
    let found: Vec<f64> = found.top.iter().map(|bit| bit.score).collect();
    assert_eq!(found, [3.2, 1.6, 1.2, 0.8, 0.6, 0.3]);
}

/// `g . x + x . H x / 2` in two tensors.
struct Quadratic {
    hessian: Vec<Vec<f64>>,
    products: usize,
}

impl Quadratic {
    /// Random and symmetric; entries beside the diagonal have this size.
    fn random(size: usize, beside: f64, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let noise: Vec<f64> = (0..size * size).map(|_| beside * random.normal()).collect();
        let entry =
            |i: usize, j: usize| if i == j { 1.0 + i as f64 } else { noise[i.min(j) * size + i.max(j)] };
        let hessian = (0..size).map(|i| (0..size).map(|j| entry(i, j)).collect()).collect();
        Self { hessian, products: 0 }
    }

    fn apply(&self, flat: &[f64]) -> Vec<f64> {
        self.hessian.iter().map(|row| row.iter().zip(flat).map(|(h, x)| h * x).sum()).collect()
    }

    fn split(&self, mut flat: Vec<f64>) -> Vector {
        let rest = flat.split_off(self.sizes()[0]);
        vec![flat, rest]
    }
}

impl Landscape for Quadratic {
    fn sizes(&self) -> Vec<usize> {
        vec![self.hessian.len() / 3, self.hessian.len() - self.hessian.len() / 3]
    }

    fn slopes(&mut self) -> Result<(f64, Vector), AttackError> {
        unreachable!("no test asks for it")
    }

    fn product(&mut self, direction: &Vector) -> Result<Vector, AttackError> {
        self.products += 1;
        Ok(self.split(self.apply(&direction.concat())))
    }

    /// The diagonal, and one more than it, in turns.
    fn gauss_newton_draw(&mut self, _: &PartKey) -> Result<Vector, AttackError> {
        self.products += 1;
        let more = (self.products % 2) as f64;
        Ok(self.split((0..self.hessian.len()).map(|i| self.hessian[i][i] + 2.0 * more).collect()))
    }
}

#[test]
fn the_trace_and_the_diagonal_of_a_hessian() {
    // Signs find a diagonal matrix at once.
    let mut diagonal = Quadratic::random(9, 0.0, 1);
    let found = hutchinson(&mut diagonal, 100, 1e-3, &key(), |_, _| ()).unwrap();
    assert_eq!(
        (found.trace, found.by_tensor, found.vectors, found.converged),
        (45.0, vec![6.0, 39.0], 2, true)
    );
    assert_eq!(found.diagonal.concat(), (1..=9).map(f64::from).collect::<Vec<_>>());
    assert_eq!(found.standard_error, Some(0.0));
    // The variance of z . Hz is twice the sum of squares beside the diagonal.
    let mut full = Quadratic::random(30, 0.7, 2);
    let trace: f64 = (0..30).map(|i| full.hessian[i][i]).sum();
    let beside: f64 = (0..30)
        .flat_map(|i| (0..30).filter(move |&j| j != i).map(move |j| (i, j)))
        .map(|(i, j)| full.hessian[i][j].powi(2))
        .sum();
    let vectors = 4000;
    let found = hutchinson(&mut full, vectors, 0.0, &key(), |_, _| ()).unwrap();
    assert_eq!((found.vectors, found.converged), (vectors, false));
    let sigma = (2.0 * beside / f64::from(vectors)).sqrt();
    // Seeds are fixed; over seeds, each of the next two fails once in 10^6.
    assert!((found.trace - trace).abs() < 4.9 * sigma, "{} {trace} {sigma}", found.trace);
    assert!((found.standard_error.unwrap() / sigma - 1.0).abs() < 0.1, "{:?} {sigma}", found.standard_error);
    for (i, found) in found.diagonal.concat().into_iter().enumerate() {
        let beside: f64 = (0..30).filter(|&j| j != i).map(|j| full.hessian[i][j].powi(2)).sum();
        let sigma = (beside / f64::from(vectors)).sqrt();
        assert!((found - full.hessian[i][i]).abs() < 5.5 * sigma, "{i}: {found}");
    }
}

#[test]
fn random_vectors_end() {
    let mut full = Quadratic::random(30, 0.7, 2);
    let mut told = Vec::new();
    let found = hutchinson(&mut full, 3, 0.0, &key(), |number, trace| told.push((number, trace))).unwrap();
    assert_eq!((found.vectors, found.converged, full.products), (3, false, 3));
    assert_eq!((told.len(), told[2]), (3, (3, found.trace)));
    let one = hutchinson(&mut full, 1, 1e-3, &key(), |_, _| ()).unwrap();
    assert_eq!((one.standard_error, one.converged), (None, false));
}

#[test]
fn eigenvectors_are_orthogonal_over_all_tensors() {
    for seed in 0..5 {
        let mut full = Quadratic::random(24, 1.5, seed);
        let pairs = power_iteration(&mut full, 6, 100_000, 1e-14, &key(), |_| ()).unwrap();
        assert_eq!(pairs.len(), 6);
        for (i, pair) in pairs.iter().enumerate() {
            let vector = pair.vector.concat();
            let product = full.apply(&vector);
            let far: f64 = product.iter().zip(&vector).map(|(h, v)| (h - pair.value * v).powi(2)).sum();
            assert!(
                pair.converged && far.sqrt() < 1e-4 * pairs[0].value.abs(),
                "{seed}: {far} {}",
                pair.value
            );
            assert!((far.sqrt() - pair.residual).abs() < 1e-9, "{} {far}", pair.residual);
            for (j, other) in pairs[..=i].iter().enumerate() {
                let product: f64 = vector.iter().zip(other.vector.concat()).map(|(a, b)| a * b).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-10, "{seed}: {i} {j}: {product}");
            }
            assert!(i == 0 || pair.value.abs() <= pairs[i - 1].value.abs() * (1.0 + 1e-6), "{seed}: {i}");
        }
        // Each half of a vector alone is not orthogonal to the others' halves.
        let half: f64 = pairs[0].vector[0].iter().zip(&pairs[1].vector[0]).map(|(a, b)| a * b).sum();
        assert!(half.abs() > 1e-6, "{half}");
    }
}

#[test]
fn iterations_end_and_say_so() {
    let mut full = Quadratic::random(24, 1.5, 1);
    let mut told = 0;
    let pairs = power_iteration(&mut full, 2, 3, 0.0, &key(), |pair| told += pair.iterations).unwrap();
    assert!(pairs.iter().all(|pair| !pair.converged && pair.iterations == 3));
    assert_eq!((told, full.products), (6, 6));
    // A Hessian of rank 1: all other eigenvalues are 0, and there are no more pairs than weights.
    let mut flat =
        Quadratic { hessian: vec![vec![4.0, 2.0, 0.0], vec![2.0, 1.0, 0.0], vec![0.0; 3]], products: 0 };
    let pairs = power_iteration(&mut flat, 9, 100, 1e-3, &key(), |_| ()).unwrap();
    let values: Vec<f64> = pairs.iter().map(|pair| pair.value).collect();
    assert_eq!(pairs.len(), 3);
    assert!((values[0] - 5.0).abs() < 1e-9 && values[1].abs() < 1e-9 && values[2].abs() < 1e-9, "{values:?}");
    assert!(pairs.iter().all(|pair| pair.converged));
}

#[test]
fn draws_of_the_diagonal_are_averaged() {
    let mut full = Quadratic::random(9, 0.5, 1);
    let found = gauss_newton_diagonal(&mut full, 4, &key()).unwrap();
    assert_eq!(found.concat(), (2..=10).map(f64::from).collect::<Vec<_>>());
}

#[test]
fn what_is_not_finite_is_told() {
    let mut broken = Quadratic { hessian: vec![vec![f64::NAN; 3]; 3], products: 0 };
    let errors = [
        hutchinson(&mut broken, 5, 1e-3, &key(), |_, _| ()).unwrap_err(),
        power_iteration(&mut broken, 5, 9, 1e-3, &key(), |_| ()).unwrap_err(),
        gauss_newton_diagonal(&mut broken, 5, &key()).unwrap_err(),
    ];
    for error in errors {
        assert!(error.to_string().contains("is not finite, though the loss is"), "{error}");
    }
}
