//! Training computes with what a campaign decodes.

use bitquake_bits::{BitSelection, WordStore};
use bitquake_fault::{FaultModel, Hits};
use bitquake_sample::{Rate, StreamKey};
use bitquake_storage::Memory;
use bitquake_tensors::Role;
use proptest::prelude::*;

use super::*;

/// A campaign's memory of a file that holds these weights, and the floats that its network computes with.
fn campaign(method: &Method, weights: &Weights) -> (Memory, Weights) {
    let spec = method.storage(weights).unwrap();
    // Through the text of a campaign file.
    let spec = toml::from_str(&toml::to_string(&spec).unwrap()).unwrap();
    let infos: Vec<_> = weights.tensors.iter().map(|tensor| tensor.info(Role::Weight)).collect();
    let mut network = weights.clone();
    let memory = Memory::new(&spec, &infos, weights, StreamKey { seed: 9, point: 0, trial: 0 }).unwrap();
    memory.write_levels(&mut network).unwrap();
    (memory, network)
}

fn assert_same(text: &str, weights: &Weights) {
    let mut method = method(text, weights);
    for round in 0..2 {
        let stored = method.store(weights).unwrap();
        let (memory, network) = campaign(&method, weights);
        for (tensor, levels) in network.tensors.iter().zip(&stored.levels().tensors) {
            assert_eq!(
                bits(std::slice::from_ref(&tensor.values)),
                bits(std::slice::from_ref(levels)),
                "{text}, {}",
                tensor.name
            );
            let words =
                |memory: &Memory| Some(memory.coded(&tensor.name)?.words().iter().collect::<Vec<u64>>());
            assert_eq!(words(&memory), words(stored.memory()), "{text}, {}", tensor.name);
        }
        // The optimiser moves learnt ranges; a campaign must follow.
        method.ranges().iter_mut().for_each(|range| range.value *= 0.7 + 0.1 * round as f32);
    }
}

const QUANTIZERS: [&str; 16] = [
    "{ family = \"symmetric\", bits = 8 }",
    "{ family = \"symmetric\", bits = 4, signed = false, clip = 0.1 }",
    "{ family = \"asymmetric\", bits = 8, signed = false }",
    "{ family = \"asymmetric\", bits = 3, rounding = \"truncate\", clip = 0.15 }",
    "{ family = \"asymmetric\", bits = 8, signed = false, compat = true }",
    "{ family = \"symmetric\", bits = 8, compat = true, rounding = \"truncate\" }",
    "{ family = \"wcat\", bits = 4, range = { fixed = 0.1 } }",
    "{ family = \"wcat\", bits = 6, range = \"mse\" }",
    "{ family = \"normal\", bits = 8 }",
    "{ family = \"lsq\", bits = 4 }",
    "{ family = \"bfa\", bits = 6 }",
    "{ family = \"affine\", bits = 8, granularity = { channel = 0 } }",
    "{ family = \"binary\" }",
    "{ family = \"dorefa\", bits = 4 }",
    "{ family = \"qkeras\", bits = 6, alpha = \"auto_po2\" }",
    "{ family = \"pact\", bits = 5 }",
];

#[test]
fn levels_are_those_that_a_campaign_decodes() {
    let kernels = QUANTIZERS.map(|fields| format!("tensors = \"kernels\"\nquantization = {fields}"));
    let all = QUANTIZERS[..6].iter().map(|fields| format!("w_max = 0.1\nquantization = {fields}"));
    kernels.into_iter().chain(all).for_each(|text| assert_same(&text, &small()));
}

#[test]
fn learnt_shared_and_frozen_ranges_reach_the_campaign() {
    for (fields, rule) in [
        ("{ family = \"wcat\", bits = 4, range = \"sawb\" }", "{ rule = \"learn\" }"),
        (
            "{ family = \"wcat\", bits = 4, range = { noisy_mse = 1e-3 } }",
            "{ rule = \"learn\", clip = \"pwl\" }",
        ),
        ("{ family = \"lsq\", bits = 4 }", "{ rule = \"learn\" }"),
        ("{ family = \"wcat\", bits = 8 }", "{ rule = \"plclip\", c = 0.1 }"),
        ("{ family = \"normal\", bits = 8 }", "{ rule = \"frozen\" }"),
        ("{ family = \"asymmetric\", bits = 4, signed = false }", "{ rule = \"frozen\" }"),
    ] {
        assert_same(&format!("tensors = \"kernels\"\nquantization = {fields}\nranges = {rule}"), &small());
    }
}

