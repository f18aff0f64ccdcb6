//! The upstream of a history: it answers by the script of the request, and tells the log.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use middleware::{Body, Error, ErrorKind, Request, Response, ResponseFuture, Result};
use tokio::sync::oneshot;
use tower::Service;

use super::history::{
    Age, Content, Directive, Kind, Method, NAMES, Nominated, Reply, SEARCHES, TONGUES, Tag, URLS,
};
use super::log::{Change, Changed, Exchange, Field, Head, Log, Outcome, content};

/// When the clock of a history begins.
pub(super) fn beginning() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// What the upstream holds back.
pub(super) type Gates = Vec<oneshot::Sender<()>>;

/// See the module.
#[derive(Clone)]
pub(super) struct Upstream(pub(super) Arc<Mutex<(Log, Gates)>>);

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> ResponseFuture {
        let mut state = self.0.lock().expect("one thread");
        let (log, gates) = &mut *state;
        let number = log.exchanges.len();
        let asked = number_of(request.headers(), "x-ask").expect("every request is numbered");
        let started = log.tick();
        log.exchanges.push(Exchange {
            asked,
            method: request.method().to_string(),
            fields: request.headers().clone(),
            started,
            end: None,
        });
        if !log.asked[asked].ask.held {
            return ResponseFuture::ready(respond(log, gates, number));
        }
        let (release, released) = oneshot::channel();
        gates.push(release);
        let state = self.0.clone();
        ResponseFuture::boxed(async move {
            // Dropped at the end of the history: then it is released, too.
            drop(released.await);
            let mut state = state.lock().expect("one thread");
            let (log, gates) = &mut *state;
            respond(log, gates, number)
        })
    }
}

/// The number that a field of ours holds.
pub(super) fn number_of(fields: &HeaderMap, name: &'static str) -> Option<usize> {
    fields.get(name)?.to_str().ok()?.parse().ok()
}

fn respond(log: &mut Log, gates: &mut Gates, number: usize) -> Result<Response> {
    let moment = log.tick();
    let exchange = &log.exchanges[number];
    let ask = log.ask_of(exchange).clone();
    let reply = &ask.reply;
    if let Kind::Fail(kind) = reply.kind {
        log.end(number, moment, Outcome::Failed);
        return Err(Error::upstream(FAILURES[kind]));
    }
    let mut head = Head::of(reply, moment.at, number, log);
    let confirmed = match reply.kind {
        Kind::Confirm if ask.method.is_safe() => confirmed(log, number),
        _ => None,
    };
    if let Some(base) = confirmed {
        let is_head = log.exchanges[number].method == "HEAD" && !is_conditional(log, number);
        head.status = if is_head { 200 } else { 304 };
        head.location = None;
        // The validator of what is confirmed, or none.
        let Some((_, of_base, _)) = log.answer_of(base) else {
            unreachable!("only answers are confirmed");
        };
        head.tag = of_base.tag.clone().filter(|_| head.tag.is_some());
        head.modified = of_base.modified.clone().filter(|_| head.modified.is_some());
        head.language = of_base.language;
        let has_none = head.tag.is_none() && head.modified.is_none();
        let mut fields = head.written();
        if is_head && (has_none || of_base.status != 200) {
            // Nothing by which it would be known again.
            let end = Outcome::Answer {
                head,
                is_whole: true,
            };
            fields.insert("x-serial", HeaderValue::from(number as u64));
            log.end(number, moment, end);
            return Ok(response(200, fields, Body::empty()));
        }
        let status = head.status;
        fields.insert("x-update", HeaderValue::from(number as u64));
        log.end(number, moment, Outcome::Confirmed { base, head });
        return Ok(response(status, fields, Body::empty()));
    }
    if !ask.method.is_safe() && (200..400).contains(&head.status) {
        let also = head.location.map(|(_, url)| url);
        for url in [Some(ask.url), also].into_iter().flatten() {
            let kind = Changed::Url(url);
            let by = Some(number);
            log.changes.push(Change { moment, kind, by });
        }
    }
    let mut fields = head.written();
    fields.insert("x-serial", HeaderValue::from(number as u64));
    let text = content(number, head.status);
    let is_head = log.exchanges[number].method == Method::Head.name();
    let is_whole = is_head || text.is_empty() || reply.body != Content::Broken;
    let body = match is_head {
        true => Body::empty(),
        false => body(reply.body, &text, &mut fields, gates),
    };
    let status = head.status;
    log.end(number, moment, Outcome::Answer { head, is_whole });
    Ok(response(status, fields, body))
}

fn response(status: u16, fields: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    *response.headers_mut() = fields;
    response
}

