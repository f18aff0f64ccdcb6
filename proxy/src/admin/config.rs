//! `/config`: the effective configuration.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;

use super::Admin;
use super::reply::{self, Reply};

/// As `pillion print-config` tells it, with what is written in secrets' places hidden.
pub(super) fn show(admin: &Admin, _: &Parts, _: &Bytes) -> Reply {
    reply::json(StatusCode::OK, &admin.told.effective)
}
