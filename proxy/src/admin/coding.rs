//! What `/explain` says about the coding of an answer.

use config::content_coding::ContentCodingSettings;
use middleware::content_coding::guard::Refusal;
use middleware::content_coding::negotiate::{Content, Decision, Uncoded, decide};
pub(super) use middleware::content_coding::reading::Asked;
use middleware::explanation::{Advice, Change, Part, Step};

/// How `content` would go to a client on the route called `route`: a coding, or `identity`, and why.
/// Asks the rules of the content coding layer, with what it would ask them.
pub(super) fn step(
    route: &str,
    settings: &ContentCodingSettings,
    asked: &Asked,
    content: Content,
) -> (&'static str, Step) {
    let (coding, rule, sentence, advice) = match decide(settings, asked, content) {
        Decision::Code { best, jitter } => {
            let sentence = if jitter {
                "It is coded, since the client accepts it; a field of random length hides how long it is then (BREACH)."
            } else {
                "It is coded, since the client accepts it."
            };
            // What is not stored is coded on the fly, by what is quickest for its size.
            let coding = match content.shared {
                true => best.stored().next(),
                false => Some(best.on_the_fly()),
            };
            let coding = coding.map_or("identity", |coding| coding.name());
            (coding, None, sentence, Advice::default())
        }
        Decision::Decode(_) => (
            "identity",
            Some("decoded"),
            "The app coded it, and the client does not accept that coding.",
            Advice::none("Nothing is lost by it but the time it takes."),
        ),
        Decision::Leave(why) => {
            let (rule, sentence, advice) = left(route, why);
            ("identity", Some(rule), sentence, advice)
        }
    };
    let step = Step {
        rule,
        advice,
        ..Step::said(Part::ContentCoding, format!("{coding}: {sentence}"))
    };
    (coding, step)
}

fn left(route: &str, why: Uncoded) -> (&'static str, &'static str, Advice) {
    let config = |key, value: &str| Advice::any([Change::config(route, [(key, value.to_owned())])]);
    match why {
        Uncoded::Disabled => (
            "disabled",
            "Coding is switched off for this route.",
            config("content_coding.enabled", "true"),
        ),
        Uncoded::Status => (
            "status",
            "Answers with this status are not coded.",
            Advice::none("They have no content of their own."),
        ),
        Uncoded::ContentRange => (
            "content-range",
            "A part of a representation is not coded.",
            Advice::any([Change::ask_without(["Range"])]),
        ),
        Uncoded::AlreadyCoded => (
            "already-coded",
            "The app has coded it.",
            Advice::any([Change::answer_without("Content-Encoding")]),
        ),
        Uncoded::Stream => (
            "stream",
            "A live stream is not coded.",
            config("content_coding.streams", "\"flush\""),
        ),
        Uncoded::MediaType => (
            "media-type",
            "Content of this type does not become smaller.",
            Advice::none("If it is text, let the app name its type in Content-Type."),
        ),
        Uncoded::NoTransform => (
            "no-transform",
            "The answer says no-transform (RFC 9111 §5.2.2.6).",
            Advice::any([Change::answer_without("Cache-Control: no-transform")]),
        ),
        Uncoded::TooSmall => (
            "too-small",
            "It is shorter than content_coding.min_size.",
            config("content_coding.min_size", "\"0B\""),
        ),
        Uncoded::Range => (
            "range",
            "A part was asked for, and parts are cut from content as it is.",
            Advice::any([Change::ask_without(["Range"])]),
        ),
        Uncoded::NotAccepted => (
            "not-accepted",
            "The client accepts none of the codings that are switched on here.",
            Advice::none("Let the client send Accept-Encoding: br, zstd, gzip."),
        ),
        Uncoded::Breach(refusal) => breach(route, refusal),
    }
}

/// By the class of request that the policy saw.
fn breach(route: &str, refusal: Refusal) -> (&'static str, &'static str, Advice) {
    let (rule, sentence) = match refusal {
        Refusal::Strict => (
            "breach-strict",
            "It may hold a secret, which its coded length would tell about, and breach is \"strict\" (BREACH).",
        ),
        Refusal::CrossSite => (
            "breach-cross-site",
            "It may hold a secret, which its coded length would tell about, and another site's page asked (BREACH).",
        ),
        Refusal::UnknownSite => (
            "breach-unknown-site",
            "It may hold a secret, which its coded length would tell about, and nothing says whose page asked (BREACH).",
        ),
    };
    // Public by its own word, if it holds no secret; the switch is for routes where nothing does.
    let changes = [
        Change::answer_with("Cache-Control", "public"),
        Change::config(route, [("content_coding.breach", "\"off\"".to_owned())]),
    ];
    (rule, sentence, Advice::any(changes))
}
