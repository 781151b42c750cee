//! Congestion control: how much may be in flight.
//!
//! [`Congestion`] holds the window that every algorithm has (cwnd, ssthresh, in bytes) and one
//! algorithm of the closed enum `Algo`, spoken to through one trait. Recovery (`tcp::recovery`)
//! tells it of ACKs, losses and timeouts; it knows no segment.

mod bbr;
mod cubic;
mod dctcp;
mod hystart;
mod reno;
#[cfg(test)]
mod tests;
mod validation;

use alloc::boxed::Box;

use crate::branch::unlikely;
use crate::config::CongestionKind;
use crate::tcp::SeqNum;
use crate::time::{Duration, Instant};
use bbr::Bbr;
pub(in crate::tcp) use bbr::LOSS_THRESH;
use cubic::Cubic;
use dctcp::Dctcp;
use reno::Reno;

/// No slow start threshold yet (RFC 5681 3.1: arbitrarily high).
pub const INFINITE: u32 = i32::MAX as u32;

/// The window, as every algorithm has it.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// Congestion window, bytes.
    pub cwnd: u32,
    /// Slow start threshold, bytes.
    pub ssthresh: u32,
    /// Bytes acknowledged towards the next step in congestion avoidance.
    pub counted: u32,
    /// Sender's MSS, bytes.
    pub mss: u32,
}

impl Window {
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Slow start with byte counting (RFC 5681 3.1, RFC 3465): returns the bytes left for avoidance.
    pub fn slow_start(&mut self, acked: u32) -> u32 {
        let cwnd = self.cwnd.saturating_add(acked).min(self.ssthresh).min(INFINITE);
        let left = acked - (cwnd - self.cwnd).min(acked);
        self.cwnd = cwnd;
        left
    }

    /// Congestion avoidance: one MSS for each `per` bytes acknowledged.
    pub fn advance(&mut self, per: u32, acked: u32) {
        let per = per.max(1);
        if self.counted >= per {
            // The pace quickened: what had been counted is worth one step, no more.
            self.counted = 0;
            self.cwnd = self.cwnd.saturating_add(self.mss);
        }
        self.counted = self.counted.saturating_add(acked);
        if self.counted >= per {
            let steps = self.counted / per;
            self.counted -= steps * per;
            self.cwnd = self.cwnd.saturating_add(steps.saturating_mul(self.mss));
        }
        self.cwnd = self.cwnd.min(INFINITE);
    }
}

/// What one ACK tells (Linux's `struct rate_sample` and its surroundings).
#[derive(Clone, Debug)]
pub struct AckSample {
    /// The time.
    pub now: Instant,
    /// SND.UNA after the ACK.
    pub snd_una: SeqNum,
    /// SND.NXT.
    pub snd_nxt: SeqNum,
    /// Bytes newly acknowledged or SACKed.
    pub delivered: u32,
    /// Bytes delivered in all, modulo 2^32.
    pub total_delivered: u32,
    /// Bytes in flight before the ACK.
    pub prior_in_flight: u32,
    /// Bytes in flight after it.
    pub in_flight: u32,
    /// The round trip of the last segment it delivered, microseconds; 0 is none.
    pub rtt_us: u32,
    /// SRTT, microseconds; 0 is none.
    pub srtt_us: u32,
    /// The windowed minimum RTT, microseconds; `u32::MAX` is none.
    pub min_rtt_us: u32,
    /// The rate measured over the last flight.
    pub rate: RateSample,
    /// Most that counts in the initial slow start, segments (RFC 9406 L); 0 is no limit.
    pub abc_limit: u8,
    /// Most that counts in slow start after a timeout, segments (RFC 3465 2.3); 0 is no limit.
    pub abc_limit_after_rto: u8,
    /// Measure whether the window is used (RFC 7661).
    pub validate: bool,
    /// Fast recovery or recovery from a timeout goes on.
    pub recovering: bool,
    /// Fast recovery or CWR is reducing the window: only algorithms that own it may change it.
    pub reducing: bool,
    /// The window may grow (something was acknowledged in a state that allows it).
    pub may_raise: bool,
}

