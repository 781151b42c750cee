//! Backlogs: how many may wait, under which policy, and what happens at the bound.

use super::harness::{B, Net, Seg, addr};
use crate::config::{Config, Profile, SynCookies};
use crate::errno::Errno;
use crate::stack::{RowKind, syn};
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::wire::tcp::Flags;
use alloc::vec::Vec;
use core::net::SocketAddr;

fn client(i: u16) -> SocketAddr {
    SocketAddr::new(B, 10_000 + i)
}

/// As many clients as the accept queue takes; the next one's SYN is dropped.
fn fill(net: &mut Net, port: u16) -> u16 {
    for i in 0..1_000 {
        net.inject(&Seg::syn(1_000).from(client(i)).to(port).mss(1_460));
        let Some(answer) = net.take().pop() else { return i };
        let before = net.stack.population().sockets;
        net.inject(&Seg::ack(1_001, answer.hdr.seq.0 + 1).from(client(i)).to(port));
        net.take();
        if net.stack.population().sockets == before {
            return i;
        }
    }
    panic!("no bound");
}

/// Linux: min(backlog, somaxconn) + 1; negative means the most.
/// FreeBSD: 3/2 backlog + 1; negative means the most.
/// Shows: posix-listen-a
#[test]
fn as_many_wait_as_the_policy_says() {
    let cases = [
        (Profile::Linux, 0, 1),
        (Profile::Linux, 1, 2),
        (Profile::Linux, 5, 6),
        (Profile::Linux, 100, 17),
        (Profile::Linux, -1, 17),
        (Profile::Rfc, -1, 1),
        (Profile::FreeBsd, 0, 1),
        (Profile::FreeBsd, 1, 2),
        (Profile::FreeBsd, 10, 16),
        (Profile::FreeBsd, -1, 25),
        (Profile::FreeBsd, 100, 25),
    ];
    for (profile, backlog, admitted) in cases {
        let config = Config { somaxconn: 16, ..Config::new(profile) };
        let mut net = Net::with_config(config);
        let listener = net.listen(80, backlog);
        assert_eq!(fill(&mut net, 80), admitted, "{profile:?} {backlog}");
        let row = net.stack.listener(listener).unwrap();
        assert_eq!(row.qlen, u32::from(admitted));
        assert!(net.stack.stats().listen_overflows > 0 && net.stack.stats().listen_drops > 0);
    }
}

/// Three last ACKs come when there is room for two: the third is held, the SYN-ACK comes again, and after an
/// accept the client's answer to that is taken. Nobody is reset.
/// Shows: posix-listen-c
#[test]
fn the_last_ack_at_a_full_queue_is_held() {
    let mut net = Net::new();
    let listener = net.listen(80, 1);
    let mut next = Vec::new();
    for i in 0..2 {
        net.inject(&Seg::syn(1_000).from(client(i)));
        next.push(net.one().hdr.seq.0 + 1);
    }
    net.connect_peer(client(9), 80);
    net.inject(&Seg::ack(1_001, next[0]).from(client(0)));
    net.inject(&Seg::ack(1_001, next[1]).from(client(1)));
    net.nothing();
    assert_eq!(net.stack.listener(listener).unwrap().qlen, 2);
    assert_eq!(net.stack.stats().listen_overflows, 1);
    let again = net.now + Duration::from_millis(1_500);
    let mut seen = Vec::new();
    net.advance_with(again, |_, got| seen.push((got.hdr.flags, got.dst())));
    assert_eq!(seen, [(Flags::SYN | Flags::ACK, client(1))]);
    net.stack.accept_socket(listener).unwrap();
    net.inject(&Seg::ack(1_001, next[1]).from(client(1)));
    assert_eq!(net.stack.listener(listener).unwrap().qlen, 2);
    assert_eq!(net.stack.population().half_open, 0);
}

/// tcp_abort_on_overflow: reset instead.
#[test]
fn abort_on_overflow_resets() {
    let mut net = Net::with_config(Config { abort_on_overflow: true, ..Config::default() });
    net.listen(80, 0);
    net.inject(&Seg::syn(1_000).from(client(0)));
    let next = net.one().hdr.seq.0 + 1;
    net.connect_peer(client(1), 80);
    net.inject(&Seg::ack(1_001, next).from(client(0)));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq, rst.dst()), (Flags::RST, SeqNum(next), client(0)));
    assert_eq!(net.stack.stats().tcp_abort_on_overflow, 1);
    assert_eq!(net.stack.population().half_open, 0);
}

/// First in, first out.
#[test]
fn accept_is_in_the_order_of_the_last_ack() {
    let mut net = Net::new();
    let listener = net.listen(80, 64);
    for i in 0..50 {
        net.connect_peer(client(i), 80);
    }
    for i in 0..50 {
        let id = net.stack.accept_socket(listener).unwrap();
        assert_eq!(net.stack.connection(id).unwrap().tuple().remote, client(i));
    }
}

