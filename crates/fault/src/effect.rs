//! What a fault does to one bit.

use serde::{Deserialize, Serialize};

/// What a fault does to the bit it sits on, whatever that holds.
///
/// Every pair of effects on one bit has one meaning, whatever their order ([`combine`](Self::combine)):
///
/// | | read for 0 | read for 1 | a fault is there |
/// |---|---|---|---|
/// | `Rise` | 1 | 1 | if 0 is stored |
/// | `Fall` | 0 | 0 | if 1 is stored |
/// | `Flip` | 1 | 0 | always |
/// | `Set1` | 1 | 1 | always; dormant on a 1 |
/// | `Set0` | 0 | 0 | always; dormant on a 0 |
/// | `Saturate` | the bit of the word's extreme | the same | always; dormant where it is that already |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// A stored 0 flips to 1; on a stored 1 nothing happens and there is no fault.
    Rise,
    /// A stored 1 flips to 0; on a stored 0 nothing happens and there is no fault.
    Fall,
    /// The bit is replaced by its complement.
    Flip,
    /// The bit always reads 1.
    #[serde(rename = "set-1")]
    Set1,
    /// The bit always reads 0.
    #[serde(rename = "set-0")]
    Set0,
    /// The bit reads what it has in the extreme of its word: the largest finite magnitude of the format with the sign of the
    /// stored word. That hangs on the word's sign, so it is known when faults meet the stored words
    /// ([`Faults::resolve`](crate::Faults::resolve)). Drawn for [`Value::Saturate`](crate::Value::Saturate) alone.
    #[serde(skip)]
    Saturate,
}

impl Effect {
    /// Every effect, in the order of the enum.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Rise, Self::Fall, Self::Flip, Self::Set1, Self::Set0, Self::Saturate];

    /// How many effects there are.
    pub(crate) const COUNT: usize = 6;

    /// What is read from a bit that has the effect and holds `stored`; `None` where that hangs on the rest of the word
    /// ([`Saturate`](Self::Saturate)).
    #[must_use]
    pub fn read(self, stored: bool) -> Option<bool> {
        match self {
            Self::Rise | Self::Set1 => Some(true),
            Self::Fall | Self::Set0 => Some(false),
            Self::Flip => Some(!stored),
            Self::Saturate => None,
        }
    }

    /// Whether a fault is there at all on a bit that holds `stored`; if so and nothing changes, it is dormant.
    #[must_use]
    pub fn is_present(self, stored: bool) -> bool {
        match self {
            Self::Rise => !stored,
            Self::Fall => stored,
            _ => true,
        }
    }

    /// Two effects on one bit; `None` when they cancel.
    ///
    /// Stuck-at beats flips, and stuck-at-0 beats stuck-at-1 (as in SPEC 2.1, S5). Saturation beats flips and gives way to both
    /// kinds of stuck-at: a stuck cell keeps what it has, whatever is written. Flips look at the stored bit, not at each
    /// other's result, and two that act on it cancel. So the order of effects, and of groups of them, does not matter.
    #[must_use]
    pub fn combine(self, other: Self) -> Option<Self> {
        if self.force().max(other.force()) > 0 {
            return Some(if self.force() >= other.force() { self } else { other });
        }
        match self.toggles() ^ other.toggles() {
            0b01 => Some(Self::Rise),
            0b10 => Some(Self::Fall),
            0b11 => Some(Self::Flip),
            _ => None,
        }
    }

    /// Of effects that do not toggle but set, the stronger wins; 0 for those that toggle.
    fn force(self) -> u8 {
        match self {
            Self::Set0 => 3,
            Self::Set1 => 2,
            Self::Saturate => 1,
            _ => 0,
        }
    }

    /// Bit `s` says whether a stored `s` toggles.
    fn toggles(self) -> u8 {
        match self {
            Self::Rise => 0b01,
            Self::Fall => 0b10,
            _ => 0b11,
        }
    }

    /// The effect of a bit that is stuck at a value.
    #[must_use]
    pub fn stuck_at(value: bool) -> Self {
        if value { Self::Set1 } else { Self::Set0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn combined(a: Option<Effect>, b: Option<Effect>) -> Option<Effect> {
        match (a, b) {
            (Some(a), Some(b)) => a.combine(b),
            (one, other) => one.or(other),
        }
    }

    #[test]
    fn neither_order_nor_grouping_matters() {
        let all: Vec<Option<Effect>> = Effect::ALL.into_iter().map(Some).chain([None]).collect();
        for &a in &all {
            for &b in &all {
                assert_eq!(combined(a, b), combined(b, a), "{a:?} {b:?}");
                for &c in &all {
                    assert_eq!(combined(combined(a, b), c), combined(a, combined(b, c)), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn the_rule() {
        use Effect::{Fall, Flip, Rise, Saturate, Set0, Set1};
        let rows = [
            (Flip, Flip, None),
            (Rise, Rise, None),
            (Rise, Fall, Some(Flip)),
            (Flip, Rise, Some(Fall)),
            (Flip, Set1, Some(Set1)),
            (Fall, Set1, Some(Set1)),
            (Set0, Set1, Some(Set0)),
            (Set1, Set1, Some(Set1)),
            (Saturate, Flip, Some(Saturate)),
            (Saturate, Saturate, Some(Saturate)),
            (Saturate, Set1, Some(Set1)),
            (Saturate, Set0, Some(Set0)),
        ];
        for (a, b, want) in rows {
            assert_eq!(a.combine(b), want, "{a:?} {b:?}");
        }
    }
}
