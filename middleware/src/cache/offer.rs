//! Asking about variants: what is stored under the key, but for other requests (RFC 9111 §4.1).
//!
//! "If no stored response matches, … the request is forwarded to the origin server, potentially with
//! preconditions added to describe what responses the cache has already stored", and a 304 that names
//! one of them chooses it for this request too. That is safe where a strong tag stands for one
//! representation, as RFC 9110 §8.8.3 demands; so weak tags are not offered, nothing is where two
//! stored responses are seen to share a tag, and a 304 that does not clearly name one of what was
//! offered is not believed: the upstream is asked once more, for all of it.

use std::sync::{Arc, OnceLock};

use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::cache::Cache;
use crate::cache::errand::Errand;
use crate::cache::store::memory::Variants;
use crate::cache::stored::StoredResponse;
use crate::cache::validate;
use crate::cache::versions::Standing;
use crate::clock::Now;
use crate::facts::RequestFacts;
use crate::fields::entity_tag::EntityTag;
use crate::{Body, Inner, Request, ResponseFuture};

impl<S: Inner + Clone> Cache<S> {
    /// Asks the upstream; a second time, if it confirms what it was not asked about.
    pub(crate) fn ask(&mut self, request: Request, errand: &mut Errand) -> ResponseFuture {
        let request = errand.prepare(request);
        let Some(offered) = errand.variants.clone() else {
            return self.inner.call(request);
        };
        let (again, mut inner) = (unconditional(&request), self.inner.clone());
        let (asked_again, clock) = (
            Arc::<OnceLock<Now>>::default(),
            errand.shared.clock().clone(),
        );
        errand.asked_again = Some(asked_again.clone());
        self.inner.call(request).then(move |result| match result {
            Ok(answer)
                if answer.status() == StatusCode::NOT_MODIFIED
                    && named(&offered, answer.headers()).is_none() =>
            {
                // An answer is as old as the request that brought it (RFC 9111 §4.2.3).
                asked_again.get_or_init(|| clock.now());
                inner.call(again)
            }
            result => ResponseFuture::ready(result),
        })
    }
}

impl Errand {
    /// Makes the request one about the variants that are stored, as far as they may be offered; only
    /// these are remembered.
    pub(crate) fn offer_variants(&mut self, fields: &mut HeaderMap) {
        let variants = self.variants.take();
        let Some(variants) = variants.filter(|_| self.settings.offer_variants) else {
            return;
        };
        let versions = self.shared.versions();
        let is_there = |stored: &&Arc<StoredResponse>| {
            versions.standing(stored, &self.key.bytes) != Standing::Gone
        };
        let offered = offerable(variants.iter().filter(is_there));
        let tags: Vec<_> = offered.iter().filter_map(|stored| tag(stored)).collect();
        let line = HeaderValue::from_bytes(&tags.join(&b", "[..]));
        if let (false, Ok(line)) = (tags.is_empty(), line) {
            validate::ask_unconditionally(fields);
            fields.insert(IF_NONE_MATCH, line);
            self.variants = Some(offered);
        }
    }
}

/// The latest of `variants` that have strong tags of the upstream's own; none at all where two with
/// different content share one, since such an upstream's tags are not to be trusted.
fn offerable<'a>(variants: impl Iterator<Item = &'a Arc<StoredResponse>>) -> Variants {
    let mut offered: Vec<Arc<StoredResponse>> = Vec::new();
    for stored in variants {
        let Some(own) = tag(stored) else {
            continue;
        };
        match offered.iter().find(|known| tag(known) == Some(own)) {
            Some(known) if !is_same_content(known, stored) => return Arc::default(),
            Some(_) => {}
            None => offered.push(stored.clone()),
        }
    }
    offered.truncate(MOST);
    offered.into()
}

/// The tag by which a stored response may be offered.
fn tag(stored: &StoredResponse) -> Option<&[u8]> {
    let mut lines = stored.fields.all(ETAG);
    let (only, None) = (lines.next()?, lines.next()) else {
        return None;
    };
    let tag = EntityTag::parse(only)?;
    (stored.parts().is_none() && !tag.is_weak() && !tag.is_made() && only.len() <= LONGEST)
        .then_some(only)
}

/// A validation keeps the content where it lies, so that variants which share it are told by that;
/// else short content is compared.
fn is_same_content(one: &StoredResponse, other: &StoredResponse) -> bool {
    let is_short = one.length() == other.length() && one.length() <= COMPARED;
    let bytes = |stored: &StoredResponse| stored.body.concat();
    one.body.is_same(&other.body) || is_short && bytes(one) == bytes(other)
}

/// The one of `offered` that a 304 names by its strong tag, if nothing in it speaks of another.
pub(crate) fn named<'a>(
    offered: &'a [Arc<StoredResponse>],
    not_modified: &HeaderMap,
) -> Option<&'a Arc<StoredResponse>> {
    let mut lines = not_modified.get_all(ETAG).iter();
    let (own, None) = (EntityTag::parse(lines.next()?.as_bytes())?, lines.next()) else {
        return None;
    };
    let is_named = |stored: &&Arc<StoredResponse>| {
        let tag = tag(stored).and_then(EntityTag::parse);
        tag.is_some_and(|tag| tag.is_strongly(own))
    };
    let speaks_of = |stored: &&Arc<StoredResponse>| {
        [CONTENT_TYPE, CONTENT_LANGUAGE].iter().all(|name| {
            let said = not_modified.get(name);
            said.is_none_or(|said| stored.fields.first(name) == Some(said.as_bytes()))
        })
    };
    offered.iter().find(is_named).filter(speaks_of)
}

/// The same request for all of the content.
fn unconditional(request: &Request) -> Request {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    validate::ask_unconditionally(copy.headers_mut());
    if let Some(facts) = request.extensions().get::<RequestFacts>() {
        copy.extensions_mut().insert(facts.clone());
    }
    if let (&Method::QUERY, Some(content)) = (request.method(), request.body().as_whole()) {
        *copy.body_mut() = Body::from(content.clone());
    }
    copy
}

/// Tags in one request.
const MOST: usize = 8;
/// Bytes of a tag; longer ones are some app's joke.
const LONGEST: usize = 256;
/// Longer content that has one tag and does not lie in one place is taken for different.
const COMPARED: u64 = 64 << 10;
