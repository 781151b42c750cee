//! A router: packets in at one link, out at the link of the longest prefix, one hop older.
//!
//! The queue in front of a link is the link's own drop-tail queue. Above [`Router::mark_above`] bytes in it,
//! packets of ECN-capable transports are marked (RFC 3168 5). What cannot be carried on is answered by ICMP
//! (RFC 1812 4.3, RFC 4443): unreachable, time exceeded, too big.

use sockeye_core::packet::{Checksum, Packet};
use sockeye_core::stack::{Cidr, InterfaceId};
use sockeye_core::wire::gso;
use sockeye_core::wire::icmp::{self, Error};
use sockeye_core::wire::ip::{IpHeader, IpTemplate};

/// What a router has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RouterCounters {
    /// Packets carried on.
    pub forwarded: u64,
    /// Packets that came in pieces because the next link is too narrow (IPv4 without DF).
    pub fragmented: u64,
    /// Answered with "too big".
    pub too_big: u64,
    /// Answered with "time exceeded".
    pub expired: u64,
    /// Without a way, not understood, or for the router itself: dropped.
    pub dropped: u64,
    /// Marked with CE.
    pub marked: u64,
}

struct Way {
    destination: Cidr,
    port: InterfaceId,
}

/// A router.
pub struct Router {
    ports: Vec<(Cidr, u16)>,
    /// Longest prefix first.
    ways: Vec<Way>,
    mark_above: Option<u64>,
    counters: RouterCounters,
}

impl Router {
    pub(super) fn new() -> Router {
        Router { ports: Vec::new(), ways: Vec::new(), mark_above: None, counters: RouterCounters::default() }
    }

    /// What it has done.
    pub fn counters(&self) -> RouterCounters {
        self.counters
    }

    /// From how many bytes in the queue on ECN-capable packets are marked; `None`: never.
    pub fn mark_above(&mut self, bytes: Option<u64>) {
        self.mark_above = bytes;
    }

    /// Another link, with our address there and the longest packet it takes.
    pub(super) fn add_port(&mut self, address: Cidr, mtu: u16) -> InterfaceId {
        let port = InterfaceId(self.ports.len() as u32);
        self.ports.push((address, mtu));
        self.add_way(address, port);
        port
    }

    /// A link's longest packet changes.
    pub fn set_mtu(&mut self, port: usize, mtu: u16) {
        if let Some(port) = self.ports.get_mut(port) {
            port.1 = mtu;
        }
    }

    pub(super) fn add_way(&mut self, destination: Cidr, port: InterfaceId) {
        self.ways.push(Way { destination, port });
        self.ways.sort_by_key(|way| std::cmp::Reverse(way.destination.prefix));
    }

    /// Marks a packet that meets so full a queue.
    pub(super) fn mark(&mut self, queued: u64, packet: &mut Packet) {
        if self.mark_above.is_none_or(|above| queued <= above) {
            return;
        }
        self.counters.marked += u64::from(gso::mark_ce(packet));
    }

    /// Carries a packet on that came in by `from`: itself, its fragments, or what its source is told.
    pub(super) fn forward(
        &mut self,
        from: InterfaceId,
        packet: Packet,
        out: &mut Vec<(InterfaceId, Packet)>,
    ) {
        let Ok(ip) = IpHeader::parse(packet.front(), packet.len(), packet.gso_size != 0) else {
            self.counters.dropped += 1;
            return;
        };
        if self.ports.iter().any(|(own, _)| own.address == ip.dst) {
            self.counters.dropped += 1; // nobody talks to routers here
            return;
        }
        let way = self.ways.iter().find(|way| way.destination.contains(ip.dst));
        let Some(port) = way.map(|way| way.port) else {
            self.counters.dropped += 1;
            return self.tell(from, &packet, &ip, Error::Unreachable { code: 0 }, out);
        };
        if ip.hop_limit <= 1 {
            self.counters.expired += 1;
            return self.tell(from, &packet, &ip, Error::TimeExceeded { code: 0 }, out);
        }
        let mtu = self.ports[port.0 as usize].1;
        if ip.total_len > usize::from(mtu) && ip.dont_fragment {
            self.counters.too_big += 1;
            return self.tell(from, &packet, &ip, Error::PacketTooBig { mtu: u32::from(mtu) }, out);
        }
        self.counters.forwarded += 1;
        let state = packet.checksum;
        let mut packet = packet;
        if ip.total_len > usize::from(mtu) && state == Checksum::Partial {
            gso::complete_checksum(&mut packet);
        }
        let mut bytes = packet.to_vec();
        bytes.truncate(ip.total_len);
        if ip.is_ipv6() {
            bytes[7] -= 1;
            out.push((port, rebuilt(bytes, state)));
            return;
        }
        bytes[8] -= 1;
        fix_header_checksum(&mut bytes);
        if bytes.len() <= usize::from(mtu) {
            out.push((port, rebuilt(bytes, state)));
        } else {
            self.counters.fragmented += 1;
            fragment(&bytes, usize::from(mtu), |piece| out.push((port, Packet::from_bytes(piece.into()))));
        }
    }

    fn tell(
        &self,
        from: InterfaceId,
        packet: &Packet,
        ip: &IpHeader,
        error: Error,
        out: &mut Vec<(InterfaceId, Packet)>,
    ) {
        let Some((own, _)) = self.ports.get(from.0 as usize) else { return };
        if icmp::error_allowed(packet, error)
            && let Some(answer) = icmp::error(&IpTemplate::new(own.address, ip.src), error, packet)
        {
            out.push((from, answer));
        }
    }
}

/// A packet of changed bytes. What its transport's checksum was worth it is worth still.
fn rebuilt(bytes: Vec<u8>, checksum: Checksum) -> Packet {
    Packet { checksum, ..Packet::from_bytes(bytes.into()) }
}

pub(super) fn fix_header_checksum(bytes: &mut [u8]) {
    let header = usize::from(bytes[0] & 0x0f) * 4;
    bytes[10..12].fill(0);
    let sum = sockeye_core::wire::checksum::checksum(&bytes[..header]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 791 3.2: the pieces of an IPv4 packet. Options are repeated in each of them.
fn fragment(bytes: &[u8], mtu: usize, mut each: impl FnMut(Vec<u8>)) {
    let header = usize::from(bytes[0] & 0x0f) * 4;
    let room = mtu.saturating_sub(header) / 8 * 8;
    if room == 0 {
        return;
    }
    let place = u16::from_be_bytes([bytes[6], bytes[7]]);
    let (first, more) = (place & 0x1fff, place & 0x2000);
    let body = &bytes[header..];
    for (i, piece) in body.chunks(room).enumerate() {
        let is_last = (i + 1) * room >= body.len();
        let more = if is_last { more } else { 0x2000 };
        let mut out = bytes[..header].to_vec();
        out.extend_from_slice(piece);
        let len = out.len() as u16;
        out[2..4].copy_from_slice(&len.to_be_bytes());
        let place = more | (first + (i * room / 8) as u16);
        out[6..8].copy_from_slice(&place.to_be_bytes());
        fix_header_checksum(&mut out);
        each(out);
    }
}
