//! Poisson counts of a few fixed means, by table.

use std::sync::LazyLock;

/// Means are powers of two, `2^0` to `2^MAX_LOG2`.
pub(crate) const MAX_LOG2: u32 = 8;

/// The inverse of the cumulative distribution of a Poisson count, for a uniform 64-bit word.
///
/// The probabilities follow from each other by one multiplication and one division, which IEEE 754 rounds alike everywhere;
/// no `exp` is involved. Tails are summed from their small end, so the thresholds are right to about 2^-64 in the tails and
/// 2^-53 of each probability.
pub(crate) struct PoissonTable {
    /// `thresholds[k]` is P(count <= k) as a fraction of 2^64; a word below it and not below the one before gives k.
    thresholds: Vec<u64>,
    /// For each top byte of a word, the first k worth looking at.
    start: [u16; 256],
}

static TABLES: LazyLock<Vec<PoissonTable>> =
    LazyLock::new(|| (0..=MAX_LOG2).map(|log2| PoissonTable::new(1 << log2)).collect());

/// The table for mean `2^log2`.
pub(crate) fn table(log2: u32) -> &'static PoissonTable {
    &TABLES[log2 as usize]
}

impl PoissonTable {
    fn new(mean: u32) -> Self {
        let weights = relative_probabilities(mean);
        let total: f64 = weights.iter().sum();
        let mut below = 0.0;
        let cumulative: Vec<f64> = weights
            .iter()
            .map(|weight| {
                below += weight;
                below / total
            })
            .collect();
        let mut above = 0.0;
        let mut survival: Vec<f64> = weights
            .iter()
            .rev()
            .map(|weight| {
                let here = above;
                above += weight;
                here / total
            })
            .collect();
        survival.reverse();
        let thresholds: Vec<u64> = cumulative
            .iter()
            .zip(&survival)
            .map(|(&low, &high)| if low < 0.5 { scaled(low) } else { u64::MAX - scaled(high) })
            .collect();
        let start = std::array::from_fn(|byte| first_above(&thresholds, (byte as u64) << 56) as u16);
        Self { thresholds, start }
    }

    /// The count for a uniform word.
    pub(crate) fn count(&self, word: u64) -> usize {
        let mut count = usize::from(self.start[(word >> 56) as usize]);
        while count + 1 < self.thresholds.len() && self.thresholds[count] <= word {
            count += 1;
        }
        count
    }
}

fn first_above(thresholds: &[u64], word: u64) -> usize {
    thresholds.partition_point(|&threshold| threshold <= word)
}

/// A fraction in `[0, 1)` times 2^64.
fn scaled(fraction: f64) -> u64 {
    (fraction * 18_446_744_073_709_551_616.0) as u64
}

/// P(count = k) over P(count = mean), for every k that has a probability above 2^-70 of it.
fn relative_probabilities(mean: u32) -> Vec<f64> {
    const NEGLIGIBLE: f64 = 1.0 / (1u128 << 90) as f64;
    let mean_f = f64::from(mean);
    let mut down = vec![1.0];
    for k in (1..=mean).rev() {
        let next = down[down.len() - 1] * f64::from(k) / mean_f;
        down.push(next);
    }
    down.reverse();
    let mut all = down;
    let mut k = mean;
    while all[all.len() - 1] > NEGLIGIBLE {
        k += 1;
        let next = all[all.len() - 1] * mean_f / f64::from(k);
        all.push(next);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_the_distribution() {
        for log2 in 0..=MAX_LOG2 {
            let mean = f64::from(1u32 << log2);
            let table = table(log2);
            let mut log_p = -mean;
            let mut cumulative = 0.0;
            for (k, &threshold) in table.thresholds.iter().enumerate() {
                if k > 0 {
                    log_p += (mean / k as f64).ln();
                }
                cumulative += log_p.exp();
                let got = threshold as f64 / 2f64.powi(64);
                assert!((got - cumulative.min(1.0)).abs() < 1e-12, "mean {mean}, k {k}: {got} {cumulative}");
            }
            assert!(table.thresholds.is_sorted());
        }
    }

    #[test]
    fn mean_and_variance_of_the_table() {
        for log2 in 0..=MAX_LOG2 {
            let mean = f64::from(1u32 << log2);
            let mut previous = 0u64;
            let (mut first, mut second) = (0.0, 0.0);
            for (k, &threshold) in table(log2).thresholds.iter().enumerate() {
                let probability = (threshold - previous) as f64 / 2f64.powi(64);
                previous = threshold;
                first += k as f64 * probability;
                second += (k as f64 - mean).powi(2) * probability;
            }
            assert!((first / mean - 1.0).abs() < 1e-12, "mean {mean}: {first}");
            assert!((second / mean - 1.0).abs() < 1e-10, "variance {mean}: {second}");
        }
    }

    #[test]
    fn count_inverts_the_thresholds() {
        for log2 in 0..=MAX_LOG2 {
            let table = table(log2);
            for word in (0..=u64::MAX).step_by((u64::MAX / 10_007) as usize) {
                let slow = table.thresholds.iter().filter(|&&threshold| threshold <= word).count();
                assert_eq!(table.count(word), slow.min(table.thresholds.len() - 1));
            }
        }
    }
}
