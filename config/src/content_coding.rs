//! `[content_coding]`: Brotli, zstd and gzip.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::site::Site;
use crate::units::SizeOrZero;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentCodingSettings {
    /// Off passes content as the upstream coded it.
    pub enabled: bool,
    /// Whether content is coded, or only counted that would be.
    pub mode: Mode,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// Answers to credentials are coded for same-site requests only, with jitter.
    Balanced,
    /// Answers to credentials are not coded.
    Strict,
    /// No care is taken.
    Off,
}

/// Event streams, NDJSON and their like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
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
            mode: Mode::Apply,
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

/// `[content_coding]`, and `content_coding` in a `[[route]]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WrittenContentCoding {
    /// Off passes content as the upstream coded it.
    enabled: bool,
    /// Whether what is decided is done, or counted only.
    mode: Mode,
    /// What may be used; the order says nothing, the best for each answer is chosen.
    codings: Vec<WrittenCoding>,
    /// Shorter content is left alone.
    min_size: SizeOrZero,
    /// What to do about secrets in coded answers.
    breach: Breach,
    /// What to do with event streams and their like.
    streams: Streams,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum WrittenCoding {
    /// Brotli (RFC 7932).
    Br,
    /// Zstandard (RFC 8878).
    Zstd,
    /// gzip (RFC 1952).
    Gzip,
}

impl Default for WrittenContentCoding {
    fn default() -> Self {
        let settings = ContentCodingSettings::default();
        let Codings { br, zstd, gzip } = settings.codings;
        let all = [
            (br, WrittenCoding::Br),
            (zstd, WrittenCoding::Zstd),
            (gzip, WrittenCoding::Gzip),
        ];
        Self {
            enabled: settings.enabled,
            mode: settings.mode,
            codings: all
                .into_iter()
                .filter_map(|(used, coding)| used.then_some(coding))
                .collect(),
            min_size: SizeOrZero(settings.min_size),
            breach: settings.breach,
            streams: settings.streams,
        }
    }
}

impl WrittenContentCoding {
    pub(crate) fn check(&self, site: &Site<'_>) -> ContentCodingSettings {
        self.mode.check(self.enabled, site);
        let has = |coding| self.codings.contains(&coding);
        if self.enabled && self.codings.is_empty() && site.key("codings").is_written() {
            let help = "write `enabled = false` to code nothing";
            site.key("codings").problem("names no coding", help);
        }
        if self.breach == Breach::Off && site.key("breach").is_written() {
            site.key("breach").warning(
                "coded answers beside secrets let an attacker guess the secrets (BREACH)",
                "keep \"balanced\" unless no answer here holds a token or personal data",
            );
        }
        ContentCodingSettings {
            enabled: self.enabled,
            mode: self.mode,
            codings: Codings {
                br: has(WrittenCoding::Br),
                zstd: has(WrittenCoding::Zstd),
                gzip: has(WrittenCoding::Gzip),
            },
            min_size: self.min_size.0,
            breach: self.breach,
            streams: self.streams,
        }
    }
}
