//! A memory of codes: what is stored, what may be hit, and what the network sees of it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use bitquake_bits::{BitSelection, Format, WordStore, Words, WordsMut};
use bitquake_fault::{FaultModel, FaultPattern, FaultSpace, Hits, ProtectedBits, TensorFlips};
use bitquake_quant::Quantizer;
use bitquake_sample::{Rate, StreamKey};
use bitquake_storage::{Memory, StorageError, StoragePlan, StorageSpec};
use bitquake_tensors::{Dtype, Origin, Place, Role, StorageForm, TensorInfo};
use proptest::prelude::*;

const KEY: StreamKey = StreamKey { seed: 7, point: 0, trial: 0 };

/// A model of floats.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    tensors: Vec<TensorInfo>,
    words: BTreeMap<String, (Format, Vec<u8>)>,
}

impl WordStore for Model {
    fn words(&self, tensor: &str) -> Option<Words<'_>> {
        self.words.get(tensor).map(|(format, bytes)| Words::packed(*format, bytes))
    }
    fn words_mut(&mut self, tensor: &str) -> Option<WordsMut<'_>> {
        self.words.get_mut(tensor).map(|(format, bytes)| WordsMut::packed(*format, bytes))
    }
}

fn info(name: &str, format: Format, shape: &[u64], role: Role) -> TensorInfo {
    let origin = Origin { place: Place::Entry, storage: StorageForm::Words };
    TensorInfo { name: name.into(), dtype: Dtype::Known(format), shape: shape.into(), role, origin }
}

/// A convolution in f32, a bias in f16, a running mean, an integer table and a shape.
fn model() -> Model {
    let tensors = vec![
        info("conv.weight", Format::F32, &[3, 2, 4], Role::Weight),
        info("conv.bias", Format::F16, &[3], Role::Weight),
        info("bn.mean", Format::F32, &[3], Role::Statistic),
        info("table", Format::I8, &[5], Role::Weight),
        info("shape", Format::I64, &[2], Role::Attribute),
    ];
    let value = |index: u64| ((index * 37 % 23) as f64 - 11.0) / 16.0; // exact in f16 too
    let bytes = |tensor: &TensorInfo| -> Vec<u8> {
        let format = tensor.dtype.format().unwrap();
        let word = |index| format.nearest(value(index)).unwrap();
        (0..tensor.elements())
            .flat_map(|index| word(index).to_le_bytes()[..format.bytes()].to_vec())
            .collect()
    };
    let words = tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), (tensor.dtype.format().unwrap(), bytes(tensor))))
        .collect();
    Model { tensors, words }
}

fn memory(spec: &str, model: &Model) -> Result<Memory, StorageError> {
    Memory::new(&toml::from_str::<StorageSpec>(spec).unwrap(), &model.tensors, model, KEY)
}

/// The memory of a specification, and the model with what its codes stand for.
fn stored(spec: &str) -> (Memory, Model) {
    let mut model = model();
    let memory = memory(spec, &model).unwrap();
    memory.write_levels(&mut model).unwrap();
    (memory, model)
}

fn space(memory: &Memory, select: &[&str]) -> FaultSpace {
    let select: Vec<String> = select.iter().map(ToString::to_string).collect();
    memory.fault_space(&select, BitSelection::All).unwrap()
}

fn names(space: &FaultSpace) -> Vec<(&str, String, u64)> {
    space
        .tensors()
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.format.name(), tensor.elements))
        .collect()
}

const INT4: &str = "family = \"symmetric\"\nbits = 4\n";

#[test]
fn native_memory_is_the_file() {
    let (memory, after) = stored("");
    assert!(memory.is_native());
    assert_eq!(after, model());
    let all = space(&memory, &["*"]);
    assert_eq!(all.bits(), 24 * 32 + 3 * 16 + 3 * 32 + 5 * 8);
    let pattern = Hits::Rate(Rate::new(0.1).unwrap()).flips(&all, &KEY).unwrap();
    assert_eq!(memory.translate(&pattern, &after).unwrap(), pattern);
}

