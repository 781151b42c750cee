//! A hierarchical timing wheel with exact deadlines: one deadline for each index of a slab.
//!
//! ```text
//! level      0         1        2        3        4       5       6        7
//! slot   65.5 us    4.2 ms   268 ms   17.2 s  18.3 min  19.5 h  52 days  9.1 years
//! ```
//!
//! A deadline lies at the level of the highest base-64 digit in which its tick differs from the current
//! one, in the slot of that digit. So every deadline of a level is earlier than all of the next level,
//! and the earliest is in the first occupied slot of the lowest occupied level. The slots only sort the
//! deadlines roughly: each entry keeps its own to the nanosecond, and each slot its least, so that
//! [`Wheel::next_deadline`] is exact and nothing fires early or late in virtual time.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::time::Instant;

/// Nanoseconds per tick, as a power of two: 65.536 microseconds.
const TICK_BITS: u32 = 16;
/// Slots per level, as a power of two.
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// Enough for all 48 bits of a tick.
const LEVELS: usize = 8;
/// The list of what has expired and is not popped yet.
const READY: u16 = (LEVELS * SLOTS) as u16;
/// No slot: the entry is not scheduled.
const IDLE: u16 = u16::MAX;
/// The end of a list.
const NIL: u32 = u32::MAX;
/// Entries per chunk of the node array.
const CHUNK: usize = 1024;
/// Up to how many entries of a slot are looked at to find the new least deadline when the least one leaves.
const RESCAN: u32 = 64;

#[derive(Clone, Copy)]
struct Node {
    deadline: Instant,
    prev: u32,
    next: u32,
    slot: u16,
}

const UNUSED: Node = Node { deadline: Instant::NEVER, prev: NIL, next: NIL, slot: IDLE };

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    count: u32,
    /// Whether `least` may be earlier than every deadline of the list.
    stale: bool,
    /// Not later than any deadline of the list; equal to the earliest unless `stale`.
    least: Instant,
}

const EMPTY: List = List { head: NIL, tail: NIL, count: 0, stale: false, least: Instant::NEVER };

/// The wheel. Scheduling and cancelling are O(1), popping is O(1) amortized, however far time jumps.
pub struct Wheel {
    /// The current tick: not later than any scheduled one but those of deadlines that were in the past when scheduled.
    tick: u64,
    /// Which slots of each level are occupied.
    occupied: [u64; LEVELS],
    /// The slots of all levels, then the ready list.
    lists: Box<[List]>,
    nodes: Vec<Box<[Node]>>,
    /// Scratch space for sorting what expires together.
    expired: Vec<(Instant, u32)>,
    len: usize,
}

impl Wheel {
    /// A wheel at the clock's origin with nothing scheduled.
    pub fn new() -> Self {
        Wheel {
            tick: 0,
            occupied: [0; LEVELS],
            lists: alloc::vec![EMPTY; LEVELS * SLOTS + 1].into_boxed_slice(),
            nodes: Vec::new(),
            expired: Vec::new(),
            len: 0,
        }
    }

    /// How many entries are scheduled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is scheduled.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The deadline of `index`, if it is scheduled.
    #[inline(always)]
    pub fn deadline(&self, index: u32) -> Option<Instant> {
        let node = self.nodes.get(index as usize / CHUNK)?[index as usize % CHUNK];
        (node.slot != IDLE).then_some(node.deadline)
    }

    /// Sets the one deadline of `index`, in place of its former one. [`Instant::NEVER`] cancels.
    ///
    /// A deadline in the past expires at the next [`Wheel::pop_expired`]. Memory grows with the highest
    /// index, 24 bytes for each.
    pub fn schedule(&mut self, index: u32, at: Instant) {
        if self.deadline(index) == Some(at) {
            return;
        }
        self.cancel(index);
        if at.is_never() {
            return;
        }
        while self.nodes.len() <= index as usize / CHUNK {
            self.nodes.push(alloc::vec![UNUSED; CHUNK].into_boxed_slice());
        }
        self.node_mut(index).deadline = at;
        self.len += 1;
        let slot = self.slot_of(at);
        self.link(index, slot);
    }

    /// Takes the deadline of `index` away, if it has one.
    pub fn cancel(&mut self, index: u32) {
        if self.deadline(index).is_some() {
            self.unlink(index);
            self.len -= 1;
        }
    }

    /// When [`Wheel::pop_expired`] is next worth calling; `None` if nothing is scheduled.
    ///
    /// This is the earliest deadline exactly, with one exception: after the earliest of more than
    /// 64 deadlines of one slot was cancelled it may be too early, by less than the slot's width; a call of
    /// [`Wheel::pop_expired`] at that time sorts the slot out, so that no caller spins.
    pub fn next_deadline(&self) -> Option<Instant> {
        let slots = self.first_slot().map_or(Instant::NEVER, |(_, slot)| self.lists[slot].least);
        let ready = self.lists[usize::from(READY)].head;
        let next = if ready == NIL { slots } else { slots.min(self.node(ready).deadline) };
        (!next.is_never()).then_some(next)
    }

