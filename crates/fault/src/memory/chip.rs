//! A memory array whose cells fail one by one.

use bitquake_sample::{Rate, RateError};

/// More cells than any array has; keeps sums of addresses far from overflow.
const MOST_CELLS: u64 = 1 << 48;

/// A memory array, rows by columns of one-bit cells, and what is wrong with which cell.
///
/// Cells count row by row. Cells that are not listed never fail. With thresholds, a cell is faulty at every voltage *below* its
/// own threshold; so the faulty cells at a voltage are a subset of those at any lower voltage.
///
/// ```
/// use bitquake_fault::{ChipArrays, ChipMap};
/// let threshold = [0.0, 0.7, 0.0, 0.8];
/// let chip = ChipMap::from_arrays(2, 2, &ChipArrays { threshold: Some(&threshold), ..ChipArrays::default() })?;
/// let faulty = |voltage| chip.faulty_at(Some(voltage)).map(|cell| cell.index).collect::<Vec<u64>>();
/// assert_eq!(faulty(0.75), [3]);
/// assert_eq!(faulty(0.65), [1, 3]);
/// # Ok::<(), bitquake_fault::MapError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ChipMap {
    rows: u64,
    columns: u64,
    cells: Vec<ChipCell>,
}

/// A cell that can fail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChipCell {
    /// `row * columns + column`.
    pub index: u64,
    /// The voltage below which it fails; `None` when it does at every voltage.
    pub threshold: Option<f64>,
    /// How it fails.
    pub fault: CellFault,
}

/// How a cell fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellFault {
    /// In each trial anew, with these probabilities.
    Flips {
        /// That a stored 0 is read as 1.
        to_one: Rate,
        /// That a stored 1 is read as 0.
        to_zero: Rate,
    },
    /// It always reads this value.
    Stuck(bool),
}

/// What was measured, each array row by row with one number for each cell, any of them absent. NumPy's arrays of a chip
/// (`p01`, `p10`, `threshold`, `stuck` in an `.npz`) fit as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChipArrays<'a> {
    /// Probability that a stored 0 is read as 1, in `[0, 1]`.
    pub p01: Option<&'a [f64]>,
    /// Probability that a stored 1 is read as 0, in `[0, 1]`.
    pub p10: Option<&'a [f64]>,
    /// The voltage below which the cell fails; minus infinity when it never does.
    pub threshold: Option<&'a [f64]>,
    /// 0 or 1 for a cell stuck at that value, -1 for any other.
    pub stuck: Option<&'a [i8]>,
}

/// Why there is no map.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MapError {
    /// No cells, or too many to count.
    #[error("an array of {rows} rows and {columns} columns: there must be 1 to 2^48 cells")]
    Shape {
        /// Rows.
        rows: u64,
        /// Columns.
        columns: u64,
    },
    /// No array at all.
    #[error("nothing is known of the cells: give at least one of p01, p10, threshold, stuck")]
    NoArrays,
    /// An array of another size.
    #[error("`{array}` has {found} numbers, the {rows} x {columns} cells need {}", rows * columns)]
    Size {
        /// The array's name.
        array: &'static str,
        /// How many numbers it has.
        found: usize,
        /// Rows.
        rows: u64,
        /// Columns.
        columns: u64,
    },
    /// A number that is no probability.
    #[error("`{array}` at row {row}, column {column}: {source}")]
    Probability {
        /// The array's name.
        array: &'static str,
        /// The row, from 0.
        row: u64,
        /// The column, from 0.
        column: u64,
        /// The number.
        source: RateError,
    },
    /// A threshold that is not a number.
    #[error("`threshold` at row {row}, column {column} is not a number")]
    Threshold {
        /// The row, from 0.
        row: u64,
        /// The column, from 0.
        column: u64,
    },
    /// Stuck at nothing that a bit can be.
    #[error(
        "`stuck` at row {row}, column {column} is {value}: it must be 0, 1, or -1 for a cell that is not stuck"
    )]
    Stuck {
        /// The row, from 0.
        row: u64,
        /// The column, from 0.
        column: u64,
        /// The number.
        value: i64,
    },
    /// A cell beyond the array.
    #[error("row {row}, column {column} is out of bounds, the array has {rows} x {columns} cells")]
    OutOfBounds {
        /// The row, from 0.
        row: u64,
        /// The column, from 0.
        column: u64,
        /// Rows.
        rows: u64,
        /// Columns.
        columns: u64,
    },
    /// A cell listed twice.
    #[error("row {row}, column {column} is listed twice")]
    Twice {
        /// The row, from 0.
        row: u64,
        /// The column, from 0.
        column: u64,
    },
}

/// What is known of one cell; absent where the arrays are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    pub(super) p01: Option<f64>,
    pub(super) p10: Option<f64>,
    pub(super) threshold: Option<f64>,
    pub(super) stuck: Option<i64>,
}

