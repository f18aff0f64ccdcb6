use bytes::Bytes;
use futures_util::stream;
use http::Method;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::service_fn;

use super::*;
use crate::facts::{self, ResponseFacts};

const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The layer over an upstream that answers every request so, at once.
fn before(answer: impl Fn() -> Response + Clone + Send + 'static) -> impl Inner {
    let upstream = service_fn(move |_: Request| ResponseFuture::ready(Ok(answer())));
    ConditionalLayer::new(ConditionalSettings::default()).layer(upstream)
}

/// A stored page, as hits replay it.
fn stored() -> Response {
    let segments: Vec<Bytes> = vec!["012".into(), "345".into(), "6789".into()];
    page(Body::segments(segments.into()))
}

/// A page that comes in pieces.
fn streamed() -> Response {
    let frames = ["012", "345", "6789"].map(|text| Ok::<_, Error>(Frame::data(text.into())));
    page(Body::stream(StreamBody::new(stream::iter(frames))))
}

fn page(body: Body) -> Response {
    let fields = [
        ("date", "Sun, 06 Nov 1994 09:00:00 GMT"),
        ("etag", "\"a\""),
        ("last-modified", MODIFIED),
        ("cache-control", "max-age=60"),
        ("expires", "Sun, 06 Nov 1994 09:01:00 GMT"),
        ("vary", "accept-encoding"),
        ("content-location", "/page"),
        ("age", "7"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("access-control-allow-origin", "*"),
        ("cache-status", "Pillion; hit"),
        ("content-type", "text/plain"),
        ("content-length", "10"),
        ("content-language", "en"),
        ("content-digest", "sha-256=:AAAA:"),
        ("accept-ranges", "bytes"),
    ];
    let mut response = Response::new(body);
    for (name, value) in fields {
        let value = HeaderValue::from_static(value);
        response.headers_mut().append(name, value);
    }
    response
}

fn ask(method: Method, fields: &[(&'static str, &str)]) -> Request {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).expect("a value");
        request.headers_mut().append(*name, value);
    }
    request
}

async fn get(service: &mut impl Inner, fields: &[(&'static str, &str)]) -> Response {
    let answer = service.call(ask(Method::GET, fields));
    answer.await.expect("an answer")
}

fn field<'a>(response: &'a Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.map_or("", |value| value.to_str().expect("ASCII"))
}

async fn text(response: Response) -> String {
    let collected = response.into_body().collect().await.expect("content");
    String::from_utf8(collected.to_bytes().to_vec()).expect("text")
}

#[tokio::test]
async fn a_304_carries_what_the_200_would_have_and_nothing_of_the_content() {
    let mut service = before(stored);
    for method in [Method::GET, Method::HEAD] {
        let request = ask(method, &[("if-none-match", "\"x\", W/\"a\"")]);
        let answer = service.call(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
        for (name, value) in [
            ("etag", "\"a\""),
            ("date", "Sun, 06 Nov 1994 09:00:00 GMT"),
            ("vary", "accept-encoding"),
            ("cache-control", "max-age=60"),
            ("expires", "Sun, 06 Nov 1994 09:01:00 GMT"),
            ("content-location", "/page"),
            ("age", "7"),
            ("access-control-allow-origin", "*"),
            ("cache-status", "Pillion; hit"),
        ] {
            assert_eq!(field(&answer, name), value, "{name}");
        }
        assert_eq!(answer.headers().get_all("set-cookie").iter().count(), 2);
        for name in OF_CONTENT {
            assert!(!answer.headers().contains_key(&name), "{name}");
        }
        assert_eq!(answer.body().size_hint().exact(), Some(0));
    }
}

#[tokio::test]
async fn a_304_by_date_keeps_the_date_if_there_is_no_tag() {
    let mut service = before(|| {
        let mut response = stored();
        response.headers_mut().remove(ETAG);
        response
    });
    let answer = get(&mut service, &[("if-modified-since", MODIFIED)]).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(field(&answer, "last-modified"), MODIFIED);
}

#[tokio::test]
async fn the_tag_of_a_304_is_the_one_that_this_client_s_200_has() {
    let mut service = before(|| {
        let mut response = stored();
        response
            .headers_mut()
            .insert(ETAG, HeaderValue::from_static("\"a~br\""));
        response
            .headers_mut()
            .insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        response
    });
    for theirs in ["\"a\"", "\"a~gzip\"", "W/\"a~br\"", "\"a~br\""] {
        let answer = get(&mut service, &[("if-none-match", theirs)]).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{theirs}");
        assert_eq!(field(&answer, "etag"), "\"a~br\"");
        assert_eq!(field(&answer, "content-encoding"), "");
    }
}

#[tokio::test]
async fn other_statuses_and_methods_pass_untouched() {
    for status in [204, 206, 304, 404, 412, 416, 500] {
        let mut service = before(move || {
            let mut response = stored();
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            response
        });
        let fields = [("if-none-match", "*"), ("range", "bytes=0-1")];
        let answer = get(&mut service, &fields).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers(), stored().headers());
        assert_eq!(text(answer).await, "0123456789");
    }
    let mut service = before(stored);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let request = ask(method, &[("if-none-match", "*"), ("range", "bytes=0-1")]);
        let answer = service.call(request).await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn if_match_and_if_unmodified_since_are_not_judged_here() {
    let mut service = before(stored);
    let fields = [
        ("if-match", "\"x\""),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT"),
    ];
    assert_eq!(get(&mut service, &fields).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_route_may_leave_all_to_the_upstream() {
    let settings = ConditionalSettings {
        enabled: false,
        ..ConditionalSettings::default()
    };
    let upstream = service_fn(|_: Request| ResponseFuture::ready(Ok(stored())));
    let mut service = ConditionalLayer::new(settings).layer(upstream);
    for fields in [("if-none-match", "*"), ("range", "bytes=0-1")] {
        assert_eq!(get(&mut service, &[fields]).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn the_request_goes_down_as_it_came() {
    let upstream = service_fn(|request: Request| {
        let mut response = Response::new(Body::empty());
        *response.headers_mut() = request.into_parts().0.headers;
        ResponseFuture::ready(Ok(response))
    });
    let mut service = ConditionalLayer::new(ConditionalSettings::default()).layer(upstream);
    let fields = [
        ("if-none-match", "\"a\" ,b"),
        ("if-none-match", "c"),
        ("range", "bytes=0-1"),
        ("if-range", "\"a\""),
    ];
    let answer = get(&mut service, &fields).await;
    assert_eq!(answer.headers(), ask(Method::GET, &fields).headers());
}

#[test]
fn an_answer_that_is_ready_stays_ready() {
    let mut service = before(|| {
        let mut response = stored();
        facts::of_response(&mut response).route = Some("/".into());
        response
    });
    for fields in [
        &[][..],
        &[("if-none-match", "\"a\"")],
        &[("range", "bytes=0-1")],
        &[("range", "bytes=0-1,3-4")],
        &[("range", "bytes=99-")],
    ] {
        let answer = service.call(ask(Method::GET, fields)).try_ready();
        let answer = answer.ok().expect("ready").expect("an answer");
        let facts = answer.extensions().get::<ResponseFacts>();
        assert!(
            facts.is_some_and(|facts| facts.route.is_some()),
            "{fields:?}"
        );
    }
}

#[tokio::test]
async fn parts_are_cut_from_what_is_in_memory_and_from_streams() {
    for (range, content, told) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-4", "4", "bytes 4-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=5-99", "56789", "bytes 5-9/10"),
        ("bytes=0-", "0123456789", "bytes 0-9/10"),
    ] {
        for answer in [stored, streamed, || page(Body::from("0123456789"))] {
            let part = get(&mut before(answer), &[("range", range)]).await;
            assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
            assert_eq!(field(&part, "content-range"), told);
            assert_eq!(field(&part, "content-length"), content.len().to_string());
            assert_eq!(field(&part, "content-type"), "text/plain");
            for name in [
                "etag",
                "date",
                "vary",
                "cache-control",
                "expires",
                "last-modified",
            ] {
                assert_eq!(field(&part, name), field(&stored(), name), "{name}");
            }
            assert_eq!(
                field(&part, "content-digest"),
                "",
                "it is of another message"
            );
            assert_eq!(part.body().size_hint().exact(), Some(content.len() as u64));
            assert_eq!(text(part).await, content);
        }
    }
}

#[tokio::test]
async fn several_parts_come_as_multipart_unless_the_content_is_a_stream() {
    let fields = [("range", "bytes=8-9,0-1")];
    let parts = get(&mut before(stored), &fields).await;
    assert_eq!(parts.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(&parts, "content-range"), "", "each part has its own");
    let boundary = field(&parts, "content-type")
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a boundary")
        .to_owned();
    let length: usize = field(&parts, "content-length").parse().expect("a length");
    let body = text(parts).await;
    assert_eq!(body.len(), length);
    let expected = format!(
        "\r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 8-9/10\r\n\r\n89\
         \r\n--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-1/10\r\n\r\n01\
         \r\n--{boundary}--\r\n"
    );
    assert_eq!(body, expected);
    let whole = get(&mut before(streamed), &fields).await;
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(text(whole).await, "0123456789");
}

#[tokio::test]
async fn a_range_of_nothing_is_416_and_nobody_keeps_it() {
    let mut service = before(|| {
        let mut response = stored();
        let targeted = HeaderValue::from_static("max-age=600");
        response
            .headers_mut()
            .insert("example-cache-control", targeted);
        response
    });
    let answer = get(&mut service, &[("range", "bytes=10-")]).await;
    assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(field(&answer, "content-range"), "bytes */10");
    assert_eq!(field(&answer, "cache-control"), "no-store");
    for name in [
        "etag",
        "expires",
        "content-length",
        "content-type",
        "example-cache-control",
    ] {
        assert_eq!(field(&answer, name), "", "{name}");
    }
    assert_eq!(field(&answer, "access-control-allow-origin"), "*");
    assert_eq!(text(answer).await, "");
}

#[tokio::test]
async fn the_whole_is_sent_where_a_part_would_be_wrong() {
    type Change = fn(&mut Response);
    let none: Change = |_| {};
    let cases: [(&[_], Change); 10] = [
        (&[("range", "bytes=0-1"), ("if-range", "\"x\"")], none),
        (&[("range", "bytes=0-1"), ("if-range", "W/\"a\"")], none),
        (&[("range", "bytes=0-1"), ("if-range", "\"a~br\"")], none),
        (&[("range", "bytes=0-1,1-2")], none),
        (&[("range", "items=0-1")], none),
        (&[("range", "bytes=1-0")], none),
        (
            &[
                ("range", "bytes=0-1"),
                ("if-none-match", "\"x\""),
                ("if-range", "\"x\""),
            ],
            none,
        ),
        (&[("range", "bytes=0-1")], |response| {
            response
                .headers_mut()
                .insert(CONTENT_ENCODING, HeaderValue::from_static("br"));
        }),
        (&[("range", "bytes=0-1")], |response| {
            response
                .headers_mut()
                .insert(CONTENT_LENGTH, HeaderValue::from_static("11"));
        }),
        (&[("range", "bytes=0-1")], |response| {
            response.headers_mut().remove(CONTENT_LENGTH);
            let frames = [Ok::<_, Error>(Frame::data("0123456789".into()))];
            *response.body_mut() = Body::stream(StreamBody::new(stream::iter(frames)));
        }),
    ];
    for (fields, change) in cases {
        let mut service = before(move || {
            let mut response = stored();
            change(&mut response);
            response
        });
        let answer = get(&mut service, fields).await;
        assert_eq!(answer.status(), StatusCode::OK, "{fields:?}");
        assert_eq!(text(answer).await, "0123456789");
    }
    let mut service = before(stored);
    let head = service
        .call(ask(Method::HEAD, &[("range", "bytes=0-1")]))
        .await;
    assert_eq!(head.expect("an answer").status(), StatusCode::OK);
}

#[tokio::test]
async fn a_precondition_is_judged_before_a_range() {
    let fields = [("if-none-match", "\"a\""), ("range", "bytes=99-")];
    let answer = get(&mut before(stored), &fields).await;
    assert_eq!(answer.status(), StatusCode::NOT_MODIFIED);
    let fields = [
        ("if-none-match", "\"x\""),
        ("range", "bytes=0-1"),
        ("if-range", MODIFIED),
    ];
    let answer = get(&mut before(stored), &fields).await;
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
}

#[tokio::test]
async fn a_part_of_a_stream_that_ends_early_is_a_failure() {
    let mut service = before(|| {
        let frames = [Ok::<_, Error>(Frame::data("012".into()))];
        page(Body::stream(StreamBody::new(stream::iter(frames))))
    });
    let part = get(&mut service, &[("range", "bytes=2-5")]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert!(part.into_body().collect().await.is_err());
}
