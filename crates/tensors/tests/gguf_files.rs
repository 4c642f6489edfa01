//! GGUF files: one that the package `gguf` wrote (tools/fixtures/hdf5_gguf_files.py), and hand-built ones that are wrong.

mod common;

use std::path::PathBuf;

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::{Dtype, FileKind, Role, TensorFile, TensorsError};
use common::*;
use serde_json::Value;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/gguf/types.gguf")
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn values_by_gguf() -> Vec<(String, Vec<u64>, Option<Vec<f64>>)> {
    let json: Value = serde_json::from_slice(&read(&fixture().with_file_name("types.gguf.json"))).unwrap();
    let shape = |tensor: &Value| {
        tensor["shape"].as_array().unwrap().iter().map(|dim| dim.as_u64().unwrap()).collect()
    };
    let values = |tensor: &Value| {
        let values = tensor["values"].as_array()?;
        Some(values.iter().map(|value| f64::from_bits(value.as_u64().unwrap())).collect())
    };
    let tensors = json.as_object().unwrap().iter();
    tensors.map(|(name, tensor)| (name.clone(), shape(tensor), values(tensor))).collect()
}

/// All numbers of a tensor; `None` if it has no words.
fn numbers(file: &TensorFile, name: &str) -> Option<Vec<f32>> {
    let words = file.words(name)?;
    Some(words.iter().map(|word| words.format().decode(word) as f32).collect())
}

/// The values of a tensor from its parts, in f32, as the format's formulas say.
fn decode(file: &TensorFile, name: &str) -> Option<Vec<f64>> {
    let Some(scales) = numbers(file, &format!("{name}@scale")) else {
        let words = file.words(name)?;
        return Some(words.iter().map(|word| words.format().decode(word)).collect());
    };
    let codes = numbers(file, name)?;
    let mins = numbers(file, &format!("{name}@min"));
    let offset = if name.ends_with("q4_0") { 8.0 } else { 0.0 };
    let value = |(index, code): (usize, &f32)| {
        let block = index / 32;
        f64::from((code - offset) * scales[block] + mins.as_ref().map_or(0.0, |mins| mins[block]))
    };
    Some(codes.iter().enumerate().map(value).collect())
}

#[test]
fn every_value_is_as_gguf_decodes_it() {
    let file = TensorFile::open(&fixture()).unwrap();
    assert_eq!(file.kind(), FileKind::Gguf);
    for (name, shape, values) in values_by_gguf() {
        let info = file.tensor(&name).unwrap();
        assert_eq!(info.shape, shape, "{name}");
        assert_eq!(decode(&file, &name), values, "{name}");
        let is_known = values.is_some();
        assert_eq!(info.role == Role::Weight, is_known, "{name}");
        assert!(is_known || info.dtype == Dtype::Other(name[2..].to_owned()), "{name}: {}", info.dtype);
    }
}

#[test]
fn blocks_are_listed_as_their_parts() {
    let file = TensorFile::open(&fixture()).unwrap();
    let cases = [
        ("t.q4_0", Format::unsigned(4), vec![3, 64]),
        ("t.q4_0@scale", Format::F16, vec![3, 2]),
        ("t.q4_1", Format::unsigned(4), vec![3, 64]),
        ("t.q4_1@scale", Format::F16, vec![3, 2]),
        ("t.q4_1@min", Format::F16, vec![3, 2]),
        ("t.q8_0", Format::I8, vec![3, 64]),
        ("t.q8_0@scale", Format::F16, vec![3, 2]),
        ("t.mxfp4", Format::F4E2M1, vec![3, 64]),
        ("t.mxfp4@scale", Format::F8E8M0, vec![3, 2]),
    ];
    for (name, format, shape) in cases {
        let info = file.tensor(name).unwrap();
        assert_eq!((&info.dtype, &info.shape), (&Dtype::Known(format), &shape), "{name}");
    }
    let parts = file.tensors().iter().filter(|info| info.name.contains('@')).count();
    assert_eq!(parts, 5);
}

