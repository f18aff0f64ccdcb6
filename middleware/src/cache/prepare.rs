//! The request that the upstream gets: the client's, with the conditions of what is stored.

use config::cache::Preconditions;
use http::HeaderMap;

use crate::Request;
use crate::cache::errand::{Errand, Kept};
use crate::cache::keep::is_lasting;
use crate::cache::parts;
use crate::cache::validate;

impl Errand {
    /// Makes the upstream's request of the client's.
    pub(crate) fn prepare(&mut self, mut request: Request) -> Request {
        self.born = self.shared.purges().now();
        self.born_at = self.shared.born_at();
        if self.asked.is_head || self.asked.directives.no_store || self.asked.is_overriding {
            self.variants = None;
        }
        if self.asked.directives.no_store || self.asked.is_overriding {
            return request;
        }
        let fields = request.headers_mut();
        if self.asked.is_head && self.stored.as_ref().is_some_and(Kept::is_whole) {
            // Its answer is news of what is stored, by which the client's conditions are judged above.
            validate::ask_identity(fields);
            validate::ask_whole(fields);
            validate::ask_unconditionally(fields);
            return request;
        }
        // A part is asked about where it would do and has a tag that stands for every byte.
        let may_ask = |kept: &&Kept| {
            let has_part = self.asked.part.is_some();
            kept.is_whole() || has_part && parts::has_strong_tag(&kept.stored.fields.map())
        };
        let Some(kept) = self.stored.as_ref().filter(may_ask) else {
            if !self.asked.has_range {
                validate::ask_identity(fields);
                self.offer_variants(fields);
                if self.variants.is_none() && self.fetches_whole(fields) {
                    validate::ask_unconditionally(fields);
                }
            } else {
                self.variants = None;
            }
            return request;
        };
        let is_short = kept.is_whole() && kept.stored.length() <= self.settings.range_fill_max;
        if !self.asked.has_range || is_short {
            validate::ask_identity(fields);
            validate::ask_whole(fields);
        }
        self.validates = validate::ask_about(fields, &kept.stored);
        request
    }

    /// Whether to fetch what this client has a copy of, because a 304 said lately that it may be
    /// stored: where all clients come back with copies, nothing would ever be. One request does so.
    fn fetches_whole(&self, fields: &HeaderMap) -> bool {
        self.stored.is_none()
            && !self.asked.is_head
            && validate::is_conditional(fields)
            && match self.settings.preconditions {
                Preconditions::Forward => self.shared.verdicts().claim_whole(self.key.hash),
                // In vain where the whole answer was refused lately.
                Preconditions::Fetch => {
                    let latest = self.shared.verdicts().latest(self.key.hash);
                    !latest.is_some_and(|latest| latest.stored.is_err_and(is_lasting))
                }
            }
    }
}
