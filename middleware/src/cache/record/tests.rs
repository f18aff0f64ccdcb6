use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use config::cache::CacheSettings;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::write::Unwritable;
use super::*;
use crate::cache::apart::Apart;
use crate::cache::decide::Asked;
use crate::cache::freshness::Source;
use crate::cache::invalidate::Sequence;
use crate::cache::key::KeyRules;
use crate::cache::parts::Parts;
use crate::cache::replay::replay_for;
use crate::cache::storable::{Storing, Terms};
use crate::cache::store::tier::RecordKey;
use crate::cache::stored::{Origin, StoredResponse};
use crate::cache::tags::{NameHash, Tags};
use crate::cache::testing;
use crate::cache::vary::Selection;
use crate::clock::{Clock, Now};
use crate::content_coding::Coding;
use crate::facts::{CacheOutcome, CacheStatus};
use crate::fields::range::Span;
use crate::fields::tags;

/// The key of `GET http://example.com/a?b=c`, by plain rules.
fn key() -> Vec<u8> {
    let mut key = Vec::new();
    let request = testing::request("GET", "/a?b=c", &[]);
    KeyRules::of(&CacheSettings::default()).write_key(&request, &mut key);
    key
}

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        fields.append(name, HeaderValue::from_str(value).unwrap());
    }
    fields
}

/// What a test chooses about a stored response.
#[derive(Clone, Debug)]
struct Sample {
    status: u16,
    fields: Vec<(String, String)>,
    apart: Vec<(String, String)>,
    request: Vec<(String, String)>,
    vary: Vec<String>,
    content: Vec<u8>,
    coded: [Option<Vec<u8>>; 3],
    tags: Vec<(u8, u64)>,
    span: Option<(u64, u64)>,
    lifetime: Duration,
    initial_age: Duration,
    windows: (Option<Duration>, Option<Duration>),
    flags: [bool; 6],
    place: u64,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            status: 200,
            fields: vec![("etag".into(), "\"a\"".into())],
            apart: vec![("surrogate-control".into(), "max-age=60".into())],
            request: vec![("accept-language".into(), "de".into())],
            vary: Vec::new(),
            content: b"content".to_vec(),
            coded: [Some(b"br".to_vec()), None, Some(Vec::new())],
            tags: vec![(1, 77), (0, 5)],
            span: None,
            lifetime: Duration::from_secs(60),
            initial_age: Duration::from_millis(1500),
            windows: (Some(Duration::from_secs(30)), None),
            flags: [false; 6],
            place: 99,
        }
    }
}

impl Sample {
    fn request(&self) -> HeaderMap {
        let lines = self.request.iter();
        map(&lines
            .map(|(name, value)| (&**name, &**value))
            .collect::<Vec<_>>())
    }

    fn stored(&self, received: Now) -> StoredResponse {
        let fields = |lines: &[(String, String)]| {
            let lines = lines.iter();
            let mut fields = map(&lines
                .map(|(name, value)| (&**name, &**value))
                .collect::<Vec<_>>());
            for value in fields.values_mut() {
                value.set_sensitive(value.len() % 2 == 1);
            }
            fields
        };
        let [authorized, no_cache, must, s_maxage, immutable, outdated] = self.flags;
        let names = self.vary.iter().map(|name| name.parse().unwrap());
        let tags = self.tags.iter().map(|(source, hash)| {
            let source = tags::Source::ALL[usize::from(*source)];
            (source, NameHash(*hash))
        });
        let storing = Storing {
            terms: Terms {
                lifetime: self.lifetime,
                source: Source::SMaxage,
                initial_age: self.initial_age,
                no_cache,
                must_revalidate: must,
                s_maxage,
                immutable,
                stale_while_revalidate: self.windows.0,
                stale_if_error: self.windows.1,
            },
            selection: Selection::of(names.collect(), &self.request()),
            without: Vec::new(),
            is_cookie_stripped: false,
            tags: Tags::of(tags.collect()),
            search: None,
            apart: Apart::of(fields(&self.apart)),
        };
        let origin = Origin {
            place: None,
            key: 1,
            born: Sequence::new(3),
            took: 0.25,
            received,
            is_authorized: authorized,
        };
        let status = match self.span {
            Some(_) => StatusCode::PARTIAL_CONTENT,
            None => StatusCode::from_u16(self.status).unwrap(),
        };
        let head = StoredResponse::head(status, &fields(&self.fields), storing, origin);
        let content = vec![Bytes::from(self.content.clone())];
        let stored = match self.span {
            None => head.with_body(content),
            Some((first, more)) => {
                let last = first + self.content.len() as u64 - 1;
                let complete = last + 1 + more;
                let parts = Parts::read(complete, vec![Span { first, last }]).unwrap();
                head.with_parts(parts, content)
            }
        };
        for (coding, copy) in Coding::ALL.into_iter().zip(&self.coded) {
            if let Some(copy) = copy {
                assert!(stored.add_coded(coding, copy.clone().into()));
            }
        }
        if outdated {
            stored.mark_outdated();
        }
        stored
    }
}

