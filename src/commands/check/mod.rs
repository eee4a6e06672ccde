//! `macwatch check`: what is wrong with an inventory, or what it says of one address.
//!
//! Faults are the result, so they go to stdout.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::path::PathBuf;
use std::slice;

use super::{Failure, follow, list, written};
use crate::address::AddressType;
use crate::cli::CheckArgs;
use crate::config::Check;
use crate::interface::Interface;
use crate::inventory::{Entry, Fault, Inventory};
use crate::mac::Mac;
use crate::vendor::Vendors;

/// Most faults that are listed: a file with more is none that a person would mend line by line.
const MOST_FAULTS: usize = 10_000;

pub(super) async fn run(args: &CheckArgs) -> Result<(), Failure> {
    let check = Check::try_from(args)?;
    let inventory = match Inventory::load_telling(&check.inventories, MOST_FAULTS) {
        Ok(inventory) => inventory,
        Err(faults) => return report(&faults),
    };
    let text = match check.explain {
        Some(mac) => {
            let own = match follow() {
                Ok(mut follower) => list(&mut follower).await,
                Err(failure) => Err(failure),
            };
            explain(mac, &inventory, own.as_deref().map_err(ToString::to_string))
        }
        None => match summary(&check.inventories, &inventory) {
            Ok(text) => text,
            Err(faults) => return report(&faults),
        },
    };
    written(io::stdout().lock().write_all(text.as_bytes()))
}

fn report(faults: &[Fault]) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    written(faults.iter().try_for_each(|fault| writeln!(out, "{fault}")).and_then(|()| out.flush()))?;
    Err(Failure::Cannot("the inventory has faults; the exporter would not start with it".to_owned()))
}

/// A line for each file, and one for all of them if they are several.
fn summary(files: &[PathBuf], whole: &Inventory) -> Result<String, Vec<Fault>> {
    let mut text = String::new();
    for file in files {
        let one = Inventory::load(slice::from_ref(file))?;
        line(&mut text, file.display(), counts(&one));
    }
    if files.len() > 1 {
        line(&mut text, "together", counts(whole));
    }
    Ok(text)
}

fn counts(inventory: &Inventory) -> String {
    let entries = inventory.len();
    let exact = inventory.exact().count();
    let plural = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    format!(
        "{}: {}, {}",
        plural(entries, "entry", "entries"),
        plural(exact, "address", "addresses"),
        plural(entries - exact, "prefix", "prefixes")
    )
}

/// What macwatch makes of an address. `own` are the interfaces of this machine, whose addresses are known too, or
/// why they cannot be listed.
fn explain(mac: Mac, inventory: &Inventory, own: Result<&[Interface], String>) -> String {
    let mut text = String::new();
    line(&mut text, "address", mac);
    let entry = inventory.find(mac);
    let interface = own.as_ref().ok().and_then(|all| all.iter().find(|one| one.is_own(mac)));
    line(&mut text, "known", if entry.is_some() || interface.is_some() { "yes" } else { "no" });
    match entry {
        Some(entry) => {
            line(&mut text, "name", &entry.name);
            line(&mut text, "pattern", entry.pattern());
            line(&mut text, "line", &entry.place);
        }
        None => line(&mut text, "line", "none"),
    }
    match (interface, own) {
        (Some(interface), _) => {
            line(&mut text, "own", format_args!("address of {} on this machine", interface.name));
        }
        (None, Ok(_)) => {}
        (None, Err(why)) => line(&mut text, "own", format_args!("not to be told: {why}")),
    }
    // As in the labels of macwatch_source_info.
    line(&mut text, "address type", AddressType::of(mac).as_str());
    line(&mut text, "vendor", Vendors::embedded().find(mac).unwrap_or("none"));
    let reserved = interface.is_some() || entry.is_some_and(Entry::is_exact);
    line(&mut text, "room", if reserved { "reserved" } else { "ordinary" });
    text
}

fn line(text: &mut String, key: impl fmt::Display, value: impl fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{key}: {value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::fixture::ethernet;
    use crate::mac;

    const LOCAL: &str = "address type: local\nvendor: none\n";

    fn inventory(text: &str) -> (tempfile::NamedTempFile, Inventory) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let inventory = Inventory::load(&[file.path().to_owned()]).unwrap();
        (file, inventory)
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

    #[test]
    fn counts_in_words() {
        let (_file, one) = inventory("02:42:ac:11:00:02 web\n");
        assert_eq!(counts(&one), "1 entry: 1 address, 0 prefixes");
        let (_file, more) = inventory("02:42:ac:11:00:02 web\n02:42:* c\n02:43:ac:11:00:02 x\n");
        assert_eq!(counts(&more), "3 entries: 2 addresses, 1 prefix");
        assert_eq!(counts(&Inventory::default()), "0 entries: 0 addresses, 0 prefixes");
        assert!(summary(&[PathBuf::from("/nowhere")], &one).is_err());
    }
}
