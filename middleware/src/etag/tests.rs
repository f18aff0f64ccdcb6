use futures_util::stream;
use http::HeaderName;
use http::header::{CONTENT_TYPE, IF_NONE_MATCH};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::service_fn;

use super::usefulness::{REST, WINDOW};
use super::*;
use crate::ErrorKind;

/// The layer over an upstream that answers every request so.
fn before(answer: impl Fn() -> Response + Clone + Send + 'static) -> impl Inner {
    with(EtagSettings::default(), answer)
}

fn with(
    settings: EtagSettings,
    answer: impl Fn() -> Response + Clone + Send + 'static,
) -> impl Inner {
    let upstream = service_fn(move |_: Request| {
        let response = answer();
        ResponseFuture::boxed(async { Ok(response) })
    });
    EtagLayer::new(settings, &Metrics::new()).layer(upstream)
}

async fn get(service: &mut impl Inner, fields: &[(HeaderName, &str)]) -> Response {
    send(service, Method::GET, fields).await
}

async fn send(service: &mut impl Inner, method: Method, fields: &[(HeaderName, &str)]) -> Response {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().append(name, value);
    }
    service.call(request).await.expect("an answer")
}

fn tag(response: &Response) -> Option<&str> {
    let tag = response.headers().get(ETAG)?;
    Some(tag.to_str().expect("ASCII"))
}

async fn content(response: Response) -> Vec<u8> {
    let collected = response.into_body().collect().await.expect("content");
    collected.to_bytes().to_vec()
}

fn page(name: HeaderName, value: &'static str) -> Response {
    let mut response = Response::new(Body::from("page"));
    let value = HeaderValue::from_static(value);
    response.headers_mut().insert(name, value);
    response
}

/// A body in chunks, each after a wait in milliseconds.
fn slow(chunks: &'static [(u64, &'static str)]) -> Body {
    let frames = stream::unfold(chunks.iter(), |mut chunks| async {
        let (wait, text) = chunks.next()?;
        if *wait > 0 {
            tokio::time::sleep(Duration::from_millis(*wait)).await;
        }
        let frame = Frame::data(text.as_bytes().into());
        Some((Ok::<_, Error>(frame), chunks))
    });
    Body::stream(StreamBody::new(Box::pin(frames)))
}

#[tokio::test]
async fn content_without_a_tag_gets_a_weak_one_of_its_bytes() {
    let mut service = before(|| Response::new(slow(&[(0, "pa"), (0, "ge")])));
    let streamed = get(&mut service, &[]).await;
    let mut service = before(|| Response::new(Body::from("page")));
    let whole = get(&mut service, &[]).await;
    let mut service = before(|| Response::new(Body::from("pag\u{e9}")));
    let other = get(&mut service, &[]).await;
    assert!(tag(&whole).is_some_and(|tag| tag.starts_with("W/\"~") && tag.len() == 37));
    assert_eq!(tag(&whole), tag(&streamed));
    assert_ne!(tag(&whole), tag(&other));
    assert_eq!(content(streamed).await, b"page");
}

#[tokio::test]
async fn strength_is_a_setting() {
    let settings = EtagSettings {
        strength: Strength::Strong,
        ..EtagSettings::default()
    };
    let mut service = with(settings, || Response::new(Body::from("page")));
    let answer = get(&mut service, &[]).await;
    assert!(tag(&answer).is_some_and(|tag| tag.starts_with("\"~") && tag.len() == 35));
}

#[tokio::test]
async fn only_a_200_to_a_get_is_tagged() {
    let mut service = before(|| Response::new(Body::from("page")));
    for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
        let answer = send(&mut service, method.clone(), &[]).await;
        assert_eq!(tag(&answer), None, "{method}");
    }
    for status in [201, 204, 206, 301, 304, 404, 500] {
        let mut service = before(move || {
            let answer = Response::new(Body::from("page"));
            let (mut head, body) = answer.into_parts();
            head.status = StatusCode::from_u16(status).expect("a status");
            Response::from_parts(head, body)
        });
        assert_eq!(tag(&get(&mut service, &[]).await), None, "{status}");
    }
}

