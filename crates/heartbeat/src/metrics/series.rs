//! The series of one metric, by the values of its labels.

use std::fmt;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use super::names::{MetricDoc, MetricKind};

type Labels = Vec<(&'static str, String)>;

/// Seconds: from an idle check to a job that waited for minutes.
const BUCKETS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0];

pub(super) type Counters = Series<Counter>;
pub(super) type Gauges = Series<Gauge>;
pub(super) type Ages = Series<Gauge<f64, std::sync::atomic::AtomicU64>>;
pub(super) type Histograms = Series<Histogram>;

/// The series of one metric.
pub(super) struct Series<M> {
    doc: &'static MetricDoc,
    family: Family<Labels, M, fn() -> M>,
}

impl Histograms {
    pub(super) fn histograms(registry: &mut Registry, doc: &'static MetricDoc) -> Self {
        Self::registered(registry, doc, || Histogram::new(BUCKETS))
    }
}

impl<M: Default + Clone> Series<M>
where
    Family<Labels, M, fn() -> M>: Metric,
{
    pub(super) fn new(registry: &mut Registry, doc: &'static MetricDoc) -> Self {
        Self::registered(registry, doc, M::default)
    }
}

impl<M: Clone> Series<M> {
    fn registered(registry: &mut Registry, doc: &'static MetricDoc, make: fn() -> M) -> Self
    where
        Family<Labels, M, fn() -> M>: Metric,
    {
        let family = Family::new_with_constructor(make);
        registry.register(name(doc), doc.help, family.clone());
        Self { doc, family }
    }

    /// The series with these values of the labels, in the order of the metric's label keys.
    pub(super) fn with(&self, values: &[&str]) -> M {
        self.family.get_or_create_owned(&self.labels(values))
    }

    /// Takes a series off the page.
    pub(super) fn remove(&self, values: &[&str]) {
        self.family.remove(&self.labels(values));
    }

    fn labels(&self, values: &[&str]) -> Labels {
        debug_assert_eq!(self.doc.labels.len(), values.len(), "{}", self.doc.name);
        self.doc.labels.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect()
    }
}

impl<M> fmt::Debug for Series<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.doc.name)
    }
}

/// The name without what its kind adds.
pub(super) fn name(doc: &MetricDoc) -> &'static str {
    let suffix = match doc.kind {
        MetricKind::Counter => "_total",
        MetricKind::Info => "_info",
        MetricKind::Gauge | MetricKind::Histogram => "",
    };
    doc.name.strip_suffix(suffix).unwrap_or(doc.name)
}
