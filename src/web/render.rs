//! Rendering pages once for all who wait for one.
//!
//! Whoever asks gets a page that was begun after they asked, never an older one; and however many ask at
//! once, at most one page is being made, and one more is waited for.
//!
//! A page may differ by what its reader is known to have received: then each kind is shared by those whom it suits.
//! Pages are made one after the other all the same.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use parking_lot::Mutex as SyncMutex;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::negotiate::Coding;
use super::{Marked, Server};

/// Most kinds of pages kept for those who wait; a page may be long. Of more, some are made again.
const KINDS: usize = 4;

/// A rendered page, as it is and compressed as far as someone asked for it.
#[derive(Clone, Debug)]
struct Page {
    begun: Instant,
    /// Whom it was made for, and its own mark.
    received: Option<u64>,
    mark: u64,
    plain: Bytes,
    gzip: Option<Bytes>,
}

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    /// The newest page of each kind, while someone waits who might use it.
    newest: Mutex<Vec<Page>>,
    /// How many wait, by the mark that they received.
    waiting: SyncMutex<BTreeMap<Option<u64>, usize>>,
}

impl Page {
    /// Whether it is what would be made for whoever received the page of this mark.
    fn suits(&self, received: Option<u64>) -> bool {
        let same_as_for_none = |received: Option<u64>| received.is_none_or(|mark| mark >= self.mark);
        self.received == received || same_as_for_none(self.received) && same_as_for_none(received)
    }
}

/// Counts who waits, also when a client goes away while waiting.
struct Waiting<'a> {
    renderer: &'a Renderer,
    received: Option<u64>,
}

impl<'a> Waiting<'a> {
    fn begin(renderer: &'a Renderer, received: Option<u64>) -> Self {
        *renderer.waiting.lock().entry(received).or_default() += 1;
        Self { renderer, received }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.renderer.waiting.lock().entry(self.received) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Renderer {
    /// The metrics page in this coding, for whoever received the page of this mark, and its own mark; none if making
    /// it failed.
    pub(super) async fn metrics(
        server: Arc<Server>,
        coding: Coding,
        received: Option<u64>,
    ) -> Option<(Bytes, u64)> {
        let asked = Instant::now();
        let renderer = &server.renderer;
        let waiting = Waiting::begin(renderer, received);
        let mut newest = renderer.newest.lock().await;
        // Pages of other kinds stay for those who wait for them; this one is replaced.
        let kept = newest.iter().position(|page| page.suits(received)).map(|at| newest.remove(at));
        let shared = kept.filter(|page| page.begun >= asked);
        let maker = Arc::clone(&server);
        let made = spawn_blocking(move || make(&maker, shared, coding, received)).await;
        let page = match made {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "rendering the metrics page failed");
                return None;
            }
        };
        let body = match coding {
            Coding::Identity => page.plain.clone(),
            Coding::Gzip => page.gzip.clone()?,
        };
        drop(waiting);
        let mark = page.mark;
        newest.push(page);
        let waiting = renderer.waiting.lock();
        newest.retain(|page| waiting.keys().any(|received| page.suits(*received)));
        let excess = newest.len().saturating_sub(KINDS);
        newest.drain(..excess);
        Some((body, mark))
    }

    /// Whether it keeps no page.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.newest.try_lock().is_ok_and(|pages| pages.is_empty())
    }
}

/// Makes what is missing.
fn make(server: &Server, shared: Option<Page>, coding: Coding, received: Option<u64>) -> Page {
    let mut page = shared.unwrap_or_else(|| {
        let begun = Instant::now();
        let Marked { page, mark } = (server.site.metrics)(received);
        Page { begun, received, mark, plain: page.into(), gzip: None }
    });
    if coding == Coding::Gzip && page.gzip.is_none() {
        page.gzip = compress(&page.plain);
    }
    page
}

fn compress(plain: &[u8]) -> Option<Bytes> {
    // Label text repeats so much that the fastest level already takes nine tenths away.
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).and_then(|()| encoder.finish()).ok().map(Bytes::from)
}
