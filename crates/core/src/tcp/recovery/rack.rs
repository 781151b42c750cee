//! RACK-TLP (RFC 8985), and the older rule of RFC 6675 for who wants it.

use super::ack::{Latest, Step};
use super::board::{EVER_RETRANS, RETRANS};
use super::*;
use crate::tcp::rtt::{micros_between, nanos};

/// RFC 8985 6.2 step 4: recoveries until the reordering window falls back.
const REO_WND_PERSIST: u8 = 16;

impl Flight {
    /// RFC 8985 6.2 step 2: a delivered run may be the most recently sent one.
    pub(super) fn rack_advance(&mut self, now: Instant, run: &Run, a: &AckEvent<'_>, rtt: &RttEstimator) {
        let rtt_us = micros_between(run.sent_at, now);
        if run.is(EVER_RETRANS) {
            // It may be the original that was delivered.
            let min = rtt.min_rtt_us();
            if (min != u32::MAX && rtt_us < min) || self.echo_precedes(now, a, run.sent_at) {
                return;
            }
        }
        let rack = &mut self.rack;
        rack.rtt_us = rtt_us;
        rack.advanced = true;
        let later = run.sent_at > rack.sent_at || (run.sent_at == rack.sent_at && run.end().gt(rack.end_seq));
        if !rack.valid || later {
            rack.sent_at = run.sent_at;
            rack.end_seq = run.end();
            rack.valid = true;
        }
    }

    /// Whether the echoed timestamp is older than `than`, by the timestamp clock's milliseconds.
    pub(super) fn echo_precedes(&self, now: Instant, a: &AckEvent<'_>, than: Instant) -> bool {
        a.ts_echo.is_some_and(|age| now.as_millis().saturating_sub(age.as_millis() as u64) < than.as_millis())
    }

    /// RFC 8985 6.2 step 4, microseconds.
    pub(super) fn reo_wnd(&self, rtt: &RttEstimator, p: &Persist) -> u32 {
        if p.reord_seen == 0
            && (self.state >= CaState::Recovery || self.board.sacked.segs >= u32::from(p.reordering))
        {
            return 0;
        }
        let min = rtt.min_rtt_us();
        let min = if min == u32::MAX { 0 } else { min };
        (min / 4).saturating_mul(u32::from(p.reo_wnd_steps)).min(rtt.srtt_us())
    }

    /// RFC 8985 6.2 step 5: marks as lost what was sent long enough before something delivered, and says
    /// when the rest will be.
    pub(super) fn rack_detect(
        &mut self,
        now: Instant,
        rtt: &RttEstimator,
        p: &Persist,
        out: &mut AckOutcome,
    ) {
        self.reo_deadline = Instant::NEVER;
        if !self.rack.valid {
            return;
        }
        let patience = u64::from(self.rack.rtt_us) + u64::from(self.reo_wnd(rtt, p));
        let patience = Duration::from_micros(patience);
        let rack = self.rack;
        let before = |sent: Instant, end: SeqNum| {
            sent < rack.sent_at || (sent == rack.sent_at && end.lt(rack.end_seq))
        };
        let mut pending: Option<Instant> = None;
        // What was sent once lies in the order of time.
        let mut i = self.board.first_fresh();
        while let Some(run) = self.board.get(i) {
            if !run.is(SACKED | LOST | RETRANS) {
                if !before(run.sent_at, run.end()) {
                    break;
                }
                let due = run.sent_at + patience;
                if due <= now {
                    self.board.set(i, BY_DUPACK, LOST);
                } else {
                    pending = pending.max(Some(due));
                }
            }
            i += 1;
        }
        // Retransmissions have an order of their own.
        while let Some(&sent) = self.resent.front() {
            let Some(due) = self.examine_resent(sent, out, &before, patience, now) else {
                self.resent.pop_front();
                continue;
            };
            if let Some(due) = due {
                pending = pending.max(Some(due));
            }
            break;
        }
        if let Some(due) = pending {
            self.reo_deadline = if self.by_segment { due + TIMEOUT_MIN } else { due };
        }
    }

    /// Judges one retransmission. `None`: it is settled. `Some(None)`: nothing sent later was delivered yet.
    /// `Some(Some(at))`: lost at that time.
    fn examine_resent(
        &mut self,
        sent: Resent,
        out: &mut AckOutcome,
        before: &dyn Fn(Instant, SeqNum) -> bool,
        patience: Duration,
        now: Instant,
    ) -> Option<Option<Instant>> {
        let mut verdict = None;
        let mut i = self.board.find(sent.seq);
        while let Some(run) = self.board.get(i) {
            if !run.seq.lt(sent.end) {
                break;
            }
            if run.is(RETRANS) && run.sent_at == sent.at {
                if !before(run.sent_at, run.end()) {
                    verdict = verdict.max(Some(None));
                } else if run.sent_at + patience <= now {
                    self.board.set(i, RETRANS | BY_DUPACK, LOST);
                    out.lost_retransmission = true;
                } else {
                    verdict = Some(Some(run.sent_at + patience));
                }
            }
            i += 1;
        }
        verdict
    }

