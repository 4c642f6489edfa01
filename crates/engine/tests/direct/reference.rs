//! The operators as their specification writes them, in f64, one output at a time.

use bitquake_graph::build::AttrValue;

use crate::cases::{Case, IMAGES, Stored};

/// The outputs for all images, and for each the size of what it is made of: the sum of the products without their signs.
pub fn run(case: &Case, input: &[f32], stored: &Stored) -> (Vec<f64>, Vec<f64>) {
    let wide = |values: &[f32]| values.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
    let stored: Vec<Vec<f64>> = stored.iter().map(|(_, values)| wide(values)).collect();
    let images = input.chunks_exact(input.len() / IMAGES).flat_map(|image| {
        let image = wide(image);
        match case.op {
            "Conv" => conv(case, &image, &stored),
            "Gemm" | "MatMul" => product(case, &image, &stored),
            "BatchNormalization" => batch_norm(case, &image, &stored),
            "LayerNormalization" => layer_norm(case, &image, &stored),
            _ => elementwise(case, &image, &stored),
        }
    });
    images.unzip()
}

type Outputs = Vec<(f64, f64)>;

fn attribute<'c>(case: &'c Case, name: &str) -> Option<&'c AttrValue> {
    case.attributes.iter().find(|attribute| attribute.0 == name).map(|attribute| &attribute.1)
}

fn int(case: &Case, name: &str, default: i64) -> i64 {
    match attribute(case, name) {
        Some(AttrValue::Int(value)) => *value,
        _ => default,
    }
}

fn float(case: &Case, name: &str, default: f32) -> f64 {
    match attribute(case, name) {
        Some(AttrValue::Float(value)) => f64::from(*value),
        _ => f64::from(default),
    }
}

fn list(case: &Case, name: &str, default: i64, count: usize) -> Vec<i64> {
    match attribute(case, name) {
        Some(AttrValue::Ints(values)) => values.clone(),
        _ => vec![default; count],
    }
}

/// Padding before and after one dimension.
fn padding(case: &Case, at: usize, rank: usize, size: i64, reach: i64, stride: i64) -> [i64; 2] {
    let pads = list(case, "pads", 0, 2 * rank);
    let Some(AttrValue::Text(auto)) = attribute(case, "auto_pad") else { return [pads[at], pads[at + rank]] };
    let all = (((size + stride - 1) / stride - 1) * stride + reach - size).max(0);
    match auto.as_str() {
        "SAME_UPPER" => [all / 2, all - all / 2],
        "SAME_LOWER" => [all - all / 2, all / 2],
        _ => [0, 0],
    }
}

fn conv(case: &Case, image: &[f64], stored: &[Vec<f64>]) -> Outputs {
    let rank = case.input.len() - 1;
    let weight: Vec<i64> = case.stored[0].1.iter().map(|&dim| dim as i64).collect();
    let input: Vec<i64> = case.input.iter().map(|&dim| dim as i64).collect();
    let (strides, dilations) = (list(case, "strides", 1, rank), list(case, "dilations", 1, rank));
    // [input, window, stride, dilation, before, output]; one dimension gets a second of size 1.
    let mut axes = vec![[1, 1, 1, 1, 0, 1]; 2 - rank];
    for at in 0..rank {
        let (size, window, stride, dilation) = (input[at + 1], weight[at + 2], strides[at], dilations[at]);
        let reach = (window - 1) * dilation + 1;
        let [before, after] = padding(case, at, rank, size, reach, stride);
        axes.push([size, window, stride, dilation, before, (size + before + after - reach) / stride + 1]);
    }
    let (rows, columns) = (axes[0], axes[1]);
    let per_group = weight[0] / int(case, "group", 1);
    let mut outputs = Vec::new();
    for channel in 0..weight[0] {
        for row in 0..rows[5] {
            for column in 0..columns[5] {
                let bias = stored.get(1).map_or(0.0, |bias| bias[channel as usize]);
                let (mut sum, mut size) = (bias, bias.abs());
                for from in 0..weight[1] {
                    for y in 0..rows[1] {
                        for x in 0..columns[1] {
                            let at_row = row * rows[2] + y * rows[3] - rows[4];
                            let at_column = column * columns[2] + x * columns[3] - columns[4];
                            if !(0..rows[0]).contains(&at_row) || !(0..columns[0]).contains(&at_column) {
                                continue;
                            }
                            let source = channel / per_group * weight[1] + from;
                            let pixel =
                                image[((source * rows[0] + at_row) * columns[0] + at_column) as usize];
                            let place = ((channel * weight[1] + from) * rows[1] + y) * columns[1] + x;
                            sum += pixel * stored[0][place as usize];
                            size += (pixel * stored[0][place as usize]).abs();
                        }
                    }
                }
                outputs.push((sum, size));
            }
        }
    }
    outputs
}

