//! What one round of one target measured, and the figures that are read from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units;

/// One round of one target.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Round {
    /// Which generator made it.
    pub(crate) engine: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Answers that came, whatever their status.
    pub(crate) requests: u64,
    /// Of the answers.
    pub(crate) latency: Latency,
    /// Bytes of all contents, as they came over the wire.
    pub(crate) body_bytes: u64,
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub(crate) errors: BTreeMap<String, u64>,
    /// CPU seconds by the kernel's count, by whose they are: "app", "pillion", "nginx", …
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Resident set at the end, bytes, by whose it is.
    pub(crate) resident: BTreeMap<String, u64>,
    /// Requests that reached the app, if that can be known.
    pub(crate) upstream_requests: Option<f64>,
    /// Share of the requests that the app was not asked for, if that can be known.
    pub(crate) hit_ratio: Option<f64>,
    /// Pieces that listening clients heard.
    #[serde(default)]
    pub(crate) stream_chunks: u64,
    /// What happened within the round.
    pub(crate) timeline: Vec<Tick>,
}

/// Latencies of one round, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) fastest: f64,
    pub(crate) mean: f64,
    pub(crate) slowest: f64,
    /// Share of the answers (0 to 1) and what they took at most, ascending.
    pub(crate) quantiles: Vec<(f64, f64)>,
}

/// A moment of a round.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// Seconds since the whole measurement began.
    pub(crate) at: f64,
    /// Answers per second, where the generator tells while it runs.
    pub(crate) requests_per_second: Option<f64>,
    /// CPU seconds per second of the processes of the target.
    pub(crate) cpu: f64,
    /// Their resident set in bytes.
    pub(crate) resident: u64,
}

impl Latency {
    /// What `share` of the answers took at most.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        self.quantiles
            .iter()
            .find(|(at, _)| (at - share).abs() < 1e-9)
            .map_or(f64::NAN, |(_, seconds)| *seconds)
    }
}

/// The shares that every generator tells.
pub(crate) const SHARES: [f64; 9] = [0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999];

/// A number that a comparison judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    RequestsPerSecond,
    P50,
    P95,
    P99,
    P999,
    CpuPerRequest,
    AppCpuPerRequest,
    SidecarCpuPerRequest,
    BytesPerAnswer,
    UpstreamRequests,
    HitRatio,
    Failed,
}

/// Which way a figure should go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Higher,
    Lower,
    /// It explains others.
    Neither,
}

impl Figure {
    /// In the order of reports.
    pub(crate) const ALL: [Self; 12] = [
        Self::RequestsPerSecond,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::P999,
        Self::CpuPerRequest,
        Self::AppCpuPerRequest,
        Self::SidecarCpuPerRequest,
        Self::BytesPerAnswer,
        Self::UpstreamRequests,
        Self::HitRatio,
        Self::Failed,
    ];

