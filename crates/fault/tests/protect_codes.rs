//! The codes against slow definitions of their own: other constructions of the check bits, and a generic decoder by
//! matrix and table.

use std::collections::HashMap;

use bitquake_fault::protect::{Code, CodeError, Codec, Columns, Decoded, Verdict};
use bitquake_testing::{SplitMix64, assert_cases};

fn secded(data_bits: u32, columns: Columns) -> Codec {
    Codec::new(Code::Secded { data_bits, columns }).expect("a code that exists")
}

fn dec_ted(data_bits: u32) -> Codec {
    Codec::new(Code::DecTed { data_bits }).expect("a code that exists")
}

fn symbol(symbol_bits: u32, data_bits: u32) -> Codec {
    Codec::new(Code::Symbol { symbol_bits, data_bits }).expect("a code that exists")
}

fn random_bits(random: &mut SplitMix64, bits: u32) -> Vec<bool> {
    (0..bits).map(|_| random.next_u64() & 1 == 1).collect()
}

fn limbs(bits: &[bool]) -> Vec<u64> {
    bits.chunks(64).map(number).collect()
}

fn number(bits: &[bool]) -> u64 {
    bits.iter().enumerate().fold(0, |sum, (i, &bit)| sum | u64::from(bit) << i)
}

/// The extended Hamming code as textbooks lay it out: positions from 1, check bit i at position 2^i, the parity of
/// all bits last.
fn textbook_hamming(data: &[bool], check_bits: u32) -> u64 {
    let positions: Vec<usize> = (1..).filter(|p: &usize| !p.is_power_of_two()).take(data.len()).collect();
    let mut check: Vec<bool> = (0..check_bits - 1)
        .map(|i| positions.iter().zip(data).filter(|(p, bit)| **p >> i & 1 == 1 && **bit).count() % 2 == 1)
        .collect();
    let all_ones = data.iter().chain(&check).filter(|bit| **bit).count();
    check.push(all_ones % 2 == 1);
    number(&check)
}

#[test]
fn extended_hamming_is_the_one_of_textbooks() {
    let mut random = SplitMix64::new(1);
    for data_bits in [8, 11, 12, 16, 26, 27, 32, 57, 64, 100, 120, 128, 247, 256, 500, 502, 503, 512] {
        let codec = secded(data_bits, Columns::Hamming);
        for _ in 0..20 {
            let data = random_bits(&mut random, data_bits);
            let wanted = textbook_hamming(&data, codec.code().check_bits());
            assert_eq!(u64::from(codec.encode(&limbs(&data))), wanted, "{data_bits} data bits");
        }
    }
}

