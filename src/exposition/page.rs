//! A page in the making.

use std::io::{self, Write};

use super::label::escape;
use super::{Family, Format, Kind, Value};

/// Text is handed on in pieces of about this size: they stay in the processor's cache.
const PIECE: usize = 32 << 10;

/// A page in the making. It goes out piece by piece; whether all of it did, [`Page::finish`] tells.
pub struct Page<'out> {
    format: Format,
    text: Vec<u8>,
    out: &'out mut dyn Write,
    /// How the pieces went so far. After a failure the rest is not written.
    written: io::Result<()>,
}

impl<'out> Page<'out> {
    /// An empty page of this format, which goes there.
    pub fn new(format: Format, out: &'out mut dyn Write) -> Self {
        Self { format, text: Vec::with_capacity(PIECE + 1024), out, written: Ok(()) }
    }

    /// Begins a family. All its series follow before the next one begins.
    pub fn family(&mut self, family: Family) -> Series<'_, 'out> {
        let kind = match (family.kind, self.format) {
            (Kind::Counter, _) => "counter",
            (Kind::Info, Format::OpenMetrics { .. }) => "info",
            (Kind::Gauge | Kind::Info, _) => "gauge",
        };
        let (name, unit) = match self.format {
            Format::Text => (family.name, None),
            Format::OpenMetrics { .. } => (family.stem(), family.unit()),
        };
        let mut help = String::new();
        escape(&mut help, family.help, self.format != Format::Text);
        self.push(&["# HELP ", name, " ", &help, "\n# TYPE ", name, " ", kind, "\n"]);
        if let Some(unit) = unit {
            self.push(&["# UNIT ", name, " ", unit, "\n"]);
        }
        let tells_created = self.format == Format::OpenMetrics { created: true };
        let created = (tells_created && family.kind == Kind::Counter).then(|| format!("{name}_created"));
        Series { page: self, name: family.name, created }
    }

    /// Ends the page, and says whether all of it could be written.
    ///
    /// # Errors
    ///
    /// The first one, whenever it happened.
    pub fn finish(mut self) -> io::Result<()> {
        if self.format != Format::Text {
            self.push(&["# EOF\n"]);
        }
        self.hand_on();
        self.written
    }

    fn push(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.extend_from_slice(part.as_bytes()));
    }

    #[inline]
    fn end_line(&mut self) {
        self.text.push(b'\n');
        if self.text.len() >= PIECE {
            self.hand_on();
        }
    }

    fn hand_on(&mut self) {
        if self.written.is_ok() {
            self.written = self.out.write_all(&self.text);
        }
        self.text.clear();
    }
}

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("format", &self.format).finish_non_exhaustive()
    }
}

/// The series of one family.
#[derive(Debug)]
pub struct Series<'page, 'out> {
    page: &'page mut Page<'out>,
    name: &'static str,
    /// The name under which they tell since when they count, if they do.
    created: Option<String>,
}

impl<'out> Series<'_, 'out> {
    /// Adds a series. `labels` is what [`super::write_label`] made, without braces; empty for none.
    pub fn add(&mut self, labels: &str, value: impl Into<Value>) {
        self.line(None, labels, value.into());
    }

    /// Adds a counter that has counted since this Unix time, in milliseconds.
    pub fn add_since(&mut self, labels: &str, value: impl Into<Value>, since_unix_ms: u64) {
        self.line(None, labels, value.into());
        if let Some(created) = self.created.take() {
            self.line(Some(&created), labels, Value::Milliseconds(since_unix_ms));
            self.created = Some(created);
        }
    }

    fn line(&mut self, name: Option<&str>, labels: &str, value: Value) {
        self.page.push(&[name.unwrap_or(self.name)]);
        if !labels.is_empty() {
            self.page.push(&["{", labels, "}"]);
        }
        self.page.push(&[" "]);
        value.write(&mut self.page.text);
        self.page.end_line();
    }

    /// Many series whose labels all begin with this text, which may end anywhere.
    pub fn alike(&mut self, start: &str) -> Alike<'_, 'out> {
        let line = |name: &str| format!("{name}{{{start}").into_bytes();
        let created = self.created.as_deref().map(line);
        Alike { start: line(self.name), created, page: self.page }
    }
}

/// Series of one family whose labels begin alike: what they share is copied as a whole.
#[derive(Debug)]
pub struct Alike<'page, 'out> {
    page: &'page mut Page<'out>,
    start: Vec<u8>,
    created: Option<Vec<u8>>,
}

impl Alike<'_, '_> {
    /// Adds a series with the rest of its labels, in parts.
    #[inline]
    pub fn add(&mut self, rest: &[&str], value: Value) {
        line(self.page, &self.start, rest, value);
    }

    /// Adds a counter that has counted since this Unix time, in milliseconds.
    #[inline]
    pub fn add_since(&mut self, rest: &[&str], value: Value, since_unix_ms: u64) {
        line(self.page, &self.start, rest, value);
        if let Some(created) = &self.created {
            line(self.page, created, rest, Value::Milliseconds(since_unix_ms));
        }
    }
}

