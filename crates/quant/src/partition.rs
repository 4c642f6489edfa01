//! Which elements share a scale.

use std::borrow::Cow;

use crate::error::QuantError;
use crate::spec::Granularity;

/// The units of a tensor: sets of elements that share a scale. Elements of a unit come in runs of `run` consecutive ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub(crate) elements: u64,
    pub(crate) units: u64,
    /// Consecutive elements of one unit, at least 1; the last run may be shorter.
    pub(crate) run: u64,
}

impl Partition {
    pub(crate) fn new(granularity: Granularity, shape: &[u64]) -> Result<Self, QuantError> {
        let elements = elements(shape)?;
        match granularity {
            Granularity::Tensor => Ok(Self { elements, units: 1, run: elements.max(1) }),
            Granularity::Group(size) => {
                Ok(Self { elements, units: elements.div_ceil(size.max(1)), run: size.max(1) })
            }
            Granularity::Channel(axis) => {
                let place = usize::try_from(axis).ok().filter(|&axis| axis < shape.len());
                let place = place.ok_or_else(|| QuantError::Axis { axis, shape: shape.to_vec() })?;
                // Without elements there is nothing to scale, and the axis may be of any length.
                let (units, run) = match elements {
                    0 => (0, 1),
                    _ => (shape[place], shape[place + 1..].iter().product()),
                };
                Ok(Self { elements, units, run })
            }
        }
    }

    /// The unit of an element that exists.
    pub(crate) fn unit(&self, index: u64) -> u64 {
        if self.units <= 1 { 0 } else { index / self.run % self.units }
    }

    /// The runs of the whole tensor in order: unit, first element, one past the last.
    pub(crate) fn runs(self) -> impl Iterator<Item = (u64, usize, usize)> {
        let count = self.elements.div_ceil(self.run);
        (0..count).map(move |i| {
            let start = i * self.run;
            let end = (start + self.run).min(self.elements);
            (i % self.units.max(1), start as usize, end as usize)
        })
    }

    /// The values of one unit, in order.
    pub(crate) fn values<'a>(&self, unit: u64, values: &'a [f32]) -> Cow<'a, [f32]> {
        let run = self.run as usize;
        let mut pieces = values.chunks(run).skip(unit as usize).step_by(self.units.max(1) as usize);
        if self.elements <= self.units.saturating_mul(self.run) {
            return Cow::Borrowed(pieces.next().unwrap_or_default());
        }
        Cow::Owned(pieces.flatten().copied().collect())
    }
}

/// The elements of a shape.
pub(crate) fn elements(shape: &[u64]) -> Result<u64, QuantError> {
    // A tensor of floats that exists has fewer than 2^61 elements.
    let total = shape.iter().try_fold(1_u64, |total, &dim| total.checked_mul(dim)).filter(|&n| n < 1 << 61);
    total.or_else(|| shape.contains(&0).then_some(0)).ok_or_else(|| QuantError::Shape {
        shape: shape.to_vec(),
        wanted: "more than 2^61".into(),
        got: 0,
    })
}

/// The elements of a shape, which must describe `got` values.
pub(crate) fn check_shape(shape: &[u64], got: usize) -> Result<(), QuantError> {
    let wanted = elements(shape)?;
    if wanted == got as u64 {
        return Ok(());
    }
    Err(QuantError::Shape { shape: shape.to_vec(), wanted: wanted.to_string(), got: got as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_runs_and_values_agree() {
        let shape = [2, 3, 4];
        let cases = [
            (Granularity::Tensor, vec![0; 24]),
            (Granularity::Channel(0), (0..24).map(|i| i / 12).collect()),
            (Granularity::Channel(1), (0..24).map(|i| i / 4 % 3).collect()),
            (Granularity::Channel(2), (0..24).map(|i| i % 4).collect()),
            (Granularity::Group(5), (0..24).map(|i| i / 5).collect()),
            (Granularity::Group(24), vec![0; 24]),
            (Granularity::Group(1), (0..24).collect()),
        ];
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        for (granularity, wanted) in cases {
            let partition = Partition::new(granularity, &shape).unwrap();
            let units: Vec<u64> = (0..24).map(|i| partition.unit(i)).collect();
            assert_eq!(units, wanted, "{granularity:?}");
            let mut seen = vec![u64::MAX; 24];
            for (unit, start, end) in partition.runs() {
                seen[start..end].fill(unit);
            }
            assert_eq!(seen, wanted, "{granularity:?}");
            for unit in 0..partition.units {
                let wanted: Vec<f32> = (0..24).filter(|&i| wanted[i] == unit).map(|i| i as f32).collect();
                assert_eq!(*partition.values(unit, &values), wanted[..], "{granularity:?} {unit}");
            }
        }
    }

    #[test]
    fn empty_and_impossible_shapes() {
        let empty = Partition::new(Granularity::Channel(1), &[0, 3]).unwrap();
        assert_eq!((empty.elements, empty.units, empty.runs().count()), (0, 0, 0));
        assert_eq!(*empty.values(2, &[]), []);
        assert_eq!(Partition::new(Granularity::Tensor, &[u64::MAX, 0]).unwrap().units, 1);
        assert!(matches!(
            Partition::new(Granularity::Channel(2), &[4, 4]),
            Err(QuantError::Axis { axis: 2, .. })
        ));
        assert!(Partition::new(Granularity::Tensor, &[u64::MAX, 2]).is_err());
        assert!(check_shape(&[2, 2], 5).is_err());
        assert!(check_shape(&[], 1).is_ok());
    }
}
