//! How often a code fails, computed.

use bitquake_sample::Rate;

use super::code::Code;
use super::codec::Codec;

/// What becomes of a full code word whose bits are wrong independently of each other with one probability: for
/// planners, and for tests of what is simulated.
///
/// Exact but for the symbol code, whose `wrong` is an upper bound and whose `detected` a lower one: only errors in
/// three and more symbols can be wrong, and all of them are counted so.
///
/// ```
/// use bitquake_fault::protect::{Code, Codec, Columns, Residual};
/// use bitquake_sample::Rate;
/// let codec = Codec::new(Code::Secded { data_bits: 64, columns: Columns::Hamming })?;
/// let odds = Residual::new(&codec).at(Rate::new(1e-4)?);
/// // Two wrong bits of 72 are nearly all that is ever detected.
/// assert!((odds.detected / (72.0 * 71.0 / 2.0 * 1e-8) - 1.0).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Residual {
    code: Code,
    /// By number of wrong bits, from 0 to all: what becomes of the words; empty for the symbol code.
    given: Vec<WordOdds>,
    /// By number of wrong bits, from 0 to all: the share of the word's bits that are wrong afterwards; empty for the symbol code.
    left: Vec<f64>,
}

/// Probabilities of what becomes of a code word; they add up to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WordOdds {
    /// No bit is wrong.
    pub clean: f64,
    /// All wrong bits are corrected (CE).
    pub corrected: f64,
    /// An error is detected and not corrected (DUE).
    pub detected: f64,
    /// The data are wrong and nothing tells: miscorrected or silent.
    pub wrong: f64,
}

impl Residual {
    /// Prepares the numbers of a code: some milliseconds.
    #[must_use]
    pub fn new(codec: &Codec) -> Self {
        let code = codec.code();
        let given = match code {
            Code::Parity { .. } => (0..=codec.word_bits()).map(parity).collect(),
            Code::Repetition { copies } => (0..=copies).map(|wrong| majority(wrong, copies)).collect(),
            Code::Secded { .. } => within_distance(codec, 1),
            Code::DecTed { .. } => within_distance(codec, 2),
            Code::Symbol { .. } => Vec::new(),
        };
        let left = match code {
            Code::Parity { .. } => (0..=codec.word_bits()).map(|wrong| share_of(wrong, codec)).collect(),
            Code::Repetition { copies } => (0..=copies).map(|wrong| outvoted(wrong, copies)).collect(),
            Code::Secded { .. } => left_within_distance(codec, 1),
            Code::DecTed { .. } => left_within_distance(codec, 2),
            Code::Symbol { .. } => Vec::new(),
        };
        Self { code, given, left }
    }

    /// What becomes of a word with exactly so many wrong bits, each choice of them equally likely; none for the
    /// symbol code and for more bits than a word has.
    #[must_use]
    pub fn given(&self, wrong_bits: u32) -> Option<WordOdds> {
        self.given.get(wrong_bits as usize).copied()
    }

    /// What becomes of a word at a raw bit error rate.
    #[must_use]
    pub fn at(&self, raw: Rate) -> WordOdds {
        let p = raw.fraction();
        if let Code::Symbol { symbol_bits, data_bits } = self.code {
            return symbols(symbol_bits, data_bits / symbol_bits + 3, p);
        }
        let count = self.given.len() - 1;
        let mut odds = WordOdds::default();
        for (given, weight) in self.given.iter().zip(binomial(count, p)) {
            odds.clean += weight * given.clean;
            odds.corrected += weight * given.corrected;
            odds.detected += weight * given.detected;
            odds.wrong += weight * given.wrong;
        }
        odds
    }

