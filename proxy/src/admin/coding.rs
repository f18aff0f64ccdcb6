//! What `/explain` says about the coding of a stored response.

use std::fmt;

use config::content_coding::ContentCodingSettings;
use middleware::cache::stored::StoredResponse;
use middleware::content_coding::negotiate::{Content, Decision, Uncoded, decide};
pub(super) use middleware::content_coding::reading::Asked;
use middleware::content_coding::reading::Reading;
use serde::Serialize;

/// How a stored response would go to a client.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    /// A coding, or `identity`.
    coding: &'static str,
    /// The rule that says so.
    sentence: &'static str,
    /// The shortest change that would flip it.
    advice: Option<&'static str>,
}

/// Asks the rules of the content coding layer, with what it would ask them.
pub(super) fn note(
    settings: &ContentCodingSettings,
    asked: &Asked,
    stored: &StoredResponse,
) -> Note {
    let content = Content {
        status: stored.status,
        read: Reading::of(&stored.fields),
        length: Some(stored.length()),
        shared: true,
    };
    match decide(settings, asked, content) {
        Decision::Code { best, jitter } => Note {
            coding: best
                .stored()
                .next()
                .map_or("identity", |coding| coding.name()),
            sentence: if jitter {
                "The client accepts it; a field of random length hides the coded length (BREACH)."
            } else {
                "The client accepts it."
            },
            advice: None,
        },
        Decision::Decode(_) => Note {
            coding: "identity",
            sentence: "The app coded it, and the client does not accept that coding.",
            advice: Some("let the app answer Accept-Encoding: identity as it is"),
        },
        Decision::Leave(why) => left(why),
    }
}

fn left(why: Uncoded) -> Note {
    let (sentence, advice) = match why {
        Uncoded::Disabled => (
            "Coding is switched off for this route.",
            Some("content_coding = { enabled = true }"),
        ),
        Uncoded::Status => ("Answers with this status are not coded.", None),
        Uncoded::ContentRange => ("A part of a representation is not coded.", None),
        Uncoded::AlreadyCoded => ("The app has coded it.", None),
        Uncoded::Stream => (
            "A live stream is not coded.",
            Some("content_coding = { streams = \"flush\" }"),
        ),
        Uncoded::MediaType => ("Content of this type does not become smaller.", None),
        Uncoded::NoTransform => (
            "The answer says no-transform (RFC 9111 §5.2.2.6).",
            Some("let the app leave no-transform out"),
        ),
        Uncoded::TooSmall => (
            "It is shorter than content_coding.min_size.",
            Some("content_coding = { min_size = \"…\" } with a smaller size"),
        ),
        Uncoded::Range => (
            "A part was asked for, and parts are cut from content as it is.",
            Some("ask without Range"),
        ),
        Uncoded::NotAccepted => (
            "The client accepts none of the codings that are switched on here.",
            Some("ask with Accept-Encoding: br, zstd, gzip"),
        ),
        Uncoded::Breach(_) => (
            "It may hold a secret, which its coded length would tell about (BREACH).",
            Some("content_coding = { breach = \"off\" }, if nothing in it is secret"),
        ),
    };
    Note {
        coding: "identity",
        sentence,
        advice,
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.coding, self.sentence)?;
        match self.advice {
            Some(advice) => write!(f, " To change it: {advice}"),
            None => Ok(()),
        }
    }
}
