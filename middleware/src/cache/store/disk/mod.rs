//! The disk tier: records as bytes, which survive the process.
//!
//! In: a name of 16 bytes and a record. Out: the record, or nothing; never an error, since whatever fails
//! here switches the tier off and is a miss. Whether a record may be used is for its reader to judge: it
//! can be stale, or purged. What was purged is kept in a journal beside the records, and told to whoever
//! opens the tier before the first record can be had.
//!
//! Nothing here makes a request wait but the reading of a record that is there, and that only where the
//! system has no copy of it in memory. Files are opened, read and written by threads of their own.

mod at;
mod folder;
mod frame;
mod index;
mod journal;
mod kept;
mod opening;
mod purges;
mod queue;
mod reads;
mod ring;
mod writing;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use config::disk::DiskSettings;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{error, warn};

use self::at::DiskFile;
use self::frame::{HEAD, Key, PAGE};
use self::index::{Index, Place};
use self::journal::Line;
use self::purges::Purges;
use self::queue::Queue;
use self::reads::Reads;
use crate::clock::Clock;
use crate::metrics::{Event, Metrics, Sampled};

/// The disk tier; a handle. When the last one is dropped, what waits to be written is still written.
#[derive(Clone, Debug)]
pub struct DiskTier(Arc<Near>);

/// The end that others hold.
#[derive(Debug)]
struct Near {
    shared: Arc<Shared>,
}

/// What the threads of the tier and the cores share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    size: u64,
    /// See [`State`].
    state: AtomicU8,
    /// Whether it has been told to end.
    is_closing: AtomicBool,
    /// Whether it has.
    has_ended: watch::Sender<bool>,
    /// Once it is off: whether nothing that is on disk can be found there at the next start.
    emptied: Mutex<Option<bool>>,
    /// Of records; set when it is open.
    file: OnceLock<Arc<DiskFile>>,
    index: Index,
    queue: Queue,
    reads: Reads,
    purges: Purges,
    /// How long a read may take.
    patience: Duration,
    /// Reads that came too late, since the last that did not.
    late: AtomicU32,
    /// Until when nothing is read, since too many came too late; milliseconds after `begun`.
    rests_until: AtomicU64,
    begun: std::time::Instant,
    clock: Clock,
    metrics: Metrics,
}

/// Whether records can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not yet.
    Opening,
    /// Yes.
    On,
    /// Not in this process any more.
    Off,
}

/// What the journal tells when the tier is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Purges up to this place may be missing; records that were asked for before it may have been purged.
    Floor(u64),
    /// What was given to [`DiskTier::record_purge`].
    Purge {
        /// Its place.
        place: u64,
        /// Its content.
        content: Bytes,
    },
}

/// A purge may be undone by the next start: records are on disk that it would have hit, and the disk takes
/// neither it nor their removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotRecorded;

impl std::fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the disk does not take it: empty the directory of cache.disk before the next start",
        )
    }
}

impl std::error::Error for NotRecorded {}

impl DiskTier {
    /// Begins to open it, and returns at once; until it is open, nothing is found. `replay` is told what
    /// the journal has, before anything is found.
    pub fn open(
        settings: &DiskSettings,
        clock: Clock,
        metrics: &Metrics,
        replay: impl FnMut(Replayed) + Send + 'static,
    ) -> Self {
        Self::open_with(PATIENCE, settings, clock, metrics, replay)
    }

