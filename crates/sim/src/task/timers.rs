//! Who is to be woken when.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::task::Waker;

use sockeye_core::Instant;

struct Entry {
    at: Instant,
    serial: u64,
    waker: Waker,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.serial == other.serial
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest; of one moment, that which was set first.
    fn cmp(&self, other: &Entry) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

/// The timers of all programs.
#[derive(Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Entry>,
    serial: u64,
}

impl Timers {
    /// The next; [`Instant::NEVER`] if there is none.
    pub(super) fn next(&self) -> Instant {
        self.heap.peek().map_or(Instant::NEVER, |entry| entry.at)
    }

    /// Wakes `waker` at `at`. A timer cannot be taken back: whoever waits no more is woken in vain.
    pub(super) fn set(&mut self, at: Instant, waker: Waker) {
        self.serial += 1;
        self.heap.push(Entry { at, serial: self.serial, waker });
    }

    /// Wakes all that are due.
    pub(super) fn fire(&mut self, now: Instant) {
        while self.next() <= now {
            if let Some(entry) = self.heap.pop() {
                entry.waker.wake();
            }
        }
    }
}
