use std::time::Instant;

use tower::Layer;

use super::*;
use crate::cache::CacheLayer;
use crate::cache::testing::{World, at_once, reply};

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let lines = lines.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_str(value).unwrap())
    });
    lines.collect()
}

fn record(number: usize, done: Done) -> Record {
    Record {
        key: 0,
        at: number as u64,
        id: number.to_string().into(),
        route: "*".into(),
        method: "GET".into(),
        url: format!("http://a/{number}").into(),
        is_local: false,
        has_content: false,
        request: Lines::default(),
        done,
        stored: None,
        is_other_variant: false,
        answer: None,
    }
}

#[test]
fn a_journal_never_grows_beyond_its_bytes_and_hits_push_out_nothing_but_hits() {
    let journal = Journal::new(64 << 10);
    for number in 0..10 {
        journal.write(record(number, Done::Stored(Reason::NothingStored)));
    }
    for number in 0..10_000 {
        journal.write(record(number, Done::Hit));
    }
    let kept = journal.read();
    let size: usize = kept.iter().map(|record| record.size()).sum();
    assert!(size <= 64 << 10, "{size}");
    let is_hit = |record: &&Arc<Record>| record.done == Done::Hit;
    assert_eq!(kept.iter().filter(|record| !is_hit(record)).count(), 10);
    assert_eq!(*kept.last().unwrap().id, *"9999", "the latest stay");
    assert!(kept.iter().filter(is_hit).count() > 10);
}

#[test]
fn a_pace_cannot_be_driven_up() {
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    let start = Instant::now();
    let pace = Pace::of(HITS, start);
    let written = |after: Duration| {
        let due = (0..1_000).filter(|_| pace.is_due(start + after)).count();
        u32::try_from(due).unwrap()
    };
    assert_eq!(written(Duration::ZERO), HITS);
    assert_eq!(written(PAUSE - Duration::from_nanos(1)), 0);
    assert_eq!(written(PAUSE), HITS);
}

#[tokio::test]
async fn of_a_flood_no_more_is_written_down_than_the_pace_allows() {
    let mut world = World::new(|_, _| at_once(reply(200, &[("cache-control", "no-store")], "")));
    let layer = CacheLayer::new(Arc::new(world.settings.clone()), world.shared.clone());
    let journal = world.shared.journal(1);
    let layer = layer.recorded(journal.clone(), None, "*".into());
    world.cache = layer.layer(world.cache.inner.clone());
    let most = usize::try_from(FORWARDED).unwrap();
    let kinds = [
        ("GET", &[][..]),
        ("POST", &[]),
        // No matter for the cache.
        ("GET", &[("if-match", "\"a\"")]),
    ];
    for (method, fields) in kinds.into_iter().cycle().take(most + 1) {
        world.ask(method, "/", fields).await;
    }
    assert_eq!(world.seen().len(), most + 1, "all are forwarded");
    assert_eq!(journal.read().len(), most);
    world.clock.advance(PAUSE);
    for (method, fields) in kinds {
        world.ask(method, "/", fields).await;
    }
    assert_eq!(journal.read().len(), most + kinds.len());
}

#[test]
fn secrets_and_what_no_rule_reads_are_names_only() {
    let mut asked = fields(&[
        ("authorization", "Bearer s3cret"),
        ("cookie", "session=s3cret"),
        ("x-api-key", "s3cret"),
        ("user-agent", "s3cret"),
        ("x-original-url", "/s3cret"),
        ("referer", "http://me:s3cret@a.test/s3cret?s3cret"),
        ("cache-control", "no-cache"),
        ("accept-encoding", "br"),
    ]);
    let mut marked = HeaderValue::from_static("s3cret");
    marked.set_sensitive(true);
    asked.insert("if-none-match", marked);
    let kept = Lines::of_request(&asked);
    assert!(!format!("{kept:?}").contains("s3cret"), "{kept:?}");
    let again = kept.to_fields();
    assert_eq!(again.len(), asked.len());
    assert_eq!(again["cache-control"], "no-cache");
    assert_eq!(again["referer"], "http://a.test/");
    let answered = Lines::of_answer(&fields(&[
        ("set-cookie", "s3cret"),
        ("x-powered-by", "s3cret"),
        ("cache-control", "max-age=1"),
        ("fastly-cache-control", "max-age=2"),
        ("cache-tag", "s3cret, s3cret2"),
    ]));
    assert!(!format!("{answered:?}").contains("s3cret"), "{answered:?}");
    assert!(answered.to_fields().contains_key("set-cookie"));
    assert_eq!(answered.to_fields()["fastly-cache-control"], "max-age=2");
    assert_eq!(answered.to_fields()["cache-tag"], "2 tags, 13 bytes");
}

#[test]
fn what_a_peer_sends_is_bounded() {
    let long = "x".repeat(LONGEST);
    let kept = Lines::of_request(&fields(&[("cache-control", &long), ("range", "bytes=0-1")]));
    assert!(kept.0.len() <= LONGEST);
    assert_eq!(kept.to_fields()["range"], "bytes=0-1");
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut written = record(1, Done::NotStored(Reason::Stale, Reason::SetCookie));
    written.request = Lines::of_request(&fields(&[("cache-control", "no-cache, max-age=0")]));
    written.answer = Some(Answered {
        status: 200,
        fields: Lines::of_answer(&fields(&[("vary", "a: b")])),
        length: Some(7),
        after: 5,
    });
    let text = serde_json::to_string(&written).unwrap();
    let read: Record = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(read.done, written.done);
    assert_eq!(read.request, written.request);
    assert!(
        text.contains("\"not-stored\":[\"stale\",\"set-cookie\"]"),
        "{text}"
    );
}
