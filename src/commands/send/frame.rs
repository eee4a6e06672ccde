//! The test frame.

use crate::mac::Mac;

/// Local experimental EtherType 1 (IEEE 802, clause 9.2.4): no protocol has it, so no host answers.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// The shortest frame that Ethernet allows, without its check sequence: what a cable would pad it to in any case.
const BYTES: usize = 60;

/// One of some test frames, with a text for whoever finds it.
pub(super) fn test_frame(source: Mac, destination: Mac, number: u32, count: u32) -> [u8; BYTES] {
    let mut frame = [0; BYTES];
    frame[..6].copy_from_slice(&destination.octets());
    frame[6..12].copy_from_slice(&source.octets());
    frame[12..14].copy_from_slice(&EXPERIMENTAL);
    // At most 44 bytes, of 46 that there are.
    let text = format!("macwatch test frame {number} of {count}");
    for (place, byte) in frame[14..].iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame;

    #[test]
    fn is_a_frame_of_its_source() {
        let (source, destination) = (Mac::new([2, 0, 0, 0, 0xbe, 0xef]), Mac::new([3, 1, 2, 3, 4, 5]));
        let built = test_frame(source, destination, 2, 3);
        assert_eq!(frame::source(&built), Some(source));
        assert_eq!(built[..14], [3, 1, 2, 3, 4, 5, 2, 0, 0, 0, 0xbe, 0xef, 0x88, 0xb5]);
        assert_eq!(&built[14..], b"macwatch test frame 2 of 3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn the_longest_text_fits() {
        let built = test_frame(Mac::new([0; 6]), Mac::new([0; 6]), u32::MAX, u32::MAX);
        assert!(built[14..].starts_with(b"macwatch test frame 4294967295 of 4294967295\0\0"));
    }
}
