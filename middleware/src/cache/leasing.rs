//! A request's part in leases: when it asks for one, and what it makes of the answer.

use std::sync::Arc;

use crate::cache::SharedCache;
use crate::cache::errand::Errand;
use crate::cache::lease::{Lease, LeaseName, Leases, Turn, Waiting};
use crate::cache::store::tiers::Read;

/// Of one request.
#[derive(Debug, Default)]
pub(crate) struct Leasing {
    /// See [`Attempt::salt`](crate::cache::follow::Attempt): a part of the name.
    pub(crate) salt: Vec<u8>,
    /// What Redis had when it was asked; `None` if it was not.
    pub(crate) read: Option<Read>,
    waiting: Option<Waiting>,
    lease: Option<Arc<Lease>>,
}

/// What the leader of a flight does when there is nothing below memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Fetch,
    /// Looks below again.
    Look,
    /// Goes by itself, and lets those who follow do so too.
    Release,
}

impl Leasing {
    /// Whether it has waited for another sidecar.
    pub(crate) fn has_waited(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.has_waited)
    }

    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }
}

impl Errand {
    /// Asks who fetches, and waits for whoever does.
    pub(crate) async fn turn(&mut self) -> Next {
        let Some(leases) = self.shared.leases().cloned() else {
            return Next::Fetch;
        };
        let read = self.leasing.read.unwrap_or(Read::Failed);
        if matches!(read, Read::Away | Read::Late | Read::Failed) {
            // Asked a moment ago, in vain.
            leases.without_redis();
            return Next::Fetch;
        }
        let mut waiting = self.leasing.waiting.take().unwrap_or_else(|| {
            let name = self.lease_name(&leases);
            // Those who follow wait for all of it, the fetch included.
            leases.waiting(name, self.settings.collapse_wait / 4 * 3)
        });
        let turn = leases.turn(&mut waiting, read == Read::Miss).await;
        let has_waited = waiting.has_waited;
        self.leasing.waiting = Some(waiting);
        let now = self.shared.clock().now();
        match turn {
            Turn::Again => return Next::Look,
            Turn::Pass => {
                if let Some(pass) = self.pass {
                    self.shared.flights().mark_pass(pass, now);
                }
                self.requested = now;
                return Next::Release;
            }
            Turn::Won(lease) => self.leasing.lease = Some(lease),
            Turn::Alone => {}
        }
        if has_waited {
            // The answer is as old as the request that is made now, not as the waiting.
            self.requested = now;
        }
        Next::Fetch
    }

    /// Asks who validates what nobody waits for: whether this sidecar may.
    pub(crate) async fn may_validate(&mut self) -> bool {
        let Some(leases) = self.shared.leases().cloned() else {
            return true;
        };
        match leases.try_take(&self.lease_name(&leases)).await {
            Some(lease) => {
                self.leasing.lease = lease;
                true
            }
            None => false,
        }
    }

    /// One that has waited has found what it waited for.
    pub(crate) fn has_found(&self) {
        if let Some(leases) = self.shared.leases()
            && self.leasing.has_waited()
        {
            leases.has_found();
        }
    }

    /// Nobody is to wait for answers to requests like this one.
    pub(crate) fn release_all(&self) {
        if let Some(lease) = &self.leasing.lease {
            lease.pass();
        }
    }

    /// What was stored lies in this sidecar's memory only: the others fetch it by themselves.
    pub(crate) fn keep_apart(&self) {
        if let Some(lease) = &self.leasing.lease {
            lease.apart();
        }
    }

    /// Whether it has cookies that may make the answer another one.
    pub(crate) fn has_telling_cookie(&self) -> bool {
        self.asked.has_cookie && self.asked.has_credentials(&self.settings, &self.rules)
    }

    fn lease_name(&self, leases: &Leases) -> LeaseName {
        let flight = self.flight_key(&self.leasing.salt);
        leases.name(&flight.bytes, self.has_telling_cookie())
    }
}

impl SharedCache {
    /// Where it is agreed which sidecar fetches; `None` without Redis.
    pub(crate) fn leases(&self) -> Option<&Leases> {
        self.tiers()?.leases().get()
    }
}
