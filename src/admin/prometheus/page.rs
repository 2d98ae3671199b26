//! Writer of metric families, each with its description, type and unit.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The labels of a series.
pub(super) type MetricLabels<'a> = Vec<(&'static str, &'a str)>;

/// Returns the one series of a metric without labels.
pub(super) fn unlabelled<N>(number: N) -> [(MetricLabels<'static>, N); 1] {
    [(Vec::new(), number)]
}

/// The page being written.
pub(super) struct MetricsPage<'a> {
    pub(super) encoder: DescriptorEncoder<'a>,
}

/// The content of a histogram.
pub(super) struct Spread {
    /// The sum of all values.
    pub(super) sum: f64,
    /// The number of values in each bucket, with the bucket's upper bound; the last bound is
    /// infinite.
    pub(super) spans: Vec<(f64, u64)>,
}

impl Spread {
    /// Makes a histogram from ascending `bounds` and the `numbers` of values at or below each bound
    /// and above the previous one. The last number, one more than there are bounds, counts the
    /// values beyond them all.
    pub(super) fn new(sum: f64, bounds: impl Iterator<Item = f64>, numbers: impl IntoIterator<Item = u64>) -> Self {
        Self { sum, spans: bounds.chain([f64::INFINITY]).zip(numbers).collect() }
    }
}

impl MetricsPage<'_> {
    /// Writes a counter; its samples get the suffix `_total`.
    pub(super) fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        series: impl IntoIterator<Item = (MetricLabels<'l>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, number) in series {
            // An empty set would be written as `{}`, which some readers refuse.
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
            }
        }
        Ok(())
    }

    /// Writes a gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, number: f64) -> fmt::Result {
        self.gauges(name, help, unit, unlabelled(number))
    }

    /// Writes a gauge.
    pub(super) fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        series: impl IntoIterator<Item = (MetricLabels<'l>, f64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, number) in series {
            if labels.is_empty() {
                metric.encode_gauge(&number)?;
            } else {
                metric.encode_family(&labels)?.encode_gauge(&number)?;
            }
        }
        Ok(())
    }

    /// Writes a histogram.
    pub(super) fn histogram<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
        series: impl IntoIterator<Item = (MetricLabels<'l>, Spread)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, Some(&unit), MetricType::Histogram)?;
        for (labels, Spread { sum, spans }) in series {
            let count = spans.iter().map(|(_, number)| number).sum();
            if labels.is_empty() {
                metric.encode_histogram::<NoLabelSet>(sum, count, &spans, None)?;
            } else {
                metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &spans, None)?;
            }
        }
        Ok(())
    }

    /// Writes labels that never change while the process runs.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &'static str)]) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}
