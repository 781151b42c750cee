//! Operations that wait: time limits, partial counts, interruption, closing under them.

use super::*;
use crate::socket::op::{AcceptOp, CloseOp, ConnectOp, OpPoll, RecvOp, SendOp};
use crate::socket::{How, Ready};

const OK: OpPoll<()> = OpPoll::Ready(Ok(()));

/// Until when it waits, if it does.
fn deadline<T>(poll: OpPoll<T>) -> Option<Instant> {
    match poll {
        OpPoll::Ready(_) => None,
        OpPoll::Wait { deadline, .. } => Some(deadline),
    }
}

/// Shows: posix-connect-a, posix-accept-b
#[test]
fn connect_and_accept_wait_for_each_other() {
    let mut net = Net::new();
    let listener = net.listen();
    let mut accept = AcceptOp::new(listener, false);
    assert_eq!(deadline(accept.poll(&mut net.b, net.now)), Some(Instant::NEVER));
    let client = net.socket(Side::A);
    let mut connect = ConnectOp::new(client, at(B, PORT), false);
    let waits = OpPoll::Wait { interest: Ready::OUT | Ready::ERR | Ready::HUP, deadline: Instant::NEVER };
    assert_eq!(connect.poll(&mut net.a, net.now), waits);
    assert_eq!(connect.poll(&mut net.a, net.now), waits, "being asked too early does no harm");
    net.run();
    assert_eq!(connect.poll(&mut net.a, net.now), OK);
    let (_, peer) = accept.poll(&mut net.b, net.now).ready().unwrap().unwrap();
    assert_eq!(Ok(peer), net.a.getsockname(client));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EISCONN));
}

/// Shows: posix-connect-b, posix-accept-b
#[test]
fn non_blocking_operations_never_wait() {
    let mut net = Net::new();
    let listener = net.listen();
    let none = AcceptOp::new(listener, true).poll(&mut net.b, net.now);
    assert_eq!(none.ready(), Some(Err(Errno::EAGAIN)));
    let client = net.socket(Side::A);
    let attempt = |net: &mut Net| ConnectOp::new(client, at(B, PORT), true).poll(&mut net.a, net.now).ready();
    assert_eq!(attempt(&mut net), Some(Err(Errno::EINPROGRESS)));
    assert_eq!(attempt(&mut net), Some(Err(Errno::EALREADY)));
    net.run();
    assert_eq!(attempt(&mut net), Some(Ok(())));
    let mut out = [0; 4];
    let recv = RecvOp::new(client, MsgFlags::DONTWAIT).poll(&mut net.a, net.now, &mut out);
    assert_eq!(recv, OpPoll::Ready(Err(Errno::EAGAIN)));
}

/// Shows: posix-connect-d
#[test]
fn a_waiting_connect_is_refused() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let mut connect = ConnectOp::new(client, at(B, PORT), false);
    assert!(connect.poll(&mut net.a, net.now).ready().is_none());
    net.run();
    assert_eq!(connect.poll(&mut net.a, net.now).ready(), Some(Err(Errno::ECONNREFUSED)));
    assert_eq!(net.error(Side::A, client), None, "told once");
}

/// Shows: posix-connect-e
#[test]
fn an_interrupted_connect_goes_on() {
    let mut net = Net::new();
    net.listen();
    let client = net.socket(Side::A);
    let mut connect = ConnectOp::new(client, at(B, PORT), false);
    assert!(connect.poll(&mut net.a, net.now).ready().is_none());
    assert_eq!(connect.interrupt(), Err(Errno::EINTR));
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Err(Errno::EALREADY));
    net.run();
    assert_eq!(net.a.poll(client), Ready::OUT);
    assert_eq!(ConnectOp::new(client, at(B, PORT), false).poll(&mut net.a, net.now), OK);
}

/// Shows: posix-send-f
#[test]
fn so_sndtimeo_ends_a_connect_with_einprogress_and_the_attempt_goes_on() {
    let mut net = Net::new();
    net.listen();
    net.hold_b = true;
    let client = net.socket(Side::A);
    net.set(Side::A, client, SockOpt::SndTimeo(Some(millis(200))));
    let mut connect = ConnectOp::new(client, at(B, PORT), false);
    let end = net.now + millis(200);
    assert_eq!(deadline(connect.poll(&mut net.a, net.now)), Some(end));
    net.pass(millis(199));
    assert_eq!(deadline(connect.poll(&mut net.a, net.now)), Some(end));
    net.pass(millis(1));
    assert_eq!(connect.poll(&mut net.a, net.now).ready(), Some(Err(Errno::EINPROGRESS)));
    net.release();
    assert_eq!(net.a.connect(net.now, client, at(B, PORT)), Ok(()));
}