#[tokio::test]
async fn what_has_a_tag_or_must_not_be_read_passes() {
    for (name, value, kept) in [
        (ETAG, "\"theirs\"", Some("\"theirs\"")),
        (ETAG, "", Some("")),
        (CACHE_CONTROL, "no-store", None),
        (CACHE_CONTROL, "private, NO-STORE", None),
        (TRAILER, "x-checksum", None),
        (CONTENT_TYPE, "text/event-stream", None),
        (CONTENT_TYPE, "application/grpc+proto", None),
        (HeaderName::from_static("x-accel-buffering"), "no", None),
    ] {
        let mut service = before({
            let name = name.clone();
            move || page(name.clone(), value)
        });
        let answer = get(&mut service, &[]).await;
        assert_eq!(tag(&answer), kept, "{name}: {value}");
        assert_eq!(content(answer).await, b"page");
    }
    let disabled = EtagSettings {
        enabled: false,
        ..EtagSettings::default()
    };
    let mut service = with(disabled, || Response::new(Body::from("page")));
    assert_eq!(tag(&get(&mut service, &[]).await), None);
}

#[tokio::test]
async fn long_bodies_pass_untagged_and_whole() {
    let settings = EtagSettings {
        max_body: 4,
        ..EtagSettings::default()
    };
    for (body, tagged) in [("page", true), ("pages", false)] {
        let mut service = with(settings, move || Response::new(Body::from(body)));
        let answer = get(&mut service, &[]).await;
        assert_eq!(tag(&answer).is_some(), tagged);
        assert_eq!(content(answer).await, body.as_bytes());
    }
    let mut service = with(settings, || Response::new(slow(&[(0, "pag"), (0, "es")])));
    let answer = get(&mut service, &[]).await;
    assert_eq!(tag(&answer), None);
    assert_eq!(content(answer).await, b"pages");
}

#[tokio::test]
async fn trailers_are_not_lost() {
    let mut service = before(|| {
        let trailers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("x"))]);
        let frames = [
            Ok::<_, Error>(Frame::data("page".into())),
            Ok(Frame::trailers(trailers)),
        ];
        Response::new(Body::stream(StreamBody::new(stream::iter(frames))))
    });
    let answer = get(&mut service, &[]).await;
    assert_eq!(tag(&answer), None);
    let collected = answer.into_body().collect().await.expect("content");
    assert!(collected.trailers().is_some());
}

#[tokio::test]
async fn a_failure_passes() {
    let upstream = service_fn(|_: Request| {
        ResponseFuture::ready(Err(Error::upstream(ErrorKind::ConnectionRefused)))
    });
    let mut service = EtagLayer::new(EtagSettings::default(), &Metrics::new()).layer(upstream);
    let failure = service.call(Request::new(Body::empty())).await.err();
    assert_eq!(
        failure.map(|error| error.kind()),
        Some(ErrorKind::ConnectionRefused)
    );
}

#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_is_let_go_untagged() {
    for chunks in [
        &[(1000, "page")][..],
        &[(0, "pa"), (6, "ge")],
        &[(3, "pa"), (3, "ge")],
    ] {
        let started = tokio::time::Instant::now();
        let mut service = before(move || Response::new(slow(chunks)));
        let answer = get(&mut service, &[]).await;
        assert_eq!(
            started.elapsed(),
            Duration::from_millis(5),
            "the head is held no longer"
        );
        assert_eq!(tag(&answer), None);
        assert_eq!(content(answer).await, b"page");
    }
    let mut service = before(|| Response::new(slow(&[(4, "page")])));
    assert!(tag(&get(&mut service, &[]).await).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_declared_length_lets_the_body_take_its_time_but_not_pause() {
    for (chunks, tagged) in [
        (&[(4, "p"), (4, "a"), (4, "g"), (4, "e")][..], true),
        (&[(4, "pa"), (6, "ge")], false),
    ] {
        let mut service = before(move || {
            let mut response = Response::new(slow(chunks));
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("4"));
            response
        });
        let answer = get(&mut service, &[]).await;
        assert_eq!(tag(&answer).is_some(), tagged, "{chunks:?}");
        assert_eq!(content(answer).await, b"page");
    }
}

