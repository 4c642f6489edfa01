//! Scores of weights: the larger, the more the weight matters.

use std::cmp::Reverse;

use rayon::prelude::*;

use crate::rank::eigen::Eigenpair;
use crate::rank::vector::{Vector, dot};

/// `|g|` (SPEC F18).
#[must_use]
pub fn by_gradient(gradient: &Vector) -> Vector {
    gradient.iter().map(|slopes| slopes.iter().map(|slope| slope.abs()).collect()).collect()
}

/// `(g w)^2`, the first-order Taylor criterion (Molchanov et al., "Importance estimation for neural network pruning" (2019); SPEC F19).
///
/// # Panics
/// If the two have other shapes.
#[must_use]
pub fn by_taylor(gradient: &Vector, weights: &Vector) -> Vector {
    zip(gradient, weights, |slope, weight| (slope * weight).powi(2))
}

/// For every weight the trace of its tensor's block of the Hessian over the elements of the tensor.
///
/// # Panics
/// If there are fewer traces than tensors.
#[must_use]
pub fn by_mean_trace(traces: &[f64], sizes: &[usize]) -> Vector {
    let of = |(tensor, &size): (usize, &usize)| vec![traces[tensor] / size as f64; size];
    sizes.iter().enumerate().map(of).collect()
}

/// `sum_k |(c_k . w) c_k,i|` (SPEC F16), where `c_k` is the eigenvector k, times its eigenvalue if `weighted`.
///
/// # Panics
/// If eigenvectors and weights have other shapes.
#[must_use]
pub fn by_sums(pairs: &[Eigenpair], weights: &Vector, weighted: bool) -> Vector {
    let factor = |pair: &Eigenpair| {
        let value = if weighted { pair.value } else { 1.0 };
        value * value * dot(&pair.vector, weights)
    };
    sum_of_sizes(pairs, weights, factor)
}

/// `|w_i| sum_k |c_k,i|` (SPEC F17), where `c_k` is the eigenvector k, times its eigenvalue if `weighted`.
///
/// # Panics
/// If eigenvectors and weights have other shapes.
#[must_use]
pub fn by_maxima(pairs: &[Eigenpair], weights: &Vector, weighted: bool) -> Vector {
    let sizes = sum_of_sizes(pairs, weights, |pair| if weighted { pair.value } else { 1.0 });
    zip(&sizes, weights, |size, weight| size * weight.abs())
}

/// `sum_k |factor_k q_k,i|`.
fn sum_of_sizes(pairs: &[Eigenpair], weights: &Vector, factor: impl Fn(&Eigenpair) -> f64) -> Vector {
    let zeros: Vector = weights.iter().map(|weights| vec![0.0; weights.len()]).collect();
    pairs.iter().fold(zeros, |sum, pair| {
        let factor = factor(pair);
        zip(&sum, &pair.vector, |sum, entry| sum + (factor * entry).abs())
    })
}

/// By tensor, the mean of `-g w + h w^2 / 2`: the expected change of the loss when one of its weights becomes 0. Weights that are no finite numbers are
/// left out; none where there are no others.
///
/// # Panics
/// If the three have other shapes.
#[must_use]
pub fn of_zeroing(gradient: &Vector, curvature: Option<&Vector>, weights: &Vector) -> Vec<Option<f64>> {
    let mean = |(tensor, weights): (usize, &Vec<f64>)| {
        let half = |at: usize| curvature.map_or(0.0, |curvature| 0.5 * curvature[tensor][at]);
        let finite = || weights.iter().enumerate().filter(|(_, weight)| weight.is_finite());
        let scores = finite().map(|(at, weight)| weight * (half(at) * weight - gradient[tensor][at]));
        let count = finite().count();
        (count > 0).then(|| scores.sum::<f64>() / count as f64)
    };
    weights.iter().enumerate().map(mean).collect()
}

