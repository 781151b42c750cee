//! `socket`, and what a fresh socket is.

use super::*;

/// Shows: posix-socket-b
#[test]
fn bad_arguments_are_refused_by_their_errno() {
    let mut stack = Stack::new(Config::default(), [0; 32]);
    let mut open =
        |domain, kind, protocol| stack.socket(Domain(domain), SocketType(kind), Protocol(protocol));
    assert_eq!(open(1, 1, 0), Err(Errno::EAFNOSUPPORT)); // AF_UNIX
    assert_eq!(open(-1, 1, 0), Err(Errno::EAFNOSUPPORT));
    assert_eq!(open(2, 1, 17), Err(Errno::EPROTONOSUPPORT)); // UDP for a stream
    assert_eq!(open(2, 1, 300), Err(Errno::EINVAL));
    assert_eq!(open(2, 2, 6), Err(Errno::EPROTONOSUPPORT)); // TCP for datagrams, as Linux
    assert_eq!(open(2, 2, 0), Err(Errno::ESOCKTNOSUPPORT));
    assert_eq!(open(2, 1 | 1 << 20, 0), Err(Errno::EINVAL)); // an unknown flag
    assert_eq!(open(2, 99, 0), Err(Errno::EINVAL));
    for domain in [2, 10] {
        for protocol in [0, 6] {
            assert!(open(domain, 1, protocol).is_ok());
        }
    }
}

/// Shows: posix-socket-b
#[test]
fn a_protocol_of_another_type_is_eprototype_under_posix() {
    let mut stack = Stack::new(Config::new(Profile::Rfc), [0; 32]);
    let wrong = stack.socket(Domain::INET, SocketType::DGRAM, Protocol::TCP);
    assert_eq!(wrong, Err(Errno::EPROTOTYPE));
}

/// Shows: posix-socket-b
#[test]
fn the_bound_on_sockets_is_enfile_and_closing_one_makes_room() {
    let config = Config { max_sockets: 2, ..Config::default() };
    let mut stack = Stack::new(config, [0; 32]);
    let first = socket(&mut stack);
    socket(&mut stack);
    let third = stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP);
    assert_eq!(third, Err(Errno::ENFILE));
    stack.close(Instant::ZERO, first).unwrap();
    assert!(stack.socket(Domain::INET, SocketType::STREAM, Protocol::TCP).is_ok());
}

/// Shows: posix-socket-a, posix-getname-a
#[test]
fn a_fresh_socket_is_unbound_and_unconnected() {
    let mut stack = Stack::new(Config::default(), [0; 32]);
    let (v4, v6) = (socket(&mut stack), socket6(&mut stack));
    assert_eq!(stack.getsockname(v4), Ok(any(0)));
    assert_eq!(stack.getsockname(v6), Ok(any6(0)));
    assert_eq!(stack.getpeername(v4), Err(Errno::ENOTCONN));
}

/// Shows: posix-concurrent-a
#[test]
fn a_closed_name_never_finds_a_later_socket() {
    let mut net = Net::new();
    let old = net.socket(Side::A);
    net.a.close(net.now, old).unwrap();
    let new = net.socket(Side::A);
    assert_ne!(old, new);
    assert_eq!(net.a.close(net.now, old), Err(Errno::EBADF));
    assert_eq!(net.a.bind(old, any(0)), Err(Errno::EBADF));
    assert_eq!(net.a.listen(net.now, old, 1), Err(Errno::EBADF));
    assert_eq!(net.a.accept(net.now, old), Err(Errno::EBADF));
    assert_eq!(net.a.connect(net.now, old, at(B, 1)), Err(Errno::EBADF));
    assert_eq!(net.send(Side::A, old, b"x"), Err(Errno::EBADF));
    assert_eq!(net.recv(Side::A, old, 1), Err(Errno::EBADF));
    assert_eq!(net.a.getsockname(old), Err(Errno::EBADF));
    assert_eq!(net.a.getpeername(old), Err(Errno::EBADF));
    assert_eq!(net.a.shutdown(net.now, old, crate::socket::How::Both), Err(Errno::EBADF));
    assert_eq!(net.a.tcp_info(net.now, old).err(), Some(Errno::EBADF));
    assert_eq!(net.a.getsockname(new), Ok(any(0)));
}
