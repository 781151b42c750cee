//! CUBIC (RFC 9438) with HyStart++ (RFC 9406). Windows in bytes, time in milliseconds, integers only.

use super::hystart::HyStart;
use super::{AckSample, Controller, Window};
use crate::time::Instant;

/// β_cubic = 0.7 (RFC 9438 4.6).
const BETA: (u64, u64) = (7, 10);
/// α_cubic = 3(1-β)/(1+β) = 9/17 (RFC 9438 4.3).
const ALPHA: (u64, u64) = (9, 17);
/// The longest time from K that is computed, milliseconds.
const FARTHEST: u64 = 200_000;

/// State between congestion events.
#[derive(Clone, Debug)]
pub(super) struct Cubic {
    /// W_max, bytes; 0 before the first congestion event.
    pub(super) w_max: u32,
    /// The window around which this epoch's curve is symmetric, bytes.
    pub(super) origin: u32,
    /// cwnd_prior, bytes.
    cwnd_prior: u32,
    /// K, milliseconds.
    pub(super) k: u32,
    /// When the epoch began, wrapping milliseconds, shifted by the time in which the window could not grow.
    epoch: u32,
    /// When the window was last looked at, wrapping milliseconds.
    last: u32,
    /// W_est, bytes.
    w_est: u32,
    /// Bytes acknowledged towards W_est's next step.
    est_counted: u32,
    hystart: HyStart,
    /// An epoch runs.
    running: bool,
}

impl Cubic {
    pub fn new() -> Self {
        Cubic {
            w_max: 0,
            origin: 0,
            cwnd_prior: 0,
            k: 0,
            epoch: 0,
            last: 0,
            w_est: 0,
            est_counted: 0,
            hystart: HyStart::new(),
            running: false,
        }
    }

    /// RFC 9438 4.2: time in which the application is the limit does not count.
    #[inline]
    pub(super) fn pass(&mut self, now: Instant) {
        let now = now.as_millis() as u32;
        self.epoch = self.epoch.wrapping_add(now.wrapping_sub(self.last));
        self.last = now;
    }

    /// RFC 9438 4.2, 4.10: K = cbrt((W_max - cwnd_epoch) / C), 0 if the window is there already.
    fn begin_epoch(&mut self, w: &Window, now: u32) {
        self.running = true;
        self.epoch = now;
        self.w_est = w.cwnd;
        self.est_counted = 0;
        if self.w_max <= w.cwnd {
            self.k = 0;
            self.origin = w.cwnd;
            if self.w_max == 0 {
                self.cwnd_prior = w.cwnd; // slow start was left without loss
            }
        } else {
            // In segments per second cubed, C = 0.4; K in milliseconds: (bytes / mss) / 0.4 * 10^9.
            let cube = u64::from(self.w_max - w.cwnd) * 2_500_000_000 / u64::from(w.mss);
            self.k = cbrt(cube);
            self.origin = self.w_max;
        }
    }

    /// W_cubic at `t` milliseconds into the epoch (RFC 9438 4.2 figure 1).
    fn w_cubic(&self, t: u64, mss: u32) -> u64 {
        let k = u64::from(self.k);
        let d = t.abs_diff(k).min(FARTHEST);
        // 0.4 * (d/1000)^3 segments
        let offset = d * d * d / 1_000 * (4 * u64::from(mss)) / 10_000_000;
        let origin = u64::from(self.origin);
        if t < k { origin.saturating_sub(offset) } else { origin + offset }
    }

    /// RFC 9438 4.3: W_est grows by α segments for each window acknowledged.
    fn grow_w_est(&mut self, w: &Window, acked: u32) {
        let per = if self.w_est >= self.cwnd_prior {
            u64::from(w.cwnd)
        } else {
            u64::from(w.cwnd) * ALPHA.1 / ALPHA.0
        }
        .max(1);
        let counted = u64::from(self.est_counted) + u64::from(acked);
        self.w_est = self.w_est.saturating_add(((counted / per) as u32).saturating_mul(w.mss));
        self.est_counted = (counted % per) as u32;
    }

    fn avoid(&mut self, w: &mut Window, a: &AckSample, acked: u32, now: u32) {
        if !self.running {
            self.begin_epoch(w, now);
        }
        self.grow_w_est(w, acked);
        let t = u64::from(now.wrapping_sub(self.epoch));
        let cwnd = u64::from(w.cwnd);
        if self.w_cubic(t, w.mss) < u64::from(self.w_est) {
            // The Reno-friendly region (4.3): cwnd is W_est.
            w.cwnd = w.cwnd.max(self.w_est);
            return;
        }
        // Concave and convex regions (4.4, 4.5): aim at where the curve will be in one round trip.
        let rtt = u64::from(a.srtt_us / 1_000);
        let target = self.w_cubic(t + rtt, w.mss).clamp(cwnd, cwnd * 3 / 2);
        let step = target - cwnd;
        let per = (cwnd * u64::from(w.mss)).checked_div(step).unwrap_or(cwnd * 100);
        w.advance(per.min(u64::from(u32::MAX)) as u32, acked);
    }
}

impl Controller for Cubic {
    fn on_ack(&mut self, w: &mut Window, a: &AckSample, cwnd_limited: bool) {
        if !cwnd_limited {
            return self.pass(a.now);
        }
        let now = a.now.as_millis() as u32;
        self.last = now;
        let mut acked = a.delivered;
        if w.in_slow_start() {
            acked = self.hystart.slow_start(w, a);
            if acked == 0 {
                return;
            }
        }
        self.avoid(w, a, acked, now);
    }

    fn on_congestion(&mut self, w: &Window, base: u32) -> u32 {
        self.running = false;
        self.hystart.stop();
        self.cwnd_prior = base;
        // Fast convergence (4.7).
        self.w_max = if base < self.w_max {
            (u64::from(base) * (BETA.1 + BETA.0) / (2 * BETA.1)) as u32
        } else {
            base
        };
        let _ = w;
        (u64::from(base) * BETA.0 / BETA.1) as u32
    }

    /// RFC 9438 4.8: the first avoidance after a timeout starts from the plateau, K = 0.
    fn on_rto(&mut self, _w: &Window) {
        self.running = false;
        self.w_max = 0;
        self.hystart.stop();
    }

    fn on_transmit_start(&mut self, now: Instant) {
        self.pass(now);
    }

    fn on_idle(&mut self) {
        self.running = false;
    }
}

/// The cube root, rounded down.
pub(super) fn cbrt(n: u64) -> u32 {
    let (mut root, mut rest) = (0u64, n);
    let mut shift = 63i32;
    while shift >= 0 {
        root *= 2;
        let step = 3 * root * (root + 1) + 1;
        if rest >> shift >= step {
            rest -= step << shift;
            root += 1;
        }
        shift -= 3;
    }
    root as u32
}