#[test]
fn flips_change_their_bits_alone() {
    let before = read(&fixture());
    let saved = Saved::named("w.gguf", &before);
    let mut file = saved.open().unwrap();
    let names: Vec<String> = file.tensors().iter().map(|info| info.name.clone()).collect();
    let mut flips = 0;
    for name in names {
        let Some(mut words) = file.words_mut(&name) else { continue };
        let bits = words.elements() * u64::from(words.format().width());
        for address in [0, bits / 2, bits - 1] {
            words.flip(address).unwrap();
            flips += 1;
        }
    }
    file.save(&saved.beside("out")).unwrap();
    let after = read(&saved.beside("out"));
    let changed: u32 = before.iter().zip(&after).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((before.len(), changed), (after.len(), flips));
    // The last code of t.q4_1 is the upper half of the last byte of its last block.
    let code = |file: &TensorFile| file.words("t.q4_1").unwrap().get(3 * 64 - 1).unwrap();
    assert_eq!(code(&file), code(&saved.open().unwrap()) ^ 8);
}

/// Writes a GGUF file by hand.
struct Gguf {
    version: u32,
    pairs: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn pair(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&string(key)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, dims: &[u64], kind: u32, place: u64) -> Vec<u8> {
    let dims: Vec<u8> = [(dims.len() as u32).to_le_bytes().to_vec()]
        .into_iter()
        .chain(dims.iter().map(|dim| dim.to_le_bytes().to_vec()))
        .flatten()
        .collect();
    [&string(name)[..], &dims, &kind.to_le_bytes(), &place.to_le_bytes()].concat()
}

impl Gguf {
    fn new(tensors: &[Vec<u8>], data: usize) -> Gguf {
        Gguf { version: 3, pairs: Vec::new(), tensors: tensors.to_vec(), data: vec![1; data] }
    }

    fn with(mut self, pair: Vec<u8>) -> Gguf {
        self.pairs.push(pair);
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.pairs.len() as u64).to_le_bytes());
        self.pairs.iter().chain(&self.tensors).for_each(|part| out.extend(part));
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(&self.data);
        out
    }
}

#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn error_of(bytes: &[u8]) -> String {
    let error = Saved::named("w.gguf", bytes).open().unwrap_err();
    assert!(matches!(error, TensorsError::BadFile { kind: FileKind::Gguf, .. }), "{error:?}");
    error.to_string()
}

#[test]
fn every_error_is_named() {
    let f32s = |name: &str, dims: &[u64], place| tensor(name, dims, 0, place);
    let nested: Vec<u8> =
        std::iter::repeat_n([9_u32.to_le_bytes().to_vec(), 1_u64.to_le_bytes().to_vec()], 5)
            .flatten()
            .flatten()
            .collect();
    let huge_array = [4_u32.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()].concat();
    let cases = [
        (Gguf { version: 1, ..Gguf::new(&[], 0) }, "its version is 1"),
        (Gguf { version: 3_u32.swap_bytes(), ..Gguf::new(&[], 0) }, "it is big-endian"),
        (Gguf::new(&[f32s("a", &[9], 0)], 32), "tensor a: its data at byte 64 take 36 bytes, 32 left"),
        (Gguf::new(&[f32s("a", &[8], 0), f32s("b", &[1], 0)], 32), "tensors a and b overlap"),
        (Gguf::new(&[f32s("a", &[1], 0), f32s("a", &[1], 32)], 64), "two tensors are named \"a\""),
        (Gguf::new(&[tensor("a", &[32], 2, 0), f32s("a@scale", &[1], 32)], 64), "named \"a@scale\""),
        (Gguf::new(&[f32s("a", &[1], 4)], 32), "start at 4, which is no multiple of 32"),
        (Gguf::new(&[tensor("a", &[33], 2, 0)], 64), "rows of 33 elements are no whole blocks of 32"),
        (Gguf::new(&[f32s("a", &[u64::MAX, 2], 0)], 64), "too many elements"),
        (Gguf::new(&[f32s("a", &[u64::MAX / 2], 0)], 64), "take 18446744073709551615 bytes"),
        (Gguf::new(&[f32s("a", &[1], 0_u64.wrapping_sub(32))], 64), "its data at byte 18446744073709551615"),
        (Gguf::new(&[f32s("a", &[1; 9], 0)], 64), "it has 9 dimensions"),
        (Gguf::new(&[], 0).with(pair("k", 13, &[])), "metadata \"k\": there is no type 13"),
        (Gguf::new(&[], 0).with(pair("k", 9, &nested)), "nested more than 4 deep"),
        (Gguf::new(&[], 0).with(pair("k", 9, &huge_array)), "counts 18446744073709551615 array elements"),
        (Gguf::new(&[], 0).with(pair("general.alignment", 4, &[3, 0, 0, 0])), "3 is no power of two"),
        (Gguf::new(&[], 0).with(pair("general.alignment", 4, &[0; 4])), "0 is no power of two"),
        (Gguf::new(&[], 0).with(pair("general.alignment", 5, &[0; 4])), "its type is 5, not 4"),
        (
            Gguf::new(&[], 0).with(pair("k", 0, &[1])).with(pair("k", 0, &[1])),
            "two metadata values are named",
        ),
    ];
    for (file, expected) in cases {
        let error = error_of(&file.bytes());
        assert!(error.contains(expected), "{error} / {expected}");
    }
    let mut count = Gguf::new(&[], 0).bytes();
    count[8..16].fill(0xff);
    assert!(error_of(&count).contains("counts 18446744073709551615 tensors"), "{}", error_of(&count));
}

