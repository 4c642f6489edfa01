//! The project's own kernels against ONNX Runtime: the same classes, the same values to rounding, the same NaNs and infinities, with and
//! without faults; and what holds of them alone: faults undone exactly, the same bits in any batch and on any number of threads.
//!
//! ONNX Runtime passes over a NaN in a window of `MaxPool` in some positions. The own kernels keep it, as IEEE 754's maximum does; so where a
//! network has such a pool, its NaNs may be fewer in ONNX Runtime, and only there.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;

use bitquake_bits::{BitSelection, Format};
use bitquake_data::Dataset;
use bitquake_engine::{
    EngineError, Evaluator, GoldenRun, Model, Native, NoFaults, RowFaults, RowValues, Stop, Threads,
};
use bitquake_fault::{Candidate, FaultPattern, FaultSpace, Hits, Selector, TensorFlips};
use bitquake_graph::architecture::Architecture;
use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_graph::resnet::resnet20;
use bitquake_sample::{Rate, StreamKey};
use bitquake_tensors::{Role, TensorFile, TensorInfo};
use bitquake_testing::SplitMix64;

const IMAGES: usize = 40;

/// A model, the shape of its images, and whether a maximum over windows may lose a NaN in ONNX Runtime.
type Case = (&'static str, Model, Vec<usize>, bool);

fn cases() -> Vec<Case> {
    let lenet = Architecture::new("lenet5", [1, 28, 28], 10).build(1).unwrap();
    vec![
        ("fashion", fashion(), vec![1, 28, 28], true),
        ("lenet5", open(&lenet), vec![1, 28, 28], true),
        ("resnet20", open(&resnet20(1)), vec![3, 32, 32], false),
        ("mobile", open(&mobile()), vec![3, 12, 12], false),
    ]
}

fn open(bytes: &[u8]) -> Model {
    Model::new(TensorFile::from_onnx_bytes(bytes.to_vec()).unwrap()).unwrap()
}

fn fashion() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/fashion-cnn/fashion_cnn.onnx");
    Model::new(TensorFile::open(&path).unwrap()).unwrap()
}

/// Inverted residuals as MobileNet-V2 has them (Sandler et al. 2018): expansion, a depthwise convolution, projection, batch norms, ReLU6; at
/// the end a softmax.
fn mobile() -> Vec<u8> {
    let mut net = Mobile { model: ModelBuilder::new("mobile"), random: SplitMix64::new(8), count: 0 };
    let batch = BuildDim::Named("batch");
    let image = [batch, BuildDim::Fixed(3), BuildDim::Fixed(12), BuildDim::Fixed(12)];
    net.model.graph().input("images", ElemType::F32, &image);
    for (name, bound) in [("zero", 0.0), ("six", 6.0)] {
        net.model.graph().initializer(TensorSpec::f32(name, &[], &[bound]));
    }
    let stem = net.layer("images", [3, 20], 1, [3, 2], true);
    let wide = net.layer(&stem, [20, 40], 1, [1, 1], true);
    let deep = net.layer(&wide, [40, 40], 40, [3, 1], true);
    let narrow = net.layer(&deep, [40, 20], 1, [1, 1], false);
    let graph = net.model.graph();
    graph.node("Add", &[&stem, &narrow], &["sum"], &[]);
    let last = net.layer("sum", [20, 33], 1, [1, 1], true);
    net.parameter("head", &[33, 10], 0.3);
    let graph = net.model.graph();
    graph.node("GlobalAveragePool", &[&last], &["pooled"], &[]);
    graph.node("Flatten", &["pooled"], &["features"], &[]);
    graph.node("MatMul", &["features", "head"], &["logits"], &[]);
    graph.node("Softmax", &["logits"], &["shares"], &[("axis", AttrValue::Int(1))]);
    graph.output("shares", ElemType::F32, &[batch, BuildDim::Fixed(10)]);
    net.model.finish()
}

struct Mobile {
    model: ModelBuilder,
    random: SplitMix64,
    count: usize,
}

impl Mobile {
    fn parameter(&mut self, name: &str, shape: &[u64], scale: f64) {
        let count = shape.iter().product::<u64>();
        let values: Vec<f32> = (0..count).map(|_| (self.random.normal() * scale) as f32).collect();
        self.model.graph().initializer(TensorSpec::f32(name, shape, &values));
    }

