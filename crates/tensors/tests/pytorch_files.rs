//! PyTorch checkpoints made by PyTorch itself, and hostile ones made by hand.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "pytorch/oracle.rs"]
mod oracle;

use std::io::{Cursor, Write};

use bitquake_bits::WordStore;
use bitquake_tensors::{FileKind, Role, TensorFile, TensorsError};
use oracle::{
    differing, disturb, expected, fixture, flip_one_in_each, members, open, open_bytes, saved, seen,
};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const FILES: &[&str] = &[
    "zip_views.pt",
    "zip_checkpoint.pt",
    "zip_protocol4.pt",
    "zip_lone.pt",
    "zip_module.pt",
    "zip_dtypes.pt",
    "zip_quantized.pt",
    "zip_without_checksums.pt",
    "zip_big_endian.pt",
    "legacy_views.pt",
    "legacy_checkpoint.pt",
    "legacy_protocol4.pt",
    "legacy_lone.pt",
    "legacy_dtypes.pt",
];

#[test]
fn every_tensor_is_as_pytorch_sees_it() {
    for name in FILES {
        let path = fixture("pytorch", name);
        let file = open(&path);
        assert_eq!(file.kind(), FileKind::Pytorch);
        let mut seen = seen(&file);
        if name.ends_with("views.pt") {
            let windows = seen.remove("windows").unwrap();
            assert_eq!(windows, ("overlapping f32".to_owned(), vec![3, 3], None));
            assert_eq!(file.tensor("windows").unwrap().role, Role::Attribute);
        }
        assert_eq!(seen, expected(&path), "{name}");
    }
}

#[test]
fn nothing_changes_nothing() {
    for name in FILES {
        let path = fixture("pytorch", name);
        assert_eq!(saved(&open(&path)), std::fs::read(&path).unwrap(), "{name}");
    }
}

/// Of the legacy form only the flipped bits change; of archives the checksums too, twice for each storage. Flips of what
/// was read back restore the file byte for byte.
#[test]
fn only_flips_and_checksums_change() {
    for name in FILES.iter().filter(|name| !name.ends_with("views.pt")) {
        let path = fixture("pytorch", name);
        let original = std::fs::read(&path).unwrap();
        for seed in [0, 1, 77] {
            let mut file = open(&path);
            let flips = flip_one_in_each(&mut file, seed);
            assert!(flips > 0);
            let changed = saved(&file);
            let bytes = differing(&original, &changed).len();
            let has_checksums = name.starts_with("zip") && !name.contains("without");
            assert!(
                (flips..=flips * if has_checksums { 13 } else { 1 }).contains(&bytes),
                "{name}: {bytes} bytes"
            );
            let mut again = open_bytes(path.file_name().unwrap().to_str().unwrap(), &changed).unwrap();
            assert_eq!(seen(&again), seen(&file), "{name}");
            flip_one_in_each(&mut again, seed);
            assert!(saved(&again) == original, "{name}");
            if has_checksums {
                assert_eq!(members(&changed).len(), members(&original).len());
            }
        }
    }
}

#[test]
fn tied_tensors_change_together() {
    for name in ["zip_views.pt", "legacy_views.pt"] {
        let path = fixture("pytorch", name);
        let mut file = open(&path);
        file.words_mut("tied").unwrap().flip(32 + 5).unwrap();
        assert_eq!(file.words("tied_too").unwrap().get(1), file.words("tied").unwrap().get(1));
        // Element (1, 2) of the slice is element (2, 4) of the base, and (4, 2) of the transposed.
        file.words_mut("slice").unwrap().flip(5 * 32).unwrap();
        let before = open(&path);
        let words = |file: &TensorFile, name: &str| file.words(name).unwrap().iter().collect::<Vec<_>>();
        let (old, new) = (words(&before, "transposed"), words(&file, "transposed"));
        let changed: Vec<usize> = (0..24).filter(|&index| old[index] != new[index]).collect();
        assert_eq!(changed, [4 * 4 + 2], "{name}");
    }
}

#[test]
fn checksums_that_were_left_out_stay_out() {
    let path = fixture("pytorch", "zip_without_checksums.pt");
    let mut file = open(&path);
    file.words_mut("w").unwrap().flip(0).unwrap();
    assert_eq!(differing(&std::fs::read(&path).unwrap(), &saved(&file)).len(), 1);
}

