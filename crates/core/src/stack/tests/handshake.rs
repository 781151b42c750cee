//! The passive side of the handshake, segment by segment.

use super::harness::{A, B, Net, Seg, addr};
use crate::config::{AcceptFilter, Config, Options, Profile};
use crate::errno::Errno;
use crate::stack::key_of;
use crate::tcp::{SeqNum, State};
use crate::time::Duration;
use crate::wire::tcp::Flags;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

/// SYN, SYN-ACK, ACK with the numbers of RFC 9293 figure 6, over IPv4 and IPv6.
/// Shows: rfc9293-s3.5-a, rfc9293-MUST-67
#[test]
fn three_ways() {
    for (from, mss) in [(addr("10.0.0.2:4000"), 1_460), (addr("[fd00::2]:4000"), 1_440)] {
        let mut net = Net::new();
        let listener = net.listen(80, 8);
        net.inject(&Seg::syn(100).from(from).to(80).mss(1_460));
        let answer = net.one();
        assert_eq!((answer.hdr.flags, answer.hdr.ack), (Flags::SYN | Flags::ACK, SeqNum(101)));
        assert_eq!(answer.hdr.options.mss, Some(mss));
        assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
        net.inject(&Seg::ack(101, answer.hdr.seq.0 + 1).from(from).to(80));
        let child = net.stack.accept_socket(listener).unwrap();
        assert_eq!(net.state(child), State::Established);
        assert_eq!(net.stack.connection(child).unwrap().tuple().remote, from);
        net.nothing();
    }
}

/// Options are agreed only if both offer them, and the SYN-ACK echoes the SYN's timestamp.
/// Shows: rfc7323-s2.2-a, rfc7323-s3.2-a, rfc7323-s3.2-d, rfc7323-s2.3-a
#[test]
fn the_answer_offers_what_was_offered() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg::syn(100));
    let plain = net.one().hdr.options;
    assert_eq!((plain.window_scale, plain.sack_permitted, plain.timestamps), (None, false, None));
    net.inject(&Seg::syn(100).from(addr("10.0.0.2:4001")).scale(15).sack().ts(77, 0));
    let full = net.one().hdr.options;
    assert!(full.window_scale.is_some() && full.sack_permitted);
    assert_eq!(full.timestamps.unwrap().ecr, 77);
    let rows: Vec<_> = net.stack.half_open.rows().map(|(e, _)| e.half_open().window_scale).collect();
    assert!(rows.contains(&Some((14, full.window_scale.unwrap()))));
}

/// Shows: rfc9293-s3.10.7.2-a
#[test]
fn listen_answers_each_segment_as_it_must() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg::new(Flags::RST, 5, 0));
    net.inject(&Seg::new(Flags::RST | Flags::ACK, 5, 9));
    net.inject(&Seg::new(Flags::RST | Flags::SYN, 5, 0));
    net.inject(&Seg::new(Flags::FIN, 5, 0));
    net.inject(&Seg::new(Flags::empty(), 5, 0).data(b"x"));
    net.nothing();
    for flags in [Flags::ACK, Flags::SYN | Flags::ACK, Flags::FIN | Flags::ACK] {
        net.inject(&Seg::new(flags, 5, 9));
        let rst = net.one();
        assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(9)));
    }
    assert_eq!(net.stack.population().half_open, 0);
    net.inject(&Seg::syn(5));
    assert_eq!(net.one().hdr.flags, Flags::SYN | Flags::ACK);
}

/// Text on a SYN is not acknowledged and not handed out before the handshake is complete; sent again with
/// the last ACK it is. A FIN there is taken too.
/// Shows: rfc9293-s3.10.7.2-b
#[test]
fn text_on_the_syn_waits() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.inject(&Seg::syn(100).data(b"early"));
    let answer = net.one();
    assert_eq!(answer.hdr.ack, SeqNum(101));
    assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
    let next = answer.hdr.seq.0 + 1;
    net.inject(&Seg::new(Flags::ACK | Flags::FIN, 101, next).data(b"early"));
    let child = net.stack.accept_socket(listener).unwrap();
    assert_eq!(net.stack.connection(child).unwrap().readable(), 5);
    assert_eq!(net.state(child), State::CloseWait);
    let mut acks = Vec::new();
    // The ACK of a first FIN is a delayed one.
    net.advance_with(net.now + Duration::from_millis(40), |_, got| acks.push(got.hdr.ack));
    assert_eq!(acks, [SeqNum(107)]);
}

