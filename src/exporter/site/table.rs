//! The table of sources, what it is sorted by, and the way to the rest of it.

use crate::inventory::write;
use crate::suggest;

use super::html::Html;
use super::look::Look;
use super::page::stamp;
use super::query::{Key, Query, Sort};
use super::select::{Row, Selection};
use super::{api, units};

/// Heading, order that it stands for, whether a first click shows the greatest first, whether it holds numbers.
const COLUMNS: [(&str, Option<Key>, bool, bool); 9] = [
    ("Known", Some(Key::Unknown), false, false),
    ("MAC", Some(Key::SourceMac), false, false),
    ("Name", Some(Key::Name), false, false),
    ("Vendor", None, false, false),
    ("Type", None, false, false),
    ("Interface", None, false, false),
    ("Frames", Some(Key::Frames), true, true),
    ("Bytes", Some(Key::Bytes), true, true),
    ("First seen", Some(Key::FirstSeen), true, false),
];
const LAST: (&str, Option<Key>, bool, bool) = ("Last seen", Some(Key::LastSeen), true, false);

/// Writes what was found.
pub(super) fn write(html: &mut Html<'_>, look: &Look, query: &Query, limit: usize, found: &Selection<'_>) {
    pager(html, query, limit, found, true);
    if found.rows.is_empty() {
        return;
    }
    html.markup("<table role=\"table\" class=\"cards sources\">\n<thead role=\"rowgroup\"><tr role=\"row\">");
    for (heading, key, greatest_first, number) in COLUMNS.into_iter().chain([LAST]) {
        html.markup("<th role=\"columnheader\" scope=\"col\"")
            .attribute("class", if number { "n" } else { "" });
        let Some(key) = key else {
            html.element(">", heading, "</th>");
            continue;
        };
        let current = query.sort.key == key;
        if current {
            html.attribute("aria-sort", if query.sort.descending { "descending" } else { "ascending" });
        }
        let descending = if current { !query.sort.descending } else { greatest_first };
        let sorted = Query { sort: Sort { key, descending }, offset: 0, ..query.clone() };
        html.markup("><a").attribute("href", link(&sorted)).element(">", heading, "</a></th>");
    }
    html.markup("</tr></thead>\n<tbody role=\"rowgroup\">\n");
    for found in &found.rows {
        row(html, look.unix_ms, found);
    }
    html.markup("</tbody>\n</table>\n");
    if found.total > found.rows.len() {
        pager(html, query, limit, found, false);
    }
}

fn row(html: &mut Html<'_>, now_unix_ms: u64, row: &Row<'_>) {
    let sample = row.sample;
    html.markup("<tr role=\"row\"").attribute("data-key", format_args!("{} {}", sample.mac, row.interface));
    html.flag("class=\"unknown\"", row.is_unknown());
    html.markup("><td role=\"cell\" data-label=\"Known\">").markup(match (row.known, sample.own) {
        (_, true) => "<span class=\"badge\">own</span>",
        (Some(true), _) => "<span class=\"badge good\">known</span>",
        (Some(false), _) => "<span class=\"badge bad\">unknown</span>",
        (None, _) => "",
    });
    html.element("</td><th role=\"rowheader\" scope=\"row\"><code>", sample.mac, "</code></th>");
    html.element(
        "<td role=\"cell\" class=\"name long\" data-label=\"Name\">",
        row.name.unwrap_or_default(),
        "",
    );
    if row.is_unknown() {
        approval(html, row);
    }
    html.element(
        "</td><td role=\"cell\" class=\"long\" data-label=\"Vendor\">",
        row.vendor.unwrap_or_default(),
        "</td>",
    );
    let kind = row.address_type();
    html.markup("<td role=\"cell\" data-label=\"Type\"").flag("class=\"bad\"", !kind.may_send());
    html.element(">", kind.as_str().replace('_', " "), "</td>");
    html.element("<td role=\"cell\" data-label=\"Interface\">", row.interface, "</td>");
    html.markup("<td role=\"cell\" class=\"n\" data-label=\"Frames\"");
    html.attribute("title", units::exact(sample.frames)).element(">", units::count(sample.frames), "</td>");
    html.markup("<td role=\"cell\" class=\"n\" data-label=\"Bytes\"");
    html.attribute("title", units::exact(sample.bytes)).element(">", units::bytes(sample.bytes), "</td>");
    for (label, unix_ms) in
        [("First seen", sample.first_seen_unix_ms), ("Last seen", sample.last_seen_unix_ms)]
    {
        html.markup("<td role=\"cell\"").attribute("data-label", label).markup("><time");
        html.attribute("datetime", api::rfc3339(unix_ms)).attribute("title", stamp(unix_ms));
        html.element(">", units::ago(now_unix_ms, unix_ms), "</time></td>");
    }
    html.markup("</tr>\n");
}

