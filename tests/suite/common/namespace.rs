//! Network namespaces that a test makes and removes itself.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::exporter::BINARY;
use super::{Engine, engine, root, text, wait_until};

/// A network namespace with its loopback up; gone when dropped, with all that is in it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one under a name that nobody else has.
    pub(crate) fn new() -> Self {
        static STALE: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        STALE.call_once(remove_stale);
        let name = format!("mwtest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Self { name };
        // Interfaces that come later, by whatever way, start without IPv6.
        silence(&namespace, "default");
        namespace.ip("link set lo up");
        namespace
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `ip` in this namespace; it must succeed. Arguments are separated by spaces.
    #[track_caller]
    pub(crate) fn ip(&self, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split_whitespace()));
    }

    /// Several `ip` commands, one a line, as quickly after each other as one process can.
    #[track_caller]
    pub(crate) fn ip_batch(&self, lines: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        run(Command::new("ip").args(["-n", &self.name, "-batch"]).arg(file.path()));
    }

    /// A command that will run in this namespace, with the engine under test. The process keeps the identity of the one spawned.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = super::command("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command.env(engine::VARIABLE, Engine::under_test().name());
        command
    }

    /// A command that becomes macwatch, allowed so many open files and no more.
    pub(crate) fn with_descriptors(&self, most: usize) -> Command {
        const LIMIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suite/descriptors.py");
        let mut command = self.command("python3");
        command.args([LIMIT, &most.to_string(), BINARY]);
        command
    }

    /// Runs a command line in this namespace; it must succeed. Arguments are separated by spaces.
    #[track_caller]
    pub(crate) fn run(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        run(self.command(words.next().unwrap()).args(words))
    }

    /// Does something on a thread in this namespace.
    pub(crate) fn inside<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))
                    .unwrap();
                job()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Index of an interface in this namespace.
    pub(crate) fn index(&self, interface: &str) -> u32 {
        self.inside(|| {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            rustix::net::netdevice::name_to_index(&socket, interface).unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What else could be done about it while a test ends?
        drop(Command::new("ip").args(["netns", "del", &self.name]).output());
    }
}

/// A veth pair between two namespaces (or within one), both ends up, without IPv6, which would talk.
pub(crate) fn veth(a: &Namespace, a_name: &str, b: &Namespace, b_name: &str) {
    a.ip(&format!("link add {a_name} type veth peer name {b_name} netns {}", b.name()));
    for (namespace, name) in [(a, a_name), (b, b_name)] {
        silence(namespace, name);
        namespace.ip(&format!("link set {name} up"));
    }
    wait_carrier(a, a_name);
    wait_carrier(b, b_name);
}

/// What most tests have: `mw0` in our namespace, and what is sent on `peer0` in theirs arrives there. None without root,
/// which is said.
pub(crate) fn wire() -> Option<(Namespace, Namespace)> {
    root().then(|| {
        let (ours, theirs) = (Namespace::new(), Namespace::new());
        veth(&ours, "mw0", &theirs, "peer0");
        (ours, theirs)
    })
}

/// A bridge that is up and says nothing of its own: snooping would announce itself by IGMP.
#[track_caller]
pub(crate) fn bridge(namespace: &Namespace, name: &str) {
    namespace.ip(&format!("link add {name} type bridge mcast_snooping 0"));
    namespace.ip(&format!("link set {name} up"));
}

/// Waits until frames can be sent. The kernel starts an interface's transmit queue some time after its carrier
/// is there (net/core/link_watch.c), and swallows what is sent before; whoever asks ethtool waits for it.
#[track_caller]
pub(crate) fn wait_carrier(namespace: &Namespace, interface: &str) {
    wait_until("a carrier", || namespace.run(&format!("ethtool {interface}")).contains("Link detected: yes"));
}

/// Keeps the kernel from sending frames of its own on an interface.
pub(crate) fn silence(namespace: &Namespace, interface: &str) {
    let path = format!("net/ipv6/conf/{interface}/disable_ipv6");
    // A kernel without IPv6 has nothing to silence.
    namespace.inside(|| drop(std::fs::write(Path::new("/proc/sys").join(path), "1")));
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = text(&output);
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

/// Namespaces of test runs that were killed before they could remove them.
fn remove_stale() {
    let Ok(folder) = std::fs::read_dir("/run/netns") else { return };
    // First: one that is made after a look at who runs would look as if its owner had gone.
    let names: Vec<String> = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let running: HashSet<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let own = std::process::id().to_string();
    for name in names {
        let owner = name.strip_prefix("mwtest-").and_then(|rest| rest.split('-').next());
        // None is ours yet; a run in a container may have had our number.
        if owner.is_some_and(|owner| owner == own || !running.contains(owner)) {
            drop(Command::new("ip").args(["netns", "del", &name]).output());
        }
    }
}
