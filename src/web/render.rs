//! Rendering pages once for all who wait for one.
//!
//! Whoever asks gets a page that was begun after they asked, never an older one; and however many ask at
//! once, at most one page is being made, and one more is waited for.
//!
//! A page that is being made is made to its end, also when whoever asked for it has gone: what limits the work stays with
//! the work. So clients that ask and go away, again and again, make no more of it than those that wait.
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
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

use super::packed::{Packed, Packer};
use super::places::Place;
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
    newest: Arc<Mutex<Vec<Page>>>,
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
struct Waiting {
    server: Arc<Server>,
    wanted: Wanted,
}

impl Waiting {
    fn begin(server: Arc<Server>, wanted: Wanted) -> Self {
        *server.renderer.waiting.lock().entry(wanted).or_default() += 1;
        Self { server, wanted }
    }
}

/// Whoever goes last leaves no page behind.
impl Drop for Waiting {
    fn drop(&mut self) {
        let Renderer { newest, waiting } = &self.server.renderer;
        let mut waiting = waiting.lock();
        if let Entry::Occupied(mut count) = waiting.entry(self.wanted) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        // If it is another's turn, that one looks when it is over.
        if let Ok(mut newest) = newest.try_lock() {
            keep(&mut newest, &waiting);
        }
    }
}

/// One whose turn it is. However that ends, the pages are free before it leaves.
struct Turn {
    newest: OwnedMutexGuard<Vec<Page>>,
    waiting: Waiting,
}

impl Turn {
    /// This one has the page; it is kept for the others.
    fn end(self, page: Page) {
        let Self { mut newest, waiting } = self;
        newest.push(page);
        let server = Arc::clone(&waiting.server);
        drop(waiting);
        // Held until the pages are free: whoever goes meanwhile finds them so.
        let waiting = server.renderer.waiting.lock();
        keep(&mut newest, &waiting);
        drop(newest);
    }
}

/// Keeps the pages that somebody waits for who might use them, if these are few.
fn keep(newest: &mut Vec<Page>, waiting: &BTreeMap<Wanted, usize>) {
    newest.retain(|page| waiting.keys().any(|wanted| page.suits(*wanted)));
    let excess = newest.len().saturating_sub(KINDS);
    newest.drain(..excess);
}

impl Renderer {
    /// The metrics page for whoever wants this, and its mark; none if making it failed. The place, if there is one, is
    /// taken until it is made.
    pub(super) async fn metrics(
        server: Arc<Server>,
        wanted: Wanted,
        place: Option<Place>,
    ) -> Option<(Packed, u64)> {
        let asked = Instant::now();
        let waiting = Waiting::begin(Arc::clone(&server), wanted);
        let newest = Arc::clone(&server.renderer.newest).lock_owned().await;
        let mut turn = Turn { newest, waiting };
        // Pages of other kinds stay for those who wait for them; this one is replaced.
        let kept = turn.newest.iter().position(|page| page.suits(wanted)).map(|at| turn.newest.remove(at));
        if let Some(page) = kept.filter(|page| page.begun >= asked) {
            let had = (page.packed.clone(), page.mark);
            turn.end(page);
            return Some(had);
        }
        let job = move || {
            // Held until it is made, also when nobody waits for it any more.
            let _place = place;
            let page = make(&server, wanted)?;
            let made = (page.packed.clone(), page.mark);
            turn.end(page);
            Ok(made)
        };
        let made = spawn_blocking(job).await.map_err(io::Error::other).flatten();
        made.map_err(|error| tracing::error!(%error, "rendering the metrics page failed")).ok()
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