    /// A convolution with its batch norm, and a ReLU6 if `is_limited`.
    fn layer(
        &mut self,
        from: &str,
        [read, written]: [u64; 2],
        groups: u64,
        [kernel, stride]: [i64; 2],
        is_limited: bool,
    ) -> String {
        self.count += 1;
        let name = |part: &str| format!("{part}{}", self.count);
        let (weight, conv, norm, out) = (name("weight"), name("conv"), name("norm"), name("out"));
        let affine = ["scale", "shift", "mean", "var"].map(name);
        let fan_in = read / groups * (kernel * kernel) as u64;
        let shape = [written, read / groups, kernel as u64, kernel as u64];
        self.parameter(&weight, &shape, (2.0 / fan_in as f64).sqrt());
        for (name, scale) in affine.iter().zip([0.3, 0.3, 0.1]) {
            self.parameter(name, &[written], scale);
        }
        let variances: Vec<f32> = (0..written).map(|channel| 0.5 + channel as f32 * 0.1).collect();
        let graph = self.model.graph();
        graph.initializer(TensorSpec::f32(&affine[3], &[written], &variances));
        let pad = kernel / 2;
        let attributes = [
            ("group", AttrValue::Int(groups as i64)),
            ("strides", AttrValue::Ints(vec![stride; 2])),
            ("pads", AttrValue::Ints(vec![pad; 4])),
        ];
        graph.node("Conv", &[from, &weight], &[&conv], &attributes);
        let [scale, shift, mean, var] = &affine;
        graph.node("BatchNormalization", &[&conv, scale, shift, mean, var], &[&norm], &[]);
        if !is_limited {
            return norm;
        }
        graph.node("Clip", &[&norm, "zero", "six"], &[&out], &[]);
        out
    }
}

fn images(shape: &[usize], count: usize) -> Dataset {
    let mut random = SplitMix64::new(3);
    let pixels = (0..count * shape.iter().product::<usize>()).map(|_| random.normal() as f32).collect();
    Dataset::new(pixels, shape.to_vec(), (0..count as u32).map(|label| label % 10).collect()).unwrap()
}

fn native<'d>(model: &Model, data: &'d Dataset, threads: Threads) -> Evaluator<'d> {
    let native = Native::new(model, data.image_shape()).unwrap();
    Evaluator::native(model.clone(), native, data, threads).unwrap()
}

/// Random flips in all stored floats.
fn flips(model: &Model, rate: f64, trial: u64) -> FaultPattern {
    let candidates = model.tensors().iter().filter_map(|tensor| {
        Some(Candidate {
            name: &tensor.name,
            format: tensor.dtype.format()?,
            elements: tensor.elements(),
            by_name_only: tensor.role == Role::Attribute,
        })
    });
    let space = FaultSpace::select(candidates, &Selector::all(), BitSelection::All).unwrap();
    Hits::Rate(Rate::new(rate).unwrap()).flips(&space, &StreamKey { seed: 5, point: 0, trial }).unwrap()
}

/// The pattern that writes a value into an element.
fn writing(model: &Model, tensor: &str, element: u64, value: f32) -> FaultPattern {
    use bitquake_bits::WordStore;
    let words = model.image().words(tensor).unwrap();
    let change = words.get(element).unwrap() as u32 ^ value.to_bits();
    let addresses = (0..32).filter(|bit| change >> bit & 1 == 1).map(|bit| element * 32 + bit).collect();
    let flips =
        TensorFlips { tensor: tensor.to_owned(), format: Format::F32, elements: words.elements(), addresses };
    FaultPattern::new(vec![flips]).unwrap()
}

/// NaN, infinities and huge numbers in one weight of a dozen float tensors.
fn special(model: &Model) -> Vec<FaultPattern> {
    let is_float = |tensor: &&TensorInfo| tensor.dtype.format() == Some(Format::F32);
    let floats: Vec<&TensorInfo> = model.tensors().iter().filter(is_float).collect();
    let some = floats.iter().step_by(floats.len().div_ceil(12));
    some.flat_map(|tensor| {
        let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -3e38];
        values.map(|value| writing(model, &tensor.name, tensor.elements() / 2, value))
    })
    .collect()
}

