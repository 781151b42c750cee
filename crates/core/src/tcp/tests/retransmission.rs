//! The retransmission timer (RFC 6298, RFC 9293 3.8.1 to 3.8.3, 3.10.8).

use super::kit::*;
use super::*;

/// Neither loss probes nor F-RTO: the timer alone.
fn timer_only(mut config: Config) -> Config {
    config.tlp = false;
    config.frto = false;
    config
}

/// The RTO in milliseconds, rounded up.
fn rto(h: &Host) -> u64 {
    h.info().rto.as_micros().div_ceil(1_000) as u64
}

/// Sends `n` bytes and acknowledges them after `rtt`.
fn round(h: &mut Host, n: usize, rtt: u64) {
    h.write(&pattern(n));
    h.recv_all();
    h.advance(ms(rtt));
    let nxt = h.conn.snd.nxt.0;
    h.ack(nxt);
    assert!(h.recv_all().is_empty());
}

/// Shows: rfc6298-s2-b
#[test]
fn estimate_follows_the_formulas() {
    let mut config = rfc();
    config.rto_min = ms(1);
    let mut h = Host::connecting(config, Options::default(), 1_000);
    h.one();
    let (mut srtt, mut rttvar) = (0.0, 0.0);
    for (i, r) in [100u64, 100, 200, 50, 120].into_iter().enumerate() {
        if i == 0 {
            h.advance(ms(r));
            h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
            h.recv_all();
            (srtt, rttvar) = (r as f64, r as f64 / 2.0);
        } else {
            round(&mut h, 10, r);
            rttvar = 0.75 * rttvar + 0.25 * (srtt - r as f64).abs();
            srtt = 0.875 * srtt + 0.125 * r as f64;
        }
        let info = h.info();
        let close = |got: Duration, want: f64| (got.as_secs_f64() * 1_000.0 - want).abs() < 0.1;
        assert!(close(info.rtt, srtt), "{i}: {:?} {srtt}", info.rtt);
        assert!(close(info.rttvar, rttvar), "{i}: {:?} {rttvar}", info.rttvar);
        assert!(close(info.rto, srtt + 4.0 * rttvar), "{i}: {:?}", info.rto);
    }
}

/// Shows: rfc6298-s2-c
#[test]
fn floor_of_the_rto_is_a_setting() {
    for (floor, want) in [(1_000, 1_000), (200, 200)] {
        let mut h = Host::established(timer_only(Config { rto_min: ms(floor), ..rfc() }), Options::default());
        for _ in 0..100 {
            round(&mut h, 10, 1);
        }
        h.write(b"lost");
        h.one();
        assert_eq!(h.times(ms(want)), [want]);
    }
}

/// Shows: rfc6298-s5-b, rfc9293-MUST-19
#[test]
fn silence_doubles_the_time_between_retransmissions() {
    for config in [timer_only(plain()), timer_only(rfc())] {
        let mut h = Host::established(config, Options::default());
        h.write(b"lost");
        h.one();
        let first = rto(&h);
        let out = h.timeline(secs(60));
        assert!(out.iter().all(|(_, o)| brief(o) == (PSH_ACK, 1_001, 5_001, 4)));
        for (i, (at, _)) in out.iter().enumerate() {
            let want = first * ((2 << i) - 1);
            assert!(at.abs_diff(want) <= want / 50, "{i}: {at} {want}");
        }
        assert!(out.len() >= 5);
    }
}

/// Shows: rfc6298-s2-d
#[test]
fn back_off_saturates_at_no_less_than_a_minute() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    h.write(b"lost");
    h.one();
    let at = h.times(secs(2_000));
    let gaps: Vec<u64> = at.windows(2).map(|w| w[1] - w[0]).collect();
    let max = gaps.iter().max().expect("gaps");
    assert_eq!(*max, 120_000);
    assert!(gaps.windows(2).all(|w| w[1] >= w[0]));
}