#[tokio::test]
async fn a_long_body_has_the_tag_of_all_its_bytes() {
    let content: Vec<u8> = (0..3 * SLICE + 7).map(|at| (at % 251) as u8).collect();
    let whole = blake3::hash(&content);
    assert_eq!(hash(&content).await.to_be_bytes(), whole.as_bytes()[..16]);
}

#[tokio::test]
async fn a_route_whose_tags_never_match_stops_tagging_for_a_while() {
    let mut service = before(|| Response::new(Body::from("page")));
    for _ in 0..WINDOW {
        assert!(tag(&get(&mut service, &[]).await).is_some());
    }
    for _ in 0..REST {
        assert_eq!(tag(&get(&mut service, &[]).await), None);
    }
    assert!(tag(&get(&mut service, &[]).await).is_some(), "tried anew");
}

#[tokio::test]
async fn a_route_whose_tags_match_goes_on_tagging() {
    let mut service = before(|| Response::new(Body::from("page")));
    let ours = tag(&get(&mut service, &[]).await)
        .expect("a tag")
        .to_owned();
    for round in 0..2 * WINDOW {
        let fields = [(IF_NONE_MATCH, ours.as_str())];
        let fields = if round % 50 == 0 { &fields[..] } else { &[] };
        assert!(tag(&get(&mut service, fields).await).is_some());
    }
}

#[tokio::test]
async fn what_caches_may_reuse_is_no_sample() {
    for (value, counted) in [
        ("max-age=60", false),
        ("public, s-maxage=60", false),
        ("max-age=0", true),
        ("private, max-age=60", true),
        ("no-cache", true),
    ] {
        let mut service = before(move || page(CACHE_CONTROL, value));
        for _ in 0..WINDOW {
            get(&mut service, &[]).await;
        }
        assert_eq!(
            tag(&get(&mut service, &[]).await).is_none(),
            counted,
            "{value}"
        );
    }
}

#[test]
fn a_tag_of_ours_makes_way_for_a_date_that_the_app_knows() {
    const OURS: &str = "W/\"~00112233445566778899aabbccddeeff\"";
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let both = format!("{OURS}, \"theirs\"");
    for (tags, date, kept) in [
        (OURS, Some(DATE), false),
        (OURS, None, true),
        (&*both, Some(DATE), true),
        ("\"theirs\"", Some(DATE), true),
        ("*", Some(DATE), true),
        ("", Some(DATE), true),
    ] {
        let mut fields = HeaderMap::new();
        fields.insert(IF_NONE_MATCH, HeaderValue::from_str(tags).expect("a value"));
        if let Some(date) = date {
            fields.insert(IF_MODIFIED_SINCE, HeaderValue::from_static(date));
        }
        make_way_for_date(&mut fields);
        assert_eq!(fields.contains_key(IF_NONE_MATCH), kept, "{tags} {date:?}");
    }
}

#[tokio::test]
async fn made_tags_are_counted() {
    let metrics = Metrics::new();
    let upstream = service_fn(|_| ResponseFuture::ready(Ok(Response::new(Body::from("content")))));
    let mut service = EtagLayer::new(EtagSettings::default(), &metrics).layer(upstream);
    get(&mut service, &[]).await;
    get(&mut service, &[]).await;
    assert_eq!(metrics.total(Event::EtagMade), 2);
}
