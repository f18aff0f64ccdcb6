//! What the fields of a request or an answer say that matters here, read in one pass: passing over
//! ten fields takes less time than looking up two.

use std::cell::RefCell;

use http::{HeaderMap, HeaderValue, Method, Request};

use crate::content_coding::Coding;
use crate::content_coding::guard::{Asker, Site};
use crate::facts::{Peer, RequestFacts};
use crate::fields::accept_encoding::Accepts;
use crate::fields::list::{self, Quotes};
use crate::fields::media_type::MediaType;
use crate::fields::remembered::Remembered;
use crate::fields::stream::{is_live_type, is_unbuffered};

/// What of a request the rules look at; taken before it goes down.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `Accept-Encoding`.
    pub accepts: Accepts,
    /// Whether it is for the head alone, which is then as GET's would be.
    pub is_head: bool,
    /// Whether it is for a part, which is cut from identity content.
    pub range: bool,
    /// For the policy against BREACH.
    pub asker: Asker,
    /// Whether it has a precondition that may name a tag.
    pub(super) names_tags: bool,
    /// The lines of `If-None-Match`. They are shared with the request, not copied.
    pub(super) if_none_match: Vec<HeaderValue>,
}

/// What of an answer's fields the rules look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What `Content-Type` means for coding.
    pub kind: Kind,
    /// `Content-Encoding`.
    pub coding: Coded,
    /// Whether it is a stream by its own word.
    pub is_stream: bool,
    /// `Content-Range`.
    pub is_part: bool,
    /// `Cache-Control: no-transform` (RFC 9111 §5.2.2.6).
    pub no_transform: bool,
    /// `Cache-Control: public` or `s-maxage`.
    pub is_public: bool,
    /// `Cache-Control: private` or `no-store`, or `Set-Cookie`.
    pub is_private: bool,
    /// `Vary: Cookie`.
    pub differs_by_cookie: bool,
    /// Whether there is `Vary`, and whether it says `Accept-Encoding` or `*`.
    pub(super) vary: Vary,
    /// `Accept-Ranges`.
    pub(super) accepts_ranges: bool,
    /// Digests of the content as it is (RFC 9530, RFC 3230, RFC 1864).
    pub(super) has_digests: bool,
}

/// What a media type means for coding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// There is none.
    #[default]
    Unstated,
    /// One that gains nothing.
    Incompressible,
    /// One that gains.
    Compressible,
    /// One that gains, and is shown as a page.
    Page,
}

/// How the content is coded when it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coded {
    /// Not at all.
    #[default]
    Not,
    /// Once, by a coding that we know.
    By(Coding),
    /// Otherwise: nothing that we can take off.
    Otherwise,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Vary {
    #[default]
    Absent,
    SaysElse,
    SaysSo,
}

impl Asked {
    /// What `request` says.
    pub fn of<B>(request: &Request<B>) -> Self {
        let fields = request.headers();
        let facts = request.extensions().get::<RequestFacts>();
        let mut asked = Self {
            accepts: Accepts::default(),
            is_head: request.method() == Method::HEAD,
            range: false,
            asker: Asker {
                credentials: false,
                site: Site::Unknown,
                local: facts.is_some_and(|facts| facts.peer == Peer::Unix),
            },
            names_tags: false,
            if_none_match: Vec::new(),
        };
        let mut accept_lines = 0;
        let (mut fetch_site, mut referer, mut host) = (None, None, None);
        for (name, value) in fields {
            match name.as_str() {
                "accept-encoding" if accept_lines == 0 => {
                    accept_lines = 1;
                    asked.accepts = Accepts::of_line(value);
                }
                "accept-encoding" => accept_lines += 1,
                "cookie" | "authorization" | "x-csrf-token" => asked.asker.credentials = true,
                "if-match" | "if-range" => asked.names_tags = true,
                "if-none-match" => {
                    asked.names_tags = true;
                    asked.if_none_match.push(value.clone());
                }
                "range" => asked.range = true,
                "sec-fetch-site" => fetch_site = fetch_site.or(Some(value)),
                "referer" => referer = Some(value),
                "host" => host = Some(value),
                _ => {}
            }
        }
        if accept_lines > 1 {
            asked.accepts = Accepts::of(fields);
        }
        asked.asker.site = Site::of(fetch_site, referer, host);
        asked
    }
}

impl Reading {
    /// What `fields` say.
    pub fn of(fields: &HeaderMap) -> Self {
        let lines = fields.iter();
        Self::of_lines(lines.map(|(name, value)| (name.as_str(), value.as_bytes())))
    }

