use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request};

use super::*;

const SETTINGS: ContentCodingSettings = ContentCodingSettings {
    mode: config::mode::Mode::Apply,
    enabled: true,
    codings: Codings {
        br: true,
        zstd: true,
        gzip: true,
    },
    min_size: 1024,
    breach: config::content_coding::Breach::Balanced,
    streams: Streams::Off,
};
type Fields = &'static [(&'static str, &'static str)];
const ALL: &str = "gzip, br, zstd";

fn asked(accept: &'static str) -> Asked {
    asked_with(&[("accept-encoding", accept)])
}

fn asked_with(pairs: &[(&'static str, &'static str)]) -> Asked {
    let mut request = Request::new(());
    *request.headers_mut() = fields(pairs);
    Asked::of(&request)
}

fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        let name = HeaderName::from_static(name);
        (name, HeaderValue::from_static(value))
    });
    HeaderMap::from_iter(pairs)
}

fn decided(accept: &'static str, status: u16, pairs: &[(&'static str, &'static str)]) -> Decision {
    let fields = fields(pairs);
    let content = Content {
        status: StatusCode::from_u16(status).unwrap(),
        read: Reading::of(&fields),
        length: Some(5000),
        shared: false,
    };
    decide(&SETTINGS, &asked(accept), content)
}

#[test]
fn why_content_is_not_coded() {
    use Uncoded::*;
    const HTML: (&str, &str) = ("content-type", "text/html");
    let cases: [(u16, Fields, Uncoded); 14] = [
        (204, &[HTML], Status),
        (205, &[HTML], Status),
        (206, &[HTML], Status),
        (304, &[HTML], Status),
        (101, &[HTML], Status),
        (200, &[HTML, ("content-range", "bytes 0-1/2")], ContentRange),
        (200, &[HTML, ("content-encoding", "br")], AlreadyCoded),
        (200, &[HTML, ("content-encoding", "dcb")], AlreadyCoded),
        (200, &[HTML, ("content-encoding", "gzip, br")], AlreadyCoded),
        (200, &[("content-type", "text/event-stream")], Stream),
        (200, &[HTML, ("x-accel-buffering", "no")], Stream),
        (200, &[("content-type", "font/woff2")], MediaType),
        (200, &[], MediaType),
        (
            200,
            &[HTML, ("cache-control", "max-age=1, No-Transform")],
            NoTransform,
        ),
    ];
    for (status, pairs, reason) in cases {
        assert_eq!(
            decided(ALL, status, pairs),
            Decision::Leave(reason),
            "{status} {pairs:?}"
        );
    }
    for (accept, ranged) in [
        ("deflate", false),
        ("", false),
        ("identity, br;q=0.9", false),
        (ALL, true),
    ] {
        let reason = if ranged { Range } else { NotAccepted };
        let fields = fields(&[HTML]);
        let content = Content {
            status: StatusCode::OK,
            read: Reading::of(&fields),
            length: None,
            shared: false,
        };
        let asked = Asked {
            range: ranged,
            ..asked(accept)
        };
        assert_eq!(
            decide(&SETTINGS, &asked, content),
            Decision::Leave(reason),
            "{accept}"
        );
    }
}

#[test]
fn short_content_is_left_alone_if_its_length_is_known() {
    let fields = fields(&[("content-type", "text/css")]);
    for (length, coded) in [
        (Some(0), false),
        (Some(1023), false),
        (Some(1024), true),
        (None, true),
    ] {
        let content = Content {
            status: StatusCode::OK,
            read: Reading::of(&fields),
            length,
            shared: false,
        };
        assert_eq!(
            decide(&SETTINGS, &asked(ALL), content).coded().is_some(),
            coded,
            "{length:?}"
        );
    }
}

#[test]
fn weights_come_first_then_our_preference() {
    use Coding::{Br, Gzip, Zstd};
    // What is stored is preferred in one order, what is made now in another.
    let cases: [(&str, &[Coding], Coding); 6] = [
        ("gzip, br, zstd", &[Br, Zstd, Gzip], Zstd),
        ("gzip, br", &[Br, Gzip], Br),
        ("gzip;q=1, br;q=0.9", &[Gzip], Gzip),
        ("gzip;q=0.5, zstd;q=0.5, br;q=0.1", &[Zstd, Gzip], Zstd),
        ("*", &[Br, Zstd, Gzip], Zstd),
        ("*;q=0.1, identity;q=0.1", &[Br, Zstd, Gzip], Zstd),
    ];
    for (accept, stored, on_the_fly) in cases {
        let decision = decided(accept, 200, &[("content-type", "text/html")]);
        let best = decision.coded().expect(accept);
        assert_eq!(best.stored().collect::<Vec<_>>(), stored, "{accept}");
        assert_eq!(best.on_the_fly(), on_the_fly, "{accept}");
    }
}

