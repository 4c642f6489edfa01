//! The lowest energy within a loss budget.

use serde::Serialize;

use crate::config::LossFrom;
use crate::front::{Placed, Trade};

/// How little energy a contender can do with.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lowest {
    /// The contender, by its place.
    pub contender: usize,
    /// The test error that may not be exceeded.
    pub most_error: f64,
    /// The measured point with the lowest energy whose interval, and the means and intervals of all points with more energy, stay within the
    /// budget: what may be relied on. None if even reliable accesses exceed it.
    pub measured: Option<Placed>,
    /// Where the mean reaches the budget; none if the clean error exceeds it.
    pub crossing: Option<Crossing>,
}

/// Where the error reaches the budget, in energy of an inference: errors are taken as linear in the energy between measured points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// By the means.
    pub energy: f64,
    /// By the lower and the upper ends of the intervals.
    pub ends: [f64; 2],
    /// Whether the error stays within the budget down to the point with the least energy: the energy is that point's, and a lower one may do.
    pub is_at_most: bool,
}

impl Crossing {
    /// For people, in units of so many accesses: `0.366 [0.358, 0.371]`. Where points end before the budget is reached `at most 0.283`, and
    /// with which energy the upper ends of the intervals reach it, if they do.
    #[must_use]
    pub fn shown(&self, accesses: f64, digits: usize) -> String {
        let shown = |energy: f64| {
            if energy.is_finite() { format!("{:.digits$}", energy / accesses) } else { "∞".into() }
        };
        let [lo, hi] = self.ends.map(shown);
        match self.is_at_most {
            false => format!("{} [{lo}, {hi}]", shown(self.energy)),
            true if self.ends[1] > self.energy => {
                format!("at most {lo}; {hi} by the interval", lo = shown(self.energy))
            }
            true => format!("at most {}", shown(self.energy)),
        }
    }
}

impl Trade {
    /// The error that losses are counted from.
    #[must_use]
    pub fn clean(&self, from: LossFrom, contender: usize) -> f64 {
        match from {
            LossFrom::Own => self.contenders[contender].clean,
            LossFrom::Best => {
                self.contenders.iter().map(|network| network.clean).fold(f64::INFINITY, f64::min)
            }
        }
    }

    /// The lowest energy of each contender whose error exceeds the clean one by no more than `loss`.
    #[must_use]
    pub fn lowest(&self, loss: f64, from: LossFrom) -> Vec<Lowest> {
        (0..self.contenders.len())
            .map(|contender| {
                let most_error = self.clean(from, contender) + loss;
                Lowest {
                    contender,
                    most_error,
                    measured: self.within(contender, most_error),
                    crossing: self.crossing(contender, most_error),
                }
            })
            .collect()
    }

    /// The last point on the way down from reliable accesses that stays within.
    fn within(&self, contender: usize, most: f64) -> Option<Placed> {
        self.of(contender)
            .rev()
            .take_while(|point| point.is_known() && point.ends()[1] <= most)
            .last()
            .copied()
    }

    fn crossing(&self, contender: usize, most: f64) -> Option<Crossing> {
        let along = |of: fn(&Placed) -> f64| {
            let line: Vec<(f64, f64)> =
                self.of(contender).rev().map(|point| (point.inference, of(point))).collect();
            reaches(&line, most)
        };
        let (energy, is_at_most) = along(|point| point.error)?;
        let end = |of| along(of).map_or(f64::INFINITY, |(energy, _)| energy);
        Some(Crossing {
            energy,
            ends: [end(|point| point.ends()[0]), end(|point| point.ends()[1])],
            is_at_most,
        })
    }
}

