//! Safetensors: listing, flips, errors; and saving in general.

mod common;

use bitquake_bits::{Format, WordStore, Words};
use bitquake_tensors::{Dtype, FileKind, Role, TensorFile, TensorsError};
use common::*;
use proptest::prelude::*;

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

const HEADER: &str = r#"{"__metadata__":{"format":"pt"},
 "b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]},
 "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
 "empty":{"dtype":"U8","shape":[0],"data_offsets":[12,12]},
 "also_empty":{"dtype":"U8","shape":[0],"data_offsets":[12,12]},
 "long":{"dtype":"I64","shape":[],"data_offsets":[12,20]},
 "f8":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[20,21]},
 "flag":{"dtype":"BOOL","shape":[1],"data_offsets":[21,22]}}   "#;

#[test]
fn tensors_are_listed_in_file_order() {
    let saved = Saved::named("w.bin", &safetensors(HEADER, &[3; 22]));
    let file = saved.open().unwrap();
    assert_eq!(file.kind(), FileKind::Safetensors);
    assert!(file.onnx().is_none());
    let names: Vec<_> = file.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "also_empty", "empty", "long", "f8", "flag"]);
    let b = file.tensor("b").unwrap();
    assert_eq!((&b.dtype, &b.shape[..], b.role), (&Dtype::Known(Format::BF16), &[1, 2][..], Role::Weight));
    assert_eq!(file.tensor("f8").unwrap().dtype.to_string(), "f8e4m3");
    assert_eq!(file.tensor("long").unwrap().role, Role::Weight);
    assert_eq!(file.tensor("flag").unwrap().role, Role::Attribute);
    assert_eq!(file.words("b"), Some(Words::packed(Format::BF16, &[3; 4])));
    assert_eq!(file.words("empty"), Some(Words::packed(Format::U8, &[])));
    assert_eq!(file.words("long"), Some(Words::packed(Format::I64, &[3; 8])));
    assert_eq!(file.words("flag"), None);
    let error = file.into_engine_image().unwrap_err();
    assert!(matches!(error, TensorsError::NotOnnx { kind: FileKind::Safetensors, .. }), "{error}");
}

#[test]
fn errors() {
    let good = safetensors(HEADER, &[3; 22]);
    let huge = r#"{"a":{"dtype":"U8","shape":[2305843009213693951],"data_offsets":[0,2305843009213693951]}}"#;
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (good[..40].to_vec(), "truncated: the header takes"),
        (good[..good.len() - 1].to_vec(), "truncated: the tensors take 22 bytes, 21 are there"),
        ([&good[..], &[0]].concat(), "the tensors take 22 bytes, 23 are there"),
        (safetensors("{nonsense}", &[]), "bad header"),
        (safetensors(r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}}"#, &[0; 4]), "bad header"),
        (safetensors(r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]), "bad header"),
        (safetensors(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]), "bad header"),
        (safetensors(huge, &[0; 8]), "truncated: the tensors take 2305843009213693951 bytes"),
        (vec![0x80, 0x01, 0, 0], "the header's length alone takes 8"),
        ([&[0xff; 8][..], b"{}"].concat(), "the header's length is 18446744073709551615"),
        ([&8_u64.to_le_bytes()[..], b"[1,2,3] "].concat(), "the header does not start with"),
    ];
    for (bytes, expected) in cases {
        let error = Saved::named("w.safetensors", &bytes).open().unwrap_err();
        assert!(error.to_string().contains(expected), "{error} / {expected}");
        assert!(matches!(error, TensorsError::Safetensors { .. }), "{error:?}");
    }
}

#[test]
fn saving_over_the_source_and_failing_to_save() {
    let saved = Saved::named("w.safetensors", &safetensors(HEADER, &[3; 22]));
    let mut file = saved.open().unwrap();
    file.words_mut("a").unwrap().flip(0).unwrap();
    file.save(&saved.path).unwrap();
    assert_eq!(saved.open().unwrap().words("a").unwrap().bytes()[0], 2);
    for bad in [saved.beside("no/such/folder.bin"), saved.folder.path().to_owned(), "/".into()] {
        let error = file.save(&bad).unwrap_err();
        assert!(matches!(error, TensorsError::Write { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read_dir(saved.folder.path()).unwrap().count(), 1, "temporary files were left");
}

#[cfg(unix)]
#[test]
fn a_saved_file_has_the_permissions_of_a_new_one() {
    use std::os::unix::fs::PermissionsExt;
    let saved = Saved::named("w.safetensors", &safetensors(HEADER, &[3; 22]));
    saved.open().unwrap().save(&saved.beside("out")).unwrap();
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(saved.beside("out")), mode(saved.path.clone()));
}

proptest! {
    #[test]
    fn flips_change_their_bits_alone(addresses in prop::collection::vec(0_u64..96, 0..30)) {
        let bytes = safetensors(HEADER, &[3; 22]);
        let saved = Saved::named("w.safetensors", &bytes);
        let mut file = saved.open().unwrap();
        let mut expected = bytes.clone();
        let data = bytes.len() - 22;
        for &address in &addresses {
            let (name, local) = if address < 64 { ("a", address) } else { ("b", address - 64) };
            file.words_mut(name).unwrap().flip(local).unwrap();
            expected[data + address as usize / 8] ^= 1 << (address % 8);
        }
        let out = saved.beside("out");
        file.save(&out).unwrap();
        prop_assert_eq!(&read(&out), &expected);
        let after = TensorFile::open(&out).unwrap();
        prop_assert_eq!(after.words("b"), file.words("b"));
    }
}
