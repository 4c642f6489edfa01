//! The output folder, for one training at a time.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::TrainError;

/// How long a folder may be locked before that means another training: a process that is being killed holds it for a moment.
const PATIENCE: Duration = Duration::from_millis(500);

/// The lock of an output folder, which ends with this value, or with the process. The folder itself is locked: no file is left behind.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _folder: Option<File>,
}

impl FolderLock {
    /// Makes the folder, with its parents, and locks it. Where the file system has no locks, or folders cannot be opened, nothing
    /// is locked: better to train than to refuse.
    ///
    /// # Errors
    /// [`TrainError::Write`] when it cannot be made, [`TrainError::Locked`] when another training holds it.
    pub(crate) fn take(dir: &Path) -> Result<Self, TrainError> {
        fs::create_dir_all(dir).map_err(TrainError::write(dir))?;
        let Ok(folder) = File::open(dir) else { return Ok(Self { _folder: None }) };
        let until = Instant::now() + PATIENCE;
        loop {
            match folder.try_lock() {
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Self { _folder: Some(folder) }),
                Err(TryLockError::WouldBlock) if Instant::now() >= until => {
                    return Err(TrainError::Locked(dir.to_owned()));
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
    fn one_training_at_a_time() {
        let dir = bitquake_testing::temp_dir();
        let path = dir.path().join("a/b");
        let first = FolderLock::take(&path).unwrap();
        assert!(matches!(FolderLock::take(&path), Err(TrainError::Locked(_))));
        drop(first);
        FolderLock::take(&path).unwrap();
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
    }
}
