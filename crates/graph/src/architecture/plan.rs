//! A network while it is put together: its nodes, and its tensors without their values.

use bitquake_sample::StreamKey;
use bitquake_tensors::Role;

use super::ArchitectureError;
use super::initial::{Fans, Initial};
use super::resolve::Resolved;
use crate::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};

/// A message of protobuf holds less than 2 GiB; 16 MiB are left for everything that is no number.
const MOST_NUMBERS: u64 = (1 << 29) - (1 << 22);

/// A stored tensor of a network that is not built yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<u64>,
    /// What it will be in the file: a weight is trained, a statistic is measured, an attribute stays.
    pub role: Role,
    fill: Fill,
}

/// What a tensor holds at first.
#[derive(Clone, Debug, PartialEq)]
enum Fill {
    All(f32),
    Values(Vec<f32>),
    Numbers(Vec<i64>),
    Random(Fans),
}

impl PlannedTensor {
    /// The number of elements; `u64::MAX` if there are more.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |product, &size| product.saturating_mul(size))
    }

    /// The tensor with its first values.
    pub(super) fn spec(&self, initial: &Initial, seed: u64) -> TensorSpec {
        let values = match &self.fill {
            Fill::Numbers(numbers) => return TensorSpec::i64(&self.name, &self.shape, numbers),
            Fill::All(value) => vec![*value; self.elements() as usize],
            Fill::Values(values) => values.clone(),
            Fill::Random(fans) => {
                let key = StreamKey { seed, point: 0, trial: 0 }.part("initial weights");
                initial.values(fans, &mut key.tensor(&self.name).words(0), self.elements())
            }
        };
        let tensor = TensorSpec::f32(&self.name, &self.shape, &values);
        if self.role == Role::Attribute { tensor.setting() } else { tensor }
    }
}

/// A value with height and width.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    pub(super) name: String,
    pub(super) channels: u64,
    pub(super) height: u64,
    pub(super) width: u64,
}

/// A value without.
#[derive(Clone, Debug)]
pub(super) struct Features {
    pub(super) name: String,
    pub(super) count: u64,
}

/// The network so far.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) options: Resolved,
    model: ModelBuilder,
    tensors: Vec<PlannedTensor>,
}

impl Plan {
    /// A network with an input `images` and an output `logits`, and nothing between.
    pub(super) fn new(options: Resolved) -> Plan {
        let mut model = ModelBuilder::with_settings(options.row.name);
        let batch = BuildDim::Named("batch");
        let [channels, height, width] = options.input.map(BuildDim::Fixed);
        model.graph().input("images", ElemType::F32, &[batch, channels, height, width]);
        model.graph().output("logits", ElemType::F32, &[batch, BuildDim::Fixed(options.classes)]);
        Plan { options, model, tensors: Vec::new() }
    }

    /// The model without its tensors, the tensors, and how random ones are filled.
    pub(super) fn into_parts(self) -> (ModelBuilder, Vec<PlannedTensor>, Initial) {
        (self.model, self.tensors, self.options.initial)
    }

    /// Whether a file can hold the tensors.
    pub(super) fn check_size(&self) -> Result<(), ArchitectureError> {
        let parameters =
            self.tensors.iter().fold(0, |sum: u64, tensor| sum.saturating_add(tensor.elements()));
        if parameters <= MOST_NUMBERS {
            return Ok(());
        }
        Err(ArchitectureError::TooLarge { parameters, most: MOST_NUMBERS })
    }

    /// Adds the node `name`; its output is `<name>.out`.
    pub(super) fn node(
        &mut self,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: &[(&str, AttrValue)],
    ) -> String {
        let output = format!("{name}.out");
        self.node_to(&output, name, op_type, inputs, attributes);
        output
    }

    /// Adds the node `name` with an output of another name.
    pub(super) fn node_to(
        &mut self,
        output: &str,
        name: &str,
        op_type: &str,
        inputs: &[&str],
        attributes: &[(&str, AttrValue)],
    ) {
        self.model.graph().named_node(name, op_type, inputs, &[output], attributes);
    }

    /// Adds a parameter that begins random.
    pub(super) fn random_weight(&mut self, name: &str, shape: &[u64], fans: Fans) -> String {
        self.tensor(name, shape, Role::Weight, Fill::Random(fans))
    }

    /// Adds a parameter that begins with one value everywhere.
    pub(super) fn weight(&mut self, name: &str, shape: &[u64], value: f32) -> String {
        self.tensor(name, shape, Role::Weight, Fill::All(value))
    }

    /// Adds a running statistic.
    pub(super) fn statistic(&mut self, name: &str, shape: &[u64], value: f32) -> String {
        self.tensor(name, shape, Role::Statistic, Fill::All(value))
    }

    /// A constant, which is added if none has that name yet.
    pub(super) fn constant(&mut self, name: &str, shape: &[u64], values: &[f32]) -> String {
        self.once(name, shape, Fill::Values(values.to_vec()))
    }

    /// The shape of a value, as [`Plan::constant`].
    pub(super) fn shape(&mut self, name: &str, sizes: &[i64]) -> String {
        self.once(name, &[sizes.len() as u64], Fill::Numbers(sizes.to_vec()))
    }

    fn once(&mut self, name: &str, shape: &[u64], fill: Fill) -> String {
        if self.tensors.iter().any(|tensor| tensor.name == name) {
            return name.to_owned();
        }
        self.tensor(name, shape, Role::Attribute, fill)
    }

    fn tensor(&mut self, name: &str, shape: &[u64], role: Role, fill: Fill) -> String {
        self.tensors.push(PlannedTensor { name: name.to_owned(), shape: shape.to_vec(), role, fill });
        name.to_owned()
    }
}
