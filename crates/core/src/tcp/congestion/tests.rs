//! The window by itself: RFC 5681, 6928, 9438, 9406, 7661.

extern crate std;

use super::*;

const MSS: u32 = 1_000;
const NOW: Instant = Instant::from_secs(100);

/// An ACK of `bytes` at `now` with a round trip of `rtt` microseconds.
fn ack(now: Instant, bytes: u32, rtt: u32) -> AckSample {
    AckSample {
        now,
        snd_una: SeqNum(0),
        snd_nxt: SeqNum(0),
        delivered: bytes,
        total_delivered: 0,
        prior_in_flight: 0,
        in_flight: 0,
        rtt_us: rtt,
        srtt_us: rtt,
        min_rtt_us: rtt,
        rate: RateSample::default(),
        abc_limit: 0,
        abc_limit_after_rto: 0,
        validate: false,
        recovering: false,
        reducing: false,
        may_raise: true,
    }
}

/// A window of `cwnd` segments above ssthresh, always used up.
fn avoiding(kind: CongestionKind, cwnd: u32) -> Congestion {
    let mut cc = Congestion::new(kind, MSS, 10);
    cc.w.cwnd = cwnd * MSS;
    cc.w.ssthresh = cwnd * MSS;
    cc.cwnd_limited = true;
    cc
}

/// Acknowledges one window segment by segment over `rtt` microseconds.
fn round(cc: &mut Congestion, now: &mut Instant, rtt: u32) {
    let n = cc.cwnd() / MSS;
    for _ in 0..n {
        *now += Duration::from_nanos(u64::from(rtt) * 1_000 / u64::from(n));
        cc.cwnd_limited = true;
        cc.on_ack(&ack(*now, MSS, rtt));
    }
}

/// Shows: rfc6928-s2-a, rfc6928-s2-b, rfc5681-s3.1-f
#[test]
fn initial_window_follows_6928() {
    for (mss, expected) in [(1_460, 14_600), (9_000, 18_000), (536, 5_360), (4_000, 14_600)] {
        let cc = Congestion::new(CongestionKind::Cubic, mss, 10);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (expected, INFINITE));
    }
    assert_eq!(Congestion::new(CongestionKind::Cubic, 1_460, 1).cwnd(), 1_460);
}

/// Shows: rfc5681-s3.1-b, rfc9438-s4.10-a
#[test]
fn slow_start_counts_bytes() {
    for kind in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut cc = Congestion::new(kind, 1_460, 10);
        cc.cwnd_limited = true;
        for _ in 0..10 {
            cc.on_ack(&ack(NOW, 146, 0));
        }
        assert_eq!(cc.cwnd(), 14_600 + 1_460);
    }
}

/// Shows: rfc5681-s3.1-c
#[test]
fn avoidance_adds_one_segment_a_round_trip() {
    let mut now = NOW;
    let mut cc = avoiding(CongestionKind::Reno, 20);
    round(&mut cc, &mut now, 100_000);
    assert_eq!(cc.cwnd(), 21 * MSS);
    let mut cc = avoiding(CongestionKind::Reno, 4_000);
    round(&mut cc, &mut now, 100_000);
    assert_eq!(cc.cwnd(), 4_001 * MSS);
}

/// Shows: rfc3465-s2.2-a
#[test]
fn stretched_acks_grow_the_window_as_single_ones_do() {
    let mut cc = avoiding(CongestionKind::Reno, 20);
    for _ in 0..5 {
        cc.on_ack(&ack(NOW, 4 * MSS, 0));
    }
    assert_eq!(cc.cwnd(), 21 * MSS);
}

/// Shows: rfc3465-s2.3-a, rfc9406-s4.2-c
/// Profile: rfc, freebsd
#[test]
fn limits_of_one_ack_hold_where_they_are_set() {
    for kind in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut cc = Congestion::new(kind, MSS, 10);
        cc.cwnd_limited = true;
        cc.on_ack(&AckSample { abc_limit: 8, ..ack(NOW, 20 * MSS, 0) });
        assert_eq!(cc.cwnd(), 18 * MSS);
        cc.on_rto(Some(20 * MSS), 0);
        assert_eq!(cc.cwnd(), MSS);
        cc.cwnd_limited = true;
        cc.on_ack(&AckSample { abc_limit: 8, abc_limit_after_rto: 1, ..ack(NOW, 10 * MSS, 0) });
        assert_eq!(cc.cwnd(), 2 * MSS);
    }
}

