//! A plan with its parameters on one backend.

use bitquake_graph::plan::Plan;
use burn_autodiff::Autodiff;
use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, Backend};

use crate::float::Float;
use crate::interpreter::{Run, run};
use crate::loss;
use crate::model::Model;
use crate::pass::{BatchStatistics, Gradients, HessianMethod, HessianProduct, Mode, Pass};
use crate::seam::{Kernels, tap};
use crate::{Edit, GradError, call};

/// What a network asks of the backend that holds its parameters.
pub(crate) trait Engine: Send + Sync {
    /// A parameter has other values.
    fn set(&mut self, index: usize, values: &[f32], shape: &[usize]);
    fn forward(&self, model: &Model, images: &Images<'_>, mode: Mode) -> Result<Vec<f32>, GradError>;
    /// Passes that ask for gradients work with so many bytes at most.
    fn limit_memory(&mut self, _limit: Option<usize>) {}
    fn gradients(&self, model: &Model, images: &Images<'_>, pass: &Pass<'_>) -> Result<Gradients, GradError>;
    /// The objective under each of several sets of edits; `None` where the engine computes nothing once for several sets.
    fn losses(
        &self,
        _model: &Model,
        _images: &Images<'_>,
        _pass: &Pass<'_>,
        _edits: &[Vec<Edit>],
    ) -> Result<Option<Vec<f64>>, GradError> {
        Ok(None)
    }
    fn hessian_product(
        &self,
        model: &Model,
        images: &Images<'_>,
        pass: &Pass<'_>,
        direction: &[Vec<f32>],
    ) -> Result<HessianProduct, GradError>;
    fn first_nonfinite(
        &self,
        model: &Model,
        images: &Images<'_>,
        mode: Mode,
    ) -> Result<Option<usize>, GradError>;
}

/// Checked images.
pub(crate) struct Images<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) shape: Vec<usize>,
}

/// Parameters on a backend.
pub(crate) struct Runner<B: Backend> {
    parameters: Vec<Float<B>>,
    device: B::Device,
}

/// A backend's failure outside any node.
fn failed(message: String) -> GradError {
    GradError::Backend { node: None, message }
}

impl<B: Kernels> Runner<B> {
    pub(crate) fn new(model: &Model, device: B::Device) -> Runner<B> {
        let parameters = model.plan.parameters.iter().zip(&model.values);
        let parameters = parameters
            .map(|(parameter, values)| Float::from_host(values.clone(), &parameter.shape, &device))
            .collect();
        Runner { parameters, device }
    }

    /// The runner, if its device gives back what it was given.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    pub(crate) fn probed(self) -> Result<Runner<B>, GradError> {
        let probe = [1.5_f32, -2.0];
        let back = Float::<B>::from_host(probe.to_vec(), &[2], &self.device).to_host().map_err(failed)?;
        if back == probe { Ok(self) } else { Err(failed(format!("it gave {back:?} for {probe:?}"))) }
    }

    fn images(&self, images: &Images<'_>) -> Float<B> {
        Float::from_host(images.values.to_vec(), &images.shape, &self.device)
    }
}

impl<B: Kernels> Engine for Runner<B> {
    fn set(&mut self, index: usize, values: &[f32], shape: &[usize]) {
        self.parameters[index] = Float::from_host(values.to_vec(), shape, &self.device);
    }

    fn forward(&self, model: &Model, images: &Images<'_>, mode: Mode) -> Result<Vec<f32>, GradError> {
        let run = run(model, &self.parameters, self.images(images), mode, &mut |_, value| Ok(value))?;
        run.output.to_host().map_err(failed)
    }

    fn gradients(&self, model: &Model, images: &Images<'_>, pass: &Pass<'_>) -> Result<Gradients, GradError> {
        let tape = Tape::<B>::record(model, &self.parameters, self.images(images), pass)?;
        let loss = tape.loss.to_host().map_err(failed)?;
        let outputs = tape.run.output.to_host().map_err(failed)?;
        let grads = Autodiff::<B>::backward(tape.loss.into_primitive());
        let host = |leaf: &Float<Autodiff<B>>| match leaf.primitive().grad(&grads) {
            Some(gradient) => Float::<B>::new(gradient).to_host().map_err(failed),
            None => Ok(vec![0.0; leaf.elements()]),
        };
        let parameters = pass.parameters.iter().map(|&index| host(&tape.parameters[index]));
        let values = tape.taps.iter().map(host).collect::<Result<_, _>>()?;
        Ok(Gradients {
            loss: f64::from(loss[0]),
            outputs,
            parameters: parameters.collect::<Result<_, _>>()?,
            values,
            statistics: statistics(&model.plan, &tape.run)?,
        })
    }

