//! Resolving flips without the data, against a memory with data and check bits that is written, hit, read and
//! decoded.

use std::collections::{BTreeMap, BTreeSet};

use bitquake_bits::{BitSelection, Format, Layout, WordStore, Words, WordsMut};
use bitquake_fault::protect::{
    CheckSpace, Code, CodeError, Columns, Decoded, Kind, OnDetection, OnOutside, Outcomes, ProtectError,
    Protection, Protections, RangeGuard, RawFlips, Resolution,
};
use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_testing::{SplitMix64, assert_cases};
use proptest::prelude::*;

fn get(bytes: &[u8], address: u64) -> bool {
    bytes[(address / 8) as usize] >> (address % 8) & 1 == 1
}

fn flip(bytes: &mut [u8], address: u64) {
    bytes[(address / 8) as usize] ^= 1 << (address % 8);
}

/// A bit of memory: in the data (0) or in part i - 1, and its address there.
type Place = (usize, u64);

/// The code words of a tensor as lists of places, data bits first, dealt out as the documentation says and not by
/// formulas.
fn deal(
    space: &CheckSpace,
    protection: &Protection,
    format: Format,
    elements: u64,
) -> Vec<(Vec<Place>, Vec<Place>)> {
    let mask = protection.bits.mask(format).expect("bits of the format");
    let width = u64::from(format.width());
    let protected: Vec<u64> =
        (0..elements * width).filter(|address| mask >> (address % width) & 1 == 1).collect();
    let code = protection.code().expect("a code that exists");
    if let Code::Repetition { copies } = code {
        let copies_of = |number: usize| (1..copies as usize).map(move |copy| (copy, number as u64)).collect();
        return protected.iter().enumerate().map(|(i, &bit)| (vec![(0, bit)], copies_of(i))).collect();
    }
    let unit = if let Code::Symbol { symbol_bits, .. } = code { symbol_bits as usize } else { 1 };
    let (interleave, check_bits) = (protection.interleave as usize, code.check_bits() as usize);
    let mut words = Vec::new();
    let mut next_check = 0;
    for group in protected.chunks(code.data_bits() as usize * interleave) {
        let count = interleave.min(group.len().div_ceil(unit));
        let mut dealt = vec![(Vec::new(), Vec::new()); count];
        for (i, bits) in group.chunks(unit).enumerate() {
            dealt[i % interleave].0.extend(bits.iter().map(|&bit| (0, bit)));
        }
        for i in 0..count * check_bits / unit {
            dealt[i % count].1.extend((0..unit as u64).map(|bit| (1, next_check + bit)));
            next_check += unit as u64;
        }
        words.extend(dealt);
    }
    assert_eq!(words.len() as u64, space.code_words());
    words
}

/// Bits read from memory, as limbs.
fn read(memory: &[Vec<u8>], places: &[Place]) -> Vec<u64> {
    let mut limbs = vec![0; places.len().div_ceil(64)];
    for (i, &(part, address)) in places.iter().enumerate() {
        limbs[i / 64] |= u64::from(get(&memory[part], address)) << (i % 64);
    }
    limbs
}