fn body(kind: Content, text: &str, fields: &mut HeaderMap, gates: &mut Gates) -> Body {
    if text.is_empty() {
        return Body::empty();
    }
    let length = HeaderValue::from(text.len() as u64);
    let (first, second) = text.split_at(text.len() / 2);
    let frame = |text: &str| Ok::<_, Error>(Frame::data(Bytes::copy_from_slice(text.as_bytes())));
    let pieces = [frame(first), frame(second)];
    match kind {
        Content::Whole => {
            fields.insert("content-length", length);
            Body::from(text.to_owned())
        }
        Content::Pieces(declared) => {
            if declared {
                fields.insert("content-length", length);
            }
            Body::stream(StreamBody::new(stream::iter(pieces)))
        }
        Content::Late => {
            let (release, released) = oneshot::channel();
            gates.push(release);
            let [first, second] = pieces;
            let second = stream::once(async move {
                drop(released.await);
                second
            });
            let all = stream::iter([first]).chain(second);
            Body::stream(StreamBody::new(Box::pin(all)))
        }
        Content::Broken => {
            fields.insert("content-length", length);
            let [first, _] = pieces;
            let end = Err(Error::upstream(ErrorKind::HttpResponseIncomplete));
            Body::stream(StreamBody::new(stream::iter([first, end])))
        }
    }
}

fn is_conditional(log: &Log, number: usize) -> bool {
    let fields = &log.exchanges[number].fields;
    fields.contains_key("if-none-match") || fields.contains_key("if-modified-since")
}

/// The answer that the request's condition names, if one does.
fn confirmed(log: &Log, number: usize) -> Option<usize> {
    let exchange = &log.exchanges[number];
    let url = log.ask_of(exchange).url;
    let earlier = || {
        let answers = log.exchanges.iter().enumerate().rev();
        answers.filter_map(|(number, exchange)| {
            let (_, head, _) = log.answer_of(number)?;
            let other = log.ask_of(exchange).url;
            head.makes_one(other, url).then_some((number, head))
        })
    };
    let text = |name: &str| Some(exchange.fields.get(name)?.to_str().ok()?.to_owned());
    if let Some(condition) = text("if-none-match") {
        let named = condition.split(',').map(opaque).collect::<Vec<_>>();
        let mut earlier = earlier();
        return earlier
            .find(|(_, head)| {
                let tag = head.tag.as_ref();
                tag.is_some_and(|tag| named.contains(&opaque(&tag.text)))
            })
            .map(|(number, _)| number);
    }
    if exchange.method == "HEAD" && !is_conditional(log, number) {
        // A 200 to HEAD about what it answered last.
        return earlier().next().map(|(number, _)| number);
    }
    let condition = text("if-modified-since")?;
    earlier()
        .find(|(_, head)| {
            let modified = head.modified.as_ref();
            modified.is_some_and(|modified| modified.text == condition)
        })
        .map(|(number, _)| number)
}

/// A tag without its weakness.
pub(super) fn opaque(tag: &str) -> &str {
    let tag = tag.trim();
    tag.strip_prefix("W/").unwrap_or(tag)
}

impl Head {
    /// What `reply` says when it is given at `now` as the answer of exchange `number`.
    fn of(reply: &Reply, now: i64, number: usize, log: &Log) -> Self {
        let second = now.div_euclid(1_000) * 1_000;
        let at = |seconds: Option<i64>, wrong: &str| {
            let means = seconds.map(|seconds| second + seconds * 1_000);
            let text = means.map_or_else(|| wrong.to_owned(), date);
            Field { means, text }
        };
        let vary = (!reply.vary.is_empty()).then(|| Field {
            means: reply.vary.clone(),
            text: written_vary(&reply.vary, reply.noise),
        });
        let modified = reply.modified.map(|seconds| {
            // A date of its own for each, so that it names one answer.
            let mut means = second - seconds * 1_000;
            let is_taken = |means| {
                log.exchanges.iter().any(|exchange| match &exchange.end {
                    Some((_, Outcome::Answer { head, .. })) => {
                        let modified = head.modified.as_ref();
                        modified.is_some_and(|modified| modified.means == means)
                    }
                    _ => false,
                })
            };
            while is_taken(means) {
                means -= 1_000;
            }
            let text = date(means);
            Field { means, text }
        });
        Self {
            status: reply.status,
            control: (!reply.directives.is_empty()).then(|| Field {
                means: reply.directives.clone(),
                text: written(&reply.directives, reply.noise),
            }),
            targeted: reply.targeted.as_ref().map(|targeted| match targeted {
                None => Field {
                    means: None,
                    text: "max-age=60, no-store=, &".to_owned(),
                },
                Some(directives) => Field {
                    means: Some(last_of_each(directives)),
                    text: written(directives, 0),
                },
            }),
            expires: reply.expires.map(|seconds| at(seconds, "0")),
            date: reply.date.map(|seconds| at(seconds, "yesterday")),
            age: reply.age.map(|means| Field {
                means,
                text: match means {
                    Age::Seconds(seconds) => seconds.to_string(),
                    Age::First(seconds) => format!("{seconds}, 7"),
                    Age::Unreadable => "-1".to_owned(),
                },
            }),
            vary,
            tag: reply.tag.map(|means| Field {
                means,
                text: match means {
                    Tag::Strong => format!("\"s{number}\""),
                    Tag::Weak => format!("W/\"s{number}\""),
                },
            }),
            modified,
            set_cookie: reply.set_cookie.then(|| format!("session={number}")),
            location: reply.location,
            language: reply.language,
            names: reply.names.clone(),
            search: reply.search,
        }
    }

