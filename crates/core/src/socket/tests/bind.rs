//! `bind`, and the name it gives.

use super::*;

/// Shows: posix-bind-a
#[test]
fn an_address_that_is_not_ours_leaves_the_socket_unbound() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    assert_eq!(net.a.bind(id, at(B, 1_000)), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(net.a.bind(id, at("224.0.0.1".parse().unwrap(), 1_000)), Err(Errno::EADDRNOTAVAIL));
    assert_eq!(net.a.bind(id, at(A6, 1_000)), Err(Errno::EAFNOSUPPORT));
    assert_eq!(net.a.getsockname(id), Ok(any(0)));
    assert_eq!(net.a.bind(id, at(A, 1_000)), Ok(()));
    assert_eq!(net.a.getsockname(id), Ok(at(A, 1_000)));
    let v6 = socket6(&mut net.a);
    assert_eq!(net.a.bind(v6, at(A, 1_001)), Err(Errno::EAFNOSUPPORT));
    assert_eq!(net.a.bind(v6, at("ff02::1".parse().unwrap(), 1_001)), Err(Errno::EINVAL));
    assert_eq!(net.a.bind(v6, at(A6, 1_001)), Ok(()));
}

/// Shows: posix-bind-c
#[test]
fn a_second_bind_fails_and_the_first_holds() {
    let mut net = Net::new();
    let id = net.socket(Side::A);
    net.a.bind(id, at(A, 1_000)).unwrap();
    assert_eq!(net.a.bind(id, at(A, 1_001)), Err(Errno::EINVAL));
    assert_eq!(net.a.bind(id, any(0)), Err(Errno::EINVAL));
    assert_eq!(net.a.getsockname(id), Ok(at(A, 1_000)));
    let (client, _) = net.pair();
    assert_eq!(net.a.bind(client, any(0)), Err(Errno::EINVAL));
}

/// Shows: posix-bind-b
#[test]
fn a_port_in_use_is_refused_until_it_is_free() {
    let mut net = Net::new();
    let (first, second) = (net.socket(Side::A), net.socket(Side::A));
    net.a.bind(first, any(1_000)).unwrap();
    assert_eq!(net.a.bind(second, at(A, 1_000)), Err(Errno::EADDRINUSE));
    assert_eq!(net.a.getsockname(second), Ok(any(0)));
    net.a.close(net.now, first).unwrap();
    assert_eq!(net.a.bind(second, at(A, 1_000)), Ok(()));
    let third = net.socket(Side::A);
    assert_eq!(net.a.bind(third, at(A2, 1_000)), Ok(()), "another address");
}

/// Shows: posix-bind-d, rfc6056-s3.2-a
#[test]
fn port_0_gives_a_free_port_of_the_range() {
    let config =
        Config { local_port_range: 40_000..=40_003, local_reserved_ports: vec![40_001], ..Config::default() };
    let mut net = Net::with(config, Config::default());
    let mut ports = Vec::new();
    for _ in 0..3 {
        let id = net.socket(Side::A);
        net.a.bind(id, any(0)).unwrap();
        ports.push(net.a.getsockname(id).unwrap().port());
    }
    ports.sort_unstable();
    assert_eq!(ports, [40_000, 40_002, 40_003]);
    let id = net.socket(Side::A);
    assert_eq!(net.a.bind(id, any(0)), Err(Errno::EADDRINUSE));
}

/// Shows: posix-bind-a
#[test]
fn a_privileged_port_needs_the_privilege() {
    let config = Config { privileged: false, ..Config::default() };
    let mut net = Net::with(config, Config::default());
    let id = net.socket(Side::A);
    assert_eq!(net.a.bind(id, any(1_023)), Err(Errno::EACCES));
    assert_eq!(net.a.bind(id, any(1_024)), Ok(()));
}

/// Shows: posix-reuseaddr-a
#[test]
fn a_server_restarts_over_time_wait_with_so_reuseaddr_only() {
    for reuse in [true, false] {
        let mut net = Net::new();
        let listener = net.socket(Side::B);
        net.set(Side::B, listener, SockOpt::ReuseAddr(reuse));
        net.b.bind(listener, any(PORT)).unwrap();
        net.b.listen(net.now, listener, 4).unwrap();
        let (client, server) = net.join(listener);
        net.b.close(net.now, server).unwrap();
        net.b.close(net.now, listener).unwrap();
        net.run();
        net.a.close(net.now, client).unwrap();
        net.run();
        assert_eq!(net.b.stats().time_wait, 1);
        let (without, with) = (net.socket(Side::B), net.socket(Side::B));
        assert_eq!(net.b.bind(without, any(PORT)), Err(Errno::EADDRINUSE));
        net.set(Side::B, with, SockOpt::ReuseAddr(true));
        // Linux asks it of both: the earlier socket had to have it, too.
        let allowed = if reuse { Ok(()) } else { Err(Errno::EADDRINUSE) };
        assert_eq!(net.b.bind(with, any(PORT)), allowed);
        net.b.close(net.now, with).unwrap();
        net.pass(secs(61));
        assert_eq!(net.b.bind(without, any(PORT)), Ok(()));
    }
}

