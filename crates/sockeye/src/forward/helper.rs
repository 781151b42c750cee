//! A second thread, for a time in which many connections begin and end.
//!
//! Opening a socket of the host's and connecting it takes longer than all that a stack does for a connection, and the
//! thread that carries connections on has other things to do meanwhile: with the calls of a program to answer it makes one
//! processor full while another is idle. Where few connections begin a thread that has to be woken costs more than it saves.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sockeye_core::stack::ParkedId;

use super::shared::Shared;

/// So many connections have to begin in so long a time ...
const MANY: u32 = 16;
const WINDOW: Duration = Duration::from_millis(10);
/// ... while so many are open, for the thread to be of use.
const OPEN: usize = 2;

/// What the thread has to do. There are no more of these than credits for SYNs, and descriptors.
enum Errand {
    /// A SYN was parked: decide on it, and connect.
    Syn { id: ParkedId, peer: SocketAddr, destination: SocketAddr },
    /// Close a side in the host's kernel, which is over.
    Close(OwnedFd),
}

/// The thread, and the way to it.
#[derive(Default)]
pub(super) struct Helper(Mutex<State>);

#[derive(Default)]
struct State {
    rate: Rate,
    errands: Option<Sender<Errand>>,
    thread: Option<JoinHandle<()>>,
}

/// How many connections begin.
#[derive(Default)]
struct Rate {
    /// The present window's beginning, and how many began in it.
    since: Option<Instant>,
    count: u32,
    /// The window before it had many.
    many: bool,
}

impl Rate {
    /// One more begins now.
    fn count(&mut self, now: Instant) {
        if self.since.is_some_and(|since| now.saturating_duration_since(since) < WINDOW) {
            self.count += 1;
            return;
        }
        self.many = self.is_recent(now) && self.count >= MANY;
        (self.since, self.count) = (Some(now), 1);
    }

    /// A time without any is a window with few.
    fn is_recent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < 2 * WINDOW)
    }

    fn is_high(&self) -> bool {
        self.many && self.is_recent(Instant::now())
    }
}

impl Helper {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a SYN to the thread if many connections begin; else the caller has to see to it.
    pub(super) fn takes_syn(
        &self,
        shared: &Arc<Shared>,
        (id, peer, destination): (ParkedId, SocketAddr, SocketAddr),
    ) -> bool {
        let mut state = self.lock();
        state.rate.count(Instant::now());
        if !state.rate.is_high() || shared.entries() < OPEN || shared.stopping.load(Ordering::Acquire) {
            return false;
        }
        if state.errands.is_none() {
            let (errands, todo) = mpsc::channel();
            let shared = shared.clone();
            let thread = thread::Builder::new().name("forward/open".into());
            // Without a thread the caller does it, as ever.
            let Ok(thread) = thread.spawn(move || run(&shared, &todo)) else { return false };
            (state.errands, state.thread) = (Some(errands), Some(thread));
        }
        shared.leave_syn(id);
        let errand = Errand::Syn { id, peer, destination };
        let given = state.errands.as_ref().is_some_and(|errands| errands.send(errand).is_ok());
        if !given {
            // The thread has panicked, and said so.
            state.errands = None;
            shared.unpark(id);
        }
        given
    }

    /// Closes a side in the host's kernel, here or there.
    pub(super) fn close(&self, far: OwnedFd) {
        let state = self.lock();
        if let Some(errands) = state.errands.as_ref().filter(|_| state.rate.is_high()) {
            // What cannot be sent is closed with that.
            let _ = errands.send(Errand::Close(far));
        }
    }

    /// Ends the thread, once it has closed what there is to close. SYNs that wait stay without an answer.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        let thread = state.thread.take();
        state.errands = None;
        drop(state);
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The life of the thread, until the way to it is closed.
fn run(shared: &Arc<Shared>, todo: &Receiver<Errand>) {
    for errand in todo {
        match errand {
            Errand::Close(far) => drop(far),
            Errand::Syn { .. } if shared.stopping.load(Ordering::Acquire) => {}
            Errand::Syn { id, peer, destination } => shared.on_left_syn(id, peer, destination),
        }
    }
}
