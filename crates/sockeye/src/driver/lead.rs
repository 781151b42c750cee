//! A caller that has to wait takes packets from the device itself, in place of the driver's thread.
//!
//! To be woken by another thread costs more than a packet (50 us where it sleeps on another core), and what one
//! core has read another has to fetch. So the only thread that waits for a socket waits for the device. The
//! driver's thread keeps out of its way: it sleeps without looking at the device as long as there was a leader
//! within the last [`LEASE`], but fires the timers. It takes over at once when others wait as well, or when
//! the leader has waited in vain for [`PATIENCE`].

use std::sync::atomic::Ordering;
use std::time::Duration;

use sockeye_core::Instant;

use super::port::Port;
use super::shard::Shard;
use super::waiters::Sleeper;

/// How long packets may lie in the device when the last leader has gone and nobody waits, at most twice.
pub(super) const LEASE: Duration = Duration::from_millis(1);
/// How long a leader waits for a packet until it parks.
const PATIENCE: Duration = Duration::from_millis(5);
/// Packets that a leader, or who attends, takes at once; a device gives fewer of long ones.
pub(super) const BATCH: usize = 32;

impl Shard {
    /// Waits for the device until the sleeper is woken or `deadline` has come, if nobody does so yet. False if
    /// the thread has to sleep like any other.
    pub(super) fn lead(&self, sleeper: &Sleeper, deadline: Instant) -> bool {
        let [port] = &self.ports[..] else { return false };
        if !port.can_be_led || port.dead.load(Ordering::Acquire) || self.waiting() > 1 || !port.take_lead() {
            return false;
        }
        sleeper.enter_device(&port.device);
        let served = self.receive_until(port, sleeper, deadline);
        sleeper.leave_device();
        port.led.store(false, Ordering::Release);
        if !served || self.waiting() > 0 {
            port.handed_over.store(true, Ordering::Release);
            port.device.wake();
        }
        served
    }

    fn receive_until(&self, port: &Port, sleeper: &Sleeper, deadline: Instant) -> bool {
        let mut patience = self.clock.now() + PATIENCE;
        loop {
            if sleeper.take_wake() {
                return true;
            }
            let got = self.receive_batch(port, &mut port.receive(), BATCH);
            if sleeper.take_wake() {
                return true;
            }
            let now = self.clock.now();
            if now >= deadline {
                return true;
            }
            if got {
                patience = now + PATIENCE;
                continue;
            }
            if now >= patience || port.dead.load(Ordering::Acquire) {
                return false;
            }
            if let Err(error) = port.device.wait_beside(Some(patience.min(deadline).since(now))) {
                self.fail(port, &error);
            }
        }
    }
}

impl Port {
    /// The right to wait for the device; none while another caller has it.
    fn take_lead(&self) -> bool {
        let taken = !self.led.swap(true, Ordering::AcqRel);
        if taken {
            self.turns.fetch_add(1, Ordering::Release);
        }
        taken
    }

    /// Whether the driver's thread is to leave the device alone: there is a leader, or there was one since
    /// `turns` was seen, which has not called for the driver.
    pub(super) fn is_led(&self, turns: &mut u32) -> bool {
        let now = self.turns.load(Ordering::Acquire);
        let is_recent = std::mem::replace(turns, now) != now;
        let handed_over = self.handed_over.swap(false, Ordering::AcqRel);
        self.led.load(Ordering::Acquire) || (is_recent && !handed_over)
    }
}