/// Delivery rate over the flight of the segment delivered last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RateSample {
    /// Bytes delivered in `interval_us`; 0 is no sample.
    pub delivered: u32,
    /// Bytes delivered in all when that segment was sent, modulo 2^32.
    pub prior_delivered: u32,
    /// Microseconds; 0 is no sample.
    pub interval_us: u32,
    /// The application had nothing more to send in that time.
    pub app_limited: bool,
    /// Bytes in flight once that segment was sent, itself included.
    pub tx_in_flight: u32,
    /// Bytes found lost since it was sent.
    pub lost: u32,
}

/// What an ACK or a timer found lost.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    /// The time.
    pub now: Instant,
    /// Bytes delivered in all, modulo 2^32.
    pub total_delivered: u32,
    /// Bytes found lost.
    pub bytes: u32,
    /// The first stretch with which more than BBR's threshold was lost of what was in flight.
    pub too_many: Option<LossSample>,
}

/// A stretch found lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LossSample {
    /// Its bytes.
    pub len: u32,
    /// Bytes in flight once it was sent, itself included.
    pub tx_in_flight: u32,
    /// Bytes found lost since, itself included.
    pub lost: u32,
    /// The application was the limit when it was sent.
    pub app_limited: bool,
}

/// What differs between algorithms. `w` is the shared window.
pub(crate) trait Controller {
    /// An ACK that may raise the window.
    fn on_ack(&mut self, w: &mut Window, a: &AckSample, cwnd_limited: bool);
    /// A congestion event with `base` bytes taken as the load: the new ssthresh, before the floor.
    fn on_congestion(&mut self, w: &Window, base: u32) -> u32;
    /// The retransmission timer ran out; ssthresh is set already if this is a new event.
    fn on_rto(&mut self, w: &Window);
    /// Segments were found lost.
    fn on_lost(&mut self, _w: &Window, _losses: &Losses) {}
    /// A congestion mark was echoed.
    fn on_echo(&mut self) {}
    /// The congestion event that comes next is a mark's, not a loss.
    fn on_mark(&mut self) {}
    /// Fast recovery is over.
    fn on_exit_recovery(&mut self, _w: &mut Window) {}
    /// Sending begins after nothing was in flight.
    fn on_transmit_start(&mut self, _now: Instant) {}
    /// The window was cut after idle time.
    fn on_idle(&mut self) {}
    /// Bytes a second at which to send, if the algorithm says so itself.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
    /// Whether the algorithm sets cwnd in recovery too, instead of PRR (BBR).
    fn owns_recovery(&self) -> bool {
        false
    }
}

/// The algorithms. What is large is boxed.
#[derive(Clone, Debug)]
enum Algo {
    Reno(Reno),
    Cubic(Cubic),
    Bbr(Box<Bbr>),
    Dctcp(Box<Dctcp>),
}

macro_rules! each {
    ($algo:expr, $a:ident => $e:expr) => {
        match $algo {
            Algo::Reno($a) => $e,
            Algo::Cubic($a) => $e,
            Algo::Bbr($a) => $e,
            Algo::Dctcp($a) => $e,
        }
    };
}

/// The congestion control of a connection.
#[derive(Clone, Debug)]
pub struct Congestion {
    w: Window,
    /// RFC 7661, Linux's `is_cwnd_limited`: the most that was in flight up to `usage_end`.
    max_in_flight: u32,
    usage_end: SeqNum,
    /// When cwnd was last used up, wrapping milliseconds.
    used_at: u32,
    /// pipeACK, where it is measured.
    pipe: Option<Box<validation::PipeAck>>,
    /// Initial window, segments.
    initial: u8,
    cwnd_limited: bool,
    /// In the slow start after a timeout.
    after_rto: bool,
    /// A loss has been seen on this connection.
    seen_loss: bool,
    algo: Algo,
}

/// The initial window (RFC 6928 2): `min(n*MSS, max(2*MSS, 14600))`; `n` of 1 after a lost SYN, 0 for RFC 5681's
/// (RFC 3390). An `n` above 10 is the user's wish and is taken as it is.
pub fn initial_window(mss: u32, segments: u8) -> u32 {
    if segments == 0 {
        return rfc3390_window(mss);
    }
    let n = u32::from(segments);
    let wish = n * mss;
    if n > 10 { wish } else { wish.min((2 * mss).max(14_600)) }
}

/// How many bytes leave at once when sending is paced at `rate` bytes a second: what takes a millisecond, at most a
/// super-segment and at least two segments (one below 1.2 Mbit/s), as BBRSetSendQuantum and Linux's `sk_pacing_shift`.
pub fn pacing_quantum(rate: u64, mss: u32) -> u64 {
    let least = if rate < 150_000 { mss } else { 2 * mss };
    (rate >> 10).min(65_536).max(u64::from(least))
}

