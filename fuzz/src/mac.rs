//! Addresses as they are typed, and as they stand in files.

use macwatch::mac::{Mac, octets, parse, shortened};

/// An address is the same in each notation, and what is none is told in a line.
pub fn holds(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    super::readable(&shortened(text));
    match parse(text) {
        Ok(mac) => {
            assert_eq!(mac, by_hand(text));
            let colons = mac.to_string();
            let bare = colons.replace(':', "");
            let dots = format!("{}.{}.{}", &bare[..4], &bare[4..8], &bare[8..]);
            for notation in [&colons, &bare, &dots, &colons.replace(':', "-"), &bare.to_uppercase()] {
                assert_eq!(parse(notation), Ok(mac), "{notation}");
            }
            assert_eq!(Mac::from_number(mac.number()), mac);
        }
        Err(why) => super::readable(&why),
    }
    match octets(text) {
        Ok(octets) => assert!(octets.len() <= text.len() / 2 + 1),
        Err(why) => super::readable(&why),
    }
}

/// The slow way: digits between separators, each group filled up with zeros to what it should have.
fn by_hand(text: &str) -> Mac {
    let groups: Vec<&str> = text.split([':', '-', '.']).collect();
    let width = 12 / groups.len();
    let digits: String = groups.iter().map(|group| format!("{group:0>width$}")).collect();
    assert!(digits.len() == 12 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()), "{text:?}");
    Mac::from_number(u64::from_str_radix(&digits, 16).unwrap())
}
