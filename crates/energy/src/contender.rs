//! A network in a memory, as far as energy is concerned.

use bitquake_record::Amount;
use bitquake_stats::Interval;
use serde::Serialize;

/// What an inference reads from the memory of the weights, in bits. Scales, zero points and check bits are read too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// From the part that sees bit errors: its accesses cost what the curve says.
    pub exposed: f64,
    /// From the rest, whose accesses are reliable and cost 1.
    pub safe: f64,
}

impl Reading {
    /// The energy of an inference, in reliable accesses to a bit, where an access to an exposed bit costs `access`.
    #[must_use]
    pub fn energy(&self, access: f64) -> f64 {
        self.exposed * access + self.safe
    }
}

/// A network in a memory, and how it stood bit errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// What an inference reads.
    pub reading: Reading,
    /// The test error without bit errors, with the stored weights.
    pub clean: f64,
    /// What was measured.
    pub points: Vec<Measured>,
}

/// The mean test error at a bit error rate or a voltage.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The rate or the voltage.
    pub amount: Amount,
    /// The mean.
    pub error: f64,
    /// Its interval; none where every pattern was tried, or too few to tell.
    pub interval: Option<Interval>,
}

impl Measured {
    /// The rate or the voltage, for people.
    pub(crate) fn setting(&self) -> String {
        format!("{} {}", self.amount.kind(), self.amount)
    }

    /// The ends of the interval, or the mean twice.
    pub(crate) fn ends(&self) -> [f64; 2] {
        self.interval.map_or([self.error; 2], |interval| [interval.lo, interval.hi])
    }
}
