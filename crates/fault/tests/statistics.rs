//! Fault models against their distributions, and draws that are known to hit something. Seeds are fixed; with other seeds, each
//! assertion would fail by chance with a probability of at most 1e-6.

mod common;

use bitquake_bits::{BitSelection, Format};
use bitquake_fault::*;
use bitquake_sample::Rate;
use bitquake_testing::{assert_binomial, assert_uniform};
use common::{FALSE_ALARM, Store, key, listed, models, rate, space_of};

fn bits(n: u64) -> FaultSpace {
    space_of(&[("w", Format::unsigned(1), n)], BitSelection::All)
}

fn addresses(faults: &Faults) -> Vec<u64> {
    listed(faults).into_iter().map(|(_, address, _)| address).collect()
}

#[test]
fn asymmetric_rates_are_those_of_the_stored_bits() {
    let store = Store::random(9);
    let model = FaultModel::Asymmetric { to_one: rate(0.03), to_zero: rate(0.2) };
    let (mut flips, mut stored) = ([0; 2], [0; 2]);
    for trial in 0..20 {
        let resolved =
            model.draw(&common::space(), &key(trial)).expect("faults").resolve(&store).expect("fits");
        common::flipped(&resolved.pattern)
            .iter()
            .for_each(|(name, at)| flips[usize::from(store.bit(name, *at))] += 1);
    }
    for (name, format, elements) in common::TENSORS {
        (0..elements * u64::from(format.width()))
            .for_each(|at| stored[usize::from(store.bit(name, at))] += 20);
    }
    assert_binomial(flips[0], stored[0], 0.03, FALSE_ALARM);
    assert_binomial(flips[1], stored[1], 0.2, FALSE_ALARM);
}

#[test]
fn every_position_has_its_rate() {
    let space = space_of(&[("w", Format::U8, 20_000)], BitSelection::All);
    let rates = [0.0, 1e-3, 0.01, 0.1, 0.5, 0.9, 1.0, 0.02];
    let hits = Hits::Positions(rates.map(rate).to_vec());
    let mut counts = [0_u64; 8];
    for trial in 0..5 {
        let faults = FaultModel::BitFlip(hits.clone()).draw(&space, &key(trial)).expect("faults");
        addresses(&faults).iter().for_each(|address| counts[(address % 8) as usize] += 1);
    }
    for (count, p) in counts.into_iter().zip(rates) {
        assert_binomial(count, 100_000, p, FALSE_ALARM);
    }
}

#[test]
fn one_random_bit_is_any_bit_of_any_element() {
    let space =
        space_of(&[("a", Format::U8, 30), ("b", Format::U8, 20)], BitSelection::Range { low: 1, high: 5 });
    let (mut elements, mut positions) = (vec![0_u64; 50], vec![0_u64; 5]);
    for trial in 0..2000 {
        let hits = Hits::OneBit(Elements::Count(3));
        let faults = FaultModel::BitFlip(hits).draw(&space, &key(trial)).expect("faults");
        for (name, address, _) in listed(&faults) {
            elements[(address / 8) as usize + if name == "b" { 30 } else { 0 }] += 1;
            positions[(address % 8) as usize - 1] += 1;
        }
    }
    assert_uniform(&elements, FALSE_ALARM);
    assert_uniform(&positions, FALSE_ALARM);
}

#[test]
fn random_words_are_uniform() {
    let space = space_of(&[("w", Format::unsigned(5), 40_000)], BitSelection::All);
    let model = FaultModel::SetValue { value: Value::Random, at: Elements::Rate(Rate::ONE) };
    let faults = model.draw(&space, &key(0)).expect("faults");
    let mut words = vec![0_usize; 40_000];
    faults.tensors()[0]
        .addresses(Effect::Set1)
        .iter()
        .for_each(|at| words[(at / 5) as usize] |= 1 << (at % 5));
    let mut counts = vec![0_u64; 32];
    words.into_iter().for_each(|word| counts[word] += 1);
    assert_uniform(&counts, FALSE_ALARM);
}

#[test]
fn bursts_start_anywhere_with_the_lengths_asked_for() {
    let space = space_of(&[("w", Format::U8, 3)], BitSelection::All);
    // Two bits: 7 windows a word. Three bits: 6.
    let (mut twos, mut threes) = (vec![0_u64; 21], vec![0_u64; 18]);
    for trial in 0..8000 {
        let lengths = vec![(2, 3.0), (3, 1.0)];
        let burst = Burst { lengths, ..Burst::of_length(2, Amount::Count(1)) };
        let hit = addresses(&FaultModel::Burst(burst).draw(&space, &key(trial)).expect("faults"));
        let (word, start) = ((hit[0] / 8) as usize, (hit[0] % 8) as usize);
        match hit.len() {
            2 => twos[word * 7 + start] += 1,
            3 => threes[word * 6 + start] += 1,
            length => panic!("a burst of {length}"),
        }
    }
    assert_uniform(&twos, FALSE_ALARM);
    assert_uniform(&threes, FALSE_ALARM);
    assert_binomial(twos.iter().sum(), 8000, 0.75, FALSE_ALARM);
}

