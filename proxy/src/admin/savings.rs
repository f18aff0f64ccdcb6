//! `/explain/savings`: what a cache would save where nothing is stored, and at which risk.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use middleware::cache::ghost::savings::{RouteSavings, Saved, Savings};

use super::Admin;
use super::explain::wants_text;
use super::reply::{self, Reply};

/// Answers with what the ghost cache has seen so far.
pub(super) fn savings(admin: &Admin, head: &Parts, _: &Bytes) -> Reply {
    let savings = admin.shared.cache.savings();
    match wants_text(head.uri.query(), &head.headers) {
        true => reply::text(Text(&savings).to_string()),
        false => reply::json(StatusCode::OK, &savings),
    }
}

/// For people.
struct Text<'a>(&'a Savings);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Savings { followed, routes } = self.0;
        if routes.is_empty() {
            return writeln!(
                f,
                "Nothing was followed yet. What is stored is not, nor anything where \
                 cache.ghost.enabled is not true: put `[cache]` and `ghost = {{ enabled = true }}` \
                 into the configuration, and let the app be used for a while."
            );
        }
        for route in routes {
            part(f, route)?;
        }
        match followed.part < 1.0 {
            false => writeln!(f, "All {} keys are followed.", followed.keys),
            true => writeln!(
                f,
                "Estimated from {} keys, {:.1} % of all and the busiest; raise cache.ghost.keys for more.",
                followed.keys,
                100.0 * followed.part
            ),
        }
    }
}

fn part(f: &mut fmt::Formatter<'_>, route: &RouteSavings) -> fmt::Result {
    let RouteSavings {
        pattern,
        requests,
        seconds,
        cache,
        ..
    } = route;
    writeln!(
        f,
        "{pattern}: {requests} GET requests without credentials in {seconds} s (cache {cache}), {}, {:.1} s upstream",
        size(route.bytes),
        route.upstream_seconds
    )?;
    if route.credentialed + route.ranges > 0 {
        let (credentialed, ranges) = (route.credentialed, route.ranges);
        writeln!(
            f,
            "  apart       {credentialed} with Cookie or Authorization, {ranges} for ranges"
        )?;
    }
    if !route.not_stored.is_empty() {
        let rules = route.not_stored.iter();
        let rules: Vec<_> = rules.map(|(rule, n)| format!("{n} by {rule}")).collect();
        writeln!(f, "  not stored  {}", rules.join(", "))?;
    }
    writeln!(
        f,
        "  ttl            hits   rate       bytes  upstream   wrong"
    )?;
    for saved in route.as_configured.iter().chain(&route.ttl) {
        row(f, saved)?;
    }
    if let Some(best) = best(&route.ttl) {
        writeln!(f, "  {}", best.risk)?;
        for line in best.rule.lines() {
            writeln!(f, "    {line}")?;
        }
    }
    writeln!(f)
}

fn row(f: &mut fmt::Formatter<'_>, saved: &Saved) -> fmt::Result {
    let ttl = match saved.ttl {
        Some(seconds) => format!("{seconds} s"),
        None => String::from("the app's"),
    };
    let wrong = match saved.wrong_rate {
        Some(rate) => format!("{:.1} %", 100.0 * rate),
        None => String::from("?"),
    };
    writeln!(
        f,
        "  {ttl:<10}{:>9}{:>5.0} %{:>12}{:>8.1} s{wrong:>8}",
        saved.hits,
        100.0 * saved.hit_rate,
        size(saved.bytes),
        saved.upstream_seconds,
    )
}

/// What is harmless and saves most, the shorter lifetime where that is the same; else what is least
/// often wrong. `None` where nothing would be reused.
fn best(plans: &[Saved]) -> Option<&Saved> {
    let harmless = plans.iter().rev().filter(|saved| saved.harmless);
    let wrong = |saved: &Saved| (saved.wrong + saved.credentialed_wrong) as f64 / saved.hits as f64;
    let useful = plans.iter().filter(|saved| saved.hits > 0);
    harmless
        .max_by_key(|saved| saved.hits)
        .or_else(|| useful.min_by(|left, right| wrong(left).total_cmp(&wrong(right))))
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let number = bytes as f64;
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.0} kB", number / 1e3),
        10_000_000..10_000_000_000 => format!("{:.0} MB", number / 1e6),
        _ => format!("{:.0} GB", number / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use middleware::cache::ghost::savings::{Memory, Sample};

    use super::*;

    fn saved(ttl: Option<u64>, hits: u64, wrong: u64) -> Saved {
        Saved {
            ttl,
            hits,
            hit_rate: hits as f64 / 100.0,
            upstream_requests: hits,
            bytes: 1000 * hits,
            upstream_seconds: 0.1 * hits as f64,
            checked: hits,
            wrong,
            wrong_rate: (hits > 0).then(|| wrong as f64 / hits as f64),
            credentialed_served: 0,
            credentialed_wrong: 0,
            rule: format!("[[route]]\nmatch = \"/a/*\"\ncache = {{ ttl = \"{ttl:?}\" }}"),
            risk: format!("{wrong} of {hits} are wrong."),
            harmless: hits > 0 && wrong == 0,
        }
    }

    fn told(ttl: Vec<Saved>) -> Savings {
        Savings {
            followed: Sample {
                keys: 7,
                part: 1.0,
                memory: Memory::default(),
            },
            routes: vec![RouteSavings {
                route: "*".to_owned(),
                pattern: "/a/*".to_owned(),
                cache: "off",
                seconds: 60,
                requests: 100,
                bytes: 100_000,
                upstream_seconds: 10.0,
                credentialed: 3,
                ranges: 0,
                not_stored: [("set-cookie", 2)].into(),
                as_configured: Some(saved(None, 0, 0)),
                ttl,
            }],
        }
    }

    #[test]
    fn sentences() {
        let plans = vec![
            saved(Some(1), 10, 0),
            saved(Some(5), 20, 0),
            saved(Some(30), 20, 0),
            saved(Some(300), 90, 9),
        ];
        let expected = "\
/a/*: 100 GET requests without credentials in 60 s (cache off), 100 kB, 10.0 s upstream
  apart       3 with Cookie or Authorization, 0 for ranges
  not stored  2 by set-cookie
  ttl            hits   rate       bytes  upstream   wrong
  the app's         0    0 %         0 B     0.0 s       ?
  1 s              10   10 %       10 kB     1.0 s   0.0 %
  5 s              20   20 %       20 kB     2.0 s   0.0 %
  30 s             20   20 %       20 kB     2.0 s   0.0 %
  300 s            90   90 %       90 kB     9.0 s  10.0 %
  0 of 20 are wrong.
    [[route]]
    match = \"/a/*\"
    cache = { ttl = \"Some(5)\" }

All 7 keys are followed.
";
        assert_eq!(Text(&told(plans)).to_string(), expected);
    }

    #[test]
    fn what_is_proposed() {
        let ttl = |plans: &[Saved]| best(plans).and_then(|saved| saved.ttl);
        assert_eq!(ttl(&[saved(Some(1), 0, 0), saved(Some(5), 0, 0)]), None);
        assert_eq!(ttl(&[saved(Some(1), 9, 1), saved(Some(5), 90, 1)]), Some(5));
        assert_eq!(ttl(&[saved(Some(1), 9, 0), saved(Some(5), 90, 1)]), Some(1));
    }
}
