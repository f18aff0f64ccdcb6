//! One element of the Stream: what an instance tells all others.
//!
//! Redis gives each its id, and the script that adds it writes three fields: `e`, what is told; `n`, a
//! name that no other has; and `p`, id and name of the one before it. So whoever reads on finds out at
//! once when something that was there is there no more: after a failover, a FLUSHALL, or a long absence.

use std::collections::HashMap;

use redis::Value;
use redis::streams::StreamId;
use serde::{Deserialize, Serialize};

use crate::cache::place::Place;
use crate::cache::purge_message::{LONGEST, Unreadable};

/// What is told, and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// A random number of whoever tells it, for as long as its process lives.
    pub instance: u64,
    /// The ticket of a purge; 0 of anything else.
    pub ticket: u64,
    /// What it is.
    pub kind: Kind,
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// There was no bus before.
    Start,
    /// There is one instance more, or again.
    Hello,
    /// A purge: a `PurgeMessage` as it is written.
    Purge(Vec<u8>),
    /// There is one instance less.
    Bye,
}

impl Entry {
    /// The bytes that [`read`](Self::read) reads.
    pub fn write(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![MARK, VERSION]).expect("memory takes whatever is written")
    }

    /// What some instance wrote.
    ///
    /// # Errors
    /// When it is none of our version, or not whole.
    pub fn read(written: &[u8]) -> Result<Self, Unreadable> {
        let rest = match written {
            [MARK, VERSION, rest @ ..] if written.len() <= LONGEST + MOST_AROUND => rest,
            [MARK, version, ..] if *version != VERSION => return Err(Unreadable::OtherVersion),
            _ => return Err(Unreadable::Damaged),
        };
        match postcard::take_from_bytes(rest) {
            Ok((entry, [])) => Ok(entry),
            _ => Err(Unreadable::Damaged),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) id: String,
    /// `None` where the id is none of this world.
    pub(crate) place: Option<Place>,
    /// Its own id and name, and those of the one before; `None` if no script of ours has added it.
    pub(crate) link: Option<Link>,
    pub(crate) entry: Result<Entry, Unreadable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) own: String,
    pub(crate) before: String,
}

impl Element {
    pub(crate) fn of(found: &StreamId) -> Self {
        let text = |name| field(&found.map, name).and_then(|text| std::str::from_utf8(text).ok());
        let link = text("n").zip(text("p")).map(|(name, before)| Link {
            own: format!("{} {name}", found.id),
            before: before.to_owned(),
        });
        Self {
            id: found.id.clone(),
            place: Place::of_id(&found.id),
            link,
            entry: field(&found.map, "e").map_or(Err(Unreadable::Damaged), Entry::read),
        }
    }
}

fn field<'a>(fields: &'a HashMap<String, Value>, name: &str) -> Option<&'a [u8]> {
    match fields.get(name)? {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

const MARK: u8 = b'B';
/// Of the format. Another one is counted as a gap.
const VERSION: u8 = 1;
/// What there is around a message, in bytes.
const MOST_AROUND: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bulk(bytes: &[u8]) -> Value {
        Value::BulkString(bytes.to_vec())
    }

    #[test]
    fn an_element_is_read_from_its_fields() {
        let entry = Entry {
            instance: 7,
            ticket: 3,
            kind: Kind::Purge(vec![1, 2]),
        };
        let fields = [
            ("e", bulk(&entry.write())),
            ("n", bulk(b"7.3")),
            ("p", bulk(b"1-0 a")),
        ];
        let map = fields.map(|(name, value)| (name.to_owned(), value)).into();
        let found = StreamId {
            id: "5-1".to_owned(),
            map,
            ..StreamId::default()
        };
        let element = Element::of(&found);
        assert_eq!(element.place, Some(Place::of_number(5 << 20 | 1)));
        let link = element.link.unwrap();
        assert_eq!(
            (link.own.as_str(), link.before.as_str()),
            ("5-1 7.3", "1-0 a")
        );
        assert_eq!(element.entry, Ok(entry));
        let planted = StreamId {
            id: "99999999999999999-1".to_owned(),
            ..StreamId::default()
        };
        let planted = Element::of(&planted);
        assert_eq!((planted.place, planted.link), (None, None));
        assert_eq!(planted.entry, Err(Unreadable::Damaged));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(instance: u64, ticket: u64, message: Vec<u8>, which in 0..4) {
            let kind = match which {
                0 => Kind::Start,
                1 => Kind::Hello,
                2 => Kind::Bye,
                _ => Kind::Purge(message),
            };
            let entry = Entry { instance, ticket, kind };
            let mut written = entry.write();
            prop_assert_eq!(Entry::read(&written), Ok(entry));
            prop_assert!(Entry::read(&written[..written.len() - 1]).is_err());
            written[1] += 1;
            prop_assert_eq!(Entry::read(&written), Err(Unreadable::OtherVersion));
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            drop(Entry::read(&bytes));
            drop(Entry::read(&[&[MARK, VERSION], &bytes[..]].concat()));
        }
    }
}
