//! What all calls of all threads of the program share, and the loop that takes them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sockeye_core::Errno;
use tokio::io::Interest;
use tokio::sync::Notify;

use super::caller::{Caller, Tasks};
use super::door::Door;
use super::report::Report;
use super::table::{Entry, Names, Phase, Table, open_unix_sockets};
use super::{Gateway, calls};
use crate::driver::Host;
use crate::net::Socket;
use crate::sys::seccomp::{Listener, Notification};
use crate::sys::watch::watch;

/// How often it is looked whether listeners are still open: nothing tells of their end.
const TICK: Duration = Duration::from_millis(100);
/// A look may take one part in so many of the time.
const TICK_SHARE: u32 = 50;
/// Calls answered before others get their turn.
const CALLS: usize = 64;

/// Told of each port that the program listens on, and of its end. What is returned are listeners that are to serve the
/// program as well.
pub(super) type OnListen = Box<dyn Fn(&Host, Listens) -> Vec<Socket> + Send + Sync>;

/// What the program does with a port.
pub(super) enum Listens {
    At(SocketAddr),
    /// Nobody listens on this one any more.
    Over(u16),
}

pub(super) struct Supervisor {
    pub(super) listener: Listener,
    pub(super) host: Host,
    pub(super) tasks: Tasks,
    pub(super) door: Door,
    pub(super) gateway: Gateway,
    table: Mutex<Table>,
    report: Mutex<Report>,
    on_listen: OnListen,
    /// Bridges and attempts under way.
    busy: AtomicUsize,
    idle: Notify,
    /// It was told that a process does not let us look at it.
    told: AtomicBool,
    /// The filtered program and all that it started have gone.
    over: AtomicBool,
}

