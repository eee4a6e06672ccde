//! Answers that clients have not taken yet, and how much memory these may keep.
//!
//! Strangers on the wire make the page long, and every client that asks and does not read keeps one. Beyond the
//! limit the connections that have been reading for longest are closed, until the rest fits: a scraper
//! takes its answer within milliseconds, so it is clients that do not read who still have old ones. Those of clients
//! with several go before those of clients with one, and those of scrapers that are remembered last. Nobody
//! is refused, and a lone answer is served whatever its length.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::body::{Body, Content};
use super::packed::{Packed, UNPACKING, Unpacking};
use super::peer::{Origin, Peer};
use super::scrapers::Scrapers;
use crate::sys::heap;

/// Most bytes of answers that are not taken. An answer that is longer by itself is served all the same.
pub(super) const MOST: usize = 64 << 20;

/// A scraper that has more answers under way does not take them.
const MOST_OF_SCRAPER: usize = 2;

/// What an answer takes besides its bytes: its request, and what hyper keeps of both; measured with HTTP/2.
pub(super) const ANSWER: usize = 6 << 10;

/// Closings less than this apart are told of once: clients must not fill the log.
const SPELL: Duration = Duration::from_secs(600);

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Unread {
    most: usize,
    scrapers: Arc<Scrapers>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    /// Of all pages and readers together.
    bytes: usize,
    /// By where they lie in memory: nothing else does while they have readers.
    pages: HashMap<usize, Page>,
    /// In the order in which they began.
    readers: BTreeMap<u64, Entry>,
    next: u64,
    /// Readings that are not over, those that were given up included.
    alive: usize,
    /// Whether some were given up since there was none.
    closed: bool,
    spell: Spell,
}

/// A page with readers. However many they are, it takes memory once; what each of them needs besides comes on top.
#[derive(Debug)]
struct Page {
    bytes: usize,
    readers: usize,
}

/// One reader of one page.
#[derive(Debug)]
struct Entry {
    address: usize,
    /// What it needs besides the page.
    own: usize,
    reader: Reader,
}

impl Books {
    fn remove(&mut self, number: u64) {
        // It is not there if it was given up.
        let Some(entry) = self.readers.remove(&number) else { return };
        self.bytes -= entry.own;
        let Some(page) = self.pages.get_mut(&entry.address) else { return };
        page.readers -= 1;
        if page.readers == 0 {
            self.bytes -= page.bytes;
            self.pages.remove(&entry.address);
        }
    }

    /// Gives up connections until there are at most so many bytes: first those that would be missed least, of these the
    /// ones that began first. The newest answer stays, unless its connection has older ones. Whether there were any.
    ///
    /// A client with fewer answers left is missed more, never less: so once through all of them for each value, however
    /// many have to go.
    fn make_room(&mut self, most: usize, scrapers: &[Peer]) -> bool {
        let scraper = |peer: Option<Peer>| peer.filter(|peer| scrapers.contains(peer)).map(Origin::alone);
        let who = |reader: &Reader| scraper(reader.peer).unwrap_or_else(|| Origin::of(reader.peer));
        let mut answers: HashMap<Origin, usize> = HashMap::new();
        for entry in self.readers.values() {
            *answers.entry(who(&entry.reader)).or_default() += 1;
        }
        let mut older: Vec<u64> = self.readers.keys().copied().collect();
        older.pop();
        let mut closed = false;
        for least in [(false, false), (false, true), (true, false), (true, true)] {
            for number in &older {
                if self.bytes <= most {
                    return closed;
                }
                // It may have gone with another of its connection.
                let Some(reader) = self.readers.get(number).map(|entry| entry.reader.clone()) else {
                    continue;
                };
                let Some(answers) = answers.get_mut(&who(&reader)) else { continue };
                let is_scraper = scraper(reader.peer).is_some();
                if (is_scraper && *answers <= MOST_OF_SCRAPER, *answers == 1) <= least {
                    *answers = answers.saturating_sub(self.close(&reader));
                    closed = true;
                }
            }
        }
        closed
    }

    /// Gives up this connection, with all that it reads; how many answers that were.
    fn close(&mut self, reader: &Reader) -> usize {
        let is_its = |entry: &Entry| Arc::ptr_eq(&entry.reader.end, &reader.end);
        let its: Vec<u64> =
            self.readers.iter().filter(|(_, entry)| is_its(entry)).map(|(number, _)| *number).collect();
        its.iter().for_each(|number| self.remove(*number));
        // Its memory is free as soon as its task has had its turn.
        reader.end.notify_one();
        self.closed = true;
        its.len()
    }
}

/// A connection, as far as it can be asked to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader {
    end: Arc<Notify>,
    peer: Option<Peer>,
}

impl Reader {
    pub(super) fn new(peer: Option<Peer>) -> Self {
        Self { end: Arc::default(), peer }
    }

    /// Waits until the connection has to go.
    pub(super) async fn given_up(&self) {
        self.end.notified().await;
    }
}

/// Bytes of a page in the hands of one connection. They are dropped when the last is written, or when the
/// connection ends, however it does; that is how the books learn of it.
struct Reading {
    page: Bytes,
    number: u64,
    unread: Arc<Unread>,
}

impl AsRef<[u8]> for Reading {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.unread.taken(self.number);
    }
}

impl Unread {
    pub(super) fn new(most: usize, scrapers: Arc<Scrapers>) -> Self {
        Self { most, scrapers, books: Mutex::default() }
    }

