//! Acknowledgments: what an arriving one frees and tells, and when ours leave (RFC 9293 3.10.7.4 fifth
//! check, 3.8.6.3; RFC 5681 4.2).

use super::recovery::{AckEvent, AckOutcome, CaState, RecoveryConfig, UndoKind};
use super::rtt::{RtoPolicy, micros, micros_between, nanos};
use super::timer::Timer;
use super::*;
use crate::branch::{cold, unlikely};
use crate::wire::tcp::{Flags, Header};

/// Milliseconds that an ACK waits nearly always: then no bound is looked at.
const USUAL: u32 = 40;

const fn ms(millis: u32) -> Duration {
    Duration::from_millis(millis as u64)
}

impl Connection {
    /// SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT holds. Frees what is acknowledged, feeds the flight,
    /// updates the window.
    pub(super) fn process_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment, out: &mut Outcome) {
        let hdr = &seg.hdr;
        let old_una = self.snd.una;
        let ack = hdr.ack.max(old_una);
        let window = u32::from(hdr.window) << self.snd.wscale;
        // On Linux (FLAG_WIN_UPDATE) whatever is newer than the last window tells of one, the same though it be.
        let newer = cx.config.profile == crate::Profile::Linux && hdr.seq.gt(self.snd.wl1);
        let window_changed = self.update_window(hdr.seq, hdr.ack, window) || newer;
        let empty = seg.data.is_empty() && !hdr.flags.intersects(Flags::SYN | Flags::FIN);
        self.counters.last_ack_recv = cx.now;
        self.keepalive_probes = 0;
        if self.persisting {
            // MUST-37: as long as the peer answers, probing goes on.
            self.retries = 0;
            // Linux counts the time to the next probe from the answer.
            if cx.config.profile == crate::Profile::Linux && self.snd.usable() == 0 {
                self.arm_persist(cx);
            }
        }
        if seg.data.is_empty() {
            cx.stats.tcp_pure_acks += 1;
        }
        if self.flight.is_some() {
            if hdr.ack.ge(old_una) {
                self.feed_flight(cx, seg, ack, empty && !window_changed);
            }
        } else if self.agreed.sack && self.persist.note_dsack(hdr.ack, hdr.options.sack.as_slice()) {
            cx.stats.tcp_dsack_recv += 1;
            self.counters.dsack_dups += 1;
        }
        self.snd.holds = false;
        if ack.gt(old_una) {
            let bytes = self.snd.acknowledge(ack);
            self.counters.bytes_acked += u64::from(bytes);
            self.waits_less(cx.now);
            if self.note_records_acknowledged(cx.now) {
                out.ready |= Ready::ERR;
            }
            self.retries = 0;
            self.trouble_since = Instant::NEVER;
            if self.search.is_some() {
                self.hear_mtu_probe(cx);
            }
            self.doubted_pmtu = 0; // things move: the report was not true, or comes again (RFC 5927 7.2)
            self.soft_error = None;
        }
        if self.flight.as_ref().is_some_and(|f| f.can_drop()) {
            cx.spare.put(self.flight.take());
        }
        if self.options.sndbuf.is_none() {
            self.grow_send_buffer(cx.config);
        }
        if ack.gt(old_una) && self.is_writable() {
            out.ready |= Ready::OUT;
        }
        self.after_ack(cx);
    }

    /// Hands an ACK to the flight, which knows what it means for recovery and congestion control.
    fn feed_flight(&mut self, cx: &mut Cx<'_>, seg: &Segment, ack: SeqNum, duplicate: bool) {
        let ts_echo = match seg.hdr.options.timestamps {
            Some(ts) if self.agreed.timestamps && ts.ecr != 0 => {
                let ago = self.tsval(cx.now).wrapping_sub(ts.ecr);
                (ago < 1 << 31).then(|| Duration::from_millis(u64::from(ago)))
            }
            _ => None,
        };
        let hdr_flags = seg.hdr.flags;
        let new_data_ready = self.snd.unsent() > 0 && self.snd.usable() > 0;
        let marked = self.hear_marks(seg);
        let echo = self.ecn.agreed && hdr_flags.contains(Flags::ECE);
        let marked_bytes = if echo { u32::MAX } else { marked.saturating_mul(u32::from(self.mss)) };
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        let Some(flight) = &mut self.flight else { return };
        let event = AckEvent {
            ack,
            snd_una: self.snd.una,
            snd_nxt: self.snd.nxt,
            sack: seg.hdr.options.sack.as_slice(),
            sack_enabled: self.agreed.sack,
            ts_echo,
            duplicate,
            segs: seg.segments().clamp(1, 65_535) as u16,
            ece: marked > 0 || echo,
            marked: marked_bytes,
            new_data_ready,
        };
        let hold = event.ece && rules.reduce_from_flight && self.cc.cwnd() <= u32::from(self.mss);
        let outcome = flight.on_ack(cx.now, &event, &mut self.rtt, &mut self.cc, &mut self.persist, rules);
        self.account(cx, &outcome);
        if hold && self.ecn.agreed {
            self.hold_for_mark(cx);
        }
    }

    /// Counts and records what the flight found.
    pub(super) fn account(&mut self, cx: &mut Cx<'_>, outcome: &AckOutcome) {
        if outcome.acked > 0 {
            // What was acknowledged got through in segments of the size in use.
            self.proven_mss = self.proven_mss.max(outcome.acked.min(u32::from(self.mss)) as u16);
        }
        if outcome.mtu_probe_lost {
            self.mtu_probe_failed(cx);
        } else if outcome.newly_lost > 0 && self.search.is_some() {
            self.mtu_probe_is_void(cx);
        }
        if outcome.dsack {
            cx.stats.tcp_dsack_recv += 1;
            self.counters.dsack_dups += 1;
        }
        if outcome.reneging {
            cx.stats.tcp_sack_reneging += 1;
        }
        match outcome.undone {
            Some(UndoKind::Frto) => cx.stats.tcp_spurious_rtos += 1,
            Some(_) => cx.stats.tcp_full_undo += 1,
            None => {}
        }
        if outcome.tlp_recovery {
            cx.stats.tcp_loss_probe_recovery += 1;
        }
        // RFC 3168 6.1.2: CWR after any reduction, also one that follows another without leaving its state.
        let timed_out = matches!(outcome.state_change, Some((_, CaState::Loss)));
        self.ecn.reduced |= timed_out | self.flight.as_mut().is_some_and(|f| f.take_reduced());
        if let Some((_, CaState::Recovery)) = outcome.state_change {
            if self.agreed.sack {
                cx.stats.tcp_sack_recovery += 1;
            } else {
                cx.stats.tcp_reno_recovery += 1;
            }
        }
        if cx.trace.on() && (outcome.state_change.is_some() || outcome.undone.is_some()) {
            self.record_congestion(cx, outcome.undone);
        }
    }

    fn record_congestion(&self, cx: &mut Cx<'_>, undone: Option<UndoKind>) {
        let what = What::Congestion {
            cwnd: self.cc.cwnd(),
            ssthresh: self.cc.ssthresh(),
            srtt: self.rtt.srtt().unwrap_or_default(),
            min_rtt: self.rtt.min_rtt().unwrap_or_default(),
            pacing_rate: if self.paced { self.pacing_rate(cx.config) } else { 0 },
            delivery_rate: self.persist.delivery_rate(),
            undone,
            state: self.ca_state().name(),
        };
        self.record(cx, what);
    }

    /// SND.WND := SEG.WND if SND.WL1 < SEG.SEQ, or SND.WL1 = SEG.SEQ and SND.WL2 =< SEG.ACK; and of a
    /// segment that acknowledges more than any before, whatever its number: it was sent after them all. (A
    /// window of before, counted from the SND.UNA of now, would reach beyond all that was ever announced;
    /// Linux's `tcp_may_update_window`.)
    pub(super) fn update_window(&mut self, seq: SeqNum, ack: SeqNum, window: u32) -> bool {
        let newest = ack.gt(self.snd.una);
        let fresh = newest || self.snd.wl1.lt(seq) || (self.snd.wl1 == seq && self.snd.wl2.le(ack));
        if !fresh || ack.lt(self.snd.una) {
            return false;
        }
        self.snd.wl1 = seq;
        self.snd.wl2 = ack;
        let changed = self.snd.wnd != window;
        self.set_window(window);
        changed
    }

    /// Sets the timers that depend on what is in flight.
    pub(super) fn after_ack(&mut self, cx: &mut Cx<'_>) {
        self.due.output = true;
        if self.in_flight() {
            self.rearm_flight_timers(cx);
            return;
        }
        self.timers.stop(Timer::LossProbe);
        if self.flight.is_some() {
            // A late D-SACK may still undo the last reduction, but not for ever: an idle connection is small.
            self.timers.set(Timer::LossProbe, cx.now + self.rtt.rto(&self.rto_policy(cx.config)));
        }
        if self.persisting && self.snd.usable() > 0 {
            self.persisting = false;
            self.timers.stop(Timer::Retransmit);
        } else if !self.persisting {
            self.timers.stop(Timer::Retransmit);
        }
    }

    /// The retransmission timer runs while something is in flight (RFC 6298 5), the loss probe or
    /// reordering timer beside it (RFC 8985 7.2, 6.2).
    pub(super) fn rearm_flight_timers(&mut self, cx: &Cx<'_>) {
        if self.state == State::SynReceived {
            return; // the SYN-ACK's timer runs
        }
        let Some(flight) = &self.flight else { return };
        self.persisting = false;
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        // A shorter RTO than before may be over already: then it is due now (Linux's `tcp_rearm_rto`).
        let rto = flight.rto_deadline(&self.rtt, &rules.rto).max(cx.now);
        let probe = flight.tlp_deadline(&self.rtt, &self.persist, rules, rto).max(cx.now);
        self.timers.set(Timer::Retransmit, rto);
        self.timers.set(Timer::LossProbe, flight.reo_deadline().min(probe));
    }

    /// Linux's congestion state.
    pub(super) fn ca_state(&self) -> CaState {
        self.flight.as_ref().map_or(CaState::Open, |f| f.state())
    }

    /// The RTO's bounds under the present settings.
    pub(super) fn rto_policy(&self, config: &Config) -> RtoPolicy {
        let bounds = &self.options.bounds;
        let policy = RtoPolicy::from(config);
        RtoPolicy {
            min: Bounds::or(bounds.rto_min, policy.min),
            max: Bounds::or(bounds.rto_max, policy.max),
            ..policy
        }
    }

    /// The rules of recovery where this connection's user has set bounds; else the stack's hold.
    #[inline(always)]
    pub(super) fn own_rules(&self, cx: &Cx<'_>) -> Option<RecoveryConfig> {
        if self.options.bounds == Bounds::default() { None } else { self.bound_rules(cx) }
    }

    #[cold]
    #[inline(never)]
    fn bound_rules(&self, cx: &Cx<'_>) -> Option<RecoveryConfig> {
        let mut rules = *cx.rules;
        rules.bound(self.rto_policy(cx.config), cx.config.profile);
        Some(rules)
    }

    /// The longest an ACK of this connection waits; on Linux always shorter than its least RTO.
    fn delack_max(&self, config: &Config) -> Duration {
        let bounds = &self.options.bounds;
        let longest = Bounds::or(bounds.delack_max, config.delack_max);
        if config.profile != crate::Profile::Linux {
            return longest;
        }
        let rto_min = Bounds::or(bounds.rto_min, config.rto_min);
        longest.min(rto_min.saturating_sub(Duration::from_millis(1)).max(Duration::from_millis(1)))
    }

    // ---- ours ----

    /// After text of segments `each` long: at once for every second full segment (MUST-58, SHLD-19), out
    /// of order, or in quick ACK mode; else with the delay (SHLD-18, MUST-40).
    #[inline(always)]
    pub(super) fn schedule_ack(&mut self, cx: &mut Cx<'_>, seg: &rcv::Sized, ahead: bool) {
        let rcv = &mut self.rcv;
        rcv.ack.pending = true;
        if rcv.as_linux && ahead {
            return; // it is acknowledged at once, and tells nothing of the sender's pace
        }
        let gap = micros_between(rcv.ack.last_data, cx.now);
        if unlikely(rcv.ack.ato == 0) {
            rcv.renew_quick_acks(cx.config);
            rcv.ack.ato = micros(cx.config.delack_min);
        } else if unlikely(adapt_delay(&mut rcv.ack, gap, cx.config)) {
            // A long pause: the peer may be in slow start again.
            rcv.renew_quick_acks(cx.config);
        }
        rcv.ack.last_data = cx.now;
        rcv.grow_window(seg, cx.config.rmem[2]);
        let unacked = rcv.nxt.since(rcv.last_ack_sent);
        let full = if rcv.as_linux {
            // Where reading opens the window it also tells of it.
            unlikely(unacked > u32::from(rcv.mss))
                && (rcv.buf.len() < self.options.rcvlowat as usize || rcv.moves_edge())
        } else {
            cold();
            unacked > u32::from(rcv.mss).max(seg.each.min(u32::from(rcv.advmss)))
        };
        let quick = match self.options.quickack {
            Some(on) => {
                cold();
                on
            }
            None => rcv.ack.quick > 0 && !rcv.ack.pingpong,
        };
        if full || quick || rcv.has_gap() {
            rcv.ack.now = true;
        }
        if !rcv.ack.now {
            self.delay_ack(cx);
        }
    }

    /// Something waits to be acknowledged: by the next segment of ours, or when the delay is over.
    #[inline]
    pub(super) fn delay_ack(&mut self, cx: &Cx<'_>) {
        self.rcv.ack.pending = true;
        let set = self.timers.is_set(Timer::DelayedAck);
        if set && !self.rcv.as_linux {
            return;
        }
        let ato = self.rcv.ack.ato;
        let config = cx.config;
        let usual = ato <= 1_000 * USUAL && config.delack_max >= ms(USUAL) && config.rto_min > ms(USUAL);
        let delay = if usual && self.options.bounds == Bounds::default() {
            1_000 * u64::from(ato)
        } else {
            self.bounded_delay(config)
        };
        let at = cx.now.after_nanos(delay);
        if !set {
            return self.timers.set(Timer::DelayedAck, at);
        }
        cold();
        let due = self.timers.get(Timer::DelayedAck);
        if due <= cx.now.after_nanos(delay / 4) {
            self.rcv.ack.now = true; // so soon that it may as well go now
        } else if at < due {
            self.timers.set(Timer::DelayedAck, at);
        }
    }

    /// How long an ACK waits, nanoseconds. On Linux no longer than a round trip (`tcp_send_delayed_ack`).
    #[inline(never)]
    fn bounded_delay(&self, config: &Config) -> u64 {
        let (ack, least) = (&self.rcv.ack, micros(config.delack_min));
        let mut delay = ack.ato;
        if self.rcv.as_linux && delay > least {
            let most = if ack.pingpong || ack.pushed > 0 { 200_000 } else { 500_000 };
            let srtt = self.rtt.srtt_us();
            let trip = if srtt == 0 { most } else { srtt.max(least) };
            delay = delay.min(most).min(trip);
        }
        (1_000 * u64::from(delay)).min(nanos(self.delack_max(config)))
    }

    /// The receiver's RTT from the timestamp that a full segment of `len` bytes echoes, once for each (Linux's
    /// `tcp_rcv_rtt_measure_ts`).
    #[inline]
    pub(super) fn sample_echo(&mut self, now: Instant, hdr: &Header, len: u32) {
        let Some(ts) = hdr.options.timestamps else { return };
        if len < u32::from(self.rcv.mss) || ts.ecr == self.rcv.drs.last_echo || !self.agreed.timestamps {
            return;
        }
        cold();
        self.take_new_echo(now, ts.ecr);
    }

    #[inline(never)] // requests and answers are short
    fn take_new_echo(&mut self, now: Instant, ecr: u32) {
        self.rcv.drs.last_echo = ecr;
        let millis = self.tsval(now).wrapping_sub(ecr);
        if (1..=60_000).contains(&millis) {
            self.rcv.sample_echo(millis * 1_000);
        }
    }

    /// An ACK went out with whatever was sent.
    #[inline]
    pub(super) fn ack_sent(&mut self) {
        let rcv = &mut self.rcv;
        rcv.ack.now = false;
        // A window update is no answer to data: the peer still needs every ACK (Linux's `tcp_dec_quickack_mode`).
        if rcv.ack.pending && unlikely(rcv.ack.quick > 0) {
            rcv.ack.quick -= 1;
            if rcv.ack.quick == 0 && rcv.as_linux {
                rcv.ack.ato = 1_000 * USUAL; // TCP_ATO_MIN
            }
        }
        rcv.ack.pending = false;
        rcv.ack.pushed = 0;
        rcv.last_ack_sent = rcv.nxt;
        rcv.dsack = None;
        self.due.ack = None;
        self.timers.stop(Timer::DelayedAck);
    }
}

