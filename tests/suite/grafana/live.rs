//! Every query of every dashboard, on a real Prometheus that scrapes real exporters, while all that the dashboards are
//! for happens: strangers, a flood, lost frames, an interface that is down, an exporter that has gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use regex_lite::Regex;
use rustix::process::Signal;
use serde_json::Value;

use super::board::{Board, Values, asked, boards, list, named, pattern, substitute, text, used};
use super::promql::selectors;
use crate::common::exporter::{BINARY, PORT};
use crate::common::frames::{Stop, frame, send, source, text as written};
use crate::common::{Exporter, Namespace, Prometheus, root, veth, wait_for, wait_until};

/// How far back the dashboards look, in seconds: longer than the test takes.
const RANGE: u32 = 120;
/// What rates are taken over: several scrapes, of which a busy machine may miss some.
const RATE: &str = "10s";
/// Sources that the inventory lists: more than are shown one by one.
const LISTED: u32 = 14;
/// As many others find room.
const ROOM: u32 = 8;
const STRANGER: [u8; 6] = [0x3c, 0x22, 0xfb, 0x9a, 0, 0x31];
const GUEST: [u8; 6] = [0xda, 0xa1, 0x19, 0, 0xbe, 0xef];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];
/// Frames, too many for a queue of the default size that nobody reads, where each takes more than half a KiB.
const BURST: usize = 40_000;
/// Heard by the second exporter alone, which goes.
const GONE: [u8; 6] = [0x02, 0, 0, 0, 0x90, 0x4e];

/// Who talks on which interface of the other side, round and round.
type Talkers = Mutex<Vec<(&'static str, Vec<Vec<u8>>)>>;

fn talk(namespace: &Namespace, talkers: &Talkers, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        for (interface, frames) in talkers.lock().unwrap().iter() {
            send(namespace, interface, frames);
        }
        thread::park_timeout(Duration::from_millis(100));
    }
}

fn frames(sources: impl IntoIterator<Item = [u8; 6]>) -> Vec<Vec<u8>> {
    sources.into_iter().map(|mac| frame(mac, 100)).collect()
}

/// Whom the inventory lists; the first is of a vendor.
fn listed() -> Vec<[u8; 6]> {
    let printer = [0x00, 0x1b, 0x21, 0x3c, 0x4d, 0x01];
    std::iter::once(printer).chain((1..LISTED).map(source)).collect()
}

/// The inventory, replaced as an editor does it.
fn list_known(file: &Path, more: &str) {
    let lines =
        listed().iter().chain([&GONE]).map(|mac| format!("{} host\n", written(*mac))).collect::<String>();
    let beside = file.with_extension("new");
    fs::write(&beside, lines + more).unwrap();
    fs::rename(beside, file).unwrap();
}

