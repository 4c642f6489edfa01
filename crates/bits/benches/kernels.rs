//! The streaming kernels, against an in-place xor in the same run.
//!
//! Unit: GB/s of bytes read and written by the kernel (a median), on arrays far beyond the caches. Baseline: `a ^= b`, a
//! plain loop of this file, which moves three bytes for each byte of `a`. Goal: a ratio of at least 0.7, on one thread and
//! on two. Floors printed beside it: that xor, and a copy of the same bytes by the standard library.
//!
//! Every round measures the baseline and all kernels once, and the ratio of a kernel is the median of the ratios within a
//! round: what disturbs the machine disturbs both. On a busy machine the best of all rounds, printed beside it, says more.
//! A kernel that only reads is bound by what one core can read, which can be less than 0.7 of the xor. Not counted: the lines of an output that the processor reads before it
//! overwrites them, so a kernel with an output is judged as if that were free.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]
#![expect(clippy::unwrap_used, reason = "arrays made here fit each other")]

use std::hint::black_box;
use std::time::Instant;

use bitquake_bits::kernels::{
    BitAxis, Bitwise, Groups, bits_into, flip_bits, flip_each, from_bits_into, hamming_into, hamming_total,
    instruction_set, msb_projection_in_place, on_threads, pack_into, packed_hamming_into, packed_set_each,
    set_each, set_words, set_zero, unpack_into,
};

/// Bytes of the largest array.
const BYTES: usize = 64 << 20;
const ROUNDS: usize = 15;
const GOAL: f64 = 0.7;

/// The arrays that the kernels work on.
struct Arrays {
    a: Vec<u64>,
    b: Vec<u64>,
    c: Vec<u64>,
    bools: Vec<bool>,
}

/// What is measured: a name, the bytes that it moves, and the work on a number of threads.
struct Kernel {
    name: String,
    bytes: usize,
    run: Box<Work>,
}

/// Does the work once, on the arrays, with a number of threads.
type Work = dyn Fn(&mut Arrays, usize);

fn main() {
    println!(
        "instruction set {}, arrays of {} MiB, median of {ROUNDS} rounds",
        instruction_set(),
        BYTES >> 20
    );
    for threads in [1, 2] {
        let kernels = kernels();
        let times = measure(&kernels, threads);
        report(&kernels, &times, threads);
    }
}

fn kernel(name: impl Into<String>, bytes: usize, run: impl Fn(&mut Arrays, usize) + 'static) -> Kernel {
    Kernel { name: name.into(), bytes, run: Box::new(run) }
}

/// The first is the baseline.
fn kernels() -> Vec<Kernel> {
    let mut all = vec![
        kernel("in-place xor, plain loop", 3 * BYTES, |on, threads| {
            on_threads(threads, (&mut on.a[..], &on.b[..]), |(a, b)| plain_xor(a, b));
        }),
        kernel("copy, standard library", 2 * BYTES, |on, threads| {
            on_threads(threads, (&mut on.c[..], &on.b[..]), |(c, b)| c.copy_from_slice(b));
        }),
    ];
    all.extend(bitwise());
    all.extend(distances());
    all.extend(bools());
    all.extend((1..=7).flat_map(packed));
    all
}

