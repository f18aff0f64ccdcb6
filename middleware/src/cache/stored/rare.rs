//! What few stored responses have, which the others need no room for.

use std::sync::{Arc, LazyLock};

use crate::cache::apart::Apart;
use crate::cache::parts::Parts;
use crate::cache::storable::Terms;
use crate::cache::stored::weight::{COUNTS, apart_weight, block};
use crate::cache::tags::Tags;
use crate::cache::vary::Selection;

/// What few stored responses have.
#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    pub(super) parts: Option<Arc<Parts>>,
    pub(super) selection: Selection,
    pub(super) tags: Tags,
    pub(super) apart: Apart,
    /// Those that their short form has no room for.
    pub(super) terms: Option<Terms>,
}

impl Rare {
    /// `None` where there is nothing of all that.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        let Self {
            parts,
            selection,
            tags,
            apart,
            terms,
        } = &self;
        let is_plain = parts.is_none() && selection.is_any() && tags.is_empty();
        let is_plain = is_plain && apart.fields().is_none() && terms.is_none();
        (!is_plain).then(|| Box::new(self))
    }

    pub(super) fn weight(&self) -> usize {
        let parts = self.parts.as_ref();
        block(size_of::<Self>())
            + parts.map_or(0, |parts| block(COUNTS + parts.size()))
            + self.selection.size()
            + self.tags.weight()
            + self.apart.fields().map_or(0, apart_weight)
    }
}

/// What those have that have nothing of it.
pub(super) static NONE: LazyLock<Rare> = LazyLock::new(Rare::default);