#[test]
fn bursts_start_at_their_rate() {
    let space = space_of(&[("w", Format::U8, 100_000)], BitSelection::All);
    let amount = Amount::Rate(rate(1e-3));
    let (mut bursts, mut trials) = (0, 0);
    for trial in 0..20 {
        let each = rate(1e-2);
        let one = Burst { each, ..Burst::of_length(8, amount) };
        bursts += addresses(&FaultModel::Burst(one).draw(&space, &key(trial)).expect("faults")).len() as u64;
        trials += 100_000;
    }
    // A window of 8 in a word of 8 is the word: each of its bits is hit with 1e-3 times 1e-2.
    assert_binomial(bursts, trials * 8, 1e-5, FALSE_ALARM);
    let burst = FaultModel::Burst(Burst::of_length(8, amount));
    let words =
        (0..20).map(|trial| addresses(&burst.draw(&space, &key(trial)).expect("faults")).len() as u64 / 8);
    assert_binomial(words.sum(), trials, 1e-3, FALSE_ALARM);
}

/// P(k hits | at least one) for n bits at p, by multiplying out.
fn zero_truncated(n: u64, p: f64) -> Vec<f64> {
    let mut pmf = vec![(1.0 - p).powi(n as i32)];
    for k in 1..=n {
        pmf.push(pmf[k as usize - 1] * (n - k + 1) as f64 / k as f64 * p / (1.0 - p));
    }
    let any = -(n as f64 * (-p).ln_1p()).exp_m1();
    pmf[0] = 0.0;
    pmf.iter().map(|p| p / any).collect()
}

#[test]
fn conditioned_draws_have_the_zero_truncated_distribution() {
    const TRIALS: u64 = 30_000;
    for (n, p) in [(5, 0.05), (5, 0.3), (3, 1e-9), (8, 0.1), (2, 0.9), (40, 0.01)] {
        let model = FaultModel::BitFlip(Hits::Rate(rate(p)));
        let mut counts = vec![0_u64; n as usize + 1];
        let mut sites = vec![0_u64; n as usize];
        for trial in 0..TRIALS {
            let hit = addresses(&model.draw_at_least_one(&bits(n), &key(trial)).expect("faults").faults);
            counts[hit.len()] += 1;
            hit.iter().for_each(|&site| sites[site as usize] += 1);
        }
        for (&count, p) in counts.iter().zip(zero_truncated(n, p)) {
            assert_binomial(count, TRIALS, p.min(1.0), FALSE_ALARM / 40.0);
        }
        // Every site is hit with p / P(any).
        let any = -(n as f64 * (-p).ln_1p()).exp_m1();
        sites
            .iter()
            .for_each(|&count| assert_binomial(count, TRIALS, (p / any).min(1.0), FALSE_ALARM / 40.0));
    }
}

#[test]
fn pairs_of_sites_are_conditioned_alike() {
    // Three bits at 0.2: each of the seven patterns that are not empty, against its probability.
    let model = FaultModel::BitFlip(Hits::Rate(rate(0.2)));
    let mut counts = [0_u64; 8];
    for trial in 0..40_000 {
        let hit = addresses(&model.draw_at_least_one(&bits(3), &key(trial)).expect("faults").faults);
        counts[hit.iter().fold(0, |mask, site| mask | 1 << site)] += 1;
    }
    for (mask, count) in counts.into_iter().enumerate() {
        let ones = mask.count_ones() as i32;
        let p = if mask == 0 { 0.0 } else { 0.2_f64.powi(ones) * 0.8_f64.powi(3 - ones) / (1.0 - 0.512) };
        assert_binomial(count, 40_000, p, FALSE_ALARM / 8.0);
    }
}

#[test]
fn models_of_several_rates_are_conditioned_together() {
    // Bit 0 at 0.1, bit 1 at 0.02, and a second model that sticks them at 0.05.
    let space = space_of(&[("w", Format::unsigned(2), 1)], BitSelection::All);
    let parts = vec![
        FaultModel::BitFlip(Hits::Positions(vec![rate(0.1), rate(0.02)])),
        FaultModel::StuckAt { value: false, at: Hits::Rate(rate(0.05)) },
    ];
    let clean = 0.9 * 0.98 * 0.95 * 0.95;
    let (mut first, mut second, mut stuck) = (0, 0, 0);
    for trial in 0..40_000 {
        let drawn =
            FaultModel::Mixture(parts.clone()).draw_at_least_one(&space, &key(trial)).expect("faults");
        assert!((drawn.weight - (1.0 - clean)).abs() < 1e-15);
        let faults = listed(&drawn.faults);
        assert!(!faults.is_empty());
        let has = |bit, effect| u64::from(faults.contains(&("w".to_owned(), bit, effect)));
        first += has(0, Effect::Flip);
        second += has(1, Effect::Flip);
        stuck += has(0, Effect::Set0);
    }
    let given = |p: f64| p / (1.0 - clean);
    assert_binomial(first, 40_000, given(0.1 * 0.95), FALSE_ALARM);
    assert_binomial(second, 40_000, given(0.02 * 0.95), FALSE_ALARM);
    assert_binomial(stuck, 40_000, given(0.05), FALSE_ALARM);
}

