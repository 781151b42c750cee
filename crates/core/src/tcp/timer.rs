//! The timers of a connection: an enum, and an array of their deadlines.

use crate::time::Instant;

/// What can fall due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Timer {
    /// Retransmission (RFC 6298), of data, SYN and FIN; also the persist timer (RFC 9293 3.8.6.1): a
    /// connection never needs both.
    Retransmit,
    /// RACK's reordering timer or the tail loss probe (RFC 8985).
    LossProbe,
    /// Delayed ACK (RFC 9293 3.8.6.3).
    DelayedAck,
    /// Keep-alive (RFC 9293 3.8.4); in FIN-WAIT-2 of an orphan, its end.
    KeepAlive,
    /// The silly-window and cork override (RFC 9293 3.8.6.2.1), and pacing.
    Send,
}

impl Timer {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, in the order in which they fire when several are due: the loss probe goes before the
    /// timeout, which it puts off (RFC 8985 7.2 lets both fall on the same instant).
    pub const ALL: [Timer; Timer::COUNT] =
        [Timer::LossProbe, Timer::Retransmit, Timer::DelayedAck, Timer::KeepAlive, Timer::Send];

    /// The name, as views show it.
    pub const fn name(self) -> &'static str {
        match self {
            Timer::Retransmit => "retransmit",
            Timer::LossProbe => "loss probe",
            Timer::DelayedAck => "delayed ack",
            Timer::KeepAlive => "keepalive",
            Timer::Send => "send",
        }
    }
}

/// When each timer falls due.
#[derive(Clone, Debug)]
pub struct Timers([Instant; Timer::COUNT]);

impl Timers {
    /// None is running.
    pub const fn new() -> Self {
        Timers([Instant::NEVER; Timer::COUNT])
    }

    /// Starts (or restarts) a timer.
    pub fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    /// Stops a timer.
    pub fn stop(&mut self, timer: Timer) {
        self.0[timer as usize] = Instant::NEVER;
    }

    /// When a timer falls due, [`Instant::NEVER`] if it is not running.
    pub fn get(&self, timer: Timer) -> Instant {
        self.0[timer as usize]
    }

    /// Whether a timer is running.
    pub fn is_set(&self, timer: Timer) -> bool {
        !self.get(timer).is_never()
    }

    /// The first deadline of all.
    pub fn next(&self) -> Instant {
        let [a, b, c, d, e] = self.0;
        a.min(b).min(c.min(d)).min(e)
    }

    /// Stops and returns a timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|&t| self.get(t) <= now && self.is_set(t))?;
        self.stop(due);
        Some(due)
    }

    /// Stops all.
    pub fn clear(&mut self) {
        *self = Timers::new();
    }
}

impl Default for Timers {
    fn default() -> Self {
        Timers::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: rfc8985-s7.3-b
    #[test]
    fn loss_probe_fires_before_a_timeout_of_the_same_instant() {
        let mut timers = Timers::new();
        let at = Instant::from_millis(300);
        timers.set(Timer::Retransmit, at);
        timers.set(Timer::LossProbe, at);
        assert_eq!(timers.pop(at), Some(Timer::LossProbe));
        assert_eq!(timers.pop(at), Some(Timer::Retransmit));
        assert_eq!(timers.pop(at), None);
    }
}
