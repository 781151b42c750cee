//! The receive sequence space, the RX buffer, and when to acknowledge (RFC 9293 3.3.1, 3.8.6).
//!
//! ```text
//!              1          2          3
//!          ----------|----------|----------
//!                 RCV.NXT    RCV.NXT + RCV.WND = RCV.ADV
//!
//!   1 acknowledged or to be   2 may arrive   3 may not
//! ```
//! The window is what the RX buffer has free. Its right edge, once announced, never moves left (SHLD-14).

mod space;

pub(crate) use space::Sized;
use space::Space;

use crate::branch::{cold, unlikely};
use crate::config::Config;
use crate::tcp::SeqNum;
use crate::tcp::rtt::micros_between;
use crate::tcp::rxbuf::{Inserted, RxBuf};
use crate::time::Instant;
use crate::wire::tcp::Flags;

/// Receive variables of RFC 9293 3.3.1 and RFC 7323, and the RX buffer.
#[derive(Debug)]
pub(crate) struct Rcv {
    /// RCV.NXT.
    pub nxt: SeqNum,
    /// The right edge of the window as announced: RCV.NXT + RCV.WND.
    pub adv: SeqNum,
    /// Last.ACK.sent (RFC 7323 4.3).
    pub last_ack_sent: SeqNum,
    /// IRS.
    pub irs: SeqNum,
    /// Where the peer's FIN stands, once one came (perhaps before the data in front of it).
    pub fin: Option<SeqNum>,
    /// The RX buffer.
    pub buf: RxBuf,
    /// How many bytes the RX buffer may hold.
    pub capacity: u32,
    /// The largest window to announce (Linux's `window_clamp`).
    pub clamp: u32,
    /// Windows are chosen as Linux's `__tcp_select_window` does, from this.
    pub as_linux: bool,
    pub space: Space,
    /// TS.Recent.
    pub ts_recent: u32,
    /// When TS.Recent was taken, whole seconds.
    pub ts_recent_age: u32,
    /// Range to be reported in the next ACK as received twice (RFC 2883).
    pub dsack: Option<(SeqNum, SeqNum)>,
    /// Shift of the windows that we announce.
    pub wscale: u8,
    /// The length of the peer's full segments, as far as seen (Linux's `rcv_mss`).
    pub mss: u16,
    /// That of the last segment which was shorter but long enough to count (Linux's `last_seg_size`); 0 if there was none.
    pub last_seg: u16,
    /// The MSS we announced.
    pub advmss: u16,
    /// Bytes of options that each segment has (timestamps).
    pub options: u8,
    /// How the next ACK is timed.
    pub ack: AckSchedule,
    /// Bytes that the user has read since `drs_seq`, and when that was noted: dynamic right-sizing.
    pub drs: RightSizing,
    /// The user closed the receiving direction.
    pub shut: bool,
}

/// When the next ACK leaves.
#[derive(Debug, Default)]
pub(crate) struct AckSchedule {
    /// At once.
    pub now: bool,
    /// Something waits to be acknowledged.
    pub pending: bool,
    /// The exchange is interactive: an answer is likely to carry the ACK.
    pub pingpong: bool,
    /// ACKs still to be sent without delay (Linux's quick ACK mode).
    pub quick: u8,
    /// How much speaks for an ACK once all is read: 1 for a segment that ends what its sender had, 2 for a second one
    /// (Linux's ICSK_ACK_PUSHED and ICSK_ACK_PUSHED2).
    pub pushed: u8,
    /// The delay, microseconds; 0 before the first data.
    pub ato: u32,
    /// When data last arrived.
    pub last_data: Instant,
}

/// Dynamic right-sizing: how much the user drains in a round trip.
#[derive(Debug, Default)]
pub(crate) struct RightSizing {
    /// The receiver's estimate of the RTT, microseconds; 0 if unknown.
    pub rtt: u32,
    /// The window that is being timed ends here.
    pub rtt_seq: SeqNum,
    /// When that began.
    pub rtt_at: Instant,
    /// The timestamp that was echoed last.
    pub last_echo: u32,
    /// Bytes read since `space_at`.
    pub copied: u32,
    /// The most read in one round trip so far.
    pub space: u32,
    /// When counting began.
    pub space_at: Instant,
}

