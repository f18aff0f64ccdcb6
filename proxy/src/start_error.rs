//! Why Pillion did not start: one clear sentence, and the next step.

use std::error::Error as StdError;
use std::fmt;

/// A start that failed. `Display` is one sentence and the next step, both for people; the cause
/// below it is [`source`](StdError::source).
#[derive(Debug)]
pub struct StartError {
    sentence: String,
    next_step: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl StartError {
    /// What is wrong, and what to do about it; both without a full stop.
    pub(crate) fn new(sentence: impl Into<String>, next_step: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            next_step: next_step.into(),
            source: None,
        }
    }

    /// What lies behind it.
    #[must_use]
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is wrong, in one sentence without a full stop.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// What to do about it, in one sentence without a full stop.
    pub fn next_step(&self) -> &str {
        &self.next_step
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ". {}.", self.next_step)
    }
}

impl StdError for StartError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
