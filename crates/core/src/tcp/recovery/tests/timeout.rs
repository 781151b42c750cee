//! Retransmission timeouts: RFC 6298, 5681, 8985 6.3, and F-RTO (5682).

use super::*;

/// Shows: rfc2525-s2.14-a, rfc5681-s3.1-d, rfc5681-s3.1-e
#[test]
fn timeout_sends_one_segment_and_starts_slowly() {
    let mut s = Sender::reno(20);
    s.unsent = false;
    s.send(20);
    s.wait(1_000);
    let out = s.rto();
    assert_eq!(out.state_change, Some((CaState::Open, CaState::Loss)));
    assert_eq!((s.cwnd(), s.ssthresh()), (1, 10));
    assert_eq!(s.resend(), [(0, Why::RetransmitRto)]);
    s.wait(2_000);
    let _ = s.rto(); // the same segment again
    assert_eq!((s.cwnd(), s.ssthresh()), (1, 10));
    assert_eq!(s.resend(), [(0, Why::RetransmitRto)]);
    s.wait(100);
    let _ = s.ack(1, &[]);
    assert_eq!(s.resend_numbers(), [1, 2]);
    s.wait(100);
    let _ = s.ack(2, &[]);
    let _ = s.ack(3, &[]);
    assert_eq!(s.resend_numbers(), [3, 4, 5, 6]);
}

/// Shows: rfc6298-s5-a, rfc6298-s5-b, rfc9293-MUST-18
#[test]
fn rto_counts_from_the_last_progress_and_doubles() {
    let mut s = Sender::reno(20);
    let start = s.now;
    s.send(1);
    s.wait(500);
    s.send(1);
    assert_eq!(s.flight.rto_base(), start);
    s.wait(100);
    let _ = s.ack(1, &[]);
    assert_eq!(s.flight.rto_base(), s.now);
    let rto = s.rtt.rto(&s.cfg.rto);
    let srtt = s.rtt.srtt();
    let _ = s.rto();
    assert_eq!(s.rtt.rto(&s.cfg.rto), rto * 2);
    let _ = s.resend();
    s.wait(50);
    // Only retransmitted data, no timestamps: Karn.
    let out = s.ack(2, &[]);
    assert_eq!((out.rtt_sample, s.rtt.srtt()), (None, srtt));
    assert_eq!(s.rtt.rto(&s.cfg.rto), rto * 2);
    assert!(out.all_acked);
    s.send(1);
    s.wait(100);
    let _ = s.ack(3, &[]);
    assert!(s.rtt.rto(&s.cfg.rto) <= rto);
}

/// A SACK that answers the retransmission, because the first was lost, does not tell a round trip: taken for one, each lost
/// SACK would make the RTO longer, up to its bound.
///
/// Shows: rfc6298-s3-a
#[test]
fn what_waited_for_a_timeout_is_no_sample() {
    for echo in [None, Some(100)] {
        let mut s = Sender::reno(20);
        s.echo = echo;
        s.send(5);
        s.wait(20_000);
        let _ = s.rto();
        assert_eq!(s.resend_numbers(), [0]);
        let (rto, srtt) = (s.rtt.rto(&s.cfg.rto), s.rtt.srtt());
        // The retransmission is lost as well; a second copy of something else tells what has arrived.
        s.wait(100);
        let out = s.ack(0, &[(2, 4)]);
        assert_eq!((out.rtt_sample, s.rtt.srtt()), (None, srtt));
        assert_eq!(s.rtt.rto(&s.cfg.rto), rto);
        let _ = s.resend();
        s.wait(100);
        let out = s.ack(1, &[(2, 4)]);
        assert_eq!(out.rtt_sample.map(|t| t.as_millis() as u64), echo);
        // Without timestamps what was sent once is a sample still: the delay may be the path's.
        s.wait(100);
        s.send(1);
        s.wait(100);
        let out = s.ack(1, &[(2, 4), (5, 6)]);
        assert_eq!(out.rtt_sample, Some(Duration::from_millis(100)));
    }
}

/// Three segments, of which the first goes out again after 5 s; `millis` later comes D-SACK, with the echo of what came first.
fn sample_of_a_copy(s: &mut Sender, millis: u64) -> Option<Duration> {
    s.send(3);
    s.wait(5_000);
    let _ = s.rto();
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(millis);
    s.echo = Some(5_000 + millis);
    s.ack(3, &[(0, 1)]).rtt_sample
}

