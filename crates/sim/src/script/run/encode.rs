//! A script's inbound packet as bytes.

use std::net::IpAddr;

use sockeye_core::wire::tcp::Flags;

use super::{Ends, ICMP, ICMPV6, Map, TCP, UDP, checksum, pattern, transport_checksum};
use crate::script::ast::{Body, Direction, Ecn, Icmp, IpInfo, Packet, Quoted, Tcp, TcpOption};
use crate::script::icmp;

/// TTL of what is injected, unless the script says otherwise.
const TTL: u8 = 255;

/// The bytes of a packet to inject. Fails, with the reason, on what cannot be a packet between these ends.
pub fn encode(packet: &Packet, ends: &Ends, map: &Map) -> Result<Vec<u8>, String> {
    if let Some(header) = packet.encapsulation.first() {
        return Err(format!(
            "'{header}:' wraps the packet, and the stack has no tunnel that would unwrap it"
        ));
    }
    let (src, dst) = ends.addresses(Direction::Inbound);
    let (protocol, mut bytes, checksum_at) = match &packet.body {
        Body::Tcp(tcp) => (TCP, segment(tcp, ends, map)?, 16),
        Body::Udp { ports, len } => (UDP, datagram(*ports, *len, ends), 6),
        Body::Icmp(message) => {
            let protocol = if src.is_ipv4() { ICMP } else { ICMPV6 };
            (protocol, icmp_message(message, ends, map)?, 2)
        }
    };
    let checksum = transport_checksum(src, dst, protocol, &bytes);
    bytes[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
    let mut out = ip_header(src, dst, protocol, bytes.len(), &packet.ip)?;
    out.extend_from_slice(&bytes);
    Ok(out)
}

/// The octet that TOS and traffic class are.
fn octet(ip: &IpInfo) -> u8 {
    let ecn = match ip.ecn {
        None => return ip.tos.unwrap_or(0),
        Some(Ecn::NotEct) => 0,
        Some(Ecn::Ect1) => 1,
        Some(Ecn::Ect0 | Ecn::Ect01) => 2,
        Some(Ecn::Ce) => 3,
    };
    ip.tos.unwrap_or(0) & !3 | ecn
}

fn ip_header(src: IpAddr, dst: IpAddr, protocol: u8, payload: usize, ip: &IpInfo) -> Result<Vec<u8>, String> {
    let too_long = |_| format!("{payload} bytes do not fit into an IP packet");
    let ttl = ip.ttl.unwrap_or(TTL);
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = u16::try_from(payload + 20).map_err(too_long)?.to_be_bytes();
            let mut header = vec![0x45, octet(ip), total[0], total[1], 0, 0, 0, 0, ttl, protocol, 0, 0];
            header.extend_from_slice(&src.octets());
            header.extend_from_slice(&dst.octets());
            let checksum = checksum(&header);
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            Ok(header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let word = 6 << 28 | u32::from(octet(ip)) << 20 | ip.flow_label.unwrap_or(0) & 0xf_ffff;
            let mut header = word.to_be_bytes().to_vec();
            header.extend_from_slice(&u16::try_from(payload).map_err(too_long)?.to_be_bytes());
            header.extend_from_slice(&[protocol, ttl]);
            header.extend_from_slice(&src.octets());
            header.extend_from_slice(&dst.octets());
            Ok(header)
        }
        _ => Err(format!("{src} and {dst} are of two families")),
    }
}

fn segment(tcp: &Tcp, ends: &Ends, map: &Map) -> Result<Vec<u8>, String> {
    let (src, dst) = tcp.ports.unwrap_or(ends.ports(Direction::Inbound));
    let options = options(tcp.options.as_deref().unwrap_or(&[]), map)?;
    let words = (20 + options.len()) / 4;
    let mut out = Vec::with_capacity(words * 4 + tcp.seq.len as usize);
    out.extend_from_slice(&src.to_be_bytes());
    out.extend_from_slice(&dst.to_be_bytes());
    out.extend_from_slice(&tcp.seq.start.to_be_bytes());
    let ack = tcp.ack.map_or(0, |ack| map.local_to_wire(ack));
    out.extend_from_slice(&ack.to_be_bytes());
    let bits = (words as u16) << 12 | tcp.flags.bits() & 0x1ff;
    out.extend_from_slice(&bits.to_be_bytes());
    out.extend_from_slice(&tcp.window.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&tcp.urgent.unwrap_or(0).to_be_bytes());
    out.extend_from_slice(&options);
    // A SYN comes before its data, so that data on it stands at the same place of the stream as without it.
    let first = tcp.seq.start.wrapping_add(u32::from(tcp.flags.contains(Flags::SYN)));
    out.extend((0..tcp.seq.len).map(|i| pattern(first.wrapping_add(i))));
    Ok(out)
}

