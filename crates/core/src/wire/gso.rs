//! Super-segments cut into wire segments, and partial checksums completed: what a link does that offers
//! no offload.

use bytes::Bytes;

use super::checksum::{self, Sum};
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
    Segments { whole: None, cut: Some(Cut { head, data, at, size, done: 0, count: 0, mode, ended: false }) }
}

/// The segments of a super-segment, in order.
#[derive(Debug)]
pub struct Segments {
    whole: Option<Packet>,
    cut: Option<Cut>,
}

impl Iterator for Segments {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        match &mut self.cut {
            Some(cut) => cut.next(),
            None => self.whole.take(),
        }
    }
}

#[derive(Debug)]
struct Cut {
    /// The headers of the super-segment.
    head: Head,
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
    fn next(&mut self) -> Option<Packet> {
        if self.ended {
            return None;
        }
        let len = self.data.len().min(self.size);
        let payload = self.data.slice(0, len);
        self.data.advance(len);
        self.ended = self.data.is_empty();
        let mut packet = Packet { head: self.head.clone(), payload, ..Packet::default() };
        self.rewrite_ip(packet.head.as_mut_slice(), len);
        self.rewrite_tcp(packet.head.as_mut_slice());
        self.write_checksum(&mut packet);
        self.done += len;
        self.count = self.count.wrapping_add(1);
        Some(packet)
    }

    fn rewrite_ip(&self, header: &mut [u8], data_len: usize) {
        let total = self.at.data_at + data_len;
        if self.at.ipv6 {
            header[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            return;
        }
        header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        let ident = u16::from_be_bytes([header[4], header[5]]).wrapping_add(self.count);
        header[4..6].copy_from_slice(&ident.to_be_bytes());
        header[10..12].fill(0);
        let sum = checksum::checksum(&header[..self.at.tcp_at]);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn rewrite_tcp(&self, header: &mut [u8]) {
        let tcp = &mut header[self.at.tcp_at..];
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(self.done as u32);
        tcp[4..8].copy_from_slice(&seq.to_be_bytes());
        let mut drop = Flags::empty();
        if !self.ended {
            drop |= Flags::FIN | Flags::PSH;
        }
        if self.count > 0 {
            drop |= Flags::CWR | Flags::SYN;
        }
        // The urgent pointer counts from SEG.SEQ (RFC 9293 3.1), which moved.
        let urgent = usize::from(u16::from_be_bytes([tcp[18], tcp[19]]));
        if self.done > 0 && urgent <= self.done {
            drop |= Flags::URG;
        }
        tcp[13] &= !(drop.bits() as u8);
        let urgent = urgent.saturating_sub(self.done) as u16;
        tcp[18..20].copy_from_slice(&urgent.to_be_bytes());
    }

    fn write_checksum(&self, packet: &mut Packet) {
        let at = self.at.tcp_at;
        let len = packet.len();
        let field = at + CHECKSUM_AT;
        put(packet.head.as_mut_slice(), field, 0);
        let mut sum = self.pseudo_header(packet.head.as_slice(), len - at);
        if self.mode == ChecksumMode::Partial {
            packet.checksum = Checksum::Partial;
            put(packet.head.as_mut_slice(), field, sum.folded());
        } else {
            add_range(&mut sum, packet, at, len);
            put(packet.head.as_mut_slice(), field, sum.checksum());
        }
    }

    fn pseudo_header(&self, header: &[u8], len: usize) -> Sum {
        let mut sum = Sum::new();
        if self.at.ipv6 {
            sum.add(&header[8..40]);
        } else {
            sum.add(&header[12..16]);
            sum.add(&ipv4::final_destination(&header[..self.at.tcp_at]));
        }
        sum.add_word(u16::from(protocol::TCP));
        sum.add_word(len as u16);
        sum
    }
}

/// Makes the first `len` bytes the packet's own, so that `change` can change them.
fn change_front(packet: &mut Packet, len: usize, change: impl FnOnce(&mut [u8])) {
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
