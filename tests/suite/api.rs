//! The API: what programs that are not Prometheus are told of real frames.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::common::crowd::crowd_of;
use crate::common::exporter::PORT;
use crate::common::frames::{frame, send, source, text, wait_tick};
use crate::common::http::{self, Response, exchange, inflated};
use crate::common::{Exporter, Namespace, root, veth};

const SOURCES: &str = "/api/v1/sources";
const INTERFACES: &str = "/api/v1/interfaces";

/// A device of a vendor that everybody knows.
const RASPBERRY: [u8; 6] = [0xb8, 0x27, 0xeb, 0, 0, 9];

/// Two interfaces, one that is not there, and an inventory that knows two of four who talk.
struct Setting<'n> {
    exporter: Exporter<'n>,
    ours: &'n Namespace,
    _inventory: tempfile::NamedTempFile,
}

impl<'n> Setting<'n> {
    fn new(ours: &'n Namespace, theirs: &Namespace) -> Self {
        veth(ours, "mw0", theirs, "peer0");
        veth(ours, "mw1", theirs, "peer1");
        let inventory = tempfile::NamedTempFile::new().unwrap();
        let listed = format!("{} Printer\n{} the \"odd\" <one> & ü\n", text(source(1)), text(source(2)));
        std::fs::write(inventory.path(), listed).unwrap();
        let file = inventory.path().display();
        let exporter = Exporter::start(ours, &format!("-i mw0 -i mw1 -i absent0 --inventory.file {file}"));
        exporter.wait_up("mw0");
        exporter.wait_up("mw1");
        let group = [0x01, 0, 0x5e, 0, 0, 1];
        let frames = [(source(1), 60), (source(2), 100), (source(2), 1514), (RASPBERRY, 60), (group, 60)];
        for (mac, bytes) in frames {
            send(theirs, "peer0", &[frame(mac, bytes)]);
            // The order in which they spoke is one that can be asked for.
            wait_tick();
        }
        exporter.wait_frames("mw0", 5.0);
        send(theirs, "peer1", &vec![frame(RASPBERRY, 60); 3]);
        exporter.wait_frames("mw1", 3.0);
        Self { exporter, ours, _inventory: inventory }
    }

    fn get(&self, path: &str) -> Response {
        self.exporter.get(path).unwrap()
    }

    #[track_caller]
    fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Interface and last byte of the addresses that a query finds, in order.
    #[track_caller]
    fn found(&self, query: &str) -> Vec<String> {
        let answer = self.json(&format!("{SOURCES}?{query}"));
        let name = |source: &Value| {
            let (interface, mac) = (source["interface"].as_str(), source["source_mac"].as_str());
            format!("{}/{}", interface.unwrap(), &mac.unwrap()[15..])
        };
        answer["sources"].as_array().unwrap().iter().map(name).collect()
    }
}

#[test]
fn sources_are_told_with_all_that_is_known_of_them() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    let answer = setting.json(&format!("{SOURCES}?q={}", text(source(2))));
    assert_eq!((&answer["total"], &answer["limit"], &answer["offset"]), (&json!(1), &json!(1000), &json!(0)));
    let mut found = answer["sources"][0].clone();
    let times = ["first_seen", "last_seen"].map(|name| found.as_object_mut().unwrap().remove(name).unwrap());
    let expected = json!({
        "interface": "mw0", "source_mac": text(source(2)), "name": "the \"odd\" <one> & ü", "vendor": null,
        "address_type": "local", "known": true, "own": false, "frames": 2, "bytes": 1614,
    });
    assert_eq!(found, expected);
    // The same times as the metrics tell.
    let page = setting.exporter.scrape();
    for (name, time) in ["first", "last"].into_iter().zip(times) {
        let labels = format!("{{interface=\"mw0\",source_mac=\"{}\"}}", text(source(2)));
        let seconds = page.value(&format!("macwatch_source_{name}_seen_timestamp_seconds{labels}"));
        let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
        assert_eq!(format!("{seconds:.3}"), format!("{:.3}", time.as_millisecond() as f64 / 1000.0));
    }
    let pi = &setting.json(&format!("{SOURCES}?q=b8-27-eb&interface=mw1"))["sources"][0];
    assert_eq!(pi["vendor"], "Raspberry Pi Foundation");
    assert_eq!((&pi["known"], &pi["name"], &pi["frames"]), (&json!(false), &Value::Null, &json!(3)));
}

#[test]
fn queries_filter_order_and_cut() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    for (query, expected) in [
        // Unknown first, then the newest.
        ("", &["mw1/09", "mw0/01", "mw0/09", "mw0/02", "mw0/01"][..]),
        ("known=true", &["mw0/02", "mw0/01"]),
        ("known=false&sort=first_seen", &["mw0/09", "mw0/01", "mw1/09"]),
        ("interface=mw1", &["mw1/09"]),
        ("interface=mw1&interface=mw0&sort=-bytes&limit=2", &["mw0/02", "mw1/09"]),
        ("sort=-bytes&limit=2&offset=4", &["mw0/09"]),
        ("sort=name&limit=1", &["mw0/01"]),
        ("address_type=group", &["mw0/01"]),
        ("q=PRINTER", &["mw0/01"]),
        ("q=raspberry+pi&sort=source_mac", &["mw0/09", "mw1/09"]),
        ("q=%3Cone%3E+%26+%C3%9C", &["mw0/02"]),
        ("q=absent", &[]),
        ("offset=100", &[]),
    ] {
        let found = setting.found(query);
        // Of those that are alike in all, the address decides.
        assert_eq!(found, expected, "{query}");
    }
    assert_eq!(setting.json(&format!("{SOURCES}?limit=2"))["total"], 5);
}

