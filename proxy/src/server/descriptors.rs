//! Room for as many file descriptors as the settings allow connections.

use config::Settings;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises this process's soft limit of open files to what `settings` may need, as far as the hard
/// limit lets it. The usual soft limit of 1024 is there for programs that call select(2).
pub(crate) fn allow_descriptors(settings: &Settings) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = needed(settings);
    let raised = raised(limit, wanted);
    if raised != limit.current
        && let Err(error) = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: raised,
                maximum: limit.maximum,
            },
        )
    {
        warn!(%error, "Could not raise the limit of open files.");
    }
    if raised.is_some_and(|raised| raised < wanted) {
        warn!(
            limit = raised,
            needed = wanted,
            "Fewer files may be open than limits.connections and the upstreams' connections need; raise the hard limit (LimitNOFILE=, ulimit -Hn)."
        );
    }
}

/// A descriptor for each connection of clients and to upstreams, and some for everything else.
fn needed(settings: &Settings) -> u64 {
    let upstream = settings
        .upstreams
        .values()
        .map(|upstream| {
            upstream
                .connections
                .saturating_mul(upstream.endpoints.len())
        })
        .fold(0, usize::saturating_add);
    let all = settings
        .limits
        .connections
        .saturating_add(upstream)
        .saturating_add(OTHERS);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// The soft limit to set, never lower than it is; `None` is no limit.
fn raised(limit: Rlimit, wanted: u64) -> Option<u64> {
    let current = limit.current?;
    let possible = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    Some(current.max(possible))
}

/// Listeners, logs, runtimes, the admin's clients.
const OTHERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_only_raised_and_only_as_far_as_it_may() {
        for (current, maximum, wanted, expected) in [
            (Some(1024), Some(4096), 2000, Some(2000)),
            (Some(1024), Some(4096), 9000, Some(4096)),
            (Some(1024), None, 9000, Some(9000)),
            (Some(8192), Some(8192), 2000, Some(8192)),
            (None, None, 2000, None),
        ] {
            assert_eq!(raised(Rlimit { current, maximum }, wanted), expected);
        }
    }
}