/// What a reader of the memory gets for the data, and the counts.
fn read_all(
    space: &CheckSpace,
    protection: &Protection,
    format: Format,
    clean: &[Vec<u8>],
    hit: &[Vec<u8>],
) -> (Vec<u8>, Outcomes) {
    let width = u64::from(format.width());
    let elements = clean[0].len() as u64 * 8 / width;
    let (mut data, mut outcomes, mut zeroed) = (hit[0].clone(), Outcomes::default(), BTreeSet::new());
    for (data_places, check_places) in deal(space, protection, format, elements) {
        let all: Vec<Place> = [&data_places[..], &check_places].concat();
        let is_hit = all.iter().any(|&(part, bit)| get(&clean[part], bit) != get(&hit[part], bit));
        outcomes.words_hit += u64::from(is_hit);
        let check = read(hit, &check_places).first().copied().unwrap_or(0) as u32;
        let decoded = space.codec().decode(&read(hit, &data_places), check);
        let mut is_detected = decoded == Decoded::Detected;
        if let Decoded::Corrected(flips) = decoded {
            // The decoder knows which bits are not stored.
            let full = space.codec().code().data_bits() as usize;
            let is_stored = |bit: usize| bit < data_places.len() || bit >= full;
            is_detected = !flips.iter().all(|&bit| is_stored(bit.into()));
            if !is_detected {
                let corrected = flips.iter().filter(|&&bit| usize::from(bit) < data_places.len());
                corrected.for_each(|&bit| flip(&mut data, data_places[usize::from(bit)].1));
                let is_right = data_places.iter().all(|&(_, bit)| get(&data, bit) == get(&clean[0], bit));
                outcomes.corrected += u64::from(is_right);
                outcomes.miscorrected += u64::from(!is_right);
            }
        }
        outcomes.silent += u64::from(is_hit && decoded == Decoded::Clean);
        outcomes.detected += u64::from(is_detected);
        if is_detected && protection.on_detection == OnDetection::Zero {
            zeroed.extend(data_places.iter().map(|(_, bit)| bit / width));
        }
    }
    for &element in &zeroed {
        for bit in element * width..(element + 1) * width {
            if get(&data, bit) {
                flip(&mut data, bit);
            }
        }
    }
    outcomes.zeroed = zeroed.len() as u64;
    (data, outcomes)
}

