//! ICMP (RFC 792, RFC 1122 3.2.2) and ICMPv6 (RFC 4443): echo and errors.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;

use super::Malformed;
use super::checksum::{self, Sum};
use super::ip::{IpTemplate, Problem, protocol};
use super::parse::{add_range, take_payload};
use crate::packet::{Head, Packet};
use crate::tcp::SeqNum;

/// The ICMP header.
pub const HEADER: usize = 8;

/// The longest IPv4 packet that an error makes (RFC 1812 4.3.2.3).
pub const MAX_ERROR_V4: usize = 576;

/// The longest IPv6 packet that an error makes (RFC 4443 2.4 (c)).
pub const MAX_ERROR_V6: usize = 1_280;

/// Codes of Destination Unreachable, IPv4 (RFC 792, RFC 1122 3.2.2.1).
pub mod unreachable_v4 {
    /// Net unreachable.
    pub const NET: u8 = 0;
    /// Host unreachable.
    pub const HOST: u8 = 1;
    /// Protocol unreachable: a hard error.
    pub const PROTOCOL: u8 = 2;
    /// Port unreachable: a hard error.
    pub const PORT: u8 = 3;
    /// Source route failed.
    pub const SOURCE_ROUTE_FAILED: u8 = 5;
    /// Communication administratively prohibited (RFC 1812 5.2.7.1).
    pub const PROHIBITED: u8 = 13;
}

/// Codes of Destination Unreachable, IPv6 (RFC 4443 3.1).
pub mod unreachable_v6 {
    /// No route to destination.
    pub const NO_ROUTE: u8 = 0;
    /// Administratively prohibited: a hard error.
    pub const PROHIBITED: u8 = 1;
    /// Beyond scope of source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Address unreachable.
    pub const ADDRESS: u8 = 3;
    /// Port unreachable: a hard error.
    pub const PORT: u8 = 4;
}

/// An ICMP message that arrived; which family's it is, the IP header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// To be answered with [`echo_reply`].
    EchoRequest(Echo),
    /// An answer to our request.
    EchoReply(Echo),
    /// A report about a packet that was sent.
    Error {
        /// What is wrong.
        error: Error,
        /// The packet that it is about.
        quoted: Quoted,
    },
    /// Anything else: neighbour discovery, router messages, obsolete ones.
    Other {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
    },
}

/// What echo request and reply carry besides data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Echo {
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub seq: u16,
}

/// What an ICMP error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Destination unreachable, all codes except IPv4's "fragmentation needed": see [`unreachable_v4`], [`unreachable_v6`].
    Unreachable {
        /// The code as on the wire.
        code: u8,
    },
    /// IPv4 "fragmentation needed" (RFC 1191), IPv6 Packet Too Big.
    PacketTooBig {
        /// MTU of the next hop in bytes as on the wire; 0 of routers older than RFC 1191.
        mtu: u32,
    },
    /// Time exceeded: code 0 in transit, 1 in reassembly.
    TimeExceeded {
        /// The code.
        code: u8,
    },
    /// Parameter problem.
    ParameterProblem(Problem),
    /// IPv4 Source Quench, which is discarded (MUST-55, RFC 6633). Only ever received.
    SourceQuench,
}

/// The packet that an ICMP error quotes, as far as it tells which connection sent it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its source: this host.
    pub src: IpAddr,
    /// Its destination.
    pub dst: IpAddr,
    /// Its protocol. Ports and sequence number are TCP's place for them whatever this is.
    pub protocol: u8,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// The packet's length in bytes, as its IP header says.
    pub total_len: usize,
}

impl Message {
    /// Parses a message. `bytes` is as much of it as is contiguous; its checksum has been looked at.
    ///
    /// # Errors
    /// [`Malformed::TooShort`]; [`Malformed::BadIcmpQuote`] if an error quotes less than the IP header and
    /// eight bytes of what that carries, or no first fragment of an IP packet of the same family.
    pub fn parse(bytes: &[u8], ipv6: bool) -> Result<Message, Malformed> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(Malformed::TooShort);
        };
        let (kind, code) = (header[0], header[1]);
        let echo = Echo {
            ident: u16::from_be_bytes([header[4], header[5]]),
            seq: u16::from_be_bytes([header[6], header[7]]),
        };
        let word = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let error = if ipv6 {
            match kind {
                1 => Error::Unreachable { code },
                2 => Error::PacketTooBig { mtu: word },
                3 => Error::TimeExceeded { code },
                4 => Error::ParameterProblem(Problem { code, pointer: word }),
                128 => return Ok(Message::EchoRequest(echo)),
                129 => return Ok(Message::EchoReply(echo)),
                _ => return Ok(Message::Other { kind, code }),
            }
        } else {
            match kind {
                0 => return Ok(Message::EchoReply(echo)),
                3 if code == 4 => Error::PacketTooBig { mtu: u32::from(echo.seq) },
                3 => Error::Unreachable { code },
                4 => Error::SourceQuench,
                8 => return Ok(Message::EchoRequest(echo)),
                11 => Error::TimeExceeded { code },
                12 => Error::ParameterProblem(Problem { code, pointer: u32::from(header[4]) }),
                _ => return Ok(Message::Other { kind, code }),
            }
        };
        let quoted = if ipv6 { quoted_v6(body) } else { quoted_v4(body) };
        Ok(Message::Error { error, quoted: quoted.ok_or(Malformed::BadIcmpQuote)? })
    }
}

