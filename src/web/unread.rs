//! Answers that clients have not taken yet, and how much memory these may keep.
//!
//! Strangers on the wire make the page long, and every client that asks and does not read keeps one. Beyond the
//! limit the pages that were handed out first are given up, and their readers' connections closed: a scraper
//! takes its answer within milliseconds, so it is clients that do not read who still have the old ones. Nobody
//! is refused.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::body::{Body, Content};
use super::packed::{Packed, UNPACKING, Unpacking};

/// Most bytes of answers that are not taken. A page that is longer by itself is served all the same.
const MOST: usize = 64 << 20;

/// Closings less than this apart are told of once: clients must not fill the log.
const SPELL: Duration = Duration::from_secs(600);

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Unread {
    most: usize,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Of all pages together.
    bytes: usize,
    /// In the order in which they were handed out first.
    pages: VecDeque<Page>,
    spell: Spell,
}

/// A page with readers. However many they are, it takes memory once; what each of them needs besides comes on top.
#[derive(Debug)]
struct Page {
    /// Where it lies in memory, and nothing else does while it has readers.
    address: usize,
    /// Of the page and its readers.
    bytes: usize,
    readers: Vec<Reader>,
}

/// A connection, as far as it can be asked to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader(Arc<Notify>);

impl Reader {
    /// Waits until the connection has to go.
    pub(super) async fn given_up(&self) {
        self.0.notified().await;
    }
}

/// Bytes of a page in the hands of one connection. They are dropped when the last is written, or when the
/// connection ends, however it does; that is how the books learn of it.
struct Reading {
    page: Bytes,
    /// What this reader needs besides the page.
    own: usize,
    reader: Reader,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for Reading {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.unread.taken(&self.page, self.own, &self.reader);
    }
}

impl Default for Unread {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Unread {
    pub(super) fn new(most: usize) -> Self {
        Self { most, books: Mutex::default() }
    }

    /// The answer on its way, in the books until it is dropped.
    pub(super) fn hand_out(self: &Arc<Self>, content: Content, reader: Reader) -> Body {
        match content {
            Content::Whole(bytes) => Body::Whole(self.lend(bytes, 0, reader)),
            Content::Text(Packed { gzip, plain_bytes }) => {
                let gzip = self.lend(gzip, UNPACKING, reader);
                Body::Text(Box::new(Unpacking::new(Packed { gzip, plain_bytes })))
            }
        }
    }

    /// The same bytes, in the books until they are dropped.
    fn lend(self: &Arc<Self>, page: Bytes, own: usize, reader: Reader) -> Bytes {
        if self.enter(&page, own, reader.clone()) {
            tracing::warn!(
                limit_bytes = self.most,
                "clients do not read their answers; closing the connections that have been at it longest"
            );
        }
        Bytes::from_owner(Reading { page, own, reader, unread: Arc::clone(self) })
    }

    /// Enters a page that is handed out, and makes room for it. True if that is worth a line in the log.
    fn enter(&self, page: &Bytes, own: usize, reader: Reader) -> bool {
        let mut books = self.books.lock();
        let address = page.as_ptr().addr();
        if let Some(page) = books.pages.iter_mut().find(|page| page.address == address) {
            page.readers.push(reader);
            page.bytes += own;
            books.bytes += own;
        } else {
            let bytes = page.len() + own;
            books.bytes += bytes;
            books.pages.push_back(Page { address, bytes, readers: vec![reader] });
        }
        let mut closed = false;
        while books.bytes > self.most
            && books.pages.len() > 1
            && let Some(oldest) = books.pages.pop_front()
        {
            // Its memory is free as soon as these tasks have had their turn.
            books.bytes -= oldest.bytes;
            oldest.readers.iter().for_each(|reader| reader.0.notify_one());
            closed = true;
        }
        closed && books.spell.begins(Instant::now())
    }

