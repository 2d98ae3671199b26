//! The budget: one counter that every allocation of the cache asks first.
//!
//! The budget counts bytes that are really alive: stored, being fetched, or pinned by slow readers
//! after their entry was evicted. A [`Reservation`] stands for a part of these bytes and returns
//! them on drop, wherever it is by then: a body carries its own ([`Reservation::into_body`]), and
//! an entry carries one for its head, its key and its place in the map. Nothing here waits or
//! evicts; the store makes room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// The largest object, as a divisor of the capacity. A larger one would evict a good part of the
/// cache, and eight of them would leave room for nothing else.
const OBJECT_SHARE: u64 = 8;

/// Counts the bytes alive against a cap.
#[derive(Debug)]
pub struct Budget {
    capacity: u64,
    alive: AtomicU64,
}

/// Bytes that may be allocated. Returns them to the budget on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// Makes an empty budget of `capacity` bytes.
    pub fn new(capacity: u64) -> Arc<Self> {
        Arc::new(Self { capacity, alive: AtomicU64::new(0) })
    }

    /// Reserves `bytes`; `None` when they do not fit. Never waits.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        self.take(bytes).then(|| Reservation { budget: Arc::clone(self), bytes })
    }

    /// Returns the bytes alive; never more than [`Budget::capacity`].
    pub fn alive(&self) -> u64 {
        self.alive.load(Ordering::Relaxed)
    }

    /// Returns the most bytes that may be alive.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the largest size of one object, head included. Larger objects are refused before
    /// they enter.
    pub fn object_max(&self) -> u64 {
        self.capacity / OBJECT_SHARE
    }

    /// Returns whether `bytes` would fit now.
    pub fn fits(&self, bytes: u64) -> bool {
        self.alive().checked_add(bytes).is_some_and(|sum| sum <= self.capacity)
    }

    /// Counts `bytes` as alive if they fit. Comparison and addition are one atomic step, so that
    /// two threads cannot both get the last bytes.
    fn take(&self, bytes: u64) -> bool {
        let sum = |alive: u64| alive.checked_add(bytes).filter(|sum| *sum <= self.capacity);
        self.alive.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.alive.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Returns the bytes reserved.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns everything above `bytes` to the budget; a smaller reservation stays as it is.
    pub fn shrink_to(&mut self, bytes: u64) {
        let beyond = self.bytes.saturating_sub(bytes);
        self.bytes -= beyond;
        self.budget.give_back(beyond);
    }

    /// Turns the reservation into a body whose bytes are counted until its last reader drops it.
    ///
    /// Bytes reserved beyond the body's length are returned. The caller must have reserved at least
    /// that length before allocating the body.
    pub fn into_body(mut self, body: Box<[u8]>) -> Bytes {
        let length = body.len() as u64;
        debug_assert!(length <= self.bytes, "a body of {length} bytes on a reservation of {}", self.bytes);
        if body.is_empty() {
            return Bytes::new();
        }
        self.shrink_to(length);
        Bytes::from_owner(CountedBytes { body, _reservation: self })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// The owner of a body's `Bytes`, dropped with the last clone or slice of them.
struct CountedBytes {
    body: Box<[u8]>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_budget_gives_out_its_capacity_and_not_one_byte_more() {
        let budget = Budget::new(100);
        let first = budget.reserve(60).unwrap();
        assert!(budget.reserve(41).is_none());
        assert_eq!(budget.alive(), 60);
        let second = budget.reserve(40).unwrap();
        assert!(budget.reserve(1).is_none());
        assert!(budget.reserve(0).is_some());
        assert!(budget.reserve(u64::MAX).is_none());
        drop((first, second));
        assert_eq!(budget.alive(), 0);
    }

    #[test]
    fn a_reservation_shrinks_and_never_grows() {
        let budget = Budget::new(100);
        let mut reservation = budget.reserve(100).unwrap();
        reservation.shrink_to(200);
        assert_eq!(budget.alive(), 100);
        reservation.shrink_to(30);
        assert_eq!((reservation.bytes(), budget.alive()), (30, 30));
        drop(reservation);
        assert_eq!(budget.alive(), 0);
    }

    #[test]
    fn a_body_is_counted_until_its_last_reader_drops_it() {
        let budget = Budget::new(100);
        let body = budget.reserve(50).unwrap().into_body(vec![7; 20].into());
        assert_eq!(budget.alive(), 20);
        let (clone, slice) = (body.clone(), body.slice(5..6));
        drop(body);
        drop(clone);
        assert_eq!((budget.alive(), &slice[..]), (20, &[7][..]));
        drop(slice);
        assert_eq!(budget.alive(), 0);
        let empty = budget.reserve(50).unwrap().into_body(Box::default());
        assert_eq!((budget.alive(), empty.len()), (0, 0));
    }

    #[test]
    fn many_threads_never_get_more_than_there_is() {
        let budget = Budget::new(1000);
        thread::scope(|scope| {
            for thread in 0..8_u64 {
                let budget = &budget;
                scope.spawn(move || {
                    let mut reservations = Vec::new();
                    for round in 0..2000 {
                        reservations.extend(budget.reserve((thread * 31 + round * 17) % 120));
                        assert!(budget.alive() <= 1000);
                        if round % 3 == 0 {
                            reservations.clear();
                        }
                    }
                });
            }
        });
        assert_eq!(budget.alive(), 0);
    }
}
