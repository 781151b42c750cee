//! SACK blocks onto the scoreboard (RFC 2018, RFC 6675 4), and D-SACK (RFC 2883).

use super::ack::Step;
use super::board::{EVER_RETRANS, MAX_RUNS, RETRANS};
use super::*;

impl Flight {
    /// Reads the blocks of one ACK. The work is bounded by the runs they touch and a search for each.
    pub(super) fn take_sack(
        &mut self,
        now: Instant,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &RttEstimator,
        p: &mut Persist,
        mss: u32,
    ) {
        let mut blocks = a.sack;
        if let Some((first, rest)) = blocks.split_first() {
            if is_dsack(first, rest.first(), a.ack) {
                self.take_dsack(first, a, s, p, mss);
                blocks = rest;
            }
        }
        let una = a.snd_una.max(a.ack.min(a.snd_nxt));
        let mut seen = SackList::new();
        for block in blocks.iter().take(4) {
            if is_valid(block, una, a.snd_nxt) {
                self.mark_sacked(now, block, a, s, rtt);
                let _ = seen.push(*block);
            }
        }
        self.sack_cache = seen;
    }

    /// The peer got something twice: retransmissions were needless (RFC 2883, RFC 3708).
    fn take_dsack(&mut self, block: &SackBlock, a: &AckEvent<'_>, s: &mut Step, p: &mut Persist, mss: u32) {
        let len = block.right.since(block.left);
        // Nonsense, or from before anything that could be undone: no evidence (Linux's tcp_is_sackblock_valid).
        if len == 0 || len > 1 << 30 || block.right.gt(a.snd_nxt) {
            return;
        }
        s.out.dsack = true;
        if block.right.gt(a.snd_una) && block.right.le(a.ack) {
            let run = self.board.find(block.right - 1);
            s.copy_sent = self.board.get(run).filter(|run| run.is(EVER_RETRANS)).map(|run| run.sent_at);
        }
        if p.is(TLP_OUT) && p.is(TLP_RETRANS) && block.right == p.tlp_end {
            s.dsack_tlp = true;
        } else {
            p.put(DSACK_ROUND, true);
        }
        let counts = self.undo_marker.is_some_and(|marker| block.right.gt(marker));
        if counts && self.undo_retrans > 0 {
            self.undo_retrans = (self.undo_retrans - len.div_ceil(mss.max(1)) as i32).max(0);
        }
    }

    /// Marks what one block covers. What the last ACK's blocks covered is skipped, so that the work is that of
    /// the new data (CVE-2019-11478).
    fn mark_sacked(
        &mut self,
        now: Instant,
        block: &SackBlock,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &RttEstimator,
    ) {
        let known = self.sack_cache.as_slice().iter().find(|k| {
            k.left.ge(block.left) && k.right.le(block.right) && k.right.gt(a.snd_una.max(a.ack) + 1)
        });
        let Some(known) = known.copied() else {
            self.mark_range(now, block, block.left, block.right, a, s, rtt);
            return;
        };
        // The runs that hold its edges are looked at again: a segment may have been covered in part.
        self.mark_range(now, block, block.left, known.left + 1, a, s, rtt);
        self.mark_range(now, block, known.right - 1, block.right, a, s, rtt);
    }

    /// Marks the whole segments of `block` in the runs from the one that holds `from` up to `upto`: a part of a
    /// segment says nothing of the rest.
    #[allow(clippy::too_many_arguments)]
    fn mark_range(
        &mut self,
        now: Instant,
        block: &SackBlock,
        from: SeqNum,
        upto: SeqNum,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &RttEstimator,
    ) {
        let mut i = self.board.find(from);
        while let Some(run) = self.board.get(i) {
            if !run.seq.lt(upto) || !run.seq.lt(block.right) {
                break;
            }
            if run.is(SACKED) {
                i += 1;
                continue;
            }
            let mss = u32::from(run.mss);
            let from = if block.left.gt(run.seq) { block.left.since(run.seq).div_ceil(mss) * mss } else { 0 };
            let to = if block.right.ge(run.end()) { run.len } else { block.right.since(run.seq) / mss * mss };
            let cuts = usize::from(from > 0) + usize::from(to < run.len);
            if from >= to || (cuts > 0 && self.board.len() + cuts > MAX_RUNS) {
                i += 1;
                continue;
            }
            if from > 0 {
                self.board.split(i, from);
                i += 1;
            }
            self.board.split(i, to - from);
            self.deliver_by_sack(now, i, a, s, rtt);
            if i > 0 && self.board.join_sacked(i - 1) {
                i -= 1;
            }
            self.board.join_sacked(i);
            i += 1;
        }
    }

    fn deliver_by_sack(
        &mut self,
        now: Instant,
        i: usize,
        a: &AckEvent<'_>,
        s: &mut Step,
        rtt: &RttEstimator,
    ) {
        let Some(run) = self.board.get(i).cloned() else { return };
        s.sacked_new = true;
        s.out.newly_sacked += run.len;
        s.note_delivered(&run, run.segs());
        if !run.is(EVER_RETRANS) {
            if s.prior_fack.is_some_and(|f| run.seq.lt(f)) && s.reordered.is_none_or(|r| run.seq.lt(r)) {
                s.reordered = Some(run.seq);
            }
            if !run.end().gt(self.high_seq) {
                s.orig_delivered = true;
            }
            s.first_sacked = Some(s.first_sacked.map_or(run.sent_at, |at| at.min(run.sent_at)));
            s.last_sacked = s.last_sacked.max(Some(run.sent_at));
        }
        self.rack_advance(now, &run, a, rtt);
        self.board.set(i, LOST | RETRANS | BY_DUPACK | BY_MTU, SACKED);
    }
}

/// RFC 2883 4, RFC 2018 s5: the first block repeats what SEG.ACK, or the second block, covers.
pub(super) fn is_dsack(first: &SackBlock, second: Option<&SackBlock>, ack: SeqNum) -> bool {
    first.left.lt(ack) || second.is_some_and(|b| first.left.ge(b.left) && first.right.le(b.right))
}

/// In order and inside of what is in flight.
fn is_valid(block: &SackBlock, una: SeqNum, nxt: SeqNum) -> bool {
    block.left.lt(block.right) && block.left.gt(una) && block.left.lt(nxt) && block.right.le(nxt)
}
