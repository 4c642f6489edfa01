//! Importance sampling of single upsets: bits are drawn more often where earlier trials showed that they matter.
//!
//! The fault space is parted into strata of a tensor (or some) and a bit position. Each trial draws its stratum with known
//! probabilities, then a bit of the stratum uniformly, and its weight (the stratum's share of the space over the probability)
//! keeps means unbiased whatever the probabilities are (Horvitz & Thompson 1952). They are chosen anew at looks only, from the
//! trials before, so that they depend on nothing but the records: the best are proportional to share times root mean square
//! (Neyman 1934), of which a fifth is kept for the shares themselves, so that no weight is above 5.

use bitquake_fault::FaultSpace;
use bitquake_record::{LARGEST_WEIGHT, StratumRecord};
use bitquake_sample::PartKey;

/// At most so many strata: each needs some trials to be told from the others.
const MOST: usize = 1024;
/// Groups of tensors when there are too many for a stratum each.
const GROUPS: u64 = 16;
/// The part of the probabilities that stays with the shares, so that no weight is above its inverse.
const KEPT: f64 = 1.0 / LARGEST_WEIGHT;

/// A fault space in parts.
pub(crate) struct Strata {
    pub(crate) records: Vec<StratumRecord>,
    pub(crate) spaces: Vec<FaultSpace>,
    /// Of each stratum, its part of the bits.
    shares: Vec<f64>,
}

impl Strata {
    pub(crate) fn new(space: &FaultSpace) -> Self {
        let bits = 64 - space.tensors().iter().fold(0, |mask, tensor| mask | tensor.mask).leading_zeros();
        let by_tensor = space.tensors().len() * bits as usize <= MOST;
        let group_bits = space.bits().div_ceil(GROUPS).max(1);
        let mut groups: Vec<Vec<&str>> = Vec::new();
        let mut before = 0;
        for tensor in space.tensors() {
            let group = if by_tensor { groups.len() as u64 } else { before / group_bits };
            if group >= groups.len() as u64 {
                groups.push(Vec::new());
            }
            if let Some(last) = groups.last_mut() {
                last.push(&tensor.name);
            }
            before += tensor.bits();
        }
        let (mut records, mut spaces) = (Vec::new(), Vec::new());
        for names in &groups {
            for bit in 0..bits {
                let mask = |name: &str| if names.contains(&name) { 1 << bit } else { 0 };
                let part = space.part(|tensor| mask(&tensor.name));
                if part.bits() == 0 {
                    continue;
                }
                let name = match names.as_slice() {
                    [only] => format!("{only}, bit {bit}"),
                    [first, .., last] => format!("{first} to {last}, bit {bit}"),
                    [] => continue,
                };
                let tensors = part.tensors().iter().map(|tensor| tensor.name.clone()).collect();
                records.push(StratumRecord { name, tensors, bits: vec![bit], sites: part.bits() });
                spaces.push(part);
            }
        }
        let all = space.bits().max(1) as f64;
        let shares = records.iter().map(|record| record.sites as f64 / all).collect();
        Self { records, spaces, shares }
    }
}

/// How often each stratum is drawn at one point.
#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    shares: Vec<f64>,
    /// Bit position of each stratum.
    bits: Vec<u32>,
    /// Of each stratum, trials and the sum of their squared changes.
    seen: Vec<(u64, f64)>,
    /// The probabilities, summed up.
    upto: Vec<f64>,
}

impl Allocation {
    pub(crate) fn new(strata: &Strata) -> Self {
        let bits = strata.records.iter().map(|record| record.bits.first().copied().unwrap_or(0)).collect();
        let mut new = Self {
            shares: strata.shares.clone(),
            bits,
            seen: vec![(0, 0.0); strata.shares.len()],
            upto: Vec::new(),
        };
        new.set(&new.shares.clone());
        new
    }

    /// The stratum of a trial, and its weight.
    pub(crate) fn choose(&self, key: &PartKey) -> (u32, f64) {
        let word = key.part("stratum").whole().words(0).u64();
        let at = word as f64 / 2f64.powi(64);
        let stratum = self.upto.partition_point(|upto| *upto <= at).min(self.upto.len() - 1);
        let before = if stratum == 0 { 0.0 } else { self.upto[stratum - 1] };
        (stratum as u32, self.shares[stratum] / (self.upto[stratum] - before))
    }

    /// Notes what a trial changed.
    pub(crate) fn add(&mut self, stratum: u32, change: f64) {
        if let Some((trials, squares)) = self.seen.get_mut(stratum as usize) {
            *trials += 1;
            *squares += change * change;
        }
    }

