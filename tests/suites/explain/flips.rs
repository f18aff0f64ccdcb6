//! For every reason: a decision that it makes, each change that `explain` names for it, and the
//! decision that each of them makes of it. A new reason does not compile until it has its cases.

use http::Method;
use middleware::cache::reason::Reason;

use super::scene::Case;

/// Decisions that `reason` makes.
fn cases(reason: Reason) -> Vec<Case> {
    use Reason as R;
    let one = |case| vec![case];
    let validated = || Case::answered(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    let asking = |fields: &[(&str, &str)]| one(validated().asked(fields).after(10, &[]));
    let answered = |fields: &[(&str, &str)]| one(Case::answered(fields));
    match reason {
        R::Disabled => one(Case::fresh().config("cache.enabled", "false")),
        R::Method => one(Case::fresh().method(Method::POST)),
        R::RequestBody => one(Case::fresh().content("x")),
        R::QueryContent => one(Case::fresh()
            .method(Method::QUERY)
            .asked(&[("content-type", "text/plain")])
            .content(LONG)
            .config("cache.query_max_body", "\"1KiB\"")),
        R::Upgrade => one(Case::fresh().asked(&[("connection", "upgrade"), ("upgrade", "x")])),
        R::Precondition => vec![
            Case::fresh().asked(&[("if-match", "\"a\"")]),
            Case::fresh().asked(&[("if-unmodified-since", "Thu, 01 Jan 2015 00:00:00 GMT")]),
        ],
        // Of others than trusted peers such a field goes no further.
        R::Override => vec![
            Case::fresh()
                .asked(&[("x-original-url", "/other")])
                .config("forwarding.trusted", "[\"127.0.0.0/8\"]"),
            Case::fresh()
                .asked(&[("x-host", "other")])
                .config("forwarding.trusted", "[\"127.0.0.0/8\"]")
                .config("cache.key.headers", "[\"x-tenant\"]"),
        ],
        // Nothing decides by it.
        R::Range => Vec::new(),
        R::Head => one(Case::fresh().method(Method::HEAD)),
        R::ClientNoStore => one(Case::fresh().asked(&[("cache-control", "no-store")])),
        R::ClientNoCache => [
            asking(&[("cache-control", "no-cache")]),
            asking(&[("pragma", "no-cache")]),
        ]
        .concat(),
        R::ClientMaxAge => asking(&[("cache-control", "max-age=5")]),
        R::ClientMinFresh => asking(&[("cache-control", "min-fresh=100")]),
        R::OnlyIfCached => one(Case::fresh().asked(&[("cache-control", "only-if-cached")])),
        R::NothingStored => one(Case::fresh()),
        R::VaryMismatch => one(
            Case::answered(&[("cache-control", "max-age=60"), ("vary", "x-a")])
                .asked(&[("x-a", "2")])
                .after(0, &[("x-a", "1")]),
        ),
        R::ContentLanguage => one(Case::answered(&[
            ("cache-control", "max-age=60"),
            ("vary", "accept-language"),
            ("content-language", "de"),
        ])
        .asked(&[("accept-language", "de")])
        .after(0, &[("accept-language", "fr, de;q=0.5")])
        .until_forwarded()),
        R::NoVarySearch => one(Case::answered(&[
            ("cache-control", "max-age=60"),
            ("no-vary-search", "params=(\"utm\")"),
        ])
        .after(0, &[])
        .first_at("/case?utm=1")
        .until_forwarded()),
        R::HeadDiffers => ["\"b\"", "W/\"a\""]
            .map(|tag| {
                validated()
                    .head(&[("cache-control", "max-age=60"), ("etag", tag)])
                    .method(Method::HEAD)
                    .after(100, &[])
                    .until_stored()
            })
            .to_vec(),
        R::Overtaken => one(validated()
            .not_modified(&[("cache-control", "max-age=60"), ("etag", "\"a\"")])
            .overtaken(100)),
        R::Stale => vec![
            Case::fresh().after(100, &[]),
            Case::answered(&[("cache-control", "s-maxage=60")]).after(100, &[]),
            Case::answered(&[("cdn-cache-control", "max-age=60")]).after(4000, &[]),
            Case::answered(&[])
                .config("cache.ttl", "\"10s\"")
                .after(100, &[]),
            Case::answered(&[("cache-control", "private")])
                .config("cache.force_ttl", "\"10s\"")
                .config("cache.i_know_responses_are_public", "true")
                .after(100, &[]),
        ],
        R::NoCache => {
            one(Case::answered(&[("cache-control", "no-cache"), ("etag", "\"a\"")]).after(0, &[]))
        }
        R::HeuristicCredentials => ["cookie", "authorization"]
            .map(|name| {
                Case::answered(&[("last-modified", "Thu, 01 Jan 2015 00:00:00 GMT")])
                    .asked(&[(name, "a=1")])
                    .after(0, &[])
            })
            .to_vec(),
        R::SoftPurged => one(Case::fresh().soft_purged()),
        R::StaleWhileRevalidate => vec![
            Case::answered(&[("cache-control", "max-age=1, stale-while-revalidate=600")])
                .after(10, &[])
                .until_forwarded(),
            Case::answered(&[("cache-control", "max-age=1")])
                .config("cache.stale_while_revalidate", "\"600s\"")
                .after(10, &[])
                .until_forwarded(),
        ],
        R::StaleIfError => vec![
            Case::answered(&[("cache-control", "max-age=1, stale-if-error=600")]).failing(10),
            Case::answered(&[("cache-control", "max-age=1")])
                .config("cache.stale_if_error", "\"600s\"")
                .failing(10),
        ],
        R::ClientMaxStale => one(Case::answered(&[("cache-control", "max-age=1")])
            .asked(&[("cache-control", "max-stale=100")])
            .after(10, &[])
            .until_forwarded()),
        // It decides nothing about the answer; and these two need a Redis that goes away: `on_outage`.
        R::EarlyRefresh | R::Outage | R::Shed | R::L2 | R::Disk => Vec::new(),
        R::CollapseTimeout => one(Case::fresh()
            .config("cache.collapse.wait", "\"50ms\"")
            .together()),
        R::NoStore => vec![
            Case::answered(&[("cache-control", "no-store")]),
            Case::answered(&[
                ("cdn-cache-control", "no-store"),
                ("cache-control", "max-age=60"),
            ]),
            Case::answered(&[
                ("own-cache-control", "no-store"),
                ("cache-control", "max-age=60"),
            ])
            .config("cache.targeted.fields", "[\"own-cache-control\"]")
            .config("cache.targeted.strip", "true"),
        ],
        R::Private => answered(&[("cache-control", "private, max-age=60")]),
        R::SetCookie => answered(&[("cache-control", "max-age=60"), ("set-cookie", "a=1")]),
        R::Authorization => one(Case::fresh().asked(&[("authorization", "Basic x")])),
        R::Cookie => one(Case::fresh().asked(&[("cookie", "a=1")])),
        R::VaryStar => answered(&[("cache-control", "max-age=60"), ("vary", "*")]),
        R::VaryPersonal => ["user-agent", "Accept, Cookie", "authorization"]
            .map(|names| Case::answered(&[("cache-control", "max-age=60"), ("vary", names)]))
            .to_vec(),
        R::VaryTooMany => {
            let names: Vec<_> = (0..20).map(|number| format!("x-{number}")).collect();
            answered(&[("cache-control", "max-age=60"), ("vary", &names.join(","))])
        }
        R::NoLifetime => answered(&[]),
        R::AlreadyStale => one(
            Case::answered(&[("cache-control", "max-age=60"), ("age", "100")])
                .config("etag.enabled", "false"),
        ),
        R::PartialContent => one(Case::fresh()
            .config("cache.partial", "false")
            .cut()
            .asked(&[("range", "bytes=0-1")])),
        R::OtherParts => one(Case::fresh()
            .cut()
            .asked(&[("range", "bytes=5-6")])
            .after(0, &[("range", "bytes=0-1")])),
        R::Status => vec![
            Case::answered(&[]).status(302),
            Case::answered(&[("cache-control", "max-age=60, must-understand")]).status(299),
            Case::fresh().status(429),
        ],
        R::TooLarge => vec![
            Case::fresh()
                .long(5000)
                .config("cache.max_body", "\"1KiB\""),
            // Longer than half of the whole cache.
            Case::fresh()
                .long(300 << 10)
                .config("cache.memory.size", "\"512KiB\""),
        ],
        R::TooManyTags => {
            let names: Vec<_> = (0..3000).map(|number| format!("t{number}")).collect();
            let many = [
                ("cache-control", "max-age=60"),
                ("cache-tag", &names.join(",")),
            ];
            vec![
                Case::answered(&many),
                Case::fresh_with("xkey", "a b c").config("cache.tags.count", "2"),
            ]
        }
        R::FillMemory => one(Case::fresh().long(7 << 20).crowded()),
        R::LiveStream => answered(&[
            ("cache-control", "max-age=60"),
            ("content-type", "text/event-stream"),
        ]),
        R::Purged => one(Case::fresh().purged()),
        // The layer that tags would wait for all of it, and answer 502.
        R::Incomplete => one(Case::fresh().config("etag.enabled", "false").broken_off()),
        R::UpstreamFailed => one(Case::fresh().down()),
        R::NotModified => one(Case::fresh()
            .not_modified(&[("cache-control", "max-age=60")])
            .asked(&[("if-none-match", "\"b\"")])),
        R::OtherTag => one(
            Case::answered(&[("cache-control", "max-age=60"), ("etag", "\"a\"")])
                .not_modified(&[("cache-control", "max-age=60"), ("etag", "\"b\"")])
                .after(100, &[])
                .until_stored(),
        ),
    }
}

/// More than a KiB.
const LONG: &str = {
    const BYTES: [u8; 2000] = [b'x'; 2000];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("it is ASCII"),
    }
};

