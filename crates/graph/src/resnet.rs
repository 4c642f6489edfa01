//! ResNet-20 for 32x32 colour images, as an ONNX model.
//!
//! The CIFAR network of He et al., "Deep Residual Learning for Image Recognition" (2016), section 4.2, with 16 base
//! channels: a 3x3 convolution, three stages of three residual blocks (16, 32, 64 channels; the second and third
//! stage start with stride 2), global average pooling, and a linear layer with bias. Convolutions have no bias and
//! are followed by batch normalization, which is kept as `BatchNormalization` nodes. Where the shape changes, the
//! shortcut is a 1x1 convolution with batch normalization. 272,474 trainable parameters.

use crate::about_normal::about_normal;
use crate::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};

/// The channels of the three stages.
const STAGES: [u64; 3] = [16, 32, 64];
/// The residual blocks of a stage.
const BLOCKS: usize = 3;
const CLASSES: u64 = 10;

/// The network with pseudo-random weights, as the bytes of an ONNX file.
///
/// Input `images`, f32 `[batch, 3, 32, 32]`; output `logits`, f32 `[batch, 10]`. The same seed gives the same bytes
/// on every machine: only integer arithmetic and exactly rounded float operations are used. Weights are about normal
/// with the variance of He et al., `2 / fan_in`; normalization has scale 1, shift 0, mean 0 and variance 1, so that
/// activations stay of ordinary size.
pub fn resnet20(seed: u64) -> Vec<u8> {
    let mut random = SplitMix64(seed);
    resnet20_with(|fan_in, count| {
        // The square root is exactly rounded by IEEE 754.
        let scale = (2.0 / fan_in as f64).sqrt();
        (0..count).map(|_| (about_normal(|| random.next()) * scale) as f32).collect()
    })
}

/// The network with the weights that `weights(fan_in, count)` gives: called once for each convolution, in the
/// network's order (of a block: first, second, shortcut), and last for the matrix of the linear layer. Each call asks
/// for `count` values in row-major order of `[out, in, height, width]`; missing values count as 0, further ones are
/// left out.
pub fn resnet20_with(weights: impl FnMut(usize, usize) -> Vec<f32>) -> Vec<u8> {
    let mut net = Net { model: ModelBuilder::new("resnet20"), weights };
    net.build();
    net.model.finish()
}

struct Net<W> {
    model: ModelBuilder,
    weights: W,
}

/// A convolution of the network.
struct Conv {
    channels_in: u64,
    channels_out: u64,
    kernel: u64,
    stride: u64,
}

impl<W: FnMut(usize, usize) -> Vec<f32>> Net<W> {
    fn build(&mut self) {
        let batch = BuildDim::Named("batch");
        let image = [batch, BuildDim::Fixed(3), BuildDim::Fixed(32), BuildDim::Fixed(32)];
        self.model.graph().input("images", ElemType::F32, &image);
        let stem = Conv { channels_in: 3, channels_out: STAGES[0], kernel: 3, stride: 1 };
        let mut value = self.conv_norm("conv1", "bn1", "images", &stem);
        value = self.relu(&value);
        let mut channels = STAGES[0];
        for (stage, wide) in STAGES.into_iter().enumerate() {
            for block in 0..BLOCKS {
                let name = format!("layer{}.{block}", stage + 1);
                value = self.block(&name, &value, channels, wide);
                channels = wide;
            }
        }
        self.head(&value, channels);
        self.model.graph().output("logits", ElemType::F32, &[batch, BuildDim::Fixed(CLASSES)]);
    }

    /// Two convolutions and a shortcut around them; the result's name.
    fn block(&mut self, name: &str, input: &str, channels_in: u64, channels_out: u64) -> String {
        let changes = channels_in != channels_out;
        let stride = if changes { 2 } else { 1 };
        let part = |part: &str| format!("{name}.{part}");
        let first = Conv { channels_in, channels_out, kernel: 3, stride };
        let inner = self.conv_norm(&part("conv1"), &part("bn1"), input, &first);
        let inner = self.relu(&inner);
        let second = Conv { channels_in: channels_out, channels_out, kernel: 3, stride: 1 };
        let inner = self.conv_norm(&part("conv2"), &part("bn2"), &inner, &second);
        let shortcut = if changes {
            let conv = Conv { channels_in, channels_out, kernel: 1, stride };
            self.conv_norm(&part("shortcut.conv"), &part("shortcut.bn"), input, &conv)
        } else {
            input.to_owned()
        };
        let sum = part("sum");
        self.model.graph().named_node(&part("add"), "Add", &[&inner, &shortcut], &[&sum], &[]);
        self.relu(&sum)
    }

