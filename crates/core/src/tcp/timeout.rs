//! Timers falling due (RFC 9293 3.10.8, RFC 6298, RFC 8985, 3.8.4, 3.8.6.1).

use super::timer::Timer;
use super::*;
use crate::config::Kept;

impl Connection {
    /// Fires every timer that is due at `cx.now`.
    pub fn on_deadline(&mut self, cx: &mut Cx<'_>) -> Outcome {
        let mut out = Outcome::default();
        while let Some(timer) = self.timers.pop(cx.now) {
            if cx.trace.on() {
                self.record(cx, What::Timer(timer));
            }
            self.due.output = true;
            match timer {
                Timer::Retransmit => {
                    let ended = match self.state {
                        State::SynSent | State::SynReceived => self.handshake_timeout(cx),
                        _ if self.persisting => self.persist_timeout(cx),
                        _ => self.retransmission_timeout(cx, &mut out),
                    };
                    if let Some(ended) = ended {
                        return ended;
                    }
                }
                Timer::LossProbe => self.loss_probe(cx),
                Timer::DelayedAck => self.delayed_ack(cx),
                Timer::KeepAlive => {
                    if let Some(ended) = self.keepalive_timeout(cx) {
                        return ended;
                    }
                }
                // What the pace held goes; else the override lets go what is there.
                Timer::Send => self.due.push |= !core::mem::take(&mut self.due.paced),
            }
        }
        out
    }