/// Saving over the file that was read, again and again, with flips done and undone.
#[test]
fn saving_in_place_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pt");
    let original = std::fs::read(fixture("pytorch", "zip_views.pt")).unwrap();
    std::fs::write(&path, &original).unwrap();
    let mut file = open(&path);
    for address in [0, 37, 37, 64, 0, 64] {
        file.words_mut("tied").unwrap().flip(address).unwrap();
        file.save(&path).unwrap();
        members(&std::fs::read(&path).unwrap()); // checks the checksums
    }
    assert_eq!(std::fs::read(&path).unwrap(), original);
}

#[test]
fn disturbed_files_are_refused_or_read() {
    for name in ["zip_quantized.pt", "zip_protocol4.pt", "legacy_checkpoint.pt", "legacy_views.pt"] {
        disturb(name, &std::fs::read(fixture("pytorch", name)).unwrap());
    }
}

/// An archive as PyTorch would write it, stored or deflated.
fn archive(method: CompressionMethod, members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in members {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// `_rebuild_tensor_v2` of a float32 storage "0" of `declared` elements.
fn tensor(declared: u8, offset: u8, size: &[u8], strides: &[u8]) -> Vec<u8> {
    let tuple = |numbers: &[u8]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|&number| [b'K', number]).collect();
        [b"(", &numbers[..], b"t"].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK",
        &[declared][..],
        b"tQK",
        &[offset],
        &tuple(size),
        &tuple(strides),
        b"\x89NtR",
    ]
    .concat()
}

/// A state dict with the tensor `w`.
fn state_dict(tensor: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x01\x00\x00\x00w", tensor, b"s."].concat()
}

fn checkpoint(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    archive(CompressionMethod::Stored, &[("a/data.pkl", pickle), ("a/data/0", storage)])
}

