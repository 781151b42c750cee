use std::vec::Vec;

use super::*;
use crate::packet::Payload;
use crate::wire::tcp::{self, ChecksumMode, Flags};
use crate::wire::{Malformed, Upper, parse};

const V4: (&str, &str) = ("192.0.2.1", "192.0.2.2");
const V6: (&str, &str) = ("2001:db8::1", "2001:db8::2");

fn template(addresses: (&str, &str)) -> IpTemplate<'static> {
    IpTemplate::new(addresses.0.parse().unwrap(), addresses.1.parse().unwrap())
}

fn back(addresses: (&'static str, &'static str)) -> IpTemplate<'static> {
    template((addresses.1, addresses.0))
}

fn segment(addresses: (&str, &str), len: usize) -> Packet {
    let tcp =
        tcp::Header { src_port: 5, dst_port: 80, seq: SeqNum(99), flags: Flags::ACK, ..Default::default() };
    let data = Payload::from(Bytes::from(std::vec![3; len]));
    tcp::build(&template(addresses), &tcp, data, 0, ChecksumMode::Complete)
}

fn message(packet: &Packet) -> Message {
    let Upper::Icmp(message) = parse(packet).expect("an ICMP message").upper else { panic!() };
    message
}

fn echo_request(addresses: (&str, &str), data: &[u8]) -> Packet {
    let ip = template(addresses);
    let mut head = Head::new();
    ip.emit(&mut head, number(&ip), HEADER + data.len());
    let at = head.as_slice().len();
    let mut out = head.as_slice().to_vec();
    out.extend_from_slice(&[if ip.src.is_ipv6() { 128 } else { 8 }, 0, 0, 0, 0x12, 0x34, 0, 7]);
    out.extend_from_slice(data);
    let mut sum = start(&ip, out.len() - at);
    sum.add(&out[at..]);
    out[at + 2..at + 4].copy_from_slice(&sum.checksum().to_be_bytes());
    Packet::from_bytes(Bytes::from(out))
}

/// Shows: rfc1122-s3.2.2.6-a
#[test]
fn echo() {
    for addresses in [V4, V6] {
        for len in [0usize, 1, 56, 1_472, 4_000] {
            let data: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let request = echo_request(addresses, &data);
            let parsed = parse(&request).unwrap();
            let Upper::Icmp(Message::EchoRequest(asked)) = parsed.upper else { panic!() };
            assert_eq!(asked, Echo { ident: 0x1234, seq: 7 });
            let data_at = parsed.ip.header_len + HEADER;
            let reply = echo_reply(&back(addresses), asked, request, data_at, len);
            let answered = parse(&reply).unwrap();
            assert_eq!(answered.upper, Upper::Icmp(Message::EchoReply(asked)));
            assert_eq!((answered.ip.src, answered.ip.dst), (parsed.ip.dst, parsed.ip.src));
            assert_eq!(reply.to_vec()[data_at..], data);
        }
    }
}

/// Shows: rfc9293-MUST-54, rfc4443-s2.4-a
#[test]
fn errors_quote_as_much_as_fits() {
    for (addresses, longest) in [(V4, MAX_ERROR_V4), (V6, MAX_ERROR_V6)] {
        for len in [0, 70, 400, 1_300, 9_000] {
            let offending = segment(addresses, len);
            let problem = Problem { code: 0, pointer: 9 };
            for kind in [
                Error::Unreachable { code: 3 },
                Error::PacketTooBig { mtu: 1_400 },
                Error::TimeExceeded { code: 1 },
                Error::ParameterProblem(problem),
            ] {
                let packet = error(&back(addresses), kind, &offending).unwrap();
                let headers = if addresses == V4 { 28 } else { 48 };
                assert_eq!(packet.len(), (headers + offending.len()).min(longest));
                assert_eq!(packet.to_vec()[headers..], offending.to_vec()[..packet.len() - headers]);
                let Message::Error { error: found, quoted } = message(&packet) else { panic!() };
                assert_eq!(found, kind);
                assert_eq!((quoted.src, quoted.dst), (template(addresses).src, template(addresses).dst));
                assert_eq!((quoted.protocol, quoted.src_port, quoted.dst_port), (6, 5, 80));
                assert_eq!((quoted.seq, quoted.total_len), (SeqNum(99), offending.len()));
            }
        }
    }
    assert!(error(&back(V4), Error::SourceQuench, &segment(V4, 0)).is_none());
}