    fn taken(&self, page: &Bytes, own: usize, reader: &Reader) {
        let mut books = self.books.lock();
        let books = &mut *books;
        let address = page.as_ptr().addr();
        // It is not there if it was given up.
        let Some(at) = books.pages.iter().position(|page| page.address == address) else { return };
        let page = &mut books.pages[at];
        if let Some(one) = page.readers.iter().position(|other| Arc::ptr_eq(&other.0, &reader.0)) {
            page.readers.swap_remove(one);
            page.bytes -= own;
            books.bytes -= own;
        }
        if page.readers.is_empty() {
            let bytes = books.pages.remove(at).map_or(0, |page| page.bytes);
            books.bytes -= bytes;
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.books.lock().bytes
    }
}

/// A time in which the same thing happens again and again.
#[derive(Debug, Default)]
struct Spell(Option<Instant>);

impl Spell {
    /// It happens now; true if it did not for a while.
    fn begins(&mut self, now: Instant) -> bool {
        self.0.replace(now).is_none_or(|last| now.duration_since(last) >= SPELL)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn given_up(reader: &Reader) -> bool {
        pin!(reader.given_up()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn page(bytes: usize) -> Bytes {
        vec![b'x'; bytes].into()
    }

    #[test]
    fn the_oldest_pages_go_until_the_new_one_fits() {
        let unread = Arc::new(Unread::new(100));
        let readers: [Reader; 5] = Default::default();
        let lengths = [30, 30, 40, 60, 10];
        let held: Vec<Bytes> = lengths
            .iter()
            .zip(&readers)
            .map(|(n, reader)| unread.lend(page(*n), 0, reader.clone()))
            .collect();
        assert_eq!(held.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
        assert_eq!(readers.each_ref().map(given_up), [true, true, true, false, false]);
        assert_eq!(unread.bytes(), 70);
        drop(held);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn a_page_counts_once_and_until_its_last_reader_has_it() {
        let unread = Arc::new(Unread::new(100));
        let (shared, readers): (_, [Reader; 3]) = (page(60), Default::default());
        let mut held =
            readers.each_ref().map(|reader| unread.lend(shared.clone(), 0, reader.clone())).to_vec();
        assert_eq!(unread.bytes(), 60);
        drop(held.remove(1));
        assert_eq!(unread.bytes(), 60);
        // Whoever has taken it is not closed for the sake of others.
        let newest = unread.lend(page(60), 0, Reader::default());
        assert_eq!(readers.each_ref().map(given_up), [true, false, true]);
        assert_eq!(unread.bytes(), 60);
        drop((held, newest));
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn a_page_that_was_given_up_may_be_handed_out_again() {
        let unread = Arc::new(Unread::new(100));
        let (shared, first, second) = (page(60), Reader::default(), Reader::default());
        let given_up_soon = unread.lend(shared.clone(), 0, first.clone());
        drop(unread.lend(page(60), 0, Reader::default()));
        assert!(given_up(&first));
        let again = unread.lend(shared, 0, second.clone());
        drop(given_up_soon);
        assert_eq!(unread.bytes(), 60);
        assert!(!given_up(&second));
        drop(again);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn what_each_reader_needs_counts_too() {
        let unread = Arc::new(Unread::new(100));
        let (shared, readers): (_, [Reader; 2]) = (page(40), Default::default());
        let first = unread.lend(shared.clone(), 20, readers[0].clone());
        let second = unread.lend(shared.clone(), 20, readers[1].clone());
        assert_eq!(unread.bytes(), 80);
        drop(first);
        assert_eq!(unread.bytes(), 60);
        // A reader more of the newest page makes room by itself.
        let newest = unread.lend(page(30), 5, Reader::default());
        let another = unread.lend(shared, 20, Reader::default());
        assert_eq!((unread.bytes(), given_up(&readers[1])), (35, true));
        drop((second, newest, another));
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn the_newest_page_stays_whatever_its_length() {
        let unread = Arc::new(Unread::new(100));
        let reader = Reader::default();
        let long = unread.lend(page(1000), 0, reader.clone());
        assert!(!given_up(&reader));
        drop(long);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn a_spell_lasts_until_it_has_been_quiet_for_a_while() {
        let (start, mut spell) = (Instant::now(), Spell::default());
        assert!(spell.begins(start));
        assert!(!spell.begins(start + SPELL / 2));
        assert!(!spell.begins(start + SPELL));
        assert!(spell.begins(start + SPELL * 2));
    }
}
