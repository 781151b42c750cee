//! Closing (RFC 9293 3.6, 3.10.4, eighth check), orphans, and the last states' timers.

use super::kit::*;
use super::*;

/// Shows: rfc9293-s3.6-b
#[test]
fn simultaneous_close_passes_through_closing() {
    let mut h = Host::established(plain(), Options::default());
    h.shutdown();
    assert_eq!(brief(&h.one()), (FIN_ACK, 1_001, 5_001, 0));
    h.send(Seg::new(FIN_ACK, 5_001, 1_001));
    assert_eq!(h.conn.state(), State::Closing);
    assert_eq!(brief(&h.one()), (ACK, 1_002, 5_002, 0));
    h.send(Seg::new(ACK, 5_002, 1_002));
    let Some(Done::TimeWait(info)) = h.done else { panic!("TIME-WAIT: {:?}", h.done) };
    assert_eq!((info.snd_nxt, info.rcv_nxt), (SeqNum(1_002), SeqNum(5_002)));
}

/// Shows: rfc9293-s3.6-a
#[test]
fn fin_that_acknowledges_ours_leads_straight_to_time_wait() {
    let mut h = Host::in_state(plain(), State::FinWait1);
    h.send(Seg::new(FIN_ACK, 5_001, 1_002));
    assert_eq!(brief(&h.one()), (ACK, 1_002, 5_002, 0));
    assert!(matches!(h.done, Some(Done::TimeWait(_))));
}

/// Shows: rfc9293-s3.6-a, rfc9293-s3.6-c
#[test]
fn fin_follows_all_data_and_is_repeated() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&pattern(2_000));
    h.shutdown();
    let out: Vec<_> = h.recv_all().iter().map(brief).collect();
    assert_eq!(out, [(ACK, 1_001, 5_001, 1_460), (PSH_ACK.union(FIN), 2_461, 5_001, 540)]);
    h.ack(2_461);
    assert_eq!(h.conn.state(), State::FinWait1, "the FIN is not acknowledged");
    let again = h.wait(secs(2)).expect("retransmission");
    assert_eq!((again.hdr.seq.0, again.data.len()), (2_461, 540));
    assert!(again.hdr.flags.contains(FIN));
    h.ack(3_001);
    assert_eq!(h.conn.state(), State::FinWait1, "data acknowledged, FIN not");
    h.ack(3_002);
    assert_eq!(h.conn.state(), State::FinWait2);
}

/// Shows: rfc9293-s3.6.1-a, rfc9293-MAY-1, posix-shutdown-a
#[test]
fn half_closed_connection_still_receives() {
    for acked in [1_001, 1_002] {
        let mut h = Host::in_state(plain(), State::FinWait1);
        let mut got = Vec::new();
        let sent = pattern(50_000);
        for (i, chunk) in sent.chunks(1_000).enumerate() {
            h.send(Seg::new(ACK, 5_001 + i as u32 * 1_000, acked).data(chunk));
            got.extend(h.read(2_000));
            h.recv_all();
        }
        assert!(got == sent);
        h.timeline(ms(300));
        assert_eq!(h.conn.rcv.last_ack_sent, SeqNum(55_001));
        let want = if acked == 1_001 { State::FinWait1 } else { State::FinWait2 };
        assert_eq!(h.conn.state(), want);
    }
}

/// Shows: rfc9293-s3.6.1-a
#[test]
fn half_closed_connection_still_sends() {
    let mut h = Host::in_state(plain(), State::CloseWait);
    let data = pattern(50_000);
    let (mut written, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        written += h.write(&data[written..]);
        for out in h.recv_all() {
            got.extend(bytes_of(&out));
        }
        h.send(Seg::new(ACK, 5_002, 1_001 + got.len() as u32));
    }
    assert!(got == data);
    assert_eq!(h.conn.state(), State::CloseWait);
}

/// Shows: rfc9293-s3.10.4-a
#[test]
fn closing_an_attempt_sends_nothing() {
    let mut h = Host::in_state(plain(), State::SynSent);
    h.close();
    assert_eq!((h.conn.state(), h.done), (State::Closed, Some(Done::Closed)));
    h.quiet();
    assert!(h.conn.next_deadline().is_never());
}

