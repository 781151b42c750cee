//! What requests and answers are made of, and nearly all that leaves a connection that is not a stream: all the text that
//! is queued, less than a segment, while nothing is in flight. The counterpart of `predict.rs`.
//!
//! It is made in one go here, to the same effect as by the steps of `output.rs` and `build.rs`, which make whatever is
//! not of this kind.

use super::rtt::micros_between;
use super::timer::Timer;
use super::*;
use crate::branch::cold;
use crate::wire::tcp::MAX_INLINE;

impl Connection {
    /// Makes such a segment, after which nothing is left to send; false, and nothing has changed, if there is none.
    #[inline]
    pub(super) fn text_alone(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) -> bool {
        let len = self.snd.buf.len();
        let mss = self.bounded_mss(cx);
        if self.flight.is_some() || len == 0 || len > MAX_INLINE || !self.is_alone(len as u32, mss) {
            cold();
            return false;
        }
        let len = len as u32;
        self.restart_after_idle(cx);
        let seq = self.snd.nxt;
        let own = self.own_rules(cx);
        let rules = own.as_ref().unwrap_or(cx.rules);
        let rto = self.rtt.rto_nanos(&rules.rto);
        let mut flight = cx.spare.take_for(self.agreed.sack, cx.config.profile == crate::Profile::Linux);
        flight.on_first_sent(cx.now, (seq, len), mss as u16, &self.persist, &mut self.cc);
        if self.cc.cwnd() > len {
            self.persist.note_app_limited(len);
            if cx.config.slow_start_after_idle
                && cx.config.profile == crate::Profile::Linux
                && self.is_writable()
            {
                self.cc.on_application_limited(cx.now, (rto / 1_000_000) as u32);
            }
        }
        self.snd.sml = seq + len;
        // Data in answer to data just received: the exchange is interactive (Linux's ping-pong mode).
        let ack = &mut self.rcv.ack;
        ack.pingpong |= ack.ato > 0 && micros_between(ack.last_data, cx.now) < ack.ato;
        self.begin_alone(cx, seq, out);
        out.held = len as u8;
        out.lean = self.options.md5.is_none();
        self.leave_alone(cx, len, out);
        self.snd.nxt = seq + len;
        let rto = cx.now.after_nanos(rto);
        let probe = flight.first_tlp_deadline(&self.rtt, &self.persist, rules, rto);
        self.flight = Some(flight);
        self.timers.set(Timer::Retransmit, rto);
        self.timers.set(Timer::LossProbe, probe);
        self.clamp_to_user_timeout(cx);
        self.note_limits(cx, true);
        self.due.output = false;
        true
    }

    /// Whether `len` bytes of text, all that is queued, may leave by themselves and nothing else is due.
    #[inline(always)]
    fn is_alone(&self, len: u32, mss: u32) -> bool {
        let (snd, due) = (&self.snd, &self.due);
        let held = snd.fin_queued | snd.urgent | snd.more | self.paced | self.persisting | self.options.cork;
        let other = due.syn | due.tlp | due.push | due.user_timeout | self.ecn.agreed;
        self.state == State::Established
            && !held
            && !other
            && due.probe.is_none()
            && snd.una == snd.nxt
            && snd.buf_seq == snd.nxt
            && len <= snd.wnd
            && len + 64 <= mss
            && self.cc.cwnd() >= u32::from(self.mss)
            && self.search.is_none()
            && self.records.is_none()
            && self.ecn.accurate.is_none()
            && self.rcv.dsack.is_none()
            && !self.rcv.has_gap()
    }
}