impl Rcv {
    /// The space of a connection that has not yet heard of its peer.
    pub fn new(capacity: u32, advmss: u16, wscale: u8) -> Self {
        Rcv {
            nxt: SeqNum(0),
            adv: SeqNum(0),
            last_ack_sent: SeqNum(0),
            irs: SeqNum(0),
            fin: None,
            buf: RxBuf::new(),
            capacity,
            clamp: u32::MAX,
            as_linux: false,
            space: Space::new(),
            ts_recent: 0,
            ts_recent_age: 0,
            dsack: None,
            wscale,
            mss: advmss.min(536),
            last_seg: 0,
            advmss,
            options: 0,
            ack: AckSchedule::default(),
            drs: RightSizing::default(),
            shut: false,
        }
    }

    /// RCV.WND: what was announced and not yet used.
    pub fn wnd(&self) -> u32 {
        if self.adv.gt(self.nxt) { self.adv.since(self.nxt) } else { 0 }
    }

    /// Whether something came that lies beyond a gap.
    #[inline]
    pub fn has_gap(&self) -> bool {
        self.buf.has_ooo() || self.waiting_fin().is_some()
    }

    /// Where a FIN stands that came before all the text in front of it.
    #[inline]
    pub fn waiting_fin(&self) -> Option<SeqNum> {
        self.fin.filter(|fin| fin.gt(self.nxt))
    }

    /// Free space in the RX buffer. Out-of-order data lies inside the window and takes none of it.
    #[inline]
    pub fn free(&self) -> u32 {
        if self.as_linux {
            return self.space.free();
        }
        self.capacity.saturating_sub(self.buf.len() as u32)
    }

    /// The window to announce next, bytes.
    ///
    /// Receiver's silly-window avoidance (RFC 9293 3.8.6.2.2, MUST-39): the edge advances only by
    /// at least min(half the buffer, one MSS). It never moves left (SHLD-14): where scaling would
    /// round it down it is rounded up.
    #[inline(always)]
    pub fn select_window(&self) -> u32 {
        let (scale, unit) = (self.wscale, 1u32 << self.wscale);
        let current = self.wnd();
        if self.as_linux {
            // The edge never moves left (SHLD-14).
            return self.window_of_linux().max((current + unit - 1) & !(unit - 1));
        }
        cold();
        let free = self.free();
        let step = (self.capacity / 2).min(u32::from(self.mss.max(1)));
        // Shifts where the unit is a power of two: this is done for each segment, and division is slow.
        let up = |bytes: u32| (bytes >> scale) + u32::from(bytes & (unit - 1) != 0);
        let kept = current.div_ceil(unit) * unit;
        if free <= current || free - current < step {
            return kept;
        }
        // What scaling would round away to nothing, or nearly, is rounded up instead: a buffer smaller than
        // the scale's unit would stay closed for ever.
        let room = if unit > step { up(free) } else { free >> scale } << scale;
        room.max(kept)
    }

    /// [`Rcv::select_window`], and as Linux an end of quick ACK mode where less than half of the buffer is free.
    #[inline(always)]
    pub fn choose_window(&mut self) -> u32 {
        self.mind_half();
        self.select_window()
    }

    /// Whether an ACK now would move the edge by all that came since the last one (Linux).
    pub fn moves_edge(&mut self) -> bool {
        self.mind_half();
        self.window_of_linux() >= self.wnd_announced()
    }

    #[inline(always)]
    fn mind_half(&mut self) {
        if self.as_linux && self.space.free() < self.clamp.min(self.capacity) / 2 {
            self.ack.quick = 0;
        }
    }

    /// Linux's `__tcp_select_window`: a scaled window is rounded up to its unit, another one is whole segments, and what is
    /// less than a segment or a sixteenth of the buffer is nothing.
    #[inline]
    fn window_of_linux(&self) -> u32 {
        let unit = 1u32 << self.wscale;
        let full = self.clamp.min(self.capacity);
        let mss = u32::from(self.mss.max(1)).min(full);
        let mut free = self.free();
        if unlikely(free < full / 2) {
            free &= !(unit - 1);
            if free < self.capacity >> 4 || free < mss {
                return 0;
            }
        }
        free = free.min(self.space.ssthresh);
        let announced = self.wnd_announced();
        if self.wscale > 0 {
            return (free + unit - 1) & !(unit - 1);
        }
        cold();
        if announced + mss <= free || announced > free {
            free - free % mss.max(1)
        } else if mss == full && free > announced + full / 2 {
            free
        } else {
            announced
        }
    }

