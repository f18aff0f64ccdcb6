//! What other instances, or whoever else can write to Redis, say was purged. Laws: what is read is written
//! and read again as the same; it is read whole or not at all; what is noted twice is noted once.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use middleware::cache::bus::element::{Entry, Kind};
use middleware::cache::place::Place;
use middleware::cache::{OrderedBy, SharedCache};
use middleware::clock::Clock;
use middleware::metrics::Metrics;
use tokio_util::task::TaskTracker;

static CACHE: LazyLock<SharedCache> = LazyLock::new(|| {
    let (clock, tasks) = (Clock::system(), TaskTracker::new());
    SharedCache::new(1 << 20, clock, tasks, &Metrics::new()).ordered(OrderedBy::Clock)
});

fuzz_target!(|bytes: &[u8]| {
    let message = match Entry::read(bytes) {
        Ok(entry) => {
            assert_eq!(Entry::read(&entry.write()).as_ref(), Ok(&entry));
            assert!(Entry::read(&[bytes, b"\0"].concat()).is_err());
            assert!(Entry::read(&bytes[..bytes.len() - 1]).is_err());
            match entry.kind {
                Kind::Purge(message) => message,
                Kind::Start | Kind::Hello | Kind::Bye => return,
            }
        }
        Err(_) => bytes.to_vec(),
    };
    let place = Place::of_number(u64::from(bytes.len() as u32));
    let first = CACHE.restore(&message, place);
    assert_eq!(CACHE.restore(&message, place), first);
    if first.is_ok() {
        // What is longer or shorter is something else.
        assert!(CACHE.restore(&[&message[..], b"\0"].concat(), place).is_err());
        assert!(CACHE.restore(&message[..message.len() - 1], place).is_err());
    }
});
