//! Whether it works: the interfaces, and what of their traffic was not seen.

use super::html::Html;
use super::look::Interface;
use super::units;

/// Writes what matters in a few words, then each interface.
pub(super) fn write(html: &mut Html<'_>, interfaces: &[Interface<'_>], unknown: usize, inventory: bool) {
    verdicts(html, interfaces, unknown, inventory);
    html.markup("<section aria-labelledby=\"interfaces\">\n<h2 id=\"interfaces\">Interfaces</h2>\n");
    if interfaces.is_empty() {
        html.markup(
            "<p class=\"notice bad\">None is watched. <code>macwatch interfaces</code> says of each why not.</p>\n",
        );
    } else {
        table(html, interfaces, inventory);
    }
    html.markup("</section>\n");
}

fn verdicts(html: &mut Html<'_>, interfaces: &[Interface<'_>], unknown: usize, inventory: bool) {
    let sum =
        |count: &dyn Fn(&Interface<'_>) -> Option<u64>| interfaces.iter().filter_map(count).sum::<u64>();
    let up = interfaces.iter().filter(|interface| interface.capture_up()).count();
    html.markup("<ul class=\"verdicts\" aria-label=\"Health\">\n");
    let mut verdict = |good: bool, shown: String, one: bool, what: &'static str, text: &'static str| {
        html.markup(if good { "<li class=\"good\"><b>" } else { "<li class=\"bad\"><b>" });
        html.text(shown).markup("</b> ").markup(what).markup(if one { "" } else { "s" });
        html.markup(text).markup("</li>\n");
    };
    let all = up == interfaces.len() && up > 0;
    let of_all = format!("{up} of {}", interfaces.len());
    verdict(all, of_all, interfaces.len() == 1, "interface", " captured");
    if inventory {
        verdict(unknown == 0, units::count(unknown as u64), unknown == 1, "unknown source", "");
    }
    let dropped = sum(&|interface| interface.capture.map(|capture| capture.dropped_frames()));
    verdict(dropped == 0, units::count(dropped), dropped == 1, "frame", " dropped");
    let untracked = sum(&|interface| interface.books.map(|books| books.untracked_frames));
    verdict(untracked == 0, units::count(untracked), untracked == 1, "frame", " of sources beyond the limit");
    if !inventory {
        html.markup(
            "<li><b>No inventory:</b> nobody is known or unknown. <code>macwatch learn</code> writes one.</li>\n",
        );
    }
    html.markup("</ul>\n");
}

fn table(html: &mut Html<'_>, interfaces: &[Interface<'_>], inventory: bool) {
    html.markup(
        "<table role=\"table\" class=\"cards\">\n<thead role=\"rowgroup\"><tr role=\"row\">\
         <th role=\"columnheader\" scope=\"col\">Interface</th>\
         <th role=\"columnheader\" scope=\"col\">Capture</th>\
         <th role=\"columnheader\" scope=\"col\">Own MAC</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Sources</th>",
    );
    if inventory {
        html.markup("<th role=\"columnheader\" scope=\"col\" class=\"n\">Unknown</th>");
    }
    html.markup(
        "<th role=\"columnheader\" scope=\"col\" class=\"n\">Frames</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Bytes</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Dropped</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Untracked</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Runts</th>\
         <th role=\"columnheader\" scope=\"col\" class=\"n\">Rebinds</th>\
         </tr></thead>\n<tbody role=\"rowgroup\">\n",
    );
    for interface in interfaces {
        row(html, interface, inventory);
    }
    html.markup("</tbody>\n</table>\n");
}

fn row(html: &mut Html<'_>, interface: &Interface<'_>, inventory: bool) {
    let Interface { capture, books, .. } = interface;
    html.markup("<tr role=\"row\"").attribute("data-key", interface.name);
    html.element("><th role=\"rowheader\" scope=\"row\">", interface.name, "</th>");
    html.markup("<td role=\"cell\" class=\"wide\" data-label=\"Capture\">").markup(state(interface));
    if let Some(capture) = capture {
        html.element(" <small>", capture.engine(), "</small>");
    }
    html.markup("</td><td role=\"cell\" class=\"wide\" data-label=\"Own MAC\">");
    if let Some(mac) = capture.and_then(|capture| capture.mac()) {
        html.element("<code>", mac, "</code>");
    }
    html.markup("</td><td role=\"cell\" class=\"n wide\" data-label=\"Sources\">");
    if let Some(books) = books {
        html.text(units::exact(books.sources.len() as u64));
        html.element(" <small>of ", units::exact(interface.limit as u64), "</small>");
    }
    html.markup("</td>");
    if inventory {
        number(html, "Unknown", interface.unknown.map(|unknown| unknown as u64), true);
    }
    number(html, "Frames", books.map(|books| books.frames()), false);
    html.markup("<td role=\"cell\" class=\"n\" data-label=\"Bytes\"");
    match books.map(|books| books.bytes()) {
        Some(bytes) => {
            html.attribute("title", units::exact(bytes)).element(">", units::bytes(bytes), "</td>")
        }
        None => html.markup("></td>"),
    };
    number(html, "Dropped", capture.map(|capture| capture.dropped_frames()), true);
    number(html, "Untracked", books.map(|books| books.untracked_frames), true);
    number(html, "Runts", books.map(|books| books.runt_frames), false);
    number(html, "Rebinds", capture.map(|capture| capture.rebinds()), false);
    html.markup("</tr>\n");
}

/// A number, short, and exactly for whoever points at it. Some ought to be 0.
fn number(html: &mut Html<'_>, label: &'static str, number: Option<u64>, ought_to_be_0: bool) {
    let bad = ought_to_be_0 && number.is_some_and(|number| number > 0);
    html.markup("<td role=\"cell\"").attribute("class", if bad { "n bad" } else { "n" });
    html.attribute("data-label", label);
    if let Some(number) = number {
        html.attribute("title", units::exact(number)).element(">", units::count(number), "</td>");
    } else {
        html.markup("></td>");
    }
}

fn state(interface: &Interface<'_>) -> &'static str {
    if interface.capture_up() {
        return "<span class=\"badge good\">up</span>";
    }
    match interface.link() {
        "absent" => "<span class=\"badge bad\">absent</span> no such interface; waiting for it",
        "down" => "<span class=\"badge bad\">down</span> the interface is down",
        "unfit" => "<span class=\"badge bad\">unfit</span> has no Ethernet header",
        _ => "<span class=\"badge bad\">not captured</span> see the log",
    }
}
