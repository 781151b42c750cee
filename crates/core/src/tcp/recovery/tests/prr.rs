//! Proportional rate reduction (RFC 9937).

use super::*;

/// Shows: rfc9937-s6.2-a, rfc9937-s6.4-a, rfc9438-s4.6-a
#[test]
fn one_loss_of_twenty_sends_seven_for_ten() {
    let mut s = Sender::new(CongestionKind::Cubic, 20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 4)]);
    assert_eq!(s.ssthresh(), 14);
    let mut sent = s.resend().len() as u32;
    assert_eq!(sent, 1);
    for top in 5..=14 {
        let _ = s.ack(0, &[(1, top)]);
        sent += s.resend().len() as u32;
        while s.room() > 0 {
            s.send(1);
            sent += 1;
        }
        // 14/20 of what was delivered since recovery began, 3 segments at its start.
        let delivered = top - 1;
        assert!(sent.abs_diff(delivered * 14 / 20) <= 1, "{sent} sent for {delivered}");
    }
    s.wait(100);
    let _ = s.ack(20, &[]);
    assert_eq!((s.flight.state(), s.cwnd()), (CaState::Open, 14));
}

/// The share of what the first ACK of recovery reports is less than a segment; one goes all the same.
///
/// Shows: rfc9937-s6.2-c
#[test]
fn first_ack_of_recovery_sends_one_segment() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(0, &[(1, 2)]);
    let _ = s.ack(0, &[(1, 3)]);
    assert_eq!((s.flight.state(), s.resend().len()), (CaState::Disorder, 0));
    let _ = s.ack(0, &[(1, 4)]);
    assert_eq!((s.flight.state(), s.ssthresh()), (CaState::Recovery, 10));
    assert!(s.flight.prr.recover_fs > 10 * MSS, "ceil(1 * 10 / RecoverFS) is no whole segment");
    assert_eq!(s.resend().len(), 1);
}

/// Shows: rfc9937-s6.1-a
#[test]
fn recover_fs_is_the_flight_before_the_event() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    let _ = s.ack(1, &[]);
    let _ = s.ack(1, &[(8, 9)]);
    let _ = s.ack(1, &[(8, 12)]);
    // 19 from SND.UNA, 4 SACKed, of which 3 newly.
    assert_eq!(s.flight.state(), CaState::Recovery);
    assert_eq!(s.flight.prr.recover_fs, (19 - 4 + 3) * MSS);
}

/// Shows: rfc9937-s6.2-b
#[test]
fn burst_loss_retransmits_at_once_and_conserves() {
    let mut s = Sender::reno(20);
    s.send(20);
    s.wait(100);
    // 0 to 15 are lost: in flight falls far below ssthresh.
    let _ = s.ack(0, &[(16, 17)]);
    let _ = s.ack(0, &[(16, 18)]);
    let out = s.ack(0, &[(16, 19)]);
    assert_eq!((out.newly_lost, s.ssthresh()), (16_000, 10));
    // CRB: as much as was delivered, at least one.
    assert_eq!(s.resend().len(), 1);
    let _ = s.ack(0, &[(16, 20)]);
    assert_eq!(s.resend().len(), 1);
    s.wait(100);
    // SSRB: SND.UNA advances without a new loss: one more than delivered.
    let _ = s.ack(1, &[(16, 20)]);
    assert_eq!(s.resend().len(), 2);
}
