//! Weights that ONNX Runtime reads in place: the same outputs as from weights inside the model, for any faults.

use std::error::Error;
use std::path::Path;

use bitquake_bits::{BitSelection, WordStore};
use bitquake_data::Dataset;
use bitquake_engine::{EngineError, Evaluator, Model, RowFaults, RowValues, Stop, Threads, self_check};
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector};
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec, resnet20};
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile};
use bitquake_testing::SplitMix64;

type Tested = Result<(), Box<dyn Error>>;

/// Lends every weight.
const ALL: usize = 1;
/// Lends none.
const NONE: usize = usize::MAX;

fn model(bytes: &[u8], from: usize) -> Result<Model, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, bytes)?;
    Ok(Model::lending(TensorFile::open(&path)?, from)?)
}

fn images(count: usize, shape: &[usize]) -> Result<Dataset, Box<dyn Error>> {
    let mut random = SplitMix64::new(7);
    let pixels = (0..count * shape.iter().product::<usize>()).map(|_| random.normal() as f32).collect();
    Ok(Dataset::new(pixels, shape.to_vec(), vec![0; count])?)
}

fn space(model: &Model) -> Result<FaultSpace, Box<dyn Error>> {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        let (format, by_name_only) = (tensor.dtype.format()?, tensor.role == Role::Attribute);
        Some(Candidate { name: &tensor.name, format, elements: tensor.elements(), by_name_only })
    });
    Ok(FaultSpace::select(candidates, &Selector::all(), BitSelection::All)?)
}

/// Outputs as bits, or the message of the engine's refusal.
fn outputs(evaluator: &mut Evaluator<'_>, pattern: &FaultPattern, images: usize) -> Result<Vec<u32>, String> {
    let outputs = evaluator.outputs(pattern, images).map_err(|error| error.to_string())?;
    Ok(outputs.iter().map(|output| output.to_bits()).collect())
}

/// Runs `trials` random patterns with every weight lent and with none; the patterns must also do something.
fn compare(name: &str, bytes: &[u8], shape: &[usize], rate: f64, trials: u64) -> Tested {
    let data = images(5, shape)?;
    let (lent, inline) = (model(bytes, ALL)?, model(bytes, NONE)?);
    assert!(!lent.image().externals().is_empty() && inline.image().externals().is_empty(), "{name}");
    let space = space(&lent)?;
    let mut lent = Evaluator::new(lent, &data, 3, Threads::Caller)?;
    let mut inline = Evaluator::new(inline, &data, 3, Threads::Caller)?;
    let before = lent.model().image().clone();
    let golden = lent.golden(0)?;
    let golden_bits = outputs(&mut lent, &FaultPattern::empty(), data.len())?;
    assert_eq!(golden_bits, outputs(&mut inline, &FaultPattern::empty(), data.len())?, "{name}");
    let faults = Hits::Rate(Rate::new(rate)?);
    let mut changed = 0;
    for trial in 0..trials {
        let pattern = faults.flips(&space, &StreamKey { seed: 1, point: 0, trial })?;
        let found = outputs(&mut lent, &pattern, data.len());
        assert_eq!(found, outputs(&mut inline, &pattern, data.len()), "{name}, trial {trial}");
        changed += u64::from(found.as_ref() != Ok(&golden_bits));
    }
    assert!(changed * 2 > trials, "{name}: only {changed} of {trials} patterns changed an output");
    self_check(&mut lent, &golden, &space, data.len(), |pattern, _| Ok(pattern))?;
    for (after, before) in lent.model().image().parts().iter().zip(before.parts()) {
        assert_eq!(*after.bytes, *before.bytes, "{name}: {} is not as it was", after.location);
    }
    Ok(())
}

#[test]
fn the_shipped_model() -> Tested {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let bytes = std::fs::read(root.join("examples/fashion-cnn/fashion_cnn.onnx"))?;
    compare("fashion_cnn", &bytes, &[1, 28, 28], 1e-4, 60)?;
    compare("fashion_cnn, many flips", &bytes, &[1, 28, 28], 1e-2, 10)
}

#[test]
fn resnet_20() -> Tested {
    compare("resnet20", &resnet20(3), &[3, 32, 32], 1e-5, 12)
}

/// 16 inputs, 4 classes: a weight of 64 elements goes through `nodes` from `w` to `matrix`.
fn linear(weight: TensorSpec, others: Vec<TensorSpec>, nodes: impl FnOnce(&mut ModelBuilder)) -> Vec<u8> {
    let mut model = ModelBuilder::new("linear");
    let batch = BuildDim::Named("batch");
    model.graph().input("x", ElemType::F32, &[batch, BuildDim::Fixed(16)]);
    model.graph().initializer(weight);
    others.into_iter().for_each(|other| {
        model.graph().initializer(other);
    });
    nodes(&mut model);
    model.graph().node("MatMul", &["x", "matrix"], &["y"], &[]);
    model.graph().output("y", ElemType::F32, &[batch, BuildDim::Fixed(4)]);
    model.finish()
}