/// Shows: rfc6298-s5-a
#[test]
fn timer_restarts_when_new_data_is_acknowledged() {
    let mut h = Host::established(timer_only(plain()), socket(|o| o.nodelay = true));
    for _ in 0..5 {
        round(&mut h, 10, 400);
    }
    let una = h.conn.snd.una.0;
    h.write(&[1; 10]);
    h.one();
    h.advance(ms(300));
    h.write(&[2; 10]);
    h.one();
    h.advance(ms(100));
    h.ack(una + 10);
    let wait = rto(&h);
    let at = h.times(ms(wait));
    assert!(
        matches!(at[..], [at] if at + 1 >= wait),
        "one RTO after the ACK, not after the first send: {at:?}"
    );
}

/// Shows: rfc6298-s5-a
#[test]
fn timer_stops_when_all_is_acknowledged_and_starts_with_the_first_send() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    assert!(h.conn.next_deadline().is_never());
    h.write(&[1; 10]);
    h.one();
    h.advance(ms(50));
    h.write(&[1; 1_460]);
    h.recv_all();
    let left = h.conn.next_deadline().since(h.now);
    assert_eq!(left, h.info().rto - ms(50), "new data does not restart it");
    let nxt = h.conn.snd.nxt.0;
    h.ack(nxt);
    h.recv_all();
    let nxt = h.conn.snd.nxt.0;
    h.ack(nxt);
    assert!(h.conn.next_deadline().is_never());
}

/// Shows: rfc2525-s2.14-a, rfc6298-s5-b
#[test]
fn timeout_retransmits_one_segment() {
    for config in [timer_only(plain()), plain(), rfc()] {
        let mut h = Host::established(Config { initial_cwnd: 20, ..config }, Options::default());
        h.send_segments(20);
        let first = h.wait(secs(5)).expect("retransmission");
        let rest = h.recv_all();
        assert!(rest.is_empty(), "one segment, not the window: {}", rest.len());
        assert!(
            first.hdr.seq.0 == 1_001 || first.hdr.seq.0 == 1_001 + 19 * MSS,
            "the first, or a loss probe"
        );
    }
}

/// Shows: rfc9293-MUST-18, rfc6298-s5-b
#[test]
fn acknowledgment_of_a_retransmission_is_no_sample() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    round(&mut h, 10, 100);
    let before = (h.info().rtt, h.info().rttvar);
    let una = h.conn.snd.una.0;
    h.write(b"lost");
    h.one();
    h.wait(secs(5)).expect("retransmission");
    h.advance(ms(50));
    let backed_off = h.info().rto;
    h.ack(una + 4);
    assert_eq!((h.info().rtt, h.info().rttvar), before, "Karn");
    h.write(b"next");
    h.one();
    let wait = h.info().rto;
    assert!(
        wait == backed_off || wait * 2 == backed_off,
        "backed off until a new sample: {wait:?} {backed_off:?}"
    );
    h.advance(ms(100));
    h.ack(una + 8);
    assert_ne!(h.info().rtt, Duration::ZERO);
    assert!(h.info().rto < backed_off);
}

/// Shows: rfc6298-s5-b
#[test]
fn backed_off_rto_persists_until_a_valid_sample() {
    let mut h = Host::established(timer_only(rfc()), Options::default());
    let base = rto(&h);
    h.write(b"lost");
    h.one();
    for _ in 0..3 {
        h.wait(secs(10)).expect("retransmission");
    }
    h.ack(1_005);
    h.write(b"next");
    h.one();
    let at = h.times(ms(base * 8));
    assert!(matches!(at[..], [at] if at.abs_diff(base * 8) <= 8), "{at:?} {base}");
}

