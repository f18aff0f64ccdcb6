//! `/config`: the effective configuration.

use bytes::Bytes;
use http::request::Parts;

use super::Admin;
use super::reply::{self, Reply};

/// As `pillion print-config` tells it. Secrets are in files that it only names.
pub(super) fn show(admin: &Admin, _: &Parts, _: &Bytes) -> Reply {
    reply::text(admin.told.effective.clone())
}
