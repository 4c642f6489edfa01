//! All measured points by their energy, and those that no other beats.

use bitquake_stats::{Priced, pareto};
use serde::Serialize;

use crate::contender::{Contender, Measured};
use crate::curve::Curve;
use crate::error::EnergyError;

/// A point of a contender that lies on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// The contender, by its place.
    pub contender: usize,
    /// What was measured; none for reliable accesses, which give the clean error.
    pub measured: Option<Measured>,
    /// Energy of an access to an exposed bit, relative to a reliable one.
    pub access: f64,
    /// Energy of an inference, in reliable accesses to a bit.
    pub inference: f64,
    /// The (mean) test error.
    pub error: f64,
    /// Whether no other point has a lower mean error for no more energy, or the same for less.
    pub is_on_front: bool,
    /// Whether another point needs no more energy and has its whole interval below this point's: it is worse for certain, as far as two
    /// intervals can say.
    pub is_beaten: bool,
}

impl Placed {
    /// What the memory is set to, for people: `rate 1e-3`, `voltage 0.8`, `reliable`.
    #[must_use]
    pub fn setting(&self) -> String {
        self.measured.map_or_else(|| "reliable".into(), |measured| measured.setting())
    }

    /// Whether more is known of the error than what one trial gave.
    pub(crate) fn is_known(&self) -> bool {
        self.measured.is_none_or(|measured| measured.interval.is_some())
    }

    /// The ends of the interval of the error, or the error twice.
    #[must_use]
    pub fn ends(&self) -> [f64; 2] {
        self.measured.map_or([self.error; 2], |measured| measured.ends())
    }
}

/// Contenders, and their points by energy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trade {
    /// The networks.
    pub contenders: Vec<Contender>,
    /// The points of all contenders, contender after contender, by energy upwards; the last of each has reliable accesses.
    pub points: Vec<Placed>,
    /// Measured points that lie outside the curve, of each contender.
    pub outside: Vec<Vec<Measured>>,
}

impl Trade {
    /// Places what was measured on a curve.
    ///
    /// ```
    /// use bitquake_energy::{Contender, Curve, CurveConfig, Measured, Reading, Trade};
    /// use bitquake_record::Amount;
    ///
    /// let measured = |rate, error| Measured { amount: Amount::Rate(rate), error, interval: None };
    /// let network = |name: &str, bits: f64, at: f64| Contender {
    ///     name: name.into(),
    ///     reading: Reading { exposed: bits, safe: 0.0 },
    ///     clean: 0.10,
    ///     points: vec![measured(1e-3, at)],
    /// };
    /// let curve = Curve::new(&CurveConfig::Exponential { constant: 12.0 })?;
    /// let trade = Trade::new(&curve, vec![network("8 bits", 8e6, 0.11), network("4 bits", 4e6, 0.12)])?;
    /// // By energy: 4 bits at 1e-3, then 4 bits reliable. 8 bits need more for the same error.
    /// let front: Vec<f64> = trade.points.iter().filter(|point| point.is_on_front).map(|point| point.error).collect();
    /// assert_eq!(front, [0.12, 0.10]);
    /// # Ok::<(), bitquake_energy::EnergyError>(())
    /// ```
    ///
    /// # Errors
    /// [`EnergyError::SameName`]; [`EnergyError::NoPoints`] for a contender none of whose points lies on the curve.
    pub fn new(curve: &Curve, contenders: Vec<Contender>) -> Result<Self, EnergyError> {
        let mut points = Vec::new();
        let mut outside = Vec::new();
        for (place, contender) in contenders.iter().enumerate() {
            if contenders[..place].iter().any(|other| other.name == contender.name) {
                return Err(EnergyError::SameName { name: contender.name.clone() });
            }
            let (mut placed, left) = place_points(curve, place, contender);
            if placed.is_empty() {
                return Err(no_points(curve, contender));
            }
            placed.push(put(place, contender, None, 1.0));
            placed.sort_by(|a, b| a.inference.total_cmp(&b.inference));
            points.extend(placed);
            outside.push(left);
        }
        mark(&mut points);
        Ok(Self { contenders, points, outside })
    }