/// Shows: rfc9293-s3.10.4-b
#[test]
fn closing_in_syn_received_with_nothing_queued_sends_a_fin() {
    let mut h = Host::crossing(plain(), Options::default());
    h.shutdown();
    assert_eq!(h.conn.state(), State::FinWait1);
    assert_eq!(brief(&h.one()), (FIN_ACK, 1_001, 5_001, 0));
    h.send(Seg::new(ACK, 5_001, 1_002));
    assert_eq!(h.conn.state(), State::FinWait2);
}

/// Shows: rfc9293-s3.10.4-b
#[test]
fn closing_in_syn_received_lets_the_fin_be_repeated() {
    let mut h = Host::crossing(plain(), Options::default());
    h.shutdown();
    h.one();
    let again = h.wait(secs(5)).expect("the FIN again");
    assert!(again.hdr.flags.contains(FIN));
    assert_eq!(again.hdr.seq.0, 1_001);
    h.send(Seg::new(FIN_ACK, 5_001, 1_002));
    assert!(matches!(h.done, Some(Done::TimeWait(_))));
}

/// Shows: rfc9293-s3.10.4-b
#[test]
fn closing_in_syn_received_with_data_queued_waits_for_establishment() {
    let mut h = Host::crossing(plain(), Options::default());
    h.write(b"data");
    h.shutdown();
    assert_eq!(h.conn.state(), State::SynReceived);
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001));
    let out = h.recv_all();
    let data: Vec<u8> = out.iter().flat_map(bytes_of).collect();
    assert_eq!(data, b"data");
    let fin = out.last().expect("FIN");
    assert!(fin.hdr.flags.contains(FIN));
    assert_eq!(fin.hdr.seq + fin.data.len() as u32, SeqNum(1_005));
    assert_eq!(h.conn.state(), State::FinWait1);
}

/// Shows: rfc9293-s3.10.7.4-i
#[test]
fn fin_ahead_of_a_gap_waits_for_it_to_be_filled() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(FIN_ACK, 5_006, 1_001).data(b"world"));
    assert_eq!(h.conn.state(), State::Established);
    assert_eq!(h.one().hdr.ack.0, 5_001);
    assert!(!h.conn.fin_received());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"hello"));
    assert_eq!(h.conn.state(), State::CloseWait);
    assert_eq!(h.one().hdr.ack.0, 5_012);
    assert_eq!(h.read(20), b"helloworld");
}

/// Shows: rfc9293-s3.10.7.4-i
#[test]
fn empty_fin_ahead_of_a_gap_waits_too() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(FIN_ACK, 5_006, 1_001));
    assert_eq!((h.conn.state(), h.one().hdr.ack.0), (State::Established, 5_001));
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"hello"));
    assert_eq!((h.conn.state(), h.one().hdr.ack.0), (State::CloseWait, 5_007));
}

/// Shows: rfc9293-s3.10.7.4-i
#[test]
fn nothing_beyond_the_fin_is_delivered() {
    for ahead in [true, false] {
        let mut h = Host::established(plain(), Options::default());
        let beyond = Seg::new(ACK, 5_006, 1_001).data(b"beyond");
        if ahead {
            h.send(beyond.clone());
        }
        h.send(Seg::new(FIN_ACK, 5_001, 1_001).data(b"hello"));
        if !ahead {
            h.send(beyond.urg(3));
        }
        assert_eq!(h.conn.state(), State::CloseWait);
        assert_eq!(h.conn.rcv.nxt, SeqNum(5_007));
        assert_eq!(h.read(20), b"hello");
        assert!(!h.conn.urgent_pending());
        assert_eq!(h.conn.rcv.buf.memory(), 0, "nothing is kept behind the FIN");
    }
}

/// Shows: rfc9293-s3.10.7.4-i
#[test]
fn repeated_fin_is_acknowledged_again() {
    for state in [State::CloseWait, State::Closing, State::LastAck] {
        let mut h = Host::in_state(plain(), state);
        let (seq, ack) = (h.conn.snd.nxt.0, h.conn.rcv.nxt.0);
        h.send(Seg::new(FIN_ACK, 5_001, h.conn.snd.una.0));
        assert_eq!(brief(&h.one()), (ACK, seq, ack, 0));
        assert_eq!(h.conn.state(), state);
    }
}

