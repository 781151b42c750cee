//! Segment arrives (RFC 9293 3.10.7), one function for each step, in the RFC's order.
//!
//! LISTEN and SYN-RECEIVED of a passive open are the SYN queue's, CLOSED and TIME-WAIT the stack's;
//! what comes here is for a connection that has a control block.

use super::predict::{Arriving, Text};
use super::*;
use crate::trace::DropReason;
use crate::wire::tcp::Flags;

/// Whether the next step of the RFC's list is taken.
enum Check {
    /// Go on.
    Pass,
    /// The segment has had its effect.
    Stop(Outcome),
}

/// PAWS holds TS.Recent valid for 24 days (RFC 7323 5.5), seconds.
const PAWS_IDLE: u32 = 24 * 24 * 3_600;

/// Linux's least timeout, two jiffies.
const RETRY_AFTER_RST: Duration = Duration::from_millis(2);
/// Challenge ACKs of one connection in one second (RFC 5961 7).
const CHALLENGES_PER_SECOND: u8 = 10;

impl Connection {
    /// SEGMENT ARRIVES, for every state that has a control block (RFC 9293 3.10.7.3, 3.10.7.4).
    pub fn on_segment(&mut self, cx: &mut Cx<'_>, mut seg: Segment) -> Outcome {
        let Segment { hdr, ref mut data, gso_size, tos, ttl } = seg;
        let arriving = Arriving { hdr: &hdr, text: Text::Slices(data), gso_size, tos, ttl };
        match self.predict(cx, arriving) {
            Some(ready) => Outcome { ready, ..Outcome::default() },
            None => self.on_segment_at(cx, &mut seg),
        }
    }

