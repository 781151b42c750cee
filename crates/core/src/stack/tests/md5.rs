//! RFC 2385: signed segments, and what is refused.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use md5::{Digest, Md5};

use super::harness::*;
use crate::errno::Errno;
use crate::packet::Packet;
use crate::socket::{Md5Sig, SockOpt, SocketId};
use crate::stack::{Domain, SocketFlags};
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::wire::tcp::Flags;

const KEY: &[u8] = b"a shared secret";
const IPPROTO_TCP: i32 = 6;
const TCP_MD5SIG: i32 = 14;
const TCP_MD5SIG_EXT: i32 = 32;

fn key_for(address: IpAddr, key: &[u8]) -> SockOpt {
    SockOpt::Md5Sig(Md5Sig { address, prefix: None, key: key.into() })
}

/// RFC 2385 2.0 over the bytes of an IPv4 packet: pseudo-header, header without options and checksum, text, key.
fn digest_of(packet: &[u8], key: &[u8]) -> [u8; 16] {
    let ip_len = usize::from(packet[0] & 15) * 4;
    let (ip, tcp) = packet.split_at(ip_len);
    let header_len = usize::from(tcp[12] >> 4) * 4;
    let mut signed = Vec::new();
    signed.extend_from_slice(&ip[12..20]);
    signed.extend_from_slice(&[0, 6]);
    signed.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
    signed.extend_from_slice(&tcp[..16]);
    signed.extend_from_slice(&[0, 0]);
    signed.extend_from_slice(&tcp[18..20]);
    signed.extend_from_slice(&tcp[header_len..]);
    signed.extend_from_slice(key);
    Md5::digest(&signed).into()
}

fn signed(seg: &Seg, key: &[u8]) -> Packet {
    let mut seg = seg.clone();
    seg.hdr.options.signature = Some([0; 16]);
    seg.hdr.options.signature = Some(digest_of(&seg.packet().to_vec(), key));
    seg.packet()
}

/// What the stack sends now, each of which must be signed with the key.
fn take_signed(net: &mut Net, key: &[u8]) -> Vec<Got> {
    let packets = net.packets();
    let bytes: Vec<_> = packets.iter().map(Packet::to_vec).collect();
    let mut got = Vec::new();
    for (packet, bytes) in packets.into_iter().zip(bytes) {
        assert!(bytes.len() <= 1_500);
        let parsed = crate::wire::parse(&packet).unwrap();
        let crate::wire::Upper::Tcp(seg) = parsed.upper else { panic!("no segment") };
        assert_eq!(seg.header.options.signature, Some(digest_of(&bytes, key)));
        got.push(Got { ip: parsed.ip, hdr: seg.header, data: bytes[seg.data_at..].to_vec() });
    }
    got
}

/// A listener with a key for B, and for nobody else.
fn listening(net: &mut Net) -> SocketId {
    let id = net.socket();
    net.stack.setsockopt(net.now, id, &key_for(B, KEY)).unwrap();
    net.stack.bind_socket(id, SocketAddr::new(A, 80)).unwrap();
    net.stack.listen_socket(id, 8).unwrap();
    id
}

/// A signed connection from B: its listener, itself, the stack's next number.
fn accepted(net: &mut Net) -> (SocketId, SocketId, u32) {
    let listener = listening(net);
    net.receive(signed(&Seg::syn(1_000).mss(1_460).sack().ts(7, 0), KEY));
    let answer = take_signed(net, KEY).remove(0);
    assert_eq!(answer.hdr.flags, Flags::SYN | Flags::ACK);
    assert!(answer.hdr.options.sack_permitted && answer.hdr.options.timestamps.is_none());
    let next = answer.hdr.seq.0.wrapping_add(1);
    net.receive(signed(&Seg::ack(1_001, next), KEY));
    let child = net.stack.accept_socket(listener).unwrap();
    (listener, child, next)
}

/// Shows: rfc2385-s2.0-a, rfc2385-s4.3-a
#[test]
fn a_syn_is_signed_and_has_no_timestamps() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.setsockopt(net.now, id, &key_for(B, KEY)).unwrap();
    net.stack.connect_socket(net.now, id, SocketAddr::new(B, 179)).unwrap();
    let syn = take_signed(&mut net, KEY).remove(0);
    assert_eq!(syn.hdr.flags, Flags::SYN);
    assert_eq!(syn.hdr.options.mss, Some(1_460));
    assert!(syn.hdr.options.sack_permitted && syn.hdr.options.timestamps.is_none());
    // To another peer the same socket would sign nothing.
    let other = net.socket();
    net.stack.setsockopt(net.now, other, &key_for(B, KEY)).unwrap();
    net.stack.connect_socket(net.now, other, addr("10.0.0.3:179")).unwrap();
    assert_eq!(net.one().hdr.options.signature, None);
}

