//! Are these counts spread evenly?

use statrs::function::gamma::checked_gamma_ur;

/// The smallest expected count a cell may have: below it the chi-square tail at 1e-6 is no longer trustworthy.
const SMALLEST_EXPECTED: f64 = 20.0;

/// Panics if `counts` are too uneven to come from equally likely cells.
///
/// Pearson's chi-square test: with equally likely cells the assertion fails with probability `false_alarm`,
/// approximately. Only unevenness fails; counts that are all equal pass.
///
/// # Panics
///
/// If the counts are too uneven; if there are fewer than two cells; if a cell expects fewer than 20 (merge
/// cells or draw more); if `false_alarm` is not in (0, 0.1].
///
/// ```
/// bitquake_testing::assert_uniform(&[101, 97, 102], 1e-6);
/// ```
#[track_caller]
pub fn assert_uniform(counts: &[u64], false_alarm: f64) {
    if let Err(report) = check_uniform(counts, false_alarm) {
        panic!("{report}");
    }
}

/// Like [`assert_uniform`], but returns the report instead of panicking.
///
/// # Errors
///
/// A text with the statistic, its tail probability and the cell that deviates most.
pub fn check_uniform(counts: &[u64], false_alarm: f64) -> Result<(), String> {
    crate::binomial::check_false_alarm(false_alarm)?;
    if counts.len() < 2 {
        return Err(format!("{} cells cannot be uneven: give at least two", counts.len()));
    }
    let total: f64 = counts.iter().map(|&count| count as f64).sum();
    let expected = total / counts.len() as f64;
    if expected < SMALLEST_EXPECTED {
        return Err(format!("a cell expects {expected} counts; the test needs at least {SMALLEST_EXPECTED}"));
    }
    let statistic: f64 = counts.iter().map(|&count| (count as f64 - expected).powi(2) / expected).sum();
    let freedom = (counts.len() - 1) as f64;
    let tail = chi_square_tail(statistic, freedom);
    if tail >= false_alarm {
        return Ok(());
    }
    let (cell, count) = farthest(counts, expected);
    Err(format!(
        "the counts of {} cells are not uniform: chi-square {statistic:.1} at {freedom} degrees of freedom \
         has tail probability {tail:.1e}, below the false-alarm probability {false_alarm:.1e}; \
         cell {cell} deviates most: {count}, expected {expected:.1}",
        counts.len()
    ))
}

/// The probability that a chi-square variable exceeds `statistic`.
fn chi_square_tail(statistic: f64, freedom: f64) -> f64 {
    if statistic <= 0.0 { 1.0 } else { checked_gamma_ur(freedom / 2.0, statistic / 2.0).unwrap_or(0.0) }
}

fn farthest(counts: &[u64], expected: f64) -> (usize, u64) {
    let distance = |&(_, &count): &(usize, &u64)| (count as f64 - expected).abs();
    let by_distance = |a: &(usize, &u64), b: &(usize, &u64)| distance(a).total_cmp(&distance(b));
    counts.iter().enumerate().max_by(by_distance).map_or((0, 0), |(cell, &count)| (cell, count))
}

#[cfg(test)]
mod tests {
    use super::{assert_uniform, check_uniform, chi_square_tail};
    use crate::SplitMix64;

    fn dice(cells: u64, draws: u64, loaded: f64) -> Vec<u64> {
        let mut random = SplitMix64::new(cells);
        let mut counts = vec![0; cells as usize];
        for _ in 0..draws {
            let cell = if random.unit() < loaded { 0 } else { random.below(cells) };
            counts[cell as usize] += 1;
        }
        counts
    }

    #[test]
    fn tails_are_the_tabled_ones() {
        // Exact for two degrees of freedom: exp(-x / 2); the 5 % points for 1 and 10 are in every table.
        for (statistic, freedom, wanted) in
            [(27.631_021_115_928_547, 2.0, 1e-6), (3.841_459, 1.0, 0.05), (18.307_038, 10.0, 0.05)]
        {
            let got = chi_square_tail(statistic, freedom);
            assert!((got / wanted - 1.0).abs() < 1e-6, "{statistic} {freedom}: {got}");
        }
        let many = chi_square_tail(101_000.0, 100_000.0);
        assert!((many - 0.012_81).abs() < 1e-4, "{many}");
    }

    #[test]
    fn fair_dice_pass_and_loaded_dice_fail() {
        for cells in [3, 6, 1000] {
            assert_uniform(&dice(cells, 1000 * cells, 0.0), 1e-6);
            let report = check_uniform(&dice(cells, 1000 * cells, 0.2), 1e-6).unwrap_err();
            assert!(report.contains("cell 0 deviates most"), "{report}");
        }
    }

    #[test]
    fn equal_counts_pass() {
        assert_uniform(&[50, 50, 50], 1e-6);
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        assert!(check_uniform(&[100], 1e-6).unwrap_err().contains("at least two"));
        assert!(check_uniform(&[19, 20], 1e-6).unwrap_err().contains("needs at least 20"));
        assert!(check_uniform(&[100, 100], 0.0).unwrap_err().contains("false-alarm"));
    }

    #[test]
    #[should_panic(expected = "the counts of 2 cells are not uniform")]
    fn the_assertion_panics() {
        assert_uniform(&[1000, 1400], 1e-6);
    }
}
