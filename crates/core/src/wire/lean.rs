//! The headers that nearly every segment has: IPv4 without options, TCP with timestamps or without options. They are
//! written, read and summed in one go, from what is at hand: reading back what was just written would have to wait for
//! it. To the same effect as the general way of [`super::tcp`] and [`super::parse`].

use core::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;

use super::checksum::Sum;
use super::ip::{IpTemplate, protocol};
use super::ipv4;
use super::tcp::{ChecksumMode, Flags, Header, MIN_HEADER, Timestamps};
use crate::branch::cold;
use crate::packet::{Checksum, Packet};
use crate::tcp::SeqNum;

/// Both headers without options.
const PLAIN: usize = ipv4::MIN_HEADER + MIN_HEADER;
/// With timestamps.
const TIMED: usize = PLAIN + 12;
/// NOP, NOP, Timestamps, 10.
const TIMESTAMPS: u32 = 0x0101_080a;

/// The addresses of a segment whose headers are of this kind.
#[inline]
pub(super) fn addresses(ip: &IpTemplate<'_>, tcp: &Header) -> Option<(Ipv4Addr, Ipv4Addr)> {
    match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst))
            if ip.ip_options.is_empty() && tcp.options.at_most_timestamps() =>
        {
            Some((src, dst))
        }
        _ => None,
    }
}

/// How long the headers are.
#[inline]
fn len(tcp: &Header) -> usize {
    if tcp.options.timestamps.is_some() { TIMED } else { PLAIN }
}

/// Makes an empty packet one of the headers and `text` bytes in the head: where the text goes.
#[inline(always)]
pub(crate) fn text_in<'a>(packet: &'a mut Packet, tcp: &Header, text: usize) -> &'a mut [u8] {
    let header_len = len(tcp);
    packet.head.set_len(header_len + text);
    &mut packet.head.as_mut_slice()[header_len..]
}

/// Writes the headers to the front of the head, which has room for them, before `text` bytes that are there already: in the
/// head (see [`text_in`]), by reference, or both.
#[inline(always)]
pub(crate) fn write(
    packet: &mut Packet,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    (ip, tcp): (&IpTemplate<'_>, &Header),
    text: usize,
    mode: ChecksumMode,
) {
    let header_len = len(tcp);
    let total = (header_len + text) as u32;
    let (src, dst) = (src.to_bits(), dst.to_bits());
    let size = 0x4500_0000 | u32::from(ip.traffic_class) << 16 | total;
    let place = u32::from(ip.ident) << 16 | if ip.dont_fragment { 0x4000 } else { 0 };
    let kind = u32::from(ip.hop_limit.max(1)) << 24 | u32::from(protocol::TCP) << 16;
    let addresses = u64::from(src) + u64::from(dst);
    let ip_sum = !fold(u64::from(size) + u64::from(place) + u64::from(kind) + addresses);
    let ports = u32::from(tcp.src_port) << 16 | u32::from(tcp.dst_port);
    let ack = if tcp.flags.contains(Flags::ACK) { tcp.ack.0 } else { 0 };
    let urgent = if tcp.flags.contains(Flags::URG) { tcp.urgent } else { 0 };
    let words = (header_len - ipv4::MIN_HEADER) as u32 / 4;
    let control = words << 28 | u32::from(tcp.flags.bits()) << 16 | u32::from(tcp.window);
    let mut sum = addresses + u64::from(protocol::TCP) + u64::from(total) - ipv4::MIN_HEADER as u64;
    let field = match mode {
        ChecksumMode::Partial => {
            packet.checksum = Checksum::Partial;
            fold(sum)
        }
        ChecksumMode::Complete => {
            sum += u64::from(ports) + u64::from(tcp.seq.0) + u64::from(ack) + u64::from(control);
            sum += u64::from(urgent) + u64::from(sum_of_text(packet, header_len));
            if let Some(ts) = tcp.options.timestamps {
                sum += u64::from(TIMESTAMPS) + u64::from(ts.val) + u64::from(ts.ecr);
            }
            !fold(sum)
        }
    };
    let Some(out) = packet.head.as_mut_slice().first_chunk_mut::<PLAIN>() else { return };
    let all = [
        size,
        place,
        kind | u32::from(ip_sum),
        src,
        dst,
        ports,
        tcp.seq.0,
        ack,
        control,
        u32::from(field) << 16 | u32::from(urgent),
    ];
    for (word, to) in all.into_iter().zip(out.chunks_exact_mut(4)) {
        to.copy_from_slice(&word.to_be_bytes());
    }
    if let Some(ts) = tcp.options.timestamps
        && let Some(out) = packet.head.as_mut_slice().get_mut(PLAIN..TIMED)
    {
        for (word, to) in [TIMESTAMPS, ts.val, ts.ecr].into_iter().zip(out.chunks_exact_mut(4)) {
            to.copy_from_slice(&word.to_be_bytes());
        }
    }
}

/// What [`read`] has found, beside the TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Read {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Traffic class.
    pub tos: u8,
    /// TTL.
    pub ttl: u8,
    /// Where the text begins in the packet.
    pub data_at: usize,
    /// Its length.
    pub data_len: usize,
}

