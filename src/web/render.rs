//! Rendering pages once for all who wait for one.
//!
//! Whoever asks gets a page that was begun after they asked, never an older one; and however many ask at
//! once, at most one page is being made, and one more is waited for.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::Server;
use super::negotiate::Coding;

/// A rendered page, as it is and compressed as far as someone asked for it.
#[derive(Clone, Debug)]
struct Page {
    begun: Instant,
    plain: Bytes,
    gzip: Option<Bytes>,
}

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Renderer {
    /// The newest page, while someone waits who might use it.
    newest: Mutex<Option<Page>>,
    waiting: AtomicUsize,
}

/// Counts who waits, also when a client goes away while waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Renderer {
    /// The metrics page in this coding; none if making it failed.
    pub(super) async fn metrics(server: Arc<Server>, coding: Coding) -> Option<Bytes> {
        let asked = Instant::now();
        let renderer = &server.renderer;
        let waiting = Waiting::begin(&renderer.waiting);
        let mut newest = renderer.newest.lock().await;
        let shared = newest.take().filter(|page| page.begun >= asked);
        let maker = Arc::clone(&server);
        let made = spawn_blocking(move || make(&maker, shared, coding)).await;
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
        if renderer.waiting.load(Ordering::Relaxed) > 0 {
            *newest = Some(page);
        }
        Some(body)
    }
}

/// Makes what is missing.
fn make(server: &Server, shared: Option<Page>, coding: Coding) -> Page {
    let mut page = shared.unwrap_or_else(|| {
        let begun = Instant::now();
        Page { begun, plain: (server.site.metrics)().into(), gzip: None }
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
