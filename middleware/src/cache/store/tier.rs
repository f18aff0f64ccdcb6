//! What every tier below memory does: it keeps bytes by name. What the bytes mean, and whether they
//! may still be used, is none of its business (see `record` and `below`).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// The name that a record lies under, in all processes the same. What it is made of is told in `record`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordKey(pub(crate) [u8; 16]);

impl RecordKey {
    /// Of what lies under the cache key `key`: a response, or the fields by which responses are told apart.
    pub(crate) fn of(key: &[u8]) -> Self {
        let hash = blake3::hash(key);
        let first = hash.as_bytes().first_chunk();
        Self(*first.expect("a hash has 32 bytes"))
    }
}

impl fmt::Display for RecordKey {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a tier answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) record: Option<Bytes>,
    /// The latest purge that the tier knows of, where it is shared between sidecars, read together with
    /// the record: who has not heard of that purge yet must not judge the record. The number of a `Place`.
    pub(crate) latest: Option<u64>,
}

/// Why a tier did not answer. To a client all of them are a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// It is known to be away, and was not asked.
    Away,
    /// It did not answer in time.
    Late,
    /// It answered with an error.
    Broken,
}

/// A tier below memory. Its operations are bounded in time by itself, and fail in silence: whoever runs
/// a tier counts and logs what goes wrong in it.
pub(crate) trait ByteTier: Send + Sync + 'static {
    /// What lies under `key`.
    fn get(&self, key: RecordKey) -> impl Future<Output = Result<Got, Failed>> + Send;

    /// Stores `record` for at most `ttl`. Does not wait: what finds no room in the queue is dropped.
    fn put(&self, key: RecordKey, record: Bytes, ttl: Duration);

    /// Removes what lies under `key`, to have the room back. Does not wait, and may be lost: that it is
    /// no longer valid is told elsewhere.
    fn remove(&self, key: RecordKey);
}

#[cfg(test)]
pub(crate) mod testing {
    //! A tier in the test's own memory, that can be made slow, absent or forgetful.

    use std::collections::HashMap;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    /// See the module. A handle: two caches that have clones of it share what lies there.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct TestTier(Arc<Inner>);

    #[derive(Debug, Default)]
    struct Inner {
        records: Mutex<HashMap<RecordKey, (Bytes, Duration)>>,
        failed: Mutex<Option<Failed>>,
        latest: AtomicU64,
        gets: AtomicUsize,
        /// Where every `get` waits, if it is there.
        gate: Mutex<Option<Arc<Semaphore>>>,
        /// Whether it waits there once more, when it has read.
        waits_twice: AtomicBool,
        /// What is on its way, if writes take their time.
        coming: Mutex<Option<Vec<Coming>>>,
    }

    /// A write on its way; a removal without a record.
    type Coming = (RecordKey, Option<(Bytes, Duration)>);

    impl TestTier {
        /// Makes every `get` wait for a permit before it reads, and for another when it has, and every
        /// write for [`land`](Self::land).
        pub(crate) fn take_time(&self) -> Arc<Semaphore> {
            self.0.waits_twice.store(true, Ordering::SeqCst);
            *self.0.coming.lock().unwrap() = Some(Vec::new());
            self.hold()
        }

        /// Lets one of the writes that are on their way arrive, in whatever order.
        pub(crate) fn land(&self, which: usize) {
            let mut coming = self.0.coming.lock().unwrap();
            let Some(coming) = coming.as_mut().filter(|coming| !coming.is_empty()) else {
                return;
            };
            let (key, record) = coming.remove(which % coming.len());
            self.arrive(key, record);
        }

        fn write(&self, key: RecordKey, record: Option<(Bytes, Duration)>) {
            match &mut *self.0.coming.lock().unwrap() {
                Some(coming) => coming.push((key, record)),
                None => self.arrive(key, record),
            }
        }

        fn arrive(&self, key: RecordKey, record: Option<(Bytes, Duration)>) {
            let mut records = self.0.records.lock().unwrap();
            match record {
                Some(record) => records.insert(key, record),
                None => records.remove(&key),
            };
        }

        /// Waits for a permit, where operations take their time.
        pub(crate) async fn pass(&self) {
            self.wait().await;
        }

        /// Stores `record` at once.
        pub(crate) fn store(&self, key: RecordKey, record: &[u8]) {
            self.arrive(key, Some((Bytes::copy_from_slice(record), Duration::MAX)));
        }

        pub(crate) fn has(&self, key: RecordKey) -> bool {
            self.0.records.lock().unwrap().contains_key(&key)
        }

        async fn wait(&self) {
            let gate = self.0.gate.lock().unwrap().clone();
            if let Some(gate) = gate {
                gate.acquire().await.unwrap().forget();
            }
        }

        pub(crate) fn fail(&self, with: Option<Failed>) {
            *self.0.failed.lock().unwrap() = with;
        }

        /// Makes every `get` wait for a permit.
        pub(crate) fn hold(&self) -> Arc<Semaphore> {
            let gate = Arc::new(Semaphore::new(0));
            *self.0.gate.lock().unwrap() = Some(gate.clone());
            gate
        }

        pub(crate) fn open(&self) {
            *self.0.gate.lock().unwrap() = None;
        }

        pub(crate) fn set_latest(&self, latest: u64) {
            self.0.latest.store(latest, Ordering::SeqCst);
        }

        pub(crate) fn gets(&self) -> usize {
            self.0.gets.load(Ordering::SeqCst)
        }

        pub(crate) fn records(&self) -> Vec<(RecordKey, Bytes, Duration)> {
            let records = self.0.records.lock().unwrap();
            let each = records.iter();
            each.map(|(key, (bytes, ttl))| (*key, bytes.clone(), *ttl))
                .collect()
        }
    }

    impl ByteTier for TestTier {
        async fn get(&self, key: RecordKey) -> Result<Got, Failed> {
            self.0.gets.fetch_add(1, Ordering::SeqCst);
            self.wait().await;
            if let Some(failed) = *self.0.failed.lock().unwrap() {
                return Err(failed);
            }
            let latest = self.0.latest.load(Ordering::SeqCst);
            let record = self.0.records.lock().unwrap().get(&key).cloned();
            if self.0.waits_twice.load(Ordering::SeqCst) {
                self.wait().await;
            }
            Ok(Got {
                record: record.map(|(bytes, _)| bytes),
                latest: (latest > 0).then_some(latest),
            })
        }

        fn put(&self, key: RecordKey, record: Bytes, ttl: Duration) {
            self.write(key, Some((record, ttl)));
        }

        fn remove(&self, key: RecordKey) {
            self.write(key, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_in_hexadecimal() {
        assert_eq!(RecordKey([1; 16]).to_string(), "01".repeat(16));
        assert_eq!(format!("{:?}", RecordKey([0; 16])), "0".repeat(32));
    }
}