fn read(record: Bytes, now: Now) -> Result<Filed, Unreadable> {
    match decode(record, now)? {
        Record::Response(filed) => Ok(*filed),
        Record::Index(_) => panic!("an index"),
    }
}

fn back(record: Bytes, request: &HeaderMap, now: Now) -> Result<StoredResponse, Unreadable> {
    read(record, now)?.answering(&key(), Digest::plain(&key()), 1, request, Sequence::new(3))
}

/// All of an answer that a client can see.
fn answer(stored: &Arc<StoredResponse>, request: &HeaderMap, is_head: bool, now: Now) -> String {
    let mut asked = Asked {
        is_head,
        ..Asked::default()
    };
    let found = stored.found(false, &mut asked, request, now);
    let status = CacheStatus {
        outcome: CacheOutcome::Hit,
        fwd_status: None,
        stored: false,
        collapsed: false,
        ttl: Some(stored.candidate(now, false).ttl()),
        reason: None,
    };
    let (head, body) = replay_for(&asked, stored, now, status).into_parts();
    let fields: Vec<_> = head.headers.iter().collect();
    let content: Vec<_> = body
        .pieces(0, stored.length())
        .into_iter()
        .flatten()
        .collect();
    format!(
        "{found:?} {} {fields:?} {:?}",
        head.status,
        content.concat()
    )
}

fn assert_same(
    one: &Arc<StoredResponse>,
    other: &Arc<StoredResponse>,
    request: &HeaderMap,
    now: Now,
) {
    assert_eq!(one.selection(), other.selection());
    assert_eq!(one.terms(), other.terms());
    assert_eq!(one.took, other.took);
    assert_eq!(one.parts(), other.parts());
    assert_eq!(one.is_authorized, other.is_authorized);
    assert_eq!(
        (one.born, one.valid_at(), one.key),
        (other.born, other.valid_at(), other.key)
    );
    assert_eq!(one.received().wall, other.received().wall);
    assert_eq!(one.apart().fields(), other.apart().fields());
    let tags = |stored: &StoredResponse| stored.tags().told_apart().collect::<Vec<_>>();
    assert_eq!(tags(one), tags(other));
    assert_eq!(one.body, other.body);
    assert_eq!(one.reading(), other.reading());
    assert_eq!(one.language(), other.language());
    assert_eq!(one.weight(), other.weight());
    for coding in Coding::ALL {
        assert_eq!(one.coded(coding), other.coded(coding));
    }
    let sensitive = |stored: &StoredResponse| {
        let lines = stored.fields.lines();
        lines.map(|line| line.is_sensitive).collect::<Vec<_>>()
    };
    assert_eq!(sensitive(one), sensitive(other));
    for is_head in [false, true] {
        let mut ranged = request.clone();
        for range in ["", "bytes=0-2", "bytes=5-5", "bytes=-1", "bytes=900-"] {
            if !range.is_empty() {
                ranged.insert("range", range.parse().unwrap());
            }
            for passed in [0, 1, 61, 95, 1_000_000] {
                let now = Now {
                    wall: now.wall + Duration::from_secs(passed),
                    mono: now.mono + Duration::from_secs(passed),
                };
                let of = |stored| answer(stored, &ranged, is_head, now);
                assert_eq!(of(one), of(other));
            }
        }
    }
}

