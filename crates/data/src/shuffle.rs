//! Random orders.

use bitquake_sample::Words;

/// Puts `rows` into an order of which each is as likely as any other (Fisher-Yates, from the back): the row at
/// `last` is swapped with one that is uniform among those at and before it.
pub(crate) fn shuffle(rows: &mut [usize], words: &mut Words) {
    for last in (1..rows.len()).rev() {
        let other = words.below(last as u64 + 1) as usize;
        rows.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use bitquake_sample::StreamKey;
    use bitquake_testing::assert_uniform;

    use super::*;

    fn words(trial: u64) -> Words {
        StreamKey { seed: 5, point: 0, trial }.part("test").whole().words(0)
    }

    #[test]
    fn all_orders_of_four_are_as_likely() {
        // One test at a false-alarm probability of 1e-9.
        let mut counts = vec![0_u64; 256];
        for trial in 0..24_000 {
            let mut rows = [0, 1, 2, 3];
            shuffle(&mut rows, &mut words(trial));
            counts[rows.iter().fold(0, |code, row| code * 4 + row)] += 1;
        }
        let counts: Vec<u64> = counts.into_iter().filter(|&count| count > 0).collect();
        assert_eq!(counts.len(), 24);
        assert_uniform(&counts, 1e-9);
    }

    #[test]
    fn nothing_and_one_row_have_one_order() {
        let mut rows: [usize; 0] = [];
        shuffle(&mut rows, &mut words(0));
        let mut rows = [7];
        shuffle(&mut rows, &mut words(0));
        assert_eq!(rows, [7]);
    }
}
