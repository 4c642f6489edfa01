//! Objectives as tensors.

use crate::float::Float;
use crate::interpreter::Run;
use crate::seam::Kernels;
use crate::{GradError, Objective};

fn problem(problem: String) -> GradError {
    GradError::Objective { problem }
}

/// The objective of a run, a scalar.
pub(crate) fn objective<B: Kernels>(
    run: &Run<B>,
    objective: &Objective<'_>,
    batch: usize,
) -> Result<Float<B>, GradError> {
    match objective {
        Objective::CrossEntropy { labels, smoothing } => {
            let classes = classes(&run.logits.shape(), batch)?;
            let targets = smoothed(labels, *smoothing, batch, classes)?;
            cross_entropy(run, targets, [batch, classes])
        }
        Objective::SoftTargets(targets) => {
            let classes = classes(&run.logits.shape(), batch)?;
            check_count("soft targets", targets.len(), &[batch, classes])?;
            cross_entropy(run, targets.to_vec(), [batch, classes])
        }
        Objective::Cotangent(factors) => {
            let output = run.output.clone();
            check_count("cotangents", factors.len(), &output.shape())?;
            let factors = Float::from_host(factors.to_vec(), &output.shape(), &output.device());
            output.mul(factors).map(Float::sum_all).map_err(problem)
        }
    }
}

pub(crate) fn check_count(what: &str, found: usize, shape: &[usize]) -> Result<(), GradError> {
    if found == shape.iter().product::<usize>() {
        return Ok(());
    }
    Err(problem(format!("{found} {what} for an output of shape {shape:?}")))
}

/// The number of classes of an output of shape `[batch, K]`.
pub(crate) fn classes(shape: &[usize], batch: usize) -> Result<usize, GradError> {
    match shape {
        [rows, classes] if *rows == batch && *classes > 0 => Ok(*classes),
        shape => Err(problem(format!(
            "a cross-entropy needs an output of shape [{batch}, classes], not {shape:?}"
        ))),
    }
}

/// The targets of smoothed labels, row-major.
pub(crate) fn smoothed(
    labels: &[u32],
    smoothing: f32,
    batch: usize,
    classes: usize,
) -> Result<Vec<f32>, GradError> {
    if labels.len() != batch {
        return Err(problem(format!("{} labels for {batch} images", labels.len())));
    }
    if !(0.0..=1.0).contains(&smoothing) {
        return Err(problem(format!("label smoothing {smoothing}; 0 to 1 are supported")));
    }
    let floor = smoothing / classes as f32;
    let mut targets = vec![floor; batch * classes];
    for (image, &label) in labels.iter().enumerate() {
        if label as usize >= classes {
            return Err(problem(format!(
                "image {image} has label {label}, the network has {classes} classes"
            )));
        }
        targets[image * classes + label as usize] = 1.0 - smoothing + floor;
    }
    Ok(targets)
}

/// The mean over images of `-sum(target * log softmax(logits))`.
fn cross_entropy<B: Kernels>(
    run: &Run<B>,
    targets: Vec<f32>,
    shape: [usize; 2],
) -> Result<Float<B>, GradError> {
    let logits = run.logits.clone();
    let targets = Float::from_host(targets, &shape, &logits.device());
    let weighted = log_softmax(logits, 1).and_then(|log| log.mul(targets)).map_err(problem)?;
    Ok(weighted.sum_all().scale(-1.0 / shape[0] as f64))
}

/// The logarithm of the softmax along an axis. The largest value is taken off first, as a constant, so that nothing overflows;
/// an infinite one gives NaN, as in PyTorch.
pub(crate) fn log_softmax<B: Kernels>(x: Float<B>, axis: usize) -> Result<Float<B>, String> {
    let largest = x.clone().detach().map(|x| B::float_max_dim(x, axis));
    let shifted = x.sub(largest)?;
    let total = shifted.clone().map(B::float_exp).sum(&[axis]).map(B::float_log);
    shifted.sub(total)
}
