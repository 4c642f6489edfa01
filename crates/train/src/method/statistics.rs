//! Which batch statistics the running mean and variance follow (S26).

pub use bitquake_grad::BatchStatistics;

use super::config::StatisticsRule;
use super::error::MethodError;

/// The part of the clean statistics in `average`.
const CLEAN_SHARE: f32 = 0.9;

/// What the running statistics are to follow. Without perturbed passes those are the clean ones whatever the rule, and the other
/// way round.
pub(crate) fn mixed(
    rule: StatisticsRule,
    clean: Option<&[BatchStatistics]>,
    perturbed: &[&[BatchStatistics]],
) -> Result<Vec<BatchStatistics>, MethodError> {
    let clean = match (clean, rule) {
        (Some(clean), StatisticsRule::Clean) => return Ok(clean.to_vec()),
        (Some(clean), _) if perturbed.is_empty() => return Ok(clean.to_vec()),
        (clean, _) => clean,
    };
    let mean = mean(perturbed)?;
    match clean.filter(|_| rule == StatisticsRule::Average) {
        Some(clean) => weighted(clean, CLEAN_SHARE, &mean, 1.0 - CLEAN_SHARE),
        None => Ok(mean),
    }
}

fn mean(all: &[&[BatchStatistics]]) -> Result<Vec<BatchStatistics>, MethodError> {
    let Some((first, rest)) = all.split_first() else { return Ok(Vec::new()) };
    let mut sum = first.to_vec();
    for (count, more) in (1_u16..).zip(rest) {
        // The mean of the first `count`, and one more.
        let share = 1.0 / f32::from(count + 1);
        sum = weighted(&sum, 1.0 - share, more, share)?;
    }
    Ok(sum)
}

fn weighted(
    a: &[BatchStatistics],
    of_a: f32,
    b: &[BatchStatistics],
    of_b: f32,
) -> Result<Vec<BatchStatistics>, MethodError> {
    same_length("batch statistics of normalizations", 0, b.len(), a.len())?;
    let both = |(index, (a, b)): (usize, (&BatchStatistics, &BatchStatistics))| {
        same_length("batch mean of normalization", index, b.batch_mean.len(), a.batch_mean.len())?;
        same_length(
            "batch variance of normalization",
            index,
            b.batch_variance.len(),
            a.batch_variance.len(),
        )?;
        let mix = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| of_a * a + of_b * b).collect();
        Ok(BatchStatistics {
            batch_mean: mix(&a.batch_mean, &b.batch_mean),
            batch_variance: mix(&a.batch_variance, &b.batch_variance),
            ..*a
        })
    };
    a.iter().zip(b).enumerate().map(both).collect()
}

fn same_length(what: &'static str, index: usize, got: usize, wanted: usize) -> Result<(), MethodError> {
    if got == wanted { Ok(()) } else { Err(MethodError::Length { what, index, got, wanted }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: f32) -> Vec<BatchStatistics> {
        let (batch_mean, batch_variance) = (vec![value, 1.0], vec![2.0 * value, 1.0]);
        vec![BatchStatistics { mean: 3, variance: 4, momentum: 0.9, batch_mean, batch_variance }]
    }

    fn first(rule: StatisticsRule, clean: Option<f32>, perturbed: &[f32]) -> f32 {
        let clean = clean.map(of);
        let perturbed: Vec<_> = perturbed.iter().map(|value| of(*value)).collect();
        let slices: Vec<&[BatchStatistics]> = perturbed.iter().map(Vec::as_slice).collect();
        let got = mixed(rule, clean.as_deref(), &slices).unwrap();
        assert_eq!((got[0].mean, got[0].variance, got[0].momentum), (3, 4, 0.9));
        assert!((got[0].batch_variance[0] - 2.0 * got[0].batch_mean[0]).abs() < 1e-5);
        got[0].batch_mean[0]
    }

    #[test]
    fn the_three_rules() {
        let near = |got: f32, wanted: f32| assert!((got - wanted).abs() < 1e-6, "{got} {wanted}");
        near(first(StatisticsRule::Clean, Some(10.0), &[1.0, 3.0]), 10.0);
        near(first(StatisticsRule::Average, Some(10.0), &[1.0, 3.0]), 9.2);
        near(first(StatisticsRule::Perturbed, Some(10.0), &[1.0, 3.0, 8.0]), 4.0);
    }

    /// SPEC 2.10, 12: the release divides a counter by the population, which may be 0.
    #[test]
    fn a_population_of_0_keeps_the_clean_statistics() {
        for rule in [StatisticsRule::Clean, StatisticsRule::Average, StatisticsRule::Perturbed] {
            assert_eq!(first(rule, Some(10.0), &[]), 10.0, "{rule:?}");
            assert_eq!(first(rule, None, &[2.0]), 2.0, "{rule:?}");
        }
    }

    #[test]
    fn statistics_of_another_network_are_refused() {
        let (one, two) = (of(1.0), [of(1.0), of(1.0)].concat());
        let error = mixed(StatisticsRule::Average, Some(&one), &[&two]).unwrap_err();
        assert!(matches!(error, MethodError::Length { got: 2, wanted: 1, .. }));
    }
}
