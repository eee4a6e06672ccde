//! Who is known: the addresses in the inventory, and this host's own.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tokio::sync::Notify;

use crate::inventory::{Entry, Inventory};
use crate::mac::Mac;
use crate::sources::{Roster, Standing};

/// Shared by the threads that capture, those that make pages, and whoever reloads the inventory.
#[derive(Debug, Default)]
pub struct Known {
    /// None while none is configured: then nobody is unknown either.
    inventory: RwLock<Option<Arc<Inventory>>>,
    own: RwLock<HashSet<Mac>>,
    generation: AtomicU64,
    /// Rung with each new generation.
    changed: Notify,
}

impl Known {
    /// The inventory, if one is configured.
    pub fn inventory(&self) -> Option<Arc<Inventory>> {
        self.inventory.read().clone()
    }

    /// Takes another inventory.
    pub fn set_inventory(&self, inventory: Inventory) {
        *self.inventory.write() = Some(Arc::new(inventory));
        self.renew();
    }

    /// Takes the addresses of this host's interfaces. All zero is nobody's, the loopback's too.
    pub fn set_own(&self, macs: impl Iterator<Item = Mac>) {
        let macs: HashSet<Mac> = macs.filter(|mac| mac.number() != 0).collect();
        let mut own = self.own.write();
        if *own != macs {
            *own = macs;
            self.renew();
        }
    }

    fn renew(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Waits until something has changed since this last returned. One waits at a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Roster for Known {
    fn standing(&self, mac: Mac) -> Standing {
        let listed = self
            .inventory
            .read()
            .as_ref()
            .is_some_and(|inventory| inventory.find(mac).is_some_and(Entry::is_exact));
        Standing { own: self.own.read().contains(&mac), listed }
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn reserved(&self) -> Vec<Mac> {
        let own = self.own.read().iter().copied().collect::<Vec<_>>();
        let inventory = self.inventory();
        let exact = inventory.iter().flat_map(|inventory| inventory.exact());
        own.into_iter().chain(exact).collect()
    }
}

/// Whether a source is known: an entry vouches for it, or it is this host's own.
pub fn is_known(entry: Option<&Entry>, own: bool) -> bool {
    own || entry.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_a_number_of_its_own() {
        let known = Known::default();
        let mac = Mac::new([2, 0, 0, 0, 0, 1]);
        let zero = Mac::new([0; 6]);
        assert_eq!(known.standing(mac), Standing::default());
        let before = known.generation();
        known.set_own([mac, zero].into_iter());
        assert_ne!(known.generation(), before);
        assert!(known.standing(mac).own);
        assert!(!known.standing(zero).is_reserved(), "the loopback's address is anybody's");
        let before = known.generation();
        known.set_own([mac].into_iter());
        assert_eq!(known.generation(), before, "nothing changed");
    }
}
