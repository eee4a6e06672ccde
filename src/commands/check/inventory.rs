//! Inventories: what they hold, and what of it makes no sense.

use std::slice;

use super::{Input, MOST_FAULTS, line, plural};
use crate::address::AddressType;
use crate::inventory::{Entry, Fault, Inventory};
use crate::state::format::MAGIC;

/// Inventories that were read.
pub(super) struct Checked {
    inputs: Vec<Input>,
    /// All of them, merged; with faults, what is right of them.
    pub(super) together: Inventory,
    pub(super) faults: Vec<Fault>,
}

impl Checked {
    /// Checks what was read.
    pub(super) fn of(mut inputs: Vec<Input>) -> Self {
        for (_, text) in &mut inputs {
            if text.as_ref().is_ok_and(|text| text.starts_with(MAGIC.as_bytes())) {
                *text = Err("it is a state file, no inventory; give it to --state.file".to_owned());
            }
        }
        let (together, faults) = merged(&inputs);
        Self { inputs, together, faults }
    }

    /// A line for each entry that is odd.
    pub(super) fn warn(&self, text: &mut String) {
        self.inputs.iter().for_each(|input| warn(text, &merged(slice::from_ref(input)).0));
    }

    /// A line for each file, with what is odd about it, and one for all of them if they are several.
    pub(super) fn summarize(&self, text: &mut String) {
        if let Some((file, _)) = self.inputs.first().filter(|_| self.together.is_empty()) {
            line(
                text,
                file.display(),
                "warning: nobody is listed: every source but the exporter's own would be unknown, and one that runs with \
                 a longer list keeps that",
            );
        }
        for input in &self.inputs {
            let (one, _) = merged(slice::from_ref(input));
            warn(text, &one);
            line(text, input.0.display(), counts(&one));
        }
        if self.inputs.len() > 1 {
            line(text, "together", counts(&self.together));
        }
    }
}

/// What is right of these, and all that is wrong.
fn merged(inputs: &[Input]) -> (Inventory, Vec<Fault>) {
    let texts = inputs.iter().map(|(file, text)| (file.clone(), text.as_ref().map_err(Clone::clone)));
    Inventory::of_what_is_right(texts, MOST_FAULTS)
}

fn warn(text: &mut String, one: &Inventory) {
    let mut odd: Vec<_> = one.entries().filter_map(|entry| Some((entry, never_a_device(entry)?))).collect();
    odd.sort_unstable_by_key(|(entry, _)| entry.place.line);
    for (entry, why) in odd {
        let what = entry.pattern();
        line(
            text,
            &entry.place,
            format_args!("warning: {what} is {why}, never a device's; listed, it raises no alert as invalid"),
        );
    }
}

/// What this entry lists if no device can have it.
fn never_a_device(entry: &Entry) -> Option<&'static str> {
    match AddressType::of(entry.mac) {
        // The first bits of many addresses are zero.
        AddressType::Zero if entry.is_exact() => Some("nobody's address"),
        AddressType::Broadcast => Some("the broadcast address"),
        AddressType::Group => Some("a group address"),
        _ => None,
    }
}

fn counts(inventory: &Inventory) -> String {
    let entries = inventory.len();
    let exact = inventory.exact().count();
    format!(
        "{}: {}, {}",
        plural(entries, "entry", "entries"),
        plural(exact, "address", "addresses"),
        plural(entries - exact, "prefix", "prefixes")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Checked {
        Checked::of(vec![(std::path::Path::new("ethers").into(), Ok(text.into()))])
    }

    #[test]
    fn counts_in_words() {
        for (text, expected) in [
            ("02:42:ac:11:00:02 web\n", "1 entry: 1 address, 0 prefixes"),
            ("02:42:ac:11:00:02 web\n02:42:* c\n02:43:ac:11:00:02 x\n", "3 entries: 2 addresses, 1 prefix"),
            ("", "0 entries: 0 addresses, 0 prefixes"),
        ] {
            assert_eq!(counts(&checked(text).together), expected);
        }
    }

    #[test]
    fn what_is_no_device_s_is_a_warning() {
        let mut text = String::new();
        let all = "02:00:00:00:00:01 web\n00:00:00:00:00:00 none\nffffffffffff all\n01:00:5e:* group\n\
                   00:00:00:* xerox\n04:00:00:00:00:00/6 low\n";
        checked(all).summarize(&mut text);
        let starts = [
            "ethers:2: warning: 00:00:00:00:00:00 is nobody's address",
            "ethers:3: warning: ff:ff:ff:ff:ff:ff is the broadcast address, never",
            "ethers:4: warning: 01:00:5e:00:00:00/24 is a group address, never",
            "ethers: 6 entries",
        ];
        for (line, start) in text.lines().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
        assert_eq!(text.lines().count(), starts.len(), "{text}");
    }
}
