//! RFC 6298 by hand-computed values.

extern crate std;

use super::*;

const RFC: RtoPolicy = RtoPolicy {
    min: Duration::from_secs(1),
    max: Duration::from_secs(120),
    initial: Duration::from_secs(1),
    linux_style: false,
};
const LINUX: RtoPolicy = RtoPolicy { min: Duration::from_millis(200), linux_style: true, ..RFC };

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// 100, 100, 200, 50 ms: SRTT 100, 100, 112.5, 104.6875; RTTVAR 50, 37.5, 53.125, 55.46875.
///
/// Shows: rfc6298-s2-b
#[test]
fn estimates_follow_the_formulas() {
    let policy = RtoPolicy { min: ms(1), ..RFC };
    let mut e = RttEstimator::new();
    let expected = [(100_000, 50_000), (100_000, 37_500), (112_500, 53_125), (104_687, 55_468)];
    for (sample, (srtt, rttvar)) in [100, 100, 200, 50].into_iter().zip(expected) {
        e.sample(Instant::from_secs(1), ms(sample), &policy);
        let near = |a: Duration, us: u128| a.as_micros().abs_diff(us) <= 1;
        assert!(near(e.srtt().expect("sampled"), srtt), "{e:?}");
        assert!(near(e.rttvar(), rttvar), "{e:?}");
        assert!(e.rto(&policy).as_micros().abs_diff(srtt + 4 * rttvar) <= 4, "{e:?}");
    }
}

/// Shows: rfc6298-s2-a, rfc6298-s2-c
#[test]
fn floors_and_the_first_timeout() {
    let mut e = RttEstimator::new();
    assert_eq!(e.rto(&RFC), Duration::from_secs(1));
    e.sample(Instant::ZERO, ms(1), &RFC);
    assert_eq!(e.rto(&RFC), Duration::from_secs(1));
    assert_eq!(e.rto(&RtoPolicy { min: ms(200), ..RFC }), ms(200));
    let mut e = RttEstimator::new();
    e.sample(Instant::ZERO, ms(1), &LINUX);
    assert_eq!(e.rto(&LINUX), ms(201));
}

/// Linux: a first sample of 100 ms gives 100 + 4 * 50 ms; steady ones bring the variance term to its floor.
#[test]
fn linux_form_keeps_the_variance_above_the_floor() {
    let mut e = RttEstimator::new();
    let mut now = Instant::from_secs(1);
    e.sample(now, ms(100), &LINUX);
    assert_eq!(e.rto(&LINUX), ms(300));
    for _ in 0..100 {
        now += ms(100);
        e.sample(now, ms(100), &LINUX);
    }
    assert_eq!(e.rto(&LINUX), ms(300));
    now += ms(100);
    e.sample(now, ms(500), &LINUX);
    assert!(e.rto(&LINUX) > ms(500), "{:?}", e.rto(&LINUX));
}

/// Shows: rfc6298-s2-d, rfc6298-s5-b
#[test]
fn back_off_doubles_up_to_the_cap_until_a_sample() {
    let mut e = RttEstimator::new();
    let mut gaps = std::vec::Vec::new();
    for _ in 0..9 {
        gaps.push(e.rto(&RFC).as_secs());
        e.back_off();
    }
    assert_eq!(gaps, [1, 2, 4, 8, 16, 32, 64, 120, 120]);
    for _ in 0..300 {
        e.back_off();
    }
    assert_eq!(e.rto(&RFC).as_secs(), 120);
    e.sample(Instant::ZERO, ms(500), &RFC);
    assert_eq!(e.rto(&RFC), ms(1_500));
    assert_eq!(e.backoff(), 0);
}

/// Shows: rfc6298-s5-c
#[test]
fn lost_syn_makes_the_first_timeout_three_seconds() {
    let mut e = RttEstimator::new();
    e.back_off();
    e.after_syn_timeout();
    assert_eq!(e.rto(&LINUX), Duration::from_secs(3));
    e.sample(Instant::ZERO, ms(100), &LINUX);
    assert_eq!(e.rto(&LINUX), ms(300));
    e.after_syn_timeout(); // a sample is there
    assert_eq!(e.rto(&LINUX), ms(300));
}

#[test]
fn tiny_and_huge_round_trips_hold() {
    for policy in [RFC, LINUX] {
        for us in [0, 10, 1_000_000, 119_999_999, u64::MAX / 1_000_000] {
            let mut e = RttEstimator::new();
            for i in 0..200 {
                e.sample(Instant::from_millis(i), Duration::from_micros(us), &policy);
            }
            let srtt = e.srtt().expect("sampled").as_micros() as u64;
            assert!(srtt.abs_diff(us.clamp(1, 120_000_000)) <= 1, "{srtt} of {us}");
            assert!(e.rto(&policy) >= policy.min && e.rto(&policy) <= policy.max);
        }
    }
}

#[test]
fn minimum_is_of_the_last_five_minutes() {
    let mut e = RttEstimator::new();
    let at = Instant::from_secs;
    e.sample(at(1_000), ms(10), &LINUX);
    e.sample(at(1_100), ms(30), &LINUX);
    assert_eq!(e.min_rtt(), Some(ms(10)));
    e.sample(at(1_200), ms(20), &LINUX);
    e.sample(at(1_299), ms(40), &LINUX);
    assert_eq!(e.min_rtt(), Some(ms(10)));
    e.sample(at(1_302), ms(40), &LINUX);
    assert_eq!(e.min_rtt(), Some(ms(20)), "the least of the later half");
    e.sample(at(5_000), ms(50), &LINUX);
    assert_eq!(e.min_rtt(), Some(ms(50)));
}