fn protections() -> impl Strategy<Value = Protection> {
    let words = prop_oneof![
        (1..=70_u32).prop_map(|bits| (Kind::Parity, Some(bits), None, None)),
        (8..=80_u32).prop_map(|bits| (Kind::Secded, Some(bits), None, None)),
        // The code that has its own way to encode whole tensors.
        Just((Kind::Secded, None, None, None)),
        (1..=64_u32).prop_map(|bits| (Kind::DecTed, Some(bits), None, None)),
        (1..=12_u32).prop_map(|symbols| (Kind::Chipkill, Some(4 * symbols), Some(4), None)),
        (1..=10_u32).prop_map(|symbols| (Kind::Chipkill, Some(8 * symbols), Some(8), None)),
        Just((Kind::Tmr, None, None, None)),
        (2..=9_u32).prop_map(|copies| (Kind::Replication, None, None, Some(copies))),
    ];
    let bits = prop_oneof![
        Just(BitSelection::All),
        Just(BitSelection::Msb),
        Just(BitSelection::Bit(1)),
        Just(BitSelection::Range { low: 2, high: 4 }),
    ];
    (words, bits, 1..=5_u32, any::<bool>(), any::<bool>()).prop_map(
        |(word, bits, interleave, zero, hsiao)| {
            let (kind, data_bits, symbol_bits, copies) = word;
            Protection {
                data_bits,
                symbol_bits,
                copies,
                bits,
                columns: (hsiao && kind == Kind::Secded).then_some(Columns::Hsiao),
                interleave: if copies.is_some() || kind == Kind::Tmr { 1 } else { interleave },
                on_detection: if zero { OnDetection::Zero } else { OnDetection::Keep },
                ..Protection::new(kind)
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn resolving_is_reading_a_memory_that_was_hit(
        protection in protections(),
        format in prop::sample::select(vec![Format::U8, Format::F16, Format::F32, Format::signed(5), Format::U64]),
        elements in 0..40_u64,
        errors in 0..30_u64,
        seed in any::<u64>(),
    ) {
        // Whole bytes of packed words, and others behind them that are not the tensor's.
        let elements = if format.width().is_multiple_of(8) { elements } else { elements * 8 };
        let mut random = SplitMix64::new(seed);
        let size = (elements * u64::from(format.width()) / 8) as usize;
        let more = random.bytes(size + 9);
        let (data, layout) = (more[..size].to_vec(), Layout::packed(format));
        let words = Words::new(format, elements, &layout, &more).unwrap();
        let space = protection.layout(format, elements).unwrap();
        let mut clean = vec![data.clone()];
        clean.extend((0..space.parts().len()).map(|part| space.encode(part, &words).unwrap()));
        // Written without errors, every word reads clean.
        let (same, outcomes) = read_all(&space, &protection, format, &clean, &clean);
        prop_assert!(same == data && outcomes == Outcomes::default());

        let sizes: Vec<u64> = std::iter::once(elements * u64::from(format.width()))
            .chain(space.parts().iter().map(|part| part.bits()))
            .collect();
        let mut flips = vec![BTreeSet::new(); sizes.len()];
        for _ in 0..if elements == 0 { 0 } else { errors } {
            // Half of all near the start, so that words are hit several times.
            let part = random.below(sizes.len() as u64) as usize;
            let size = if random.below(2) == 0 { sizes[part] } else { sizes[part].min(80) };
            flips[part].insert(random.below(size));
        }
        let mut hit = clean.clone();
        for (bytes, flips) in hit.iter_mut().zip(&flips) {
            flips.iter().for_each(|&address| flip(bytes, address));
        }
        let flips: Vec<Vec<u64>> = flips.into_iter().map(|flips| flips.into_iter().collect()).collect();
        let parts: Vec<&[u64]> = flips[1..].iter().map(Vec::as_slice).collect();
        let Resolution { seen, outcomes } =
            space.resolve(&RawFlips { data: &flips[0], parts: &parts }, Some(&words)).unwrap();

        let (wanted, counts) = read_all(&space, &protection, format, &clean, &hit);
        prop_assert!(seen.is_sorted_by(|a, b| a < b));
        let mut got = data.clone();
        seen.iter().for_each(|&address| flip(&mut got, address));
        prop_assert!(got == wanted);
        let counts = Outcomes {
            raw_flips: flips[0].len() as u64,
            check_flips: flips[1..].iter().map(|flips| flips.len() as u64).sum(),
            unprotected_flips: outcomes.unprotected_flips,
            seen_flips: seen.len() as u64,
            ..counts
        };
        prop_assert_eq!(outcomes, counts);
        let mask = protection.bits.mask(format).unwrap();
        let is_open = |address: &&u64| mask >> (**address % u64::from(format.width())) & 1 == 0;
        prop_assert_eq!(outcomes.unprotected_flips, flips[0].iter().filter(is_open).count() as u64);
    }
}

#[test]
fn what_protections_cost() {
    let of = |text: &str| -> Protection { toml::from_str(text).unwrap() };
    let rows = [
        ("secded", "kind = 'secded'", vec![("check", Format::U8, 51)]),
        ("secded 128", "kind = 'secded'\ndata_bits = 128", vec![("check", Format::unsigned(9), 26)]),
        ("parity of a byte", "kind = 'parity'\ndata_bits = 8", vec![("check", Format::unsigned(1), 404)]),
        ("dec-ted", "kind = 'dec-ted'", vec![("check", Format::unsigned(15), 51)]),
        ("chipkill", "kind = 'chipkill'", vec![("check", Format::unsigned(24), 26)]),
        ("tmr", "kind = 'tmr'", vec![("copy1", Format::F32, 101), ("copy2", Format::F32, 101)]),
        (
            "tmr of the exponent",
            "kind = 'tmr'\nbits = 'exponent'",
            vec![("copy1", Format::U8, 101), ("copy2", Format::U8, 101)],
        ),
        (
            "five times the top bit",
            "kind = 'replication'\ncopies = 5\nbits = 'msb'",
            (1..5)
                .map(|copy| (["copy1", "copy2", "copy3", "copy4"][copy - 1], Format::unsigned(1), 101))
                .collect(),
        ),
        ("secded of the exponent", "kind = 'secded'\nbits = 'exponent'", vec![("check", Format::U8, 13)]),
        ("parity, interleaved", "kind = 'parity'\ninterleave = 4", vec![("check", Format::unsigned(1), 52)]),
    ];
    let wanted = rows.map(|(name, text, parts)| {
        let parts: Vec<(String, Format, u64)> =
            parts.into_iter().map(|(name, format, elements)| (name.to_owned(), format, elements)).collect();
        (name, text, parts)
    });
    assert_cases(wanted, |text| {
        let space = of(text).layout(Format::F32, 101).unwrap();
        let parts = space.parts().iter();
        parts.map(|part| (part.name.clone(), part.format, part.elements)).collect::<Vec<_>>()
    });
    let space = of("kind = 'tmr'").layout(Format::F32, 101).unwrap();
    assert_eq!((space.check_bits(), space.overhead()), (2 * 32 * 101, 2.0));
}

#[test]
fn protections_as_text() {
    let full = Protection {
        data_bits: Some(128),
        columns: Some(Columns::Hsiao),
        interleave: 8,
        bits: BitSelection::Range { low: 23, high: 30 },
        on_detection: OnDetection::Zero,
        ..Protection::new(Kind::Secded)
    };
    let text = toml::to_string(&full).unwrap();
    let wanted = "kind = \"secded\"\ndata_bits = 128\ncolumns = \"hsiao\"\ninterleave = 8\n\
                  bits = \"23..30\"\non_detection = \"zero\"\n";
    assert_eq!(text, wanted);
    assert_eq!(toml::from_str::<Protection>(&text).unwrap(), full);
    for kind in ["parity", "secded", "dec-ted", "chipkill", "tmr", "replication"] {
        let protection: Protection = toml::from_str(&format!("kind = '{kind}'")).unwrap();
        assert_eq!(protection, Protection::new(protection.kind));
        assert_eq!(toml::from_str::<Protection>(&toml::to_string(&protection).unwrap()).unwrap(), protection);
    }
    for bad in ["kind = 'ecc'", "kind = 'tmr'\ncopy = 3", "kind = 'tmr'\nbits = 'top'", "data_bits = 64"] {
        assert!(toml::from_str::<Protection>(bad).is_err(), "{bad}");
    }
}

#[test]
fn protections_that_cannot_be() {
    let field = |kind, field| ProtectError::Field { kind, field };
    let rows = [
        ("data bits of copies", "kind = 'tmr'\ndata_bits = 8", field(Kind::Tmr, "data_bits")),
        ("copies of tmr", "kind = 'tmr'\ncopies = 5", field(Kind::Tmr, "copies")),
        ("symbols of secded", "kind = 'secded'\nsymbol_bits = 8", field(Kind::Secded, "symbol_bits")),
        ("columns of parity", "kind = 'parity'\ncolumns = 'hsiao'", field(Kind::Parity, "columns")),
        (
            "interleaved copies",
            "kind = 'replication'\ninterleave = 2",
            field(Kind::Replication, "interleave"),
        ),
        ("no interleave", "kind = 'parity'\ninterleave = 0", ProtectError::Interleave { interleave: 0 }),
        ("ten copies", "kind = 'replication'\ncopies = 10", CodeError::Copies { copies: 10 }.into()),
    ];
    assert_cases(rows, |text| toml::from_str::<Protection>(text).unwrap().layout(Format::U8, 1).unwrap_err());
    let exponent = Protection { bits: BitSelection::Exponent, ..Protection::new(Kind::Tmr) };
    assert!(matches!(exponent.layout(Format::U8, 1), Err(ProtectError::Bits(_))));
    let format = Format::F32;
    let elements = u64::MAX / 8;
    let error = Protection::new(Kind::Tmr).layout(format, elements).unwrap_err();
    assert_eq!(error, ProtectError::TooLarge { format, elements });
}

#[test]
fn flips_that_do_not_fit() {
    let space = Protection::new(Kind::Secded).layout(Format::F32, 3).unwrap();
    let resolve =
        |data: &[u64], parts: &[&[u64]]| space.resolve(&RawFlips { data, parts }, None).unwrap_err();
    let data = || "data".to_owned();
    assert_eq!(resolve(&[96], &[]), ProtectError::OutOfBounds { part: data(), address: 96, bits: 96 });
    assert_eq!(resolve(&[7, 7], &[]), ProtectError::NotRising { part: data(), address: 7 });
    let part = "check".to_owned();
    assert_eq!(resolve(&[], &[&[16]]), ProtectError::OutOfBounds { part, address: 16, bits: 16 });
    assert_eq!(resolve(&[], &[&[], &[]]), ProtectError::Parts { given: 2, wanted: 1 });
    assert!(space.encode(1, &Words::packed(Format::F32, &[0; 12])).is_err());
    let other = Words::packed(Format::U8, &[0; 3]);
    assert!(matches!(space.encode(0, &other), Err(ProtectError::OtherWords { found: Format::U8, .. })));
}

#[test]
fn zeroing_needs_words_and_a_zero() {
    let zero = Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Secded) };
    let space = zero.layout(Format::F32, 4).unwrap();
    let raw = RawFlips { data: &[1, 2], parts: &[] };
    assert_eq!(space.resolve(&raw, None), Err(ProtectError::NoWords));
    // Nothing is detected, nothing is needed.
    assert!(space.resolve(&RawFlips { data: &[1], parts: &[] }, None).unwrap().seen.is_empty());
    let space = zero.layout(Format::F8E8M0, 4).unwrap();
    let words = Words::packed(Format::F8E8M0, &[127; 4]);
    assert_eq!(space.resolve(&raw, Some(&words)), Err(ProtectError::NoZero { format: Format::F8E8M0 }));
    // With a word for zero: codes 9 become 8, the zero point, wherever they are hit.
    let space = zero.layout(Format::U8, 8).unwrap().with_zero(8);
    let bytes = [9; 8];
    let resolution = space.resolve(&raw, Some(&Words::packed(Format::U8, &bytes))).unwrap();
    assert!(resolution.seen.iter().copied().eq((0..8).map(|element| 8 * element)));
    assert_eq!(resolution.outcomes.zeroed, 8);
}

/// Neighbouring flips, as many as words take turns, are all corrected; without interleave they are not.
#[test]
fn interleaving_spreads_a_burst() {
    let burst: Vec<u64> = (1000..1016).collect();
    let raw = RawFlips { data: &burst, parts: &[] };
    let plain = Protection::new(Kind::Secded);
    let spread = Protection { interleave: 16, ..plain.clone() };
    let outcomes = |protection: &Protection| {
        protection.layout(Format::F32, 1000).unwrap().resolve(&raw, None).unwrap().outcomes
    };
    assert_eq!((outcomes(&spread).corrected, outcomes(&spread).seen_flips), (16, 0));
    assert!(outcomes(&plain).corrected == 0 && outcomes(&plain).seen_flips >= 16);
}

/// Cost follows the flips: a tensor of 2^50 bits is resolved at once.
#[test]
fn a_huge_tensor_costs_nothing() {
    for kind in [Kind::Parity, Kind::Secded, Kind::DecTed, Kind::Chipkill, Kind::Tmr] {
        let space = Protection::new(kind).layout(Format::F32, 1 << 45).unwrap();
        let last = (1 << 50) - 1;
        let resolution = space.resolve(&RawFlips { data: &[0, last], parts: &[] }, None).unwrap();
        assert_eq!(resolution.outcomes.words_hit, 2);
    }
}

#[test]
fn guards_replace_what_is_outside() {
    let bytes = [0.5_f32, -1.0, 2.0, 0.25].map(f32::to_le_bytes).concat();
    let words = Words::packed(Format::F32, &bytes);
    let flips_to = |element: u64, wanted: f32| -> Vec<u64> {
        let clean = words.get(element).unwrap() as u32;
        let differing = clean ^ wanted.to_bits();
        (0..32).filter(|bit| differing >> bit & 1 == 1).map(|bit| element * 32 + bit).collect()
    };
    let run = |guard: RangeGuard, seen: Vec<u64>| {
        let mut resolution = Resolution { seen, ..Resolution::default() };
        guard.apply(&words, &mut resolution).unwrap();
        (resolution.seen, resolution.outcomes.guarded)
    };
    let zero = RangeGuard::profile(&words, OnOutside::Zero).unwrap();
    let clamp = RangeGuard::profile(&words, OnOutside::Clamp).unwrap();
    assert_eq!((zero.low(), zero.high(), zero.outside(&words)), (-1.0, 2.0, 0));
    let rows = [
        ("inside", zero, flips_to(0, 1.5), (flips_to(0, 1.5), 0)),
        ("the end itself", zero, flips_to(0, 2.0), (flips_to(0, 2.0), 0)),
        ("too large", zero, flips_to(0, 2.5), (flips_to(0, 0.0), 1)),
        ("too large, clamped", clamp, flips_to(0, 2.5), (flips_to(0, 2.0), 1)),
        ("too small, clamped", clamp, flips_to(3, -9.0), (flips_to(3, -1.0), 1)),
        ("infinite, clamped", clamp, flips_to(0, f32::INFINITY), (flips_to(0, 2.0), 1)),
        ("clamped to what it was", clamp, flips_to(2, 9.0), (vec![], 1)),
        ("NaN", zero, flips_to(2, f32::NAN), (flips_to(2, 0.0), 1)),
        ("NaN, clamped", clamp, flips_to(2, f32::NAN), (flips_to(2, 0.0), 1)),
        (
            "NaN, clamped, zero being outside",
            RangeGuard::new(0.25, 4.0, OnOutside::Clamp).unwrap(),
            flips_to(2, f32::NAN),
            (flips_to(2, 0.25), 1),
        ),
        (
            "one of two",
            zero,
            [flips_to(0, 1.5), flips_to(1, 3.0)].concat(),
            ([flips_to(0, 1.5), flips_to(1, 0.0)].concat(), 1),
        ),
    ];
    for (name, guard, seen, wanted) in rows {
        assert_eq!(run(guard, seen), wanted, "{name}");
    }
}

#[test]
fn guards_that_cannot_be() {
    for (low, high) in [(1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::NAN)] {
        assert!(matches!(RangeGuard::new(low, high, OnOutside::Zero), Err(ProtectError::GuardRange { .. })));
    }
    let bytes = [f32::NAN, f32::INFINITY].map(f32::to_le_bytes).concat();
    let words = Words::packed(Format::F32, &bytes);
    let error = ProtectError::NoRange { format: Format::F32, elements: 2 };
    assert_eq!(RangeGuard::profile(&words, OnOutside::Zero), Err(error));
    let narrow = RangeGuard::new(-0.5, 0.5, OnOutside::Zero).unwrap();
    assert_eq!(narrow.outside(&words), 2);
    let mut beyond = Resolution { seen: vec![64], ..Resolution::default() };
    assert!(matches!(narrow.apply(&words, &mut beyond), Err(ProtectError::OutOfBounds { address: 64, .. })));
}

struct Store(BTreeMap<&'static str, Vec<u8>>);

impl WordStore for Store {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        self.0.get(tensor).map(|bytes| Words::packed(Format::F32, bytes))
    }
    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        self.0.get_mut(tensor).map(|bytes| WordsMut::packed(Format::F32, bytes))
    }
}

