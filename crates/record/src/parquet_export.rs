//! `trials.parquet`: the columns of `trials.csv`, typed.

use std::sync::Arc;

use parquet::basic::{IntType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::error::RecordError;
use crate::trial::TrialRecord;

/// One column: its name, and how its cell is taken from a trial.
struct Column {
    name: &'static str,
    cell: Cell,
}

/// The kind of a column. Optional cells become nulls.
enum Cell {
    U32(fn(&TrialRecord) -> u32),
    U64(fn(&TrialRecord) -> u64),
    OptionalU64(fn(&TrialRecord) -> Option<u64>),
    F64(fn(&TrialRecord) -> f64),
    OptionalF64(fn(&TrialRecord) -> Option<f64>),
    Text(fn(&TrialRecord) -> &str),
}

const fn column(name: &'static str, cell: Cell) -> Column {
    Column { name, cell }
}

/// In the order of `trials.csv`, which a test compares.
const COLUMNS: &[Column] = &[
    column("point", Cell::U32(|t| t.point)),
    column("trial", Cell::U64(|t| t.trial)),
    column("rate", Cell::OptionalF64(|t| t.rate)),
    column("count", Cell::OptionalU64(|t| if t.rate.is_none() { t.count } else { None })),
    column("fraction", Cell::OptionalF64(|t| t.fraction)),
    column("voltage", Cell::OptionalF64(|t| t.voltage)),
    column("faults", Cell::U64(|t| t.faults)),
    column("dormant", Cell::U64(|t| t.dormant)),
    column("corrected", Cell::OptionalU64(|t| t.protection.map(|p| p.corrected))),
    column("detected", Cell::OptionalU64(|t| t.protection.map(|p| p.detected))),
    column("miscorrected", Cell::OptionalU64(|t| t.protection.map(|p| p.miscorrected))),
    column("silent", Cell::OptionalU64(|t| t.protection.map(|p| p.silent))),
    column("guarded", Cell::OptionalU64(|t| t.protection.map(|p| p.guarded))),
    column("residual", Cell::OptionalU64(|t| t.protection.map(|p| p.residual))),
    column("images", Cell::U64(|t| t.images)),
    column("correct", Cell::U64(|t| t.correct)),
    column("top5_correct", Cell::U64(|t| t.top5_correct)),
    column("golden_mismatch", Cell::U64(|t| t.golden_mismatch)),
    column("nonfinite", Cell::U64(|t| t.nonfinite)),
    column("err_union", Cell::U64(|t| t.err_union)),
    column("due", Cell::U64(|t| t.due)),
    column("loss", Cell::OptionalF64(|t| t.loss)),
    column("seconds", Cell::F64(|t| t.seconds)),
    column("to_one", Cell::U64(|t| t.to_one)),
    column("became_nan", Cell::U64(|t| t.became_nan)),
    column("became_inf", Cell::U64(|t| t.became_inf)),
    column("pattern", Cell::Text(|t| &t.pattern)),
];

/// The trials as one Parquet file: a row a trial in the order given, the columns of [`csv::trials`](crate::csv::trials).
///
/// `point` is an unsigned 32-bit and every count an unsigned 64-bit integer, `rate`, `fraction`, `voltage`, `loss` and
/// `seconds` are doubles, `pattern` is a string. What a trial does not have is null. Uncompressed, because every
/// reader can read that.
///
/// ```
/// let file = bitquake_record::trials_to_parquet(&[])?;
/// assert_eq!((&file[..4], &file[file.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
/// # Ok::<(), bitquake_record::RecordError>(())
/// ```
///
/// # Errors
/// [`RecordError::Export`] when the Parquet library refuses.
pub fn trials_to_parquet(trials: &[TrialRecord]) -> Result<Vec<u8>, RecordError> {
    write_file(trials).map_err(|error| RecordError::Export { format: "parquet", reason: error.to_string() })
}

fn write_file(trials: &[TrialRecord]) -> Result<Vec<u8>, ParquetError> {
    let properties = WriterProperties::builder()
        .set_created_by(concat!("bitquake ", env!("CARGO_PKG_VERSION")).into())
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema()?, Arc::new(properties))?;
    let mut rows = writer.next_row_group()?;
    for column in COLUMNS {
        if let Some(mut cells) = rows.next_column()? {
            column.cell.write(trials, &mut cells)?;
            cells.close()?;
        }
    }
    rows.close()?;
    writer.into_inner()
}

fn schema() -> Result<TypePtr, ParquetError> {
    let fields = COLUMNS.iter().map(Column::field).collect::<Result<_, _>>()?;
    Ok(Arc::new(Type::group_type_builder("trial").with_fields(fields).build()?))
}

impl Column {
    fn field(&self) -> Result<TypePtr, ParquetError> {
        let unsigned = |bit_width| Some(LogicalType::Integer(IntType { bit_width, is_signed: false }));
        let (physical, logical, repetition) = match self.cell {
            Cell::U32(_) => (Physical::INT32, unsigned(32), Repetition::REQUIRED),
            Cell::U64(_) => (Physical::INT64, unsigned(64), Repetition::REQUIRED),
            Cell::OptionalU64(_) => (Physical::INT64, unsigned(64), Repetition::OPTIONAL),
            Cell::F64(_) => (Physical::DOUBLE, None, Repetition::REQUIRED),
            Cell::OptionalF64(_) => (Physical::DOUBLE, None, Repetition::OPTIONAL),
            Cell::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED),
        };
        let builder = Type::primitive_type_builder(self.name, physical);
        Ok(Arc::new(builder.with_logical_type(logical).with_repetition(repetition).build()?))
    }
}