    /// The points of a contender, by energy upwards.
    pub(crate) fn of(&self, contender: usize) -> impl DoubleEndedIterator<Item = &Placed> {
        self.points.iter().filter(move |point| point.contender == contender)
    }
}

fn put(place: usize, contender: &Contender, measured: Option<Measured>, access: f64) -> Placed {
    Placed {
        contender: place,
        measured,
        access,
        inference: contender.reading.energy(access),
        error: measured.map_or(contender.clean, |measured| measured.error),
        is_on_front: false,
        is_beaten: false,
    }
}

fn place_points(curve: &Curve, place: usize, contender: &Contender) -> (Vec<Placed>, Vec<Measured>) {
    let (mut placed, mut outside) = (Vec::new(), Vec::new());
    for &measured in &contender.points {
        match curve.energy(measured.amount) {
            Some(access) => placed.push(put(place, contender, Some(measured), access)),
            None => outside.push(measured),
        }
    }
    (placed, outside)
}

fn no_points(curve: &Curve, contender: &Contender) -> EnergyError {
    let needs_voltages = contender.points.iter().any(|measured| measured.amount.kind() == "voltage");
    let hint = if needs_voltages && !curve.has_voltages() {
        "; it has no voltages: a table with a column `voltage`, or kind = \"supply\", has"
    } else {
        ""
    };
    let span = curve.span();
    EnergyError::NoPoints {
        name: contender.name.clone(),
        points: contender.points.iter().map(Measured::setting).collect::<Vec<_>>().join(", "),
        span,
        hint,
    }
}