/// Shows: posix-concurrent-a
#[test]
fn a_connect_that_waits_never_starts_over() {
    let mut net = Net::new();
    let client = net.socket(Side::A);
    let mut connect = ConnectOp::new(client, at(B, PORT), false);
    assert!(connect.poll(&mut net.a, net.now).ready().is_none());
    net.a.shutdown(net.now, client, How::Both).unwrap();
    assert_eq!(connect.poll(&mut net.a, net.now).ready(), Some(Err(Errno::ECONNRESET)));
    assert_eq!(net.a.poll(client), Ready::OUT | Ready::HUP);
    let mut closed = ConnectOp::new(client, at(B, PORT), false);
    assert!(closed.poll(&mut net.a, net.now).ready().is_none());
    net.a.close(net.now, client).unwrap();
    assert_eq!(closed.poll(&mut net.a, net.now).ready(), Some(Err(Errno::EBADF)));
}

/// Shows: posix-send-a
#[test]
fn a_send_waits_until_all_is_queued() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(64_000));
    let data = vec![1; 1_000_000];
    let mut send = SendOp::new(client, NONE);
    let mut got = 0;
    let mut asked = 0;
    let sent = loop {
        asked += 1;
        assert!(asked < 10_000);
        if let Some(result) = send.poll(&mut net.a, net.now, &data).ready() {
            break result;
        }
        net.pass(millis(10));
        while let Ok(some) = net.recv(Side::B, server, 100_000) {
            got += some.len();
        }
    };
    assert_eq!(sent, Ok(1_000_000));
    assert!(got + 64_000 <= 1_000_000 + 64_000 && asked > 1);
    while got < 1_000_000 {
        net.pass(millis(100));
        got += net.recv(Side::B, server, 1_000_000).map_or(0, |some| some.len());
    }
}

/// Shows: posix-send-f, posix-eintr-a
#[test]
fn a_send_that_runs_out_of_time_or_is_interrupted_tells_what_it_queued() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    net.lose_a = true;
    net.set(Side::A, client, SockOpt::SndBuf(10_000));
    net.set(Side::A, client, SockOpt::SndTimeo(Some(millis(200))));
    let data = [0; 30_000];
    let mut first = SendOp::new(client, NONE);
    let end = net.now + millis(200);
    assert_eq!(deadline(first.poll(&mut net.a, net.now, &data)), Some(end));
    net.pass(millis(200));
    assert_eq!(first.poll(&mut net.a, net.now, &data), OpPoll::Ready(Ok(10_000)));
    let mut second = SendOp::new(client, NONE);
    assert!(second.poll(&mut net.a, net.now, &data).ready().is_none());
    net.pass(millis(200));
    assert_eq!(second.poll(&mut net.a, net.now, &data), OpPoll::Ready(Err(Errno::EAGAIN)));
    let mut third = SendOp::new(client, NONE);
    assert!(third.poll(&mut net.a, net.now, &data).ready().is_none());
    assert_eq!(third.interrupt(), Err(Errno::EINTR));
    net.set(Side::A, client, SockOpt::SndBuf(15_000));
    let mut fourth = SendOp::new(client, NONE);
    assert!(fourth.poll(&mut net.a, net.now, &data).ready().is_none());
    assert_eq!(fourth.interrupt(), Ok(5_000));
}

/// Shows: posix-send-a
#[test]
fn a_send_that_meets_an_error_tells_the_count_first() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(10_000));
    net.set(Side::B, server, SockOpt::RcvBuf(5_000));
    let data = [0; 60_000];
    let mut send = SendOp::new(client, NONE);
    assert!(send.poll(&mut net.a, net.now, &data).ready().is_none());
    net.run();
    net.reset_by_b(server);
    let sent = send.poll(&mut net.a, net.now, &data).ready().unwrap().unwrap();
    assert!((10_000..60_000).contains(&sent));
}