/// What a dashboard begins with; there may be nothing to choose from yet.
fn begun() -> Values {
    [
        ("site", ".*"),
        ("job", ".+"),
        ("instance", ".+"),
        ("interface", ".+"),
        ("own", ""),
        ("__rate_interval", RATE),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// A Prometheus, and the time that the dashboards end at.
struct Asked<'n> {
    prometheus: &'n Prometheus<'n>,
    now: f64,
}

/// One series: its labels, and whether it has a value that can be shown.
struct Series {
    labels: BTreeSet<String>,
    value: Option<f64>,
}

impl<'n> Asked<'n> {
    fn new(prometheus: &'n Prometheus<'n>) -> Self {
        Self { prometheus, now: SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() }
    }

    /// What an expression yields, now or over the time shown; the newest value of each series.
    fn query(&self, expression: &str, instant: bool) -> Vec<Series> {
        let time = |seconds: f64| format!("{seconds:.3}");
        let (start, end) = (time(self.now - f64::from(RANGE)), time(self.now));
        let (path, parameters) = if instant {
            ("query", vec![("query", expression), ("time", &end)])
        } else {
            ("query_range", vec![("query", expression), ("start", &start), ("end", &end), ("step", "1")])
        };
        let answer = self.prometheus.curl(&format!("api/v1/{path}"), &parameters);
        let answer = answer.unwrap_or_else(|| panic!("Prometheus refuses {expression}"));
        let data = &serde_json::from_str::<Value>(&answer).unwrap()["data"];
        let series = |one: &Value| {
            let mut values = if instant { vec![&one["value"]] } else { list(one, "values").iter().collect() };
            values.reverse();
            let number =
                |value: &&Value| value[1].as_str()?.parse().ok().filter(|number: &f64| number.is_finite());
            Series {
                labels: one["metric"].as_object().unwrap().keys().cloned().collect(),
                value: values.iter().find_map(number),
            }
        };
        list(data, "result").iter().map(series).collect()
    }

    /// What a variable offers.
    fn offered(&self, board: &Board, variable: &Value, values: &Values) -> Vec<String> {
        let whose = format!("{}: variable {}", board.file, text(variable, "name"));
        let (function, rest) = asked(variable);
        let rest = substitute(&whose, &rest, values);
        if function == "label_values" {
            let (series, label) = rest.rsplit_once(", ").unwrap();
            let data = self.prometheus.api(&format!("label/{label}/values"), &[("match[]", series)]);
            return data.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
        }
        let time = format!("{:.3}", self.now);
        let data = self.prometheus.api("query", &[("query", &rest), ("time", &time)]);
        let regex =
            text(variable, "regex").strip_prefix('/').and_then(|regex| regex.strip_suffix('/')).unwrap();
        let regex = Regex::new(regex).unwrap();
        let mut found = Vec::new();
        for one in list(&data, "result") {
            let labels = one["metric"].as_object().unwrap().iter();
            let labels: Vec<String> =
                labels.map(|(name, value)| format!("{name}=\"{}\"", value.as_str().unwrap())).collect();
            let line = format!("{{{}}} {} {time}", labels.join(","), one["value"][1].as_str().unwrap());
            let matched = regex.captures(&line).unwrap_or_else(|| panic!("{whose}: nothing found in {line}"));
            let value = matched.name("value").or_else(|| matched.get(1)).unwrap().as_str();
            if let Some(shown) = matched.name("text") {
                assert!(
                    !shown.as_str().trim().is_empty() && !shown.as_str().starts_with(' '),
                    "{whose}: {line}"
                );
            }
            found.push(value.to_owned());
        }
        found
    }

    /// A value for each variable of a dashboard: what it begins with, and of one source that it shows, this one.
    fn values(&self, board: &Board, source_mac: &str) -> Values {
        let mut values: Values = [
            ("__range", format!("{RANGE}s")),
            ("__rate_interval", RATE.to_owned()),
            ("__from", format!("{:.0}", (self.now - f64::from(RANGE)) * 1000.0)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for variable in board.variables() {
            let name = text(variable, "name");
            let value = match text(variable, "type") {
                "datasource" => "prometheus".to_owned(),
                "custom" => text(&variable["current"], "value").to_owned(),
                "query" => {
                    let offered = self.offered(board, variable, &values);
                    assert!(!offered.is_empty(), "{}: variable {name} offers nothing", board.file);
                    let unique: BTreeSet<&String> = offered.iter().collect();
                    assert_eq!(unique.len(), offered.len(), "{}: variable {name}: {offered:?}", board.file);
                    match (name, variable["allValue"].as_str()) {
                        ("source_mac", _) => {
                            assert!(offered.iter().any(|one| one == source_mac), "{offered:?}");
                            source_mac.to_owned()
                        }
                        (_, Some(all)) => all.to_owned(),
                        _ => pattern(&offered),
                    }
                }
                other => panic!("{}: variable of type {other}", board.file),
            };
            values.insert(name.to_owned(), value);
        }
        values
    }

    /// The number that a panel shows.
    fn shown(&self, board: &Board, title: &str, values: &Values) -> Option<f64> {
        let expression = text(&board.panel(title)["targets"][0], "expr");
        let series = self.query(&substitute(title, expression, values), true);
        assert!(series.len() <= 1, "{title} is {} numbers", series.len());
        series.first().and_then(|one| one.value)
    }
}

#[test]
fn every_query_brings_data_when_there_is_something_to_tell() {
    if !root() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    for n in 0..4 {
        veth(&ours, &format!("mw{n}"), &theirs, &format!("peer{n}"));
    }
    let folder = tempfile::tempdir().unwrap();
    let inventory = folder.path().join("inventory");
    list_known(&inventory, "");
    // One of a site, one of none.
    let configuration = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: macwatch\n    \
         static_configs: [{{ targets: ['127.0.0.1:{PORT}'] }},\n      \
         {{ targets: ['127.0.0.1:10149'], labels: {{ site: branch }} }}]\n"
    );
    let prometheus = Prometheus::start(&ours, &configuration);
    let all = boards();
    let board = |file: &str| all.iter().find(|board| board.file == file).unwrap();
    let deaf = |expected: f64| {
        let values = begun();
        wait_until(&format!("a deafness of {expected}"), || {
            Asked::new(&prometheus).shown(board("overview.json"), "Are we deaf?", &values) == Some(expected)
        });
    };
    deaf(-1.0);
    // Not `no inventory`: nobody could say.
    assert_eq!(Asked::new(&prometheus).shown(board("overview.json"), "Unknown now", &begun()), None);

    // With a small queue, so that frames can be lost.
    let mut command = ours.command("setpriv");
    command.args([
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
        "--",
        BINARY,
        "--capture.engine",
        "channel",
    ]);
    command
        .args(["-i", "mw0", "-i", "mw1", "-i", "mw2", "--sources.max", &ROOM.to_string(), "--inventory.file"])
        .arg(&inventory);
    let exporter = Exporter::spawn(&ours, command);
    exporter.wait_ready();
    let mut command: Command = ours.command(BINARY);
    command.args(["-i", "mw1", "-i", "mw3", "--web.listen-address", ":10149", "--inventory.file"]);
    command.arg(&inventory);
    let second = Exporter::spawn(&ours, command);
    let listed = listed();
    let calm = [
        ("peer0", frames(listed.clone())),
        ("peer1", frames(listed.clone())),
        ("peer2", frames([listed[0]])),
        ("peer3", frames([listed[1], GONE])),
    ];
    let (talkers, stop) = (Talkers::new(calm.to_vec()), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| talk(&theirs, &talkers, &stop));
        prometheus.wait_value(
            "count(rate(macwatch_source_frames_total[10s]) > 0)",
            f64::from(2 * LISTED + 1 + LISTED + 2),
        );
        deaf(0.0);
        nothing_to_tell(board("overview.json"), &undisturbed(&prometheus, ".+"));

        let crowd = (1000..1000 + 2 * ROOM).map(source);
        *talkers.lock().unwrap() = vec![
            ("peer0", frames(listed.iter().copied().chain(crowd))),
            ("peer1", frames(listed.iter().copied().chain([GUEST, GROUP]))),
            // One of the top talkers, and of a vendor.
            ("peer1", vec![frame(STRANGER, 1000)]),
        ];
        prometheus.wait_value("count(macwatch_source_known == 0)", f64::from(ROOM + 3 + 3));
        list_known(&inventory, &format!("{} a guest\n", written(GUEST)));
        prometheus.wait_value("count(macwatch_source_known == 0)", f64::from(ROOM + 2 + 2));
        drop(second);
        ours.ip("link set mw2 down");
        exporter.signal(Signal::STOP);
        send(&theirs, "peer0", &vec![frame(listed[0], 60); BURST]);
        exporter.signal(Signal::CONT);
        wait_until("frames to be lost", || {
            prometheus.query("sum(rate(macwatch_interface_dropped_frames_total[10s]))") > Some(0.0)
        });
        deaf(3.0);

        let page = exporter.get("/metrics").unwrap().text();
        let asked = undisturbed(&prometheus, &format!(".+:{PORT}"));
        for board in &all {
            let values = asked.values(board, &written(listed[0]));
            look(board, &asked, &values, &page);
            for (file, title, number) in [
                ("overview.json", "Unknown now", f64::from(ROOM + 2)),
                ("overview.json", "New in 24 hours", f64::from(LISTED + ROOM + 3)),
                ("overview.json", "Sources", f64::from(LISTED + ROOM + 3)),
                ("unknown.json", "Unknown now", f64::from(ROOM + 2)),
                ("unknown.json", "Talked in 5 minutes", f64::from(ROOM + 2)),
                ("unknown.json", "Invalid senders", 1.0),
                ("unknown.json", "Flood", 1.0),
                ("unknown.json", "Inventory", 1.0),
                ("source.json", "Known", 1.0),
            ] {
                if board.file == file {
                    assert_eq!(asked.shown(board, title, &values), Some(number), "{file}: {title}");
                }
            }
            no_inventory(board, &asked, &values);
            if board.file == "source.json" {
                // Who is gone can be chosen: Grafana takes another for a choice that is not offered.
                asked.values(board, &written(GONE));
            }
            if board.file == "unknown.json" {
                for (mac, there) in [(STRANGER, true), (GUEST, true), (GROUP, true), (listed[0], false)] {
                    assert_eq!(values["unknown"].contains(&written(mac)), there, "{}", values["unknown"]);
                }
            }
        }
    });
}

