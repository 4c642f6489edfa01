//! Activations, quantized ones among them.

use super::options::Activation;
use super::plan::{Features, Maps, Plan};

impl Plan {
    pub(super) fn act(&mut self, layer: &str, input: &Maps) -> Maps {
        Maps { name: self.activation(layer, &input.name), ..input.clone() }
    }

    pub(super) fn act_features(&mut self, layer: &str, input: &Features) -> Features {
        Features { name: self.activation(layer, &input.name), count: input.count }
    }

    fn activation(&mut self, layer: &str, input: &str) -> String {
        match self.options.activation {
            Activation::Relu => self.node(layer, "Relu", &[input], &[]),
            Activation::Sigmoid => self.node(layer, "Sigmoid", &[input], &[]),
            Activation::Tanh => self.node(layer, "Tanh", &[input], &[]),
            Activation::Pact { bits, alpha } => {
                let alpha = self.weight(&format!("{layer}.alpha"), &[], alpha);
                let levels = self.constant("constants.highest_code", &[], &[highest_code(bits)]);
                let scale = self.node(&format!("{layer}.scale"), "Div", &[&alpha, &levels], &[]);
                self.quantized(layer, input, &alpha, &scale)
            }
            Activation::Dorefa { bits } => {
                let one = self.constant("constants.one", &[], &[1.0]);
                let scale = self.constant("constants.activation_scale", &[], &[1.0 / highest_code(bits)]);
                self.quantized(layer, input, &one, &scale)
            }
        }
    }

    /// Limited to `[0, limit]`, and rounded to a multiple of `scale`. The codes are unsigned bytes, none above `limit / scale`
    /// because the limit comes first.
    fn quantized(&mut self, layer: &str, input: &str, limit: &str, scale: &str) -> String {
        let zero = self.constant("constants.zero", &[], &[0.0]);
        let limited = self.node(&format!("{layer}.clip"), "Clip", &[input, &zero, limit], &[]);
        let codes = self.node(&format!("{layer}.quantize"), "QuantizeLinear", &[&limited, scale], &[]);
        self.node(layer, "DequantizeLinear", &[&codes, scale], &[])
    }
}

/// `2^bits - 1`.
fn highest_code(bits: u32) -> f32 {
    f32::from(u8::MAX >> (8 - bits))
}