#[test]
fn hsiao_columns_are_distinct_of_odd_weight_and_light_ones_come_first() {
    for data_bits in [8, 16, 32, 64, 128, 256, 512] {
        let codec = secded(data_bits, Columns::Hsiao);
        let columns: Vec<u32> = (0..data_bits).map(|position| codec.column(position)).collect();
        let keys: Vec<(u32, u32)> = columns.iter().map(|column| (column.count_ones(), *column)).collect();
        assert!(keys.is_sorted() && keys.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(keys.iter().all(|(weight, _)| *weight >= 3 && weight % 2 == 1));
        // No column left out is lighter: all of weight 3 are used before any of weight 5.
        let heaviest = keys.last().unwrap().0;
        let lighter = (0..1_u32 << codec.code().check_bits()).filter(|column| {
            column.count_ones() % 2 == 1 && column.count_ones() >= 3 && column.count_ones() < heaviest
        });
        assert!(lighter.into_iter().all(|column| columns.contains(&column)));
    }
    let codec = secded(64, Columns::Hsiao);
    let first: Vec<u32> = (0..8).map(|position| codec.column(position)).collect();
    assert_eq!(first, [7, 11, 13, 14, 19, 21, 22, 25]);
    assert_eq!((codec.column(55), codec.column(56), codec.column(63), codec.column(71)), (224, 31, 87, 128));
}

/// Division of the data polynomial times x^14 by the generator, then the parity of all.
fn textbook_bch(data: &[bool]) -> u64 {
    let message = data.iter().enumerate().fold(0_u128, |sum, (i, &bit)| sum | u128::from(bit) << (14 + i));
    let generator = 0b100_0011_0111_0111_u128;
    let remainder = (14..128)
        .rev()
        .fold(message, |rest, t| if rest >> t & 1 == 1 { rest ^ generator << (t - 14) } else { rest });
    let parity = (message ^ remainder).count_ones() % 2;
    remainder as u64 | u64::from(parity) << 14
}

#[test]
fn dec_ted_is_the_bch_code() {
    let mut random = SplitMix64::new(2);
    for data_bits in [1, 8, 32, 64, 100, 113] {
        let codec = dec_ted(data_bits);
        for _ in 0..50 {
            let data = random_bits(&mut random, data_bits);
            assert_eq!(u64::from(codec.encode(&limbs(&data))), textbook_bch(&data), "{data_bits} data bits");
        }
    }
}

/// Multiplication in GF(2^m) without tables.
fn times(x: u32, y: u32, m: u32, polynomial: u32) -> u32 {
    let product = (0..m).filter(|t| y >> t & 1 == 1).fold(0, |sum, t| sum ^ x << t);
    (m..2 * m)
        .rev()
        .fold(product, |rest, t| if rest >> t & 1 == 1 { rest ^ polynomial << (t - m) } else { rest })
}

#[test]
fn symbol_code_words_are_zero_at_three_powers() {
    let mut random = SplitMix64::new(3);
    for (m, polynomial, data_bits) in
        [(4, 0x13, 4), (4, 0x13, 32), (4, 0x13, 48), (8, 0x11d, 64), (8, 0x11d, 128), (8, 0x11d, 2016)]
    {
        let codec = symbol(m, data_bits);
        for _ in 0..10 {
            let data = random_bits(&mut random, data_bits);
            let check = codec.encode(&limbs(&data));
            let check_symbols = (0..3).map(|j| check >> (m * j) & ((1 << m) - 1));
            let word: Vec<u32> =
                check_symbols.chain(data.chunks(m as usize).map(|bits| number(bits) as u32)).collect();
            for root in [1, 2, 4] {
                let horner = |sum: u32, symbol: &u32| times(sum, root, m, polynomial) ^ symbol;
                assert_eq!(word.iter().rev().fold(0, horner), 0, "{data_bits} data bits at {root}");
            }
        }
    }
}

#[test]
fn parity_is_even_and_copies_are_copies() {
    let mut random = SplitMix64::new(4);
    for data_bits in [1, 2, 63, 64, 65, 1000, 65_535] {
        let codec = Codec::new(Code::Parity { data_bits }).unwrap();
        let data = random_bits(&mut random, data_bits);
        assert_eq!(codec.encode(&limbs(&data)), (data.iter().filter(|bit| **bit).count() % 2) as u32);
    }
    for copies in 2..=9 {
        let codec = Codec::new(Code::Repetition { copies }).unwrap();
        assert_eq!((codec.encode(&[0]), codec.encode(&[1])), (0, (1 << (copies - 1)) - 1));
    }
}

/// Bits that are no data bits do not count, whatever they are, and limbs may be missing.
#[test]
fn data_beyond_the_word_is_ignored() {
    let codec = secded(32, Columns::Hamming);
    assert_eq!(codec.encode(&[0xdead_beef_0000_1234, u64::MAX]), codec.encode(&[0x1234]));
    assert_eq!(codec.encode(&[]), 0);
    assert_eq!(codec.decode(&[0x1234], codec.encode(&[0x1234]) | 1 << 31), Decoded::Clean);
}

/// A decoder for any code: the syndrome by multiplication with the matrix, row by row, and a table of the errors of
/// least weight.
struct Reference {
    rows: Vec<Vec<bool>>,
    table: HashMap<Vec<bool>, Vec<u32>>,
}

impl Reference {
    /// `correctable`: the errors that are to be corrected.
    fn new(codec: &Codec, correctable: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let (data_bits, check_bits) = (codec.code().data_bits(), codec.code().check_bits());
        // The column of a data bit is what encoding that bit alone gives.
        let unit = |position: u32| -> Vec<bool> { (0..data_bits).map(|bit| bit == position).collect() };
        let checks: Vec<u32> = (0..data_bits).map(|position| codec.encode(&limbs(&unit(position)))).collect();
        let row = |i: u32| {
            let data = checks.iter().map(|check| check >> i & 1 == 1);
            data.chain((0..check_bits).map(|check| check == i)).collect()
        };
        let mut reference = Self { rows: (0..check_bits).map(row).collect(), table: HashMap::new() };
        for error in correctable {
            let syndrome = reference.syndrome(&error);
            let former = reference.table.insert(syndrome, error.clone());
            assert!(former.is_none(), "{error:?} and {former:?} cannot both be corrected");
        }
        reference
    }

    fn syndrome(&self, wrong: &[u32]) -> Vec<bool> {
        let product = |row: &Vec<bool>| wrong.iter().filter(|bit| row[**bit as usize]).count() % 2 == 1;
        self.rows.iter().map(product).collect()
    }

    fn judge(&self, wrong: &[u32]) -> Verdict {
        let syndrome = self.syndrome(wrong);
        if syndrome.iter().all(|bit| !bit) {
            return if wrong.is_empty() { Verdict::Clean } else { Verdict::Silent };
        }
        match self.table.get(&syndrome) {
            None => Verdict::Detected,
            Some(error) if error == wrong => Verdict::Corrected,
            Some(_) => Verdict::Miscorrected,
        }
    }
}

/// All sets of `weight` of `n` bits, rising.
fn subsets(n: u32, weight: usize, visit: &mut impl FnMut(&[u32])) {
    fn extend(n: u32, weight: usize, chosen: &mut Vec<u32>, visit: &mut impl FnMut(&[u32])) {
        if chosen.len() == weight {
            return visit(chosen);
        }
        for bit in chosen.last().map_or(0, |last| last + 1)..n {
            chosen.push(bit);
            extend(n, weight, chosen, visit);
            chosen.pop();
        }
    }
    extend(n, weight, &mut Vec::new(), visit);
}

fn all_up_to(n: u32, weight: usize) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    (1..=weight).for_each(|weight| subsets(n, weight, &mut |bits| all.push(bits.to_vec())));
    all
}

