//! The layer over a leaf that answers as told, and what it makes decoded by the real decoders.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::pin::Pin;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use config::content_coding::{ContentCodingSettings, Streams};
use futures_util::FutureExt;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
    HeaderValue, IF_NONE_MATCH, RANGE, VARY,
};
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

use super::*;
use crate::cache::CacheLayer;
use crate::cache::stored::StoredResponse;
use crate::clock::Clock;
use crate::conditional::ConditionalLayer;
use crate::content_coding::coded_copies::Seat;
use crate::content_coding::coder::decoded;
use crate::content_coding::encode::Effort;
use crate::facts::{
    CacheOutcome, CacheStatus, Fwd, Peer, RequestFacts, RequestId, Scheme, of_response,
};
use crate::metrics::Event;
use crate::{Body, ErrorKind};

const EVERY: [Coding; 3] = [Coding::Br, Coding::Zstd, Coding::Gzip];

/// The layer with its surroundings.
struct House {
    settings: ContentCodingSettings,
    tasks: TaskTracker,
    cache: SharedCache,
    metrics: Metrics,
}

impl House {
    fn new() -> Self {
        let (tasks, metrics) = (TaskTracker::new(), Metrics::new());
        Self {
            settings: ContentCodingSettings::default(),
            cache: SharedCache::new(1 << 20, Clock::system(), tasks.clone(), &metrics),
            tasks,
            metrics,
        }
    }

    /// The layer over a leaf that answers with what `leaf` makes of the request.
    fn over<F>(&self, leaf: F) -> ContentCoding<impl Inner + use<F>>
    where
        F: FnMut(Request) -> Response + Send + 'static,
    {
        let mut leaf = leaf;
        let leaf = move |request| ResponseFuture::ready(Ok(leaf(request)));
        let layer = ContentCodingLayer::new(self.settings, self.cache.clone(), &self.metrics);
        layer.layer(tower::service_fn(leaf))
    }

    /// Puts `stored` into the store: copies are kept of what is there alone.
    fn keep(&self, stored: &Arc<StoredResponse>) {
        let mut key = self.cache.hasher().key(b"the one key");
        key.hash = stored.key;
        self.cache.store().put(&key, None, stored, None, 1);
    }

    async fn copies_made(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    fn copies(&self) -> u64 {
        let made = EVERY.map(|coding| self.metrics.total(Event::copied(coding)));
        made.iter().sum()
    }

    /// Answers coded on the fly.
    fn replies(&self) -> u64 {
        let made = EVERY.map(|coding| self.metrics.total(Event::coded_reply(coding)));
        made.iter().sum()
    }

    /// Bytes that went into coders.
    fn coded(&self) -> u64 {
        let given = EVERY.map(|coding| self.metrics.total(Event::coded(coding).0));
        given.iter().sum()
    }
}

fn text(length: usize) -> Bytes {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&format!(
            "line {} of a page that repeats itself somewhat\n",
            text.len()
        ));
    }
    text.truncate(length);
    text.into()
}

fn request(method: Method, fields: &[(&'static str, &str)]) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).unwrap();
        request.headers_mut().append(*name, value);
    }
    request
}

fn accepting(codings: &str) -> Request {
    request(Method::GET, &[("accept-encoding", codings)])
}

fn response(fields: &[(&'static str, &'static str)], body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    for (name, value) in fields {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(*name, value);
    }
    response
}

/// A response that replays `stored`: a hit.
fn replay(stored: &Arc<StoredResponse>) -> Response {
    replay_as(CacheOutcome::Hit, stored)
}

fn replay_as(outcome: CacheOutcome, stored: &Arc<StoredResponse>) -> Response {
    let mut response = Response::new(Body::of_stored(&stored.body));
    *response.status_mut() = stored.status;
    *response.headers_mut() = stored.fields.map();
    let facts = of_response(&mut response);
    facts.stored = Some(stored.clone());
    facts.cache = Some(CacheStatus {
        outcome,
        fwd_status: None,
        stored: true,
        collapsed: false,
        ttl: None,
        reason: None,
    });
    response
}

fn stored(fields: &[(&'static str, &'static str)], body: &[Bytes]) -> Arc<StoredResponse> {
    Arc::new(StoredResponse::fixed(
        StatusCode::OK,
        response(fields, Body::empty()).headers().clone(),
        body.concat().into(),
        Clock::system().now(),
    ))
}

fn unchanged(coding: Option<Coding>, coded: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    match coding {
        None => content.extend_from_slice(coded),
        Some(Coding::Br) => brotli::BrotliDecompress(&mut &coded[..], &mut content).unwrap(),
        Some(Coding::Zstd) => content = zstd::decode_all(coded).unwrap(),
        Some(Coding::Gzip) => {
            let mut decoder = flate2::read::GzDecoder::new(coded);
            decoder.read_to_end(&mut content).unwrap();
        }
    }
    content
}

fn coding_of(response: &Response) -> Option<Coding> {
    let coding = response.headers().get(CONTENT_ENCODING)?;
    Some(Coding::named(coding.as_bytes()).unwrap())
}

/// What the client has in the end.
async fn content_of(response: Response) -> Result<Vec<u8>> {
    let coding = coding_of(&response);
    let declared = response.headers().get(CONTENT_LENGTH).cloned();
    let sent = response.into_body().collect().await?.to_bytes();
    if let Some(declared) = declared {
        assert_eq!(
            declared,
            sent.len().to_string(),
            "the length that was declared"
        );
    }
    Ok(unchanged(coding, &sent))
}

fn tag(response: &Response) -> Option<&str> {
    Some(response.headers().get(ETAG)?.to_str().unwrap())
}

fn seat() -> Seat {
    coded_copies::InProgress::default()
        .seat_for_stream()
        .expect("the first one")
}

/// What a source does when it is polled; where the script ends, it waits.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Act>>>);

/// A frame, a failure, or the end.
type Act = Option<Result<Frame<Bytes>>>;

impl Script {
    fn data(&self, data: impl Into<Bytes>) {
        self.then(Some(Ok(Frame::data(data.into()))));
    }

    fn then(&self, act: Act) {
        self.0.lock().unwrap().push_back(act);
    }

    fn body(&self) -> Body {
        Body::stream(self.clone())
    }
}

impl HttpBody for Script {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let act = self.0.lock().unwrap().pop_front();
        act.map_or(Poll::Pending, Poll::Ready)
    }
}

