//! Between a script's numbers, which start at what the script says, and those on the wire.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use sockeye_core::wire::tcp::Flags;

use crate::script::ast::{Body, Direction, Packet, SeqRange, Tcp, TcpOption};

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The stack under test.
    pub local: SocketAddr,
    /// The peer that the script plays.
    pub remote: SocketAddr,
}

impl Ends {
    /// Source and destination address of a packet in this direction.
    pub fn addresses(&self, direction: Direction) -> (IpAddr, IpAddr) {
        match direction {
            Direction::Inbound => (self.remote.ip(), self.local.ip()),
            Direction::Outbound => (self.local.ip(), self.remote.ip()),
        }
    }

    /// Source and destination port of a packet in this direction.
    pub fn ports(&self, direction: Direction) -> (u16, u16) {
        match direction {
            Direction::Inbound => (self.remote.port(), self.local.port()),
            Direction::Outbound => (self.local.port(), self.remote.port()),
        }
    }
}

/// How the numbers of one connection differ between script and wire.
///
/// The peer's sequence numbers and timestamps are those of the script; the stack chooses its own, and its first
/// SYN and its first timestamp tell by how much they are off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// What the stack's sequence numbers are above the script's; none until its SYN is seen.
    seq: Option<u32>,
    /// The stack's timestamps, by what the script calls them.
    timestamps: BTreeMap<u32, u32>,
    /// What the stack's first timestamp was above the script's.
    timestamp: Option<u32>,
}

impl Map {
    /// Nothing is known yet.
    pub fn new() -> Self {
        Map::default()
    }

    /// Whether the stack's initial sequence number is known.
    pub fn is_known(&self) -> bool {
        self.seq.is_some()
    }

    /// Forgets the sequence numbers, not the timestamps: a new incarnation of the connection begins.
    pub fn restart(&mut self) {
        self.seq = None;
    }

    /// Whether the stack's timestamps are known.
    pub fn has_timestamp(&self) -> bool {
        self.timestamp.is_some()
    }

    /// Learns from the first segment of the stack that the script calls `expected`.
    pub fn learn_seq(&mut self, expected: u32, on_wire: u32) {
        self.seq.get_or_insert(on_wire.wrapping_sub(expected));
    }

    /// Learns that the stack's timestamp `on_wire` is what the script calls `expected`.
    pub fn learn_timestamp(&mut self, expected: u32, on_wire: u32) {
        self.timestamps.insert(expected, on_wire);
        self.timestamp.get_or_insert(on_wire.wrapping_sub(expected));
    }

    /// A number of the stack's sequence space, on the wire.
    pub fn local_to_wire(&self, seq: u32) -> u32 {
        seq.wrapping_add(self.seq.unwrap_or(0))
    }

    /// A number of the stack's sequence space, in the script.
    pub fn local_to_script(&self, seq: u32) -> u32 {
        seq.wrapping_sub(self.seq.unwrap_or(0))
    }

    /// The stack's timestamp that the script echoes as `ecr`: that very one if the script named it, else as far off
    /// as the first. 0 stays 0.
    pub fn echo_to_wire(&self, ecr: u32) -> u32 {
        match self.timestamps.get(&ecr) {
            Some(&known) => known,
            None if ecr == 0 => 0,
            None => ecr.wrapping_add(self.timestamp.unwrap_or(0)),
        }
    }

    /// A timestamp of the stack as the script would call it, going by the first one; itself before that.
    pub fn timestamp_to_script(&self, val: u32) -> u32 {
        val.wrapping_sub(self.timestamp.unwrap_or(0))
    }

    /// A segment that the stack sent, in the script's numbers.
    pub fn to_script(&self, packet: &Packet) -> Packet {
        let mut packet = packet.clone();
        if let Body::Tcp(tcp) = &mut packet.body {
            self.segment_to_script(tcp);
        }
        packet
    }

    fn segment_to_script(&self, tcp: &mut Tcp) {
        // The answer to a segment without an ACK has the constant 0 (RFC 9293 3.5.2), no number of the stack's.
        let constant = tcp.seq.start == 0 && tcp.flags.contains(Flags::RST) && tcp.ack.is_some();
        let start = if constant { 0 } else { self.local_to_script(tcp.seq.start) };
        tcp.seq = SeqRange { start, end: start.wrapping_add(tcp.seq.len), len: tcp.seq.len };
        for option in tcp.options.iter_mut().flatten() {
            if let TcpOption::Timestamps { val: Some(val), .. } = option {
                *val = self.timestamp_to_script(*val);
            }
        }
    }
}
