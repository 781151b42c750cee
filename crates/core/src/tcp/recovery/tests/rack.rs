//! RACK and the tail loss probe (RFC 8985).

use super::*;

/// Shows: rfc8985-s6.2-b, rfc8985-s6.2-c, rfc8985-s6.2-f
#[test]
fn seen_reordering_opens_the_window_and_the_timer() {
    let mut s = Sender::reno(20);
    s.send(2);
    s.wait(100);
    let _ = s.ack(0, &[(1, 2)]);
    assert_eq!(s.p.reord_seen(), 0);
    let _ = s.ack(2, &[]); // 0 had never been sent again: it was only late
    assert_eq!((s.p.reord_seen(), s.flight.state()), (1, CaState::Open));

    s.wait(1_000);
    let sent = s.now;
    s.send(10);
    s.wait(100);
    let _ = s.ack(2, &[(3, 7)]);
    assert_eq!((s.flight.lost(), s.flight.state()), (0, CaState::Disorder));
    // min_RTT / 4 after the round trip.
    assert_eq!(s.flight.reo_deadline(), sent + Duration::from_millis(125));
    s.now = s.flight.reo_deadline();
    let out = s.flight.on_timer_reo(s.now, &s.rtt, &mut s.cc, &mut s.p, &s.cfg);
    assert_eq!((out.newly_lost, s.flight.state()), (1_000, CaState::Recovery));
    assert_eq!(s.resend(), [(2, Why::RetransmitRack)]);
}

/// Shows: rfc8985-s6.2-d
#[test]
fn dsacks_widen_the_reordering_window() {
    let mut s = Sender::reno(20);
    s.p.reord_seen = 1;
    let mut at = 0;
    for round in 0..3 {
        let _ = round;
        s.send(2);
        at += 2;
        s.wait(100);
        let out = s.ack(at, &[(at - 2, at - 1)]);
        assert!(out.dsack);
    }
    assert_eq!(s.flight.reo_wnd(&s.rtt, &s.p), 100_000); // 4 * 25 ms, within SRTT
    for _ in 0..16 {
        assert!(s.flight.reo_wnd(&s.rtt, &s.p) > 25_000);
        s.send(8);
        s.wait(100);
        let _ = s.ack(at, &[(at + 1, at + 8)]);
        s.now = s.now.max(s.flight.reo_deadline().min(s.now + Duration::from_secs(1)));
        let _ = s.flight.on_timer_reo(s.now, &s.rtt, &mut s.cc, &mut s.p, &s.cfg);
        assert_eq!(s.resend().len(), 1);
        s.wait(100);
        at += 8;
        let _ = s.ack(at, &[]);
    }
    s.send(1);
    s.wait(100);
    let _ = s.ack(at + 1, &[]);
    assert_eq!(s.flight.reo_wnd(&s.rtt, &s.p), 25_000);
}

/// Shows: rfc8985-s6.2-e
#[test]
fn lost_retransmission_is_found_without_a_timeout() {
    let mut s = Sender::reno(20);
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(1, 10)]);
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(1);
    while s.room() > 0 {
        s.send(1);
    }
    s.wait(100);
    let out = s.ack(0, &[(1, 11)]); // sent after the retransmission
    assert!(out.lost_retransmission);
    assert_eq!(s.resend(), [(0, Why::RetransmitRack)]);
}

/// Shows: rfc5681-s4.3-a
#[test]
fn lost_retransmission_reduces_a_second_time_by_the_rfc() {
    let mut s = Sender::reno(20);
    s.cfg = RecoveryConfig::from(&Config::new(Profile::Rfc));
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 20)]);
    assert_eq!((s.ssthresh(), s.resend_numbers()), (10, std::vec![0]));
    s.wait(1);
    s.send(s.room());
    s.wait(100);
    let _ = s.ack(0, &[(1, 21)]);
    assert!(s.ssthresh() < 10, "{}", s.ssthresh());
}

/// Shows: rfc8985-s6.2-a
#[test]
fn original_that_arrives_after_its_retransmission_tells_rack_nothing() {
    let mut s = Sender::reno(20);
    s.send(10);
    s.wait(100);
    let _ = s.ack(0, &[(1, 10)]);
    let before = s.flight.rack.rtt_us;
    assert_eq!(before, 100_000);
    let _ = s.resend();
    s.wait(1);
    let _ = s.ack(1, &[(1, 10)]);
    assert_eq!(s.flight.rack.rtt_us, before);
}

/// Shows: rfc8985-s4-a
#[test]
fn without_sack_there_is_neither_rack_nor_probe() {
    let mut s = Sender::without_sack(10);
    s.send(5);
    s.wait(100);
    let _ = s.ack(1, &[(2, 5)]);
    assert_eq!((s.flight.sacked(), s.flight.lost()), (0, 0));
    assert!(s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, Instant::NEVER).is_never());
}

