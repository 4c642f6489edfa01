//! External data files: found, checked, edited, saved.

mod common;

use bitquake_bits::WordStore;
use bitquake_tensors::{StorageForm, TensorsError};
use common::*;

/// A model with four f32 in `data/w.bin` from byte 4, and two i8 at its start.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn with_external() -> Saved {
    let tensors = [
        external("w", F32, &[4], &[("location", "data/w.bin"), ("offset", "4"), ("length", "16")]),
        external("q", I8, &[2], &[("location", "data/w.bin"), ("checksum", "ignored")]),
        external("axes", I64, &[1], &[("location", "data/axes.bin")]),
        floats("inside", &[1.0]),
    ];
    let saved = Saved::new(&model(&graph(&[], &tensors)));
    std::fs::create_dir(saved.beside("data")).unwrap();
    std::fs::write(saved.beside("data/w.bin"), (0..24).collect::<Vec<u8>>()).unwrap();
    std::fs::write(saved.beside("data/axes.bin"), [0; 8]).unwrap();
    saved
}

#[test]
fn words_come_from_the_external_file() {
    let saved = with_external();
    let file = saved.open().unwrap();
    assert_eq!(file.words("w").unwrap().bytes(), (4..20).collect::<Vec<u8>>());
    assert_eq!(file.words("q").unwrap().bytes(), [0, 1]);
    assert_eq!(file.words("axes").map(|words| words.format()), Some(bitquake_bits::Format::I64));
    let storage = &file.tensor("w").unwrap().origin.storage;
    assert_eq!(storage, &StorageForm::External("data/w.bin".to_owned()));
    let labels: Vec<_> =
        file.content_hash_parts().map(|(name, bytes)| (name.to_owned(), bytes.len())).collect();
    let model_size = read(&saved.path).len();
    assert_eq!(labels, [(String::new(), model_size), ("data/w.bin".into(), 24), ("data/axes.bin".into(), 8)]);
}

#[test]
fn saving_elsewhere_takes_the_external_files_along() {
    let saved = with_external();
    let mut file = saved.open().unwrap();
    file.words_mut("w").unwrap().flip(9).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("m.onnx");
    file.save(&out).unwrap();
    assert_eq!(read(&out), read(&saved.path));
    let mut expected: Vec<u8> = (0..24).collect();
    expected[5] ^= 2;
    assert_eq!(read(&elsewhere.path().join("data/w.bin")), expected);
    assert_eq!(read(&elsewhere.path().join("data/axes.bin")), [0; 8]);
    // The copy stands on its own and can be saved again, over itself when external data stay as they are.
    let copy = bitquake_tensors::TensorFile::open(&out).unwrap();
    copy.save(&out).unwrap();
    assert_eq!(read(&saved.beside("data/w.bin")), (0..24).collect::<Vec<u8>>());
}

/// Two outputs in one folder would share a data file; the one that is written anew may have its own.
#[test]
fn external_data_do_not_replace_those_of_another_model() {
    let saved = with_external();
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one.onnx"), folder.path().join("other.onnx"));
    let mut file = saved.open().unwrap();
    file.words_mut("q").unwrap().flip(0).unwrap();
    file.save(&one).unwrap();
    let before = read(&folder.path().join("data/w.bin"));
    file.words_mut("q").unwrap().flip(1).unwrap();
    let error = file.save(&other).unwrap_err();
    assert!(matches!(error, TensorsError::WouldOverwriteExternal { .. }), "{error:?}");
    assert!(!other.exists() && read(&folder.path().join("data/w.bin")) == before);
    file.save(&one).unwrap();
    assert_ne!(read(&folder.path().join("data/w.bin")), before);
}

#[cfg(unix)]
#[test]
fn what_a_link_leads_to_is_replaced() {
    let saved = with_external();
    let folder = tempfile::tempdir().unwrap();
    let (target, link) = (folder.path().join("target.onnx"), folder.path().join("link.onnx"));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    saved.open().unwrap().save(&link).unwrap();
    assert!(link.is_symlink() && read(&target) == read(&saved.path));
}

