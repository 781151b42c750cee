//! One ACK, from the cumulative acknowledgment to the window (RFC 5681, RFC 8985, Linux's `tcp_ack`).

use super::board::{EVER_RETRANS, Run, SACKED};
use super::*;
use crate::tcp::congestion::AckSample;
use crate::tcp::rtt::{micros, micros_between};

/// What the steps of one ACK tell each other (Linux's `flag`, `rate_sample` and `tcp_sacktag_state`).
#[derive(Debug, Default)]
pub(super) struct Step {
    pub out: AckOutcome,
    pub advanced: bool,
    pub sacked_new: bool,
    /// Data that was sent only once, before the timeout, was delivered (F-RTO).
    pub orig_delivered: bool,
    /// Data retransmitted at least once was cumulatively acknowledged.
    pub retrans_acked: bool,
    /// Duplicate ACKs that it stands for.
    pub dup_acks: u32,
    /// Bytes delivered by it.
    pub delivered: u32,
    /// The same as cwnd counts it.
    pub weighed: u32,
    /// What cwnd counts a segment for, bytes; 0 where it counts bytes.
    pub unit: u32,
    /// A D-SACK named the probe.
    pub dsack_tlp: bool,
    /// A D-SACK names a copy of what was not acknowledged until now: when that was sent.
    pub copy_sent: Option<Instant>,
    /// The lowest never-retransmitted sequence number delivered late: reordering.
    pub reordered: Option<SeqNum>,
    /// Send times of the first and last never-retransmitted segment acknowledged, and SACKed.
    pub first_acked: Option<Instant>,
    pub last_acked: Option<Instant>,
    pub first_sacked: Option<Instant>,
    pub last_sacked: Option<Instant>,
    /// The most recently sent of the delivered runs, for the rate.
    pub latest: Option<Latest>,
    /// `fack` before.
    pub prior_fack: Option<SeqNum>,
    /// Bytes in flight before.
    pub prior_in_flight: u32,
    pub state_before: CaState,
    /// Something was sent again without cwnd having to say so.
    pub lost_before: u32,
}

/// Of the delivered run that was sent last (RFC-to-be delivery rate estimation, Linux's `tcp_rate.c`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Latest {
    pub delivered: u32,
    pub delivered_at: Instant,
    pub sent_at: Instant,
    pub first_tx: Instant,
    pub end: SeqNum,
    pub app_limited: bool,
    pub tx_in_flight: u32,
    pub lost: u32,
}

impl Step {
    /// A run was delivered now.
    pub fn note_delivered(&mut self, run: &Run, segs: u32) {
        self.delivered += run.len;
        self.weighed += if self.unit == 0 { run.len } else { segs.saturating_mul(self.unit) };
        let newer = self
            .latest
            .is_none_or(|l| run.sent_at > l.sent_at || (run.sent_at == l.sent_at && run.end().gt(l.end)));
        if newer {
            self.latest = Some(Latest {
                delivered: run.delivered,
                delivered_at: run.delivered_at,
                sent_at: run.sent_at,
                first_tx: run.first_tx,
                end: run.end(),
                app_limited: run.is(APP_LIMITED),
                tx_in_flight: run.tx_in_flight,
                lost: run.lost,
            });
        }
    }
}

impl Flight {
    /// Processes an ACK: the scoreboard, the RTT, losses, the state, the window.
    pub fn on_ack(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        rtt: &mut RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        cfg: &RecoveryConfig,
    ) -> AckOutcome {
        let mut s = Step {
            unit: if self.by_segment { cc.mss() } else { 0 },
            prior_in_flight: self.load_in_flight(cc),
            prior_fack: (self.board.sacked.bytes > 0).then_some(self.board.fack),
            state_before: self.state,
            lost_before: self.total_lost(),
            ..Step::default()
        };
        self.sack_enabled = a.sack_enabled;
        self.frto_new_data = false;
        if a.sack_enabled && !a.sack.is_empty() {
            self.take_sack(now, a, &mut s, rtt, p, cc.mss());
        }
        if a.ack.gt(a.snd_una) && a.ack.le(a.snd_nxt) {
            self.take_ack(now, a, &mut s, rtt, cc.mss());
        } else if a.ack == a.snd_una && a.duplicate && !self.board.is_empty() && !s.sacked_new {
            s.dup_acks = u32::from(a.segs.max(1));
        }
        self.take_rtt(now, a, &mut s, rtt, cfg);
        self.note_reordering(&s, p, cc.mss(), cfg);
        p.delivered += u64::from(s.delivered);
        if s.delivered > 0 {
            self.delivered_at = now;
        }
        let mut rate = self.take_rate(now, s.latest.as_ref(), rtt, p);
        s.out.progress = s.advanced || s.sacked_new;
        self.process_tlp(now, a, &mut s, cc, p);
        if !self.is_quiet(&s, a) {
            self.alert(now, a, &mut s, rtt, cc, p, cfg);
        }
        self.update_reo_wnd(s.latest.as_ref(), p);
        s.out.newly_lost = self.total_lost().saturating_sub(s.lost_before);
        rate.lost = s.latest.as_ref().map_or(0, |l| self.board.lost_ever().wrapping_sub(l.lost));
        self.report_losses(now, cc, p);
        self.control(now, a, &s, rtt, cc, p, rate, cfg);
        if s.advanced {
            self.renege_at = if s.out.reneging { now + Flight::renege_delay(rtt) } else { Instant::NEVER };
            s.out.all_acked = self.ack_advanced(now, a.snd_una.max(a.ack));
        }
        if self.state != s.state_before {
            s.out.state_change = Some((s.state_before, self.state));
        }
        s.out
    }