/// Shows: rfc2525-s2.15-a
#[test]
fn fin_goes_with_the_last_segment_in_spite_of_nagle() {
    let mut h = Host::established(plain(), Options::default());
    h.write(b"first");
    h.one();
    h.write(b"second");
    h.shutdown();
    assert_eq!(brief(&h.one()), (PSH_ACK.union(FIN), 1_006, 5_001, 6));
}

/// Shows: rfc2525-s2.15-a
#[test]
fn fin_does_not_wait_for_acknowledgments() {
    let mut config = plain();
    config.profile = crate::Profile::FreeBsd;
    let mut h = Host::established(config, Options::default());
    h.send_segments(10);
    h.shutdown();
    let fin = h.one();
    assert_eq!((fin.hdr.flags, fin.hdr.seq.0), (FIN_ACK, 1_001 + 14_600), "the congestion window is full");
}

/// As Linux since 6.14: a FIN takes a place in the congestion window.
#[test]
fn fin_waits_for_cwnd_under_linux() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(10);
    h.shutdown();
    h.quiet();
    h.send(Seg::new(ACK, 5_001, 1_001 + 1_460));
    let fin = h.one();
    assert_eq!((fin.hdr.flags, fin.hdr.seq.0), (FIN_ACK, 1_001 + 14_600));
}

/// Shows: rfc9293-SHLD-3
#[test]
fn closing_with_unread_data_resets() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).len(100));
    h.recv_all();
    h.close();
    let rst = h.one();
    assert!(rst.hdr.flags.contains(RST));
    assert_eq!(rst.hdr.seq.0, 1_001);
    assert_eq!(h.done, Some(Done::Closed));
}

/// Shows: rfc9293-SHLD-3
#[test]
fn data_after_close_resets() {
    for acked in [1_001, 1_002] {
        let mut h = Host::established(plain(), Options::default());
        h.close();
        h.one();
        h.send(Seg::new(ACK, 5_001, acked));
        h.quiet();
        h.send(Seg::new(ACK, 5_001, acked).len(10));
        let rst = h.one();
        assert!(rst.hdr.flags.contains(RST));
        assert_eq!((rst.hdr.seq.0, h.done), (acked, Some(Done::Closed)));
    }
}

/// Shows: finwait2-exhaustion
#[test]
fn orphan_leaves_fin_wait_2_after_its_timeout() {
    let mut h = Host::established(plain(), Options::default());
    h.close();
    h.one();
    h.ack(1_002);
    assert_eq!(h.conn.state(), State::FinWait2);
    h.advance(ms(59_999));
    assert_eq!((h.conn.state(), h.done), (State::FinWait2, None));
    h.advance(ms(2));
    assert!(h.done.is_some(), "60 s");
    assert!(h.conn.next_deadline().is_never());
}

/// Shows: finwait2-exhaustion
#[test]
fn fin_wait_2_of_a_user_who_still_reads_stays() {
    let mut h = Host::in_state(plain(), State::FinWait2);
    h.advance(secs(100_000));
    assert_eq!((h.conn.state(), h.done), (State::FinWait2, None));
    h.close();
    h.advance(secs(61));
    assert!(h.done.is_some(), "from close on the timer runs");
}

/// Shows: finwait2-exhaustion
#[test]
fn linger2_sets_the_orphans_time() {
    let mut h = Host::established(plain(), socket(|o| o.linger2 = Some(Some(secs(5)))));
    h.close();
    h.one();
    h.ack(1_002);
    h.advance(ms(4_999));
    assert_eq!(h.done, None);
    h.advance(ms(2));
    assert!(h.done.is_some());
}

/// Shows: cve-2015-5358-lastack, cve-2009-1926-orphans
#[test]
fn last_states_always_have_a_timer_and_end() {
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        for window in [0, 65_535] {
            let mut h = Host::in_state(plain(), state);
            h.close();
            let seq = h.conn.rcv.nxt.0;
            h.send(Seg::new(ACK, seq, 1_001).win(window));
            assert!(!h.conn.next_deadline().is_never());
            let start = h.now;
            h.timeline(secs(1_000));
            assert_eq!(h.done, Some(Done::Closed), "{state} {window}");
            assert!(h.now.since(start) <= secs(1_000));
            assert!(h.conn.next_deadline().is_never());
        }
    }
}

