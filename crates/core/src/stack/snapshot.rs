//! What `netstat` and `ss` show, as plain rows. Views read these and never reach into the stack.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::*;
use crate::tcp::timer::Timer;
use crate::time::Duration;
use syn::SynFlags;

/// What a row is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowKind {
    /// A socket that neither listens nor is connected.
    Fresh,
    /// A listener, with its queues.
    Listener(ListenerRow),
    /// A connection that a user holds.
    Connection,
    /// A connection that no user holds any more.
    Orphan,
    /// A connection that waits for `accept`.
    Waiting,
    /// A half-open connection in a SYN queue.
    HalfOpen,
    /// A SYN that its owner has not answered.
    Parked,
    /// A TIME-WAIT entry.
    TimeWait,
}

/// One line of `ss -tano`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketRow {
    /// Its name, unless it is a half-open connection or a TIME-WAIT entry.
    pub id: Option<SocketId>,
    /// What it is.
    pub kind: RowKind,
    /// Its state.
    pub state: State,
    /// Bytes that the user has not read; of a listener, connections that wait for `accept`.
    pub recv_q: u32,
    /// Bytes that the peer has not acknowledged; of a listener, its limit.
    pub send_q: u32,
    /// Our address.
    pub local: SocketAddr,
    /// The peer's address; unspecified if there is none.
    pub remote: SocketAddr,
    /// The timer that fires next and the time left.
    pub timer: Option<(&'static str, Duration)>,
    /// Retransmissions in a row.
    pub retransmits: u8,
}

impl Stack {
    /// All sockets, then half-open connections, then TIME-WAIT entries. This does walk everything.
    pub fn snapshot(&self) -> impl Iterator<Item = SocketRow> {
        let sockets = self.sockets.iter().map(|(key, socket)| self.socket_row(key, socket));
        let half_open = self.half_open.rows().map(|(entry, at)| {
            let tuple = entry.tuple();
            let parked = entry.flags.contains(SynFlags::PARKED);
            SocketRow {
                id: None,
                kind: if parked { RowKind::Parked } else { RowKind::HalfOpen },
                state: State::SynReceived,
                recv_q: 0,
                send_q: 0,
                local: tuple.local,
                remote: tuple.remote,
                timer: at.map(|at| (if parked { "park" } else { "on" }, at.since(self.now))),
                retransmits: entry.retransmits,
            }
        });
        let time_wait = self.time_waits.rows().map(|(tuple, at)| SocketRow {
            id: None,
            kind: RowKind::TimeWait,
            state: State::TimeWait,
            recv_q: 0,
            send_q: 0,
            local: tuple.local,
            remote: tuple.remote,
            timer: Some(("timewait", at.since(self.now))),
            retransmits: 0,
        });
        sockets.chain(half_open).chain(time_wait)
    }

    fn socket_row(&self, key: Key, socket: &Socket) -> SocketRow {
        let ipv6 = socket.flags.contains(SocketFlags::IPV6);
        let any = SocketAddr::new(
            if ipv6 { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) },
            0,
        );
        let mut row = SocketRow {
            id: Some(id_of(key)),
            kind: RowKind::Fresh,
            state: State::Closed,
            recv_q: 0,
            send_q: 0,
            local: socket.binding.map_or(any, |b| SocketAddr::new(b.addr, b.port)),
            remote: any,
            timer: None,
            retransmits: 0,
        };
        match &socket.kind {
            Kind::Fresh => {}
            Kind::Listener(listening) => {
                row.kind = RowKind::Listener(listening.row());
                row.state = State::Listen;
                row.recv_q = listening.queued();
                row.send_q = listening.limit();
            }
            Kind::Connection(conn) => {
                row.kind = if socket.flags.contains(SocketFlags::ORPHAN) {
                    RowKind::Orphan
                } else if socket.flags.intersects(SocketFlags::IN_ACCEPT_QUEUE | SocketFlags::FILTERED) {
                    RowKind::Waiting
                } else {
                    RowKind::Connection
                };
                row.state = conn.state();
                row.recv_q = conn.readable() as u32;
                row.send_q = conn.send_queue().0;
                row.local = conn.tuple().local;
                row.remote = conn.tuple().remote;
                row.retransmits = conn.info(self.now, &self.config).retransmits;
                let timers = conn.timers();
                let next =
                    Timer::ALL.into_iter().filter(|t| timers.is_set(*t)).min_by_key(|t| timers.get(*t));
                row.timer = next.map(|timer| (timer.name(), timers.get(timer).since(self.now)));
            }
        }
        row
    }

    /// The queues of a listener. EBADF; EINVAL if it does not listen.
    pub fn listener(&self, id: SocketId) -> Result<ListenerRow, Errno> {
        match &self.entry(id)?.kind {
            Kind::Listener(listening) => Ok(listening.row()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// How many of each there are: sockets, connections found by tuple, half-open ones, TIME-WAIT entries,
    /// ports held.
    pub fn population(&self) -> Population {
        Population {
            sockets: self.sockets.len(),
            connections: self.demux.len(),
            half_open: self.half_open.len(),
            time_wait: self.time_waits.len(),
            ports: self.ports.len(),
            orphans: self.orphans as usize,
        }
    }
}

/// How much of everything a stack holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Population {
    /// Sockets, orphans included.
    pub sockets: usize,
    /// Live connections.
    pub connections: usize,
    /// Half-open connections.
    pub half_open: usize,
    /// TIME-WAIT entries.
    pub time_wait: usize,
    /// Local ports held.
    pub ports: usize,
    /// Connections without a user.
    pub orphans: usize,
}
