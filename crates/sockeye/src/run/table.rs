//! The program's sockets, by the identity of the Unix socket that stands for each.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sockeye_core::Errno;
use tokio::sync::Notify;

use super::listening::Listening;
use crate::net::Socket;

/// Sockets at which the first look for forgotten ones is taken.
const FIRST_SWEEP: usize = 64;

/// One socket of the program's.
pub(super) struct Entry {
    pub(super) inode: u64,
    pub(super) socket: Socket,
    /// Which thread named it last, and by what number.
    seen: Mutex<(u32, i32)>,
    phase: Mutex<Phase>,
    /// The names that the program is told, kept for when the stack has forgotten them.
    names: Mutex<Option<Names>>,
    /// `shutdown` of both directions was called: the end of both is not yet `close`.
    pub(super) shut_both: AtomicBool,
    /// A `connect` that waited was interrupted after it had succeeded: the next one finds out.
    pub(super) unreported: AtomicBool,
    /// The program has sent urgent data: the bridge looks for marks.
    pub(super) urgent: AtomicBool,
    /// Why the connection failed, until the program has asked.
    failure: Mutex<Option<Errno>>,
    /// The stack's socket belongs to another entry by now: `connect` to AF_UNSPEC has taken it along.
    detached: AtomicBool,
    changed: Notify,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
}

/// How far a socket has come, as its Unix socket shows it.
#[derive(Clone)]
pub(super) enum Phase {
    /// The Unix socket is as it was made.
    Fresh,
    /// A `connect` waits for the handshake; the Unix socket is still as it was made.
    Opening,
    /// The Unix socket is joined to ours and plugged until the handshake is done.
    Connecting,
    /// Joined: a bridge carries its bytes, or has done so.
    Joined,
    Listening(Arc<Listening>),
    /// An attempt failed and took the Unix socket with it.
    Spent,
}

impl Entry {
    pub(super) fn new(inode: u64, socket: Socket, seen: (u32, i32), phase: Phase) -> Arc<Entry> {
        Arc::new(Entry {
            inode,
            socket,
            seen: Mutex::new(seen),
            phase: Mutex::new(phase),
            names: Mutex::new(None),
            shut_both: AtomicBool::new(false),
            unreported: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            failure: Mutex::default(),
            detached: AtomicBool::new(false),
            changed: Notify::new(),
        })
    }

    pub(super) fn phase(&self) -> Phase {
        self.lock_phase().clone()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        *self.lock_phase() = phase;
        self.changed.notify_waiters();
    }

    /// Waits while an attempt that another call has begun is under way.
    pub(super) async fn settled(&self) -> Phase {
        loop {
            let changed = self.changed.notified();
            match self.phase() {
                Phase::Opening | Phase::Connecting => changed.await,
                phase => return phase,
            }
        }
    }

    /// The connection has failed.
    pub(super) fn set_failure(&self, errno: Errno) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(errno);
    }

    pub(super) fn take_failure(&self) -> Option<Errno> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Leaves the stack's socket to another entry.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Release);
    }

    pub(super) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Acquire)
    }

    /// Goes on to `phase` unless the socket has come there or further by another way; false then.
    pub(super) fn begin_joining(&self, phase: Phase) -> bool {
        let mut now = self.lock_phase();
        let may = matches!(*now, Phase::Fresh | Phase::Opening);
        if may {
            *now = phase;
            self.changed.notify_waiters();
        }
        may
    }

    fn lock_phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn listening(&self) -> Option<Arc<Listening>> {
        match &*self.lock_phase() {
            Phase::Listening(listening) => Some(listening.clone()),
            _ => None,
        }
    }

    pub(super) fn seen(&self) -> (u32, i32) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn see(&self, at: (u32, i32)) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    pub(super) fn names(&self) -> Option<Names> {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_names(&self, names: Names) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    /// Whether its Unix socket tells us of its end (a bridge or an attempt watches it).
    fn is_watched(&self) -> bool {
        matches!(*self.lock_phase(), Phase::Connecting)
    }

    /// Of the family of IPv6.
    pub(super) fn is_ipv6(&self) -> bool {
        self.socket.local_addr().is_ok_and(|local| local.is_ipv6())
    }

    /// `shutdown` of both directions.
    pub(super) fn is_shut_both(&self) -> bool {
        self.shut_both.load(Ordering::Acquire)
    }
}

/// All of them.
pub(super) struct Table {
    entries: HashMap<u64, Arc<Entry>>,
    /// How many there may be before the next look.
    sweep_at: usize,
    made: u64,
}

impl Table {
    pub(super) fn new() -> Table {
        Table { entries: HashMap::new(), sweep_at: FIRST_SWEEP, made: 0 }
    }

    pub(super) fn get(&self, inode: u64) -> Option<Arc<Entry>> {
        self.entries.get(&inode).cloned()
    }

    pub(super) fn insert(&mut self, entry: Arc<Entry>) {
        self.entries.insert(entry.inode, entry);
    }

    /// A program was given one more.
    pub(super) fn count(&mut self) {
        self.made += 1;
    }

    pub(super) fn remove(&mut self, inode: u64) -> Option<Arc<Entry>> {
        self.entries.remove(&inode)
    }

    /// Sockets that programs were given, all told.
    pub(super) fn made(&self) -> u64 {
        self.made
    }

    /// Whether enough have come that it is time to look for those that nobody has open any more.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= self.sweep_at
    }

    /// Whether there are sockets that were shut down in both directions: nothing tells of their end.
    pub(super) fn has_shut_ones(&self) -> bool {
        self.entries.values().any(|entry| entry.is_shut_both())
    }

    pub(super) fn has_listeners(&self) -> bool {
        self.entries.values().any(|entry| entry.listening().is_some())
    }

    pub(super) fn listeners(&self) -> Vec<(Arc<Entry>, Arc<Listening>)> {
        let of = |entry: &Arc<Entry>| Some((entry.clone(), entry.listening()?));
        self.entries.values().filter_map(of).collect()
    }

    /// Takes out those that are closed, `open` being all Unix sockets there are: nobody tells us of the end of one
    /// that is not connected.
    pub(super) fn sweep(&mut self, open: &HashSet<u64>) -> Vec<Arc<Entry>> {
        let is_over = |entry: &Arc<Entry>| !entry.is_watched() && !open.contains(&entry.inode);
        let over: Vec<_> = self.entries.values().filter(|entry| is_over(entry)).cloned().collect();
        for entry in &over {
            self.entries.remove(&entry.inode);
        }
        self.sweep_at = FIRST_SWEEP.max(2 * self.entries.len());
        over
    }
}

/// The Unix sockets that somebody has open, by identity.
pub(super) fn open_unix_sockets() -> std::io::Result<HashSet<u64>> {
    let text = std::fs::read_to_string("/proc/self/net/unix")?;
    // Num RefCount Protocol Flags Type St Inode Path
    let inode = |line: &str| line.split_ascii_whitespace().nth(6)?.parse().ok();
    Ok(text.lines().skip(1).filter_map(inode).collect())
}
