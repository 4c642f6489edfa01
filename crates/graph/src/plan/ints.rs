//! Whole numbers on the host: shapes, axes, indices, truth values.

/// A tensor of whole numbers or truth values (0 and 1), row-major, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ints {
    /// Its shape; empty for a single number.
    pub shape: Vec<usize>,
    /// Its elements; truth values are 0 and 1.
    pub values: Vec<i64>,
}

impl Ints {
    /// A list.
    #[must_use]
    pub fn list(values: Vec<i64>) -> Ints {
        Ints { shape: vec![values.len()], values }
    }

    /// The sizes of a shape, as a list.
    #[must_use]
    pub fn sizes(shape: &[usize]) -> Ints {
        Ints::list(shape.iter().map(|&size| size as i64).collect())
    }

    /// A tensor of the same shape.
    #[must_use]
    pub fn map(&self, change: impl Fn(i64) -> i64) -> Ints {
        Ints { shape: self.shape.clone(), values: self.values.iter().map(|&value| change(value)).collect() }
    }

    /// The values that row-major `places` point at, with another shape; none if a place is beyond the end, or if the shape has another number
    /// of elements.
    #[must_use]
    pub fn pick(&self, shape: Vec<usize>, places: impl Iterator<Item = usize>) -> Option<Ints> {
        let values = places.map(|place| self.values.get(place).copied()).collect::<Option<Vec<i64>>>()?;
        (values.len() == shape.iter().product::<usize>()).then_some(Ints { shape, values })
    }
}
