//! A real browser in a namespace: headless Chromium, driven by chromedriver over WebDriver.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use super::{Namespace, Program, http, text, wait_until};

const PORT: u16 = 9515;

/// What it runs with, from the Python registry, in versions that are known to work.
const TOOLS: [&str; 2] = ["schemathesis==4.32.5", "axe-core-python==0.1.0"];

/// Whether tests run that take a browser or tools from a registry; says so when they do not.
pub(crate) fn full() -> bool {
    let full = super::root() && std::env::var_os("MACWATCH_FULL").is_some();
    if !full {
        println!("skipped: takes a browser or tools from a registry; tests/run --full has them");
    }
    full
}

/// The folder of a Python environment that has the tools; made where build results are, once.
pub(crate) fn tools() -> PathBuf {
    static MADE: OnceLock<Mutex<()>> = OnceLock::new();
    let _one_at_a_time = MADE.get_or_init(Mutex::default).lock().unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("web-tools");
    let complete = folder.join("complete");
    if std::fs::read_to_string(&complete).is_ok_and(|made| made == TOOLS.join(" ")) {
        return folder;
    }
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", text(&output));
    };
    run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&folder));
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(TOOLS));
    std::fs::write(&complete, TOOLS.join(" ")).unwrap();
    folder
}

/// A browser with one tab; closed when dropped.
pub(crate) struct Browser<'n> {
    namespace: &'n Namespace,
    session: String,
    _profile: tempfile::TempDir,
    _driver: Program,
}

impl<'n> Browser<'n> {
    /// Starts one.
    #[track_caller]
    pub(crate) fn start(namespace: &'n Namespace) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut command = namespace.command("chromedriver");
        // Both keep files at home.
        command.arg(format!("--port={PORT}")).env("HOME", profile.path()).stdin(Stdio::null());
        let driver = Program::spawn(&mut command);
        let ready = || http::connect(namespace, PORT).is_ok();
        wait_until("chromedriver, which tests/run --full installs", ready);
        // As root it has no sandbox, and it sees our pages alone.
        let data = format!("--user-data-dir={}", profile.path().join("data").display());
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", data.as_str()];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let mut browser = Self { namespace, session: String::new(), _profile: profile, _driver: driver };
        let session = browser.send("POST", "/session", Some(&wanted));
        browser.session = format!("/session/{}", session["sessionId"].as_str().unwrap());
        // It begins with a page of its own, which has things to say.
        browser.open("about:blank");
        drop((browser.console(), browser.asked()));
        browser
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = http::connect(self.namespace, PORT).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let answer = http::read_one(&stream, method);
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status, 200, "{path}: {value}");
        value["value"].clone()
    }

    #[track_caller]
    fn command(&self, path: &str, body: &Value) -> Value {
        self.send("POST", &format!("{}{path}", self.session), Some(body))
    }

    /// Opens an address, and waits until it is loaded.
    #[track_caller]
    pub(crate) fn open(&self, address: &str) {
        self.command("/url", &json!({"url": address}));
    }

    /// Runs a script in the page; what it returns.
    #[track_caller]
    pub(crate) fn run(&self, script: &str) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The same with a script that calls its last argument when it is done.
    #[track_caller]
    pub(crate) fn run_until_done(&self, script: &str) -> Value {
        self.command("/execute/async", &json!({"script": script, "args": []}))
    }

    /// Types into the element that this selector finds.
    #[track_caller]
    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        let found = self.command("/element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command(&format!("/element/{id}/value"), &json!({"text": text}));
    }

    /// Clicks at the element that this selector finds.
    #[track_caller]
    pub(crate) fn click(&self, selector: &str) {
        let found = self.command("/element", &json!({"using": "css selector", "value": selector}));
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned();
        self.command(&format!("/element/{id}/click"), &json!({}));
    }

    /// Sets the width of the window and the scheme of colours.
    #[track_caller]
    pub(crate) fn look(&self, width: u32, scheme: &str) {
        let metrics = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        for (cmd, params) in
            [("Emulation.setDeviceMetricsOverride", metrics), ("Emulation.setEmulatedMedia", features)]
        {
            self.command("/goog/cdp/execute", &json!({"cmd": cmd, "params": params}));
        }
    }

    /// What the page has written to the console since the last call, errors of the browser included.
    #[track_caller]
    pub(crate) fn console(&self) -> Vec<String> {
        let lines = self.command("/se/log", &json!({"type": "browser"}));
        lines.as_array().unwrap().iter().map(|line| line["message"].to_string()).collect()
    }

    /// The addresses that it has asked for since the last call.
    #[track_caller]
    pub(crate) fn asked(&self) -> Vec<String> {
        let events = self.command("/se/log", &json!({"type": "performance"}));
        let address = |event: &Value| {
            let event: Value = serde_json::from_str(event["message"].as_str()?).ok()?;
            let message = &event["message"];
            let asked = message["method"] == "Network.requestWillBeSent";
            asked.then(|| message["params"]["request"]["url"].as_str().map(str::to_owned))?
        };
        events.as_array().unwrap().iter().filter_map(address).collect()
    }

    /// Waits until a script returns this.
    #[track_caller]
    pub(crate) fn wait(&self, script: &str, expected: &Value) {
        let mut seen = Value::Null;
        let begun = std::time::Instant::now();
        while begun.elapsed() < super::DEADLINE {
            seen = self.run(script);
            if seen == *expected {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
        panic!("{script} is {seen}, not {expected}");
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Its processes end with the session; what else could be done while a test ends?
        if let Ok(mut stream) = http::connect(self.namespace, PORT) {
            drop(write!(stream, "DELETE {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.session));
            drop(stream.read(&mut [0; 64]));
        }
    }
}