/// Some chunks, and then the end.
fn in_chunks(chunks: impl IntoIterator<Item = Bytes>) -> Body {
    let script = Script::default();
    chunks.into_iter().for_each(|chunk| script.data(chunk));
    script.then(None);
    script.body()
}

#[tokio::test]
async fn pain_2_tags_and_codings_in_every_combination() {
    let content = text(5000);
    for sent in [Some("\"abc\""), Some("W/\"abc\""), None] {
        for coding in [
            None,
            Some(Coding::Br),
            Some(Coding::Zstd),
            Some(Coding::Gzip),
        ] {
            let accept = coding.map_or("identity", Coding::name);
            let expected = match (sent, coding) {
                (Some("\"abc\""), Some(coding)) => Some(format!("\"abc~{}\"", coding.name())),
                (sent, _) => sent.map(str::to_owned),
            };
            let head = move |method| {
                let mut head = response(&[("content-length", "5000")], Body::empty());
                if let Some(tag) = sent {
                    head.headers_mut()
                        .insert(ETAG, HeaderValue::from_static(tag));
                }
                if method == Method::GET {
                    *head.body_mut() = text(5000).into();
                }
                head
            };
            let mut layer = House::new().over(move |request| head(request.method().clone()));
            let case = format!("{sent:?} {accept}");

            let got = layer.call(accepting(accept)).await.unwrap();
            assert_eq!(coding_of(&got), coding, "{case}");
            assert_eq!(tag(&got), expected.as_deref(), "{case}");
            assert_eq!(got.headers()[VARY], "accept-encoding", "{case}");
            let fields = got.headers().clone();
            assert_eq!(content_of(got).await.unwrap(), content, "{case}");

            let asked = request(Method::HEAD, &[("accept-encoding", accept)]);
            let got = layer.call(asked).await.unwrap();
            let mut expected_head = fields;
            if coding.is_some() {
                // How long the coded content would be nobody knows before it is made.
                expected_head.remove(CONTENT_LENGTH);
            }
            assert_eq!(*got.headers(), expected_head, "HEAD {case}");
            assert!(got.into_body().is_end_stream());

            let mut layer = House::new().over(move |_| {
                let mut answer = head(Method::HEAD);
                *answer.status_mut() = StatusCode::NOT_MODIFIED;
                answer.headers_mut().remove(CONTENT_TYPE);
                answer.headers_mut().remove(CONTENT_LENGTH);
                answer
            });
            let mut asked = accepting(accept);
            if let Some(tag) = &expected {
                let tag = HeaderValue::from_str(tag).unwrap();
                asked.headers_mut().insert(IF_NONE_MATCH, tag);
            }
            let got = layer.call(asked).await.unwrap();
            assert_eq!(got.status(), StatusCode::NOT_MODIFIED);
            assert_eq!(tag(&got), expected.as_deref(), "304 {case}");
            assert_eq!(got.headers()[VARY], "accept-encoding", "304 {case}");
            assert!(!got.headers().contains_key(CONTENT_ENCODING));
        }
    }
}

#[tokio::test]
async fn what_goes_down_has_no_marker_of_ours() {
    let mut layer = House::new().over(|request| {
        let fields = request.headers();
        assert_eq!(fields[ACCEPT_ENCODING], "gzip");
        assert_eq!(fields[IF_NONE_MATCH], "\"a\", W/\"b\"");
        assert_eq!(fields["if-match"], "\"a\"");
        assert!(!fields.contains_key("if-range") && !fields.contains_key(RANGE));
        response(&[], text(5000))
    });
    let asked = request(
        Method::GET,
        &[
            ("accept-encoding", "gzip"),
            ("if-none-match", "\"a~br\", \"a~gzip\", W/\"b\""),
            ("if-match", "\"a~br\""),
            ("if-range", "\"a~br\""),
            ("range", "bytes=0-1"),
        ],
    );
    let got = layer.call(asked).await.unwrap();
    assert_eq!(coding_of(&got), None, "a part was asked for");
}

