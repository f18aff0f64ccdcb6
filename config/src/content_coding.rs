//! `[content_coding]`: Brotli, zstd and gzip.

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentCodingSettings {
    /// Off passes content as the upstream coded it.
    pub enabled: bool,
    /// What may be used; the order of preference is ours (semantics: stored br > zstd > gzip, on the fly zstd > br > gzip).
    pub codings: Codings,
    /// Shorter content is left alone, in bytes.
    pub min_size: u64,
    /// What to do about secrets in coded answers.
    pub breach: Breach,
    /// What to do with event streams and their like.
    pub streams: Streams,
}

/// A set of codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codings {
    /// Brotli (RFC 7932).
    pub br: bool,
    /// Zstandard (RFC 8878).
    pub zstd: bool,
    /// gzip (RFC 1952).
    pub gzip: bool,
}

/// The policy against BREACH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breach {
    /// Answers to credentials are coded for same-site requests only, with jitter.
    Balanced,
    /// Answers to credentials are not coded.
    Strict,
    /// No care is taken.
    Off,
}

/// Event streams, NDJSON and their like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streams {
    /// Not coded.
    Off,
    /// Coded and flushed at every pause.
    Flush,
}

impl Default for ContentCodingSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            codings: Codings {
                br: true,
                zstd: true,
                gzip: true,
            },
            min_size: 1 << 10,
            breach: Breach::Balanced,
            streams: Streams::Off,
        }
    }
}