    /// Chooses the probabilities anew.
    pub(crate) fn update(&mut self) {
        let (trials, squares) =
            self.seen.iter().fold((0, 0.0), |(n, s), (trials, squares)| (n + trials, s + squares));
        // What nothing is known of is taken for a little of what its like showed: strata of the bit position, then all.
        let all = (squares + 1.0) / (trials as f64 + 2.0);
        let highest = self.bits.iter().max().map_or(0, |bit| bit + 1);
        let of_bit: Vec<f64> = (0..highest)
            .map(|bit| {
                let of = self.seen.iter().zip(&self.bits).filter(|(_, of)| **of == bit);
                let (trials, squares) =
                    of.fold((0, 0.0), |(n, s), ((trials, squares), _)| (n + trials, s + squares));
                (squares + 0.5 * all) / (trials as f64 + 0.5)
            })
            .collect();
        let root = |place: usize| {
            let (trials, squares) = self.seen[place];
            let like = of_bit[self.bits[place] as usize];
            ((squares + 2.0 * like) / (trials as f64 + 2.0)).sqrt()
        };
        let wanted: Vec<f64> = (0..self.shares.len()).map(|place| self.shares[place] * root(place)).collect();
        let sum: f64 = wanted.iter().sum();
        let mixed =
            wanted.iter().zip(&self.shares).map(|(wanted, share)| KEPT * share + (1.0 - KEPT) * wanted / sum);
        let mixed: Vec<f64> = mixed.collect();
        self.set(&mixed);
    }

    fn set(&mut self, chances: &[f64]) {
        let sum: f64 = chances.iter().sum();
        let mut upto = 0.0;
        self.upto = chances
            .iter()
            .map(|chance| {
                upto += chance / sum;
                upto
            })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitquake_bits::{BitSelection, Format};
    use bitquake_fault::Candidate;
    use bitquake_sample::StreamKey;

    fn strata() -> Strata {
        let tensor = |name, elements| Candidate { name, format: Format::I8, elements, by_name_only: false };
        let all = [tensor("a", 30), tensor("b", 10)].map(|tensor| (tensor, BitSelection::All));
        Strata::new(&FaultSpace::gather(all).expect("a space"))
    }

    fn key(trial: u64) -> PartKey {
        StreamKey { seed: 3, point: 0, trial }.into()
    }

    #[test]
    fn strata_part_the_space() {
        let strata = strata();
        assert_eq!(strata.records.len(), 16);
        assert_eq!(strata.records.iter().map(|record| record.sites).sum::<u64>(), 320);
        assert_eq!(strata.records[7].name, "a, bit 7");
        assert!((strata.shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_tensors_are_put_together() {
        let names: Vec<String> = (0..300).map(|n| format!("t{n}")).collect();
        let all = names.iter().map(|name| {
            (Candidate { name, format: Format::F32, elements: 7, by_name_only: false }, BitSelection::All)
        });
        let strata = Strata::new(&FaultSpace::gather(all).expect("a space"));
        assert_eq!(strata.records.len(), 16 * 32);
        assert_eq!(strata.records.iter().map(|record| record.sites).sum::<u64>(), 300 * 7 * 32);
    }

    #[test]
    fn before_anything_is_known_all_bits_are_alike() {
        let allocation = Allocation::new(&strata());
        let mut counts = [0_u32; 16];
        for trial in 0..16_000 {
            let (stratum, weight) = allocation.choose(&key(trial));
            assert!((weight - 1.0).abs() < 1e-9);
            counts[stratum as usize] += 1;
        }
        // Strata 0 to 7 have 3/32, the others 1/32: 1500 and 500 expected, standard deviations 37 and 22; five of them.
        let near = |(place, count): (usize, &u32)| count.abs_diff(if place < 8 { 1500 } else { 500 }) < 190;
        assert!(counts.iter().enumerate().all(near), "{counts:?}");
    }

    #[test]
    fn what_matters_is_drawn_more_often_and_weighs_less() {
        let mut allocation = Allocation::new(&strata());
        for trial in 0..800 {
            let (stratum, _) = allocation.choose(&key(trial));
            allocation.add(stratum, if stratum == 7 { 1.0 } else { 0.0 });
        }
        allocation.update();
        let mut mean = 0.0;
        let mut hits = 0;
        for trial in 0..20_000 {
            let (stratum, weight) = allocation.choose(&key(trial));
            assert!(weight <= LARGEST_WEIGHT * (1.0 + 1e-9));
            hits += u32::from(stratum == 7);
            mean += if stratum == 7 { weight } else { 0.0 };
        }
        assert!(hits > 8_000, "{hits} of 20,000 instead of 1,875");
        // The mean over the space is 3/32; its standard deviation here is below 0.001.
        assert!((mean / 20_000.0 - 3.0 / 32.0).abs() < 0.005, "{}", mean / 20_000.0);
    }
}