/// Shows: rfc2385-s2.0-b
#[test]
fn what_is_not_signed_with_the_key_is_dropped_without_an_answer() {
    let mut net = Net::new();
    listening(&mut net);
    net.inject(&Seg::syn(1));
    net.nothing();
    assert_eq!(net.stack.stats().tcp_md5_not_found, 1);
    net.receive(signed(&Seg::syn(1), b"another secret"));
    net.nothing();
    assert_eq!(net.stack.stats().tcp_md5_failure, 1);
    net.receive(signed(&Seg::syn(1).from(addr("10.0.0.3:4000")).to(80), KEY));
    net.nothing();
    assert_eq!(net.stack.stats().tcp_md5_unexpected, 1);
    // An ACK to nobody is not answered either, unless it is signed.
    net.inject(&Seg::ack(5, 5));
    net.nothing();
    net.receive(signed(&Seg::ack(5, 5), KEY));
    let rst = take_signed(&mut net, KEY).remove(0);
    assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(5)));
    // Where nobody is, nobody can say whether it is right.
    net.receive(signed(&Seg::ack(5, 5).to(81), KEY));
    net.nothing();
    // Who has no key says nothing of one.
    net.inject(&Seg::syn(1).from(addr("10.0.0.3:4000")).to(80));
    assert_eq!(net.one().hdr.options.signature, None);
}

/// Shows: rfc2385-s2.0-a, rfc2385-s2.0-b, rfc2385-s4.3-a
#[test]
fn every_segment_of_a_connection_is_signed_from_its_syn_ack_to_time_wait() {
    let mut net = Net::new();
    let (listener, child, next) = accepted(&mut net);
    // The child has its own copy.
    net.stack.setsockopt(net.now, listener, &key_for(B, b"")).unwrap();
    net.stack.send(net.now, child, &[9; 4_000], Default::default()).unwrap();
    let sent = take_signed(&mut net, KEY);
    let lens: Vec<usize> = sent.iter().map(|got| got.data.len()).collect();
    assert_eq!(lens, [1_440, 1_440, 1_120], "20 bytes of each segment are the signature's");
    // Forged ones change nothing.
    let before = net.stack.stats().clone();
    net.inject(&Seg::ack(1_001, next + 4_000));
    net.inject(&Seg::new(Flags::RST, 1_001, 0));
    net.receive(signed(&Seg::new(Flags::RST, 1_001, 0), b"guessed"));
    net.nothing();
    assert_eq!(net.state(child), State::Established);
    assert_eq!(net.stack.stats().tcp_md5_not_found, before.tcp_md5_not_found + 2);
    assert_eq!(net.stack.stats().tcp_md5_failure, before.tcp_md5_failure + 1);
    // Beyond a gap: two SACK blocks fit, however many there are.
    for at in [2_000, 3_000, 4_000] {
        net.receive(signed(&Seg::ack(at, next + 4_000).data(b"x"), KEY));
    }
    let acks = take_signed(&mut net, KEY);
    assert_eq!(acks.last().unwrap().hdr.options.sack.as_slice().len(), 2);
    net.receive(signed(&Seg::ack(1_001, next + 4_000).data(&[1; 3_000]), KEY));
    take_signed(&mut net, KEY);
    net.stack.close_socket(net.now, child).unwrap();
    // Unread text makes it a RST, which is signed too.
    let rst = take_signed(&mut net, KEY).pop().unwrap();
    assert!(rst.hdr.flags.contains(Flags::RST));
}

/// Shows: rfc2385-s2.0-a
#[test]
fn time_wait_answers_signed() {
    let mut net = Net::new();
    let (_, child, next) = accepted(&mut net);
    net.stack.close_socket(net.now, child).unwrap();
    assert!(take_signed(&mut net, KEY)[0].hdr.flags.contains(Flags::FIN));
    let fin = Seg::new(Flags::FIN | Flags::ACK, 1_001, next + 1);
    net.receive(signed(&fin, KEY));
    take_signed(&mut net, KEY);
    assert_eq!(net.stack.stats().time_wait, 1);
    net.now += Duration::from_secs(1);
    net.receive(signed(&fin, KEY));
    assert_eq!(take_signed(&mut net, KEY).len(), 1);
}