    fn open_with(
        patience: Duration,
        settings: &DiskSettings,
        clock: Clock,
        metrics: &Metrics,
        replay: impl FnMut(Replayed) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            path: settings.path.clone(),
            size: settings.size,
            state: AtomicU8::new(State::Opening as u8),
            is_closing: AtomicBool::new(false),
            has_ended: watch::Sender::new(false),
            emptied: Mutex::new(None),
            file: OnceLock::new(),
            index: Index::new(),
            queue: Queue::default(),
            reads: Reads::default(),
            purges: Purges::default(),
            patience,
            late: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            begun: clock.mono(),
            clock,
            metrics: metrics.clone(),
        });
        shared.observe();
        let opened = shared.clone();
        if let Err(error) = spawn("disk-write", move || opening::run(&opened, replay)) {
            shared.fail("a thread cannot be started", &error);
            shared.has_ended.send_replace(true);
        }
        Self(Arc::new(Near { shared }))
    }

    /// What is kept under `key`, as it was given. Does not wait where nothing is, and not long where
    /// something is.
    pub fn get(&self, key: [u8; 16]) -> impl Future<Output = Option<Bytes>> + Send + use<> {
        let found = self.0.shared.look(Key::from_be_bytes(key));
        let shared = matches!(found, Found::Reading(_)).then(|| self.0.shared.clone());
        async move {
            match (found, shared) {
                (Found::Here(record), _) => record,
                (Found::Reading(answer), Some(shared)) => shared.wait(answer).await,
                (Found::Reading(_), None) => None,
            }
        }
    }

    /// Keeps `record` under `key`, in the place of what is there. Never waits: where too much is to be
    /// written already, or the tier is off, it is not kept.
    pub fn put(&self, key: [u8; 16], record: Bytes) {
        let shared = &self.0.shared;
        if !shared.queue.push(Key::from_be_bytes(key), Some(record)) && shared.state() != State::Off
        {
            shared.metrics.count(Event::DiskQueueFull);
        }
    }

    /// Whether something is kept under `key` that will not be overwritten soon: not before as much has been
    /// written as half of the file.
    pub fn keeps(&self, key: [u8; 16]) -> bool {
        let (shared, key) = (&self.0.shared, Key::from_be_bytes(key));
        let place = || shared.index.find(key);
        match shared.queue.find(key) {
            Some(waiting) => waiting.is_some(),
            None => place().is_some_and(|place| shared.index.is_young(place)),
        }
    }

    /// As [`put`](Self::put), but waits for room. Whether there is still anybody to write it.
    pub async fn put_patiently(&self, key: [u8; 16], record: Bytes) -> bool {
        let key = Key::from_be_bytes(key);
        self.0.shared.queue.push_patiently(key, record).await
    }

    /// Nothing is kept under `key` from now on. Never waits.
    pub fn remove(&self, key: [u8; 16]) {
        let shared = &self.0.shared;
        let key = Key::from_be_bytes(key);
        if !shared.queue.push(key, None) {
            shared.index.remove(key);
        }
    }

    /// Writes down that something was purged at `place`: resolves when it survives a loss of power, or
    /// when nothing is left that could come back. Each content is kept once, with its latest place.
    ///
    /// # Errors
    /// When neither can be had.
    pub fn record_purge(
        &self,
        place: u64,
        content: Bytes,
    ) -> impl Future<Output = Result<(), NotRecorded>> + Send + use<> {
        let told = self.0.shared.purges.enter(Line { place, content });
        async move {
            match told.await {
                Ok(true) => Ok(()),
                _ => Err(NotRecorded),
            }
        }
    }

    /// Resolves when all that was given to [`record_purge`](Self::record_purge) before is written down, or
    /// when nothing is left that could come back.
    ///
    /// # Errors
    /// When neither can be had.
    pub fn purges_recorded(&self) -> impl Future<Output = Result<(), NotRecorded>> + Send + use<> {
        let told = self.0.shared.purges.follow();
        async move {
            match told.await {
                Ok(true) => Ok(()),
                _ => Err(NotRecorded),
            }
        }
    }

    /// Whether records can be had.
    pub fn state(&self) -> State {
        self.0.shared.state()
    }

    /// How many records there are, and the bytes of the files that they take.
    pub fn figures(&self) -> (u64, u64) {
        (self.0.shared.index.records(), self.0.shared.index.bytes())
    }

    /// Waits until all that was put is written.
    pub async fn flush(&self) {
        self.0.shared.queue.empty().await;
    }

    /// Writes what waits, and ends. The directory is free for another process then.
    pub async fn close(&self) {
        self.0.shared.close();
        let mut ended = self.0.shared.has_ended.subscribe();
        // The sender is in `shared`, so there is no other error than that it has ended.
        ended.wait_for(|has_ended| *has_ended).await.ok();
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What a look into the index gives.
enum Found {
    Here(Option<Bytes>),
    Reading(oneshot::Receiver<Option<Bytes>>),
}

impl Shared {
    fn state(&self) -> State {
        match self.state.load(Ordering::SeqCst) {
            0 => State::Opening,
            1 => State::On,
            _ => State::Off,
        }
    }

    fn look(&self, key: Key) -> Found {
        if self.state() != State::On {
            return Found::Here(None);
        }
        if let Some(waiting) = self.queue.find(key) {
            return Found::Here(waiting);
        }
        let Some(place) = self.index.find(key).filter(|_| !self.rests()) else {
            return Found::Here(None);
        };
        if let Some(record) = self.read_at_once(key, place) {
            return Found::Here(Some(record));
        }
        match self.reads.enter(key, place) {
            Some(answer) => Found::Reading(answer),
            None => {
                self.metrics.count(Event::DiskReadsFull);
                Found::Here(None)
            }
        }
    }

    async fn wait(&self, answer: oneshot::Receiver<Option<Bytes>>) -> Option<Bytes> {
        if let Ok(answer) = timeout(self.patience, answer).await {
            self.late.store(0, Ordering::Relaxed);
            return answer.ok().flatten();
        }
        self.metrics.count(Event::DiskReadLate);
        if self.late.fetch_add(1, Ordering::Relaxed) + 1 < MOST_LATE {
            return None;
        }
        // One that hangs would hold up every request that asks it.
        self.late.store(0, Ordering::Relaxed);
        let rested = self.elapsed() + REST.as_millis();
        let rested = u64::try_from(rested).unwrap_or(u64::MAX);
        self.rests_until.store(rested, Ordering::Relaxed);
        None
    }

    fn rests(&self) -> bool {
        let until = self.rests_until.load(Ordering::Relaxed);
        until > 0 && self.elapsed() < u128::from(until)
    }

    fn elapsed(&self) -> u128 {
        let elapsed = self.clock.mono().saturating_duration_since(self.begun);
        elapsed.as_millis()
    }

    /// What lies at `place`, if the system has it in memory: then a copy takes less than the way to a
    /// thread and back. Whatever is wrong with it is for that thread to find.
    fn read_at_once(&self, key: Key, place: Place) -> Option<Bytes> {
        if place.length > AT_ONCE {
            return None;
        }
        let mut frame = vec![0; HEAD + place.length as usize];
        let offset = u64::from(place.page) * PAGE;
        let is_there = self.file.get()?.read_at_once(&mut frame, offset)
            && frame::content(&frame, key, place.length).is_some();
        is_there.then(|| Bytes::from(frame).slice(HEAD..))
    }

    /// What lies at `place`, if it is what `key` is said to have. For threads that may wait.
    fn read(&self, key: Key, place: Place) -> Option<Bytes> {
        let file = self.file.get()?;
        let mut frame = vec![0; HEAD + place.length as usize];
        if let Err(error) = file.read(&mut frame, u64::from(place.page) * PAGE) {
            self.fail("it cannot be read", &error);
            return None;
        }
        if frame::content(&frame, key, place.length).is_none() {
            // Either something else has been written there meanwhile, or it is damaged.
            if self.index.remove_at(key, place.page) {
                self.metrics.count(Event::DiskDamaged);
            }
            return None;
        }
        Some(Bytes::from(frame).slice(HEAD..))
    }

    /// Goes off for good, and says so once. What is on disk is given up, for purges cannot be relied upon
    /// to reach it any more.
    fn fail(&self, what: &str, error: &dyn std::fmt::Display) {
        let mut emptied = lock(&self.emptied);
        if self.go_off() {
            self.metrics.count(Event::DiskFailed);
            *emptied = Some(self.give_up());
            error!(
                path = %self.path.display(),
                %error,
                "The disk tier of the cache is off until the next start: {what}. Requests go on without it."
            );
        }
    }

    /// Does not go on, since the directory cannot be had: what is in it is another's, or out of reach.
    fn refuse(&self, refused: &folder::Refused) {
        let mut emptied = lock(&self.emptied);
        if self.go_off() {
            self.metrics.count(Event::DiskFailed);
            *emptied = Some(match refused {
                folder::Refused::Taken => true,
                folder::Refused::Open(_) | folder::Refused::Failed(_) => {
                    matches!(self.path.join(opening::RECORDS).try_exists(), Ok(false))
                }
            });
            warn!(
                path = %self.path.display(),
                "The disk tier of the cache is off until the next start: {refused}. Requests go on without it."
            );
        }
    }

    /// Whether it was not off before.
    fn go_off(&self) -> bool {
        let is_first = self.state.swap(State::Off as u8, Ordering::SeqCst) != State::Off as u8;
        if is_first {
            self.queue.close(true);
            self.reads.close();
            self.index.clear();
        }
        is_first
    }

    /// Whether nothing is left that the next start could find.
    fn give_up(&self) -> bool {
        let Some(file) = self.file.get() else {
            return matches!(self.path.join(opening::RECORDS).try_exists(), Ok(false));
        };
        let emptied: io::Result<()> = file.set_length(0).and_then(|()| file.sync());
        emptied.is_ok()
    }

    /// Once it is off: whether nothing that is purged now can come back at the next start.
    fn is_emptied(&self) -> bool {
        lock(&self.emptied).unwrap_or(false)
    }

    fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
        self.queue.close(false);
        if self.state() == State::Off {
            self.purges.close();
        }
    }

    /// Whether nobody will ask for anything any more.
    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    fn observe(self: &Arc<Self>) {
        let gauge = |what, of: fn(&Self) -> u64| {
            let shared = Arc::downgrade(self);
            self.metrics.observe(what, move || {
                shared.upgrade().map_or(0, |shared| of(&shared)) as f64
            });
        };
        gauge(Sampled::DiskOn, |shared| {
            u64::from(shared.state() == State::On)
        });
        gauge(Sampled::DiskBudget, |shared| shared.size);
        gauge(Sampled::DiskAccounted, |shared| shared.index.bytes());
        gauge(Sampled::DiskEntries, |shared| shared.index.records());
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A read that takes longer is a miss: the upstream would have answered meanwhile.
const PATIENCE: Duration = Duration::from_millis(50);
/// Bytes of a record that are copied on the core that asks, if they are in memory: a few microseconds.
const AT_ONCE: u32 = 64 << 10;
/// Of so many in a row, none was in time: the disk hangs, or has more to do than it can.
const MOST_LATE: u32 = 8;
/// Then nothing is read for this long.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod tests;
