use core::cell::Cell;

use bytes::Bytes;

use super::RxBuf;
use crate::packet::Payload;

std::thread_local! {
    static WORK: Cell<usize> = const { Cell::new(0) };
}

/// Counts steps, in the place of the empty function of other builds.
pub(super) fn work(steps: usize) {
    WORK.with(|work| work.set(work.get() + steps));
}

/// An idle connection's receive buffer is small and holds no heap.
#[test]
fn an_empty_buffer_is_small() {
    assert!(size_of::<RxBuf>() <= 56);
    let mut buf = RxBuf::new();
    assert_eq!(buf.memory(), 0);
    let inserted = buf.insert(0, Payload::from(Bytes::from(std::vec![1; 1000])), 0);
    assert_eq!(inserted.advanced, 1000);
    assert!(buf.memory() >= 1000);
    assert_eq!(buf.skip(2000), 1000);
    assert_eq!((buf.len(), buf.memory()), (0, 0));
}
