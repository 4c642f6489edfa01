//! The columns of `trials.csv` and `trials.parquet`: one table.

use crate::csv::quoted;
use crate::trial::{CleanRecord, DistanceRecord, ProtectionRecord, SiteRecord, TrialRecord};

/// One column: its name, and how its cell is taken from a trial.
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) cell: Cell,
}

/// The kind of a column. Optional cells become empty cells and nulls.
pub(crate) enum Cell {
    U32(fn(&TrialRecord) -> u32),
    U64(fn(&TrialRecord) -> u64),
    OptionalU64(fn(&TrialRecord) -> Option<u64>),
    F64(fn(&TrialRecord) -> f64),
    OptionalF64(fn(&TrialRecord) -> Option<f64>),
    Text(fn(&TrialRecord) -> &str),
    OptionalText(fn(&TrialRecord) -> Option<&str>),
}

const fn column(name: &'static str, cell: Cell) -> Column {
    Column { name, cell }
}

const fn protection(name: &'static str, get: fn(&TrialRecord) -> Option<u64>) -> Column {
    column(name, Cell::OptionalU64(get))
}

/// In the order of the files.
pub(crate) const COLUMNS: &[Column] = &[
    column("point", Cell::U32(|t| t.point)),
    column("trial", Cell::U64(|t| t.trial)),
    column("rate", Cell::OptionalF64(|t| t.rate)),
    column("count", Cell::OptionalU64(|t| if t.rate.is_none() { t.count } else { None })),
    column("fraction", Cell::OptionalF64(|t| t.fraction)),
    column("voltage", Cell::OptionalF64(|t| t.voltage)),
    column("faults", Cell::U64(|t| t.faults)),
    column("dormant", Cell::U64(|t| t.dormant)),
    protection("corrected", |t| of(t.protection, |p: &ProtectionRecord| p.corrected)),
    protection("detected", |t| of(t.protection, |p: &ProtectionRecord| p.detected)),
    protection("miscorrected", |t| of(t.protection, |p: &ProtectionRecord| p.miscorrected)),
    protection("silent", |t| of(t.protection, |p: &ProtectionRecord| p.silent)),
    protection("guarded", |t| of(t.protection, |p: &ProtectionRecord| p.guarded)),
    protection("residual", |t| of(t.protection, |p: &ProtectionRecord| p.residual)),
    column("images", Cell::OptionalU64(|t| t.known("images", t.images))),
    column("correct", Cell::OptionalU64(|t| t.known("correct", t.correct))),
    column("top5_correct", Cell::OptionalU64(|t| t.known("top5_correct", t.top5_correct))),
    column("golden_mismatch", Cell::OptionalU64(|t| t.known("golden_mismatch", t.golden_mismatch))),
    column("masked", Cell::OptionalU64(|t| t.masked)),
    column("sdc5", Cell::OptionalU64(|t| t.sdc5)),
    column("sdc10", Cell::OptionalU64(|t| t.sdc10)),
    column("sdc20", Cell::OptionalU64(|t| t.sdc20)),
    column("nonfinite", Cell::OptionalU64(|t| t.known("nonfinite", t.nonfinite))),
    column("err_union", Cell::OptionalU64(|t| t.known("err_union", t.err_union))),
    column("due", Cell::OptionalU64(|t| t.known("due", t.due))),
    column("loss", Cell::OptionalF64(|t| t.loss)),
    column("seconds", Cell::F64(|t| t.seconds)),
    column("to_one", Cell::U64(|t| t.to_one)),
    column("became_nan", Cell::U64(|t| t.became_nan)),
    column("became_inf", Cell::U64(|t| t.became_inf)),
    column("clean_correct", Cell::OptionalU64(|t| of(t.clean, |c: &CleanRecord| c.correct))),
    column("clean_top5_correct", Cell::OptionalU64(|t| of(t.clean, |c: &CleanRecord| c.top5_correct))),
    column("clean_nonfinite", Cell::OptionalU64(|t| of(t.clean, |c: &CleanRecord| c.nonfinite))),
    column("clean_loss", Cell::OptionalF64(|t| t.clean?.loss)),
    column("compared", Cell::OptionalU64(|t| of(t.distance, |d: &DistanceRecord| d.compared))),
    column("exceeded", Cell::OptionalU64(|t| of(t.distance, |d: &DistanceRecord| d.exceeded))),
    column("max_abs", Cell::OptionalF64(|t| t.distance?.max_abs.mean)),
    column("max_abs_worst", Cell::OptionalF64(|t| t.distance?.max_abs.worst)),
    column("rel_l2", Cell::OptionalF64(|t| t.distance?.rel_l2.mean)),
    column("rel_l2_worst", Cell::OptionalF64(|t| t.distance?.rel_l2.worst)),
    column("cosine", Cell::OptionalF64(|t| t.distance?.cosine.mean)),
    column("cosine_worst", Cell::OptionalF64(|t| t.distance?.cosine.worst)),
    column("site_tensor", Cell::OptionalText(|t| t.site.as_ref().map(|site| site.tensor.as_str()))),
    column("site_element", Cell::OptionalU64(|t| of(t.site.as_ref(), |s: &&SiteRecord| s.element))),
    column("site_bit", Cell::OptionalU64(|t| of(t.site.as_ref(), |s: &&SiteRecord| u64::from(s.bit)))),
    column("stratum", Cell::OptionalU64(|t| t.stratum.map(u64::from))),
    column("weight", Cell::OptionalF64(|t| t.weight)),
    column("pattern", Cell::Text(|t| &t.pattern)),
];

fn of<T>(part: Option<T>, get: impl Fn(&T) -> u64) -> Option<u64> {
    part.as_ref().map(get)
}

impl Cell {
    /// Adds the cell's text to a line. Numbers read back as the same numbers.
    pub(crate) fn write_text(&self, trial: &TrialRecord, line: &mut String) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = match self {
            Self::U32(get) => write!(line, "{}", get(trial)),
            Self::U64(get) => write!(line, "{}", get(trial)),
            Self::OptionalU64(get) => get(trial).map_or(Ok(()), |value| write!(line, "{value}")),
            Self::F64(get) => write!(line, "{}", get(trial)),
            Self::OptionalF64(get) => get(trial).map_or(Ok(()), |value| write!(line, "{value}")),
            Self::Text(get) => write!(line, "{}", quoted(get(trial))),
            Self::OptionalText(get) => get(trial).map_or(Ok(()), |text| write!(line, "{}", quoted(text))),
        };
    }
}
