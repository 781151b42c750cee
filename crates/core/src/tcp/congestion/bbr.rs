//! BBR version 3 (draft-ietf-ccwg-bbr): a model of the path, its bandwidth and round trip, and what may be in flight
//! without much loss; sending is paced at the modelled bandwidth.
//!
//! `model.rs` measures (rounds, bandwidth, minimum RTT, ACK aggregation, bounds learned from loss), `cycle.rs` steps
//! through the states; here stands what the model makes of rate and window. Names are the draft's; its
//! `inflight_longterm` and `inflight_shortterm` are called `inflight_hi` and `inflight_lo`, as by Linux.
//!
//! Left out: the experimental reaction to the share of ECN marks (`ecn_alpha`, for shallow-threshold marking), which the
//! draft has not: an ECN echo (RFC 3168) counts as loss does. Spurious losses restore what they took (bounds, window)
//! but do not resume an interrupted STARTUP. One thing differs: `bw_lo` and `inflight_lo` allow for
//! the pacing margin and for losses below the threshold (`lower_bounds` in `model.rs`).

mod cycle;
mod model;
#[cfg(test)]
mod tests;

use super::{AckSample, Controller, INFINITE, Losses, Window};
use crate::time::{Duration, Instant};

/// BBRStartupPacingGain, BBRDrainPacingGain, BBRDefaultCwndGain and the others, percent.
const STARTUP_PACING_GAIN: u64 = 277;
const DRAIN_PACING_GAIN: u64 = 50;
const CWND_GAIN: u64 = 200;
const UP_CWND_GAIN: u64 = 225;
const PROBE_RTT_CWND_GAIN: u64 = 50;
/// BBRPacingMarginPercent.
const PACING_MARGIN: u64 = 99;
/// BBRBeta, percent.
const BETA: u64 = 70;
/// BBRHeadroom, percent.
const HEADROOM: u64 = 15;
/// BBRLossThresh is one part in so many (2 %).
pub(in crate::tcp) const LOSS_THRESH: u64 = 50;
/// BBRMinPipeCwnd, segments.
const MIN_PIPE_CWND: u32 = 4;
/// "Infinity" for bytes and rates.
const NO_BOUND: u64 = u64::MAX;

/// Where in its cycle the flow is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Startup,
    Drain,
    Down,
    Cruise,
    Refill,
    Up,
    ProbeRtt,
}

/// How ACKs relate to the last probe for bandwidth (the draft's `ack_phase`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// The model and the state. Bytes, bytes a second, microseconds.
#[derive(Clone, Debug)]
pub(super) struct Bbr {
    state: State,
    pacing_gain: u64,
    cwnd_gain: u64,
    pacing_rate: u64,
    /// SRTT or the handshake's round trip went into the first rate.
    has_seen_rtt: bool,
    initial_cwnd: u32,
    send_quantum: u64,

    // Rounds.
    /// Delivered in all at the last ACK, modulo 2^32.
    delivered: u32,
    next_round_delivered: u32,
    round_start: bool,
    round_count: u32,

    // Bandwidth.
    /// The maxima of the probing cycle before and of this one.
    max_bw: [u64; 2],
    bw_lo: u64,
    bw: u64,

    // Round trip.
    min_rtt: u64,
    min_rtt_stamp: Instant,
    probe_rtt_min_delay: u64,
    probe_rtt_min_stamp: Instant,
    probe_rtt_expired: bool,
    probe_rtt_done: Option<Instant>,
    probe_rtt_round_done: bool,
    idle_restart: bool,

    // Bounds on what is in flight.
    inflight_hi: u64,
    inflight_lo: u64,
    prior_cwnd: u32,
    bounds_before_loss: Option<(u64, u64, u64)>,

    // What the latest round delivered.
    bw_latest: u64,
    inflight_latest: u64,
    loss_round_delivered: u32,
    loss_round_start: bool,
    loss_in_round: bool,
    lost_in_round: u64,
    loss_events_in_round: u8,

    // Full pipe.
    full_bw_reached: bool,
    full_bw_now: bool,
    full_bw: u64,
    full_bw_count: u8,

    // ACK aggregation.
    extra_acked_start: Instant,
    extra_acked_delivered: u64,
    extra_acked: [u64; 2],
    extra_acked_round: u32,

    // Probing.
    cycle_stamp: Instant,
    ack_phase: AckPhase,
    rounds_since_probe: u32,
    probe_wait: Duration,
    probe_up_cnt: u64,
    probe_up_acks: u64,
    probe_up_rounds: u32,
    probe_samples: bool,
    recovering: bool,
    in_loss: bool,
    started: bool,
}

