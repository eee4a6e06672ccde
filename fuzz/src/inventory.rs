//! Inventories. Each line read alone is the oracle for all of them together.

use std::path::Path;

use macwatch::inventory::{Entry, Fault, Inventory};
use macwatch::mac::Mac;

/// Most faults that are asked for.
const MOST: usize = 20;
/// With more lines the slow way takes too long.
const MOST_LINES: usize = 64;

/// Faults have their lines; without any, the longest entry that fits is found, and what is written down again is
/// the same inventory.
pub fn holds(input: &[u8]) {
    let inventory = match of(input) {
        Ok(inventory) => inventory,
        Err(faults) => return super::told(&faults, input, MOST),
    };
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    if lines.len() > MOST_LINES {
        return;
    }
    let alone: Vec<Inventory> = lines.iter().map(|line| of(line).unwrap()).collect();
    for entry in inventory.entries() {
        assert_eq!(alone[entry.place.line - 1].entries().map(said).collect::<Vec<_>>(), [said(entry)]);
        for number in super::around(entry.mac.number(), entry.bits) {
            let mac = Mac::from_number(number);
            let longest = alone.iter().filter_map(|one| one.find(mac)).max_by_key(|entry| entry.bits);
            assert_eq!(inventory.find(mac).map(said), longest.map(said), "{mac}");
        }
    }
    let exact = inventory.entries().filter(|entry| entry.is_exact()).count();
    assert_eq!((inventory.entries().count(), inventory.exact().count()), (inventory.len(), exact));

    let text: String =
        inventory.entries().map(|entry| format!("{} {}\n", entry.pattern(), entry.name)).collect();
    let again = of(text.as_bytes()).unwrap();
    assert_eq!(sorted(&again), sorted(&inventory));
}

fn of(text: &[u8]) -> Result<Inventory, Vec<Fault>> {
    Inventory::of([(Path::new(super::FILE).into(), Ok(text))], MOST)
}

fn said(entry: &Entry) -> (Mac, u8, &str) {
    (entry.mac, entry.bits, &entry.name)
}

fn sorted(inventory: &Inventory) -> Vec<(Mac, u8, &str)> {
    let mut all: Vec<_> = inventory.entries().map(said).collect();
    all.sort_unstable();
    all
}
