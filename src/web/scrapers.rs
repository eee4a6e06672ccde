//! Who scrapes, and how much of what is served each is known to have received.
//!
//! A page has a mark, which grows. What it stands for is the site's business; here is kept, for each scraper, the
//! mark of the last page that it received completely. The memory is small: a client that says it is a scraper may take
//! the place of the one that came last, never of those that were here for longer. Who is not remembered is a stranger,
//! and served like anybody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Buf;
use hyper::header::HeaderMap;
use parking_lot::Mutex;

use super::body::Body;
use super::peer::Peer;

/// Most scrapers remembered; for one more, the one is forgotten that came last before it. Strangers who say that they
/// scrape come after the real ones, and push each other out.
const MOST: usize = 16;

/// One that has received nothing for longer is forgotten.
const MEMORY: Duration = Duration::from_secs(600);

/// Prometheus sends this with each scrape; a person does not.
const ANNOUNCEMENT: &str = "x-prometheus-scrape-timeout-seconds";

/// Whether the client says that it is a scraper.
pub(super) fn is_announced(headers: &HeaderMap) -> bool {
    headers.contains_key(ANNOUNCEMENT)
}

/// See the module's docs.
#[derive(Debug, Default)]
pub(super) struct Scrapers(Mutex<HashMap<Peer, Received>>);

/// The last page that a scraper received completely.
#[derive(Clone, Copy, Debug)]
struct Received {
    mark: u64,
    at: Instant,
    /// When it received its first page.
    since: Instant,
}

impl Received {
    fn is_remembered(&self, now: Instant) -> bool {
        now.duration_since(self.at) <= MEMORY
    }
}

impl Scrapers {
    /// The mark of the last page that this scraper received completely; none if that is not known.
    pub(super) fn received(&self, scraper: Peer, now: Instant) -> Option<u64> {
        self.0.lock().get(&scraper).filter(|last| last.is_remembered(now)).map(|last| last.mark)
    }

    /// All of them.
    pub(super) fn remembered(&self, now: Instant) -> Vec<Peer> {
        let scrapers = self.0.lock();
        scrapers.iter().filter(|(_, last)| last.is_remembered(now)).map(|(address, _)| *address).collect()
    }

    /// Whether this address has scraped of late.
    pub(super) fn is_remembered(&self, address: Peer) -> bool {
        self.received(address, Instant::now()).is_some()
    }

    /// A scraper has received a page completely.
    pub(super) fn set_received(&self, scraper: Peer, mark: u64, now: Instant) {
        let mut scrapers = self.0.lock();
        scrapers.retain(|_, last| last.is_remembered(now));
        if let Some(last) = scrapers.get_mut(&scraper) {
            // Of two scrapes at a time, that of the older page may end later.
            *last = Received { mark: last.mark.max(mark), at: now, ..*last };
            return;
        }
        if scrapers.len() >= MOST
            && let Some(newest) =
                scrapers.iter().max_by_key(|(_, last)| last.since).map(|(scraper, _)| *scraper)
        {
            scrapers.remove(&newest);
        }
        scrapers.insert(scraper, Received { mark, at: now, since: now });
    }
}

/// What is noted once a scraper has received its page.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) scrapers: Arc<Scrapers>,
    pub(super) scraper: Peer,
    pub(super) mark: u64,
}

/// The body of an answer, on its way. Its receipt is noted when the last byte is in the hands of the kernel (over TLS
/// it may be what encrypts that has the last of them), and not if the connection breaks before.
///
/// That is as much as can be known: whether the client read what the kernel had for it, only the client knows.
#[derive(Debug)]
pub(super) struct Delivery {
    body: Body,
    receipt: Option<Receipt>,
}

impl Delivery {
    pub(super) fn new(body: Body, receipt: Option<Receipt>) -> Self {
        Self { body, receipt }
    }
}

/// hyper writes from such a buffer with `writev`, and advances it by what the kernel has taken. (It would copy it
/// first if the stream could not do that: then this would tell nothing.)
impl Buf for Delivery {
    fn remaining(&self) -> usize {
        self.body.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.body.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.body.advance(count);
        if !self.body.has_remaining()
            && let Some(Receipt { scrapers, scraper, mark }) = self.receipt.take()
        {
            scrapers.set_received(scraper, mark, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn scraper(n: u8) -> Peer {
        [192, 0, 2, n].into()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_scraper_has_a_mark_of_its_own_that_grows() {
        let (scrapers, now) = (Scrapers::default(), Instant::now());
        assert_eq!(scrapers.received(scraper(1), now), None);
        scrapers.set_received(scraper(1), 5, now);
        scrapers.set_received(scraper(2), 7, now);
        assert_eq!(scrapers.received(scraper(1), now), Some(5));
        assert_eq!(scrapers.received(scraper(2), now), Some(7));
        scrapers.set_received(scraper(1), 9, now);
        scrapers.set_received(scraper(1), 8, now);
        assert_eq!(scrapers.received(scraper(1), now), Some(9), "pages may end in another order");
    }

    #[test]
    fn a_scraper_is_forgotten_ten_minutes_after_its_last_page() {
        let (scrapers, start) = (Scrapers::default(), Instant::now());
        scrapers.set_received(scraper(1), 5, start);
        scrapers.set_received(scraper(1), 5, start + 60 * SECOND);
        assert_eq!(scrapers.received(scraper(1), start + 660 * SECOND), Some(5));
        assert_eq!(scrapers.received(scraper(1), start + 661 * SECOND), None);
        scrapers.set_received(scraper(1), 6, start + 700 * SECOND);
        assert_eq!(scrapers.received(scraper(1), start + 700 * SECOND), Some(6));
    }

    #[test]
    fn sixteen_are_remembered_who_came_first() {
        let (scrapers, start) = (Scrapers::default(), Instant::now());
        let remembered =
            |now| -> Vec<u8> { (0..20).filter(|n| scrapers.received(scraper(*n), now).is_some()).collect() };
        for n in 0..16 {
            scrapers.set_received(scraper(n), 1, start + u32::from(n) * SECOND);
        }
        // However often others come, they take one place.
        for n in [16, 17, 18, 16] {
            scrapers.set_received(scraper(n), 1, start + 20 * SECOND);
            let expected: Vec<u8> = (0..15).chain([n]).collect();
            assert_eq!(remembered(start + 20 * SECOND), expected);
        }
        // One that has gone makes room.
        (1..15).for_each(|n| scrapers.set_received(scraper(n), 1, start + 300 * SECOND));
        scrapers.set_received(scraper(19), 1, start + 605 * SECOND);
        let expected: Vec<u8> = (1..15).chain([16, 19]).collect();
        assert_eq!(remembered(start + 605 * SECOND), expected);
    }

    #[test]
    fn a_page_is_received_with_its_last_byte() {
        let scrapers = Arc::<Scrapers>::default();
        let deliver = |taken: &[usize]| {
            let receipt = Receipt { scrapers: Arc::clone(&scrapers), scraper: scraper(1), mark: 3 };
            let mut delivery = Delivery::new(Body::Whole(Bytes::from_static(b"a page")), Some(receipt));
            taken.iter().for_each(|count| delivery.advance(*count));
        };
        let received = || scrapers.received(scraper(1), Instant::now());
        deliver(&[]);
        deliver(&[2, 3]);
        assert_eq!(received(), None);
        deliver(&[2, 3, 1]);
        assert_eq!(received(), Some(3));
    }
}