#[tokio::test]
async fn a_304_has_the_tag_that_the_client_knows() {
    let cases = [
        // upstream's, client's, accepted, expected
        ("\"a\"", "\"a~br\"", "br, gzip", "\"a~br\""),
        ("\"a\"", "\"a~br\"", "gzip", "\"a~br\""),
        ("\"a\"", "\"a~br\", \"a~gzip\"", "gzip", "\"a~gzip\""),
        ("\"a\"", "\"a\", \"a~gzip\"", "br", "\"a\""),
        ("\"a\"", "\"x~br\", \"a\"", "br", "\"a\""),
        ("\"a\"", "W/\"a\"", "br", "W/\"a\""),
        ("W/\"a\"", "W/\"a\"", "br", "W/\"a\""),
        ("\"a\"", "\"b~br\"", "br", "\"a\""),
        ("\"a\"", "*", "br", "\"a\""),
    ];
    for (upstream, client, accepted, expected) in cases {
        let mut layer = House::new().over(move |_| {
            let mut answer = response(&[("etag", upstream)], Body::empty());
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            answer
        });
        let fields = [("accept-encoding", accepted), ("if-none-match", client)];
        let got = layer.call(request(Method::GET, &fields)).await.unwrap();
        assert_eq!(tag(&got), Some(expected), "{upstream} {client} {accepted}");
    }
}

#[tokio::test]
async fn a_304_about_a_stored_response_has_the_tag_that_a_200_would_have() {
    for (body, expected) in [(text(5000), "\"a~zstd\""), (text(100), "\"a\"")] {
        let stored = stored(&[("etag", "\"a\"")], &[body]);
        let mut layer = House::new().over(move |_| {
            let mut answer = replay(&stored);
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            *answer.body_mut() = Body::empty();
            answer
        });
        let got = layer.call(accepting("zstd, br")).await.unwrap();
        assert_eq!(tag(&got), Some(expected));
    }
}

#[tokio::test]
async fn short_content_is_coded_at_once_and_long_content_elsewhere() {
    for length in [1024, 5000, 16 << 10, 300 << 10] {
        for coding in EVERY {
            let mut layer = House::new().over(move |_| response(&[], text(length)));
            let answer = layer.call(accepting(coding.name())).try_ready();
            assert_eq!(
                answer.is_ok(),
                length <= encode::turn(coding),
                "{length} {coding:?}"
            );
            let got = match answer {
                Ok(got) => got.unwrap(),
                Err(waiting) => waiting.await.unwrap(),
            };
            assert_eq!(coding_of(&got), Some(coding));
            assert!(got.headers().contains_key(CONTENT_LENGTH));
            assert_eq!(content_of(got).await.unwrap(), text(length));
        }
    }
}

#[tokio::test]
async fn long_content_is_coded_here_turn_by_turn_where_no_other_thread_is_free() {
    let house = House::new();
    let copies = house.cache.copies();
    let taken: Vec<_> = std::iter::from_fn(|| copies.seat_for_whole()).collect();
    assert!(!taken.is_empty());
    for coding in EVERY {
        let mut layer = house.over(|_| response(&[], text(100_000)));
        let got = layer.call(accepting(coding.name())).now_or_never();
        let got = got.expect("nobody waits for a thread").unwrap();
        assert_eq!(coding_of(&got), Some(coding));
        assert!(!got.headers().contains_key(CONTENT_LENGTH));
        assert!(content_of(got).await.unwrap() == text(100_000));
    }
    let all: Vec<_> = std::iter::from_fn(|| copies.seat_for_stream()).collect();
    let mut layer = house.over(|_| response(&[], text(100_000)));
    let got = layer.call(accepting("br")).await.unwrap();
    assert_eq!(coding_of(&got), None, "{} are at work", all.len());
}

#[tokio::test]
async fn content_that_gets_no_smaller_goes_as_it_is() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(4000)
    .collect();
    let noise = Bytes::from(noise);
    for coding in EVERY {
        let house = House::new();
        let stored = stored(&[("etag", "\"a\"")], slice::from_ref(&noise));
        house.keep(&stored);
        let mut layer = house.over(move |_| replay(&stored));
        for _ in 0..2 {
            let got = layer.call(accepting(coding.name())).await.unwrap();
            assert_eq!((coding_of(&got), tag(&got)), (None, Some("\"a\"")));
            assert_eq!(got.headers()[VARY], "accept-encoding");
            assert_eq!(content_of(got).await.unwrap(), noise);
            house.copies_made().await;
        }
        // And that is found out once.
        assert_eq!(house.copies(), 1);
    }
}