    /// SYN and simultaneous SYN-ACK: exponential, until R2 (MUST-22, MUST-23).
    fn handshake_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        let elapsed = cx.now.since(self.trouble_since);
        let retries = if self.facts.passive { cx.config.synack_retries } else { cx.config.syn_retries };
        let linear = if self.state == State::SynSent { cx.config.syn_linear_timeouts } else { 0 };
        let limit = self.options.syncnt.unwrap_or(retries).saturating_add(linear);
        let patient = self.options.syncnt.is_none() && elapsed < cx.config.syn_min_timeout;
        let by_user = self.user_timeout().is_some_and(|t| elapsed >= t);
        if by_user || (self.retries >= limit && !patient) {
            self.note_syn_lost();
            return Some(self.time_out(cx));
        }
        self.retries = self.retries.saturating_add(1);
        cx.stats.tcp_timeouts += 1;
        self.due.syn = true;
        None
    }

    /// RFC 6298 5.4 to 5.7: the earliest segment again, the RTO doubled, until R2.
    fn retransmission_timeout(&mut self, cx: &mut Cx<'_>, out: &mut Outcome) -> Option<Outcome> {
        if !self.in_flight() {
            return None;
        }
        if self.trouble_since.is_never() {
            // Linux counts from the first retransmission, not from the segment that was lost.
            self.trouble_since = match &self.flight {
                Some(flight) if cx.config.profile == crate::Profile::Linux => {
                    flight.resent_since().unwrap_or(cx.now)
                }
                Some(flight) => flight.rto_base(),
                None => cx.now,
            };
        }
        // A peer that shrank its window to nothing and still answers is not dead (SHLD-17).
        let shrunk =
            self.snd.wnd == 0 && cx.now.since(self.counters.last_ack_recv) < self.rto_max(cx.config) * 2;
        if shrunk && !self.orphan && self.user_timeout().is_none() {
            self.trouble_since = cx.now;
        } else if self.given_up(cx) {
            return Some(self.time_out(cx));
        }
        cx.stats.tcp_timeouts += 1;
        self.believe_doubted_pmtu(cx);
        self.retries = self.retries.saturating_add(1);
        out.negative_advice = self.retries == cx.config.retries1;
        if out.negative_advice && self.soft_error.is_none() {
            // SHLD-9: trouble shows at R1.
            out.ready |= Ready::ERR;
        }
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        let flight = self.flight.as_mut()?;
        let outcome = flight.on_rto(cx.now, &mut self.rtt, &mut self.cc, &mut self.persist, rules);
        if self.is_thin(cx) {
            self.rtt.forget_back_off();
        }
        self.mtu_probe_is_void(cx);
        if self.retries >= cx.config.retries1 {
            self.suspect_black_hole(cx);
        }
        self.timers.stop(Timer::LossProbe);
        // The head is sent at the next transmit, which arms the timer anew; a bound in case it may not.
        let rto = self.rtt.rto(&rules.rto);
        self.timers.set(Timer::Retransmit, cx.now + rto);
        self.clamp_to_user_timeout(cx);
        self.account(cx, &outcome);
        None
    }

    /// Too little is in flight for duplicate ACKs: the RTO is all there is, and is not doubled at first (Linux's
    /// `tcp_stream_is_thin`).
    fn is_thin(&self, cx: &Cx<'_>) -> bool {
        const RETRIES: u8 = 6;
        const SEGMENTS: u32 = 4;
        let asked = cx.config.thin_linear_timeouts || self.options.kept.contains(Kept::THIN_LINEAR_TIMEOUTS);
        asked
            && self.state == State::Established
            && self.retries <= RETRIES
            && self.flight.as_ref().is_some_and(|flight| flight.segs_outstanding() < SEGMENTS)
    }

    /// R2 (MUST-20, SHLD-11): TCP_USER_TIMEOUT, or what `tcp_retries2` doublings of the least RTO take.
    fn given_up(&self, cx: &Cx<'_>) -> bool {
        let elapsed = cx.now.since(self.trouble_since);
        if let Some(limit) = self.user_timeout() {
            return elapsed >= limit;
        }
        let retries = if self.orphan { orphan_retries(cx.config) } else { cx.config.retries2 };
        // However long the RTO has become, nothing is given up before it was sent a second time.
        self.retries > 0 && elapsed >= backed_off(cx.config.rto_min, self.rto_max(cx.config), retries)
    }

    /// The greatest RTO of this connection.
    pub(super) fn rto_max(&self, config: &Config) -> Duration {
        Bounds::or(self.options.bounds.rto_max, config.rto_max)
    }

    /// The user timeout is met to the millisecond, not at the next doubling.
    pub(super) fn clamp_to_user_timeout(&mut self, cx: &Cx<'_>) {
        if let Some(limit) = self.user_timeout() {
            self.clamp_to(limit, cx);
        }
    }

    #[cold]
    #[inline(never)]
    fn clamp_to(&mut self, limit: Duration, cx: &Cx<'_>) {
        if self.trouble_since.is_never() || !self.timers.is_set(Timer::Retransmit) {
            return;
        }
        let end = (self.trouble_since + limit).max(cx.now + Duration::from_millis(1));
        if self.timers.get(Timer::Retransmit) > end {
            self.timers.set(Timer::Retransmit, end);
        }
    }

    /// The user timeout expired or R2 was passed: all queues flushed, a timeout error (RFC 9293 3.10.8).
    fn time_out(&mut self, cx: &mut Cx<'_>) -> Outcome {
        cx.stats.tcp_abort_on_timeout += 1;
        let error = self.soft_error.unwrap_or(Errno::ETIMEDOUT);
        self.fail(cx, Some(error), Event::Abort)
    }

    // ---- zero window ----

    /// SHLD-29, SHLD-30: one RTO, then doubling.
    pub(super) fn arm_persist(&mut self, cx: &Cx<'_>) {
        let policy = self.rto_policy(cx.config);
        let rto = self
            .rtt
            .rto_without_backoff(&policy)
            .saturating_mul(1 << self.persist_backoff.min(16))
            .min(policy.max);
        self.timers.set(Timer::Retransmit, cx.now + rto);
        self.clamp_to_user_timeout(cx);
    }

    /// MUST-36, MUST-37: probes go on as long as the peer answers; silence, the user's timeout and an
    /// orphan's limit end them (RFC 6429).
    fn persist_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        let elapsed = cx.now.since(self.trouble_since);
        let limit = if self.orphan { orphan_retries(cx.config) } else { cx.config.retries2 };
        let by_user = self.user_timeout().is_some_and(|t| elapsed >= t);
        let orphan_over = self.orphan && elapsed >= cx.config.fin_timeout * 2;
        if by_user || orphan_over || self.retries >= limit {
            let mut out = self.time_out(cx);
            if orphan_over {
                out.reply = None;
            }
            return Some(out);
        }
        self.retries += 1;
        self.persist_backoff = self.persist_backoff.saturating_add(1);
        cx.stats.tcp_win_probe += 1;
        self.due.probe = Some(Why::WindowProbe);
        self.arm_persist(cx);
        None
    }

    // ---- loss probe ----

    /// RACK's reordering timer, or else the probe timeout: the probe itself is made at the next transmit.
    fn loss_probe(&mut self, cx: &mut Cx<'_>) {
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        let Some(flight) = &mut self.flight else { return };
        if flight.is_empty() {
            self.flight = None; // nothing came that would undo the last reduction
            return;
        }
        if flight.reo_deadline() <= cx.now {
            let outcome = flight.on_timer_reo(cx.now, &self.rtt, &mut self.cc, &mut self.persist, rules);
            self.account(cx, &outcome);
            self.rearm_flight_timers(cx);
        } else {
            self.due.tlp = true;
            // RFC 8985 7.3: after a probe opportunity the RTO counts anew, also if both were due.
            self.timers.set(Timer::Retransmit, cx.now + self.rtt.rto(&rules.rto));
            self.clamp_to_user_timeout(cx);
        }
    }

    // ---- delayed ACK ----

    fn delayed_ack(&mut self, cx: &mut Cx<'_>) {
        if !self.rcv.ack.pending {
            return;
        }
        let ack = &mut self.rcv.ack;
        if ack.pingpong {
            // The answer did not come: leave the interactive mode.
            ack.pingpong = false;
            ack.ato = cx.config.delack_min.as_micros() as u32;
        } else {
            ack.ato = ack.ato.saturating_mul(2).min(cx.config.delack_max.as_micros() as u32);
        }
        ack.now = true;
        self.due.ack = Some(Why::DelayedAck);
        cx.stats.delayed_acks += 1;
    }

    // ---- keep-alive, and the end of an orphan's FIN-WAIT-2 ----

    fn keepalive_idle(&self, config: &Config) -> Duration {
        self.options.keepidle.unwrap_or(config.keepalive_time)
    }

    /// MUST-24, MUST-25: only if asked for.
    pub(super) fn arm_keepalive(&mut self, cx: &Cx<'_>) {
        if self.orphan && self.state == State::FinWait2 {
            return;
        }
        if self.options.keepalive && self.state.is_synchronized() {
            let idle = self.keepalive_idle(cx.config);
            let heard = self.rcv.ack.last_data.max(self.counters.last_ack_recv);
            self.timers.set(Timer::KeepAlive, (heard + idle).max(cx.now));
        } else {
            self.timers.stop(Timer::KeepAlive);
        }
    }

    /// An orphan does not stay in FIN-WAIT-2 for ever (`tcp_fin_timeout`, TCP_LINGER2).
    pub(super) fn enter_fin_wait_2(&mut self, cx: &Cx<'_>) {
        if !self.orphan {
            return;
        }
        let wait = match self.options.linger2 {
            Some(Some(time)) => time.min(cx.config.fin_timeout * 2),
            Some(None) => Duration::ZERO,
            None => cx.config.fin_timeout,
        };
        self.timers.set(Timer::KeepAlive, cx.now + wait);
    }

    fn keepalive_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Outcome> {
        if self.orphan && self.state == State::FinWait2 {
            return Some(self.fail(cx, None, Event::Abort));
        }
        if !self.options.keepalive || !self.state.is_synchronized() {
            return None;
        }
        let idle = self.keepalive_idle(cx.config);
        // MUST-26: only when nothing is unacknowledged and nothing was heard for the whole time.
        if self.in_flight() || self.snd.unsent() > 0 {
            self.timers.set(Timer::KeepAlive, cx.now + idle);
            return None;
        }
        let silent = self.idle_for(cx.now);
        if silent < idle {
            self.keepalive_probes = 0;
            self.timers.set(Timer::KeepAlive, cx.now + (idle - silent));
            return None;
        }
        let count = self.options.keepcnt.unwrap_or(cx.config.keepalive_probes);
        let over = match self.user_timeout() {
            Some(limit) => silent >= limit && self.keepalive_probes > 0,
            None => self.keepalive_probes >= count,
        };
        if over {
            let reply = self.build_rst(cx, self.snd.nxt, Some(self.rcv.nxt));
            let mut out = self.time_out(cx);
            out.reply = Some(reply);
            return Some(out);
        }
        self.keepalive_probes += 1;
        cx.stats.tcp_keep_alive += 1;
        self.due.probe = Some(Why::KeepAlive);
        let interval = self.options.keepintvl.unwrap_or(cx.config.keepalive_interval);
        self.timers.set(Timer::KeepAlive, cx.now + interval);
        None
    }
}

/// Linux's `tcp_orphan_retries`: 0 stands for 8.
fn orphan_retries(config: &Config) -> u8 {
    if config.orphan_retries == 0 { 8 } else { config.orphan_retries }
}

/// How long `retries` doublings from `min`, none above `max`, take together (Linux's `tcp_model_timeout`).
fn backed_off(min: Duration, max: Duration, retries: u8) -> Duration {
    let mut total = Duration::ZERO;
    let mut step = min;
    for _ in 0..=retries {
        total += step;
        step = (step * 2).min(max);
    }
    total
}
