//! What is worth its price.

use serde::Serialize;

/// Something with a price and a loss, of both of which less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Priced {
    /// What it costs.
    pub cost: f64,
    /// The (mean) loss.
    pub loss: f64,
    /// The ends of the loss's interval; the loss twice if it is certain, and [`Priced::UNKNOWN`] if nothing is known of how far off it is.
    pub ends: [f64; 2],
}

impl Priced {
    /// The ends of a loss that a single trial gave: it beats nothing, and nothing beats it.
    pub const UNKNOWN: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];
}

/// How something stands among others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Whether no other has a lower loss for no more, or the same for less: it lies on the Pareto front.
    pub is_on_front: bool,
    /// Whether another costs no more and has its whole interval below this one's: it is worse for certain, as far as two intervals can say.
    pub is_beaten: bool,
}

/// In a word: `front`, `beaten`, or `behind?` for what is neither.
impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match (self.is_on_front, self.is_beaten) {
            (true, _) => "front",
            (false, true) => "beaten",
            (false, false) => "behind?",
        })
    }
}

/// How each of several things stands among all of them.
///
/// ```
/// use bitquake_stats::{Priced, pareto};
/// let thing = |cost, loss| Priced { cost, loss, ends: [loss - 0.01, loss + 0.01] };
/// let standing = pareto(&[thing(1.0, 0.1), thing(2.0, 0.11), thing(2.0, 0.2)]);
/// assert_eq!(standing.iter().map(|one| (one.is_on_front, one.is_beaten)).collect::<Vec<_>>(), [
///     (true, false),
///     (false, false), // behind, but not for certain
///     (false, true),
/// ]);
/// // One trial is no interval.
/// let once = Priced { cost: 0.5, loss: 0.0, ends: Priced::UNKNOWN };
/// assert!(!pareto(&[once, thing(1.0, 0.9)])[1].is_beaten);
/// assert_eq!(standing[2].to_string(), "beaten");
/// ```
#[must_use]
pub fn pareto(things: &[Priced]) -> Vec<Standing> {
    let standing = |thing: &Priced| {
        let is_behind = |other: &Priced| {
            other.cost <= thing.cost
                && other.loss <= thing.loss
                && (other.cost < thing.cost || other.loss < thing.loss)
        };
        Standing {
            is_on_front: !things.iter().any(is_behind),
            is_beaten: things.iter().any(|other| other.cost <= thing.cost && other.ends[1] < thing.ends[0]),
        }
    };
    things.iter().map(standing).collect()
}
