//! Memory for what is sent, used again: a fresh page costs more than copying to it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a chunk.
const CHUNK: usize = 64 << 10;
/// Free chunks that are kept.
const KEPT: usize = 128;

/// The free chunks of a host.
#[derive(Clone, Default)]
pub(crate) struct Chunks(Arc<Mutex<Vec<Vec<u8>>>>);

/// A chunk in use, which goes back with the last reference to it.
struct Chunk {
    bytes: Vec<u8>,
    home: Chunks,
}

impl Chunks {
    /// An empty vector with room for a chunk, to be filled up to its capacity.
    pub(crate) fn take(&self) -> Vec<u8> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| Vec::with_capacity(CHUNK))
    }

    /// What was put into a vector of [`Chunks::take`], by reference; the vector comes back with the last one.
    pub(crate) fn wrap(&self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Chunk { bytes, home: self.clone() })
    }

    /// A vector of [`Chunks::take`] that is not needed any more.
    pub(crate) fn give_back(&self, bytes: Vec<u8>) {
        drop(Chunk { bytes, home: self.clone() });
    }

    /// A copy of `data`.
    pub(crate) fn copy(&self, data: &[u8]) -> VecDeque<Bytes> {
        data.chunks(CHUNK).map(|part| self.copy_part(part)).collect()
    }

    fn copy_part(&self, part: &[u8]) -> Bytes {
        if part.len() <= CHUNK / 4 {
            return Bytes::copy_from_slice(part);
        }
        let mut bytes = self.take();
        bytes.extend_from_slice(part);
        self.wrap(bytes)
    }

    /// How many are free.
    #[cfg(test)]
    fn free(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < KEPT {
            free.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_back_and_no_more_are_kept_than_may_be() {
        let chunks = Chunks::default();
        let data: Vec<u8> = (0..3 * CHUNK as u32 + 5).map(|n| n as u8).collect();
        let copy = chunks.copy(&data);
        assert_eq!(copy.iter().map(|part| part.len()).collect::<Vec<_>>(), [CHUNK, CHUNK, CHUNK, 5]);
        assert!(copy.iter().flatten().eq(&data));
        drop(copy);
        assert_eq!(chunks.free(), 3, "what is short has memory of its own");
        assert!(
            chunks.copy(&data[1..]).iter().flatten().eq(&data[1..]),
            "nothing of the earlier use is left"
        );
        drop(chunks.copy(&vec![0; (KEPT + 3) * CHUNK]));
        assert_eq!(chunks.free(), KEPT);
    }
}
