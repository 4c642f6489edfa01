//! Strata: the bits at one position of one tensor's words, as stratified campaigns have them.

/// The scores of one stratum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stratum {
    /// The tensor's place among the ranked ones.
    pub tensor: usize,
    /// The bit position; 0 is the least significant.
    pub bit: u32,
    /// Its bits.
    pub bits: u64,
    /// Those whose score is infinite.
    pub nonfinite: u64,
    /// The sum of all other scores.
    pub sum: f64,
    /// The largest of all other scores; -infinity if there are none.
    pub max: f64,
}

impl Stratum {
    pub(crate) fn new(tensor: usize, bit: u32) -> Self {
        Self { tensor, bit, bits: 0, nonfinite: 0, sum: 0.0, max: f64::NEG_INFINITY }
    }

    pub(crate) fn add(&mut self, score: f64) {
        self.bits += 1;
        if score == f64::INFINITY {
            self.nonfinite += 1;
        } else {
            self.sum += score;
            self.max = self.max.max(score);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.bits += other.bits;
        self.nonfinite += other.nonfinite;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The mean of the finite scores; `None` without any.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let finite = self.bits - self.nonfinite;
        (finite > 0).then(|| self.sum / finite as f64)
    }

    /// The largest finite score; `None` without any.
    #[must_use]
    pub fn largest(&self) -> Option<f64> {
        (self.bits > self.nonfinite).then_some(self.max)
    }
}

/// A number for each stratum that orders them: first by the share of infinite scores, then by the mean of the others. Equal strata have
/// equal numbers.
pub(crate) fn order(strata: &[Stratum]) -> Vec<f64> {
    let key = |stratum: &Stratum| {
        let share = stratum.nonfinite as f64 / stratum.bits.max(1) as f64;
        (share, stratum.mean().unwrap_or(f64::INFINITY) + 0.0)
    };
    let keys: Vec<(f64, f64)> = strata.iter().map(key).collect();
    let compare = |a: &(f64, f64), b: &(f64, f64)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1));
    let mut sorted = keys.clone();
    sorted.sort_unstable_by(compare);
    sorted.dedup();
    let place = |key: &(f64, f64)| sorted.partition_point(|other| compare(other, key).is_lt()) as f64;
    keys.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinite_scores_come_first() {
        let stratum = |scores: &[f64]| {
            let mut stratum = Stratum::new(0, 0);
            scores.iter().for_each(|&score| stratum.add(score));
            stratum
        };
        let inf = f64::INFINITY;
        let strata = [
            stratum(&[1.0, 3.0]),
            stratum(&[inf, -9.0]),
            stratum(&[2.0]),
            stratum(&[inf, inf]),
            stratum(&[-1.0]),
        ];
        assert_eq!(order(&strata), [1.0, 2.0, 1.0, 3.0, 0.0]);
        assert_eq!((strata[1].mean(), strata[1].largest(), strata[3].mean()), (Some(-9.0), Some(-9.0), None));
        let mut merged = strata[0];
        merged.merge(&strata[1]);
        assert_eq!((merged.bits, merged.nonfinite, merged.sum, merged.max), (4, 1, -5.0, 3.0));
    }
}
