//! Many exporters at many sites: the shipped configuration of a fleet's Prometheus, and of the one where all sites
//! come together. Only intervals, addresses and the alert's patience are others than those shipped.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::common::exporter::{BINARY, PORT};
use crate::common::frames::{Stop, frame, send, source, text};
use crate::common::namespace::bridge;
use crate::common::{Exporter, Namespace, Prometheus, root, veth, wait_for, wait_until, wire};

/// Sites, each with two exporters that hear the same.
const SITES: u32 = 10;
const EXPORTERS: u32 = 2 * SITES;
const TWIN_ALERT: &str = "MacwatchSourceAtSeveralSites";
/// Where the sites' Prometheus finds the other.
const GLOBAL: &str = "198.51.100.2";

fn shipped(name: &str) -> String {
    fs::read_to_string(folder().join(name)).unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus")
}

/// Replaces what has to be there so many times.
#[track_caller]
fn with(text: &str, times: usize, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), times, "{from} in {text}");
    text.replace(from, to)
}

/// The shipped configuration of a Prometheus that scrapes, with these targets.
fn scraping(targets: &Path, interval: &str) -> String {
    let config = with(&shipped("fleet.yml"), 2, "_interval: 30s", &format!("_interval: {interval}"));
    let config = with(&config, 2, "- rules/", &format!("- {}/", folder().join("rules").display()));
    let config = with(&config, 1, "[targets/", &format!("[{}/", targets.display()));
    with(&config, 1, "https://metrics.example.com/", &format!("http://{GLOBAL}:9090/"))
}

/// The targets of a site, in a file like the one that is shipped.
fn write_targets(folder: &Path, site: &str, targets: &[String]) {
    let example = shipped("targets/macwatch-berlin.yml");
    let file = with(&example, 1, "\"192.0.2.10:10148\", \"192.0.2.11:10148\"", &targets.join(", "));
    fs::write(
        folder.join(format!("macwatch-{site}.yml")),
        with(&file, 1, "site: berlin", &format!("site: {site}")),
    )
    .unwrap();
}

fn site(n: u32) -> String {
    format!("site-{n}")
}

/// The values of a label in what an expression yields.
#[track_caller]
fn labels(prometheus: &Prometheus<'_>, expression: &str, label: &str) -> Vec<String> {
    let data = prometheus.api("query", &[("query", expression)]);
    let series = data["result"].as_array().unwrap().iter();
    series.map(|one| one["metric"][label].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_address_at_two_of_ten_sites_is_one_alert_and_only_what_is_needed_leaves_the_sites() {
    if !root() {
        return;
    }
    let (ours, world, wire) = (Namespace::new(), Namespace::new(), Namespace::new());
    bridge(&ours, "mg0");
    ours.ip("address add 198.51.100.1/24 dev mg0");
    let join = |namespace: &Namespace, name: &str, address: &str| {
        veth(namespace, "mg0", &ours, name);
        ours.ip(&format!("link set {name} master mg0"));
        namespace.ip(&format!("address add {address}/24 dev mg0"));
    };
    join(&world, "global", GLOBAL);

    // Everybody has one inventory. It lists the source of each site, and the twin.
    let files = tempfile::tempdir().unwrap();
    let (inventory, targets) = (files.path().join("ethers"), files.path().join("targets"));
    fs::create_dir(&targets).unwrap();
    let twin = [0x00, 0x1b, 0x21, 0x0c, 0x0f, 0xfe];
    let stranger = [0xda, 0xa1, 0x19, 0x00, 0xbe, 0xef];
    let listed: Vec<_> = (0..SITES).map(source).chain([twin]).collect();
    fs::write(&inventory, listed.iter().map(|mac| format!("{} listed\n", text(*mac))).collect::<String>())
        .unwrap();

    let namespaces: Vec<_> = (0..EXPORTERS).map(|_| Namespace::new()).collect();
    let address = |n: u32| format!("198.51.100.{}", 10 + n);
    let mut exporters = Vec::new();
    for (n, namespace) in (0..).zip(&namespaces) {
        veth(namespace, "mw0", &wire, &format!("peer{n}"));
        join(namespace, &format!("port{n}"), &address(n));
        let mut command = namespace.command(BINARY);
        command.args(["-i", "mw0", "--inventory.file"]).arg(&inventory);
        exporters.push(Exporter::spawn(namespace, command));
    }
    for n in 0..SITES {
        let both = [2 * n, 2 * n + 1].map(|n| format!("\"{}:{PORT}\"", address(n)));
        write_targets(&targets, &site(n), &both);
    }
    exporters.iter().for_each(Exporter::wait_ready);

    // The rule waits ten minutes, and this test does not.
    let rules = files.path().join("macwatch-fleet-global.yml");
    fs::write(&rules, with(&shipped("rules/macwatch-fleet-global.yml"), 1, "for: 10m", "for: 2s")).unwrap();
    let config = with(&shipped("global.yml"), 1, "_interval: 30s", "_interval: 1s");
    let config = with(&config, 1, "rules/macwatch-fleet-global.yml", &rules.display().to_string());
    let global = Prometheus::start_with(&world, &config, "0.0.0.0", &["--web.enable-remote-write-receiver"]);
    let local = Prometheus::start(&ours, &scraping(&targets, "1s"));

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for n in 0..EXPORTERS {
                    let mut talking = vec![source(n / 2)];
                    talking.extend([2, 7].contains(&(n / 2)).then_some(twin));
                    talking.extend((n / 2 == 4).then_some(stranger));
                    let frames: Vec<_> = talking.into_iter().map(|mac| frame(mac, 60)).collect();
                    send(&wire, &format!("peer{n}"), &frames);
                }
                thread::park_timeout(Duration::from_millis(300));
            }
        });
        global.wait_value("sum(site:macwatch_targets_up:sum)", f64::from(EXPORTERS));
        global.wait_value("count(site:macwatch_targets:count)", f64::from(SITES));
        // One source at eight sites, two where the twin or the stranger is.
        global.wait_value("sum(site:macwatch_sources:count)", f64::from(SITES) + 3.0);
        global.wait_value("sum(site:macwatch_unknown_sources:count)", 1.0);

        let firing = format!("ALERTS{{alertname=\"{TWIN_ALERT}\",alertstate=\"firing\"}}");
        // On a busy machine the next look may be too late for the one before: what one look tells is looked at.
        let some = |expression: &str, label: &str| {
            wait_for(expression, || {
                Some(labels(&global, expression, label)).filter(|found| !found.is_empty())
            })
        };
        assert_eq!(some(&firing, "source_mac"), [text(twin)]);
        let alert = wait_for("its description", || {
            global.api("alerts", &[])["alerts"]
                .as_array()
                .unwrap()
                .iter()
                .find(|a| a["state"] == "firing")
                .cloned()
        });
        let said = alert["annotations"]["description"].as_str().unwrap();
        assert!(said.contains(&format!("{} sends frames at 2 sites", text(twin))), "{said}");
        assert!(said.contains(": site-2, site-7. Two devices"), "{said}");

        // Who is unknown is told with the site, once, though two exporters see it; and the listed ones are not.
        let unknown = "site_source_mac:macwatch_unknown_source_last_seen_timestamp_seconds:max";
        assert_eq!(some(unknown, "source_mac"), [text(stranger)]);
        assert_eq!(some(unknown, "site"), ["site-4"]);
        assert_eq!(some(unknown, "prometheus"), ["berlin-1"]);
        let here = "ALERTS{alertname=\"MacwatchUnknownSource\",alertstate=\"firing\"}";
        wait_until("the site's own alert", || labels(&local, here, "source_mac") == [text(stranger)]);

        let names = global.api("label/__name__/values", &[]);
        let names: BTreeSet<&str> = names.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let foreign: Vec<_> = names
            .iter()
            .filter(|name| !name.starts_with("site:") && !name.starts_with("site_source_mac:"))
            .collect();
        assert_eq!(foreign, [&"ALERTS", &"ALERTS_FOR_STATE"], "{names:?}");
        let (there, here) = ("count({__name__=~\"site.+\"})", "count({job=\"macwatch\"})");
        println!("{:?} series of {:?} leave the sites", global.query(there), local.query(here));
    });
    drop(exporters);
}