/// An old SYN is answered, its real sender resets that, and the new SYN gets through.
/// Shows: rfc9293-s3.5-b
#[test]
fn an_old_duplicate_syn_does_no_harm() {
    let mut net = Net::new();
    net.listen(80, 8);
    net.inject(&Seg::syn(90));
    assert_eq!(net.one().hdr.ack, SeqNum(91));
    net.inject(&Seg::new(Flags::RST, 91, 0));
    assert_eq!(net.stack.population().half_open, 0);
    net.inject(&Seg::syn(100));
    assert_eq!(net.one().hdr.ack, SeqNum(101));
}

/// SYN, SYN-ACK, RST leaves no slot taken, a thousand times over; one SYN without its ACK disables nothing.
/// Shows: rfc9293-MUST-11
#[test]
fn neither_silence_nor_rst_disables_a_listener() {
    let mut net = Net::new();
    let listener = net.listen(80, 1);
    for port in 1_000..2_000 {
        let from = SocketAddr::new(B, port);
        net.inject(&Seg::syn(90).from(from));
        net.take();
        net.inject(&Seg::new(Flags::RST, 91, 0).from(from));
    }
    assert_eq!(net.stack.listener(listener).unwrap().incqlen, 0);
    net.inject(&Seg::syn(90).from(addr("10.0.0.3:1")));
    net.take();
    net.connect_peer(addr("10.0.0.2:9"), 80);
    assert!(net.stack.accept_socket(listener).is_ok());
}

/// Shows: rfc9293-s3.10.7.4-d
#[test]
fn a_wrong_ack_is_reset() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.inject(&Seg::syn(100));
    let iss = net.one().hdr.seq.0;
    for wrong in [iss, iss.wrapping_add(2)] {
        net.inject(&Seg::ack(101, wrong));
        let rst = net.one();
        assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, SeqNum(wrong)));
        assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
    }
    net.inject(&Seg::ack(101, iss + 1));
    assert!(net.stack.accept_socket(listener).is_ok());
}

/// In SYN-RECEIVED: an exact RST frees the entry, one in the window or another SYN draws a challenge ACK,
/// one outside is dropped.
/// Shows: rfc5961-s3.2-a, rfc5961-s3.2-b, rfc5961-s4.2-a
#[test]
fn rst_and_syn_in_syn_received() {
    for profile in [Profile::Rfc, Profile::FreeBsd] {
        rst_and_syn_are_challenged(profile);
    }
}

fn rst_and_syn_are_challenged(profile: Profile) {
    let mut net = Net::with_config(Config::new(profile));
    net.listen(80, 8);
    net.inject(&Seg::syn(100));
    let iss = net.one().hdr.seq;
    net.inject(&Seg::new(Flags::RST, 100, 0));
    net.nothing();
    for (seg, after) in [(Seg::new(Flags::RST, 150, 0), 1), (Seg::syn(5_000_000), 1), (Seg::syn(300), 1)] {
        net.advance(Duration::from_millis(501 - 500 * (1 - after)));
        net.inject(&seg);
        let got = net.take();
        let ack = got.last().unwrap();
        assert_eq!((ack.hdr.flags, ack.hdr.seq, ack.hdr.ack), (Flags::ACK, iss + 1, SeqNum(101)));
    }
    assert_eq!(net.stack.population().half_open, 1);
    net.inject(&Seg::new(Flags::RST, 101, 0));
    assert_eq!(net.stack.population().half_open, 0);
    net.nothing();
}