/// Shows: posix-reuseaddr-a, rfc9293-MUST-41
#[test]
fn with_so_reuseaddr_a_listener_comes_back_beside_its_connections() {
    let mut net = Net::new();
    let listener = net.socket(Side::B);
    net.set(Side::B, listener, SockOpt::ReuseAddr(true));
    net.b.bind(listener, any(PORT)).unwrap();
    net.b.listen(net.now, listener, 4).unwrap();
    let (client, server) = net.join(listener);
    let second = net.socket(Side::B);
    net.set(Side::B, second, SockOpt::ReuseAddr(true));
    assert_eq!(net.b.bind(second, any(PORT)), Err(Errno::EADDRINUSE), "a live listener");
    net.b.close(net.now, listener).unwrap();
    assert_eq!(net.b.bind(second, any(PORT)), Ok(()));
    assert_eq!(net.b.listen(net.now, second, 4), Ok(()));
    assert_eq!(net.send(Side::A, client, b"still here"), Ok(10));
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"still here");
    net.join(second);
}

/// Shows: posix-reuseaddr-b, rfc9293-MUST-43
#[test]
fn the_more_specific_listener_gets_the_connection() {
    let mut net = Net::new();
    let (wild, specific) = (net.socket(Side::A), net.socket(Side::A));
    for (id, addr) in [(wild, any(PORT)), (specific, at(A, PORT))] {
        net.set(Side::A, id, SockOpt::ReuseAddr(true));
        net.a.bind(id, addr).unwrap();
    }
    net.a.listen(net.now, wild, 4).unwrap();
    // Listening beside a live wildcard listener is refused on Linux; of several addresses each may have its own.
    assert_eq!(net.a.listen(net.now, specific, 4), Err(Errno::EADDRINUSE));
    net.a.close(net.now, wild).unwrap();
    net.a.listen(net.now, specific, 4).unwrap();
    let (to_a, to_a2) = (net.socket(Side::B), net.socket(Side::B));
    let _ = net.b.connect(net.now, to_a, at(A, PORT));
    let _ = net.b.connect(net.now, to_a2, at(A2, PORT));
    net.run();
    assert_eq!(net.b.connect(net.now, to_a, at(A, PORT)), Ok(()));
    assert_eq!(net.b.connect(net.now, to_a2, at(A2, PORT)), Err(Errno::ECONNREFUSED));
    let (accepted, _) = net.a.accept(net.now, specific).unwrap();
    assert_eq!(net.a.getsockname(accepted), Ok(at(A, PORT)));
}

/// Shows: posix-bind-a, posix-getname-a
#[test]
fn ipv4_in_ipv6_clothes_is_bound_as_ipv4() {
    let mut net = Net::new();
    let id = socket6(&mut net.a);
    let mapped = at("::ffff:10.0.0.1".parse().unwrap(), 1_000);
    assert_eq!(net.a.bind(id, mapped), Ok(()));
    assert_eq!(net.a.getsockname(id), Ok(mapped));
    let v4 = net.socket(Side::A);
    assert_eq!(net.a.bind(v4, at(A, 1_000)), Err(Errno::EADDRINUSE));
    let only = socket6(&mut net.a);
    net.set(Side::A, only, SockOpt::V6Only(true));
    assert_eq!(net.a.bind(only, at("::ffff:10.0.0.1".parse().unwrap(), 1_001)), Err(Errno::EINVAL));
}

/// Shows: posix-bind-b
#[test]
fn v6only_lets_both_families_have_the_port() {
    let mut net = Net::new();
    let (both, only, v4) = (socket6(&mut net.a), socket6(&mut net.a), net.socket(Side::A));
    net.a.bind(v4, any(1_000)).unwrap();
    assert_eq!(net.a.bind(both, any6(1_000)), Err(Errno::EADDRINUSE));
    net.set(Side::A, only, SockOpt::V6Only(true));
    assert_eq!(net.a.bind(only, any6(1_000)), Ok(()));
}