#[test]
fn changed_external_data_are_not_written_over_the_source() {
    let saved = with_external();
    let mut file = saved.open().unwrap();
    let out = saved.beside("faulty.onnx");
    file.words_mut("inside").unwrap().flip(0).unwrap();
    file.save(&out).unwrap();
    assert_ne!(read(&out), read(&saved.path));
    std::fs::remove_file(&out).unwrap();

    file.words_mut("q").unwrap().flip(0).unwrap();
    let error = file.save(&out).unwrap_err();
    assert!(matches!(error, TensorsError::WouldOverwriteExternal { .. }), "{error:?}");
    assert!(error.to_string().contains("choose another folder"), "{error}");
    assert!(!out.exists());
    assert_eq!(read(&saved.beside("data/w.bin")), (0..24).collect::<Vec<u8>>());

    // Undone, nothing would be overwritten.
    file.words_mut("q").unwrap().flip(0).unwrap();
    file.save(&out).unwrap();
    // The model itself never lands on external data.
    for target in ["data/w.bin", "./data/../data/w.bin"] {
        let error = file.save(&saved.beside(target)).unwrap_err();
        assert!(matches!(error, TensorsError::WouldOverwriteExternal { .. }), "{error:?}");
    }
    assert_eq!(std::fs::read_dir(saved.folder.path()).unwrap().count(), 3, "temporary files were left");
}

#[test]
fn what_is_wrong_with_external_data_is_named() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "have no location"),
        (&[("location", "")], "\"\" is empty"),
        (&[("location", "../w.bin")], "contains `..`"),
        (&[("location", "a/../../w.bin")], "contains `..`"),
        (&[("location", "/etc/hostname")], "is absolute"),
        (&[("location", "none.bin")], "cannot read its external data file"),
        (&[("location", "folder")], "is not a regular file"),
        (&[("location", "w.bin"), ("offset", "5")], "has 8 bytes, but bytes 5 to 9 are asked of it"),
        (&[("location", "w.bin"), ("offset", "9")], "has 8 bytes, but bytes 9 to 13"),
        (&[("location", "w.bin"), ("length", "9")], "has 8 bytes, but bytes 0 to 9"),
        (&[("location", "w.bin"), ("offset", "18446744073709551615")], "has 8 bytes"),
        (&[("location", "w.bin"), ("offset", "-1")], "the offset \"-1\", not a byte count"),
        (&[("location", "w.bin"), ("length", "x")], "the length \"x\""),
        (&[("location", "w.bin"), ("length", "8")], "f32 [1] takes 4 bytes, but 8 are stored"),
    ];
    for (entries, expected) in cases {
        let saved = Saved::new(&model(&graph(&[], &[external("t", F32, &[1], entries)])));
        std::fs::write(saved.beside("w.bin"), [0; 8]).unwrap();
        std::fs::create_dir(saved.beside("folder")).unwrap();
        let error = saved.open().unwrap_err().to_string();
        assert!(error.contains(expected), "{error} / {expected}");
        assert!(error.contains("tensor t") && error.contains("m.onnx"), "{error}");
    }
}

#[test]
fn two_names_of_one_file_are_refused() {
    let tensors = [
        external("a", F32, &[1], &[("location", "w.bin")]),
        external("b", F32, &[1], &[("location", "./w.bin")]),
    ];
    let saved = Saved::new(&model(&graph(&[], &tensors)));
    std::fs::write(saved.beside("w.bin"), [0; 4]).unwrap();
    let error = saved.open().unwrap_err().to_string();
    assert!(error.contains("second name"), "{error}");
}

#[cfg(unix)]
#[test]
fn links_must_stay_within_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("w.bin"), [0; 4]).unwrap();
    let saved = Saved::new(&model(&graph(&[], &[external("t", F32, &[1], &[("location", "link.bin")])])));
    std::os::unix::fs::symlink(outside.path().join("w.bin"), saved.beside("link.bin")).unwrap();
    let error = saved.open().unwrap_err();
    assert!(error.to_string().contains("leads out of the model's folder"), "{error}");
    std::fs::remove_file(saved.beside("link.bin")).unwrap();
    std::fs::write(saved.beside("real.bin"), [0; 4]).unwrap();
    std::os::unix::fs::symlink("real.bin", saved.beside("link.bin")).unwrap();
    assert!(saved.open().is_ok());
}
