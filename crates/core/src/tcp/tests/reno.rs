//! Recovery without SACK (RFC 5681 2 to 4, RFC 6582, RFC 3042), seen from the peer.

use super::kit::*;
use super::*;
use crate::config::CongestionKind;

/// The `rfc` profile with NewReno and the timer without probes, `n` segments in flight, `more` waiting.
fn sender(n: u8, more: usize) -> Host {
    sender_under(rfc(), n, more)
}

fn sender_under(config: Config, n: u8, more: usize) -> Host {
    let config =
        Config { initial_cwnd: n, congestion: CongestionKind::Reno, tlp: false, frto: false, ..config };
    let mut h = Host::established(config, socket(|o| o.sndbuf = Some(1 << 20)));
    h.write(&pattern((usize::from(n) + more) * 1_460));
    assert_eq!(h.recv_all().len(), usize::from(n));
    h.advance(ms(10));
    h
}

/// The sequence number of the `n`th full segment, from 0.
fn nth(n: u32) -> u32 {
    1_001 + n * MSS
}

/// A duplicate ACK arrives; the sequence numbers of what leaves by it.
fn dup(h: &mut Host) -> Vec<u32> {
    let una = h.conn.snd.una.0;
    h.ack(una);
    h.recv_all().iter().map(|o| o.hdr.seq.0).collect()
}

/// An ACK arrives; the sequence numbers of what leaves by it.
fn acked(h: &mut Host, ack: u32) -> Vec<u32> {
    h.ack(ack);
    h.recv_all().iter().map(|o| o.hdr.seq.0).collect()
}

/// Shows: rfc5681-s3.2-a
#[test]
fn third_duplicate_and_not_the_second_retransmits() {
    let mut h = sender(10, 0);
    assert_eq!(dup(&mut h), []);
    assert_eq!(dup(&mut h), []);
    assert_eq!(dup(&mut h), [1_001]);
    assert_eq!(h.stats.tcp_timeouts, 0);
    assert_eq!(dup(&mut h), [], "once");
}

/// Shows: rfc5681-s2-a
#[test]
fn what_is_no_duplicate_triggers_nothing() {
    let mut h = sender(10, 0);
    for i in 0..5 {
        h.send(Seg::new(ACK, 5_001, 1_001).win(60_000 - i));
        h.quiet();
    }
    for i in 0..5 {
        h.send(Seg::new(ACK, 5_001 + i * 10, 1_001).win(59_996).len(10));
    }
    assert!(h.recv_all().iter().all(|o| o.data.is_empty()), "acknowledgments only");
    h.ack(nth(10));
    for _ in 0..5 {
        assert_eq!(dup(&mut h), [], "nothing is outstanding");
    }
    assert_eq!((h.stats.tcp_fast_retrans, h.stats.retrans_segs), (0, 0));
}

/// Shows: rfc3042-s2-a
#[test]
fn first_two_duplicates_release_new_segments() {
    let mut h = sender(3, 10);
    let cwnd = h.cwnd().0;
    assert_eq!(dup(&mut h), [nth(3)]);
    assert_eq!(dup(&mut h), [nth(4)]);
    assert_eq!(h.cwnd().0, cwnd, "cwnd is as it was");
    assert_eq!(dup(&mut h)[0], nth(0));
}

/// Shows: rfc3042-s2-a
#[test]
fn limited_transmit_respects_the_receivers_window() {
    let mut h = sender(3, 10);
    h.send(Seg::new(ACK, 5_001, 1_001).win((3 * MSS) as u16));
    h.quiet();
    for _ in 0..2 {
        h.send(Seg::new(ACK, 5_001, 1_001).win((3 * MSS) as u16));
        h.quiet();
    }
}

/// Shows: rfc3042-s2-b
#[test]
fn with_sack_bare_duplicates_release_nothing() {
    let config = with(|c| {
        c.sack = true;
        c.initial_cwnd = 3;
    });
    let mut h = Host::established_with(config, Options::default(), |o| o.sack_permitted = true);
    h.write(&pattern(20_000));
    assert_eq!(h.recv_all().len(), 3);
    for _ in 0..2 {
        assert_eq!(dup(&mut h), []);
    }
}

