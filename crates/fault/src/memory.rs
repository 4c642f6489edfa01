//! Where bits lie in a real memory, and the faults that follow its build: measured chips and DRAM.

mod chip;
mod csv;
mod dram;
mod geometry;
mod line;
mod map;
mod synthetic;

pub use chip::{CellFault, ChipArrays, ChipCell, ChipMap, MapError};
pub use csv::{ChipCsvError, CsvProblem};
pub use dram::{DramFault, Scope, Structure};
pub use geometry::{DramGeometry, DramPlace, GeometryError, Level};
pub use map::{MapFaults, Offset};
pub use synthetic::{SyntheticChip, SyntheticChipError};
