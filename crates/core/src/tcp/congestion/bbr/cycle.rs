//! BBR's states and the steps between them (draft-ietf-ccwg-bbr 5.3): STARTUP, DRAIN, the cycle of PROBE_BW, PROBE_RTT.

use super::super::{AckSample, Window};
use super::model::too_high;
use super::{
    AckPhase, BETA, Bbr, CWND_GAIN, DRAIN_PACING_GAIN, NO_BOUND, PROBE_RTT_CWND_GAIN, STARTUP_PACING_GAIN,
    State, UP_CWND_GAIN,
};
use crate::time::{Duration, Instant};

/// ProbeRTTDuration.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// The most rounds between probes: what Reno needs to grow by so many segments (BBRIsRenoCoexistenceProbeTime).
const RENO_ROUNDS: u64 = 63;

impl Bbr {
    fn enter(&mut self, state: State) {
        self.state = state;
        (self.pacing_gain, self.cwnd_gain) = match state {
            State::Startup => (STARTUP_PACING_GAIN, CWND_GAIN),
            State::Drain => (DRAIN_PACING_GAIN, CWND_GAIN),
            State::Down => (90, CWND_GAIN),
            State::Cruise | State::Refill => (100, CWND_GAIN),
            State::Up => (125, UP_CWND_GAIN),
            State::ProbeRtt => (100, PROBE_RTT_CWND_GAIN),
        };
    }

    /// BBRCheckStartupDone.
    pub(super) fn check_startup_done(&mut self, a: &AckSample) {
        self.check_startup_high_loss(a);
        if self.state == State::Startup && self.full_bw_reached {
            self.enter(State::Drain);
        }
    }

    /// BBRCheckDrainDone.
    pub(super) fn check_drain_done(&mut self, w: &Window, a: &AckSample) {
        if self.state == State::Drain && u64::from(a.in_flight) <= self.inflight(100, w.mss) {
            self.start_down(a.now, a.snd_una.0);
        }
    }

    /// BBRUpdateProbeBWCyclePhase.
    pub(super) fn update_probe_bw(&mut self, w: &mut Window, a: &AckSample, rate: u64, cwnd_limited: bool) {
        if !self.full_bw_reached {
            return;
        }
        self.adapt_long_term_model(w, a, cwnd_limited);
        match self.state {
            State::Down => {
                let probes = self.probe_if_due(w, a);
                if !probes && self.is_time_to_cruise(w, a) {
                    self.enter(State::Cruise);
                }
            }
            State::Cruise => {
                self.probe_if_due(w, a);
            }
            State::Refill if self.round_start => {
                // After one round of REFILL the pipe is full: samples from here on tell what more does.
                self.probe_samples = true;
                self.start_up(w, a, rate);
            }
            State::Up => {
                if cwnd_limited && u64::from(w.cwnd) >= self.inflight_hi {
                    self.reset_full_bw();
                    self.full_bw = rate;
                } else if self.full_bw_now {
                    self.start_down(a.now, a.snd_una.0);
                }
            }
            _ => {}
        }
    }

    /// BBRAdaptLongTermModel.
    fn adapt_long_term_model(&mut self, w: &Window, a: &AckSample, cwnd_limited: bool) {
        if self.round_start {
            match self.ack_phase {
                AckPhase::ProbeStarting => self.ack_phase = AckPhase::ProbeFeedback,
                AckPhase::ProbeStopping => {
                    self.probe_samples = false;
                    self.ack_phase = AckPhase::Init;
                    if self.is_probe_bw() && !a.rate.app_limited {
                        self.advance_max_bw_filter();
                    }
                }
                _ => {}
            }
        }
        if a.delivered == 0 {
            return;
        }
        if too_high(a.rate.lost, a.rate.tx_in_flight) {
            if self.probe_samples {
                let in_flight = u64::from(a.rate.tx_in_flight);
                self.handle_inflight_too_high(w, in_flight, a.rate.app_limited, a.now);
            }
            return;
        }
        if self.inflight_hi == NO_BOUND {
            return;
        }
        self.inflight_hi = self.inflight_hi.max(u64::from(a.rate.tx_in_flight));
        if self.state == State::Up {
            self.probe_inflight_hi_upward(w, a, cwnd_limited);
        }
    }

    /// BBRProbeInflightLongtermUpward.
    fn probe_inflight_hi_upward(&mut self, w: &Window, a: &AckSample, cwnd_limited: bool) {
        if !cwnd_limited || u64::from(w.cwnd) < self.inflight_hi {
            return;
        }
        let mss = u64::from(w.mss);
        self.probe_up_acks += u64::from(a.delivered);
        if self.probe_up_acks >= self.probe_up_cnt {
            let delta = self.probe_up_acks / self.probe_up_cnt;
            self.probe_up_acks -= delta * self.probe_up_cnt;
            self.inflight_hi += delta * mss;
        }
        if self.round_start {
            self.raise_inflight_hi_slope(w);
        }
    }

