//! Convolutions, linear layers, pooling.

use super::initial::Fans;
use super::plan::{Features, Maps, Plan};
use crate::build::AttrValue;

/// A convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    channels: u64,
    kernel: u64,
    padding: u64,
    stride: u64,
    has_bias: bool,
}

impl Conv {
    /// To `channels` channels, with bias, stride 1, and a padding that keeps height and width (`kernel` is odd).
    pub(super) fn new(channels: u64, kernel: u64) -> Conv {
        Conv { channels, kernel, padding: kernel / 2, stride: 1, has_bias: true }
    }

    pub(super) fn stride(self, stride: u64) -> Conv {
        Conv { stride, ..self }
    }

    pub(super) fn padding(self, padding: u64) -> Conv {
        Conv { padding, ..self }
    }

    pub(super) fn bias(self, has_bias: bool) -> Conv {
        Conv { has_bias, ..self }
    }

    /// The height or width that comes of one.
    fn size(&self, size: u64) -> u64 {
        (size + 2 * self.padding).saturating_sub(self.kernel) / self.stride + 1
    }

    fn fans(&self, channels_in: u64) -> Fans {
        let area = self.kernel * self.kernel;
        Fans { fan_in: channels_in * area, fan_out: self.channels * area, always_in: false }
    }
}

impl Plan {
    pub(super) fn conv(&mut self, layer: &str, input: &Maps, conv: Conv) -> Maps {
        let Conv { channels, kernel, padding, stride, has_bias } = conv;
        let shape = [channels, input.channels, kernel, kernel];
        let fans = conv.fans(input.channels);
        let weight = self.random_weight(&format!("{layer}.weight"), &shape, fans);
        let bias = has_bias.then(|| self.weight(&format!("{layer}.bias"), &[channels], 0.0));
        let inputs: Vec<&str> = [Some(&input.name), Some(&weight), bias.as_ref()]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let attributes = [
            ("kernel_shape", AttrValue::Ints(vec![kernel as i64; 2])),
            ("pads", AttrValue::Ints(vec![padding as i64; 4])),
            ("strides", AttrValue::Ints(vec![stride as i64; 2])),
        ];
        let name = self.node(layer, "Conv", &inputs, &attributes);
        Maps { name, channels, height: conv.size(input.height), width: conv.size(input.width) }
    }

    pub(super) fn linear(&mut self, layer: &str, input: &Features, count: u64) -> Features {
        let name = format!("{layer}.out");
        self.linear_to(&name, layer, input, count);
        Features { name, count }
    }

    fn linear_to(&mut self, output: &str, layer: &str, input: &Features, count: u64) {
        let fans = Fans { fan_in: input.count, fan_out: count, always_in: true };
        let weight = self.random_weight(&format!("{layer}.weight"), &[count, input.count], fans);
        let bias = self.weight(&format!("{layer}.bias"), &[count], 0.0);
        let inputs = [input.name.as_str(), &weight, &bias];
        self.node_to(output, layer, "Gemm", &inputs, &[("transB", AttrValue::Int(1))]);
    }

    /// The last layer, and its scale.
    pub(super) fn logits(&mut self, features: &Features) {
        let classes = self.options.classes;
        let Some(scale) = self.options.logit_scale else {
            return self.linear_to("logits", "logits", features, classes);
        };
        self.linear_to("logits.out", "logits", features, classes);
        let scale = self.constant("logit_scale.factor", &[], &[scale]);
        self.node_to("logits", "logit_scale", "Mul", &["logits.out", &scale], &[]);
    }

    /// The largest of each 2x2 square; an odd last row or column is left out.
    pub(super) fn max_pool(&mut self, layer: &str, input: &Maps) -> Maps {
        let attributes =
            [("kernel_shape", AttrValue::Ints(vec![2; 2])), ("strides", AttrValue::Ints(vec![2; 2]))];
        let name = self.node(layer, "MaxPool", &[&input.name], &attributes);
        Maps { name, channels: input.channels, height: input.height / 2, width: input.width / 2 }
    }

    /// The largest value of each channel.
    pub(super) fn global_max_pool(&mut self, input: &Maps) -> Features {
        self.global_pool("GlobalMaxPool", input)
    }

    /// The mean of each channel.
    pub(super) fn global_average_pool(&mut self, input: &Maps) -> Features {
        self.global_pool("GlobalAveragePool", input)
    }

    fn global_pool(&mut self, op_type: &str, input: &Maps) -> Features {
        let name = self.node("pool", op_type, &[&input.name], &[]);
        self.flatten(&Maps { name, channels: input.channels, height: 1, width: 1 })
    }

    /// All values of an image in a row.
    pub(super) fn flatten(&mut self, input: &Maps) -> Features {
        let name = self.node("flatten", "Flatten", &[&input.name], &[]);
        Features { name, count: input.channels * input.height * input.width }
    }

    /// The sum of two values of one shape.
    pub(super) fn add(&mut self, layer: &str, left: &Maps, right: &Maps) -> Maps {
        let name = self.node(layer, "Add", &[&left.name, &right.name], &[]);
        Maps { name, ..left.clone() }
    }
}
