use std::io::Write as _;

use proptest::prelude::*;

use super::table::mask;
use super::*;

fn mac(number: u64) -> Mac {
    let [_, _, octets @ ..] = number.to_be_bytes();
    Mac::new(octets)
}

fn read(text: impl AsRef<[u8]>) -> Result<Vendors, Vec<String>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_ref()).unwrap();
    Vendors::load(file.path()).map_err(|faults| {
        let start = file.path().display().to_string();
        faults.iter().map(|fault| fault.to_string().strip_prefix(&start).unwrap().to_owned()).collect()
    })
}

/// Not a test: what `src/vendor/refresh` does, in the words that the program reads with.
#[test]
#[ignore = "writes src/vendor/registry.bin; src/vendor/refresh runs it"]
fn refresh() {
    let variable = |name| std::env::var(name).unwrap_or_else(|_| panic!("run src/vendor/refresh: no {name}"));
    let text = std::fs::read(variable("MACWATCH_REGISTRY")).unwrap();
    let mut faults = Faults::new(&Path::new("registry").into(), MOST_FAULTS);
    let table = compile(&text, &variable("MACWATCH_REGISTRY_SOURCE"), &mut faults).unwrap();
    assert_eq!(faults.into_list(), []);
    let bytes = table.len();
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/vendor/registry.bin"), &table).unwrap();
    let vendors = Vendors { table: Table::new(table.into()).unwrap() };
    println!("{vendors:?}, {bytes} bytes: {:?}", vendors.table.lengths());
}

#[test]
fn the_embedded_registry_is_whole() {
    let vendors = Vendors::embedded();
    let lengths = vendors.table.lengths();
    assert_eq!(lengths.iter().map(|(bits, _)| *bits).collect::<Vec<_>>(), [36, 28, 24]);
    for ((bits, entries), least) in lengths.iter().zip([7_000, 6_000, 39_000]) {
        assert!(*entries >= least, "{entries} prefixes of {bits} bits");
    }
    // Each entry is found, under a name of one line: they are in order, and point at names.
    for (bits, prefix) in vendors.table.prefixes() {
        let name = vendors.find(mac(prefix | 1)).unwrap_or_else(|| panic!("{}/{bits}", mac(prefix)));
        assert!(!name.is_empty() && !name.chars().any(char::is_control), "{name:?}");
    }
    assert!(REGISTRY.len() < 1_200_000, "{} bytes", REGISTRY.len());
}

#[test]
fn the_embedded_registry_is_less_than_a_year_old() {
    let vendors = Vendors::embedded();
    let (_, date) = vendors.source().rsplit_once(' ').unwrap();
    let today = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let age = today - date.parse::<jiff::civil::Date>().unwrap();
    assert!(age.get_days() < 365, "{} is too old: run src/vendor/refresh", vendors.source());
}

#[test]
fn the_longest_prefix_tells() {
    let vendors = Vendors::embedded();
    for (number, expected) in [
        (0x001b_213c_4d5e, Some("Intel Corporate")),
        (0xb827_eb12_3456, Some("Raspberry Pi Foundation")),
        (0x0000_0000_0001, Some("XEROX CORPORATION")),
        // Parts of blocks that the registrar keeps: 28 bits, 36 bits, and one that nobody has yet.
        (0x0055_da01_2345, Some("Shinko Technos co.,ltd.")),
        (0x0055_da11_2345, Some("KoolPOS Inc.")),
        (0x70b3_d500_1123, Some("SOREDI touch systems GmbH")),
        (0x001b_c511_2345, None),
        // Nobody's: all zeros, broadcast, group.
        (0, None),
        (0xffff_ffff_ffff, None),
        (0x011b_213c_4d5e, None),
        // Local: nobody's but for the old ones.
        (0x0242_ac11_0002, None),
        (0x5254_0012_3456, None),
        (0xaa00_0400_0104, Some("DIGITAL EQUIPMENT CORPORATION")),
        (0x0260_8c12_3456, Some("3COM")),
    ] {
        assert_eq!(vendors.find(mac(number)), expected, "{}", mac(number));
    }
}

