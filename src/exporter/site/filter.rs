//! The form that filters the sources: its fields are the parameters of a query.

use crate::address::AddressType;

use super::html::Html;
use super::look::Interface;
use super::query::{Query, Sort};

/// The orders that a person may want, as a parameter says them, and in words.
const ORDERS: [(&str, &str); 6] = [
    ("-last_seen", "last seen"),
    ("-first_seen", "newest"),
    ("-frames", "most frames"),
    ("-bytes", "most bytes"),
    ("source_mac", "MAC"),
    ("name", "name"),
];

/// Writes it, filled in as it was asked.
pub(super) fn write(html: &mut Html<'_>, interfaces: &[Interface<'_>], query: &Query, inventory: bool) {
    html.markup(
        "<form id=\"filter\" method=\"get\" action=\"./\" role=\"search\" aria-label=\"Sources\">\n\
         <p class=\"wide\"><label for=\"q\">Search</label>\
         <input type=\"search\" id=\"q\" name=\"q\" maxlength=\"256\" autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"MAC, name or vendor\"",
    );
    html.attribute("value", &query.text).markup("></p>\n");
    html.markup("<p><label for=\"interface\">Interface</label><select id=\"interface\" name=\"interface\"");
    html.flag("multiple", query.interfaces.len() > 1).markup(">");
    option(html, "", "all", query.interfaces.is_empty());
    for interface in interfaces {
        let chosen = query.interfaces.iter().any(|name| name == interface.name);
        option(html, interface.name, interface.name, chosen);
    }
    // Those that are not there are asked for all the same.
    for name in query.interfaces.iter().filter(|name| !interfaces.iter().any(|i| i.name == **name)) {
        option(html, name, name, true);
    }
    html.markup("</select></p>\n");
    if inventory || query.known.is_some() {
        html.markup("<p><label for=\"known\">Known</label><select id=\"known\" name=\"known\">");
        option(html, "", "all", query.known.is_none());
        option(html, "false", "unknown", query.known == Some(false));
        option(html, "true", "known", query.known == Some(true));
        html.markup("</select></p>\n");
    }
    html.markup(
        "<p><label for=\"address_type\">Type</label><select id=\"address_type\" name=\"address_type\">",
    );
    option(html, "", "all", query.address_type.is_none());
    for kind in AddressType::ALL {
        option(html, kind.as_str(), kind.as_str().replace('_', " "), query.address_type == Some(kind));
    }
    html.markup("</select></p>\n");
    // Headings sort too, where there is room for a table.
    html.markup("<p><label for=\"sort\">Order</label><select id=\"sort\" name=\"sort\">");
    option(html, "", "unknown first", query.sort == Sort::default());
    let sort = query.sort.text();
    for (value, text) in ORDERS {
        option(html, value, text, sort == value);
    }
    if query.sort != Sort::default() && ORDERS.iter().all(|(value, _)| *value != sort) {
        option(html, &sort, &sort, true);
    }
    html.markup("</select></p>\n");
    // What the form has no field for stays as it is.
    if let Some(limit) = query.limit {
        html.markup("<input type=\"hidden\" name=\"limit\"").attribute("value", limit).markup(">\n");
    }
    html.markup("<p class=\"buttons\"><button>Filter</button> <a href=\"./\">Clear</a></p>\n</form>\n");
}

fn option(html: &mut Html<'_>, value: &str, text: impl std::fmt::Display, chosen: bool) {
    html.markup("<option").attribute("value", value).flag("selected", chosen);
    html.element(">", text, "</option>");
}
