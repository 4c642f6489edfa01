//! An output folder, for one process at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::RecordError;

/// How long a folder may be locked before that means another command: a process that is being killed holds it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// The lock of an output folder, which ends with this value, or with the process. The folder itself is locked: no file is left behind.
#[derive(Debug)]
pub struct FolderLock {
    _folder: Option<File>,
}

impl FolderLock {
    /// Makes the folder, with its parents, and locks it. Where the file system has no locks, or folders cannot be opened, nothing
    /// is locked: better to work than to refuse.
    ///
    /// # Errors
    /// [`RecordError::Io`] when it cannot be made, [`RecordError::Busy`] when another process holds it.
    pub fn take(dir: &Path) -> Result<Self, RecordError> {
        fs::create_dir_all(dir).map_err(RecordError::io(dir, "make the folder"))?;
        let Ok(folder) = File::open(dir) else { return Ok(Self { _folder: None }) };
        let until = Instant::now() + PATIENCE;
        loop {
            match folder.try_lock() {
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Self { _folder: Some(folder) }),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(RecordError::Busy { path: dir.to_owned() });
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = FolderLock::take(&path).unwrap();
        assert!(matches!(FolderLock::take(&path), Err(RecordError::Busy { .. })));
        drop(first);
        FolderLock::take(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}
