//! The log: one event a line on stderr, as logfmt or JSON, with the keys of the official exporters.
//!
//! `time=2026-11-22T11:20:26.123Z level=INFO msg="capturing" interface=eth0 engine=channel`

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;

pub use tracing::level_filters::LevelFilter as Level;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs.
    #[default]
    Logfmt,
    /// A JSON object.
    Json,
}

/// Starts logging. The first call counts.
pub fn start(level: Level, format: Format) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // Told on stderr, with a panic where that is what failed: a full disk must not end the capture.
        .log_internal_errors(false)
        .event_format(Lines(format))
        .finish()
        .with(whose(level));
    drop(tracing::subscriber::set_global_default(subscriber));
}

/// Whose lines are written. Ours: libraries tell of what clients and the wire do, as often as these do it (h2 warns of
/// each request that is taken back). Whoever debugs wants all.
fn whose(level: Level) -> Targets {
    if level >= Level::DEBUG {
        return Targets::new().with_default(level);
    }
    Targets::new().with_target(env!("CARGO_CRATE_NAME"), level)
}

struct Lines(Format);

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line { format: self.0, text: String::with_capacity(160), rest: String::new() };
        let time = format!("{:.3}", Timestamp::now());
        line.add("time", &time);
        line.add("level", event.metadata().level().as_str());
        event.record(&mut line);
        line.text.push_str(&line.rest);
        match self.0 {
            Format::Logfmt => writeln!(writer, "{}", line.text),
            Format::Json => writeln!(writer, "{{{}}}", line.text),
        }
    }
}

/// A line in the making. The message stands before the other fields, wherever it was in the event.
struct Line {
    format: Format,
    text: String,
    rest: String,
}

impl Line {
    fn add(&mut self, key: &str, value: &str) {
        push(&mut self.text, self.format, key, value, true);
    }

    fn record(&mut self, field: &Field, value: &str, quoted: bool) {
        if field.name() == "message" {
            push(&mut self.text, self.format, "msg", value, quoted);
        } else {
            // The first of the rest needs the separator too: something always stands before it.
            let mut rest = std::mem::take(&mut self.rest);
            rest.push(if self.format == Format::Json { ',' } else { ' ' });
            push_pair(&mut rest, self.format, field.name(), value, quoted);
            self.rest = rest;
        }
    }
}

fn push(text: &mut String, format: Format, key: &str, value: &str, quoted: bool) {
    if !text.is_empty() {
        text.push(if format == Format::Json { ',' } else { ' ' });
    }
    push_pair(text, format, key, value, quoted);
}

/// `quoted` says that the value is text, not a number or a truth value.
fn push_pair(text: &mut String, format: Format, key: &str, value: &str, quoted: bool) {
    // Writing to a String cannot fail.
    let _ = match format {
        Format::Json if quoted => write!(text, "\"{key}\":{}", json(value)),
        Format::Json => write!(text, "\"{key}\":{value}"),
        Format::Logfmt if plain(value) => write!(text, "{key}={value}"),
        Format::Logfmt => write!(text, "{key}={}", json(value)),
    };
}

/// Whether logfmt needs no quotes around it.
fn plain(value: &str) -> bool {
    !value.is_empty() && value.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '=' | '\\'))
}

/// In quotes, with whatever could break out of them or the line escaped.
fn json(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, &format!("{value:?}"), true);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value, true);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field, &value.to_string(), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field, &value.to_string(), false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field, &value.to_string(), false);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record(field, &value.to_string(), true);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Lines(format))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other("line one\nline \"two\"");
            tracing::warn!(interface = "eth0", sources = 7, %error, "no such interface; waiting");
        });
        String::from_utf8(buffer.0.lock().clone()).unwrap()
    }

    #[test]
    fn logfmt_quotes_what_needs_it() {
        let line = logged(Format::Logfmt);
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("time=20") && time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            "level=WARN msg=\"no such interface; waiting\" interface=eth0 sources=7 \
             error=\"line one\\nline \\\"two\\\"\"\n"
        );
    }

    #[test]
    fn libraries_are_heard_by_whoever_debugs() {
        for (level, ours, theirs) in
            [(Level::ERROR, false, false), (Level::INFO, true, false), (Level::DEBUG, true, true)]
        {
            let targets = whose(level);
            let heard = ["macwatch::web", "macwatch", "h2::proto"]
                .map(|target| targets.would_enable(target, &tracing::Level::WARN));
            assert_eq!(heard, [ours, ours, theirs], "{level}");
        }
    }

    #[test]
    fn json_is_json() {
        let line: serde_json::Value = serde_json::from_str(&logged(Format::Json)).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["msg"], "no such interface; waiting");
        assert_eq!(line["sources"], 7);
        assert_eq!(line["error"], "line one\nline \"two\"");
    }
}
