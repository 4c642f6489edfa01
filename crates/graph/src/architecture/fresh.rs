//! Initial weights for the graph of a file, in place of those it has.

use std::collections::BTreeMap;

use bitquake_sample::StreamKey;
use bitquake_tensors::onnx::Node;
use bitquake_tensors::{Dtype, Role, TensorFile, TensorInfo};

use super::initial::{Fans, Initial};
use super::options::{Distribution, Fan};
use crate::{Graph, GraphError};

/// How a parameter of a node begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begin {
    All(f32),
    Random,
}

const ZERO: Begin = Begin::All(0.0);
const ONE: Begin = Begin::All(1.0);

/// Operators with parameters, and how the inputs behind the first begin.
const PARAMETERS: &[(&str, &[Begin])] = &[
    ("Conv", &[Begin::Random, ZERO]),
    ("Gemm", &[Begin::Random, ZERO]),
    ("MatMul", &[Begin::Random]),
    ("BatchNormalization", &[ONE, ZERO, ZERO, ONE]),
    ("LayerNormalization", &[ONE, ZERO]),
    ("GroupNormalization", &[ONE, ZERO]),
    ("InstanceNormalization", &[ONE, ZERO]),
    // He et al. 2015, section 2.1.
    ("PRelu", &[Begin::All(0.25)]),
];

/// Why the weights of a file cannot be drawn anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreshError {
    /// The file has no graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A weight that is no parameter of an operator whose beginnings are known.
    #[error(
        "tensor {tensor} of shape {shape:?} and type {dtype}: it is not known how such a weight begins; known are f32 weights, biases, \
         scales and statistics of {}",
        operators()
    )]
    Unknown {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Its type.
        dtype: Dtype,
    },
}

fn operators() -> String {
    PARAMETERS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// First values for every weight and statistic of a file, by name: a training from the beginning, of a network that is not
/// built in.
///
/// Weights of `Conv`, `Gemm` and `MatMul` are drawn as those of an [`Architecture`](super::Architecture) are by default, Kaiming normal
/// (He et al. 2015) with the gain of a rectifier, sqrt(2), over the fan in; they are a function of the seed and the tensor's name.
/// Biases and shifts are 0, scales 1, running means 0, running variances 1. Settings (shapes, bounds) are not among them.
///
/// # Errors
/// [`FreshError`]: the file is no ONNX model, or has a weight that is no parameter of one of these operators.
///
/// ```
/// use bitquake_graph::architecture::fresh_weights;
/// use bitquake_graph::resnet::resnet20;
/// use bitquake_tensors::TensorFile;
///
/// let file = TensorFile::from_onnx_bytes(resnet20(1))?;
/// let fresh = fresh_weights(&file, 7)?;
/// assert!(fresh.iter().any(|(name, values)| name.ends_with("running_var") && values.iter().all(|&x| x == 1.0)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fresh_weights(file: &TensorFile, seed: u64) -> Result<Vec<(String, Vec<f32>)>, FreshError> {
    let graph = Graph::from_file(file)?;
    let begins = begins(&graph);
    let is_learnt = |tensor: &&TensorInfo| matches!(tensor.role, Role::Weight | Role::Statistic);
    let of_tensor = |tensor: &TensorInfo| {
        let values = begins
            .get(tensor.name.as_str())
            .filter(|_| tensor.dtype.to_string() == "f32")
            .and_then(|known| values(tensor, known, seed));
        let unknown = || FreshError::Unknown {
            tensor: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype.clone(),
        };
        values.map(|values| (tensor.name.clone(), values)).ok_or_else(unknown)
    };
    file.tensors().iter().filter(is_learnt).map(of_tensor).collect()
}

