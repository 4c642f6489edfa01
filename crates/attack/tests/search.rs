//! The progressive bit search, on networks that are formulas.

mod support;

use bitquake_attack::{
    AttackedWords, BitSite, Chosen, Flat, Growth, Limits, NonFinite, Room, SearchConfig, Step, Weighting,
    random_site, step,
};
use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_sample::{PartKey, StreamKey};
use bitquake_testing::SplitMix64;
use proptest::prelude::*;
use support::{Formula, levels, stored};

fn key(number: u64) -> PartKey {
    PartKey::from(StreamKey { seed: 3, point: 0, trial: 0 }).numbered("step", number)
}

fn room(words: &AttackedWords) -> Room {
    Room::new(Limits::default(), u64::MAX, words.tensors().len())
}

/// One step, made.
fn advance(words: &mut AttackedWords, victim: &mut Formula, config: &SearchConfig, room: &mut Room) -> Step {
    let found = step(words, victim, config, room, &key(words.distance())).expect("a step");
    if let Step::Flips(Chosen { sites, .. }) = &found {
        sites.iter().for_each(|&site| {
            words.flip(site);
            room.take(&words.tensors()[site.tensor], site);
        });
        victim.weights = levels(words);
    }
    found
}

fn flips(
    words: &mut AttackedWords,
    victim: &mut Formula,
    config: &SearchConfig,
    steps: usize,
) -> Vec<Vec<BitSite>> {
    let mut room = room(words);
    let sites = |found| if let Step::Flips(chosen) = found { Some(chosen.sites) } else { None };
    (0..steps).map_while(|_| sites(advance(words, victim, config, &mut room))).collect()
}

/// SPEC 5.2: codes (5, -3, 100), gradients (.2, -.5, .05). The last weight makes the scale of `bfa` 1, and has no slope.
#[test]
fn the_vector_of_the_specification() {
    let mut words = stored("family = 'bfa'\nbits = 8", &[vec![5.0, -3.0, 100.0, 127.0]]);
    assert_eq!(levels(&words), [vec![5.0, -3.0, 100.0, 127.0]]);
    let mut victim = Formula::linear(levels(&words), &[&[0.2, -0.5, 0.05, 0.0]]);
    let found = flips(&mut words, &mut victim, &SearchConfig::default(), 4);
    let site = |element, bit| vec![BitSite { tensor: 0, element, bit }];
    assert_eq!(found, [site(1, 6), site(1, 5), site(0, 6), site(1, 4)]);
    assert_eq!(levels(&words)[0], [69.0, -115.0, 100.0, 127.0]);
}

#[test]
fn without_a_slope_nothing_is_tried() {
    let words = stored("family = 'bfa'\nbits = 8", &[vec![5.0, -3.0], vec![127.0]]);
    let mut flat = Formula::linear(levels(&words), &[&[0.0; 2], &[0.0]]);
    let found = step(&words, &mut flat, &SearchConfig::default(), &room(&words), &key(0)).expect("a step");
    assert!(matches!(found, Step::NoIncrease(effort) if effort.probes == 0), "{found:?}");
}

/// The levels that each flip of the vector leads to, one at a time from the clean codes.
#[test]
fn the_first_flips_lead_where_the_specification_says() {
    let words =
        stored("family = 'symmetric'\nbits = 8\nrange = { fixed = 127.0 }", &[vec![5.0, -3.0, 100.0]]);
    let tensor = &words.tensors()[0];
    let flipped = |element: u64, bit: u32| tensor.level(element, tensor.word(element) ^ 1 << bit);
    assert_eq!([flipped(1, 6), flipped(1, 5), flipped(0, 6), flipped(1, 4)], [-67.0, -35.0, 69.0, -19.0]);
}

