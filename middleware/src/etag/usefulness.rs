//! Whether tags of a route are worth their hashing.
//!
//! A page with a nonce in it never has the same tag twice, and some clients never ask. So each
//! tagged answer is a sample: useful if the request already named that tag, and so becomes a 304.
//! (An answer that took too long to be tagged is a sample too, and a useless one: it was held for
//! nothing.) If too few of [`WINDOW`] samples are useful, the route is let be for [`REST`] requests,
//! and then tried anew, since apps change.
//!
//! Samples are taken only of answers that clients come back to *us* for. While the cache answers, the
//! one that filled it is all that is seen here: its tag may have given a thousand 304s since. So what
//! says that it may be reused for a while is tagged and not counted. A lifetime that the operator
//! configured is not told by the answer; it counts when it is validated, by then with the tag.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// One route's samples on one core. Atomic for `Sync`'s sake only: written by that core alone.
#[derive(Debug, Default)]
pub(super) struct Usefulness {
    samples: AtomicU32,
    useful: AtomicU32,
    /// Requests still to be let be.
    rest: AtomicU32,
    /// Answers one after the other that could not be tagged.
    untaggable: AtomicU32,
}

impl Usefulness {
    /// Whether to tag the answer to this request.
    pub(super) fn is_worth_trying(&self) -> bool {
        let rest = self.rest.load(Relaxed);
        self.rest.store(rest.saturating_sub(1), Relaxed);
        rest == 0
    }

    /// Notes an answer that could not be tagged, whatever it was good for. Where none could for a whole
    /// window, there is nothing here to look for.
    pub(super) fn pass_over(&self) {
        let untaggable = self.untaggable.load(Relaxed) + 1;
        if untaggable >= WINDOW {
            self.rest.store(REST, Relaxed);
        }
        self.untaggable.store(untaggable % WINDOW, Relaxed);
    }

    /// Notes an answer that can be tagged.
    pub(super) fn look_at(&self) {
        self.untaggable.store(0, Relaxed);
    }

    /// Takes a sample; `least` is the part of useful ones that a route needs.
    pub(super) fn learn(&self, useful: bool, least: f64) {
        let samples = self.samples.load(Relaxed) + 1;
        let useful = self.useful.load(Relaxed) + u32::from(useful);
        let (samples, useful) = if samples < WINDOW {
            (samples, useful)
        } else {
            if f64::from(useful) < least * f64::from(WINDOW) {
                self.rest.store(REST, Relaxed);
            }
            (0, 0)
        };
        self.samples.store(samples, Relaxed);
        self.useful.store(useful, Relaxed);
    }
}

/// Samples before a verdict.
pub(super) const WINDOW: u32 = 1000;
/// Requests that are let be after a bad one.
pub(super) const REST: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(usefulness: &Usefulness, useful: u32, useless: u32) {
        (0..useful).for_each(|_| usefulness.learn(true, 0.01));
        (0..useless).for_each(|_| usefulness.learn(false, 0.01));
    }

    #[test]
    fn useless_tags_are_given_up_and_tried_again_later() {
        let usefulness = Usefulness::default();
        learn(&usefulness, 9, WINDOW - 10);
        assert!(usefulness.is_worth_trying(), "no verdict yet");
        learn(&usefulness, 0, 1);
        for _ in 0..REST {
            assert!(!usefulness.is_worth_trying());
        }
        assert!(usefulness.is_worth_trying());
    }

    #[test]
    fn a_route_without_anything_to_tag_is_let_be_and_looked_at_later() {
        let usefulness = Usefulness::default();
        (1..WINDOW).for_each(|_| usefulness.pass_over());
        usefulness.look_at();
        (1..WINDOW).for_each(|_| usefulness.pass_over());
        assert!(usefulness.is_worth_trying(), "one among them was tagged");
        usefulness.pass_over();
        for _ in 0..REST {
            assert!(!usefulness.is_worth_trying());
        }
        assert!(usefulness.is_worth_trying());
    }

    #[test]
    fn useful_tags_are_kept_up() {
        let usefulness = Usefulness::default();
        for _ in 0..3 {
            learn(&usefulness, 10, WINDOW - 10);
            assert!(usefulness.is_worth_trying());
        }
    }

    #[test]
    fn nothing_is_given_up_where_nothing_is_asked_for() {
        let usefulness = Usefulness::default();
        (0..WINDOW).for_each(|_| usefulness.learn(false, 0.0));
        assert!(usefulness.is_worth_trying());
    }
}
