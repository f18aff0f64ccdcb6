//! A lease that this sidecar has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::Value;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::scripts::{GIVE_BACK, MARK, RENEW, WRITE};
use super::{LeaseName, Leases, MARK_APART, MARK_PASS};
use crate::cache::collapse::PASS;
use crate::cache::store::redis::FailureKind;
use crate::cache::store::tier::RecordKey;
use crate::clock::timer_now;
use crate::metrics::Event;

/// The right to fetch for all sidecars. Given back when dropped, if it was not before.
pub(crate) struct Lease {
    pub(super) leases: Leases,
    pub(super) name: LeaseName,
    pub(super) token: String,
    pub(super) since: Instant,
    pub(super) renewal: AbortHandle,
    /// Whether it was given back.
    pub(super) is_over: AtomicBool,
}

/// A record that is written together with the end of a lease.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) name: RecordKey,
    pub(crate) record: Bytes,
    pub(crate) ttl: Duration,
}

impl Lease {
    /// Writes what was fetched and gives the lease back, unless somebody else has it by now: then what
    /// that one fetches is newer.
    pub(crate) fn write(self: &Arc<Self>, records: Vec<Written>) {
        let lease = self.clone();
        self.leases.0.background.spawn(async move {
            lease.written(records).await;
        });
    }

    pub(super) async fn written(&self, records: Vec<Written>) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        self.renewal.abort();
        let leases = &self.leases;
        leases.0.times.note(self.since.elapsed());
        let desk = &leases.0.desk;
        let is_too_long = |written: &Written| desk.refuses(written.record.len());
        if records.iter().any(is_too_long) {
            return self.tell(MARK_APART).await;
        }
        let mut with_lease = None;
        for written in records {
            let key = desk.record(&written.name.to_string());
            if key == self.name.record {
                with_lease = Some(written);
                continue;
            }
            // Of a variant, which its index points at: nobody finds it before that is written.
            if !self.holds().await {
                return leases.count(Event::LeaseLost);
            }
            let mut command = redis::cmd("SET");
            command.arg(&key).arg(&written.record[..]);
            command.arg("PX").arg(milliseconds(written.ttl));
            let asked = desk.command(key.as_bytes(), &command, WRITE_DEADLINE);
            if asked.await.is_err() {
                self.give_back().await;
                return;
            }
        }
        let Some(written) = with_lease else {
            self.give_back().await;
            return;
        };
        let keys = [&self.name.lease, &self.name.record].map(String::as_bytes);
        let ttl = milliseconds(written.ttl).to_string();
        let arguments = [self.token.as_bytes(), &written.record[..], ttl.as_bytes()];
        let asked = desk.script(&WRITE, &keys, &arguments, WRITE_DEADLINE);
        match asked.await {
            Ok(Value::Int(1)) => {}
            Ok(_) => leases.count(Event::LeaseLost),
            // A full Redis, say: those who wait are not to wait for nothing.
            Err(_) => self.give_back().await,
        }
    }

    /// Tells all sidecars that answers to requests like this one cannot be shared, and gives the lease
    /// back.
    pub(crate) fn pass(self: &Arc<Self>) {
        self.mark(MARK_PASS);
    }

    /// Tells all sidecars that the answer lies in none of the tiers that they share, and gives the lease
    /// back: each fetches by itself.
    pub(crate) fn apart(self: &Arc<Self>) {
        self.mark(MARK_APART);
    }

    fn mark(self: &Arc<Self>, mark: &'static [u8]) {
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        self.renewal.abort();
        self.leases.0.times.note(self.since.elapsed());
        let lease = self.clone();
        self.leases.0.background.spawn(async move {
            lease.tell(mark).await;
        });
    }

    async fn tell(&self, mark: &[u8]) {
        let keys = [&self.name.lease, &self.name.pass].map(String::as_bytes);
        let lasts = PASS.as_millis().to_string();
        let arguments = [self.token.as_bytes(), lasts.as_bytes(), mark];
        drop(self.leases.script(&MARK, &keys, &arguments).await);
    }

    /// Whether it is still held; renews it.
    async fn holds(&self) -> bool {
        let leases = &self.leases;
        let hold = leases.0.times.hold();
        is_renewed(leases, &self.name.lease, &self.token, hold).await != Ok(false)
    }

    async fn give_back(&self) {
        give_back(&self.leases, &self.name.lease, &self.token).await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
        if self.is_over.swap(true, Ordering::Relaxed) {
            return;
        }
        let (leases, token) = (self.leases.clone(), std::mem::take(&mut self.token));
        let name = std::mem::take(&mut self.name.lease);
        let background = self.leases.0.background.clone();
        background.spawn(async move { give_back(&leases, &name, &token).await });
    }
}

async fn give_back(leases: &Leases, name: &str, token: &str) {
    // If this fails, it ends by itself.
    drop(
        leases
            .script(&GIVE_BACK, &[name.as_bytes()], &[token.as_bytes()])
            .await,
    );
}

/// Renews a lease at a third of its time, until the task is ended, or the lease is somebody else's.
pub(super) async fn renew(leases: Leases, name: String, token: String, hold: Duration) {
    let begun = timer_now();
    loop {
        sleep(hold / 3).await;
        if begun.elapsed() > LONGEST_FETCH {
            return;
        }
        if is_renewed(&leases, &name, &token, hold).await == Ok(false) {
            return;
        }
    }
}

/// Whether the lease is still that of `token`; if so, it is for another `hold`.
async fn is_renewed(
    leases: &Leases,
    name: &str,
    token: &str,
    hold: Duration,
) -> Result<bool, FailureKind> {
    let hold = hold.as_millis().to_string();
    let arguments = [token.as_bytes(), hold.as_bytes()];
    let renewed = leases
        .script(&RENEW, &[name.as_bytes()], &arguments)
        .await?;
    Ok(renewed == Value::Int(1))
}

fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).map_or(LONGEST_TTL, |ttl| ttl.clamp(1, LONGEST_TTL))
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("name", &self.name.lease)
            .finish_non_exhaustive()
    }
}

/// For a record with the end of a lease: nobody waits for it but those who wait for the record.
const WRITE_DEADLINE: Duration = Duration::from_secs(1);
/// What takes longer than this is fetched by others too.
const LONGEST_FETCH: Duration = Duration::from_secs(60);
/// A year.
const LONGEST_TTL: u64 = 365 * 24 * 3600 * 1000;
