//! Writing metrics out: OpenMetrics by prometheus-client, and from it the classic text.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::{Error, Write as _};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Exposition;
use super::catalogue::{FAMILIES, Family, Kind};
use super::counter::HistogramTotal;

/// Labels of one series.
pub(super) type Labels = Vec<(&'static str, Cow<'static, str>)>;

/// The values of one moment, by family.
#[derive(Debug, Default)]
pub(super) struct Gathered(HashMap<&'static str, Vec<(Labels, Value)>>);

#[derive(Debug)]
enum Value {
    Counter(u64),
    Seconds(f64),
    Gauge(f64),
    Histogram(HistogramTotal),
}

impl Gathered {
    pub(super) fn counter(&mut self, family: &'static Family, labels: Labels, value: u64) {
        self.add(family, labels, Value::Counter(value));
    }

    /// A counter that is not whole.
    pub(super) fn seconds(&mut self, family: &'static Family, value: f64) {
        self.add(family, vec![], Value::Seconds(value));
    }

    pub(super) fn gauge(&mut self, family: &'static Family, labels: Labels, value: f64) {
        self.add(family, labels, Value::Gauge(value));
    }

    pub(super) fn histogram(
        &mut self,
        family: &'static Family,
        labels: Labels,
        value: HistogramTotal,
    ) {
        self.add(family, labels, Value::Histogram(value));
    }

    fn add(&mut self, family: &'static Family, labels: Labels, value: Value) {
        debug_assert!(
            family.labels.iter().eq(labels.iter().map(|(name, _)| name)),
            "{} is labelled as documented",
            family.name
        );
        self.0.entry(family.name).or_default().push((labels, value));
    }

    pub(super) fn encode(self, exposition: Exposition) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut open = String::new();
        text::encode(&mut open, &registry).expect("writing to a string cannot fail");
        match exposition {
            Exposition::OpenMetrics => open,
            Exposition::Classic => classic(&open),
        }
    }
}

impl Collector for Gathered {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for family in FAMILIES {
            let Some(series) = self.0.get(family.name) else {
                continue;
            };
            let (name, kind) = match family.kind {
                // OpenMetrics names the family without the suffix of its samples.
                Kind::Counter => (
                    family.name.strip_suffix("_total").unwrap_or(family.name),
                    MetricType::Counter,
                ),
                Kind::Gauge => (family.name, MetricType::Gauge),
                Kind::Histogram => (family.name, MetricType::Histogram),
            };
            let mut metric = encoder.encode_descriptor(name, family.help, None, kind)?;
            for (labels, value) in series {
                if labels.is_empty() {
                    encode_value(value, &mut metric)?;
                } else {
                    encode_value(value, &mut metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_value(value: &Value, metric: &mut MetricEncoder<'_>) -> Result<(), Error> {
    match value {
        Value::Counter(value) => metric.encode_counter::<NoLabelSet, _, u64>(value, None),
        Value::Seconds(value) => metric.encode_counter::<NoLabelSet, _, u64>(value, None),
        Value::Gauge(value) => metric.encode_gauge(value),
        Value::Histogram(total) => metric.encode_histogram::<NoLabelSet>(
            total.seconds(),
            total.count(),
            &total.buckets(),
            None,
        ),
    }
}

/// Labels that are fixed by the catalogue.
pub(super) fn fixed(labels: &[(&'static str, &'static str)]) -> Labels {
    labels
        .iter()
        .map(|&(name, value)| (name, Cow::Borrowed(value)))
        .collect()
}

/// The text of format 0.0.4: there a counter's family has the name of its samples, and there is no
/// end mark.
fn classic(open: &str) -> String {
    let mut text = String::with_capacity(open.len() + 64 * FAMILIES.len());
    let mut lines = open.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let help = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let kind = lines
            .peek()
            .and_then(|next| next.strip_prefix("# TYPE "))
            .and_then(|rest| rest.split_once(' '));
        match (help, kind) {
            (Some((name, help)), Some((_, kind))) => {
                let suffix = if kind == "counter" { "_total" } else { "" };
                write!(
                    text,
                    "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
                )
                .expect("writing to a string cannot fail");
                lines.next();
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}