/// Linux: another SYN in the window ends the handshake with a RST that acknowledges all of it; one outside draws an
/// ACK, and one whose ACK is wrong a RST that changes nothing.
#[test]
fn another_syn_in_syn_received_ends_it_on_linux() {
    let mut net = Net::with_config(Config::new(Profile::Linux));
    net.listen(80, 8);
    net.inject(&Seg::syn(100));
    let iss = net.one().hdr.seq;
    net.advance(Duration::from_millis(501)); // past the limit of such answers
    net.inject(&Seg::syn(5_000_000));
    let ack = net.one();
    assert_eq!((ack.hdr.flags, ack.hdr.seq, ack.hdr.ack), (Flags::ACK, iss + 1, SeqNum(101)));
    net.inject(&Seg::new(Flags::SYN | Flags::ACK, 300, iss.0 + 9));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq), (Flags::RST, iss + 9));
    assert_eq!(net.stack.population().half_open, 1);
    let fails = net.stack.stats().attempt_fails;
    net.inject(&Seg::new(Flags::SYN, 300, 0).data(b"more"));
    let rst = net.one();
    assert_eq!((rst.hdr.flags, rst.hdr.seq, rst.hdr.ack), (Flags::RST | Flags::ACK, SeqNum(0), SeqNum(305)));
    assert_eq!(net.stack.population().half_open, 0);
    assert_eq!(net.stack.stats().attempt_fails, fails + 1);
    net.inject(&Seg::ack(101, iss.0 + 1));
    assert_eq!(net.one().hdr.flags, Flags::RST);
}

/// A duplicate SYN gets the same SYN-ACK; without an answer it is sent at 1, 3, 7, 15, 31 s and given up.
/// Shows: rfc4987-s3.3-a, rfc9293-MUST-22
#[test]
fn the_syn_ack_is_sent_again_a_bounded_number_of_times() {
    let mut net = Net::new();
    net.listen(80, 64);
    net.inject(&Seg::syn(100));
    let first = net.one();
    net.inject(&Seg::syn(100));
    assert_eq!(net.one().hdr.seq, first.hdr.seq);
    let start = net.now;
    let mut times = Vec::new();
    net.advance_with(start + Duration::from_secs(200), |at, got| {
        assert_eq!((got.hdr.flags, got.hdr.seq), (Flags::SYN | Flags::ACK, first.hdr.seq));
        times.push(at.since(start).as_secs());
    });
    assert_eq!(times, [1, 3, 7, 15, 31]);
    assert_eq!(net.stack.population().half_open, 0);
}

/// A segment with an older timestamp does not complete the handshake.
/// Shows: rfc7323-s5.3-a
#[test]
fn paws_holds_in_syn_received() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.inject(&Seg::syn(100).ts(1_000, 0));
    let answer = net.one();
    let (next, ecr) = (answer.hdr.seq.0 + 1, answer.hdr.options.timestamps.unwrap().val);
    net.inject(&Seg::ack(101, next).ts(999, ecr));
    assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
    assert_eq!(net.one().hdr.flags, Flags::ACK);
    net.inject(&Seg::ack(101, next).ts(1_000, ecr));
    assert!(net.stack.accept_socket(listener).is_ok());
}

/// TCP_DEFER_ACCEPT: a bare ACK is not enough; data is, and so is patience.
#[test]
fn acceptance_can_be_deferred() {
    let mut net = Net::new();
    let listener = net.listen(80, 8);
    net.stack.replace_options(
        net.now,
        key_of(listener),
        Arc::new(Options { defer_accept: 3, ..Options::default() }),
    );
    let next = net.connect_peer(addr("10.0.0.2:1"), 80);
    assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
    net.inject(&Seg::ack(1_001, next).from(addr("10.0.0.2:1")).data(b"GET"));
    assert!(net.stack.accept_socket(listener).is_ok());
    net.take();
    let next = net.connect_peer(addr("10.0.0.2:2"), 80);
    // After 1 + 2 s the SYN-ACK is sent again, and the next ACK is taken.
    net.advance(Duration::from_secs(4));
    net.inject(&Seg::ack(1_001, next).from(addr("10.0.0.2:2")));
    assert!(net.stack.accept_socket(listener).is_ok());
}

