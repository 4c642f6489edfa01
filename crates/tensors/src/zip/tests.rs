use std::io::{Cursor, Read, Write};

use ::zip::write::SimpleFileOptions;
use ::zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::*;

/// An archive by another implementation: name, whether deflated, data.
fn archive(members: &[(&str, bool, &[u8])]) -> Vec<u8> {
    archive_with(members, false)
}

fn archive_with(members: &[(&str, bool, &[u8])], is_large: bool) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, is_deflated, data) in members {
        let method = if *is_deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
        let options = SimpleFileOptions::default().compression_method(method).large_file(is_large);
        writer.start_file(*name, options).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// All members by the other implementation, which checks every CRC-32.
fn read_by_other(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let read = |index| {
        let mut file = archive.by_index(index).unwrap();
        let mut data = Vec::new();
        file.read_to_end(&mut data).unwrap();
        (file.name().unwrap().into_owned(), data)
    };
    (0..ZipArchive::new(Cursor::new(bytes)).unwrap().len()).map(read).collect()
}

fn contents(archive: &Archive, bytes: &[u8], name: &str) -> Result<Vec<u8>, ZipError> {
    let member = archive.member(name).unwrap();
    member.contents(bytes, &mut Budget::of(bytes.len())).map(Cow::into_owned)
}

/// Data that shrink, and not to nothing.
fn data(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * index / 7) as u8 & 0x1f).collect()
}

#[test]
fn members_of_another_writer() {
    let large = data(5000);
    let members: &[(&str, bool, &[u8])] =
        &[("a/b", false, b"abc"), ("zeros", true, &[0; 4000]), ("c", true, &large), ("empty", false, b"")];
    for is_large in [false, true] {
        let bytes = archive_with(members, is_large);
        let archive = Archive::read(&bytes).unwrap();
        assert_eq!(archive.members().len(), members.len());
        for (name, _, data) in members {
            assert_eq!(contents(&archive, &bytes, name).as_deref(), Ok(*data), "{name}");
        }
        assert_eq!(archive.member("a/b").unwrap().crc, 0x3524_41c2); // CRC-32 of "abc"
        assert!(checksum_is_right(archive.member("a/b").unwrap(), &bytes));
    }
}

#[test]
fn nothing_changes_nothing() {
    let bytes = archive(&[("a", false, b"abc"), ("b", true, &data(100))]);
    let archive = Archive::read(&bytes).unwrap();
    assert_eq!(Changes::default().finish(&archive, &bytes).unwrap().apply(&bytes), bytes);
}

#[test]
fn changed_members_are_right_for_other_readers() {
    let (first, second) = (data(3000), data(777));
    let members: &[(&str, bool, &[u8])] =
        &[("a", true, &first), ("b", false, b"abc"), ("c", true, &second), ("d", false, b"xyz")];
    for is_large in [false, true] {
        let mut bytes = archive_with(members, is_large);
        let archive = Archive::read(&bytes).unwrap();
        let mut changes = Changes::default();
        let stored = archive.member("b").unwrap();
        bytes[stored.data.start] ^= 0x80;
        changes.stored(stored, &bytes);
        let mut new = first.clone();
        new.iter_mut().step_by(5).for_each(|byte| *byte = byte.wrapping_mul(77)); // another deflated length
        changes.deflated(archive.member("a").unwrap(), &new).unwrap();
        let rewritten = changes.finish(&archive, &bytes).unwrap().apply(&bytes);
        let expected = [("a", &new[..]), ("b", b"\xe1bc"), ("c", &second), ("d", b"xyz")]
            .map(|(name, data)| (name.to_owned(), data.to_vec()));
        assert_eq!(read_by_other(&rewritten), expected);
        let again = Archive::read(&rewritten).unwrap();
        assert_ne!(again.member("c").unwrap().data.start, archive.member("c").unwrap().data.start);
        assert_eq!(contents(&again, &rewritten, "a"), Ok(new));
        assert!(checksum_is_right(again.member("b").unwrap(), &rewritten));
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = archive(&[("a", false, b"abc"), ("b", true, &data(100))]);
    for length in 0..bytes.len() {
        assert!(Archive::read(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}

/// Mutated archives are read or refused; what is read lies within the bytes and does not overlap.
#[test]
fn mutations_are_survived() {
    let bytes = archive_with(&[("a", false, b"abc"), ("b", true, &data(100)), ("c", false, b"")], true);
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            let Ok(archive) = Archive::read(&bytes) else { continue };
            for member in archive.members() {
                assert!(member.data.end <= bytes.len());
                let _ = member.contents(&bytes, &mut Budget::of(bytes.len()));
            }
        }
    }
}

#[test]
fn lies_are_named() {
    let bytes = archive(&[("a", false, b"abc"), ("b", true, &data(100))]);
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    let lie = |at: usize, values: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + values.len()].copy_from_slice(values);
        Archive::read(&bytes).unwrap_err()
    };
    let member = || "a".to_owned();
    let disagreement = |what| ZipError::Disagreement { member: member(), what, at: 0 };
    assert_eq!(lie(directory + 20, &[4]), ZipError::StoredSize { member: member(), coded: 4, size: 3 });
    assert_eq!(lie(18, &[4]), disagreement("size"));
    assert_eq!(lie(8, &[8]), disagreement("compression method"));
    assert_eq!(lie(30, b"x"), disagreement("name"));
    assert_eq!(lie(directory + 8, &[1]), ZipError::Encrypted { member: member() });
    assert_eq!(lie(directory + 42, &[9]), ZipError::Missing { what: "local header", at: 9 });
    assert_eq!(lie(bytes.len() - 12, &[3]), ZipError::Volumes);
    assert_eq!(lie(bytes.len() - 22, b"Q"), ZipError::NoEnd);
    assert!(matches!(lie(bytes.len() - 6, &[0xff]), ZipError::Directory { .. }));
}

