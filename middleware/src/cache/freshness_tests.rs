use http::HeaderValue;
use http::header::CACHE_CONTROL;
use proptest::prelude::*;

use super::*;

/// 2026-01-01T00:00:00Z
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn fields(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(
            name.clone(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    fields
}

fn date(after: i64) -> String {
    let time = if after < 0 {
        start() - Duration::from_secs(after.unsigned_abs())
    } else {
        start() + Duration::from_secs(after.unsigned_abs())
    };
    http_date::format(time).to_str().unwrap().to_owned()
}

fn lifetime_of(lines: &[(HeaderName, &str)]) -> Option<(u64, Source)> {
    let fields = fields(lines);
    explicit_lifetime(&ResponseDirectives::of(&fields), false, &fields, start())
        .map(|(lifetime, source)| (lifetime.as_secs(), source))
}

#[test]
fn s_maxage_then_max_age_then_expires_in_any_order() {
    let expires = (EXPIRES, &*date(10));
    for (control, expected) in [
        (vec!["max-age=60, s-maxage=30"], Some((30, Source::SMaxage))),
        (
            vec!["s-maxage=90", "max-age=60"],
            Some((90, Source::SMaxage)),
        ),
        (vec!["max-age=0, s-maxage=90"], Some((90, Source::SMaxage))),
        (vec!["max-age=60"], Some((60, Source::MaxAge))),
        (vec!["max-age=0"], Some((0, Source::MaxAge))),
        (vec!["max-age=-5"], Some((0, Source::MaxAge))),
        (vec!["public"], Some((10, Source::Expires))),
        (vec![], Some((10, Source::Expires))),
    ] {
        let mut lines = vec![(DATE, &*date(0)).clone(), expires.clone()]
            .into_iter()
            .map(|(name, value)| (name, value.to_owned()))
            .collect::<Vec<_>>();
        lines.extend(
            control
                .iter()
                .map(|value| (CACHE_CONTROL, (*value).to_owned())),
        );
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (name.clone(), &**value))
            .collect();
        assert_eq!(lifetime_of(&lines), expected, "{control:?}");
    }
    assert_eq!(lifetime_of(&[(CACHE_CONTROL, "public")]), None);
}

#[test]
fn expires_counts_from_date_even_where_date_is_wrong() {
    let (date_, expires) = (date(-1000), date(-900));
    assert_eq!(
        lifetime_of(&[(DATE, &date_), (EXPIRES, &expires)]),
        Some((100, Source::Expires))
    );
    assert_eq!(
        lifetime_of(&[(DATE, &date_), (EXPIRES, &date_)]),
        Some((0, Source::Expires))
    );
}

#[test]
fn an_unusable_date_falls_back_to_receipt_time() {
    let expires = date(50);
    for broken in ["yesterday", ""] {
        assert_eq!(
            lifetime_of(&[(DATE, broken), (EXPIRES, &expires)]),
            Some((50, Source::Expires))
        );
    }
}

#[test]
fn an_expires_that_cannot_be_read_is_in_the_past() {
    let (one, two) = (date(50), date(60));
    for lines in [
        vec![(EXPIRES, "0")],
        vec![(EXPIRES, "-1")],
        vec![(EXPIRES, "")],
        vec![(EXPIRES, "tomorrow")],
        vec![(EXPIRES, "Thu, 01 Jan 2099 00:00:00 UTC")],
        vec![(EXPIRES, "Thu, 01 Jan 99 00:00:00 GMT")],
        vec![(EXPIRES, "Thu 01 Jan 2099 00:00:00 GMT")],
        vec![(EXPIRES, "Thu,  01 Jan 2099 00:00:00 GMT")],
        vec![(EXPIRES, "Thu, 01-Jan-2099 00:00:00 GMT")],
        vec![(EXPIRES, "Thu, 01 Jan 2099 00.00.00 GMT")],
        vec![(EXPIRES, "Thu, 01 Jan 2099 0:00:00 GMT")],
        vec![(EXPIRES, &*one), (EXPIRES, &*two)],
    ] {
        assert_eq!(lifetime_of(&lines), Some((0, Source::Expires)), "{lines:?}");
    }
}

#[test]
fn every_form_of_date_counts_in_any_letter_case() {
    for expires in [
        "Thu, 01 Jan 2099 00:00:00 GMT",
        "thu, 01 jan 2099 00:00:00 gmt",
        "Thu Jan  1 00:00:00 2099",
        "Thursday, 01-Jan-70 00:00:00 GMT",
    ] {
        let lifetime = lifetime_of(&[(EXPIRES, expires)]).unwrap();
        assert!(lifetime.0 > 1_000_000_000, "{expires}");
    }
}

#[test]
fn the_first_age_counts_and_only_digits() {
    for (lines, expected) in [
        (vec!["60"], 60),
        (vec!["060"], 60),
        (vec!["60, 90"], 60),
        (vec!["60", "90"], 60),
        (vec!["-60"], 0),
        (vec!["6.5"], 0),
        (vec!["sixty"], 0),
        (vec!["60;foo=1"], 0),
        (vec![""], 0),
        (vec!["18446744073709551615"], MOST_SECONDS),
        (vec!["99999999999999999999999999"], MOST_SECONDS),
    ] {
        let lines: Vec<_> = lines.iter().map(|value| (AGE, *value)).collect();
        assert_eq!(
            received_age(&fields(&lines)).as_secs(),
            expected,
            "{lines:?}"
        );
    }
}

#[test]
fn the_initial_age_is_the_larger_of_apparent_and_corrected() {
    let times = Times {
        requested: start(),
        received: start() + Duration::from_secs(3),
    };
    let age = |lines: &[(HeaderName, &str)]| initial_age(&fields(lines), times).as_secs();
    assert_eq!(age(&[]), 3);
    assert_eq!(age(&[(AGE, "10")]), 13);
    assert_eq!(age(&[(DATE, &date(-20)), (AGE, "10")]), 23);
    assert_eq!(age(&[(DATE, &date(100)), (AGE, "10")]), 13);
}

#[test]
fn heuristic_freshness_is_a_part_of_the_time_since_last_modified() {
    let settings = CacheSettings::default();
    let ask = |status: u16, public, since: i64| {
        let fields = fields(&[(DATE, &date(0)), (LAST_MODIFIED, &date(since))]);
        let status = StatusCode::from_u16(status).unwrap();
        heuristic_lifetime(&settings, status, public, &fields, start())
            .map(|(lifetime, _)| lifetime.as_secs())
    };
    assert_eq!(ask(200, false, -1000), Some(100));
    assert_eq!(ask(200, false, -1_000_000), Some(3600));
    assert_eq!(ask(200, false, 0), None);
    assert_eq!(ask(200, false, 1000), None);
    for status in [203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert_eq!(ask(status, false, -1000), Some(100), "{status}");
    }
    for status in [201, 202, 302, 307, 400, 403, 500, 502, 503, 504, 299, 599] {
        assert_eq!(ask(status, false, -1000), None, "{status}");
        assert_eq!(ask(status, true, -1000), Some(100), "{status}");
    }
    assert_eq!(
        heuristic_lifetime(&settings, StatusCode::OK, true, &HeaderMap::new(), start()),
        None
    );
}

proptest! {
    #[test]
    fn no_date_and_no_age_overflows(
        age in "[0-9]{0,40}",
        date in -62_000_000_000_i64..250_000_000_000,
        requested in any::<u32>(),
        received in any::<u32>(),
    ) {
        let time = |seconds: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let written = http_date::format(time(date.unsigned_abs()));
        let mut fields = fields(&[(AGE, &age)]);
        fields.insert(DATE, written.clone());
        fields.insert(EXPIRES, written);
        let times = Times { requested: time(requested.into()), received: time(received.into()) };
        prop_assert!(initial_age(&fields, times) <= Duration::from_secs(MOST_SECONDS));
        let lifetime = explicit_lifetime(
            &ResponseDirectives::default(), false, &fields, times.received,
        );
        prop_assert_eq!(lifetime, Some((Duration::ZERO, Source::Expires)));
    }
}