#[tokio::test]
async fn coded_copies_are_made_once_for_each_stored_response_and_used_again() {
    let content = text(200 << 10);
    let halves = [content.slice(..100 << 10), content.slice(100 << 10..)];
    let house = House::new();
    let stored = stored(&[("etag", "\"a\""), ("accept-ranges", "bytes")], &halves);
    house.keep(&stored);
    let kept = stored.clone();
    // Two cores, each with its own layer.
    let mut layers = [(); 2].map(|()| {
        let stored = stored.clone();
        house.over(move |_| replay(&stored))
    });
    for turn in 0..20 {
        let got = layers[turn % 2].call(accepting("gzip, br, zstd")).await;
        assert_eq!(content_of(got.unwrap()).await.unwrap(), content);
    }
    house.copies_made().await;
    assert_eq!(house.copies(), 1);
    let (coded, replies) = (house.coded(), house.replies());
    let copy = kept.coded(Coding::Br).expect("the smallest").clone();
    for turn in 0..20 {
        let got = layers[turn % 2].call(accepting("gzip, br, zstd"));
        let got = got.try_ready().ok().expect("a hit never waits").unwrap();
        assert_eq!(tag(&got), Some("\"a~br\""));
        assert!(!got.headers().contains_key(ACCEPT_RANGES));
        let sent = got.body().as_whole().unwrap();
        assert_eq!(sent.as_ptr(), copy.as_ptr(), "shared, not copied");
    }
    assert_eq!((house.coded(), house.replies()), (coded, replies));
    let head = request(Method::HEAD, &[("accept-encoding", "br")]);
    let head = layers[0].call(head).await.unwrap();
    assert_eq!(head.headers()[CONTENT_LENGTH], copy.len().to_string());
    // Another coding is another copy; a copy at hand is taken while a better one is missing.
    let got = layers[0].call(accepting("gzip")).await.unwrap();
    assert_eq!(coding_of(&got), Some(Coding::Gzip));
    house.copies_made().await;
    assert_eq!(house.copies(), 2);
    // What is stored was never touched.
    assert_eq!(kept.fields.get(ETAG).unwrap(), "\"a\"");
    assert!(!kept.fields.contains_key(VARY));
}