fn hit(tensor: &str, format: Format, elements: u64, addresses: &[u64]) -> TensorFlips {
    TensorFlips { tensor: tensor.to_owned(), format, elements, addresses: addresses.to_vec() }
}

#[test]
fn a_whole_network() {
    let ones = vec![1.0_f32; 4].into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>();
    let store = Store(["a", "b", "c", "d"].map(|name| (name, ones.clone())).into());
    let mut all = Protections::default();
    all.protect("a", Protection::new(Kind::Secded).layout(Format::F32, 4).unwrap());
    all.protect("b", Protection::new(Kind::Tmr).layout(Format::F32, 4).unwrap());
    let guard = RangeGuard::new(-2.0, 2.0, OnOutside::Zero).unwrap();
    all.guard("b", guard);
    all.guard("c", guard);
    let checks: Vec<(String, Format, u64)> = all.check_tensors().collect();
    let wanted = [("a@check", Format::U8, 2), ("b@copy1", Format::F32, 4), ("b@copy2", Format::F32, 4)];
    assert_eq!(checks, wanted.map(|(name, format, elements)| (name.to_owned(), format, elements)));
    assert_eq!(all.check_bits(), 16 + 2 * 128);

    let f32s = |tensor: &str, addresses: &[u64]| hit(tensor, Format::F32, 4, addresses);
    let raw = FaultPattern::new(vec![
        f32s("a", &[3, 70, 71]),
        hit("a@check", Format::U8, 2, &[1]),
        // Bit 30 of two copies of element 1: the vote makes it infinite, the guard zero. Bit 5 of one copy:
        // corrected.
        f32s("b@copy1", &[5, 62]),
        f32s("b@copy2", &[62]),
        f32s("c", &[22, 62]),
        f32s("d", &[1]),
    ])
    .unwrap();
    let resolved = all.resolve(&raw, &store).unwrap();
    let wanted = FaultPattern::new(vec![
        // Two flips in one word of 72 bits and its check bits are detected and kept, as are two in the other.
        f32s("a", &[3, 70, 71]),
        f32s("b", &(32 + 23..32 + 30).collect::<Vec<u64>>()),
        f32s("c", &[22].into_iter().chain(32 + 23..32 + 30).collect::<Vec<u64>>()),
        f32s("d", &[1]),
    ])
    .unwrap();
    assert_eq!(resolved.pattern, wanted);
    let total = resolved.total;
    assert_eq!((total.corrected, total.detected, total.miscorrected, total.guarded), (1, 2, 1, 2));
    assert_eq!((total.raw_flips, total.check_flips, total.seen_flips), (5, 4, 18));
    let names: Vec<&str> = resolved.tensors.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(all.resolve(&FaultPattern::empty(), &store).unwrap().pattern, FaultPattern::empty());
}

