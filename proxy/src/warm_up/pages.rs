//! What a round asks for: pages, each once, within bounds.

use std::collections::HashSet;

use config::warm_up::WarmUpSettings;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri};
use middleware::facts::Scheme;

use crate::admin::authority;
use crate::admin::question::Target;
use crate::server::Bound;

/// One URL, as a client would ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Page {
    pub(super) scheme: Scheme,
    /// Lower case.
    pub(super) authority: Authority,
    pub(super) path: PathAndQuery,
}

/// Where URLs lie that are a path alone.
#[derive(Clone, Debug)]
pub(super) struct Origin(String);

/// Pages in the order of their names, and which those are.
#[derive(Debug, Default)]
pub(super) struct Pages {
    all: Vec<Page>,
    known: HashSet<Page>,
    most: usize,
    bytes: usize,
}

impl Page {
    /// `None` if `authority` is none.
    pub(super) fn new(scheme: Scheme, authority: &str, uri: &Uri) -> Option<Self> {
        Some(Self {
            scheme,
            authority: authority.to_ascii_lowercase().parse().ok()?,
            path: uri.path_and_query()?.clone(),
        })
    }

    /// Whether `other` is of the same scheme, host and port.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        (self.scheme, &self.authority) == (other.scheme, &other.authority)
    }

    /// What `text` means in a document that lies here.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn page(&self, text: &str) -> Result<Self, String> {
        let origin = Origin(format!("{}://{}", self.scheme.as_str(), self.authority));
        origin.page(text)
    }

    /// Its `Host`.
    pub(super) fn host(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.authority.as_str()).ok()
    }
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.scheme.as_str();
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl Origin {
    /// The one that `settings` say, or the first listener's.
    pub(super) fn of(settings: &WarmUpSettings, bound: &[Bound]) -> Self {
        if let Some(origin) = &settings.origin {
            return Self(origin.clone());
        }
        let first = bound.iter().find(|bound| bound.tcp().is_some());
        let scheme = match first.is_some_and(|bound| bound.tls) {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        Self(format!("{}://{}", scheme.as_str(), authority(bound)))
    }

    /// A path of this origin, or a whole URL.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn page(&self, text: &str) -> Result<Page, String> {
        let is_whole = ["http://", "https://"].iter().any(|scheme| {
            let start = text.get(..scheme.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        if !(is_whole || text.starts_with('/')) {
            return Err("it is neither a path nor a URL of HTTP".to_owned());
        }
        let origin = if is_whole { "" } else { &*self.0 };
        let us = Authority::from_static("localhost");
        let target = Target::parse(&format!("{origin}{text}"), &us)?;
        let authority = target.authority.as_str().to_ascii_lowercase();
        let page = Page {
            scheme: target.scheme,
            authority: authority.parse().map_err(|_| "it names no host")?,
            path: target.path,
        };
        match page.to_string().len() <= LONGEST_URL {
            true => Ok(page),
            false => Err("it is too long".to_owned()),
        }
    }
}

impl Pages {
    /// None yet, and at most `most`.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// Whether nobody has said yet which there are.
    pub(super) fn are_unknown(&self) -> bool {
        self.most == 0
    }

    /// How many more there may be.
    pub(super) fn room(&self) -> usize {
        self.most - self.all.len()
    }

    /// Adds one, unless it is there, or there is no room for it.
    pub(super) fn add(&mut self, page: Page) {
        let bytes = self.bytes + page.authority.as_str().len() + page.path.as_str().len();
        if self.room() > 0 && bytes <= MOST_BYTES && self.known.insert(page.clone()) {
            self.bytes = bytes;
            self.all.push(page);
        }
    }

    /// In the order in which they were named.
    pub(super) fn all(&self) -> Vec<Page> {
        self.all.clone()
    }

    /// Those of `some` that are here.
    pub(super) fn known(&self, some: &[Page]) -> Vec<Page> {
        let known = some.iter().filter(|page| self.known.contains(page));
        known.cloned().collect::<HashSet<_>>().into_iter().collect()
    }
}

/// Bytes of a URL.
const LONGEST_URL: usize = 2048;
/// Bytes of all URLs of a round.
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_where() {
        let origin = Origin("https://www.example.com".to_owned());
        for (text, expected) in [
            ("/a?b", Some("https://www.example.com/a?b")),
            ("http://Other.test/a", Some("http://other.test/a")),
            ("HTTPS://other.test", Some("https://other.test/")),
            (
                "//other.test/a",
                Some("https://www.example.com//other.test/a"),
            ),
            ("a", None),
            ("", None),
            ("file:///etc/passwd", None),
            ("gopher://a.test/", None),
            ("http://me:secret@a.test/", None),
            ("/a b", None),
        ] {
            let found = origin.page(text).ok().map(|page| page.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
        assert!(origin.page(&format!("/{}", "a".repeat(2048))).is_err());
    }

    #[test]
    fn each_once_and_no_more_than_fit() {
        let origin = Origin("http://a.test".to_owned());
        let mut pages = Pages::new(2);
        for text in ["/a", "http://A.test/a", "/b", "/c"] {
            pages.add(origin.page(text).unwrap());
        }
        let all: Vec<_> = pages.all().iter().map(ToString::to_string).collect();
        assert_eq!(all, ["http://a.test/a", "http://a.test/b"]);
        let asked = [origin.page("/c").unwrap(), origin.page("/b").unwrap()];
        assert_eq!(pages.known(&asked), asked[1..]);
    }
}
