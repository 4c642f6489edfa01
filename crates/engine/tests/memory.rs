//! How much memory a model takes.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, reason = "the child tells what it measured")]
use std::error::Error;
use std::path::Path;
use std::process::Command;

use bitquake_bits::Format;
use bitquake_data::Dataset;
use bitquake_engine::{Evaluator, Model, Threads};
use bitquake_fault::{FaultPattern, TensorFlips};
use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::TensorFile;

const MIB: u64 = 1 << 20;
/// Inputs and outputs of the layers: 28 MiB of weights in the first and in the last, 64 MiB between.
const SIZES: [u64; 4] = [1792, 4096, 4096, 1792];
/// What the process takes without a model: ONNX Runtime itself (about 22 MiB when loaded), its threads, its arenas, and
/// the activations.
const ALLOWANCE: u64 = 64 * MIB;

/// Names the model to the child, which measures itself: making the model leaves memory behind in the parent.
const CHILD: &str = "BITQUAKE_TEST_MEMORY_OF";

/// The most that this process has had in memory, in bytes.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
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
    if let Some(path) = std::env::var_os(CHILD) {
        return measure(Path::new(&path));
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("layers.onnx");
    std::fs::write(&path, linear_layers())?;
    let arguments = ["--exact", "a_campaign_takes_less_than_three_times_the_model", "--nocapture"];
    let child = Command::new(std::env::current_exe()?).args(arguments).env(CHILD, &path).output()?;
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    println!("{said}");
    assert!(child.status.success() && said.contains("MiB in all"));
    Ok(())
}

/// What a campaign does: load, golden run, a trial with a fault.
fn measure(path: &Path) -> Result<(), Box<dyn Error>> {
    let model_bytes = std::fs::metadata(path)?.len();
    let images = 16;
    let data_bytes = images * SIZES[0] * 4;
    let model = Model::new(TensorFile::open(path)?)?;
    let loading = peak()?;
    let pixels = vec![1.0; (images * SIZES[0]) as usize];
    let data = Dataset::new(pixels, vec![SIZES[0] as usize], vec![0; images as usize])?;
    let mut evaluator = Evaluator::new(model, &data, images, Threads::Engine(2))?;
    let golden = evaluator.golden(0)?;
    let flips = TensorFlips {
        tensor: "w1".into(),
        format: Format::F32,
        elements: SIZES[1] * SIZES[2],
        addresses: vec![30],
    };
    let outcome = evaluator.trial(&FaultPattern::new(vec![flips])?, &golden)?;
    assert_eq!(outcome.images, images);

    let required = 3 * model_bytes + data_bytes;
    let designed = 2 * model_bytes + data_bytes + ALLOWANCE; // the weights once as stored and once repacked
    let found = peak()?;
    let [model, loading, all] = [model_bytes, loading, found].map(|bytes| bytes / MIB);
    println!("model {model} MiB: {loading} MiB while loading, {all} MiB in all");
    assert!(model > 115 && found < required && found < designed, "required {required}, designed {designed}");
    Ok(())
}
