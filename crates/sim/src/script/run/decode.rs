//! The bytes that a stack sent, as a script's packet, with everything that is wrong with them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sockeye_core::wire::tcp::Flags;

use super::{ICMP, ICMPV6, TCP, UDP, checksum, transport_checksum};
use crate::script::ast::{Body, Direction, Ecn, Icmp, IpInfo, Packet, SeqRange, Tcp, TcpOption};
use crate::script::icmp;

/// A packet as it was seen on the wire, in the wire's own numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The packet; its IP header is told whole.
    pub packet: Packet,
    /// Source. The port is 0 for ICMP.
    pub src: SocketAddr,
    /// Destination.
    pub dst: SocketAddr,
    /// IPv4: the Identification field.
    pub id: Option<u16>,
    /// IPv4: whether Don't Fragment is set.
    pub dont_fragment: Option<bool>,
    /// The payload.
    pub payload: Vec<u8>,
    /// What no packet may be like: wrong checksums, lengths, reserved bits.
    pub faults: Vec<String>,
}

/// Takes a packet apart. What cannot be taken apart at all is an error; what can, but is wrong, is in
/// [`Seen::faults`].
pub fn decode(bytes: &[u8]) -> Result<Seen, String> {
    match bytes.first().map(|first| first >> 4) {
        Some(4) => ipv4(bytes),
        Some(6) => ipv6(bytes),
        _ => Err(format!("{} bytes that are no IP packet", bytes.len())),
    }
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn ip_info(octet: u8, ttl: u8, flow_label: Option<u32>) -> IpInfo {
    let ecn = [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce][usize::from(octet & 3)];
    IpInfo { ecn: Some(ecn), tos: Some(octet), ttl: Some(ttl), flow_label }
}

fn ipv4(bytes: &[u8]) -> Result<Seen, String> {
    let header = usize::from(bytes[0] & 15) * 4;
    if header < 20 || bytes.len() < header {
        return Err(format!("an IPv4 packet of {} bytes with a header of {header}", bytes.len()));
    }
    let mut faults = Vec::new();
    if usize::from(word(bytes, 2)) != bytes.len() {
        faults.push(format!("IPv4 total length {} in a packet of {} bytes", word(bytes, 2), bytes.len()));
    }
    if checksum(&bytes[..header]) != 0 {
        faults.push("wrong IPv4 header checksum".to_owned());
    }
    let fragment = word(bytes, 6);
    if fragment & 0x8000 != 0 {
        faults.push("the reserved bit of the IPv4 header is set".to_owned());
    }
    if fragment & 0x3fff != 0 {
        return Err("a fragment".to_owned());
    }
    let address = |at: usize| IpAddr::V4(Ipv4Addr::from(long(bytes, at)));
    let ip = ip_info(bytes[1], bytes[8], None);
    let mut seen = upper(address(12), address(16), bytes[9], &bytes[header..], ip, faults)?;
    seen.id = Some(word(bytes, 4));
    seen.dont_fragment = Some(fragment & 0x4000 != 0);
    Ok(seen)
}

fn ipv6(bytes: &[u8]) -> Result<Seen, String> {
    if bytes.len() < 40 {
        return Err(format!("an IPv6 packet of {} bytes", bytes.len()));
    }
    let mut faults = Vec::new();
    if usize::from(word(bytes, 4)) != bytes.len() - 40 {
        faults.push(format!("IPv6 payload length {} before {} bytes", word(bytes, 4), bytes.len() - 40));
    }
    let address = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&bytes[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let first = long(bytes, 0);
    let ip = ip_info((first >> 20) as u8, bytes[7], Some(first & 0xf_ffff));
    upper(address(8), address(24), bytes[6], &bytes[40..], ip, faults)
}

fn upper(
    src: IpAddr,
    dst: IpAddr,
    protocol: u8,
    bytes: &[u8],
    ip: IpInfo,
    mut faults: Vec<String>,
) -> Result<Seen, String> {
    if ![TCP, UDP, ICMP, ICMPV6].contains(&protocol) {
        return Err(format!("a packet of IP protocol {protocol}"));
    }
    let no_checksum = protocol == UDP && src.is_ipv4() && bytes.len() >= 8 && word(bytes, 6) == 0;
    if !no_checksum && transport_checksum(src, dst, protocol, bytes) != 0 {
        faults.push("wrong checksum".to_owned());
    }
    let (body, ports, header) = match protocol {
        TCP => tcp(bytes, &mut faults)?,
        UDP if bytes.len() >= 8 => {
            let body = Body::Udp { ports: None, len: (bytes.len() - 8) as u32 };
            (body, (word(bytes, 0), word(bytes, 2)), 8)
        }
        _ if protocol != UDP && bytes.len() >= 8 => (icmp_message(bytes, protocol == ICMPV6), (0, 0), 8),
        _ => return Err(format!("{} bytes of IP protocol {protocol}", bytes.len())),
    };
    let packet = Packet { direction: Direction::Outbound, encapsulation: Vec::new(), ip, body };
    Ok(Seen {
        packet,
        src: SocketAddr::new(src, ports.0),
        dst: SocketAddr::new(dst, ports.1),
        id: None,
        dont_fragment: None,
        payload: bytes[header..].to_vec(),
        faults,
    })
}

fn icmp_message(bytes: &[u8], v6: bool) -> Body {
    let kind = icmp::name(bytes[0], v6).map_or_else(|| bytes[0].to_string(), str::to_owned);
    let too_big = if v6 { bytes[0] == 2 } else { bytes[0] == 3 && bytes[1] == 4 };
    let mtu = if v6 { long(bytes, 4) } else { word(bytes, 6).into() };
    Body::Icmp(Icmp { kind, code: Some(bytes[1].to_string()), mtu: too_big.then_some(mtu), quoted: None })
}

fn tcp(bytes: &[u8], faults: &mut Vec<String>) -> Result<(Body, (u16, u16), usize), String> {
    let header = if bytes.len() < 20 { 0 } else { usize::from(bytes[12] >> 4) * 4 };
    if header < 20 || header > bytes.len() {
        return Err(format!("a TCP segment of {} bytes with a header of {header}", bytes.len()));
    }
    if bytes[12] & 0x0e != 0 {
        faults.push("reserved bits of the TCP header are set".to_owned());
    }
    let flags = Flags::from_bits_truncate(word(bytes, 12) & 0x1ff);
    if !flags.contains(Flags::ACK) && long(bytes, 8) != 0 {
        faults.push(format!("acknowledgment number {} without ACK", long(bytes, 8)));
    }
    let len = (bytes.len() - header) as u32;
    let start = long(bytes, 4);
    let tcp = Tcp {
        ports: None,
        flags,
        ace: false,
        seq: SeqRange { start, end: start.wrapping_add(len), len },
        ack: flags.contains(Flags::ACK).then(|| long(bytes, 8)),
        window: Some(word(bytes, 14)),
        urgent: Some(word(bytes, 18)),
        options: Some(options(&bytes[20..header])),
        gso: None,
    };
    Ok((Body::Tcp(tcp), (word(bytes, 0), word(bytes, 2)), header))
}

/// The options in the order of the wire. What is broken or unknown is raw.
fn options(area: &[u8]) -> Vec<TcpOption> {
    let mut list = Vec::new();
    let mut rest = area;
    let mut ended = false;
    while let Some(&kind) = rest.first() {
        if kind == 0 || (kind == 1 && !ended) {
            ended |= kind == 0;
            list.push(if kind == 0 { TcpOption::Eol } else { TcpOption::Nop });
            rest = &rest[1..];
            continue;
        }
        let len = rest.get(1).map_or(0, |&len| usize::from(len));
        if ended || len < 2 || len > rest.len() {
            list.push(TcpOption::Raw(rest.to_vec()));
            return list;
        }
        let (option, after) = rest.split_at(len);
        list.push(known(option).unwrap_or_else(|| TcpOption::Raw(option.to_vec())));
        rest = after;
    }
    list
}

/// An option of a known kind and a length that fits it.
fn known(option: &[u8]) -> Option<TcpOption> {
    let data = &option[2..];
    match (option[0], data.len()) {
        (2, 2) => Some(TcpOption::Mss(word(data, 0))),
        (3, 1) => Some(TcpOption::WindowScale(data[0])),
        (4, 0) => Some(TcpOption::SackPermitted),
        (5, n) if n % 8 == 0 => {
            Some(TcpOption::Sack(data.chunks(8).map(|b| (long(b, 0), long(b, 4))).collect()))
        }
        (8, 8) => Some(TcpOption::Timestamps { val: Some(long(data, 0)), ecr: Some(long(data, 4)) }),
        (19, 16) => data.try_into().ok().map(|digest| TcpOption::Md5(Some(digest))),
        (34, _) => Some(TcpOption::FastOpen(data.to_vec())),
        (254, n) if n >= 2 && data[..2] == [0xf9, 0x89] => Some(TcpOption::FastOpenExp(data[2..].to_vec())),
        (kind @ (172 | 174), n) if n % 3 == 0 && n <= 9 => {
            let counters = data.chunks(3).map(|c| u32::from_be_bytes([0, c[0], c[1], c[2]])).collect();
            // Without counters there is no order of them.
            Some(TcpOption::AccEcn { e1b_first: kind == 174 && n > 0, counters })
        }
        _ => None,
    }
}
