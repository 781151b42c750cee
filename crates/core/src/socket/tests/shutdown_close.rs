//! `shutdown`, `close`, SO_LINGER: the ways to end.

use super::*;
use crate::socket::How;

/// Shows: posix-shutdown-a, rfc9293-s3.6.1-a, rfc9293-MAY-1
#[test]
fn shut_wr_sends_all_then_a_fin_and_still_receives() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, &[1; 10_000]).unwrap();
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.run();
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.send(Side::A, client, b""), Err(Errno::EPIPE));
    let mut got = 0;
    loop {
        match net.recv(Side::B, server, 4_000) {
            Ok(some) if some.is_empty() => break,
            Ok(some) => got += some.len(),
            Err(_) => net.pass(millis(50)),
        }
    }
    assert_eq!(got, 10_000);
    net.pass(millis(50)); // the delayed ACK of the FIN
    assert_eq!(net.state(Side::A, client), State::FinWait2);
    assert_eq!(net.state(Side::B, server), State::CloseWait);
    net.send(Side::B, server, b"reply").unwrap();
    assert_eq!(net.recv(Side::A, client, 99).unwrap(), b"reply");
}

/// Shows: posix-shutdown-c
#[test]
fn shutdown_checks_its_arguments_and_sends_one_fin() {
    let mut net = Net::new();
    assert_eq!(How::from_number(3), None);
    assert_eq!(How::from_number(-1), None);
    assert_eq!([0, 1, 2].map(How::from_number), [Some(How::Read), Some(How::Write), Some(How::Both)]);
    let fresh = net.socket(Side::A);
    assert_eq!(net.a.shutdown(net.now, fresh, How::Both), Err(Errno::ENOTCONN));
    let (client, server) = net.pair();
    for _ in 0..3 {
        assert_eq!(net.a.shutdown(net.now, client, How::Write), Ok(()));
        net.run();
    }
    assert_eq!(net.count(Side::A, Flags::FIN), 1);
    net.reset_by_b(server);
    assert_eq!(net.a.shutdown(net.now, client, How::Read), Err(Errno::ENOTCONN));
}

/// Shows: posix-shutdown-b
#[test]
fn shut_rdwr_ends_both_directions() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.a.shutdown(net.now, client, How::Both).unwrap();
    net.run();
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.recv(Side::B, server, 1).unwrap(), b"");
}

/// Shows: posix-shutdown-c, posix-accept-b
#[test]
fn a_listener_shut_down_is_an_ordinary_bound_socket_again() {
    let mut net = Net::new();
    let listener = net.listen();
    let client = net.socket(Side::A);
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    assert_eq!(net.b.shutdown(net.now, listener, How::Write), Ok(()), "no effect, as on Linux");
    assert_eq!(net.state(Side::B, listener), State::Listen);
    assert_eq!(net.b.shutdown(net.now, listener, How::Read), Ok(()));
    net.run();
    assert_eq!(net.error(Side::A, client), Some(Errno::ECONNRESET), "who waited is reset");
    assert_eq!(net.b.accept(net.now, listener), Err(Errno::EINVAL));
    assert_eq!(net.b.getsockname(listener), Ok(any(PORT)));
    net.b.listen(net.now, listener, 1).unwrap();
    net.join(listener);
}

/// Shows: posix-close-a, rfc9293-s3.6-c
#[test]
fn close_returns_at_once_and_all_arrives() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(100_000));
    assert_eq!(net.send(Side::A, client, &[3; 100_000]), Ok(100_000));
    net.a.close(net.now, client).unwrap();
    assert_eq!(net.a.getsockname(client), Err(Errno::EBADF));
    let mut got = 0;
    loop {
        match net.recv(Side::B, server, 10_000) {
            Ok(some) if some.is_empty() => break,
            Ok(some) => got += some.len(),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                net.pass(millis(100));
            }
        }
    }
    assert_eq!(got, 100_000);
    assert_eq!(net.count(Side::A, Flags::RST), 0);
}

