//! Bodies of the wire's fuzz targets: no input may panic, hang, or be read beyond its end; what is
//! accepted is consistent with itself.

use bytes::Bytes;
use sockeye_core::stack::fragment::{Limits, Reassembler};
use sockeye_core::wire::ip::{IpTemplate, Problem, SourceRoute};
use sockeye_core::wire::tcp::{ChecksumMode, Header, Options};
use sockeye_core::wire::{Parsed, Upper, gso, icmp, parse};
use sockeye_core::{Checksum, Instant, Packet, Payload};

/// One packet. The first four bytes say how it is held, the rest is the packet. Returns whether it was accepted.
pub fn packet(input: &[u8]) -> bool {
    let Some((how, bytes)) = input.split_first_chunk::<4>() else { return false };
    let packet = hold(*how, bytes);
    let parsed = parse(&packet);
    if let Ok(parsed) = &parsed {
        accepted(parsed, &packet, bytes);
    }
    let error = icmp::Error::ParameterProblem(Problem { code: how[3] & 3, pointer: 6 });
    let _ = icmp::error_allowed(&packet, error);
    let mut completed = packet.clone();
    gso::complete_checksum(&mut completed);
    assert_eq!(completed.len(), packet.len());
    let mut total = 0;
    for segment in gso::segment(packet, ChecksumMode::Complete) {
        assert!(!segment.is_empty() || bytes.is_empty());
        total += segment.len();
        assert!(total <= 65_575 * 60);
    }
    parsed.is_ok()
}

/// The same bytes in one buffer, in an inline head, or in two slices.
fn hold(how: [u8; 4], bytes: &[u8]) -> Packet {
    let mut packet = Packet::default();
    let split = match how[0] & 3 {
        0 => 0,
        1 => bytes.len().min(usize::from(how[1])).min(packet.head.room()),
        _ => bytes.len().min(packet.head.room()),
    };
    packet.head.extend(&bytes[..split]);
    let rest = Bytes::copy_from_slice(&bytes[split..]);
    let half = rest.len().min(usize::from(how[1]) * 8);
    packet.payload.push(rest.slice(..half));
    packet.payload.push(rest.slice(half..));
    packet.gso_size = if how[0] & 4 != 0 { u16::from(how[2]) + 1 } else { 0 };
    packet.checksum = match how[0] >> 3 & 3 {
        0 => Checksum::Unverified,
        1 => Checksum::Partial,
        _ => Checksum::Verified,
    };
    packet
}

fn accepted(parsed: &Parsed, packet: &Packet, bytes: &[u8]) {
    let ip = parsed.ip;
    assert!(ip.header_len <= ip.total_len && ip.total_len <= bytes.len());
    let _ = SourceRoute::read(&ip, packet.front());
    match parsed.upper {
        Upper::Tcp(segment) => {
            assert_eq!(segment.data_at + segment.data_len, ip.total_len);
            let payload = segment.take_payload(packet.clone());
            let mut copy = vec![0; segment.data_len + 1];
            assert_eq!(payload.copy_to(0, &mut copy), segment.data_len);
            assert_eq!(copy[..segment.data_len], bytes[segment.data_at..ip.total_len]);
        }
        Upper::Icmp(icmp::Message::EchoRequest(echo)) => {
            let back = IpTemplate::new(ip.dst, ip.src);
            let data_at = ip.header_len + icmp::HEADER;
            let reply =
                icmp::echo_reply(&back, echo, packet.clone(), data_at, ip.total_len.saturating_sub(data_at));
            assert!(matches!(
                parse(&reply).map(|reply| reply.upper),
                Ok(Upper::Icmp(icmp::Message::EchoReply(_)))
            ));
        }
        Upper::Icmp(_) | Upper::Fragment => {}
        Upper::Other { protocol } => assert_eq!(bytes[ip.protocol_at], protocol),
    }
    let about = icmp::error(&IpTemplate::new(ip.dst, ip.src), icmp::Error::TimeExceeded { code: 1 }, packet);
    assert!(about.is_some_and(|about| about.len() <= icmp::MAX_ERROR_V6));
}

/// One options area, and a TCP header made of it. Returns whether it was well-formed to its end.
pub fn options(input: &[u8]) -> bool {
    let Some((how, bytes)) = input.split_first() else { return false };
    let area = &bytes[..bytes.len().min(40)];
    let parsed = Options::parse(area, how & 1 != 0);
    let header = Header { options: parsed, ..Header::default() };
    let mut head = sockeye_core::packet::Head::new();
    header.emit(&mut head);
    assert_eq!(head.as_slice().len(), header.wire_len());
    assert!(header.options_len() <= 40);
    let again = Options::parse(&head.as_slice()[20..], true);
    assert!(!again.malformed, "what is written is well-formed");
    assert_eq!((again.mss, again.window_scale), (parsed.mss, parsed.window_scale));
    assert_eq!((again.timestamps, again.user_timeout), (parsed.timestamps, parsed.user_timeout));
    let _ = Header::parse(bytes);
    !parsed.malformed
}

/// A run of packets into a small reassembler: each is a byte of time, a byte of length, and its bytes.
/// Returns whether any was put together.
pub fn reassembly(input: &[u8]) -> bool {
    let limits = Limits {
        bytes: 16_000,
        sets: 8,
        source_bytes: 8_000,
        source_sets: 4,
        fragments: 16,
        ..Limits::default()
    };
    let mut reassembler = Reassembler::new(limits, (1, 2));
    let mut now = Instant::ZERO;
    let mut some = false;
    let mut rest = input;
    while let [tick, len, tail @ ..] = rest {
        now += core::time::Duration::from_secs(u64::from(*tick));
        for first in reassembler.expire(now) {
            assert!(!first.is_empty());
        }
        let (bytes, next) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = next;
        let packet = Packet { payload: Payload::from(Bytes::copy_from_slice(bytes)), ..Packet::default() };
        let Ok(Parsed { ip, upper: Upper::Fragment }) = parse(&packet) else { continue };
        if let Some(whole) = reassembler.push(now, &ip, packet) {
            some = true;
            assert!(whole.len() <= 65_575);
            if let Ok(parsed) = parse(&whole) {
                assert!(parsed.ip.fragment.is_none());
            }
        }
        assert!(reassembler.bytes() <= limits.bytes && reassembler.sets() <= limits.sets);
        assert!(reassembler.next_deadline() > now);
    }
    reassembler.expire(Instant::NEVER);
    assert_eq!((reassembler.bytes(), reassembler.sets()), (0, 0));
    some
}
