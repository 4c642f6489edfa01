//! How much memory a model takes. The only test of its file, because it measures the whole process.

#![cfg(target_os = "linux")]

use std::error::Error;

use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, Model, Runtime, Threads};
use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::TensorFile;

const MIB: u64 = 1 << 20;
/// Inputs and outputs of the layers: about 28 MiB each for the first and the last, 64 MiB between.
const SIZES: [u64; 4] = [1792, 4096, 4096, 1792];
/// What the process takes without a model: ONNX Runtime itself (about 22 MiB when loaded), its threads, its arenas, and
/// the activations.
const ALLOWANCE: u64 = 64 * MIB;

/// Bytes that the process has had in memory at most since the mark was last moved.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// Moves the mark down to what is in memory now.
fn forget_peak() -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

fn linear_layers() -> Vec<u8> {
    let mut model = ModelBuilder::new("layers");
    let batch = BuildDim::Named("batch");
    model.graph().input("v0", ElemType::F32, &[batch, BuildDim::Fixed(SIZES[0])]);
    for (layer, pair) in SIZES.windows(2).enumerate() {
        let [weight, input, output] = [format!("w{layer}"), format!("v{layer}"), format!("v{}", layer + 1)];
        let values = vec![1.0 / 64.0; (pair[0] * pair[1]) as usize];
        model.graph().initializer(TensorSpec::f32(&weight, &[pair[0], pair[1]], &values));
        model.graph().node("MatMul", &[&input, &weight], &[&output], &[]);
    }
    model.graph().output("v3", ElemType::F32, &[batch, BuildDim::Fixed(SIZES[3])]);
    model.finish()
}

#[test]
fn a_campaign_takes_less_than_three_times_the_model() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layers.onnx");
    let model_bytes = {
        let bytes = linear_layers();
        std::fs::write(&path, &bytes)?;
        bytes.len() as u64
    };
    assert!(model_bytes > 115 * MIB, "{model_bytes}");
    Runtime::load()?;
    forget_peak()?; // making the model took several times its size

    let model = Model::new(TensorFile::open(&path)?)?;
    let loading = peak()?;
    let images = 16;
    let pixels = vec![1.0; images * SIZES[0] as usize];
    let data_bytes = (pixels.len() * 4) as u64;
    let data = Dataset::new(pixels, vec![SIZES[0] as usize], vec![0; images])?;
    let mut evaluator = Evaluator::new(model, &data, 16, Threads::Engine(2))?;
    let golden = evaluator.golden()?;
    let flips = TensorFlips {
        tensor: "w1".into(),
        format: bitquake_bits::Format::F32,
        elements: SIZES[1] * SIZES[2],
        addresses: vec![30],
    };
    let outcome = evaluator.trial(&FaultPattern::new(vec![flips])?, &golden)?;
    assert_eq!(outcome.images, images as u64);

    let (limit, found) = (3 * model_bytes + data_bytes, peak()?);
    let [loading, found, limit] = [loading, found, limit].map(|bytes| bytes / MIB);
    println!("model {} MiB; peak {loading} MiB while loading, {found} MiB in all", model_bytes / MIB);
    assert!(found < limit, "{found} MiB, limit {limit}");
    // By design: the weights once as stored and once repacked.
    let designed = (2 * model_bytes + data_bytes + ALLOWANCE) / MIB;
    assert!(found < designed, "{found} MiB, by design less than {designed}");
    Ok(())
}
