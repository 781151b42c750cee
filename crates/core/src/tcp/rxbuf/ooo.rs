//! What arrived ahead of its turn: blocks that do not touch, and which of them changed last.

use alloc::collections::BTreeMap;

use smallvec::SmallVec;

use super::Inserted;
use super::queue::{CHUNK_MAX, Queue, SLICE_OVERHEAD, work};
use crate::packet::Payload;

/// What a block counts beyond its bytes: its place in the map and its allocations.
const BLOCK_OVERHEAD: usize = 128;
/// How many blocks are remembered in the order in which they changed: twice what an acknowledgment reports.
const RECENT: usize = 8;

/// Positions are counted from when the value came to be; `base` is that of RCV.NXT.
#[derive(Default)]
pub(super) struct OutOfOrder {
    base: u64,
    len: usize,
    memory: usize,
    /// The parts of all blocks, of which copying could leave fewer.
    parts: usize,
    /// By the position of their first byte, all after `base`; never adjacent, never empty.
    blocks: BTreeMap<u64, Queue>,
    /// The blocks that changed last, latest first, by the position of their first byte.
    recent: SmallVec<[u64; RECENT]>,
}

/// The text of a segment, and the position of its first byte.
struct Text {
    at: u64,
    data: Payload,
}

impl Text {
    fn end(&self) -> u64 {
        self.at + self.data.len() as u64
    }

    /// Moves what lies before `to` into `queue`; returns how many bytes that was.
    fn move_to(&mut self, to: u64, queue: &mut Queue) -> u32 {
        let n = (to - self.at) as usize;
        if n == self.data.len() {
            for slice in core::mem::take(&mut self.data).into_slices() {
                queue.push(slice);
            }
        } else {
            for slice in self.data.slice(0, n).into_slices() {
                queue.push(slice);
            }
            self.data.advance(n);
        }
        self.at = to;
        n as u32
    }

    /// Drops what lies before `to`.
    fn drop_to(&mut self, to: u64) {
        self.data.advance((to - self.at) as usize);
        self.at = to;
    }
}

impl OutOfOrder {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn end(&self) -> u32 {
        self.blocks.last_key_value().map_or(0, |(at, block)| self.offset(at + block.len() as u64))
    }

    pub(super) fn blocks(&self) -> impl Iterator<Item = (u32, u32)> {
        self.blocks.iter().map(|(at, block)| (self.offset(*at), self.offset(at + block.len() as u64)))
    }

    pub(super) fn sack_blocks(&self, max: usize) -> SmallVec<[(u32, u32); 4]> {
        let mut out: SmallVec<[(u32, u32); 4]> = SmallVec::new();
        let recent = self.recent.iter().filter_map(|at| Some((at, self.blocks.get(at)?)));
        out.extend(
            recent.take(max).map(|(at, block)| (self.offset(*at), self.offset(at + block.len() as u64))),
        );
        if out.len() < max.min(self.blocks.len()) {
            // Fewer are remembered than there are: the others in their order.
            for block in self.blocks() {
                if out.len() == max {
                    break;
                }
                if !out.contains(&block) {
                    out.push(block);
                }
            }
        }
        out
    }

    /// Takes in the text of a segment that begins at RCV.NXT, and moves what is in order with it to `queue`.
    pub(super) fn insert_in_order(&mut self, data: Payload, queue: &mut Queue) -> Inserted {
        let mut inserted = Inserted { filled_gap: true, ..Inserted::default() };
        let start = self.base;
        let text = Text { at: start, data };
        let end = self.fill(text, queue, &mut inserted);
        self.base = end;
        inserted.advanced = (end - start) as u32;
        self.forget(start, end);
        inserted
    }

