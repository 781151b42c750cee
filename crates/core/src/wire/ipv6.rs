//! The IPv6 header and its extension headers (RFC 8200).

use core::net::{IpAddr, Ipv6Addr};

use super::Malformed;
use super::ip::{Fragment, IpHeader, IpTemplate, Problem, Reject};
use crate::packet::{Head, MAX_PACKET};

/// The fixed header.
pub const HEADER: usize = 40;

/// How many extension headers are walked.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// How many bytes of extension headers are walked.
pub const MAX_EXTENSION_BYTES: usize = 1_024;

const NEXT_HEADER_AT: usize = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;

/// Parses the header at the front of a packet; see [`IpHeader::parse`].
#[inline(always)]
pub(super) fn parse(front: &[u8], packet_len: usize, super_segment: bool) -> Result<IpHeader, Reject> {
    let Some((fixed, _)) = front.split_first_chunk::<HEADER>() else {
        return Err(Malformed::TooShort.into());
    };
    let word = u32::from_be_bytes([fixed[0], fixed[1], fixed[2], fixed[3]]);
    let total_len = HEADER + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if total_len > packet_len || (super_segment && total_len != packet_len) {
        return Err(Malformed::BadTotalLength.into());
    }
    let ip = IpHeader {
        src: IpAddr::V6(address(fixed, 8)),
        dst: IpAddr::V6(address(fixed, 24)),
        protocol: fixed[NEXT_HEADER_AT],
        hop_limit: fixed[7],
        traffic_class: (word >> 20) as u8,
        dont_fragment: true,
        ident: 0,
        fragment: None,
        header_len: HEADER,
        total_len,
        flow_label: word & 0xf_ffff,
        protocol_at: NEXT_HEADER_AT,
        source_route_at: None,
    };
    if !is_extension(ip.protocol) {
        return Ok(ip);
    }
    Walk { bytes: &front[..front.len().min(total_len)], ip, walked: 0 }.run()
}

/// Whether this next header is one that is walked over, or says that there is nothing.
pub(super) const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, HOP_BY_HOP | ROUTING | FRAGMENT | NO_NEXT_HEADER | DESTINATION_OPTIONS)
}

/// Walks the chain that a first fragment carries behind its fragment header: its transport and where that begins.
pub(super) fn chain_of_fragment(bytes: &[u8], ip: &IpHeader) -> Result<(u8, usize), Reject> {
    let inner = IpHeader { fragment: None, ..*ip };
    let inner = Walk { bytes: &bytes[..bytes.len().min(ip.total_len)], ip: inner, walked: 0 }.run()?;
    Ok((inner.protocol, inner.header_len))
}

/// A walk over extension headers; bounded in headers and bytes, so that no chain costs more (RFC 8504 5.3).
struct Walk<'a> {
    /// The packet without padding, as far as it is contiguous.
    bytes: &'a [u8],
    /// `protocol`, `protocol_at` and `header_len` move along.
    ip: IpHeader,
    walked: usize,
}

