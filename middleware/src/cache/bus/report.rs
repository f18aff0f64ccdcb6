//! Who has applied a purge.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::cache::bus::Bus;
use crate::cache::place::Place;

/// What became of a purge, by instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// This instance first.
    pub instances: Vec<InstanceReport>,
    /// Whether others could be told. If not, they will be as soon as Redis is back, and nobody knows what
    /// there is of them.
    pub is_told: bool,
}

/// What became of a purge at one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceReport {
    /// What it calls itself.
    pub name: String,
    /// Whether it has applied the purge.
    pub is_acknowledged: Option<bool>,
}

impl Report {
    /// Whether all that are known have applied it.
    pub fn is_complete(&self) -> bool {
        let mut instances = self.instances.iter();
        self.is_told && instances.all(|instance| instance.is_acknowledged == Some(true))
    }
}

impl Bus {
    /// Waits until all instances that are alive have applied the purges of these tickets, but for no
    /// longer than `deadline`.
    pub async fn report(&self, tickets: &[u64], deadline: Duration) -> Report {
        let mut found = Report {
            instances: self.known(None),
            is_told: tickets.is_empty(),
        };
        let all = async {
            let mut pause = FIRST_PAUSE;
            loop {
                if let Some(latest) = self.places(tickets) {
                    found.is_told = true;
                    if let Ok(beat) = self.beat().await {
                        let _alive = self.remember(&beat);
                        found.instances = self.known(Some(latest));
                        if found.is_complete() {
                            return;
                        }
                    }
                }
                sleep(pause).await;
                pause = (pause * 2).min(LAST_PAUSE);
            }
        };
        drop(timeout(deadline, all).await);
        found
    }

    /// The latest place of these tickets' purges, when all have been heard.
    fn places(&self, tickets: &[u64]) -> Option<Place> {
        let mut latest = Place::FIRST;
        for ticket in tickets {
            latest = latest.max(self.outbox().place(*ticket)?);
        }
        Some(latest)
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LAST_PAUSE: Duration = Duration::from_millis(50);
