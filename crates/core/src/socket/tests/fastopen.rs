//! Fast Open by the calls: MSG_FASTOPEN, TCP_FASTOPEN_CONNECT, and what the client remembers (RFC 7413).

use super::*;
use crate::config::FastOpenBits;
use crate::socket::op::{OpPoll, SendOp};
use crate::wire::tcp::FastOpen;

const FAST: MsgFlags = MsgFlags::FASTOPEN;

/// B serves Fast Open at its port.
fn fast() -> (Net, SocketId) {
    let config = Config { fastopen: FastOpenBits::CLIENT | FastOpenBits::SERVER, ..Config::default() };
    let mut net = Net::with(config.clone(), config);
    let listener = net.listen();
    net.set(Side::B, listener, SockOpt::FastOpen(16));
    (net, listener)
}

/// `sendto` with MSG_FASTOPEN on a fresh socket.
fn send_fast(net: &mut Net, data: &[u8]) -> (SocketId, Result<usize, Errno>) {
    let client = net.socket(Side::A);
    let sent = net.a.sendto(net.now, client, &[data], FAST, Some(at(B, PORT)));
    (client, sent)
}

/// A has a cookie of B.
fn acquainted() -> (Net, SocketId) {
    let (mut net, listener) = fast();
    let (client, sent) = send_fast(&mut net, b"x");
    assert_eq!(sent, Err(Errno::EINPROGRESS));
    net.run();
    assert!(matches!(net.syns()[..], [(Some(FastOpen::REQUEST), 0)]));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    net.reset_by_b(server);
    net.a.close(net.now, client).unwrap();
    net.log.clear();
    (net, listener)
}

impl Net {
    /// Option and text length of A's SYNs.
    fn syns(&self) -> Vec<(Option<FastOpen>, usize)> {
        let mine = |(side, hdr, _): &&(Side, Header, usize)| *side == Side::A && hdr.flags == Flags::SYN;
        self.log.iter().filter(mine).map(|(_, hdr, len)| (hdr.options.fast_open, *len)).collect()
    }

    fn client_fail(&mut self, id: SocketId) -> u8 {
        self.a.tcp_info(self.now, id).unwrap().fastopen_client_fail
    }

    /// The next SYN of A is lost.
    fn lose_syn(&mut self) {
        self.lose_a = true;
        self.run();
        self.lose_a = false;
    }
}

/// Shows: rfc7413-s4.2.2-a, rfc7413-s4.1.3-a, rfc7413-s4.2.2-b
#[test]
fn data_goes_on_the_syn_with_a_cookie() {
    let (mut net, listener) = acquainted();
    let data: Vec<u8> = (0..5_000).map(|i| i as u8).collect();
    let (client, sent) = send_fast(&mut net, &data);
    assert_eq!(sent, Ok(1_420), "the cached MSS of 1460 less 40 for options");
    net.hold_b = true;
    net.run();
    assert!(matches!(net.syns()[..], [(Some(cookie), 1_420)] if cookie != FastOpen::REQUEST));
    let (server, _) = net.b.accept(net.now, listener).expect("before the last ACK");
    assert_eq!(net.recv(Side::B, server, 5_000).unwrap(), data[..1_420]);
    net.release();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    assert_eq!(net.send(Side::A, client, &data[1_420..]), Ok(3_580));
    assert_eq!(net.recv(Side::B, server, 5_000).unwrap(), data[1_420..]);
    assert_eq!((net.a.stats().tcp_fastopen_active, net.b.stats().tcp_fastopen_passive), (1, 1));
    assert_eq!(net.a.tcp_info(net.now, client).unwrap().options & 32, 32);
}

/// Nothing of it without a call that asks for it.
/// Shows: rfc7413-s2-a
#[test]
fn an_ordinary_connect_is_plain() {
    let (mut net, listener) = acquainted();
    net.join(listener);
    assert_eq!(net.syns(), [(None, 0)]);
}

/// A lost SYN is sent again without option and text; the text follows the handshake, once.
/// Shows: rfc7413-s4.2.2-c
#[test]
fn a_lost_syn_is_sent_again_plain() {
    let (mut net, listener) = acquainted();
    let (client, sent) = send_fast(&mut net, b"hello");
    assert_eq!(sent, Ok(5));
    net.lose_syn();
    net.pass(secs(1));
    net.pass(millis(500));
    assert!(matches!(net.syns()[..], [(Some(_), 5), (None, 0)]));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, server, 50).unwrap(), b"hello");
    let texts =
        net.log.iter().filter(|(side, hdr, len)| *side == Side::A && *len > 0 && hdr.flags != Flags::SYN);
    assert_eq!(texts.count(), 1);
    assert_eq!(net.recv(Side::B, server, 50), Err(Errno::EAGAIN));
    assert_eq!((net.client_fail(client), net.a.stats().tcp_fastopen_active_fail), (3, 1));
}