/// Every error of up to three bits: the verdict is the reference's, and as many bits are corrected and detected as
/// promised.
fn check_all_small_errors(codec: &Codec, corrects: usize, detects: usize, most: usize) {
    let reference = Reference::new(codec, all_up_to(codec.word_bits(), corrects));
    assert_eq!(codec.judge(&[]).0, Verdict::Clean);
    for weight in 1..=most {
        subsets(codec.word_bits(), weight, &mut |wrong| {
            let (verdict, _) = codec.judge(wrong);
            assert_eq!(verdict, reference.judge(wrong), "{:?} {wrong:?}", codec.code());
            match weight {
                weight if weight <= corrects => assert_eq!(verdict, Verdict::Corrected, "{wrong:?}"),
                weight if weight <= detects => assert_eq!(verdict, Verdict::Detected, "{wrong:?}"),
                _ => {}
            }
        });
    }
}

#[test]
fn secded_corrects_every_single_and_detects_every_double_error() {
    for columns in [Columns::Hamming, Columns::Hsiao] {
        for (data_bits, most) in [(8, 13), (9, 5), (16, 4), (32, 3), (57, 3), (64, 3), (128, 2), (512, 2)] {
            check_all_small_errors(&secded(data_bits, columns), 1, 2, most);
        }
    }
}

#[test]
fn dec_ted_corrects_every_double_and_detects_every_triple_error() {
    for (data_bits, most) in [(1, 16), (8, 5), (64, 3), (113, 3)] {
        check_all_small_errors(&dec_ted(data_bits), 2, 3, most);
    }
}

#[test]
fn parity_detects_odd_errors_alone() {
    let codec = Codec::new(Code::Parity { data_bits: 8 }).unwrap();
    check_all_small_errors(&codec, 0, 1, 9);
    assert_eq!(codec.judge(&[0, 8]).0, Verdict::Silent);
}

#[test]
fn copies_vote() {
    for copies in 2..=9_u32 {
        let codec = Codec::new(Code::Repetition { copies }).unwrap();
        for set in 0..1_u32 << copies {
            let wrong: Vec<u32> = (0..copies).filter(|copy| set >> copy & 1 == 1).collect();
            let wanted = match 2 * set.count_ones() {
                0 => Verdict::Clean,
                twice if twice < copies => Verdict::Corrected,
                twice if twice == copies => Verdict::Detected,
                _ if set.count_ones() == copies => Verdict::Silent,
                _ => Verdict::Miscorrected,
            };
            assert_eq!(codec.judge(&wrong).0, wanted, "{wrong:?} of {copies}");
        }
    }
}

/// All errors within one symbol.
fn symbol_errors(symbol_bits: u32, word_bits: u32) -> Vec<Vec<u32>> {
    let of_symbol = |first: u32| {
        (1..1_u32 << symbol_bits).map(move |set| {
            (0..symbol_bits).filter(|bit| set >> bit & 1 == 1).map(|bit| first + bit).collect()
        })
    };
    (0..word_bits).step_by(symbol_bits as usize).flat_map(of_symbol).collect()
}

