//! What a damaged segment, a memory limit, a clock and an own route come to.

use super::harness::*;
use crate::config::Config;
use crate::packet::Packet;
use crate::socket::SocketId;
use crate::stack::{Interface, InterfaceId};
use crate::time::Duration;

use alloc::vec::Vec;

/// A flipped bit of the payload: no answer, no effect, counted.
/// Shows: rfc9293-MUST-3
#[test]
fn a_damaged_segment_has_no_effect() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    let ack = net.connect_peer(addr("10.0.0.2:4000"), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    let good = Seg::ack(1_001, ack).data(b"precious").packet().to_vec();
    for bit in 0..8 * 8 {
        let mut bad = good.clone();
        let at = bad.len() - 8 + bit / 8;
        bad[at] ^= 1 << (bit % 8);
        net.receive(Packet::from_bytes(bad.into()));
        net.nothing();
    }
    assert_eq!(net.stack.stats().in_csum_errors, 64);
    assert_eq!(net.stack.connection(id).unwrap().readable(), 0);
    net.receive(Packet::from_bytes(good.into()));
    assert_eq!(net.stack.connection(id).unwrap().readable(), 8);
}

/// The same tuple twice, time apart: the ISNs differ by a tick for each 4 microseconds.
/// Shows: rfc9293-MUST-8
#[test]
fn the_isn_clock_ticks_every_four_microseconds() {
    let mut net = Net::new();
    let mut iss = Vec::new();
    for _ in 0..3 {
        let id = net.socket();
        net.stack.bind_socket(id, addr("10.0.0.1:7000")).unwrap();
        net.stack.connect_socket(net.now, id, addr("10.0.0.2:80")).unwrap();
        iss.push(net.one().hdr.seq);
        net.stack.abort_socket(net.now, id).unwrap();
        net.advance(Duration::from_millis(4));
    }
    assert_eq!(iss[1].since(iss[0]), 1_000);
    assert_eq!(iss[2].since(iss[1]), 1_000);
}

/// The MSS announced is that of the smallest packet the interface is sure to take.
/// Shows: rfc9293-SHLD-6
#[test]
fn the_announced_mss_follows_the_interface() {
    for (mtu, mss) in [(1_500, 1_460), (1_000, 960), (9_000, 8_960)] {
        let mut net = Net::new();
        let link = net.link;
        net.stack.change_interface(link, |interface: &mut Interface| interface.mtu = mtu).unwrap();
        net.listen(80, 8);
        net.inject(&Seg::syn(1));
        assert_eq!(net.one().hdr.options.mss, Some(mss));
    }
}

/// Clients that connect, let us queue data and hold their window at zero. `queued`: bytes for each.
fn hold_at_zero(net: &mut Net, clients: u16, queued: usize) -> (SocketId, u16) {
    let listener = net.listen(80, i32::from(clients));
    let mut served = 0;
    for port in 0..clients {
        let from = addr(&alloc::format!("10.0.0.2:{}", 10_000 + port));
        let ack = net.connect_peer(from, 80);
        let Ok(id) = net.stack.accept_socket(listener) else { continue };
        let mut closed = Seg::ack(1_001, ack).from(from).to(80);
        closed.hdr.window = 0;
        net.inject(&closed);
        let data = alloc::vec![7; queued];
        let _ = net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, &data), Default::default()));
        let _ = net.packets();
        served += 1;
    }
    (listener, served)
}

