//! The bits of a layer: SPEC 3.2 (F2 to F8), with the confirmed vectors of 3.3.

use bitquake_bits::kernels::*;
use bitquake_testing::assert_cases;

fn layer(weights: u64, width: u32) -> LayerBits {
    LayerBits::new(weights, width, BitOrder::Msb).expect("a small layer")
}

fn at(weight: u64, bit: u32) -> WeightBit {
    WeightBit { weight, bit }
}

fn region(start: u64, end: u64) -> BitRegion {
    BitRegion { start, end }
}

#[test]
fn layer_bit_indices() {
    let three = layer(2, 3);
    let rows = [(0, 0, 2), (1, 0, 1), (2, 0, 0), (3, 1, 2), (4, 1, 1), (5, 1, 0)];
    assert_cases(rows.map(|(index, weight, bit)| (index, index, Ok(at(weight, bit)))), |index| {
        three.weight_bit(index)
    });
    assert_eq!(layer(12, 5).weight_bit(0), Ok(at(0, 4)));
    for order in [BitOrder::Lsb, BitOrder::Msb] {
        for (weights, width) in [(1, 1), (3, 8), (5, 64), (2, 5)] {
            let layer = LayerBits::new(weights, width, order).unwrap();
            for index in 0..layer.bits() {
                let place = layer.weight_bit(index).unwrap();
                assert_eq!(layer.layer_bit(place), Ok(index));
                if order == BitOrder::Lsb {
                    assert_eq!(
                        index,
                        place.weight * u64::from(width) + u64::from(place.bit),
                        "the bit address"
                    );
                }
            }
        }
    }
}

#[test]
fn indices_outside_are_named() {
    let layer = layer(12, 5);
    assert_eq!(layer.weight_bit(60), Err(LayerBitError::Index { index: 60, bound: 60 }));
    assert_eq!(layer.layer_bit(at(12, 0)), Err(LayerBitError::Weight { weight: 12, bound: 12 }));
    assert_eq!(layer.layer_bit(at(0, 5)), Err(LayerBitError::Bit { bit: 5, width: 5 }));
    assert_eq!(layer.by_significance(60), Err(LayerBitError::Index { index: 60, bound: 60 }));
    assert!(layer.least_significant(61).is_err() && layer.least_significant(60).is_ok());
    assert_eq!(
        layer.weight_bit(60).unwrap_err().to_string(),
        "layer bit 60 is outside the layer, which has 60 bits"
    );
    for width in [0, 65] {
        assert_eq!(LayerBits::new(1, width, BitOrder::Lsb), Err(LayerBitError::Width { width }));
    }
    let error = LayerBitError::TooLarge { weights: u64::MAX, width: 2 };
    assert_eq!(LayerBits::new(u64::MAX, 2, BitOrder::Lsb), Err(error));
    let empty = LayerBits::new(0, 8, BitOrder::Lsb).unwrap();
    assert_eq!((empty.whole(), empty.exact_count(1.0)), (None, Ok(0)));
    assert!(empty.by_significance(0).is_err());
    assert_eq!(empty.least_significant(0).unwrap().count(), 0);
}

#[test]
fn regions_are_half_open_and_checked() {
    let layer = layer(3, 5);
    assert_eq!(layer.whole(), Some(region(0, 15)));
    assert_eq!(layer.region(0, 15), Ok(region(0, 15)));
    assert_eq!(layer.region(1, 0), Err(LayerBitError::EmptyRegion { start: 1, end: 0 }), "inverted");
    assert_eq!(layer.region(3, 3), Err(LayerBitError::EmptyRegion { start: 3, end: 3 }));
    assert_eq!(layer.region(0, 16), Err(LayerBitError::Index { index: 15, bound: 15 }));
    let signs: Vec<BitRegion> = layer.each_weight(4).unwrap().collect();
    assert_eq!(signs, [region(0, 1), region(5, 6), region(10, 11)]);
    assert!(layer.each_weight(5).is_err());
    assert_eq!(layer.regions(signs.iter().rev().copied()).unwrap(), signs);
    let overlap = LayerBitError::Overlap { first: region(0, 4), second: region(3, 5) };
    assert_eq!(layer.regions([region(3, 5), region(0, 4)]), Err(overlap));
    assert_eq!(overlap.to_string(), "the regions 0..4 and 3..5 overlap");
    assert!(layer.regions([region(0, 4), region(4, 5)]).is_ok(), "neighbours do not");
    let bits: Vec<WeightBit> = layer.bits_of(region(4, 7)).unwrap().collect();
    assert_eq!(bits, [at(0, 0), at(1, 4), at(1, 3)]);
    assert!(layer.bits_of(region(7, 4)).is_err());
}

