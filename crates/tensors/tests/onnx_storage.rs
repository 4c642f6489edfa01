//! Every way in which ONNX stores a tensor: words out, flips in, bytes kept.

mod common;

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::wire::Writer;
use bitquake_tensors::{Role, StorageForm, TensorFile, TensorsError};
use common::*;
use proptest::prelude::*;

/// A model that stores tensors in every form, each surrounded by things that must not move.
fn every_form() -> Vec<u8> {
    let mut unpacked_floats = tensor("unpacked_f32", F32, &[2]);
    unpacked_floats.float(4, 1.5).float(4, -2.0);
    let mut doubles = tensor("f64", F64, &[2]);
    doubles.bytes(10, &[1.0_f64, -0.5].map(f64::to_le_bytes).concat());
    let mut split_doubles = tensor("split_f64", F64, &[3]);
    split_doubles.bytes(10, &[1.0_f64, -0.5].map(f64::to_le_bytes).concat()).double(10, 3.0);
    let mut unpacked_ints = tensor("unpacked_i8", I8, &[3]);
    unpacked_ints.varint(5, 1).varint(5, -1_i64 as u64).bytes(12, b"doc in between").varint(5, 127);
    // 5 written in three bytes, as a padded varint.
    let mut padded = tensor("padded_u8", U8, &[2]);
    padded.bytes(5, &[0x85, 0x80, 0x00, 0x07]);
    let mut floats_attribute = attribute("value_floats", 6);
    floats_attribute.float(7, 0.25).float(7, 0.5).float(7, 0.75);
    let mut packed_attribute = attribute("value_floats", 6);
    packed_attribute.packed_floats(7, &[9.0, 8.0]);
    let mut float_attribute = attribute("value_float", 1);
    float_attribute.float(2, 4.0);
    let inner =
        graph(&[constant("deep", &varints("", I16, 5, &[-3, 300]))], &[varints("i", U16, 5, &[65535])]);
    let nodes = [
        node("Constant", "", &[], &["value_floats"], &[floats_attribute]),
        node("Constant", "", &[], &["packed_floats"], &[packed_attribute]),
        node("Constant", "", &[], &["value_float"], &[float_attribute]),
        node("If", "if", &["c"], &["y"], &[graph_attribute("then_branch", &inner)]),
        node("DequantizeLinear", "", &["i32", "s", "z"], &["d"], &[]),
    ];
    let initializers = [
        raw("raw_f32", F32, &[2], &[1.0_f32, 2.0].map(f32::to_le_bytes).concat()),
        raw("raw_i8", I8, &[2, 2], &[1, 2, 3, 0xff]),
        floats("f32", &[1.0, -2.0, 3.0]),
        unpacked_floats,
        doubles,
        split_doubles,
        varints("i8", I8, 5, &[-128, 127, 0]),
        unpacked_ints,
        padded,
        varints("i16", I16, 5, &[-32768, 5]),
        varints("u16", U16, 5, &[65535]),
        varints("i32", I32, 5, &[-1, 7, i64::from(i32::MIN)]),
        varints("f16", F16, 5, &[0x3c00, 0x8000]),
        varints("bf16", BF16, 5, &[0x3f80]),
        varints("u32", U32, 11, &[0, 0xffff_ffff]),
        raw("empty", F32, &[0, 3], &[]),
        tensor("empty_without_data", I32, &[0]),
        varints("i64", I64, 7, &[-1, i64::MAX]),
        varints("u64", U64, 11, &[-1]),
        raw("i4", I4, &[3], &[0x21, 0x0f]),
        varints("f8", F8E4M3FN, 5, &[0x7e, 0x80]),
    ];
    model(&graph(&nodes, &initializers))
}

