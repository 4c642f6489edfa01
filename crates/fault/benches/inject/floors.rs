//! What the machine can do at best: floors for the benchmark beside.

use std::time::Instant;

const THREADS: usize = 2;
const LINE: usize = 64;

/// A small fast generator; the floors are about memory, not about randomness.
struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// In (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 * 2.0_f64.powi(-53)
    }
}

/// Runs `work` on equal parts of the bytes, each with a generator of its own.
fn on_threads(bytes: &mut [u8], seed: u64, work: impl Fn(&mut [u8], Xorshift) + Sync) {
    let part = bytes.len().div_ceil(THREADS);
    std::thread::scope(|scope| {
        for (index, bytes) in bytes.chunks_mut(part).enumerate() {
            let random = Xorshift(
                0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * (seed * THREADS as u64 + index as u64) + 1),
            );
            let work = &work;
            scope.spawn(move || work(bytes, random));
        }
    });
}

/// Flips each bit with probability `p` by exponential gaps.
pub(crate) fn gap_loop(bytes: &mut [u8], p: f64, seed: u64) {
    let scale = 1.0 / (-p).ln_1p();
    on_threads(bytes, seed, |bytes, mut random| {
        let bits = bytes.len() as f64 * 8.0;
        let mut place = (random.uniform().ln() * scale).floor();
        while place < bits {
            let bit = place as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
            place += 1.0 + (random.uniform().ln() * scale).floor();
        }
    });
}

/// Random cache lines of which a byte is changed, a second.
pub(crate) fn line_updates(bytes: &mut [u8]) -> f64 {
    const UPDATES: u64 = 20_000_000;
    let start = Instant::now();
    on_threads(bytes, 1, |bytes, mut random| {
        let lines = (bytes.len() / LINE) as u64;
        for _ in 0..UPDATES {
            let line = (u128::from(random.next()) * u128::from(lines)) >> 64;
            bytes[line as usize * LINE] ^= 1;
        }
    });
    (UPDATES * THREADS as u64) as f64 / start.elapsed().as_secs_f64()
}

/// Bytes read and written again, a second: the best of several passes.
pub(crate) fn xor_rate(bytes: &mut [u8]) -> f64 {
    let pass = |bytes: &mut [u8]| {
        let start = Instant::now();
        on_threads(bytes, 1, |bytes, _| bytes.iter_mut().for_each(|byte| *byte ^= 0x5a));
        start.elapsed().as_secs_f64()
    };
    let best = (0..7).map(|_| pass(bytes)).fold(f64::INFINITY, f64::min);
    2.0 * bytes.len() as f64 / best
}
