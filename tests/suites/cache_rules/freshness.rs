//! Lifetime, age and heuristics (RFC 9111 §4.2, §5.1, §5.3).

use super::{check, check_with, fetched, reused};

const LONG_AGO: &str = "Thu, 01 Jan 2015 00:00:00 GMT";

#[tokio::test]
async fn there_is_no_default_lifetime() {
    check(&[
        fetched("neither lifetime nor Last-Modified", &[]),
        fetched("an ETag is no lifetime", &[("etag", "\"a\"")]),
        fetched("public is no lifetime", &[("cache-control", "public")]),
        fetched(
            "unknown directives are ignored",
            &[("cache-control", "foo=60, bar")],
        ),
        reused(
            "beside known ones too",
            &[("cache-control", "foo, max-age=60, bar=\"x\"")],
        ),
    ])
    .await;
}

#[tokio::test]
async fn s_maxage_then_max_age_then_expires() {
    check(&[
        reused(
            "max-age, to its last second",
            &[("cache-control", "max-age=60")],
        )
        .after(58),
        fetched("and not longer", &[("cache-control", "max-age=60")]).after(61),
        reused(
            "s-maxage outranks max-age",
            &[("cache-control", "max-age=1, s-maxage=60")],
        )
        .after(30),
        reused(
            "on another line, before it",
            &[
                ("cache-control", "s-maxage=60"),
                ("cache-control", "max-age=1"),
            ],
        )
        .after(30),
        fetched(
            "a shorter one as well",
            &[("cache-control", "max-age=60, s-maxage=1")],
        )
        .after(30),
        reused(
            "over max-age=0 and a past Expires",
            &[
                ("cache-control", "max-age=0, s-maxage=60"),
                ("expires", "@-10"),
            ],
        )
        .after(30),
        reused(
            "max-age beats a past Expires",
            &[("cache-control", "max-age=60"), ("expires", "@-10")],
        )
        .after(30),
        reused(
            "and an invalid one",
            &[("cache-control", "max-age=60"), ("expires", "0")],
        )
        .after(30),
        fetched(
            "max-age=0 is stale even with a future Expires",
            &[("cache-control", "max-age=0"), ("expires", "@+60")],
        ),
        fetched(
            "a negative one as well",
            &[("cache-control", "max-age=-1"), ("expires", "@+60")],
        ),
        reused("Expires alone", &[("expires", "@+60")]).after(30),
        fetched("and not past it", &[("expires", "@+60")]).after(61),
    ])
    .await;
}

#[tokio::test]
async fn lifetimes_as_they_are_written() {
    check(&[
        reused("names in any case", &[("cache-control", "MaX-aGe=60")]).after(30),
        reused("2^31 saturates", &[("cache-control", "max-age=2147483648")]).after(100_000),
        reused("so does more", &[("cache-control", "max-age=99999999999")]).after(100_000),
        reused(
            "so does what no integer holds",
            &[("cache-control", "max-age=99999999999999999999999")],
        )
        .after(9),
        reused("leading zeros", &[("cache-control", "max-age=0060")]).after(30),
        reused("quoted", &[("cache-control", "max-age=\"60\"")]).after(30),
        fetched(
            "text in a quoted string is no directive",
            &[("cache-control", "x=\"max-age=60\"")],
        ),
        reused(
            "nor forbids it anything",
            &[("cache-control", "x=\", no-store\", max-age=60")],
        ),
        fetched("single quotes", &[("cache-control", "max-age='60'")]),
        fetched("space after =", &[("cache-control", "max-age= 60")]),
        fetched("space before =", &[("cache-control", "max-age =60")]),
        fetched("decimals", &[("cache-control", "max-age=60.5")]),
        fetched("stray letters", &[("cache-control", "max-age=60s")]),
        fetched("without a value", &[("cache-control", "max-age")]),
        fetched(
            "the smallest of several",
            &[("cache-control", "max-age=60, max-age=1")],
        )
        .after(30),
        fetched(
            "in either order",
            &[
                ("cache-control", "max-age=1"),
                ("cache-control", "max-age=60"),
            ],
        )
        .after(30),
    ])
    .await;
}

#[tokio::test]
async fn expires_is_counted_from_date() {
    check(&[
        reused(
            "even where Date is wrong",
            &[("date", "@+1000"), ("expires", "@+1060")],
        )
        .after(30),
        fetched(
            "both in the future",
            &[("date", "@+1000"), ("expires", "@+1060")],
        )
        .after(61),
        fetched(
            "equal to Date",
            &[("date", "@+1000"), ("expires", "@+1000")],
        ),
        reused(
            "an unusable Date falls back to receipt",
            &[("date", "yesterday"), ("expires", "@+60")],
        )
        .after(30),
        fetched(
            "apparent age of an old Date counts",
            &[("date", "@-100"), ("expires", "@-40")],
        ),
        reused(
            "as far as it goes",
            &[("date", "@-20"), ("cache-control", "max-age=60")],
        )
        .after(30),
        fetched(
            "and no further",
            &[("date", "@-40"), ("cache-control", "max-age=60")],
        )
        .after(30),
    ])
    .await;
}