/// How the tensors of the main graph begin, and the nodes that say so: the first one that takes it.
fn begins<'f>(graph: &Graph<'f>) -> BTreeMap<&'f str, (Begin, &'f Node)> {
    let main = graph.main();
    let stored = main.initializers.iter().chain(&main.constants);
    let tensors: BTreeMap<&str, &str> =
        stored.map(|stored| (stored.name.as_str(), stored.tensor.as_str())).collect();
    let mut found = BTreeMap::new();
    for node in graph.nodes().iter().filter(|node| node.is_standard()) {
        let Some((_, begins)) = PARAMETERS.iter().find(|(name, _)| *name == node.op_type) else { continue };
        for (input, &begin) in node.inputs.iter().skip(1).zip(*begins) {
            if let Some(&tensor) = tensors.get(input.as_str()) {
                found.entry(tensor).or_insert((begin, node));
            }
        }
    }
    found
}

/// The first values of a tensor; `None` if its shape is none that the operator takes.
fn values(tensor: &TensorInfo, &(begin, node): &(Begin, &Node), seed: u64) -> Option<Vec<f32>> {
    let count = usize::try_from(tensor.elements()).ok()?;
    match begin {
        Begin::All(value) => Some(vec![value; count]),
        Begin::Random => {
            let fans = fans(&tensor.shape, node)?;
            let initial = Initial {
                distribution: Distribution::KaimingNormal,
                fan: Fan::In,
                gain: std::f64::consts::SQRT_2,
            };
            let key = StreamKey { seed, point: 0, trial: 0 }.part("initial weights");
            Some(initial.values(&fans, &mut key.tensor(&tensor.name).words(0), tensor.elements()))
        }
    }
}

fn fans(shape: &[u64], node: &Node) -> Option<Fans> {
    let [fan_in, fan_out] = match (node.op_type.as_str(), shape) {
        ("Conv", [outputs, inputs, kernel @ ..]) => {
            let area: u64 = kernel.iter().product();
            [inputs * area, outputs * area]
        }
        ("Gemm", &[rows, columns]) if is_transposed(node) => [columns, rows],
        ("Gemm" | "MatMul", &[rows, columns]) => [rows, columns],
        _ => return None,
    };
    (fan_in > 0).then_some(Fans { fan_in, fan_out, always_in: true })
}

fn is_transposed(node: &Node) -> bool {
    use bitquake_tensors::onnx::AttributeValue;
    matches!(node.attribute("transB"), Some(AttributeValue::Int(1)))
}

#[cfg(test)]
mod tests {
    use super::super::{Architecture, Norm};
    use super::*;

    fn file(architecture: &Architecture, seed: u64) -> TensorFile {
        TensorFile::from_onnx_bytes(architecture.build(seed).unwrap()).unwrap()
    }

    fn words(file: &TensorFile, name: &str) -> Vec<f32> {
        use bitquake_bits::WordStore;
        let words = file.words(name).unwrap();
        (0..words.elements()).map(|index| f32::from_bits(words.get(index).unwrap() as u32)).collect()
    }

    #[test]
    fn a_built_in_network_begins_as_it_was_built() {
        let mut lenet = Architecture::new("lenet5", [1, 28, 28], 10);
        lenet.norm = Some(Norm::Bn);
        let (old, built) = (file(&lenet, 1), file(&lenet, 7));
        let fresh = fresh_weights(&old, 7).unwrap();
        let random = fresh.iter().filter(|(name, _)| words(&old, name) != words(&built, name)).count();
        assert!(random >= 5, "{random} random tensors");
        for (name, values) in fresh {
            assert_eq!(values, words(&built, &name), "{name}");
        }
    }

    #[test]
    fn what_no_operator_explains_is_named() {
        use crate::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
        let mut model = ModelBuilder::new("shifted");
        let dims = [BuildDim::Named("batch"), BuildDim::Fixed(2)];
        model.graph().input("x", ElemType::F32, &dims);
        model.graph().initializer(TensorSpec::f32("token", &[2], &[0.5, -1.0]));
        model.graph().node("Add", &["x", "token"], &["y"], &[]);
        model.graph().output("y", ElemType::F32, &dims);
        let file = TensorFile::from_onnx_bytes(model.finish()).unwrap();
        let message = fresh_weights(&file, 1).unwrap_err().to_string();
        assert!(
            message.starts_with("tensor token of shape [2] and type f32: it is not known how"),
            "{message}"
        );
        assert!(message.contains("Conv, Gemm"), "{message}");
    }
}