fn samples() -> impl Strategy<Value = Sample> {
    let name = "[a-z][a-z0-9-]{0,12}".prop_filter("a field of its own kind", |name: &String| {
        let name: HeaderName = name.parse().unwrap();
        ![
            "content-length",
            "set-cookie",
            "age",
            "via",
            "date",
            "te",
            "cache-status",
        ]
        .contains(&name.as_str())
    });
    let name = prop_oneof![
        name,
        Just("link".to_owned()),
        Just("content-type".to_owned()),
        Just("etag".to_owned()),
        Just("content-language".to_owned())
    ];
    let lines = || proptest::collection::vec((name.clone(), "[ -~]{0,20}"), 0..6);
    let copy = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50));
    let time = || {
        (0..1_u64 << 40, 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
    };
    let window = || proptest::option::of(time());
    (
        (200..600_u16, lines(), lines(), lines()),
        proptest::collection::vec("[a-z-]{1,8}", 0..4),
        proptest::collection::vec(any::<u8>(), 1..3000),
        [copy(), copy(), copy()],
        proptest::collection::vec((0..4_u8, any::<u64>()), 0..5),
        proptest::option::of((0..1000_u64, 1..1000_u64)),
        (time(), time(), window(), window()),
        (any::<[bool; 6]>(), any::<u64>()),
    )
        .prop_map(
            |(lines, mut vary, content, coded, tags, span, times, other)| {
                vary.sort();
                vary.dedup();
                let has_content = ![204, 205, 206, 304].contains(&lines.0);
                Sample {
                    status: if has_content { lines.0 } else { 200 },
                    fields: lines.1,
                    apart: lines.2,
                    request: lines.3,
                    vary,
                    content,
                    coded,
                    tags,
                    span,
                    lifetime: times.0,
                    initial_age: times.1,
                    windows: (times.2, times.3),
                    flags: other.0,
                    place: other.1,
                }
            },
        )
}

proptest! {
    #[test]
    fn what_was_written_reads_as_the_same(sample in samples()) {
        let now = Clock::system().now();
        let (request, stored) = (sample.request(), Arc::new(sample.stored(now)));
        let encoded = encode(&stored, &key(), sample.place).unwrap();
        prop_assert_eq!(encoded.index.is_some(), !sample.vary.is_empty());
        let filed = read(encoded.record.clone(), now).unwrap();
        prop_assert_eq!(filed.place, sample.place);
        let read = Arc::new(back(encoded.record.clone(), &request, now).unwrap());
        assert_same(&stored, &read, &request, now);
        // Once more is the same bytes.
        let again = encode(&read, &key(), sample.place).unwrap();
        prop_assert_eq!(again.record, encoded.record);
        prop_assert_eq!(again.name, encoded.name);
    }

    #[test]
    fn it_ages_on_its_way(passed in 0..1_000_000_u64, sample in samples()) {
        let then = Clock::system().now();
        let stored = sample.stored(then);
        let record = encode(&stored, &key(), 0).unwrap().record;
        let passed = Duration::from_millis(passed);
        let now = Now { wall: then.wall + passed, mono: then.mono + passed };
        let read = back(record, &sample.request(), now).unwrap();
        prop_assert_eq!(read.age(now), stored.age(now));
        // Also where the wall clock is set back later.
        prop_assert_eq!(read.received().mono, then.mono);
        prop_assert_eq!(read.age(now), stored.terms().initial_age.saturating_add(passed));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let now = Clock::system().now();
        prop_assert!(decode(bytes.clone().into(), now).is_err());
        // And with a prelude that is right.
        for kind in [head::Kind::Response, head::Kind::Index] {
            drop(decode(with_head(kind, &bytes), now));
        }
    }
}

/// A record of ours but for the head, which is `head`.
fn with_head(kind: head::Kind, head: &[u8]) -> Bytes {
    let mut record = head::begin(kind, &(), 0).unwrap();
    record[8..12].copy_from_slice(&u32::try_from(head.len()).unwrap().to_le_bytes());
    record.extend_from_slice(head);
    head::finish(&mut record);
    record.into()
}

fn record() -> (Bytes, Now) {
    let now = Clock::system().now();
    let stored = Sample::default().stored(now);
    (encode(&stored, &key(), 7).unwrap().record, now)
}

