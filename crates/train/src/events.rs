//! Event files of TensorBoard: scalars by step.
//!
//! A file is a run of records: the length as 8 bytes little-endian, the masked CRC-32C of those, the data, the masked CRC-32C of
//! it. The data are protobuf messages of type `Event`: `wall_time` (1, double), `step` (2, varint), `file_version` (3, string) in
//! the first record, `summary` (5) in the others; of a summary `value` (1), and of that `tag` (1) and `simple_value` (2, float).
//! The format is TensorFlow's (`tensorflow/core/util/event.proto`, `lib/io/record_writer.h`); readers pass over a torn last record.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use bitquake_tensors::wire::Writer;

use crate::error::TrainError;

/// The content of the first record, which tells readers the version of the format.
const FILE_VERSION: &[u8] = b"brain.Event:2";

/// Writes one event file. Every record is whole in the file before the next begins.
///
/// ```
/// use bitquake_train::EventWriter;
///
/// let folder = tempfile::tempdir()?;
/// let mut events = EventWriter::create(&folder.path().join("events.out.tfevents.0.bitquake"), 1e9)?;
/// events.scalars(1e9 + 1.0, 20, &[("train/loss", 1.75), ("train/error", 0.5)])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct EventWriter {
    file: File,
    path: PathBuf,
}

impl EventWriter {
    /// Begins a new file in the place of any old one. Times are seconds since 1970.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn create(path: &Path, wall_time: f64) -> Result<Self, TrainError> {
        let file = File::create(path).map_err(TrainError::write(path))?;
        let mut writer = Self { file, path: path.to_owned() };
        let mut event = Writer::new();
        event.double(1, wall_time).bytes(3, FILE_VERSION);
        writer.record(event)?;
        Ok(writer)
    }

    /// Adds scalars of one step. What is not finite is written as it is: TensorBoard marks it.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn scalars(&mut self, wall_time: f64, step: u64, scalars: &[(&str, f64)]) -> Result<(), TrainError> {
        let mut summary = Writer::new();
        for (tag, value) in scalars {
            let mut message = Writer::new();
            message.bytes(1, tag.as_bytes()).float(2, *value as f32);
            summary.message(1, &message);
        }
        let mut event = Writer::new();
        event.double(1, wall_time).varint(2, step).message(5, &summary);
        self.record(event)
    }

    fn record(&mut self, event: Writer) -> Result<(), TrainError> {
        let record = framed(&event.into_bytes());
        self.file.write_all(&record).map_err(TrainError::write(&self.path))
    }
}

/// The data as a record.
fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc(data).to_le_bytes());
    record
}

/// CRC-32C, turned and shifted so that the CRC of data that hold CRCs is no trivial one.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C bit by bit (polynomial 0x1EDC6F41, reflected), masked: an independent reference.
    fn slow_masked_crc(data: &[u8]) -> u32 {
        let crc = data.iter().fold(!0_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 })
        });
        let crc = !crc;
        crc.rotate_right(15).wrapping_add(0xa282_ead8)
    }

    /// The records of a file, each checked, up to a torn one.
    fn records(bytes: &[u8]) -> Vec<&[u8]> {
        let number =
            |at: usize| bytes.get(at..at + 4).map(|four| u32::from_le_bytes(four.try_into().unwrap()));
        let (mut at, mut found) = (0, Vec::new());
        while let (Some(low), Some(crc)) = (number(at), number(at + 8)) {
            assert_eq!(crc, slow_masked_crc(&bytes[at..at + 8]), "the length at {at}");
            let end = at + 12 + low as usize;
            let Some(crc) = number(end) else { break };
            assert_eq!(crc, slow_masked_crc(&bytes[at + 12..end]), "the data at {at}");
            found.push(&bytes[at + 12..end]);
            at = end + 4;
        }
        found
    }

    /// The fields of a message, read anew from the definition of the wire format: number, and payload (a varint as its bytes).
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 127) << shift;
                if byte < 128 {
                    break;
                }
            }
            value
        }
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let size = match tag & 7 {
                0 => {
                    found.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                other => panic!("wire type {other}"),
            };
            found.push((tag >> 3, bytes[..size].to_vec()));
            bytes = &bytes[size..];
        }
        found
    }

    fn written() -> (tempfile::TempDir, PathBuf) {
        let folder = bitquake_testing::temp_dir();
        let path = folder.path().join("events.out.tfevents.0.test");
        let mut events = EventWriter::create(&path, 1.5).unwrap();
        events.scalars(2.5, 300, &[("a/b", 0.25), ("c", f64::INFINITY)]).unwrap();
        events.scalars(3.5, 0, &[("a/b", -1.0)]).unwrap();
        (folder, path)
    }

    #[test]
    fn an_independent_reader_reads_what_was_written() {
        let (_folder, path) = written();
        let bytes = std::fs::read(path).unwrap();
        let events: Vec<_> = records(&bytes).into_iter().map(fields).collect();
        let value = |tag: &str, value: f32| {
            let mut message = vec![10, tag.len() as u8];
            message.extend_from_slice(tag.as_bytes());
            message.push(21);
            message.extend_from_slice(&value.to_le_bytes());
            message
        };
        assert_eq!(events[0], [(1, 1.5_f64.to_le_bytes().to_vec()), (3, b"brain.Event:2".to_vec())]);
        assert_eq!(events[1][0], (1, 2.5_f64.to_le_bytes().to_vec()));
        assert_eq!(events[1][1], (2, 300_u64.to_le_bytes().to_vec()));
        assert_eq!(fields(&events[1][2].1), [(1, value("a/b", 0.25)), (1, value("c", f32::INFINITY))]);
        assert_eq!(fields(&events[2][2].1), [(1, value("a/b", -1.0))]);
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn what_is_torn_ends_the_file_at_its_last_whole_record() {
        let (_folder, path) = written();
        let bytes = std::fs::read(path).unwrap();
        let whole = records(&bytes).len();
        for cut in 0..bytes.len() {
            assert!(records(&bytes[..cut]).len() < whole, "cut at {cut}");
        }
    }

    /// The check value of CRC-32C that its specification gives, and TensorFlow's mask of it.
    #[test]
    fn checksums() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(masked_crc(b"123456789"), slow_masked_crc(b"123456789"));
    }
}