    /// What these lines say, each with its name in lower case.
    pub(crate) fn of_lines<'a>(lines: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut read = Self::default();
        for (name, value) in lines {
            match name {
                "content-type" => read.content_type(value),
                "cache-control" => read.cache_control(value),
                "vary" => read.vary(value),
                "content-encoding" => read.content_encoding(value),
                "content-range" => read.is_part = true,
                "set-cookie" => read.is_private = true,
                "accept-ranges" => read.accepts_ranges = true,
                "x-accel-buffering" => read.is_stream |= is_unbuffered(value),
                "content-digest" | "repr-digest" | "digest" | "content-md5" => {
                    read.has_digests = true;
                }
                _ => {}
            }
        }
        read
    }

    /// Whether an answer without `Vary` may get one here.
    pub(crate) fn may_vary(&self) -> bool {
        let is_coded_here = matches!(self.kind, Kind::Compressible | Kind::Page);
        is_coded_here && self.vary == Vary::Absent && !self.no_transform && !self.is_stream
    }

    fn content_type(&mut self, value: &[u8]) {
        let (is_stream, kind) = TYPES.with_borrow_mut(|types| types.meaning(value, of_type));
        self.is_stream |= is_stream;
        self.kind = kind;
    }

    fn cache_control(&mut self, line: &[u8]) {
        for member in list::split(line, Quotes::Escaping) {
            let directive = member.split(|byte| *byte == b'=').next();
            let directive = list::trim(directive.unwrap_or_default());
            let is = |name: &str| directive.eq_ignore_ascii_case(name.as_bytes());
            self.no_transform |= is("no-transform");
            self.is_public |= is("public") || is("s-maxage");
            self.is_private |= is("private") || is("no-store");
        }
    }

    fn vary(&mut self, line: &[u8]) {
        if self.vary == Vary::Absent {
            self.vary = Vary::SaysElse;
        }
        for member in list::split(line, Quotes::Escaping) {
            self.differs_by_cookie |= member.eq_ignore_ascii_case(b"cookie");
            if member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding") {
                self.vary = Vary::SaysSo;
            }
        }
    }

    fn content_encoding(&mut self, line: &[u8]) {
        for coding in list::split(line, Quotes::Escaping) {
            self.coding = match (self.coding, Coding::named(coding)) {
                (coded, None) if coding.eq_ignore_ascii_case(b"identity") => coded,
                (Coded::Not, Some(coding)) => Coded::By(coding),
                _ => Coded::Otherwise,
            };
        }
    }
}

/// Whether content of this type is a live stream, and what the type means for coding.
fn of_type(value: &[u8]) -> (bool, Kind) {
    let kind = match MediaType::parse(value) {
        Some(found) if found.is_html() => Kind::Page,
        Some(found) if found.is_compressible() => Kind::Compressible,
        Some(_) | None => Kind::Incompressible,
    };
    (is_live_type(value), kind)
}

thread_local! {
    static TYPES: RefCell<Remembered<(bool, Kind)>> = const { RefCell::new(Remembered::new()) };
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::*;
    use crate::fields::stream::is_live_stream;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn codings_of_content() {
        use Coded::{By, Not, Otherwise};
        let cases: [(&[&'static str], Coded); 9] = [
            (&[], Not),
            (&[""], Not),
            (&["identity"], Not),
            (&["GZip"], By(Coding::Gzip)),
            (&["x-gzip"], By(Coding::Gzip)),
            (&["identity, br"], By(Coding::Br)),
            (&["gzip, gzip"], Otherwise),
            (&["gzip", "br"], Otherwise),
            (&["dcb"], Otherwise),
        ];
        for (lines, expected) in cases {
            let pairs: Vec<_> = lines
                .iter()
                .map(|line| ("content-encoding", *line))
                .collect();
            assert_eq!(Reading::of(&fields(&pairs)).coding, expected, "{lines:?}");
        }
    }

    #[test]
    fn several_lines_are_one_list() {
        let read = Reading::of(&fields(&[
            ("cache-control", "max-age=5"),
            ("cache-control", "No-Transform, s-maxage=1"),
            ("vary", "Origin"),
            ("vary", "COOKIE"),
        ]));
        assert!(read.no_transform && read.is_public && !read.is_private);
        assert!(read.differs_by_cookie);
        assert_eq!(read.vary, Vary::SaysElse);
        let mut request = Request::new(());
        *request.headers_mut() = fields(&[
            ("accept-encoding", "gzip"),
            ("accept-encoding", "br"),
            ("if-none-match", "\"a\""),
            ("if-none-match", "\"b\""),
        ]);
        let asked = Asked::of(&request);
        assert!(asked.accepts.br.is_taken() && asked.accepts.gzip.is_taken());
        assert_eq!(asked.if_none_match, ["\"a\"", "\"b\""]);
    }

    proptest! {
        #[test]
        fn nothing_that_an_upstream_sends_panics(name in 0..5_usize, value: Vec<u8>) {
            let names = ["content-type", "cache-control", "vary", "content-encoding", "x-accel-buffering"];
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                let fields = HeaderMap::from_iter([(HeaderName::from_static(names[name]), value)]);
                let read = Reading::of(&fields);
                prop_assert_eq!(read.is_stream, is_live_stream(&fields));
            }
        }
    }
}
