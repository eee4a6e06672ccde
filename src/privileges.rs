//! What this process may do: keeping the little that is needed, and saying what is missing.

use std::io;

pub use rustix::thread::CapabilitySet;
use rustix::thread::{
    CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// What opening a packet socket takes, now and whenever another interface appears.
pub const NEEDED: CapabilitySet = CapabilitySet::NET_RAW;

/// What writing a file into a folder of somebody else takes, and leaving it to its owner: root by sudo does that.
pub const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER);

/// Gives up every capability but those that are needed for good, and the way back to any.
///
/// Capabilities belong to threads: call it before there is a second one.
///
/// # Errors
///
/// That of capset(2) or prctl(2).
pub fn drop_all_but(needed: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let now = capabilities(None)?;
    // The bounding set limits what a program that is executed could get. We execute none; where we may
    // (CAP_SETPCAP) it is emptied all the same, for whoever looks at /proc.
    if now.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all().iter().filter(|one| !needed.contains(*one)) {
            // EINVAL: the kernel does not know this one.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    // EINVAL before Linux 4.3, which has no ambient set.
    let _ = clear_ambient_capability_set();
    let kept = now.permitted & needed;
    set_capabilities(
        None,
        CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() },
    )?;
    Ok(())
}

/// Why a packet socket was refused, and what helps, in one line.
pub fn explain(error: &io::Error) -> String {
    let what = "cannot open a packet socket";
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            let held = capabilities(None).is_ok_and(|sets| sets.effective.contains(NEEDED));
            if held {
                format!(
                    "{what}: refused although CAP_NET_RAW is there: a seccomp filter, a security module or a \
                     user namespace that does not own this network namespace; allow socket(AF_PACKET) \
                     (systemd: RestrictAddressFamilies=AF_PACKET; Docker: its default seccomp profile allows it)"
                )
            } else {
                let program = std::env::current_exe()
                    .map_or_else(|_| "macwatch".to_owned(), |path| path.display().to_string());
                format!(
                    "{what}: CAP_NET_RAW is missing. Run as root, or give it: binary: sudo setcap cap_net_raw+ep \
                     {program}; systemd: AmbientCapabilities=CAP_NET_RAW; Docker: --cap-add NET_RAW --network \
                     host; Kubernetes: securityContext.capabilities.add: [NET_RAW] with hostNetwork: true and \
                     runAsUser: 0. The kernel engine takes CAP_BPF beside it"
                )
            }
        }
        Some(libc::EAFNOSUPPORT) => format!(
            "{what}: the kernel or a sandbox has no packet sockets; load the module af_packet, or allow \
             AF_PACKET (systemd: RestrictAddressFamilies)"
        ),
        Some(libc::ENOPROTOOPT) => {
            format!("{what}: {error}; --capture.direction in needs Linux 4.20 or newer")
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            format!("{what}: {error}; raise the limit on open files (ulimit -n)")
        }
        _ => format!("{what}: {error}"),
    }
}
