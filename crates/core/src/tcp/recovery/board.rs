//! The scoreboard: what was sent and not cumulatively acknowledged, as runs.
//!
//! ```text
//!   snd_una                                              snd_nxt
//!      |  run   |  run, SACKed  | run, lost |   run        |
//! ```
//! Runs lie side by side without a gap, in the order of sequence numbers. One run is one super-segment as
//! sent, or several that were sent at the same instant; it is cut, at borders of segments only, when
//! SACK, RACK or retransmission treats its parts differently, and SACKed neighbours join again.

use alloc::collections::VecDeque;

use crate::tcp::SeqNum;
use crate::tcp::congestion::{LOSS_THRESH, LossSample};
use crate::time::Instant;

/// SACKed: the receiver has it, but may renege.
pub(super) const SACKED: u16 = 1;
/// Deemed lost.
pub(super) const LOST: u16 = 2;
/// A retransmission of it is in flight.
pub(super) const RETRANS: u16 = 4;
/// It was retransmitted at least once: its ACKs are ambiguous (Karn).
pub(super) const EVER_RETRANS: u16 = 8;
/// The sender had nothing more when it was sent.
pub(super) const APP_LIMITED: u16 = 16;
/// It was found lost by duplicate ACKs or the 6675 rule, not by RACK.
pub(super) const BY_DUPACK: u16 = 32;
/// It was lost to a smaller path MTU (RFC 1191 6.4).
pub(super) const BY_MTU: u16 = 64;

/// A super-segment ended with it: what follows does not join it, and is sent again by itself.
pub(super) const BORDER: u16 = 128;
/// It ends with PSH, because the queue was empty behind it or a record ended; sent again it does so too.
pub(super) const PUSHED: u16 = 256;
/// A record ends with it (MSG_EOR): nothing that follows goes into one segment with it.
pub(super) const RECORD: u16 = 512;

/// What is said of the end of a run.
const OF_THE_END: u16 = BORDER | PUSHED | RECORD;

/// Above this many runs SACK blocks no longer cut: the bound on memory and work (CVE-2019-11478).
pub(super) const MAX_RUNS: usize = 16_384;

/// A stretch of sequence numbers with one fate.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub seq: SeqNum,
    pub len: u32,
    /// Bytes of each of its segments, the last may be shorter.
    pub mss: u16,
    pub flags: u16,
    /// The last transmission.
    pub sent_at: Instant,
    /// Bytes delivered in all when it was sent, modulo 2^32, and when the last of them was.
    pub delivered: u32,
    pub delivered_at: Instant,
    /// When the flight that `delivered` begins was first sent.
    pub first_tx: Instant,
    /// Bytes in flight once it was sent, itself included.
    pub tx_in_flight: u32,
    /// Bytes found lost in all when it was sent, modulo 2^32.
    pub lost: u32,
}

impl Run {
    pub fn end(&self) -> SeqNum {
        self.seq + self.len
    }

    pub fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub fn segs(&self) -> u32 {
        segs(self.len, self.mss)
    }
}

pub(super) fn segs(len: u32, mss: u16) -> u32 {
    if len <= u32::from(mss) { u32::from(len > 0) } else { len.div_ceil(u32::from(mss.max(1))) }
}

/// Bytes (sequence numbers) and segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Count {
    pub bytes: u32,
    pub segs: u32,
}

impl Count {
    fn add(&mut self, bytes: u32, segs: u32) {
        self.bytes += bytes;
        self.segs += segs;
    }

    fn sub(&mut self, bytes: u32, segs: u32) {
        debug_assert!(self.bytes >= bytes && self.segs >= segs);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.segs = self.segs.saturating_sub(segs);
    }
}

/// The runs and their sums.
#[derive(Debug, Default)]
pub(super) struct Board {
    runs: VecDeque<Run>,
    pub out: Count,
    pub sacked: Count,
    pub lost: Count,
    pub retrans: Count,
    /// The end of the highest SACKed run; meaningful while something is SACKed.
    pub fack: SeqNum,
    /// No lost, not yet retransmitted run begins below this.
    rtx_hint: SeqNum,
    /// No run that was sent once and is neither SACKed nor lost begins below this.
    fresh_hint: SeqNum,
    /// Bytes found lost in all, a retransmission lost in its turn counts again; modulo 2^32.
    lost_ever: u32,
    /// The same since [`Board::take_losses`].
    found_lost: u32,
    too_many: Option<LossSample>,
}

