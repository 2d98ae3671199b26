//! The memory of the personalisation guard, besides the guards of the stored entries: comparisons
//! under way, and keys whose responses were found to differ by user.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::proxy::fetch::coalesce::{FlightRole, Flights};
use crate::proxy::fetch::key_memory::KeyMemory;
use crate::random;
use crate::stored::SharingGuard;

/// How long a key is suspect whose responses were found to differ by user. The time is longer than
/// `personalised_for`, during which requests with credentials pass: after that, a body that an
/// anonymous request brought in is compared before they get it.
const SUSPECT_FOR: Duration = Duration::from_secs(24 * 3600);

/// The result of a comparison. A comparison without a result ends its flight, and nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompareResult {
    /// The requester got the same.
    Same,
    /// The requester got something else.
    Different,
}

/// The memory of the personalisation guard.
pub(crate) struct SharingMemory {
    /// Comparisons under way, named after the guard whose body they judge.
    flights: Arc<Flights<CompareResult>>,
    /// Keys whose responses were found to differ by user, and until when requests with credentials
    /// pass.
    personalised: KeyMemory<Timestamp>,
}

impl SharingMemory {
    /// Makes an empty memory.
    pub(crate) fn new() -> Self {
        Self { flights: Flights::new(random::bits()), personalised: KeyMemory::new() }
    }

    /// Remembers that the responses for the key with this hash differ by user; requests with
    /// credentials pass for `pass_for`.
    pub(crate) fn mark_personalised(&self, hash: u128, now: Timestamp, pass_for: Duration) {
        self.personalised.put(hash, now + pass_for, now + SUSPECT_FOR);
    }

    /// Returns until when requests with credentials pass, if the key's responses were found to
    /// differ by user lately.
    pub(crate) fn personalised_until(&self, hash: u128, now: Timestamp) -> Option<Timestamp> {
        self.personalised.get(hash, now)
    }

    /// Joins the comparison of a guard's body, or leads it.
    pub(crate) fn join(&self, guard: &Arc<SharingGuard>) -> FlightRole<CompareResult> {
        self.flights.join(flight_name(guard))
    }

    /// Tells whether a comparison of a guard's body is under way.
    pub(crate) fn is_comparing(&self, guard: &Arc<SharingGuard>) -> bool {
        self.flights.find(&flight_name(guard)).is_some()
    }

    /// Returns how many comparisons are under way.
    pub(crate) fn flights(&self) -> usize {
        self.flights.len()
    }
}

/// Names a flight after its guard's address. The flight's leader holds the guard, so no other guard
/// has that address meanwhile.
fn flight_name(guard: &Arc<SharingGuard>) -> [u8; size_of::<usize>()] {
    (Arc::as_ptr(guard) as usize).to_le_bytes()
}