fn bitwise() -> Vec<Kernel> {
    let in_place =
        [("xor in place", Bitwise::Xor), ("and in place", Bitwise::And), ("or in place", Bitwise::Or)];
    let in_place = in_place.map(|(name, op)| {
        kernel(name, 3 * BYTES, move |on, threads| {
            let done = on_threads(threads, (&mut on.a[..], &on.b[..]), |(a, b)| op.in_place(a, b));
            done.into_iter().collect::<Result<(), _>>().unwrap();
        })
    });
    let mut all = Vec::from(in_place);
    all.extend([
        kernel("xor into an output", 3 * BYTES, |on, threads| {
            let arrays = (&on.a[..], &on.b[..], &mut on.c[..]);
            on_threads(threads, arrays, |(a, b, c)| Bitwise::Xor.into(a, b, c).unwrap());
        }),
        kernel("set by two masks", 4 * BYTES, |on, threads| {
            let arrays = (&mut on.a[..], &on.b[..], &on.c[..]);
            on_threads(threads, arrays, |(a, b, c)| set_words(a, b, c).unwrap());
        }),
        kernel("flip each u32", 2 * BYTES, |on, threads| {
            on_threads(threads, bytemuck::cast_slice_mut(&mut on.a), |a: &mut [u32]| flip_each(a, 1 << 31));
        }),
        kernel("set each u8", 2 * BYTES, |on, threads| {
            on_threads(threads, bytemuck::cast_slice_mut(&mut on.a), |a: &mut [u8]| set_each(a, 0x80, 1));
        }),
        kernel("set_zero u32", 2 * BYTES, |on, threads| {
            let a: &mut [u32] = bytemuck::cast_slice_mut(&mut on.a);
            on_threads(threads, a, |a| set_zero(a, 3).unwrap());
        }),
        kernel("msb_projection u32", 3 * BYTES, |on, threads| {
            let arrays = (bytemuck::cast_slice_mut(&mut on.a), bytemuck::cast_slice(&on.b));
            on_threads(threads, arrays, |(a, b): (&mut [u32], &[u32])| {
                msb_projection_in_place(b, a).unwrap()
            });
        }),
    ]);
    all
}

fn distances() -> Vec<Kernel> {
    vec![
        kernel("hamming, total", 2 * BYTES, |on, threads| {
            let arrays = (&on.a[..], &on.b[..]);
            black_box(on_threads(threads, arrays, |(a, b)| hamming_total(a, b).unwrap()));
        }),
        kernel("hamming, each u8 to u8", 3 * BYTES, |on, threads| {
            let (a, b): (&[u8], &[u8]) = (bytemuck::cast_slice(&on.a), bytemuck::cast_slice(&on.b));
            let c: &mut [u8] = bytemuck::cast_slice_mut(&mut on.c);
            on_threads(threads, (a, b, c), |(a, b, c)| hamming_into(a, b, c).unwrap());
        }),
        kernel("hamming, each u8 to u32", 6 * BYTES / 4, |on, threads| {
            let (a, b): (&[u8], &[u8]) = (bytemuck::cast_slice(&on.a), bytemuck::cast_slice(&on.b));
            let (a, b) = (&a[..BYTES / 4], &b[..BYTES / 4]);
            let c: &mut [u32] = bytemuck::cast_slice_mut(&mut on.c);
            on_threads(threads, (a, b, c), |(a, b, c)| hamming_into(a, b, c).unwrap());
        }),
        kernel("hamming, each u32 to u32", 3 * BYTES, |on, threads| {
            let (a, b): (&[u32], &[u32]) = (bytemuck::cast_slice(&on.a), bytemuck::cast_slice(&on.b));
            let c: &mut [u32] = bytemuck::cast_slice_mut(&mut on.c);
            on_threads(threads, (a, b, c), |(a, b, c)| hamming_into(a, b, c).unwrap());
        }),
    ]
}

fn bools() -> Vec<Kernel> {
    let axis = BitAxis::of::<u8>();
    vec![
        kernel("bits of u8", BYTES / 8 * 9, move |on, threads| {
            let a: &[u8] = &bytemuck::cast_slice(&on.a)[..BYTES / 8];
            let bools = Groups { array: &mut on.bools[..], size: 8 };
            on_threads(threads, (a, bools), |(a, bools)| bits_into(a, axis, bools.array).unwrap());
        }),
        kernel("u8 from bits", BYTES / 8 * 9, move |on, threads| {
            let a: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut on.a)[..BYTES / 8];
            let bools = Groups { array: &on.bools[..], size: 8 };
            on_threads(threads, (a, bools), |(a, bools)| from_bits_into(bools.array, axis, a).unwrap());
        }),
        kernel("flip u8 by bools", BYTES / 8 * 10, move |on, threads| {
            let a: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut on.a)[..BYTES / 8];
            let bools = Groups { array: &on.bools[..], size: 8 };
            on_threads(threads, (a, bools), |(a, bools)| flip_bits(a, bools.array, axis).unwrap());
        }),
    ]
}