impl Walk<'_> {
    fn run(mut self) -> Result<IpHeader, Reject> {
        while is_extension(self.ip.protocol) {
            if self.ip.protocol == NO_NEXT_HEADER {
                return Err(Malformed::NoNextHeader.into());
            }
            self.walked += 1;
            if self.walked > MAX_EXTENSION_HEADERS || self.ip.header_len > HEADER + MAX_EXTENSION_BYTES {
                return Err(Malformed::TooManyExtensionHeaders.into());
            }
            if self.step()? {
                break;
            }
        }
        Ok(self.ip)
    }

    /// One extension header; true if it is the fragment header of a fragment, behind which nothing is walked.
    fn step(&mut self) -> Result<bool, Reject> {
        let at = self.ip.header_len;
        let Some((&[next, len_field, ..], _)) =
            self.bytes.get(at..).and_then(|rest| rest.split_first_chunk::<8>())
        else {
            return Err(Malformed::BadExtensionHeader.into());
        };
        let len = if self.ip.protocol == FRAGMENT { 8 } else { 8 + 8 * usize::from(len_field) };
        let Some(header) = self.bytes.get(at..at + len) else {
            return Err(Malformed::BadExtensionHeader.into());
        };
        match self.ip.protocol {
            // Only right behind the IPv6 header (RFC 8200 4.1), else it is an unknown next header.
            HOP_BY_HOP if at != HEADER => {
                return Err(self.answer(Malformed::BadExtensionHeader, 1, self.ip.protocol_at));
            }
            HOP_BY_HOP | DESTINATION_OPTIONS => self.options(header, at)?,
            // Any routing type with segments left is one that this host does not carry on (RFC 8200 4.4, RFC 5095).
            ROUTING if header[3] != 0 => return Err(self.answer(Malformed::BadExtensionHeader, 0, at + 2)),
            FRAGMENT => {
                let place = u16::from_be_bytes([header[2], header[3]]);
                self.ip.ident = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                self.fragment(place, at)?;
            }
            _ => {}
        }
        self.ip.protocol = next;
        self.ip.protocol_at = at;
        self.ip.header_len = at + len;
        Ok(self.ip.fragment.is_some())
    }

    /// RFC 8200 4.5: lengths are checked here, where the packet that an answer quotes is at hand.
    fn fragment(&mut self, place: u16, at: usize) -> Result<(), Reject> {
        let fragment = Fragment {
            offset: place & 0xfff8,
            more: place & 1 != 0,
            ident: self.ip.ident,
            named_at: self.ip.protocol_at as u16,
        };
        if fragment.offset == 0 && !fragment.more {
            return Ok(()); // Atomic: processed on its own (RFC 6946).
        }
        let payload_len = self.ip.total_len - (at + 8);
        if fragment.more && payload_len % 8 != 0 {
            return Err(self.answer(Malformed::BadFragment, 0, 4));
        }
        if payload_len == 0 {
            return Err(Malformed::BadFragment.into());
        }
        // The reassembled packet's payload length may not exceed 65,535: what lies before the fragment header counts.
        if at - HEADER + usize::from(fragment.offset) + payload_len > MAX_PACKET {
            return Err(self.answer(Malformed::FragmentTooLong, 0, at + 2));
        }
        self.ip.fragment = Some(fragment);
        Ok(())
    }

    /// The options of a hop-by-hop or destination options header that begins at `at` (RFC 8200 4.2).
    fn options(&self, header: &[u8], at: usize) -> Result<(), Reject> {
        let mut i = 2;
        while i < header.len() {
            let kind = header[i];
            if kind == 0 {
                i += 1; // Pad1
                continue;
            }
            let Some(end) = header.get(i + 1).map(|len| i + 2 + usize::from(*len)) else {
                return Err(Malformed::BadExtensionHeader.into());
            };
            if end > header.len() {
                return Err(Malformed::BadExtensionHeader.into());
            }
            // Known: PadN. All others act as their two highest bits say.
            let multicast = self.ip.dst.is_multicast();
            match kind >> 6 {
                _ if kind == 1 => {}
                0 => {}
                2 => return Err(self.answer(Malformed::UnknownOption, 2, at + i)),
                3 if !multicast => return Err(self.answer(Malformed::UnknownOption, 2, at + i)),
                _ => return Err(Malformed::UnknownOption.into()),
            }
            i = end;
        }
        Ok(())
    }

    fn answer(&self, reason: Malformed, code: u8, pointer: usize) -> Reject {
        let problem = Problem { code, pointer: pointer as u32 };
        Reject::Answer { reason, problem, addresses: (self.ip.src, self.ip.dst) }
    }
}

fn address(fixed: &[u8; HEADER], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&fixed[at..at + 16]);
    Ipv6Addr::from(octets)
}

/// Writes the header; see [`IpTemplate::emit`].
pub(super) fn emit(
    ip: &IpTemplate<'_>,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    head: &mut Head,
    protocol: u8,
    payload_len: usize,
) {
    let out = head.grow(HEADER);
    let word = 6 << 28 | u32::from(ip.traffic_class) << 20 | (ip.flow_label & 0xf_ffff);
    out[0..4].copy_from_slice(&word.to_be_bytes());
    out[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
    out[NEXT_HEADER_AT] = protocol;
    out[7] = ip.hop_limit.max(1);
    out[8..24].copy_from_slice(&src.octets());
    out[24..40].copy_from_slice(&dst.octets());
}
