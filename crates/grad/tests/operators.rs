//! Every operator: values and NaN classes against ONNX Runtime, gradients and Hessian products against differences.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use bitquake_grad::{Device, Mode, Network, Objective, Pass, operators};
use support::cases::{CASES, Case};
use support::{distance, normal, runtime};

#[test]
fn every_operator_has_a_case() {
    for (name, _) in operators() {
        assert!(CASES.iter().any(|case| case.name.split(' ').next() == Some(&name)), "{name}");
    }
}

fn network(case: &Case) -> Network {
    Network::from_onnx(&case.model(), Device::Cpu).unwrap()
}

/// Runs a check on all cases and reports all that fail.
fn each(check: impl Fn(&Case) -> Result<(), String>) {
    let failures: Vec<String> = CASES
        .iter()
        .filter_map(|case| check(case).err().map(|what| format!("{}: {what}", case.name)))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn values_agree_with_onnx_runtime() {
    each(|case| {
        let images = case.images();
        let found =
            network(case).forward(&images, case.shape[0], Mode::Evaluate).map_err(|e| e.to_string())?;
        let wanted = runtime(&case.model(), &images, case.shape);
        let far = distance(&found, &wanted);
        if far < 1e-5 { Ok(()) } else { Err(format!("{far}: {found:?} is not {wanted:?}")) }
    });
}

#[test]
fn nan_and_infinities_agree_with_onnx_runtime() {
    each(|case| {
        if !case.nonfinite {
            return Ok(());
        }
        for (place, odd) in [(0, f32::NAN), (1, f32::INFINITY), (2, f32::NEG_INFINITY)] {
            let mut images = case.images();
            let place = (place * images.len() / 3 + 1) % images.len();
            images[place] = odd;
            let found =
                network(case).forward(&images, case.shape[0], Mode::Evaluate).map_err(|e| e.to_string())?;
            if odd.is_nan() && case.runtime_drops_nan {
                if !found.iter().any(|value| value.is_nan()) {
                    return Err("drops a NaN".to_owned());
                }
                continue;
            }
            let wanted = runtime(&case.model(), &images, case.shape);
            let far = distance(&found, &wanted);
            if far >= 1e-5 {
                return Err(format!("{odd} at {place}: {far}: {found:?} is not {wanted:?}"));
            }
        }
        Ok(())
    });
}

/// A network, its parameters, and the objective: the outputs times fixed factors.
struct Setup {
    network: Network,
    images: Vec<f32>,
    batch: usize,
    parameters: Vec<usize>,
    factors: Vec<f32>,
    mode: Mode,
}

impl Setup {
    fn new(case: &Case, mode: Mode) -> Setup {
        let network = Network::from_onnx(&case.curved(), Device::Cpu).unwrap();
        let images = case.images();
        let batch = case.shape[0];
        let count = network.forward(&images, batch, mode).unwrap().len();
        // By definition without a gradient.
        let is_differentiated =
            |&index: &usize| !["scale", "fill"].contains(&network.parameters()[index].name.as_str());
        let parameters = (0..network.parameters().len()).filter(is_differentiated).collect();
        Setup { network, images, batch, parameters, factors: normal(11, count), mode }
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            images: &self.images,
            batch: self.batch,
            objective: Objective::Cotangent(&self.factors),
            mode: self.mode,
            parameters: &self.parameters,
            values: &[],
        }
    }

    fn objective(&self) -> f64 {
        let outputs = self.network.forward(&self.images, self.batch, self.mode).unwrap();
        outputs.iter().zip(&self.factors).map(|(&y, &c)| f64::from(y) * f64::from(c)).sum()
    }

    /// What `measure` gives with one element of a parameter moved up and down, divided: the derivative.
    fn differences<T>(
        &mut self,
        at: (usize, usize),
        step: f32,
        measure: impl Fn(&Setup) -> T,
        divide: impl Fn(T, T, f64) -> T,
    ) -> T {
        let (index, element) = at;
        let start = self.network.parameter(index).to_vec();
        let mut moved = |by: f32| {
            let mut values = start.clone();
            values[element] += by;
            self.network.set_parameter(index, &values).unwrap();
            (measure(self), values[element])
        };
        let ((high, top), (low, bottom)) = (moved(step), moved(-step));
        self.network.set_parameter(index, &start).unwrap();
        divide(high, low, f64::from(top) - f64::from(bottom))
    }
}

