//! Who may ask: names and passwords of basic authentication.
//!
//! A password costs a processor a twentieth of a second to compare with its hash, on purpose. So one that was right is
//! remembered, as a keyed hash of it; others are compared one at a time, on a thread beside the server's, and whoever
//! finds the queue full is told to come back. Addresses that scrape have a queue of their own, which nobody else fills:
//! they come with another password when it was changed. A name that nobody has takes as long as one that somebody has.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{self, HeaderMap};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::config;
use super::peer::{Origin, Peer};
use super::places::Places;

/// Comparisons at a time in each queue: one core is enough for strangers.
const AT_WORK: usize = 1;
/// Most in a queue that are compared or wait for it, beside one for each address.
const MOST_WAITING: usize = 32;
/// Of these, most from one address: another's turn comes.
const MOST_OF_ONE: usize = 4;
/// Right passwords that are remembered.
const MOST_REMEMBERED: usize = 256;

/// Nobody's hash, for names that nobody has: the toolkit's own. Its cost is replaced.
const NOBODY: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// What is said to a name and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Come in.
    Right,
    /// No, or nothing was said.
    Wrong,
    /// There are too many to be compared.
    Busy,
}

/// The users, by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    /// What each of them costs to compare.
    costs: Vec<u32>,
}

impl Users {
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Self {
        let costs = hashes.values().filter_map(|hash| config::cost(hash)).collect();
        Self { hashes, costs }
    }

    /// The hash for a name that nobody has: it costs what that of somebody does, and the same whenever it is asked for.
    /// Where users' costs differ, as many of these names have each of them, in the long run.
    fn nobody(&self, number: u64) -> String {
        let at = usize::try_from(number % self.costs.len().max(1) as u64).unwrap_or_default();
        let cost = self.costs.get(at).copied().unwrap_or(10);
        NOBODY.replace("$10$", &format!("${cost:02}$"))
    }

    /// Whether everybody may ask.
    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }
}

/// See the module's docs. It outlives changes of the users.
#[derive(Debug)]
pub(super) struct Doorman {
    key: hmac::Key,
    right: Mutex<Remembered>,
    strangers: Queue,
    scrapers: Queue,
}

#[derive(Debug)]
struct Queue {
    places: Arc<Places>,
    turns: Arc<Semaphore>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { places: Places::new(MOST_WAITING, MOST_OF_ONE), turns: Arc::new(Semaphore::new(AT_WORK)) }
    }
}

#[derive(Debug, Default)]
struct Remembered {
    tags: VecDeque<[u8; 32]>,
}

