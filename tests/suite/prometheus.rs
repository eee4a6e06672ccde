//! A real Prometheus scrapes the exporter and answers questions about what was sent.

use std::collections::BTreeMap;

use rustix::process::Signal;

use crate::common::exporter::{BINARY, Metrics, PORT};
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, Prometheus, http, root, veth, wait_for, wait_until, wire};

/// The configuration that scrapes these ports, each as a job of the name beside it.
fn config(targets: &[(&str, u16)]) -> String {
    let mut text = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n".to_owned();
    for (job, port) in targets {
        text += &format!("  - job_name: {job}\n    static_configs: [{{ targets: ['127.0.0.1:{port}'] }}]\n");
    }
    text
}

#[test]
fn a_prometheus_knows_who_sent_how_much() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0");
    exporter.wait_up("mw0");
    let prometheus = Prometheus::start(&ours, &config(&[("macwatch", PORT)]));
    prometheus.wait_value("up{job=\"macwatch\"}", 1.0);
    prometheus.wait_value("macwatch_interface_capture_up{interface=\"mw0\"}", 1.0);

    let frames = |n: u32, count: usize| vec![frame(source(n), 100); count];
    send(&theirs, "peer0", &[frames(1, 41), frames(2, 1)].concat());
    let series = |family: &str, n: u32| {
        format!("macwatch_source_{family}{{interface=\"mw0\",source_mac=\"{}\"}}", text(source(n)))
    };
    prometheus.wait_value(&series("frames_total", 1), 41.0);
    prometheus.wait_value(&series("frames_total", 2), 1.0);
    prometheus.wait_value(&series("bytes_total", 1), 4100.0);
    prometheus.wait_value("sum(macwatch_source_frames_total)", 42.0);
    // More of a series that it knows is an increase.
    send(&theirs, "peer0", &frames(1, 100));
    prometheus.wait_value(&series("frames_total", 1), 141.0);
    let increase = format!("increase({}[1m])", series("frames_total", 1));
    let increase = wait_for("an increase", || prometheus.query(&increase).filter(|value| *value > 0.0));
    assert!((99.9..3000.0).contains(&increase), "{increase}: extrapolated from a few seconds");

    let kinds = kinds(&prometheus, "macwatch");
    assert_eq!(kinds["macwatch_source_last_seen_timestamp_seconds"], "gauge");
    // Families without `_total`, and of a type that the text format has not: it took OpenMetrics.
    assert_eq!(kinds["macwatch_source_frames"], "counter");
    assert_eq!(kinds["macwatch_source_bytes"], "counter");
    assert_eq!(kinds["macwatch_source"], "info");
    assert!(!kinds.contains_key("macwatch_source_frames_total"));
}

/// The families of a job, by type, as Prometheus keeps them.
fn kinds(prometheus: &Prometheus<'_>, job: &str) -> BTreeMap<String, String> {
    let metadata = prometheus.api("targets/metadata", &[("match_target", &format!("{{job=\"{job}\"}}"))]);
    let text = |one: &serde_json::Value, key: &str| one[key].as_str().unwrap().to_owned();
    metadata.as_array().unwrap().iter().map(|one| (text(one, "metric"), text(one, "type"))).collect()
}

/// What the beginnings cost a Prometheus that does not make use of them: a series for each.
#[test]
fn a_prometheus_takes_beginnings_for_series_of_their_own() {
    let Some((ours, theirs)) = wire() else { return };
    let exporter = Exporter::start(&ours, "-i mw0 --web.openmetrics-created");
    exporter.wait_up("mw0");
    send(&theirs, "peer0", &[frame(source(1), 100)]);
    exporter.wait_frames("mw0", 1.0);
    let prometheus = Prometheus::start(&ours, &config(&[("macwatch", PORT)]));
    prometheus.wait_value("macwatch_source_frames_total", 1.0);
    prometheus
        .wait_value("macwatch_source_frames_created - macwatch_source_first_seen_timestamp_seconds", 0.0);
    prometheus.wait_value("up", 1.0);
}

/// What zero first is for, and what is lost without it.
#[test]
fn the_increase_of_a_new_source_is_what_it_sent() {
    if !root() {
        return;
    }
    const SENT: u8 = 100;
    let sent = f64::from(SENT);
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    veth(&ours, "mw0", &theirs, "peer0");
    let zero = Exporter::start(&ours, "-i mw0");
    let mut without = ours.command(BINARY);
    without.args(["-i", "mw0", "--web.no-zero-first", "--web.listen-address", ":10149"]);
    let _without = Exporter::spawn(&ours, without);
    zero.wait_up("mw0");
    let pages = || {
        [PORT, 10149].map(|port| {
            let page = http::request(&ours, port, "GET", "/metrics", "").ok()?;
            Some(Metrics::parse(&page.text()))
        })
    };
    let both = |what: &str, condition: &dyn Fn(&Metrics) -> bool| {
        wait_until(what, || pages().iter().all(|page| page.as_ref().is_some_and(condition)));
    };
    both("the captures", &|page| page.interface("capture_up", "mw0") == 1.0);
    let prometheus = Prometheus::start(&ours, &config(&[("zero", PORT), ("without", 10149)]));
    // Each has had pages, and so is known.
    wait_until("pages of both", || prometheus.query("min(sum_over_time(up[1m]))") >= Some(2.0));

    // On a busy machine Prometheus may have given up waiting for just the page that showed the source at 0: then the same
    // with another.
    let failed = || prometheus.query("sum(count_over_time(up[10m]) - sum_over_time(up[10m]))").unwrap();
    for n in 1..=10 {
        let before = failed();
        let mac = text(source(n));
        // All of it between two scrapes, so that the first that sees the source sees it all.
        prometheus.signal(Signal::STOP);
        both("scrapes to end", &|page| page.value("macwatch_http_requests_in_flight") == 1.0);
        send(&theirs, "peer0", &vec![frame(source(n), 100); usize::from(SENT)]);
        both("the frames", &|page| page.source("mw0", &mac).0 == sent);
        prometheus.signal(Signal::CONT);

        let found = [("zero", sent), ("without", 0.0)].map(|(job, shown)| {
            let of =
                |what: &str| format!("macwatch_source_{what}_total{{job=\"{job}\",source_mac=\"{mac}\"}}");
            let series = of("frames");
            wait_until("two values of the source, the last of them true", || {
                prometheus.query(&format!("count_over_time({series}[1m])")) >= Some(2.0)
                    && prometheus.query(&series) == Some(sent)
            });
            // At the time of a sample, as there Prometheus extrapolates nothing: towards the end there is no gap, and
            // towards the beginning it does not go below 0.
            let time = wait_for("a sample", || prometheus.query(&format!("timestamp({series})")));
            let at = |expression: String| prometheus.query_at(&expression, time).unwrap();
            let range = at(format!("max_over_time({series}[1m]) - min_over_time({series}[1m])"));
            let increases = ["frames", "bytes"].map(|what| at(format!("increase({}[1m])", of(what))));
            (job, shown, range, increases)
        });
        if failed() > before {
            println!("a scrape failed; once more");
            continue;
        }
        for (job, shown, range, [frames, bytes]) in found {
            assert_eq!(range, shown, "{job}");
            assert!((frames - shown).abs() < 1e-6, "{job}: {frames}");
            assert!((bytes - shown * 100.0).abs() < 1e-6, "{job}: {bytes}");
        }
        return;
    }
    panic!("a scrape failed each time");
}
