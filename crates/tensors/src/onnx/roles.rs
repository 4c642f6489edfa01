//! The one table of what operators do with their inputs, for telling weights from settings.
//!
//! A tensor can be a parameter or a setting (a shape, an axis, a bound) and the file does not say which. The rule:
//!
//! - What carries [`SETTING_MARK`](super::SETTING_MARK) is a setting.
//! - Dtypes that are no number format are settings, and so are 64-bit integers.
//! - Floats are weights, unless everything that takes them takes them as a setting (column `floats`).
//! - Floats that are taken as a statistic and as nothing else (`statistics`) are statistics.
//! - Integers of up to 16 bits are weights, unless everything that takes them takes them as a setting (`integers`).
//! - 32-bit integers are settings, unless something takes them as a weight (`words32`): exporters write shapes and
//!   axes with 32 bits, and quantized biases too.
//! - Tensors in attributes of nodes other than `Constant`, and indices of sparse tensors, are settings.
//! - What nothing takes follows its dtype: floats and short integers are weights, 32-bit integers are settings.
//!
//! An operator or a position that is not in the table counts as taking a parameter (floats, short integers) or as
//! unknown (32-bit integers). Being a graph output counts like that too.
//!
//! To add an operator: one row, positions counted from 0 as in the operator's specification. Where versions of an
//! operator differ (`Upsample` and `Resize` moved their scales), list the positions of all versions.

/// What the inputs of some operators are; a position that is in no list is a parameter.
pub(super) struct OpRow {
    /// The operators, of the standard or the `com.microsoft` domain.
    pub(super) ops: &'static [&'static str],
    /// Positions where a float is a setting.
    pub(super) floats: &'static [usize],
    /// Positions where an integer is a setting.
    pub(super) integers: &'static [usize],
    /// Positions where a 32-bit integer is a weight.
    pub(super) words32: &'static [usize],
    /// Positions where a float is a statistic.
    pub(super) statistics: &'static [usize],
}

const fn settings(
    ops: &'static [&'static str],
    floats: &'static [usize],
    integers: &'static [usize],
) -> OpRow {
    OpRow { ops, floats, integers, words32: &[], statistics: &[] }
}

const fn weights(ops: &'static [&'static str], words32: &'static [usize]) -> OpRow {
    OpRow { ops, floats: &[], integers: &[], words32, statistics: &[] }
}

const fn statistics(ops: &'static [&'static str], statistics: &'static [usize]) -> OpRow {
    OpRow { ops, floats: &[], integers: &[], words32: &[], statistics }
}

/// The table. An operator may be in several rows.
pub(super) const OPS: &[OpRow] = &[
    // Bounds, ratios, factors.
    settings(&["Clip"], &[1, 2], &[1, 2]),
    settings(&["Dropout"], &[1], &[]),
    settings(&["Resize"], &[1, 2], &[3]),
    settings(&["Upsample"], &[1], &[]),
    settings(&["Pad"], &[2], &[1, 2, 3]),
    settings(&["Range"], &[0, 1, 2], &[0, 1, 2]),
    settings(&["NonMaxSuppression"], &[3, 4], &[2]),
    settings(&["Bernoulli", "RandomNormalLike", "RandomUniformLike"], &[0], &[0]),
    settings(&["MelWeightMatrix"], &[3, 4], &[0, 1, 2, 3, 4]),
    // Shapes, axes, sizes.
    settings(&["Reshape", "Expand", "Tile", "Unsqueeze", "Squeeze", "Split", "SplitToSequence"], &[], &[1]),
    settings(&["ConstantOfShape", "RandomNormal", "RandomUniform", "HannWindow", "HammingWindow"], &[], &[0]),
    settings(&["BlackmanWindow"], &[], &[0]),
    settings(&["AffineGrid", "CenterCropPad", "TopK", "Trilu", "CumSum", "BitShift"], &[], &[1]),
    settings(&["Slice"], &[], &[1, 2, 3, 4]),
    settings(&["Col2Im", "DFT"], &[], &[1, 2]),
    settings(&["STFT"], &[], &[1, 3]),
    settings(&["MaxUnpool"], &[], &[1, 2]),
    settings(&["OneHot"], &[], &[0, 1]),
    settings(
        &["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"],
        &[],
        &[1],
    ),
    settings(&["ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"], &[], &[1]),
    // Indices and lengths.
    settings(&["Gather", "GatherElements", "GatherND", "ArrayFeatureExtractor", "Compress"], &[], &[1]),
    settings(&["Scatter", "ScatterElements", "ScatterND", "ReverseSequence"], &[], &[1]),
    settings(&["SequenceAt", "SequenceErase"], &[], &[1]),
    settings(&["SequenceInsert"], &[], &[2]),
    settings(&["LSTM", "GRU", "RNN"], &[], &[4]),
    // Control.
    settings(&["If", "Where"], &[], &[0]),
    settings(&["Loop"], &[], &[0, 1]),
    // Running mean and variance.
    statistics(&["BatchNormalization"], &[3, 4]),
    // Where a 32-bit integer is a quantized parameter.
    weights(&["DequantizeLinear"], &[0, 2]),
    weights(&["QLinearConv"], &[2, 3, 5, 7, 8]),
    weights(&["QLinearMatMul"], &[0, 2, 3, 5, 7]),
    weights(&["QGemm"], &[0, 2, 3, 5, 6, 8]),
    weights(&["ConvInteger", "MatMulInteger"], &[0, 1, 2, 3]),
    weights(&["MatMul", "Gemm"], &[0, 1, 2]),
    weights(&["Gather"], &[0]),
];

/// The rows of an operator; operators of other domains have none.
pub(super) fn rows(domain: &str, op: &str) -> impl Iterator<Item = &'static OpRow> {
    let is_listed = matches!(domain, "" | "ai.onnx" | "com.microsoft");
    OPS.iter().filter(move |row| is_listed && row.ops.contains(&op))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_position_is_both_a_setting_and_a_weight() {
        for op in OPS.iter().flat_map(|row| row.ops) {
            for row in rows("", op) {
                for position in row.words32 {
                    assert!(!rows("", op).any(|row| row.integers.contains(position)), "{op} {position}");
                }
            }
        }
    }

    #[test]
    fn other_domains_have_no_rows() {
        assert_eq!(rows("", "Reshape").count(), 1);
        assert_eq!(rows("com.microsoft", "QGemm").count(), 1);
        assert_eq!(rows("my.domain", "Reshape").count(), 0);
    }
}