#[test]
fn reads_manuf_of_every_age() {
    let text = "# This file was generated\n\n\
        00:00:00\t00:00:00\tOfficially Xerox, but 0:0:0:0:0:0 is more common\n\
        00:00:0C\tCisco\tCisco Systems, Inc\r\n\
        00-00-0C-07-AC/40\tAll-HSRP-routers\n\
        00:00:18\tWebsterC\tWebster Computer Corporation\t# Appletalk/Ethernet Gateway\n\
        00:00:7F       \tLinotype       \t# Linotype-Hell AG\n\
        00:00:80 CrayComm              # Cray  Communications\n\
        00:55:DA:00:00:00/28\tShinkoTe\t\"Shinko\" Technos\n\
        00:1B:C5:00:10:00/36\tOpenRBco\tOpenRB.com, Direct SIA\n\
        00:1B:C5\tIEEERegi\tIEEE Registration Authority\n\
        00:1B:21:00:00:01\tMine\n\
        02:04:96:00:00:00/24\tExtremeNetworks\n\
        01:80:C2:00:00:00/44\tSpanning-tree\n\
        00:00:0C\tLater\tLater\n";
    let vendors = read(text).unwrap();
    for (number, expected) in [
        (0x0000_0000_0001, Some("Officially Xerox, but 0:0:0:0:0:0 is more common")),
        (0x0000_0c01_0203, Some("Cisco Systems, Inc")),
        (0x0000_0c07_ac01, Some("All-HSRP-routers")),
        (0x0000_1801_0203, Some("Webster Computer Corporation")),
        (0x0000_7f01_0203, Some("Linotype-Hell AG")),
        (0x0000_8001_0203, Some("Cray Communications")),
        (0x0055_da01_0203, Some("\"Shinko\" Technos")),
        (0x001b_c500_1203, Some("OpenRB.com, Direct SIA")),
        (0x001b_c500_2203, None),
        (0x001b_2100_0001, Some("Mine")),
        (0x001b_2100_0002, None),
        (0x0204_9600_0001, Some("ExtremeNetworks")),
        (0x0180_c200_0000, None),
    ] {
        assert_eq!(vendors.find(mac(number)), expected, "{}", mac(number));
    }
    assert_eq!(vendors.len(), 10);
}

#[test]
fn reads_csv_of_the_ieee() {
    let text = "\u{feff}Registry,Assignment,Organization Name,Organization Address\r\n\
        MA-L,001B21,Intel Corporate,\"Lot 8, Jalan Hi-Tech 2/3\nKulim Kedah MY 09000 \"\r\n\
        MA-L,0055DA,IEEE Registration Authority,445 Hoes Lane Piscataway NJ US 08554 \r\n\
        Registry,Assignment,Organization Name,Organization Address\r\n\
        MA-M,0055da0,\"Shinko \"\"Technos\"\" co.,ltd.\",x\r\n\
        MA-S,001BC5001,\"OpenRB.com,\u{a0}Direct\u{200b} SIA \",x\r\n\
        MA-L,001B21,Another,x";
    let vendors = read(text).unwrap();
    for (number, expected) in [
        (0x001b_2101_0203, Some("Intel Corporate")),
        (0x0055_da01_0203, Some("Shinko \"Technos\" co.,ltd.")),
        (0x0055_da11_0203, None),
        (0x001b_c500_1203, Some("OpenRB.com, Direct SIA")),
    ] {
        assert_eq!(vendors.find(mac(number)), expected, "{}", mac(number));
    }
    assert_eq!(vendors.len(), 3);
}

#[test]
fn all_faults_are_told_with_their_lines() {
    let long = "x".repeat(256);
    let manuf = format!(
        "00:00:0C\tCisco\n00:00\n00:0\tx\n00:00:0C/33x\ty\n00:00:0C:01/24\ty\n00:00:0C:00:00:00:00\tx\n\
         00:00:0D\t{long}\n00:00:0C/49\ty\nhello world\n"
    );
    let csv = "Registry,Assignment,Organization Name\nMA-L,00000,x\nMA-L\nMA-S,00000000G,x\nMA-L,000001,\n\
        MA-L,000002,\"x";
    for (text, expected) in [
        (
            manuf.as_bytes(),
            &[
                ":2: there is no name",
                ":3: \"00:0\" is not a prefix",
                ":4: \"00:00:0C/33x\": take a number",
                ":5: 00:00:0C:01/24 has bits set",
                ":6: \"00:00:0C:00:00:00:00\" is not a prefix",
                ":7: the name has 256 bytes; at most 255",
                ":8: \"00:00:0C/49\": take a number",
                ":9: \"hello\" is not a prefix",
            ][..],
        ),
        (
            csv.as_bytes(),
            &[
                ":2: \"00000\" is not an assignment",
                ":3: \"\" is not an assignment",
                ":4: \"00000000G\" is not",
                ":5: there is no name",
            ],
        ),
        (b"00:00:0C\tx\n\xff\xfe", &[":2: this line is not UTF-8"]),
        (b"Registry,x\nMA-L,000001,\xff", &[":2: this line is not UTF-8"]),
        (b"# nothing\n", &[": there is no prefix in it"]),
        (b"", &[": there is no prefix in it"]),
        (b"<!DOCTYPE html>\n", &[":1: \"<!DOCTYPE\" is not a prefix"]),
    ] {
        let faults = read(text).unwrap_err();
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, part) in faults.iter().zip(expected) {
            assert!(fault.starts_with(part), "{fault}\n{part}");
        }
    }
}