/// Tensor, format, words as the file stores them.
const EXPECTED: &[(&str, Format, &[u64])] = &[
    ("raw_f32", Format::F32, &[0x3f80_0000, 0x4000_0000]),
    ("raw_i8", Format::I8, &[1, 2, 3, 0xff]),
    ("f32", Format::F32, &[0x3f80_0000, 0xc000_0000, 0x4040_0000]),
    ("unpacked_f32", Format::F32, &[0x3fc0_0000, 0xc000_0000]),
    ("f64", Format::F64, &[0x3ff0 << 48, 0xbfe0 << 48]),
    ("split_f64", Format::F64, &[0x3ff0 << 48, 0xbfe0 << 48, 0x4008 << 48]),
    ("i8", Format::I8, &[0x80, 0x7f, 0]),
    ("unpacked_i8", Format::I8, &[1, 0xff, 0x7f]),
    ("padded_u8", Format::U8, &[5, 7]),
    ("i16", Format::I16, &[0x8000, 5]),
    ("u16", Format::U16, &[0xffff]),
    ("i32", Format::I32, &[0xffff_ffff, 7, 0x8000_0000]),
    ("f16", Format::F16, &[0x3c00, 0x8000]),
    ("bf16", Format::BF16, &[0x3f80]),
    ("u32", Format::U32, &[0, 0xffff_ffff]),
    ("i64", Format::I64, &[u64::MAX, u64::MAX >> 1]),
    ("u64", Format::U64, &[u64::MAX]),
    ("i4", Format::signed(4), &[1, 2, 15]),
    ("f8", Format::F8E4M3, &[0x7e, 0x80]),
    ("empty", Format::F32, &[]),
    ("empty_without_data", Format::I32, &[]),
    ("value_floats", Format::F32, &[0x3e80_0000, 0x3f00_0000, 0x3f40_0000]),
    ("packed_floats", Format::F32, &[0x4110_0000, 0x4100_0000]),
    ("value_float", Format::F32, &[0x4080_0000]),
    ("if/then_branch/deep", Format::I16, &[0xfffd, 300]),
    ("if/then_branch/i", Format::U16, &[0xffff]),
];

fn words(store: &impl WordStore, name: &str) -> (Format, Vec<u64>) {
    let words = store.words(name).unwrap_or_else(|| panic!("no words of {name}"));
    (words.format(), words.iter().collect())
}

#[test]
fn words_are_what_the_file_says() {
    let file = open(&every_form()).unwrap();
    for &(name, format, expected) in EXPECTED {
        assert_eq!(words(&file, name), (format, expected.to_vec()), "{name}");
        let info = file.tensor(name).unwrap();
        assert_eq!(info.bits(), Some(expected.len() as u64 * u64::from(format.width())), "{name}");
    }
    assert_eq!(file.tensors().len(), EXPECTED.len());
    assert!(file.words("no such tensor").is_none());
}

#[test]
fn an_untouched_save_is_byte_identical() {
    let bytes = every_form();
    assert_eq!(saved(&open(&bytes).unwrap()), bytes);
}

#[test]
fn handing_out_words_changes_nothing() {
    let bytes = every_form();
    let mut file = open(&bytes).unwrap();
    for &(name, ..) in EXPECTED {
        file.words_mut(name).unwrap();
    }
    assert_eq!(saved(&file), bytes);
}

#[test]
fn a_flip_touches_its_word_alone() {
    let bytes = every_form();
    for &(name, format, expected) in EXPECTED.iter().filter(|row| !row.2.is_empty()) {
        for bit in (0..expected.len() as u64 * u64::from(format.width())).step_by(7) {
            let mut file = open(&bytes).unwrap();
            file.words_mut(name).unwrap().flip(bit).unwrap();
            let after = open(&saved(&file)).unwrap();
            for &(other, _, before) in EXPECTED {
                let mut want = before.to_vec();
                if other == name {
                    want[(bit / u64::from(format.width())) as usize] ^=
                        1 << (bit % u64::from(format.width()));
                }
                assert_eq!(words(&after, other).1, want, "{name} bit {bit}: {other}");
            }
            // Undone, every byte comes back: also where the number was written in an odd form.
            file.words_mut(name).unwrap().flip(bit).unwrap();
            assert_eq!(saved(&file), bytes, "{name} bit {bit}");
        }
    }
}