fn options(list: &[TcpOption], map: &Map) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(40);
    for option in list {
        match option {
            TcpOption::Eol => out.push(0),
            TcpOption::Nop => out.push(1),
            TcpOption::Mss(mss) => {
                out.extend_from_slice(&[2, 4]);
                out.extend_from_slice(&mss.to_be_bytes());
            }
            TcpOption::WindowScale(shift) => out.extend_from_slice(&[3, 3, *shift]),
            TcpOption::SackPermitted => out.extend_from_slice(&[4, 2]),
            TcpOption::Sack(blocks) => {
                out.extend_from_slice(&[5, option.wire_len() as u8]);
                for &(left, right) in blocks {
                    out.extend_from_slice(&map.local_to_wire(left).to_be_bytes());
                    out.extend_from_slice(&map.local_to_wire(right).to_be_bytes());
                }
            }
            TcpOption::Timestamps { val, ecr } => {
                out.extend_from_slice(&[8, 10]);
                out.extend_from_slice(&val.unwrap_or(0).to_be_bytes());
                out.extend_from_slice(&map.echo_to_wire(ecr.unwrap_or(0)).to_be_bytes());
            }
            TcpOption::Md5(Some(digest)) => {
                out.extend_from_slice(&[19, 18]);
                out.extend_from_slice(digest);
            }
            TcpOption::Md5(None) => return Err("'md5' without a digest in a segment to inject".to_owned()),
            TcpOption::FastOpen(cookie) => {
                out.extend_from_slice(&[34, option.wire_len() as u8]);
                out.extend_from_slice(cookie);
            }
            TcpOption::FastOpenExp(cookie) => {
                out.extend_from_slice(&[254, option.wire_len() as u8, 0xf9, 0x89]);
                out.extend_from_slice(cookie);
            }
            TcpOption::AccEcn { e1b_first, counters } => {
                out.extend_from_slice(&[if *e1b_first { 174 } else { 172 }, option.wire_len() as u8]);
                counters.iter().for_each(|counter| out.extend_from_slice(&counter.to_be_bytes()[1..]));
            }
            TcpOption::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
    Ok(out)
}

fn datagram(ports: Option<(u16, u16)>, len: u32, ends: &Ends) -> Vec<u8> {
    let (src, dst) = ports.unwrap_or(ends.ports(Direction::Inbound));
    let mut out = Vec::with_capacity(8 + len as usize);
    out.extend_from_slice(&src.to_be_bytes());
    out.extend_from_slice(&dst.to_be_bytes());
    // The parser keeps the payload below what an IP packet holds.
    out.extend_from_slice(&((8 + len) as u16).to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend((0..len).map(pattern));
    out
}

/// An ICMP message about a packet that the stack sent: its IP header and the first eight bytes after that.
fn icmp_message(message: &Icmp, ends: &Ends, map: &Map) -> Result<Vec<u8>, String> {
    let (src, dst) = ends.addresses(Direction::Outbound);
    let numbers = icmp::numbers(&message.kind, message.code.as_deref(), src.is_ipv6());
    let Some((kind, code)) = numbers else {
        let version = if src.is_ipv6() { "ICMPv6" } else { "ICMP" };
        return Err(format!("'{message}' does not exist in {version}"));
    };
    let mtu = message.mtu.unwrap_or(0).to_be_bytes();
    let mut out = vec![kind, code, 0, 0];
    if src.is_ipv4() && message.mtu.is_some_and(|mtu| mtu > 0xffff) {
        return Err("an MTU above 65535 in ICMP".to_owned());
    }
    out.extend_from_slice(&mtu);
    let (local, remote) = ends.ports(Direction::Outbound);
    let (protocol, len, third) = match message.quoted.unwrap_or(Quoted::Tcp(Default::default())) {
        Quoted::Tcp(seq) => (TCP, 20 + seq.len as usize, map.local_to_wire(seq.start)),
        Quoted::Udp(len) => (UDP, 8 + len as usize, (8 + len) << 16),
    };
    let quoted = IpInfo { ttl: Some(64), ..IpInfo::default() };
    out.extend_from_slice(&ip_header(src, dst, protocol, len, &quoted)?);
    out.extend_from_slice(&local.to_be_bytes());
    out.extend_from_slice(&remote.to_be_bytes());
    out.extend_from_slice(&third.to_be_bytes());
    Ok(out)
}
