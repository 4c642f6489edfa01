//! What of a model is an external part of its engine image, and what is brought in.

mod common;

use bitquake_bits::{Format, WordStore, Words};
use bitquake_tensors::wire::Writer;
use bitquake_tensors::{EngineImage, LENT_FROM, StorageForm};
use common::*;

/// A model with the tensors, beside the file `w.bin` with the bytes 0, 1, 2, ...
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn beside_bytes(nodes: &[Writer], tensors: &[Writer], size: usize) -> Saved {
    let saved = Saved::new(&model(&graph(nodes, tensors)));
    let bytes: Vec<u8> = (0..size).map(|index| index as u8).collect();
    std::fs::write(saved.beside("w.bin"), bytes).unwrap();
    saved
}

fn at<'a>(offset: &'a str, length: &'a str) -> [(&'a str, &'a str); 3] {
    [("location", "w.bin"), ("offset", offset), ("length", length)]
}

fn part(image: &EngineImage, name: &str) -> usize {
    image.locate(name).unwrap_or_else(|| panic!("no {name}")).part
}

#[test]
fn what_reaches_the_threshold_is_lent() {
    let whole = LENT_FROM as i64;
    let tensors = [
        raw("reaches", I8, &[whole], &vec![1; LENT_FROM]),
        raw("below", I8, &[whole - 1], &vec![2; LENT_FROM - 1]),
        varints("encoded", I8, 5, &vec![-3; LENT_FROM]),
        raw("empty", I8, &[0], &[]),
        raw("words", I64, &[whole / 8], &vec![4; LENT_FROM]),
    ];
    let file = open(&model(&graph(&[], &tensors))).unwrap();
    let image = file.clone().into_engine_image().unwrap();
    let parts = ["reaches", "below", "encoded", "empty"].map(|name| part(&image, name));
    assert_eq!(parts, [1, 0, 2, 0]);
    assert_eq!(*image.parts()[1].bytes, vec![1; LENT_FROM]);
    assert_eq!(*image.parts()[2].bytes, vec![0xfd; LENT_FROM]);
    assert!(image.main().len() < 2 * LENT_FROM + 1000);
    assert_eq!(image.size(), image.main().len() + 2 * LENT_FROM);
    assert!(image.parts().iter().all(|part| part.bytes.as_ptr().addr().is_multiple_of(64)));
    // Nothing but the threshold decides.
    let image = file.clone().into_engine_image_lending(usize::MAX).unwrap();
    assert!(image.externals().is_empty());
    let image = file.into_engine_image_lending(0).unwrap();
    assert_eq!(["reaches", "below", "encoded", "empty"].map(|name| part(&image, name)), [1, 2, 3, 0]);
}

#[test]
fn a_clone_is_apart_and_shares_nothing_that_changes() {
    let tensors = [floats("a", &[1.0]), floats("b", &[2.0])];
    let mut image = open(&model(&graph(&[], &tensors))).unwrap().into_engine_image_lending(1).unwrap();
    let before = image.clone();
    image.words_mut("b").unwrap().flip(0).unwrap();
    assert_eq!(before.words("b").unwrap(), Words::packed(Format::F32, &2.0_f32.to_le_bytes()));
    assert_eq!(before.words("a"), image.words("a"));
    assert_ne!(before.words("b"), image.words("b"));
}

#[test]
fn small_external_data_are_brought_in() {
    let tensors = [
        external("w", F32, &[4], &at("4", "16")),
        external("q", I8, &[2], &[("location", "w.bin"), ("checksum", "dropped")]),
        external("sizes", I64, &[1], &[("location", "w.bin"), ("offset", "24")]),
        floats("inside", &[1.0]),
    ];
    let saved = beside_bytes(&[], &tensors, 1000);
    let mut image = saved.open().unwrap().into_engine_image().unwrap();
    assert!(image.externals().is_empty());
    assert_eq!(image.words("w").unwrap().bytes(), (4..20).collect::<Vec<u8>>());
    image.words_mut("w").unwrap().flip(0).unwrap();
    // The image stands on its own, and an i64 of one element has 8 of the 976 bytes that follow its offset.
    let alone = open(image.main()).unwrap();
    assert_eq!(alone.words("w").unwrap().bytes()[..2], [5, 5]);
    assert_eq!(alone.words("q").unwrap().bytes(), [0, 1]);
    let forms = alone.tensors().iter().map(|info| &info.origin.storage);
    assert!(forms.clone().all(|form| *form == StorageForm::Words), "{:?}", forms.collect::<Vec<_>>());
    let expected = raw("sizes", I64, &[1], &(24..32).collect::<Vec<u8>>()).into_bytes();
    assert!(image.main().windows(expected.len()).any(|window| window == expected));
}

