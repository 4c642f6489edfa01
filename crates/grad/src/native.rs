//! A network on the CPU in the project's own kernels.
//!
//! [`lower`](bitquake_graph::program::lower) makes a program of a plan whose operators all have kernels; any other plan stays with burn, whole.
//! The program computes outputs, gradients, statistics and Hessian products. Burn computes, of a network that has a program, the passes that ask for
//! gradients that the program does not have (of bounds of `Clip`, and of values that are made of parameters alone), and products whose batch
//! normalizations use the statistics of the batch.

mod memory;
mod objective;

use bitquake_graph::program::{BatchNorm, Lowered};
use bitquake_kernels::program::{self, Executor, Products, Request, Statistics, Vector};
use burn_flex::{Flex, FlexDevice};

use memory::Need;
use objective::Ends;

use crate::model::Model;
use crate::pass::{BatchStatistics, Gradients, HessianMethod, HessianProduct, Mode, Pass};
use crate::runner::{Engine, Images, Runner};
use crate::{Edit, GradError};

/// A program and how it belongs to the plan.
pub(crate) struct Native {
    executor: Executor,
    ends: Ends,
    /// As [`Lowered`] has them.
    values: Vec<Option<program::Value>>,
    vectors: Vec<(usize, Vector)>,
    has_gradient: Vec<bool>,
    norms: Vec<BatchNorm>,
    /// The most bytes of a pass with gradients.
    limit: Option<usize>,
}

impl Native {
    pub(crate) fn new(lowered: Lowered) -> Native {
        let Lowered { program, output, sizes, has_softmax, values, vectors, has_gradient, norms } = lowered;
        let (executor, ends) = (Executor::new(program, output), Ends { sizes, has_softmax });
        Native { executor, ends, values, vectors, has_gradient, norms, limit: None }
    }

    /// Burn, for what the program does not compute.
    fn burn(&self, model: &Model) -> Result<Runner<Flex>, GradError> {
        if self.limit.is_some() {
            let because = "burn computes this pass, which the project's own kernels do not have".to_owned();
            return Err(GradError::NoMemoryLimit { because });
        }
        Ok(Runner::new(model, FlexDevice))
    }

    /// The program's values for the names of a pass; `None` if the program cannot give all the gradients.
    fn values(&self, model: &Model, pass: &Pass<'_>) -> Option<Vec<program::Value>> {
        let is_known = |&parameter: &usize| self.has_gradient[parameter];
        if !pass.parameters.iter().all(is_known) {
            return None;
        }
        pass.values.iter().map(|name| self.values[model.plan.value(name)?]).collect()
    }
}

fn statistics(mode: Mode) -> Statistics {
    match mode {
        Mode::Evaluate => Statistics::Running,
        Mode::Train => Statistics::Batch,
    }
}

impl Engine for Native {
    fn set(&mut self, _: usize, _: &[f32], _: &[usize]) {
        // The parameters are those of the model, which each call gets.
    }

    fn limit_memory(&mut self, limit: Option<usize>) {
        self.limit = limit;
    }

    fn forward(&self, model: &Model, images: &Images<'_>, mode: Mode) -> Result<Vec<f32>, GradError> {
        let logits = self.executor.forward(&model.values, images.values, images.shape[0], statistics(mode));
        Ok(self.ends.outputs(logits))
    }

    fn gradients(&self, model: &Model, images: &Images<'_>, pass: &Pass<'_>) -> Result<Gradients, GradError> {
        let Some(values) = self.values(model, pass) else {
            return self.burn(model)?.gradients(model, images, pass);
        };
        let Native { executor, ends, norms, .. } = self;
        let statistics = statistics(pass.mode);
        let request = Request { statistics, parameters: pass.parameters, values: &values, thrift: 0 };
        let thrift = memory::thrift(executor, &request, pass.batch, self.limit)?;
        let request = Request { thrift, ..request };
        let mut loss = 0.0;
        let objective = |logits: &[f32], slopes: &mut [f32]| {
            loss = ends.differentiate(&pass.objective, logits, pass.batch, slopes)?;
            Ok::<(), GradError>(())
        };
        let found = executor.gradients(&model.values, images.values, pass.batch, &request, objective)?;
        let measured = found.measured.into_iter().filter_map(|(value, [batch_mean, batch_variance])| {
            let norm = norms.iter().find(|norm| norm.value == value)?;
            let [mean, variance] = norm.running;
            Some(BatchStatistics { mean, variance, momentum: norm.momentum, batch_mean, batch_variance })
        });
        Ok(Gradients {
            loss,
            statistics: measured.collect(),
            outputs: ends.outputs(found.outputs),
            parameters: found.parameters,
            values: found.values,
        })
    }

