//! Workers that take jobs from one queue, and one collector that gets the results in the order of the jobs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Instant;

use bitquake_record::TrialRecord;

use crate::error::CampaignError;

/// When to hand out no more jobs.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    /// Raised from outside.
    pub(crate) stop: &'a AtomicBool,
    /// The time is up.
    pub(crate) deadline: Option<Instant>,
}

impl Until<'_> {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// Does jobs until there are no more, or `until` says to stop, or something fails; jobs that were begun are finished. `done`
/// gets the records in the order of the jobs, whichever worker is faster: so files do not depend on the number of workers.
///
/// # Errors
/// The first failure of a worker or of `done`.
pub(crate) fn run<W: Send, J: Send>(
    workers: &mut [W],
    jobs: impl Iterator<Item = J> + Send,
    until: Until<'_>,
    work: impl Fn(&mut W, J) -> Result<Vec<TrialRecord>, CampaignError> + Sync,
    mut done: impl FnMut(&TrialRecord) -> Result<(), CampaignError>,
) -> Result<(), CampaignError> {
    let queue = Mutex::new(jobs.enumerate());
    let abandon = AtomicBool::new(false);
    let next = || {
        let go_on = !until.is_over() && !abandon.load(Ordering::Relaxed);
        go_on.then(|| queue.lock().ok()?.next()).flatten()
    };
    let (results, inbox) = channel();
    std::thread::scope(|scope| {
        for worker in workers {
            let (results, next, work) = (results.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((place, job)) = next() {
                    if results.send((place, work(worker, job))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(results);
        let mut early: BTreeMap<usize, Vec<TrialRecord>> = BTreeMap::new();
        let mut wanted = 0;
        let mut failure = None;
        let mut tell = |records: Vec<TrialRecord>, failure: &mut Option<CampaignError>| {
            for record in &records {
                if let Err(error) = done(record) {
                    abandon.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        };
        for (place, result) in inbox {
            match result {
                Ok(records) => drop(early.insert(place, records)),
                Err(error) => {
                    abandon.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
            while let Some(records) = early.remove(&wanted) {
                wanted += 1;
                tell(records, &mut failure);
            }
        }
        // Behind a job that failed there may be finished ones: they are recorded if that is possible.
        std::mem::take(&mut early).into_values().for_each(|records| tell(records, &mut failure));
        failure.map_or(Ok(()), Err)
    })
}