/// The server took the SYN and not its text (too many pending): the text goes right after the handshake.
/// Shows: rfc7413-s4.2.2-c, rfc7413-s5.1-a
#[test]
fn text_that_was_not_taken_follows_the_handshake() {
    let (mut net, listener) = acquainted();
    net.set(Side::B, listener, SockOpt::FastOpen(0));
    let (client, sent) = send_fast(&mut net, b"hello");
    assert_eq!(sent, Ok(5));
    net.run();
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, server, 50).unwrap(), b"hello");
    assert_eq!((net.client_fail(client), net.a.stats().retrans_segs), (2, 0));
}

/// The SYN-ACK that takes the text is lost: the plain SYN brings it again, the text arrived once.
/// Shows: rfc7413-s4.2.2-c
#[test]
fn a_lost_syn_ack_costs_no_text() {
    let (mut net, listener) = acquainted();
    let (client, _) = send_fast(&mut net, b"hello");
    net.hold_b = true;
    net.run();
    net.held.clear();
    net.hold_b = false;
    net.pass(secs(2));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, server, 50).unwrap(), b"hello");
    assert_eq!(
        (net.state(Side::A, client), net.state(Side::B, server)),
        (State::Established, State::Established)
    );
    assert_eq!(net.recv(Side::B, server, 50), Err(Errno::EAGAIN));
    assert_eq!(net.send(Side::A, client, b"more"), Ok(4));
    assert_eq!(net.recv(Side::B, server, 50).unwrap(), b"more");
}

/// Two SYNs with text in a row that were lost: the next connection is plain, until the penalty is over.
/// Shows: rfc7413-s4.1.3-a
#[test]
fn losses_switch_it_off_for_a_time() {
    let (mut net, _) = acquainted();
    for _ in 0..2 {
        let (client, sent) = send_fast(&mut net, b"hello");
        assert_eq!(sent, Ok(5));
        net.lose_syn();
        net.pass(secs(2));
        net.a.close(net.now, client).unwrap();
        net.run();
    }
    assert_eq!(net.a.stats().tcp_fastopen_blackhole, 1);
    net.log.clear();
    let (_, sent) = send_fast(&mut net, b"hello");
    assert_eq!(sent, Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.syns(), [(None, 0)]);
    net.pass(secs(239));
    net.log.clear();
    let (_, sent) = send_fast(&mut net, b"hello");
    assert_eq!(sent, Ok(5), "tried again");
    net.run();
    assert!(matches!(net.syns()[..], [(Some(_), 5)]));
}

/// Shows: rfc7413-s4.2.2-a
#[test]
fn connect_waits_for_the_first_data() {
    let (mut net, listener) = acquainted();
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::FastOpenConnect(true));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    net.run();
    assert!(net.syns().is_empty());
    assert!(net.a.poll(client).contains(crate::socket::Ready::OUT));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EISCONN));
    assert_eq!(net.recv(Side::A, client, 5), Err(Errno::EAGAIN));
    assert_eq!(net.send(Side::A, client, b"hello"), Ok(5));
    assert!(matches!(net.syns()[..], [(Some(_), 5)]));
    let (server, _) = net.b.accept(net.now, listener).unwrap();
    assert_eq!(net.recv(Side::B, server, 50).unwrap(), b"hello");
    assert_eq!(net.state(Side::A, client), State::Established);
    // Without a cookie the SYN asks for one, and connect is what it always is.
    let (mut net, listener) = fast();
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::FastOpenConnect(true));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EINPROGRESS));
    net.run();
    assert_eq!(net.syns(), [(Some(FastOpen::REQUEST), 0)]);
    assert_eq!(net.client_fail(client), 1);
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    assert!(net.b.accept(net.now, listener).is_ok());
    // A socket that never sends can be closed.
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::FastOpenConnect(true));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
    net.a.close(net.now, client).unwrap();
    net.log.clear();
    net.pass(secs(10));
    assert!(net.syns().is_empty());
}