impl Board {
    /// As a new one, in place and with the memory that it has.
    pub fn reset(&mut self) {
        // All fields by name, so that none is forgotten.
        let Board {
            runs,
            out,
            sacked,
            lost,
            retrans,
            fack,
            rtx_hint,
            fresh_hint,
            lost_ever,
            found_lost,
            too_many,
        } = self;
        runs.clear();
        [*out, *sacked, *lost, *retrans] = [Count::default(); 4];
        [*fack, *rtx_hint, *fresh_hint] = [SeqNum(0); 3];
        [*lost_ever, *found_lost] = [0; 2];
        *too_many = None;
    }

    /// How many runs it has memory for.
    pub fn capacity(&self) -> usize {
        self.runs.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// The only run, if there is one and no other.
    #[inline]
    pub fn only(&self) -> Option<&Run> {
        if self.runs.len() == 1 { self.runs.front() } else { None }
    }

    /// Takes what there is off the board, which is neither SACKed nor lost nor sent again.
    #[inline]
    pub fn clear(&mut self) {
        self.runs.clear();
        self.out = Count::default();
    }

    pub fn head(&self) -> Option<&Run> {
        self.runs.front()
    }

    pub fn get(&self, i: usize) -> Option<&Run> {
        self.runs.get(i)
    }

    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.iter()
    }

    /// Appends what was just sent; it joins the last run if it was sent in the same instant.
    pub fn push(&mut self, run: Run) {
        self.out.add(run.len, run.segs());
        let Some(last) = self.runs.back_mut() else {
            self.rtx_hint = run.seq;
            self.fresh_hint = run.seq;
            self.runs.push_back(run);
            return;
        };
        if last.sent_at == run.sent_at
            && last.mss == run.mss
            && last.flags == run.flags
            && last.len < 1 << 24
            && last.len % u32::from(last.mss.max(1)) == 0
        {
            last.len += run.len;
            last.tx_in_flight = run.tx_in_flight;
        } else {
            self.runs.push_back(run);
        }
    }

    /// [`Board::push`] of one segment to an empty board.
    #[inline]
    pub fn push_first(&mut self, run: Run) {
        self.out = Count { bytes: run.len, segs: 1 };
        self.rtx_hint = run.seq;
        self.fresh_hint = run.seq;
        self.runs.push_back(run);
    }

    /// The index of the run that holds `seq`; the number of runs if it lies beyond them.
    pub fn find(&self, seq: SeqNum) -> usize {
        let Some(front) = self.runs.front() else { return 0 };
        let base = front.seq;
        if seq.le(base) {
            return 0;
        }
        let at = seq.since(base);
        self.runs.partition_point(|r| r.end().since(base) <= at)
    }

    fn count(&mut self, i: usize, add: bool) {
        let Some(run) = self.runs.get(i) else { return };
        let (bytes, segs, flags) = (run.len, run.segs(), run.flags);
        let change = |c: &mut Count| if add { c.add(bytes, segs) } else { c.sub(bytes, segs) };
        if flags & (SACKED | LOST | RETRANS) == 0 {
            return;
        }
        if flags & SACKED != 0 {
            change(&mut self.sacked);
        }
        if flags & LOST != 0 {
            change(&mut self.lost);
        }
        if flags & RETRANS != 0 {
            change(&mut self.retrans);
        }
    }

    /// Changes the flags of a run and the sums with them.
    pub fn set(&mut self, i: usize, clear: u16, set: u16) {
        self.count(i, false);
        if set & LOST != 0 {
            self.note_lost(i, clear);
        }
        if let Some(run) = self.runs.get_mut(i) {
            run.flags = run.flags & !clear | set;
            let (seq, end, flags) = (run.seq, run.end(), run.flags);
            if flags & LOST != 0 && flags & RETRANS == 0 {
                self.rtx_hint = self.rtx_hint.min(seq);
            }
            if flags & (SACKED | LOST | RETRANS) == 0 {
                self.fresh_hint = self.fresh_hint.min(seq);
            }
            if set & SACKED != 0 {
                self.fack = if self.sacked.bytes == 0 { end } else { self.fack.max(end) };
            }
        }
        self.count(i, true);
    }

    /// Counts a run that is about to be marked lost, or whose retransmission is.
    fn note_lost(&mut self, i: usize, clear: u16) {
        let Some(run) = self.runs.get(i) else { return };
        if run.is(LOST) && !(run.is(RETRANS) && clear & RETRANS != 0) {
            return;
        }
        self.lost_ever = self.lost_ever.wrapping_add(run.len);
        self.found_lost += run.len;
        let lost = self.lost_ever.wrapping_sub(run.lost);
        if self.too_many.is_none() && u64::from(lost) * LOSS_THRESH > u64::from(run.tx_in_flight) {
            let app_limited = run.is(APP_LIMITED);
            self.too_many =
                Some(LossSample { len: run.len, tx_in_flight: run.tx_in_flight, lost, app_limited });
        }
    }

