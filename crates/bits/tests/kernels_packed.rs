//! Packed codes of 1 to 8 bits against a reference that moves single bits.

use bitquake_bits::kernels::*;
use proptest::prelude::*;

/// Bit `b` of code `i` is bit `i * width + b` of the bytes.
fn naive_pack(codes: &[u8], width: usize) -> Vec<u8> {
    let mut bytes = vec![0; (codes.len() * width).div_ceil(8)];
    for (i, code) in codes.iter().enumerate() {
        for b in 0..width {
            let address = i * width + b;
            bytes[address / 8] |= (code >> b & 1) << (address % 8);
        }
    }
    bytes
}

/// Codes, other codes, and a mask, of a width of 1 to 8 bits.
fn codes() -> impl Strategy<Value = (u32, Vec<u8>, Vec<u8>, u8, u8)> {
    (1..=8_u32, 0..400_usize).prop_flat_map(|(width, count)| {
        let code = || 0..=u8::low_mask(width);
        let all = || prop::collection::vec(code(), count);
        (Just(width), all(), all(), code(), code())
    })
}

proptest! {
    #[test]
    fn packing_and_counting((width, codes, others, _, _) in codes(), skip in 0..70_usize) {
        let packed = pack(&codes, width).unwrap();
        prop_assert_eq!(&packed, &naive_pack(&codes, width as usize));
        prop_assert_eq!(&unpack(&packed, codes.len(), width).unwrap(), &codes);

        // Any place in memory, and nothing outside it.
        let mut place = vec![0xa5; skip + packed.len() + 1];
        pack_into(&codes, width, &mut place[skip..skip + packed.len()]).unwrap();
        prop_assert_eq!(&place[skip..skip + packed.len()], &packed);
        prop_assert!(place[..skip].iter().chain(&place[skip + packed.len()..]).all(|byte| *byte == 0xa5));
        let mut place = vec![0xa5; skip + codes.len() + 1];
        unpack_into(&packed, width, &mut place[skip..skip + codes.len()]).unwrap();
        prop_assert_eq!(&place[skip..skip + codes.len()], &codes);
        prop_assert!(place[..skip].iter().chain(&place[skip + codes.len()..]).all(|byte| *byte == 0xa5));

        let mut other = pack(&others, width).unwrap();
        let expected: Vec<u32> = codes.iter().zip(&others).map(|(a, b)| (a ^ b).count_ones()).collect();
        if !(codes.len() * width as usize).is_multiple_of(8) {
            // Bits behind the last code count for nothing.
            *other.last_mut().unwrap() |= 0x80;
        }
        prop_assert_eq!(&packed_hamming(&packed, &other, codes.len(), width).unwrap(), &expected);
        let mut narrow = vec![0_u8; codes.len()];
        packed_hamming_into(&packed, &other, width, &mut narrow).unwrap();
        prop_assert!(narrow.iter().zip(&expected).all(|(narrow, wide)| u32::from(*narrow) == *wide));
        let total = packed_hamming_total(&packed, &other, codes.len(), width).unwrap();
        prop_assert_eq!(total, expected.iter().map(|count| u64::from(*count)).sum::<u64>());
    }

    #[test]
    fn masks_for_every_code((width, codes, _, set1, set0) in codes(), low in 0..=8_u32) {
        let count = codes.len();
        let each = |change: &dyn Fn(u8) -> u8| codes.iter().map(|code| change(*code)).collect::<Vec<u8>>();
        let mut bytes = pack(&codes, width).unwrap();
        let spare = (8 - count * width as usize % 8) % 8;
        let behind = if spare == 0 { 0 } else { u8::MAX << (8 - spare) };
        if let Some(last) = bytes.last_mut() {
            *last |= behind;
        }
        let start = bytes.clone();
        packed_set_each(&mut bytes, count, width, set1, set0).unwrap();
        prop_assert_eq!(unpack(&bytes, count, width).unwrap(), each(&|code| (code | set1) & !set0));
        prop_assert_eq!(bytes.last().map_or(0, |last| last & behind), behind * u8::from(count > 0), "bits behind the codes");
        bytes.clone_from(&start);
        packed_flip_each(&mut bytes, count, width, set1).unwrap();
        prop_assert_eq!(unpack(&bytes, count, width).unwrap(), each(&|code| code ^ set1));
        packed_flip_each(&mut bytes, count, width, set1).unwrap();
        prop_assert_eq!(&bytes, &start);
        let zeroed = packed_set_zero(&mut bytes, count, width, low);
        if low > width {
            prop_assert_eq!(zeroed, Err(KernelError::LowBits { bits: low, width }));
            prop_assert_eq!(&bytes, &start);
        } else {
            prop_assert_eq!(unpack(&bytes, count, width).unwrap(), each(&|code| code & !u8::low_mask(low)));
        }
    }
}

