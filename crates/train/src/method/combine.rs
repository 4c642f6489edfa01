//! The gradients of one step become one (S20 to S23).

/// How many values are summed at a time: their sums stay in the first-level cache.
const CHUNK: usize = 1024;

/// The gradient that a step with perturbed passes uses, in the place of that of the last one; one slice a tensor.
///
/// * with the clean gradient `g` (average): `(g + sum of clamp(g~_k)) / (K + 1)`;
/// * without it (adversarial, and the second step of alternating): the mean of the `clamp(g~_k)`.
///
/// Sums are float32, in the order of the population.
pub(crate) fn combine_onto(
    clean: Option<&[Vec<f32>]>,
    earlier: &[&[Vec<f32>]],
    last: &mut [&mut [f32]],
    clamp: Option<f32>,
) {
    let limit = clamp.unwrap_or(f32::INFINITY); // which leaves all as they are, NaN too
    let clamped = |value: f32| value.clamp(-limit, limit);
    let terms = (earlier.len() + 1 + usize::from(clean.is_some())) as f32;
    let mut sums = [0.0; CHUNK];
    for (index, last) in last.iter_mut().enumerate() {
        for (start, last) in (0..).step_by(CHUNK).zip(last.chunks_mut(CHUNK)) {
            let (sums, of_chunk) = (&mut sums[..last.len()], start..start + last.len());
            match clean {
                Some(clean) => sums.copy_from_slice(&clean[index][of_chunk.clone()]),
                None => sums.fill(-0.0), // to which any number can be added and is itself, 0 too
            }
            for earlier in earlier {
                let values = &earlier[index][of_chunk.clone()];
                sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += clamped(*value));
            }
            last.iter_mut().zip(sums).for_each(|(last, sum)| *last = (*sum + clamped(*last)) / terms);
        }
    }
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;
    use proptest::prelude::*;

    use super::*;

    const G: f32 = 0.3;

    fn of(clean: Option<f32>, perturbed: &[f32], clamp: Option<f32>) -> f32 {
        let clean = clean.map(|g| [vec![g]]);
        let halves: Vec<[Vec<f32>; 1]> = perturbed.iter().map(|p| [vec![*p]]).collect();
        let halves: Vec<&[Vec<f32>]> = halves.iter().map(<[Vec<f32>; 1]>::as_slice).collect();
        let (last, earlier) = halves.split_last().unwrap();
        let mut got = last.to_vec();
        let mut slices: Vec<&mut [f32]> = got.iter_mut().map(Vec::as_mut_slice).collect();
        combine_onto(clean.as_ref().map(<[Vec<f32>; 1]>::as_slice), earlier, &mut slices, clamp);
        got[0][0]
    }

    #[test]
    fn average_is_the_mean_of_clean_and_clamped() {
        let (g, c) = (Some(G), Some(0.05));
        assert_eq!(of(g, &[0.02], c), (G + 0.02) / 2.0);
        assert_eq!(of(g, &[7.0], c), (G + 0.05) / 2.0);
        assert_eq!(of(g, &[7.0, -9.0, 0.01], c), (G + 0.05 - 0.05 + 0.01) / 4.0);
        assert_eq!(of(g, &[7.0], None), (G + 7.0) / 2.0);
    }

    #[test]
    fn without_a_clean_gradient_it_is_the_mean_of_the_clamped() {
        assert_eq!(of(None, &[2.0, 4.0], None), 3.0);
        assert_eq!(of(None, &[2.0], Some(0.05)), 0.05);
        assert!(of(None, &[-0.0], None).is_sign_negative());
    }

    proptest! {
        /// Against sums in float64, for populations of any size and tensors of several chunks.
        #[test]
        fn agrees_with_the_formula(
            seed: u64, population in 1_usize..5, has_clean: bool, tensors in 1_usize..4, len in 0_usize..3 * CHUNK, clamp in 0.001_f32..2.0,
        ) {
            let mut random = SplitMix64::new(seed);
            let mut half = || -> Vec<Vec<f32>> {
                (0..tensors).map(|_| (0..len).map(|_| random.normal() as f32).collect()).collect()
            };
            let clean = has_clean.then(&mut half);
            let perturbed: Vec<Vec<Vec<f32>>> = (0..population).map(|_| half()).collect();
            let slices: Vec<&[Vec<f32>]> = perturbed.iter().map(Vec::as_slice).collect();
            let (last, earlier) = slices.split_last().unwrap();
            let mut got = last.to_vec();
            let mut onto: Vec<&mut [f32]> = got.iter_mut().map(Vec::as_mut_slice).collect();
            combine_onto(clean.as_deref(), earlier, &mut onto, Some(clamp));
            let limit = f64::from(clamp);
            for (t, tensor) in got.iter().enumerate() {
                for (i, &got) in tensor.iter().enumerate() {
                    let others = perturbed.iter().map(|half| f64::from(half[t][i]).clamp(-limit, limit));
                    let sum = clean.as_ref().map_or(0.0, |clean| f64::from(clean[t][i])) + others.sum::<f64>();
                    let wanted = sum / (population + usize::from(has_clean)) as f64;
                    prop_assert!((f64::from(got) - wanted).abs() < 1e-6);
                }
            }
        }
    }
}
