//! A scenario as it is written in TOML, and what makes it wrong.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use toml::Spanned;

use super::nearest::nearest;
use super::{Choice, Http, Keys, Kind, Scenario, Streams, replay};
use crate::failure::{Failure, Result};
use crate::units::Span;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: Option<String>,
    #[serde(default)]
    about: String,
    connections: Option<Spanned<usize>>,
    parallel: Option<Spanned<usize>>,
    rate: Option<Spanned<f64>>,
    duration: Option<Span>,
    warm_up: Option<Span>,
    patience: Option<Span>,
    rounds: Option<Spanned<usize>>,
    #[serde(default)]
    http: Http,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    keep_etags: bool,
    #[serde(default)]
    engine: Choice,
    accept_encoding: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    #[serde(default)]
    request: Vec<Spanned<WrittenKind>>,
    replay: Option<Spanned<WrittenReplay>>,
    streams: Option<WrittenStreams>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKind {
    path: Spanned<String>,
    weight: Option<Spanned<u32>>,
    method: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<String, Spanned<String>>,
    body: Option<String>,
    body_file: Option<Spanned<PathBuf>>,
    json_rpc: Option<WrittenCall>,
    keys: Option<Spanned<WrittenKeys>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCall {
    method: String,
    params: Option<toml::Value>,
    batch: Option<Spanned<usize>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKeys {
    count: u32,
    #[serde(default)]
    zipf: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenReplay {
    log: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStreams {
    path: String,
    clients: usize,
}

/// Reads a scenario; `path` is where relative names start, and what problems name.
pub(super) fn read(text: &str, path: &Path) -> Result<Scenario> {
    let source = Source { text, path };
    let written: Written =
        toml::from_str(text).map_err(|error| source.refused(error.span(), error.message()))?;
    source.check(written)
}

/// The text that is read, for the places of problems.
struct Source<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Source<'_> {
    fn check(&self, written: Written) -> Result<Scenario> {
        let mut headers = self.headers(&written.headers)?;
        if let Some(codings) = &written.accept_encoding {
            headers.push(("accept-encoding".to_owned(), codings.clone()));
        }
        let mut requests = Vec::new();
        for kind in written.request {
            requests.push(self.kind(kind)?);
        }
        let in_order = written.replay.is_some();
        if let Some(replay) = written.replay {
            if !requests.is_empty() {
                let help = "a scenario has [[request]] or [replay], not both";
                return Err(self.at(Some(replay.span()), help));
            }
            let span = replay.span();
            let log = self.beside(&replay.into_inner().log);
            requests = replay::read(&log).map_err(|why| self.at(Some(span), &why))?;
        }
        if requests.is_empty() {
            return Err(self.at(
                None,
                "nothing is asked for; write [[request]] with a path, or [replay] with a log",
            ));
        }
        let default = DEFAULTS;
        let positive = |value: Option<Spanned<usize>>, default: usize, most: usize| match value {
            Some(value) if *value.get_ref() == 0 || *value.get_ref() > most => Err(self.at(
                Some(value.span()),
                &format!("{} is not between 1 and {most}", value.get_ref()),
            )),
            other => Ok(other.map_or(default, Spanned::into_inner)),
        };
        let rate = match written.rate {
            Some(rate) if !(*rate.get_ref() > 0.0 && *rate.get_ref() <= 1e7) => {
                return Err(self.at(Some(rate.span()), "a rate is a number above 0"));
            }
            other => other.map(Spanned::into_inner),
        };
        if let (Http::One, Some(parallel)) = (written.http, &written.parallel) {
            let message =
                "HTTP/1.1 has one request at a time on a connection; parallel is for http = \"2\"";
            return Err(self.at(Some(parallel.span()), message));
        }
        let parallel = match written.http {
            Http::One => 1,
            Http::Two => positive(written.parallel, default.parallel, 1000)?,
        };
        let file_name = self.path.file_stem().unwrap_or_default().to_string_lossy();
        Ok(Scenario {
            name: written.name.unwrap_or_else(|| file_name.into_owned()),
            about: written.about,
            connections: positive(written.connections, default.connections, 100_000)?,
            parallel,
            rate,
            duration: written.duration.map_or(default.duration, |span| span.0),
            patience: written.patience.map_or(default.patience, |span| span.0),
            warm_up: written.warm_up.map_or(default.warm_up, |span| span.0),
            rounds: positive(written.rounds, default.rounds, 1000)?,
            http: written.http,
            tls: written.tls,
            keep_etags: written.keep_etags,
            engine: written.engine,
            headers,
            requests,
            in_order,
            streams: written.streams.map(|streams| Streams {
                path: streams.path,
                clients: streams.clients,
            }),
        })
    }

    fn kind(&self, written: Spanned<WrittenKind>) -> Result<Kind> {
        let place = written.span();
        let written = written.into_inner();
        let path = written.path.get_ref().clone();
        if !path.starts_with('/') || path.contains(char::is_whitespace) {
            let message = format!("\"{path}\" is no path; it starts with / and has no spaces");
            return Err(self.at(Some(written.path.span()), &message));
        }
        let mut headers = self.headers(&written.headers)?;
        let contents = usize::from(written.body.is_some())
            + usize::from(written.body_file.is_some())
            + usize::from(written.json_rpc.is_some());
        if contents > 1 {
            let message = "a request has one of body, body_file and json_rpc";
            return Err(self.at(Some(place), message));
        }
        let mut body = written.body.map(Bytes::from);
        if let Some(file) = written.body_file {
            let name = self.beside(file.get_ref());
            let content = std::fs::read(&name).map_err(|error| {
                self.at(Some(file.span()), &format!("cannot be read ({error})"))
            })?;
            body = Some(content.into());
        }
        if let Some(call) = written.json_rpc {
            body = Some(self.call(&call)?);
            if !headers.iter().any(|(name, _)| name == "content-type") {
                headers.push(("content-type".to_owned(), "application/json".to_owned()));
            }
        }
        let method = match &written.method {
            None if body.is_some() => http::Method::POST,
            None => http::Method::GET,
            Some(method) => method.get_ref().parse().map_err(|_| {
                self.at(
                    Some(method.span()),
                    &format!("{:?} is no method", method.get_ref()),
                )
            })?,
        };
        let keys = written.keys.map(|keys| self.keys(&keys)).transpose()?;
        let marked = path.contains("{key}")
            || body
                .as_ref()
                .is_some_and(|body| body.windows(5).any(|part| part == b"{key}"));
        if keys.is_some() != marked {
            let message = "`keys` and `{key}` in path or body come together";
            return Err(self.at(Some(place), message));
        }
        let weight = match written.weight {
            Some(weight) if *weight.get_ref() == 0 || *weight.get_ref() > 10_000 => {
                return Err(self.at(Some(weight.span()), "a weight is between 1 and 10000"));
            }
            other => other.map_or(1, Spanned::into_inner),
        };
        Ok(Kind {
            path,
            weight,
            method,
            headers,
            body,
            keys,
        })
    }

    fn keys(&self, written: &Spanned<WrittenKeys>) -> Result<Keys> {
        let keys = written.get_ref();
        if keys.count == 0 || keys.count > 50_000_000 || !(0.0..=10.0).contains(&keys.zipf) {
            let message = "count is between 1 and 50000000, zipf between 0 and 10";
            return Err(self.at(Some(written.span()), message));
        }
        Ok(Keys {
            count: keys.count,
            zipf: keys.zipf,
        })
    }

    fn call(&self, call: &WrittenCall) -> Result<Bytes> {
        let params = call
            .params
            .as_ref()
            .map(serde_json::to_value)
            .transpose()
            .map_err(|error| self.at(None, &format!("params of json_rpc: {error}")))?;
        let one = |id: usize| {
            let mut object = serde_json::json!({"jsonrpc": "2.0", "id": id, "method": call.method});
            if let (Some(params), Some(fields)) = (&params, object.as_object_mut()) {
                fields.insert("params".to_owned(), params.clone());
            }
            object
        };
        let body = match &call.batch {
            None => one(1),
            Some(batch) if (1..=10_000).contains(batch.get_ref()) => {
                (1..=*batch.get_ref()).map(one).collect()
            }
            Some(batch) => {
                return Err(self.at(Some(batch.span()), "a batch has between 1 and 10000 calls"));
            }
        };
        Ok(body.to_string().into())
    }

    fn headers(
        &self,
        written: &BTreeMap<String, Spanned<String>>,
    ) -> Result<Vec<(String, String)>> {
        let mut headers = Vec::new();
        for (name, value) in written {
            let wrong = |what: &str| self.at(Some(value.span()), what);
            let name = http::HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| wrong(&format!("\"{name}\" is no field name")))?;
            http::HeaderValue::from_str(value.get_ref())
                .map_err(|_| wrong("a field's value is one line of visible text"))?;
            headers.push((name.as_str().to_owned(), value.get_ref().clone()));
        }
        Ok(headers)
    }

    fn beside(&self, name: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(name)
    }

    /// What serde refuses, with what was meant.
    fn refused(&self, span: Option<Range<usize>>, message: &str) -> Failure {
        let mut quoted = message.split('`').skip(1).step_by(2);
        let message = message.lines().next().unwrap_or_default();
        if message.starts_with("unknown field")
            && let Some(word) = quoted.next()
        {
            let help = match nearest(word, quoted) {
                Some(meant) => format!("unknown key `{word}`; did you mean `{meant}`?"),
                None => message.replacen("unknown field", "unknown key", 1),
            };
            return self.at(span, &help);
        }
        self.at(span, message)
    }

    fn at(&self, span: Option<Range<usize>>, message: &str) -> Failure {
        let name = self.path.display();
        let Some(span) = span else {
            return Failure::usage(format!("{name}: {message}."));
        };
        let before = self.text.get(..span.start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        Failure::usage(format!("{name}:{line}: {message}.\n  {line:>4} | {text}"))
    }
}

/// What a scenario says that says nothing.
struct Defaults {
    connections: usize,
    parallel: usize,
    duration: std::time::Duration,
    warm_up: std::time::Duration,
    patience: std::time::Duration,
    rounds: usize,
}

const DEFAULTS: Defaults = Defaults {
    connections: 50,
    parallel: 10,
    // Long enough for a p99 at 100 requests/s, short enough to interleave.
    duration: std::time::Duration::from_secs(2),
    warm_up: std::time::Duration::from_secs(2),
    patience: std::time::Duration::from_secs(30),
    // With twelve, a fifth slower is seen in 19 of 20 comparisons even if one round of ten is disturbed.
    rounds: 12,
};