    /// Bytes found lost since this was last asked, and the stretch that made them too many for BBR.
    pub fn take_losses(&mut self) -> (u32, Option<LossSample>) {
        (core::mem::take(&mut self.found_lost), self.too_many.take())
    }

    /// Bytes found lost in all, modulo 2^32.
    pub fn lost_ever(&self) -> u32 {
        self.lost_ever
    }

    /// Cuts run `i` after `len` bytes. The sums of segments follow if that is no border.
    pub fn split(&mut self, i: usize, len: u32) {
        let Some(run) = self.runs.get(i) else { return };
        if len == 0 || len >= run.len {
            return;
        }
        let whole = run.segs();
        self.count(i, false);
        let Some(run) = self.runs.get_mut(i) else { return };
        let mut tail = run.clone();
        run.len = len;
        tail.seq = run.seq + len;
        tail.len -= len;
        let parts = run.segs() + tail.segs();
        self.out.segs = self.out.segs - whole + parts;
        run.flags &= !OF_THE_END;
        self.runs.insert(i + 1, tail);
        self.count(i, true);
        self.count(i + 1, true);
    }

    /// Joins run `i` with the next if nothing tells them apart any more. True if it did.
    pub fn join_sacked(&mut self, i: usize) -> bool {
        let (Some(a), Some(b)) = (self.runs.get(i), self.runs.get(i + 1)) else { return false };
        // What tells retransmitted from original stays apart: a D-SACK or reneging may ask for it.
        let alike = a.is(SACKED)
            && b.is(SACKED)
            && (a.flags ^ b.flags) & !PUSHED == 0
            && a.mss == b.mss
            && a.len % u32::from(a.mss.max(1)) == 0;
        if alike {
            let (len, flags) = (b.len, b.flags);
            self.runs.remove(i + 1);
            if let Some(a) = self.runs.get_mut(i) {
                a.len += len;
                a.flags = flags;
            }
        }
        alike
    }

    /// Takes the first run, or its part up to `ack`, off the board: what is returned is acknowledged.
    pub fn pop_acked(&mut self, ack: SeqNum) -> Option<Run> {
        let front = self.runs.front()?;
        if !ack.gt(front.seq) {
            return None;
        }
        if front.end().gt(ack) {
            let taken = ack.since(front.seq);
            let into = taken % u32::from(front.mss.max(1));
            if into != 0 {
                // The rest of a segment stands by itself, so that the borders after it stay where they were.
                let border = taken - into + u32::from(front.mss);
                self.split(0, border);
            }
            self.split(0, taken);
        }
        let clean = self.runs.front()?.flags & (SACKED | LOST | RETRANS) == 0;
        if !clean {
            self.count(0, false);
        }
        let run = self.runs.pop_front()?;
        self.out.sub(run.len, run.segs());
        Some(run)
    }

    /// Drops the first run, which is neither SACKed nor lost nor sent again.
    #[inline]
    pub fn drop_head(&mut self) {
        if let Some(run) = self.runs.pop_front() {
            self.out.sub(run.len, run.segs());
        }
    }

    /// Cuts the front of the first run off, which is neither SACKed nor lost nor sent again, up to `ack` inside of it.
    #[inline]
    pub fn shorten_head(&mut self, ack: SeqNum) {
        let Some(run) = self.runs.front_mut() else { return };
        let taken = ack.since(run.seq);
        if taken % u32::from(run.mss.max(1)) == 0 {
            let segs = segs(taken, run.mss);
            run.seq = ack;
            run.len -= taken;
            self.out.sub(taken, segs);
        } else {
            let _ = self.pop_acked(ack);
        }
    }

    /// Keeps the hints from falling behind: SND.UNA is now `una`.
    pub fn advanced(&mut self, una: SeqNum) {
        self.rtx_hint = self.rtx_hint.max(una);
        self.fresh_hint = self.fresh_hint.max(una);
    }

    /// The first lost run that is not retransmitted.
    pub fn next_lost(&mut self) -> Option<&Run> {
        if self.lost.bytes == 0 {
            return None;
        }
        let from = self.find(self.rtx_hint);
        let i = (from..self.runs.len()).find(|&i| {
            let r = &self.runs[i];
            r.is(LOST) && !r.is(RETRANS)
        });
        self.rtx_hint = match (i, self.runs.back()) {
            (Some(i), _) => self.runs[i].seq,
            (None, Some(last)) => last.end(),
            (None, None) => self.rtx_hint,
        };
        i.map(|i| &self.runs[i])
    }