/// Sockstress: thousands of holders of a zero window. Memory stays near its limit, the longest holders
/// are reset and counted, and a new client is served.
/// Shows: cve-2008-4609-sockstress, persist-exhaustion, rfc6429-s4-a
#[test]
fn holders_of_a_zero_window_give_way_when_memory_is_short() {
    let limit = 4 << 20;
    let mut net = Net::with_config(Config { mem_limit: limit, ..Config::default() });
    let (listener, served) = hold_at_zero(&mut net, 3_000, 16_384);
    assert_eq!(served, 3_000);
    assert!(net.stack.buffered() <= limit + 64 * 16_384, "{}", net.stack.buffered());
    let evicted = net.stack.stats().tcp_abort_on_memory;
    assert!(evicted >= 2_500, "{evicted}");
    // An honest client still gets its answer.
    let from = addr("10.0.0.2:4000");
    let ack = net.connect_peer(from, 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"hello"), Default::default())).unwrap();
    let sent = net.take();
    assert!(sent.iter().any(|got| got.dst() == from && got.data == b"hello"), "{sent:?}");
    net.inject(&Seg::ack(1_001, ack + 5).from(from).to(80));
}

/// Without shortage nobody is reset for a closed window.
/// Shows: rfc6429-s4-a
#[test]
fn holders_of_a_zero_window_stay_while_there_is_memory() {
    let mut net = Net::new();
    hold_at_zero(&mut net, 50, 16_384);
    net.advance(Duration::from_secs(60));
    assert_eq!(net.stack.stats().tcp_abort_on_memory, 0);
    assert_eq!(net.stack.stats().curr_estab, 50);
}

/// Whoever wants to send gets a turn before anybody gets a second one.
#[test]
fn each_connection_gets_its_turn() {
    let mut net = Net::new();
    let listener = net.listen(80, 32);
    for port in 0..20 {
        let _ = net.connect_peer(addr(&alloc::format!("10.0.0.2:{}", 10_000 + port)), 80);
    }
    let _ = net.packets();
    while let Ok(id) = net.stack.accept_socket(listener) {
        let data = [7; 20_000];
        net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, &data), Default::default())).unwrap();
    }
    let mut out = Vec::new();
    // Ten packets each: what the initial window allows.
    net.stack.transmit(net.now, &mut out, 200);
    let mut ports: Vec<u16> = out
        .iter()
        .map(|(_, packet)| u16::from_be_bytes(packet.to_vec()[22..24].try_into().unwrap()))
        .collect();
    ports.dedup();
    // Half of cwnd is the most at once: two rounds.
    assert_eq!(ports.len(), 40, "in runs of one connection each: {ports:?}");
    for round in ports.chunks_mut(20) {
        round.sort_unstable();
        assert!(round.is_sorted_by(|a, b| a < b), "one connection twice: {round:?}");
    }
}

/// Segments of a batch that are made one count as the segments that they are, and the data is the same.
#[test]
fn a_batch_is_to_the_effect_of_its_packets() {
    for mss in [400, 1_000] {
        let (mut one, mut all) = (Net::new(), Net::new());
        let mut got = Vec::new();
        for (net, batch) in [(&mut one, false), (&mut all, true)] {
            let listener = net.listen(80, 8);
            let ack = net.connect_peer(addr("10.0.0.2:4000"), 80);
            let id = net.stack.accept_socket(listener).unwrap();
            let _ = net.take();
            let before = net.stack.stats().clone();
            let segment = |i: u32| Seg::ack(1_001 + i * mss, ack).data(&alloc::vec![i as u8; mss as usize]);
            let mut packets: Vec<Packet> = (0..10).map(|i| segment(i).packet()).collect();
            let interface = InterfaceId(0);
            if batch {
                net.stack.receive_batch(net.now, interface, packets.iter_mut());
            } else {
                packets.into_iter().for_each(|packet| net.stack.receive(net.now, interface, packet));
            }
            let after = net.stack.stats();
            assert_eq!(after.in_segs - before.in_segs, 10);
            let mut data = alloc::vec![0; 20_000];
            let n = net.stack.operate(net.now, id, |conn, cx| (conn.read(cx, &mut data), Default::default()));
            data.truncate(n.unwrap());
            got.push((data, net.stack.tcp_info(net.now, id).unwrap().data_segs_in));
        }
        assert_eq!((got[0].0.len(), got[0].1), (10 * mss as usize, 10));
        assert_eq!(got[0], got[1]);
    }
}