#[test]
fn codes_take_the_place_of_float_weights() {
    let (memory, _) = stored(INT4);
    let expected = [
        ("conv.weight", "i4".to_owned(), 24),
        ("conv.bias", "i4".to_owned(), 3),
        ("table", "i8".to_owned(), 5),
    ];
    assert_eq!(names(&space(&memory, &["*"])), expected);
    let named = space(&memory, &["conv.weight@scale", "bn.mean"]);
    assert_eq!(names(&named), [("conv.weight@scale", "f32".to_owned(), 1), ("bn.mean", "f32".to_owned(), 3)]);
    assert_eq!(space(&memory, &["*@scale"]).tensors().len(), 2);
    assert!(memory.coded("table").is_none() && memory.coded("conv.bias").is_some());
}

#[test]
fn tensors_have_the_shapes_of_the_model_and_what_is_stored_beside_them_is_rows() {
    let protected = format!("{INT4}[[protect]]\nkind = \"parity\"\nselect = [\"conv.weight\"]\n");
    for (spec, wanted) in [
        ("", &[("conv.weight", &[3, 2, 4][..]), ("conv.bias", &[3]), ("bn.mean", &[3]), ("table", &[5])][..]),
        (
            protected.as_str(),
            &[
                ("conv.weight", &[3, 2, 4]),
                ("conv.weight@check", &[2]),
                ("conv.weight@scale", &[1]),
                ("conv.bias", &[3]),
                ("table", &[5]),
            ],
        ),
    ] {
        let (memory, _) = stored(spec);
        let select = if spec.is_empty() { vec!["*"] } else { vec!["*", "conv.weight@scale"] };
        let space = space(&memory, &select);
        let found: Vec<(&str, &[u64])> =
            space.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.dims.as_slice())).collect();
        assert_eq!(found, wanted);
        let shapes: BTreeMap<&str, Vec<u64>> =
            memory.candidates().map(|candidate| candidate.name).zip(memory.shapes()).collect();
        assert!(wanted.iter().all(|(name, dims)| shapes[name] == *dims), "{shapes:?}");
    }
}

#[test]
fn overrides_go_on_top_of_each_other() {
    let spec = "family = \"symmetric\"\nbits = 8\n\
                [[override]]\nselect = [\"conv.*\"]\nbits = 4\n\
                [[override]]\nselect = [\"*.bias\"]\nfamily = \"native\"\n";
    let (memory, _) = stored(spec);
    let expected = [
        ("conv.weight", "i4".to_owned(), 24),
        ("conv.bias", "f16".to_owned(), 3),
        ("table", "i8".to_owned(), 5),
    ];
    assert_eq!(names(&space(&memory, &["*"])), expected);
    let (memory, _) = stored("[[override]]\nselect = [\"bn.mean\"]\nfamily = \"symmetric\"\n");
    assert_eq!(
        memory.coded("bn.mean").unwrap().words().format(),
        Format::I8,
        "a statistic, because it is named"
    );
}

#[test]
fn what_cannot_be_stored_is_named() {
    let model = model();
    let cases = [
        (
            "[[override]]\nselect = [\"table\"]\nfamily = \"symmetric\"",
            "tensor `table` is i8: quantizers take f32",
        ),
        ("[[override]]\nselect = [\"cnov*\"]\nbits = 4", "[storage.override]: `cnov*` matches no tensor"),
        ("family = \"symmetric\"\nbits = 0", "[storage]: "),
        (
            "family = \"symmetric\"\n[[override]]\nselect = [\"conv.bias\"]\nbits = 99",
            "[[storage.override]] 1: ",
        ),
        ("family = \"symmetric\"\ngranularity = { channel = 3 }", "tensor `conv.weight`: "),
    ];
    for (spec, want) in cases {
        let said = memory(spec, &model).unwrap_err().to_string();
        assert!(said.contains(want), "{spec}: {said}");
    }
    let mut named = model.clone();
    named.tensors.push(info("conv.weight@scale", Format::F32, &[1], Role::Weight));
    for (spec, is_fine) in [
        ("", true),
        ("family = \"symmetric\"", false),
        ("[[protect]]\nselect = [\"conv.bias\"]\nkind = \"parity\"", false),
    ] {
        let said = memory(spec, &named).map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(said.is_empty(), is_fine, "{spec}: {said}");
        assert!(
            is_fine || said.contains("`conv.weight@scale` has the name of a part of `conv.weight`"),
            "{said}"
        );
    }
    let mut broken = model.clone();
    broken.words_mut("conv.weight").unwrap().set(17, 0x7fc0_0000).unwrap();
    let said = memory(INT4, &broken).unwrap_err().to_string();
    assert!(said.contains("conv.weight") && said.contains("17"), "{said}");
}

