//! Rendering pages once for all who wait for one.
//!
//! Whoever asks gets a page that was begun after they asked, never an older one; and however many ask at
//! once, at most one page is being made, and one more is waited for.
//!
//! A page may differ by its form, and by what its reader is known to have received: then each kind is shared by those
//! whom it suits. Pages are made one after the other all the same.
//!
//! A page is whole before its first byte is served: what goes wrong while it is made is a 500, never half a page.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex as SyncMutex;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::packed::{Packed, Packer};
use super::{Server, Wanted};

/// Most kinds of pages kept for those who wait; a page may be long. Of more, some are made again.
const KINDS: usize = 4;

/// A rendered page.
#[derive(Clone, Debug)]
struct Page {
    begun: Instant,
    /// Whom it was made for, and its own mark.
    wanted: Wanted,
    mark: u64,
    packed: Packed,
}

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    /// The newest page of each kind, while someone waits who might use it.
    newest: Mutex<Vec<Page>>,
    /// How many wait, by what they want.
    waiting: SyncMutex<BTreeMap<Wanted, usize>>,
}

impl Page {
    /// Whether it is what would be made for whoever wants this.
    fn suits(&self, wanted: Wanted) -> bool {
        let same_as_for_none = |received: Option<u64>| received.is_none_or(|mark| mark >= self.mark);
        let (made, asked) = (self.wanted.received, wanted.received);
        self.wanted.offer == wanted.offer
            && (made == asked || same_as_for_none(made) && same_as_for_none(asked))
    }
}

/// Counts who waits, also when a client goes away while waiting.
struct Waiting<'a> {
    renderer: &'a Renderer,
    wanted: Wanted,
}

impl<'a> Waiting<'a> {
    fn begin(renderer: &'a Renderer, wanted: Wanted) -> Self {
        *renderer.waiting.lock().entry(wanted).or_default() += 1;
        Self { renderer, wanted }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.renderer.waiting.lock().entry(self.wanted) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Renderer {
    /// The metrics page for whoever wants this, and its mark; none if making it failed.
    pub(super) async fn metrics(server: Arc<Server>, wanted: Wanted) -> Option<(Packed, u64)> {
        let asked = Instant::now();
        let renderer = &server.renderer;
        let waiting = Waiting::begin(renderer, wanted);
        let mut newest = renderer.newest.lock().await;
        // Pages of other kinds stay for those who wait for them; this one is replaced.
        let kept = newest.iter().position(|page| page.suits(wanted)).map(|at| newest.remove(at));
        let page = match kept.filter(|page| page.begun >= asked) {
            Some(page) => page,
            None => {
                let maker = Arc::clone(&server);
                match spawn_blocking(move || make(&maker, wanted)).await.map_err(io::Error::other).flatten() {
                    Ok(page) => page,
                    Err(error) => {
                        tracing::error!(%error, "rendering the metrics page failed");
                        return None;
                    }
                }
            }
        };
        drop(waiting);
        let (packed, mark) = (page.packed.clone(), page.mark);
        newest.push(page);
        let waiting = renderer.waiting.lock();
        newest.retain(|page| waiting.keys().any(|wanted| page.suits(*wanted)));
        let excess = newest.len().saturating_sub(KINDS);
        newest.drain(..excess);
        Some((packed, mark))
    }

    /// Whether it keeps no page.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.newest.try_lock().is_ok_and(|pages| pages.is_empty())
    }
}

fn make(server: &Server, wanted: Wanted) -> io::Result<Page> {
    let begun = Instant::now();
    let mut packer = Packer::new();
    let mark = (server.site.metrics)(wanted, &mut packer)?;
    Ok(Page { begun, wanted, mark, packed: packer.finish()? })
}
