use proptest::prelude::*;

use super::*;
use crate::leases::{Lease, Leases};
use crate::mac;
use crate::state::Seen;

/// 2026-11-22 12:00:00 UTC.
const NOON: u64 = 1_795_348_800_000;

fn existing(text: &str) -> Existing {
    let inventory = Inventory::parse("ethers".as_ref(), text.as_bytes()).unwrap();
    Existing { text: text.as_bytes().to_vec(), inventory }
}

fn heard(addresses: &[&str]) -> Evidence {
    let mut evidence = Evidence::default();
    for (n, address) in (0..).zip(addresses) {
        let seen = Seen { first_unix_ms: NOON + n * 1000, last_unix_ms: NOON + n * 1000 };
        evidence.heard(&"eth0".into(), mac::parse(address).unwrap(), seen, Some(n + 1));
    }
    evidence
}

fn drafted(evidence: &Evidence, existing: &Existing) -> Draft {
    let heading = |count| vec![format!("{count} new")];
    draft(evidence, existing, &Vendors::embedded(), &TimeZone::UTC, heading)
}

#[test]
fn each_line_says_what_is_known() {
    let mut evidence = heard(&["b8:27:eb:4f:10:07", "02:00:00:00:00:01", "00:00:5e:00:01:07"]);
    let state = Seen { first_unix_ms: NOON - 86_400_000, last_unix_ms: NOON };
    for interface in ["eth1", "eth0"] {
        evidence.heard(&interface.into(), mac::parse("fc:ff:ff:00:00:09").unwrap(), state, None);
    }
    let lease = |mac, hostname: &str| Lease {
        mac: mac::parse(mac).unwrap(),
        ip: Some("192.168.1.20".parse().unwrap()),
        hostname: Some(hostname.to_owned()),
    };
    let list = vec![lease("b8:27:eb:4f:10:07", "Octo print"), lease("06:00:00:00:00:02", "*")];
    evidence.add_leases(&Leases { format: Format::Dnsmasq, list, expired: 0, without_mac: 0 });
    assert_eq!(
        drafted(&evidence, &Existing::default()).lines,
        [
            "# 5 new",
            "00:00:5e:00:01:07  virtual-router-000107  # ICANN, IANA Department, virtual_router (moves between \
             routers), first seen 2026-11-22 12:00:02, frames 3, on eth0",
            "02:00:00:00:00:01  local-000001           # local (may be random, and change), first seen 2026-11-22 \
             12:00:01, frames 2, on eth0",
            "06:00:00:00:00:02  local-000002           # local (may be random, and change), dnsmasq lease of \
             192.168.1.20",
            "b8:27:eb:4f:10:07  Octo-print             # Raspberry Pi Foundation, universal, first seen 2026-11-22 \
             12:00:00, frames 1, on eth0, dnsmasq lease of 192.168.1.20, named by it",
            "fc:ff:ff:00:00:09  host-000009            # universal, first seen 2026-11-21 12:00:00, last seen \
             2026-11-22 12:00:00, on eth0 and eth1",
        ]
    );
}

#[test]
fn what_no_device_may_send_from_and_our_own_are_comments() {
    let mut evidence = heard(&[
        "ff:ff:ff:ff:ff:ff",
        "00:00:00:00:00:00",
        "01:00:5e:00:00:01",
        "02:00:00:00:00:01",
        "02:00:00:00:00:02",
    ]);
    evidence.set_own(mac::parse("02:00:00:00:00:01").unwrap(), "eth0");
    let draft = drafted(&evidence, &Existing::default());
    assert_eq!((draft.own, draft.anomalies, draft.listed, draft.new.len()), (1, 3, 0, 1));
    assert_eq!(
        draft.lines[1..5],
        [
            "# left out, as no device may send from it: 00:00:00:00:00:00 (zero), first seen 2026-11-22 12:00:01, \
             frames 2, on eth0",
            "# left out, as no device may send from it: 01:00:5e:00:00:01 (group), first seen 2026-11-22 12:00:02, \
             frames 3, on eth0",
            "# left out, as no device may send from it: ff:ff:ff:ff:ff:ff (broadcast), first seen 2026-11-22 12:00:00, \
             frames 1, on eth0",
            "# left out, as this machine's own are known anyway: 02:00:00:00:00:01 of eth0",
        ]
    );
    // Alone they are no reason to write anything.
    assert!(drafted(&heard(&["ff:ff:ff:ff:ff:ff"]), &Existing::default()).lines.is_empty());
    let many: Vec<String> = (0..15).map(|n| format!("01:00:00:00:00:{n:02x}")).collect();
    let mut many: Vec<&str> = many.iter().map(String::as_str).collect();
    many.push("02:00:00:00:00:01");
    let lines = drafted(&heard(&many), &Existing::default()).lines;
    assert_eq!((lines.len(), &*lines[11]), (13, "# left out, as no device may send from it: 5 more"));
}

