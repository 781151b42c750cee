//! The user's side: bytes into the TX buffer and out of the RX buffer, shutting down, closing, aborting
//! (RFC 9293 3.10.2 to 3.10.5), and what the socket is ready for.

use alloc::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::packet::Payload;

impl Connection {
    // ---- TX buffer ----

    /// How many bytes the TX buffer takes now; 0 once the sending direction is shut down.
    pub fn send_room(&self) -> usize {
        if self.snd.fin_queued || !self.state.can_send() {
            return 0;
        }
        (self.snd.capacity as usize).saturating_sub(self.snd.buf.len())
    }

    /// The same, under pressure no more than up to the least buffer: what is acknowledged makes room again.
    fn room_now(&self, cx: &Cx<'_>) -> usize {
        let room = self.send_room();
        if !cx.pressure {
            return room;
        }
        room.min((cx.config.wmem[0] as usize).saturating_sub(self.snd.buf.len()))
    }

    /// Copies as much of `data` as fits into the TX buffer; returns how much.
    #[inline]
    pub fn write(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> usize {
        let n = data.len().min(self.room_now(cx));
        if n > 0 {
            self.snd.buf.write(&data[..n]);
            self.due.output = true;
            self.note_busy(cx.now);
        }
        if n < data.len() {
            self.note_full();
        }
        n
    }

    /// Hands `data` over without copying, as far as it fits; returns how much was taken.
    pub fn push(&mut self, cx: &mut Cx<'_>, mut data: Bytes) -> usize {
        let n = data.len().min(self.room_now(cx));
        if n < data.len() {
            self.note_full();
        }
        if n > 0 {
            data.truncate(n);
            self.snd.buf.push(data);
            self.due.output = true;
            self.note_busy(cx.now);
        }
        n
    }

    /// A call found no room in the TX buffer.
    pub fn note_full(&mut self) {
        self.chrono.note_full();
    }

    /// More is to come (MSG_MORE): a last short segment waits for it, until the next ACK comes.
    pub fn set_more(&mut self, more: bool) {
        self.snd.holds = more;
        if core::mem::replace(&mut self.snd.more, more) && !more {
            self.due.output = true; // what was held back
        }
    }

    /// Bytes not acknowledged (SIOCOUTQ), and of these the bytes not yet sent (SIOCOUTQNSD).
    pub fn send_queue(&self) -> (u32, u32) {
        let fin = u32::from(self.snd.fin_sent && !self.snd.fin_acked());
        (self.snd.buf.len() as u32 + fin, self.snd.unsent())
    }

    /// Size of the TX buffer, bytes.
    pub fn send_capacity(&self) -> u32 {
        self.snd.capacity
    }

    /// Whether there is enough room to call the socket writable: a third of the buffer, as on Linux, and
    /// less unsent than TCP_NOTSENT_LOWAT.
    pub(super) fn is_writable(&self) -> bool {
        let queued = self.snd.buf.len() as u32;
        let room = self.snd.capacity.saturating_sub(queued);
        room > 0 && room >= queued / 2 && self.snd.unsent() < self.options.notsent_lowat
    }

    // ---- RX buffer ----

    /// Bytes in order and not read (FIONREAD). An urgent octet that is out of band does not count.
    pub fn readable(&self) -> usize {
        let all = self.rcv.buf.len();
        match self.urgent_offset() {
            Some(0) if !self.options.oobinline => all.saturating_sub(1),
            _ => all,
        }
    }

    /// Size of the RX buffer, bytes: for text.
    pub fn receive_capacity(&self) -> u32 {
        self.rcv.capacity
    }

    /// SO_RCVBUF as it stands now, bytes with what holding them takes; `None` before it is agreed.
    pub fn receive_memory(&self) -> Option<u32> {
        self.rcv.as_linux.then_some(self.rcv.space.rcvbuf)
    }

    /// The largest window to announce, bytes (TCP_WINDOW_CLAMP).
    pub fn window_clamp(&self) -> u32 {
        self.rcv.clamp.min(self.rcv.capacity.max(self.options.window_clamp))
    }

    pub(super) fn low_water(&self) -> usize {
        (self.options.rcvlowat.min(self.rcv.capacity) as usize).max(1)
    }

    /// Copies at most `out.len()` bytes out; stops at an urgent mark.
    pub fn read(&mut self, cx: &mut Cx<'_>, out: &mut [u8]) -> usize {
        let max = self.pass_mark(true).map_or(out.len(), |mark| out.len().min(mark as usize));
        let n = self.rcv.buf.read(&mut out[..max]);
        self.after_read(cx, n);
        n
    }

    /// Copies without consuming, from `skip` bytes on; stops at an urgent mark.
    pub fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        let (skip, max) = match self.urgent_offset() {
            Some(0) if !self.options.oobinline => (skip + 1, out.len()),
            Some(mark) if mark > 0 => (skip, out.len().min((mark as usize).saturating_sub(skip))),
            _ => (skip, out.len()),
        };
        self.rcv.buf.peek(skip, &mut out[..max])
    }

