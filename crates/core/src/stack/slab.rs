//! Storage for many values of one type, named by small keys that are never mistaken for one another.
//!
//! Entries lie in chunks that never move: growing copies nothing and over-allocates at most one chunk,
//! so the bytes per entry stay near `size_of::<T>()` at any count.

use alloc::vec::Vec;

/// Entries per chunk.
const CHUNK: usize = 256;
/// The end of the free list.
const NIL: u32 = u32::MAX;

/// The name of an entry: where it lies, and which of the successive tenants of that place it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The place.
    pub index: u32,
    /// How often the place was vacated before (modulo 2^32).
    pub generation: u32,
}

impl Key {
    /// The key as one number: the generation in the upper half.
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key that [`Key::to_u64`] made the number from.
    pub const fn from_u64(raw: u64) -> Self {
        Key { index: raw as u32, generation: (raw >> 32) as u32 }
    }
}

/// A place. The generations are in the variants, so that any `T` costs eight bytes more than its size.
enum Entry<T> {
    Free { generation: u32, next: u32 },
    Full { generation: u32, value: T },
}

/// A growable collection of `T`, addressed by [`Key`]. All operations are O(1).
pub struct Slab<T> {
    chunks: Vec<Vec<Entry<T>>>,
    /// The place vacated last, or [`NIL`].
    free: u32,
    len: usize,
}

impl<T> Slab<T> {
    /// An empty slab; holds no memory.
    pub const fn new() -> Self {
        Slab { chunks: Vec::new(), free: NIL, len: 0 }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of heap held for entries, vacant ones included.
    pub fn memory(&self) -> usize {
        let entries: usize = self.chunks.iter().map(Vec::capacity).sum();
        entries * size_of::<Entry<T>>() + self.chunks.capacity() * size_of::<Vec<Entry<T>>>()
    }

    /// The key that the next [`Slab::insert`] will return.
    pub fn next_key(&self) -> Key {
        match self.entry(self.free) {
            Some(Entry::Free { generation, .. }) => Key { index: self.free, generation: *generation },
            _ => Key { index: self.end(), generation: 0 },
        }
    }

    /// Stores a value, in the place vacated last if there is one.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        let index = self.free;
        if let Some(entry) = self.entry_mut(index) {
            // The free list holds vacant places only.
            if let Entry::Free { generation, next } = *entry {
                *entry = Entry::Full { generation, value };
                self.free = next;
                return Key { index, generation };
            }
        }
        let key = Key { index: self.end(), generation: 0 };
        let entry = Entry::Full { generation: 0, value };
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(entry),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(entry);
                self.chunks.push(chunk);
            }
        }
        key
    }

    /// The entry, if it is still there.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.entry(key.index)? {
            Entry::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The entry, to be changed, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.entry_mut(key.index)? {
            Entry::Full { generation, value } if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The key of whatever lies at `index` now (what a timer that holds places only needs).
    pub fn key_at(&self, index: u32) -> Option<Key> {
        match self.entry(index)? {
            Entry::Full { generation, .. } => Some(Key { index, generation: *generation }),
            Entry::Free { .. } => None,
        }
    }

    /// Whether the entry is still there.
    pub fn contains(&self, key: Key) -> bool {
        self.get(key).is_some()
    }

    /// Takes the entry out, if it is still there. From then on its key finds nothing.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let free = Entry::Free { generation: key.generation.wrapping_add(1), next: self.free };
        match core::mem::replace(self.entry_mut(key.index)?, free) {
            Entry::Full { value, .. } => {
                self.free = key.index;
                self.len -= 1;
                Some(value)
            }
            Entry::Free { .. } => unreachable!("found above"),
        }
    }

    /// All entries, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, entry)| match entry {
            Entry::Full { generation, value } => {
                Some((Key { index: index as u32, generation: *generation }, value))
            }
            Entry::Free { .. } => None,
        })
    }

    /// All entries, by place, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.chunks.iter_mut().flatten().enumerate().filter_map(|(index, entry)| match entry {
            Entry::Full { generation, value } => {
                Some((Key { index: index as u32, generation: *generation }, value))
            }
            Entry::Free { .. } => None,
        })
    }

    /// The place behind the last.
    fn end(&self) -> u32 {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let end = full + self.chunks.last().map_or(0, Vec::len);
        // Memory ends long before: 2^32 entries take at least 32 GiB.
        u32::try_from(end).ok().filter(|end| *end != NIL).expect("fewer than 2^32 - 1 entries")
    }

    fn entry(&self, index: u32) -> Option<&Entry<T>> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    fn entry_mut(&mut self, index: u32) -> Option<&mut Entry<T>> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab::new()
    }
}

#[cfg(test)]
mod tests;
