//! The budget: one counter that is asked before anything is held.
//!
//! It counts bytes that are really alive: stored, being filled, or pinned by slow readers after they left the map. A
//! [`Reservation`] stands for a part of them and gives it back when it is dropped, wherever it has got to by then: a body
//! carries its own ([`Reservation::into_body`]), an entry the one for its head, its key and its place in the map.
//! Nothing here waits or evicts: making room is left to [`Store::reserve`](super::Store::reserve).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// One object may take this part of the capacity, as a divisor: larger ones would each push out a good part of what is
/// stored, and eight of them leave room for nothing else.
const OBJECT_SHARE: u64 = 8;

/// Counts the bytes alive against a cap.
#[derive(Debug)]
pub struct Budget {
    capacity: u64,
    alive: AtomicU64,
}

/// Bytes that may be held. Dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// Makes a budget of `capacity` bytes, of which none is taken.
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

    /// Returns the most bytes alive.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Returns the most bytes of a single object, its head included. What is larger is refused before it enters.
    pub fn object_max(&self) -> u64 {
        self.capacity / OBJECT_SHARE
    }

    /// Tells whether `bytes` would fit now.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.alive().checked_add(bytes).is_some_and(|sum| sum <= self.capacity)
    }

    /// Counts `bytes` as alive where they fit. The comparison and the addition are one step, so that two who ask at once
    /// cannot both get the last bytes.
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

    /// Reserves `more` bytes on top; false when they do not fit, and then nothing changed.
    pub fn grow(&mut self, more: u64) -> bool {
        let fits = self.budget.take(more);
        if fits {
            self.bytes += more;
        }
        fits
    }

    /// Gives back what is reserved beyond `bytes`; nothing changes where that is not less.
    pub fn shrink_to(&mut self, bytes: u64) {
        let beyond = self.bytes.saturating_sub(bytes);
        self.bytes -= beyond;
        self.budget.give_back(beyond);
    }

    /// Turns the reservation into a body whose bytes are counted until its last reader drops it. What was reserved beyond
    /// the body's length is given back. The caller has reserved at least that length before it allocated the body.
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

/// What a body's `Bytes` owns: it is dropped with the last of its clones and slices.
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
    fn it_gives_up_to_the_capacity_and_not_one_byte_more() {
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
    fn a_reservation_grows_and_shrinks_or_stays_as_it_is() {
        let budget = Budget::new(100);
        let mut reservation = budget.reserve(10).unwrap();
        assert!(reservation.grow(90));
        assert!(!reservation.grow(1));
        assert_eq!((reservation.bytes(), budget.alive()), (100, 100));
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
