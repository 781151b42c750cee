//! What happens when: the earliest moment of each host and of each direction of each link.
//!
//! Moments move. An entry that is too early is looked at in vain and made anew; one that would be too late
//! gets a second entry in front, and is passed over when its turn comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sockeye_core::Instant;

/// Who has something to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Item {
    /// A direction of a link: its number, and whether it is "up".
    Wire(usize, bool),
    /// A host.
    Node(usize),
}

/// The moments, earliest first; of one moment, in the order in which they were noted.
#[derive(Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<(Instant, u64, Item)>>,
    /// The entry that counts, by [`slot`]: its time and number.
    entries: Vec<(Instant, u64)>,
    serial: u64,
}

impl Agenda {
    /// The next moment; it may prove to be in vain.
    pub(super) fn next(&self) -> Instant {
        self.heap.peek().map_or(Instant::NEVER, |Reverse((at, ..))| *at)
    }

    /// `item` has something to do at `at` and not before.
    pub(super) fn schedule(&mut self, item: Item, at: Instant) {
        let slot = slot(item);
        if self.entries.len() <= slot {
            self.entries.resize(slot + 1, (Instant::NEVER, 0));
        }
        if at >= self.entries[slot].0 {
            return;
        }
        self.serial += 1;
        self.entries[slot] = (at, self.serial);
        self.heap.push(Reverse((at, self.serial, item)));
    }

    /// The next that is due. It is scheduled no more.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Item> {
        loop {
            let Reverse((at, serial, item)) = *self.heap.peek()?;
            if at > now {
                return None;
            }
            self.heap.pop();
            let entry = &mut self.entries[slot(item)];
            if *entry == (at, serial) {
                *entry = (Instant::NEVER, 0);
                return Some(item);
            }
        }
    }
}

fn slot(item: Item) -> usize {
    match item {
        Item::Node(node) => node * 3,
        Item::Wire(wire, up) => wire * 3 + 1 + usize::from(up),
    }
}
