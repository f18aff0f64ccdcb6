//! `/log-level`: how much the program's own log says.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use tracing::info;

use super::Admin;
use super::reply::{self, Reply};
use crate::logging;

/// GET tells the filter, PUT replaces it by the request's content.
pub(super) fn log_level(_: &Admin, head: &Parts, content: &Bytes) -> Reply {
    if head.method == Method::PUT {
        let Ok(filter) = std::str::from_utf8(content) else {
            return reply::problem(StatusCode::BAD_REQUEST, "A filter is text.");
        };
        if let Err(error) = logging::set_filter(filter.trim()) {
            let detail = format!("{error}. Write one as in RUST_LOG: info, or warn,proxy=debug.");
            return reply::problem(StatusCode::BAD_REQUEST, &detail);
        }
        info!(filter = filter.trim(), "The log's filter was replaced.");
    }
    reply::text(format!("{}\n", logging::filter().unwrap_or_default()))
}
