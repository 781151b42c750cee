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
    /// A copy of `data`.
    pub(crate) fn copy(&self, data: &[u8]) -> VecDeque<Bytes> {
        data.chunks(CHUNK).map(|part| self.copy_part(part)).collect()
    }

    fn copy_part(&self, part: &[u8]) -> Bytes {
        if part.len() <= CHUNK / 4 {
            return Bytes::copy_from_slice(part);
        }
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = free.unwrap_or_else(|| Vec::with_capacity(CHUNK));
        bytes.extend_from_slice(part);
        Bytes::from_owner(Chunk { bytes, home: self.clone() })
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
