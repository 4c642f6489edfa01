//! Chips that were never built.

use bitquake_sample::{PartKey, Rate, Words, subset_of};
use serde::{Deserialize, Serialize};

use super::chip::{CellFault, ChipCell, ChipMap, MapError, check_shape};

/// Parameters of a made-up memory array whose faults gather in columns and grow exponentially as the voltage falls.
///
/// At voltage `v` the share of faulty cells is `rate * 10^(decades_per_volt * (reference - v))`, up to all. Weak
/// stretches of some columns hold `weak_share` of the faults, as far as they have cells for them; the other faults are spread evenly over
/// the other cells. Each faulty cell has one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyntheticChip {
    /// Rows, at least 1.
    pub rows: u64,
    /// Columns, at least 1.
    pub columns: u64,
    /// Share of faulty cells at the reference voltage, above 0 and at most 1.
    pub rate: f64,
    /// The reference voltage, in the unit of the thresholds (volts, or fractions of the lowest safe voltage).
    pub reference: f64,
    /// Cells that fail only below this voltage are left out; at most the reference.
    pub lowest: f64,
    /// By how many powers of ten the rate grows as the voltage falls by 1; above 0.
    pub decades_per_volt: f64,
    /// How many columns have a weak stretch.
    pub weak_columns: u64,
    /// Rows of a weak stretch; 0 for the whole column. Each stretch starts at a row of its own.
    pub weak_rows: u64,
    /// Share of the faults that lie in weak stretches; does not matter without weak columns.
    pub weak_share: f64,
    /// Share of faulty cells that turn 0 into 1; the others turn 1 into 0.
    pub to_one_share: f64,
    /// Share of faulty cells that are stuck at what they turn bits into; the others flip.
    pub stuck_share: f64,
    /// Probability that a faulty cell that is not stuck fails in a trial.
    pub flip_probability: f64,
}

impl Default for SyntheticChip {
    /// 512 x 64 cells, 1 % faulty at voltage 0.85 and one decade more for each 0.05 below 1, half of the faults in 4 weak columns.
    fn default() -> Self {
        Self {
            rows: 512,
            columns: 64,
            rate: 0.01,
            reference: 0.85,
            lowest: 0.8,
            decades_per_volt: 20.0,
            weak_columns: 4,
            weak_rows: 0,
            weak_share: 0.5,
            to_one_share: 0.5,
            stuck_share: 0.0,
            flip_probability: 1.0,
        }
    }
}

/// Parameters of which no chip can be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SyntheticChipError {
    /// The shape of the array.
    #[error(transparent)]
    Shape(#[from] MapError),
    /// A number out of its range.
    #[error("{field} is {value}: it must be {range}")]
    Field {
        /// The field's name.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        range: &'static str,
    },
    /// More cells than are worth making up.
    #[error("{rows} rows and {columns} columns: at most 2^30 cells can be made up")]
    TooLarge {
        /// Rows.
        rows: u64,
        /// Columns.
        columns: u64,
    },
    /// More weak columns than columns.
    #[error("{weak} weak columns, but the array has {columns}")]
    WeakColumns {
        /// Weak columns.
        weak: u64,
        /// Columns.
        columns: u64,
    },
}

/// Some of the cells, one of two parts.
struct Part {
    /// The share of the cells that are here.
    cells: f64,
    /// How much likelier than the mean a cell of it is to be faulty.
    gain: f64,
    /// The share of faulty cells on the chip from which on all cells of the other part are faulty, so that what more there are lie here.
    rest_is_full: f64,
}

impl Part {
    /// Of its share of the cells and of the faults.
    fn new(cells: f64, faults: f64) -> Self {
        let gain = faults / cells;
        let rest_is_full = if gain < 1.0 { (1.0 - cells) / (1.0 - faults) } else { f64::INFINITY };
        Self { cells, gain, rest_is_full }
    }

    /// `rate` over the share of the cells that are faulty from where on that of this rank, in (0, 1], among those of the part is.
    fn margin(&self, rate: f64, rank: f64) -> f64 {
        if rank <= self.gain * self.rest_is_full {
            self.gain * rate / rank
        } else {
            rate / (1.0 - self.cells + rank * self.cells)
        }
    }
}

