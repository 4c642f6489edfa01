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
    /// Changed in a copy of what is asked for.
    Copied(RowCopy<'v>),
}

/// Where rows are copied from.
pub(crate) trait RowSource {
    /// An element of a value, if it has that.
    fn element(&self, value: usize, element: usize) -> Option<f32>;

    /// All elements.
    fn row(&self, value: usize) -> Vec<f32>;
}

/// Copies of a row's elements, made when they are asked for.
pub(crate) struct RowCopy<'v> {
    source: &'v dyn RowSource,
    value: usize,
    changes: Changes,
}

/// What was asked for, and so may have changed.
pub(crate) enum Changes {
    /// Some elements.
    Elements(Vec<ElementChange>),
    /// The row as it was, and as it is now.
    Row(Vec<f32>, Vec<f32>),
}

/// An element as it was, and as it is now.
pub(crate) struct ElementChange {
    pub(crate) element: usize,
    pub(crate) before: f32,
    pub(crate) after: f32,
}

impl<'v> RowCopy<'v> {
    pub(crate) fn new(source: &'v dyn RowSource, value: usize) -> Self {
        Self { source, value, changes: Changes::Elements(Vec::new()) }
    }

    /// What was asked for, if anything was.
    pub(crate) fn into_changes(self) -> Option<(usize, Changes)> {
        let is_untouched = matches!(&self.changes, Changes::Elements(elements) if elements.is_empty());
        (!is_untouched).then_some((self.value, self.changes))
    }

    fn row_mut(&mut self) -> &mut [f32] {
        if let Changes::Elements(elements) = &self.changes {
            let before = self.source.row(self.value);
            let mut after = before.clone();
            elements.iter().for_each(|change| after[change.element] = change.after);
            self.changes = Changes::Row(before, after);
        }
        match &mut self.changes {
            Changes::Row(_, after) => after,
            Changes::Elements(_) => &mut [],
        }
    }

    fn element_mut(&mut self, element: usize) -> Option<&mut f32> {
        let elements = match &mut self.changes {
            Changes::Row(_, after) => return after.get_mut(element),
            Changes::Elements(elements) => elements,
        };
        let at = match elements.iter().position(|change| change.element == element) {
            Some(at) => at,
            None => {
                let before = self.source.element(self.value, element)?;
                elements.push(ElementChange { element, before, after: before });
                elements.len() - 1
            }
        };
        Some(&mut elements[at].after)
    }
}

impl HereRow<'_> {
    fn row_mut(&mut self) -> &mut [f32] {
        match self {
            Self::InPlace(row) => row,
            Self::Copied(copy) => copy.row_mut(),
        }
    }
}

impl RowValues<'_> {
    /// A value alive here, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        self.here.iter_mut().find(|(known, _)| *known == name).map(|(_, row)| row.row_mut())
    }

    /// An element of a value alive here, to be changed. For a few elements this costs far less than [`get_mut`](Self::get_mut), which
    /// may have to copy the whole row.
    pub fn element_mut(&mut self, name: &str, element: usize) -> Option<&mut f32> {
        match self.here.iter_mut().find(|(known, _)| *known == name)? {
            (_, HereRow::InPlace(row)) => row.get_mut(element),
            (_, HereRow::Copied(copy)) => copy.element_mut(element),
        }
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
        Some((&before.1, here.1.row_mut()))
    }
}
