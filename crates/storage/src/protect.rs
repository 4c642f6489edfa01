//! Protections of the memory: `[[storage.protect]]` and `[[storage.guard]]`.

use std::collections::HashMap;

use bitquake_bits::{Format, WordStore, Words};
use bitquake_fault::protect::{
    OnOutside, ProtectError, Protection, Protections, RangeGuard, ResolvedPattern,
};
use bitquake_fault::{FaultPattern, Name, Selector, SelectorError};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::StorageError;
use crate::memory::Entry;
use crate::plan::StoragePlan;
use crate::spec::{rest, take};

/// One `[[storage.protect]]`: the fields of a protection, and the tensors that have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProtectRule {
    /// Globs over tensor names; `!glob` leaves out. Default: everything that globs reach.
    pub select: Vec<String>,
    /// The protection.
    #[serde(flatten)]
    pub protection: Protection,
}

/// One `[[storage.guard]]`: values outside a range are replaced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardRule {
    /// Globs over tensor names; `!glob` leaves out. Default: everything that globs reach.
    #[serde(default = "everything")]
    pub select: Vec<String>,
    /// Lower and upper end, of codes in codes. Default: the range of each tensor's clean words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// What happens to a value outside.
    #[serde(default)]
    pub action: OnOutside,
}

fn everything() -> Vec<String> {
    vec!["*".into()]
}

// By hand, because serde's `flatten` does not go together with refusing unknown keys.
impl<'de> Deserialize<'de> for ProtectRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut table: Map<String, Value> = Map::deserialize(deserializer)?;
        let select = take(&mut table, "select")?.unwrap_or_else(everything);
        Ok(Self { select, protection: rest(table)? })
    }
}

/// What protects the words of a memory, and the check bits that go with them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shield {
    protections: Protections,
    /// The clean words of each check tensor.
    checks: HashMap<String, (Format, u64, Vec<u8>)>,
}

impl Shield {
    /// Protects the tensors that the rules select; the last rule that selects a tensor holds. `zero` gives the word of a
    /// tensor that stands for 0, where its format does not.
    pub(crate) fn new(
        plan: &StoragePlan,
        entries: &[Entry],
        words: &impl WordStore,
        zero: impl Fn(&str) -> Option<u64>,
    ) -> Result<Self, StorageError> {
        let mut shield = Self::default();
        for (place, rule) in plan.protect.iter().enumerate() {
            let wrong = |tensor: &str, source| place_of("protect", place, tensor, source);
            for entry in chosen(&rule.select, entries).map_err(|source| selector("protect", place, source))? {
                let space = rule
                    .protection
                    .layout(entry.format, entry.elements)
                    .map_err(|source| wrong(&entry.name, source))?;
                let space = zero(&entry.name).map_or(space.clone(), |word| space.with_zero(word));
                shield.protections.protect(&entry.name, space);
            }
        }
        for (place, rule) in plan.guard.iter().enumerate() {
            for entry in chosen(&rule.select, entries).map_err(|source| selector("guard", place, source))? {
                let guard = guard(rule, entry, words, place)?;
                let guard = zero(&entry.name).map_or(guard, |word| guard.with_zero(word));
                shield.protections.guard(&entry.name, guard);
            }
        }
        shield.encode(entries, words)?;
        Ok(shield)
    }

    fn encode(&mut self, entries: &[Entry], words: &impl WordStore) -> Result<(), StorageError> {
        for entry in entries {
            let Some(space) = self.protections.space(&entry.name) else { continue };
            let Some(words) = words.words(&entry.name) else { continue };
            for (index, part) in space.parts().iter().enumerate() {
                let bytes = space
                    .encode(index, &words)
                    .map_err(|source| StorageError::Protect { place: entry.name.clone(), source })?;
                self.checks.insert(part.tensor(&entry.name), (part.format, part.elements, bytes));
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.protections.is_empty()
    }

    /// The tensors of check bits of a tensor.
    pub(crate) fn parts(&self, tensor: &str) -> impl Iterator<Item = (String, Format, u64)> {
        let parts = self.protections.space(tensor).map_or(&[][..], |space| space.parts());
        parts.iter().map(|part| (part.tensor(tensor), part.format, part.elements))
    }

    /// The clean words of a tensor of check bits; `None` for any other.
    pub(crate) fn words(&self, check: &str) -> Option<Words<'_>> {
        let (format, elements, bytes) = self.checks.get(check)?;
        Words::packed(*format, bytes).first(*elements).ok()
    }

    /// Bits that the protections add.
    pub(crate) fn check_bits(&self) -> u64 {
        self.protections.check_bits()
    }

    pub(crate) fn resolve(
        &self,
        raw: &FaultPattern,
        words: &impl WordStore,
    ) -> Result<ResolvedPattern, StorageError> {
        let place = || "[storage]".to_owned();
        self.protections
            .resolve(raw, words)
            .map_err(|source| StorageError::Protect { place: place(), source })
    }
}

fn chosen<'e>(select: &[String], entries: &'e [Entry]) -> Result<Vec<&'e Entry>, SelectorError> {
    let names: Vec<Name<'_>> = entries.iter().map(Entry::selectable).collect();
    let chosen = Selector::new(select)?.matches(&names)?;
    Ok(entries.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(entry, _)| entry).collect())
}

fn guard(
    rule: &GuardRule,
    entry: &Entry,
    words: &impl WordStore,
    place: usize,
) -> Result<RangeGuard, StorageError> {
    let wrong = |source| place_of("guard", place, &entry.name, source);
    let words = words.words(&entry.name).ok_or(ProtectError::NoWords).map_err(wrong)?;
    let Some((low, high)) = rule.range else {
        return RangeGuard::profile(&words, rule.action).map_err(wrong);
    };
    let guard = RangeGuard::new(low, high, rule.action).map_err(wrong)?;
    match guard.outside(&words) {
        0 => Ok(guard),
        outside => {
            let place = format!("[[storage.guard]] {}, tensor `{}`", place + 1, entry.name);
            Err(StorageError::GuardTooNarrow { place, outside, low, high })
        }
    }
}

fn selector(table: &str, place: usize, source: SelectorError) -> StorageError {
    StorageError::Rule { place: format!("[[storage.{table}]] {}", place + 1), source }
}

fn place_of(table: &str, place: usize, tensor: &str, source: ProtectError) -> StorageError {
    StorageError::Protect { place: format!("[[storage.{table}]] {}, tensor `{tensor}`", place + 1), source }
}
