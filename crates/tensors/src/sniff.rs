//! What a file looks like, for naming it in an error.

/// The start of a file and what it says.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"version https://git-lfs", "is a Git LFS pointer (`git lfs pull` fetches the file)"),
    (b"PK\x03\x04", "is a zip archive, but no .pt, .npz or .keras file"),
    (b"\x1f\x8b", "is gzip-compressed"),
    (b"\x80\x02", "is a Python pickle, but no PyTorch checkpoint"),
    (b"\x80\x03", "is a Python pickle"),
    (b"\x80\x04", "is a Python pickle"),
    (b"\x80\x05", "is a Python pickle"),
    (b"\x89PNG", "is a PNG image"),
    (b"<!DOCTYPE", "is an HTML page"),
    (b"<html", "is an HTML page"),
];

/// How much of a file is looked at to call it text.
const TEXT_SAMPLE: usize = 1024;

/// What the content looks like, as the middle of a sentence (`is text`); `None` if it is nothing known.
pub(crate) fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    if bytes.is_empty() {
        return Some("is empty");
    }
    if let Some((_, name)) = SIGNATURES.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(name);
    }
    match bytes.get(4..8) {
        Some(b"TFL3") => Some("is a TensorFlow Lite file"),
        Some(b"ORTM") => Some("is a model in ONNX Runtime's own format"),
        _ => is_text(bytes).then_some("is text"),
    }
}

/// UTF-8 without control characters other than white space; a character cut by the sample's end is forgiven.
fn is_text(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(TEXT_SAMPLE)];
    let text = match std::str::from_utf8(sample) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && sample.len() < bytes.len() => {
            std::str::from_utf8(&sample[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        let long = "ü".repeat(TEXT_SAMPLE);
        let cases: &[(&[u8], Option<&str>)] = &[
            (b"", Some("is empty")),
            (b"hello\n", Some("is text")),
            (&long.as_bytes()[..2 * TEXT_SAMPLE - 1], Some("is text")),
            (&[b"x", long.as_bytes()].concat(), Some("is text")),
            (b"version https://git-lfs.github.com/spec/v1\n", Some(SIGNATURES[0].1)),
            (b"\x08\x08\x12\x07pytorch", None),
            (b"\xff\xfe", None),
            (b"abcdTFL3", Some("is a TensorFlow Lite file")),
        ];
        for (bytes, expected) in cases {
            assert_eq!(looks_like(bytes), *expected, "{bytes:?}");
        }
    }
}