fn quoted_v4(bytes: &[u8]) -> Option<Quoted> {
    let fixed = bytes.first_chunk::<20>()?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let not_first = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0;
    if fixed[0] >> 4 != 4 || header_len < 20 || not_first {
        return None;
    }
    let src = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let dst = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    transport(bytes.get(header_len..)?, src.into(), dst.into(), fixed[9], total_len)
}

fn quoted_v6(bytes: &[u8]) -> Option<Quoted> {
    let fixed = bytes.first_chunk::<40>()?;
    if fixed[0] >> 4 != 6 {
        return None;
    }
    let octets = |at: usize| -> Option<Ipv6Addr> {
        Some(Ipv6Addr::from(*bytes.get(at..at + 16)?.first_chunk::<16>()?))
    };
    let (src, dst) = (octets(8)?, octets(24)?);
    let total_len = 40 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    // This host sends no extension headers other than, at most, a fragment header.
    let (mut next, mut at) = (fixed[6], 40);
    if next == 44 {
        let fragment = bytes.get(at..at + 8)?;
        if u16::from_be_bytes([fragment[2], fragment[3]]) & 0xfff8 != 0 {
            return None;
        }
        next = fragment[0];
        at += 8;
    }
    transport(bytes.get(at..)?, src.into(), dst.into(), next, total_len)
}

fn transport(bytes: &[u8], src: IpAddr, dst: IpAddr, protocol: u8, total_len: usize) -> Option<Quoted> {
    let ports = bytes.first_chunk::<8>()?;
    Some(Quoted {
        src,
        dst,
        protocol,
        src_port: u16::from_be_bytes([ports[0], ports[1]]),
        dst_port: u16::from_be_bytes([ports[2], ports[3]]),
        seq: SeqNum(u32::from_be_bytes([ports[4], ports[5], ports[6], ports[7]])),
        total_len,
    })
}

/// Builds the answer to an echo request: same identifier, sequence number and data (RFC 1122 3.2.2.6).
///
/// `ip` goes from the address that was pinged back to its source. `data_at` and `data_len` say where the
/// request's data is: behind its IP header and the [`HEADER`] bytes of ICMP.
pub fn echo_reply(
    ip: &IpTemplate<'_>,
    echo: Echo,
    request: Packet,
    data_at: usize,
    data_len: usize,
) -> Packet {
    let data = take_payload(request, data_at, data_len);
    let [i0, i1] = echo.ident.to_be_bytes();
    let [s0, s1] = echo.seq.to_be_bytes();
    let kind = if ip.src.is_ipv6() { 129 } else { 0 };
    let mut packet = Packet { payload: data, ..Packet::default() };
    let len = HEADER + packet.payload.len();
    ip.emit(&mut packet.head, number(ip), len);
    let at = packet.head.as_slice().len();
    packet.head.extend(&[kind, 0, 0, 0, i0, i1, s0, s1]);
    let mut sum = start(ip, len);
    add_range(&mut sum, &packet, at, at + len);
    packet.head.as_mut_slice()[at + 2..at + 4].copy_from_slice(&sum.checksum().to_be_bytes());
    packet
}

