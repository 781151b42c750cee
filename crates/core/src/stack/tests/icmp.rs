//! ICMP: errors reach whom they are about, echo is answered, errors of our own are few.

use super::harness::{A, B, Net, Seg, addr};
use crate::config::Config;
use crate::errno::Errno;
use crate::packet::Packet;
use crate::socket::SocketId;
use crate::tcp::State;
use crate::time::Duration;
use crate::wire::icmp::{self, Error, Message, unreachable_v4};
use crate::wire::ip::{IpTemplate, Problem};
use crate::wire::{Upper, parse};
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};

/// The peer (or a router) complains about what the stack sent.
fn complain(net: &mut Net, about: &Packet, error: Error) {
    let ip = crate::wire::IpHeader::parse(about.front(), about.len(), false).unwrap();
    let packet = icmp::error(&IpTemplate::new(ip.dst, ip.src), error, about).unwrap();
    net.receive(packet);
}

fn connecting(net: &mut Net, port: u16) -> (SocketId, Packet) {
    let id = net.socket();
    net.stack.connect_socket(net.now, id, SocketAddr::new(B, port)).unwrap();
    (id, net.packets().pop().unwrap())
}

fn error_of(net: &Net, id: SocketId) -> Option<Errno> {
    net.stack.connection(id).unwrap().error()
}

/// Only the quoted one of 100 attempts reacts.
/// Shows: rfc9293-MUST-54, rfc9293-SHLD-26
#[test]
fn an_error_goes_to_the_connection_that_it_quotes() {
    let mut net = Net::new();
    let all: Vec<_> = (1..=100).map(|port| connecting(&mut net, port)).collect();
    complain(&mut net, &all[41].1, Error::Unreachable { code: unreachable_v4::PORT });
    for (i, (id, _)) in all.iter().enumerate() {
        let expected = if i == 41 { Some(Errno::ECONNREFUSED) } else { None };
        assert_eq!(error_of(&net, *id), expected, "{i}");
    }
}

/// Soft errors and source quench end nothing.
/// Shows: rfc9293-MUST-55, rfc9293-MUST-56, rfc5927-s5.2-a
#[test]
fn soft_errors_abort_nothing() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.connect_peer(addr("10.0.0.2:4000"), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"data"), Default::default())).unwrap();
    let sent = net.packets().pop().unwrap();
    let mut errors: Vec<Error> =
        (0..=15).filter(|&c| c != 4).map(|code| Error::Unreachable { code }).collect();
    errors.push(Error::ParameterProblem(Problem { code: 0, pointer: 20 }));
    errors.extend([Error::TimeExceeded { code: 0 }, Error::TimeExceeded { code: 1 }]);
    for error in errors {
        complain(&mut net, &sent, error);
        assert_eq!((net.state(id), error_of(&net, id)), (State::Established, None), "{error:?}");
    }
    let soft_error = |net: &Net| net.stack.connection(id).unwrap().soft_error();
    assert_eq!(soft_error(&net), Some(Errno::EHOSTUNREACH));
    // Source quench: type 4, by hand.
    let quoted = sent.to_vec();
    let mut message = alloc::vec![4, 0, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&quoted[..28]);
    let sum = crate::wire::checksum::checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut head = crate::packet::Head::new();
    IpTemplate::new(B, A).emit(&mut head, 1, message.len());
    let mut bytes = head.as_slice().to_vec();
    bytes.extend(message);
    let before = net.stack.connection(id).unwrap().info(net.now, net.stack.config());
    net.receive(Packet::from_bytes(Bytes::from(bytes)));
    let after = net.stack.connection(id).unwrap().info(net.now, net.stack.config());
    assert_eq!(before.snd_cwnd, after.snd_cwnd);
    assert_eq!(net.state(id), State::Established);
    assert_eq!(soft_error(&net), Some(Errno::EHOSTUNREACH), "it is not even a soft error");
}

/// A half-open entry ends with a hard error that quotes our SYN-ACK, not with one that guesses.
#[test]
fn a_hard_error_ends_a_half_open_connection() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg::syn(100));
    let answer = net.packets().pop().unwrap();
    let mut forged = answer.to_vec();
    forged[24] ^= 1;
    complain(&mut net, &Packet::from_bytes(forged.into()), Error::Unreachable { code: unreachable_v4::PORT });
    assert_eq!(net.stack.population().half_open, 1);
    complain(&mut net, &answer, Error::Unreachable { code: unreachable_v4::PORT });
    assert_eq!(net.stack.population().half_open, 0);
}

/// A Packet Too Big that quotes one connection makes all to that destination send less, and nothing else; it
/// is believed for ten minutes.
/// Shows: rfc8201-s5.2-a, rfc8201-s4-b, rfc8201-s4-a
#[test]
fn a_smaller_path_is_told_to_all_its_connections() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    let mut ids = Vec::new();
    for from in ["10.0.0.2:1", "10.0.0.2:2", "10.0.0.3:3"] {
        net.inject(&Seg::syn(1_000).from(addr(from)).mss(1_460));
        let next = net.one().hdr.seq.0 + 1;
        net.inject(&Seg::ack(1_001, next).from(addr(from)));
        ids.push(net.stack.accept_socket(listener).unwrap());
    }
    let write = |net: &mut Net, id| {
        net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, &[0; 1_460]), Default::default())).unwrap();
    };
    write(&mut net, ids[0]);
    let sent = net.packets().pop().unwrap();
    assert_eq!(sent.len(), 1_500);
    let mut forged = sent.to_vec();
    forged[24] ^= 0x40;
    complain(&mut net, &Packet::from_bytes(forged.into()), Error::PacketTooBig { mtu: 600 });
    write(&mut net, ids[1]);
    assert_eq!(net.packets().pop().unwrap().len(), 1_500);
    complain(&mut net, &sent, Error::PacketTooBig { mtu: 1_000 });
    net.packets();
    for (id, longest) in [(ids[1], 1_000), (ids[2], 1_500)] {
        write(&mut net, id);
        let sent = net.packets();
        assert_eq!(sent.iter().map(Packet::len).max(), Some(longest));
    }
    assert_eq!(net.stack.way(B).unwrap().path.pmtu, 1_000);
    net.advance(Duration::from_secs(601));
    assert_eq!(net.stack.way(B).unwrap().path.pmtu, 1_500);
}

