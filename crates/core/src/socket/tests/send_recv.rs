//! `send`, `recv` and their forms.

use bytes::Bytes;

use super::*;
use crate::socket::{How, Ioctl, Ready, RecvMsg};

/// Shows: posix-recv-a
#[test]
fn receiving_knows_no_segment_borders() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::NoDelay(true));
    for fill in [b'a', b'b', b'c'] {
        assert_eq!(net.send(Side::A, client, &[fill; 100]), Ok(100));
    }
    let first = net.recv(Side::B, server, 250).unwrap();
    assert_eq!(first, [[b'a'; 100].as_slice(), &[b'b'; 100], &[b'c'; 50]].concat());
    assert_eq!(net.recv(Side::B, server, 250).unwrap(), [b'c'; 50]);
}

/// Shows: posix-recv-b, rfc9293-MUST-12, posix-recv-f
#[test]
fn the_end_of_the_stream_is_0_again_and_again() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, b"0123456789").unwrap();
    net.a.close(net.now, client).unwrap();
    net.run();
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"0123456789");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"");
    assert!(net.b.recv_bytes(net.now, server, 99, NONE).unwrap().is_empty());
}

/// Shows: posix-recv-c
#[test]
fn nothing_to_read_is_eagain() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::EAGAIN));
    assert_eq!(net.recv_with(Side::A, client, 1, MsgFlags::DONTWAIT), Err(Errno::EAGAIN));
    assert_eq!(net.recv(Side::A, client, 0), Err(Errno::EAGAIN));
    assert_eq!(net.a.recv_bytes(net.now, client, 1, NONE).err(), Some(Errno::EAGAIN));
}

/// Shows: posix-recv-d, posix-send-b
#[test]
fn without_a_connection_there_is_nothing_to_send_to_or_receive_from() {
    for (profile, error) in [(Profile::Linux, Errno::EPIPE), (Profile::Rfc, Errno::ENOTCONN)] {
        let mut net = Net::of_profile(profile);
        let id = net.socket(Side::A);
        assert_eq!(net.send(Side::A, id, b"x"), Err(error));
        assert_eq!(net.recv(Side::A, id, 1), Err(Errno::ENOTCONN));
        let listener = net.listen();
        assert_eq!(net.send(Side::B, listener, b"x"), Err(error));
        assert_eq!(net.recv(Side::B, listener, 1), Err(Errno::ENOTCONN));
    }
}

/// Shows: posix-recv-d
#[test]
fn a_peer_that_fell_silent_is_etimedout_once() {
    let mut net = Net::new();
    let (client, _) = net.pair();
    net.set(Side::A, client, SockOpt::UserTimeout(secs(10)));
    net.lose_a = true;
    net.send(Side::A, client, b"anybody?").unwrap();
    net.pass(secs(60));
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::ETIMEDOUT));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
}

/// Shows: posix-send-a
#[test]
fn a_full_buffer_takes_a_part_then_nothing_then_more_when_read() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(64_000));
    net.set(Side::B, server, SockOpt::RcvBuf(20_000));
    let data = vec![7; 1_000_000];
    let mut queued = 0;
    loop {
        match net.send(Side::A, client, &data[queued..]) {
            Ok(n) => {
                assert!(n > 0 && n <= 64_000);
                queued += n;
            }
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                break;
            }
        }
    }
    assert!((64_000..1_000_000).contains(&queued), "{queued}");
    let mut received = 0;
    while received < queued {
        match net.recv(Side::B, server, 100_000) {
            Ok(some) => received += some.len(),
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                net.pass(millis(500));
            }
        }
    }
    assert_eq!(received, queued);
    assert_eq!(net.send(Side::A, client, &data[queued..]), Ok(64_000));
}

/// Shows: posix-send-c, posix-send-d, rfc9293-MUST-12
#[test]
fn a_reset_is_told_once_then_0_and_epipe() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.reset_by_b(server);
    assert_eq!(net.recv(Side::A, client, 1), Err(Errno::ECONNRESET));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
    let (client, server) = net.pair();
    net.reset_by_b(server);
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::ECONNRESET));
    assert_eq!(net.send(Side::A, client, b"x"), Err(Errno::EPIPE));
    assert_eq!(net.recv(Side::A, client, 1).unwrap(), b"");
}

/// Shows: posix-recv-f
#[test]
fn data_before_a_reset_is_still_read_and_the_error_follows() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::B, server, b"last words").unwrap();
    net.reset_by_b(server);
    assert_eq!(net.recv(Side::A, client, 99).unwrap(), b"last words");
    assert_eq!(net.recv(Side::A, client, 99), Err(Errno::ECONNRESET));
    assert_eq!(net.recv(Side::A, client, 99).unwrap(), b"");
}