/// Shows: rfc6582-s3.2-b, rfc5681-s3.2-a
#[test]
fn partial_ack_retransmits_the_next_hole_at_once() {
    // Segments 0 and 3 of 10 are lost.
    let mut h = sender(10, 0);
    for _ in 0..8 {
        dup(&mut h);
    }
    assert_eq!(acked(&mut h, nth(3)), [nth(3)]);
    assert_eq!(h.conn.ca_state().name(), "recovery");
    assert_eq!(acked(&mut h, nth(10)), []);
    assert_ne!(h.conn.ca_state().name(), "recovery");
    assert_eq!((h.stats.tcp_timeouts, h.stats.retrans_segs), (0, 2));
}

/// Shows: rfc6582-s3.2-c, rfc5681-s3.2-b
#[test]
fn full_ack_ends_recovery_at_ssthresh_without_a_burst() {
    let mut h = sender(20, 100);
    for _ in 0..19 {
        dup(&mut h);
    }
    assert_eq!(h.cwnd().1, 10 * MSS, "half of FlightSize, without limited transmit");
    let nxt = h.conn.snd.nxt.0;
    let burst = acked(&mut h, nxt);
    assert!(h.cwnd().0 <= h.cwnd().1.max(MSS), "{:?}", h.cwnd());
    assert!(burst.len() <= 10, "{}", burst.len());
}

/// Shows: rfc6582-s3.2-a, rfc5681-s4.3-a
#[test]
fn duplicates_below_recover_after_a_timeout_start_no_fast_retransmit() {
    let mut h = sender(10, 0);
    assert_eq!(h.wait(secs(5)).expect("timeout").hdr.seq.0, 1_001);
    let recoveries = h.stats.tcp_reno_recovery;
    acked(&mut h, nth(1));
    for _ in 0..5 {
        dup(&mut h);
    }
    assert_eq!(h.stats.tcp_reno_recovery, recoveries);
    assert_eq!(h.stats.tcp_fast_retrans, 0);
}

/// Shows: rfc5681-s3.1-d, rfc5681-s3.1-e
#[test]
fn timeout_halves_the_threshold_once() {
    let mut h = sender(20, 0);
    h.config.mtu_probing = crate::config::MtuProbing::Off; // segments keep their size
    assert_eq!(h.wait(secs(5)).expect("timeout").hdr.seq.0, 1_001);
    assert_eq!(h.cwnd(), (MSS, 10 * MSS));
    for _ in 0..3 {
        assert_eq!(h.wait(secs(50)).expect("timeout").hdr.seq.0, 1_001);
        assert_eq!(h.cwnd(), (MSS, 10 * MSS), "the same segment again");
    }
}

/// Shows: rfc5681-s3.1-d
#[test]
fn threshold_is_never_below_two_segments() {
    let mut h = sender(2, 0);
    h.wait(secs(5)).expect("timeout");
    assert_eq!(h.cwnd().1, 2 * MSS);
}

/// Shows: rfc5681-s4.3-a
#[test]
fn loss_in_two_successive_windows_reduces_twice() {
    let mut h = sender(20, 400);
    for _ in 0..19 {
        dup(&mut h);
    }
    let first = h.cwnd().1;
    let nxt = h.conn.snd.nxt.0;
    acked(&mut h, nxt);
    for _ in 0..6 {
        dup(&mut h);
    }
    assert!(h.cwnd().1 < first, "{:?} {first}", h.cwnd());
}

/// Shows: rfc5681-s4.1-a
#[test]
fn idle_connection_restarts_from_the_initial_window() {
    let mut h = sender(10, 0);
    h.config.initial_cwnd = 10;
    h.ack(nth(10));
    for _ in 0..4 {
        h.write(&pattern(100 * 1_460));
        while h.conn.snd.una != h.conn.snd.nxt {
            h.recv_all();
            h.advance(ms(10));
            let nxt = h.conn.snd.nxt.0;
            h.ack(nxt);
        }
        h.recv_all();
        let nxt = h.conn.snd.nxt.0;
        h.ack(nxt);
    }
    assert!(h.cwnd().0 > 20 * MSS, "it has grown: {:?}", h.cwnd());
    let rto = h.info().rto;
    h.advance(rto * 2 + ms(10));
    h.write(&pattern(200 * 1_460));
    assert!(h.recv_all().len() <= 10, "no more than the initial window");
}