/// Shows: rfc7661-s4.4-a
#[test]
fn window_that_is_not_used_does_not_grow() {
    for kind in [CongestionKind::Reno, CongestionKind::Cubic] {
        let mut cc = Congestion::new(kind, MSS, 10);
        for i in 0..1_000u32 {
            let at = SeqNum(i * MSS);
            cc.on_transmit_start(NOW, at);
            cc.on_sent(NOW, MSS, at, at + MSS);
            cc.on_ack(&ack(NOW, MSS, 1_000));
        }
        assert_eq!(cc.cwnd(), 10 * MSS);
    }
}

/// Shows: rfc5681-s4.1-a, rfc6928-s2-c
#[test]
fn idle_time_takes_the_window_back() {
    let rto = Duration::from_millis(300);
    let mut cc = avoiding(CongestionKind::Reno, 100);
    cc.on_idle(rto * 2, rto, false);
    assert_eq!(cc.cwnd(), 10 * MSS);
    let mut cc = avoiding(CongestionKind::Reno, 100);
    cc.on_enter_recovery(100 * MSS);
    cc.on_exit_recovery();
    cc.on_idle(rto * 2, rto, false);
    assert_eq!(cc.cwnd(), 4 * MSS);
    // Linux: by half for each RTO.
    let mut cc = avoiding(CongestionKind::Reno, 100);
    cc.on_idle(rto * 3, rto, true);
    assert_eq!(cc.cwnd(), 25 * MSS);
    cc.on_idle(rto * 100, rto, true);
    assert_eq!(cc.cwnd(), 10 * MSS);
    let mut cc = avoiding(CongestionKind::Reno, 100);
    cc.on_idle(rto, rto, false);
    assert_eq!(cc.cwnd(), 100 * MSS);
}

/// Shows: rfc9438-s4.6-a
#[test]
fn reductions_have_their_factor_and_floor() {
    let mut cc = avoiding(CongestionKind::Cubic, 100);
    assert_eq!(cc.on_enter_recovery(100 * MSS), 70 * MSS);
    assert_eq!(cc.on_enter_recovery(2 * MSS), 2 * MSS);
    let mut cc = avoiding(CongestionKind::Reno, 100);
    assert_eq!(cc.on_enter_recovery(20 * MSS), 10 * MSS);
    assert_eq!(cc.on_enter_recovery(3 * MSS), 2 * MSS);
}

fn cubic(cc: &Congestion) -> &Cubic {
    match &cc.algo {
        Algo::Cubic(c) => c,
        _ => panic!("not cubic"),
    }
}

/// Shows: rfc9438-s4.7-a
#[test]
fn fast_convergence_gives_way() {
    let mut cc = avoiding(CongestionKind::Cubic, 100);
    cc.on_enter_recovery(100 * MSS);
    cc.on_enter_recovery(80 * MSS);
    assert_eq!(cubic(&cc).w_max, 68 * MSS);
}

/// RFC 9438 4.2: K = cbrt(W_max * (1 - β) / C), and back at W_max after K. W_max 1000, β 0.7: cbrt(750) =
/// 9.0856 s.
///
/// Shows: rfc9438-s4.2-a
#[test]
fn cubic_is_back_after_k_and_flat_there() {
    let mut cc = avoiding(CongestionKind::Cubic, 1_000);
    cc.on_enter_recovery(1_000 * MSS);
    cc.on_exit_recovery();
    assert_eq!(cc.cwnd(), 700 * MSS);
    let mut now = NOW;
    let start = now;
    let w = |t: f64| 0.4 * (t - 9.0856) * (t - 9.0856) * (t - 9.0856) + 1_000.0;
    while now.since(start) < Duration::from_secs(14) {
        round(&mut cc, &mut now, 100_000);
        let t = now.since(start).as_secs_f64();
        let is = f64::from(cc.cwnd()) / f64::from(MSS);
        // The target is one round trip ahead and reached over one: within what two round trips change.
        let (low, high) = (w(t - 0.2) - 2.0, w(t + 0.2) + 2.0);
        assert!(is >= low && is <= high, "{is} segments at {t} s, {low} to {high} expected");
    }
    assert_eq!(cubic(&cc).k / 10, 908);
}

