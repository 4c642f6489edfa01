//! Draws and applies bit errors, against the best NumPy way in the same run.
//!
//! Unit: milliseconds a pattern (median). Goal: in place, a ratio to NumPy of at most 0.5, and of at most 0.9 for the large buffer at
//! 1e-4, where NumPy is near the rate of random cache-line updates. NumPy is taken from the Python in `BITQUAKE_PYTHON`, or
//! `python3`. "Gaps" is the floor of its kind: a plain loop over exponential gaps on two threads, neither keyed nor nested. The last
//! lines are the machine's floors: updates of random cache lines, and xor of a large buffer in place, on two threads.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "inject/floors.rs"]
mod floors;

use bitquake_bits::{BitSelection, Format, WordStore, Words, WordsMut};
use bitquake_fault::{Candidate, FaultSpace, Hits, Selector, flip_at_rate};
use bitquake_sample::{BernoulliDraw, Rate, StreamKey};

struct Case {
    name: &'static str,
    format: Format,
    elements: u64,
    rates: &'static [f64],
}

const CASES: [Case; 2] = [
    Case { name: "5.5M-u8", format: Format::U8, elements: 5_500_000, rates: &[1e-8, 1e-6, 1e-4, 1e-3, 1e-2] },
    Case { name: "100M-f32", format: Format::F32, elements: 100_000_000, rates: &[1e-8, 1e-6, 1e-4, 1e-2] },
];

struct Buffer(Format, Vec<u8>);

impl WordStore for Buffer {
    fn words(&self, _: &str) -> Option<Words<'_>> {
        Some(Words::packed(self.0, &self.1))
    }
    fn words_mut(&mut self, _: &str) -> Option<WordsMut<'_>> {
        Some(WordsMut::packed(self.0, &mut self.1))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let numpy = numpy_times()?;
    println!("ms a pattern      NumPy      gaps  in place  ratio  goal      draw  as a value  ratio");
    for case in &CASES {
        let bytes = case.elements as usize * case.format.bytes();
        let mut buffer = Buffer(case.format, vec![0x5a; bytes]);
        for &p in case.rates {
            let baseline = numpy.iter().find(|(key, _)| *key == key_of(case, p)).ok_or("no NumPy time")?.1;
            let rate = Rate::new(p)?;
            let mut trial = 0;
            let in_place = median_ms(|| {
                trial += 1;
                let stream = StreamKey { seed: 1, point: 0, trial }.tensor("w");
                flip_at_rate(&mut buffer.1, &stream, rate);
            });
            let value = median_ms(|| {
                trial += 1;
                draw_and_apply(case, rate, trial, &mut buffer);
            });
            let draw = median_ms(|| {
                trial += 1;
                let stream = StreamKey { seed: 1, point: 0, trial }.tensor("w");
                std::hint::black_box(BernoulliDraw::new(&stream, bytes as u64 * 8, rate).sites());
            });
            let gaps = median_ms(|| {
                trial += 1;
                floors::gap_loop(&mut buffer.1, p, trial);
            });
            let goal = if case.name.starts_with("100M") && p == 1e-4 { 0.9 } else { 0.5 };
            println!(
                "{:9} {p:5.0e} {baseline:9.3} {gaps:9.3} {in_place:9.3} {:6.2} {goal:5.1} {draw:9.3} {value:12.3} {:6.2}",
                case.name,
                in_place / baseline,
                value / baseline
            );
        }
    }
    let mut buffer = vec![0x5a; 400_000_000];
    println!("random cache-line updates: {:.0} million a second", floors::line_updates(&mut buffer) / 1e6);
    println!("in-place xor: {:.1} GB/s", floors::xor_rate(&mut buffer) / 1e9);
    Ok(())
}

fn draw_and_apply(case: &Case, rate: Rate, trial: u64, buffer: &mut Buffer) {
    let tensor = Candidate { name: "w", format: case.format, elements: case.elements, by_name_only: false };
    let space = FaultSpace::select([tensor], &Selector::all(), BitSelection::All).expect("a valid space");
    let key = StreamKey { seed: 1, point: 0, trial };
    let pattern = Hits::Rate(rate).flips(&space, &key).expect("a pattern");
    pattern.apply(buffer).expect("fits");
}

fn median_ms(mut work: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 5 || (began.elapsed() < Duration::from_secs(1) && times.len() < 200) {
        let start = Instant::now();
        work();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn key_of(case: &Case, p: f64) -> String {
    format!("{}@{p}", case.name)
}

fn numpy_times() -> Result<Vec<(String, f64)>, Box<dyn Error>> {
    let python = std::env::var("BITQUAKE_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/numpy_inject.py");
    let mut child = Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("no standard input")?;
    for case in &CASES {
        for &p in case.rates {
            writeln!(input, "{} {} {p}", key_of(case, p), case.elements as usize * case.format.bytes())?;
        }
    }
    drop(input);
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{python} could not run {script}: is NumPy installed?").into());
    }
    let line = |line: &str| {
        let (name, ms) = line.rsplit_once(' ')?;
        Some((name.to_owned(), ms.parse().ok()?))
    };
    Ok(String::from_utf8(output.stdout)?.lines().filter_map(line).collect())
}
