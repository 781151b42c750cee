//! IPv4 and IPv6 headers (RFC 791, RFC 8200): what both have in common, parsing, and emission.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::num::NonZeroU8;

use super::Malformed;
use super::{ipv4, ipv6};
use crate::packet::Head;

/// Protocol and next-header numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// The place of a fragment in its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Fragment {
    /// Where its bytes begin, in bytes: a multiple of 8.
    pub offset: u16,
    /// Whether others follow.
    pub more: bool,
    /// What the fragments of one datagram share.
    pub ident: u32,
    /// Where the byte stands that names the fragment header (IPv6) or the protocol (IPv4).
    pub named_at: u16,
}

/// An IPv4 source route (RFC 791 3.1), strict or loose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SourceRoute {
    pub(super) strict: bool,
    pub(super) hops: [Ipv4Addr; SourceRoute::MAX_HOPS],
    pub(super) len: u8,
}

impl SourceRoute {
    /// How many addresses fit into the 40 bytes of options.
    pub const MAX_HOPS: usize = 9;

    /// The addresses on the way, first to last; none if there are more than [`SourceRoute::MAX_HOPS`] of them, or none at all.
    pub fn new(strict: bool, hops: &[Ipv4Addr]) -> Option<SourceRoute> {
        if hops.is_empty() || hops.len() > Self::MAX_HOPS {
            return None;
        }
        let mut all = [Ipv4Addr::UNSPECIFIED; Self::MAX_HOPS];
        all[..hops.len()].copy_from_slice(hops);
        Some(SourceRoute { strict, hops: all, len: hops.len() as u8 })
    }

    /// The source route of a received packet, whose front is `front`; none if it has none that ends here.
    pub fn read(ip: &IpHeader, front: &[u8]) -> Option<SourceRoute> {
        let at = usize::from(ip.source_route_at?.get());
        let len = usize::from(*front.get(at + 1)?);
        ipv4::source_route(front.get(at..at + len)?).ok().flatten()
    }

    /// Whether each hop has to follow the one before directly.
    pub fn is_strict(&self) -> bool {
        self.strict
    }

    /// The addresses, first to last. Of a received packet: those it went through.
    pub fn hops(&self) -> &[Ipv4Addr] {
        &self.hops[..usize::from(self.len)]
    }

    /// The way back (RFC 1122 3.2.1.8, RFC 9293 MUST-53).
    #[must_use]
    pub fn reversed(&self) -> SourceRoute {
        let mut back = *self;
        back.hops[..usize::from(self.len)].reverse();
        back
    }

    /// The option's bytes as [`IpTemplate::ip_options`] takes them, and how many of them there are.
    pub fn to_option(&self) -> ([u8; 40], usize) {
        let mut out = [0; 40];
        let len = 3 + 4 * usize::from(self.len);
        out[0] = if self.strict { ipv4::STRICT_SOURCE_ROUTE } else { ipv4::LOOSE_SOURCE_ROUTE };
        out[1] = len as u8;
        out[2] = 4;
        for (slot, hop) in out[3..len].chunks_exact_mut(4).zip(self.hops()) {
            slot.copy_from_slice(&hop.octets());
        }
        (out, len)
    }
}

/// What an IPv4 or IPv6 header says, extension headers included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpHeader {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol (IPv4) or the next header after all extension headers (IPv6). Of an IPv6 fragment:
    /// what follows its fragment header.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Type of service, or traffic class: DSCP << 2 | ECN.
    pub traffic_class: u8,
    /// IPv4's DF; true for IPv6, which no router fragments.
    pub dont_fragment: bool,
    /// Identification (IPv4), or that of the fragment header, 0 without one (IPv6).
    pub ident: u32,
    /// Set if the packet is a part of a larger one. Atomic fragments (RFC 6946) are no fragments.
    pub fragment: Option<Fragment>,
    /// Where the transport header begins, or what a fragment carries: IPv4 options and IPv6 extension headers included.
    pub header_len: usize,
    /// Length of the packet in bytes as its header says; what lies beyond is link padding.
    pub total_len: usize,
    /// IPv6's flow label, 20 bits; 0 for IPv4.
    pub flow_label: u32,
    /// Where the byte stands that names `protocol`: the pointer of a Parameter Problem about it.
    pub protocol_at: usize,
    /// Where an IPv4 source route stands that ends at this packet's destination: [`SourceRoute::read`] has it.
    /// Whether it is honoured is the stack's policy.
    pub source_route_at: Option<NonZeroU8>,
}