fn message(bytes: &[u8]) -> String {
    match open_bytes("a.pt", bytes) {
        Err(TensorsError::BadFile { kind: FileKind::Pytorch, source, .. }) => source.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn deflated_storages_are_deflated_again() {
    let storage: Vec<u8> = (0..200_u32).flat_map(|index| (index as f32).to_le_bytes()).collect();
    let pickle = state_dict(&tensor(200, 0, &[20, 10], &[1, 20]));
    let original = archive(
        CompressionMethod::Deflated,
        &[("a/data.pkl", &pickle), ("a/data/0", &storage), ("a/version", b"3\n")],
    );
    let mut file = open_bytes("a.pt", &original).unwrap();
    assert_eq!(saved(&file), original);
    file.words_mut("w").unwrap().flip(11 * 32).unwrap(); // element (1, 1), which is in slot 21
    let changed = saved(&file);
    let mut expected = members(&original);
    expected[1].1[21 * 4] ^= 1;
    assert_eq!(members(&changed), expected);
    let again = open_bytes("a.pt", &changed).unwrap();
    assert_eq!(seen(&again), seen(&file));
    file.words_mut("w").unwrap().flip(11 * 32).unwrap();
    assert_eq!(saved(&file), original, "flips that were undone change nothing");
}

#[test]
fn lies_about_sizes() {
    let ok = checkpoint(&state_dict(&tensor(4, 0, &[2, 2], &[2, 1])), &[0; 16]);
    assert_eq!(open_bytes("a.pt", &ok).unwrap().tensors()[0].shape, [2, 2]);
    let cases: &[(&str, Vec<u8>, usize)] = &[
        (
            "[2, 3] with strides [2, 1] from element 0 on reaches byte 20 of",
            tensor(4, 0, &[2, 3], &[2, 1]),
            16,
        ),
        (
            "[2, 2] with strides [2, 1] from element 1 on reaches byte 20 of",
            tensor(4, 1, &[2, 2], &[2, 1]),
            16,
        ),
        ("storage \"0\", which has 12 bytes", tensor(4, 0, &[2, 2], &[2, 1]), 12),
        ("storage \"0\", which has 8 bytes", tensor(2, 0, &[2, 2], &[2, 1]), 16),
        ("tensor w: 2 dimensions have 1 strides", tensor(4, 0, &[2, 2], &[2]), 16),
        ("has 65 members, 64 are read", tensor(4, 0, &[1; 65], &[1; 65]), 16),
    ];
    for (part, tensor, size) in cases {
        let found = message(&checkpoint(&state_dict(tensor), &vec![0; *size]));
        assert!(found.contains(part), "{found}");
    }
    let missing =
        archive(CompressionMethod::Stored, &[("a/data.pkl", &state_dict(&tensor(4, 0, &[4], &[1])))]);
    assert_eq!(message(&missing), "tensor w: its storage \"0\" is not in the archive");
}

#[test]
fn hostile_pickles() {
    let hostile = b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.";
    let found = message(&checkpoint(hostile, b""));
    assert_eq!(
        found,
        "data.pkl: GLOBAL at byte 2 names os.system: a hostile pickle, which runs code where it is loaded"
    );
    // A stranger's object is only data, and the tensor beside it is found.
    let stranger =
        [b"\x80\x02(cacme\nRobot\n)\x81}X\x01\x00\x00\x00w", &tensor(4, 0, &[4], &[1])[..], b"sbt."].concat();
    let file = open_bytes("a.pt", &checkpoint(&stranger, &[0; 16])).unwrap();
    assert_eq!(file.tensors()[0].name, "0.w");
    let script = archive(
        CompressionMethod::Stored,
        &[("a/data.pkl", b"\x80\x02N."), ("a/constants.pkl", b"\x80\x02N\x85Q.")],
    );
    assert!(message(&script).contains("TorchScript"));
    let order =
        archive(CompressionMethod::Stored, &[("a/data.pkl", b"\x80\x02N."), ("a/byteorder", b"middle")]);
    assert_eq!(message(&order), "its byte order is \"middle\", neither little nor big");
}

#[test]
fn archives_of_something_else() {
    let other = archive(CompressionMethod::Stored, &[("readme", b"hello")]);
    assert!(message(&other).contains("no data.pkl"), "{}", message(&other));
    assert!(matches!(open_bytes("a.npz", &other), Err(TensorsError::BadFile { kind: FileKind::Npz, .. })));
    assert!(matches!(open_bytes("a.zip", &other), Err(TensorsError::NotATensorFile { .. })));
}

#[test]
fn names_that_meet_are_told_apart() {
    let t = tensor(4, 0, &[4], &[1]);
    let pickle = [
        b"\x80\x02}(X\x03\x00\x00\x00a.b",
        &t[..],
        b"X\x01\x00\x00\x00a}X\x01\x00\x00\x00b",
        &t,
        b"sK\x07",
        &t,
        b"X\x01\x00\x00\x007",
        &t,
        b"N\x85",
        &t,
        b"u.",
    ]
    .concat();
    let file = open_bytes("a.pt", &checkpoint(&pickle, &[0; 16])).unwrap();
    let names: Vec<_> = file.tensors().iter().map(|info| info.name.as_str()).collect();
    assert_eq!(names, ["a.b", "a.b#2", "7", "7#2", "#4"]);
}

/// One tensor, listed by a list that is listed by a list ...: more tensors than a checkpoint can have, in 2 KB.
#[test]
fn a_few_bytes_do_not_make_millions_of_tensors() {
    let mut pickle = [b"\x80\x02", &tensor(4, 0, &[4], &[1])[..], b"q\x00"].concat();
    for index in 1..8_u8 {
        pickle.extend([b'(']);
        pickle.extend([b'h', index - 1].repeat(16));
        pickle.extend([b'l', b'q', index]);
    }
    // What was built first is still on the stack: all of it goes into one tuple.
    let all = [&b"\x80\x02("[..], &pickle[2..], b"t."].concat();
    let said = message(&checkpoint(&all, &[0; 16]));
    assert!(said.starts_with(&format!("more than {} tensors", 1024 + all.len())), "{said}");
}

/// Two names for the same words: globs reach the first, so that no bit counts twice. Columns of one matrix are no aliases; parts of one that is
/// there as a whole are.
#[test]
fn tied_tensors_are_aliases() {
    let file = open(&fixture("pytorch", "zip_views.pt"));
    let role = |name: &str| file.tensor(name).unwrap().role;
    assert_eq!((role("tied"), role("tied_too")), (Role::Weight, Role::Alias));
    let aliases = file.tensors().iter().filter(|info| info.role == Role::Alias);
    let aliases: Vec<&str> = aliases.map(|info| info.name.as_str()).collect();
    assert_eq!(aliases, ["slice", "every_second", "tied_too"]);
}