/// Accept filters: nothing is handed out before there is data, or a whole request.
#[test]
fn accept_filters_hold_connections_back() {
    /// What arrives, and whether the connection is handed out then.
    type Steps = &'static [(&'static [u8], bool)];
    let cases: [(AcceptFilter, Steps); 4] = [
        (AcceptFilter::Data, &[(b"x", true)]),
        (AcceptFilter::Http, &[(b"GET / HTTP/1.1\r\n", false), (b"Host: a\r\n\r\n", true)]),
        (AcceptFilter::Http, &[(b"GE", false), (b"X", true)]),
        (AcceptFilter::Http, &[(b"SSH-2.0", true)]),
    ];
    for (filter, steps) in cases {
        let mut net = Net::profile(Profile::FreeBsd);
        let listener = net.listen(80, 8);
        let options = Arc::new(Options { accept_filter: filter, ..Options::default() });
        net.stack.replace_options(net.now, key_of(listener), options);
        let next = net.connect_peer(addr("10.0.0.2:1"), 80);
        assert_eq!(net.stack.accept_socket(listener), Err(Errno::EAGAIN));
        assert_eq!(net.stack.listener(listener).unwrap().incqlen, 1);
        let mut seq = 1_001;
        for (data, passes) in steps {
            net.inject(&Seg::ack(seq, next).from(addr("10.0.0.2:1")).data(data));
            seq += data.len() as u32;
            assert_eq!(net.stack.accept_socket(listener).is_ok(), *passes, "{filter:?} {data:?}");
        }
        assert_eq!(net.stack.listener(listener).unwrap().incqlen, 0);
    }
}

/// Connected to itself, through a simultaneous open inside the stack.
/// Shows: posix-connect-h, rfc9293-MUST-10
#[test]
fn a_socket_can_connect_to_itself() {
    let mut net = Net::new();
    let id = net.socket();
    net.stack.bind_socket(id, SocketAddr::new(A, 7_000)).unwrap();
    net.stack.connect_socket(net.now, id, SocketAddr::new(A, 7_000)).unwrap();
    net.nothing();
    assert_eq!(net.state(id), State::Established);
    net.stack.operate(net.now, id, |conn, cx| (conn.write(cx, b"echo"), Default::default())).unwrap();
    net.nothing();
    let mut out = [0; 8];
    let n = net.stack.operate(net.now, id, |conn, cx| (conn.read(cx, &mut out), Default::default())).unwrap();
    assert_eq!(&out[..n], b"echo");
    net.stack.close_socket(net.now, id).unwrap();
    net.nothing();
    net.advance(Duration::from_secs(61));
    assert_eq!(net.stack.population(), Default::default());
}

/// A server's answer tells how the SYN arrived; without accurate ECN it is RFC 3168's, or none.
/// Shows: rfc9768-s3.1.1-a, rfc9768-s3.1.2-a
#[test]
fn accurate_ecn_is_answered_by_the_marks_of_the_syn() {
    use crate::config::Ecn;
    let all = Flags::AE | Flags::CWR | Flags::ECE;
    let answer = |ecn: Ecn, flags: Flags, tos: u8| {
        let mut net = Net::with_config(crate::Config { ecn, ..crate::Config::default() });
        net.listen(80, 8);
        let mut seg = Seg::new(Flags::SYN | flags, 5, 0);
        seg.tos = tos;
        net.inject(&seg);
        net.one().hdr.flags & all
    };
    for ecn in [Ecn::Accurate, Ecn::AcceptAccurate, Ecn::RequestAcceptAccurate] {
        let marks = [Flags::CWR, Flags::CWR | Flags::ECE, Flags::AE, Flags::AE | Flags::CWR];
        for (tos, want) in (0..).zip(marks) {
            assert_eq!(answer(ecn, all, tos), want);
            assert_eq!(answer(ecn, Flags::AE, tos), want, "not defined yet: as if it were all three");
        }
        assert_eq!(answer(ecn, Flags::CWR | Flags::ECE, 0), Flags::ECE);
        assert_eq!(answer(ecn, Flags::empty(), 0), Flags::empty());
    }
    assert_eq!(answer(Ecn::Accept, all, 0), Flags::empty());
    assert_eq!(answer(Ecn::Off, Flags::CWR | Flags::ECE, 0), Flags::empty());
}