#[tokio::test]
async fn hits_vary_as_the_miss_before_them_did() {
    const OWN: [(&str, &str); 1] = [("vary", "origin")];
    type Lines = &'static [(&'static str, &'static str)];
    let cases: [(u16, &'static str, Lines, &str); 5] = [
        (200, "text/css", &[], "accept-encoding"),
        (404, "text/html", &[], "accept-encoding"),
        (200, "text/css", &OWN, "origin, accept-encoding"),
        (200, "image/png", &[], ""),
        // It has no content that could be coded, whatever type it states.
        (204, "text/css", &[], ""),
    ];
    for (status, media_type, more, expected) in cases {
        let house = House::new();
        let leaf = tower::service_fn(move |_: Request| {
            let fields = [
                ("cache-control", "max-age=60"),
                ("content-type", media_type),
            ];
            let mut response = response(&[&fields[..], more].concat(), Body::empty());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            ResponseFuture::ready(Ok(response))
        });
        let cache = CacheLayer::new(Arc::default(), house.cache.clone());
        let cache = cache.where_vary_is_settled(settles_vary(&house.settings));
        let coding = ContentCodingLayer::new(house.settings, house.cache.clone(), &house.metrics);
        let mut stack = coding.layer(cache.layer(leaf));
        for time in 0..5 {
            let mut request = request(Method::GET, &[("host", "a.test")]);
            let (now, id) = (house.cache.clock().now(), RequestId::Made([0, 1]));
            let facts = RequestFacts::new(now, id, Peer::Unix, Scheme::Http);
            request.extensions_mut().insert(facts);
            let mut got = stack.call(request).await.unwrap();
            let lines: Vec<_> = got.headers().get_all(VARY).iter().collect();
            let said: Vec<_> = lines.iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(said.join(" | "), expected, "{status} {media_type}, {time}");
            let outcome = of_response(&mut got).cache.unwrap().outcome;
            let is_hit = outcome == CacheOutcome::Hit;
            assert_eq!(is_hit, time > 0, "{status} {media_type}, {time}");
        }
    }
}

#[tokio::test]
async fn with_the_real_neighbours_a_page_is_fetched_and_copied_once() {
    let house = House::new();
    let asked_upstream = Arc::new(AtomicUsize::new(0));
    let count = asked_upstream.clone();
    let leaf = tower::service_fn(move |request: Request| {
        count.fetch_add(1, Ordering::Relaxed);
        assert_eq!(request.headers()[ACCEPT_ENCODING], "identity");
        let fields = [("cache-control", "max-age=60"), ("etag", "\"a\"")];
        ResponseFuture::ready(Ok(response(&fields, text(5000))))
    });
    let cache = CacheLayer::new(Arc::default(), house.cache.clone());
    let coding = ContentCodingLayer::new(house.settings, house.cache.clone(), &house.metrics);
    let conditional = ConditionalLayer::new(Default::default());
    let mut stack = conditional.layer(coding.layer(cache.layer(leaf)));
    let ask = |fields: &[(&'static str, &str)]| {
        let mut request = request(Method::GET, fields);
        let (now, id) = (house.cache.clock().now(), RequestId::Made([0, 1]));
        let facts = RequestFacts::new(now, id, Peer::Unix, Scheme::Http);
        request.extensions_mut().insert(facts);
        let host = HeaderValue::from_static("a.test");
        request.headers_mut().insert("host", host);
        request
    };
    // A miss, a hit that starts the copy, and hits that use it; clients that decode nothing between.
    for (accepted, expected) in [
        ("br", Some("\"a~br\"")),
        ("br, gzip", Some("\"a~br\"")),
        ("br, zstd, gzip", Some("\"a~br\"")),
        ("identity", Some("\"a\"")),
        ("zstd", Some("\"a~zstd\"")),
    ] {
        let got = stack.call(ask(&[("accept-encoding", accepted)])).await;
        let got = got.unwrap();
        assert_eq!(tag(&got), expected, "{accepted}");
        assert_eq!(content_of(got).await.unwrap(), text(5000));
        house.copies_made().await;
    }
    assert_eq!(asked_upstream.load(Ordering::Relaxed), 1);
    assert_eq!(house.metrics.total(Event::BrotliCopy), 1);
    // Whatever form the client has, it is confirmed.
    for known in ["\"a\"", "\"a~br\"", "\"a~gzip\"", "W/\"a\""] {
        let fields = [("accept-encoding", "br"), ("if-none-match", known)];
        let got = stack.call(ask(&fields)).await.unwrap();
        assert_eq!(got.status(), StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(tag(&got), Some("\"a~br\""));
        assert_eq!(got.headers()[VARY], "accept-encoding");
    }
    // A part is one of identity content, and of no coded tag.
    for (if_range, status) in [("\"a\"", 206), ("\"a~br\"", 200)] {
        let fields = [
            ("accept-encoding", "br"),
            ("range", "bytes=0-9"),
            ("if-range", if_range),
        ];
        let got = stack.call(ask(&fields)).await.unwrap();
        assert_eq!((got.status().as_u16(), coding_of(&got)), (status, None));
    }
}

#[tokio::test]
async fn a_miss_makes_no_copy() {
    let house = House::new();
    let stored = stored(&[], &[text(5000)]);
    house.keep(&stored);
    let mut layer = house.over(move |_| replay_as(CacheOutcome::Fwd(Fwd::UriMiss), &stored));
    for _ in 0..2 {
        let got = layer.call(accepting("br")).await.unwrap();
        assert_eq!(coding_of(&got), Some(Coding::Br));
        house.copies_made().await;
    }
    assert_eq!(house.copies(), 0);
}

#[tokio::test]
async fn weights_decide_before_what_is_at_hand() {
    let house = House::new();
    let stored = stored(&[], &[text(5000)]);
    house.keep(&stored);
    let mut layer = house.over(move |_| replay(&stored));
    layer.call(accepting("br")).await.unwrap();
    house.copies_made().await;
    for (accepted, expected) in [
        ("br, gzip", Some(Coding::Br)),
        ("br;q=0.5, gzip", Some(Coding::Gzip)),
        ("br;q=0.5, identity", None),
        ("deflate", None),
    ] {
        let got = layer.call(accepting(accepted)).await.unwrap();
        assert_eq!(coding_of(&got), expected, "{accepted}");
        assert_eq!(content_of(got).await.unwrap(), text(5000));
    }
}

#[tokio::test]
async fn content_that_a_304_will_replace_is_not_coded() {
    let house = House::new();
    let mut layer = house.over(|_| response(&[("etag", "\"a\"")], text(5000)));
    let fields = [("accept-encoding", "br"), ("if-none-match", "\"a~br\"")];
    layer.call(request(Method::GET, &fields)).await.unwrap();
    assert_eq!((house.coded(), house.replies()), (0, 0));
    let got = layer.call(request(Method::GET, &fields)).await.unwrap();
    assert_eq!(tag(&got), Some("\"a~br\""));
    // Should it be read all the same, it is what its head says.
    assert_eq!(content_of(got).await.unwrap(), text(5000));
    let fields = [("accept-encoding", "br"), ("if-none-match", "\"b~br\"")];
    layer.call(request(Method::GET, &fields)).await.unwrap();
    assert!(house.coded() >= 5000);
}

#[tokio::test]
async fn pain_3_a_pause_of_the_source_is_never_waited_for() {
    for coding in EVERY {
        let script = Script::default();
        let source = script.clone();
        let mut house = House::new();
        house.settings.streams = Streams::Flush;
        let mut layer =
            house.over(move |_| response(&[("content-type", "text/event-stream")], source.body()));
        let answer = layer.call(accepting(coding.name())).try_ready();
        let got = answer.ok().expect("the head waits for nothing").unwrap();
        assert_eq!(coding_of(&got), Some(coding));
        let mut body = got.into_body();
        let mut receiver = Receiver::new(coding);
        assert!(body.frame().now_or_never().is_none());
        for event in ["data: 1\n\n", "data: 2\n\n", "", "data: three\n\n"] {
            script.data(event);
            while let Some(frame) = body.frame().now_or_never() {
                receiver.takes(&frame.unwrap().unwrap().into_data().unwrap());
            }
            assert_eq!(receiver.seen(), event, "{coding:?}");
        }
        script.then(None);
        while let Some(frame) = body.frame().await {
            receiver.takes(&frame.unwrap().into_data().unwrap());
        }
        assert!(body.is_end_stream());
    }
}

/// A client that decodes what it has so far.
struct Receiver {
    decoder: Box<dyn Write>,
    seen: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Receiver {
    fn new(coding: Coding) -> Self {
        let seen = Arc::default();
        let sink = Shared(Arc::clone(&seen));
        let decoder: Box<dyn Write> = match coding {
            Coding::Br => Box::new(brotli::DecompressorWriter::new(sink, 4096)),
            Coding::Zstd => Box::new(zstd::stream::write::Decoder::new(sink).unwrap()),
            Coding::Gzip => Box::new(flate2::write::GzDecoder::new(sink)),
        };
        Self { decoder, seen }
    }

    fn takes(&mut self, coded: &[u8]) {
        self.decoder.write_all(coded).unwrap();
        self.decoder.flush().unwrap();
    }

    fn seen(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.seen.lock().unwrap())).unwrap()
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_never_looks_complete() {
    for coding in EVERY {
        for length in [0, 10, 100 << 10] {
            let script = Script::default();
            script.data(text(length));
            let error = Error::upstream(ErrorKind::HttpResponseIncomplete);
            script.then(Some(Err(error)));
            script.then(None);
            let body = script.body();
            let mut body = Some(body);
            let mut layer = House::new().over(move |_| response(&[], body.take().unwrap()));
            let got = layer.call(accepting(coding.name())).await.unwrap();
            assert_eq!(coding_of(&got), Some(coding));
            let error = content_of(got).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HttpResponseIncomplete);
        }
    }
}

#[tokio::test]
async fn trailers_come_through_without_digests_of_other_bytes() {
    let script = Script::default();
    script.data(text(3000));
    let trailers = HeaderMap::from_iter(
        [("x-checked", "yes"), ("repr-digest", "sha-256=:x:")]
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))),
    );
    script.then(Some(Ok(Frame::trailers(trailers))));
    script.then(None);
    let mut body = Some(script.body());
    let mut layer = House::new().over(move |_| response(&[], body.take().unwrap()));
    let got = layer.call(accepting("br")).await.unwrap();
    let collected = got.into_body().collect().await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers["x-checked"], "yes");
    assert_eq!(trailers.len(), 1);
    assert_eq!(
        unchanged(Some(Coding::Br), &collected.to_bytes()),
        text(3000)
    );
}