/// Shows: posix-recv-c
#[test]
fn so_rcvtimeo_ends_a_receive() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    net.set(Side::A, client, SockOpt::RcvTimeo(Some(millis(50))));
    let (mut recv, mut out) = (RecvOp::new(client, NONE), [0; 9]);
    let end = net.now + millis(50);
    assert_eq!(deadline(recv.poll(&mut net.a, net.now, &mut out)), Some(end));
    net.pass(millis(50));
    assert_eq!(recv.poll(&mut net.a, net.now, &mut out), OpPoll::Ready(Err(Errno::EAGAIN)));
    let listener = net.listen();
    net.set(Side::B, listener, SockOpt::RcvTimeo(Some(millis(50))));
    let mut accept = AcceptOp::new(listener, false);
    assert!(accept.poll(&mut net.b, net.now).ready().is_none());
    net.pass(millis(50));
    assert_eq!(accept.poll(&mut net.b, net.now).ready(), Some(Err(Errno::EAGAIN)));
}

/// Shows: posix-recv-e
#[test]
fn msg_waitall_waits_for_all_of_it_or_the_end() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let mut out = [0; 100];
    let mut recv = RecvOp::new(server, MsgFlags::WAITALL);
    for _ in 0..2 {
        net.send(Side::A, client, &[1; 50]).unwrap();
        net.pass(secs(1));
    }
    assert_eq!(recv.poll(&mut net.b, net.now, &mut out), OpPoll::Ready(Ok(100)));
    let mut recv = RecvOp::new(server, MsgFlags::WAITALL);
    net.send(Side::A, client, &[2; 60]).unwrap();
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    net.a.close(net.now, client).unwrap();
    net.run();
    assert_eq!(recv.poll(&mut net.b, net.now, &mut out), OpPoll::Ready(Ok(60)));
    assert_eq!(out[..60], [2; 60]);
}

/// Shows: posix-recv-e, posix-eintr-a, posix-recv-d
#[test]
fn msg_waitall_ends_short_by_error_signal_or_time() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let mut out = [0; 100];
    net.send(Side::A, client, &[2; 60]).unwrap();
    let mut recv = RecvOp::new(server, MsgFlags::WAITALL);
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    assert_eq!(recv.interrupt(), Ok(60));
    let mut recv = RecvOp::new(server, MsgFlags::WAITALL);
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    assert_eq!(recv.interrupt(), Err(Errno::EINTR));
    net.send(Side::A, client, &[2; 60]).unwrap();
    let mut recv = RecvOp::new(server, MsgFlags::WAITALL);
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    net.a.abort(net.now, client).unwrap();
    net.run();
    assert_eq!(recv.poll(&mut net.b, net.now, &mut out), OpPoll::Ready(Ok(60)));
    assert_eq!(net.recv(Side::B, server, 1), Err(Errno::ECONNRESET), "the error is still to be told");
}

/// Shows: posix-recv-e
#[test]
fn peeking_may_wait_for_all_too() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let mut out = [0; 100];
    net.send(Side::A, client, &[4; 60]).unwrap();
    let mut peek = RecvOp::new(server, MsgFlags::WAITALL | MsgFlags::PEEK);
    assert!(peek.poll(&mut net.b, net.now, &mut out).ready().is_none());
    net.send(Side::A, client, &[5; 60]).unwrap();
    net.pass(secs(1));
    assert_eq!(peek.poll(&mut net.b, net.now, &mut out), OpPoll::Ready(Ok(100)));
    assert_eq!((out[59], out[60]), (4, 5));
    assert_eq!(net.recv(Side::B, server, 999).unwrap().len(), 120);
}

/// Shows: posix-recv-g
#[test]
fn a_receive_waits_for_the_low_water_mark() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::B, server, SockOpt::RcvLowat(10));
    let (mut recv, mut out) = (RecvOp::new(server, NONE), [0; 100]);
    net.send(Side::A, client, b"12345").unwrap();
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    net.send(Side::A, client, b"6789").unwrap();
    net.pass(secs(1));
    assert!(recv.poll(&mut net.b, net.now, &mut out).ready().is_none());
    net.send(Side::A, client, b"0ab").unwrap();
    assert_eq!(recv.poll(&mut net.b, net.now, &mut out), OpPoll::Ready(Ok(12)));
    assert_eq!(&out[..12], b"1234567890ab");
}

