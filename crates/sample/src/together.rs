//! Work shared with the threads of the pool.

use std::sync::{Mutex, PoisonError};

/// Does work on each of some items, each thread with a `T` of its own.
///
/// The calling thread begins at once, and those of the pool join it as they wake up, which takes about as long as 5,000 hits.
pub(crate) fn together<T: Default, I: Send>(
    items: impl ExactSizeIterator<Item = I> + Send,
    work: impl Fn(&mut T, I) + Sync,
) {
    let helpers = rayon::current_num_threads().min(items.len()).saturating_sub(1);
    let items = Mutex::new(items);
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    let take_part = || {
        let mut own = T::default();
        while let Some(item) = next() {
            work(&mut own, item);
        }
    };
    rayon::in_place_scope(|scope| {
        (0..helpers).for_each(|_| scope.spawn(|_| take_part()));
        take_part();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once() {
        for count in [0, 1, 2, 1000] {
            let mut done = vec![0; count];
            together(done.iter_mut().enumerate(), |before: &mut usize, (place, done)| {
                *done += place + 1;
                *before += 1;
            });
            assert_eq!(done, (1..=count).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_is_handed_on() {
        let caught = std::panic::catch_unwind(|| together(0..10, |_: &mut (), item| assert_ne!(item, 3)));
        assert!(caught.is_err());
    }
}