    /// Whether reading has opened the window so far that the peer must hear of it (MUST-36's other
    /// side; Linux's `tcp_cleanup_rbuf`: when it at least doubles).
    #[inline]
    pub fn wants_window_update(&self) -> bool {
        let (current, unit) = (self.wnd(), 1 << self.wscale);
        // Neither what may be announced nor what is kept, rounded up, comes to twice of it: so it nearly always is.
        let twice = current.saturating_mul(2);
        let most = |free: u32| free.saturating_add(unit) <= twice;
        if current >= unit && ((self.as_linux && most(self.space.ssthresh)) || most(self.free())) {
            return false;
        }
        self.opens_window(current)
    }

    #[inline(never)]
    fn opens_window(&self, current: u32) -> bool {
        let next = self.select_window();
        next > current && next >= current.saturating_mul(2)
    }

    /// Text in order goes into the buffer: what it takes there, and what its size tells.
    #[inline]
    pub fn take_size(&mut self, config: &Config, fixed: bool, seg: &Sized, flags: Flags) {
        if self.as_linux {
            if self.space.is_over() {
                self.overflow(fixed, config.rmem[2]);
            }
            self.space.queue(seg);
        }
        self.measure(seg, flags);
    }

    /// The same for text out of order; what was held before takes no more room, and what was dropped for it none.
    pub fn take_size_ahead(
        &mut self,
        config: &Config,
        seg: &Sized,
        start: SeqNum,
        (inserted, flags, sack): (Inserted, Flags, bool),
    ) {
        self.measure(seg, flags);
        if !self.as_linux {
            return;
        }
        if sack {
            self.grow_window(seg, config.rmem[2]);
        }
        if inserted.accepted > inserted.pruned {
            self.space.queue_ahead(seg, start);
        } else {
            self.space.prune_ahead(inserted.pruned - inserted.accepted, self.buf.ooo_len() as u32);
        }
        self.gap_closed(0);
    }

    /// `text` bytes that were held out of order are in order now.
    pub fn gap_closed(&mut self, text: u32) {
        if !self.as_linux {
            return;
        }
        if text > 0 {
            self.space.close_gap(text, self.buf.ooo_len() as u32);
        }
        if !self.buf.has_ooo() {
            self.space.drop_ahead();
        }
    }

    /// Throws away what is out of order.
    pub fn discard_ooo(&mut self) {
        self.buf.discard_ooo();
        if self.as_linux {
            self.space.drop_ahead();
        }
    }

    /// How many ACKs are sent at once in quick ACK mode: enough for half of the window (Linux's `tcp_incr_quickack`).
    pub fn quick_acks(&self, config: &Config) -> u8 {
        if !self.as_linux {
            return config.quick_acks;
        }
        let enough = self.wnd_announced() / (2 * u32::from(self.mss.max(1)));
        let enough = if enough == 0 { 2 } else { enough.min(255) as u8 };
        config.quick_acks.min(enough).max(self.ack.quick)
    }

    /// `n` bytes of text were read or thrown away.
    #[inline]
    pub fn drained(&mut self, n: usize) {
        if self.as_linux {
            self.space.drained(n);
        }
    }

    /// Whether what was received is to be acknowledged now that some of it was read: more than a segment, or all is read, its
    /// sender has nothing more and an answer is not likely (Linux's `tcp_cleanup_rbuf`).
    #[inline]
    pub fn wants_ack_once_read(&self) -> bool {
        let ack = &self.ack;
        self.as_linux
            && ack.pending
            && (self.nxt.since(self.last_ack_sent) > u32::from(self.mss)
                || (ack.pushed > u8::from(ack.pingpong) && self.space.is_idle()))
    }