    /// The index of the first run sent once that is neither SACKed nor lost.
    pub fn first_fresh(&mut self) -> usize {
        let from = self.find(self.fresh_hint);
        let i = (from..self.runs.len())
            .find(|&i| self.runs[i].flags & (SACKED | LOST | RETRANS) == 0)
            .unwrap_or(self.runs.len());
        if let Some(run) = self.runs.get(i).or(self.runs.back()) {
            self.fresh_hint = if i < self.runs.len() { run.seq } else { run.end() };
        }
        i
    }

    /// Notes that `[seq, seq + len)` was sent again; returns how many bytes of it are on the board.
    pub fn retransmitted(&mut self, seq: SeqNum, len: u32, mss: u16, stamp: &Run) -> u32 {
        self.sent_again((seq, len), mss, stamp, RETRANS | EVER_RETRANS)
    }

    /// The same of a probe that does not count as out twice.
    pub fn probed(&mut self, seq: SeqNum, len: u32, mss: u16, stamp: &Run) {
        self.sent_again((seq, len), mss, stamp, EVER_RETRANS);
    }

    fn sent_again(&mut self, (seq, len): (SeqNum, u32), mss: u16, stamp: &Run, marks: u16) -> u32 {
        let end = seq + len;
        let mut i = self.find(seq);
        let mut done = 0;
        while let Some(run) = self.runs.get(i) {
            if !run.seq.lt(end) {
                break;
            }
            if run.seq.lt(seq) {
                let before = seq.since(run.seq);
                self.split(i, before);
                i += 1;
                continue;
            }
            if run.end().gt(end) {
                let part = end.since(run.seq);
                self.split(i, part);
            }
            self.restamp(i, mss, stamp);
            // Whoever sends SACKed data again does not believe the SACK any more.
            self.set(i, SACKED | BY_DUPACK | BY_MTU, marks);
            done += self.runs.get(i).map_or(0, |r| r.len);
            i += 1;
        }
        done
    }

    fn restamp(&mut self, i: usize, mss: u16, stamp: &Run) {
        self.count(i, false);
        if let Some(run) = self.runs.get_mut(i) {
            let before = run.segs();
            run.mss = mss;
            run.sent_at = stamp.sent_at;
            run.delivered = stamp.delivered;
            run.delivered_at = stamp.delivered_at;
            run.first_tx = stamp.first_tx;
            run.tx_in_flight = stamp.tx_in_flight;
            run.lost = stamp.lost;
            run.flags = run.flags & !APP_LIMITED | stamp.flags & APP_LIMITED;
            self.out.segs = self.out.segs - before + run.segs();
        }
        self.count(i, true);
    }

    /// What was sent last ends a super-segment, with PSH, or a record.
    pub fn mark_end(&mut self, flags: u16) {
        if let Some(last) = self.runs.back_mut() {
            last.flags |= flags;
        }
    }

    /// Short segments become one, as far as they fit into `mss` bytes, beginning with the one at `seq` that is sent again
    /// (Linux's `tcp_retrans_try_collapse`).
    pub fn collapse(&mut self, seq: SeqNum, mss: u32) {
        let i = self.find(seq);
        while let (Some(run), Some(next)) = (self.runs.get(i), self.runs.get(i + 1)) {
            let fits = run.len.saturating_add(next.len) <= mss && run.segs() == 1 && next.segs() == 1;
            if !fits || run.is(RECORD) || next.is(SACKED) {
                return;
            }
            let (len, flags) = (next.len, next.flags);
            self.count(i, false);
            self.count(i + 1, false);
            self.out.segs -= 1;
            self.runs.remove(i + 1);
            if let Some(run) = self.runs.get_mut(i) {
                run.len += len;
                run.mss = run.mss.max(mss.min(u32::from(u16::MAX)) as u16);
                run.flags |= flags & (OF_THE_END | EVER_RETRANS);
            }
            self.count(i, true);
        }
    }

    /// Cuts what is in flight to segments of `mss` from now on.
    pub fn resegment(&mut self, i: usize, mss: u16) {
        self.count(i, false);
        if let Some(run) = self.runs.get_mut(i) {
            self.out.segs -= run.segs();
            run.mss = mss;
            self.out.segs += run.segs();
        }
        self.count(i, true);
    }

    /// Recounts everything: what the sums must be.
    pub fn recount(&self) -> [Count; 4] {
        let mut sums = [Count::default(); 4];
        for r in &self.runs {
            for (sum, flag) in sums.iter_mut().zip([0, SACKED, LOST, RETRANS]) {
                if flag == 0 || r.is(flag) {
                    sum.add(r.len, r.segs());
                }
            }
        }
        sums
    }

    /// Bytes of heap.
    pub fn memory(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
    }
}
