//! Opening (RFC 9293 3.5, 3.10.7.3, 3.10.7.4 in SYN-RECEIVED).

use super::kit::*;
use super::*;

/// SYN-ACKs that acknowledge all, a part and none of the text on the SYN: the connection is open, and what is left goes
/// first.
///
/// Shows: rfc9293-s3.10.7.3-b
#[test]
fn what_the_syn_ack_leaves_of_the_text_on_the_syn_is_sent_again() {
    for taken in [100, 99, 40, 1, 0] {
        let mut h = Host::connecting(plain(), Options::default(), 1_000);
        h.conn.plan_fast_open(FastOpenPlan { option: None, mss: 0 }, false);
        h.write(&pattern(100));
        assert_eq!(brief(&h.one()), (SYN, 1_000, 0, 100));
        h.send(Seg::new(SYN_ACK, 5_000, 1_001 + taken));
        assert_eq!(h.info().state, State::Established);
        let again = h.recv().expect("an ACK or the rest");
        assert_eq!((again.hdr.seq.0, again.hdr.ack.0), (1_001 + taken, 5_001));
        assert_eq!(bytes_of(&again), pattern(100)[taken as usize..]);
        assert!(h.recv().is_none());
        h.send(Seg::new(ACK, 5_001, 1_101));
        assert!(h.wait(secs(5)).is_none(), "all is acknowledged");
    }
    // More than was sent is no acknowledgment (3.10.7.3, first).
    let mut h = Host::connecting(plain(), Options::default(), 1_000);
    h.conn.plan_fast_open(FastOpenPlan { option: None, mss: 0 }, false);
    h.write(&pattern(100));
    h.recv();
    h.send(Seg::new(SYN_ACK, 5_000, 1_102));
    assert_eq!((brief(&h.one()), h.info().state), ((RST, 1_102, 0, 0), State::SynSent));
}

/// Shows: rfc9293-s3.5-a
#[test]
fn three_way_handshake_of_the_active_side() {
    let mut h = Host::connecting(plain(), Options::default(), 1_000);
    assert_eq!(brief(&h.one()), (SYN, 1_000, 0, 0));
    assert_eq!(h.info().state, State::SynSent);
    h.send(Seg::new(SYN_ACK, 5_000, 1_001));
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_001, 0));
    assert_eq!(h.info().state, State::Established);
    assert!(!h.conn.is_passive());
    assert!(h.ready.contains(Ready::OUT));
}

/// Shows: rfc9293-s3.5-a
#[test]
fn three_way_handshake_of_the_passive_side() {
    let mut h = Host::passive(plain(), Options::default(), |_| {});
    assert_eq!(h.info().state, State::SynReceived);
    let outcome = h.call(|c, cx| c.on_segment(cx, Seg::new(ACK, 5_001, 1_001).0));
    assert!(outcome.established);
    assert_eq!(h.info().state, State::Established);
    assert!(h.conn.is_passive());
    h.quiet();
    h.write(b"x");
    assert_eq!(brief(&h.one()), (PSH_ACK, 1_001, 5_001, 1));
}

/// Shows: rfc9293-MUST-10
#[test]
fn simultaneous_open_by_syn_ack() {
    let mut h = Host::crossing(plain(), Options::default());
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!((h.conn.snd.una, h.conn.rcv.nxt), (SeqNum(1_001), SeqNum(5_001)));
    h.recv_all();
    h.write(b"hello");
    assert_eq!(brief(&h.one()), (PSH_ACK, 1_001, 5_001, 5));
    assert!(!h.conn.is_passive(), "the side that opened actively stays that");
}

/// Shows: rfc9293-MUST-10
#[test]
fn simultaneous_open_by_ack_alone() {
    let mut h = Host::crossing(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"abc"));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(h.read(10), b"abc");
}

/// Shows: rfc9293-MUST-10, rfc9293-MUST-22
#[test]
fn simultaneous_open_repeats_its_syn_ack() {
    let mut h = Host::crossing(plain(), Options::default());
    let out = h.timeline(secs(8));
    let at: Vec<u64> = out.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [1_000, 3_000, 7_000]);
    assert!(out.iter().all(|(_, o)| brief(o) == (SYN_ACK, 1_000, 5_001, 0)));
}

