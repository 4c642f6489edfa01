//! What the passes of a training step cost, against PyTorch in the same run.
//!
//! A pass is the loss and the gradients of all weights, with batch statistics: ResNet-20 at 32x32, and LeNet-5 at 28x28, 128 images,
//! all cores. Unit: milliseconds (median over rounds in which the project's own kernels, burn and PyTorch take turns). Goals, as PyTorch's time
//! over that of the own kernels: 1 / 0.75 for ResNet-20, 1 / 0.6 for LeNet-5.
//!
//! A turn is several passes in a row, after one that does not count: in training a pass follows a pass, so the caches hold its own data, and
//! threads of the others, which spin for a while after their work, sleep.
//!
//! PyTorch runs in the Python of `BITQUAKE_PYTHON` (or `python3`; it needs torch, numpy and onnx): `benches/torch_training.py`, channels
//! last, memory kept by malloc. `RAYON_NUM_THREADS=1` gives both one thread: on a busy machine the fairer comparison, as PyTorch's threads wait
//! for each other after each layer.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use bitquake_grad::{Device, Executor, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use bitquake_testing::{SplitMix64, Torch};

type Failure = Box<dyn Error>;

const BATCH: usize = 128;
const ROUNDS: usize = 7;

fn main() -> Result<(), Failure> {
    let threads = match std::env::var("RAYON_NUM_THREADS") {
        Ok(threads) => threads.parse()?,
        Err(_) => std::thread::available_parallelism()?.get(),
    };
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/torch_training.py"));
    let mut torch = Torch::start(script, &[&threads.to_string()])?;
    println!("{BATCH} images, {threads} threads, ms a pass: median of {ROUNDS} turns (least)");
    measure("resnet20", &resnet20(1), 3 * 32 * 32, (1.0 / 0.75, 2), &mut torch)?;
    measure("lenet5", &lenet5(), 28 * 28, (1.0 / 0.6, 10), &mut torch)
}

/// `turn`: passes of a turn that count.
fn measure(
    name: &str,
    model: &[u8],
    pixels: usize,
    (goal, turn): (f64, usize),
    torch: &mut Torch,
) -> Result<(), Failure> {
    let network = Network::from_onnx(model, Device::Cpu)?;
    if *network.executor() != Executor::Native {
        return Err(format!("{name}: {:?}", network.executor()).into());
    }
    let on_burn = Network::from_onnx(model, Device::Cpu)?.on_burn()?;
    let mut random = SplitMix64::new(2);
    let images: Vec<f32> = (0..BATCH * pixels).map(|_| random.normal() as f32).collect();
    let labels: Vec<u32> = (0..BATCH as u32).map(|image| image % 10).collect();
    let is_weight = |&index: &usize| network.parameters()[index].role == ParameterRole::Weight;
    let weights: Vec<usize> = (0..network.parameters().len()).filter(is_weight).collect();
    let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.0 };
    let pass = Pass {
        images: &images,
        batch: BATCH,
        objective,
        mode: Mode::Train,
        parameters: &weights,
        values: &[],
    };
    let (mut own, mut of_burn, mut of_torch) = (Vec::new(), Vec::new(), Vec::new());
    let ms = |network: &Network, count: usize| -> Result<Vec<f64>, Failure> {
        network.gradients(&pass)?;
        let one = |_| {
            let start = Instant::now();
            network.gradients(&pass).map(|_| start.elapsed().as_secs_f64() * 1e3)
        };
        Ok((0..count).map(one).collect::<Result<_, _>>()?)
    };
    for _ in 0..ROUNDS {
        own.extend(ms(&network, turn)?);
        of_burn.extend(ms(&on_burn, 1)?);
        let seconds = torch.ask(&format!("pass {name} {BATCH} {turn}"))?;
        of_torch.extend(seconds.iter().map(|seconds| seconds * 1e3));
    }
    let [(own, own_least), (burn, _), (theirs, least)] = [own, of_burn, of_torch].map(median_and_least);
    let (ratio, of_least) = (theirs / own, least / own_least);
    println!(
        "{name:10} {own:8.1} ({own_least:.1})  burn {burn:8.1}  torch {theirs:8.1} ({least:.1})  ratio {ratio:5.2} ({of_least:.2})  goal {goal:.2}"
    );
    Ok(())
}

fn median_and_least(mut times: Vec<f64>) -> (f64, f64) {
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[0])
}

/// LeNet-5 with ReLU and max pooling (LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), as it is usually
/// built now).
fn lenet5() -> Vec<u8> {
    let mut model = ModelBuilder::new("lenet5");
    let image = [BuildDim::Named("batch"), BuildDim::Fixed(1), BuildDim::Fixed(28), BuildDim::Fixed(28)];
    model.graph().input("images", ElemType::F32, &image);
    let mut random = SplitMix64::new(1);
    let mut weight = |model: &mut ModelBuilder, name: &str, shape: &[u64]| {
        let (count, fan_in) = (shape.iter().product::<u64>(), shape[1..].iter().product::<u64>());
        let scale = (2.0 / fan_in as f64).sqrt();
        let values: Vec<f32> = (0..count).map(|_| (random.normal() * scale) as f32).collect();
        model.graph().initializer(TensorSpec::f32(name, shape, &values));
        let bias = format!("{name}.bias");
        model.graph().initializer(TensorSpec::f32(&bias, &shape[..1], &vec![0.0; shape[0] as usize]));
        bias
    };
    let pair = |size: i64| AttrValue::Ints(vec![size; 2]);
    let mut value = "images".to_owned();
    for (name, shape, pad) in [("conv1", [6, 1, 5, 5], 2), ("conv2", [16, 6, 5, 5], 0)] {
        let bias = weight(&mut model, name, &shape);
        let [convolved, active, pooled] = ["out", "active", "pooled"].map(|part| format!("{name}.{part}"));
        let pads = AttrValue::Ints(vec![pad; 4]);
        model.graph().node("Conv", &[&value, name, &bias], &[&convolved], &[("pads", pads)]);
        model.graph().node("Relu", &[&convolved], &[&active], &[]);
        let pool = [("kernel_shape", pair(2)), ("strides", pair(2))];
        model.graph().node("MaxPool", &[&active], &[&pooled], &pool);
        value = pooled;
    }
    model.graph().node("Flatten", &[&value], &["flat"], &[]);
    value = "flat".to_owned();
    for (name, shape) in [("fc1", [120, 400]), ("fc2", [84, 120]), ("fc3", [10, 84])] {
        let bias = weight(&mut model, name, &shape);
        let (sum, active) = (format!("{name}.out"), format!("{name}.active"));
        let transposed = [("transB", AttrValue::Int(1))];
        model.graph().node("Gemm", &[&value, name, &bias], &[&sum], &transposed);
        value = sum;
        if name != "fc3" {
            model.graph().node("Relu", &[&value], &[&active], &[]);
            value = active;
        }
    }
    model.graph().output(&value, ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(10)]);
    model.finish()
}
