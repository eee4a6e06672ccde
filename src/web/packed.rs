//! A page as it is kept while it is served: compressed, whoever asked for it.
//!
//! It is compressed while it is made, so that the text, which is ten times as long, is never there as a whole.
//! Scrapers take it as it is. For a client that wants the text, it is unpacked piece by piece as the client takes it.

use std::io::{self, Read as _, Write};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// Label text repeats so much that the fastest level takes seven eighths away; `benches/README.md` has the others.
const LEVEL: Compression = Compression::fast();

/// Text is unpacked in pieces of this size.
const PIECE: usize = 32 << 10;

/// Memory that it takes to unpack a page: a piece, the window of deflate, and what zlib-rs has besides.
pub(super) const UNPACKING: usize = PIECE + (96 << 10);

/// See the module's docs.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    /// As RFC 1952 has it.
    pub(super) gzip: Bytes,
    /// How long the text is.
    pub(super) plain_bytes: usize,
}

/// Takes text and compresses it.
#[derive(Debug)]
pub(super) struct Packer {
    encoder: GzEncoder<Vec<u8>>,
    plain_bytes: usize,
}

impl Packer {
    pub(super) fn new() -> Self {
        Self { encoder: GzEncoder::new(Vec::new(), LEVEL), plain_bytes: 0 }
    }

    pub(super) fn finish(self) -> io::Result<Packed> {
        let gzip = self.encoder.finish()?.into();
        Ok(Packed { gzip, plain_bytes: self.plain_bytes })
    }
}

impl Write for Packer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let taken = self.encoder.write(text)?;
        self.plain_bytes += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The text of a packed page, for one reader.
#[derive(Debug)]
pub(super) struct Unpacking {
    decoder: GzDecoder<Reader<Bytes>>,
    /// The piece that is being read; empty after the end, and if the page cannot be unpacked.
    piece: Vec<u8>,
    taken: usize,
    /// How much is left of the whole.
    left: usize,
}

impl Unpacking {
    pub(super) fn new(page: Packed) -> Self {
        let Packed { gzip, plain_bytes } = page;
        let mut unpacking = Self {
            decoder: GzDecoder::new(gzip.reader()),
            piece: vec![0; PIECE.min(plain_bytes)],
            taken: 0,
            left: plain_bytes,
        };
        unpacking.next();
        unpacking
    }

    /// Unpacks the next piece.
    fn next(&mut self) {
        self.taken = 0;
        self.piece.truncate(self.left);
        if let Err(error) = self.decoder.read_exact(&mut self.piece) {
            tracing::error!(%error, "a page cannot be unpacked; closing its reader's connection");
            self.piece.clear();
        }
    }
}

/// Of what is said to remain, nothing comes if it cannot be unpacked: hyper then closes the connection, and the
/// client knows that its answer is not whole.
impl Buf for Unpacking {
    fn remaining(&self) -> usize {
        self.left
    }

    fn chunk(&self) -> &[u8] {
        self.piece.get(self.taken..).unwrap_or_default()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 && !self.chunk().is_empty() {
            let taken = count.min(self.chunk().len());
            self.taken += taken;
            self.left -= taken;
            count -= taken;
            if self.chunk().is_empty() {
                self.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(text: &[u8]) -> Packed {
        let mut packer = Packer::new();
        packer.write_all(text).unwrap();
        packer.finish().unwrap()
    }

    /// Text that is longer than a few pieces.
    fn long() -> Vec<u8> {
        (0..32 << 10).flat_map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
    }

    #[test]
    fn what_cannot_be_unpacked_ends_early() {
        let Packed { gzip, plain_bytes } = pack(&long());
        let cut = Packed { gzip: gzip.slice(..gzip.len() / 2), plain_bytes };
        let mut unpacking = Unpacking::new(cut);
        while !unpacking.chunk().is_empty() {
            unpacking.advance(unpacking.chunk().len());
        }
        assert!((PIECE..plain_bytes).contains(&unpacking.remaining()));
        unpacking.advance(1);
        assert!(unpacking.has_remaining());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_what_went_in(length in 0..PIECE * 4, steps in proptest::collection::vec(1..PIECE, 1..5)) {
            let text = &long()[..length];
            let page = pack(text);
            prop_assert_eq!(page.plain_bytes, length);
            let mut unpacking = Unpacking::new(page);
            let (mut out, mut steps) = (Vec::new(), steps.into_iter().cycle());
            while unpacking.has_remaining() {
                let count = steps.next().unwrap_or(1).min(unpacking.chunk().len());
                out.extend_from_slice(&unpacking.chunk()[..count]);
                unpacking.advance(count);
                prop_assert_eq!(unpacking.remaining(), length - out.len());
            }
            prop_assert!(out == text);
        }
    }
}