#[test]
fn quantizing_what_the_network_computes_with_again_changes_nothing() {
    for spec in [INT4, "family = \"affine\"\ngranularity = { channel = 0 }", "family = \"binary\"\nbits = 1"]
    {
        let (memory, model) = stored(spec);
        let mut twice = model.clone();
        memory.write_levels(&mut twice).unwrap();
        assert_eq!(twice, model, "{spec}");
    }
}

#[test]
fn stochastic_rounding_hangs_on_the_key_alone() {
    let spec = "family = \"symmetric\"\nbits = 3\nrounding = \"stochastic\"\n";
    let codes = |memory: &Memory| memory.coded("conv.weight").unwrap().words().iter().collect::<Vec<u64>>();
    assert_eq!(codes(&stored(spec).0), codes(&stored(spec).0));
    let model = model();
    let other = StreamKey { seed: 8, ..KEY };
    let other = Memory::new(&toml::from_str(spec).unwrap(), &model.tensors, &model, other).unwrap();
    assert_ne!(codes(&stored(spec).0), codes(&other));
}

#[test]
fn a_fault_in_a_scale_moves_its_channel_alone() {
    let (memory, model) = stored("family = \"symmetric\"\ngranularity = { channel = 0 }\n");
    let scale = TensorFlips {
        tensor: "conv.weight@scale".into(),
        format: Format::F32,
        elements: 3,
        addresses: vec![32 + 31], // the sign of channel 1
    };
    let mut faulty = model.clone();
    memory.translate(&FaultPattern::new(vec![scale]).unwrap(), &model).unwrap().apply(&mut faulty).unwrap();
    let values = |model: &Model| -> Vec<f64> {
        model.words("conv.weight").unwrap().iter().map(|word| Format::F32.decode(word)).collect()
    };
    for (element, (before, after)) in values(&model).into_iter().zip(values(&faulty)).enumerate() {
        let sign = if (8..16).contains(&element) { -1.0 } else { 1.0 };
        assert_eq!(after, sign * before, "element {element}");
    }
}

#[test]
fn a_pattern_for_another_memory_is_refused() {
    let (int4, model) = stored(INT4);
    let (int8, _) = stored("family = \"symmetric\"\nbits = 8\n");
    let pattern = Hits::Count(3).flips(&space(&int8, &["conv.weight"]), &KEY).unwrap();
    let said = int4.translate(&pattern, &model).unwrap_err().to_string();
    assert_eq!(said, "the pattern was made for tensor `conv.weight` as i8, here it is i4");
}

