//! `listen` and `accept`.

use super::*;

/// Shows: posix-listen-b
#[test]
fn listening_unbound_takes_an_ephemeral_port() {
    let mut net = Net::new();
    let id = net.socket(Side::B);
    net.b.listen(net.now, id, 1).unwrap();
    let port = net.b.getsockname(id).unwrap().port();
    assert!(net.b.config().local_port_range.contains(&port));
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, port));
    net.run();
    assert!(net.b.accept(net.now, id).is_ok());
}

/// Shows: posix-listen-a
#[test]
fn a_connected_socket_does_not_listen() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    assert_eq!(net.a.listen(net.now, client, 1), Err(Errno::EINVAL));
    assert_eq!(net.send(Side::A, client, b"x"), Ok(1));
}

/// Shows: posix-listen-a
#[test]
fn the_backlog_bounds_what_waits_and_a_second_listen_moves_the_bound() {
    let mut net = Net::new();
    let id = net.socket(Side::B);
    net.b.bind(id, any(PORT)).unwrap();
    net.b.listen(net.now, id, 0).unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let client = net.socket(Side::A);
            let _ = net.a.connect(net.now, client, at(B, PORT));
            net.run();
            client
        })
        .collect();
    let waiting = |net: &mut Net| net.b.tcp_info(net.now, id).unwrap().unacked;
    assert_eq!(waiting(&mut net), 1, "Linux admits backlog + 1");
    net.b.listen(net.now, id, 8).unwrap();
    net.pass(secs(10));
    assert_eq!(waiting(&mut net), 3, "who was turned away came again");
    let accepted: Vec<_> = (0..3).map(|_| net.b.accept(net.now, id).unwrap().1).collect();
    for client in clients {
        assert!(accepted.contains(&net.a.getsockname(client).unwrap()));
    }
}

/// Shows: posix-listen-a
#[test]
fn a_negative_backlog_is_as_the_profile_says() {
    for (profile, limit) in [(Profile::Linux, 4_096), (Profile::FreeBsd, 128), (Profile::Rfc, 0)] {
        let mut net = Net::of_profile(profile);
        let id = net.socket(Side::B);
        net.b.listen(net.now, id, -1).unwrap();
        assert_eq!(net.b.tcp_info(net.now, id).unwrap().sacked, limit, "{profile:?}");
        let port = net.b.getsockname(id).unwrap().port();
        let client = net.socket(Side::A);
        let _ = net.a.connect(net.now, client, at(B, port));
        net.run();
        assert!(net.b.accept(net.now, id).is_ok(), "the least that any backlog admits is one");
    }
}

/// Shows: posix-accept-a
#[test]
fn connections_come_out_in_the_order_they_were_established() {
    let mut net = Net::new();
    let listener = net.listen();
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let client = net.socket(Side::A);
            let _ = net.a.connect(net.now, client, at(B, PORT));
            net.run();
            client
        })
        .collect();
    for client in clients {
        let (accepted, peer) = net.b.accept(net.now, listener).unwrap();
        assert_eq!(Ok(peer), net.a.getsockname(client));
        assert_eq!(net.b.getpeername(accepted), Ok(peer));
        assert_eq!(net.b.getsockname(accepted), Ok(at(B, PORT)));
        assert_ne!(accepted, listener);
    }
    assert_eq!(net.b.accept(net.now, listener), Err(Errno::EAGAIN));
    net.join(listener);
}

/// Shows: posix-accept-b
#[test]
fn accept_on_what_does_not_listen_is_einval() {
    let mut net = Net::new();
    let fresh = net.socket(Side::A);
    assert_eq!(net.a.accept(net.now, fresh), Err(Errno::EINVAL));
    let (client, _) = net.pair();
    assert_eq!(net.a.accept(net.now, client), Err(Errno::EINVAL));
}

/// Shows: posix-accept-c
#[test]
fn a_connection_reset_in_the_queue_is_accepted_with_its_error() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert!(net.b.poll(listener).contains(Ready::IN));
    net.a.abort(net.now, client).unwrap();
    net.run();
    assert!(net.b.poll(listener).contains(Ready::IN), "what poll promised stands");
    let (accepted, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, accepted, 1), Err(Errno::ECONNRESET));
    assert_eq!(net.recv(Side::B, accepted, 1).unwrap(), b"");
    assert_eq!(net.b.accept(net.now, listener), Err(Errno::EAGAIN));
}

/// Shows: posix-accept-d
#[test]
fn accepted_sockets_have_the_listeners_options() {
    let mut net = Net::new();
    let listener = net.listen();
    let options = [
        SockOpt::KeepAlive(true),
        SockOpt::NoDelay(true),
        SockOpt::Linger(Some(secs(7))),
        SockOpt::RcvBuf(100_000),
        SockOpt::KeepIdle(secs(11)),
        SockOpt::Tos(0xb8),
    ];
    for option in &options {
        net.set(Side::B, listener, option.clone());
    }
    let (_, server) = net.join(listener);
    for option in &options {
        let read = net.b.getsockopt(net.now, server, option.name()).unwrap();
        match option {
            SockOpt::RcvBuf(n) => assert_eq!(read, SockOpt::RcvBuf(2 * n)),
            option => assert_eq!(read, *option),
        }
    }
    assert_eq!(net.b.getsockopt(net.now, server, SockOptName::AcceptConn), Ok(SockOpt::AcceptConn(false)));
}

/// Shows: posix-accept-a
#[test]
fn a_dual_stack_listener_shows_ipv4_peers_as_mapped() {
    let mut net = Net::new();
    let listener = socket6(&mut net.b);
    net.b.bind(listener, any6(PORT)).unwrap();
    net.b.listen(net.now, listener, 4).unwrap();
    let (v4, v6) = (net.socket(Side::A), socket6(&mut net.a));
    let _ = net.a.connect(net.now, v4, at(B, PORT));
    net.run();
    let _ = net.a.connect(net.now, v6, at(B6, PORT));
    net.run();
    let (first, peer) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(peer.ip(), "::ffff:10.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(net.b.getsockname(first).unwrap().ip(), "::ffff:10.0.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(net.b.accept(net.now, listener).unwrap().1.ip(), A6);
}

/// Shows: posix-close-a, posix-accept-c
#[test]
fn closing_a_listener_resets_who_waits() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    net.b.close(net.now, listener).unwrap();
    net.run();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::ECONNRESET));
    let late = net.socket(Side::A);
    let _ = net.a.connect(net.now, late, at(B, PORT));
    net.run();
    assert_eq!(net.error(Side::A, late), Some(Errno::ECONNREFUSED));
}

/// Shows: rfc9293-MUST-42
#[test]
fn a_listener_beside_an_attempt_from_its_port() {
    let mut net = Net::new();
    let pending = net.socket(Side::A);
    net.set(Side::A, pending, SockOpt::ReuseAddr(true));
    net.a.bind(pending, any(PORT)).unwrap();
    net.lose_a = true;
    let _ = net.a.connect(net.now, pending, at(B, 9));
    net.run();
    net.lose_a = false;
    assert_eq!(net.state(Side::A, pending), State::SynSent);
    let listener = net.socket(Side::A);
    net.set(Side::A, listener, SockOpt::ReuseAddr(true));
    net.a.bind(listener, any(PORT)).unwrap();
    assert_eq!(net.a.listen(net.now, listener, 4), Ok(()));
    let third = net.socket(Side::B);
    let _ = net.b.connect(net.now, third, at(A, PORT));
    net.run();
    assert!(net.a.accept(net.now, listener).is_ok());
}

use crate::socket::Ready;