    /// SND.UNA is now `una`: timers count from now. Returns whether nothing is in flight any more.
    #[inline]
    pub(super) fn ack_advanced(&mut self, now: Instant, una: SeqNum) -> bool {
        self.rto_base = now;
        self.tlp_base = now;
        self.rto_repeated = false;
        while self.resent.front().is_some_and(|r| r.end.le(una)) {
            self.resent.pop_front();
        }
        let empty = self.board.is_empty();
        if empty {
            self.reo_deadline = Instant::NEVER;
            self.resent.clear();
        }
        empty
    }

    /// Nothing about it is doubtful: the ordinary ACK of new data in the Open state.
    fn is_quiet(&self, s: &Step, a: &AckEvent<'_>) -> bool {
        self.state == CaState::Open
            && s.advanced
            && !s.sacked_new
            && !s.out.dsack
            && !a.ece
            && self.board.sacked.bytes == 0
            && self.board.lost.bytes == 0
            && self.dup_acked == 0
            && self.undo_marker.is_none()
    }

    /// Losses counted so that a retransmission lost again counts again.
    pub(super) fn total_lost(&self) -> u32 {
        self.board.lost.bytes.saturating_sub(self.board.retrans.bytes.min(self.board.lost.bytes))
    }

    /// SEG.ACK moves SND.UNA: takes what it covers off the board.
    fn take_ack(&mut self, now: Instant, a: &AckEvent<'_>, s: &mut Step, rtt: &RttEstimator, mss: u32) {
        s.advanced = true;
        s.out.acked = a.ack.since(a.snd_una);
        let fack = s.prior_fack;
        let mut segs = 0;
        let mut before = self.board.out.segs;
        while let Some(run) = self.board.pop_acked(a.ack) {
            segs += run.segs();
            // A segment that is acknowledged in part still stands for one.
            let whole = before - self.board.out.segs;
            before = self.board.out.segs;
            if run.is(SACKED) {
                continue; // it was counted when it was SACKed
            }
            s.note_delivered(&run, whole);
            if run.is(EVER_RETRANS) {
                s.retrans_acked = true;
            } else {
                s.first_acked.get_or_insert(run.sent_at);
                s.last_acked = Some(run.sent_at);
                if fack.is_some_and(|f| run.seq.lt(f)) && s.reordered.is_none_or(|r| run.seq.lt(r)) {
                    s.reordered = Some(run.seq);
                }
                if !run.end().gt(self.high_seq) {
                    s.orig_delivered = true;
                }
            }
            self.rack_advance(now, &run, a, rtt);
        }
        self.board.advanced(a.ack);
        if !a.sack_enabled {
            // Without marks on what arrived nobody knows which copy made the progress (Linux's
            // FLAG_RETRANS_DATA_ACKED): F-RTO must not take it for the original.
            s.orig_delivered &= !s.retrans_acked;
            self.settle_dup_acks(s, segs, mss);
        }
        // RFC 2018 8, Linux's FLAG_SACK_RENEGING: what comes next was SACKed, yet it is not acknowledged.
        if self.board.head().is_some_and(|r| r.is(SACKED)) {
            s.out.reneging = true;
        }
    }

    /// Without SACK: one of the acknowledged segments filled the hole, the rest had caused duplicate ACKs
    /// and was counted as delivered then (RFC 9937 6, Linux's `tcp_remove_reno_sacks`).
    fn settle_dup_acks(&mut self, s: &mut Step, segs: u32, mss: u32) {
        if segs == 0 {
            return;
        }
        let counted = self.dup_acked.min(segs - 1);
        self.dup_acked -= counted;
        let counted = counted.saturating_mul(mss);
        for delivered in [&mut s.delivered, &mut s.weighed] {
            *delivered = delivered.saturating_sub(counted).max((*delivered).min(mss));
        }
    }

