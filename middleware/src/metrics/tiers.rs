//! What the tiers below memory count.

use std::sync::Mutex;
use std::time::Duration;

use super::catalogue::{Event, TIER_READ_DURATION};
use super::counter::{Histogram, HistogramTotal};
use super::exposition::Gathered;
use super::{Metrics, lock};
use crate::cache::{Level, Read};

/// How long the tiers took, each behind a lock of its own: to ask one takes longer by orders of magnitude.
#[derive(Debug)]
pub(super) struct TierReads([Mutex<Histogram>; 2]);

impl Default for TierReads {
    fn default() -> Self {
        let histogram = || Mutex::new(Histogram::new(BOUNDS));
        Self([histogram(), histogram()])
    }
}

impl TierReads {
    pub(super) fn gather(&self, gathered: &mut Gathered) {
        for (level, reads) in LEVELS.into_iter().zip(&self.0) {
            let mut total = HistogramTotal::default();
            lock(reads).add_to(&mut total);
            if total.count() > 0 {
                let labels = vec![("tier", level.name().into())];
                gathered.histogram(&TIER_READ_DURATION, labels, total);
            }
        }
    }
}

impl Metrics {
    /// Notes how long a tier below memory took to answer.
    pub(crate) fn tier_read(&self, level: Level, took: Duration) {
        let index = LEVELS.iter().position(|one| *one == level);
        if let Some(reads) = index.and_then(|index| self.0.tier_reads.0.get(index)) {
            lock(reads).record(took);
        }
    }
}

impl Event {
    /// A tier below memory was asked.
    pub fn tier(level: Level, read: Read) -> Self {
        match (level, read) {
            (Level::Disk, Read::Hit) => Self::FromDiskHit,
            (Level::Disk, Read::Validated) => Self::FromDiskValidated,
            (Level::Disk, Read::Known) => Self::FromDiskKnown,
            (Level::Disk, Read::Miss) => Self::FromDiskMiss,
            (Level::Disk, Read::Purged) => Self::FromDiskPurged,
            (Level::Disk, Read::Unreadable) => Self::FromDiskUnreadable,
            (Level::Disk, Read::Behind) => Self::FromDiskBehind,
            (Level::Disk, Read::Away) => Self::FromDiskAway,
            (Level::Disk, Read::Late) => Self::FromDiskLate,
            (Level::Disk, Read::Failed) => Self::FromDiskFailed,
            (Level::L2, Read::Hit) => Self::FromL2Hit,
            (Level::L2, Read::Validated) => Self::FromL2Validated,
            (Level::L2, Read::Known) => Self::FromL2Known,
            (Level::L2, Read::Miss) => Self::FromL2Miss,
            (Level::L2, Read::Purged) => Self::FromL2Purged,
            (Level::L2, Read::Unreadable) => Self::FromL2Unreadable,
            (Level::L2, Read::Behind) => Self::FromL2Behind,
            (Level::L2, Read::Away) => Self::FromL2Away,
            (Level::L2, Read::Late) => Self::FromL2Late,
            (Level::L2, Read::Failed) => Self::FromL2Failed,
        }
    }

    /// Bytes came from the tier.
    pub fn tier_bytes_read(level: Level) -> Self {
        match level {
            Level::Disk => Self::DiskBytesRead,
            Level::L2 => Self::L2BytesRead,
        }
    }

    /// Bytes went to the tier.
    pub fn tier_bytes_written(level: Level) -> Self {
        match level {
            Level::Disk => Self::DiskBytesWritten,
            Level::L2 => Self::L2BytesWritten,
        }
    }

    /// A record did not, for want of room in the queue.
    pub fn tier_dropped(level: Level) -> Self {
        match level {
            Level::Disk => Self::DiskDropped,
            Level::L2 => Self::L2Dropped,
        }
    }
}

const LEVELS: [Level; 2] = [Level::Disk, Level::L2];

/// From what a page in memory takes to beyond any deadline.
const BOUNDS: &[Duration] = &[
    Duration::from_micros(25),
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
];
