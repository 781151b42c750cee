//! Segments from decisions: headers and options of what is to be sent. Nothing here decides anything.

use super::*;
use crate::packet::Payload;
use crate::wire::tcp::{
    Flags, Header, MAX_INLINE, Options as SegmentOptions, SackBlock, SackList, Timestamps,
};

impl Connection {
    /// A header with what every segment of this connection has: ports, ACK, window, timestamps, SACK.
    #[inline]
    fn header(&mut self, cx: &mut Cx<'_>, seq: SeqNum, flags: Flags) -> Header {
        let mut options = SegmentOptions::default();
        if self.agreed.timestamps {
            options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr: self.rcv.ts_recent });
        }
        if self.rcv.dsack.is_some() || self.rcv.has_gap() {
            options.sack = self.sack_list();
        }
        if self.due.user_timeout {
            options.user_timeout = self.announced_timeout();
            self.due.user_timeout = false;
        }
        let was_zero = self.rcv.adv == self.rcv.last_ack_sent && self.rcv.last_ack_sent != self.rcv.irs;
        let window = self.advance_window(cx);
        if window == 0 && !was_zero {
            cx.stats.tcp_to_zero_window_adv += 1;
        } else if window != 0 && was_zero {
            cx.stats.tcp_from_zero_window_adv += 1;
        }
        let mut hdr = Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq,
            ack: self.rcv.nxt,
            flags,
            window,
            urgent: 0,
            options,
        };
        self.echo_ecn(&mut hdr);
        hdr
    }

    /// The blocks to report: the D-SACK first (RFC 2883 4), then as RFC 2018 4 orders them.
    fn sack_list(&self) -> SackList {
        let mut list = SackList::new();
        if !self.agreed.sack {
            return list;
        }
        let max = if self.agreed.timestamps { 3 } else { 4 };
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
    fn advance_window(&mut self, cx: &Cx<'_>) -> u16 {
        let mut window = self.rcv.select_window().min(65_535 << self.rcv.wscale);
        if cx.pressure {
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

    #[inline(always)]
    fn outgoing(&self, cx: &Cx<'_>, hdr: Header, data: Payload, gso_size: u16, why: Why) -> Outgoing {
        Outgoing {
            hdr,
            data,
            held: 0,
            gso_size,
            tos: self.options.tos & !3,
            ttl: self.options.ttl.unwrap_or(cx.config.default_ttl).max(1),
            dont_fragment: self.options.pmtu_discovery.unwrap_or(cx.config.pmtu_discovery),
            why,
        }
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
            let what = What::Sent {
                header: out.hdr,
                len: out.text_len() as u32,
                gso_size: out.gso_size,
                why: out.why,
                state: self.state,
            };
            self.record(cx, what);
        }
        if out.hdr.flags.contains(Flags::ACK) && !out.hdr.flags.contains(Flags::RST) {
            self.ack_sent();
        }
    }

    /// <SEQ=ISS><CTL=SYN>, or SYN,ACK in a simultaneous open.
    pub(super) fn build_syn(&mut self, cx: &mut Cx<'_>) -> Outgoing {
        let answering = self.state == State::SynReceived;
        let ecn = if answering { self.ecn_of_syn_ack() } else { self.ecn_of_syn(cx.config) };
        let flags = if answering { Flags::SYN | Flags::ACK } else { Flags::SYN } | ecn;
        let window = open::initial_window(self.rcv.free(), self.rcv.advmss);
        let mut options = SegmentOptions {
            mss: Some(self.rcv.advmss),
            window_scale: self.agreed.window_scaling.then_some(self.rcv.wscale),
            sack_permitted: self.agreed.sack,
            user_timeout: self.announced_timeout(),
            ..SegmentOptions::default()
        };
        if self.agreed.timestamps {
            let ecr = if answering { self.rcv.ts_recent } else { 0 };
            options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr });
        }
        let data = self.dress_syn(&mut options);
        let hdr = Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq: self.snd.iss,
            ack: if answering { self.rcv.nxt } else { SeqNum(0) },
            flags,
            window,
            urgent: 0,
            options,
        };
        let why = if self.retries > 0 {
            Why::RetransmitRto
        } else if answering {
            Why::SynAck
        } else {
            Why::Syn
        };
        // What an earlier SYN carried may still be acknowledged.
        self.snd.nxt = self.snd.nxt.max(self.snd.iss + 1 + data.len() as u32);
        if answering {
            self.rcv.adv = self.rcv.adv.max(self.rcv.nxt + u32::from(window));
        }
        let out = self.outgoing(cx, hdr, data, 0, why);
        self.leave(cx, &out);
        out
    }

    /// <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.
    pub(super) fn build_ack(&mut self, cx: &mut Cx<'_>, why: Why) -> Outgoing {
        let why = self.due.ack.unwrap_or(why);
        let mut hdr = self.header(cx, self.snd.nxt, Flags::ACK);
        self.mark_urgent(&mut hdr);
        self.tell_marks(&mut hdr);
        let out = self.outgoing(cx, hdr, Payload::new(), 0, why);
        self.leave(cx, &out);
        out
    }

    /// A probe of the window or of the peer's life: <SEQ=SND.UNA-1>, no new sequence number (SHLD-12), or
    /// one garbage octet (MAY-6).
    pub(super) fn build_probe(&mut self, cx: &mut Cx<'_>, why: Why) -> Outgoing {
        let mut hdr = self.header(cx, self.snd.una - 1, Flags::ACK);
        self.mark_urgent(&mut hdr);
        let mut data = Payload::new();
        if why == Why::KeepAlive && cx.config.keepalive_garbage {
            data.push(bytes::Bytes::from_static(&[0]));
        }
        let out = self.outgoing(cx, hdr, data, 0, why);
        self.leave(cx, &out);
        out
    }

    /// <SEQ=seq><CTL=RST>, with <ACK=ack> if there is one.
    pub(super) fn build_rst(&mut self, cx: &mut Cx<'_>, seq: SeqNum, ack: Option<SeqNum>) -> Outgoing {
        let flags = if ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        let mut options = SegmentOptions::default();
        if self.agreed.timestamps && self.state.is_synchronized() {
            options.timestamps = Some(Timestamps { val: self.tsval(cx.now), ecr: self.rcv.ts_recent });
        }
        let hdr = Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq,
            ack: ack.unwrap_or_default(),
            flags,
            window: 0,
            urgent: 0,
            options,
        };
        let out = self.outgoing(cx, hdr, Payload::new(), 0, Why::Rst);
        self.leave(cx, &out);
        out
    }

    /// Text `[seq, seq + len)`, and the FIN if `fin`: a segment or super-segment.
    #[inline]
    pub(super) fn build_text(
        &mut self,
        cx: &mut Cx<'_>,
        seq: SeqNum,
        len: u32,
        fin: bool,
        why: Why,
    ) -> Outgoing {
        let mut flags = Flags::ACK;
        if fin {
            flags |= Flags::FIN;
        }
        // MUST-61: PSH on the segment that empties the queue.
        if len > 0 && seq + len == self.snd.end() && !self.snd.more {
            flags |= Flags::PSH;
        }
        let mut hdr = self.header(cx, seq, flags);
        self.mark_urgent(&mut hdr);
        self.skip_reflection();
        let ecn = self.mark_ecn(&mut hdr, len, why);
        // What is short is copied behind the headers, without a detour.
        let short = len as usize <= MAX_INLINE;
        let data = if short { Payload::new() } else { self.snd.text(seq, len as usize) };
        let whole = why == Why::MtuProbe;
        let gso_size =
            if len > self.segment_text(&hdr) && !whole { self.segment_text(&hdr) as u16 } else { 0 };
        if cx.config.push_each_burst && (gso_size != 0 || (self.due.push && len > 0)) {
            // As Linux: the end of a burst is pushed, so that the peer's GRO hands it up at once, and what the
            // persist timer squeezes into a small window.
            hdr.flags |= Flags::PSH;
        }
        let mut out = self.outgoing(cx, hdr, data, gso_size, why);
        out.tos |= ecn;
        out.held = if short { len as u8 } else { 0 };
        self.leave(cx, &out);
        out
    }

    /// Fetches the text of a segment of [`Connection::transmit_held`] by reference.
    pub(crate) fn fill(&mut self, out: &mut Outgoing) {
        let held = core::mem::take(&mut out.held);
        if held > 0 {
            out.data = self.snd.text(out.hdr.seq, usize::from(held));
        }
    }

    /// Copies sent text from `seq` on; SND.UNA has not passed it.
    #[inline]
    pub(crate) fn copy_text(&self, seq: SeqNum, out: &mut [u8]) {
        let copied = self.snd.buf.copy_to(seq.since(self.snd.buf_seq) as usize, out);
        debug_assert_eq!(copied, out.len());
    }

    /// Bytes of text that fit beside the options of this header (MUST-16).
    fn segment_text(&self, hdr: &Header) -> u32 {
        let sack = hdr.options.sack.as_slice().len() as u32;
        let sack = if sack == 0 { 0 } else { 4 + 8 * sack };
        let timeout = if hdr.options.user_timeout.is_some() { 4 } else { 0 };
        u32::from(self.mss).saturating_sub(sack + timeout).max(1)
    }

    /// Bytes of text in a full segment now, with the SACK blocks that are due.
    pub(super) fn text_per_segment(&self) -> u32 {
        let mut sack = 0;
        if self.agreed.sack && (self.rcv.dsack.is_some() || self.rcv.has_gap()) {
            let blocks = self.sack_list().as_slice().len() as u32;
            sack = if blocks == 0 { 0 } else { 4 + 8 * blocks };
        }
        let timeout = if self.announced_timeout().is_some() { 4 } else { 0 };
        u32::from(self.mss).saturating_sub(sack + timeout).max(1)
    }

    /// MUST-62, MUST-31: the pointer names the octet after the last urgent one, however far ahead.
    fn mark_urgent(&self, hdr: &mut Header) {
        if self.snd.urgent && self.snd.up.gt(hdr.seq) {
            hdr.flags |= Flags::URG;
            hdr.urgent = self.snd.up.since(hdr.seq).min(65_535) as u16;
        }
    }
}
