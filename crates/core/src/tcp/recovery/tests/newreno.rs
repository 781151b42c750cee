//! Without SACK: RFC 5681, RFC 6582, RFC 3042.

use super::*;

/// Shows: rfc5681-s3.2-a
#[test]
fn third_duplicate_ack_retransmits_the_first_segment() {
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(100);
    for _ in 0..2 {
        let _ = s.ack(0, &[]);
        assert_eq!(s.resend(), []);
    }
    let out = s.ack(0, &[]);
    assert_eq!(out.state_change, Some((CaState::Disorder, CaState::Recovery)));
    assert_eq!(s.resend(), [(0, Why::RetransmitFast)]);
    assert_eq!(s.ssthresh(), 5);
}

/// Shows: rfc5681-s2-a
#[test]
fn acks_that_are_not_duplicates_trigger_nothing() {
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(100);
    for _ in 0..5 {
        let _ = s.ack_raw(s.una, &[], false); // the window changed, or data came with it
    }
    assert_eq!((s.flight.state(), s.resend().len()), (CaState::Open, 0));
    let _ = s.ack(10, &[]);
    for _ in 0..5 {
        let _ = s.ack(10, &[]); // nothing is outstanding
    }
    assert_eq!(s.flight.state(), CaState::Open);
}

/// Shows: rfc3042-s2-a
#[test]
fn first_two_duplicates_let_new_segments_go() {
    let mut s = Sender::without_sack(3);
    s.send(3);
    s.wait(100);
    for _ in 0..2 {
        assert_eq!(s.room(), 0);
        let _ = s.ack(0, &[]);
        assert_eq!((s.room(), s.cwnd()), (1, 3));
        s.send(1);
    }
    assert!(s.flight.outstanding() <= (3 + 2) * MSS);
    let _ = s.ack(0, &[]);
    assert_eq!(s.resend(), [(0, Why::RetransmitFast)]);
}

/// Shows: rfc6582-s3.2-b
#[test]
fn partial_ack_retransmits_the_next_hole_at_once() {
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(100);
    for _ in 0..3 {
        let _ = s.ack(0, &[]);
    }
    assert_eq!(s.resend_numbers(), [0]);
    for _ in 0..5 {
        let _ = s.ack(0, &[]);
    }
    s.wait(100);
    let _ = s.ack(3, &[]); // 0 arrived; 3 was lost too
    assert_eq!(s.flight.state(), CaState::Recovery);
    assert_eq!(s.resend_numbers(), [3]);
    s.wait(100);
    let out = s.ack(10, &[]);
    assert_eq!(out.state_change, Some((CaState::Recovery, CaState::Open)));
    assert_eq!(s.p.delivered(), 10_000);
}

/// Shows: rfc6582-s3.2-a
#[test]
fn after_a_timeout_old_duplicates_start_no_fast_retransmit() {
    let mut s = Sender::without_sack(10);
    s.unsent = false;
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(100);
    let _ = s.ack(10, &[]);
    assert_eq!(s.flight.state(), CaState::Open);
    s.send(2);
    for _ in 0..4 {
        let _ = s.ack(10, &[]); // caused by needless retransmissions
    }
    assert_eq!((s.flight.state(), s.resend().len()), (CaState::Disorder, 0));
}

/// Shows: rfc6582-s3.2-c
#[test]
fn full_ack_with_little_in_flight_makes_no_burst() {
    let mut s = Sender::without_sack(40);
    s.send(40);
    s.wait(100);
    for _ in 0..39 {
        let _ = s.ack(0, &[]);
    }
    let _ = s.resend();
    s.wait(100);
    let _ = s.ack(40, &[]);
    assert_eq!(s.flight.state(), CaState::Open);
    assert!(s.room() <= 3, "{} segments at line rate", s.room());
}

/// Shows: rfc9937-s6.2-d
#[test]
fn forged_duplicate_acks_do_not_inflate_sending() {
    let mut s = Sender::without_sack(10);
    s.send(10);
    s.wait(100);
    let mut sent = 0;
    for _ in 0..1_000 {
        let _ = s.ack(0, &[]);
        sent += s.resend().len() as u32;
        let room = s.room();
        if room > 0 {
            s.send(room);
            sent += room;
        }
    }
    // Two by limited transmit, then no more than RecoverFS.
    let most = 2 + s.flight.prr.recover_fs / MSS;
    assert!(most <= 2 + 12 && sent <= most, "{sent} segments on forged duplicates");
}
