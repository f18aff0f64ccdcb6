//! The tag of a 304 that came from below: that of the 200 which this client would have got
//! (RFC 9110 §15.4.5), or its own cache does not know what is confirmed.

use config::content_coding::ContentCodingSettings;
use http::header::{ETAG, HeaderValue};

use crate::Response;
use crate::content_coding::coder::stored;
use crate::content_coding::negotiate::{self, Content, Decision};
use crate::content_coding::reading::Asked;
use crate::content_coding::{Coding, coded_copies, head};
use crate::fields::entity_tag::EntityTag;
use crate::fields::list::{self, Quotes};

/// Gives the 304 `response` the tag that the client knows, or would have got.
///
/// With the stored response at hand the rules tell. Otherwise only the client knows what it was
/// given, so what it sent is taken at its word.
pub(super) fn retag(settings: &ContentCodingSettings, asked: &Asked, response: &mut Response) {
    let Some(tag) = response.headers().get(ETAG) else {
        return;
    };
    if let Some(known) = known_as(tag, asked) {
        response.headers_mut().insert(ETAG, known);
        return;
    }
    match as_stored(settings, asked, response) {
        Some(As::Coded(coding)) => head::mark(response.headers_mut(), coding),
        Some(As::Decoded) => head::weaken(response.headers_mut()),
        None => {}
    }
}

enum As {
    Coded(Coding),
    Decoded,
}

/// What would become of the stored response, if there is one.
fn as_stored(settings: &ContentCodingSettings, asked: &Asked, response: &Response) -> Option<As> {
    let stored = stored(response.extensions())?;
    let content = Content {
        status: stored.status,
        read: stored.reading(),
        length: Some(stored.length()),
        shared: true,
    };
    match negotiate::decide(settings, asked, content) {
        Decision::Code { best, .. } => match coded_copies::find(stored, best).copy {
            Some((_, copy)) if copy.is_empty() => None,
            Some((coding, _)) => Some(As::Coded(coding)),
            None => Some(As::Coded(best.on_the_fly())),
        },
        Decision::Decode(_) => Some(As::Decoded),
        Decision::Leave(_) => None,
    }
}

/// How the client names what is tagged `tag`: with a marker of ours, or weakly. Of several names, one
/// for a coding that it still takes.
fn known_as(tag: &HeaderValue, asked: &Asked) -> Option<HeaderValue> {
    let current = EntityTag::parse(tag.as_bytes())?;
    let names = || {
        asked
            .if_none_match
            .iter()
            .flat_map(|line| list::split(line.as_bytes(), Quotes::Plain))
            .filter_map(|raw| Some((raw, EntityTag::parse(raw)?)))
            .filter(|(_, name)| name.without_coding().is_weakly(current))
    };
    let is_taken = |coding: &str| {
        Coding::named(coding.as_bytes())
            .is_some_and(|coding| negotiate::weight(asked.accepts, coding).is_taken())
    };
    let (raw, _) = names()
        .find(|(_, name)| name.coding().is_some_and(is_taken))
        .or_else(|| names().find(|(_, name)| *name == current))
        .or_else(|| names().next())?;
    HeaderValue::from_bytes(raw).ok()
}
