//! Faults between links, row by row.

/// A boundary at which values of a row change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stop {
    /// The boundary.
    pub boundary: usize,
    /// Whether the change is computed from values alive one boundary earlier.
    pub looks_back: bool,
}

/// The faults that rows have in values at boundaries. A row is one image with faults of its own: the same image may stand in
/// several rows.
pub trait RowFaults {
    /// Where a row's values change, ascending, each boundary once.
    fn stops(&self, row: usize) -> &[Stop];

    /// Changes a row's values at one of its stops.
    ///
    /// # Errors
    /// What cannot be computed; the run ends with it.
    fn apply(
        &self,
        row: usize,
        boundary: usize,
        values: &mut RowValues<'_>,
    ) -> Result<(), crate::EngineError>;
}

/// No faults but those in weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFaults;

impl RowFaults for NoFaults {
    fn stops(&self, _row: usize) -> &[Stop] {
        &[]
    }

    fn apply(
        &self,
        _row: usize,
        _boundary: usize,
        _values: &mut RowValues<'_>,
    ) -> Result<(), crate::EngineError> {
        Ok(())
    }
}

/// The values of one row at a boundary.
pub struct RowValues<'v> {
    /// Name and row of each value alive here.
    pub(crate) here: Vec<(&'v str, HereRow<'v>)>,
    /// Name and row of each value that the link before read, at a stop that looks back.
    pub(crate) before: Vec<(&'v str, Vec<f32>)>,
}

/// The row of a value that is alive at a boundary.
pub(crate) enum HereRow<'v> {
    /// Changed where it is.
    InPlace(&'v mut [f32]),
    /// Copied when it is asked for.
    OnDemand(Box<dyn Fn() -> Vec<f32> + 'v>),
    /// As it was copied, and as it is now.
    Copied(Vec<f32>, Vec<f32>),
}

impl HereRow<'_> {
    fn get_mut(&mut self) -> &mut [f32] {
        if let Self::OnDemand(copy) = self {
            let row = copy();
            *self = Self::Copied(row.clone(), row);
        }
        match self {
            Self::InPlace(row) => row,
            Self::Copied(_, row) => row,
            Self::OnDemand(_) => &mut [],
        }
    }
}

impl RowValues<'_> {
    /// A value alive here, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        self.here.iter_mut().find(|(known, _)| *known == name).map(|(_, row)| row.get_mut())
    }

    /// A value that the link before this boundary read.
    #[must_use]
    pub fn before(&self, name: &str) -> Option<&[f32]> {
        self.before.iter().find(|(known, _)| *known == name).map(|(_, values)| values.as_slice())
    }

    /// A value that the link before this boundary read, and one alive here, to be changed.
    pub fn before_and_here(&mut self, before: &str, here: &str) -> Option<(&[f32], &mut [f32])> {
        let before = self.before.iter().find(|(known, _)| *known == before)?;
        let here = self.here.iter_mut().find(|(known, _)| *known == here)?;
        Some((&before.1, here.1.get_mut()))
    }
}