/// Shows: rfc9293-MUST-18, rfc7323-s4.1-a
#[test]
fn timestamps_tell_retransmissions_apart() {
    let config = timer_only(with(|c| c.timestamps = true));
    let mut h = Host::established_with(config, Options::default(), |o| {
        o.timestamps = Some(Timestamps { val: 1, ecr: 100_000 });
    });
    h.write(b"lost");
    h.one();
    let again = h.wait(secs(5)).expect("retransmission");
    let sent = again.hdr.options.timestamps.expect("agreed").val;
    let before = h.info().rtt;
    h.advance(ms(77));
    h.send(Seg::new(ACK, 5_001, 1_005).ts(2, sent));
    assert_ne!(h.info().rtt, before, "the echo names the retransmission: a sample of 77 ms");
}

/// Shows: rfc6298-s5-c
#[test]
fn rto_is_three_seconds_after_a_lost_syn() {
    for config in [timer_only(plain()), timer_only(rfc())] {
        let mut h = Host::connecting(config, Options::default(), 1_000);
        h.one();
        h.wait(secs(2)).expect("SYN again");
        h.advance(ms(50));
        h.send(Seg::new(SYN_ACK, 5_000, 1_001).opt(|o| o.mss = Some(1_460)));
        h.recv_all();
        h.write(b"lost");
        h.one();
        assert_eq!(h.times(ms(3_000)), [3_000]);
    }
}

/// Shows: rfc6298-s3-a
#[test]
fn every_round_trip_is_sampled() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    let mut updates = 0;
    for i in 0..100 {
        let before = h.info().rtt;
        round(&mut h, 10, 50 + i * 3);
        updates += u32::from(h.info().rtt != before);
    }
    assert_eq!(updates, 100);
}

/// Shows: rfc9293-MUST-20, rfc9293-SHLD-9, rfc9293-SHLD-10
#[test]
fn r1_tells_ip_and_r2_ends_the_connection() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    h.write(b"lost");
    h.one();
    let mut advice = Vec::new();
    let mut timeouts = 0;
    while h.done.is_none() {
        h.now = h.conn.next_deadline();
        let outcome = h.call(|c, cx| c.on_deadline(cx));
        timeouts += 1;
        if outcome.negative_advice {
            advice.push(timeouts);
            assert!(outcome.ready.contains(Ready::ERR), "trouble shows while the connection is open");
            assert_eq!(h.conn.state(), State::Established);
        }
        h.note(outcome);
        h.recv_all();
    }
    assert_eq!(advice.len(), 1);
    assert!(advice[0] >= 3, "R1 is at least three retransmissions: {advice:?}");
    assert!(timeouts > advice[0]);
    assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
}

/// Shows: rfc9293-SHLD-11, rfc9293-MUST-20
#[test]
fn r2_is_at_least_100_seconds() {
    for config in [timer_only(plain()), plain(), rfc(), Config::new(Profile::FreeBsd)] {
        let mut h = Host::established(config, Options::default());
        h.write(b"lost");
        let start = h.now;
        h.timeline(secs(99));
        assert_eq!(h.conn.state(), State::Established);
        h.timeline(secs(5_000));
        assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)));
        assert!(h.now.since(start) >= secs(100));
        assert!(h.conn.next_deadline().is_never());
    }
}

/// RFC 9293 3.10.8 counts the user timeout from when the segment was queued, Linux from its first retransmission.
fn counting_from_the_segment() -> Config {
    let mut config = plain();
    config.profile = crate::Profile::FreeBsd;
    config
}

#[test]
fn user_timeout_counts_from_the_first_retransmission_under_linux() {
    let mut h = Host::established(timer_only(plain()), socket(|o| o.user_timeout = Some(secs(5))));
    h.write(b"lost");
    let start = h.now;
    h.recv_all();
    let _ = h.wait(secs(5)).expect("the first retransmission");
    let first = h.now;
    assert!(first.since(start) >= ms(200));
    h.timeline(ms(4_990));
    assert_eq!(h.conn.state(), State::Established);
    h.timeline(ms(20));
    assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)));
}

