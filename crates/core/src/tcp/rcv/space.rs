//! The room of the RX buffer as Linux reckons it: SO_RCVBUF bounds the memory of packets, and what share of that is
//! text shows only as they come.
//!
//! ```text
//!     rcvbuf ----------------------------------------------|
//!     taken (truesize of what waits)     |   free          |     x ratio / 256 = text
//!     ssthresh: no more than this is announced, and it grows as long as packets are worth their memory
//! ```
//! Names and rules are Linux's: `sk_rcvbuf`, `sk_rmem_alloc`, `scaling_ratio`, `rcv_ssthresh`, `tcp_grow_window`. What a
//! packet takes there is told by its length: that of a buffer which `kmalloc` gives a TUN device.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use crate::tcp::SeqNum;

/// Before any packet has shown better, half of the memory is for text.
const HALF: u8 = 128;
/// `sizeof(struct skb_shared_info)`, `sizeof(struct sk_buff)` and NET_SKB_PAD on 64-bit machines, rounded up.
const SHARED_INFO: u32 = 320;
const SK_BUFF: u32 = 256;
const PAD: u32 = 64;
const PAGE: u32 = 4_096;
/// The sizes of `kmalloc` that heads come from; the first is a cache of its own.
const HEADS: [u32; 5] = [640, 1_024, 2_048, 4_096, 8_192];
/// What fits into a head of one page beside all that.
const HEAD_TEXT: u32 = PAGE - SHARED_INFO - PAD;

/// What a packet takes, and how many bytes more its head has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Footprint {
    truesize: u32,
    tailroom: u16,
}

impl Footprint {
    /// Of an IP packet of `len` bytes, as a TUN device's `tun_alloc_skb` makes it.
    #[inline(always)]
    fn of(len: u32) -> Footprint {
        if len <= HEADS[0] - SHARED_INFO - PAD {
            let tailroom = (HEADS[0] - SHARED_INFO - PAD - len) as u16;
            return Footprint { truesize: HEADS[0] + SK_BUFF, tailroom };
        }
        Footprint::of_long(len)
    }

    #[inline(never)]
    fn of_long(len: u32) -> Footprint {
        if len + PAD >= PAGE {
            return Footprint { truesize: PAGE + SK_BUFF + pages(len - HEAD_TEXT), tailroom: 0 };
        }
        let needed = (len + PAD).next_multiple_of(64) + SHARED_INFO;
        let head = HEADS.into_iter().find(|&head| needed <= head).unwrap_or(2 * PAGE);
        Footprint { truesize: head + SK_BUFF, tailroom: (head - SHARED_INFO - PAD - len) as u16 }
    }
}

/// Memory of pages for `left` bytes, in blocks of at most eight.
#[cold]
fn pages(mut left: u32) -> u32 {
    let (mut block, mut sum) = (8 * PAGE, 0);
    while left > 0 {
        while block > PAGE && left.next_multiple_of(PAGE) < block {
            block /= 2;
        }
        sum += block;
        left = left.saturating_sub(block);
    }
    sum
}

/// Text that waits to be read, and what its packet takes.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    text: u32,
    truesize: u32,
}

/// A data segment, as far as its size tells something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sized {
    /// Bytes of text.
    pub text: u32,
    /// Of each segment of it.
    pub each: u32,
    /// Length of its TCP header, bytes.
    pub header: u32,
    /// Length of the IP packet, bytes.
    pub packet: u32,
}

/// The reckoning of one connection.
#[derive(Debug)]
pub(crate) struct Space {
    /// Memory that packets may take, bytes (`sk_rcvbuf`).
    pub rcvbuf: u32,
    /// How many 256ths of it are text (`scaling_ratio`).
    ratio: u8,
    /// The largest window to announce now (`rcv_ssthresh`).
    pub ssthresh: u32,
    /// Memory taken by what waits to be read; with what is out of order it is `sk_rmem_alloc`. Both stop at the end of
    /// their type: small segments take hundreds of times their text.
    waiting: u32,
    /// Room behind the text of the last packet in order.
    tailroom: u16,
    /// The packet to be read next.
    first: Waiting,
    /// What a quiet connection has not.
    more: Option<Box<More>>,
}

/// Packets beyond the first.
#[derive(Debug, Default)]
struct More {
    /// Those in order, behind the first.
    behind: VecDeque<Waiting>,
    /// Memory taken by what is out of order.
    ahead: u32,
    /// Where the last packet out of order ends, and the room behind it.
    last_ahead: (SeqNum, u16),
}

impl Space {
    pub fn new() -> Space {
        Space {
            rcvbuf: 0,
            ratio: HALF,
            ssthresh: u32::MAX,
            waiting: 0,
            tailroom: 0,
            first: Waiting::default(),
            more: None,
        }
    }

    /// How much text so much memory is for (`tcp_win_from_space`).
    #[inline]
    pub fn text_in(&self, memory: u32) -> u32 {
        ((u64::from(memory) * u64::from(self.ratio)) >> 8) as u32
    }

    /// How much memory so much text needs (`tcp_space_from_win`).
    fn memory_for(&self, text: u64) -> u64 {
        (text << 8) / u64::from(self.ratio)
    }

