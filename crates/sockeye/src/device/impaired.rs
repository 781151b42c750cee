//! A bad link in front of any device: delay, rate, loss and the rest of [`sockeye_core::link`], in real time.
//!
//! What the stack sends passes the link's `up` direction and then goes to the device, what the device receives
//! passes `down` and then goes to the stack. Super-segments are cut: each segment of the wire meets its own luck.
//! Packets are late by what the operating system takes to wake a thread, about a tenth of a millisecond; a rate
//! is kept whatever that is, for it is reckoned from the times at which packets came.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sockeye_core::link::{Direction, Impairment, LinkCounters, LinkSpec};
use sockeye_core::{Instant, Packet};

use super::{Capabilities, Device, DeviceStats, SendReport, Wait};
use crate::driver::Clock;

/// Packets taken from the device at once.
const BATCH: usize = 64;

/// A device behind a bad link.
pub struct Impaired<D> {
    device: D,
    clock: Clock,
    up: Mutex<Up>,
    down: Mutex<Down>,
}

struct Up {
    link: Direction,
    /// Arrived, but the device had no room yet: these go before all others.
    arrived: VecDeque<Packet>,
    /// When the thread that waits looks again.
    looks_at: Instant,
}

struct Down {
    link: Direction,
    taken: Vec<Packet>,
    /// The device has failed: told when everything that came before has arrived.
    error: Option<(io::ErrorKind, String)>,
}

impl<D: Device> Impaired<D> {
    /// Puts a link as `spec` says, its chances from the specification's seed, in front of `device`.
    pub fn new(device: D, spec: &LinkSpec) -> Impaired<D> {
        let Impairment { up, down } = Impairment::new(spec);
        Impaired {
            device,
            clock: Clock::start(),
            up: Mutex::new(Up { link: up, arrived: VecDeque::new(), looks_at: Instant::NEVER }),
            down: Mutex::new(Down { link: down, taken: Vec::new(), error: None }),
        }
    }

    /// The device behind the link.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the link has done to what was sent, and to what was received.
    pub fn counters(&self) -> (LinkCounters, LinkCounters) {
        (*self.up().link.counters(), *self.down().link.counters())
    }

    /// Bytes that wait for their turn at the rate now, of what was sent and of what was received.
    pub fn queued_bytes(&self) -> (u64, u64) {
        let now = self.clock.now();
        (self.up().link.queued_bytes(now), self.down().link.queued_bytes(now))
    }

    /// Another quality of both directions from now on; what is on its way arrives as it would have. The seed is
    /// that of the beginning.
    pub fn set_spec(&self, spec: &LinkSpec) {
        self.up().link.set_spec(spec.up.clone());
        self.down().link.set_spec(spec.down.clone());
        self.device.wake();
    }

    /// Waits until what was sent has left the link, at most for `timeout`: for when the host has ended, and
    /// its last segments are still on their way.
    ///
    /// # Errors
    /// As [`Device::send`].
    pub fn drain(&self, timeout: Duration) -> io::Result<()> {
        let end = self.clock.now() + timeout;
        loop {
            let now = self.clock.now();
            let mut up = self.up();
            let next = self.pass_up(&mut up, now)?;
            let full = !up.arrived.is_empty();
            drop(up);
            if now >= end || (next.is_never() && !full) {
                return Ok(());
            }
            self.device.wait(Wait { readable: false, writable: full }, Some(next.min(end).since(now)))?;
        }
    }

    fn up(&self) -> MutexGuard<'_, Up> {
        // No code panics while it holds this lock, and every state of it is consistent.
        self.up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn down(&self) -> MutexGuard<'_, Down> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the device what has arrived at its end of the link; returns when more will have.
    fn pass_up(&self, up: &mut Up, now: Instant) -> io::Result<Instant> {
        loop {
            if up.arrived.is_empty() {
                up.arrived.extend(std::iter::from_fn(|| up.link.receive(now)).take(BATCH));
                if up.arrived.is_empty() {
                    return Ok(up.link.next_deadline());
                }
            }
            // What the device drops it counts itself.
            self.device.send(&mut up.arrived)?;
            if !up.arrived.is_empty() {
                // The device is full: who waits for it is told when it has room.
                return Ok(Instant::NEVER);
            }
        }
    }

    /// Takes what the device has received into the link; returns when the first of it arrives.
    fn pass_down(&self, down: &mut Down, now: Instant) -> Instant {
        while down.error.is_none() {
            match self.device.recv(&mut down.taken, BATCH) {
                Ok(0) => break,
                Ok(_) => down.taken.drain(..).for_each(|packet| down.link.send(now, packet)),
                Err(error) => {
                    down.taken.drain(..).for_each(|packet| down.link.send(now, packet));
                    down.error = Some((error.kind(), error.to_string()));
                }
            }
        }
        if down.error.is_some() && down.link.in_flight() == 0 { now } else { down.link.next_deadline() }
    }
}

impl<D: Device> Device for Impaired<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn send(&self, packets: &mut VecDeque<Packet>) -> io::Result<SendReport> {
        let mut up = self.up();
        let now = self.clock.now();
        let sent = packets.len();
        packets.drain(..).for_each(|packet| up.link.send(now, packet));
        let next = self.pass_up(&mut up, now)?;
        let wake = next < up.looks_at || !up.arrived.is_empty();
        up.looks_at = up.looks_at.min(next);
        drop(up);
        if wake {
            self.device.wake();
        }
        // What the link loses is lost on the wire, and counted there.
        Ok(SendReport { sent, dropped: 0, full: false })
    }

    fn recv(&self, out: &mut Vec<Packet>, max: usize) -> io::Result<usize> {
        let mut down = self.down();
        let now = self.clock.now();
        self.pass_down(&mut down, now);
        let before = out.len();
        out.extend(std::iter::from_fn(|| down.link.receive(now)).take(max));
        let count = out.len() - before;
        match &down.error {
            Some((kind, text)) if count == 0 && max > 0 && down.link.in_flight() == 0 => {
                Err(io::Error::new(*kind, text.clone()))
            }
            _ => Ok(count),
        }
    }

    fn wait(&self, wait: Wait, timeout: Option<Duration>) -> io::Result<()> {
        let now = self.clock.now();
        let arrives = self.pass_down(&mut self.down(), now);
        if wait.readable && arrives <= now {
            return Ok(());
        }
        let mut up = self.up();
        let leaves = self.pass_up(&mut up, now)?;
        let until = if wait.readable { leaves.min(arrives) } else { leaves };
        let full = !up.arrived.is_empty();
        up.looks_at = leaves;
        drop(up);
        let link = (!until.is_never()).then(|| until.since(self.clock.now()));
        let least = [timeout, link].into_iter().flatten().min();
        // Packets are taken from the device whoever waits for what: their way begins when they come.
        self.device.wait(Wait { readable: true, writable: full || wait.writable }, least)?;
        let now = self.clock.now();
        self.pass_down(&mut self.down(), now);
        self.pass_up(&mut self.up(), now).map(drop)
    }

    fn wake(&self) {
        self.device.wake();
    }

    /// The device's, with what the link has dropped on either way.
    fn stats(&self) -> DeviceStats {
        let (up, down) = self.counters();
        let mut stats = self.device.stats();
        stats.tx_dropped += up.dropped();
        stats.rx_dropped += down.dropped();
        stats
    }
}

#[cfg(test)]
mod tests;
