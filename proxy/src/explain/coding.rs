//! What `/explain` says about the coding of an answer.

use std::borrow::Cow;

use config::content_coding::ContentCodingSettings;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, SET_COOKIE};
use middleware::content_coding::guard::Refusal;
use middleware::content_coding::negotiate::{Content, Decision, Uncoded, decide};
pub use middleware::content_coding::reading::Asked;
use middleware::content_coding::reading::Reading;
use middleware::explanation::{Advice, Change, Part, Step};

/// How `content` with these `fields` would go to a client on the route called `route`: a coding, or
/// `identity`, and why. Asks the rules of the content coding layer, with what it would ask them.
pub fn step(
    route: &str,
    settings: &ContentCodingSettings,
    asked: &Asked,
    content: Content,
    fields: &HeaderMap,
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
            let (rule, sentence, advice) = left(route, why, fields);
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

fn left(route: &str, why: Uncoded, fields: &HeaderMap) -> (&'static str, &'static str, Advice) {
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
            Advice::any([without_no_transform(fields)]),
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
        Uncoded::Breach(refusal) => breach(route, refusal, fields),
    }
}

/// By the class of request that the policy saw.
fn breach(
    route: &str,
    refusal: Refusal,
    fields: &HeaderMap,
) -> (&'static str, &'static str, Advice) {
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
    let read = Reading::of(fields);
    let has_cookie = fields.contains_key(SET_COOKIE) || read.differs_by_cookie;
    let public = Change::answer_with("Cache-Control", as_public(fields));
    let off = Change::config(route, [("content_coding.breach", "\"off\"".to_owned())]);
    let changes = (!has_cookie).then_some(public).into_iter().chain([off]);
    (rule, sentence, Advice::any(changes))
}

/// The members of `Cache-Control`, which hold no secrets.
fn members(fields: &HeaderMap) -> Vec<Cow<'_, str>> {
    let lines = fields.get_all(CACHE_CONTROL).into_iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members
        .map(|member| String::from_utf8_lossy(member.trim_ascii()))
        .filter(|member| !member.is_empty())
        .collect()
}

fn without_no_transform(fields: &HeaderMap) -> Change {
    let mut members = members(fields);
    members.retain(|member| !member.eq_ignore_ascii_case("no-transform"));
    match members.is_empty() {
        true => Change::answer_without("Cache-Control"),
        false => Change::answer_with("Cache-Control", members.join(", ")),
    }
}

/// What it says, but for everybody.
fn as_public(fields: &HeaderMap) -> String {
    let is_kept = |member: &Cow<'_, str>| {
        let name = member.split('=').next().unwrap_or_default();
        !["private", "no-store", "public"]
            .iter()
            .any(|other| name.trim().eq_ignore_ascii_case(other))
    };
    let mut said = vec![Cow::Borrowed("public")];
    said.extend(members(fields).into_iter().filter(is_kept));
    said.join(", ")
}