/// The search by the letter of SPEC 5.2, for two's complement codes of scale 1: bit gradients, sorted; one more flip a tensor
/// while nothing raises the loss.
fn by_the_letter(
    words: &mut AttackedWords,
    victim: &mut Formula,
    bits: u32,
    most: usize,
) -> Option<Vec<BitSite>> {
    let before = victim.loss(&victim.weights);
    let gradients = victim.gradient();
    for count in 1..=most {
        let mut best: Option<(f64, Vec<BitSite>)> = None;
        for (tensor, gradient) in gradients.iter().enumerate() {
            let attacked = &words.tensors()[tensor];
            let mut all: Vec<(f64, BitSite)> = Vec::new();
            for (element, &slope) in (0..).zip(gradient) {
                for bit in 0..bits {
                    let weight = f64::from(1 << bit) * if bit == bits - 1 { -1.0 } else { 1.0 };
                    let gradient = f64::from(slope) * weight;
                    let is_set = attacked.word(element) >> bit & 1 == 1;
                    if (gradient > 0.0 && !is_set) || (gradient < 0.0 && is_set) {
                        all.push((gradient.abs(), BitSite { tensor, element, bit }));
                    }
                }
            }
            all.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.cmp(y)));
            let sites: Vec<BitSite> = all.into_iter().take(count).map(|(_, site)| site).collect();
            let mut trial = words.clone();
            sites.iter().for_each(|&site| trial.flip(site));
            let loss = victim.loss(&levels(&trial));
            if !sites.is_empty() && best.as_ref().is_none_or(|(most, _)| loss > *most) {
                best = Some((loss, sites));
            }
        }
        if let Some((_, sites)) = best.filter(|(loss, _)| *loss > before) {
            sites.iter().for_each(|&site| words.flip(site));
            victim.weights = levels(words);
            return Some(sites);
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_is_the_search_by_the_letter(
        seed in any::<u64>(), bits in 2_u32..=8, waves in 0.0..60.0, most in 1_u64..40,
    ) {
        let mut random = SplitMix64::new(seed);
        let half = (1 << (bits - 1)) - 1;
        let storage = format!("family = 'symmetric'\nbits = {bits}\nrange = {{ fixed = {half}.0 }}");
        let tensor = |random: &mut SplitMix64, len| -> Vec<f32> {
            (0..len).map(|_| random.below(2 * half as u64 + 1) as f32 - half as f32).collect()
        };
        let tensors = [tensor(&mut random, 5), tensor(&mut random, 9)];
        let mut ours = stored(&storage, &tensors);
        prop_assert_eq!(levels(&ours), tensors.to_vec());
        let mut theirs = ours.clone();
        let mut victim = Formula::bent(levels(&ours), waves, !seed);
        let mut reference = Formula::bent(levels(&ours), waves, !seed);
        let config = SearchConfig { growth: Growth::One, most, ..SearchConfig::default() };
        for _ in 0..12 {
            let found = flips(&mut ours, &mut victim, &config, 1).pop();
            prop_assert_eq!(&found, &by_the_letter(&mut theirs, &mut reference, bits, most as usize));
            if found.is_none() {
                break;
            }
        }
    }

    /// Whatever the encoding: the first step is the single flip with the largest gain, of all bits of all words.
    #[test]
    fn any_encoding_gives_the_largest_gain(seed in any::<u64>(), storage in 0..ENCODINGS.len()) {
        let mut random = SplitMix64::new(seed);
        let values: Vec<f32> = (0..20).map(|_| random.normal() as f32).collect();
        let words = stored(ENCODINGS[storage], &[values]);
        let mut victim = Formula::bent(levels(&words), 0.0, !seed);
        let gradient = victim.gradient();
        let tensor = &words.tensors()[0];
        let mut best = 0.0_f64;
        for element in 0..20 {
            for bit in (0..tensor.format().width()).filter(|bit| tensor.mask() >> bit & 1 == 1) {
                let (before, after) = (tensor.word(element), tensor.word(element) ^ 1 << bit);
                let change = f64::from(tensor.level(element, after)) - f64::from(tensor.level(element, before));
                let gain = f64::from(gradient[0][element as usize]) * change;
                if tensor.level(element, after).is_finite() {
                    best = best.max(gain);
                }
            }
        }
        let found = step(&words, &mut victim, &SearchConfig::default(), &room(&words), &key(0)).expect("a step");
        let Step::Flips(chosen) = found else { panic!("{found:?}") };
        let site = chosen.sites[0];
        let word = tensor.word(site.element);
        let change = f64::from(tensor.level(site.element, word ^ 1 << site.bit)) - f64::from(tensor.level(site.element, word));
        let gain = f64::from(gradient[0][site.element as usize]) * change;
        prop_assert_eq!(chosen.sites.len(), 1);
        prop_assert_eq!(gain, best);
    }
}

