//! `connect` that does not wait.

use super::*;
use crate::socket::{How, Ready};

/// Shows: posix-connect-a, posix-getname-a
#[test]
fn both_ends_know_their_names() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let name = net.a.getsockname(client).unwrap();
    assert_eq!(name.ip(), A);
    assert!(net.a.config().local_port_range.contains(&name.port()));
    assert_eq!(net.a.getpeername(client), Ok(at(B, PORT)));
    assert_eq!(net.b.getpeername(server), Ok(name));
}

/// Shows: posix-connect-b, posix-poll-b, posix-soerror-a
#[test]
fn completion_shows_in_poll_and_so_error() {
    let mut net = Net::new();
    net.listen();
    let client = net.socket(Side::A);
    net.a.set_interest(client, Ready::OUT);
    net.events(Side::A);
    net.hold_b = true;
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EINPROGRESS));
    net.pass(millis(500));
    assert_eq!(net.a.poll(client), Ready::empty());
    assert_eq!(net.events(Side::A), []);
    net.release();
    assert_eq!(net.a.poll(client), Ready::OUT);
    assert_eq!(net.events(Side::A), [Event::Ready(client, Ready::OUT)]);
    assert_eq!(net.error(Side::A, client), None);
}

/// Shows: posix-connect-c
#[test]
fn again_is_ealready_then_0_once_then_eisconn() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    let to = at(B, PORT);
    net.hold_b = true;
    assert_eq!(net.a.connect(net.now, client, to), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.a.connect(net.now, client, to), Err(Errno::EALREADY));
    net.release();
    assert_eq!(net.a.connect(net.now, client, to), Ok(()));
    assert_eq!(net.a.connect(net.now, client, to), Err(Errno::EISCONN));
    assert_eq!(net.b.connect(net.now, listener, at(A, 9)), Err(Errno::EISCONN));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.b.connect(net.now, server, at(A, 9)), Err(Errno::EISCONN));
    assert_eq!(net.send(Side::A, client, b"unharmed"), Ok(8));
}

/// Shows: posix-connect-d, posix-soerror-a, posix-poll-b
#[test]
fn a_refusal_is_told_once() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    let all = Ready::IN | Ready::OUT | Ready::ERR | Ready::HUP | Ready::RDHUP;
    assert_eq!(net.a.poll(client), all);
    assert_eq!(net.error(Side::A, client), Some(Errno::ECONNREFUSED));
    assert_eq!(net.error(Side::A, client), None);
    assert_eq!(net.a.poll(client), all - Ready::ERR);
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
}

/// Shows: posix-connect-g, posix-connect-d
#[test]
fn a_socket_that_was_refused_tries_again_from_a_clean_state() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let to = at(B, PORT);
    let _ = net.a.connect(net.now, client, to);
    net.run();
    assert_eq!(net.a.connect(net.now, client, to), Err(Errno::ECONNREFUSED));
    assert_eq!(net.a.poll(client), Ready::OUT | Ready::HUP);
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::ENOTCONN));
    let listener = net.listen();
    assert_eq!(net.a.connect(net.now, client, to), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.a.connect(net.now, client, to), Ok(()));
    assert_eq!(net.error(Side::A, client), None);
    assert!(net.b.accept(net.now, listener).is_ok());
}

/// Shows: posix-connect-g
#[test]
fn once_so_error_took_the_reason_connect_says_econnaborted_once_as_linux() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.error(Side::A, client), Some(Errno::ECONNREFUSED));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::ECONNABORTED));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EINPROGRESS));
}

/// Shows: posix-connect-g
#[test]
fn a_bound_port_stays_bound_over_a_failed_attempt() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    net.a.bind(client, any(5_000)).unwrap();
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::ECONNREFUSED));
    assert_eq!(net.a.getsockname(client).unwrap().port(), 5_000);
    let other = net.socket(Side::A);
    assert_eq!(net.a.bind(other, any(5_000)), Err(Errno::EADDRINUSE));
    net.listen();
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    assert_eq!(net.a.getsockname(client), Ok(at(A, 5_000)));
}

/// Shows: posix-connect-d
#[test]
fn silence_ends_in_etimedout() {
    let mut net = Net::new();
    net.lose_a = true;
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::SynCnt(2));
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.pass(secs(10)); // four more that come a second apart, as on Linux
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EALREADY));
    net.pass(secs(2));
    assert_eq!(net.count(Side::A, Flags::SYN), 7);
    assert_eq!(net.error(Side::A, client), Some(Errno::ETIMEDOUT));
}

