//! Adversarial bit errors.

use bitquake_bits::kernels::hamming_projection;

use super::*;

const ATTACK: &str = "tensors = \"kernels\"
    quantization = { family = \"symmetric\", bits = 8, signed = false }
    [bit_errors]
    curriculum = \"always\"
    attack = { budget = 20, steps = 10, restarts = 2 }";

/// A loss that is linear in the levels: its worst flips are known.
fn linear(levels: &Levels, coefficients: &[Vec<f32>]) -> f64 {
    let terms = levels.tensors.iter().flatten().zip(coefficients.iter().flatten());
    terms.map(|(level, c)| f64::from(*level) * f64::from(*c)).sum()
}

fn coefficients(weights: &Weights) -> Vec<Vec<f32>> {
    let of =
        |(seed, tensor): (u64, &WeightTensor)| weights::tests::tensor("c", &tensor.shape, 70 + seed).values;
    (0..).zip(&weights.tensors).map(of).collect()
}

/// The gain of the best flip of each word, largest first.
fn best_gains(stored: &Stored, weights: &Weights, coefficients: &[Vec<f32>]) -> Vec<f64> {
    let mut gains = Vec::new();
    for (tensor, coefficients) in weights.tensors.iter().zip(coefficients) {
        let Some(coded) = stored.memory().coded(&tensor.name) else { continue };
        for ((element, word), c) in (0..).zip(coded.words().iter()).zip(coefficients) {
            let level = |word| f64::from(coded.grid().decode(element, word).unwrap());
            let gain = |bit: u32| (level(word ^ 1 << bit) - level(word)) * f64::from(*c);
            gains.push((0..8).map(gain).fold(0.0, f64::max));
        }
    }
    gains.sort_by(|a, b| b.total_cmp(a));
    gains
}

fn attacked(text: &str, step: u64) -> (Levels, Stored, Weights, usize) {
    let weights = small();
    let mut method = method(text, &weights);
    let stored = method.store(&weights).unwrap();
    let c = coefficients(&weights);
    let mut calls = 0;
    let levels = method
        .attack(&stored, &weights, step, 0, &mut |levels| {
            calls += 1;
            Ok((linear(levels, &c), c.clone()))
        })
        .unwrap();
    (levels, stored, weights, calls)
}

/// How many words differ, and that each does in one bit.
fn words_changed(levels: &Levels, stored: &Stored, weights: &Weights) -> u64 {
    let mut changed = 0;
    for (at, tensor) in weights.tensors.iter().enumerate() {
        let Some(coded) = stored.memory().coded(&tensor.name) else {
            assert_eq!(
                levels.tensors[at],
                stored.levels().tensors[at],
                "{} is not stored as codes",
                tensor.name
            );
            continue;
        };
        for ((element, word), level) in (0..).zip(coded.words().iter()).zip(&levels.tensors[at]) {
            let of = |bit: u32| coded.grid().decode(element, word ^ 1 << bit).unwrap();
            if *level != stored.levels().tensors[at][element as usize] {
                changed += 1;
                assert!((0..8).any(|bit| of(bit) == *level), "more than one bit of a word");
            }
        }
    }
    changed
}

#[test]
fn the_budget_holds_and_the_loss_is_near_the_worst() {
    let (levels, stored, weights, calls) = attacked(ATTACK, 0);
    assert_eq!(calls, 2 * (10 + 1));
    assert!(
        levels.flips <= 20 && words_changed(&levels, &stored, &weights) == levels.flips,
        "{}",
        levels.flips
    );
    let c = coefficients(&weights);
    let gain = linear(&levels, &c) - linear(stored.levels(), &c);
    let worst: f64 = best_gains(&stored, &weights, &c)[..20].iter().sum();
    assert!(gain > 0.7 * worst && gain <= worst * 1.000_001, "{gain} of {worst}");
}

#[test]
fn it_is_worse_than_as_many_random_flips() {
    let (levels, stored, weights, _) = attacked(ATTACK, 0);
    let c = coefficients(&weights);
    let random = "tensors = \"kernels\"\nquantization = { family = \"symmetric\", bits = 8, signed = false }\n\
                  bit_errors = { rate = 0.003, curriculum = \"always\" }";
    let method = method(random, &weights);
    let loss = |step| linear(&method.perturbed(&stored, &weights, step, 0).unwrap(), &c);
    assert!((0..100).all(|step| loss(step) < linear(&levels, &c)));
}

#[test]
fn it_is_the_same_again_and_stays_in_the_selected_bits() {
    assert_eq!(attacked(ATTACK, 3).0, attacked(ATTACK, 3).0);
    let low = ATTACK.replace("curriculum", "select = [\"fc*\"]\n    bits = \"0..1\"\n    curriculum");
    let (levels, stored, weights, _) = attacked(&low, 0);
    assert!(levels.flips > 0);
    assert_eq!(levels.tensors[0], stored.levels().tensors[0]);
    let step = stored.memory().coded("fc.weight").unwrap().grid().scale(0).unwrap();
    let moved = levels.tensors[3].iter().zip(&stored.levels().tensors[3]).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f32::max) <= 2.0 * step * 1.001);
    assert_eq!(words_changed(&levels, &stored, &weights), levels.flips);
}

