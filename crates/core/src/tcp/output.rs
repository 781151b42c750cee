//! What to send next, and why. The decision is here; `build.rs` makes the segment.

use super::recovery::{CaState, Probe, Retransmit};
use super::rtt::micros_between;
use super::timer::Timer;
use super::*;
use crate::branch::unlikely;
use crate::wire::tcp::Flags;

/// How long text may be held back by the silly-window rule or a cork (MUST-38 (4): 0.1 to 1 s; Linux's
/// cork: 200 ms).
const OVERRIDE: Duration = Duration::from_millis(200);

impl Connection {
    /// The next segment or super-segment, `None` when nothing may or need be sent now.
    ///
    /// `max_text` is the most bytes of text the link takes in one super-segment; at least one segment is
    /// always allowed.
    pub fn transmit(&mut self, cx: &mut Cx<'_>, max_text: u32) -> Option<Outgoing> {
        let mut next = Outgoing::default();
        if !self.transmit_into(cx, max_text, &mut next) {
            return None;
        }
        self.fill(&mut next);
        Some(next)
    }

    /// [`Connection::transmit`] to where the segment is to stand, which leaves short text in the TX buffer; false if
    /// there is none. `out` may be that of an earlier one, whose text was taken.
    pub(crate) fn transmit_into(&mut self, cx: &mut Cx<'_>, max_text: u32, out: &mut Outgoing) -> bool {
        if !self.due.output {
            return false;
        }
        // As Linux: what is signed is sent segment by segment.
        let max_text = if self.options.md5.is_some() { 0 } else { max_text };
        self.text_alone(cx, out) || self.transmit_by_steps(cx, max_text, out)
    }

    /// [`Connection::transmit_into`] of whatever is to be sent.
    #[inline(never)] // it lies apart from what requests and answers run through
    pub(super) fn transmit_by_steps(&mut self, cx: &mut Cx<'_>, max_text: u32, out: &mut Outgoing) -> bool {
        let sent = self.next_segment(cx, max_text, out);
        if !sent || self.is_sated() {
            self.due.output = false;
            self.due.push = false;
            self.watch_what_is_held(cx);
            self.note_limits(cx, sent);
        }
        sent
    }

    /// Nothing is left that a further call could send: it need not be made.
    fn is_sated(&self) -> bool {
        let due = self.due.syn || self.due.tlp || self.due.probe.is_some() || self.rcv.ack.now;
        let held = self.snd.unsent() > 0 || (self.snd.fin_queued && !self.snd.fin_sent);
        !due && !held && !self.flight.as_ref().is_some_and(|flight| flight.wants_retransmit())
    }

    #[inline(always)]
    fn next_segment(&mut self, cx: &mut Cx<'_>, max_text: u32, out: &mut Outgoing) -> bool {
        match self.state {
            State::Closed | State::Listen | State::TimeWait => return false,
            State::SynSent | State::SynReceived if self.due.syn => {
                self.send_syn(cx, out);
                return true;
            }
            State::SynSent => return false,
            _ => {}
        }
        // A server's answer to data on the SYN goes before the handshake is over (RFC 7413 4.2.2).
        if (self.state != State::SynReceived || self.facts.passive) && self.text(cx, max_text, out) {
            return true;
        }
        if let Some(why) = self.due.probe.take() {
            self.build_probe(cx, why, out);
            return true;
        }
        if self.rcv.ack.now {
            self.build_ack(cx, Why::Ack, out);
            return true;
        }
        false
    }

    /// Text or the FIN, again or new, as far as windows and pace allow.
    #[inline(always)]
    fn text(&mut self, cx: &mut Cx<'_>, mut max_text: u32, out: &mut Outgoing) -> bool {
        if self.paced {
            if self.tail_loss_probe(cx, out) {
                return true;
            }
            if self.is_held(cx) {
                return false;
            }
            max_text = self.paced_text(cx, max_text);
        }
        if self.state != State::SynReceived
            && (self.retransmission(cx, max_text, out) || self.tail_loss_probe(cx, out))
        {
            return true;
        }
        self.new_text(cx, max_text, out) || self.rescue(cx, out)
    }

    fn send_syn(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) {
        self.due.syn = false;
        if self.retries == 0 {
            self.trouble_since = cx.now;
        }
        let linear = if self.state == State::SynSent { cx.config.syn_linear_timeouts } else { 0 };
        let doublings = self.retries.saturating_sub(linear).min(12);
        let wait = cx.config.rto_initial.saturating_mul(1 << doublings);
        self.timers.set(Timer::Retransmit, cx.now + wait.min(self.rto_max(cx.config)));
        self.clamp_to_user_timeout(cx);
        self.build_syn(cx, out);
    }

