//! Readers of a stack's records, each with a bounded queue of its own.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sockeye_core::trace::Record;

/// What the writer and one reader share.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    capacity: usize,
    lost: u64,
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end: lives in the driver.
#[derive(Default)]
pub(crate) struct Subscribers(Vec<Weak<Queue>>);

impl Subscribers {
    /// Adds a reader of at most `capacity` unread records.
    pub(crate) fn subscribe(&mut self, capacity: usize) -> Records {
        let queue = Arc::new(Queue::default());
        queue.lock().capacity = capacity;
        self.0.push(Arc::downgrade(&queue));
        Records(queue)
    }

    /// The largest queue of those who still read; 0 if nobody does.
    pub(crate) fn capacity(&mut self) -> usize {
        self.0.retain(|queue| queue.strong_count() > 0);
        self.0.iter().filter_map(Weak::upgrade).map(|queue| queue.lock().capacity).max().unwrap_or(0)
    }

    /// Hands records to every reader.
    pub(crate) fn publish(&self, records: &[Record]) {
        for queue in self.0.iter().filter_map(Weak::upgrade) {
            let mut state = queue.lock();
            let room = state.capacity.saturating_sub(state.records.len());
            state.records.extend(records.iter().take(room).cloned());
            state.lost += records.len().saturating_sub(room) as u64;
            drop(state);
            queue.filled.notify_one();
        }
    }

    /// No more will come.
    pub(crate) fn end(&self) {
        for queue in self.0.iter().filter_map(Weak::upgrade) {
            queue.lock().ended = true;
            queue.filled.notify_all();
        }
    }
}

/// Reads what a stack records, oldest first. Dropping it ends the recording if nobody else reads.
pub struct Records(Arc<Queue>);

impl Records {
    /// The next record, waited for until `timeout` is over (`None`: for ever). None also when the stack has
    /// ended and everything was read.
    pub fn next(&self, timeout: Option<Duration>) -> Option<Record> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.0.lock();
        loop {
            if let Some(record) = state.records.pop_front() {
                return Some(record);
            }
            if state.ended {
                return None;
            }
            state = match until {
                None => self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.0.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The next record if there is one now.
    pub fn try_next(&self) -> Option<Record> {
        self.0.lock().records.pop_front()
    }

    /// Records that did not fit into this reader's queue.
    pub fn lost(&self) -> u64 {
        self.0.lock().lost
    }

    /// Whether the stack has ended, and nothing is left to read.
    pub fn is_over(&self) -> bool {
        let state = self.0.lock();
        state.ended && state.records.is_empty()
    }
}