    /// As reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "Requests per second",
            Self::P50 => "Latency p50",
            Self::P95 => "Latency p95",
            Self::P99 => "Latency p99",
            Self::P999 => "Latency p99.9",
            Self::CpuPerRequest => "CPU per request, all",
            Self::AppCpuPerRequest => "CPU per request, app",
            Self::SidecarCpuPerRequest => "CPU per request, proxy",
            Self::BytesPerAnswer => "Content bytes per answer",
            Self::UpstreamRequests => "Requests that reach the app, of 1,000",
            Self::HitRatio => "Hit ratio",
            Self::Failed => "Failed answers, of 1,000",
        }
    }

    /// Which way it should go.
    pub(crate) fn better(self) -> Better {
        match self {
            Self::RequestsPerSecond | Self::HitRatio => Better::Higher,
            Self::SidecarCpuPerRequest => Better::Neither,
            _ => Better::Lower,
        }
    }

    /// Whether the verdict over the whole rests on it. Few do, so that chance seldom decides.
    pub(crate) fn decides(self, with_rate: bool) -> bool {
        match self {
            // At a set rate it is the rate that was set.
            Self::RequestsPerSecond => !with_rate,
            Self::P50 | Self::P99 | Self::CpuPerRequest => true,
            _ => false,
        }
    }

    /// Its value in a round, if it has one.
    pub(crate) fn of(self, round: &Round) -> Option<f64> {
        let per_request = |value: f64| value / round.requests.max(1) as f64;
        let cpu = |chosen: &dyn Fn(&str) -> bool| {
            let chosen: Vec<f64> = round
                .cpu
                .iter()
                .filter(|(name, _)| chosen(name))
                .map(|(_, seconds)| per_request(*seconds))
                .collect();
            (!chosen.is_empty()).then(|| chosen.iter().sum())
        };
        let value = match self {
            Self::RequestsPerSecond => Some(round.requests as f64 / round.seconds.max(1e-9)),
            Self::P50 => Some(round.latency.quantile(0.5)),
            Self::P95 => Some(round.latency.quantile(0.95)),
            Self::P99 => Some(round.latency.quantile(0.99)),
            Self::P999 => Some(round.latency.quantile(0.999)),
            Self::CpuPerRequest => cpu(&|_| true),
            Self::AppCpuPerRequest => cpu(&|name| name == "app"),
            Self::SidecarCpuPerRequest => cpu(&|name| name != "app"),
            Self::BytesPerAnswer => Some(per_request(round.body_bytes as f64)),
            Self::UpstreamRequests => round.upstream_requests.map(|n| per_request(n) * 1000.0),
            Self::HitRatio => round.hit_ratio,
            Self::Failed => Some(round.failed_share() * 1000.0),
        };
        value.filter(|value| value.is_finite())
    }

    /// Its value for people.
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::RequestsPerSecond => units::digits(value),
            Self::P50 | Self::P95 | Self::P99 | Self::P999 => units::seconds(value),
            Self::CpuPerRequest | Self::AppCpuPerRequest | Self::SidecarCpuPerRequest => {
                format!("{} µs", units::digits(value * 1e6))
            }
            Self::BytesPerAnswer => units::bytes(value),
            Self::UpstreamRequests | Self::Failed => units::digits(value),
            Self::HitRatio => format!("{:.1} %", value * 100.0),
        }
    }
}

impl Round {
    /// Share of the requests that had no answer, or one that says that the server failed (5xx).
    ///
    /// A 404 may be what is measured; an error of the server never is.
    pub(crate) fn failed_share(&self) -> f64 {
        let unanswered: u64 = self.errors.values().sum();
        let failed: u64 = self
            .statuses
            .iter()
            .filter(|(status, _)| **status >= 500)
            .map(|(_, count)| count)
            .sum();
        (unanswered + failed) as f64 / (self.requests + unanswered).max(1) as f64
    }

    /// Answers whose status is an error, client's errors too.
    pub(crate) fn error_answers(&self) -> u64 {
        let errors = self.statuses.iter().filter(|(status, _)| **status >= 400);
        errors.map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_a_round() {
        let round = Round {
            seconds: 2.0,
            requests: 1000,
            body_bytes: 512_000,
            statuses: BTreeMap::from([(200, 900), (404, 50), (502, 50)]),
            errors: BTreeMap::from([("refused".to_owned(), 50)]),
            cpu: BTreeMap::from([("app".to_owned(), 0.5), ("pillion".to_owned(), 0.1)]),
            upstream_requests: Some(100.0),
            ..Round::default()
        };
        let of = |figure: Figure| figure.of(&round).expect("it has one");
        assert_eq!(of(Figure::RequestsPerSecond), 500.0);
        assert_eq!(of(Figure::BytesPerAnswer), 512.0);
        assert_eq!(of(Figure::UpstreamRequests), 100.0);
        assert!((of(Figure::CpuPerRequest) - 600e-6).abs() < 1e-12);
        assert!((of(Figure::SidecarCpuPerRequest) - 100e-6).abs() < 1e-12);
        assert!((of(Figure::Failed) - 1000.0 * 100.0 / 1050.0).abs() < 1e-9);
        assert_eq!(Figure::HitRatio.of(&round), None);
        assert_eq!(Figure::P50.of(&round), None, "nothing was measured");
        assert_eq!(round.error_answers(), 100);
    }
}
