//! Writing a model of copied and new pieces.

use std::ops::Range;

use bitquake_tensors::wire::{Writer, push_varint};

use super::places::GRAPH;

/// A stretch of a model to be written.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Bytes of the old model.
    Copy(Range<usize>),
    /// Other bytes.
    New(Vec<u8>),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Piece::Copy(range) => range.len(),
            Piece::New(bytes) => bytes.len(),
        }
    }
}

/// A model, and what of it was copied.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    /// Where copied bytes stood, ascending once all is written, and where they start now.
    copies: Vec<(Range<usize>, usize)>,
}

impl Written {
    fn add(&mut self, main: &[u8], piece: &Piece) {
        match piece {
            Piece::Copy(range) => {
                self.copies.push((range.clone(), self.bytes.len()));
                self.bytes.extend_from_slice(&main[range.clone()]);
            }
            Piece::New(bytes) => self.bytes.extend_from_slice(bytes),
        }
    }

    /// Where bytes of the old model stand now; `None` if they were not copied.
    pub(crate) fn moved(&self, old: &Range<usize>) -> Option<Range<usize>> {
        let before = self.copies.partition_point(|(range, _)| range.start <= old.start);
        let (range, start) = &self.copies[before.checked_sub(1)?];
        let start = start + (old.start - range.start);
        (old.end <= range.end).then(|| start..start + old.len())
    }
}

/// One length-delimited field.
pub(crate) fn field(number: u32, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.bytes(number, body);
    writer.into_bytes()
}

/// The model whose fields, by number and place, are copies of those in `main`, except that its graph is made of `graph`.
pub(crate) fn write_model<'f>(
    main: &[u8],
    fields: impl Iterator<Item = &'f (u32, Range<usize>)>,
    graph: Vec<Piece>,
) -> Written {
    let mut written = Written::default();
    for (number, span) in fields {
        if *number != GRAPH {
            written.add(main, &Piece::Copy(span.clone()));
            continue;
        }
        let length: usize = graph.iter().map(Piece::len).sum();
        push_varint(&mut written.bytes, u64::from(GRAPH) << 3 | 2);
        push_varint(&mut written.bytes, length as u64);
        graph.iter().for_each(|piece| written.add(main, piece));
    }
    written.copies.sort_unstable_by_key(|(range, _)| range.start);
    written
}
