//! What memory has at the end of a process, written to disk, so that the next one does not begin cold.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::record::{Encoded, encode};
use crate::cache::shared::SharedCache;
use crate::cache::store::disk::DiskTier;
use crate::cache::store::tier::RecordKey;
use crate::cache::stored::StoredResponse;
use crate::cache::write_down::is_writable;

impl SharedCache {
    /// Writes all that memory has to `disk`, as far as it may lie there: how many responses that were.
    /// Waits for the disk, so it may be dropped where there is no time left; what was written until then
    /// is there. What was never used comes first, since what comes last is kept longest.
    pub async fn keep_on(&self, disk: &DiskTier) -> usize {
        let mut all = Vec::new();
        self.store().visit(|_, key, responses| {
            let writable = responses.iter().filter(|stored| is_writable(stored));
            let writable: Vec<_> = writable.cloned().collect();
            if !writable.is_empty() {
                all.push((Box::<[u8]>::from(key), writable));
            }
        });
        all.sort_by_key(|(_, responses)| responses.iter().any(|stored| stored.was_used()));
        let mut kept = 0;
        for (key, responses) in all {
            for stored in responses {
                if keep(disk, &key, &stored).await {
                    kept += 1;
                }
            }
        }
        disk.flush().await;
        kept
    }
}

async fn keep(disk: &DiskTier, key: &[u8], stored: &Arc<StoredResponse>) -> bool {
    let Some(place) = stored.place else {
        return false;
    };
    let Ok(Encoded {
        name,
        record,
        index,
    }) = encode(stored, key, place.number())
    else {
        return false;
    };
    let put = async |name: RecordKey, record: Bytes| disk.put_patiently(name.0, record).await;
    if let Some((name, index)) = index {
        put(name, index).await;
    }
    put(name, record).await
}
