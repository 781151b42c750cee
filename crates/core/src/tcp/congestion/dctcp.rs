//! DCTCP (RFC 8257): the window shrinks by the share of what was marked, not by half. For paths whose queues mark early, as
//! in a data centre; growth and reaction to loss are NewReno's.

use super::{AckSample, Controller, Window, reno::Reno};
use crate::tcp::SeqNum;

/// DCTCP.Alpha's unit: a share of 1.
const ONE: u64 = 1 << 20;
/// g = 1/16 (RFC 8257 3.3, 4.2).
const GAIN: u32 = 4;

/// The estimate of the share of marked bytes.
#[derive(Clone, Debug)]
pub(super) struct Dctcp {
    /// DCTCP.Alpha, of [`ONE`].
    alpha: u64,
    /// DCTCP.BytesAcked and DCTCP.BytesMarked.
    acked: u64,
    marked: u64,
    /// DCTCP.WindowEnd.
    window_end: SeqNum,
    started: bool,
    /// The congestion event under way was a mark.
    by_mark: bool,
}

impl Dctcp {
    /// RFC 8257 3.3: Alpha begins at 1, so that the first mark halves.
    pub fn new() -> Self {
        Dctcp { alpha: ONE, acked: 0, marked: 0, window_end: SeqNum(0), started: false, by_mark: false }
    }

    /// One ACK of `acked` bytes, `marked` of them with CE (RFC 8257 3.3 steps 1 to 7).
    pub fn count(&mut self, acked: u32, marked: u32, una: SeqNum, nxt: SeqNum) {
        if !self.started {
            self.started = true;
            self.window_end = nxt;
        }
        self.acked += u64::from(acked);
        self.marked += u64::from(marked.min(acked));
        if una.lt(self.window_end) || self.acked == 0 {
            return;
        }
        let share = self.marked * ONE / self.acked;
        // Rounded up, so that a small Alpha still sinks to zero (5.1).
        self.alpha = (self.alpha - self.alpha.div_ceil(1 << GAIN) + (share >> GAIN)).min(ONE);
        self.window_end = nxt;
        (self.acked, self.marked) = (0, 0);
    }
}

impl Controller for Dctcp {
    fn on_ack(&mut self, w: &mut Window, a: &AckSample, cwnd_limited: bool) {
        Reno.on_ack(w, a, cwnd_limited);
    }

    /// A mark: cwnd * (1 - Alpha / 2), step 9; a loss: as any other TCP (3.5).
    fn on_congestion(&mut self, _w: &Window, base: u32) -> u32 {
        let alpha = if core::mem::take(&mut self.by_mark) { self.alpha } else { ONE };
        (u64::from(base) - u64::from(base) * alpha / (2 * ONE)) as u32
    }

    fn on_rto(&mut self, _w: &Window) {}

    fn on_mark(&mut self) {
        self.by_mark = true;
    }
}