    fn written(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let language = self.language.map(|language| TONGUES[language].to_owned());
        let names = self.names.as_ref().map(|names| {
            let names: Vec<_> = names.iter().map(|name| NAMES[*name]).collect();
            names.join(" ")
        });
        let search = self.search.map(|search| SEARCHES[search].0.to_owned());
        let texts = [
            ("surrogate-key", names.as_ref()),
            ("no-vary-search", search.as_ref()),
            (
                "cdn-cache-control",
                self.targeted.as_ref().map(|field| &field.text),
            ),
            ("expires", self.expires.as_ref().map(|field| &field.text)),
            ("date", self.date.as_ref().map(|field| &field.text)),
            ("age", self.age.as_ref().map(|field| &field.text)),
            ("vary", self.vary.as_ref().map(|field| &field.text)),
            ("etag", self.tag.as_ref().map(|field| &field.text)),
            (
                "last-modified",
                self.modified.as_ref().map(|field| &field.text),
            ),
            ("set-cookie", self.set_cookie.as_ref()),
            ("content-language", language.as_ref()),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                fields.insert(HeaderName::from_static(name), value(text));
            }
        }
        // On as many lines as there are in the text.
        let control = self.control.as_ref().map(|field| field.text.lines());
        for line in control.into_iter().flatten() {
            fields.append("cache-control", value(line));
        }
        if let Some((location, url)) = self.location {
            let name = if location {
                "location"
            } else {
                "content-location"
            };
            fields.insert(HeaderName::from_static(name), value(URLS[url]));
        }
        fields
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("visible ASCII")
}

/// A date of `milliseconds` after the beginning.
pub(super) fn date(milliseconds: i64) -> String {
    let since = Duration::from_millis(milliseconds.unsigned_abs());
    let time = match milliseconds < 0 {
        true => beginning() - since,
        false => beginning() + since,
    };
    httpdate::fmt_http_date(time)
}

/// A dictionary's member replaces an earlier one of its name (RFC 9651 §4.2.2).
fn last_of_each(directives: &[Directive]) -> Vec<Directive> {
    let is_same = |one: &Directive, other: &Directive| {
        std::mem::discriminant(one) == std::mem::discriminant(other)
    };
    let all = directives.iter().enumerate();
    let last =
        all.filter(|(at, one)| !directives[at + 1..].iter().any(|later| is_same(one, later)));
    last.map(|(_, one)| *one).collect()
}

/// `Cache-Control` in one of many ways.
fn written(directives: &[Directive], noise: u8) -> String {
    let members = directives.iter().map(|directive| {
        let number = |name: &str, seconds: Option<i64>| match (seconds, noise % 4) {
            (None, _) => format!("{name}=1.5"),
            (Some(seconds), 1) => format!("{name}=\"{seconds}\""),
            (Some(seconds), 2) => format!("{name}=00{seconds}"),
            (Some(seconds), _) => format!("{name}={seconds}"),
        };
        let text = match *directive {
            Directive::MaxAge(seconds) => number("max-age", seconds),
            Directive::SMaxage(seconds) => number("s-maxage", seconds),
            Directive::NoStore => "no-store".to_owned(),
            Directive::NoCache => "no-cache".to_owned(),
            Directive::NoCacheOfCookie => "no-cache=\"set-cookie, x-none\"".to_owned(),
            Directive::Private => "private".to_owned(),
            Directive::PrivateCookie => "private=\"Set-Cookie\"".to_owned(),
            Directive::Public => "public".to_owned(),
            Directive::MustRevalidate => "must-revalidate".to_owned(),
            Directive::ProxyRevalidate => "proxy-revalidate".to_owned(),
            Directive::MustUnderstand => "must-understand".to_owned(),
            Directive::Immutable => "immutable".to_owned(),
            Directive::WhileRevalidating(seconds) => {
                number("stale-while-revalidate", Some(seconds))
            }
            Directive::IfError(seconds) => number("stale-if-error", Some(seconds)),
        };
        match noise & 4 {
            0 => text,
            _ => text.to_ascii_uppercase(),
        }
    });
    let separator = match noise & 24 {
        8 => "\n",
        16 => " , note=\"no-store, private\",,",
        _ => ", ",
    };
    members.collect::<Vec<_>>().join(separator)
}

fn written_vary(nominated: &[Nominated], noise: u8) -> String {
    let names = nominated.iter().map(|one| {
        let name = match one {
            Nominated::Language => "accept-language",
            Nominated::Flavour => "x-flavour",
            Nominated::Cookie => "cookie",
            Nominated::Encoding => "accept-encoding",
            Nominated::Star => "*",
        };
        match noise & 4 {
            0 => name.to_owned(),
            _ => name.to_ascii_uppercase(),
        }
    });
    names
        .collect::<Vec<_>>()
        .join(if noise & 8 == 0 { "," } else { ", ,\t" })
}

const FAILURES: [ErrorKind; 4] = [
    ErrorKind::ConnectionRefused,
    ErrorKind::ConnectionTerminated,
    ErrorKind::ConnectionReadTimeout,
    ErrorKind::HttpProtocolError,
];