#[test]
fn a_flipped_bit_anywhere_is_a_miss() {
    let (record, now) = record();
    assert!(read(record.clone(), now).is_ok());
    for place in 0..record.len() {
        for bit in 0..8 {
            let mut flipped = record.to_vec();
            flipped[place] ^= 1 << bit;
            let read = decode(flipped.into(), now);
            let expected = match place {
                0..5 => Unreadable::Format,
                _ => Unreadable::Checksum,
            };
            assert_eq!(read.err(), Some(expected), "byte {place}, bit {bit}");
        }
    }
}

#[test]
fn what_is_cut_off_or_goes_on_is_a_miss() {
    let (record, now) = record();
    for length in 0..record.len() {
        assert!(decode(record.slice(..length), now).is_err(), "{length}");
    }
    let mut longer = record.to_vec();
    longer.push(0);
    assert_eq!(
        decode(longer.clone().into(), now).err(),
        Some(Unreadable::Checksum)
    );
    // Even by somebody who can write checksums.
    head::finish(&mut longer);
    assert_eq!(decode(longer.into(), now).err(), Some(Unreadable::Length));
    let mut shorter = record[..record.len() - 1].to_vec();
    head::finish(&mut shorter);
    assert_eq!(decode(shorter.into(), now).err(), Some(Unreadable::Length));
}

#[test]
fn another_format_or_kind_is_a_miss() {
    let (record, now) = record();
    for (place, value, expected) in [
        (0, b'X', Unreadable::Format),
        (4, FORMAT + 1, Unreadable::Format),
        (4, 0, Unreadable::Format),
        (5, 2, Unreadable::Format),
        (6, 1, Unreadable::Format),
        (8, 0, Unreadable::Head),
        (11, 0xff, Unreadable::Length),
    ] {
        let mut other = record.to_vec();
        other[place] = value;
        head::finish(&mut other);
        assert_eq!(
            decode(other.into(), now).err(),
            Some(expected),
            "byte {place}"
        );
    }
    // A response that is taken for an index says nothing that an index says.
    let mut other = record.to_vec();
    other[5] = 1;
    head::finish(&mut other);
    assert!(decode(other.into(), now).is_err());
}

#[test]
fn lengths_beyond_the_record_take_no_memory() {
    let (record, now) = record();
    let end = 20 + usize::try_from(u32::from_le_bytes(record[8..12].try_into().unwrap())).unwrap();
    let head: head::Head<'_> = head::read(&record, end).unwrap();
    for (length, coded) in [
        (u64::MAX, [None; 3]),
        (1 << 40, [None; 3]),
        (0, [Some(u64::MAX), Some(u64::MAX), None]),
        (u64::MAX, [Some(1), None, None]),
    ] {
        let head = head::Head {
            length,
            coded,
            names: Vec::new(),
            fields: head.fields.clone(),
            apart: Vec::new(),
            tags: Vec::new(),
            parts: None,
            ..head
        };
        let mut record = head::begin(head::Kind::Response, &head, 0).unwrap();
        record.extend_from_slice(b"content");
        head::finish(&mut record);
        assert_eq!(decode(record.into(), now).err(), Some(Unreadable::Length));
    }
}