/// Shows: posix-connect-d, rfc9293-MUST-46
#[test]
fn what_names_no_host_is_refused_without_a_segment() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let refused = [
        ("255.255.255.255", Errno::ENETUNREACH),
        ("10.0.0.255", Errno::ENETUNREACH),
        ("224.0.0.1", Errno::ENETUNREACH),
        ("0.1.2.3", Errno::EINVAL),
        ("192.0.2.1", Errno::ENETUNREACH),
    ];
    for (ip, error) in refused {
        let to = at(ip.parse().unwrap(), PORT);
        assert_eq!(net.a.connect(net.now, client, to), Err(error), "{ip}");
    }
    let v6 = socket6(&mut net.a);
    for ip in ["ff02::1", "2001:db8::1"] {
        let to = at(ip.parse().unwrap(), PORT);
        assert_eq!(net.a.connect(net.now, v6, to), Err(Errno::ENETUNREACH), "{ip}");
    }
    net.run();
    assert!(net.log.is_empty());
    assert_eq!(net.a.getsockname(client), Ok(any(0)));
}

/// Shows: posix-connect-f
#[test]
fn a_wrong_family_or_a_tuple_in_use_makes_no_syn() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    assert_eq!(net.a.connect(net.now, client, at(B6, PORT)), Err(Errno::EAFNOSUPPORT));
    let v6 = socket6(&mut net.a);
    assert_eq!(net.a.connect(net.now, v6, at(B, PORT)), Err(Errno::EAFNOSUPPORT));
    let listener = net.listen();
    let twins = [net.socket(Side::A), net.socket(Side::A)];
    for twin in twins {
        net.set(Side::A, twin, SockOpt::ReuseAddr(true));
        net.a.bind(twin, at(A, 5_000)).unwrap();
    }
    let _ = net.a.connect(net.now, twins[0], at(B, PORT));
    net.run();
    net.log.clear();
    assert_eq!(net.a.connect(net.now, twins[1], at(B, PORT)), Err(Errno::EADDRNOTAVAIL));
    net.run();
    assert!(net.log.is_empty());
    assert!(net.b.accept(net.now, listener).is_ok());
}

/// Shows: rfc6056-s3.1-a
#[test]
fn exhausted_ports_toward_one_peer_leave_others_alone() {
    let config = Config { local_port_range: 40_000..=40_001, ..Config::default() };
    let mut net = Net::with(config, Config::default());
    net.listen();
    for _ in 0..2 {
        let client = net.socket(Side::A);
        assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EINPROGRESS));
        net.run();
    }
    let third = net.socket(Side::A);
    assert_eq!(net.a.connect(net.now, third, at(B, PORT)), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(net.a.connect(net.now, third, at(B, PORT + 1)), Err(Errno::EINPROGRESS));
}

/// Shows: rfc9293-MUST-43
#[test]
fn the_bound_address_is_the_source() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    net.a.bind(client, at(A2, 0)).unwrap();
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.b.accept(net.now, listener).unwrap().1.ip(), A2);
    let loopback = net.socket(Side::A);
    net.a.bind(loopback, at("127.0.0.1".parse().unwrap(), 0)).unwrap();
    assert_eq!(net.a.connect(net.now, loopback, at(B, PORT)), Err(Errno::EINVAL));
}

/// Shows: posix-connect-a
#[test]
fn the_unspecified_address_means_this_host() {
    for (domain, to) in [(Domain::INET, any(PORT)), (Domain::INET6, any6(PORT))] {
        let mut net = Net::new();
        let open = |net: &mut Net| net.a.socket(domain, SocketType::STREAM, Protocol::TCP).unwrap();
        let listener = open(&mut net);
        net.a.bind(listener, to).unwrap();
        net.a.listen(net.now, listener, 1).unwrap();
        let client = open(&mut net);
        let _ = net.a.connect(net.now, client, to);
        net.run();
        assert_eq!(net.a.connect(net.now, client, to), Ok(()));
        assert!(net.a.getpeername(client).unwrap().ip().is_loopback());
        assert!(net.log.is_empty(), "nothing goes out");
    }
}

/// Shows: rfc9293-MUST-10
#[test]
fn a_socket_may_connect_to_itself() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let own = at("127.0.0.1".parse().unwrap(), 7_000);
    net.a.bind(client, own).unwrap();
    assert_eq!(net.a.connect(net.now, client, own), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.a.connect(net.now, client, own), Ok(()));
    assert_eq!(net.a.getpeername(client), net.a.getsockname(client));
    assert_eq!(net.send(Side::A, client, b"hello me"), Ok(8));
    assert_eq!(net.recv(Side::A, client, 99).unwrap(), b"hello me");
}