#[test]
fn in_place_forms_change_one_byte_of_the_file() {
    let bytes = every_form();
    let mut file = open(&bytes).unwrap();
    for info in file.tensors().to_vec() {
        if info.origin.storage != StorageForm::Words || info.bits().unwrap_or(0) == 0 {
            continue;
        }
        file.words_mut(&info.name).unwrap().flip(0).unwrap();
        let after = saved(&file);
        assert_eq!(after.len(), bytes.len());
        assert_eq!(after.iter().zip(&bytes).filter(|(a, b)| a != b).count(), 1, "{}", info.name);
        file.words_mut(&info.name).unwrap().flip(0).unwrap();
    }
}

#[test]
fn the_engine_image_has_all_words_in_place() {
    let mut file = open(&every_form()).unwrap();
    file.words_mut("i8").unwrap().flip(3).unwrap();
    let edited = words(&file, "i8").1;
    let mut image = file.into_engine_image().unwrap();
    for &(name, format, expected) in EXPECTED {
        let want = if name == "i8" { edited.clone() } else { expected.to_vec() };
        assert_eq!(words(&image, name), (format, want.clone()), "{name}");
        let place = image.locate(name).unwrap();
        assert_eq!(place.part, 0);
        assert_eq!(place.range.len(), (want.len() * format.width() as usize).div_ceil(8));
    }
    // The image is a model of its own, and edits of it need no encoding.
    let pristine = image.clone();
    image.words_mut("u16").unwrap().flip(0).unwrap();
    assert_eq!(image.main().iter().zip(pristine.main()).filter(|(a, b)| a != b).count(), 1);
    let reopened = open(image.main()).unwrap();
    assert_eq!(words(&reopened, "u16").1, [0xfffe]);
    assert!(reopened.tensors().iter().all(|info| info.origin.storage == StorageForm::Words));
    assert_eq!(reopened.tensors().len(), EXPECTED.len());
}

#[test]
fn an_image_of_in_place_tensors_is_the_file() {
    let bytes = model(&graph(&[], &[floats("w", &[1.0])]));
    let image = open(&bytes).unwrap().into_engine_image().unwrap();
    assert_eq!(image.main(), bytes);
    assert!(image.externals().is_empty());
    assert_eq!((image.words_index().len(), image.size()), (1, bytes.len()));
}

#[test]
fn weights_of_every_form_can_be_parts_of_their_own() {
    let mut file = open(&every_form()).unwrap();
    file.words_mut("i8").unwrap().flip(3).unwrap();
    let roles: Vec<_> = file.tensors().iter().map(|info| (info.name.clone(), info.role)).collect();
    let whole = file.clone().into_engine_image().unwrap();
    let image = file.into_engine_image_lending(1).unwrap();
    let mut lent = 0;
    for (name, role) in roles {
        let Some(place) = image.locate(&name) else { continue };
        let inside = name.starts_with("if/") || name.contains("value_float") || name == "packed_floats";
        let is_lent = !inside && role == Role::Weight && !place.range.is_empty();
        assert_eq!(place.part > 0, is_lent, "{name}");
        assert_eq!(words(&image, &name), words(&whole, &name), "{name}");
        lent += usize::from(is_lent);
    }
    assert_eq!(image.externals().len(), lent);
    assert!(lent > 10, "{lent}");
    // Written out, the parts are a model with external data, of the same tensors.
    let saved = Saved::new(image.main());
    for part in image.externals() {
        std::fs::write(saved.beside(&part.location), &*part.bytes).unwrap();
    }
    let reopened = saved.open().unwrap();
    assert_eq!(reopened.tensors().len(), EXPECTED.len());
    for &(name, ..) in EXPECTED {
        assert_eq!(words(&reopened, name), words(&whole, name), "{name}");
    }
}

