//! ICMP errors about a connection (RFC 9293 3.9.2.2, RFC 5927, RFC 5461).

use super::kit::*;
use super::*;
use crate::tcp::icmp::IcmpKind;

/// Shows: rfc9293-MUST-56, rfc9293-MUST-47, rfc9293-SHLD-25
#[test]
fn soft_error_ends_nothing_and_can_be_asked_for() {
    for error in [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EPROTO] {
        for state in SYNCHRONIZED {
            let mut h = Host::in_state(plain(), state);
            if h.write(b"data") == 0 && h.conn.snd.una == h.conn.snd.nxt {
                continue; // nothing in flight to quote
            }
            h.recv_all();
            let una = h.conn.snd.una.0;
            let outcome = h.icmp(IcmpKind::Soft(error), una);
            assert_eq!(outcome.done, None);
            assert_eq!((h.conn.state(), h.conn.error(), h.conn.soft_error()), (state, None, Some(error)));
        }
    }
}

/// Shows: rfc9293-MUST-56
#[test]
fn data_still_flows_after_a_soft_error() {
    let mut h = Host::established(plain(), Options::default());
    h.write(b"data");
    h.one();
    let _ = h.icmp(UNREACHABLE, 1_001);
    h.ack(1_005);
    assert_eq!(h.conn.soft_error(), None, "progress forgets it");
    h.send(Seg::new(ACK, 5_001, 1_005).data(b"back"));
    assert_eq!(h.read(9), b"back");
}

/// Shows: rfc9293-SHLD-25, rfc9293-MUST-47
#[test]
fn soft_error_is_what_a_timeout_reports() {
    let mut h = Host::established(plain(), Options::default());
    h.write(b"data");
    h.one();
    let _ = h.icmp(UNREACHABLE, 1_001);
    h.timeline(secs(5_000));
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::EHOSTUNREACH)));
}

/// Shows: rfc9293-SHLD-20, rfc9293-MUST-47
#[test]
fn soft_errors_are_reported_at_once_only_if_asked_for() {
    for recverr in [false, true] {
        let mut h = Host::established(plain(), socket(|o| o.recverr = recverr));
        h.write(b"data");
        h.one();
        let outcome = h.icmp(UNREACHABLE, 1_001);
        assert_eq!(outcome.ready.contains(Ready::ERR), recverr);
        assert_eq!(h.conn.take_error().is_some(), recverr);
        assert_eq!(h.conn.state(), State::Established);
    }
}

/// Shows: rfc9293-SHLD-26
#[test]
fn hard_error_aborts_an_attempt() {
    for state in [State::SynSent, State::SynReceived] {
        let mut h = Host::in_state(plain(), state);
        let outcome = h.icmp(REFUSED, 1_000);
        assert_eq!(outcome.done, Some(Done::Closed));
        assert_eq!(h.conn.error(), Some(Errno::ECONNREFUSED));
        h.quiet();
    }
}

/// Shows: rfc5927-s5.2-a, rfc9293-SHLD-26, cve-2004-0790-icmp
#[test]
fn hard_error_is_soft_in_synchronized_states() {
    for error in [Errno::ECONNREFUSED, Errno::ENOPROTOOPT] {
        let mut h = Host::established(plain(), Options::default());
        h.write(b"data");
        h.one();
        let outcome = h.icmp(IcmpKind::Hard(error), 1_001);
        assert_eq!((outcome.done, h.conn.state()), (None, State::Established));
        assert_eq!((h.conn.error(), h.conn.soft_error()), (None, Some(error)));
        h.ack(1_005);
        h.send(Seg::new(ACK, 5_001, 1_005).data(b"back"));
        assert_eq!(h.read(9), b"back");
    }
}

/// Shows: rfc5927-s4.1-a, cve-2004-0790-icmp
#[test]
fn error_counts_only_if_it_quotes_what_is_in_flight() {
    for (seq, counts) in [(1_000, false), (1_001, true), (1_100, true), (1_101, false), (0x8000_0000, false)]
    {
        let mut h = Host::established(plain(), Options::default());
        h.write(&[1; 100]);
        h.one();
        let before = h.stats.tcp_icmp_out_of_window;
        let _ = h.icmp(UNREACHABLE, seq);
        assert_eq!(h.conn.soft_error().is_some(), counts, "{seq}");
        assert_eq!(h.stats.tcp_icmp_out_of_window - before, u64::from(!counts));
    }
    let mut h = Host::in_state(plain(), State::SynSent);
    let _ = h.icmp(REFUSED, 999);
    let _ = h.icmp(REFUSED, 1_001);
    assert_eq!(h.conn.state(), State::SynSent);
}

/// Shows: rfc5927-s4.1-a
#[test]
fn error_on_an_idle_connection_has_nothing_to_quote() {
    let mut h = Host::established(plain(), Options::default());
    for seq in [1_000, 1_001, 1_002] {
        for kind in [UNREACHABLE, REFUSED, too_big(600)] {
            let _ = h.icmp(kind, seq);
        }
    }
    assert_eq!((h.conn.soft_error(), h.conn.pmtu()), (None, 1_500));
}

/// Shows: rfc5461-s4.1-a
#[test]
fn soft_error_leaves_an_attempt_alone_until_it_times_out() {
    let mut h = Host::in_state(rfc(), State::SynSent);
    let _ = h.icmp(UNREACHABLE, 1_000);
    assert_eq!((h.conn.state(), h.conn.error()), (State::SynSent, None));
    h.timeline(secs(600));
    assert_eq!(h.conn.error(), Some(Errno::EHOSTUNREACH));
}

/// Shows: rfc5461-s4.1-a, rfc9293-s3.5-a
#[test]
fn attempt_succeeds_in_spite_of_a_soft_error() {
    let mut h = Host::in_state(rfc(), State::SynSent);
    let _ = h.icmp(UNREACHABLE, 1_000);
    h.send(Seg::new(SYN_ACK, 5_000, 1_001));
    assert_eq!((h.conn.state(), h.conn.error()), (State::Established, None));
}

/// Linux tries the next address sooner.
/// Shows: rfc5461-s4.1-a
#[test]
fn soft_error_ends_an_attempt_on_linux() {
    let mut h = Host::in_state(plain(), State::SynSent);
    let outcome = h.icmp(UNREACHABLE, 1_000);
    assert_eq!((outcome.done, h.conn.error()), (Some(Done::Closed), Some(Errno::EHOSTUNREACH)));
}

/// Shows: cve-2004-0790-icmp
#[test]
fn forged_errors_neither_reset_nor_throttle() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(4);
    let before = (h.cwnd(), h.info().rto, h.info().snd_mss);
    for seq in [1_000, 1_001 + 4 * MSS, 77, 0x9000_0000] {
        for kind in [REFUSED, UNREACHABLE, too_big(68), too_big(552), too_big(0)] {
            let outcome = h.icmp(kind, seq);
            assert_eq!((outcome.done, outcome.pmtu), (None, None));
        }
    }
    assert_eq!((h.cwnd(), h.info().rto, h.info().snd_mss), before);
    assert_eq!(h.conn.state(), State::Established);
    h.quiet();
}
