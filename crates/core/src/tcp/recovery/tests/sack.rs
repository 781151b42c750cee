//! The scoreboard (RFC 2018, 6675), D-SACK (2883), and attacks on both.

use super::*;

/// Shows: rfc6675-s5-a, rfc6675-s4-c
#[test]
fn one_aggregated_ack_starts_recovery() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(100);
    let out = s.ack(0, &[(1, 4)]);
    assert_eq!((out.newly_sacked, out.newly_lost), (3_000, 1_000));
    assert_eq!(s.flight.state(), CaState::Recovery);
    assert_eq!(s.resend(), [(0, Why::RetransmitRack)]);
    assert_eq!(s.ssthresh(), 5);
}

/// Shows: rfc2018-s5.1-a, rfc3042-s2-b
#[test]
fn one_sack_or_bare_duplicates_do_not_start_recovery() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(100);
    for _ in 0..3 {
        let _ = s.ack(0, &[]);
        assert_eq!((s.room(), s.flight.state()), (0, CaState::Open));
    }
    let _ = s.ack(0, &[(1, 2)]);
    assert_eq!((s.flight.state(), s.cwnd(), s.resend().len()), (CaState::Disorder, 10, 0));
    assert_eq!(s.room(), 1); // limited transmit
}

/// Shows: rfc6675-s4-b
#[test]
fn pipe_is_what_the_scoreboard_says() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    assert_eq!(s.flight.bytes_in_flight(), 20_000);
    let _ = s.ack(2, &[(4, 5), (8, 10)]);
    // 18 outstanding, 3 SACKed; 2, 3, 5, 6, 7 lie below the third SACKed segment.
    assert_eq!((s.flight.sacked(), s.flight.lost()), (3, 5));
    assert_eq!(s.flight.segs_in_flight(), 18 - 3 - 5);
    let sent = s.resend().len() as u32;
    assert_eq!(s.flight.segs_in_flight(), 10 + sent);
    assert_eq!(s.flight.retrans_out(), sent);
}

/// Shows: rfc6675-s4-a
#[test]
fn rule_of_6675_counts_bytes_and_ranges() {
    let mut s = Sender::reno(20);
    s.cfg.rack = false;
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 3)]); // exactly 2 SMSS
    assert_eq!(s.flight.lost(), 0);
    let _ = s.ack(0, &[(1, 4)]);
    assert_eq!((s.flight.lost(), s.resend()), (1, std::vec![(0, Why::RetransmitFast)]));

    let mut s = Sender::reno(20);
    s.cfg.rack = false;
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(2, 3), (4, 5)]);
    assert_eq!(s.flight.lost(), 0);
    let _ = s.ack(0, &[(2, 3), (4, 5), (6, 7)]); // the third range is above 0 and 1 only
    assert_eq!(s.flight.lost(), 2);
}

/// Shows: rfc6675-s5-b
#[test]
fn recovery_lasts_until_the_recovery_point() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    let _ = s.resend();
    s.wait(1);
    s.send(1); // 10, above the recovery point
    s.wait(99);
    let _ = s.ack(4, &[(10, 11)]);
    assert_eq!(s.flight.state(), CaState::Recovery);
    let _ = s.resend();
    s.wait(100);
    let _ = s.ack(9, &[(10, 11)]);
    assert_eq!((s.flight.state(), s.flight.sacked()), (CaState::Recovery, 1));
    let _ = s.ack(11, &[]);
    assert_eq!(s.flight.state(), CaState::Open);
}

/// Shows: rfc2883-s5-a
#[test]
fn dsack_is_told_by_the_ack_it_comes_with() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(10, &[]);
    // An old ACK that was overtaken: its block lies below SND.UNA but above its own SEG.ACK.
    let out = s.ack(2, &[(4, 6)]);
    assert!(!out.dsack);
    let out = s.ack(10, &[(4, 6)]);
    assert!(out.dsack);
    let out = s.ack(10, &[(13, 14), (12, 16)]); // the first inside of the second
    assert!(out.dsack);
    assert_eq!(out.newly_sacked, 4_000);
}

/// Shows: rfc2018-s5-a, rfc2018-s5-b
#[test]
fn reneging_receiver_loses_nothing() {
    let mut s = Sender::reno(10);
    s.unsent = false;
    s.send(6);
    s.wait(100);
    let _ = s.ack(0, &[(2, 6)]);
    let _ = s.resend();
    s.wait(100);
    let out = s.ack(2, &[]); // 2 was SACKed, yet it is not acknowledged
    assert!(out.reneging);
    s.wait(300);
    assert!(s.rto().reneging);
    let mut again = s.resend_numbers();
    assert_eq!(again, [2]);
    while s.una != s.nxt {
        s.wait(100);
        let next = again.last().map_or(0, |n| n + 1);
        let _ = s.ack(next, &[]);
        again.extend(s.resend_numbers());
    }
    assert_eq!(again, [2, 3, 4, 5]);
}

