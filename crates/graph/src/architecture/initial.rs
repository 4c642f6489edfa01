//! Initial weights, from integers and exactly rounded operations.

use bitquake_sample::Words;

use super::options::{Distribution, Fan};
use crate::about_normal::about_normal;

/// How many weights meet in an output of a layer, and in the gradient of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fans {
    pub(super) fan_in: u64,
    pub(super) fan_out: u64,
    /// Whether the layer goes by `fan_in` in any case.
    pub(super) always_in: bool,
}

/// How random weights are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Initial {
    pub(super) distribution: Distribution,
    pub(super) fan: Fan,
    pub(super) gain: f64,
}

impl Initial {
    /// `count` weights of a layer.
    pub(super) fn values(&self, fans: &Fans, words: &mut Words, count: u64) -> Vec<f32> {
        let deviation = self.gain / self.fan(fans).sqrt();
        let one: fn(&mut Words) -> f64 = match self.distribution {
            Distribution::KaimingNormal | Distribution::XavierNormal => |words| about_normal(|| words.u64()),
            Distribution::KaimingUniform | Distribution::XavierUniform => uniform,
        };
        (0..count).map(|_| (one(words) * deviation) as f32).collect()
    }

    fn fan(&self, fans: &Fans) -> f64 {
        let [fan_in, fan_out] = [fans.fan_in, fans.fan_out].map(|fan| fan as f64);
        match (self.distribution, self.fan) {
            (Distribution::XavierNormal | Distribution::XavierUniform, _) => (fan_in + fan_out) / 2.0,
            (_, Fan::Out) if !fans.always_in => fan_out,
            _ => fan_in,
        }
    }
}

/// Mean 0, variance 1, within `sqrt(3)`.
fn uniform(words: &mut Words) -> f64 {
    // 52 bits and a half are a double, from 0 to 2 and never either.
    let from_0_to_2 = ((words.u64() >> 12) as f64 + 0.5) / (1_u64 << 51) as f64;
    (from_0_to_2 - 1.0) * 3.0_f64.sqrt()
}
