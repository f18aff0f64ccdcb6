//! Storing parts of a representation, and finding them (RFC 9111 §3.3, §3.4).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::Response;
use crate::cache::decide::{Asked, Found};
use crate::cache::errand::{Errand, Kept};
use crate::cache::parts::{self, Parts};
use crate::cache::reason::Reason;
use crate::cache::store::memory::Lookup;
use crate::cache::stored::{StoredResponse, own_body};
use crate::clock::Now;

impl Errand {
    /// The part of a representation that `answer` is, if it can be stored as such.
    pub(crate) fn part_of(&self, answer: &Response, declared: Option<u64>) -> Option<Parts> {
        if answer.status() != StatusCode::PARTIAL_CONTENT
            || !self.settings.partial
            || !self.asked.has_range
            || self.stored.as_ref().is_some_and(Kept::is_whole)
        {
            return None;
        }
        Parts::of(answer.headers(), declared).filter(|part| part.length() <= self.settings.max_body)
    }

    /// Stores a part, with those that are stored now if they are of the same bytes.
    pub(crate) fn keep_part(
        &self,
        head: &StoredResponse,
        part: &Parts,
        content: Vec<Bytes>,
    ) -> Result<Arc<StoredResponse>, Reason> {
        let content: Arc<[Bytes]> = content.into();
        let length: u64 = content.iter().map(|piece| piece.len() as u64).sum();
        if length != part.length() {
            return Err(Reason::PartialContent);
        }
        let (key, store) = (self.place_key(), &self.shared);
        let current = match store.lookup(key.hash, &key.bytes, &self.fields) {
            Lookup::Stored {
                stored,
                chosen_by: None,
                ..
            } => Some(stored),
            _ => None,
        };
        if current
            .as_ref()
            .is_some_and(|stored| stored.parts().is_none())
        {
            // Somebody has fetched the whole meanwhile.
            return Err(Reason::PartialContent);
        }
        let most = self.shared.bounds(self.settings.max_body).most;
        let joined = current
            .as_ref()
            .filter(|stored| parts::are_of_one(&stored.fields.map(), &head.fields.map()))
            .and_then(|stored| {
                let parts = stored.parts()?;
                let (parts, pieces) = parts.joined(&stored.body, part, &content, own_body)?;
                let is_short = parts.length() <= most;
                // To forget one would be to miss a purge.
                let is_tagged_little =
                    head.tags().joined(stored.tags()).count() <= self.settings.tags.count;
                (is_short && is_tagged_little).then_some((stored, parts, pieces))
            });
        let stored = match joined {
            Some((old, parts, pieces)) => head.with_head_of(old).with_parts(parts, pieces),
            None => head.with_parts(part.clone(), own_body(content.to_vec())),
        };
        let stored = Arc::new(stored);
        self.put(&stored, current.as_ref())?;
        Ok(stored)
    }
}

impl StoredResponse {
    /// What it means for a request with these fields; notes in `asked` which part is meant, if parts
    /// are all that there is.
    pub(crate) fn found(
        &self,
        is_purged: bool,
        asked: &mut Asked,
        request: &HeaderMap,
        now: Now,
    ) -> Found {
        if let Some(parts) = self.parts() {
            let wanted = parts.wanted(request, &self.fields.map());
            asked.part = wanted.filter(|_| !asked.is_head);
            if asked.part.is_none() {
                return Found::OtherParts;
            }
        }
        Found::Stored(self.candidate(now, is_purged))
    }
}
