//! Every fault model against what it should draw, exactly.

mod common;

use std::collections::BTreeSet;

use bitquake_bits::{BitSelection, Format};
use bitquake_fault::*;
use bitquake_sample::Rate;
use common::{Store, TENSORS, flipped, key, listed, models, rate, space, space_of};

fn draw(model: &FaultModel, trial: u64) -> Faults {
    model.draw(&space(), &key(trial)).expect("faults")
}

fn resolve(faults: &Faults, store: &Store) -> Resolved {
    faults.resolve(store).expect("resolved")
}

/// The bits hit by a bit-flip model of the same key.
fn sites(hits: Hits, trial: u64) -> BTreeSet<(String, u64)> {
    flipped(&hits.flips(&space(), &key(trial)).expect("flips")).into_iter().collect()
}

#[test]
fn the_table_has_every_model_and_every_model_a_row() {
    let drawn: BTreeSet<&str> = models().iter().map(|(_, model)| model.row().name).collect();
    let table: BTreeSet<&str> = MODELS.iter().map(|row| row.name).collect();
    assert_eq!(drawn, table);
    assert_eq!(table.len(), MODELS.len(), "a name is in the table twice");
    for row in MODELS {
        assert!(!row.about.is_empty() && !row.keys.is_empty(), "{}", row.name);
        let keys: BTreeSet<&str> = row.keys.iter().map(|key| key.name).collect();
        assert_eq!(keys.len(), row.keys.len(), "{} takes a key twice", row.name);
    }
}

#[test]
fn only_maps_cannot_be_conditioned() {
    for (name, model) in models() {
        let conditioned = model.draw_at_least_one(&space(), &key(0));
        assert_eq!(conditioned.is_ok(), model.row().conditionable, "{name}");
    }
}

#[test]
fn every_pattern_undoes_itself_and_counts_add_up() {
    let before = Store::random(1);
    for (name, model) in models() {
        let faults = draw(&model, 1);
        let resolved = resolve(&faults, &before);
        assert!(resolved.pattern.flips() > 0, "{name}");
        assert_eq!(resolved.faults, resolved.pattern.flips() + resolved.dormant, "{name}");
        assert!(resolved.faults <= faults.faults(), "{name}");
        let mut store = before.clone();
        resolved.pattern.apply(&mut store).expect("fits");
        for (tensor, address, effect) in listed(&faults) {
            let stored = before.bit(&tensor, address);
            if let Some(read) = effect.read(stored) {
                assert_eq!(store.bit(&tensor, address), read, "{name}");
            }
        }
        resolved.pattern.apply(&mut store).expect("fits");
        assert_eq!(store, before, "{name}");
    }
}

#[test]
fn threads_do_not_change_a_draw() {
    for (name, model) in models() {
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| draw(&model, 2))
        };
        assert_eq!(on(1), on(3), "{name}");
    }
}

#[test]
fn trials_differ() {
    for (name, model) in models() {
        let fixed = matches!(name, "sites");
        assert_eq!(draw(&model, 3) == draw(&model, 4), fixed, "{name}");
    }
}

/// FNV-1a over tensors, effects and addresses.
fn digest(faults: &Faults) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    for (tensor, address, effect) in listed(faults) {
        tensor.bytes().chain([effect as u8]).chain(address.to_le_bytes()).for_each(&mut add);
    }
    hash
}

#[test]
fn draws_are_pinned() {
    // A change here is a new stream version: raise STREAM_VERSION and announce it in CHANGELOG.md.
    let got: Vec<(&str, u64, u64)> = models()
        .iter()
        .map(|(name, model)| (*name, draw(model, 0)))
        .map(|(name, faults)| (name, faults.faults(), digest(&faults)))
        .collect();
    let first = got.iter().zip(PINNED).find(|(got, want)| *got != *want);
    assert!(first.is_none() && got.len() == PINNED.len(), "{first:#x?} in {got:#x?}");
}

