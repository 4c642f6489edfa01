//! Replacing stretches of a protobuf file by others of another length, with every enclosing length set right.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::Range;

use crate::wire::{Delimited, push_varint};

/// The messages of a file and which message each is in.
#[derive(Clone, Debug)]
pub(crate) struct Nesting {
    /// Place and parent; the main message, which has no length prefix, is not listed.
    messages: Vec<(Delimited, usize)>,
}

impl Nesting {
    /// The id of the main message.
    pub(crate) const ROOT: usize = usize::MAX;

    pub(crate) fn new() -> Nesting {
        Nesting { messages: Vec::new() }
    }

    /// Records the message at `place`, a field of the message `parent`; its id.
    pub(crate) fn enter(&mut self, place: Delimited, parent: usize) -> usize {
        self.messages.push((place, parent));
        self.messages.len() - 1
    }

    /// Where the body of a message stands, in a file of `size` bytes.
    pub(crate) fn body(&self, message: usize, size: usize) -> Range<usize> {
        self.messages.get(message).map_or(0..size, |(place, _)| place.body.clone())
    }

    /// The message and those around it, the main one excepted.
    fn around(&self, message: usize) -> impl Iterator<Item = &Delimited> {
        let mut next = message;
        std::iter::from_fn(move || {
            let (place, parent) = self.messages.get(next)?;
            next = *parent;
            Some(place)
        })
    }
}

/// Changes to a file, collected in any order.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    /// By the start of the replaced stretch: its end and the bytes that take its place.
    changes: BTreeMap<usize, (usize, Vec<u8>)>,
    /// Length-delimited values whose length may change: by start of the body, descending order is inside out.
    delimited: BTreeMap<usize, Delimited>,
}

impl Edits {
    pub(crate) fn new() -> Edits {
        Edits::default()
    }

    /// Replaces the bytes at `range`, which is not empty and overlaps no other change.
    pub(crate) fn replace(&mut self, range: Range<usize>, bytes: Vec<u8>) {
        self.changes.insert(range.start, (range.end, bytes));
    }

    /// Says that changes were made within a message of `nesting`.
    pub(crate) fn within(&mut self, nesting: &Nesting, message: usize) {
        for place in nesting.around(message) {
            if self.delimited.contains_key(&place.body.start) {
                break; // what is around it is known too
            }
            self.within_value(place);
        }
    }

    /// Says that changes were made within a length-delimited value.
    pub(crate) fn within_value(&mut self, place: &Delimited) {
        self.delimited.insert(place.body.start, place.clone());
    }
}

impl Edits {
    /// Fits the lengths and puts everything in order.
    pub(crate) fn finish(mut self) -> Splice {
        // Inside out: a message starts after those around it, and a longer prefix makes those longer in turn.
        for place in self.delimited.values().rev() {
            let growth: i64 =
                self.changes.range(place.body.clone()).map(|(start, change)| growth(*start, change)).sum();
            if growth != 0 {
                let mut prefix = Vec::new();
                push_varint(&mut prefix, (place.body.len() as u64).saturating_add_signed(growth));
                self.changes.insert(place.prefix.start, (place.prefix.end, prefix));
            }
        }
        let mut shift = 0;
        let pieces = self.changes.into_iter().map(|(start, (end, bytes))| {
            shift += growth(start, &(end, Vec::new())) + bytes.len() as i64;
            Piece { range: start..end, bytes, shift }
        });
        Splice { pieces: pieces.collect() }
    }
}

fn growth(start: usize, change: &(usize, Vec<u8>)) -> i64 {
    change.1.len() as i64 - (change.0 - start) as i64
}

/// One replaced stretch.
#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    bytes: Vec<u8>,
    /// By how much whatever follows moves.
    shift: i64,
}

/// Finished changes, in file order.
#[derive(Debug)]
pub(crate) struct Splice {
    pieces: Vec<Piece>,
}

impl Splice {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Writes `source` with the changes.
    pub(crate) fn write(&self, source: &[u8], out: &mut impl Write) -> io::Result<()> {
        let mut at = 0;
        for piece in &self.pieces {
            out.write_all(&source[at..piece.range.start])?;
            out.write_all(&piece.bytes)?;
            at = piece.range.end;
        }
        out.write_all(&source[at..])
    }

    /// `source` with the changes.
    pub(crate) fn apply(&self, source: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.moved(source.len()));
        let mut at = 0;
        for piece in &self.pieces {
            out.extend_from_slice(&source[at..piece.range.start]);
            out.extend_from_slice(&piece.bytes);
            at = piece.range.end;
        }
        out.extend_from_slice(&source[at..]);
        out
    }

    /// Where the byte at `position` of the source stands afterwards. A replaced stretch moves with its start.
    pub(crate) fn moved(&self, position: usize) -> usize {
        let before = self.pieces.partition_point(|piece| piece.range.end <= position);
        let shift = before.checked_sub(1).map_or(0, |last| self.pieces[last].shift);
        position.saturating_add_signed(shift as isize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Fields, Writer};

    /// A message in a message in the main message, around `content`; everything else is fixed.
    fn nested(content: &[u8]) -> Vec<u8> {
        let mut inner = Writer::new();
        inner.varint(1, 7).bytes(9, content).varint(2, 8);
        let mut middle = Writer::new();
        middle.bytes(3, b"before").message(5, &inner).bytes(4, b"after");
        let mut main = Writer::new();
        main.varint(1, 8).message(7, &middle).varint(3, 1);
        main.into_bytes()
    }

    fn find(bytes: &[u8], range: Range<usize>, number: u32) -> Delimited {
        let mut fields = Fields::new(bytes, range).map(Result::unwrap);
        fields.find(|field| field.number == number).unwrap().message().unwrap()
    }

    #[test]
    fn every_enclosing_length_follows() {
        // Sizes around 127 and 16383, where a prefix itself grows, and shrinking.
        for (from, to) in [(3, 3), (3, 120), (100, 130), (130, 3), (10, 20_000), (16_360, 16_384), (5, 0)] {
            let source = nested(&vec![1; from]);
            let mut nesting = Nesting::new();
            let middle_place = find(&source, 0..source.len(), 7);
            let middle = nesting.enter(middle_place.clone(), Nesting::ROOT);
            let inner_place = find(&source, middle_place.body, 5);
            let inner = nesting.enter(inner_place.clone(), middle);
            let content = find(&source, inner_place.body, 9);
            let mut edits = Edits::new();
            edits.replace(content.body.clone(), vec![2; to]);
            edits.within_value(&content);
            edits.within(&nesting, inner);
            let splice = edits.finish();
            let expected = nested(&vec![2; to]);
            assert_eq!(splice.apply(&source), expected, "{from} to {to}");
            let mut written = Vec::new();
            splice.write(&source, &mut written).unwrap();
            assert_eq!(written, expected);
            assert_eq!(splice.moved(source.len()), expected.len());
            assert_eq!(splice.moved(0), 0);
        }
    }

    #[test]
    fn nothing_changes_nothing() {
        let splice = Edits::new().finish();
        assert!(splice.is_empty());
        assert_eq!(splice.apply(b"abc"), b"abc");
        assert_eq!(splice.moved(2), 2);
    }
}
