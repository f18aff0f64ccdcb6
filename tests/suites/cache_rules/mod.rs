//! The rules of a shared cache (RFC 9110, 9111, 5861, 8246, 9211, 9213) from outside: tables of what
//! the upstream answered, how long ago, what is asked then, and what the upstream sees of that.

mod authorized;
mod collapsing;
mod directives;
mod freshness;
mod general;
mod groups;
mod head;
mod invalidation;
mod no_vary_search;
mod parts;
mod post;
mod query;
mod ranges;
mod requests;
mod status;
mod stored_fields;
mod targeted;
mod updates;
mod validation;
mod variants;
mod vary;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use http::Method;
use middleware::fields::http_date;
use tests::client::request;
use tests::upstream::Reply;
use tests::{Answer, Fetched, Proxy, Seen, Upstream, reply};

/// Names and values. A value `@+60` or `@-60` is the date that many seconds from now.
type Fields = &'static [(&'static str, &'static str)];

/// One row: two requests for one URL.
#[derive(Clone, Copy, Debug)]
struct Case {
    rule: &'static str,
    status: u16,
    /// What the upstream answers.
    answer: Fields,
    /// What the first request says.
    first: Fields,
    /// Seconds between the two.
    after: u64,
    /// What the second request says.
    second: Fields,
    /// What the upstream sees of the second.
    sees: Sees,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    Nothing,
    Get,
    /// A request with the validators of what is stored.
    Validation,
}

/// The second request is answered from what the first one brought.
fn reused(rule: &'static str, answer: Fields) -> Case {
    Case {
        rule,
        status: 200,
        answer,
        first: &[],
        after: 0,
        second: &[],
        sees: Sees::Nothing,
    }
}

/// The upstream is asked again, for all of it.
fn fetched(rule: &'static str, answer: Fields) -> Case {
    Case {
        sees: Sees::Get,
        ..reused(rule, answer)
    }
}

/// The upstream is asked whether what is stored still holds.
fn validated(rule: &'static str, answer: Fields) -> Case {
    Case {
        sees: Sees::Validation,
        ..reused(rule, answer)
    }
}

impl Case {
    fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    fn first(self, first: Fields) -> Self {
        Self { first, ..self }
    }

    fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    fn then(self, second: Fields) -> Self {
        Self { second, ..self }
    }
}

/// Runs a table in front of one Pillion and tells of all rows that fail.
async fn check(cases: &[Case]) {
    check_with("", cases).await;
}

async fn check_with(toml: &str, cases: &[Case]) {
    let world = World::with(toml).await;
    let mut failed = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Err(found) = world.run(&format!("/{number}"), case).await {
            failed.push(format!("{}\n  {case:?}\n  {found}", case.rule));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// An upstream that says what it is told to, and a Pillion before it.
struct World {
    upstream: Upstream,
    proxy: Proxy,
    says: Arc<Mutex<Says>>,
}

/// What the upstream says next. A validation of what it says is answered with 304.
#[derive(Clone, Debug)]
struct Says {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl World {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(toml: &str) -> Self {
        let says = Arc::new(Mutex::new(Says {
            status: 404,
            fields: Vec::new(),
            body: String::new(),
        }));
        let upstream = Upstream::start({
            let says = says.clone();
            move |seen| {
                let answer = says.lock().expect("no test panics with it").answer(&seen);
                async move { answer }
            }
        })
        .await;
        let proxy = Proxy::with(&upstream, toml).await;
        Self {
            upstream,
            proxy,
            says,
        }
    }

    fn says(&self, status: u16, fields: Fields, body: &str) {
        let now = self.proxy.clock.now().wall;
        let fields = fields.iter().map(|(name, value)| {
            let value = match value.strip_prefix('@') {
                Some(offset) => date(now, offset.parse().expect("seconds")),
                None => (*value).to_owned(),
            };
            ((*name).to_owned(), value)
        });
        *self.says.lock().expect("no test panics with it") = Says {
            status,
            fields: fields.collect(),
            body: body.to_owned(),
        };
    }

    async fn get(&self, target: &str, fields: Fields) -> Fetched {
        self.proxy.get_with(target, fields).await
    }

    async fn send(&self, method: Method, target: &str, fields: Fields) -> Fetched {
        self.proxy.send(request(method, target, fields, "")).await
    }

    fn advance(&self, seconds: u64) {
        self.proxy.advance(Duration::from_secs(seconds));
    }

    /// What the upstream sees while `request` is answered.
    async fn sees(&self, request: impl Future<Output = Fetched>) -> (Fetched, Vec<Seen>) {
        let before = self.upstream.count();
        let answer = request.await;
        (answer, self.upstream.seen().split_off(before))
    }

    async fn run(&self, target: &str, case: &Case) -> Result<(), String> {
        self.says(case.status, case.answer, "first");
        let first = self.get(target, case.first).await;
        self.advance(case.after);
        self.says(case.status, case.answer, "second");
        let (second, seen) = self.sees(self.get(target, case.second)).await;
        let sees = match &*seen {
            [] => Sees::Nothing,
            [seen] if is_conditional(seen) && !is_conditional_by(case.second) => Sees::Validation,
            [_] => Sees::Get,
            more => return Err(format!("the upstream saw {} requests", more.len())),
        };
        let told = second.header("cache-status");
        if sees != case.sees {
            return Err(format!("the upstream saw {sees:?}; {told}"));
        }
        let ages = second.headers.get_all("age").iter().count();
        match sees {
            Sees::Nothing if !told.starts_with("pillion; hit") || ages != 1 => {
                Err(format!("a hit says so and has one Age: {second:?}"))
            }
            Sees::Nothing if second.status == first.status && second.body != first.body => {
                Err(format!("a hit is what was stored: {second:?}"))
            }
            Sees::Get if told.contains("; hit") => Err(format!("it is no hit: {told}")),
            _ => Ok(()),
        }
    }
}

impl Says {
    fn answer(&self, seen: &Seen) -> Answer {
        let has = |name: &str, value: &str| {
            let value = seen.header(value);
            !value.is_empty()
                && self
                    .fields
                    .iter()
                    .any(|field| field.0 == name && field.1 == value)
        };
        let holds = has("etag", "if-none-match") || has("last-modified", "if-modified-since");
        let status = if holds && self.status == 200 {
            304
        } else {
            self.status
        };
        let mut answer = reply(status);
        for (name, value) in &self.fields {
            answer = answer.header(name, value);
        }
        if matches!(status, 204 | 304) || seen.method == Method::HEAD {
            answer.empty()
        } else {
            answer.body(self.body.clone())
        }
    }
}

/// By what the upstream knows: tags that Pillion made for what came without one are news to it.
fn is_conditional(seen: &Seen) -> bool {
    let tag = seen.header("if-none-match");
    !(tag.is_empty() || tag.starts_with("W/\"~")) || seen.headers.contains_key("if-modified-since")
}

fn is_conditional_by(fields: Fields) -> bool {
    fields
        .iter()
        .any(|(name, _)| name.starts_with("if-none") || name.starts_with("if-modified"))
}

/// An answer with these fields, still without content.
fn reply_with(status: u16, fields: Fields) -> Reply {
    let add = |reply: Reply, (name, value): &(&str, &str)| reply.header(name, value);
    fields.iter().fold(reply(status), add)
}

fn date(now: SystemTime, offset: i64) -> String {
    let step = Duration::from_secs(offset.unsigned_abs());
    let time = if offset < 0 { now - step } else { now + step };
    http_date::format(time).to_str().expect("ASCII").to_owned()
}
