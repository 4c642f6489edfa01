//! Computed odds of code words: against all errors of short codes one by one, and against simulated trials.
//!
//! False alarms: each `assert_binomial` fails a right program with probability at most 1e-6. Seeds are fixed, so a
//! test that passes keeps passing.

use bitquake_bits::Format;
use bitquake_fault::protect::{
    Code, Codec, Columns, Decoded, Kind, OnDetection, Outcomes, Protection, RawFlips, Residual, Verdict,
    WordOdds,
};
use bitquake_sample::{BernoulliDraw, Rate, StreamKey};
use bitquake_testing::assert_binomial;

const FALSE_ALARM: f64 = 1e-6;

fn codec(code: Code) -> Codec {
    Codec::new(code).expect("a code that exists")
}

/// By number of wrong bits, what becomes of all errors: counts of each verdict.
fn all_errors(codec: &Codec) -> Vec<[u64; 5]> {
    let bits = codec.word_bits();
    let mut counts = vec![[0; 5]; bits as usize + 1];
    for set in 0..1_u64 << bits {
        let wrong: Vec<u32> = (0..bits).filter(|bit| set >> bit & 1 == 1).collect();
        counts[wrong.len()][codec.judge(&wrong).0 as usize] += 1;
    }
    counts
}

fn short_codes() -> Vec<Codec> {
    vec![
        codec(Code::Parity { data_bits: 1 }),
        codec(Code::Parity { data_bits: 12 }),
        codec(Code::Secded { data_bits: 8, columns: Columns::Hamming }),
        codec(Code::Secded { data_bits: 8, columns: Columns::Hsiao }),
        codec(Code::Secded { data_bits: 11, columns: Columns::Hsiao }),
        codec(Code::DecTed { data_bits: 1 }),
        codec(Code::DecTed { data_bits: 3 }),
        codec(Code::Repetition { copies: 2 }),
        codec(Code::Repetition { copies: 3 }),
        codec(Code::Repetition { copies: 6 }),
    ]
}

fn near(got: f64, wanted: f64, what: &str) {
    let is_near = if wanted == 0.0 { got.abs() < 1e-13 } else { (got / wanted - 1.0).abs() < 1e-9 };
    assert!(is_near, "{what}: {got} for {wanted}");
}

#[test]
fn odds_of_short_codes_are_those_of_all_their_errors() {
    for codec in short_codes() {
        let (counts, residual) = (all_errors(&codec), Residual::new(&codec));
        for (wrong_bits, counts) in counts.iter().enumerate() {
            let all = counts.iter().sum::<u64>() as f64;
            let [clean, corrected, detected, miscorrected, silent] = counts.map(|count| count as f64 / all);
            let odds = residual.given(wrong_bits as u32).unwrap();
            let what = format!("{:?}, {wrong_bits} wrong", codec.code());
            near(odds.clean, clean, &what);
            near(odds.corrected, corrected, &what);
            near(odds.detected, detected, &what);
            near(odds.wrong, miscorrected + silent, &what);
        }
        assert_eq!(residual.given(codec.word_bits() + 1), None);
    }
}

#[test]
fn odds_at_a_rate_weigh_all_errors() {
    for codec in short_codes() {
        let (counts, residual) = (all_errors(&codec), Residual::new(&codec));
        for p in [0.0_f64, 1e-9, 1e-3, 0.3, 0.5, 0.9, 1.0] {
            let bits = codec.word_bits() as i32;
            let chance = |verdicts: &[Verdict]| -> f64 {
                let of_weight = |(weight, counts): (i32, &[u64; 5])| {
                    let count: u64 = verdicts.iter().map(|&verdict| counts[verdict as usize]).sum();
                    count as f64 * p.powi(weight) * (1.0 - p).powi(bits - weight)
                };
                (0..).zip(&counts).map(of_weight).sum()
            };
            let odds = residual.at(Rate::new(p).unwrap());
            let what = format!("{:?} at {p}", codec.code());
            near(odds.clean, chance(&[Verdict::Clean]), &what);
            near(odds.corrected, chance(&[Verdict::Corrected]), &what);
            near(odds.detected, chance(&[Verdict::Detected]), &what);
            near(odds.wrong, chance(&[Verdict::Miscorrected, Verdict::Silent]), &what);
        }
    }
}

