//! Working without the interpreter, in processes that were forked too.
//!
//! A fork copies no threads: the pool that the parent worked with has none in the child, and waiting for it never ends. So a child works
//! in a pool of its own, of one thread: those who fork, such as data loaders, do it to have many processes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

use crate::error::usage;

/// How many forks lie between this process and the one that loaded the library.
static FORKS: AtomicUsize = AtomicUsize::new(0);
/// The pool of each such process. One that a parent was making is never waited for: a child looks at the next one.
static POOLS: [OnceLock<ThreadPool>; 4] = [const { OnceLock::new() }; 4];

/// Told in every process that was forked.
#[pyfunction]
pub fn after_fork() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// That this process has the threads of the library: what runs a network or calls Python back needs them.
pub fn in_own_process(py: Python<'_>) -> PyResult<()> {
    if FORKS.load(Ordering::Relaxed) == 0 {
        return Ok(());
    }
    Err(usage(py, "campaigns and attacks do not run in a forked process: start it with the method `spawn`"))
}

/// Does work without the interpreter, which others may use meanwhile.
pub fn detached<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let forks = FORKS.load(Ordering::Relaxed);
    if forks == 0 {
        return Ok(py.detach(work));
    }
    let done = match POOLS.get(forks - 1) {
        Some(pool) => own_pool(pool).map(|pool| py.detach(|| pool.install(work))),
        // A fork of a fork of a fork of a fork of a fork.
        None => new_pool().map(|pool| py.detach(|| pool.install(work))),
    };
    done.map_err(|error| usage(py, format!("a forked process cannot start a thread: {error}")))
}

fn own_pool(slot: &'static OnceLock<ThreadPool>) -> Result<&'static ThreadPool, ThreadPoolBuildError> {
    if let Some(pool) = slot.get() {
        return Ok(pool);
    }
    let made = new_pool()?;
    Ok(slot.get_or_init(|| made))
}

fn new_pool() -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(1).build()
}
