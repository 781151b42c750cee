//! The IPv4 header and its options (RFC 791).

use core::net::{IpAddr, Ipv4Addr};
use core::num::NonZeroU8;

use super::Malformed;
use super::checksum::{Sum, checksum};
use super::ip::{Fragment, IpHeader, IpTemplate, Problem, Reject, SourceRoute};
use crate::packet::{Head, MAX_PACKET};

/// A header without options.
pub const MIN_HEADER: usize = 20;

/// The longest options area.
pub const MAX_OPTIONS: usize = 40;

/// Where the byte of the protocol stands.
pub const PROTOCOL_AT: usize = 9;
/// Where the header's checksum stands.
pub const CHECKSUM_AT: usize = 10;

pub(super) const LOOSE_SOURCE_ROUTE: u8 = 131;
pub(super) const STRICT_SOURCE_ROUTE: u8 = 137;

/// Parses the header at the front of a packet; see [`IpHeader::parse`].
#[inline(always)]
pub(super) fn parse(front: &[u8], packet_len: usize, super_segment: bool) -> Result<IpHeader, Reject> {
    let Some((fixed, _)) = front.split_first_chunk::<MIN_HEADER>() else {
        return Err(Malformed::TooShort.into());
    };
    let half = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(half(2));
    // Each length against the next before anything is subtracted (RFC 791 3.1).
    if header_len < MIN_HEADER || header_len > total_len {
        return Err(Malformed::BadHeaderLength.into());
    }
    if total_len > packet_len || (super_segment && total_len != packet_len) {
        return Err(Malformed::BadTotalLength.into());
    }
    let Some(header) = front.get(..header_len) else {
        return Err(Malformed::TooShort.into());
    };
    let mut sum = Sum::new();
    sum.add(header);
    if !sum.is_valid() {
        return Err(Malformed::BadHeaderChecksum.into());
    }
    let src = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let dst = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    let source_route_at = if header_len == MIN_HEADER { None } else { options(header, src, dst)? };
    let place = half(6);
    Ok(IpHeader {
        src: IpAddr::V4(src),
        dst: IpAddr::V4(dst),
        protocol: fixed[PROTOCOL_AT],
        hop_limit: fixed[8],
        traffic_class: fixed[1],
        dont_fragment: place & 0x4000 != 0,
        ident: u32::from(half(4)),
        fragment: fragment(place, half(4), total_len - header_len)?,
        header_len,
        total_len,
        flow_label: 0,
        protocol_at: PROTOCOL_AT,
        source_route_at,
    })
}

/// The fragment fields, checked against the packet's length before anybody uses them.
fn fragment(place: u16, ident: u16, payload_len: usize) -> Result<Option<Fragment>, Reject> {
    if place & 0x3fff == 0 {
        return Ok(None);
    }
    let fragment = Fragment {
        offset: (place & 0x1fff) * 8,
        more: place & 0x2000 != 0,
        ident: u32::from(ident),
        named_at: PROTOCOL_AT as u16,
    };
    if payload_len == 0 || (fragment.more && payload_len % 8 != 0) {
        return Err(Malformed::BadFragment.into());
    }
    if MIN_HEADER + usize::from(fragment.offset) + payload_len > MAX_PACKET {
        return Err(Malformed::FragmentTooLong.into());
    }
    Ok(Some(fragment))
}

/// Walks the options: unknown ones are passed over (MUST-50), a source route is noted.
#[cold]
fn options(header: &[u8], src: Ipv4Addr, dst: Ipv4Addr) -> Result<Option<NonZeroU8>, Reject> {
    let bad = |at: usize| Reject::Answer {
        reason: Malformed::BadIpOption,
        problem: Problem { code: 0, pointer: at as u32 },
        addresses: (IpAddr::V4(src), IpAddr::V4(dst)),
    };
    let mut route = None;
    let mut at = MIN_HEADER;
    while at < header.len() {
        let kind = header[at];
        if kind == 0 {
            break;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        let len = header.get(at + 1).map_or(0, |len| usize::from(*len));
        if len < 2 || len > header.len() - at {
            return Err(bad(at + 1));
        }
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            // RFC 1122 3.2.1.8 (c): not more than one source route.
            if route.is_some() {
                return Err(bad(at));
            }
            route = match source_route(&header[at..at + len]) {
                Ok(Some(_)) => NonZeroU8::new(at as u8),
                Ok(None) => None,
                Err(Malformed::SourceRouted) => return Err(Malformed::SourceRouted.into()),
                Err(_) => return Err(bad(at + 2)),
            };
        }
        at += len;
    }
    Ok(route)
}