    /// Karn and RFC 7323 4: a sample from what was sent once, else from the echoed timestamp.
    ///
    /// Where answers are lost too, neither may be the time of one round trip but that waited for a timer, which would make
    /// the next RTO longer still, up to its end:
    /// - What was sent before the timer ran out is as good as ambiguous: this may be the answer to the retransmission.
    /// - A copy of what had arrived is answered at once, with D-SACK (RFC 2883), but an old timestamp (RFC 7323 5.3 R2):
    ///   its trip began when the copy was sent.
    fn take_rtt(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &mut RttEstimator,
        cfg: &RecoveryConfig,
    ) {
        let sent = if s.retrans_acked { None } else { s.first_acked };
        let certain = |at: &Instant| self.state != CaState::Loss || *at >= self.timed_out_at;
        let sent = sent.filter(|at| certain(at) || a.ts_echo.is_none());
        let sacked = s.first_sacked.filter(certain);
        let mut sample = sent.or(sacked).map(|at| micros_between(at, now));
        if sample.is_none() && s.advanced {
            let copy = s.copy_sent.map(|at| micros_between(at, now)).filter(|&took| took >= rtt.min_rtt_us());
            // The timestamp clock ticks in milliseconds: a round trip below one is at least one tick.
            sample = copy.or(a.ts_echo.map(|age| micros(age).max(1_000)));
        }
        let Some(sample) = sample else { return };
        s.out.rtt_sample = Some(Duration::from_micros(u64::from(sample)));
        rtt.sample_us(now, sample, &cfg.rto);
        // The minimum is of single segments: the last one of a stretched ACK waited least.
        let last = if s.retrans_acked { None } else { s.last_acked };
        if let Some(at) = last.max(s.last_sacked) {
            rtt.note_min(now, micros_between(at, now));
        }
    }

    /// The delivery rate over the flight of what was delivered last.
    #[inline(always)]
    pub(super) fn take_rate(
        &mut self,
        now: Instant,
        latest: Option<&Latest>,
        rtt: &RttEstimator,
        p: &mut Persist,
    ) -> RateSample {
        let Some(l) = latest else { return RateSample::default() };
        if p.app_limited != 0 && (p.delivered as u32).wrapping_sub(p.app_limited) as i32 > 0 {
            p.app_limited = 0;
        }
        self.first_tx = l.sent_at;
        let send = micros_between(l.first_tx, l.sent_at);
        let ack = micros_between(l.delivered_at, now);
        let mut rate = RateSample {
            delivered: (p.delivered as u32).wrapping_sub(l.delivered),
            prior_delivered: l.delivered,
            interval_us: send.max(ack),
            app_limited: l.app_limited,
            tx_in_flight: l.tx_in_flight,
            lost: 0, // known once losses were looked for
        };
        if rtt.min_rtt_us() != u32::MAX && rate.interval_us < rtt.min_rtt_us() {
            rate.interval_us = 0; // shorter than a round trip: compressed, or reneged
            return rate;
        }
        let faster = |r: &RateSample| {
            u64::from(r.delivered) * u64::from(p.rate_interval_us)
                >= u64::from(p.rate_delivered) * u64::from(r.interval_us)
        };
        if rate.interval_us > 0 && (!rate.app_limited || p.rate_interval_us == 0 || faster(&rate)) {
            p.rate_delivered = rate.delivered;
            p.rate_interval_us = rate.interval_us;
            p.put(RATE_APP_LIMITED, rate.app_limited);
        }
        rate
    }

    /// Hands the ACK to PRR or to congestion control (Linux's `tcp_cong_control`).
    #[allow(clippy::too_many_arguments)]
    fn control(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &Step,
        rtt: &RttEstimator,
        cc: &mut Congestion,
        p: &mut Persist,
        rate: RateSample,
        cfg: &RecoveryConfig,
    ) {
        cc.count_marks(s.delivered, a.marked, a.snd_una.max(a.ack), a.snd_nxt);
        let reducing = self.is_reducing();
        if reducing && !cc.owns_recovery() {
            self.prr_update(s, cc);
            return;
        }
        // With much reordering SACKs are progress enough (`tcp_may_raise_cwnd`).
        let may_raise = s.advanced || (p.reordering > cfg.dup_thresh && s.sacked_new);
        cc.on_ack(&AckSample {
            now,
            snd_una: a.snd_una.max(a.ack),
            snd_nxt: a.snd_nxt,
            delivered: s.weighed,
            total_delivered: p.delivered as u32,
            prior_in_flight: s.prior_in_flight,
            in_flight: self.load_in_flight(cc),
            rtt_us: s.last_acked.max(s.last_sacked).map_or(0, |at| micros_between(at, now).max(1)),
            srtt_us: rtt.srtt_us(),
            min_rtt_us: rtt.min_rtt_us(),
            rate,
            abc_limit: cfg.abc_limit,
            abc_limit_after_rto: cfg.abc_limit_after_rto,
            validate: cfg.validate,
            recovering: self.state >= CaState::Recovery,
            reducing,
            may_raise,
        });
        if cc.limits_itself() {
            p.note_app_limited(self.bytes_in_flight());
        }
    }

    /// Whether a retransmission is still out.
    pub(super) fn any_retrans(&self) -> bool {
        self.board.retrans.bytes > 0
    }
}