#[test]
fn directions_are_conditioned_with_their_rates() {
    let model = FaultModel::Asymmetric { to_one: rate(0.001), to_zero: rate(0.004) };
    let (mut both, mut hits) = (0, 0);
    for trial in 0..20_000 {
        let faults = listed(&model.draw_at_least_one(&bits(20), &key(trial)).expect("faults").faults);
        hits += faults.len() as u64;
        both += faults.iter().filter(|(_, _, effect)| *effect == Effect::Flip).count() as u64;
        assert!(faults.iter().all(|(_, _, effect)| matches!(effect, Effect::Flip | Effect::Fall)));
    }
    assert_binomial(both, hits, 0.25, FALSE_ALARM);
}

#[test]
fn ultra_low_rates_are_exact_and_unbiased() {
    // SPEC 6: 6 M x 32 bits. X is the number of flips of exponent bits; its mean is known.
    let space = space_of(&[("a", Format::F32, 2_000_000), ("b", Format::F32, 4_000_000)], BitSelection::All);
    for (p, want) in [(1e-10, 0.019_016_854_008_305_2), (1e-15, 1.919_999_815_680_013e-7)] {
        let model = FaultModel::BitFlip(Hits::Rate(rate(p)));
        let (mut flips, mut in_a, mut exponent) = (0, 0, 0);
        const TRIALS: u64 = 4000;
        for trial in 0..TRIALS {
            let drawn = model.draw_at_least_one(&space, &key(trial)).expect("faults");
            let weight = drawn.weight;
            assert!((weight / want - 1.0).abs() < 1e-9, "{weight}");
            for (name, address, _) in listed(&drawn.faults) {
                flips += 1;
                in_a += u64::from(name == "a");
                exponent += u64::from((23..31).contains(&(address % 32)));
            }
        }
        assert_binomial(in_a, flips, 1.0 / 3.0, FALSE_ALARM);
        assert_binomial(exponent, flips, 0.25, FALSE_ALARM);
        // More than one flip has probability n p / 2 of it.
        assert_binomial(flips - TRIALS, TRIALS, 192e6 * p / 2.0, FALSE_ALARM);
        let estimate = want * exponent as f64 / TRIALS as f64;
        let mean = 48e6 * p;
        assert!(
            (estimate / mean - 1.0).abs() < 0.15,
            "{estimate} for {mean}: 4.9 standard deviations are 0.135"
        );
    }
}

#[test]
fn certain_and_impossible_conditions() {
    let space = bits(10);
    let at = |hits| FaultModel::BitFlip(hits).draw_at_least_one(&space, &key(0));
    for hits in [Hits::Rate(Rate::ZERO), Hits::Count(0), Hits::Sites(Vec::new()), Hits::Regions(Vec::new())] {
        assert_eq!(at(hits), Err(DrawError::NeverHits));
    }
    for (hits, flips) in [(Hits::Rate(Rate::ONE), 10), (Hits::Count(4), 4)] {
        let drawn = at(hits.clone()).expect("faults");
        assert_eq!((drawn.weight, drawn.faults.faults()), (1.0, flips));
        assert_eq!(drawn.faults, FaultModel::BitFlip(hits).draw(&space, &key(0)).expect("faults"));
    }
    let mixture = |parts| FaultModel::Mixture(parts).draw_at_least_one(&space, &key(0));
    assert_eq!(mixture(vec![]), Err(DrawError::NeverHits));
    let rare = FaultModel::BitFlip(Hits::Rate(rate(1e-12)));
    let sure = FaultModel::StuckAt { value: true, at: Hits::Count(1) };
    assert_eq!(mixture(vec![rare, sure]).expect("faults").weight, 1.0);
}

#[test]
fn above_one_expected_hit_a_conditioned_draw_is_the_ordinary_one() {
    for (name, model) in models() {
        let ordinary = model.draw(&common::space(), &key(0)).expect("faults");
        if let Ok(drawn) = model.draw_at_least_one(&common::space(), &key(0)) {
            assert!(drawn.weight > 0.5, "{name}");
            assert_eq!(drawn.faults, ordinary, "{name}");
        }
    }
}

#[test]
fn conditioned_draws_are_pinned() {
    let space = space_of(&[("a", Format::F32, 2_000_000), ("b", Format::F32, 4_000_000)], BitSelection::All);
    let model = FaultModel::BitFlip(Hits::Rate(rate(1e-10)));
    let first = |trial| listed(&model.draw_at_least_one(&space, &key(trial)).expect("faults").faults)[0].1;
    assert_eq!([0, 1, 2].map(first), [24_434_265, 19_619_804, 25_693_398]);
}