/// The initial window of RFC 3390, bytes: where RFC 6928 2 falls back to it.
pub fn rfc3390_window(mss: u32) -> u32 {
    (4 * mss).min((2 * mss).max(4_380))
}

impl Congestion {
    /// A fresh window of `initial` segments of `mss` bytes.
    pub fn new(kind: CongestionKind, mss: u32, initial: u8) -> Self {
        let mss = mss.max(1);
        Congestion {
            w: Window { cwnd: initial_window(mss, initial), ssthresh: INFINITE, counted: 0, mss },
            max_in_flight: 0,
            usage_end: SeqNum(0),
            used_at: 0,
            pipe: None,
            initial,
            cwnd_limited: false,
            after_rto: false,
            seen_loss: false,
            algo: match kind {
                CongestionKind::Reno => Algo::Reno(Reno),
                CongestionKind::Cubic => Algo::Cubic(Cubic::new()),
                CongestionKind::Bbr => Algo::Bbr(Box::new(Bbr::new())),
                CongestionKind::Dctcp => Algo::Dctcp(Box::new(Dctcp::new())),
            },
        }
    }

    /// The algorithm.
    pub fn kind(&self) -> CongestionKind {
        match self.algo {
            Algo::Reno(_) => CongestionKind::Reno,
            Algo::Cubic(_) => CongestionKind::Cubic,
            Algo::Bbr(_) => CongestionKind::Bbr,
            Algo::Dctcp(_) => CongestionKind::Dctcp,
        }
    }

    /// Its name, as TCP_CONGESTION spells it.
    pub fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// Changes the algorithm while the connection lives (TCP_CONGESTION); the window stays.
    pub fn set_kind(&mut self, kind: CongestionKind) {
        if kind != self.kind() {
            self.algo = Congestion::new(kind, self.w.mss, self.initial).algo;
            self.w.counted = 0;
        }
    }

    /// cwnd, bytes.
    pub fn cwnd(&self) -> u32 {
        self.w.cwnd
    }

    /// ssthresh, bytes; [`INFINITE`] before the first reduction.
    pub fn ssthresh(&self) -> u32 {
        self.w.ssthresh
    }

    /// The MSS it counts with, bytes.
    pub fn mss(&self) -> u32 {
        self.w.mss
    }

    /// Whether cwnd is below ssthresh.
    pub fn in_slow_start(&self) -> bool {
        self.w.in_slow_start()
    }

    /// Whether the last flight was held back by cwnd.
    pub fn is_cwnd_limited(&self) -> bool {
        if self.owns_recovery() {
            return self.cwnd_limited;
        }
        self.is_window_used()
    }

    /// The last flight was held back by cwnd; on Linux, in slow start, half of the window in use is enough to let it double.
    #[inline]
    fn is_window_used(&self) -> bool {
        self.cwnd_limited || (self.w.in_slow_start() && self.w.cwnd < self.max_in_flight.saturating_mul(2))
    }

    /// Bytes a second at which the algorithm wants to send; `None` leaves it to the caller.
    pub fn pacing_rate(&self) -> Option<u64> {
        each!(&self.algo, a => a.pacing_rate())
    }

    /// Whether the algorithm sets cwnd in recovery too, so that PRR must keep away.
    pub fn owns_recovery(&self) -> bool {
        each!(&self.algo, a => a.owns_recovery())
    }

    /// The MSS changed (path MTU): the window keeps its number of segments (RFC 8201, as Linux).
    pub fn set_mss(&mut self, mss: u32) {
        let mss = mss.max(1);
        if mss == self.w.mss {
            return;
        }
        let scale = |bytes: u32| {
            (u64::from(bytes) * u64::from(mss) / u64::from(self.w.mss)).min(u64::from(INFINITE)) as u32
        };
        // A smaller MSS must not shrink what a smaller number of bytes already is; a larger one must not
        // grow the load: bytes stay if the MSS grew.
        if mss < self.w.mss {
            self.w.cwnd = scale(self.w.cwnd);
            if self.w.ssthresh != INFINITE {
                self.w.ssthresh = scale(self.w.ssthresh).max(2 * mss);
            }
        }
        self.w.mss = mss;
        self.w.cwnd = self.w.cwnd.max(mss);
    }

