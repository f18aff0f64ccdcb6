//! What went wrong between us and the upstream, in the words of RFC 9209.

use std::error::Error as StdError;
use std::io;

use middleware::{Error, ErrorKind};

/// Whether the upstream may have acted on a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It has not: the request never left, or the upstream says so.
    No,
    /// It may have, but no byte of an answer came.
    Silent,
    /// It may have; or the failure is not one of the connection.
    Yes,
}

/// Why there is no answer's head. `heard` says whether any byte of one came.
pub(super) fn of_head(error: hyper::Error, heard: bool) -> (Error, Seen) {
    let seen = match h2_of(&error) {
        Some(h2) if is_unprocessed(h2) => Seen::No,
        _ if error.is_canceled() => Seen::No,
        Some(h2) if h2.is_io() => Seen::Silent,
        Some(_) => Seen::Yes,
        None if heard || error.is_parse() || error.is_user() => Seen::Yes,
        None => Seen::Silent,
    };
    let kind = if error.is_parse_too_large() {
        ErrorKind::HttpResponseHeaderSectionSize
    } else if error.is_parse() {
        ErrorKind::HttpProtocolError
    } else if error.is_incomplete_message() && heard {
        ErrorKind::HttpResponseIncomplete
    } else {
        h2_of(&error).map_or(ErrorKind::ConnectionTerminated, kind_of_h2)
    };
    let failure = Error::upstream(kind).caused_by(error);
    let failure = match seen {
        Seen::No => failure.retryable(),
        Seen::Silent | Seen::Yes => failure,
    };
    (failure, seen)
}

/// Why an answer's body broke off.
pub(super) fn of_body(error: hyper::Error) -> Error {
    let kind = match (source_of::<io::Error>(&error), h2_of(&error)) {
        (Some(io), _) => match io.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
                ErrorKind::HttpProtocolError
            }
            io::ErrorKind::UnexpectedEof => ErrorKind::HttpResponseIncomplete,
            _ => ErrorKind::ConnectionTerminated,
        },
        (None, Some(h2)) => kind_of_h2(h2),
        (None, None) => ErrorKind::HttpResponseIncomplete,
    };
    Error::upstream(kind).caused_by(error)
}

/// RFC 9113 §8.7: a refused stream, or one beyond the last that a GOAWAY names, was not processed.
fn is_unprocessed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.reason() == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR)))
}

fn kind_of_h2(error: &h2::Error) -> ErrorKind {
    match (error.is_io(), error.is_remote(), error.is_go_away()) {
        (true, ..) | (_, true, true) => ErrorKind::ConnectionTerminated,
        // The upstream reset the stream.
        (_, true, false) => ErrorKind::HttpResponseIncomplete,
        // We noticed that this is no HTTP/2.
        _ => ErrorKind::HttpProtocolError,
    }
}

fn h2_of(error: &hyper::Error) -> Option<&h2::Error> {
    source_of(error)
}

fn source_of<E: StdError + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        source = error.source();
    }
    None
}