/// Shows: rfc9438-s4.2-b
#[test]
fn pauses_of_the_application_do_not_count() {
    let mut cc = avoiding(CongestionKind::Cubic, 1_000);
    cc.on_enter_recovery(1_000 * MSS);
    cc.on_exit_recovery();
    let mut now = NOW;
    for _ in 0..20 {
        round(&mut cc, &mut now, 100_000);
    }
    let before = cc.cwnd();
    now += Duration::from_secs(10);
    cc.on_transmit_start(now, SeqNum(0));
    round(&mut cc, &mut now, 100_000);
    assert!(cc.cwnd() - before < 20 * MSS, "{} to {}", before, cc.cwnd());
    let before = cc.cwnd();
    for _ in 0..100 {
        now += Duration::from_millis(100);
        cc.cwnd_limited = false;
        cc.max_in_flight = 0;
        cc.on_ack(&ack(now, MSS, 100_000));
    }
    assert_eq!(cc.cwnd(), before);
    round(&mut cc, &mut now, 100_000);
    assert!(cc.cwnd() - before < 20 * MSS);
}

/// Shows: rfc9438-s4.3-a
#[test]
fn short_round_trips_are_no_slower_than_reno() {
    let mut cc = avoiding(CongestionKind::Cubic, 20);
    cc.on_enter_recovery(20 * MSS);
    cc.on_exit_recovery();
    assert_eq!(cc.cwnd(), 14 * MSS);
    let mut now = NOW;
    // AIMD(9/17, 0.7): 6 segments take at most 12 round trips, then one segment each.
    for _ in 0..6 {
        round(&mut cc, &mut now, 5_000);
    }
    assert!((16 * MSS..18 * MSS).contains(&cc.cwnd()), "nine segments in 17 round trips: {}", cc.cwnd());
    for _ in 0..7 {
        round(&mut cc, &mut now, 5_000);
    }
    assert!(cc.cwnd() >= 20 * MSS, "{}", cc.cwnd());
    let before = cc.cwnd();
    for _ in 0..10 {
        round(&mut cc, &mut now, 5_000);
    }
    let grown = (cc.cwnd() - before) / MSS;
    assert!((8..=11).contains(&grown), "{grown} segments in ten round trips");
}

/// Shows: rfc9438-s4.8-a
#[test]
fn first_avoidance_after_a_timeout_starts_from_the_plateau() {
    let mut cc = avoiding(CongestionKind::Cubic, 50);
    cc.on_rto(Some(50 * MSS), 0);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, 35 * MSS));
    let mut now = NOW;
    while cc.in_slow_start() {
        round(&mut cc, &mut now, 100_000);
    }
    round(&mut cc, &mut now, 100_000);
    assert_eq!((cubic(&cc).k, cubic(&cc).origin / MSS), (0, 35));
}

#[test]
fn cube_roots_are_rounded_down() {
    for n in [0u64, 1, 7, 8, 26, 27, 63, 64, 1_000_000, 750_000_000_000, u64::MAX] {
        let r = u128::from(cubic::cbrt(n));
        let n = u128::from(n);
        assert!(r * r * r <= n && (r + 1) * (r + 1) * (r + 1) > n, "{n}");
    }
}

/// One round of slow start: `samples` ACKs of `rtt` microseconds.
fn slow_round(cc: &mut Congestion, seq: &mut u32, samples: u32, rtt: u32) {
    for i in 0..samples {
        cc.cwnd_limited = true;
        let a =
            AckSample { snd_una: SeqNum(*seq + i), snd_nxt: SeqNum(*seq + samples), ..ack(NOW, MSS, rtt) };
        cc.on_ack(&a);
    }
    *seq += samples;
}

/// Growth of one round of ten ACKs.
fn growth(cc: &mut Congestion, seq: &mut u32, rtt: u32) -> u32 {
    let before = cc.cwnd();
    slow_round(cc, seq, 16, rtt);
    cc.cwnd() - before
}

