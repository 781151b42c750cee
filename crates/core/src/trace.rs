//! What happens, as bounded typed records; free when nobody listens.
//!
//! The ladder, captures, `ss`, `top` and the scripts' mismatch reports read these records;
//! none of them reaches into the stack.

use alloc::collections::VecDeque;

use crate::socket::SocketId;
use crate::tcp::recovery::UndoKind;
use crate::tcp::state::{Event, State};
use crate::tcp::timer::Timer;
use crate::tcp::{SeqNum, Tuple, Why};
use crate::time::{Duration, Instant};
use crate::wire::tcp::Header;

/// One thing that happened.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: Instant,
    /// Whose it is; `None` for segments that belong to no socket.
    pub socket: Option<SocketId>,
    /// Between whom.
    pub tuple: Tuple,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// A connection changed its state.
    State {
        /// From this state ...
        from: State,
        /// ... to this one ...
        to: State,
        /// ... because of this.
        why: Event,
    },
    /// A segment was handed to the link.
    Sent {
        /// Its header.
        header: Header,
        /// Bytes of data.
        len: u32,
        /// Data bytes of each wire segment, 0 if it is one segment.
        gso_size: u16,
        /// Why it was sent.
        why: Why,
        /// The sender's state afterwards.
        state: State,
    },
    /// A segment arrived.
    Received {
        /// Its header.
        header: Header,
        /// Bytes of data.
        len: u32,
        /// Data bytes of each wire segment, 0 if it is one segment.
        gso_size: u16,
        /// The state before it was processed.
        state: State,
    },
    /// A segment or packet was dropped.
    Dropped {
        /// Why.
        reason: DropReason,
        /// The sequence number, if it got that far.
        seq: Option<SeqNum>,
    },
    /// A timer fired.
    Timer(Timer),
    /// Loss recovery or congestion control moved.
    Congestion {
        /// Congestion window, bytes.
        cwnd: u32,
        /// Slow start threshold, bytes.
        ssthresh: u32,
        /// Smoothed RTT.
        srtt: Duration,
        /// The least RTT of late; zero if none was measured.
        min_rtt: Duration,
        /// Rate at which sending is paced, bytes a second; 0 if it is not.
        pacing_rate: u64,
        /// Measured delivery rate, bytes a second; 0 if none was measured.
        delivery_rate: u64,
        /// What proved a reduction needless, if one was undone.
        undone: Option<UndoKind>,
        /// The new recovery state, under Linux's name (Open, Disorder, CWR, Recovery, Loss).
        state: &'static str,
    },
    /// The connection ended.
    Ended {
        /// How: `None` is an orderly end.
        error: Option<crate::Errno>,
    },
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a segment or packet was dropped.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// One line for people.
            pub const fn text(self) -> &'static str {
                match self { $(DropReason::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// The bytes are no valid packet.
    Malformed = "malformed packet",
    /// A checksum does not fit.
    BadChecksum = "bad checksum",
    /// Not for one of our addresses.
    NotOurs = "not for one of our addresses",
    /// A source that cannot be answered (MUST-57, MUST-63).
    BadSource = "invalid source or destination address",
    /// Nobody has this address pair and port pair.
    NoSocket = "no such connection and no listener",
    /// RFC 9293 3.10.7.4, first check.
    OutOfWindow = "outside of the receive window",
    /// RFC 7323 5.
    Paws = "timestamp older than the last one (PAWS)",
    /// Timestamps were agreed and are missing (RFC 7323 3.2).
    NoTimestamp = "timestamp missing",
    /// RFC 9293 3.10.7.4, fifth check.
    NoAck = "no ACK bit",
    /// An ACK for what was never sent, or far too old (RFC 5961 5).
    BadAck = "acknowledgment outside of the window",
    /// RFC 5961 3 and 4.
    Challenged = "answered with a challenge ACK",
    /// A RST that does not count.
    BadRst = "RST that does not fit",
    /// RFC 9293 3.10.7: the segment has no meaning in this state.
    WrongState = "no meaning in this state",
    /// The receive buffer is full.
    BufferFull = "receive buffer full",
    /// The SYN queue is full.
    SynQueueFull = "SYN queue full",
    /// The accept queue is full.
    AcceptQueueFull = "accept queue full",
    /// A SYN cookie that does not fit.
    BadCookie = "no valid SYN cookie",
    /// A bound on memory or sockets.
    NoMemory = "memory limit",
    /// A rate limit.
    RateLimited = "rate limit",
    /// A SYN to TIME-WAIT that fails RFC 6191.
    OldSyn = "old SYN in TIME-WAIT",
    /// RFC 2385.
    BadSignature = "MD5 signature missing, unexpected or wrong",
    /// Below IP_MINTTL.
    LowTtl = "TTL below IP_MINTTL",
    /// An ICMP error that does not fit a connection (RFC 5927).
    BadIcmp = "ICMP error that fits no connection",
    /// There is no route, or the interface is down.
    NoRoute = "no route",
    /// Fragments refused.
    Fragment = "fragment refused",
    /// A protocol that is not TCP or ICMP.
    UnknownProtocol = "unknown protocol",
    /// A queue to a device is full.
    QueueFull = "queue full",
}

/// The recorder: off until enabled, then a ring of bounded length.
#[derive(Debug, Default)]
pub struct Trace {
    records: VecDeque<Record>,
    capacity: usize,
    /// Records that did not fit.
    pub lost: u64,
}

impl Trace {
    /// Starts recording, at most `capacity` records between two readings; 0 stops.
    pub fn enable(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.records.truncate(capacity);
    }

    /// Whether anybody listens. Callers ask before they build a record.
    #[inline]
    pub fn on(&self) -> bool {
        self.capacity != 0
    }

    /// Keeps a record; when full the newest is lost and counted.
    pub fn push(&mut self, record: Record) {
        if self.records.len() < self.capacity {
            self.records.push_back(record);
        } else {
            self.lost += 1;
        }
    }

    /// The oldest record not yet read.
    pub fn next_record(&mut self) -> Option<Record> {
        self.records.pop_front()
    }
}