#[test]
fn a_long_body_takes_turns() {
    for coding in EVERY {
        let body = in_chunks([Bytes::from(vec![b'x'; 1 << 20])]);
        let coder = House::new();
        let layer = ContentCodingLayer::new(coder.settings, coder.cache.clone(), &coder.metrics);
        let mut body = layer.coder.streamed(coding, body, seat());
        let mut polls = 0;
        while !body.is_end_stream() {
            let frame = body.frame().now_or_never();
            polls += 1;
            assert!(frame.is_none_or(|frame| frame.is_none_or(|frame| frame.is_ok())));
        }
        assert!(
            polls >= (1 << 20) / encode::turn(coding),
            "{coding:?} {polls}"
        );
    }
}

#[tokio::test]
async fn pain_24_as_many_streams_are_coded_at_once_as_there_is_memory_for() {
    let house = House::new();
    let mut layer = house.over(|_| response(&[], Script::default().body()));
    let mut answers = Vec::new();
    loop {
        let got = layer.call(accepting("br")).await.unwrap();
        if coding_of(&got).is_none() {
            break;
        }
        assert!(answers.len() < 10_000, "there must be an end");
        answers.push(got);
    }
    // What cannot be sent as it is, is refused.
    let mut coded =
        house.over(|_| response(&[("content-encoding", "br")], Script::default().body()));
    assert!(coded.call(accepting("gzip")).await.is_err());
    assert!(coded.call(accepting("br")).await.is_ok());
    answers.pop();
    assert!(coded.call(accepting("gzip")).await.is_ok());
}

#[tokio::test]
async fn streams_by_their_own_word_are_left_alone() {
    let mut layer = House::new().over(|_| {
        response(
            &[("content-type", "text/event-stream")],
            Script::default().body(),
        )
    });
    let got = layer.call(accepting("br")).await.unwrap();
    assert_eq!(coding_of(&got), None);
    assert!(!got.headers().contains_key(VARY));
}

