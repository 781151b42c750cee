//! Header prediction: the segment that nearly every segment is. In ESTABLISHED it begins at RCV.NXT, carries
//! the next text or none, acknowledges what was sent in order and sent once, and asks for nothing else.
//!
//! It is dealt with in one go here, to the same effect as by the steps of `input.rs`, which take whatever is
//! not predicted.

use super::recovery::QuietAck;
use super::timer::Timer;
use super::*;
use crate::branch::{cold, unlikely};
use crate::packet::{Packet, Payload};
use crate::wire::tcp::{Flags, Header};

/// A segment where it lies.
#[derive(Debug)]
pub(crate) struct Arriving<'a> {
    /// Its header and options.
    pub hdr: &'a Header,
    /// Its text, which is taken out only if the segment is predicted.
    pub text: Text<'a>,
    /// Text bytes of each segment that this super-segment stands for; 0 if it is one segment.
    pub gso_size: u16,
    /// Traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// The text of a segment.
#[derive(Debug)]
pub(crate) enum Text<'a> {
    /// In the packet's head.
    Inline(&'a [u8]),
    /// By reference.
    Slices(&'a mut Payload),
    /// In a packet, from so many bytes on, so many.
    Packet(&'a mut Packet, usize, usize),
}

impl Text<'_> {
    #[inline]
    fn len(&self) -> u32 {
        match self {
            Text::Packet(_, _, len) => *len as u32,
            Text::Inline(bytes) => {
                cold();
                bytes.len() as u32
            }
            Text::Slices(payload) => {
                cold();
                payload.len() as u32
            }
        }
    }
}

impl Connection {
    /// Takes a predicted segment and returns the readiness that it raises; `None`, and nothing has changed, if
    /// it is not one.
    pub(crate) fn predict(&mut self, cx: &mut Cx<'_>, seg: Arriving<'_>) -> Option<Ready> {
        let hdr = seg.hdr;
        let len = seg.text.len();
        if !self.is_predicted(hdr, len, &seg) {
            return None;
        }
        let una = self.snd.una;
        let advanced = hdr.ack != una;
        if advanced {
            let own = self.own_rules(cx);
            let rules = own.as_ref().unwrap_or(cx.rules);
            let flight = self.flight.as_mut()?;
            let ack = QuietAck {
                ack: hdr.ack,
                snd_una: una,
                snd_nxt: self.snd.nxt,
                sack_enabled: self.agreed.sack,
            };
            if !flight.on_quiet_ack(cx.now, &ack, &mut self.rtt, &mut self.cc, &mut self.persist, rules) {
                return None;
            }
        } else if self.flight.is_some() {
            return None; // a duplicate, or data that crossed ours
        }
        if cx.trace.on() {
            self.record_predicted(cx, hdr, len, seg.gso_size);
        }
        let segments = segment::segments(len as usize, seg.gso_size);
        self.counters.segs_in += segments;
        self.rcv_tos = seg.tos;
        self.update_window(hdr.seq, hdr.ack, u32::from(hdr.window) << self.snd.wscale);
        self.counters.last_ack_recv = cx.now;
        self.keepalive_probes = 0;
        self.grow_send_buffer(cx.config);
        let mut ready = Ready::empty();
        if advanced {
            ready = self.take_predicted_ack(cx, hdr.ack);
        }
        if let Some(ts) = hdr.options.timestamps
            && self.agreed.timestamps
        {
            self.take_ts(cx.now, ts.val, hdr.seq);
        }
        if len == 0 {
            cold();
            cx.stats.tcp_pure_acks += 1;
            cx.stats.tcp_hp_acks += 1;
        } else {
            cx.stats.tcp_hp_hits += 1;
            ready |= self.take_predicted_text(cx, seg, len, segments);
        }
        self.due.output |= self.rcv.ack.now || self.snd.unsent() > 0;
        Some(ready)
    }

    #[cold]
    fn record_predicted(&self, cx: &mut Cx<'_>, hdr: &Header, len: u32, gso_size: u16) {
        let (header, state) = (*hdr, self.state);
        self.record(cx, What::Received { header, len, gso_size, state });
    }

    /// Whether all that can be told beforehand is in order. What an ACK finds in flight is the flight's to say.
    #[inline(always)]
    fn is_predicted(&self, hdr: &Header, len: u32, seg: &Arriving<'_>) -> bool {
        let options = &hdr.options;
        let timestamps = match options.timestamps {
            Some(ts) => !self.agreed.timestamps || ts.val.wrapping_sub(self.rcv.ts_recent) as i32 >= 0,
            None => !self.agreed.timestamps,
        };
        let marked =
            unlikely(self.ecn.agreed) && (seg.tos & 3 == 3 || (self.ecn.echo && self.echoes_each_mark()));
        let unread = self.orphan || self.rcv.shut;
        let text = len == 0 || (len <= self.rcv.wnd() && !self.rcv.buf.has_ooo() && !marked && !unread);
        self.state == State::Established
            && hdr.flags - Flags::PSH == Flags::ACK
            && hdr.seq == self.rcv.nxt
            && hdr.ack.ge(self.snd.una)
            && hdr.ack.le(self.snd.nxt)
            && timestamps
            && text
            && options.sack.is_empty()
            && options.user_timeout.is_none()
            && !self.persisting
            && self.ecn.accurate.is_none()
            && !self.is_probing_mtu()
            && self.records.is_none()
            && self.rcv.fin.is_none()
            && seg.ttl >= self.options.min_ttl
    }

    /// What [`Connection::process_ack`] does once the flight has taken a quiet ACK of new data.
    #[inline]
    fn take_predicted_ack(&mut self, cx: &mut Cx<'_>, ack: SeqNum) -> Ready {
        let acked = ack.since(self.snd.una);
        self.proven_mss = self.proven_mss.max(acked.min(u32::from(self.mss)) as u16);
        let bytes = self.snd.acknowledge(ack);
        self.counters.bytes_acked += u64::from(bytes);
        self.snd.holds = false;
        self.waits_less(cx.now);
        self.retries = 0;
        self.trouble_since = Instant::NEVER;
        self.doubted_pmtu = 0;
        self.soft_error = None;
        if self.flight.as_ref().is_some_and(|f| f.can_drop()) {
            cx.spare.put(self.flight.take());
            self.timers.stop(Timer::LossProbe);
            self.timers.stop(Timer::Retransmit);
        } else {
            self.rearm_flight_timers(cx);
        }
        if self.is_writable() { Ready::OUT } else { Ready::empty() }
    }

    /// What [`Connection::queue_text`] does with text at RCV.NXT that fits the window.
    #[inline]
    fn take_predicted_text(&mut self, cx: &mut Cx<'_>, seg: Arriving<'_>, len: u32, segments: u32) -> Ready {
        self.counters.data_segs_in += segments;
        let each = if seg.gso_size == 0 { len } else { u32::from(seg.gso_size).min(len) };
        let header = 20 + if seg.hdr.options.timestamps.is_some() { 12 } else { 0 };
        let sized =
            rcv::Sized { text: len, each, header, packet: len + header + u32::from(self.ip_header_len()) };
        let hdr = seg.hdr;
        self.rcv.take_size(cx.config, self.options.rcvbuf.is_some(), &sized, hdr.flags);
        self.rcv.buf.append(seg.text);
        self.rcv.nxt += len;
        self.counters.bytes_received += u64::from(len);
        self.rcv.sample_rtt(cx.now);
        self.sample_echo(cx.now, hdr, len);
        self.schedule_ack(cx, &sized, false);
        if self.rcv.buf.len() >= self.low_water() { Ready::IN } else { Ready::empty() }
    }
}