fn with_kind(kind: u8, code: u8) -> Packet {
    let mut bytes = error(&back(V4), Error::Unreachable { code }, &segment(V4, 0)).unwrap().to_vec();
    bytes[20] = kind;
    bytes[22..24].fill(0);
    let sum = checksum::checksum(&bytes[20..]);
    bytes[22..24].copy_from_slice(&sum.to_be_bytes());
    Packet::from_bytes(Bytes::from(bytes))
}

/// Shows: rfc9293-MUST-55, rfc9293-MUST-56
#[test]
fn kinds_are_told_apart() {
    let error_of = |packet: &Packet| match message(packet) {
        Message::Error { error, .. } => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(error_of(&with_kind(4, 0)), Error::SourceQuench);
    for code in 0..16 {
        let expected = if code == 4 { Error::PacketTooBig { mtu: 0 } } else { Error::Unreachable { code } };
        assert_eq!(error_of(&with_kind(3, code)), expected);
    }
    assert_eq!(message(&with_kind(5, 1)), Message::Other { kind: 5, code: 1 });
    assert_eq!(message(&with_kind(13, 0)), Message::Other { kind: 13, code: 0 });
}

/// Shows: rfc9293-MUST-54
#[test]
fn quotes_cut_at_each_byte() {
    for (addresses, enough) in [(V4, 28), (V6, 48)] {
        let whole = segment(addresses, 0).to_vec();
        for len in 0..=whole.len() {
            let cut = Packet::from_bytes(Bytes::copy_from_slice(&whole[..len]));
            let packet = error(&back(addresses), Error::TimeExceeded { code: 0 }, &cut).unwrap();
            let parsed = parse(&packet);
            if len < enough {
                assert_eq!(parsed.unwrap_err().reason(), Malformed::BadIcmpQuote, "{len}");
            } else {
                assert!(parsed.is_ok());
            }
        }
    }
    // A quoted fragment that is not the first has no ports.
    let mut later = segment(V4, 0).to_vec();
    later[7] = 1;
    let packet =
        error(&back(V4), Error::TimeExceeded { code: 0 }, &Packet::from_bytes(Bytes::from(later))).unwrap();
    assert_eq!(parse(&packet).unwrap_err().reason(), Malformed::BadIcmpQuote);
}

#[test]
fn damaged_messages_are_refused() {
    for addresses in [V4, V6] {
        let mut bytes = echo_request(addresses, b"hello").to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        let packet = Packet::from_bytes(Bytes::from(bytes));
        assert_eq!(parse(&packet).unwrap_err().reason(), Malformed::BadIcmpChecksum);
    }
}

/// Shows: rfc1122-s3.2.2-a, rfc4443-s2.4-a
#[test]
fn what_is_never_answered() {
    let unreachable = Error::Unreachable { code: 3 };
    assert!(error_allowed(&segment(V4, 10), unreachable));
    assert!(error_allowed(&segment(V6, 10), unreachable));
    assert!(error_allowed(&echo_request(V4, b""), unreachable));
    assert!(error_allowed(&echo_request(V6, b""), unreachable));
    for source in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"] {
        assert!(!error_allowed(&segment((source, "192.0.2.2"), 10), unreachable), "{source}");
    }
    for source in ["::", "::1", "ff02::1"] {
        assert!(!error_allowed(&segment((source, "2001:db8::2"), 10), unreachable), "{source}");
    }
    for destination in ["224.0.0.1", "255.255.255.255"] {
        assert!(!error_allowed(&segment(("192.0.2.1", destination), 10), unreachable), "{destination}");
    }
    let to_group = segment(("2001:db8::1", "ff02::1"), 10);
    assert!(!error_allowed(&to_group, unreachable));
    assert!(!error_allowed(&to_group, Error::ParameterProblem(Problem { code: 1, pointer: 6 })));
    assert!(error_allowed(&to_group, Error::ParameterProblem(Problem { code: 2, pointer: 42 })));
    assert!(error_allowed(&to_group, Error::PacketTooBig { mtu: 1_280 }));
    let mut later = segment(V4, 10).to_vec();
    later[7] = 2;
    assert!(!error_allowed(&Packet::from_bytes(Bytes::from(later)), unreachable));
    for addresses in [V4, V6] {
        let about = error(&template(addresses), unreachable, &segment(addresses, 10)).unwrap();
        assert!(!error_allowed(&about, unreachable), "no errors about errors");
    }
    assert!(!error_allowed(&Packet::default(), unreachable));
}
