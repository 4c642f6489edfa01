//! What is to be protected, and what that is expected to save.

use bitquake_bits::Format;
use bitquake_fault::Selector;
use bitquake_fault::protect::Protection;
use bitquake_storage::ProtectRule;
use serde::Serialize;

/// A tensor that a memory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryTensor {
    /// Its name.
    pub name: String,
    /// How its words are stored.
    pub format: Format,
    /// Its elements.
    pub elements: u64,
}

impl MemoryTensor {
    /// Its bits.
    #[must_use]
    pub fn bits(&self) -> u128 {
        u128::from(self.elements) * u128::from(self.format.width())
    }
}

/// Which bits of which tensors have which protection.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// By tensor, in the order of the memory; tensors without protection are left out.
    pub rules: Vec<PlannedRule>,
    /// Bits that they add to the memory.
    pub check_bits: u64,
    /// The expected damage of an unprotected memory, in the unit of the [`Damage`](crate::Damage).
    pub damage: f64,
    /// What is expected to be left of it.
    pub left: f64,
}

/// The protection of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlannedRule {
    /// The tensor.
    pub tensor: String,
    /// Its protection.
    #[serde(flatten)]
    pub protection: Protection,
    /// Its check bits.
    pub check_bits: u64,
    /// The expected damage that it saves.
    pub saves: f64,
}

impl Plan {
    /// The expected share of the damage that is gone; none where no damage is expected, as in sums that cancel.
    #[must_use]
    pub fn saved_share(&self) -> Option<f64> {
        (self.damage > 0.0).then(|| 1.0 - self.left / self.damage)
    }

    /// The rules of a memory, tensors of the same protection together.
    #[must_use]
    pub fn protect(&self) -> Vec<ProtectRule> {
        let mut rules: Vec<ProtectRule> = Vec::new();
        for planned in &self.rules {
            match rules.iter_mut().find(|rule| rule.protection == planned.protection) {
                Some(rule) => rule.select.push(Selector::literal(&planned.tensor)),
                None => rules.push(ProtectRule {
                    select: vec![Selector::literal(&planned.tensor)],
                    protection: planned.protection.clone(),
                }),
            }
        }
        rules
    }
}
