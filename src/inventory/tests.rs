use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::textfile::MOST_FAULTS;

fn load(text: &[u8]) -> Result<Inventory, Vec<String>> {
    let mut inventory = Inventory::default();
    let faults = inventory.add(&Path::new("ethers").into(), text, MOST_FAULTS);
    if faults.is_empty() { Ok(inventory) } else { Err(faults.iter().map(ToString::to_string).collect()) }
}

fn mac(text: &str) -> Mac {
    crate::mac::parse(text).unwrap()
}

fn name<'a>(inventory: &'a Inventory, address: &str) -> Option<&'a str> {
    inventory.find(mac(address)).map(|entry| &*entry.name)
}

#[test]
fn names_hold_spaces_and_comments_are_not_names() {
    let text = "# all of ours\n\n02:00:00:00:00:01 the printer, 2nd floor # old\r\n\
                02:00:00:00:00:02\tweb#1\n   02:00:00:00:00:03   Küche  \n# 02:00:00:00:00:04 not yet";
    let inventory = load(text.as_bytes()).unwrap();
    assert_eq!(inventory.len(), 3);
    assert_eq!(name(&inventory, "02:00:00:00:00:01"), Some("the printer, 2nd floor"));
    assert_eq!(name(&inventory, "02:00:00:00:00:02"), Some("web#1"));
    assert_eq!(name(&inventory, "02:00:00:00:00:03"), Some("Küche"));
    assert_eq!(inventory.find(mac("02:00:00:00:00:03")).unwrap().place.line, 5);
}

#[test]
fn what_editors_and_spreadsheets_make_of_it_is_read() {
    for text in [
        "\u{feff}02:00:00:00:00:01 the printer\r\n",
        "\u{feff}# ours\n02:00:00:00:00:01 the printer",
        "02:00:00:00:00:01\tthe\tprinter\t# 2nd floor\n",
    ] {
        let inventory = load(text.as_bytes()).unwrap();
        assert_eq!(name(&inventory, "02:00:00:00:00:01"), Some("the printer"), "{text:?}");
    }
    for mark in [b"\xff\xfe".as_slice(), b"\xfe\xff"] {
        let text = [mark, &b"0\0\n\0".repeat(100)].concat();
        assert_eq!(load(&text).unwrap_err(), ["ethers: it is UTF-16 text; save it as UTF-8"]);
    }
}

#[test]
fn a_prefix_may_be_written_in_many_ways() {
    for pattern in [
        "b8:27:eb:*",
        "B8-27-EB-*",
        "b8:27:eb:*:*:*",
        "b8-27-eb-*-*-*",
        "b8:27:eb:00:00:00/24",
        "b827.eb00.0000/24",
        "b8:27:eb/24",
        "b8:27:eb:0/24",
        "b8:27:eb:00:00:00/ff:ff:ff:00:00:00",
        "b8:27:eb/ffff.ff00.0000",
    ] {
        let inventory = load(format!("{pattern} pi\n").as_bytes()).unwrap();
        let entry = inventory.entries().next().unwrap();
        assert_eq!(entry.pattern(), "b8:27:eb:00:00:00/24", "{pattern}");
    }
    for (pattern, part) in [
        ("b8:27:eb", "\"b8:27:eb\" has 3 bytes; a MAC address has 6; if it is a prefix, write b8:27:eb:*"),
        ("00 11 22 33 44 55", "\"00\" has 1 byte; a MAC address has 6"),
        ("b8:27/24", "\"b8:27\" has 2 bytes"),
        ("b8:27:eb:*:*", "one to five bytes stand before the star"),
        ("*:*:*:*:*:*", "is not a MAC address"),
        ("02:00:00:00:00:01:*", "one to five bytes stand before the star"),
        ("b8:27:eb:00:00:00/ff:00:ff:00:00:00", "nor in a mask"),
        ("b8:27:eb:00:00:00/00:00:00:00:00:00", "nor in a mask"),
        ("b8:27:eb:00:00:00/0", "no number of bits from 1 to 48"),
        ("b8:27:eb:00:00:01/ff:ff:ff:00:00:00", "has bits set behind the first 24"),
        (format!("b8:27:eb:00:00:01/{:0>9999}", 24).as_str(), "ethers:1: b8:27:eb:00:00:01/24 has bits set"),
    ] {
        let fault = load(format!("{pattern} pi\n").as_bytes()).unwrap_err().remove(0);
        assert!(fault.contains(part), "{fault}");
        assert_eq!(fault.contains("if it is a prefix"), pattern == "b8:27:eb", "{fault}");
    }
}

