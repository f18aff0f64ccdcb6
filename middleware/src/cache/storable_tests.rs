use std::time::SystemTime;

use http::HeaderValue;

use super::*;

/// One case: what the request has, what the response has.
#[derive(Clone, Default)]
struct Case {
    asked: Asked,
    request: Vec<(&'static str, &'static str)>,
    status: Option<u16>,
    fields: Vec<(&'static str, &'static str)>,
    length: Option<u64>,
    is_part: bool,
    settings: CacheSettings,
}

fn judge(case: &Case) -> Result<Storing, Reason> {
    let map = |lines: &[(&'static str, &'static str)]| {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let exchange = Exchange {
        asked: &case.asked,
        request: &map(&case.request),
        status: StatusCode::from_u16(case.status.unwrap_or(200)).unwrap(),
        fields: &map(&case.fields),
        length: case.length,
        is_part: case.is_part,
        times: Times {
            requested: now,
            received: now,
        },
    };
    storable(exchange, &case.settings, &KeyRules::of(&case.settings))
}

fn response(fields: &[(&'static str, &'static str)]) -> Case {
    Case {
        fields: fields.to_vec(),
        ..Case::default()
    }
}

fn control(value: &'static str) -> Case {
    response(&[("cache-control", value)])
}

fn verdict(case: &Case) -> Result<(u64, Source), Reason> {
    judge(case).map(|storing| (storing.terms.lifetime.as_secs(), storing.terms.source))
}

const LONG_AGO: (&str, &str) = ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT");

#[test]
fn no_store_and_private_are_never_stored() {
    for value in [
        "no-store",
        "No-Store, max-age=60",
        "max-age=60, no-store, public",
        "no-store=1, max-age=60",
    ] {
        assert_eq!(verdict(&control(value)), Err(Reason::NoStore), "{value}");
    }
    for value in [
        "private",
        "PRIVATE, max-age=60",
        "s-maxage=60, private",
        "private=a, max-age=60",
    ] {
        assert_eq!(verdict(&control(value)), Err(Reason::Private), "{value}");
    }
    let expires = ("expires", "Thu, 01 Jan 2099 00:00:00 GMT");
    let case = response(&[("cache-control", "no-store"), expires]);
    assert_eq!(verdict(&case), Err(Reason::NoStore));
}

#[test]
fn private_with_names_keeps_only_those_out() {
    let case = response(&[
        ("cache-control", "private=\"x-a\", max-age=60"),
        ("x-a", "1"),
    ]);
    assert_eq!(judge(&case).unwrap().without, ["x-a"]);
    let case = response(&[("cache-control", "no-cache=\"x-a, x-b\", max-age=60")]);
    let storing = judge(&case).unwrap();
    assert_eq!(storing.without, ["x-a", "x-b"]);
    assert!(!storing.terms.no_cache);
}

#[test]
fn must_understand_lifts_no_store_where_the_status_is_understood() {
    let case = control("must-understand, no-store, max-age=60");
    assert_eq!(verdict(&case), Ok((60, Source::MaxAge)));
    let unknown = Case {
        status: Some(599),
        ..case
    };
    assert_eq!(verdict(&unknown), Err(Reason::Status));
}

#[test]
fn any_final_status_with_an_explicit_lifetime() {
    for status in [
        200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599,
    ] {
        let case = Case {
            status: Some(status),
            ..control("max-age=60")
        };
        assert_eq!(verdict(&case), Ok((60, Source::MaxAge)), "{status}");
    }
    let case = Case {
        status: Some(206),
        ..control("max-age=60")
    };
    assert_eq!(verdict(&case), Err(Reason::PartialContent));
    let case = response(&[
        ("cache-control", "max-age=60"),
        ("content-range", "bytes 0-1/2"),
    ]);
    assert_eq!(verdict(&case), Err(Reason::PartialContent));
}

#[test]
fn a_part_is_stored_with_explicit_freshness_only() {
    let part = |fields: &[(&'static str, &'static str)], status| {
        verdict(&Case {
            status: Some(status),
            is_part: true,
            ..response(fields)
        })
    };
    const RANGE: (&str, &str) = ("content-range", "bytes 0-1/9");
    const OLD: (&str, &str) = ("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT");
    let explicit = ("cache-control", "max-age=60");
    assert_eq!(part(&[RANGE, explicit], 206), Ok((60, Source::MaxAge)));
    assert_eq!(
        part(&[RANGE, OLD], 206),
        Err(Reason::Status),
        "no heuristic"
    );
    assert!(part(&[OLD], 200).is_ok(), "for which a 200 is old enough");
    assert_eq!(part(&[RANGE], 206), Err(Reason::Status));
    assert_eq!(
        part(&[RANGE, ("cache-control", "no-store")], 206),
        Err(Reason::NoStore)
    );
}

#[test]
fn what_tells_of_one_request_is_not_stored_whatever_it_says() {
    for status in [407, 408, 412, 416, 417, 421, 425, 428, 429, 431, 511] {
        let case = Case {
            status: Some(status),
            ..control("public, max-age=60")
        };
        assert_eq!(verdict(&case), Err(Reason::Status), "{status}");
    }
}

#[test]
fn an_error_that_a_range_may_have_caused_is_not_for_others() {
    for (status, expected) in [
        (200, Ok((60, Source::MaxAge))),
        (404, Ok((60, Source::MaxAge))),
        (301, Ok((60, Source::MaxAge))),
        (400, Err(Reason::PartialContent)),
        (500, Err(Reason::PartialContent)),
        (206, Err(Reason::PartialContent)),
    ] {
        let case = Case {
            status: Some(status),
            asked: Asked {
                has_range: true,
                ..Asked::default()
            },
            ..control("max-age=60")
        };
        assert_eq!(verdict(&case), expected, "{status}");
    }
}

#[test]
fn no_cache_alone_stores_only_what_may_be_stored_without_a_lifetime() {
    for (status, value, expected) in [
        (404, "no-cache", Ok((0, Source::MaxAge))),
        (500, "no-cache", Err(Reason::Status)),
        (302, "no-cache", Err(Reason::Status)),
        (302, "no-cache, public", Ok((0, Source::MaxAge))),
        (500, "no-cache, max-age=60", Ok((60, Source::MaxAge))),
    ] {
        let case = Case {
            status: Some(status),
            ..response(&[("cache-control", value), ("etag", "\"a\"")])
        };
        assert_eq!(verdict(&case), expected, "{status} {value}");
    }
}

#[test]
fn without_a_lifetime_nothing_is_invented() {
    for fields in [
        vec![],
        vec![("etag", "\"a\"")],
        vec![("cache-control", "public")],
    ] {
        assert_eq!(
            verdict(&response(&fields)),
            Err(Reason::NoLifetime),
            "{fields:?}"
        );
    }
    assert_eq!(
        verdict(&response(&[LONG_AGO])),
        Ok((3600, Source::Heuristic))
    );
    let mut case = response(&[LONG_AGO]);
    case.settings.heuristic.enabled = false;
    assert_eq!(verdict(&case), Err(Reason::NoLifetime));
    let case = Case {
        status: Some(503),
        ..response(&[LONG_AGO])
    };
    assert_eq!(verdict(&case), Err(Reason::Status));
    let case = Case {
        asked: Asked {
            has_cookie: true,
            ..Asked::default()
        },
        ..response(&[LONG_AGO, ("cache-control", "public")])
    };
    assert_eq!(
        verdict(&case),
        Err(Reason::NoLifetime),
        "no heuristic for credentials"
    );
}

#[test]
fn no_cache_is_stored_to_be_validated() {
    let case = response(&[("cache-control", "no-cache"), ("etag", "\"a\"")]);
    let storing = judge(&case).unwrap();
    assert!(storing.terms.no_cache && storing.terms.lifetime.is_zero());
    assert_eq!(verdict(&control("no-cache")), Err(Reason::AlreadyStale));
}

#[test]
fn what_is_stale_at_once_needs_a_validator_or_a_window() {
    assert_eq!(verdict(&control("max-age=0")), Err(Reason::AlreadyStale));
    for (name, value) in [LONG_AGO, ("etag", "\"a\"")] {
        let case = response(&[("cache-control", "max-age=0"), (name, value)]);
        assert!(verdict(&case).is_ok(), "{name}");
    }
    assert!(verdict(&control("max-age=0, stale-while-revalidate=5")).is_ok());
    assert!(verdict(&control("max-age=0, stale-if-error=5")).is_ok());
    let case = response(&[("cache-control", "max-age=60"), ("age", "61")]);
    assert_eq!(verdict(&case), Err(Reason::AlreadyStale));
}

#[test]
fn a_request_with_authorization_needs_public_must_revalidate_or_s_maxage() {
    for (value, expected) in [
        ("max-age=60", Err(Reason::Authorization)),
        ("max-age=60, proxy-revalidate", Err(Reason::Authorization)),
        ("max-age=60, public", Ok((60, Source::MaxAge))),
        ("max-age=60, must-revalidate", Ok((60, Source::MaxAge))),
        ("max-age=10, s-maxage=60", Ok((60, Source::SMaxage))),
    ] {
        let case = Case {
            asked: Asked {
                has_authorization: true,
                ..Asked::default()
            },
            ..control(value)
        };
        assert_eq!(verdict(&case), expected, "{value}");
    }
}

#[test]
fn a_request_with_cookie_needs_public_s_maxage_or_targeted_control() {
    let with = |fields: &[(&'static str, &'static str)]| Case {
        asked: Asked {
            has_cookie: true,
            ..Asked::default()
        },
        ..response(fields)
    };
    for (value, expected) in [
        ("max-age=60", Err(Reason::Cookie)),
        ("max-age=60, must-revalidate", Err(Reason::Cookie)),
        ("max-age=60, public", Ok((60, Source::MaxAge))),
        ("s-maxage=60", Ok((60, Source::SMaxage))),
    ] {
        assert_eq!(
            verdict(&with(&[("cache-control", value)])),
            expected,
            "{value}"
        );
    }
    let targeted = with(&[("cdn-cache-control", "max-age=60")]);
    assert_eq!(verdict(&targeted), Ok((60, Source::Targeted)));
    let mut ignoring = with(&[("cache-control", "max-age=60")]);
    ignoring.settings.cookies = Cookies::Ignore;
    assert_eq!(verdict(&ignoring), Ok((60, Source::MaxAge)));
    let mut keyed = with(&[("cache-control", "max-age=60")]);
    keyed.settings.key.cookies = vec!["lang".into()];
    assert_eq!(verdict(&keyed), Ok((60, Source::MaxAge)));
}

#[test]
fn targeted_control_alone_decides() {
    let targeted = |cdn, control| {
        verdict(&response(&[
            ("cdn-cache-control", cdn),
            ("cache-control", control),
        ]))
    };
    assert_eq!(
        targeted("max-age=60", "no-store"),
        Ok((60, Source::Targeted))
    );
    assert_eq!(
        targeted("max-age=60", "private, s-maxage=5"),
        Ok((60, Source::Targeted))
    );
    assert_eq!(targeted("no-store", "max-age=60"), Err(Reason::NoStore));
    assert_eq!(targeted("private", "max-age=60"), Err(Reason::Private));
    assert_eq!(targeted("foo", "max-age=60"), Err(Reason::NoLifetime));
    assert_eq!(targeted("", "max-age=60"), Ok((60, Source::MaxAge)));
    assert_eq!(
        targeted("max-age = 5", "max-age=60"),
        Ok((60, Source::MaxAge))
    );
    let expires = ("expires", "Thu, 01 Jan 2099 00:00:00 GMT");
    let case = response(&[("cdn-cache-control", "foo"), expires]);
    assert_eq!(verdict(&case), Err(Reason::NoLifetime));
}

#[test]
fn set_cookie_is_refused_stripped_or_left_out_by_the_upstreams_word() {
    let fields = [
        ("cache-control", "max-age=60, public"),
        ("set-cookie", "a=1"),
    ];
    assert_eq!(verdict(&response(&fields)), Err(Reason::SetCookie));
    let mut stripping = response(&fields);
    stripping.settings.set_cookie = SetCookie::Strip;
    let storing = judge(&stripping).unwrap();
    assert!(storing.is_cookie_stripped);
    assert_eq!(storing.without, ["set-cookie"]);
    let named = response(&[
        ("cache-control", "max-age=60, no-cache=\"set-cookie\""),
        ("set-cookie", "a=1"),
    ]);
    let storing = judge(&named).unwrap();
    assert!(!storing.is_cookie_stripped);
    assert_eq!(storing.without, ["set-cookie"]);
}

#[test]
fn a_routes_lifetime_counts_where_the_upstream_says_nothing() {
    let mut case = response(&[]);
    case.settings.ttl = Some(Duration::from_secs(30));
    assert_eq!(verdict(&case), Ok((30, Source::RouteTtl)));
    assert_eq!(
        verdict(&Case {
            status: Some(500),
            ..case.clone()
        }),
        Err(Reason::Status)
    );
    let said = Case {
        fields: vec![("cache-control", "max-age=5")],
        ..case.clone()
    };
    assert_eq!(verdict(&said), Ok((5, Source::MaxAge)));
    let with_cookie = Case {
        asked: Asked {
            has_cookie: true,
            ..Asked::default()
        },
        ..case
    };
    assert_eq!(verdict(&with_cookie), Err(Reason::Cookie));
}

#[test]
fn force_ttl_outranks_what_the_upstream_says_but_no_credentials() {
    let forced = |fields: &[(&'static str, &'static str)]| {
        let mut case = response(fields);
        case.settings.force_ttl = Some(Duration::from_secs(30));
        case
    };
    for value in [
        "no-store",
        "private, max-age=5",
        "no-cache",
        "max-age=0, must-revalidate",
    ] {
        assert_eq!(
            verdict(&forced(&[("cache-control", value)])),
            Ok((30, Source::ForceTtl))
        );
    }
    assert_eq!(
        verdict(&forced(&[("set-cookie", "a=1")])),
        Err(Reason::SetCookie)
    );
    let mut authorized = forced(&[]);
    authorized.asked.has_authorization = true;
    assert_eq!(verdict(&authorized), Err(Reason::Authorization));
    let failed = Case {
        status: Some(500),
        ..forced(&[("cache-control", "no-store")])
    };
    assert_eq!(verdict(&failed), Err(Reason::NoStore));
}

#[test]
fn requests_may_forbid_storing() {
    let ask = |change: fn(&mut Asked)| {
        let mut case = control("max-age=60, public");
        change(&mut case.asked);
        verdict(&case)
    };
    assert_eq!(
        ask(|asked| asked.directives.no_store = true),
        Err(Reason::ClientNoStore)
    );
    assert_eq!(ask(|asked| asked.is_head = true), Err(Reason::Head));
    assert_eq!(
        ask(|asked| asked.is_overriding = true),
        Err(Reason::Override)
    );
    assert!(
        ask(|asked| asked.has_range = true).is_ok(),
        "the upstream may send all of it"
    );
}

#[test]
fn too_long_content_and_live_streams_are_left_alone() {
    let case = Case {
        length: Some((8 << 20) + 1),
        ..control("max-age=60")
    };
    assert_eq!(verdict(&case), Err(Reason::TooLarge));
    let case = response(&[
        ("cache-control", "max-age=60"),
        ("content-type", "text/event-stream"),
    ]);
    assert_eq!(verdict(&case), Err(Reason::LiveStream));
}

#[test]
fn stale_windows_obey_what_forbids_them() {
    let windows = |value, operator: Option<u64>| {
        let mut settings = CacheSettings {
            stale_while_revalidate: operator.map(Duration::from_secs),
            ..CacheSettings::default()
        };
        settings.stale_if_error = settings.stale_while_revalidate;
        let terms = judge(&response(&[("cache-control", value), ("etag", "\"a\"")]))
            .unwrap()
            .terms;
        (
            terms.window_while_revalidating(&settings).as_secs(),
            terms.window_on_error(&settings, None).as_secs(),
        )
    };
    for (value, operator, expected) in [
        ("max-age=1", None, (0, 0)),
        ("max-age=1", Some(9), (9, 9)),
        (
            "max-age=1, stale-while-revalidate=5, stale-if-error=6",
            Some(9),
            (5, 6),
        ),
        (
            "s-maxage=1, stale-while-revalidate=5, stale-if-error=6",
            None,
            (5, 6),
        ),
        ("s-maxage=1", Some(9), (0, 0)),
        (
            "max-age=1, must-revalidate, stale-while-revalidate=5, stale-if-error=6",
            Some(9),
            (0, 0),
        ),
        (
            "max-age=1, proxy-revalidate, stale-while-revalidate=5",
            Some(9),
            (0, 0),
        ),
        (
            "max-age=1, no-cache, stale-while-revalidate=5",
            Some(9),
            (0, 0),
        ),
    ] {
        assert_eq!(windows(value, operator), expected, "{value}");
    }
}
