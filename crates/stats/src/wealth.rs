//! What a gambler owns who bets that the mean is larger than m, for every m at once.

/// The largest part of the wealth at stake in one bet, at the largest m still watched.
const MOST_AT_STAKE: f64 = 0.9;
/// Bets stay below this, so that 32 factors multiply without overflow.
const LARGEST_BET: f64 = 1e8;
/// How many values are multiplied up before logarithms are taken.
const BLOCK: u64 = 32;
/// The grid starts with this many steps, and is refined whenever fewer than half of them are left.
const STEPS: usize = 1024;
/// Steps are not halved below this.
const LEAST_STEP: f64 = 1.0 / (1_u64 << 45) as f64;
/// From this log-wealth on, an m is rejected for good: 1e12.
pub(crate) const REJECTED: f64 = 27.631;
/// Below this log-wealth, an m is given up as one that will never be rejected.
const HOPELESS: f64 = -20.0;

/// log K(m) for K(m) = Π (1 + λ_i (x_i - m)), over an interval of m that is still undecided.
///
/// K(m) falls with m, and the bets λ_i are the same for all m watched, so that log K is concave: on a straight line
/// between two grid points it is at least what the line says. So reading between points, and starting new points from
/// the line when the grid is refined, only ever understates the wealth. What is read is thus a bound from the safe
/// side: some m may be kept that the exact process would reject, never the other way round.
///
/// The grid follows the undecided m: points below it (rejected at wealth 1e12) and above it (wealth below e^-20, of
/// no use any more) are dropped, and what remains is refined. The memory stays at 512 to 1024 points.
#[derive(Clone, Debug)]
pub(crate) struct Wealth {
    /// The smallest m watched; all below are rejected.
    first: f64,
    step: f64,
    /// log K at the points `first + j * step`, less the products.
    logs: Vec<f64>,
    /// Factors since logarithms were last taken.
    products: Vec<f64>,
    n: u64,
}

impl Wealth {
    /// Wealth 1 for every m in [0, 1].
    pub fn new() -> Self {
        Self {
            first: 0.0,
            step: 1.0 / STEPS as f64,
            logs: vec![0.0; STEPS + 1],
            products: vec![1.0; STEPS + 1],
            n: 0,
        }
    }

    /// Bets `bet`, or what the largest m watched allows, and sees x in [0, 1].
    pub fn push(&mut self, x: f64, bet: f64) {
        let largest = self.first + self.step * (self.logs.len() - 1) as f64;
        let bet = bet.min(MOST_AT_STAKE / largest).min(LARGEST_BET);
        // 1 + bet (x - first - j step), without a conversion per point.
        let (start, slope) = (1.0 + bet * (x - self.first), bet * self.step);
        let mut j = 0.0;
        for product in &mut self.products {
            *product *= start - slope * j;
            j += 1.0;
        }
        self.n += 1;
        if self.n.is_multiple_of(BLOCK) || self.n.is_power_of_two() {
            self.settle();
        }
    }

    /// The largest m below which all are rejected at log-wealth `threshold`.
    pub fn lower(&self, threshold: f64) -> f64 {
        let log = |j: usize| self.logs[j] + self.products[j].ln();
        let rejected = if threshold <= REJECTED { self.first } else { 0.0 };
        let Some(last) = (0..self.logs.len()).rev().find(|&j| log(j) >= threshold) else { return rejected };
        let part = if last + 1 == self.logs.len() {
            0.0
        } else {
            ((log(last) - threshold) / (log(last) - log(last + 1))).clamp(0.0, 1.0)
        };
        (self.first + self.step * (last as f64 + part)).max(rejected)
    }

    /// Takes logarithms, drops what is decided, refines what is not.
    fn settle(&mut self) {
        for (log, product) in self.logs.iter_mut().zip(&mut self.products) {
            *log += product.ln();
            *product = 1.0;
        }
        // Of the points on either side that are decided, the innermost stays as the end of the first or last step.
        let decided = self.logs.iter().take_while(|&&log| log >= REJECTED).count();
        let drop = decided.saturating_sub(1).min(self.logs.len() - 2);
        self.logs.drain(..drop);
        self.first += self.step * drop as f64;
        let hopeless = self.logs.iter().rev().take_while(|&&log| log < HOPELESS).count();
        self.logs.truncate(self.logs.len() - hopeless.saturating_sub(1).min(self.logs.len() - 2));
        while self.logs.len() <= STEPS / 2 && self.step > LEAST_STEP {
            self.refine();
        }
        self.products.resize(self.logs.len(), 1.0);
    }

    /// Puts a point on the line in the middle of every step.
    fn refine(&mut self) {
        let mut logs = Vec::with_capacity(2 * self.logs.len() - 1);
        for pair in self.logs.windows(2) {
            logs.extend([pair[0], 0.5 * (pair[0] + pair[1])]);
        }
        logs.extend(self.logs.last());
        self.logs = logs;
        self.step *= 0.5;
    }
}

#[cfg(test)]
mod tests {
    use super::Wealth;
    use crate::predictable::Bets;
    use bitquake_testing::SplitMix64;

    /// The exact product at one m, with the bets that the grid makes.
    fn exact_log(m: f64, seen: &[(f64, f64)]) -> f64 {
        seen.iter().map(|(x, bet)| (bet * (x - m)).ln_1p()).sum()
    }

    /// Against the slow product: what the grid rejects, the product rejects too, and hardly anything more.
    #[test]
    fn the_grid_is_on_the_safe_side_of_the_exact_product_and_close() {
        for (mean, std) in [(0.1, 0.01), (0.5, 0.3), (0.002, 0.001), (0.97, 0.05)] {
            let (mut random, mut grid, mut seen) = (SplitMix64::new(9), Wealth::new(), Vec::new());
            let mut bets = Bets::new(0.95);
            for i in 1..2000_u32 {
                let x = (mean + std * random.normal()).clamp(0.0, 1.0);
                let largest = grid.first + grid.step * (grid.logs.len() - 1) as f64;
                let bet = bets.next();
                bets.observe(x);
                seen.push((x, bet.min(super::MOST_AT_STAKE / largest)));
                grid.push(x, bet);
                let threshold = 40_f64.ln();
                let lower = grid.lower(threshold);
                if i % 97 == 0 && lower > grid.first {
                    assert!(exact_log(lower, &seen) >= threshold - 1e-9, "{mean} {i}");
                    let slack = exact_log(lower, &seen) - threshold;
                    assert!(slack < 0.01, "{mean} {i}: {slack} nats lost");
                }
                assert!(grid.logs.len() <= super::STEPS + 1);
            }
            assert!(grid.lower(40_f64.ln()) > 0.3 * mean, "{mean}");
        }
    }

    #[test]
    fn constant_values_never_reject_themselves() {
        for x in [0.0, 1e-9, 0.3, 1.0] {
            let mut grid = Wealth::new();
            (0..5000).for_each(|_| grid.push(x, 2.0));
            let lower = grid.lower(3.7);
            assert!(lower <= x && x - lower < 0.01, "{x}: {lower}");
        }
    }

    #[test]
    fn a_drift_cannot_break_it() {
        let mut grid = Wealth::new();
        for i in 0..6000 {
            grid.push(if i / 1000 % 2 == 0 { 0.001 } else { 0.999 }, 1.0);
            assert!((0.0..=1.0).contains(&grid.lower(3.7)));
        }
    }
}