/// Shows: posix-send-e
#[test]
fn lengths_of_zero_and_flags() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let unknown = MsgFlags::from_bits_retain(0x0200_0000);
    net.log.clear();
    assert_eq!(net.send(Side::A, client, b""), Ok(0));
    assert!(net.log.is_empty());
    assert_eq!(net.a.send(net.now, client, b"x", unknown), Err(Errno::EOPNOTSUPP));
    assert_eq!(net.a.send(net.now, client, b"x", MsgFlags::FASTOPEN), Err(Errno::EISCONN));
    assert_eq!(net.recv_with(Side::A, client, 1, unknown), Err(Errno::EOPNOTSUPP));
    assert_eq!(net.recv_with(Side::A, client, 1, MsgFlags::ERRQUEUE), Err(Errno::EAGAIN));
    let harmless = MsgFlags::NOSIGNAL | MsgFlags::DONTROUTE | MsgFlags::EOR | MsgFlags::CONFIRM;
    assert_eq!(net.a.send(net.now, client, b"x", harmless), Ok(1));
    net.run();
    assert_eq!(net.recv(Side::B, server, 0).unwrap(), b"");
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"x");
}

/// Shows: posix-recv-e
#[test]
fn peeking_leaves_the_data() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, b"look at me").unwrap();
    for _ in 0..2 {
        assert_eq!(net.recv_with(Side::B, server, 4, MsgFlags::PEEK).unwrap(), b"look");
    }
    let mut parts = ([0; 5], [0; 9]);
    let peeked = net.b.recvmsg(net.now, server, &mut [&mut parts.0, &mut parts.1], MsgFlags::PEEK).unwrap();
    assert_eq!((peeked.len, &parts.0, &parts.1[..5]), (10, b"look ", b"at me".as_slice()));
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"look at me");
    assert_eq!(net.recv_with(Side::B, server, 4, MsgFlags::PEEK), Err(Errno::EAGAIN));
}

/// Shows: posix-recv-e
#[test]
fn msg_trunc_discards_as_linux_does() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, b"skip this, keep that").unwrap();
    let mut out = *b"??????????";
    assert_eq!(net.b.recv(net.now, server, &mut out, MsgFlags::TRUNC | MsgFlags::PEEK), Ok(10));
    assert_eq!(net.b.recv(net.now, server, &mut out, MsgFlags::TRUNC), Ok(10));
    assert_eq!(&out, b"??????????");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b" keep that");
}

/// Shows: posix-recv-a
#[test]
fn slices_are_gathered_and_scattered() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    assert_eq!(net.a.sendmsg(net.now, client, &[b"one ", b"", b"two ", b"three"], NONE), Ok(13));
    net.run();
    let (mut a, mut b, mut c) = ([0; 3], [0; 7], [0; 9]);
    let msg = net.b.recvmsg(net.now, server, &mut [&mut a, &mut [], &mut b, &mut c], NONE).unwrap();
    assert_eq!(msg, RecvMsg { len: 13, flags: NONE, inq: None });
    assert_eq!((&a, &b, &c[..3]), (b"one", b" two th", b"ree".as_slice()));
}

/// Shows: posix-recv-a
#[test]
fn bytes_pass_by_reference() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    let data = Bytes::from(vec![9; 30_000]);
    let mut sent = net.a.send_bytes(net.now, client, data.clone(), NONE).unwrap();
    let mut got = Vec::new();
    while got.len() < data.len() {
        net.run();
        match net.b.recv_bytes(net.now, server, 7_000, NONE) {
            Ok(some) => {
                assert!(some.len() <= 7_000);
                some.slices().iter().for_each(|slice| got.extend_from_slice(slice));
            }
            Err(error) => {
                assert_eq!(error, Errno::EAGAIN);
                net.pass(millis(100));
            }
        }
        if sent < data.len() {
            sent += net.a.send_bytes(net.now, client, data.slice(sent..), NONE).unwrap_or(0);
        }
    }
    assert_eq!(got, data);
}

/// Shows: rfc9293-MAY-16, rfc9293-MUST-60
#[test]
fn msg_more_holds_a_short_segment_back() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.a.send(net.now, client, &[1; 100], MsgFlags::MORE).unwrap();
    net.run();
    assert_eq!(net.recv(Side::B, server, 999), Err(Errno::EAGAIN));
    net.log.clear();
    net.send(Side::A, client, &[2; 100]).unwrap();
    assert_eq!(net.log.iter().find(|(side, _, _)| *side == Side::A).map(|(_, _, len)| *len), Some(200));
    assert_eq!(net.recv(Side::B, server, 999).unwrap().len(), 200);
}

