//! Super-segments cut into wire segments, and partial checksums completed: what a link does that offers
//! no offload.

use bytes::Bytes;

use super::checksum::Sum;
use super::ip::protocol;
use super::parse::{add_range, take_payload};
use super::tcp::{self, CHECKSUM_AT, ChecksumMode, Flags};
use super::{icmp, ipv4, ipv6};
use crate::packet::{Checksum, HEAD_CAPACITY, Head, Packet, Payload};

/// Where the headers of a TCP packet end: what a device with offloads is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offsets {
    /// Where the TCP header begins (virtio's csum_start), in bytes. The checksum stands [`CHECKSUM_AT`] after it.
    pub tcp_at: usize,
    /// Where the data begins (virtio's hdr_len).
    pub data_at: usize,
    /// Where the packet ends, without link padding.
    pub end: usize,
    /// Whether it is IPv6.
    pub ipv6: bool,
}

/// The offsets of a TCP packet that is no fragment; none for all else. Lengths are checked, content is not:
/// this is for packets of one's own.
pub fn offsets(packet: &Packet) -> Option<Offsets> {
    let front = packet.front();
    let half = |at: usize| Some(u16::from_be_bytes([*front.get(at)?, *front.get(at + 1)?]));
    let (next, tcp_at, end) = match front.first()? >> 4 {
        4 => {
            let whole = half(6)? & 0x3fff == 0;
            let header_len = usize::from(front[0] & 0x0f) * 4;
            if !whole || header_len < ipv4::MIN_HEADER {
                return None;
            }
            (*front.get(ipv4::PROTOCOL_AT)?, header_len, usize::from(half(2)?))
        }
        6 => {
            let (next, at) = icmp::skip_extensions(front, *front.get(6)?)?;
            (next, at, ipv6::HEADER + usize::from(half(4)?))
        }
        _ => return None,
    };
    if next != protocol::TCP || end > packet.len() {
        return None;
    }
    let visible = front.get(tcp_at..front.len().min(end))?;
    let (_, len) = tcp::Header::parse(visible).ok()?;
    Some(Offsets { tcp_at, data_at: tcp_at + len, end, ipv6: front[0] >> 4 == 6 })
}

/// Computes a checksum that was left open; the packet's state becomes [`Checksum::Unverified`].
/// Packets in another state, and such as are no whole TCP packets, stay as they are.
pub fn complete_checksum(packet: &mut Packet) {
    if packet.checksum != Checksum::Partial {
        return;
    }
    let Some(at) = offsets(packet) else { return };
    let mut sum = Sum::new();
    add_range(&mut sum, packet, at.tcp_at, at.end);
    change_front(packet, at.data_at, |header| put(header, at.tcp_at + CHECKSUM_AT, sum.checksum()));
    packet.checksum = Checksum::Unverified;
}

/// Cuts a super-segment into the segments that it stands for. A packet that is none comes out as it is,
/// its checksum completed if `mode` says so; so does one whose headers exceed [`HEAD_CAPACITY`], which no stack builds.
///
/// Each segment repeats the headers with SEG.SEQ advanced, IPv4's identification counted up, lengths and
/// checksums its own. FIN and PSH stand on the last, CWR and SYN on the first only; URG on those that the urgent
/// pointer lies beyond the start of.
pub fn segment(mut packet: Packet, mode: ChecksumMode) -> Segments {
    let at = if packet.gso_size == 0 { None } else { offsets(&packet) };
    let Some(at) = at.filter(|at| at.data_at <= HEAD_CAPACITY) else {
        packet.gso_size = 0;
        if mode == ChecksumMode::Complete {
            complete_checksum(&mut packet);
        }
        return Segments { whole: Some(packet), cut: None };
    };
    let size = usize::from(packet.gso_size);
    let mut head = Head::new();
    head.extend(&packet.front()[..at.data_at]);
    let data = take_payload(packet, at.data_at, at.end - at.data_at);
    Segments { whole: None, cut: Some(Cut::new(head, data, at, size, mode)) }
}