    // ---- again ----

    /// What recovery wants sent again, within the window (SHLD-16; the oldest segment always may).
    #[inline]
    fn retransmission(&mut self, cx: &mut Cx<'_>, max_text: u32, out: &mut Outgoing) -> bool {
        let most = self.tso_text(cx, max_text).max(u32::from(self.mss));
        let Some(flight) = &mut self.flight else { return false };
        let Some(again) = flight.next_retransmit(&self.cc, most) else { return false };
        if again.seq != self.snd.una && again.seq.ge(self.snd.wnd_end()) {
            return false;
        }
        self.send_again(cx, &again, out);
        true
    }

    /// The last resort of a recovery (RFC 6675 4 (4)), where no new data can draw the ACKs that it needs.
    #[inline]
    fn rescue(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) -> bool {
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        let Some(flight) = &mut self.flight else { return false };
        if flight.state() != CaState::Recovery || self.snd.unsent().min(self.snd.usable()) > 0 {
            return false;
        }
        let Some(again) = flight.next_rescue(&self.cc, rules) else {
            return false;
        };
        flight.on_rescued();
        self.send_again(cx, &again, out);
        true
    }

    #[cold]
    fn send_again(&mut self, cx: &mut Cx<'_>, again: &Retransmit, out: &mut Outgoing) {
        let Retransmit { seq, len, why, pushed } = *again;
        let end = seq + len;
        let text_end = self.snd.end().min(end);
        let text = if text_end.gt(seq) { text_end.since(seq) } else { 0 };
        let fin = self.snd.fin_sent && end.gt(self.snd.end());
        match why {
            Why::RetransmitFast | Why::RetransmitRack => cx.stats.tcp_fast_retrans += 1,
            Why::RetransmitRto if self.cc.in_slow_start() => cx.stats.tcp_slow_start_retrans += 1,
            _ => {}
        }
        if let Some(flight) = &mut self.flight {
            let (p, cc) = (&mut self.persist, &mut self.cc);
            if why == Why::Tlp {
                flight.on_probed(cx.now, (seq, len), self.mss, p, cc);
            } else {
                flight.on_sent(cx.now, seq, len, self.mss, true, p, cc);
            }
        }
        let mut ends = Flags::empty();
        ends.set(Flags::FIN, fin);
        ends.set(Flags::PSH, pushed && text > 0);
        self.build_text(cx, (seq, text, ends), why, out);
        self.rearm_flight_timers(cx);
        self.clamp_to_user_timeout(cx);
    }

    /// RFC 8985 7.3: new data if there is any and the peer's window takes it, else the last segment again.
    #[inline]
    fn tail_loss_probe(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) -> bool {
        core::mem::take(&mut self.due.tlp) && self.probe_tail(cx, out)
    }

    #[cold]
    fn probe_tail(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) -> bool {
        let each = self.text_per_segment(cx);
        let fresh = self.snd.unsent().min(self.snd.usable()).min(each);
        let Some(flight) = &mut self.flight else { return false };
        if self.trouble_since.is_never() && cx.config.profile != crate::Profile::Linux {
            self.trouble_since = flight.rto_base(); // the probe moves it, the user timeout does not mind
        }
        let Some(probe) = flight.on_tlp(cx.now, fresh > 0, &mut self.persist) else {
            self.rearm_flight_timers(cx);
            self.clamp_to_user_timeout(cx);
            return false;
        };
        cx.stats.tcp_loss_probes += 1;
        match probe {
            Probe::NewData => self.send_new(cx, (fresh, each), Why::Tlp, out),
            Probe::Retransmit(again) => self.send_again(cx, &again, out),
        }
        if let Some(flight) = &mut self.flight {
            flight.on_probe_sent();
        }
        self.rearm_flight_timers(cx);
        self.clamp_to_user_timeout(cx);
        true
    }

    // ---- new ----

    /// A FIN waits for the end of the handshake. On Linux that of a child of Fast Open which its user has closed does
    /// not, no more than the text before it (a mere `shutdown` waits there too).
    #[inline]
    fn fin_may_go(&self, cx: &Cx<'_>) -> bool {
        let early = || self.facts.passive && self.orphan && cx.config.profile == crate::Profile::Linux;
        self.snd.fin_queued && (self.state != State::SynReceived || early())
    }

