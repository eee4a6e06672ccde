//! The page at `/`, readable without scripts. With them, the part `live` is kept fresh.

use std::io::{self, Write};

use crate::build;

use super::html::Html;
use super::look::Look;
use super::query::{Query, Wrong};
use super::{INTERFACES, PAGE_LIMIT, PAGE_MOST, Pages, SOURCES, api, filter, select, summary, table, units};

/// Writes the page. With something wrong in the query, it says what, and shows no sources.
pub(super) fn write(
    pages: &Pages,
    look: &Look,
    query: &Query,
    wrong: Option<&Wrong>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut html = Html::new(out);
    let interfaces = look.interfaces();
    let unknown: usize = interfaces.iter().filter_map(|interface| interface.unknown).sum();
    html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>");
    if unknown > 0 {
        html.element("(", units::exact(unknown as u64), " unknown) ");
    }
    html.element("macwatch on ", host_name(), "</title>\n");
    html.markup(
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"icon.svg\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"style.css\">\n<script src=\"app.js\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#sources\">Skip to the sources</a>\n\
         <header>\n<h1><a href=\"./\">macwatch</a></h1>\n<p>Ethernet source addresses on <b>",
    );
    html.element("", host_name(), "</b></p>\n");
    html.markup(
        "<p class=\"fresh\"><span id=\"age\" role=\"status\"></span> \
         <button type=\"button\" id=\"pause\" aria-pressed=\"false\" hidden>Pause</button></p>\n\
         </header>\n<main>\n",
    );
    html.markup("<div id=\"live-health\">\n");
    summary::write(&mut html, &interfaces, unknown, look.inventory.is_some());
    html.markup(
        "</div>\n<section aria-labelledby=\"sources\">\n<h2 id=\"sources\" tabindex=\"-1\">Sources</h2>\n",
    );
    if let Some(wrong) = wrong {
        html.element("<p class=\"notice bad\" role=\"alert\"><code>", &wrong.parameter, "=");
        html.element("", &wrong.value, "</code> makes no sense here; allowed: ");
        html.element("", &wrong.allowed, ". <a href=\"./\">Show all sources</a></p>\n");
    } else {
        filter::write(&mut html, &interfaces, query, look.inventory.is_some());
        let limit = query.limit.unwrap_or(PAGE_LIMIT).min(PAGE_MOST);
        let found = select::select(look, &pages.vendors, query, limit);
        html.markup("<div id=\"live-sources\">\n");
        if let Some(asked) = query.limit.filter(|asked| *asked > PAGE_MOST) {
            html.element(
                "<p class=\"notice\"><code>limit=",
                asked,
                "</code> asks for more than a page holds: at most ",
            );
            html.element("", units::exact(PAGE_MOST as u64), " sources are on each. ");
            html.markup("<a").attribute("href", with_query(SOURCES, &query.text()));
            html.markup(">As JSON, with that limit</a></p>\n");
        }
        table::write(&mut html, look, query, limit, &found);
        html.markup("</div>\n");
    }
    html.markup("</section>\n</main>\n<footer>\n");
    footer(&mut html, pages, query);
    html.element("<p>As of <time id=\"now\">", stamp(look.unix_ms), "</time>, true counts. macwatch ");
    html.element("", build::VERSION, " (revision ").element("", build::REVISION, ")</p>\n");
    html.markup("</footer>\n</body>\n</html>\n");
    html.finish()
}

/// Where else to look. Addresses are relative: the page may be behind a proxy, under a path of its choice.
fn footer(html: &mut Html<'_>, pages: &Pages, query: &Query) {
    let metrics = &pages.telemetry_path;
    html.markup("<nav aria-label=\"Data\">\n<ul>\n<li><a").attribute("href", here(metrics));
    html.markup(">Metrics</a></li>\n<li><a id=\"json\"")
        .attribute("href", with_query(SOURCES, &query.text()));
    html.markup(">These sources as JSON</a></li>\n<li><a").attribute("href", here(INTERFACES));
    html.markup(
        ">Interfaces as JSON</a></li>\n<li><a href=\"./api/v1/openapi.json\">The API, described</a></li>\n\
         <li><a href=\"./-/healthy\">Healthy</a></li>\n<li><a href=\"./-/ready\">Ready</a></li>\n</ul>\n</nav>\n\
         <h2>For prometheus.yml</h2>\n\
         <pre tabindex=\"0\">scrape_configs:\n  - job_name: macwatch\n",
    );
    if metrics != "/metrics" {
        html.element("    metrics_path: '", metrics, "'\n");
    }
    if pages.security.as_ref().is_some_and(|security| security.has_tls()) {
        html.markup("    scheme: https\n    tls_config:\n      ca_file: server.pem\n");
    }
    if pages.security.as_ref().is_some_and(|security| security.wants_certificates()) {
        html.markup("      cert_file: client.pem\n      key_file: client.key\n");
    }
    if pages.security.as_ref().is_some_and(|security| security.has_users()) {
        html.markup("    basic_auth:\n      username: prometheus\n      password_file: password\n");
    }
    html.markup("    static_configs:\n      - targets: ['").text(host_name());
    html.element(":", pages.port, "']</pre>\n");
}

/// A path of this server, from the page.
fn here(path: &str) -> String {
    format!("./{}", path.strip_prefix('/').unwrap_or(path))
}

fn with_query(path: &str, query: &str) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{}{mark}{query}", here(path))
}

/// A time for people, to the second.
pub(super) fn stamp(unix_ms: u64) -> String {
    api::timestamp(unix_ms).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The name under which others may reach this machine.
fn host_name() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or("localhost").to_owned()
}

#[cfg(test)]
mod tests;
