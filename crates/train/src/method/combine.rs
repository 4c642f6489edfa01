//! The gradients of one step become one (S20 to S23).

use super::config::Combination;

/// The gradient that a step uses: one vector a tensor, in the memory of `out`.
///
/// * average: `(g + sum of clamp(g~_k)) / (K + 1)`;
/// * adversarial, and the second step of alternating: the mean of the `clamp(g~_k)`;
/// * any, without perturbed gradients: `g` itself, neither halved nor clamped.
///
/// Sums are float32, in the order of the population.
pub(crate) fn combined(
    combination: Combination,
    clean: Option<&[Vec<f32>]>,
    perturbed: &[&[Vec<f32>]],
    clamp: Option<f32>,
    mut out: Vec<Vec<f32>>,
) -> Vec<Vec<f32>> {
    let Some((first, rest)) = perturbed.split_first() else {
        clean.unwrap_or_default().clone_into(&mut out);
        return out;
    };
    let limit = clamp.unwrap_or(f32::INFINITY); // which leaves all as they are, NaN too
    let clamped = |value: f32| value.clamp(-limit, limit);
    let clean = clean.filter(|_| combination == Combination::Average);
    let terms = (perturbed.len() + usize::from(clean.is_some())) as f32;
    out.resize_with(first.len(), Vec::new);
    for (index, sum) in out.iter_mut().enumerate() {
        // Into memory of the right length, as a loop that grows a vector is not made for several values at once.
        sum.resize(first[index].len(), 0.0);
        let first_terms = sum.iter_mut().zip(&first[index]);
        match clean {
            Some(clean) => first_terms.zip(&clean[index]).for_each(|((sum, p), g)| *sum = g + clamped(*p)),
            None => first_terms.for_each(|(sum, p)| *sum = clamped(*p)),
        }
        for more in rest {
            sum.iter_mut().zip(&more[index]).for_each(|(sum, p)| *sum += clamped(*p));
        }
        sum.iter_mut().for_each(|sum| *sum /= terms);
    }
    out
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;
    use proptest::prelude::*;

    use super::*;

    const G: f32 = 0.3;

    fn of(combination: Combination, perturbed: &[f32], clamp: Option<f32>) -> f32 {
        let clean = [vec![G]];
        let halves: Vec<[Vec<f32>; 1]> = perturbed.iter().map(|p| [vec![*p]]).collect();
        let halves: Vec<&[Vec<f32>]> = halves.iter().map(<[Vec<f32>; 1]>::as_slice).collect();
        let of_an_earlier_step = vec![vec![9.0; 3]; 2];
        let got = combined(combination, Some(&clean), &halves, clamp, of_an_earlier_step);
        assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
        got[0][0]
    }

    #[test]
    fn average_is_the_mean_of_clean_and_clamped() {
        let c = Some(0.05);
        assert_eq!(of(Combination::Average, &[0.02], c), (G + 0.02) / 2.0);
        assert_eq!(of(Combination::Average, &[7.0], c), (G + 0.05) / 2.0);
        assert_eq!(of(Combination::Average, &[7.0, -9.0, 0.01], c), (G + 0.05 - 0.05 + 0.01) / 4.0);
        assert_eq!(of(Combination::Average, &[7.0], None), (G + 7.0) / 2.0);
    }

    #[test]
    fn adversarial_and_alternating_use_the_perturbed_ones_alone() {
        for combination in [Combination::Adversarial, Combination::Alternating] {
            assert_eq!(of(combination, &[2.0, 4.0], None), 3.0);
            assert_eq!(of(combination, &[2.0], Some(0.05)), 0.05);
        }
    }

    /// SPEC 2.4: with population 0 the clean gradient is used as it is; SPEC 2.10, 12: and nothing is divided by 0.
    #[test]
    fn a_population_of_0_is_the_clean_gradient() {
        for combination in [Combination::Average, Combination::Adversarial, Combination::Alternating] {
            assert_eq!(of(combination, &[], Some(0.05)), G, "{combination:?}");
        }
    }

    proptest! {
        /// Against sums in float64, for populations of any size.
        #[test]
        fn agrees_with_the_formula(seed: u64, population in 0_usize..5, tensors in 1_usize..4, clamp in 0.001_f32..2.0) {
            let mut random = SplitMix64::new(seed);
            let mut half = || -> Vec<Vec<f32>> {
                (0..tensors).map(|_| (0..17).map(|_| random.normal() as f32).collect()).collect()
            };
            let clean = half();
            let perturbed: Vec<Vec<Vec<f32>>> = (0..population).map(|_| half()).collect();
            let slices: Vec<&[Vec<f32>]> = perturbed.iter().map(Vec::as_slice).collect();
            let got = combined(Combination::Average, Some(&clean), &slices, Some(clamp), Vec::new());
            for (t, tensor) in got.iter().enumerate() {
                for (i, &got) in tensor.iter().enumerate() {
                    let others = perturbed.iter().map(|half| f64::from(half[t][i]).clamp(f64::from(-clamp), f64::from(clamp)));
                    let wanted = (f64::from(clean[t][i]) + others.sum::<f64>()) / (population + 1) as f64;
                    prop_assert!((f64::from(got) - wanted).abs() < 1e-6);
                    if population == 0 {
                        prop_assert_eq!(got.to_bits(), clean[t][i].to_bits());
                    }
                }
            }
        }
    }
}
