//! Reductions that prove needless are taken back (RFC 3522, RFC 3708, RFC 9438 4.9).

use super::*;

/// Shows: rfc9438-s4.9-a
#[test]
fn dsack_for_each_retransmission_restores_the_window() {
    let mut s = Sender::new(CongestionKind::Cubic, 20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]); // 0 is only late
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(5);
    let _ = s.ack(4, &[]);
    assert_eq!(s.flight.state(), CaState::Recovery);
    assert_eq!(s.ssthresh(), 14);
    s.wait(95);
    let out = s.ack(5, &[(0, 1)]);
    assert_eq!(out.undone, Some(UndoKind::Dsack));
    assert_eq!(s.flight.state(), CaState::Open);
    assert!(s.cwnd() >= 20, "back, and grown by what this ACK acknowledged");
    assert!(s.ssthresh() > 1_000);
}

/// The D-SACK comes after recovery has ended.
#[test]
fn late_dsack_still_restores_the_window() {
    let mut s = Sender::new(CongestionKind::Cubic, 20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    assert_eq!(s.resend_numbers(), [0]);
    s.wait(5);
    let _ = s.ack(20, &[]);
    assert_eq!((s.flight.state(), s.cwnd()), (CaState::Open, 14));
    assert!(s.flight.is_empty() && !s.flight.can_drop());
    s.send(2);
    s.wait(95);
    let out = s.ack(20, &[(0, 1)]);
    assert_eq!((out.undone, s.cwnd()), (Some(UndoKind::Dsack), 20));
    let _ = s.ack(22, &[]);
    assert!(s.flight.can_drop());
}

/// Without a D-SACK the undo information goes with the next flight.
#[test]
fn real_loss_leaves_nothing_to_undo() {
    let mut s = Sender::new(CongestionKind::Cubic, 20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 20)]);
    let _ = s.resend();
    s.wait(100);
    let _ = s.ack(20, &[]);
    s.send(2);
    s.wait(100);
    let out = s.ack(22, &[]);
    assert!(out.all_acked && s.flight.can_drop());
    assert_eq!(s.ssthresh(), 14);
}

/// Eifel: the ACK echoes a timestamp older than the retransmission.
#[test]
fn old_timestamp_restores_the_window() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    let _ = s.resend();
    s.wait(5);
    s.echo = Some(105); // of the original
    let out = s.ack(20, &[]);
    assert_eq!((out.undone, s.cwnd() >= 20), (Some(UndoKind::Timestamp), true));

    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    let _ = s.resend();
    s.wait(100);
    s.echo = Some(100); // of the retransmission
    let out = s.ack(20, &[]);
    assert_eq!(out.undone, None);
    assert!(s.cwnd() <= 11, "ssthresh, and grown by this ACK");
}

/// What is sent again before the late original comes is reordering all the same: the next one that is late is waited for.
///
/// Shows: rfc8985-s6.2-b
#[test]
fn original_behind_its_retransmission_is_reordering() {
    let mut s = Sender::new(CongestionKind::Cubic, 20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    assert_eq!(s.resend_numbers(), [0]);
    assert_eq!(s.p.reord_seen, 0);
    s.wait(5);
    s.echo = Some(105); // of the original
    let out = s.ack(4, &[]);
    assert_eq!((out.undone, s.p.reord_seen), (Some(UndoKind::Timestamp), 1));
    s.echo = None;
    s.wait(1);
    let _ = s.ack(5, &[(6, 10)]);
    assert_eq!(s.resend_numbers(), [], "5 may be late as well");
    s.wait(20);
    let _ = s.ack(10, &[]);
    assert_eq!((s.flight.state(), s.flight.lost()), (CaState::Open, 0));
}

/// A timeout that a timestamp proves spurious: nothing more is sent again, and the window is back.
#[test]
fn old_timestamp_after_a_timeout_restores_the_window() {
    let mut s = Sender::without_sack(10);
    s.cfg.frto = false;
    s.send(10);
    s.wait(1_000);
    let _ = s.rto();
    let _ = s.resend();
    s.wait(1);
    s.echo = Some(1_001);
    let out = s.ack(1, &[]);
    assert_eq!((out.undone, s.cwnd() >= 10), (Some(UndoKind::Timestamp), true));
    assert_eq!((s.flight.lost(), s.resend().len()), (0, 0));
}
