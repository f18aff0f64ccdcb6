//! The answers of one connection that its client does not read for now.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// When each began, by the connection's age in milliseconds, which wraps. In order: ages only grow.
#[derive(Debug, Default)]
pub(crate) struct Stalls(Mutex<Vec<u32>>);

impl Stalls {
    /// One answer's stall that began at `before` is over, and one that begins `now` takes its place.
    pub(crate) fn change(&self, before: Option<u32>, now: Option<u32>) {
        let mut begun = self.begun();
        if let Some(place) = before.and_then(|before| begun.iter().position(|at| *at == before)) {
            begun.remove(place);
        }
        begun.extend(now);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.begun().is_empty()
    }

    /// How long the longest has lasted.
    pub(crate) fn longest(&self, now: u32) -> Option<u32> {
        self.begun().first().map(|begun| now.wrapping_sub(*begun))
    }

    fn begun(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_is_the_one_that_began_first() {
        let stalls = Stalls::default();
        assert_eq!(stalls.longest(5), None);
        stalls.change(None, Some(u32::MAX));
        stalls.change(None, Some(7));
        stalls.change(None, Some(7));
        assert_eq!(stalls.longest(9), Some(10), "ages wrap");
        stalls.change(Some(u32::MAX), Some(8));
        assert_eq!(stalls.longest(9), Some(2));
        stalls.change(Some(7), None);
        assert_eq!(stalls.longest(9), Some(2), "the other one");
        stalls.change(Some(7), None);
        assert_eq!(stalls.longest(9), Some(1));
        stalls.change(Some(8), None);
        assert!(stalls.is_empty());
    }
}