#[tokio::test]
async fn an_expires_in_another_form_is_in_the_past() {
    check(&[
        reused(
            "IMF-fixdate",
            &[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")],
        ),
        reused("asctime", &[("expires", "Thu Jan  1 00:00:00 2099")]),
        reused(
            "RFC 850",
            &[("expires", "Thursday, 01-Jan-70 00:00:00 GMT")],
        ),
        reused(
            "in any letter case",
            &[("expires", "thu, 01 JAN 2099 00:00:00 gmt")],
        ),
        fetched("0", &[("expires", "0")]),
        fetched("UTC", &[("expires", "Thu, 01 Jan 2099 00:00:00 UTC")]),
        fetched(
            "another zone",
            &[("expires", "Thu, 01 Jan 2099 00:00:00 AEST")],
        ),
        fetched(
            "an offset",
            &[("expires", "Thu, 01 Jan 2099 00:00:00 +0000")],
        ),
        fetched(
            "a year of two digits",
            &[("expires", "Thu, 01 Jan 99 00:00:00 GMT")],
        ),
        fetched("no comma", &[("expires", "Thu 01 Jan 2099 00:00:00 GMT")]),
        fetched(
            "double spaces",
            &[("expires", "Thu,  01 Jan  2099 00:00:00 GMT")],
        ),
        fetched("dashes", &[("expires", "Thu, 01-Jan-2099 00:00:00 GMT")]),
        fetched(
            "dots in the time",
            &[("expires", "Thu, 01 Jan 2099 00.00.00 GMT")],
        ),
        fetched(
            "an hour of one digit",
            &[("expires", "Thu, 01 Jan 2099 0:00:00 GMT")],
        ),
        fetched("several lines", &[("expires", "@+60"), ("expires", "@+60")]),
    ])
    .await;
}

#[tokio::test]
async fn a_received_age_counts() {
    check(&[
        reused(
            "below the lifetime",
            &[("cache-control", "max-age=60"), ("age", "20")],
        )
        .after(30),
        fetched(
            "not beyond it",
            &[("cache-control", "max-age=60"), ("age", "40")],
        )
        .after(30),
        fetched("for Expires as well", &[("expires", "@+60"), ("age", "40")]).after(30),
        fetched(
            "the first of a list",
            &[("cache-control", "max-age=60"), ("age", "40, 0")],
        )
        .after(30),
        reused(
            "whatever follows",
            &[("cache-control", "max-age=60"), ("age", "0, 90")],
        )
        .after(30),
        fetched(
            "the first of several lines",
            &[("cache-control", "max-age=60"), ("age", "40"), ("age", "0")],
        )
        .after(30),
        reused(
            "letters are ignored",
            &[("cache-control", "max-age=60"), ("age", "abc")],
        )
        .after(30),
        reused(
            "a negative one",
            &[("cache-control", "max-age=60"), ("age", "-90")],
        )
        .after(30),
        reused(
            "a decimal one",
            &[("cache-control", "max-age=60"), ("age", "90.0")],
        )
        .after(30),
        reused(
            "one with parameters",
            &[("cache-control", "max-age=60"), ("age", "90;x=y")],
        )
        .after(30),
        fetched(
            "2^64 is stale",
            &[
                ("cache-control", "max-age=60"),
                ("age", "18446744073709551616"),
            ],
        ),
        fetched(
            "2^31 too",
            &[
                ("cache-control", "max-age=99999999999"),
                ("age", "2147483648"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn heuristic_freshness_in_its_narrow_form() {
    const OLD: (&str, &str) = ("last-modified", LONG_AGO);
    const PUBLIC: (&str, &str) = ("cache-control", "public");
    let mut cases = vec![
        reused(
            "a tenth of the time since Last-Modified",
            &[("last-modified", "@-1000")],
        )
        .after(90),
        super::validated("not longer", &[("last-modified", "@-1000")]).after(110),
        reused("at most an hour", &[OLD]).after(3500),
        super::validated("though it is years old", &[OLD]).after(3700),
        super::validated("a cookie forbids it", &[OLD]).then(&[("cookie", "a=b")]),
        fetched("when stored as well", &[OLD]).first(&[("cookie", "a=b")]),
        super::validated("Authorization too", &[OLD]).then(&[("authorization", "x")]),
    ];
    for status in [203, 204, 404, 405, 410, 414, 501, 300, 301, 308] {
        cases.push(reused("by default", &[OLD]).status(status).after(60));
    }
    for status in [201, 202, 403, 502, 503, 504, 299, 499, 599] {
        cases.push(fetched("never by default", &[OLD]).status(status));
        cases.push(
            reused("unless it is public", &[OLD, PUBLIC])
                .status(status)
                .after(60),
        );
    }
    check(&cases).await;
    check_with(
        "[cache]\nheuristic = { enabled = false }\n",
        &[fetched("and a switch", &[OLD]).status(404)],
    )
    .await;
}

#[tokio::test]
async fn any_final_status_with_a_lifetime() {
    const FRESH: super::Fields = &[("cache-control", "max-age=60")];
    const STATUSES: [u16; 20] = [
        200, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 404, 410, 418, 499, 500, 502, 503,
        504, 599,
    ];
    let mut cases = Vec::new();
    for status in STATUSES {
        cases.push(reused("while fresh", FRESH).status(status).after(50));
        cases.push(fetched("not once stale", FRESH).status(status).after(61));
    }
    for status in [407, 408, 412, 416, 417, 421, 425, 428, 429, 431, 511] {
        cases.push(fetched("of one request", FRESH).status(status));
    }
    check(&cases).await;
}
