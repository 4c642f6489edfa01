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

#[cfg(test)]
mod tests {
    use super::*;

    /// Value `v` holds `v`, `v + 1`, `v + 2`.
    struct Counting;

    impl RowSource for Counting {
        fn element(&self, value: usize, element: usize) -> Option<f32> {
            (element < 3).then(|| (value + element) as f32)
        }

        fn row(&self, value: usize) -> Vec<f32> {
            (0..3).map(|element| (value + element) as f32).collect()
        }
    }

    fn values() -> RowValues<'static> {
        let here = |value| HereRow::Copied(RowCopy::new(&Counting, value));
        RowValues { here: vec![("five", here(5)), ("nine", here(9))], before: Vec::new() }
    }

    fn changes(values: RowValues<'_>) -> Vec<(usize, Changes)> {
        let of = |(_, row)| match row {
            HereRow::Copied(copy) => RowCopy::into_changes(copy),
            HereRow::InPlace(_) => None,
        };
        values.here.into_iter().filter_map(of).collect()
    }

    #[test]
    fn elements_are_copied_one_by_one() {
        let mut values = values();
        *values.element_mut("nine", 2).expect("an element") += 0.5;
        *values.element_mut("nine", 2).expect("an element") += 0.5;
        *values.element_mut("nine", 0).expect("an element") = -1.0;
        assert!(values.element_mut("nine", 3).is_none() && values.element_mut("ten", 0).is_none());
        let changes = changes(values);
        let [(9, Changes::Elements(elements))] = changes.as_slice() else { panic!("elements of one value") };
        let seen: Vec<_> =
            elements.iter().map(|change| (change.element, change.before, change.after)).collect();
        assert_eq!(seen, [(2, 11.0, 12.0), (0, 9.0, -1.0)]);
    }

    #[test]
    fn a_row_holds_what_became_of_its_elements() {
        let mut values = values();
        *values.element_mut("five", 1).expect("an element") = 0.5;
        values.get_mut("five").expect("a row")[2] = -7.0;
        *values.element_mut("five", 0).expect("an element") = 4.0;
        let changes = changes(values);
        let [(5, Changes::Row(before, after))] = changes.as_slice() else { panic!("the row of one value") };
        assert_eq!((before.as_slice(), after.as_slice()), (&[5.0, 6.0, 7.0][..], &[4.0, 0.5, -7.0][..]));
    }

    #[test]
    fn what_nobody_asks_for_is_not_copied() {
        assert!(changes(values()).is_empty());
    }
}
