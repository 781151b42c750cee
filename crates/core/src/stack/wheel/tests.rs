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
