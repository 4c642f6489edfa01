//! What the passes of a training step cost, against PyTorch in the same run.
//!
//! A pass is the loss and the gradients of all weights, with batch statistics: ResNet-20 at 32x32, and LeNet-5 at 28x28, 128 images,
//! all cores. Unit: milliseconds (median over rounds in which the project's own kernels, burn and PyTorch take turns). Goals, as PyTorch's time
//! over that of the own kernels: 1 / 0.75 for ResNet-20, 1 / 0.6 for LeNet-5.
//!
//! PyTorch runs in the Python of `BITQUAKE_PYTHON` (or `python3`; it needs torch, numpy and onnx): `benches/torch_training.py`, channels
//! last, memory kept by malloc.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use bitquake_grad::{Device, Executor, Mode, Network, Objective, ParameterRole, Pass};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use bitquake_testing::SplitMix64;

type Failure = Box<dyn Error>;

const BATCH: usize = 128;
const ROUNDS: usize = 7;

fn main() -> Result<(), Failure> {
    let threads = std::thread::available_parallelism()?.get();
    let mut torch = Torch::start(threads)?;
    println!("{BATCH} images, {threads} threads, ms a pass: median of {ROUNDS} (least)");
    measure("resnet20", &resnet20(1), 3 * 32 * 32, 1.0 / 0.75, &mut torch)?;
    measure("lenet5", &lenet5(), 28 * 28, 1.0 / 0.6, &mut torch)
}

fn measure(name: &str, model: &[u8], pixels: usize, goal: f64, torch: &mut Torch) -> Result<(), Failure> {
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
    let ms = |network: &Network| {
        let start = Instant::now();
        network.gradients(&pass).map(|_| start.elapsed().as_secs_f64() * 1e3)
    };
    for round in 0..=ROUNDS {
        let (ours, burns, theirs) = (ms(&network)?, ms(&on_burn)?, torch.ms(name)?);
        // The first round warms up.
        if round > 0 {
            own.push(ours);
            of_burn.push(burns);
            of_torch.push(theirs);
        }
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

/// PyTorch in a process of its own.
struct Torch {
    child: Child,
    tasks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Torch {
    fn start(threads: usize) -> Result<Torch, Failure> {
        let python = std::env::var("BITQUAKE_PYTHON").unwrap_or_else(|_| "python3".into());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../benches/torch_training.py");
        let mut command = Command::new(&python);
        command.arg(script).arg(threads.to_string());
        // Large buffers are kept instead of being given back and cleared anew for every layer: PyTorch's best setting.
        for name in ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"] {
            command.env(name, "1000000000");
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let tasks = child.stdin.take().ok_or("no standard input")?;
        let output = child.stdout.take().ok_or("no standard output")?;
        Ok(Torch { child, tasks, answers: BufReader::new(output).lines() })
    }

    /// The time of one pass.
    fn ms(&mut self, network: &str) -> Result<f64, Failure> {
        writeln!(self.tasks, "{network} {BATCH}")?;
        let line = self.answers.next().ok_or("python ended: has it torch, numpy and onnx?")??;
        Ok(line.trim().parse::<f64>()? * 1e3)
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        // It waits for tasks and has nothing to lose.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
