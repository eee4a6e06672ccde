//! What an answer says: before it is handed out, and on its way to the client.

use bytes::{Buf, Bytes};

use super::packed::{Packed, Unpacking};

/// What an answer says.
#[derive(Debug)]
pub(super) enum Content {
    /// Just this.
    Whole(Bytes),
    /// The text of a page that is kept compressed.
    Text(Packed),
}

/// What an answer says, on its way to the client.
#[derive(Debug)]
pub(super) enum Body {
    /// As it is.
    Whole(Bytes),
    /// Unpacked on the way.
    Text(Box<Unpacking>),
}

impl Buf for Body {
    fn remaining(&self) -> usize {
        match self {
            Self::Whole(bytes) => bytes.remaining(),
            Self::Text(text) => text.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Whole(bytes) => bytes.chunk(),
            Self::Text(text) => text.chunk(),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Whole(bytes) => bytes.advance(count),
            Self::Text(text) => text.advance(count),
        }
    }
}
