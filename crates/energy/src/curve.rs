//! What an access costs at a bit error rate or a voltage.

use bitquake_record::Amount;
use serde::{Deserialize, Serialize};

use crate::config::CurveConfig;
use crate::csv::read_curve;
use crate::error::EnergyError;

/// One operating point of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurvePoint {
    /// Energy of an access, relative to a reliable one: above 0.
    pub energy: f64,
    /// Probability that a bit is wrong: in (0, 1).
    pub rate: f64,
    /// The supply voltage, in the unit of the campaigns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voltage: Option<f64>,
}

/// The energy of an access as a function of the bit error rate, or of the voltage. Energies are relative: 1 is an access that is taken to be
/// reliable.
///
/// ```
/// use bitquake_energy::{Curve, CurveConfig};
/// use bitquake_record::Amount;
///
/// // rate = exp(-constant * energy)
/// let curve = Curve::new(&CurveConfig::Exponential { constant: 10.0 })?;
/// let energy = curve.energy(Amount::Rate(1e-2)).unwrap();
/// assert!((energy - 0.4605).abs() < 1e-4);
/// // Below exp(-10) an access would cost more than a reliable one.
/// assert_eq!(curve.energy(Amount::Rate(1e-9)), None);
/// # Ok::<(), bitquake_energy::EnergyError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    law: Law,
}

#[derive(Clone, Debug, PartialEq)]
enum Law {
    Exponential {
        constant: f64,
    },
    Supply {
        nominal: f64,
        reference: f64,
        rate: f64,
        decades_per_volt: f64,
    },
    /// By energy, upwards; two or more.
    Table(Vec<CurvePoint>),
}

impl Curve {
    /// The curve that a table `[curve]` describes; a CSV file is read.
    ///
    /// # Errors
    /// [`EnergyError::Curve`] for numbers out of range, fewer than two points, and points that are not monotone: where more energy does not
    /// mean fewer errors, or a higher voltage not more energy. [`EnergyError::Csv`] for a file that cannot be read.
    pub fn new(config: &CurveConfig) -> Result<Self, EnergyError> {
        let law = match config {
            &CurveConfig::Exponential { constant } => {
                check("constant", constant, constant > 0.0)?;
                Law::Exponential { constant }
            }
            &CurveConfig::Supply { nominal, reference, rate, decades_per_volt } => {
                check("nominal", nominal, nominal > 0.0)?;
                check("reference", reference, reference > 0.0)?;
                check("rate", rate, rate > 0.0 && rate < 1.0)?;
                check("decades_per_volt", decades_per_volt, decades_per_volt > 0.0)?;
                Law::Supply { nominal, reference, rate, decades_per_volt }
            }
            CurveConfig::Table { file, points } => {
                let mut points = match (file, points.is_empty()) {
                    (Some(file), true) => read_curve(file)?,
                    (None, false) => points.clone(),
                    _ => return Err(curve_error("a table has either `file` or `points`")),
                };
                check_points(&mut points)?;
                Law::Table(points)
            }
        };
        Ok(Self { law })
    }

    /// The energy of an access to a memory with this bit error rate, or at this voltage; none outside the curve, where an access would cost
    /// more than a reliable one, and for counts and shares, which no memory is set to. Between the points of a table, energy is linear in
    /// the logarithm of the rate, and in the voltage.
    #[must_use]
    pub fn energy(&self, amount: Amount) -> Option<f64> {
        let energy = match (&self.law, amount) {
            (&Law::Exponential { constant }, Amount::Rate(rate)) => (-rate.ln()) / constant,
            (&Law::Supply { nominal, .. }, Amount::Voltage(voltage)) => (voltage / nominal).powi(2),
            (
                &Law::Supply { nominal, reference, rate: at_reference, decades_per_volt },
                Amount::Rate(rate),
            ) => {
                let voltage = reference + (at_reference / rate).log10() / decades_per_volt;
                if voltage <= 0.0 {
                    return None;
                }
                (voltage / nominal).powi(2)
            }
            (Law::Table(points), Amount::Rate(rate)) => {
                interpolate(points, -rate.ln(), |point| Some(-point.rate.ln()))?
            }
            (Law::Table(points), Amount::Voltage(voltage)) => {
                interpolate(points, voltage, |point| point.voltage)?
            }
            _ => return None,
        };
        (energy > 0.0 && energy <= 1.0).then_some(energy)
    }

    /// Whether the curve knows what a voltage costs.
    #[must_use]
    pub fn has_voltages(&self) -> bool {
        match &self.law {
            Law::Exponential { .. } => false,
            Law::Supply { .. } => true,
            Law::Table(points) => points.iter().all(|point| point.voltage.is_some()),
        }
    }

