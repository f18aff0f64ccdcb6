//! Records: stored responses as they lie in the lower tiers, on disk and in Redis.
//!
//! A record is bytes alone: a prelude with a checksum over all of it, a head, the content and its coded
//! copies as they are. `encode` writes one, `decode` reads it without copying the content, and
//! `Filed::answering` makes the stored response of it for one request. Times in it are absolute, so
//! that a copy of a copy is as old as the first.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `PILR` |
//! | 1 | format: another one is a miss |
//! | 1 | 0: a response; 1: an index |
//! | 2 | 0 |
//! | 4 | length of the head, little endian |
//! | 8 | XXH3 of all bytes before and after it, little endian |
//! | | the head, by postcard |
//! | | content, then its copies in br, zstd and gzip, as far as there are any |
//!
//! Where its record lies is told by the cache key (`Digest::name`). A response that is chosen by `Vary`
//! lies under the key together with the values that choose it; under the key alone lies an index then,
//! which says by which fields responses are chosen.
//!
//! **No record holds a client's credentials.** What a request said, in a key's projected fields and
//! cookies and in the fields that `Vary` names, is written as a digest only. That is compared, which
//! serves as well as the values would. `Set-Cookie` is never stored, and so is in no record.
//!
//! A checksum protects against accidents, not against somebody who can write into the store; that is
//! what `seal` is for. But whatever bytes come in, nothing panics, and what is read takes memory in
//! proportion to them.

mod head;
mod name;
mod opened;
mod read;
mod seal;
mod write;

pub(crate) use head::FORMAT;
pub(crate) use name::Digest;
pub use opened::answers;
pub(crate) use read::{Filed, Record, decode};
pub(crate) use seal::Sealer;
pub(crate) use write::encode;

/// Why bytes are no record that can be used here. To whoever asked, each is a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Unreadable {
    /// Not a record, or of a format that this version does not know.
    Format,
    /// It is sealed, and there is no key here; or it is not, and there is one.
    Sealing,
    /// Sealed by another key, for another place, or changed since.
    Forged,
    /// Bytes are missing or too many.
    Length,
    /// The checksum is another.
    Checksum,
    /// The head cannot be read.
    Head,
    /// It says what no record of ours says.
    Content,
    /// It was stored later than now: the clocks of two machines differ.
    Future,
    /// It is of another key or selection.
    OtherKey,
}

impl Unreadable {
    /// As metrics and log lines name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Sealing => "sealing",
            Self::Forged => "forged",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Head => "head",
            Self::Content => "content",
            Self::Future => "future",
            Self::OtherKey => "other-key",
        }
    }

    /// What an operator may want to do about it.
    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Format => {
                "Another version has written it, or somebody else who uses our names: then choose \
                 another `cache.redis.prefix`."
            }
            Self::Sealing => {
                "Either all sidecars have `cache.redis.key_file`, or none has. If they do, somebody \
                 else writes here: keep him out, by an ACL user and TLS."
            }
            Self::Forged => {
                "Give all sidecars the same `cache.redis.key_file`. If they have it, somebody else \
                 writes here, or has moved what they wrote: keep him out, by an ACL user and TLS."
            }
            Self::Length | Self::Checksum => "It was damaged where it lies, or on its way.",
            Self::Head | Self::Content => {
                "It is not what this version writes: is another one running with the same `epoch`?"
            }
            Self::Future => "Set the clocks of the machines: they are more than two seconds apart.",
            Self::OtherKey => "It lies under a name that is not its own: somebody has moved it.",
        }
    }
}

#[cfg(test)]
#[path = "record/tests.rs"]
mod tests;
