//! The ranges of values in a golden run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bitquake_engine::{Value, ValueMap};
use bitquake_quant::Granularity;

/// The smallest and the largest finite number of a unit.
pub(crate) type Ends = (f32, f32);

/// The units of one value's row: elements that share a scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    pub(crate) count: usize,
    /// Consecutive elements of one unit.
    run: usize,
}

impl Units {
    pub(crate) fn new(value: &Value, granularity: Granularity) -> Result<Self, String> {
        let all = value.elements().max(1);
        let Granularity::Channel(axis) = granularity else { return Ok(Self { count: 1, run: all }) };
        let place = usize::try_from(axis).ok().filter(|&axis| axis < value.dims.len());
        let place = place.ok_or_else(|| {
            let (name, dims) = (&value.name, &value.dims);
            format!("granularity: value `{name}` has the dimensions {dims:?} for one image: there is no axis {axis}")
        })?;
        let run = value.dims[place + 1..].iter().product::<u64>().max(1) as usize;
        Ok(Self { count: value.dims[place] as usize, run })
    }

    /// Widens the ends of each unit by some rows.
    fn widen(self, rows: &[f32], ends: &mut [Option<Ends>]) {
        for (at, run) in rows.chunks(self.run).enumerate() {
            let ends = &mut ends[at % self.count];
            for &value in run.iter().filter(|value| value.is_finite()) {
                let (low, high) = ends.unwrap_or((value, value));
                *ends = Some((low.min(value), high.max(value)));
            }
        }
    }
}

/// Looks at values as they pass, and changes none.
pub(crate) struct Ranges {
    units: BTreeMap<String, Units>,
    ends: Mutex<BTreeMap<String, Vec<Option<Ends>>>>,
}

impl Ranges {
    pub(crate) fn new(units: BTreeMap<String, Units>) -> Self {
        let ends = units.iter().map(|(name, units)| (name.clone(), vec![None; units.count])).collect();
        Self { units, ends: Mutex::new(ends) }
    }

    /// What a value spans, by unit; 0 alone where no finite number has passed.
    pub(crate) fn of(&self, value: &str) -> Option<Vec<Ends>> {
        let ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ends.get(value)?.iter().map(|ends| ends.unwrap_or_default()).collect())
    }
}

impl ValueMap for Ranges {
    fn apply(&self, value: &str, rows: &mut [f32]) -> Result<(), String> {
        let Some(units) = self.units.get(value) else { return Ok(()) };
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ends) = ends.get_mut(value) {
            units.widen(rows, ends);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_by_unit_over_rows() {
        let value = Value { name: "v".into(), dims: vec![2, 2] };
        let rows = [1.0, f32::NAN, -3.0, 4.0, f32::INFINITY, 0.5, 5.0, -1.0];
        for (granularity, wanted) in [
            (Granularity::Tensor, vec![(-3.0, 5.0)]),
            (Granularity::Channel(0), vec![(0.5, 1.0), (-3.0, 5.0)]),
            (Granularity::Channel(1), vec![(-3.0, 5.0), (-1.0, 4.0)]),
        ] {
            let units = Units::new(&value, granularity).expect("an axis");
            let ranges = Ranges::new([("v".to_owned(), units)].into());
            for row in rows.chunks(4) {
                ranges.apply("v", &mut row.to_vec()).expect("seen");
            }
            assert_eq!(ranges.of("v"), Some(wanted), "{granularity:?}");
        }
        let error = Units::new(&value, Granularity::Channel(2)).expect_err("two axes");
        assert_eq!(
            error,
            "granularity: value `v` has the dimensions [2, 2] for one image: there is no axis 2"
        );
    }
}