#[tokio::test]
async fn what_the_upstream_coded_reaches_everybody_readable() {
    let content = text(100 << 10);
    for coding in EVERY {
        let coded = encode::whole(slice::from_ref(&content), coding, Effort::Quick).unwrap();
        for accepted in ["", "gzip", "br", "zstd", "gzip, br, zstd"] {
            let coded = coded.clone();
            let mut layer = House::new().over(move |request| {
                let mut answer = response(&[("etag", "\"a\"")], Body::empty());
                let fields = answer.headers_mut();
                fields.insert(CONTENT_ENCODING, coding.value());
                fields.insert(CONTENT_LENGTH, coded.len().into());
                if request.method() == Method::GET {
                    *answer.body_mut() = in_chunks(coded.chunks(777).map(Bytes::copy_from_slice));
                }
                answer
            });
            let got = layer.call(accepting(accepted)).await.unwrap();
            let passed = accepted.contains(coding.name());
            assert_eq!(
                coding_of(&got),
                passed.then_some(coding),
                "never coded again"
            );
            assert_eq!(tag(&got), Some(if passed { "\"a\"" } else { "W/\"a\"" }));
            assert_eq!(got.headers()[VARY], "accept-encoding");
            let fields = got.headers().clone();
            assert_eq!(
                content_of(got).await.unwrap(),
                content,
                "{coding:?} {accepted}"
            );
            let head = request(Method::HEAD, &[("accept-encoding", accepted)]);
            let head = layer.call(head).await.unwrap();
            assert_eq!(*head.headers(), fields);
        }
    }
}

async fn decoded_by_us(coding: Coding, coded: impl Into<Bytes>) -> Result<Bytes> {
    let body = in_chunks([coded.into()]);
    Ok(decoded(coding, body, seat()).collect().await?.to_bytes())
}

#[tokio::test]
async fn coded_content_that_ends_early_or_is_something_else_fails() {
    use crate::ErrorKind::{HttpProtocolError, HttpResponseIncomplete};
    let content = text(50 << 10);
    for coding in EVERY {
        let coded = encode::whole(slice::from_ref(&content), coding, Effort::Quick).unwrap();
        for cut in [1, coded.len() / 2, coded.len() - 1] {
            let error = decoded_by_us(coding, coded.slice(..cut)).await.unwrap_err();
            assert_eq!(error.kind(), HttpResponseIncomplete, "{coding:?} {cut}");
        }
        let other = vec![0xff; 1000];
        let error = decoded_by_us(coding, other).await.unwrap_err();
        assert_eq!(error.kind(), HttpProtocolError, "{coding:?}");
        assert_eq!(decoded_by_us(coding, Bytes::new()).await.unwrap(), "");
    }
}

#[tokio::test]
async fn coded_content_may_have_several_members() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let member = |content| encode::whole(&[content], coding, Effort::Quick).unwrap();
        let coded = [member(text(2000)), member(text(3000))].concat();
        for chunk in [1, 100, coded.len()] {
            let body = in_chunks(coded.chunks(chunk).map(Bytes::copy_from_slice));
            let content = decoded(coding, body, seat())
                .collect()
                .await
                .unwrap()
                .to_bytes();
            assert_eq!(content, [text(2000), text(3000)].concat());
        }
    }
}

#[tokio::test]
async fn a_decompression_bomb_goes_off_early() {
    let zeros = Bytes::from(vec![0; 64 << 20]);
    for coding in EVERY {
        let bomb = encode::whole(slice::from_ref(&zeros), coding, Effort::Quick).unwrap();
        let mut body = decoded(coding, in_chunks([bomb]), seat());
        let mut received = 0;
        let error = loop {
            match body.frame().await.expect("an error comes before the end") {
                Ok(frame) => received += frame.data_ref().unwrap().len(),
                Err(error) => break error,
            }
        };
        assert!(received <= 33 << 20, "{coding:?} {received}");
        assert_eq!(error.kind(), ErrorKind::HttpProtocolError);
    }
}

#[tokio::test]
async fn answers_to_credentials_get_padding_or_no_coding() {
    let house = House::new();
    let mut layer = house.over(|_| response(&[], text(5000)));
    let asked = |site| {
        let fields = [
            ("accept-encoding", "br"),
            ("cookie", "a=b"),
            ("sec-fetch-site", site),
        ];
        request(Method::GET, &fields)
    };
    let same = layer.call(asked("same-origin")).await.unwrap();
    assert_eq!(coding_of(&same), Some(Coding::Br));
    assert!(same.headers().contains_key(guard::X_PAD));
    let cross = layer.call(asked("cross-site")).await.unwrap();
    assert_eq!(coding_of(&cross), None);
    assert!(!cross.headers().contains_key(guard::X_PAD));
    assert_eq!(cross.headers()[VARY], "accept-encoding");
    assert_eq!(house.metrics.total(Event::BreachGuarded), 1);
}