    /// Something was sent; `in_flight` bytes are now. Notes whether cwnd is what limits us (RFC 7661 4.3,
    /// Linux's `tcp_cwnd_validate`).
    pub fn on_sent(&mut self, now: Instant, in_flight: u32, snd_una: SeqNum, snd_nxt: SeqNum) {
        let limited = in_flight.saturating_add(self.w.mss) > self.w.cwnd;
        if unlikely(limited) {
            self.used_at = now.as_millis() as u32;
        }
        if !snd_una.lt(self.usage_end) || limited || (!self.cwnd_limited && in_flight > self.max_in_flight) {
            self.cwnd_limited = limited;
            self.max_in_flight = in_flight;
            self.usage_end = snd_nxt;
        }
    }

    /// What cwnd has room for waits for more of it: cwnd is what limits us, though it is not quite full.
    pub fn on_held_back(&mut self, now: Instant, in_flight: u32, snd_nxt: SeqNum) {
        self.used_at = now.as_millis() as u32;
        self.cwnd_limited = true;
        self.max_in_flight = in_flight;
        self.usage_end = snd_nxt;
    }

    /// Sending begins anew after nothing was in flight: idle time is not time of growth (RFC 9438 4.2).
    pub fn on_transmit_start(&mut self, now: Instant, snd_nxt: SeqNum) {
        self.usage_end = snd_nxt;
        self.max_in_flight = 0;
        each!(&mut self.algo, a => a.on_transmit_start(now));
    }

    /// An ACK: grows the window if that is due.
    pub fn on_ack(&mut self, a: &AckSample) {
        if a.validate {
            self.measure_pipe(a.now, a.delivered, a.snd_una, a.snd_nxt, a.srtt_us);
        }
        if (a.reducing || !a.may_raise) && !self.owns_recovery() {
            return;
        }
        let limited = self.is_cwnd_limited();
        if self.after_rto && self.w.in_slow_start() && a.abc_limit_after_rto > 0 {
            let limit = u32::from(a.abc_limit_after_rto) * self.w.mss;
            let a = AckSample { delivered: a.delivered.min(limit), ..a.clone() };
            each!(&mut self.algo, algo => algo.on_ack(&mut self.w, &a, limited));
        } else {
            each!(&mut self.algo, algo => algo.on_ack(&mut self.w, a, limited));
        }
        if self.after_rto && !self.w.in_slow_start() {
            self.after_rto = false;
        }
    }

    /// What [`Congestion::on_ack`] does where the window is not the limit; false, and nothing has changed, if it is, or if
    /// the algorithm learns from every ACK.
    #[inline(always)]
    pub fn on_unlimited_ack(&mut self, now: Instant) -> bool {
        if self.after_rto || self.is_window_used() {
            return false;
        }
        match &mut self.algo {
            Algo::Reno(_) => true,
            Algo::Cubic(cubic) => {
                cubic.pass(now);
                true
            }
            Algo::Dctcp(_) => true, // it has counted the marks
            Algo::Bbr(_) => false,
        }
    }

    /// A congestion event found by loss or (later) ECN: sets ssthresh, from `base` bytes of load; cwnd is
    /// left to PRR. Returns ssthresh.
    pub fn on_enter_recovery(&mut self, base: u32) -> u32 {
        if self.owns_recovery() {
            each!(&mut self.algo, a => a.on_congestion(&self.w, base));
            return self.w.ssthresh;
        }
        self.w.ssthresh =
            each!(&mut self.algo, a => a.on_congestion(&self.w, base)).max(2 * self.w.mss).min(INFINITE);
        self.w.counted = 0;
        self.after_rto = false;
        self.seen_loss = true;
        self.w.ssthresh
    }

    /// A retransmission timeout with `in_flight` bytes still counted as in flight: cwnd admits one
    /// segment (RFC 5681 3.1). `base`: the load if this is a new congestion event, else ssthresh stays.
    pub fn on_rto(&mut self, base: Option<u32>, in_flight: u32) {
        if let Some(base) = base {
            self.on_enter_recovery(base);
        }
        self.w.cwnd = in_flight.saturating_add(self.w.mss).min(INFINITE);
        self.w.counted = 0;
        self.after_rto = true;
        each!(&mut self.algo, a => a.on_rto(&self.w));
    }