fn product(case: &Case, image: &[f64], stored: &[Vec<f64>]) -> Outputs {
    let transposed = int(case, "transB", 0) == 1;
    let dims = &case.stored[0].1;
    let (inner, columns) = if transposed { (dims[1], dims[0]) } else { (dims[0], dims[1]) };
    let (alpha, beta) = (float(case, "alpha", 1.0), float(case, "beta", 1.0));
    let mut outputs = Vec::new();
    for row in image.chunks_exact(inner) {
        for column in 0..columns {
            let bias = stored.get(1).map_or(0.0, |bias| beta * bias[column % bias.len()]);
            let (mut sum, mut size) = (bias, bias.abs());
            for (k, x) in row.iter().enumerate() {
                let place = if transposed { column * inner + k } else { k * columns + column };
                sum += alpha * x * stored[0][place];
                size += (alpha * x * stored[0][place]).abs();
            }
            outputs.push((sum, size));
        }
    }
    outputs
}

/// The element that broadcasting takes, for an index into dimensions of the same or a higher rank.
fn broadcast(index: usize, of: &[usize], dims: &[usize]) -> usize {
    let (mut index, mut place, mut step) = (index, 0, 1);
    for (at, &size) in of.iter().rev().enumerate() {
        let dim = dims.iter().rev().nth(at).copied().unwrap_or(1);
        place += if dim == 1 { 0 } else { index % size * step };
        index /= size;
        step *= dim;
    }
    place
}

fn elementwise(case: &Case, image: &[f64], stored: &[Vec<f64>]) -> Outputs {
    let dims = &case.stored[0].1;
    let at = |place: usize| dims.iter().rev().nth(place).copied().unwrap_or(1);
    let rank = case.input.len();
    let output: Vec<usize> = (0..rank).map(|dim| case.input[dim].max(at(rank - 1 - dim))).collect();
    let outputs = (0..output.iter().product()).map(|index| {
        let x = image[broadcast(index, &output, case.input)];
        let w = stored[0][broadcast(index, &output, dims)];
        let (first, second) = if case.second { (w, x) } else { (x, w) };
        let value = match case.op {
            "Add" => first + second,
            "Sub" => first - second,
            "Mul" => first * second,
            "Div" => first / second,
            "PRelu" if x < 0.0 => w * x,
            "PRelu" => x,
            op => panic!("no case has {op}"),
        };
        (value, value.abs() + if matches!(case.op, "Add" | "Sub") { x.abs() + w.abs() } else { 0.0 })
    });
    outputs.collect()
}

fn batch_norm(case: &Case, image: &[f64], stored: &[Vec<f64>]) -> Outputs {
    let size = image.len() / case.input[0];
    let epsilon = float(case, "epsilon", 1e-5);
    let outputs = image.iter().enumerate().map(|(at, x)| {
        let [scale, bias, mean, variance] = [0, 1, 2, 3].map(|which| stored[which][at / size]);
        let factor = scale / (variance + epsilon).sqrt();
        ((x - mean) * factor + bias, (x * factor).abs() + (mean * factor).abs() + bias.abs())
    });
    outputs.collect()
}

fn layer_norm(case: &Case, image: &[f64], stored: &[Vec<f64>]) -> Outputs {
    let columns = stored[0].len();
    let epsilon = float(case, "epsilon", 1e-5);
    let mut outputs = Vec::new();
    for row in image.chunks_exact(columns) {
        let mean = row.iter().sum::<f64>() / columns as f64;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / columns as f64;
        for (at, x) in row.iter().enumerate() {
            let bias = stored.get(1).map_or(0.0, |bias| bias[at]);
            let normal = (x - mean) / (variance + epsilon).sqrt() * stored[0][at];
            let size = (x.abs() + mean.abs()) / (variance + epsilon).sqrt() * stored[0][at].abs();
            outputs.push((normal + bias, size + bias.abs()));
        }
    }
    outputs
}
