//! What macwatch makes of one address.

use super::line;
use super::state::Checked;
use crate::address::AddressType;
use crate::interface::{Interface, shown};
use crate::inventory::{Entry, Inventory};
use crate::mac::Mac;
use crate::vendor::Vendors;

/// Without an inventory nobody is known or unknown. `own` are the interfaces of this machine, whose addresses are
/// known too, or why they cannot be listed.
pub(super) fn write(
    text: &mut String,
    mac: Mac,
    inventory: Option<&Inventory>,
    own: Result<&[Interface], String>,
    state: Option<&Checked>,
) {
    line(text, "address", mac);
    let entry = inventory.and_then(|inventory| inventory.find(mac));
    let interface = own.as_ref().ok().and_then(|all| all.iter().find(|one| one.is_own(mac)));
    if inventory.is_some() {
        line(text, "known", if entry.is_some() || interface.is_some() { "yes" } else { "no" });
        match entry {
            Some(entry) => {
                line(text, "name", &entry.name);
                line(text, "pattern", entry.pattern());
                line(text, "line", &entry.place);
            }
            None => line(text, "line", "none"),
        }
    } else {
        line(text, "known", "not to be told: no inventory was given; --inventory.file FILE names one");
    }
    match (interface, own) {
        (Some(interface), _) => {
            line(text, "own", format_args!("address of {} on this machine", shown(&interface.name)));
        }
        (None, Ok(_)) => {}
        (None, Err(why)) => line(text, "own", format_args!("not to be told: {why}")),
    }
    // As in the labels of macwatch_source_info.
    line(text, "address type", AddressType::of(mac).as_str());
    line(text, "vendor", Vendors::embedded().find(mac).unwrap_or("none"));
    if inventory.is_some() {
        let reserved = interface.is_some() || entry.is_some_and(Entry::is_exact);
        line(text, "room", if reserved { "reserved" } else { "ordinary" });
    }
    if let Some(state) = state {
        state.explain(text, mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::fixture::ethernet;
    use crate::mac;

    const LOCAL: &str = "address type: local\nvendor: none\n";

    fn explain(mac: Mac, inventory: &Inventory, own: Result<&[Interface], String>) -> String {
        let mut text = String::new();
        write(&mut text, mac, Some(inventory), own, None);
        text
    }

    fn inventory(text: &str) -> (tempfile::NamedTempFile, Inventory) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let inventory = Inventory::load(&[file.path().to_owned()]).unwrap();
        (file, inventory)
    }

    #[test]
    fn explains_what_there_is_without_an_inventory() {
        let eth0 = [ethernet(2, "eth0")];
        let mut text = String::new();
        write(&mut text, mac::parse("02:00:00:00:00:01").unwrap(), None, Ok(&eth0), None);
        let known = "known: not to be told: no inventory was given; --inventory.file FILE names one";
        let own = "own: address of eth0 on this machine";
        assert_eq!(text, format!("address: 02:00:00:00:00:01\n{known}\n{own}\n{LOCAL}"));
    }

    #[test]
    fn explains_an_address_by_its_line() {
        let (file, inventory) = inventory("# ours\n02:42:ac:11:00:02 the web\n02:42:* container\n");
        let eth0 = [ethernet(2, "eth0")];
        let place = file.path().display();
        for (address, expected) in [
            (
                "0242.ac11.0002",
                format!(
                    "address: 02:42:ac:11:00:02\nknown: yes\nname: the web\npattern: 02:42:ac:11:00:02\n\
                     line: {place}:2\n{LOCAL}room: reserved\n"
                ),
            ),
            (
                "02:42:00:00:00:09",
                format!(
                    "address: 02:42:00:00:00:09\nknown: yes\nname: container\npattern: 02:42:00:00:00:00/16\n\
                     line: {place}:3\n{LOCAL}room: ordinary\n"
                ),
            ),
            (
                "02:00:00:00:00:09",
                format!("address: 02:00:00:00:00:09\nknown: no\nline: none\n{LOCAL}room: ordinary\n"),
            ),
            (
                "02:00:00:00:00:01",
                format!(
                    "address: 02:00:00:00:00:01\nknown: yes\nline: none\nown: address of eth0 on this machine\n\
                     {LOCAL}room: reserved\n"
                ),
            ),
        ] {
            assert_eq!(explain(mac::parse(address).unwrap(), &inventory, Ok(&eth0)), expected);
        }
        let blind =
            explain(mac::parse("02:00:00:00:00:09").unwrap(), &inventory, Err("no netlink".to_owned()));
        assert!(blind.contains("known: no\nline: none\nown: not to be told: no netlink\n"), "{blind}");
        let vendor = explain(mac::parse("b8:27:eb:00:00:01").unwrap(), &inventory, Ok(&[]));
        assert!(vendor.contains("address type: universal\nvendor: Raspberry Pi"), "{vendor}");
    }
}
