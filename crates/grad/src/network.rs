//! The public face: a graph on a device.

use bitquake_graph::plan::{Plan, Step};
use bitquake_graph::program::lower;
use bitquake_tensors::TensorFile;

use crate::interpreter::guarded;
use crate::model::Model;
use crate::native::Native;
use crate::operators;
use crate::pass::{Gradients, HessianProduct, Mode, Pass, ValueInfo};
use crate::runner::{Engine, Images, Runner};
use crate::{Device, Edit, GradError, Parameter};

/// The most numbers of an image that [`Network::outputs`] makes one of.
const MOST_VALUES: usize = 1 << 26;

/// An ONNX graph with its parameters on a device, differentiable.
///
/// The graph is computed as the file has it: nothing is folded, and what the project's own kernels compute at once they compute in the
/// file's order. On the CPU equal calls give equal bits, on any number of threads.
///
/// ```
/// use bitquake_grad::{Device, Mode, Network, Objective, Pass};
/// use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
///
/// // y = x w, with x = (1, 2) and w = (0.5, -1)
/// let mut model = ModelBuilder::new("linear");
/// model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
/// model.graph().initializer(TensorSpec::f32("w", &[2, 1], &[0.5, -1.0]));
/// model.graph().node("MatMul", &["x", "w"], &["y"], &[]);
/// model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(1)]);
///
/// let network = Network::from_onnx(&model.finish(), Device::Cpu)?;
/// assert_eq!(network.parameters()[0].name, "w");
/// assert_eq!(network.forward(&[1.0, 2.0], 1, Mode::Evaluate)?, [-1.5]);
///
/// let pass = Pass {
///     images: &[1.0, 2.0],
///     batch: 1,
///     objective: Objective::Cotangent(&[1.0]),
///     mode: Mode::Evaluate,
///     parameters: &[0],
///     values: &["x"],
/// };
/// let gradients = network.gradients(&pass)?;
/// assert_eq!(gradients.parameters, [[1.0, 2.0]]);
/// assert_eq!(gradients.values, [[0.5, -1.0]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Network {
    model: Model,
    engine: Box<dyn Engine>,
    executor: Executor,
    device: Device,
}

/// What computes a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executor {
    /// The project's own kernels, on the CPU. Burn, on the CPU too, still computes passes that ask for the gradients of bounds of `Clip`, of the
    /// output of a `Softmax` at the end, or of values that are made of parameters alone, and Hessian products in [`Mode::Train`] of networks
    /// with batch normalizations: [`HessianProduct::method`](crate::HessianProduct::method) tells.
    Native,
    /// Burn.
    Burn {
        /// Why: the first node that has no kernel, the device, or that it was asked for.
        because: String,
    },
}

impl Network {
    /// A network from the bytes of an ONNX file.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file), and if the bytes are no ONNX model.
    pub fn from_onnx(bytes: &[u8], device: Device) -> Result<Network, GradError> {
        Network::from_file(&TensorFile::from_onnx_bytes(bytes.to_vec())?, device)
    }

    /// A network from an opened ONNX file, with external data.
    ///
    /// # Errors
    /// [`GradError`] if the file is no ONNX model, has not one f32 input or has no output; if a node's operator is not one of
    /// [`operators`](crate::operators()), or nodes are in a wrong order; if a stored tensor that is used has another type; if
    /// the device is not there.
    pub fn from_file(file: &TensorFile, device: Device) -> Result<Network, GradError> {
        let (plan, values) = Plan::new(file)?;
        let rows = operators::rows_of(&plan.steps)?;
        let model = Model { plan, rows, values };
        let (engine, executor) = match device {
            Device::Cpu => on_cpu(&model)?,
            _ => {
                let because = format!("the device is {device}");
                (guarded(|| on_burn(&model, device))?, Executor::Burn { because })
            }
        };
        Ok(Network { model, engine, executor, device })
    }

    /// The same network, computed by burn whatever its operators are: another implementation to compare with.
    ///
    /// # Errors
    /// [`GradError::Backend`] if burn fails.
    pub fn on_burn(self) -> Result<Network, GradError> {
        let engine = guarded(|| on_burn(&self.model, self.device))?;
        let executor = Executor::Burn { because: "it was asked for".to_owned() };
        Ok(Network { engine, executor, ..self })
    }