fn raw(family: u16, address: &[u8], (flags, prefix): (u8, u8), len: u16, ifindex: i32) -> Vec<u8> {
    let mut value = alloc::vec![0; 216];
    value[..2].copy_from_slice(&family.to_ne_bytes());
    let at = if address.len() == 4 { 4 } else { 8 };
    value[at..at + address.len()].copy_from_slice(address);
    (value[128], value[129]) = (flags, prefix);
    value[130..132].copy_from_slice(&len.to_ne_bytes());
    value[132..136].copy_from_slice(&ifindex.to_ne_bytes());
    value[136..].fill(b'k');
    value
}

/// What Linux 6.18 answers. Shows that keys of one socket are bounded, too.
/// Shows: rfc2385-s2.0-c
#[test]
fn the_option_has_the_errors_of_linux_and_a_bound() {
    let mut net = Net::new();
    let now = net.now;
    let id = net.socket();
    let mut set = |id, name, value: &[u8]| net.stack.setsockopt_raw(now, id, IPPROTO_TCP, name, value);
    let (peer, invalid) = ([192, 0, 2, 9], Err(Errno::EINVAL));
    let of = |flags, len, ifindex| raw(2, &[192, 0, 2, 9], flags, len, ifindex);
    assert_eq!(set(id, TCP_MD5SIG, &of((0, 0), 5, 0)[..215]), invalid);
    assert_eq!(set(id, TCP_MD5SIG, &of((0, 0), 81, 0)), invalid);
    assert_eq!(set(id, TCP_MD5SIG, &raw(10, &peer, (0, 0), 5, 0)), invalid);
    assert_eq!(set(id, TCP_MD5SIG, &of((0, 0), 0, 0)), Err(Errno::ENOENT));
    assert_eq!(set(id, TCP_MD5SIG_EXT, &of((1, 33), 5, 0)), invalid);
    assert_eq!(set(id, TCP_MD5SIG, &of((1, 33), 5, 0)), Ok(()), "flags are the other option's");
    assert_eq!(set(id, TCP_MD5SIG, &of((0, 0), 0, 0)), Ok(()));
    assert_eq!(set(id, TCP_MD5SIG_EXT, &of((1, 24), 80, 0)), Ok(()));
    assert_eq!(set(id, TCP_MD5SIG_EXT, &of((1, 0), 1, 0)), Ok(()));
    assert_eq!(set(id, TCP_MD5SIG_EXT, &of((2, 0), 5, 1)), invalid, "no master device");
    assert_eq!(set(id, TCP_MD5SIG_EXT, &of((0, 0), 5, 7)), Ok(()));
    for n in 0..960_u32 {
        let value = raw(2, &n.to_be_bytes(), (0, 0), 5, 0);
        assert_eq!(set(id, TCP_MD5SIG, &value), Ok(()), "{n}");
    }
    assert_eq!(set(id, TCP_MD5SIG, &raw(2, &[9, 9, 9, 9], (0, 0), 5, 0)), Err(Errno::ENOMEM));
    let mut out = [0; 216];
    let got = net.stack.getsockopt_raw(now, id, IPPROTO_TCP, TCP_MD5SIG, &mut out);
    assert_eq!(got, Err(Errno::ENOPROTOOPT));
    let six = net.stack.new_socket(Domain::INET6, SocketFlags::empty()).unwrap();
    let mut set = |value: &[u8]| net.stack.setsockopt_raw(now, six, IPPROTO_TCP, TCP_MD5SIG_EXT, value);
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    let global = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(set(&raw(10, &mapped, (1, 24), 5, 0)), Ok(()));
    assert_eq!(set(&raw(10, &mapped, (1, 33), 5, 0)), invalid);
    assert_eq!(set(&raw(10, &global, (1, 128), 5, 0)), Ok(()));
    assert_eq!(set(&raw(10, &global, (1, 129), 5, 0)), invalid);
    assert_eq!(set(&raw(2, &peer, (0, 0), 5, 0)), invalid);
}

/// Shows: rfc2385-s2.0-c
#[test]
fn the_key_of_the_smallest_network_is_taken() {
    let mut keys = crate::md5::Md5Keys::default();
    let net: IpAddr = "192.0.2.0".parse().unwrap();
    keys.set("0.0.0.0".parse().unwrap(), 0, b"all").unwrap();
    keys.set(net, 24, b"net").unwrap();
    keys.set("192.0.2.7".parse().unwrap(), 32, b"one").unwrap();
    let of = |text: &str| keys.of(text.parse().unwrap()).map(|key| key.to_vec());
    assert_eq!(of("192.0.2.7").as_deref(), Some(&b"one"[..]));
    assert_eq!(of("192.0.2.8").as_deref(), Some(&b"net"[..]));
    assert_eq!(of("192.0.3.7").as_deref(), Some(&b"all"[..]));
    assert_eq!(of("2001:db8::1"), None);
}
