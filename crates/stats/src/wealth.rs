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
/// From this log-wealth on, an m is rejected for good: 1e9.
pub(crate) const REJECTED: f64 = 20.723;
/// A share of the wealth that is below this (as a logarithm) everywhere is given up.
const HOPELESS: f64 = -20.0;
/// Each share of the wealth is bet as is best for so many values.
const HORIZONS: [f64; 12] = [
    8.0,
    32.0,
    128.0,
    512.0,
    2048.0,
    8192.0,
    32_768.0,
    131_072.0,
    524_288.0,
    2_097_152.0,
    8_388_608.0,
    33_554_432.0,
];

/// log K(m), where K(m) is the mean over shares k of Π (1 + λ_ki (x_i - m)), over an interval of m that is undecided.
///
/// The bets λ_ki are the same for all m watched, so that the logarithm of each share is a falling, concave function of m: on a
/// straight line between two grid points it is at least what the line says. So reading between points, and starting
/// new points from the line when the grid is refined, only ever understates the wealth. What is read is thus a bound
/// from the safe side: some m may be kept that the exact process would reject, never the other way round.
///
/// The grid follows the undecided m: points below (rejected here at wealth 1e9) and above (rejected by the gambler on
/// the other side) are dropped, and what remains is refined. The memory stays at 512 to 1024 points for each of at most 12
/// shares.
#[derive(Clone, Debug)]
pub(crate) struct Wealth {
    /// The smallest m watched; all below are rejected.
    first: f64,
    step: f64,
    /// One more than the number of steps.
    points: usize,
    shares: Vec<Share>,
    n: u64,
}

/// A share of the wealth, with its own bets.
#[derive(Clone, Debug)]
struct Share {
    horizon: f64,
    /// Its logarithm at the points `first + j * step`, less the products.
    logs: Vec<f64>,
    /// Factors since logarithms were last taken.
    products: Vec<f64>,
}

impl Wealth {
    /// Wealth 1 for every m in [0, 1].
    pub(crate) fn new() -> Self {
        let log = -(HORIZONS.len() as f64).ln();
        let share = |&horizon| Share { horizon, logs: vec![log; STEPS + 1], products: vec![1.0; STEPS + 1] };
        let shares = HORIZONS.iter().map(share).collect();
        Self { first: 0.0, step: 1.0 / STEPS as f64, points: STEPS + 1, shares, n: 0 }
    }

    /// The largest bet that leaves a tenth of the wealth at every m watched.
    fn largest_bet(&self) -> f64 {
        let largest = self.first + self.step * (self.points - 1) as f64;
        (MOST_AT_STAKE / largest).min(LARGEST_BET)
    }

    /// Bets, as `bet` says for a horizon, and sees x in [0, 1]. True when it is time to [`Wealth::settle`].
    pub(crate) fn push(&mut self, x: f64, bet: impl Fn(f64) -> f64) -> bool {
        let most = self.largest_bet();
        for share in &mut self.shares {
            let bet = bet(share.horizon).min(most);
            // 1 + bet (x - first - j step).
            let (start, slope) = (1.0 + bet * (x - self.first), bet * self.step);
            let mut j = 0.0;
            for product in &mut share.products {
                *product *= start - slope * j;
                j += 1.0;
            }
        }
        self.n += 1;
        self.n.is_multiple_of(BLOCK) || self.n.is_power_of_two()
    }

    /// The log-wealth at point j and a `part` of the step after it.
    pub(crate) fn log(&self, j: usize, part: f64) -> f64 {
        let at = |share: &Share, j: usize| share.logs[j] + share.products[j].ln();
        let line = |share: &Share| {
            let here = at(share, j);
            if part == 0.0 { here } else { here + part * (at(share, j + 1) - here) }
        };
        let largest = self.shares.iter().map(line).fold(f64::NEG_INFINITY, f64::max);
        largest + self.shares.iter().map(|share| (line(share) - largest).exp()).sum::<f64>().ln()
    }

    /// How many points from the first have at least this log-wealth: it falls with m.
    fn count(&self, threshold: f64) -> usize {
        let (mut reached, mut not) = (0, self.points + 1);
        while not - reached > 1 {
            let middle = reached + (not - reached) / 2;
            if self.log(middle - 1, 0.0) >= threshold { reached = middle } else { not = middle }
        }
        reached
    }

    /// The largest m below which all are rejected at log-wealth `threshold`.
    pub(crate) fn lower(&self, threshold: f64) -> f64 {
        let rejected = if threshold <= REJECTED { self.first } else { 0.0 };
        let Some(last) = self.count(threshold).checked_sub(1) else { return rejected };
        let (mut part, mut not) = (0.0, 1.0);
        for _ in 0..40 {
            let middle = 0.5 * (part + not);
            if last + 1 < self.points && self.log(last, middle) >= threshold {
                part = middle
            } else {
                not = middle
            }
        }
        (self.first + self.step * (last as f64 + part)).max(rejected)
    }

