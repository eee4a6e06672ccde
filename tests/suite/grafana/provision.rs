//! The files that provision Grafana, and what the README says of them.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

use super::board::{boards, folder, text};

/// The scalars of a YAML file, by their path: `datasources.0.url`.
fn scalars(file: &str) -> BTreeMap<String, String> {
    /// A mapping that waits for a key or a value, or a sequence.
    enum Level {
        Key,
        Value(String),
        Item(usize),
    }
    let yaml = std::fs::read_to_string(folder().join(file)).unwrap();
    let (mut levels, mut found) = (Vec::new(), BTreeMap::new());
    for event in Parser::new_from_str(&yaml) {
        let (event, _) = event.unwrap_or_else(|error| panic!("{file}: {error}"));
        let path = |levels: &[Level]| {
            let parts = levels.iter().map(|level| match level {
                Level::Key => "?".to_owned(),
                Level::Value(key) => key.clone(),
                Level::Item(n) => n.to_string(),
            });
            parts.collect::<Vec<_>>().join(".")
        };
        let done = |levels: &mut Vec<Level>| match levels.last_mut() {
            Some(level @ Level::Value(_)) => *level = Level::Key,
            Some(Level::Item(n)) => *n += 1,
            _ => {}
        };
        match event {
            Event::MappingStart(..) => levels.push(Level::Key),
            Event::SequenceStart(..) => levels.push(Level::Item(0)),
            Event::MappingEnd | Event::SequenceEnd => {
                drop(levels.pop());
                done(&mut levels);
            }
            Event::Scalar(value, ..) => match levels.last_mut() {
                Some(level @ Level::Key) => *level = Level::Value(value.into_owned()),
                _ => {
                    let path = path(&levels);
                    assert!(
                        found.insert(path.clone(), value.into_owned()).is_none(),
                        "{file}: {path} stands twice"
                    );
                    done(&mut levels);
                }
            },
            _ => {}
        }
    }
    found
}

#[test]
fn the_files_say_what_grafana_asks_for() {
    let sources = scalars("provisioning/datasources/prometheus.yml");
    let source = |key: &str| sources[&format!("datasources.0.{key}")].as_str();
    assert_eq!(sources["apiVersion"], "1");
    assert_eq!((source("type"), source("access"), source("uid")), ("prometheus", "proxy", "prometheus"));
    assert_eq!((source("url"), source("jsonData.httpMethod")), ("http://localhost:9090", "POST"));
    // What $__rate_interval is made from is how often Prometheus scrapes, by the example that is shipped.
    let example = folder().join("../deploy/prometheus/prometheus.yml");
    let interval = format!("scrape_interval: {}\n", source("jsonData.timeInterval"));
    assert!(std::fs::read_to_string(example).unwrap().contains(&interval), "{interval}");

    let providers = scalars("provisioning/dashboards/macwatch.yml");
    let provider = |key: &str| providers[&format!("providers.0.{key}")].as_str();
    assert_eq!((provider("type"), provider("name")), ("file", "macwatch"));
    let path = provider("options.path");
    assert_eq!(path, "/var/lib/grafana/dashboards/macwatch");
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    assert!(readme.contains(&format!("cp grafana/dashboards/*.json {path}/")), "where {path} comes from");
}

/// The README has a picture of each dashboard, and each file that it names is there.
#[test]
fn the_readme_names_what_is_there() {
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for board in boards() {
        let picture = board.file.replace(".json", ".png");
        let png = std::fs::read(folder().join(&picture)).unwrap();
        assert!(png.starts_with(b"\x89PNG") && png.len() < 300_000, "{picture}: {} bytes", png.len());
        assert!(readme.contains(&format!("]({picture})")), "no picture {picture}");
        let title = text(&board.json, "title").strip_prefix("macwatch / ").unwrap();
        assert!(readme.contains(&format!("## {title}\n")), "nothing of {title}");
        // The variables that a person sets are explained.
        for variable in board.variables().iter().filter(|variable| variable["hide"] == 0) {
            assert!(readme.contains(&format!("*{}*", text(variable, "label"))), "{variable}");
        }
    }
    let words = readme.split(|c: char| c.is_whitespace() || "()`*,;".contains(c));
    let mut named = 0;
    for word in words.filter(|word| word.starts_with("grafana/") && !word.ends_with('/')) {
        assert!(folder().join("..").join(word).exists(), "{word} is not there");
        named += 1;
    }
    assert!(named > 2, "{named}");
}
