//! What it costs to compute what one faulty weight reaches.
//!
//! One image, one weight of the middle of the node, float32, one thread. Unit: microseconds (median), and the share of the
//! machine's time for the whole node, both measured in this run: ONNX Runtime, one thread, batches of 64. Goals: a channel of
//! a 3x3 convolution 64 -> 64 at 8x8 in 10 us, 16 -> 16 at 32x32 in 60 us.

#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::borrow::Cow;
use std::error::Error;
use std::time::Instant;

use bitquake_engine::{DirectNode, Operand, Runtime, Scratch};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_tensors::onnx::{Attribute, AttributeValue, Node};
use bitquake_testing::SplitMix64;
use ort::session::Session;
use ort::value::TensorRef;

const BATCH: usize = 64;
const ROUNDS: usize = 200;

/// Name, operator, input, weight, padding, groups, goal in microseconds.
type Row = (&'static str, &'static str, &'static [usize], &'static [usize], i64, i64, Option<f64>);

const ROWS: &[Row] = &[
    ("conv 3x3, 64 -> 64 at 8x8", "Conv", &[64, 8, 8], &[64, 64, 3, 3], 1, 1, Some(10.0)),
    ("conv 3x3, 16 -> 16 at 32x32", "Conv", &[16, 32, 32], &[16, 16, 3, 3], 1, 1, Some(60.0)),
    ("conv 3x3, 3 -> 16 at 32x32", "Conv", &[3, 32, 32], &[16, 3, 3, 3], 1, 1, None),
    ("conv 3x3, 256 -> 256 at 14x14", "Conv", &[256, 14, 14], &[256, 256, 3, 3], 1, 1, None),
    ("conv 1x1, 256 -> 64 at 28x28", "Conv", &[256, 28, 28], &[64, 256, 1, 1], 0, 1, None),
    ("depthwise 3x3, 64 at 28x28", "Conv", &[64, 28, 28], &[64, 1, 3, 3], 1, 64, None),
    ("matmul 512 -> 1000", "MatMul", &[512], &[512, 1000], 0, 1, None),
    ("matmul 197 x 768 -> 768", "MatMul", &[197, 768], &[768, 768], 0, 1, None),
];

fn main() -> Result<(), Box<dyn Error>> {
    println!(
        "one channel or column of one image, us (median of {ROUNDS}); share of the engine's time for the node"
    );
    for row in ROWS {
        let (name, .., goal) = *row;
        let (direct, engine) = measure(row)?;
        let goal = goal.map_or_else(String::new, |goal| format!("  goal {goal:.0}"));
        println!("{name:32} {direct:8.2}  engine {engine:9.1}  share {:.3}{goal}", direct / engine);
    }
    Ok(())
}

/// Microseconds for one image: the direct computation, and the engine.
fn measure(row: &Row) -> Result<(f64, f64), Box<dyn Error>> {
    let (_, op, input_dims, weight_dims, ..) = *row;
    let mut random = SplitMix64::new(1);
    let mut normal = |len: usize| (0..len).map(|_| random.normal() as f32).collect::<Vec<f32>>();
    let len: usize = input_dims.iter().product();
    let (input, weight) = (normal(BATCH * len), normal(weight_dims.iter().product()));

    let direct = DirectNode::new(&node(row), &|name| match name {
        "x" => Some(Operand::Activation { dims: input_dims.to_vec() }),
        _ => Some(Operand::Stored { dims: weight_dims.to_vec(), tensor: name.to_owned() }),
    });
    let direct = direct.ok_or_else(|| format!("{op} is not supported"))?;
    let middle = weight.len() as u64 / 2 + 4;
    let touched = direct.touched("w", &[middle])?;
    let values = |_: &str| Some(Cow::Borrowed(weight.as_slice()));
    let mut out = vec![0.0; direct.output_len()];
    let mut scratch = Scratch::default();
    let mut image = 0;
    let own = median(ROUNDS, || {
        image = (image + 1) % BATCH;
        direct.recompute(&touched, &input[image * len..][..len], &values, &mut out, &mut scratch)?;
        std::hint::black_box(&out);
        Ok(())
    })?;

    let mut session = Session::builder(Runtime::load()?.environment())?
        .with_intra_threads(1)?
        .commit_from_memory(&model(row, &weight))?;
    let shape: Vec<i64> = [BATCH].iter().chain(input_dims).map(|&dim| dim as i64).collect();
    let engine = median(10, || {
        let tensor = TensorRef::from_array_view((shape.clone(), input.as_slice()))?;
        std::hint::black_box(session.run(ort::inputs![tensor])?);
        Ok(())
    })?;
    Ok((own, engine / BATCH as f64))
}

fn node(&(_, op, _, weight, pad, group, _): &Row) -> Node {
    let attribute = |name: &str, value| Attribute { name: name.to_owned(), value };
    let of_conv = || {
        let pads = vec![pad; 2 * (weight.len() - 2)];
        vec![attribute("pads", AttributeValue::Ints(pads)), attribute("group", AttributeValue::Int(group))]
    };
    Node {
        name: String::new(),
        op_type: op.to_owned(),
        domain: String::new(),
        inputs: vec!["x".to_owned(), "w".to_owned()],
        outputs: vec!["y".to_owned()],
        attributes: if op == "Conv" { of_conv() } else { Vec::new() },
    }
}

fn model(&(_, op, input, weight_dims, pad, group, _): &Row, weight: &[f32]) -> Vec<u8> {
    let mut model = ModelBuilder::new("node");
    let graph = model.graph();
    let dims: Vec<BuildDim<'_>> = input.iter().map(|&dim| BuildDim::Fixed(dim as u64)).collect();
    graph.input("x", ElemType::F32, &[vec![BuildDim::Named("batch")], dims].concat());
    let dims: Vec<u64> = weight_dims.iter().map(|&dim| dim as u64).collect();
    graph.initializer(TensorSpec::f32("w", &dims, weight));
    let attributes = [("pads", AttrValue::Ints(vec![pad; 4])), ("group", AttrValue::Int(group))];
    let attributes = if op == "Conv" { &attributes[..] } else { &[] };
    graph.node(op, &["x", "w"], &["y"], attributes);
    graph.output("y", ElemType::F32, &vec![BuildDim::Named("any"); input.len() + 1]);
    model.finish()
}

/// The median time of a call in microseconds.
fn median(
    rounds: usize,
    mut work: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        work()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[rounds / 2])
}
