//! What sending waits for: how long there was anything to send or unacknowledged, and how much of that the peer's window
//! or a full TX buffer held it up (Linux's `tcp_chrono`).

use super::*;
use crate::branch::{cold, unlikely};

/// What it waits for now; what stands later takes precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Waits {
    /// There is nothing to send, and nothing unacknowledged.
    #[default]
    Nothing,
    /// Data is on its way.
    Busy,
    /// The peer's window takes no more.
    Window,
    /// The user has more than the TX buffer takes.
    Room,
}

/// The times, nanoseconds: what is done for each write and each ACK divides nothing.
#[derive(Debug, Default)]
pub(super) struct Chrono {
    waits: Waits,
    /// A call found no room in the TX buffer, and there is not enough yet (Linux's SOCK_NOSPACE).
    full: bool,
    since: Instant,
    spent: [u64; 3],
}

impl Chrono {
    #[inline(always)]
    fn set(&mut self, now: Instant, waits: Waits) {
        let elapsed = now.as_nanos().wrapping_sub(core::mem::replace(&mut self.since, now).as_nanos());
        match core::mem::replace(&mut self.waits, waits) {
            Waits::Nothing => {}
            waited => self.spent[waited as usize - 1] += elapsed,
        }
    }

    /// A call found no room.
    pub fn note_full(&mut self) {
        self.full = true;
    }
}

impl Connection {
    /// There is something to send.
    #[inline(always)]
    pub(super) fn note_busy(&mut self, now: Instant) {
        if self.chrono.waits == Waits::Nothing {
            self.chrono.set(now, Waits::Busy);
        }
    }

    /// Something was acknowledged.
    #[inline(always)]
    pub(super) fn waits_less(&mut self, now: Instant) {
        if self.snd.buf.is_empty() {
            self.chrono.full = false;
            if self.chrono.waits != Waits::Nothing {
                self.chrono.set(now, Waits::Nothing);
            }
        } else if unlikely(self.chrono.full) {
            self.note_room(now);
        }
    }

    #[cold]
    fn note_room(&mut self, now: Instant) {
        let writable = self.is_writable();
        let chrono = &mut self.chrono;
        chrono.full &= !writable;
        if writable && chrono.waits == Waits::Room {
            chrono.set(now, Waits::Busy);
        }
    }

    /// All has left that may, something just now if `sent`: what the rest waits for.
    #[inline(always)]
    pub(super) fn note_limits(&mut self, cx: &Cx<'_>, sent: bool) {
        let unsent = self.snd.unsent();
        if unsent > 0 || self.chrono.full || self.chrono.waits == Waits::Window {
            cold();
            self.note_limit(cx, unsent, sent);
        }
    }

    #[inline(never)]
    fn note_limit(&mut self, cx: &Cx<'_>, unsent: u32, sent: bool) {
        let room = self.flight.as_ref().map_or(self.cc.cwnd(), |flight| flight.can_send_new(&self.cc));
        let window = unsent > 0 && room > 0 && self.snd.usable() < unsent.min(u32::from(self.mss));
        let chrono = &mut self.chrono;
        if window && chrono.waits < Waits::Window {
            chrono.set(cx.now, Waits::Window);
        } else if !window && chrono.waits == Waits::Window {
            chrono.set(cx.now, Waits::Busy);
        }
        if sent && unsent == 0 && room > 0 && chrono.full && chrono.waits < Waits::Room {
            chrono.set(cx.now, Waits::Room);
        }
    }

    /// How long it was busy in all, waited for the peer's window, and for room in the TX buffer.
    pub(super) fn waited(&self, now: Instant) -> [Duration; 3] {
        let mut spent = self.chrono.spent;
        if self.chrono.waits != Waits::Nothing {
            spent[self.chrono.waits as usize - 1] +=
                now.as_nanos().wrapping_sub(self.chrono.since.as_nanos());
        }
        let time = |nanos: u64| Duration::from_millis(nanos / 1_000_000);
        [time(spent.iter().sum()), time(spent[1]), time(spent[2])]
    }
}