/// Else the rest of the file would be an address, and its vendors be missing without a word.
#[test]
fn a_quote_that_is_not_closed_is_told() {
    let mut text =
        "Registry,Assignment,Organization Name,Organization Address\nMA-L,000001,x,\"y\n".to_owned();
    for n in 2..1000 {
        text += &format!("MA-L,{n:06X},x,y\n");
    }
    assert_eq!(read(text).unwrap_err(), [":2: a quoted field that begins here does not end"]);
}

#[test]
fn what_cannot_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    for (path, part) in [
        (folder.path().join("none"), "no such file"),
        (folder.path().to_owned(), "not a regular file"),
        (fifo, "not a regular file"),
    ] {
        let faults = Vendors::load(&path).unwrap_err();
        assert!(faults.len() == 1 && faults[0].to_string().contains(part), "{faults:?}");
    }
}

#[test]
fn a_damaged_table_is_none() {
    for length in 0..200 {
        if let Some(table) = Table::new(REGISTRY[..length].into()) {
            assert!(table.find(0x001b_213c_4d5e).is_none() && length < 40, "{length}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_fine(bytes in proptest::collection::vec(any::<u8>(), 0..300), number in 0u64..1 << 48) {
        let mut faults = Faults::new(&Path::new("x").into(), MOST_FAULTS);
        for start in ["", "Registry,", "MA-L,001B21,"] {
            let text = [start.as_bytes(), &bytes].concat();
            drop(compile(&text, "x", &mut faults));
        }
        // And as a table.
        let table = [b"x\n\x02", &bytes[..]].concat();
        if let Some(table) = Table::new(table.into()) {
            table.find(number);
        }
    }

    #[test]
    fn words_of_either_form_are_fine(words in proptest::collection::vec(
        prop_oneof![Just("MA-L"), Just("\""), Just(","), Just("\n"), Just("001B21"), Just("00:1B:21"), Just("\t"), Just("/28"), Just("#"), Just("é")],
        0..60,
    )) {
        drop(compile(words.concat().as_bytes(), "x", &mut Faults::new(&Path::new("x").into(), MOST_FAULTS)));
    }

    /// A plain search over all entries is the oracle.
    #[test]
    fn finds_the_longest(
        entries in proptest::collection::btree_map((0u64..64, 1u8..=48), "[a-z]{1,5}", 1..20),
        sought in 0u64..64,
    ) {
        // The same bits at both ends of the address, so that prefixes of all lengths meet.
        let place = |n: u64| (n << 42 | n << 20 | n) & !(1 << 40);
        let mut builder = Builder::default();
        let mut all = std::collections::BTreeMap::new();
        for ((n, bits), name) in &entries {
            let prefix = mask(place(*n), *bits);
            builder.insert(prefix, *bits, name).unwrap();
            all.entry((*bits, prefix)).or_insert(name.as_str());
        }
        let vendors = Vendors { table: Table::new(builder.finish("x").unwrap().into()).unwrap() };
        prop_assert_eq!(vendors.len(), all.len());
        let sought = place(sought);
        let best = all.iter().rev().find(|((bits, prefix), _)| mask(sought, *bits) == *prefix);
        let expected = best.map(|(_, name)| *name).filter(|_| sought != 0);
        prop_assert_eq!(vendors.find(mac(sought)), expected);
    }

    /// Looking for one after the other finds the same, in whatever order.
    #[test]
    fn a_walk_finds_what_one_look_finds(
        entries in proptest::collection::btree_map((0u64..64, 1u8..=48), "[a-z]{1,5}", 1..20),
        mut steps in proptest::collection::vec((0u64..64, 0u64..4), 1..40),
        in_order: bool,
    ) {
        let place = |n: u64| (n << 42 | n << 20 | n) & !(1 << 40);
        let mut builder = Builder::default();
        for ((prefix, bits), name) in &entries {
            builder.insert(place(*prefix), *bits, name).unwrap();
        }
        let vendors = Vendors { table: Table::new(builder.finish("x").unwrap().into()).unwrap() };
        if in_order {
            steps.sort_unstable();
        }
        let mut walk = vendors.walk();
        for (n, beside) in steps {
            // At the borders too.
            let sought = Mac::from_number((place(n) + beside).saturating_sub(2));
            prop_assert_eq!(walk.find(sought), vendors.find(sought));
        }
    }
}
