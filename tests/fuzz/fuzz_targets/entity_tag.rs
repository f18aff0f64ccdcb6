//! Entity tags and the lists of them. Laws: the marker of a coded copy comes off again; a tag matches
//! itself, coded or not; what goes to the upstream bears no mark, and stripping it again changes nothing.
#![no_main]

use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH, IF_RANGE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use middleware::fields::entity_tag::{self, EntityTag, Member};

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    if let Some(tag) = EntityTag::parse(bytes) {
        let coded = entity_tag::with_coding(&value, "br").expect("a tag is coded");
        let again = EntityTag::parse(coded.as_bytes()).expect("and is a tag");
        assert!(tag.is_weak() || again.without_coding() == tag);
        assert!(entity_tag::line_holds_back(&value, Some(&coded)));
        assert!(entity_tag::line_holds_back(&coded, Some(&value)));
    }
    let mut request = HeaderMap::new();
    for name in [IF_NONE_MATCH, IF_MATCH, IF_RANGE] {
        request.append(&name, value.clone());
        request.append(&name, HeaderValue::from_static("\"a~gzip\""));
    }
    entity_tag::strip_coding(&mut request);
    for member in entity_tag::members(&request, &IF_MATCH) {
        assert!(!matches!(member, Member::Tag(tag) if tag.is_made() && tag.coding().is_none()));
    }
    assert!(!request.contains_key(IF_RANGE) && !request.contains_key(ETAG));
    entity_tag::none_match_holds_back(&request, Some(&value));
});