/// One thing under way, until it is dropped.
pub(super) struct Busy(Arc<Supervisor>);

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Supervisor {
    pub(super) fn new(
        listener: OwnedFd,
        host: Host,
        gateway: Gateway,
        on_listen: OnListen,
    ) -> io::Result<Arc<Supervisor>> {
        Ok(Arc::new(Supervisor {
            listener: Listener::new(listener)?,
            host,
            tasks: Tasks::default(),
            door: Door::new()?,
            gateway,
            table: Mutex::new(Table::new()),
            report: Mutex::default(),
            on_listen,
            busy: AtomicUsize::new(0),
            idle: Notify::new(),
            told: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }))
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn caller(&self, notification: Notification) -> Caller<'_> {
        Caller { listener: &self.listener, tasks: &self.tasks, notification }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(self.clone())
    }

    /// Answers calls until the last program under the filter has gone.
    pub(super) async fn serve(self: Arc<Self>) -> io::Result<()> {
        let fd = watch(self.listener.as_fd().try_clone_to_owned()?, Interest::READABLE)?;
        loop {
            let mut guard = fd.readable().await?;
            let mut calls = 0;
            loop {
                let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
                match poll(&mut fds, Some(&Timespec::default())) {
                    Err(rustix::io::Errno::INTR) => continue,
                    result => result?,
                };
                let events = fds[0].revents();
                if events.contains(PollFlags::IN) {
                    if let Some(notification) = self.listener.receive()? {
                        let answer = AssertUnwindSafe(|| calls::answer(&self, notification));
                        if catch_unwind(answer).is_err() {
                            // A fault of ours, which has been told: the program is not to wait for ever.
                            self.listener.answer(notification.id, Err(libc::EIO));
                        }
                    }
                    calls += 1;
                    if calls == CALLS {
                        tokio::task::yield_now().await;
                        calls = 0;
                    }
                    continue;
                }
                if events.intersects(PollFlags::HUP | PollFlags::ERR) {
                    self.over.store(true, Ordering::Release);
                    return Ok(());
                }
                break;
            }
            guard.clear_ready();
        }
    }

    /// Looks now and then for what ends without telling anybody.
    pub(super) async fn tick(self: Arc<Self>) {
        let mut pause = TICK;
        loop {
            tokio::time::sleep(pause).await;
            let begun = Instant::now();
            let (listeners, needs_sweep) = {
                let table = self.table();
                (table.listeners(), table.has_shut_ones())
            };
            for (entry, listening) in listeners {
                listening.purge(&self);
                if !listening.is_open(&self.door) {
                    self.forget(entry.inode);
                }
            }
            if needs_sweep {
                self.sweep();
            }
            pause = TICK.max(begun.elapsed() * TICK_SHARE);
        }
    }

    /// Closes the sockets that no program has open any more.
    pub(super) fn sweep(self: &Arc<Self>) {
        let listeners = self.table().listeners();
        for (_, listening) in &listeners {
            listening.purge(self);
        }
        // Where the list cannot be read nothing is closed too early; it is closed with the run.
        let Ok(open) = open_unix_sockets() else { return };
        let gone = self.table().sweep(&open);
        for entry in gone {
            self.close(&entry);
        }
    }

    /// Closes one socket that no program has open any more.
    pub(super) fn forget(&self, inode: u64) {
        let entry = self.table().remove(inode);
        if let Some(entry) = entry {
            self.close(&entry);
        }
    }

    fn close(&self, entry: &Entry) {
        match entry.phase() {
            Phase::Listening(listening) => {
                self.unpublish(entry);
                listening.close(self, Errno::EBADF);
            }
            // The bridge closes it, or has done so.
            Phase::Joined if !entry.is_shut_both() => {}
            _ => entry.socket.host().shard().close_now(entry.socket.id()),
        }
    }

    /// Another listener for what the program listens on, where the outside is to reach it.
    pub(super) fn published(&self, local: SocketAddr) -> Vec<Socket> {
        (self.on_listen)(&self.host, Listens::At(local))
    }

    /// `entry` no longer listens: its port is no longer published, unless another one listens there.
    pub(super) fn unpublish(&self, entry: &Entry) {
        let Ok(local) = entry.socket.local_addr() else { return };
        let port_of = |entry: &Entry| entry.socket.local_addr().map(|local| local.port());
        let is_other =
            |other: &Entry| other.inode != entry.inode && port_of(other).ok() == Some(local.port());
        if !self.table().listeners().iter().any(|(other, _)| is_other(other)) {
            (self.on_listen)(&self.host, Listens::Over(local.port()));
        }
    }

    /// A process has changed its user or forbids that it is looked at: told once.
    pub(super) fn must_not_look(&self, tid: u32) {
        if !self.told.swap(true, Ordering::AcqRel) {
            let name = std::fs::read_to_string(format!("/proc/{tid}/comm")).unwrap_or_default();
            eprintln!(
                "sockeye: process {tid} ({}) must not be looked at by this user, so its TCP sockets cannot work: it has \
                 changed its user, or forbids it; run sockeye as root",
                name.trim()
            );
        }
    }

    /// The names that the program is told.
    pub(super) fn names_of(&self, connection: &Socket, peer: SocketAddr) -> Names {
        let local = connection.local_addr().unwrap_or(peer);
        self.shown(local, peer)
    }

    /// The names that the program is told, if there is a connection.
    pub(super) fn present_names(&self, connection: &Socket) -> Option<Names> {
        Some(self.shown(connection.local_addr().ok()?, connection.peer_addr().ok()?))
    }

    /// The gateway stands for the loopback of the machine around.
    pub(super) fn shown(&self, local: SocketAddr, peer: SocketAddr) -> Names {
        match self.gateway.shown(peer) {
            Some(peer) => {
                let mut local = local;
                local.set_ip(peer.ip());
                Names { local, peer }
            }
            None => Names { local, peer },
        }
    }

    /// Whether a program of this run listens on a port at an address that the loopback reaches.
    pub(super) fn listens_on_loopback(self: &Arc<Self>, to: SocketAddr) -> bool {
        if !self.table().has_listeners() {
            return false;
        }
        let reaches = |local: IpAddr| match (local.to_canonical(), to.ip().to_canonical()) {
            (IpAddr::V4(local), IpAddr::V4(to)) => {
                local.is_unspecified() || local == to || to.is_unspecified()
            }
            (IpAddr::V6(local), IpAddr::V6(to)) => {
                local.is_unspecified() || local == to || to.is_unspecified()
            }
            // A listener at `::` takes IPv4 too unless it says otherwise: then the stack refuses.
            (IpAddr::V6(local), IpAddr::V4(_)) => local.is_unspecified(),
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        };
        let mut listeners = self.table().listeners();
        listeners.retain(|(entry, _)| {
            entry.socket.local_addr().is_ok_and(|local| local.port() == to.port() && reaches(local.ip()))
        });
        let (open, gone): (Vec<_>, Vec<_>) = listeners.iter().partition(|(_, listening)| {
            listening.purge(self);
            listening.is_open(&self.door)
        });
        gone.iter().for_each(|(entry, _)| self.forget(entry.inode));
        !open.is_empty()
    }

    /// Waits until every connection has been passed on to its end.
    pub(super) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            // Registered before the look: none is missed. The time is for good measure.
            let _ = tokio::time::timeout(TICK, idle).await;
        }
    }

    /// What there is to tell.
    pub(super) fn take_report(&self) -> Report {
        let mut report = self.report().clone();
        report.sockets = self.table().made();
        report
    }
}