impl IpHeader {
    /// Whether this is IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.src.is_ipv6()
    }

    /// Length of what the IP header carries, in bytes.
    pub fn payload_len(&self) -> usize {
        self.total_len - self.header_len
    }

    /// Parses the header at the front of a packet of `packet_len` bytes, of which `front` are the first.
    /// `super_segment`: the length field must match `packet_len` exactly, as no link pads those.
    ///
    /// # Errors
    /// The reason to drop the packet, and what to answer, if anything.
    #[inline(always)]
    pub fn parse(front: &[u8], packet_len: usize, super_segment: bool) -> Result<IpHeader, Reject> {
        match front.first().map(|byte| byte >> 4) {
            Some(4) => ipv4::parse(front, packet_len, super_segment),
            Some(6) => ipv6::parse(front, packet_len, super_segment),
            Some(_) => Err(Reject::Silent(Malformed::BadVersion)),
            None => Err(Reject::Silent(Malformed::TooShort)),
        }
    }
}

/// What a Parameter Problem message says (RFC 792, RFC 4443 3.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The code: 0 erroneous field, 1 unknown next header, 2 unknown option, 3 incomplete header chain (RFC 7112).
    pub code: u8,
    /// Offset of the byte at fault.
    pub pointer: u32,
}

/// Why an IP header is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reject {
    /// Dropped without a word.
    Silent(Malformed),
    /// Dropped, and its source is to be told with a Parameter Problem.
    Answer {
        /// The reason.
        reason: Malformed,
        /// What the message says.
        problem: Problem,
        /// The packet's source and destination.
        addresses: (IpAddr, IpAddr),
    },
}

impl Reject {
    /// The reason.
    pub fn reason(&self) -> Malformed {
        match self {
            Reject::Silent(reason) | Reject::Answer { reason, .. } => *reason,
        }
    }
}

impl From<Malformed> for Reject {
    fn from(reason: Malformed) -> Self {
        Reject::Silent(reason)
    }
}

/// What the IP headers of a connection's packets hold.
///
/// `src` and `dst` are of one family (an IPv4 address beside an IPv6 one is written IPv4-mapped).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpTemplate<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Final destination: what a transport's checksum covers, whatever the source route.
    pub dst: IpAddr,
    /// Time to live, or hop limit; 0 is written as 1 (RFC 1122 3.2.1.7).
    pub hop_limit: u8,
    /// DSCP << 2 | ECN.
    pub traffic_class: u8,
    /// IPv4 identification.
    pub ident: u16,
    /// IPv4's DF.
    pub dont_fragment: bool,
    /// IPv6 flow label, 20 bits.
    pub flow_label: u32,
    /// IPv4 options as applications set them, at most 40 bytes, not necessarily padded. A source route lists the
    /// hops and not the destination: the packet goes to the first of them, and the destination becomes the
    /// route's last address, as on Linux (MUST-51).
    pub ip_options: &'a [u8],
}

impl IpTemplate<'_> {
    /// A template without extras: hop limit 64, DF.
    pub const fn new(src: IpAddr, dst: IpAddr) -> IpTemplate<'static> {
        IpTemplate {
            src,
            dst,
            hop_limit: 64,
            traffic_class: 0,
            ident: 0,
            dont_fragment: true,
            flow_label: 0,
            ip_options: &[],
        }
    }

    /// The length of the header that [`IpTemplate::emit`] writes.
    pub fn header_len(&self) -> usize {
        match (self.src, self.dst) {
            (IpAddr::V4(_), IpAddr::V4(_)) => ipv4::MIN_HEADER + self.padded_options(),
            _ => ipv6::HEADER,
        }
    }

    /// Adds the header of a packet that carries `payload_len` bytes of `protocol` to `head`.
    pub fn emit(&self, head: &mut Head, protocol: u8, payload_len: usize) {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ipv4::emit(self, (src, dst), head, protocol, payload_len),
            (src, dst) => ipv6::emit(self, (mapped(src), mapped(dst)), head, protocol, payload_len),
        }
    }

    pub(super) fn padded_options(&self) -> usize {
        self.ip_options.len().min(ipv4::MAX_OPTIONS).next_multiple_of(4)
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests;
