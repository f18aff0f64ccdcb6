//! What an errand goes with.

use std::sync::{Arc, OnceLock};

use config::cache::CacheSettings;
use http::HeaderMap;

use crate::Result;
use crate::cache::apart::Apart;
use crate::cache::decide::Asked;
use crate::cache::errand::Kept;
use crate::cache::ghost::follow::Following;
use crate::cache::invalidate::Sequence;
use crate::cache::key::{CacheKey, KeyHash, KeyRules};
use crate::cache::leasing::Leasing;
use crate::cache::outage::Permit;
use crate::cache::parts::Parts;
use crate::cache::place::Place;
use crate::cache::reason::Reason;
use crate::cache::recorder::Asking;
use crate::cache::search::SearchPlace;
use crate::cache::shared::{PurgedBy, SharedCache};
use crate::cache::store::memory::Variants;
use crate::cache::tags::Tags;
use crate::clock::Now;
use crate::facts::Fwd;

/// What an [`Errand`](crate::cache::errand::Errand) holds.
pub(crate) struct Papers {
    pub(crate) shared: SharedCache,
    pub(crate) settings: Arc<CacheSettings>,
    pub(crate) rules: Arc<KeyRules>,
    pub(crate) asked: Asked,
    pub(crate) key: CacheKey,
    pub(crate) purged_by: PurgedBy,
    /// The request's fields as the client sent them: a later `Vary` may name any of them.
    pub(crate) fields: HeaderMap,
    pub(crate) requested: Now,
    /// When the upstream was asked a second time, if it was; `None` where it cannot be.
    pub(crate) asked_again: Option<Arc<OnceLock<Now>>>,
    pub(crate) born: Sequence,
    /// The same in the order that all sidecars share, where there is one.
    pub(crate) born_at: Option<Place>,
    pub(crate) fwd: Fwd,
    pub(crate) reason: Reason,
    /// What is stored for this request and is not to be used as it is.
    pub(crate) stored: Option<Kept>,
    /// What is stored under the key for other requests; once the upstream was asked about them, those
    /// that it was asked about.
    pub(crate) variants: Option<Variants>,
    /// Whether the upstream is asked about `stored`, so that a 304 is about that.
    pub(crate) validates: bool,
    /// What its answer is a part of, where that is stored as such.
    pub(crate) part: Option<Parts>,
    /// Where the answer is stored, if it says which of its query matters.
    pub(crate) place: Option<SearchPlace>,
    /// Where pass markers for requests like this one lie; `None` where nobody may follow it.
    pub(crate) pass: Option<KeyHash>,
    /// For the journal; `None` where none is kept.
    pub(crate) asking: Option<Asking>,
    /// Whether something is stored for other values of the nominated fields.
    pub(crate) is_other_variant: bool,
    /// The fields that named them, where that is why; the answer may be without them by then.
    pub(crate) too_many_tags: HeaderMap,
    /// Its place among those that may be under way to the app; `None` where that is not limited.
    pub(crate) permit: Option<Permit>,
    /// Its part in fetching for other sidecars.
    pub(crate) leasing: Leasing,
    /// Where it is counted what a lifetime would have saved; `None` where that is not followed.
    pub(crate) ghost: Option<Following>,
    /// What the answer belongs to, or why that is not known; read when it comes.
    pub(crate) tags: Result<Tags, Reason>,
    /// What the answer says to us and not to clients; taken out of it when it comes.
    pub(crate) apart: Apart,
}
