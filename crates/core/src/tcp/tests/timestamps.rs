//! Timestamps and PAWS (RFC 7323 3 to 5).

use super::kit::*;
use super::*;

fn on() -> Config {
    with(|c| c.timestamps = true)
}

/// ESTABLISHED with timestamps: TS.Recent is 500, ours begins at 100,000 ms.
fn agreed(config: Config) -> Host {
    Host::established_with(config, Options::default(), |o| {
        o.timestamps = Some(Timestamps { val: 500, ecr: 100_000 });
    })
}

fn ecr(out: &Outgoing) -> Option<u32> {
    out.hdr.options.timestamps.map(|t| t.ecr)
}

/// Shows: rfc7323-s3.2-a
#[test]
fn every_segment_carries_them_once_agreed() {
    let mut h = agreed(on());
    h.write(&pattern(3_000));
    let mut out = h.recv_all();
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).data(b"x"));
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).data(b"x"));
    out.extend(h.recv_all());
    h.shutdown();
    out.extend(h.timeline(secs(3)).into_iter().map(|(_, o)| o));
    h.abort();
    out.extend(h.recv_all());
    assert!(out.iter().any(|o| o.hdr.flags.contains(RST)) && out.iter().any(|o| o.hdr.flags.contains(FIN)));
    assert!(out.len() > 5 && out.iter().all(|o| o.hdr.options.timestamps.is_some()));
}

/// Shows: rfc7323-s3.2-a, rfc7323-s3.2-c
#[test]
fn without_agreement_nobody_uses_them() {
    for ours in [true, false] {
        let mut h = Host::connecting(with(|c| c.timestamps = ours), Options::default(), 1_000);
        assert_eq!(h.one().hdr.options.timestamps.is_some(), ours);
        h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| {
            o.mss = Some(1_460);
            o.timestamps = if ours { None } else { Some(Timestamps { val: 9, ecr: 9 }) };
        }));
        h.send(Seg::new(ACK, 5_001, 1_001).ts(700, 1).data(b"data"));
        h.send(Seg::new(ACK, 5_005, 1_001).ts(1, 1).data(b"more"));
        h.write(&pattern(2_000));
        let out = h.recv_all();
        assert!(out.iter().all(|o| o.hdr.options.timestamps.is_none()));
        assert!(out.iter().any(|o| o.data.len() == 1_460));
        assert_eq!(h.read(99), b"datamore", "processed as if it had none");
    }
}

/// Shows: rfc7323-s3.2-b
#[test]
fn segment_without_them_is_dropped_and_ends_nothing() {
    for strict in [rfc(), Config { window_scaling: false, ..Config::new(Profile::FreeBsd) }] {
        let mut h = agreed(Config { timestamps: true, ..strict });
        h.send(Seg::new(ACK, 5_001, 1_001).data(b"bare"));
        h.quiet();
        assert_eq!((h.conn.readable(), h.conn.state()), (0, State::Established));
        h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).data(b"good"));
        assert_eq!(h.read(9), b"good");
    }
    // Linux takes it.
    let mut h = agreed(on());
    h.send(Seg::new(ACK, 5_001, 1_001).data(b"bare"));
    assert_eq!(h.read(9), b"bare");
}

/// Shows: rfc7323-s3.2-d
#[test]
fn echo_is_zero_in_the_syn_and_ts_recent_afterwards() {
    let mut h = Host::connecting(on(), Options::default(), 1_000);
    assert_eq!(ecr(&h.one()), Some(0));
    h.send(Seg::new(SYN, 5_000, 0).ts(777, 12_345));
    assert_eq!(ecr(&h.one()), Some(777), "SYN-ACK: TSval of the SYN");
    let mut h = agreed(on());
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).data(b"x"));
    assert_eq!(ecr(&h.one()), Some(501));
}

/// Shows: rfc7323-s4.1-a
#[test]
fn only_an_ack_that_advances_gives_a_sample() {
    let mut h = agreed(on());
    h.write(b"data");
    h.one();
    h.advance(ms(100));
    let before = (h.info().rtt, h.info().rttvar);
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 1).win(1_000));
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 1).win(1_000));
    assert_eq!((h.info().rtt, h.info().rttvar), before, "window update and duplicate");
    h.send(Seg::new(ACK, 5_001, 1_005).ts(501, 100_010));
    assert_ne!((h.info().rtt, h.info().rttvar), before);
}

