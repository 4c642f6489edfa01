//! Terms of the loss that look at the weights alone.

/// Piecewise clustering of one tensor (SPEC 5.3): `lambda * (sum over w >= 0 of (w - mean_+)^2 + sum over w <= 0 of
/// (w - mean_-)^2)`, zeros being in both groups. Adds its gradient and returns the loss.
///
/// The means move with the weights, but their part of the gradient is 0, since differences to a mean add up to 0.
pub(crate) fn clustering(lambda: f32, values: &[f32], gradient: &mut [f32]) -> f64 {
    let lambda = f64::from(lambda);
    let mut loss = 0.0;
    for is_in in [|value: f32| value >= 0.0, |value: f32| value <= 0.0] {
        let group = || values.iter().copied().filter(|&value| is_in(value)).map(f64::from);
        let mean = group().sum::<f64>() / group().count().max(1) as f64;
        loss += lambda * group().map(|value| (value - mean).powi(2)).sum::<f64>();
        for (gradient, &value) in gradient.iter_mut().zip(values).filter(|(_, value)| is_in(**value)) {
            *gradient += (2.0 * lambda * (f64::from(value) - mean)) as f32;
        }
    }
    loss
}

/// The largest magnitude of one tensor times a coefficient (SPEC 4.1). Its gradient belongs to the first element that has that
/// magnitude. Adds it and returns the loss.
pub(crate) fn max_magnitude(coefficient: f32, values: &[f32], gradient: &mut [f32]) -> f64 {
    let larger = |best: Option<usize>, at: usize| match best {
        Some(best) if values[best].abs() >= values[at].abs() => Some(best),
        _ => Some(at),
    };
    let Some(at) = (0..values.len()).fold(None, larger).filter(|&at| values[at] != 0.0) else { return 0.0 };
    gradient[at] += coefficient * values[at].signum();
    f64::from(coefficient) * f64::from(values[at].abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::weights::tests::tensor;

    const VALUES: [f32; 5] = [-0.9, -0.1, 0.0, 0.3, 0.7];

    #[test]
    fn clustering_is_that_of_the_specification() {
        let mut gradient = [0.0; 5];
        let loss = clustering(1e-3, &VALUES, &mut gradient);
        assert!((loss - 7.3333e-4).abs() < 1e-8, "{loss}");
        // Zero is pulled by both means, which are -1/3 and 1/3.
        let wanted = [-0.9 + 1.0 / 3.0, -0.1 + 1.0 / 3.0, 0.0, 0.3 - 1.0 / 3.0, 0.7 - 1.0 / 3.0];
        for (got, wanted) in gradient.iter().zip(wanted) {
            assert!((f64::from(*got) - 2e-3 * wanted).abs() < 1e-9, "{got} {wanted}");
        }
        assert_eq!(clustering(1e-3, &[], &mut []), 0.0);
        assert_eq!(clustering(1e-3, &[0.5, 0.5], &mut [0.0; 2]), 0.0, "one cluster");
    }

    #[test]
    fn the_clustering_gradient_is_the_slope_of_the_loss() {
        let values = tensor("w", &[40], 9).values;
        let mut gradient = vec![0.0; 40];
        clustering(0.5, &values, &mut gradient);
        for at in 0..40 {
            let loss = |shift: f32| {
                let mut values = values.clone();
                values[at] += shift;
                clustering(0.5, &values, &mut [0.0; 40])
            };
            let slope = (loss(1e-4) - loss(-1e-4)) / 2e-4;
            assert!((slope - f64::from(gradient[at])).abs() < 1e-4, "{at}: {slope} {}", gradient[at]);
        }
    }

    #[test]
    fn the_largest_magnitude_alone_has_a_gradient() {
        let mut gradient = [1.0; 5];
        assert!((max_magnitude(0.1, &VALUES, &mut gradient) - 0.09).abs() < 1e-8);
        assert_eq!(gradient, [0.9, 1.0, 1.0, 1.0, 1.0]);
        let mut gradient = [0.0; 3];
        max_magnitude(1.0, &[2.0, -2.0, 1.0], &mut gradient);
        assert_eq!(gradient, [1.0, 0.0, 0.0], "the first of equal ones");
        assert_eq!(max_magnitude(1.0, &[0.0; 3], &mut [0.0; 3]), 0.0);
    }
}