#[inline]
fn line(page: &mut Page<'_>, start: &[u8], rest: &[&str], value: Value) {
    page.text.extend_from_slice(start);
    for part in rest {
        page.text.extend_from_slice(part.as_bytes());
    }
    page.text.extend_from_slice(b"} ");
    value.write(&mut page.text);
    page.end_line();
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, IntCounterVec, Opts, Registry, TextEncoder};
    use proptest::prelude::*;

    use super::super::labels;
    use super::*;

    const OPEN: Format = Format::OpenMetrics { created: false };
    const CREATED: Format = Format::OpenMetrics { created: true };

    fn text(format: Format, write: impl FnOnce(&mut Page<'_>)) -> String {
        let mut text = Vec::new();
        let mut page = Page::new(format, &mut text);
        write(&mut page);
        page.finish().unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_counter_in_each_format() {
        let write = |page: &mut Page<'_>| {
            let mut series = page.family(Family::counter("x_bytes_total", "Back\\slash, \"quote\"."));
            series.add("", 1u64);
            series.add_since(&labels(&[("a", "\"\\\n"), ("b", "ü")]), 2u64, 1500);
            series.alike("a=\"").add_since(&["b", "\""], 3u64.into(), 2007);
        };
        assert_eq!(
            text(Format::Text, write),
            "# HELP x_bytes_total Back\\\\slash, \"quote\".\n# TYPE x_bytes_total counter\nx_bytes_total 1\n\
             x_bytes_total{a=\"\\\"\\\\\\n\",b=\"ü\"} 2\nx_bytes_total{a=\"b\"} 3\n"
        );
        let head =
            "# HELP x_bytes Back\\\\slash, \\\"quote\\\".\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\n";
        assert_eq!(
            text(OPEN, write),
            format!(
                "{head}x_bytes_total 1\nx_bytes_total{{a=\"\\\"\\\\\\n\",b=\"ü\"}} 2\nx_bytes_total{{a=\"b\"}} 3\n# EOF\n"
            )
        );
        assert_eq!(
            text(CREATED, write),
            format!(
                "{head}x_bytes_total 1\nx_bytes_total{{a=\"\\\"\\\\\\n\",b=\"ü\"}} 2\n\
                 x_bytes_created{{a=\"\\\"\\\\\\n\",b=\"ü\"}} 1.500\nx_bytes_total{{a=\"b\"}} 3\n\
                 x_bytes_created{{a=\"b\"}} 2.007\n# EOF\n"
            )
        );
    }

    #[test]
    fn others_keep_their_names_and_tell_no_beginning() {
        let write = |page: &mut Page<'_>| {
            page.family(Family::info("x_info", "What.")).add("a=\"b\"", 1u64);
            page.family(Family::gauge("x_timestamp_seconds", "When.")).add_since(
                "",
                Value::Milliseconds(1),
                5,
            );
            page.family(Family::gauge("bytes", "No unit without a name.")).add("", 0.5);
        };
        assert_eq!(
            text(Format::Text, write),
            "# HELP x_info What.\n# TYPE x_info gauge\nx_info{a=\"b\"} 1\n\
             # HELP x_timestamp_seconds When.\n# TYPE x_timestamp_seconds gauge\nx_timestamp_seconds 0.001\n\
             # HELP bytes No unit without a name.\n# TYPE bytes gauge\nbytes 0.5\n"
        );
        assert_eq!(
            text(CREATED, write),
            "# HELP x What.\n# TYPE x info\nx_info{a=\"b\"} 1\n\
             # HELP x_timestamp_seconds When.\n# TYPE x_timestamp_seconds gauge\n# UNIT x_timestamp_seconds seconds\n\
             x_timestamp_seconds 0.001\n\
             # HELP bytes No unit without a name.\n# TYPE bytes gauge\nbytes 0.5\n# EOF\n"
        );
    }

    /// Takes some bytes and then no more.
    struct Full(usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_page_that_could_not_be_written_is_none() {
        for (room, whole) in [(PIECE / 2, false), (PIECE * 3 / 2, false), (PIECE * 4, true)] {
            let mut full = Full(room);
            let mut page = Page::new(OPEN, &mut full);
            let mut series = page.family(Family::gauge("x", "Much."));
            for n in 0..PIECE as u64 * 3 / 8 {
                series.add("", n % 10);
            }
            assert_eq!(page.finish().is_ok(), whole, "{room}");
        }
    }

    proptest! {
        /// The crate's own encoder is the oracle.
        #[test]
        fn writes_what_the_crates_encoder_writes(
            values in proptest::collection::btree_map("\\PC{0,8}", 0u64..1 << 53, 1..20),
        ) {
            let vector = IntCounterVec::new(Opts::new("x_total", "Some \\ help."), &["a"]).unwrap();
            for (label, value) in &values {
                vector.with_label_values(&[label]).inc_by(*value);
            }
            let found = text(Format::Text, |page| {
                let mut series = page.family(Family::counter("x_total", "Some \\ help."));
                values.iter().for_each(|(label, value)| series.add(&labels(&[("a", label)]), *value));
            });
            let registry = Registry::new();
            registry.register(Box::new(vector)).unwrap();
            let mut expected = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut expected).unwrap();
            prop_assert_eq!(found, String::from_utf8(expected).unwrap());
        }
    }
}