/// Shows: rfc7323-s4.3-a
#[test]
fn delayed_ack_echoes_the_earliest_unacknowledged_segment() {
    let mut config = on();
    config.quick_acks = 0;
    let mut h = agreed(config);
    for (i, val) in [601, 602, 603].into_iter().enumerate() {
        h.send(Seg::new(ACK, 5_001 + i as u32 * 10, 1_001).ts(val, 0).len(10));
    }
    let ack = h.wait(ms(499)).expect("ACK");
    assert_eq!((ack.hdr.ack.0, ecr(&ack)), (5_031, Some(601)));
}

/// Shows: rfc7323-s4.3-a, rfc7323-s5.3-b
#[test]
fn gap_echoes_the_last_in_order_segment_and_its_filling_the_filler() {
    // RFC 7323 4.3: A ts 1, C ts 3, B ts 2, E ts 5, D ts 4, in segments of ten bytes.
    let mut h = agreed(on());
    let mut echo = |n: u32, val: u32| {
        h.send(Seg::new(ACK, 5_001 + n * 10, 1_001).ts(500 + val, 0).len(10));
        ecr(&h.one()).map(|e| e - 500)
    };
    assert_eq!(echo(0, 1), Some(1));
    assert_eq!(echo(2, 3), Some(1));
    assert_eq!(echo(1, 2), Some(2));
    assert_eq!(echo(4, 5), Some(2));
    assert_eq!(echo(3, 4), Some(4));
    assert_eq!(h.conn.readable(), 50, "what was queued is not tested again");
}

/// Shows: rfc7323-s5.3-a
#[test]
fn older_timestamp_is_dropped_and_answered() {
    for (val, good) in [(499, false), (500, true), (501, true), (500u32.wrapping_sub(1 << 31) + 1, false)] {
        let mut h = agreed(on());
        h.send(Seg::new(ACK, 5_001, 1_001).ts(val, 0).data(b"data"));
        assert_eq!(h.conn.readable(), if good { 4 } else { 0 }, "{val}");
        let ack = h.one();
        assert_eq!(brief(&ack), (ACK, 1_001, if good { 5_005 } else { 5_001 }, 0));
    }
}

/// Shows: rfc7323-s5.3-a
#[test]
fn paws_comes_before_the_sequence_check() {
    let mut h = agreed(on());
    h.send(Seg::new(ACK, 5_001, 1_001).ts(600, 0).data(b"data"));
    h.recv_all();
    let before = h.stats.paws_estab_rejected;
    h.send(Seg::new(ACK, 5_001, 1_001).ts(599, 0).data(b"data"));
    assert_eq!(h.stats.paws_estab_rejected, before + 1, "counted as PAWS, not as a duplicate");
    assert_eq!(h.one().hdr.ack.0, 5_005);
}

/// Shows: rfc7323-s5.2-a
#[test]
fn resets_are_exempt_and_change_no_timestamp() {
    let mut h = agreed(on());
    h.send(Seg::new(RST, 5_001, 0).ts(1, 0));
    assert_eq!(h.conn.state(), State::Closed);
    let mut h = agreed(on());
    h.send(Seg::new(RST, 5_002, 0).ts(5_000, 0));
    assert_eq!(h.conn.state(), State::Established, "a challenge");
    assert_eq!(h.conn.rcv.ts_recent, 500);
}

/// Shows: rfc7323-s5.5-a
#[test]
fn ts_recent_goes_stale_after_24_days() {
    let day = 24 * 3_600;
    for (days, good) in [(23, false), (25, true)] {
        let mut h = agreed(on());
        h.now += secs(days * day);
        h.send(Seg::new(ACK, 5_001, 1_001).ts(400, 0).data(b"data"));
        assert_eq!(h.conn.readable(), if good { 4 } else { 0 }, "{days}");
        if good {
            assert_eq!(h.conn.rcv.ts_recent, 400);
        }
    }
}

