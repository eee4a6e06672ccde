//! The formats that Prometheus reads, written in pieces to wherever they go.
//!
//! The `prometheus` crate's encoder wants every series as a tree of protocol structures first, which costs
//! several times the page; this writer takes label text that is ready and numbers. It knows nothing of what
//! it writes, and never holds more than a piece of it.
//!
//! - text 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>
//! - OpenMetrics 1.0.0: <https://prometheus.io/docs/specs/om/open_metrics_spec/>

mod label;
mod page;
mod value;

pub use label::{labels, write_label};
pub use page::{Alike, Page, Series};
pub use value::Value;

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics {
        /// Whether counters tell since when they count, where that is known. Prometheus takes each for a series of
        /// its own unless it is told otherwise.
        created: bool,
    },
}

impl Format {
    /// `Content-Type` of a page in this format. Prometheus 3 refuses a page without one that it knows.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics { .. } => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1, for the sake of its labels; its name ends in `_info`. A gauge to those formats that know no better.
    Info,
}

/// A family: what all its series have in common.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name of its series in every format.
    pub name: &'static str,
    /// What it means, in one line, for people.
    pub help: &'static str,
    /// What its values mean.
    pub kind: Kind,
}

impl Family {
    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter }
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge }
    }

    /// Labels that are worth a series.
    pub const fn info(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Info }
    }

    /// The name without what OpenMetrics has for the ending of its series, not of the family.
    fn stem(&self) -> &'static str {
        let ending = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge => "",
            Kind::Info => "_info",
        };
        self.name.strip_suffix(ending).unwrap_or(self.name)
    }

    /// The unit that its name tells of.
    fn unit(&self) -> Option<&'static str> {
        let (_, last) = self.stem().rsplit_once('_')?;
        ["seconds", "bytes"].contains(&last).then_some(last)
    }
}
