//! Sitemaps (sitemaps.org, protocol 0.9): what URLs one names, and what further sitemaps.
//!
//! Whoever can write the app's sitemap is not trusted with more than naming URLs: how long it is, how
//! deep, how much of it is one URL and what a compressed one becomes are bounded, and entities are
//! not expanded beyond the five of XML and numbers. Where URLs may lie is for the reader to judge.

use std::borrow::Cow;
use std::io::Read;

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// What a sitemap says, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sitemap {
    /// Of pages.
    pub urls: Vec<String>,
    /// Of further sitemaps: this is an index then.
    pub sitemaps: Vec<String>,
}

/// Why a text is no sitemap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSitemap(Cow<'static, str>);

impl std::fmt::Display for NoSitemap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoSitemap {}

/// Reads a sitemap or an index of sitemaps, as it is or in gzip; at most `most` URLs of it.
///
/// # Errors
/// Where it is not well-formed, too long, too deep, or something else. What stands before that is lost.
pub fn read(content: &[u8], most: usize) -> Result<Sitemap, NoSitemap> {
    if !content.starts_with(&GZIP) {
        return read_xml(content, most);
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(content)
        .take(LONGEST + 1)
        .read_to_end(&mut plain)
        .map_err(|error| NoSitemap(format!("its gzip is broken: {error}").into()))?;
    if plain.len() as u64 > LONGEST {
        return Err(NoSitemap("it is too long once it is unpacked".into()));
    }
    read_xml(&plain, most)
}

fn read_xml(content: &[u8], most: usize) -> Result<Sitemap, NoSitemap> {
    let broken = |error: &dyn std::fmt::Display| NoSitemap(format!("it is no XML: {error}").into());
    let text = std::str::from_utf8(content).map_err(|error| broken(&error))?;
    let mut reader = Reader::from_str(text);
    let (mut within, mut found) = (Vec::new(), Sitemap::default());
    // Of the element that we are in, if it is one of those that count.
    let mut url: Option<String> = None;
    let mut has_begun = false;
    loop {
        let event = reader.read_event().map_err(|error| broken(&error))?;
        let text: Cow<'_, str> = match &event {
            Event::Start(start) => {
                if within.len() == DEEPEST {
                    return Err(NoSitemap("its elements lie too deep".into()));
                }
                if within.is_empty() && has_begun {
                    return Err(NoSitemap("it goes on after its end".into()));
                }
                within.push(Element::of(start.local_name().as_ref()));
                if within.len() == 1 && !matches!(within[..], [Element::Urls | Element::Index]) {
                    return Err(NoSitemap(
                        "its first element is not that of a sitemap".into(),
                    ));
                }
                has_begun = true;
                url = is_place(&within).then(String::new);
                continue;
            }
            Event::End(_) => {
                if let Some(url) = url.take() {
                    found.add(&within, url.trim());
                    if found.urls.len() + found.sitemaps.len() >= most {
                        return Ok(found);
                    }
                }
                within.pop();
                continue;
            }
            Event::Text(text) => text.xml10_content(),
            Event::CData(text) => text.xml10_content(),
            Event::GeneralRef(name) => {
                let number = name.resolve_char_ref().map_err(|error| broken(&error))?;
                match (number, resolve_predefined_entity(&name.xml10_content())) {
                    (Some(char), _) => char.to_string().into(),
                    (None, Some(text)) => text.into(),
                    (None, None) => return Err(NoSitemap("it has entities of its own".into())),
                }
            }
            Event::Eof if !within.is_empty() => {
                return Err(NoSitemap("it breaks off".into()));
            }
            Event::Eof if !has_begun => return Err(NoSitemap("it is empty".into())),
            Event::Eof => return Ok(found),
            _ => continue,
        };
        if let Some(url) = &mut url {
            url.push_str(&text);
            if url.len() > LONGEST_URL {
                return Err(NoSitemap("one of its URLs is too long".into()));
            }
        }
    }
}

