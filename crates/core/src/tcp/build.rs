//! Segments from decisions: headers and options of what is to be sent. Nothing here decides anything.

use super::*;
use crate::branch::{cold, unlikely};
use crate::wire::md5;
use crate::wire::tcp::{Flags, Header, MAX_INLINE, SackBlock, SackList, Timestamps};

impl Connection {
    /// What every segment of this connection has: ports, ACK, window, timestamps, SACK; and what IP is told.
    #[inline]
    fn begin(&mut self, cx: &mut Cx<'_>, seq: SeqNum, flags: Flags, why: Why, out: &mut Outgoing) {
        self.begin_bare(cx, why, out);
        let hdr = &mut out.hdr;
        if self.agreed.timestamps {
            hdr.options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr: self.rcv.ts_recent });
        }
        if self.rcv.dsack.is_some() || self.rcv.has_gap() {
            hdr.options.sack = self.sack_list();
        }
        if self.due.user_timeout {
            hdr.options.user_timeout = self.announced_timeout();
            self.due.user_timeout = false;
        }
        self.begin_window(cx, seq, flags, hdr);
        out.tos |= self.echo_ecn(cx, hdr);
    }

    /// [`Connection::begin`] of a segment of [`Connection::text_alone`].
    #[inline(always)]
    pub(super) fn begin_alone(&mut self, cx: &mut Cx<'_>, seq: SeqNum, out: &mut Outgoing) {
        self.begin_bare(cx, Why::Data, out);
        if self.agreed.timestamps {
            out.hdr.options.timestamps =
                Some(Timestamps { val: self.tsval(cx.now), ecr: self.rcv.ts_recent });
        }
        self.begin_window(cx, seq, Flags::ACK | Flags::PSH, &mut out.hdr);
    }

    /// Numbers, control bits and the window to announce.
    #[inline(always)]
    fn begin_window(&mut self, cx: &mut Cx<'_>, seq: SeqNum, flags: Flags, hdr: &mut Header) {
        let was_zero = self.rcv.adv == self.rcv.last_ack_sent && self.rcv.last_ack_sent != self.rcv.irs;
        let window = self.advance_window(cx);
        if unlikely(window == 0) && !was_zero {
            cx.stats.tcp_to_zero_window_adv += 1;
        } else if window != 0 && unlikely(was_zero) {
            cx.stats.tcp_from_zero_window_adv += 1;
        }
        hdr.seq = seq;
        hdr.ack = self.rcv.nxt;
        hdr.flags = flags;
        hdr.window = window;
    }

    /// Ports, and what IP is told. `out` may be that of an earlier segment, whose text was taken.
    #[inline(always)]
    fn begin_bare(&self, cx: &Cx<'_>, why: Why, out: &mut Outgoing) {
        debug_assert!(out.data.is_empty());
        let hdr = &mut out.hdr;
        hdr.src_port = self.tuple.local.port();
        hdr.dst_port = self.tuple.remote.port();
        hdr.urgent = 0;
        hdr.options.clear();
        if unlikely(self.options.md5.is_some()) {
            hdr.options.signature = self.md5_key().map(|_| [0; md5::DIGEST]);
        }
        out.held = 0;
        out.lean = false;
        out.gso_size = 0;
        out.tos = self.options.tos & !3;
        out.ttl = self.options.ttl.unwrap_or(cx.config.default_ttl).max(1);
        out.dont_fragment = self.options.pmtu_discovery.unwrap_or(cx.config.pmtu_discovery);
        out.why = why;
    }

    /// The blocks to report: the D-SACK first (RFC 2883 4), then as RFC 2018 4 orders them.
    fn sack_list(&self) -> SackList {
        let mut list = SackList::new();
        if !self.agreed.sack {
            return list;
        }
        let max = match (self.agreed.timestamps, self.md5_key().is_some()) {
            (false, false) => 4,
            (true, false) => 3,
            (false, true) => 2,
            (true, true) => return list,
        };
        if let Some((left, right)) = self.rcv.dsack {
            list.push(SackBlock { left, right });
        }
        // A FIN beyond a gap takes its place in the sequence space as text does.
        let mut fin = self.rcv.waiting_fin();
        for (left, right) in self.rcv.buf.sack_blocks(max) {
            let mut right = self.rcv.nxt + right;
            if fin == Some(right) {
                fin = None;
                right += 1;
            }
            list.push(SackBlock { left: self.rcv.nxt + left, right });
        }
        if let Some(left) = fin {
            list.push(SackBlock { left, right: left + 1 });
        }
        list.truncate(max);
        list
    }

    /// Takes the window to announce into effect and returns it as it stands on the wire.
    #[inline(always)]
    fn advance_window(&mut self, cx: &Cx<'_>) -> u16 {
        let mut window = self.rcv.choose_window().min(65_535 << self.rcv.wscale);
        if unlikely(cx.pressure) {
            // The edge stays where it is, or goes no further than the least buffer.
            let unit = 1 << self.rcv.wscale;
            let least = self.rcv.wnd().max(cx.config.rmem[0]);
            window = window.min(least.div_ceil(unit) * unit);
        }
        let edge = self.rcv.nxt + window;
        if edge.gt(self.rcv.adv) {
            self.rcv.adv = edge;
        }
        (window >> self.rcv.wscale) as u16
    }

    /// The window as a TIME-WAIT entry repeats it.
    pub(super) fn wire_window(&self) -> u16 {
        (self.rcv.select_window() >> self.rcv.wscale).min(65_535) as u16
    }

    /// Counts, records and completes a segment on its way out.
    #[inline]
    fn leave(&mut self, cx: &mut Cx<'_>, out: &Outgoing) {
        let segments = segment::segments(out.text_len(), out.gso_size);
        self.counters.segs_out += segments;
        let len = out.text_len() as u64;
        // A tail loss probe may be new data (RFC 8985 7.3).
        let again = out.why.is_retransmission() || (out.why == Why::Tlp && out.hdr.seq.lt(self.snd.nxt));
        if again {
            cx.stats.retrans_segs += u64::from(segments);
            self.counters.total_retrans += segments;
            self.counters.bytes_retrans += len;
        } else {
            cx.stats.out_segs += u64::from(segments);
        }
        if len > 0 {
            self.counters.data_segs_out += segments;
            self.counters.bytes_sent += len;
            self.counters.last_data_sent = cx.now;
            if self.paced {
                self.note_paced(cx, len as u32);
            }
        }
        if out.hdr.flags.contains(Flags::RST) {
            cx.stats.out_rsts += 1;
        }
        if cx.trace.on() {
            self.record_sent(cx, out);
        }
        if out.hdr.flags.contains(Flags::ACK) && !out.hdr.flags.contains(Flags::RST) {
            self.ack_sent();
        }
    }

    /// [`Connection::leave`] of a segment of [`Connection::text_alone`].
    #[inline(always)]
    pub(super) fn leave_alone(&mut self, cx: &mut Cx<'_>, len: u32, out: &Outgoing) {
        let counters = &mut self.counters;
        counters.segs_out += 1;
        counters.data_segs_out += 1;
        counters.bytes_sent += u64::from(len);
        counters.last_data_sent = cx.now;
        cx.stats.out_segs += 1;
        if cx.trace.on() {
            self.record_sent(cx, out);
        }
        self.ack_sent();
    }

    #[cold]
    fn record_sent(&self, cx: &mut Cx<'_>, out: &Outgoing) {
        let what = What::Sent {
            header: out.hdr,
            len: out.text_len() as u32,
            gso_size: out.gso_size,
            why: out.why,
            state: self.state,
        };
        self.record(cx, what);
    }

    /// <SEQ=ISS><CTL=SYN>, or SYN,ACK in a simultaneous open.
    pub(super) fn build_syn(&mut self, cx: &mut Cx<'_>, out: &mut Outgoing) {
        let answering = self.state == State::SynReceived;
        let ecn = if answering { self.ecn_of_syn_ack() } else { self.ecn_of_syn(cx.config) };
        let flags = if answering { Flags::SYN | Flags::ACK } else { Flags::SYN } | ecn;
        let window = open::initial_window(self.rcv.free(), self.rcv.advmss);
        let why = if self.retries > 0 {
            Why::RetransmitRto
        } else if answering {
            Why::SynAck
        } else {
            Why::Syn
        };
        self.begin_bare(cx, why, out);
        let options = &mut out.hdr.options;
        options.mss = Some(self.rcv.advmss);
        options.window_scale = self.agreed.window_scaling.then_some(self.rcv.wscale);
        options.sack_permitted = self.agreed.sack;
        options.user_timeout = self.announced_timeout();
        if self.agreed.timestamps {
            let ecr = if answering { self.rcv.ts_recent } else { 0 };
            options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr });
        }
        out.data = self.dress_syn(options);
        let hdr = &mut out.hdr;
        hdr.seq = self.snd.iss;
        hdr.ack = if answering { self.rcv.nxt } else { SeqNum(0) };
        hdr.flags = flags;
        hdr.window = window;
        // What an earlier SYN carried may still be acknowledged.
        self.snd.nxt = self.snd.nxt.max(self.snd.iss + 1 + out.data.len() as u32);
        if answering {
            self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + u32::from(window));
        }
        self.leave(cx, out);
    }

    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
    pub(super) fn build_ack(&mut self, cx: &mut Cx<'_>, why: Why, out: &mut Outgoing) {
        let why = self.due.ack.unwrap_or(why);
        self.begin(cx, self.snd.nxt, Flags::ACK, why, out);
        self.mark_urgent(&mut out.hdr);
        self.tell_marks(&mut out.hdr);
        self.leave(cx, out);
    }

    /// A probe of the window or of the peer's life: <SEQ=SND.UNA-1>, no new sequence number (SHLD-12), or
    /// one garbage octet (MAY-6).
    pub(super) fn build_probe(&mut self, cx: &mut Cx<'_>, why: Why, out: &mut Outgoing) {
        self.begin(cx, self.snd.una - 1, Flags::ACK, why, out);
        self.mark_urgent(&mut out.hdr);
        if why == Why::KeepAlive && cx.config.keepalive_garbage {
            out.data.push(bytes::Bytes::from_static(&[0]));
        }
        self.leave(cx, out);
    }

    /// <SEQ=seq><CTL=RST>, with <ACK=ack> if there is one.
    pub(super) fn build_rst(&mut self, cx: &mut Cx<'_>, seq: SeqNum, ack: Option<SeqNum>) -> Box<Outgoing> {
        let mut rst = Box::<Outgoing>::default();
        self.begin_bare(cx, Why::Rst, &mut rst);
        let hdr = &mut rst.hdr;
        if self.agreed.timestamps && self.state.is_synchronized() {
            hdr.options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr: self.rcv.ts_recent });
        }
        hdr.seq = seq;
        hdr.ack = ack.unwrap_or_default();
        hdr.flags = if ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        hdr.window = 0;
        self.leave(cx, &rst);
        rst
    }

    /// Text `[seq, seq + len)`, with FIN, or PSH at its end, if `ends` says so: a segment or super-segment.
    #[inline]
    pub(super) fn build_text(
        &mut self,
        cx: &mut Cx<'_>,
        (seq, len, ends): (SeqNum, u32, Flags),
        why: Why,
        out: &mut Outgoing,
    ) {
        let mut flags = Flags::ACK | ends;
        // MUST-61: PSH on the segment that empties the queue.
        let ends_record = self.record_left() == Some(len) && seq == self.snd.nxt;
        if len > 0 && ((seq + len == self.snd.end() && !self.snd.more) || ends_record) {
            flags |= Flags::PSH;
        }
        self.begin(cx, seq, flags, why, out);
        let hdr = &mut out.hdr;
        self.mark_urgent(hdr);
        self.skip_reflection();
        out.tos |= self.mark_ecn(hdr, len, why);
        // What is short is copied behind the headers, without a detour.
        if len as usize <= MAX_INLINE {
            out.held = len as u8;
        } else {
            out.data = self.snd.text(seq, len as usize);
        }
        // Options take less than 64 bytes of a segment.
        let mss = self.bounded_mss(cx);
        if len + 64 > mss && why != Why::MtuProbe {
            let most = segment_text(mss, &out.hdr);
            out.gso_size = if len > most { most as u16 } else { 0 };
        }
        if cx.config.push_each_burst && (out.gso_size != 0 || (self.due.push && len > 0)) {
            // As Linux: the end of a burst is pushed, so that the peer's GRO hands it up at once, and what the
            // persist timer squeezes into a small window.
            out.hdr.flags |= Flags::PSH;
        }
        self.leave(cx, out);
    }

    /// Fetches the text of a segment of [`Connection::transmit_into`] by reference.
    pub(crate) fn fill(&mut self, out: &mut Outgoing) {
        let held = core::mem::take(&mut out.held);
        out.lean = false;
        if held > 0 {
            out.data = self.snd.text(out.hdr.seq, usize::from(held));
        }
    }

    /// Copies sent text from `seq` on; SND.UNA has not passed it.
    #[inline(always)]
    pub(crate) fn copy_text(&self, seq: SeqNum, out: &mut [u8]) {
        let copied = self.snd.buf.copy_to(seq.since(self.snd.buf_seq) as usize, out);
        debug_assert_eq!(copied, out.len());
    }

    /// Bytes of text in a full segment now, with the SACK blocks that are due.
    pub(super) fn text_per_segment(&self, cx: &Cx<'_>) -> u32 {
        let mut sack = 0;
        if self.agreed.sack && (self.rcv.dsack.is_some() || self.rcv.has_gap()) {
            let blocks = self.sack_list().as_slice().len() as u32;
            sack = if blocks == 0 { 0 } else { 4 + 8 * blocks };
        }
        let timeout = if self.announced_timeout().is_some() { 4 } else { 0 };
        let marks = if self.ecn.accurate.is_some() { self.len_of_next_marks(cx) } else { 0 };
        self.bounded_mss(cx).saturating_sub(sack + timeout + marks).max(1)
    }

    /// What accurate ECN adds to the options of the next segment.
    #[cold]
    fn len_of_next_marks(&self, cx: &Cx<'_>) -> u32 {
        let mut options = crate::wire::tcp::Options {
            timestamps: self.agreed.timestamps.then_some(Timestamps { val: 0, ecr: 0 }),
            signature: self.md5_key().map(|_| [0; md5::DIGEST]),
            user_timeout: self.announced_timeout(),
            ..Default::default()
        };
        if self.rcv.dsack.is_some() || self.rcv.has_gap() {
            options.sack = self.sack_list();
        }
        self.len_of_bytes(cx, &options)
    }

    /// The MSS, and under the `linux` profile not above half the largest window ever announced, however tiny
    /// (`tcp_bound_to_half_wnd`): a peer with room for two segments can acknowledge the first.
    #[inline]
    pub(super) fn bounded_mss(&self, cx: &Cx<'_>) -> u32 {
        const TINY: u32 = 536;
        const LEAST: u32 = 48;
        let mss = u32::from(self.mss);
        if self.snd.max_wnd >= 2 * mss || cx.config.profile != crate::Profile::Linux || self.snd.max_wnd == 0
        {
            return mss;
        }
        cold();
        let most = if self.snd.max_wnd > TINY { self.snd.max_wnd / 2 } else { self.snd.max_wnd };
        mss.min(most.max(LEAST))
    }

    /// MUST-62, MUST-31: the pointer names the octet after the last urgent one, however far ahead.
    fn mark_urgent(&self, hdr: &mut Header) {
        if self.snd.urgent && self.snd.up.gt(hdr.seq) {
            hdr.flags |= Flags::URG;
            hdr.urgent = self.snd.up.since(hdr.seq).min(65_535) as u16;
        }
    }
}

/// Bytes of text of a segment of `mss` that fit beside the options of this header (MUST-16).
fn segment_text(mss: u32, hdr: &Header) -> u32 {
    let sack = hdr.options.sack.as_slice().len() as u32;
    let sack = if sack == 0 { 0 } else { 4 + 8 * sack };
    let timeout = if hdr.options.user_timeout.is_some() { 4 } else { 0 };
    let marks = match hdr.options.accurate_ecn {
        None => 0,
        Some(_) => (hdr.options.wire_len() - hdr.options.len_without_accurate_ecn()) as u32,
    };
    mss.saturating_sub(sack + timeout + marks).max(1)
}
