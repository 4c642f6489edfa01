//! Shapes, spatial patterns, saturation and samplers. Seeds are fixed; with other seeds, each statistical assertion would fail by
//! chance with a probability of at most 1e-6.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitquake_bits::{BitSelection, Format, WordStore, Words, WordsMut};
use bitquake_fault::*;
use bitquake_sample::{PartKey, Rate};
use bitquake_testing::{assert_binomial, assert_uniform};
use common::{FALSE_ALARM, Store, key, listed, models, pattern, rate, space, space_of};

/// One tensor of bytes.
fn bytes(dims: &[u64]) -> FaultSpace {
    let space = space_of(&[("w", Format::U8, dims.iter().product())], BitSelection::All);
    space.with_dims(|_| Some(dims.to_vec())).expect("dimensions")
}

fn shape(shape: Shape, at: Elements, effect: WordEffect) -> FaultModel {
    FaultModel::Shape(ShapeFaults { shape, at, effect })
}

fn all_bits() -> WordEffect {
    WordEffect::Bits { effect: Effect::Flip, hit: BitsHit::All }
}

fn at(element: u64) -> Elements {
    Elements::Sites(vec![ElementSite { tensor: "w".into(), index: element }])
}

fn draw(model: &FaultModel, space: &FaultSpace, trial: u64) -> Faults {
    model.draw(space, &key(trial)).expect("faults")
}

/// The elements hit in a space of one tensor of bytes.
fn elements(faults: &Faults) -> BTreeSet<u64> {
    listed(faults).into_iter().map(|(_, address, _)| address / 8).collect()
}

fn spatial(classes: &str) -> Shape {
    let text = format!(
        r#"{{"kind": "bitquake spatial pattern", "version": 1, "name": "", "source": "", "classes": [{classes}]}}"#
    );
    Shape::Pattern(Arc::new(SpatialPattern::from_json(&text).expect("a pattern")))
}

#[test]
fn dimensions_are_those_of_the_elements() {
    let space = space();
    assert_eq!(space.tensors()[1].dims, [7, 43]);
    assert_eq!(space_of(&common::TENSORS, BitSelection::All).tensors()[1].dims, [301]);
    for dims in [vec![7, 44], vec![], vec![u64::MAX, 3]] {
        let error = space.clone().with_dims(|name| (name == "b").then(|| dims.clone())).expect_err("wrong");
        assert_eq!(error, SpaceError::Dims { tensor: "b".into(), elements: 301, dims });
    }
}