    /// Takes out an entry whose deadline is not later than `now` and returns its index.
    ///
    /// What expires together comes in the order of the deadlines, equal ones in the order of scheduling
    /// as far as they were scheduled at the same level.
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        if self.lists[usize::from(READY)].head == NIL {
            self.advance(now);
        }
        let index = self.lists[usize::from(READY)].head;
        if index == NIL || self.node(index).deadline > now {
            return None;
        }
        self.unlink(index);
        self.len -= 1;
        Some(index)
    }

    /// Moves the current tick to `now` and what has expired to the ready list. Empty slots cost nothing.
    fn advance(&mut self, now: Instant) {
        let target = (now.as_nanos() >> TICK_BITS).max(self.tick);
        while let Some((level, slot)) = self.first_slot() {
            let start = self.slot_start(level, slot);
            if start > target {
                break;
            }
            self.tick = self.tick.max(start);
            if level == 0 {
                self.expire(slot, now);
                if start == target {
                    break;
                }
            } else {
                self.cascade(slot);
            }
        }
        // Whatever is left lies in slots that begin later than `target`, or in the slot of `target` itself:
        // relative to `target` all of it is where it belongs.
        self.tick = target;
    }

    /// Sorts the entries of a slot, whose time has begun, into the lower levels.
    fn cascade(&mut self, slot: usize) {
        let mut index = self.lists[slot].head;
        self.lists[slot] = EMPTY;
        self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        while index != NIL {
            let node = *self.node(index);
            let to = self.slot_of(node.deadline);
            self.link(index, to);
            index = node.next;
        }
    }

    /// Moves what has expired from a slot of level 0 to the ready list.
    fn expire(&mut self, slot: usize, now: Instant) {
        if self.lists[slot].least > now {
            return;
        }
        let mut expired = core::mem::take(&mut self.expired);
        let mut index = self.lists[slot].head;
        let mut least = Instant::NEVER;
        while index != NIL {
            let node = self.node(index);
            if node.deadline <= now {
                expired.push((node.deadline, index));
            } else {
                least = least.min(node.deadline);
            }
            index = node.next;
        }
        // Set beforehand, so that no removal below looks for the least again.
        self.lists[slot].least = least;
        self.lists[slot].stale = false;
        expired.sort_by_key(|(deadline, _)| *deadline);
        for (_, index) in expired.drain(..) {
            self.unlink(index);
            self.link(index, usize::from(READY));
        }
        expired.shrink_to(CHUNK);
        self.expired = expired;
    }

    /// The level and the number of the occupied slot with the earliest deadlines.
    fn first_slot(&self) -> Option<(usize, usize)> {
        let level = self.occupied.iter().position(|slots| *slots != 0)?;
        Some((level, level * SLOTS + self.occupied[level].trailing_zeros() as usize))
    }

    /// The first tick of a slot.
    fn slot_start(&self, level: usize, slot: usize) -> u64 {
        let shift = SLOT_BITS * level as u32;
        let above = self.tick >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        above | ((slot % SLOTS) as u64) << shift
    }

    /// Where a deadline belongs.
    fn slot_of(&self, at: Instant) -> usize {
        let tick = (at.as_nanos() >> TICK_BITS).max(self.tick);
        // The lowest bit is set so that equal ticks count as a difference at level 0.
        let level = (63 - ((tick ^ self.tick) | 1).leading_zeros()) / SLOT_BITS;
        let digit = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        level as usize * SLOTS + digit
    }

    fn node(&self, index: u32) -> &Node {
        &self.nodes[index as usize / CHUNK][index as usize % CHUNK]
    }

    fn node_mut(&mut self, index: u32) -> &mut Node {
        &mut self.nodes[index as usize / CHUNK][index as usize % CHUNK]
    }

    /// Adds an entry at the end of a slot's list.
    fn link(&mut self, index: u32, slot: usize) {
        let list = &mut self.lists[slot];
        let tail = core::mem::replace(&mut list.tail, index);
        if tail == NIL {
            list.head = index;
        }
        list.count += 1;
        let node = &mut self.nodes[index as usize / CHUNK][index as usize % CHUNK];
        list.least = list.least.min(node.deadline);
        *node = Node { deadline: node.deadline, prev: tail, next: NIL, slot: slot as u16 };
        if tail != NIL {
            self.node_mut(tail).next = index;
        }
        if slot < usize::from(READY) {
            self.occupied[slot / SLOTS] |= 1 << (slot % SLOTS);
        }
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, index: u32) {
        let node = *self.node(index);
        self.node_mut(index).slot = IDLE;
        let slot = usize::from(node.slot);
        match node.prev {
            NIL => self.lists[slot].head = node.next,
            prev => self.node_mut(prev).next = node.next,
        }
        match node.next {
            NIL => self.lists[slot].tail = node.prev,
            next => self.node_mut(next).prev = node.prev,
        }
        self.lists[slot].count -= 1;
        if slot == usize::from(READY) {
            return;
        }
        if self.lists[slot].head == NIL {
            self.lists[slot] = EMPTY;
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        } else if self.lists[slot].stale || self.lists[slot].least == node.deadline {
            self.find_least(slot);
        }
    }

    /// Finds the earliest deadline of a slot again, unless it holds so many that it can wait.
    fn find_least(&mut self, slot: usize) {
        if self.lists[slot].count > RESCAN {
            self.lists[slot].stale = true;
            return;
        }
        let (mut index, mut least) = (self.lists[slot].head, Instant::NEVER);
        while index != NIL {
            least = least.min(self.node(index).deadline);
            index = self.node(index).next;
        }
        self.lists[slot].least = least;
        self.lists[slot].stale = false;
    }
}

impl Default for Wheel {
    fn default() -> Self {
        Wheel::new()
    }
}

#[cfg(test)]
mod tests;