/// One tensor, unsigned codes with one scale: the row of words is projected as the kernel of S13 projects it.
#[test]
fn the_projection_is_that_of_the_kernel() {
    let weights = Weights { tensors: vec![weights::tests::tensor("w", &[9, 9], 4)] };
    let mut method = method(ATTACK, &weights);
    let stored = method.store(&weights).unwrap();
    let clean: Vec<u8> = stored.memory().coded("w").unwrap().words().iter().map(|word| word as u8).collect();
    // With a step this long and no momentum every word goes to the end that its gradient points to.
    let errors = method.errors.as_mut().unwrap();
    for budget in [0.0, 1.0, 7.0, 80.0, 81.0, 500.0] {
        let c = coefficients(&weights);
        let ends: Vec<u8> = c[0].iter().map(|c| if *c > 0.0 { 255 } else { 1 }).collect();
        let wanted = hamming_projection(&clean, &ends, budget).unwrap();
        let config =
            AttackConfig { budget: budget as u64, steps: 1, step_size: 1e6, momentum: 0.0, restarts: 1 };
        errors.config.attack = Some(config);
        let mut seen = Vec::new();
        let key = StreamKey { seed: 1, point: 0, trial: 0 }.part("test");
        adversarial::attack(config, &errors.faults.space, &stored, &weights, &key, &mut |levels| {
            seen.push(levels.tensors[0].clone());
            Ok((0.0, c.clone()))
        })
        .unwrap();
        let levels: Vec<f32> = (0..)
            .zip(wanted)
            .map(|(i, word)| stored.memory().coded("w").unwrap().grid().decode(i, word.into()).unwrap())
            .collect();
        assert_eq!(seen[1], levels, "budget {budget}");
    }
}

#[test]
fn errors_of_the_network_end_the_search_and_gradients_that_are_no_numbers_stop_it() {
    let weights = small();
    let mut method = method(ATTACK, &weights);
    let stored = method.store(&weights).unwrap();
    let error = method.attack(&stored, &weights, 0, 0, &mut |_| Err("out of memory".into())).unwrap_err();
    assert_eq!(error.to_string(), "gradient of an attack: out of memory");
    let error = method.attack(&stored, &weights, 0, 0, &mut |_| Ok((0.0, Vec::new()))).unwrap_err();
    assert!(error.to_string().contains("gradient of tensor 0: 0 values"), "{error}");
    let nan: Vec<Vec<f32>> =
        weights.tensors.iter().map(|tensor| vec![f32::NAN; tensor.values.len()]).collect();
    let mut calls = 0;
    let levels = method.attack(&stored, &weights, 0, 0, &mut |_| {
        calls += 1;
        Ok((f64::NAN, nan.clone()))
    });
    assert_eq!(
        (levels.unwrap().flips > 0, calls),
        (true, 2),
        "the random flips of each start are all there is"
    );
}