/// Shows: rfc9293-s3.10.8-a, rfc9293-MUST-21
#[test]
fn user_timeout_flushes_and_ends() {
    for state in SYNCHRONIZED {
        let mut h = Host::in_state(counting_from_the_segment(), state);
        h.set(|o| o.user_timeout = Some(secs(5)));
        if h.write(&pattern(5_000)) == 0 && !h.conn.in_flight() {
            continue; // FIN-WAIT-2: nothing to wait for
        }
        let start = h.now;
        h.recv_all();
        h.timeline(ms(4_900));
        assert_eq!(h.conn.state(), state);
        h.timeline(secs(1));
        assert_eq!((h.done, h.conn.error()), (Some(Done::Closed), Some(Errno::ETIMEDOUT)), "{state}");
        assert!(h.now.since(start) <= ms(5_100));
        assert_eq!(h.conn.memory(), 0);
        h.quiet();
    }
}

/// Shows: rfc9293-MUST-21
#[test]
fn user_timeout_may_be_longer_than_the_default() {
    let config = counting_from_the_segment();
    let mut h = Host::established(config, socket(|o| o.user_timeout = Some(secs(4_000))));
    h.write(b"lost");
    let start = h.now;
    h.timeline(secs(3_999));
    assert_eq!(h.conn.state(), State::Established);
    h.timeline(secs(2));
    assert_eq!(h.conn.error(), Some(Errno::ETIMEDOUT));
    assert_eq!(h.now.since(start), secs(4_000));
}

/// Shows: rfc2525-s2.4-a
#[test]
fn retransmissions_carry_the_same_bytes_however_cut() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    let data = pattern(14_600);
    h.write(&data);
    let check = |o: &Outgoing| {
        let at = (o.hdr.seq.0 - 1_001) as usize;
        assert!(bytes_of(o) == data[at..at + o.data.len()]);
        o.data.len()
    };
    assert_eq!(h.recv_all().iter().map(check).max(), Some(1_460));
    let _ = h.icmp(too_big(1_000), 1_001);
    let again = h.recv_all();
    assert!(!again.is_empty());
    assert!(again.iter().map(check).max() <= Some(960));
    for _ in 0..4 {
        let out = h.wait(secs(30)).expect("retransmission");
        assert!(check(&out) <= 960);
        let end = (out.hdr.seq + out.data.len() as u32).0;
        h.ack(end);
        h.recv_all().iter().for_each(|o| assert!(check(o) <= 960));
    }
}

/// Shows: rfc9293-MUST-19, rfc5681-s3.1-e, rfc6298-s5-b
#[test]
fn after_a_timeout_slow_start_begins_with_one_segment() {
    let mut h = Host::established(timer_only(rfc()), Options::default());
    h.send_segments(10);
    let out = h.wait(secs(5)).expect("retransmission");
    assert_eq!(out.hdr.seq.0, 1_001);
    assert_eq!(h.cwnd().0, MSS);
    h.ack(1_001 + MSS);
    assert_eq!(h.recv_all().len(), 2, "one acknowledged, two sent");
    h.ack(1_001 + 3 * MSS);
    assert!(h.recv_all().len() <= 4);
}

/// Shows: rfc9293-MUST-20
#[test]
fn nothing_is_given_up_before_it_was_sent_again() {
    let mut h = Host::established(timer_only(plain()), Options::default());
    while h.info().rto <= secs(102) {
        let slower = rto(&h) * 9 / 10; // until the RTO is longer than an orphan's limit
        round(&mut h, 10, slower);
    }
    h.write(b"last words");
    h.close();
    h.one();
    let wait = h.info().rto;
    assert!(wait > secs(102), "{wait:?}");
    let again = h.wait(wait + ms(1)).expect("retransmission");
    assert!(again.hdr.flags.contains(FIN));
    assert_eq!(h.done, None);
}
