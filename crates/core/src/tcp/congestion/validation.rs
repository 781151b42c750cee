//! Congestion window validation (RFC 7661): a window that is not used says nothing of the path.

use super::{Congestion, initial_window};
use crate::branch::unlikely;
use crate::tcp::SeqNum;
use crate::time::Instant;

/// How long a window may go unused before it is cut (RFC 7661 4.4: at most five minutes), milliseconds.
const NON_VALIDATED_PERIOD: u32 = 300_000;

/// What pipeACK needs; times in wrapping milliseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct PipeAck {
    /// Acknowledged since the round began, bytes.
    acked: u32,
    round_end: SeqNum,
    /// pipeACK, bytes: the most acknowledged in a round trip lately.
    best: u32,
    best_at: u32,
    /// When it fell below half of cwnd; 0 while it has not.
    unused_since: u32,
    /// A round was measured.
    known: bool,
    started: bool,
}

impl Congestion {
    /// RFC 7661 4.2: measures pipeACK over rounds of `snd_una` passing what `snd_nxt` was; 4.4.3: cuts the window when
    /// the non-validated period ends.
    pub(super) fn measure_pipe(&mut self, now: Instant, acked: u32, una: SeqNum, nxt: SeqNum, srtt_us: u32) {
        let clock = now.as_millis() as u32;
        let p = self.pipe.get_or_insert_default();
        p.acked = p.acked.saturating_add(acked);
        if !p.started {
            p.started = true;
            p.round_end = nxt;
            return;
        }
        if una.lt(p.round_end) {
            return;
        }
        let period = (srtt_us / 1_000).saturating_mul(3).max(1_000);
        if !p.known || p.acked >= p.best || clock.wrapping_sub(p.best_at) > period {
            p.best = p.acked;
            p.best_at = clock;
            p.known = true;
        }
        p.acked = 0;
        p.round_end = nxt;
        let unused_since = p.unused_since;
        if p.best >= self.w.cwnd / 2 {
            p.unused_since = 0;
        } else if unused_since == 0 {
            p.unused_since = clock.max(1);
        } else if clock.wrapping_sub(unused_since) >= NON_VALIDATED_PERIOD {
            p.unused_since = clock.max(1);
            let w = &mut self.w;
            w.ssthresh = w.ssthresh.max(w.cwnd / 4 * 3);
            w.cwnd = (w.cwnd / 2).max(initial_window(w.mss, self.initial).min(w.cwnd));
        }
    }

    /// Whether pipeACK is known and less than half of cwnd (RFC 7661 4.2).
    pub fn is_non_validated(&self) -> bool {
        self.pipe.as_ref().is_some_and(|p| p.known && p.best < self.w.cwnd / 2)
    }

    /// Less than cwnd was used for a whole RTO, `rto_ms` (RFC 2861 3.2, Linux's `tcp_cwnd_application_limited`): cwnd
    /// goes half-way to what was used. To be asked when something was sent and all is in order.
    #[inline]
    pub fn on_application_limited(&mut self, now: Instant, rto_ms: u32) {
        if unlikely(self.is_unused(now, rto_ms)) && !self.owns_recovery() {
            self.give_up_unused(now);
        }
    }

    #[inline(never)]
    fn give_up_unused(&mut self, now: Instant) {
        self.used_at = now.as_millis() as u32;
        let used = self.max_in_flight.max(initial_window(self.w.mss, self.initial));
        if used < self.w.cwnd {
            self.w.ssthresh = self.w.ssthresh.max(self.w.cwnd / 4 * 3);
            self.w.cwnd = (self.w.cwnd + used) / 2;
        }
    }

    /// Whether cwnd has not been used up for `rto_ms`.
    fn is_unused(&self, now: Instant, rto_ms: u32) -> bool {
        !self.cwnd_limited && (now.as_millis() as u32).wrapping_sub(self.used_at) >= rto_ms
    }
}