#[test]
fn hash_parts_follow_the_content() {
    let bytes = every_form();
    let parts = |file: &TensorFile| -> Vec<(String, Vec<u8>)> {
        file.content_hash_parts().map(|(name, bytes)| (name.to_owned(), bytes.to_owned())).collect()
    };
    let mut file = open(&bytes).unwrap();
    assert_eq!(parts(&file), [(String::new(), bytes.clone())]);
    file.words_mut("i8").unwrap().flip(0).unwrap();
    assert_eq!(parts(&file), [(String::new(), bytes.clone()), ("i8".to_owned(), vec![0x81, 0x7f, 0])]);
    file.words_mut("i8").unwrap().flip(0).unwrap();
    assert_eq!(parts(&file).len(), 1);
    file.words_mut("f32").unwrap().flip(0).unwrap();
    assert_ne!(parts(&file)[0].1, bytes);
}

/// A tensor that cannot be understood, and what the error must say.
#[test]
fn bad_tensors_are_refused_by_name() {
    let mut twice = raw("w", F32, &[1], &[0; 4]);
    twice.packed_floats(4, &[1.0]);
    let mut wrong_field = tensor("w", F32, &[1]);
    wrong_field.packed_varints(5, [1]);
    let mut segmented = raw("w", F32, &[1], &[0; 4]);
    segmented.message(3, &Writer::new());
    let cases = [
        (raw("w", F32, &[3], &[0; 8]), "tensor w: f32 [3] takes 12 bytes, but 8 are stored"),
        (raw("w", F32, &[], &[0; 8]), "tensor w: f32 [] takes 4 bytes, but 8 are stored"),
        (tensor("w", F32, &[3]), "tensor w: f32 [3] takes 12 bytes, but 0 are stored"),
        (
            varints("w", I8, 5, &[1, 2]).clone_with_dim(3),
            "tensor w: i8 [2, 3] takes 6 bytes, but 2 are stored",
        ),
        (raw("w", F32, &[-1], &[0; 4]), "tensor w: dimension -1 is negative"),
        (raw("w", F32, &[i64::MAX, i64::MAX], &[]), "overflows"),
        (raw("w", F64, &[i64::MAX], &[]), "overflows"),
        (twice, "is stored twice"),
        (wrong_field, "data field of another type"),
        (segmented, "in segments"),
        (varints("w", U8, 5, &[256]), "does not fit u8"),
        (varints("w", U32, 11, &[1 << 32]), "does not fit u32"),
    ];
    for (tensor, expected) in cases {
        let error = open(&model(&graph(&[], &[tensor]))).unwrap_err();
        assert!(error.to_string().contains(expected), "{error} / {expected}");
        assert!(error.to_string().contains("m.onnx"), "{error}");
        assert!(
            matches!(error, TensorsError::BadTensor { .. } | TensorsError::PayloadSize { .. }),
            "{error:?}"
        );
    }
}

trait WithDim {
    fn clone_with_dim(self, dim: u64) -> Self;
}

impl WithDim for Writer {
    fn clone_with_dim(mut self, dim: u64) -> Writer {
        self.varint(1, dim);
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Flips anywhere, saved and reopened, are the flips made; made again, the file is the old one.
    #[test]
    fn flips_survive_saving(sites in prop::collection::vec((0..EXPECTED.len(), any::<u64>()), 0..20)) {
        let bytes = every_form();
        let mut file = open(&bytes).unwrap();
        let apply = |file: &mut TensorFile| {
            for &(row, address) in &sites {
                let mut words = file.words_mut(EXPECTED[row].0).unwrap();
                let bits = words.elements() * u64::from(words.format().width());
                if bits > 0 {
                    words.flip(address % bits).unwrap();
                }
            }
        };
        apply(&mut file);
        let mut after = open(&saved(&file)).unwrap();
        for &(name, ..) in EXPECTED {
            prop_assert_eq!(words(&after, name), words(&file, name), "{}", name);
        }
        apply(&mut file);
        prop_assert_eq!(saved(&file), bytes);
        apply(&mut after);
        for &(name, _, before) in EXPECTED {
            prop_assert_eq!(words(&after, name).1, before, "{}", name);
        }
    }
}
