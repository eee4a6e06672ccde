//! What to call an address that nobody has named yet, and what to say of it: hints for a person, who decides.

pub mod guests;

use crate::address::AddressType;
use crate::mac::Mac;
use guests::Guests;

/// A name: what it seems to be, and as much of the address as tells it from its like.
pub fn name(mac: Mac, vendor: Option<&str>) -> String {
    let [_, _, _, a, b, c] = mac.octets();
    let slug = vendor.and_then(slug);
    let what = match (Guests::of(mac), AddressType::of(mac), &slug) {
        (Some(guests), _, _) => guests.name,
        (None, AddressType::VirtualRouter, _) => "virtual-router",
        (None, AddressType::Local, _) => "local",
        (None, _, Some(slug)) => slug,
        (None, _, None) => "host",
    };
    format!("{what}-{a:02x}{b:02x}{c:02x}")
}

/// The first word of a vendor's name, if it is one.
fn slug(vendor: &str) -> Option<String> {
    let word = vendor.split_whitespace().next()?;
    let word: String = word.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(16).collect();
    let word = word.trim_matches('-').to_ascii_lowercase();
    (word.len() > 1).then_some(word)
}

/// What kind of address it is, and what that means for whoever lists it.
pub fn kind(mac: Mac) -> String {
    let kind = AddressType::of(mac);
    match (kind, Guests::of(mac)) {
        (_, Some(guests)) => format!("{}, prefix of {}", kind.as_str(), guests.what),
        (AddressType::Local, None) => "local (may be random, and change)".to_owned(),
        (AddressType::VirtualRouter, None) => "virtual_router (moves between routers)".to_owned(),
        (_, None) => kind.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendor_makes_a_name() {
        for (vendor, expected) in [
            ("Raspberry Pi Foundation", Some("raspberry")),
            ("TP-LINK TECHNOLOGIES CO.,LTD.", Some("tp-link")),
            ("D-Link", Some("d-link")),
            ("(株) X", None),
            ("A B", None),
            ("", None),
        ] {
            assert_eq!(slug(vendor).as_deref(), expected, "{vendor}");
        }
    }
}
