//! The documents that tell a client of a failure: RFC 9457 problem details, or a page for people.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::ErrorKind;

/// What a document says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure<'a> {
    pub(super) kind: ErrorKind,
    /// What exactly is wrong, where that may be told.
    pub(super) detail: Option<&'static str>,
    /// The request's name; a trusted peer may have chosen it.
    pub(super) id: &'a str,
}

/// Pages of the operator, by status; read once.
#[derive(Debug, Default)]
pub(super) struct Pages(BTreeMap<u16, Bytes>);

impl Pages {
    /// Reads what can be read. A page that cannot be is told of, and the built-in one stands in:
    /// errors must be answered all the same.
    pub(super) fn read(files: &BTreeMap<u16, PathBuf>) -> Self {
        let read = |(status, path): (&u16, &PathBuf)| match read_page(path) {
            Ok(page) => Some((*status, page)),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, %error, "Error page not read; the built-in one is used.");
                None
            }
        };
        Self(files.iter().filter_map(read).collect())
    }
}

/// A document and its media type.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) content_type: HeaderValue,
    pub(super) content: Bytes,
    /// Whether it is ours, and so needs nothing but its own style.
    pub(super) is_built_in_page: bool,
}

/// The document for `failure`: a page if the client would rather have one, else problem details.
pub(super) fn document(failure: &Failure<'_>, pages: &Pages, prefers_html: bool) -> Document {
    if !prefers_html {
        return Document {
            content_type: HeaderValue::from_static("application/problem+json"),
            content: problem(failure).into(),
            is_built_in_page: false,
        };
    }
    let page = pages.0.get(&failure.kind.status().as_u16());
    Document {
        content_type: HeaderValue::from_static("text/html; charset=utf-8"),
        content: page.cloned().unwrap_or_else(|| built_in(failure).into()),
        is_built_in_page: page.is_none(),
    }
}

/// Whether `Accept` asks for HTML at least as much as for JSON (RFC 9110 §12.5.1). `*/*` alone,
/// which is what programs send, asks for neither.
pub(super) fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for line in headers.get_all(header::ACCEPT) {
        for range in line.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let quality = parts.find_map(quality).unwrap_or(1000);
            let is = |name: &str| media.eq_ignore_ascii_case(name);
            if is("text/html") || is("application/xhtml+xml") {
                html = html.max(quality);
            } else if is("application/json") || is("application/problem+json") {
                json = json.max(quality);
            }
        }
    }
    html > 0 && html >= json
}

/// `q=0.5` in thousandths; nothing for another parameter.
fn quality(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().ok()?;
    (0.0..=1.0)
        .contains(&value)
        .then_some((value * 1000.0) as u16)
}

/// RFC 9457. `about:blank` says that the status tells it all; `error` is the type of RFC 9209.
fn problem(failure: &Failure<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Problem<'a> {
        r#type: &'static str,
        title: &'a str,
        status: u16,
        detail: String,
        error: &'static str,
        request_id: &'a str,
    }
    let status = failure.kind.status();
    let problem = Problem {
        r#type: "about:blank",
        title: title(status),
        status: status.as_u16(),
        detail: sentence(failure),
        error: failure.kind.name(),
        request_id: failure.id,
    };
    serde_json::to_vec(&problem).expect("strings and a number can be written")
}

fn built_in(failure: &Failure<'_>) -> String {
    let status = failure.kind.status();
    let (code, title) = (status.as_u16(), title(status));
    let (sentence, id) = (escaped(&sentence(failure)), escaped(failure.id));
    format!(
        "<!doctype html>\n\
         <html lang=\"en\">\n\
         <meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{code} {title}</title>\n\
         <style>\n\
         :root {{ color-scheme: light dark }}\n\
         body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 20vh auto 0; max-width: 34rem; padding: 0 1rem }}\n\
         h1 {{ font-size: 1.4rem; margin: 0 }}\n\
         small {{ opacity: .6; overflow-wrap: anywhere }}\n\
         </style>\n\
         <h1>{code} {title}</h1>\n\
         <p>{sentence}</p>\n\
         <small>Request {id}</small>\n"
    )
}

