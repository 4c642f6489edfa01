//! Flips drawn right into the codes, and memory that is used again: neither changes a result.

use bitquake_fault::{FaultModel, Hits};

use super::perturb::levels_under;
use super::*;

/// Widths whose words end within a byte, tensors that are hit and not, bits that are hit and not, tensors that are not quantized,
/// scales that are hit, and protections.
const METHODS: [&str; 8] = [
    "quantization = { family = 'asymmetric', bits = 8 }\nbit_errors = { rate = 0.03, curriculum = 'always' }",
    "quantization = { family = 'wcat', bits = 3 }\nbit_errors = { rate = 0.2, curriculum = 'always' }",
    "quantization = { family = 'wcat', bits = 5 }\nbit_errors = { rate = 1e-4, curriculum = 'always' }",
    "quantization = { family = 'affine', bits = 12 }\nbit_errors = { rate = 0.01, curriculum = 'always', select = ['fc.*'] }",
    "quantization = { family = 'symmetric', bits = 4, rounding = 'stochastic' }\nbit_errors = { rate = 1.0, curriculum = 'always' }",
    "quantization = { family = 'symmetric', bits = 8 }\nbit_errors = { rate = 0.3, curriculum = 'always', bits = 'msb' }",
    "tensors = 'kernels'\nquantization = { family = 'symmetric', bits = 8 }\n\
     bit_errors = { rate = 0.05, curriculum = 'always', select = ['*', '*@scale', 'conv.bias'] }",
    "quantization = { family = 'symmetric', bits = 8, protect = [{ kind = 'secded', data_bits = 64 }] }\n\
     bit_errors = { rate = 0.001, curriculum = 'always' }",
];

#[test]
fn flips_in_place_are_those_of_the_pattern() {
    let weights = small();
    let mut hit = 0;
    for text in METHODS {
        let mut method = method(text, &weights);
        let stored = method.store(&weights).unwrap();
        let faults = &method.errors.as_ref().unwrap().faults;
        let model = FaultModel::BitFlip(Hits::Rate(Rate::new(method.rate().unwrap()).unwrap()));
        for step in 0..4 {
            let drawn = model.sampler(&faults.space).unwrap().draw(&method.pass_key(step, 1)).unwrap();
            let wanted = levels_under(&stored, &weights, &drawn.into_flips().unwrap()).unwrap();
            let levels = method.perturbed(&stored, &weights, step, 1).unwrap();
            assert_eq!(bits(&levels.tensors), bits(&wanted.tensors), "{text}");
            assert_eq!(levels.flips, wanted.flips, "{text}");
            hit += levels.flips;
        }
    }
    assert!(hit > 10_000);
}

#[test]
fn what_a_room_holds_changes_nothing() {
    let (weights, mut room) = (small(), Room::default());
    // The same room for all: what one method keeps there does not fit the next one.
    for text in METHODS {
        let (mut reusing, mut fresh) = (method(text, &weights), method(text, &weights));
        for step in 0..3 {
            let stored = reusing.store_in(&weights, &mut room).unwrap();
            let wanted = fresh.store(&weights).unwrap();
            assert_eq!(bits(&stored.levels().tensors), bits(&wanted.levels().tensors), "{text}");
            for k in 0..2 {
                let levels = reusing.perturbed_in(&stored, &weights, step, k, &mut room).unwrap();
                assert_eq!(levels, fresh.perturbed(&wanted, &weights, step, k).unwrap(), "{text}");
                let mut put: Vec<Vec<f32>> =
                    weights.tensors.iter().map(|tensor| vec![9.0; tensor.values.len()]).collect();
                let mut slices: Vec<&mut [f32]> = put.iter_mut().map(Vec::as_mut_slice).collect();
                let flips =
                    reusing.put_perturbed(&stored, &weights, step, k, &mut room, &mut slices).unwrap();
                assert_eq!((bits(&put), flips), (bits(&levels.tensors), levels.flips), "{text}");
                room.keep_levels(levels);
            }
            room.keep_stored(stored);
        }
    }
}

#[test]
fn levels_are_not_put_where_they_do_not_fit() {
    let weights = small();
    let mut method = method(METHODS[0], &weights);
    let stored = method.store(&weights).unwrap();
    let mut put: Vec<Vec<f32>> =
        weights.tensors.iter().map(|tensor| vec![9.0; tensor.values.len()]).collect();
    put[3].pop();
    let mut slices: Vec<&mut [f32]> = put.iter_mut().map(Vec::as_mut_slice).collect();
    let room = &mut Room::default();
    let error = method.put_perturbed(&stored, &weights, 0, 0, room, &mut slices).unwrap_err().to_string();
    assert_eq!(error, "levels of tensor 3: 539 values, 540 needed");
    let error =
        method.put_perturbed(&stored, &weights, 0, 0, room, &mut slices[..3]).unwrap_err().to_string();
    assert_eq!(error, "tensors of a pass 0: 3 values, 5 needed");
    assert!(put.iter().flatten().all(|value| *value == 9.0));
}
