//! NewReno's window (RFC 5681 3.1, RFC 6582); its recovery is `tcp::recovery`'s.

use super::{AckSample, Controller, Window};

/// RFC 5681 has no state beyond the window.
#[derive(Clone, Debug)]
pub(super) struct Reno;

impl Controller for Reno {
    fn on_ack(&mut self, w: &mut Window, a: &AckSample, cwnd_limited: bool) {
        if !cwnd_limited {
            return;
        }
        let mut acked = a.delivered;
        if w.in_slow_start() {
            let limit = u32::from(a.abc_limit) * w.mss;
            acked = w.slow_start(if limit == 0 { acked } else { acked.min(limit) });
            if acked == 0 {
                return;
            }
        }
        w.advance(w.cwnd, acked);
    }

    fn on_congestion(&mut self, _w: &Window, base: u32) -> u32 {
        base / 2
    }

    fn on_rto(&mut self, _w: &Window) {}
}