/// Shows: rfc6675-s5.1-a
#[test]
fn sacked_data_is_not_sent_again_after_a_timeout() {
    let mut s = Sender::reno(10);
    s.unsent = false;
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(3, 5)]);
    s.wait(1_000);
    let _ = s.rto();
    let mut again = s.resend_numbers();
    s.wait(100);
    for next in [1, 2, 5, 6, 7, 8, 9, 10] {
        let _ = s.ack(next, &if next < 3 { std::vec![(3, 5)] } else { std::vec![] });
        assert_ne!(s.flight.state(), CaState::Recovery);
        again.extend(s.resend_numbers());
        s.wait(100);
    }
    assert_eq!(again, [0, 1, 2, 5, 6, 7, 8, 9]);
}

/// Blocks that are absurd, or beyond what was sent, or that name parts of segments, change nothing.
#[test]
fn absurd_blocks_are_ignored() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(100);
    let block = |l: u32, r: u32| SackBlock { left: SeqNum(l), right: SeqNum(r) };
    let seq = |n: u32, off: u32| Sender::seq(n).0.wrapping_add(off);
    let blocks = [
        block(seq(5, 0), seq(3, 0)),
        block(seq(5, 0), seq(11, 0)),
        block(seq(4, 1), seq(5, 999)),
        block(seq(5, 0), seq(5, 0)),
        block(seq(5, 0), seq(5, 1 << 31)),
    ];
    for b in blocks {
        let out = s.ack_raw(s.una, &[b], true);
        assert_eq!((out.newly_sacked, s.flight.sacked()), (0, 0), "{b:?}");
    }
    let out = s.ack_raw(s.una, &[block(seq(4, 500), seq(7, 500))], true);
    assert_eq!((out.newly_sacked, s.flight.sacked()), (2_000, 2));
}

/// A segment half covered by one ACK's block and wholly by the next one's is SACKED then.
#[test]
fn edges_of_known_blocks_are_looked_at_again() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let at = |n: u32, off: u32| Sender::seq(n) + off;
    let _ = s.ack_raw(s.una, &[SackBlock { left: at(5, 500), right: at(8, 500) }], true);
    assert_eq!(s.flight.sacked(), 2);
    let _ = s.ack_raw(s.una, &[SackBlock { left: at(5, 0), right: at(9, 0) }], true);
    assert_eq!(s.flight.sacked(), 4);
}

/// Shows: cve-2019-11478
#[test]
fn fragmentation_of_the_scoreboard_is_bounded() {
    let mut s = Sender::reno(10);
    let total = 60_000u32;
    for _ in 0..total / 64 {
        s.nxt += 64 * 48;
        s.flight.on_sent(s.now, s.nxt - 64 * 48, 64 * 48, 48, false, &mut s.p, &mut s.cc);
    }
    s.wait(100);
    let mut at = 1;
    while at + 8 < total / 64 * 64 {
        // Every second segment.
        let blocks: Vec<SackBlock> = (0..4)
            .map(|i| {
                let left = SeqNum(ISS) + (at + 2 * i) * 48;
                SackBlock { left, right: left + 48 }
            })
            .collect();
        let event = AckEvent {
            ack: s.una,
            snd_una: s.una,
            snd_nxt: s.nxt,
            sack: &blocks,
            sack_enabled: true,
            ts_echo: None,
            duplicate: true,
            segs: 1,
            ece: false,
            marked: 0,
            new_data_ready: false,
        };
        let _ = s.flight.on_ack(s.now, &event, &mut s.rtt, &mut s.cc, &mut s.p, &s.cfg);
        at += 8;
    }
    assert!(s.flight.runs() <= board::MAX_RUNS);
    assert!(s.flight.is_consistent());
}

/// Shows: rfc6675-s4-d
#[test]
fn tail_is_rescued_once_a_recovery() {
    let mut s = Sender::reno(20);
    s.cfg.rescue = true;
    s.unsent = false;
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(1, 9)]);
    assert!(s.flight.next_rescue(&s.cc, &s.cfg).is_none(), "what is lost goes first");
    assert_eq!(s.resend_numbers(), [0]);
    let rescue = s.flight.next_rescue(&s.cc, &s.cfg).expect("segment 9 is neither SACKed nor known lost");
    assert_eq!((rescue.seq, rescue.len), (Sender::seq(9), MSS));
    s.flight.on_sent(s.now, rescue.seq, rescue.len, MSS as u16, true, &mut s.p, &mut s.cc);
    s.flight.on_rescued();
    assert!(s.flight.next_rescue(&s.cc, &s.cfg).is_none());
    s.wait(100);
    let out = s.ack(10, &[]);
    assert!(out.all_acked);
    // Linux leaves the tail to RACK and the timer.
    let mut s = Sender::reno(20);
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(1, 9)]);
    let _ = s.resend();
    assert!(s.flight.next_rescue(&s.cc, &s.cfg).is_none());
}
