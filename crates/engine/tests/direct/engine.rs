//! One node in ONNX Runtime, with the settings of campaigns.

use bitquake_engine::{DISABLED_OPTIMISERS, Runtime};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::cases::{Case, IMAGES, Stored};

/// The node's output for all images.
pub fn run(case: &Case, input: &[f32], stored: &Stored) -> Vec<f32> {
    let builder = Session::builder(Runtime::load().expect("the runtime").environment());
    let mut session = builder
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
        .and_then(|builder| Ok(builder.with_disabled_optimizers(DISABLED_OPTIMISERS)?))
        .and_then(|builder| Ok(builder.with_intra_threads(1)?))
        .and_then(|mut builder| builder.commit_from_memory(&case.model(stored)))
        .expect("a session");
    let shape: Vec<i64> = [IMAGES].iter().chain(case.input).map(|&dim| dim as i64).collect();
    let input = TensorRef::from_array_view((shape, input)).expect("a tensor");
    let outputs = session.run(ort::inputs![input]).expect("outputs");
    outputs[0].try_extract_tensor::<f32>().expect("floats").1.to_vec()
}
