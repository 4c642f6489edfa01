//! What can go wrong with a differentiable network.

use bitquake_graph::plan::PlanError;
use bitquake_tensors::TensorsError;

use crate::Device;

/// Why a network could not be built, run or differentiated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradError {
    /// The bytes are no ONNX model.
    #[error(transparent)]
    File(#[from] TensorsError),
    /// The graph cannot be made ready to run.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A node's operator cannot be differentiated.
    #[error("node `{node}`: operator {operator} is not supported; supported are {supported}")]
    UnsupportedOperator {
        /// The node.
        node: String,
        /// Its operator, with the domain if that is not the standard one.
        operator: String,
        /// All supported operators.
        supported: String,
    },
    /// A node cannot be computed: an attribute, a shape or an input is wrong.
    #[error("node `{node}` ({operator}): {problem}")]
    Node {
        /// The node.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong, with the values.
        problem: String,
    },
    /// The images do not fit.
    #[error("{problem}")]
    Images {
        /// What is wrong, with the numbers.
        problem: String,
    },
    /// The objective does not fit the first output.
    #[error("{problem}")]
    Objective {
        /// What is wrong, with the numbers.
        problem: String,
    },
    /// There is no parameter of this index.
    #[error("parameter {index} is wanted; there are {count}")]
    NoParameter {
        /// The index.
        index: usize,
        /// How many parameters there are.
        count: usize,
    },
    /// A parameter has another number of elements.
    #[error("parameter `{parameter}` has {expected} elements, {found} are given")]
    ParameterLength {
        /// The parameter.
        parameter: String,
        /// Its elements.
        expected: usize,
        /// The elements given.
        found: usize,
    },
    /// An edit is of an element that a parameter does not have.
    #[error("element {element} of parameter `{parameter}` is wanted; it has {elements}")]
    NoElement {
        /// The parameter.
        parameter: String,
        /// The element.
        element: usize,
        /// How many elements it has.
        elements: usize,
    },
    /// There is no float value of this name.
    #[error("no node computes a float value `{value}`")]
    NoValue {
        /// The name.
        value: String,
    },
    /// The device is not there.
    #[error("device {device}: {problem}")]
    Device {
        /// The device.
        device: Device,
        /// Why, and what to do.
        problem: String,
    },
    /// There is not enough memory for a pass, however little it keeps of its images.
    #[error(
        "a pass of {batch} images needs at least {} MiB more than it has, the system can give {} MiB: use a smaller batch",
        .needed.div_ceil(1 << 20),
        .available >> 20
    )]
    Memory {
        /// The images.
        batch: usize,
        /// The least bytes that the pass would take.
        needed: usize,
        /// The bytes that the system can give.
        available: usize,
    },
    /// A pass takes more memory than it may, however little it keeps of its images.
    #[error(
        "a pass of {batch} images works with at least {} MiB, the limit is {} MiB: use a smaller batch or a higher limit",
        .needed.div_ceil(1 << 20),
        .limit >> 20
    )]
    MemoryLimit {
        /// The images.
        batch: usize,
        /// The least bytes that the pass would work with.
        needed: usize,
        /// The most that it may.
        limit: usize,
    },
    /// The memory of passes cannot be limited.
    #[error("memory cannot be limited: {because}")]
    NoMemoryLimit {
        /// Why.
        because: String,
    },
    /// The backend gave up where every check had passed.
    #[error("the backend failed{}: {message}", .node.as_ref().map(|node| format!(" at node `{node}`")).unwrap_or_default())]
    Backend {
        /// The node that ran, if one did.
        node: Option<String>,
        /// The backend's message.
        message: String,
    },
}