/// A second listen changes the limit and loses nobody.
#[test]
fn a_second_listen_changes_the_limit() {
    let mut net = Net::new();
    let listener = net.listen(80, 1);
    assert_eq!(fill(&mut net, 80), 2);
    net.stack.listen_socket(listener, 4).unwrap();
    let row = net.stack.listener(listener).unwrap();
    assert_eq!((row.qlen, row.maxqlen), (2, 4));
    for i in 100..103 {
        net.connect_peer(client(i), 80);
    }
    assert_eq!(net.stack.listener(listener).unwrap().qlen, 5);
}

/// Closing a listener resets who waits and forgets who is half-open; later ACKs are reset.
#[test]
fn closing_a_listener_resets_its_children() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    for i in 0..3 {
        net.connect_peer(client(i), 80);
    }
    net.inject(&Seg::syn(1_000).from(client(7)));
    let next = net.one().hdr.seq.0 + 1;
    net.stack.close_socket(net.now, listener).unwrap();
    let mut reset: Vec<_> =
        net.take().iter().map(|got| (got.hdr.flags.contains(Flags::RST), got.dst())).collect();
    reset.sort();
    assert_eq!(reset, [(true, client(0)), (true, client(1)), (true, client(2))]);
    assert_eq!(net.stack.population(), Default::default());
    net.inject(&Seg::ack(1_001, next).from(client(7)));
    assert_eq!(net.one().hdr.flags, Flags::RST);
}

/// A child that its peer resets while it waits stays where it is and is handed out with its error.
#[test]
fn a_child_that_died_is_still_accepted() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.connect_peer(client(0), 80);
    net.inject(&Seg::new(Flags::RST, 1_001, 0).from(client(0)));
    let id = net.stack.accept_socket(listener).unwrap();
    assert_eq!(net.state(id), State::Closed);
    assert_eq!(net.stack.connection(id).unwrap().error(), Some(Errno::ECONNRESET));
    net.stack.close_socket(net.now, id).unwrap();
    net.stack.close_socket(net.now, listener).unwrap();
    assert_eq!(net.stack.population(), Default::default());
}

/// FreeBSD's syncache: a bucket holds 30, the oldest goes first; its SYN-ACK was a cookie, so that the client
/// that was evicted gets in all the same.
/// Shows: rfc4987-s3.5-a
#[test]
fn the_syncache_evicts_the_oldest_of_a_bucket() {
    let mut net = Net::profile(Profile::FreeBsd);
    let listener = net.listen(80, 128);
    net.inject(&Seg::syn(1_000).from(client(0)));
    let next = net.one().hdr.seq.0 + 1;
    for i in 0..40_000_u32 {
        let [_, _, c, d] = i.to_be_bytes();
        net.inject(&Seg::syn(1).from(addr(&alloc::format!("10.1.{c}.{d}:5"))));
        net.take();
    }
    let bound = syn::BUCKETS * syn::BUCKET_LIMIT as usize;
    assert!(net.stack.population().half_open <= bound);
    assert!(net.stack.stats().tcp_req_q_full_drop >= 40_000 - bound as u64);
    net.inject(&Seg::ack(1_001, next).from(client(0)));
    assert!(net.stack.accept_socket(listener).is_ok());
    assert_eq!(net.stack.stats().syncookies_recv, 1);
}

/// tcp_syncookies = 2: no entry is ever made.
/// Shows: rfc4987-s3.6-a
#[test]
fn cookies_can_be_the_rule() {
    let mut net = Net::with_config(Config { syncookies: SynCookies::Always, ..Config::default() });
    let listener = net.listen(80, 8);
    net.inject(&Seg::syn(1_000).from(client(0)).mss(1_000).scale(3).sack());
    let answer = net.one();
    assert_eq!(answer.hdr.options.window_scale, None, "nothing would bring it back");
    assert!(!answer.hdr.options.sack_permitted);
    assert_eq!(net.stack.population().half_open, 0);
    net.inject(&Seg::ack(1_001, answer.hdr.seq.0 + 1).from(client(0)));
    assert!(net.stack.accept_socket(listener).is_ok());
}

/// Rows as `ss` shows them.
#[test]
fn the_snapshot_shows_each_kind() {
    let mut net = Net::new();
    let listener = net.listen(80, 5);
    net.connect_peer(client(0), 80);
    net.connect_peer(client(1), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.inject(&Seg::syn(1_000).from(client(2)));
    let rows: Vec<_> = net.stack.snapshot().collect();
    assert_eq!(rows.len(), 4);
    let of = |wanted: fn(&RowKind) -> bool| rows.iter().find(|row| wanted(&row.kind)).unwrap();
    let listening = of(|kind| matches!(kind, RowKind::Listener(_)));
    assert_eq!((listening.state, listening.recv_q, listening.send_q), (State::Listen, 1, 5));
    assert_eq!(of(|kind| *kind == RowKind::Connection).id, Some(id));
    assert_eq!(of(|kind| *kind == RowKind::Waiting).remote, client(1));
    let half = of(|kind| *kind == RowKind::HalfOpen);
    assert_eq!((half.state, half.remote), (State::SynReceived, client(2)));
    assert_eq!(half.timer.unwrap().1, Duration::from_secs(1));
}
