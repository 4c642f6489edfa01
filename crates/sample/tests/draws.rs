//! The samplers against their distributions. Seeds are fixed; with other seeds, each assertion would fail by chance with a
//! probability of at most 1e-6.

use bitquake_sample::{BernoulliDraw, Rate, Stream, StreamKey, Trials, first_hit, subset};
use bitquake_testing::{assert_binomial, assert_uniform};
use proptest::prelude::*;

const FALSE_ALARM: f64 = 1e-6;

fn key(trial: u64) -> StreamKey {
    StreamKey { seed: 20_210_407, point: 0, trial }
}

fn draw(stream: &Stream, sites: u64, p: f64) -> Vec<u64> {
    BernoulliDraw::new(stream, sites, Rate::new(p).expect("a rate")).sites()
}

#[test]
fn rates_are_exact_from_1e_minus_12_to_1() {
    let cases: [(f64, u64, u64); 17] = [
        (1e-12, 1 << 40, 3000),
        (1e-12, 999_999_999_999, 3000),
        (1e-10, 40_000_000_000, 1000),
        (1e-8, 3_200_000_000, 100),
        (1e-6, 44_000_000, 100),
        (1e-5, 1_000_003, 1000),
        (1e-4, 1 << 22, 60),
        (1e-3, 5_000_000, 10),
        (0.009, 2_500_000, 10),
        (0.01, 320, 20_000),
        (0.03, 7, 200_000),
        (0.3, 1, 200_000),
        (0.3, 1_000_001, 2),
        (0.5, 33, 20_000),
        (0.9, 4099, 200),
        (0.999, 100_000, 10),
        (1.0 - 1e-6, 10_000_000, 1),
    ];
    for (p, sites, trials) in cases {
        let hits = (0..trials).map(|trial| draw(&key(trial).tensor("w"), sites, p).len() as u64).sum();
        assert_binomial(hits, trials * sites, p, FALSE_ALARM);
    }
}

#[test]
fn the_number_of_hits_varies_as_a_binomial_does() {
    // 2,000 trials with 100 expected hits: the share of trials within one standard deviation, from the exact distribution.
    let (sites, p, trials) = (10_000_u64, 0.01, 2000);
    let within = (0..trials)
        .filter(|&trial| (91..=109).contains(&draw(&key(trial).tensor("w"), sites, p).len()))
        .count() as u64;
    assert_binomial(within, trials, 0.660_479_051, FALSE_ALARM);
}

#[test]
fn every_site_is_as_likely() {
    for (sites, p, trials) in [(37, 0.2, 20_000), (64, 0.02, 40_000), (1000, 0.9, 100)] {
        let mut counts = vec![0_u64; sites as usize];
        for trial in 0..trials {
            draw(&key(trial).tensor("u"), sites, p).iter().for_each(|&site| counts[site as usize] += 1);
        }
        assert_uniform(&counts, FALSE_ALARM);
    }
}

#[test]
fn sites_of_a_large_draw_are_spread_evenly() {
    for p in [1e-4, 3e-3] {
        let sites = 64 * 1_048_576;
        let (mut coarse, mut fine) = (vec![0_u64; 64], vec![0_u64; 64]);
        for site in draw(&key(1).tensor("u"), sites, p) {
            coarse[(site >> 20) as usize] += 1;
            fine[(site & 63) as usize] += 1;
        }
        assert_uniform(&coarse, FALSE_ALARM);
        assert_uniform(&fine, FALSE_ALARM);
    }
}

#[test]
fn tensors_trials_and_neighbouring_bits_are_independent() {
    let (sites, p) = (1_000_000, 0.05);
    let a = draw(&key(0).tensor("a"), sites, p);
    let pairs = [
        ("tensors", draw(&key(0).tensor("b"), sites, p)),
        ("trials", draw(&key(1).tensor("a"), sites, p)),
        ("seeds", draw(&StreamKey { seed: 1, ..key(0) }.tensor("a"), sites, p)),
        ("points", draw(&StreamKey { point: 1, ..key(0) }.tensor("a"), sites, p)),
        ("neighbours", a.iter().map(|site| site + 1).collect()),
        ("words", a.iter().map(|site| site + 32).collect()),
        ("blocks", a.iter().map(|site| site ^ (1 << 18)).collect()),
    ];
    for (what, mut other) in pairs {
        other.sort_unstable();
        let both = a.iter().filter(|site| other.binary_search(site).is_ok()).count() as u64;
        println!("{what}: {both}");
        // Sites shifted beyond the end cost less than one hit in a million.
        assert_binomial(both, sites, p * p, FALSE_ALARM);
    }
}

#[test]
fn threads_do_not_change_a_draw() {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| draw(&key(5).tensor("w"), 80_000_000, 1e-3))
    };
    assert!(on(1) == on(2) && on(1) == on(7));
}

#[test]
fn first_outputs_are_pinned() {
    // A change here is a new stream version: raise STREAM_VERSION and announce it in CHANGELOG.md.
    let stream = StreamKey { seed: 42, point: 0, trial: 0 }.tensor("conv1.weight");
    assert_eq!(draw(&stream, 144 * 32, 1e-3), PINNED_SMALL);
    assert_eq!(draw(&stream, 3_200_000_000, 1e-9), PINNED_LARGE);
    assert_eq!(draw(&stream, 10_000_000, 1e-2)[..6], PINNED_DENSE);
    assert_eq!(
        subset(&StreamKey { seed: 42, point: 0, trial: 0 }, 1_000_000, 5).expect("fits"),
        PINNED_SUBSET
    );
}