impl SyntheticChip {
    /// The chip of a key: the same for the same parameters and key, on every machine. A cell's random numbers hang on its row
    /// and column alone; so a higher `rate` or a lower `lowest` adds cells.
    ///
    /// # Errors
    /// [`SyntheticChipError`].
    pub fn make(&self, key: &PartKey) -> Result<ChipMap, SyntheticChipError> {
        self.check()?;
        let weak = self.weak_stretches(key);
        let (weak_part, other_part) = self.parts(&weak);
        let mut cells = Vec::new();
        for row in 0..self.rows {
            let mut words = key.part("row").whole().words(row);
            for column in 0..self.columns {
                let is_weak = self.is_weak(&weak, row, column);
                let part = if is_weak { &weak_part } else { &other_part };
                cells.extend(self.cell(row * self.columns + column, part, &mut words));
            }
        }
        Ok(ChipMap::new(self.rows, self.columns, cells)?)
    }

    /// One cell, from four words whatever becomes of it. Voltages come from the software `log10` of `libm`.
    fn cell(&self, index: u64, part: &Part, words: &mut Words) -> Option<ChipCell> {
        // (0, 1], so that its logarithm is finite.
        let mut unit = || ((words.u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let (rank, direction, stuck) = (unit(), unit(), unit());
        let above = libm::log10(part.margin(self.rate, rank)) / self.decades_per_volt;
        let to_one = direction <= self.to_one_share;
        let rate = |fails: bool| if fails { Rate::clamped(self.flip_probability) } else { Rate::ZERO };
        let fault = if stuck <= self.stuck_share {
            CellFault::Stuck(to_one)
        } else {
            CellFault::Flips { to_one: rate(to_one), to_zero: rate(!to_one) }
        };
        let threshold = self.reference + above;
        (threshold > self.lowest).then_some(ChipCell { index, threshold: Some(threshold), fault })
    }

    /// For each column, the first row of its weak stretch, if it has one.
    fn weak_stretches(&self, key: &PartKey) -> Vec<Option<u64>> {
        let mut stretches = vec![None; self.columns as usize];
        let chosen = subset_of(&key.part("weak columns").whole(), self.columns, self.weak_columns);
        for column in chosen.unwrap_or_default() {
            let start = key.part("weak rows").whole().words(column).below(self.rows);
            stretches[column as usize] = Some(start);
        }
        stretches
    }

    fn stretch(&self) -> u64 {
        if self.weak_rows == 0 { self.rows } else { self.weak_rows.min(self.rows) }
    }

    /// Stretches wrap around at the last row.
    fn is_weak(&self, weak: &[Option<u64>], row: u64, column: u64) -> bool {
        weak[column as usize].is_some_and(|start| (row + self.rows - start) % self.rows < self.stretch())
    }

    /// The weak cells and the others.
    fn parts(&self, weak: &[Option<u64>]) -> (Part, Part) {
        let weak_cells = weak.iter().flatten().count() as f64 * self.stretch() as f64;
        let share = weak_cells / (self.rows * self.columns) as f64;
        if share == 0.0 || share == 1.0 {
            return (Part::new(1.0, 1.0), Part::new(1.0, 1.0));
        }
        (Part::new(share, self.weak_share), Part::new(1.0 - share, 1.0 - self.weak_share))
    }

    fn check(&self) -> Result<(), SyntheticChipError> {
        check_shape(self.rows, self.columns)?;
        if self.rows * self.columns > 1 << 30 {
            return Err(SyntheticChipError::TooLarge { rows: self.rows, columns: self.columns });
        }
        if self.weak_columns > self.columns {
            let (weak, columns) = (self.weak_columns, self.columns);
            return Err(SyntheticChipError::WeakColumns { weak, columns });
        }
        let share = "in [0, 1]";
        let fields = [
            ("rate", self.rate, self.rate > 0.0 && self.rate <= 1.0, "above 0 and at most 1"),
            ("reference", self.reference, self.reference.is_finite(), "finite"),
            (
                "lowest",
                self.lowest,
                self.lowest <= self.reference && self.lowest.is_finite(),
                "finite and at most the reference",
            ),
            (
                "decades_per_volt",
                self.decades_per_volt,
                self.decades_per_volt > 0.0 && self.decades_per_volt.is_finite(),
                "finite and above 0",
            ),
            ("weak_share", self.weak_share, (0.0..=1.0).contains(&self.weak_share), share),
            ("to_one_share", self.to_one_share, (0.0..=1.0).contains(&self.to_one_share), share),
            ("stuck_share", self.stuck_share, (0.0..=1.0).contains(&self.stuck_share), share),
            ("flip_probability", self.flip_probability, (0.0..=1.0).contains(&self.flip_probability), share),
        ];
        match fields.into_iter().find(|(_, _, good, _)| !good) {
            None => Ok(()),
            Some((field, value, _, range)) => Err(SyntheticChipError::Field { field, value, range }),
        }
    }
}
