//! The Ethernet header: where a frame's source stands. Total functions, no allocation.
//!
//! ```text
//! byte  0           6            12        14
//!       | destination | source   | type    | payload …
//! ```
//! IEEE 802.3, clause 3.1.1. A frame begins with its *destination*; the source follows.

pub mod wire;

use std::ops::Range;

use crate::mac::Mac;

/// Bytes of an Ethernet header without tags; anything shorter is a runt.
pub const HEADER_BYTES: usize = 14;

/// The source address within a frame.
pub const SOURCE: Range<usize> = 6..12;

/// The address that a frame says it comes from; none if it is shorter than an Ethernet header.
///
/// Group, zero and broadcast addresses are returned as they stand: a sender that uses one is what an
/// operator wants to see.
#[inline]
pub fn source(frame: &[u8]) -> Option<Mac> {
    if frame.len() < HEADER_BYTES {
        return None;
    }
    let octets = frame.get(SOURCE)?.try_into().ok()?;
    Some(Mac::new(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FRAME: [u8; 16] =
        [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x42, 0xac, 0x11, 0, 2, 0x08, 0x06, 0, 1];

    #[test]
    fn the_source_is_bytes_six_to_eleven() {
        assert_eq!(source(&FRAME).unwrap().to_string(), "02:42:ac:11:00:02");
    }

    #[test]
    fn a_runt_has_no_source() {
        for length in 0..HEADER_BYTES {
            assert_eq!(source(&FRAME[..length]), None, "{length} bytes");
        }
        assert!(source(&FRAME[..HEADER_BYTES]).is_some());
    }

    #[test]
    fn odd_sources_are_reported_as_sent() {
        for octets in [[0; 6], [0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]] {
            let mut frame = FRAME;
            frame[SOURCE].copy_from_slice(&octets);
            assert_eq!(source(&frame), Some(Mac::new(octets)));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_fine(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(source(&bytes).is_some(), bytes.len() >= HEADER_BYTES);
        }
    }
}
