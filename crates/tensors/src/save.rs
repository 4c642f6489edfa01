//! Writing a file back: whole or not at all.

mod members;

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::edits::{Edits, Splice};
use crate::external::{Part, folder_of};
use crate::{TensorFile, TensorsError};

impl TensorFile {
    /// Writes the file to `path`, which may be where it was read.
    ///
    /// Every byte is as it was read, except for the changed bits; numbers that are stored as varints are re-encoded
    /// where their word changed, and the lengths of the messages around them follow. The file appears at once: it is
    /// written beside its place, synced, and renamed.
    ///
    /// Of a zip archive (`.pt`, `.npz`, `.keras`) the CRC-32 of changed members follow, where they were right in the file
    /// that was read. Changed members that are deflated are deflated anew, so what is behind them moves.
    ///
    /// External data files go beside `path`, under the locations that the model gives, before the model itself.
    /// Where such a file would land on the one it was read from, it is not written if nothing in it has changed.
    ///
    /// # Errors
    /// [`TensorsError::WouldOverwriteExternal`], before anything is written, if changed external data would land on
    /// the source's own, the model on external data, or external data of a model that is not there yet on any file. [`TensorsError::Write`] if the system refuses; the file
    /// at `path` is then as it was before. [`TensorsError::BadFile`] if a member has grown beyond what its archive can say.
    pub fn save(&self, path: &Path) -> Result<(), TensorsError> {
        let is_archive = self.is_archive();
        let splice = if is_archive { self.member_splice()? } else { self.splice()? };
        if !is_archive {
            self.save_externals(path)?;
        }
        write_atomically(path, |out| splice.write(self.main(), out))
    }

    /// Writes an ONNX model with other bytes in place of its own, such as those of the same model with more nodes. External data
    /// files go beside it as in [`save`](Self::save).
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn save_variant(&self, path: &Path, main: &[u8]) -> Result<(), TensorsError> {
        self.save_externals(path)?;
        write_atomically(path, |out| out.write_all(main))
    }

    /// Writes the external data of a model beside `path`, but for those that are there.
    fn save_externals(&self, path: &Path) -> Result<(), TensorsError> {
        let folder = folder_of(path);
        let mut copies = Vec::new();
        for part in self.parts.get(1..).unwrap_or_default() {
            let target = folder.join(&part.location);
            let clash = same_file(path, &part.source) || same_path(path, &target);
            let is_source = same_file(&target, &part.source);
            // Another model's data, perhaps; data of a model that is written anew may go with it.
            let is_foreign = !is_source && target.exists() && !path.exists();
            if clash || is_foreign || (is_source && part.has_changed()?) {
                return Err(TensorsError::WouldOverwriteExternal { path: path.to_owned(), file: target });
            }
            if !is_source {
                copies.push((target, part));
            }
        }
        for (target, part) in copies {
            fs::create_dir_all(folder_of(&target)).map_err(write_error(&target))?;
            write_atomically(&target, |out| out.write_all(&part.bytes))?;
        }
        Ok(())
    }

    /// What must change in the main file for the tensors whose words are kept beside it.
    fn splice(&self) -> Result<Splice, TensorsError> {
        let mut edits = Edits::new();
        for (_, format, encoded) in self.encoded() {
            encoded
                .update(self.main(), format, &self.nesting, &mut edits)
                .map_err(|source| TensorsError::Wire { path: self.path.clone(), source })?;
        }
        Ok(edits.finish())
    }
}

impl Part {
    /// Whether the content differs from the file it was read from. Flips that were undone are no change, so the
    /// disk is asked; a file that has gone or changed since counts as different.
    fn has_changed(&self) -> Result<bool, TensorsError> {
        if !self.touched {
            return Ok(false);
        }
        let read = |source| TensorsError::Read { path: self.source.clone(), source };
        let mut file = File::open(&self.source).map_err(read)?;
        let mut buffer = vec![0; 1 << 16];
        let mut rest = &*self.bytes;
        loop {
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 {
                return Ok(!rest.is_empty());
            }
            match rest.split_at_checked(count) {
                Some((start, tail)) if start == &buffer[..count] => rest = tail,
                _ => return Ok(true),
            }
        }
    }
}

/// Whether both exist and are one file.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
}

/// Whether both name one place, which need not exist.
fn same_path(a: &Path, b: &Path) -> bool {
    a.components().eq(b.components()) || same_file(a, b)
}

fn write_error(path: &Path) -> impl Fn(io::Error) -> TensorsError {
    move |source| TensorsError::Write { path: path.to_owned(), source }
}

/// Writes beside `path`, syncs, renames; on an error the temporary file is removed.
fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), TensorsError> {
    let error = write_error(path);
    // What a link leads to is replaced, not the link.
    let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (temporary, file) = create_beside(&place).map_err(&error)?;
    let written = write_and_sync(file, fill).and_then(|()| fs::rename(&temporary, &place));
    if written.is_err() {
        let _ = fs::remove_file(&temporary); // the first error is the one to tell
    }
    written.map_err(&error)?;
    // Makes the rename itself last. Not every file system can; the file is whole either way.
    let _ = File::open(folder_of(&place)).and_then(|folder| folder.sync_all());
    Ok(())
}

fn write_and_sync(file: File, fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    fill(&mut out)?;
    out.into_inner()?.sync_all()
}

/// A new file in the folder of `path`, with the permissions of any new file.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no file name"))?;
    let process = std::process::id();
    for attempt in 0_u32.. {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{process}-{attempt}.tmp"));
        let temporary = path.with_file_name(temporary);
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return created.map(|file| (temporary, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}
