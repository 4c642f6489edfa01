//! The bytes of a file: read, or mapped if it is large.

use std::fs::{File, FileType};
use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::Path;

/// Files of at least this many bytes are mapped: reading one would take memory for all of it.
pub(crate) const MAPPED_FROM: u64 = 64 << 20;

/// The content of a file, which may be changed without changing the file.
///
/// A large file is a private mapping: pages are read when they are looked at, and only those that are changed take memory
/// that cannot be given back. The file must not be cut short by others meanwhile; writing over it is safe when done as
/// [`TensorFile::save`](crate::TensorFile::save) does, by renaming.
pub(crate) enum FileBytes {
    /// In memory.
    Read(Vec<u8>),
    /// Mapped, copy on write.
    Mapped(memmap2::MmapMut),
}

impl FileBytes {
    /// Opens a file, mapping it if it has at least `mapped_from` bytes.
    pub(crate) fn open(path: &Path, mapped_from: u64) -> io::Result<FileBytes> {
        let mut file = open_to_read(path)?;
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() >= mapped_from.max(1) {
            return map(&file).map(FileBytes::Mapped);
        }
        let mut bytes = Vec::with_capacity(metadata.len().min(mapped_from) as usize);
        file.read_to_end(&mut bytes)?;
        Ok(FileBytes::Read(bytes))
    }
}

/// Opens a file or a pipe to be read. What a device gives need not end: `/dev/zero` would be read until no memory is left.
///
/// # Errors
/// What the system says, and for a device.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if is_device(file.metadata()?.file_type()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a device, which may have no end"));
    }
    Ok(file)
}

/// Reads text of at most `most` bytes from a file or a pipe.
///
/// # Errors
/// As [`open_to_read`]; for more bytes, whatever the system says that there are, and for bytes that are no UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    open_to_read(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {most} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no text in UTF-8"))
}

#[cfg(unix)]
fn is_device(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    kind.is_char_device() || kind.is_block_device()
}

#[cfg(not(unix))]
fn is_device(_: FileType) -> bool {
    false
}

#[expect(unsafe_code, reason = "a mapping is a slice of memory that another process could cut short")]
fn map(file: &File) -> io::Result<memmap2::MmapMut> {
    // SAFETY: the mapping is private (copy on write), so nothing that is written here reaches the file, and the pages are
    // this process's own once written. What remains is that another process truncates the file while it is mapped, which
    // ends this process with SIGBUS rather than with wrong values, and that it writes into it, which changes values that
    // were not validated to anything but bytes: every read of the mapping is bounds-checked and any byte is a valid `u8`.
    unsafe { memmap2::MmapOptions::new().map_copy(file) }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> FileBytes {
        FileBytes::Read(bytes)
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            FileBytes::Read(bytes) => bytes,
            FileBytes::Mapped(map) => map,
        }
    }
}

impl DerefMut for FileBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            FileBytes::Read(bytes) => bytes,
            FileBytes::Mapped(map) => map,
        }
    }
}

impl Clone for FileBytes {
    /// A copy in memory, of a mapped file too.
    fn clone(&self) -> FileBytes {
        FileBytes::Read(self.to_vec())
    }
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn devices_are_not_read() {
        for device in ["/dev/zero", "/dev/null"] {
            let error = FileBytes::open(Path::new(device), 1).unwrap_err();
            assert!(error.to_string().contains("is a device"), "{error}");
            let error = read_text(Path::new(device), u64::MAX).unwrap_err();
            assert!(error.to_string().contains("is a device"), "{error}");
        }
    }

    #[test]
    fn text_is_read_up_to_a_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text");
        std::fs::write(&path, "\u{fc}ber").unwrap();
        for most in [5, 6, u64::MAX] {
            assert_eq!(read_text(&path, most).unwrap(), "\u{fc}ber");
        }
        for most in [0, 1, 4] {
            let error = read_text(&path, most).unwrap_err();
            assert_eq!(error.to_string(), format!("it has more than {most} bytes"));
        }
        std::fs::write(&path, b"\xfc").unwrap();
        assert!(read_text(&path, 5).unwrap_err().to_string().contains("no text"));
    }

    /// `<(command)` of a shell is such a file.
    #[cfg(target_os = "linux")]
    #[test]
    fn pipes_are_read_to_their_end_or_to_a_length() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        for (most, wanted) in [(9, Some("a pipe".to_owned())), (5, None)] {
            let (from, mut into) = io::pipe().unwrap();
            into.write_all(b"a pipe").unwrap();
            drop(into);
            let path = format!("/proc/self/fd/{}", from.as_raw_fd());
            assert_eq!(read_text(Path::new(&path), most).ok(), wanted);
        }
    }

    #[test]
    fn a_mapped_file_is_changed_in_memory_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        let mut mapped = FileBytes::open(&path, 1).unwrap();
        assert!(matches!(mapped, FileBytes::Mapped(_)));
        mapped[1] = 9;
        assert_eq!((&*mapped, &*mapped.clone()), (&[1, 9, 3][..], &[1, 9, 3][..]));
        assert_eq!(std::fs::read(&path).unwrap(), [1, 2, 3]);
        assert_eq!(*FileBytes::open(&path, 4).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn an_empty_file_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(FileBytes::open(file.path(), 0), Ok(FileBytes::Read(bytes)) if bytes.is_empty()));
    }
}