/// A time by which the last scrapes of these instances have succeeded: on a busy machine one may take longer than it may.
fn undisturbed<'n>(prometheus: &'n Prometheus<'n>, instances: &str) -> Asked<'n> {
    let up = format!("min(min_over_time(up{{instance=~\"{instances}\"}}[5s]))");
    wait_for("scrapes to succeed", || {
        Some(Asked::new(prometheus)).filter(|asked| prometheus.query_at(&up, asked.now) == Some(1.0))
    })
}

/// A calm network is zeros and empty panels, not missing numbers.
fn nothing_to_tell(overview: &Board, asked: &Asked<'_>) {
    let values = asked.values(overview, "");
    for title in ["Unknown now", "Lost or unnamed", "Fullest table"] {
        assert_eq!(asked.shown(overview, title, &values), Some(0.0), "{title}");
    }
    for target in list(overview.panel("Not heard, where and when"), "targets") {
        let expression = substitute("not heard", text(target, "expr"), &values);
        assert_eq!(asked.query(&expression, true).len(), 0, "{expression}");
    }
}

/// Panels that say that there is no inventory do so where the exporters that are there have none.
fn no_inventory(board: &Board, asked: &Asked<'_>, values: &Values) {
    let mut found = 0;
    for panel in board.panels() {
        if panel["fieldConfig"]["defaults"]["mappings"].to_string().contains(r#""-1":{"#)
            && panel["title"] != "Are we deaf?"
        {
            // What only they have that have one.
            let absent = Regex::new("macwatch_(source_known|inventory_[a-z_]+)").unwrap();
            let expression = substitute(&board.file, text(&panel["targets"][0], "expr"), values);
            let expression = absent.replace_all(&expression, "macwatch_absent");
            let series = asked.query(&expression, true);
            assert!(series.len() == 1 && series[0].value == Some(-1.0), "{}: {expression}", panel["title"]);
            found += 1;
        }
    }
    assert_ne!(found, 0, "{}", board.file);
}

/// Runs all that a dashboard asks, and compares what comes with what it shows of it.
fn look(board: &Board, asked: &Asked<'_>, values: &Values, page: &str) {
    let mut columns: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for query in board.queries() {
        let expression = substitute(&query.whose, query.expression(), values);
        for name in selectors(&expression).into_iter().map(|selector| selector.name) {
            let family = format!("\n# TYPE {name} ");
            assert!(name == "up" || page.contains(&family), "{}: nobody says {name}", query.whose);
        }
        let series = asked.query(&expression, query.json["instant"] == true);
        assert!(series.iter().any(|one| one.value.is_some()), "{}: no data for {expression}", query.whose);
        let there: BTreeSet<String> = series.into_iter().flat_map(|one| one.labels).collect();
        for label in named(&query) {
            assert!(there.contains(label), "{}: no label {label} in {there:?}", query.whose);
        }
        if let Some(panel) = query.panel {
            let columns = columns.entry(panel["id"].as_u64().unwrap()).or_default();
            columns.extend(there);
            columns.insert(format!("Value #{}", text(query.json, "refId")));
            columns.insert(text(query.json, "legendFormat").to_owned());
        }
    }
    for panel in board.panels() {
        let columns = &columns[&panel["id"].as_u64().unwrap()];
        for column in used(panel) {
            assert!(
                columns.contains(&column),
                "{}: panel {}: no {column} in {columns:?}",
                board.file,
                panel["title"]
            );
        }
    }
}
