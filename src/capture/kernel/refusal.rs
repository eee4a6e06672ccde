//! Why the kernel engine is not to be had here, and what would help.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::thread::{CapabilitySet, capabilities};

/// The first Linux that has all that the program needs: bpf_ktime_get_coarse_ns().
const OLDEST: (u32, u32) = (5, 11);

/// Why the kernel engine cannot be used. Displays as one line, without the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    why: String,
    remedy: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why, self.remedy)
    }
}

/// What this process and kernel are like, as far as it explains a refusal.
#[derive(Clone, Debug)]
struct Circumstances {
    has_capability: bool,
    /// `uname -r`
    release: String,
}

impl Circumstances {
    fn look() -> Self {
        let held = capabilities(None).map(|sets| sets.effective).unwrap_or_else(|_| CapabilitySet::empty());
        Self {
            has_capability: held.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
        }
    }
}

impl Refusal {
    /// What became of loading the program or mapping its memory.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        Self::explain(error, &Circumstances::look())
    }

    /// What became of putting the program on a socket.
    pub(super) fn of_attaching(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOMEM) => Self {
                why: "a socket has no room for its program".to_owned(),
                remedy: "raise it: sysctl net.core.optmem_max=131072",
            },
            _ => Self::of(error),
        }
    }

    /// A machine that the program was not written for.
    pub(super) fn unfit(why: &str) -> Self {
        Self { why: why.to_owned(), remedy: "the channel engine counts the same" }
    }

    fn explain(error: &(dyn Error + 'static), circumstances: &Circumstances) -> Self {
        let Circumstances { has_capability, release } = circumstances;
        let code = code(error);
        let (why, remedy) = if version(release).is_some_and(|version| version < OLDEST) {
            (format!("Linux {release} is too old for it"), "it needs Linux 5.11 or newer")
        } else {
            match code {
                Some(libc::EPERM) if !has_capability => (
                    "CAP_BPF is missing".to_owned(),
                    "give it, next to CAP_NET_RAW: binary: setcap cap_net_raw,cap_bpf+ep; systemd: \
                     AmbientCapabilities=CAP_NET_RAW CAP_BPF; Docker: --cap-add BPF; Kubernetes: \
                     capabilities.add: [NET_RAW, BPF]",
                ),
                Some(libc::EPERM) => (
                    "bpf(2) is refused although CAP_BPF is there".to_owned(),
                    "a seccomp filter, a security module or a user namespace forbids it (systemd: \
                     SystemCallFilter=bpf; Docker: its default seccomp profile allows bpf with CAP_BPF, an own one \
                     must too)",
                ),
                Some(libc::ENOSYS) => (
                    "this kernel or a sandbox has no bpf(2)".to_owned(),
                    "a kernel with CONFIG_BPF_SYSCALL, or a seccomp filter that lets bpf through, has it",
                ),
                Some(libc::ENOMEM) => (
                    "there is no memory for its tables".to_owned(),
                    "raise the cgroup's memory limit (systemd: MemoryMax), or lower --sources.max-total",
                ),
                Some(libc::E2BIG) => {
                    ("its tables would be too large".to_owned(), "lower --sources.max-total")
                }
                Some(libc::EMFILE | libc::ENFILE) => (
                    "too few descriptors are left for its tables".to_owned(),
                    "raise the limit on open files (ulimit -n)",
                ),
                _ => (
                    format!("the kernel (Linux {release}) refuses its program: {}", chain(error)),
                    "please report this line; the channel engine counts the same",
                ),
            }
        };
        Self { why, remedy }
    }
}

/// The number of the system's error that all began with.
pub(super) fn code(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut next = Some(error);
    let mut code = None;
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            code = error.raw_os_error().or(code);
        }
        next = error.source();
    }
    code
}

/// What the error and all that caused it say, on one line that is not too long: a verifier tells a lot.
fn chain(error: &(dyn Error + 'static)) -> String {
    const LONGEST: usize = 400;
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = error.source();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= LONGEST {
        return line;
    }
    // What it failed on stands at the end.
    let tail: String = line.chars().skip(line.chars().count() - LONGEST).collect();
    format!("… {tail}")
}

/// Major and minor number of the kernel that runs.
pub(super) fn linux() -> Option<(u32, u32)> {
    version(&rustix::system::uname().release().to_string_lossy())
}

/// Major and minor number of a release: `6.1.0-28-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|other: char| !other.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_remedy() {
        let system = |code| io::Error::from_raw_os_error(code);
        for (code, has_capability, release, expected) in [
            (libc::EPERM, false, "6.1.0-28-amd64", "CAP_BPF is missing; give it"),
            (libc::EPERM, true, "6.1.0-28-amd64", "although CAP_BPF is there; a seccomp filter"),
            (
                libc::EPERM,
                false,
                "5.10.0-33-amd64",
                "Linux 5.10.0-33-amd64 is too old for it; it needs Linux 5.11",
            ),
            (libc::EINVAL, true, "4.19.0", "too old"),
            (libc::ENOSYS, true, "6.1.0", "no bpf(2)"),
            (libc::ENOMEM, true, "6.1.0", "no memory"),
            (libc::E2BIG, true, "6.1.0", "too large; lower --sources.max-total"),
            (libc::EMFILE, true, "6.1.0", "ulimit"),
            (libc::EINVAL, true, "6.1.0", "refuses its program: Invalid argument"),
            (libc::EINVAL, true, "strange", "refuses its program"),
        ] {
            let circumstances = Circumstances { has_capability, release: release.to_owned() };
            let line = Refusal::explain(&system(code), &circumstances).to_string();
            assert!(line.contains(expected), "{line}");
            assert!(!line.contains('\n'));
        }
    }

    #[test]
    fn a_verifiers_novel_becomes_a_line() {
        let novel = io::Error::other(format!("{}\nR1 type=scalar expected=ctx\n", "insn\n".repeat(10_000)));
        let circumstances = Circumstances { has_capability: true, release: "6.1.0".to_owned() };
        let line = Refusal::explain(&novel, &circumstances).to_string();
        assert!(line.len() < 700 && line.contains("R1 type=scalar expected=ctx"), "{line}");
    }
}
