//! Where packets are read to from a descriptor.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use sockeye_core::Packet;
use sockeye_core::packet::MAX_PACKET;

/// A read buffer is cut into packets until less than the longest packet is left of it.
const CHUNK: usize = 512 << 10;
/// Read buffers whose packets are still in use that are kept to be filled again.
const CHUNKS: usize = 12;
/// Packets up to this many bytes are copied out of the read buffer: a reference would keep all of it.
const COPY_MAX: usize = 2_048;

/// Where packets are read to: memory that was written to before, as long as there is some, for fresh memory
/// costs a page fault for every 4 KiB.
#[derive(Default)]
pub(super) struct Buffers {
    present: BytesMut,
    /// Full ones, the oldest first: free again when the last packet in them is gone.
    used: VecDeque<BytesMut>,
}

impl Buffers {
    /// Goes back to the beginning of the present one if nothing of it is in use, for that is in the caches.
    pub(super) fn rewind(&mut self) {
        let _ = self.present.try_reclaim(CHUNK);
    }

    /// Room for the longest packet behind a header of `header` bytes.
    pub(super) fn room(&mut self, header: usize) -> &mut BytesMut {
        let longest = header + MAX_PACKET;
        if self.present.capacity() < longest && !self.present.try_reclaim(longest) {
            let free = self.used.iter_mut().position(|buffer| buffer.try_reclaim(longest));
            let next = free.and_then(|at| self.used.remove(at));
            let full =
                std::mem::replace(&mut self.present, next.unwrap_or_else(|| BytesMut::with_capacity(CHUNK)));
            if full.capacity() > 0 {
                self.used.push_back(full);
                if self.used.len() > CHUNKS {
                    self.used.pop_front();
                }
            }
        }
        &mut self.present
    }
}

/// The packet in `bytes`, which is empty then: copied if it is short.
pub(super) fn owned(bytes: &mut BytesMut) -> Packet {
    if bytes.len() > COPY_MAX {
        return Packet::from_bytes(bytes.split().freeze());
    }
    let mut packet = Packet::default();
    if bytes.len() <= packet.head.room() {
        packet.head.extend(bytes);
    } else {
        packet.payload.push(Bytes::copy_from_slice(bytes));
    }
    bytes.clear();
    packet
}
