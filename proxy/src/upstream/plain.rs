//! The plainest exchange: a request without content, and an answer that is here whole when its head is.
//!
//! Most answers of an app are so: HTTP/1.1, one length, all of it in a few KiB. Such an exchange takes place
//! [beneath hyper](super::wire), without its task and its channels. Everything else is hyper's: chunks, long
//! content, interim responses, upgrades, ends without a length, connections that close, malformed heads, failures.

use std::cell::RefCell;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::ReadBuf;

use super::handshake::HYPERS_FIELDS;
use super::upload::Outgoing;
use super::wire::Wire;

/// Sends `request` on `wire`, if it is plain and can be sent at once. False if nothing was sent.
pub(super) fn send(request: &Request<Outgoing>, wire: &Wire) -> bool {
    let Outgoing::Whole(content) = request.body() else {
        return false;
    };
    let is_plain = content.as_whole().is_some_and(Bytes::is_empty)
        && !matches!(*request.method(), Method::HEAD | Method::CONNECT)
        && request.uri().authority().is_none()
        && !request.headers().contains_key(TRANSFER_ENCODING);
    is_plain
        && SCRATCH.with_borrow_mut(|scratch| {
            write_head(request, &mut scratch.head) && wire.begin(&scratch.head)
        })
}

/// Writes the head of `request` as hyper does (RFC 9112 §3).
fn write_head(request: &Request<Outgoing>, head: &mut Vec<u8>) -> bool {
    if request.uri().path_and_query().is_none() {
        return false;
    }
    head.clear();
    head.extend_from_slice(request.method().as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(request.uri().path().as_bytes());
    if let Some(query) = request.uri().query() {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    }
    head.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    true
}

/// What came in answer.
pub(super) enum Came {
    /// All of it.
    Answer(Box<Parts>, Bytes),
    /// Something that is hyper's to read: these bytes, and what follows.
    Odd(Bytes),
}

/// Reads the answer to what was [sent](send).
pub(super) fn poll_answer(wire: &Wire, before: &mut Before, cx: &mut Context<'_>) -> Poll<Came> {
    SCRATCH.with_borrow_mut(|scratch| {
        loop {
            let mut buffer = ReadBuf::new(&mut scratch.read);
            let polled = wire.poll_read(cx, &mut buffer);
            if polled.is_pending() && !before.has_head {
                return Poll::Pending;
            }
            let read = buffer.filled();
            let parsed = if read.is_empty() {
                Parsed::Odd
            } else if before.bytes.is_empty() {
                parse(read)
            } else {
                before.bytes.extend_from_slice(read);
                parse(&before.bytes)
            };
            if let Parsed::Whole(parts, content) = parsed {
                return Poll::Ready(Came::Answer(parts, content));
            }
            if before.bytes.is_empty() {
                before.bytes.extend_from_slice(read);
            }
            before.reads += 1;
            before.has_head = matches!(parsed, Parsed::Head);
            let is_long = before.bytes.len() >= LONGEST || before.reads >= READS;
            if is_long || matches!(parsed, Parsed::Odd) {
                return Poll::Ready(Came::Odd(std::mem::take(&mut before.bytes).into()));
            }
        }
    })
}

/// What has come of an answer in earlier reads.
#[derive(Default)]
pub(super) struct Before {
    bytes: Vec<u8>,
    reads: u8,
    /// Whether there is all of a head: if no more is here, its client is to have it.
    has_head: bool,
}

enum Parsed {
    Whole(Box<Parts>, Bytes),
    /// A part of a head.
    Part,
    /// A head, and not all of its content.
    Head,
    /// It is none of those that are read here.
    Odd,
}

/// Reads an answer whose end nobody can disagree about (RFC 9112 §6.3): one `Content-Length` of digits and as many
/// bytes, or a 304 and none.
fn parse(came: &[u8]) -> Parsed {
    let mut lines = [httparse::EMPTY_HEADER; HYPERS_FIELDS];
    let mut head = httparse::Response::new(&mut lines);
    let length = match head.parse(came) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Parsed::Part,
        Err(_) => return Parsed::Odd,
    };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let Some(status) = status.filter(|status| is_plain(*status)) else {
        return Parsed::Odd;
    };
    // Another phrase is passed on by hyper.
    if head.version != Some(1) || head.reason != status.canonical_reason() {
        return Parsed::Odd;
    }
    let mut fields = HeaderMap::with_capacity(head.headers.len() + ROOM);
    let all = Bytes::copy_from_slice(came);
    let mut declared = None;
    for line in head.headers.iter() {
        let Ok(name) = HeaderName::from_bytes(line.name.as_bytes()) else {
            return Parsed::Odd;
        };
        match name {
            CONTENT_LENGTH if declared.is_none() => match digits(line.value) {
                Some(length) => declared = Some(length),
                None => return Parsed::Odd,
            },
            CONNECTION if line.value.eq_ignore_ascii_case(b"keep-alive") => {}
            CONTENT_LENGTH | CONNECTION | TRANSFER_ENCODING | UPGRADE => return Parsed::Odd,
            _ => {}
        }
        let first = line.value.as_ptr().addr() - came.as_ptr().addr();
        let value = all.slice(first..first + line.value.len());
        let Ok(value) = HeaderValue::from_maybe_shared(value) else {
            return Parsed::Odd;
        };
        if fields.try_append(name, value).is_err() {
            return Parsed::Odd;
        }
    }
    let expected = match (status, declared) {
        (StatusCode::NOT_MODIFIED, _) => 0,
        (_, Some(declared)) => declared,
        (_, None) => return Parsed::Odd,
    };
    let content = all.slice(length..);
    if content.len() > expected || length.saturating_add(expected) > LONGEST {
        return Parsed::Odd;
    }
    if content.len() < expected {
        return Parsed::Head;
    }
    let mut parts = Response::new(()).into_parts().0;
    parts.status = status;
    parts.headers = fields;
    Parsed::Whole(Box::new(parts), content)
}

/// Whether the end of an answer with this status is told by its length, or it has no content and may tell one.
fn is_plain(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::RESET_CONTENT
}

/// "1*DIGIT" (RFC 9110 §8.6).
fn digits(value: &[u8]) -> Option<usize> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then_some(())?;
    str::from_utf8(value).ok()?.parse().ok()
}

struct Scratch {
    head: Vec<u8>,
    read: Box<[u8]>,
}

thread_local! {
    /// Where this core writes heads and reads answers.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        head: Vec::new(),
        read: vec![0; LONGEST].into(),
    });
}

/// Bytes of an answer that is read here, head and content. What is longer is mostly long, and would be copied.
const LONGEST: usize = 8 << 10;
/// Reads that an answer may take here: each looks at all of it.
const READS: u8 = 8;
/// Fields that we add to an answer.
const ROOM: usize = 6;