/// Three wrong bits of 72, all 59,640 choices.
#[test]
fn triple_errors_of_the_common_code() {
    for columns in [Columns::Hamming, Columns::Hsiao] {
        let codec = codec(Code::Secded { data_bits: 64, columns });
        let mut wrong = 0;
        for a in 0..72 {
            for b in a + 1..72 {
                wrong += (b + 1..72).filter(|&c| codec.judge(&[a, b, c]).0 == Verdict::Miscorrected).count();
            }
        }
        near(Residual::new(&codec).given(3).unwrap().wrong, wrong as f64 / 59_640.0, "triple errors");
    }
}

#[test]
fn odds_of_long_words_add_up() {
    let codes = [
        Code::Parity { data_bits: 65_535 },
        Code::Secded { data_bits: 512, columns: Columns::Hamming },
        Code::Secded { data_bits: 502, columns: Columns::Hsiao },
        Code::DecTed { data_bits: 113 },
        Code::Symbol { symbol_bits: 8, data_bits: 2016 },
    ];
    for code in codes {
        let residual = Residual::new(&codec(code));
        for p in [0.0, 1e-12, 1e-4, 0.01, 0.5, 1.0] {
            let WordOdds { clean, corrected, detected, wrong } = residual.at(Rate::new(p).unwrap());
            let sum = clean + corrected + detected + wrong;
            assert!((sum - 1.0).abs() < 1e-9, "{code:?} at {p}: {sum}");
            assert!([clean, corrected, detected, wrong].iter().all(|odds| (0.0..=1.0 + 1e-9).contains(odds)));
        }
    }
}

/// Trials of `elements` words of 64 bits at a rate, decoded.
fn simulate(protection: &Protection, elements: u64, rate: Rate) -> (Outcomes, u64) {
    let space = protection.layout(Format::U64, elements).expect("a layout");
    let key = StreamKey { seed: 3, point: 0, trial: 0 };
    let data = BernoulliDraw::new(&key.tensor("w"), elements * 64, rate).sites();
    let of_part = |part: &bitquake_fault::protect::CheckPart| {
        BernoulliDraw::new(&key.tensor(&part.tensor("w")), part.bits(), rate).sites()
    };
    let parts: Vec<Vec<u64>> = space.parts().iter().map(of_part).collect();
    let parts: Vec<&[u64]> = parts.iter().map(Vec::as_slice).collect();
    let outcomes =
        space.resolve(&RawFlips { data: &data, parts: &parts }, None).expect("flips that fit").outcomes;
    assert_eq!(
        outcomes.words_hit,
        outcomes.corrected + outcomes.detected + outcomes.miscorrected + outcomes.silent
    );
    (outcomes, space.code_words())
}

#[test]
fn simulated_words_have_the_computed_odds() {
    let with = |kind, data_bits| Protection { data_bits: Some(data_bits), ..Protection::new(kind) };
    let protections = [
        with(Kind::Parity, 8),
        with(Kind::Parity, 64),
        with(Kind::Secded, 64),
        Protection { columns: Some(Columns::Hsiao), ..with(Kind::Secded, 64) },
        Protection { interleave: 16, ..with(Kind::Secded, 64) },
        with(Kind::Secded, 512),
        with(Kind::DecTed, 64),
        Protection::new(Kind::Tmr),
        Protection { copies: Some(4), ..Protection::new(Kind::Replication) },
    ];
    // A whole number of code words and of groups, so that none is shortened.
    let elements = 64 * 512;
    for protection in protections {
        let residual = Residual::new(&codec(protection.code().unwrap()));
        for p in [1e-3, 1e-2, 0.05, 0.5] {
            let rate = Rate::new(p).unwrap();
            let (outcomes, words) = simulate(&protection, elements, rate);
            let odds = residual.at(rate);
            assert_binomial(words - outcomes.words_hit, words, odds.clean, FALSE_ALARM);
            assert_binomial(outcomes.corrected, words, odds.corrected, FALSE_ALARM);
            assert_binomial(outcomes.detected, words, odds.detected, FALSE_ALARM);
            assert_binomial(outcomes.miscorrected + outcomes.silent, words, odds.wrong, FALSE_ALARM);
        }
    }
}