fn mark(points: &mut [Placed]) {
    let priced = |point: &Placed| Priced {
        cost: point.inference,
        loss: point.error,
        ends: if point.is_known() { point.ends() } else { Priced::UNKNOWN },
    };
    let standings = pareto(&points.iter().map(priced).collect::<Vec<_>>());
    for (point, standing) in points.iter_mut().zip(standings) {
        point.is_on_front = standing.is_on_front;
        point.is_beaten = standing.is_beaten;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bitquake_record::Amount;
    use bitquake_stats::{Interval, Method};
    use proptest::prelude::*;

    use super::*;
    use crate::config::CurveConfig;
    use crate::contender::Reading;

    /// A network with points (rate, error, half of the interval's width).
    pub(crate) fn contender(name: &str, bits: f64, clean: f64, points: &[(f64, f64, f64)]) -> Contender {
        let measured = |&(rate, error, half): &(f64, f64, f64)| Measured {
            amount: Amount::Rate(rate),
            error,
            interval: Some(Interval {
                lo: error - half,
                hi: error + half,
                confidence: 0.95,
                method: Method::StudentT,
            }),
        };
        Contender {
            name: name.into(),
            reading: Reading { exposed: bits, safe: 0.0 },
            clean,
            points: points.iter().map(measured).collect(),
        }
    }

    fn curve() -> Curve {
        Curve::new(&CurveConfig::Exponential { constant: 10.0 }).unwrap()
    }

    #[test]
    fn points_are_placed_by_energy() {
        let mut network =
            contender("a", 1000.0, 0.1, &[(1e-3, 0.12, 0.01), (1e-2, 0.2, 0.02), (1e-9, 0.1, 0.0)]);
        network.reading.safe = 50.0;
        let trade = Trade::new(&curve(), vec![network]).unwrap();
        let energies: Vec<f64> = trade.points.iter().map(|point| point.inference.round()).collect();
        assert_eq!(energies, [511.0, 741.0, 1050.0]);
        assert_eq!(trade.points[2].error, 0.1);
        assert_eq!(trade.outside[0][0].amount, Amount::Rate(1e-9));
        assert!(trade.points.iter().all(|point| point.is_on_front && !point.is_beaten));
    }

    /// A point can lie behind the front by its mean, and not be beaten, for the intervals overlap.
    #[test]
    fn beaten_is_more_than_behind() {
        let a = contender("a", 1000.0, 0.1, &[(1e-3, 0.12, 0.01)]);
        let b = contender("b", 1000.0, 0.1, &[(1e-3, 0.13, 0.01)]);
        let c = contender("c", 1000.0, 0.1, &[(1e-3, 0.15, 0.01)]);
        let trade = Trade::new(&curve(), vec![a, b, c]).unwrap();
        let at_rate: Vec<(bool, bool)> = trade
            .points
            .iter()
            .filter(|point| point.measured.is_some())
            .map(|point| (point.is_on_front, point.is_beaten))
            .collect();
        assert_eq!(at_rate, [(true, false), (false, false), (false, true)]);
    }

    /// One trial has no interval, so it beats nothing, is beaten by nothing, and proves no budget.
    #[test]
    fn one_trial_is_not_certain() {
        let a = contender("a", 1000.0, 0.1, &[(1e-3, 0.12, 0.01)]);
        let mut once = contender("b", 900.0, 0.1, &[(1e-3, 0.1, 0.0)]);
        once.points[0].interval = None;
        let trade = Trade::new(&curve(), vec![a, once]).unwrap();
        assert!(trade.points.iter().all(|point| !point.is_beaten || point.measured.is_none()), "{trade:?}");
        let lowest = trade.lowest(0.05, crate::config::LossFrom::Own);
        assert!(lowest[0].measured.is_some_and(|point| point.measured.is_some()));
        assert!(lowest[1].measured.is_none_or(|point| point.measured.is_none()), "{lowest:?}");
    }

    #[test]
    fn what_cannot_be_placed_is_an_error() {
        let far = contender("far", 10.0, 0.1, &[(1e-9, 0.1, 0.0)]);
        let said = Trade::new(&curve(), vec![far]).unwrap_err().to_string();
        assert_eq!(
            said,
            "far: none of its points (rate 1e-9) lies on the curve, which has rates above 4.5e-5"
        );
        let mut volts = contender("volts", 10.0, 0.1, &[]);
        volts.points.push(Measured { amount: Amount::Voltage(0.8), error: 0.2, interval: None });
        let said = Trade::new(&curve(), vec![volts]).unwrap_err().to_string();
        assert!(
            said.contains(
                "(voltage 0.8) lies on the curve, which has rates above 4.5e-5; it has no voltages"
            ),
            "{said}"
        );
        let twice = contender("a", 10.0, 0.1, &[(1e-2, 0.1, 0.0)]);
        let said = Trade::new(&curve(), vec![twice.clone(), twice]).unwrap_err().to_string();
        assert!(said.contains("two models are called `a`"), "{said}");
    }

    proptest! {
        /// The front against its definition by sorting: errors fall strictly along it, and everything else is beaten by a point of it.
        #[test]
        fn the_front_falls(errors in proptest::collection::vec((1e-4_f64..0.3, 0.0_f64..1.0, 0.1_f64..9.0), 1..12)) {
            let networks = errors.iter().enumerate().map(|(k, &(rate, error, bits))| {
                contender(&k.to_string(), bits, 1.0, &[(rate, error, 0.0)])
            });
            let trade = Trade::new(&curve(), networks.collect()).unwrap();
            let mut front: Vec<&Placed> = trade.points.iter().filter(|point| point.is_on_front).collect();
            front.sort_by(|a, b| a.inference.total_cmp(&b.inference));
            prop_assert!(front.windows(2).all(|pair| pair[0].error > pair[1].error));
            for point in trade.points.iter().filter(|point| !point.is_on_front) {
                prop_assert!(front.iter().any(|best| best.inference <= point.inference && best.error <= point.error));
            }
        }
    }
}
