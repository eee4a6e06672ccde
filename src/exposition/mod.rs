//! The Prometheus text format 0.0.4, written straight into a buffer.
//!
//! The `prometheus` crate's encoder wants every series as a tree of protocol structures first, which costs
//! several times the page; this writer takes label text that is ready and numbers. It knows nothing of what
//! it writes. Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{self, Write as _};

/// `Content-Type` of a page in this format. Prometheus 3 refuses a page without one that it knows.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows; its name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// A family: what all its series have in common.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name of the metric.
    pub name: &'static str,
    /// What it means, in one line, for people.
    pub help: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
}

/// A number as the format writes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Exact, also beyond 2^53.
    Integer(u64),
    /// Milliseconds, written in seconds.
    Milliseconds(u64),
    /// Anything else.
    Float(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Milliseconds(value) => write!(f, "{}.{:03}", value / 1000, value % 1000),
            Self::Float(f64::INFINITY) => f.write_str("+Inf"),
            Self::Float(f64::NEG_INFINITY) => f.write_str("-Inf"),
            Self::Float(value) => write!(f, "{value}"),
        }
    }
}

/// A page in the making.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// An empty page with room for this many bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes) }
    }

    /// Begins a family. All its series follow before the next one begins.
    pub fn family(&mut self, family: Family) -> Series<'_> {
        let Family { name, help, kind } = family;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        for part in ["\n# TYPE ", name, " ", kind, "\n"] {
            self.text.push_str(part);
        }
        Series { page: self, name }
    }

    /// The finished text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_bytes()
    }
}

/// The series of one family.
#[derive(Debug)]
pub struct Series<'page> {
    page: &'page mut Page,
    name: &'static str,
}

impl Series<'_> {
    /// Adds a series. `labels` is what [`write_label`] made, without braces; empty for none.
    pub fn add(&mut self, labels: &str, value: impl Into<Value>) {
        let text = &mut self.page.text;
        text.push_str(self.name);
        if !labels.is_empty() {
            text.push('{');
            text.push_str(labels);
            text.push('}');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, " {}", value.into());
    }
}

/// Appends `name="value"`, the value escaped.
pub fn write_label(labels: &mut String, name: &str, value: &str) {
    labels.push_str(name);
    labels.push_str("=\"");
    escape(labels, value, true);
    labels.push('"');
}

/// The text of several labels, ready for [`Series::add`].
pub fn labels(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        write_label(&mut text, name, value);
    }
    text
}

/// Backslash and line feed are escaped everywhere, the quote in label values only.
fn escape(into: &mut String, text: &str, quoted: bool) {
    for character in text.chars() {
        match character {
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '"' if quoted => into.push_str("\\\""),
            other => into.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, IntCounterVec, Opts, Registry, TextEncoder};
    use proptest::prelude::*;

    use super::*;

    fn text(page: Page) -> String {
        String::from_utf8(page.into_bytes()).unwrap()
    }

    #[test]
    fn numbers_are_exact() {
        for (value, expected) in [
            (Value::from(u64::MAX), "18446744073709551615"),
            (Value::Milliseconds(1_790_000_000_007), "1790000000.007"),
            (Value::from(0.25), "0.25"),
            (Value::from(f64::INFINITY), "+Inf"),
            (Value::from(f64::NAN), "NaN"),
            (Value::from(true), "1"),
        ] {
            assert_eq!(value.to_string(), expected);
        }
    }

    #[test]
    fn a_family_has_help_type_and_series() {
        let mut page = Page::default();
        let mut series =
            page.family(Family { name: "x_total", help: "Back\\slash, \"quote\".", kind: Kind::Counter });
        series.add("", 1u64);
        series.add(&labels(&[("a", "\"\\\n"), ("b", "ü")]), 2u64);
        assert_eq!(
            text(page),
            "# HELP x_total Back\\\\slash, \"quote\".\n# TYPE x_total counter\nx_total 1\n\
             x_total{a=\"\\\"\\\\\\n\",b=\"ü\"} 2\n"
        );
    }

    proptest! {
        /// The crate's own encoder is the oracle.
        #[test]
        fn writes_what_the_crates_encoder_writes(
            values in proptest::collection::btree_map("\\PC{0,8}", 0u64..1 << 53, 1..20),
        ) {
            let vector = IntCounterVec::new(Opts::new("x_total", "Some \\ help."), &["a"]).unwrap();
            let mut page = Page::default();
            let mut series =
                page.family(Family { name: "x_total", help: "Some \\ help.", kind: Kind::Counter });
            for (label, value) in &values {
                vector.with_label_values(&[label]).inc_by(*value);
                series.add(&labels(&[("a", label)]), *value);
            }
            let registry = Registry::new();
            registry.register(Box::new(vector)).unwrap();
            let mut expected = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut expected).unwrap();
            prop_assert_eq!(text(page), String::from_utf8(expected).unwrap());
        }
    }
}
