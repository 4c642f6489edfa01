//! Which family has which fields.

use crate::spec::{Family, QuantizerSpec};

/// A field, whether it is set, the families it belongs to, and those in words.
pub(super) struct Home {
    pub(super) field: &'static str,
    pub(super) is_set: fn(&QuantizerSpec) -> bool,
    pub(super) has: fn(Family) -> bool,
    pub(super) belongs: &'static str,
}

/// The fields that not all families share. A family refuses what is not its own; `compat = false` is nobody's harm.
pub(super) const HOMES: &[Home] = &[
    Home {
        field: "clip",
        is_set: |spec| spec.clip.is_some(),
        has: |family| {
            use Family::{Affine, Asymmetric, Pact, Symmetric, Wcat};
            matches!(family, Symmetric | Asymmetric | Wcat | Affine | Pact)
        },
        belongs: "symmetric, asymmetric, wcat, affine and pact",
    },
    Home {
        field: "compat",
        is_set: |spec| spec.compat == Some(true),
        has: |family| matches!(family, Family::Symmetric | Family::Asymmetric),
        belongs: "symmetric and asymmetric",
    },
    Home { field: "integer", is_set: |spec| spec.integer.is_some(), has: is_qkeras, belongs: "qkeras" },
    Home {
        field: "keep_negative",
        is_set: |spec| spec.keep_negative.is_some(),
        has: is_qkeras,
        belongs: "qkeras",
    },
    Home { field: "symmetric", is_set: |spec| spec.symmetric.is_some(), has: is_qkeras, belongs: "qkeras" },
    Home { field: "alpha", is_set: |spec| spec.alpha.is_some(), has: is_qkeras, belongs: "qkeras" },
    Home {
        field: "scheme",
        is_set: |spec| spec.scheme.is_some(),
        has: |family| family == Family::Block,
        belongs: "block",
    },
    Home {
        field: "signed",
        is_set: |spec| spec.signed.is_some(),
        has: |family| !matches!(family, Family::Qkeras | Family::Binary),
        belongs: "every family but qkeras, which has keep_negative, and binary, whose codes are -1 and 1",
    },
    Home {
        field: "range",
        is_set: |spec| spec.range.is_some(),
        has: |family| !is_qkeras(family),
        belongs: "every family but qkeras, which has integer and alpha",
    },
    Home {
        field: "rounding",
        is_set: |spec| spec.rounding.is_some(),
        has: |family| !matches!(family, Family::Block | Family::Binary),
        belongs: "every family but block and binary",
    },
    Home {
        field: "encoding",
        is_set: |spec| spec.encoding.is_some(),
        has: |family| !matches!(family, Family::Block | Family::Binary),
        belongs: "every family but block and binary",
    },
    Home {
        field: "granularity",
        is_set: |spec| spec.granularity.is_some(),
        has: |family| family != Family::Block,
        belongs: "every family but block, whose blocks are its groups",
    },
];

fn is_qkeras(family: Family) -> bool {
    family == Family::Qkeras
}