const PINNED: &[(&str, u64, u64)] = &[
    ("rate", 410, 0xf875_3b59_f757_44f1),
    ("count", 20, 0xabf4_0be7_d43e_6396),
    ("sites", 6, 0x6775_6ce7_8d82_ab97),
    ("regions", 196, 0x450b_814e_2dfd_362e),
    ("asymmetric", 804, 0xe120_6da6_6c33_c35a),
    ("stuck at 0", 410, 0xaac5_beed_af8e_4d39),
    ("stuck at 1", 90, 0x154f_cc86_43df_880a),
    ("set value", 88, 0x3804_97bd_3a84_4775),
    ("random value", 552, 0xaabb_c65c_27cc_fab8),
    ("burst rate", 258, 0x6dc6_1ce0_e0ef_c96a),
    ("burst count", 26, 0x8ebe_f175_674b_aeed),
    ("memory burst", 73, 0x0455_2526_62c2_1aca),
    ("map", 1682, 0x81a0_32b8_fa25_c259),
    ("map anywhere", 1728, 0x1f5c_445f_9f44_05ab),
    ("row", 121, 0x0889_12bc_1df6_eab8),
    ("column", 417, 0xcf23_ee3f_d93b_fc2b),
    ("bank", 1004, 0xba13_144f_5d4b_e71d),
    ("device", 2023, 0x6983_33de_625e_365e),
    ("channel", 200, 0x3883_d2a6_56db_acb2),
    ("block", 1015, 0x9793_b806_d85c_8f53),
    ("wake", 1040, 0x8c62_b62d_f570_4aad),
    ("pattern", 519, 0xdab8_a3ed_e83e_0de2),
    ("saturate", 625, 0x8c9d_d458_176a_c39e),
    ("mixture", 836, 0xd54a_34fb_97be_7039),
];

#[test]
fn asymmetric_flips_are_two_draws_seen_through_the_stored_bits() {
    let store = Store::random(2);
    for (trial, (to_one, to_zero)) in
        [(0.01, 0.2), (0.2, 0.01), (0.05, 0.05), (0.0, 0.3), (0.3, 0.0), (1.0, 0.1), (0.0, 0.0), (1.0, 1.0)]
            .into_iter()
            .enumerate()
    {
        let trial = trial as u64;
        let (to_one, to_zero) = (rate(to_one), rate(to_zero));
        let resolved = resolve(&draw(&FaultModel::Asymmetric { to_one, to_zero }, trial), &store);
        let holds = |value: bool| {
            move |(tensor, address): &&(String, u64)| Store::random(2).bit(tensor, *address) == value
        };
        let zeros = sites(Hits::Rate(to_one), trial);
        let ones = sites(Hits::Rate(to_zero), trial);
        let want: BTreeSet<(String, u64)> =
            zeros.iter().filter(holds(false)).chain(ones.iter().filter(holds(true))).cloned().collect();
        assert_eq!(flipped(&resolved.pattern).into_iter().collect::<BTreeSet<_>>(), want);
        assert_eq!(resolved.dormant, 0);
    }
}

#[test]
fn stuck_bits_are_the_bits_that_would_flip() {
    let store = Store::random(3);
    for (value, hits) in
        [(false, Hits::Rate(rate(0.1))), (true, Hits::Count(1000)), (true, Hits::Rate(Rate::ONE))]
    {
        let hit = sites(hits.clone(), 1);
        let resolved = resolve(&draw(&FaultModel::StuckAt { value, at: hits }, 1), &store);
        let want: Vec<_> =
            hit.iter().filter(|(tensor, address)| store.bit(tensor, *address) != value).cloned().collect();
        assert_eq!(flipped(&resolved.pattern), want);
        assert_eq!((resolved.faults, resolved.dormant), (hit.len() as u64, (hit.len() - want.len()) as u64));
    }
}

#[test]
fn rates_by_position_are_exact_at_0_and_1_and_nested() {
    let space = space_of(&[("b", Format::U8, 400)], BitSelection::All);
    let by_position = |rates: [f64; 8]| {
        let rates = rates.map(rate).to_vec();
        flipped(&Hits::Positions(rates).flips(&space, &key(0)).expect("flips"))
    };
    let counts = |flips: &[(String, u64)]| {
        let mut counts = [0; 8];
        flips.iter().for_each(|(_, address)| counts[(address % 8) as usize] += 1);
        counts
    };
    let less = by_position([0.0, 1.0, 0.1, 0.0, 0.5, 0.0, 0.2, 1.0]);
    let more = by_position([0.0, 1.0, 0.3, 0.0, 0.5, 0.1, 0.9, 1.0]);
    let (few, many) = (counts(&less), counts(&more));
    assert_eq!((few[0], few[1], few[3], few[5], few[7]), (0, 400, 0, 0, 400));
    assert_eq!(few[4], many[4], "a position's rate does not move another's");
    assert!(less.iter().all(|flip| more.contains(flip)) && many[2] > few[2]);
    let error = Hits::Positions(vec![Rate::ONE; 7]).flips(&space, &key(0)).unwrap_err();
    assert!(matches!(error, DrawError::PositionRates { rates: 7, .. }));
}

