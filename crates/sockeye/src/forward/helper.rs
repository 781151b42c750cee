//! A second thread, for a time in which many connections begin and end.
//!
//! Opening a socket of the host's and connecting it takes longer than all that a stack does for a connection, and the
//! thread that carries connections on has other things to do meanwhile: with the calls of a program to answer it makes one
//! processor full while another is idle. Where few connections begin a thread that has to be woken costs more than it saves.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sockeye_core::Errno;
use sockeye_core::stack::ParkedId;

use super::shared::Shared;

/// So many connections have to begin in so long a time ...
const MANY: u32 = 16;
const WINDOW: Duration = Duration::from_millis(10);
/// ... while so many are open, for the thread to be of use.
const OPEN: usize = 2;

/// What the thread has to do.
enum Errand {
    /// A SYN was parked: decide on it, and connect.
    Syn { id: ParkedId, peer: SocketAddr, destination: SocketAddr },
    /// Close a side in the host's kernel, which is over.
    Close(OwnedFd),
}

/// The thread and what it has to do: no more than the connections that a forwarder may have.
#[derive(Default)]
pub(super) struct Helper {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    errands: VecDeque<Errand>,
    /// The SYN at hand, and why its peer has given up meanwhile.
    current: Option<(ParkedId, Option<Errno>)>,
    rate: Rate,
    thread: Option<JoinHandle<()>>,
    sleeps: bool,
    stopping: bool,
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
        match self.since.map(|since| now.saturating_duration_since(since)) {
            Some(age) if age < WINDOW => self.count += 1,
            age => {
                // A time without any is a window with few.
                self.many = age.is_some_and(|age| age < 2 * WINDOW) && self.count >= MANY;
                (self.since, self.count) = (Some(now), 1);
            }
        }
    }
}

impl Helper {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a SYN to the thread if many connections begin, `open` of them being so; else the caller has to see to it.
    pub(super) fn takes_syn(
        &self,
        shared: &Arc<Shared>,
        open: usize,
        (id, peer, destination): (ParkedId, SocketAddr, SocketAddr),
    ) -> bool {
        let mut state = self.lock();
        state.rate.count(Instant::now());
        if !state.rate.many || open < OPEN || state.stopping {
            return false;
        }
        if state.thread.is_none() {
            let shared = shared.clone();
            let thread = thread::Builder::new().name("forward/open".into());
            // Without a thread the caller does it, as ever.
            let Ok(thread) = thread.spawn(move || shared.helper.run(&shared)) else { return false };
            state.thread = Some(thread);
        }
        self.give(state, Errand::Syn { id, peer, destination });
        true
    }

    /// Closes a side in the host's kernel, here or there.
    pub(super) fn close(&self, far: OwnedFd) {
        let state = self.lock();
        if state.rate.many && state.thread.is_some() && !state.stopping {
            return self.give(state, Errand::Close(far));
        }
        drop(state);
        drop(far);
    }

    fn give(&self, mut state: MutexGuard<'_, State>, errand: Errand) {
        state.errands.push_back(errand);
        let sleeps = std::mem::take(&mut state.sleeps);
        drop(state);
        if sleeps {
            self.wake.notify_one();
        }
    }

    /// The peer of a parked SYN has given up. If the thread has not come to it yet it will not any more, and who asked for
    /// what is returned; one that it is at it abandons when it is done.
    pub(super) fn forget_syn(&self, gone: ParkedId, why: Errno) -> Option<(SocketAddr, SocketAddr)> {
        let mut state = self.lock();
        if let Some((id, late)) = &mut state.current
            && *id == gone
        {
            *late = Some(why);
            return None;
        }
        let of = |errand: &Errand| match errand {
            Errand::Syn { id, peer, destination } if *id == gone => Some((*peer, *destination)),
            _ => None,
        };
        let at = state.errands.iter().position(|errand| of(errand).is_some())?;
        state.errands.remove(at).as_ref().and_then(of)
    }

    fn run(&self, shared: &Arc<Shared>) {
        loop {
            let mut state = self.lock();
            let errand = loop {
                match state.errands.pop_front() {
                    Some(errand) => break errand,
                    None if state.stopping => return,
                    None => {
                        state.sleeps = true;
                        state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                        state.sleeps = false;
                    }
                }
            };
            match errand {
                Errand::Close(far) => {
                    drop(state);
                    drop(far);
                }
                Errand::Syn { id, peer, destination } => {
                    state.current = Some((id, None));
                    drop(state);
                    shared.on_syn(id, peer, destination);
                    let late = self.lock().current.take().and_then(|(_, late)| late);
                    if let Some(why) = late {
                        shared.on_gone(id, why);
                    }
                }
            }
        }
    }

    /// Ends the thread, once it has closed what there is to close. SYNs that wait stay without an answer.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.errands.retain(|errand| matches!(errand, Errand::Close(_)));
        let thread = state.thread.take();
        drop(state);
        self.wake.notify_one();
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}