    /// RFC 6675 4 IsLost: enough SACKed above it.
    pub(super) fn mark_lost_6675(&mut self, p: &Persist, mss: u32) {
        let (mut ranges, mut bytes) = (0, 0u32);
        let mut above = None;
        let mut inside = false;
        for (i, run) in (0..self.board.len()).rev().filter_map(|i| self.board.get(i).map(|r| (i, r))) {
            if run.is(SACKED) {
                ranges += u32::from(!inside);
                bytes += run.len;
            }
            inside = run.is(SACKED);
            let thresh = u32::from(p.reordering);
            if ranges >= thresh || bytes > (thresh - 1) * mss {
                above = Some(i);
                break;
            }
        }
        let Some(above) = above else { return };
        for i in self.board.first_fresh()..above {
            if self.board.get(i).is_some_and(|r| !r.is(SACKED | LOST | RETRANS)) {
                self.board.set(i, 0, LOST | BY_DUPACK);
            }
        }
    }

    /// RFC 8985 6.2 step 4 and Linux's `tcp_rack_update_reo_wnd`: a D-SACK widens the window, at most once
    /// a round trip.
    pub(super) fn update_reo_wnd(&mut self, latest: Option<&Latest>, p: &mut Persist) {
        if !p.is(DSACK_ROUND) && p.reo_wnd_persist > 0 {
            return;
        }
        if let Some(l) = latest {
            if (l.delivered.wrapping_sub(p.dsack_delivered) as i32) < 0 {
                p.put(DSACK_ROUND, false); // less than a round trip since the last time
            }
        }
        if p.is(DSACK_ROUND) {
            p.reo_wnd_steps = p.reo_wnd_steps.saturating_add(1);
            p.put(DSACK_ROUND, false);
            p.dsack_delivered = p.delivered as u32;
            p.reo_wnd_persist = REO_WND_PERSIST;
        } else if p.reo_wnd_persist == 0 {
            p.reo_wnd_steps = 1;
        }
    }

    /// Something sent once was delivered after something sent later (RFC 8985 6.2 step 3, Linux's
    /// `tcp_check_sack_reordering`): DupThresh grows with the distance.
    pub(super) fn note_reordering(&mut self, s: &Step, p: &mut Persist, mss: u32, cfg: &RecoveryConfig) {
        let (Some(low), Some(fack)) = (s.reordered, s.prior_fack) else { return };
        if self.state == CaState::Loss && self.undo_marker.is_none() {
            return;
        }
        self.was_reordered(low, fack, p, mss, cfg);
    }

    /// `low` was delivered after what stands before `fack`.
    pub(super) fn was_reordered(
        &self,
        low: SeqNum,
        fack: SeqNum,
        p: &mut Persist,
        mss: u32,
        cfg: &RecoveryConfig,
    ) {
        let distance = fack.since(low).div_ceil(mss.max(1));
        if distance > u32::from(p.reordering) {
            p.reordering = distance.min(u32::from(cfg.max_reordering)) as u16;
        }
        p.reord_seen = p.reord_seen.saturating_add(1);
    }

    /// RACK's reordering timer: what it waited for is lost now (RFC 8985 6.2).
    pub fn on_timer_reo(
        &mut self,
        now: Instant,
        rtt: &RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) -> AckOutcome {
        let state_before = self.state;
        let mut s = Step { lost_before: self.total_lost(), ..Step::default() };
        self.rack_detect(now, rtt, p, &mut s.out);
        s.out.newly_lost = self.total_lost().saturating_sub(s.lost_before);
        if s.out.newly_lost > 0 && self.is_only_probe_lost() {
            s.out.mtu_probe_lost = true;
        } else if s.out.newly_lost > 0 {
            if self.state != CaState::Recovery {
                self.enter_recovery(now, &s, cc, p, cfg);
            }
            self.report_losses(now, cc, p);
            if !cc.owns_recovery() {
                s.weighed = cc.mss(); // Linux counts one segment, so that one may go
                self.prr_update(&s, cc);
            }
        }
        if self.state != state_before {
            s.out.state_change = Some((state_before, self.state));
        }
        s.out
    }