const ENCODINGS: [&str; 9] = [
    "family = 'native'",
    "family = 'symmetric'\nbits = 8",
    "family = 'symmetric'\nbits = 4\nsigned = false",
    "family = 'symmetric'\nbits = 8\nencoding = 'sign-magnitude'",
    "family = 'symmetric'\nbits = 5\nencoding = 'gray'",
    "family = 'asymmetric'\nbits = 6\nsigned = false",
    "family = 'affine'\nbits = 8\ngranularity = { group = 4 }",
    "family = 'wcat'\nbits = 2\nrange = { alpha = 1.0 }",
    "family = 'binary'",
];

#[test]
fn float_words_flip_the_top_of_the_exponent_and_stay_finite() {
    let mut words = stored("family = 'native'", &[vec![0.5, 0.01, 1.5]]);
    let mut victim = Formula::linear(levels(&words), &[&[1.0, 3.0, 2.0]]);
    let found = flips(&mut words, &mut victim, &SearchConfig::default(), 2);
    // Bit 30 of 1.5 would make a NaN; of the others the largest change times slope is that of 0.5.
    assert_eq!(found[0], [BitSite { tensor: 0, element: 0, bit: 30 }]);
    // Then half of what that has become.
    assert_eq!(found[1], [BitSite { tensor: 0, element: 0, bit: 22 }]);
    let allow = SearchConfig { nonfinite: NonFinite::Allow, ..SearchConfig::default() };
    let mut words = stored("family = 'native'", &[vec![0.5, 0.01, 1.5]]);
    let mut victim = Formula::linear(levels(&words), &[&[1.0, 3.0, 2.0]]);
    assert_eq!(flips(&mut words, &mut victim, &allow, 1), [[BitSite { tensor: 0, element: 2, bit: 30 }]]);
    let over = step(&words, &mut victim, &allow, &room(&words), &key(0)).expect("a step");
    assert!(matches!(over, Step::NotFinite { loss } if loss.is_nan()), "{over:?}");
}

/// A victim whose loss is NaN wherever one weight is large.
#[test]
fn flips_whose_loss_is_no_number_are_set_aside_and_counted() {
    struct Fragile(Formula);
    impl bitquake_attack::Victim for Fragile {
        fn slopes(&mut self) -> Result<bitquake_attack::Slopes, bitquake_attack::AttackError> {
            self.0.slopes()
        }
        fn losses(
            &mut self,
            probes: &[Vec<bitquake_attack::Change>],
        ) -> Result<Vec<f64>, bitquake_attack::AttackError> {
            let is_large =
                |probe: &Vec<bitquake_attack::Change>| probe.iter().any(|change| change.level > 100.0);
            let losses = self.0.losses(probes)?.into_iter().zip(probes);
            Ok(losses.map(|(loss, probe)| if is_large(probe) { f64::NAN } else { loss }).collect())
        }
        fn commit(
            &mut self,
            changes: &[bitquake_attack::Change],
        ) -> Result<(), bitquake_attack::AttackError> {
            self.0.commit(changes)
        }
    }
    let words = stored("family = 'native'", &[vec![0.5, 0.01]]);
    let mut victim = Fragile(Formula::linear(levels(&words), &[&[1.0, 3.0]]));
    let found = step(&words, &mut victim, &SearchConfig::default(), &room(&words), &key(0)).expect("a step");
    let Step::Flips(chosen) = found else { panic!("{found:?}") };
    let (site, tensor) = (chosen.sites[0], &words.tensors()[0]);
    assert!(tensor.level(site.element, tensor.word(site.element) ^ 1 << site.bit) <= 100.0);
    assert!(chosen.effort.nonfinite >= 2, "{:?}", chosen.effort);
}