    /// Takes at most `max` bytes out by reference; stops at an urgent mark.
    pub fn take(&mut self, cx: &mut Cx<'_>, max: usize) -> Payload {
        let max = self.pass_mark(true).map_or(max, |mark| max.min(mark as usize));
        let data = self.rcv.buf.take(max);
        self.after_read(cx, data.len());
        data
    }

    /// Drops at most `max` bytes unread (MSG_TRUNC); stops at an urgent mark; returns how many.
    pub fn skip(&mut self, cx: &mut Cx<'_>, max: usize) -> usize {
        let max = self.pass_mark(true).map_or(max, |mark| max.min(mark as usize));
        let n = self.rcv.buf.skip(max);
        self.after_read(cx, n);
        n
    }

    #[inline(always)]
    fn after_read(&mut self, cx: &mut Cx<'_>, n: usize) {
        if n == 0 {
            return;
        }
        if self.options.rcvbuf.is_none() && cx.config.moderate_rcvbuf {
            let mut max = cx.config.rmem[2] / 2;
            if self.options.window_clamp != 0 {
                max = max.min(self.options.window_clamp);
            }
            if self.rcv.wscale == 0 {
                max = max.min(65_535);
            }
            self.rcv.right_size(cx.now, n as u32, max, cx.config.rmem[2]);
        }
        self.rcv.drained(n);
        if self.rcv.wants_ack_once_read() {
            self.rcv.ack.now = true;
            self.due.output = true;
        } else if self.state.can_receive() && self.rcv.wants_window_update() {
            self.rcv.ack.now = true;
            self.due.ack.get_or_insert(Why::WindowUpdate);
            self.due.output = true;
        }
    }

    // ---- ends ----

    /// `shutdown(SHUT_RD)`: nothing goes out; what arrives later is acknowledged and dropped.
    pub fn shutdown_read(&mut self, _cx: &mut Cx<'_>) {
        self.rcv.shut = true;
    }

    /// CLOSE of the sending direction (RFC 9293 3.10.4): a FIN after all that is queued.
    pub fn shutdown_write(&mut self, cx: &mut Cx<'_>) -> Outcome {
        if self.snd.fin_queued {
            return Outcome::default();
        }
        match self.state {
            State::SynSent => return self.fail(cx, None, Event::Close),
            State::Established | State::CloseWait => {
                self.snd.fin_queued = true;
                self.step(cx, Event::Close);
            }
            State::SynReceived => {
                self.snd.fin_queued = true;
                if self.snd.buf.is_empty() && !self.facts.passive {
                    // Nothing queued: the FIN leaves at once, behind our SYN.
                    self.due.syn = false;
                    self.update_mss(cx.config);
                    self.timers.clear();
                    self.step(cx, Event::Close);
                }
            }
            _ => return Outcome::default(),
        }
        self.due.output = true;
        let mut ready = Ready::OUT;
        if self.fin_received() {
            ready |= Ready::HUP;
        }
        Outcome { ready, ..Outcome::default() }
    }

    /// The user is gone: unread data means RST (SHLD-3), else the FIN goes its way in the background.
    pub fn close(&mut self, cx: &mut Cx<'_>) -> Outcome {
        self.orphan = true;
        self.rcv.shut = true;
        let unread = self.rcv.buf.len();
        if unread > 0 && self.state != State::Closed {
            cx.stats.tcp_abort_on_close += 1;
            return self.abort_with(cx, None);
        }
        if self.state == State::FinWait2 {
            self.enter_fin_wait_2(cx);
        } else {
            self.timers.stop(timer::Timer::KeepAlive);
        }
        self.shutdown_write(cx)
    }

    /// ABORT (RFC 9293 3.10.5): all queues flushed, a RST where the peer may still count on us.
    pub fn abort(&mut self, cx: &mut Cx<'_>) -> Outcome {
        self.abort_with(cx, Some(Errno::ECONNABORTED))
    }

