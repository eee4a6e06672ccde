//! The arrows between modules that `src/lib.rs` describes, held over what the sources name.
//!
//! It reads text, not syntax: paths that begin with `crate::`, `super::` or the name of a crate. Tests may
//! name what they like.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends, and says why")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module and the others that it may name. Nothing else is allowed, and each must be listed.
const KNOWS: &[(&str, &[&str])] = &[
    ("build", &[]),
    ("mac", &[]),
    ("clock", &["build"]),
    ("frame", &["mac"]),
    ("exposition", &[]),
    ("textfile", &[]),
    ("address", &["mac"]),
    ("vendor", &["mac", "textfile"]),
    ("inventory", &["mac", "textfile"]),
    ("leases", &["mac", "textfile"]),
    ("tally", &["mac"]),
    ("sources", &["mac", "clock", "frame", "exposition", "tally"]),
    ("interface", &["mac"]),
    ("known", &["mac", "inventory", "sources"]),
    ("suggest", &["mac", "address"]),
    ("sender", &[]),
    ("state", &["mac"]),
    ("capture", &["mac", "clock", "frame", "interface", "tally", "sys"]),
    ("web", &["textfile", "sys"]),
    (
        "exporter",
        &[
            "build",
            "mac",
            "clock",
            "frame",
            "exposition",
            "sources",
            "interface",
            "capture",
            "web",
            "inventory",
            "known",
            "address",
            "vendor",
            "state",
            "suggest",
            "systemd",
        ],
    ),
    ("log", &[]),
    ("privileges", &[]),
    ("sys", &[]),
    ("systemd", &[]),
    ("config", &["cli", "mac", "log", "web", "interface", "capture", "sources", "exporter"]),
    ("cli", &["build"]),
];

/// The other jobs, which put everything together. They hand on what was typed; only `config` reads it.
const COMMANDS: (&str, &[&str]) = (
    "commands",
    &[
        "build",
        "address",
        "mac",
        "clock",
        "frame",
        "exposition",
        "sources",
        "interface",
        "sender",
        "inventory",
        "capture",
        "web",
        "vendor",
        "exporter",
        "textfile",
        "known",
        "leases",
        "suggest",
        "state",
        "systemd",
        "log",
        "privileges",
        "cli",
        "config",
    ],
);

/// Crates that only these modules may name: each has its place, from where it could be replaced.
const CRATES: &[(&str, &[&str])] = &[
    ("aya", &["capture"]),
    ("aya_obj", &["capture", "sys"]),
    ("pnet_datalink", &["capture", "interface", "sender"]),
    ("netlink_proto", &["interface"]),
    ("netlink_packet_core", &["interface"]),
    ("prometheus", &["sources"]),
    ("hyper", &["web"]),
    ("hyper_util", &["web"]),
    ("http_body_util", &["web"]),
    ("rustls", &["web"]),
    ("tokio_rustls", &["web"]),
    ("ring", &["web"]),
    ("x509_parser", &["web"]),
    ("bcrypt", &["web"]),
    ("base64", &["web"]),
    ("saphyr_parser", &["web"]),
    ("procfs", &["exporter"]),
    ("csv", &["vendor"]),
    ("flate2", &["state", "web"]),
    ("itoa", &["exposition"]),
    ("listenfd", &["systemd"]),
    ("clap", &["cli", "main"]),
];

/// A source file: the top module it belongs to, how deep it is in it, and its code.
struct Source {
    path: PathBuf,
    module: String,
    depth: usize,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let inside = path.strip_prefix(&root).unwrap().with_extension("");
                let mut parts: Vec<&str> = inside.iter().map(|part| part.to_str().unwrap()).collect();
                parts.retain(|part| *part != "mod");
                // Test modules in files of their own.
                if parts.last() != Some(&"tests") {
                    let depth = if parts == ["lib"] { 0 } else { parts.len() };
                    let code = code(&fs::read_to_string(&path).unwrap());
                    sources.push(Source { module: parts[0].to_owned(), depth, code, path });
                }
            }
        }
    }
    assert!(sources.len() > 20, "found {} files", sources.len());
    sources
}

/// Text without comments and without test modules.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let module = lines.peek().is_some_and(|next| next.contains("mod ") && next.ends_with('{'));
        if line == "#[cfg(test)]" && module {
            lines.by_ref().find(|line| *line == "}");
            continue;
        }
        code.push_str(line.split("//").next().unwrap());
        code.push('\n');
    }
    code
}

fn is_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// What stands after each mention of a name that stands alone.
fn after<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(name).filter_map(move |(at, _)| {
        let rest = &code[at + name.len()..];
        (!code[..at].ends_with(is_name) && !rest.starts_with(is_name)).then_some(rest)
    })
}

/// The names that a path goes on with: one, or those of a list in braces.
fn names(rest: &str) -> Vec<&str> {
    let name = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    match rest.strip_prefix('{') {
        None => vec![&rest[..name(rest)]],
        // A list within a list belongs to what stands before it.
        Some(list) => {
            let (mut found, mut inner, mut item) = (Vec::new(), 0, 0);
            for (at, character) in list.char_indices() {
                match character {
                    '{' => inner += 1,
                    ',' | '}' if inner == 0 => {
                        found.push(list[item..at].trim());
                        item = at + 1;
                        if character == '}' {
                            break;
                        }
                    }
                    '}' => inner -= 1,
                    _ => {}
                }
            }
            found.into_iter().filter(|item| !item.is_empty()).map(|item| &item[..name(item)]).collect()
        }
    }
}

