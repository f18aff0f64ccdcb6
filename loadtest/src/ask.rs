//! One request, and its answer: for samples, metrics and waiting until somebody listens.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::origin::Origin;
use crate::scenario::Http;

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// As it came: coded, if it was coded.
    pub(crate) content: Bytes,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Bytes,
}

impl Question {
    /// A GET of a path, without fields of its own.
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            headers: Vec::new(),
            content: Bytes::new(),
        }
    }

    /// The request as HTTP/1.1 or HTTP/2 wants it.
    ///
    /// # Errors
    /// When a part of it is not well formed.
    pub(crate) fn request(
        &self,
        origin: &Origin,
        http: Http,
    ) -> Result<Request<Full<Bytes>>, String> {
        let uri = match http {
            Http::One => self.path.clone(),
            Http::Two => format!("{}{}", origin.base(), self.path),
        };
        let mut request = Request::builder().method(&self.method).uri(uri);
        if http == Http::One {
            request = request.header(header::HOST, origin.authority());
        }
        if !self.headers.iter().any(|(name, _)| name == "user-agent") {
            request = request.header(header::USER_AGENT, USER_AGENT);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.content.clone()));
        request.map_err(|error| format!("{} {}: {error}", self.method, self.path))
    }
}

/// Asks on a connection of its own.
///
/// # Errors
/// In words, when no whole answer comes within `patience`.
pub(crate) async fn ask(
    origin: &Origin,
    http: Http,
    question: &Question,
    patience: Duration,
) -> Result<Answer, String> {
    match timeout(patience, ask_at_last(origin, http, question)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", patience.as_secs_f64())),
    }
}

async fn ask_at_last(origin: &Origin, http: Http, question: &Question) -> Result<Answer, String> {
    let stream = origin
        .connect(http)
        .await
        .map_err(|error| error.to_string())?;
    let request = question.request(origin, http)?;
    let words = |error: hyper::Error| error.to_string();
    match http {
        Http::One => {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(words)?;
            let answer = async { read(sender.send_request(request).await.map_err(words)?).await };
            tokio::pin!(answer);
            // The connection moves only while it is polled, and may end before its last answer was read.
            tokio::select! {
                biased;
                answer = &mut answer => answer,
                ended = connection => match answer.await {
                    Err(_) if ended.is_err() => Err(ended.err().map(words).unwrap_or_default()),
                    answer => answer,
                },
            }
        }
        Http::Two => {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .map_err(words)?;
            let answer = async { read(sender.send_request(request).await.map_err(words)?).await };
            tokio::select! {
                biased;
                answer = answer => answer,
                _ended = connection => Err("the connection ended".to_owned()),
            }
        }
    }
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let content = Limited::new(body, LARGEST)
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        content,
    })
}

/// Samples of a Prometheus text, summed over the labels that `by` does not keep apart.
pub(crate) fn metric(text: &str, name: &str, by: Option<&str>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => match rest.rsplit_once('}') {
                Some(parts) => parts,
                None => continue,
            },
            None if rest.starts_with(' ') => ("", rest),
            None => continue,
        };
        let Some(value) = value
            .split_whitespace()
            .next()
            .and_then(|v| v.parse::<f64>().ok())
        else {
            continue;
        };
        let label = by.and_then(|by| {
            let after = labels.split(&format!("{by}=\"")).nth(1)?;
            after.split('"').next()
        });
        *sums
            .entry(label.unwrap_or_default().to_owned())
            .or_default() += value;
    }
    sums
}

/// How this program calls itself.
const USER_AGENT: &str = concat!("pillion-loadtest/", env!("CARGO_PKG_VERSION"));
/// Bytes of one sampled content.
const LARGEST: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let text = "# HELP a_total x\n\
                    a_total{outcome=\"hit\",route=\"/\"} 3\n\
                    a_total{outcome=\"hit\",route=\"/b}\"} 4\n\
                    a_total{outcome=\"miss\",route=\"/\"} 5\n\
                    a_total_other 9\n\
                    b 2.5 # {trace=\"x\"}\n";
        let a = metric(text, "a_total", Some("outcome"));
        assert_eq!(a.get("hit"), Some(&7.0));
        assert_eq!(a.get("miss"), Some(&5.0));
        assert_eq!(metric(text, "b", None).get(""), Some(&2.5));
        assert!(metric(text, "c", None).is_empty());
    }
}
