//! Every dtype of safetensors: what it is here, and that a flip changes its bit alone.

mod common;

use bitquake_bits::{Format, WordStore};
use bitquake_tensors::{Dtype, Role};
use common::*;

/// The name in the file; the format; words for 8 elements of the file's shape, or bytes for what is no number.
const DTYPES: &[(&str, Option<Format>, u64)] = &[
    ("F64", Some(Format::F64), 8),
    ("F32", Some(Format::F32), 8),
    ("F16", Some(Format::F16), 8),
    ("BF16", Some(Format::BF16), 8),
    ("F8_E4M3", Some(Format::F8E4M3), 8),
    ("F8_E5M2", Some(Format::F8E5M2), 8),
    ("F8_E4M3FNUZ", Some(Format::F8E4M3FNUZ), 8),
    ("F8_E5M2FNUZ", Some(Format::F8E5M2FNUZ), 8),
    ("F8_E8M0", Some(Format::F8E8M0), 8),
    ("F6_E3M2", Some(Format::F6E3M2), 8),
    ("F6_E2M3", Some(Format::F6E2M3), 8),
    ("F4", Some(Format::F4E2M1), 8),
    ("C64", Some(Format::F32), 16),
    ("I64", Some(Format::I64), 8),
    ("U64", Some(Format::U64), 8),
    ("I32", Some(Format::I32), 8),
    ("U32", Some(Format::U32), 8),
    ("I16", Some(Format::I16), 8),
    ("U16", Some(Format::U16), 8),
    ("I8", Some(Format::I8), 8),
    ("U8", Some(Format::U8), 8),
    ("BOOL", None, 8),
];

/// A file with 2 x 4 elements of each dtype, and where the data of each start.
fn all_dtypes() -> (Vec<u8>, Vec<usize>) {
    let (mut header, mut at, mut starts) = (Vec::new(), 0, Vec::new());
    for (name, format, words) in DTYPES {
        let size = words * format.map_or(8, |format| u64::from(format.width())) / 8;
        let entry =
            format!(r#""t{name}":{{"dtype":"{name}","shape":[2,4],"data_offsets":[{at},{}]}}"#, at + size);
        header.push(entry);
        starts.push(at as usize);
        at += size;
    }
    let header = format!("{{{}}}", header.join(","));
    let data: Vec<u8> = (0..at).map(|index| (index * 37) as u8).collect();
    let head = 8 + header.len();
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    (bytes, starts.into_iter().map(|start| head + start).collect())
}

#[test]
fn every_dtype_is_read() {
    let (bytes, starts) = all_dtypes();
    let file = Saved::named("w.safetensors", &bytes).open().unwrap();
    for ((name, format, words), start) in DTYPES.iter().zip(starts) {
        let info = file.tensor(&format!("t{name}")).unwrap();
        let Some(format) = *format else {
            assert_eq!((&info.dtype, info.role), (&Dtype::Other("bool".into()), Role::Attribute));
            assert!(file.words(&info.name).is_none());
            continue;
        };
        assert_eq!((&info.dtype, info.role), (&Dtype::Known(format), Role::Weight), "{name}");
        assert_eq!(info.shape, if *name == "C64" { vec![2, 4, 2] } else { vec![2, 4] }, "{name}");
        let read = file.words(&info.name).unwrap();
        assert_eq!(read.elements(), *words, "{name}");
        for element in 0..*words {
            // An independent reference: bit by bit, low bits first.
            let width = u64::from(format.width());
            let bit = |bit: u64| u64::from(bytes[start + (bit / 8) as usize] >> (bit % 8) & 1);
            let expected = (0..width).map(|low| bit(element * width + low) << low).sum();
            assert_eq!(read.get(element), Some(expected), "{name} {element}");
        }
    }
}

#[test]
fn a_flip_changes_its_bit_alone() {
    let (bytes, starts) = all_dtypes();
    let saved = Saved::named("w.safetensors", &bytes);
    let mut file = saved.open().unwrap();
    let mut expected = bytes.clone();
    for ((name, format, words), start) in DTYPES.iter().zip(starts) {
        let Some(format) = format else { continue };
        for address in [0, 13, words * u64::from(format.width()) - 1] {
            file.words_mut(&format!("t{name}")).unwrap().flip(address).unwrap();
            expected[start + address as usize / 8] ^= 1 << (address % 8);
        }
    }
    file.save(&saved.beside("out")).unwrap();
    assert_eq!(read(&saved.beside("out")), expected);
}
