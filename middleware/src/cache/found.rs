//! What a look-up means for the request that made it.

use http::HeaderMap;

use crate::cache::decide::{Asked, Found};
use crate::cache::errand::Kept;
use crate::cache::store::memory::{Lookup, Variants};
use crate::clock::Now;

impl Lookup {
    /// What it means for a request with these fields; see [`StoredResponse::found`].
    pub(crate) fn found(&self, asked: &mut Asked, request: &HeaderMap, now: Now) -> Found {
        match self {
            Self::Nothing => Found::Nothing,
            Self::OtherVariant(_) => Found::OtherVariant,
            Self::Stored {
                stored, is_purged, ..
            } => stored.found(*is_purged, asked, request, now),
        }
    }

    /// What it found for the request, or else for other ones.
    pub(crate) fn into_parts(self) -> (Option<Kept>, Option<Variants>) {
        match self {
            Self::Stored {
                stored,
                is_purged,
                chosen_by,
                ..
            } => {
                let kept = Kept {
                    stored,
                    is_purged,
                    chosen_by,
                    is_below: false,
                };
                (Some(kept), None)
            }
            Self::OtherVariant(variants) => (None, Some(variants)),
            Self::Nothing => (None, None),
        }
    }
}
