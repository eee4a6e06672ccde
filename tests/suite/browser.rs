//! The page in a real browser, and the API against a tool that tries what its description allows.
//!
//! These take Chromium and packages of the Python registry: they run with `tests/run --full`.

use std::time::Instant;

use serde_json::json;

use crate::common::browser::{Browser, full, tools};
use crate::common::crowd::crowd_of;
use crate::common::frames::{frame, send, source, text};
use crate::common::{Exporter, Namespace, text as said, veth, wait_until};

const PAGE: &str = "http://localhost:10148/";
const ROWS: &str = "return document.querySelectorAll('#live-sources tbody tr').length";

/// Three sources, one of them known under a name that would be markup if it were let.
fn exporter<'n>(
    ours: &'n Namespace,
    theirs: &Namespace,
    inventory: &tempfile::NamedTempFile,
) -> Exporter<'n> {
    veth(ours, "mw0", theirs, "peer0");
    let name = "<img src=x onerror=alert(1)> & \"co\"";
    std::fs::write(inventory.path(), format!("{} {name}\n", text(source(1)))).unwrap();
    let exporter = Exporter::start(ours, &format!("-i mw0 --inventory.file {}", inventory.path().display()));
    exporter.wait_up("mw0");
    send(theirs, "peer0", &[1, 2, 3].map(|n| frame(source(n), 60)));
    exporter.wait_frames("mw0", 3.0);
    exporter
}

#[test]
fn it_stays_fresh_and_keeps_what_the_reader_does() {
    if !full() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let inventory = tempfile::NamedTempFile::new().unwrap();
    let mut exporter = exporter(&ours, &theirs, &inventory);
    let browser = Browser::start(&ours);
    browser.open(PAGE);
    assert_eq!(browser.run(ROWS), 3);
    // Whatever happens from now on, it is the same document.
    browser.run("window.same = true; document.querySelector('details').open = true");

    // A newcomer, without anybody touching anything.
    send(&theirs, "peer0", &[frame(source(4), 60)]);
    browser.wait(ROWS, &json!(4));
    let first = "return document.querySelector('#live-sources tbody code').textContent";
    assert_eq!(browser.run(first), text(source(4)), "the newest unknown one comes first");
    let title = browser.run("return document.title");
    assert!(title.as_str().unwrap().starts_with("(3 unknown) macwatch on "), "{title}");
    let kept = "return document.querySelectorAll('details[open]').length + ' ' + window.same";
    assert_eq!(browser.run(kept), "1 true");

    // Filters work while one types, and the focus stays.
    browser.type_into("#q", "ONERROR");
    browser.wait(ROWS, &json!(1));
    let state = "return location.search + ' ' + document.activeElement.id + ' ' + window.same";
    assert_eq!(browser.run(state), "?q=ONERROR q true");
    assert_eq!(browser.run("return document.querySelectorAll('img').length"), 0);
    // The address leads to the same again.
    browser.run("location.reload()");
    browser.wait("return window.same === undefined && document.readyState", &json!("complete"));
    assert_eq!(browser.run(ROWS), 1);

    // The line to copy.
    browser.open(&format!("{PAGE}?q={}", text(source(2))));
    browser.click("summary");
    browser.click("button.copy");
    browser.wait("return document.querySelector('button.copy').textContent !== 'Copy'", &json!(true));

    // Nobody looks: nothing is asked for. Then somebody does, and it is asked for at once.
    browser.run(
        "window.times = 0; const real = fetch; window.fetch = (...all) => { times++; return real(...all); };
         const hide = (hidden) => {
           Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
           document.dispatchEvent(new Event('visibilitychange'));
         };
         window.hide = hide; hide(true); window.before = times; window.since = performance.now()",
    );
    browser.wait("return performance.now() > since + 7000", &json!(true));
    assert_eq!(browser.run("return times - before"), 0);
    browser.run("hide(false)");
    browser.wait("return times > before", &json!(true));

    assert_eq!(browser.console(), Vec::<String>::new());
    let elsewhere = |address: &String| !address.starts_with(PAGE) && !address.starts_with("data:");
    let asked = browser.asked();
    assert!(asked.len() > 5, "{asked:?}");
    assert_eq!(asked.into_iter().filter(elsewhere).collect::<Vec<_>>(), Vec::<String>::new());

    // It tells when it has become old.
    exporter.signal(rustix::process::Signal::TERM);
    exporter.wait();
    let stale = "return document.querySelector('.fresh.stale') !== null && document.getElementById('age').textContent.startsWith('no answer; as of ')";
    browser.wait(stale, &json!(true));
}

#[test]
fn everybody_can_use_it() {
    if !full() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let inventory = tempfile::NamedTempFile::new().unwrap();
    let _exporter = exporter(&ours, &theirs, &inventory);
    let output = std::process::Command::new("find")
        .arg(tools())
        .args(["-name", "axe.min.js", "-path", "*/axe_core_python/*"])
        .output()
        .unwrap();
    let path = String::from_utf8(output.stdout).unwrap();
    let axe = std::fs::read_to_string(path.trim()).unwrap();
    let browser = Browser::start(&ours);
    for (width, scheme, query) in [
        (1280, "light", ""),
        (1280, "dark", "?sort=-frames"),
        (400, "light", ""),
        (400, "dark", "?known=false"),
        (800, "light", "?limit=1"),
        (1280, "light", "?limit=none"),
        (1280, "dark", "?q=nobody"),
    ] {
        browser.look(width, scheme);
        browser.open(&format!("{PAGE}{query}"));
        browser.run("document.querySelectorAll('details').forEach((one) => (one.open = true))");
        browser.run(&axe);
        let faults = browser.run_until_done(
            "const done = arguments[0];
             axe.run().then((result) => done(result.violations.map((one) => [one.help, one.nodes[0].html])))",
        );
        assert_eq!(faults, json!([]), "{width} {scheme} {query}");
        let wide =
            browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(wide, 0, "nothing sticks out: {width} {query}");
    }
}

#[test]
fn many_sources_do_not_slow_it_down() {
    const MANY: u32 = 20_000;
    if !full() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let exporter = crowd_of(MANY, &ours, &theirs, "--sources.max-total 30000");
    let browser = Browser::start(&ours);
    let begun = Instant::now();
    browser.open(PAGE);
    assert_eq!(browser.run(ROWS), 100);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert!(exporter.get("/").unwrap().text().contains("1–100 of 20,000 sources"));
    browser.click("a[rel=last]");
    let last = "return document.querySelector('.pager p').textContent";
    browser.wait(last, &json!("19,901–20,000 of 20,000 sources"));
    browser.type_into("#q", &text(source(MANY - 1)));
    browser.wait(ROWS, &json!(1));
}

/// Whatever its description allows is tried, and much of what it does not allow.
#[test]
fn the_api_keeps_what_its_description_promises() {
    if !full() {
        return;
    }
    let (ours, theirs) = (Namespace::new(), Namespace::new());
    let inventory = tempfile::NamedTempFile::new().unwrap();
    let exporter = exporter(&ours, &theirs, &inventory);
    let folder = tempfile::tempdir().unwrap();
    let mut schemathesis = ours.command(tools().join("bin/schemathesis"));
    schemathesis.args(["run", "http://localhost:10148/api/v1/openapi.json"]).current_dir(folder.path());
    schemathesis.args(["--checks", "all", "--max-examples", "200"]);
    // It takes `false` for something else than the text that it is; what is refused, other tests know.
    let output = schemathesis.args(["--exclude-checks", "negative_data_rejection"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    wait_until("it to be idle", || exporter.scrape().value("macwatch_http_requests_in_flight") == 1.0);
}
