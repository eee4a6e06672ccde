//! Places for those who wait for something that costs.
//!
//! There is one for each client, whatever the others do; what they want beyond that, they share. So a flood takes the
//! places of the clients that it comes from, and there are never more than are shared and one for each client.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::peer::Origin;

/// See the module's docs.
#[derive(Debug)]
pub(super) struct Places {
    shared: usize,
    /// Most of one client.
    of_one: usize,
    taken: Mutex<HashMap<Origin, usize>>,
}

/// One of them; given back however the request ends.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: Origin,
}

impl Places {
    pub(super) fn new(shared: usize, of_one: usize) -> Arc<Self> {
        Arc::new(Self { shared, of_one, taken: Mutex::default() })
    }

    /// A place; none if the client has one and all are taken.
    pub(super) fn take(self: &Arc<Self>, client: Origin) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.get(&client).copied().unwrap_or(0);
        if own > 0 && (own >= self.of_one || taken.values().sum::<usize>() >= self.shared) {
            return None;
        }
        taken.insert(client, own + 1);
        Some(Place { places: Arc::clone(self), client })
    }
}

#[cfg(test)]
impl Places {
    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.taken.lock().values().sum()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::peer::Peer;

    #[test]
    fn each_client_has_one_and_the_others_are_shared() {
        let places = Places::new(6, 4);
        let client = |n: u8| Origin::alone(Peer::from([192, 0, 2, n]));
        let mut of_one: Vec<_> = std::iter::from_fn(|| places.take(client(1))).collect();
        assert_eq!(of_one.len(), 4);
        let second = [places.take(client(2)), places.take(client(2))];
        assert!(second.iter().all(Option::is_some) && places.take(client(2)).is_none(), "all are taken");
        let mut first_of_each: Vec<_> = (3..9).map(|n| places.take(client(n)).unwrap()).collect();
        first_of_each.extend(places.take(Origin::of(None)));
        assert_eq!(first_of_each.len(), 7);
        assert!(places.take(client(3)).is_none() && places.take(Origin::of(None)).is_none());
        // Who gives one back has no more right to it than others, unless it was the last.
        of_one.pop();
        assert!(places.take(client(1)).is_none());
        drop((of_one, second, first_of_each));
        assert!(places.taken.lock().is_empty());
    }
}