/// Shows: rfc9406-s4.2-a
#[test]
fn delay_above_the_threshold_begins_conservative_slow_start() {
    // The threshold is an eighth of the last round's least, within 4 and 16 ms.
    for (rtt, threshold) in [(100_000, 12_500), (10_000, 4_000), (400_000, 16_000)] {
        for (rise, expected) in [(threshold, true), (threshold - 1, false)] {
            let mut cc = Congestion::new(CongestionKind::Cubic, MSS, 10);
            let mut seq = 0;
            assert_eq!(growth(&mut cc, &mut seq, rtt), 16 * MSS);
            let second = growth(&mut cc, &mut seq, rtt + rise);
            assert_eq!(second < 16 * MSS, expected, "{rtt} {rise}: {second}");
        }
    }
    // Fewer than eight samples do not tell.
    let mut cc = Congestion::new(CongestionKind::Cubic, MSS, 10);
    let mut seq = 0;
    slow_round(&mut cc, &mut seq, 16, 100_000);
    let before = cc.cwnd();
    slow_round(&mut cc, &mut seq, 7, 150_000);
    assert_eq!(cc.cwnd() - before, 7 * MSS);
}

/// Shows: rfc9406-s4.2-b, rfc9406-s4.3-a
#[test]
fn conservative_slow_start_has_three_exits() {
    let start = |seq: &mut u32| {
        let mut cc = Congestion::new(CongestionKind::Cubic, MSS, 10);
        growth(&mut cc, seq, 100_000);
        growth(&mut cc, seq, 120_000);
        cc
    };
    // Five rounds of a quarter of the growth, then avoidance.
    let mut seq = 0;
    let mut cc = start(&mut seq);
    for _ in 0..4 {
        assert_eq!(growth(&mut cc, &mut seq, 120_000), 4 * MSS);
        assert!(cc.in_slow_start());
    }
    growth(&mut cc, &mut seq, 120_000);
    growth(&mut cc, &mut seq, 120_000);
    assert!(!cc.in_slow_start() && cc.ssthresh() != INFINITE);
    // A round below the baseline: it was jitter.
    let mut seq = 0;
    let mut cc = start(&mut seq);
    growth(&mut cc, &mut seq, 110_000);
    assert_eq!(growth(&mut cc, &mut seq, 110_000), 16 * MSS);
    // Loss.
    let mut seq = 0;
    let mut cc = start(&mut seq);
    let load = cc.cwnd();
    cc.on_enter_recovery(load);
    cc.on_exit_recovery();
    assert!(!cc.in_slow_start());
}

/// Shows: rfc9406-s4.3-b
#[test]
fn slow_start_after_a_timeout_is_the_ordinary_one() {
    let mut cc = Congestion::new(CongestionKind::Cubic, MSS, 10);
    cc.on_rto(Some(400 * MSS), 0);
    let mut seq = 0;
    growth(&mut cc, &mut seq, 100_000);
    assert_eq!(growth(&mut cc, &mut seq, 200_000), 16 * MSS);
}

#[test]
fn names_and_kinds_agree() {
    for kind in [CongestionKind::Cubic, CongestionKind::Reno] {
        let mut cc = Congestion::new(CongestionKind::Cubic, MSS, 10);
        cc.set_kind(kind);
        assert_eq!((cc.kind(), cc.name(), cc.cwnd()), (kind, kind.name(), 10 * MSS));
        assert_eq!(cc.pacing_rate(), None);
    }
}

/// Shows: rfc5681-s3.1-a
#[test]
fn initial_window_of_5681_is_four_three_or_two_segments() {
    for (mss, segments) in [(536, 4), (1_095, 4), (1_460, 3), (2_190, 2), (4_000, 2)] {
        let cwnd = Congestion::new(CongestionKind::Reno, mss, 0).cwnd();
        assert_eq!(cwnd / mss, segments, "{mss}");
    }
}

/// A round trip of 100 ms in which `segments` were sent and acknowledged.
fn pipe_round(cc: &mut Congestion, now: &mut Instant, at: &mut SeqNum, segments: u32) {
    let from = *at;
    *at += segments * MSS;
    cc.on_sent(*now, segments * MSS, from, *at);
    *now += Duration::from_millis(100);
    let a = AckSample { validate: true, snd_una: *at, snd_nxt: *at, ..ack(*now, segments * MSS, 100_000) };
    cc.on_ack(&a);
}