#[test]
fn it_ends_where_nothing_raises_the_loss() {
    // Each word is at the end of its range in the direction of its slope.
    let words = stored("family = 'symmetric'\nbits = 4\nrange = { fixed = 7.0 }", &[vec![7.0, 7.0]]);
    let mut victim = Formula::linear(levels(&words), &[&[1.0, 1.0]]);
    let found = step(&words, &mut victim, &SearchConfig::default(), &room(&words), &key(0)).expect("a step");
    assert!(matches!(found, Step::NoIncrease(_)), "{found:?}");
    // With a random bit instead, a flip is made whatever it does.
    let config = SearchConfig { flat: Flat::Random, ..SearchConfig::default() };
    let found = step(&words, &mut victim, &config, &room(&words), &key(0)).expect("a step");
    assert!(
        matches!(&found, Step::Flips(chosen) if chosen.sites.len() == 1 && chosen.loss.is_none()),
        "{found:?}"
    );
}

#[test]
fn more_flips_together_are_tried_up_to_the_most() {
    // The slope says up, the wave says down, for every flip alone and together.
    let words = stored("family = 'symmetric'\nbits = 8\nrange = { fixed = 127.0 }", &[vec![0.0; 6]]);
    struct Never(Formula);
    impl bitquake_attack::Victim for Never {
        fn slopes(&mut self) -> Result<bitquake_attack::Slopes, bitquake_attack::AttackError> {
            self.0.slopes()
        }
        fn losses(
            &mut self,
            probes: &[Vec<bitquake_attack::Change>],
        ) -> Result<Vec<f64>, bitquake_attack::AttackError> {
            self.0.losses(probes).map(|losses| losses.iter().map(|_| -1.0).collect())
        }
        fn commit(
            &mut self,
            changes: &[bitquake_attack::Change],
        ) -> Result<(), bitquake_attack::AttackError> {
            self.0.commit(changes)
        }
    }
    for (growth, most, probes) in
        [(Growth::Double, 64, 7), (Growth::Double, 5, 4), (Growth::One, 5, 5), (Growth::One, 99, 42)]
    {
        let mut victim = Never(Formula::linear(levels(&words), &[&[1.0; 6]]));
        let config = SearchConfig { growth, most, ..SearchConfig::default() };
        let found = step(&words, &mut victim, &config, &room(&words), &key(0)).expect("a step");
        // 7 bits of 6 words raise the loss to first order: 42 flips.
        assert!(
            matches!(found, Step::NoIncrease(effort) if effort.probes == probes),
            "{growth:?} {most}: {found:?}"
        );
    }
}

#[test]
fn top_elements_are_those_with_the_largest_gradient_of_the_code() {
    // The largest slope belongs to a word at the end of its range: with it alone, nothing can be gained by its upper bits.
    let storage = "family = 'symmetric'\nbits = 8\nrange = { fixed = 127.0 }";
    let words = stored(storage, &[vec![127.0, 3.0]]);
    let mut victim = Formula::linear(levels(&words), &[&[9.0, 1.0]]);
    let config = SearchConfig { top_elements: Some(1), ..SearchConfig::default() };
    let found = step(&words, &mut victim, &config, &room(&words), &key(0)).expect("a step");
    assert!(matches!(found, Step::NoIncrease(_)), "{found:?}");
    let found = step(&words, &mut victim, &SearchConfig::default(), &room(&words), &key(0)).expect("a step");
    assert!(matches!(&found, Step::Flips(chosen) if chosen.sites[0].element == 1), "{found:?}");
}

