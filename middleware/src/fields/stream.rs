//! Which responses are live streams: never buffered, stored or shared.

use http::HeaderMap;

/// Whether `fields` name a response whose content is sent as it happens: event streams, pushed
/// parts, lines of JSON, gRPC, or whatever says so itself by `X-Accel-Buffering: no`.
pub fn is_live_stream(fields: &HeaderMap) -> bool {
    // Looked for in one pass: to compare all names costs less than to hash one that has no number.
    // The first line of each counts.
    let (mut unbuffered, mut live) = (None, None);
    for (name, value) in fields {
        match name.as_str() {
            "x-accel-buffering" => {
                unbuffered.get_or_insert_with(|| is_unbuffered(value.as_bytes()));
            }
            "content-type" => {
                live.get_or_insert_with(|| is_live_type(value.as_bytes()));
            }
            _ => {}
        }
    }
    unbuffered == Some(true) || live == Some(true)
}

/// What `X-Accel-Buffering` says.
pub(crate) fn is_unbuffered(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"no")
}

/// What `Content-Type` says.
pub(crate) fn is_live_type(value: &[u8]) -> bool {
    // The types that most answers have are none of these.
    if !matches!(
        value.trim_ascii_start().first(),
        Some(b'a' | b'A' | b'm' | b'M' | b't' | b'T')
    ) {
        return false;
    }
    let end = value.iter().position(|byte| *byte == b';');
    let essence = value
        .get(..end.unwrap_or(value.len()))
        .unwrap_or(value)
        .trim_ascii();
    let grpc = essence
        .get(..GRPC.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
    grpc || LIVE_TYPES
        .iter()
        .any(|live| essence.eq_ignore_ascii_case(live))
}

const GRPC: &[u8] = b"application/grpc";
const LIVE_TYPES: [&[u8]; 6] = [
    b"text/event-stream",
    b"multipart/x-mixed-replace",
    b"application/x-ndjson",
    b"application/ndjson",
    b"application/jsonl",
    b"application/x-jsonlines",
];

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn named_kinds_are_live() {
        for (name, value, live) in [
            ("content-type", "text/event-stream", true),
            ("content-type", "Text/Event-Stream; charset=utf-8", true),
            ("content-type", "application/grpc+proto", true),
            ("content-type", "application/grpc-web", true),
            ("content-type", "application/x-ndjson", true),
            ("content-type", "multipart/x-mixed-replace;boundary=x", true),
            ("content-type", "application/json", false),
            ("content-type", "", false),
            ("x-accel-buffering", "no", true),
            ("x-accel-buffering", "yes", false),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
            assert_eq!(is_live_stream(&fields), live, "{name}: {value}");
        }
    }
}