#[test]
fn the_longest_match_wins() {
    let text =
        "02:42:* container\n02:42:ac:11:00:00/32 bridge\n02:42:ac:11:00:02 web\n52:54:00:00:00:00/24 guest\n";
    let inventory = load(text.as_bytes()).unwrap();
    assert_eq!(name(&inventory, "02:42:00:00:00:01"), Some("container"));
    assert_eq!(name(&inventory, "02:42:ac:11:00:03"), Some("bridge"));
    assert_eq!(name(&inventory, "02:42:ac:11:00:02"), Some("web"));
    assert_eq!(name(&inventory, "52:54:00:12:34:56"), Some("guest"));
    assert_eq!(name(&inventory, "52:54:01:12:34:56"), None);
    assert_eq!(inventory.exact().collect::<Vec<_>>(), [mac("02:42:ac:11:00:02")]);
}

#[test]
fn all_faults_are_told_with_their_lines() {
    let text = b"02:00:00:00:00 five\n02:00:00:00:00:01:02 seven\n02:00:00:00:00:01\n\
        02:00:00:00:00:02 one\n02:00:00:00:00:02 two\n\xff\xfe\nprinter 02:00:00:00:00:03\n02:4* x\n* x\n\
        52:54:00:00:00:01/24 x\n52:54:00:00:00:00/49 x\n02:00:00:00:00:05 a\x07b\n0242.ac11 x";
    let faults = load(text).unwrap_err();
    for (fault, part) in faults.iter().zip([
        "ethers:1: \"02:00:00:00:00\" has 5 bytes",
        "ethers:2: \"02:00:00:00:00:01:02\" has 7 bytes",
        "ethers:3: 02:00:00:00:00:01 has no name",
        "ethers:5: 02:00:00:00:00:02 is called \"two\" here and \"one\" at ethers:4",
        "ethers:6: this line is not UTF-8",
        "ethers:7: \"printer\" is not a MAC address",
        "ethers:8: \"02:4*\": the star stands after whole bytes",
        "ethers:9: \"*\": the star",
        "ethers:10: 52:54:00:00:00:01/24 has bits set behind the first 24; write 52:54:00:00:00:00/24",
        "ethers:11: \"52:54:00:00:00:00/49\" ends",
        "ethers:12: the name holds a control",
        "ethers:13: \"0242.ac11\" is not",
    ]) {
        assert!(fault.starts_with(part), "{fault}\n{part}");
    }
    assert_eq!(faults.len(), 12);
}

#[test]
fn the_same_entry_twice_is_fine() {
    assert_eq!(load(b"02:00:00:00:00:01 x\n02-00-00-00-00-01 x\n").unwrap().len(), 1);
}

#[test]
fn a_binary_file_is_not_listed_in_full() {
    let faults = load(&b"\xff\n".repeat(10_000)).unwrap_err();
    assert_eq!(faults.len(), MOST_FAULTS + 1);
    assert!(faults.last().unwrap().contains("9950 more"), "{:?}", faults.last());
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let fifo = path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let large = std::fs::File::create(path("large")).unwrap();
    large.set_len(1 << 30).unwrap();
    std::fs::File::create(path("fine")).unwrap().write_all(b"02:00:00:00:00:01 x\n").unwrap();
    let files = [path("none"), folder.path().to_owned(), fifo, path("large"), path("fine")];
    let faults: Vec<String> = Inventory::load(&files).unwrap_err().iter().map(ToString::to_string).collect();
    for (fault, part) in
        faults.iter().zip(["no such file", "not a regular file", "not a regular file", "larger than 64 MiB"])
    {
        assert!(fault.contains(part), "{fault}");
    }
    assert_eq!(faults.len(), 4);
    assert_eq!(Inventory::load(&files[4..]).unwrap().len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_fine(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(load(&text));
    }

    /// A plain search over all entries is the oracle.
    #[test]
    fn finds_the_longest(entries in proptest::collection::btree_map((0u64..64, 1u8..=48), "[a-z]{1,5}", 1..20), sought in 0u64..64) {
        let place = |n: u64| n << 42 | n << 20 | n;
        let mut inventory = Inventory::default();
        let mut all = Vec::new();
        for ((n, bits), name) in &entries {
            let number = mask(place(*n), *bits);
            let [_, _, octets @ ..] = number.to_be_bytes();
            let entry = Entry {
                mac: Mac::new(octets),
                bits: *bits,
                name: name.as_str().into(),
                place: Place { file: Path::new("x").into(), line: 1 },
            };
            if inventory.insert(entry.clone()).is_ok() {
                all.push(entry);
            }
        }
        let [_, _, octets @ ..] = place(sought).to_be_bytes();
        let sought = Mac::new(octets);
        let best = all.iter().filter(|entry| mask(sought.number(), entry.bits) == entry.mac.number()).map(|entry| entry.bits).max();
        prop_assert_eq!(inventory.find(sought).map(|entry| entry.bits), best);
    }
}
