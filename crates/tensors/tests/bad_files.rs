//! Files that are no models: the error says what they are.

mod common;

use bitquake_tensors::wire::{WireError, Writer};
use bitquake_tensors::{TensorFile, TensorsError};
use common::*;

#[test]
fn a_missing_file_and_a_folder_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none.onnx"), folder.path().to_owned()] {
        let error = TensorFile::open(&path).unwrap_err();
        assert!(matches!(error, TensorsError::Read { .. }), "{error:?}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn other_content_is_called_what_it_is() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "is empty"),
        (b"just some words\n", "is text"),
        (b": a line that starts like a graph field, but is text", "is text"),
        (b"\x80\x04rest", "is a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ];
    for (bytes, expected) in cases {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error, TensorsError::NotATensorFile { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_truncated_model_says_where() {
    let bytes = model(&graph(&[], &[floats("w", &[1.0; 100])]));
    let error = open(&bytes[..200]).unwrap_err();
    assert!(error.to_string().contains("truncated: field at byte 8 needs 4"), "{error}");
    assert!(matches!(error, TensorsError::Wire { source: WireError::Truncated { at: 8, .. }, .. }));
}

#[test]
fn no_prefix_of_a_model_is_taken_for_the_whole_graph() {
    let bytes = model(&graph(&[node("Relu", "", &["x"], &["y"], &[])], &[floats("w", &[1.0])]));
    let whole = open(&bytes).unwrap().tensors().len();
    for end in 0..bytes.len() {
        if let Ok(file) = open(&bytes[..end]) {
            assert_eq!(file.tensors().len(), whole, "cut at {end}");
        }
    }
}

#[test]
fn well_formed_messages_that_are_no_model() {
    let mut no_graph = Writer::new();
    no_graph.varint(1, 8);
    assert!(matches!(open(&no_graph.into_bytes()), Err(TensorsError::NoGraph { .. })));

    let mut two_graphs = Writer::new();
    two_graphs.varint(1, 8).message(7, &graph(&[], &[])).message(7, &graph(&[], &[]));
    let error = open(&two_graphs.into_bytes()).unwrap_err();
    assert!(error.to_string().contains("field 7 appears twice"), "{error}");

    let error = open(&model(&graph(&[node("", "n", &[], &[], &[])], &[]))).unwrap_err();
    assert!(error.to_string().contains("a node has no op_type"), "{error}");

    let mut sparse = graph(&[], &[]);
    sparse.message(15, &Writer::new());
    let error = open(&model(&sparse)).unwrap_err();
    assert!(error.to_string().contains("a sparse tensor has no values"), "{error}");

    let long = "n".repeat(20_000);
    let inner = graph(&[], &[floats("w", &[1.0])]);
    let nested = graph(&[node("If", &long, &[], &["y"], &[graph_attribute("then_branch", &inner)])], &[]);
    let error = open(&model(&nested)).unwrap_err();
    assert!(error.to_string().contains("the path of a graph takes 20013 bytes"), "{error}");

    let mut wrong_type = Writer::new();
    wrong_type.varint(1, 8).varint(7, 3);
    let error = open(&wrong_type.into_bytes()).unwrap_err();
    assert!(matches!(error, TensorsError::Wire { source: WireError::Unexpected { .. }, .. }), "{error:?}");

    let mut name = graph(&[], &[]);
    name.bytes(2, &[0xff]);
    let error = open(&model(&name)).unwrap_err();
    assert!(matches!(error, TensorsError::Wire { source: WireError::NotUtf8 { .. }, .. }), "{error:?}");
}

/// A small generator, so that the mutations are the same on every machine.
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

fn valid_files() -> Vec<(&'static str, Vec<u8>)> {
    let mut list = attribute("value_floats", 6);
    list.float(7, 1.0).float(7, 2.0);
    let inner = graph(&[constant("k", &varints("", I16, 5, &[1, -1]))], &[floats("i", &[1.0])]);
    let mut sparse = Writer::new();
    sparse.message(1, &floats("s", &[1.0])).message(2, &varints("", I64, 7, &[0]));
    let mut top = graph(
        &[
            node("If", "if", &["c"], &["y"], &[graph_attribute("then_branch", &inner)]),
            node("Constant", "", &[], &["f"], &[list]),
            node("Reshape", "", &["y", "shape"], &["z"], &[]),
        ],
        &[
            raw("w", F32, &[2, 2], &[7; 16]),
            varints("q", I8, 5, &[-1, 2, 3]),
            varints("u", U32, 11, &[9]),
            raw("shape", I64, &[1], &[1; 8]),
            external("e", F32, &[1], &[("location", "w.bin"), ("offset", "4"), ("length", "4")]),
        ],
    );
    top.message(15, &sparse);
    let header = br#"{"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"q":{"dtype":"I8","shape":[3],"data_offsets":[8,11]}}"#;
    let safetensors = [&(header.len() as u64).to_le_bytes()[..], header, &[1; 11]].concat();
    vec![("m.onnx", model(&top)), ("m.safetensors", safetensors)]
}

/// Corrupted files open or give an error; they never panic, and never hold more than their size allows.
#[test]
fn corrupted_files_do_no_harm() {
    let mut random = SplitMix(2);
    for (name, valid) in valid_files() {
        let saved = Saved::named(name, &valid);
        std::fs::write(saved.beside("w.bin"), [0; 8]).unwrap();
        assert!(saved.open().is_ok(), "{:?}", saved.open());
        let mut opened = 0;
        for _ in 0..4000 {
            let bytes = mutate(&valid, &mut random);
            std::fs::write(&saved.path, &bytes).unwrap();
            let Ok(file) = saved.open() else { continue };
            opened += 1;
            let size: usize = file.content_hash_parts().map(|(_, bytes)| bytes.len()).sum();
            assert!(size <= bytes.len() * 4 + 8, "{size} bytes held for a file of {}", bytes.len());
            if opened % 8 == 0 {
                // Saving syncs, which is slow.
                let out = saved.beside("out").join(name);
                std::fs::create_dir_all(out.parent().unwrap()).unwrap();
                file.save(&out).unwrap();
                assert_eq!(read(&out), bytes);
            }
            if let Ok(image) = file.into_engine_image() {
                assert!(image.main().len() <= bytes.len() * 5 + 64);
            }
        }
        assert!(opened > 50, "only {opened} corrupted {name} opened: the test sees too little");
    }
}

fn mutate(valid: &[u8], random: &mut SplitMix) -> Vec<u8> {
    let mut bytes = valid.to_owned();
    for _ in 0..1 + random.below(3) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes[at] = random.next() as u8,
            2 => bytes[at] ^= 1 << random.below(8),
            3 => bytes.insert(at, random.next() as u8),
            4 => bytes[at] = [0x00, 0x7f, 0x80, 0xff][random.below(4)],
            _ => {
                let end = bytes.len().min(at + 1 + random.below(9));
                bytes[at..end].fill(0xff);
            }
        }
    }
    bytes
}
