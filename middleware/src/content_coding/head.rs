//! What a coding means for the fields of an answer. Always a copy's fields: what is stored is shared.

use http::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, Entry, HeaderName, VARY,
};
use http::{HeaderMap, HeaderValue};

use crate::content_coding::Coding;
use crate::content_coding::reading::{Reading, Vary};
use crate::fields::entity_tag::{self, EntityTag};
use crate::fields::list;

/// Says that the content is coded now; `length`: how long it is, if that is known.
pub(crate) fn code(fields: &mut HeaderMap, read: &Reading, coding: Coding, length: Option<usize>) {
    fields.insert(CONTENT_ENCODING, coding.value());
    match length {
        Some(length) => fields.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => fields.remove(CONTENT_LENGTH),
    };
    mark(fields, coding);
    drop_claims(fields, read);
}

/// Says that the upstream's coding is off; nobody knows yet how long the content is.
pub(crate) fn decode(fields: &mut HeaderMap, read: &Reading) {
    fields.remove(CONTENT_ENCODING);
    fields.remove(CONTENT_LENGTH);
    weaken(fields);
    drop_claims(fields, read);
}

/// Leaves out what was said of other bytes.
fn drop_claims(fields: &mut HeaderMap, read: &Reading) {
    if read.accepts_ranges {
        // Ranges are cut from identity content only.
        fields.remove(ACCEPT_RANGES);
    }
    if read.has_digests {
        drop_digests(fields);
    }
}

/// Gives the entity tag the marker of `coding`.
pub(crate) fn mark(fields: &mut HeaderMap, coding: Coding) {
    if let Entry::Occupied(mut tag) = fields.entry(ETAG) {
        match entity_tag::with_coding(tag.get(), coding.name()) {
            Some(marked) => {
                tag.insert(marked);
            }
            None => {
                tag.remove();
            }
        }
    }
}

/// Makes the entity tag a weak one: the upstream gave it to other bytes (RFC 9110 §8.8.1), yet still
/// knows it when it comes back.
pub(crate) fn weaken(fields: &mut HeaderMap) {
    let Some(tag) = fields.get(ETAG) else { return };
    let parsed = EntityTag::parse(tag.as_bytes());
    if parsed.is_none_or(EntityTag::is_weak) {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => fields.insert(ETAG, weak),
        Err(_) => fields.remove(ETAG),
    };
}

/// Adds `Accept-Encoding` to `Vary`, unless it is there or all is.
pub(crate) fn vary(fields: &mut HeaderMap, read: &Reading) {
    if read.vary == Vary::SaysSo {
        return;
    }
    if read.vary == Vary::Absent {
        fields.insert(VARY, HeaderValue::from_static("accept-encoding"));
        return;
    }
    let members: Vec<&[u8]> = list::members(fields, &VARY)
        .chain([&b"accept-encoding"[..]])
        .collect();
    let merged = HeaderValue::from_bytes(&members.join(&b", "[..]));
    fields.insert(VARY, merged.expect("values and commas make a value"));
}

/// Leaves out digests of the bytes that were (RFC 9530, RFC 3230, RFC 1864).
pub(crate) fn drop_digests(fields: &mut HeaderMap) {
    for name in &DIGESTS {
        fields.remove(name);
    }
}

const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in pairs {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    #[test]
    fn vary_is_merged_and_never_said_twice() {
        let cases: [(&[&'static str], &str); 8] = [
            (&[], "accept-encoding"),
            (&[""], "accept-encoding"),
            (&["Origin"], "Origin, accept-encoding"),
            (&["Origin,  Cookie"], "Origin, Cookie, accept-encoding"),
            (&["Origin", "Cookie"], "Origin, Cookie, accept-encoding"),
            (&["Accept-Encoding"], "Accept-Encoding"),
            (&["Origin, ACCEPT-ENCODING"], "Origin, ACCEPT-ENCODING"),
            (&["*"], "*"),
        ];
        for (lines, expected) in cases {
            let pairs: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            let mut fields = fields(&pairs);
            for _ in 0..2 {
                let read = Reading::of(&fields);
                vary(&mut fields, &read);
            }
            assert_eq!(fields.get_all(VARY).iter().count(), 1, "{lines:?}");
            assert_eq!(fields[VARY], expected, "{lines:?}");
        }
    }

    #[test]
    fn a_coded_head_says_nothing_of_the_bytes_that_were() {
        let mut coded = fields(&[
            ("etag", "\"abc\""),
            ("content-length", "5000"),
            ("accept-ranges", "bytes"),
            ("content-md5", "x"),
            ("digest", "x"),
            ("content-digest", "x"),
            ("repr-digest", "x"),
            ("x-kept", "x"),
        ]);
        let read = Reading::of(&coded);
        code(&mut coded, &read, Coding::Zstd, Some(42));
        let expected = fields(&[
            ("etag", "\"abc~zstd\""),
            ("content-length", "42"),
            ("content-encoding", "zstd"),
            ("x-kept", "x"),
        ]);
        assert_eq!(coded, expected);
        code(&mut coded, &read, Coding::Zstd, None);
        assert!(!coded.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn tags_by_what_happens_to_the_content() {
        let cases = [
            ("\"abc\"", Some("\"abc~br\""), Some("W/\"abc\"")),
            ("W/\"abc\"", Some("W/\"abc\""), Some("W/\"abc\"")),
            (
                "\"abc~gzip\"",
                Some("\"abc~gzip~br\""),
                Some("W/\"abc~gzip\""),
            ),
            ("abc", None, Some("abc")),
        ];
        for (tag, coded, decoded) in cases {
            let tag_after = |change: fn(&mut HeaderMap)| {
                let mut fields = fields(&[("etag", tag)]);
                change(&mut fields);
                fields
                    .remove(ETAG)
                    .map(|tag| tag.to_str().unwrap().to_owned())
            };
            assert_eq!(
                tag_after(|fields| mark(fields, Coding::Br)).as_deref(),
                coded
            );
            assert_eq!(tag_after(weaken).as_deref(), decoded);
        }
    }
}