    /// Memory taken (`sk_rmem_alloc`).
    #[inline]
    fn taken(&self) -> u32 {
        self.waiting.saturating_add(self.ahead())
    }

    #[inline]
    fn ahead(&self) -> u32 {
        self.more.as_ref().map_or(0, |more| more.ahead)
    }

    /// The last packet in order, if there is one.
    fn last(&mut self) -> &mut Waiting {
        self.more.as_mut().and_then(|more| more.behind.back_mut()).unwrap_or(&mut self.first)
    }

    /// Text that there is room for now (`tcp_space`).
    #[inline]
    pub fn free(&self) -> u32 {
        self.text_in(self.rcvbuf.saturating_sub(self.taken()))
    }

    /// Whether nothing waits, in order or out of it.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.taken() == 0
    }

    /// Whether packets take more than they may.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.taken() > self.rcvbuf
    }

    /// What a full segment shows of the share of text; whether that is news.
    pub fn learn(&mut self, seg: &Sized) -> bool {
        let ratio = (u64::from(seg.text) << 8) / u64::from(Footprint::of(seg.packet).truesize);
        let ratio = ratio.clamp(1, 255) as u8;
        core::mem::replace(&mut self.ratio, ratio) != ratio
    }

    /// Text in order was put behind what waits (`tcp_queue_rcv`): short text into the tail of the packet before it.
    #[inline]
    pub fn queue(&mut self, seg: &Sized) {
        if self.first.text > 0 {
            return self.queue_behind(seg);
        }
        let packet = Footprint::of(seg.packet);
        self.first = Waiting { text: seg.text, truesize: packet.truesize };
        self.waiting = self.waiting.saturating_add(packet.truesize);
        self.tailroom = packet.tailroom;
    }

    #[inline(never)]
    fn queue_behind(&mut self, seg: &Sized) {
        if seg.text <= u32::from(self.tailroom) {
            self.last().text += seg.text;
            self.tailroom -= seg.text as u16;
            return;
        }
        let packet = Footprint::of(seg.packet);
        let waiting = Waiting { text: seg.text, truesize: packet.truesize };
        self.more.get_or_insert_default().behind.push_back(waiting);
        self.waiting = self.waiting.saturating_add(packet.truesize);
        self.tailroom = packet.tailroom;
    }

    /// Bytes of text in the packet to be read next.
    #[inline]
    pub fn first(&self) -> u32 {
        self.first.text
    }

    /// Text out of order is held, from `start` on: short text that follows the packet before it goes into its tail.
    pub fn queue_ahead(&mut self, seg: &Sized, start: SeqNum) {
        let more = self.more.get_or_insert_default();
        let (end, room) = more.last_ahead;
        if more.ahead > 0 && start == end && seg.text <= u32::from(room) {
            more.last_ahead = (end + seg.text, room - seg.text as u16);
            return;
        }
        let packet = Footprint::of(seg.packet);
        more.ahead = more.ahead.saturating_add(packet.truesize);
        more.last_ahead = (start + seg.text, packet.tailroom);
    }

    /// `text` bytes that were out of order are in order now; `rest` bytes still are not.
    pub fn close_gap(&mut self, text: u32, rest: u32) {
        let more = self.more.get_or_insert_default();
        let share = more.take_ahead(text, rest);
        if self.first.text > 0 && text <= u32::from(self.tailroom) {
            // It goes into the tail of the packet that filled the gap.
            self.last().text += text;
            self.tailroom -= text as u16;
            return;
        }
        self.waiting = self.waiting.saturating_add(share);
        // Of several the last one's tail may be short of where text goes on.
        self.tailroom = if rest == 0 { more.last_ahead.1 } else { 0 };
        let waiting = Waiting { text, truesize: share };
        if self.first.text > 0 {
            more.behind.push_back(waiting);
        } else {
            self.first = waiting;
        }
    }

    /// `text` bytes of what was out of order are thrown away; `rest` bytes stay.
    pub fn prune_ahead(&mut self, text: u32, rest: u32) {
        if let Some(more) = &mut self.more {
            more.take_ahead(text, rest);
        }
    }

    /// What was out of order is thrown away.
    pub fn drop_ahead(&mut self) {
        if let Some(more) = &mut self.more {
            more.ahead = 0;
        }
    }

    /// `n` bytes were read: a packet is given back when all of it was.
    #[inline]
    pub fn drained(&mut self, n: usize) {
        let n = n as u32;
        if self.more.is_none() && n >= self.first.text {
            self.first = Waiting::default();
            self.waiting = 0;
            return;
        }
        self.drained_some(n);
    }

    #[inline(never)]
    fn drained_some(&mut self, mut n: u32) {
        while n >= self.first.text && self.first.text > 0 {
            n -= self.first.text;
            self.waiting = self.waiting.saturating_sub(self.first.truesize);
            self.first = match &mut self.more {
                Some(more) => more.behind.pop_front().unwrap_or_default(),
                None => Waiting::default(),
            };
        }
        self.first.text = self.first.text.saturating_sub(n);
        if self.first.text == 0 {
            self.waiting = 0;
            if self.ahead() == 0 {
                self.more = None; // a quiet connection holds nothing
            }
        }
    }

    /// By how much `ssthresh` may grow for such a packet (`tcp_grow_window`): not if a buffer full of its kind would hold
    /// too little text.
    #[inline]
    pub fn worth(&self, seg: &Sized, full: (u32, u32), rmem_max: u32) -> u32 {
        let (advmss, mss) = full;
        let mut truesize = self.text_in(Footprint::of(seg.packet).truesize);
        let growth = if truesize <= seg.text {
            2 * advmss
        } else {
            truesize /= 2;
            let mut window = self.text_in(rmem_max) / 2;
            loop {
                if self.ssthresh > window {
                    return 0;
                }
                if truesize <= seg.text {
                    break 2 * mss;
                }
                truesize /= 2;
                window /= 2;
            }
        };
        growth.max(2 * seg.text)
    }

    /// Packets take more than they may, because they are short: the buffer grows to what they take, if it may
    /// (`tcp_clamp_window`); whether it is still too small.
    pub fn overflow(&mut self, fixed: bool, rmem_max: u32) -> bool {
        if self.is_over() && !fixed && self.rcvbuf < rmem_max {
            self.rcvbuf = self.taken().min(rmem_max);
        }
        self.taken() > self.rcvbuf
    }

    /// Memory for `window` bytes of text, at most `max`; whether that is more than before.
    pub fn grow_to(&mut self, window: u64, max: u32) -> bool {
        let wanted = self.memory_for(window).min(u64::from(max)) as u32;
        let grows = wanted > self.rcvbuf;
        self.rcvbuf = self.rcvbuf.max(wanted);
        grows
    }

    /// Bytes of text that wait to be read.
    pub fn text(&self) -> usize {
        let more = self.more.iter().flat_map(|more| more.behind.iter());
        self.first.text as usize + more.map(|waiting| waiting.text as usize).sum::<usize>()
    }

    /// Bytes of heap.
    pub fn memory(&self) -> usize {
        self.more.as_ref().map_or(0, |more| size_of::<More>() + more.behind.capacity() * size_of::<Waiting>())
    }
}

