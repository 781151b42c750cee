//! Who sleeps until a socket is ready: any number of threads and tasks, for any readiness.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use sockeye_core::{Ready, SocketId};

use crate::device::Device;

/// Readiness that wakes every waiter, whatever it waits for.
const ALWAYS: Ready = Ready::ERR.union(Ready::HUP).union(Ready::NVAL);

/// Names one entry among a socket's waiters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket(u64);

struct Waiter {
    ticket: Ticket,
    interest: Ready,
    waker: Waker,
}

/// The waiters of one socket, and what the stack was asked to report of it.
#[derive(Default)]
struct Queue {
    waiters: Vec<Waiter>,
    reported: Ready,
}

/// The waiters of all sockets of a stack.
#[derive(Default)]
pub(crate) struct Waiters {
    queues: HashMap<SocketId, Queue>,
    next: u64,
    len: usize,
}

impl Waiters {
    /// Adds a waiter, or moves the one that `ticket` names. Returns what the stack has to report of the
    /// socket from now on, if that is more than before.
    pub(crate) fn add(
        &mut self,
        id: SocketId,
        interest: Ready,
        waker: &Waker,
        ticket: &mut Option<Ticket>,
    ) -> Option<Ready> {
        let queue = self.queues.entry(id).or_default();
        let known = queue.waiters.iter_mut().find(|waiter| Some(waiter.ticket) == *ticket);
        if let Some(waiter) = known {
            waiter.interest = interest;
            waiter.waker.clone_from(waker);
        } else {
            self.next += 1;
            self.len += 1;
            *ticket = Some(Ticket(self.next));
            queue.waiters.push(Waiter { ticket: Ticket(self.next), interest, waker: waker.clone() });
        }
        let wanted = interest | ALWAYS;
        (!queue.reported.contains(wanted)).then(|| {
            queue.reported |= wanted;
            queue.reported
        })
    }

    /// Takes a waiter away that no longer waits.
    pub(crate) fn remove(&mut self, id: SocketId, ticket: &mut Option<Ticket>) {
        let Some(ticket) = ticket.take() else { return };
        if let Some(queue) = self.queues.get_mut(&id) {
            let before = queue.waiters.len();
            queue.waiters.retain(|waiter| waiter.ticket != ticket);
            self.len -= before - queue.waiters.len();
        }
    }

    /// Moves those who wait for one of these bits to `woken`.
    pub(crate) fn raise(&mut self, id: SocketId, ready: Ready, woken: &mut Vec<Waker>) {
        let Some(queue) = self.queues.get_mut(&id) else { return };
        let all = ready.intersects(ALWAYS);
        let mut at = 0;
        while let Some(waiter) = queue.waiters.get(at) {
            if all || waiter.interest.intersects(ready) {
                woken.push(queue.waiters.remove(at).waker);
                self.len -= 1;
            } else {
                at += 1;
            }
        }
    }

    /// The socket is closed: everybody who waits for it finds out.
    pub(crate) fn close(&mut self, id: SocketId, woken: &mut Vec<Waker>) {
        if let Some(queue) = self.queues.remove(&id) {
            self.len -= queue.waiters.len();
            woken.extend(queue.waiters.into_iter().map(|waiter| waiter.waker));
        }
    }

    /// Everybody, of all sockets.
    pub(crate) fn close_all(&mut self, woken: &mut Vec<Waker>) {
        self.len = 0;
        for (_, queue) in self.queues.drain() {
            woken.extend(queue.waiters.into_iter().map(|waiter| waiter.waker));
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

/// A thread that sleeps until it is woken: parked, or in [`Device::wait_beside`].
struct Parker {
    thread: Thread,
    woken: AtomicBool,
    /// The device that the thread waits for. It is set before `woken` is looked at, and looked at after `woken` is set.
    device: Mutex<Option<Arc<dyn Device>>>,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.woken.swap(true, Ordering::AcqRel) || self.thread.id() == thread::current().id() {
            return;
        }
        match &*self.device.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(device) => device.wake_beside(),
            None => self.thread.unpark(),
        }
    }
}

thread_local! {
    static PARKER: RefCell<Option<(Arc<Parker>, Waker)>> = const { RefCell::new(None) };
}

/// This thread's place to sleep, and what wakes it.
pub(crate) struct Sleeper {
    parker: Arc<Parker>,
    pub(crate) waker: Waker,
}

impl Sleeper {
    /// This thread's. What woke it for an earlier call is forgotten.
    pub(crate) fn current() -> Sleeper {
        let (parker, waker) = PARKER.with_borrow_mut(|slot| {
            slot.get_or_insert_with(|| {
                let parker = Arc::new(Parker {
                    thread: thread::current(),
                    woken: AtomicBool::new(false),
                    device: Mutex::new(None),
                });
                (parker.clone(), Waker::from(parker))
            })
            .clone()
        });
        parker.woken.store(false, Ordering::Relaxed);
        Sleeper { parker, waker }
    }

    /// Whether it was woken since it was last asked or slept.
    pub(crate) fn take_wake(&self) -> bool {
        self.parker.woken.load(Ordering::Relaxed) && self.parker.woken.swap(false, Ordering::Acquire)
    }

    /// From here to [`Sleeper::leave_device`] being woken ends [`Device::wait_beside`].
    pub(crate) fn enter_device(&self, device: &Arc<dyn Device>) {
        *self.parker.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(device.clone());
    }

    pub(crate) fn leave_device(&self) {
        *self.parker.device.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sleeps until woken or for `timeout`; false if the time is over.
    pub(crate) fn sleep(&self, timeout: Option<Duration>) -> bool {
        let until = timeout.and_then(|timeout| std::time::Instant::now().checked_add(timeout));
        loop {
            if self.parker.woken.swap(false, Ordering::Acquire) {
                return true;
            }
            let Some(until) = until else {
                thread::park();
                continue;
            };
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left);
        }
    }
}

#[cfg(test)]
mod tests;