impl Sitemap {
    fn add(&mut self, within: &[Element], url: &str) {
        match within {
            _ if url.is_empty() => {}
            [Element::Index, ..] => self.sitemaps.push(url.to_owned()),
            _ => self.urls.push(url.to_owned()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    Urls,
    Url,
    Index,
    Sitemap,
    Place,
    Other,
}

impl Element {
    fn of(name: &str) -> Self {
        match name {
            "urlset" => Self::Urls,
            "url" => Self::Url,
            "sitemapindex" => Self::Index,
            "sitemap" => Self::Sitemap,
            "loc" => Self::Place,
            _ => Self::Other,
        }
    }
}

/// Whether the innermost element says where a page or a sitemap is; images have places too, deeper.
fn is_place(within: &[Element]) -> bool {
    matches!(
        within,
        [Element::Urls, Element::Url, Element::Place]
            | [Element::Index, Element::Sitemap, Element::Place]
    )
}

/// How content in gzip begins (RFC 1952 §2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes of a sitemap, packed or not. The protocol allows 50 MiB; a site of that size has an index.
pub(super) const LONGEST: u64 = 16 << 20;
/// Elements within each other.
const DEEPEST: usize = 16;
/// The protocol's bound.
const LONGEST_URL: usize = 2048;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::proptest;

    use super::{LONGEST, Sitemap, read};

    fn urls(text: &str) -> Result<Vec<String>, String> {
        read(text.as_bytes(), 100)
            .map(|found| found.urls)
            .map_err(|error| error.to_string())
    }

    fn set(inside: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <urlset xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\" xmlns:image=\"i\">{inside}</urlset>"
        )
    }

    #[test]
    fn what_a_sitemap_names() {
        for (inside, expected) in [
            ("<url><loc>http://a/b</loc></url>", &["http://a/b"][..]),
            (
                "<url>\n <loc>\n http://a/b\n </loc><lastmod>2026</lastmod></url><url><loc>/c</loc></url>",
                &["http://a/b", "/c"],
            ),
            (
                "<url><loc>/?a=1&amp;b=2&#38;c=&#x26;</loc></url>",
                &["/?a=1&b=2&c=&"],
            ),
            ("<url><loc><![CDATA[/?a&b]]></loc></url>", &["/?a&b"]),
            ("<url><loc>/a<!-- no --></loc></url>", &["/a"]),
            (
                "<url><image:image><image:loc>/i.png</image:loc></image:image><loc>/a</loc></url>",
                &["/a"],
            ),
            ("<url><loc></loc><loc/></url><loc>/x</loc>", &[]),
            ("<url><!-- <loc>/x</loc> --></url>", &[]),
        ] {
            assert_eq!(urls(&set(inside)).unwrap(), expected, "{inside}");
        }
        let prefixed = "<s:urlset xmlns:s='x'><s:url><s:loc>/a</s:loc></s:url></s:urlset>";
        assert_eq!(urls(prefixed).unwrap(), ["/a"]);
    }

    #[test]
    fn an_index_names_sitemaps() {
        let text = "<sitemapindex><sitemap><loc>/one.xml</loc></sitemap><sitemap><loc>/two.xml.gz</loc></sitemap></sitemapindex>";
        let expected = Sitemap {
            urls: vec![],
            sitemaps: vec!["/one.xml".to_owned(), "/two.xml.gz".to_owned()],
        };
        assert_eq!(read(text.as_bytes(), 100), Ok(expected));
    }

    #[test]
    fn no_more_than_is_asked_for() {
        let text = set(&"<url><loc>/a</loc></url>".repeat(50));
        assert_eq!(read(text.as_bytes(), 7).unwrap().urls.len(), 7);
    }

    #[test]
    fn what_is_no_sitemap() {
        for text in [
            "",
            "no XML",
            "<html><body><loc>/a</loc></body></html>",
            "<urlset><url><loc>/a</url></urlset>",
            "<urlset><url><loc>/a</loc></url>",
            "<sitemapindex><sitemap><loc>/a</loc></sitemap></sitemapindex><urlset><url><loc>/b</loc></url></urlset>",
            &set(&format!("<url><loc>/{}</loc></url>", "a".repeat(2048))),
            &set(&"<a>".repeat(40)),
            "<!DOCTYPE urlset [<!ENTITY a \"aaaa\">]><urlset><url><loc>/&a;</loc></url></urlset>",
            "<!DOCTYPE urlset [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><urlset><url><loc>&a;</loc></url></urlset>",
        ] {
            assert!(urls(text).is_err(), "{text}: {:?}", urls(text));
        }
        assert!(read(&[0xff, 0xfe, b'<'], 1).is_err());
    }

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(plain).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn gzip() {
        let text = set("<url><loc>/a</loc></url>");
        let whole = packed(text.as_bytes());
        assert_eq!(read(&whole, 9).unwrap().urls, ["/a"]);
        assert!(read(&whole[..whole.len() / 2], 9).is_err());
        let bomb = packed(&vec![b' '; LONGEST as usize + 1]);
        assert!(bomb.len() < 200_000);
        let error = read(&bomb, 9).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "(<|</|/>|urlset|url|loc|sitemap|>|&|;|[a-z!\\[\\]\"= -]|\\PC){0,60}") {
            drop(read(text.as_bytes(), 10));
        }

        #[test]
        fn what_is_written_is_read(urls in proptest::collection::vec("/[a-z0-9&<>'\"=?]{0,20}", 1..20)) {
            let inside: String = urls.iter().map(|url| {
                format!("<url><loc>{}</loc></url>", quick_xml::escape::escape(url.as_str()))
            }).collect();
            proptest::prop_assert_eq!(read(set(&inside).as_bytes(), 100).unwrap().urls, urls);
        }
    }
}