#[test]
fn two_names_for_one_place_are_an_overlap() {
    let mut bytes = archive(&[("a", false, b"abc"), ("b", false, b"abd")]);
    let directory = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    let second = Archive::read(&bytes).unwrap().members()[1].span.start;
    // The second entry now speaks of the first member, in name too: a duplicate.
    bytes[directory + 42..directory + 46].fill(0);
    bytes[directory + 46] = b'a';
    let crc: Vec<u8> = bytes[14..18].to_vec();
    bytes[directory + 16..directory + 20].copy_from_slice(&crc);
    assert_eq!(Archive::read(&bytes).unwrap_err(), ZipError::DuplicateName { member: "a".into() });
    // A member whose data reach over the next one.
    let mut bytes = archive(&[("a", false, b"abc"), ("b", false, b"abd")]);
    let size = 5;
    for at in [18, 22] {
        bytes[at] = size;
    }
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    for at in [20, 24] {
        bytes[directory + at] = size;
    }
    let (first, other) = ("a".to_owned(), "b".to_owned());
    assert_eq!(Archive::read(&bytes).unwrap_err(), ZipError::Overlap { first, second: other, at: second });
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 1 << 20];
    let bytes = archive(&[("a", true, &zeros)]);
    let archive = Archive::read(&bytes).unwrap();
    let member = &archive.members()[0];
    assert!(member.contents(&bytes, &mut Budget::of(bytes.len())).is_ok(), "a thousandfold is honest");
    let mut poor = Budget { left: 100 };
    let bomb = ZipError::Bomb { member: "a".into(), size: 1 << 20, left: 100 };
    assert_eq!(member.contents(&bytes, &mut poor).unwrap_err(), bomb);
    let declare = |size| {
        let member = Member { size, ..member.clone() };
        member.contents(&bytes, &mut Budget { left: u64::MAX }).unwrap_err()
    };
    for lie in [10, (1 << 20) - 1, (1 << 20) + 1] {
        assert!(matches!(declare(lie), ZipError::InflatedSize { size, .. } if size == lie), "{lie}");
    }
    assert!(matches!(declare(1 << 40), ZipError::Ratio { .. }));
}

#[test]
fn damaged_data_are_refused() {
    let bytes = archive(&[("a", true, &data(1000))]);
    let archive = Archive::read(&bytes).unwrap();
    let member = &archive.members()[0];
    for at in member.data.clone() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        // The last bits of the last byte may be padding.
        let result = member.contents(&bytes, &mut Budget::of(0));
        assert!(result.is_err() || at + 1 == member.data.end, "byte {at}");
    }
    let cut = Member { data: member.data.start..member.data.end - 1, ..member.clone() };
    assert!(matches!(cut.contents(&bytes, &mut Budget::of(0)), Err(ZipError::Deflate { .. })));
}
