//! One look at all field names of a request: most requests have nothing of what this layer acts on,
//! and a look costs less than asking the map for each name.

use http::HeaderMap;

/// Which of the fields that concern forwarding a request has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Any field of a connection.
    pub(super) connection: bool,
    /// `Content-Length` or `Transfer-Encoding`.
    pub(super) framing: bool,
    /// Anything that says who the client is, or what it asked somebody else.
    pub(super) claims: bool,
    /// A name that some servers take for another one: `X_Forwarded_For`; or `Proxy`.
    pub(super) disguised: bool,
    pub(super) via: bool,
    pub(super) max_forwards: bool,
    pub(super) trace: bool,
}

/// What a field name means to this layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Nothing.
    Plain,
    Connection,
    ContentLength,
    TransferEncoding,
    Claim,
    Disguised,
    Via,
    MaxForwards,
    Trace,
    Host,
}

impl Found {
    pub(super) fn scan(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for name in headers.keys() {
            match classify(name.as_str()) {
                Class::Plain | Class::Host => {}
                Class::Connection => found.connection = true,
                Class::ContentLength => found.framing = true,
                Class::TransferEncoding => (found.framing, found.connection) = (true, true),
                Class::Claim => found.claims = true,
                Class::Disguised => found.disguised = true,
                Class::Via => found.via = true,
                Class::MaxForwards => found.max_forwards = true,
                Class::Trace => found.trace = true,
            }
        }
        found
    }
}

/// `name` is in lower case, as the map keeps it.
pub(super) fn classify(name: &str) -> Class {
    // The first letter acquits most fields of most requests.
    if !matches!(name.as_bytes().first(), Some(first) if b"cfhkmptuvx".contains(first)) {
        return Class::Plain;
    }
    if name.bytes().any(|byte| byte == b'_') {
        // CGI, WSGI and Rack write `-` and `_` alike, so what we remove or set could come back.
        return match class_of(&name.replace('_', "-")) {
            Class::Plain => Class::Plain,
            _ => Class::Disguised,
        };
    }
    class_of(name)
}

fn class_of(name: &str) -> Class {
    match name.as_bytes().first() {
        Some(b'c') => match name {
            "connection" => Class::Connection,
            "content-length" => Class::ContentLength,
            "cf-connecting-ip" | "client-ip" => Class::Claim,
            _ => Class::Plain,
        },
        Some(b'f') => match name {
            "forwarded" | "fastly-client-ip" | "front-end-https" => Class::Claim,
            _ => Class::Plain,
        },
        Some(b'h') => match name {
            "host" => Class::Host,
            "http2-settings" => Class::Connection,
            _ => Class::Plain,
        },
        Some(b'k') if name == "keep-alive" => Class::Connection,
        Some(b'm') if name == "max-forwards" => Class::MaxForwards,
        // `Proxy` becomes HTTP_PROXY in CGI, which programs obey (httpoxy, CVE-2016-5385).
        Some(b'p') if name == "proxy" => Class::Disguised,
        Some(b'p') if name.starts_with("proxy-") => Class::Connection,
        Some(b't') => match name {
            "te" => Class::Connection,
            "transfer-encoding" => Class::TransferEncoding,
            "traceparent" | "tracestate" => Class::Trace,
            "true-client-ip" => Class::Claim,
            _ => Class::Plain,
        },
        Some(b'u') if name == "upgrade" => Class::Connection,
        Some(b'v') if name == "via" => Class::Via,
        Some(b'x') => class_of_extension(name),
        _ => Class::Plain,
    }
}

/// Fields by which a client could claim to be somebody else, or to have asked something else than
/// the cache key says.
fn class_of_extension(name: &str) -> Class {
    let is_claim = name.starts_with("x-forwarded")
        || name.starts_with("x-original-")
        || matches!(
            name,
            "x-client-ip"
                | "x-cluster-client-ip"
                | "x-host"
                | "x-real-ip"
                | "x-request-id"
                | "x-rewrite-url"
        );
    if is_claim { Class::Claim } else { Class::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_by_class() {
        for (name, class) in [
            ("accept", Class::Plain),
            ("content-type", Class::Plain),
            ("x-custom", Class::Plain),
            ("my_header", Class::Plain),
            ("connection", Class::Connection),
            ("proxy-connection", Class::Connection),
            ("http2-settings", Class::Connection),
            ("transfer-encoding", Class::TransferEncoding),
            ("x-forwarded-prefix", Class::Claim),
            ("x-original-url", Class::Claim),
            ("x-rewrite-url", Class::Claim),
            ("x_forwarded_for", Class::Disguised),
            ("x_forwarded-for", Class::Disguised),
            ("content_length", Class::Disguised),
            ("transfer_encoding", Class::Disguised),
            ("proxy", Class::Disguised),
            ("host", Class::Host),
        ] {
            assert_eq!(classify(name), class, "{name}");
        }
    }
}
