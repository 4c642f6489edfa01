//! HDF5 and Keras files that h5py and Keras wrote (tools/fixtures/hdf5_gguf_files.py): listed, read, flipped, corrupted.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::{Dtype, FileKind, Role, TensorFile, TensorsError};
use common::*;
use serde_json::Value;

const FILES: [(&str, FileKind); 8] = [
    ("earliest.h5", FileKind::Hdf5),
    ("latest.h5", FileKind::Hdf5),
    ("v110.h5", FileKind::Hdf5),
    ("keras2.h5", FileKind::Hdf5),
    ("keras3.h5", FileKind::Hdf5),
    ("keras3.weights.h5", FileKind::Hdf5),
    ("keras3.keras", FileKind::Keras),
    ("deflated.keras", FileKind::Keras),
];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/hdf5").join(name)
}

fn bytes_of(name: &str) -> Vec<u8> {
    read(&fixture(name))
}

/// A tensor as h5py sees it.
#[derive(Debug, PartialEq)]
struct Seen {
    shape: Vec<u64>,
    words: Option<Vec<u64>>,
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn seen_by_h5py(name: &str) -> BTreeMap<String, Seen> {
    let json: Value = serde_json::from_slice(&bytes_of(&format!("{name}.json"))).unwrap();
    let see = |tensor: &Value| Seen {
        shape: numbers(&tensor["shape"]),
        words: Some(&tensor["words"]).filter(|words| !words.is_null()).map(numbers),
    };
    json.as_object().unwrap().iter().map(|(name, tensor)| (name.clone(), see(tensor))).collect()
}

fn seen_by_us(file: &TensorFile) -> BTreeMap<String, Seen> {
    let see = |name: &str| file.words(name).map(|words| words.iter().collect());
    let tensors = file.tensors().iter();
    tensors
        .map(|info| (info.name.clone(), Seen { shape: info.shape.clone(), words: see(&info.name) }))
        .collect()
}

#[test]
fn every_word_is_as_h5py_reads_it() {
    for (name, kind) in FILES {
        let file = TensorFile::open(&fixture(name)).unwrap();
        assert_eq!(file.kind(), kind, "{name}");
        let (ours, theirs) = (seen_by_us(&file), seen_by_h5py(name));
        assert!(ours.keys().eq(theirs.keys()), "{name}: {:?}\n{:?}", ours.keys(), theirs.keys());
        for (tensor, expected) in theirs {
            assert_eq!(ours[&tensor], expected, "{name}: {tensor}: {:?}", file.tensor(&tensor));
            let is_weight = file.tensor(&tensor).unwrap().role == Role::Weight;
            assert_eq!(is_weight, expected.words.is_some(), "{name}: {tensor}");
        }
    }
}

#[test]
fn names_are_paths_in_order() {
    let file = TensorFile::open(&fixture("keras2.h5")).unwrap();
    let names: Vec<&str> = file.tensors().iter().map(|info| info.name.as_str()).collect();
    let expected = [
        "model_weights/q_dense/q_dense/bias:0",
        "model_weights/q_dense/q_dense/kernel:0",
        "optimizer_weights/Adam/iter:0",
        "optimizer_weights/Adam/q_dense/kernel/m:0",
    ];
    assert_eq!(names, expected);
    assert_eq!(file.tensor(expected[2]).unwrap().dtype, Dtype::Known(Format::I64));
}

#[test]
fn what_is_not_read_says_why() {
    let cases = [
        ("types/text", "vlen"),
        ("types/texts", "string"),
        ("types/bool", "enum"),
        ("types/record", "compound"),
        ("unread/column_cut", "f32 (in irregular chunks)"),
        ("unread/some_written", "f32 (some chunks were never written)"),
        ("unread/never_written", "f32 (never written)"),
        ("unread/deflated", "f32 (filtered by deflate)"),
        ("unread/shuffled", "f32 (filtered by shuffle, deflate)"),
        ("unread/checked", "f32 (filtered by fletcher32)"),
        ("unread/lzf", "f32 (filtered by lzf)"),
    ];
    for name in ["earliest.h5", "latest.h5", "v110.h5"] {
        let file = TensorFile::open(&fixture(name)).unwrap();
        for (tensor, dtype) in cases {
            let info = file.tensor(tensor).unwrap();
            assert_eq!(
                (info.dtype.to_string().as_str(), info.role),
                (dtype, Role::Attribute),
                "{name}: {tensor}"
            );
        }
    }
    let file = TensorFile::open(&fixture("latest.h5")).unwrap();
    let dtype = |tensor| file.tensor(tensor).unwrap().dtype.to_string();
    assert_eq!(dtype("compact"), "f32 (in a header with a checksum)");
    assert_eq!(dtype("growing"), "f32 (its chunks are listed in an extensible array)");
}

/// Where two files of one length differ.
fn differences(a: &[u8], b: &[u8]) -> Vec<(usize, u8)> {
    assert_eq!(a.len(), b.len());
    (0..a.len()).filter(|&at| a[at] != b[at]).map(|at| (at, a[at] ^ b[at])).collect()
}

#[test]
fn flips_change_their_bits_alone() {
    for (name, kind) in FILES {
        let before = bytes_of(name);
        let saved = Saved::named(name, &before);
        let mut file = saved.open().unwrap();
        let mut flips: BTreeMap<String, u64> = BTreeMap::new();
        let names: Vec<String> = file.tensors().iter().map(|info| info.name.clone()).collect();
        for (index, tensor) in names.iter().enumerate() {
            let Some(mut words) = file.words_mut(tensor).filter(|words| words.elements() > 0) else {
                continue;
            };
            let bits = words.elements() * u64::from(words.format().width());
            words.flip(index as u64 * 41 % bits).unwrap();
            flips.insert(tensor.clone(), index as u64 * 41 % bits);
        }
        file.save(&saved.beside("out")).unwrap();
        let after = read(&saved.beside("out"));
        let again = TensorFile::open(&saved.beside("out")).unwrap();
        assert_eq!(seen_by_us(&again), seen_by_us(&file), "{name}");
        let old = saved.open().unwrap();
        for (tensor, address) in &flips {
            let (old, new) = (old.words(tensor).unwrap(), again.words(tensor).unwrap());
            let width = u64::from(old.format().width());
            for element in 0..old.elements() {
                let flipped = if address / width == element { 1 << (address % width) } else { 0 };
                assert_eq!(
                    new.get(element).unwrap() ^ flipped,
                    old.get(element).unwrap(),
                    "{name}: {tensor} {element}"
                );
            }
        }
        match name {
            "deflated.keras" => continue, // deflated anew
            "keras3.keras" => {
                // Beside the flips, the checksum of the one member, in two places.
                let others = differences(&before, &after).len() - flips.len();
                assert!((1..=8).contains(&others), "{others}");
            }
            _ => {
                let changed = differences(&before, &after);
                assert_eq!(changed.len(), flips.len(), "{name}");
                assert!(changed.iter().all(|(_, bits)| bits.count_ones() == 1), "{name}: {changed:?}");
            }
        }
        // Undone, the file is as it was.
        let mut file = TensorFile::open(&saved.beside("out")).unwrap();
        assert_eq!(file.kind(), kind);
        flips.iter().for_each(|(tensor, &address)| file.words_mut(tensor).unwrap().flip(address).unwrap());
        file.save(&saved.beside("undone")).unwrap();
        assert_eq!(read(&saved.beside("undone")), before, "{name}");
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn error_of(bytes: &[u8]) -> String {
    let error = Saved::named("w.h5", bytes).open().unwrap_err();
    assert!(matches!(error, TensorsError::BadFile { kind: FileKind::Hdf5, .. }), "{error:?}");
    error.to_string()
}

/// The one place of `pattern` after `from`.
fn find(bytes: &[u8], pattern: &[u8], from: usize) -> usize {
    let place = bytes[from..].windows(pattern.len()).position(|window| window == pattern);
    from + place.unwrap_or_else(|| panic!("no {pattern:02x?}"))
}

fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// The place of the first word of a tensor.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn place_of(bytes: &[u8], tensor: &str) -> usize {
    let words: Vec<u8> = {
        let file = Saved::named("w.h5", bytes).open().unwrap();
        let words = file.words(tensor).unwrap();
        words.iter().flat_map(|word| (word as u32).to_le_bytes()).collect()
    };
    find(bytes, &words, 0)
}

#[test]
fn data_that_lie_over_others_are_refused() {
    let good = bytes_of("keras2.h5");
    let kernel = place_of(&good, "model_weights/q_dense/q_dense/kernel:0");
    let bias = place_of(&good, "model_weights/q_dense/q_dense/bias:0");
    let address = find(&good, &(bias as u64).to_le_bytes(), 0);
    let move_bias = |place: u64| {
        let mut bytes = good.clone();
        put(&mut bytes, address, place);
        error_of(&bytes)
    };
    assert!(
        move_bias(kernel as u64).contains("overlap the data of model_weights"),
        "{}",
        move_bias(kernel as u64)
    );
    assert!(move_bias(0).contains("overlap the superblock at byte 0"), "{}", move_bias(0));
    let end = good.len() as u64;
    assert!(move_bias(end - 11).contains("its data at byte"), "{}", move_bias(end - 11));
    assert!(move_bias(u64::MAX - 1).contains("left"), "{}", move_bias(u64::MAX - 1));
}

#[test]
fn shapes_that_lie_are_refused() {
    let good = bytes_of("keras2.h5");
    let shape = [4_u64, 3].map(u64::to_le_bytes).concat();
    let at = find(&good, &shape, 0);
    for (rows, expected) in
        [(1 << 40, "take 13194139533312 bytes"), (u64::MAX, "more bytes than there are numbers")]
    {
        let mut bytes = good.clone();
        put(&mut bytes, at, rows);
        match Saved::named("w.h5", &bytes).open() {
            Err(error) => assert!(error.to_string().contains(expected), "{error}"),
            Ok(file) => {
                let dtypes: Vec<String> = file.tensors().iter().map(|info| info.dtype.to_string()).collect();
                assert!(dtypes.iter().any(|dtype| dtype.contains(expected)), "{dtypes:?}");
            }
        }
    }
}

#[test]
fn trees_and_groups_that_lead_back_end() {
    // A tree of chunks has two levels; its first child becomes itself. Keys have 32 bytes.
    let good = bytes_of("earliest.h5");
    let root = find(&good, b"TREE\x01\x01", 0);
    let mut bytes = good.clone();
    put(&mut bytes, root + 24 + 32, root as u64);
    assert!(error_of(&bytes).contains("a B-tree node at byte"), "{}", error_of(&bytes));
    // Every object of a group becomes the root group: nothing is found twice.
    let good = bytes_of("keras2.h5");
    let mut bytes = good.clone();
    let root = u64::from_le_bytes(good[64..72].try_into().unwrap());
    let node = find(&good, b"SNOD", 0);
    put(&mut bytes, node + 8 + 8, root);
    let file = Saved::named("w.h5", &bytes).open().unwrap();
    assert!(file.tensors().len() < 4);
}

#[test]
fn checksums_are_checked() {
    let good = bytes_of("latest.h5");
    let mut bytes = good.clone();
    bytes[20] ^= 1; // the base address
    assert!(error_of(&bytes).contains("the superblock at byte 0 has the checksum"));
    let mut bytes = good.clone();
    let header = find(&good, b"OHDR", 0);
    bytes[header + 20] ^= 1;
    assert!(error_of(&bytes).contains("the object header at byte"), "{}", error_of(&bytes));
}

#[test]
fn no_cut_file_is_taken_for_whole() {
    for name in ["keras2.h5", "keras3.keras"] {
        let good = bytes_of(name);
        let saved = Saved::named(name, &good);
        let whole = saved.open().unwrap().tensors().len();
        for end in (0..good.len()).step_by(7) {
            std::fs::write(&saved.path, &good[..end]).unwrap();
            if let Ok(file) = saved.open() {
                assert_eq!(file.tensors().len(), whole, "cut at {end}");
            }
        }
    }
}

/// Corrupted files open or give an error; they never panic, and never hold more than the file's bytes.
#[test]
fn corrupted_files_do_no_harm() {
    let mut random = SplitMix(7);
    for name in ["keras2.h5", "earliest.h5", "latest.h5", "keras3.keras"] {
        let good = bytes_of(name);
        let saved = Saved::named(name, &good);
        let mut opened = 0;
        for round in 0..500 {
            let bytes = mutate(&good, &mut random, if round % 2 == 0 { 4096 } else { good.len() });
            std::fs::write(&saved.path, &bytes).unwrap();
            let Ok(mut file) = saved.open() else { continue };
            opened += 1;
            let size: usize = file.content_hash_parts().map(|(_, bytes)| bytes.len()).sum();
            assert!(size <= bytes.len(), "{size} bytes held for a file of {}", bytes.len());
            let names: Vec<String> = file.tensors().iter().map(|info| info.name.clone()).collect();
            for name in names {
                let Some(mut words) = file.words_mut(&name) else { continue };
                if words.elements() > 0 {
                    words.flip(words.elements() * u64::from(words.format().width()) - 1).unwrap();
                }
            }
        }
        assert!(opened > 30, "only {opened} corrupted {name} opened: the test sees too little");
    }
}

struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

/// Changes a few of the first `within` bytes.
fn mutate(good: &[u8], random: &mut SplitMix, within: usize) -> Vec<u8> {
    let mut bytes = good.to_owned();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len().min(within));
        match random.below(5) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = [0x00, 0x7f, 0x80, 0xff][random.below(4)],
            3 => {
                // A number that points somewhere into the file.
                let end = bytes.len().min(at + 8);
                let number = (random.below(good.len()) as u64).to_le_bytes();
                bytes[at..end].copy_from_slice(&number[..end - at]);
            }
            _ => {
                let end = bytes.len().min(at + 1 + random.below(9));
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}