/// The line that would make a source known.
fn approval(html: &mut Html<'_>, row: &Row<'_>) {
    if row.address_type().may_send() {
        html.markup("<details><summary");
        // One of many on the page, for whoever hears them read out.
        html.attribute("aria-label", format_args!("make it known: {}", row.sample.mac));
        html.markup(">make it known</summary><code>").text(inventory_line(row));
        html.markup("</code> <button type=\"button\" class=\"copy\" hidden>Copy</button></details>");
    } else {
        html.markup("<small>no device may send from it</small>");
    }
}

/// The name is a proposal; whoever vouches for the source gives it its own.
fn inventory_line(row: &Row<'_>) -> String {
    let mac = row.sample.mac;
    let mut about: Vec<String> = row.vendor.map(str::to_owned).into_iter().collect();
    about.push(suggest::kind(mac));
    about.push(format!("first seen {} on {}", stamp(row.sample.first_seen_unix_ms), row.interface));
    write::entry(mac, &suggest::name(mac, row.vendor), 0, &about.join(", "))
}

/// How many there are, which of them these are, and the way to the others.
fn pager(html: &mut Html<'_>, query: &Query, limit: usize, found: &Selection<'_>, top: bool) {
    let (shown, total) = (found.rows.len(), found.total);
    html.markup(if top {
        "<nav class=\"pager\" aria-label=\"Parts\"><p role=\"status\">"
    } else {
        "<nav class=\"pager\" aria-label=\"Parts, again\"><p>"
    });
    if shown == 0 {
        let none = match (total, query.filters()) {
            (0, false) => "No source has sent anything yet.",
            (0, true) => "No source is like that.",
            _ => "There are no further sources.",
        };
        html.text(none);
    } else if shown == total {
        html.text(units::exact(total as u64)).markup(if total == 1 { " source" } else { " sources" });
    } else {
        let first = query.offset + 1;
        html.text(units::exact(first as u64)).element(
            "–",
            units::exact((query.offset + shown) as u64),
            " of ",
        );
        html.element("", units::exact(total as u64), " sources");
    }
    html.markup("</p>");
    let at = |offset| link(&Query { offset, ..query.clone() });
    let last = total.saturating_sub(1) / limit.max(1) * limit;
    let next = query.offset + limit;
    for (there, offset, rel, text) in [
        (query.offset > limit, 0, "first", "First"),
        (query.offset > 0, query.offset.saturating_sub(limit).min(last), "prev", "Previous"),
        (next < total, next, "next", "Next"),
        (next < last, last, "last", "Last"),
    ] {
        if there {
            html.markup(" <a").attribute("rel", rel).attribute("href", at(offset)).element(">", text, "</a>");
        }
    }
    html.markup("</nav>\n");
}

/// The page for a query.
fn link(query: &Query) -> String {
    let text = query.text();
    if text.is_empty() { "./#sources".to_owned() } else { format!("./?{text}#sources") }
}