impl Measured {
    /// The cell, unless it can never fail. Without any probability, a cell with a threshold that is not stuck flips for certain
    /// below it; one probability alone means that the other is 0.
    pub(super) fn cell(self, row: u64, column: u64, columns: u64) -> Result<Option<ChipCell>, MapError> {
        let certain =
            if self.p01.is_none() && self.p10.is_none() && self.threshold.is_some() { 1.0 } else { 0.0 };
        let rate = |array, p: Option<f64>| {
            Rate::new(p.unwrap_or(certain)).map_err(|source| MapError::Probability {
                array,
                row,
                column,
                source,
            })
        };
        if self.threshold.is_some_and(f64::is_nan) {
            return Err(MapError::Threshold { row, column });
        }
        let flips = CellFault::Flips { to_one: rate("p01", self.p01)?, to_zero: rate("p10", self.p10)? };
        let fault = match self.stuck {
            None | Some(-1) => flips,
            Some(value @ (0 | 1)) => CellFault::Stuck(value == 1),
            Some(value) => return Err(MapError::Stuck { row, column, value }),
        };
        let never = fault == CellFault::Flips { to_one: Rate::ZERO, to_zero: Rate::ZERO };
        let fails = !never && self.threshold != Some(f64::NEG_INFINITY);
        Ok(fails.then_some(ChipCell { index: row * columns + column, threshold: self.threshold, fault }))
    }
}

pub(super) fn check_shape(rows: u64, columns: u64) -> Result<(), MapError> {
    let cells = rows.checked_mul(columns);
    if cells.is_some_and(|cells| (1..=MOST_CELLS).contains(&cells)) {
        Ok(())
    } else {
        Err(MapError::Shape { rows, columns })
    }
}

impl ChipMap {
    /// A map from the cells that can fail, in any order.
    ///
    /// # Errors
    /// [`MapError`] when the array has no cells, or a cell lies outside, is listed twice or has a threshold that is no number.
    pub fn new(rows: u64, columns: u64, mut cells: Vec<ChipCell>) -> Result<Self, MapError> {
        check_shape(rows, columns)?;
        cells.sort_by_key(|cell| cell.index);
        let place = |cell: &ChipCell| (cell.index / columns, cell.index % columns);
        if let Some(cell) = cells.last().filter(|cell| cell.index >= rows * columns) {
            let (row, column) = place(cell);
            return Err(MapError::OutOfBounds { row, column, rows, columns });
        }
        if let Some(pair) = cells.windows(2).find(|pair| pair[0].index == pair[1].index) {
            let (row, column) = place(&pair[0]);
            return Err(MapError::Twice { row, column });
        }
        if let Some(cell) = cells.iter().find(|cell| cell.threshold.is_some_and(f64::is_nan)) {
            let (row, column) = place(cell);
            return Err(MapError::Threshold { row, column });
        }
        Ok(Self { rows, columns, cells })
    }

    /// A map from dense arrays. Without `p01` and `p10`, a cell with a threshold flips for certain below it; with one of them
    /// alone, the other is 0. A stuck cell's probabilities do not matter.
    ///
    /// # Errors
    /// [`MapError`] names the array, the row and the column.
    pub fn from_arrays(rows: u64, columns: u64, arrays: &ChipArrays<'_>) -> Result<Self, MapError> {
        check_shape(rows, columns)?;
        let ChipArrays { p01, p10, threshold, stuck } = *arrays;
        let sizes = [
            ("p01", p01.map(<[f64]>::len)),
            ("p10", p10.map(<[f64]>::len)),
            ("threshold", threshold.map(<[f64]>::len)),
            ("stuck", stuck.map(<[i8]>::len)),
        ];
        if sizes.iter().all(|(_, size)| size.is_none()) {
            return Err(MapError::NoArrays);
        }
        for (array, found) in sizes.into_iter().filter_map(|(array, size)| Some((array, size?))) {
            if found as u64 != rows * columns {
                return Err(MapError::Size { array, found, rows, columns });
            }
        }
        let mut cells = Vec::new();
        for index in 0..rows * columns {
            let at = |array: Option<&[f64]>| array.map(|array| array[index as usize]);
            let stuck = stuck.map(|array| i64::from(array[index as usize]));
            let measured = Measured { p01: at(p01), p10: at(p10), threshold: at(threshold), stuck };
            cells.extend(measured.cell(index / columns, index % columns, columns)?);
        }
        Ok(Self { rows, columns, cells })
    }

    /// Rows of the array.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Columns of the array.
    #[must_use]
    pub fn columns(&self) -> u64 {
        self.columns
    }

    /// The cells that can fail, by index.
    #[must_use]
    pub fn cells(&self) -> &[ChipCell] {
        &self.cells
    }