    /// BBRRaiseInflightLongtermSlope: one segment in the first round, doubled in each; `probe_up_cnt` is in bytes
    /// acknowledged for each segment of growth.
    fn raise_inflight_hi_slope(&mut self, w: &Window) {
        let segments = 1_u64 << self.probe_up_rounds;
        self.probe_up_rounds = (self.probe_up_rounds + 1).min(30);
        self.probe_up_cnt = (u64::from(w.cwnd) / segments).max(u64::from(w.mss));
    }

    /// BBRHandleInflightTooHigh.
    pub(super) fn handle_inflight_too_high(
        &mut self,
        w: &Window,
        in_flight: u64,
        app_limited: bool,
        now: Instant,
    ) {
        self.probe_samples = false; // once a probe
        if !app_limited {
            self.inflight_hi = in_flight.max(self.target_inflight(w) * BETA / 100);
        }
        if self.state == State::Up {
            self.start_down(now, in_flight as u32);
        }
    }

    /// BBRIsTimeToProbeBW.
    fn probe_if_due(&mut self, w: &Window, a: &AckSample) -> bool {
        let rounds = (self.target_inflight(w) / u64::from(w.mss)).min(RENO_ROUNDS);
        let due = a.now > self.cycle_stamp + self.probe_wait || u64::from(self.rounds_since_probe) >= rounds;
        if due {
            self.start_refill();
        }
        due
    }

    /// BBRIsTimeToCruise.
    fn is_time_to_cruise(&self, w: &Window, a: &AckSample) -> bool {
        let in_flight = u64::from(a.in_flight);
        in_flight <= self.inflight_with_headroom(w.mss) && in_flight <= self.inflight(100, w.mss)
    }

    /// BBRStartProbeBW_DOWN. `salt` tells flows apart that would otherwise probe together.
    fn start_down(&mut self, now: Instant, salt: u32) {
        self.reset_congestion_signals();
        self.probe_up_cnt = NO_BOUND;
        // BBRPickProbeWait: 2 to 3 s, from what nobody outside chose.
        let chance = mix(now.as_nanos() ^ u64::from(salt) << 32 ^ u64::from(self.delivered));
        self.rounds_since_probe = (chance & 1) as u32;
        self.probe_wait = Duration::from_millis(2_000 + (chance >> 1) % 1_000);
        self.cycle_stamp = now;
        self.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.enter(State::Down);
    }

    /// BBRStartProbeBW_REFILL.
    fn start_refill(&mut self) {
        self.reset_short_term_model();
        self.probe_up_rounds = 0;
        self.probe_up_acks = 0;
        self.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.enter(State::Refill);
    }

    /// BBRStartProbeBW_UP.
    fn start_up(&mut self, w: &Window, a: &AckSample, rate: u64) {
        self.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.cycle_stamp = a.now;
        self.reset_full_bw();
        self.full_bw = rate;
        self.enter(State::Up);
        self.raise_inflight_hi_slope(w);
    }

    /// BBRCheckProbeRTT.
    pub(super) fn check_probe_rtt(&mut self, w: &mut Window, a: &AckSample) {
        if self.state != State::ProbeRtt && self.probe_rtt_expired && !self.idle_restart {
            self.save_cwnd(w);
            self.enter(State::ProbeRtt);
            self.probe_rtt_done = None;
            self.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(w, a);
        }
        if a.delivered > 0 {
            self.idle_restart = false;
        }
    }

    /// BBRHandleProbeRTT.
    fn handle_probe_rtt(&mut self, w: &mut Window, a: &AckSample) {
        let Some(done) = self.probe_rtt_done else {
            if u64::from(a.in_flight) <= self.probe_rtt_cwnd(w.mss) {
                self.probe_rtt_done = Some(a.now + PROBE_RTT_DURATION);
                self.probe_rtt_round_done = false;
                self.start_round();
            }
            return;
        };
        self.probe_rtt_round_done |= self.round_start;
        if self.probe_rtt_round_done && a.now > done {
            self.probe_rtt_min_stamp = a.now;
            self.restore_cwnd(w);
            self.exit_probe_rtt(a.now, a.snd_una.0);
        }
    }

    /// BBRExitProbeRTT.
    pub(super) fn exit_probe_rtt(&mut self, now: Instant, salt: u32) {
        self.reset_short_term_model();
        self.probe_rtt_done = None;
        if self.full_bw_reached {
            self.start_down(now, salt);
            self.enter(State::Cruise);
        } else {
            self.enter(State::Startup);
        }
    }
}

/// A well-mixed number (SplitMix64's output function).
fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}
