//! How many bits of the memory of the weights an inference reads.

use std::collections::HashMap;

use bitquake_campaign::{CampaignError, Config, model_digests};
use bitquake_data::{load, load_images};
use bitquake_energy::{Reading, Reads};
use bitquake_engine::{Model, activations};
use bitquake_graph::Graph;
use bitquake_record::{Golden, RecordError, ResultDir};
use bitquake_tensors::TensorFile;
use bitquake_tensors::onnx::Node;

use crate::error::Error;
use crate::inspect::{InspectedTensor, inspect_stored};

/// Dimensions of values for one image, without the batch.
type Dims = HashMap<String, Vec<u64>>;

/// What an inference of the campaign's network reads: the bits that faults may hit, and the others.
///
/// # Errors
/// [`Error`] when the model is missing, not the one that ran, or cannot be stored as it was.
pub(super) fn reading(
    config: &Config,
    golden: &Golden,
    dir: &ResultDir,
    reads: Reads,
) -> Result<Reading, Error> {
    let bits = config.fault.bits().map_err(|reason| invalid(dir, reason))?;
    let file = TensorFile::open(&config.model.path)?;
    check_model(config, golden, &file, dir)?;
    let uses = match reads {
        Reads::Once => HashMap::new(),
        Reads::EachUse => uses(file, config, dir)?,
    };
    let inspected = inspect_stored(&config.model.path, &config.storage, config.fault.select(), bits)?;
    let stored = inspected.tensors.iter().filter(|tensor| tensor.has_format && tensor.role != "attribute");
    Ok(stored.fold(Reading::default(), |sum, tensor| {
        let times = uses.get(&tensor.tensor).copied().unwrap_or(1.0);
        let (exposed, all) = bits_of(tensor);
        Reading { exposed: sum.exposed + times * exposed, safe: sum.safe + times * (all - exposed) }
    }))
}

fn invalid(dir: &ResultDir, reason: String) -> RecordError {
    RecordError::Invalid { path: dir.path().to_owned(), reason }
}

/// That the model on the disk is the one whose errors were measured.
fn check_model(config: &Config, golden: &Golden, file: &TensorFile, dir: &ResultDir) -> Result<(), Error> {
    let is_same = |(key, digest): (String, String)| golden.identity.get(&key) == Some(&digest);
    if model_digests(file.content_hash_parts()).all(is_same) {
        return Ok(());
    }
    let path = config.model.path.display();
    Err(invalid(dir, format!("{path} is not the model that this campaign ran: it has changed since")).into())
}

/// The bits of a tensor that faults may hit, and all of them, with scales, zero points and check bits.
fn bits_of(tensor: &InspectedTensor) -> (f64, f64) {
    let Some(stored) = &tensor.stored else { return (tensor.bits as f64, tensor.file_bits as f64) };
    let exposed = tensor.bits + stored.parts.iter().map(|part| part.bits).sum::<u64>();
    (exposed as f64, stored.bits as f64)
}

/// How often one inference uses each weight, from the shapes of the outputs of the nodes that take it.
fn uses(file: TensorFile, config: &Config, dir: &ResultDir) -> Result<HashMap<String, f64>, Error> {
    let model = Model::new(file).map_err(CampaignError::from)?;
    let load = if config.outcome.is_some() { load_images } else { load };
    let data = load(&config.data, std::path::Path::new("")).map_err(CampaignError::from)?;
    let dims: Dims = activations(&model, &data)?
        .into_iter()
        .map(|activation| (activation.value.name, activation.value.dims))
        .collect();
    let mut uses: HashMap<String, f64> = HashMap::new();
    let file = TensorFile::open(&config.model.path)?;
    let graph = Graph::from_file(&file).map_err(|error| invalid(dir, error.to_string()))?;
    for node in graph.nodes() {
        for (place, input) in node.inputs.iter().enumerate() {
            let Some(tensor) = file.tensor(input) else { continue };
            *uses.entry(input.clone()).or_default() += node_uses(node, place, tensor.elements(), &dims);
        }
    }
    Ok(uses)
}

/// How often a node uses each element of an input for one image: for a convolution's weight each pixel of the output, for a matrix each of its
/// rows, else as often as the output has room for the tensor, and at least once.
fn node_uses(node: &Node, place: usize, elements: u64, dims: &Dims) -> f64 {
    let Some(output) = node.outputs.first().and_then(|name| dims.get(name)) else { return 1.0 };
    let all: u64 = output.iter().product();
    let times = match (node.op_type.as_str(), place) {
        ("Conv" | "ConvTranspose", 1) => output.iter().skip(1).product(),
        ("Gemm" | "MatMul", 0 | 1) => output.iter().rev().skip(1).product(),
        _ => all / elements.max(1),
    };
    times.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(op_type: &str) -> Node {
        Node {
            name: String::new(),
            op_type: op_type.into(),
            domain: String::new(),
            inputs: vec!["x".into(), "w".into(), "b".into()],
            outputs: vec!["y".into()],
            attributes: Vec::new(),
        }
    }

    #[test]
    fn uses_follow_the_output() {
        let dims = |dims: &[u64]| Dims::from([("y".to_owned(), dims.to_vec())]);
        let cases = [
            ("Conv", 1, 432, &[16, 28, 28][..], 784.0),
            ("Conv", 2, 16, &[16, 28, 28], 784.0),
            ("BatchNormalization", 1, 16, &[16, 28, 28], 784.0),
            ("Gemm", 1, 840, &[10], 1.0),
            ("Gemm", 2, 10, &[10], 1.0),
            ("MatMul", 1, 64, &[5, 8], 5.0),
            ("Add", 1, 40, &[5, 8], 1.0),
            ("Gather", 0, 1000, &[5, 8], 1.0),
        ];
        for (op_type, place, elements, output, wanted) in cases {
            assert_eq!(
                node_uses(&node(op_type), place, elements, &dims(output)),
                wanted,
                "{op_type} {place}"
            );
        }
        assert_eq!(node_uses(&node("Conv"), 1, 9, &Dims::new()), 1.0);
    }
}
