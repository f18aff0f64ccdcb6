//! The answer: its fields made fit for others, its body with a deadline, its connection given back.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use config::upstream::UpstreamSettings;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderName, UPGRADE};
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use middleware::fields::hop_by_hop;
use middleware::fields::stream::is_live_stream;
use middleware::forwarding::strip_trailers;
use middleware::{Body, Error, ErrorKind, Result};

use super::failure;
use super::pool::{Connection, Lease};

/// Checks the head of an answer and takes from it what concerns this connection alone.
///
/// # Errors
/// When the upstream sent more fields than we take.
pub(super) fn check_head(
    head: &mut http::response::Parts,
    content: &SizeHint,
    lease: &mut Lease,
) -> Result<()> {
    if head.headers.len() > lease.lane.state.settings.fields_count {
        let error = Error::upstream(ErrorKind::HttpResponseHeaderSectionSize);
        return Err(lease.lane.counted(error));
    }
    let mut has = Has::default();
    let found = hop_by_hop::Found::among(&head.headers, |name, value| has.see(name, value));
    if let Some(Connection::Http1(http1)) = &mut lease.connection {
        http1.lifetime = lifetime(head, http1.lifetime, has.keep_alive);
    }
    let has_no_content = head.status == StatusCode::NO_CONTENT;
    if has.several_lengths || (has.length && (has.transfer_encoding || has_no_content)) {
        one_length(head, has.transfer_encoding, content);
    }
    found.strip(&mut head.headers);
    Ok(())
}

/// Which fields an answer has of those that matter here, seen in the one pass that is made over all.
#[derive(Default)]
struct Has {
    keep_alive: bool,
    transfer_encoding: bool,
    length: bool,
    /// Several lines, or one that is a list.
    several_lengths: bool,
}

impl Has {
    fn see(&mut self, name: &str, value: &HeaderValue) {
        match name {
            "keep-alive" => self.keep_alive = true,
            "transfer-encoding" => self.transfer_encoding = true,
            "content-length" => {
                self.several_lengths |= self.length || value.as_bytes().contains(&b',');
                self.length = true;
            }
            _ => {}
        }
    }
}

/// How long the connection may be unused after this answer: an upstream that announces when it
/// will close it would otherwise race our next request.
fn lifetime(head: &http::response::Parts, ours: Duration, is_announced: bool) -> Duration {
    if head.version != Version::HTTP_11 {
        // hyper remembers the version of a connection and sends no chunks by 1.0.
        return Duration::ZERO;
    }
    if !is_announced {
        return ours;
    }
    head.headers
        .get(KEEP_ALIVE)
        .and_then(|field| announced(field.to_str().ok()?))
        .map_or(ours, |theirs| ours.min(theirs.saturating_sub(MARGIN)))
}

/// The `timeout` of a `Keep-Alive` field (RFC 2068 §19.7.1.1).
fn announced(field: &str) -> Option<Duration> {
    field.split(',').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        let seconds = value.trim().trim_matches('"').parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("timeout")
            .then(|| Duration::from_secs(seconds))
    })
}

/// Leaves one length, and only one that is true: whoever reads the answer next must not disagree
/// with us about its end (RFC 9112 §6.3).
fn one_length(head: &mut http::response::Parts, is_coded: bool, content: &SizeHint) {
    let mut lengths = head.headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else {
        return;
    };
    let repeated = lengths.next().is_some() || first.as_bytes().contains(&b',');
    if is_coded || head.status == StatusCode::NO_CONTENT {
        // "Transfer-Encoding overrides the Content-Length"; a 204 has none.
        head.headers.remove(CONTENT_LENGTH);
    } else if repeated {
        // hyper has seen to it that they agree.
        let length = match content.exact() {
            Some(length) if length > 0 => Some(HeaderValue::from(length)),
            _ => first_of(first),
        };
        match length {
            Some(length) => head.headers.insert(CONTENT_LENGTH, length),
            None => head.headers.remove(CONTENT_LENGTH),
        };
    }
}

/// Of `5, 5`, the 5.
fn first_of(list: &HeaderValue) -> Option<HeaderValue> {
    let first = list.as_bytes().split(|byte| *byte == b',').next()?;
    HeaderValue::from_bytes(first.trim_ascii()).ok()
}