#[test]
fn overrides_and_presets_choose_the_tensors() {
    let text = "quantization = { family = \"symmetric\", bits = 8, override = [{ select = [\"fc*\"], bits = 4 }, \
                { select = [\"conv.bias\"], family = \"native\" }] }";
    assert_same(text, &small());
    let quantized = |text: &str| method(text, &small()).fault_select(&small());
    assert_eq!(quantized(text), ["conv.weight", "norm.scale", "fc.weight"]);
    let kernels = "tensors = \"kernels\"\nquantization = { family = \"bfa\" }\nbit_errors = { rate = 0.1 }";
    assert_eq!(quantized(kernels), ["conv.weight", "fc.weight"]);
    let with_bias = "tensors = \"kernels\"\nquantization = { family = \"bfa\", override = [{ select = [\"conv.bias\"], family = \"bfa\" }] }";
    assert_eq!(quantized(with_bias), ["conv.weight", "conv.bias", "fc.weight"]);
    assert_eq!(quantized(""), ["conv.weight", "conv.bias", "norm.scale", "fc.weight"]);
}

/// The ranges of a PACT activation are trained with the weights, but never stored as codes, hit, or clipped by `w_max`.
#[test]
fn pact_ranges_are_left_alone() {
    let mut weights = small();
    let mut method = method(&format!("pact_decay = 0.003\n{RANDBET}"), &weights);
    method.project(&mut weights);
    assert_eq!(weights.tensors[4].values, [6.0]);
    assert!(method.store(&weights).unwrap().memory().coded("act.alpha").is_none());
    assert!(!method.fault_select(&weights).contains(&"act.alpha".to_owned()));
    let decays: Vec<_> = weights.tensors.iter().map(|tensor| method.weight_decay(tensor)).collect();
    assert_eq!(decays, [None, None, None, None, Some(0.003)]);
    weights.tensors[4].values = vec![-2.0];
    method.project(&mut weights);
    assert_eq!(weights.tensors[4].values, [LEAST_ALPHA]);
}

/// A perturbed pass sees what a campaign's trial with the same faults sees.
#[test]
fn perturbed_levels_are_those_of_a_trial_with_the_same_faults() {
    let mut weights = small();
    let mut method = method(RANDBET, &weights);
    method.project(&mut weights);
    let stored = method.store(&weights).unwrap();
    let (memory, mut network) = campaign(&method, &weights);
    let space = memory.fault_space(&method.fault_select(&weights), BitSelection::All).unwrap();
    let model = FaultModel::BitFlip(Hits::Rate(Rate::new(0.01).unwrap()));
    let faults = model.sampler(&space).unwrap().draw(&method.pass_key(5, 1)).unwrap();
    let pattern = faults.into_flips().unwrap();
    let flips = pattern.flips();
    memory.translate(&pattern, &network).unwrap().apply(&mut network).unwrap();
    let perturbed = method.perturbed(&stored, &weights, 5, 1).unwrap();
    assert_eq!(perturbed.flips, flips);
    assert!(flips > 50);
    let network: Vec<Vec<f32>> = network.tensors.into_iter().map(|tensor| tensor.values).collect();
    assert_eq!(bits(&perturbed.tensors), bits(&network));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Storing levels again gives the same levels, where ranges are held and rounding is to the nearest.
    #[test]
    fn levels_are_idempotent(seed: u64, family in 0_usize..4, bits in 2_u32..=8) {
        let family = ["symmetric", "asymmetric", "normal", "lsq"][family];
        let text = format!("quantization = {{ family = \"{family}\", bits = {bits} }}\nranges = {{ rule = \"frozen\" }}");
        let mut weights = Weights { tensors: vec![weights::tests::tensor("w", &[7, 9], seed)] };
        let mut method = method(&text, &weights);
        let first = method.store(&weights).unwrap().levels().clone();
        weights.tensors[0].values.clone_from(&first.tensors[0]);
        let second = method.store(&weights).unwrap();
        prop_assert_eq!(second.levels(), &first);
    }

    /// Clipping twice is clipping once, and nothing lies outside.
    #[test]
    fn projection_is_idempotent(seed: u64, w_max in 0.01_f32..1.0, frozen: bool) {
        let rule = if frozen { "frozen" } else { "refit" };
        let text = format!("w_max = {w_max}\nquantization = {{ family = \"asymmetric\" }}\nranges = {{ rule = \"{rule}\" }}");
        let mut weights = small();
        let mut method = method(&text, &weights);
        weights.tensors[0] = weights::tests::tensor("conv.weight", &[6, 3, 5, 5], seed);
        method.project(&mut weights);
        let once = weights.clone();
        prop_assert!(weights.tensors[..4].iter().flat_map(|tensor| &tensor.values).all(|value| value.abs() <= w_max));
        method.project(&mut weights);
        prop_assert_eq!(weights, once);
    }
}

#[test]
fn the_small_network_is_a_word_store() {
    assert!(small().words("act.alpha").is_some());
}