impl Cell {
    /// Parquet keeps unsigned integers in signed words of the same bits, hence the casts.
    fn write(
        &self,
        trials: &[TrialRecord],
        cells: &mut SerializedColumnWriter<'_>,
    ) -> Result<(), ParquetError> {
        let written = match self {
            Self::U32(get) => {
                let values: Vec<i32> = trials.iter().map(|t| get(t) as i32).collect();
                cells.typed::<Int32Type>().write_batch(&values, None, None)
            }
            Self::U64(get) => {
                let values: Vec<i64> = trials.iter().map(|t| get(t) as i64).collect();
                cells.typed::<Int64Type>().write_batch(&values, None, None)
            }
            Self::OptionalU64(get) => {
                let (values, levels) = present(trials.iter().map(|t| get(t).map(|value| value as i64)));
                cells.typed::<Int64Type>().write_batch(&values, Some(&levels), None)
            }
            Self::F64(get) => {
                let values: Vec<f64> = trials.iter().map(get).collect();
                cells.typed::<DoubleType>().write_batch(&values, None, None)
            }
            Self::OptionalF64(get) => {
                let (values, levels) = present(trials.iter().map(get));
                cells.typed::<DoubleType>().write_batch(&values, Some(&levels), None)
            }
            Self::Text(get) => {
                let values: Vec<ByteArray> = trials.iter().map(|t| ByteArray::from(get(t))).collect();
                cells.typed::<ByteArrayType>().write_batch(&values, None, None)
            }
        };
        written.map(|_| ())
    }
}

/// The values that are there, and for every cell 1 if it is there, else 0.
fn present<T>(cells: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for cell in cells {
        levels.push(i16::from(cell.is_some()));
        values.extend(cell);
    }
    (values, levels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::ProtectionRecord;
    use crate::trial::tests::record;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;
    use std::io::Write;

    /// The rows of a file, as the Parquet crate reads them.
    fn read(file: Vec<u8>) -> Vec<Vec<(String, Field)>> {
        let mut on_disk = tempfile::tempfile().unwrap();
        on_disk.write_all(&file).unwrap();
        let reader = SerializedFileReader::new(on_disk).unwrap();
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().into_columns()).collect()
    }

    fn cells(trial: &TrialRecord) -> Vec<Field> {
        let optional = |cell: Option<Field>| cell.unwrap_or(Field::Null);
        let count = if trial.rate.is_some() { None } else { trial.count };
        let mut cells = vec![Field::UInt(trial.point), Field::ULong(trial.trial)];
        cells.push(optional(trial.rate.map(Field::Double)));
        cells.push(optional(count.map(Field::ULong)));
        cells.extend([trial.fraction, trial.voltage].map(|value| optional(value.map(Field::Double))));
        cells.extend([trial.faults, trial.dormant].map(Field::ULong));
        let words = trial
            .protection
            .map(|p| [p.corrected, p.detected, p.miscorrected, p.silent, p.guarded, p.residual]);
        cells.extend((0..6).map(|place| optional(words.map(|words| Field::ULong(words[place])))));
        let counts = [
            trial.images,
            trial.correct,
            trial.top5_correct,
            trial.golden_mismatch,
            trial.nonfinite,
            trial.err_union,
            trial.due,
        ];
        cells.extend(counts.map(Field::ULong));
        cells.push(optional(trial.loss.map(Field::Double)));
        cells.push(Field::Double(trial.seconds));
        cells.extend([trial.to_one, trial.became_nan, trial.became_inf].map(Field::ULong));
        cells.push(Field::Str(trial.pattern.clone()));
        cells
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut trials: Vec<TrialRecord> =
            (0..50).map(|trial| record((trial % 3) as u32, trial, 50 + trial)).collect();
        trials[1].loss = None;
        trials[2] = TrialRecord { rate: None, count: Some(u64::MAX), ..record(u32::MAX, u64::MAX, 0) };
        trials[3].pattern = "näh".into();
        let protection = ProtectionRecord {
            corrected: 5,
            detected: 4,
            miscorrected: 3,
            silent: 2,
            guarded: 6,
            residual: 1,
        };
        trials[4] =
            TrialRecord { rate: None, voltage: Some(0.8), protection: Some(protection), ..record(0, 4, 9) };
        let rows = read(trials_to_parquet(&trials).unwrap());
        assert_eq!(rows.len(), trials.len());
        for (row, trial) in rows.into_iter().zip(&trials) {
            let read: Vec<Field> = row.into_iter().map(|(_, field)| field).collect();
            assert_eq!(read, cells(trial), "trial {}", trial.trial);
        }
    }

    #[test]
    fn the_columns_are_those_of_the_csv_file() {
        let header = crate::csv::trials(&[]);
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(header.trim_end(), names.join(","));
        let row = &read(trials_to_parquet(&[record(0, 0, 90)]).unwrap())[0];
        assert_eq!(row.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn no_trials_make_a_file_without_rows() {
        assert_eq!(read(trials_to_parquet(&[]).unwrap()), Vec::<Vec<_>>::new());
    }
}
