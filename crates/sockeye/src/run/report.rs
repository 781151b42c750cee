//! What there is to tell at the end of a run.

use std::fmt;
use std::net::SocketAddr;

use serde_json::{Value, json};
use sockeye_core::Errno;

use super::table::Names;

/// Connections that are told of one by one; the others are counted.
const MAX_CLOSED: usize = 1_000;

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// In order, the program's FIN first.
    ProgramFirst,
    /// In order, the peer's FIN first.
    PeerFirst,
    /// The program closed it with data unread: RST.
    Unread,
    /// The program closed it before the handshake was done.
    GivenUp,
    /// An error: refused, reset by the peer, timed out, unreachable ...
    Failed(Errno),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ending::ProgramFirst => f.write_str("closed by the program"),
            Ending::PeerFirst => f.write_str("closed by the peer"),
            Ending::Unread => f.write_str("reset: the program closed it with data unread"),
            Ending::GivenUp => f.write_str("given up by the program before it was open"),
            Ending::Failed(errno) => f.write_str(errno.message()),
        }
    }
}

/// A connection of the program's that is over.
#[derive(Clone, Debug)]
pub struct Closed {
    pub(super) names: Names,
    /// It came in through `accept`.
    pub accepted: bool,
    /// Bytes from the program to the peer.
    pub sent: u64,
    /// Bytes from the peer.
    pub received: u64,
    /// Segments sent again.
    pub retransmissions: u64,
    /// From the end of the handshake, or from `connect` if it failed.
    pub seconds: f64,
    /// How it ended.
    pub ending: Ending,
}

impl Closed {
    /// The program's own address.
    pub fn local(&self) -> SocketAddr {
        self.names.local
    }

    /// The peer's.
    pub fn peer(&self) -> SocketAddr {
        self.names.peer
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "local": self.names.local.to_string(),
            "peer": self.names.peer.to_string(),
            "opened_by": if self.accepted { "peer" } else { "program" },
            "sent": self.sent,
            "received": self.received,
            "retransmissions": self.retransmissions,
            "seconds": self.seconds,
            "ended": self.ending.to_string(),
        })
    }
}

/// All connections of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The first thousand that ended.
    pub closed: Vec<Closed>,
    /// How many ended in all.
    pub connections: u64,
    /// Of those, how many came in through `accept`.
    pub accepted: u64,
    /// How many failed: refused, reset, timed out ...
    pub failed: u64,
    /// Bytes sent, all told.
    pub sent: u64,
    /// Bytes received, all told.
    pub received: u64,
    /// Segments sent again, all told.
    pub retransmissions: u64,
    /// TCP sockets that the program was given. Each was ours: none can be made past the filter.
    pub sockets: u64,
}

impl Report {
    pub(super) fn ended(&mut self, closed: Closed) {
        self.connections += 1;
        self.accepted += u64::from(closed.accepted);
        self.failed += u64::from(matches!(closed.ending, Ending::Failed(_) | Ending::GivenUp));
        self.sent += closed.sent;
        self.received += closed.received;
        self.retransmissions += closed.retransmissions;
        if self.closed.len() < MAX_CLOSED {
            self.closed.push(closed);
        }
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "sockets": self.sockets,
            "connections": self.connections,
            "accepted": self.accepted,
            "failed": self.failed,
            "sent": self.sent,
            "received": self.received,
            "retransmissions": self.retransmissions,
            "closed": self.closed.iter().map(Closed::to_json).collect::<Vec<_>>(),
        })
    }
}