    /// New text or the FIN, as far as both windows, Nagle and the silly-window rule allow.
    #[inline(always)]
    fn new_text(&mut self, cx: &mut Cx<'_>, max_text: u32, out: &mut Outgoing) -> bool {
        let mut unsent = self.snd.unsent();
        let fin = !self.snd.fin_sent && self.fin_may_go(cx);
        if unsent == 0 && !fin {
            return false;
        }
        if !self.in_flight() {
            self.restart_after_idle(cx);
        }
        let usable = self.snd.usable();
        let room = match &self.flight {
            Some(flight) => flight.can_send_new(&self.cc),
            None => self.cc.cwnd(),
        };
        if unsent == 0 {
            // rfc2525-s2.15-a: a FIN waits for nothing but one place in the window; on Linux for one in cwnd too.
            let goes = usable > 0 && (room > 0 || cx.config.profile != crate::Profile::Linux);
            if goes {
                self.send_new(cx, (0, 1), Why::Fin, out);
            }
            return goes;
        }
        if self.search.is_some() && self.mtu_probe(cx, room, out) {
            return true;
        }
        let each = self.text_per_segment(cx);
        // A record that is followed by more is complete: its end waits for nothing.
        let record = self.record_left().filter(|&left| left < unsent);
        unsent = record.unwrap_or(unsent);
        let allowed = unsent.min(usable).min(self.tso_quota(cx, room, each));
        let max_text = self.tso_text(cx, max_text);
        if self.tso_defers(cx, unsent.min(usable).min(room), unsent, max_text) {
            if room < usable {
                let in_flight = self.flight.as_ref().map_or(0, |flight| flight.load_in_flight(&self.cc));
                self.cc.on_held_back(cx.now, in_flight, self.snd.nxt);
            }
            return false;
        }
        let len = match record {
            Some(left) if left == allowed && left <= max_text.max(each) => left,
            _ => self.how_much(cx, allowed, unsent, usable, each, max_text),
        };
        if len == 0 {
            return false;
        }
        self.send_new(cx, (len, each), Why::Data, out);
        true
    }

    /// Bytes of text for the next segment or super-segment; 0 to hold back.
    fn how_much(
        &mut self,
        cx: &mut Cx<'_>,
        allowed: u32,
        unsent: u32,
        usable: u32,
        each: u32,
        max_text: u32,
    ) -> u32 {
        let cap = (max_text / each).max(1) * each;
        if allowed >= each {
            // Whole segments; a shorter last one goes along if it may go at all, on Linux also where the window
            // makes it short.
            let whole = (allowed / each * each).min(cap);
            let end = allowed == unsent || (allowed == usable && cx.config.profile == crate::Profile::Linux);
            let all = end && allowed <= cap && allowed > whole;
            return if all && self.may_send_small(cx, true) { allowed } else { whole };
        }
        if allowed == 0 {
            return 0;
        }
        if allowed == unsent {
            return if self.may_send_small(cx, false) { allowed } else { 0 };
        }
        // The window cuts a segment short: silly-window avoidance (MUST-38).
        let by_window = allowed == usable;
        let half = self.snd.max_wnd / 2;
        let idle = !self.in_flight();
        if by_window && ((half > 0 && allowed >= half) || self.due.push) || (!by_window && idle) {
            allowed
        } else {
            0
        }
    }

    /// Nagle's algorithm (SHLD-7) with Minshall's refinement (RFC 9293 A.3) under the `linux` profile, and corks.
    /// `behind`: full segments leave just before it, which the RFC counts as unacknowledged, and FreeBSD does not.
    fn may_send_small(&self, cx: &Cx<'_>, behind: bool) -> bool {
        if self.due.push || self.snd.fin_queued || self.snd.urgent {
            return true;
        }
        if self.options.cork || self.snd.holds {
            return false;
        }
        let outstanding = self.in_flight() || (behind && cx.config.profile == crate::Profile::Rfc);
        if self.options.nodelay || !outstanding {
            return true;
        }
        let small_outstanding = self.snd.sml.gt(self.snd.una) && self.snd.sml.le(self.snd.nxt);
        cx.config.profile == crate::Profile::Linux && !small_outstanding
    }