/// Reads a segment whose headers are of this kind and whose control bits are ACK and perhaps PSH. `None`: it is another
/// one, or its checksums do not hold. `hdr` is an earlier one's or a default; it is filled in if this is such a segment.
#[inline]
pub(crate) fn read(packet: &Packet, hdr: &mut Header) -> Option<Read> {
    let front = packet.front();
    let fixed = front.first_chunk::<PLAIN>()?;
    let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (size, place, kind) = (word(0), word(4), word(8));
    let (src, dst, ports, seq) = (word(12), word(16), word(20), word(24));
    let (ack, control, rest) = (word(28), word(32), word(36));
    let total = size as usize & 0xffff;
    let flags = Flags::from_bits_truncate((control >> 16) as u16 & 0x1ff);
    if size >> 24 != 0x45
        || total != packet.len()
        || place & 0x3fff != 0
        || (kind >> 16) as u8 != protocol::TCP
        || flags - Flags::PSH != Flags::ACK
    {
        return None;
    }
    let addresses = u64::from(src) + u64::from(dst);
    if fold(u64::from(size) + u64::from(place) + u64::from(kind) + addresses) != 0xffff {
        return None;
    }
    let mut sum = addresses + u64::from(protocol::TCP) + total as u64 - ipv4::MIN_HEADER as u64;
    sum += u64::from(ports) + u64::from(seq) + u64::from(ack) + u64::from(control) + u64::from(rest);
    let (timestamps, data_at) = match control >> 28 {
        5 => (None, PLAIN),
        8 => {
            let (options, _) = front.get(PLAIN..)?.split_first_chunk::<12>()?;
            let word = |at: usize| {
                u32::from_be_bytes([options[at], options[at + 1], options[at + 2], options[at + 3]])
            };
            if word(0) != TIMESTAMPS {
                return None;
            }
            sum += u64::from(TIMESTAMPS) + u64::from(word(4)) + u64::from(word(8));
            (Some(Timestamps { val: word(4), ecr: word(8) }), TIMED)
        }
        _ => return None,
    };
    if packet.checksum == Checksum::Unverified {
        let text = match &front[data_at..] {
            [] if packet.payload.is_empty() => 0,
            [byte] if packet.payload.is_empty() => u16::from(*byte) << 8,
            // What follows the headers at its front, and the rest.
            text => {
                cold();
                let behind = usize::from(packet.head.as_slice().is_empty());
                sum_of(text, &packet.payload.slices()[behind..])
            }
        };
        if fold(sum + u64::from(text)) != 0xffff {
            return None;
        }
    }
    hdr.src_port = (ports >> 16) as u16;
    hdr.dst_port = ports as u16;
    hdr.seq = SeqNum(seq);
    hdr.ack = SeqNum(ack);
    hdr.flags = flags;
    hdr.window = control as u16;
    hdr.urgent = rest as u16;
    hdr.options.timestamps = timestamps;
    let (src, dst) = (Ipv4Addr::from_bits(src), Ipv4Addr::from_bits(dst));
    let (tos, ttl) = ((size >> 16) as u8, (kind >> 24) as u8);
    Some(Read { src, dst, tos, ttl, data_at, data_len: total - data_at })
}

#[inline(always)]
fn sum_of_text(packet: &Packet, header_len: usize) -> u16 {
    match (&packet.head.as_slice()[header_len..], packet.payload.slices()) {
        ([byte], []) => u16::from(*byte) << 8,
        (text, slices) => {
            cold();
            sum_of(text, slices)
        }
    }
}

/// The sum of text at the front of a packet and of what follows it.
#[inline(never)]
fn sum_of(text: &[u8], slices: &[Bytes]) -> u16 {
    let mut sum = Sum::new();
    sum.add(text);
    slices.iter().for_each(|slice| sum.add(slice));
    sum.folded()
}

/// A sum of words of 32 bits, folded to sixteen.
#[inline]
fn fold(sum: u64) -> u16 {
    let (sum, carry) = (sum as u32).overflowing_add((sum >> 32) as u32);
    let sum = sum + u32::from(carry);
    // Both halves and the carry between them, in the upper half.
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

#[cfg(test)]
mod tests;
