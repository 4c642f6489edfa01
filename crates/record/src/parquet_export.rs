//! `trials.parquet`: the columns of `trials.csv`, typed.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{IntType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use crate::column::{COLUMNS, Cell, Column};
use crate::csv::own_column;
use crate::error::RecordError;
use crate::trial::TrialRecord;

/// Rows in a group.
const GROUP: usize = 32_768;

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
    let mut rows = ParquetRows::new(Vec::new())?;
    trials.iter().try_for_each(|trial| rows.write(trial.clone()))?;
    rows.finish()
}

/// The file of [`trials_to_parquet`], written trial by trial: row groups of 32,768 trials, one of which is held.
pub struct ParquetRows<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    group: Vec<TrialRecord>,
    own: Vec<String>,
}

impl<W: Write + Send> ParquetRows<W> {
    /// An empty file.
    ///
    /// # Errors
    /// [`RecordError::Export`] when it cannot be written.
    pub fn new(out: W) -> Result<Self, RecordError> {
        Self::with_own(out, &[])
    }

    /// The same with a double column `own_NAME` at the end for each of these numbers of a host's own; null where one is not finite.
    ///
    /// # Errors
    /// [`RecordError::Export`] when it cannot be written.
    pub fn with_own(out: W, own: &[String]) -> Result<Self, RecordError> {
        let properties = WriterProperties::builder()
            .set_created_by(concat!("bitquake ", env!("CARGO_PKG_VERSION")).into())
            .build();
        let writer =
            schema(own).and_then(|schema| SerializedFileWriter::new(out, schema, Arc::new(properties)));
        Ok(Self { writer: writer.map_err(refused)?, group: Vec::new(), own: own.to_vec() })
    }

    /// Adds the row of a trial.
    ///
    /// # Errors
    /// [`RecordError::Export`] when it cannot be written.
    pub fn write(&mut self, trial: TrialRecord) -> Result<(), RecordError> {
        self.group.push(trial);
        if self.group.len() < GROUP { Ok(()) } else { self.write_group() }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`RecordError::Export`] when it cannot be written.
    pub fn finish(mut self) -> Result<W, RecordError> {
        self.write_group()?;
        self.writer.into_inner().map_err(refused)
    }

    fn write_group(&mut self) -> Result<(), RecordError> {
        let mut write = || {
            let mut rows = self.writer.next_row_group()?;
            for column in COLUMNS {
                if let Some(mut cells) = rows.next_column()? {
                    column.cell.write(&self.group, &mut cells)?;
                    cells.close()?;
                }
            }
            for name in &self.own {
                if let Some(mut cells) = rows.next_column()? {
                    let (values, levels) = present(self.group.iter().map(|trial| trial.own(name)));
                    cells.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
                    cells.close()?;
                }
            }
            rows.close().map(|_| ())
        };
        let written = write();
        self.group.clear();
        written.map_err(refused)
    }
}

fn refused(error: ParquetError) -> RecordError {
    RecordError::Export { format: "parquet", reason: error.to_string() }
}

fn schema(own: &[String]) -> Result<TypePtr, ParquetError> {
    let double = |name: &String| {
        let column = own_column(name);
        let builder = Type::primitive_type_builder(&column, Physical::DOUBLE);
        Ok(Arc::new(builder.with_repetition(Repetition::OPTIONAL).build()?))
    };
    let fields = COLUMNS.iter().map(Column::field).chain(own.iter().map(double)).collect::<Result<_, _>>()?;
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
            Cell::OptionalText(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String), Repetition::OPTIONAL),
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
            Self::OptionalText(get) => {
                let (values, levels) = present(trials.iter().map(|t| get(t).map(ByteArray::from)));
                cells.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)
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
    use crate::trial::tests::{full_record, record};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

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
        let counts = [trial.images, trial.correct, trial.top5_correct, trial.golden_mismatch];
        cells.extend(counts.map(Field::ULong));
        let numbers = |numbers: &[Option<u64>]| -> Vec<Field> {
            numbers.iter().map(|number| optional(number.map(Field::ULong))).collect()
        };
        let floats = |numbers: &[Option<f64>]| -> Vec<Field> {
            numbers.iter().map(|number| optional(number.map(Field::Double))).collect()
        };
        cells.extend(numbers(&[trial.masked, trial.sdc5, trial.sdc10, trial.sdc20]));
        cells.extend([trial.nonfinite, trial.err_union, trial.due].map(Field::ULong));
        cells.push(optional(trial.loss.map(Field::Double)));
        cells.push(Field::Double(trial.seconds));
        cells.extend([trial.to_one, trial.became_nan, trial.became_inf].map(Field::ULong));
        let clean = trial.clean;
        cells.extend(numbers(&[
            clean.map(|c| c.correct),
            clean.map(|c| c.top5_correct),
            clean.map(|c| c.nonfinite),
        ]));
        cells.extend(floats(&[clean.and_then(|c| c.loss)]));
        let distance = trial.distance;
        cells.extend(numbers(&[distance.map(|d| d.compared), distance.map(|d| d.exceeded)]));
        for extent in [distance.map(|d| d.max_abs), distance.map(|d| d.rel_l2), distance.map(|d| d.cosine)] {
            cells.extend(floats(&[extent.and_then(|e| e.mean), extent.and_then(|e| e.worst)]));
        }
        let site = trial.site.as_ref();
        cells.push(optional(site.map(|site| Field::Str(site.tensor.clone()))));
        cells.extend(numbers(&[site.map(|s| s.element), site.map(|s| s.bit.into())]));
        cells.extend(numbers(&[trial.stratum.map(u64::from)]));
        cells.extend(floats(&[trial.weight]));
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
        trials[5] = full_record(0, 5, 9);
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
    fn more_rows_than_a_group_has() {
        let mut rows = ParquetRows::new(Vec::new()).unwrap();
        let trials = GROUP as u64 + 3;
        (0..trials).for_each(|trial| rows.write(record(0, trial, trial % 100)).unwrap());
        let numbers = read(rows.finish().unwrap()).into_iter().map(|row| row[1].1.clone());
        assert!(numbers.eq((0..trials).map(Field::ULong)));
    }

    #[test]
    fn no_trials_make_a_file_without_rows() {
        assert_eq!(read(trials_to_parquet(&[]).unwrap()), Vec::<Vec<_>>::new());
    }
}
