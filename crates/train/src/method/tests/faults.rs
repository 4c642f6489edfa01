//! Faults of perturbed passes: keyed, distinct, at the rate asked for.

use bitquake_testing::assert_binomial;
use proptest::prelude::*;

use super::*;

fn perturbed(text: &str, step: u64, k: u32) -> Levels {
    let mut weights = small();
    let mut method = method(text, &weights);
    method.project(&mut weights);
    let stored = method.store(&weights).unwrap();
    method.perturbed(&stored, &weights, step, k).unwrap()
}

#[test]
fn the_key_is_the_seed_the_step_and_the_number_of_the_pass() {
    let first = perturbed(RANDBET, 3, 0);
    assert_eq!(perturbed(RANDBET, 3, 0), first);
    for (step, k) in [(4, 0), (3, 1), (0, 3)] {
        assert_ne!(perturbed(RANDBET, step, k).tensors, first.tensors, "step {step}, pass {k}");
    }
    let weights = small();
    let mut other = Method::new(&config(RANDBET), &weights, 43).unwrap();
    let stored = other.store(&weights).unwrap();
    assert_ne!(other.perturbed(&stored, &weights, 3, 0).unwrap().tensors, first.tensors, "another seed");
}

/// False-alarm rate 1e-6.
#[test]
fn flips_come_at_the_rate() {
    let weights = small();
    let words: usize = weights.tensors[..4].iter().map(|tensor| tensor.values.len()).sum();
    let flips: u64 = (0..40).map(|step| perturbed(RANDBET, step, 0).flips).sum();
    assert_binomial(flips, 40 * 8 * words as u64, 0.01, 1e-6);
}

#[test]
fn validation_has_streams_of_its_own_and_the_full_rate() {
    let text = RANDBET.replace("always", "step");
    let mut weights = small();
    let mut method = method(&text, &weights);
    method.project(&mut weights);
    method.begin_epoch(0, 250);
    assert!((method.rate().unwrap() - 0.0005).abs() < 1e-12);
    let stored = method.store(&weights).unwrap();
    let validation = |k| method.validation_faults(&stored, &weights, 3, k).unwrap().unwrap();
    assert!(validation(0).flips > 50);
    assert!(method.perturbed(&stored, &weights, 3, 0).unwrap().flips < 20);
    assert_ne!(validation(0), validation(1));
    method.begin_epoch(249, 250);
    assert_ne!(
        method.perturbed(&stored, &weights, 3, 0).unwrap(),
        method.validation_faults(&stored, &weights, 3, 0).unwrap().unwrap()
    );
    let plain = super::method("", &weights);
    assert_eq!(plain.validation_faults(&stored, &weights, 0, 0).unwrap(), None);
}

/// Any model of the `fault` crate, by the table of a campaign, such as one whose faults depend on what is stored.
#[test]
fn any_fault_model_perturbs() {
    let weights = small();
    for (model, sign) in [("stuck-at-1", -1.0_f32), ("stuck-at-0", 1.0)] {
        let text = format!(
            "quantization = {{ family = \"wcat\", bits = 4 }}\n[bit_errors]\ncurriculum = \"always\"\n\
             fault = {{ model = \"{model}\", rates = [0.02], bits = \"msb\" }}"
        );
        let mut method = method(&text, &weights);
        let stored = method.store(&weights).unwrap();
        let levels = method.perturbed(&stored, &weights, 0, 0).unwrap();
        // The highest bit of two's complement is the sign: stuck at 1 makes values smaller, stuck at 0 greater.
        let changes = levels.tensors.iter().flatten().zip(stored.levels().tensors.iter().flatten());
        let changes: Vec<f32> =
            changes.map(|(new, old)| (new - old) * sign).filter(|change| *change != 0.0).collect();
        assert_eq!(changes.len() as u64, levels.flips);
        assert!(!changes.is_empty() && changes.iter().all(|change| *change > 0.0));
    }
}