/// Shows: cve-2015-5358-lastack, cve-2009-1926-orphans, rfc6429-s4-a
#[test]
fn orphan_with_unsent_data_and_a_zero_window_ends_although_the_peer_answers() {
    for fin_first in [false, true] {
        let mut h = Host::established(plain(), Options::default());
        if fin_first {
            h.send(Seg::new(FIN_ACK, 5_001, 1_001));
        }
        let seq = 5_001 + u32::from(fin_first);
        h.send(Seg::new(ACK, seq, 1_001).win(0));
        h.write(&[1; 100]);
        h.close();
        let end = h.now + secs(1_000);
        while h.done.is_none() && h.now < end {
            if h.wait(secs(200)).is_some() {
                h.send(Seg::new(ACK, seq, 1_001).win(0));
            }
        }
        assert_eq!(h.done, Some(Done::Closed), "a closed socket does not hold memory for ever");
    }
}

/// Shows: posix-shutdown-a, posix-shutdown-c
#[test]
fn shutting_down_twice_sends_one_fin() {
    let mut h = Host::established(plain(), Options::default());
    h.write(&pattern(10_000));
    h.shutdown();
    h.shutdown();
    let out = h.recv_all();
    assert_eq!(out.iter().map(|o| o.data.len()).sum::<usize>(), 10_000);
    assert_eq!(out.iter().filter(|o| o.hdr.flags.contains(FIN)).count(), 1);
    assert_eq!(h.write(b"more"), 0);
    h.ack(11_002);
    h.shutdown();
    h.quiet();
    assert_eq!(h.conn.state(), State::FinWait2);
}

/// Shows: posix-shutdown-b
#[test]
fn shutting_down_reading_sends_nothing_and_does_not_stall_the_peer() {
    for profile in [crate::Profile::Linux, crate::Profile::FreeBsd] {
        shut_reading_does_not_stall(profile);
    }
}

fn shut_reading_does_not_stall(profile: crate::Profile) {
    let mut config = plain();
    config.profile = profile;
    let mut h = Host::established(config, Options::default());
    h.call(|c, cx| c.shutdown_read(cx));
    h.quiet();
    for i in 0..200 {
        h.send(Seg::new(ACK, 5_001 + i * 1_000, 1_001).len(1_000));
        let out = h.wait(ms(500)).expect("ACK");
        h.recv_all();
        assert!(out.hdr.window > 10_000, "the window stays open");
    }
    assert_eq!(h.conn.rcv.last_ack_sent.0, 205_001);
    if profile != crate::Profile::Linux {
        assert_eq!(h.conn.readable(), 0);
    }
}

/// Shows: rfc9293-s3.6-c, rfc2525-s2.15-a
#[test]
fn fin_waits_behind_a_closed_window_and_leaves_when_it_opens() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    h.write(&[1; 10]);
    h.shutdown();
    h.quiet();
    let probe = h.wait(secs(5)).expect("probe");
    assert!(!probe.hdr.flags.contains(FIN));
    h.send(Seg::new(ACK, 5_001, 1_001).win(1_000));
    assert_eq!(brief(&h.one()), (PSH_ACK.union(FIN), 1_001, 5_001, 10));
}

/// Shows: cve-2015-5358-lastack
#[test]
fn lone_fin_behind_a_closed_window_is_probed_for() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    h.shutdown();
    let sent = h.timeline(secs(10));
    assert!(!sent.is_empty(), "a probe or the FIN");
    h.send(Seg::new(ACK, 5_001, 1_001).win(1_000));
    let fin = h.recv().or_else(|| h.wait(secs(10))).map(|o| o.hdr.flags.contains(FIN));
    assert!(fin == Some(true) || sent.iter().any(|(_, o)| o.hdr.flags.contains(FIN)));
    h.ack(1_002);
    assert_eq!(h.conn.state(), State::FinWait2);
}

/// Shows: cve-2009-1926-orphans, cve-2015-5358-lastack
#[test]
fn orphan_with_data_in_flight_and_a_zero_window_ends_although_the_peer_answers() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(3);
    h.close();
    h.recv_all();
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    let end = h.now + secs(1_000);
    while h.done.is_none() && h.now < end {
        if h.wait(secs(200)).is_some() {
            h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        }
    }
    assert_eq!(h.done, Some(Done::Closed));
}
