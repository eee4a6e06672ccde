//! Frames, as the kernel hands them over: anyone on the wire chooses their bytes, a guest the header before them too.

use macwatch::frame::wire::{OFFLOAD_BYTES, split};
use macwatch::frame::{HEADER_BYTES, SOURCE, source};
use macwatch::mac::Mac;

/// Bytes that an IPv6 super-frame may have more than its segments.
const JUMBO_BYTES: u64 = 8;

/// A source where one stands, and as many frames and bytes on the wire as cutting by hand makes.
pub fn holds(input: &[u8]) {
    match source(input) {
        Some(mac) => assert_eq!(mac, Mac::new(input[SOURCE].try_into().unwrap())),
        None => assert!(input.len() < HEADER_BYTES),
    }
    let Some((offload, _)) = split(input) else { return assert!(input.len() < OFFLOAD_BYTES) };
    // Two bytes of the header are not looked at: here they make frames longer than inputs are.
    let number = |at: usize| u16::from_ne_bytes([input[at], input[at + 1]]);
    let mut frame = input[OFFLOAD_BYTES..].to_vec();
    frame.resize(frame.len() + usize::from(number(2)) * 2, 0);

    let wire = offload.wire(&frame);
    let (length, segment) = (frame.len() as u64, u64::from(number(4)));
    assert!(wire.frames >= 1 && wire.bytes + JUMBO_BYTES >= length, "{wire:?}");
    if segment == 0 {
        return assert_eq!((wire.frames, wire.bytes), (1, length));
    }
    if wire.frames == 1 {
        return assert!(wire.bytes <= length, "{wire:?}");
    }
    // Each frame but the first has a copy of the headers.
    let fits = |length: u64| {
        let copies = wire.bytes - length;
        let headers = copies / (wire.frames - 1);
        let (mut frames, mut bytes, mut left) = (0, 0, length.saturating_sub(headers));
        while left > 0 {
            let piece = left.min(segment);
            (frames, bytes, left) = (frames + 1, bytes + headers + piece, left - piece);
        }
        copies.is_multiple_of(wire.frames - 1) && (frames, bytes) == (wire.frames, wire.bytes)
    };
    let plain = wire.bytes >= length && fits(length);
    assert!(plain || fits(length.saturating_sub(JUMBO_BYTES)), "{wire:?} of {length} bytes");
}