/// Constants that are computed from weights before the first image must be computed from the faulty weights.
#[test]
fn every_format_and_folded_constants() -> Tested {
    let formats = [
        (ElemType::F32, 4),
        (ElemType::F16, 2),
        (ElemType::Bf16, 2),
        (ElemType::F64, 8),
        (ElemType::I16, 2),
        (ElemType::U16, 2),
        (ElemType::I8, 1),
        (ElemType::U8, 1),
    ];
    let mut random = SplitMix64::new(5);
    for (elem_type, size) in formats {
        let words: Vec<u8> = (0..64 * size).map(|_| random.below(0x40) as u8).collect();
        let weight = TensorSpec::raw("w", elem_type, &[16, 4], &words);
        let bytes = linear(weight, Vec::new(), |model| {
            model.graph().node("Cast", &["w"], &["matrix"], &[("to", AttrValue::Int(1))]);
        });
        compare(&format!("{elem_type:?}"), &bytes, &[16], 0.02, 40)?;
    }
    let words: Vec<u8> = (0..64 * 4).map(|_| random.below(0x40) as u8).collect();
    let scale = vec![TensorSpec::f32("scale", &[], &[1e-6])];
    // Plain 32-bit integers count as settings, which are not lent; quantized ones as weights.
    let bytes = linear(TensorSpec::raw("w", ElemType::I32, &[16, 4], &words), scale, |model| {
        model.graph().node("DequantizeLinear", &["w", "scale"], &["matrix"], &[]);
    });
    compare("I32", &bytes, &[16], 0.02, 40)?;
    let words: Vec<u8> = (0..64).map(|_| random.below(256) as u8).collect();
    let quantized = TensorSpec::raw("w", ElemType::I8, &[4, 16], &words);
    let parameters = vec![
        TensorSpec::f32("scale", &[4], &[0.1, 0.2, 0.3, 0.4]),
        TensorSpec::raw("zero", ElemType::I8, &[4], &[0, 1, 2, 3]),
    ];
    let bytes = linear(quantized, parameters, |model| {
        let axis = [("axis", AttrValue::Int(0))];
        model.graph().node("DequantizeLinear", &["w", "scale", "zero"], &["rows"], &axis);
        model.graph().node("Transpose", &["rows"], &["matrix"], &[]);
    });
    compare("i8, dequantized and transposed", &bytes, &[16], 0.02, 60)
}

/// A weight that is an output as well, and one that only a subgraph reads, are read where they are.
#[test]
fn weights_at_odd_places() -> Tested {
    let mut model = ModelBuilder::new("odd");
    let batch = BuildDim::Named("batch");
    model.graph().input("x", ElemType::F32, &[batch, BuildDim::Fixed(2)]);
    model.graph().initializer(TensorSpec::f32("w", &[2, 2], &[1.0, -2.0, 3.0, 0.5]));
    model.graph().initializer(TensorSpec::f32("deep", &[2], &[0.25, 4.0]));
    model.graph().initializer(TensorSpec::raw("yes", ElemType::Bool, &[], &[1]));
    let branch = |op| {
        let mut graph = bitquake_graph::build::GraphBuilder::new(op);
        graph.node(op, &["product", "deep"], &["inner"], &[]);
        graph.output("inner", ElemType::F32, &[batch, BuildDim::Fixed(2)]);
        AttrValue::Graph(graph)
    };
    model.graph().node("MatMul", &["x", "w"], &["product"], &[]);
    let branches = [("then_branch", branch("Add")), ("else_branch", branch("Sub"))];
    model.graph().node("If", &["yes"], &["y"], &branches);
    model.graph().output("y", ElemType::F32, &[batch, BuildDim::Fixed(2)]);
    model.graph().output("w", ElemType::F32, &[BuildDim::Fixed(2), BuildDim::Fixed(2)]);
    compare("odd", &model.finish(), &[2], 0.02, 60)
}

/// Rows that cannot be made.
struct Refuses;

impl RowFaults for Refuses {
    fn stops(&self, _row: usize) -> &[Stop] {
        &[Stop { boundary: 0, looks_back: false }]
    }

    fn apply(&self, _: usize, _: usize, _: &mut RowValues<'_>) -> Result<(), EngineError> {
        Err(EngineError::Unsupported { model: "m".into(), reason: "refused".into() })
    }
}

/// The faults go on every way out.
#[test]
fn errors_leave_no_trace() -> Tested {
    let weight = TensorSpec::f32("matrix", &[16, 4], &[1.0; 64]);
    let model = model(&linear(weight, Vec::new(), |_| {}), ALL)?;
    let before = model.image().words("matrix").map(|words| words.bytes().to_vec());
    let pixels = vec![1.0; 32];
    let data = Dataset::new(pixels.clone(), vec![16], vec![0, 9])?; // no such class
    let error = Evaluator::new(model.clone(), &data, 1, Threads::Caller)?.golden(0);
    assert!(matches!(error, Err(EngineError::Labels { .. })), "{:?}", error.err());
    let data = Dataset::new(pixels, vec![16], vec![0, 1])?;
    let space = space(&model)?;
    let mut evaluator = Evaluator::new(model, &data, 1, Threads::Caller)?;
    let faults = Hits::Rate(Rate::new(0.5)?);
    let pattern = faults.flips(&space, &StreamKey { seed: 1, point: 0, trial: 0 })?;
    let golden = evaluator.golden(0)?;
    let error = evaluator.run(&[0, 1], &pattern, &Refuses, &golden, &mut |_, _| ());
    assert!(matches!(error, Err(EngineError::Unsupported { .. })), "{error:?}");
    assert_eq!(evaluator.model().image().words("matrix").map(|words| words.bytes().to_vec()), before);
    Ok(())
}