const PINNED_SMALL: [u64; 7] = [1571, 2336, 2378, 3196, 3601, 3931, 4509];
const PINNED_LARGE: [u64; 5] = [903_145_760, 1_149_899_754, 1_336_543_562, 1_836_979_804, 3_154_383_261];
const PINNED_DENSE: [u64; 6] = [113, 184, 194, 503, 550, 860];
const PINNED_SUBSET: [u64; 5] = [18_703, 239_108, 363_676, 740_984, 951_486];

#[test]
fn every_subset_is_as_likely() {
    // All ten pairs out of five sites.
    let mut counts = vec![0_u64; 10];
    for trial in 0..10_000 {
        let pair = subset(&key(trial), 5, 2).expect("fits");
        let (a, b) = (pair[0], pair[1]);
        counts[(a * (7 - a) / 2 + b - 1) as usize] += 1;
    }
    assert_uniform(&counts, FALSE_ALARM);
}

#[test]
fn a_single_upset_is_uniform_over_many_sites() {
    let mut counts = vec![0_u64; 50];
    for trial in 0..20_000 {
        counts[(subset(&key(trial), 5_000_000_000, 1).expect("fits")[0] / 100_000_000) as usize] += 1;
    }
    assert_uniform(&counts, FALSE_ALARM);
}

/// P(each site is the first), given that one is hit, by multiplying out.
fn first_hit_distribution(groups: &[Trials]) -> Vec<f64> {
    let mut before = 1.0;
    let mut first = Vec::new();
    for trials in groups {
        for _ in 0..trials.sites {
            first.push(before * trials.rate.fraction());
            before *= 1.0 - trials.rate.fraction();
        }
    }
    first.iter().map(|p| p / (1.0 - before)).collect()
}

#[test]
fn the_first_hit_has_the_truncated_geometric_distribution() {
    let trials = |sites, p| Trials { sites, rate: Rate::new(p).expect("a rate") };
    let cases = [
        vec![trials(6, 0.2)],
        vec![trials(2, 0.05), trials(0, 1.0), trials(3, 0.4), trials(4, 0.0), trials(1, 0.3)],
        vec![trials(8, 1e-12), trials(4, 3e-12)],
        vec![trials(2, 0.1), trials(1, 1.0), trials(2, 0.5)],
    ];
    for (case, groups) in cases.iter().enumerate() {
        let mut counts = vec![0_u64; groups.iter().map(|trials| trials.sites as usize).sum()];
        for trial in 0..50_000 {
            let mut words = key(trial).part(format!("case {case}")).whole().words(0);
            let (group, site) = first_hit(&mut words, groups).expect("something can be hit");
            let start: u64 = groups[..group].iter().map(|trials| trials.sites).sum();
            counts[(start + site) as usize] += 1;
        }
        for (count, p) in counts.iter().zip(first_hit_distribution(groups)) {
            assert_binomial(*count, 50_000, p.min(1.0), FALSE_ALARM / 12.0);
        }
    }
}

#[test]
fn the_first_hit_of_very_many_sites_is_spread_evenly() {
    let groups = [Trials { sites: 1 << 56, rate: Rate::new(1e-30).expect("a rate") }];
    let (mut coarse, mut fine) = (vec![0_u64; 32], vec![0_u64; 32]);
    for trial in 0..20_000 {
        let site = first_hit(&mut key(trial).part("f").whole().words(0), &groups).expect("a hit").1;
        coarse[(site >> 51) as usize] += 1;
        fine[(site & 31) as usize] += 1;
    }
    assert_uniform(&coarse, FALSE_ALARM);
    assert_uniform(&fine, FALSE_ALARM);
}

#[test]
fn the_first_hit_is_pinned() {
    let groups = [1e-10, 1e-9].map(|p| Trials { sites: 192_000_000, rate: Rate::new(p).expect("a rate") });
    let first = |trial| first_hit(&mut key(trial).part("pinned").whole().words(0), &groups);
    assert_eq!([0, 1, 2].map(first), PINNED_FIRST.map(Some));
}

const PINNED_FIRST: [(usize, u64); 3] = [(1, 115_718_207), (1, 1_071_322), (1, 140_737_945)];

proptest! {
    #[test]
    fn patterns_are_nested_across_rates(
        sites in 1_u64..5_000_000,
        trial in any::<u64>(),
        low in -12.0..-1.0_f64,
        step in 0.0..2.0_f64,
    ) {
        let stream = key(trial).tensor("w");
        let p = 10_f64.powf(low);
        let more = draw(&stream, sites, (p * 10_f64.powf(step)).min(0.9));
        let less = draw(&stream, sites, p);
        prop_assert!(more.is_sorted_by(|a, b| a < b) && more.last().is_none_or(|&last| last < sites));
        prop_assert!(less.iter().all(|site| more.binary_search(site).is_ok()));
    }

    #[test]
    fn subsets_are_exact_distinct_and_nested(population in 1_u64..10_000, trial in any::<u64>(), share in 0.0..=1.0_f64) {
        let count = (population as f64 * share) as u64;
        let more = subset(&key(trial), population, count).expect("fits");
        prop_assert_eq!(more.len() as u64, count);
        prop_assert!(more.is_sorted_by(|a, b| a < b) && more.last().is_none_or(|&last| last < population));
        let less = subset(&key(trial), population, count / 3).expect("fits");
        prop_assert!(less.iter().all(|site| more.binary_search(site).is_ok()));
    }
}
