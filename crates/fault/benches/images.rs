//! Draws a small pattern for each of many images.
//!
//! Unit: microseconds an image (best of five), over 60 tensors of 700,000 f32 elements in all. Goal: 2 for one fault an image, and for
//! rates with fewer than one hit an image when images are drawn together; a rate for one image alone reads a stream of each tensor.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::time::Instant;

use bitquake_bits::{BitSelection, Format};
use bitquake_fault::{
    Candidate, Elements, FaultModel, FaultSpace, Hits, Sampler, Shape, ShapeFaults, Value, WordEffect,
};
use bitquake_sample::{Rate, StreamKey};

const IMAGES: u64 = 8192;
const TRIAL: StreamKey = StreamKey { seed: 1, point: 0, trial: 0 };

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = (0..60).map(|n| format!("/layer{n}/conv/Conv_output_0")).collect();
    let dims_of = |n: usize| if n < 40 { [16, 32, 32] } else { [32, 8, 8] };
    let candidates = names.iter().enumerate().map(|(n, name)| {
        let elements = dims_of(n).iter().product();
        (Candidate { name, format: Format::F32, elements, by_name_only: false }, BitSelection::All)
    });
    let of_name = |name: &str| names.iter().position(|other| other == name).map(|n| dims_of(n).to_vec());
    let space = FaultSpace::gather(candidates)?.with_dims(of_name)?;
    println!("{} elements of {} tensors", space.bits() / 32, space.tensors().len());
    let tiny = Rate::new(0.5 / space.bits() as f64)?;
    let shape = |shape, at| FaultModel::Shape(ShapeFaults { shape, at, effect: WordEffect::default() });
    let models = [
        ("one bit", FaultModel::BitFlip(Hits::Count(1))),
        ("one value", FaultModel::SetValue { value: Value::Random, at: Elements::Count(1) }),
        ("one neuron", shape(Shape::Neuron, Elements::Count(1))),
        ("one channel", shape(Shape::Channel, Elements::Count(1))),
        ("bits at half a hit", FaultModel::BitFlip(Hits::Rate(tiny))),
        ("rows at half a hit", shape(Shape::Row, Elements::Rate(tiny.scaled(32.0)))),
    ];
    println!("us an image            alone   together");
    for (name, model) in &models {
        let sampler = model.sampler(&space)?;
        let alone = microseconds(|| one_by_one(&sampler))?;
        let together = microseconds(|| Ok(sampler.draw_images(&TRIAL.into(), 0..IMAGES)?.len() as u64))?;
        println!("{name:<20} {alone:>7.2} {together:>10.2}");
    }
    Ok(())
}

fn one_by_one(sampler: &Sampler<'_>) -> Result<u64, Box<dyn Error>> {
    let mut faults = 0;
    for image in 0..IMAGES {
        faults += sampler.draw(&TRIAL.numbered("image", image))?.faults();
    }
    Ok(faults)
}

/// The best of five, for one image.
fn microseconds(mut run: impl FnMut() -> Result<u64, Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        std::hint::black_box(run()?);
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best / IMAGES as f64 * 1e6)
}