#[test]
fn the_fullest_page_is_below_the_limits_of_a_scrape() {
    const ROOM: u32 = 16_384;
    const RESERVED: u32 = 4_096;
    let Some((ours, theirs)) = wire() else { return };
    let files = tempfile::tempdir().unwrap();
    let (inventory, state) = (files.path().join("ethers"), files.path().join("state"));
    let listed = (0..RESERVED).map(|n| format!("{} a machine\n", text(source(n))));
    fs::write(&inventory, listed.collect::<String>()).unwrap();
    let options = format!(
        "-i mw0 --sources.max {ROOM} --inventory.file {} --state.file {}",
        inventory.display(),
        state.display()
    );
    let exporter = Exporter::start(&ours, &options);
    exporter.wait_up("mw0");
    // More than there is room for.
    let frames: Vec<_> = (0..RESERVED + ROOM + 100).map(|n| frame(source(n), 60)).collect();
    wait_until("a full table", || {
        send(&theirs, "peer0", &frames);
        let page = exporter.scrape();
        page.interface("untracked_frames_total", "mw0") > 0.0
            && page.interface("sources", "mw0") >= f64::from(RESERVED + ROOM)
    });
    let page = exporter.scrape();
    let count = |start: &str| u32::try_from(page.matching(start).count()).unwrap();
    let sources = RESERVED + ROOM;
    let (each, interface) = (count("macwatch_source_"), count("macwatch_interface_"));
    let own = count("") - each - interface;

    // The sum in the comment of the limit.
    let config = shipped("fleet.yml");
    assert_eq!((each, interface), (6 * sources, 17));
    assert!(config.contains(&format!(" {},{}\n", each / 1000, each % 1000)), "{each}");
    assert!(config.contains(
        "#   17 of each interface × 64                                                        1,088\n"
    ));
    assert!(own <= 40, "{own}");
    assert!(config.contains("not more than                                               40\n"));
    let limit =
        config.split_once("    sample_limit: ").unwrap().1.lines().next().unwrap().parse::<u32>().unwrap();
    assert!(limit > each + 17 * 64 + 40);
    // The same where the Prometheus operator writes the configuration.
    let monitor = folder().join("../kubernetes/prometheus-operator/podmonitor.yaml");
    assert!(fs::read_to_string(monitor).unwrap().contains(&format!("\n  sampleLimit: {limit}\n")));

    let targets = files.path().join("targets");
    fs::create_dir(&targets).unwrap();
    write_targets(&targets, "full", &[format!("\"127.0.0.1:{PORT}\"")]);
    let prometheus = Prometheus::start(&ours, &scraping(&targets, "10s"));
    prometheus.wait_value("up", 1.0);
    let scraped = wait_for("all samples", || {
        prometheus.query("scrape_samples_post_metric_relabeling").filter(|scraped| *scraped > f64::from(each))
    });
    println!("{scraped} samples, {} bytes", exporter.get("/metrics").unwrap().body.len());
}