/// Shows: posix-poll-a
#[test]
fn ioctl_counts_both_queues() {
    let mut net = Net::new();
    let listener = net.listen();
    let (client, server) = net.join(listener);
    assert_eq!(net.b.ioctl(listener, Ioctl::Inq), Err(Errno::EINVAL));
    net.hold_b = true;
    net.send(Side::A, client, &[0; 300]).unwrap();
    assert_eq!(net.b.ioctl(server, Ioctl::Inq), Ok(300));
    assert_eq!(net.a.ioctl(client, Ioctl::OutQ), Ok(300));
    assert_eq!(net.a.ioctl(client, Ioctl::OutQNotSent), Ok(0));
    net.send(Side::A, client, &[0; 50]).unwrap(); // Nagle holds it
    assert_eq!(net.a.ioctl(client, Ioctl::OutQ), Ok(350));
    assert_eq!(net.a.ioctl(client, Ioctl::OutQNotSent), Ok(50));
    net.pass(millis(50));
    net.release();
    net.pass(millis(500));
    assert_eq!(net.a.ioctl(client, Ioctl::OutQ), Ok(0));
    let fresh = net.socket(Side::A);
    assert_eq!(net.a.ioctl(fresh, Ioctl::Inq), Ok(0));
    assert_eq!(Ioctl::from_number(0x1234), None);
}

/// Shows: posix-sockopt-c
#[test]
fn tcp_inq_tells_what_is_left() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::B, server, SockOpt::Inq(true));
    net.send(Side::A, client, &[5; 100]).unwrap();
    let mut out = [0; 30];
    assert_eq!(net.b.recvmsg(net.now, server, &mut [&mut out], NONE).unwrap().inq, Some(70));
}

/// Shows: posix-shutdown-b
#[test]
fn after_shut_rd_what_is_there_is_read_then_0() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.send(Side::A, client, b"early").unwrap();
    net.log.clear();
    net.b.shutdown(net.now, server, How::Read).unwrap();
    net.run();
    assert!(net.log.is_empty(), "no segment");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"early");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"");
    for _ in 0..100 {
        net.send(Side::A, client, &[0; 10_000]).unwrap();
        net.pass(millis(50));
    }
    assert_eq!(net.a.ioctl(client, Ioctl::OutQ), Ok(0), "the peer does not stall");
    assert_eq!(net.send(Side::B, server, b"this way still works"), Ok(20));
}

/// Shows: rfc9293-MUST-47, rfc9293-SHLD-20
#[test]
fn soft_errors_are_told_to_who_asks_and_the_connection_goes_on() {
    use crate::wire::icmp;
    use crate::wire::ip::IpTemplate;

    let mut net = Net::new();
    let listener = net.listen();
    for recverr in [false, true] {
        let (client, server) = net.join(listener);
        net.set(Side::A, client, SockOpt::RecvErr(recverr));
        net.a.set_interest(client, Ready::ERR);
        net.events(Side::A);
        net.a.send(net.now, client, b"is anybody there", NONE).unwrap();
        let mut lost = Vec::new();
        net.a.transmit(net.now, &mut lost, usize::MAX);
        let router = IpTemplate::new(B, A);
        let unreachable = icmp::error(&router, icmp::Error::Unreachable { code: 1 }, &lost[0].1).unwrap();
        net.a.receive(net.now, net.if_a, unreachable);
        assert_eq!(net.a.soft_error(client), Ok(Some(Errno::EHOSTUNREACH)));
        assert_eq!(net.events(Side::A).len(), usize::from(recverr));
        assert_eq!(net.error(Side::A, client), recverr.then_some(Errno::EHOSTUNREACH));
        assert_eq!(net.state(Side::A, client), State::Established);
        net.pass(secs(5));
        assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"is anybody there");
        assert_eq!(net.a.soft_error(client), Ok(None), "progress clears it");
    }
    let fresh = net.socket(Side::A);
    assert_eq!(net.a.soft_error(fresh), Err(Errno::ENOTCONN));
}

/// Shows: rfc9293-MAY-9
#[test]
fn the_peers_traffic_class_can_be_asked_for() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::Tos(46 << 2));
    net.send(Side::A, client, b"x").unwrap();
    assert_eq!(net.b.received_tos(server).map(|tos| tos & !3), Ok(46 << 2));
    assert_eq!(net.a.received_tos(client).map(|tos| tos & !3), Ok(0));
}