    #[inline]
    pub(super) fn send_new(
        &mut self,
        cx: &mut Cx<'_>,
        (len, each): (u32, u32),
        why: Why,
        out: &mut Outgoing,
    ) {
        let seq = self.snd.nxt;
        let fin = self.fin_may_go(cx) && len == self.snd.unsent() && self.snd.usable() > len;
        let why = if fin && why == Why::Data { Why::Fin } else { why };
        let taken = len + u32::from(fin);
        let drained = len == self.snd.unsent();
        let (sack, by_segment) = (self.agreed.sack, cx.config.profile == crate::Profile::Linux);
        let flight = self.flight.get_or_insert_with(|| cx.spare.take_for(sack, by_segment));
        // In a burst the timers stand already: they count from the same instant.
        let timed = flight.is_timed_from(cx.now) && !self.persisting;
        flight.on_sent(cx.now, seq, taken, each as u16, false, &mut self.persist, &mut self.cc);
        if drained && flight.can_send_new(&self.cc) > 0 {
            self.persist.note_app_limited(flight.bytes_in_flight());
            if cx.config.slow_start_after_idle && cx.config.profile == crate::Profile::Linux {
                self.validate_window(cx);
            }
        }
        if len % each != 0 {
            self.snd.sml = seq + taken;
        }
        // Data in answer to data just received: the exchange is interactive (Linux's ping-pong mode).
        let since = micros_between(self.rcv.ack.last_data, cx.now);
        if len > 0 && self.rcv.ack.ato > 0 && since < self.rcv.ack.ato {
            self.rcv.ack.pingpong = true;
        }
        let record = self.record_left() == Some(len);
        self.build_text(cx, (seq, len, if fin { Flags::FIN } else { Flags::empty() }), why, out);
        if let Some(flight) = &mut self.flight {
            let burst = out.gso_size != 0;
            let ends_queue = drained && !self.snd.more;
            let pushed = record || ends_queue || (out.hdr.flags.contains(Flags::PSH) && !burst);
            flight.mark_end(burst && cx.config.tso_autosizing, pushed && len > 0, record);
        }
        self.snd.nxt = seq + taken;
        self.note_records_sent(cx.now);
        self.snd.fin_sent |= fin;
        self.retries_over();
        if !timed || why == Why::Tlp {
            self.rearm_flight_timers(cx);
        }
        self.clamp_to_user_timeout(cx);
    }

    /// Linux's `tcp_cwnd_validate`: the program sends less than it might, so the window shrinks to what it uses.
    fn validate_window(&mut self, cx: &Cx<'_>) {
        if self.ca_state() == CaState::Open && self.is_writable() {
            let rto = self.rtt.rto_nanos(&self.rto_policy(cx.config));
            self.cc.on_application_limited(cx.now, (rto / 1_000_000) as u32);
        }
    }

    /// New data leaves: whatever was probed before is over.
    fn retries_over(&mut self) {
        if self.persisting {
            self.persisting = false;
            self.retries = 0;
            self.trouble_since = Instant::NEVER;
        }
    }

    /// RFC 5681 4.1: after an idle RTO the window is no longer believed.
    #[inline(always)]
    pub(super) fn restart_after_idle(&mut self, cx: &mut Cx<'_>) {
        let last = self.counters.last_data_sent;
        if !cx.config.slow_start_after_idle || last == Instant::ZERO {
            return;
        }
        // What is sent again and again within a millisecond need not ask how long the RTO is.
        let recent = cx.now.as_nanos().saturating_sub(last.as_nanos()) <= 1_000_000;
        if unlikely(!recent || cx.config.rto_min < Duration::from_millis(1)) {
            self.restart_if_idle(cx);
        }
    }

    #[inline(never)]
    fn restart_if_idle(&mut self, cx: &mut Cx<'_>) {
        let idle = cx.now.since(self.counters.last_data_sent);
        let rto = self.rtt.rto(&self.rto_policy(cx.config));
        if idle > rto {
            self.cc.on_idle(idle, rto, cx.config.profile == crate::Profile::Linux);
        }
    }

    /// Nothing is in flight and something is held: the persist timer (RFC 9293 3.8.6.1) or the override
    /// timer (3.8.6.2.1, cork) sees to it that it does not stay so for ever (MUST-60).
    fn watch_what_is_held(&mut self, cx: &mut Cx<'_>) {
        let fin = self.snd.fin_queued && !self.snd.fin_sent;
        let held = self.snd.unsent() + u32::from(fin);
        if held == 0 || !self.state.is_synchronized() {
            return;
        }
        let usable = self.snd.usable();
        if self.in_flight() {
            if (self.options.cork || self.snd.holds) && !self.timers.is_set(Timer::Send) {
                self.timers.set(Timer::Send, cx.now + OVERRIDE);
            }
            return;
        }
        if usable == 0 {
            if !self.timers.is_set(Timer::Retransmit) {
                self.persisting = true;
                self.persist_backoff = 0;
                self.retries = 0;
                self.trouble_since = cx.now;
                self.arm_persist(cx);
            }
        } else if !self.timers.is_set(Timer::Send) {
            self.timers.set(Timer::Send, cx.now + OVERRIDE);
        }
    }
}