    /// The probability that a stored data bit is wrong after decoding, at a raw bit error rate, data with detected errors being kept
    /// ([`OnDetection::Keep`](super::OnDetection::Keep)).
    ///
    /// Exact as the mean over all bits of a full word, check bits included. For the symbol code what miscorrections add is left
    /// out.
    ///
    /// ```
    /// use bitquake_fault::protect::{Code, Codec, Residual};
    /// use bitquake_sample::Rate;
    /// let tmr = Residual::new(&Codec::new(Code::Repetition { copies: 3 })?);
    /// let p = 1e-3;
    /// assert!((tmr.wrong_bit(Rate::new(p)?) - (3.0 * p * p - 2.0 * p * p * p)).abs() < 1e-15);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn wrong_bit(&self, raw: Rate) -> f64 {
        let p = raw.fraction();
        if let Code::Symbol { symbol_bits, data_bits } = self.code {
            // All wrong bits stay, but for those of words in which one symbol alone is wrong.
            let others = f64::from(data_bits + 3 * symbol_bits - symbol_bits);
            return if p == 1.0 { 1.0 } else { -p * (others * (-p).ln_1p()).exp_m1() };
        }
        self.left.iter().zip(binomial(self.left.len() - 1, p)).map(|(left, weight)| left * weight).sum()
    }
}

const CLEAN: WordOdds = WordOdds { clean: 1.0, corrected: 0.0, detected: 0.0, wrong: 0.0 };
const CORRECTED: WordOdds = WordOdds { clean: 0.0, corrected: 1.0, detected: 0.0, wrong: 0.0 };
const DETECTED: WordOdds = WordOdds { clean: 0.0, corrected: 0.0, detected: 1.0, wrong: 0.0 };
const WRONG: WordOdds = WordOdds { clean: 0.0, corrected: 0.0, detected: 0.0, wrong: 1.0 };

fn parity(wrong: u32) -> WordOdds {
    match wrong {
        0 => CLEAN,
        wrong if wrong % 2 == 1 => DETECTED,
        _ => WRONG,
    }
}

fn majority(wrong: u32, copies: u32) -> WordOdds {
    match (2 * wrong).cmp(&copies) {
        _ if wrong == 0 => CLEAN,
        std::cmp::Ordering::Less => CORRECTED,
        std::cmp::Ordering::Equal => DETECTED,
        std::cmp::Ordering::Greater => WRONG,
    }
}

/// The share of a word's bits that are wrong.
fn share_of(wrong: u32, codec: &Codec) -> f64 {
    f64::from(wrong) / f64::from(codec.word_bits())
}

/// The probability that the majority of the copies is wrong; in a tie the stored bit is kept, which is wrong half the time.
fn outvoted(wrong: u32, copies: u32) -> f64 {
    match (2 * wrong).cmp(&copies) {
        std::cmp::Ordering::Less => 0.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 1.0,
    }
}

/// The symbol code, its symbols being wrong independently: none, one, two, or more.
fn symbols(symbol_bits: u32, symbols: u32, p: f64) -> WordOdds {
    let bits = f64::from(symbol_bits);
    let is_wrong = if p == 1.0 { 1.0 } else { -(bits * (-p).ln_1p()).exp_m1() };
    let mut weights = binomial(symbols as usize, is_wrong);
    let mut next = || weights.next().unwrap_or(0.0);
    let (clean, corrected, detected) = (next(), next(), next());
    WordOdds { clean, corrected, detected, wrong: weights.sum() }
}

/// The probabilities of 0, 1 ... `n` successes in `n` trials.
fn binomial(n: usize, p: f64) -> impl Iterator<Item = f64> {
    let mut log_choose = 0.0;
    (0..=n).map(move |k| {
        if k > 0 {
            log_choose += ((n - k + 1) as f64 / k as f64).ln();
        }
        // 0 times the logarithm of 0 is 0 here.
        let part = |count: usize, log: f64| if count == 0 { 0.0 } else { count as f64 * log };
        (log_choose + part(k, p.ln()) + part(n - k, (-p).ln_1p())).exp()
    })
}

/// A code whose columns have odd weight and whose decoder corrects just the errors of up to `t` bits: others are
/// wrong if they lie within `t` bits of a code word.
fn within_distance(codec: &Codec, t: u32) -> Vec<WordOdds> {
    let n = codec.word_bits();
    let shares = code_word_shares(codec, 2 * t + 2);
    let share = |weight: u32| shares.get(weight as usize).copied().unwrap_or(0.0);
    let of_weight = |w: u32| {
        let (weight, rest) = (f64::from(w), f64::from(n - w));
        let near = share(w) + rest * share(w + 1) + weight * share(w.wrapping_sub(1));
        let nearly = rest * (rest - 1.0) / 2.0 * share(w + 2)
            + weight * rest * share(w)
            + weight * (weight - 1.0) / 2.0 * share(w.wrapping_sub(2));
        let wrong = (near + if t == 2 { nearly } else { 0.0 }).min(1.0);
        WordOdds { detected: 1.0 - wrong, wrong, ..WordOdds::default() }
    };
    let given = |w| match w {
        0 => CLEAN,
        w if w <= t => CORRECTED,
        w => of_weight(w),
    };
    (0..=n).map(given).collect()
}

