//! A listening socket of the program's: connections of the stack become connections of the Unix socket.
//!
//! While there is one in the stack's accept queue a token lies in the Unix socket's, so that poll calls it readable. Every
//! `accept` comes through here: it gets the token, to which the first of the stack's queue is joined then. So
//! the queue is the stack's alone, and its limit the program's.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::net::{SocketFlags, accept_with};
use sockeye_core::{Errno, Ready};
use tokio::sync::Notify;

use super::bridge::{self, errno_of};
use super::caller::{Held, inode_of};
use super::door::Door;
use super::supervisor::Supervisor;
use super::table::{Entry, Phase};
use crate::net::Socket;
use crate::sys::seccomp::Notification;

/// SOCK_NONBLOCK and SOCK_CLOEXEC of `accept4`, and where the peer's address goes.
#[derive(Clone, Copy)]
pub(super) struct Accept {
    pub(super) notification: Notification,
    pub(super) nonblocking: bool,
    pub(super) cloexec: bool,
    /// Pointer, and pointer to its length; null for neither.
    pub(super) address: (u64, u64),
}

/// A call that waits for a connection.
struct Waiting {
    accept: Accept,
    listener: Held,
}

#[derive(Default)]
struct State {
    /// Our end of the one that lies in the Unix socket's queue.
    token: Option<OwnedFd>,
    /// A connection that was taken from the stack and could not be delivered.
    taken: Option<(Socket, SocketAddr)>,
    waiting: VecDeque<Waiting>,
    closed: bool,
}

pub(super) struct Listening {
    inode: u64,
    /// The program's own listener, and others of the same port that are to reach it.
    sockets: Mutex<Vec<Socket>>,
    path: OwnedFd,
    state: Mutex<State>,
    changed: Notify,
}