#[tokio::test]
async fn switched_off_it_changes_nothing_but_markers() {
    let mut house = House::new();
    house.settings.enabled = false;
    let mut layer = house.over(|request| {
        assert_eq!(request.headers()[IF_NONE_MATCH], "\"a\"");
        response(&[("content-encoding", "br")], text(5000))
    });
    let fields = [("accept-encoding", "gzip"), ("if-none-match", "\"a~br\"")];
    let got = layer.call(request(Method::GET, &fields)).await.unwrap();
    assert_eq!(got.headers().len(), 2);
    assert_eq!(got.headers()[CONTENT_ENCODING], "br");
}

#[tokio::test]
async fn an_answer_that_comes_later_is_coded_too() {
    let house = House::new();
    let waiting = |_| {
        ResponseFuture::boxed(async {
            tokio::task::yield_now().await;
            Ok(response(&[], text(5000)))
        })
    };
    let layer = ContentCodingLayer::new(house.settings, house.cache.clone(), &house.metrics);
    let mut layer = layer.layer(tower::service_fn(waiting));
    let got = layer.call(accepting("br")).await.unwrap();
    assert_eq!(coding_of(&got), Some(Coding::Br));
}

#[tokio::test(start_paused = true)]
async fn short_content_in_sight_is_coded_whole_but_waited_for_briefly_only() {
    let answer_to = |script: &Script| {
        let mut body = Some(Body::stream(Declared(script.body(), 3000)));
        let mut layer = House::new().over(move |_| response(&[], body.take().unwrap()));
        layer.call(accepting("br"))
    };
    let script = Script::default();
    script.data(text(3000));
    script.then(None);
    let got = answer_to(&script).await.unwrap();
    assert!(got.headers().contains_key(CONTENT_LENGTH));
    assert_eq!(content_of(got).await.unwrap(), text(3000));

    let script = Script::default();
    script.data(text(3000).slice(..1000));
    let before = tokio::time::Instant::now();
    let got = answer_to(&script).await.unwrap();
    assert!(before.elapsed() <= Duration::from_millis(6));
    assert!(!got.headers().contains_key(CONTENT_LENGTH));
    script.data(text(3000).slice(1000..));
    script.then(None);
    assert_eq!(content_of(got).await.unwrap(), text(3000));
}

/// A stream of known length.
struct Declared(Body, u64);

impl HttpBody for Declared {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn streams_come_back_as_they_were_however_they_are_cut(
        content in prop::collection::vec(any::<u8>(), 0..40_000),
        repeats in 1..4_usize,
        cuts in prop::collection::vec((1..9_000_usize, any::<bool>()), 1..20),
        declared: bool,
    ) {
        let content = content.repeat(repeats);
        for coding in EVERY {
            let house = House::new();
            let layer = ContentCodingLayer::new(house.settings, house.cache.clone(), &house.metrics);
            let mut source = cut(&content, &cuts);
            if declared {
                source = Body::stream(Declared(source, content.len() as u64));
            }
            let coded = all(layer.coder.streamed(coding, source, seat()));
            prop_assert_eq!(&unchanged(Some(coding), &coded), &content);
            // Our own decoder agrees with the real ones.
            let back = all(decoded(coding, cut(&coded, &cuts), seat()));
            prop_assert_eq!(&back, &content);
        }
    }
}

proptest! {
    // The best of efforts takes its time, the more so without optimisation.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn whole_content_comes_back_as_it_was(
        content in prop::collection::vec(0..4_u8, 200..20_000),
        at in 0..200_usize,
    ) {
        let content = Bytes::from(content);
        let segments = [content.slice(..at), content.slice(at..)];
        for coding in EVERY {
            for effort in [Effort::Quick, Effort::Best] {
                let coded = encode::whole(&segments, coding, effort).unwrap();
                prop_assert!(coded.len() < content.len());
                prop_assert_eq!(&unchanged(Some(coding), &coded), &content);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_coded_bytes_panic_a_decoder(coded: Vec<u8>, cuts in prop::collection::vec((1..50_usize, any::<bool>()), 1..9)) {
        for coding in EVERY {
            let mut body = decoded(coding, cut(&coded, &cuts), seat());
            for _ in 0..10_000 {
                if body.is_end_stream() { break }
                drop(body.frame().now_or_never());
            }
        }
    }
}

/// `content` in pieces of these sizes, over and over; with pauses.
fn cut(content: &[u8], cuts: &[(usize, bool)]) -> Body {
    struct Pausing(Body, VecDeque<bool>);
    impl HttpBody for Pausing {
        type Data = Bytes;
        type Error = Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>>>> {
            if self.1.pop_front().unwrap_or(false) {
                return Poll::Pending;
            }
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }
    let (mut rest, mut pieces, mut pauses) = (content, Vec::new(), VecDeque::new());
    for (length, pause) in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        pauses.push_back(*pause);
        rest = after;
    }
    Body::stream(Pausing(in_chunks(pieces), pauses))
}

/// Polls until the end, whatever pauses.
fn all(mut body: Body) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        match body.frame().now_or_never() {
            None => {}
            Some(None) => return all,
            Some(Some(frame)) => all.extend_from_slice(&frame.unwrap().into_data().unwrap()),
        }
    }
}
