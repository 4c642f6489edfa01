//! The table of options.

/// One key of an [`Architecture`](super::Architecture).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArchitectureKey {
    /// The key.
    pub name: &'static str,
    /// What it means, with range and default.
    pub about: &'static str,
}

const fn key(name: &'static str, about: &'static str) -> ArchitectureKey {
    ArchitectureKey { name, about }
}

/// Every key, in the order of the fields.
pub const KEYS: &[ArchitectureKey] = &[
    key("architecture", "the network, a name of the table above"),
    key("input", "channels, height and width of an image: `[3, 32, 32]`"),
    key("classes", "the number of classes, at least 2; as many logits"),
    key("channels", "base channels, 1 to 65536, of which the other layers have multiples"),
    key("hidden", "widths of the hidden layers, each 1 to 65536"),
    key("norm", "`none`, `bn`, `rebn`, `gn`, `regn`, `fixedbn` or `fixedgn`"),
    key(
        "zero_residuals",
        "whether the last normalization of a residual block begins with an effective scale of 0, so that blocks begin as identities",
    ),
    key(
        "activation",
        "`relu` (default), `sigmoid`, `tanh`, `{ pact = { bits = 4, alpha = 10.0 } }`, `{ dorefa = { bits = 4 } }`",
    ),
    key(
        "init",
        "distribution of initial weights: `kaiming-normal` (default), `kaiming-uniform`, `xavier-normal`, `xavier-uniform`",
    ),
    key("fan", "what a `kaiming` variance goes by in convolutions: `in` or `out`; linear layers go by `in`"),
    key("gain", "factor on initial weights, above 0; by default sqrt(2), for tanh 5/3, for the sigmoid 1"),
    key("clamp", "whether pixels are limited to [0, 1]; default true"),
    key(
        "whiten",
        "`{ mean = [..], std = [..] }`, one number a channel: pixels become (x - mean) / std; default none",
    ),
    key("rescale", "whether x then becomes 2 x - 1; default false"),
    key("logit_scale", "factor on the logits, above 0, not trained; default none"),
];

/// What a key means.
pub(super) fn about(name: &str) -> &'static str {
    KEYS.iter().find(|key| key.name == name).map_or("", |key| key.about)
}
