//! The Rust that the README shows is the example's, and the example works.

#[path = "../examples/flip_bits.rs"]
mod flip_bits;

use std::path::Path;

#[test]
fn the_readme_shows_the_example() {
    let readme = include_str!("../../../README.md");
    let example = include_str!("../examples/flip_bits.rs");
    let shown =
        readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Rust block");
    for line in shown.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(example.lines().any(|there| there.trim() == line), "the example has no line `{line}`");
    }
}

#[test]
fn the_example_flips_and_undoes() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/fashion_cnn.onnx");
    let temp = tempfile::tempdir().expect("a folder");
    let out = temp.path().join("faulty.onnx");
    let flips = flip_bits::flip(&model, &out).expect("works");
    let difference = bitquake::diff::diff(&model, &out).expect("readable");
    assert!(flips > 10 && difference.flips.total.flips == flips);
    assert!(
        difference.flips.total.by_bit.iter().enumerate().all(|(bit, &n)| n == 0 || (23..=30).contains(&bit))
    );
}