/// Whether an application may put these options into its packets: each has its length, and a source route,
/// of which there is at most one, names its hops and stands before the first (MUST-51).
pub(crate) fn may_be_sent(options: &[u8]) -> bool {
    let (mut at, mut routes) = (0, 0);
    while at < options.len() {
        let kind = options[at];
        if kind == 0 {
            break;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        let len = options.get(at + 1).map_or(0, |len| usize::from(*len));
        if len < 2 || len > options.len() - at {
            return false;
        }
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            routes += 1;
            if routes > 1 || len < 7 || (len - 3) % 4 != 0 || options[at + 2] != 4 {
                return false;
            }
        }
        at += len;
    }
    options.len() <= MAX_OPTIONS
}

/// A source route that ends here; one with hops left would have to be carried on, which a host does not do.
pub(super) fn source_route(option: &[u8]) -> Result<Option<SourceRoute>, Malformed> {
    let [kind, len, pointer, hops @ ..] = option else {
        return Err(Malformed::BadIpOption);
    };
    if *pointer < 4 || hops.len() % 4 != 0 {
        return Err(Malformed::BadIpOption);
    }
    if pointer <= len {
        return Err(Malformed::SourceRouted);
    }
    let mut all = [Ipv4Addr::UNSPECIFIED; SourceRoute::MAX_HOPS];
    let mut count = 0;
    for (slot, hop) in all.iter_mut().zip(hops.chunks_exact(4)) {
        *slot = Ipv4Addr::new(hop[0], hop[1], hop[2], hop[3]);
        count += 1;
    }
    Ok(SourceRoute::new(*kind == STRICT_SOURCE_ROUTE, &all[..count]))
}

/// Writes the header; see [`IpTemplate::emit`].
pub(super) fn emit(
    ip: &IpTemplate<'_>,
    (src, dst): (Ipv4Addr, Ipv4Addr),
    head: &mut Head,
    protocol: u8,
    payload_len: usize,
) {
    let header_len = MIN_HEADER + ip.padded_options();
    let out = head.grow(header_len);
    out[0] = 0x40 | (header_len / 4) as u8;
    out[1] = ip.traffic_class;
    out[2..4].copy_from_slice(&((header_len + payload_len) as u16).to_be_bytes());
    out[4..6].copy_from_slice(&ip.ident.to_be_bytes());
    out[6] = if ip.dont_fragment { 0x40 } else { 0 };
    out[8] = ip.hop_limit.max(1);
    out[PROTOCOL_AT] = protocol;
    out[12..16].copy_from_slice(&src.octets());
    let mut first_hop = dst;
    if !ip.ip_options.is_empty() {
        let len = ip.ip_options.len().min(MAX_OPTIONS);
        let options = &mut out[MIN_HEADER..MIN_HEADER + len];
        options.copy_from_slice(&ip.ip_options[..len]);
        first_hop = route_through(options, dst);
    }
    out[16..20].copy_from_slice(&first_hop.octets());
    let sum = if header_len == MIN_HEADER {
        // From what is at hand: reading back what was just written would have to wait for it.
        let mut sum = Sum::new();
        sum.add_word(0x4500 | u16::from(ip.traffic_class));
        sum.add_word((header_len + payload_len) as u16);
        sum.add_word(ip.ident);
        sum.add_word(if ip.dont_fragment { 0x4000 } else { 0 });
        sum.add_word(u16::from(ip.hop_limit.max(1)) << 8 | u16::from(protocol));
        for address in [src, first_hop] {
            sum.add_word((address.to_bits() >> 16) as u16);
            sum.add_word(address.to_bits() as u16);
        }
        sum.checksum()
    } else {
        checksum(out)
    };
    out[CHECKSUM_AT..CHECKSUM_AT + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Where a packet goes in the end: the last address of a source route with hops left, else the destination.
pub(super) fn final_destination(header: &[u8]) -> [u8; 4] {
    let mut last = [header[16], header[17], header[18], header[19]];
    let options = &header[MIN_HEADER..];
    if let Some((at, len)) = find_source_route(options)
        && options[at + 2] <= options[at + 1]
    {
        last.copy_from_slice(&options[at + len - 4..at + len]);
    }
    last
}

/// Turns a source route as applications give it (the hops) into that of the wire (what follows the first hop,
/// the destination last). Returns where the packet goes first.
fn route_through(options: &mut [u8], dst: Ipv4Addr) -> Ipv4Addr {
    let Some((at, len)) = find_source_route(options) else {
        return dst;
    };
    let hops = &mut options[at + 3..at + len];
    let first = Ipv4Addr::new(hops[0], hops[1], hops[2], hops[3]);
    hops.rotate_left(4);
    let last = hops.len() - 4;
    hops[last..].copy_from_slice(&dst.octets());
    first
}

/// Offset and length of a well-formed source route of at least one hop.
fn find_source_route(options: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        let len = match kind {
            0 => return None,
            1 => 1,
            _ => usize::from(*options.get(at + 1)?),
        };
        if len == 0 || len > options.len() - at {
            return None;
        }
        let is_route = kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE;
        if is_route && len >= 7 && len % 4 == 3 {
            return Some((at, len));
        }
        at += len;
    }
    None
}