/// Also where the bytes end with a whole period of masks, but the codes do not.
#[test]
fn bits_behind_the_last_code_are_left_alone() {
    for width in 1..=8 {
        for count in 0..200 {
            let mut bytes = vec![u8::MAX; packed_bytes(count, width).unwrap()];
            packed_set_each(&mut bytes, count, width, 0, u8::low_mask(width)).unwrap();
            let ones: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(ones, bytes.len() as u32 * 8 - count as u32 * width, "{count} codes of {width} bits");
        }
    }
}

#[test]
fn all_pairs_of_neighbouring_codes() {
    for width in 1..=4 {
        let all = 0..1_u8 << width;
        let codes: Vec<u8> = all.clone().flat_map(|a| all.clone().flat_map(move |b| [a, b])).collect();
        assert_eq!(pack(&codes, width).unwrap(), naive_pack(&codes, width as usize), "{width}");
    }
    assert_eq!(pack(&[1, 0, 1, 1, 0, 0, 0, 1, 1], 1).unwrap(), [0b1000_1101, 1], "low bits first");
    assert_eq!(pack(&[0x1, 0xf], 4).unwrap(), [0xf1]);
}

#[test]
fn large_arrays() {
    for width in 1..=8 {
        let codes: Vec<u8> = (0..(9_u32 << 20) + 13)
            .map(|i| (i.wrapping_mul(0x9e37_79b9) >> 24) as u8 & u8::low_mask(width))
            .collect();
        let packed = pack(&codes, width).unwrap();
        let other: Vec<u8> = packed.iter().map(|byte| byte ^ 0x5a).collect();
        assert!(unpack(&packed, codes.len(), width).unwrap() == codes, "{width}");
        let mut counts = vec![0_u8; codes.len()];
        packed_hamming_into(&packed, &other, width, &mut counts).unwrap();
        let other = unpack(&other, codes.len(), width).unwrap();
        assert!(
            counts
                .iter()
                .zip(codes.iter().zip(&other))
                .all(|(n, (a, b))| u32::from(*n) == (a ^ b).count_ones()),
            "{width}"
        );
        let few = 3 << 20;
        let bytes = packed_bytes(few, width).unwrap();
        let wide =
            packed_hamming(&packed[..bytes], &pack(&other[..few], width).unwrap(), few, width).unwrap();
        assert!(wide.iter().zip(&counts).all(|(wide, narrow)| *wide == u32::from(*narrow)), "{width}");
    }
}

#[test]
fn wrong_arguments_are_refused() {
    for width in [0, 9, u32::MAX] {
        let error = KernelError::Width { width, max: 8 };
        assert_eq!(pack(&[0], width), Err(error.clone()));
        assert_eq!(unpack(&[0], 1, width), Err(error.clone()));
        assert_eq!(packed_flip_each(&mut [0], 1, width, 0), Err(error.clone()));
        assert_eq!(packed_hamming_total(&[0], &[0], 1, width), Err(error));
    }
    for place in [0, 63, 64, 130, 199] {
        for width in 1..8 {
            let mut codes = vec![0; 200];
            codes[place] = 1 << width;
            let error = KernelError::TooWide { index: place, word: 1 << width, width };
            assert_eq!(pack(&codes, width), Err(error));
        }
    }
    let length = |what, actual, expected| KernelError::Length { what, actual, expected };
    assert_eq!(unpack(&[0; 3], 10, 3), Err(length("the packed array", 3, 4)));
    assert_eq!(unpack(&[0; 5], 10, 3), Err(length("the packed array", 5, 4)));
    assert_eq!(packed_hamming(&[0; 4], &[0; 3], 10, 3), Err(length("the right operand", 3, 4)));
    assert_eq!(packed_flip_each(&mut [0; 4], 10, 3, 0b1010), Err(KernelError::Bit { bit: 3, width: 3 }));
    assert_eq!(packed_set_each(&mut [0; 4], 10, 3, 0, 0b10000), Err(KernelError::Bit { bit: 4, width: 3 }));
    assert_eq!(unpack(&[], usize::MAX, 8), Err(length("the packed array", 0, usize::MAX)));
    assert_eq!(packed_bytes(usize::MAX, 8), Some(usize::MAX));
    assert_eq!(packed_bytes(usize::MAX, 64), None);
    assert_eq!(packed_bytes(0, 3), Some(0));
}

#[test]
fn pieces_on_threads_join_without_a_seam() {
    for width in 1..=8_usize {
        let codes: Vec<u8> =
            (0..1001_u32).map(|i| (i.wrapping_mul(77) >> 2) as u8 & u8::low_mask(width as u32)).collect();
        let expected = naive_pack(&codes, width);
        let mut packed = vec![0; expected.len()];
        let arrays = (Groups { array: &codes[..], size: 8 }, Groups { array: &mut packed[..], size: width });
        let done = on_threads(3, arrays, |(codes, bytes)| pack_into(codes.array, width as u32, bytes.array));
        assert!(done.iter().all(Result::is_ok) && done.len() == 3);
        assert_eq!(packed, expected, "{width}");
    }
}
