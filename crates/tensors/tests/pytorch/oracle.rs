//! Files with the words that PyTorch and NumPy see in them, as `tools/fixtures/tensor_files.py` wrote them down.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bitquake_bits::WordStore;
use bitquake_tensors::{TensorFile, TensorsError};
use serde_json::Value;
use zip::ZipArchive;

/// What the names of dtypes are here; others are the same.
const NAMES: &[(&str, &str)] = &[
    ("float64", "f64"),
    ("float32", "f32"),
    ("float16", "f16"),
    ("bfloat16", "bf16"),
    ("float8_e4m3fn", "f8e4m3"),
    ("float8_e5m2", "f8e5m2"),
    ("float8_e4m3fnuz", "f8e4m3fnuz"),
    ("float8_e5m2fnuz", "f8e5m2fnuz"),
    ("float8_e8m0fnu", "f8e8m0"),
    ("complex64", "f32"),
    ("complex128", "f64"),
    ("int64", "i64"),
    ("int32", "i32"),
    ("int16", "i16"),
    ("int8", "i8"),
    ("uint8", "u8"),
    ("uint16", "u16"),
    ("uint32", "u32"),
    ("uint64", "u64"),
    ("qint8", "i8"),
    ("quint8", "u8"),
];

/// A committed file.
pub fn fixture(folder: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(folder).join(name)
}

/// Dtype, shape and words of a tensor.
pub type Seen = (String, Vec<u64>, Option<Vec<u64>>);

/// What is written down for a file.
pub fn expected(path: &Path) -> BTreeMap<String, Seen> {
    let mut oracle = path.as_os_str().to_owned();
    oracle.push(".json");
    let tensors: Value = serde_json::from_slice(&std::fs::read(oracle).unwrap()).unwrap();
    let numbers =
        |value: &Value| value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect();
    let seen = |(name, tensor): (&String, &Value)| {
        let theirs = tensor["dtype"].as_str().unwrap();
        let ours = NAMES.iter().find(|(name, _)| *name == theirs).map_or(theirs, |(_, ours)| *ours);
        let mut shape: Vec<u64> = numbers(&tensor["shape"]);
        if theirs.starts_with("complex") {
            shape.push(2);
        }
        let words = (ours != "bool").then(|| numbers(&tensor["words"]));
        (name.clone(), (ours.to_owned(), shape, words))
    };
    tensors.as_object().unwrap().iter().map(seen).collect()
}

/// What the file shows.
pub fn seen(file: &TensorFile) -> BTreeMap<String, Seen> {
    let seen = |info: &bitquake_tensors::TensorInfo| {
        let words = file.words(&info.name).map(|words| words.iter().collect::<Vec<_>>());
        (info.name.clone(), (info.dtype.to_string(), info.shape.clone(), words))
    };
    file.tensors().iter().map(seen).collect()
}

pub fn open(path: &Path) -> TensorFile {
    TensorFile::open(path).unwrap_or_else(|error| panic!("{error}"))
}

/// Opens bytes under a name.
pub fn open_bytes(name: &str, bytes: &[u8]) -> Result<TensorFile, TensorsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    TensorFile::open(&path)
}

/// Saves and reads back the bytes.
pub fn saved(file: &TensorFile) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.bin");
    file.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

/// Flips bit `seed * 31 % bits` of every tensor that has bits; how many were flipped.
pub fn flip_one_in_each(file: &mut TensorFile, seed: u64) -> usize {
    let tensors: Vec<_> = file.tensors().iter().map(|info| (info.name.clone(), info.bits())).collect();
    let mut flips = 0;
    for (name, bits) in tensors {
        let Some(bits) = bits.filter(|&bits| bits > 0) else { continue };
        let Some(mut words) = file.words_mut(&name) else { continue };
        words.flip(seed * 31 % bits).unwrap();
        flips += 1;
    }
    flips
}

/// The bytes in which two files of one length differ.
pub fn differing(a: &[u8], b: &[u8]) -> Vec<usize> {
    assert_eq!(a.len(), b.len());
    (0..a.len()).filter(|&at| a[at] != b[at]).collect()
}

/// All members of an archive, by a reader that checks every CRC-32.
pub fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let read = |index| {
        let mut file = archive.by_index(index).unwrap();
        let mut data = Vec::new();
        file.read_to_end(&mut data).unwrap();
        (file.name().unwrap().into_owned(), data)
    };
    (0..ZipArchive::new(Cursor::new(bytes)).unwrap().len()).map(read).collect()
}

/// Every prefix is an error, and every mutation is survived: the file is refused, or what it lists can be read.
pub fn disturb(name: &str, bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    // Overwritten in place: a file that is emptied and filled again is put on the disk each time.
    let mut target = std::fs::File::create(&path).unwrap();
    let mut open = |bytes: &[u8]| {
        target.rewind().unwrap();
        target.write_all(bytes).unwrap();
        target.set_len(bytes.len() as u64).unwrap();
        TensorFile::open(&path)
    };
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "{name} cut to {length} of {} bytes", bytes.len());
    }
    let mut state = 1_u64;
    for at in 0..bytes.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut bytes = bytes.to_vec();
        bytes[at] ^= (state >> 33) as u8 | 1;
        if state >> 62 == 0 {
            let other = (state >> 20) as usize % bytes.len();
            bytes[other] = (state >> 50) as u8;
        }
        if let Ok(mut file) = open(&bytes) {
            seen(&file);
            flip_one_in_each(&mut file, state >> 40);
        }
    }
}