/// Shows: rfc9293-MUST-19, rfc5681-s3.1-f
#[test]
fn slow_start_doubles_in_each_round_trip() {
    let mut h = sender(4, 300);
    let mut last = 4;
    for _ in 0..3 {
        let (una, nxt) = (h.conn.snd.una.0, h.conn.snd.nxt.0);
        let mut sent = 0;
        h.advance(ms(10));
        for ack in (una..nxt).step_by(1_460) {
            sent += acked(&mut h, ack + MSS).len();
        }
        assert_eq!(sent, last * 2);
        last = sent;
    }
}

/// Shows: ack-division, rfc5681-s3.1-b
#[test]
fn ack_in_pieces_grows_the_window_by_the_bytes() {
    for config in [plain(), rfc()] {
        let mut h = Host::established(config, socket(|o| o.sndbuf = Some(1 << 20)));
        h.write(&pattern(100 * 1_460));
        h.recv_all();
        h.advance(ms(10));
        let cwnd = h.cwnd().0;
        for i in 1..=1_460 {
            h.ack(1_001 + i);
        }
        assert!(h.cwnd().0 <= cwnd + MSS, "{} -> {}", cwnd, h.cwnd().0);
    }
}

/// Shows: ack-division
#[test]
fn forged_duplicates_release_a_bounded_amount() {
    for config in [plain(), rfc()] {
        let mut h = Host::established(config, socket(|o| o.sndbuf = Some(1 << 20)));
        h.write(&pattern(500 * 1_460));
        h.recv_all();
        let mut sent = 0;
        for _ in 0..1_000 {
            sent += dup(&mut h).len();
        }
        assert!(sent <= 20, "10 segments were outstanding: {sent}");
        h.check_invariants();
    }
}

/// After a timeout an ACK adds one segment to cwnd, however much it covers; on Linux as much as it covers.
///
/// Shows: rfc3465-s2.3-a, rfc5681-s3.1-e
#[test]
fn ack_of_many_segments_after_a_timeout_adds_one() {
    for (config, segments) in [(rfc(), 2), (plain(), 11)] {
        let mut h = sender_under(config, 40, 100);
        assert_eq!(h.wait(secs(5)).expect("timeout").hdr.seq.0, 1_001);
        assert_eq!(h.cwnd().0, MSS);
        h.ack(nth(10));
        assert_eq!(h.cwnd().0, segments * MSS);
    }
}

/// Shows: optimistic-ack
#[test]
fn ack_of_data_not_sent_gives_no_credit() {
    for config in [plain(), rfc()] {
        let mut h = sender_under(config, 10, 100);
        let (cwnd, nxt) = (h.cwnd(), h.conn.snd.nxt.0);
        for ahead in [1, 1_460, 100_000, 0x4000_0000] {
            h.ack(nxt + ahead);
            assert!(h.recv_all().iter().all(|o| o.data.is_empty()));
        }
        assert_eq!((h.cwnd(), h.conn.snd.una.0), (cwnd, 1_001));
        h.ack(nxt);
        assert!(h.recv_all().len() <= 20, "within SND.NXT it is an ACK like any other");
    }
}

/// Shows: rfc5682-s2.1-a, rfc5682-s2.1-c
#[test]
fn ack_of_the_retransmission_and_more_does_not_prove_the_timeout_spurious() {
    for config in [plain(), rfc()] {
        let config = Config { tlp: false, congestion: CongestionKind::Reno, ..config };
        let mut h = Host::established(config, Options::default());
        h.write(&pattern(30 * 1_460));
        h.recv_all();
        h.advance(ms(10));
        assert_eq!(h.wait(secs(5)).expect("timeout").hdr.seq.0, 1_001);
        // Only the first segment was lost, or so far.
        h.ack(nth(5));
        let most = if h.config.profile == Profile::Rfc { 2 } else { 6 };
        let sent: Vec<u32> = h.recv_all().iter().map(|o| o.hdr.seq.0).collect();
        assert!(sent.len() <= most, "{sent:?}");
        assert_eq!(h.stats.tcp_spurious_rtos, 0);
        assert!(h.cwnd().0 < 10 * MSS, "{:?}", h.cwnd());
    }
}
