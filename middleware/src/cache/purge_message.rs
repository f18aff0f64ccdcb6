//! A purge as other instances and later lives of this one are told of it: by the bus and by the journal.
//!
//! Tags, groups and prefixes travel as the hashes that they are compared by, which all instances make
//! with one key; so a message is short, and nothing that an app names is readable where it lies.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cache::key::Target;
use crate::cache::purge::What;
use crate::cache::shared::Purge;
use crate::cache::tags::NameHash;
use crate::cache::versions::Of;
use crate::facts::Scheme;

/// What is purged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PurgeMessage {
    pub(crate) what: Purged,
    pub(crate) purge: Purge,
}

/// See [`What`](crate::cache::What).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purged {
    All,
    Url(Box<PurgedUrl>),
    Names {
        of: Of,
        names: Vec<NameHash>,
    },
    Pattern(String),
    /// Nobody knows: whatever is stored anywhere is to be validated before its next use.
    Anything,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PurgedUrl {
    is_https: bool,
    authority: Vec<u8>,
    pub(crate) path: String,
    /// As the client wrote it: each route's rules make their own key of it.
    pub(crate) query: Option<String>,
    /// Of an invalidation by an unsafe request: the groups that are purged with it (RFC 9875 §2.2.1),
    /// as far as the instance that sends this knows them.
    pub(crate) groups: Option<Vec<NameHash>>,
}

/// Why a message says nothing. Either may hide a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is of a version that is not known here.
    OtherVersion,
    /// It is not whole, or nobody like us has written it.
    Damaged,
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherVersion => "the message of a purge is of another version",
            Self::Damaged => "the message of a purge is damaged",
        })
    }
}

impl std::error::Error for Unreadable {}

impl PurgeMessage {
    /// What an operator has ordered, where that names URLs: hashes of names tell nobody what they
    /// stand for.
    pub(crate) fn ordered(&self) -> Option<What> {
        match &self.what {
            Purged::All => Some(What::All),
            Purged::Url(url) if url.groups.is_none() => {
                let query = url.query.as_ref().map(|query| format!("?{query}"));
                let uri = format!("{}{}", url.path, query.unwrap_or_default());
                Some(What::Url {
                    scheme: url.target().scheme,
                    authority: String::from_utf8_lossy(&url.authority).into_owned(),
                    uri: uri.parse().ok()?,
                })
            }
            _ => None,
        }
    }

    pub(crate) fn url(target: Target<'_>, purge: Purge, groups: Option<Vec<NameHash>>) -> Self {
        let length = target.authority.len() + target.path.len() + target.query.map_or(0, str::len);
        if length > LONGEST_URL {
            return Self::anything();
        }
        Self {
            what: Purged::Url(Box::new(PurgedUrl {
                is_https: target.scheme == Scheme::Https,
                authority: target.authority.to_ascii_lowercase(),
                path: target.path.to_owned(),
                query: target.query.map(str::to_owned),
                groups,
            })),
            purge,
        }
    }

    pub(crate) fn anything() -> Self {
        Self {
            what: Purged::Anything,
            purge: Purge::Soft,
        }
    }

    /// The bytes that [`read`](Self::read) reads.
    pub(crate) fn write(&self) -> Bytes {
        let head = vec![MARK, VERSION];
        postcard::to_extend(self, head)
            .expect("memory takes whatever is written")
            .into()
    }

    /// What some instance wrote.
    ///
    /// # Errors
    /// When it is none of our version, or not whole.
    pub(crate) fn read(written: &[u8]) -> Result<Self, Unreadable> {
        let rest = match written {
            [MARK, VERSION, rest @ ..] if written.len() <= LONGEST => rest,
            [MARK, version, ..] if *version != VERSION => return Err(Unreadable::OtherVersion),
            _ => return Err(Unreadable::Damaged),
        };
        match postcard::take_from_bytes(rest) {
            Ok((message, [])) => Ok(message),
            _ => Err(Unreadable::Damaged),
        }
    }
}

impl PurgedUrl {
    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            scheme: match self.is_https {
                true => Scheme::Https,
                false => Scheme::Http,
            },
            authority: &self.authority,
            path: &self.path,
            query: self.query.as_deref(),
        }
    }
}

