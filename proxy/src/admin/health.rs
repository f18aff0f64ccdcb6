//! `/healthz` and `/readyz`: alive, and willing.

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::Admin;
use super::reply::{Reply, json as reply};
use crate::shutdown::State;
use crate::tiers::LowerTiers;

/// Alive: this answer is the proof.
pub(super) fn alive(_: &Admin, _: &Parts, _: &Bytes) -> Reply {
    reply(StatusCode::OK, &json!({ "status": "alive" }))
}

/// Ready once the app accepts, until a stop begins.
pub(super) fn ready(admin: &Admin, _: &Parts, _: &Bytes) -> Reply {
    let (status, word, detail) = match admin.readiness.state() {
        State::Ready => (StatusCode::OK, "ready", None),
        State::Starting => {
            let detail = "The app does not accept connections yet.";
            (StatusCode::SERVICE_UNAVAILABLE, "starting", Some(detail))
        }
        State::Stopping => {
            let detail = "Requests in flight are being finished.";
            (StatusCode::SERVICE_UNAVAILABLE, "stopping", Some(detail))
        }
    };
    // Requests are served all the same, so this takes nothing out of service.
    let degraded = admin.shared.tiers.as_ref().and_then(LowerTiers::degraded);
    let answer = match degraded {
        None => json!({ "status": word, "detail": detail }),
        Some(degraded) => json!({ "status": word, "detail": detail, "degraded": degraded }),
    };
    reply(status, &answer)
}
