//! What is kept of a request until its line is written: handles to what is there anyway, nothing formatted.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};

use super::Head;
use crate::clock::Now;
use crate::facts::{self, RequestId};
use crate::fields::traceparent::{self, TRACEPARENT};
use crate::{ErrorKind, Request};

/// A request that is over.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) asked: Asked,
    pub(super) head: Head,
    /// Content handed to the connection.
    pub(super) bytes: u64,
    pub(super) total: Duration,
    pub(super) error: Option<ErrorKind>,
    /// Whether the client went away before the end.
    pub(super) is_aborted: bool,
}

/// What a client asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) received: Now,
    pub(super) id: RequestId,
    pub(super) method: Method,
    /// As the client sent it.
    pub(super) uri: Uri,
    pub(super) client: Option<IpAddr>,
    pub(super) version: Version,
    /// What only lines show; `None` where none are written.
    pub(super) shown: Option<Box<Shown>>,
}

/// What of a request is shown in its line, but not counted.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) host: Option<HeaderValue>,
    pub(super) agent: Option<HeaderValue>,
    /// Of the trace that the client says it belongs to; one that begins here is called as the request.
    pub(super) trace_id: Option<[u64; 2]>,
}

impl Asked {
    pub(super) fn of(request: &Request, is_logged: bool) -> Self {
        let facts = facts::of_request(request);
        Self {
            received: facts.received,
            id: facts.id.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            client: facts.client,
            version: request.version(),
            shown: is_logged.then(|| Box::new(Shown::of(request))),
        }
    }
}

impl Shown {
    fn of(request: &Request) -> Self {
        let fields = request.headers();
        let trace = fields
            .get(TRACEPARENT)
            .and_then(|value| traceparent::parse(value.as_bytes()));
        Self {
            host: fields.get(HOST).cloned(),
            agent: fields.get(USER_AGENT).cloned(),
            trace_id: trace.map(|trace| trace.trace_id),
        }
    }
}
