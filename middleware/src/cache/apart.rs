//! Fields that decide here and that clients do not get (`cache.targeted`). They are kept apart from
//! the others, so that a hit need not look for them and a later validation still knows them.

use std::sync::Arc;

use config::targeted::TargetedSettings;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Response;
use crate::cache::errand::{Errand, Kept};
use crate::cache::key;
use crate::cache::tags::{self, Tags};
use crate::fields::tags::are_there;

/// Those fields of one answer, in memory of their own; nothing is held where there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apart(Option<Arc<HeaderMap>>);

impl Apart {
    /// Takes them out of `fields`. One that is not there says what it said in `before`, the stored
    /// response that a 304 confirms (RFC 9111 §3.2).
    pub(crate) fn take(
        fields: &mut HeaderMap,
        before: Option<&Self>,
        settings: &TargetedSettings,
    ) -> Self {
        let before = before.and_then(|before| before.0.as_deref());
        // Looked for in one pass: most answers have none of them, and to take out what is not there
        // costs a hash of each name.
        let is_hidden = |name: &HeaderName| settings.hidden().any(|text| text == name.as_str());
        if before.is_none() && !fields.keys().any(is_hidden) {
            return Self::default();
        }
        let mut taken = HeaderMap::new();
        for text in settings.hidden() {
            let source = match fields.contains_key(text) {
                true => Some(&*fields),
                false => before,
            };
            let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
                continue;
            };
            for value in source.iter().flat_map(|source| source.get_all(text)) {
                if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
                    drop(taken.try_append(&name, copy));
                }
            }
            fields.remove(text);
        }
        Self((!taken.is_empty()).then(|| Arc::new(taken)))
    }

    /// These fields, which were [taken](Self::take) from an answer once.
    pub(crate) fn of(taken: HeaderMap) -> Self {
        Self((!taken.is_empty()).then(|| Arc::new(taken)))
    }

    /// All of an answer's fields: these and `others`. `None` if there are none of these.
    pub(crate) fn with(&self, others: &HeaderMap) -> Option<HeaderMap> {
        let taken = self.0.as_ref()?;
        let mut all = others.clone();
        for (name, value) in taken.iter() {
            drop(all.try_append(name, value.clone()));
        }
        Some(all)
    }

    /// See the module.
    pub(crate) fn fields(&self) -> Option<&HeaderMap> {
        self.0.as_deref()
    }
}

impl Errand {
    /// Reads what the answer belongs to, and keeps from others what is said to us alone. `about` is
    /// what it is no answer itself but news of.
    pub(crate) fn take_aside(&mut self, answer: &mut Response, about: Option<&Kept>) {
        let has_tags = are_there(answer.headers());
        if has_tags || about.is_some() {
            self.read_tags(answer.headers(), about);
        }
        self.apart = Apart::take(
            answer.headers_mut(),
            about.map(|kept| kept.stored.apart()),
            &self.settings.targeted,
        );
        if has_tags && self.settings.tags.strip {
            tags::strip(answer.headers_mut());
        }
    }

    fn read_tags(&mut self, fields: &HeaderMap, about: Option<&Kept>) {
        self.tags = match key::place(&self.key.bytes) {
            Some(place) => Tags::read(
                fields,
                about.map(|kept| kept.stored.tags()),
                place,
                self.shared.versions().hasher(),
                &self.settings.tags,
            ),
            None => Ok(Tags::default()),
        };
        if self.tags.is_err() {
            self.too_many_tags = tags::of(fields);
        }
    }
}
