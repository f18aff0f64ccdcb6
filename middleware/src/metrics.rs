//! The one catalogue of metrics.

use std::sync::Arc;

/// All metrics of the program.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<()>);

/// One core's share of the metrics that every request touches: written by that core alone, summed when scraped.
#[derive(Clone, Debug, Default)]
pub struct CoreMetrics(Arc<()>);

impl Metrics {
    /// An empty catalogue.
    pub fn new() -> Self {
        Self::default()
    }

    /// A share for one more core.
    pub fn core(&self) -> CoreMetrics {
        CoreMetrics::default()
    }
}