#[test]
fn what_no_upstream_could_have_said_is_a_miss() {
    type Change = fn(&mut head::Head<'_>);
    let cases: [(&str, Change); 17] = [
        ("a status of no answer", |head| head.status = 101),
        ("a status that is none", |head| head.status = 7),
        ("a 304", |head| head.status = 304),
        ("content of a 204", |head| head.status = 204),
        ("parts of a 200", |head| {
            head.parts = Some((10, vec![(0, 6)]))
        }),
        ("a 206 without parts", |head| head.status = 206),
        ("a span out of order", |head| {
            head.status = 206;
            head.parts = Some((10, vec![(6, 0)]));
        }),
        ("spans that overlap", |head| {
            head.status = 206;
            head.parts = Some((10, vec![(0, 4), (3, 4)]));
        }),
        ("a span beyond the end", |head| {
            head.status = 206;
            head.parts = Some((5, vec![(0, 6)]));
        }),
        ("a tag of no field", |head| head.tags.push((4, 1))),
        ("a field of a connection", |head| {
            head.fields.push(line("transfer-encoding", "chunked"))
        }),
        ("another length", |head| {
            head.fields.push(line("content-length", "8"))
        }),
        ("a field name that is none", |head| {
            head.fields.push(line("a b", "c"))
        }),
        ("a field name in capitals", |head| {
            head.fields.push(line("A", "c"))
        }),
        ("a value that ends the line", |head| {
            head.fields.push(line("a", "b\r\nc: d"))
        }),
        ("a value that ends the line, apart", |head| {
            head.apart.push(line("a", "b\nc"))
        }),
        ("a cookie", |head| {
            head.fields.push(line("set-cookie", "a=b"))
        }),
    ];
    let (record, now) = record();
    let end = 20 + usize::try_from(u32::from_le_bytes(record[8..12].try_into().unwrap())).unwrap();
    for (case, change) in cases {
        let mut head: head::Head<'_> = head::read(&record, end).unwrap();
        change(&mut head);
        let mut other = head::begin(head::Kind::Response, &head, 0).unwrap();
        other.extend_from_slice(&record[end..]);
        head::finish(&mut other);
        assert_eq!(
            decode(other.into(), now).err(),
            Some(Unreadable::Content),
            "{case}"
        );
    }
}

fn line(name: &'static str, value: &'static str) -> head::Field<'static> {
    head::Field {
        name,
        value: head::Raw(value.as_bytes()),
        is_sensitive: false,
    }
}

#[test]
fn a_head_of_many_small_things_is_bounded() {
    let (record, now) = record();
    let end = 20 + usize::try_from(u32::from_le_bytes(record[8..12].try_into().unwrap())).unwrap();
    let decoded = |change: &dyn Fn(&mut head::Head<'_>)| {
        let mut head: head::Head<'_> = head::read(&record, end).unwrap();
        change(&mut head);
        let mut other = head::begin(head::Kind::Response, &head, 0)?;
        other.extend_from_slice(&record[end..]);
        head::finish(&mut other);
        Some(decode(other.into(), now).err())
    };
    let fields = |count| move |head: &mut head::Head<'_>| head.fields.resize(count, line("a", ""));
    assert_eq!(decoded(&fields(100)), Some(None));
    assert_eq!(
        decoded(&fields(read::MOST_FIELDS + 1)),
        Some(Some(Unreadable::Content))
    );
    assert_eq!(decoded(&fields(head::MOST_HEAD)), None);
    let names = |head: &mut head::Head<'_>| head.names.resize(20, "a");
    assert_eq!(decoded(&names), Some(Some(Unreadable::Content)));
}

proptest! {
    #[test]
    fn what_a_fetch_took_is_written_as_it_was_read(took: u32) {
        let read = head::seconds(took);
        let again = head::millis(read);
        proptest::prop_assert_eq!(head::millis(head::seconds(again)), again);
        // To the millisecond for an hour and longer.
        proptest::prop_assert!(took > 8_000_000 || again == took);
    }
}

#[test]
fn what_was_stored_in_the_future_is_a_miss() {
    let (_, now) = record();
    for (ahead, expected) in [
        (Duration::from_millis(1999), None),
        (Duration::from_millis(2001), Some(Unreadable::Future)),
        (Duration::from_secs(10), Some(Unreadable::Future)),
    ] {
        let received = Now {
            wall: now.wall + ahead,
            mono: now.mono,
        };
        let sample = Sample {
            vary: vec!["accept-language".into()],
            ..Sample::default()
        };
        let encoded = encode(&sample.stored(received), &key(), 0).unwrap();
        assert_eq!(
            decode(encoded.record.clone(), now).err(),
            expected,
            "{ahead:?}"
        );
        let (_, index) = encoded.index.unwrap();
        assert_eq!(decode(index, now).err(), expected, "{ahead:?}");
        if expected.is_none() {
            let read = back(encoded.record, &sample.request(), now).unwrap();
            assert_eq!(read.age(now), sample.initial_age, "no younger than it was");
        }
    }
}

