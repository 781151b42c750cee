//! Keep-alive (RFC 9293 3.8.4).

use super::kit::*;
use super::*;

/// SO_KEEPALIVE with 30 s before the first probe, 10 s between, 3 of them.
fn brisk() -> Options {
    socket(|o| {
        o.keepalive = true;
        o.keepidle = Some(secs(30));
        o.keepintvl = Some(secs(10));
        o.keepcnt = Some(3);
    })
}

/// Shows: rfc9293-MUST-25
#[test]
fn idle_connection_sends_nothing_unless_asked_to() {
    let mut h = Host::established(plain(), Options::default());
    assert!(h.timeline(secs(36_000)).is_empty());
    assert_eq!(h.conn.state(), State::Established);
}

/// Shows: rfc9293-MUST-28, rfc9293-MAY-5, rfc9293-MUST-24
#[test]
fn first_probe_by_default_after_two_hours() {
    for config in [plain(), rfc(), Config::new(Profile::FreeBsd)] {
        let mut h = Host::established(config, socket(|o| o.keepalive = true));
        let at = h.timeline(secs(7_201));
        assert_eq!(at.len(), 1);
        assert_eq!(at[0].0, 7_200_000);
    }
}

/// Shows: rfc9293-SHLD-12, rfc9293-MUST-27
#[test]
fn probe_has_an_old_sequence_number_and_no_text() {
    let mut h = Host::established(plain(), brisk());
    let out = h.timeline(ms(30_000));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].0, 30_000);
    assert_eq!(brief(&out[0].1), (ACK, 1_000, 5_001, 0), "<SEQ=SND.NXT-1><ACK=RCV.NXT><CTL=ACK>");
}

/// Shows: rfc9293-MAY-6
#[test]
fn probe_may_carry_one_garbage_octet() {
    let mut h = Host::established(with(|c| c.keepalive_garbage = true), brisk());
    let probe = h.wait(secs(31)).expect("probe");
    assert_eq!(brief(&probe), (ACK, 1_000, 5_001, 1));
    h.ack(1_001);
    h.write(b"abc");
    assert_eq!(brief(&h.one()), (PSH_ACK, 1_001, 5_001, 3), "the stream is as it was");
}

/// Shows: rfc9293-MUST-26
#[test]
fn anything_heard_restarts_the_wait() {
    for seg in [Seg::new(ACK, 5_001, 1_001), Seg::new(ACK, 5_001, 1_001).data(b"x")] {
        let mut h = Host::established(plain(), brisk());
        h.advance(secs(27));
        h.send(seg);
        h.recv_all();
        let at: Vec<u64> =
            h.timeline(ms(30_000)).iter().filter(|(_, o)| o.hdr.seq.0 == 1_000).map(|t| t.0).collect();
        assert_eq!(at, [30_000]);
    }
}

/// Shows: rfc9293-MUST-26
#[test]
fn no_probe_while_data_is_unacknowledged() {
    let mut h = Host::established(plain(), brisk());
    h.write(b"unacknowledged");
    let out = h.timeline(secs(300));
    assert!(out.len() > 5);
    assert!(out.iter().all(|(_, o)| o.hdr.seq.0 == 1_001 && o.data.len() == 14), "only retransmissions");
}

/// Shows: rfc9293-MUST-29
#[test]
fn one_lost_answer_does_not_end_the_connection() {
    let mut h = Host::established(plain(), brisk());
    assert_eq!(h.times(secs(41)), [30_000, 40_000]);
    h.ack(1_001);
    let at = h.times(secs(31));
    assert_eq!(at, [30_000], "the wait is the idle time again");
    assert_eq!(h.conn.state(), State::Established);
}

/// Shows: rfc9293-MUST-29, rfc9293-MUST-27
#[test]
fn several_unanswered_probes_end_it() {
    let mut h = Host::established(plain(), brisk());
    let out = h.timeline(secs(200));
    let at: Vec<u64> = out.iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [30_000, 40_000, 50_000, 60_000]);
    assert!(out[3].1.hdr.flags.contains(RST), "and the peer is told");
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)));
}

/// Shows: rfc9293-MUST-24
#[test]
fn option_can_be_switched_at_any_time() {
    let mut h = Host::established(plain(), Options::default());
    h.advance(secs(100));
    h.set(|o| *o = brisk());
    let out = h.wait(secs(31)).expect("probe");
    assert_eq!(out.hdr.seq.0, 1_000);
    h.set(|o| o.keepalive = false);
    assert!(h.timeline(secs(10_000)).is_empty());
    assert_eq!(h.conn.state(), State::Established);
}

/// Shows: rfc9293-MUST-26, rfc9293-MUST-24
#[test]
fn probing_resumes_once_all_is_acknowledged() {
    let mut h = Host::established(plain(), brisk());
    h.write(b"data");
    h.one();
    h.ack(1_005);
    let out = h.timeline(ms(30_000));
    assert_eq!(out.len(), 1);
    assert_eq!(brief(&out[0].1), (ACK, 1_004, 5_001, 0));
}

/// Shows: rfc9293-MUST-24, rfc9293-MUST-21
#[test]
fn user_timeout_bounds_the_probing() {
    let mut h = Host::established(plain(), Options { user_timeout: Some(secs(45)), ..brisk() });
    let start = h.now;
    h.timeline(secs(500));
    assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
    let lasted = h.now.since(start);
    assert!(lasted >= secs(45) && lasted <= secs(60), "{lasted:?}");
}

/// Shows: rfc9293-MAY-5
#[test]
fn half_closed_connections_are_kept_alive_too() {
    for state in [State::FinWait2, State::CloseWait] {
        let mut h = Host::in_state(plain(), state);
        h.set(|o| *o = brisk());
        let probe = h.wait(secs(31)).expect("probe");
        assert_eq!(probe.hdr.seq, h.conn.snd.nxt - 1, "{state}");
        h.timeline(secs(100));
        assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
    }
}

/// Shows: rfc9293-SHLD-12
#[test]
fn probe_of_the_peer_is_answered() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_000, 1_001));
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_001, 0));
    h.advance(secs(10));
    h.send(Seg::new(ACK, 5_000, 1_001).data(b"x"));
    assert_eq!(brief(&h.one()), (ACK, 1_001, 5_001, 0));
    assert_eq!(h.conn.readable(), 0);
}