    /// What computes the network.
    ///
    /// ```
    /// use bitquake_grad::{Device, Executor, Network};
    /// use bitquake_graph::architecture::Architecture;
    ///
    /// let model = Architecture::new("lenet5", [1, 28, 28], 10).build(1)?;
    /// let network = Network::from_onnx(&model, Device::Cpu)?;
    /// assert_eq!(*network.executor(), Executor::Native);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Limits the memory of passes that ask for gradients, in bytes; `None`, as it is at first, leaves them what the system has.
    ///
    /// Where what a batch is kept as for the backward pass needs more, the pass keeps less and computes more again: no bit of its results changes,
    /// on any number of threads. Counted is what grows with the batch; weights, and what threads work in, come on top. Passes without gradients
    /// are not limited, and Hessian products keep all. A network that is computed [`on_burn`](Self::on_burn) loses its limit.
    ///
    /// ```
    /// use bitquake_grad::{Device, GradError, Mode, Network, Objective, ParameterRole, Pass};
    /// use bitquake_graph::architecture::Architecture;
    ///
    /// let model = Architecture::new("resnet20", [3, 32, 32], 10).build(1)?;
    /// let mut network = Network::from_onnx(&model, Device::Cpu)?;
    /// let (images, labels) = (vec![0.5; 2 * 3 * 32 * 32], [3, 7]);
    /// let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.0 };
    /// let is_weight = |&index: &usize| network.parameters()[index].role == ParameterRole::Weight;
    /// let parameters: Vec<usize> = (0..network.parameters().len()).filter(is_weight).collect();
    /// let mode = Mode::Train;
    /// let pass = Pass { images: &images, batch: 2, objective, mode, parameters: &parameters, values: &[] };
    /// let all = network.gradients(&pass)?;
    /// network.set_memory_limit(Some(4 << 20))?;
    /// assert_eq!(network.gradients(&pass)?, all);
    /// network.set_memory_limit(Some(1 << 20))?;
    /// assert!(matches!(network.gradients(&pass), Err(GradError::MemoryLimit { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`GradError::NoMemoryLimit`] if burn computes the network; a pass that burn computes of a limited network fails with it too.
    pub fn set_memory_limit(&mut self, limit: Option<usize>) -> Result<(), GradError> {
        match &self.executor {
            Executor::Burn { because } if limit.is_some() => Err(GradError::NoMemoryLimit {
                because: format!("burn computes the network, since {because}"),
            }),
            _ => {
                self.engine.limit_memory(limit);
                Ok(())
            }
        }
    }

