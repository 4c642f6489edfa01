//! Being asked to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::exit::{Failure, STOPPED};

/// The first Ctrl-C or SIGTERM raises the flag and says `note`; the second ends at once.
pub(crate) fn stop_on_signal(note: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    let handler = move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(STOPPED.into());
        }
        anstream::eprintln!("{note}");
    };
    ctrlc::set_handler(handler)
        .map_err(|error| Failure::usage(format!("cannot listen for Ctrl-C: {error}")))?;
    Ok(stop)
}
