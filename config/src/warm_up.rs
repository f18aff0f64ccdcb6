//! `[warm_up]`: fetching pages before anybody asks for them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::site::Site;
use crate::units::FilePath;

/// What is fetched when nobody asks, and how quietly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmUpSettings {
    /// Scheme and authority of URLs that are a path alone; the first listener's if `None`.
    pub origin: Option<String>,
    /// Paths and `http:` or `https:` URLs.
    pub urls: Vec<String>,
    /// The same, of a sitemap or an index of sitemaps.
    pub sitemap: Option<String>,
    /// URLs fetched in one round, whoever names them.
    pub most: usize,
    /// Requests forwarded in a second, at most.
    pub rate: u32,
    /// Requests at once, at most.
    pub concurrency: usize,
    /// No request is made while more of clients are in flight.
    pub busy: u32,
    /// Whether a round begins once the app can be asked.
    pub at_start: bool,
    /// Whether a round begins after a purge.
    pub after_purge: bool,
    /// The most asked for of the last run.
    pub hottest: Option<HottestSettings>,
}

/// What is remembered from run to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HottestSettings {
    /// Where.
    pub file: PathBuf,
    /// URLs, at most.
    pub count: usize,
}

/// `[warm_up]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenWarmUp {
    /// Off fetches nothing, and remembers nothing.
    enabled: bool,
    /// Scheme and host of URLs that are only a path, as clients name them; the first listener's, unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Paths, or whole URLs.
    urls: Vec<String>,
    /// A sitemap, or an index of sitemaps; asked for by way of its route, and followed within its own host.
    #[serde(skip_serializing_if = "Option::is_none")]
    sitemap: Option<String>,
    /// URLs fetched in one round.
    #[schemars(range(min = 1, max = 1_000_000))]
    most: usize,
    /// Requests forwarded in a second, at most.
    #[schemars(range(min = 1, max = 100_000))]
    rate: u32,
    /// Requests at once, at most.
    #[schemars(range(min = 1, max = 1024))]
    concurrency: usize,
    /// No request is made while more requests of clients than this are in flight.
    #[schemars(range(min = 0, max = 1_000_000))]
    busy: u32,
    /// Once the app can be asked.
    at_start: bool,
    /// After `POST /purge` and `pillion purge`.
    after_purge: bool,
    /// What was asked for most in the last run; off without a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    hottest: Option<WrittenHottest>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenHottest {
    /// Where they are remembered; made with permission bits 0600.
    file: FilePath,
    /// How many.
    #[serde(default = "default_count")]
    #[schemars(range(min = 1, max = 100_000))]
    count: usize,
}

fn default_count() -> usize {
    1000
}

impl Default for WrittenWarmUp {
    fn default() -> Self {
        Self {
            enabled: true,
            origin: None,
            urls: Vec::new(),
            sitemap: None,
            most: 10_000,
            rate: 20,
            concurrency: 2,
            busy: 4,
            at_start: true,
            after_purge: true,
            hottest: None,
        }
    }
}

impl WrittenWarmUp {
    /// `None` where there is nothing to do.
    pub(crate) fn check(&self, site: &Site<'_>) -> Option<WarmUpSettings> {
        if let Some(origin) = &self.origin
            && !is_origin(origin)
        {
            site.key("origin").problem(
                format!("\"{origin}\" is no origin"),
                "write scheme and host, and the port where it is not the usual one: \"https://www.example.com\"",
            );
        }
        for (index, url) in self.urls.iter().enumerate() {
            check_url(url, &site.key("urls").index(index));
        }
        if let Some(sitemap) = &self.sitemap {
            check_url(sitemap, &site.key("sitemap"));
        }
        let hottest = self.hottest.as_ref().map(|hottest| HottestSettings {
            file: site.key("hottest").key("file").file(&hottest.file),
            count: hottest.count,
        });
        let has_something = !self.urls.is_empty() || self.sitemap.is_some() || hottest.is_some();
        (self.enabled && has_something).then(|| WarmUpSettings {
            origin: self.origin.clone(),
            urls: self.urls.clone(),
            sitemap: self.sitemap.clone(),
            most: self.most,
            rate: self.rate,
            concurrency: self.concurrency,
            busy: self.busy,
            at_start: self.at_start,
            after_purge: self.after_purge,
            hottest,
        })
    }
}

fn check_url(url: &str, site: &Site<'_>) {
    let is_path = url.starts_with('/');
    if !is_printable(url) || !(is_path || authority(url).is_some_and(is_authority)) {
        site.problem(
            format!("\"{url}\" is no URL that could be asked for"),
            "write a path (\"/about\") or a whole URL (\"https://www.example.com/about\"), without credentials",
        );
    }
}

fn is_origin(text: &str) -> bool {
    let is_bare = |authority: &str| is_authority(authority) && text.ends_with(authority);
    is_printable(text) && authority(text).is_some_and(is_bare)
}

/// What stands between the scheme and the path.
fn authority(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    rest.split(['/', '?']).next()
}

/// A host, and perhaps a port; no credentials.
fn is_authority(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]%".contains(&byte);
    !text.is_empty() && !text.starts_with(':') && text.bytes().all(is_allowed)
}

/// Of characters that stand in a URL, and no longer than servers take.
fn is_printable(url: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte);
    url.len() <= LONGEST && url.bytes().all(is_allowed)
}

/// Bytes of a URL.
const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use super::{authority, is_authority, is_origin, is_printable};

    #[test]
    fn urls_and_origins() {
        for (url, expected) in [
            ("http://a.test", true),
            ("https://a.test:8443", true),
            ("https://[::1]:8443", true),
            ("https://a.test/", false),
            ("https://me@a.test", false),
            ("a.test", false),
            ("ftp://a.test", false),
            ("http://", false),
            ("http://:80", false),
        ] {
            assert_eq!(is_origin(url), expected, "{url}");
        }
        assert_eq!(authority("http://a.test/b?c"), Some("a.test"));
        assert_eq!(authority("http://a.test?c"), Some("a.test"));
        assert!(!is_authority("me:secret@a.test"));
        assert!(!is_printable("/a b"));
        assert!(!is_printable("/a#b"));
        assert!(!is_printable(&"/".repeat(2049)));
    }
}
