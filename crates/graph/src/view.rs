//! Looking at the graph of a file.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use bitquake_tensors::onnx::{Node, OnnxGraph, OnnxModel, ValueInfo};
use bitquake_tensors::{FileKind, TensorFile};
use thiserror::Error;

use crate::folded::{FoldedEvidence, folded_evidence};
use crate::guard::unguarded_name;

/// Why a file has no graph to look at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The file is of a kind without a graph.
    #[error("{} is a {kind} file, which has no graph: only ONNX models do", .path.display())]
    NoGraph {
        /// The file.
        path: PathBuf,
        /// Its kind.
        kind: FileKind,
    },
}

/// A view of the graph of an ONNX model. It copies nothing.
///
/// ```
/// use bitquake_graph::{Graph, resnet::resnet20};
/// use bitquake_tensors::{TensorFile, onnx::Dim};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("resnet20.onnx");
/// std::fs::write(&path, resnet20(1))?;
/// let file = TensorFile::open(&path)?;
/// let graph = Graph::from_file(&file)?;
/// assert_eq!(graph.inputs().len(), 1); // the initializers are not counted
/// assert_eq!(graph.outputs()[0].name, "logits");
/// assert_eq!(graph.op_counts()["Conv"], 21);
/// assert!(!graph.output_is_probabilities());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Graph<'f> {
    model: &'f OnnxModel,
}

impl<'f> Graph<'f> {
    /// The graph of a file.
    ///
    /// # Errors
    /// [`GraphError::NoGraph`] if the file is not an ONNX model.
    pub fn from_file(file: &'f TensorFile) -> Result<Graph<'f>, GraphError> {
        let missing = || GraphError::NoGraph { path: file.path().to_owned(), kind: file.kind() };
        file.onnx().map(|model| Graph { model }).ok_or_else(missing)
    }

    /// The graph of a model.
    #[must_use]
    pub fn of(model: &'f OnnxModel) -> Graph<'f> {
        Graph { model }
    }

    /// The inputs that a caller must give: those of the main graph that have no initializer, in file order.
    pub fn inputs(&self) -> Vec<&'f ValueInfo> {
        required_inputs(self.main())
    }

    /// The outputs of the main graph, in file order.
    pub fn outputs(&self) -> &'f [ValueInfo] {
        &self.main().outputs
    }

    /// The version of the standard operator set; `None` if the model imports none.
    pub fn opset(&self) -> Option<i64> {
        self.model.opset()
    }

    /// The nodes of the main graph, in file order. Nodes of subgraphs are in their attributes.
    pub fn nodes(&self) -> &'f [Node] {
        &self.main().nodes
    }

    /// The main graph.
    pub fn main(&self) -> &'f OnnxGraph {
        &self.model.graph
    }

    /// How often each operator occurs, in the main graph, all subgraphs and the functions' bodies. The key is the
    /// operator's name, with its domain before it (`com.microsoft.QGemm`) if that is not the standard one.
    pub fn op_counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.visit(&mut |node| *counts.entry(qualified(node)).or_insert(0) += 1);
        counts
    }

    /// Whether batch normalization looks folded into the convolutions, so that faults would hit folded weights; the
    /// evidence if so. See [`FoldedEvidence`] for the rule.
    pub fn batch_norm_looks_folded(&self) -> Option<FoldedEvidence> {
        folded_evidence(self)
    }

    /// Whether the first output is computed by a `Softmax` (not `LogSoftmax`), directly or through operators that
    /// keep values as they are (`Identity`, `Reshape`, `Flatten`, `Squeeze`, `Unsqueeze`, `Cast`, and [guards](crate::guard)).
    pub fn output_is_probabilities(&self) -> bool {
        let mut name = match self.outputs().first() {
            Some(output) => output.name.as_str(),
            None => return false,
        };
        // A valid graph has no cycles; the bound is for the others.
        for _ in 0..=self.nodes().len() {
            if let Some(unguarded) = self.unguarded(name) {
                name = unguarded;
            }
            let Some(node) = self.producer(name).filter(|node| node.is_standard()) else { return false };
            match (node.op_type.as_str(), node.inputs.first()) {
                ("Softmax", _) => return true,
                ("Identity" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Cast", Some(input)) => {
                    name = input
                }
                _ => return false,
            }
        }
        false
    }

    /// What a guarded value is called before its guard.
    fn unguarded(&self, value: &str) -> Option<&'f str> {
        let wanted = unguarded_name(value);
        let outputs = self.nodes().iter().flat_map(|node| &node.outputs);
        outputs.map(String::as_str).find(|output| *output == wanted)
    }

    /// The node of the main graph that computes a value.
    fn producer(&self, value: &str) -> Option<&'f Node> {
        self.nodes()
            .iter()
            .find(|node| !value.is_empty() && node.outputs.iter().any(|output| output == value))
    }

    /// Calls `look` for every node, subgraphs and functions included.
    pub(crate) fn visit(&self, look: &mut dyn FnMut(&'f Node)) {
        visit(self.main(), look);
        self.model.functions.iter().for_each(|function| visit(&function.body, look));
    }
}

/// The inputs of a graph that have no initializer, in file order.
pub(crate) fn required_inputs(graph: &OnnxGraph) -> Vec<&ValueInfo> {
    let stored: HashSet<&str> = graph.initializers.iter().map(|stored| stored.name.as_str()).collect();
    graph.inputs.iter().filter(|input| !stored.contains(input.name.as_str())).collect()
}

fn visit<'f>(graph: &'f OnnxGraph, look: &mut dyn FnMut(&'f Node)) {
    graph.nodes.iter().for_each(|node| visit_node(node, look));
}

/// Calls `look` for a node and the nodes of its subgraphs.
pub(crate) fn visit_node<'f>(node: &'f Node, look: &mut dyn FnMut(&'f Node)) {
    look(node);
    node.attributes.iter().flat_map(|attribute| attribute.value.graphs()).for_each(|sub| visit(sub, look));
}

/// The operator's name, with its domain before it if that is not the standard one.
pub(crate) fn qualified(node: &Node) -> String {
    if node.is_standard() { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) }
}
