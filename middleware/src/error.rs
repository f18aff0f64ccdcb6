//! What can go wrong on a request's way, in the words of RFC 9209 (Proxy-Status).

use std::error::Error as StdError;
use std::{fmt, io};

use http::StatusCode;

use crate::facts::ResponseFacts;

/// A failure, with what is needed to answer it, log it and decide about a retry.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    side: Side,
    may_retry: bool,
    detail: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    facts: ResponseFacts,
}

/// Who caused a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client sent something that we refuse, or went away.
    Client,
    /// The upstream failed us.
    Upstream,
    /// Ours.
    Proxy,
}

/// The proxy error types of RFC 9209 §2.3 that Pillion uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The upstream's name did not resolve in time.
    DnsTimeout,
    /// The upstream's name did not resolve.
    DnsError,
    /// No endpoint of the upstream may be used now (all broken, or the queue for a connection is full).
    DestinationUnavailable,
    /// The upstream refused the connection.
    ConnectionRefused,
    /// The connection ended before the answer was complete.
    ConnectionTerminated,
    /// No connection within `upstream.connect`.
    ConnectionTimeout,
    /// The upstream took no bytes for too long.
    ConnectionWriteTimeout,
    /// The upstream sent no head within `upstream.first_byte`, or paused its body too long.
    ConnectionReadTimeout,
    /// The upstream's limit of connections is reached and the wait for one was too long.
    ConnectionLimitReached,
    /// TLS towards the upstream failed.
    TlsProtocolError,
    /// The upstream's certificate is not trusted.
    TlsCertificateError,
    /// The request is malformed, or one that parsers could disagree about.
    HttpRequestError,
    /// The request is refused by policy.
    HttpRequestDenied,
    /// The upstream's answer ended early.
    HttpResponseIncomplete,
    /// The upstream's header section is over the limit.
    HttpResponseHeaderSectionSize,
    /// The upstream's answer is not HTTP, or not valid.
    HttpProtocolError,
    /// The upstream's upgrade failed.
    HttpUpgradeFailed,
    /// Our own failure.
    ProxyInternalError,
    /// The request has been here before.
    ProxyLoopDetected,
    /// The request body is over `limits.body` (no RFC 9209 type of its own: `http_request_error`).
    ContentTooLarge,
    /// The header section is over `limits.fields` (`http_request_error`).
    FieldsTooLarge,
    /// The client sent its body too slowly, or not at all (`http_request_error`).
    RequestTimeout,
    /// TRACE, CONNECT: not for this proxy (`http_request_denied`).
    MethodNotAllowed,
    /// `only-if-cached` and nothing usable is stored (RFC 9111 §5.2.1.7).
    OnlyIfCached,
}

impl ErrorKind {
    /// The name in `Proxy-Status` (RFC 9209 §2.3) and in metrics; a closed set.
    pub fn name(self) -> &'static str {
        self.facts().1
    }

    /// The status that answers it, as RFC 9209 recommends.
    pub fn status(self) -> StatusCode {
        self.facts().0
    }

    /// The one table of what follows from a kind.
    fn facts(self) -> (StatusCode, &'static str) {
        use ErrorKind as K;
        use StatusCode as S;
        match self {
            K::DnsTimeout => (S::GATEWAY_TIMEOUT, "dns_timeout"),
            K::DnsError => (S::BAD_GATEWAY, "dns_error"),
            K::DestinationUnavailable => (S::SERVICE_UNAVAILABLE, "destination_unavailable"),
            K::ConnectionRefused => (S::BAD_GATEWAY, "connection_refused"),
            K::ConnectionTerminated => (S::BAD_GATEWAY, "connection_terminated"),
            K::ConnectionTimeout => (S::GATEWAY_TIMEOUT, "connection_timeout"),
            K::ConnectionWriteTimeout => (S::GATEWAY_TIMEOUT, "connection_write_timeout"),
            K::ConnectionReadTimeout => (S::GATEWAY_TIMEOUT, "connection_read_timeout"),
            K::ConnectionLimitReached => (S::SERVICE_UNAVAILABLE, "connection_limit_reached"),
            K::TlsProtocolError => (S::BAD_GATEWAY, "tls_protocol_error"),
            K::TlsCertificateError => (S::BAD_GATEWAY, "tls_certificate_error"),
            K::HttpRequestError => (S::BAD_REQUEST, "http_request_error"),
            K::HttpRequestDenied => (S::FORBIDDEN, "http_request_denied"),
            K::HttpResponseIncomplete => (S::BAD_GATEWAY, "http_response_incomplete"),
            K::HttpResponseHeaderSectionSize => {
                (S::BAD_GATEWAY, "http_response_header_section_size")
            }
            K::HttpProtocolError => (S::BAD_GATEWAY, "http_protocol_error"),
            K::HttpUpgradeFailed => (S::BAD_GATEWAY, "http_upgrade_failed"),
            K::ProxyInternalError => (S::INTERNAL_SERVER_ERROR, "proxy_internal_error"),
            K::ProxyLoopDetected => (S::BAD_GATEWAY, "proxy_loop_detected"),
            K::ContentTooLarge => (S::PAYLOAD_TOO_LARGE, "http_request_error"),
            K::FieldsTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error"),
            K::RequestTimeout => (S::REQUEST_TIMEOUT, "http_request_error"),
            K::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "http_request_denied"),
            K::OnlyIfCached => (S::GATEWAY_TIMEOUT, "destination_unavailable"),
        }
    }
}

impl Error {
    /// A failure of `kind`, caused by `side`, that may not be retried.
    pub fn new(kind: ErrorKind, side: Side) -> Self {
        Self(Box::new(Inner {
            kind,
            side,
            may_retry: false,
            detail: None,
            source: None,
            facts: ResponseFacts::default(),
        }))
    }

    /// The client's fault.
    pub fn client(kind: ErrorKind) -> Self {
        Self::new(kind, Side::Client)
    }

    /// The upstream's fault.
    pub fn upstream(kind: ErrorKind) -> Self {
        Self::new(kind, Side::Upstream)
    }

    /// Ours.
    pub fn internal() -> Self {
        Self::new(ErrorKind::ProxyInternalError, Side::Proxy)
    }

    /// Says what exactly is wrong, in words that a client may read.
    #[must_use]
    pub fn detail(mut self, detail: &'static str) -> Self {
        self.0.detail = Some(detail);
        self
    }

    /// What lies behind it: for logs, never for clients.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that the upstream has not seen the request, or can take it twice.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.may_retry = true;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Who caused it.
    pub fn side(&self) -> Side {
        self.0.side
    }

    /// Whether the same request may be sent again.
    pub fn may_retry(&self) -> bool {
        self.0.may_retry
    }

    /// What the layers on its way up add, as they would to a response: the answer that is made of
    /// this error has these facts.
    pub fn facts_mut(&mut self) -> &mut ResponseFacts {
        &mut self.0.facts
    }

    /// The client's failure that lies behind this one, where one does: a request body that broke off
    /// or grew too large first shows as a failure to send it on.
    pub fn clients_fault(&self) -> Option<&Self> {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(ours) = error.downcast_ref::<Self>()
                && ours.side() == Side::Client
            {
                return Some(ours);
            }
            cause = match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                // Its own `source` would pass over what it holds.
                Some(held) => Some(held),
                None => error.source(),
            };
        }
        None
    }

    /// What a client may read about it.
    pub fn public_detail(&self) -> Option<&'static str> {
        self.0.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.kind.name())?;
        if let Some(detail) = self.0.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, " ({source})")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
