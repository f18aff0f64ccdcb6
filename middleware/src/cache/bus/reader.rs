//! Reading on in the Stream, and finding out that something is missing: without any input or output.

use crate::cache::bus::element::Element;
use crate::cache::place::Place;

/// How far the Stream was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reader {
    /// The id to read on from.
    pub(crate) position: String,
    /// Id and name of the last element that is linked.
    tail: String,
}

/// What one more element means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It follows what was read before.
    Next,
    /// It may be a purge, and nobody knows which.
    Unreadable,
    /// Between this one and what was read before, something is missing.
    Gap,
}

impl Reader {
    /// Reads on behind `element`, whatever was before it.
    pub(crate) fn behind(element: &Element) -> Self {
        Self {
            position: element.id.clone(),
            tail: element
                .link
                .as_ref()
                .map_or_else(String::new, |link| link.own.clone()),
        }
    }

    /// Goes on to `element`, unless there is a gap before it.
    pub(crate) fn take(&mut self, element: &Element) -> Seen {
        if let Some(link) = &element.link {
            if link.before != self.tail {
                return Seen::Gap;
            }
            self.tail.clone_from(&link.own);
        }
        self.position.clone_from(&element.id);
        // What has no link is somebody else's, and in nobody's chain.
        let is_known = element.link.is_some() && element.entry.is_ok() && element.place.is_some();
        if is_known {
            Seen::Next
        } else {
            Seen::Unreadable
        }
    }

    /// Whether `element` is the last one that was read.
    fn is_at(&self, element: &Element) -> bool {
        element
            .link
            .as_ref()
            .is_some_and(|link| link.own == self.tail)
    }

    /// Whether a bus whose last element is `tail` can have what was read here. If it is behind, it has
    /// lost some of that.
    pub(crate) fn may_be_of(&self, tail: &str) -> bool {
        match (place_of(tail), place_of(&self.tail)) {
            (Some(theirs), Some(ours)) => theirs > ours || tail == self.tail,
            // Nothing is known that could be lost.
            (_, None) => true,
            (None, Some(_)) => false,
        }
    }
}

/// The whole Stream, from its first element on.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    reader: Option<Reader>,
    /// All that was purged after it was read.
    floor: Place,
    /// How far it had been read before a gap was found.
    before: Option<Reader>,
    /// Whether what had been read before is in it still, or was so long ago that it need not be, or all
    /// were told since that anything may have been purged.
    is_accounted_for: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replayed {
    /// Where to read on.
    pub(crate) reader: Reader,
    /// The place from which on all is known.
    pub(crate) floor: Place,
    /// Whether something was told, and heard here, that whoever comes later does not hear.
    pub(crate) has_lost: bool,
}

impl Replay {
    /// Of a Stream that had been read until `before`.
    pub(crate) fn after(before: Option<Reader>) -> Self {
        Self {
            before,
            ..Self::default()
        }
    }

    /// Goes on to `element`; `is_anything` if it tells that anything may have been purged.
    pub(crate) fn take(&mut self, element: &Element, is_anything: bool) {
        let read = self
            .before
            .as_ref()
            .and_then(|before| place_of(&before.tail));
        let is_later = element.place > read;
        let seen = match &mut self.reader {
            None => {
                self.is_accounted_for = is_later;
                self.reader = Some(Reader::behind(element));
                Seen::Gap
            }
            Some(reader) => match reader.take(element) {
                Seen::Gap => {
                    *reader = Reader::behind(element);
                    Seen::Gap
                }
                seen => seen,
            },
        };
        let is_it = |before: &Reader| before.is_at(element);
        self.is_accounted_for |= self.before.as_ref().is_none_or(is_it);
        self.is_accounted_for |= is_anything && is_later;
        if seen != Seen::Next || element.entry.is_err() {
            self.floor = element.place.unwrap_or(Place::LAST);
        }
    }

    /// What came of it; `None` if there was nothing.
    pub(crate) fn end(self) -> Option<Replayed> {
        let reader = self.reader?;
        let is_behind = self
            .before
            .as_ref()
            .is_some_and(|before| place_of(&reader.tail) < place_of(&before.tail));
        Some(Replayed {
            floor: self.floor,
            has_lost: is_behind || !self.is_accounted_for,
            reader,
        })
    }
}

