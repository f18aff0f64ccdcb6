//! When a request may be sent again (RFC 9110 §9.2.2): pure rules.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use middleware::Body;

use super::failure::Seen;
use super::upload::Outgoing;

/// How often a request that never left is tried again: each time on another connection, so that a
/// pool full of dead ones is got through, but not without end.
pub(super) const UNSENT_LIMIT: u8 = 3;

/// "A client SHOULD NOT automatically retry a request with a non-idempotent method" (RFC 9110 §9.2.2);
/// nor can one be sent twice whose content is gone.
pub(super) fn may_repeat(request: &Request<Outgoing>) -> bool {
    is_idempotent(request.method()) && matches!(request.body(), Outgoing::Whole(_))
}

/// Whether a request that failed like this goes out again. `repeatable` says that it [may be sent
/// twice](may_repeat) *and* that its connection had served before: a new one that dies is no race
/// with an idle timeout, but an upstream in trouble.
pub(super) fn goes_again(seen: Seen, repeatable: bool, retries: u8) -> bool {
    match seen {
        Seen::No => retries < UNSENT_LIMIT,
        Seen::Silent => repeatable && retries == 0,
        Seen::Yes => false,
    }
}

/// RFC 9110 §9.2.2: PUT, DELETE and the safe methods, QUERY (RFC 10008) among them.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET
            | Method::HEAD
            | Method::OPTIONS
            | Method::TRACE
            | Method::QUERY
            | Method::PUT
            | Method::DELETE
    )
}

/// What is kept of a request to send it again. A list of fields, since it is hardly ever made a request:
/// to copy a map takes two allocations and its tables.
#[derive(Default)]
pub(super) struct Kept {
    method: Method,
    uri: Uri,
    version: Version,
    fields: Vec<(HeaderName, HeaderValue)>,
    content: Body,
    is_written: bool,
}

impl Kept {
    /// Keeps `request`, in the place of `spare` if there is one; `None` if its content cannot be had
    /// twice. `is_written` says whether it has what we write into it.
    pub(super) fn of(
        request: &Request<Outgoing>,
        is_written: bool,
        spare: Option<Box<Self>>,
    ) -> Option<Box<Self>> {
        let content = request.body().again()?;
        let mut kept = spare.unwrap_or_default();
        kept.method.clone_from(request.method());
        kept.uri.clone_from(request.uri());
        kept.version = request.version();
        let fields = request.headers().iter();
        kept.fields
            .extend(fields.map(|(name, value)| (name.clone(), value.clone())));
        kept.content = content;
        kept.is_written = is_written;
        Some(kept)
    }

    /// Lets go of the request, whose parts are those of its client's connection, but not of the place.
    pub(super) fn clear(&mut self) {
        self.uri = Uri::default();
        self.fields.clear();
        self.content = Body::empty();
    }

    /// The request again, and whether it has what we write into it.
    pub(super) fn into_request(self) -> (Request<Outgoing>, bool) {
        let mut request = Request::new(Outgoing::Whole(self.content));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        let mut fields = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in self.fields {
            // They came out of a map that had room for them.
            fields.try_append(name, value).ok();
        }
        *request.headers_mut() = fields;
        (request, self.is_written)
    }
}

#[cfg(test)]
mod tests {
    use middleware::Body;
    use middleware::clock::Clock;

    use super::*;

    #[test]
    fn only_idempotent_requests_with_whole_content_may_be_repeated() {
        let stream = || {
            let frames = futures_util::stream::pending::<middleware::Result<_>>();
            Body::stream(http_body_util::StreamBody::new(frames))
        };
        for (method, body, expected) in [
            ("GET", Body::empty(), true),
            ("HEAD", Body::empty(), true),
            ("OPTIONS", Body::empty(), true),
            ("DELETE", Body::empty(), true),
            ("PUT", Body::from("whole"), true),
            ("QUERY", Body::from("whole"), true),
            ("QUERY", stream(), false),
            ("PUT", stream(), false),
            ("POST", Body::empty(), false),
            ("PATCH", Body::from("whole"), false),
            ("get", Body::empty(), false),
            ("PROPFIND", Body::empty(), false),
        ] {
            let (body, _watch) = Outgoing::new(body, &Clock::system());
            let request = Request::builder().method(method).body(body).unwrap();
            assert_eq!(may_repeat(&request), expected, "{method}");
        }
    }

    #[test]
    fn what_is_kept_is_the_same_request_again_and_its_place_serves_the_next() {
        let request = |path: &str, fields: &[(&'static str, &'static str)]| {
            let mut request = Request::put(path).version(Version::HTTP_2);
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            let (body, _watch) = Outgoing::new(Body::from("whole"), &Clock::system());
            request.body(body).unwrap()
        };
        let mut spare = None;
        for (path, fields, is_written) in [
            (
                "/a?b",
                &[("host", "a"), ("x-own", "1"), ("x-own", "2")][..],
                true,
            ),
            ("/c", &[("host", "b")], false),
        ] {
            let sent = request(path, fields);
            let mut kept = Kept::of(&sent, is_written, spare.take()).unwrap();
            spare = Some(Kept::of(&sent, is_written, None).unwrap());
            let (again, was_written) = std::mem::take(&mut *kept).into_request();
            assert_eq!(was_written, is_written);
            assert_eq!(again.method(), sent.method());
            assert_eq!(again.uri(), sent.uri());
            assert_eq!(again.version(), sent.version());
            assert_eq!(again.headers(), sent.headers());
            let content = again.body().again().unwrap();
            assert_eq!(content.as_whole().unwrap(), "whole");
            let spare = spare.as_mut().unwrap();
            spare.clear();
            assert!(spare.fields.is_empty() && spare.uri == Uri::default());
        }
        let nothing = request("/d", &[]);
        let again = Kept::of(&nothing, false, spare).unwrap().into_request().0;
        assert!(again.headers().is_empty(), "what was cleared comes back");
    }

    #[test]
    fn a_request_that_may_have_been_seen_goes_again_once_and_only_after_a_reused_connection_died() {
        for (seen, repeatable, retries, expected) in [
            (Seen::No, false, 0, true),
            (Seen::No, true, 2, true),
            (Seen::No, true, 3, false),
            (Seen::Silent, true, 0, true),
            (Seen::Silent, true, 1, false),
            (Seen::Silent, false, 0, false),
            (Seen::Yes, true, 0, false),
        ] {
            assert_eq!(
                goes_again(seen, repeatable, retries),
                expected,
                "{seen:?} {repeatable} {retries}"
            );
        }
    }
}
