//! What is to be had beside the metrics page: what is the same for all, and what is made for who asks.
//!
//! What is made has places and turns of its own: people with browsers cannot keep a scraper from its page, nor all the
//! windows of one of them another from theirs. One at a time is being made, so that the memory for it is needed once, and
//! nobody waits for longer than a few seconds.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::packed::{Packed, Packer};
use super::peer::{Origin, Peer};
use super::places::Places;

/// Most requests for what is made, in the making or waiting for their turn, beside one for each client.
const PLACES: usize = 8;

/// Longest that somebody waits until it is made.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that can be had under a path of its own.
pub struct Resource {
    /// Where.
    pub(super) path: &'static str,
    /// Its `Content-Type`.
    pub(super) content_type: &'static str,
    /// What else its answers say of themselves.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) matter: Matter,
}

/// What it consists of.
pub(super) enum Matter {
    /// Always the same; clients may keep it, and ask whether it still is. The text is short, and kept too: each who
    /// reads it shares it, and none has it unpacked for itself.
    Fixed { packed: Packed, plain: Bytes, tag: String },
    /// Made for each request, on a thread of its own.
    Made(Arc<Maker>),
}

/// Writes what there is for a query, the part of an address behind its `?`, empty if it has none; and says whether it
/// made sense. Either way what was written is the answer.
pub type Maker = dyn Fn(&str, &mut dyn Write) -> io::Result<Verdict> + Send + Sync;

/// What a maker thinks of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Here is what was asked for.
    Answered,
    /// Here is what is wrong with the query.
    Refused,
}

impl Resource {
    /// What is the same for as long as the program runs.
    ///
    /// # Errors
    ///
    /// If it cannot be compressed.
    pub fn fixed(path: &'static str, content_type: &'static str, text: &str) -> io::Result<Self> {
        let mut packer = Packer::new();
        packer.write_all(text.as_bytes())?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        // Weak: the same tag stands for the text and for its compressed form.
        let tag = format!("W/\"{:016x}\"", hasher.finish());
        let plain = Bytes::copy_from_slice(text.as_bytes());
        let matter = Matter::Fixed { packed: packer.finish()?, plain, tag };
        Ok(Self { path, content_type, headers: &[], matter })
    }

    /// What is made for each who asks.
    pub fn made(path: &'static str, content_type: &'static str, maker: Arc<Maker>) -> Self {
        Self { path, content_type, headers: &[], matter: Matter::Made(maker) }
    }

    /// The same with these headers. Names are lower case.
    #[must_use]
    pub fn with_headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Whether one of the tags of an `If-None-Match` header is this one.
pub(super) fn is_current(header: &str, tag: &str) -> bool {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    header.trim() == "*" || header.split(',').any(|one| weak(one) == weak(tag))
}

/// Places and turns of those who ask for what is made.
#[derive(Debug)]
pub(super) struct Makers {
    places: Arc<Places>,
    turn: Arc<Semaphore>,
}

impl Default for Makers {
    fn default() -> Self {
        Self { places: Places::new(PLACES, PLACES), turn: Arc::new(Semaphore::new(1)) }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Too many ask, or it takes too long.
    Busy,
    /// Making it failed; the log says why.
    Broken,
}

impl Makers {
    /// What a maker makes of a query.
    pub(super) async fn make<M>(&self, client: Option<Peer>, make: M) -> Result<(Packed, Verdict), Failure>
    where
        M: FnOnce(&mut dyn Write) -> io::Result<Verdict> + Send + 'static,
    {
        let place = self.places.take(Origin::of(client)).ok_or(Failure::Busy)?;
        let turn = Arc::clone(&self.turn);
        let made = async move {
            let turn = turn.acquire_owned().await.map_err(io::Error::other)?;
            let job = move || {
                // Held until it is made, also when nobody waits for it any more.
                let _held = (place, turn);
                let mut packer = Packer::new();
                let verdict = make(&mut packer)?;
                Ok((packer.finish()?, verdict))
            };
            spawn_blocking(job).await.map_err(io::Error::other).flatten()
        };
        match tokio::time::timeout(PATIENCE, made).await {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => {
                tracing::error!(%error, "making a page failed");
                Err(Failure::Broken)
            }
            Err(_) => Err(Failure::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        for (header, current) in [
            ("W/\"1f\"", true),
            ("\"1f\"", true),
            ("\"a\", W/\"1f\"", true),
            ("*", true),
            ("\"1e\"", false),
            ("1f", false),
            ("", false),
        ] {
            assert_eq!(is_current(header, "W/\"1f\""), current, "{header}");
        }
    }

    #[test]
    fn another_text_has_another_tag() {
        let tag = |text| match Resource::fixed("/x", "text/css", text).unwrap().matter {
            Matter::Fixed { tag, .. } => tag,
            Matter::Made(_) => panic!("it is fixed"),
        };
        assert_eq!(tag("a"), tag("a"));
        assert_ne!(tag("a"), tag("b"));
    }
}