/// The difference between found and wanted, over the largest wanted.
fn relative(found: &[f64], wanted: &[f64]) -> f64 {
    let scale = wanted.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    found.iter().zip(wanted).fold(0.0_f64, |most, (a, b)| most.max((a - b).abs())) / scale
}

fn modes(case: &Case) -> Vec<Mode> {
    let is_batch = case.name.starts_with("BatchNormalization");
    if is_batch { vec![Mode::Evaluate, Mode::Train] } else { vec![Mode::Evaluate] }
}

/// Central differences of the objective, element by element. Tolerance: what rounding leaves at this step.
#[test]
fn gradients_agree_with_differences() {
    each(|case| {
        for mode in modes(case).into_iter().filter(|_| case.exact_gradient) {
            let mut setup = Setup::new(case, mode);
            let gradients = setup.network.gradients(&setup.pass()).map_err(|e| e.to_string())?;
            for (&index, gradient) in setup.parameters.clone().iter().zip(&gradients.parameters) {
                let slope = |element| {
                    setup.differences((index, element), 2e-3, Setup::objective, |high, low, by| {
                        (high - low) / by
                    })
                };
                let wanted: Vec<f64> = (0..gradient.len()).map(slope).collect();
                let found: Vec<f64> = gradient.iter().map(|&value| value.into()).collect();
                let far = relative(&found, &wanted);
                if far > 3e-3 || far.is_nan() {
                    let name = &setup.network.parameters()[index].name;
                    return Err(format!("{mode:?} {name}: {far}: {found:?} is not {wanted:?}"));
                }
            }
        }
        Ok(())
    });
}

/// A Hessian product is the change of the gradient along the direction.
#[test]
fn hessian_products_agree_with_differences_of_gradients() {
    each(|case| {
        for mode in modes(case).into_iter().filter(|_| case.exact_gradient) {
            let mut setup = Setup::new(case, mode);
            let elements = |&index: &usize| setup.network.parameters()[index].elements();
            let direction = setup.parameters.iter().map(|index| normal(50 + *index as u64, elements(index)));
            let direction: Vec<Vec<f32>> = direction.collect();
            let product =
                setup.network.hessian_product(&setup.pass(), &direction).map_err(|e| e.to_string())?;
            let plain = setup.network.gradients(&setup.pass()).map_err(|e| e.to_string())?;
            let far = distance(&product.gradients.concat(), &plain.parameters.concat());
            if far > 1e-5 {
                return Err(format!("the gradients are {far} from those of one backward pass"));
            }
            let start: Vec<Vec<f32>> =
                setup.parameters.iter().map(|&index| setup.network.parameter(index).to_vec()).collect();
            let mut moved = |by: f32| {
                for (&index, (start, direction)) in setup.parameters.iter().zip(start.iter().zip(&direction))
                {
                    let values: Vec<f32> = start.iter().zip(direction).map(|(w, v)| w + by * v).collect();
                    setup.network.set_parameter(index, &values).unwrap();
                }
                setup.network.gradients(&setup.pass()).unwrap().parameters.concat()
            };
            let (high, low) = (moved(1e-3), moved(-1e-3));
            let wanted: Vec<f64> =
                high.iter().zip(&low).map(|(h, l)| (f64::from(*h) - f64::from(*l)) / 2e-3).collect();
            let found: Vec<f64> = product.products.concat().into_iter().map(f64::from).collect();
            let far = relative(&found, &wanted);
            if far > 5e-3 || far.is_nan() {
                return Err(format!("{mode:?}: {far}: {found:?} is not {wanted:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn quantizers_are_straight_through() {
    let case = CASES.iter().find(|case| case.name == "QuantizeLinear").unwrap();
    let network = network(case);
    let images = case.images();
    let factors = vec![1.0; images.len()];
    let objective = Objective::Cotangent(&factors);
    let pass =
        Pass { images: &images, batch: 2, objective, mode: Mode::Evaluate, parameters: &[], values: &["x"] };
    let gradients = network.gradients(&pass).unwrap();
    for (&x, &gradient) in images.iter().zip(&gradients.values[0]) {
        let code = (x / 0.013).round_ties_even() + 120.0;
        let wanted = if (0.0..=255.0).contains(&code) { 1.0 } else { 0.0 };
        assert!((gradient - wanted).abs() < 1e-6, "{x}: {gradient}");
    }
    assert!(gradients.values[0].contains(&0.0), "no value is outside the range");
}
