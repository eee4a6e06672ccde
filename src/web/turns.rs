//! Whose turn it is on the server's one thread.
//!
//! The runtime serves tasks in the order in which they became ready, so a client with a hundred connections would have a
//! hundred times what a scraper with one has. Here each connection waits for its turn before it does anything: to read,
//! shake hands, answer or write. Clients take turns one after the other, however many connections each has, and every
//! second turn belongs to a scraper that is remembered, if one wants it.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::peer::{Origin, Peer};
use super::scrapers::Scrapers;

/// An usher that failed is replaced after this time.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module's docs.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    scrapers: Arc<Scrapers>,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    scrapers: Lane,
    others: Lane,
    /// Whose lane had the last turn.
    scraper_was_last: bool,
    usher: Option<Waker>,
}

/// Clients that wait, in the order of their turns.
#[derive(Debug, Default)]
struct Lane {
    order: VecDeque<Origin>,
    /// Of each client, its connections in the order in which they became ready.
    waiting: HashMap<Origin, VecDeque<Weak<Ticket>>>,
}

impl Lane {
    fn enter(&mut self, who: Origin, ticket: &Arc<Ticket>) {
        let queue = self.waiting.entry(who).or_default();
        if queue.is_empty() {
            self.order.push_back(who);
        }
        queue.push_back(Arc::downgrade(ticket));
    }

    /// The next connection that is still there; its client goes to the end. Those that are gone cost no turn, or who
    /// opened and closed thousands would have to wait for as many.
    fn next(&mut self) -> Option<Arc<Ticket>> {
        while let Some(who) = self.order.pop_front() {
            let queue = self.waiting.get_mut(&who)?;
            let ticket = std::iter::from_fn(|| queue.pop_front()).find_map(|ticket| ticket.upgrade());
            if queue.is_empty() {
                self.waiting.remove(&who);
            } else {
                self.order.push_back(who);
            }
            if ticket.is_some() {
                return ticket;
            }
        }
        None
    }
}

impl Books {
    fn next(&mut self) -> Option<Arc<Ticket>> {
        let others_first = std::mem::take(&mut self.scraper_was_last);
        if let Some(ticket) = others_first.then(|| self.others.next()).flatten() {
            return Some(ticket);
        }
        let scraper = self.scrapers.next();
        self.scraper_was_last = scraper.is_some();
        scraper.or_else(|| self.others.next())
    }
}

/// Where a task stands.
#[derive(Debug, Default)]
struct Ticket(Mutex<Stand>);

#[derive(Debug, Default)]
enum Stand {
    #[default]
    Idle,
    Waiting(Waker),
    Called,
}

impl Turns {
    pub(super) fn new(scrapers: Arc<Scrapers>) -> Self {
        Self(Arc::new(Shared { scrapers, books: Mutex::default() }))
    }

