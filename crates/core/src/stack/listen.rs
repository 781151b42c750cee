//! Listeners: how many connections may wait, and which come first.
//!
//! | policy | accept queue takes | SYN queue | final ACK at a full accept queue |
//! |---|---|---|---|
//! | linux, rfc | min(backlog, somaxconn) + 1 | as many; then SYN cookies, or the SYN is dropped | held, SYN-ACK sent again (RST with `abort_on_overflow`) |
//! | freebsd | 3/2 backlog + 1 | buckets of 30, the oldest evicted; the SYN-ACK is a cookie | as above |

use alloc::collections::VecDeque;

use crate::config::{Config, Profile};
use crate::socket::SocketId;
use crate::stack::park::Parking;
use crate::stack::slab::Key;
use crate::time::{Duration, Instant};

/// Least time between two records of an overflow (FreeBSD's sooverflow interval).
const OVERFLOW_LOG: Duration = Duration::from_secs(60);

/// A listening socket's queues.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The backlog after the policy's bounds.
    limit: u32,
    freebsd: bool,
    /// Established, in the order of their last ACK.
    accept: VecDeque<SocketId>,
    /// Established, but an accept filter has not let them pass yet.
    pub(super) filtered: VecDeque<Key>,
    /// Entries in the stack's SYN table.
    pub(super) half_open: u32,
    /// Connections that a SYN with data opened and that are still in SYN-RECEIVED.
    pub(super) early: u32,
    /// When such connections were reset by their clients, lately.
    pub(super) early_resets: VecDeque<Instant>,
    /// Overflows since the last record of one.
    overflows: u64,
    logged_at: Option<Instant>,
    /// SYN cookies were sent lately: ACKs without an entry may be theirs.
    pub(super) cookies_at: Option<Instant>,
    /// SYNs wait for what its owner says.
    pub(super) parking: Option<Parking>,
}

/// A listener as FreeBSD's `netstat -L` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListenerRow {
    /// Connections that wait for `accept`.
    pub qlen: u32,
    /// Half-open connections, and established ones that an accept filter holds.
    pub incqlen: u32,
    /// The backlog in force.
    pub maxqlen: u32,
    /// Connections that did not fit, since the last record of it.
    pub overflows: u64,
}

impl Listener {
    pub(crate) fn new(config: &Config, backlog: i32) -> Listener {
        Listener {
            limit: limit(config, backlog),
            freebsd: config.profile == Profile::FreeBsd,
            accept: VecDeque::new(),
            filtered: VecDeque::new(),
            half_open: 0,
            early: 0,
            early_resets: VecDeque::new(),
            overflows: 0,
            logged_at: None,
            cookies_at: None,
            parking: None,
        }
    }

    /// A second `listen`: the limit changes, who waits stays.
    pub(crate) fn set_backlog(&mut self, config: &Config, backlog: i32) {
        self.limit = limit(config, backlog);
    }

    /// The backlog in force (TCP_INFO's `sacked`); of parked SYNs, how many there may be.
    pub(crate) fn limit(&self) -> u32 {
        self.parking.as_ref().map_or(self.limit, |parking| self.half_open + parking.credits())
    }

    /// How many wait for `accept` (TCP_INFO's `unacked`), or events for the owner of parked SYNs.
    pub(crate) fn queued(&self) -> u32 {
        let events = self.parking.as_ref().map_or(0, Parking::waiting);
        self.accept.len() as u32 + events
    }

    /// Linux's `sk_acceptq_is_full`, FreeBSD's `sonewconn`.
    pub(crate) fn is_full(&self) -> bool {
        let limit = u64::from(self.limit);
        let longest = if self.freebsd { 3 * limit / 2 } else { limit };
        self.accept.len() as u64 > longest
    }

    /// Whether no more half-open connections may be held for this listener.
    pub(crate) fn syn_queue_is_full(&self, config: &Config) -> bool {
        !self.freebsd
            && self.parking.is_none()
            && (self.half_open > self.limit || self.half_open >= config.max_syn_backlog)
    }

    /// The newest established connection goes to the end.
    pub(crate) fn push(&mut self, id: SocketId) {
        self.accept.push_back(id);
    }

    /// The oldest established connection.
    pub(crate) fn pop(&mut self) -> Option<SocketId> {
        self.accept.pop_front()
    }

    /// Whether an accept filter may hold one more; FreeBSD drops the oldest of those beyond the limit.
    pub(crate) fn filter_is_full(&self) -> bool {
        self.filtered.len() as u64 > u64::from(self.limit)
    }

    /// Counts an overflow; true if it is time for a record of it.
    pub(crate) fn note_overflow(&mut self, now: Instant) -> bool {
        self.overflows += 1;
        let due = self.logged_at.is_none_or(|at| now.since(at) >= OVERFLOW_LOG);
        if due {
            self.logged_at = Some(now);
        }
        due
    }

    /// The queues in numbers.
    pub(crate) fn row(&self) -> ListenerRow {
        ListenerRow {
            qlen: self.queued(),
            incqlen: self.half_open + self.filtered.len() as u32,
            maxqlen: self.limit(),
            overflows: self.overflows,
        }
    }
}

/// The backlog in force. Linux takes it as unsigned, so that a negative one is the maximum, as it is on
/// FreeBSD; POSIX (`rfc`) takes a negative one as 0.
fn limit(config: &Config, backlog: i32) -> u32 {
    match u32::try_from(backlog) {
        Ok(backlog) => backlog.min(config.somaxconn),
        Err(_) if config.profile == Profile::Rfc => 0,
        Err(_) => config.somaxconn,
    }
}
