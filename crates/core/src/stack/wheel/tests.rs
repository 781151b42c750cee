use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::{Node, Wheel};
use crate::time::Instant;

/// Deadlines are exact to the nanosecond, near and far.
#[test]
fn deadlines_are_exact() {
    assert!(size_of::<Node>() <= 24);
    let mut wheel = Wheel::new();
    let times = [1, 10_000, 65_536, 65_537, 1_000_000_007, 7_200_000_000_123, 1 << 62];
    for (index, nanos) in times.iter().enumerate() {
        wheel.schedule(index as u32, Instant::from_nanos(*nanos));
    }
    for (index, nanos) in times.iter().enumerate() {
        assert_eq!(wheel.next_deadline(), Some(Instant::from_nanos(*nanos)));
        assert_eq!(wheel.pop_expired(Instant::from_nanos(nanos - 1)), None);
        assert_eq!(wheel.pop_expired(Instant::from_nanos(*nanos)), Some(index as u32));
    }
    assert!(wheel.next_deadline().is_none() && wheel.is_empty());
}

#[derive(Clone, Debug)]
enum Op {
    Schedule(u32, u64),
    SchedulePast(u32, u64),
    Cancel(u32),
    /// Waits for the next deadline.
    Jump,
    /// Lets time pass, whatever is due.
    Pass(u64),
}

fn ops(entries: u32) -> impl Strategy<Value = Vec<Op>> {
    let delay = || (0..55u32, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1));
    let op = prop_oneof![
        10 => (0..entries, delay()).prop_map(|(index, delay)| Op::Schedule(index, delay)),
        1 => (0..entries, delay()).prop_map(|(index, delay)| Op::SchedulePast(index, delay)),
        4 => (0..entries).prop_map(Op::Cancel),
        6 => Just(Op::Jump),
        2 => delay().prop_map(Op::Pass),
    ];
    prop::collection::vec(op, 0..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any operations give what a sorted map of exact deadlines gives: the next deadline to the nanosecond, and
    /// what is due in its order, neither early nor late.
    #[test]
    fn it_does_what_a_sorted_map_does(ops in ops(60)) {
        let mut wheel = Wheel::new();
        let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
        let mut now = 0u64;
        for op in ops {
            match op {
                Op::Schedule(index, delay) => {
                    let at = Instant::from_nanos(now + delay);
                    wheel.schedule(index, at);
                    model.insert(index, at);
                }
                Op::SchedulePast(index, before) => {
                    let at = Instant::from_nanos(now.saturating_sub(before));
                    wheel.schedule(index, at);
                    model.insert(index, at);
                }
                Op::Cancel(index) => {
                    wheel.cancel(index);
                    model.remove(&index);
                }
                Op::Jump => now = now.max(wheel.next_deadline().map_or(now, Instant::as_nanos)),
                Op::Pass(time) => now += time,
            }
            prop_assert_eq!(wheel.next_deadline(), model.values().min().copied());
            prop_assert_eq!(wheel.len(), model.len());
            if matches!(op, Op::Jump | Op::Pass(_)) {
                let mut popped = Vec::new();
                while let Some(index) = wheel.pop_expired(Instant::from_nanos(now)) {
                    popped.push((model.remove(&index).expect("scheduled, by the model"), index));
                }
                prop_assert!(popped.is_sorted_by_key(|(at, _)| *at));
                prop_assert!(popped.iter().all(|(at, _)| at.as_nanos() <= now));
                prop_assert!(model.values().all(|at| at.as_nanos() > now));
            }
        }
        for index in 0..60 {
            prop_assert_eq!(wheel.deadline(index), model.get(&index).copied());
        }
    }

    /// With many deadlines in one slot and the earliest cancelled again and again, the next deadline may be
    /// early but never late, and following it never spins.
    #[test]
    fn crowded_slots_do_not_spin(seed in any::<u64>(), cancelled in 0..900u32) {
        let mut wheel = Wheel::new();
        let mut model: BTreeMap<(Instant, u32), ()> = BTreeMap::new();
        for index in 0..1000u32 {
            // All within the same slot of 18 minutes.
            let nanos = 7_700_000_000_000 + (seed ^ u64::from(index).wrapping_mul(0x9E37_79B9_7F4A_7C15)) % 1_000_000_000;
            wheel.schedule(index, Instant::from_nanos(nanos));
            model.insert((Instant::from_nanos(nanos), index), ());
        }
        for _ in 0..cancelled {
            let ((_, index), ()) = model.pop_first().expect("1000 were scheduled");
            wheel.cancel(index);
        }
        let mut idle = 0;
        while let Some(now) = wheel.next_deadline() {
            prop_assert!(now <= model.first_key_value().expect("as many as in the wheel").0.0);
            let before = wheel.len();
            while let Some(index) = wheel.pop_expired(now) {
                let ((at, first), ()) = model.pop_first().expect("as many as in the wheel");
                prop_assert_eq!((at, index), (now, first));
            }
            idle += usize::from(before == wheel.len());
            prop_assert!(idle <= 8, "at most once for each level");
        }
        prop_assert!(model.is_empty());
    }
}

/// When few of many are left, the next deadline is exact again.
#[test]
fn a_slot_that_empties_is_exact_again() {
    let mut wheel = Wheel::new();
    let at = |index: u32| Instant::from_secs(7_700 + u64::from(index));
    for index in 0..200 {
        wheel.schedule(index, at(index));
    }
    for index in 0..199 {
        wheel.cancel(index);
    }
    assert_eq!(wheel.next_deadline(), Some(at(199)));
}

/// A clock that steps back does no harm: what is due by it is due.
#[test]
fn a_clock_that_steps_back_does_no_harm() {
    let mut wheel = Wheel::new();
    assert_eq!(wheel.pop_expired(Instant::from_secs(10)), None);
    wheel.schedule(1, Instant::from_secs(4));
    wheel.schedule(2, Instant::from_secs(6));
    assert_eq!(wheel.next_deadline(), Some(Instant::from_secs(4)));
    assert_eq!(wheel.pop_expired(Instant::from_secs(5)), Some(1));
    assert_eq!(wheel.pop_expired(Instant::from_secs(5)), None);
    assert_eq!(wheel.pop_expired(Instant::from_secs(6)), Some(2));
}

/// An entry that has expired but was not popped yet can be cancelled or put off.
#[test]
fn what_is_ready_can_still_be_taken_back() {
    let mut wheel = Wheel::new();
    for index in 0..4 {
        wheel.schedule(index, Instant::from_micros(10 + u64::from(index)));
    }
    let now = Instant::from_millis(1);
    assert_eq!(wheel.pop_expired(now), Some(0));
    wheel.cancel(1);
    wheel.schedule(2, Instant::from_secs(1));
    assert_eq!(wheel.next_deadline(), Some(Instant::from_micros(13)));
    assert_eq!(wheel.pop_expired(now), Some(3));
    assert_eq!(wheel.pop_expired(now), None);
    assert_eq!(wheel.next_deadline(), Some(Instant::from_secs(1)));
    wheel.schedule(2, Instant::NEVER);
    assert_eq!((wheel.next_deadline(), wheel.deadline(2), wheel.len()), (None, None, 0));
}