/// A shape sees the dimensions of the weights: one output channel of the convolution has 75 words.
#[test]
fn shapes_know_the_dimensions() {
    let text = "quantization = { family = \"symmetric\", bits = 8 }\n[bit_errors]\ncurriculum = \"always\"\n\
                fault = { model = \"shape\", shape = \"channel\", select = [\"conv.weight\"], counts = [1], effect = \"flip\", bits_hit = \"all\" }";
    let weights = small();
    let mut method = method(text, &weights);
    let stored = method.store(&weights).unwrap();
    let levels = method.perturbed(&stored, &weights, 0, 0).unwrap();
    let changed: Vec<usize> =
        (0..450).filter(|&i| levels.tensors[0][i] != stored.levels().tensors[0][i]).collect();
    assert!(changed.last().unwrap() - changed[0] < 75 && changed.len() > 50, "{changed:?}");
    assert_eq!(changed[0] / 75, changed[changed.len() - 1] / 75);
}

/// Scales are stored too, and can be hit; SEC-DED over 64 bits takes single errors back.
#[test]
fn parts_can_be_hit_and_protections_work() {
    let of_scales = RANDBET.replace("rate = 0.01", "rate = 0.3\nselect = [\"*@*\"]");
    let levels = perturbed(&of_scales, 0, 0);
    assert!(levels.flips > 0);
    let weights = small();
    let protected = "quantization = { family = \"symmetric\", bits = 8, protect = [{ kind = \"secded\", data_bits = 64 }] }\n\
                     bit_errors = { rate = 2e-4, curriculum = \"always\" }";
    let mut method = method(protected, &weights);
    let stored = method.store(&weights).unwrap();
    let bare = perturbed(
        &protected
            .replace("protect = [{ kind = \"secded\", data_bits = 64 }]", "rounding = \"nearest-even\""),
        0,
        0,
    );
    assert!(bare.flips > 0);
    assert_eq!(method.perturbed(&stored, &weights, 0, 0).unwrap().tensors, stored.levels().tensors);
}

#[test]
fn float32_weights_can_be_hit_too() {
    let weights = small();
    let text =
        "bit_errors = { rate = 0.01, curriculum = \"always\", select = [\"fc*\"], bits = \"mantissa\" }";
    let mut method = method(text, &weights);
    let stored = method.store(&weights).unwrap();
    let levels = method.perturbed(&stored, &weights, 0, 0).unwrap();
    assert_eq!(bits(&levels.tensors[..3]), bits(&stored.levels().tensors[..3]));
    let flipped = bits(&levels.tensors[3..4])[0]
        .iter()
        .zip(&bits(&stored.levels().tensors[3..4])[0])
        .map(|(a, b)| (a ^ b).count_ones())
        .sum::<u32>();
    assert_eq!(u64::from(flipped), levels.flips);
    assert!(flipped > 0);
}

#[test]
fn what_is_not_perturbed_says_so() {
    let weights = small();
    let mut plain = method("quantization = { family = \"wcat\" }", &weights);
    let stored = plain.store(&weights).unwrap();
    let error = plain.perturbed(&stored, &weights, 0, 0).unwrap_err().to_string();
    assert!(error.contains("no bit errors"), "{error}");
    let error =
        method(RANDBET, &weights).attack(&stored, &weights, 0, 0, &mut |_| unreachable!()).unwrap_err();
    assert!(error.to_string().contains("no attack"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Without errors a perturbed pass is the clean one, bit for bit.
    #[test]
    fn a_rate_of_0_gives_the_clean_levels(step: u64, k in 0_u32..8, bits_each in 2_u32..=12) {
        let text = format!("quantization = {{ family = \"symmetric\", bits = {bits_each} }}\nbit_errors = {{ rate = 0.0, curriculum = \"always\" }}");
        let weights = small();
        let mut method = method(&text, &weights);
        let stored = method.store(&weights).unwrap();
        let perturbed = method.perturbed(&stored, &weights, step, k).unwrap();
        prop_assert_eq!(bits(&perturbed.tensors), bits(&stored.levels().tensors));
        prop_assert_eq!(perturbed.flips, 0);
    }
}
