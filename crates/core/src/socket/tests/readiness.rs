//! `poll` in every state, and the events.

use super::*;
use crate::socket::{How, Ready};

const ENDED: Ready = Ready::IN.union(Ready::OUT).union(Ready::HUP).union(Ready::RDHUP);

/// Shows: posix-poll-c
#[test]
fn sockets_without_a_connection() {
    let mut net = Net::new();
    let id = net.socket(Side::B);
    assert_eq!(net.b.poll(id), Ready::OUT | Ready::HUP, "as Linux");
    net.b.bind(id, any(PORT)).unwrap();
    net.b.listen(net.now, id, 2).unwrap();
    assert_eq!(net.b.poll(id), Ready::empty());
    net.b.close(net.now, id).unwrap();
    assert_eq!(net.b.poll(id), Ready::NVAL);
}

/// Shows: posix-poll-a
#[test]
fn a_listener_is_readable_while_a_connection_waits() {
    let mut net = Net::new();
    let listener = net.listen();
    net.b.set_interest(listener, Ready::IN);
    let client = net.socket(Side::A);
    net.hold_b = true;
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.b.poll(listener), Ready::empty(), "half-open is not enough");
    net.release();
    assert_eq!(net.b.poll(listener), Ready::IN);
    assert_eq!(net.events(Side::B), [Event::Ready(listener, Ready::IN)]);
    net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.b.poll(listener), Ready::empty());
}

/// Shows: posix-poll-a, posix-poll-c
#[test]
fn open_then_data_then_a_fin_then_ours() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    assert_eq!(net.a.poll(client), Ready::OUT);
    net.send(Side::B, server, b"x").unwrap();
    assert_eq!(net.a.poll(client), Ready::IN | Ready::OUT);
    net.recv(Side::A, client, 1).unwrap();
    assert_eq!(net.a.poll(client), Ready::OUT);
    net.b.shutdown(net.now, server, How::Write).unwrap();
    net.run();
    assert_eq!(net.a.poll(client), Ready::IN | Ready::OUT | Ready::RDHUP, "no HUP yet");
    assert_eq!(net.b.poll(server), Ready::OUT, "a shut direction does not block");
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.run();
    assert_eq!(net.a.poll(client), ENDED);
    assert_eq!(net.b.poll(server), ENDED);
}

/// Shows: posix-poll-c, posix-soerror-a
#[test]
fn a_reset_shows_as_an_error_until_it_is_told() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.a.set_interest(client, Ready::IN);
    net.events(Side::A);
    net.reset_by_b(server);
    assert_eq!(net.a.poll(client), ENDED | Ready::ERR);
    assert_eq!(net.events(Side::A), [Event::Ready(client, Ready::IN)]);
    assert_eq!(net.error(Side::A, client), Some(Errno::ECONNRESET));
    assert_eq!(net.a.poll(client), ENDED);
}

/// Shows: posix-poll-b
#[test]
fn writable_means_room() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(30_000));
    net.set(Side::B, server, SockOpt::RcvBuf(10_000));
    net.a.set_interest(client, Ready::OUT);
    while net.send(Side::A, client, &[0; 10_000]).is_ok() {}
    net.events(Side::A);
    assert_eq!(net.a.poll(client), Ready::empty());
    for _ in 0..20 {
        let _ = net.recv(Side::B, server, 10_000);
        net.pass(millis(300));
    }
    assert_eq!(net.a.poll(client), Ready::OUT);
    assert_eq!(net.events(Side::A), [Event::Ready(client, Ready::OUT)]);
}

/// Shows: posix-recv-g
#[test]
fn so_rcvlowat_holds_readiness_back_until_there_is_enough_or_the_end() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::B, server, SockOpt::RcvLowat(100));
    net.send(Side::A, client, &[0; 99]).unwrap();
    assert_eq!(net.b.poll(server), Ready::OUT);
    net.send(Side::A, client, &[0; 1]).unwrap();
    net.pass(millis(300));
    assert_eq!(net.b.poll(server), Ready::OUT | Ready::IN);
    net.recv(Side::B, server, 50).unwrap();
    assert_eq!(net.b.poll(server), Ready::OUT);
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.run();
    assert!(net.b.poll(server).contains(Ready::IN));
}

/// Shows: posix-poll-b
#[test]
fn tcp_notsent_lowat_bounds_what_waits_unsent() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(500_000));
    net.set(Side::A, client, SockOpt::NotSentLowat(1_000));
    net.lose_a = true;
    while net.send(Side::A, client, &[0; 1_000]).is_ok() {}
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EAGAIN));
    assert_eq!(net.a.poll(client), Ready::empty());
    net.lose_a = false;
    net.pass(secs(5));
    assert_eq!(net.a.poll(client), Ready::OUT);
}

/// Shows: posix-poll-a
#[test]
fn events_are_told_once_and_only_to_the_interested() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.events(Side::B);
    net.send(Side::A, client, b"1").unwrap();
    assert_eq!(net.events(Side::B), [], "nobody asked");
    net.b.set_interest(server, Ready::IN);
    assert_eq!(net.events(Side::B), [Event::Ready(server, Ready::IN)], "what holds is told at once");
    net.send(Side::A, client, b"2").unwrap();
    net.pass(secs(1));
    net.send(Side::A, client, b"3").unwrap();
    assert_eq!(net.events(Side::B), [Event::Ready(server, Ready::IN)], "however often it was raised");
    assert_eq!(net.events(Side::B), []);
}

/// Shows: posix-concurrent-a
#[test]
fn closing_tells_the_interested() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    let listener = net.listen();
    net.a.set_interest(client, Ready::IN);
    net.b.set_interest(listener, Ready::IN);
    net.events(Side::A);
    net.a.close(net.now, client).unwrap();
    assert_eq!(net.events(Side::A), [Event::Ready(client, Ready::NVAL)]);
    net.b.close(net.now, listener).unwrap();
    assert_eq!(net.events(Side::B), [Event::Ready(listener, Ready::NVAL)]);
}

/// Shows: posix-poll-b
#[test]
fn under_memory_pressure_writable_means_that_something_fits() {
    let config = Config { mem_limit: 20_000, ..Config::default() };
    let mut net = Net::with(config, Config::default());
    let (client, _) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(200_000));
    net.lose_a = true;
    assert!(net.send(Side::A, client, &[0; 50_000]).is_ok());
    assert_eq!(net.send(Side::A, client, &[0; 50_000]), Err(Errno::EAGAIN));
    assert_eq!(net.a.poll(client), Ready::empty());
    net.a.set_interest(client, Ready::OUT);
    net.events(Side::A);
    net.lose_a = false;
    net.pass(secs(5));
    assert_eq!(net.a.poll(client), Ready::OUT);
    assert_eq!(net.events(Side::A), [Event::Ready(client, Ready::OUT)]);
    assert!(net.send(Side::A, client, b"x").is_ok());
}