/// A call that waits sends all: with a cookie from the SYN on, without one after the handshake.
/// Shows: rfc7413-s4.2.2-a
#[test]
fn blocking_sendto_sends_all() {
    let (mut net, listener) = fast();
    for with_cookie in [false, true] {
        let client = net.socket(Side::A);
        let data = [7; 4_000];
        let mut op = SendOp::to(client, at(B, PORT), FAST);
        assert!(matches!(op.poll(&mut net.a, net.now, &data), OpPoll::Wait { .. }));
        net.run();
        assert_eq!(op.poll(&mut net.a, net.now, &data), OpPoll::Ready(Ok(4_000)));
        net.run();
        let (server, _) = net.b.accept(net.now, listener).unwrap();
        assert_eq!(net.recv(Side::B, server, 5_000).unwrap(), data);
        let (_, len) = net.syns()[0];
        assert_eq!(len > 0, with_cookie);
        net.log.clear();
    }
    let client = net.socket(Side::A);
    let mut op = SendOp::to(client, at(B, PORT), FAST | MsgFlags::DONTWAIT);
    assert_eq!(op.poll(&mut net.a, net.now, &[7; 4_000]), OpPoll::Ready(Ok(1_420)));
}

/// The errors of MSG_FASTOPEN are Linux's.
#[test]
fn errors_of_sending_fast() {
    let (mut net, listener) = acquainted();
    let to = Some(at(B, PORT));
    let now = net.now;
    let fresh = net.socket(Side::A);
    assert_eq!(net.a.sendto(now, fresh, &[b"x"], FAST, None), Err(Errno::EINVAL));
    let (client, _) = send_fast(&mut net, b"x");
    assert_eq!(net.a.sendto(now, client, &[b"x"], FAST, to), Err(Errno::EALREADY));
    net.run();
    assert_eq!(net.a.sendto(now, client, &[b"x"], FAST, to), Err(Errno::EISCONN));
    assert_eq!(net.b.sendto(now, listener, &[b"x"], FAST, to), Err(Errno::EISCONN));
    assert_eq!(net.a.sendto(now, client, &[b"x", b"yz"], NONE, to), Ok(3));
    net.a.set_config(Config { fastopen: FastOpenBits::SERVER, ..Config::default() });
    assert_eq!(net.a.sendto(now, fresh, &[b"x"], FAST, to), Err(Errno::EOPNOTSUPP));
    assert_eq!(net.a.setsockopt(now, fresh, &SockOpt::FastOpenConnect(true)), Err(Errno::EOPNOTSUPP));
}

/// The options as bytes.
#[test]
fn options_of_fast_open_and_pacing() {
    let (mut net, _) = fast();
    let (now, id) = (net.now, net.socket(Side::A));
    let key: Vec<u8> = (0..32).collect();
    for len in [0, 15, 17, 31, 33] {
        let long = vec![1; len];
        assert_eq!(net.a.setsockopt_raw(now, id, 6, 33, &long), Err(Errno::EINVAL), "{len}");
    }
    let mut out = [0; 40];
    assert_eq!(net.a.getsockopt_raw(now, id, 6, 33, &mut out), Ok(16), "the stack's");
    for len in [16, 32] {
        net.a.setsockopt_raw(now, id, 6, 33, &key[..len]).unwrap();
        assert_eq!(net.a.getsockopt_raw(now, id, 6, 33, &mut out), Ok(len));
        assert_eq!(out[..len], key[..len]);
    }
    assert_eq!(net.a.setsockopt_raw(now, id, 6, 30, &2_i32.to_ne_bytes()), Err(Errno::EINVAL));
    assert_eq!(net.a.getsockopt_raw(now, id, 1, 47, &mut out), Ok(8));
    assert_eq!(out[..8], u64::MAX.to_ne_bytes());
    net.a.setsockopt_raw(now, id, 1, 47, &125_000_u32.to_ne_bytes()).unwrap();
    assert_eq!(net.a.getsockopt(now, id, SockOptName::MaxPacingRate), Ok(SockOpt::MaxPacingRate(125_000)));
    net.a.setsockopt_raw(now, id, 0, 13, &1_i32.to_ne_bytes()).unwrap();
    assert_eq!(net.a.getsockopt(now, id, SockOptName::RecvTos), Ok(SockOpt::RecvTos(true)));
    assert_eq!(net.a.getsockopt_raw(now, id, 6, 28, &mut out), Ok(0), "no SYN was saved");
}
