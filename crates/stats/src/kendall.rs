//! How far two rankings of the same things agree.

use crate::error::StatsError;

/// Kendall's tau-b of paired values: 1 where both order all things alike, -1 where one has the order of the other reversed, about 0
/// where they have nothing to do with each other. `None` where it is not defined: with fewer than two things, and where one list has a
/// single value.
///
/// A pair of things counts +1 if both lists order it alike, -1 if they do not, 0 if it is tied in any; the sum is divided by the geometric mean
/// of the numbers of pairs that are not tied in the one and in the other list (Kendall, "The treatment of ties in ranking problems",
/// Biometrika 33 (1945)). It takes O(n log n) by counting the exchanges of a merge sort (Knight, "A computer method for calculating Kendall's
/// tau with ungrouped data", JASA 61 (1966)). Infinities are values like others.
///
/// ```
/// use bitquake_stats::kendall_tau_b;
/// assert_eq!(kendall_tau_b(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0])?, Some(1.0));
/// assert_eq!(kendall_tau_b(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0])?, Some(2.0 / 3.0));
/// assert_eq!(kendall_tau_b(&[1.0, 1.0], &[1.0, 2.0])?, None);
/// # Ok::<(), bitquake_stats::StatsError>(())
/// ```
///
/// # Errors
/// [`StatsError::Argument`] if the lists have different lengths, [`StatsError::NotFinite`] for a NaN.
pub fn kendall_tau_b(x: &[f64], y: &[f64]) -> Result<Option<f64>, StatsError> {
    if x.len() != y.len() {
        let value = y.len() as f64;
        return Err(StatsError::Argument {
            name: "the length of the second list",
            value,
            wanted: "that of the first",
        });
    }
    for values in [x, y] {
        if let Some(index) = values.iter().position(|value| value.is_nan()) {
            return Err(StatsError::NotFinite { index, value: values[index] });
        }
    }
    // Adding 0 makes one zero of both.
    let mut pairs: Vec<(f64, f64)> = x.iter().zip(y).map(|(&x, &y)| (x + 0.0, y + 0.0)).collect();
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let tied_in_x = tied_pairs(&pairs, |a, b| a.0 == b.0);
    let tied_in_both = tied_pairs(&pairs, |a, b| a == b);
    let mut second: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let exchanges = sort_counting(&mut second);
    let tied_in_y = tied_pairs(&second, |a, b| a == b);
    let all = pair_count(pairs.len());
    let (of_x, of_y) = (all - tied_in_x, all - tied_in_y);
    if of_x == 0 || of_y == 0 {
        return Ok(None);
    }
    // Pairs tied in neither list, less twice those in opposite orders.
    let agreement = (all + tied_in_both) as f64 - (tied_in_x + tied_in_y) as f64 - 2.0 * exchanges as f64;
    // The root of a product, which is exact where both are equal: the same order gives 1, not a little more.
    Ok(Some(agreement / (of_x as f64 * of_y as f64).sqrt()))
}

fn pair_count(things: usize) -> u128 {
    let things = things as u128;
    things * things.saturating_sub(1) / 2
}

/// Pairs of things within runs of equal ones.
fn tied_pairs<T>(sorted: &[T], is_tied: impl Fn(&T, &T) -> bool) -> u128 {
    sorted.chunk_by(is_tied).map(|run| pair_count(run.len())).sum()
}

/// Sorts, and counts the pairs that stood in the wrong order.
fn sort_counting(values: &mut [f64]) -> u128 {
    let mut exchanges = 0;
    let mut merged = values.to_vec();
    let mut width = 1;
    while width < values.len() {
        for (from, to) in values.chunks(2 * width).zip(merged.chunks_mut(2 * width)) {
            let (left, right) = from.split_at(width.min(from.len()));
            exchanges += merge(left, right, to);
        }
        values.copy_from_slice(&merged);
        width *= 2;
    }
    exchanges
}

/// Merges two sorted runs, and counts the pairs of a value on the left and a smaller one on the right.
fn merge(left: &[f64], right: &[f64], to: &mut [f64]) -> u128 {
    let (mut i, mut j, mut exchanges) = (0, 0, 0);
    for place in to {
        if j == right.len() || (i < left.len() && left[i] <= right[j]) {
            *place = left[i];
            i += 1;
        } else {
            *place = right[j];
            j += 1;
            exchanges += (left.len() - i) as u128;
        }
    }
    exchanges
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;

    use super::*;

    /// The definition, pair by pair.
    fn slow(x: &[f64], y: &[f64]) -> Option<f64> {
        let sign = |a: f64, b: f64| f64::from(i8::from(a > b) - i8::from(a < b));
        let (mut sum, mut of_x, mut of_y) = (0.0, 0.0, 0.0);
        for i in 0..x.len() {
            for j in 0..i {
                let (in_x, in_y) = (sign(x[i], x[j]), sign(y[i], y[j]));
                sum += in_x * in_y;
                of_x += in_x.abs();
                of_y += in_y.abs();
            }
        }
        (of_x > 0.0 && of_y > 0.0).then(|| sum / (of_x * of_y).sqrt())
    }

    #[test]
    fn exact_values() {
        let inf = f64::INFINITY;
        // The fifth: the example of scipy.stats.kendalltau.
        let cases: [(&[f64], &[f64], Option<f64>); 7] = [
            (&[], &[], None),
            (&[1.0], &[1.0], None),
            (&[3.0, 2.0, 1.0], &[1.0, 2.0, 3.0], Some(-1.0)),
            (&[1.0, 2.0, 2.0, 3.0], &[1.0, 2.0, 3.0, 4.0], Some(5.0 / 30.0_f64.sqrt())),
            (&[12.0, 2.0, 1.0, 12.0, 2.0], &[1.0, 4.0, 7.0, 1.0, 0.0], Some(-0.471_404_520_791_031_7)),
            (&[inf, 1.0, -inf], &[3.0, 2.0, 1.0], Some(1.0)),
            (&[0.0, -0.0], &[1.0, 2.0], None),
        ];
        for (x, y, wanted) in cases {
            let found = kendall_tau_b(x, y).unwrap();
            assert_eq!(found.is_some(), wanted.is_some(), "{x:?} {y:?}: {found:?}");
            assert!((found.unwrap_or(0.0) - wanted.unwrap_or(0.0)).abs() < 1e-14, "{x:?} {y:?}: {found:?}");
        }
    }

    #[test]
    fn as_the_definition_has_it() {
        let mut random = SplitMix64::new(11);
        for things in 2..60 {
            // Few values make ties.
            let values = 2 + random.below(20);
            let mut draw = || (0..things).map(|_| random.below(values) as f64).collect::<Vec<_>>();
            let (x, y) = (draw(), draw());
            let (found, wanted) = (kendall_tau_b(&x, &y).unwrap(), slow(&x, &y));
            assert_eq!(found.is_some(), wanted.is_some());
            assert!((found.unwrap_or(0.0) - wanted.unwrap_or(0.0)).abs() < 1e-12, "{x:?} {y:?}");
        }
    }

    #[test]
    fn what_is_no_ranking() {
        assert!(matches!(kendall_tau_b(&[1.0], &[]), Err(StatsError::Argument { value: 0.0, .. })));
        let found = kendall_tau_b(&[1.0, 2.0], &[1.0, f64::NAN]);
        assert!(matches!(found, Err(StatsError::NotFinite { index: 1, .. })));
    }
}