#[test]
fn only_weights_of_the_main_graph_are_lent() {
    let inner = graph(&[], &[external("then", F32, &[2], &at("0", "8"))]);
    let nodes = [
        constant("constant", &floats("", &[1.0, 2.0])),
        node("If", "if", &["c"], &["y"], &[graph_attribute("then_branch", &inner)]),
        node("Clip", "", &["y", "low"], &["z"], &[]),
    ];
    let tensors = [floats("w", &[1.0]), floats("low", &[0.0]), external("big", F32, &[2], &at("8", "8"))];
    let saved = beside_bytes(&nodes, &tensors, 16);
    let image = saved.open().unwrap().into_engine_image_lending(1).unwrap();
    let parts = ["constant", "if/then_branch/then", "low", "w", "big"].map(|name| part(&image, name));
    assert_eq!(parts, [0, 0, 0, 1, 2]);
    assert_eq!(image.words("if/then_branch/then").unwrap().bytes(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(image.words("big").unwrap().bytes(), [8, 9, 10, 11, 12, 13, 14, 15]);
}

#[test]
fn tensors_that_share_external_data_go_on_sharing() {
    let tensors = [
        external("a", F32, &[2], &at("8", "8")),
        external("other", F32, &[1], &at("0", "4")),
        external("b", F32, &[1, 2], &at("8", "8")),
        external("sizes", I64, &[1], &at("16", "8")),
        external("axes", I64, &[2], &at("16", "16")),
    ];
    let saved = beside_bytes(&[], &tensors, 32);
    let mut image = saved.open().unwrap().into_engine_image().unwrap();
    assert_eq!(["a", "b", "other"].map(|name| part(&image, name)), [1, 1, 0]);
    image.words_mut("a").unwrap().flip(1).unwrap();
    assert_eq!(image.words("b").unwrap().bytes(), [10, 9, 10, 11, 12, 13, 14, 15]);
}

#[test]
fn sharing_that_would_be_lost_is_refused() {
    let inside = graph(&[], &[external("w", F32, &[2], &at("0", "8"))]);
    let branch = |name| node("If", name, &["c"], &["y"], &[graph_attribute("then_branch", &inside)]);
    let cases: [(&[Writer], &[Writer]); 4] = [
        // Half of one is half of the other.
        (&[], &[external("a", F32, &[2], &at("0", "8")), external("b", F32, &[2], &at("4", "8"))]),
        // One within the other, found behind a third.
        (
            &[],
            &[
                external("a", F32, &[4], &at("0", "16")),
                external("b", F32, &[1], &at("12", "4")),
                external("c", F32, &[1], &at("16", "4")),
            ],
        ),
        // Numbers that are no weights.
        (&[], &[external("a", F32, &[2], &at("0", "8")), external("n", I64, &[1], &at("0", "8"))]),
        // Within subgraphs.
        (&[branch("if1"), branch("if2")], &[]),
    ];
    for (index, (nodes, tensors)) in cases.into_iter().enumerate() {
        let saved = beside_bytes(nodes, tensors, 32);
        let error = saved.open().unwrap().into_engine_image().unwrap_err().to_string();
        assert!(error.contains("shares external data with tensor"), "{index}: {error}");
    }
}

#[test]
fn sharing_does_not_multiply_memory() {
    // A thousand tensors of one file, each of which would bring all of it in.
    let tensors: Vec<Writer> =
        (0..1000).map(|index| external(&format!("t{index}"), I64, &[1000], &at("0", "8000"))).collect();
    let saved = beside_bytes(&[], &tensors, 8000);
    let error = saved.open().unwrap().into_engine_image().unwrap_err().to_string();
    assert!(error.contains("shares external data"), "{error}");
}
