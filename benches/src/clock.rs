//! Work is measured in CPU time of this thread: what other processes take does not count.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, nanoseconds.
pub fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