fn class(value: f32) -> &'static str {
    match value {
        value if value.is_nan() => "NaN",
        f32::INFINITY => "inf",
        f32::NEG_INFINITY => "-inf",
        _ => "finite",
    }
}

/// Whether two rows are the same but for rounding, that is `far` of the largest output; the reason if not.
fn compare(own: &[f32], runtime: &[f32], far: f32, may_lose_nan: bool) -> Result<(), String> {
    let largest = |row: &[f32]| row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (&a, &b) in own.iter().zip(runtime) {
        if class(a) != class(b) {
            if may_lose_nan && a.is_nan() {
                return Ok(());
            }
            return Err(format!("{a} is not {b} in {own:?} and {runtime:?}"));
        }
        if a.is_finite() && (a - b).abs() > far * largest(runtime).max(f32::MIN_POSITIVE) {
            return Err(format!("{a} is far from {b} in {own:?} and {runtime:?}"));
        }
    }
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    if own.iter().all(|value| !value.is_nan()) && best(own) != best(runtime) {
        return Err(format!("the best classes of {own:?} and {runtime:?}"));
    }
    Ok(())
}

#[test]
fn the_same_outputs_as_onnx_runtime_with_and_without_faults() {
    for (name, model, shape, may_lose_nan) in cases() {
        let data = images(&shape, IMAGES);
        let mut runtime = Evaluator::new(model.clone(), &data, 16, Threads::Caller).unwrap();
        let mut own = native(&model, &data, Threads::Caller);
        let mut patterns = vec![FaultPattern::empty()];
        patterns.extend((0..6).map(|trial| flips(&model, [1e-5, 1e-4, 1e-3][trial as usize % 3], trial)));
        patterns.extend(special(&model));
        let (mut nonfinite, mut lost) = (0, 0);
        for (place, pattern) in patterns.iter().enumerate() {
            let is_special = place >= 7;
            let count = if is_special { 4 } else { IMAGES };
            // A huge factor leaves one channel, whose products may have cancelled each other: what is left of them has fewer digits.
            let far = if is_special { 1e-4 } else { 1e-5 };
            let (found, wanted) =
                (own.outputs(pattern, count).unwrap(), runtime.outputs(pattern, count).unwrap());
            for (found, wanted) in found.chunks(10).zip(wanted.chunks(10)) {
                compare(found, wanted, far, may_lose_nan).unwrap_or_else(|problem| {
                    panic!("{name}, pattern {place} {pattern:?}: {problem}");
                });
                nonfinite += usize::from(wanted.iter().any(|value| !value.is_finite()));
                lost += usize::from(found.iter().zip(wanted).any(|(a, b)| class(*a) != class(*b)));
            }
        }
        assert!(nonfinite > 20, "{name}: {nonfinite} rows are not finite");
        println!("{name}: {nonfinite} rows not finite, {lost} more NaN");
    }
}