/// Where a line of (energy, error), by energy downwards, first goes above `most`, and whether it never does. None if it begins above.
fn reaches(line: &[(f64, f64)], most: f64) -> Option<(f64, bool)> {
    let first = line.first().filter(|(_, error)| *error <= most)?;
    for pair in line.windows(2) {
        let [(above, within), (below, beyond)] = [pair[0], pair[1]];
        if beyond > most {
            let share = (most - within) / (beyond - within);
            return Some((above + share * (below - above), false));
        }
    }
    Some((line.last().unwrap_or(first).0, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CurveConfig;
    use crate::contender::Contender;
    use crate::curve::Curve;
    use crate::front::tests::contender;

    /// Accesses of energy 0.5, 0.6 and 0.7 by the law exp(-10 energy), 100 bits.
    fn network(name: &str, clean: f64, errors: [f64; 3], half: f64) -> Contender {
        let rates = [0.5_f64, 0.6, 0.7].map(|energy| (-10.0 * energy).exp());
        let points: Vec<(f64, f64, f64)> =
            rates.into_iter().zip(errors).map(|(rate, error)| (rate, error, half)).collect();
        contender(name, 100.0, clean, &points)
    }

    fn trade(networks: Vec<Contender>) -> Trade {
        Trade::new(&Curve::new(&CurveConfig::Exponential { constant: 10.0 }).unwrap(), networks).unwrap()
    }

    #[test]
    fn the_crossing_lies_between_the_points_and_the_measured_one_before_it() {
        let found = trade(vec![network("a", 0.10, [0.30, 0.12, 0.11], 0.01)]).lowest(0.04, LossFrom::Own)[0];
        assert!((found.most_error - 0.14).abs() < 1e-12);
        assert!((found.measured.unwrap().inference - 60.0).abs() < 1e-9);
        let crossing = found.crossing.unwrap();
        // From 0.12 at 60 to 0.30 at 50: 0.14 at 60 - 10 * 0.02 / 0.18.
        assert!((crossing.energy - 58.888_888).abs() < 1e-4, "{crossing:?}");
        // By the ends: 0.11 and 0.29, 0.13 and 0.31.
        assert!((crossing.ends[0] - 58.333_333).abs() < 1e-4 && (crossing.ends[1] - 59.444_444).abs() < 1e-4);
        assert_eq!(crossing.shown(10.0, 2), "5.89 [5.83, 5.94]");
    }

    /// A mean of 0.12 is within 0.125, but not its interval.
    #[test]
    fn what_may_be_relied_on_has_its_whole_interval_within() {
        let found = trade(vec![network("a", 0.10, [0.30, 0.12, 0.11], 0.01)]).lowest(0.025, LossFrom::Own)[0];
        assert!((found.measured.unwrap().inference - 70.0).abs() < 1e-9);
        assert!(found.crossing.unwrap().energy < 60.0);
    }

    #[test]
    fn budgets_that_always_or_never_hold() {
        let trade =
            trade(vec![network("a", 0.10, [0.30, 0.12, 0.11], 0.01), network("b", 0.2, [0.21; 3], 0.001)]);
        let own = trade.lowest(0.5, LossFrom::Own);
        assert!(own.iter().all(|lowest| lowest.crossing.unwrap().is_at_most));
        assert!((own[1].most_error - 0.7).abs() < 1e-12);
        assert!((own[1].crossing.unwrap().energy - 50.0).abs() < 1e-9);
        assert_eq!(own[1].crossing.unwrap().shown(1.0, 1), "at most 50.0");
        // The upper end of a's interval meets it before its points end, the mean does not.
        let near = trade.lowest(0.205, LossFrom::Own)[0].crossing.unwrap();
        assert_eq!(near.shown(1.0, 1), "at most 50.0; 50.3 by the interval");
        // From the best clean error, b has lost ten points before any fault.
        let best = trade.lowest(0.05, LossFrom::Best);
        assert_eq!((best[1].measured, best[1].crossing), (None, None));
        // No loss at all: a has it with reliable accesses alone.
        let none = trade.lowest(0.0, LossFrom::Own)[0];
        assert!((none.measured.unwrap().inference - 100.0).abs() < 1e-9);
        assert!((none.crossing.unwrap().energy - 100.0).abs() < 1e-9);
    }

    /// An island within the budget below a point that exceeds it is no place to rely on.
    #[test]
    fn noise_does_not_make_an_island_count() {
        let found = trade(vec![network("a", 0.10, [0.10, 0.30, 0.11], 0.0)]).lowest(0.02, LossFrom::Own)[0];
        assert!((found.measured.unwrap().inference - 70.0).abs() < 1e-9);
    }
}
