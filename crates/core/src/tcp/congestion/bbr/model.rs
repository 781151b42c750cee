//! What BBR measures (draft-ietf-ccwg-bbr 5.5): rounds, bandwidth, minimum RTT, ACK aggregation, and the short-term
//! bounds that loss sets.

use super::super::{AckSample, Losses, RateSample, Window};
use super::{BETA, Bbr, LOSS_THRESH, NO_BOUND, PACING_MARGIN, State};
use crate::time::Duration;

/// MinRTTFilterLen, ProbeRTTInterval.
const MIN_RTT_FILTER: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// BBRExtraAckedFilterLen, of two halves, round trips.
const EXTRA_ACKED_HALF: u32 = 5;
/// BBRStartupFullLossCnt.
const STARTUP_FULL_LOSS_COUNT: u8 = 6;

/// Bytes a second; 0 is no sample.
pub(super) fn rate_of(sample: &RateSample) -> u64 {
    u64::from(sample.delivered) * 1_000_000 / u64::from(sample.interval_us).max(1)
        * u64::from(sample.interval_us > 0)
}

/// IsInflightTooHigh: more than BBRLossThresh of what was in flight was lost since.
pub(super) fn too_high(lost: u32, tx_in_flight: u32) -> bool {
    u64::from(lost) * LOSS_THRESH > u64::from(tx_in_flight)
}

fn reached(delivered: u32, mark: u32) -> bool {
    delivered.wrapping_sub(mark) as i32 >= 0
}

impl Bbr {
    /// BBRStartRound.
    pub(super) fn start_round(&mut self) {
        self.next_round_delivered = self.delivered;
    }

    fn update_round(&mut self, a: &AckSample) {
        self.round_start = a.delivered > 0 && reached(a.rate.prior_delivered, self.next_round_delivered);
        if self.round_start {
            self.start_round();
            self.round_count = self.round_count.wrapping_add(1);
            self.rounds_since_probe += 1;
        }
    }

    /// BBRUpdateLatestDeliverySignals.
    pub(super) fn update_latest_delivery_signals(&mut self, a: &AckSample, rate: u64) {
        self.loss_round_start = false;
        if a.delivered == 0 {
            return;
        }
        self.bw_latest = self.bw_latest.max(rate);
        self.inflight_latest = self.inflight_latest.max(u64::from(a.rate.delivered));
        if reached(a.rate.prior_delivered, self.loss_round_delivered) {
            self.loss_round_delivered = a.total_delivered;
            self.loss_round_start = true;
        }
    }

    /// BBRUpdateCongestionSignals, with BBRUpdateMaxBw.
    pub(super) fn update_congestion_signals(&mut self, w: &Window, a: &AckSample, rate: u64) {
        self.update_round(a);
        if rate > 0 && (rate >= self.max_bw() || !a.rate.app_limited) {
            self.max_bw[1] = self.max_bw[1].max(rate);
        }
        if !self.loss_round_start {
            return;
        }
        let probing = matches!(self.state, State::Startup | State::Refill | State::Up);
        // What this flow's own restraint delivered (PROBE_RTT) is no measure of the path.
        if self.loss_in_round && !probing && !a.rate.app_limited {
            self.lower_bounds(w);
        }
        self.loss_in_round = false;
        self.lost_in_round = 0;
    }

    /// BBRInitLowerBounds, BBRLossLowerBounds.
    fn lower_bounds(&mut self, w: &Window) {
        if self.bw_lo == NO_BOUND {
            self.bw_lo = self.max_bw();
        }
        if self.inflight_lo == NO_BOUND {
            self.inflight_lo = u64::from(w.cwnd);
        }
        // A flow held the pacing margin below its model, and that loses no more than the threshold, shows the model true
        // by delivering just that: else margin and losses would compound, round trip after round trip.
        let tolerated = self.lost_in_round * LOSS_THRESH <= self.inflight_latest;
        let (bw, inflight) = if tolerated {
            (
                self.bw_latest * 100 / (PACING_MARGIN - 100 / LOSS_THRESH),
                self.inflight_latest + self.lost_in_round,
            )
        } else {
            (self.bw_latest, self.inflight_latest)
        };
        self.bw_lo = bw.max(self.bw_lo * BETA / 100).min(self.bw_lo);
        self.inflight_lo = inflight.max(self.inflight_lo * BETA / 100).min(self.inflight_lo);
    }

    pub(super) fn max_bw(&self) -> u64 {
        self.max_bw[0].max(self.max_bw[1])
    }

    /// BBRAdvanceMaxBwFilter.
    pub(super) fn advance_max_bw_filter(&mut self) {
        if self.max_bw[1] > 0 {
            self.max_bw = [self.max_bw[1], 0];
        }
    }