/// The place of the element that has this id and name.
pub(crate) fn place_of(tail: &str) -> Option<Place> {
    Place::of_id(tail.split(' ').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::bus::element::{Entry, Kind, Link};
    use crate::cache::purge_message::Unreadable;

    fn element(id: &str, before: &str) -> Element {
        let link = Link {
            own: format!("{id} n"),
            before: before.to_owned(),
        };
        Element {
            id: id.to_owned(),
            place: Place::of_id(id),
            link: Some(link),
            entry: Ok(Entry {
                instance: 1,
                ticket: 0,
                kind: Kind::Hello,
            }),
        }
    }

    fn planted(id: &str) -> Element {
        Element {
            link: None,
            entry: Err(Unreadable::Damaged),
            ..element(id, "")
        }
    }

    #[test]
    fn what_is_missing_is_noticed() {
        let mut reader = Reader::behind(&element("1-0", ""));
        assert_eq!(reader.take(&element("2-0", "1-0 n")), Seen::Next);
        assert_eq!(reader.take(&planted("2-5")), Seen::Unreadable);
        assert_eq!(reader.position, "2-5");
        assert_eq!(reader.take(&element("3-0", "2-0 n")), Seen::Next);
        let before = reader.clone();
        // 4-0 was trimmed away, or is lost.
        assert_eq!(reader.take(&element("5-0", "4-0 n")), Seen::Gap);
        // The same id, and not the same element.
        assert_eq!(reader.take(&element("6-0", "3-0 m")), Seen::Gap);
        // All is gone, and there is a new bus.
        assert_eq!(reader.take(&element("7-0", "")), Seen::Gap);
        assert_eq!(reader, before);
        let other = Element {
            entry: Err(Unreadable::OtherVersion),
            ..element("8-0", "3-0 n")
        };
        assert_eq!(reader.take(&other), Seen::Unreadable);
        assert_eq!(reader.take(&element("9-0", "8-0 n")), Seen::Next);
        let far = element("99999999999999999-0", "9-0 n");
        assert_eq!(reader.take(&far), Seen::Unreadable);
    }

    #[test]
    fn a_bus_that_is_behind_has_lost_something() {
        let reader = Reader::behind(&element("5-1", ""));
        for (tail, expected) in [
            ("5-1 n", true),
            ("5-1 m", false),
            ("5-2 m", true),
            ("5-0 n", false),
            ("4-9 n", false),
            ("", false),
            ("?", false),
        ] {
            assert_eq!(reader.may_be_of(tail), expected, "{tail}");
        }
        assert!(Reader::behind(&planted("9-9")).may_be_of("1-1 n"));
    }

    #[test]
    fn a_replay_knows_from_where_on_it_is_whole() {
        let floor = |elements: &[Element]| {
            let mut replay = Replay::default();
            elements
                .iter()
                .for_each(|element| replay.take(element, false));
            let replayed = replay.end()?;
            assert!(!replayed.has_lost);
            Some((replayed.reader.position, replayed.floor.id()))
        };
        let told = |position: &str, floor: &str| Some((position.to_owned(), floor.to_owned()));
        let (a, b) = (element("1-0", "0-5 n"), element("2-0", "1-0 n"));
        assert_eq!(floor(&[]), None);
        assert_eq!(floor(&[a.clone(), b.clone()]), told("2-0", "1-0"));
        assert_eq!(
            floor(&[a.clone(), planted("1-5"), b.clone()]),
            told("2-0", "1-5")
        );
        assert_eq!(floor(&[a, element("3-0", "2-9 n")]), told("3-0", "3-0"));
        let far = Element {
            place: None,
            ..element("99999999999999999-0", "2-0 n")
        };
        assert_eq!(floor(&[b, far]).unwrap().1, Place::LAST.id());
    }
    #[test]
    fn what_was_heard_and_is_there_no_more_is_told_again() {
        let stream = [
            element("3-0", "2-0 n"),
            element("5-0", "3-0 n"),
            element("7-0", "5-0 n"),
        ];
        let other = Element {
            link: Some(Link {
                own: "5-0 m".to_owned(),
                before: String::new(),
            }),
            ..element("5-0", "")
        };
        for (before, anything_at, expected) in [
            (None, None, false),
            // Trimmed away meanwhile: nobody else has missed anything.
            (Some(element("2-0", "")), None, false),
            (Some(element("3-0", "")), None, false),
            (Some(element("7-0", "")), None, false),
            // The tail was lost in a failover, and others went on.
            (Some(element("4-0", "")), None, true),
            (Some(other.clone()), None, true),
            (Some(element("4-0", "")), Some("5-0"), false),
            (Some(element("4-0", "")), Some("3-0"), true),
            // Or nobody did yet.
            (Some(element("8-0", "")), None, true),
            (Some(element("8-0", "")), Some("7-0"), true),
        ] {
            let mut replay = Replay::after(before.as_ref().map(Reader::behind));
            for element in &stream {
                replay.take(element, anything_at == Some(element.id.as_str()));
            }
            let has_lost = replay.end().unwrap().has_lost;
            assert_eq!(has_lost, expected, "{before:?} {anything_at:?}");
        }
    }
}