impl Listening {
    pub(super) fn new(inode: u64, socket: Socket, path: OwnedFd) -> Arc<Listening> {
        Arc::new(Listening {
            inode,
            sockets: Mutex::new(vec![socket]),
            path,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sockets(&self) -> Vec<Socket> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets what `socket` accepts reach the program too.
    pub(super) fn add(&self, socket: Socket) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
        self.changed.notify_one();
    }

    /// The program has it no more, or has shut it down: who waits is reset.
    pub(super) fn close(&self, supervisor: &Supervisor, errno: Errno) {
        for socket in self.retire(supervisor, errno) {
            // It may be closed already; more than closed it cannot become.
            let _ = socket.close();
        }
    }

    /// Ends the listening. What is returned are the stack's listeners, closed with their last handles.
    pub(super) fn retire(&self, supervisor: &Supervisor, errno: Errno) -> Vec<Socket> {
        let (taken, waiting) = {
            let mut state = self.lock();
            state.closed = true;
            state.token = None;
            (state.taken.take(), std::mem::take(&mut state.waiting))
        };
        if let Some((connection, _)) = taken {
            connection.abort();
        }
        for waiting in waiting {
            supervisor.listener.answer(waiting.accept.notification.id, Err(errno.number()));
        }
        self.changed.notify_one();
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Whether somebody has it open.
    pub(super) fn is_open(&self, door: &Door) -> bool {
        door.is_open(&self.path)
    }

    /// Forgets calls whose threads were interrupted or have gone: their descriptors would keep the socket open.
    pub(super) fn purge(&self, supervisor: &Supervisor) {
        let is_valid = |waiting: &Waiting| supervisor.listener.is_valid(waiting.accept.notification.id);
        self.lock().waiting.retain(is_valid);
    }

    /// Puts a token into the queue if a connection waits and none lies there. ECONNREFUSED: nobody has the socket open.
    fn hand_over(&self, state: &mut State) -> io::Result<()> {
        if state.token.is_some() || state.closed {
            return Ok(());
        }
        let is_ready = |socket: &Socket| socket.ready().contains(Ready::IN);
        if state.taken.is_some() || self.sockets().iter().any(is_ready) {
            state.token = Some(Door::hand_over(&self.path)?);
        }
        Ok(())
    }

    /// The first connection that waits.
    fn take(&self, state: &mut State) -> Option<(Socket, SocketAddr)> {
        if let Some(taken) = state.taken.take() {
            return Some(taken);
        }
        self.sockets().into_iter().find_map(|socket| {
            let accept = |stack: &mut sockeye_core::stack::Stack, now| stack.accept(now, socket.id());
            let (id, peer) = socket.host().with_stack(accept).ok()?;
            let connection = Socket::from_id(socket.host(), id);
            connection.hurry();
            Some((connection, peer))
        })
    }

    /// `accept`: true if the call was answered, false if it waits.
    pub(super) fn accept(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        listener: Held,
        accept: Accept,
    ) -> Result<bool, Errno> {
        let mut state = self.lock();
        if state.closed {
            return Err(Errno::EINVAL);
        }
        self.hand_over(&mut state).map_err(|_| Errno::EBADF)?;
        // First come, first served: who waits already is before this one.
        if state.token.is_some() && state.waiting.is_empty() {
            if let Some(taken) = self.take(&mut state) {
                self.deliver(supervisor, &mut state, &listener, accept, taken)?;
                return Ok(true);
            }
        }
        if listener.is_nonblocking() {
            return Err(Errno::EAGAIN);
        }
        state.waiting.push_back(Waiting { accept, listener });
        self.serve(supervisor, &mut state);
        Ok(false)
    }

    /// A time limit is over: the call with this number fails, if it still waits.
    pub(super) fn expire(&self, supervisor: &Supervisor, id: u64) {
        let mut state = self.lock();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| waiting.accept.notification.id != id);
        if state.waiting.len() < before {
            supervisor.listener.answer(id, Err(Errno::EAGAIN.number()));
        }
    }

    /// Gives connections to those who wait.
    fn serve(self: &Arc<Self>, supervisor: &Arc<Supervisor>, state: &mut State) {
        while state.token.is_some() {
            let Some(Waiting { accept, listener }) = state.waiting.pop_front() else { return };
            if !supervisor.listener.is_valid(accept.notification.id) {
                continue; // interrupted: the connection is for the next one
            }
            let Some(taken) = self.take(state) else {
                state.waiting.push_front(Waiting { accept, listener });
                return;
            };
            if let Err(errno) = self.deliver(supervisor, state, &listener, accept, taken) {
                supervisor.listener.answer(accept.notification.id, Err(errno.number()));
            }
        }
    }

    /// Takes the token out of the Unix socket's queue, joins the connection to it, and answers the call with it. What
    /// cannot be delivered is for the next one.
    fn deliver(
        self: &Arc<Self>,
        supervisor: &Arc<Supervisor>,
        state: &mut State,
        listener: &Held,
        accept: Accept,
        taken: (Socket, SocketAddr),
    ) -> Result<(), Errno> {
        let caller = supervisor.caller(accept.notification);
        let names = supervisor.names_of(&taken.0, taken.1);
        let (at, len_at) = accept.address;
        let written = match at {
            0 => Ok(()),
            _ => caller.length(len_at).and_then(|room| caller.write_address(names.peer, at, room, len_at)),
        };
        if let Err(errno) = written {
            state.taken = Some(taken);
            return Err(errno);
        }
        let flags = if accept.nonblocking { SocketFlags::NONBLOCK } else { SocketFlags::empty() };
        let accepted = accept_with(&listener.fd, flags | SocketFlags::CLOEXEC);
        let (theirs, ours) = match (accepted, state.token.take()) {
            (Ok(theirs), Some(ours)) => (theirs, ours),
            (accepted, token) => {
                state.taken = Some(taken);
                state.token = token.filter(|_| accepted.is_err());
                let errno = accepted.err().map_or(Errno::EAGAIN, |error| errno_of(&error.into()));
                return Err(errno);
            }
        };
        let inode = inode_of(&theirs).map_err(|_| Errno::ENFILE)?;
        let entry = Entry::new(inode, taken.0.clone(), (accept.notification.tid, -1), Phase::Joined);
        entry.set_names(names);
        // Known before the program can name it.
        supervisor.table().insert(entry.clone());
        let id = accept.notification.id;
        match supervisor.listener.answer_with_fd(id, theirs.as_fd(), accept.cloexec) {
            Ok(number) => {
                drop(theirs);
                supervisor.table().count();
                entry.see((accept.notification.tid, number));
                bridge::start(supervisor, entry, ours, 0, true);
                self.next(supervisor, state);
                self.changed.notify_one();
                Ok(())
            }
            Err(error) => {
                // Interrupted, or without room: the connection is for the next `accept`, and poll is to say so.
                supervisor.table().remove(inode);
                drop((theirs, ours));
                state.taken = Some(taken);
                self.next(supervisor, state);
                let errno = error.raw_os_error().and_then(Errno::from_number);
                Err(errno.unwrap_or(Errno::EINTR))
            }
        }
    }

    /// Hands the next one over, or finds out that nobody listens any more.
    fn next(self: &Arc<Self>, supervisor: &Arc<Supervisor>, state: &mut State) {
        if self.hand_over(state).is_err() && !state.closed {
            state.closed = true;
            let (supervisor, inode) = (supervisor.clone(), self.inode);
            tokio::spawn(async move { supervisor.forget(inode) });
        }
    }

    /// The life of a listener: whenever the stack has a connection it is handed over.
    pub(super) async fn run(self: Arc<Self>, supervisor: Arc<Supervisor>) {
        loop {
            {
                let mut state = self.lock();
                self.next(&supervisor, &mut state);
                self.serve(&supervisor, &mut state);
                if state.closed {
                    return;
                }
            }
            // With one in the queue the next event is the program's `accept`, which hands over by itself.
            let is_handed = self.lock().token.is_some();
            let mut sockets = self.sockets();
            sockets.retain(|socket| !socket.ready().contains(Ready::NVAL));
            if sockets.is_empty() {
                return;
            }
            if is_handed {
                self.changed.notified().await;
            } else {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = super::any_readable(&sockets) => {}
                }
            }
        }
    }
}