#[test]
fn what_is_covered_is_not_added_again() {
    let evidence = heard(&["02:42:ac:11:00:02", "02:42:ac:11:00:03", "b8:27:eb:00:00:01"]);
    let draft = drafted(&evidence, &existing("02:42:* container\nb8:27:eb:00:00:01 pi\n"));
    assert_eq!((draft.listed, draft.lines.len()), (3, 0));
}

#[test]
fn a_prefix_is_proposed_where_many_have_it() {
    let docker = ["02:42:ac:11:00:02", "02:42:ac:11:00:03", "02:42:ac:11:00:04"];
    let lines = drafted(&heard(&docker), &Existing::default()).lines;
    assert_eq!(
        lines[1..4],
        [
            "# 3 of these have the prefix of Docker containers, which come and go. Without its mark the next line vouches",
            "# for all that there will be, and for anyone who forges an address under it:",
            "# 02:42:* docker",
        ]
    );
    assert!(
        lines[4].starts_with("02:42:ac:11:00:02  docker-110002  # local, prefix of Docker containers, first")
    );
    assert_eq!(lines.len(), 7);
    // Two are not many, and nobody is asked twice.
    assert!(!drafted(&heard(&docker[..2]), &Existing::default()).lines.concat().contains("02:42:*"));
    assert!(!drafted(&heard(&docker), &existing("# 02:42:* docker\n")).lines.concat().contains("02:42:*"));
    // Without its mark the line is an entry.
    let text = lines.join("\n").replace("# 02:42:* ", "02:42:* ");
    assert_eq!(existing(&text).inventory.len(), 4);
}

fn address() -> impl Strategy<Value = Mac> {
    // Few, so that they meet those that are listed.
    let start =
        prop_oneof![Just(0x0242_0000_0000_u64), Just(0xb827_eb00_0000), Just(0x0100_5e00_0000), Just(0)];
    (start, 0u64..6).prop_map(|(start, n)| Mac::from_number(start + n))
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was_meant_and_a_second_time_adds_nothing(
        heard in proptest::collection::vec((address(), "(?s).{0,12}", any::<bool>()), 0..20),
        listed in proptest::collection::btree_map(address(), "[a-z]{1,5}", 0..6),
        prefix: bool,
        crlf: bool,
        cut: bool,
        names in proptest::collection::vec("(?s).{0,40}", 20),
    ) {
        let mut evidence = Evidence::default();
        for ((mac, interface, frames), name) in heard.iter().zip(names) {
            let seen = Seen { first_unix_ms: NOON, last_unix_ms: NOON };
            evidence.heard(&interface.as_str().into(), *mac, seen, frames.then_some(1));
            let lease = Lease { mac: *mac, ip: None, hostname: Some(name) };
            evidence.add_leases(&Leases { format: Format::Kea, list: vec![lease], expired: 0, without_mac: 0 });
        }
        let mut text = String::from("# ours\n");
        for (mac, name) in listed {
            text += &format!("{mac} {name} # x\n");
        }
        if prefix {
            text += "02:42:* docker\n";
        }
        if crlf {
            text = text.replace('\n', "\r\n");
        }
        if cut {
            text = text.trim_end().to_owned();
        }
        let before = existing(&text);
        let first = drafted(&evidence, &before);
        let whole = write::append(&before.text, &first.lines);
        prop_assert!(whole.starts_with(text.as_bytes()));
        let after = existing(str::from_utf8(&whole).unwrap());
        prop_assert_eq!(after.inventory.len(), before.inventory.len() + first.new.len());
        for (mac, name) in &first.new {
            prop_assert_eq!(&*after.inventory.find(*mac).unwrap().name, name.as_str());
        }
        let second = drafted(&evidence, &after);
        prop_assert_eq!(&second.lines, &Vec::<String>::new());
        prop_assert_eq!(second.listed, first.listed + first.new.len());
    }
}