    fn losses(
        &self,
        model: &Model,
        images: &Images<'_>,
        pass: &Pass<'_>,
        edits: &[Vec<Edit>],
    ) -> Result<Option<Vec<f64>>, GradError> {
        /// What sets may take together beside one pass: 256 MiB.
        const BYTES: usize = 256 << 20;
        if statistics(pass.mode) == Statistics::Batch {
            return Ok(None); // statistics of a batch need all its images before the next operation
        }
        let loss = |logits: Vec<f32>| {
            let mut slopes = vec![0.0; logits.len()];
            self.ends.differentiate(&pass.objective, &logits, pass.batch, &mut slopes)
        };
        let outputs = self.executor.variants(&model.values, images.values, pass.batch, edits, BYTES);
        outputs.into_iter().map(loss).collect::<Result<_, _>>().map(Some)
    }

    fn hessian_product(
        &self,
        model: &Model,
        images: &Images<'_>,
        pass: &Pass<'_>,
        direction: &[Vec<f32>],
    ) -> Result<HessianProduct, GradError> {
        let has_gradients = pass.parameters.iter().all(|&parameter| self.has_gradient[parameter]);
        let statistics = statistics(pass.mode);
        if !has_gradients || self.executor.check_products(statistics).is_err() {
            return self.burn(model)?.hessian_product(model, images, pass, direction);
        }
        let Native { executor, ends, .. } = self;
        let request = Request { statistics, parameters: pass.parameters, values: &[], thrift: 0 };
        let batch = pass.batch;
        let bytes = executor.bytes_of_products(&request, batch);
        let missing = executor.missing_bytes_of_products(&request, batch);
        memory::check(&Need { batch, bytes, missing }, self.limit)?;
        let mut loss = 0.0;
        let objective = |logits: [&[f32]; 2], slopes: [&mut [f32]; 2]| {
            loss = ends.differentiate_twice(&pass.objective, logits, pass.batch, slopes)?;
            Ok::<(), GradError>(())
        };
        let found =
            executor.products(&model.values, direction, images.values, pass.batch, &request, objective)?;
        let Products { gradients, products, .. } = found;
        Ok(HessianProduct { loss, gradients, products, method: HessianMethod::ForwardOverReverse })
    }

    fn first_nonfinite(
        &self,
        model: &Model,
        images: &Images<'_>,
        mode: Mode,
    ) -> Result<Option<usize>, GradError> {
        let is_bad = self.executor.nonfinite(&model.values, images.values, images.shape[0], statistics(mode));
        let plan = &model.plan;
        let in_order = plan.steps.iter().flat_map(|step| step.outputs.iter().flatten());
        let found = std::iter::once(&plan.input).chain(in_order).find(|&&value| {
            let of_program = self.values[value].is_some_and(|value| is_bad[value.number()]);
            let of_parameters = self.vectors.iter().find(|(known, _)| *known == value);
            of_program || of_parameters.is_some_and(|(_, vector)| !is_finite(vector, &model.values))
        });
        Ok(found.copied())
    }
}

/// Whether a value that is made of parameters alone is finite.
fn is_finite(vector: &Vector, parameters: &[Vec<f32>]) -> bool {
    let plus = vector.plus.map_or(0.0, |plus| parameters[plus][0]);
    parameters[vector.parameter].iter().all(|value| (value + plus).is_finite())
}
