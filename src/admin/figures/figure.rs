//! The description of one figure.

#[cfg(test)]
use serde_json::{Value, json};

use crate::admin::readings::Readings;

/// A figure: where it appears, its meaning, and how to read it.
#[derive(Clone, Copy)]
pub(in crate::admin) struct Figure {
    /// The path in `/stats`, with dots; `None` for figures of `/metrics` only.
    pub(in crate::admin) path: Option<&'static str>,
    /// The series in `/metrics`; `None` for figures of `/stats` only.
    pub(in crate::admin) metric: Option<FigureMetric>,
    pub(in crate::admin) unit: FigureUnit,
    /// The meaning: a sentence without its full stop, as Prometheus adds one.
    pub(in crate::admin) help: &'static str,
    pub(in crate::admin) read: fn(&Readings) -> FigureValue,
}

/// The series of a figure in `/metrics`.
#[derive(Clone, Copy)]
pub(in crate::admin) struct FigureMetric {
    /// The name without the prefix `larder_`, the unit and the suffix `_total`, which the writer
    /// adds.
    pub(in crate::admin) name: &'static str,
    pub(in crate::admin) kind: FigureKind,
    /// The labels, with their fixed values. Figures with labels share the name of a family.
    pub(in crate::admin) labels: &'static [(&'static str, &'static str)],
}

/// The kind of a metric.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum FigureKind {
    /// Only grows while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// The unit of a figure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::admin) enum FigureUnit {
    /// Bytes, part of the metric's name.
    Bytes,
    /// Seconds, part of the metric's name.
    Seconds,
    /// A share from 0 to 1; null if nothing was counted.
    Ratio,
    /// A yes or no, in `/metrics` 1 or 0.
    Flag,
    /// Text.
    Text,
    /// A number of such things.
    Of(&'static str),
}

impl FigureUnit {
    /// Returns the name for the documentation.
    pub(in crate::admin) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Ratio => "0 to 1",
            Self::Flag => "bool",
            Self::Text => "text",
            Self::Of(things) => things,
        }
    }
}

/// The value of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::admin) enum FigureValue {
    /// A count.
    Count(u64),
    /// A number with a fraction.
    Number(f64),
    /// A ratio; `None` if its denominator is zero.
    Ratio(Option<f64>),
    /// A yes or no.
    Flag(bool),
    /// A word.
    Text(&'static str),
}

impl FigureValue {
    /// Returns the value as `/stats` shows it.
    #[cfg(test)]
    pub(in crate::admin) fn json(self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            Self::Number(number) => json!(number),
            Self::Ratio(ratio) => json!(ratio),
            Self::Flag(flag) => json!(flag),
            Self::Text(text) => json!(text),
        }
    }

    /// Returns the value of a counter.
    pub(in crate::admin) fn count(self) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Number(_) | Self::Ratio(_) | Self::Flag(_) | Self::Text(_) => self.number() as u64,
        }
    }

    /// Returns the value of a gauge; not a number if there is none.
    pub(in crate::admin) fn number(self) -> f64 {
        match self {
            Self::Count(count) => count as f64,
            Self::Number(number) => number,
            Self::Ratio(ratio) => ratio.unwrap_or(f64::NAN),
            Self::Flag(flag) => f64::from(u8::from(flag)),
            Self::Text(_) => f64::NAN,
        }
    }
}

impl Figure {
    /// Describes a figure of `/stats`.
    pub(super) const fn at(
        path: &'static str,
        unit: FigureUnit,
        help: &'static str,
        read: fn(&Readings) -> FigureValue,
    ) -> Self {
        Self { path: Some(path), metric: None, unit, help, read }
    }

    /// Describes a gauge of `/metrics` only.
    pub(super) const fn only_gauge(
        name: &'static str,
        unit: FigureUnit,
        help: &'static str,
        read: fn(&Readings) -> FigureValue,
    ) -> Self {
        let metric = FigureMetric { name, kind: FigureKind::Gauge, labels: &[] };
        Self { path: None, metric: Some(metric), unit, help, read }
    }

    /// Makes the figure a counter of `/metrics` as well.
    pub(super) const fn counter(self, name: &'static str) -> Self {
        self.one_of(name, &[])
    }

    /// Makes the figure a gauge of `/metrics` as well.
    pub(super) const fn gauge(self, name: &'static str) -> Self {
        Self { metric: Some(FigureMetric { name, kind: FigureKind::Gauge, labels: &[] }), ..self }
    }

    /// Makes the figure a series of a counter with labels.
    pub(super) const fn one_of(self, name: &'static str, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { metric: Some(FigureMetric { name, kind: FigureKind::Counter, labels }), ..self }
    }

    /// Makes the figure a series of a gauge with labels.
    pub(super) const fn gauge_of(self, name: &'static str, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { metric: Some(FigureMetric { name, kind: FigureKind::Gauge, labels }), ..self }
    }

    /// Returns the series in `/metrics` as a query names it.
    pub(super) fn series(&self) -> Option<String> {
        let FigureMetric { name, kind, labels } = self.metric?;
        let unit = match self.unit {
            FigureUnit::Bytes => "_bytes",
            FigureUnit::Seconds => "_seconds",
            FigureUnit::Ratio | FigureUnit::Flag | FigureUnit::Text | FigureUnit::Of(_) => "",
        };
        let total = if kind == FigureKind::Counter { "_total" } else { "" };
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        Some(format!("larder_{name}{unit}{total}{labels}"))
    }
}