#[test]
fn five_percent_of_the_elements_is_never_a_share_of_the_first_axis() {
    // SPEC 1.1, T5: 86 of 1,728 elements, one random bit each; never silently none.
    let flips = |elements, share| {
        let space = space_of(&[("conv", Format::F32, elements)], BitSelection::All);
        flipped(&Hits::OneBit(Elements::Share(rate(share))).flips(&space, &key(0)).expect("flips"))
    };
    let words = |flips: &[(String, u64)]| {
        flips.iter().map(|(_, address)| address / 32).collect::<BTreeSet<_>>().len()
    };
    for (elements, share, want) in [
        (1728, 0.05, 86),
        (10, 0.05, 1),
        (10, 0.25, 2),
        (30, 0.05, 2),
        (1, 1e-9, 1),
        (7, 0.0, 0),
        (7, 1.0, 7),
    ] {
        let flips = flips(elements, share);
        assert_eq!((flips.len(), words(&flips)), (want, want), "{share} of {elements}");
    }
    let (some, more) = (flips(1728, 0.05), flips(1728, 0.2));
    assert!(some.iter().all(|flip| more.contains(flip)), "shares are nested, bits included");
    assert!(
        some.iter().map(|(_, address)| address % 32).collect::<BTreeSet<_>>().len() > 15,
        "bits are random"
    );
}

#[test]
fn set_words_hold_their_value() {
    let before = Store::random(4);
    let word = |format: Format, value| format.encode(value).expect("exact");
    let model = FaultModel::SetValue { value: Value::Number(3.0), at: Elements::Rate(Rate::ONE) };
    let resolved = resolve(&draw(&model, 0), &before);
    let mut store = before.clone();
    resolved.pattern.apply(&mut store).expect("fits");
    for (name, format, elements) in TENSORS {
        let words = bitquake_bits::WordStore::words(&store, name).expect("a tensor");
        assert!((0..elements).all(|index| words.get(index) == Some(word(format, 3.0))), "{name}");
    }
    assert_eq!(resolved.faults, space().bits(), "every bit is set");
    let at = Elements::Sites(vec!["b:7".parse().expect("a site"), "b:7".parse().expect("a site")]);
    let one = FaultModel::SetValue { value: Value::Word(0x0f), at };
    let faults = draw(&one, 0);
    assert_eq!(faults.tensors()[0].addresses(Effect::Set1), [56, 57, 58, 59]);
    assert_eq!(faults.tensors()[0].addresses(Effect::Set0), [60, 61, 62, 63]);
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let draw = |value, at| FaultModel::SetValue { value, at }.draw(&space(), &key(0)).unwrap_err();
    let all = Elements::Rate(Rate::ONE);
    assert!(matches!(draw(Value::Word(0x100), all.clone()), DrawError::Word { word: 0x100, .. }));
    assert!(matches!(draw(Value::Number(0.1), all), DrawError::Number { .. }));
    let at = |text: &str| Elements::Sites(vec![text.parse().expect("a site")]);
    assert!(matches!(draw(Value::Random, at("d:0")), DrawError::NoTensor { .. }));
    assert!(matches!(draw(Value::Random, at("b:301")), DrawError::NoElement { elements: 301, .. }));
    assert!(matches!(
        draw(Value::Random, Elements::Count(1802)),
        DrawError::TooMany { what: "elements", .. }
    ));
}

#[test]
fn random_words_hang_on_the_element_alone() {
    let values =
        |count| listed(&draw(&FaultModel::SetValue { value: Value::Random, at: Elements::Count(count) }, 0));
    let (few, many) = (values(10), values(500));
    assert!(few.iter().all(|fault| many.contains(fault)));
    let everything = values(1801);
    assert_eq!(everything.len() as u64, space().bits());
}

#[test]
fn regions_have_their_own_rates() {
    let region = |sites: &str, p| FaultyRegion { sites: sites.parse().expect("sites"), rate: rate(p) };
    let draw = |regions: Vec<FaultyRegion>| sites(Hits::Regions(regions), 0);
    let certain = draw(vec![region("b@lbi:0..3", 1.0), region("b:0:*", 0.0), region("b@lbi:2..4", 1.0)]);
    assert_eq!(certain, [7, 6, 5, 4].map(|bit| ("b".to_owned(), bit)).into());
    let (less, more) =
        (draw(vec![region("a:*:31", 0.1)]), draw(vec![region("a:*:31", 0.4), region("b:*:*", 0.5)]));
    assert!(less.len() > 50 && less.is_subset(&more));
    assert!(less.iter().all(|(_, address)| address % 32 == 31));
}

