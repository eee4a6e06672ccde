//! A dashboard as Grafana reads it: its variables, panels and queries, and what stands for a variable in a query.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use regex_lite::{Captures, Regex};
use serde_json::Value;

/// `grafana/` of the repository.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana")
}

/// A dashboard.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) file: String,
    pub(super) json: Value,
}

/// A query, of a panel or of an annotation.
pub(super) struct Query<'b> {
    /// The panel and its target.
    pub(super) whose: String,
    pub(super) json: &'b Value,
    /// Of which panel it is, if it is of one.
    pub(super) panel: Option<&'b Value>,
}

/// All that are shipped.
pub(super) fn boards() -> Vec<Board> {
    let files = std::fs::read_dir(folder().join("dashboards")).unwrap();
    let mut boards: Vec<Board> = files
        .map(|entry| {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            let json = serde_json::from_slice(&std::fs::read(&path).unwrap());
            Board { json: json.unwrap_or_else(|error| panic!("{file}: {error}")), file }
        })
        .collect();
    boards.sort_by(|a, b| a.file.cmp(&b.file));
    assert_eq!(boards.len(), 3);
    boards
}

/// The text at a key; empty if there is none.
pub(super) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// The list at a key; empty if there is none.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

impl Board {
    pub(super) fn panels(&self) -> &[Value] {
        list(&self.json, "panels")
    }

    pub(super) fn variables(&self) -> &[Value] {
        list(&self.json["templating"], "list")
    }

    pub(super) fn annotations(&self) -> &[Value] {
        list(&self.json["annotations"], "list")
    }

    pub(super) fn variable(&self, name: &str) -> Option<&Value> {
        self.variables().iter().find(|variable| variable["name"] == name)
    }

    pub(super) fn panel(&self, title: &str) -> &Value {
        self.panels()
            .iter()
            .find(|panel| panel["title"] == title)
            .unwrap_or_else(|| panic!("no panel {title}"))
    }

    /// The queries of panels.
    pub(super) fn targets(&self) -> Vec<Query<'_>> {
        let of = |panel| {
            list(panel, "targets").iter().map(move |target| Query {
                whose: format!("{}: {} {}", self.file, text(panel, "title"), text(target, "refId")),
                json: target,
                panel: Some(panel),
            })
        };
        self.panels().iter().flat_map(of).collect()
    }

    /// All queries.
    pub(super) fn queries(&self) -> Vec<Query<'_>> {
        let mut queries = self.targets();
        queries.extend(self.annotations().iter().map(|annotation| Query {
            whose: format!("{}: annotation {}", self.file, text(annotation, "name")),
            json: annotation,
            panel: None,
        }));
        queries
    }
}

impl Query<'_> {
    pub(super) fn expression(&self) -> &str {
        text(self.json, "expr")
    }
}

/// What a variable's query asks for, and of what.
pub(super) fn asked(variable: &Value) -> (String, String) {
    let query = text(&variable["query"], "query");
    let (function, rest) = query.split_once('(').unwrap_or_else(|| panic!("variable query {query}"));
    (
        function.to_owned(),
        rest.strip_suffix(')').unwrap_or_else(|| panic!("variable query {query}")).to_owned(),
    )
}

/// What stands for each variable, as text of a query.
pub(super) type Values = BTreeMap<String, String>;

/// Puts values for variables; one that nobody defines is a fault. Numbers are groups of `label_replace`.
pub(super) fn substitute(whose: &str, query: &str, values: &Values) -> String {
    let variable = Regex::new(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)\]\]").unwrap();
    let value = |found: &Captures<'_>| {
        let name = (1..4).find_map(|n| found.get(n)).unwrap().as_str();
        if name.parse::<u8>().is_ok() {
            return found[0].to_owned();
        }
        values.get(name).unwrap_or_else(|| panic!("{whose}: nobody defines ${name}")).clone()
    };
    variable.replace_all(query, value).into_owned()
}

/// What a choice of several values becomes in a query: a pattern, with special characters escaped for it and for
/// the quotes around it.
pub(super) fn pattern(chosen: &[String]) -> String {
    let special = Regex::new(r"[-\[\]{}()*+?.,\\^$|#\s]").unwrap();
    let escaped: Vec<String> =
        chosen.iter().map(|value| special.replace_all(value, r"\\$0").into_owned()).collect();
    match &escaped[..] {
        [one] => one.clone(),
        several => format!("({})", several.join("|")),
    }
}

/// Labels that a text names in double braces.
fn labels(format: &str) -> Vec<&str> {
    let named = Regex::new(r"\{\{\s*(\w+)\s*\}\}").unwrap();
    named.captures_iter(format).map(|found| found.get(1).unwrap().as_str()).collect()
}

/// Labels that a query's legend or an annotation's text is made of.
pub(super) fn named<'q>(query: &Query<'q>) -> Vec<&'q str> {
    let formats = ["legendFormat", "titleFormat", "textFormat"].map(|key| text(query.json, key));
    let tags = text(query.json, "tagKeys").split(',').filter(|tag| !tag.is_empty());
    formats.into_iter().flat_map(labels).chain(tags).collect()
}

/// Fields that a panel names: in overrides, in their links, in the order of columns, in what a number is taken from.
pub(super) fn used(panel: &Value) -> Vec<String> {
    let field = Regex::new(r"\$\{__data\.fields\.(\w+)\}").unwrap();
    let json = panel.to_string();
    let mut used: Vec<String> = field.captures_iter(&json).map(|found| found[1].to_owned()).collect();
    let overrides = list(&panel["fieldConfig"], "overrides");
    let by_name = overrides.iter().filter(|one| one["matcher"]["id"] == "byName");
    used.extend(by_name.map(|one| text(&one["matcher"], "options").to_owned()));
    for transformation in list(panel, "transformations") {
        for key in ["indexByName", "excludeByName"] {
            let fields = transformation["options"][key].as_object();
            used.extend(
                fields.into_iter().flat_map(|fields| fields.keys().filter(|name| *name != "Time").cloned()),
            );
        }
    }
    let taken = text(&panel["options"]["reduceOptions"], "fields");
    used.extend(taken.strip_prefix("/^").and_then(|rest| rest.strip_suffix("$/")).map(str::to_owned));
    // What a table is sorted by goes by the headers.
    let properties = overrides.iter().flat_map(|one| list(one, "properties"));
    let headers: Vec<&Value> =
        properties.filter(|one| one["id"] == "displayName").map(|one| &one["value"]).collect();
    for sorted in list(&panel["options"], "sortBy") {
        assert!(headers.contains(&&sorted["displayName"]), "{}: {sorted}", panel["title"]);
    }
    used
}