#[test]
fn limits_hold() {
    let storage = "family = 'symmetric'\nbits = 8\nrange = { fixed = 127.0 }";
    let start = stored(storage, &[vec![0.0; 3], vec![0.0; 3]]);
    let run = |limits: Limits, budget: u64| {
        let mut words = start.clone();
        let mut victim = Formula::linear(levels(&words), &[&[5.0, 4.0, 3.0], &[0.1, 0.2, 0.3]]);
        let mut room = Room::new(limits, budget, 2);
        while matches!(advance(&mut words, &mut victim, &SearchConfig::default(), &mut room), Step::Flips(_))
        {
        }
        words
    };
    let free = run(Limits::default(), 100);
    assert_eq!(free.distance(), 42, "every bit but the signs");
    assert_eq!(run(Limits::default(), 5).distance(), 5);
    let words = run(Limits { per_word: Some(1), ..Limits::default() }, 100);
    assert!(words.tensors().iter().all(|tensor| (0..3).all(|element| tensor.changed(element) == 0x40)));
    let words = run(Limits { per_tensor: Some(2), ..Limits::default() }, 100);
    assert_eq!(words.tensors().iter().map(|tensor| tensor.distance()).collect::<Vec<_>>(), [2, 2]);
    // Pages of two words: the third word has one of its own.
    let words = run(Limits { per_page: Some(1), page_bytes: 2, ..Limits::default() }, 100);
    assert_eq!(words.tensors().iter().map(|tensor| tensor.distance()).collect::<Vec<_>>(), [2, 2]);
    // Growing sets stay within the limits too.
    let many = SearchConfig { candidates: 6, ..SearchConfig::default() };
    let mut victim = Formula::linear(levels(&start), &[&[5.0, 4.0, 3.0], &[0.1, 0.2, 0.3]]);
    let room = Room::new(Limits { per_page: Some(2), page_bytes: 3, ..Limits::default() }, 100, 2);
    let found = step(&start, &mut victim, &many, &room, &key(0)).expect("a step");
    assert!(matches!(&found, Step::Flips(chosen) if chosen.sites.len() == 2), "{found:?}");
}

#[test]
fn infeasible_bits_are_never_flipped_and_no_bit_is_flipped_back() {
    let storage = "family = 'symmetric'\nbits = 8\nrange = { fixed = 127.0 }";
    let mut words = stored(storage, &[vec![0.0; 3]]);
    let flips = |addresses: &[u64]| {
        let format = words.tensors()[0].format();
        TensorFlips { tensor: "t0".into(), format, elements: 3, addresses: addresses.to_vec() }
    };
    let feasible = FaultPattern::new(vec![flips(&[1, 7, 11, 18])]).expect("a pattern");
    let mut room = Room::new(Limits::default(), 100, 1).with_feasible(&feasible, &words);
    let mut victim = Formula::linear(levels(&words), &[&[5.0, 4.0, -3.0]]);
    while matches!(advance(&mut words, &mut victim, &SearchConfig::default(), &mut room), Step::Flips(_)) {}
    // Bit 7 of element 0 and bit 2 of element 2 would lower the loss.
    assert_eq!(words.pattern().expect("a pattern").tensors()[0].addresses, [1, 11]);
    // With the slopes turned round those would be flipped back, if they could; random bits take the rest.
    let mut victim = Formula::linear(levels(&words), &[&[-5.0, -4.0, 0.0]]);
    advance(&mut words, &mut victim, &SearchConfig::default(), &mut room);
    assert_eq!(words.pattern().expect("a pattern").tensors()[0].addresses, [1, 7, 11]);
    let last = random_site(&words, &room, Weighting::Size, &key(1)).expect("a bit");
    assert_eq!((last.element, last.bit), (2, 2));
}
