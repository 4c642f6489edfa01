//! The table of fault models.

use super::FaultModel;
use super::value::Value;

/// One row of [`MODELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelRow {
    /// The name in `[fault] model`, on the command line and in messages: lower case, unique.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What the model takes, besides `model`, `target`, `select`, `bits` and `at_least`, which all models take.
    pub keys: &'static [ModelKey],
    /// Whether `at_least = 1` is available ([`FaultModel::draw_at_least_one`]).
    pub conditionable: bool,
}

/// One key of `[fault]` that a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelKey {
    /// The key.
    pub name: &'static str,
    /// What it means, with unit and range.
    pub about: &'static str,
}

const fn key(name: &'static str, about: &'static str) -> ModelKey {
    ModelKey { name, about }
}

const RATES: ModelKey = key("rates", "probability of a hit for each bit, in [0, 1], one point each");
const COUNTS: ModelKey = key("counts", "exact number of bits hit, one point each");
const SITES: ModelKey = key("sites", "the bits hit: TENSOR:INDEX:BIT, TENSOR@lbi:A..B, TENSOR@address:A..B");
const PATTERN: ModelKey =
    key("pattern", "the flips of a saved fault pattern: a JSON file of inject, replay or attack");
const POSITION_RATES: ModelKey = key("position_rates", "a probability for each bit of the word, bit 0 first");
const REGIONS: ModelKey = key("regions", "list of { sites, rate }: bits with a probability of their own");
const FRACTIONS: ModelKey = key(
    "fractions",
    "shares of the elements, in [0, 1], of each of which one random bit is hit, one point each",
);
const TO_ONE: ModelKey = key("to_one", "factor on the rate for bits that hold 0; default 1; goes with rates");
const TO_ZERO: ModelKey =
    key("to_zero", "factor on the rate for bits that hold 1; default 1; goes with rates");
const ELEMENT_RATES: ModelKey =
    key("rates", "probability of a hit for each element, in [0, 1], one point each");
const ELEMENT_COUNTS: ModelKey = key("counts", "exact number of elements hit, one point each");
const ELEMENT_FRACTIONS: ModelKey = key(
    "fractions",
    "shares of the elements hit, in [0, 1]: the nearest whole number, at least 1, one point each",
);
const ELEMENT_SITES: ModelKey = key("sites", "the elements hit: TENSOR:INDEX");
const EFFECT: ModelKey = key("effect", "what a hit does: flip (default), set-0, set-1");

const BITS_HIT: &[ModelKey] = &[RATES, COUNTS, SITES, PATTERN, POSITION_RATES, REGIONS, FRACTIONS];

/// Every fault model. The list exists once: configuration, help pages and tests loop over it.
pub const MODELS: &[ModelRow] = &[
    ModelRow {
        name: "bit-flip",
        about: "bits are replaced by their complements",
        keys: &[RATES, COUNTS, SITES, PATTERN, POSITION_RATES, REGIONS, FRACTIONS, TO_ONE, TO_ZERO],
        conditionable: true,
    },
    ModelRow { name: "stuck-at-0", about: "bits always read 0", keys: BITS_HIT, conditionable: true },
    ModelRow { name: "stuck-at-1", about: "bits always read 1", keys: BITS_HIT, conditionable: true },
    ModelRow {
        name: "set-value",
        about: "words are set to a number or to given bits",
        keys: &[
            key(
                "value",
                "a number that the format has exactly, the bits as \"0x...\", or \"saturate\": the largest finite magnitude",
            ),
            ELEMENT_RATES,
            ELEMENT_COUNTS,
            ELEMENT_FRACTIONS,
            ELEMENT_SITES,
        ],
        conditionable: true,
    },
    ModelRow {
        name: "random-value",
        about: "words are replaced by uniformly random ones",
        keys: &[ELEMENT_RATES, ELEMENT_COUNTS, ELEMENT_FRACTIONS, ELEMENT_SITES],
        conditionable: true,
    },
    ModelRow {
        name: "burst",
        about: "runs of neighbouring bits are hit (multi-bit upsets)",
        keys: &[
            key("rates", "probability of a burst for each window of neighbouring bits, one point each"),
            key("counts", "exact number of bursts, one point each"),
            key("length", "bits in a burst: a number, or a list of [length, weight]"),
            key("neighbours", "\"word\" (default): within one word; \"memory\": by bit address across words"),
            key("each", "probability that a bit of the burst is hit; default 1"),
            EFFECT,
        ],
        conditionable: true,
    },
    ModelRow {
        name: "map",
        about: "the faulty cells of a measured or synthetic chip, laid over the tensors",
        keys: &[
            key("chip", "CSV or npz file of the chip, or a table of a synthetic one"),
            key("voltages", "one point each; the cells below whose threshold it is are faulty"),
            key(
                "offset",
                "cell of the first bit: a number, a list (trial t takes entry t) or \"random\" (default)",
            ),
        ],
        conditionable: false,
    },
    ModelRow {
        name: "dram",
        about: "rows, columns, banks or devices of a DRAM that holds the tensors",
        keys: &[
            key("rates", "probability that a structure fails, for each, one point each"),
            key("counts", "exact number of structures that fail, one point each"),
            key("structure", "row, column, bank or device"),
            key("scope", "\"one-device\" (default) or \"all-devices\""),
            key("geometry", "channels, ranks, banks, rows, columns, bus_bits, device_bits, order"),
            key("align", "tensors start at multiples of this many bytes; default 64"),
            key("each", "probability that a bit of a failed structure is hit; default 1"),
            EFFECT,
        ],
        conditionable: true,
    },
    ModelRow {
        name: "shape",
        about: "words that form a shape fail together: channels, rows, blocks, measured patterns",
        keys: &[
            key("rates", "probability that an event strikes, for each element, one point each"),
            key("counts", "exact number of events, one point each"),
            key("sites", "the elements struck: TENSOR:INDEX"),
            key("shape", "neuron, channel, row, column, block, bullet-wake, or { file = \"pattern.json\" }"),
            key(
                "size",
                "of a block: [rows, columns], or one number for both; of a bullet wake: channels; default all",
            ),
            key(
                "effect",
                "what happens to a word: flip (default), set-0, set-1, random-value, zero, saturate, { value = X }",
            ),
            key(
                "bits_hit",
                "bits that flip or are set: \"one\" (default) at random, \"all\", or a probability for each",
            ),
        ],
        conditionable: true,
    },
    ModelRow {
        name: "mixture",
        about: "several models in one trial",
        keys: &[key("parts", "list of models, each with its own keys")],
        conditionable: true,
    },
];

impl FaultModel {
    /// The model's row of [`MODELS`].
    #[must_use]
    pub fn row(&self) -> &'static ModelRow {
        let name = self.name();
        let row = MODELS.iter().find(|row| row.name == name);
        row.unwrap_or_else(|| unreachable!("every model has a row; a test draws each"))
    }

    /// The model's name, for example `"stuck-at-0"`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::BitFlip(_) | Self::Asymmetric { .. } => "bit-flip",
            Self::StuckAt { value: false, .. } => "stuck-at-0",
            Self::StuckAt { value: true, .. } => "stuck-at-1",
            Self::SetValue { value: Value::Random, .. } => "random-value",
            Self::SetValue { .. } => "set-value",
            Self::Burst(_) => "burst",
            Self::Map(_) => "map",
            Self::Dram(_) => "dram",
            Self::Shape(_) => "shape",
            Self::Mixture(_) => "mixture",
        }
    }
}
