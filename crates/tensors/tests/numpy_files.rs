//! NumPy files made by NumPy itself, and bad ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]
#![allow(dead_code, reason = "the oracle's helpers serve two files of tests")]

#[path = "pytorch/oracle.rs"]
mod oracle;

use std::io::{Cursor, Write};

use bitquake_bits::WordStore;
use bitquake_tensors::{FileKind, Role, TensorsError};
use oracle::{
    differing, disturb, expected, fixture, flip_one_in_each, members, open, open_bytes, saved, seen,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const ARRAYS: &[&str] = &[
    "float32.npy",
    "fortran.npy",
    "big_fortran.npy",
    "complex64.npy",
    "scalar.npy",
    "version2.npy",
    "version3.npy",
];
const ARCHIVES: &[&str] = &["stored.npz", "deflated.npz"];

#[test]
fn every_array_is_as_numpy_sees_it() {
    for name in ARRAYS.iter().chain(ARCHIVES) {
        let path = fixture("numpy", name);
        let file = open(&path);
        assert_eq!(file.kind(), if name.ends_with("npz") { FileKind::Npz } else { FileKind::Npy });
        assert_eq!(seen(&file), expected(&path), "{name}");
        assert_eq!(saved(&file), std::fs::read(&path).unwrap(), "{name}");
    }
}

#[test]
fn only_flips_change() {
    for name in ARRAYS {
        let path = fixture("numpy", name);
        let original = std::fs::read(&path).unwrap();
        for seed in 0..20 {
            let mut file = open(&path);
            assert_eq!(flip_one_in_each(&mut file, seed), 1);
            let changed = saved(&file);
            let [at] = differing(&original, &changed)[..] else { panic!("{name}") };
            assert_eq!((original[at] ^ changed[at]).count_ones(), 1);
            assert_eq!(seen(&open_bytes(name, &changed).unwrap()), seen(&file));
        }
    }
}

#[test]
fn archives_follow() {
    for name in ARCHIVES {
        let path = fixture("numpy", name);
        let original = std::fs::read(&path).unwrap();
        for seed in [0, 1, 77] {
            let mut file = open(&path);
            let flips = flip_one_in_each(&mut file, seed);
            let changed = saved(&file);
            let (old, new) = (members(&original), members(&changed)); // checks the checksums
            let bits = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            let changes: Vec<u32> = old.iter().zip(&new).map(|(old, new)| bits(&old.1, &new.1)).collect();
            assert!(changes.iter().all(|&count| count <= 1) && changes.iter().sum::<u32>() as usize == flips);
            let mut again = open_bytes(name, &changed).unwrap();
            assert_eq!(seen(&again), seen(&file), "{name}");
            flip_one_in_each(&mut again, seed);
            let restored = saved(&again);
            assert_eq!(members(&restored), old);
            if *name == "stored.npz" {
                assert_eq!(restored, original);
            }
        }
    }
}

/// Members that were not changed keep their deflated bytes.
#[test]
fn only_the_changed_member_is_deflated_again() {
    let path = fixture("numpy", "deflated.npz");
    let original = std::fs::read(&path).unwrap();
    let mut file = open(&path);
    file.words_mut("int64").unwrap().flip(100).unwrap();
    let changed = saved(&file);
    let raw = |bytes: &[u8]| {
        let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        let range = |index: usize| {
            let file = archive.by_index_raw(index).unwrap();
            let start = file.data_start().unwrap() as usize;
            bytes[start..start + file.compressed_size() as usize].to_vec()
        };
        (0..17).map(range).collect::<Vec<_>>()
    };
    let (old, new) = (raw(&original), raw(&changed));
    let differing = old.iter().zip(&new).filter(|(old, new)| old != new).count();
    assert_eq!(differing, 1);
}

#[test]
fn text_is_listed_and_left_alone() {
    let mut file = open(&fixture("numpy", "text.npz"));
    let names = file.tensor("names").unwrap();
    assert_eq!((names.dtype.to_string().as_str(), names.role), ("U1", Role::Attribute));
    assert!(file.words_mut("names").is_none() && file.words_mut("w").is_some());
}

fn message(result: Result<bitquake_tensors::TensorFile, TensorsError>) -> String {
    match result {
        Err(TensorsError::BadFile { kind: FileKind::Npy | FileKind::Npz, source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_array_of_numbers_is_refused() {
    let open = |name| bitquake_tensors::TensorFile::open(&fixture("numpy", name));
    let records = message(open("records.npy"));
    assert!(
        records.starts_with(
            "the header of the array: arrays of records are not read, of [('a', '<f4'), ('b', '<i2')]"
        ),
        "{records}"
    );
    assert_eq!(message(open("objects.npy")), "arrays of Python objects are pickles, which are not read");
}

#[test]
fn lies_about_sizes() {
    let array = |shape: &str, size: usize| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}\n");
        [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), &vec![0; size]]
            .concat()
    };
    let found = |bytes: &[u8]| message(open_bytes("a.npy", bytes));
    assert!(open_bytes("a.npy", &array("(2, 2)", 16)).is_ok());
    assert_eq!(found(&array("(2, 3)", 16)), "[2, 3] of f32 takes 24 bytes, but 16 are stored");
    assert_eq!(found(&array("(2, 1)", 16)), "[2, 1] of f32 takes 8 bytes, but 16 are stored");
    let huge = found(&array("(4294967296, 4294967296)", 16));
    assert_eq!(huge, "[4294967296, 4294967296] has more than 2^64 bytes");
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer
        .start_file("w.npy", SimpleFileOptions::default().compression_method(CompressionMethod::Deflated))
        .unwrap();
    writer.write_all(&array("(2, 3)", 16)).unwrap();
    let archive = writer.finish().unwrap().into_inner();
    let found = message(open_bytes("a.npz", &archive));
    assert_eq!(found, "member \"w.npy\": [2, 3] of f32 takes 24 bytes, but 16 are stored");
}

#[test]
fn disturbed_files_are_refused_or_read() {
    for name in ARRAYS.iter().chain(&["deflated.npz", "text.npz"]) {
        disturb(name, &std::fs::read(fixture("numpy", name)).unwrap());
    }
}