    /// RFC 9293 3.10.7.4 first check, table 6: whether a segment touches the window.
    pub fn acceptable(&self, seq: SeqNum, len: u32) -> bool {
        let wnd = self.wnd();
        match (len, wnd) {
            (0, 0) => seq == self.nxt,
            (0, _) => seq.within(self.nxt, wnd),
            (_, 0) => false,
            _ => seq.within(self.nxt, wnd) || (seq + (len - 1)).within(self.nxt, wnd),
        }
    }

    /// Linux's reckoning begins: the buffer, the largest window, and what was announced so far.
    pub fn reckon_as_linux(&mut self, rcvbuf: u32, clamp: u32, announced: u32, options: u8) {
        self.as_linux = true;
        self.options = options;
        self.set_rcvbuf(rcvbuf);
        self.clamp = clamp;
        self.space.ssthresh = announced.min(clamp);
        self.drs.space = (10 * self.own_mss()).min(self.space.ssthresh);
        let text = self.buf.len() as u32;
        if text > 0 {
            self.space.queue(&Sized { text, each: text, header: 40, packet: text + 80 }); // it came on a SYN
        }
    }

    /// SO_RCVBUF, doubled as Linux does, packets' own memory included.
    pub fn set_rcvbuf(&mut self, rcvbuf: u32) {
        self.space.rcvbuf = rcvbuf;
        self.capacity = self.space.text_in(rcvbuf);
    }

    /// Linux's `tcp_set_window_clamp`.
    pub fn set_clamp(&mut self, clamp: u32) {
        /// SOCK_MIN_RCVBUF / 2.
        const LEAST: u32 = 1_152;
        let clamp = clamp.max(LEAST);
        if clamp < self.clamp {
            self.space.ssthresh = self.space.ssthresh.min(clamp);
        } else if clamp > self.clamp {
            self.space.ssthresh = self.space.ssthresh.max(self.wnd_announced().min(clamp));
        }
        self.clamp = clamp;
    }

    /// The window as announced last (Linux's `rcv_wnd`).
    pub fn wnd_announced(&self) -> u32 {
        self.adv.since(self.last_ack_sent)
    }

    /// The largest window to announce now (Linux's `rcv_ssthresh`).
    pub fn ssthresh(&self) -> u32 {
        if self.as_linux { self.space.ssthresh } else { self.capacity }
    }

    /// The MSS we announced less the options that each segment has: Linux's `advmss`.
    pub fn own_mss(&self) -> u32 {
        u32::from(self.advmss) - u32::from(self.options)
    }

    /// Notes the length of a data segment: the peer's MSS as far as it shows (Linux's `tcp_measure_rcv_mss`).
    #[inline]
    fn measure(&mut self, seg: &Sized, flags: Flags) {
        if !self.as_linux {
            if seg.each >= u32::from(self.mss) {
                self.mss = seg.each.min(u32::from(self.advmss)) as u16;
            }
            return;
        }
        let last = core::mem::take(&mut self.last_seg);
        if seg.each >= u32::from(self.mss) {
            if seg.each != u32::from(self.mss) {
                self.learn_mss(seg);
            }
            if flags.contains(Flags::PSH) {
                self.ack.pushed = self.ack.pushed.max(1);
            }
            return;
        }
        // Long for a peer with a small MSS: two of the same length are its full segments.
        let (whole, remnant) =
            (seg.each + seg.header, flags.intersects(Flags::PSH | Flags::FIN | Flags::URG));
        if whole >= 536 + 20 || (whole >= 88 + 20 && !remnant) {
            self.last_seg = (whole - 20).saturating_sub(u32::from(self.options)) as u16;
            if self.last_seg == last {
                self.mss = last;
                return;
            }
        }
        self.ack.pushed = if self.ack.pushed == 0 { 1 } else { 2 };
    }

    #[cold]
    fn learn_mss(&mut self, seg: &Sized) {
        if self.space.learn(seg) {
            self.capacity = self.space.text_in(self.space.rcvbuf);
            self.set_clamp(self.capacity);
            self.drs.space = self.drs.space.min(self.clamp);
        }
        self.mss = seg.each.min(self.own_mss()) as u16;
    }

    /// The window to announce may grow with a segment that is worth its memory (Linux's `tcp_grow_window`); then the
    /// next ACK is not delayed.
    #[inline(always)]
    pub fn grow_window(&mut self, seg: &Sized, rmem_max: u32) {
        const LEAST: u32 = 128;
        if self.as_linux && seg.text >= LEAST {
            self.grow_by(seg, rmem_max);
        }
    }