impl Bbr {
    /// BBROnInit; the clock starts with the first ACK.
    pub fn new() -> Self {
        Bbr {
            state: State::Startup,
            pacing_gain: STARTUP_PACING_GAIN,
            cwnd_gain: CWND_GAIN,
            pacing_rate: 0,
            has_seen_rtt: false,
            initial_cwnd: 0,
            send_quantum: 0,
            delivered: 0,
            next_round_delivered: 0,
            round_start: false,
            round_count: 0,
            max_bw: [0; 2],
            bw_lo: NO_BOUND,
            bw: 0,
            min_rtt: NO_BOUND,
            min_rtt_stamp: Instant::ZERO,
            probe_rtt_min_delay: NO_BOUND,
            probe_rtt_min_stamp: Instant::ZERO,
            probe_rtt_expired: false,
            probe_rtt_done: None,
            probe_rtt_round_done: false,
            idle_restart: false,
            inflight_hi: NO_BOUND,
            inflight_lo: NO_BOUND,
            prior_cwnd: 0,
            bounds_before_loss: None,
            bw_latest: 0,
            inflight_latest: 0,
            loss_round_delivered: 0,
            loss_round_start: false,
            loss_in_round: false,
            lost_in_round: 0,
            loss_events_in_round: 0,
            full_bw_reached: false,
            full_bw_now: false,
            full_bw: 0,
            full_bw_count: 0,
            extra_acked_start: Instant::ZERO,
            extra_acked_delivered: 0,
            extra_acked: [0; 2],
            extra_acked_round: 0,
            cycle_stamp: Instant::ZERO,
            ack_phase: AckPhase::Init,
            rounds_since_probe: 0,
            probe_wait: Duration::from_secs(2),
            probe_up_cnt: NO_BOUND,
            probe_up_acks: 0,
            probe_up_rounds: 0,
            probe_samples: false,
            recovering: false,
            in_loss: false,
            started: false,
        }
    }

    /// Spurious losses: what they took comes back (BBRHandleSpuriousLossDetection).
    pub fn undo(&mut self) {
        self.loss_in_round = false;
        self.reset_full_bw();
        if let Some((bw_lo, inflight_lo, inflight_hi)) = self.bounds_before_loss.take() {
            self.bw_lo = self.bw_lo.max(bw_lo);
            self.inflight_lo = self.inflight_lo.max(inflight_lo);
            self.inflight_hi = self.inflight_hi.max(inflight_hi);
        }
    }

    /// Whether samples of the delivery rate say nothing of the path now (MarkConnectionAppLimited in PROBE_RTT).
    pub fn limits_itself(&self) -> bool {
        self.state == State::ProbeRtt
    }

    /// The window bound to what the path holds, times `gain` percent (BBRBDPMultiple).
    fn bdp(&self, gain: u64) -> u64 {
        if self.min_rtt == NO_BOUND {
            return u64::from(self.initial_cwnd);
        }
        let bdp = u128::from(self.bw) * u128::from(self.min_rtt) / 1_000_000;
        (bdp * u128::from(gain) / 100).min(u128::from(INFINITE)) as u64
    }

    /// BBRQuantizationBudget: room for a few bursts whatever the model says.
    fn quantized(&self, inflight: u64, mss: u32) -> u64 {
        let least = (3 * self.send_quantum).max(u64::from(MIN_PIPE_CWND * mss));
        let inflight = inflight.max(least);
        if self.state == State::Up { inflight + 2 * u64::from(mss) } else { inflight }
    }

    /// BBRInflight.
    fn inflight(&self, gain: u64, mss: u32) -> u64 {
        self.quantized(self.bdp(gain), mss)
    }

    /// BBRTargetInflight.
    fn target_inflight(&self, w: &Window) -> u64 {
        self.bdp(100).min(u64::from(w.cwnd))
    }

    /// BBRInflightWithHeadroom.
    fn inflight_with_headroom(&self, mss: u32) -> u64 {
        if self.inflight_hi == NO_BOUND {
            return NO_BOUND;
        }
        let headroom = (self.inflight_hi * HEADROOM / 100).max(u64::from(mss));
        self.inflight_hi.saturating_sub(headroom).max(u64::from(MIN_PIPE_CWND * mss))
    }

    /// BBRProbeRTTCwnd.
    fn probe_rtt_cwnd(&self, mss: u32) -> u64 {
        self.bdp(PROBE_RTT_CWND_GAIN).max(u64::from(MIN_PIPE_CWND * mss))
    }

    fn is_probe_bw(&self) -> bool {
        matches!(self.state, State::Down | State::Cruise | State::Refill | State::Up)
    }

    /// BBRInitPacingRate: the initial window in a round trip.
    fn init_pacing_rate(&mut self, w: &Window, srtt_us: u32) {
        let rtt = if srtt_us == 0 { 1_000 } else { srtt_us };
        self.has_seen_rtt = srtt_us != 0;
        let nominal = u64::from(w.cwnd) * 1_000_000 / u64::from(rtt);
        self.pacing_rate = nominal * STARTUP_PACING_GAIN / 100;
    }

    /// BBRSetPacingRateWithGain.
    fn set_pacing_rate(&mut self, gain: u64) {
        let rate = (u128::from(self.bw) * u128::from(gain * PACING_MARGIN) / 10_000) as u64;
        if self.full_bw_reached || rate > self.pacing_rate {
            self.pacing_rate = rate.max(1);
        }
    }