/// Shows: rfc9293-MUST-11
#[test]
fn reset_in_syn_received_depends_on_how_it_was_opened() {
    let mut h = Host::crossing(plain(), Options::default());
    h.send(Seg::new(RST, 5_001, 0));
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ECONNREFUSED)));
    let mut h = Host::passive(plain(), Options::default(), |_| {});
    h.send(Seg::new(RST, 5_001, 0));
    assert_eq!(h.done, Some(Done::Closed));
    assert!(h.conn.is_passive(), "so the listener drops it without a word");
    h.quiet();
}

/// Shows: rfc9293-MUST-23, rfc9293-MUST-22
#[test]
fn syn_is_tried_for_three_minutes_by_the_rfc() {
    let mut h = Host::connecting(rfc(), Options::default(), 1);
    let start = h.now;
    let at: Vec<u64> = h.times(secs(179)).iter().map(|ms| ms / 1_000).collect();
    assert_eq!(at, [0, 1, 3, 7, 15, 31, 63, 127]);
    assert_eq!(h.conn.state(), State::SynSent, "at 179 s it still tries");
    h.timeline(secs(600));
    assert_eq!((h.conn.state(), h.conn.error()), (State::Closed, Some(Errno::ETIMEDOUT)));
    assert!(h.now.since(start) >= secs(180));
}

/// Shows: rfc9293-MUST-22, posix-connect-d
#[test]
fn syn_count_shortens_the_attempt() {
    let mut h = Host::connecting(rfc(), socket(|o| o.syncnt = Some(2)), 1);
    assert_eq!(h.times(secs(6)), [0, 1_000, 3_000]);
    assert_eq!(h.conn.state(), State::SynSent);
    h.timeline(secs(2));
    assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
    assert_eq!(h.done, Some(Done::Closed));
}

/// Shows: rfc9293-MUST-21, rfc9293-MUST-22
#[test]
fn user_timeout_ends_the_attempt_to_the_millisecond() {
    let mut h = Host::connecting(plain(), socket(|o| o.user_timeout = Some(ms(2_500))), 1);
    assert_eq!(h.times(ms(2_499)), [0, 1_000, 2_000]);
    assert_eq!(h.conn.state(), State::SynSent);
    h.advance(ms(1));
    assert_eq!((h.conn.state(), h.conn.error()), (State::Closed, Some(Errno::ETIMEDOUT)));
    h.quiet();
}

/// Shows: rfc9293-s3.10.7.3-a
#[test]
fn unacceptable_ack_in_syn_sent_draws_a_reset() {
    for ack in [1_000, 1_002, 999, 0x8000_0000] {
        for flags in [ACK, SYN_ACK] {
            let mut h = Host::in_state(plain(), State::SynSent);
            h.send(Seg::new(flags, 5_000, ack));
            let rst = h.one();
            assert_eq!((rst.hdr.flags, rst.hdr.seq.0), (RST, ack));
            assert_eq!(h.conn.state(), State::SynSent);
            assert_eq!(brief(&h.wait(secs(2)).expect("SYN again")), (SYN, 1_000, 0, 0));
            h.send(Seg::new(SYN_ACK, 5_000, 1_001));
            assert_eq!(h.conn.state(), State::Established);
        }
    }
}

/// Shows: rfc9293-s3.10.7.3-c
#[test]
fn neither_syn_nor_reset_in_syn_sent_is_dropped() {
    for flags in [ACK, FIN_ACK, PSH_ACK, FIN, Flags::empty()] {
        let mut h = Host::in_state(plain(), State::SynSent);
        h.send(Seg::new(flags, 5_000, 1_001).data(b"data"));
        assert_eq!(h.conn.state(), State::SynSent);
        h.quiet();
        assert_eq!(h.conn.readable(), 0);
    }
}

/// Shows: rfc9293-s3.10.7.4-d
#[test]
fn wrong_final_ack_draws_a_reset() {
    for ack in [1_000, 1_002] {
        for mut h in
            [Host::crossing(plain(), Options::default()), Host::passive(plain(), Options::default(), |_| {})]
        {
            let outcome = h.call(|c, cx| c.on_segment(cx, Seg::new(ACK, 5_001, ack).0));
            assert!(!outcome.established);
            let rst = outcome.reply.expect("RST");
            assert_eq!((rst.hdr.flags, rst.hdr.seq.0), (RST, ack));
            assert_eq!(h.conn.state(), State::SynReceived);
            h.send(Seg::new(ACK, 5_001, 1_001));
            assert_eq!(h.conn.state(), State::Established);
        }
    }
}

