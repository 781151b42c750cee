//! The receive buffer: what is in order and not read yet, and what arrived ahead of its turn.
//!
//! ```text
//!     read next                 offset 0 = RCV.NXT
//!        |------- in order --------|   hole   |-- block --|   hole   |-- block --|
//! ```
//!
//! Long data is kept by reference, short data is copied into shared chunks, so that tiny segments cannot
//! hold many large packet buffers. Blocks out of order are whole: data that touches a block becomes part of it at
//! either end, in time that does not grow with what is held but for the search among the blocks
//! (cve-2018-5390). Where data overlaps, what arrived first stays.

mod ooo;
mod queue;

use alloc::boxed::Box;

use bytes::Bytes;
use smallvec::SmallVec;

use super::predict::Text;
use crate::branch::cold;
use crate::packet::Payload;
use ooo::OutOfOrder;
use queue::Queue;

/// What [`RxBuf::insert`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[must_use]
pub struct Inserted {
    /// How far RCV.NXT moves: the new bytes in order, and those that were waiting for them.
    pub advanced: u32,
    /// How many of the segment's bytes were new.
    pub accepted: u32,
    /// The first part of the segment that was already held out of order, as offsets (start, behind the end)
    /// from RCV.NXT before the call: what a D-SACK reports (RFC 2883 section 4).
    pub duplicate: Option<(u32, u32)>,
    /// Whether the segment filled all or part of the hole at RCV.NXT: an acknowledgment is due at once, as it
    /// is for whatever is out of order (RFC 5681 section 4.2).
    pub filled_gap: bool,
    /// How many bytes held out of order were dropped to keep to the limit: those furthest from RCV.NXT.
    pub pruned: u32,
}

/// The bytes received and not read. Offsets are counted from RCV.NXT.
#[derive(Default)]
pub struct RxBuf {
    queue: Queue,
    /// `None` if nothing is out of order.
    ooo: Option<Box<OutOfOrder>>,
}

impl RxBuf {
    /// An empty buffer; holds no memory.
    pub const fn new() -> Self {
        RxBuf { queue: Queue::new(), ooo: None }
    }

    /// Takes in the text of a segment that begins `offset` bytes after RCV.NXT. The caller has cut off what lies
    /// before RCV.NXT and outside of the window, which bounds what is held in order.
    ///
    /// `limit` bounds [`RxBuf::ooo_memory`], in bytes. Beyond it what is out of order is first copied into parts
    /// without slack, then dropped from the far end; what is in order is never dropped.
    pub fn insert(&mut self, offset: u32, data: Payload, limit: usize) -> Inserted {
        if offset == 0 && self.ooo.is_none() {
            let advanced = data.len() as u32;
            self.queue.push_all(data);
            return Inserted { advanced, accepted: advanced, ..Inserted::default() };
        }
        if data.is_empty() {
            return Inserted::default();
        }
        let ooo = self.ooo.get_or_insert_default();
        let mut inserted =
            if offset == 0 { ooo.insert_in_order(data, &mut self.queue) } else { ooo.insert(offset, data) };
        inserted.pruned = ooo.keep_to(limit);
        if ooo.is_empty() {
            self.ooo = None;
        }
        inserted
    }

    /// Takes in text at RCV.NXT while nothing is out of order.
    #[inline]
    pub(crate) fn append(&mut self, text: Text<'_>) {
        debug_assert!(self.ooo.is_none());
        match text {
            Text::Packet(packet, at, len) => match packet.head.as_slice().get(at..at + len) {
                Some(bytes) => self.queue.push_copy(bytes),
                None => {
                    cold();
                    self.queue.push_all(crate::wire::parse::move_payload(packet, at, len));
                }
            },
            Text::Inline(bytes) => {
                cold();
                self.queue.push_copy(bytes);
            }
            Text::Slices(payload) => {
                cold();
                self.queue.push_all(core::mem::take(payload));
            }
        }
    }

    /// How many bytes can be read.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether nothing can be read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the first bytes into `out` and drops them; returns how many there were.
    pub fn read(&mut self, out: &mut [u8]) -> usize {
        self.queue.read(out)
    }

    /// Copies the bytes behind the first `skip` into `out`; returns how many there were.
    pub fn peek(&self, skip: usize, out: &mut [u8]) -> usize {
        self.queue.peek(skip, out)
    }

    /// Takes the first bytes without copying what is long: at most `max`, in at most
    /// [`crate::packet::MAX_SLICES`] slices. Empty only if there is nothing to read or `max` is 0.
    pub fn take(&mut self, max: usize) -> Payload {
        self.queue.take(max)
    }

    /// Takes the first slice, at most `max` bytes of it, without copying if it is long.
    pub fn read_bytes(&mut self, max: usize) -> Bytes {
        self.queue.take_slice(max)
    }

    /// Drops the first `n` bytes that can be read, or all; returns how many.
    pub fn skip(&mut self, n: usize) -> usize {
        self.queue.skip(n)
    }

    /// Drops what can be read; returns how many bytes. What is out of order stays.
    pub fn discard_in_order(&mut self) -> usize {
        core::mem::take(&mut self.queue).len()
    }

    /// Drops what is out of order; returns how many bytes. RFC 2018 section 8 allows a receiver to renege.
    pub fn discard_ooo(&mut self) -> usize {
        self.ooo.take().map_or(0, |ooo| ooo.len())
    }

    /// Drops everything.
    pub fn discard_all(&mut self) {
        *self = RxBuf::new();
    }

    /// Whether anything is out of order.
    pub fn has_ooo(&self) -> bool {
        self.ooo.is_some()
    }

    /// How many bytes are out of order.
    pub fn ooo_len(&self) -> usize {
        self.ooo.as_ref().map_or(0, |ooo| ooo.len())
    }

    /// The offset behind the last byte out of order; 0 if there is none.
    pub fn ooo_end(&self) -> u32 {
        self.ooo.as_ref().map_or(0, |ooo| ooo.end())
    }

    /// What the data out of order costs, in bytes: its length and what holding it takes.
    pub fn ooo_memory(&self) -> usize {
        match &self.ooo {
            None => 0,
            Some(ooo) => {
                cold();
                ooo.memory()
            }
        }
    }

    /// What all data costs, in bytes: its length and what holding it takes. A slice kept by reference may
    /// hold more.
    pub fn memory(&self) -> usize {
        self.queue.memory() + self.ooo_memory()
    }

    /// The blocks out of order, as offsets (start, behind the end), by offset. They never touch.
    pub fn blocks(&self) -> impl Iterator<Item = (u32, u32)> {
        self.ooo.iter().flat_map(|ooo| ooo.blocks())
    }

    /// At most `max` blocks in the order in which an acknowledgment reports them: first the one that the last
    /// segment fell into, then those that changed before it, latest first (rfc2018-s4-a, rfc2018-s4-b).
    pub fn sack_blocks(&self, max: usize) -> SmallVec<[(u32, u32); 4]> {
        self.ooo.as_ref().map_or(SmallVec::new(), |ooo| ooo.sack_blocks(max))
    }
}

impl core::fmt::Debug for RxBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let ooo = SmallVec::<[(u32, u32); 4]>::from_iter(self.blocks().take(4));
        f.debug_struct("RxBuf").field("len", &self.len()).field("ooo", &ooo).finish()
    }
}

#[cfg(test)]
mod tests;