/// Shows: rfc7661-s4.2-a, rfc7661-s4.4.3-a, rfc7661-s4.4-a
/// Profile: rfc
#[test]
fn window_unused_for_five_minutes_is_halved() {
    let mut cc = avoiding(CongestionKind::Reno, 100);
    cc.w.ssthresh = 60 * MSS;
    let (mut now, mut at) = (NOW, SeqNum(0));
    pipe_round(&mut cc, &mut now, &mut at, 99);
    pipe_round(&mut cc, &mut now, &mut at, 99);
    assert!(!cc.is_non_validated());
    let unused_from = now;
    while now.since(unused_from) < Duration::from_millis(1_500) {
        pipe_round(&mut cc, &mut now, &mut at, 10);
    }
    assert!(cc.is_non_validated(), "one tenth of the window in use for a sampling period");
    while now.since(unused_from) < Duration::from_secs(299) {
        pipe_round(&mut cc, &mut now, &mut at, 10);
        assert_eq!(cc.cwnd(), 100 * MSS);
    }
    while now.since(unused_from) < Duration::from_secs(303) {
        pipe_round(&mut cc, &mut now, &mut at, 10);
    }
    assert_eq!((cc.cwnd(), cc.ssthresh()), (50 * MSS, 75 * MSS));
    // As long as half of it is used it stays.
    let used_from = now;
    while now.since(used_from) < Duration::from_secs(700) {
        let half = cc.cwnd() / MSS / 2 + 1;
        pipe_round(&mut cc, &mut now, &mut at, half);
    }
    assert!(cc.cwnd() >= 50 * MSS);
}

/// Linux's `tcp_cwnd_application_limited`: half-way to what is used, each RTO.
///
/// Shows: linux-cwnd-application-limited
#[test]
fn window_unused_for_an_rto_shrinks_towards_its_use() {
    let mut cc = avoiding(CongestionKind::Cubic, 100);
    cc.on_sent(NOW, 100 * MSS, SeqNum(0), SeqNum(100 * MSS));
    let later = NOW + Duration::from_millis(300);
    cc.on_transmit_start(later, SeqNum(100 * MSS));
    cc.on_sent(later, 20 * MSS, SeqNum(100 * MSS), SeqNum(120 * MSS));
    cc.on_application_limited(later, 301);
    assert_eq!(cc.cwnd(), 100 * MSS);
    cc.on_application_limited(later, 300);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (60 * MSS, 100 * MSS));
    cc.on_application_limited(later, 300);
    assert_eq!(cc.cwnd(), 60 * MSS, "once an RTO");
}

/// DCTCP reckons the share of marked bytes in each window, and shrinks by half of it: gently when little is marked,
/// by half when all is.
///
/// Shows: rfc8257-s3.3-a, rfc8257-s3.3-b
#[test]
fn dctcp_shrinks_by_the_share_of_marks() {
    let after = |marked_of_ten: u32, windows: u32| {
        let mut cc = avoiding(CongestionKind::Dctcp, 100);
        let mut nxt = 0;
        for _ in 0..windows {
            // Each window: ten ACKs of ten segments, the last of which passes the window's end.
            let una = nxt;
            nxt += 100 * MSS;
            for i in 0..10 {
                let marked = if i < marked_of_ten { 10 * MSS } else { 0 };
                cc.count_marks(10 * MSS, marked, SeqNum(una + i * 10 * MSS), SeqNum(nxt));
            }
        }
        cc.on_mark();
        cc.on_enter_recovery(100 * MSS)
    };
    assert_eq!(after(0, 0), 50 * MSS, "Alpha begins at 1");
    assert_eq!(after(10, 50), 50 * MSS, "everything is marked");
    let rare = after(1, 100);
    assert!((93 * MSS..97 * MSS).contains(&rare), "a tenth is marked: {rare}");
    assert!(after(0, 300) >= 99 * MSS, "Alpha sinks to nothing");
    // Monotonous in between.
    let shares: std::vec::Vec<u32> = (0..=10).map(|n| after(n, 60)).collect();
    assert!(shares.windows(2).all(|w| w[0] >= w[1]), "{shares:?}");
}

/// A loss is no mark: DCTCP answers it as NewReno does, whatever Alpha says.
///
/// Shows: rfc8257-s3.5-a
#[test]
fn dctcp_halves_at_a_loss() {
    let mut cc = avoiding(CongestionKind::Dctcp, 100);
    for window in 0..200 {
        cc.count_marks(100 * MSS, 0, SeqNum(window * 100 * MSS), SeqNum((window + 1) * 100 * MSS));
    }
    assert_eq!(cc.on_enter_recovery(100 * MSS), 50 * MSS);
    cc.on_mark();
    assert!(cc.on_enter_recovery(100 * MSS) >= 99 * MSS);
}
