//! Normalizations.
//!
//! Group normalization is written as `InstanceNormalization` over the groups, then a product and a sum for each channel: ONNX
//! Runtime has a kernel for that, and runs it twice as fast as the operator `GroupNormalization`, which it composes of many.

use super::ArchitectureError;
use super::options::{Affine, Statistics};
use super::plan::{Features, Maps, Plan};
use crate::build::AttrValue;

const EPSILON: f32 = 1e-5;

/// What running statistics keep of themselves in a training step.
const MOMENTUM: f32 = 0.9;

/// The number of groups of `channels` channels: the first g of 32, 24, 16, 8 of which the smaller of g and half the channels
/// divides them. SPEC section 2.5. `None` if there is none.
fn groups(channels: u64) -> Option<u64> {
    let candidates = [32, 24, 16, 8].map(|most: u64| most.min(channels / 2));
    candidates.into_iter().find(|&groups| groups > 0 && channels.is_multiple_of(groups))
}

impl Plan {
    /// The normalization of the options, which begins with an effective scale of 1.
    pub(super) fn norm(&mut self, layer: &str, input: &Maps) -> Result<Maps, ArchitectureError> {
        self.norm_from(layer, input, 1.0)
    }

    /// As [`Plan::norm`], with an effective scale that begins at 0 if the options ask for zero residuals.
    pub(super) fn norm_of_residual(&mut self, layer: &str, input: &Maps) -> Result<Maps, ArchitectureError> {
        let scale = if self.options.zero_residuals { 0.0 } else { 1.0 };
        self.norm_from(layer, input, scale)
    }

    fn norm_from(&mut self, layer: &str, input: &Maps, scale: f32) -> Result<Maps, ArchitectureError> {
        let name = match self.options.norm.parts() {
            None => input.name.clone(),
            Some((Statistics::Batch, affine)) => {
                self.batch_norm(layer, &input.name, input.channels, affine, scale)
            }
            Some((Statistics::Groups, affine)) => self.group_norm(layer, input, affine, scale)?,
        };
        Ok(Maps { name, ..input.clone() })
    }

    /// The normalization of features, which have no groups.
    pub(super) fn norm_features(
        &mut self,
        layer: &str,
        input: &Features,
    ) -> Result<Features, ArchitectureError> {
        let name = match self.options.norm.parts() {
            None => input.name.clone(),
            Some((Statistics::Batch, affine)) => {
                self.batch_norm(layer, &input.name, input.count, affine, 1.0)
            }
            Some((Statistics::Groups, _)) => {
                let norm = self.options.norm.name();
                return Err(ArchitectureError::NormOfFeatures { norm, layer: layer.to_owned() });
            }
        };
        Ok(Features { name, count: input.count })
    }

    fn batch_norm(&mut self, layer: &str, input: &str, channels: u64, affine: Affine, scale: f32) -> String {
        let [scale, shift] = match affine {
            Affine::Fixed => self.identity(channels),
            stored => [
                self.scale(layer, &[channels], stored, scale),
                self.weight(&format!("{layer}.shift"), &[channels], 0.0),
            ],
        };
        let mean = self.statistic(&format!("{layer}.mean"), &[channels], 0.0);
        let variance = self.statistic(&format!("{layer}.variance"), &[channels], 1.0);
        let inputs = [input, &scale, &shift, &mean, &variance];
        let attributes = [("epsilon", AttrValue::Float(EPSILON)), ("momentum", AttrValue::Float(MOMENTUM))];
        self.node(layer, "BatchNormalization", &inputs, &attributes)
    }

    fn group_norm(
        &mut self,
        layer: &str,
        input: &Maps,
        affine: Affine,
        scale: f32,
    ) -> Result<String, ArchitectureError> {
        let channels = input.channels;
        let no_groups = || ArchitectureError::NoGroups {
            norm: self.options.norm.name(),
            layer: layer.to_owned(),
            channels,
        };
        let groups = groups(channels).ok_or_else(no_groups)?;
        let [ones, zeros] = self.identity(groups);
        // 0 keeps the batch, -1 takes what is left.
        let by_group = self.shape(&format!("constants.shape_{groups}_groups"), &[0, groups as i64, -1]);
        let sizes = [channels, input.height, input.width];
        let name = format!("constants.shape_{}x{}x{}", sizes[0], sizes[1], sizes[2]);
        let by_channel = self.shape(&name, &[0, sizes[0] as i64, sizes[1] as i64, sizes[2] as i64]);
        let part = |part: &str| format!("{layer}.{part}");
        let split = self.node(&part("split"), "Reshape", &[&input.name, &by_group], &[]);
        let epsilon = [("epsilon", AttrValue::Float(EPSILON))];
        let inputs = [split.as_str(), &ones, &zeros];
        let normal = self.node(&part("normalize"), "InstanceNormalization", &inputs, &epsilon);
        if affine == Affine::Fixed {
            return Ok(self.node(layer, "Reshape", &[&normal, &by_channel], &[]));
        }
        let joined = self.node(&part("join"), "Reshape", &[&normal, &by_channel], &[]);
        let scale = self.scale(layer, &[channels, 1, 1], affine, scale);
        let shift = self.weight(&part("shift"), &[channels, 1, 1], 0.0);
        let scaled = self.node(&part("multiply"), "Mul", &[&joined, &scale], &[]);
        Ok(self.node(layer, "Add", &[&scaled, &shift], &[]))
    }

    /// The scale that a normalization multiplies with, from the one that is stored.
    fn scale(&mut self, layer: &str, shape: &[u64], affine: Affine, effective: f32) -> String {
        let name = format!("{layer}.scale");
        if affine != Affine::MinusOne {
            return self.weight(&name, shape, effective);
        }
        let stored = self.weight(&name, shape, effective - 1.0);
        let one = self.constant("constants.one", &[], &[1.0]);
        self.node(&format!("{layer}.effective_scale"), "Add", &[&stored, &one], &[])
    }

    /// A scale and a shift that change nothing.
    fn identity(&mut self, count: u64) -> [String; 2] {
        [("ones", 1.0), ("zeros", 0.0)].map(|(name, value)| {
            self.constant(&format!("constants.{name}_{count}"), &[count], &vec![value; count as usize])
        })
    }
}

#[cfg(test)]
mod tests {
    use bitquake_testing::assert_cases;

    use super::groups;

    #[test]
    fn groups_by_the_rule_of_the_specification() {
        let cases = [
            (64, Some(32)),
            (96, Some(32)),
            (128, Some(32)),
            (48, Some(24)),
            (72, Some(24)),
            (80, Some(16)),
            (88, Some(8)),
            (40, Some(20)), // half the channels
            (16, Some(8)),
            (10, Some(5)),
            (3, Some(1)),
            (2, Some(1)),
            (1, None), // half of one channel is none
            (9, None),
            (33, None),
            (100, None),
        ];
        assert_cases(cases.map(|(channels, expected)| (channels, channels, expected)), groups);
    }
}