/// The two kinds of request do not mix in one handshake.
/// Shows: rfc9768-s3.1.5-a, rfc9768-s3.1.5-b
#[test]
fn a_mixture_of_ecn_requests_is_reset() {
    use crate::config::Ecn;
    let all = Flags::AE | Flags::CWR | Flags::ECE;
    let classic = Flags::CWR | Flags::ECE;
    for (first, second) in [(all, classic), (classic, all)] {
        let mut net = Net::with_config(crate::Config { ecn: Ecn::Accurate, ..crate::Config::default() });
        net.listen(80, 8);
        net.inject(&Seg::new(Flags::SYN | first, 5, 0));
        net.take();
        net.inject(&Seg::new(Flags::SYN | first, 5, 0));
        assert!(net.one().hdr.flags.contains(Flags::SYN));
        net.now += Duration::from_secs(1);
        net.inject(&Seg::new(Flags::SYN | second, 5, 0));
        let rst = net.one();
        assert_eq!((rst.hdr.flags, rst.hdr.ack), (Flags::RST | Flags::ACK, SeqNum(6)));
        assert_eq!(net.stack.population().half_open, 0);
    }
    // A SYN that asks for nothing is answered as before, and no marks are sent.
    let mut net = Net::with_config(crate::Config { ecn: Ecn::Accurate, ..crate::Config::default() });
    let listener = net.listen(80, 8);
    net.inject(&Seg::new(Flags::SYN | all, 5, 0));
    let next = net.one().hdr.seq.0 + 1;
    net.inject(&Seg::new(Flags::SYN, 5, 0));
    assert_eq!(net.one().hdr.flags & all, Flags::CWR);
    net.inject(&Seg::new(Flags::ACK | Flags::CWR, 6, next));
    let child = net.stack.accept_socket(listener).unwrap();
    net.stack.operate(net.now, child, |c, cx| (c.write(cx, b"data"), Default::default())).unwrap();
    let data = net.one();
    assert_eq!((data.ip.traffic_class & 3, data.hdr.flags & all), (0, Flags::AE | Flags::ECE));
}

/// SYNs that asked for accurate ECN got no answer, a plain one did: the next connection does not ask, for a
/// time.
/// Shows: rfc9768-s3.1.4-a
#[test]
fn asking_in_vain_is_remembered() {
    use crate::config::Ecn;
    let all = Flags::AE | Flags::CWR | Flags::ECE;
    let mut net = Net::with_config(crate::Config { ecn: Ecn::Accurate, ..crate::Config::default() });
    let syn = |net: &mut Net| {
        let id = net.socket();
        net.stack.connect_socket(net.now, id, SocketAddr::new(B, 90)).unwrap();
        net.one()
    };
    assert_eq!(syn(&mut net).hdr.flags & all, all);
    let mut last = None;
    net.advance_with(net.now + Duration::from_secs(4), |_, got| last = Some(got));
    let last = last.expect("SYNs sent again");
    assert_eq!(last.hdr.flags, Flags::SYN);
    let answer = Seg::new(Flags::SYN | Flags::ACK, 5, last.hdr.seq.0 + 1);
    net.inject(&answer.from(last.dst()).at(last.src()));
    net.take();
    assert_eq!(syn(&mut net).hdr.flags, Flags::SYN);
    net.advance(Duration::from_secs(600));
    assert_eq!(syn(&mut net).hdr.flags & all, all);
}