#[test]
fn exact_counts() {
    let layer = layer(12, 5);
    assert_cases(
        [(0.0, 0), (1.0 / 60.0, 1), (0.5, 30), (1.0, 60), (0.0166, 0), (0.99, 59)]
            .map(|(ber, n)| (ber, ber, Ok(n))),
        |ber| layer.exact_count(ber),
    );
    for numerator in 0..=60_u32 {
        assert_eq!(layer.exact_count(f64::from(numerator) / 60.0), Ok(numerator.into()), "{numerator}/60");
    }
    assert_eq!(layer.exact_count_of(region(0, 10), 0.25), Ok(2));
    for ber in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(layer.exact_count(ber), Err(LayerBitError::Rate { .. })));
    }
}

#[test]
fn deterministic_masks() {
    let layer = layer(12, 5);
    let first = |ber| layer.masks(layer.least_significant(layer.exact_count(ber).unwrap()).unwrap()).unwrap();
    assert_eq!(first(1.0 / 60.0), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(first(0.5), [7, 7, 7, 7, 7, 7, 3, 3, 3, 3, 3, 3]);
    assert_eq!(first(1.0), [31; 12]);
    let drawn = (0..60).map(|draw| layer.by_significance(draw).unwrap());
    assert!(drawn.eq(layer.least_significant(60).unwrap()), "draw k is the k-th bit by significance");
    assert_eq!(layer.masks([at(0, 1), at(0, 1), at(1, 2)]).unwrap()[..2], [0, 4], "twice is not at all");
    assert!(layer.masks([at(12, 0)]).is_err() && layer.masks([at(0, 5)]).is_err());
}

/// Codes of the notebook's weights under quantizer A (step 1/8).
const CODES: [i64; 12] = [3, 0, 1, 5, 6, 2, 8, 4, 3, 2, 2, 6];

fn flipped(codes: &[i64], masks: &[u64]) -> Vec<f64> {
    codes.iter().zip(masks).map(|(code, mask)| (code ^ sign_extend(*mask, 5)) as f64 / 8.0).collect()
}

#[test]
fn the_sign_bit_needs_a_sign_extended_mask() {
    assert_eq!(4_i64 ^ 16, 20);
    assert_eq!(sign_extend(16, 5), -16);
    assert_eq!((4 ^ sign_extend(16, 5)) as f64 / 8.0, -1.5);
    // F7 as it is written: M -> (M AND (2^(B-k) - 1)) - (M AND 2^(B-k)), with B - k = 4 for 5 bits and a sign.
    for mask in 0..32_u64 {
        let formula = (mask & 15) as i64 - (mask & 16) as i64;
        assert_eq!(sign_extend(mask, 5), formula, "{mask}");
        for code in -16..16_i64 {
            let expected = sign_extend((code.cast_unsigned() ^ mask) & 31, 5);
            assert_eq!(code ^ formula, expected, "two's complement flip of {code} by {mask}");
        }
    }
    assert_eq!((sign_extend(u64::MAX, 64), sign_extend(1, 0), sign_extend(5, 70)), (-1, 0, 5));
    assert_eq!(sign_extend(0b110_0001, 1), -1, "bits above the width are ignored");
}

#[test]
fn notebook_cells() {
    let layer = layer(12, 5);
    let values = |codes: &[i64]| codes.iter().map(|code| *code as f64 / 8.0).collect::<Vec<_>>();
    let starts = |regions: &[BitRegion]| layer.masks(layer.starts(regions.iter().copied()).unwrap()).unwrap();
    // Cell 25 and its neighbours: the sign bit of weight 0, then its last bit.
    let sign = flipped(&CODES, &starts(&[region(0, 1)]));
    assert_eq!((sign[0], &sign[1..]), (-1.625, &values(&CODES)[1..]));
    assert_eq!(flipped(&CODES, &starts(&[region(4, 5)]))[0], 0.25);
    // Cell 20: on the negative weights, region (1, 1), that is, half-open 1..2.
    let negative = CODES.map(|code| -code);
    let masks = starts(&[region(1, 2)]);
    assert_eq!(masks[0], 8);
    assert_eq!(flipped(&negative, &masks)[0], -1.375, "bit 3 alone");
    // The cell flips the sign too, its region (0, 0); together -3 becomes 5 under the mask 11000 = -8.
    let masks = starts(&[region(0, 1), region(1, 2)]);
    assert_eq!(sign_extend(masks[0], 5), -8);
    let result = flipped(&negative, &masks);
    assert_eq!((result[0], &result[1..]), (0.625, &values(&negative)[1..]));
    // Cell 26: rate 1/60.
    let masks = layer.masks(layer.least_significant(1).unwrap()).unwrap();
    let result = flipped(&CODES, &masks);
    assert_eq!((result[0], &result[1..]), (0.25, &values(&CODES)[1..]));
    // All 60 bits: the corrected values.
    let all = layer.masks(layer.least_significant(60).unwrap()).unwrap();
    let expected = [-0.5, -0.125, -0.25, -0.75, -0.875, -0.375, -1.125, -0.625, -0.5, -0.375, -0.375, -0.875];
    assert_eq!(flipped(&CODES, &all), expected);
    // Only the start of a region is flipped.
    assert_eq!(starts(&[region(2, 5)])[0], 4);
}
