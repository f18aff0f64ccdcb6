//! Closes connections that have been unused for too long, or because the program stops.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Lane;
use super::endpoint::Shard;
use super::pool::Idle;

impl Lane {
    /// Closes this core's connections when they have been unused for too long, or the program stops.
    /// There is one sweeper for each pool that holds anything.
    pub(super) fn sweep(self: &Arc<Self>, at: usize) {
        let swept = &self.endpoint(at).shard(self.core).swept;
        if swept.load(Ordering::Relaxed) || swept.swap(true, Ordering::SeqCst) {
            return;
        }
        let lane = self.clone();
        self.state.tasks.spawn(async move {
            let shard = lane.endpoint(at).shard(lane.core);
            let keep_alive = lane.state.settings.keep_alive;
            let pause = (keep_alive / 8).clamp(OFTEN, SELDOM);
            loop {
                tokio::select! {
                    () = lane.state.stopping.cancelled() => return shard.close(),
                    () = tokio::time::sleep(pause) => {}
                }
                shard.expire(lane.state.clock.mono(), keep_alive);
                if shard.is_swept_clean() {
                    return;
                }
            }
        });
    }
}

impl Shard {
    fn expire(&self, now: Instant, keep_alive: Duration) {
        let gone: VecDeque<Idle> = {
            let mut idle = self.idle();
            let (gone, kept) = idle.drain(..).partition(|one| one.is_over(now));
            *idle = kept;
            gone
        };
        // After the lock: the drop wakes the tasks that drive them.
        drop(gone);
        self.multiplexed()
            .retain_mut(|one| one.lives_on(now, keep_alive));
    }

    /// Whether nothing is left to sweep; if so, whoever next gives something back starts anew.
    fn is_swept_clean(&self) -> bool {
        // Both locks are held while the word is given, so that no connection slips in unswept.
        let (idle, multiplexed) = (self.idle(), self.multiplexed());
        let clean = idle.is_empty() && multiplexed.is_empty();
        if clean {
            self.swept.store(false, Ordering::SeqCst);
        }
        clean
    }
}

/// How often it is swept: an eighth of the time that a connection may be unused, within these.
const OFTEN: Duration = Duration::from_millis(10);
const SELDOM: Duration = Duration::from_secs(5);
