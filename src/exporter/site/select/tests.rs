use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::capture::Board;
use crate::clock::Moment;
use crate::frame::wire::Wire;
use crate::inventory::Inventory;
use crate::known::Known;
use crate::mac::Mac;
use crate::sources::{Limits, Nobody, Sources, Table};

const LIMITS: Limits = Limits { per_interface: 1000, total: 1000, idle_timeout: Duration::from_secs(3600) };
const START_MS: u64 = 1_800_000_000_000;

/// One source a second, each with as many frames as its number.
fn count(table: &mut Table, macs: &[Mac]) {
    let start = Moment::now();
    for (n, mac) in (1..).zip(macs) {
        let now = Moment { unix_ms: START_MS + n * 1000, ..start };
        table.count(Some(*mac), Wire { frames: n, bytes: n * 100 }, now);
    }
}

fn mac(n: u8) -> Mac {
    Mac::new([2, 0, 0, 0, 0, n])
}

/// Five sources on one interface, one of them on another too; the inventory knows the second and the fourth.
fn look() -> Look {
    let sources = Sources::new(LIMITS, Arc::new(Nobody)).unwrap();
    let known = Known::default();
    let text = b"02:00:00:00:00:02 Zebra\n02:00:00:00:00:04 antelope & Co\n";
    known.set_inventory(Inventory::parse("x".as_ref(), text).unwrap());
    let (mut one, mut other) = (sources.open("eth0"), sources.open("eth1"));
    count(&mut one, &[mac(1), mac(2), Mac::new([0xb8, 0x27, 0xeb, 0, 0, 3]), mac(4), Mac::new([0xff; 6])]);
    count(&mut other, &[mac(4)]);
    let look = Look::new(&sources, &Board::default(), &known);
    drop((one, other));
    look
}

fn found(look: &Look, query: &str, limit: usize) -> (usize, Vec<String>) {
    let query = Query::parse(query).unwrap();
    let vendors = Vendors::embedded();
    let found = select(look, &vendors, &query, limit);
    let name = |row: &Row<'_>| {
        let mac = row.sample.mac.to_string();
        format!("{}{}", &mac[mac.len() - 2..], if row.interface == "eth1" { "'" } else { "" })
    };
    (found.total, found.rows.iter().map(name).collect())
}

#[test]
fn filters_and_orders_do_what_they_say() {
    let look = look();
    for (query, expected) in [
        ("", "ff 03 01 04 02 04'"),
        ("sort=-unknown", "04' 02 04 01 03 ff"),
        ("sort=first_seen", "01 04' 02 03 04 ff"),
        ("sort=-frames", "ff 04 03 02 01 04'"),
        ("sort=bytes", "01 04' 02 03 04 ff"),
        ("sort=source_mac", "01 02 04 04' 03 ff"),
        ("sort=name", "04 04' 02 01 03 ff"),
        ("sort=-name", "01 03 ff 02 04 04'"),
        ("known=true", "04 02 04'"),
        ("known=false&sort=frames", "01 03 ff"),
        ("interface=eth1", "04'"),
        ("interface=eth1&interface=eth0&known=true", "04 02 04'"),
        ("interface=eth2", ""),
        ("address_type=broadcast", "ff"),
        ("q=ZEBRA", "02"),
        ("q=lope+%26", "04 04'"),
        ("q=raspberry", "03"),
        ("q=B8-27-eb", "03"),
        ("q=b827.eb", "03"),
        ("q=0:04", "04 04'"),
        ("q=nothing", ""),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        let (total, rows) = found(&look, query, 100);
        assert_eq!((total, rows.iter().map(String::as_str).collect()), (expected.len(), expected), "{query}");
    }
}

#[test]
fn without_an_inventory_nobody_is_known_or_unknown() {
    let mut look = look();
    look.inventory = None;
    assert_eq!(found(&look, "known=true", 100).0, 0);
    assert_eq!(found(&look, "known=false", 100).0, 0);
    // Then it is the newest first.
    assert_eq!(found(&look, "", 100).1, ["ff", "04", "03", "02", "04'", "01"]);
}

proptest! {
    /// However it is cut, the parts make the whole.
    #[test]
    fn parts_make_the_whole(
        count_of in 0u8..60,
        limit in 1usize..70,
        sort in proptest::sample::select(vec!["unknown", "-unknown", "name", "-frames", "last_seen", "source_mac"]),
    ) {
        let sources = Sources::new(LIMITS, Arc::new(Nobody)).unwrap();
        let mut table = sources.open("eth0");
        count(&mut table, &(0..count_of).map(|n| mac(n.wrapping_mul(37))).collect::<Vec<_>>());
        let look = Look::new(&sources, &Board::default(), &Known::default());
        let (total, whole) = found(&look, &format!("sort={sort}"), usize::MAX);
        prop_assert_eq!((total, whole.len()), (count_of.into(), count_of.into()));
        let mut parts = Vec::new();
        for offset in (0..=total).step_by(limit) {
            let (total, part) = found(&look, &format!("sort={sort}&offset={offset}"), limit);
            prop_assert!(total == whole.len() && part.len() <= limit);
            parts.extend(part);
        }
        prop_assert_eq!(parts, whole);
        prop_assert_eq!(found(&look, &format!("sort={sort}&offset=4294967295"), limit).1.len(), 0);
    }
}