/// The answers to a flight are lost, and the copy that the timer sends is answered by D-SACK, with the timestamp of what
/// came first (RFC 7323 5.3 R2: what lies outside of the window does not change it): the round trip is the copy's. On a
/// link that loses much in both directions the echo would grow with the RTO, and the RTO with it.
///
/// Shows: rfc6298-s3-a, rfc2883-s5-a
#[test]
fn a_copy_answered_by_dsack_is_timed_from_when_it_was_sent() {
    let mut s = Sender::reno(10);
    let before = s.rtt.rto_without_backoff(&s.cfg.rto);
    assert_eq!(sample_of_a_copy(&mut s, 100), Some(Duration::from_millis(100)));
    assert!(s.rtt.rto_without_backoff(&s.cfg.rto) <= before, "{:?}", s.rtt);
}

/// An answer that took less than the path's least round trip is none to the copy: the original was late.
///
/// Shows: rfc6298-s3-a
#[test]
fn a_dsack_too_early_for_the_copy_is_timed_by_its_echo() {
    let sample = sample_of_a_copy(&mut Sender::reno(10), 20);
    assert_eq!(sample, Some(Duration::from_millis(5_020)));
}

/// Shows: rfc8985-s6.3-a
#[test]
fn what_was_sent_just_now_is_not_lost_by_a_timeout() {
    let mut s = Sender::reno(20);
    s.send(5);
    s.wait(100);
    let _ = s.ack(1, &[]);
    s.wait(290);
    s.send(1);
    s.wait(10);
    let _ = s.rto();
    assert_eq!((s.flight.lost(), s.flight.segs_outstanding()), (4, 5));
}

/// Shows: rfc5682-s2.1-a, rfc5682-s2.1-b
#[test]
fn delay_spike_is_recognized_by_frto() {
    // Basic F-RTO, without SACK: the timer ran out on a delay.
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(1);
    let _ = s.ack(1, &[]); // of the original
    assert_eq!(s.resend(), []);
    assert_eq!(s.room(), 2);
    s.send(2);
    s.wait(1);
    let out = s.ack(2, &[]); // 1 was never sent again
    assert_eq!(out.undone, Some(UndoKind::Frto));
    assert_eq!((s.flight.state(), s.flight.lost()), (CaState::Open, 0));
    assert!(s.cwnd() >= 10);
}

/// Shows: rfc5682-s2.1-b
#[test]
fn duplicate_after_new_data_resumes_slow_start() {
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(100);
    let _ = s.ack(1, &[]);
    s.send(2);
    s.wait(100);
    let out = s.ack(1, &[]);
    assert_eq!((out.undone, s.flight.state()), (None, CaState::Loss));
    assert!(s.cwnd() <= 3);
    assert_eq!(s.resend_numbers()[0], 1);
}

/// Shows: rfc5682-s2.1-c
#[test]
fn half_of_the_retransmission_acknowledged_is_no_sign() {
    let mut s = Sender::without_sack(10);
    s.unsent = false;
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    let _ = s.resend();
    s.wait(100);
    let out = s.ack_raw(Sender::seq(0) + 500, &[], false);
    assert_eq!((out.undone, s.flight.state()), (None, CaState::Loss));
    let out = s.ack(0, &[]);
    assert_eq!(out.undone, None);
}

/// Shows: rfc5682-s3.1-a
#[test]
fn sack_of_the_original_proves_a_timeout_spurious() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    let _ = s.resend();
    s.wait(1);
    let _ = s.ack(1, &[]);
    s.send(2);
    let out = s.ack(1, &[(3, 4)]);
    assert_eq!((out.undone, s.cc.cwnd() >= 10 * MSS), (Some(UndoKind::Frto), true));
}

/// Shows: rfc1191-s6.4-a
#[test]
fn smaller_path_mtu_sends_again_without_a_reduction() {
    let mut s = Sender::reno(10);
    s.send(10);
    s.wait(50);
    let cwnd = s.cc.cwnd();
    let ssthresh = s.cc.ssthresh();
    s.cc.set_mss(500);
    let out = s.flight.resegment(500, &mut s.p);
    assert_eq!(out.newly_lost, 10_000);
    s.check();
    assert_eq!(s.flight.segs_outstanding(), 20);
    assert_eq!((s.cc.cwnd(), s.cc.ssthresh()), (cwnd / 2, ssthresh));
    let first = s.flight.next_retransmit(&s.cc, 500).expect("lost");
    assert_eq!((first.len, first.why), (500, Why::RetransmitMtu));
    let again = s.flight.resegment(500, &mut s.p);
    assert_eq!(again.newly_lost, 0);
}
