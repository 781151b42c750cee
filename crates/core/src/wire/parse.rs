//! From a packet to its headers: the hot path of everything that arrives.

use bytes::Bytes;

use super::checksum::Sum;
use super::ip::{IpHeader, Reject, protocol};
use super::{Malformed, icmp, ipv4, ipv6, tcp};
use crate::packet::{Checksum, Packet, Payload};

/// A packet's headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// The IP header.
    pub ip: IpHeader,
    /// What it carries.
    pub upper: Upper,
}

/// What an IP packet carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant)] // a segment is what nearly all packets are
pub enum Upper {
    /// A TCP segment whose checksum holds.
    Tcp(Segment),
    /// An ICMP message whose checksum holds.
    Icmp(icmp::Message),
    /// A part of a larger packet, for the reassembler; it is in `ip.fragment`.
    Fragment,
    /// Another protocol. Answered with Protocol Unreachable (IPv4) or Parameter Problem code 1 whose
    /// pointer is [`IpHeader::protocol_at`] (IPv6, RFC 8200 4).
    Other {
        /// Its number.
        protocol: u8,
    },
}

/// A TCP segment's header and where its data is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The header.
    pub header: tcp::Header,
    /// Where the data begins in the packet: the length of all headers, in bytes.
    pub data_at: usize,
    /// Length of the data in bytes, without link padding.
    pub data_len: usize,
}

impl Segment {
    /// The segment's data, by reference; see [`take_payload`].
    pub fn take_payload(&self, packet: Packet) -> Payload {
        take_payload(packet, self.data_at, self.data_len)
    }

    /// The segment's data if all of it stands in the packet's head.
    #[inline]
    pub fn inline<'a>(&self, packet: &'a Packet) -> Option<&'a [u8]> {
        packet.head.as_slice().get(self.data_at..self.data_at + self.data_len)
    }

    /// [`Segment::take_payload`] out of a packet that stays where it is.
    #[inline]
    pub fn move_payload(&self, packet: &mut Packet) -> Payload {
        move_payload(packet, self.data_at, self.data_len)
    }
}

/// Parses and checks a packet: lengths, header checksum, and the transport's checksum unless
/// [`Packet::checksum`] says that it holds.
///
/// # Errors
/// Why the packet is dropped, and what its source is to be told, if anything.
#[inline]
pub fn parse(packet: &Packet) -> Result<Parsed, Reject> {
    let front = packet.front();
    let (len, super_segment) = (packet.len(), packet.gso_size != 0);
    // One path for each family, so that headers are written once, where they stay.
    match front.first().map(|byte| byte >> 4) {
        Some(4) => carried(packet, front, ipv4::parse(front, len, super_segment)?),
        Some(6) => carried(packet, front, ipv6::parse(front, len, super_segment)?),
        Some(_) => Err(Malformed::BadVersion.into()),
        None => Err(Malformed::TooShort.into()),
    }
}

#[inline(always)]
fn carried(packet: &Packet, front: &[u8], ip: IpHeader) -> Result<Parsed, Reject> {
    if ip.protocol == protocol::TCP && ip.fragment.is_none() {
        let (header, header_len) = tcp::Header::parse(visible(front, &ip))?;
        if packet.checksum == Checksum::Unverified && !sum_of(packet, &ip, protocol::TCP).is_valid() {
            return Err(Malformed::BadTcpChecksum.into());
        }
        let (data_at, data_len) = (ip.header_len + header_len, ip.payload_len() - header_len);
        return Ok(Parsed { ip, upper: Upper::Tcp(Segment { header, data_at, data_len }) });
    }
    not_tcp(packet, front, ip)
}

/// What the contiguous bytes hold of what the IP header carries; padding is never looked at.
#[inline(always)]
fn visible<'a>(front: &'a [u8], ip: &IpHeader) -> &'a [u8] {
    front.get(ip.header_len..front.len().min(ip.total_len)).unwrap_or(&[])
}

#[inline(never)]
fn not_tcp(packet: &Packet, front: &[u8], ip: IpHeader) -> Result<Parsed, Reject> {
    let upper = if ip.fragment.is_some() {
        check_fragment(front, &ip)?;
        Upper::Fragment
    } else {
        match ip.protocol {
            protocol::ICMP if !ip.is_ipv6() => Upper::Icmp(message(packet, front, &ip)?),
            protocol::ICMPV6 if ip.is_ipv6() => Upper::Icmp(message(packet, front, &ip)?),
            protocol => Upper::Other { protocol },
        }
    };
    Ok(Parsed { ip, upper })
}