impl Doorman {
    /// None if the system has no random numbers.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self { key, right: Mutex::default(), strangers: Queue::default(), scrapers: Queue::default() })
    }

    /// Forgets all passwords.
    pub(super) fn forget(&self) {
        self.right.lock().tags.clear();
    }

    /// Whether a client with these headers may come in; and whether one at its address has scraped of late.
    pub(super) async fn ask(
        &self,
        users: &Users,
        headers: &HeaderMap,
        peer: Option<Peer>,
        scraper: bool,
    ) -> Verdict {
        let Some((name, password)) = credentials(headers) else { return Verdict::Wrong };
        let known = str::from_utf8(&name).ok().and_then(|name| users.hashes.get(name));
        let hash = known.cloned().unwrap_or_else(|| users.nobody(self.number(&name)));
        let tag = self.tag(&name, &hash, &password);
        if known.is_some() && self.right.lock().tags.contains(&tag) {
            return Verdict::Right;
        }
        let queue = if scraper { &self.scrapers } else { &self.strangers };
        let who = if scraper { peer.map(Origin::alone) } else { None }.unwrap_or_else(|| Origin::of(peer));
        let Some(_place) = queue.places.take(who) else { return Verdict::Busy };
        let Ok(turn) = Arc::clone(&queue.turns).acquire_owned().await else { return Verdict::Busy };
        // Somebody may have asked the same meanwhile: those who come together are compared once.
        if known.is_some() && self.right.lock().tags.contains(&tag) {
            return Verdict::Right;
        }
        let compared = spawn_blocking(move || {
            // Whoever went away leaves the work, and its turn, behind.
            let _turn = turn;
            bcrypt::verify(&password, &hash)
        });
        // Waited for before anything is said: a name that nobody has must not be answered sooner. A hash that cannot
        // be used is no reason to let somebody in; it was looked at when it was read.
        let same = matches!(compared.await, Ok(Ok(true)));
        if known.is_none() || !same {
            return Verdict::Wrong;
        }
        let mut right = self.right.lock();
        if right.tags.len() >= MOST_REMEMBERED {
            right.tags.pop_front();
        }
        right.tags.push_back(tag);
        Verdict::Right
    }

    /// A number that stands for a name: nobody can tell it without the key.
    fn number(&self, name: &[u8]) -> u64 {
        let tag = hmac::sign(&self.key, name);
        tag.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Stands for a name, its hash and a password; tells nothing of them without the key.
    fn tag(&self, name: &[u8], hash: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, hash.as_bytes(), password] {
            // Where one ends is part of it.
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// Name and password, as RFC 7617 has them.
fn credentials(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut name = BASE64_STANDARD.decode(rest).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.pop();
    Some((name, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    fn basic(text: &str) -> HeaderMap {
        headers(&format!("Basic {}", BASE64_STANDARD.encode(text)))
    }

    fn users(list: &[(&str, &str)]) -> Users {
        let hash = |(name, password): &(&str, &str)| ((*name).to_owned(), bcrypt::hash(password, 4).unwrap());
        Users::new(list.iter().map(hash).collect())
    }

    fn ask(doorman: &Doorman, users: &Users, headers: &HeaderMap) -> Verdict {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(doorman.ask(users, headers, None, false))
    }

    #[test]
    fn credentials_are_those_of_the_standard() {
        let some =
            |name: &str, password: &str| Some((name.as_bytes().to_vec(), password.as_bytes().to_vec()));
        assert_eq!(credentials(&basic("a:b:c")), some("a", "b:c"));
        assert_eq!(credentials(&basic(":")), some("", ""));
        assert_eq!(credentials(&headers("bASIC YTpi")), some("a", "b"));
        for wrong in ["Basic", "Basic ", "Bearer YTpi", "Basic YTpi=", "Basic  YTpi", "Basic YQ==", "Basic Y"]
        {
            assert_eq!(credentials(&headers(wrong)), None, "{wrong}");
        }
        assert_eq!(credentials(&HeaderMap::new()), None);
    }

    #[test]
    fn the_right_password_of_the_right_user_is_right() {
        let (doorman, users) = (Doorman::new().unwrap(), users(&[("ann", "one"), ("bob", "two")]));
        for _ in 0..2 {
            for (said, verdict) in [
                ("ann:one", Verdict::Right),
                ("bob:two", Verdict::Right),
                ("ann:two", Verdict::Wrong),
                ("annone:", Verdict::Wrong),
                ("eve:one", Verdict::Wrong),
                // That of the hash for names that nobody has.
                ("eve:fakepassword", Verdict::Wrong),
                ("", Verdict::Wrong),
            ] {
                assert_eq!(ask(&doorman, &users, &basic(said)), verdict, "{said}");
            }
        }
        assert_eq!(doorman.right.lock().tags.len(), 2, "only what was right is remembered");
    }

    #[test]
    fn a_changed_password_is_not_remembered() {
        let doorman = Doorman::new().unwrap();
        let said = basic("ann:one");
        assert_eq!(ask(&doorman, &users(&[("ann", "one")]), &said), Verdict::Right);
        assert_eq!(ask(&doorman, &users(&[("ann", "two")]), &said), Verdict::Wrong);
        assert_eq!(ask(&doorman, &users(&[("bob", "one")]), &said), Verdict::Wrong);
        doorman.forget();
        assert!(doorman.right.lock().tags.is_empty());
    }

    #[test]
    fn a_scraper_waits_for_no_stranger() {
        let (doorman, users) = (Doorman::new().unwrap(), users(&[("ann", "one")]));
        let peer = |n: u8| Some(Peer::from([192, 0, 2, n]));
        let taken: Vec<_> = (0..99)
            .flat_map(|n| [(); 4].map(|()| doorman.strangers.places.take(Origin::of(peer(n % 9)))))
            .collect();
        assert_eq!(taken.iter().flatten().count(), MOST_WAITING + 1, "the ninth has its own");
        let _work = doorman.strangers.turns.try_acquire().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let said = basic("ann:one");
        let ask = |scraper| runtime.block_on(doorman.ask(&users, &said, peer(1), scraper));
        assert_eq!([ask(false), ask(true), ask(false)], [Verdict::Busy, Verdict::Right, Verdict::Right]);
    }

    #[test]
    fn nobody_costs_what_users_cost() {
        let with = |n: usize, cost: u32| (n.to_string(), NOBODY.replace("$10$", &format!("${cost:02}$")));
        let users = Users::new((0..3).map(|n| with(n, 5)).chain([with(3, 12)]).collect());
        let costs = |doorman: &Doorman| {
            let cost =
                |n: usize| config::cost(&users.nobody(doorman.number(format!("eve{n}").as_bytes()))).unwrap();
            (0..1000).map(cost).collect::<Vec<u32>>()
        };
        let doorman = Doorman::new().unwrap();
        let (first, again) = (costs(&doorman), costs(&doorman));
        assert_eq!(first, again, "a name that is asked for twice takes as long");
        assert!(first.iter().all(|cost| [5, 12].contains(cost)));
        let dear = first.iter().filter(|cost| **cost == 12).count();
        assert!((100..400).contains(&dear), "a quarter, more or less: {dear}");
        assert_ne!(first, costs(&Doorman::new().unwrap()), "and not the same names for ever");
        assert_eq!(Users::new(BTreeMap::new()).nobody(7), NOBODY);
    }
}