    /// When the probe is due (RFC 8985 7.2), if one may be armed; `rto_deadline` bounds it.
    #[inline]
    pub fn tlp_deadline(
        &self,
        rtt: &RttEstimator,
        p: &Persist,
        cfg: &RecoveryConfig,
        rto_deadline: Instant,
    ) -> Instant {
        let quiet = matches!(self.state, CaState::Open | CaState::Cwr)
            && self.board.sacked.bytes == 0
            && self.board.lost.bytes == 0;
        // On Linux what is sent or acknowledged after a probe starts the time of another, which then only looks at the RTO.
        let probed = if self.by_segment { self.tlp_base.is_never() } else { p.is(TLP_OUT) };
        if !cfg.tlp || !self.sack_enabled || self.board.is_empty() || probed || !quiet {
            return Instant::NEVER;
        }
        let slack = if self.board.out.segs == 1 { cfg.max_ack_delay } else { cfg.tlp_slack };
        let mut most = rto_deadline;
        if self.by_segment && self.tlp_base != self.rto_base {
            // After something was sent (`tcp_rto_delta_us`): the RTO of the oldest segment, if that is not over.
            let oldest = self.head_sent_at().unwrap_or(self.rto_base);
            let due = oldest.after_nanos(rtt.rto_nanos(&cfg.rto));
            most = if due > self.tlp_base { due } else { Instant::NEVER };
        }
        self.tlp_base.after_nanos(pto(rtt, cfg, slack)).min(most)
    }

    /// [`Flight::tlp_deadline`] of a flight that has just begun with a single segment, `rto_deadline` after it.
    #[inline(always)]
    pub fn first_tlp_deadline(
        &self,
        rtt: &RttEstimator,
        p: &Persist,
        cfg: &RecoveryConfig,
        rto_deadline: Instant,
    ) -> Instant {
        debug_assert!(self.tlp_base == self.rto_base && self.board.out.segs == 1);
        if !cfg.tlp || !self.sack_enabled || (!self.by_segment && p.is(TLP_OUT)) {
            return Instant::NEVER;
        }
        self.tlp_base.after_nanos(pto(rtt, cfg, cfg.max_ack_delay)).min(rto_deadline)
    }

    /// The probe timeout ran out: what to send (RFC 8985 7.3), whatever cwnd says. The RTO counts anew
    /// from now. `None` if no probe is allowed.
    pub fn on_tlp(&mut self, now: Instant, new_data_ready: bool, p: &mut Persist) -> Option<Probe> {
        if p.is(TLP_OUT) && self.by_segment {
            // Linux's `tcp_rearm_rto`: there was one in this episode, so that the RTO of the oldest segment counts.
            self.rto_base = self.head_sent_at().unwrap_or(now);
            self.tlp_base = Instant::NEVER;
            return None;
        }
        self.rto_base = now;
        self.tlp_base = now;
        if p.is(TLP_OUT) {
            return None;
        }
        let last = self.board.runs().next_back()?;
        let end = last.end();
        p.put(TLP_OUT, true);
        p.put(TLP_RETRANS, !new_data_ready);
        if new_data_ready {
            p.tlp_end = end + 1;
            return Some(Probe::NewData);
        }
        p.tlp_end = end;
        let len = (last.len - 1) % u32::from(last.mss) + 1;
        Some(Probe::Retransmit(Retransmit { seq: end - len, len, why: Why::Tlp, pushed: last.is(PUSHED) }))
    }

    /// RFC 8985 7.4: what an ACK says of the probe.
    pub(super) fn process_tlp(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        cc: &mut Congestion,
        p: &mut Persist,
    ) {
        if !p.is(TLP_OUT) || a.ack.lt(p.tlp_end) {
            return;
        }
        if !p.is(TLP_RETRANS) || s.dsack_tlp {
            p.put(TLP_OUT, false); // new data arrived, or both copies did: no loss
        } else if a.ack.gt(p.tlp_end) {
            // The probe filled a hole: that loss counts as congestion.
            p.put(TLP_OUT, false);
            s.out.tlp_recovery = true;
            if self.state < CaState::Cwr {
                self.before = None;
                self.undo_marker = None;
                cc.on_enter_recovery(cc.cwnd());
                cc.on_exit_recovery();
            }
        } else if s.dup_acks > 0 {
            p.put(TLP_OUT, false); // a bare duplicate ACK: both copies arrived
        }
        if !p.is(TLP_OUT) {
            self.tlp_base = now; // what was sent meanwhile may be probed, counted from here
        }
    }
}

/// RFC 8985 7.2: two round trips, and what the receiver may wait with its ACK, in nanoseconds.
#[inline]
fn pto(rtt: &RttEstimator, cfg: &RecoveryConfig, slack: Duration) -> u64 {
    if rtt.has_sample() {
        2_000 * u64::from(rtt.srtt_us().max(1)) + nanos(slack)
    } else {
        nanos(cfg.rto.initial)
    }
}
