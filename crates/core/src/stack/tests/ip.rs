//! IP: what is taken, what is dropped, and how packets leave.

use super::harness::{A, B, Net, Seg, addr};
use crate::config::{Config, Options};
use crate::packet::Packet;
use crate::socket::{SockOpt, SocketId};
use crate::stack::key_of;
use crate::tcp::SeqNum;
use crate::time::Duration;
use crate::wire::ip::SourceRoute;
use crate::wire::tcp::Flags;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};

/// Nobody there: RST with the numbers of RFC 9293 3.10.7.1.
/// Shows: rfc9293-s3.5.2-a, rfc9293-s3.5.2-b
#[test]
fn segments_to_nobody_are_reset() {
    let mut net = Net::new();
    net.inject(&Seg::new(Flags::SYN, 100, 0).to(9).data(b"abc"));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq, rst.hdr.ack), (Flags::RST | Flags::ACK, SeqNum(0), SeqNum(104)));
    assert_eq!((rst.src(), rst.dst()), (SocketAddr::new(A, 9), addr("10.0.0.2:4000")));
    net.inject(&Seg::ack(5, 77).to(9));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(77)));
    net.inject(&Seg::new(Flags::RST, 5, 0).to(9));
    net.nothing();
}

/// Shows: rfc1122-s3.2.1.3-a
#[test]
fn packets_for_others_are_dropped() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg::syn(1).at(addr("10.0.0.77:80")));
    net.inject(&Seg::syn(1).at(addr("192.0.2.1:80")));
    net.nothing();
    assert_eq!(net.stack.stats().ip_in_addr_errors, 2);
}

/// Any address is ours where an interface says so.
#[test]
fn an_interface_can_accept_any_address() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.stack.change_interface(net.link, |i| i.accept_any = true).unwrap();
    net.inject(&Seg::syn(1_000).at(addr("192.0.2.1:80")));
    let answer = net.one();
    assert_eq!(answer.src(), addr("192.0.2.1:80"));
    net.inject(&Seg::ack(1_001, answer.hdr.seq.0 + 1).at(addr("192.0.2.1:80")));
    let id = net.stack.accept_socket(listener).unwrap();
    assert_eq!(net.stack.connection(id).unwrap().tuple().local, addr("192.0.2.1:80"));
}

/// Each field broken in turn.
/// Shows: rfc1122-s3.2.1.2-a
#[test]
fn broken_headers_are_dropped() {
    let mut net = Net::new();
    net.listen(80, 8);
    let good = Seg::syn(1).packet().to_vec();
    for (at, bits) in [(0, 0x10), (0, 0x08), (10, 0xff), (8, 0x01), (36, 0x01)] {
        let mut bad = good.clone();
        bad[at] ^= bits;
        net.receive(Packet::from_bytes(bad.into()));
    }
    net.nothing();
    assert_eq!(net.stack.stats().ip_in_hdr_errors, 4);
    assert_eq!(net.stack.stats().in_csum_errors, 1);
}

/// Shows: rfc1122-s3.2.1.7-a, rfc9293-MUST-49
#[test]
fn ttl_is_taken_as_it_comes_and_sent_as_it_is_set() {
    let mut net = Net::with_config(Config { default_ttl: 40, ..Config::default() });
    let listener = net.listen(80, 8);
    net.inject(&Seg { ttl: 1, ..Seg::syn(1) });
    assert_eq!(net.one().ip.hop_limit, 40);
    let options = Arc::new(Options { ttl: Some(5), tos: 0xb8, ..Options::default() });
    net.stack.replace_options(net.now, key_of(listener), options);
    net.inject(&Seg::syn(1).from(addr("10.0.0.2:1")));
    let answer = net.one();
    assert_eq!((answer.ip.hop_limit, answer.ip.traffic_class), (5, 0xb8));
}

/// IP_MINTTL: what comes from too far is dropped (RFC 5082).
#[test]
fn min_ttl_holds() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    let options = Arc::new(Options { min_ttl: 255, ..Options::default() });
    net.stack.replace_options(net.now, key_of(listener), options);
    net.inject(&Seg::syn(1));
    net.nothing();
    net.inject(&Seg { ttl: 255, ..Seg::syn(1) });
    net.one();
}

/// Options of IP that TCP does not know are ignored.
/// Shows: rfc9293-MUST-50
#[test]
fn unknown_ip_options_are_ignored() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg { ip_options: alloc::vec![0x94, 4, 0, 0], ..Seg::syn(1) });
    assert_eq!(net.one().hdr.flags, Flags::SYN | Flags::ACK);
}

/// A packet from B to A that came by two routers, its source route at an end (RFC 791 3.1).
fn routed(seg: &Seg) -> Packet {
    routed_by(seg, [[10, 0, 0, 8], [10, 0, 0, 9]])
}