impl More {
    /// Takes away what `text` bytes out of order take, beside `rest` others.
    fn take_ahead(&mut self, text: u32, rest: u32) -> u32 {
        let all = u64::from(text) + u64::from(rest);
        let share = (u64::from(self.ahead) * u64::from(text) / all.max(1)) as u32;
        self.ahead -= share;
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seg(text: u32) -> Sized {
        Sized { text, each: text.min(1_460), header: 20, packet: text + 40 }
    }

    fn space() -> Space {
        Space { rcvbuf: 1 << 20, ..Space::new() }
    }

    /// Two packets beyond two gaps, and what they take.
    fn two_ahead() -> (Space, u32) {
        let mut space = space();
        space.queue_ahead(&seg(1_460), SeqNum(1_460));
        space.queue_ahead(&seg(1_460), SeqNum(4_380));
        let two = space.taken();
        (space, two)
    }

    #[test]
    fn text_goes_into_the_tail_of_the_packet_before_it() {
        let mut space = space();
        space.queue(&seg(100));
        let one = space.taken();
        space.queue(&seg(100));
        assert_eq!((space.taken(), space.text(), space.first()), (one, 200, 200));
        space.queue(&seg(200)); // 16 bytes of the head were left
        assert_eq!((space.taken(), space.text(), space.first()), (2 * one, 400, 200));
        space.drained(150);
        assert_eq!((space.taken(), space.first()), (2 * one, 50));
        space.drained(50);
        assert_eq!((space.taken(), space.first()), (one, 200));
        space.drained(200);
        assert!(space.is_idle() && space.memory() == 0);
    }

    #[test]
    fn what_closes_a_gap_moves_over_with_its_memory() {
        let (mut space, two) = two_ahead();
        space.queue(&seg(1_460));
        space.close_gap(1_460, 1_460);
        assert_eq!((space.taken(), space.ahead(), space.text()), (two / 2 * 3, two / 2, 2_920));
        space.drained(2_920);
        assert_eq!(space.taken(), two / 2);
        space.drop_ahead();
        assert!(space.is_idle());
    }

    #[test]
    fn what_is_thrown_away_takes_its_share_along() {
        let (mut space, two) = two_ahead();
        space.prune_ahead(0, 2_920);
        assert_eq!(space.taken(), two);
        space.prune_ahead(1_460, 1_460);
        assert_eq!(space.taken(), two / 2);
    }

    /// 70,000 packets of 65,040 bytes, and their memory is more than 32 bits count.
    #[test]
    fn the_count_of_memory_stops_at_its_end() {
        let mut space = space();
        for i in 0..70_000 {
            space.queue_ahead(&seg(65_000), SeqNum(2 * i));
            space.queue(&seg(65_000));
        }
        assert_eq!((space.taken(), space.free()), (u32::MAX, 0));
        space.drop_ahead();
        while space.first() > 0 {
            space.drained(space.first() as usize);
        }
        assert!(space.is_idle());
    }
}
