//! The page for people, as it is without scripts.

use crate::common::exporter::{BINARY, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, command, http, root, text as said, veth, wire};

/// Names that would be markup if they were let.
const ODD: &str = "<script>alert(1)</script> \"quoted\" 'too' & <b>bold</b>";
const ODD_INTERFACE: &str = "<b>\"&'";

/// As text in HTML.
fn escaped(text: &str) -> String {
    let pairs = [('&', "&amp;"), ('<', "&lt;"), ('>', "&gt;"), ('"', "&quot;"), ('\'', "&#39;")];
    pairs.iter().fold(text.to_owned(), |text, (character, escape)| text.replace(*character, escape))
}

/// Text out of HTML.
fn unescaped(html: &str) -> String {
    let pairs = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(html.to_owned(), |text, (escape, character)| text.replace(escape, character))
}

#[track_caller]
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {rest}")).0
}

#[test]
fn nothing_from_a_wire_or_a_file_becomes_markup() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, ODD_INTERFACE, &theirs, "peer0");
    let folder = tempfile::tempdir().unwrap();
    let (inventory, vendors) = (folder.path().join("ethers"), folder.path().join("manuf"));
    std::fs::write(&inventory, format!("{} {ODD}\n", text(source(1)))).unwrap();
    std::fs::write(&vendors, "02:5E:00\t<i>Vendor</i>\t<i>Vendor</i> & \"Sons\"\n").unwrap();
    let files = format!("--inventory.file {} --vendor.file {}", inventory.display(), vendors.display());
    let exporter = Exporter::start(&ours, &files);
    send(&theirs, "peer0", &[frame(source(1), 60), frame(source(2), 60)]);
    exporter.wait_page("both sources", |page| page.sources("<b>\\\"&'").len() == 2);
    let page = exporter.get("/").unwrap().text();
    for part in [ODD, ODD_INTERFACE, "<i>Vendor</i> & \"Sons\""] {
        assert!(page.contains(&escaped(part)), "{part}: {page}");
        assert!(!page.contains(part), "{part}: {page}");
    }
    for part in ["<script>", "<b>bold", "<i>", "onerror", "style="] {
        assert!(!page.contains(part), "{part}: {page}");
    }
    // What is searched for comes back as text too.
    let page = exporter.get("/?q=%22%3E%3Cscript%3E&sort=name").unwrap().text();
    assert!(page.contains("value=\"&quot;&gt;&lt;script&gt;\"") && !page.contains("<script>"), "{page}");
    let page = exporter.get("/?%3Cscript%3E=1").unwrap();
    assert_eq!(page.status, 400);
    assert!(page.text().contains("<code>&lt;script&gt;=1</code> makes no sense here"), "{}", page.text());
}

#[test]
fn the_line_to_copy_makes_a_source_known() {
    let Some((ours, theirs)) = wire() else { return };
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("ethers");
    std::fs::write(&inventory, "02:00:00:00:00:01 somebody\n").unwrap();
    let exporter = Exporter::start(&ours, &format!("-i mw0 --inventory.file {}", inventory.display()));
    exporter.wait_up("mw0");
    let pi = [0xb8, 0x27, 0xeb, 0, 0, 9];
    send(&theirs, "peer0", &[frame(pi, 60), frame([0xff; 6], 60)]);
    exporter.wait_frames("mw0", 2.0);
    let page = exporter.get("/?known=false").unwrap().text();
    assert!(page.contains("2 sources") && page.contains("2</b> unknown sources"), "{page}");
    assert!(page.contains("no device may send from it"), "of the broadcast address: {page}");
    assert_eq!(page.matches("<details>").count(), 1, "{page}");
    let line = unescaped(between(&page, "</summary><code>", "</code>"));
    assert!(line.starts_with("b8:27:eb:00:00:09  raspberry-000009  # Raspberry Pi Foundation, universal, "));
    std::fs::write(&inventory, format!("{line}\n")).unwrap();
    let mut check = command(BINARY);
    let output = check.arg("check").arg("--inventory.file").arg(&inventory).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    exporter.wait_page("it to be known", |page| {
        page.get("macwatch_source_known{interface=\"mw0\",source_mac=\"b8:27:eb:00:00:09\"}") == Some(1.0)
    });
    let page = exporter.get("/?q=raspberry-000009").unwrap().text();
    assert!(page.contains("<span class=\"badge good\">known</span>"), "{page}");
    // Of one there is no plural.
    for part in ["<b>1</b> unknown source<", "<b>1 of 1</b> interface captured<", ">1 source<"] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

#[test]
fn it_is_whole_by_itself_and_trusts_nobody() {
    if !root() {
        return;
    }
    let namespace = Namespace::new();
    let exporter = Exporter::start(&namespace, "");
    let page = exporter.get("/").unwrap();
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    let page = page.text();
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("//"), "{page}");
    // Whatever it names is there; addresses are relative, for proxies that put it elsewhere.
    for part in page.split(['"']).filter(|part| part.starts_with("./") || part.ends_with(".js")) {
        let path = format!("/{}", part.trim_start_matches("./"));
        assert_eq!(exporter.get(&path).unwrap().status, 200, "{path}");
    }
    for (path, content_type) in [
        ("/style.css", "text/css; charset=utf-8"),
        ("/app.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        assert!(page.contains(&format!("\"{}\"", &path[1..])), "{path}");
        let asset = exporter.get(path).unwrap();
        assert_eq!((asset.status, asset.header("content-type")), (200, Some(content_type)));
        let kept = format!("If-None-Match: {}\r\n", asset.header("etag").unwrap());
        let again = http::request(&namespace, PORT, "GET", path, &kept).unwrap();
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
}

#[test]
fn it_says_whether_it_hears() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 -i absent0 --sources.max 1");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 60), frame(source(2), 60), frame(source(3), 60)]);
    exporter.wait_frames("mw0", 3.0);
    let page = exporter.get("/").unwrap().text();
    for part in [
        "<li class=\"bad\"><b>1 of 2</b> interfaces captured",
        "<li class=\"good\"><b>0</b> frames dropped",
        "<li class=\"bad\"><b>2</b> frames of sources beyond the limit",
        "no such interface; waiting for it",
        "<b>No inventory:</b>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("unknown sources"), "without an inventory nobody is unknown: {page}");
}

#[test]
fn long_lists_are_cut_into_parts_that_lead_to_each_other() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &(0..25).map(|n| frame(source(n), 60)).collect::<Vec<_>>());
    exporter.wait_frames("mw0", 25.0);
    let (mut path, mut seen) = ("/?sort=source_mac&limit=10".to_owned(), Vec::new());
    loop {
        let page = exporter.get(&path).unwrap().text();
        let rows = page.split("<th role=\"rowheader\" scope=\"row\"><code>").skip(1);
        seen.extend(rows.map(|rest| rest[..17].to_owned()));
        let Some((_, next)) = page.split_once("rel=\"next\" href=\".") else { break };
        path = unescaped(next.split(['"', '#']).next().unwrap());
    }
    assert_eq!(seen, (0..25).map(|n| text(source(n))).collect::<Vec<_>>());
}
