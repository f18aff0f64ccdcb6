//! x
use super::{
    Admin,
    reply::{self, Reply},
};
use bytes::Bytes;
use http::request::Parts;
pub(super) fn purge(_: &Admin, _: &Parts, _: &Bytes) -> Reply {
    reply::text("".into())
}
