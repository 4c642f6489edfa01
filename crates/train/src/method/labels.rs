//! Labels that are wrong on purpose (S28).

use bitquake_sample::{Rate, StreamKey};

/// Replaces each label, with the probability `rate`, by one that is uniform over all classes, its own included. What happens to
/// label `i` of a batch hangs on the seed, the step and `i` alone.
pub(crate) fn add_noise(labels: &mut [u32], classes: u32, rate: Rate, seed: u64, step: u64) {
    if classes == 0 {
        return;
    }
    let stream = StreamKey { seed, point: 0, trial: step }.part("noisy labels").whole();
    for (index, label) in (0..).zip(labels) {
        let mut words = stream.words(index);
        if words.chance(rate) {
            *label = words.below(classes.into()) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use bitquake_testing::{assert_binomial, assert_uniform};

    use super::*;

    fn noisy(count: usize, step: u64, rate: f64) -> Vec<u32> {
        let mut labels = vec![3; count];
        add_noise(&mut labels, 10, Rate::new(rate).unwrap(), 1, step);
        labels
    }

    /// False-alarm rate 1e-6 each.
    #[test]
    fn a_share_of_the_labels_becomes_uniform() {
        let labels = noisy(20_000, 0, 0.1);
        let changed = labels.iter().filter(|&&label| label != 3).count() as u64;
        assert_binomial(changed, 20_000, 0.1 * 0.9, 1e-6);
        let mut counts = [0_u64; 10];
        noisy(20_000, 1, 1.0).iter().for_each(|&label| counts[label as usize] += 1);
        assert_uniform(&counts, 1e-6);
    }

    #[test]
    fn noise_hangs_on_the_step_and_the_place_alone() {
        assert_eq!(noisy(100, 5, 0.5)[..30], noisy(30, 5, 0.5));
        assert_ne!(noisy(100, 5, 0.5), noisy(100, 6, 0.5));
        assert_eq!(noisy(100, 5, 0.0), [3; 100]);
    }
}
