//! The program's own log: sentences for people, on standard error. (Lines about requests are
//! [`middleware::request_log`]'s, and go elsewhere.)

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Begins to log what `filter` lets through (`info`, or `warn,proxy=debug`, as in `RUST_LOG`).
/// Of no effect if the process logs already.
///
/// # Errors
/// When `filter` is not one.
pub fn begin(filter: &str) -> Result<(), NoFilter> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Where it cannot write (its terminal has gone) it would print about that, and panic.
        .log_internal_errors(false);
    let begun = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if begun.is_ok() {
        FILTER.get_or_init(|| handle);
    }
    Ok(())
}

/// The filter in force, if the process logs.
pub fn filter() -> Option<String> {
    FILTER.get()?.with_current(ToString::to_string).ok()
}

/// Replaces the filter; what is logged from here on obeys it.
///
/// # Errors
/// When `filter` is not one, or the process does not log.
pub fn set_filter(filter: &str) -> Result<(), NoFilter> {
    let filter = parse(filter)?;
    let handle = FILTER
        .get()
        .ok_or_else(|| NoFilter("this process writes no log".into()))?;
    handle
        .reload(filter)
        .map_err(|error| NoFilter(error.to_string()))
}

/// Why a text is not taken as the log's filter.
#[derive(Debug)]
pub struct NoFilter(String);

impl std::fmt::Display for NoFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NoFilter {}

fn parse(filter: &str) -> Result<EnvFilter, NoFilter> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| NoFilter(error.to_string()))
}

/// Written once, by [`begin`].
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn filters() {
        assert!(parse("info").is_ok());
        assert!(parse("warn,proxy=debug").is_ok());
        assert!(parse("warn,proxy=loud").is_err());
    }
}
