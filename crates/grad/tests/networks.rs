//! Whole networks against ONNX Runtime.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Mode, Network, Objective, Pass};
use bitquake_graph::resnet::resnet20;
use support::{distance, fashion, normal, runtime};

fn networks() -> [(&'static str, Vec<u8>, Vec<usize>); 2] {
    [("fashion", fashion(), vec![3, 1, 28, 28]), ("resnet20", resnet20(1), vec![2, 3, 32, 32])]
}

#[test]
fn values_agree_with_onnx_runtime() {
    for (name, model, shape) in networks() {
        let images = normal(3, shape.iter().product());
        let network = Network::from_onnx(&model, Device::Cpu).unwrap();
        let found = network.forward(&images, shape[0], Mode::Evaluate).unwrap();
        let far = distance(&found, &runtime(&model, &images, &shape));
        assert!(far < 1e-5, "{name}: {far}");
    }
}

/// The loss changes along a direction as its gradient says: central differences at two steps, extrapolated.
#[test]
fn gradients_agree_with_differences() {
    for (name, model, shape) in networks() {
        for mode in [Mode::Evaluate, Mode::Train] {
            let images = normal(4, shape.iter().product());
            let labels: Vec<u32> = (0..shape[0] as u32).collect();
            let mut network = Network::from_onnx(&model, Device::Cpu).unwrap();
            let parameters: Vec<usize> = (0..network.parameters().len()).collect();
            let objective = Objective::CrossEntropy { labels: &labels, smoothing: 0.1 };
            let pass = Pass {
                images: &images,
                batch: shape[0],
                objective,
                mode,
                parameters: &parameters,
                values: &[],
            };
            let gradients = network.gradients(&pass).unwrap();
            // The steepest direction has the clearest slope.
            let steep: f64 = gradients.parameters.iter().flatten().map(|&g| f64::from(g).powi(2)).sum();
            let start: Vec<Vec<f32>> =
                parameters.iter().map(|&index| network.parameter(index).to_vec()).collect();
            let mut loss = |step: f64| {
                for (&index, values) in parameters.iter().zip(&start) {
                    let moved = values.iter().zip(&gradients.parameters[index]);
                    let moved: Vec<f32> =
                        moved.map(|(&w, &g)| (f64::from(w) + step * f64::from(g)) as f32).collect();
                    network.set_parameter(index, &moved).unwrap();
                }
                network.gradients(&Pass { parameters: &[], ..pass }).unwrap().loss
            };
            let step = 3e-3 / steep.sqrt();
            let slope =
                |loss: &mut dyn FnMut(f64) -> f64, step: f64| (loss(step) - loss(-step)) / (2.0 * step);
            let (coarse, fine) = (slope(&mut loss, 2.0 * step), slope(&mut loss, step));
            let slope = (4.0 * fine - coarse) / 3.0;
            assert!((slope - steep).abs() < 2e-2 * steep, "{name} {mode:?}: {slope} is not {steep}");
        }
    }
}