    /// BBRResetShortTermModel.
    pub(super) fn reset_short_term_model(&mut self) {
        self.bw_lo = NO_BOUND;
        self.inflight_lo = NO_BOUND;
    }

    /// BBRResetCongestionSignals.
    pub(super) fn reset_congestion_signals(&mut self) {
        self.loss_in_round = false;
        self.bw_latest = 0;
        self.inflight_latest = 0;
    }

    /// BBRUpdateACKAggregation.
    pub(super) fn update_ack_aggregation(&mut self, w: &Window, a: &AckSample) {
        let elapsed = a.now.since(self.extra_acked_start).as_micros();
        let mut expected = (u128::from(self.bw) * elapsed / 1_000_000).min(u128::from(u64::MAX)) as u64;
        if self.extra_acked_delivered <= expected {
            self.extra_acked_delivered = 0;
            self.extra_acked_start = a.now;
            expected = 0;
        }
        self.extra_acked_delivered += u64::from(a.delivered);
        let extra = (self.extra_acked_delivered - expected).min(u64::from(w.cwnd));
        let half = if self.full_bw_reached { EXTRA_ACKED_HALF } else { 1 };
        if self.round_count.wrapping_sub(self.extra_acked_round) >= half {
            self.extra_acked_round = self.round_count;
            self.extra_acked = [self.extra_acked[1], 0];
        }
        self.extra_acked[1] = self.extra_acked[1].max(extra);
    }

    /// BBRResetFullBW.
    pub(super) fn reset_full_bw(&mut self) {
        self.full_bw = 0;
        self.full_bw_count = 0;
        self.full_bw_now = false;
    }

    /// BBRCheckFullBWReached: no growth by a quarter in three round trips.
    pub(super) fn check_full_bw_reached(&mut self, a: &AckSample, rate: u64) {
        if self.full_bw_now || !self.round_start || a.rate.app_limited {
            return;
        }
        if rate >= self.full_bw + self.full_bw / 4 && rate > 0 {
            self.reset_full_bw();
            self.full_bw = rate;
            return;
        }
        self.full_bw_count += 1;
        self.full_bw_now = self.full_bw_count >= 3;
        self.full_bw_reached |= self.full_bw_now;
    }

    /// BBRCheckStartupHighLoss.
    pub(super) fn check_startup_high_loss(&mut self, a: &AckSample) {
        if self.full_bw_reached {
            return;
        }
        let high = self.loss_round_start
            && a.recovering
            && self.loss_events_in_round >= STARTUP_FULL_LOSS_COUNT
            && too_high(a.rate.lost, a.rate.tx_in_flight);
        if high {
            self.full_bw_reached = true;
            self.inflight_hi = self.bdp(100).max(self.inflight_latest);
        }
    }

    /// BBRUpdateMinRTT.
    pub(super) fn update_min_rtt(&mut self, a: &AckSample) {
        self.probe_rtt_expired = a.now > self.probe_rtt_min_stamp + PROBE_RTT_INTERVAL;
        let rtt = u64::from(a.rtt_us);
        if rtt > 0 && (rtt < self.probe_rtt_min_delay || self.probe_rtt_expired) {
            self.probe_rtt_min_delay = rtt;
            self.probe_rtt_min_stamp = a.now;
        }
        let expired = a.now > self.min_rtt_stamp + MIN_RTT_FILTER;
        if self.probe_rtt_min_delay < self.min_rtt || expired {
            self.min_rtt = self.probe_rtt_min_delay;
            self.min_rtt_stamp = self.probe_rtt_min_stamp;
        }
    }

    /// BBRHandleLostPacket.
    pub(super) fn note_losses(&mut self, w: &Window, losses: &Losses) {
        self.delivered = losses.total_delivered;
        if !self.loss_in_round {
            // BBRNoteLoss: the round of the loss ends when what is delivered now was sent after it.
            self.loss_round_delivered = losses.total_delivered;
        }
        self.loss_in_round = true;
        self.lost_in_round += u64::from(losses.bytes);
        self.loss_events_in_round = self.loss_events_in_round.saturating_add(1);
        let Some(worst) = losses.too_many.as_ref().filter(|_| self.probe_samples) else { return };
        // BBRInflightAtLoss: what was in flight when the share of losses passed the threshold.
        let (size, inflight) = (u64::from(worst.len), u64::from(worst.tx_in_flight));
        let before = inflight.saturating_sub(size);
        let lost_before = u64::from(worst.lost).saturating_sub(size);
        let prefix = before.saturating_sub(LOSS_THRESH * lost_before) / (LOSS_THRESH - 1);
        self.handle_inflight_too_high(w, before + prefix, worst.app_limited, losses.now);
    }
}
