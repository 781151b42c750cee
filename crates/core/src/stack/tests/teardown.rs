//! Ends: TIME-WAIT as the stack keeps it, orphans, ports given back.

use super::harness::{A, B, Net, Seg, addr};
use crate::config::{Config, Profile};
use crate::errno::Errno;
use crate::socket::SocketId;
use crate::tcp::state::Event;
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::trace::What;
use crate::wire::tcp::Flags;
use core::net::SocketAddr;

/// An accepted connection, closed by us first, and its FIN exchange done: TIME-WAIT. Returns SND.NXT.
fn time_wait(net: &mut Net, from: SocketAddr) -> u32 {
    let listener = net.listen(80, 8);
    let next = net.connect_peer(from, 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.close_socket(net.now, id).unwrap();
    assert!(net.one().hdr.flags.contains(Flags::FIN));
    net.inject(&Seg::new(Flags::FIN | Flags::ACK, 1_001, next + 1).from(from));
    assert_eq!(net.one().hdr.ack, SeqNum(1_002));
    assert_eq!(net.stack.population().time_wait, 1);
    assert_eq!(net.stack.population().connections, 0);
    next + 1
}

fn from() -> SocketAddr {
    addr("10.0.0.2:4000")
}

/// The entry stays 2 MSL, and no longer; a FIN then draws a RST.
/// Shows: rfc9293-MUST-13, rfc9293-s3.6-a
#[test]
fn time_wait_lasts_2_msl() {
    for profile in [Profile::Linux, Profile::Rfc] {
        let mut net = Net::profile(profile);
        let snd_nxt = time_wait(&mut net, from());
        let lasts = net.stack.config().time_wait;
        let fin = Seg::new(Flags::FIN | Flags::ACK, 1_001, snd_nxt).from(from());
        net.advance(lasts - Duration::from_millis(1));
        net.inject(&fin);
        let ack = net.one();
        assert_eq!((ack.hdr.flags, ack.hdr.seq, ack.hdr.ack), (Flags::ACK, SeqNum(snd_nxt), SeqNum(1_002)));
        // That was a repeat: 2 MSL from there.
        net.advance(lasts - Duration::from_millis(1));
        assert_eq!(net.stack.population().time_wait, 1);
        net.advance(Duration::from_millis(1));
        assert_eq!(net.stack.population().time_wait, 0);
        net.inject(&fin);
        assert_eq!(net.one().hdr.flags, Flags::RST);
    }
}

/// Whoever watches sees the end of TIME-WAIT, though no connection is left to tell it.
/// Shows: rfc9293-s3.6-a
#[test]
fn the_end_of_time_wait_is_recorded() {
    let mut net = Net::new();
    net.stack.trace_mut().enable(64);
    time_wait(&mut net, from());
    net.advance(net.stack.config().time_wait);
    let records = core::iter::from_fn(|| net.stack.trace_mut().next_record());
    let last = records.filter(|record| matches!(record.what, What::State { .. })).last().expect("records");
    assert_eq!(last.tuple.remote, from());
    let What::State { from, to, why } = last.what else { unreachable!("filtered above") };
    assert_eq!((from, to, why), (State::TimeWait, State::Closed, Event::TimeWaitOver));
}

/// A newer SYN opens a new incarnation whose ISS is above the old SND.NXT.
/// Shows: rfc9293-MAY-2, rfc6191-s2-a, rfc6528-s3-a
#[test]
fn a_newer_syn_takes_time_wait_over() {
    let mut net = Net::new();
    let snd_nxt = time_wait(&mut net, from());
    net.inject(&Seg::syn(5_000).from(from()));
    let answer = net.one();
    assert_eq!((answer.hdr.flags, answer.hdr.ack), (Flags::SYN | Flags::ACK, SeqNum(5_001)));
    assert!(answer.hdr.seq.gt(SeqNum(snd_nxt)));
    assert_eq!(net.stack.population().time_wait, 0);
    assert_eq!(net.stack.stats().tw_recycled, 1);
}

/// Shows: rfc1337-s3-a
#[test]
fn time_wait_is_not_assassinated_where_rfc1337_holds() {
    for (profile, left) in [(Profile::Rfc, 1), (Profile::Linux, 0)] {
        let mut net = Net::profile(profile);
        time_wait(&mut net, from());
        net.stack.trace_mut().enable(64);
        net.inject(&Seg::new(Flags::RST, 1_002, 0).from(from()));
        assert_eq!(net.stack.population().time_wait, left);
        net.nothing();
        let records = core::iter::from_fn(|| net.stack.trace_mut().next_record());
        let ended = |what: &What| {
            matches!(what, What::State { from: State::TimeWait, to: State::Closed, why: Event::RcvRst })
        };
        assert_eq!(records.filter(|record| ended(&record.what)).count(), 1 - left, "an end is told");
    }
}

/// The port of a TIME-WAIT entry is in use for a bind without SO_REUSEADDR.
/// Shows: posix-reuseaddr-a
#[test]
fn time_wait_holds_its_port() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.bind_socket(id, SocketAddr::new(A, 7_000)).unwrap();
    net.stack.connect_socket(net.now, id, SocketAddr::new(B, 80)).unwrap();
    let syn = net.one();
    net.inject(&Seg::new(Flags::SYN | Flags::ACK, 500, syn.hdr.seq.0 + 1).from(syn.dst()).at(syn.src()));
    net.take();
    net.stack.close_socket(net.now, id).unwrap();
    let fin = net.one();
    let ack = fin.hdr.seq.0 + 1;
    net.inject(&Seg::new(Flags::FIN | Flags::ACK, 501, ack).from(syn.dst()).at(syn.src()));
    net.take();
    assert_eq!(net.stack.population().time_wait, 1);
    let again = net.socket();
    assert_eq!(net.stack.bind_socket(again, SocketAddr::new(A, 7_000)), Err(Errno::EADDRINUSE));
    net.advance(net.stack.config().time_wait);
    net.stack.bind_socket(again, SocketAddr::new(A, 7_000)).unwrap();
}