/// Shows: posix-concurrent-a
#[test]
fn closing_or_shutting_down_ends_a_receive() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    let mut out = [0; 9];
    let mut recv = RecvOp::new(client, NONE);
    net.a.set_interest(client, Ready::IN | Ready::HUP);
    net.events(Side::A);
    assert!(recv.poll(&mut net.a, net.now, &mut out).ready().is_none());
    net.a.shutdown(net.now, client, How::Read).unwrap();
    assert!(!net.events(Side::A).is_empty());
    assert_eq!(recv.poll(&mut net.a, net.now, &mut out), OpPoll::Ready(Ok(0)));
    let (client, _) = net.pair();
    let mut recv = RecvOp::new(client, NONE);
    assert!(recv.poll(&mut net.a, net.now, &mut out).ready().is_none());
    net.a.close(net.now, client).unwrap();
    assert_eq!(recv.poll(&mut net.a, net.now, &mut out), OpPoll::Ready(Err(Errno::EBADF)));
    assert!(RecvOp::new(client, NONE).poll_bytes(&mut net.a, net.now, 9).ready().unwrap().is_err());
}

/// Shows: posix-recv-c
#[test]
fn bytes_may_be_waited_for() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let mut recv = RecvOp::new(server, NONE);
    assert!(recv.poll_bytes(&mut net.b, net.now, 99).ready().is_none());
    net.send(Side::A, client, b"data").unwrap();
    assert_eq!(recv.poll_bytes(&mut net.b, net.now, 99).ready().unwrap().unwrap().len(), 4);
}

/// Shows: posix-linger-b
#[test]
fn lingering_waits_for_the_acknowledgment() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    net.set(Side::A, client, SockOpt::Linger(Some(secs(2))));
    net.hold_b = true;
    net.send(Side::A, client, b"important").unwrap();
    let mut close = CloseOp::new(client);
    let end = net.now + secs(2);
    let poll = close.poll(&mut net.a, net.now);
    let OpPoll::Wait { interest, deadline } = poll else { panic!("{poll:?}") };
    assert_eq!(deadline, end);
    assert_eq!(net.a.getsockname(client), Err(Errno::EBADF), "the name is dead");
    net.a.set_interest(client, interest);
    assert_eq!(net.events(Side::A), []);
    net.pass(millis(150));
    assert!(close.poll(&mut net.a, net.now).ready().is_none());
    net.pass(millis(150));
    net.release();
    assert_eq!(net.events(Side::A).len(), 1);
    assert_eq!(close.poll(&mut net.a, net.now), OK);
}

/// Shows: posix-linger-b
#[test]
fn lingering_ends_with_its_time() {
    for (profile, result) in [(Profile::Linux, Ok(())), (Profile::FreeBsd, Err(Errno::EAGAIN))] {
        let mut net = Net::of_profile(profile);
        let (client, server) = net.pair();
        net.set(Side::A, client, SockOpt::Linger(Some(secs(2))));
        net.lose_a = true;
        net.send(Side::A, client, b"into the void").unwrap();
        let mut close = CloseOp::new(client);
        assert!(close.poll(&mut net.a, net.now).ready().is_none());
        net.pass(millis(1_999));
        assert!(close.poll(&mut net.a, net.now).ready().is_none());
        net.pass(millis(1));
        assert_eq!(close.poll(&mut net.a, net.now).ready(), Some(result));
        net.lose_a = false;
        net.pass(secs(30));
        assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"into the void", "it goes out all the same");
    }
}

/// Shows: posix-linger-b, posix-close-a
#[test]
fn without_linger_closing_does_not_wait() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.hold_b = true;
    net.send(Side::A, client, b"x").unwrap();
    assert_eq!(CloseOp::new(client).poll(&mut net.a, net.now), OK);
    assert_eq!(CloseOp::new(client).poll(&mut net.a, net.now), OpPoll::Ready(Err(Errno::EBADF)));
    net.set(Side::B, server, SockOpt::Linger(Some(secs(2))));
    net.run();
    net.recv(Side::B, server, 9).unwrap();
    assert!(CloseOp::new(server).poll(&mut net.b, net.now).ready().is_none());
}