/// The same by these routers.
fn routed_by(seg: &Seg, hops: [[u8; 4]; 2]) -> Packet {
    let bytes = seg.packet().to_vec();
    let mut option = alloc::vec![0x83, 11, 12];
    option.extend(hops.concat());
    option.push(0);
    let mut out = bytes[..20].to_vec();
    out[0] = 0x48;
    let total = bytes.len() + option.len();
    out[2..4].copy_from_slice(&(total as u16).to_be_bytes());
    out[10..12].fill(0);
    out.append(&mut option);
    let sum = crate::wire::checksum::checksum(&out);
    out[10..12].copy_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&bytes[20..]);
    Packet::from_bytes(out.into())
}

/// Source routes are refused unless switched on; then the way back is used from the SYN-ACK on.
/// Shows: source-route-policy, rfc9293-MUST-53
#[test]
fn source_routes_are_policy() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.receive(routed(&Seg::syn(1)));
    net.nothing();
    let mut net = Net::with_config(Config { accept_source_route: true, ..Config::default() });
    let listener = net.listen(80, 8);
    net.receive(routed(&Seg::syn(1_000)));
    let back = |packet: &Packet| packet.to_vec()[20..].to_vec();
    let answer = net.packets().pop().unwrap();
    let expected =
        SourceRoute::new(false, &["10.0.0.9".parse().unwrap(), "10.0.0.8".parse().unwrap()]).unwrap();
    // Sent to the first hop of the way back; the option lists the other one and the destination.
    assert_eq!(answer.to_vec()[16..20], expected.hops()[0].octets());
    assert_eq!(back(&answer)[..11], [0x83, 11, 4, 10, 0, 0, 8, 10, 0, 0, 2]);
    let seq = u32::from_be_bytes(answer.to_vec()[36..40].try_into().unwrap());
    net.receive(routed(&Seg::ack(1_001, seq + 1)));
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"x"), Default::default())).unwrap();
    assert_eq!(back(&net.packets().pop().unwrap())[..11], [0x83, 11, 4, 10, 0, 0, 8, 10, 0, 0, 2]);
}

/// Where a packet goes first, and the option that it has.
fn way_of(packet: &Packet) -> ([u8; 4], Vec<u8>) {
    let bytes = packet.to_vec();
    (bytes[16..20].try_into().unwrap(), bytes[20..31].to_vec())
}

/// A connection to a listener by the two routers, and the number that it sends next.
fn connect_routed(net: &mut Net, listener: SocketId) -> (SocketId, u32) {
    net.receive(routed(&Seg::syn(1_000)));
    let answer = net.packets().pop().unwrap().to_vec();
    let at = 4 * usize::from(answer[0] & 0xf);
    let seq = u32::from_be_bytes(answer[at + 4..at + 8].try_into().unwrap()) + 1;
    net.receive(routed(&Seg::ack(1_001, seq)));
    (net.stack.accept_socket(listener).unwrap(), seq)
}

/// A segment that comes another way later changes the way back.
/// Shows: rfc9293-SHLD-24
#[test]
fn a_later_source_route_replaces_an_earlier_one() {
    let mut net = Net::with_config(Config { accept_source_route: true, ..Config::default() });
    let listener = net.listen(80, 8);
    let (id, seq) = connect_routed(&mut net, listener);
    net.receive(routed_by(&Seg::ack(1_001, seq).data(b"?"), [[10, 0, 0, 5], [10, 0, 0, 6]]));
    net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"x"), Default::default())).unwrap();
    let way = way_of(&net.packets().pop().unwrap());
    assert_eq!(way, ([10, 0, 0, 6], alloc::vec![0x83, 11, 4, 10, 0, 0, 5, 10, 0, 0, 2]));
}

/// The user's own source route stays, whatever way segments come: set on the connection, or on its listener.
/// Shows: rfc9293-MUST-52
#[test]
fn the_users_source_route_wins_over_received_ones() {
    let hops: [Ipv4Addr; 2] = ["10.0.0.11".parse().unwrap(), "10.0.0.12".parse().unwrap()];
    let (option, len) = SourceRoute::new(false, &hops).unwrap().to_option();
    let own = SockOpt::IpOptions(option[..len].into());
    let expected = ([10, 0, 0, 11], alloc::vec![0x83, 11, 4, 10, 0, 0, 12, 10, 0, 0, 2]);
    for on_listener in [false, true] {
        let mut net = Net::with_config(Config { accept_source_route: true, ..Config::default() });
        let listener = net.listen(80, 8);
        if on_listener {
            net.stack.setsockopt(net.now, listener, &own).unwrap();
        }
        let (id, seq) = connect_routed(&mut net, listener);
        if !on_listener {
            net.stack.setsockopt(net.now, id, &own).unwrap();
        }
        for (i, hops) in
            [[[10, 0, 0, 8], [10, 0, 0, 9]], [[10, 0, 0, 5], [10, 0, 0, 6]]].into_iter().enumerate()
        {
            net.receive(routed_by(&Seg::ack(1_001 + i as u32, seq + i as u32).data(b"?"), hops));
            net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"x"), Default::default())).unwrap();
            assert_eq!(way_of(&net.packets().pop().unwrap()), expected, "{on_listener} {hops:?}");
        }
        if !on_listener {
            // Taken back, the way that segments come counts again.
            net.stack.setsockopt(net.now, id, &SockOpt::IpOptions([].into())).unwrap();
            net.receive(routed_by(&Seg::ack(1_003, seq + 2).data(b"?"), [[10, 0, 0, 5], [10, 0, 0, 6]]));
            net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"x"), Default::default())).unwrap();
            assert_eq!(way_of(&net.packets().pop().unwrap()).0, [10, 0, 0, 6]);
        }
    }
}