/// Leaves of a 101's connection fields only what says that it is one.
pub(super) fn keep_upgrade(headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).cloned();
    hop_by_hop::strip(headers);
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
    }
}

/// The longest pause that an answer's body may make.
fn longest_pause(headers: &HeaderMap, settings: &UpstreamSettings) -> Duration {
    if is_live_stream(headers) {
        settings.stream_idle
    } else {
        settings.body_idle
    }
}

/// The body of `incoming`; at once, and with its connection given back, if it is here already.
///
/// # Errors
/// When it is broken before anything of it could be passed on.
pub(super) fn body(
    mut incoming: Incoming,
    headers: &HeaderMap,
    lease: Lease,
    now: Instant,
    cx: &mut Context<'_>,
) -> Result<Body> {
    if incoming.is_end_stream() {
        lease.give_back(now);
        return Ok(Body::empty());
    }
    let first = match lease.poll_content(&mut incoming, cx) {
        Poll::Pending => None,
        Poll::Ready(None) => {
            lease.give_back(now);
            return Ok(Body::empty());
        }
        // Better a 502 than an answer that breaks off.
        Poll::Ready(Some(Err(error))) => {
            return Err(lease.lane.counted(failure::of_body(error)));
        }
        Poll::Ready(Some(Ok(frame))) if incoming.is_end_stream() && frame.is_data() => {
            lease.give_back(now);
            return Ok(frame.into_data().map_or_else(|_| Body::empty(), Body::from));
        }
        Poll::Ready(Some(Ok(mut frame))) => {
            if let Some(trailers) = frame.trailers_mut() {
                strip_trailers(trailers);
            }
            Some(frame)
        }
    };
    Ok(Body::stream(AnswerBody {
        first,
        incoming,
        pause: longest_pause(headers, &lease.lane.state.settings),
        lease: Some(lease),
        waiting_since: None,
    }))
}

/// A body that is still coming.
struct AnswerBody {
    /// Read when the head was.
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
    /// `None` once the body is complete or broken.
    lease: Option<Lease>,
    /// How long nothing may come.
    pause: Duration,
    /// Set while nothing comes, so that a body that is there costs no timer.
    waiting_since: Option<Instant>,
}

impl AnswerBody {
    fn complete(&mut self) {
        if let Some(lease) = self.lease.take() {
            let now = lease.lane.state.clock.mono();
            lease.give_back(now);
        }
    }

    /// Closes the connection.
    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>>>> {
        if let Some(lease) = self.lease.take() {
            lease.lane.state.metrics.failed(error.kind());
        }
        Poll::Ready(Some(Err(error)))
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(lease) = &mut self.lease else {
            return Poll::Ready(None);
        };
        let clock = &lease.lane.state.clock;
        let since = *self.waiting_since.get_or_insert_with(|| clock.mono());
        ready!(lease.deadline.poll(cx, clock, since + self.pause));
        self.fail(Error::upstream(ErrorKind::ConnectionReadTimeout))
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(lease) = &this.lease else {
            return Poll::Ready(None);
        };
        match lease.poll_content(&mut this.incoming, cx) {
            Poll::Pending => this.poll_pause(cx),
            Poll::Ready(None) => {
                this.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.fail(failure::of_body(error)),
            Poll::Ready(Some(Ok(mut frame))) => {
                this.waiting_since = None;
                if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers);
                }
                if this.incoming.is_end_stream() {
                    this.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(first) = self.first.as_ref().and_then(Frame::data_ref) else {
            return self.incoming.size_hint();
        };
        let rest = self.incoming.size_hint();
        let first = first.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// What we close a connection ahead of the upstream by.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upstreams_keep_alive_timeout_is_understood() {
        for (field, expected) in [
            ("timeout=5", Some(5)),
            ("max=100, Timeout = 72", Some(72)),
            ("timeout=\"5\"", Some(5)),
            ("max=100", None),
            ("timeout=", None),
            ("timeout=-1", None),
            ("5", None),
        ] {
            assert_eq!(
                announced(field),
                expected.map(Duration::from_secs),
                "{field}"
            );
        }
    }
}