fn packed(width: u32) -> Vec<Kernel> {
    let size = width as usize;
    let bytes = BYTES / 8 * size;
    vec![
        kernel(format!("pack {width} bits"), BYTES + bytes, move |on, threads| {
            // Codes from the pattern that `arrays` made: all below 2.
            let codes = Groups { array: bytemuck::cast_slice(&on.bools), size: 8 };
            let out: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut on.c)[..bytes];
            let out = Groups { array: out, size };
            on_threads(threads, (codes, out), |(codes, out)| {
                pack_into(codes.array, width, out.array).unwrap()
            });
        }),
        kernel(format!("unpack {width} bits"), BYTES + bytes, move |on, threads| {
            let array: &[u8] = &bytemuck::cast_slice(&on.a)[..bytes];
            let codes = Groups { array: bytemuck::cast_slice_mut(&mut on.c), size: 8 };
            let arrays = (Groups { array, size }, codes);
            on_threads(threads, arrays, |(bytes, codes)| {
                unpack_into(bytes.array, width, codes.array).unwrap()
            });
        }),
        kernel(format!("packed hamming {width} bits to u8"), BYTES + 2 * bytes, move |on, threads| {
            let a: &[u8] = &bytemuck::cast_slice(&on.a)[..bytes];
            let b: &[u8] = &bytemuck::cast_slice(&on.b)[..bytes];
            let out: &mut [u8] = bytemuck::cast_slice_mut(&mut on.c);
            let arrays =
                (Groups { array: a, size }, Groups { array: b, size }, Groups { array: out, size: 8 });
            on_threads(threads, arrays, |(a, b, out)| {
                packed_hamming_into(a.array, b.array, width, out.array).unwrap();
            });
        }),
        kernel(format!("packed set {width} bits"), 2 * bytes, move |on, threads| {
            let array: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut on.a)[..bytes];
            on_threads(threads, Groups { array, size }, |piece| {
                let count = piece.array.len() / size * 8;
                packed_set_each(piece.array, count, width, 1, 0).unwrap();
            });
        }),
    ]
}

fn plain_xor(a: &mut [u64], b: &[u64]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a ^= *b;
    }
}

fn arrays() -> Arrays {
    let words =
        |seed: u64| (0..BYTES as u64 / 8).map(|i| (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
    let bools = (0..BYTES).map(|i| i.count_ones() % 2 == 1).collect();
    Arrays { a: words(1), b: words(2), c: words(3), bools }
}

/// Seconds by kernel and round.
fn measure(kernels: &[Kernel], threads: usize) -> Vec<Vec<f64>> {
    let mut on = arrays();
    let mut times = vec![Vec::new(); kernels.len()];
    for round in 0..=ROUNDS {
        for (kernel, times) in kernels.iter().zip(&mut times) {
            let start = Instant::now();
            (kernel.run)(&mut on, threads);
            // The first round warms up.
            if round > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
    }
    times
}

fn report(kernels: &[Kernel], times: &[Vec<f64>], threads: usize) {
    println!("\n{threads} thread(s)                        GB/s   ratio    best   ratio of the best");
    let rates = |index: usize| times[index].iter().map(move |time| kernels[index].bytes as f64 / time / 1e9);
    let best = |index: usize| rates(index).fold(0.0, f64::max);
    for (index, kernel) in kernels.iter().enumerate() {
        let ratio = median(rates(index).zip(rates(0)).map(|(rate, baseline)| rate / baseline));
        let verdict = if ratio < GOAL { "  below the goal" } else { "" };
        let (rate, best, best_ratio) = (median(rates(index)), best(index), best(index) / best(0));
        println!("{:32} {rate:6.1}   {ratio:5.2}  {best:6.1}   {best_ratio:5.2}{verdict}", kernel.name);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