    /// BBRSetCwnd.
    fn set_cwnd(&mut self, w: &mut Window, a: &AckSample) {
        let extra = self.extra_acked[0].max(self.extra_acked[1]);
        let max_inflight = self.quantized(self.bdp(self.cwnd_gain) + extra, w.mss);
        let mut cwnd = u64::from(w.cwnd);
        if self.full_bw_reached {
            cwnd = (cwnd + u64::from(a.delivered)).min(max_inflight);
        } else if cwnd < max_inflight || a.total_delivered < self.initial_cwnd {
            cwnd += u64::from(a.delivered);
        }
        let least = u64::from(MIN_PIPE_CWND * w.mss);
        cwnd = cwnd.max(least);
        if self.state == State::ProbeRtt {
            cwnd = cwnd.min(self.probe_rtt_cwnd(w.mss));
        }
        let cap = match self.state {
            State::Down | State::Refill | State::Up => self.inflight_hi,
            State::Cruise | State::ProbeRtt => self.inflight_with_headroom(w.mss),
            State::Startup | State::Drain => NO_BOUND,
        };
        let cap = cap.min(self.inflight_lo).max(least);
        w.cwnd = cwnd.min(cap).min(u64::from(INFINITE)) as u32;
    }

    /// BBRSaveCwnd.
    fn save_cwnd(&mut self, w: &Window) {
        let in_recovery = self.recovering || self.state == State::ProbeRtt;
        self.prior_cwnd = if in_recovery { self.prior_cwnd.max(w.cwnd) } else { w.cwnd };
    }

    /// BBRRestoreCwnd.
    fn restore_cwnd(&mut self, w: &mut Window) {
        w.cwnd = w.cwnd.max(self.prior_cwnd);
    }

    fn start(&mut self, w: &Window, a: &AckSample) {
        self.started = true;
        self.initial_cwnd = w.cwnd;
        self.min_rtt_stamp = a.now;
        self.probe_rtt_min_stamp = a.now;
        self.extra_acked_start = a.now;
        self.cycle_stamp = a.now;
        let before = a.total_delivered.wrapping_sub(a.delivered);
        self.next_round_delivered = before;
        self.loss_round_delivered = before;
        if self.pacing_rate == 0 || !self.has_seen_rtt {
            self.init_pacing_rate(w, a.srtt_us);
        }
    }
}

impl Controller for Bbr {
    /// BBRUpdateOnACK.
    fn on_ack(&mut self, w: &mut Window, a: &AckSample, cwnd_limited: bool) {
        if !self.started {
            self.start(w, a);
        }
        if self.in_loss && !a.recovering {
            self.restore_cwnd(w);
        }
        self.delivered = a.total_delivered;
        self.recovering = a.recovering;
        self.in_loss &= a.recovering;
        // BBRUpdateModelAndState.
        let rate = model::rate_of(&a.rate);
        self.update_latest_delivery_signals(a, rate);
        self.update_congestion_signals(w, a, rate);
        self.update_ack_aggregation(w, a);
        self.check_full_bw_reached(a, rate);
        self.check_startup_done(a);
        self.check_drain_done(w, a);
        self.update_probe_bw(w, a, rate, cwnd_limited);
        self.update_min_rtt(a);
        self.check_probe_rtt(w, a);
        if self.loss_round_start {
            self.bw_latest = rate;
            self.inflight_latest = u64::from(a.rate.delivered);
            self.loss_events_in_round = 0;
        }
        self.bw = self.max_bw[0].max(self.max_bw[1]).min(self.bw_lo);
        // BBRUpdateControlParameters.
        self.set_pacing_rate(self.pacing_gain);
        self.send_quantum = super::pacing_quantum(self.pacing_rate, w.mss);
        self.set_cwnd(w, a);
    }

    /// BBROnEnterFastRecovery, BBROnEnterRTO: the window is remembered; ssthresh is not used.
    fn on_congestion(&mut self, w: &Window, _base: u32) -> u32 {
        self.save_cwnd(w);
        self.recovering = true;
        self.bounds_before_loss = Some((self.bw_lo, self.inflight_lo, self.inflight_hi));
        w.ssthresh
    }

    fn on_rto(&mut self, _w: &Window) {
        self.in_loss = true;
        self.reset_full_bw();
    }

    fn on_lost(&mut self, w: &Window, losses: &Losses) {
        self.note_losses(w, losses);
    }

    fn on_echo(&mut self) {
        self.loss_in_round = true;
    }

    fn on_exit_recovery(&mut self, w: &mut Window) {
        self.recovering = false;
        self.restore_cwnd(w);
    }

    /// BBRHandleRestartFromIdle.
    fn on_transmit_start(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        self.idle_restart = true;
        self.extra_acked_start = now;
        self.extra_acked_delivered = 0;
        if self.is_probe_bw() {
            self.set_pacing_rate(100);
        } else if self.state == State::ProbeRtt && self.probe_rtt_done.is_some_and(|done| now > done) {
            self.probe_rtt_min_stamp = now;
            self.exit_probe_rtt(now, 0);
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        // Nothing measured: nothing to hold back for; the initial window goes out at once.
        Some(if self.pacing_rate == 0 { u64::MAX } else { self.pacing_rate })
    }

    fn owns_recovery(&self) -> bool {
        true
    }
}