    /// The smallest m watched: all below are rejected for good.
    pub(crate) fn first(&self) -> f64 {
        self.first
    }

    /// Takes logarithms and drops what is decided: here below, and by the other gambler above `upper`.
    pub(crate) fn settle(&mut self, upper: f64) {
        for share in &mut self.shares {
            for (log, product) in share.logs.iter_mut().zip(&mut share.products) {
                *log += product.ln();
                *product = 1.0;
            }
        }
        // Of the points on either side that are decided, the innermost stays as the end of the first or last step.
        let drop = self.count(REJECTED).saturating_sub(1).min(self.points - 2);
        let steps = ((upper - self.first) / self.step).ceil().max(0.0) as usize;
        let keep = (steps + 1).clamp(drop + 2, self.points);
        self.keep(drop, keep);
        while self.points <= STEPS / 2 && self.step > LEAST_STEP {
            self.refine();
        }
        self.shares.iter_mut().for_each(|share| share.products.resize(share.logs.len(), 1.0));
    }

    /// Keeps the points from `drop` to before `keep`, and the shares that are worth it.
    fn keep(&mut self, drop: usize, keep: usize) {
        for share in &mut self.shares {
            share.logs.truncate(keep);
            share.logs.drain(..drop);
            share.products.truncate(keep - drop);
        }
        self.first += self.step * drop as f64;
        self.points = keep - drop;
        // The one with the longest horizon stays: it is the last to lose.
        let last = self.shares.last().map_or(0.0, |share| share.horizon);
        self.shares.retain(|share| share.horizon == last || share.logs[0] >= HOPELESS);
    }

    /// Puts a point on the line in the middle of every step.
    fn refine(&mut self) {
        for share in &mut self.shares {
            let mut logs = Vec::with_capacity(2 * self.points - 1);
            for pair in share.logs.windows(2) {
                logs.extend([pair[0], 0.5 * (pair[0] + pair[1])]);
            }
            logs.extend(share.logs.last());
            share.logs = logs;
        }
        self.points = 2 * self.points - 1;
        self.step *= 0.5;
    }
}

#[cfg(test)]
mod tests {
    use super::{HORIZONS, STEPS, Wealth};
    use crate::predictable::Bets;
    use bitquake_testing::SplitMix64;

    /// Against the slow products at one m, with the bets that the grid made: what the grid rejects, the products
    /// reject too, and hardly anything more.
    #[test]
    fn the_grid_is_on_the_safe_side_of_the_exact_products_and_close() {
        for (mean, std) in [(0.1, 0.01), (0.5, 0.3), (0.002, 0.001), (0.97, 0.05)] {
            let (mut random, mut grid, mut other) = (SplitMix64::new(9), Wealth::new(), Wealth::new());
            let (mut bets, mut seen) = (Bets::new(0.95), Vec::new());
            let threshold = 40_f64.ln();
            for i in 1..2000 {
                let x = (mean + std * random.normal()).clamp(0.0, 1.0);
                let most = grid.largest_bet();
                seen.push((x, HORIZONS.map(|horizon| bets.next_for(horizon).min(most))));
                other.push(1.0 - x, |horizon| bets.next_for(horizon));
                if grid.push(x, |horizon| bets.next_for(horizon)) {
                    let (above, below) = (grid.first(), other.first());
                    grid.settle(1.0 - below);
                    other.settle(1.0 - above);
                }
                bets.observe(x);
                let lower = grid.lower(threshold);
                if i % 97 == 0 && lower > grid.first {
                    let product =
                        |k: usize| seen.iter().map(|(x, bet)| 1.0 + bet[k] * (x - lower)).product::<f64>();
                    let exact = ((0..12).map(product).sum::<f64>() / 12.0).ln();
                    assert!((-1e-9..0.02).contains(&(exact - threshold)), "{mean} {i}: {exact} {threshold}");
                }
                assert!(grid.points <= STEPS + 1);
            }
            assert!(grid.lower(threshold) > 0.3 * mean && grid.lower(threshold) < mean, "{mean}");
        }
    }

    #[test]
    fn constant_values_never_reject_themselves() {
        for x in [0.0, 1e-9, 0.3, 1.0] {
            let mut grid = Wealth::new();
            for _ in 0..5000 {
                if grid.push(x, |_| 2.0) {
                    grid.settle(1.0);
                }
            }
            let lower = grid.lower(3.7);
            assert!(lower <= x && x - lower < 0.01, "{x}: {lower}");
        }
    }
}