fn message(packet: &Packet, front: &[u8], ip: &IpHeader) -> Result<icmp::Message, Malformed> {
    let visible = visible(front, ip);
    if visible.len() < icmp::HEADER {
        return Err(Malformed::TooShort);
    }
    if packet.checksum == Checksum::Unverified {
        let sum = if ip.is_ipv6() {
            sum_of(packet, ip, protocol::ICMPV6)
        } else {
            let mut sum = Sum::new();
            add_range(&mut sum, packet, ip.header_len, ip.total_len);
            sum
        };
        if !sum.is_valid() {
            return Err(Malformed::BadIcmpChecksum);
        }
    }
    icmp::Message::parse(visible, ip.is_ipv6())
}

/// The sum over pseudo-header, transport header and data.
#[inline(always)]
fn sum_of(packet: &Packet, ip: &IpHeader, protocol: u8) -> Sum {
    // The addresses as they stand in the packet: both families' headers have been parsed.
    let front = packet.front();
    let mut sum = Sum::new();
    sum.add(if ip.is_ipv6() { &front[8..40] } else { &front[12..20] });
    // The packet is at most 65,535 bytes behind its IP header: the length's upper half is zero.
    sum.add_word(ip.payload_len() as u16);
    sum.add_word(u16::from(protocol));
    add_range(&mut sum, packet, ip.header_len, ip.total_len);
    sum
}

/// Adds the packet's bytes from `start` to `end`.
#[inline]
pub(super) fn add_range(sum: &mut Sum, packet: &Packet, start: usize, end: usize) {
    let (mut skip, mut left) = (start, end.saturating_sub(start));
    let head = packet.head.as_slice();
    for slice in core::iter::once(head).chain(packet.payload.slices().iter().map(|slice| &slice[..])) {
        if skip >= slice.len() {
            skip -= slice.len();
            continue;
        }
        let take = left.min(slice.len() - skip);
        sum.add(&slice[skip..skip + take]);
        left -= take;
        skip = 0;
        if left == 0 {
            break;
        }
    }
}

/// First fragments must hold the whole transport header, and no other IPv4 fragment may reach into it
/// (RFC 1858, RFC 3128, RFC 8200 4.5, RFC 7112).
fn check_fragment(front: &[u8], ip: &IpHeader) -> Result<(), Reject> {
    let Some(fragment) = ip.fragment else { return Ok(()) };
    if !ip.is_ipv6() && ip.protocol == protocol::TCP && fragment.offset == 8 {
        return Err(Malformed::TinyFragment.into());
    }
    if fragment.offset != 0 {
        return Ok(());
    }
    let (upper, at) = if ip.is_ipv6() && ipv6::is_extension(ip.protocol) {
        match ipv6::chain_of_fragment(front, ip) {
            Ok(found) => found,
            // The chain runs over the fragment's end.
            Err(Reject::Silent(Malformed::BadExtensionHeader)) => return Err(Malformed::TinyFragment.into()),
            Err(reject) => return Err(reject),
        }
    } else {
        (ip.protocol, ip.header_len)
    };
    let visible = front.get(at..front.len().min(ip.total_len)).unwrap_or(&[]);
    let whole = match upper {
        protocol::TCP => tcp::Header::parse(visible).is_ok(),
        protocol::ICMP | protocol::ICMPV6 => visible.len() >= icmp::HEADER,
        _ => true,
    };
    if whole { Ok(()) } else { Err(Malformed::TinyFragment.into()) }
}

/// `len` bytes of the packet from `at` on, by reference where the packet has them by reference;
/// what stands in its head is copied.
pub fn take_payload(mut packet: Packet, at: usize, len: usize) -> Payload {
    move_payload(&mut packet, at, len)
}

/// [`take_payload`] out of a packet that stays where it is.
#[inline]
pub(crate) fn move_payload(packet: &mut Packet, at: usize, len: usize) -> Payload {
    if len == 0 {
        return Payload::new();
    }
    let mut payload = core::mem::take(&mut packet.payload);
    let head = packet.head.as_slice();
    if head.len() <= at {
        payload.advance(at - head.len());
        payload.truncate(len);
        return payload;
    }
    let inline = &head[at..];
    let inline = &inline[..inline.len().min(len)];
    let mut out = Payload::from(Bytes::copy_from_slice(inline));
    if !payload.is_empty() && len > inline.len() {
        payload.truncate(len - inline.len());
        for slice in payload.into_slices() {
            out.push(slice);
        }
    }
    out
}

#[cfg(test)]
mod tests;