    /// Has them called for good, whatever becomes of who calls: without one nobody is served.
    pub(super) async fn run(self) {
        loop {
            // It ends with this, and its panic is its own.
            let mut ushers = JoinSet::new();
            ushers.spawn(self.clone().usher());
            if let Some(Err(error)) = ushers.join_next().await {
                tracing::error!(%error, "who calls the clients failed; another one takes over");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Calls one after the other, and lets all that is ready have its way in between.
    async fn usher(self) {
        loop {
            let ticket = poll_fn(|context| {
                let mut books = self.0.books.lock();
                match books.next() {
                    Some(ticket) => Poll::Ready(ticket),
                    None => {
                        books.usher = Some(context.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await;
            if let Stand::Waiting(waker) = std::mem::replace(&mut *ticket.0.lock(), Stand::Called) {
                waker.wake();
            }
            tokio::task::yield_now().await;
        }
    }

    fn enter(&self, peer: Option<Peer>, ticket: &Arc<Ticket>) {
        let scraper = peer.filter(|peer| self.0.scrapers.is_remembered(*peer));
        let mut books = self.0.books.lock();
        match scraper {
            // By its own address: its neighbours in a /64 are others.
            Some(scraper) => books.scrapers.enter(Origin::alone(scraper), ticket),
            None => books.others.enter(Origin::of(peer), ticket),
        }
        if let Some(usher) = books.usher.take() {
            usher.wake();
        }
    }

    /// The same work, done in turns of this client.
    pub(super) fn pace<F: Future>(&self, peer: Option<Peer>, work: F) -> Paced<F> {
        Paced { turns: self.clone(), peer, ticket: Arc::default(), work: Box::pin(work) }
    }
}

/// See [`Turns::pace`].
#[derive(Debug)]
pub(super) struct Paced<F> {
    turns: Turns,
    peer: Option<Peer>,
    ticket: Arc<Ticket>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Paced<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut stand = self.ticket.0.lock();
        match &mut *stand {
            Stand::Called => *stand = Stand::Idle,
            Stand::Waiting(waker) => {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            Stand::Idle => {
                *stand = Stand::Waiting(context.waker().clone());
                drop(stand);
                self.turns.enter(self.peer, &self.ticket);
                return Poll::Pending;
            }
        }
        drop(stand);
        self.work.as_mut().poll(context)
    }
}

/// Starts what belongs to a connection, in turns of its client.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    pub(super) turns: Turns,
    pub(super) peer: Option<Peer>,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Pace {
    fn execute(&self, work: F) {
        tokio::spawn(self.turns.pace(self.peer, work));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn address(n: u8) -> Peer {
        [192, 0, 2, n].into()
    }

    /// Whose work is done in which order, if each of these has one thing to do, and all at once.
    fn order(scrapers: &[u8], ready: &[u8]) -> Vec<u8> {
        let remembered = Arc::<Scrapers>::default();
        scrapers.iter().for_each(|n| remembered.set_received(address(*n), 1, Instant::now()));
        let turns = Turns::new(remembered);
        let done = Arc::<Mutex<Vec<u8>>>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for n in ready.iter().copied() {
                let done = Arc::clone(&done);
                tasks.spawn(turns.pace(Some(address(n)), async move { done.lock().push(n) }));
            }
            // One that goes before its turn holds nobody up.
            let gone = tokio::spawn(turns.pace(Some(address(1)), std::future::pending::<()>()));
            tokio::task::yield_now().await;
            gone.abort();
            let usher = tokio::spawn(turns.usher());
            tasks.join_all().await;
            usher.abort();
        });
        let done = done.lock();
        done.clone()
    }

    #[test]
    fn clients_take_turns_whatever_each_has_to_do() {
        assert_eq!(order(&[], &[1, 1, 1, 1, 2, 3, 3]), [1, 2, 3, 1, 3, 1, 1]);
    }

    #[test]
    fn those_that_are_gone_cost_no_turn() {
        let (mut lane, who) = (Lane::default(), [1, 2, 3].map(|n| Origin::alone(address(n))));
        let live: Vec<_> = (0..5).map(|_| Arc::<Ticket>::default()).collect();
        (0..1000).for_each(|_| lane.enter(who[0], &Arc::default()));
        for (at, who) in [(0, who[0]), (1, who[1]), (2, who[1]), (3, who[2]), (4, who[2])] {
            lane.enter(who, &live[at]);
        }
        let order: Vec<_> = std::iter::from_fn(|| lane.next())
            .map(|ticket| live.iter().position(|one| Arc::ptr_eq(one, &ticket)).unwrap())
            .collect();
        assert_eq!(order, [0, 1, 3, 2, 4]);
    }

    #[test]
    fn an_usher_that_fails_is_replaced() {
        struct Broken;
        impl std::task::Wake for Broken {
            fn wake(self: Arc<Self>) {
                panic!("a client that cannot be called");
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let turns = Turns::new(Arc::default());
            let mut broken = turns.pace(Some(address(1)), std::future::pending::<()>());
            let waker = Arc::new(Broken).into();
            assert!(Pin::new(&mut broken).poll(&mut Context::from_waker(&waker)).is_pending());
            let running = tokio::spawn(turns.clone().run());
            let other = tokio::spawn(turns.pace(Some(address(2)), async {}));
            tokio::time::timeout(Duration::from_secs(20), other).await.unwrap().unwrap();
            running.abort();
        });
    }

    #[test]
    fn every_second_turn_is_a_scraper_s() {
        assert_eq!(order(&[9], &[1, 2, 3, 9, 9]), [9, 1, 9, 2, 3]);
    }
}
