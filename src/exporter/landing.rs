//! The page for a person who opens the port in a browser: no scripts, nothing from elsewhere.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use crate::build;
use crate::capture::{Board, Link, Status};
use crate::sources::{Snapshot, Sources};
use crate::web::{Resource, Verdict};

/// What the page is made of.
#[derive(Debug)]
pub struct Landing {
    /// The sources.
    pub sources: Arc<Sources>,
    /// The captures.
    pub board: Arc<Board>,
    /// Where the metrics are.
    pub telemetry_path: String,
    /// The port that the server listens on.
    pub port: u16,
}

const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; }
header { background: #e6522c; color: #fff; padding: .5rem 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
main { padding: 0 1rem 2rem; max-width: 60rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; white-space: nowrap; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
pre { border: 1px solid #8888; padding: .75rem; overflow-x: auto; }
.bad { color: #c4162a; font-weight: 600; }
";

/// It has no scripts and wants none; its style is in it.
const HEADERS: [(&str, &str); 3] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

impl Landing {
    /// The page as the server serves it.
    pub fn resource(self) -> Resource {
        let maker = move |_: &str, out: &mut dyn io::Write| {
            out.write_all(self.render().as_bytes()).map(|()| Verdict::Answered)
        };
        Resource::made("/", "text/html; charset=utf-8", Arc::new(maker)).with_headers(&HEADERS)
    }

    /// Makes the page.
    pub fn render(&self) -> String {
        let books = self.sources.snapshot();
        let captures = self.board.list();
        let mut page = String::with_capacity(4096);
        let metrics = escape(&self.telemetry_path);
        // Writing to a String cannot fail.
        let _ = write!(
            page,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"UTF-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1.0\">\n\
             <title>macwatch</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             <header><h1>macwatch</h1></header>\n<main>\n\
             <h2>Prometheus exporter for Ethernet source addresses</h2>\n\
             <div>Version: (version={}, branch={}, revision={})</div>\n\
             <ul>\n<li><a href=\"{metrics}\">Metrics</a></li>\n\
             <li><a href=\"/-/healthy\">Healthy</a>, <a href=\"/-/ready\">Ready</a></li>\n</ul>\n",
            escape(build::VERSION),
            escape(build::BRANCH),
            escape(build::REVISION),
        );
        page.push_str("<h2>Interfaces</h2>\n");
        if captures.is_empty() {
            page.push_str(
                "<p class=\"bad\">None is watched. <code>macwatch interfaces</code> says of each why not.</p>\n",
            );
        } else {
            table(&mut page, &captures, &books);
        }
        let _ = write!(
            page,
            "<h2>For prometheus.yml</h2>\n<pre>scrape_configs:\n  - job_name: macwatch\n{}    static_configs:\n\
             \x20     - targets: ['{}:{}']</pre>\n</main>\n</body>\n</html>\n",
            if self.telemetry_path == "/metrics" {
                String::new()
            } else {
                format!("    metrics_path: '{metrics}'\n")
            },
            escape(&host_name()),
            self.port,
        );
        page
    }
}

fn table(page: &mut String, captures: &[Arc<Status>], books: &[Snapshot]) {
    page.push_str(
        "<table>\n<tr><th>Interface</th><th>Capture</th><th>Own MAC</th><th>Sources</th><th>Frames</th>\
         <th>Bytes</th><th>Dropped</th><th>Untracked</th></tr>\n",
    );
    for capture in captures {
        let name = capture.interface();
        let books = books.iter().find(|books| *books.interface == *name);
        let number = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            escape(name),
            state(capture),
            capture.mac().map(|mac| mac.to_string()).unwrap_or_default(),
            number(books.map(|books| books.sources.len() as u64)),
            number(books.map(Snapshot::frames)),
            number(books.map(Snapshot::bytes)),
            capture.dropped_frames(),
            number(books.map(|books| books.untracked_frames)),
        );
    }
    page.push_str("</table>\n");
}

fn state(capture: &Status) -> &'static str {
    if capture.capture_up() {
        return "up";
    }
    match capture.link() {
        Link::Absent => "<span class=\"bad\">no such interface; waiting for it</span>",
        Link::Down => "<span class=\"bad\">interface is down</span>",
        Link::Unfit => "<span class=\"bad\">has no Ethernet header</span>",
        Link::Up => "<span class=\"bad\">not captured; see the log</span>",
    }
}

/// The name under which others may reach this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or("localhost").to_owned()
}

/// Text for HTML, in content and in quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sources::{Limits, Nobody};

    fn landing(telemetry_path: &str) -> Landing {
        let limits = Limits { per_interface: 1, total: 1, idle_timeout: Duration::MAX };
        Landing {
            sources: Sources::new(limits, Arc::new(Nobody)).unwrap(),
            board: Arc::default(),
            telemetry_path: telemetry_path.to_owned(),
            port: 10148,
        }
    }

    #[test]
    fn says_what_to_do_without_interfaces() {
        let page = landing("/metrics").render();
        assert!(page.contains("None is watched"), "{page}");
        assert!(page.contains(":10148'"), "{page}");
        assert!(!page.contains("metrics_path"), "the default needs no line: {page}");
    }

    #[test]
    fn another_path_is_linked_and_escaped() {
        let page = landing("/a'<b>").render();
        assert!(page.contains("href=\"/a&#39;&lt;b&gt;\""), "{page}");
        assert!(page.contains("metrics_path: '/a&#39;&lt;b&gt;'"), "{page}");
    }
}