/// The slow way: all stored words with their flips, every element decoded from the faulty scale and zero point.
fn slow(memory: &Memory, pattern: &FaultPattern, model: &Model) -> Model {
    let mut out = model.clone();
    let flips_of = |name: &str| pattern.tensors().iter().find(|flips| flips.tensor == name);
    let faulty = |name: &str, words: &Words<'_>| -> Vec<u64> {
        let width = u64::from(words.format().width());
        let is_hit = |element: u64, bit: u64| {
            flips_of(name).is_some_and(|flips| flips.addresses.contains(&(element * width + bit)))
        };
        let mask =
            |element| (0..width).filter(|&bit| is_hit(element, bit)).fold(0, |mask, bit| mask | 1 << bit);
        (0..).zip(words.iter()).map(|(element, word)| word ^ mask(element)).collect()
    };
    for tensor in &model.tensors {
        let Some(coded) = memory.coded(&tensor.name) else {
            let words = model.words(&tensor.name).unwrap();
            let faulty = faulty(&tensor.name, &words);
            let mut target = out.words_mut(&tensor.name).unwrap();
            (0..).zip(faulty).for_each(|(element, word)| target.set(element, word).unwrap());
            continue;
        };
        let mut parts = coded.grid().parts();
        for part in &mut parts {
            let name = format!("{}@{}", tensor.name, part.kind.name());
            let bytes = part.packed_bytes();
            part.words =
                faulty(&name, &Words::packed(part.format, &bytes).first(part.words.len() as u64).unwrap());
        }
        let grid = coded.grid().with_parts(&parts).unwrap();
        let words = faulty(&tensor.name, &coded.words());
        let format = tensor.dtype.format().unwrap();
        let mut target = out.words_mut(&tensor.name).unwrap();
        for (element, word) in (0..).zip(words) {
            let level = grid.decode(element, word).unwrap();
            let word = if format == Format::F32 {
                level.to_bits().into()
            } else {
                format.nearest(level.into()).unwrap()
            };
            target.set(element, word).unwrap();
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_the_network_sees_is_what_decoding_everything_gives(
        seed: u64,
        rate in prop_oneof![Just(0.0), Just(0.01), Just(0.2), Just(1.0)],
        spec in 0..6_usize,
    ) {
        let spec = [
            INT4,
            "family = \"affine\"\nbits = 3\ngranularity = { channel = 0 }\n",
            "family = \"asymmetric\"\nsigned = false\ngranularity = { group = 5 }\n",
            "family = \"symmetric\"\nbits = 11\nencoding = \"sign-magnitude\"\n",
            "family = \"normal\"\nbits = 2\nencoding = \"gray\"\n[[override]]\nselect = [\"conv.bias\"]\nfamily = \"native\"\n",
            "",
        ][spec];
        let (memory, model) = stored(spec);
        let parts: &[&str] = if memory.is_native() { &["*"] } else { &["*", "*@*"] };
        let all = space(&memory, parts);
        let pattern = Hits::Rate(Rate::new(rate).unwrap()).flips(&all, &StreamKey { seed, ..KEY }).unwrap();
        let seen = memory.translate(&pattern, &model).unwrap();
        let mut fast = model.clone();
        seen.apply(&mut fast).unwrap();
        prop_assert_eq!(&fast, &slow(&memory, &pattern, &model));
        seen.apply(&mut fast).unwrap();
        prop_assert_eq!(&fast, &model);
    }
}

#[test]
fn protections_correct_detect_and_cost() {
    let spec = "family = \"symmetric\"\nbits = 8\n\
                [[protect]]\nselect = [\"conv.weight\"]\nkind = \"secded\"\ndata_bits = 64\n\
                [[protect]]\nselect = [\"conv.bias\"]\nkind = \"tmr\"\n\
                [[guard]]\nselect = [\"table\"]\n";
    let (memory, model) = stored(spec);
    // 192 bits in 3 words with 8 check bits each, and 24 bits twice more.
    assert_eq!(memory.check_bits(), 3 * 8 + 2 * 24);
    let all = space(&memory, &["*"]);
    let named: Vec<&str> = all.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(
        named,
        ["conv.weight", "conv.weight@check", "conv.bias", "conv.bias@copy1", "conv.bias@copy2", "table"]
    );
    let seen = |sites: &[&str]| {
        let sites = sites.iter().map(|site| site.parse().unwrap()).collect();
        let raw = Hits::Sites(sites).flips(&all, &KEY).unwrap();
        let left = memory.protect(&raw, &model).unwrap();
        (left.total, left.pattern.flips(), memory.translate(&left.pattern, &model).unwrap().flips() > 0)
    };
    let (told, residual, is_seen) = seen(&["conv.weight:3:7", "conv.weight@check:1:0", "conv.bias:0:1"]);
    assert_eq!((told.corrected, told.detected, residual, is_seen), (3, 0, 0, false));
    let (told, residual, is_seen) = seen(&["conv.weight:3:7", "conv.weight:4:7"]);
    assert_eq!((told.corrected, told.detected, residual, is_seen), (0, 1, 2, true));
    let (told, residual, is_seen) = seen(&["conv.bias:0:1", "conv.bias@copy2:0:1"]);
    assert_eq!((told.miscorrected, residual, is_seen), (1, 1, true));
    assert_eq!(seen(&["table:0:7"]).0.guarded, 1);
}

/// A bit stuck at the value that it has is dormant in check bits too: the view gives their clean words.
#[test]
fn check_bits_can_be_stuck() {
    let (memory, model) =
        stored("[[protect]]\nselect = [\"conv.weight\"]\nkind = \"parity\"\ndata_bits = 32\n");
    let checks = space(&memory, &["conv.weight@check"]);
    assert_eq!((checks.tensors()[0].format.name().as_str(), checks.bits()), ("u1", 24));
    for value in [false, true] {
        let all = FaultModel::StuckAt { value, at: Hits::Count(24) };
        let resolved = all.draw(&checks, &KEY).unwrap().resolve(&memory.view(&model)).unwrap();
        let words = model.words("conv.weight").unwrap();
        let ones = words.iter().filter(|word| word.count_ones() % 2 == 1).count() as u64;
        let holds_value = if value { ones } else { 24 - ones };
        assert_eq!((resolved.dormant, resolved.pattern.flips()), (holds_value, 24 - holds_value));
    }
}

#[test]
fn protections_that_cannot_be_are_named() {
    let cases = [
        ("[[protect]]\nkind = \"secded\"\ndata_bits = 4", "[[storage.protect]] 1, tensor `conv.weight`: "),
        ("[[protect]]\nselect = [\"x\"]\nkind = \"tmr\"", "[[storage.protect]] 1: `x` matches no tensor"),
        (
            "[[guard]]\nrange = [-0.1, 0.1]",
            "[[storage.guard]] 1, tensor `conv.weight`: 21 of the clean words lie outside",
        ),
        ("[[guard]]\nrange = [1.0, -1.0]", "[[storage.guard]] 1, tensor `conv.weight`: "),
    ];
    for (spec, want) in cases {
        let said = memory(spec, &model()).unwrap_err().to_string();
        assert!(said.contains(want), "{spec}: {said}");
    }
}

#[test]
fn check_bits_follow_their_tensor() {
    let (memory, _) = stored("[[protect]]\nkind = \"secded\"\ndata_bits = 32\n");
    let names = |select: &[&str]| -> Vec<String> {
        space(&memory, select).tensors().iter().map(|tensor| tensor.name.clone()).collect()
    };
    assert_eq!(names(&["conv.bias"]), ["conv.bias", "conv.bias@check"]);
    assert_eq!(names(&["conv.*", "!*.bias"]), ["conv.weight", "conv.weight@check"]);
    assert_eq!(names(&["conv.bias", "!*@check"]), ["conv.bias"]);
    assert_eq!(names(&["conv.bias@check"]), ["conv.bias@check"]);
    // Bits are those of the tensors' words; check bits are hit all the same.
    let sign = memory.fault_space(&["conv.weight".into()], BitSelection::Sign).unwrap();
    assert_eq!(sign.tensors().iter().map(|tensor| tensor.bits()).collect::<Vec<_>>(), [24, 24 * 7]);
    let all = space(&memory, &["conv.weight"]);
    let spared = memory.spare(&all, &ProtectedBits::Bits(BitSelection::Exponent)).unwrap();
    assert_eq!(spared.bits(), all.bits() - 24 * 8);
}

/// A plan stores what a memory of the same specification stores, and goes on doing so when values and ranges change.
#[test]
fn a_plan_stores_the_same_as_a_memory() {
    let spec = |text: &str| toml::from_str::<StorageSpec>(text).unwrap();
    let mut model = model();
    let text = "family = \"wcat\"\nbits = 4\n[[protect]]\nkind = \"parity\"\ndata_bits = 8";
    let mut plan = StoragePlan::new(&spec(text), &model.tensors[..2]).unwrap();
    let codes = |memory: &Memory| memory.coded("conv.weight").unwrap().words().iter().collect::<Vec<u64>>();
    let of_spec =
        |text: &str, model: &Model| Memory::new(&spec(text), &model.tensors[..2], model, KEY).unwrap();
    let first = plan.store(&model, KEY).unwrap();
    assert_eq!(codes(&first), codes(&of_spec(text, &model)));
    assert!(first.check_bits() > 0);

    model.words_mut("conv.weight").unwrap().set(3, 2.5_f32.to_bits().into()).unwrap();
    let wider = plan.store(&model, KEY).unwrap();
    assert_eq!(codes(&wider), codes(&of_spec(text, &model)));
    assert_ne!(codes(&wider), codes(&first));

    let fixed = spec("family = \"wcat\"\nbits = 4\nrange = { alpha = 0.25 }");
    plan.set_quantizer(0, Quantizer::from_spec(&fixed.base).unwrap());
    assert_eq!(codes(&plan.store(&model, KEY).unwrap())[3], 7);
    assert!(plan.quantizer(0).is_some() && plan.quantizer(2).is_none());
}

#[test]
fn nothing_of_an_older_memory_is_left_in_a_new_one() {
    const SPECS: [&str; 5] = [
        "",
        "family = \"symmetric\"\nbits = 4",
        "family = \"asymmetric\"\nbits = 8\nsigned = false",
        "family = \"symmetric\"\nbits = 8\n[[override]]\nselect = [\"conv.bias\"]\nfamily = \"native\"",
        "family = \"symmetric\"\nbits = 8\n[[protect]]\nkind = \"secded\"",
    ];
    let whole = model();
    let mut turned = whole.clone();
    turned.tensors.reverse();
    let told = |memory: &Memory, model: &Model| -> Vec<(String, Vec<u64>)> {
        let words = |name: &str| memory.view(model).words(name).unwrap().iter().collect();
        memory.candidates().map(|one| (one.name.to_owned(), words(one.name))).collect()
    };
    for (first, second) in SPECS.iter().flat_map(|first| SPECS.iter().map(move |second| (first, second))) {
        for (before, after) in [(&whole, &whole), (&whole, &turned)] {
            let plan = StoragePlan::new(&toml::from_str(second).unwrap(), &after.tensors).unwrap();
            let over = plan.store_over(after, KEY, memory(first, before).unwrap()).unwrap();
            let wanted = memory(second, after).unwrap();
            assert_eq!(told(&over, after), told(&wanted, after), "{second:?} over {first:?}");
            let is_coded = |memory: &Memory| {
                after.tensors.iter().map(|tensor| memory.coded(&tensor.name).is_some()).collect::<Vec<_>>()
            };
            assert_eq!(is_coded(&over), is_coded(&wanted), "{second:?} over {first:?}");
        }
    }
}

/// Levels under a pattern are what the network's floats become when the pattern is translated and applied: two ways to one
/// result, with flips of codes, of parts, of native words and of check bits.
#[test]
fn levels_under_a_pattern_are_those_of_its_translation() {
    for spec in [
        "family = \"asymmetric\"\nbits = 3\nsigned = false",
        "family = \"wcat\"\nbits = 8\ngranularity = { channel = 0 }",
        "family = \"symmetric\"\nbits = 12\n[[protect]]\nkind = \"parity\"\ndata_bits = 8",
        "[[override]]\nselect = [\"conv.bias\"]\nfamily = \"affine\"\nbits = 5",
    ] {
        let (memory, model) = stored(spec);
        let select: Vec<&str> = if spec.contains("protect") { vec!["*"] } else { vec!["*", "*@*"] };
        let space = space(&memory, &select);
        for trial in 0..30 {
            let key = StreamKey { trial, ..KEY };
            let rate = Hits::Rate(Rate::new(0.05).unwrap());
            let pattern = FaultModel::BitFlip(rate).draw(&space, &key).unwrap().into_flips().unwrap();
            let mut faulted = model.clone();
            memory.translate(&pattern, &model).unwrap().apply(&mut faulted).unwrap();
            for (tensor, levels) in memory.levels_under(&pattern, &model).unwrap() {
                let words = faulted.words(&tensor).unwrap();
                let format = words.format();
                // What the network has in float16 is rounded to it.
                let seen = |level: f32| {
                    if format == Format::F32 {
                        level.to_bits().into()
                    } else {
                        format.nearest(level.into()).unwrap()
                    }
                };
                if format.is_float() {
                    assert_eq!(
                        levels.into_iter().map(seen).collect::<Vec<u64>>(),
                        words.iter().collect::<Vec<u64>>(),
                        "{spec} {tensor}"
                    );
                }
            }
        }
    }
}