/// The segments of a super-segment, in order.
#[derive(Debug)]
pub struct Segments {
    whole: Option<Packet>,
    cut: Option<Cut>,
}

impl Segments {
    /// How many are left.
    pub fn count_left(&self) -> usize {
        match &self.cut {
            Some(cut) if cut.ended => 0,
            Some(cut) => cut.data.len().div_ceil(cut.size).max(1),
            None => usize::from(self.whole.is_some()),
        }
    }

    /// The next one where it is to stand: `packet` is empty. False, and it stays so, if there is none.
    pub fn next_into(&mut self, packet: &mut Packet) -> bool {
        match &mut self.cut {
            Some(cut) => cut.next_into(packet),
            None => self.whole.take().map(|whole| *packet = whole).is_some(),
        }
    }
}

impl Iterator for Segments {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let mut packet = Packet::default();
        self.next_into(&mut packet).then_some(packet)
    }
}

#[derive(Debug)]
struct Cut {
    /// The headers of the super-segment.
    head: Head,
    /// The sum of what all segments' IPv4 headers have in common.
    ip: Sum,
    /// The same of their TCP headers, and of their pseudo-headers.
    tcp: Sum,
    addresses: Sum,
    /// Fields of the super-segment that are not the same in all of them; `flags` with the data offset.
    ident: u16,
    seq: u32,
    flags: u16,
    urgent: u16,
    /// The data not yet cut off.
    data: Payload,
    at: Offsets,
    size: usize,
    /// Bytes cut off so far.
    done: usize,
    /// Segments cut off so far.
    count: u16,
    mode: ChecksumMode,
    ended: bool,
}

impl Cut {
    fn new(mut head: Head, data: Payload, at: Offsets, size: usize, mode: ChecksumMode) -> Cut {
        let mut addresses = Sum::new();
        let header = head.as_slice();
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if at.ipv6 {
            addresses.add(&header[8..40]);
        } else {
            addresses.add(&header[12..16]);
            addresses.add(&ipv4::final_destination(&header[..at.tcp_at]));
        }
        addresses.add_word(u16::from(protocol::TCP));
        let (tcp, ident) = (at.tcp_at, if at.ipv6 { 0 } else { half(4) });
        let seq = u32::from(half(tcp + 4)) << 16 | u32::from(half(tcp + 6));
        let (flags, urgent) = (half(tcp + 12), half(tcp + 18));
        let header = head.as_mut_slice();
        if !at.ipv6 {
            [2, 4, 10].into_iter().for_each(|field| put(header, field, 0));
        }
        [4, 6, 12, CHECKSUM_AT, 18].into_iter().for_each(|field| put(header, tcp + field, 0));
        let (mut ip_sum, mut tcp_sum) = (Sum::new(), Sum::new());
        ip_sum.add(&header[..tcp]);
        tcp_sum.add(&header[tcp..]);
        let (ip, tcp) = (ip_sum, tcp_sum);
        Cut {
            head,
            ip,
            tcp,
            addresses,
            ident,
            seq,
            flags,
            urgent,
            data,
            at,
            size,
            done: 0,
            count: 0,
            mode,
            ended: false,
        }
    }

    fn next_into(&mut self, packet: &mut Packet) -> bool {
        if self.ended {
            return false;
        }
        packet.payload = self.data.split_to(self.size);
        let len = packet.payload.len();
        self.ended = self.data.is_empty();
        packet.head.extend(self.head.as_slice());
        let header = packet.head.as_mut_slice();
        self.rewrite_ip(header, len);
        let (tcp_len, mode) = (self.at.data_at - self.at.tcp_at + len, self.mode);
        let mut sum = self.addresses;
        sum.add_word(tcp_len as u16);
        if mode == ChecksumMode::Complete {
            self.rewrite_tcp(&mut header[self.at.tcp_at..], &mut sum);
            for slice in packet.payload.slices() {
                sum.add(slice);
            }
            put(packet.head.as_mut_slice(), self.at.tcp_at + CHECKSUM_AT, sum.checksum());
        } else {
            self.rewrite_tcp(&mut header[self.at.tcp_at..], &mut Sum::new());
            put(header, self.at.tcp_at + CHECKSUM_AT, sum.folded());
            packet.checksum = Checksum::Partial;
        }
        self.done += len;
        self.count = self.count.wrapping_add(1);
        true
    }