/// The symbol code: clean and corrected are exact, the rest are bounds.
#[test]
fn simulated_symbols_keep_to_their_bounds() {
    for (symbol_bits, data_bits) in [(8, 128), (8, 64), (4, 32)] {
        let protection = Protection {
            symbol_bits: Some(symbol_bits),
            data_bits: Some(data_bits),
            ..Protection::new(Kind::Chipkill)
        };
        let residual = Residual::new(&codec(protection.code().unwrap()));
        for p in [1e-3, 1e-2, 0.05] {
            let rate = Rate::new(p).unwrap();
            let (outcomes, words) = simulate(&protection, 64 * 512, rate);
            let odds = residual.at(rate);
            assert_binomial(words - outcomes.words_hit, words, odds.clean, FALSE_ALARM);
            assert_binomial(outcomes.corrected, words, odds.corrected, FALSE_ALARM);
            let wrong = outcomes.miscorrected + outcomes.silent;
            let expected = odds.wrong * words as f64;
            assert!(wrong as f64 <= expected + 6.0 * expected.sqrt() + 1.0, "{wrong} of at most {expected}");
        }
    }
}

/// No rate, no flips, nothing to do; every bit wrong: a fixed outcome for each word.
#[test]
fn certain_rates() {
    for kind in [Kind::Parity, Kind::Secded, Kind::DecTed, Kind::Chipkill, Kind::Tmr] {
        let protection = Protection { on_detection: OnDetection::Keep, ..Protection::new(kind) };
        let (nothing, _) = simulate(&protection, 64, Rate::new(0.0).unwrap());
        assert_eq!(nothing, Outcomes::default());
        let (all, words) = simulate(&protection, 64, Rate::new(1.0).unwrap());
        assert_eq!((all.words_hit, all.corrected), (words, 0));
    }
}

/// The share of the bits of a word that are wrong after decoding, in the mean over its errors at a rate: all of them, one by one.
fn left_of_all_errors(codec: &Codec, p: f64) -> f64 {
    let bits = codec.word_bits();
    let left = |set: u64| {
        let wrong: Vec<u32> = (0..bits).filter(|bit| set >> bit & 1 == 1).collect();
        let chance = p.powi(wrong.len() as i32) * (1.0 - p).powi((bits as usize - wrong.len()) as i32);
        chance * left_of(codec, &wrong)
    };
    (0..1_u64 << bits).map(left).sum()
}

fn left_of(codec: &Codec, wrong: &[u32]) -> f64 {
    if let Code::Repetition { copies } = codec.code() {
        // One stored bit, which the majority replaces; in a tie it stays as it is.
        let is_wrong = match (2 * wrong.len()).cmp(&(copies as usize)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => wrong.contains(&0),
            std::cmp::Ordering::Greater => true,
        };
        return f64::from(u8::from(is_wrong));
    }
    let flips = match codec.judge(wrong).1 {
        Decoded::Corrected(flips) => flips.iter().map(|&flip| u32::from(flip)).collect(),
        _ => Vec::new(),
    };
    let is_left = |bit: u32| wrong.contains(&bit) != flips.contains(&bit);
    (0..codec.word_bits()).filter(|&bit| is_left(bit)).count() as f64 / f64::from(codec.word_bits())
}

#[test]
fn wrong_bits_of_short_codes_are_those_of_all_their_errors() {
    for codec in short_codes() {
        let residual = Residual::new(&codec);
        for p in [0.0, 1e-4, 1e-2, 0.3, 0.5, 1.0] {
            let what = format!("{:?} at {p}", codec.code());
            near(residual.wrong_bit(Rate::new(p).unwrap()), left_of_all_errors(&codec, p), &what);
        }
    }
}

/// One symbol alone is corrected, with all its bits; of two nothing is.
#[test]
fn wrong_bits_of_the_symbol_code() {
    let residual = Residual::new(&codec(Code::Symbol { symbol_bits: 4, data_bits: 8 }));
    // Five symbols of four bits; a bit stays wrong if any of the 16 bits of the other four is.
    let p: f64 = 0.01;
    near(residual.wrong_bit(Rate::new(p).unwrap()), p * (1.0 - 0.99_f64.powi(16)), "0.01");
    assert_eq!(residual.wrong_bit(Rate::new(1.0).unwrap()), 1.0);
}
