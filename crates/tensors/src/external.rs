//! External data: the files beside an ONNX model that hold its tensors.

use std::fs;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::TensorsError;
use crate::file_bytes::{FileBytes, MAPPED_FROM};
use crate::onnx::ExternalRecord;

/// A file in memory: the main one, or one with external data.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The path relative to the model's folder, as the model writes it; empty for the main file.
    pub(crate) location: String,
    /// Where it was read.
    pub(crate) source: PathBuf,
    /// The same without links; for the main file, which may be anything readable, as given.
    pub(crate) canonical: PathBuf,
    /// The content.
    pub(crate) bytes: FileBytes,
    /// Whether the content was handed out to be changed.
    pub(crate) touched: bool,
}

impl Part {
    pub(crate) fn main(path: &Path, bytes: FileBytes) -> Part {
        let location = String::new();
        Part { location, source: path.to_owned(), canonical: path.to_owned(), bytes, touched: false }
    }
}

/// Whose external data is looked up, for the errors.
pub(crate) struct Request<'a> {
    /// The model.
    pub(crate) path: &'a Path,
    /// The tensor.
    pub(crate) tensor: &'a str,
    pub(crate) record: &'a ExternalRecord,
    /// The bytes that the tensor's shape asks for, if its format is known.
    pub(crate) expected: Option<u64>,
}

/// The part and the range that hold the tensor, reading the file if it is new to `parts`.
pub(crate) fn locate(
    parts: &mut Vec<Part>,
    request: &Request<'_>,
) -> Result<(usize, Range<usize>), TensorsError> {
    let location = request.location()?;
    let part = match parts.iter().position(|part| part.location == location) {
        Some(part) => part,
        None => {
            let part = request.load(location, parts)?;
            parts.push(part);
            parts.len() - 1
        }
    };
    Ok((part, request.range(&parts[part])?))
}

impl Request<'_> {
    fn refuse(&self, location: &str, why: &'static str) -> TensorsError {
        let (path, tensor) = (self.path.to_owned(), self.tensor.to_owned());
        TensorsError::ExternalLocation { path, tensor, location: location.to_owned(), why }
    }

    fn bad(&self, what: String) -> TensorsError {
        TensorsError::BadTensor { path: self.path.to_owned(), tensor: self.tensor.to_owned(), what }
    }

    /// The location, checked for everything that its text alone can tell.
    fn location(&self) -> Result<&str, TensorsError> {
        let Some(location) = &self.record.location else {
            return Err(self.bad("its external data have no location".to_owned()));
        };
        if location.is_empty() {
            return Err(self.refuse(location, "is empty"));
        }
        for component in Path::new(location).components() {
            match component {
                Component::Normal(_) | Component::CurDir => {}
                Component::ParentDir => return Err(self.refuse(location, "contains `..`")),
                Component::RootDir | Component::Prefix(_) => return Err(self.refuse(location, "is absolute")),
            }
        }
        Ok(location)
    }

    fn load(&self, location: &str, parts: &[Part]) -> Result<Part, TensorsError> {
        let folder = folder_of(self.path);
        let source = folder.join(location);
        let missing = |error| TensorsError::ExternalMissing {
            path: self.path.to_owned(),
            tensor: self.tensor.to_owned(),
            file: source.clone(),
            source: error,
        };
        let canonical = fs::canonicalize(&source).map_err(missing)?;
        if !canonical.starts_with(fs::canonicalize(folder).map_err(missing)?) {
            return Err(self.refuse(location, "leads out of the model's folder"));
        }
        if !fs::metadata(&canonical).map_err(missing)?.is_file() {
            return Err(self.refuse(location, "is not a regular file"));
        }
        if parts.iter().skip(1).any(|part| part.canonical == canonical) {
            return Err(self.refuse(location, "is a second name for a file that the model already names"));
        }
        let bytes = FileBytes::open(&canonical, MAPPED_FROM).map_err(missing)?;
        Ok(Part { location: location.to_owned(), source, canonical, bytes, touched: false })
    }

    fn range(&self, part: &Part) -> Result<Range<usize>, TensorsError> {
        let offset = self.number("offset", self.record.offset.as_deref())?.unwrap_or(0);
        let size = part.bytes.len() as u64;
        let length = self.number("length", self.record.length.as_deref())?.or(self.expected);
        let length = length.unwrap_or(size.saturating_sub(offset));
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(offset as usize..end as usize),
            _ => Err(TensorsError::ExternalRange {
                path: self.path.to_owned(),
                tensor: self.tensor.to_owned(),
                file: part.source.clone(),
                offset,
                length,
                size,
            }),
        }
    }

    fn number(&self, key: &str, text: Option<&str>) -> Result<Option<u64>, TensorsError> {
        let parse = |text: &str| {
            text.parse()
                .map_err(|_| self.bad(format!("its external data have the {key} {text:?}, not a byte count")))
        };
        text.map(parse).transpose()
    }
}

/// The folder that a file is in; the present one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