/// Reasons without any change that flips them, and those that have one in some of their cases only.
const WITHOUT: [Reason; 9] = [
    Reason::OtherParts,
    Reason::Overtaken,
    Reason::NothingStored,
    Reason::SoftPurged,
    Reason::LiveStream,
    Reason::Purged,
    Reason::Incomplete,
    Reason::UpstreamFailed,
    Reason::Status,
];

/// Runs all cases of `reason`; tells what is wrong.
async fn check(reason: Reason) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut without = 0;
    for case in cases(reason) {
        let outcome = case.run().await;
        let Some(step) = outcome.step(reason.name()) else {
            wrong.push(format!("{reason:?} is not told: {outcome:#?}"));
            continue;
        };
        let changes = step["changes"].as_array().expect("a list");
        if changes.is_empty() {
            without += 1;
            let why = step["no_change"].as_str().unwrap_or_default();
            if !(WITHOUT.contains(&reason) && why.ends_with('.')) {
                wrong.push(format!("{reason:?} names no change and no cause: {step}"));
            }
            continue;
        }
        if case.is_flipped(&outcome) {
            wrong.push(format!("{reason:?} decides nothing: {:?}", outcome.answer));
        }
        for change in changes {
            let mut changed = case.clone();
            changed.apply(change);
            let other = changed.run().await;
            if !changed.is_flipped(&other) {
                let (before, after) = (&outcome.answer, &other.answer);
                wrong.push(format!(
                    "{reason:?}: {change} flips nothing\nof {case:?}\nbefore: {before:?}\nafter: {after:?}"
                ));
            }
        }
    }
    if WITHOUT.contains(&reason) && without == 0 {
        wrong.push(format!("{reason:?} names a change in each case"));
    }
    wrong
}

#[tokio::test]
async fn the_change_that_explain_names_flips_the_decision_for_every_reason() {
    let checks = Reason::ALL.iter().map(|reason| check(*reason));
    let wrong: Vec<String> = futures_util::future::join_all(checks).await.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
