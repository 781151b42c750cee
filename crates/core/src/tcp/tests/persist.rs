//! Probing closed windows (RFC 9293 3.8.6.1, RFC 6429).

use super::kit::*;
use super::*;

/// ESTABLISHED, the peer's window closed, 100 bytes waiting.
fn stuck(config: Config, options: Options) -> Host {
    let mut h = Host::established(config, options);
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    h.write(&[2; 100]);
    h.quiet();
    h
}

/// The RTO, rounded up to milliseconds.
fn rto_of(h: &Host) -> u64 {
    h.info().rto.as_micros().div_ceil(1_000) as u64
}

/// Shows: rfc9293-SHLD-29, rfc9293-MUST-36
#[test]
fn first_probe_leaves_after_one_rto() {
    for config in [plain(), rfc()] {
        let mut h = stuck(config, Options::default());
        let rto = rto_of(&h);
        let at = h.times(ms(rto));
        assert!(matches!(at[..], [at] if at >= rto - 1), "{at:?} {rto}");
    }
}

/// Shows: rfc9293-SHLD-30, rfc9293-MUST-37
#[test]
fn gaps_between_probes_double_up_to_the_cap() {
    for answered in [true, false] {
        let mut h = stuck(plain(), Options::default());
        let (mut last, mut gaps) = (h.now, Vec::new());
        for _ in 0..13 {
            h.wait(secs(200)).expect("probe");
            gaps.push(h.now.since(last).as_millis() as u64);
            last = h.now;
            if answered {
                h.send(Seg::new(ACK, 5_001, 1_001).win(0));
            }
        }
        for pair in gaps.windows(2) {
            assert_eq!(pair[1], (pair[0] * 2).min(120_000), "{gaps:?}");
        }
        assert_eq!(gaps[12], 120_000);
    }
}

/// Shows: rfc9293-MUST-37, rfc6429-s4-a
#[test]
fn probing_goes_on_for_a_day_if_it_is_answered() {
    let mut h = stuck(plain(), Options::default());
    let end = h.now + secs(24 * 3_600);
    let mut probes = 0;
    while h.now < end {
        if h.wait(end.since(h.now)).is_some() {
            probes += 1;
            h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        }
    }
    assert!(probes > 24 * 30, "at least one in two minutes: {probes}");
    assert_eq!(h.conn.state(), State::Established);
    h.close();
    h.abort();
    assert_eq!(h.done, Some(Done::Closed), "the application can end it");
}

/// Shows: rfc9293-MUST-37, rfc9293-SHLD-11
#[test]
fn unanswered_probes_end_the_connection_in_the_end() {
    let mut h = stuck(plain(), Options::default());
    let start = h.now;
    h.timeline(secs(10_000));
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)));
    assert!(h.now.since(start) > secs(100));
}

/// Shows: rfc9293-MUST-36
#[test]
fn lost_window_update_is_made_good_by_a_probe() {
    let mut h = stuck(plain(), Options::default());
    let probe = h.wait(secs(5)).expect("probe");
    assert!(probe.hdr.seq.lt(SeqNum(1_001)), "a probe draws an ACK, by its old sequence number");
    assert_eq!(probe.hdr.seq + probe.data.len() as u32, SeqNum(1_000));
    h.send(Seg::new(ACK, 5_001, 1_001).win(2_000));
    assert_eq!(brief(&h.one()), (PSH_ACK, 1_001, 5_001, 100));
    h.ack(1_101);
    assert!(h.timeline(secs(300)).is_empty(), "no probe afterwards");
}

/// Shows: rfc9293-MUST-35, rfc9293-MUST-34
#[test]
fn shrink_to_zero_starts_probing() {
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(2);
    h.write(&[3; 500]);
    h.send(Seg::new(ACK, 5_001, 1_001 + 2 * MSS).win(0));
    let first = h.recv_all();
    assert!(first.is_empty() || first[0].hdr.seq.0 == 1_001 + 2 * MSS, "sent before the window closed");
    let mut h = Host::established(plain(), Options::default());
    h.send_segments(10);
    h.write(&[3; 500]);
    h.send(Seg::new(ACK, 5_001, 1_001 + 10 * MSS).win(0));
    h.quiet();
    let rto = rto_of(&h);
    let at = h.times(ms(8 * rto));
    assert_eq!(at.len(), 3, "{at:?}");
    for (at, factor) in at.into_iter().zip([1, 3, 7]) {
        assert!(at.abs_diff(factor * rto) <= 8, "{at} {factor} {rto}");
    }
}

/// Shows: rfc2525-s2.12-a, rfc9293-MUST-38
#[test]
fn window_that_reopens_by_a_little_makes_progress_each_time() {
    let mut h = Host::established(plain(), Options::default());
    h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    h.write(&pattern(5_000));
    let mut acked = 1_001;
    for window in [1u16, 10, 2_000] {
        h.wait(secs(5)).expect("probe");
        h.send(Seg::new(ACK, 5_001, acked).win(window));
        let sent = h.timeline(secs(2));
        let end = sent.iter().map(|(_, o)| (o.hdr.seq + o.data.len() as u32).0).max().expect("progress");
        assert!(end > acked && end <= acked + u32::from(window), "{window}: {acked} {end}");
        acked = end;
        h.send(Seg::new(ACK, 5_001, acked).win(0));
        h.recv_all();
    }
}

/// Shows: rfc2525-s2.12-a, rfc9293-MAY-8
#[test]
fn probe_beyond_our_window_is_answered() {
    let mut h = Host::established(plain(), socket(|o| o.rcvbuf = Some(1_000)));
    h.send(Seg::new(ACK, 5_001, 1_001).len(1_000));
    h.recv_all();
    for seq in [6_000, 6_001] {
        for len in [0, 1, 100] {
            h.advance(secs(1));
            h.send(Seg::new(ACK, seq, 1_001).len(len));
            if seq == 6_001 && len == 0 {
                h.quiet(); // an acceptable ACK, no probe
            } else {
                assert_eq!(brief(&h.one()), (ACK, 1_001, 6_001, 0), "{seq} {len}");
            }
        }
    }
}

/// Shows: persist-exhaustion, rfc9293-MUST-21, rfc6429-s4-a
#[test]
fn user_timeout_ends_a_persisting_connection_although_probes_are_answered() {
    let mut h = stuck(plain(), socket(|o| o.user_timeout = Some(secs(30))));
    let start = h.now;
    while h.done.is_none() && h.now.since(start) < secs(100) {
        if h.wait(secs(100)).is_some() {
            h.send(Seg::new(ACK, 5_001, 1_001).win(0));
        }
    }
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)));
    assert_eq!(h.now.since(start), secs(30));
}

/// Shows: rfc9293-SHLD-29
#[test]
fn probing_starts_anew_after_progress() {
    let mut h = stuck(plain(), Options::default());
    for _ in 0..5 {
        h.wait(secs(100)).expect("probe");
        h.send(Seg::new(ACK, 5_001, 1_001).win(0));
    }
    h.send(Seg::new(ACK, 5_001, 1_001).win(100));
    h.one();
    h.send(Seg::new(ACK, 5_001, 1_101).win(0));
    h.write(&[3; 100]);
    let rto = rto_of(&h);
    let at = h.times(ms(rto));
    assert!(matches!(at[..], [at] if at >= rto - 1), "{at:?} {rto}");
}