    fn conv_norm(&mut self, conv: &str, norm: &str, input: &str, shape: &Conv) -> String {
        let &Conv { channels_in, channels_out, kernel, stride } = shape;
        let dims = [channels_out, channels_in, kernel, kernel];
        let weight = self.weight(&format!("{conv}.weight"), &dims, channels_in * kernel * kernel);
        let [convolved, output] = [conv, norm].map(|name| format!("{name}.out"));
        let (kernel, stride, pad) = (kernel as i64, stride as i64, (kernel / 2) as i64);
        let attributes = [
            ("kernel_shape", AttrValue::Ints(vec![kernel; 2])),
            ("pads", AttrValue::Ints(vec![pad; 4])),
            ("strides", AttrValue::Ints(vec![stride; 2])),
        ];
        self.model.graph().named_node(conv, "Conv", &[input, &weight], &[&convolved], &attributes);
        let parameters = self.norm_parameters(norm, channels_out);
        let [scale, shift, mean, variance] = parameters.each_ref().map(String::as_str);
        let inputs = [convolved.as_str(), scale, shift, mean, variance];
        self.model.graph().named_node(
            norm,
            "BatchNormalization",
            &inputs,
            &[&output],
            &[("epsilon", AttrValue::Float(1e-5))],
        );
        output
    }

    /// Scale, shift, running mean and running variance.
    fn norm_parameters(&mut self, norm: &str, channels: u64) -> [String; 4] {
        [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)].map(|(part, value)| {
            let name = format!("{norm}.{part}");
            let values = vec![value; channels as usize];
            self.model.graph().initializer(TensorSpec::f32(&name, &[channels], &values));
            name
        })
    }

    fn weight(&mut self, name: &str, shape: &[u64], fan_in: u64) -> String {
        let count = shape.iter().product::<u64>() as usize;
        let mut values = (self.weights)(fan_in as usize, count);
        values.resize(count, 0.0);
        self.model.graph().initializer(TensorSpec::f32(name, shape, &values));
        name.to_owned()
    }

    fn relu(&mut self, input: &str) -> String {
        let output = format!("{input}.relu");
        self.model.graph().node("Relu", &[input], &[&output], &[]);
        output
    }

    fn head(&mut self, input: &str, channels: u64) {
        self.model.graph().named_node("pool", "GlobalAveragePool", &[input], &["pooled"], &[]);
        self.model.graph().named_node("flatten", "Flatten", &["pooled"], &["features"], &[]);
        self.weight("fc.weight", &[CLASSES, channels], channels);
        self.model.graph().initializer(TensorSpec::f32("fc.bias", &[CLASSES], &[0.0; CLASSES as usize]));
        let inputs = ["features", "fc.weight", "fc.bias"];
        self.model.graph().named_node("fc", "Gemm", &inputs, &["logits"], &[("transB", AttrValue::Int(1))]);
    }
}

/// Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014): a counter through a mixer.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_about_normal_and_pinned() {
        let mut random = SplitMix64(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf); // the published first output for seed 0
        let numbers: Vec<f64> = (0..10_000).map(|_| about_normal(|| random.next())).collect();
        let mean = numbers.iter().sum::<f64>() / 1e4;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4;
        // Five standard errors: 0.05 for the mean, 0.07 for the variance; the seed is fixed.
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.07, "{mean} {variance}");
    }

    #[test]
    fn weights_are_asked_for_in_the_documented_order() {
        let mut calls = Vec::new();
        resnet20_with(|fan_in, count| {
            calls.push((fan_in, count));
            vec![9.0; count + 1]
        });
        assert_eq!(calls.len(), 22);
        assert_eq!(calls[0], (27, 432));
        assert_eq!(calls[7..10], [(144, 4608), (288, 9216), (16, 512)]);
        assert_eq!(calls.last(), Some(&(64, 640)));
    }
}