#[test]
fn shapes_hit_weights_by_output_channel() {
    // [out, in, kh, kw]: channel 1 of 3, all its inputs and taps.
    let space = bytes(&[3, 2, 2, 2]);
    let hit =
        |kind| elements(&draw(&shape(kind, at(13), all_bits()), &space, 0)).into_iter().collect::<Vec<_>>();
    assert_eq!(hit(Shape::Channel), [8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(hit(Shape::Row), [12, 13]);
    assert_eq!(hit(Shape::BulletWake { channels: None }), [5, 13, 21]);
}

#[test]
fn offsets_spans_and_unions() {
    let part = |part: &str| spatial(&format!(r#"{{"name": "", "weight": 1, "parts": [{part}]}}"#));
    let dims: &[u64] = &[3, 3, 4];
    let rows: [(&str, &[u64], u64, &[u64]); 9] = [
        (r#"{"offsets": [[0, 0, 0], [0, 1, -1], [1, 0, 0], [-1, 0, 0]]}"#, dims, 5, &[5, 8, 17]),
        (r#"{"offsets": [[0, 0, 4]]}"#, dims, 5, &[]),
        (r#"{"spans": [{"axis": "x", "count": 2}]}"#, dims, 6, &[6, 7]),
        (r#"{"spans": [{"axis": "x", "count": 3}]}"#, dims, 6, &[6, 7]),
        (r#"{"spans": [{"axis": "x", "count": 2, "step": 3}]}"#, dims, 4, &[4, 7]),
        (
            r#"{"spans": [{"axis": "c", "count": "all"}, {"axis": "x", "count": 2}]}"#,
            dims,
            0,
            &[0, 1, 12, 13, 24, 25],
        ),
        (
            r#"{"spans": [{"axis": "c", "count": "all"}]}, {"spans": [{"axis": "x", "count": "all"}]}"#,
            dims,
            17,
            &[5, 16, 17, 18, 19, 29],
        ),
        (r#"{"spans": [{"axis": "y", "count": 9, "choice": "random"}]}"#, dims, 17, &[13, 17, 21]),
        (r#"{"spans": [{"axis": "y", "count": "all"}]}"#, &[3, 4], 6, &[2, 6, 10]),
    ];
    for (text, dims, anchor, want) in rows {
        let hit = elements(&draw(&shape(part(text), at(anchor), all_bits()), &bytes(dims), 0));
        assert_eq!(hit.into_iter().collect::<Vec<_>>(), want, "{text}");
    }
}

#[test]
fn classes_and_counts_follow_their_weights() {
    let kind = spatial(
        r#"{"name": "one", "weight": 3, "parts": [{"offsets": [[0, 0, 0]]}]},
           {"name": "some", "weight": 1, "parts": [{"spans": [{"axis": "x", "count": [[2, 1], [3, 4]], "choice": "random"}]}]}"#,
    );
    let (space, model) = (bytes(&[1, 1, 7]), shape(kind, at(2), all_bits()));
    let (mut sizes, mut others) = ([0_u64; 4], [0_u64; 7]);
    const TRIALS: u64 = 20_000;
    for trial in 0..TRIALS {
        let hit = elements(&draw(&model, &space, trial));
        assert!(hit.contains(&2));
        sizes[hit.len()] += 1;
        hit.iter().for_each(|&element| others[element as usize] += 1);
    }
    assert_binomial(sizes[1], TRIALS, 0.75, FALSE_ALARM);
    assert_binomial(sizes[2], TRIALS, 0.05, FALSE_ALARM);
    assert_binomial(sizes[3], TRIALS, 0.2, FALSE_ALARM);
    // Each of the six others has one of the 1 or 2 further places.
    let p = (0.05 + 2.0 * 0.2) / 6.0;
    others
        .iter()
        .enumerate()
        .filter(|(element, _)| *element != 2)
        .for_each(|(_, &count)| assert_binomial(count, TRIALS, p, FALSE_ALARM));
}

#[test]
fn values_of_a_class_follow_their_weights() {
    let kind = spatial(
        r#"{"name": "", "weight": 1, "parts": [{"spans": [{"axis": "x", "count": "all"}]}],
            "values": [{"weight": 1, "effect": "flip", "bits_hit": "all"}, {"weight": 3, "effect": "set-value", "value": 255},
                       {"weight": 4, "effect": "zero"}]}"#,
    );
    let faults = draw(&shape(kind, at(0), WordEffect::default()), &bytes(&[20_000]), 1);
    let words = |effect| faults.tensors()[0].addresses(effect).len() as u64 / 8;
    let counts = [Effect::Flip, Effect::Set1, Effect::Set0].map(words);
    assert_eq!(counts.iter().sum::<u64>(), 20_000);
    for (count, p) in counts.into_iter().zip([0.125, 0.375, 0.5]) {
        assert_binomial(count, 20_000, p, FALSE_ALARM);
    }
}

#[test]
fn anchors_are_any_elements_and_as_many_as_asked_for() {
    let space =
        space_of(&[("a", Format::U8, 30), ("b", Format::U8, 20)], BitSelection::Range { low: 1, high: 5 });
    let model = shape(Shape::Neuron, Elements::Count(4), WordEffect::default());
    let (mut anchors, mut bits) = (vec![0_u64; 50], vec![0_u64; 5]);
    for trial in 0..2000 {
        let faults = draw(&model, &space, trial);
        assert_eq!(faults.faults(), 4);
        for (name, address, effect) in listed(&faults) {
            assert_eq!(effect, Effect::Flip);
            anchors[(address / 8) as usize + if name == "b" { 30 } else { 0 }] += 1;
            bits[(address % 8) as usize - 1] += 1;
        }
    }
    assert_uniform(&anchors, FALSE_ALARM);
    assert_uniform(&bits, FALSE_ALARM);
}

#[test]
fn bits_of_a_word() {
    let space = bytes(&[40_000]);
    let everywhere = |effect| draw(&shape(Shape::Row, at(0), effect), &space, 3);
    let of = |effect, hit| everywhere(WordEffect::Bits { effect, hit });
    assert_eq!(of(Effect::Flip, BitsHit::All).faults(), 320_000);
    assert_eq!(of(Effect::Set1, BitsHit::One).tensors()[0].addresses(Effect::Set1).len(), 40_000);
    assert_binomial(of(Effect::Set0, BitsHit::Each(rate(0.3))).faults(), 320_000, 0.3, FALSE_ALARM);
    let random = everywhere(WordEffect::Value(Value::Random));
    let mut ones = vec![0_u64; 8];
    random.tensors()[0].addresses(Effect::Set1).iter().for_each(|address| ones[(address % 8) as usize] += 1);
    ones.into_iter().for_each(|count| assert_binomial(count, 40_000, 0.5, FALSE_ALARM));
}

#[test]
fn shapes_are_nested_and_a_tensor_hangs_on_nothing_else() {
    let effects = [WordEffect::default(), WordEffect::Value(Value::Random)];
    let kinds = [Shape::Channel, Shape::Block { rows: 2, columns: 2 }, Shape::BulletWake { channels: None }];
    for (kind, effect) in kinds.iter().flat_map(|kind| effects.iter().map(move |effect| (kind, effect))) {
        let set = |at| {
            listed(&draw(&shape(kind.clone(), at, *effect), &space(), 5)).into_iter().collect::<BTreeSet<_>>()
        };
        assert!(set(Elements::Rate(rate(0.01))).is_subset(&set(Elements::Rate(rate(0.05)))), "{kind:?}");
        assert!(set(Elements::Count(3)).is_subset(&set(Elements::Count(9))), "{kind:?}");
    }
    let model = shape(Shape::Row, Elements::Rate(rate(0.05)), WordEffect::default());
    let alone =
        space_of(&[("a", Format::F32, 1000)], BitSelection::All).with_dims(common::dims).expect("dimensions");
    let in_all = draw(&model, &space(), 2);
    assert_eq!(in_all.tensors()[0], draw(&model, &alone, 2).tensors()[0]);
}

#[test]
fn sizes_of_nothing_are_refused() {
    for kind in [
        Shape::Block { rows: 0, columns: 2 },
        Shape::Block { rows: 2, columns: 0 },
        Shape::BulletWake { channels: Some(0) },
    ] {
        let error = shape(kind, at(0), all_bits()).draw(&bytes(&[4]), &key(0)).expect_err("empty");
        assert!(matches!(error, DrawError::EmptyShape { .. }));
    }
    let half = shape(Shape::Row, at(0), WordEffect::Value(Value::Number(0.5)));
    assert!(matches!(half.draw(&bytes(&[4]), &key(0)), Err(DrawError::Number { .. })));
}

#[test]
fn the_examples_are_patterns() {
    assert_eq!(pattern("convolution-example.json").classes().len(), 4);
    let systolic = Shape::Pattern(Arc::new(pattern("systolic-array-example.json")));
    let space = bytes(&[64, 128]);
    let model = shape(systolic, Elements::Count(1), all_bits());
    let sizes: BTreeSet<usize> = (0..60).map(|trial| elements(&draw(&model, &space, trial)).len()).collect();
    assert!(sizes.contains(&5) && sizes.contains(&16) && sizes.contains(&8), "{sizes:?}");
    for file in ["convolution-example.json", "systolic-array-example.json"] {
        assert!(pattern(file).source().starts_with("synthetic"), "{file}");
    }
}

/// Words of one tensor.
struct One(Format, Vec<u8>);

impl WordStore for One {
    fn words(&self, _: &str) -> Option<Words<'_>> {
        Some(Words::packed(self.0, &self.1))
    }
    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        Some(WordsMut::packed(self.0, &mut self.1))
    }
}

#[test]
fn saturation_is_the_extreme_of_each_word() {
    // By decoding: the largest finite magnitude with the word's sign, for every word of 8 bits.
    for name in [
        "i8",
        "u8",
        "f8e4m3",
        "f8e5m2",
        "f8e4m3fnuz",
        "f8e8m0",
        "i8-offset",
        "i8-sign-magnitude",
        "i8-gray",
        "u8-gray",
    ] {
        let format = Format::from_name(name).expect("a format");
        let space = space_of(&[("w", format, 256)], BitSelection::All);
        let model = FaultModel::SetValue { value: Value::Saturate, at: Elements::Rate(Rate::ONE) };
        let mut store = One(format, (0..=255).collect());
        let faults = draw(&model, &space, 0);
        let resolved = faults.resolve(&store).expect("fits");
        assert_eq!(resolved.faults, faults.faults(), "{name}");
        assert!(faults.clone().into_flips().is_err(), "{name}");
        resolved.pattern.apply(&mut store).expect("fits");
        let finite = || (0..256).map(|word| format.decode(word)).filter(|value| value.is_finite());
        let (low, high) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        for (before, &after) in (0..=255_u64).zip(&store.1) {
            let old = format.decode(before);
            let want = if low < 0.0 && (old < 0.0 || old.is_nan() && before > 127) { low } else { high };
            // The zero of a sign-magnitude word has the sign that its bit says.
            let want = if old == 0.0 && old.is_sign_negative() { low } else { want };
            assert_eq!(format.decode(after.into()), want, "{name} {before:#x}");
        }
        resolved.pattern.apply(&mut store).expect("fits");
        assert!(store.1.iter().enumerate().all(|(word, &byte)| word as u8 == byte), "{name}");
    }
}

#[test]
fn saturation_of_selected_bits_leaves_the_others() {
    let space = space_of(&[("w", Format::I8, 2)], BitSelection::Range { low: 6, high: 7 });
    let model = FaultModel::SetValue { value: Value::Saturate, at: Elements::Count(2) };
    let faults = draw(&model, &space, 0);
    assert_eq!(faults.tensors()[0].addresses(Effect::Saturate), [6, 14], "a sign is kept");
    let mut store = One(Format::I8, vec![0b0000_0011, 0b1100_0000]);
    faults.resolve(&store).expect("fits").pattern.apply(&mut store).expect("fits");
    assert_eq!(store.1, [0b0100_0011, 0b1000_0000]);
    // A stuck bit keeps what it has, whatever is written.
    let stuck = FaultModel::StuckAt { value: false, at: Hits::Sites(vec!["w:0:6".parse().expect("a site")]) };
    let both = FaultModel::Mixture(vec![model, stuck]);
    let mut store = One(Format::I8, vec![3, 0]);
    draw(&both, &space, 0).resolve(&store).expect("fits").pattern.apply(&mut store).expect("fits");
    assert_eq!(store.1, [3, 64]);
}

#[test]
fn a_sampler_draws_what_the_model_draws() {
    let store = Store::random(4);
    for (name, model) in models() {
        let space = space();
        let sampler = model.sampler(&space).expect("a sampler");
        for trial in 0..3 {
            let faults = sampler.draw(&key(trial).into()).expect("faults");
            assert_eq!(faults, draw(&model, &space, trial), "{name}");
            let part = sampler.draw(&key(trial).numbered("image", 3)).expect("faults");
            assert!(part != faults || name == "sites", "{name}");
            faults.resolve(&store).expect("fits");
        }
    }
}

#[test]
fn images_hang_on_their_number_alone() {
    for (name, model) in models() {
        let space = space();
        let sampler = model.sampler(&space).expect("a sampler");
        let trial = PartKey::from(key(1));
        let images = |from, to| sampler.draw_images(&trial, from..to).expect("faults");
        let all = images(1020, 1030);
        for (place, image) in (1020..1030).enumerate() {
            assert_eq!(images(image, image + 1), all[place..=place], "{name}");
        }
        assert_eq!(all.len(), 10);
        assert!(images(5, 5).is_empty());
        let distinct = all.iter().enumerate().all(|(place, one)| !all[..place].contains(one));
        assert!(distinct || name == "sites" || name.starts_with("map"), "{name}");
    }
}

#[test]
fn certain_models_draw_images_by_their_keys() {
    let space = space();
    for (name, model) in models() {
        if matches!(
            name,
            "count" | "sites" | "set value" | "burst count" | "channel" | "wake" | "row" | "map anywhere"
        ) {
            let sampler = model.sampler(&space).expect("a sampler");
            let images = sampler.draw_images(&key(2).into(), 7..9).expect("faults");
            for (image, faults) in (7..9).zip(images) {
                assert_eq!(faults, sampler.draw(&key(2).numbered("image", image)).expect("faults"), "{name}");
            }
        }
    }
}

#[test]
fn rates_of_images_are_those_of_trials() {
    let space = bytes(&[10, 10]);
    let row = |p| shape(Shape::Row, Elements::Rate(rate(p)), WordEffect::default());
    let flips = |p| FaultModel::BitFlip(Hits::Rate(rate(p)));
    const IMAGES: u64 = 3000;
    let draw = |model: &FaultModel| {
        model.sampler(&space).expect("ok").draw_images(&key(0).into(), 0..IMAGES).expect("ok")
    };
    let images = draw(&flips(0.002));
    assert_binomial(images.iter().map(Faults::faults).sum(), IMAGES * 800, 0.002, FALSE_ALARM);
    let clean = images.iter().filter(|faults| faults.faults() == 0).count() as u64;
    assert_binomial(clean, IMAGES, 0.998_f64.powi(800), FALSE_ALARM);
    let mut by_element = BTreeMap::new();
    images.iter().flat_map(elements).for_each(|element| *by_element.entry(element).or_insert(0_u64) += 1);
    assert_uniform(&by_element.into_values().collect::<Vec<u64>>(), FALSE_ALARM);
    // A row is hit when any of its ten elements is struck.
    let rows: u64 = draw(&row(0.004)).iter().map(|faults| elements(faults).len() as u64 / 10).sum();
    assert_binomial(rows, IMAGES * 10, 1.0 - 0.996_f64.powi(10), FALSE_ALARM);
    // Nested, image by image; at 0 and 1 certain.
    for (less, more) in draw(&flips(0.002)).iter().zip(draw(&flips(0.01))) {
        let (less, more): (BTreeSet<_>, BTreeSet<_>) =
            (listed(less).into_iter().collect(), listed(&more).into_iter().collect());
        assert!(less.is_subset(&more));
    }
    assert!(draw(&flips(0.0)).iter().all(|faults| faults.faults() == 0));
    assert!(draw(&flips(1.0)).iter().all(|faults| faults.faults() == 800));
    // Two-way rates in images: the lower hits are flips.
    let both = draw(&FaultModel::Asymmetric { to_one: rate(0.03), to_zero: rate(0.01) });
    let flips: u64 = both
        .iter()
        .map(|faults| listed(faults).iter().filter(|(_, _, effect)| *effect == Effect::Flip).count() as u64)
        .sum();
    assert_binomial(flips, IMAGES * 800, 0.01, FALSE_ALARM);
    assert_binomial(both.iter().map(Faults::faults).sum(), IMAGES * 800, 0.03, FALSE_ALARM);
}

/// By the coordinates of every element: those that agree with the anchor's on all dimensions but some.
fn slow(dims: &[u64], anchor: u64, free: &[usize]) -> BTreeSet<u64> {
    let of = |element| coordinates(element, dims).expect("an element");
    let agrees = |element: &u64| {
        of(*element).iter().zip(of(anchor)).enumerate().all(|(axis, (a, b))| free.contains(&axis) || *a == b)
    };
    (0..dims.iter().product()).filter(agrees).collect()
}

#[test]
fn shapes_are_those_of_the_coordinates() {
    for dims in [&[7_u64][..], &[3, 5], &[2, 3, 4], &[3, 2, 2, 3], &[2, 2, 1, 2, 3]] {
        let last = dims.len() - 1;
        let inner: Vec<usize> = (1..dims.len()).collect();
        let column = if last == 0 { vec![] } else { vec![last - 1] };
        let kinds = [
            (Shape::Neuron, vec![]),
            (Shape::Channel, inner),
            (Shape::Row, vec![last]),
            (Shape::Column, column),
            (Shape::BulletWake { channels: None }, vec![0]),
        ];
        for anchor in 0..dims.iter().product() {
            for (kind, free) in &kinds {
                let hit = elements(&draw(&shape(kind.clone(), at(anchor), all_bits()), &bytes(dims), 0));
                assert_eq!(hit, slow(dims, anchor, free), "{} at {anchor} of {dims:?}", kind.name());
                let one_channel =
                    hit.iter().all(|&element| channel_of(element, dims) == channel_of(anchor, dims));
                assert!(one_channel || free.contains(&0), "{}", kind.name());
            }
        }
    }
}

#[test]
fn damaged_patterns_are_read_or_refused() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/patterns");
    let read = |file: &str| std::fs::read(path.join(file)).expect("a file");
    let (one, other) = (read("convolution-example.json"), read("systolic-array-example.json"));
    let mut random = bitquake_testing::SplitMix64::new(1);
    let space = bytes(&[4, 3, 5]);
    let mut sound = 0;
    for trial in 0..4000 {
        let damaged = bitquake_testing::mutated(&one, &other, &mut random);
        if let Ok(pattern) = SpatialPattern::from_json(&String::from_utf8_lossy(&damaged)) {
            sound += 1;
            let kind = Shape::Pattern(Arc::new(pattern));
            let model = shape(kind, Elements::Count(3), WordEffect::default());
            if let Ok(faults) = model.draw(&space, &key(trial)) {
                assert!(elements(&faults).iter().all(|&element| element < 60));
            }
        }
    }
    assert!(sound > 100, "{sound} were read");
}