    /// The curve at bit error rates of whole powers of ten, or at the points of a table, by energy downwards.
    #[must_use]
    pub fn points(&self) -> Vec<CurvePoint> {
        if let Law::Table(points) = &self.law {
            return points.iter().rev().copied().collect();
        }
        let powers = (1..=15).rev().map(|power| 10.0_f64.powi(-power));
        let at = |rate: f64| {
            let energy = self.energy(Amount::Rate(rate))?;
            let voltage = match self.law {
                Law::Supply { nominal, .. } => Some(nominal * energy.sqrt()),
                _ => None,
            };
            Some(CurvePoint { energy, rate, voltage })
        };
        powers.filter_map(at).collect()
    }

    /// The bit error rates that the curve has energies for, in words.
    pub(crate) fn span(&self) -> String {
        match &self.law {
            Law::Exponential { constant } => format!("rates above {:.1e}", (-constant).exp()),
            &Law::Supply { nominal, reference, rate, decades_per_volt } => {
                format!("rates above {:.1e}", rate * 10.0_f64.powf((reference - nominal) * decades_per_volt))
            }
            Law::Table(points) => {
                format!("rates from {:e} to {:e}", points[points.len() - 1].rate, points[0].rate)
            }
        }
    }

    /// In words, with the source of the law.
    #[must_use]
    pub fn told(&self) -> String {
        match &self.law {
            Law::Exponential { constant } => {
                format!(
                    "rate = exp(-{constant} energy), the exponential law (Henwood et al. 2019, arXiv 1912.10764) with a given constant"
                )
            }
            Law::Supply { nominal, reference, rate, decades_per_volt } => format!(
                "energy = (voltage / {nominal})^2, dynamic energy of CMOS; rate = {rate} at {reference}, {decades_per_volt} decades a volt: \
                 the numbers of the synthetic chip unless given, no measurement"
            ),
            Law::Table(points) => format!("a table of {} points", points.len()),
        }
    }
}

fn curve_error(reason: impl Into<String>) -> EnergyError {
    EnergyError::Curve { reason: reason.into() }
}

fn check(name: &str, value: f64, is_right: bool) -> Result<(), EnergyError> {
    if is_right && value.is_finite() {
        return Ok(());
    }
    let wanted = if name == "rate" { "between 0 and 1" } else { "above 0" };
    Err(curve_error(format!("{name} = {value}; it must be {wanted}")))
}

/// Sorts the points by energy, and checks that they make a curve.
fn check_points(points: &mut [CurvePoint]) -> Result<(), EnergyError> {
    if points.len() < 2 {
        return Err(curve_error(format!("{} points; a table needs two or more", points.len())));
    }
    for point in &*points {
        check("energy", point.energy, point.energy > 0.0)?;
        check("rate", point.rate, point.rate > 0.0 && point.rate < 1.0)?;
        point.voltage.map_or(Ok(()), |voltage| check("voltage", voltage, voltage > 0.0))?;
    }
    if points.iter().any(|point| point.voltage.is_some() != points[0].voltage.is_some()) {
        return Err(curve_error("some points have a voltage, and some have none"));
    }
    points.sort_by(|a, b| a.energy.total_cmp(&b.energy));
    for pair in points.windows(2) {
        let [below, above] = [pair[0], pair[1]];
        let told = |point: CurvePoint| {
            let voltage = point.voltage.map_or_else(String::new, |voltage| format!(", voltage {voltage}"));
            format!("energy {}, rate {:e}{voltage}", point.energy, point.rate)
        };
        let rises = below.energy < above.energy
            && below.rate > above.rate
            && below.voltage.zip(above.voltage).is_none_or(|(low, high)| low < high);
        if !rises {
            return Err(curve_error(format!(
                "not monotone: after ({}) comes ({}); more energy must mean fewer errors and a higher voltage",
                told(below),
                told(above)
            )));
        }
    }
    Ok(())
}

/// The energy where `of`, which rises with the energy, has a value; none beyond the ends.
fn interpolate(points: &[CurvePoint], wanted: f64, of: impl Fn(&CurvePoint) -> Option<f64>) -> Option<f64> {
    points.windows(2).find_map(|pair| {
        let [low, high] = [of(&pair[0])?, of(&pair[1])?];
        let is_between = low <= wanted && wanted <= high;
        let share = (wanted - low) / (high - low);
        is_between.then(|| pair[0].energy + share * (pair[1].energy - pair[0].energy))
    })
}

#[cfg(test)]
mod tests {
    use bitquake_testing::assert_cases;
    use proptest::prelude::*;

    use super::*;

    fn table(points: &[(f64, f64, Option<f64>)]) -> Result<Curve, EnergyError> {
        let points = points.iter().map(|&(energy, rate, voltage)| CurvePoint { energy, rate, voltage });
        Curve::new(&CurveConfig::Table { file: None, points: points.collect() })
    }

