//! Events that are told by what they are about.

use super::catalogue::Event;

impl Event {
    /// Bytes that went into the coder for `coding`, and bytes that came out of it.
    pub fn coded(coding: crate::content_coding::Coding) -> (Self, Self) {
        use crate::content_coding::Coding;
        match coding {
            Coding::Br => (Self::BrotliIn, Self::BrotliOut),
            Coding::Zstd => (Self::ZstdIn, Self::ZstdOut),
            Coding::Gzip => (Self::GzipIn, Self::GzipOut),
        }
    }

    /// What a feature that observes would have done, as the label is written; empty for other events.
    pub fn would(self) -> &'static str {
        let (_, labels) = self.place();
        let would = labels.iter().find(|(name, _)| *name == "would");
        would.map_or("", |(_, value)| value)
    }

    /// An answer was coded on the fly.
    pub fn coded_reply(coding: crate::content_coding::Coding) -> Self {
        use crate::content_coding::Coding;
        match coding {
            Coding::Br => Self::BrotliReply,
            Coding::Zstd => Self::ZstdReply,
            Coding::Gzip => Self::GzipReply,
        }
    }

    /// A coded copy in `coding` was made.
    pub fn copied(coding: crate::content_coding::Coding) -> Self {
        use crate::content_coding::Coding;
        match coding {
            Coding::Br => Self::BrotliCopy,
            Coding::Zstd => Self::ZstdCopy,
            Coding::Gzip => Self::GzipCopy,
        }
    }
}
