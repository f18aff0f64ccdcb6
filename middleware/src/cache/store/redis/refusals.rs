//! What Redis refuses though it answers: told once, not for each request, and forgotten after a while.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::RedisTier;
use super::failure::Failure;
use crate::clock::timer_now;

/// Since when nothing was refused. The lock is taken when something is, and by the keeper.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<Instant>>);

impl Refusals {
    /// A command was refused.
    pub(super) fn hear(&self, tier: &RedisTier, failure: &Failure) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(timer_now());
        if tier.note_trouble(PLACE, Some(failure)) {
            let help = failure.help();
            warn!(error = %failure, help, "Redis refuses what is asked of it; requests go on without it.");
        }
    }

    /// What was refused a while ago, and not since, is no trouble any more.
    pub(super) fn forget_old(&self, tier: &RedisTier) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() > WHILE) {
            *last = None;
            tier.note_trouble(PLACE, None);
        }
    }
}

const PLACE: &str = "requests";
const WHILE: Duration = Duration::from_secs(60);
