//! Records without their prelude, for whoever cannot guess checksums.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::Response;
use crate::cache::decide::{Asked, Found};
use crate::cache::invalidate::Sequence;
use crate::cache::place::Place;
use crate::cache::record::head::{self, Kind};
use crate::cache::record::{Digest, Record, decode, encode};
use crate::cache::replay::replay_for;
use crate::cache::stored::StoredResponse;
use crate::cache::vary::Selection;
use crate::clock::Now;
use crate::facts::{CacheOutcome, CacheStatus};

/// What clients are told from a record of this `head` and these `contents`, and from the same when it
/// is written anew and read again; `None` if it is refused. Whether it is an index is tried as well.
///
/// For the fuzz target, whose law is that both are the same, and that nothing in them is what only the
/// owner of a connection says.
pub fn answers(head: &[u8], contents: &[u8], now: Now) -> Option<[Response; 2]> {
    drop(decode(framed(Kind::Index, head, contents)?, now));
    let Ok(Record::Response(filed)) = decode(framed(Kind::Response, head, contents)?, now) else {
        return None;
    };
    // Whose it is, only its writer knows.
    let (request, place) = (HeaderMap::new(), filed.place);
    let selection = Selection::of(filed.names, &request);
    let (key, hash, born) = (key(), 1, Sequence::default());
    let of = Place::of_number(place);
    let first = Arc::new(filed.response.stored(selection, hash, born, of));
    let written = encode(&first, &key, place).expect("what was read can be written");
    let Ok(Record::Response(again)) = decode(written.record.clone(), now) else {
        unreachable!("what was written can be read");
    };
    let again = again.answering(&key, Digest::plain(&key), hash, &request, born);
    let again = Arc::new(again.expect("for whom it was written"));
    let twice = encode(&again, &key, place).expect("what was read can be written");
    assert_eq!(written.record, twice.record);
    assert_eq!(first.weight(), again.weight());
    Some([answer(&first, &request, now), answer(&again, &request, now)])
}

fn answer(stored: &Arc<StoredResponse>, request: &HeaderMap, now: Now) -> Response {
    let mut asked = Asked::default();
    let found = stored.found(false, &mut asked, request, now);
    let status = CacheStatus {
        outcome: CacheOutcome::Hit,
        fwd_status: None,
        stored: matches!(found, Found::Stored(_)),
        collapsed: false,
        ttl: Some(stored.candidate(now, false).ttl()),
        reason: None,
    };
    replay_for(&asked, stored, now, status)
}

fn framed(kind: Kind, head: &[u8], contents: &[u8]) -> Option<Bytes> {
    let mut record = head::begin(kind, &(), 0)?;
    let length = u32::try_from(head.len()).ok()?;
    record
        .get_mut(8..12)?
        .copy_from_slice(&length.to_le_bytes());
    record.extend_from_slice(head);
    record.extend_from_slice(contents);
    head::finish(&mut record);
    Some(record.into())
}

/// Of `http://a/`, by rules without a name.
fn key() -> Vec<u8> {
    let mut key = vec![0; 10];
    for part in [&b"a"[..], b"/"] {
        crate::cache::key::write_part(&mut key, |key| key.extend_from_slice(part));
    }
    key.push(0);
    key
}