#[test]
fn a_network_with_other_tensors() {
    let store = Store([("c", vec![0; 16])].into());
    let mut all = Protections::default();
    all.protect("a", Protection::new(Kind::Secded).layout(Format::F32, 4).unwrap());
    all.guard("a", RangeGuard::new(-2.0, 2.0, OnOutside::Zero).unwrap());
    all.guard("c", RangeGuard::new(-2.0, 2.0, OnOutside::Zero).unwrap());
    let error = |flips: TensorFlips| {
        let tensor = flips.tensor.split('@').next().unwrap_or_default().to_owned();
        match all.resolve(&FaultPattern::new(vec![flips]).unwrap(), &store).unwrap_err() {
            ProtectError::Tensor { tensor: named, source } if named == tensor => *source,
            other => panic!("{other}"),
        }
    };
    let is_other = |error| matches!(error, ProtectError::OtherWords { .. });
    assert!(is_other(error(hit("a", Format::F32, 5, &[0]))));
    assert!(is_other(error(hit("a", Format::U8, 4, &[0]))));
    assert!(is_other(error(hit("a@check", Format::U8, 3, &[0]))));
    assert!(is_other(error(hit("c", Format::U8, 4, &[0]))));
    assert_eq!(error(hit("a", Format::F32, 4, &[0])), ProtectError::NoWords);
}

/// Another protection of the same tensor takes the place of the first, with its check tensors.
#[test]
fn protecting_again() {
    let mut all = Protections::default();
    all.protect("a", Protection::new(Kind::Tmr).layout(Format::F32, 4).unwrap());
    all.protect("a", Protection::new(Kind::Parity).layout(Format::F32, 4).unwrap());
    assert!(all.check_tensors().map(|(name, ..)| name).eq(["a@check".to_owned()]));
    assert_eq!(all.space("a").unwrap().check_bits(), 2);
}
