//! Whether there is memory for a pass, before it is taken: a process that takes more than there is may be killed without a word.

use std::cell::LazyCell;

use bitquake_kernels::program::{Executor, Request};

use crate::GradError;

/// What a pass takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    /// The images.
    pub(crate) batch: usize,
    /// The bytes that it works with.
    pub(crate) bytes: usize,
    /// Those that it lacks: the others are there from passes before.
    pub(crate) missing: usize,
}

/// The least thrift with which a pass stays within a limit, and within what the system has to give.
///
/// # Errors
/// As [`check`], of the pass that holds the least.
pub(crate) fn thrift(
    executor: &Executor,
    request: &Request<'_>,
    batch: usize,
    limit: Option<usize>,
) -> Result<usize, GradError> {
    let available = LazyCell::new(available);
    let check = |request: &Request<'_>| {
        let (bytes, missing) = (executor.bytes(request, batch), executor.missing_bytes(request, batch));
        check_with(&Need { batch, bytes, missing }, limit, || *available)
    };
    match executor.least_thrift(request, |request| check(request).is_ok()) {
        Some(thrift) => Ok(thrift),
        None => {
            let thrift = executor.thrifts(request) - 1;
            check(&Request { thrift, ..*request }).map(|()| thrift)
        }
    }
}

/// Checks that a pass stays within a limit, and that what it lacks can be had.
///
/// # Errors
/// [`GradError::MemoryLimit`]; [`GradError::Memory`] if the system has less to give. Where it does not tell, that is not checked.
pub(crate) fn check(need: &Need, limit: Option<usize>) -> Result<(), GradError> {
    check_with(need, limit, available)
}

fn check_with(
    need: &Need,
    limit: Option<usize>,
    available: impl FnOnce() -> Option<usize>,
) -> Result<(), GradError> {
    let Need { batch, bytes, missing } = *need;
    if let Some(limit) = limit.filter(|limit| bytes > *limit) {
        return Err(GradError::MemoryLimit { batch, needed: bytes, limit });
    }
    if missing == 0 {
        return Ok(()); // memory of the pass before
    }
    match available() {
        Some(available) if missing > available => {
            Err(GradError::Memory { batch, needed: missing, available })
        }
        _ => Ok(()),
    }
}

/// What the system could give without taking it from anyone; Linux tells.
fn available() -> Option<usize> {
    of_text(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn of_text(text: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_where_it_is_told() {
        let text = "MemTotal:       16378860 kB\nMemFree:          331484 kB\nMemAvailable:   10485760 kB\n";
        assert_eq!(of_text(text), Some(10 << 30));
        for text in ["", "MemAvailable: many kB", "MemAvailable: 5", "MemAvailable: -5 kB"] {
            assert_eq!(of_text(text), None);
        }
    }

    fn refused(
        bytes: usize,
        missing: usize,
        limit: Option<usize>,
        available: Option<usize>,
    ) -> Option<String> {
        let need = Need { batch: 128, bytes, missing };
        check_with(&need, limit, || available).err().map(|error| error.to_string())
    }

    #[test]
    fn a_pass_beyond_the_limit_or_the_system_is_refused() {
        const MIB: usize = 1 << 20;
        let limit = Some(9 * MIB);
        for (bytes, missing, limit, available) in [
            (9 * MIB, 9 * MIB, limit, Some(9 * MIB)),
            (9 * MIB, 0, limit, Some(0)),
            (usize::MAX, usize::MAX, None, None),
        ] {
            assert_eq!(refused(bytes, missing, limit, available), None);
        }
        assert_eq!(
            refused(9 * MIB + 1, 0, limit, None).as_deref(),
            Some(
                "a pass of 128 images works with at least 10 MiB, the limit is 9 MiB: use a smaller batch or a higher limit"
            )
        );
        assert_eq!(
            refused(99 * MIB, 50 * MIB, None, Some(20 * MIB)).as_deref(),
            Some(
                "a pass of 128 images needs at least 50 MiB more than it has, the system can give 20 MiB: use a smaller batch"
            )
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_no_machine_has_is_refused() {
        let check = |missing| check(&Need { batch: 128, bytes: usize::MAX, missing }, None);
        assert!(check(0).is_ok() && check(1).is_ok());
        assert!(matches!(check(usize::MAX), Err(GradError::Memory { batch: 128, .. })));
    }
}
