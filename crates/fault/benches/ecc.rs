//! SECDED over 64-bit words as a streaming kernel, against an in-place xor of the same bytes in the same run; and the
//! decoding of sparse flips.
//!
//! Units: GB of data a second on one core (check bytes not counted), the best of many passes over 256 MiB, which no cache
//! holds; nanoseconds a flip. Goals, for the fastest kernel of the machine: encode and correct at least 2 GB/s; check at
//! least 70 % of the rate of the in-place xor, which is the memory's bound (the arithmetic would allow more).

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bitquake_bits::Format;
use bitquake_fault::protect::{Columns, Kind, Protection, RawFlips, Secded64};
use bitquake_sample::{BernoulliDraw, Rate, StreamKey};

const WORDS: usize = 1 << 25;

fn main() -> Result<(), Box<dyn Error>> {
    stream()?;
    resolve()
}

fn stream() -> Result<(), Box<dyn Error>> {
    let mut data = random_words();
    let mut check = vec![0; WORDS];
    let mut floor = gb_per_second(|| xor_in_place(&mut data));
    println!("one core, {} MiB of data         GB/s  of xor  goal", WORDS >> 17);
    println!("{:29} {floor:7.2}    1.00", "in-place xor");
    for (rank, secded) in Secded64::on_every_kernel(Columns::Hamming).iter().enumerate() {
        let show = |name: &str, rate: f64, floor: f64, goal: &str, is_met: bool| {
            let verdict = if is_met { "met" } else { "MISSED" };
            let goal = if rank == 0 { format!("{goal}: {verdict}") } else { String::new() };
            println!("{:9} {name:19} {rate:7.2} {:7.2}  {goal}", secded.kernel(), rate / floor);
        };
        let rate = try_gb_per_second(|| Ok(secded.encode(&data, &mut check)?))?;
        show("encode", rate, floor, "2 GB/s", rate >= 2.0);
        let (xor, rate) = check_beside_xor(secded, &mut data, &check)?;
        floor = floor.max(xor);
        show("check", rate, floor, "0.70 of xor", rate >= 0.7 * floor);
        for (name, every) in [("clean", 0), ("1e-6", 1_000_000), ("1e-4", 10_000), ("1e-2", 100)] {
            let mut best = Duration::MAX;
            for _ in 0..8 {
                // Flipping is not timed, correcting is.
                flip_every(every, &mut data);
                let start = Instant::now();
                black_box(secded.correct(&mut data, &mut check)?);
                best = best.min(start.elapsed());
            }
            let rate = rate_of(best);
            show(&format!("correct {name}"), rate, floor, "2 GB/s", rate >= 2.0);
        }
    }
    Ok(())
}

/// The rates of the in-place xor and of checking, by turns, so that both meet the same state of the machine.
fn check_beside_xor(
    secded: &Secded64,
    data: &mut [[u8; 8]],
    check: &[u8],
) -> Result<(f64, f64), Box<dyn Error>> {
    let (mut best_xor, mut best_check) = (Duration::MAX, Duration::MAX);
    for _ in 0..20 {
        // Twice, so that the words fit their check bytes again.
        for _ in 0..2 {
            let start = Instant::now();
            xor_in_place(data);
            best_xor = best_xor.min(start.elapsed());
        }
        let start = Instant::now();
        black_box(secded.check(data, check)?);
        best_check = best_check.min(start.elapsed());
    }
    Ok((rate_of(best_xor), rate_of(best_check)))
}

fn random_words() -> Vec<[u8; 8]> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()
    };
    (0..WORDS).map(|_| next()).collect()
}

fn xor_in_place(data: &mut [[u8; 8]]) {
    for word in black_box(data) {
        *word = (u64::from_ne_bytes(*word) ^ 0x5555_5555_5555_5555).to_ne_bytes();
    }
}

/// One flip in so many bits, at places that change from word to word; 0: none.
fn flip_every(bits: usize, data: &mut [[u8; 8]]) {
    if bits == 0 {
        return;
    }
    for bit in (0..data.len() * 64).step_by(bits - 1) {
        data[bit / 64][bit % 64 / 8] ^= 1 << (bit % 8);
    }
}

/// Decodes the flips of 100 M float32 and of their check bits, by kind of protection and bit error rate.
fn resolve() -> Result<(), Box<dyn Error>> {
    println!("\nns a flip, 100M-f32     1e-8    1e-6    1e-4    1e-3");
    for kind in [Kind::Parity, Kind::Secded, Kind::DecTed, Kind::Chipkill, Kind::Tmr] {
        let space = Protection::new(kind).layout(Format::F32, 100_000_000)?;
        print!("{:20}", format!("{kind:?}"));
        for p in [1e-8, 1e-6, 1e-4, 1e-3] {
            let key = StreamKey { seed: 1, point: 0, trial: 0 };
            let draw = |name: &str, bits| {
                Ok::<_, Box<dyn Error>>(BernoulliDraw::new(&key.tensor(name), bits, Rate::new(p)?).sites())
            };
            let data = draw("w", 3_200_000_000)?;
            let parts: Vec<Vec<u64>> = space
                .parts()
                .iter()
                .map(|part| draw(&part.tensor("w"), part.bits()))
                .collect::<Result<_, _>>()?;
            let parts: Vec<&[u64]> = parts.iter().map(Vec::as_slice).collect();
            let flips = data.len() + parts.iter().map(|part| part.len()).sum::<usize>();
            let start = Instant::now();
            let rounds = 1 + 100_000 / (flips + 1);
            for _ in 0..rounds {
                black_box(space.resolve(&RawFlips { data: &data, parts: &parts }, None)?);
            }
            print!("{:8.1}", start.elapsed().as_secs_f64() * 1e9 / (rounds * flips) as f64);
        }
        println!();
    }
    Ok(())
}

fn gb_per_second(mut work: impl FnMut()) -> f64 {
    let (mut best, began) = (Duration::MAX, Instant::now());
    while began.elapsed() < Duration::from_millis(1000) {
        let start = Instant::now();
        work();
        best = best.min(start.elapsed());
    }
    rate_of(best)
}

fn rate_of(time: Duration) -> f64 {
    (WORDS * 8) as f64 / time.as_secs_f64() / 1e9
}

fn try_gb_per_second(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut result = Ok(());
    let rate = gb_per_second(|| {
        if result.is_ok() {
            result = work();
        }
    });
    result.map(|()| rate)
}