    /// Segments were found lost.
    pub fn on_lost(&mut self, losses: &Losses) {
        each!(&mut self.algo, a => a.on_lost(&self.w, losses));
    }

    /// A congestion mark was echoed (RFC 3168 6.1.2).
    pub fn on_echo(&mut self) {
        each!(&mut self.algo, a => a.on_echo());
    }

    /// The reduction that begins now is a mark's.
    pub fn on_mark(&mut self) {
        each!(&mut self.algo, a => a.on_mark());
    }

    /// An ACK of `acked` bytes, `marked` of them with CE, in whatever state.
    #[inline(always)]
    pub fn count_marks(&mut self, acked: u32, marked: u32, snd_una: SeqNum, snd_nxt: SeqNum) {
        if let Algo::Dctcp(dctcp) = &mut self.algo {
            dctcp.count(acked, marked, snd_una, snd_nxt);
        }
    }

    /// Whether the algorithm holds the flow below what the path gives, so that rate samples say nothing of it.
    pub fn limits_itself(&self) -> bool {
        matches!(&self.algo, Algo::Bbr(bbr) if bbr.limits_itself())
    }

    /// PRR says how much may be in flight during recovery.
    pub fn set_recovery_cwnd(&mut self, cwnd: u32) {
        self.w.cwnd = cwnd.max(self.w.mss).min(INFINITE);
    }

    /// Recovery is over: cwnd is ssthresh (RFC 9937 6.4).
    pub fn on_exit_recovery(&mut self) {
        if self.owns_recovery() {
            each!(&mut self.algo, a => a.on_exit_recovery(&mut self.w));
        } else if self.w.ssthresh < INFINITE {
            self.w.cwnd = self.w.ssthresh.max(self.w.mss);
        }
    }

    /// Leaves loss recovery without SACK with little in flight: no burst (RFC 6582 3.2 (1)).
    pub fn moderate(&mut self, in_flight: u32) {
        if self.owns_recovery() {
            return;
        }
        self.w.cwnd = self.w.cwnd.min(in_flight.max(self.w.mss).saturating_add(self.w.mss));
    }

    /// The reduction was needless: goes back to `before`, as far as that is more (RFC 9438 4.9).
    pub fn undo(&mut self, before: &Congestion) {
        if let Algo::Bbr(bbr) = &mut self.algo {
            bbr.undo(); // its clocks and filters go on
        } else if core::mem::discriminant(&self.algo) == core::mem::discriminant(&before.algo) {
            self.algo = before.algo.clone();
        }
        self.w.cwnd = self.w.cwnd.max(before.w.cwnd);
        self.w.ssthresh = self.w.ssthresh.max(before.w.ssthresh);
        self.w.counted = 0;
        self.after_rto = before.after_rto;
        self.seen_loss = before.seen_loss;
    }

    /// The restart window after idle time: the initial window, or RFC 3390's once something was lost
    /// (RFC 6928 2), and never more than cwnd.
    pub fn restart_window(&self) -> u32 {
        let window = initial_window(self.w.mss, self.initial);
        let window = if self.seen_loss { window.min(rfc3390_window(self.w.mss)) } else { window };
        window.min(self.w.cwnd)
    }

    /// Nothing was sent for `idle`: the window decays (RFC 5681 4.1). `gradual`: by half for each RTO, as
    /// Linux does (RFC 7661's precursor, RFC 2861); else at once to the restart window.
    pub fn on_idle(&mut self, idle: Duration, rto: Duration, gradual: bool) {
        if idle <= rto || rto.is_zero() || self.owns_recovery() {
            return;
        }
        let floor = if gradual {
            initial_window(self.w.mss, self.initial).min(self.w.cwnd)
        } else {
            self.restart_window()
        };
        // RFC 7661 4.4.3, RFC 2861: remember what was in use.
        if self.w.ssthresh < INFINITE || gradual {
            self.w.ssthresh = self.w.ssthresh.max(self.w.cwnd / 4 * 3);
        }
        if gradual {
            let mut left = idle;
            while left > rto && self.w.cwnd > floor {
                left -= rto;
                self.w.cwnd /= 2;
            }
            self.w.cwnd = self.w.cwnd.max(floor);
        } else {
            self.w.cwnd = floor;
        }
        self.w.counted = 0;
        self.cwnd_limited = false;
        self.pipe = None;
        each!(&mut self.algo, a => a.on_idle());
    }
}