/// A SYN in two fragments, either way round; the rest of one alone is given up after 60 s, and whoever sent it
/// is told.
/// Shows: rfc1122-s3.3.2-a
#[test]
fn fragments_are_put_together() {
    let whole = Seg::syn(1).data(&[7; 64]).packet().to_vec();
    let cut = |from: usize, to: usize, more: bool| {
        let mut out = whole[..20].to_vec();
        out[2..4].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
        out[4..6].copy_from_slice(&9_u16.to_be_bytes());
        let place = (from / 8) as u16 | if more { 0x2000 } else { 0 };
        out[6..8].copy_from_slice(&place.to_be_bytes());
        out[10..12].fill(0);
        let sum = crate::wire::checksum::checksum(&out);
        out[10..12].copy_from_slice(&sum.to_be_bytes());
        out.extend_from_slice(&whole[20 + from..20 + to]);
        Packet::from_bytes(out.into())
    };
    let len = whole.len() - 20;
    for order in [[0, 1], [1, 0]] {
        let mut net = Net::new();
        net.listen(80, 8);
        for part in order {
            net.receive(if part == 0 { cut(0, 40, true) } else { cut(40, len, false) });
        }
        assert_eq!(net.one().hdr.flags, Flags::SYN | Flags::ACK);
        assert_eq!(net.stack.stats().ip_reasm_oks, 1);
    }
    let mut net = Net::new();
    net.receive(cut(0, 40, true));
    net.advance(Duration::from_secs(61));
    assert_eq!(net.stack.stats().ip_reasm_timeout, 1);
    assert_eq!(net.others.len(), 1, "time exceeded");
}

/// Every TCP packet has DF; identifications do not repeat on one connection.
/// Shows: rfc6864-s4-a, rfc9293-MAY-4
#[test]
fn packets_have_df_and_fresh_identifications() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.connect_peer(addr("10.0.0.2:4000"), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    let mut idents = Vec::new();
    for _ in 0..5 {
        net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, &[0; 500]), Default::default())).unwrap();
        net.advance(Duration::from_millis(1));
    }
    let end = net.now + Duration::from_secs(3);
    net.advance_with(end, |_, got| {
        assert!(got.ip.dont_fragment);
        idents.push(got.ip.ident);
    });
    let distinct: std::collections::BTreeSet<_> = idents.iter().collect();
    assert!(idents.len() >= 2 && distinct.len() == idents.len(), "{idents:?}");
}

/// The local address of a connection never changes, whatever becomes of routes.
/// Shows: rfc9293-MUST-45, rfc9293-MUST-44
#[test]
fn a_connection_keeps_its_address() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.connect_socket(net.now, id, addr("192.0.2.9:80")).unwrap();
    let syn = net.one();
    assert_eq!(syn.ip.src, A);
    let other = crate::stack::Interface::new(
        "eth1",
        1_400,
        alloc::vec![crate::stack::Cidr::new(addr("10.9.0.1:0").ip(), 24)],
    );
    let other = net.stack.add_interface(other);
    let route = crate::stack::Route {
        destination: crate::stack::Cidr::new(addr("192.0.2.0:0").ip(), 24),
        gateway: None,
        interface: other,
        metric: 0,
        mtu: None,
    };
    net.stack.add_route(route).unwrap();
    net.now += Duration::from_secs(1);
    net.stack.advance(net.now);
    let mut out = Vec::new();
    net.stack.transmit(net.now, &mut out, 10);
    let (link, packet) = out.pop().unwrap();
    assert_eq!(link, other);
    assert_eq!(crate::wire::parse(&packet).unwrap().ip.src, A);
    let fresh = net.socket();
    net.stack.connect_socket(net.now, fresh, addr("192.0.2.9:81")).unwrap();
    assert_eq!(net.stack.connection(fresh).unwrap().tuple().local.ip(), addr("10.9.0.1:0").ip());
    let _ = B;
}