    /// Where the network is computed.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The float initializers and the float values of `Constant` nodes that the graph uses, in file order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.model.plan.parameters
    }

    /// The current values of a parameter, row-major.
    ///
    /// # Panics
    /// If `index` is not below the number of [`parameters`](Self::parameters).
    pub fn parameter(&self, index: usize) -> &[f32] {
        &self.model.values[index]
    }

    /// Gives a parameter other values.
    ///
    /// # Errors
    /// [`GradError::NoParameter`], [`GradError::ParameterLength`].
    pub fn set_parameter(&mut self, index: usize, values: &[f32]) -> Result<(), GradError> {
        self.check_parameter(index)?;
        let parameter = &self.model.plan.parameters[index];
        let (expected, found) = (parameter.elements(), values.len());
        if found != expected {
            return Err(GradError::ParameterLength { parameter: parameter.name.clone(), expected, found });
        }
        self.model.values[index].copy_from_slice(values);
        self.engine.set(index, values, &parameter.shape);
        Ok(())
    }

    /// The sizes of the input, the batch first; `None` where the file leaves them open, as it does for the batch.
    pub fn input_shape(&self) -> &[Option<usize>] {
        &self.model.plan.dims
    }

    /// How many numbers the network gives for an image, found by running it on one of zeros. Sizes that the file leaves open are 1.
    ///
    /// # Errors
    /// [`GradError::Images`] for images of more than 2^26 numbers, which a file says easily; as [`forward`](Self::forward).
    pub fn outputs(&self) -> Result<usize, GradError> {
        let sizes = || self.input_shape().iter().skip(1).map(|size| size.unwrap_or(1));
        let values = sizes()
            .try_fold(1_usize, |all, size| all.checked_mul(size))
            .filter(|values| *values <= MOST_VALUES);
        let too_large = || {
            let sizes: Vec<String> = sizes().map(|size| size.to_string()).collect();
            GradError::Images {
                problem: format!(
                    "the network takes images of {}: more than {MOST_VALUES} numbers each",
                    sizes.join(" x ")
                ),
            }
        };
        Ok(self.forward(&vec![0.0; values.ok_or_else(too_large)?], 1, Mode::Evaluate)?.len())
    }

    /// The values that nodes compute, in the order of the nodes.
    pub fn values(&self) -> Vec<ValueInfo> {
        let of_step = |step: &Step| {
            let op_type = step.op_type.clone();
            let outputs: Vec<usize> = step.outputs.iter().flatten().copied().collect();
            outputs.into_iter().map(move |value| (value, op_type.clone()))
        };
        let values = self.model.plan.steps.iter().flat_map(of_step);
        values
            .map(|(value, op_type)| ValueInfo { name: self.model.plan.names[value].clone(), op_type })
            .collect()
    }

    /// Whether the first output is the softmax of what cross-entropies are taken of: probabilities of classes, not logits.
    pub fn gives_probabilities(&self) -> bool {
        self.model.plan.logits != self.model.plan.output
    }

    /// The parameters that batch normalizations take (scales, shifts, running means and variances), by index, rising.
    pub fn batch_norm_parameters(&self) -> Vec<usize> {
        let plan = &self.model.plan;
        let norms = plan.steps.iter().filter(|step| step.op_type == "BatchNormalization");
        let taken: Vec<usize> =
            norms.flat_map(|step| step.inputs.iter().skip(1).flatten().copied()).collect();
        (0..plan.parameters.len()).filter(|&index| taken.contains(&plan.parameter_values[index])).collect()
    }

    /// The first output for `batch` images, row-major.
    ///
    /// # Errors
    /// [`GradError::Images`] if the images do not fit, [`GradError::Node`] if a node cannot be computed for them,
    /// [`GradError::Backend`] if the device fails.
    pub fn forward(&self, images: &[f32], batch: usize, mode: Mode) -> Result<Vec<f32>, GradError> {
        let images = self.images(images, batch)?;
        guarded(|| self.engine.forward(&self.model, &images, mode))
    }

    /// A forward and a backward pass.
    ///
    /// # Errors
    /// As [`forward`](Self::forward); [`GradError::Memory`], [`GradError::MemoryLimit`]; [`GradError::Objective`] if labels, targets or cotangents do not fit the output;
    /// [`GradError::NoParameter`], [`GradError::NoValue`].
    pub fn gradients(&self, pass: &Pass<'_>) -> Result<Gradients, GradError> {
        let images = self.images(pass.images, pass.batch)?;
        self.check_pass(pass)?;
        guarded(|| self.engine.gradients(&self.model, &images, pass))
    }

    /// The objective of a pass under each of several sets of edits, each on top of the present parameters, which stay as they are: what
    /// [`gradients`](Self::gradients) gives of the edited network. The parameters and the values of the pass are passed over.
    ///
    /// In [`Mode::Evaluate`], a [native](Executor::Native) network computes what comes before the first operation with an edited parameter once
    /// for all sets, so a set costs what comes after it; where a few weights of one convolution are edited, also of it and of the next one only
    /// what they add, and the objective is that of the edited network up to rounding. Else it is so to the bit, and where nothing is shared each
    /// set costs a pass of its own.
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients); [`GradError::NoElement`].
    pub fn losses(&mut self, pass: &Pass<'_>, edits: &[Vec<Edit>]) -> Result<Vec<f64>, GradError> {
        let images = self.images(pass.images, pass.batch)?;
        edits.iter().flatten().try_for_each(|edit| self.check_edit(edit))?;
        match guarded(|| self.engine.losses(&self.model, &images, pass, edits))? {
            Some(losses) => Ok(losses),
            None => edits.iter().map(|edits| self.loss_under(pass, edits)).collect(),
        }
    }

    /// The objective of a pass under edits, by a pass of its own.
    fn loss_under(&mut self, pass: &Pass<'_>, edits: &[Edit]) -> Result<f64, GradError> {
        let mut before: Vec<(usize, Vec<f32>)> = Vec::new();
        for edit in edits {
            let mut values = self.parameter(edit.parameter).to_vec();
            if before.iter().all(|(parameter, _)| *parameter != edit.parameter) {
                before.push((edit.parameter, values.clone()));
            }
            values[edit.element] = edit.value;
            self.set_parameter(edit.parameter, &values)?;
        }
        let found = self.gradients(&Pass { parameters: &[], values: &[], ..*pass });
        before.iter().try_for_each(|(parameter, values)| self.set_parameter(*parameter, values))?;
        found.map(|found| found.loss)
    }

    /// The product of the Hessian of the objective, with respect to the parameters of the pass taken together, with a direction.
    /// `direction` has one list for each parameter of the pass, as long as the parameter; the values of the pass are passed over.
    ///
    /// A [native](Executor::Native) network takes about three times the time of its gradients, and twice their memory.
    ///
    /// ```
    /// use bitquake_grad::{Device, Mode, Network, Objective, Pass};
    /// use bitquake_graph::build::{BuildDim, ElemType, ModelBuilder, TensorSpec};
    ///
    /// // The cross-entropy of logits x w, with x = 1 and w = (0, 0): its Hessian is [[0.25, -0.25], [-0.25, 0.25]].
    /// let mut model = ModelBuilder::new("linear");
    /// model.graph().input("x", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(1)]);
    /// model.graph().initializer(TensorSpec::f32("w", &[1, 2], &[0.0, 0.0]));
    /// model.graph().node("MatMul", &["x", "w"], &["y"], &[]);
    /// model.graph().output("y", ElemType::F32, &[BuildDim::Named("batch"), BuildDim::Fixed(2)]);
    ///
    /// let network = Network::from_onnx(&model.finish(), Device::Cpu)?;
    /// let pass = Pass {
    ///     images: &[1.0],
    ///     batch: 1,
    ///     objective: Objective::CrossEntropy { labels: &[0], smoothing: 0.0 },
    ///     mode: Mode::Evaluate,
    ///     parameters: &[0],
    ///     values: &[],
    /// };
    /// let found = network.hessian_product(&pass, &[vec![1.0, 0.0]])?;
    /// assert_eq!(found.gradients, [[-0.5, 0.5]]);
    /// assert_eq!(found.products, [[0.25, -0.25]]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`gradients`](Self::gradients); [`GradError::ParameterLength`] if a direction has another length.
    pub fn hessian_product(
        &self,
        pass: &Pass<'_>,
        direction: &[Vec<f32>],
    ) -> Result<HessianProduct, GradError> {
        let images = self.images(pass.images, pass.batch)?;
        self.check_pass(pass)?;
        self.check_direction(pass, direction)?;
        let pass = Pass { values: &[], ..*pass };
        guarded(|| self.engine.hessian_product(&self.model, &images, &pass, direction))
    }

    /// The first value that is NaN or infinite somewhere, in the order of the graph: the input, then outputs of nodes; `None` if
    /// there is none.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn first_nonfinite(
        &self,
        images: &[f32],
        batch: usize,
        mode: Mode,
    ) -> Result<Option<String>, GradError> {
        let images = self.images(images, batch)?;
        let found = guarded(|| self.engine.first_nonfinite(&self.model, &images, mode))?;
        Ok(found.map(|value| self.model.plan.names[value].clone()))
    }

    /// Images with their shape, if they fit the input.
    fn images<'a>(&self, values: &'a [f32], batch: usize) -> Result<Images<'a>, GradError> {
        let wrong = |problem: String| Err(GradError::Images { problem });
        let dims = &self.model.plan.dims;
        if let Some(fixed) = dims[0].filter(|&fixed| fixed != batch) {
            return wrong(format!("the graph takes batches of {fixed} images alone, not of {batch}"));
        }
        let Some(sizes) = dims[1..].iter().copied().collect::<Option<Vec<usize>>>() else {
            return wrong(format!(
                "the input has open sizes {dims:?}; export the network with all but the batch fixed"
            ));
        };
        let shape = [&[batch][..], &sizes].concat();
        let needed = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
        if batch == 0 || needed != Some(values.len()) {
            return wrong(format!("{} values for images of shape {shape:?}", values.len()));
        }
        Ok(Images { values, shape })
    }

    fn check_parameter(&self, index: usize) -> Result<(), GradError> {
        let count = self.model.plan.parameters.len();
        if index < count { Ok(()) } else { Err(GradError::NoParameter { index, count }) }
    }

    fn check_edit(&self, edit: &Edit) -> Result<(), GradError> {
        self.check_parameter(edit.parameter)?;
        let parameter = &self.model.plan.parameters[edit.parameter];
        let (element, elements) = (edit.element, parameter.elements());
        if element < elements {
            return Ok(());
        }
        Err(GradError::NoElement { parameter: parameter.name.clone(), element, elements })
    }

    fn check_pass(&self, pass: &Pass<'_>) -> Result<(), GradError> {
        pass.parameters.iter().try_for_each(|&index| self.check_parameter(index))?;
        let missing = pass.values.iter().find(|name| self.model.plan.value(name).is_none());
        missing.map_or(Ok(()), |name| Err(GradError::NoValue { value: (*name).to_owned() }))
    }

    fn check_direction(&self, pass: &Pass<'_>, direction: &[Vec<f32>]) -> Result<(), GradError> {
        if direction.len() != pass.parameters.len() {
            let (given, wanted) = (direction.len(), pass.parameters.len());
            return Err(GradError::Objective {
                problem: format!("{given} directions for {wanted} parameters"),
            });
        }
        for (&index, direction) in pass.parameters.iter().zip(direction) {
            let parameter = &self.model.plan.parameters[index];
            let (expected, found) = (parameter.elements(), direction.len());
            if expected != found {
                return Err(GradError::ParameterLength {
                    parameter: parameter.name.clone(),
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = f.debug_struct("Network");
        out.field("device", &self.device)
            .field("executor", &self.executor)
            .field("parameters", &self.model.plan.parameters);
        out.finish_non_exhaustive()
    }
}

/// The project's own kernels where they can compute the whole network, else burn.
fn on_cpu(model: &Model) -> Result<(Box<dyn Engine>, Executor), GradError> {
    match lower(&model.plan) {
        Ok(lowered) => Ok((Box::new(Native::new(lowered)), Executor::Native)),
        Err(because) => Ok((guarded(|| on_burn(model, Device::Cpu))?, Executor::Burn { because })),
    }
}

/// The parameters on a device of burn's.
fn on_burn(model: &Model, device: Device) -> Result<Box<dyn Engine>, GradError> {
    match device {
        Device::Cpu => Ok(Box::new(Runner::<burn_flex::Flex>::new(model, burn_flex::FlexDevice))),
        Device::Cuda(index) => cuda(model, index),
        Device::Wgpu(index) => wgpu(model, index),
    }
}

#[cfg(feature = "cuda")]
use crate::gpu::cuda;

#[cfg(not(feature = "cuda"))]
fn cuda(_: &Model, index: usize) -> Result<Box<dyn Engine>, GradError> {
    Err(not_built(Device::Cuda(index), "cuda"))
}

#[cfg(feature = "wgpu")]
use crate::gpu::wgpu;

#[cfg(not(feature = "wgpu"))]
fn wgpu(_: &Model, index: usize) -> Result<Box<dyn Engine>, GradError> {
    Err(not_built(Device::Wgpu(index), "wgpu"))
}

#[cfg(not(all(feature = "cuda", feature = "wgpu")))]
fn not_built(device: Device, feature: &str) -> GradError {
    let problem = format!(
        "this executable is built without it; build it with `cargo build --release --features {feature}`, or use the device cpu"
    );
    GradError::Device { device, problem }
}