    /// SPEC 4.4: with the constant 12.8, 1e-4 costs .7196, 1e-3 .5397, 1e-2 .3598.
    #[test]
    fn the_exponential_law_has_the_numbers_of_the_specification() {
        let curve = Curve::new(&CurveConfig::Exponential { constant: 12.8 }).unwrap();
        for (rate, energy) in [(1e-4, 0.7196), (1e-3, 0.5397), (1e-2, 0.3598)] {
            assert!((curve.energy(Amount::Rate(rate)).unwrap() - energy).abs() < 5e-5, "{rate}");
        }
        assert_eq!(curve.energy(Amount::Voltage(0.8)), None);
        assert!(!curve.has_voltages());
    }

    #[test]
    fn the_supply_law_is_quadratic_in_the_voltage_and_exponential_in_the_rate() {
        let curve = Curve::new(&CurveConfig::supply()).unwrap();
        let of = |amount| curve.energy(amount);
        assert!((of(Amount::Voltage(0.6)).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(of(Amount::Rate(0.01)), of(Amount::Voltage(0.85)));
        let [at_rate, at_voltage] = [of(Amount::Rate(1e-4)), of(Amount::Voltage(0.95))].map(Option::unwrap);
        assert!((at_rate - at_voltage).abs() < 1e-12);
        // A higher voltage than the nominal one is no saving; counts are no setting of a memory.
        assert_eq!([of(Amount::Voltage(1.3)), of(Amount::Rate(1e-12)), of(Amount::Count(3))], [None; 3]);
    }

    #[test]
    fn tables_are_interpolated_in_the_logarithm_of_the_rate() {
        let curve =
            table(&[(0.8, 1e-6, Some(0.9)), (0.4, 1e-2, Some(0.7)), (0.6, 1e-4, Some(0.85))]).unwrap();
        let cases = [
            ("the lowest point", Amount::Rate(1e-2), Some(0.4)),
            ("between", Amount::Rate(1e-3), Some(0.5)),
            ("between the next two", Amount::Rate(1e-5), Some(0.7)),
            ("the highest point", Amount::Rate(1e-6), Some(0.8)),
            ("below the table", Amount::Rate(2e-2), None),
            ("above the table", Amount::Rate(1e-7), None),
            ("the lowest voltage", Amount::Voltage(0.7), Some(0.4)),
            ("a voltage between", Amount::Voltage(0.775), Some(0.5)),
            ("the highest voltage", Amount::Voltage(0.9), Some(0.8)),
            ("a lower voltage", Amount::Voltage(0.69), None),
        ];
        assert_cases(cases, |amount| curve.energy(amount).map(|energy| (energy * 1e9).round() / 1e9));
        assert_eq!(curve.points()[0], CurvePoint { energy: 0.8, rate: 1e-6, voltage: Some(0.9) });
    }

    #[test]
    fn what_is_no_curve_is_told() {
        let said = |points: &[(f64, f64, Option<f64>)]| table(points).unwrap_err().to_string();
        for (points, part) in [
            (&[(0.5, 1e-3, None)][..], "1 points; a table needs two or more"),
            (
                &[(0.5, 1e-3, None), (0.6, 1e-2, None)],
                "after (energy 0.5, rate 1e-3) comes (energy 0.6, rate 1e-2)",
            ),
            (&[(0.5, 1e-3, None), (0.5, 1e-4, None)], "not monotone"),
            (&[(0.5, 1e-3, Some(0.8)), (0.6, 1e-4, Some(0.7))], "voltage 0.7); more energy must mean"),
            (&[(0.5, 1e-3, Some(0.8)), (0.6, 1e-4, None)], "some have none"),
            (&[(0.0, 1e-3, None), (0.6, 1e-4, None)], "energy = 0; it must be above 0"),
            (&[(0.5, 1.0, None), (0.6, 1e-4, None)], "rate = 1; it must be between 0 and 1"),
            (&[(0.5, f64::NAN, None), (0.6, 1e-4, None)], "rate = NaN"),
            (&[], "either `file` or `points`"),
        ] {
            assert!(said(points).contains(part), "{}", said(points));
        }
        assert!(Curve::new(&CurveConfig::Exponential { constant: 0.0 }).is_err());
        assert!(Curve::new(&CurveConfig::Exponential { constant: f64::INFINITY }).is_err());
    }

    proptest! {
        /// Whatever the law, more errors never cost more energy.
        #[test]
        fn energy_falls_as_the_rate_rises(a in -14.0_f64..-0.4, b in -14.0_f64..-0.4, constant in 1.0_f64..40.0) {
            let [a, b] = [a, b].map(|power| Amount::Rate(10.0_f64.powf(power)));
            let supply = CurveConfig::supply();
            for config in [CurveConfig::Exponential { constant }, supply] {
                let curve = Curve::new(&config).unwrap();
                if let (Some(at_a), Some(at_b), Amount::Rate(a), Amount::Rate(b)) = (curve.energy(a), curve.energy(b), a, b) {
                    prop_assert!((a <= b) == (at_a >= at_b) || a == b);
                }
            }
        }
    }
}