    pub(super) fn abort_with(&mut self, cx: &mut Cx<'_>, error: Option<Errno>) -> Outcome {
        let tell = matches!(
            self.state,
            State::SynReceived | State::Established | State::FinWait1 | State::FinWait2 | State::CloseWait
        );
        let unread = self.rcv.buf.discard_in_order();
        self.rcv.drained(unread);
        let reply = tell.then(|| {
            let mut rst = self.build_rst(cx, self.snd.nxt, Some(self.rcv.nxt));
            if self.rcv.as_linux {
                // Linux's `tcp_send_active_reset` makes it as any segment, with a window.
                rst.hdr.window = self.wire_window();
            }
            rst
        });
        let mut out = self.fail(cx, error, Event::Abort);
        out.reply = reply;
        out
    }

    // ---- options and readiness ----

    /// Takes changed options into effect at once.
    pub fn set_options(&mut self, cx: &mut Cx<'_>, options: Arc<Options>) {
        let old = core::mem::replace(&mut self.options, options);
        let new = &self.options;
        if old.keepalive != new.keepalive || old.keepidle != new.keepidle {
            self.arm_keepalive(cx);
        }
        if old.md5 != self.options.md5 && self.state.is_synchronized() {
            self.update_mss(cx.config);
        }
        if let Some(size) = self.options.rcvbuf {
            // The announced edge stays where it is (SHLD-14): `select_window` never moves it left.
            if !self.rcv.as_linux {
                self.rcv.capacity = if self.rcv.wscale == 0 { size.min(65_535) } else { size }.max(256);
            } else if self.options.rcvbuf != old.rcvbuf {
                self.rcv.set_rcvbuf(size.saturating_mul(2));
            }
        }
        if self.options.window_clamp != old.window_clamp {
            if self.rcv.as_linux {
                self.rcv.set_clamp(self.options.window_clamp);
            } else {
                self.rcv.clamp = self.options.window_clamp;
            }
        }
        if self.options.window_clamp != 0 && !self.rcv.as_linux {
            self.rcv.capacity = self.rcv.capacity.min(self.options.window_clamp);
        }
        if let Some(size) = self.options.sndbuf {
            self.snd.capacity = size;
        }
        if let Some(on) = self.options.quickack {
            if on {
                self.rcv.ack.pingpong = false;
                self.rcv.ack.now |= self.rcv.ack.pending;
            }
        }
        if self.options.congestion != old.congestion {
            let kind = self.options.congestion.unwrap_or(cx.config.congestion);
            self.cc.set_kind(kind);
        }
        if self.options.timestamping != old.timestamping {
            self.count_bytes_from_here(self.options.timestamping);
        }
        if self.options.congestion != old.congestion || self.options.max_pacing_rate != old.max_pacing_rate {
            self.decide_pacing(cx.config);
        }
        if self.options.maxseg != old.maxseg {
            self.update_mss(cx.config);
        }
        self.due.output = true;
    }

    /// The TX buffer follows what may be in flight unless SO_SNDBUF fixed it: twice the lesser of the congestion
    /// window and the largest window that the peer has offered. More would only lie there and grow cold.
    pub(super) fn grow_send_buffer(&mut self, config: &Config) {
        if self.options.sndbuf.is_none() {
            let in_flight = self.cc.cwnd().min(self.snd.max_wnd);
            let wanted = in_flight.saturating_mul(2).max(config.wmem[1]);
            self.snd.capacity = self.snd.capacity.max(wanted.min(config.wmem[2]));
        }
    }

    /// What `poll` reports (POSIX; Linux's `tcp_poll` in the details).
    pub fn readiness(&self) -> Ready {
        let mut ready = Ready::empty();
        if self.error.is_some() || self.has_notice() {
            ready |= Ready::ERR;
        }
        if self.state == State::Closed {
            return ready | Ready::HUP | Ready::IN | Ready::RDHUP | Ready::OUT;
        }
        let rcv_shut = self.rcv.shut || self.fin_received();
        if rcv_shut {
            ready |= Ready::IN | Ready::RDHUP;
        }
        if rcv_shut && self.snd.fin_queued {
            ready |= Ready::HUP;
        }
        if self.is_deferred() {
            return ready | Ready::OUT; // the first data opens it
        }
        if matches!(self.state, State::SynSent | State::SynReceived) && !self.is_open_early() {
            return ready;
        }
        if self.readable() >= self.low_water() {
            ready |= Ready::IN;
        }
        if self.snd.fin_queued || self.is_writable() {
            ready |= Ready::OUT;
        }
        if self.urgent_pending() {
            ready |= Ready::PRI;
        }
        ready
    }
}
