//! Flips exponent bits of the convolutions of an ONNX model in memory, and undoes it.
//!
//! `cargo run -p bitquake --example flip_bits MODEL.onnx`

use std::error::Error;
use std::path::Path;

use bitquake::campaign::candidates;
use bitquake::fault::{FaultSpace, Hits, Selector};
use bitquake::sample::{Rate, StreamKey};
use bitquake::tensors::TensorFile;

/// Flips, saves and undoes; returns the number of flips.
pub fn flip(model: &Path, out: &Path) -> Result<u64, Box<dyn Error>> {
    let mut file = TensorFile::open(model)?;
    let conv = Selector::new(&["conv*"])?;
    let space = FaultSpace::select(candidates(file.tensors()), &conv, "exponent".parse()?)?;
    let key = StreamKey { seed: 42, point: 0, trial: 0 };
    let pattern = Hits::Rate(Rate::new(1e-4)?).flips(&space, &key)?;
    pattern.apply(&mut file)?; // the faulty model
    file.save(out)?;
    pattern.apply(&mut file)?; // and every byte as it was
    Ok(pattern.flips())
}

#[allow(dead_code, reason = "a test uses this file as a module")]
fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(1).ok_or("which model?")?;
    flip(model.as_ref(), "faulty.onnx".as_ref())?;
    Ok(())
}
