use std::collections::BTreeMap;
use std::io;

use http::request::Builder;
use http_body_util::BodyExt as _;
use tower::service_fn;

use super::*;
use crate::ResponseFuture;
use crate::clock::Clock;
use crate::facts::{Peer, RequestFacts, ResponseFacts, Scheme, Told};

const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

fn get() -> Builder {
    http::Request::get("/").extension(RequestFacts::new(
        Clock::system().now(),
        RequestId::Made([0, 0xfeed]),
        Peer::Unix,
        Scheme::Http,
    ))
}

fn answer_by(
    layer: &RespondLayer,
    request: Builder,
    error: impl Fn() -> Error + Send + 'static,
) -> Response {
    let mut service = layer.layer(service_fn(move |_: Request| {
        ResponseFuture::ready(Err(error()))
    }));
    let future = service.call(request.body(Body::empty()).unwrap());
    future
        .try_ready()
        .ok()
        .expect("an error at hand is answered at once")
        .unwrap()
}

fn answer(request: Builder, error: impl Fn() -> Error + Send + 'static) -> Response {
    answer_by(
        &RespondLayer::new(Arc::default(), &Metrics::new()),
        request,
        error,
    )
}

async fn content(response: Response) -> String {
    let content = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(content.to_vec()).unwrap()
}

#[tokio::test]
async fn an_error_becomes_a_problem_document() {
    let response = answer(get(), || {
        Error::upstream(ErrorKind::ConnectionTimeout)
            .detail("all endpoints \"tried\"")
            .caused_by(io::Error::other("secret 10.0.0.7:5432"))
    });
    assert_eq!(response.status(), 504);
    let fields = response.headers();
    assert_eq!(fields["content-type"], "application/problem+json");
    assert_eq!(
        fields["proxy-status"],
        r#"pillion; error=connection_timeout; details="all endpoints \"tried\"""#
    );
    assert_eq!(fields["cache-control"], "no-store");
    assert!(!fields.contains_key("connection"));
    let text = content(response).await;
    assert!(!text.contains("secret"), "{text}");
    assert!(text.contains("0000feed"));
}

#[tokio::test]
async fn facts_of_the_error_are_the_facts_of_the_answer() {
    let mut response = answer(get(), || {
        let mut error = Error::upstream(ErrorKind::ConnectionRefused);
        *error.facts_mut() = ResponseFacts {
            route: Some(Arc::from("/api/*")),
            told: Some(Told {
                client: None,
                id: RequestId::Kept(Arc::from("outer")),
            }),
            ..ResponseFacts::default()
        };
        error
    });
    let facts = facts::of_response(&mut response).clone();
    assert_eq!(facts.route.as_deref(), Some("/api/*"));
    assert_eq!(facts.error, Some(ErrorKind::ConnectionRefused));
    assert!(content(response).await.contains(r#""request_id":"outer""#));
}

#[tokio::test]
async fn clients_that_prefer_html_get_a_page() {
    let refused = || Error::upstream(ErrorKind::ConnectionRefused);
    let response = answer(get().header("accept", BROWSER), refused);
    assert_eq!(
        response.headers()["content-type"],
        "text/html; charset=utf-8"
    );
    assert!(response.headers().contains_key("content-security-policy"));
    assert!(content(response).await.contains("<h1>502 Bad Gateway</h1>"));
}

#[tokio::test]
async fn a_configured_page_takes_the_place_of_the_built_in_one() {
    let path = std::env::temp_dir().join(format!("pillion-page-{}.html", std::process::id()));
    std::fs::write(&path, "<h1>Back soon</h1>").unwrap();
    let settings = RespondSettings {
        pages: BTreeMap::from([(502, path.clone())]),
    };
    let layer = RespondLayer::new(Arc::new(settings), &Metrics::new());
    std::fs::remove_file(&path).unwrap();
    let refused = || Error::upstream(ErrorKind::ConnectionRefused);
    let page = answer_by(&layer, get().header("accept", BROWSER), refused);
    assert!(!page.headers().contains_key("content-security-policy"));
    assert_eq!(content(page).await, "<h1>Back soon</h1>");
    let problem = answer_by(&layer, get().header("accept", "*/*"), refused);
    assert_eq!(
        problem.headers()["content-type"],
        "application/problem+json"
    );
    let other = || Error::upstream(ErrorKind::ConnectionTimeout);
    let built_in = answer_by(&layer, get().header("accept", BROWSER), other);
    assert!(content(built_in).await.contains("504"));
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_and_no_content() {
    let denied = || Error::client(ErrorKind::HttpRequestDenied);
    let expected = content(answer(get(), denied)).await.len();
    let response = answer(get().method("HEAD"), denied);
    assert_eq!(
        response.headers()["content-length"],
        expected.to_string().as_str()
    );
    assert_eq!(content(response).await, "");
}

#[test]
fn the_connection_is_closed_where_nobody_knows_what_follows() {
    for (kind, version, closed) in [
        (ErrorKind::HttpRequestError, Version::HTTP_11, true),
        (ErrorKind::ContentTooLarge, Version::HTTP_11, true),
        (ErrorKind::RequestTimeout, Version::HTTP_10, true),
        (ErrorKind::HttpRequestError, Version::HTTP_2, false),
        (ErrorKind::HttpRequestDenied, Version::HTTP_11, false),
        (ErrorKind::ConnectionRefused, Version::HTTP_11, false),
    ] {
        let response = answer(get().version(version), move || Error::client(kind));
        assert_eq!(
            response.headers().contains_key("connection"),
            closed,
            "{kind:?}"
        );
    }
}

#[test]
fn advice_by_status() {
    let busy = answer(get(), || Error::upstream(ErrorKind::DestinationUnavailable));
    assert_eq!(busy.headers()["retry-after"], "5");
    let trace = answer(get(), || Error::client(ErrorKind::MethodNotAllowed));
    assert_eq!(trace.status(), 405);
    assert!(trace.headers()["allow"].to_str().unwrap().contains("GET"));
}

#[test]
fn a_body_that_grew_too_large_is_told_as_that() {
    // As it comes out of the upstream's connection: our error inside of others.
    let response = answer(get(), || {
        let body = Error::client(ErrorKind::ContentTooLarge).detail("more than 10 bytes");
        Error::upstream(ErrorKind::ConnectionTerminated).caused_by(io::Error::other(body))
    });
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.headers()["proxy-status"],
        r#"pillion; error=http_request_error; details="more than 10 bytes""#
    );
}

#[tokio::test]
async fn panics_are_answered_with_500_and_counted() {
    let metrics = Metrics::new();
    let layer = RespondLayer::new(Arc::default(), &metrics);
    let mut at_once = layer.layer(service_fn(|_: Request| -> ResponseFuture {
        panic!("of the layer, on purpose")
    }));
    let mut later = layer.layer(service_fn(|_: Request| {
        ResponseFuture::boxed(async {
            tokio::task::yield_now().await;
            panic!("of the future, on purpose")
        })
    }));
    for response in [
        at_once.call(get().body(Body::empty()).unwrap()).await,
        later.call(get().body(Body::empty()).unwrap()).await,
    ] {
        let response = response.unwrap();
        assert_eq!(response.status(), 500);
        assert!(!content(response).await.contains("on purpose"));
    }
    assert_eq!(metrics.total(Event::Panic), 2);
}