/// All windows by looking at every address.
fn windows(space: &FaultSpace, length: u64, neighbours: Neighbours) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for tensor in space.tensors() {
        let width = u64::from(tensor.format.width());
        let bits = tensor.elements * width;
        for start in 0..(bits + 1).saturating_sub(length) {
            let inside = (start..start + length).all(|address| tensor.mask >> (address % width) & 1 == 1);
            let one_word = start / width == (start + length - 1) / width;
            if inside && (neighbours == Neighbours::Memory || one_word) {
                all.push((tensor.name.clone(), start));
            }
        }
    }
    all
}

#[test]
fn bursts_fill_exactly_the_windows_there_are() {
    let selections = [BitSelection::All, BitSelection::Range { low: 2, high: 5 }, BitSelection::Msb];
    let tensors = [("a", Format::U8, 5), ("b", Format::F16, 3), ("c", Format::unsigned(7), 1)];
    for bits in selections {
        let space = space_of(&tensors, bits);
        for neighbours in [Neighbours::Word, Neighbours::Memory] {
            for length in [1, 2, 3, 4, 7, 8, 9, 16, 17, 40, 48, 49] {
                let windows = windows(&space, length, neighbours);
                let burst = |amount| {
                    let burst = Burst { neighbours, ..Burst::of_length(length, amount) };
                    FaultModel::Burst(burst).draw(&space, &key(length))
                };
                let all = Amount::Count(windows.len() as u64);
                if windows.is_empty() {
                    assert_eq!(burst(all), Err(DrawError::NoWindow { length }));
                    continue;
                }
                let covered: BTreeSet<(String, u64)> = windows
                    .iter()
                    .flat_map(|(name, start)| (*start..start + length).map(|address| (name.clone(), address)))
                    .collect();
                let hit = |amount| -> BTreeSet<(String, u64)> {
                    let faults = burst(amount).expect("faults");
                    listed(&faults).into_iter().map(|(name, address, _)| (name, address)).collect()
                };
                assert_eq!(hit(all), covered, "{bits} {neighbours:?} {length}");
                assert_eq!(hit(Amount::Rate(Rate::ONE)), covered, "{bits} {neighbours:?} {length}");
                let one: Vec<(String, u64)> = hit(Amount::Count(1)).into_iter().collect();
                assert!(one.len() as u64 == length && windows.contains(&one[0]));
                let more = Amount::Count(windows.len() as u64 + 1);
                assert!(matches!(burst(more), Err(DrawError::TooMany { what: "bursts", .. })));
            }
        }
    }
}

#[test]
fn bursts_are_nested() {
    let burst = |amount, each| {
        let burst = Burst { amount, lengths: vec![(2, 1.0), (5, 0.5)], each, ..Burst::of_length(2, amount) };
        listed(&draw(&FaultModel::Burst(burst), 5))
    };
    for (less, more) in
        [(Amount::Count(5), Amount::Count(40)), (Amount::Rate(rate(1e-3)), Amount::Rate(rate(1e-2)))]
    {
        for each in [Rate::ONE, rate(0.6)] {
            let (less, more) = (burst(less, each), burst(more, each));
            assert!(!less.is_empty() && less.len() < more.len());
            assert!(less.iter().all(|fault| more.contains(fault)));
        }
    }
    let (less, more) = (burst(Amount::Count(40), rate(0.3)), burst(Amount::Count(40), rate(0.6)));
    assert!(
        less.len() < more.len() && less.iter().all(|fault| more.contains(fault)),
        "nested in the share of bits"
    );
}

#[test]
fn lengths_must_be_a_distribution() {
    let lengths = [
        vec![],
        vec![(0, 1.0)],
        vec![(2, -1.0)],
        vec![(2, f64::NAN)],
        vec![(2, 0.0)],
        vec![(2, 1.0), (2, 1.0)],
        vec![(2, f64::MAX), (3, f64::MAX)],
    ];
    for lengths in lengths {
        let burst = Burst { lengths: lengths.clone(), ..Burst::of_length(2, Amount::Count(1)) };
        let error = FaultModel::Burst(burst).draw(&space(), &key(0)).unwrap_err();
        assert!(matches!(error, DrawError::Lengths { .. }), "{lengths:?}");
    }
}