#[test]
fn every_error_of_a_small_symbol_code() {
    let codec = symbol(4, 8);
    let reference = Reference::new(&codec, symbol_errors(4, 20));
    for set in 0..1_u32 << 20 {
        // One in seven of all, and all within two symbols.
        let is_small = (0..5).filter(|symbol| set >> (4 * symbol) & 15 != 0).count() <= 2;
        if is_small || set % 7 == 0 {
            let wrong: Vec<u32> = (0..20).filter(|bit| set >> bit & 1 == 1).collect();
            assert_eq!(codec.judge(&wrong).0, reference.judge(&wrong), "{wrong:?}");
        }
    }
}

#[test]
fn symbol_codes_correct_within_one_symbol_and_detect_within_two() {
    for (symbol_bits, data_bits) in [(4, 4), (4, 32), (4, 48), (8, 64)] {
        let codec = symbol(symbol_bits, data_bits);
        let errors = symbol_errors(symbol_bits, codec.word_bits());
        assert!(errors.iter().all(|wrong| codec.judge(wrong).0 == Verdict::Corrected));
        // All pairs of 4-bit symbols; every 17th of the pairs of 8-bit symbols, which are 3.6 million.
        let step = if symbol_bits == 4 { 1 } else { 17 };
        for (i, first) in errors.iter().enumerate() {
            let others = &errors[i..];
            let others = others.iter().filter(|other| other[0] / symbol_bits != first[0] / symbol_bits);
            for second in others.step_by(step) {
                let both = [first.as_slice(), second].concat();
                assert_eq!(codec.judge(&both).0, Verdict::Detected, "{both:?}");
            }
        }
    }
    let codec = symbol(8, 2016);
    assert!(
        symbol_errors(8, codec.word_bits()).iter().all(|wrong| codec.judge(wrong).0 == Verdict::Corrected)
    );
}

/// Random errors of any weight, in long words too, against the reference.
#[test]
fn many_wrong_bits_are_judged_like_the_reference() {
    let mut random = SplitMix64::new(5);
    let codecs = [
        (secded(64, Columns::Hamming), 1),
        (secded(64, Columns::Hsiao), 1),
        (secded(512, Columns::Hamming), 1),
        (secded(512, Columns::Hsiao), 1),
        (dec_ted(64), 2),
        (dec_ted(113), 2),
    ];
    for (codec, corrects) in codecs {
        let reference = Reference::new(&codec, all_up_to(codec.word_bits(), corrects));
        let mut seen = [0; 5];
        for _ in 0..4000 {
            let weight = 3 + random.below(6);
            let mut wrong: Vec<u32> =
                (0..weight).map(|_| random.below(codec.word_bits().into()) as u32).collect();
            wrong.sort_unstable();
            wrong.dedup();
            let verdict = codec.judge(&wrong).0;
            assert_eq!(verdict, reference.judge(&wrong), "{:?} {wrong:?}", codec.code());
            seen[verdict as usize] += 1;
        }
        assert!(
            seen[Verdict::Detected as usize] > 100 && seen[Verdict::Miscorrected as usize] > 100,
            "{seen:?}"
        );
    }
}

/// With data: what the decoder says of stored bits is what `judge` says of the error alone, and correcting restores
/// the data.
#[test]
fn decoding_does_not_depend_on_the_data() {
    let mut random = SplitMix64::new(6);
    let codecs = [
        Codec::new(Code::Parity { data_bits: 100 }).unwrap(),
        Codec::new(Code::Repetition { copies: 5 }).unwrap(),
        secded(64, Columns::Hamming),
        secded(200, Columns::Hsiao),
        dec_ted(64),
        symbol(4, 32),
        symbol(8, 128),
    ];
    for codec in &codecs {
        for round in 0..500 {
            let data = random_bits(&mut random, codec.code().data_bits());
            let check = codec.encode(&limbs(&data));
            let mut wrong: Vec<u32> =
                (0..round % 5).map(|_| random.below(codec.word_bits().into()) as u32).collect();
            wrong.sort_unstable();
            wrong.dedup();
            let (mut stored, mut stored_check) = (data.clone(), check);
            for &bit in &wrong {
                flip(&mut stored, &mut stored_check, bit);
            }
            let decoded = codec.decode(&limbs(&stored), stored_check);
            let (verdict, by_error) = codec.judge(&wrong);
            assert_eq!(decoded, by_error);
            if let Decoded::Corrected(flips) = decoded {
                flips.iter().for_each(|&bit| flip(&mut stored, &mut stored_check, bit.into()));
                assert_eq!(codec.decode(&limbs(&stored), stored_check), Decoded::Clean);
                assert_eq!(stored == data && stored_check == check, verdict == Verdict::Corrected);
            }
        }
    }
}

