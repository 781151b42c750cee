//! HyStart++ (RFC 9406): leaving the initial slow start when the delay grows, before loss.

use super::{AckSample, INFINITE, Window};
use crate::tcp::SeqNum;

/// RFC 9406 4.3: MIN_RTT_THRESH, MAX_RTT_THRESH in microseconds.
const MIN_RTT_THRESH: u32 = 4_000;
const MAX_RTT_THRESH: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
/// At least 2 (RFC 9406 4.3).
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;
const NONE: u32 = u32::MAX;

/// State of the initial slow start; times in microseconds.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// windowEnd.
    round_end: SeqNum,
    last_round_min: u32,
    this_round_min: u32,
    css_baseline: u32,
    samples: u8,
    /// Rounds spent in conservative slow start; 0 is standard slow start.
    css_rounds: u8,
    /// windowEnd is set.
    started: bool,
    /// It is over for this connection.
    done: bool,
}

impl HyStart {
    pub fn new() -> Self {
        HyStart {
            round_end: SeqNum(0),
            last_round_min: NONE,
            this_round_min: NONE,
            css_baseline: NONE,
            samples: 0,
            css_rounds: 0,
            started: false,
            done: false,
        }
    }

    /// Loss or ECN mark: only the initial slow start is ours (RFC 9406 4.3).
    pub fn stop(&mut self) {
        self.done = true;
    }

    /// Grows the window in slow start. Returns the bytes left for congestion avoidance.
    pub fn slow_start(&mut self, w: &mut Window, a: &AckSample) -> u32 {
        let limit = u32::from(a.abc_limit) * w.mss;
        let acked = if limit == 0 { a.delivered } else { a.delivered.min(limit) };
        if self.done {
            return w.slow_start(acked);
        }
        self.track_round(w, a);
        if self.done {
            return 0;
        }
        self.judge(a.rtt_us);
        if self.css_rounds > 0 {
            // Rounding must not stop the growth of small ACKs altogether.
            w.slow_start(acked.div_ceil(CSS_GROWTH_DIVISOR))
        } else {
            w.slow_start(acked)
        }
    }

    fn track_round(&mut self, w: &mut Window, a: &AckSample) {
        if !self.started {
            self.started = true;
            self.round_end = a.snd_nxt;
        } else if !a.snd_una.lt(self.round_end) {
            self.last_round_min = self.this_round_min;
            self.this_round_min = NONE;
            self.samples = 0;
            self.round_end = a.snd_nxt;
            if self.css_rounds > 0 {
                self.css_rounds += 1;
                if self.css_rounds > CSS_ROUNDS {
                    w.ssthresh = w.cwnd.min(INFINITE);
                    self.done = true;
                }
            }
        }
    }

    fn judge(&mut self, rtt: u32) {
        if rtt == 0 {
            return;
        }
        self.this_round_min = self.this_round_min.min(rtt);
        self.samples = self.samples.saturating_add(1);
        if self.samples < N_RTT_SAMPLE {
            return;
        }
        if self.css_rounds > 0 {
            if self.this_round_min < self.css_baseline {
                self.css_baseline = NONE;
                self.css_rounds = 0;
            }
        } else if self.last_round_min != NONE {
            let thresh = (self.last_round_min / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
            if self.this_round_min >= self.last_round_min.saturating_add(thresh) {
                self.css_baseline = self.this_round_min;
                self.css_rounds = 1;
            }
        }
    }
}