#[test]
fn parts_of_a_mixture_do_not_disturb_each_other() {
    let flips = FaultModel::BitFlip(Hits::Rate(rate(0.01)));
    let stuck = FaultModel::StuckAt { value: true, at: Hits::Rate(rate(0.02)) };
    let never = FaultModel::BitFlip(Hits::Count(0));
    let mix = |parts: &[&FaultModel]| {
        draw(&FaultModel::Mixture(parts.iter().map(|&part| part.clone()).collect()), 0)
    };
    assert_eq!(mix(&[&flips]), draw(&flips, 0), "the first part is the model alone");
    let second = mix(&[&never, &stuck]);
    assert_ne!(second, draw(&stuck, 0), "another place, another stream");
    assert_eq!(mix(&[&flips, &stuck]), mix(&[&flips]).compose(second).expect("same tensors"));
    let third = mix(&[&never, &never, &flips]);
    let all = mix(&[&flips, &stuck, &flips]);
    assert_eq!(all, mix(&[&flips, &stuck]).compose(third).expect("same tensors"));
    assert_eq!(mix(&[]), Faults::empty());
    let nested = FaultModel::Mixture(vec![flips.clone(), FaultModel::Mixture(vec![flips])]);
    assert_eq!(nested.draw(&space(), &key(0)), Err(DrawError::NestedMixture { part: 1 }));
}

#[test]
fn faults_for_other_words_are_refused() {
    let faults = draw(&FaultModel::StuckAt { value: true, at: Hits::Count(9000) }, 0);
    let mut other = Store::random(0);
    other.0.remove("c");
    assert!(matches!(faults.resolve(&other), Err(PatternError::NoTensor { tensor }) if tensor == "c"));
    let mut other = Store::random(0);
    other.0.insert("a", (Format::I32, vec![0; 4000]));
    assert!(matches!(faults.resolve(&other), Err(PatternError::OtherFormat { .. })));
    let mut other = Store::random(0);
    other.0.insert("b", (Format::U8, vec![0; 300]));
    assert!(matches!(faults.resolve(&other), Err(PatternError::OtherSize { wanted: 301, found: 300, .. })));
    assert!(matches!(faults.clone().into_flips(), Err(NeedsBits { effect: Effect::Set1, .. })));
    let beyond = TensorFaults::new("w", Format::U8, 1, [(Effect::Set0, vec![8])]);
    assert!(matches!(Faults::new(vec![beyond]), Err(PatternError::OutOfBounds { .. })));
    let unsorted = TensorFaults::new("w", Format::U8, 1, [(Effect::Set0, vec![3, 2])]);
    assert!(matches!(Faults::new(vec![unsorted.clone()]), Err(PatternError::NotRising { .. })));
    assert!(matches!(Faults::new(vec![unsorted.clone(), unsorted]), Err(PatternError::ListedTwice { .. })));
}

#[test]
fn a_saved_pattern_is_drawn_as_it_is_and_refused_elsewhere() {
    let pattern = Hits::Count(40).flips(&space(), &key(0)).expect("flips");
    let again = Hits::Pattern(pattern.clone());
    assert_eq!(again.flips(&space(), &key(9)), Ok(pattern.clone()), "whatever the key");
    let stuck = FaultModel::StuckAt { value: true, at: again.clone() };
    assert_eq!(draw(&stuck, 0).faults(), pattern.flips());

    let others: Vec<(&str, Format, u64)> =
        TENSORS.iter().map(|&(name, _, len)| (name, Format::I8, len)).collect();
    let error = again.flips(&space_of(&others, BitSelection::All), &key(0)).expect_err("other words");
    assert!(matches!(&error, DrawError::Pattern(PatternError::OtherFormat { .. })), "{error}");
    let others: Vec<(&str, Format, u64)> =
        TENSORS.iter().map(|&(name, format, len)| (name, format, len + 1)).collect();
    let error = again.flips(&space_of(&others, BitSelection::All), &key(0)).expect_err("more words");
    assert!(matches!(&error, DrawError::Pattern(PatternError::OtherSize { .. })), "{error}");
    let error = again.flips(&space_of(&TENSORS, BitSelection::Bit(0)), &key(0)).expect_err("other bits");
    assert!(matches!(&error, DrawError::NoBit { .. }), "{error}");
    let error =
        again.flips(&space_of(&[("z", Format::F32, 9)], BitSelection::All), &key(0)).expect_err("no tensor");
    assert!(matches!(&error, DrawError::NoTensor { .. }), "{error}");
}