    /// Takes in the text of a segment that begins after RCV.NXT.
    pub(super) fn insert(&mut self, offset: u32, data: Payload) -> Inserted {
        let mut inserted = Inserted::default();
        let mut text = Text { at: self.base + u64::from(offset), data };
        let mut start = text.at;
        let mut block = Queue::new();
        if let Some((at, before)) = self.blocks.range_mut(..=text.at).next_back() {
            let end = at + before.len() as u64;
            if end >= text.at {
                start = *at;
                let covered = end.min(text.end());
                if covered > text.at {
                    inserted.duplicate = Some(((text.at - self.base) as u32, (covered - self.base) as u32));
                    text.drop_to(covered);
                }
                if !text.data.is_empty() {
                    block = core::mem::take(before);
                    self.discount(&block);
                }
            }
        }
        if !text.data.is_empty() {
            let end = self.fill(text, &mut block, &mut inserted);
            self.len += block.len();
            self.memory += block.memory() + BLOCK_OVERHEAD;
            self.parts += block.parts();
            self.blocks.insert(start, block);
            self.forget(start, end);
        } else {
            self.recent.retain(|at| *at != start);
        }
        self.recent.truncate(RECENT - 1);
        self.recent.insert(0, start);
        inserted
    }

    /// Adds `text` and the blocks that it overlaps or touches to `queue`, which ends where it begins. Returns
    /// the position behind the end of the queue.
    fn fill(&mut self, mut text: Text, queue: &mut Queue, inserted: &mut Inserted) -> u64 {
        loop {
            let end = text.end();
            let Some(next) = self.blocks.range(text.at..=end).next().map(|(at, _)| *at) else {
                inserted.accepted += text.move_to(end, queue);
                return end;
            };
            inserted.accepted += text.move_to(next, queue);
            let Some(block) = self.blocks.remove(&next) else { return next };
            self.discount(&block);
            let block_end = next + block.len() as u64;
            let covered = block_end.min(end);
            if covered > next && inserted.duplicate.is_none() {
                inserted.duplicate = Some((self.offset(next), self.offset(covered)));
            }
            queue.append(block);
            text.drop_to(covered);
            if text.data.is_empty() {
                return block_end;
            }
        }
    }

    /// Drops what is furthest from RCV.NXT until what is left costs at most `limit`; returns how many bytes.
    pub(super) fn keep_to(&mut self, limit: usize) -> u32 {
        if self.memory <= limit {
            return 0;
        }
        // Copying is worth it only if it wins an eighth: then it is paid for by the many parts it does away with.
        let needed = self.blocks.len() + self.len / CHUNK_MAX;
        if self.parts.saturating_sub(needed) * SLICE_OVERHEAD > limit / 8 {
            self.collapse();
        }
        let before = self.len;
        while self.memory > limit {
            let Some((at, mut block)) = self.blocks.pop_last() else { break };
            self.discount(&block);
            block.drop_back();
            if block.len() > 0 {
                self.len += block.len();
                self.memory += block.memory() + BLOCK_OVERHEAD;
                self.parts += block.parts();
                self.blocks.insert(at, block);
            } else {
                self.recent.retain(|recent| *recent != at);
            }
            work(1);
        }
        (before - self.len) as u32
    }

    fn collapse(&mut self) {
        (self.memory, self.parts) = (0, 0);
        for block in self.blocks.values_mut() {
            if block.parts() > 1 {
                block.collapse();
            }
            self.memory += block.memory() + BLOCK_OVERHEAD;
            self.parts += block.parts();
        }
    }

    /// Takes a block out of the sums.
    fn discount(&mut self, block: &Queue) {
        self.len -= block.len();
        self.memory -= block.memory() + BLOCK_OVERHEAD;
        self.parts -= block.parts();
    }

    /// Forgets which blocks from `start` to before `end` changed lately: they are part of another now.
    fn forget(&mut self, start: u64, end: u64) {
        self.recent.retain(|at| *at < start || *at >= end);
    }

    fn offset(&self, at: u64) -> u32 {
        (at - self.base) as u32
    }
}