    #[inline(never)]
    fn grow_by(&mut self, seg: &Sized, rmem_max: u32) {
        let most = self.clamp.min(self.space.free());
        if most <= self.space.ssthresh {
            return;
        }
        let grown = self.space.worth(seg, (self.own_mss(), u32::from(self.mss)), rmem_max);
        if grown > 0 {
            self.space.ssthresh = (self.space.ssthresh + grown).min(most);
            self.ack.quick |= 1;
        }
    }

    /// Packets take more than the buffer: it grows if SO_RCVBUF has not fixed it, else windows shrink to two segments
    /// (Linux's `tcp_clamp_window`).
    #[cold]
    fn overflow(&mut self, fixed: bool, rmem_max: u32) {
        if self.space.overflow(fixed, rmem_max) {
            self.space.ssthresh = self.clamp.min(2 * self.own_mss());
        }
        self.capacity = self.space.text_in(self.space.rcvbuf);
    }

    /// Dynamic right-sizing, sample of the receiver's RTT: one window's worth takes one round trip, or more where the sender
    /// has less to send. The least counts.
    #[inline]
    pub fn sample_rtt(&mut self, now: Instant) {
        let drs = &mut self.drs;
        if unlikely(drs.rtt_at == Instant::ZERO || self.nxt.ge(drs.rtt_seq)) {
            if drs.rtt_at != Instant::ZERO {
                let sample = (now.since(drs.rtt_at).as_micros() as u32).max(1);
                if drs.rtt == 0 || sample < drs.rtt {
                    drs.rtt = sample;
                }
            }
            drs.rtt_seq = self.nxt + self.adv.since(self.nxt).min(i32::MAX as u32);
            drs.rtt_at = now;
        }
    }

    /// A sample from a full segment's echoed timestamp (Linux's `tcp_rcv_rtt_measure_ts`), microseconds: each echo counts
    /// once, and a longer one only while nothing waits to be read.
    pub fn sample_echo(&mut self, sample: u32) {
        let waits = !self.buf.is_empty();
        let drs = &mut self.drs;
        if drs.rtt == 0 || sample < drs.rtt {
            drs.rtt = sample;
        } else if !waits {
            drs.rtt = drs.rtt - drs.rtt / 8 + sample / 8;
        }
    }

    /// Dynamic right-sizing, after the user has read `n` bytes: makes the room what two round trips' reading need, up to
    /// `max` bytes of text and `rmem_max` of memory.
    #[inline]
    pub fn right_size(&mut self, now: Instant, n: u32, max: u32, rmem_max: u32) {
        let drs = &mut self.drs;
        if drs.rtt == 0 || micros_between(drs.space_at, now) < drs.rtt {
            drs.copied = drs.copied.saturating_add(n);
            return;
        }
        // As Linux, after the first packet: what waits behind it was not read in this round trip.
        let first = if self.as_linux { self.space.first().min(n) } else { n };
        let waits = if self.as_linux { self.buf.len() as u32 + n - first } else { 0 };
        let copied = drs.copied.saturating_add(first).saturating_sub(waits);
        if copied > drs.space {
            // Twice what was read, and ahead of a sender whose window still doubles (Linux's
            // `tcp_rcvbuf_grow`).
            let space = u64::from(core::mem::replace(&mut drs.space, copied).max(1));
            let copied = u64::from(copied);
            let mut window = 2 * copied;
            window += 2 * (window * (copied - space) / space);
            if self.as_linux {
                window += u64::from(self.buf.ooo_end());
                if self.space.grow_to(window, rmem_max) {
                    self.capacity = self.space.text_in(self.space.rcvbuf);
                    self.clamp = self.capacity;
                }
            } else {
                let wanted = (window + 16 * u64::from(self.advmss)).min(u64::from(max)) as u32;
                if wanted > self.capacity {
                    self.capacity = wanted;
                    self.clamp = wanted; // it follows along
                }
            }
        }
        let drs = &mut self.drs;
        drs.copied = n - first;
        drs.space_at = now;
    }
}