/// The share of a word's bits that are wrong after a decoder that corrects up to `t` bits: where it takes other errors for such, each
/// bit that it flips is one more wrong bit, or one less if it was wrong.
fn left_within_distance(codec: &Codec, t: u32) -> Vec<f64> {
    let n = codec.word_bits();
    let shares = code_word_shares(codec, 2 * t + 2);
    let share = |weight: u32| shares.get(weight as usize).copied().unwrap_or(0.0);
    let left = |w: u32| {
        let (weight, rest) = (f64::from(w), f64::from(n - w));
        let one = rest * share(w + 1) - weight * share(w.wrapping_sub(1));
        let two = rest * (rest - 1.0) * share(w + 2) - weight * (weight - 1.0) * share(w.wrapping_sub(2));
        (weight + one + if t == 2 { two } else { 0.0 }) / f64::from(n)
    };
    (0..=n).map(|w| if w <= t { 0.0 } else { left(w) }).collect()
}

/// For each weight w, the share of the words of weight w that are code words: A_w / C(n, w), 0 below the distance and
/// for odd w.
///
/// By MacWilliams' identity (Bell System Technical Journal 42, 1963), A_w = 2^-r sum over the dual code of
/// K_w(weight), with Krawtchouk polynomials K_w divided by C(n, w): then all terms are in [-1, 1] and nothing
/// overflows.
fn code_word_shares(codec: &Codec, distance: u32) -> Vec<f64> {
    let n = codec.word_bits() as usize;
    let dual = dual_weights(codec);
    let mut shares = vec![0.0; n + 1];
    for (weight, count) in dual.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        for (share, value) in shares.iter_mut().zip(krawtchouk_shares(n, weight)) {
            *share += count * value;
        }
    }
    let words: f64 = dual.iter().sum();
    let is_empty = |w: usize| w % 2 == 1 || (0 < w && w < distance as usize);
    let share =
        |(w, share): (usize, &f64)| if is_empty(w) || share / words < NOISE { 0.0 } else { share / words };
    shares.iter().enumerate().map(share).collect()
}

/// Rounding leaves less than this of a share of 0. Where there are code words of a weight at all they have a share
/// near 2^-r or, in very short words, of at least one in the number of all words.
const NOISE: f64 = 1e-12;

/// By weight, the number of words of the dual code: all sums of rows of the parity-check matrix.
fn dual_weights(codec: &Codec) -> Vec<f64> {
    let columns: Vec<u32> = (0..codec.word_bits()).map(|position| codec.column(position)).collect();
    let mut weights = vec![0.0; columns.len() + 1];
    for rows in 0..1_u32 << codec.code().check_bits() {
        let weight = columns.iter().filter(|&column| (column & rows).count_ones() % 2 == 1).count();
        weights[weight] += 1.0;
    }
    weights
}

/// K_w(x) / C(n, w) for w = 0 to n, by the recurrence (n - w) k_(w+1) = (n - 2 x) k_w - w k_(w-1) up to the middle,
/// and from there by k_(n-w) = (-1)^x k_w.
fn krawtchouk_shares(n: usize, x: usize) -> Vec<f64> {
    let mut values = vec![1.0; n + 1];
    let slope = n as f64 - 2.0 * x as f64;
    for w in 0..n / 2 {
        let before = if w == 0 { 0.0 } else { w as f64 * values[w - 1] };
        values[w + 1] = (slope * values[w] - before) / (n - w) as f64;
    }
    let sign = if x.is_multiple_of(2) { 1.0 } else { -1.0 };
    for w in n / 2 + 1..=n {
        values[w] = sign * values[n - w];
    }
    values
}