#[test]
fn unusual_files_that_are_right() {
    let version_2 = Gguf { version: 2, ..Gguf::new(&[tensor("a", &[3, 2], 0, 0)], 24) };
    let file = Saved::named("w.gguf", &version_2.bytes()).open().unwrap();
    assert_eq!(file.tensor("a").unwrap().shape, [2, 3]);
    // A type of the future is listed; so are an empty tensor and a scalar.
    let tensors = [tensor("new", &[7], 99, 0), tensor("empty", &[0], 0, 0), tensor("scalar", &[], 1, 32)];
    let file = Saved::named("w.gguf", &Gguf::new(&tensors, 64).bytes()).open().unwrap();
    assert_eq!(file.tensor("new").unwrap().dtype.to_string(), "type 99");
    assert_eq!(file.words("empty").unwrap().elements(), 0);
    assert_eq!(file.words("scalar").unwrap().get(0), Some(0x0101));
}

#[test]
fn no_cut_file_is_taken_for_whole() {
    let good = read(&fixture());
    let saved = Saved::named("w.gguf", &good);
    let last_byte = good.iter().rposition(|&byte| byte != 0).unwrap();
    for end in (4..=last_byte).step_by(3) {
        std::fs::write(&saved.path, &good[..end]).unwrap();
        assert!(saved.open().is_err(), "cut at {end}");
    }
}

#[test]
fn corrupted_files_do_no_harm() {
    let good = read(&fixture());
    let saved = Saved::named("w.gguf", &good);
    let (mut opened, mut state) = (0, 1_u64);
    for round in 0..1000 {
        let mut next = |bound: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % bound
        };
        let mut bytes = good.clone();
        for _ in 0..=next(2) {
            let at = next(if round % 2 == 0 { 1200 } else { good.len() });
            match next(3) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] ^= 1 << next(8),
                _ => bytes[at..(at + 1 + next(9)).min(good.len())].fill(0xff),
            }
        }
        std::fs::write(&saved.path, &bytes).unwrap();
        let Ok(mut file) = saved.open() else { continue };
        opened += 1;
        let names: Vec<String> = file.tensors().iter().map(|info| info.name.clone()).collect();
        for name in names {
            let Some(mut words) = file.words_mut(&name).filter(|words| words.elements() > 0) else {
                continue;
            };
            let last = words.elements() * u64::from(words.format().width()) - 1;
            words.flip(last).unwrap();
        }
    }
    assert!(opened > 50, "only {opened} corrupted files opened: the test sees too little");
}