const MARK: u8 = b'P';
/// Of the format. Another one is counted as a gap, so it changes only when it must.
const VERSION: u8 = 1;
/// A message in bytes; one of more is of nobody like us.
pub(crate) const LONGEST: usize = 256 << 10;
/// Of a URL in bytes: more than the limits of a request's head let through.
const LONGEST_URL: usize = 128 << 10;
/// Names in one message.
pub(crate) const MOST_NAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn orders_that_name_urls_are_told() {
        let target = Target {
            scheme: Scheme::Https,
            authority: b"a.test:8443",
            path: "/b",
            query: Some("c=d"),
        };
        let expected = What::Url {
            scheme: Scheme::Https,
            authority: "a.test:8443".to_owned(),
            uri: "/b?c=d".parse().unwrap(),
        };
        let ordered = PurgeMessage::url(target, Purge::Soft, None).ordered();
        assert_eq!(ordered, Some(expected));
        // By an unsafe request, which nobody has ordered.
        let invalidated = PurgeMessage::url(target, Purge::Hard, Some(vec![]));
        assert_eq!(invalidated.ordered(), None);
        let all = PurgeMessage {
            what: Purged::All,
            purge: Purge::Hard,
        };
        assert_eq!(all.ordered(), Some(What::All));
        assert_eq!(PurgeMessage::anything().ordered(), None);
    }

    fn messages() -> impl Strategy<Value = PurgeMessage> {
        let names = || proptest::collection::vec(any::<u64>().prop_map(NameHash), 0..5);
        let url = (
            any::<bool>(),
            proptest::collection::vec(any::<u8>(), 0..20),
            ".{0,20}",
            proptest::option::of(".{0,20}"),
            proptest::option::of(names()),
        );
        let url = url.prop_map(|(is_https, authority, path, query, groups)| PurgedUrl {
            is_https,
            authority,
            path,
            query,
            groups,
        });
        let what = prop_oneof![
            Just(Purged::All),
            Just(Purged::Anything),
            url.prop_map(|url| Purged::Url(Box::new(url))),
            names().prop_map(|names| Purged::Names { of: Of::Tag, names }),
            names().prop_map(|names| Purged::Names {
                of: Of::Prefix,
                names
            }),
            ".{0,20}".prop_map(Purged::Pattern),
        ];
        (what, any::<bool>()).prop_map(|(what, is_soft)| PurgeMessage {
            what,
            purge: if is_soft { Purge::Soft } else { Purge::Hard },
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(message in messages()) {
            prop_assert_eq!(PurgeMessage::read(&message.write()), Ok(message));
        }

        #[test]
        fn part_of_a_message_is_none(message in messages(), more in 1_usize..40) {
            let written = message.write();
            let cut = written.len().saturating_sub(more);
            prop_assert_eq!(PurgeMessage::read(&written[..cut]), Err(Unreadable::Damaged));
            let mut long = written.to_vec();
            long.push(0);
            prop_assert_eq!(PurgeMessage::read(&long), Err(Unreadable::Damaged));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), ours: bool) {
            let mut bytes = bytes;
            if let (true, [first, second, ..]) = (ours, bytes.as_mut_slice()) {
                (*first, *second) = (MARK, VERSION);
            }
            drop(PurgeMessage::read(&bytes));
        }
    }

    #[test]
    fn another_version_is_told_from_damage() {
        let mut written = PurgeMessage::anything().write().to_vec();
        assert_eq!(PurgeMessage::read(&[]), Err(Unreadable::Damaged));
        assert_eq!(PurgeMessage::read(b"x"), Err(Unreadable::Damaged));
        written[1] += 1;
        assert_eq!(PurgeMessage::read(&written), Err(Unreadable::OtherVersion));
        // A length that nothing can have.
        let names = [MARK, VERSION, 2, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(PurgeMessage::read(&names), Err(Unreadable::Damaged));
    }

    #[test]
    fn the_longest_messages_are_read() {
        let names = (0..MOST_NAMES as u64)
            .map(|name| NameHash(u64::MAX - name))
            .collect();
        let of_names = PurgeMessage {
            what: Purged::Names { of: Of::Tag, names },
            purge: Purge::Hard,
        };
        assert!(PurgeMessage::read(&of_names.write()).is_ok());
        let url = |length| {
            let path = "x".repeat(length);
            let target = Target {
                scheme: Scheme::Http,
                authority: b"",
                path: &path,
                query: None,
            };
            PurgeMessage::url(target, Purge::Hard, None)
        };
        let long = url(LONGEST_URL);
        assert_eq!(PurgeMessage::read(&long.write()), Ok(long));
        assert_eq!(url(LONGEST_URL + 1).what, Purged::Anything);
    }
}