#[test]
fn faults_are_undone_to_the_last_bit() {
    for (name, model, shape, _) in cases() {
        let data = images(&shape, 5);
        let mut own = native(&model, &data, Threads::Caller);
        let golden = own.golden(0).unwrap().golden.outputs;
        let mut changed = 0;
        for pattern in special(&model).iter().chain(&[flips(&model, 1e-2, 1)]) {
            changed += usize::from(bits(&own.outputs(pattern, 5).unwrap()) != bits(&golden));
            assert_eq!(bits(&own.outputs(&FaultPattern::empty(), 5).unwrap()), bits(&golden), "{name}");
        }
        assert!(changed > special(&model).len() / 2, "{name}: {changed} patterns changed something");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn an_image_comes_out_the_same_whatever_is_run_with_it() {
    for (name, model, shape, _) in cases() {
        let data = images(&shape, 260);
        let golden = native(&model, &data, Threads::Engine(3)).golden(0).unwrap();
        let mut own = native(&model, &data, Threads::Caller).letting_go(false);
        for chosen in [vec![0], vec![259, 3, 3], (0..260).collect::<Vec<u32>>()] {
            let mut differing = 0;
            own.run(&chosen, &FaultPattern::empty(), &NoFaults, &golden, &mut |_, output| {
                differing += usize::from(output.is_some());
            })
            .unwrap();
            assert_eq!(differing, 0, "{name} {}", chosen.len());
        }
    }
}

/// A pixel of the input is set in one row.
struct Pixel(Stop);

impl RowFaults for Pixel {
    fn stops(&self, row: usize) -> &[Stop] {
        if row == 1 { std::slice::from_ref(&self.0) } else { &[] }
    }

    fn apply(&self, _: usize, _: usize, values: &mut RowValues<'_>) -> Result<(), EngineError> {
        let name = ["images", "input", "x"].into_iter().find(|name| values.get_mut(name).is_some());
        values.get_mut(name.unwrap()).unwrap()[7] = 1e6;
        Ok(())
    }
}

#[test]
fn faults_in_inputs_are_followed_and_those_in_activations_refused() {
    let model = open(&resnet20(1));
    let data = images(&[3, 32, 32], 3);
    let mut own = native(&model, &data, Threads::Caller);
    let golden: GoldenRun = own.golden(0).unwrap();
    let at = |boundary| Pixel(Stop { boundary, looks_back: false });
    let mut seen = Vec::new();
    own.run(&[0, 2, 1], &FaultPattern::empty(), &at(0), &golden, &mut |row, output| {
        seen.push((row, output.map(<[f32]>::to_vec)));
    })
    .unwrap();
    seen.sort_by_key(|(row, _)| *row);
    let mut pixels = data.images(2..3).to_vec();
    pixels[7] = 1e6;
    let changed = Dataset::new(pixels, vec![3, 32, 32], vec![0]).unwrap();
    let wanted = native(&model, &changed, Threads::Caller).golden(0).unwrap().golden.outputs;
    assert_eq!(seen, [(0, None), (1, Some(wanted)), (2, None)]);
    let error = own.run(&[0, 1], &FaultPattern::empty(), &at(1), &golden, &mut |_, _| ()).unwrap_err();
    assert!(error.to_string().contains("faults and codes in activations"), "{error}");
}

#[test]
fn a_graph_without_kernels_is_refused_with_its_node() {
    let mut model = ModelBuilder::new("odd");
    let dims = [BuildDim::Named("batch"), BuildDim::Fixed(4)];
    model.graph().input("x", ElemType::F32, &dims);
    model.graph().named_node("bend", "Sigmoid", &["x"], &["y"], &[]).output("y", ElemType::F32, &dims);
    let message = Native::new(&open(&model.finish()), &[4]).unwrap_err().to_string();
    for part in ["`bend`", "Sigmoid", "Conv, Gemm", "\"onnxruntime\" may"] {
        assert!(message.contains(part), "{message}");
    }
    let error = Native::new(&open(&resnet20(1)), &[1, 28, 28]).unwrap_err();
    assert!(matches!(error, EngineError::Shape { .. }), "{error}");
}

#[test]
fn a_faulty_shape_is_no_weight() {
    let mut model = ModelBuilder::new("shaped");
    let batch = BuildDim::Named("batch");
    model.graph().input(
        "x",
        ElemType::F32,
        &[batch, BuildDim::Fixed(1), BuildDim::Fixed(2), BuildDim::Fixed(2)],
    );
    model.graph().initializer(TensorSpec::i64("shape", &[2], &[0, -1]));
    model.graph().initializer(TensorSpec::f32("w", &[4, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]));
    model.graph().node("Reshape", &["x", "shape"], &["flat"], &[]);
    model.graph().node("MatMul", &["flat", "w"], &["y"], &[]);
    model.graph().output("y", ElemType::F32, &[batch, BuildDim::Fixed(2)]);
    let model = open(&model.finish());
    let data = Dataset::new(vec![1.0; 8], vec![1, 2, 2], vec![0; 2]).unwrap();
    let mut own = native(&model, &data, Threads::Caller);
    assert_eq!(own.outputs(&FaultPattern::empty(), 1).unwrap(), [16.0, 20.0]);
    let hit = FaultPattern::new(vec![TensorFlips {
        tensor: "shape".into(),
        format: Format::I64,
        elements: 2,
        addresses: vec![3],
    }])
    .unwrap();
    let both = hit.compose(&writing(&model, "w", 0, 100.0)).unwrap();
    let error = own.outputs(&both, 1).unwrap_err();
    assert!(error.to_string().contains("tensor `shape`") && !error.is_refusal(), "{error}");
    assert_eq!(own.outputs(&FaultPattern::empty(), 1).unwrap(), [16.0, 20.0], "undone all the same");
}