/// Shows: rfc9293-s3.10.7.2-b
#[test]
fn text_with_the_syn_ack_is_handed_out_once_established() {
    let mut h = Host::in_state(rfc(), State::SynSent);
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).data(b"early"));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_006, 0));
    assert_eq!(h.read(10), b"early");
}

/// Shows: rfc9293-s3.10.7.2-b, rfc9293-MUST-10
#[test]
fn text_with_a_crossing_syn_is_not_handed_out_before_the_handshake_completes() {
    let mut h = Host::in_state(plain(), State::SynSent);
    h.send(Seg::new(SYN, 5_000, 0).data(b"early"));
    assert_eq!(h.conn.state(), State::SynReceived);
    assert_eq!(h.conn.readable(), 0);
    assert!(!h.conn.readiness().contains(Ready::IN));
    let covered = h.one().hdr.ack.0;
    assert!(covered == 5_001 || covered == 5_006);
    // The peer repeats what was not acknowledged; the stream is intact either way.
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"early"));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(h.read(10), b"early");
}

/// Linux takes neither text nor a FIN from a SYN-ACK without Fast Open: the peer sends them again.
#[test]
fn text_with_the_syn_ack_is_left_under_linux() {
    let mut h = Host::in_state(plain(), State::SynSent);
    h.send(Seg::new(SYN_ACK.union(FIN), 5_000, 1_001).data(b"early"));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_001, 0));
    h.send(Seg::new(ACK.union(FIN), 5_001, 1_001).data(b"early"));
    assert_eq!((h.conn.state(), h.read(10)), (State::CloseWait, b"early".to_vec()));
}

/// Shows: rfc9293-s3.5-a, rfc9293-s3.6-a
#[test]
fn fin_with_the_syn_ack_ends_in_close_wait() {
    let mut h = Host::in_state(rfc(), State::SynSent);
    h.send(Seg::new(SYN_ACK.union(FIN), 5_000, 1_001).data(b"bye"));
    assert_eq!(h.conn.state(), State::CloseWait);
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_005, 0));
    assert_eq!(h.read(10), b"bye");
}

/// Shows: split-handshake, rfc9293-s3.10.7.3-c, rfc9293-MUST-10
#[test]
fn split_handshake_is_a_simultaneous_open_of_the_active_side() {
    let mut h = Host::in_state(plain(), State::SynSent);
    h.send(Seg::new(ACK, 5_000, 1_001));
    assert_eq!(h.conn.state(), State::SynSent);
    h.quiet();
    h.send(Seg::new(SYN, 5_000, 0).opt(|o| o.mss = Some(1_000)));
    assert_eq!(brief(&h.one()), (SYN_ACK, 1_000, 5_001, 0));
    h.send(Seg::new(ACK, 5_001, 1_001));
    assert_eq!(h.conn.state(), State::Established);
    assert!(!h.conn.is_passive(), "the role is still that of the one who connected");
    assert_eq!(h.conn.mss, 1_000, "the options of its SYN count");
}

/// Shows: rfc9293-s3.5-a
#[test]
fn repeated_syn_ack_is_acknowledged_again() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_001, 0));
    assert_eq!(h.conn.state(), State::Established);
}

/// Shows: posix-connect-h, rfc9293-sA.2-a
#[test]
fn connects_to_itself() {
    let own = Tuple { local: tuple().local, remote: tuple().local };
    let mut h = Host::open_on(plain(), Options::default(), own, path(), 1_000);
    let mut segments = 0;
    let mut pump = |h: &mut Host| {
        while let Some(out) = h.recv() {
            segments += 1;
            assert!(segments < 40, "no livelock");
            let (hdr, data) = (out.hdr, out.data);
            h.send(Seg(Segment { hdr, data, gso_size: 0, tos: 0, ttl: 64 }));
        }
    };
    pump(&mut h);
    assert_eq!(h.conn.state(), State::Established);
    h.write(b"to myself");
    pump(&mut h);
    assert_eq!(h.read(20), b"to myself");
    h.close();
    pump(&mut h);
    assert!(matches!(h.done, Some(Done::TimeWait(_))), "{:?}", h.conn.state());
}
