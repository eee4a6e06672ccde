//! MAC addresses: the 48-bit identifiers that an Ethernet header carries (IEEE 802, clause 8).

mod parse;

use std::fmt;
use std::hash::{Hash, Hasher};

pub use parse::{octets, parse, shortened};

/// A MAC address, ordered as its six bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The address made of these six bytes, in the order in which they are sent.
    pub const fn new(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// The six bytes, in the order in which they are sent.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// The address as a number below 2^48, first byte most significant.
    pub const fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address that is this number; bits beyond the 48th are left out.
    pub const fn from_number(number: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// What `Display` writes.
    fn text(self) -> [u8; 17] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (octet, place) in self.0.iter().zip(text.chunks_mut(3)) {
            place[0] = DIGITS[usize::from(octet >> 4)];
            place[1] = DIGITS[usize::from(octet & 15)];
        }
        text
    }

    /// Appends what `Display` writes, without its detour: there are pages with many addresses.
    pub fn push_to(self, text: &mut String) {
        text.push_str(str::from_utf8(&self.text()).unwrap_or_default());
    }
}

/// As one number. Derived, it would be a length and a slice of bytes: two rounds of the hash for each frame.
impl Hash for Mac {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}

/// Lower case, zero-padded, with colons, as tcpdump and `ip` write it: `02:42:ac:11:00:02`.
impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn is_written_lower_case_and_padded() {
        let mac = Mac::new([0x02, 0x42, 0xac, 0x11, 0x00, 0x0f]);
        assert_eq!(mac.to_string(), "02:42:ac:11:00:0f");
        assert_eq!(format!("[{mac:<19}]"), "[02:42:ac:11:00:0f  ]");
    }

    proptest! {
        #[test]
        fn text_and_number_agree_with_the_octets(octets: [u8; 6]) {
            let mac = Mac::new(octets);
            let hex: String = octets.iter().map(|o| format!("{o:02x}")).collect();
            prop_assert_eq!(mac.to_string().replace(':', ""), hex.clone());
            let mut text = String::from("mac=");
            mac.push_to(&mut text);
            prop_assert_eq!(text, format!("mac={mac}"));
            prop_assert_eq!(format!("{:012x}", mac.number()), hex);
            prop_assert_eq!(Mac::from_number(mac.number()), mac);
        }

        #[test]
        fn order_is_that_of_the_text(a: [u8; 6], b: [u8; 6]) {
            let (a, b) = (Mac::new(a), Mac::new(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
        }
    }
}