/// What was sent while a probe was outstanding is probed a whole probe timeout after that is over, not at once.
/// Shows: rfc8985-s7.3-a
#[test]
fn the_end_of_a_probe_starts_the_next_timeout() {
    let mut s = Sender::reno(10);
    s.send(1);
    s.wait(500);
    assert!(s.flight.on_tlp(s.now, false, &mut s.p).is_some());
    let _ = s.ack(1, &[]); // the first copy or the second: nobody knows yet
    s.send(1);
    assert!(s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, Instant::NEVER).is_never(), "one probe at a time");
    s.wait(3_000);
    let out = s.ack(1, &[(0, 1)]);
    assert!(out.dsack);
    let next = s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, Instant::NEVER);
    assert!(next > s.now && !next.is_never(), "{next} at {}", s.now);
}

/// Shows: rfc8985-s7.2-a
#[test]
fn probe_timeout_is_two_round_trips() {
    let mut s = Sender::reno(10);
    s.cfg.tlp_slack = Duration::ZERO;
    s.send(3);
    let at = |s: &Sender, rto: Instant| s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, rto);
    let sent = s.now;
    assert_eq!(at(&s, Instant::NEVER), sent + Duration::from_millis(200));
    assert_eq!(at(&s, sent + Duration::from_millis(150)), sent + Duration::from_millis(150));
    s.wait(100);
    let _ = s.ack(2, &[]); // one segment left: its ACK may be delayed
    assert_eq!(at(&s, Instant::NEVER), s.now + Duration::from_millis(200) + Duration::from_millis(200));
    s.send(1);
    let _ = s.ack(2, &[(3, 4)]);
    assert!(at(&s, Instant::NEVER).is_never(), "not with SACKed data");

    let mut s = Sender::reno(10);
    s.rtt = RttEstimator::new();
    s.send(3);
    assert_eq!(at(&s, Instant::NEVER), s.now + Duration::from_secs(1));
}

fn lost_tail() -> Sender {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(100);
    let _ = s.ack(9, &[]);
    s.wait(400);
    s
}

/// Shows: rfc8985-s7.3-a, rfc8985-s7.3-b
#[test]
fn probe_is_the_last_segment_once() {
    let mut s = lost_tail();
    let probe = s.flight.on_tlp(s.now, false, &mut s.p);
    let again = Retransmit { seq: Sender::seq(9), len: MSS, why: Why::Tlp, pushed: false };
    assert_eq!(probe, Some(Probe::Retransmit(again)));
    s.flight.on_sent(s.now, again.seq, again.len, MSS as u16, true, &mut s.p, &mut s.cc);
    assert_eq!((s.flight.retrans_out(), s.flight.rto_base()), (1, s.now));
    assert!(s.flight.tlp_deadline(&s.rtt, &s.p, &s.cfg, Instant::NEVER).is_never());
    assert_eq!(s.flight.on_tlp(s.now, false, &mut s.p), None);
    assert_eq!(lost_tail().flight.on_tlp(s.now, true, &mut Persist::default()), Some(Probe::NewData));
}

/// Shows: rfc8985-s7.4-a
#[test]
fn repair_by_probe_reduces_once_needless_probe_does_not() {
    // The probe repaired a loss: seen when something later is acknowledged.
    let mut s = lost_tail();
    let _ = s.flight.on_tlp(s.now, false, &mut s.p);
    s.flight.on_sent(s.now, Sender::seq(9), MSS, MSS as u16, true, &mut s.p, &mut s.cc);
    s.wait(100);
    let before = s.cwnd();
    let _ = s.ack(10, &[]);
    assert!(s.cwnd() >= before);
    s.flight = Flight::new(); // nothing in flight: only Persist remembers
    s.send(1);
    s.wait(100);
    let out = s.ack(11, &[]);
    assert!(out.tlp_recovery);
    assert!(s.cwnd() < before);
    let after = s.cwnd();
    s.send(1);
    s.wait(100);
    assert!(!s.ack(12, &[]).tlp_recovery);
    assert!(s.cwnd() >= after);

    // Both copies arrived: a D-SACK says so.
    let mut s = lost_tail();
    let _ = s.flight.on_tlp(s.now, false, &mut s.p);
    s.flight.on_sent(s.now, Sender::seq(9), MSS, MSS as u16, true, &mut s.p, &mut s.cc);
    s.wait(10);
    let _ = s.ack(10, &[]);
    s.send(1);
    s.wait(90);
    let _ = s.ack(10, &[(9, 10)]);
    let before = s.cwnd();
    let _ = s.ack(11, &[]);
    assert!(s.cwnd() >= before);
}