/// Shows: posix-connect-a
#[test]
fn an_ipv6_socket_reaches_ipv4_unless_it_is_v6only() {
    let mut net = Net::new();
    let listener = net.listen();
    let mapped = at("::ffff:10.0.0.2".parse().unwrap(), PORT);
    let only = socket6(&mut net.a);
    net.set(Side::A, only, SockOpt::V6Only(true));
    assert_eq!(net.a.connect(net.now, only, mapped), Err(Errno::ENETUNREACH));
    let client = socket6(&mut net.a);
    let _ = net.a.connect(net.now, client, mapped);
    net.run();
    assert_eq!(net.a.connect(net.now, client, mapped), Ok(()));
    assert_eq!(net.a.getpeername(client), Ok(mapped));
    assert_eq!(net.b.accept(net.now, listener).unwrap().1.ip(), A);
}

#[test]
fn link_local_peers_need_an_interface() {
    let mut net = Net::new();
    let (ia, ib) = (net.if_a, net.if_b);
    net.a.add_address(ia, Cidr::new("fe80::1".parse().unwrap(), 64)).unwrap();
    net.b.add_address(ib, Cidr::new("fe80::2".parse().unwrap(), 64)).unwrap();
    let listener = socket6(&mut net.b);
    net.b.bind(listener, any6(PORT)).unwrap();
    net.b.listen(net.now, listener, 1).unwrap();
    let client = socket6(&mut net.a);
    let to = |scope| SocketAddr::V6(std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), PORT, 0, scope));
    assert_eq!(net.a.connect(net.now, client, to(0)), Err(Errno::EINVAL));
    assert_eq!(net.a.connect(net.now, client, to(1)), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.a.connect(net.now, client, to(1)), Ok(()));
    assert_eq!(net.a.getpeername(client), Ok(to(1)));
}

/// Shows: posix-connect-g
#[test]
fn disconnecting_ends_the_connection_and_frees_the_socket_for_another() {
    let mut net = Net::new();
    let listener = net.listen();
    let (client, server) = net.join(listener);
    net.a.disconnect(net.now, client).unwrap();
    net.run();
    assert_eq!(net.recv(Side::B, server, 1), Err(Errno::ECONNRESET));
    assert_eq!(net.a.getpeername(client), Err(Errno::ENOTCONN));
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
}

/// Shows: posix-shutdown-c
#[test]
fn shutdown_takes_an_attempt_back() {
    let mut net = Net::new();
    net.lose_a = true;
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.a.shutdown(net.now, client, How::Write), Ok(()));
    assert_eq!(net.a.shutdown(net.now, client, How::Write), Err(Errno::ENOTCONN));
    net.log.clear();
    net.pass(secs(100));
    assert!(net.log.is_empty());
}

/// Shows: rfc9293-s3.10.4-a
#[test]
fn closing_in_syn_sent_sends_nothing_and_a_late_answer_draws_a_rst() {
    let mut net = Net::new();
    net.listen();
    let client = net.socket(Side::A);
    net.hold_b = true;
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    net.log.clear();
    net.a.close(net.now, client).unwrap();
    net.run();
    assert!(net.log.is_empty());
    let synack = net.b.stats().passive_opens;
    net.release();
    assert_eq!(net.count(Side::A, Flags::RST), 1);
    assert_eq!(net.b.stats().passive_opens, synack, "no connection came of it");
}

/// Shows: posix-connect-d
#[test]
fn port_0_is_tried_and_refused_as_on_linux() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    assert_eq!(net.a.connect(net.now, client, at(B, 0)), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, 0)), Err(Errno::ECONNREFUSED));
}

/// Shows: rfc9293-s3.5.1-a, posix-send-d
#[test]
fn a_peer_that_forgot_the_connection_resets_it_and_a_new_one_works() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let mut rebooted = Stack::new(Config::default(), [9; 32]);
    net.if_b = rebooted.add_interface(Interface::new("eth0", 1_500, vec![Cidr::new(B, 24)]));
    net.b = rebooted;
    assert_eq!(net.b.poll(server), Ready::NVAL);
    net.send(Side::A, client, b"hello?").unwrap();
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::ECONNRESET));
    assert_eq!(net.send(Side::A, client, b"hello?"), Err(Errno::EPIPE));
    let (client, server) = net.pair();
    net.send(Side::A, client, b"hello!").unwrap();
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"hello!");
}