fn ping(dst: IpAddr, len: usize) -> Vec<u8> {
    let src: IpAddr = if dst.is_ipv4() { B } else { "fd00::2".parse().unwrap() };
    let reply = icmp::echo_reply(
        &IpTemplate { dont_fragment: false, ..IpTemplate::new(src, dst) },
        icmp::Echo { ident: 7, seq: 9 },
        Packet::from_bytes((0..len).map(|i| i as u8).collect::<Vec<_>>().into()),
        0,
        len,
    );
    let mut bytes = reply.to_vec();
    // A reply differs from a request in its type only.
    let at = if dst.is_ipv4() { 20 } else { 40 };
    bytes[at] = if dst.is_ipv4() { 8 } else { 128 };
    let sum = u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]);
    let step: u16 = if dst.is_ipv4() { 0x0800 } else { 0xfeff };
    let (sum, borrow) = sum.overflowing_sub(step);
    bytes[at + 2..at + 4].copy_from_slice(&(sum - u16::from(borrow)).to_be_bytes());
    bytes
}

/// Shows: rfc1122-s3.2.2.6-a
#[test]
fn pings_are_answered() {
    for dst in [A, "fd00::1".parse().unwrap()] {
        for len in [0, 56, 1_400, 4_000] {
            let mut net = Net::new();
            net.receive(Packet::from_bytes(ping(dst, len).into()));
            let mut again = crate::stack::fragment::Reassembler::new(Default::default(), (1, 2));
            let mut whole = None;
            for packet in net.packets() {
                assert!(packet.len() <= 1_500);
                let ip = parse(&packet).unwrap().ip;
                assert_eq!(ip.src, dst);
                whole = again.push(net.now, &ip, packet);
            }
            let whole = whole.expect("a whole answer");
            let parsed = parse(&whole).unwrap();
            let Upper::Icmp(Message::EchoReply(echo)) = parsed.upper else { panic!("{parsed:?}") };
            assert_eq!((echo.ident, echo.seq), (7, 9));
            let data = &whole.to_vec()[parsed.ip.header_len + 8..];
            assert!(data.len() == len && data.iter().enumerate().all(|(i, &b)| b == i as u8));
        }
    }
}

fn other_protocol(src: &str, dst: &str) -> Packet {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut packet = Packet::default();
    IpTemplate::new(src, dst).emit(&mut packet.head, 17, 16);
    packet.head.extend(&[0; 16]);
    packet
}

/// An unknown protocol is reported, within a rate; never to or about those whom it must not go to.
/// Shows: rfc1122-s3.2.2-a, rfc4443-s2.4-a, rfc8200-s4-a
#[test]
fn errors_of_our_own_are_few_and_never_forbidden() {
    let mut net = Net::new();
    net.receive(other_protocol("10.0.0.2", "10.0.0.1"));
    let answer = net.packets().pop().unwrap();
    let Upper::Icmp(Message::Error { error, .. }) = parse(&answer).unwrap().upper else { panic!() };
    assert_eq!(error, Error::Unreachable { code: unreachable_v4::PROTOCOL });
    net.receive(other_protocol("fd00::2", "fd00::1"));
    let answer = net.packets().pop().unwrap();
    let Upper::Icmp(Message::Error { error, .. }) = parse(&answer).unwrap().upper else { panic!() };
    assert_eq!(error, Error::ParameterProblem(Problem { code: 1, pointer: 6 }));
    let forbidden = [
        ("10.0.0.2", "10.0.0.255"),
        ("10.0.0.2", "224.0.0.1"),
        ("10.0.0.2", "255.255.255.255"),
        ("224.0.0.1", "10.0.0.1"),
        ("10.0.0.255", "10.0.0.1"),
        ("0.0.0.0", "10.0.0.1"),
        ("127.0.0.1", "10.0.0.1"),
        ("10.0.0.2", "10.0.0.77"),
        ("fd00::2", "ff02::1"),
        ("::", "fd00::1"),
    ];
    for (src, dst) in forbidden {
        net.receive(other_protocol(src, dst));
        assert!(net.packets().is_empty(), "{src} {dst}");
    }
    let answers = (0..10_000)
        .map(|_| {
            net.now += Duration::from_micros(100);
            net.receive(other_protocol("10.0.0.2", "10.0.0.1"));
            net.packets().len()
        })
        .sum::<usize>();
    assert!((1_500..2_100).contains(&answers), "{answers}");
    assert!(net.stack.stats().icmp_out_ratelimit > 7_000);
}

/// RSTs for segments to nobody have a rate too.
#[test]
fn resets_are_limited() {
    let mut net = Net::with_config(Config { icmp_ratelimit: 100, ..Config::default() });
    let resets = (0..1_000)
        .map(|i| {
            net.inject(&Seg::syn(i).to(9));
            net.take().len()
        })
        .sum::<usize>();
    assert!((80..120).contains(&resets), "{resets}");
    assert_eq!(net.stack.stats().tcp_rst_ratelimit, 1_000 - resets as u64);
}
