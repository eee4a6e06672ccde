//! Whether what is sent on an interface leaves the machine: the network card under it, if there is one.
//!
//! sysfs knows what netlink does not tell: an interface with a `device` belongs to hardware (or to what a virtual
//! machine takes for hardware), and `lower_*` are the interfaces that it is made of: the ports of a bridge or
//! bond, the parent of a VLAN or macvlan. A parent in another network namespace is not to be seen from here, nor
//! is what the far end of a veth is plugged into.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use super::Interface;

/// The card under an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Card {
    /// None: it is virtual, and so is all that it is made of.
    None,
    /// This one; the interface itself or one below it.
    Named(String),
    /// sysfs does not say: it is not mounted, or shows another network namespace.
    Untold,
}

/// The card under an interface, as sysfs has it.
pub fn card(interface: &Interface) -> Card {
    card_in(Path::new("/sys/class/net"), interface)
}

fn card_in(sysfs: &Path, interface: &Interface) -> Card {
    // Another namespace may have an interface of the same name.
    let index = fs::read_to_string(sysfs.join(&interface.name).join("ifindex"));
    if index.is_ok_and(|index| index.trim() == interface.index.to_string()) {
        below(sysfs, &interface.name, &mut HashSet::new()).unwrap_or(Card::Untold)
    } else {
        Card::Untold
    }
}

/// The first card from this interface down. Changes while it is read may lead in a circle: none is read twice.
fn below(sysfs: &Path, name: &str, seen: &mut HashSet<String>) -> io::Result<Card> {
    if !seen.insert(name.to_owned()) {
        return Ok(Card::None);
    }
    let folder = sysfs.join(name);
    if fs::symlink_metadata(folder.join("device")).is_ok() {
        return Ok(Card::Named(name.to_owned()));
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        if let Some(lower) = entry.to_str().and_then(|entry| entry.strip_prefix("lower_")) {
            let found = below(sysfs, lower, seen)?;
            if found != Card::None {
                return Ok(found);
            }
        }
    }
    Ok(Card::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::fixture::ethernet;

    /// A sysfs of these interfaces: index, name, what each has.
    fn sysfs(interfaces: &[(u32, &str, &[&str])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (index, name, parts) in interfaces {
            let interface = folder.path().join(name);
            fs::create_dir(&interface).unwrap();
            fs::write(interface.join("ifindex"), format!("{index}\n")).unwrap();
            for part in *parts {
                std::os::unix::fs::symlink("elsewhere", interface.join(part)).unwrap();
            }
        }
        folder
    }

    #[test]
    fn finds_the_card_under_an_interface() {
        let folder = sysfs(&[
            (2, "eth0", &["device", "upper_bond0"]),
            (3, "bond0", &["lower_eth0", "upper_vlan"]),
            (4, "vlan", &["lower_bond0"]),
            (5, "veth0", &["upper_br0"]),
            (6, "br0", &["lower_veth0"]),
            (7, "br1", &["lower_veth0", "lower_vlan"]),
            (8, "torn", &["lower_gone"]),
            (9, "ring", &["lower_ring"]),
        ]);
        let eth0 = || Card::Named("eth0".to_owned());
        for (index, name, expected) in [
            (2, "eth0", eth0()),
            (3, "bond0", eth0()),
            (4, "vlan", eth0()),
            (5, "veth0", Card::None),
            (6, "br0", Card::None),
            (7, "br1", eth0()),
            (8, "torn", Card::Untold),
            (9, "ring", Card::None),
            (1, "eth0", Card::Untold),
            (2, "absent", Card::Untold),
        ] {
            assert_eq!(card_in(folder.path(), &ethernet(index, name)), expected, "{name} {index}");
        }
    }
}
