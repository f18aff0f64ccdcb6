//! `GET /explain`: what would become of a request.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::Admin;
use super::reply::{self, Reply};

/// Not before the cache is there.
pub(super) fn explain(_: &Admin, _: &Parts, _: &Bytes) -> Reply {
    reply::problem(StatusCode::NOT_IMPLEMENTED, "Not yet.")
}