/// Shows: rfc7323-s5.4-a
#[test]
fn clock_ticks_in_milliseconds_and_never_back() {
    let mut h = agreed(on());
    let (mut last, mut at) = (None::<u32>, h.now);
    for i in 0..50u32 {
        h.send(Seg::new(ACK, 5_001 + i, 1_001).ts(501 + i, 0).data(b"x"));
        let val = h.recv_all()[0].hdr.options.timestamps.expect("agreed").val;
        if let Some(last) = last {
            assert_eq!(u64::from(val.wrapping_sub(last)), h.now.since(at).as_millis() as u64);
        }
        (last, at) = (Some(val), h.now);
        h.now += ms(u64::from(i) * 1_000_000);
    }
}

/// Shows: rfc7323-s7.1-a, rfc7323-s5.4-a
#[test]
fn clock_has_an_offset_of_its_own_and_wraps() {
    let mut h = Host::with(on(), Options::default(), |cx, options| {
        Connection::open_active(cx, tuple(), SeqNum(1_000), u32::MAX - 100_005, options, path())
    });
    let val = |o: &Outgoing| o.hdr.options.timestamps.expect("agreed").val;
    assert_eq!(val(&h.one()), u32::MAX - 5, "now is 100,000 ms");
    h.send(Seg::new(SYN_ACK, 5_000, 1_001).ts(1, u32::MAX - 5));
    h.one();
    h.write(b"x");
    h.advance(ms(10));
    assert_eq!(val(&h.one()), 4);
    h.advance(ms(90));
    h.send(Seg::new(ACK, 5_001, 1_002).ts(2, 4));
    assert!(h.info().rtt < ms(100), "the wrap confuses no sample: {:?}", h.info().rtt);
}

/// Shows: cve-2005-0356-paws
#[test]
fn spoofed_future_timestamp_does_not_freeze_the_connection() {
    let mut h = agreed(on());
    for seq in [5_002, 5_500, 5_001 + 70_000, 4_000] {
        h.send(Seg::new(ACK, seq, 1_001).ts(500 + (1 << 30), 0).len(4));
    }
    h.recv_all();
    assert_eq!(h.conn.rcv.ts_recent, 500);
    h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).data(b"d"));
    assert!(h.conn.rcv.nxt.0 > 5_001, "genuine data still counts");
}

/// Shows: cve-2005-0356-paws, rfc9293-s3.10.7.4-f
#[test]
fn segment_with_a_bad_ack_does_not_move_ts_recent() {
    let mut h = agreed(on());
    h.send(Seg::new(ACK, 5_001, 9_999).ts(500 + (1 << 30), 0).data(b"evil"));
    h.send(Seg::new(Flags::empty(), 5_001, 0).ts(500 + (1 << 30), 0).data(b"evil"));
    h.send(Seg::new(SYN, 5_001, 0).ts(500 + (1 << 30), 0));
    assert_eq!(h.conn.rcv.ts_recent, 500);
}

/// Shows: rfc7323-s4.3-a
#[test]
fn keep_alive_probe_of_an_old_number_keeps_ts_recent_fresh() {
    let mut h = agreed(on());
    h.send(Seg::new(ACK, 5_001, 1_001).ts(600, 0));
    assert_eq!(h.conn.rcv.ts_recent, 600, "an empty segment at Last.ACK.sent counts");
}

/// Shows: rfc7323-s4.3-a, cve-2005-0356-paws
#[test]
fn last_segment_again_is_echoed_by_its_new_timestamp() {
    // The ACK of the first copy was lost: the echo of the old value would make a round trip of the wait.
    for (seq, len, ack, echo) in
        [(5_011, 10, 1_001, 900), (5_001, 20, 1_001, 900), (5_001, 10, 1_001, 501), (5_011, 10, 9_999, 501)]
    {
        let mut h = agreed(on());
        h.send(Seg::new(ACK, 5_001, 1_001).ts(501, 0).len(20));
        assert_eq!(ecr(&h.one()), Some(501));
        h.send(Seg::new(ACK, seq, ack).ts(900, 0).len(len));
        assert_eq!(ecr(&h.one()), Some(echo), "{seq} {len} {ack}");
    }
}