fn title(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

/// What went wrong, for whoever asked: enough to know whose turn it is, nothing of our insides.
fn sentence(failure: &Failure<'_>) -> String {
    use ErrorKind as K;
    let general = match failure.kind {
        K::DnsTimeout | K::DnsError => {
            "The name of the application's server could not be resolved."
        }
        K::DestinationUnavailable => "The application is not available at the moment.",
        K::ConnectionRefused => "The application does not accept connections.",
        K::ConnectionTerminated | K::HttpResponseIncomplete => {
            "The application closed the connection before its answer was complete."
        }
        K::ConnectionTimeout => "The application could not be connected to in time.",
        K::ConnectionWriteTimeout => "The application took too long to read the request.",
        K::ConnectionReadTimeout => "The application took too long to answer.",
        K::ConnectionLimitReached => "The application is busy.",
        K::TlsProtocolError | K::TlsCertificateError => {
            "No trusted connection to the application could be made."
        }
        K::HttpRequestError => "The request is malformed.",
        K::HttpRequestDenied => "The request is not permitted.",
        K::HttpResponseHeaderSectionSize => "The application's answer has too many header fields.",
        K::HttpProtocolError => "The application's answer could not be understood.",
        K::HttpUpgradeFailed => "The application did not change the protocol.",
        K::ProxyInternalError => "Something went wrong here.",
        K::ProxyLoopDetected => "The request came back to where it had been before.",
        K::ContentTooLarge => "The request's content is too large.",
        K::FieldsTooLarge => "The request's header fields are too large.",
        K::RequestTimeout => "The request took too long to arrive.",
        K::MethodNotAllowed => "This method is not supported here.",
        K::OnlyIfCached => "Only a stored answer was asked for, and none can be used.",
    };
    match failure.detail {
        Some(detail) => format!("{general} ({detail})"),
        None => general.to_owned(),
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

fn read_page(path: &PathBuf) -> io::Result<Bytes> {
    let length = fs::metadata(path)?.len();
    if length > MAX_PAGE {
        let message = format!("{length} bytes, more than {MAX_PAGE}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(fs::read(path)?.into())
}

/// Each core holds every page.
const MAX_PAGE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static(value));
        prefers_html(&headers)
    }

    #[test]
    fn browsers_get_pages_and_programs_get_problems() {
        for (accept, html) in [
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                true,
            ),
            ("*/*", false),
            ("application/json", false),
            ("application/json, text/html;q=0.9", false),
            ("text/html, application/json", true),
            ("TEXT/HTML;q=0.1", true),
            ("text/html;q=0", false),
            (
                "text/html; charset=utf-8; Q=0.5, application/problem+json;q=0.4",
                true,
            ),
            ("", false),
        ] {
            assert_eq!(accepts(accept), html, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    #[test]
    fn a_problem_names_status_error_and_request() {
        let failure = Failure {
            kind: ErrorKind::ConnectionTimeout,
            detail: Some("after 1 s"),
            id: "a\"b",
        };
        let document = document(&failure, &Pages::default(), false);
        let problem: serde_json::Value = serde_json::from_slice(&document.content).unwrap();
        assert_eq!(problem["type"], "about:blank");
        assert_eq!(problem["title"], "Gateway Timeout");
        assert_eq!(problem["status"], 504);
        assert_eq!(problem["error"], "connection_timeout");
        assert_eq!(problem["request_id"], "a\"b");
        assert_eq!(
            problem["detail"],
            "The application could not be connected to in time. (after 1 s)"
        );
    }

    #[test]
    fn a_page_escapes_what_others_wrote() {
        let failure = Failure {
            kind: ErrorKind::ProxyInternalError,
            detail: None,
            id: "<script>'\"&",
        };
        let document = document(&failure, &Pages::default(), true);
        let page = str::from_utf8(&document.content).unwrap();
        assert!(page.contains("Request &lt;script&gt;&#39;&quot;&amp;"));
        assert!(page.contains("<title>500 Internal Server Error</title>"));
        assert!(
            !page.contains("http"),
            "a page loads nothing from elsewhere"
        );
    }

    #[test]
    fn pages_that_cannot_be_read_do_not_stop_us() {
        let missing = BTreeMap::from([(502, PathBuf::from("/does/not/exist.html"))]);
        assert!(Pages::read(&missing).0.is_empty());
    }
}