/// At the cap the connection is closed at once, and counted.
#[test]
fn the_cap_closes_at_once() {
    let mut net = Net::with_config(Config { max_tw_buckets: 0, ..Config::default() });
    let listener = net.listen(80, 8);
    let next = net.connect_peer(from(), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.close_socket(net.now, id).unwrap();
    net.take();
    net.inject(&Seg::new(Flags::FIN | Flags::ACK, 1_001, next + 1).from(from()));
    assert_eq!(net.stack.population().time_wait, 0);
    assert_eq!(net.stack.stats().tcp_time_wait_overflow, 1);
    assert_eq!(net.stack.population().sockets, 1);
}

fn accepted(net: &mut Net, listener: SocketId, port: u16) -> SocketId {
    net.connect_peer(SocketAddr::new(B, port), 80);
    net.stack.accept_socket(listener).unwrap()
}

/// 1,000 peers that never acknowledge a FIN: they are gone in bounded time, and beyond tcp_max_orphans at once.
/// Shows: cve-2009-1926-orphans, cve-2015-5358-lastack, finwait2-exhaustion
#[test]
fn orphans_are_limited_in_number_and_time() {
    let mut net = Net::with_config(Config { max_orphans: 100, ..Config::default() });
    let listener = net.listen(80, 8);
    for port in 1_000..2_000 {
        let id = accepted(&mut net, listener, port);
        net.stack.close_socket(net.now, id).unwrap();
        net.take();
    }
    assert_eq!(net.stack.population().orphans, 100);
    assert_eq!(net.stack.stats().tcp_abort_on_memory, 900);
    net.advance(Duration::from_secs(400));
    assert_eq!(net.stack.population().orphans, 0);
    assert_eq!(net.stack.population().sockets, 1);
}

/// A peer that acknowledges our FIN and never sends its own.
/// Shows: finwait2-exhaustion
#[test]
fn fin_wait_2_of_an_orphan_ends() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    let next = net.connect_peer(from(), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.close_socket(net.now, id).unwrap();
    net.take();
    net.inject(&Seg::ack(1_001, next + 1).from(from()));
    net.advance(Duration::from_secs(61));
    assert_eq!(net.stack.population().sockets, 1);
    assert_eq!(net.stack.population().connections, 0);
}

/// Closing in SYN-SENT sends nothing; the SYN-ACK that comes late is reset.
/// Shows: rfc9293-s3.10.4-a
#[test]
fn close_in_syn_sent_is_silent() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.connect_socket(net.now, id, SocketAddr::new(B, 80)).unwrap();
    let syn = net.one();
    net.stack.close_socket(net.now, id).unwrap();
    net.nothing();
    assert_eq!(net.stack.population(), Default::default());
    let ack = syn.hdr.seq.0 + 1;
    net.inject(&Seg::new(Flags::SYN | Flags::ACK, 500, ack).from(syn.dst()).at(syn.src()));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(ack)));
}

/// A socket that the user still holds keeps its data after the connection went to TIME-WAIT.
#[test]
fn a_held_socket_outlives_its_connection() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    let next = net.connect_peer(from(), 80);
    let id = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, id, |conn, cx| ((), conn.shutdown_write(cx))).unwrap();
    net.take();
    net.inject(&Seg::new(Flags::FIN | Flags::ACK, 1_001, next + 1).from(from()).data(b"last"));
    net.take();
    assert_eq!((net.stack.population().time_wait, net.state(id)), (1, State::TimeWait));
    let mut out = [0; 8];
    let n = net.stack.operate(net.now, id, |conn, cx| (conn.read(cx, &mut out), Default::default())).unwrap();
    assert_eq!(&out[..n], b"last");
    net.stack.close_socket(net.now, id).unwrap();
    assert_eq!(net.stack.population().sockets, 1);
}