    fn hessian_product(
        &self,
        model: &Model,
        images: &Images<'_>,
        pass: &Pass<'_>,
        direction: &[Vec<f32>],
    ) -> Result<HessianProduct, GradError> {
        // Two tapes: the outer one's backward pass is recorded on the inner one.
        type Inner<B> = Autodiff<B>;
        let inner: Vec<Float<Inner<B>>> = leaves::<B>(&self.parameters, pass.parameters);
        let images = Float::new(Inner::<B>::from_inner(self.images(images).into_primitive()));
        let tape = Tape::<Inner<B>>::record(model, &inner, images, pass)?;
        let loss = tape.loss.to_host().map_err(failed)?;
        let outer = Autodiff::<Inner<B>>::backward(tape.loss.into_primitive());
        let (mut gradients, mut along) = (Vec::new(), Vec::<Float<Inner<B>>>::new());
        for (&index, direction) in pass.parameters.iter().zip(direction) {
            let leaf = &tape.parameters[index];
            let Some(gradient) = leaf.primitive().grad(&outer) else {
                gradients.push(vec![0.0; leaf.elements()]);
                continue;
            };
            let gradient = leaf_like(leaf, gradient);
            gradients.push(gradient.to_host().map_err(failed)?);
            let direction = Float::from_host(direction.clone(), &gradient.shape(), &self.device);
            along.push(gradient.mul(direction).map_err(failed)?.sum_all());
        }
        let total = along.into_iter().map(Ok).reduce(|a, b| a?.add(b?)).transpose().map_err(failed)?;
        let second = total.filter(|total| total.primitive().is_tracked());
        let second = second.map(|total| Inner::<B>::backward(total.into_primitive()));
        let product = |&index: &usize| {
            let leaf = &inner[index];
            match second.as_ref().and_then(|second| leaf.primitive().grad(second)) {
                Some(product) => Float::<B>::new(product).to_host().map_err(failed),
                None => Ok(vec![0.0; leaf.elements()]),
            }
        };
        let products = pass.parameters.iter().map(product).collect::<Result<_, _>>()?;
        let (loss, method) = (f64::from(loss[0]), HessianMethod::DoubleBackward);
        Ok(HessianProduct { loss, gradients, products, method })
    }

    fn first_nonfinite(
        &self,
        model: &Model,
        images: &Images<'_>,
        mode: Mode,
    ) -> Result<Option<usize>, GradError> {
        let mut found = None;
        let mut watch = |value: usize, float: Float<B>| {
            let is_finite = |values: Vec<f32>| values.iter().all(|value| value.is_finite());
            if found.is_none() && !is_finite(float.to_host().map_err(failed)?) {
                found = Some(value);
            }
            Ok(float)
        };
        run(model, &self.parameters, self.images(images), mode, &mut watch)?;
        Ok(found)
    }
}

/// A gradient in the shape of its leaf.
fn leaf_like<B: Kernels>(leaf: &Float<Autodiff<B>>, gradient: FloatTensor<B>) -> Float<B> {
    Float::new(gradient).reshape(&leaf.shape())
}

/// Parameters one level up, those at `wanted` as leaves that get gradients.
fn leaves<B: Kernels>(parameters: &[Float<B>], wanted: &[usize]) -> Vec<Float<Autodiff<B>>> {
    let mut is_wanted = vec![false; parameters.len()];
    wanted.iter().for_each(|&index| is_wanted[index] = true);
    let leaf = |(parameter, is_wanted): (&Float<B>, bool)| {
        let tensor = FloatTensor::<Autodiff<B>>::new(parameter.primitive().clone());
        let tensor = if is_wanted { tensor.require_grad() } else { tensor };
        Float::new(tensor).reshape(&parameter.shape())
    };
    parameters.iter().zip(is_wanted).map(leaf).collect()
}

/// A run that was recorded.
struct Tape<B: Kernels> {
    run: Run<Autodiff<B>>,
    loss: Float<Autodiff<B>>,
    /// All parameters, one level up.
    parameters: Vec<Float<Autodiff<B>>>,
    /// Of each value of the pass, the leaf that gets its gradient.
    taps: Vec<Float<Autodiff<B>>>,
}

impl<B: Kernels> Tape<B> {
    fn record(
        model: &Model,
        parameters: &[Float<B>],
        images: Float<B>,
        pass: &Pass<'_>,
    ) -> Result<Tape<B>, GradError> {
        let parameters = leaves(parameters, pass.parameters);
        let images = Float::new(Autodiff::<B>::from_inner(images.into_primitive()));
        let wanted: Vec<Option<usize>> = pass.values.iter().map(|name| model.plan.value(name)).collect();
        let mut taps: Vec<Option<Float<Autodiff<B>>>> = vec![None; wanted.len()];
        let mut watch = |value: usize, float: Float<Autodiff<B>>| {
            if !wanted.contains(&Some(value)) {
                return Ok(float);
            }
            let shape = float.shape();
            let (tensor, leaf) = tap::<B>(float.into_primitive());
            for (tap, _) in taps.iter_mut().zip(&wanted).filter(|(_, wanted)| **wanted == Some(value)) {
                *tap = Some(Float::new(leaf.clone()));
            }
            Ok(Float::new(tensor).reshape(&shape))
        };
        let run = run(model, &parameters, images, pass.mode, &mut watch)?;
        let loss = loss::objective(&run, &pass.objective, pass.batch)?;
        let found = taps.into_iter().zip(pass.values);
        let missing = |name: &str| GradError::NoValue { value: name.to_owned() };
        let taps = found.map(|(tap, name)| tap.ok_or_else(|| missing(name))).collect::<Result<_, _>>()?;
        Ok(Tape { run, loss, parameters, taps })
    }
}

/// What was measured, where the running statistics are parameters.
fn statistics<B: Kernels>(plan: &Plan, run: &Run<B>) -> Result<Vec<BatchStatistics>, GradError> {
    let parameter = |value: usize| plan.parameter_values.iter().position(|&known| known == value);
    let mut statistics = Vec::new();
    for call::Measured { running, momentum, mean, variance } in &run.measured {
        let [Some(of_mean), Some(of_variance)] = running.map(parameter) else { continue };
        statistics.push(BatchStatistics {
            mean: of_mean,
            variance: of_variance,
            momentum: *momentum,
            batch_mean: mean.to_host().map_err(failed)?,
            batch_variance: variance.to_host().map_err(failed)?,
        });
    }
    Ok(statistics)
}