    /// The answer on its way, in the books until it is dropped.
    pub(super) fn hand_out(self: &Arc<Self>, content: Content, reader: Reader) -> Body {
        match content {
            Content::Whole(bytes) => Body::Whole(self.lend(bytes, ANSWER, reader)),
            Content::Text(Packed { gzip, plain_bytes }) => {
                let gzip = self.lend(gzip, ANSWER + UNPACKING, reader);
                Body::Text(Box::new(Unpacking::new(Packed { gzip, plain_bytes })))
            }
        }
    }

    /// The same bytes, in the books until they are dropped.
    fn lend(self: &Arc<Self>, page: Bytes, own: usize, reader: Reader) -> Bytes {
        let (number, is_news) = self.enter(&page, own, reader);
        if is_news {
            tracing::warn!(
                limit_bytes = self.most,
                "clients do not read their answers; closing the connections that have been at it longest"
            );
        }
        Bytes::from_owner(Reading { page, number, unread: Arc::clone(self) })
    }

    /// Enters a page that is handed out, and makes room for it. Its number, and whether that is worth a line in the log.
    fn enter(&self, page: &Bytes, own: usize, reader: Reader) -> (u64, bool) {
        let mut books = self.books.lock();
        let books = &mut *books;
        let (address, number) = (page.as_ptr().addr(), books.next);
        let shared = books.pages.entry(address).or_insert_with(|| {
            books.bytes += page.len();
            Page { bytes: page.len(), readers: 0 }
        });
        shared.readers += 1;
        books.bytes += own;
        books.readers.insert(number, Entry { address, own, reader });
        books.next += 1;
        books.alive += 1;
        let mut closed = false;
        if books.bytes > self.most {
            closed = books.make_room(self.most, &self.scrapers.remembered(Instant::now()));
        }
        (number, closed && books.spell.begins(Instant::now()))
    }

    fn taken(&self, number: u64) {
        let mut books = self.books.lock();
        books.remove(number);
        books.alive -= 1;
        // The memory of those that were given up is of no use any more: there will not be as many again soon.
        if books.alive == 0 && std::mem::take(&mut books.closed) {
            drop(books);
            heap::give_back();
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
pub(super) struct Spell(Option<Instant>);

impl Spell {
    /// It happens now; true if it did not for a while.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
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
        let unread = Arc::new(Unread::new(100, Arc::default()));
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
    fn clients_with_several_go_first_and_scrapers_last() {
        let scrapers = Arc::<Scrapers>::default();
        let address = |n: u8| Peer::from([192, 0, 2, n]);
        scrapers.set_received(address(1), 1, Instant::now());
        let unread = Arc::new(Unread::new(100, scrapers));
        let readers = [1, 2, 3, 3, 4, 5, 6].map(|n| Reader::new(Some(address(n))));
        let read = |n: usize, bytes| unread.lend(page(bytes), 0, readers[n].clone());
        let mut held: Vec<Bytes> = (0..4).map(|n| read(n, 25)).collect();
        let gone = || readers.each_ref().map(given_up);
        held.push(read(4, 25));
        assert_eq!(gone(), [false, false, true, false, false, false, false], "the first of two of one");
        held.push(read(5, 25));
        assert_eq!(gone(), [false, true, false, false, false, false, false], "then the oldest");
        held.push(read(6, 75));
        assert_eq!(gone(), [false, false, false, true, true, true, false], "the scraper still reads");
        drop(held);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn a_page_counts_once_and_until_its_last_reader_has_it() {
        let unread = Arc::new(Unread::new(100, Arc::default()));
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
        let unread = Arc::new(Unread::new(100, Arc::default()));
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
        let unread = Arc::new(Unread::new(100, Arc::default()));
        let (shared, readers): (_, [Reader; 2]) = (page(40), Default::default());
        let first = unread.lend(shared.clone(), 20, readers[0].clone());
        let second = unread.lend(shared.clone(), 20, readers[1].clone());
        assert_eq!(unread.bytes(), 80);
        drop(first);
        assert_eq!(unread.bytes(), 60);
        // A reader more of the same page has its room from whoever has been at it longest.
        let newest = unread.lend(page(30), 5, Reader::default());
        let another = Reader::default();
        let held = unread.lend(shared, 20, another.clone());
        assert_eq!((unread.bytes(), given_up(&readers[1]), given_up(&another)), (95, true, false));
        drop((second, newest, held));
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn many_readers_of_one_page_are_closed_too() {
        let unread = Arc::new(Unread::new(100, Arc::default()));
        let (shared, readers): (_, [Reader; 6]) = (page(40), Default::default());
        // The first connection reads it twice.
        let order = [0, 1, 0, 2, 3, 4, 5];
        let held: Vec<Bytes> =
            order.iter().map(|n| unread.lend(shared.clone(), 15, readers[*n].clone())).collect();
        assert_eq!(readers.each_ref().map(given_up), [true, true, false, false, false, false]);
        assert_eq!(unread.bytes(), 40 + 4 * 15);
        drop(held);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn an_answer_takes_more_than_its_bytes() {
        let unread = Arc::new(Unread::new(10 * ANSWER, Arc::default()));
        let readers: [Reader; 12] = Default::default();
        let content = || Content::Whole(Bytes::from_static(b"short"));
        let held = readers.each_ref().map(|reader| unread.hand_out(content(), reader.clone()));
        assert!(unread.bytes() <= 10 * ANSWER);
        assert_eq!(readers.iter().filter(|reader| given_up(reader)).count(), 3);
        drop(held);
        assert_eq!(unread.bytes(), 0);
    }

    #[test]
    fn the_newest_page_stays_whatever_its_length() {
        let unread = Arc::new(Unread::new(100, Arc::default()));
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