#[test]
fn it_answers_its_own_key_and_selection_alone() {
    let now = Clock::system().now();
    let sample = Sample {
        vary: vec!["accept-language".into(), "x-b".into()],
        ..Sample::default()
    };
    let encoded = encode(&sample.stored(now), &key(), 0).unwrap();
    let own = sample.request();
    let mut other_key = key();
    *other_key.last_mut().unwrap() ^= 1;
    let answering = |key: &[u8], request: &HeaderMap| {
        let filed = read(encoded.record.clone(), now).unwrap();
        filed
            .answering(key, Digest::plain(key), 1, request, Sequence::new(3))
            .err()
    };
    assert_eq!(answering(&key(), &own), None);
    assert_eq!(answering(&key(), &map(&[("accept-language", "DE ")])), None);
    assert_eq!(answering(&other_key, &own), Some(Unreadable::OtherKey));
    for request in [
        &[("accept-language", "fr")][..],
        &[],
        &[("accept-language", "de"), ("x-b", "")],
    ] {
        assert_eq!(
            answering(&key(), &map(request)),
            Some(Unreadable::OtherKey),
            "{request:?}"
        );
    }
    // The index leads there, for who asks alike.
    let (name, index) = encoded.index.unwrap();
    assert_eq!(name, RecordKey::of(&key()));
    let lead = |key: &[u8], request: &HeaderMap| match decode(index.clone(), now).unwrap() {
        Record::Index(index) => index.name(key, request),
        Record::Response(_) => panic!("a response"),
    };
    assert_eq!(lead(&key(), &own), Ok(encoded.name));
    assert_ne!(lead(&key(), &map(&[])), Ok(encoded.name));
    assert_eq!(lead(&other_key, &own), Err(Unreadable::OtherKey));
}

#[test]
fn no_record_holds_what_a_client_said() {
    let now = Clock::system().now();
    let secrets = [
        ("authorization", "Bearer s3cret-token-1"),
        ("cookie", "session=s3cret-token-2"),
        ("x-api-key", "s3cret-token-3"),
    ];
    let mut settings = CacheSettings::default();
    settings.key.cookies = vec!["session".into()];
    settings.key.headers = vec!["authorization".into()];
    let mut key = Vec::new();
    let request = testing::request("GET", "/a?b=c", &secrets);
    KeyRules::of(&settings).write_key(&request, &mut key);
    assert!(key.windows(6).any(|bytes| bytes == b"s3cret"));
    let sample = Sample {
        request: secrets
            .map(|(name, value)| (name.into(), value.into()))
            .to_vec(),
        vary: vec!["x-api-key".into()],
        ..Sample::default()
    };
    let encoded = encode(&sample.stored(now), &key, 0).unwrap();
    let (_, index) = encoded.index.unwrap();
    for record in [&encoded.record, &index] {
        assert!(!record.windows(6).any(|bytes| bytes == b"s3cret"));
    }
    assert!(encoded.record.windows(7).any(|bytes| bytes == b"content"));
    let filed = read(encoded.record, now).unwrap();
    assert_eq!(
        filed
            .answering(
                &key,
                Digest::plain(&key),
                1,
                &sample.request(),
                Sequence::new(3)
            )
            .err(),
        None
    );
}

#[test]
fn what_says_set_cookie_or_answers_other_queries_is_not_written() {
    let now = Clock::system().now();
    let cookie = Sample {
        fields: vec![("set-cookie".into(), "a=b".into())],
        ..Sample::default()
    };
    let written = |stored: &StoredResponse| encode(stored, &key(), 0).err();
    assert_eq!(written(&cookie.stored(now)), Some(Unwritable::Cookie));
    let mut wide = Sample::default().stored(now);
    wide.is_wide = true;
    assert_eq!(written(&wide), Some(Unwritable::Wide));
    let contradiction = Sample {
        fields: vec![("content-length".into(), "8".into())],
        ..Sample::default()
    };
    assert_eq!(written(&contradiction.stored(now)), Some(Unwritable::Head));
}

#[test]
fn long_content_is_not_copied_and_short_keeps_nothing_alive() {
    let now = Clock::system().now();
    for (length, is_shared) in [(100, false), (100 << 10, true), (3 << 20, true)] {
        let sample = Sample {
            content: vec![b'a'; length],
            ..Sample::default()
        };
        let record = encode(&sample.stored(now), &key(), 0).unwrap().record;
        let within = |bytes: &[u8]| record.as_ptr_range().contains(&bytes.as_ptr());
        let read = back(record.clone(), &sample.request(), now).unwrap();
        assert_eq!(within(&read.body[0]), is_shared, "{length}");
        assert!(!read.fields.lines().any(|line| within(line.value)));
    }
}
