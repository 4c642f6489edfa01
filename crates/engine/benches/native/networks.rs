//! Networks of ImageNet's sizes, with random weights: what decides the time are shapes.

use bitquake_graph::build::{AttrValue, BuildDim, ElemType, ModelBuilder, TensorSpec};
use bitquake_testing::SplitMix64;

const BATCH: BuildDim<'static> = BuildDim::Named("batch");
const CLASSES: u64 = 1000;

/// What limits a layer's values.
#[derive(Clone, Copy, PartialEq)]
enum Limit {
    None,
    Relu,
    Relu6,
}

/// A value and its channels.
type Maps = (String, u64);

struct Net {
    model: ModelBuilder,
    random: SplitMix64,
    count: usize,
}

impl Net {
    fn new(name: &str) -> Net {
        let mut model = ModelBuilder::new(name);
        let side = BuildDim::Fixed(224);
        model.graph().input("images", ElemType::F32, &[BATCH, BuildDim::Fixed(3), side, side]);
        for (name, bound) in [("zero", 0.0), ("six", 6.0)] {
            model.graph().initializer(TensorSpec::f32(name, &[], &[bound]));
        }
        Net { model, random: SplitMix64::new(4), count: 0 }
    }

    fn input() -> Maps {
        ("images".to_owned(), 3)
    }

    fn name(&mut self, part: &str) -> String {
        self.count += 1;
        format!("{part}{}", self.count)
    }

    fn stored(&mut self, shape: &[u64], value: impl Fn(&mut SplitMix64) -> f64) -> String {
        let name = self.name("stored");
        let count = shape.iter().product::<u64>();
        let values: Vec<f32> = (0..count).map(|_| value(&mut self.random) as f32).collect();
        self.model.graph().initializer(TensorSpec::f32(&name, shape, &values));
        name
    }

    /// A convolution with its batch norm.
    fn layer(
        &mut self,
        (from, read): &Maps,
        written: u64,
        groups: u64,
        [kernel, stride]: [i64; 2],
        limit: Limit,
    ) -> Maps {
        let fan_in = read / groups * (kernel * kernel) as u64;
        let scale = (2.0 / fan_in as f64).sqrt();
        let shape = [written, read / groups, kernel as u64, kernel as u64];
        let weight = self.stored(&shape, |random| random.normal() * scale);
        let one = self.stored(&[written], |_| 1.0);
        let zero = self.stored(&[written], |_| 0.0);
        let [conv, norm, out] = ["conv", "norm", "out"].map(|part| self.name(part));
        let graph = self.model.graph();
        let attributes = [
            ("group", AttrValue::Int(groups as i64)),
            ("strides", AttrValue::Ints(vec![stride; 2])),
            ("pads", AttrValue::Ints(vec![kernel / 2; 4])),
        ];
        graph.node("Conv", &[from, &weight], &[&conv], &attributes);
        graph.node("BatchNormalization", &[&conv, &one, &zero, &zero, &one], &[&norm], &[]);
        match limit {
            Limit::None => return (norm, written),
            Limit::Relu => graph.node("Relu", &[&norm], &[&out], &[]),
            Limit::Relu6 => graph.node("Clip", &[&norm, "zero", "six"], &[&out], &[]),
        };
        (out, written)
    }

    fn sum(&mut self, left: &Maps, right: &Maps, limit: Limit) -> Maps {
        let [sum, out] = ["sum", "out"].map(|part| self.name(part));
        let graph = self.model.graph();
        graph.node("Add", &[&left.0, &right.0], &[&sum], &[]);
        if limit == Limit::None {
            return (sum, left.1);
        }
        graph.node("Relu", &[&sum], &[&out], &[]);
        (out, left.1)
    }

    /// Residual blocks, the first of them with a stride; bottlenecks if they expand.
    fn stage(&mut self, mut x: Maps, blocks: usize, width: u64, stride: i64, expansion: u64) -> Maps {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let out = width * expansion;
            let skip = if x.1 == out && stride == 1 {
                x.clone()
            } else {
                self.layer(&x, out, 1, [1, stride], Limit::None)
            };
            let mut y = x;
            if expansion > 1 {
                y = self.layer(&y, width, 1, [1, 1], Limit::Relu);
            }
            y = self.layer(&y, width, 1, [3, stride], Limit::Relu);
            y = self.layer(&y, out, 1, [if expansion > 1 { 1 } else { 3 }, 1], Limit::None);
            x = self.sum(&y, &skip, Limit::Relu);
        }
        x
    }

    fn finish(mut self, (from, read): &Maps) -> Vec<u8> {
        let head = self.stored(&[CLASSES, *read], |random| random.normal() * 0.02);
        let bias = self.stored(&[CLASSES], |_| 0.0);
        let graph = self.model.graph();
        graph.node("GlobalAveragePool", &[from], &["pooled"], &[]);
        graph.node("Flatten", &["pooled"], &["features"], &[]);
        let transposed = [("transB", AttrValue::Int(1))];
        graph.node("Gemm", &["features", &head, &bias], &["logits"], &transposed);
        graph.output("logits", ElemType::F32, &[BATCH, BuildDim::Fixed(CLASSES)]);
        self.model.finish()
    }
}

/// ResNet-18 and ResNet-50 (He et al. 2016, table 1).
pub fn resnet(name: &str, blocks: [usize; 4], expansion: u64) -> Vec<u8> {
    let mut net = Net::new(name);
    let (stem, _) = net.layer(&Net::input(), 64, 1, [7, 2], Limit::Relu);
    let window = [
        ("kernel_shape", AttrValue::Ints(vec![3; 2])),
        ("strides", AttrValue::Ints(vec![2; 2])),
        ("pads", AttrValue::Ints(vec![1; 4])),
    ];
    net.model.graph().node("MaxPool", &[&stem], &["small"], &window);
    let mut x = ("small".to_owned(), 64);
    for (stage, (blocks, width)) in blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
        x = net.stage(x, blocks, width, if stage == 0 { 1 } else { 2 }, expansion);
    }
    net.finish(&x)
}

/// MobileNet-V2 (Sandler et al. 2018, table 2).
pub fn mobilenet_v2() -> Vec<u8> {
    let mut net = Net::new("mobilenet-v2");
    let mut x = net.layer(&Net::input(), 32, 1, [3, 2], Limit::Relu6);
    let rows = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, width, blocks, stride) in rows {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            let wide = x.1 * expansion;
            let mut y = x.clone();
            if expansion > 1 {
                y = net.layer(&y, wide, 1, [1, 1], Limit::Relu6);
            }
            y = net.layer(&y, wide, wide, [3, stride], Limit::Relu6);
            y = net.layer(&y, width, 1, [1, 1], Limit::None);
            x = if stride == 1 && x.1 == width { net.sum(&x, &y, Limit::None) } else { y };
        }
    }
    let last = net.layer(&x, 1280, 1, [1, 1], Limit::Relu6);
    net.finish(&last)
}