/// The place of every weight in the order of falling scores, from 0; of equal scores the weight that comes first is first.
#[must_use]
pub fn places(scores: &Vector) -> Vec<Vec<u64>> {
    let flat: Vec<f64> = scores.iter().flatten().copied().collect();
    let mut order: Vec<u64> = (0..flat.len() as u64).collect();
    let key = |&weight: &u64| (Reverse(Total(flat[weight as usize])), weight);
    order.par_sort_unstable_by_key(key);
    let mut places = vec![0; flat.len()];
    order.iter().zip(0..).for_each(|(&weight, place)| places[weight as usize] = place);
    let mut rest = places.into_iter();
    scores.iter().map(|scores| rest.by_ref().take(scores.len()).collect()).collect()
}

/// A float in its total order.
#[derive(Clone, Copy, PartialEq)]
struct Total(f64);

impl Eq for Total {}

impl Ord for Total {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Total {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn zip(a: &Vector, b: &Vector, value: impl Fn(f64, f64) -> f64) -> Vector {
    let tensor = |(a, b): (&Vec<f64>, &Vec<f64>)| {
        assert_eq!(a.len(), b.len(), "tensors of one shape");
        a.iter().zip(b).map(|(&a, &b)| value(a, b)).collect()
    };
    assert_eq!(a.len(), b.len(), "as many tensors");
    a.iter().zip(b).map(tensor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(value: f64, vector: [f64; 3]) -> Eigenpair {
        Eigenpair { value, vector: split(vector), iterations: 1, converged: true, residual: 0.0 }
    }

    /// In two tensors: what is of the whole vector must not be of a tensor.
    fn split(values: [f64; 3]) -> Vector {
        vec![values[..1].to_vec(), values[1..].to_vec()]
    }

    fn near(found: &Vector, wanted: [f64; 3]) {
        let close = found.iter().flatten().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12);
        assert!(close && found.iter().flatten().count() == 3, "{found:?}, wanted {wanted:?}");
    }

    /// The toy of SPEC 3.3.
    #[test]
    fn of_zeroing_by_hand() {
        let weights = vec![vec![2.0, -1.0], vec![f64::NAN], vec![f64::INFINITY, 1.0]];
        let gradient = vec![vec![0.5, 3.0], vec![1.0], vec![1.0, 4.0]];
        let curvature = vec![vec![1.0, 4.0], vec![1.0], vec![1.0, 2.0]];
        // -1 + 2 and 3 + 2; nothing; -4 + 1.
        assert_eq!(of_zeroing(&gradient, Some(&curvature), &weights), [Some(3.0), None, Some(-3.0)]);
        assert_eq!(of_zeroing(&gradient, None, &weights), [Some(1.0), None, Some(-4.0)]);
    }

    #[test]
    fn the_scores_of_the_toy() {
        let weights = split([0.5, -1.0, 0.25]);
        let pairs = [pair(2.0, [0.6, 0.8, 0.0]), pair(0.5, [0.0, 0.0, 1.0])];
        near(&by_sums(&pairs, &weights, false), [0.3, 0.4, 0.25]);
        near(&by_sums(&pairs, &weights, true), [1.2, 1.6, 0.0625]);
        near(&by_maxima(&pairs, &weights, true), [0.6, 1.6, 0.125]);
        near(&by_maxima(&pairs, &weights, false), [0.3, 0.8, 0.25]);
        assert_eq!(places(&by_maxima(&pairs, &weights, true)), [vec![1], vec![0, 2]]);
        let gradient = split([-3.0, 2.0, 0.0]);
        near(&by_gradient(&gradient), [3.0, 2.0, 0.0]);
        near(&by_taylor(&gradient, &weights), [2.25, 4.0, 0.0]);
        near(&by_mean_trace(&[5.0, -3.0], &[1, 2]), [5.0, -1.5, -1.5]);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        assert_eq!(
            places(&vec![vec![1.0, 2.0], vec![], vec![1.0, f64::INFINITY]]),
            [vec![2, 1], vec![], vec![3, 0]]
        );
    }
}