/// The modules at the top that a source names, its own aside.
fn named(source: &Source) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for rest in after(&source.code, "crate").chain(after(&source.code, "macwatch")) {
        if let Some(rest) = rest.strip_prefix("::") {
            found.extend(names(rest));
        }
    }
    for mut rest in after(&source.code, "super") {
        let mut up = 1;
        while let Some(next) = rest.strip_prefix("::super") {
            (up, rest) = (up + 1, next);
        }
        if let Some(rest) = rest.strip_prefix("::").filter(|_| up >= source.depth) {
            found.extend(names(rest));
        }
    }
    found.remove(source.module.as_str());
    found
}

fn knows(module: &str) -> Option<&'static [&'static str]> {
    KNOWS.iter().chain([&COMMANDS]).find(|(name, _)| *name == module).map(|(_, others)| *others)
}

#[test]
fn modules_know_only_those_below_them() {
    for source in sources() {
        let allowed: &[&str] = match source.module.as_str() {
            "lib" => &[],
            "main" => &["build", "cli", "commands"],
            module => knows(module).unwrap_or_else(|| panic!("no rule for {}", source.path.display())),
        };
        for name in named(&source) {
            assert!(allowed.contains(&name), "{} may not name {name}", source.path.display());
        }
    }
}

#[test]
fn arrows_point_one_way() {
    let mut rest: Vec<_> = KNOWS.iter().chain([&COMMANDS]).collect();
    while !rest.is_empty() {
        let names: BTreeSet<&str> = rest.iter().map(|(name, _)| *name).collect();
        let before = rest.len();
        rest.retain(|(_, others)| others.iter().any(|other| names.contains(other)));
        assert!(rest.len() < before, "a circle among {names:?}");
    }
}

#[test]
fn crates_stay_in_their_place() {
    for source in sources() {
        for (name, places) in CRATES {
            let paths = after(&source.code, name).any(|rest| rest.starts_with("::"));
            let alone = source.code.contains(&format!("use {name};"));
            let allowed = places.contains(&source.module.as_str());
            assert!(allowed || !(paths || alone), "{} may not name {name}", source.path.display());
        }
    }
}

#[test]
fn unsafe_code_is_in_sys() {
    for source in sources() {
        // Not in a text, such as a header's 'unsafe-inline'.
        let found = after(&source.code, "unsafe").any(|rest| rest.starts_with([' ', '\n', '(']));
        assert!(source.module == "sys" || !found, "unsafe in {}", source.path.display());
    }
}

#[test]
fn config_alone_reads_what_was_typed() {
    for source in sources().iter().filter(|source| source.module == "commands") {
        for rest in after(&source.code, "cli").filter_map(|rest| rest.strip_prefix("::")) {
            for name in names(rest) {
                let handed_on = ["Cli", "Command"].contains(&name) || name.ends_with("Args");
                assert!(handed_on, "{} names cli::{name}", source.path.display());
            }
        }
    }
    for source in sources().iter().filter(|source| source.module == "cli") {
        for rest in after(&source.code, "exporter").filter_map(|rest| rest.strip_prefix("::")) {
            assert_eq!(names(rest), ["build"], "{}", source.path.display());
        }
    }
}

#[test]
fn every_module_has_a_rule() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: BTreeSet<&str> =
        after(&code(&text), "mod").filter_map(|rest| rest.trim().split(';').next()).map(leak).collect();
    let ruled: BTreeSet<&str> = KNOWS.iter().chain([&COMMANDS]).map(|(name, _)| *name).collect();
    assert_eq!(declared, ruled);
}

/// Names that outlive the text they were read from.
fn leak(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[test]
fn the_reader_sees_what_it_should() {
    let source = |depth, text: &str| Source {
        path: PathBuf::from("x.rs"),
        module: "web".to_owned(),
        depth,
        code: code(text),
    };
    for (depth, text, expected) in [
        (1, "use crate::mac::Mac;", &["mac"][..]),
        (1, "use crate::{mac::{Mac, Kind}, frame, web::x};", &["frame", "mac"]),
        (1, "let x = crate::clock::now() + mycrate::x;", &["clock"]),
        (1, "// use crate::mac;\n/// [`crate::mac`]\nfn f() {} // crate::mac", &[]),
        (1, "use super::sources::Row;", &["sources"]),
        (2, "use super::{guard, routes};", &[]),
        (2, "use super::super::exporter;", &["exporter"]),
        (1, "#[cfg(test)]\nmod tests {\n    use crate::mac::Mac;\n}\nuse crate::log;", &["log"]),
        (1, "#[cfg(test)]\nmod tests;\nuse crate::log;", &["log"]),
    ] {
        assert_eq!(named(&source(depth, text)).into_iter().collect::<Vec<_>>(), expected, "{text}");
    }
}