/// Builds an error about `offending`, quoting as much of it as the family allows: all that fits into
/// [`MAX_ERROR_V4`] or [`MAX_ERROR_V6`] bytes. None if the family has no such message (source quench is never sent).
///
/// Whether an error may be sent at all is [`error_allowed`]'s to say, and how many the caller's.
pub fn error(ip: &IpTemplate<'_>, error: Error, offending: &Packet) -> Option<Packet> {
    let ipv6 = ip.src.is_ipv6();
    let (kind, code, word) = match (error, ipv6) {
        (Error::Unreachable { code }, false) => (3, code, 0),
        (Error::PacketTooBig { mtu }, false) => (3, 4, mtu & 0xffff),
        (Error::TimeExceeded { code }, false) => (11, code, 0),
        (Error::ParameterProblem(Problem { code, pointer }), false) => (12, code, (pointer & 0xff) << 24),
        (Error::Unreachable { code }, true) => (1, code, 0),
        (Error::PacketTooBig { mtu }, true) => (2, 0, mtu),
        (Error::TimeExceeded { code }, true) => (3, code, 0),
        (Error::ParameterProblem(Problem { code, pointer }), true) => (4, code, pointer),
        (Error::SourceQuench, _) => return None,
    };
    let headers = ip.header_len() + HEADER;
    let longest = if ipv6 { MAX_ERROR_V6 } else { MAX_ERROR_V4 };
    let quote = offending.len().min(longest - headers);
    let mut head = Head::new();
    ip.emit(&mut head, number(ip), HEADER + quote);
    // One contiguous buffer, so that who receives it sees all of the quote in front.
    let mut out: Vec<u8> = Vec::with_capacity(headers + quote);
    out.extend_from_slice(head.as_slice());
    let at = out.len();
    out.extend_from_slice(&[kind, code, 0, 0]);
    out.extend_from_slice(&word.to_be_bytes());
    let in_head = &offending.head.as_slice()[..offending.head.as_slice().len().min(quote)];
    out.extend_from_slice(in_head);
    for slice in offending.payload.slice(0, quote - in_head.len()).slices() {
        out.extend_from_slice(slice);
    }
    let mut sum = start(ip, out.len() - at);
    sum.add(&out[at..]);
    out[at + 2..at + 4].copy_from_slice(&sum.checksum().to_be_bytes());
    Some(Packet::from_bytes(Bytes::from(out)))
}

/// Whether a packet may be answered with an ICMP error, as far as it alone shows (RFC 1122 3.2.2, RFC 4443 2.4 (e)).
///
/// Never one to or from a group, from no single host, that is a later fragment, or that is an ICMP error or an
/// unknown ICMP message itself. IPv6's Packet Too Big and Parameter Problem code 2 may answer multicast.
/// Subnet broadcasts and link-layer ones the caller knows.
pub fn error_allowed(offending: &Packet, error: Error) -> bool {
    let front = offending.front();
    match front.first().map(|byte| byte >> 4) {
        Some(4) => error_allowed_v4(front),
        Some(6) => error_allowed_v6(front, error),
        _ => false,
    }
}

fn error_allowed_v4(front: &[u8]) -> bool {
    let Some(fixed) = front.first_chunk::<20>() else { return false };
    let src = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let dst = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    let group = |a: Ipv4Addr| a.is_multicast() || a.octets()[0] >= 240;
    if group(dst) || group(src) || src.octets()[0] == 0 || src.is_loopback() {
        return false;
    }
    if u16::from_be_bytes([fixed[6], fixed[7]]) & 0x1fff != 0 {
        return false;
    }
    let kind = front.get(usize::from(fixed[0] & 0x0f) * 4);
    // Queries are 0, 8 and from 13 on; RFC 1122 3.2.2 spares them nothing but errors about errors.
    fixed[9] != protocol::ICMP || kind.is_some_and(|kind| !matches!(kind, 3 | 4 | 5 | 11 | 12))
}

fn error_allowed_v6(front: &[u8], error: Error) -> bool {
    let Some(fixed) = front.first_chunk::<40>() else { return false };
    let mut src = [0; 16];
    src.copy_from_slice(&fixed[8..24]);
    let src = Ipv6Addr::from(src);
    if src.is_multicast() || src.is_unspecified() || src.is_loopback() {
        return false;
    }
    let excepted =
        matches!(error, Error::PacketTooBig { .. } | Error::ParameterProblem(Problem { code: 2, .. }));
    if fixed[24] == 0xff && !excepted {
        return false;
    }
    let Some((next, at)) = skip_extensions(front, fixed[6]) else { return true };
    // Informational messages have the highest bit set (RFC 4443 2.1); redirects (137) are spared too.
    next != protocol::ICMPV6 || front.get(at).is_some_and(|kind| *kind >= 128 && *kind != 137)
}

/// The transport behind extension headers of whatever content; none if they run over `front`, or for
/// a later fragment (which has none).
pub(super) fn skip_extensions(front: &[u8], first: u8) -> Option<(u8, usize)> {
    let (mut next, mut at) = (first, 40);
    for _ in 0..super::ipv6::MAX_EXTENSION_HEADERS {
        match next {
            0 | 43 | 60 => {
                let header = front.get(at..at + 2)?;
                next = header[0];
                at += 8 + 8 * usize::from(header[1]);
            }
            44 => {
                next = *front.get(at)?;
                at += 8;
            }
            _ => return Some((next, at)),
        }
    }
    None
}

fn number(ip: &IpTemplate<'_>) -> u8 {
    if ip.src.is_ipv6() { protocol::ICMPV6 } else { protocol::ICMP }
}

/// The sum that a message of `len` bytes starts with: IPv6's pseudo-header (RFC 4443 2.3), nothing for IPv4.
fn start(ip: &IpTemplate<'_>, len: usize) -> Sum {
    if ip.src.is_ipv6() { checksum::pseudo_header(ip.src, ip.dst, protocol::ICMPV6, len) } else { Sum::new() }
}

#[cfg(test)]
mod tests;
