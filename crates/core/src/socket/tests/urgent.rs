//! Urgent data. New programs do not use it (RFC 6093, SHLD-13); old ones must still work.

use super::*;
use crate::socket::{Ioctl, Ready};

const OOB: MsgFlags = MsgFlags::OOB;

fn urgent(net: &mut Net, side: Side, id: SocketId, data: &[u8]) {
    let now = net.now;
    assert_eq!(net.stack(side).send(now, id, data, OOB), Ok(data.len()));
    net.run();
}

/// Shows: rfc9293-MUST-30, rfc9293-MUST-62, posix-poll-d, rfc6093-s3-a
#[test]
fn the_last_byte_is_urgent_and_taken_out_of_the_stream() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.b.set_interest(server, Ready::PRI);
    net.events(Side::B);
    net.log.clear();
    urgent(&mut net, Side::A, client, b"abc!");
    let (_, hdr, len) = net.log.iter().find(|(_, hdr, _)| hdr.flags.contains(Flags::URG)).unwrap();
    assert_eq!((hdr.urgent, *len), (4, 4), "the octet after the last urgent one");
    assert!(net.b.poll(server).contains(Ready::PRI));
    assert_eq!(net.events(Side::B), [Event::Ready(server, Ready::PRI)]);
    assert_eq!(net.recv_with(Side::B, server, 9, OOB | MsgFlags::PEEK).unwrap(), b"!");
    assert_eq!(net.recv_with(Side::B, server, 9, OOB).unwrap(), b"!");
    assert!(!net.b.poll(server).contains(Ready::PRI));
    net.send(Side::A, client, b"def").unwrap();
    net.pass(secs(1));
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"abc", "reading stops at the mark");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"def");
}

/// Shows: rfc9293-MUST-33
#[test]
fn siocatmark_is_1_exactly_at_the_mark() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    urgent(&mut net, Side::A, client, b"01234!");
    net.send(Side::A, client, b"6789").unwrap();
    net.pass(secs(1));
    let mark = |net: &Net| net.b.ioctl(server, Ioctl::AtMark).unwrap();
    assert_eq!(mark(&net), 0);
    assert_eq!(net.b.ioctl(server, Ioctl::Inq), Ok(5), "up to the mark");
    assert_eq!(net.recv(Side::B, server, 2).unwrap(), b"01");
    assert_eq!(mark(&net), 0);
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"234");
    assert_eq!(mark(&net), 1);
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"6789", "the urgent byte is skipped");
    assert_eq!(mark(&net), 0);
}

/// Shows: rfc6093-s3-a, rfc9293-MUST-33
#[test]
fn in_line_all_bytes_come_in_order_and_reading_stops_once() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::B, server, SockOpt::OobInline(true));
    urgent(&mut net, Side::A, client, b"ab!");
    net.send(Side::A, client, b"cd").unwrap();
    net.pass(secs(1));
    assert_eq!(net.recv_with(Side::B, server, 1, OOB), Err(Errno::EINVAL));
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"ab");
    assert_eq!(net.b.ioctl(server, Ioctl::AtMark), Ok(1));
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"!cd");
    assert!(!net.b.poll(server).contains(Ready::PRI));
}

/// Shows: posix-recv-e
#[test]
fn without_urgent_data_msg_oob_is_einval() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    assert_eq!(net.recv_with(Side::B, server, 1, OOB), Err(Errno::EINVAL));
    urgent(&mut net, Side::A, client, b"!");
    assert_eq!(net.recv_with(Side::B, server, 1, OOB).unwrap(), b"!");
    assert_eq!(net.recv_with(Side::B, server, 1, OOB), Err(Errno::EINVAL), "read already");
    let fresh = net.socket(Side::A);
    assert_eq!(net.recv_with(Side::A, fresh, 1, OOB), Err(Errno::EINVAL));
}

/// Shows: rfc9293-MUST-32, rfc6093-s3-a
#[test]
fn a_later_mark_replaces_an_earlier_one_and_its_byte_stays_in_the_stream() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.b.set_interest(server, Ready::PRI);
    urgent(&mut net, Side::A, client, b"a1");
    assert_eq!(net.events(Side::B), [Event::Ready(server, Ready::PRI)]);
    urgent(&mut net, Side::A, client, b"b2");
    net.pass(secs(1));
    assert_eq!(net.events(Side::B), [Event::Ready(server, Ready::PRI)], "told again");
    assert_eq!(net.recv_with(Side::B, server, 1, OOB).unwrap(), b"2");
    assert_eq!(net.recv(Side::B, server, 99).unwrap(), b"a1b");
}

/// Shows: posix-poll-d
#[test]
fn reading_past_the_mark_ends_the_urgency() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    urgent(&mut net, Side::A, client, b"x!");
    net.send(Side::A, client, b"y").unwrap();
    net.pass(secs(1));
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"x");
    assert!(net.b.poll(server).contains(Ready::PRI));
    assert_eq!(net.recv(Side::B, server, 9).unwrap(), b"y");
    assert!(!net.b.poll(server).contains(Ready::PRI));
    assert_eq!(net.recv_with(Side::B, server, 1, OOB), Err(Errno::EINVAL));
}

/// Shows: rfc9293-MUST-30
#[test]
fn recvmsg_marks_the_urgent_byte() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    urgent(&mut net, Side::A, client, b"!");
    let none = net.b.recvmsg(net.now, server, &mut [], OOB | MsgFlags::PEEK).unwrap();
    assert_eq!((none.len, none.flags), (0, OOB | MsgFlags::TRUNC));
    let mut out = [0; 4];
    let msg = net.b.recvmsg(net.now, server, &mut [&mut out], OOB).unwrap();
    assert_eq!((msg.len, msg.flags, out[0]), (1, OOB, b'!'));
}

/// Shows: rfc9293-MUST-31
#[test]
fn the_mark_may_lie_many_segments_ahead() {
    let mut net = Net::new();
    let (client, server) = net.pair();
    net.set(Side::A, client, SockOpt::SndBuf(100_000));
    let mut data: Vec<u8> = (0..60_000_u32).map(|i| i as u8).collect();
    data.push(b'!');
    assert_eq!(net.a.send(net.now, client, &data, OOB), Ok(60_001));
    net.run();
    let first = net.log.iter().find(|(_, hdr, _)| hdr.flags.contains(Flags::URG)).unwrap().1;
    assert_eq!(first.urgent, 60_001);
    let mut got = Vec::new();
    while got.len() < 60_000 {
        assert!(net.b.poll(server).contains(Ready::PRI), "until the octet is read: {}", got.len());
        match net.recv(Side::B, server, 7_000) {
            Ok(some) => got.extend(some),
            Err(error) => assert_eq!(error, Errno::EAGAIN),
        }
        net.pass(millis(50));
    }
    assert_eq!(got, data[..60_000]);
    assert_eq!(net.b.ioctl(server, Ioctl::AtMark), Ok(1));
    assert_eq!(net.recv_with(Side::B, server, 1, OOB).unwrap(), b"!");
    assert!(!net.b.poll(server).contains(Ready::PRI));
}