#[test]
fn interfaces_are_told_as_the_metrics_tell_them() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    let answer = setting.json(INTERFACES);
    let page = setting.exporter.scrape();
    let interfaces = answer["interfaces"].as_array().unwrap();
    let names: Vec<_> = interfaces.iter().map(|one| one["interface"].as_str().unwrap()).collect();
    assert_eq!(names, ["absent0", "mw0", "mw1"]);
    for (one, name) in interfaces.iter().zip(names) {
        for (field, value) in one.as_object().unwrap() {
            let total = page.get(&format!("macwatch_interface_{field}_total{{interface=\"{name}\"}}"));
            let plain = || page.get(&format!("macwatch_interface_{field}{{interface=\"{name}\"}}"));
            let told = value.as_f64().or_else(|| value.as_bool().map(|up| f64::from(u8::from(up))));
            match field.as_str() {
                "interface" | "engine" | "mac" | "link" => {}
                _ => assert_eq!(told, total.or_else(plain), "{field} of {name}"),
            }
        }
    }
    assert_eq!((&interfaces[0]["link"], &interfaces[0]["mac"]), (&json!("absent"), &Value::Null));
    assert_eq!((&interfaces[1]["link"], &interfaces[1]["capture_up"]), (&json!("up"), &json!(true)));
}

#[test]
fn what_makes_no_sense_is_named() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    for (path, parameter, value) in [
        ("/api/v1/sources?limit=many", "limit", "many"),
        ("/api/v1/sources?known=%22%3C", "known", "\"<"),
        ("/api/v1/sources?colour=red", "colour", "red"),
        ("/api/v1/interfaces?interface=mw0", "interface", "mw0"),
    ] {
        let answer = setting.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{path}");
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&error["parameter"], &error["value"]), (&json!(parameter), &json!(value)));
        assert!(!error["allowed"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(setting.exporter.scrape().value("macwatch_http_requests_total{code=\"400\"}"), 4.0);
}

#[test]
fn it_is_served_like_the_rest() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    for path in [SOURCES, INTERFACES, "/api/v1/openapi.json"] {
        let plain = setting.get(path);
        assert_eq!((plain.status, plain.header("content-type")), (200, Some("application/json")), "{path}");
        assert_eq!(plain.header("x-content-type-options"), Some("nosniff"));
        let kept = if path.ends_with("openapi.json") { "no-cache" } else { "no-store" };
        assert_eq!(plain.header("cache-control"), Some(kept), "{path}");
        let packed = http::request(setting.ours, PORT, "GET", path, "Accept-Encoding: gzip\r\n").unwrap();
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        let keys = |text: &str| -> Vec<String> {
            let value: Value = serde_json::from_str(text).unwrap();
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&inflated(&packed)), keys(&plain.text()), "{path}");
        let head = http::request(setting.ours, PORT, "HEAD", path, "").unwrap();
        assert_eq!((head.status, head.length(), head.body.len()), (200, plain.length(), 0), "{path}");
        let post = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let post = http::parse(&exchange(setting.ours, PORT, post.as_bytes())).unwrap();
        assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")), "{path}");
    }
}

#[test]
fn answers_are_as_their_description_says() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let setting = Setting::new(&ours, &theirs);
    let mut answers = Vec::new();
    for path in [
        "/api/v1/sources",
        "/api/v1/sources?known=false&limit=1",
        "/api/v1/sources?q=nobody",
        "/api/v1/sources?sort=x",
        "/api/v1/interfaces",
        "/api/v1/interfaces?x",
    ] {
        let answer = setting.get(path);
        let route = path.split('?').next().unwrap();
        let content_type = answer.header("content-type").unwrap().to_owned();
        answers.push(json!([route, answer.status, content_type, answer.text()]));
    }
    let description = setting.json("/api/v1/openapi.json");
    let asked = json!({"description": description, "answers": answers}).to_string();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/openapi.py");
    let mut python = Command::new("/usr/bin/python3")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", answers.len()));
}

/// All of many sources at once: whole, and without much memory.
#[test]
fn all_sources_fit_into_one_answer() {
    const MANY: u32 = 16_000;
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowd_of(MANY, &ours, &theirs, "");
    let resident = || exporter.scrape().value("process_resident_memory_bytes");
    let before = resident();
    for _ in 0..5 {
        let answer = exporter.get("/api/v1/sources?limit=65536&sort=source_mac").unwrap();
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let sources = answer["sources"].as_array().unwrap();
        assert_eq!((&answer["total"], sources.len()), (&json!(MANY), MANY as usize));
        let last = sources.last().unwrap();
        assert_eq!(last["source_mac"], text(source(MANY - 1)));
        assert!(
            exporter.get("/?limit=1000&sort=-bytes").unwrap().text().contains("1–1,000 of 16,000 sources")
        );
    }
    let grown = resident() - before;
    assert!(grown < f64::from(24 << 20), "{grown} bytes more of memory");
}