/// Shows: rfc9293-SHLD-3
#[test]
fn closing_with_unread_data_tells_the_peer_by_a_rst() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, &[0; 100]).unwrap();
    net.b.close(net.now, server).unwrap();
    net.run();
    assert_eq!(net.count(Side::B, Flags::RST), 1);
    assert_eq!(net.count(Side::B, Flags::FIN), 0);
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::ECONNRESET));
    let (client, server) = net.pair();
    net.b.close(net.now, server).unwrap();
    net.run();
    net.log.clear();
    net.send(Side::A, client, b"too late").unwrap();
    assert_eq!(net.count(Side::B, Flags::RST), 1);
}

/// Shows: posix-linger-a, rfc9293-s3.10.5-a
#[test]
fn no_time_to_linger_is_a_rst_and_no_time_wait() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let name = net.a.getsockname(client).unwrap();
    net.set(Side::A, client, SockOpt::Linger(Some(secs(0))));
    net.hold_b = true;
    net.send(Side::A, client, &[0; 10_000]).unwrap();
    net.log.clear();
    net.a.close(net.now, client).unwrap();
    net.run();
    assert_eq!(net.count(Side::A, Flags::FIN), 0);
    assert_eq!(net.count(Side::A, Flags::RST), 1);
    assert_eq!(net.a.stats().time_wait, 0);
    let again = net.socket(Side::A);
    assert_eq!(net.a.bind(again, name), Ok(()), "the port is free at once");
    net.release();
    net.log.clear();
    net.pass(secs(10));
    assert_eq!(net.count(Side::A, Flags::ACK), 0, "nothing is sent again");
    while net.recv(Side::B, server, 99_999).is_ok_and(|data| !data.is_empty()) {}
    assert_eq!(net.send(Side::B, server, b"x"), Err(Errno::EPIPE));
}

/// Shows: posix-getname-a
#[test]
fn names_in_each_state() {
    let mut net = Net::new();
    let listener = net.listen();
    assert_eq!(net.b.getsockname(listener), Ok(any(PORT)));
    assert_eq!(net.b.getpeername(listener), Err(Errno::ENOTCONN));
    let client = net.socket(Side::A);
    net.hold_b = true;
    let _ = net.a.connect(net.now, client, at(B, PORT));
    net.run();
    let name = net.a.getsockname(client).unwrap();
    assert_eq!(name.ip(), A);
    assert_eq!(net.a.getpeername(client), Err(Errno::ENOTCONN), "SYN-SENT");
    net.release();
    assert_eq!(net.a.getpeername(client), Ok(at(B, PORT)));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.run();
    assert_eq!(net.a.getpeername(client), Ok(at(B, PORT)), "FIN-WAIT-2");
    assert_eq!(net.b.getpeername(server), Ok(name), "CLOSE-WAIT");
    net.reset_by_b(server);
    assert_eq!(net.a.getpeername(client), Err(Errno::ENOTCONN));
    assert_eq!(net.a.getsockname(client), Ok(name));
}

/// Shows: rfc9293-s3.6-a, rfc9293-MUST-13
#[test]
fn the_active_closer_keeps_time_wait_for_2_msl() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.run();
    net.b.close(net.now, server).unwrap();
    net.run();
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
    assert_eq!((net.a.stats().time_wait, net.b.stats().time_wait), (1, 0));
    net.a.close(net.now, client).unwrap();
    net.pass(millis(59_900));
    assert_eq!(net.a.stats().time_wait, 1);
    net.pass(millis(200));
    assert_eq!(net.a.stats().time_wait, 0);
}

/// Shows: rfc9293-s3.6-b
#[test]
fn both_may_close_at_once() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.a.shutdown(net.now, client, How::Write).unwrap();
    net.b.shutdown(net.now, server, How::Write).unwrap();
    net.run();
    assert_eq!((net.a.stats().time_wait, net.b.stats().time_wait), (1, 1));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
    assert_eq!(net.recv(Side::B, server, 1).unwrap(), b"");
}
