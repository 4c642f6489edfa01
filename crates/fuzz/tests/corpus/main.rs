//! The corpus run: every file of the corpus, and mutations of it, through its fuzz target, in bounded time and memory.
//!
//! More of it: `BITQUAKE_MUTATIONS=100000 cargo test --release -p bitquake-fuzz`. An input that fails is written to the folder for
//! temporary files; `cargo fuzz run TARGET FILE` runs it alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

mod memory;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bitquake_fuzz::{TARGETS, Target};
use bitquake_testing::{SplitMix64, mutated};

/// Mutations of each file, unless the variable says otherwise.
const MUTATIONS: u64 = 25;
const MUTATIONS_VARIABLE: &str = "BITQUAKE_MUTATIONS";
/// Memory of one case, in all: for an empty input, and more for each byte of it.
const MEMORY: usize = 3 << 20;
const MEMORY_A_BYTE: usize = 100;
/// Of each byte DEFLATE makes 1032 at most (258 for 2 bits, RFC 1951, section 3.2.5), which a byte image is four more of, in a
/// buffer that doubles, and a tensor file is held six times by its checks.
const MEMORY_A_DEFLATED_BYTE: usize = 1032 * 12;
/// One case takes milliseconds; this much means that something grows faster than the input.
const LONGEST: Duration = Duration::from_secs(10);

/// Memory is counted for the whole process, so one test measures at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The files of the corpus and the fixtures of a target, by path.
fn files(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let own = format!("fuzz/corpus/{}", target.name);
    let folders = [own.as_str()].into_iter().chain(target.fixtures.iter().copied());
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries =
            std::fs::read_dir(repository().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
        paths.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()));
    }
    // Beside a fixture lies what it holds, and the code that reads that.
    let fixtures = repository().join("crates");
    let ending = |path: &PathBuf| path.extension().map(|ending| ending.to_os_string()).unwrap_or_default();
    paths.retain(|path| {
        !path.starts_with(&fixtures) || !["json", "rs"].contains(&&*ending(path).to_string_lossy())
    });
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn run(name: &str) {
    let _alone = alone();
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let files = files(target);
    assert!(files.len() >= 3, "{name}: a corpus of {} files", files.len());
    let mutations = std::env::var(MUTATIONS_VARIABLE).map_or(MUTATIONS, |text| text.parse().unwrap());
    let mut random = SplitMix64::new(name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte)));
    for (path, bytes) in &files {
        case(target, path, bytes);
        for _ in 0..mutations {
            let other = &files[random.below(files.len() as u64) as usize].1;
            case(target, path, &mutated(bytes, other, &mut random));
        }
    }
}

/// One input; what is wrong is told with the input's origin and where it was written.
fn case(target: &Target, path: &Path, bytes: &[u8]) {
    let start = Instant::now();
    let mut failed = false;
    let peak = memory::measure(|| failed = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes))).is_err());
    let time = start.elapsed();
    let is_deflated = bytes.starts_with(b"PK") || bytes.starts_with(b"\x1f\x8b");
    let a_byte = if is_deflated { MEMORY_A_DEFLATED_BYTE } else { MEMORY_A_BYTE };
    let most = MEMORY + a_byte * bytes.len();
    if !failed && peak <= most && time <= LONGEST {
        return;
    }
    let place = std::env::temp_dir().join(format!("bitquake-{}-{:08x}", target.name, digest(bytes)));
    std::fs::write(&place, bytes).unwrap();
    panic!(
        "{}: an input of {} bytes made from {}, now in {}: panicked: {failed}, {peak} bytes of memory (most {most}), {time:?}",
        target.name,
        bytes.len(),
        path.display(),
        place.display()
    );
}

/// FNV-1a.
fn digest(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Each target has a test of its own.
macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_target_is_run_here_and_by_cargo_fuzz() {
            let names = TARGETS.map(|target| target.name);
            assert_eq!(names, [$(stringify!($name)),*]);
            let manifest = std::fs::read_to_string(repository().join("fuzz/Cargo.toml")).unwrap();
            for name in names {
                let source = std::fs::read_to_string(repository().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
                assert!(source.contains(&format!("bitquake_fuzz::{name}(bytes)")), "{source}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets!(onnx, safetensors, pytorch, numpy, hdf5, gguf, data, texts);