#[test]
fn codings_that_are_off_are_not_used() {
    let fields = fields(&[("content-type", "text/html")]);
    let content = Content {
        status: StatusCode::OK,
        read: Reading::of(&fields),
        length: None,
        shared: false,
    };
    let codings = Codings {
        br: false,
        zstd: false,
        gzip: true,
    };
    let settings = ContentCodingSettings {
        codings,
        ..SETTINGS
    };
    let decision = decide(&settings, &asked("br, gzip;q=0.1"), content);
    assert_eq!(decision.coded().unwrap().on_the_fly(), Coding::Gzip);
    let off = ContentCodingSettings {
        enabled: false,
        ..SETTINGS
    };
    assert_eq!(
        decide(&off, &asked(ALL), content),
        Decision::Leave(Uncoded::Disabled)
    );
}

#[test]
fn what_the_upstream_coded_is_decoded_for_those_who_cannot() {
    let leave = Decision::Leave(Uncoded::AlreadyCoded);
    let cases = [
        ("gzip", "gzip", leave),
        ("gzip;q=0.1, br", "X-Gzip", leave),
        ("", "gzip", Decision::Decode(Coding::Gzip)),
        ("gzip", "br", Decision::Decode(Coding::Br)),
        ("gzip;q=0", "gzip", Decision::Decode(Coding::Gzip)),
        ("br", "zstd", Decision::Decode(Coding::Zstd)),
        ("br, identity;q=0", "zstd", leave),
        ("br, *;q=0", "zstd", leave),
        ("", "deflate", leave),
        ("", "gzip, gzip", leave),
    ];
    for (accept, coding, expected) in cases {
        let pairs = [("content-type", "image/png"), ("content-encoding", coding)];
        assert_eq!(decided(accept, 200, &pairs), expected, "{accept} {coding}");
    }
    let fixed = [
        ("content-encoding", "br"),
        ("cache-control", "no-transform"),
    ];
    assert_eq!(decided("", 200, &fixed), leave);
}

#[test]
fn streams_are_coded_if_told_so_but_grpc_never() {
    let settings = ContentCodingSettings {
        streams: Streams::Flush,
        ..SETTINGS
    };
    for (content_type, coded) in [
        ("text/event-stream", true),
        ("application/x-ndjson", true),
        ("application/grpc+json", false),
        ("multipart/x-mixed-replace", false),
    ] {
        let fields = fields(&[("content-type", content_type)]);
        let content = Content {
            status: StatusCode::OK,
            read: Reading::of(&fields),
            length: None,
            shared: false,
        };
        let found = decide(&settings, &asked(ALL), content).coded().is_some();
        assert_eq!(found, coded, "{content_type}");
    }
}

#[test]
fn answers_to_credentials_go_by_the_policy() {
    let fields = fields(&[("content-type", "text/html")]);
    let content = Content {
        status: StatusCode::OK,
        read: Reading::of(&fields),
        length: None,
        shared: false,
    };
    let with_site = |site| {
        asked_with(&[
            ("accept-encoding", "br"),
            ("cookie", "a=b"),
            ("sec-fetch-site", site),
        ])
    };
    let same = decide(&SETTINGS, &with_site("same-origin"), content);
    assert!(matches!(same, Decision::Code { jitter: true, .. }));
    let cross = decide(&SETTINGS, &with_site("cross-site"), content);
    assert_eq!(cross, Decision::Leave(Uncoded::Breach(Refusal::CrossSite)));
    let stored = Content {
        shared: true,
        ..content
    };
    let stored = decide(&SETTINGS, &with_site("cross-site"), stored);
    assert!(matches!(stored, Decision::Code { jitter: false, .. }));
}

#[test]
fn vary_is_said_wherever_another_client_might_get_other_bytes() {
    let html: &[(&str, &str)] = &[("content-type", "text/html")];
    let cases: [(u16, Fields, bool); 11] = [
        (200, html, true),
        (206, html, true),
        (304, html, true),
        (304, &[], true),
        (404, html, true),
        (204, &[], false),
        (200, &[], false),
        (200, &[("content-type", "image/png")], false),
        (304, &[("content-type", "image/png")], false),
        (
            200,
            &[("content-type", "image/png"), ("content-encoding", "gzip")],
            true,
        ),
        (
            200,
            &[
                ("content-type", "text/html"),
                ("cache-control", "no-transform"),
            ],
            false,
        ),
    ];
    for (status, pairs, expected) in cases {
        let fields = fields(pairs);
        let status = StatusCode::from_u16(status).unwrap();
        let content = Content {
            status,
            read: Reading::of(&fields),
            length: Some(1),
            shared: false,
        };
        let decision = decide(&SETTINGS, &asked(ALL), content);
        let found = varies(&SETTINGS, decision, content);
        assert_eq!(found, expected, "{status} {pairs:?}");
    }
}
