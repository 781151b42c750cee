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

use crate::tcp::SeqNum;
use crate::tcp::rxbuf::RxBuf;
use crate::time::Instant;

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
    /// Windows are chosen as Linux's `__tcp_select_window` does.
    pub as_linux: bool,
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
    /// The MSS we announced.
    pub advmss: u16,
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
            ts_recent: 0,
            ts_recent_age: 0,
            dsack: None,
            wscale,
            mss: advmss.min(536),
            advmss,
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
    pub fn free(&self) -> u32 {
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
            return self.window_of_linux(current);
        }
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

    /// Linux's `__tcp_select_window`: a scaled window is rounded up to its unit, another one is whole segments, and what is
    /// less than a segment or a sixteenth of the buffer is nothing.
    #[inline]
    fn window_of_linux(&self, current: u32) -> u32 {
        let unit = 1u32 << self.wscale;
        let full = self.clamp.min(self.capacity);
        let mss = u32::from(self.mss.max(1)).min(full);
        let mut free = self.free();
        // The edge never moves left (SHLD-14).
        let kept = (current + unit - 1) & !(unit - 1);
        if free < full / 2 {
            free &= !(unit - 1);
            if free < self.capacity >> 4 || free < mss {
                return kept;
            }
        }
        free = free.min(self.clamp);
        let window = if self.wscale > 0 {
            (free + unit - 1) & !(unit - 1)
        } else if current + mss <= free || current > free {
            free - free % mss.max(1)
        } else if mss == full && free > current + full / 2 {
            free
        } else {
            current
        };
        window.max(kept)
    }

    /// Whether reading has opened the window so far that the peer must hear of it (MUST-36's other
    /// side; Linux's `tcp_cleanup_rbuf`: when it at least doubles).
    #[inline]
    pub fn wants_window_update(&self) -> bool {
        let (current, unit) = (self.wnd(), 1 << self.wscale);
        // Neither what is free nor what is kept, rounded up, comes to twice of it: so it nearly always is.
        if current >= unit && self.free().saturating_add(unit) <= current.saturating_mul(2) {
            return false;
        }
        let next = self.select_window();
        next > current && next >= current.saturating_mul(2)
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

    /// Notes the length of a data segment: the peer's MSS as far as it shows (Linux's `tcp_measure_rcv_mss`).
    pub fn measure_mss(&mut self, len: u32) {
        if len >= u32::from(self.mss) {
            self.mss = len.min(u32::from(self.advmss)) as u16;
        }
    }

    /// Dynamic right-sizing, sample of the receiver's RTT: one window's worth takes one round trip.
    pub fn sample_rtt(&mut self, now: Instant) {
        let drs = &mut self.drs;
        if drs.rtt_at == Instant::ZERO || self.nxt.ge(drs.rtt_seq) {
            if drs.rtt_at != Instant::ZERO {
                let sample = (now.since(drs.rtt_at).as_micros() as u32).max(1);
                drs.rtt = if drs.rtt == 0 { sample } else { drs.rtt - drs.rtt / 8 + sample / 8 }.max(1);
            }
            drs.rtt_seq = self.nxt + self.adv.since(self.nxt).min(i32::MAX as u32);
            drs.rtt_at = now;
        }
    }

    /// Dynamic right-sizing, after the user has read `n` bytes: doubles the room when a round trip's
    /// reading comes near it, up to `max`.
    pub fn right_size(&mut self, now: Instant, n: u32, max: u32) {
        let drs = &mut self.drs;
        drs.copied = drs.copied.saturating_add(n);
        if drs.rtt == 0 || (now.since(drs.space_at).as_micros() as u64) < u64::from(drs.rtt) {
            return;
        }
        if drs.copied > drs.space {
            // Twice what was read, and ahead of a sender whose window still doubles (Linux's
            // `tcp_rcv_space_adjust`).
            let (copied, space) = (u64::from(drs.copied), u64::from(drs.space.max(1)));
            let window = 2 * copied + 16 * u64::from(self.advmss);
            let wanted = window + 2 * (window * (copied - space) / space);
            drs.space = drs.copied;
            let wanted = wanted.min(u64::from(max)) as u32;
            if wanted > self.capacity {
                self.capacity = wanted;
                self.clamp = wanted; // it follows along
            }
        }
        drs.copied = 0;
        drs.space_at = now;
    }
}