    fn rewrite_ip(&self, header: &mut [u8], data_len: usize) {
        let total = self.at.data_at + data_len;
        if self.at.ipv6 {
            put(header, 4, (total - 40) as u16);
            return;
        }
        let ident = self.ident.wrapping_add(self.count);
        let mut sum = self.ip;
        sum.add_word(total as u16);
        sum.add_word(ident);
        put(header, 2, total as u16);
        put(header, 4, ident);
        put(header, 10, sum.checksum());
    }

    /// SEG.SEQ, the control bits and the urgent pointer of this segment. `sum` takes the header in, from what is at
    /// hand: reading back what was just written would have to wait for it.
    fn rewrite_tcp(&self, tcp: &mut [u8], sum: &mut Sum) {
        let seq = self.seq.wrapping_add(self.done as u32);
        let mut drop = Flags::empty();
        if !self.ended {
            drop |= Flags::FIN | Flags::PSH;
        }
        if self.count > 0 {
            drop |= Flags::CWR | Flags::SYN;
        }
        // The urgent pointer counts from SEG.SEQ (RFC 9293 3.1), which moved.
        let urgent = usize::from(self.urgent);
        if self.done > 0 && urgent <= self.done {
            drop |= Flags::URG;
        }
        let flags = self.flags & !drop.bits();
        let urgent = urgent.saturating_sub(self.done) as u16;
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        put(tcp, 12, flags);
        put(tcp, 18, urgent);
        sum.add_sum(self.tcp);
        sum.add_word((seq >> 16) as u16);
        sum.add_word(seq as u16);
        sum.add_word(flags);
        sum.add_word(urgent);
    }
}

/// Marks a packet of an ECN-capable transport with CE, as a router does whose queue grows (RFC 3168 5). False if
/// it is of no such transport, marked already, or no IP packet.
pub fn mark_ce(packet: &mut Packet) -> bool {
    const CE: u8 = 3;
    let front = packet.front();
    let (codepoint, header) = match front {
        [first, tos, ..] if first >> 4 == 4 => (tos & CE, usize::from(first & 0x0f) * 4),
        [first, class, ..] if first >> 4 == 6 => (class >> 4 & CE, ipv6::HEADER),
        _ => return false,
    };
    if codepoint == 0 || codepoint == CE || front.len() < header.max(ipv4::MIN_HEADER) {
        return false;
    }
    let v4 = front[0] >> 4 == 4;
    change_front(packet, header, |header| {
        if !v4 {
            header[1] |= CE << 4;
            return;
        }
        let word = |header: &[u8], at: usize| u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
        let old = word(header, 0);
        header[1] |= CE;
        // RFC 1624 3: HC' = ~(~HC + ~m + m').
        let sum = (!word(header, ipv4::CHECKSUM_AT) & 0xffff) + (!old & 0xffff) + word(header, 0);
        let sum = (sum & 0xffff) + (sum >> 16);
        put(header, ipv4::CHECKSUM_AT, !((sum & 0xffff) + (sum >> 16)) as u16);
    });
    true
}

/// Makes the first `len` bytes the packet's own, so that `change` can change them.
pub(super) fn change_front(packet: &mut Packet, len: usize, change: impl FnOnce(&mut [u8])) {
    if packet.head.as_slice().is_empty() && len > HEAD_CAPACITY {
        let mut all = packet.to_vec();
        change(&mut all);
        packet.payload = Payload::from(Bytes::from(all));
        return;
    }
    if packet.head.as_slice().is_empty() {
        packet.head.extend(&packet.payload.slices()[0][..len]);
        packet.payload.advance(len);
    }
    change(packet.head.as_mut_slice());
}

fn put(header: &mut [u8], at: usize, word: u16) {
    header[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

#[cfg(test)]
mod tests;