    /// A segment that is not predicted, where it lies: its text is taken out of it.
    pub(crate) fn on_segment_at(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Outcome {
        if cx.trace.on() {
            let what = What::Received {
                header: seg.hdr,
                len: seg.data.len() as u32,
                gso_size: seg.gso_size,
                state: self.state,
            };
            self.record(cx, what);
        }
        if seg.ttl < self.options.min_ttl {
            cx.stats.tcp_min_ttl_drop += 1;
            return self.discard(cx, seg, DropReason::LowTtl);
        }
        self.counters.segs_in += seg.segments();
        self.rcv_tos = seg.tos;
        match self.state {
            State::SynSent => self.arrives_in_syn_sent(cx, seg),
            State::Closed | State::Listen | State::TimeWait => self.discard(cx, seg, DropReason::WrongState),
            _ => self.arrives(cx, seg),
        }
    }

    /// 3.10.7.4: SYN-RECEIVED and the synchronized states.
    fn arrives(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Outcome {
        let kind = seg.hdr.flags & (Flags::SYN | Flags::ACK | Flags::RST);
        if kind == Flags::SYN && seg.hdr.seq == self.rcv.irs && self.is_open_early() {
            self.hear_syn_again(cx);
            return self.discard(cx, seg, DropReason::OldSyn);
        }
        if !self.strip_syn_of_simultaneous_open(seg) {
            return self.take_steps(cx, seg);
        }
        if cx.config.profile == crate::Profile::Linux {
            // The SYN that we had already is answered as any duplicate is.
            self.note_dsack(cx, self.rcv.irs, self.rcv.nxt);
            self.rcv.ack.now = true;
        }
        // The window of a SYN-ACK is not scaled (RFC 7323 2.2).
        let scale = core::mem::take(&mut self.snd.wscale);
        let out = self.take_steps(cx, seg);
        self.snd.wscale = scale;
        out
    }

    /// The checks, one after the other.
    fn take_steps(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Outcome {
        let steps: [fn(&mut Self, &mut Cx<'_>, &mut Segment) -> Check; 5] = [
            Self::check_timestamps,
            Self::check_sequence,
            Self::check_rst,
            Self::check_syn,
            Self::check_ack_bit,
        ];
        for step in steps {
            if let Check::Stop(outcome) = step(self, cx, seg) {
                return outcome;
            }
        }
        let mut out = Outcome::default();
        self.hear_first_ace(seg);
        self.hear_option(seg.hdr.options.accurate_ecn.as_ref());
        if let Check::Stop(outcome) = self.check_ack(cx, seg, &mut out) {
            return outcome;
        }
        self.count_marks(cx, seg);
        self.check_urg(seg, &mut out);
        if let Check::Stop(outcome) = self.check_text(cx, seg, &mut out) {
            return outcome;
        }
        self.check_fin(cx, &mut out);
        self.conclude(cx, out)
    }

    /// After the last step: TIME-WAIT and CLOSED are handed over, with the ACK that is due.
    fn conclude(&mut self, cx: &mut Cx<'_>, mut out: Outcome) -> Outcome {
        if !matches!(self.state, State::TimeWait | State::Closed) {
            self.due.output = true;
            return out;
        }
        let reply = (self.rcv.ack.now || self.rcv.ack.pending).then(|| {
            let mut reply = Box::<Outgoing>::default();
            self.build_ack(cx, Why::Ack, &mut reply);
            reply
        });
        let ended = self.finish(cx);
        out.done = ended.done;
        out.ready |= ended.ready;
        out.reply = reply.or(out.reply);
        out
    }

    // ---- 3.10.7.3 SYN-SENT ----

    fn arrives_in_syn_sent(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Outcome {
        let hdr = seg.hdr;
        let has_ack = hdr.flags.contains(Flags::ACK);
        // First, the ACK bit: ISS < SEG.ACK <= SND.NXT.
        let acceptable = has_ack && hdr.ack.gt(self.snd.iss) && hdr.ack.le(self.snd.nxt);
        if has_ack && !acceptable {
            if hdr.flags.contains(Flags::RST) {
                return self.discard(cx, seg, DropReason::BadRst);
            }
            let mut out = self.discard(cx, seg, DropReason::BadAck);
            out.reply = Some(self.build_rst(cx, hdr.ack, None));
            if self.retries == 0 && cx.config.profile == crate::Profile::Linux {
                // Linux tries again at once: what the peer had of us is gone with that RST.
                self.timers.set(timer::Timer::Retransmit, cx.now + RETRY_AFTER_RST);
            }
            return out;
        }
        // Second, the RST bit (erratum 8167: no RFC 5961 check here).
        if hdr.flags.contains(Flags::RST) {
            if !acceptable {
                return self.discard(cx, seg, DropReason::BadRst);
            }
            return self.fail(cx, Some(Errno::ECONNREFUSED), Event::RcvRst);
        }
        // Fourth, the SYN bit; without it the segment is dropped (fifth).
        if !hdr.flags.contains(Flags::SYN) {
            return self.discard(cx, seg, DropReason::WrongState);
        }
        self.negotiate(cx.now, &hdr.options);
        self.rcv.irs = hdr.seq;
        self.rcv.nxt = hdr.seq + 1;
        self.rcv.last_ack_sent = self.rcv.nxt;
        // The window of our SYN was not scaled, and is what the peer may use.
        let window = open::initial_window(self.rcv.capacity, self.rcv.advmss);
        self.rcv.adv = self.rcv.nxt + u32::from(window);
        self.snd.wl1 = hdr.seq;
        self.snd.wl2 = hdr.ack;
        self.set_window(u32::from(hdr.window));
        if !acceptable {
            // Simultaneous open (MUST-10): the SYN goes out again with an ACK.
            self.step(cx, Event::RcvSyn);
            self.due.syn = true;
            self.due.output = true;
            self.retries = 0;
            return Outcome::default();
        }
        self.counters.bytes_acked += u64::from(self.snd.acknowledge(hdr.ack));
        // Linux takes text on a SYN-ACK only where Fast Open was asked for; the peer sends it again.
        let ignores = cx.config.profile == crate::Profile::Linux && self.early.is_none();
        self.hear_fast_open(cx, &hdr);
        self.hear_user_timeout(&hdr.options);
        self.hear_ecn_of_syn_ack(cx.config, hdr.flags, seg.tos);
        self.hear_option_of_syn_ack(hdr.options.accurate_ecn.as_ref());
        self.become_established(cx, Event::RcvSynAck);
        self.rcv.ack.now = true;
        let mut out = Outcome { established: true, ready: Ready::OUT, ..Outcome::default() };
        if ignores {
            return self.conclude(cx, out);
        }
        // Text and FIN that came with it: sixth step and on.
        seg.hdr.flags.remove(Flags::SYN);
        seg.hdr.seq += 1;
        self.check_urg(seg, &mut out);
        if let Check::Stop(outcome) = self.check_text(cx, seg, &mut out) {
            return outcome;
        }
        self.check_fin(cx, &mut out);
        self.conclude(cx, out)
    }

    /// In a simultaneous open the peer's SYN-ACK repeats the SYN that we have: what is new in it is
    /// the ACK (RFC 9293 3.5 figure 8, A.2). Returns whether this is one.
    fn strip_syn_of_simultaneous_open(&self, seg: &mut Segment) -> bool {
        let again = self.state == State::SynReceived
            && seg.hdr.flags.contains(Flags::SYN | Flags::ACK)
            && seg.hdr.seq == self.rcv.irs;
        if again {
            seg.hdr.flags.remove(Flags::SYN);
            seg.hdr.seq += 1;
        }
        again
    }

    // ---- 3.10.7.4, step by step ----

    /// RFC 7323 5.3: PAWS comes before the sequence check, and never for a RST (5.2).
    fn check_timestamps(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Check {
        if !self.agreed.timestamps {
            seg.hdr.options.timestamps = None;
            return Check::Pass;
        }
        if seg.hdr.flags.contains(Flags::RST) {
            return Check::Pass;
        }
        let Some(ts) = seg.hdr.options.timestamps else {
            // RFC 7323 3.2 (requirements note 13).
            if cx.config.tolerate_missing_timestamps {
                return Check::Pass;
            }
            return Check::Stop(self.discard(cx, seg, DropReason::NoTimestamp));
        };
        let older = (ts.val.wrapping_sub(self.rcv.ts_recent) as i32) < 0;
        let age = (cx.now.as_secs() as u32).wrapping_sub(self.rcv.ts_recent_age);
        if !older || age > PAWS_IDLE {
            return Check::Pass;
        }
        cx.stats.paws_estab_rejected += 1;
        if seg.hdr.flags.contains(Flags::SYN) {
            return Check::Stop(self.challenge(cx, seg));
        }
        self.answer_unacceptable(cx, seg);
        Check::Stop(self.discard(cx, seg, DropReason::Paws))
    }

    /// First, the sequence number (table 6).
    fn check_sequence(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Check {
        let (seq, len) = (seg.hdr.seq, seg.seg_len());
        let crosses = self.crosses_the_edge(cx, seg);
        if self.rcv.acceptable(seq, len) && !crosses {
            return Check::Pass;
        }
        cx.stats.tcp_beyond_window += u64::from(crosses || seq.gt(self.rcv.adv));
        // "If RCV.WND is zero ... special allowance should be made to accept valid ACKs, URGs and RSTs"
        // (MUST-66): the text of such a segment is a window probe.
        if self.rcv.wnd() == 0 && seq == self.rcv.nxt {
            cx.stats.tcp_rcv_q_drop += u64::from(!seg.data.is_empty());
            self.rcv.ack.now = true;
            self.due.output = true;
            // Linux takes a FIN that comes alone: its sender would repeat it, and it needs no room.
            if !seg.data.is_empty() || cx.config.profile != crate::Profile::Linux {
                seg.data = crate::packet::Payload::new();
                seg.hdr.flags.remove(Flags::FIN);
            }
            return Check::Pass;
        }
        if seg.hdr.flags.contains(Flags::RST) {
            return Check::Stop(self.discard(cx, seg, DropReason::OutOfWindow));
        }
        if seg.hdr.flags.contains(Flags::SYN) {
            return Check::Stop(self.challenge(cx, seg));
        }
        // The last segment again, because our ACK was lost: the echo must be of this copy, or the peer takes
        // the whole wait for a round trip (RFC 7323 4.3 (2), which has no bound below for this reason).
        let ack = seg.hdr.ack;
        let genuine = seg.hdr.flags.contains(Flags::ACK)
            && ack.le(self.snd.nxt)
            && ack.ge(self.snd.una - self.snd.max_wnd);
        if genuine && seg.seg_end() == self.rcv.nxt {
            self.update_ts_recent(cx.now, seg);
        }
        self.answer_unacceptable(cx, seg);
        Check::Stop(self.discard(cx, seg, DropReason::OutOfWindow))
    }

    /// Whether text reaches across the right edge though something is unread. Linux takes nothing of such a segment, where
    /// RFC 9293 3.10.7.4 has it cut; while nothing is unread it takes all of it (Linux's `tcp_sequence`).
    fn crosses_the_edge(&self, cx: &Cx<'_>, seg: &Segment) -> bool {
        let text = seg.hdr.seq + seg.data.len() as u32;
        cx.config.profile == crate::Profile::Linux
            && self.rcv.wnd() > 0
            && text.gt(self.rcv.adv)
            && !self.rcv.buf.is_empty()
    }

    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, with a D-SACK for text that was received before. Empty
    /// segments are answered at a limited rate, so that two ends that disagree fall silent.
    fn answer_unacceptable(&mut self, cx: &mut Cx<'_>, seg: &Segment) {
        if seg.data.is_empty() && !seg.hdr.flags.contains(Flags::FIN) {
            if !self.may_answer_unwelcome(cx) {
                return;
            }
        } else if seg.hdr.seq.lt(self.rcv.nxt) {
            cx.stats.delayed_ack_lost += 1;
            self.rcv.enter_quick_ack(cx.config);
            let end = (seg.hdr.seq + seg.data.len() as u32).min(self.rcv.nxt);
            // As Linux: what ends where the last ACK stood counts as received, and so as acknowledged by this one.
            self.rcv.ack.pending |= self.rcv.as_linux && end.ge(self.rcv.last_ack_sent);
            self.note_dsack(cx, seg.hdr.seq, end);
        }
        self.rcv.ack.now = true;
        self.due.ack = Some(Why::DuplicateAck);
        self.due.output = true;
    }

    /// Second, the RST bit (RFC 5961 3.2).
    fn check_rst(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Check {
        if !seg.hdr.flags.contains(Flags::RST) {
            return Check::Pass;
        }
        if seg.hdr.seq != self.rcv.nxt {
            return Check::Stop(self.challenge(cx, seg));
        }
        let error = match self.state {
            State::SynReceived if !self.facts.passive => Some(Errno::ECONNREFUSED), // MUST-11: the stack drops a passive one
            State::CloseWait if cx.config.profile == crate::Profile::Linux => Some(Errno::EPIPE),
            State::Closing | State::LastAck => None,
            _ => Some(Errno::ECONNRESET),
        };
        Check::Stop(self.fail(cx, error, Event::RcvRst))
    }

    /// Fourth, the SYN bit (RFC 5961 4.2): a challenge, never a reset of ours. A child of Fast Open answers for its
    /// listener yet, on Linux as for any handshake with another SYN in it: with a RST, but it lives on.
    fn check_syn(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Check {
        if !seg.hdr.flags.contains(Flags::SYN) {
            return Check::Pass;
        }
        if self.is_open_early() && cx.config.profile == crate::Profile::Linux {
            let (seq, ack) = match seg.hdr.flags.contains(Flags::ACK) {
                true => (seg.hdr.ack, None),
                false => (SeqNum(0), Some(seg.hdr.seq + seg.seg_len())),
            };
            cx.stats.attempt_fails += 1;
            let mut out = self.discard(cx, seg, DropReason::WrongState);
            out.reply = Some(self.build_rst(cx, seq, ack));
            return Check::Stop(out);
        }
        cx.stats.tcp_syn_challenge += 1;
        Check::Stop(self.challenge(cx, seg))
    }

    fn check_ack_bit(&mut self, cx: &mut Cx<'_>, seg: &mut Segment) -> Check {
        if seg.hdr.flags.contains(Flags::ACK) {
            return Check::Pass;
        }
        Check::Stop(self.discard(cx, seg, DropReason::NoAck))
    }

    /// Fifth, the ACK field.
    fn check_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment, out: &mut Outcome) -> Check {
        let ack = seg.hdr.ack;
        if self.state == State::SynReceived {
            if !(ack.gt(self.snd.una) && ack.le(self.snd.nxt)) {
                let mut out = self.discard(cx, seg, DropReason::BadAck);
                out.reply = Some(self.build_rst(cx, ack, None));
                return Check::Stop(out);
            }
            self.snd.wl1 = seg.hdr.seq;
            self.snd.wl2 = ack;
            self.set_window(u32::from(seg.hdr.window) << self.snd.wscale);
            let _ = self.snd.acknowledge(self.snd.iss + 1);
            let _ = self.take_back_syn_data(ack); // of a SYN that crossed the peer's
            self.become_established(cx, Event::RcvAckOfSyn);
            out.established = true;
            out.ready |= Ready::OUT;
            if self.snd.fin_queued {
                self.step(cx, Event::Close);
            }
        }
        if ack.gt(self.snd.nxt) {
            // Something never sent: an ACK, and drop. On Linux it is a challenge, with text or without.
            if cx.config.profile == crate::Profile::Linux {
                return Check::Stop(self.challenge(cx, seg));
            }
            self.answer_unacceptable(cx, seg);
            return Check::Stop(self.discard(cx, seg, DropReason::BadAck));
        }
        let oldest = self.snd.una - self.snd.max_wnd.max(u32::from(u16::MAX) >> 1);
        let oldest = if cx.config.rfc5961_ack_check { self.snd.una - self.snd.max_wnd } else { oldest };
        if ack.lt(oldest) {
            return Check::Stop(self.challenge(cx, seg)); // RFC 5961 5.2
        }
        self.process_ack(cx, seg, out);
        if seg.hdr.options.user_timeout.is_some() {
            self.hear_user_timeout(&seg.hdr.options);
        }
        match self.state {
            State::FinWait1 if self.snd.fin_acked() => {
                self.step(cx, Event::RcvAckOfFin);
                self.enter_fin_wait_2(cx);
            }
            State::Closing if self.snd.fin_acked() => self.step(cx, Event::RcvAckOfFin),
            State::LastAck if self.snd.fin_acked() => {
                self.step(cx, Event::RcvAckOfFin);
                return Check::Stop(self.finish(cx));
            }
            _ => {}
        }
        Check::Pass
    }

    /// Seventh, the segment text (the sixth, URG, is in `urgent.rs`).
    fn check_text(&mut self, cx: &mut Cx<'_>, seg: &mut Segment, out: &mut Outcome) -> Check {
        let fin = seg.hdr.flags.contains(Flags::FIN);
        if seg.data.is_empty() && !fin {
            self.update_ts_recent(cx.now, seg);
            return Check::Pass;
        }
        if !self.state.can_receive() {
            // After the peer's FIN nothing more counts, and no ACK could say so; what comes again is acknowledged again.
            self.rcv.ack.now |= seg.hdr.seq.lt(self.rcv.nxt);
            return Check::Pass;
        }
        let end = seg.hdr.seq + seg.data.len() as u32;
        if self.orphan && end.gt(self.rcv.nxt) && !seg.data.is_empty() {
            // SHLD-3: data for a user who is gone.
            cx.stats.tcp_abort_on_data += 1;
            let rst = self.build_rst(cx, seg.hdr.ack, None);
            let mut out = self.fail(cx, None, Event::Abort);
            out.reply = Some(rst);
            out.ready = Ready::empty();
            return Check::Stop(out);
        }
        self.hear_ecn(cx, seg.hdr.flags, seg.tos, out);
        self.update_ts_recent(cx.now, seg);
        let now_fin = self.trim(cx, seg, fin);
        if now_fin && self.rcv.fin.is_none() {
            let end = seg.hdr.seq + seg.data.len() as u32;
            self.rcv.fin = Some(end);
            if (self.rcv.nxt + self.rcv.buf.ooo_end()).gt(end) {
                self.rcv.discard_ooo(); // text behind a FIN is nobody's
            }
        }
        if now_fin && self.fin_ack_may_wait(cx) {
            self.rcv.ack.pingpong = true;
        } else if self.rcv.waiting_fin().is_some() {
            self.rcv.ack.now = true; // RFC 5681 4.2: a gap is there, or filled by this
        }
        if !seg.data.is_empty() {
            self.queue_text(cx, seg, out);
        } else if fin && self.rcv.waiting_fin().is_some() {
            self.rcv.ack.now = true;
        }
        Check::Pass
    }

    /// Cuts off what lies before RCV.NXT, beyond the window, or behind the FIN; returns whether a FIN is left.
    fn trim(&mut self, cx: &mut Cx<'_>, seg: &mut Segment, mut fin: bool) -> bool {
        let start = seg.hdr.seq;
        if start.lt(self.rcv.nxt) {
            let old = self.rcv.nxt.since(start);
            if !seg.data.is_empty() {
                let end = (start + seg.data.len() as u32).min(self.rcv.nxt);
                self.note_dsack(cx, start, end);
                self.rcv.enter_quick_ack(cx.config);
            }
            seg.data.advance(old as usize);
            seg.hdr.seq = self.rcv.nxt;
            self.rcv.ack.now = true;
        }
        let mut edge = self.rcv.adv;
        if let Some(at) = self.rcv.fin {
            edge = edge.min(at);
        }
        let room = if edge.gt(seg.hdr.seq) { edge.since(seg.hdr.seq) as usize } else { 0 };
        // See `crosses_the_edge`.
        let whole = cx.config.profile == crate::Profile::Linux && self.rcv.fin.is_none() && room > 0;
        if seg.data.len() > room && !(whole && self.rcv.buf.is_empty()) {
            seg.data.truncate(room);
            fin = false;
            self.rcv.ack.now = true;
        }
        fin
    }

    /// Puts text into the RX buffer and decides how soon it is acknowledged.
    fn queue_text(&mut self, cx: &mut Cx<'_>, seg: &mut Segment, out: &mut Outcome) {
        let len = seg.data.len() as u32;
        let segments = seg.segments();
        let start = seg.hdr.seq;
        let offset = start.since(self.rcv.nxt);
        let had_gap = self.rcv.buf.has_ooo();
        self.counters.data_segs_in += segments;
        let each = if seg.gso_size == 0 { len } else { u32::from(seg.gso_size).min(len) };
        let header = seg.hdr.wire_len() as u32;
        let packet = len + header + u32::from(self.ip_header_len());
        let sized = rcv::Sized { text: len, each, header, packet };
        let limit = self.rcv.capacity as usize * 2;
        let inserted = self.rcv.buf.insert(offset, core::mem::take(&mut seg.data), limit);
        let fixed = self.options.rcvbuf.is_some();
        if offset == 0 {
            self.rcv.take_size(cx.config, fixed, &sized, seg.hdr.flags);
            self.rcv.gap_closed(inserted.advanced.saturating_sub(len));
        } else {
            let how = (inserted, seg.hdr.flags, self.agreed.sack);
            self.rcv.take_size_ahead(cx.config, &sized, start, how);
        }
        if let Some((from, to)) = inserted.duplicate {
            let base = self.rcv.nxt;
            cx.stats.tcp_dsack_ofo_sent += 1;
            self.set_dsack(cx, base + from, base + to);
        }
        if inserted.pruned > 0 {
            cx.stats.ofo_pruned += 1;
            cx.stats.tcp_ofo_drop += u64::from(inserted.pruned);
        }
        if offset > 0 {
            cx.stats.tcp_ofo_queue += u64::from(segments);
            self.counters.rcv_ooopack += segments;
            self.rcv.ack.now = true; // RFC 5681 4.2
            self.rcv.ack.pingpong &= self.rcv.as_linux;
        }
        if inserted.advanced > 0 {
            self.rcv.nxt += inserted.advanced;
            self.rcv.adv = self.rcv.adv.max(self.rcv.nxt);
            self.counters.bytes_received += u64::from(inserted.advanced);
            let keeps = cx.config.profile == crate::Profile::Linux
                && !self.orphan
                && self.rcv.buf.len() as u32 <= self.rcv.capacity / 2;
            if self.rcv.shut && !keeps {
                // SHUT_RD: acknowledged and gone (on Linux it may still be read, as far as there is room for it), so that the peer is not stalled.
                let unread = self.rcv.buf.discard_in_order();
                self.rcv.drained(unread);
            } else if self.rcv.buf.len() >= self.low_water() || self.rcv.fin.is_some() {
                out.ready |= Ready::IN;
            }
            self.rcv.sample_rtt(cx.now);
            self.sample_echo(cx.now, &seg.hdr, len);
        }
        if had_gap || inserted.filled_gap {
            self.rcv.ack.now = true;
        }
        self.schedule_ack(cx, &sized, offset > 0);
    }

    /// Eighth, the FIN bit: only once all before it has arrived.
    fn check_fin(&mut self, cx: &mut Cx<'_>, out: &mut Outcome) {
        if self.rcv.fin != Some(self.rcv.nxt) || !self.state.can_receive() {
            return;
        }
        self.rcv.nxt += 1;
        if self.rcv.adv.lt(self.rcv.nxt) {
            self.rcv.adv = self.rcv.nxt;
        }
        if self.fin_ack_may_wait(cx) && self.rcv.ack.ato > 0 {
            self.delay_ack(cx);
        } else {
            self.rcv.ack.now = true;
        }
        self.rcv.discard_ooo();
        out.ready |= Ready::IN | Ready::RDHUP;
        if self.snd.fin_queued {
            out.ready |= Ready::HUP;
        }
        self.step(cx, Event::RcvFin);
    }

    /// Linux takes the first FIN for a sign that an answer follows soon, which may carry the ACK.
    fn fin_ack_may_wait(&self, cx: &Cx<'_>) -> bool {
        cx.config.profile == crate::Profile::Linux && self.state == State::Established
    }

    /// RFC 7323 4.3: TS.Recent follows segments that begin at or before Last.ACK.sent.
    fn update_ts_recent(&mut self, now: Instant, seg: &Segment) {
        if let Some(ts) = seg.hdr.options.timestamps {
            self.take_ts(now, ts.val, seg.hdr.seq);
        }
    }

    /// The same of a TSval on a segment that begins at `seq`.
    #[inline]
    pub(super) fn take_ts(&mut self, now: Instant, val: u32, seq: SeqNum) {
        let newer = (val.wrapping_sub(self.rcv.ts_recent) as i32) >= 0;
        let now_secs = now.as_secs() as u32;
        let stale = now_secs.wrapping_sub(self.rcv.ts_recent_age) > PAWS_IDLE;
        if (newer || stale) && seq.le(self.rcv.last_ack_sent) {
            self.rcv.ts_recent = val;
            self.rcv.ts_recent_age = now_secs;
        }
    }

    // ---- answers ----

    /// Counts a segment that has no effect, with its reason.
    fn discard(&mut self, cx: &mut Cx<'_>, seg: &Segment, reason: DropReason) -> Outcome {
        if cx.trace.on() {
            self.record(cx, What::Dropped { reason, seq: Some(seg.hdr.seq) });
        }
        Outcome::default()
    }

    /// Whether a segment that is not wanted may be answered: once in `tcp_invalid_ratelimit`.
    pub(super) fn may_answer_unwelcome(&mut self, cx: &mut Cx<'_>) -> bool {
        let last = &mut self.challenge.get_or_insert_default().oow_at;
        if *last != Instant::ZERO && cx.now.since(*last) < cx.config.invalid_ratelimit {
            cx.stats.tcp_ack_skipped += 1;
            return false;
        }
        *last = cx.now;
        true
    }

    /// A challenge ACK (RFC 5961 7), at most ten a second on one connection.
    fn challenge(&mut self, cx: &mut Cx<'_>, seg: &Segment) -> Outcome {
        // As Linux: one limit for all of a connection's unwelcome segments.
        if cx.config.profile == crate::Profile::Linux && !self.may_answer_unwelcome(cx) {
            return self.discard(cx, seg, DropReason::Challenged);
        }
        let limit = self.challenge.get_or_insert_default();
        if limit.sent == 0 || cx.now.since(limit.since) >= Duration::from_secs(1) {
            limit.since = cx.now;
            limit.sent = 0;
        }
        if limit.sent < CHALLENGES_PER_SECOND {
            limit.sent += 1;
            cx.stats.tcp_challenge_ack += 1;
            self.rcv.ack.now = true;
            self.due.ack = Some(Why::ChallengeAck);
            self.due.output = true;
        } else {
            cx.stats.tcp_ack_skipped += 1;
        }
        self.discard(cx, seg, DropReason::Challenged)
    }

    fn note_dsack(&mut self, cx: &mut Cx<'_>, start: SeqNum, end: SeqNum) {
        if end.gt(start) {
            cx.stats.tcp_dsack_old_sent += 1;
            self.set_dsack(cx, start, end);
        }
    }

    /// RFC 2883 4: each duplicate is reported once, and only the first of a segment.
    fn set_dsack(&mut self, cx: &Cx<'_>, start: SeqNum, end: SeqNum) {
        if self.agreed.sack && cx.config.dsack && self.rcv.dsack.is_none() {
            self.rcv.dsack = Some((start, end));
            self.rcv.ack.now = true;
            self.due.ack = Some(Why::DuplicateAck);
        }
    }
}
