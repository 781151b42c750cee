//! Segments between the wire and a connection.

use core::net::SocketAddr;

use crate::branch::cold;
use crate::packet::Payload;
use crate::tcp::SeqNum;
use crate::time::Duration;
use crate::wire::tcp::{Flags, Header};

/// The two ends of a connection, ours first. A connection is its socket pair (RFC 9293 3.4).
///
/// A dual-stack socket that talks IPv4 has an IPv4 tuple.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Tuple {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub remote: SocketAddr,
}

impl Tuple {
    /// Seen from the other side.
    #[must_use]
    pub const fn reversed(&self) -> Tuple {
        Tuple { local: self.remote, remote: self.local }
    }
}

/// A segment that arrived.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its header and options.
    pub hdr: Header,
    /// Its text, by reference.
    pub data: Payload,
    /// Text bytes of each segment that this super-segment stands for; 0 if it is one segment.
    pub gso_size: u16,
    /// Traffic class: DSCP in the upper six bits, ECN in the lower two.
    pub tos: u8,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
}

impl Segment {
    /// SEG.LEN: text, SYN and FIN counted.
    pub fn seg_len(&self) -> u32 {
        let flags = self.hdr.flags;
        self.data.len() as u32 + u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN))
    }

    /// The sequence number after the segment.
    pub fn seg_end(&self) -> SeqNum {
        self.hdr.seq + self.seg_len()
    }

    /// How many segments of the wire this one stands for, at least 1.
    pub fn segments(&self) -> u32 {
        segments(self.data.len(), self.gso_size)
    }
}

/// How many segments of the wire `len` bytes make at `gso_size` bytes each (0: one segment).
pub const fn segments(len: usize, gso_size: u16) -> u32 {
    if gso_size == 0 || len == 0 {
        return 1;
    }
    cold();
    len.div_ceil(gso_size as usize) as u32
}

/// Why a segment is sent: decided first, shown in every trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[non_exhaustive]
pub enum Why {
    /// The handshake.
    Syn,
    /// The handshake's answer.
    SynAck,
    /// New data.
    Data,
    /// The first FIN, with or without data.
    Fin,
    /// An ACK that was due: second segment, out of order, FIN ...
    Ack,
    /// The delayed ACK timer ran out.
    DelayedAck,
    /// The window opened.
    WindowUpdate,
    /// RFC 5961.
    ChallengeAck,
    /// Duplicate data arrived: D-SACK.
    DuplicateAck,
    /// Sent again: the retransmission timer.
    RetransmitRto,
    /// Sent again: duplicate ACKs or the scoreboard (fast retransmit).
    RetransmitFast,
    /// Sent again: RACK found it lost.
    RetransmitRack,
    /// Sent again: partial acknowledgment (NewReno) or later in the same recovery.
    RetransmitRecovery,
    /// Sent again: the path MTU became smaller.
    RetransmitMtu,
    /// Tail loss probe.
    Tlp,
    /// A probe of the path MTU (RFC 4821).
    MtuProbe,
    /// Zero-window probe.
    WindowProbe,
    /// Keep-alive probe.
    KeepAlive,
    /// Reset.
    Rst,
}

impl Why {
    /// A few words for the ladder.
    pub const fn text(self) -> &'static str {
        match self {
            Why::Syn => "connect",
            Why::SynAck => "answer to SYN",
            Why::Data => "data",
            Why::Fin => "close",
            Why::Ack => "ack",
            Why::DelayedAck => "delayed ack",
            Why::WindowUpdate => "window update",
            Why::ChallengeAck => "challenge ack",
            Why::DuplicateAck => "duplicate seen",
            Why::RetransmitRto => "retransmit: RTO",
            Why::RetransmitFast => "retransmit: fast",
            Why::RetransmitRack => "retransmit: RACK",
            Why::RetransmitRecovery => "retransmit: recovery",
            Why::RetransmitMtu => "retransmit: path MTU",
            Why::Tlp => "tail loss probe",
            Why::MtuProbe => "path MTU probe",
            Why::WindowProbe => "window probe",
            Why::KeepAlive => "keep-alive",
            Why::Rst => "reset",
        }
    }

    /// Whether sequence numbers are sent a second time.
    pub const fn is_retransmission(self) -> bool {
        matches!(
            self,
            Why::RetransmitRto
                | Why::RetransmitFast
                | Why::RetransmitRack
                | Why::RetransmitRecovery
                | Why::RetransmitMtu
        )
    }
}

/// A segment to be sent, before IP. It is large: it is made where it stays.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Header with its options.
    pub hdr: Header,
    /// Text.
    pub data: Payload,
    /// So many bytes of text from SEG.SEQ on still lie in the TX buffer: [`Connection::fill`] fetches them, or
    /// [`Connection::copy_text`] copies them to where they go.
    ///
    /// [`Connection::fill`]: super::Connection::fill
    /// [`Connection::copy_text`]: super::Connection::copy_text
    pub(crate) held: u8,
    /// It is one segment whose text is `held`, and whose options are timestamps at most.
    pub(crate) lean: bool,
    /// Text bytes of each segment of the wire, 0 if it is one.
    pub gso_size: u16,
    /// Traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Set "don't fragment".
    pub dont_fragment: bool,
    /// Why it is sent.
    pub why: Why,
}

impl Default for Outgoing {
    /// Nothing yet.
    fn default() -> Self {
        Outgoing {
            hdr: Header::default(),
            data: Payload::new(),
            held: 0,
            lean: false,
            gso_size: 0,
            tos: 0,
            ttl: 0,
            dont_fragment: false,
            why: Why::Ack,
        }
    }
}

impl Outgoing {
    /// Bytes of text.
    #[inline]
    pub fn text_len(&self) -> usize {
        self.data.len() + usize::from(self.held)
    }
}

/// What a connection must know of the way to its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Path {
    /// The MTU of the interface the route uses (for the MSS we announce), bytes.
    pub mtu: u16,
    /// The path MTU as far as known (for what we send), bytes, at most `mtu`.
    pub pmtu: u16,
    /// The longest super-segment the link takes, bytes of IP packet; 0 or at most the MTU: none.
    pub gso_max: u32,
}

/// What is left of a connection in TIME-WAIT (RFC 9293 3.3.2, RFC 7323 5, RFC 6191).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeWaitInfo {
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// RCV.NXT.
    pub rcv_nxt: SeqNum,
    /// The window as it stands on the wire.
    pub window: u16,
    /// Our window scale, to know RCV.WND.
    pub rcv_wscale: u8,
    /// TS.Recent and its age in seconds, if timestamps were agreed.
    pub ts_recent: Option<u32>,
    /// What is added to our timestamp clock.
    pub ts_offset: u32,
    /// Traffic class of what we sent.
    pub tos: u8,
    /// How long it has to last: `None` is the stack's 2 MSL; an orphan's FIN-WAIT-2 rest otherwise.
    pub lasts: Option<Duration>,
}
