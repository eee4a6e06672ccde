//! What the tests share: network namespaces of their own, real frames, the real binary.
//!
//! Nothing here sleeps for a time: it waits for a condition, with a deadline.

pub(crate) mod alertmanager;
pub(crate) mod browser;
pub(crate) mod crowd;
pub(crate) mod engine;
pub(crate) mod exporter;
pub(crate) mod frames;
pub(crate) mod http;
pub(crate) mod inject;
pub(crate) mod namespace;
pub(crate) mod pki;
pub(crate) mod program;
pub(crate) mod prometheus;
pub(crate) mod secure;
pub(crate) mod state;

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use engine::Engine;
pub(crate) use exporter::Exporter;
pub(crate) use namespace::{Namespace, bridge, veth, wire};
pub(crate) use program::Program;
pub(crate) use prometheus::Prometheus;

/// How long a condition may take to come true on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Refuses the system call that it is given, with the error that it is given, and becomes its arguments.
pub(crate) const REFUSE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/refuse.py");

/// Waits until the condition holds; panics with `what` when it does not within the deadline.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || condition().then_some(()));
}

/// Waits until there is a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for: {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Whether this test can run; says so when it cannot. Namespaces take root.
pub(crate) fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let name = thread::current().name().unwrap_or_default().to_owned();
        println!("{name}: skipped: makes network namespaces, which takes root");
    }
    root
}

/// A command that has little of the environment of the tests. The rest is of the machine: a proxy that nobody reaches from
/// a namespace, options of ours, a language that is not installed, what a service manager tells of another service.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    const KEPT: [&str; 5] = ["PATH", "HOME", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];
    let mut command = Command::new(program);
    command.env_clear().envs(env::vars_os().filter(|(name, _)| KEPT.iter().any(|kept| name == kept)));
    command
}

/// The output of a command as text, and whether it succeeded.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