    /// Whether any cell has a threshold, so that a voltage is needed.
    #[must_use]
    pub fn has_thresholds(&self) -> bool {
        self.cells.iter().any(|cell| cell.threshold.is_some())
    }

    /// The cells that can fail at a voltage, by index; with `None`, all of them.
    pub fn faulty_at(&self, voltage: Option<f64>) -> impl Iterator<Item = &ChipCell> {
        let below = move |threshold: f64| voltage.is_none_or(|voltage| voltage < threshold);
        self.cells.iter().filter(move |cell| cell.threshold.is_none_or(below))
    }

    /// The mean probability over all cells that a stored 0 is read as 1, and a stored 1 as 0, at a voltage.
    #[must_use]
    pub fn rates_at(&self, voltage: Option<f64>) -> (f64, f64) {
        let of = |cell: &ChipCell| match cell.fault {
            CellFault::Flips { to_one, to_zero } => (to_one.fraction(), to_zero.fraction()),
            CellFault::Stuck(true) => (1.0, 0.0),
            CellFault::Stuck(false) => (0.0, 1.0),
        };
        let sum = self.faulty_at(voltage).map(of).fold((0.0, 0.0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
        let cells = (self.rows * self.columns) as f64;
        (sum.0 / cells, sum.1 / cells)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(arrays: ChipArrays<'_>) -> Result<ChipMap, MapError> {
        ChipMap::from_arrays(1, 3, &arrays)
    }

    #[test]
    fn what_arrays_mean() {
        let flips = |to_one, to_zero| CellFault::Flips {
            to_one: Rate::new(to_one).unwrap(),
            to_zero: Rate::new(to_zero).unwrap(),
        };
        let faults = |arrays| {
            map(arrays).unwrap().cells().iter().map(|cell| (cell.index, cell.fault)).collect::<Vec<_>>()
        };
        let none = ChipArrays::default();
        let (p, volts, stuck) = ([0.0, 0.5, 1.0], [f64::NEG_INFINITY, 0.7, 0.8], [-1, 0, 1]);
        assert_eq!(
            faults(ChipArrays { p01: Some(&p), ..none }),
            [(1, flips(0.5, 0.0)), (2, flips(1.0, 0.0))]
        );
        assert_eq!(
            faults(ChipArrays { p10: Some(&p), ..none }),
            [(1, flips(0.0, 0.5)), (2, flips(0.0, 1.0))]
        );
        assert_eq!(
            faults(ChipArrays { threshold: Some(&volts), ..none }),
            [(1, flips(1.0, 1.0)), (2, flips(1.0, 1.0))]
        );
        assert_eq!(
            faults(ChipArrays { stuck: Some(&stuck), ..none }),
            [(1, CellFault::Stuck(false)), (2, CellFault::Stuck(true))]
        );
        let both = map(ChipArrays { p01: Some(&p), threshold: Some(&volts), ..none }).unwrap();
        assert_eq!(both.rates_at(Some(0.75)), (1.0 / 3.0, 0.0));
        assert_eq!(both.rates_at(Some(0.6)), (0.5, 0.0));
        assert_eq!(both.rates_at(Some(0.8)), (0.0, 0.0), "a cell works at its threshold");
    }

    #[test]
    fn bad_arrays_are_named() {
        let none = ChipArrays::default();
        assert_eq!(map(none), Err(MapError::NoArrays));
        assert!(matches!(ChipMap::from_arrays(0, 3, &none), Err(MapError::Shape { rows: 0, .. })));
        assert!(matches!(ChipMap::from_arrays(u64::MAX, 3, &none), Err(MapError::Shape { .. })));
        let short = map(ChipArrays { p01: Some(&[0.0]), ..none });
        assert!(matches!(short, Err(MapError::Size { array: "p01", found: 1, .. })));
        let bad = map(ChipArrays { p10: Some(&[0.0, 0.0, 1.5]), ..none }).unwrap_err();
        assert_eq!(bad.to_string(), "`p10` at row 0, column 2: rate 1.5 is not a probability in [0, 1]");
        let nan = map(ChipArrays { threshold: Some(&[0.0, f64::NAN, 1.0]), ..none });
        assert_eq!(nan, Err(MapError::Threshold { row: 0, column: 1 }));
        let stuck = map(ChipArrays { stuck: Some(&[0, 1, 2]), ..none });
        assert_eq!(stuck, Err(MapError::Stuck { row: 0, column: 2, value: 2 }));
        let cell = |index| ChipCell { index, threshold: None, fault: CellFault::Stuck(true) };
        assert!(matches!(
            ChipMap::new(2, 2, vec![cell(4)]),
            Err(MapError::OutOfBounds { row: 2, column: 0, .. })
        ));
        assert!(matches!(
            ChipMap::new(2, 2, vec![cell(3), cell(3)]),
            Err(MapError::Twice { row: 1, column: 1 })
        ));
    }
}