/// The delay follows the pace of arrivals between its bounds, as Linux's `tcp_event_data_recv` does; whether there was a
/// long pause.
#[inline]
fn adapt_delay(ack: &mut rcv::AckSchedule, gap: u32, config: &Config) -> bool {
    let min = micros(config.delack_min);
    let max = micros(config.delack_max);
    let paused = if gap <= min / 2 {
        ack.ato = ack.ato / 2 + min / 2;
        false
    } else {
        adapt_to_pause(ack, gap, max, config.profile)
    };
    ack.ato = ack.ato.clamp(min.min(max), max);
    paused
}

#[inline(never)]
fn adapt_to_pause(ack: &mut rcv::AckSchedule, gap: u32, max: u32, profile: crate::Profile) -> bool {
    if gap < ack.ato {
        ack.ato = (ack.ato / 2 + gap).min(max);
        return false;
    }
    let paused = gap > max.max(200_000);
    if paused {
        ack.pingpong &= profile == crate::Profile::Linux;
    }
    paused
}

impl Rcv {
    /// As many ACKs at once as quick ACK mode has.
    #[inline(never)]
    fn renew_quick_acks(&mut self, config: &Config) {
        self.ack.quick = self.quick_acks(config);
    }

    /// Quick ACK mode: the peer is recovering or starting and needs every ACK.
    pub fn enter_quick_ack(&mut self, config: &Config) {
        self.ack.quick = self.quick_acks(config);
        self.ack.pingpong = false;
        self.ack.ato = config.delack_min.as_micros() as u32;
    }
}