fn flip(data: &mut [bool], check: &mut u32, bit: u32) {
    match data.get_mut(bit as usize) {
        Some(data) => *data = !*data,
        None => *check ^= 1 << (bit as usize - data.len()),
    }
}

/// A shortened word is a word whose missing bits are known to be right: corrections there are errors detected.
#[test]
fn shortened_words() {
    for codec in [secded(64, Columns::Hamming), dec_ted(64), symbol(4, 48)] {
        let full = u64::from(codec.code().data_bits());
        for data_bits in [8, 24, 40] {
            let mut turned_down = 0;
            for seed in 0..2000 {
                let mut random = SplitMix64::new(seed);
                let place = |at: u64| if at < data_bits { at as u32 } else { (full + at - data_bits) as u32 };
                let stored = data_bits + u64::from(codec.code().check_bits());
                let mut wrong: Vec<u32> = (0..1 + seed % 5).map(|_| place(random.below(stored))).collect();
                wrong.sort_unstable();
                wrong.dedup();
                let whole = codec.judge(&wrong);
                let short = codec.judge_shortened(&wrong, data_bits as u32);
                let beyond = matches!(whole.1, Decoded::Corrected(flips)
                    if flips.iter().any(|&bit| (data_bits as u16..full as u16).contains(&bit)));
                turned_down += u32::from(beyond);
                assert_eq!(short, if beyond { (Verdict::Detected, Decoded::Detected) } else { whole });
            }
            assert!(turned_down > 0, "{:?} {data_bits}", codec.code());
        }
    }
}

#[test]
fn costs() {
    let secded = |data_bits| Code::Secded { data_bits, columns: Columns::Hamming };
    let rows = [8, 11, 12, 16, 26, 27, 32, 57, 58, 64, 120, 121, 128, 247, 256, 502, 503, 512]
        .into_iter()
        .zip([5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 11, 11]);
    assert_cases(rows.map(|(k, r)| (format!("secded {k}"), k, r)), |k| secded(k).check_bits());
    let rows = [
        ("parity", Code::Parity { data_bits: 32 }, (1, 1.0 / 32.0)),
        ("dec-ted", Code::DecTed { data_bits: 64 }, (15, 15.0 / 64.0)),
        ("chipkill 8", Code::Symbol { symbol_bits: 8, data_bits: 128 }, (24, 0.1875)),
        ("chipkill 4", Code::Symbol { symbol_bits: 4, data_bits: 32 }, (12, 0.375)),
        ("tmr", Code::Repetition { copies: 3 }, (2, 2.0)),
    ];
    assert_cases(rows, |code| (code.check_bits(), code.overhead()));
}

#[test]
fn codes_that_do_not_exist() {
    let columns = Columns::Hamming;
    let data_bits = |code, data_bits, least, most| Some(CodeError::DataBits { code, data_bits, least, most });
    let rows = [
        ("secded 7", Code::Secded { data_bits: 7, columns }, data_bits("secded", 7, 8, 512)),
        ("secded 513", Code::Secded { data_bits: 513, columns }, data_bits("secded", 513, 8, 512)),
        (
            "secded 2^32 - 1",
            Code::Secded { data_bits: u32::MAX, columns },
            data_bits("secded", u32::MAX, 8, 512),
        ),
        ("parity 0", Code::Parity { data_bits: 0 }, data_bits("parity", 0, 1, 65_535)),
        ("dec-ted 114", Code::DecTed { data_bits: 114 }, data_bits("dec-ted", 114, 1, 113)),
        ("symbol 52", Code::Symbol { symbol_bits: 4, data_bits: 52 }, data_bits("symbol", 52, 4, 48)),
        (
            "5-bit symbols",
            Code::Symbol { symbol_bits: 5, data_bits: 25 },
            Some(CodeError::SymbolBits { symbol_bits: 5 }),
        ),
        (
            "part of a symbol",
            Code::Symbol { symbol_bits: 8, data_bits: 12 },
            Some(CodeError::PartSymbol { data_bits: 12, symbol_bits: 8 }),
        ),
        ("one copy", Code::Repetition { copies: 1 }, Some(CodeError::Copies { copies: 1 })),
        ("no copy", Code::Repetition { copies: 0 }, Some(CodeError::Copies { copies: 0 })),
        ("three copies", Code::Repetition { copies: 3 }, None),
    ];
    assert_cases(rows, |code| Codec::new(code).err());
}
