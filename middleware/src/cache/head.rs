//! What the answer to a HEAD says about the stored response to GET (RFC 9111 §4.3.5).
//!
//! A HEAD never becomes the body of anything: it confirms what is stored, tells that there is other
//! content now, or says nothing.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::Response;
use crate::cache::advice::Head;
use crate::cache::decide::Asked;
use crate::cache::errand::{Errand, Kept};
use crate::cache::reason::Reason;
use crate::cache::replay::annotate;
use crate::cache::stored::StoredResponse;
use crate::cache::validate;
use crate::clock::Now;

/// What a 200 to HEAD tells of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    /// It is the same: its fields are news of what is stored.
    Same,
    /// It is another: what is stored is stale.
    Other,
    /// Without any validator it may be either; a length alone is no proof.
    Nothing,
}

/// Compares a stored response with the fields of a 200 to HEAD: every validator that came must be
/// the stored one's, and so must `Content-Length`, if it came.
pub(crate) fn says(stored: &StoredResponse, head: &HeaderMap) -> Says {
    let mut has_validator = false;
    for name in [ETAG, LAST_MODIFIED] {
        if head.contains_key(&name) {
            has_validator = true;
            let told = head.get_all(&name).iter().map(HeaderValue::as_bytes);
            if !told.eq(stored.fields.all(&name)) {
                return Says::Other;
            }
        }
    }
    let has_length = |value: &HeaderValue| {
        let length = value.to_str().ok().and_then(|value| value.parse().ok());
        length == Some(stored.length())
    };
    if stored.status != StatusCode::OK || !head.get_all(CONTENT_LENGTH).iter().all(has_length) {
        Says::Other
    } else if has_validator {
        Says::Same
    } else {
        Says::Nothing
    }
}

impl Errand {
    /// Does what a 200 to HEAD says about `kept`, if the answer to a GET like it could be stored; and
    /// passes it on.
    pub(crate) fn heard(mut self, kept: &Kept, mut answer: Response, now: Now) -> Response {
        let news = says(&kept.stored, answer.headers());
        let heard = self.learn(kept, answer.headers(), news, now);
        let stored = heard.as_ref().map(|_| ()).map_err(|reason| *reason);
        let head = Head::new(answer.status(), answer.headers());
        self.note(Some(head), stored, now);
        let ttl = heard.ok().map(|stored| stored.candidate(now, false).ttl());
        let status = self.status(answer.status(), stored, ttl);
        annotate(&mut answer, status);
        answer
    }

    fn learn(
        &mut self,
        kept: &Kept,
        fields: &HeaderMap,
        news: Says,
        now: Now,
    ) -> Result<Arc<StoredResponse>, Reason> {
        let merged = validate::merged(&kept.stored.fields.map(), fields);
        let judged = match news {
            Says::Same => {
                // As in a validation: content that came to a request with Authorization stays such
                // (RFC 9111 §3.5), whoever hears that it still holds.
                self.asked.has_authorization |= kept.stored.is_authorized;
                &merged
            }
            Says::Other | Says::Nothing => fields,
        };
        let asked = Asked {
            is_head: false,
            ..self.asked
        };
        let (status, length) = (kept.stored.status, kept.stored.length());
        // What may not be stored is no news for others, whatever it says.
        let storing = self
            .storing_for(&asked, status, judged, Some(length), false, now)
            .map_err(|_| Reason::Head)?;
        match news {
            Says::Nothing => Err(Reason::Head),
            Says::Other => {
                kept.stored.mark_outdated();
                Err(Reason::HeadDiffers)
            }
            Says::Same => {
                self.find_place(&storing);
                let origin = self.origin(now);
                let freshened = Arc::new(kept.stored.freshened(&merged, storing, origin));
                self.freshen(&freshened, kept)?;
                self.write_down(&freshened, now);
                Ok(freshened)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderValue;

    use super::*;
    use crate::clock::Clock;

    const OLD: &str = "Thu, 01 Jan 2015 00:00:00 GMT";

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let lines = lines.iter().map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        lines.collect()
    }

    /// "if the stored response and HEAD response have matching values for any received validator
    /// fields and, if the HEAD response has a Content-Length field, the value of Content-Length
    /// matches that of the stored response" (§4.3.5)
    #[test]
    fn every_received_validator_and_the_length_must_match() {
        let stored = fields(&[("etag", "\"a\""), ("last-modified", OLD)]);
        let now = Clock::system().now();
        let stored =
            StoredResponse::fixed(StatusCode::OK, stored, Bytes::from_static(b"content"), now);
        for (head, expected) in [
            (&[("etag", "\"a\"")][..], Says::Same),
            (&[("last-modified", OLD)], Says::Same),
            (
                &[
                    ("etag", "\"a\""),
                    ("last-modified", OLD),
                    ("content-length", "7"),
                ],
                Says::Same,
            ),
            (&[("etag", "\"b\"")], Says::Other),
            (&[("etag", "W/\"a\"")], Says::Other),
            (&[("etag", "\"a\""), ("etag", "\"b\"")], Says::Other),
            (
                &[
                    ("etag", "\"a\""),
                    ("last-modified", "Fri, 02 Jan 2015 00:00:00 GMT"),
                ],
                Says::Other,
            ),
            (&[("etag", "\"a\""), ("content-length", "8")], Says::Other),
            (&[("etag", "\"a\""), ("content-length", "x")], Says::Other),
            (&[("content-length", "8")], Says::Other),
            (&[("content-length", "7")], Says::Nothing),
            (&[], Says::Nothing),
        ] {
            assert_eq!(says(&stored, &fields(head)), expected, "{head:?}");
        }
        let status = StatusCode::NOT_FOUND;
        let missing =
            StoredResponse::fixed(status, fields(&[("etag", "\"a\"")]), Bytes::new(), now);
        assert_eq!(says(&missing, &fields(&[("etag", "\"a\"")])), Says::Other);
        let untagged = StoredResponse::fixed(StatusCode::OK, fields(&[]), Bytes::new(), now);
        assert_eq!(says(&untagged, &fields(&[("etag", "\"a\"")])), Says::Other);
    }
}
